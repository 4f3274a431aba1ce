//! The driver with jobs and executors that need no store and no sandbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Condvar, Mutex};
use std::thread;

use mstore_store::{Cancel, Hash};

use super::*;
use crate::drv::derivation::{
    ANY_PLATFORM, Env, Input, InputSource, Network, Output, Policy, Role, SANDBOX_PROFILE,
};
use crate::drv::{Derivation, StepName};
use crate::schedule::growth::{Feed, feed};

fn tree(name: &str) -> TreeHash {
    TreeHash(Hash::of(name.as_bytes()))
}

fn step(name: &str) -> Box<Resolved> {
    let derivation = Derivation {
        env: Env::default(),
        name: StepName::new("demo", name).expect("a name"),
        root: "/".into(),
        build: "demo".into(),
        class: "stage".into(),
        epoch: 0,
        inputs: vec![Input {
            at: "/".into(),
            role: Role::Root,
            owner: None,
            source: InputSource::Tree(tree("seed")),
        }],
        output: Output::Captured,
        phases: Vec::new(),
        policy: Policy {
            tag: None,
            from: None,
            width: None,
            impure: Vec::new(),
            limits: None,
            network: Network::None,
            silence: None,
            timeout: None,
        },
        target: "stage".into(),
        sandbox: SANDBOX_PROFILE.into(),
        subarch: "generic".into(),
        platform: "x86_64".into(),
        arch_desc: "pc".into(),
    };
    Box::new(
        derivation
            .resolve(vec![tree("seed")])
            .expect("one tree for one input"),
    )
}

/// Jobs that are called by their names.
#[derive(Default)]
struct Toy {
    found: BTreeSet<&'static str>,
    /// Known trees that are not here.
    remote: BTreeSet<&'static str>,
    /// What the tree of a job brings.
    verdicts: BTreeMap<&'static str, Vec<Verdict<&'static str>>>,
}

impl Planner for Toy {
    type Node = &'static str;

    fn name(&self, node: &&'static str) -> String {
        (*node).to_owned()
    }

    fn recorded_as(&self, node: &&'static str) -> String {
        format!("demo/{node}")
    }

    fn listed(&mut self, _: &&'static str) -> Result<(), ScheduleError> {
        Ok(())
    }

    fn decide(&mut self, node: &&'static str) -> Result<Decision, ScheduleError> {
        Ok(if self.found.contains(node) {
            Decision::Reuse(tree(node))
        } else if self.remote.contains(node) {
            let or = step(node);
            Decision::Fetch {
                tree: tree(node),
                or,
            }
        } else {
            Decision::Build(step(node))
        })
    }

    fn usable(
        &mut self,
        node: &&'static str,
        got: TreeHash,
    ) -> Result<Verdict<&'static str>, ScheduleError> {
        assert_eq!(got, tree(node), "the tree of another job");
        Ok(self
            .verdicts
            .get_mut(node)
            .and_then(Vec::pop)
            .unwrap_or_default())
    }
}

/// How a scripted job ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Fails,
    Breaks,
    Lost,
    Vanishes,
    NotFetched,
    /// Ends only when it is cancelled.
    Hangs,
}

/// Ends every job at once, on the driver's own thread.
#[derive(Default)]
struct Script {
    slots: usize,
    ends: Mutex<BTreeMap<&'static str, Vec<End>>>,
    log: Mutex<Vec<String>>,
    hanging: Mutex<BTreeMap<JobId, Report>>,
}

