//! Two plans side by side: which steps changed, why, and which targets go stale.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use mstore_store::TreeHash;
use serde::Serialize;

use super::compare::{Reason, compare};
use super::graph::{Graph, Node, NodeId, NodeMap};
use crate::drv::StepName;
use crate::drv::derivation::{Derivation, DrvHash, Output, Source};
use crate::drv::facts::{FactsError, Trees};

/// How many changed paths of an input a difference lists.
const PATHS: usize = 20;

/// What happened to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    let mut reasons = compare(a, b);
    for (at, (x, y)) in a.inputs.iter().zip(&b.inputs).enumerate() {
        if x.role != y.role || x.at != y.at {
            continue;
        }
        let known = |step: &OneStep| step.trees.get(at).copied().flatten();
        match (known(old), known(new)) {
            (Some(x), Some(z)) if x != z => reasons.push(Reason::Tree {
                role: y.role,
                old: x,
                new: z,
                changes: trees.changes(x, z, PATHS)?,
            }),
            (Some(_), Some(_)) => {}
            _ if x.source != y.source => reasons.push(Reason::Field {
                field: "input",
                old: source_text(&x.source),
                new: source_text(&y.source),
            }),
            _ => {}
        }
    }
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
        fate: match reasons.is_empty() {
            true => Fate::Unaffected,
            false => Fate::Changed,
        },
        old: Some(was),
        new: Some(is),
        reasons,
    };
    Ok(PlanDiff {
        nodes: vec![node],
        ..PlanDiff::default()
    })
}

fn source_text(source: &Source) -> String {
    match source {
        Source::Tree(tree) => format!("tree {tree}"),
        Source::Unpinned(name) => name.clone(),
        Source::Derivation { hash, path } if path == "/" => format!("derivation {hash}"),
        Source::Derivation { hash, path } => format!("derivation {hash}, {path} of it"),
    }
}

/// Compares two plans. `trees` names the paths that differ in seeds and snapshots.
pub fn diff(
    old: &Graph,
    new: &Graph,
    pairing: Pairing,
    trees: &dyn Trees,
) -> Result<PlanDiff, FactsError> {
    let (before, after) = (pair(old, pairing), pair(new, pairing));
    let mut result = PlanDiff::default();
    // Indices of the new plan's nodes that are not what they were.
    let mut touched: BTreeSet<NodeId> = BTreeSet::new();
    // Those of them whose output may differ: a test hands on what it got.
    let mut carried: BTreeSet<NodeId> = BTreeSet::new();
    for (at, node) in new.nodes().iter() {
        let key = &after.keys[at];
        let name = shown(node, key, pairing);
        let target = target_name(new, node);
        let Some(was) = before.by_key.get(key).map(|i| &old.nodes()[*i]) else {
            touched.insert(at);
            carried.insert(at);
            result.nodes.push(NodeDiff {
                name,
                target,
                fate: Fate::Added,
                old: None,
                new: Some(node.hash),
                reasons: Vec::new(),
            });
            continue;
        };
        if was.hash == node.hash {
            result.unchanged += 1;
            continue;
        }
        let mut reasons = compare(&was.derivation, &node.derivation);
        let own = reasons.len();
        let mut fate = match reasons.is_empty() {
            true => Fate::Unaffected,
            false => Fate::Changed,
        };
        let pairs = was.derivation.inputs.iter().zip(&node.derivation.inputs);
        for (i, (a, b)) in pairs.enumerate() {
            if a.role != b.role || a.at != b.at {
                continue;
            }
            let producer = node.producers.get(i).copied().flatten();
            match (&a.source, &b.source) {
                (Source::Tree(x), Source::Tree(y)) if x != y => {
                    fate = Fate::Changed;
                    reasons.push(Reason::Tree {
                        role: b.role,
                        old: *x,
                        new: *y,
                        changes: trees.changes(*x, *y, PATHS)?,
                    });
                }
                (Source::Derivation { path: x, .. }, Source::Derivation { path: y, .. }) => {
                    if x != y {
                        fate = Fate::Changed;
                        reasons.push(Reason::Field {
                            field: "portage/ROOT of what it starts from",
                            old: x.clone(),
                            new: y.clone(),
                        });
                    }
                    let (was_from, is_from) = (
                        was.producers.get(i).copied().flatten(),
                        producer.map(|p| &after.keys[p]),
                    );
                    let other = was_from.map(|p| &before.keys[p]) != is_from;
                    let changed = producer.is_some_and(|p| carried.contains(&p));
                    if other || changed {
                        if fate == Fate::Unaffected {
                            fate = Fate::Downstream;
                        }
                        if let Some(p) = producer {
                            let from = &new.nodes()[p];
                            reasons.push(Reason::Upstream {
                                role: b.role,
                                from: shown(from, &after.keys[p], pairing),
                            });
                        }
                    }
                }
                (x, y) if x != y => {
                    fate = Fate::Changed;
                    reasons.push(Reason::Field {
                        field: "input",
                        old: source_name(x, old),
                        new: source_name(y, new),
                    });
                }
                _ => {}
            }
        }
        if fate == Fate::Unaffected {
            if pairing == Pairing::ByClass {
                result.unchanged += 1;
                continue;
            }
        } else {
            touched.insert(at);
            if node.derivation.output == Output::Captured || reasons.len() > own {
                carried.insert(at);
            }
        }
        result.nodes.push(NodeDiff {
            name,
            target,
            fate,
            old: Some(was.hash),
            new: Some(node.hash),
            reasons,
        });
    }
    for (at, node) in old.nodes().iter() {
        let key = &before.keys[at];
        if !after.by_key.contains_key(key) {
            result.nodes.push(NodeDiff {
                name: shown(node, key, pairing),
                target: target_name(old, node),
                fate: Fate::Removed,
                old: Some(node.hash),
                new: None,
                reasons: Vec::new(),
            });
        }
    }
    if pairing == Pairing::ByName {
        stale_targets(old, new, &touched, &mut result);
    }
    Ok(result)
}

