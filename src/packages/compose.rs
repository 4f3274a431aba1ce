//! Roots made of packages: the union of a base and of layers, and what has to be run there.
//!
//! Build roots and stages are the same: a union, which is an operation of the store, and a step that makes it ready
//! where a package of it is to be told that it is installed. What layers replace of a base was taken out of it before.

use serde::Serialize;

use super::build::{Folder, RESULT, SETTINGS, constant, python};
use super::graph::{Package, PackageGraph};
use super::snapshot::{CutError, Snapshots};
use super::{frozen, normalise};
use crate::drv::derivation::{
    Derivation, DrvHash, Env, Input, InputSource, Network, Output, Phase, Policy, Role,
    SANDBOX_PROFILE,
};
use crate::drv::step_name::StepName;
use mstore_store::TreeHash;

/// What is run after the normalisers are known.
const READY: &str = include_str!("scripts/ready.py");
/// The class of derivations of roots.
const CLASS: &str = "packages";

/// A package that a root is made of.
#[derive(Debug, Clone, Copy)]
pub struct Layer<'a> {
    /// Its derivation.
    pub derivation: DrvHash,
    /// What the graph says of it.
    pub package: &'a Package,
    /// Whether its hooks are run there, if it has some.
    pub runs_hooks: bool,
}

impl Layer<'_> {
    fn has_hook(&self) -> bool {
        self.runs_hooks && self.package.has_hook()
    }
}

/// What a root is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// To build in: it has short entries in the package database.
    Build,
    /// To be a stage: it has full entries, and this is what was asked for, sorted.
    Stage(&'a [String]),
}

/// A root that is to be made.
#[derive(Debug, Clone)]
pub struct Root<'a> {
    /// The target that the nodes are of: each gets a step of it as its name.
    pub target: &'a str,
    /// What it lies over; nothing, where it is made of packages alone.
    pub base: Option<InputSource>,
    /// The folder that the packages are installed in, such as `/stage`; empty for the root itself. The folder alone is
    /// the result.
    pub prefix: &'a str,
    /// The packages, in canonical order: each after those it needs.
    pub layers: &'a [Layer<'a>],
    /// What it is for.
    pub purpose: Purpose<'a>,
    /// The machine that must run what is run there, as `uname -m` says.
    pub platform: &'a str,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
}

/// What the step sees that makes roots ready: the settings of Portage, and a repository that has nothing but a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadySettings {
    repository: Option<(String, TreeHash)>,
    settings: TreeHash,
}

impl ReadySettings {
    /// Those of a graph.
    pub fn new(snapshots: &Snapshots<'_>, graph: &PackageGraph) -> Result<Self, CutError> {
        let mut drafts = vec![frozen::of_root(graph)?];
        let repository = frozen::repository_of_root(graph)?;
        let at = repository.map(|(at, draft)| {
            drafts.push(draft);
            at
        });
        let trees = snapshots.store().weave(&drafts)?;
        Ok(ReadySettings {
            settings: trees[0],
            repository: at.map(|at| (at, trees[1])),
        })
    }
}

/// The derivations that make a root, each after what it needs; the last one's result is the root. There are none where
/// the base is the root as it is.
pub fn derivations(root: &Root<'_>, ready: &ReadySettings) -> Vec<Derivation> {
    if root.layers.is_empty() && root.purpose == Purpose::Build && root.base.is_some() {
        return Vec::new();
    }
    let hooks = root.layers.iter().any(Layer::has_hook);
    let is_made_ready = hooks || root.purpose != Purpose::Build;
    let union = union(root, is_made_ready);
    if !is_made_ready {
        return vec![union];
    }
    let ready = make_ready(root, &union, ready);
    vec![union, ready]
}

