//! The ledger of a run: is told what becomes of paths, and holds their locks.
//!
//! A *path* is what people ask for and watch: a port, a target. Its jobs are its *tasks*. At most one of them runs at a
//! time, over all schedulers that share the ledger's locks: before the first is built the driver takes the lock of the
//! path, and gives it back when nothing of the path runs or could. What is found already built needs no lock.

use std::sync::Arc;

use crate::drv::StepName;

pub use super::error::LedgerError;
use super::executor::HostNews;

/// Where a job belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The whole path.
    pub path: Arc<str>,
    /// What of it is exclusive: paths with the same base never run at the same time.
    pub base: Arc<str>,
    /// What the job is called within the path.
    pub task: Arc<str>,
}

impl Place {
    /// That of a step: its target is the path, and it is a task. What is fetched belongs to nobody.
    pub fn of(name: &StepName) -> Option<Place> {
        // Flavors of a port exclude each other.
        let base = name.target().split(',').next().unwrap_or_default();
        (!name.is_fetch()).then(|| Place {
            path: name.target().into(),
            base: base.into(),
            task: name.step().into(),
        })
    }
}

/// What became of taking a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lock {
    /// This run has it.
    Ours,
    /// Somebody else has it.
    Theirs {
        /// Whether it tells of a job that ended badly, and stands until a person removes it.
        ended: bool,
    },
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathState<'a> {
    /// Something that it needs is not there yet.
    ToBuild,
    /// It could be built now.
    Queued,
    /// All of it is there.
    Built,
    /// All of it is there, and nothing that still has to be built needs it.
    Past,
    /// A lock stands in its way.
    Locked,
    /// Another path of the same base runs.
    Aside,
    /// None runs any more.
    Back,
    /// It ended badly.
    Error,
    /// It cannot be built, for this reason.
    Ignored(&'a str),
    /// It cannot be built because that path cannot.
    Because(&'a str),
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskEnd<'a> {
    /// It was built.
    Built,
    /// It was there.
    Reused,
    /// It failed.
    Failed {
        /// What wait(2) would say of it.
        status: i32,
        /// How it ended, for people.
        how: &'a str,
        /// The task that would have come next.
        next: Option<&'a str>,
    },
    /// It did not come to an end, and may run again.
    NotFinished(&'a str),
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PathEvent<'a> {
    /// A path is known.
    Listed {
        /// The path.
        path: &'a str,
        /// The packages that come of it.
        packages: &'a [String],
    },
    /// A path came into another state.
    State {
        /// The path.
        path: &'a str,
        /// Which.
        state: PathState<'a>,
    },
    /// A task starts.
    Started {
        /// The path.
        path: &'a str,
        /// The task.
        task: &'a str,
        /// The name of the host.
        host: &'a str,
        /// Whether that is this machine.
        here: bool,
        /// The paths that it needs.
        needs: &'a [Arc<str>],
        /// Places for jobs that it has on its host, one at the least.
        slots: usize,
        /// Whether it fills a gap on a host that is kept for another job.
        filler: bool,
        /// The tag that it has: of those with the same one runs at a time.
        tag: Option<&'a str>,
    },
    /// A running task has its work folder in memory.
    Memory {
        /// The path.
        path: &'a str,
        /// Bytes that it may take; nothing if it did not fit, and goes on on disk.
        bytes: Option<u64>,
    },
    /// Something that belongs to no path is to be fetched, or is there.
    Fetch {
        /// What it is called.
        name: &'a str,
        /// Whether it is there.
        there: bool,
    },
    /// A path cannot be started at all: what it needs could not be fetched.
    Blocked {
        /// The path.
        path: &'a str,
        /// Why.
        why: &'a str,
    },
    /// The process of a running task on this machine.
    Process {
        /// The path.
        path: &'a str,
        /// Its number.
        pid: u32,
    },
    /// A running task waits for somebody who does the same.
    Waiting {
        /// The path.
        path: &'a str,
        /// For whom, for people.
        what: &'a str,
    },
    /// A running task printed a line.
    Output {
        /// The path.
        path: &'a str,
        /// What it printed, without the line break.
        line: &'a str,
    },
    /// A task ended.
    Ended {
        /// The path.
        path: &'a str,
        /// The task.
        task: &'a str,
        /// Wall seconds.
        seconds: f64,
        /// How.
        end: TaskEnd<'a>,
    },
    /// Nothing of a path runs or could: its lock is given back.
    Left {
        /// The path.
        path: &'a str,
    },
    /// Something happened to a host.
    Host {
        /// Its name.
        name: &'a str,
        /// What.
        news: &'a HostNews,
    },
    /// Everything is listed. How often each path is needed.
    AllListed(&'a [(Arc<str>, usize)]),
}

/// What a look at the locks and stop files found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Paths whose locks are gone, which kept them from starting or were left when they failed.
    pub gone: Vec<String>,
    /// Whether nothing is to start any more, or for now.
    pub stop: bool,
    /// Names of hosts on which nothing is to start for now.
    pub stopped_hosts: Vec<String>,
}

/// Holds the locks of paths and is told what becomes of them. Called from the driver's thread only.
pub trait Ledger {
    /// Takes the lock of a path.
    fn take(&mut self, path: &str) -> Result<Lock, LedgerError>;

    /// Takes in what happened.
    fn event(&mut self, event: PathEvent<'_>) -> Result<(), LedgerError>;

    /// Is called often, several times a second and after each job, and looks when it is time to, or when a job has
    /// `ended`. `hosts` are the names of all hosts. Nothing if it did not look.
    fn look(&mut self, ended: bool, hosts: &[&str]) -> Result<Option<Look>, LedgerError>;
}
