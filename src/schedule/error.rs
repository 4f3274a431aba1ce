//! Errors that stop a run and are not a failed build.

use crate::build::error::Infrastructure;
use crate::drv::FactsError;
use crate::plan::WalkError;

/// Locks and logs could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LedgerError(pub String);

/// A failure of the machine, the store or mstore itself. It says nothing about any build.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// A build could not be carried out.
    #[error(transparent)]
    Build(#[from] Infrastructure),
    /// What follows from a result could not be found out.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// What the store knows could not be asked.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// A job was started whose inputs are not known.
    #[error("an input of it is not known")]
    Inputs,
    /// No worker could be started.
    #[error("cannot start a worker: {source}")]
    NoWorker {
        /// What the system says.
        source: std::io::Error,
    },
    /// An executor did not say how a job ended.
    #[error("its executor ended without a result")]
    NoResult,
    /// An executor fetched what it was to build.
    #[error("its executor answered with something that it was not asked for")]
    WrongAnswer,
    /// A job lost one machine after the other.
    #[error("it was lost {times} times, the last time because of this: {reason}")]
    LostTooOften {
        /// How often.
        times: u32,
        /// What happened the last time.
        reason: String,
    },
    /// Locks and logs could not be kept.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Whoever lists the jobs listed one twice.
    #[error("it was listed twice")]
    ListedTwice,
    /// Whoever lists the jobs added to one that was closed or not open at all.
    #[error("it was added to when it was not open")]
    NotOpen,
    /// What follows from a result cannot become jobs.
    #[error("{0}")]
    Growth(String),
    /// The engine found that it had forgotten a job.
    #[error(
        "it could run on {host}, which is free, and was not started: this is an error in mstore"
    )]
    Idle {
        /// The name of the host.
        host: String,
    },
    /// The run came to its end with work left over.
    #[error("{left} jobs were neither built nor given up: this is an error in mstore")]
    Stuck {
        /// How many.
        left: usize,
    },
}
