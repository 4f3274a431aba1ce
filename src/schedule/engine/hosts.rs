//! The hosts: their states, what they can run, and which of them have room for what.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::model::{HostId, HostState, JobId, KindId, Offer, Slots};
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
    /// Slots that are taken.
    busy: usize,
    /// Jobs without a slot that run.
    light_busy: usize,
    /// Whether what runs there has it alone.
    alone: bool,
    /// Whether its free slots are kept for a job that needs several.
    kept: bool,
}

/// What is expected of a running job, in seconds since the run began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Going {
    /// When it ends.
    pub end: f64,
    /// When the longest chain of jobs above it ends.
    pub path_end: f64,
    /// Slots that it has.
    pub slots: usize,
    /// Whether nothing else that has a slot may run beside it.
    pub alone: bool,
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
/// Hosts without a job that are looked at for the one that gives a job most.
const IDLE: usize = 16;
/// Jobs without a slot that a host runs at a time.
const LIGHT: usize = 16;

/// The lists that a host stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Places {
    free: Option<Rank>,
    idle: Option<Rank>,
    roomy: Option<(Reverse<usize>, Rank)>,
    light: Option<Rank>,
}

/// The hosts that have room for jobs of a kind.
#[derive(Debug, Default)]
struct Room {
    /// Those with a free slot.
    free: BTreeSet<Rank>,
    /// Of these, those where all are free.
    idle: BTreeSet<Rank>,
    /// The others of these, those with most free slots first.
    roomy: BTreeSet<(Reverse<usize>, Rank)>,
    /// Those that take a job without a slot.
    light: BTreeSet<Rank>,
}

impl Room {
    fn put(&mut self, places: &Places) {
        self.free.extend(places.free);
        self.idle.extend(places.idle);
        self.roomy.extend(places.roomy);
        self.light.extend(places.light);
    }

    fn take(&mut self, places: &Places) {
        places.free.map(|rank| self.free.remove(&rank));
        places.idle.map(|rank| self.idle.remove(&rank));
        places.roomy.map(|rank| self.roomy.remove(&rank));
        places.light.map(|rank| self.light.remove(&rank));
    }
}

/// Which lists are kept beside that of hosts with a free slot: those that some job needs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Lists {
    wide: bool,
    light: bool,
}

impl Host {
    fn is_open(&self) -> bool {
        self.state == HostState::Up && !self.kept
    }

    fn free(&self) -> usize {
        match self.alone {
            true => 0,
            false => self.slots.saturating_sub(self.busy),
        }
    }

    /// How many of its slots a job gets that asks for these.
    fn width(&self, slots: Slots) -> usize {
        match slots {
            Slots::None => 0,
            Slots::UpTo(most) => most.clamp(1, self.slots),
            Slots::All => self.slots,
        }
    }

    /// Whether it has room for a job that asks for these slots, kept or not.
    fn has_room(&self, slots: Slots) -> bool {
        match slots {
            Slots::None => self.light_busy < LIGHT,
            // Not a matter of numbers: these may change while jobs run.
            Slots::All => self.busy == 0,
            slots => self.free() >= self.width(slots),
        }
    }

    fn can(&self, kind: KindId) -> bool {
        self.kinds.binary_search(&kind).is_ok()
    }

    fn places(&self, host: HostId, lists: Lists) -> Places {
        if self.state != HostState::Up {
            return Places::default();
        }
        let share = (self.busy as u64) << 32;
        let speed = Reverse(self.speed.to_bits());
        let rank = (speed, share / self.slots as u64, host);
        let free = !self.kept && self.free() > 0;
        let (wide, idle) = (free && lists.wide, self.busy == 0);
        Places {
            free: free.then_some(rank),
            idle: (wide && idle).then_some(rank),
            roomy: (wide && !idle).then_some((Reverse(self.free()), rank)),
            light: (lists.light && self.light_busy < LIGHT).then_some(rank),
        }
    }

    /// In how many seconds a job is expected to end. What runs longer than was expected is expected to run as
    /// long again as it is late.
    fn ends_in(going: &Going, now: f64) -> f64 {
        (going.end - now).abs()
    }
}

