//! Staleness: what has to be built, found by one walk over the graph from what it starts from to what was
//! asked for.
//!
//! The nodes of the graph may also be listed one by one, in any order and between builds: a node is
//! decided as soon as all its inputs are known.
//!
//! A node's life in a walk:
//!
//! ```text
//! Unknown --inputs' trees known, key looked up--> Known (the store has a result)
//!    |                                       '--> Stale (it has none) --built--> Known
//!    '-- stays while an input is Unknown or Stale
//! ```
//!
//! The walk takes a [`Visitor`]. Whoever wants reasons passes an [`Explainer`](super::explain::Explainer)
//! to the very same walk.

use std::collections::BTreeSet;

use mstore_store::TreeHash;

use super::graph::{Graph, NodeId, NodeMap, Target};
use crate::drv::derivation::InputSource;
use crate::drv::facts::{Facts, FactsError, TreePart};
use crate::drv::{Key, Resolved};

/// Where a node stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeState {
    /// Its key is not known: an input has to be built first, or is not pinned.
    Unknown,
    /// Its key is known and nothing was built for it.
    Stale {
        /// The key.
        key: Key,
        /// The trees of its inputs.
        trees: Vec<TreeHash>,
    },
    /// Something was built for its key.
    Known {
        /// The key.
        key: Key,
        /// The trees of its inputs.
        trees: Vec<TreeHash>,
        /// The result.
        tree: TreeHash,
        /// Whether the content of the result is here.
        present: bool,
    },
}

impl NodeState {
    /// The key, once it is known.
    pub fn key(&self) -> Option<Key> {
        match self {
            NodeState::Unknown => None,
            NodeState::Stale { key, .. } | NodeState::Known { key, .. } => Some(*key),
        }
    }

    /// The trees of the inputs, once they are known.
    pub fn trees(&self) -> Option<&[TreeHash]> {
        match self {
            NodeState::Unknown => None,
            NodeState::Stale { trees, .. } | NodeState::Known { trees, .. } => Some(trees),
        }
    }

    /// The result, if there is one.
    pub fn tree(&self) -> Option<TreeHash> {
        match self {
            NodeState::Known { tree, .. } => Some(*tree),
            _ => None,
        }
    }
}

/// Is told of every node as the walk decides it, each after those it depends on.
pub trait Visitor {
    /// Takes one node.
    fn node(
        &mut self,
        graph: &Graph,
        node: NodeId,
        state: &NodeState,
        facts: &dyn Facts,
    ) -> Result<(), FactsError>;
}

/// A visitor that looks away.
impl Visitor for () {
    fn node(
        &mut self,
        _: &Graph,
        _: NodeId,
        _: &NodeState,
        _: &dyn Facts,
    ) -> Result<(), FactsError> {
        Ok(())
    }
}

/// Why a walk could not go on.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The store did not answer.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// A target captures a directory that its steps did not make.
    #[error(
        "`{node}` left no directory {path} in its tree; portage/ROOT of {target} names it, so one of \
         its steps must make it"
    )]
    NoRoot {
        /// The last step of the target.
        node: String,
        /// The target.
        target: String,
        /// The directory.
        path: String,
    },
}

/// What there is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Todo {
    /// Nodes that must be built, in an order that respects dependencies.
    pub build: Vec<NodeId>,
    /// Nodes that may have to be built, depending on what others turn out to be.
    pub maybe: Vec<NodeId>,
    /// Nodes whose results serve as they are.
    pub reuse: Vec<NodeId>,
    /// Trees that are known and not here, and that can be fetched in place of being built.
    pub fetch: BTreeSet<TreeHash>,
}

impl Todo {
    /// Whether everything asked for is there.
    pub fn is_empty(&self) -> bool {
        self.build.is_empty() && self.maybe.is_empty() && self.fetch.is_empty()
    }
}

impl Todo {
    /// Takes out what cannot be built before packages are known that it stands for or depends on. Gives how many nodes
    /// that are.
    pub fn leave_open(&mut self, graph: &Graph) -> usize {
        let nodes = graph.nodes();
        let mut waits = NodeMap::like(nodes, false);
        let all: BTreeSet<NodeId> = self.build.iter().chain(&self.maybe).copied().collect();
        for at in all {
            let node = &nodes[at];
            let after = node.run_after();
            waits[at] = node.is_open() || after.iter().any(|before| waits[*before]);
        }
        let before = self.build.len() + self.maybe.len();
        self.build.retain(|at| !waits[*at]);
        self.maybe.retain(|at| !waits[*at]);
        before - self.build.len() - self.maybe.len()
    }
}

