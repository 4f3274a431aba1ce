//! What a desk shows and counts.

use super::{Attempt, Board, Desk, State};
use crate::dpb::display::Shown;
use crate::dpb::files::FileError;
use crate::dpb::folder::{Log, now};
use crate::dpb::lines::{self, Counts};

impl Desk {
    /// How many paths are in each state.
    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts {
            fetch: self.fetches.len(),
            ..Counts::default()
        };
        for state in self.states.values() {
            match state {
                State::ToBuild => counts.to_build += 1,
                State::Queued | State::Aside => counts.queued += 1,
                State::Installable => counts.installable += 1,
                State::Ignored => counts.ignored += 1,
                State::Running | State::Locked | State::Error => {}
            }
        }
        counts
    }

    /// What there is to show.
    pub(super) fn board(&self) -> Board {
        let mut running: Vec<&Attempt> = self
            .attempts
            .values()
            .filter(|a| a.task.is_some())
            .collect();
        running.sort_by_key(|attempt| attempt.order);
        let jobs = running.into_iter().map(|attempt| Shown {
            path: attempt.path.to_string(),
            task: attempt.task.clone().unwrap_or_default(),
            pid: attempt.pid,
            host: (!attempt.here).then(|| attempt.host.clone()),
            cores: u32::try_from(attempt.slots).unwrap_or(u32::MAX),
            memory: attempt.memory,
            filler: attempt.filler,
            size: attempt.size,
            last: self
                .history
                .get(attempt.path.as_str())
                .map(|known| known.log_size),
            silent: attempt.spoke.elapsed(),
            stuck_on: attempt.waits_for.clone(),
        });
        let locked = self
            .states
            .iter()
            .filter(|(_, state)| **state == State::Locked);
        Board {
            jobs: jobs.collect(),
            counts: self.counts(),
            locked: locked.map(|(path, _)| path.to_string()).collect(),
            errors: self.errors.clone(),
        }
    }

    /// Writes the counters down, where they changed.
    pub(super) fn write_counters(&mut self) -> Result<(), FileError> {
        let counts = self.counts();
        if self.stats != Some(counts) {
            self.stats = Some(counts);
            self.folder
                .line(Log::Stats, &counts.line(self.pid, now()))?;
        }
        let jobs = self.attempts.values().filter(|a| a.task.is_some()).count();
        if jobs != self.concurrent {
            self.concurrent = jobs;
            let line = lines::concurrent(self.pid, now(), jobs);
            self.folder.line(Log::Concurrent, &line)?;
        }
        Ok(())
    }
}
