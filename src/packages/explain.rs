//! Why packages are built again: what differs between a package as it was built and as it is, in the words of packages.
//!
//! It is told by the parts that the key is made of, from the walk that decided the key. Of a root that changed its layers
//! are looked at, and of a layer that changed why that was built again.

use std::collections::BTreeSet;
use std::fmt;

use mstore_store::TreeHash;
use serde::Serialize;

use super::build::SETTINGS;
use super::frozen::DISTFILES;
use crate::drv::derivation::{Input, InputSource, Role};
use crate::drv::facts::{Earlier, Facts, FactsError, FilePart};
use crate::drv::tree_diff::{Change, TreeChanges};
use crate::plan::{Graph, NodeId, NodeState, PackageId, Staleness, Target};

/// How many changed paths of a tree are looked at.
const PATHS: usize = 1000;
/// How many earlier builds of a root are looked at.
const ROOTS: u32 = 32;
/// Longest settings that are compared, in bytes.
const LONGEST: u64 = 1 << 20;
/// How many layers a cause is followed through.
const DEPTH: usize = 1;

/// One thing because of which a package is built again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "because")]
pub enum Because {
    /// It was never built here.
    Never,
    /// It is what it was, but the store no longer knows its result, or no longer has it.
    Gone,
    /// Its ebuild reads differently.
    Ebuild {
        /// Its version before.
        old: Option<String>,
        /// Its version now.
        new: Option<String>,
    },
    /// An eclass that it inherits reads differently.
    Eclass {
        /// Its name.
        name: String,
    },
    /// Another file of a tree of ebuilds that it sees differs.
    File {
        /// The file.
        path: String,
    },
    /// Other USE flags are on.
    Use {
        /// Flags that are on now.
        on: Vec<String>,
        /// Flags that are off now.
        off: Vec<String>,
    },
    /// Variables of its settings have other values.
    Settings {
        /// The variables, or files of the settings.
        names: Vec<String>,
    },
    /// A source archive is another one.
    Archive {
        /// The name of the file.
        name: String,
    },
    /// The root that packages are built in differs.
    Base,
    /// Something that is the same for all packages differs: how they are built, times, the machine.
    Rules,
    /// A layer of its root.
    Layer {
        /// The package that it is of.
        layer: String,
        /// What became of it.
        change: LayerChange,
        /// Why.
        causes: Vec<Because>,
    },
}

/// What became of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "change")]
pub enum LayerChange {
    /// It has to be built first.
    Waits,
    /// It is there and was not.
    New,
    /// It was there and is not.
    Gone,
    /// It came out different.
    Changed {
        /// The folder of the package that differs: its files, or the entry that builds see.
        folder: &'static str,
        /// The files that differ, as far as they are listed.
        files: Option<Files>,
    },
}

/// Files that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Files {
    /// How many.
    pub count: usize,
    /// Whether there are more that were not counted.
    pub more: bool,
    /// A file that is gone, and one in its folder that came: the first pair.
    pub renamed: Option<[String; 2]>,
    /// The first path.
    pub first: String,
}

