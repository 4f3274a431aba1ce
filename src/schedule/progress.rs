//! Progress of a run, for a front end that shows it.

use super::engine::{Flaw, JobId};
use super::executor::HostNews;
use crate::build::step::Note;

/// Something a watcher may want to show.
#[derive(Clone, Copy, Debug)]
pub enum RunEvent<'a> {
    /// Jobs became known. Told again whenever there are more.
    Planned {
        /// How many there are by now.
        jobs: usize,
        /// Seconds that all of them together are likely to take, where earlier builds tell.
        expected: Option<f64>,
    },
    /// How long the run is expected to take from now on. Told about once a second where earlier builds tell.
    Expected {
        /// Seconds.
        left: f64,
    },
    /// A job's build starts.
    Started {
        /// Which job.
        job: JobId,
        /// Its name.
        name: &'a str,
        /// The name of the host that it runs on.
        host: &'a str,
        /// Seconds that it is likely to take on that host, by its earlier builds.
        expected: Option<f64>,
    },
    /// A running build printed a line. Lines are left out while the watcher cannot keep up; the log
    /// has them all.
    Output {
        /// Which job.
        job: JobId,
        /// What it printed, without the line break; not cleaned of control characters.
        line: &'a str,
    },
    /// A running job printed nothing for a while: told every second from [`SILENT`] seconds on, and once with 0 seconds
    /// when it goes on.
    Silent {
        /// Which job.
        job: JobId,
        /// Its name.
        name: &'a str,
        /// How long it printed nothing.
        seconds: f64,
        /// How long it may; then it is ended.
        most: Option<f64>,
    },
    /// Something turned up that people should know; the job goes on.
    Noted {
        /// Which job.
        job: JobId,
        /// What it is.
        note: &'a Note,
    },
    /// A job got lost with the machine that it ran on, and waits to run again.
    Lost {
        /// Which job.
        job: JobId,
        /// Its name.
        name: &'a str,
        /// What happened.
        reason: &'a str,
    },
    /// Something happened to a host after the run began.
    Host {
        /// Its name.
        name: &'a str,
        /// What happened.
        news: &'a HostNews,
    },
    /// The run was asked to end: nothing more starts.
    Leaving {
        /// Jobs that run on.
        running: usize,
    },
    /// Nothing runs, and jobs have waited for hosts for some time.
    Idle {
        /// Jobs that could run.
        jobs: usize,
        /// The other machines: their names, and why they are away; of one that is there, and runs none of these jobs,
        /// nothing.
        hosts: &'a [(String, Option<String>)],
    },
    /// A job is done with.
    Ended {
        /// Which job.
        job: JobId,
        /// How it ended.
        end: JobEnd,
    },
    /// A job will not be built.
    Skipped {
        /// Its name.
        name: &'a str,
        /// The name of the job it needs, which failed or was refused.
        cause: &'a str,
    },
    /// A job cannot be built as it was listed.
    Refused {
        /// Its name.
        name: &'a str,
        /// Why not.
        flaw: &'a Flaw<String>,
    },
}

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum JobEnd {
    /// It was built.
    Built {
        /// Wall seconds.
        seconds: f64,
        /// Entries of the tree that the build added, changed or removed.
        changed: u64,
    },
    /// The store had its tree.
    Reused,
    /// Its build failed.
    Failed {
        /// Wall seconds.
        seconds: f64,
    },
    /// It was told to stop.
    Interrupted {
        /// Wall seconds.
        seconds: f64,
    },
}

/// Receives what happens as it happens. Called from the driver's own thread only.
pub trait Observer {
    /// Takes one event.
    fn event(&mut self, event: RunEvent<'_>);

    /// Whether to get every line that a build prints. Builds then wait for a watcher that is slower than they are.
    fn wants_every_line(&self) -> bool {
        false
    }
}

/// An observer that looks away.
impl Observer for () {
    fn event(&mut self, _: RunEvent<'_>) {}
}

/// Seconds without output from which on a job is told to be silent.
pub const SILENT: f64 = 10.0;

/// How long a job printed nothing, in a short word: seconds, minutes from 5 of them on, hours from 2; nothing below
/// [`SILENT`].
pub fn silence(seconds: f64) -> Option<String> {
    let whole = seconds as u64;
    match seconds {
        _ if seconds < SILENT => None,
        ..300.0 => Some(format!("{whole}s")),
        ..7200.0 => Some(format!("{}mn", whole / 60)),
        _ => Some(format!("{} HOURS!", whole / 3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_told_in_seconds_minutes_and_hours() {
        let told = [0.0, 9.9, 10.0, 299.9, 300.0, 7199.0, 7200.0, 90_000.0].map(silence);
        let told = told.map(Option::unwrap_or_default).join(" ");
        assert_eq!(told, "  10s 299s 5mn 119mn 2 HOURS! 25 HOURS!");
    }
}
