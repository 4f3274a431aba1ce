//! The driver: one loop on one thread around the engine. It alone owns the state of a run; lists of
//! jobs and results of workers come to it as messages.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use mstore_store::{Cancel, TreeHash};

use super::engine::{
    Command, Engine, EngineEvent, Flaw, GateId, HostId, JobId, JobState, KindId, NewJob, Run,
};
use super::error::ScheduleError;
use super::executor::{
    Desk, Executor, Fault, Gate, Host, HostDesk, HostNews, Job, JobResult, Kind, Product, Report,
    Work,
};
use super::growth::{Growth, Intake, Listing, Message};
use super::leave::Leave;
use super::ledger::Place;
use super::progress::{JobEnd, Observer, RunEvent};
use crate::build::error::{Failure, Infrastructure};
use crate::build::step::Note;
use crate::dense::DenseMap;
use crate::drv::{Lineage, Resolved};

mod hosts;
mod operator;
mod paths;
mod pulses;

use operator::Operator;
use paths::{Book, Ending, PathEventOf, Start};
use pulses::Pulses;

/// How often a waiting driver looks whether it was told to stop.
const POLL: Duration = Duration::from_millis(50);
/// How often it is told how long the run may take.
const TELL: Duration = Duration::from_secs(1);
/// How often a job may get lost with its machine before the machines are to blame.
const MOST_LOSSES: u32 = 3;

/// What is to be done about a job whose needs are all usable.
#[derive(Debug)]
pub enum Decision {
    /// Nothing: this tree is here.
    Reuse(TreeHash),
    /// Fetch this tree, which it is known to be; if nobody has it, build.
    Fetch {
        /// The tree.
        tree: TreeHash,
        /// What to build otherwise.
        or: Box<Resolved>,
    },
    /// Build this.
    Build(Box<Resolved>),
}

/// What follows from a job's tree.
#[derive(Debug)]
pub struct Verdict<N> {
    /// Jobs that became known by it, open jobs that gained needs or can be closed.
    pub growth: Vec<Growth<N>>,
    /// What it turned out to need as well. If there is any, the job is not done: it runs again when
    /// these are usable.
    pub more: Vec<N>,
    /// Whether it is not what those are to use that need it: nothing comes of them in this run.
    pub put_off: bool,
}

impl<N> Default for Verdict<N> {
    fn default() -> Self {
        Verdict {
            growth: Vec::new(),
            more: Vec::new(),
            put_off: false,
        }
    }
}

/// Knows what jobs are. Called from the driver's thread only, so what it does has to be quick.
pub trait Planner {
    /// What jobs are called among planner, lister and driver.
    type Node: Clone + Eq + Hash + Send + 'static;

    /// The name of a job, for people. May be asked of jobs that nobody listed.
    fn name(&self, node: &Self::Node) -> String;

    /// What the job's realisation, log and failures are recorded under.
    fn recorded_as(&self, node: &Self::Node) -> String;

    /// Takes in that a job is listed.
    fn listed(&mut self, node: &Self::Node) -> Result<(), ScheduleError>;

    /// Says what is to be done about a job, all of whose needs are usable. Asked once for each start.
    fn decide(&mut self, node: &Self::Node) -> Result<Decision, ScheduleError>;

    /// The trees that a job starts from, when all that it needs is usable; nothing where that is not known.
    fn trees(&self, node: &Self::Node) -> Vec<TreeHash> {
        let _ = node;
        Vec::new()
    }

    /// What those trees lie on, as the derivations of the plan say.
    fn lineage(&self, node: &Self::Node) -> Lineage {
        let _ = node;
        Lineage::default()
    }

    /// Takes in the tree of a job, built, fetched or found, and says what follows.
    fn usable(
        &mut self,
        node: &Self::Node,
        tree: TreeHash,
    ) -> Result<Verdict<Self::Node>, ScheduleError>;

    /// Where a job belongs: the path that people know, and the task within it. May be asked of jobs that nobody
    /// listed.
    fn place(&self, _: &Self::Node) -> Option<Place> {
        None
    }

