//! One random play of the engine, and a slow and simple opinion about what it may do.

mod asks;
mod hosts;

use std::collections::{BTreeMap, BTreeSet};

use self::hosts::Host;
use super::super::*;

/// splitmix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`, or 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.below(i + 1));
        }
    }

    fn some(&mut self, most: usize, of: usize) -> BTreeSet<usize> {
        (0..self.below(most + 1)).map(|_| self.below(of)).collect()
    }
}

/// The seeds to play: `MSTORE_SEEDS` of them, or `usually`.
pub fn seeds(usually: u64) -> std::ops::Range<u64> {
    let wish = std::env::var("MSTORE_SEEDS").ok();
    0..wish.and_then(|n| n.parse().ok()).unwrap_or(usually)
}

/// What a job is like. Jobs are numbers here.
#[derive(Clone, Debug)]
struct Job {
    needs: BTreeSet<usize>,
    seconds: Option<f64>,
    /// Lists of needs that come before it is closed.
    gains: Option<Vec<BTreeSet<usize>>>,
    /// What it asks for when it ends, one list an end.
    refines: Vec<BTreeSet<usize>>,
    /// How often it gets lost.
    lost: usize,
    fails: bool,
    /// The job whose success lists it and closes it; else the walk does.
    by: Option<usize>,
    /// The job whose success brings its gains and closes it.
    closed_by: Option<usize>,
    kind: usize,
    slots: Slots,
    gate: Option<usize>,
    /// The host that holds what it needs, and the seconds that it saves.
    near: Option<(usize, f64)>,
}

#[derive(Clone, Debug)]
enum Growth {
    List(Vec<usize>),
    Gain(usize, BTreeSet<usize>),
    Close(usize),
}

/// How often something happened in a play.
#[derive(Debug, Default)]
pub struct Seen {
    pub starts: usize,
    pub restarts: usize,
    pub skips: usize,
    pub circles: usize,
    pub long_circles: usize,
    pub never_listed: usize,
    pub never_closed: usize,
    pub nothing_new: usize,
    pub stopped: usize,
    pub no_host: usize,
    pub hosts_lost: usize,
    pub requeued: usize,
    pub late_answers: usize,
    pub held_back: usize,
    pub none_up: usize,
    pub wide: usize,
    pub alone: usize,
    pub light: usize,
    pub gated: usize,
    pub kept: usize,
    pub filled: usize,
    pub near: usize,
    pub waits_near: usize,
}

/// One play.
pub struct Play<'s> {
    seen: &'s mut Seen,
    seed: u64,
    rng: Rng,
    jobs: Vec<Job>,
    engine: Engine,
    ids: BTreeMap<usize, JobId>,
    hosts: Vec<Host>,
    kinds: usize,
    /// Whether hosts are stopped, lost and come back.
    faults: bool,
    now: f64,
    keep_going: bool,
    patience: Option<usize>,
    /// Every event and the commands it gave.
    log: Vec<(EngineEvent, Vec<Command>)>,
    named_at: Vec<usize>,
    walk: Vec<Growth>,
    walk_ended: bool,
    stopped: bool,
    /// What is known: what each listed job needs, which are open, and how they ended.
    needs: BTreeMap<usize, BTreeSet<usize>>,
    open: BTreeSet<usize>,
    running: Vec<usize>,
    /// How each job was started last.
    runs: BTreeMap<usize, Run>,
    /// What was lost with its host, and may answer yet.
    lost: Vec<Run>,
    ended: BTreeMap<usize, bool>,
    broken: BTreeSet<usize>,
    /// The inputs of the last start.
    had: BTreeMap<usize, BTreeSet<usize>>,
    /// How many jobs may go through each gate at a time.
    gates: Vec<usize>,
    /// The slots of what runs.
    taken: BTreeMap<usize, usize>,
    /// Since when a job is seen to wait for the host that is near.
    waits_near: BTreeMap<usize, f64>,
}