impl Script {
    fn new(ends: &[(&'static str, &[End])]) -> Script {
        let ends = ends
            .iter()
            .map(|(name, ends)| (*name, ends.iter().rev().copied().collect()));
        Script {
            ends: Mutex::new(ends.collect()),
            ..Script::default()
        }
    }

    fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

/// A host for everything.
fn one_host(slots: usize) -> Vec<(HostId, HostNews)> {
    vec![(HostId::nth(0), HostNews::Up(host("here", slots)))]
}

fn host(name: &str, slots: usize) -> Host {
    Host {
        name: name.into(),
        slots,
        speed: 1.0,
        platforms: None,
        here: true,
        about: String::new(),
    }
}

impl Executor for Script {
    fn hosts(&self, _: HostDesk) -> Vec<(HostId, HostNews)> {
        one_host(self.slots)
    }

    fn start(&self, job: Job, _: HostId, report: Report) {
        let name = job
            .name
            .strip_prefix("demo/")
            .expect("a full name")
            .to_owned();
        let (word, done) = match &job.work {
            Work::Build(_) => {
                let tree = tree(&name);
                ("build", Product::Built { tree, changed: 1 })
            }
            Work::Fetch(_) => ("fetch", Product::Fetched),
        };
        self.log.lock().unwrap().push(format!("{word} {name}"));
        report.line("working");
        let end = match self.ends.lock().unwrap().get_mut(&*name).and_then(Vec::pop) {
            None => Ok(done),
            Some(End::NotFetched) => Ok(Product::NotFetched),
            Some(End::Fails) => Err(Fault::Build(Failure {
                status: 256,
                limit: false,
                how: "exit status 1".into(),
                log: "log".into(),
                tail: Vec::new(),
            })),
            Some(End::Breaks) => Err(Fault::Infrastructure(ScheduleError::Inputs)),
            Some(End::Lost) => Err(Fault::Lost("no route to host".into())),
            Some(End::Vanishes) => return,
            Some(End::Hangs) => {
                self.hanging.lock().unwrap().insert(job.id, report);
                return;
            }
        };
        report.end(JobResult { seconds: 1.0, end });
    }

    fn cancel(&self, job: JobId) {
        self.log.lock().unwrap().push("cancel".into());
        if let Some(report) = self.hanging.lock().unwrap().remove(&job) {
            let end = Err(Fault::Cancelled);
            report.end(JobResult { seconds: 1.0, end });
        }
    }
}

/// Writes down what it is told.
#[derive(Default)]
struct Watcher(Vec<String>);

impl Observer for Watcher {
    fn event(&mut self, event: RunEvent<'_>) {
        self.0.extend(match event {
            RunEvent::Started { name, .. } => Some(format!("start {name}")),
            RunEvent::Skipped { name, cause } => Some(format!("{name} needs {cause}")),
            RunEvent::Refused { name, flaw } => Some(format!("{name}: {flaw}")),
            RunEvent::Lost { name, reason, .. } => Some(format!("{name} lost: {reason}")),
            RunEvent::Leaving { running } => Some(format!("leaving {running}")),
            RunEvent::Idle { jobs, hosts } => Some(format!("{jobs} wait for {hosts:?}")),
            _ => None,
        });
    }
}

fn job(node: &'static str, needs: &[&'static str]) -> Listing<&'static str> {
    Listing {
        node,
        needs: needs.to_vec(),
        seconds: None,
        open: false,
        demand: Kind {
            platform: "x86_64".into(),
            here: false,
        }
        .into(),
    }
}

fn open(node: &'static str, needs: &[&'static str]) -> Listing<&'static str> {
    Listing {
        open: true,
        ..job(node, needs)
    }
}

struct Done {
    outcome: Outcome<&'static str>,
    log: Vec<String>,
    seen: Vec<String>,
}