    /// The packages that come of the path of a job.
    fn packages(&self, _: &Self::Node) -> Vec<String> {
        Vec::new()
    }

    /// Reads the description of a job again, whose path ended badly and is to be tried once more. Tells whether it is
    /// as it was.
    fn read_again(&mut self, _: &Self::Node) -> Result<bool, ScheduleError> {
        Ok(true)
    }
}

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Whether to go on with what does not depend on a failed job.
    pub keep_going: bool,
    /// How many jobs fetch from one site at a time; 0 counts as 1.
    pub a_site: usize,
    /// Ends the run: nothing more starts, and what runs is cancelled.
    pub cancel: &'a Cancel,
    /// Ends the run when what runs has ended.
    pub leave: &'a Leave,
    /// How long jobs may wait for hosts, and nothing else happens, until that is told; and again after as long.
    pub idle: Duration,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome<N> {
    /// Jobs that were built or fetched, in the order in which they ended.
    pub built: Vec<N>,
    /// Jobs whose tree the store had.
    pub reused: Vec<N>,
    /// Failed builds.
    pub failed: Vec<(N, Failure)>,
    /// Jobs that were not tried because something they need failed, in the order of listing.
    pub skipped: Vec<N>,
    /// Jobs that could not be built as they were listed.
    pub refused: Vec<(N, Flaw<N>)>,
    /// The first failure of the machine, after which nothing more was started, and the job that met
    /// it, if it was one.
    pub infrastructure: Option<(Option<N>, ScheduleError)>,
    /// Whether the run was told to stop.
    pub cancelled: bool,
    /// Whether a stop file ended the run.
    pub stopped: bool,
    /// Jobs that were not tried because a lock tells of a failure.
    pub locked: Vec<N>,
    /// Jobs whose description changed after they had failed. They are not tried again in this run.
    pub changed: Vec<N>,
    /// Jobs that somebody stopped, who did not let them go on.
    pub put_by: Vec<N>,
    /// Jobs that were built or found, and are not what those are to use that need them.
    pub put_off: Vec<N>,
}

/// What the driver knows of a job.
struct Card<N> {
    node: N,
    name: String,
    seconds: Option<f64>,
    /// What it must not run beside.
    gate: Option<Gate>,
    listed: bool,
    open: bool,
    lost: u32,
    /// While its tree is fetched: that, and what to build otherwise.
    fetching: Option<(TreeHash, Box<Resolved>)>,
}

/// The driver of one run.
pub struct Driver<'a, P: Planner> {
    engine: Engine,
    planner: &'a mut P,
    executor: &'a dyn Executor,
    observer: &'a mut dyn Observer,
    intake: Intake<P::Node>,
    options: Options<'a>,
    cards: DenseMap<JobId, Card<P::Node>>,
    ids: HashMap<P::Node, JobId>,
    /// Handed to the executor, which has not reported back.
    running: BTreeMap<JobId, Run>,
    /// Since when, and what they printed.
    pulses: Pulses,
    /// What others were told of the run, and told it.
    operator: Operator,
    /// What hosts were last said to be able to do.
    hosts: BTreeMap<HostId, Host>,
    kinds: HashMap<Kind, KindId>,
    gates: HashMap<Gate, GateId>,
    /// What the engine has not been told yet.
    events: VecDeque<EngineEvent>,
    /// How many durations are known.
    known: usize,
    /// Why hosts are away.
    away: BTreeMap<HostId, String>,
    /// When the run began.
    began: Instant,
    /// When it was told last how long the run may take.
    told: Instant,
    /// The paths, where a ledger is kept.
    book: Option<Book<'a>>,
    walk_ended: bool,
    /// Whether a job ended since the ledger was asked to look.
    ended_one: bool,
    /// Since when nothing runs though something could, or when that was told last.
    idle: Option<Instant>,
    /// Whether it was asked to leave.
    leaving: bool,
    outcome: Outcome<P::Node>,
}

