//! Two plans side by side: which steps changed, why, and which targets go stale.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use mstore_store::TreeHash;
use serde::Serialize;

use super::compare::{Compared, InputPair, Reason, compare};
use super::graph::{Graph, Node, NodeId, NodeMap, PackageNode};
use crate::drv::StepName;
use crate::drv::derivation::{Derivation, DrvHash, InputSource, Output};
use crate::drv::facts::{FactsError, Trees};

/// How many changed paths of an input a difference lists.
const PATHS: usize = 20;

/// What happened to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// Only the new plan has it.
    Added,
    /// Only the old plan has it.
    Removed,
    /// It differs by itself.
    Changed,
    /// It differs only in that something it starts from does. It is built again unless that comes
    /// out as before.
    Downstream,
    /// Only names, time limits or tests of what it starts from differ: it is not built again.
    Unaffected,
}

impl Fate {
    /// The fate of a step that both plans have.
    fn of(reasons: &[Reason]) -> Fate {
        let upstream = |r: &Reason| matches!(r, Reason::Upstream { .. });
        match reasons {
            [] => Fate::Unaffected,
            all if all.iter().all(upstream) => Fate::Downstream,
            _ => Fate::Changed,
        }
    }
}

/// One step that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeDiff {
    /// Its name; in comparisons of two targets, without the subarch.
    pub name: String,
    /// The target it is a step of.
    pub target: String,
    /// What happened to it.
    pub fate: Fate,
    /// The old derivation.
    #[serde(serialize_with = "optional_hash")]
    pub old: Option<DrvHash>,
    /// The new derivation.
    #[serde(serialize_with = "optional_hash")]
    pub new: Option<DrvHash>,
    /// Why.
    pub reasons: Vec<Reason>,
    /// What it is of the packages of its target: people are told of these in another way.
    #[serde(skip)]
    pub package: Option<PackageNode>,
}

impl NodeDiff {
    /// Its reasons but for changes upstream, which the step that changed tells of.
    pub fn own_reasons(&self) -> impl Iterator<Item = &Reason> {
        let own = |r: &&Reason| !matches!(r, Reason::Upstream { .. });
        self.reasons.iter().filter(own)
    }
}

fn optional_hash<S: serde::Serializer>(
    hash: &Option<DrvHash>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match hash {
        Some(hash) => serializer.collect_str(hash),
        None => serializer.serialize_none(),
    }
}

/// Everything that differs between two plans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PlanDiff {
    /// Steps that differ, in the order of the new plan, removed ones last.
    pub nodes: Vec<NodeDiff>,
    /// Targets of the new plan with a step that differs or is new, in order.
    pub stale: Vec<String>,
    /// Targets that only the old plan has.
    pub removed: Vec<String>,
    /// How many steps are the same.
    pub unchanged: usize,
}

impl PlanDiff {
    /// Whether the plans are the same.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.stale.is_empty() && self.removed.is_empty()
    }

    /// How many steps differ in nothing that has them built again.
    pub fn unaffected(&self) -> usize {
        let all = self.nodes.iter();
        all.filter(|n| n.fate == Fate::Unaffected).count()
    }

    /// The steps that differ, those together that differ in the same way; where that leaves many groups of which the
    /// same can be said, these together too. Steps that are not built again are left out, and so are those of packages.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut alike: Vec<Group<'_>> = Vec::new();
        let mut at: HashMap<(Fate, Vec<String>), usize> = HashMap::new();
        let told = |n: &&NodeDiff| n.fate != Fate::Unaffected && n.package.is_none();
        for node in self.nodes.iter().filter(told) {
            let reasons = node.own_reasons().map(ToString::to_string).collect();
            let number = *at.entry((node.fate, reasons)).or_insert(alike.len());
            match alike.get_mut(number) {
                Some(group) => group.nodes.push(node),
                None => alike.push(Group {
                    nodes: vec![node],
                    ways: 1,
                }),
            }
        }
        let mut ways: HashMap<_, usize> = HashMap::new();
        for group in &alike {
            *ways.entry(group.headlines()).or_default() += 1;
        }
        let mut groups: Vec<Group<'_>> = Vec::new();
        let mut at = HashMap::new();
        for group in alike {
            let said = group.headlines();
            if ways.get(&said).is_none_or(|ways| *ways <= WAYS) {
                groups.push(group);
                continue;
            }
            let number = *at.entry(said).or_insert(groups.len());
            match groups.get_mut(number) {
                Some(first) => {
                    first.nodes.extend(group.nodes);
                    first.ways += 1;
                }
                None => groups.push(group),
            }
        }
        groups
    }
}

