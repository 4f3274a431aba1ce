//! The engine: a pure state machine that says what to start next and where, over a graph that grows while it is worked
//! off, and hosts that come and go.
//!
//! Events go in, commands come out; there is no thread, clock, file or socket in here, so every policy
//! can be tested by simulation. The driver (`schedule::driver`) turns what happens into events and
//! commands into work. The states and their transitions are drawn in doc/scheduler.md;
//! [`JobState::may_become`] is the list of them, and `Engine::set` the one function that makes them.
//! `place` says what starts where, and why something waits; `wide` how jobs come to several slots of a host.
//!
//! Jobs and edges may come in any order: an edge may name a job that is not listed yet. An event costs
//! O(log n) amortised, with n jobs in order of their needs, either way round; `graph` and `remaining`
//! tell what other orders cost.

mod graph;
mod hosts;
mod model;
mod paths;
mod place;
mod random;
mod remaining;
mod wide;

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};

pub use graph::JobGraph;
use hosts::{Going, Hosts};
use model::ClassId;
pub use model::{
    Ask, Command, EngineEvent, Flaw, GateId, HostId, HostState, JobId, JobState, KindId, NewJob,
    Offer, PathId, Patience, Run, Slots, Waiting,
};
use paths::Paths;
use place::Near;
use remaining::Remaining;
use wide::Kept;

use crate::dense::{DenseMap, Id};

/// A queued job; the one with the longest remaining path starts first.
#[derive(Clone, Copy, PartialEq)]
struct Ready {
    remaining: f64,
    job: JobId,
}

impl Eq for Ready {}

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> Ordering {
        // Among equals the older one first: the same events must give the same commands.
        self.remaining
            .total_cmp(&other.remaining)
            .then(other.job.cmp(&self.job))
    }
}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What a job asks of its host, once it is listed; where it runs, or ran last; how often it was started, and whether
/// the last time on a host that is kept for another one.
#[derive(Clone, Copy)]
struct Slip {
    class: ClassId,
    host: HostId,
    starts: u32,
    fills: bool,
}

/// The queued jobs that ask for the same.
struct Queue {
    ask: Ask,
    /// An entry counts only if the job is queued and its path is still as long.
    ready: BinaryHeap<Ready>,
    /// The same by their own seconds, the shortest first, as long as hosts are unequal. An entry counts only
    /// if the job is queued and takes as long as it says.
    short: BinaryHeap<Reverse<(u64, JobId)>>,
    /// How many are queued.
    queued: usize,
}

/// A gate: what goes through it, and how much may at a time.
struct Gate {
    most: usize,
    running: usize,
    classes: Vec<ClassId>,
}

/// The state machine.
pub struct Engine {
    graph: JobGraph,
    remaining: Remaining,
    states: DenseMap<JobId, JobState>,
    /// The number of jobs in each state.
    counts: [usize; JobState::ALL.len()],
    /// The jobs in the state of that name.
    open: BTreeSet<JobId>,
    /// How many of a job's needs are not usable.
    waiting_for: DenseMap<JobId, usize>,
    /// Of a skipped job: the failed or broken job that it needs.
    causes: DenseMap<JobId, Option<JobId>>,
    slips: DenseMap<JobId, Slip>,
    queues: DenseMap<ClassId, Queue>,
    classes: HashMap<Ask, ClassId>,
    /// Those with queued jobs whose gate is open.
    active: BTreeSet<ClassId>,
    gates: DenseMap<GateId, Gate>,
    /// Of queued jobs, where what they need lies.
    near: BTreeMap<JobId, Near>,
    /// The hosts whose free slots are kept, and for which jobs.
    kept: BTreeMap<ClassId, Kept>,
    hosts: Hosts,
    /// Seconds since the run began.
    now: f64,
    /// Whether `short` of all queues is kept.
    keeps_short: bool,
    /// Seconds until all could be done, when jobs were last started.
    horizon: f64,
    paths: Paths,
    /// What jobs start in, where it is not the usual order.
    random: Option<u64>,
    patience: Patience,
    /// Whether nothing starts for now.
    held: bool,
    /// Jobs whose state changed since that was asked for last, once it was.
    changes: Option<Vec<JobId>>,
    keep_going: bool,
    stopped: bool,
    walk_ended: bool,
    /// The walk has ended and no job is open: what is not listed now never will be.
    complete: bool,
}

