//! An engine as an executor: one host with many slots, beside whatever else builds in the run.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use mstore_store::TreeHash;

use super::channel::jittered;
use super::errand::{Errand, Live, Traffic};
use super::outcome::{Ruling, Seen, judge};
use super::reactor::Stop;
use super::settings::Settings;
use super::trouble::Trouble;
use crate::build::cancel::CancelToken;
use crate::build::error::{Infrastructure, StepError};
use crate::build::pause::Stopwatch;
use crate::build::step::{Builder, Note};
use crate::dense::Id as _;
use crate::drv::{Lineage, Resolved};
use crate::schedule::control::words::{Answer, Question};
use crate::schedule::engine::{HostId, JobId, Run};
use crate::schedule::error::ScheduleError;
use crate::schedule::executor::{
    Desk, Executor, Fault, Host, HostDesk, HostNews, Job, JobResult, Kind, Product, Report, Work,
};
use crate::schedule::local::{Fetch, Local};
use crate::schedule::realise::Site;

/// How long is waited before an engine that is away is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// How long an engine that was full gets fewer steps before it is tried with more.
const RECOVER: Duration = Duration::from_secs(300);
/// The number of the engine among the hosts. This machine is 0, whatever else there is.
const NUMBER: usize = 1;

/// An engine, and what builds beside it.
pub struct Engine<'a> {
    settings: Settings,
    program: String,
    /// Other machines of the run. Without any nothing but what must be done here is done here.
    beside: Option<&'a dyn Site>,
    live: OnceLock<Result<Live, Setup>>,
    /// Ends what keeps it connected.
    closing: Stop,
}

/// Why an engine cannot be spoken with at all.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setup {
    why: String,
    remedy: String,
}

impl Setup {
    fn of(trouble: Trouble) -> Setup {
        match trouble {
            Trouble::Setup { why, remedy } => Setup { why, remedy },
            other => Setup {
                why: format!("{other:?}"),
                remedy: String::new(),
            },
        }
    }
}

impl<'a> Engine<'a> {
    /// The engine of some settings. `program` is the version of this program.
    pub fn new(settings: Settings, program: &str) -> Engine<'a> {
        Engine {
            settings,
            program: program.to_owned(),
            beside: None,
            live: OnceLock::new(),
            closing: Stop::default(),
        }
    }

    /// The same beside the machines of a site, which build too.
    pub fn beside(self, site: &'a dyn Site) -> Engine<'a> {
        Engine {
            beside: Some(site),
            ..self
        }
    }

    /// What it is called where realisations name their host.
    pub fn label(&self) -> String {
        self.settings.address.label()
    }

    /// How many steps it is given at a time.
    fn most(&self) -> usize {
        self.settings.inflight.max(1)
    }

    /// The engine as it is spoken with; the thread for that is there from now on.
    fn live(&self) -> Result<&Live, Infrastructure> {
        let live = self
            .live
            .get_or_init(|| Live::new(self.settings.clone(), &self.program).map_err(Setup::of));
        live.as_ref().map_err(|setup| self.refuse(setup))
    }

    fn refuse(&self, setup: &Setup) -> Infrastructure {
        Infrastructure::Engine {
            engine: self.settings.address.to_string(),
            why: setup.why.clone(),
            remedy: setup.remedy.clone(),
        }
    }

    /// Has a step built once more by the engine, without any cache.
    fn check(
        &self,
        builder: &Builder<'_>,
        name: &str,
        (step, lineage): (&Resolved, &Lineage),
        output: &mut dyn FnMut(&str),
    ) -> Result<TreeHash, StepError> {
        let live = self.live()?;
        let stop = Stop::default();
        let errand = Errand {
            live,
            builder,
            name,
            step,
            lineage,
            urgency: 0.0,
            stop: &stop,
            check: true,
            full: &|| (),
        };
        thread::scope(|scope| {
            // Whoever waits for the engine does not see that the builder is told to stop.
            let over = Stop::default();
            let (ended, stop) = (over.clone(), stop.clone());
            scope.spawn(move || {
                while !ended.is_stopped() {
                    if builder.cancel.is_cancelled() {
                        return stop.stop();
                    }
                    thread::sleep(Duration::from_millis(50));
                }
            });
            let built = builder.rebuild_elsewhere(name, output, &mut |log| errand.run(log));
            over.stop();
            built
        })
    }
}

