//! Packages of a stage as nodes: what stands for them while they are not known, and who makes nodes of them when they are.
//!
//! Which packages a stage is made of is found out by a step. So that all names exist before it ran, the graph has a node
//! that stands for them: it names the step, the root that packages are built in and the trees of ebuilds, and its key
//! covers all that they can depend on. Its result is the stage. When the step has run, the packages are put before it.

use std::sync::Arc;

use super::error::PlanError;
use super::name::TargetId;
use super::nodes::{Growing, NodeId};
use super::recipe::Recipe;
use crate::drv::derivation::{
    Derivation, DrvHash, Env, Input, InputSource, Network, Output, PACKAGES_PROFILE, Phase, Policy,
    Role,
};
use crate::drv::step_name::StepName;

/// The step that finds out which packages there are.
pub const RESOLVE: &str = "resolve";
/// The folder of its result that tells of them. Nothing else in it is looked at.
pub const GRAPH: &str = "/var/lib/mstore/packages";

/// What stands for packages.
#[derive(Debug, Clone, Copy)]
pub struct Open<'a> {
    /// It as a derivation. Its inputs are the root that packages are built in, snapshots, and the package graph.
    pub derivation: &'a Derivation,
    /// Its hash.
    pub hash: DrvHash,
    /// The name of the target, as short as it can be.
    pub shown: &'a str,
    /// `BUILD/ARCH/SUBARCH/TARGET`.
    pub full: &'a str,
    /// The target.
    pub target: &'a Arc<TargetId>,
    /// Its recipe.
    pub recipe: &'a Recipe,
}

/// Makes nodes of packages that are known.
pub trait Unfold {
    /// Adds the nodes that `open` stands for, the last one last, whose result is its own. Gives none while the packages are
    /// not known.
    fn unfold(&self, open: &Open<'_>, graph: &mut Growing) -> Result<Vec<NodeId>, PlanError>;
}

/// Knows no packages.
impl Unfold for () {
    fn unfold(&self, _: &Open<'_>, _: &mut Growing) -> Result<Vec<NodeId>, PlanError> {
        Ok(Vec::new())
    }
}

/// What stands for the packages of a target. `inputs` are those of the step that finds them out, which is `resolve`.
pub(super) fn standing_for(
    name: StepName,
    recipe: &Recipe,
    options: String,
    mut inputs: Vec<Input>,
    resolve: DrvHash,
    epoch: i64,
) -> Derivation {
    inputs.push(Input {
        at: GRAPH.to_owned(),
        role: Role::Snapshot,
        owner: None,
        source: InputSource::Derivation {
            hash: resolve,
            path: GRAPH.to_owned(),
        },
    });
    let id = &recipe.id;
    Derivation {
        env: Env::default(),
        root: recipe.root.clone(),
        build: id.build.clone(),
        class: recipe.class.clone(),
        epoch,
        inputs,
        output: Output::Captured,
        phases: vec![Phase {
            name: name.step().to_owned(),
            script: options.into(),
        }],
        policy: Policy {
            tag: None,
            from: None,
            width: None,
            impure: Vec::new(),
            limits: None,
            network: Network::None,
            silence: None,
            timeout: recipe.timeout,
        },
        name,
        target: id.target.clone(),
        sandbox: PACKAGES_PROFILE.to_owned(),
        subarch: id.subarch.clone(),
        platform: recipe.platform.clone(),
        arch_desc: id.arch_desc.clone(),
    }
}