impl Engine {
    /// An engine without jobs and hosts. Unless `keep_going`, the first failure or flaw acts as a stop.
    pub fn new(keep_going: bool) -> Self {
        Engine {
            graph: JobGraph::default(),
            remaining: Remaining::default(),
            states: DenseMap::new(),
            counts: [0; JobState::ALL.len()],
            open: BTreeSet::new(),
            waiting_for: DenseMap::new(),
            causes: DenseMap::new(),
            slips: DenseMap::new(),
            queues: DenseMap::new(),
            classes: HashMap::new(),
            active: BTreeSet::new(),
            gates: DenseMap::new(),
            near: BTreeMap::new(),
            kept: BTreeMap::new(),
            hosts: Hosts::default(),
            now: 0.0,
            keeps_short: false,
            horizon: 0.0,
            paths: Paths::default(),
            random: None,
            patience: Patience::default(),
            held: false,
            changes: None,
            keep_going,
            stopped: false,
            walk_ended: false,
            complete: false,
        }
    }

    /// A name for a job that is to be listed, or that another job needs.
    pub fn name(&mut self) -> JobId {
        self.graph.push();
        self.remaining.push();
        self.waiting_for.push(0);
        self.causes.push(None);
        self.paths.push();
        self.slips.push(Slip {
            class: ClassId::at(0),
            host: HostId::at(0),
            starts: 0,
            fills: false,
        });
        self.counts[JobState::Named as usize] += 1;
        self.states.push(JobState::Named)
    }

    /// A name for a set of hosts that some jobs can run on.
    pub fn name_kind(&mut self) -> KindId {
        self.hosts.push_kind()
    }

    /// A name for a gate through which `most` jobs may run at a time; 0 counts as 1.
    pub fn name_gate(&mut self, most: usize) -> GateId {
        self.gates.push(Gate {
            most: most.max(1),
            running: 0,
            classes: Vec::new(),
        })
    }

    /// The slots that a running job has on its host; 0 of any other.
    pub fn slots_of(&self, job: JobId) -> usize {
        self.hosts.slots_of(self.slips[job].host, job)
    }

    /// Whether a job was started last to fill a gap, on a host that is kept for another one.
    pub fn is_filler(&self, job: JobId) -> bool {
        self.slips[job].fills
    }

    /// The state of a host. One that nobody spoke of is to come.
    pub fn host_state(&self, host: HostId) -> HostState {
        self.hosts.state(host)
    }

    /// The sum of the speeds of all slots of hosts that are up.
    pub fn speed(&self) -> f64 {
        self.hosts.speed()
    }

    /// Seconds until all that is listed could be done by the hosts that are up, if there are any: by the work that is left,
    /// and by the longest chains. Costs O(n) with n running jobs.
    pub fn time_left(&mut self) -> Option<f64> {
        let speed = self.hosts.speed();
        let (now, remaining) = (self.now, &self.remaining);
        let done = self.hosts.done(now, |job| remaining.own(job));
        (speed > 0.0).then(|| self.look_ahead(done))
    }

    /// All jobs that have a name.
    pub fn jobs(&self) -> impl Iterator<Item = JobId> + use<> {
        self.states.ids()
    }

    /// The state of a job.
    pub fn state(&self, job: JobId) -> JobState {
        self.states[job]
    }

    /// How many of the jobs that a job needs are not usable, as far as they are known.
    pub fn waits_for(&self, job: JobId) -> usize {
        self.waiting_for[job]
    }

    /// The number of jobs in a state.
    pub fn count(&self, state: JobState) -> usize {
        self.counts[state as usize]
    }

    /// The number of jobs that are listed.
    pub fn listed(&self) -> usize {
        self.states.len() - self.count(JobState::Named)
    }

    /// The jobs and their edges.
    pub fn graph(&self) -> &JobGraph {
        &self.graph
    }

    /// Seconds from the start of a job to the end of the longest chain of jobs above it, as far as it
    /// is reckoned by now.
    pub fn remaining(&self, job: JobId) -> f64 {
        self.remaining.of(job)
    }

    /// The longest such chain so far: no number of hosts of speed 1 can be faster.
    pub fn longest(&self) -> f64 {
        self.remaining.longest()
    }

    /// The number of edges that were followed so far, for circles and for paths: the measure of what
    /// growing costs.
    pub fn steps(&self) -> u64 {
        self.graph.steps() + self.remaining.steps()
    }

