//! Which job starts where: the most urgent one of the kinds that have a free host, on the fastest of those; unless a
//! faster host that is busy yet is expected to end it earlier.
//!
//! A job starts on a slow host all the same if that holds nothing up: if the chain above it ends well before all the
//! work can be done. Else it is *held back* when the slow host would take longer than a faster one with what that runs
//! now before it, and what is held back for it already. What is behind it may start, and a look passes over a bounded number of jobs; then the
//! shortest, which is the likeliest to start, is looked at in the place of all others. A job is held back
//! only for a slot that runs something, so that an event follows; and what runs longer than expected is expected to
//! run as long again, so that no job waits for ever.
//!
//! A job for which a host is *near*, because that holds what it needs, starts there if it can. It is held back for
//! that host too, if a slot there is expected to be free before the inputs could have travelled elsewhere; and
//! never for longer than that saves, whatever was expected.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::hosts::Slot;
use super::model::ClassId;
use super::{Command, Engine, GateId, HostId, HostState, JobId, JobState, Ready, Slots, Waiting};

/// Jobs of a class that one look passes over.
const PASSED_OVER: usize = 16;
/// The part of the time until all could be done that a job and the chain above it may take on a slow host: that
/// time is a bound that no schedule may reach, and the chain may have to wait for a fast host on its way.
const NEAR: f64 = 0.8;

/// Slots that jobs wait for, by what runs there, and when the last of these is expected to end.
type Taken = BTreeMap<JobId, f64>;

/// Where what a job needs lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Near {
    host: HostId,
    /// Seconds that are saved there.
    saves: f64,
    /// When it was first held back for that host, since it was queued.
    since: Option<f64>,
}

/// What a look at the queues has come to know.
#[derive(Default)]
struct Look {
    /// What was passed over, and how many of each class.
    held: Vec<Ready>,
    passed: BTreeMap<ClassId, usize>,
    /// The jobs whose slots others wait for.
    taken: Taken,
    /// Classes that need several slots and found none.
    full: BTreeSet<ClassId>,
}

impl Look {
    fn is_over_for(&self, class: ClassId) -> bool {
        let passed = self.passed.get(&class).is_some_and(|n| *n >= PASSED_OVER);
        passed || self.full.contains(&class)
    }
}

/// What becomes of the most urgent job.
enum Choice {
    Start(HostId),
    /// It waits for the slot of this job, and is expected to end then.
    Wait(JobId, f64),
}

impl Engine {
    /// Starts what can start.
    pub(super) fn fill_slots(&mut self, commands: &mut Vec<Command>) {
        if self.stopped || self.held {
            return;
        }
        self.review_kept();
        if self.hosts.are_unequal() {
            self.keep_short();
            self.horizon = self.look_ahead(0.0);
        }
        let mut look = Look::default();
        while let Some((ready, class, host)) = self.candidate(&look) {
            let Some(host) = host else {
                look.full.insert(class);
                self.keep_host(class, ready, &look.taken);
                continue;
            };
            match self.choose(ready.job, host, &look.taken) {
                Choice::Start(host) => {
                    self.start(ready.job, host, commands);
                    // A host may not be kept any more.
                    look.full.clear();
                }
                Choice::Wait(busy, end) => {
                    look.taken.insert(busy, end);
                    look.held.extend(self.queues[class].ready.pop());
                    let passed = look.passed.entry(class).or_default();
                    *passed += 1;
                    if *passed == PASSED_OVER {
                        self.start_short(class, &look.taken, commands);
                    }
                }
            }
        }
        for ready in look.held {
            self.queues[self.slips[ready.job].class].ready.push(ready);
        }
        self.fill_kept(commands);
        self.look_for_idle(|class| !look.passed.contains_key(&class), commands);
    }

    /// The class with queued jobs and an open gate that comes after another.
    pub(super) fn active_after(&self, class: Option<ClassId>) -> Option<ClassId> {
        let from = class.map_or(Bound::Unbounded, Bound::Excluded);
        self.active.range((from, Bound::Unbounded)).next().copied()
    }

    /// The host that a job of a class would start on.
    fn room(&self, class: ClassId) -> Option<HostId> {
        let ask = self.queues[class].ask;
        let kept = self.kept.get(&class).map(|kept| kept.host);
        let kept = kept.filter(|host| self.hosts.has_kept_room(*host, ask.kind, ask.slots));
        kept.or_else(|| self.hosts.room(ask.kind, ask.slots))
    }

