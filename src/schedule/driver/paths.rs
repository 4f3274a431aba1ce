//! The driver's book of paths: which jobs are on which, what state each is in, and whether its lock is held.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Driver, Planner};
use crate::dense::DenseMap;
use crate::schedule::engine::{Engine, EngineEvent, JobId, JobState, PathId, Patience, Run};
use crate::schedule::error::ScheduleError;
use crate::schedule::executor::HostNews;
use crate::schedule::ledger::{
    Ledger, LedgerError, Lock, Look, PathEvent, PathState, Place, TaskEnd,
};

/// Everything about paths that a driver with a ledger keeps.
pub(super) struct Book<'a> {
    ledger: &'a mut dyn Ledger,
    patience: Patience,
    paths: Vec<Path>,
    by_name: HashMap<Arc<str>, usize>,
    bases: HashMap<Arc<str>, PathId>,
    /// Where each job belongs, if it does anywhere, and the state in which it was seen last.
    jobs: DenseMap<JobId, (Option<Where>, JobState)>,
    /// Paths of which jobs changed.
    touched: BTreeSet<usize>,
    /// Names of hosts on which nothing is to start, by stop files.
    stopped_hosts: BTreeSet<String>,
    /// Whether nothing is to start for now.
    held: bool,
    all_listed: bool,
    /// Jobs that fetch, which are on no path, until what they fetch is there.
    fetches: HashMap<JobId, Arc<str>>,
    /// Why those failed that did.
    failures: HashMap<JobId, String>,
    /// Whether the machine failed: jobs then count as failed for the engine, and are not.
    breaks_off: bool,
}

/// The path of a job, and what it is called there.
type Where = (usize, Arc<str>);

/// What was told of a path last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    ToBuild,
    Queued,
    Running,
    Built,
    Past,
    Locked,
    Aside,
    Error,
    Ignored,
}

struct Path {
    name: Arc<str>,
    jobs: Vec<JobId>,
    /// Jobs in each state.
    counts: BTreeMap<JobState, usize>,
    told: Told,
    /// Whether its lock is held.
    held: bool,
    /// Whether a lock of others was found in the way.
    found: bool,
    /// Why it cannot be built.
    flaw: Option<String>,
    /// What it needs that could not be fetched, and why.
    lacks: BTreeMap<JobId, String>,
    /// Whether that was told.
    is_blocked: bool,
    needs: BTreeSet<usize>,
    needed_by: BTreeSet<usize>,
}

impl Path {
    fn count(&self, state: JobState) -> usize {
        self.counts.get(&state).copied().unwrap_or_default()
    }

    fn is_done(&self) -> bool {
        self.count(JobState::Usable) == self.jobs.len()
    }

    /// Whether something of it runs or could.
    fn gets_on(&self) -> bool {
        let states = [JobState::Running, JobState::Queued, JobState::Aside];
        states.iter().any(|state| self.count(*state) > 0)
    }

    fn now(&self) -> Told {
        let any = |state| self.count(state) > 0;
        match () {
            () if self.held => Told::Running,
            () if self.found && (any(JobState::Locked) || any(JobState::Failed)) => Told::Locked,
            () if any(JobState::Failed) || !self.lacks.is_empty() => Told::Error,
            () if any(JobState::Broken) => Told::Ignored,
            () if self.is_done() => Told::Built,
            () if any(JobState::Queued) || any(JobState::Running) => Told::Queued,
            () if any(JobState::Aside) => Told::Aside,
            () => Told::ToBuild,
        }
    }
}

