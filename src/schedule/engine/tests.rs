//! Simulations of the engine: random graphs, arrivals, ends, stops and faults.
//!
//! `MSTORE_SEEDS=N cargo test engine` plays N seeds in place of some thousands.

mod asks;
mod locks;
mod play;
mod scale;

use super::*;
use play::Rng;

/// An engine with one host, for everything.
pub fn engine(slots: usize, keep_going: bool) -> Engine {
    let mut engine = Engine::new(keep_going);
    let kinds = vec![engine.name_kind()];
    let (host, speed) = (HostId::nth(0), 1.0);
    let offer = Offer {
        slots,
        kinds,
        speed,
    };
    assert_eq!(engine.handle(EngineEvent::HostUp { host, offer }), []);
    engine
}

/// The start of a job on that host.
fn run(job: JobId, start: u32) -> Run {
    let host = HostId::nth(0);
    Run { job, host, start }
}

fn start(job: JobId) -> Command {
    Command::Start(run(job, 1))
}

fn succeeded(job: JobId) -> EngineEvent {
    EngineEvent::Succeeded(run(job, 1))
}

/// A job that is listed at once with what it needs.
fn new(job: JobId, needs: &[JobId]) -> NewJob {
    NewJob {
        job,
        needs: needs.to_vec(),
        seconds: None,
        open: false,
        ask: KindId::at(0).into(),
    }
}

fn timed(job: JobId, needs: &[JobId], seconds: f64) -> NewJob {
    NewJob {
        seconds: Some(seconds),
        ..new(job, needs)
    }
}

fn open(job: JobId, needs: &[JobId]) -> NewJob {
    NewJob {
        open: true,
        ..new(job, needs)
    }
}

#[test]
fn a_host_that_is_barred_when_it_comes_gets_nothing_until_it_is_up() {
    let mut engine = Engine::new(false);
    let (kinds, host) = (vec![engine.name_kind()], HostId::nth(0));
    let offer = Offer {
        slots: 1,
        kinds,
        speed: 1.0,
    };
    let [job] = names(&mut engine);
    let barred = EngineEvent::HostBarred {
        host,
        offer: offer.clone(),
    };
    assert_eq!(list(&mut engine, &[new(job, &[])]), []);
    assert_eq!(engine.handle(barred), []);
    assert_eq!(engine.host_state(host), HostState::Stopped);
    let up = EngineEvent::HostUp { host, offer };
    assert_eq!(engine.handle(up), [start(job)]);
}

fn names<const N: usize>(engine: &mut Engine) -> [JobId; N] {
    std::array::from_fn(|_| engine.name())
}

fn list(engine: &mut Engine, jobs: &[NewJob]) -> Vec<Command> {
    engine.handle(EngineEvent::Listed(jobs.to_vec()))
}

fn states<const N: usize>(engine: &Engine, jobs: [JobId; N]) -> [JobState; N] {
    jobs.map(|job| engine.state(job))
}

fn circle(job: JobId, members: &[JobId]) -> Command {
    Command::Refuse {
        job,
        flaw: Flaw::Circle(members.to_vec()),
    }
}

/// A graph whose jobs come in the order of their needs, with durations.
struct Static {
    needs: Vec<Vec<usize>>,
    seconds: Vec<Option<f64>>,
    kinds: Vec<usize>,
}

/// Hosts that stay up, and what each can run.
type Park = Vec<(usize, f64, Vec<usize>)>;

impl Static {
    fn random(rng: &mut Rng) -> Static {
        let n = rng.below(60);
        let needs = (0..n).map(|i| {
            let mut needs: Vec<usize> = (0..rng.below(4).min(i)).map(|_| rng.below(i)).collect();
            needs.sort_unstable();
            needs.dedup();
            needs
        });
        let needs = needs.collect();
        let seconds = (0..n)
            .map(|_| rng.below(50))
            .map(|s| (s > 0).then_some(s as f64));
        Static {
            needs,
            seconds: seconds.collect(),
            kinds: vec![0; n],
        }
    }

