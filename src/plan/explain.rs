//! Reasons: the visitor of the staleness walk that says why a step has to be built.

use std::collections::{BTreeMap, BTreeSet};

use mstore_store::TreeHash;

use super::compare::{Reason, compare};
use super::graph::{Graph, NodeId};
use super::staleness::{NodeState, Visitor};
use crate::drv::Resolved;
use crate::drv::derivation::{Derivation, InputSource};
use crate::drv::facts::{Facts, FactsError};

/// How many changed paths of an input a reason lists.
const PATHS: usize = 20;

/// Collects the reasons of every node that is not up to date.
#[derive(Debug, Clone, Default)]
pub struct Explainer {
    reasons: BTreeMap<NodeId, Vec<Reason>>,
    only: Option<BTreeSet<NodeId>>,
}

impl Explainer {
    /// Explains every node.
    pub fn new() -> Self {
        Self::default()
    }

    /// Explains only the given nodes; looking up the past costs time.
    pub fn only(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        Explainer {
            reasons: BTreeMap::new(),
            only: Some(nodes.into_iter().collect()),
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
                return Ok(());
            }
            NodeState::Known { .. } => vec![Reason::Collected],
            NodeState::Stale { trees, .. } => match facts.last(&this.full_name)? {
                None => vec![Reason::NeverBuilt],
                Some(last) => {
                    let mut reasons =
                        against(&last, &this.derivation, facts, |at| trees.get(at).copied())?;
                    if reasons.is_empty() {
                        reasons.push(Reason::Forgotten);
                    }
                    reasons
                }
            },
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
                if let Some(last) = facts.last(&this.full_name)? {
                    let pinned = |at: usize| match this.derivation.inputs.get(at)?.source {
                        InputSource::Tree(tree) => Some(tree),
                        _ => None,
                    };
                    reasons.extend(against(&last, &this.derivation, facts, pinned)?);
                }
                reasons
            }
        };
        self.reasons.insert(node, reasons);
        Ok(())
    }
}

/// What differs between a step as it was last built and as it is now. `tree` gives the trees of the
/// inputs that are known.
fn against(
    last: &Resolved,
    new: &Derivation,
    facts: &dyn Facts,
    tree: impl Fn(usize) -> Option<TreeHash>,
) -> Result<Vec<Reason>, FactsError> {
    let compared = compare(last.derivation(), new, |pair, reasons| {
        if let (Some(old), Some(new)) = (last.trees().get(pair.at).copied(), tree(pair.at))
            && old != new
        {
            reasons.push(Reason::Tree {
                role: pair.new.role,
                old,
                new,
                changes: facts.changes(old, new, PATHS)?,
            });
        }
        Ok(())
    })?;
    Ok(compared.into_reasons())
}