/// The states of all nodes of a graph.
#[derive(Debug, Clone)]
pub struct Staleness<'g> {
    graph: &'g Graph,
    states: NodeMap<NodeState>,
    listed: NodeMap<bool>,
    /// Nodes that are stale until they are built, whatever is known of them.
    anew: NodeMap<bool>,
    /// Of each node those that are listed and should run after it.
    dependents: NodeMap<Vec<NodeId>>,
}

/// The trees of a node's inputs, as far as they can be known.
enum Inputs {
    Known(Vec<TreeHash>),
    Unknown,
}

impl<'g> Staleness<'g> {
    /// Walks the whole graph.
    pub fn walk(
        graph: &'g Graph,
        facts: &dyn Facts,
        visitor: &mut dyn Visitor,
    ) -> Result<Self, WalkError> {
        Self::walk_on(Staleness::new(graph), facts, visitor)
    }

    /// Walks the whole graph as if nothing were known of those nodes that `anew` tells.
    pub fn walk_anew(
        graph: &'g Graph,
        facts: &dyn Facts,
        visitor: &mut dyn Visitor,
        anew: impl Fn(NodeId) -> bool,
    ) -> Result<Self, WalkError> {
        let mut this = Staleness::new(graph);
        for node in graph.nodes().ids().filter(|node| anew(*node)) {
            this.set_anew(node);
        }
        Self::walk_on(this, facts, visitor)
    }

    /// What is the same step is built once.
    fn set_anew(&mut self, node: NodeId) {
        let first = self.graph.nodes()[node].same_as;
        self.anew[node] = !first.is_some_and(|first| self.anew[first]);
    }

    /// The states of a larger graph: those nodes that `was` knows in `old` stand where they stood, and of the others
    /// nothing is known of those that `anew` tells.
    pub fn onto(
        graph: &'g Graph,
        old: &Staleness<'_>,
        was: impl Fn(NodeId) -> Option<NodeId>,
        anew: impl Fn(NodeId) -> bool,
        facts: &dyn Facts,
    ) -> Result<Self, WalkError> {
        let mut this = Staleness::new(graph);
        for node in graph.nodes().ids() {
            for from in graph.nodes()[node].run_after() {
                this.dependents[from].push(node);
            }
            this.listed[node] = true;
            match was(node) {
                Some(was) => {
                    this.anew[node] = old.anew[was];
                    this.states[node] = old.states[was].clone();
                }
                None if anew(node) => this.set_anew(node),
                None => {}
            }
            // What was decided stays so, unless it stands for what was not known.
            let is_open = graph.nodes()[node].stands_for.is_some();
            if is_open || this.states[node] == NodeState::Unknown {
                this.decide(node, facts)?;
            }
        }
        Ok(this)
    }

    fn walk_on(
        mut this: Self,
        facts: &dyn Facts,
        visitor: &mut dyn Visitor,
    ) -> Result<Self, WalkError> {
        for node in this.graph.nodes().ids() {
            this.list(node, facts, visitor)?;
        }
        Ok(this)
    }

    /// The states before any node is listed.
    pub fn new(graph: &'g Graph) -> Self {
        Staleness {
            graph,
            states: NodeMap::like(graph.nodes(), NodeState::Unknown),
            listed: NodeMap::like(graph.nodes(), false),
            anew: NodeMap::like(graph.nodes(), false),
            dependents: NodeMap::like(graph.nodes(), Vec::new()),
        }
    }

    /// Takes in a node, listed before or after those it depends on. Nodes that it kept waiting are
    /// decided now; returns them and the node itself, each after those it depends on. A second time
    /// nothing happens.
    ///
    /// The visitor is told of a node when it is listed, and again when what is listed later decides it.
    pub fn list(
        &mut self,
        node: NodeId,
        facts: &dyn Facts,
        visitor: &mut dyn Visitor,
    ) -> Result<Vec<NodeId>, WalkError> {
        if std::mem::replace(&mut self.listed[node], true) {
            return Ok(Vec::new());
        }
        for from in self.graph.nodes()[node].run_after() {
            self.dependents[from].push(node);
        }
        self.decide(node, facts)?;
        visitor.node(self.graph, node, &self.states[node], facts)?;
        let mut decided = vec![node];
        if self.states[node].tree().is_some() {
            decided.extend(self.decide_dependents(node, facts, visitor)?);
        }
        Ok(decided)
    }

