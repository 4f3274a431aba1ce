//! Nodes and targets of a graph, and what can be asked of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use mstore_store::{Hash, TreeHash};

use super::error::PlanError;
use super::name::TargetId;
use super::pin::PinKind;
use crate::dense::{self, DenseMap, Id};
use crate::drv::derivation::{Derivation, DrvHash, InputSource};
use crate::drv::facts::Trees;
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
    /// The node whose result is this one's too: the last of those that it stands for, where it stands for some and they
    /// are known.
    pub stands_for: Option<NodeId>,
    /// What it is of the packages of its target; nothing of a step that the specification names.
    pub package: Option<PackageNode>,
}

/// What a node is of the packages of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackageNode {
    /// It builds this one.
    Package(Arc<PackageId>),
    /// It is what they are built in or of, or what they are together.
    Around,
}

/// As it is told: `sys-libs/zlib-1.3.1:0`, of a tool `sys-libs/zlib-1.3.1:0 (tool)`.
impl fmt::Display for PackageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}:{}", self.name, self.version, self.slot)?;
        match self.is_tool {
            true => f.write_str(" (tool)"),
            false => Ok(()),
        }
    }
}

/// A package of a target, as people name it and as it was chosen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PackageId {
    /// Category and name, `sys-libs/zlib`.
    pub name: String,
    /// Its slot.
    pub slot: String,
    /// Its version with the revision.
    pub version: String,
    /// Whether it is a tool for the root that packages are built in, and not of the target.
    pub is_tool: bool,
    /// Whether it is the only one of the target of that name.
    pub is_alone: bool,
    /// USE flags that are on, sorted.
    pub use_flags: Vec<String>,
}

impl PackageId {
    /// Whether `CATEGORY/NAME` or `CATEGORY/NAME:SLOT` names it.
    pub fn is_named(&self, word: &str) -> bool {
        match word.split_once(':') {
            Some((name, slot)) => self.name == name && self.slot == slot,
            None => self.name == word,
        }
    }

    /// What people name it by: the slot is there where there are others of the name.
    pub fn word(&self) -> String {
        match self.is_alone {
            true => self.name.clone(),
            false => format!("{}:{}", self.name, self.slot),
        }
    }
}

impl Node {
    /// The package that it builds, if it builds one.
    pub fn package(&self) -> Option<&PackageId> {
        match &self.package {
            Some(PackageNode::Package(package)) => Some(package),
            _ => None,
        }
    }

    /// The nodes whose output it uses, sorted.
    pub fn dependencies(&self) -> BTreeSet<NodeId> {
        self.producers.iter().flatten().copied().collect()
    }

    /// The nodes it should run after, sorted: those it depends on, the one it is the same as, and the one it stands for.
    pub fn run_after(&self) -> BTreeSet<NodeId> {
        let producers = self.producers.iter().flatten();
        let others = self.same_as.iter().chain(&self.stands_for);
        producers.chain(others).copied().collect()
    }

    /// Whether it stands for nodes that are not known yet: it cannot be built.
    pub fn is_open(&self) -> bool {
        self.derivation.is_open() && self.stands_for.is_none()
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

    /// Its steps as far as it was asked for, in order, with packages.
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

    /// The step of `target` that goes by the name `step`, or builds the package `CATEGORY/NAME[:SLOT]`.
    pub fn step_of(&self, target: &Target, step: &str) -> Option<NodeId> {
        let own = |id: &NodeId| self.nodes[*id].name.step() == step;
        self.own_steps(target)
            .find(own)
            .or_else(|| self.package_of(target, step))
    }

    /// The step that builds a package of `target`. A tool is meant only where nothing else can be.
    pub fn package_of(&self, target: &Target, word: &str) -> Option<NodeId> {
        let packages = self.packages_of(target);
        let named = packages.filter(|(_, package)| package.is_named(word));
        named
            .min_by_key(|(_, package)| package.is_tool)
            .map(|(id, _)| id)
    }

    /// The steps of `target` that build packages, in order.
    pub fn packages_of<'a>(
        &'a self,
        target: &'a Target,
    ) -> impl Iterator<Item = (NodeId, &'a PackageId)> {
        let nodes = target.nodes.iter().copied();
        nodes.filter_map(|id| Some((id, self.nodes[id].package()?)))
    }

