//! What the engine costs on big graphs.
//!
//! Jobs are listed one by one while up to 1,000 run, in four orders; then all are worked off. Printed
//! are the processor seconds for listing and for the rest, microseconds for each event, and how many
//! edges are followed for one that comes. The last number is the same on every machine.
//!
//! Then the same number of jobs is built on 1,000 simulated hosts. Printed are the processor seconds, for each
//! event too, and how much longer it takes on the simulated clock than it must: than the longest chain on the
//! fastest host, and than all the work on all hosts. Both are the same on every machine.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use mstore::schedule::engine::{
    Command, Engine, EngineEvent, HostId, JobId, JobState, NewJob, Offer, Run,
};

use crate::graph::Rng;

/// Three needs each among the `near` jobs before it, or one for a chain.
fn graph(jobs: usize, near: usize) -> Vec<Vec<usize>> {
    let mut rng = Rng(3);
    let most = if near == 1 { 1 } else { 3 };
    (0..jobs)
        .map(|at| {
            let first = at.saturating_sub(near);
            let some = 0..most.min(at);
            some.map(|_| first + rng.below(at - first)).collect()
        })
        .collect()
}

/// The order of listing.
fn order(needs: &[Vec<usize>], arrival: &str) -> Vec<usize> {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    match arrival {
        "needs last" => order.reverse(),
        "random" => {
            let mut rng = Rng(5);
            for at in (1..order.len()).rev() {
                order.swap(at, rng.below(at + 1));
            }
        }
        // From the top, each before what it needs, depth first.
        "walk" => {
            let (mut todo, mut seen) = (order, vec![false; needs.len()]);
            order = Vec::new();
            while let Some(at) = todo.pop() {
                if !std::mem::replace(&mut seen[at], true) {
                    order.push(at);
                    todo.extend(&needs[at]);
                }
            }
        }
        _ => {}
    }
    order
}

/// Seconds that this thread has had a processor: the machine may have other things to do.
fn now() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat");
    let text = text.expect("the kernel counts processor time");
    let nanoseconds = text.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    nanoseconds.expect("a number") / 1e9
}

fn measure(name: &str, needs: &[Vec<usize>], arrival: &str) {
    let edges: usize = needs.iter().map(Vec::len).sum();
    let order = order(needs, arrival);
    let mut rng = Rng(7);
    let mut engine = Engine::new(true);
    let kind = engine.name_kind();
    let offer = Offer {
        slots: 1000,
        kinds: vec![kind],
        speed: 1.0,
    };
    let host = HostId::nth(0);
    engine.handle(EngineEvent::HostUp { host, offer });
    let ids: Vec<JobId> = needs.iter().map(|_| engine.name()).collect();
    let mut running: VecDeque<Run> = VecDeque::new();
    let take = |commands: Vec<Command>, running: &mut VecDeque<Run>| {
        for command in commands {
            let Command::Start(run) = command else {
                panic!("{command:?}");
            };
            running.push_back(run);
        }
    };
    let mut events = 0;
    let started = now();
    for at in order {
        let new = NewJob {
            job: ids[at],
            needs: needs[at].iter().map(|&need| ids[need]).collect(),
            seconds: Some(1.0 + rng.below(1000) as f64),
            open: false,
            ask: kind.into(),
        };
        take(engine.handle(EngineEvent::Listed(vec![new])), &mut running);
        events += 1;
        // One of the running jobs ends for every tenth that is listed.
        if events % 10 == 0
            && let Some(run) = running.pop_front()
        {
            take(engine.handle(EngineEvent::Succeeded(run)), &mut running);
        }
    }
    take(engine.handle(EngineEvent::WalkEnded), &mut running);
    let listed = now() - started;
    while let Some(run) = running.pop_front() {
        take(engine.handle(EngineEvent::Succeeded(run)), &mut running);
    }
    let all = now() - started;
    assert!(engine.is_over() && engine.count(JobState::Usable) == needs.len());
    println!(
        "| {name} | {arrival} | {listed:.1} s | {:.1} s | {:.1} µs | {:.0} |",
        all - listed,
        all / (2 * needs.len()) as f64 * 1e6,
        engine.steps() as f64 / edges as f64,
    );
}

/// A job that runs on the simulated hosts: when it ends, in bits, and how it was started.
type Going = Reverse<(u64, Run)>;

const HOSTS: usize = 1000;

/// What hosts of a simulation are like.
#[derive(Clone, Copy)]
struct Park {
    name: &'static str,
    speeds: &'static [f64],
    /// One host is lost for so many jobs that end, and comes back when the next one is lost.
    lost: Option<usize>,
}

