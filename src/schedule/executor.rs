//! Executors: who takes a job and gives back a tree.
//!
//! The driver decides and an executor works. What passes between them can travel: a job is a resolved
//! derivation, or a tree to fetch; what comes back are lines of output while it runs, and once, at the
//! end, a tree with timings or the reason why there is none, which also says who is to blame. An
//! executor that has built something records it in the store of this machine before it says so.
//!
//! An executor keeps no state of the run, and its answer may come from any thread. Trees of its inputs
//! are in the store of this machine; how they get to where they are needed is its own affair.

use std::sync::Arc;

use mstore_store::TreeHash;

use super::engine::JobId;
use super::error::ScheduleError;
use crate::build::error::Failure;
use crate::build::step::Note;
use crate::drv::Resolved;

/// Takes jobs, any number at a time: the engine counts the slots.
pub trait Executor {
    /// Starts a job and returns at once. `report` is told what it prints and, once, how it ended.
    fn start(&self, job: Job, report: Report);

    /// Ends a job that was started: its report is to say [`Fault::Cancelled`] soon, if it has not said
    /// something else yet. For any other job nothing happens.
    fn cancel(&self, job: JobId);
}

/// Something to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is called between driver and executor.
    pub id: JobId,
    /// What its realisation, log and failures are recorded under.
    pub name: String,
    /// What is to be done.
    pub work: Work,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Work {
    /// Build this, and record what came out.
    Build(Box<Resolved>),
    /// Bring the content of this tree into the store from whoever has it.
    Fetch(TreeHash),
}

/// How a job ended.
#[derive(Debug)]
pub struct JobResult {
    /// Wall seconds.
    pub seconds: f64,
    /// What came of it.
    pub end: Result<Product, Fault>,
}

/// What a job produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// A tree was built; its realisation is recorded.
    Built {
        /// The tree.
        tree: TreeHash,
        /// Entries of it that the build added, changed or removed.
        changed: u64,
    },
    /// Somebody else built it meanwhile, and recorded it in the store of this machine.
    Found {
        /// The tree.
        tree: TreeHash,
    },
    /// The content of the tree is here.
    Fetched,
    /// Nobody could deliver the tree.
    NotFetched,
}

/// Why a job produced nothing, by who is to blame.
#[derive(Debug)]
pub enum Fault {
    /// The build itself failed. It is recorded as a failed attempt.
    Build(Failure),
    /// The machine or the store failed; says nothing about the build.
    Infrastructure(ScheduleError),
    /// The job was lost with the machine that it ran on, for this reason: it may run again, elsewhere
    /// or later.
    Lost(String),
    /// It was told to stop.
    Cancelled,
}

/// Where reports go to.
pub(super) trait Desk: Send + Sync {
    fn line(&self, job: JobId, line: &str);
    fn note(&self, job: JobId, note: Note);
    fn ended(&self, job: JobId, result: JobResult);
}

/// The way from a job back to the driver. Dropped without a word, it reports that the executor gave no
/// result.
pub struct Report {
    job: JobId,
    desk: Arc<dyn Desk>,
    ended: bool,
}

impl Report {
    pub(super) fn new(job: JobId, desk: Arc<dyn Desk>) -> Self {
        Report {
            job,
            desk,
            ended: false,
        }
    }

    /// Reports a line of output, without its line break. It may get lost when there are too many.
    pub fn line(&self, line: &str) {
        self.desk.line(self.job, line);
    }

    /// Reports something that people should know.
    pub fn note(&self, note: Note) {
        self.desk.note(self.job, note);
    }

    /// Reports how the job ended.
    pub fn end(mut self, result: JobResult) {
        self.ended = true;
        self.desk.ended(self.job, result);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.ended {
            let end = Err(Fault::Infrastructure(ScheduleError::NoResult));
            self.desk.ended(self.job, JobResult { seconds: 0.0, end });
        }
    }
}
