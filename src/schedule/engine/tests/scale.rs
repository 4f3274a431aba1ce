//! The cost of growing, counted in edges followed: the same on every machine.

use super::super::*;
use super::engine;
use super::play::Rng;

const JOBS: usize = 20_000;

/// In which order the jobs of a graph are listed.
#[derive(Clone, Copy, Debug)]
enum Arrival {
    /// Each after all it needs.
    NeedsFirst,
    /// Each before all it needs.
    NeedsLast,
    /// Depth first from the top, as a walk of a ports tree: named early, listed when it gets there.
    Walk,
    Random,
}

/// What each of `n` jobs needs: three of the `near` before it, as in a real distribution, or one.
fn graph(n: usize, near: usize, rng: &mut Rng) -> Vec<Vec<usize>> {
    (0..n)
        .map(|i| {
            let first = i.saturating_sub(near);
            let most = if near == 1 { 1 } else { 3 };
            (0..most.min(i))
                .map(|_| first + rng.below(i - first))
                .collect()
        })
        .collect()
}

fn order(needs: &[Vec<usize>], arrival: Arrival, rng: &mut Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    match arrival {
        Arrival::NeedsFirst => {}
        Arrival::NeedsLast => order.reverse(),
        Arrival::Random => rng.shuffle(&mut order),
        Arrival::Walk => {
            let (mut todo, mut seen) = (order, vec![false; needs.len()]);
            order = Vec::new();
            while let Some(at) = todo.pop() {
                if !std::mem::replace(&mut seen[at], true) {
                    order.push(at);
                    todo.extend(&needs[at]);
                }
            }
        }
    }
    order
}

/// Lists the jobs one by one while one of them runs, then works all off; gives steps an edge.
fn steps(needs: &[Vec<usize>], arrival: Arrival) -> f64 {
    let mut rng = Rng(7);
    let mut engine = engine(8, true);
    let ids: Vec<JobId> = needs.iter().map(|_| engine.name()).collect();
    let mut running = Vec::new();
    let take = |commands: Vec<Command>, running: &mut Vec<Run>| {
        for command in commands {
            match command {
                Command::Start(run) => running.push(run),
                other => panic!("{other:?}"),
            }
        }
    };
    let mut edges = 0;
    for at in order(needs, arrival, &mut rng) {
        edges += needs[at].len();
        let new = NewJob {
            job: ids[at],
            needs: needs[at].iter().map(|&d| ids[d]).collect(),
            seconds: Some(1.0 + rng.below(1000) as f64),
            open: false,
            ask: KindId::at(0).into(),
        };
        take(engine.handle(EngineEvent::Listed(vec![new])), &mut running);
    }
    take(engine.handle(EngineEvent::WalkEnded), &mut running);
    while let Some(run) = running.pop() {
        take(engine.handle(EngineEvent::Succeeded(run)), &mut running);
    }
    assert!(engine.is_over());
    assert_eq!(engine.count(JobState::Usable), needs.len());
    engine.steps() as f64 / edges as f64
}

#[test]
fn growing_costs_little_in_every_order_of_arrival() {
    let mut rng = Rng(3);
    let graphs = [
        ("wide", graph(JOBS, JOBS, &mut rng)),
        ("deep", graph(JOBS, 200, &mut rng)),
        ("chain", graph(JOBS, 1, &mut rng)),
    ];
    for (name, needs) in &graphs {
        for arrival in [
            Arrival::NeedsFirst,
            Arrival::NeedsLast,
            Arrival::Walk,
            Arrival::Random,
        ] {
            let steps = steps(needs, arrival);
            println!("{name}, {arrival:?}: {steps:.1} steps an edge");
            let most = match arrival {
                // One sweep or two over each edge, and what events work off.
                Arrival::NeedsFirst | Arrival::NeedsLast => 50.0,
                // No more than twice what it is today; sqrt(2m) is 340.
                Arrival::Walk | Arrival::Random => 64.0,
            };
            assert!(steps <= most, "{name}, {arrival:?}: {steps} steps an edge");
        }
    }
}