    /// The steps of `target` that its specification names, in order.
    pub fn own_steps<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = NodeId> + 'a {
        let nodes = target.nodes.iter().copied();
        nodes.filter(|id| self.nodes[*id].package.is_none())
    }

    /// What stands for the packages of `target`, where it is made of some.
    pub fn standing_of(&self, target: &Target) -> Option<NodeId> {
        let mut own = self.own_steps(target);
        own.find(|id| self.nodes[*id].derivation.is_open())
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

    /// Says that the target `id` is asked for up to one of its nodes.
    pub fn stop_at_node(&mut self, id: &TargetId, node: NodeId) {
        if let Some(place) = self.by_id.get(id) {
            self.targets[*place].until = node;
        }
    }

    /// Whether the target `id` is made of packages that are not known yet.
    pub fn stands_for_packages(&self, id: &TargetId) -> bool {
        let open = self.target(id).and_then(|target| self.standing_of(target));
        open.is_some_and(|at| self.nodes[at].is_open())
    }

    /// The names of the steps of `target` that its specification names, in order.
    pub fn steps_of<'a>(&'a self, target: &'a Target) -> impl Iterator<Item = &'a str> {
        self.own_steps(target).map(|id| self.nodes[id].name.step())
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

/// A graph that nodes and targets are added to, each after those it depends on.
#[derive(Debug, Default)]
pub struct Growing {
    graph: Graph,
    /// The first node of each shape: what it builds, with inputs by the shape of their producers.
    shapes: HashMap<Hash, NodeId>,
    by_hash: HashMap<DrvHash, NodeId>,
}

impl Growing {
    /// The node of a derivation, if it was added.
    pub fn node(&self, hash: DrvHash) -> Option<NodeId> {
        self.by_hash.get(&hash).copied()
    }

    /// Says which seed or snapshot the lock file calls `name`, and that some input is that.
    pub fn pinned(&mut self, kind: PinKind, name: &str, host: bool, tree: TreeHash) {
        let name = name.to_owned();
        let origin = Origin {
            kind,
            name: name.clone(),
            host,
        };
        self.graph.origins.insert(tree, origin);
        self.graph.pins.insert((kind, name), tree);
    }

    /// Says that a tree is a part of a seed or snapshot.
    pub fn part_of(&mut self, part: TreeHash, whole: TreeHash) {
        if let Some(origin) = self.graph.origins.get(&whole).cloned() {
            self.graph.origins.insert(part, origin);
        }
    }

    /// What was added by now.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Adds a target; one that is there already stays, and is asked for if one of the two is.
    pub fn add_target(&mut self, target: Target) {
        if let Some(at) = self.graph.by_id.get(&target.id) {
            self.graph.targets[*at].requested |= target.requested;
            return;
        }
        let at = self.graph.targets.len();
        self.graph.by_id.insert(target.id.clone(), at);
        self.graph.targets.push(target);
    }

    /// The graph as it is now.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// Adds a node, unless it is there already.
    pub fn add(
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
            stands_for: None,
            package: None,
        });
        at
    }

    /// Says what a node is of the packages of its target.
    pub fn of_packages(&mut self, node: NodeId, what: PackageNode) {
        self.graph.nodes[node].package.get_or_insert(what);
    }

    /// Says that a node's result is that of another one, which was added before it.
    pub fn stands_for(&mut self, node: NodeId, other: NodeId) {
        if other < node {
            self.graph.nodes[node].stands_for = Some(other);
        }
    }
}
