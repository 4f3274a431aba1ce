//! The hosts: their states, what they can run, and which of them have a free slot.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::model::{HostId, HostState, JobId, KindId, Offer};
use crate::dense::{DenseMap, Id};

/// A host among those with a free slot: the fastest comes first, among equals the one with the smaller
/// share of busy slots, and among those the older.
type Rank = (Reverse<u64>, u64, HostId);

/// One host.
#[derive(Debug)]
struct Host {
    state: HostState,
    slots: usize,
    speed: f64,
    /// Sorted.
    kinds: Vec<KindId>,
    running: BTreeSet<JobId>,
}

impl Host {
    /// Where it stands among the free ones, if it is one.
    fn rank(&self, host: HostId) -> Option<Rank> {
        let busy = self.running.len();
        (self.state == HostState::Up && busy < self.slots).then(|| {
            let share = (busy as u64) << 32;
            (
                Reverse(self.speed.to_bits()),
                share / self.slots as u64,
                host,
            )
        })
    }
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: DenseMap<HostId, Host>,
    /// Of each kind the hosts that can run it and have a free slot.
    free: DenseMap<KindId, BTreeSet<Rank>>,
    /// Of each kind how many hosts can run it, up or not.
    offered: DenseMap<KindId, usize>,
    /// Speeds of all slots of hosts that are up.
    speed: f64,
}

impl Hosts {
    /// Adds a kind that no host can run yet.
    pub fn push_kind(&mut self) -> KindId {
        self.offered.push(0);
        self.free.push(BTreeSet::new())
    }

    /// The kinds, in order.
    pub fn kinds(&self) -> impl Iterator<Item = KindId> + use<> {
        self.free.ids()
    }

    /// The state of a host. One that nobody spoke of is to come.
    pub fn state(&self, host: HostId) -> HostState {
        self.hosts.get(host).map_or(HostState::Named, |h| h.state)
    }

    /// The jobs that run on a host, in order.
    pub fn running(&self, host: HostId) -> Vec<JobId> {
        let jobs = self.hosts.get(host).map(|h| &h.running);
        jobs.into_iter().flatten().copied().collect()
    }

    /// The sum of the speeds of all slots of hosts that are up.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// Whether a host can run jobs of a kind, up or not.
    pub fn is_offered(&self, kind: KindId) -> bool {
        self.offered[kind] > 0
    }

    /// The fastest host that has a free slot for a job of this kind.
    pub fn fastest_free(&self, kind: KindId) -> Option<HostId> {
        self.free[kind].first().map(|(_, _, host)| *host)
    }

    /// Takes in what a host can do.
    pub fn offer(&mut self, host: HostId, offer: Offer) {
        self.change(host, |entry| {
            entry.slots = offer.slots.max(1);
            let usable = offer.speed.is_finite() && offer.speed > 0.0;
            entry.speed = if usable { offer.speed } else { 1.0 };
            entry.kinds = offer.kinds;
            entry.kinds.sort_unstable();
            entry.kinds.dedup();
        });
    }

    /// Takes in that a host can run jobs of a kind as well.
    pub fn learn(&mut self, host: HostId, kind: KindId) {
        self.change(host, |entry| {
            if let Err(at) = entry.kinds.binary_search(&kind) {
                entry.kinds.insert(at, kind);
            }
        });
    }

    /// Changes the state of a host: the only function that does.
    pub fn set(&mut self, host: HostId, next: HostState) {
        self.change(host, |entry| entry.state = next);
    }

    /// Takes in that a job starts on a host.
    pub fn occupy(&mut self, host: HostId, job: JobId) {
        self.change(host, |entry| {
            entry.running.insert(job);
        });
    }

    /// Takes in that a job does not run on a host any more.
    pub fn release(&mut self, host: HostId, job: JobId) {
        self.change(host, |entry| {
            entry.running.remove(&job);
        });
    }

    /// Changes a host, and all that is kept about it elsewhere.
    fn change(&mut self, host: HostId, change: impl FnOnce(&mut Host)) {
        while self.hosts.len() <= host.index() {
            self.hosts.push(Host {
                state: HostState::Named,
                slots: 1,
                speed: 1.0,
                kinds: Vec::new(),
                running: BTreeSet::new(),
            });
        }
        let entry = &mut self.hosts[host];
        let rank = entry.rank(host);
        for kind in &entry.kinds {
            self.offered[*kind] -= 1;
            if let Some(rank) = &rank {
                self.free[*kind].remove(rank);
            }
        }
        let before = (entry.state, entry.slots, entry.speed.to_bits());
        change(entry);
        let after = (entry.state, entry.slots, entry.speed.to_bits());
        let rank = entry.rank(host);
        for kind in &entry.kinds {
            self.offered[*kind] += 1;
            if let Some(rank) = rank {
                self.free[*kind].insert(rank);
            }
        }
        if before != after {
            let up = self.hosts.values().filter(|h| h.state == HostState::Up);
            self.speed = up.map(|h| h.speed * h.slots as f64).sum();
        }
    }
}