/// Builds all on a simulated clock; the walk lists everything at the beginning. Gives the processor seconds of an
/// event.
fn simulate(name: &str, needs: &[Vec<usize>], park: Park) -> f64 {
    let mut rng = Rng(11);
    let mut engine = Engine::new(true);
    let kinds: Vec<_> = (0..4).map(|_| engine.name_kind()).collect();
    let offers: Vec<Offer> = (0..HOSTS)
        .map(|_| Offer {
            slots: 1 + rng.below(8),
            // Nine of ten run everything.
            kinds: kinds[..if rng.below(10) == 0 { 2 } else { 4 }].to_vec(),
            speed: park.speeds[rng.below(park.speeds.len())],
        })
        .collect();
    let ids: Vec<JobId> = needs.iter().map(|_| engine.name()).collect();
    // Most are short, and some are very long.
    let seconds: Vec<f64> = needs
        .iter()
        .map(|_| 10.0 + 3000.0 * (rng.below(1000) as f64 / 1000.0).powi(6))
        .collect();
    let jobs = needs.iter().enumerate().map(|(at, needs)| NewJob {
        job: ids[at],
        needs: needs.iter().map(|&need| ids[need]).collect(),
        seconds: Some(seconds[at]),
        open: false,
        ask: kinds[rng.below(kinds.len())].into(),
    });
    let jobs = jobs.collect();
    let index = |job: JobId| ids.binary_search(&job).expect("a job that was named");
    let mut going: BinaryHeap<Going> = BinaryHeap::new();
    let (mut clock, mut events, mut ended, mut down) = (0.0, 0, 0, None);
    let mut starts = vec![0; ids.len()];
    let begin = now();
    let mut todo: VecDeque<EngineEvent> = offers
        .iter()
        .enumerate()
        .map(|(n, offer)| EngineEvent::HostUp {
            host: HostId::nth(n),
            offer: offer.clone(),
        })
        .collect();
    todo.extend([EngineEvent::Listed(jobs), EngineEvent::WalkEnded]);
    loop {
        while let Some(event) = todo.pop_front() {
            events += 1;
            for command in engine.handle(event) {
                let Command::Start(run) = command else {
                    panic!("{command:?}");
                };
                let at = index(run.job);
                starts[at] = run.start;
                let end: f64 = clock + seconds[at] / offers[run.host.number()].speed;
                going.push(Reverse((end.to_bits(), run)));
            }
        }
        let Some(Reverse((end, run))) = going.pop() else {
            break;
        };
        if engine.state(run.job) != JobState::Running || starts[index(run.job)] != run.start {
            // Its host was lost.
            continue;
        }
        clock = f64::from_bits(end);
        ended += 1;
        todo.extend([EngineEvent::Tick(clock), EngineEvent::Succeeded(run)]);
        if park.lost.is_some_and(|every| ended % every == 0) {
            if let Some(n) = down {
                let (host, offer) = (HostId::nth(n), offers[n].clone());
                todo.push_back(EngineEvent::HostUp { host, offer });
            }
            let n = rng.below(HOSTS);
            down = Some(n);
            todo.push_back(EngineEvent::HostDown(HostId::nth(n)));
        }
    }
    let all = now() - begin;
    assert!(engine.is_over() && engine.count(JobState::Usable) == needs.len());
    let speed: f64 = offers.iter().map(|o| o.slots as f64 * o.speed).sum();
    let fastest = offers.iter().map(|o| o.speed).fold(0.0, f64::max);
    let mut path = vec![0.0_f64; needs.len()];
    for at in 0..path.len() {
        let below = needs[at].iter().map(|&need| path[need]).fold(0.0, f64::max);
        path[at] = below + seconds[at] / fastest;
    }
    let longest = path.into_iter().fold(0.0, f64::max);
    let work = seconds.iter().sum::<f64>() / speed;
    println!(
        "| {name} | {} | {} | {events} | {all:.1} s | {:.1} µs | {:.2} | {:.3} | {} MB |",
        park.name,
        needs.len(),
        all / events as f64 * 1e6,
        longest / work,
        clock / longest.max(work),
        peak() >> 20,
    );
    all / events as f64
}

/// The most bytes of memory that this process had so far.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    peak.unwrap_or(0) << 10
}

/// The sets of hosts.
fn parks() -> [Park; 3] {
    let equal = Park {
        name: "equal",
        speeds: &[1.0],
        lost: None,
    };
    let unequal = Park {
        name: "of five speeds",
        speeds: &[0.5, 0.8, 1.0, 2.0, 4.0],
        ..equal
    };
    let lost = Park {
        name: "of five speeds, some lost",
        lost: Some(1000),
        ..unequal
    };
    [equal, unequal, lost]
}

/// Prints what listing and working off costs, with `jobs` jobs.
pub fn grow(jobs: usize) {
    println!("\nWhat growing costs: {jobs} jobs, up to 1,000 of which run at a time\n");
    println!(
        "| graph | order of listing | listing | working off | an event | edges followed an edge |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, near) in [("wide", jobs), ("deep", 1000), ("chain", 1)] {
        let needs = graph(jobs, near);
        for arrival in ["needs first", "needs last", "walk", "random"] {
            measure(name, &needs, arrival);
        }
    }
}

/// Prints what building costs on 1,000 hosts, with ten times as many jobs each time, up to `jobs`. Gives the processor
/// seconds of an event with the fewest and the most, on hosts of five speeds.
pub fn build(jobs: usize) -> (f64, f64) {
    println!("\nWhat building costs on 1,000 hosts\n");
    println!(
        "| graph | hosts | jobs | events | processor time | an event | chain : work | longer than it must | peak memory |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    let sizes = [jobs / 100, jobs / 10, jobs];
    let mut costs = (0.0, 0.0);
    for (name, near) in [("wide", jobs), ("deep", 10_000), ("deeper", 1000)] {
        for size in sizes {
            let needs = graph(size, near);
            for park in parks() {
                let cost = simulate(name, &needs, park);
                if (name, park.name) == ("wide", "of five speeds") {
                    costs = (if size == sizes[0] { cost } else { costs.0 }, cost);
                }
            }
        }
    }
    costs
}