impl Files {
    fn of(changes: &TreeChanges) -> Option<Files> {
        let first = changes.paths.first()?.path.clone();
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        // What came instead of a file begins as that did: a library with another number behind its name.
        let stem = |path: &str| {
            let name = last(path);
            let end = name
                .find(|c: char| c.is_ascii_digit())
                .unwrap_or(name.len());
            name[..end].to_owned()
        };
        let gone = changes.paths.iter().filter(|p| p.change == Change::Removed);
        let renamed = gone.into_iter().find_map(|gone| {
            let came = changes
                .paths
                .iter()
                .find(|p| p.change == Change::Added && stem(&p.path) == stem(&gone.path))?;
            Some([last(&gone.path), last(&came.path)])
        });
        Some(Files {
            count: changes.paths.len(),
            more: changes.more,
            renamed,
            first,
        })
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.renamed, self.count) {
            (Some([old, new]), _) => write!(f, "{old} → {new}, ")?,
            (None, 1) => return f.write_str(&self.first),
            (None, _) => {}
        }
        let more = if self.more { "more than " } else { "" };
        let word = if self.count == 1 { "file" } else { "files" };
        write!(f, "{more}{} {word}", self.count)
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Never => f.write_str("never built"),
            Because::Gone => f.write_str("unchanged, but its result is no longer here"),
            Because::Ebuild {
                old: Some(old),
                new: Some(new),
            } if old != new => write!(f, "its ebuild changed: {old} → {new}"),
            Because::Ebuild { .. } => f.write_str("its ebuild changed"),
            Because::Eclass { name } => write!(f, "the eclass {name} changed"),
            Because::File { path } => write!(f, "{path} changed"),
            Because::Use { on, off } => {
                f.write_str("USE changed:")?;
                on.iter().try_for_each(|flag| write!(f, " +{flag}"))?;
                off.iter().try_for_each(|flag| write!(f, " -{flag}"))
            }
            Because::Settings { names } => write!(f, "its settings changed: {}", names.join(" ")),
            Because::Archive { name } => write!(f, "its source archive {name} changed"),
            Because::Base => f.write_str("the base that packages are built in changed"),
            Because::Rules => f.write_str("how packages are built changed"),
            Because::Layer {
                layer,
                change,
                causes,
            } => {
                write!(f, "layer {layer}: ")?;
                match change {
                    LayerChange::Waits => f.write_str("has to be built first")?,
                    LayerChange::New => f.write_str("is new")?,
                    LayerChange::Gone => f.write_str("is gone")?,
                    LayerChange::Changed { folder, files } => {
                        write!(f, "{folder} changed")?;
                        if let Some(files) = files {
                            write!(f, " ({files})")?;
                        }
                    }
                }
                let told: Vec<String> = causes.iter().map(ToString::to_string).collect();
                match told.is_empty() {
                    true => Ok(()),
                    false => write!(f, ", because {}", told.join("; ")),
                }
            }
        }
    }
}

/// A package that is to be built, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Why {
    /// What people name it by.
    pub package: String,
    /// The step that builds it.
    pub step: String,
    /// Why: what is its own first, then its layers.
    pub causes: Vec<Because>,
}

impl Why {
    /// Whether it would be built again though no other package were.
    pub fn is_cause(&self) -> bool {
        !self.causes.iter().all(|cause| {
            matches!(
                cause,
                Because::Layer {
                    change: LayerChange::Waits | LayerChange::Changed { .. },
                    ..
                }
            )
        })
    }
}

/// Why packages of a target are built again, those first that are by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Cascade {
    /// The target.
    pub target: String,
    /// Packages that are built whatever comes of others.
    pub changed: Vec<Why>,
    /// Packages that follow from those.
    pub follow: Vec<Why>,
}

/// Explains by the states of a walk.
pub struct Explain<'a, 'g> {
    graph: &'g Graph,
    staleness: &'a Staleness<'g>,
    facts: &'a dyn Facts,
}

impl<'a, 'g> Explain<'a, 'g> {
    /// By what `staleness` decided.
    pub fn new(staleness: &'a Staleness<'g>, facts: &'a dyn Facts) -> Self {
        Explain {
            graph: staleness.graph(),
            staleness,
            facts,
        }
    }

    /// Why packages of `target` are built again that are among `to_do`.
    pub fn cascade(
        &self,
        target: &Target,
        to_do: &BTreeSet<NodeId>,
    ) -> Result<Cascade, FactsError> {
        let mut found = Cascade {
            target: target.name.clone(),
            ..Cascade::default()
        };
        for (node, package) in self.graph.packages_of(target) {
            if !to_do.contains(&node) {
                continue;
            }
            let why = Why {
                package: package.word(),
                step: self.graph.nodes()[node].name.to_string(),
                causes: self.of(node, DEPTH)?,
            };
            match why.is_cause() {
                true => found.changed.push(why),
                false => found.follow.push(why),
            }
        }
        Ok(found)
    }

    /// Why a package is to be built.
    pub fn package(&self, node: NodeId) -> Result<Vec<Because>, FactsError> {
        self.of(node, DEPTH)
    }

    /// Why a package that is up to date was built when it was last; nothing where only one build of it is remembered.
    pub fn last_time(&self, node: NodeId) -> Result<Option<(i64, Vec<Because>)>, FactsError> {
        let all = self.facts.earlier(&self.graph.nodes()[node].full_name, 2)?;
        let [last, before] = all.as_slice() else {
            return Ok(None);
        };
        let now = Now {
            inputs: &last.step.derivation().inputs,
            trees: last.step.trees().iter().copied().map(Some).collect(),
        };
        let causes = self.compare(node, before, last.step.derivation(), &now, DEPTH)?;
        Ok(Some((last.started, causes)))
    }