/// Groups of which the same can be said, that differ in detail and are told of one by one.
const WAYS: usize = 3;

/// Steps that differ in the same way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group<'a> {
    /// The steps, one at least.
    pub nodes: Vec<&'a NodeDiff>,
    /// In how many ways they differ: with more than one, all reasons have the same headlines, and the details are
    /// those of the first step.
    pub ways: usize,
}

impl Group<'_> {
    /// What happened to them.
    pub fn fate(&self) -> Fate {
        self.nodes[0].fate
    }

    fn headlines(&self) -> (Fate, Vec<String>) {
        let reasons = self.nodes[0].own_reasons();
        (self.fate(), reasons.map(Reason::headline).collect())
    }
}

/// How the steps of two plans are paired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// By full name: two states of one specification.
    ByName,
    /// By target class and step: two targets that are made alike.
    ByClass,
}

/// One step by itself: as it is specified now, or as it was built.
#[derive(Debug, Clone)]
pub struct OneStep {
    /// `BUILD/ARCH/SUBARCH/TARGET:STEP`.
    pub name: StepName,
    /// The step.
    pub derivation: Derivation,
    /// The trees of its inputs, as far as they are known.
    pub trees: Vec<Option<TreeHash>>,
}

/// Compares two steps. Inputs are compared by their trees where both are known.
pub fn diff_steps(old: &OneStep, new: &OneStep, trees: &dyn Trees) -> Result<PlanDiff, FactsError> {
    let (a, b) = (&old.derivation, &new.derivation);
    let compared = compare(a, b, |pair, reasons| {
        let known = |step: &OneStep, at: usize| step.trees.get(at).copied().flatten();
        match (known(old, pair.was), known(new, pair.at)) {
            (Some(x), Some(y)) => reasons.extend(other_tree(&pair, x, y, trees)?),
            _ if pair.old.source != pair.new.source => reasons.push(Reason::Field {
                field: "input",
                old: source_text(&pair.old.source),
                new: source_text(&pair.new.source),
            }),
            _ => {}
        }
        Ok(())
    })?;
    let reasons = compared.into_reasons();
    let (was, is) = (a.hash(), b.hash());
    if reasons.is_empty() && was == is {
        return Ok(PlanDiff {
            unchanged: 1,
            ..PlanDiff::default()
        });
    }
    let node = NodeDiff {
        name: match old.name == new.name {
            true => new.name.to_string(),
            false => format!("{} -> {}", old.name, new.name),
        },
        target: new.name.target().to_owned(),
        fate: Fate::of(&reasons),
        old: Some(was),
        new: Some(is),
        reasons,
        package: None,
    };
    Ok(PlanDiff {
        nodes: vec![node],
        ..PlanDiff::default()
    })
}

/// The reason of an input that is another tree.
fn other_tree(
    pair: &InputPair<'_>,
    old: TreeHash,
    new: TreeHash,
    trees: &dyn Trees,
) -> Result<Option<Reason>, FactsError> {
    if old == new {
        return Ok(None);
    }
    Ok(Some(Reason::Tree {
        role: pair.new.role,
        owner: pair.new.owner.clone(),
        old,
        new,
        changes: trees.changes(old, new, PATHS)?,
    }))
}

