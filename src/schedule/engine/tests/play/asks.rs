//! What the jobs of a play ask for: slots, gates, a host that is near; and the slow opinion about it.

use super::super::super::wide::Kept;
use super::*;

impl Play<'_> {
    /// Makes some jobs ask for more than one slot of any host. Gives how many may go through each gate.
    pub(super) fn some_asks(rng: &mut Rng, jobs: &mut [Job], hosts: usize) -> Vec<usize> {
        let gates: Vec<usize> = (0..rng.below(3)).map(|_| 1 + rng.below(2)).collect();
        if rng.one_in(3) {
            return gates;
        }
        for job in jobs {
            job.slots = match rng.below(12) {
                0 => Slots::All,
                1 | 2 => Slots::UpTo(rng.below(5)),
                3 => Slots::None,
                _ => Slots::UpTo(1),
            };
            if rng.one_in(4) && !gates.is_empty() {
                job.gate = Some(rng.below(gates.len()));
            }
            if rng.one_in(4) {
                job.near = Some((rng.below(hosts), rng.below(120) as f64));
            }
        }
        gates
    }

    /// How many slots are taken on a host, and whether one job has it alone.
    pub(super) fn taken(&self, host: usize) -> (usize, bool) {
        let there = |job: &&usize| self.runs[*job].host == HostId::nth(host);
        let running = self.running.iter().filter(there);
        let alone = running
            .clone()
            .any(|job| self.jobs[*job].slots == Slots::All);
        (running.map(|job| self.taken[job]).sum(), alone)
    }

    /// How many slots of a host a job would have.
    fn width(&self, job: usize, host: usize) -> usize {
        let slots = self.hosts[host].slots;
        match self.jobs[job].slots {
            Slots::None => 0,
            Slots::UpTo(most) => most.clamp(1, slots),
            Slots::All => slots,
        }
    }

    /// Whether a host has room for a job, whatever it is kept for.
    pub(super) fn has_room(&self, job: usize, host: usize) -> bool {
        let (taken, alone) = self.taken(host);
        match self.jobs[job].slots {
            Slots::None => self.light(host) < 16,
            Slots::All => taken == 0,
            Slots::UpTo(_) => !alone && taken + self.width(job, host) <= self.hosts[host].slots,
        }
    }

    fn light(&self, host: usize) -> usize {
        let there = |job: &&usize| self.runs[*job].host == HostId::nth(host);
        let running = self.running.iter().filter(there);
        running.filter(|job| self.taken[*job] == 0).count()
    }

    /// Whether a job could go through its gate.
    pub(super) fn is_gate_open(&self, job: usize) -> bool {
        let gate = self.jobs[job].gate;
        gate.is_none_or(|gate| self.inside(gate).count() < self.gates[gate])
    }

    pub(super) fn inside(&self, gate: usize) -> impl Iterator<Item = usize> {
        let running = self.running.iter().copied();
        running.filter(move |job| self.jobs[*job].gate == Some(gate))
    }

    /// Whether a host is kept for other jobs than this one.
    pub(super) fn is_kept(&self, host: usize, job: usize) -> bool {
        let class = self.engine.slips[self.ids[&job]].class;
        let kept = self.engine.kept.iter();
        kept.filter(|(of, _)| **of != class)
            .any(|(_, kept)| kept.host == HostId::nth(host))
    }

    /// A job that starts finds what it asks for.
    pub(super) fn check_asks(&mut self, job: usize, host: usize) {
        let asked = self.jobs[job].slots;
        assert!(self.has_room(job, host), "{job} on {host}\n{self}");
        assert!(self.is_gate_open(job), "{job} through its gate\n{self}");
        let width = self.width(job, host);
        assert_eq!(self.engine.slots_of(self.ids[&job]), width, "{job}\n{self}");
        self.taken.insert(job, width);
        self.waits_near.remove(&job);
        self.seen.wide += usize::from(width > 1);
        self.seen.alone += usize::from(asked == Slots::All);
        self.seen.light += usize::from(asked == Slots::None);
        let near = self.jobs[job].near.map(|(host, _)| host);
        self.seen.near += usize::from(near == Some(host));
    }

    /// Hosts are kept for jobs that have use for them, one for those that ask for the same, and run dry.
    pub(super) fn check_kept(&mut self, before: &BTreeMap<ClassId, Kept>) {
        let hosts: BTreeSet<HostId> = self.engine.kept.values().map(|kept| kept.host).collect();
        assert_eq!(hosts.len(), self.engine.kept.len(), "{self}");
        if self.stopped {
            return;
        }
        let equal = self.hosts.iter().all(|h| h.speed == self.hosts[0].speed);
        for (class, kept) in &self.engine.kept {
            let host = &self.hosts[kept.host.number()];
            let (taken, _) = self.taken(kept.host.number());
            assert!(
                taken > 0,
                "{kept:?} is kept, and nothing runs there\n{self}"
            );
            assert_eq!(host.state, HostState::Up, "{self}");
            let class_of = |job: &usize| self.engine.slips[self.ids[job]].class;
            let queued = |job: &usize| self.state(*job) == JobState::Queued;
            let all = self.needs.keys().filter(|job| queued(job));
            let mine: Vec<usize> = all
                .clone()
                .filter(|job| class_of(job) == *class)
                .copied()
                .collect();
            assert!(!mine.is_empty(), "{kept:?}\n{self}");
            let fits = mine
                .iter()
                .any(|job| self.has_room(*job, kept.host.number()));
            assert!(!fits, "{kept:?}, and it has room\n{self}");
            // What was just kept is for what is more urgent than all that could start there. Where hosts differ,
            // something more urgent may have been held back for another one.
            if before.contains_key(class) || !equal {
                continue;
            }
            let urgent = |job: &usize| {
                let id = self.ids[job];
                (self.engine.remaining(id), std::cmp::Reverse(id))
            };
            let mut rivals = all.filter(|job| {
                let slots = self.jobs[**job].slots;
                let held = self.engine.why_waiting(self.ids[job]);
                host.kinds.contains(&self.jobs[**job].kind)
                    && self.jobs[**job].near.is_none()
                    && slots != Slots::None
                    && self.is_gate_open(**job)
                    && !self.engine.kept.contains_key(&class_of(job))
                    && matches!(
                        held,
                        Some(Waiting::Full(_) | Waiting::Kept(_) | Waiting::Wide(_))
                    )
            });
            let ranks = mine.iter().map(|job| {
                (
                    self.engine.remaining(self.ids[job]),
                    std::cmp::Reverse(self.ids[job]),
                )
            });
            let first = ranks.fold(None, |best: Option<(f64, _)>, rank| match best {
                Some(best) if best > rank => Some(best),
                _ => Some(rank),
            });
            let outranked = rivals.find(|job| Some(urgent(job)) > first);
            assert!(
                outranked.is_none(),
                "{kept:?}, and {outranked:?} is more urgent\n{self}"
            );
        }
        self.seen.kept += usize::from(!self.engine.kept.is_empty());
        // What started on a host that is kept ends in time.
        let (_, commands) = self.log.last().expect("just now");
        for command in commands.clone() {
            let Command::Start(run) = command else {
                continue;
            };
            let kept = self.engine.kept.values().find(|kept| kept.host == run.host);
            let was = kept.is_some_and(|kept| before.values().any(|was| was == kept));
            let light = self.jobs[self.of(run.job)].slots == Slots::None;
            if let Some(kept) = kept.filter(|_| was && !light) {
                let speed = self.hosts[run.host.number()].speed;
                let end = self.now + self.engine.remaining.own(run.job) / speed;
                assert!(end <= kept.until + 1e-6, "{run:?}, {kept:?}\n{self}");
                self.seen.filled += 1;
            }
        }
    }

    /// Nothing waits longer for the host that is near than that saves.
    pub(super) fn check_near(&mut self, waits: &[(usize, Option<Waiting>)]) {
        for (job, why) in waits {
            if let Some(Waiting::Near(host)) = why {
                let (near, saves) = self.jobs[*job].near.expect("a host that is near");
                assert_eq!(*host, HostId::nth(near), "{job}\n{self}");
                let since = *self.waits_near.entry(*job).or_insert(self.now);
                assert!(self.now - since < saves, "{job} since {since}\n{self}");
                self.seen.waits_near += 1;
            }
        }
    }
}