    fn of(&self, node: NodeId, depth: usize) -> Result<Vec<Because>, FactsError> {
        let this = &self.graph.nodes()[node];
        let last = self.facts.earlier(&this.full_name, 1)?.pop();
        let Some(last) = last else {
            return Ok(vec![Because::Never]);
        };
        let state = self.staleness.state(node);
        if let NodeState::Known { present: false, .. } = state {
            return Ok(vec![Because::Gone]);
        }
        let inputs = &this.derivation.inputs;
        let trees = inputs.iter().enumerate().map(|(at, input)| {
            let decided = state.trees().and_then(|trees| trees.get(at)).copied();
            decided.or(match (&input.source, this.producers.get(at)) {
                (InputSource::Tree(tree), _) => Some(*tree),
                (InputSource::Derivation { path, .. }, Some(Some(from))) if path == "/" => {
                    self.staleness.state(*from).tree()
                }
                _ => None,
            })
        });
        let now = Now {
            inputs,
            trees: trees.collect(),
        };
        let found = self.compare(node, &last, &this.derivation, &now, depth)?;
        Ok(match found.is_empty() && state.trees().is_some() {
            true => vec![Because::Gone],
            false => found,
        })
    }

    /// What differs between a build of a package and what is now.
    fn compare(
        &self,
        node: NodeId,
        before: &Earlier,
        derivation: &crate::drv::Derivation,
        now: &Now<'_>,
        depth: usize,
    ) -> Result<Vec<Because>, FactsError> {
        let old = before.step.derivation();
        let was = Now {
            inputs: &old.inputs,
            trees: before.step.trees().iter().copied().map(Some).collect(),
        };
        let mut found = Vec::new();
        let mut layers = Vec::new();
        for (at, input) in now.inputs.iter().enumerate() {
            let new = now.trees[at];
            let old = was.find(input);
            match (input.role, old, new) {
                (_, Some(old), Some(new)) if old == new => {}
                (Role::Root, old, new) => layers = self.root(node, old, new, depth)?,
                (Role::Snapshot, Some(old), Some(new)) if input.at == SETTINGS => {
                    self.settings(old, new, &mut found)?;
                }
                (Role::Snapshot, Some(old), Some(new)) => {
                    self.repository(node, old, new, &mut found)?;
                }
                (Role::File, ..) => found.push(Because::Archive {
                    name: input
                        .at
                        .trim_start_matches(DISTFILES)
                        .trim_matches('/')
                        .to_owned(),
                }),
                (_, None, _) => found.push(Because::File {
                    path: input.at.clone(),
                }),
                _ => {}
            }
        }
        let same_rules = old.phases == derivation.phases
            && old.epoch == derivation.epoch
            && old.platform == derivation.platform
            && old.sandbox == derivation.sandbox;
        // A script tells version and features of its package too.
        let is_told = |because: &Because| {
            matches!(
                because,
                Because::Ebuild { .. } | Because::Settings { .. } | Because::Use { .. }
            )
        };
        if !same_rules && !found.iter().any(is_told) {
            found.push(Because::Rules);
        }
        found.extend(layers);
        Ok(found)
    }