    /// The most urgent job of those that have a host, and that. One that needs several slots of a host comes up
    /// without one too.
    fn candidate(&mut self, look: &Look) -> Option<(Ready, ClassId, Option<HostId>)> {
        let mut best: Option<(Ready, ClassId, Option<HostId>)> = None;
        let mut at = None;
        while let Some(class) = self.active_after(at) {
            at = Some(class);
            if look.is_over_for(class) {
                continue;
            }
            let host = self.room(class);
            if (host.is_some() || self.queues[class].ask.slots.are_several())
                && let Some(ready) = self.most_urgent(class)
                && best.is_none_or(|(best, ..)| ready > best)
            {
                best = Some((ready, class, host));
            }
        }
        best
    }

    /// The queued job of a class that is to start first.
    pub(super) fn most_urgent(&mut self, class: ClassId) -> Option<Ready> {
        while let Some(&Ready { remaining, job }) = self.queues[class].ready.peek() {
            // Others were put in again with a longer path.
            if self.states[job] == JobState::Queued && remaining == self.urgency(job) {
                return Some(Ready { remaining, job });
            }
            self.queues[class].ready.pop();
        }
        None
    }

    /// The queued job of a class that takes the fewest seconds.
    pub(super) fn shortest(&mut self, class: ClassId) -> Option<JobId> {
        let short = &mut self.queues[class].short;
        while let Some(&Reverse((own, job))) = short.peek() {
            let counts = own == self.remaining.own(job).to_bits();
            if self.states[job] == JobState::Queued && counts {
                return Some(job);
            }
            short.pop();
        }
        None
    }

    /// Begins to keep the queues by seconds too, once something may be passed over.
    pub(super) fn keep_short(&mut self) {
        if !std::mem::replace(&mut self.keeps_short, true) {
            for job in self
                .jobs()
                .filter(|job| self.states[*job] == JobState::Queued)
            {
                let own = self.remaining.own(job).to_bits();
                let class = self.slips[job].class;
                self.queues[class].short.push(Reverse((own, job)));
            }
        }
    }

    /// Seconds until all could be done: by the work that is left, less `done`, and by the longest chain.
    pub(super) fn look_ahead(&mut self, done: f64) -> f64 {
        let (mut path, mut at) = (0.0_f64, None);
        while let Some(class) = self.active_after(at) {
            at = Some(class);
            let urgent = self.most_urgent(class);
            path = path.max(urgent.map_or(0.0, |ready| self.remaining.of(ready.job)));
        }
        let work = (self.remaining.left() - done) / self.hosts.speed();
        let running = self.hosts.last_path_end() - self.now;
        work.max(running).max(path / self.hosts.top_speed())
    }

    /// Where a job starts that could start on `free`, the fastest free host, or what it waits for. `taken` are
    /// those that others wait for.
    fn choose(&mut self, job: JobId, free: HostId, taken: &Taken) -> Choice {
        let ask = self.queues[self.slips[job].class].ask;
        if let Some(near) = self.near.get(&job).copied()
            && self.hosts.can(near.host, ask.kind)
            && near.host != free
            && self.random.is_none()
        {
            let room = self.hosts.has_room(near.host, ask.kind, ask.slots);
            if room && self.head_start(job, near, free) >= 0.0 {
                return Choice::Start(near.host);
            }
            if let Some((busy, end)) = self.near_slot(job, free, taken) {
                let since = Some(near.since.unwrap_or(self.now));
                self.near.insert(job, Near { since, ..near });
                return Choice::Wait(busy, end);
            }
        }
        let held = self.held_for(job, free, taken);
        held.map_or(Choice::Start(free), |(slot, end)| {
            Choice::Wait(slot.job, end)
        })
    }

    /// Seconds that a job is done sooner where it is near than on a free host, if it starts now.
    fn head_start(&self, job: JobId, near: Near, free: HostId) -> f64 {
        let own = self.remaining.own(job);
        near.saves + own / self.hosts.speed_of(free) - own / self.hosts.speed_of(near.host)
    }

    /// The job whose slot a queued job rather waits for than to start on a free host, because that slot is where
    /// what it needs lies; and when it is expected to end there.
    fn near_slot(&self, job: JobId, free: HostId, taken: &Taken) -> Option<(JobId, f64)> {
        let near = *self.near.get(&job)?;
        let ask = self.queues[self.slips[job].class].ask;
        if ask.slots == Slots::None || ask.slots.are_several() || near.host == free {
            return None;
        }
        let waited = near.since.map_or(0.0, |since| self.now - since);
        let end = self.hosts.first_end(near.host, ask.kind, self.now, taken);
        let (wait, busy) = end.filter(|_| self.remaining.knows_any())?;
        let there = self.remaining.own(job) / self.hosts.speed_of(near.host);
        let pays = waited < near.saves && waited + wait < self.head_start(job, near, free);
        pays.then_some((busy, self.now + wait + there))
    }