impl<'a> Book<'a> {
    pub fn new(ledger: &'a mut dyn Ledger, patience: Patience) -> Book<'a> {
        Book {
            ledger,
            patience,
            paths: Vec::new(),
            by_name: HashMap::new(),
            bases: HashMap::new(),
            jobs: DenseMap::new(),
            touched: BTreeSet::new(),
            stopped_hosts: BTreeSet::new(),
            held: false,
            all_listed: false,
            fetches: HashMap::new(),
            failures: HashMap::new(),
            breaks_off: false,
        }
    }

    /// Takes in that the run ends because of the machine.
    pub fn breaks_off(&mut self) {
        self.breaks_off = true;
    }

    /// Takes in what happened to a host.
    pub fn host(&mut self, name: &str, news: &HostNews) -> Result<(), LedgerError> {
        self.ledger.event(PathEvent::Host { name, news })
    }

    /// Takes in a job that has a name now, with the place that it has.
    pub fn push(&mut self, job: JobId, place: Option<Place>, engine: &mut Engine) {
        let place = place.map(|place| {
            let base = self.bases.entry(place.base);
            let base = *base.or_insert_with(|| engine.name_path());
            engine.put_on_path(job, base);
            let paths = &mut self.paths;
            let at = *self.by_name.entry(place.path.clone()).or_insert_with(|| {
                paths.push(Path {
                    name: place.path,
                    jobs: Vec::new(),
                    counts: BTreeMap::new(),
                    told: Told::Nothing,
                    held: false,
                    found: false,
                    flaw: None,
                    lacks: BTreeMap::new(),
                    is_blocked: false,
                    needs: BTreeSet::new(),
                    needed_by: BTreeSet::new(),
                });
                paths.len() - 1
            });
            self.paths[at].jobs.push(job);
            *self.paths[at].counts.entry(JobState::Named).or_default() += 1;
            (at, place.task)
        });
        self.jobs.push((place, JobState::Named));
    }

    fn at(&self, job: JobId) -> Option<usize> {
        self.jobs[job].0.as_ref().map(|(at, _)| *at)
    }

    fn name(&self, at: usize) -> Arc<str> {
        self.paths[at].name.clone()
    }

    /// Takes in what a listed job needs. `first` tells whether it is the first that is listed of its path.
    pub fn listed(
        &mut self,
        job: JobId,
        needs: &[JobId],
        packages: &[String],
    ) -> Result<(), LedgerError> {
        let Some(at) = self.at(job) else {
            return Ok(());
        };
        let below = needs.iter().filter_map(|need| self.at(*need));
        for need in below.filter(|need| *need != at).collect::<Vec<_>>() {
            self.paths[at].needs.insert(need);
            self.paths[need].needed_by.insert(at);
        }
        if self.paths[at].told == Told::Nothing {
            self.paths[at].told = Told::ToBuild;
            let path = self.name(at);
            self.ledger.event(PathEvent::Listed {
                path: &path,
                packages,
            })?;
            self.tell(at, PathState::ToBuild)?;
        }
        self.touched.insert(at);
        Ok(())
    }

    /// Takes in a listed job that is on no path: it fetches something.
    pub fn fetches(&mut self, job: JobId, name: &str) -> Result<(), LedgerError> {
        if self.at(job).is_some() {
            return Ok(());
        }
        self.fetches.insert(job, name.into());
        let there = false;
        self.ledger.event(PathEvent::Fetch { name, there })
    }

    /// Takes in how a job came on that is on no path.
    fn fetched(
        &mut self,
        job: JobId,
        (before, now): (JobState, JobState),
        engine: &Engine,
    ) -> Result<(), LedgerError> {
        let above = engine.graph().needed_by(job).iter();
        let above: BTreeSet<usize> = above.filter_map(|above| self.at(*above)).collect();
        match (before, now) {
            (_, JobState::Usable) => {
                if let Some(name) = self.fetches.remove(&job) {
                    let (name, there) = (&*name, true);
                    self.ledger.event(PathEvent::Fetch { name, there })?;
                }
            }
            (_, JobState::Failed) => {
                let Some(why) = self.failures.remove(&job) else {
                    return Ok(());
                };
                for at in above {
                    self.paths[at].lacks.insert(job, why.clone());
                    self.touched.insert(at);
                }
            }
            (JobState::Failed, _) => {
                for at in above {
                    self.paths[at].lacks.remove(&job);
                    self.paths[at].is_blocked = false;
                    self.touched.insert(at);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Tells once that a path cannot be started, for what it needs could not be fetched.
    fn tell_blocked(&mut self, at: usize) -> Result<(), LedgerError> {
        let path = &mut self.paths[at];
        let Some(why) = path.lacks.values().next().cloned() else {
            return Ok(());
        };
        if path.held || self.breaks_off || std::mem::replace(&mut path.is_blocked, true) {
            return Ok(());
        }
        let (path, why) = (&*self.name(at), &*why);
        self.ledger.event(PathEvent::Blocked { path, why })
    }

    /// Takes in why a job cannot be built.
    pub fn refused(&mut self, job: JobId, flaw: String) {
        if let Some(at) = self.at(job) {
            self.paths[at].flaw.get_or_insert(flaw);
        }
    }

    fn tell(&mut self, at: usize, state: PathState<'_>) -> Result<(), LedgerError> {
        let path = self.name(at);
        self.ledger.event(PathEvent::State { path: &path, state })
    }

    /// Brings the paths up to date after events, and gives locks back.
    pub fn settle(&mut self, engine: &mut Engine, walk_ended: bool) -> Result<(), LedgerError> {
        for job in engine.take_changes() {
            let now = engine.state(job);
            let before = std::mem::replace(&mut self.jobs[job].1, now);
            if let Some(at) = self.at(job) {
                let counts = &mut self.paths[at].counts;
                *counts.entry(before).or_default() -= 1;
                *counts.entry(now).or_default() += 1;
                self.touched.insert(at);
            } else if before != now {
                self.fetched(job, (before, now), engine)?;
            }
        }
        if walk_ended && !std::mem::replace(&mut self.all_listed, true) {
            let paths = self.paths.iter();
            let counts = paths.map(|path| (path.name.clone(), path.needed_by.len()));
            let counts: Vec<(Arc<str>, usize)> = counts.collect();
            self.ledger.event(PathEvent::AllListed(&counts))?;
            // What nothing needs is past when it is built.
            self.touched.extend(0..self.paths.len());
        }
        while let Some(at) = self.touched.pop_first() {
            self.settle_path(at)?;
        }
        Ok(())
    }

    fn settle_path(&mut self, at: usize) -> Result<(), LedgerError> {
        if self.paths[at].told == Told::Nothing {
            return Ok(());
        }
        let leaves = self.paths[at].held && !self.paths[at].gets_on();
        let path = &mut self.paths[at];
        path.held &= !leaves;
        if path.found && path.count(JobState::Locked) + path.count(JobState::Failed) == 0 {
            path.found = false;
        }
        let mut now = path.now();
        if self.breaks_off && now == Told::Error {
            now = Told::ToBuild;
        }
        let path = &mut self.paths[at];
        let before = path.told.clone();
        if before != now && !(before == Told::Past && now == Told::Built) {
            path.told = now.clone();
            self.tell_change(at, &before, &now)?;
        }
        // Last of all: until then nobody else works on it.
        if leaves {
            self.leave(at)?;
        }
        self.tell_blocked(at)?;
        if now == Told::Built && before != Told::Past {
            let below = self.paths[at].needs.iter().copied();
            for below in below.chain([at]).collect::<Vec<_>>() {
                self.settle_past(below)?;
            }
        }
        Ok(())
    }

    fn tell_change(&mut self, at: usize, before: &Told, now: &Told) -> Result<(), LedgerError> {
        if *before == Told::Aside {
            self.tell(at, PathState::Back)?;
        }
        let flaw = self.paths[at].flaw.clone();
        let skipped = self.paths[at].needs.iter();
        let cause = skipped
            .filter(|need| self.paths[**need].flaw.is_some())
            .map(|need| self.name(*need))
            .next();
        match (now, flaw, cause) {
            (Told::Nothing | Told::Running | Told::Past, ..) => Ok(()),
            (Told::ToBuild, _, Some(cause)) if self.paths[at].count(JobState::Skipped) > 0 => {
                self.tell(at, PathState::Because(&cause))
            }
            (Told::ToBuild, ..) => self.tell(at, PathState::ToBuild),
            (Told::Queued, ..) => self.tell(at, PathState::Queued),
            (Told::Built, ..) => self.tell(at, PathState::Built),
            (Told::Locked, ..) => self.tell(at, PathState::Locked),
            (Told::Aside, ..) => self.tell(at, PathState::Aside),
            (Told::Error, ..) => self.tell(at, PathState::Error),
            (Told::Ignored, flaw, _) => {
                let flaw = flaw.unwrap_or_else(|| "it cannot be built".to_owned());
                self.tell(at, PathState::Ignored(&flaw))
            }
        }
    }

    /// Tells of a path that nothing needs any more, once all is listed.
    fn settle_past(&mut self, at: usize) -> Result<(), LedgerError> {
        let path = &self.paths[at];
        let done = |path: &Path| matches!(path.told, Told::Built | Told::Past);
        let free = path.needed_by.iter().all(|above| done(&self.paths[*above]));
        if self.all_listed && path.told == Told::Built && free {
            self.paths[at].told = Told::Past;
            self.tell(at, PathState::Past)?;
        }
        Ok(())
    }

    fn leave(&mut self, at: usize) -> Result<(), LedgerError> {
        self.paths[at].held = false;
        let path = self.name(at);
        self.ledger.event(PathEvent::Left { path: &path })
    }

    /// Takes the lock of a job's path, if there is one and it is not held yet.
    fn take(&mut self, job: JobId) -> Result<Lock, LedgerError> {
        let Some(at) = self.at(job).filter(|at| !self.paths[*at].held) else {
            return Ok(Lock::Ours);
        };
        if self.paths[at].told == Told::ToBuild {
            // All that it needs came with what started it.
            self.paths[at].told = Told::Queued;
            self.tell(at, PathState::Queued)?;
        }
        let lock = self.ledger.take(&self.name(at))?;
        let path = &mut self.paths[at];
        path.held = lock == Lock::Ours;
        path.found = !path.held;
        self.touched.insert(at);
        Ok(lock)
    }

    /// The jobs of a path that its lock kept from starting, or that failed, and those that failed to fetch for it.
    fn stuck(&self, name: &str) -> Vec<JobId> {
        let Some(at) = self.by_name.get(name) else {
            return Vec::new();
        };
        let stuck =
            |job: &&JobId| matches!(self.jobs[**job].1, JobState::Locked | JobState::Failed);
        let path = &self.paths[*at];
        let stuck = path.jobs.iter().filter(stuck);
        // What could not be fetched is fetched again.
        stuck.chain(path.lacks.keys()).copied().collect()
    }

    /// The task that would come after a job: one of the same path that needs it.
    fn next_task(&self, job: JobId, engine: &Engine) -> Option<Arc<str>> {
        let at = self.at(job)?;
        let above = engine.graph().needed_by(job).iter();
        let next = above.copied().find(|above| self.at(*above) == Some(at))?;
        self.jobs[next].0.as_ref().map(|(_, task)| task.clone())
    }
}

/// A driver with a ledger.
impl<'a, P: Planner> Driver<'a, P> {
    /// The same driver, which takes the locks of paths and tells `ledger` what becomes of them. Before any job is
    /// listed.
    pub fn with_ledger(mut self, ledger: &'a mut dyn Ledger, patience: Patience) -> Self {
        self.engine.set_patience(patience);
        // Logs have all lines.
        self.intake.office.hold(true);
        // From now on changes are kept.
        self.engine.take_changes();
        self.book = Some(Book::new(ledger, patience));
        self
    }

    /// The same driver, which starts jobs in random order. Before any job is listed.
    pub fn in_random_order(mut self, seed: u64) -> Self {
        self.engine.set_random(seed);
        self
    }

    /// Brings the ledger up to date, once a turn.
    pub(super) fn keep_book(&mut self) {
        let Some(book) = &mut self.book else {
            return;
        };
        let ended = std::mem::take(&mut self.ended_one);
        let mut kept = book.settle(&mut self.engine, self.walk_ended);
        if kept.is_ok() {
            let hosts: Vec<&str> = self.hosts.values().map(|host| &*host.name).collect();
            kept = match book.ledger.look(ended, &hosts) {
                Ok(None) => Ok(()),
                Ok(Some(look)) => {
                    self.looked(look);
                    Ok(())
                }
                Err(error) => Err(error),
            };
        }
        self.ledger_failed(kept);
    }

    /// Ends the run if the ledger cannot be kept.
    pub(super) fn ledger_failed(&mut self, kept: Result<(), LedgerError>) {
        if let Err(error) = kept {
            let error = ScheduleError::Ledger(error);
            self.outcome.infrastructure.get_or_insert((None, error));
            self.stop();
            // It would fail again.
            self.book = None;
        }
    }

    fn looked(&mut self, look: Look) {
        let Some(book) = &mut self.book else {
            return;
        };
        for path in &look.gone {
            let jobs = book.stuck(path);
            let mut again = Vec::new();
            for job in jobs {
                match self.planner.read_again(&self.cards[job].node) {
                    Ok(true) => again.push(job),
                    // It has another description now, of which this run knows nothing.
                    Ok(false) => self.outcome.changed.push(self.cards[job].node.clone()),
                    Err(error) => {
                        let node = Some(self.cards[job].node.clone());
                        self.outcome.infrastructure.get_or_insert((node, error));
                    }
                }
            }
            for job in &again {
                let node = &self.cards[*job].node;
                self.outcome.failed.retain(|(failed, _)| failed != node);
                self.outcome.locked.retain(|locked| locked != node);
                // What could not be fetched is fetched again.
                self.outcome
                    .infrastructure
                    .take_if(|(met_by, _)| met_by.as_ref() == Some(node));
            }
            self.events.push_back(EngineEvent::LockGone(again));
        }
        if look.stop && !book.patience.errors && !self.outcome.stopped {
            self.outcome.stopped = true;
            self.events.push_front(EngineEvent::Stop);
        } else if look.stop != book.held && book.patience.errors {
            book.held = look.stop;
            self.events.push_back(EngineEvent::Held(look.stop));
        }
        let stopped: BTreeSet<String> = look.stopped_hosts.into_iter().collect();
        let before = std::mem::replace(&mut book.stopped_hosts, stopped.clone());
        let changed = self.hosts.iter().filter_map(|(id, host)| {
            let (was, is) = (before.contains(&host.name), stopped.contains(&host.name));
            (was != is).then(|| (*id, is, host.clone()))
        });
        for (id, stops, host) in changed.collect::<Vec<_>>() {
            let news = match stops {
                true => HostNews::Stopped,
                false => HostNews::Up(host),
            };
            // One that is down or to come is stopped when it is there.
            let up = self.engine.host_state(id);
            use crate::schedule::engine::HostState::{Stopped, Up};
            if matches!((stops, up), (true, Up) | (false, Stopped)) {
                self.take_in(super::Message::Host(id, news));
            }
        }
    }

    /// Whether a stop file says that nothing is to start on a host.
    pub(super) fn is_stopped_by_file(&self, host: &str) -> bool {
        let book = self.book.as_ref();
        book.is_some_and(|book| book.stopped_hosts.contains(host))
    }

    /// Takes the lock of a job that is going to be built. Tells whether it may start; else the engine is told why
    /// not.
    pub(super) fn lock(&mut self, run: Run) -> bool {
        let Some(book) = &mut self.book else {
            return true;
        };
        match book.take(run.job) {
            Ok(Lock::Ours) => true,
            Ok(Lock::Theirs { ended }) => {
                if ended {
                    let node = self.cards[run.job].node.clone();
                    self.outcome.locked.push(node);
                }
                self.events.push_back(EngineEvent::LockFound { run, ended });
                false
            }
            Err(error) => {
                self.ledger_failed(Err(error));
                self.events.push_back(EngineEvent::Lost(run));
                false
            }
        }
    }

    /// Tells the ledger something about the path of a job.
    pub(super) fn tell_path(&mut self, job: JobId, event: PathEventOf) {
        let Some(book) = &mut self.book else {
            return;
        };
        let Some((at, task)) = book.jobs[job].0.clone() else {
            if let PathEventOf::Ended(_, Ending::Failed(_, how) | Ending::NotFinished(how)) = event
            {
                book.failures.insert(job, how);
            }
            return;
        };
        let path = book.name(at);
        let needs: Vec<Arc<str>> = match event {
            PathEventOf::Started(_) => {
                let needs = book.paths[at].needs.iter();
                needs.map(|need| book.name(*need)).collect()
            }
            _ => Vec::new(),
        };
        let kept = match event {
            PathEventOf::Started(start) => book.ledger.event(PathEvent::Started {
                path: &path,
                task: &task,
                host: &start.host,
                here: start.here,
                needs: &needs,
                slots: start.slots,
                filler: start.filler,
                tag: start.tag.as_deref(),
            }),
            PathEventOf::Memory(bytes) => {
                book.ledger.event(PathEvent::Memory { path: &path, bytes })
            }
            PathEventOf::Process(pid) => book.ledger.event(PathEvent::Process { path: &path, pid }),
            PathEventOf::Waiting(what) => book.ledger.event(PathEvent::Waiting {
                path: &path,
                what: &what,
            }),
            PathEventOf::Output(line) => book.ledger.event(PathEvent::Output {
                path: &path,
                line: &line,
            }),
            PathEventOf::Ended(seconds, end) => {
                let next = book.next_task(job, &self.engine);
                let end = match &end {
                    Ending::Built => TaskEnd::Built,
                    Ending::Reused => TaskEnd::Reused,
                    Ending::Failed(status, how) => TaskEnd::Failed {
                        status: *status,
                        how,
                        next: next.as_deref(),
                    },
                    Ending::NotFinished(why) => TaskEnd::NotFinished(why),
                };
                if matches!(end, TaskEnd::Failed { .. }) {
                    // The lock stays, and is not ours any more.
                    book.paths[at].held = false;
                }
                book.ledger.event(PathEvent::Ended {
                    path: &path,
                    task: &task,
                    seconds,
                    end,
                })
            }
        };
        self.ledger_failed(kept);
    }

    /// Gives all locks back at the end of the run.
    pub(super) fn close_book(&mut self) {
        let Some(book) = &mut self.book else {
            return;
        };
        let mut kept = book.settle(&mut self.engine, self.walk_ended);
        for at in 0..book.paths.len() {
            if kept.is_ok() && book.paths[at].held {
                kept = book.leave(at);
            }
        }
        self.ledger_failed(kept);
    }
}

/// An event of a job, without its path.
pub(super) enum PathEventOf {
    Started(Start),
    Process(u32),
    Memory(Option<u64>),
    Waiting(String),
    Output(String),
    Ended(f64, Ending),
}

/// How a job started.
pub(super) struct Start {
    pub host: String,
    pub here: bool,
    pub slots: usize,
    pub filler: bool,
    pub tag: Option<String>,
}

/// How a job ended.
pub(super) enum Ending {
    Built,
    Reused,
    Failed(i32, String),
    NotFinished(String),
}