impl Site for Engine<'_> {
    fn open<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        builder: &'env Builder<'env>,
        fetch: &'env Fetch<'env>,
    ) -> Box<dyn Executor + 'scope> {
        open_files();
        let inner: Box<dyn Executor + 'scope> = match self.beside {
            Some(site) => site.open(scope, builder, fetch),
            None => Box::new(Local::new(scope, builder, fetch, 1)),
        };
        Box::new(Both {
            scope,
            builder,
            fetch,
            engine: self,
            inner,
            running: Arc::default(),
            crowd: Arc::new(Mutex::new(Crowd {
                most: self.most(),
                now: self.most(),
                since: None,
            })),
            desk: OnceLock::new(),
        })
    }

    fn asks_lineage(&self) -> bool {
        true
    }

    fn slots(&self) -> Option<usize> {
        Some(self.most())
    }

    fn traffic(&self) -> Vec<(String, u64, u64)> {
        let beside = self.beside.map(|site| site.traffic()).unwrap_or_default();
        let own = match self.live.get() {
            Some(Ok(live)) => live.traffic(),
            _ => Traffic::default(),
        };
        let own = (self.label(), own.sent, own.received);
        beside.into_iter().chain([own]).collect()
    }

    /// By the engine, all that it builds.
    fn rebuild(
        &self,
        builder: &Builder<'_>,
        name: &str,
        step: (&Resolved, &Lineage),
        output: &mut dyn FnMut(&str),
    ) -> Option<Result<TreeHash, StepError>> {
        match Kind::of(step.0.derivation()).here {
            true => None,
            false => Some(self.check(builder, name, step, output)),
        }
    }

    fn close(&self) {
        self.closing.stop();
        if let Some(site) = self.beside {
            site.close();
        }
    }
}

/// Lets this process have as many files open as it can get: each of a thousand steps has a claim and a log.
fn open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    // Where it cannot, fewer steps run at a time.
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
}

/// How many steps the engine is given.
struct Crowd {
    most: usize,
    now: usize,
    /// When that became fewer the last time.
    since: Option<Instant>,
}

impl Crowd {
    /// Halves it, but not for each of those that are refused in one moment.
    fn halve(&mut self) -> bool {
        let lately = |since: Instant| since.elapsed() < Duration::from_secs(1);
        if self.now == 1 || self.since.is_some_and(lately) {
            return false;
        }
        self.now = (self.now / 2).max(1);
        self.since = Some(Instant::now());
        true
    }

    /// Doubles it where the last halving is long ago.
    fn recover(&mut self) -> bool {
        let is_over = self.since.is_some_and(|since| since.elapsed() >= RECOVER);
        if !is_over || self.now == self.most {
            return false;
        }
        self.now = self.most.min(self.now * 2);
        self.since = Some(Instant::now());
        true
    }
}

/// The executor of a run.
struct Both<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    builder: &'env Builder<'env>,
    fetch: &'env Fetch<'env>,
    engine: &'env Engine<'env>,
    inner: Box<dyn Executor + 'scope>,
    running: Arc<Running>,
    crowd: Arc<Mutex<Crowd>>,
    desk: OnceLock<HostDesk>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Only whole values are put in.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What ends the jobs that the engine has: of each start by itself, a job may have two for a moment.
#[derive(Default)]
struct Running(Mutex<HashMap<JobId, Starts>>);

/// The starts of one job, by their numbers.
type Starts = BTreeMap<u64, (Stop, CancelToken)>;

impl Running {
    fn put(&self, job: JobId, stop: Stop, token: CancelToken) -> u64 {
        let mut running = lock(&self.0);
        let of_job = running.entry(job).or_default();
        let number = of_job.keys().next_back().map_or(0, |last| last + 1);
        of_job.insert(number, (stop, token));
        number
    }

