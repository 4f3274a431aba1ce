//! Views: derivations and graphs in the form that people and other programs read: hashes as text, nodes by
//! name.

use std::collections::BTreeMap;

use mstore_store::TreeHash;
use serde::Serialize;

use super::graph::{Graph, Node, NodeId, Target};
use super::name::Index;
use super::staleness::{NodeState, Staleness};
use crate::drv::StepName;
use crate::drv::derivation::{Derivation, Impure, InputSource, Network, Output, UseLimits, Width};

/// One derivation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DerivationView {
    /// `TARGET-SUBARCH:STEP`.
    pub name: StepName,
    /// The derivation hash.
    pub drv: String,
    /// The resolved key, if the trees of all inputs are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The tree that was built for the key, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// The target.
    pub target: String,
    /// The class of recipe.
    pub class: String,
    /// The build.
    pub build: String,
    /// The architecture.
    pub arch_desc: String,
    /// The subarch.
    pub subarch: String,
    /// The machine that must run it.
    pub platform: String,
    /// What it starts from.
    pub inputs: Vec<InputView>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
    /// The directory that the target captures.
    pub root: String,
    /// `captured`, or `input` for a test.
    pub output: &'static str,
    /// Folders of the machine that it works with although they are no input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub impure: Vec<Impure>,
    /// Access to a network.
    pub network: &'static str,
    /// What it may use of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<UseLimits>,
    /// Seconds it may take.
    pub timeout: Option<u64>,
    /// How many places of steps it has on a machine: a number, or `host` for all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<Width>,
    /// Of steps with this word one runs at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Seconds it may print nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<u64>,
    /// The isolation it is built under.
    pub sandbox: String,
    /// The scripts.
    pub phases: Vec<PhaseView>,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InputView {
    /// What it is for.
    pub role: String,
    /// Where it appears.
    pub at: String,
    /// The derivation that produces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drv: Option<String>,
    /// The directory of that derivation's output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The name of the step that produces it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The tree, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
    /// The name that the lock file does not pin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unpinned: Option<String>,
    /// What is fetched for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetched: Option<FetchedView>,
}

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FetchedView {
    /// Its name, and what it is known by.
    pub what: String,
    /// Its bytes, if they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Where it is to be had, in the order in which that is tried.
    pub urls: Vec<String>,
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhaseView {
    /// The step.
    pub name: String,
    /// The script, line by line.
    pub script: Vec<String>,
}

/// One target with its steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TargetView {
    /// The short name.
    pub name: String,
    /// `BUILD/ARCH/SUBARCH/TARGET`.
    pub full_name: String,
    /// `target/version`.
    pub version: String,
    /// The derivation of its last step.
    pub drv: String,
    /// The directory of the last step's output that is the target.
    pub root: String,
    /// Its steps, in order.
    pub steps: Vec<DerivationView>,
    /// Its packages, as far as they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<PackageView>,
}

/// A package of a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PackageView {
    /// `CATEGORY/NAME`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its slot.
    pub slot: String,
    /// Whether it is a tool for the root that packages are built in.
    pub tool: bool,
    /// USE flags that are on.
    #[serde(rename = "use")]
    pub use_flags: Vec<String>,
    /// The step that builds it.
    pub step: String,
    /// The derivation hash.
    pub drv: String,
    /// `up-to-date`, `stale` or `unknown`; nothing if no store was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
    /// The tree that was built, if one was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tree: Option<String>,
}

/// A graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphView {
    /// The steps.
    pub nodes: Vec<NodeView>,
    /// Pairs of step names: the second needs the first.
    pub edges: Vec<[String; 2]>,
}

/// A step of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// The target it is a step of.
    pub target: String,
    /// The derivation hash.
    pub drv: String,
    /// The package that it builds, `CATEGORY/NAME-VERSION:SLOT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<String>,
    /// `up-to-date`, `stale` or `unknown`; nothing if no store was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<&'static str>,
}

/// The targets of an index, for `mstore list`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListView {
    /// The build that is meant where none is named.
    pub default_build: String,
    /// All builds.
    pub builds: Vec<String>,
    /// All target classes.
    pub targets: Vec<String>,
    /// Target classes that single builds have besides.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub targets_of: BTreeMap<String, Vec<String>>,
    /// Subarches by architecture.
    pub subarches: BTreeMap<String, Vec<String>>,
}

impl From<&Index> for ListView {
    fn from(index: &Index) -> Self {
        ListView {
            default_build: index.default_build.clone(),
            builds: index.builds.clone(),
            targets: index.targets.clone(),
            targets_of: index.of_build.clone(),
            subarches: index
                .arches
                .iter()
                .map(|a| (a.name.clone(), a.subarches.clone()))
                .collect(),
        }
    }
}