/// Runs what `grow` sends before the run begins.
fn drive(
    mut toy: Toy,
    script: Script,
    keep_going: bool,
    grow: impl FnOnce(&Feed<&'static str>),
) -> Done {
    let mut watcher = Watcher::default();
    let cancel = Cancel::new();
    let options = Options {
        keep_going,
        a_site: 1,
        cancel: &cancel,
        leave: &Leave::default(),
        idle: Duration::from_secs(60),
    };
    let (feed, intake) = feed();
    grow(&feed);
    drop(feed);
    let outcome = Driver::new(&mut toy, &script, &mut watcher, intake, options).run();
    Done {
        outcome,
        log: script.log(),
        seen: watcher.0,
    }
}

/// a <- b <- c, and d alone.
fn chain(feed: &Feed<&'static str>) {
    let list = vec![
        job("a", &[]),
        job("b", &["a"]),
        job("c", &["b"]),
        job("d", &[]),
    ];
    feed.send(Growth::Listed(list)).unwrap();
}

#[test]
fn what_is_found_is_not_built() {
    let toy = Toy {
        found: ["a", "b"].into(),
        ..Toy::default()
    };
    let done = drive(toy, Script::default(), false, chain);
    assert_eq!(done.outcome.reused, ["a", "b"]);
    assert_eq!(done.log, ["build c", "build d"]);
    assert_eq!(done.outcome.built, ["c", "d"]);
}

#[test]
fn a_failed_build_skips_its_dependents_and_nothing_else() {
    let script = Script::new(&[("a", &[End::Fails])]);
    let done = drive(Toy::default(), script, true, chain);
    assert_eq!(done.outcome.failed.len(), 1);
    assert_eq!(done.outcome.failed[0].0, "a");
    assert_eq!(done.outcome.skipped, ["b", "c"]);
    assert_eq!(done.outcome.built, ["d"]);
    assert_eq!(done.seen, ["start a", "b needs a", "c needs a", "start d"]);
}

#[test]
fn a_failure_of_the_machine_is_not_a_failed_build_and_ends_the_run() {
    let script = Script::new(&[("a", &[End::Breaks])]);
    let done = drive(Toy::default(), script, true, chain);
    assert!(done.outcome.failed.is_empty());
    let met = done.outcome.infrastructure;
    assert!(matches!(met, Some((Some("a"), ScheduleError::Inputs))));
    assert_eq!(done.log, ["build a"]);
}

#[test]
fn an_executor_that_gives_no_result_is_a_failure_of_the_machine() {
    let script = Script::new(&[("a", &[End::Vanishes])]);
    let done = drive(Toy::default(), script, true, chain);
    let met = done.outcome.infrastructure;
    assert!(matches!(met, Some((Some("a"), ScheduleError::NoResult))));
}

#[test]
fn a_tree_that_nobody_has_is_built_after_all() {
    let toy = || Toy {
        remote: ["a", "d"].into(),
        ..Toy::default()
    };
    let script = Script::new(&[("a", &[End::NotFetched])]);
    let done = drive(toy(), script, false, chain);
    let expected = ["fetch a", "build a", "build b", "build c", "fetch d"];
    assert_eq!(done.log, expected);
    assert_eq!(done.seen, ["start a", "start b", "start c", "start d"]);
    assert_eq!(done.outcome.built, ["a", "b", "c", "d"]);
    let script = Script::new(&[("a", &[End::NotFetched, End::Fails])]);
    assert_eq!(drive(toy(), script, false, chain).outcome.failed.len(), 1);
}

#[test]
fn a_lost_job_runs_again_but_not_for_ever() {
    let script = Script::new(&[("a", &[End::Lost, End::Lost])]);
    let done = drive(Toy::default(), script, false, chain);
    assert_eq!(done.outcome.built, ["a", "b", "c", "d"]);
    assert_eq!(done.seen[1], "a lost: no route to host");
    let script = Script::new(&[("a", &[End::Lost, End::Lost, End::Lost, End::Lost])]);
    let done = drive(Toy::default(), script, true, chain);
    let met = done.outcome.infrastructure;
    let expected = ScheduleError::LostTooOften {
        times: 3,
        reason: "no route to host".into(),
    };
    assert_eq!(met.expect("one").1.to_string(), expected.to_string());
    assert_eq!(done.log, ["build a"; 3]);
}

#[test]
fn nothing_starts_once_cancelled() {
    let (feed, intake) = feed();
    chain(&feed);
    let (cancel, script) = (Cancel::new(), Script::default());
    cancel.cancel();
    let options = Options {
        keep_going: true,
        a_site: 1,
        cancel: &cancel,
        leave: &Leave::default(),
        idle: Duration::from_secs(60),
    };
    // The feed is still there: a run that was told to stop does not wait for the walk.
    let outcome = Driver::new(&mut Toy::default(), &script, &mut (), intake, options).run();
    assert!(outcome.cancelled);
    assert!(outcome.built.is_empty() && script.log().is_empty());
    assert!(feed.send(Growth::Listed(Vec::new())).is_err());
}

#[test]
fn what_runs_is_cancelled_and_counts_neither_as_built_nor_as_failed() {
    let (feed, intake) = feed();
    chain(&feed);
    drop(feed);
    let cancel = Cancel::new();
    let script = Script {
        slots: 2,
        ..Script::new(&[("a", &[End::Hangs])])
    };
    let options = Options {
        keep_going: true,
        a_site: 1,
        cancel: &cancel,
        leave: &Leave::default(),
        idle: Duration::from_secs(60),
    };
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            while script.hanging.lock().unwrap().is_empty() {
                thread::yield_now();
            }
            cancel.cancel();
        });
        Driver::new(&mut Toy::default(), &script, &mut (), intake, options).run()
    });
    assert!(outcome.cancelled && outcome.infrastructure.is_none());
    assert!(outcome.failed.is_empty() && outcome.skipped.is_empty());
    assert_eq!(outcome.built, ["d"]);
    assert_eq!(script.log(), ["build a", "build d", "cancel"]);
}

#[test]
fn what_a_tree_tells_grows_the_graph() {
    let found = Verdict {
        growth: vec![
            // An edge before its job.
            Growth::Gained {
                node: "stage",
                needs: vec!["less", "zlib"],
            },
            Growth::Listed(vec![
                job("zlib", &[]),
                job("less", &["ncurses"]),
                job("ncurses", &[]),
            ]),
            Growth::Closed("stage"),
        ],
        ..Verdict::default()
    };
    let toy = Toy {
        verdicts: [("resolve", vec![found])].into(),
        ..Toy::default()
    };
    let done = drive(toy, Script::default(), false, |feed| {
        let list = vec![open("stage", &["resolve"]), job("resolve", &[])];
        feed.send(Growth::Listed(list)).unwrap();
    });
    assert!(done.outcome.infrastructure.is_none());
    assert_eq!(
        done.outcome.built,
        ["resolve", "ncurses", "less", "zlib", "stage"]
    );
}

