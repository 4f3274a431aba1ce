//! Brings jobs up to date: what to start next, who does it, and what came of it.
//!
//! - [`engine`]: the pure state machine that decides what starts and where, over a graph that may still grow;
//! - [`driver`]: the loop around it, on one thread, which alone owns all state; [`growth`]: how jobs
//!   get into it, from whatever lists them;
//! - [`executor`]: the [`Executor`] trait, through which workers take a job and give back a tree;
//!   [`local`]: this machine as one; [`leave`]: the wish that a run ends soon;
//! - [`steps`]: the steps of a plan as jobs; [`realise`]: what a front end calls;
//! - `reapi`: an engine of the Remote Execution API as an executor, where it is compiled in;
//! - [`ledger`]: who holds the locks of paths and is told what becomes of them;
//! - [`history`]: what earlier runs tell of durations and speeds;
//! - [`progress`]: what a front end may show meanwhile; [`control`]: what other processes may ask and change.
//!
//! doc/scheduler.md draws the states and says what holds.

pub mod control;
pub mod driver;
pub mod engine;
pub mod error;
pub mod executor;
pub mod growth;
pub mod history;
pub mod leave;
pub mod ledger;
pub mod local;
pub mod progress;
pub mod realise;
#[cfg(feature = "reapi")]
pub mod reapi;
pub mod steps;

pub use engine::{Flaw, HostId, JobId, Slots};
pub use error::ScheduleError;
pub use executor::{Demand, Executor, Gate, Host, HostNews, Kind};
pub use leave::Leave;
pub use ledger::{Ledger, Place};
pub use progress::{JobEnd, Observer, RunEvent, silence};
