//! The graph: every target a chain of steps, joined where one target starts from another, and what steps have
//! fetched.

mod fetched;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use mstore_store::{Hash, TreeHash};

use super::error::PlanError;
use super::lock::Lock;
use super::name::TargetId;
use super::pin::PinKind;
use super::recipe::{Reads, Recipe, SnapshotUse, Start, StepRecipe};
use super::recipes::Recipes;
use crate::dense::{self, DenseMap, Id};
use crate::drv::derivation::{
    DEFAULT_EPOCH, Derivation, DrvHash, Env, Input, InputSource, Network, Output, Phase, Policy,
    Role, SANDBOX_PROFILE,
};
use crate::drv::facts::{TreePart, Trees};
use crate::drv::step_name::StepName;

dense::id! {
    /// A node of one [`Graph`]. Each comes after those it depends on, so the order of ids is one in which
    /// they can be worked off.
    pub struct NodeId
}

/// Something about every node of a graph.
pub type NodeMap<T> = DenseMap<NodeId, T>;

/// What to do about seeds and snapshots that cannot be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pins {
    /// Refuse: the graph is to be built.
    Required,
    /// Put the name in the place of the tree: the graph is only to be looked at or compared.
    Optional,
}

/// One step of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The short name, such as `stage3-corei7:run`; unique in the graph.
    pub name: StepName,
    /// `BUILD/ARCH/SUBARCH/TARGET:STEP`, the name realisations are recorded under.
    pub full_name: StepName,
    /// The target it is a step of.
    pub target: Arc<TargetId>,
    /// The step as data.
    pub derivation: Derivation,
    /// Its hash.
    pub hash: DrvHash,
    /// For each input of the derivation the node that produces it, if one does.
    pub producers: Vec<Option<NodeId>>,
    /// The first node that is the same but for names, and so will have the same key: this one need
    /// not be built once that one is.
    pub same_as: Option<NodeId>,
}

impl Node {
    /// The nodes whose output it uses, sorted.
    pub fn dependencies(&self) -> BTreeSet<NodeId> {
        self.producers.iter().flatten().copied().collect()
    }

    /// The nodes it should run after, sorted: those it depends on, and the one it is the same as.
    pub fn run_after(&self) -> BTreeSet<NodeId> {
        let producers = self.producers.iter().flatten();
        producers.chain(&self.same_as).copied().collect()
    }
}

/// One target of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub id: TargetId,
    /// The short name.
    pub name: String,
    /// Whether it was asked for; others are there because those start from them.
    pub requested: bool,
    /// `target/class`.
    pub class: String,
    /// `target/version`.
    pub version: String,
    /// The machine that must run it.
    pub platform: String,
    /// Its steps, in order.
    pub nodes: Vec<NodeId>,
    /// The last of them. Its output, or the directory `root` in it, is the target's tree.
    pub last: NodeId,
    /// The directory of the last step's output that is the target's tree, `/` for all of it.
    pub root: String,
    /// The step up to which it was asked for: the last, unless [`Graph::stop_at`] said otherwise.
    pub until: NodeId,
}

impl Target {
    /// Whether it was asked for to its end.
    pub fn is_whole(&self) -> bool {
        self.until == self.last
    }

    /// Its steps as far as it was asked for, in order.
    pub fn wanted(&self) -> impl Iterator<Item = NodeId> {
        let until = self.until;
        self.nodes
            .iter()
            .copied()
            .filter(move |node| *node <= until)
    }
}

/// Steps and targets, each after everything it depends on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    nodes: NodeMap<Node>,
    targets: Vec<Target>,
    by_id: BTreeMap<TargetId, usize>,
    pins: BTreeMap<(PinKind, String), TreeHash>,
    /// Where the trees of inputs come from: seeds, snapshots and parts of these.
    origins: BTreeMap<TreeHash, Origin>,
}

/// The name in the lock file that a tree comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    kind: PinKind,
    name: String,
    /// Whether it may be captured from this machine.
    host: bool,
}