/// Targets one of whose steps was touched, or which lost one or are cut out elsewhere.
fn stale_targets(old: &Graph, new: &Graph, touched: &BTreeSet<NodeId>, result: &mut PlanDiff) {
    for target in new.targets() {
        let was = old.target(&target.id);
        let other_end = was.is_some_and(|was| {
            was.root != target.root
                || old.nodes()[was.last].full_name != new.nodes()[target.last].full_name
        });
        if other_end || target.nodes.iter().any(|n| touched.contains(n)) {
            result.stale.push(target.name.clone());
        }
    }
    for target in old.targets() {
        if new.target(&target.id).is_none() {
            result.removed.push(target.name.clone());
        }
    }
}

struct Paired {
    keys: NodeMap<String>,
    by_key: BTreeMap<String, NodeId>,
}

fn pair(graph: &Graph, pairing: Pairing) -> Paired {
    let mut by_key = BTreeMap::new();
    let mut keys = NodeMap::new();
    for (at, node) in graph.nodes().iter() {
        let base = match pairing {
            Pairing::ByName => node.full_name.to_string(),
            Pairing::ByClass => format!("{}:{}", node.target.target, node.name.step()),
        };
        let mut key = base.clone();
        let mut again = 1;
        while by_key.contains_key(&key) {
            again += 1;
            key = format!("{base} ({again})");
        }
        by_key.insert(key.clone(), at);
        keys.push(key);
    }
    Paired { keys, by_key }
}

fn shown(node: &Node, key: &str, pairing: Pairing) -> String {
    match pairing {
        Pairing::ByName => node.name.to_string(),
        Pairing::ByClass => key.to_owned(),
    }
}

fn target_name(graph: &Graph, node: &Node) -> String {
    graph
        .target(&node.target)
        .map_or_else(|| node.target.to_string(), |t| t.name.clone())
}

fn source_name(source: &Source, graph: &Graph) -> String {
    match source {
        Source::Tree(tree) => format!("the tree {tree:.12}"),
        Source::Unpinned(name) => format!("`{name}`, which is not pinned"),
        Source::Derivation { hash, .. } => graph
            .nodes()
            .values()
            .find(|n| n.hash == *hash)
            .map_or_else(|| hash.to_string(), |n| n.name.to_string()),
    }
}