    /// Whether nothing runs and nothing can be started any more.
    pub fn is_over(&self) -> bool {
        let idle = self.walk_ended && self.count(JobState::Queued) == 0 && !self.is_waiting();
        self.count(JobState::Running) == 0 && (self.stopped || idle)
    }

    /// Whether nothing starts any more: after a stop, or a failure without `keep_going`.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// The jobs that are listed and have not come to an end. Once a run is over that was not stopped,
    /// there are none; else the engine itself is at fault.
    pub fn unfinished(&self) -> usize {
        // What is locked was left to others.
        if self.count(JobState::Locked) > 0 {
            return 0;
        }
        let open = |s: &&JobState| **s != JobState::Named && !s.is_final();
        JobState::ALL
            .iter()
            .filter(open)
            .map(|s| self.count(*s))
            .sum()
    }

    /// Takes in one event and says what to do next. The end of a run that is not the job's own any more
    /// changes nothing: a host that was given up may still answer.
    pub fn handle(&mut self, event: EngineEvent) -> Vec<Command> {
        let mut commands = Vec::new();
        let before = self.walk_ended;
        let mut revived = false;
        let came = match event {
            EngineEvent::Listed(jobs) => self.list(jobs, &mut commands),
            EngineEvent::Gained { job, needs } => self.gain(job, needs, &mut commands),
            EngineEvent::Closed(job) => {
                if self.states[job] == JobState::Open {
                    self.set(job, JobState::ToBuild);
                    self.queue_if_ready(job);
                } else {
                    self.close_skipped(job);
                }
                0
            }
            EngineEvent::WalkEnded => {
                self.walk_ended = true;
                0
            }
            EngineEvent::Tick(now) => {
                self.now = self.now.max(now);
                // What is held back for another host may have waited long enough.
                if self.hosts.are_unequal() || !self.near.is_empty() {
                    self.fill_slots(&mut commands);
                }
                return commands;
            }
            EngineEvent::Stop => {
                self.stopped = true;
                0
            }
            EngineEvent::Succeeded(run)
            | EngineEvent::Failed(run)
            | EngineEvent::Refined { run, .. }
            | EngineEvent::PutOff(run)
            | EngineEvent::Lost(run)
            | EngineEvent::LockFound { run, .. }
                if self.run(run.job) != Some(run) =>
            {
                0
            }
            EngineEvent::Succeeded(run) => {
                self.succeed(run.job);
                0
            }
            EngineEvent::Failed(Run { job, .. })
            | EngineEvent::LockFound {
                run: Run { job, .. },
                ended: true,
            } => {
                self.set(job, JobState::Failed);
                self.stopped |= !self.keep_going;
                self.skip_dependents(job, job, &mut commands);
                0
            }
            EngineEvent::LockFound { run, .. } => {
                self.set(run.job, JobState::Locked);
                0
            }
            EngineEvent::LockGone(jobs) => {
                revived = self.unlock(jobs, &mut commands);
                0
            }
            EngineEvent::Held(held) => {
                self.held = held;
                0
            }
            EngineEvent::PutOff(Run { job, .. }) => {
                self.set(job, JobState::Skipped);
                // Nothing went wrong: nobody is told of it.
                self.skip_dependents(job, job, &mut Vec::new());
                0
            }
            EngineEvent::Refined { run, needs } => self.refine(run.job, needs, &mut commands),
            EngineEvent::Lost(run) => {
                self.queue(run.job);
                0
            }
            EngineEvent::Near { job, host, seconds } => {
                self.hint(job, host, seconds);
                0
            }
            EngineEvent::HostNamed { .. }
            | EngineEvent::HostUp { .. }
            | EngineEvent::HostBarred { .. }
            | EngineEvent::HostStopped(_)
            | EngineEvent::HostDown(_)
            | EngineEvent::Offered { .. } => {
                self.host(event);
                0
            }
        };
        let (walked, knew) = (self.walk_ended, self.complete);
        self.settle(&mut commands);
        // What is listed now is, as a rule, all there will be.
        let sweep =
            revived || (walked, self.complete) != (before, knew) && self.remaining.is_behind();
        self.order(came, sweep);
        self.fill_slots(&mut commands);
        commands
    }

