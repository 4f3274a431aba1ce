//! What is asked of a run, and what it answers.

use serde::{Deserialize, Serialize};

/// What is asked of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "ask")]
pub enum Question {
    /// What goes on.
    View,
    /// Why jobs have not started.
    Why {
        /// The name of a job, or of a target for all of its jobs.
        of: String,
    },
    /// Start nothing more on a host.
    Drain {
        /// Its name.
        host: String,
    },
    /// Start jobs on a host again.
    Resume {
        /// Its name.
        host: String,
    },
    /// Build on one more host.
    Add {
        /// A line as in a hosts file.
        line: String,
    },
    /// End a job, and do not start it again.
    Stop {
        /// Its name.
        job: String,
    },
    /// Let a job that was stopped, or that failed, start again.
    Requeue {
        /// Its name.
        job: String,
    },
}

/// What a run answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What goes on.
    View(Box<View>),
    /// Why jobs have not started.
    Why(Vec<Explained>),
    /// It was done; this is what changes by it.
    Done(String),
    /// It cannot be done, for this reason.
    Refused(String),
}

/// What goes on in a run, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// The process.
    pub pid: u32,
    /// The machine that it runs on.
    pub machine: String,
    /// When it began to build, in seconds since 1970.
    pub started: i64,
    /// Seconds since then.
    pub seconds: f64,
    /// Seconds that it is likely to go on, where earlier builds tell.
    pub left: Option<f64>,
    /// Why nothing more starts, if that is so.
    pub ending: Option<String>,
    /// How many jobs are in which state.
    pub counts: Counts,
    /// The running jobs, those first that run longest.
    pub jobs: Vec<JobView>,
    /// Running jobs that are not listed.
    pub more_jobs: usize,
    /// The hosts.
    pub hosts: Vec<HostView>,
    /// Hosts that are not listed.
    pub more_hosts: usize,
    /// Failed jobs, the last ones first.
    pub failures: Vec<FailedView>,
    /// Failed jobs that are not listed.
    pub more_failures: usize,
    /// Names of jobs that were stopped from outside and wait to be let go on.
    pub stopped: Vec<String>,
}

/// How many jobs are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Their trees are there.
    pub usable: usize,
    /// They run.
    pub running: usize,
    /// They wait for a host.
    pub queued: usize,
    /// They wait for others.
    pub to_build: usize,
    /// They failed.
    pub failed: usize,
    /// They will not be built: something that they need failed, or they have a flaw.
    pub ignored: usize,
    /// Another scheduler has locked them.
    pub locked: usize,
    /// They were stopped from outside.
    pub stopped: usize,
}

/// A running job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its name.
    pub name: String,
    /// The host that it runs on.
    pub host: String,
    /// Seconds that it has been running.
    pub seconds: f64,
    /// Seconds that it is likely to take, where earlier builds tell.
    pub expected: Option<f64>,
    /// Seconds since it printed something.
    pub silent: f64,
    /// Seconds of silence after which it is ended.
    pub most_silent: Option<f64>,
    /// Bytes that it printed.
    pub output: u64,
}

/// A host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HostView {
    /// Its name.
    pub name: String,
    /// `up`, `coming`, `down` or `drained`.
    pub state: String,
    /// Why it is down.
    pub why: Option<String>,
    /// How many jobs it runs at a time.
    pub slots: usize,
    /// How many run there.
    pub busy: usize,
    /// How fast it is beside others.
    pub speed: f64,
}

/// A failed job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FailedView {
    /// Its name.
    pub name: String,
    /// The host that it ran on.
    pub host: String,
    /// How it failed.
    pub how: String,
    /// Seconds that it ran.
    pub seconds: f64,
}

/// Why a job has not started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// Its name.
    pub job: String,
    /// Its state.
    pub state: String,
    /// Why, in the order in which the run looks.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What kind of reason it is.
    pub reason: String,
    /// The same for people.
    pub text: String,
    /// The jobs that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Stated>,
    /// The hosts that it is about.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// A job and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stated {
    /// Its name.
    pub job: String,
    /// Its state.
    pub state: String,
}