/// All hosts.
#[derive(Debug, Default)]
pub(super) struct Hosts {
    hosts: DenseMap<HostId, Host>,
    /// Of each kind the hosts that can run it and have room.
    rooms: DenseMap<KindId, Room>,
    lists: Lists,
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
        self.rooms.push(Room::default())
    }

    /// Takes in that there are jobs that ask for these slots.
    pub fn expect(&mut self, slots: Slots) {
        let mut lists = self.lists;
        lists.light |= slots == Slots::None;
        lists.wide |= slots.are_several();
        if lists == self.lists {
            return;
        }
        for (host, entry) in self.hosts.iter() {
            let (before, after) = (entry.places(host, self.lists), entry.places(host, lists));
            for kind in &entry.kinds {
                self.rooms[*kind].take(&before);
                self.rooms[*kind].put(&after);
            }
        }
        self.lists = lists;
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

    /// All running jobs.
    pub fn all_running(&self) -> impl Iterator<Item = JobId> + '_ {
        self.hosts.values().flat_map(|h| h.running.keys().copied())
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

    /// Seconds of work that are done of what runs. `own` tells how many a job takes.
    pub fn done(&self, now: f64, own: impl Fn(JobId) -> f64) -> f64 {
        let running = self.hosts.values().flat_map(|host| {
            let running = host.running.iter();
            running.map(|(job, going)| (*job, host.speed * (going.end - now)))
        });
        let done = running.map(|(job, left)| {
            let own = own(job);
            (own - left).clamp(0.0, own)
        });
        done.sum()
    }

    /// The hosts that can run jobs of a kind, up or not.
    pub fn offering(&self, kind: KindId) -> impl Iterator<Item = HostId> + '_ {
        let hosts = self.hosts.iter();
        hosts
            .filter(move |(_, h)| h.can(kind))
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
                let entry = &self.hosts[host];
                if !entry.can(kind) || entry.kept {
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

    /// The host for a job of this kind that asks for these slots: the fastest that has room. Where several slots are
    /// asked for, one without a job comes first.
    pub fn room(&self, kind: KindId, slots: Slots) -> Option<HostId> {
        let room = &self.rooms[kind];
        if slots == Slots::None {
            return room.light.first().map(|rank| rank.2);
        }
        if !slots.are_several() {
            return room.free.first().map(|rank| rank.2);
        }
        let mut best: Option<(f64, HostId)> = None;
        for &(_, _, host) in room.idle.iter().take(IDLE) {
            let entry = &self.hosts[host];
            let power = entry.speed * entry.width(slots) as f64;
            if best.is_none_or(|(most, _)| power > most) {
                best = Some((power, host));
            }
        }
        // No other has as much room as the first.
        let roomy = || room.roomy.first().map(|(_, rank)| rank.2);
        let host = best.map(|(_, host)| host).or_else(roomy)?;
        self.hosts[host].has_room(slots).then_some(host)
    }

    /// Whether a host that is up, and not kept for others, has room for a job of this kind now.
    pub fn has_room(&self, host: HostId, kind: KindId, slots: Slots) -> bool {
        let entry = self.hosts.get(host);
        entry.is_some_and(|h| h.is_open() && h.can(kind) && h.has_room(slots))
    }

    /// How many slots of a host a job gets that asks for these.
    pub fn width(&self, host: HostId, slots: Slots) -> usize {
        self.hosts[host].width(slots)
    }

    /// Whether a host can run jobs of a kind, up or not.
    pub fn can(&self, host: HostId, kind: KindId) -> bool {
        self.hosts.get(host).is_some_and(|h| h.can(kind))
    }

    /// The slots that a running job has on a host.
    pub fn slots_of(&self, host: HostId, job: JobId) -> usize {
        let entry = self.hosts.get(host);
        entry
            .and_then(|h| h.running.get(&job))
            .map_or(0, |g| g.slots)
    }

    /// In how many seconds the first slot of a host that is up is expected to be free, and which job has it; those that
    /// are `taken` do not count.
    pub fn first_end(
        &self,
        host: HostId,
        kind: KindId,
        now: f64,
        taken: &BTreeMap<JobId, f64>,
    ) -> Option<(f64, JobId)> {
        let entry = self.hosts.get(host)?;
        let running = entry.running.iter();
        let counts = |(job, going): &(&JobId, &Going)| going.slots > 0 && !taken.contains_key(*job);
        let ends = running
            .filter(counts)
            .map(|(job, going)| (Host::ends_in(going, now), *job));
        let first = ends.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        first.filter(|_| entry.is_open() && entry.can(kind))
    }

    /// The host that is expected to have room first for a job of this kind, when nothing more starts there, and in how
    /// many seconds. Of those that are up, not kept for another, and run none of `taken`.
    pub fn first_drained(
        &self,
        kind: KindId,
        slots: Slots,
        now: f64,
        taken: &BTreeMap<JobId, f64>,
    ) -> Option<(f64, HostId)> {
        let mut best: Option<(f64, HostId)> = None;
        for (host, entry) in self.hosts.iter() {
            let awaited = || entry.running.keys().any(|job| taken.contains_key(job));
            if !entry.is_open() || !entry.can(kind) || awaited() {
                continue;
            }
            let running = entry.running.values().filter(|going| going.slots > 0);
            let mut ends: Vec<(f64, usize)> = running
                .map(|going| (Host::ends_in(going, now), going.slots))
                .collect();
            ends.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
            let (mut free, mut wait) = (entry.free(), 0.0);
            for (end, slots_of_it) in ends {
                if free >= entry.width(slots) {
                    break;
                }
                free += slots_of_it;
                wait = end;
            }
            if best.is_none_or(|(first, _)| wait < first) {
                best = Some((wait, host));
            }
        }
        best
    }

    /// Keeps the free slots of a host for a job that needs several, or does not any more.
    pub fn keep(&mut self, host: HostId, kept: bool) {
        self.change(host, |entry| entry.kept = kept);
    }

    /// The hosts that are kept and have a free slot for jobs of a kind.
    pub fn kept(&self, kind: KindId) -> impl Iterator<Item = HostId> + '_ {
        let hosts = self.offering(kind);
        hosts.filter(|host| {
            let entry = &self.hosts[*host];
            entry.state == HostState::Up && entry.kept && entry.free() > 0
        })
    }

    /// Whether a host has room for a job of this kind, though it may be kept for another.
    pub fn has_kept_room(&self, host: HostId, kind: KindId, slots: Slots) -> bool {
        let entry = &self.hosts[host];
        entry.state == HostState::Up && entry.can(kind) && entry.has_room(slots)
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
            entry.busy += going.slots;
            entry.alone |= going.alone;
            entry.light_busy += usize::from(going.slots == 0);
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
            if let Some(going) = entry.running.remove(&job) {
                entry.busy -= going.slots;
                entry.alone &= !going.alone;
                entry.light_busy -= usize::from(going.slots == 0);
            }
        });
    }

    /// Keeps `busy` right: only slots of hosts that are up are worth waiting for.
    fn count_busy(&mut self, host: HostId, job: JobId, going: Going, is_busy: bool) {
        let entry = &self.hosts[host];
        if entry.state != HostState::Up || going.slots == 0 {
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
                busy: 0,
                light_busy: 0,
                alone: false,
                kept: false,
            });
        }
        let entry = &mut self.hosts[host];
        let places = entry.places(host, self.lists);
        for kind in &entry.kinds {
            self.offered[*kind] -= 1;
            self.rooms[*kind].take(&places);
        }
        let before = (entry.state, entry.slots, entry.speed.to_bits());
        change(entry);
        let after = (entry.state, entry.slots, entry.speed.to_bits());
        let places = entry.places(host, self.lists);
        for kind in &entry.kinds {
            self.offered[*kind] += 1;
            self.rooms[*kind].put(&places);
        }
        if before != after {
            let up = || self.hosts.values().filter(|h| h.state == HostState::Up);
            self.speed = up().map(|h| h.speed * h.slots as f64).sum();
            self.top_speed = up().map(|h| h.speed).fold(0.0, f64::max);
            self.unequal = up().any(|h| h.speed < self.top_speed);
        }
    }
}