impl<'a, P: Planner> Driver<'a, P> {
    /// A driver of the jobs that come in by the feeds of `intake`.
    pub fn new(
        planner: &'a mut P,
        executor: &'a dyn Executor,
        observer: &'a mut dyn Observer,
        intake: Intake<P::Node>,
        options: Options<'a>,
    ) -> Self {
        intake.office.hold(observer.wants_every_line());
        Driver {
            engine: Engine::new(options.keep_going),
            planner,
            executor,
            observer,
            intake,
            options,
            cards: DenseMap::new(),
            ids: HashMap::new(),
            running: BTreeMap::new(),
            pulses: Pulses::default(),
            operator: Operator::default(),
            hosts: BTreeMap::new(),
            kinds: HashMap::new(),
            gates: HashMap::new(),
            events: VecDeque::new(),
            known: 0,
            away: BTreeMap::new(),
            began: Instant::now(),
            told: Instant::now(),
            book: None,
            walk_ended: false,
            ended_one: false,
            idle: None,
            leaving: false,
            outcome: Outcome {
                built: Vec::new(),
                reused: Vec::new(),
                failed: Vec::new(),
                skipped: Vec::new(),
                refused: Vec::new(),
                infrastructure: None,
                cancelled: false,
                stopped: false,
                locked: Vec::new(),
                changed: Vec::new(),
                put_by: Vec::new(),
                put_off: Vec::new(),
            },
        }
    }

