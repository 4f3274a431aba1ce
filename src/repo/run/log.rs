//! The log of a target in the mirror: all that its steps print, written as it comes.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::RunError;
use crate::project::{Event, Events};
use crate::schedule::{JobEnd, JobId, RunEvent};

/// The log of a target, open.
#[derive(Debug)]
pub struct TargetLog {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// The names of jobs that were started.
    names: HashMap<JobId, String>,
    /// Whose lines were written last.
    current: Option<JobId>,
    /// The names of all steps that printed or ran.
    seen: BTreeSet<String>,
    /// The first thing that went wrong.
    error: Option<io::Error>,
}

impl Inner {
    fn write(&mut self, parts: &[&str]) {
        if self.error.is_some() {
            return;
        }
        // One write a line: people read it while it grows.
        let line = parts.concat() + "\n";
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.error = Some(error);
        }
    }

    fn turn_to(&mut self, job: JobId) {
        if self.current == Some(job) {
            return;
        }
        self.current = Some(job);
        if let Some(name) = self.names.get(&job).cloned() {
            self.write(&["==== ", &name]);
        }
    }
}

impl TargetLog {
    pub(super) fn new(file: File, path: PathBuf) -> TargetLog {
        TargetLog {
            path,
            inner: Mutex::new(Inner {
                file,
                names: HashMap::new(),
                current: None,
                seen: BTreeSet::new(),
                error: None,
            }),
        }
    }

    /// Its path in the mirror.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes a line of the run itself.
    pub fn say(&self, line: &str) {
        self.with(|inner| inner.write(&[line]));
    }

    /// Adds the stored logs of steps that did not run now, since there were results. Logs may be collected at any
    /// time: those that are gone are left out.
    pub fn add_stored(&self, steps: &[(String, PathBuf)]) {
        self.with(|inner| {
            for (step, log) in steps {
                if inner.seen.contains(step) {
                    continue;
                }
                let Ok(mut stored) = File::open(log) else {
                    continue;
                };
                inner.write(&["==== ", step, ", as it was built before"]);
                if inner.error.is_none()
                    && let Err(error) = io::copy(&mut stored, &mut inner.file)
                {
                    inner.error = Some(error);
                }
            }
        });
    }

    /// Ends it; gives what went wrong while it was written.
    pub fn close(self) -> Result<(), RunError> {
        let path = self.path;
        let inner = self
            .inner
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        match inner.error {
            Some(error) => Err(RunError::io("write", path)(error)),
            None => Ok(()),
        }
    }

    fn note(&self, event: RunEvent<'_>) {
        self.with(|inner| match event {
            RunEvent::Started { job, name, .. } => {
                inner.names.insert(job, name.to_owned());
                inner.seen.insert(name.to_owned());
                inner.turn_to(job);
            }
            RunEvent::Output { job, line } => {
                inner.turn_to(job);
                inner.write(&[line]);
            }
            RunEvent::Lost { name, reason, .. } => {
                inner.write(&["==== ", name, " was lost: ", reason]);
            }
            RunEvent::Ended { job, end } => {
                let how = match end {
                    JobEnd::Built { .. } => "built",
                    JobEnd::Reused => return,
                    JobEnd::Failed { .. } => "failed",
                    JobEnd::Interrupted { .. } => "was interrupted",
                };
                if let Some(name) = inner.names.get(&job).cloned() {
                    inner.current = None;
                    inner.write(&["==== ", &name, ": ", how]);
                }
            }
            _ => {}
        });
    }
}

/// Writes what happens into a log, and passes it on.
pub struct Logged<'a> {
    /// The log.
    pub log: &'a TargetLog,
    /// Who gets it besides.
    pub events: &'a dyn Events,
}

impl Events for Logged<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Step(event) = &event {
            self.log.note(*event);
        }
        self.events.event(event);
    }

    fn wants_every_line(&self) -> bool {
        true
    }
}