impl PlanDiff {
    /// Whether the plans are the same.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.stale.is_empty() && self.removed.is_empty()
    }

    /// Groups of steps that differ in the same way, each with the text that says how: a mark, a
    /// word, and indented reasons.
    fn groups(&self) -> Vec<(String, Vec<&NodeDiff>)> {
        let mut groups: Vec<(String, Vec<&NodeDiff>)> = Vec::new();
        for node in self.nodes.iter().filter(|n| n.fate != Fate::Unaffected) {
            let mut body = String::new();
            let head = match node.fate {
                Fate::Added => "+ new",
                Fate::Removed => "- gone",
                Fate::Changed => "~ changed",
                Fate::Downstream => "> downstream",
                Fate::Unaffected => "= unaffected",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(body, "{head}");
            // What comes from above is said once, by the step that changed.
            let own = node
                .reasons
                .iter()
                .filter(|r| !matches!(r, Reason::Upstream { .. }));
            for reason in own {
                for line in reason.to_string().lines() {
                    let _ = writeln!(body, "    {line}");
                }
            }
            match groups.iter_mut().find(|(b, _)| *b == body) {
                Some((_, nodes)) => nodes.push(node),
                None => groups.push((body, vec![node])),
            }
        }
        groups
    }

    fn unaffected(&self) -> usize {
        let all = self.nodes.iter();
        all.filter(|n| n.fate == Fate::Unaffected).count()
    }

    /// The text for people. Steps that differ in the same way are told of together.
    pub fn text(&self) -> String {
        if self.is_empty() {
            return "no difference\n".to_owned();
        }
        let groups = self.groups();
        let mut text = String::new();
        for (body, nodes) in groups {
            let (mark, rest) = body.split_at(1);
            let names: Vec<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
            let _ = write!(text, "{mark} {}:{rest}", names.join(" "));
        }
        if self.unaffected() > 0 {
            let _ = writeln!(
                text,
                "= {} more: not built again, only names, time limits or earlier tests differ",
                self.unaffected()
            );
        }
        if !self.stale.is_empty() {
            let _ = writeln!(text, "stale: {}", self.stale.join(" "));
        }
        if !self.removed.is_empty() {
            let _ = writeln!(text, "no longer there: {}", self.removed.join(" "));
        }
        text
    }

    /// The text for a review comment, in Markdown.
    pub fn markdown(&self) -> String {
        if self.is_empty() {
            return "No derivation differs.\n".to_owned();
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        if !self.stale.is_empty() {
            let _ = writeln!(
                text,
                "**{} stale:** {}\n",
                count(self.stale.len(), "target"),
                listed(self.stale.iter().map(String::as_str))
            );
        }
        if !self.removed.is_empty() {
            let names = listed(self.removed.iter().map(String::as_str));
            let _ = writeln!(text, "**No longer there:** {names}\n");
        }
        for (body, nodes) in self.groups() {
            let mut lines = body.lines();
            let word = lines.next().and_then(|l| l.get(2..)).unwrap_or_default();
            let names = listed(nodes.iter().map(|n| n.name.as_str()));
            let steps = count(nodes.len(), "step");
            let rest: Vec<&str> = lines.map(|l| l.get(4..).unwrap_or_default()).collect();
            if rest.is_empty() {
                let _ = writeln!(text, "- {steps} {word}: {names}");
                continue;
            }
            // A fence longer than any run of backquotes within cannot be closed by the content.
            let longest = rest
                .iter()
                .flat_map(|l| l.split(|c| c != '`'))
                .map(str::len)
                .max()
                .unwrap_or(0);
            let fence = "`".repeat(longest.max(2) + 1);
            let _ = writeln!(text, "- {steps} {word}: {names}\n\n  {fence}diff");
            for line in rest {
                // A `diff` block is coloured by what stands first in a line.
                let line = line.strip_prefix("  ").unwrap_or(line);
                let _ = writeln!(text, "  {line}");
            }
            let _ = writeln!(text, "  {fence}\n");
        }
        if self.unaffected() > 0 {
            let _ = writeln!(
                text,
                "- {} not built again: only names, time limits or earlier tests differ",
                count(self.unaffected(), "step")
            );
        }
        text
    }
}

fn count(n: usize, word: &str) -> String {
    match n {
        1 => format!("1 {word}"),
        _ => format!("{n} {word}s"),
    }
}

/// Names in backquotes; of many only the first.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    const MOST: usize = 12;
    let all: Vec<String> = names.map(|n| format!("`{n}`")).collect();
    match all.len() {
        n if n > MOST => format!("{} and {} more", all[..MOST].join(" "), n - MOST),
        _ => all.join(" "),
    }
}
