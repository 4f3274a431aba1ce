//! How jobs come to several slots of a host, or to all: one that has no room anywhere has a host *kept*, once it is
//! more urgent than all that could start there. Nothing more starts on that host, so that its slots run dry, except
//! what is expected to end before the last slot that is waited for.
//!
//! One host at a time is kept for the jobs that ask for the same, the one that is expected to have room first, and
//! it is given back when one of them starts, wherever. What may start there meanwhile is decided by when the host
//! was expected to have room as it came to be kept: what is late keeps nobody waiting for ever.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Ask, ClassId};
use super::{Command, Engine, GateId, HostId, HostState, JobId, KindId, Ready, Slots};

/// A host that is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kept {
    pub host: HostId,
    /// When it was expected to have room.
    pub until: f64,
}

impl Engine {
    /// Gives back the hosts that are of no use any more.
    pub(super) fn review_kept(&mut self) {
        let void = self.kept.iter().filter(|(class, kept)| {
            let able = self.hosts.can(kept.host, self.queues[**class].ask.kind);
            let up = self.hosts.state(kept.host) == HostState::Up;
            !able || !up
        });
        for class in void.map(|(class, _)| *class).collect::<Vec<_>>() {
            self.release_kept(class);
        }
    }

    /// Gives back the host that is kept for the jobs of a class, if there is one.
    pub(super) fn release_kept(&mut self, class: ClassId) {
        if let Some(kept) = self.kept.remove(&class) {
            self.hosts.keep(kept.host, false);
        }
    }

    /// Keeps a host for the jobs of a class, the most urgent of which has no room, unless something else that could
    /// start there is more urgent. Where one of `taken` runs, something more urgent waits for that.
    pub(super) fn keep_host(&mut self, class: ClassId, ready: Ready, taken: &BTreeMap<JobId, f64>) {
        let Ask { kind, slots, .. } = self.queues[class].ask;
        // The first question is cheap, and says no most often.
        if self.kept.contains_key(&class) || self.is_outranked(ready, |ask| ask.kind == kind) {
            return;
        }
        let first = self.hosts.first_drained(kind, slots, self.now, taken);
        let Some((wait, host)) = first else {
            return;
        };
        let classes = self.active.iter().map(|class| self.queues[*class].ask.kind);
        let here: BTreeSet<KindId> = classes.filter(|k| self.hosts.can(host, *k)).collect();
        if self.is_outranked(ready, |ask| here.contains(&ask.kind)) {
            return;
        }
        self.keep_short();
        self.hosts.keep(host, true);
        let until = self.now + wait;
        self.kept.insert(class, Kept { host, until });
    }

    /// Whether a job is queued that is more urgent, and asks for what `rivals` says. Those that a host is kept for do
    /// not count.
    fn is_outranked(&mut self, ready: Ready, rivals: impl Fn(&Ask) -> bool) -> bool {
        let mut at = None;
        while let Some(class) = self.active_after(at) {
            at = Some(class);
            let ask = self.queues[class].ask;
            if ask.slots != Slots::None
                && !self.kept.contains_key(&class)
                && rivals(&ask)
                && self.most_urgent(class).is_some_and(|head| head > ready)
            {
                return true;
            }
        }
        false
    }

    /// Starts on hosts that are kept what is expected to end in time.
    pub(super) fn fill_kept(&mut self, commands: &mut Vec<Command>) {
        if self.kept.is_empty() || !self.remaining.knows_any() {
            return;
        }
        // What goes through the gate of a job that a host is kept for would keep that waiting.
        let gates = self
            .kept
            .keys()
            .filter_map(|class| self.queues[*class].ask.gate);
        let gates: BTreeSet<GateId> = gates.collect();
        for Kept { host, until } in self.kept.values().copied().collect::<Vec<_>>() {
            let mut at = None;
            while let Some(class) = self.active_after(at) {
                at = Some(class);
                let Ask { kind, slots, gate } = self.queues[class].ask;
                let closes = gate.is_some_and(|gate| gates.contains(&gate));
                if slots == Slots::None || closes || self.kept.contains_key(&class) {
                    continue;
                }
                while self.active.contains(&class)
                    && self.hosts.has_kept_room(host, kind, slots)
                    && let Some(job) = self.in_time(class, host, until)
                {
                    self.start(job, host, commands);
                    self.slips[job].fills = true;
                }
            }
        }
    }

    /// A queued job of a class that is expected to end in time on a host: the most urgent, or else the shortest.
    fn in_time(&mut self, class: ClassId, host: HostId, until: f64) -> Option<JobId> {
        let left = (until - self.now) * self.hosts.speed_of(host);
        let urgent = self.most_urgent(class)?.job;
        if self.remaining.own(urgent) <= left {
            return Some(urgent);
        }
        let shortest = self.shortest(class)?;
        (self.remaining.own(shortest) <= left).then_some(shortest)
    }
}