impl<'s> Play<'s> {
    pub fn new(seed: u64, seen: &'s mut Seen) -> Play<'s> {
        let mut rng = Rng(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5eed);
        let n = 1 + rng.below(24);
        // Kinds of plays: without any flaw, with circles, with everything.
        let kind = rng.below(3);
        let kinds = 1 + rng.below(3);
        let hosts = Self::some_hosts(&mut rng, kinds, kind == 2);
        let mut rank: Vec<usize> = (0..n).collect();
        rng.shuffle(&mut rank);
        let plain = Job {
            needs: BTreeSet::new(),
            seconds: None,
            gains: None,
            refines: Vec::new(),
            lost: 0,
            fails: false,
            by: None,
            closed_by: None,
            kind: 0,
            slots: Slots::UpTo(1),
            gate: None,
            near: None,
        };
        let mut jobs = vec![plain; n];
        let gates = Self::some_asks(&mut rng, &mut jobs, hosts.len());
        for i in 0..n {
            let below: Vec<usize> = (0..n).filter(|&j| rank[j] < rank[i]).collect();
            let pick = |rng: &mut Rng, most: usize| -> BTreeSet<usize> {
                let picks = rng.some(most, below.len()).into_iter();
                picks.filter_map(|at| below.get(at).copied()).collect()
            };
            let job = &mut jobs[i];
            job.needs = pick(&mut rng, 3);
            job.kind = rng.below(kinds);
            job.seconds = rng.one_in(2).then(|| rng.below(100) as f64);
            job.fails = kind > 0 && rng.one_in(12);
            job.lost = if rng.one_in(6) { 1 + rng.below(2) } else { 0 };
            if rng.one_in(5) {
                let gains = (0..rng.below(3)).map(|_| pick(&mut rng, 3));
                job.gains = Some(gains.collect());
            }
            if rng.one_in(6) {
                job.refines = (0..1 + rng.below(2)).map(|_| pick(&mut rng, 2)).collect();
            }
            if kind == 2 && rng.one_in(4 * n) {
                // Nobody lists it.
                job.needs.insert(n + rng.below(2));
            }
        }
        for i in 0..n {
            let other = rng.below(n);
            let sane = rank[other] < rank[i] && jobs[other].by.is_none() && !jobs[other].fails;
            if rng.one_in(6) && (sane || kind == 2 && rng.one_in(4)) {
                jobs[i].by = Some(other);
            } else if rng.one_in(3) && jobs[i].gains.is_some() && sane {
                // As a stage, whose packages are known once they are resolved.
                jobs[i].needs.insert(other);
                jobs[i].closed_by = Some(other);
            } else if kind == 2 && rng.one_in(n) && jobs[i].gains.is_some() {
                jobs[i].closed_by = Some(other);
            }
        }
        for _ in 0..if kind > 0 { rng.below(3) } else { 0 } {
            // From some job down to one that it needs, and back.
            let top = rng.below(n);
            let mut at = top;
            for _ in 0..rng.below(8) {
                let down = jobs[at]
                    .needs
                    .iter()
                    .filter(|&&d| d < n && rank[d] < rank[at]);
                let down: Vec<usize> = down.copied().collect();
                at = down.get(rng.below(down.len())).copied().unwrap_or(at);
            }
            match (&mut jobs[at].gains, rng.below(3)) {
                (Some(gains), 0) => gains.push([top].into()),
                (_, 1) => jobs[at].refines.push([top].into()),
                _ => drop(jobs[at].needs.insert(top)),
            }
        }
        let mut play = Play {
            seen,
            seed,
            jobs,
            engine: Engine::new(true),
            ids: BTreeMap::new(),
            hosts,
            kinds,
            faults: rng.one_in(2),
            now: 0.0,
            keep_going: !rng.one_in(4),
            patience: None,
            log: Vec::new(),
            named_at: Vec::new(),
            walk: Vec::new(),
            walk_ended: false,
            stopped: false,
            needs: BTreeMap::new(),
            open: BTreeSet::new(),
            running: Vec::new(),
            runs: BTreeMap::new(),
            lost: Vec::new(),
            ended: BTreeMap::new(),
            broken: BTreeSet::new(),
            had: BTreeMap::new(),
            gates,
            taken: BTreeMap::new(),
            waits_near: BTreeMap::new(),
            rng,
        };
        play.patience = (!play.rng.one_in(4)).then(|| play.rng.below(5));
        play.engine = play.engine();
        play.walk = play.growth_by(None);
        play
    }

    fn engine(&self) -> Engine {
        let mut engine = Engine::new(self.keep_going);
        for _ in 0..self.kinds {
            engine.name_kind();
        }
        for &most in &self.gates {
            engine.name_gate(most);
        }
        engine.graph.patience = self.patience;
        engine
    }

    /// What the walk (or a job's success) brings, in an order in which it can come.
    fn growth_by(&mut self, by: Option<usize>) -> Vec<Growth> {
        let mut mine: Vec<usize> = (0..self.jobs.len())
            .filter(|&i| self.jobs[i].by == by)
            .collect();
        self.rng.shuffle(&mut mine);
        let mut growth = Vec::new();
        let closes = |i: &usize| by.is_some() && self.jobs[*i].closed_by == by;
        let mut later: Vec<Vec<Growth>> = (0..self.jobs.len())
            .filter(|i| closes(i) && self.needs.contains_key(i))
            .filter_map(|i| self.closing(i))
            .collect();
        while !mine.is_empty() {
            let some = mine.split_off(mine.len() - (1 + self.rng.below(4)).min(mine.len()));
            for &i in &some {
                if self.jobs[i].closed_by.is_none() {
                    later.extend(self.closing(i));
                }
            }
            growth.push(Growth::List(some));
            // Some of what is to follow for open jobs.
            while !later.is_empty() && self.rng.one_in(2) {
                let at = self.rng.below(later.len());
                growth.extend(later[at].pop());
                later.retain(|l| !l.is_empty());
            }
        }
        while !later.is_empty() {
            let at = self.rng.below(later.len());
            growth.extend(later[at].pop());
            later.retain(|l| !l.is_empty());
        }
        growth.reverse();
        growth
    }

    /// What comes for an open job, the last first.
    fn closing(&self, job: usize) -> Option<Vec<Growth>> {
        let gains = self.jobs[job].gains.as_ref()?.iter();
        let gains = gains.map(|g| Growth::Gain(job, g.clone()));
        Some(gains.chain([Growth::Close(job)]).rev().collect())
    }

    fn id(&mut self, job: usize) -> JobId {
        if let Some(id) = self.ids.get(&job) {
            return *id;
        }
        let id = self.engine.name();
        self.named_at.push(self.log.len());
        self.ids.insert(job, id);
        id
    }

    fn of(&self, id: JobId) -> usize {
        let found = self.ids.iter().find(|(_, i)| **i == id);
        *found.expect("an id that was never made").0
    }

    fn state(&self, job: usize) -> JobState {
        self.engine.state(self.ids[&job])
    }

    pub fn run(mut self) {
        let stop_at = self.rng.one_in(6).then(|| self.rng.below(30));
        for host in 0..self.hosts.len() {
            match self.faults && self.rng.one_in(4) {
                true => self.tell_of_host(host, HostState::Named),
                false => self.tell_of_host(host, HostState::Up),
            }
        }
        loop {
            if self.rng.one_in(3) {
                self.now += self.rng.below(40) as f64;
                self.handle(EngineEvent::Tick(self.now));
            }
            if self.faults && self.rng.one_in(5) {
                self.host_event();
            }
            if self.rng.one_in(4) {
                self.answer_late();
            }
            if stop_at == Some(self.log.len()) && !self.stopped {
                self.stopped = true;
                self.handle(EngineEvent::Stop);
            }
            let grow = !self.walk_ended && self.rng.one_in(2);
            if grow || self.running.is_empty() && !self.walk_ended {
                match self.walk.pop() {
                    Some(growth) => self.grow(growth),
                    None => {
                        self.walk_ended = true;
                        self.handle(EngineEvent::WalkEnded);
                    }
                }
            } else if !self.running.is_empty() {
                self.end_one();
            } else if !self.engine.is_over() {
                // It waits for a host.
                let down = |h: &Host| h.state != HostState::Up;
                let host = self.hosts.iter().position(down);
                let host = host.unwrap_or_else(|| panic!("it hangs\n{self}"));
                self.tell_of_host(host, HostState::Up);
            } else {
                break;
            }
        }
        self.check_end();
        self.replay();
        self.seen.stopped += usize::from(self.stopped);
    }

    fn grow(&mut self, growth: Growth) {
        match growth {
            Growth::List(jobs) => {
                for &i in &jobs {
                    if let Some((host, seconds)) = self.jobs[i].near {
                        let (job, host) = (self.id(i), HostId::nth(host));
                        self.handle(EngineEvent::Near { job, host, seconds });
                    }
                }
                let list = jobs.iter().map(|&i| {
                    let job = self.jobs[i].clone();
                    self.needs.insert(i, job.needs.clone());
                    if job.gains.is_some() {
                        self.open.insert(i);
                    }
                    let id = self.id(i);
                    let needs = job.needs.iter().map(|&d| self.id(d)).collect();
                    NewJob {
                        job: id,
                        needs,
                        seconds: job.seconds,
                        open: job.gains.is_some(),
                        ask: Ask {
                            kind: KindId::at(job.kind),
                            slots: job.slots,
                            gate: job.gate.map(GateId::at),
                        },
                    }
                });
                let list = list.collect();
                self.handle(EngineEvent::Listed(list));
            }
            Growth::Gain(i, more) => {
                if self.engine.state(self.ids[&i]) != JobState::Broken {
                    self.needs.entry(i).or_default().extend(&more);
                }
                let (job, needs) = (self.id(i), more.iter().map(|&d| self.id(d)).collect());
                self.handle(EngineEvent::Gained { job, needs });
            }
            Growth::Close(i) => {
                self.open.remove(&i);
                let id = self.id(i);
                self.handle(EngineEvent::Closed(id));
            }
        }
    }

    /// One of the running jobs comes to an end.
    fn end_one(&mut self) {
        let job = self.running[self.rng.below(self.running.len())];
        let run = self.runs[&job];
        if self.jobs[job].lost == 0 && !self.jobs[job].fails && self.jobs[job].refines.is_empty() {
            // What comes of the end is told before it.
            let mut growth = self.growth_by(Some(job));
            while let Some(growth) = growth.pop() {
                self.grow(growth);
            }
        }
        self.running.retain(|j| *j != job);
        if self.jobs[job].lost > 0 {
            self.jobs[job].lost -= 1;
            self.had.remove(&job);
            return self.handle(EngineEvent::Lost(run));
        }
        if self.jobs[job].fails {
            self.ended.insert(job, false);
            return self.handle(EngineEvent::Failed(run));
        }
        if let Some(more) = self.jobs[job].refines.pop() {
            let needs = more.iter().map(|&d| self.id(d)).collect();
            self.needs.entry(job).or_default().extend(&more);
            return self.handle(EngineEvent::Refined { run, needs });
        }
        self.ended.insert(job, true);
        self.handle(EngineEvent::Succeeded(run));
    }

    fn handle(&mut self, event: EngineEvent) {
        let kept = self.engine.kept.clone();
        let commands = self.engine.handle(event.clone());
        let failed = matches!(&event, EngineEvent::Failed(run)
            if self.ended.get(&self.of(run.job)) == Some(&false));
        self.stopped |= failed && !self.keep_going;
        let mut started = Vec::new();
        for command in &commands {
            match command {
                Command::Start(run) => {
                    let job = self.of(run.job);
                    let before = self.runs.insert(job, *run);
                    let start = before.map_or(0, |run| run.start) + 1;
                    assert_eq!(run.start, start, "{self}");
                    self.check_start(job);
                    started.push(job);
                }
                Command::Confess { .. } => panic!("{command:?}\n{self}"),
                Command::Skip { job, cause } => {
                    self.seen.skips += 1;
                    let (job, cause) = (self.of(*job), self.of(*cause));
                    assert_eq!(self.state(job), JobState::Skipped, "{self}");
                    let bad = matches!(self.state(cause), JobState::Failed | JobState::Broken);
                    assert!(bad, "{job} is skipped for {cause}, which is well\n{self}");
                }
                Command::Refuse { job, flaw } => {
                    self.stopped |= !self.keep_going;
                    self.check_flaw(self.of(*job), flaw);
                }
            }
        }
        self.log.push((event, commands));
        if kept == self.engine.kept {
            self.check_order(&started);
        }
        self.check_kept(&kept);
        self.check_now();
    }

    fn check_start(&mut self, job: usize) {
        assert!(!self.stopped, "{job} starts after a stop\n{self}");
        assert!(!self.open.contains(&job), "{job} is open\n{self}");
        let needs = self.needs.get(&job);
        let needs = needs
            .unwrap_or_else(|| panic!("{job} is not listed\n{self}"))
            .clone();
        for need in &needs {
            assert_eq!(
                self.state(*need),
                JobState::Usable,
                "{job} before {need}\n{self}"
            );
        }
        let before = self.had.insert(job, needs.clone());
        self.seen.starts += 1;
        self.seen.restarts += usize::from(before.is_some());
        let again = before == Some(needs);
        assert!(!again, "{job} starts with the same inputs again\n{self}");
        let host = self.runs[&job].host.number();
        let Host { state, kinds, .. } = &self.hosts[host];
        assert_eq!(*state, HostState::Up, "{job} on {host}\n{self}");
        assert!(
            kinds.contains(&self.jobs[job].kind),
            "{job} on {host}\n{self}"
        );
        assert!(!self.running.contains(&job), "{job} runs twice\n{self}");
        self.check_asks(job, host);
        self.running.push(job);
    }

    fn check_flaw(&mut self, job: usize, flaw: &Flaw) {
        match flaw {
            Flaw::Circle(members) => {
                let members: Vec<usize> = members.iter().map(|id| self.of(*id)).collect();
                assert_eq!(members.first(), Some(&job), "{self}");
                let next = members.iter().cycle().skip(1);
                for (from, to) in members.iter().zip(next) {
                    assert!(
                        self.needs[from].contains(to),
                        "{from} needs no {to}\n{self}"
                    );
                }
                let distinct: BTreeSet<usize> = members.iter().copied().collect();
                assert_eq!(distinct.len(), members.len(), "{self}");
                self.seen.circles += 1;
                self.seen.long_circles += usize::from(members.len() > 3);
                self.broken.extend(distinct);
            }
            Flaw::NeverListed(missing) => {
                assert!(self.walk_ended, "{self}");
                self.seen.never_listed += 1;
                let missing: BTreeSet<usize> = missing.iter().map(|id| self.of(*id)).collect();
                for gone in &missing {
                    assert!(!self.needs.contains_key(gone), "{gone} is listed\n{self}");
                    assert!(self.needs[&job].contains(gone), "{self}");
                }
                self.broken.insert(job);
            }
            Flaw::NeverClosed => {
                assert!(self.walk_ended && self.open.contains(&job), "{self}");
                self.seen.never_closed += 1;
                self.broken.insert(job);
            }
            Flaw::NoHost => {
                assert!(self.walk_ended && self.running.is_empty(), "{self}");
                let kind = self.jobs[job].kind;
                let mut hosts = self.hosts.iter();
                assert!(!hosts.any(|h| h.kinds.contains(&kind)), "{job}\n{self}");
                self.seen.no_host += 1;
                self.broken.insert(job);
            }
            Flaw::NothingNew => {
                assert_eq!(self.had.get(&job), self.needs.get(&job), "{self}");
                self.seen.nothing_new += 1;
                self.broken.insert(job);
            }
        }
    }

    /// What must hold after every event.
    fn check_now(&mut self) {
        let usable = |job: &usize| {
            self.ids.get(job).map(|id| self.engine.state(*id)) == Some(JobState::Usable)
        };
        let mut all_waits = Vec::new();
        for (job, needs) in &self.needs {
            // What can start is queued; `check_why` tells whether that is well.
            let waits = self.state(*job) == JobState::ToBuild;
            let forgotten = waits && !self.open.contains(job) && needs.iter().all(usable);
            assert!(self.stopped || !forgotten, "{job} could run\n{self}");
            let why = self.check_why(*job);
            self.seen.held_back += usize::from(matches!(why, Some(Waiting::HeldFor(_))));
            self.seen.none_up += usize::from(matches!(why, Some(Waiting::NoneUp(_))));
            self.seen.gated += usize::from(matches!(why, Some(Waiting::Gate(..))));
            all_waits.push((*job, why));
        }
        self.check_near(&all_waits);
        let queued = |job: &&usize| self.state(**job) == JobState::Running;
        assert_eq!(
            self.ids.keys().filter(queued).count(),
            self.running.len(),
            "{self}"
        );
        // What reaches itself without passing a broken job was not named.
        for start in self.needs.keys().filter(|j| !self.broken.contains(j)) {
            let (mut todo, mut seen) = (vec![*start], BTreeSet::new());
            while let Some(at) = todo.pop() {
                for next in self.needs.get(&at).into_iter().flatten() {
                    assert_ne!(next, start, "a circle through {start} is not named\n{self}");
                    if !self.broken.contains(next) && seen.insert(*next) {
                        todo.push(*next);
                    }
                }
            }
        }
        for state in JobState::ALL {
            let count = self
                .ids
                .values()
                .filter(|id| self.engine.state(**id) == state);
            assert_eq!(self.engine.count(state), count.count(), "{self}");
        }
    }

    /// What must hold at the end.
    fn check_end(&self) {
        assert!(self.engine.is_over(), "{self}");
        if self.stopped {
            return;
        }
        assert_eq!(self.engine.unfinished(), 0, "{self}");
        for (job, needs) in &self.needs {
            let well = |need: &usize| self.state(*need) == JobState::Usable;
            let expected = match (self.broken.contains(job), self.ended.get(job)) {
                (_, Some(true)) => JobState::Usable,
                (_, Some(false)) => JobState::Failed,
                // A member that was skipped before the circle closed stays so.
                (true, None) if self.state(*job) == JobState::Skipped => JobState::Skipped,
                (true, None) => JobState::Broken,
                (false, None) => JobState::Skipped,
            };
            assert_eq!(self.state(*job), expected, "job {job}\n{self}");
            if expected == JobState::Skipped {
                assert!(
                    !needs.iter().all(well),
                    "{job} is skipped for nothing\n{self}"
                );
            }
            let unlisted = needs.iter().any(|need| !self.needs.contains_key(need));
            assert!(
                !unlisted || self.broken.contains(job),
                "{job} was not refused\n{self}"
            );
        }
    }

    /// The same events give the same commands.
    fn replay(&self) {
        let mut engine = self.engine();
        let mut named = self.named_at.iter().peekable();
        for (at, (event, commands)) in self.log.iter().enumerate() {
            while named.next_if(|when| **when <= at).is_some() {
                engine.name();
            }
            assert_eq!(engine.handle(event.clone()), *commands, "{self}");
        }
    }
}

impl std::fmt::Display for Play<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "seed {}", self.seed)?;
        for (number, host) in self.hosts.iter().enumerate() {
            writeln!(f, "  host {number}: {host:?}")?;
        }
        for (job, id) in &self.ids {
            let (state, needs) = (self.engine.state(*id), self.needs.get(job));
            writeln!(f, "  {job} = {id:?}: {state:?}, needs {needs:?}")?;
        }
        for (event, commands) in &self.log {
            writeln!(f, "  {event:?} -> {commands:?}")?;
        }
        Ok(())
    }
}
