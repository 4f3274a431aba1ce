//! Reasons: the visitor of the staleness walk that says why a step has to be built.

use std::collections::{BTreeMap, BTreeSet};

use mstore_store::TreeHash;

use super::compare::{Reason, compare, distance};
use super::graph::{Graph, Node, NodeId};
use super::staleness::{NodeState, Visitor};
use crate::drv::derivation::InputSource;
use crate::drv::facts::{Earlier, Facts, FactsError};
use crate::drv::{Key, Resolved};

/// How many changed paths of an input a reason lists.
const PATHS: usize = 20;

/// Earlier builds of one step that it is compared with.
const BUILDS: u32 = 32;

/// Earlier builds of all steps, beside the last of each, that are looked at: of many steps each may have many.
const ALL_BUILDS: usize = 10_000;

/// The earlier build that the reasons of a step compare it with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nearest {
    /// The key that it was built for.
    pub key: Key,
    /// When it was begun, in seconds since 1970.
    pub started: i64,
    /// Whether it is the last that is remembered.
    pub last: bool,
}

/// Collects the reasons of every node that is not up to date.
///
/// A step is compared with the earlier build of it that differs in the fewest things, the last of several.
#[derive(Debug, Clone, Default)]
pub struct Explainer {
    reasons: BTreeMap<NodeId, Vec<Reason>>,
    nearest: BTreeMap<NodeId, Nearest>,
    only: Option<BTreeSet<NodeId>>,
    looked_at: usize,
}

impl Explainer {
    /// Explains every node.
    pub fn new() -> Self {
        Self::default()
    }

    /// Explains only the given nodes; looking up the past costs time.
    pub fn only(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Explainer {
            only: Some(nodes.into_iter().collect()),
            ..Explainer::default()
        }
    }

    /// The reasons by node. Nodes that are up to date have none.
    pub fn reasons(&self) -> &BTreeMap<NodeId, Vec<Reason>> {
        &self.reasons
    }

    /// The reasons of one node; none if it is up to date.
    pub fn of(&self, node: NodeId) -> &[Reason] {
        self.reasons.get(&node).map_or(&[], Vec::as_slice)
    }

    /// The earlier build that a node is compared with, if there is one.
    pub fn nearest(&self, node: NodeId) -> Option<Nearest> {
        self.nearest.get(&node).copied()
    }

    /// Compares a node with the nearest of its earlier builds; nothing if none is remembered. `tree` gives the trees
    /// of the inputs that are known.
    fn against_nearest(
        &mut self,
        id: NodeId,
        node: &Node,
        facts: &dyn Facts,
        tree: &dyn Fn(usize) -> Option<TreeHash>,
    ) -> Result<Option<Vec<Reason>>, FactsError> {
        let far = |earlier: &Earlier| {
            let old = &earlier.step;
            distance(old.derivation(), &node.derivation, |pair| {
                match (old.trees().get(pair.was), tree(pair.at)) {
                    (Some(old), Some(new)) => *old == new,
                    _ => true,
                }
            })
        };
        let mut all = facts.earlier(&node.full_name, 1)?;
        if all.first().is_some_and(|last| far(last) > 0) && self.looked_at < ALL_BUILDS {
            all = facts.earlier(&node.full_name, BUILDS)?;
            self.looked_at += all.len();
        }
        let Some((at, chosen)) = all
            .iter()
            .enumerate()
            .min_by_key(|(_, earlier)| far(earlier))
        else {
            return Ok(None);
        };
        let nearest = Nearest {
            key: chosen.step.key(),
            started: chosen.started,
            last: at == 0,
        };
        self.nearest.insert(id, nearest);
        against(&chosen.step, node, facts, tree).map(Some)
    }
}

impl Visitor for Explainer {
    fn node(
        &mut self,
        graph: &Graph,
        node: NodeId,
        state: &NodeState,
        facts: &dyn Facts,
    ) -> Result<(), FactsError> {
        if self.only.as_ref().is_some_and(|only| !only.contains(&node)) {
            return Ok(());
        }
        let this = &graph.nodes()[node];
        let reasons = match state {
            NodeState::Known { present: true, .. } => {
                self.reasons.remove(&node);
                self.nearest.remove(&node);
                return Ok(());
            }
            NodeState::Known { .. } => vec![Reason::Collected],
            NodeState::Stale { trees, .. } => {
                let known = |at: usize| trees.get(at).copied();
                match self.against_nearest(node, this, facts, &known)? {
                    None => vec![Reason::NeverBuilt],
                    Some(reasons) if reasons.is_empty() => vec![Reason::Forgotten],
                    Some(reasons) => reasons,
                }
            }
            NodeState::Unknown => {
                let mut reasons = Vec::new();
                for (input, producer) in this.derivation.inputs.iter().zip(&this.producers) {
                    if let InputSource::Unpinned(name) = &input.source {
                        reasons.push(Reason::Unpinned {
                            role: input.role,
                            name: name.clone(),
                        });
                    }
                    if let Some(producer) = producer {
                        reasons.push(Reason::Waits {
                            on: graph.nodes()[*producer].name.to_string(),
                        });
                    }
                }
                let pinned = |at: usize| match this.derivation.inputs.get(at)?.source {
                    InputSource::Tree(tree) => Some(tree),
                    _ => None,
                };
                let compared = self.against_nearest(node, this, facts, &pinned)?;
                reasons.extend(compared.into_iter().flatten());
                reasons
            }
        };
        self.reasons.insert(node, reasons);
        Ok(())
    }
}

/// What differs between a step as it was built and as it is now.
fn against(
    old: &Resolved,
    node: &Node,
    facts: &dyn Facts,
    tree: &dyn Fn(usize) -> Option<TreeHash>,
) -> Result<Vec<Reason>, FactsError> {
    let compared = compare(old.derivation(), &node.derivation, |pair, reasons| {
        if let (Some(old), Some(new)) = (old.trees().get(pair.was).copied(), tree(pair.at))
            && old != new
        {
            reasons.push(Reason::Tree {
                role: pair.new.role,
                owner: pair.new.owner.clone(),
                old,
                new,
                changes: facts.changes(old, new, PATHS)?,
            });
        }
        Ok(())
    })?;
    Ok(compared.into_reasons())
}