impl DerivationView {
    /// Shows a step of `graph`, with what `state` knows.
    pub fn new(graph: &Graph, node: &Node, state: Option<&NodeState>) -> Self {
        let trees = state.and_then(NodeState::trees);
        let trees: Vec<_> = (0..node.derivation.inputs.len())
            .map(|at| trees.and_then(|t| t.get(at)).copied())
            .collect();
        let mut view = Self::alone(&node.derivation, &trees);
        view.key = state.and_then(NodeState::key).map(|k| k.to_string());
        view.tree = state.and_then(NodeState::tree).map(|t| t.to_string());
        for (input, producer) in view.inputs.iter_mut().zip(&node.producers) {
            input.from = producer.map(|p| graph.nodes()[p].name.to_string());
            let fetched = producer.and_then(|p| graph.nodes()[p].derivation.fetched());
            input.fetched = fetched.map(|(fixed, from)| FetchedView {
                what: fixed.to_string(),
                size: from.size,
                urls: from.urls.clone(),
            });
        }
        view
    }

    /// Shows a derivation by itself, with the trees of its inputs as far as they are known.
    pub fn alone(drv: &Derivation, trees: &[Option<TreeHash>]) -> Self {
        let inputs = drv.inputs.iter().enumerate();
        DerivationView {
            name: drv.name.clone(),
            drv: drv.hash().to_string(),
            key: None,
            tree: None,
            target: drv.target.clone(),
            class: drv.class.clone(),
            build: drv.build.clone(),
            arch_desc: drv.arch_desc.clone(),
            subarch: drv.subarch.clone(),
            platform: drv.platform.clone(),
            inputs: inputs
                .map(|(i, input)| InputView {
                    role: input.role.to_string(),
                    at: input.at.clone(),
                    drv: match &input.source {
                        InputSource::Derivation { hash, .. } => Some(hash.to_string()),
                        _ => None,
                    },
                    path: match &input.source {
                        InputSource::Derivation { path, .. } if path != "/" => Some(path.clone()),
                        _ => None,
                    },
                    from: None,
                    tree: match &input.source {
                        InputSource::Tree(tree) => Some(tree.to_string()),
                        _ => trees.get(i).copied().flatten().map(|t| t.to_string()),
                    },
                    unpinned: match &input.source {
                        InputSource::Unpinned(name) => Some(name.clone()),
                        _ => None,
                    },
                    fetched: None,
                })
                .collect(),
            env: (*drv.env.0).clone(),
            epoch: drv.epoch,
            root: drv.root.clone(),
            output: match drv.output {
                Output::Captured => "captured",
                Output::Input => "input",
                Output::Folder => "folder",
            },
            impure: drv.policy.impure.clone(),
            network: match &drv.policy.network {
                Network::None => "none",
                Network::FixedOutput(_) => "fixed-output",
            },
            limits: drv.policy.limits.as_deref().copied(),
            timeout: drv.policy.timeout,
            width: drv.policy.width,
            tag: drv.policy.tag.clone(),
            silence: drv.policy.silence,
            sandbox: drv.sandbox.clone(),
            phases: drv
                .phases
                .iter()
                .map(|p| PhaseView {
                    name: p.name.clone(),
                    script: p.script.lines().map(str::to_owned).collect(),
                })
                .collect(),
        }
    }
}

impl TargetView {
    /// Shows a target of `graph`, with what `staleness` knows.
    pub fn new(graph: &Graph, target: &Target, staleness: Option<&Staleness<'_>>) -> Self {
        TargetView {
            name: target.name.clone(),
            full_name: target.id.to_string(),
            version: target.version.clone(),
            drv: graph.nodes()[target.last].hash.to_string(),
            root: target.root.clone(),
            steps: graph
                .own_steps(target)
                .map(|n| {
                    let state = staleness.map(|s| s.state(n));
                    DerivationView::new(graph, &graph.nodes()[n], state)
                })
                .collect(),
            packages: graph
                .packages_of(target)
                .map(|(n, package)| {
                    let node = &graph.nodes()[n];
                    let state = staleness.map(|s| s.state(n));
                    PackageView {
                        name: package.name.clone(),
                        version: package.version.clone(),
                        slot: package.slot.clone(),
                        tool: package.is_tool,
                        use_flags: package.use_flags.clone(),
                        step: node.name.to_string(),
                        drv: node.hash.to_string(),
                        state: state.map(word),
                        tree: state.and_then(NodeState::tree).map(|t| t.to_string()),
                    }
                })
                .collect(),
        }
    }
}

/// What a node is called by its state.
fn word(state: &NodeState) -> &'static str {
    match state {
        NodeState::Known { .. } => "up-to-date",
        NodeState::Stale { .. } => "stale",
        NodeState::Unknown => "unknown",
    }
}

impl GraphView {
    /// Shows a graph, with what `staleness` knows.
    pub fn new(graph: &Graph, staleness: Option<&Staleness<'_>>) -> Self {
        let name = |id: NodeId| graph.nodes()[id].name.to_string();
        GraphView {
            nodes: graph
                .nodes()
                .iter()
                .map(|(id, node)| NodeView {
                    name: node.name.to_string(),
                    target: graph
                        .target(&node.target)
                        .map_or_else(|| node.target.to_string(), |t| t.name.clone()),
                    drv: node.hash.to_string(),
                    package: node.package().map(ToString::to_string),
                    state: staleness.map(|s| word(s.state(id))),
                })
                .collect(),
            edges: graph
                .edges()
                .into_iter()
                .map(|(a, b)| [name(a), name(b)])
                .collect(),
        }
    }
}