    /// No schedule takes less: the longest chain, and the work that some kinds bring to their hosts.
    fn bound(&self, park: &Park) -> f64 {
        let seconds = |n: usize| self.seconds[n].unwrap_or(1.0);
        let mut path = vec![0.0_f64; self.needs.len()];
        for n in 0..path.len() {
            let below = self.needs[n].iter().map(|&d| path[d]).fold(0.0, f64::max);
            let able = park
                .iter()
                .filter(|(.., kinds)| kinds.contains(&self.kinds[n]));
            path[n] = below + seconds(n) / able.map(|h| h.1).fold(0.0, f64::max);
        }
        let longest = path.into_iter().fold(0.0, f64::max);
        // Every set of kinds, by the bits of a number.
        let sets = (1..8_usize).map(|set| {
            let has = |kind: usize| set >> kind & 1 == 1;
            let mine = (0..self.needs.len()).filter(|n| has(self.kinds[*n]));
            let able = park
                .iter()
                .filter(|(.., kinds)| kinds.iter().any(|k| has(*k)));
            let speed: f64 = able.map(|(slots, speed, _)| *slots as f64 * speed).sum();
            let work: f64 = mine.map(seconds).sum();
            if work > 0.0 { work / speed } else { 0.0 }
        });
        sets.fold(longest, f64::max)
    }

    /// Plays the graph on a virtual clock; gives the order of starts, the states and the time taken.
    fn run(&self, park: &Park, fails: impl Fn(usize) -> bool) -> (Vec<JobId>, Vec<JobState>, f64) {
        let mut engine = Engine::new(true);
        let kinds: Vec<KindId> = (0..3).map(|_| engine.name_kind()).collect();
        for (n, (slots, speed, can)) in park.iter().enumerate() {
            let (host, kinds) = (HostId::nth(n), can.iter().map(|k| kinds[*k]).collect());
            let offer = Offer {
                slots: *slots,
                kinds,
                speed: *speed,
            };
            engine.handle(EngineEvent::HostUp { host, offer });
        }
        let ids: Vec<JobId> = self.needs.iter().map(|_| engine.name()).collect();
        let all = (0..ids.len()).map(|i| NewJob {
            job: ids[i],
            needs: self.needs[i].iter().map(|&d| ids[d]).collect(),
            seconds: self.seconds[i],
            open: false,
            ask: kinds[self.kinds[i]].into(),
        });
        let mut commands = engine.handle(EngineEvent::Listed(all.collect()));
        commands.extend(engine.handle(EngineEvent::WalkEnded));
        let mut running: Vec<(f64, Run)> = Vec::new();
        let (mut now, mut order) = (0.0, Vec::new());
        loop {
            for command in commands.drain(..) {
                if let Command::Start(run) = command {
                    let at = ids.iter().position(|id| *id == run.job).unwrap();
                    order.push(run.job);
                    let (slots, speed, can) = &park[run.host.number()];
                    assert!(can.contains(&self.kinds[at]));
                    running.push((now + self.seconds[at].unwrap_or(1.0) / speed, run));
                    let there = running.iter().filter(|r| r.1.host == run.host);
                    assert!(there.count() <= *slots);
                }
            }
            running.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
            let Some((at, run)) = running.pop() else {
                break;
            };
            now = at;
            commands = engine.handle(EngineEvent::Tick(now));
            let at = ids.iter().position(|id| *id == run.job).unwrap();
            commands.extend(engine.handle(match fails(at) {
                true => EngineEvent::Failed(run),
                false => EngineEvent::Succeeded(run),
            }));
        }
        assert!(engine.is_over());
        let states = ids.iter().map(|id| engine.state(*id)).collect();
        (order, states, now)
    }
}

#[test]
fn without_faults_everything_is_built_once_and_in_good_time() {
    let (mut sum, mut worst) = (0.0, 0.0_f64);
    let seeds = play::seeds(3000);
    let count = seeds.end as f64;
    for seed in seeds {
        let mut rng = Rng(seed);
        let mut graph = Static::random(&mut rng);
        let mut park: Park = vec![(1 + rng.below(8), 1.0, vec![0, 1, 2])];
        if rng.one_in(3) {
            // Unequal hosts that cannot run all of it.
            for kind in &mut graph.kinds {
                *kind = rng.below(3);
            }
            let speeds = [0.25, 0.5, 1.0, 2.0];
            for _ in 0..1 + rng.below(4) {
                let kinds = (0..3).filter(|_| !rng.one_in(3)).collect();
                park.push((1 + rng.below(4), speeds[rng.below(4)], kinds));
            }
        }
        let (order, states, makespan) = graph.run(&park, |_| false);
        assert!(states.iter().all(|&s| s == JobState::Usable), "seed {seed}");
        let once: BTreeSet<JobId> = order.iter().copied().collect();
        assert_eq!((once.len(), order.len()), (states.len(), states.len()));
        let bound = graph.bound(&park);
        let ratio = if bound > 0.0 { makespan / bound } else { 1.0 };
        sum += ratio;
        worst = worst.max(ratio);
        assert!(
            makespan <= 2.0 * bound + 1e-9,
            "seed {seed}: {makespan} > 2 x {bound} on {park:?}"
        );
    }
    println!(
        "makespan by its bound: {:.3} in the mean, {worst:.3} at worst",
        sum / count
    );
    assert!(sum / count < 1.1);
}