    /// What changed in the root of a package.
    fn root(
        &self,
        node: NodeId,
        old: Option<TreeHash>,
        new: Option<TreeHash>,
        depth: usize,
    ) -> Result<Vec<Because>, FactsError> {
        let producer = self.graph.nodes()[node]
            .producers
            .first()
            .copied()
            .flatten();
        let Some(union) = producer.map(|made| self.union_of(made)) else {
            // Nothing lies over the base, now.
            return Ok(vec![Because::Base]);
        };
        let this = &self.graph.nodes()[union];
        let was = match old {
            Some(old) => self.composed(union, producer, old)?,
            None => None,
        };
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for (at, input) in this.derivation.inputs.iter().enumerate() {
            let tree = match &input.source {
                InputSource::Tree(tree) => Some(*tree),
                _ => self
                    .staleness
                    .state(union)
                    .trees()
                    .and_then(|t| t.get(at))
                    .copied(),
            };
            if input.role == Role::Root {
                let before = was
                    .as_ref()
                    .and_then(|was| was.step.trees().first().copied());
                if before.is_some() && tree.is_some() && before != tree {
                    found.push(Because::Base);
                }
                continue;
            }
            let Some(layer) = this.producers.get(at).copied().flatten() else {
                continue;
            };
            let Some(package) = self.graph.nodes()[layer].package() else {
                continue;
            };
            if seen.contains(&layer) {
                continue;
            }
            let change = self.layer(input, package, self.staleness.state(layer), was.as_ref())?;
            if let Some(change) = change {
                seen.insert(layer);
                let causes = match depth {
                    0 => Vec::new(),
                    depth => self.why_layer(layer, &change, depth - 1)?,
                };
                found.push(Because::Layer {
                    layer: package.name.clone(),
                    change,
                    causes,
                });
            }
        }
        if found.is_empty() && new.is_some() {
            found.extend(self.gone(&this.derivation.inputs, was.as_ref()));
        }
        Ok(found)
    }

    /// Why a layer is another one: only what it is by itself, or all of it where that is nothing.
    fn why_layer(
        &self,
        layer: NodeId,
        change: &LayerChange,
        depth: usize,
    ) -> Result<Vec<Because>, FactsError> {
        Ok(match change {
            LayerChange::Waits => self.of(layer, depth)?,
            LayerChange::Changed { .. } => self
                .last_time(layer)?
                .map_or_else(Vec::new, |(_, causes)| causes),
            LayerChange::New | LayerChange::Gone => Vec::new(),
        })
    }

    /// What became of a layer of a root, if anything did.
    fn layer(
        &self,
        input: &Input,
        package: &PackageId,
        state: &NodeState,
        was: Option<&Earlier>,
    ) -> Result<Option<LayerChange>, FactsError> {
        let Some(tree) = state.tree() else {
            return Ok(Some(LayerChange::Waits));
        };
        let InputSource::Derivation { path, .. } = &input.source else {
            return Ok(None);
        };
        let Some(was) = was else { return Ok(None) };
        let crate::drv::facts::TreePart::Tree(new) = self.facts.subtree(tree, path)? else {
            return Ok(None);
        };
        let inputs = &was.step.derivation().inputs;
        let place = inputs.iter().position(|old| {
            let same_folder =
                matches!(&old.source, InputSource::Derivation { path: p, .. } if p == path);
            same_folder && old.role == Role::Layer && is_of(old, package)
        });
        let Some(place) = place else {
            return Ok(Some(LayerChange::New));
        };
        let old = was.step.trees()[place];
        if old == new {
            return Ok(None);
        }
        let changes = self.facts.changes(old, new, PATHS)?;
        Ok(Some(LayerChange::Changed {
            folder: match path.as_str() {
                "/image" => "image",
                "/view" => "view",
                "/hooks" => "hooks",
                _ => "record",
            },
            files: changes.as_ref().and_then(Files::of),
        }))
    }

    /// Layers that a root had and has no longer.
    fn gone(&self, now: &[Input], was: Option<&Earlier>) -> Vec<Because> {
        let Some(was) = was else { return Vec::new() };
        let names = |inputs: &[Input]| -> BTreeSet<String> {
            let owners = inputs.iter().filter(|input| input.role == Role::Layer);
            owners.filter_map(|input| input.owner.clone()).collect()
        };
        let now = names(now);
        let before = names(&was.step.derivation().inputs);
        let gone = before.into_iter().filter(|owner| !now.contains(owner));
        gone.map(|layer| Because::Layer {
            layer,
            change: LayerChange::Gone,
            causes: Vec::new(),
        })
        .collect()
    }

    /// The union that a root is: what made it may be a step that made it ready.
    fn union_of(&self, root: NodeId) -> NodeId {
        let node = &self.graph.nodes()[root];
        let layers = |node: &crate::plan::Node| {
            let mut inputs = node.derivation.inputs.iter();
            inputs.any(|input| input.role == Role::Layer)
        };
        match node.producers.first().copied().flatten() {
            Some(below) if !layers(node) => below,
            _ => root,
        }
    }

