//! Simulations of the engine over random graphs and fault schedules.

use super::*;
use proptest::prelude::*;

/// A graph in which node `i` depends on some of the nodes before it.
fn graphs() -> impl Strategy<Value = Graph> {
    prop::collection::vec((prop::collection::vec(any::<u16>(), 0..4), 0u8..50), 0..60).prop_map(
        |nodes| {
            let mut graph = Graph::default();
            for (i, (raw, seconds)) in nodes.into_iter().enumerate() {
                let mut d: Vec<NodeId> = raw
                    .into_iter()
                    .filter(|_| i > 0)
                    .map(|r| usize::from(r) % i)
                    .collect();
                d.sort_unstable();
                d.dedup();
                graph.add(d, (seconds > 0).then_some(f64::from(seconds)));
            }
            graph
        },
    )
}

struct Run {
    order: Vec<NodeId>,
    states: Vec<State>,
    makespan: f64,
}

/// Plays the graph on a virtual clock; `fails` says which nodes end badly.
fn simulate(graph: &Graph, slots: usize, keep_going: bool, fails: &dyn Fn(NodeId) -> bool) -> Run {
    let mut engine = Engine::new(graph.clone(), slots, keep_going);
    let mut running: Vec<(f64, NodeId)> = Vec::new();
    let (mut now, mut order) = (0.0, Vec::new());
    let mut commands = engine.handle(Event::Begin);
    loop {
        for command in commands.drain(..) {
            if let Command::Start(node) = command {
                for &d in &graph.dependencies[node] {
                    assert_eq!(engine.state(d), State::Usable, "{node} before {d}");
                }
                order.push(node);
                running.push((now + graph.seconds[node].unwrap_or(1.0), node));
                assert!(running.len() <= slots);
            }
        }
        running.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
        let Some((at, node)) = running.pop() else {
            break;
        };
        now = at;
        commands = engine.handle(if fails(node) {
            Event::Failed(node)
        } else {
            Event::Succeeded(node)
        });
    }
    assert!(engine.is_over());
    Run {
        order,
        states: (0..graph.len()).map(|n| engine.state(n)).collect(),
        makespan: now,
    }
}

proptest! {
    #[test]
    fn without_faults_everything_is_built_once_and_in_good_time(graph in graphs(), slots in 1usize..9) {
        let run = simulate(&graph, slots, false, &|_| false);
        prop_assert!(run.states.iter().all(|&s| s == State::Usable));
        let mut seen = run.order.clone();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..graph.len()).collect::<Vec<_>>());
        let work: f64 = graph.seconds.iter().map(|s| s.unwrap_or(1.0)).sum();
        let mut path = vec![0.0_f64; graph.len()];
        for n in 0..graph.len() {
            let below = graph.dependencies[n].iter().map(|&d| path[d]).fold(0.0, f64::max);
            path[n] = below + graph.seconds[n].unwrap_or(1.0);
        }
        let bound = path.iter().copied().fold(work / slots as f64, f64::max);
        prop_assert!(run.makespan <= 2.0 * bound + 1e-9, "{} > 2 x {bound}", run.makespan);
    }

    #[test]
    fn after_faults_exactly_the_dependents_are_skipped(graph in graphs(), slots in 1usize..5, salt in any::<u64>()) {
        let fails = |n: NodeId| (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt & 7 == 0;
        let run = simulate(&graph, slots, true, &fails);
        for n in 0..graph.len() {
            let blocked = graph.dependencies[n].iter().any(|&d| run.states[d] != State::Usable);
            let expected = match (blocked, fails(n)) {
                (true, _) => State::Skipped,
                (false, true) => State::Failed,
                (false, false) => State::Usable,
            };
            prop_assert_eq!(run.states[n], expected, "node {}", n);
        }
    }

    #[test]
    fn the_same_events_give_the_same_commands(graph in graphs(), slots in 1usize..5) {
        let a = simulate(&graph, slots, false, &|n| n % 11 == 10);
        let b = simulate(&graph, slots, false, &|n| n % 11 == 10);
        prop_assert_eq!(a.order, b.order);
    }
}

#[test]
fn a_failure_without_keep_going_starts_nothing_more() {
    let mut graph = Graph::default();
    for _ in 0..5 {
        graph.add(vec![], None);
    }
    let run = simulate(&graph, 1, false, &|n| n == 1);
    assert_eq!(run.order, [0, 1]);
    assert_eq!(run.states[2], State::Queued);
}

#[test]
fn nothing_starts_after_a_stop() {
    let mut graph = Graph::default();
    let a = graph.add(vec![], None);
    graph.add(vec![a], None);
    let mut engine = Engine::new(graph, 4, true);
    assert_eq!(engine.handle(Event::Begin), [Command::Start(a)]);
    assert_eq!(engine.handle(Event::Stop), []);
    assert_eq!(engine.handle(Event::Succeeded(a)), []);
    assert!(engine.is_over());
}

#[test]
fn the_longest_remaining_path_goes_first() {
    let mut graph = Graph::default();
    let short = graph.add(vec![], Some(5.0));
    let long = graph.add(vec![], Some(1.0));
    graph.add(vec![long], Some(90.0));
    let mut engine = Engine::new(graph, 1, false);
    assert_eq!(engine.handle(Event::Begin), [Command::Start(long)]);
    assert_eq!(engine.state(short), State::Queued);
}
