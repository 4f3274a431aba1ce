//! Slots, gates and hosts that are near, by example and on a clock.

use super::*;

fn asking(job: NewJob, slots: Slots, gate: Option<GateId>) -> NewJob {
    let ask = Ask {
        slots,
        gate,
        ..job.ask
    };
    NewJob { ask, ..job }
}

fn started(commands: &[Command]) -> Vec<(JobId, usize)> {
    let starts = commands.iter().map(|command| match command {
        Command::Start(run) => (run.job, run.host.number()),
        other => panic!("{other:?}"),
    });
    starts.collect()
}

/// One host of so many slots, for everything.
fn one_host(slots: usize) -> Engine {
    engine(slots, true)
}

#[test]
fn a_wide_job_has_as_many_slots_as_it_asks_for_or_the_host_has() {
    let mut engine = one_host(3);
    let [narrow, two, all] = names(&mut engine);
    let some = [
        timed(narrow, &[], 9.0),
        asking(timed(two, &[], 8.0), Slots::UpTo(2), None),
        asking(timed(all, &[], 7.0), Slots::UpTo(8), None),
    ];
    let commands = list(&mut engine, &some);
    assert_eq!(started(&commands), [(narrow, 0), (two, 0)]);
    assert_eq!((engine.slots_of(narrow), engine.slots_of(two)), (1, 2));
    engine.handle(succeeded(narrow));
    assert_eq!(
        engine.why_waiting(all),
        Some(Waiting::Wide(Some(HostId::nth(0))))
    );
    assert_eq!(started(&engine.handle(succeeded(two))), [(all, 0)]);
    assert_eq!(engine.slots_of(all), 3);
}

#[test]
fn a_lonesome_job_gets_a_host_though_short_jobs_keep_coming() {
    let (mut engine, hosts) = with_hosts(&[1.0, 1.0]);
    let [first, second, lonesome] = names(&mut engine);
    list(
        &mut engine,
        &[timed(first, &[], 10.0), timed(second, &[], 20.0)],
    );
    let alone = asking(timed(lonesome, &[], 500.0), Slots::All, None);
    assert_eq!(list(&mut engine, &[alone]), []);
    // The first one ends first: its host is kept, and takes nothing that is less urgent.
    assert_eq!(
        engine.why_waiting(lonesome),
        Some(Waiting::Wide(Some(hosts[1])))
    );
    let more: [JobId; 8] = names(&mut engine);
    let all: Vec<NewJob> = more.iter().map(|job| timed(*job, &[], 30.0)).collect();
    assert_eq!(list(&mut engine, &all), []);
    engine.handle(EngineEvent::Tick(10.0));
    let commands = engine.handle(EngineEvent::Succeeded(Run {
        job: first,
        host: hosts[1],
        start: 1,
    }));
    assert_eq!(started(&commands), [(lonesome, 1)]);
    assert_eq!(
        engine.why_waiting(more[0]),
        Some(Waiting::Full(hosts.clone()))
    );
}

#[test]
fn a_host_that_is_kept_takes_what_ends_in_time() {
    let mut engine = one_host(2);
    let [long, short, all, filler, slow] = names(&mut engine);
    list(
        &mut engine,
        &[timed(long, &[], 50.0), timed(short, &[], 5.0)],
    );
    list(
        &mut engine,
        &[asking(timed(all, &[], 90.0), Slots::All, None)],
    );
    let more = [timed(filler, &[], 40.0), timed(slow, &[], 60.0)];
    assert_eq!(list(&mut engine, &more), []);
    engine.handle(EngineEvent::Tick(5.0));
    // Until 50 the second slot is of use to whatever ends by then.
    let commands = engine.handle(succeeded(short));
    assert_eq!(started(&commands), [(filler, 0)]);
    assert!(engine.is_filler(filler) && !engine.is_filler(long));
    let kept = Waiting::Full(vec![HostId::nth(0)]);
    assert_eq!(engine.why_waiting(slow), Some(kept));
    engine.handle(EngineEvent::Tick(45.0));
    assert_eq!(engine.handle(succeeded(filler)), []);
    let kept = Waiting::Kept(vec![HostId::nth(0)]);
    assert_eq!(engine.why_waiting(slow), Some(kept));
    engine.handle(EngineEvent::Tick(50.0));
    assert_eq!(started(&engine.handle(succeeded(long))), [(all, 0)]);
}