#[test]
fn a_job_that_needs_more_runs_again_with_it() {
    let more = Verdict {
        growth: vec![Growth::Listed(vec![job("ncurses", &[])])],
        more: vec!["ncurses"],
        ..Verdict::default()
    };
    let toy = Toy {
        verdicts: [("less", vec![more])].into(),
        ..Toy::default()
    };
    let done = drive(toy, Script::default(), false, |feed| {
        feed.send(Growth::Listed(vec![job("less", &[])])).unwrap();
    });
    assert_eq!(done.log, ["build less", "build ncurses", "build less"]);
    assert_eq!(done.outcome.built, ["ncurses", "less"]);
}

#[test]
fn what_needs_a_job_that_is_put_off_is_not_built_and_the_rest_is() {
    let put_off = Verdict {
        put_off: true,
        ..Verdict::default()
    };
    let toy = Toy {
        verdicts: [("tui", vec![put_off])].into(),
        ..Toy::default()
    };
    let done = drive(toy, Script::default(), false, |feed| {
        let list = vec![
            job("tui", &[]),
            job("stage", &["tui", "zlib"]),
            job("test", &["stage"]),
            job("zlib", &["less"]),
            job("less", &[]),
        ];
        feed.send(Growth::Listed(list)).unwrap();
    });
    assert_eq!(done.outcome.built, ["less", "zlib"]);
    assert_eq!(done.outcome.put_off, ["tui"]);
    assert!(done.outcome.failed.is_empty() && done.outcome.infrastructure.is_none());
}

#[test]
fn jobs_that_were_listed_wrongly_are_named_and_the_rest_is_built() {
    let done = drive(Toy::default(), Script::default(), true, |feed| {
        let list = vec![
            job("a", &["b"]),
            job("c", &["a"]),
            job("d", &["gone"]),
            job("e", &[]),
        ];
        feed.send(Growth::Listed(list)).unwrap();
        feed.send(Growth::Listed(vec![job("b", &["c"]), open("f", &[])]))
            .unwrap();
    });
    assert_eq!(
        done.seen,
        [
            "start e",
            "b: it needs itself: b needs c needs a needs b",
            "f: what it consists of never became known",
            "d: it needs gone, which does not exist",
        ]
    );
    assert_eq!(done.outcome.built, ["e"]);
    assert_eq!(
        done.outcome.refused[0],
        ("b", Flaw::Circle(vec!["b", "c", "a"]))
    );
}

#[test]
fn a_lister_that_contradicts_itself_ends_the_run() {
    let end = |grow: &dyn Fn(&Feed<&'static str>)| {
        let done = drive(Toy::default(), Script::default(), true, grow);
        done.outcome
            .infrastructure
            .map(|(node, error)| (node, error.to_string()))
    };
    let twice = end(&|feed| {
        feed.send(Growth::Listed(vec![job("a", &[])])).unwrap();
        feed.send(Growth::Listed(vec![job("a", &[])])).unwrap();
    });
    assert_eq!(twice, Some((Some("a"), "it was listed twice".to_owned())));
    let closed = end(&|feed| {
        feed.send(Growth::Listed(vec![job("a", &[])])).unwrap();
        feed.send(Growth::Closed("a")).unwrap();
    });
    assert!(closed.is_some());
}

/// Jobs on threads; some of them wait for others.
#[derive(Default)]
struct Threads {
    done: Arc<(Mutex<BTreeSet<String>>, Condvar)>,
    waits: BTreeMap<&'static str, &'static str>,
}

impl Executor for Threads {
    fn hosts(&self, _: HostDesk) -> Vec<(HostId, HostNews)> {
        one_host(2)
    }

    fn start(&self, job: Job, _: HostId, report: Report) {
        let name = job
            .name
            .strip_prefix("demo/")
            .expect("a full name")
            .to_owned();
        let (done, waits) = (Arc::clone(&self.done), self.waits.get(&*name).copied());
        thread::spawn(move || {
            let (set, changed) = &*done;
            let mut set = set.lock().unwrap();
            set.insert(format!("{name} started"));
            changed.notify_all();
            if let Some(other) = waits {
                set = changed.wait_while(set, |set| !set.contains(other)).unwrap();
            }
            set.insert(name.clone());
            changed.notify_all();
            drop(set);
            let tree = tree(&name);
            let end = Ok(Product::Built { tree, changed: 1 });
            report.end(JobResult { seconds: 0.0, end });
        });
    }

    fn cancel(&self, _: JobId) {}
}