    fn remove(&self, job: JobId, number: u64) {
        let mut running = lock(&self.0);
        if let Some(of_job) = running.get_mut(&job) {
            of_job.remove(&number);
            if of_job.is_empty() {
                running.remove(&job);
            }
        }
    }
}

/// The number that a host of the other executor has in the run.
fn outer(host: HostId) -> HostId {
    match host.index() {
        before if before < NUMBER => host,
        after => HostId::nth(after + 1),
    }
}

/// The number that a host of the run has in the other executor, unless it is the engine.
fn inner(host: HostId) -> Option<HostId> {
    match host.index() {
        NUMBER => None,
        before if before < NUMBER => Some(host),
        after => Some(HostId::nth(after - 1)),
    }
}

/// Gives hosts of the other executor the numbers that they have in the run.
struct Numbers {
    desk: HostDesk,
    /// Whether this machine builds.
    builds_here: bool,
}

impl Desk for Numbers {
    fn line(&self, run: Run, line: &str) {
        self.desk.0.line(run, line);
    }

    fn note(&self, run: Run, note: Note) {
        self.desk.0.note(run, note);
    }

    fn ended(&self, run: Run, result: JobResult) {
        self.desk.0.ended(run, result);
    }

    fn host(&self, host: HostId, news: HostNews) {
        let news = told(host, news, self.builds_here);
        self.desk.0.host(outer(host), news);
    }

    fn asked(&self, question: Question, reply: std::sync::mpsc::SyncSender<Answer>) -> bool {
        self.desk.0.asked(question, reply)
    }
}

/// What is told of a host of the other executor: this machine does only what must be done here, unless it builds.
fn told(host: HostId, mut news: HostNews, builds_here: bool) -> HostNews {
    if host.index() == 0
        && !builds_here
        && let HostNews::Named(host) | HostNews::Up(host) = &mut news
    {
        host.platforms = Some([].into());
    }
    news
}

impl Both<'_, '_> {
    fn builds_here(&self) -> bool {
        // What stands beside says it itself.
        self.engine.beside.is_some()
    }

    fn numbers(&self, desk: HostDesk) -> HostDesk {
        HostDesk(Arc::new(Numbers {
            desk,
            builds_here: self.builds_here(),
        }))
    }

    /// Connects to the engine, and tells what becomes of that; one that is away is tried again.
    fn keep(&self, desk: &HostDesk) -> std::io::Result<()> {
        let (engine, desk) = (self.engine, desk.clone());
        let slots = self.engine.most();
        thread::Builder::new().spawn_scoped(self.scope, move || {
            connect(engine, &|news| desk.tell(HostId::nth(NUMBER), news), slots);
        })?;
        Ok(())
    }
}

/// The engine as a host with so many slots.
fn host(engine: &Engine<'_>, slots: usize) -> Host {
    let settings = &engine.settings;
    Host {
        name: engine.label(),
        slots,
        speed: 1.0,
        // Those that there is a program for.
        platforms: Some(settings.workers.keys().cloned().collect()),
        here: false,
        about: format!("version={}\nengine={}\n", engine.program, settings.address),
    }
}

/// Asks the engine what it can do until it answers.
fn connect(engine: &Engine<'_>, tell: &dyn Fn(HostNews), slots: usize) {
    let up = || HostNews::Up(host(engine, slots));
    // One that cannot be used takes a job all the same where nobody else would: it ends the run with the reason.
    let closed = |why: String| match engine.beside.is_some() {
        true => tell(HostNews::Down(why)),
        false => tell(up()),
    };
    let live = match engine.live() {
        Ok(live) => live,
        Err(error) => return closed(error.to_string()),
    };
    let (mut wait, mut last) = (RETRY.0, None);
    while !engine.closing.is_stopped() {
        let why = match live.abilities(&engine.closing, Duration::ZERO) {
            Ok(_) => return tell(up()),
            Err(Trouble::Call(call, status)) => {
                let seen = Seen::Call {
                    call,
                    status,
                    looked: false,
                };
                match judge(&seen) {
                    Ruling::Again { why, .. } => why,
                    Ruling::Closed { why, .. } | Ruling::Dropped { why } => return closed(why),
                    Ruling::Built | Ruling::Failed => return closed(String::new()),
                }
            }
            Err(Trouble::Cancelled) => return,
            Err(trouble) => return closed(Setup::of(trouble).why),
        };
        if last.as_ref() != Some(&why) {
            tell(HostNews::Down(why.clone()));
            last = Some(why);
        }
        let time = jittered(wait);
        wait = RETRY.1.min(wait * 2);
        // Ends early when the run does.
        let _ = live.reactor.run(&engine.closing, async move {
            tokio::time::sleep(time).await;
            Ok(())
        });
    }
}

