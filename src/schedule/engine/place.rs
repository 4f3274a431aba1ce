//! Which job starts where: the most urgent one of the kinds that have a free host, on the fastest of those; unless a
//! faster host that is busy yet is expected to end it earlier.
//!
//! A job starts on a slow host all the same if that holds nothing up: if the chain above it ends well before all the
//! work can be done. Else it is *held back* when the slow host would take longer than a faster one with what that runs
//! now before it, and what is held back for it already. What is behind it may start, and a look passes over a bounded number of jobs; then the
//! shortest, which is the likeliest to start, is looked at in the place of all others. A job is held back
//! only for a slot that runs something, so that an event follows; and what runs longer than expected is expected to
//! run as long again, so that no job waits for ever.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::hosts::Slot;
use super::{Command, Engine, HostId, HostState, JobId, JobState, KindId, Ready, Waiting};
use crate::dense::Id;

/// Jobs of a kind that one look passes over.
const PASSED_OVER: usize = 16;
/// The part of the time until all could be done that a job and the chain above it may take on a slow host: that
/// time is a bound that no schedule may reach, and the chain may have to wait for a fast host on its way.
const NEAR: f64 = 0.8;

/// Slots that jobs wait for, by what runs there, and when the last of these is expected to end.
type Taken = BTreeMap<JobId, f64>;

impl Engine {
    /// Starts what can start.
    pub(super) fn fill_slots(&mut self, commands: &mut Vec<Command>) {
        if self.stopped || self.held {
            return;
        }
        let unequal = self.hosts.are_unequal();
        if unequal {
            self.keep_short();
            self.horizon = self.look_ahead();
        }
        let (mut held, mut taken) = (Vec::new(), Taken::new());
        // Jobs of each kind that were passed over.
        let mut passed = vec![0; if unequal { self.queues.len() } else { 0 }];
        let index = Id::index;
        while let Some((ready, kind, host)) =
            self.candidate(|kind| passed.get(index(kind)).is_none_or(|n| *n < PASSED_OVER))
        {
            match self.held_for(ready.job, host, &taken) {
                None => self.start(ready.job, host, commands),
                Some((slot, end)) => {
                    taken.insert(slot.job, end);
                    held.extend(self.queues[kind].ready.pop());
                    passed[index(kind)] += 1;
                    if passed[index(kind)] == PASSED_OVER {
                        self.start_short(kind, &taken, commands);
                    }
                }
            }
        }
        for ready in held {
            self.queues[self.slips[ready.job].kind].ready.push(ready);
        }
        let idle = |kind: &KindId| passed.get(index(*kind)).is_none_or(|n| *n == 0);
        self.look_for_idle(idle, commands);
    }

    /// The most urgent job of the kinds that are asked for, and the fastest host that is free for it.
    fn candidate(&mut self, asked: impl Fn(KindId) -> bool) -> Option<(Ready, KindId, HostId)> {
        let mut best: Option<(Ready, KindId, HostId)> = None;
        for kind in self.hosts.kinds() {
            if asked(kind)
                && let Some(host) = self.hosts.fastest_free(kind)
                && let Some(ready) = self.most_urgent(kind)
                && best.is_none_or(|(best, ..)| ready > best)
            {
                best = Some((ready, kind, host));
            }
        }
        best
    }

    /// The queued job of a kind that is to start first.
    fn most_urgent(&mut self, kind: KindId) -> Option<Ready> {
        while let Some(&Ready { remaining, job }) = self.queues[kind].ready.peek() {
            // Others were put in again with a longer path.
            if self.states[job] == JobState::Queued && remaining == self.urgency(job) {
                return Some(Ready { remaining, job });
            }
            self.queues[kind].ready.pop();
        }
        None
    }

    /// The queued job of a kind that takes the fewest seconds.
    fn shortest(&mut self, kind: KindId) -> Option<JobId> {
        let short = &mut self.queues[kind].short;
        while let Some(&Reverse((own, job))) = short.peek() {
            let counts = own == self.remaining.own(job).to_bits();
            if self.states[job] == JobState::Queued && counts {
                return Some(job);
            }
            short.pop();
        }
        None
    }

    /// Begins to keep the queues by seconds too, once hosts differ.
    fn keep_short(&mut self) {
        if !std::mem::replace(&mut self.keeps_short, true) {
            for job in self
                .jobs()
                .filter(|job| self.states[*job] == JobState::Queued)
            {
                let own = self.remaining.own(job).to_bits();
                let kind = self.slips[job].kind;
                self.queues[kind].short.push(Reverse((own, job)));
            }
        }
    }

