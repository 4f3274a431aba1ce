//! Paths: jobs of which at most one runs at a time, and which others may have locked.
//!
//! While a job of a path runs here, the others that could start are put *aside*. Locks are files, of which the engine
//! knows nothing: it starts a job, and is told when a lock stood in the way. Such a job is *locked* until that lock is
//! gone; one whose build failed, or whose lock tells of a failure, runs again when its lock was removed, and what had
//! been skipped because of it waits for it again.

use std::collections::BTreeSet;

use super::{Command, Engine, JobId, JobState, PathId, Patience};
use crate::dense::DenseMap;

/// The paths, and which job is on which.
#[derive(Debug, Default)]
pub(super) struct Paths {
    paths: DenseMap<PathId, Path>,
    of: DenseMap<JobId, Option<PathId>>,
    /// Skipped jobs that were open.
    open: BTreeSet<JobId>,
}

/// One path.
#[derive(Debug, Default)]
struct Path {
    running: Option<JobId>,
    /// The jobs in the state of that name.
    queued: BTreeSet<JobId>,
    /// The jobs in the state of that name.
    aside: BTreeSet<JobId>,
}

impl Paths {
    /// Adds a job that is on no path.
    pub fn push(&mut self) {
        self.of.push(None);
    }
}

impl Engine {
    /// A name for a path.
    pub fn name_path(&mut self) -> PathId {
        self.paths.paths.push(Path::default())
    }

    /// Puts a job that is not listed yet on a path.
    pub fn put_on_path(&mut self, job: JobId, path: PathId) {
        if self.states[job] == JobState::Named {
            self.paths.of[job] = Some(path);
        }
    }

    /// Says what to wait for when nothing else is left to do.
    pub fn set_patience(&mut self, patience: Patience) {
        self.patience = patience;
    }

    /// The jobs whose state changed since this was asked last, in order, each as often as it did. Nothing is kept
    /// before it is asked the first time.
    pub fn take_changes(&mut self) -> Vec<JobId> {
        self.changes.replace(Vec::new()).unwrap_or_default()
    }

    /// Whether it waits for locks to be removed.
    pub(super) fn is_waiting(&self) -> bool {
        let (locked, failed) = (
            self.count(JobState::Locked) > 0,
            self.count(JobState::Failed) > 0,
        );
        self.patience.locks && locked || self.patience.errors && (locked || failed)
    }

    /// The job of the same path that runs.
    pub(super) fn beside(&self, job: JobId) -> Option<JobId> {
        let path = self.paths.of[job]?;
        self.paths.paths[path].running.filter(|other| *other != job)
    }

    /// Puts a job that could start into the queue, or aside.
    pub(super) fn queue(&mut self, job: JobId) {
        match self.beside(job) {
            Some(_) => self.set(job, JobState::Aside),
            None => self.set(job, JobState::Queued),
        }
    }

    /// Takes in what a change of state means for the other jobs of the path.
    pub(super) fn follow_path(&mut self, job: JobId, before: JobState, next: JobState) {
        match (before, next) {
            (JobState::Open, JobState::Skipped) => drop(self.paths.open.insert(job)),
            (JobState::Skipped, _) => drop(self.paths.open.remove(&job)),
            _ => {}
        }
        let Some(path) = self.paths.of[job] else {
            return;
        };
        let path = &mut self.paths.paths[path];
        match before {
            JobState::Queued => drop(path.queued.remove(&job)),
            JobState::Aside => drop(path.aside.remove(&job)),
            _ => {}
        }
        match next {
            JobState::Queued => drop(path.queued.insert(job)),
            JobState::Aside => drop(path.aside.insert(job)),
            _ => {}
        }
        if next == JobState::Running {
            path.running = Some(job);
            for other in path.queued.clone() {
                self.set(other, JobState::Aside);
            }
        } else if before == JobState::Running {
            path.running = None;
            for other in path.aside.clone() {
                self.set(other, JobState::Queued);
            }
        }
    }

    /// Lets jobs run again whose locks are gone. Tells whether one of them had failed.
    pub(super) fn unlock(&mut self, jobs: Vec<JobId>, commands: &mut Vec<Command>) -> bool {
        let mut revived = false;
        for job in jobs {
            match self.states[job] {
                JobState::Locked => self.queue(job),
                JobState::Failed if !self.stopped => {
                    revived = true;
                    self.remaining.revive(job);
                    self.queue(job);
                    self.revive_dependents(job, commands);
                }
                _ => {}
            }
        }
        revived
    }

    /// Lets what was skipped because of a job wait for it again, as far as nothing else that it needs is lost.
    fn revive_dependents(&mut self, cause: JobId, commands: &mut Vec<Command>) {
        let (mut todo, mut revived) = (vec![cause], Vec::new());
        while let Some(job) = todo.pop() {
            for at in 0..self.graph.needed_by(job).len() {
                let above = self.graph.needed_by(job)[at];
                if self.states[above] == JobState::Skipped && self.causes[above] == Some(cause) {
                    let was_open = self.paths.open.contains(&above);
                    self.causes[above] = None;
                    self.remaining.revive(above);
                    self.set(
                        above,
                        match was_open {
                            true => JobState::Open,
                            false => JobState::ToBuild,
                        },
                    );
                    revived.push(above);
                    todo.push(above);
                }
            }
        }
        for job in revived {
            let needs = self.graph.needs(job).iter();
            let other = needs.copied().find_map(|need| match self.states[need] {
                JobState::Failed | JobState::Broken => Some(need),
                JobState::Skipped => self.causes[need],
                _ => None,
            });
            if let Some(other) = other {
                self.skip(job, other, commands);
            }
        }
    }

    /// Takes in that nothing more is to come for an open job that was skipped.
    pub(super) fn close_skipped(&mut self, job: JobId) {
        self.paths.open.remove(&job);
    }
}
