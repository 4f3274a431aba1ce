//! The hosts: their states, what they can run, and which of them have a free slot.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

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
    running: BTreeMap<JobId, Going>,
}

/// What is expected of a running job, in seconds since the run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Going {
    /// When it ends.
    pub end: f64,
    /// When the longest chain of jobs above it ends.
    pub path_end: f64,
}

/// A busy slot that is expected to be free again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub host: HostId,
    /// What runs there.
    pub job: JobId,
}

/// Speeds that are looked at for one that is worth waiting for, and busy slots of each.
const SPEEDS: usize = 8;
const SLOTS: usize = 32;

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
    /// Of each speed the busy slots of hosts that are up: the one that is free first comes first.
    busy: BTreeMap<Reverse<u64>, BTreeSet<(u64, HostId, JobId)>>,
    /// Ends of the chains above what runs.
    path_ends: BTreeSet<(u64, JobId)>,
    /// Speeds of all slots of hosts that are up.
    speed: f64,
    /// The speed of the fastest host that is up.
    top_speed: f64,
    /// Whether hosts that are up differ in speed.
    unequal: bool,
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
        jobs.into_iter().flatten().map(|(job, _)| *job).collect()
    }

    /// The sum of the speeds of all slots of hosts that are up.
    pub fn speed(&self) -> f64 {
        self.speed
    }

    /// The speed of the fastest host that is up; 1 if there is none.
    pub fn top_speed(&self) -> f64 {
        if self.top_speed > 0.0 {
            self.top_speed
        } else {
            1.0
        }
    }

    /// Whether hosts that are up differ in speed.
    pub fn are_unequal(&self) -> bool {
        self.unequal
    }

    /// The speed of a host.
    pub fn speed_of(&self, host: HostId) -> f64 {
        self.hosts[host].speed
    }

    /// When the last of the chains above what runs is expected to end.
    pub fn last_path_end(&self) -> f64 {
        self.path_ends
            .last()
            .map_or(0.0, |(end, _)| f64::from_bits(*end))
    }

    /// The hosts that can run jobs of a kind, up or not.
    pub fn offering(&self, kind: KindId) -> impl Iterator<Item = HostId> + '_ {
        let hosts = self.hosts.iter();
        hosts
            .filter(move |(_, h)| h.kinds.binary_search(&kind).is_ok())
            .map(|(host, _)| host)
    }

    /// The busy slot that would end a job of that many seconds first, of those of hosts faster than `than`
    /// that can run it, and how soon: seconds from `now`. What runs longer than was expected is expected to
    /// run as long again as it is late. `taken` are those that others wait for, by what runs there, and when these
    /// will have run.
    pub fn soonest(
        &self,
        (kind, seconds): (KindId, f64),
        than: f64,
        now: f64,
        taken: &BTreeMap<JobId, f64>,
    ) -> Option<(f64, Slot)> {
        let mut best: Option<(f64, Slot)> = None;
        for (Reverse(speed), slots) in self.busy.range(..Reverse(than.to_bits())).take(SPEEDS) {
            let speed = f64::from_bits(*speed);
            for &(end, host, job) in slots.iter().take(SLOTS) {
                let able = self.hosts[host].kinds.binary_search(&kind).is_ok();
                if !able {
                    continue;
                }
                let (end, after) = (f64::from_bits(end), taken.get(&job));
                let begin = after.map_or_else(|| (end - now).abs(), |end| end - now);
                let soon = begin + seconds / speed;
                if best.is_none_or(|(soonest, _)| soon < soonest) {
                    best = Some((soon, Slot { host, job }));
                }
                // The others of this speed are free later.
                if end >= now && after.is_none() {
                    break;
                }
            }
        }
        best
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
        self.count_all_busy(host, false);
        self.change(host, |entry| {
            entry.slots = offer.slots.max(1);
            let usable = offer.speed.is_finite() && offer.speed > 0.0;
            entry.speed = if usable { offer.speed } else { 1.0 };
            entry.kinds = offer.kinds;
            entry.kinds.sort_unstable();
            entry.kinds.dedup();
        });
        self.count_all_busy(host, true);
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
        self.count_all_busy(host, false);
        self.change(host, |entry| entry.state = next);
        self.count_all_busy(host, true);
    }

    /// Takes in that a job starts on a host.
    pub fn occupy(&mut self, host: HostId, job: JobId, going: Going) {
        self.path_ends.insert((going.path_end.to_bits(), job));
        self.change(host, |entry| {
            entry.running.insert(job, going);
        });
        self.count_busy(host, job, going, true);
    }

    /// Takes in that a job does not run on a host any more.
    pub fn release(&mut self, host: HostId, job: JobId) {
        if let Some(&going) = self.hosts[host].running.get(&job) {
            self.path_ends.remove(&(going.path_end.to_bits(), job));
            self.count_busy(host, job, going, false);
        }
        self.change(host, |entry| {
            entry.running.remove(&job);
        });
    }

    /// Keeps `busy` right: only slots of hosts that are up are worth waiting for.
    fn count_busy(&mut self, host: HostId, job: JobId, going: Going, is_busy: bool) {
        let entry = &self.hosts[host];
        if entry.state != HostState::Up {
            return;
        }
        let speed = Reverse(entry.speed.to_bits());
        let slots = self.busy.entry(speed).or_default();
        let slot = (going.end.to_bits(), host, job);
        if is_busy {
            slots.insert(slot);
        } else {
            slots.remove(&slot);
            if slots.is_empty() {
                self.busy.remove(&speed);
            }
        }
    }

    fn count_all_busy(&mut self, host: HostId, are_busy: bool) {
        let running = self.hosts.get(host).map(|h| h.running.clone());
        for (job, going) in running.into_iter().flatten() {
            self.count_busy(host, job, going, are_busy);
        }
    }

    /// Changes a host, and all that is kept about it elsewhere.
    fn change(&mut self, host: HostId, change: impl FnOnce(&mut Host)) {
        while self.hosts.len() <= host.index() {
            self.hosts.push(Host {
                state: HostState::Named,
                slots: 1,
                speed: 1.0,
                kinds: Vec::new(),
                running: BTreeMap::new(),
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
            let up = || self.hosts.values().filter(|h| h.state == HostState::Up);
            self.speed = up().map(|h| h.speed * h.slots as f64).sum();
            self.top_speed = up().map(|h| h.speed).fold(0.0, f64::max);
            self.unequal = up().any(|h| h.speed < self.top_speed);
        }
    }
}