/// `first` ends only when `late` is built, and `late` is listed only when `first` runs.
#[test]
fn jobs_are_listed_and_built_while_others_run() {
    let executor = Threads {
        waits: [("first", "late")].into(),
        ..Threads::default()
    };
    let (feed, intake) = feed();
    let list = vec![job("first", &[]), job("top", &["first", "late"])];
    feed.send(Growth::Listed(list)).unwrap();
    let done = Arc::clone(&executor.done);
    let lister = thread::spawn(move || {
        let (set, changed) = &*done;
        let set = set.lock().unwrap();
        drop(
            changed
                .wait_while(set, |set| !set.contains("first started"))
                .unwrap(),
        );
        feed.send(Growth::Listed(vec![job("late", &[])])).unwrap();
    });
    let cancel = Cancel::new();
    let options = Options {
        keep_going: false,
        a_site: 1,
        cancel: &cancel,
        leave: &Leave::default(),
        idle: Duration::from_secs(60),
    };
    let outcome = Driver::new(&mut Toy::default(), &executor, &mut (), intake, options).run();
    lister.join().unwrap();
    let built: BTreeSet<&str> = outcome.built.iter().copied().collect();
    assert_eq!(built, ["first", "late", "top"].into());
    assert_eq!(outcome.built.last(), Some(&"top"));
}

#[test]
fn a_lister_that_panics_leaves_an_error_and_no_hang() {
    let (feed, intake) = feed();
    let lister = thread::spawn(move || {
        feed.send(Growth::Listed(vec![job("a", &["b"])])).unwrap();
        panic!("on purpose");
    });
    let cancel = Cancel::new();
    let options = Options {
        keep_going: true,
        a_site: 1,
        cancel: &cancel,
        leave: &Leave::default(),
        idle: Duration::from_secs(60),
    };
    let script = Script::default();
    let outcome = Driver::new(&mut Toy::default(), &script, &mut (), intake, options).run();
    assert!(lister.join().is_err());
    assert_eq!(outcome.refused, [("a", Flaw::NeverListed(vec!["b"]))]);
}

/// A watcher that is too slow costs lines, not memory, and holds nothing up.
#[test]
fn lines_that_nobody_takes_are_left_out() {
    let (_feed, intake) = feed::<&str>();
    let desk: Arc<dyn Desk> = intake.office.clone();
    let run = Run {
        job: Engine::new(false).name(),
        host: HostId::nth(0),
        start: 1,
    };
    let report = Report::new(run, desk);
    for _ in 0..10_000 {
        report.line("much");
    }
    report.end(JobResult {
        seconds: 0.0,
        end: Ok(Product::Fetched),
    });
    assert_eq!(intake.receiver.try_iter().count(), 4096 + 1);
}

/// Notes how long things are expected to take.
#[derive(Default)]
struct Times {
    jobs: Vec<String>,
    left: Vec<f64>,
}

impl Observer for Times {
    fn event(&mut self, event: RunEvent<'_>) {
        if let RunEvent::Expected { left } = event {
            self.left.push(left);
        }
        self.jobs.extend(match event {
            RunEvent::Planned { jobs, expected } => Some(format!("{jobs} in {expected:?}")),
            RunEvent::Started { name, expected, .. } => Some(format!("{name} in {expected:?}")),
            _ => None,
        });
    }
}

#[test]
fn what_is_expected_of_jobs_and_of_the_run_goes_by_the_speed_of_hosts() {
    let hosts = [HostNews::Up(Host {
        speed: 4.0,
        ..host("fast", 1)
    })];
    let on_start = |name: &str, _: HostId, _: &HostDesk, report: Report| {
        if name == "c" {
            // Longer than it takes to be told of the time.
            std::thread::sleep(Duration::from_millis(1100));
        }
        Some(report)
    };
    let farm = Farm::new(&hosts, &on_start);
    let timed = |job, seconds| Listing {
        seconds: Some(seconds),
        ..job
    };
    let list = vec![
        timed(job("a", &[]), 100.0),
        timed(job("b", &["a"]), 60.0),
        job("c", &["b"]),
        timed(job("d", &["c"]), 40.0),
    ];
    let (feed, intake) = feed();
    feed.send(Growth::Listed(list)).unwrap();
    drop(feed);
    let cancel = Cancel::new();
    let options = Options {
        keep_going: true,
        cancel: &cancel,
        leave: &Leave::default(),
        idle: Duration::from_secs(60),
        a_site: 1,
    };
    let mut times = Times::default();
    Driver::new(&mut Toy::default(), &farm, &mut times, intake, options).run();
    // C counts as the median of the others: 60 seconds.
    insta::assert_snapshot!(times.jobs.join("; "), @"4 in Some(65.0); a in Some(25.0); b in Some(15.0); c in None; d in Some(10.0)");
    assert!(!times.left.is_empty());
    assert!(
        times.left.iter().all(|left| (0.0..=65.0).contains(left)),
        "{:?}",
        times.left
    );
}

