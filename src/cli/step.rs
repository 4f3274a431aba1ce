//! One step by the hash of its derivation, its key or its tree: as it was built, or as it is specified.

use mstore_store::{Hash, ObjectKind, Realisation, TreeHash};

use super::context::Session;
use super::object::{Found, Sort};
use super::{Failure, object};
use crate::drv::{Key, Resolved};
use crate::plan::{OneStep, Pins, Staleness, State};

/// A step, and what became of it.
pub struct Known {
    /// The step.
    pub step: OneStep,
    /// Its resolved key, where the trees of its inputs are known.
    pub key: Option<Key>,
    /// What it produced, if it was built.
    pub tree: Option<TreeHash>,
}

/// The hash that realisations and attempts of steps know: targets are remembered under keys of their
/// own, beside the derivation of their last step.
pub fn of_step(session: &Session, found: &Found) -> Result<Hash, Failure> {
    if found.sort == Sort::Key && !found.of.contains(':') {
        let made = session.store.realisation(&found.hash)?;
        return Ok(made.map_or(found.hash, |r| r.drv));
    }
    Ok(found.hash)
}

/// The step that a hash names.
pub fn known(session: &Session, found: &Found) -> Result<Known, Failure> {
    let hash = of_step(session, found)?;
    let mut built: Vec<(Realisation, Resolved)> = Vec::new();
    for made in session.store.realisations_of(&hash)? {
        let step = session.facts.derivation(Key(made.key))?;
        built.extend(step.map(|step| (made, step)));
    }
    let of_tree = matches!(found.sort, Sort::Object(_));
    if of_tree && built.len() > 1 {
        let mut failure = Failure::usage(format!(
            "{} is a tree that several steps made; name one by its key",
            found.hash
        ));
        for (made, _) in &built {
            failure = failure.hint(format!("{} (key of {})", made.key, made.name));
        }
        return Err(failure);
    }
    // The newest, where it was built with several trees.
    if let Some((made, step)) = built.into_iter().next() {
        return Ok(Known {
            key: Some(step.key()),
            tree: Some(made.tree),
            step: OneStep {
                name: made.name,
                trees: step.trees().iter().copied().map(Some).collect(),
                derivation: step.derivation().clone(),
            },
        });
    }
    if of_tree {
        return Err(Failure::usage(format!(
            "{} is a tree, and which step made it is not remembered here",
            found.hash
        ))
        .hint(format!(
            "`mstore store ls {}` lists what is in it",
            found.hash
        )));
    }
    let target = found.of.split(':').next().unwrap_or_default().to_owned();
    if let Ok(graph) = session.graph(&[target], Pins::Optional) {
        let staleness = Staleness::walk(&graph, &session.facts, &mut ())?;
        if let Some(at) = graph.nodes().iter().position(|n| n.hash.0 == hash) {
            return Ok(planned(&graph.nodes()[at], staleness.state(at)));
        }
    }
    Err(Failure::usage(format!(
        "{} is a {found}; what it was is not remembered here",
        found.hash
    ))
    .hint(
        "it never was built here, or gc forgot it; `mstore log HASH --attempts` tells how it went",
    ))
}

/// A step of a plan.
fn planned(node: &crate::plan::Node, state: &State) -> Known {
    let trees = state.trees().unwrap_or_default();
    Known {
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

/// The step of the target `name` that goes by the name `step`, as it is specified now; the last one
/// where `step` is `None`.
pub fn of_target(session: &Session, name: &str, step: Option<&str>) -> Result<Known, Failure> {
    let graph = session.graph(&[name.to_owned()], Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &session.facts, &mut ())?;
    let Some(target) = graph.requested().next() else {
        return Err(Failure::usage(format!("`{name}` names no target")));
    };
    let wanted = |at: &&usize| step.is_none_or(|s| graph.nodes()[**at].step == s);
    let Some(&at) = target.nodes.iter().rev().find(wanted) else {
        let all = target.nodes.iter().map(|&n| graph.nodes()[n].step.as_str());
        let all: Vec<&str> = all.collect();
        return Err(
            Failure::usage(format!("{name} has no step `{}`", step.unwrap_or_default()))
                .hint(format!("its steps are: {}", all.join(" "))),
        );
    };
    Ok(planned(&graph.nodes()[at], staleness.state(at)))
}

/// A hash on the command line that names a step or a tree.
pub fn hash(session: &Session, word: &str) -> Result<Option<Found>, Failure> {
    session.hash(word, object::STEP)
}

/// Whether a hash names a tree.
pub fn is_tree(found: &Found) -> bool {
    found.sort == Sort::Object(ObjectKind::Tree)
}