impl Executor for Both<'_, '_> {
    fn hosts(&self, desk: HostDesk) -> Vec<(HostId, HostNews)> {
        let _ = self.desk.set(desk.clone());
        let builds_here = self.builds_here();
        let hosts = self.inner.hosts(self.numbers(desk.clone()));
        let mut hosts: Vec<(HostId, HostNews)> = hosts
            .into_iter()
            .map(|(host, news)| (outer(host), told(host, news, builds_here)))
            .collect();
        let number = HostId::nth(NUMBER);
        hosts.push((
            number,
            HostNews::Named(host(self.engine, self.engine.most())),
        ));
        if let Err(error) = self.keep(&desk) {
            hosts.push((
                number,
                HostNews::Down(format!("cannot start a thread: {error}")),
            ));
        }
        hosts
    }

    fn start(&self, job: Job, host: HostId, report: Report) {
        let step = match (&job.work, inner(host)) {
            (Work::Build(step), None) => step.clone(),
            // What is fetched comes to this machine, by this machine.
            (_, at) => return self.inner.start(job, at.unwrap_or(HostId::nth(0)), report),
        };
        let no_worker = |report: Report, source: std::io::Error| {
            report.end(JobResult {
                seconds: 0.0,
                end: Err(Fault::Infrastructure(ScheduleError::NoWorker { source })),
            });
        };
        let token = match CancelToken::new() {
            Ok(token) => token,
            Err(source) => return no_worker(report, source),
        };
        let stop = Stop::default();
        let number = self.running.put(job.id, stop.clone(), token.clone());
        let (running, id) = (Arc::clone(&self.running), job.id);
        let (engine, builder, fetch) = (self.engine, self.builder, self.fetch);
        let (crowd, desk) = (Arc::clone(&self.crowd), self.desk.get().cloned());
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Report>(1);
        let spawned =
            thread::Builder::new()
                .stack_size(STACK)
                .spawn_scoped(self.scope, move || {
                    let Ok(report) = receiver.recv() else {
                        return;
                    };
                    let clock = Stopwatch::start();
                    let changed = |change: fn(&mut Crowd) -> bool| {
                        let mut crowd = lock(&crowd);
                        if change(&mut crowd)
                            && let Some(desk) = &desk
                        {
                            let news = HostNews::Named(self::host(engine, crowd.now));
                            desk.tell(HostId::nth(NUMBER), news);
                        }
                    };
                    let order = Order {
                        job: &job,
                        step: &step,
                        token: &token,
                        stop: &stop,
                        fetch,
                        full: &|| changed(Crowd::halve),
                    };
                    let end = work(engine, builder, &order, &report);
                    if end.is_ok() {
                        changed(Crowd::recover);
                    }
                    running.remove(id, number);
                    let seconds = clock.elapsed().as_secs_f64();
                    report.end(JobResult { seconds, end });
                });
        match spawned {
            // Cannot fail: the thread waits for it.
            Ok(_) => drop(sender.send(report)),
            Err(source) => {
                self.running.remove(id, number);
                no_worker(report, source);
            }
        }
    }

    fn asks_lineage(&self) -> bool {
        true
    }

    fn near(&self, trees: &[TreeHash]) -> Option<(HostId, f64)> {
        let (host, seconds) = self.inner.near(trees)?;
        Some((outer(host), seconds))
    }

    fn cancel(&self, job: JobId) {
        self.inner.cancel(job);
        if let Some(of_job) = lock(&self.running.0).get(&job) {
            for (stop, token) in of_job.values() {
                token.cancel();
                stop.stop();
            }
        }
    }