    /// Brings all jobs up to date. Returns when nothing runs any more and nothing can come.
    pub fn run(mut self) -> Outcome<P::Node> {
        let desk: Arc<dyn Desk> = self.intake.office.clone();
        for (host, news) in self.executor.hosts(HostDesk(desk)) {
            self.host(host, news);
        }
        self.options.leave.heed(true);
        loop {
            // Tell the engine what happened, and when.
            let seconds = self.began.elapsed().as_secs_f64();
            self.events.push_front(EngineEvent::Tick(seconds));
            while let Some(event) = self.events.pop_front() {
                let grew = matches!(event, EngineEvent::Listed(_));
                let commands = self.engine.handle(event);
                if grew {
                    self.tell_of_growth();
                }
                // Do what it says. This may make events again: a tree that is found, for one.
                for command in commands {
                    self.carry_out(command);
                }
            }
            self.keep_book();
            if (self.engine.is_over() || self.begins_again()) && self.events.is_empty() {
                return self.finish();
            }
            self.tell_of_time();
            // Wait for something to happen.
            let wait = match self.events.is_empty() {
                true => POLL,
                false => Duration::ZERO,
            };
            let message = match self.intake.receiver.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                // Cannot be: the intake holds a sender itself.
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            };
            // Take it in.
            if let Some(message) = message {
                self.take_in(message);
            }
            self.tell_of_silence();
            if self.options.cancel.is_cancelled() {
                self.cancel();
            }
            if self.options.leave.is_asked() {
                self.leave();
            }
            self.tell_of_idleness();
        }
    }

    /// Whether nothing is left but what is described anew, of which this run knows nothing.
    fn begins_again(&self) -> bool {
        let none = |state| self.engine.count(state) == 0;
        let idle = none(JobState::Running) && none(JobState::Queued);
        !self.outcome.changed.is_empty() && self.walk_ended && idle
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Start(run) => self.start(run),
            Command::Skip { job, cause } => self.observer.event(RunEvent::Skipped {
                name: &self.cards[job].name,
                cause: &self.cards[cause].name,
            }),
            Command::Refuse { job, flaw } => {
                let Card { node, name, .. } = &self.cards[job];
                self.observer.event(RunEvent::Refused {
                    name,
                    flaw: &flaw.clone().map(|job| self.cards[job].name.clone()),
                });
                if let Some(book) = &mut self.book {
                    let flaw = flaw.clone().map(|job| self.cards[job].name.clone());
                    book.refused(job, flaw.to_string());
                }
                let flaw = flaw.map(|job| self.cards[job].node.clone());
                self.outcome.refused.push((node.clone(), flaw));
            }
            Command::Confess { job, host } => {
                let host = self.hosts.get(&host).map(|host| host.name.clone());
                let host = host.unwrap_or_default();
                let node = Some(self.cards[job].node.clone());
                let error = ScheduleError::Idle { host };
                self.outcome.infrastructure.get_or_insert((node, error));
                self.stop();
            }
        }
    }

    fn start(&mut self, run: Run) {
        let job = run.job;
        if self.operator.stops(job) {
            return self.put_by(run);
        }
        match self.planner.decide(&self.cards[job].node) {
            Ok(Decision::Reuse(tree)) => self.take_tree(run, tree, JobEnd::Reused),
            Ok(_) if !self.lock(run) => {}
            Ok(Decision::Fetch { tree, or }) => {
                self.cards[job].fetching = Some((tree, or));
                self.tell_of_start(run);
                self.hand_over(run, Work::Fetch(tree));
            }
            Ok(Decision::Build(step)) => {
                self.tell_of_start(run);
                self.hand_over(run, Work::Build(step));
            }
            Err(error) => self.give_up(run, error),
        }
    }

    fn hand_over(&mut self, run: Run, work: Work) {
        let id = run.job;
        self.running.insert(id, run);
        let name = self.planner.recorded_as(&self.cards[id].node);
        let desk: Arc<dyn Desk> = self.intake.office.clone();
        let report = Report::new(run, desk);
        self.pulses.begin(run, report.pulse());
        let asked = matches!(work, Work::Build(_)) && self.executor.asks_lineage();
        let lineage = asked.then(|| self.planner.lineage(&self.cards[id].node));
        let job = Job {
            id,
            name,
            urgency: urgency(self.engine.remaining(id), self.engine.longest()),
            lineage: lineage.unwrap_or_default(),
            slots: self.engine.slots_of(id),
            work,
        };
        self.executor.start(job, run.host, report);
    }

    fn take_in(&mut self, message: Message<P::Node>) {
        match message {
            Message::Growth(growth) => self.grow(growth),
            Message::WalkEnded => {
                self.walk_ended = true;
                self.events.push_back(EngineEvent::WalkEnded);
            }
            Message::Output(run, line) => {
                self.intake.office.line_received();
                if self.runs(run) {
                    let (job, line) = (run.job, &*line);
                    if self.book.is_some() {
                        self.tell_path(job, PathEventOf::Output(line.to_owned()));
                    }
                    self.observer.event(RunEvent::Output { job, line });
                }
            }
            Message::Noted(run, note) if self.runs(run) => {
                let (job, note) = (run.job, &note);
                match note {
                    Note::Process { pid } => self.tell_path(job, PathEventOf::Process(*pid)),
                    Note::InMemory { bytes } => {
                        self.tell_path(job, PathEventOf::Memory(Some(*bytes)));
                    }
                    Note::MemoryFull { .. } => self.tell_path(job, PathEventOf::Memory(None)),
                    Note::Waiting { claimant, .. } => {
                        let pid = claimant.pid.unwrap_or_default();
                        self.tell_path(job, PathEventOf::Waiting(format!("process {pid}")));
                    }
                    _ => {}
                }
                self.observer.event(RunEvent::Noted { job, note });
            }
            Message::Ended(run, result) if self.runs(run) => {
                self.running.remove(&run.job);
                self.ended_one = true;
                self.pulses.end(run.job);
                self.ended(run, result);
            }
            // What is told late of a run that was given up counts for nothing.
            Message::Noted(..) | Message::Ended(..) => {}
            Message::Asked(question, reply) => {
                let answer = self.answer(question);
                // Fails only when nobody waits for it any more.
                let _ = reply.try_send(answer);
            }
            Message::Host(host, news) => {
                let known = |host: &Host| host.name.clone();
                let name = match &news {
                    HostNews::Named(host) | HostNews::Up(host) => Some(known(host)),
                    _ => self.hosts.get(&host).map(known),
                };
                if let Some(name) = name {
                    let (name, news) = (&*name, &news);
                    self.observer.event(RunEvent::Host { name, news });
                }
                self.host(host, news);
            }
        }
    }

    /// Whether this is how a job runs now.
    fn runs(&self, run: Run) -> bool {
        self.running.get(&run.job) == Some(&run)
    }

    /// Takes in how a running job ended.
    fn ended(&mut self, run: Run, JobResult { seconds, end }: JobResult) {
        let job = run.job;
        let fetching = self.cards[job].fetching.take();
        let all_end = self.outcome.cancelled || self.options.cancel.is_cancelled();
        match (end, fetching) {
            (Err(Fault::Cancelled) | Ok(Product::NotFetched), _)
                if self.operator.stops(job) && !all_end =>
            {
                self.put_by(run);
                let ending = Ending::NotFinished("stopped".to_owned());
                self.tell_path(job, PathEventOf::Ended(seconds, ending));
                let end = JobEnd::Interrupted { seconds };
                self.observer.event(RunEvent::Ended { job, end });
            }
            (Ok(Product::Built { tree, changed }), _) => {
                self.take_tree(run, tree, JobEnd::Built { seconds, changed });
            }
            (Ok(Product::Found { tree }), _) => self.take_tree(run, tree, JobEnd::Reused),
            (Ok(Product::Fetched), Some((tree, _))) => {
                let changed = 0;
                self.take_tree(run, tree, JobEnd::Built { seconds, changed });
            }
            (Ok(Product::NotFetched), Some((_, step)))
                if !self.outcome.cancelled && !self.leaving =>
            {
                self.hand_over(run, Work::Build(step));
            }
            (end @ Ok(Product::NotFetched), Some(_)) | (end @ Err(Fault::Cancelled), _) => {
                if end.is_err() {
                    self.cancel();
                }
                // It has not failed: nothing is known of it, and nothing starts any more.
                self.events.push_back(EngineEvent::Lost(run));
                let ending = Ending::NotFinished("interrupted".to_owned());
                self.tell_path(job, PathEventOf::Ended(seconds, ending));
                let end = JobEnd::Interrupted { seconds };
                self.observer.event(RunEvent::Ended { job, end });
            }
            (Ok(_), None) => {
                self.give_up(run, ScheduleError::WrongAnswer);
                self.tell_of_failure(job, seconds);
            }
            (Err(Fault::Build(failure)), _) => {
                let ending = Ending::Failed(failure.status, failure.how.clone());
                self.tell_path(job, PathEventOf::Ended(seconds, ending));
                let Card { node, name, .. } = &self.cards[job];
                let node = node.clone();
                let host = self.hosts.get(&run.host);
                let host = host.map_or("", |host| &host.name);
                self.operator.failed(name, host, &failure.how, seconds);
                self.outcome.failed.push((node, failure));
                self.events.push_back(EngineEvent::Failed(run));
                self.tell_of_failure(job, seconds);
            }
            (Err(Fault::Infrastructure(error)), _) if self.goes_on_without(&error) => {
                self.do_without(run, error);
                self.tell_of_failure(job, seconds);
            }
            (Err(Fault::Infrastructure(error)), _) => {
                self.give_up(run, error);
                self.tell_of_failure(job, seconds);
            }
            (Err(Fault::Lost(reason)), _) => {
                if self.lost(run, seconds, &reason) {
                    self.events.push_back(EngineEvent::Lost(run));
                }
            }
        }
    }

    /// Takes in that a job does not start, or has ended, because somebody stopped it.
    fn put_by(&mut self, run: Run) {
        self.operator.put_by(run.job);
        self.events
            .push_back(EngineEvent::LockFound { run, ended: false });
    }

    /// Takes in that a job got lost; tells whether it is to run again.
    fn lost(&mut self, run: Run, seconds: f64, reason: &str) -> bool {
        let job = run.job;
        let ending = Ending::NotFinished(reason.to_owned());
        self.tell_path(job, PathEventOf::Ended(seconds, ending));
        let card = &mut self.cards[job];
        card.lost += 1;
        if card.lost < MOST_LOSSES {
            let name = &card.name;
            self.observer.event(RunEvent::Lost { job, name, reason });
            return true;
        }
        let (times, reason) = (card.lost, reason.to_owned());
        self.give_up(run, ScheduleError::LostTooOften { times, reason });
        self.tell_of_failure(job, seconds);
        false
    }

    /// Takes in the tree of a job and what follows from it.
    fn take_tree(&mut self, run: Run, tree: TreeHash, end: JobEnd) {
        let job = run.job;
        let node = self.cards[job].node.clone();
        match self.planner.usable(&node, tree) {
            Ok(Verdict {
                growth,
                more,
                put_off,
            }) => {
                // Before the end itself: see `EngineEvent`.
                for growth in growth {
                    self.grow(growth);
                }
                let (seconds, ending) = match end {
                    JobEnd::Built { seconds, .. } => (seconds, Ending::Built),
                    _ => (0.0, Ending::Reused),
                };
                self.tell_path(job, PathEventOf::Ended(seconds, ending));
                let event = if put_off {
                    self.outcome.put_off.push(node);
                    EngineEvent::PutOff(run)
                } else if more.is_empty() {
                    let list = match end {
                        JobEnd::Reused => &mut self.outcome.reused,
                        _ => &mut self.outcome.built,
                    };
                    list.push(node);
                    self.hint_above(job);
                    EngineEvent::Succeeded(run)
                } else {
                    let needs = more.iter().map(|node| self.id(node)).collect();
                    EngineEvent::Refined { run, needs }
                };
                self.events.push_back(event);
            }
            Err(error) => self.give_up(run, error),
        }
        self.observer.event(RunEvent::Ended { job, end });
    }

    /// Whether a failure of the machine concerns nothing but what needs the job: one file cannot be fetched.
    fn goes_on_without(&self, error: &ScheduleError) -> bool {
        let is_fetch = matches!(error, ScheduleError::Build(Infrastructure::Fetch(_)));
        self.options.keep_going && is_fetch
    }

    /// Ends a job, and the run, because of a failure that is not the job's.
    fn give_up(&mut self, run: Run, error: ScheduleError) {
        if let Some(book) = &mut self.book {
            book.breaks_off();
        }
        self.stop();
        self.do_without(run, error);
    }

    /// Ends a job because of a failure that is not the job's.
    fn do_without(&mut self, run: Run, error: ScheduleError) {
        let ending = Ending::NotFinished(error.to_string());
        self.tell_path(run.job, PathEventOf::Ended(0.0, ending));
        let node = Some(self.cards[run.job].node.clone());
        self.outcome.infrastructure.get_or_insert((node, error));
        self.events.push_back(EngineEvent::Failed(run));
    }

    fn stop(&mut self) {
        // Before all that waits: what a failed job leaves free must stay free.
        self.events.push_front(EngineEvent::Stop);
    }

    /// Lets what runs end, and starts nothing more.
    fn leave(&mut self) {
        if self.outcome.cancelled || std::mem::replace(&mut self.leaving, true) {
            return;
        }
        self.stop();
        let running = self.running.len();
        self.observer.event(RunEvent::Leaving { running });
    }

    fn cancel(&mut self) {
        if std::mem::replace(&mut self.outcome.cancelled, true) {
            return;
        }
        self.stop();
        for job in self.running.keys() {
            self.executor.cancel(*job);
        }
    }

    fn finish(mut self) -> Outcome<P::Node> {
        self.options.leave.heed(false);
        // Nobody takes lines any more.
        self.intake.office.hold(false);
        self.close_book();
        let skipped = self.engine.jobs();
        let skipped = skipped.filter(|job| self.engine.state(*job) == JobState::Skipped);
        let skipped = skipped.map(|job| self.cards[job].node.clone());
        self.outcome.skipped = skipped.collect();
        let put_by = self.operator.stopped();
        let put_by = put_by.map(|job| self.cards[job].node.clone());
        self.outcome.put_by = put_by.collect();
        let left = self.engine.unfinished();
        self.outcome.cancelled |= self.leaving && left > 0;
        if left > 0 && !self.engine.is_stopped() {
            let error = ScheduleError::Stuck { left };
            self.outcome.infrastructure.get_or_insert((None, error));
        }
        self.outcome
    }
}