/// What a host of [`Farm`] does about a job that starts: gives the report back if the job is to end well.
type OnStart = dyn Fn(&str, HostId, &HostDesk, Report) -> Option<Report> + Sync;

/// Several hosts, which end every job at once, on the driver's own thread.
struct Farm<'a> {
    hosts: Vec<HostNews>,
    desk: Mutex<Option<HostDesk>>,
    log: Mutex<Vec<String>>,
    on_start: &'a OnStart,
}

impl<'a> Farm<'a> {
    fn new(hosts: &[HostNews], on_start: &'a OnStart) -> Self {
        Farm {
            hosts: hosts.to_vec(),
            desk: Mutex::default(),
            log: Mutex::default(),
            on_start,
        }
    }

    /// Runs these jobs; gives what started where, and how it ended.
    fn drive(&self, list: Vec<Listing<&'static str>>) -> (Vec<String>, Outcome<&'static str>) {
        let (feed, intake) = feed();
        feed.send(Growth::Listed(list)).unwrap();
        drop(feed);
        let cancel = Cancel::new();
        let options = Options {
            keep_going: true,
            a_site: 1,
            cancel: &cancel,
            leave: &Leave::default(),
            idle: Duration::from_secs(60),
        };
        let outcome = Driver::new(&mut Toy::default(), self, &mut (), intake, options).run();
        (self.log.lock().unwrap().clone(), outcome)
    }
}

impl Executor for Farm<'_> {
    fn hosts(&self, desk: HostDesk) -> Vec<(HostId, HostNews)> {
        *self.desk.lock().unwrap() = Some(desk);
        let hosts = self.hosts.iter().cloned().enumerate();
        hosts.map(|(n, news)| (HostId::nth(n), news)).collect()
    }

    fn start(&self, job: Job, at: HostId, report: Report) {
        let name = job.name.strip_prefix("demo/").expect("a full name");
        let number = at.number();
        self.log.lock().unwrap().push(format!("{name} on {number}"));
        let desk = self.desk.lock().unwrap().clone().expect("it was asked");
        if let Some(report) = (self.on_start)(name, at, &desk, report) {
            let tree = tree(name);
            let end = Ok(Product::Built { tree, changed: 1 });
            report.end(JobResult { seconds: 1.0, end });
        }
    }

    fn cancel(&self, _: JobId) {}
}

