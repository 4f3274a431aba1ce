//! Two engines that share a table of locks: never two jobs of a path at once, and what ended badly starts again only
//! after its lock was removed.

use std::collections::BTreeMap;

use super::*;

/// A lock of the table, with a number that no other has.
#[derive(Clone, Copy, Debug)]
struct Lock {
    number: usize,
    owner: usize,
    ended: bool,
}

/// What both schedulers see.
#[derive(Default)]
struct Shared {
    locks: BTreeMap<usize, Lock>,
    numbers: usize,
    built: BTreeSet<usize>,
    /// Who runs which job.
    running: BTreeMap<usize, usize>,
    /// The lock that a failure left.
    failed: BTreeMap<usize, usize>,
    /// How often each job is going to fail.
    fails: Vec<usize>,
    seen: Seen,
}

/// How often something happened.
#[derive(Debug, Default)]
struct Seen {
    found: usize,
    failures: usize,
    retries: usize,
    aside: usize,
    reused: usize,
    ended_with_errors: usize,
}

/// The graph: what each job needs and its path.
struct Plan {
    needs: Vec<Vec<usize>>,
    path: Vec<usize>,
}

struct Scheduler {
    me: usize,
    engine: Engine,
    runs: BTreeMap<usize, Run>,
    held: BTreeSet<usize>,
    /// The lock that a job waits for.
    blocked: BTreeMap<usize, usize>,
}

impl Scheduler {
    fn new(me: usize, plan: &Plan, slots: usize, patience: Patience) -> Scheduler {
        let mut engine = engine(slots, true);
        engine.set_patience(patience);
        let paths: Vec<PathId> = (0..plan.path.len()).map(|_| engine.name_path()).collect();
        let ids: Vec<JobId> = plan.path.iter().map(|_| engine.name()).collect();
        for (job, path) in plan.path.iter().enumerate() {
            engine.put_on_path(ids[job], paths[*path]);
        }
        Scheduler {
            me,
            engine,
            runs: BTreeMap::new(),
            held: BTreeSet::new(),
            blocked: BTreeMap::new(),
        }
    }

    fn begin(&mut self, plan: &Plan, shared: &mut Shared) {
        let all = plan.needs.iter().enumerate().map(|(job, needs)| {
            let needs: Vec<JobId> = needs.iter().map(|need| JobId::at(*need)).collect();
            new(JobId::at(job), &needs)
        });
        let all = all.collect();
        self.handle(EngineEvent::Listed(all), plan, shared);
        self.handle(EngineEvent::WalkEnded, plan, shared);
    }