/// Hints.
impl<P: Planner> Driver<'_, P> {
    /// Tells the engine where a job is near that can start now.
    fn hint(&mut self, job: JobId) {
        let trees = self.planner.trees(&self.cards[job].node);
        if let Some((host, seconds)) = self.executor.near(&trees) {
            let event = EngineEvent::Near { job, host, seconds };
            self.events.push_back(event);
        }
    }

    /// The same of the jobs that need nothing more than this one. To be told before its end.
    fn hint_above(&mut self, job: JobId) {
        for above in self.engine.graph().needed_by(job).to_vec() {
            if self.engine.waits_for(above) == 1 {
                self.hint(above);
            }
        }
    }
}

/// Growth.
impl<P: Planner> Driver<'_, P> {
    fn id(&mut self, node: &P::Node) -> JobId {
        if let Some(id) = self.ids.get(node) {
            return *id;
        }
        let id = self.engine.name();
        self.cards.push(Card {
            node: node.clone(),
            name: self.planner.name(node),
            seconds: None,
            gate: None,
            listed: false,
            open: false,
            lost: 0,
            fetching: None,
        });
        self.ids.insert(node.clone(), id);
        if let Some(book) = &mut self.book {
            book.push(id, self.planner.place(node), &mut self.engine);
        }
        id
    }

    fn grow(&mut self, growth: Growth<P::Node>) {
        match growth {
            Growth::Listed(list) => self.list(list),
            Growth::Gained { node, needs } => {
                let job = self.id(&node);
                let needs = needs.iter().map(|need| self.id(need)).collect();
                match self.cards[job].open {
                    true => self.events.push_back(EngineEvent::Gained { job, needs }),
                    false => self.refuse_growth(node, ScheduleError::NotOpen),
                }
            }
            Growth::Closed(node) => {
                let job = self.id(&node);
                match std::mem::replace(&mut self.cards[job].open, false) {
                    true => self.events.push_back(EngineEvent::Closed(job)),
                    false => self.refuse_growth(node, ScheduleError::NotOpen),
                }
            }
        }
    }

    fn list(&mut self, list: Vec<Listing<P::Node>>) {
        // All listed jobs first, so that the order of their ids is that of the list.
        let ids: Vec<JobId> = list.iter().map(|listing| self.id(&listing.node)).collect();
        let mut jobs = Vec::with_capacity(list.len());
        for (listing, job) in list.into_iter().zip(ids) {
            let card = &mut self.cards[job];
            if std::mem::replace(&mut card.listed, true) {
                self.refuse_growth(listing.node, ScheduleError::ListedTwice);
                continue;
            }
            card.open = listing.open;
            card.seconds = listing.seconds;
            card.gate.clone_from(&listing.demand.gate);
            self.known += usize::from(listing.seconds.is_some());
            if let Err(error) = self.planner.listed(&listing.node) {
                self.refuse_growth(listing.node, error);
                continue;
            }
            let needs: Vec<JobId> = listing.needs.iter().map(|need| self.id(need)).collect();
            if let Some(book) = &mut self.book {
                let packages = self.planner.packages(&listing.node);
                let kept = book.listed(job, &needs, &packages);
                let name = &self.cards[job].name;
                let kept = kept.and_then(|()| book.fetches(job, name));
                self.ledger_failed(kept);
            }
            jobs.push(NewJob {
                job,
                needs,
                seconds: listing.seconds,
                open: listing.open,
                ask: self.ask(&listing.demand),
            });
        }
        for new in jobs.iter().filter(|new| new.needs.is_empty()) {
            self.hint(new.job);
        }
        self.events.push_back(EngineEvent::Listed(jobs));
    }

    /// Ends the run because of something that cannot be listed.
    fn refuse_growth(&mut self, node: P::Node, error: ScheduleError) {
        self.outcome
            .infrastructure
            .get_or_insert((Some(node), error));
        self.stop();
    }
}

