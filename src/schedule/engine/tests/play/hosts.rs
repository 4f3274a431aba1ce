//! The hosts of a play: what happens to them, and the slow opinion about what runs where and why something waits.

use super::*;

/// A host, and what became of it.
#[derive(Clone, Debug)]
pub struct Host {
    pub slots: usize,
    pub kinds: BTreeSet<usize>,
    pub speed: f64,
    pub state: HostState,
}

impl Play<'_> {
    /// Every kind has a host, unless `any` is allowed.
    pub fn some_hosts(rng: &mut Rng, kinds: usize, any: bool) -> Vec<Host> {
        let equal = rng.one_in(3);
        let mut hosts = Vec::new();
        for _ in 0..1 + rng.below(4) {
            hosts.push(Host {
                slots: 1 + rng.below(3),
                kinds: (0..kinds).filter(|_| !rng.one_in(3)).collect(),
                speed: if equal {
                    1.0
                } else {
                    [0.25, 0.5, 1.0, 2.0, 3.0][rng.below(5)]
                },
                state: HostState::Named,
            });
        }
        for kind in 0..kinds {
            let some = rng.below(hosts.len());
            if !(any && rng.one_in(4)) {
                hosts[some].kinds.insert(kind);
            }
        }
        hosts
    }

    /// Something happens to one of the hosts.
    pub fn host_event(&mut self) {
        let host = self.rng.below(self.hosts.len());
        match self.rng.below(5) {
            0 => self.tell_of_host(host, HostState::Stopped),
            1 => self.tell_of_host(host, HostState::Down),
            2 => {
                let kind = self.rng.below(self.kinds);
                self.hosts[host].kinds.insert(kind);
                let (host, kind) = (HostId::nth(host), KindId::at(kind));
                self.handle(EngineEvent::Offered { host, kind });
            }
            3 => {
                self.hosts[host].slots = 1 + self.rng.below(3);
                self.tell_of_host(host, HostState::Up);
            }
            _ => self.tell_of_host(host, HostState::Up),
        }
    }

    pub fn tell_of_host(&mut self, number: usize, state: HostState) {
        let entry = &mut self.hosts[number];
        let host = HostId::nth(number);
        let offer = Offer {
            slots: entry.slots,
            kinds: entry.kinds.iter().map(|&kind| KindId::at(kind)).collect(),
            speed: entry.speed,
        };
        let event = match state {
            HostState::Named => EngineEvent::HostNamed { host, offer },
            HostState::Up => EngineEvent::HostUp { host, offer },
            HostState::Stopped => EngineEvent::HostStopped(host),
            HostState::Down => EngineEvent::HostDown(host),
        };
        if state != HostState::Stopped || entry.state == HostState::Up {
            entry.state = state;
        }
        if state == HostState::Down {
            self.seen.hosts_lost += 1;
            let (lost, left) = std::mem::take(&mut self.running)
                .into_iter()
                .partition(|job| self.runs[job].host == host);
            self.running = left;
            for job in lost {
                self.seen.requeued += 1;
                self.had.remove(&job);
                self.waits_near.remove(&job);
                self.lost.push(self.runs[&job]);
            }
        }
        self.handle(event);
        assert_eq!(
            self.engine.host_state(host),
            self.hosts[number].state,
            "{self}"
        );
    }

    /// A host that was given up answers.
    pub fn answer_late(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        let at = self.rng.below(self.lost.len());
        let run = self.lost.swap_remove(at);
        let before = self.engine.state(run.job);
        let event = match self.rng.below(4) {
            0 => EngineEvent::Succeeded(run),
            1 => EngineEvent::Failed(run),
            2 => EngineEvent::Lost(run),
            _ => EngineEvent::Refined {
                run,
                needs: vec![run.job],
            },
        };
        self.handle(event);
        self.seen.late_answers += 1;
        assert_eq!(
            self.engine.state(run.job),
            before,
            "a late answer of {run:?}\n{self}"
        );
        let (_, commands) = self.log.last().expect("just now");
        assert_eq!(*commands, [], "after a late answer of {run:?}\n{self}");
    }

    /// How many jobs run on a host.
    pub fn busy(&self, host: usize) -> usize {
        let there = |job: &&usize| self.runs[*job].host == HostId::nth(host);
        self.running.iter().filter(there).count()
    }

    /// The hosts that a job could start on.
    pub fn free_for(&self, job: usize) -> impl Iterator<Item = usize> {
        (0..self.hosts.len()).filter(move |&host| {
            let Host { state, kinds, .. } = &self.hosts[host];
            let able = kinds.contains(&self.jobs[job].kind) && *state == HostState::Up;
            able && self.has_room(job, host) && !self.is_kept(host, job)
        })
    }

    /// What was started was the most urgent, and where it runs is the fastest.
    pub fn check_order(&self, started: &[usize]) {
        let equal = self.hosts.iter().all(|h| h.speed == self.hosts[0].speed);
        for &job in started {
            let run = self.runs[&job];
            let host = &self.hosts[run.host.number()];
            // What is short may start out of turn where everything else may not.
            let kept = self.is_kept(run.host.number(), job);
            let Job { slots, near, .. } = &self.jobs[job];
            if kept || near.is_some() || slots.are_several() {
                continue;
            }
            for other in self.free_for(job) {
                let faster = self.hosts[other].speed > host.speed;
                assert!(
                    !faster,
                    "{job} runs on {run:?} though {other} is free\n{self}"
                );
            }
            let urgent = |id: JobId| (self.engine.remaining(id), std::cmp::Reverse(id));
            for (other, id) in &self.ids {
                let could = self.engine.state(*id) == JobState::Queued
                    && host
                        .kinds
                        .contains(&self.jobs.get(*other).map_or(0, |j| j.kind));
                let other_asks = self.jobs.get(*other);
                let same = other_asks.is_some_and(|other| {
                    other.slots == *slots && other.near.is_none() && other.gate.is_none()
                });
                if equal && could && same {
                    let first = urgent(run.job) > urgent(*id);
                    assert!(first, "{job} started before {other}\n{self}");
                }
            }
        }
    }

    /// The slow opinion about why a job has not started; what is held back is looked at.
    pub fn check_why(&self, job: usize) -> Option<Waiting> {
        let why = self.engine.why_waiting(self.ids[&job]);
        let able = |h: &Host| h.kinds.contains(&self.jobs[job].kind);
        let list = |test: &dyn Fn(&Host) -> bool| -> Vec<HostId> {
            let hosts = self.hosts.iter().enumerate();
            let hosts = hosts.filter(|(_, h)| able(h) && test(h));
            hosts.map(|(n, _)| HostId::nth(n)).collect()
        };
        let (all, up) = (list(&|_| true), list(&|h| h.state == HostState::Up));
        let expected = match self.state(job) {
            JobState::Named => Some(Waiting::Unlisted),
            JobState::Open => Some(Waiting::Open),
            JobState::ToBuild => {
                let needs = self.engine.graph().needs(self.ids[&job]).iter();
                let lacks = needs.filter(|id| self.engine.state(**id) != JobState::Usable);
                Some(Waiting::Needs(lacks.copied().collect()))
            }
            JobState::Queued if self.stopped => Some(Waiting::RunStopped),
            JobState::Queued if !self.is_gate_open(job) => {
                let gate = self.jobs[job].gate.expect("a gate");
                let mut inside: Vec<JobId> = self.inside(gate).map(|job| self.ids[&job]).collect();
                inside.sort_unstable();
                Some(Waiting::Gate(GateId::at(gate), inside))
            }
            JobState::Queued if all.is_empty() => Some(Waiting::NoHost),
            JobState::Queued if up.is_empty() => Some(Waiting::NoneUp(all)),
            JobState::Queued if self.free_for(job).next().is_none() => {
                let class = self.engine.slips[self.ids[&job]].class;
                let slots = self.jobs[job].slots;
                let kept: Vec<HostId> = up
                    .iter()
                    .copied()
                    .filter(|host| self.is_kept(host.number(), job))
                    .filter(|host| self.has_room(job, host.number()))
                    .collect();
                Some(if slots.are_several() {
                    Waiting::Wide(self.engine.kept.get(&class).map(|kept| kept.host))
                } else if slots == Slots::None || kept.is_empty() {
                    Waiting::Full(up)
                } else {
                    Waiting::Kept(kept)
                })
            }
            JobState::Queued => {
                // Only for a faster host, which is up and runs something.
                let free = self.free_for(job).map(|host| self.hosts[host].speed);
                let fastest_free = free.fold(0.0, f64::max);
                let near = self.jobs[job].near.map(|(host, _)| host);
                let worth = |host: usize| {
                    let h = &self.hosts[host];
                    able(h)
                        && h.state == HostState::Up
                        && (h.speed > fastest_free || near == Some(host))
                        && self.busy(host) > 0
                        && !self.is_kept(host, job)
                };
                let narrow = self.jobs[job].slots;
                let narrow = narrow != Slots::None && !narrow.are_several();
                assert!(narrow, "{job} could run\n{self}");
                let any = (0..self.hosts.len()).any(worth);
                assert!(any, "{job} could run\n{self}");
                match why {
                    Some(Waiting::HeldFor(host) | Waiting::Near(host)) => {
                        assert!(worth(host.number()), "{job} for {host:?}\n{self}");
                    }
                    Some(Waiting::Order) => {}
                    _ => panic!("{job}: {why:?}\n{self}"),
                }
                return why;
            }
            _ => None,
        };
        assert_eq!(why, expected, "{job}\n{self}");
        why
    }
}