fn source_text(source: &InputSource) -> String {
    match source {
        InputSource::Tree(tree) => format!("tree {tree}"),
        InputSource::Unpinned(name) => name.clone(),
        InputSource::Derivation { hash, path } if path == "/" => format!("derivation {hash}"),
        InputSource::Derivation { hash, path } => format!("derivation {hash}, {path} of it"),
    }
}

/// Compares two plans. `trees` names the paths that differ in seeds and snapshots.
pub fn diff(
    old: &Graph,
    new: &Graph,
    pairing: Pairing,
    trees: &dyn Trees,
) -> Result<PlanDiff, FactsError> {
    let mut comparison = Comparison {
        old: Side::new(old, pairing),
        new: Side::new(new, pairing),
        pairing,
        trees,
        touched: BTreeSet::new(),
        carried: BTreeSet::new(),
        result: PlanDiff::default(),
    };
    for (id, node) in new.nodes().iter() {
        comparison.node(id, node)?;
    }
    comparison.removed_nodes();
    if pairing == Pairing::ByName {
        comparison.targets();
    }
    Ok(comparison.result)
}

/// What the steps of both plans are paired by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct PairKey {
    /// The target, or the class of it.
    target: String,
    step: String,
    /// Several targets of one plan may be of the same class: these are numbered from 1.
    number: usize,
}

impl fmt::Display for PairKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.target, self.step)?;
        match self.number {
            1 => Ok(()),
            n => write!(f, " ({n})"),
        }
    }
}

/// One of two plans.
struct Side<'a> {
    graph: &'a Graph,
    pairing: Pairing,
    keys: NodeMap<PairKey>,
    by_key: BTreeMap<PairKey, NodeId>,
}

impl<'a> Side<'a> {
    fn new(graph: &'a Graph, pairing: Pairing) -> Self {
        let mut side = Side {
            graph,
            pairing,
            keys: NodeMap::new(),
            by_key: BTreeMap::new(),
        };
        for (id, node) in graph.nodes().iter() {
            let mut key = PairKey {
                target: match pairing {
                    Pairing::ByName => node.full_name.target().to_owned(),
                    Pairing::ByClass => node.target.target.clone(),
                },
                step: node.full_name.step().to_owned(),
                number: 1,
            };
            while side.by_key.contains_key(&key) {
                key.number += 1;
            }
            side.by_key.insert(key.clone(), id);
            side.keys.push(key);
        }
        side
    }

    fn find(&self, key: &PairKey) -> Option<&'a Node> {
        self.by_key.get(key).map(|id| &self.graph.nodes()[*id])
    }

    /// What a step is called in the answer.
    fn shown(&self, id: NodeId) -> String {
        match self.pairing {
            Pairing::ByName => self.graph.nodes()[id].name.to_string(),
            Pairing::ByClass => self.keys[id].to_string(),
        }
    }

    /// What is told of the step `id`.
    fn tell(&self, id: NodeId, fate: Fate) -> NodeDiff {
        let node = &self.graph.nodes()[id];
        let target = self.graph.target(&node.target);
        NodeDiff {
            name: self.shown(id),
            target: target.map_or_else(|| node.target.to_string(), |t| t.name.clone()),
            fate,
            old: None,
            new: None,
            reasons: Vec::new(),
            package: node.package.clone(),
        }
    }

    fn source(&self, source: &InputSource) -> String {
        match source {
            InputSource::Tree(tree) => format!("the tree {tree:.12}"),
            InputSource::Unpinned(name) => format!("`{name}`, which is not pinned"),
            InputSource::Derivation { hash, .. } => {
                let mut nodes = self.graph.nodes().values();
                nodes
                    .find(|n| n.hash == *hash)
                    .map_or_else(|| hash.to_string(), |n| n.name.to_string())
            }
        }
    }
}

/// Two plans and what was found out about them so far.
struct Comparison<'a> {
    old: Side<'a>,
    new: Side<'a>,
    pairing: Pairing,
    trees: &'a dyn Trees,
    /// Nodes of the new plan that are not what they were.
    touched: BTreeSet<NodeId>,
    /// Those of them whose output may differ: a test hands on what it got.
    carried: BTreeSet<NodeId>,
    result: PlanDiff,
}