fn for_platform(platform: &str, job: Listing<&'static str>) -> Listing<&'static str> {
    let platform = platform.into();
    Listing {
        demand: Kind {
            platform,
            here: false,
        }
        .into(),
        ..job
    }
}

#[test]
fn what_ran_on_a_lost_host_runs_elsewhere_and_its_late_answer_counts_for_nothing() {
    let two = [
        HostNews::Up(host("fast", 1)),
        HostNews::Named(host("late", 1)),
    ];
    let on_start = |name: &str, at: HostId, desk: &HostDesk, report: Report| {
        if at != HostId::nth(0) {
            return Some(report);
        }
        desk.tell(HostId::nth(1), HostNews::Up(host("late", 1)));
        desk.tell(at, HostNews::Down("no route to host".into()));
        // The tree of another job: to count it is noticed.
        report.line("late");
        let tree = tree(&format!("not {name}"));
        let end = Ok(Product::Built { tree, changed: 1 });
        report.end(JobResult { seconds: 1.0, end });
        None
    };
    let farm = Farm::new(&two, &on_start);
    let (log, outcome) = farm.drive(vec![job("a", &[]), job("b", &["a"])]);
    assert_eq!(log, ["a on 0", "a on 1", "b on 1"]);
    assert_eq!(outcome.built, ["a", "b"]);
    assert!(outcome.infrastructure.is_none(), "{outcome:?}");
}

#[test]
fn a_job_that_loses_one_host_after_the_other_ends_the_run() {
    let hosts = ["a", "b", "c", "d"].map(|name| HostNews::Up(host(name, 1)));
    let on_start = |_: &str, at: HostId, desk: &HostDesk, _: Report| {
        desk.tell(at, HostNews::Down("out of memory".into()));
        None
    };
    let farm = Farm::new(&hosts, &on_start);
    let (log, outcome) = farm.drive(vec![job("a", &[])]);
    assert_eq!(log, ["a on 0", "a on 1", "a on 2"]);
    let (node, error) = outcome.infrastructure.expect("an error");
    assert_eq!(node, Some("a"));
    let expected = "it was lost 3 times, the last time because of this: out of memory";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn jobs_run_where_they_can_and_what_no_host_can_run_is_refused() {
    let only = |name: &str, platform: &str, here: bool| {
        HostNews::Up(Host {
            platforms: Some([platform.to_owned()].into()),
            here,
            ..host(name, 2)
        })
    };
    let hosts = [only("here", "x86_64", true), only("arm", "aarch64", false)];
    let on_start = |_: &str, _: HostId, _: &HostDesk, report: Report| Some(report);
    let farm = Farm::new(&hosts, &on_start);
    let fetch = Listing {
        demand: Kind {
            platform: ANY_PLATFORM.into(),
            here: true,
        }
        .into(),
        ..job("fetch", &[])
    };
    let (mut log, outcome) = farm.drive(vec![
        fetch,
        for_platform("aarch64", job("arm", &["fetch"])),
        for_platform("x86_64", job("intel", &["arm"])),
        for_platform("riscv64", job("none", &["fetch"])),
        for_platform("x86_64", job("above", &["none"])),
        for_platform("any", job("wherever", &[])),
    ]);
    log.sort();
    assert_eq!(
        log,
        ["arm on 1", "fetch on 0", "intel on 0", "wherever on 1"]
    );
    assert_eq!(outcome.refused, [("none", Flaw::NoHost)]);
    assert_eq!(outcome.skipped, ["above"]);
    assert_eq!(outcome.built.len(), 4);
}

#[test]
fn a_stopped_host_starts_nothing_more_until_it_is_up_again() {
    let hosts = [
        HostNews::Up(host("one", 1)),
        HostNews::Up(Host {
            speed: 0.5,
            ..host("two", 1)
        }),
    ];
    let on_start = |name: &str, at: HostId, desk: &HostDesk, report: Report| {
        match name {
            "a" => desk.tell(at, HostNews::Stopped),
            "c" => desk.tell(HostId::nth(0), HostNews::Up(host("one", 1))),
            _ => {}
        }
        Some(report)
    };
    let farm = Farm::new(&hosts, &on_start);
    let list = vec![
        job("a", &[]),
        job("b", &["a"]),
        job("c", &["b"]),
        job("d", &["c"]),
    ];
    let (log, outcome) = farm.drive(list);
    assert_eq!(log, ["a on 0", "b on 1", "c on 1", "d on 0"]);
    assert_eq!(outcome.built.len(), 4);
}

/// Random graphs, pieces, orders of listing and ends, through the driver.
mod random {
    use super::*;

    /// splitmix64.
    struct Rng(u64);

    impl Rng {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % n.max(1) as u64) as usize
        }
    }

    const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

    /// Checks that every listed job came to one end, and to one that fits those of its needs.
    fn check(seed: u64, needs: &BTreeMap<&str, Vec<&'static str>>, done: &Done) {
        let outcome = &done.outcome;
        assert!(outcome.infrastructure.is_none(), "seed {seed}: {outcome:?}");
        let mut ends: BTreeMap<&str, &str> = BTreeMap::new();
        let mut end = |name: &'static str, how| {
            assert_eq!(
                ends.insert(name, how),
                None,
                "seed {seed}: {name} ended twice"
            );
        };
        outcome.built.iter().for_each(|n| end(n, "well"));
        outcome.reused.iter().for_each(|n| end(n, "well"));
        outcome.failed.iter().for_each(|(n, _)| end(n, "failed"));
        outcome.skipped.iter().for_each(|n| end(n, "skipped"));
        let mut broken = BTreeSet::new();
        for (name, flaw) in &outcome.refused {
            match flaw {
                Flaw::Circle(members) => broken.extend(members.iter().copied()),
                _ => drop(broken.insert(*name)),
            }
        }
        // One that was skipped before its circle closed is told of twice.
        for name in broken {
            ends.entry(name).or_insert("broken");
        }
        let listed: BTreeSet<&str> = needs.keys().copied().collect();
        assert_eq!(
            ends.keys().copied().collect::<BTreeSet<_>>(),
            listed,
            "seed {seed}"
        );
        for (name, needs) in needs {
            let well = needs.iter().all(|need| ends.get(need) == Some(&"well"));
            match ends[name] {
                "well" | "failed" => assert!(well, "seed {seed}: {name}"),
                _ => assert!(!well, "seed {seed}: {name}"),
            }
        }
        let at = |name: &str| outcome.built.iter().position(|n| *n == name);
        for (name, needs) in needs {
            for need in needs.iter().filter(|_| at(name).is_some()) {
                assert!(at(need) < at(name), "seed {seed}: {name} before {need}");
            }
        }
    }

    #[test]
    fn every_job_comes_to_an_end_that_fits_those_of_its_needs() {
        for seed in 0..1500 {
            let mut rng = Rng(seed);
            let n = 1 + rng.below(NAMES.len());
            let (mut needs, mut toy, mut ends) = (BTreeMap::new(), Toy::default(), Vec::new());
            for (at, name) in NAMES[..n].iter().enumerate() {
                // Mostly earlier ones; now and then any, or one that nobody lists.
                let mut some = Vec::new();
                for _ in 0..rng.below(3) {
                    some.push(match rng.below(20) {
                        0 => NAMES[rng.below(n)],
                        1 => "nobody",
                        _ if at > 0 => NAMES[rng.below(at)],
                        _ => continue,
                    });
                }
                needs.insert(*name, some);
                match rng.below(12) {
                    0 => drop(toy.found.insert(name)),
                    1 => drop(toy.remote.insert(name)),
                    2 => ends.push((*name, vec![End::Fails])),
                    3 => ends.push((*name, vec![End::Lost, End::Lost])),
                    4 => {
                        toy.remote.insert(name);
                        ends.push((*name, vec![End::NotFetched, End::Lost, End::Fails]));
                    }
                    _ => {}
                }
            }
            let mut order: Vec<&str> = NAMES[..n].to_vec();
            for i in (1..n).rev() {
                order.swap(i, rng.below(i + 1));
            }
            let borrowed: Vec<(&str, &[End])> = ends.iter().map(|(n, e)| (*n, &e[..])).collect();
            let script = Script::new(&borrowed);
            let done = drive(toy, script, true, |feed| {
                while !order.is_empty() {
                    let some = order.split_off(order.len() - (1 + rng.below(3)).min(order.len()));
                    let list = some.iter().map(|name| job(name, &needs[name])).collect();
                    feed.send(Growth::Listed(list)).unwrap();
                }
            });
            check(seed, &needs, &done);
        }
    }
}