    fn handle(&mut self, event: EngineEvent, plan: &Plan, shared: &mut Shared) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for command in self.engine.handle(event) {
                match command {
                    Command::Start(run) => events.extend(self.start(run, plan, shared)),
                    Command::Skip { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
        shared.seen.aside += self.engine.count(JobState::Aside);
        // A lock is held as long as the path gets on.
        let busy = |path: &usize| {
            let mut jobs = (0..plan.path.len()).filter(|job| plan.path[*job] == *path);
            let busy = [JobState::Running, JobState::Queued, JobState::Aside];
            jobs.any(|job| busy.contains(&self.engine.state(JobId::at(job))))
        };
        let idle: Vec<usize> = self.held.iter().copied().filter(|p| !busy(p)).collect();
        for path in idle {
            self.held.remove(&path);
            shared.locks.remove(&path);
        }
    }

    fn start(&mut self, run: Run, plan: &Plan, shared: &mut Shared) -> Option<EngineEvent> {
        let job = Id::index(run.job);
        let path = plan.path[job];
        assert!(
            plan.needs[job]
                .iter()
                .all(|need| shared.built.contains(need))
        );
        if shared.built.contains(&job) {
            shared.seen.reused += 1;
            return Some(EngineEvent::Succeeded(run));
        }
        match shared.locks.get(&path).copied() {
            Some(lock) if lock.owner != self.me || lock.ended => {
                shared.seen.found += 1;
                self.blocked.insert(job, lock.number);
                let ended = lock.ended;
                return Some(EngineEvent::LockFound { run, ended });
            }
            Some(_) => {}
            None => {
                shared.numbers += 1;
                let lock = Lock {
                    number: shared.numbers,
                    owner: self.me,
                    ended: false,
                };
                shared.locks.insert(path, lock);
                self.held.insert(path);
            }
        }
        let beside = |other: &&usize| plan.path[**other] == path;
        assert!(!shared.running.keys().any(|other| beside(&other)), "{job}");
        if let Some(left) = shared.failed.remove(&job) {
            let stands = shared.locks.values().any(|lock| lock.number == left);
            assert!(!stands, "{job} starts while the lock of its failure stands");
            shared.seen.retries += 1;
        }
        shared.running.insert(job, self.me);
        self.runs.insert(job, run);
        None
    }

    /// One of its running jobs ends.
    fn end(&mut self, rng: &mut Rng, plan: &Plan, shared: &mut Shared) {
        let all: Vec<usize> = self.runs.keys().copied().collect();
        let Some(&job) = all.get(rng.below(all.len())) else {
            return;
        };
        let Some(run) = self.runs.remove(&job) else {
            return;
        };
        shared.running.remove(&job);
        let event = if shared.fails[job] > 0 {
            shared.fails[job] -= 1;
            shared.seen.failures += 1;
            let path = plan.path[job];
            let lock = shared.locks.get_mut(&path).expect("it is held");
            assert_eq!(lock.owner, self.me);
            lock.ended = true;
            shared.failed.insert(job, lock.number);
            self.blocked.insert(job, lock.number);
            self.held.remove(&path);
            EngineEvent::Failed(run)
        } else if rng.one_in(10) {
            EngineEvent::Lost(run)
        } else {
            shared.built.insert(job);
            EngineEvent::Succeeded(run)
        };
        self.handle(event, plan, shared);
    }

    /// Looks which locks are gone.
    fn look(&mut self, plan: &Plan, shared: &mut Shared) {
        let stands = |number: &usize| shared.locks.values().any(|lock| lock.number == *number);
        let gone: Vec<usize> = self
            .blocked
            .iter()
            .filter(|(_, number)| !stands(number))
            .map(|(job, _)| *job)
            .collect();
        for job in &gone {
            self.blocked.remove(job);
        }
        if !gone.is_empty() {
            let gone = gone.into_iter().map(JobId::at).collect();
            self.handle(EngineEvent::LockGone(gone), plan, shared);
        }
    }
}

impl Plan {
    /// Paths of some steps each, a step on top of the one before, and some on top of others. A path may also be a
    /// fan, whose jobs could all run at once.
    fn random(rng: &mut Rng) -> Plan {
        let mut plan = Plan {
            needs: Vec::new(),
            path: Vec::new(),
        };
        for path in 0..1 + rng.below(8) {
            let fan = rng.one_in(3);
            for step in 0..1 + rng.below(4) {
                let job = plan.path.len();
                let mut needs: Vec<usize> =
                    (0..rng.below(3).min(job)).map(|_| rng.below(job)).collect();
                if step > 0 && !fan {
                    needs.push(job - 1);
                }
                needs.sort_unstable();
                needs.dedup();
                plan.needs.push(needs);
                plan.path.push(path);
            }
        }
        plan
    }
}

fn play(seed: u64, seen: Seen) -> Seen {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9) ^ 0x10c5);
    let plan = Plan::random(&mut rng);
    let patience = Patience {
        locks: true,
        errors: rng.one_in(2),
    };
    let mut shared = Shared {
        fails: plan
            .path
            .iter()
            .map(|_| usize::from(rng.one_in(6)))
            .collect(),
        seen,
        ..Shared::default()
    };
    let mut both = [0, 1].map(|me| {
        let slots = 1 + rng.below(3);
        Scheduler::new(me, &plan, slots, patience)
    });
    for scheduler in &mut both {
        scheduler.begin(&plan, &mut shared);
    }
    let mut turns = 0;
    while both.iter().any(|s| !s.engine.is_over()) {
        turns += 1;
        assert!(turns < 20_000, "seed {seed}: it hangs");
        let one = &mut both[rng.below(2)];
        match rng.below(6) {
            0..3 => one.end(&mut rng, &plan, &mut shared),
            3..5 => one.look(&plan, &mut shared),
            // A person repairs something.
            _ => {
                let ended = shared.locks.iter().filter(|(_, lock)| lock.ended);
                let ended: Vec<usize> = ended.map(|(path, _)| *path).collect();
                if let Some(path) = ended.get(rng.below(ended.len())) {
                    shared.locks.remove(path);
                }
            }
        }
    }
    let all = plan.path.len();
    for scheduler in &both {
        assert!(scheduler.held.is_empty(), "seed {seed}");
        assert_eq!(scheduler.engine.unfinished(), 0, "seed {seed}");
        let usable = scheduler.engine.count(JobState::Usable);
        match patience.errors {
            true => assert_eq!(usable, all, "seed {seed}"),
            false => shared.seen.ended_with_errors += usize::from(usable < all),
        }
    }
    let standing = shared.locks.values().filter(|lock| !lock.ended);
    assert_eq!(standing.count(), 0, "seed {seed}");
    shared.seen
}

#[test]
fn two_schedulers_never_run_two_jobs_of_a_path_and_errors_wait_for_their_locks() {
    let mut seen = Seen::default();
    let seeds = play::seeds(3000);
    let plays = seeds.end as usize;
    for seed in seeds {
        seen = play(seed, seen);
    }
    println!("{plays} plays: {seen:?}");
    let often = [
        seen.found,
        seen.failures,
        seen.retries,
        seen.aside,
        seen.reused,
    ];
    assert!(often.iter().all(|n| *n >= plays / 4), "{seen:?}");
    assert!(seen.ended_with_errors >= plays / 20, "{seen:?}");
}