#[test]
fn after_faults_exactly_the_dependents_are_skipped() {
    for seed in play::seeds(2000) {
        let mut rng = Rng(seed);
        let graph = Static::random(&mut rng);
        let (park, salt) = (vec![(1 + rng.below(4), 1.0, vec![0, 1, 2])], rng.next());
        let fails =
            |n: usize| ((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt) >> 32 & 7 == 0;
        let (_, states, _) = graph.run(&park, fails);
        for n in 0..states.len() {
            let blocked = graph.needs[n]
                .iter()
                .any(|&d| states[d] != JobState::Usable);
            let expected = match (blocked, fails(n)) {
                (true, _) => JobState::Skipped,
                (false, true) => JobState::Failed,
                (false, false) => JobState::Usable,
            };
            assert_eq!(states[n], expected, "seed {seed}, job {n}");
        }
    }
}

#[test]
fn whatever_comes_in_whatever_order_the_invariants_hold() {
    let mut seen = play::Seen::default();
    let seeds = play::seeds(5000);
    let plays = seeds.end as usize;
    for seed in seeds {
        play::Play::new(seed, &mut seen).run();
    }
    // That a play shows nothing must not be because nothing happened in it.
    println!("{plays} plays: {seen:?}");
    let often = [
        seen.starts,
        seen.restarts,
        seen.skips,
        seen.circles,
        seen.stopped,
        seen.hosts_lost,
        seen.requeued,
        seen.late_answers,
        seen.held_back,
        seen.none_up,
        seen.wide,
        seen.alone,
        seen.light,
        seen.gated,
        seen.kept,
        seen.near,
        seen.waits_near,
    ];
    let now_and_then = [
        seen.long_circles,
        seen.never_listed,
        seen.never_closed,
        seen.nothing_new,
        seen.no_host,
        seen.filled,
    ];
    assert!(often.iter().all(|n| *n >= plays / 20), "{seen:?}");
    assert!(now_and_then.iter().all(|n| *n >= plays / 100), "{seen:?}");
}

#[test]
fn paths_are_exact_once_the_walk_has_ended_and_never_too_long_before() {
    for seed in play::seeds(1500) {
        let mut rng = Rng(seed);
        let n = 1 + rng.below(40);
        let mut engine = engine(1, true);
        let ids: Vec<JobId> = (0..n).map(|_| engine.name()).collect();
        let jobs: Vec<NewJob> = (0..n)
            .map(|i| {
                let needs: Vec<JobId> = (0..rng.below(4).min(i))
                    .map(|_| ids[rng.below(i)])
                    .collect();
                timed(ids[i], &needs, rng.below(100) as f64)
            })
            .collect();
        // An edge of a job that is not listed yet does not count.
        let exact = |listed: &BTreeSet<JobId>| {
            let mut path = vec![0.0_f64; n];
            for i in (0..n).rev().filter(|i| listed.contains(&ids[*i])) {
                path[i] += jobs[i].seconds.unwrap_or(0.0);
                for need in &jobs[i].needs {
                    let need = ids.iter().position(|id| id == need).unwrap();
                    path[need] = path[need].max(path[i]);
                }
            }
            path
        };
        let mut order: Vec<usize> = (0..n).collect();
        rng.shuffle(&mut order);
        let mut listed = BTreeSet::new();
        while !order.is_empty() {
            let some = order.split_off(order.len() - (1 + rng.below(3)).min(order.len()));
            let some: Vec<NewJob> = some.into_iter().map(|i| jobs[i].clone()).collect();
            listed.extend(some.iter().map(|new| new.job));
            list(&mut engine, &some);
            for (id, most) in ids.iter().zip(exact(&listed)) {
                assert!(engine.remaining(*id) <= most, "seed {seed}");
            }
        }
        engine.handle(EngineEvent::WalkEnded);
        for (id, path) in ids.iter().zip(exact(&listed)) {
            assert_eq!(engine.remaining(*id), path, "seed {seed}");
        }
    }
}

#[test]
fn a_failure_without_keep_going_starts_nothing_more() {
    let mut engine = engine(1, false);
    let [a, b, c] = names(&mut engine);
    let all = [new(a, &[]), new(b, &[]), new(c, &[])];
    assert_eq!(list(&mut engine, &all), [start(a)]);
    assert_eq!(engine.handle(succeeded(a)), [start(b)]);
    assert_eq!(engine.handle(EngineEvent::Failed(run(b, 1))), []);
    assert!(engine.is_over());
    assert_eq!(engine.state(c), JobState::Queued);
}

#[test]
fn nothing_starts_after_a_stop() {
    let mut engine = engine(4, true);
    let [a, b] = names(&mut engine);
    assert_eq!(list(&mut engine, &[new(a, &[]), new(b, &[a])]), [start(a)]);
    assert_eq!(engine.handle(EngineEvent::Stop), []);
    assert!(!engine.is_over());
    assert_eq!(engine.handle(succeeded(a)), []);
    assert!(engine.is_over());
}

#[test]
fn the_longest_remaining_path_goes_first() {
    let mut engine = engine(1, false);
    let [short, long, top] = names(&mut engine);
    let all = [
        timed(short, &[], 5.0),
        timed(long, &[], 1.0),
        timed(top, &[long], 90.0),
    ];
    assert_eq!(list(&mut engine, &all), [start(long)]);
    assert_eq!(engine.state(short), JobState::Queued);
}

#[test]
fn what_is_listed_late_makes_queued_jobs_more_urgent() {
    let mut engine = engine(1, true);
    let [first, a, b, top] = names(&mut engine);
    let all = [
        timed(first, &[], 9.0),
        timed(a, &[], 2.0),
        timed(b, &[], 1.0),
    ];
    assert_eq!(list(&mut engine, &all), [start(first)]);
    assert_eq!(list(&mut engine, &[timed(top, &[b], 50.0)]), []);
    assert_eq!(engine.handle(succeeded(first)), [start(b)]);
}

#[test]
fn an_edge_may_name_what_is_listed_later() {
    let mut engine = engine(2, true);
    let [top, below] = names(&mut engine);
    assert_eq!(list(&mut engine, &[new(top, &[below])]), []);
    assert_eq!(
        states(&engine, [top, below]),
        [JobState::ToBuild, JobState::Named]
    );
    assert!(!engine.is_over(), "the walk goes on");
    assert_eq!(list(&mut engine, &[new(below, &[])]), [start(below)]);
    assert_eq!(engine.handle(EngineEvent::WalkEnded), []);
    assert_eq!(engine.handle(succeeded(below)), [start(top)]);
}

#[test]
fn an_edge_to_what_was_never_listed_is_the_namers_error() {
    let mut engine = engine(2, true);
    let [top, namer, gone, lost] = names(&mut engine);
    list(
        &mut engine,
        &[new(top, &[namer]), new(namer, &[gone, lost])],
    );
    let said = engine.handle(EngineEvent::WalkEnded);
    let flaw = Flaw::NeverListed(vec![gone, lost]);
    let refuse = Command::Refuse { job: namer, flaw };
    let skip = Command::Skip {
        job: top,
        cause: namer,
    };
    assert_eq!(said, [refuse, skip]);
    assert!(engine.is_over());
    assert_eq!(engine.unfinished(), 0);
}

#[test]
fn a_circle_is_named_when_it_closes() {
    let mut engine = engine(2, true);
    let [a, b, c, above, aside] = names(&mut engine);
    let some = [new(above, &[a]), new(a, &[b]), new(c, &[a])];
    assert_eq!(list(&mut engine, &some), []);
    assert_eq!(
        list(&mut engine, &[new(b, &[c, aside])]),
        [
            circle(b, &[b, c, a]),
            Command::Skip {
                job: above,
                cause: a
            }
        ]
    );
    assert_eq!(states(&engine, [a, b, c]), [JobState::Broken; 3]);
    // What stands beside it is built.
    assert_eq!(list(&mut engine, &[new(aside, &[])]), [start(aside)]);
    let flaw: Flaw<String> = Flaw::Circle(vec!["b".into(), "c".into(), "a".into()]);
    assert_eq!(
        flaw.to_string(),
        "it needs itself: b needs c needs a needs b"
    );
}

#[test]
fn a_job_that_needs_itself_is_a_circle() {
    let mut engine = engine(2, true);
    let [a] = names(&mut engine);
    assert_eq!(list(&mut engine, &[new(a, &[a])]), [circle(a, &[a])]);
}

#[test]
fn a_circle_through_a_skipped_job_is_named_all_the_same() {
    let mut engine = engine(2, true);
    let [bad, a, b] = names(&mut engine);
    list(&mut engine, &[new(bad, &[]), new(a, &[bad, b])]);
    assert_eq!(
        engine.handle(EngineEvent::Failed(run(bad, 1))),
        [Command::Skip { job: a, cause: bad }]
    );
    assert_eq!(list(&mut engine, &[new(b, &[a])]), [circle(b, &[b, a])]);
    assert_eq!(
        states(&engine, [a, b]),
        [JobState::Skipped, JobState::Broken]
    );
}

#[test]
fn an_open_job_waits_until_it_is_closed() {
    let mut engine = engine(2, true);
    let [stage, resolve, package] = names(&mut engine);
    assert_eq!(
        list(&mut engine, &[open(stage, &[resolve]), new(resolve, &[])]),
        [start(resolve)]
    );
    engine.handle(EngineEvent::WalkEnded);
    assert_eq!(list(&mut engine, &[new(package, &[])]), [start(package)]);
    let gained = EngineEvent::Gained {
        job: stage,
        needs: vec![package],
    };
    assert_eq!(engine.handle(gained), []);
    assert_eq!(engine.handle(succeeded(package)), []);
    assert_eq!(engine.handle(EngineEvent::Closed(stage)), []);
    assert_eq!(engine.handle(succeeded(resolve)), [start(stage)]);
}

#[test]
fn an_open_job_that_nobody_can_close_is_an_error() {
    let mut engine = engine(2, true);
    let [stage, resolve] = names(&mut engine);
    list(&mut engine, &[open(stage, &[resolve]), new(resolve, &[])]);
    engine.handle(EngineEvent::WalkEnded);
    let flaw = Flaw::NeverClosed;
    assert_eq!(
        engine.handle(succeeded(resolve)),
        [Command::Refuse { job: stage, flaw }]
    );
    assert!(engine.is_over());
}

#[test]
fn a_refined_job_waits_for_what_it_asked_for_and_asks_once() {
    let mut engine = engine(2, true);
    let [a, more] = names(&mut engine);
    list(&mut engine, &[new(a, &[]), new(more, &[])]);
    let ask = |start| EngineEvent::Refined {
        run: run(a, start),
        needs: vec![more],
    };
    assert_eq!(engine.handle(ask(1)), []);
    assert_eq!(engine.state(a), JobState::ToBuild);
    assert_eq!(engine.handle(succeeded(more)), [Command::Start(run(a, 2))]);
    let flaw = Flaw::NothingNew;
    assert_eq!(engine.handle(ask(2)), [Command::Refuse { job: a, flaw }]);
}

#[test]
fn a_lost_job_runs_again_and_its_late_answer_counts_for_nothing() {
    let mut engine = engine(1, true);
    let [a, urgent] = names(&mut engine);
    list(&mut engine, &[new(a, &[])]);
    list(&mut engine, &[timed(urgent, &[], 99.0)]);
    assert_eq!(engine.handle(EngineEvent::Lost(run(a, 1))), [start(urgent)]);
    assert_eq!(engine.handle(succeeded(a)), []);
    assert_eq!(engine.state(a), JobState::Queued);
    assert_eq!(
        engine.handle(succeeded(urgent)),
        [Command::Start(run(a, 2))]
    );
    assert_eq!(engine.handle(succeeded(a)), []);
    assert_eq!(engine.state(a), JobState::Running);
}

#[test]
fn what_is_listed_on_top_of_a_failure_is_skipped() {
    let mut engine = engine(1, true);
    let [bad, middle, late] = names(&mut engine);
    list(&mut engine, &[new(bad, &[]), new(middle, &[bad])]);
    engine.handle(EngineEvent::Failed(run(bad, 1)));
    let skip = Command::Skip {
        job: late,
        cause: bad,
    };
    assert_eq!(list(&mut engine, &[new(late, &[middle])]), [skip]);
}

/// An engine with these hosts, of one slot each, for everything.
fn with_hosts(speeds: &[f64]) -> (Engine, Vec<HostId>) {
    let mut engine = Engine::new(true);
    let kind = engine.name_kind();
    let hosts = (0..speeds.len()).map(HostId::nth).collect();
    for (n, &speed) in speeds.iter().enumerate() {
        let offer = Offer {
            slots: 1,
            kinds: vec![kind],
            speed,
        };
        let host = HostId::nth(n);
        engine.handle(EngineEvent::HostUp { host, offer });
    }
    (engine, hosts)
}

#[test]
fn a_long_job_waits_for_a_fast_host_and_a_slow_one_takes_a_short_job() {
    let (mut engine, hosts) = with_hosts(&[1.0, 4.0]);
    let [first, long, short] = names(&mut engine);
    let on = |job, host: HostId| Run {
        job,
        host,
        start: 1,
    };
    let some = [timed(first, &[], 80.0), timed(long, &[], 60.0)];
    // First would take 20 seconds; then long 15: sooner than the 60 of the slow host.
    let started = [Command::Start(on(first, hosts[1]))];
    assert_eq!(list(&mut engine, &some), started);
    assert_eq!(engine.why_waiting(long), Some(Waiting::HeldFor(hosts[1])));
    let started = [Command::Start(on(short, hosts[0]))];
    assert_eq!(list(&mut engine, &[timed(short, &[], 5.0)]), started);
    let full = Waiting::Full(hosts.clone());
    assert_eq!(engine.why_waiting(long), Some(full));
    engine.handle(EngineEvent::Succeeded(on(short, hosts[0])));
    assert_eq!(engine.state(long), JobState::Queued);
    // What is late is expected to be late for as long again.
    assert_eq!(engine.handle(EngineEvent::Tick(60.0)), []);
    let started = [Command::Start(on(long, hosts[0]))];
    assert_eq!(engine.handle(EngineEvent::Tick(66.0)), started);
}

#[test]
fn the_time_that_is_left_is_that_of_the_work_or_of_the_longest_chain() {
    let (mut engine, hosts) = with_hosts(&[2.0, 2.0]);
    let [base, top, aside] = names(&mut engine);
    let all = [
        timed(base, &[], 100.0),
        timed(top, &[base], 20.0),
        timed(aside, &[], 10.0),
    ];
    list(&mut engine, &all);
    assert_eq!(engine.time_left(), Some(60.0));
    engine.handle(EngineEvent::Tick(40.0));
    assert_eq!(engine.time_left(), Some(20.0));
    for host in hosts {
        engine.handle(EngineEvent::HostDown(host));
    }
    assert_eq!(engine.time_left(), None);
}

#[test]
fn what_holds_nothing_up_starts_on_a_slow_host() {
    let (mut engine, hosts) = with_hosts(&[1.0, 4.0]);
    let [base, top, aside] = names(&mut engine);
    let all = [
        timed(base, &[], 400.0),
        timed(top, &[base], 400.0),
        timed(aside, &[], 150.0),
    ];
    // Aside would be done after 137 seconds on the fast host, but nobody waits for it before 200.
    let start = |job, host| {
        let start = 1;
        Command::Start(Run { job, host, start })
    };
    let started = [start(base, hosts[1]), start(aside, hosts[0])];
    assert_eq!(list(&mut engine, &all), started);
}

#[test]
fn an_engine_that_forgets_a_job_says_so() {
    let mut engine = engine(1, true);
    let [first, second] = names(&mut engine);
    list(&mut engine, &[new(first, &[]), new(second, &[])]);
    engine.queues[ClassId::at(0)].ready.clear();
    let (job, host) = (second, HostId::nth(0));
    let said = engine.handle(succeeded(first));
    assert_eq!(said, [Command::Confess { job, host }]);
    assert!(engine.is_over() && engine.is_stopped());
}

#[test]
fn hosts_may_be_lost_more_often_than_jobs_are_started() {
    let (mut engine, hosts) = with_hosts(&[1.0, 1.0]);
    let [a] = names(&mut engine);
    list(&mut engine, &[new(a, &[])]);
    engine.handle(EngineEvent::WalkEnded);
    let on = |host, start| {
        Command::Start(Run {
            job: a,
            host,
            start,
        })
    };
    assert_eq!(
        engine.handle(EngineEvent::HostDown(hosts[0])),
        [on(hosts[1], 2)]
    );
    assert_eq!(engine.handle(EngineEvent::HostDown(hosts[0])), []);
    assert_eq!(engine.handle(EngineEvent::HostDown(hosts[1])), []);
    // It waits for one of them to come back, and does not hang: there are hosts for it.
    assert!(!engine.is_over());
    let all = Waiting::NoneUp(hosts.clone());
    assert_eq!(engine.why_waiting(a), Some(all));
}
