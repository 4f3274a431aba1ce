//! The graph: every target a chain of steps, joined where one target starts from another, and what steps have
//! fetched.

mod fetched;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mstore_store::TreeHash;

pub use super::nodes::{
    Graph, Growing, Node, NodeId, NodeMap, PackageId, PackageNode, Pins, Target,
};

use super::error::PlanError;
use super::lock::Lock;
use super::name::TargetId;
use super::packages::{Open, Unfold, standing_for};
use super::pin::PinKind;
use super::recipe::{PACKAGES, Packages, Reads, Recipe, SnapshotUse, Start, StepRecipe};
use super::recipes::Recipes;
use crate::drv::derivation::{
    DEFAULT_EPOCH, Derivation, DrvHash, Env, Input, InputSource, Network, Output, Phase, Policy,
    Role, SANDBOX_PROFILE,
};
use crate::drv::facts::{TreePart, Trees};
use crate::drv::step_name::StepName;

/// The step that lays over a root what steps left that ran beside each other.
const TOGETHER: &str = "together";

impl Graph {
    /// Makes the graph of `recipes`, with seeds and snapshots as `lock` pins them.
    pub fn build(
        recipes: &Recipes,
        lock: &Lock,
        trees: &dyn Trees,
        pins: Pins,
    ) -> Result<Graph, PlanError> {
        Graph::unfolded(recipes, lock, trees, pins, &())
    }

    /// Makes the graph, with nodes for packages as far as `unfold` knows them.
    pub fn unfolded(
        recipes: &Recipes,
        lock: &Lock,
        trees: &dyn Trees,
        pins: Pins,
        unfold: &dyn Unfold,
    ) -> Result<Graph, PlanError> {
        let mut builder = Builder {
            unfold,
            recipes,
            lock,
            trees,
            pins,
            fetches: BTreeMap::new(),
            growing: Growing::default(),
            outputs: BTreeMap::new(),
            picked: BTreeMap::new(),
            requested: recipes.requested().collect(),
        };
        for id in order(recipes)? {
            builder.target(id)?;
        }
        let mut growing = builder.growing;
        if let Some(more) = &recipes.more {
            let ids: Vec<TargetId> = recipes
                .requested()
                .filter(|id| id.is_port())
                .cloned()
                .collect();
            more.grow(&ids, lock, trees, pins, &mut growing)?;
        }
        Ok(growing.into_graph())
    }
}

/// Sorts the targets so that each comes after the one it starts from: those asked for in the order in
/// which they were, what they need before them.
fn order(recipes: &Recipes) -> Result<Vec<&TargetId>, PlanError> {
    let mut done: BTreeSet<&TargetId> = BTreeSet::new();
    let mut sorted = Vec::new();
    for first in recipes.requested().filter(|id| !id.is_port()) {
        let mut chain: Vec<&TargetId> = Vec::new();
        let mut at = first;
        // A target starts from one other at most, so what it needs is a chain.
        while !done.contains(at) {
            if let Some(begin) = chain.iter().position(|id| *id == at) {
                let mut names: Vec<String> = chain[begin..]
                    .iter()
                    .map(|id| recipes.display_name(id))
                    .collect();
                names.push(recipes.display_name(at));
                return Err(PlanError::Cycle { chain: names });
            }
            chain.push(at);
            match recipes.get(at).map(|r| &r.start) {
                Some(Start::Target(next)) => at = next,
                _ => break,
            }
        }
        for id in chain.into_iter().rev() {
            done.insert(id);
            sorted.push(id);
        }
    }
    Ok(sorted)
}

/// The names of a target, made once for all of its steps.
struct Names {
    /// As short as it can be.
    shown: String,
    /// `TARGET-SUBARCH`.
    short: String,
    /// `BUILD/ARCH/SUBARCH/TARGET`.
    full: String,
    /// What it is.
    id: Arc<TargetId>,
}

struct Builder<'a> {
    unfold: &'a dyn Unfold,
    recipes: &'a Recipes,
    lock: &'a Lock,
    trees: &'a dyn Trees,
    pins: Pins,
    /// Of each name of what is fetched the first that has it.
    fetches: BTreeMap<String, DrvHash>,
    growing: Growing,
    /// Of each target: its last node and the directory in it.
    outputs: BTreeMap<TargetId, (NodeId, String)>,
    picked: BTreeMap<(TreeHash, Vec<String>), TreeHash>,
    requested: BTreeSet<&'a TargetId>,
}