#[test]
fn jobs_of_a_path_run_one_after_the_other() {
    let mut engine = engine(4, true);
    let path = engine.name_path();
    let [a, b, other] = names(&mut engine);
    engine.put_on_path(a, path);
    engine.put_on_path(b, path);
    let all = [new(a, &[]), new(b, &[]), new(other, &[])];
    assert_eq!(list(&mut engine, &all), [start(a), start(other)]);
    assert_eq!(engine.state(b), JobState::Aside);
    assert_eq!(engine.why_waiting(b), Some(Waiting::Path(a)));
    assert_eq!(engine.handle(succeeded(a)), [start(b)]);
    assert_eq!(engine.take_changes(), []);
    engine.handle(succeeded(b));
    assert_eq!(engine.take_changes(), [b]);
}

#[test]
fn what_is_locked_waits_for_the_lock_to_go_and_holds_nobody_else_up() {
    let mut engine = engine(1, true);
    engine.set_patience(Patience {
        locks: true,
        errors: false,
    });
    let [a, b] = names(&mut engine);
    assert_eq!(list(&mut engine, &[new(a, &[]), new(b, &[])]), [start(a)]);
    engine.handle(EngineEvent::WalkEnded);
    let (run, ended) = (run(a, 1), false);
    assert_eq!(
        engine.handle(EngineEvent::LockFound { run, ended }),
        [start(b)]
    );
    assert_eq!(engine.why_waiting(a), Some(Waiting::Lock));
    engine.handle(succeeded(b));
    assert!(!engine.is_over());
    let again = Command::Start(super::run(a, 2));
    assert_eq!(engine.handle(EngineEvent::LockGone(vec![a])), [again]);
    engine.handle(EngineEvent::Succeeded(super::run(a, 2)));
    assert!(engine.is_over());
}

#[test]
fn what_was_skipped_waits_again_when_the_lock_of_its_cause_is_gone() {
    let mut engine = engine(4, true);
    engine.set_patience(Patience {
        locks: true,
        errors: true,
    });
    let [bad, worse, top, both] = names(&mut engine);
    let all = [
        new(bad, &[]),
        new(worse, &[]),
        new(top, &[bad]),
        new(both, &[bad, worse]),
    ];
    list(&mut engine, &all);
    engine.handle(EngineEvent::WalkEnded);
    engine.handle(EngineEvent::Failed(run(bad, 1)));
    engine.handle(EngineEvent::Failed(run(worse, 1)));
    assert_eq!(states(&engine, [top, both]), [JobState::Skipped; 2]);
    assert!(!engine.is_over(), "a person may remove a lock");
    let said = engine.handle(EngineEvent::LockGone(vec![bad]));
    let skip = Command::Skip {
        job: both,
        cause: worse,
    };
    assert_eq!(said, [skip, Command::Start(run(bad, 2))]);
    assert_eq!(
        states(&engine, [top, both]),
        [JobState::ToBuild, JobState::Skipped]
    );
    // Also what is listed only now.
    let [late] = names(&mut engine);
    list(&mut engine, &[new(late, &[worse])]);
    assert_eq!(engine.state(late), JobState::Skipped);
    engine.handle(EngineEvent::Succeeded(run(bad, 2)));
    assert_eq!(engine.state(top), JobState::Running);
    let said = engine.handle(EngineEvent::LockGone(vec![worse]));
    assert_eq!(said, [Command::Start(run(worse, 2))]);
    let said = engine.handle(EngineEvent::Succeeded(run(worse, 2)));
    assert_eq!(said, [start(both), start(late)]);
}

#[test]
fn nothing_starts_while_it_is_held() {
    let mut engine = engine(1, true);
    let [a] = names(&mut engine);
    engine.handle(EngineEvent::Held(true));
    assert_eq!(list(&mut engine, &[new(a, &[])]), []);
    assert_eq!(engine.why_waiting(a), Some(Waiting::RunStopped));
    engine.handle(EngineEvent::WalkEnded);
    assert!(!engine.is_over());
    assert_eq!(engine.handle(EngineEvent::Held(false)), [start(a)]);
}

#[test]
fn in_random_order_nothing_is_preferred_and_a_seed_tells_it() {
    let order = |seed| {
        let mut engine = engine(1, true);
        engine.set_random(seed);
        let ids: Vec<JobId> = (0..40).map(|_| engine.name()).collect();
        let all: Vec<NewJob> = ids
            .iter()
            .map(|id| timed(*id, &[], Id::index(*id) as f64))
            .collect();
        let mut commands = list(&mut engine, &all);
        let mut order = Vec::new();
        while let Some(Command::Start(run)) = commands.pop() {
            order.push(Id::index(run.job));
            commands = engine.handle(EngineEvent::Succeeded(run));
        }
        order
    };
    let (first, second) = (order(1), order(2));
    assert_eq!(first, order(1));
    assert_ne!(first, second);
    for order in [first, second] {
        let all: BTreeSet<usize> = order.iter().copied().collect();
        assert_eq!((all.len(), order.len()), (40, 40));
        // Neither the usual order, nor that of listing.
        assert!(order.windows(2).filter(|two| two[0] < two[1]).count() > 8);
        assert!(order.windows(2).filter(|two| two[0] > two[1]).count() > 8);
    }
}
