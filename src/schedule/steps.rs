//! The steps of a plan as jobs.

use std::cell::OnceCell;
use std::collections::HashMap;

use mstore_store::TreeHash;

use super::driver::{Decision, Planner, Verdict};
use super::error::ScheduleError;
use super::executor::Demand;
use super::growth::Listing;
use super::ledger::Place;
use crate::drv::{DrvHash, Facts, FactsError, Lineage, Resolved};
use crate::plan::{Graph, NodeId, NodeState, Staleness};

/// Tells whether a step, of which a tree came, is what those are to use that need it.
pub type Settled<'a> = dyn Fn(&Staleness<'_>, NodeId, TreeHash) -> Result<bool, FactsError> + 'a;

/// What the steps of a plan are, and what follows from their results.
///
/// Owned by the driver's thread: workers get resolved derivations and give back trees.
pub struct Steps<'a, 'g> {
    staleness: &'a mut Staleness<'g>,
    facts: &'a dyn Facts,
    unchanged: Option<&'a dyn Fn(NodeId) -> bool>,
    settled: Option<&'a Settled<'a>>,
    /// The nodes by their derivations, once that is asked.
    nodes: OnceCell<HashMap<DrvHash, NodeId>>,
}

/// The nodes by their derivations; one that stands for others is the last of those.
fn by_derivation(graph: &Graph) -> HashMap<DrvHash, NodeId> {
    let nodes = graph.nodes().iter();
    let nodes = nodes.map(|(at, node)| (node.hash, node.stands_for.unwrap_or(at)));
    nodes.collect()
}

fn lineage_among(
    staleness: &Staleness<'_>,
    nodes: &HashMap<DrvHash, NodeId>,
    node: NodeId,
) -> Lineage {
    let made = |hash| staleness.resolved(*nodes.get(&hash)?);
    let step = staleness.resolved(node);
    step.map_or_else(Lineage::default, |step| Lineage::of(&step, &made))
}

/// What the trees lie on that a step starts from, once they are known.
pub fn lineage(staleness: &Staleness<'_>, node: NodeId) -> Lineage {
    lineage_among(staleness, &by_derivation(staleness.graph()), node)
}

impl<'a, 'g> Steps<'a, 'g> {
    /// The steps of `staleness`, which takes in what comes of them.
    pub fn new(staleness: &'a mut Staleness<'g>, facts: &'a dyn Facts) -> Self {
        Steps {
            staleness,
            facts,
            unchanged: None,
            settled: None,
            nodes: OnceCell::new(),
        }
    }

    /// The same; `unchanged` tells whether a step is still described as it was.
    pub fn reading_again(self, unchanged: &'a dyn Fn(NodeId) -> bool) -> Self {
        Steps {
            unchanged: Some(unchanged),
            ..self
        }
    }

    /// The same; `settled` tells whether a step is what those are to use that need it.
    pub fn settled_by(self, settled: &'a Settled<'a>) -> Self {
        Steps {
            settled: Some(settled),
            ..self
        }
    }

    fn resolved(&self, node: NodeId) -> Result<Box<Resolved>, ScheduleError> {
        let resolved = self.staleness.resolved(node);
        resolved.map(Box::new).ok_or(ScheduleError::Inputs)
    }
}

/// A step of the graph, ready to be listed. `is_job` tells which others are listed too: what a step
/// needs beside those is there already.
pub fn listing(
    graph: &Graph,
    node: NodeId,
    seconds: Option<f64>,
    is_job: impl Fn(NodeId) -> bool,
) -> Listing<NodeId> {
    // Twins wait for each other: what one builds the other finds.
    let needs = graph.nodes()[node].run_after().into_iter();
    Listing {
        node,
        needs: needs.filter(|need| is_job(*need)).collect(),
        seconds,
        open: false,
        demand: Demand::of(&graph.nodes()[node].derivation),
    }
}

impl Planner for Steps<'_, '_> {
    type Node = NodeId;

    fn name(&self, node: &NodeId) -> String {
        self.staleness.graph().nodes()[*node].name.to_string()
    }

    fn recorded_as(&self, node: &NodeId) -> String {
        self.staleness.graph().nodes()[*node].full_name.to_string()
    }

    fn listed(&mut self, node: &NodeId) -> Result<(), ScheduleError> {
        self.staleness.list(*node, self.facts, &mut ())?;
        Ok(())
    }

    fn decide(&mut self, node: &NodeId) -> Result<Decision, ScheduleError> {
        // What others turned out to be may have made this one known, or something that a cache has.
        match *self.staleness.state(*node) {
            NodeState::Known {
                tree,
                present: true,
                ..
            } => Ok(Decision::Reuse(tree)),
            NodeState::Known { tree, .. } => Ok(Decision::Fetch {
                tree,
                or: self.resolved(*node)?,
            }),
            _ => Ok(Decision::Build(self.resolved(*node)?)),
        }
    }

    fn trees(&self, node: &NodeId) -> Vec<TreeHash> {
        let resolved = self.staleness.resolved(*node);
        resolved.map_or_else(Vec::new, |step| step.trees().to_vec())
    }

    fn lineage(&self, node: &NodeId) -> Lineage {
        let graph = self.staleness.graph();
        let nodes = self.nodes.get_or_init(|| by_derivation(graph));
        lineage_among(self.staleness, nodes, *node)
    }

    fn usable(&mut self, node: &NodeId, tree: TreeHash) -> Result<Verdict<NodeId>, ScheduleError> {
        if let Some(settled) = self.settled
            && !settled(self.staleness, *node, tree)?
        {
            return Ok(Verdict {
                put_off: true,
                ..Verdict::default()
            });
        }
        self.staleness.built(*node, tree, self.facts, &mut ())?;
        Ok(Verdict::default())
    }

    /// A target is a path, and its steps are the tasks.
    fn place(&self, node: &NodeId) -> Option<Place> {
        Place::of(&self.staleness.graph().nodes()[*node].name)
    }

    fn read_again(&mut self, node: &NodeId) -> Result<bool, ScheduleError> {
        Ok(self.unchanged.is_none_or(|unchanged| unchanged(*node)))
    }
}