    fn add(&self, line: &str, desk: HostDesk) -> Result<Vec<(HostId, HostNews)>, String> {
        let hosts = self.inner.add(line, self.numbers(desk))?;
        let hosts = hosts.into_iter();
        Ok(hosts.map(|(host, news)| (outer(host), news)).collect())
    }
}

/// Bytes of stack of a thread that waits for an engine: there may be a thousand.
const STACK: usize = 1 << 20;

/// What one thread does.
struct Order<'a> {
    job: &'a Job,
    step: &'a Resolved,
    token: &'a CancelToken,
    stop: &'a Stop,
    fetch: &'a Fetch<'a>,
    full: &'a dyn Fn(),
}

fn work(
    engine: &Engine<'_>,
    builder: &Builder<'_>,
    order: &Order<'_>,
    report: &Report,
) -> Result<Product, Fault> {
    let live = match engine.live() {
        Ok(live) => live,
        Err(error) => return Err(Fault::Infrastructure(error.into())),
    };
    let note = |note| report.note(note);
    let raw = |bytes: &[u8]| report.heard(bytes.len());
    let builder = Builder {
        raw: &raw,
        ..builder.with(order.token, &note, order.job.slots)
    };
    // What lies below the trees may never have come here, where a cache told what was built: without it other bundles
    // than those of others would be sent.
    for (tree, _) in order.job.lineage.trees() {
        match builder.store.has_tree(*tree) {
            Ok(true) => {}
            Ok(false) => drop((order.fetch)(*tree)),
            Err(error) => return Err(Fault::Infrastructure(Infrastructure::from(error).into())),
        }
    }
    // Nothing is heard of a step before it has ended: its worker sees to how long it may be silent.
    report.silence(None);
    let name = &order.job.name;
    let errand = Errand {
        live,
        builder: &builder,
        name,
        step: order.step,
        lineage: &order.job.lineage,
        urgency: order.job.urgency,
        stop: order.stop,
        check: false,
        full: order.full,
    };
    let built = builder.build_elsewhere(
        name,
        order.step,
        live.label(),
        &mut |line| report.line(line),
        &mut |log| errand.run(log),
    );
    match built {
        Ok(built) if built.found => Ok(Product::Found { tree: built.tree }),
        Ok(built) => Ok(Product::Built {
            tree: built.tree,
            changed: built.changed,
        }),
        Err(StepError::Failed(failure)) => Err(Fault::Build(failure)),
        Err(StepError::Infrastructure(Infrastructure::Engine { why, .. }))
            if engine.beside.is_some() =>
        {
            Err(Fault::Lost(format!("{}: {why}", live.label())))
        }
        Err(StepError::Infrastructure(error)) => Err(Fault::Infrastructure(error.into())),
        Err(StepError::Cancelled) => Err(Fault::Cancelled),
        Err(StepError::Lost(reason)) => Err(Fault::Lost(reason)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_keep_apart_from_the_engine() {
        let all: Vec<usize> = (0..4).map(|n| outer(HostId::nth(n)).index()).collect();
        assert_eq!(all, [0, 2, 3, 4]);
        for n in 0..4 {
            assert_eq!(inner(outer(HostId::nth(n))), Some(HostId::nth(n)));
        }
        assert_eq!(inner(HostId::nth(NUMBER)), None);
    }

    #[test]
    fn an_engine_that_is_full_gets_half_and_never_nothing() {
        let mut crowd = Crowd {
            most: 5,
            now: 5,
            since: None,
        };
        assert!(crowd.halve());
        // Many are refused at once.
        assert!(!crowd.halve());
        assert_eq!(crowd.now, 2);
        crowd.since = None;
        assert!(crowd.halve());
        crowd.since = None;
        assert!(!crowd.halve());
        assert_eq!(crowd.now, 1);
        assert!(!crowd.recover());
        crowd.since = Instant::now().checked_sub(RECOVER);
        assert!(crowd.recover());
        assert_eq!(crowd.now, 2);
    }
}