impl Graph {
    /// Makes the graph of `recipes`, with seeds and snapshots as `lock` pins them.
    pub fn build(
        recipes: &Recipes,
        lock: &Lock,
        trees: &dyn Trees,
        pins: Pins,
    ) -> Result<Graph, PlanError> {
        let mut builder = Builder {
            recipes,
            lock,
            trees,
            pins,
            fetches: BTreeMap::new(),
            graph: Graph::default(),
            outputs: BTreeMap::new(),
            picked: BTreeMap::new(),
            shapes: HashMap::new(),
            requested: recipes.requested().collect(),
            by_hash: HashMap::new(),
        };
        for id in order(recipes)? {
            builder.target(id)?;
        }
        Ok(builder.graph)
    }

    /// The steps, each after those it depends on.
    pub fn nodes(&self) -> &NodeMap<Node> {
        &self.nodes
    }

    /// The targets, each after those it starts from.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// The targets that were asked for.
    pub fn requested(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(|t| t.requested)
    }

    /// The target `id`.
    pub fn target(&self, id: &TargetId) -> Option<&Target> {
        self.by_id.get(id).map(|at| &self.targets[*at])
    }

    /// The step called `name`, short or full.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.find_by(|n| n.name.as_str() == name || n.full_name.as_str() == name)
    }

    /// The first step that is as wanted.
    pub fn find_by(&self, wanted: impl Fn(&Node) -> bool) -> Option<NodeId> {
        let mut nodes = self.nodes.iter();
        nodes.find(|(_, node)| wanted(node)).map(|(id, _)| id)
    }

    /// The step of `target` that goes by the name `step`.
    pub fn step_of(&self, target: &Target, step: &str) -> Option<NodeId> {
        let mut nodes = target.nodes.iter().copied();
        nodes.find(|id| self.nodes[*id].name.step() == step)
    }

    /// Says that the target `id` is asked for up to one of its steps. Returns whether it has such a step.
    pub fn stop_at(&mut self, id: &TargetId, step: &str) -> bool {
        let found = self
            .target(id)
            .and_then(|target| self.step_of(target, step));
        let place = self.by_id.get(id).copied();
        if let (Some(node), Some(place)) = (found, place) {
            self.targets[place].until = node;
        }
        found.is_some()
    }

    /// The names of the steps of `target`, in order.
    pub fn steps_of<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = &'a str> {
        target.nodes.iter().map(|id| self.nodes[*id].name.step())
    }

    /// Edges as pairs: from a step to one that needs it.
    pub fn edges(&self) -> Vec<(NodeId, NodeId)> {
        let mut edges: Vec<(NodeId, NodeId)> = self
            .nodes
            .iter()
            .flat_map(|(i, n)| n.dependencies().into_iter().map(move |d| (d, i)))
            .collect();
        edges.sort_unstable();
        edges
    }

    /// Checks that the seeds and snapshots that `nodes` start from and read are at hand.
    pub fn require_inputs(
        &self,
        nodes: impl IntoIterator<Item = NodeId>,
        trees: &dyn Trees,
    ) -> Result<(), PlanError> {
        for node in nodes {
            let node = &self.nodes[node];
            for input in &node.derivation.inputs {
                let InputSource::Tree(tree) = input.source else {
                    continue;
                };
                if trees.present(tree)? {
                    continue;
                }
                let origin = self.origins.get(&tree).cloned();
                let Origin { kind, name, host } = origin.unwrap_or_else(|| Origin {
                    kind: PinKind::Seed,
                    name: tree.to_string(),
                    host: false,
                });
                return Err(PlanError::AbsentPin {
                    kind,
                    name,
                    host,
                    tree,
                    target: Box::new((*node.target).clone()),
                });
            }
        }
        Ok(())
    }

    /// The whole seed or snapshot that a tree is, or is a part of.
    pub fn whole(&self, part: TreeHash) -> Option<TreeHash> {
        let Origin { kind, name, .. } = self.origins.get(&part)?;
        self.pins.get(&(*kind, name.clone())).copied()
    }

    /// The seeds and snapshots it stands on.
    pub fn pins(&self) -> impl Iterator<Item = (PinKind, &str, TreeHash)> {
        self.pins.iter().map(|((k, n), t)| (*k, n.as_str(), *t))
    }
}

