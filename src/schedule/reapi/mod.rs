//! An engine of the Remote Execution API as an executor: queueing, leases, retries and the keeping of blobs are its
//! affair; what comes back is believed only when its record, its key and every blob agree.
//!
//! - [`address`], [`settings`]: where the engine is, and what a machine's owner says of it;
//! - [`reactor`]: the one thread in which calls are carried out; [`channel`]: the connection, its token, its deadlines;
//! - [`digest`], [`cas`], [`belief`], [`fresh`]: blobs, what the engine is believed to have, and what it is to get next;
//! - [`action`], [`program`]: what is asked for, as a pure function, and the worker's program that travels with it;
//! - [`operation`]: what is executed, waited for and cancelled;
//! - [`trouble`], [`outcome`]: what goes wrong, and who owns it;
//! - [`errand`]: what one step needs on its way; [`result`]: what came of it, checked; [`engine`]: the way itself;
//!   [`executor`]: the engine as a host of a run.

pub mod action;
pub mod address;
pub mod belief;
pub mod cas;
pub mod channel;
pub mod digest;
pub mod engine;
pub mod errand;
pub mod executor;
pub mod fresh;
pub mod operation;
pub mod outcome;
pub mod program;
pub mod reactor;
pub mod result;
pub mod settings;
pub mod trouble;

pub use address::{AddressError, EngineAddress};
pub use digest::Function;
pub use executor::Engine;
pub use settings::Settings;