    /// How a job that runs was started.
    fn run(&self, job: JobId) -> Option<Run> {
        let Slip { host, starts, .. } = self.slips[job];
        (self.states[job] == JobState::Running).then_some(Run {
            job,
            host,
            start: starts,
        })
    }

    /// Takes in what happened to a host.
    fn host(&mut self, event: EngineEvent) {
        match event {
            EngineEvent::HostNamed { host, offer } => self.hosts.offer(host, offer),
            EngineEvent::HostUp { host, offer } => {
                self.hosts.offer(host, offer);
                self.hosts.set(host, HostState::Up);
            }
            EngineEvent::HostBarred { host, offer } => {
                self.hosts.offer(host, offer);
                self.hosts.set(host, HostState::Stopped);
            }
            EngineEvent::HostStopped(host) if self.hosts.state(host) == HostState::Up => {
                self.hosts.set(host, HostState::Stopped);
            }
            EngineEvent::HostDown(host) => {
                self.hosts.set(host, HostState::Down);
                for job in self.hosts.running(host) {
                    self.queue(job);
                }
            }
            EngineEvent::Offered { host, kind } => self.hosts.learn(host, kind),
            _ => {}
        }
    }

    /// Changes the state of a job: the only function that does.
    fn set(&mut self, job: JobId, next: JobState) {
        let before = std::mem::replace(&mut self.states[job], next);
        if let Some(changes) = &mut self.changes {
            changes.push(job);
        }
        debug_assert!(before.may_become(next), "{job:?}: {before:?} to {next:?}");
        let Slip { class, host, .. } = self.slips[job];
        match before {
            JobState::Queued => self.count_queued(class, false),
            JobState::Running => {
                self.hosts.release(host, job);
                self.pass_gate(class, false);
            }
            _ => {}
        }
        self.counts[before as usize] -= 1;
        self.counts[next as usize] += 1;
        match next {
            JobState::Open => self.open.insert(job),
            _ => self.open.remove(&job),
        };
        match next {
            JobState::Queued => {
                self.count_queued(class, true);
                self.requeue(job);
            }
            JobState::Running => {
                let (own, path) = (self.remaining.own(job), self.remaining.of(job));
                let end = self.now + own / self.hosts.speed_of(host);
                let path_end = end + (path - own) / self.hosts.top_speed();
                let asked = self.queues[class].ask.slots;
                let going = Going {
                    end,
                    path_end,
                    slots: self.hosts.width(host, asked),
                    alone: asked == Slots::All,
                };
                self.hosts.occupy(host, job, going);
                self.pass_gate(class, true);
                self.forget_wait(job);
            }
            _ if next.is_final() => {
                self.remaining.finish(job);
                self.near.remove(&job);
            }
            _ => {}
        }
        self.follow_path(job, before, next);
    }

    /// The jobs that ask for this.
    fn class(&mut self, ask: Ask) -> ClassId {
        if let Some(class) = self.classes.get(&ask) {
            return *class;
        }
        let class = self.queues.push(Queue {
            ask,
            ready: BinaryHeap::new(),
            short: BinaryHeap::new(),
            queued: 0,
        });
        self.classes.insert(ask, class);
        self.hosts.expect(ask.slots);
        if let Some(gate) = ask.gate {
            self.gates[gate].classes.push(class);
        }
        class
    }

    fn count_queued(&mut self, class: ClassId, comes: bool) {
        let queue = &mut self.queues[class];
        match comes {
            true => queue.queued += 1,
            false => queue.queued -= 1,
        }
        self.look_at_gate(class);
    }

    /// Counts a job that goes through the gate of its class, or leaves it.
    fn pass_gate(&mut self, class: ClassId, enters: bool) {
        let Some(gate) = self.queues[class].ask.gate else {
            return;
        };
        let gate = &mut self.gates[gate];
        let was_open = gate.running < gate.most;
        match enters {
            true => gate.running += 1,
            false => gate.running -= 1,
        }
        if (gate.running < gate.most) != was_open {
            for class in gate.classes.clone() {
                self.look_at_gate(class);
            }
        }
    }

    fn is_gate_open(&self, class: ClassId) -> bool {
        let gate = self.queues[class].ask.gate.map(|gate| &self.gates[gate]);
        gate.is_none_or(|gate| gate.running < gate.most)
    }