    /// How a root was composed that is this tree, as far as that is remembered under the name of today's.
    fn composed(
        &self,
        union: NodeId,
        root: Option<NodeId>,
        tree: TreeHash,
    ) -> Result<Option<Earlier>, FactsError> {
        let mut wanted = tree;
        if let Some(root) = root.filter(|root| *root != union) {
            let Some(ready) = self.made(root, tree)? else {
                return Ok(None);
            };
            let Some(below) = ready.step.trees().first() else {
                return Ok(None);
            };
            wanted = *below;
        }
        self.made(union, wanted)
    }

    fn made(&self, node: NodeId, tree: TreeHash) -> Result<Option<Earlier>, FactsError> {
        let name = &self.graph.nodes()[node].full_name;
        for earlier in self.facts.earlier(name, ROOTS)? {
            let made = self.facts.realised(earlier.step.key())?;
            if made.is_some_and(|made| made.tree == tree) {
                return Ok(Some(earlier));
            }
        }
        Ok(None)
    }

    /// What changed in the trees of ebuilds.
    fn repository(
        &self,
        node: NodeId,
        old: TreeHash,
        new: TreeHash,
        found: &mut Vec<Because>,
    ) -> Result<(), FactsError> {
        let Some(changes) = self.facts.changes(old, new, PATHS)? else {
            found.push(Because::Ebuild {
                old: None,
                new: None,
            });
            return Ok(());
        };
        let name = match self.graph.nodes()[node].package() {
            Some(package) => package.name.as_str(),
            None => "",
        };
        let mut ebuild = None;
        for change in &changes.paths {
            if change.change == Change::Metadata {
                continue;
            }
            if let Some(version) = version_of(&change.path, name) {
                let (old, new) = ebuild.get_or_insert((None, None));
                let is = |is: bool| is.then(|| version.to_owned());
                let was_there = change.change != Change::Added;
                let is_there = change.change != Change::Removed;
                *old = old.take().or(is(was_there));
                *new = new.take().or(is(is_there));
                continue;
            }
            let eclass = change.path.strip_prefix("eclass/");
            found.push(match eclass.and_then(|name| name.strip_suffix(".eclass")) {
                Some(eclass) => Because::Eclass {
                    name: eclass.to_owned(),
                },
                None => Because::File {
                    path: change.path.clone(),
                },
            });
        }
        if let Some((old, new)) = ebuild {
            found.insert(0, Because::Ebuild { old, new });
        }
        Ok(())
    }

    /// What changed in the settings of a package.
    fn settings(
        &self,
        old: TreeHash,
        new: TreeHash,
        found: &mut Vec<Because>,
    ) -> Result<(), FactsError> {
        const CONF: &str = "make.conf";
        let read = |tree| -> Result<Option<String>, FactsError> {
            Ok(match self.facts.file(tree, CONF, LONGEST)? {
                FilePart::Content(bytes) => String::from_utf8(bytes).ok(),
                FilePart::NoSuchFile | FilePart::Absent => None,
            })
        };
        let mut names: Vec<String> = Vec::new();
        if let (Some(old), Some(new)) = (read(old)?, read(new)?) {
            let (old, new) = (variables(&old), variables(&new));
            for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                let (was, is) = (old.get(name), new.get(name));
                if was == is {
                    continue;
                }
                match *name {
                    "USE" => {
                        let flags = |text: Option<&&str>| -> BTreeSet<String> {
                            let words = text.map_or("", |text| text).split([' ', '"']);
                            let flags = words.filter(|w| !w.is_empty() && *w != "-*");
                            flags.map(str::to_owned).collect()
                        };
                        let (was, is) = (flags(was), flags(is));
                        found.push(Because::Use {
                            on: is.difference(&was).cloned().collect(),
                            off: was.difference(&is).cloned().collect(),
                        });
                    }
                    name => names.push(name.to_owned()),
                }
            }
        }
        if let Some(changes) = self.facts.changes(old, new, PATHS)? {
            let others = changes
                .paths
                .iter()
                .filter(|p| p.path != CONF && p.path != ".");
            names.extend(others.map(|path| path.path.clone()));
        }
        if !names.is_empty() {
            found.push(Because::Settings { names });
        }
        Ok(())
    }
}

/// Inputs with their trees, as far as these are known.
struct Now<'a> {
    inputs: &'a [Input],
    trees: Vec<Option<TreeHash>>,
}