#[test]
fn of_one_tag_one_job_runs_and_others_are_not_kept_waiting() {
    let mut engine = one_host(4);
    let gate = engine.name_gate(1);
    let [a, b, free] = names(&mut engine);
    let tagged = |job, seconds| asking(timed(job, &[], seconds), Slots::UpTo(1), Some(gate));
    let some = [tagged(a, 9.0), tagged(b, 8.0), timed(free, &[], 1.0)];
    let commands = list(&mut engine, &some);
    assert_eq!(started(&commands), [(a, 0), (free, 0)]);
    assert_eq!(engine.why_waiting(b), Some(Waiting::Gate(gate, vec![a])));
    // Also when it ends badly, or gets lost.
    let lost = engine.handle(EngineEvent::Lost(run(a, 1)));
    assert_eq!(lost, [Command::Start(run(a, 2))]);
    assert_eq!(engine.handle(EngineEvent::Failed(run(a, 2))), [start(b)]);
}

#[test]
fn a_site_that_hangs_keeps_neither_others_nor_builds_waiting() {
    let mut engine = one_host(1);
    let sites = [engine.name_gate(1), engine.name_gate(2)];
    let jobs: [JobId; 6] = names(&mut engine);
    let [stuck, behind, build, one, two, three] = jobs;
    let fetch = |job, site: usize| asking(new(job, &[]), Slots::None, Some(sites[site]));
    let some = [
        fetch(stuck, 0),
        fetch(behind, 0),
        new(build, &[]),
        fetch(one, 1),
        fetch(two, 1),
        fetch(three, 1),
    ];
    let commands = list(&mut engine, &some);
    let first: Vec<JobId> = started(&commands).into_iter().map(|(job, _)| job).collect();
    assert_eq!(first, [stuck, build, one, two]);
    assert_eq!(started(&engine.handle(succeeded(one))), [(three, 0)]);
    assert_eq!(
        engine.why_waiting(behind),
        Some(Waiting::Gate(sites[0], vec![stuck]))
    );
}

#[test]
fn a_job_goes_where_its_inputs_are_and_waits_no_longer_than_that_saves() {
    let (mut engine, hosts) = with_hosts(&[1.0, 1.0]);
    let [first, second, next] = names(&mut engine);
    let near = |seconds| EngineEvent::Near {
        job: next,
        host: hosts[1],
        seconds,
    };
    list(
        &mut engine,
        &[timed(first, &[], 100.0), timed(second, &[], 90.0)],
    );
    engine.handle(near(20.0));
    list(&mut engine, &[timed(next, &[], 50.0)]);
    engine.handle(EngineEvent::Tick(75.0));
    // Second is expected to end in 15 seconds: less than the inputs would travel.
    assert_eq!(engine.handle(succeeded(first)), []);
    assert_eq!(engine.why_waiting(next), Some(Waiting::Near(hosts[1])));
    // What is late is expected to be late for as long again.
    assert_eq!(engine.handle(EngineEvent::Tick(92.0)), []);
    let commands = engine.handle(EngineEvent::Tick(93.0));
    assert_eq!(started(&commands), [(next, 0)], "it waited long enough");
    // A host that is free is taken, though another comes first.
    let [again, other] = names(&mut engine);
    engine.handle(EngineEvent::Succeeded(Run {
        job: second,
        host: hosts[1],
        start: 1,
    }));
    engine.handle(EngineEvent::Succeeded(Run {
        job: next,
        host: hosts[0],
        start: 1,
    }));
    engine.handle(EngineEvent::Near {
        job: again,
        host: hosts[1],
        seconds: 1.0,
    });
    let commands = list(
        &mut engine,
        &[timed(again, &[], 5.0), timed(other, &[], 1.0)],
    );
    assert_eq!(started(&commands), [(again, 1), (other, 0)]);
}