    fn look_at_gate(&mut self, class: ClassId) {
        if self.queues[class].queued > 0 && self.is_gate_open(class) {
            self.active.insert(class);
        } else {
            self.active.remove(&class);
            self.release_kept(class);
        }
    }

    /// Gives the number of jobs and edges that came.
    fn list(&mut self, mut jobs: Vec<NewJob>, commands: &mut Vec<Command>) -> usize {
        let mut came = 0;
        jobs.retain(|new| {
            let fresh = self.states[new.job] == JobState::Named;
            if fresh {
                self.slips[new.job].class = self.class(new.ask);
                self.set(
                    new.job,
                    match new.open {
                        true => JobState::Open,
                        false => JobState::ToBuild,
                    },
                );
                self.remaining.learn(new.seconds);
            }
            fresh
        });
        // Only now, so that guesses know all durations and edges all jobs of the list.
        for new in &jobs {
            self.remaining.list(new.job, new.seconds);
        }
        let mut closed = Vec::with_capacity(jobs.len());
        for new in jobs {
            came += 1 + new.needs.len();
            self.add_needs(new.job, new.needs, commands);
            closed.push(new.job);
        }
        for job in closed {
            self.queue_if_ready(job);
        }
        came
    }

    fn gain(&mut self, job: JobId, needs: Vec<JobId>, commands: &mut Vec<Command>) -> usize {
        let came = needs.len();
        // Edges of an open job that was skipped may still close circles.
        if matches!(self.states[job], JobState::Open | JobState::Skipped) {
            self.add_needs(job, needs, commands);
        }
        came
    }

    fn refine(&mut self, job: JobId, mut needs: Vec<JobId>, commands: &mut Vec<Command>) -> usize {
        let mut had = self.graph.needs(job).to_vec();
        had.sort_unstable();
        needs.retain(|need| had.binary_search(need).is_err());
        let came = had.len() + needs.len();
        if needs.is_empty() {
            self.refuse(job, Flaw::NothingNew, commands);
        } else {
            self.set(job, JobState::ToBuild);
            self.add_needs(job, needs, commands);
            self.queue_if_ready(job);
        }
        came
    }

    /// Adds edges to a job that has not started.
    fn add_needs(&mut self, job: JobId, mut needs: Vec<JobId>, commands: &mut Vec<Command>) {
        needs.sort_unstable();
        needs.dedup();
        let (mut cause, mut missing) = (None, Vec::new());
        for need in needs {
            match self.states[need] {
                JobState::Usable => {
                    self.graph.add_settled(job, need);
                    continue;
                }
                JobState::Broken => {
                    self.graph.add_settled(job, need);
                    cause = cause.or(Some(need));
                    continue;
                }
                // It may be built yet, once its lock is gone.
                JobState::Failed => cause = cause.or(Some(need)),
                JobState::Skipped => cause = cause.or(self.causes[need]),
                JobState::Named if self.complete => missing.push(need),
                _ => {}
            }
            let states = &self.states;
            let dead = |job| states[job].is_out_of_circles();
            if let Err(circle) = self.graph.add(job, need, dead) {
                return self.refuse(job, Flaw::Circle(circle), commands);
            }
            self.waiting_for[job] += 1;
            if self.remaining.edge(job, need) {
                self.requeue(need);
            }
        }
        if !missing.is_empty() {
            self.refuse(job, Flaw::NeverListed(missing), commands);
        } else if let Some(cause) = cause {
            self.skip(job, cause, commands);
        }
    }

    fn succeed(&mut self, job: JobId) {
        self.set(job, JobState::Usable);
        for at in 0..self.graph.needed_by(job).len() {
            let above = self.graph.needed_by(job)[at];
            self.waiting_for[above] -= 1;
            self.queue_if_ready(above);
        }
    }

    fn queue_if_ready(&mut self, job: JobId) {
        if self.states[job] == JobState::ToBuild && self.waiting_for[job] == 0 {
            self.queue(job);
        }
    }

    /// Takes in that a queued job became more urgent.
    fn requeue(&mut self, job: JobId) {
        if self.states[job] == JobState::Queued {
            let remaining = self.urgency(job);
            let queue = &mut self.queues[self.slips[job].class];
            queue.ready.push(Ready { remaining, job });
            if self.keeps_short {
                let own = self.remaining.own(job).to_bits();
                queue.short.push(Reverse((own, job)));
            }
        }
    }