impl Builder<'_> {
    fn target(&mut self, id: &TargetId) -> Result<(), PlanError> {
        let Some(recipe) = self.recipes.get(id) else {
            return Err(PlanError::NotLoaded {
                target: Box::new(id.clone()),
            });
        };
        let (mut source, mut producer) = self.start(recipe)?;
        let names = Names {
            shown: self.recipes.display_name(id),
            short: id.short(),
            full: id.to_string(),
            id: Arc::new(id.clone()),
        };
        let mut nodes = Vec::new();
        let mut beside: Vec<(NodeId, &StepRecipe)> = Vec::new();
        for (place, step) in recipe.steps.iter().enumerate() {
            let packages = recipe.packages.as_ref().filter(|p| p.at == place);
            if step.leaves.is_some() && packages.is_none() {
                let start = (source.clone(), producer);
                let at = self.node(recipe, &names, step, Output::Folder, start)?;
                nodes.push(at);
                beside.push((at, step));
                continue;
            }
            if let Some(at) = self.together(&names, &mut beside, (&source, producer), &nodes)? {
                nodes.push(at);
                (source, producer) = (self.whole(at), Some(at));
            }
            let start = (source, producer);
            let mut at = self.node(recipe, &names, step, Output::Captured, start)?;
            nodes.push(at);
            if let Some(packages) = packages {
                nodes.extend(self.packages(recipe, &names, packages, at)?);
                // The last was just put there.
                at = nodes.last().copied().unwrap_or(at);
            }
            (source, producer) = (self.whole(at), Some(at));
        }
        if let Some(at) = self.together(&names, &mut beside, (&source, producer), &nodes)? {
            nodes.push(at);
            (source, producer) = (self.whole(at), Some(at));
        }
        // Of packages the folder that the stage is made in is all that is left.
        let mut root = match &recipe.packages {
            Some(_) => "/".to_owned(),
            None => recipe.root.clone(),
        };
        if let Some(test) = &recipe.test {
            // The test runs in the finished tree, and hands it on.
            if let InputSource::Derivation { path, .. } = &mut source {
                path.clone_from(&root);
            }
            let at = self.node(recipe, &names, test, Output::Input, (source, producer))?;
            nodes.push(at);
            root = "/".to_owned();
        }
        let Some(last) = nodes.last().copied() else {
            return Err(PlanError::NoSteps {
                target: Box::new(id.clone()),
            });
        };
        self.outputs.insert(id.clone(), (last, root.clone()));
        self.growing.add_target(Target {
            id: id.clone(),
            name: names.shown,
            requested: self.requested.contains(id),
            class: recipe.class.clone(),
            version: recipe.version.clone(),
            platform: recipe.platform.clone(),
            nodes,
            last,
            root,
            until: last,
        });
        Ok(())
    }

    /// All that a node leaves.
    fn whole(&self, node: NodeId) -> InputSource {
        InputSource::Derivation {
            hash: self.growing.graph().nodes()[node].hash,
            path: "/".to_owned(),
        }
    }

    /// The root that steps in a row started from, with the folders that they left laid over it; nothing where there are
    /// none.
    fn together(
        &mut self,
        names: &Names,
        beside: &mut Vec<(NodeId, &StepRecipe)>,
        (source, producer): (&InputSource, Option<NodeId>),
        before: &[NodeId],
    ) -> Result<Option<NodeId>, PlanError> {
        if beside.is_empty() {
            return Ok(None);
        }
        let mut inputs = vec![Input {
            at: "/".to_owned(),
            role: Role::Root,
            owner: Some("the step before".to_owned()),
            source: source.clone(),
        }];
        let mut producers = vec![producer];
        for (node, step) in beside.drain(..) {
            inputs.push(Input {
                at: step.leaves.clone().unwrap_or_default(),
                role: Role::Layer,
                owner: Some(step.name.clone()),
                source: self.whole(node),
            });
            producers.push(Some(node));
        }
        let nodes = self.growing.graph().nodes();
        let is_one = |node: &&NodeId| nodes[**node].derivation.is_union();
        let step = match before.iter().filter(is_one).count() {
            0 => TOGETHER.to_owned(),
            n => format!("{TOGETHER}-{}", n + 1),
        };
        let derivation =
            Derivation::compose(StepName::new(&names.short, &step)?, &names.short, inputs);
        let shown = StepName::new(&names.shown, &step)?;
        let full = StepName::new(&names.full, &step)?;
        let at = self
            .growing
            .add(&names.id, derivation, producers, shown, full);
        Ok(Some(at))
    }

    /// What stands for packages that the step `resolve` finds out, after those that are known.
    fn packages(
        &mut self,
        recipe: &Recipe,
        names: &Names,
        packages: &Packages,
        resolve: NodeId,
    ) -> Result<Vec<NodeId>, PlanError> {
        let step = &self.growing.graph().nodes()[resolve];
        let derivation = standing_for(
            StepName::new(&names.short, PACKAGES)?,
            recipe,
            packages.told(),
            step.derivation.inputs.clone(),
            step.hash,
            step.derivation.epoch,
        );
        let mut producers = step.producers.clone();
        producers.push(Some(resolve));
        let open = Open {
            derivation: &derivation,
            hash: derivation.hash(),
            shown: &names.shown,
            full: &names.full,
            target: &names.id,
            recipe,
        };
        let mut nodes = self.unfold.unfold(&open, &mut self.growing)?;
        let last = nodes.last().copied();
        let shown = StepName::new(&names.shown, PACKAGES)?;
        let full = StepName::new(&names.full, PACKAGES)?;
        let at = self
            .growing
            .add(&names.id, derivation, producers, shown, full);
        if let Some(last) = last {
            self.growing.stands_for(at, last);
        }
        nodes.push(at);
        Ok(nodes)
    }

    /// The root input of a target's first step.
    fn start(&mut self, recipe: &Recipe) -> Result<(InputSource, Option<NodeId>), PlanError> {
        match &recipe.start {
            Start::Target(from) => {
                let Some((last, root)) = self.outputs.get(from) else {
                    return Err(PlanError::NotLoaded {
                        target: Box::new(from.clone()),
                    });
                };
                let source = InputSource::Derivation {
                    hash: self.growing.graph().nodes()[*last].hash,
                    path: root.clone(),
                };
                Ok((source, Some(*last)))
            }
            Start::Seed(seed) => match self.lock.get(PinKind::Seed, &seed.name) {
                Some(pin) => {
                    self.growing
                        .pinned(PinKind::Seed, &seed.name, seed.host, pin.tree);
                    Ok((InputSource::Tree(pin.tree), None))
                }
                None if self.pins == Pins::Optional => {
                    Ok((InputSource::Unpinned(seed.name.clone()), None))
                }
                None => Err(PlanError::NotPinned {
                    kind: PinKind::Seed,
                    name: seed.name.clone(),
                    host: seed.host,
                    target: Box::new(recipe.id.clone()),
                    lock: self.lock.path().map(Into::into),
                }),
            },
        }
    }

    fn node(
        &mut self,
        recipe: &Recipe,
        names: &Names,
        step: &StepRecipe,
        output: Output,
        (source, producer): (InputSource, Option<NodeId>),
    ) -> Result<NodeId, PlanError> {
        let mut inputs = vec![Input {
            at: "/".to_owned(),
            role: Role::Root,
            owner: None,
            source,
        }];
        let mut producers = vec![producer];
        let mut epoch = DEFAULT_EPOCH;
        let main = recipe.snapshot.iter().map(|s| (s, &step.reads));
        let beside = recipe.beside.iter().map(|s| (s, &step.reads_beside));
        for (snapshot, reads) in main.chain(beside) {
            let Some((source, time)) = self.snapshot(recipe, step, snapshot, reads)? else {
                continue;
            };
            if inputs.len() == 1 {
                epoch = time;
            }
            inputs.push(Input {
                at: snapshot.at.clone(),
                role: Role::Snapshot,
                owner: None,
                source,
            });
            producers.push(None);
        }
        for (input, producer) in self.fetched(recipe, step)? {
            inputs.push(input);
            producers.push(producer);
        }
        let id = &recipe.id;
        let derivation = Derivation {
            env: Env(recipe.env.clone()),
            name: StepName::new(&names.short, &step.name)?,
            root: match (output, &step.leaves) {
                (Output::Folder, Some(folder)) => folder.clone(),
                (Output::Captured | Output::Folder, _) => recipe.root.clone(),
                (Output::Input, _) => "/".to_owned(),
            },
            build: id.build.clone(),
            class: recipe.class.clone(),
            epoch,
            inputs,
            output,
            phases: vec![Phase {
                name: step.name.clone(),
                script: step.script.clone(),
            }],
            policy: Policy {
                tag: step.tag.clone(),
                from: None,
                width: step.width,
                impure: step.impure.clone(),
                limits: recipe.limits.map(Box::new),
                network: Network::None,
                silence: recipe.silence,
                timeout: recipe.timeout,
            },
            target: id.target.clone(),
            sandbox: SANDBOX_PROFILE.to_owned(),
            subarch: id.subarch.clone(),
            platform: recipe.platform.clone(),
            arch_desc: id.arch_desc.clone(),
        };
        let shown = StepName::new(&names.shown, &step.name)?;
        let full = StepName::new(&names.full, &step.name)?;
        Ok(self
            .growing
            .add(&names.id, derivation, producers, shown, full))
    }

    /// What a step that `reads` this sees of a snapshot, and the time stamp that goes with it; nothing if it
    /// reads nothing.
    fn snapshot(
        &mut self,
        recipe: &Recipe,
        step: &StepRecipe,
        snapshot: &SnapshotUse,
        reads: &Reads,
    ) -> Result<Option<(InputSource, i64)>, PlanError> {
        let paths = match reads {
            Reads::Paths(paths) | Reads::Existing(paths) if paths.is_empty() => return Ok(None),
            Reads::Paths(paths) | Reads::Existing(paths) => Some(paths),
            Reads::All => None,
        };
        let Some(pin) = self.lock.get(PinKind::Snapshot, &snapshot.name) else {
            if self.pins == Pins::Optional {
                let name = match paths {
                    Some(paths) => format!("{}: {}", snapshot.name, paths.join(" ")),
                    None => snapshot.name.clone(),
                };
                return Ok(Some((InputSource::Unpinned(name), DEFAULT_EPOCH)));
            }
            return Err(PlanError::NotPinned {
                kind: PinKind::Snapshot,
                name: snapshot.name.clone(),
                host: false,
                target: Box::new(recipe.id.clone()),
                lock: self.lock.path().map(Into::into),
            });
        };
        let (tree, epoch) = (pin.tree, pin.epoch.unwrap_or(DEFAULT_EPOCH));
        self.growing
            .pinned(PinKind::Snapshot, &snapshot.name, false, tree);
        let Some(paths) = paths else {
            return Ok(Some((InputSource::Tree(tree), epoch)));
        };
        let key = (tree, paths.clone());
        if let Some(part) = self.picked.get(&key) {
            return Ok(Some((InputSource::Tree(*part), epoch)));
        }
        match self.trees.pick(tree, paths)? {
            TreePart::Tree(part) => {
                self.picked.insert(key, part);
                self.growing.part_of(part, tree);
                Ok(Some((InputSource::Tree(part), epoch)))
            }
            TreePart::NoSuchPath(which) if matches!(reads, Reads::Existing(_)) => {
                let mut fewer = paths.clone();
                fewer.remove(which);
                self.snapshot(recipe, step, snapshot, &Reads::Existing(fewer))
            }
            TreePart::NoSuchPath(which) => Err(PlanError::NoSuchRead {
                path: paths.get(which).cloned().unwrap_or_default(),
                snapshot: snapshot.name.clone(),
                element: step.reads_element.clone(),
                location: step.reads_location.clone().map(Box::new),
            }),
            TreePart::Absent if self.pins == Pins::Optional => Ok(Some((
                InputSource::Unpinned(format!("{tree}: {}", paths.join(" "))),
                epoch,
            ))),
            TreePart::Absent => Err(PlanError::AbsentPin {
                kind: PinKind::Snapshot,
                name: snapshot.name.clone(),
                host: false,
                tree,
                target: Box::new(recipe.id.clone()),
            }),
        }
    }
}
