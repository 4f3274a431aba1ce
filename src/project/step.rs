//! One step by the hash of its derivation, its key or its tree: as it was built, or as it is specified.

use std::path::PathBuf;

use mstore_store::{Hash, Realisation, RealisationKind, TreeHash};

use super::find::{Found, HashKind};
use super::{FindError, Project, ProjectError};
use crate::build::step_log;
use crate::drv::{Key, Resolved, StepName};
use crate::plan::{Graph, Node, NodeState, OneStep, Pins, Staleness, Target};

/// A step, and what became of it.
#[derive(Clone, Debug)]
pub struct KnownStep {
    /// The step.
    pub step: OneStep,
    /// Its resolved key, where the trees of its inputs are known.
    pub key: Option<Key>,
    /// What it produced, if it was built.
    pub tree: Option<TreeHash>,
}

impl KnownStep {
    /// A step that was built.
    fn built(made: Realisation, step: &Resolved) -> Self {
        KnownStep {
            key: Some(step.key()),
            tree: Some(made.tree),
            step: OneStep {
                // Results of steps are recorded under nothing else.
                name: made
                    .name
                    .parse()
                    .unwrap_or_else(|_| step.derivation().name.clone()),
                trees: step.trees().iter().copied().map(Some).collect(),
                derivation: step.derivation().clone(),
            },
        }
    }

    /// A step of a plan.
    fn planned(node: &Node, state: &NodeState) -> Self {
        let trees = state.trees().unwrap_or_default();
        KnownStep {
            key: state.key(),
            tree: state.tree(),
            step: OneStep {
                name: node.full_name.clone(),
                trees: (0..node.derivation.inputs.len())
                    .map(|at| trees.get(at).copied())
                    .collect(),
                derivation: node.derivation.clone(),
            },
        }
    }
}

/// Returns the error of a step that `target` does not have.
pub fn no_such_step(graph: &Graph, target: &Target, step: &str) -> FindError {
    if step.contains('/') && graph.standing_of(target).is_some() {
        return FindError::NoPackage {
            target: target.name.clone(),
            package: step.to_owned(),
            known: graph.packages_of(target).next().is_some(),
        };
    }
    FindError::NoStep {
        target: target.name.clone(),
        step: step.to_owned(),
        steps: graph.steps_of(target).map(str::to_owned).collect(),
    }
}

impl Project {
    /// Returns the file with the newest log of a step, if there is one here.
    pub fn newest_log(&self, step: &StepName) -> Result<Option<PathBuf>, ProjectError> {
        step_log::newest(&self.store, step.as_str())
            .map_err(|error| ProjectError::io("read", &error.path, error.source))
    }

    /// Returns the hash that realisations and attempts of steps know: targets are remembered under
    /// keys of their own, beside the derivation of their last step.
    pub fn hash_of_step(&self, found: &Found) -> Result<Hash, ProjectError> {
        if found.kind == HashKind::Key(RealisationKind::Target) {
            let made = self.store.realisation(&found.hash)?;
            return Ok(made.map_or(found.hash, |r| r.drv));
        }
        Ok(found.hash)
    }

    /// Returns the step that a hash names: as it was built, the newest where it was built with several
    /// trees; else as it is specified.
    pub fn known_step(&self, found: &Found) -> Result<KnownStep, ProjectError> {
        let hash = self.hash_of_step(found)?;
        let mut built: Vec<(Realisation, Resolved)> = Vec::new();
        for made in self.store.realisations_of(&hash)? {
            let step = self.facts.derivation(Key(made.key))?;
            built.extend(step.map(|step| (made, step)));
        }
        let of_object = matches!(found.kind, HashKind::Object(_));
        if of_object && built.len() > 1 {
            return Err(FindError::SeveralMakers {
                tree: found.hash,
                makers: built.into_iter().map(|(made, _)| made).collect(),
            }
            .into());
        }
        if let Some((made, step)) = built.into_iter().next() {
            return Ok(KnownStep::built(made, &step));
        }
        if of_object {
            return Err(FindError::NoMaker { tree: found.hash }.into());
        }
        if let Ok(graph) = self.graph(&[found.target().to_owned()], Pins::Optional) {
            let staleness = Staleness::walk(&graph, &self.facts, &mut ())?;
            if let Some(at) = graph.find_by(|n| n.hash.0 == hash) {
                return Ok(KnownStep::planned(&graph.nodes()[at], staleness.state(at)));
            }
        }
        Err(FindError::NotRemembered {
            found: found.clone(),
        }
        .into())
    }

    /// Returns the step called `step` of the target `name`, as it is specified now; the last one where
    /// `step` is `None`.
    pub fn step_of_target(
        &self,
        name: &str,
        step: Option<&str>,
    ) -> Result<KnownStep, ProjectError> {
        let graph = self.graph(&[name.to_owned()], Pins::Optional)?;
        let staleness = Staleness::walk(&graph, &self.facts, &mut ())?;
        let Some(target) = graph.requested().next() else {
            return Err(FindError::NoTarget {
                name: name.to_owned(),
            }
            .into());
        };
        let found = match step {
            Some(step) => graph.step_of(target, step),
            None => Some(target.last),
        };
        match found {
            Some(at) => Ok(KnownStep::planned(&graph.nodes()[at], staleness.state(at))),
            None => Err(no_such_step(&graph, target, step.unwrap_or_default()).into()),
        }
    }
}