    fn refuse(&mut self, job: JobId, flaw: Flaw, commands: &mut Vec<Command>) {
        self.stopped |= !self.keep_going;
        let broken = match &flaw {
            Flaw::Circle(jobs) => jobs.clone(),
            _ => vec![job],
        };
        commands.push(Command::Refuse { job, flaw });
        // First all, then what needs them: members of a circle need each other.
        for &job in &broken {
            if !self.states[job].is_final() {
                self.set(job, JobState::Broken);
            }
        }
        for &job in &broken {
            let cause = self.causes[job].unwrap_or(job);
            self.skip_dependents(job, cause, commands);
        }
    }

    fn skip(&mut self, job: JobId, cause: JobId, commands: &mut Vec<Command>) {
        if matches!(self.states[job], JobState::Open | JobState::ToBuild) {
            self.set(job, JobState::Skipped);
            self.causes[job] = Some(cause);
            commands.push(Command::Skip { job, cause });
            self.skip_dependents(job, cause, commands);
        }
    }

    fn skip_dependents(&mut self, job: JobId, cause: JobId, commands: &mut Vec<Command>) {
        let mut todo = vec![job];
        while let Some(job) = todo.pop() {
            for at in 0..self.graph.needed_by(job).len() {
                let above = self.graph.needed_by(job)[at];
                // Others are skipped or broken already: what needs something unusable was never
                // queued.
                if matches!(self.states[above], JobState::Open | JobState::ToBuild) {
                    self.set(above, JobState::Skipped);
                    self.causes[above] = Some(cause);
                    commands.push(Command::Skip { job: above, cause });
                    todo.push(above);
                }
            }
        }
    }

    /// Finds what can never come any more, once the walk has ended.
    fn settle(&mut self, commands: &mut Vec<Command>) {
        if !self.walk_ended || self.stopped {
            return;
        }
        if self.count(JobState::Running) == 0 && self.count(JobState::Queued) > 0 {
            self.refuse_homeless(commands);
        }
        let idle = self.count(JobState::Running) == 0 && self.count(JobState::Queued) == 0;
        if idle && !self.is_waiting() {
            // Nothing is left that could close them.
            for job in self.open.clone() {
                self.refuse(job, Flaw::NeverClosed, commands);
            }
        }
        if self.open.is_empty() && !self.complete {
            self.complete = true;
            self.refuse_namers(commands);
        }
    }

    /// Refuses what waits for a host that there is not, once nothing else can happen. Until then one may
    /// still be named.
    fn refuse_homeless(&mut self, commands: &mut Vec<Command>) {
        let mut waiting = self.queues.values().filter(|queue| queue.queued > 0);
        if waiting.any(|queue| self.hosts.is_offered(queue.ask.kind)) {
            return;
        }
        for job in self.jobs() {
            if self.states[job] == JobState::Queued {
                self.refuse(job, Flaw::NoHost, commands);
            }
        }
    }

    /// Refuses the jobs that need one that nobody listed.
    fn refuse_namers(&mut self, commands: &mut Vec<Command>) {
        let mut namers: BTreeMap<JobId, Vec<JobId>> = BTreeMap::new();
        for job in self.jobs() {
            if self.states[job] == JobState::Named {
                for &namer in self.graph.needed_by(job) {
                    namers.entry(namer).or_default().push(job);
                }
            }
        }
        for (namer, mut missing) in namers {
            missing.dedup();
            // One flaw a job.
            if self.states[namer] != JobState::Broken {
                self.refuse(namer, Flaw::NeverListed(missing), commands);
            }
        }
    }

    /// Brings the paths up to date, after an event that brought `came` jobs and edges.
    fn order(&mut self, came: usize, sweep: bool) {
        let states = &self.states;
        let finished = |job| states[job].is_final();
        if sweep || came > 0 && self.remaining.is_sweep_due(&self.graph) {
            self.remaining.sweep(&self.graph, finished);
            for class in self.queues.ids() {
                self.queues[class].ready.clear();
                self.queues[class].short.clear();
            }
            for job in self.jobs() {
                self.requeue(job);
            }
        } else {
            let mut raised = Vec::new();
            self.remaining
                .work(&self.graph, came, finished, |job| raised.push(job));
            for job in raised {
                self.requeue(job);
            }
        }
    }
}

#[cfg(test)]
mod tests;