    /// Takes in where what a job needs lies.
    pub(super) fn hint(&mut self, job: JobId, host: HostId, seconds: f64) {
        if seconds.is_finite() && seconds > 0.0 && !self.states[job].is_final() {
            // It may be passed over.
            self.keep_short();
            let since = self.near.get(&job).and_then(|near| near.since);
            let near = Near {
                host,
                saves: seconds,
                since,
            };
            self.near.insert(job, near);
        } else {
            self.near.remove(&job);
        }
    }

    /// Forgets for how long a job has waited for a host.
    pub(super) fn forget_wait(&mut self, job: JobId) {
        if let Some(near) = self.near.get_mut(&job) {
            near.since = None;
        }
    }

    /// The busy slot that a queued job rather waits for than to start on `free`, the fastest free host; and when it
    /// is expected to end there. `taken` are those that others wait for.
    fn held_for(&self, job: JobId, free: HostId, taken: &Taken) -> Option<(Slot, f64)> {
        let ask = self.queues[self.slips[job].class].ask;
        let one = !ask.slots.are_several() && ask.slots != Slots::None;
        let usual = self.hosts.are_unequal() && self.random.is_none();
        if !one || !usual || !self.remaining.knows_any() {
            return None;
        }
        let (own, path) = (self.remaining.own(job), self.remaining.of(job));
        let speed = self.hosts.speed_of(free);
        let here = own / speed;
        if here + (path - own) / self.hosts.top_speed() <= self.horizon * NEAR {
            return None;
        }
        let asks = (ask.kind, own);
        let soonest = self.hosts.soonest(asks, speed, self.now, taken);
        soonest
            .filter(|(soon, _)| *soon < here)
            .map(|(soon, slot)| (slot, self.now + soon))
    }

    /// Starts what is short enough, after enough jobs of a class were passed over.
    fn start_short(&mut self, class: ClassId, taken: &Taken, commands: &mut Vec<Command>) {
        while self.active.contains(&class)
            && let Some(host) = self.room(class)
            && let Some(job) = self.shortest(class)
            && let Choice::Start(host) = self.choose(job, host, taken)
        {
            self.start(job, host, commands);
        }
    }

    pub(super) fn start(&mut self, job: JobId, host: HostId, commands: &mut Vec<Command>) {
        let slip = &mut self.slips[job];
        slip.host = host;
        slip.starts += 1;
        slip.fills = false;
        let class = slip.class;
        self.release_kept(class);
        self.set(job, JobState::Running);
        commands.extend(self.run(job).map(Command::Start));
    }

    /// Confesses that a job could start and does not. `idle` tells whether a class has none that was held
    /// back.
    fn look_for_idle(&mut self, idle: impl Fn(ClassId) -> bool, commands: &mut Vec<Command>) {
        let mut classes = self.active.iter().copied().filter(|class| idle(*class));
        let could = classes.find_map(|class| Some((class, self.room(class)?)));
        if let Some((class, host)) = could {
            self.stopped = true;
            let waits = |job: &JobId| {
                self.states[*job] == JobState::Queued && self.slips[*job].class == class
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
        let class = self.slips[job].class;
        let ask = self.queues[class].ask;
        if self.stopped || self.held {
            return Waiting::RunStopped;
        }
        if let Some(gate) = ask.gate.filter(|_| !self.is_gate_open(class)) {
            return Waiting::Gate(gate, self.inside(gate));
        }
        if let Some(free) = self.room(class) {
            let taken = Taken::new();
            // Where others wait for that slot it is held back for another reason, if at all.
            let near = self.near.get(&job).filter(|near| near.since.is_some());
            if let (Some(near), Some(_)) = (near, self.near_slot(job, free, &taken)) {
                return Waiting::Near(near.host);
            }
            let held = self.held_for(job, free, &taken);
            return held.map_or(Waiting::Order, |(slot, _)| Waiting::HeldFor(slot.host));
        }
        let all: Vec<HostId> = self.hosts.offering(ask.kind).collect();
        let up = |host: &HostId| self.hosts.state(*host) == HostState::Up;
        let full: Vec<HostId> = all.iter().copied().filter(up).collect();
        if all.is_empty() {
            return Waiting::NoHost;
        }
        if full.is_empty() {
            return Waiting::NoneUp(all);
        }
        if ask.slots.are_several() {
            return Waiting::Wide(self.kept.get(&class).map(|kept| kept.host));
        }
        let kept: Vec<HostId> = self.hosts.kept(ask.kind).collect();
        match ask.slots == Slots::None || kept.is_empty() {
            true => Waiting::Full(full),
            false => Waiting::Kept(kept),
        }
    }

    /// The running jobs that went through a gate.
    fn inside(&self, gate: GateId) -> Vec<JobId> {
        let running = self.hosts.all_running();
        let mut inside: Vec<JobId> = running
            .filter(|job| self.queues[self.slips[*job].class].ask.gate == Some(gate))
            .collect();
        inside.sort_unstable();
        inside
    }
}