/// How urgent a job is with this much left to do above it, where the most is that.
fn urgency(remaining: f64, longest: f64) -> f64 {
    match remaining / longest {
        part if part.is_finite() => part.clamp(0.0, 1.0),
        _ => 0.0,
    }
}

/// The speed of a host as the engine takes it.
fn worth(speed: f64) -> f64 {
    match speed.is_finite() && speed > 0.0 {
        true => speed,
        false => 1.0,
    }
}

/// What watchers are told.
impl<P: Planner> Driver<'_, P> {
    fn tell_of_growth(&mut self) {
        let (jobs, expected) = (self.engine.listed(), self.time_left());
        self.told = Instant::now();
        self.observer.event(RunEvent::Planned { jobs, expected });
    }

    /// Seconds that the run is expected to take from now on, once most of the work is known.
    fn time_left(&mut self) -> Option<f64> {
        let known = self.known * 2 > self.engine.listed();
        known.then(|| self.engine.time_left()).flatten()
    }

    /// Tells how long the run may take, now and then.
    fn tell_of_time(&mut self) {
        if self.told.elapsed() >= TELL {
            self.told = Instant::now();
            if let Some(left) = self.time_left() {
                self.observer.event(RunEvent::Expected { left });
            }
        }
    }

    /// Tells that jobs wait for hosts, when that has been so for some time.
    fn tell_of_idleness(&mut self) {
        let jobs = self.engine.count(JobState::Queued);
        if !self.running.is_empty() || jobs == 0 || self.engine.is_stopped() {
            self.idle = None;
            return;
        }
        let since = *self.idle.get_or_insert_with(Instant::now);
        if since.elapsed() < self.options.idle {
            return;
        }
        self.idle = Some(Instant::now());
        let hosts = self.hosts.iter().filter(|(_, host)| !host.here);
        let hosts = hosts.map(|(id, host)| (host.name.clone(), self.away.get(id).cloned()));
        let hosts = hosts.collect::<Vec<_>>();
        self.observer.event(RunEvent::Idle {
            jobs,
            hosts: &hosts,
        });
    }

    fn tell_of_start(&mut self, run: Run) {
        let job = run.job;
        let host = self.hosts.get(&run.host);
        if self.book.is_some() {
            let (name, here) = host.map_or((String::new(), true), |h| (h.name.clone(), h.here));
            let start = Start {
                host: name,
                here,
                slots: self.engine.slots_of(job).max(1),
                filler: self.engine.is_filler(job),
                tag: match &self.cards[job].gate {
                    Some(Gate::Tag(tag)) => Some(tag.clone()),
                    _ => None,
                },
            };
            self.tell_path(job, PathEventOf::Started(start));
        }
        let host = self.hosts.get(&run.host);
        self.observer.event(RunEvent::Started {
            job,
            name: &self.cards[job].name,
            host: host.map_or("", |host| &host.name),
            expected: self.cards[job]
                .seconds
                .map(|seconds| seconds / host.map_or(1.0, |host| worth(host.speed))),
        });
    }

    fn tell_of_silence(&mut self) {
        for silence in self.pulses.silences() {
            self.observer.event(RunEvent::Silent {
                job: silence.job,
                name: &self.cards[silence.job].name,
                seconds: silence.seconds,
                most: silence.most,
            });
        }
    }

    fn tell_of_failure(&mut self, job: JobId, seconds: f64) {
        let end = JobEnd::Failed { seconds };
        self.observer.event(RunEvent::Ended { job, end });
    }
}

#[cfg(test)]
mod tests;
