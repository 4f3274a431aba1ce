//! The driver with work that needs no store and no sandbox.

use super::*;
use std::collections::BTreeSet;
use std::sync::Mutex;

/// Nodes `found` are in the store, `broken` fail, `lost` meet a failure of the machine.
#[derive(Default)]
struct Toy {
    names: Vec<String>,
    found: BTreeSet<NodeId>,
    broken: BTreeSet<NodeId>,
    lost: BTreeSet<NodeId>,
    order: Mutex<Vec<NodeId>>,
}

impl Work for Toy {
    type Failure = &'static str;
    type Infrastructure = &'static str;

    fn name(&self, node: NodeId) -> &str {
        &self.names[node]
    }

    fn expected(&self, _: NodeId) -> Option<f64> {
        None
    }

    fn find(&self, node: NodeId) -> Result<bool, &'static str> {
        Ok(self.found.contains(&node))
    }

    fn build(
        &self,
        node: NodeId,
        output: &mut dyn FnMut(&str),
    ) -> Result<Built, NodeError<&'static str, &'static str>> {
        output("working");
        self.order.lock().unwrap().push(node);
        if self.broken.contains(&node) {
            Err(NodeError::Build("exit 1"))
        } else if self.lost.contains(&node) {
            Err(NodeError::Infrastructure("disk full"))
        } else {
            Ok(Built { changed: 1 })
        }
    }
}

/// a <- b <- c, and d alone.
fn chain() -> (Graph, Toy) {
    let mut graph = Graph::default();
    let a = graph.add(vec![], None);
    let b = graph.add(vec![a], None);
    graph.add(vec![b], None);
    graph.add(vec![], None);
    let names = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
    (
        graph,
        Toy {
            names,
            ..Toy::default()
        },
    )
}

#[derive(Default)]
struct Watcher(Vec<String>);

impl Observer for Watcher {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Skipped { name, cause } = event {
            self.0.push(format!("{name} needs {cause}"));
        }
    }
}

fn drive(graph: Graph, toy: &Toy, keep_going: bool) -> (Outcome<&str, &str>, Vec<String>) {
    let mut watcher = Watcher::default();
    let never = AtomicBool::new(false);
    let outcome = run(graph, toy, 2, keep_going, &never, &mut watcher);
    (outcome, watcher.0)
}

#[test]
fn what_is_found_is_not_built() {
    let (graph, mut toy) = chain();
    toy.found = [0, 1].into();
    let (outcome, _) = drive(graph, &toy, false);
    assert_eq!(outcome.reused, [0, 1]);
    assert_eq!(outcome.built.len(), 2);
    assert!(outcome.states.iter().all(|&s| s == State::Usable));
}

#[test]
fn a_failed_build_skips_its_dependents_and_nothing_else() {
    let (graph, mut toy) = chain();
    toy.broken = [0].into();
    let (outcome, skipped) = drive(graph, &toy, true);
    assert_eq!(outcome.failures, [(0, "exit 1")]);
    assert_eq!(skipped, ["b needs a", "c needs a"]);
    assert_eq!(outcome.states[3], State::Usable);
}

#[test]
fn a_failure_of_the_machine_is_not_a_failed_build() {
    let (graph, mut toy) = chain();
    toy.lost = [0].into();
    let (outcome, _) = drive(graph, &toy, true);
    assert!(outcome.failures.is_empty());
    assert_eq!(outcome.infrastructure, Some((0, "disk full")));
    assert!(!toy.order.lock().unwrap().contains(&1));
}

#[test]
fn nothing_starts_once_cancelled() {
    let (graph, toy) = chain();
    let outcome = run(graph, &toy, 1, false, &AtomicBool::new(true), &mut ());
    assert!(outcome.cancelled);
    assert_ne!(outcome.states[2], State::Usable);
}