/// A graph of jobs that ask for this and that, on a clock: how long it takes, and seconds that inputs travelled.
fn makespan(seed: u64, wide: bool, hints: Option<bool>) -> (f64, f64, f64) {
    let mut rng = Rng(seed);
    let mut engine = Engine::new(true);
    let kind = engine.name_kind();
    let hosts = 2 + rng.below(4);
    let slots: Vec<usize> = (0..hosts).map(|_| 1 + rng.below(4)).collect();
    for (n, &slots) in slots.iter().enumerate() {
        let (host, kinds, speed) = (HostId::nth(n), vec![kind], 1.0);
        let offer = Offer {
            slots,
            kinds,
            speed,
        };
        engine.handle(EngineEvent::HostUp { host, offer });
    }
    let n = 40 + rng.below(80);
    let ids: Vec<JobId> = (0..n).map(|_| engine.name()).collect();
    let (mut needs, mut seconds, mut size) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..n {
        let mut mine: Vec<usize> = (0..rng.below(3).min(i)).map(|_| rng.below(i)).collect();
        mine.sort_unstable();
        mine.dedup();
        needs.push(mine);
        seconds.push(5.0 + rng.below(95) as f64);
        size.push(if hints.is_some() {
            rng.below(20) as f64
        } else {
            0.0
        });
    }
    let jobs = (0..n).map(|i| {
        let slots = match rng.below(10) {
            0 if wide => Slots::All,
            1 if wide => Slots::UpTo(2),
            _ => Slots::UpTo(1),
        };
        let below: Vec<JobId> = needs[i].iter().map(|&d| ids[d]).collect();
        let ask = Ask {
            slots,
            ..kind.into()
        };
        NewJob {
            ask,
            ..timed(ids[i], &below, seconds[i])
        }
    });
    let jobs: Vec<NewJob> = jobs.collect();
    // What is lonesome takes all slots of the smallest host at least.
    let least = slots.iter().min().copied().unwrap_or(1);
    let width = |i: usize| match jobs[i].ask.slots {
        Slots::All => least,
        Slots::UpTo(most) => most.min(least),
        Slots::None => 0,
    };
    let work: f64 = (0..n).map(|i| seconds[i] * width(i) as f64).sum();
    let mut path = vec![0.0_f64; n];
    for i in 0..n {
        let below = needs[i].iter().map(|&d| path[d]).fold(0.0, f64::max);
        path[i] = below + seconds[i];
    }
    let longest = path.into_iter().fold(0.0, f64::max);
    let bound = longest.max(work / slots.iter().sum::<usize>() as f64);
    let mut commands = list(&mut engine, &jobs);
    commands.extend(engine.handle(EngineEvent::WalkEnded));
    let (mut running, mut now, mut travelled): (Vec<(f64, Run)>, f64, f64) = (Vec::new(), 0.0, 0.0);
    let mut built_on = vec![None; n];
    let mut ended = 0;
    loop {
        for command in commands.drain(..) {
            let Command::Start(run) = command else {
                panic!("{command:?}");
            };
            let at = ids.binary_search(&run.job).unwrap();
            let away = needs[at].iter().filter(|d| built_on[**d] != Some(run.host));
            let travel: f64 = away.map(|d| size[*d]).sum();
            travelled += travel;
            running.push((now + travel + seconds[at], run));
        }
        running.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        // The driver looks at the clock meanwhile.
        let next = running.last().map_or(f64::INFINITY, |(end, _)| *end);
        if next.is_infinite() {
            break;
        }
        if now + 1.0 < next {
            now += 1.0;
            commands = engine.handle(EngineEvent::Tick(now));
            continue;
        }
        let Some((end, run)) = running.pop() else {
            break;
        };
        now = end;
        commands = engine.handle(EngineEvent::Tick(now));
        let at = ids.binary_search(&run.job).unwrap();
        built_on[at] = Some(run.host);
        ended += 1;
        if hints == Some(true) {
            for above in engine.graph().needed_by(run.job).to_vec() {
                let job = ids.binary_search(&above).unwrap();
                let mut saves: BTreeMap<HostId, f64> = BTreeMap::new();
                for &need in &needs[job] {
                    if let Some(host) = built_on[need] {
                        *saves.entry(host).or_default() += size[need];
                    }
                }
                let best = saves.iter().max_by(|a, b| a.1.total_cmp(b.1));
                if let Some((&host, &seconds)) = best {
                    let job = above;
                    // Before the end itself.
                    commands.extend(engine.handle(EngineEvent::Near { job, host, seconds }));
                }
            }
        }
        commands.extend(engine.handle(EngineEvent::Succeeded(run)));
    }
    assert_eq!(ended, n, "seed {seed}");
    (now, bound, travelled)
}

#[test]
fn wide_jobs_are_all_built_and_keep_others_waiting_for_a_bounded_time() {
    let (mut sum, mut worst) = (0.0, 0.0_f64);
    let seeds = play::seeds(400);
    let count = seeds.end as f64;
    for seed in seeds {
        let (took, bound, _) = makespan(seed, true, None);
        sum += took / bound;
        worst = worst.max(took / bound);
        assert!(took <= 3.0 * bound, "seed {seed}: {took} > 3 x {bound}");
    }
    println!(
        "with wide jobs: {:.3} in the mean, {worst:.3} at worst",
        sum / count
    );
    assert!(sum / count < 1.5);
}

#[test]
fn hosts_that_are_near_spare_ways_and_time() {
    let (mut with, mut without, mut ways, mut ways_without) = (0.0, 0.0, 0.0, 0.0);
    for seed in play::seeds(300) {
        let (took, _, travelled) = makespan(seed, false, Some(true));
        with += took;
        ways += travelled;
        let (took, _, travelled) = makespan(seed, false, Some(false));
        without += took;
        ways_without += travelled;
    }
    println!(
        "time {:.3}, ways {:.3} of those without hints",
        with / without,
        ways / ways_without
    );
    assert!(with < without && ways < 0.8 * ways_without);
}
