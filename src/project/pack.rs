//! Packing: the trees that somebody asked for, and the facts about them, to travel together.

use mstore_store::{Hash, RealisationKind, Store};

use super::{FindError, Project, ProjectError};
use crate::drv::derivation::InputSource;
use crate::drv::target_key;
use crate::plan::{Graph, Pins, Staleness, TargetId, WalkError};
use crate::share::Parcel;
use crate::share::parcel::Recorder;

/// What goes along with targets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Along {
    /// The trees of their steps.
    pub steps: bool,
    /// The seeds and snapshots that they are built from.
    pub inputs: bool,
}

impl Project {
    /// Packs targets, which have to be built, with all facts about them.
    pub fn pack(
        &self,
        targets: &[TargetId],
        along: Along,
        parcel: &mut Parcel,
    ) -> Result<(), ProjectError> {
        let recorder = Recorder::new(&self.facts);
        let recipes = self.recipes(targets)?;
        let graph = Graph::build(&recipes, &self.lock, &recorder, Pins::Optional)?;
        let staleness = Staleness::walk(&graph, &recorder, &mut ())?;
        parcel.add_facts(&self.store, fact_keys(&staleness, &recorder)?)?;
        for target in graph.requested() {
            let tree = staleness.target_tree(target, &recorder)?;
            let not_built = || FindError::NotBuilt {
                target: target.name.clone(),
            };
            parcel.trees.insert(tree.ok_or_else(not_built)?);
        }
        let mut more = Vec::new();
        if along.inputs {
            let inputs = graph.nodes().values().flat_map(|n| &n.derivation.inputs);
            more.extend(inputs.filter_map(|input| match input.source {
                InputSource::Tree(tree) => Some(tree),
                _ => None,
            }));
            more.extend(self.lock.pins().map(|(_, _, pin)| pin.tree));
        }
        if along.steps {
            let steps = graph.nodes().ids();
            more.extend(steps.filter_map(|node| staleness.state(node).tree()));
        }
        for tree in more {
            if self.store.has_tree(tree)? {
                parcel.trees.insert(tree);
            }
        }
        Ok(())
    }
}

/// Packs everything that a store remembers, and all its gc roots.
pub fn pack_all(store: &Store, parcel: &mut Parcel) -> Result<(), ProjectError> {
    for realisation in store.realisations(None)? {
        let is_target = realisation.kind == RealisationKind::Target;
        parcel.add_fact(store, realisation.key)?;
        if is_target && store.has_tree(realisation.tree)? {
            parcel.trees.insert(realisation.tree);
        }
    }
    for root in store.roots()? {
        if store.has_tree(root.tree)? {
            parcel.trees.insert(root.tree);
        }
    }
    Ok(())
}

/// Lists the keys of all facts about a plan: its steps, its targets, and the parts of trees that were asked
/// for through `recorder`, which the plan has to be made and walked with.
pub(super) fn fact_keys(
    staleness: &Staleness<'_>,
    recorder: &Recorder<'_>,
) -> Result<Vec<Hash>, WalkError> {
    let graph = staleness.graph();
    let mut keys = Vec::new();
    for node in graph.nodes().ids() {
        let state = staleness.state(node);
        keys.extend(
            state
                .key()
                .filter(|_| state.tree().is_some())
                .map(|key| key.0),
        );
    }
    for target in graph.targets() {
        if let Some(tree) = staleness.target_tree(target, recorder)? {
            keys.push(target_key(&target.id.to_string(), tree));
        }
    }
    keys.extend(recorder.parts());
    Ok(keys)
}