    /// Seconds until all could be done: by the work that is left, and by the longest chain.
    fn look_ahead(&mut self) -> f64 {
        let queued = self.hosts.kinds();
        let queued = queued.filter_map(|kind| self.most_urgent(kind));
        let path = queued.map(|ready| ready.remaining).fold(0.0, f64::max);
        let work = self.remaining.left() / self.hosts.speed();
        let running = self.hosts.last_path_end() - self.now;
        work.max(running).max(path / self.hosts.top_speed())
    }

    /// The busy slot that a queued job rather waits for than to start on `free`, the fastest free host; and when it
    /// is expected to end there. `taken` are those that others wait for.
    fn held_for(&self, job: JobId, free: HostId, taken: &Taken) -> Option<(Slot, f64)> {
        if !self.hosts.are_unequal() || !self.remaining.knows_any() || self.random.is_some() {
            return None;
        }
        let (own, path) = (self.remaining.own(job), self.remaining.of(job));
        let speed = self.hosts.speed_of(free);
        let here = own / speed;
        if here + (path - own) / self.hosts.top_speed() <= self.horizon * NEAR {
            return None;
        }
        let asks = (self.slips[job].kind, own);
        let soonest = self.hosts.soonest(asks, speed, self.now, taken);
        soonest
            .filter(|(soon, _)| *soon < here)
            .map(|(soon, slot)| (slot, self.now + soon))
    }

    /// Starts what is short enough, after enough jobs of a kind were passed over.
    fn start_short(&mut self, kind: KindId, taken: &Taken, commands: &mut Vec<Command>) {
        while let Some(host) = self.hosts.fastest_free(kind)
            && let Some(job) = self.shortest(kind)
            && self.held_for(job, host, taken).is_none()
        {
            self.start(job, host, commands);
        }
    }

    fn start(&mut self, job: JobId, host: HostId, commands: &mut Vec<Command>) {
        let slip = &mut self.slips[job];
        slip.host = host;
        slip.starts += 1;
        self.set(job, JobState::Running);
        commands.extend(self.run(job).map(Command::Start));
    }

    /// Confesses that a job could start and does not. `idle` tells whether a kind has none that was held
    /// back.
    fn look_for_idle(&mut self, idle: impl Fn(&KindId) -> bool, commands: &mut Vec<Command>) {
        let mut kinds = self.hosts.kinds().filter(idle);
        let could = kinds.find_map(|kind| {
            let host = self.hosts.fastest_free(kind)?;
            (self.queues[kind].queued > 0).then_some((kind, host))
        });
        if let Some((kind, host)) = could {
            self.stopped = true;
            let waits = |job: &JobId| {
                self.states[*job] == JobState::Queued && self.slips[*job].kind == kind
            };
            let job = self.jobs().find(waits);
            commands.extend(job.map(|job| Command::Confess { job, host }));
        }
    }

    /// Why a job has not started; nothing if it has, or never will.
    pub fn why_waiting(&self, job: JobId) -> Option<Waiting> {
        match self.states[job] {
            JobState::Named => Some(Waiting::Unlisted),
            JobState::Open => Some(Waiting::Open),
            JobState::ToBuild => {
                let needs = self.graph.needs(job).iter().copied();
                let lacks = needs.filter(|need| self.states[*need] != JobState::Usable);
                Some(Waiting::Needs(lacks.collect()))
            }
            JobState::Queued => Some(self.why_queued(job)),
            JobState::Aside => self.beside(job).map(Waiting::Path),
            JobState::Locked => Some(Waiting::Lock),
            _ => None,
        }
    }

    fn why_queued(&self, job: JobId) -> Waiting {
        let kind = self.slips[job].kind;
        if self.stopped || self.held {
            return Waiting::RunStopped;
        }
        if let Some(free) = self.hosts.fastest_free(kind) {
            let held = self.held_for(job, free, &Taken::new());
            return held.map_or(Waiting::Order, |(slot, _)| Waiting::HeldFor(slot.host));
        }
        let all: Vec<HostId> = self.hosts.offering(kind).collect();
        let up = |host: &HostId| self.hosts.state(*host) == HostState::Up;
        let full: Vec<HostId> = all.iter().copied().filter(up).collect();
        match (all.is_empty(), full.is_empty()) {
            (true, _) => Waiting::NoHost,
            (false, true) => Waiting::NoneUp(all),
            (false, false) => Waiting::Full(full),
        }
    }
}