    /// The graph it is about.
    pub fn graph(&self) -> &'g Graph {
        self.graph
    }

    /// The state of a node.
    pub fn state(&self, node: NodeId) -> &NodeState {
        &self.states[node]
    }

    /// What a builder needs to build a node, once the trees of its inputs are known.
    pub fn resolved(&self, node: NodeId) -> Option<Resolved> {
        let trees = self.states[node].trees()?.to_vec();
        // The walk made the list from the inputs themselves, one tree each.
        self.graph.nodes()[node].derivation.resolve(trees).ok()
    }

    /// Takes in that a node was built and produced `tree`. Nodes that it kept waiting are decided
    /// now; returns them, each after those it depends on.
    pub fn built(
        &mut self,
        node: NodeId,
        tree: TreeHash,
        facts: &dyn Facts,
        visitor: &mut dyn Visitor,
    ) -> Result<Vec<NodeId>, WalkError> {
        if let NodeState::Stale { key, trees } | NodeState::Known { key, trees, .. } =
            &self.states[node]
        {
            self.states[node] = NodeState::Known {
                key: *key,
                trees: trees.clone(),
                tree,
                present: true,
            };
        }
        self.decide_dependents(node, facts, visitor)
    }

    fn decide_dependents(
        &mut self,
        node: NodeId,
        facts: &dyn Facts,
        visitor: &mut dyn Visitor,
    ) -> Result<Vec<NodeId>, WalkError> {
        let mut decided = Vec::new();
        let mut waiting: BTreeSet<NodeId> = self.dependents[node].iter().copied().collect();
        // The graph has a node after all it depends on, so the smallest id can always be decided.
        while let Some(next) = waiting.pop_first() {
            let before = self.states[next].clone();
            self.decide(next, facts)?;
            if self.states[next] == before {
                continue;
            }
            visitor.node(self.graph, next, &self.states[next], facts)?;
            decided.push(next);
            if self.states[next].tree().is_some() {
                waiting.extend(self.dependents[next].iter().copied());
            }
        }
        Ok(decided)
    }

    /// The tree of a target, if it is known and its content is here.
    pub fn target_tree(
        &self,
        target: &Target,
        facts: &dyn Facts,
    ) -> Result<Option<TreeHash>, WalkError> {
        let tree = self.output(target.last, &target.root, facts)?;
        Ok(match tree {
            Some(tree) if self.usable(target.last, &target.root, tree, facts)? => Some(tree),
            _ => None,
        })
    }

    /// What a target has as far as it was asked for, if it is known and its content is here: its tree, or what the step
    /// leaves up to which it was asked for.
    pub fn wanted_tree(
        &self,
        target: &Target,
        facts: &dyn Facts,
    ) -> Result<Option<TreeHash>, WalkError> {
        if target.is_whole() {
            return self.target_tree(target, facts);
        }
        Ok(match self.states[target.until].tree() {
            Some(tree) if self.usable(target.until, "/", tree, facts)? => Some(tree),
            _ => None,
        })
    }

    /// The tree of a target, if it is known, whether its content is here or not.
    pub fn tree_of(
        &self,
        target: &Target,
        facts: &dyn Facts,
    ) -> Result<Option<TreeHash>, WalkError> {
        self.output(target.last, &target.root, facts)
    }

    /// What has to be built so that every target that was asked for is there.
    pub fn todo(&self, facts: &dyn Facts) -> Result<Todo, WalkError> {
        let nodes = self.graph.nodes();
        // Whether the content of a node's result is needed.
        let mut needed = NodeMap::like(nodes, false);
        let (mut todo, mut build) = (Todo::default(), NodeMap::like(nodes, false));
        for target in self.graph.requested() {
            let root = match target.is_whole() {
                true => &target.root,
                false => "/",
            };
            needed[target.until] |= !self.obtainable(target.until, root, facts, &mut todo.fetch)?;
        }
        for at in nodes.ids().rev() {
            let serves = matches!(self.states[at], NodeState::Known { present: true, .. });
            build[at] = needed[at] && !serves;
            if !build[at] {
                continue;
            }
            if let Some(other) = nodes[at].stands_for {
                needed[other] |= !self.obtainable(other, "/", facts, &mut todo.fetch)?;
                continue;
            }
            for (input, producer) in nodes[at].derivation.inputs.iter().zip(&nodes[at].producers) {
                match (producer, &input.source) {
                    (Some(producer), InputSource::Derivation { path, .. }) => {
                        needed[*producer] |=
                            !self.obtainable(*producer, path, facts, &mut todo.fetch)?;
                    }
                    (_, InputSource::Tree(tree))
                        if !facts.present(*tree)? && facts.fetchable(*tree)? =>
                    {
                        todo.fetch.insert(*tree);
                    }
                    _ => {}
                }
            }
        }
        for (at, state) in self.states.iter() {
            match state {
                NodeState::Unknown if build[at] => todo.maybe.push(at),
                _ if build[at] => match nodes[at].same_as.or(nodes[at].stands_for) {
                    Some(first) if build[first] => todo.maybe.push(at),
                    _ => todo.build.push(at),
                },
                NodeState::Known { .. } => todo.reuse.push(at),
                _ => {}
            }
        }
        Ok(todo)
    }

    /// Whether a node's result, or the part of it that is used, is here or can be fetched.
    fn obtainable(
        &self,
        node: NodeId,
        path: &str,
        facts: &dyn Facts,
        fetch: &mut BTreeSet<TreeHash>,
    ) -> Result<bool, WalkError> {
        let Some(tree) = self.output(node, path, facts)? else {
            return Ok(false);
        };
        if self.usable(node, path, tree, facts)? {
            return Ok(true);
        }
        let can = facts.fetchable(tree)?;
        if can {
            fetch.insert(tree);
        }
        Ok(can)
    }

    fn decide(&mut self, node: NodeId, facts: &dyn Facts) -> Result<(), WalkError> {
        let Inputs::Known(trees) = self.inputs(node, facts)? else {
            self.states[node] = NodeState::Unknown;
            return Ok(());
        };
        let same = self.states[node].trees() == Some(trees.as_slice());
        if same && matches!(self.states[node], NodeState::Known { present: true, .. }) {
            return Ok(());
        }
        let Ok(key) = self.graph.nodes()[node].derivation.key(&trees) else {
            // `inputs` gives one tree for each input.
            return Ok(());
        };
        let known = match self.anew[node] {
            true => None,
            false => facts.realised(key)?,
        };
        let stands_for = self.graph.nodes()[node].stands_for;
        let other = stands_for.map(|other| &self.states[other]);
        self.states[node] = match (known, other) {
            (Some(fact), _) if fact.present || stands_for.is_none() => NodeState::Known {
                key,
                trees,
                tree: fact.tree,
                present: fact.present,
            },
            (_, Some(&NodeState::Known { tree, present, .. })) => NodeState::Known {
                key,
                trees,
                tree,
                present,
            },
            (Some(fact), _) => NodeState::Known {
                key,
                trees,
                tree: fact.tree,
                present: fact.present,
            },
            (None, _) => NodeState::Stale { key, trees },
        };
        Ok(())
    }

    fn inputs(&self, node: NodeId, facts: &dyn Facts) -> Result<Inputs, WalkError> {
        let node = &self.graph.nodes()[node];
        let mut trees = Vec::with_capacity(node.derivation.inputs.len());
        for (input, producer) in node.derivation.inputs.iter().zip(&node.producers) {
            let tree = match (&input.source, producer) {
                (InputSource::Tree(tree), _) => Some(*tree),
                (InputSource::Derivation { path, .. }, Some(from)) => {
                    self.output(*from, path, facts)?
                }
                (InputSource::Derivation { .. } | InputSource::Unpinned(_), _) => None,
            };
            match tree {
                Some(tree) => trees.push(tree),
                None => return Ok(Inputs::Unknown),
            }
        }
        Ok(Inputs::Known(trees))
    }

    /// The directory `path` of a node's result, as far as it is known.
    fn output(
        &self,
        node: NodeId,
        path: &str,
        facts: &dyn Facts,
    ) -> Result<Option<TreeHash>, WalkError> {
        let Some(tree) = self.states[node].tree() else {
            return Ok(None);
        };
        if path == "/" {
            return Ok(Some(tree));
        }
        match facts.subtree(tree, path)? {
            TreePart::Tree(part) => Ok(Some(part)),
            TreePart::Absent => Ok(None),
            TreePart::NoSuchPath(_) => Err(WalkError::NoRoot {
                node: self.graph.nodes()[node].name.to_string(),
                target: self.graph.nodes()[node].target.short(),
                path: path.to_owned(),
            }),
        }
    }

    /// Whether the content of a node's result, or of the part of it that is used, is here.
    fn usable(
        &self,
        node: NodeId,
        path: &str,
        tree: TreeHash,
        facts: &dyn Facts,
    ) -> Result<bool, WalkError> {
        if matches!(self.states[node], NodeState::Known { present: true, .. }) {
            return Ok(true);
        }
        Ok(path != "/" && facts.present(tree)?)
    }
}