/// Asks to leave, or ends the run, when it sees something.
struct Reacts<'a> {
    seen: Watcher,
    to: &'a str,
    leave: &'a Leave,
    cancel: &'a Cancel,
}

impl Observer for Reacts<'_> {
    fn event(&mut self, event: RunEvent<'_>) {
        self.seen.event(event);
        if self
            .seen
            .0
            .last()
            .is_some_and(|last| last.starts_with(self.to))
            && !self.leave.ask()
        {
            self.cancel.cancel();
        }
    }
}

#[test]
fn who_is_asked_to_leave_lets_end_what_runs_and_starts_nothing() {
    let (cancel, leave) = (Cancel::new(), Leave::default());
    let options = Options {
        keep_going: true,
        a_site: 1,
        cancel: &cancel,
        leave: &leave,
        idle: Duration::from_secs(60),
    };
    let (feed, intake) = feed();
    feed.send(Growth::Listed(vec![job("a", &[]), job("b", &["a"])]))
        .unwrap();
    drop(feed);
    let mut watcher = Reacts {
        seen: Watcher::default(),
        to: "start a",
        leave: &leave,
        cancel: &cancel,
    };
    let hosts = [HostNews::Up(host("one", 1))];
    // It ends only when the driver has heeded that.
    let on_start = |_: &str, _: HostId, _: &HostDesk, report: Report| {
        thread::spawn(|| {
            thread::sleep(POLL * 3);
            let end = Ok(Product::Built {
                tree: tree("a"),
                changed: 1,
            });
            report.end(JobResult { seconds: 1.0, end });
        });
        None
    };
    let farm = Farm::new(&hosts, &on_start);
    let outcome = Driver::new(&mut Toy::default(), &farm, &mut watcher, intake, options).run();
    assert_eq!(watcher.seen.0, ["start a", "leaving 1"]);
    assert_eq!(
        (outcome.built.as_slice(), outcome.cancelled),
        (&["a"][..], true)
    );
    // The run is over: whoever asks now means something else.
    assert!(!Leave::default().ask() && !leave.ask());
}

#[test]
fn jobs_that_wait_for_hosts_say_so_again_and_again() {
    let (cancel, leave) = (Cancel::new(), Leave::default());
    let options = Options {
        keep_going: true,
        a_site: 1,
        cancel: &cancel,
        leave: &leave,
        idle: POLL,
    };
    let (feed, intake) = feed();
    feed.send(Growth::Listed(vec![job("a", &[])])).unwrap();
    drop(feed);
    let away = Host {
        here: false,
        ..host("away", 1)
    };
    let on_start = |_: &str, _: HostId, _: &HostDesk, _: Report| panic!("there is no host");
    let hosts = [HostNews::Named(away)];
    let farm = Farm::new(&hosts, &on_start);
    // The first time it asks, the second time it means it.
    let mut watcher = Reacts {
        seen: Watcher::default(),
        to: "never",
        leave: &leave,
        cancel: &cancel,
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(POLL * 8);
            cancel.cancel();
        });
        Driver::new(&mut Toy::default(), &farm, &mut watcher, intake, options).run()
    });
    let told = watcher.seen.0;
    assert!(told.len() >= 2, "{told:?}");
    assert_eq!(told[0], r#"1 wait for [("away", None)]"#);
}