/// The union of the base and the layers, with what is run there aside.
fn union(root: &Root<'_>, is_made_ready: bool) -> Derivation {
    let mut inputs = Vec::new();
    if let Some(base) = &root.base {
        inputs.push(Input {
            at: "/".to_owned(),
            role: Role::Root,
            owner: Some("the base".to_owned()),
            source: base.clone(),
        });
    }
    for layer in root.layers {
        let package = layer.package;
        let (category, version) = (&package.category, package.name_version());
        let mut add = |at: String, folder: Folder| {
            inputs.push(Input {
                at,
                role: Role::Layer,
                owner: Some(package.to_string()),
                source: folder.of(layer.derivation),
            });
        };
        let top = match root.prefix {
            "" => "/",
            prefix => prefix,
        };
        add(top.to_owned(), Folder::Image);
        let entry = match root.purpose {
            Purpose::Build => Folder::View,
            Purpose::Stage(_) => Folder::Record,
        };
        add(
            format!("{}/var/db/pkg/{category}/{version}", root.prefix),
            entry,
        );
        // Who owns files is told by every package that gave some away.
        if is_made_ready {
            add(
                format!("{RESULT}/hooks/{category}/{version}"),
                Folder::Hooks,
            );
        }
        // A hook that runs before the files are merged may look at them, and change them.
        if layer.has_hook() && package.has_phase("preinst") {
            add(
                format!("{RESULT}/images/{category}/{version}"),
                Folder::Image,
            );
        }
    }
    let name = step(root, "compose");
    Derivation::compose(name, root.target, inputs)
}

fn step(root: &Root<'_>, step: &str) -> StepName {
    // A target's name has no colon; what has one is told of without it.
    let target = root.target.replace(':', "_");
    StepName::new(target, step).expect("neither of them is empty or has a colon")
}

/// What the script is told of a package.
#[derive(Serialize)]
struct Told<'a> {
    category: &'a str,
    /// More than 0 where its hooks are run.
    hooks: usize,
    version: String,
}

fn make_ready(root: &Root<'_>, union: &Derivation, ready: &ReadySettings) -> Derivation {
    let tree = |at: &str, role, source| Input {
        at: at.to_owned(),
        role,
        owner: None,
        source,
    };
    let union = InputSource::Derivation {
        hash: union.hash(),
        path: "/".to_owned(),
    };
    let mut inputs = vec![tree("/", Role::Root, union)];
    if let Some((at, view)) = &ready.repository {
        inputs.push(tree(at, Role::Snapshot, InputSource::Tree(*view)));
    }
    let settings = InputSource::Tree(ready.settings);
    inputs.push(tree(SETTINGS, Role::Snapshot, settings));
    let name = step(root, "ready");
    let (place, output) = match root.prefix {
        "" => ("/", Output::Captured),
        prefix => (prefix, Output::Folder),
    };
    Derivation {
        env: Env::default(),
        root: place.to_owned(),
        build: String::new(),
        class: CLASS.to_owned(),
        epoch: root.epoch,
        inputs,
        output,
        phases: vec![Phase {
            name: name.step().to_owned(),
            script: script(root, place).into(),
        }],
        policy: Policy {
            tag: None,
            from: None,
            width: None,
            impure: Vec::new(),
            limits: None,
            network: Network::None,
            silence: None,
            timeout: None,
        },
        target: root.target.to_owned(),
        sandbox: SANDBOX_PROFILE.to_owned(),
        subarch: String::new(),
        platform: root.platform.to_owned(),
        arch_desc: String::new(),
        name,
    }
}

fn script(root: &Root<'_>, place: &str) -> String {
    let told: Vec<Told<'_>> = root
        .layers
        .iter()
        .map(|layer| Told {
            category: &layer.package.category,
            hooks: usize::from(layer.has_hook()),
            version: layer.package.name_version(),
        })
        .collect();
    let (stage, world) = match root.purpose {
        Purpose::Build => (0, &[][..]),
        Purpose::Stage(world) => (1, world),
    };
    python(&[
        &constant("MEMBERS", &told),
        &constant("ROOT", &place),
        &constant("STAGE", &stage),
        &constant("WORLD", &world),
        normalise::TEXT,
        READY,
    ])
}