/// Sorts the targets so that each comes after the one it starts from: those asked for in the order in
/// which they were, what they need before them.
fn order(recipes: &Recipes) -> Result<Vec<&TargetId>, PlanError> {
    let mut done: BTreeSet<&TargetId> = BTreeSet::new();
    let mut sorted = Vec::new();
    for first in recipes.requested() {
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
    recipes: &'a Recipes,
    lock: &'a Lock,
    trees: &'a dyn Trees,
    pins: Pins,
    /// Of each name of what is fetched the first that has it.
    fetches: BTreeMap<String, DrvHash>,
    graph: Graph,
    /// Of each target: its last node and the directory in it.
    outputs: BTreeMap<TargetId, (NodeId, String)>,
    picked: BTreeMap<(TreeHash, Vec<String>), TreeHash>,
    /// The first node of each shape: what it builds, with inputs by the shape of their producers.
    shapes: HashMap<Hash, NodeId>,
    by_hash: HashMap<DrvHash, NodeId>,
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
        for step in &recipe.steps {
            let at = self.node(recipe, &names, step, Output::Captured, (source, producer))?;
            nodes.push(at);
            source = InputSource::Derivation {
                hash: self.graph.nodes[at].hash,
                path: "/".to_owned(),
            };
            producer = Some(at);
        }
        let mut root = recipe.root.clone();
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
        let at = self.graph.targets.len();
        self.graph.by_id.insert(id.clone(), at);
        self.graph.targets.push(Target {
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
                    hash: self.graph.nodes[*last].hash,
                    path: root.clone(),
                };
                Ok((source, Some(*last)))
            }
            Start::Seed(seed) => match self.lock.get(PinKind::Seed, &seed.name) {
                Some(pin) => {
                    let origin = Origin {
                        kind: PinKind::Seed,
                        name: seed.name.clone(),
                        host: seed.host,
                    };
                    self.graph.origins.insert(pin.tree, origin);
                    let name = (PinKind::Seed, seed.name.clone());
                    self.graph.pins.insert(name, pin.tree);
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
            root: match output {
                Output::Captured => recipe.root.clone(),
                Output::Input => "/".to_owned(),
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
                from: None,
                impure: step.impure.clone(),
                network: Network::None,
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
        Ok(self.add(&names.id, derivation, producers, shown, full))
    }

    /// Adds a node, unless it is there already.
    fn add(
        &mut self,
        target: &Arc<TargetId>,
        derivation: Derivation,
        producers: Vec<Option<NodeId>>,
        name: StepName,
        full_name: StepName,
    ) -> NodeId {
        let hash = derivation.hash();
        if let Some(same) = self.by_hash.get(&hash) {
            return *same;
        }
        let at = self.graph.nodes.next_id();
        let shape = derivation.shape(|input| {
            let node = producers.get(input).copied().flatten()?;
            // A node stands for all that are the same.
            Some(self.graph.nodes[node].same_as.unwrap_or(node).index())
        });
        let first = *self.shapes.entry(shape).or_insert(at);
        self.by_hash.insert(hash, at);
        self.graph.nodes.push(Node {
            name,
            full_name,
            target: target.clone(),
            derivation,
            hash,
            producers,
            same_as: (first != at).then_some(first),
        });
        at
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
        let origin = Origin {
            kind: PinKind::Snapshot,
            name: snapshot.name.clone(),
            host: false,
        };
        let name = (PinKind::Snapshot, snapshot.name.clone());
        self.graph.pins.insert(name, tree);
        self.graph.origins.insert(tree, origin.clone());
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
                self.graph.origins.insert(part, origin);
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