impl Now<'_> {
    /// The tree of the input that is for the same.
    fn find(&self, other: &Input) -> Option<TreeHash> {
        let mut inputs = self.inputs.iter();
        let at = inputs.position(|input| (input.role, &input.at) == (other.role, &other.at))?;
        self.trees.get(at).copied().flatten()
    }
}

/// The version in the path of an ebuild of the package `CATEGORY/NAME`. Behind a name that is known and a hyphen a digit
/// begins nothing else.
fn version_of<'a>(path: &'a str, package: &str) -> Option<&'a str> {
    let file = path.strip_prefix(package)?.strip_prefix('/')?;
    let file = file.strip_suffix(".ebuild")?;
    let name = package.rsplit('/').next()?;
    let version = file.strip_prefix(name)?.strip_prefix('-')?;
    version
        .starts_with(|c: char| c.is_ascii_digit())
        .then_some(version)
}

/// Whether a layer is of a package, in whatever version.
fn is_of(input: &Input, package: &PackageId) -> bool {
    let owner = input.owner.as_deref().unwrap_or_default();
    let rest = owner.strip_prefix(&package.name);
    let version = rest.and_then(|rest| rest.strip_prefix('-'));
    version.is_some_and(|version| {
        let slot = format!(":{}", package.slot);
        version.starts_with(|c: char| c.is_ascii_digit())
            && version.trim_end_matches(" (tool)").ends_with(&slot)
            && version.ends_with(" (tool)") == package.is_tool
    })
}

/// The variables of settings that were frozen, as they are written there.
fn variables(text: &str) -> std::collections::BTreeMap<&str, &str> {
    let lines = text.lines();
    lines.filter_map(|line| line.split_once('=')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drv::tree_diff::PathChange;

    fn changes(paths: &[(&str, Change)]) -> TreeChanges {
        let paths = paths.iter().map(|(path, change)| PathChange {
            path: (*path).to_owned(),
            path_base64: None,
            change: *change,
        });
        TreeChanges {
            paths: paths.collect(),
            more: false,
        }
    }

    #[test]
    fn a_library_of_another_number_is_told_as_a_pair() {
        let changed = changes(&[
            ("usr/include/curses.h", Change::Content),
            ("usr/lib/libncurses.so.5", Change::Removed),
            ("usr/lib/libncurses.so.6", Change::Added),
        ]);
        let because = Because::Layer {
            layer: "sys-libs/ncurses".into(),
            change: LayerChange::Changed {
                folder: "image",
                files: Files::of(&changed),
            },
            causes: vec![Because::Ebuild {
                old: Some("5.9".into()),
                new: Some("6.4".into()),
            }],
        };
        insta::assert_snapshot!(because, @"layer sys-libs/ncurses: image changed (libncurses.so.5 → libncurses.so.6, 3 files), because its ebuild changed: 5.9 → 6.4");
        let one = changes(&[("usr/bin/tide", Change::Content)]);
        assert_eq!(Files::of(&one).unwrap().to_string(), "usr/bin/tide");
        assert_eq!(Files::of(&changes(&[])), None);
    }

    #[test]
    fn versions_are_behind_the_name_and_a_hyphen() {
        let of = |path| version_of(path, "sys-libs/a-b");
        assert_eq!(of("sys-libs/a-b/a-b-1.2-r3.ebuild"), Some("1.2-r3"));
        assert_eq!(of("sys-libs/a-b/files/a-b-1.ebuild"), None);
        assert_eq!(of("sys-libs/a-b/a-b-c.ebuild"), None);
        assert_eq!(of("sys-libs/a-b-c/a-b-c-1.ebuild"), None);
    }

    #[test]
    fn what_follows_is_told_from_what_is_changed() {
        let layer = |change| Because::Layer {
            layer: "a/b".into(),
            change,
            causes: Vec::new(),
        };
        let why = |causes: &[Because]| Why {
            package: "c/d".into(),
            step: "s/c/d:install".into(),
            causes: causes.to_vec(),
        };
        assert!(!why(&[layer(LayerChange::Waits)]).is_cause());
        assert!(why(&[layer(LayerChange::Waits), Because::Rules]).is_cause());
        assert!(why(&[layer(LayerChange::New)]).is_cause());
    }
}