impl Comparison<'_> {
    /// Compares one step of the new plan. Those that it starts from were compared before.
    fn node(&mut self, id: NodeId, node: &Node) -> Result<(), FactsError> {
        let Some(was) = self.old.find(&self.new.keys[id]) else {
            self.touched.insert(id);
            self.carried.insert(id);
            self.result.nodes.push(NodeDiff {
                new: Some(node.hash),
                ..self.new.tell(id, Fate::Added)
            });
            return Ok(());
        };
        if was.hash == node.hash {
            self.result.unchanged += 1;
            return Ok(());
        }
        let Compared { own, inputs } =
            compare(&was.derivation, &node.derivation, |pair, reasons| {
                self.input(&pair, (was, node), reasons)
            })?;
        let other_inputs = !inputs.is_empty();
        let mut reasons = own;
        reasons.extend(inputs);
        let fate = Fate::of(&reasons);
        if fate != Fate::Unaffected {
            self.touched.insert(id);
            if node.derivation.output == Output::Captured || other_inputs {
                self.carried.insert(id);
            }
        } else if self.pairing == Pairing::ByClass {
            self.result.unchanged += 1;
            return Ok(());
        }
        self.result.nodes.push(NodeDiff {
            old: Some(was.hash),
            new: Some(node.hash),
            reasons,
            ..self.new.tell(id, fate)
        });
        Ok(())
    }

    /// Compares one input.
    fn input(
        &self,
        pair: &InputPair<'_>,
        (was, node): (&Node, &Node),
        reasons: &mut Vec<Reason>,
    ) -> Result<(), FactsError> {
        match (&pair.old.source, &pair.new.source) {
            (InputSource::Tree(x), InputSource::Tree(y)) => {
                reasons.extend(other_tree(pair, *x, *y, self.trees)?);
            }
            (InputSource::Derivation { path: x, .. }, InputSource::Derivation { path: y, .. }) => {
                if x != y {
                    reasons.push(Reason::Field {
                        field: "portage/ROOT of what it starts from",
                        old: x.clone(),
                        new: y.clone(),
                    });
                }
                let producer = |node: &Node, at: usize| node.producers.get(at).copied().flatten();
                let (before, from) = (producer(was, pair.was), producer(node, pair.at));
                let other =
                    before.map(|id| &self.old.keys[id]) != from.map(|id| &self.new.keys[id]);
                if let Some(from) = from.filter(|id| other || self.carried.contains(id)) {
                    reasons.push(Reason::Upstream {
                        role: pair.new.role,
                        from: self.new.shown(from),
                    });
                }
            }
            (x, y) if x != y => reasons.push(Reason::Field {
                field: "input",
                old: self.old.source(x),
                new: self.new.source(y),
            }),
            _ => {}
        }
        Ok(())
    }

    /// Tells of the steps that only the old plan has.
    fn removed_nodes(&mut self) {
        for (id, node) in self.old.graph.nodes().iter() {
            if self.new.find(&self.old.keys[id]).is_none() {
                self.result.nodes.push(NodeDiff {
                    old: Some(node.hash),
                    ..self.old.tell(id, Fate::Removed)
                });
            }
        }
    }

    /// Tells of the targets one of whose steps was touched, or which lost one or are cut out elsewhere.
    fn targets(&mut self) {
        let (old, new) = (self.old.graph, self.new.graph);
        for target in new.targets() {
            let other_end = old.target(&target.id).is_some_and(|was| {
                was.root != target.root
                    || old.nodes()[was.last].full_name != new.nodes()[target.last].full_name
            });
            if other_end || target.nodes.iter().any(|n| self.touched.contains(n)) {
                self.result.stale.push(target.name.clone());
            }
        }
        for target in old.targets() {
            if new.target(&target.id).is_none() {
                self.result.removed.push(target.name.clone());
            }
        }
    }
}
