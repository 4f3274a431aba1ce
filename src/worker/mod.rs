//! The other end of remote execution: a job with its bundles becomes a record with bundles of the result.
//!
//! - [`needs`]: what a machine must be able to do, looked at before anything is read;
//! - [`work`]: one job in a store, whoever brought it;
//! - [`trouble`]: whose fault it is when it is not the build's;
//! - [`action`]: a job in a folder, as an engine's own workers run it: the program `mstore-worker`.
//!
//! Uses `drv`, `build` and `share` over a store, and nothing that knows specifications.

pub mod action;
pub mod needs;
pub mod trouble;
pub mod work;

pub use action::{Action, PROGRAM, beside};
pub use trouble::{Code, Trouble};
pub use work::Site;
