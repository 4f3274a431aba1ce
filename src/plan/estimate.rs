//! Estimates: how long steps will take, by how long they took before.

use serde::Serialize;

use super::graph::{Graph, NodeId, NodeMap};

/// How long some steps will take together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Estimate {
    /// Steps that are to be built.
    pub steps: usize,
    /// Those of them of which it is not known how long they take.
    pub unknown: usize,
    /// Seconds from the first to the last of those that are known: that of the longest chain among them, or all of
    /// them shared out among those that are built at a time, whichever is more.
    pub seconds: f64,
}

impl Estimate {
    /// Estimates how long `steps` take with `jobs` of them built at a time. `seconds` says how long one takes, if
    /// that is known. A step that is the same as another of them is built once.
    pub fn of(
        graph: &Graph,
        steps: impl IntoIterator<Item = NodeId>,
        jobs: usize,
        seconds: impl Fn(NodeId) -> Option<f64>,
    ) -> Estimate {
        let mut wanted = NodeMap::like(graph.nodes(), false);
        for id in steps {
            wanted[id] = true;
        }
        let mut found = Estimate::default();
        let (mut work, mut longest) = (0.0_f64, 0.0_f64);
        // Of each node the seconds until it is there.
        let mut until = NodeMap::like(graph.nodes(), 0.0_f64);
        for (id, node) in graph.nodes().iter().filter(|(id, _)| wanted[*id]) {
            let before = node.producers.iter().flatten().chain(&node.same_as);
            let begin = before.map(|from| until[*from]).fold(0.0, f64::max);
            until[id] = begin;
            if node.same_as.is_some_and(|first| wanted[first]) {
                continue;
            }
            found.steps += 1;
            match seconds(id) {
                None => found.unknown += 1,
                Some(one) => {
                    work += one;
                    until[id] += one;
                }
            }
            longest = longest.max(until[id]);
        }
        found.seconds = longest.max(work / jobs.max(1) as f64);
        found
    }

    /// Whether nothing is known of any of them.
    pub fn is_unknown(&self) -> bool {
        self.unknown == self.steps
    }
}
