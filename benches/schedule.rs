//! What the engine costs on big graphs: `cargo bench --bench schedule [-- JOBS]`.
//!
//! Jobs are listed one by one while up to 1,000 run, in four orders; then all are worked off. Printed
//! are the processor seconds for listing and for the rest, microseconds for each event, and how many
//! edges are followed for one that comes. The last number is the same on every machine.

use std::collections::VecDeque;

use mstore::schedule::engine::{
    Command, Engine, EngineEvent, HostId, JobId, JobState, NewJob, Offer, Run,
};

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
            kind,
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

fn main() {
    // Cargo adds `--bench`.
    let jobs = std::env::args().find_map(|a| a.parse().ok());
    let jobs: usize = jobs.unwrap_or(1_000_000);
    println!("{jobs} jobs");
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
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find(|line| line.starts_with("VmHWM"));
        println!(
            "peak memory: {}",
            peak.unwrap_or_default().trim_start_matches("VmHWM:").trim()
        );
    }
}
