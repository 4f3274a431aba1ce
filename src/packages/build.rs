//! One package as a derivation: Portage of the base builds it up to `install`, and what is left is brought into one form
//! and cut into folders.
//!
//! A build sees its root, which is the base with its layers, the views of repositories, the frozen settings and its
//! source archives; and nothing else of what a stage is made of.

use std::collections::BTreeMap;
use std::fmt;

use mstore_store::{Draft, TreeHash};
use serde::Serialize;

use super::frozen::{self, DISTFILES};
use super::graph::{Package, PackageGraph};
use super::normalise;
use super::snapshot::{CutError, Snapshots};
use super::view;
use crate::drv::derivation::{
    Derivation, DrvHash, Env, Input, InputSource, Network, Output, Phase, Policy, Role,
    SANDBOX_PROFILE,
};
use crate::drv::step_name::StepName;

/// Where a build finds its settings.
pub(super) const SETTINGS: &str = "/etc/portage";
/// The folder of a build that is its result, and of a composed root that has what its packages run.
pub(super) const RESULT: &str = "/package";
/// What is run after the normalisers are known.
const DRIVER: &str = include_str!("scripts/build.py");
/// The class of the derivation of a package.
pub const CLASS: &str = "package";

/// A folder of what a package is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Its files.
    Image,
    /// The short entry of the package database, which builds see.
    View,
    /// The full entry, which stages have.
    Record,
    /// What is run where it is installed, and who owns its files.
    Hooks,
}

impl Folder {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Folder::Image => "image",
            Folder::View => "view",
            Folder::Record => "record",
            Folder::Hooks => "hooks",
        }
    }

    /// Its path in the result of a package.
    pub fn path(self) -> String {
        format!("/{}", self.name())
    }

    /// It as the source of an input.
    pub fn of(self, package: DrvHash) -> InputSource {
        InputSource::Derivation {
            hash: package,
            path: self.path(),
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a package sees beside its root: trees in the store, each made from what the graph says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The views of repositories: where each appears, and its tree.
    pub repositories: Vec<(String, TreeHash)>,
    /// The frozen settings.
    pub settings: TreeHash,
}

/// Makes the surroundings of packages of a graph, in their order, in one addition to the store. What is equal is made
/// once.
pub fn surroundings<'g>(
    snapshots: &Snapshots<'_>,
    graph: &'g PackageGraph,
    packages: impl IntoIterator<Item = &'g Package>,
) -> Result<Vec<Surroundings>, CutError> {
    let mut drafts: Vec<Draft> = Vec::new();
    let mut places = Vec::new();
    for package in packages {
        let views = view::repositories(snapshots, graph, package)?;
        let mut at = Vec::with_capacity(views.len());
        for (path, draft) in views {
            at.push((path, drafts.len()));
            drafts.push(draft);
        }
        places.push((at, drafts.len()));
        drafts.push(frozen::settings(snapshots, graph, package)?);
    }
    let trees = snapshots.store().weave(&drafts)?;
    let made = places.into_iter().map(|(views, settings)| Surroundings {
        repositories: views.into_iter().map(|(at, n)| (at, trees[n])).collect(),
        settings: trees[settings],
    });
    Ok(made.collect())
}

/// What the derivation of a package is made of, beside the package itself.
#[derive(Debug, Clone)]
pub struct Build<'a> {
    /// What the node is called.
    pub name: StepName,
    /// The package.
    pub package: &'a Package,
    /// The graph that it is in.
    pub graph: &'a PackageGraph,
    /// The root that it is built in: the base with its layers.
    pub root: InputSource,
    /// What it sees beside that.
    pub surroundings: &'a Surroundings,
    /// Its source archives by their names: each a tree that has the file in it, under that name.
    pub distfiles: &'a BTreeMap<String, InputSource>,
    /// The machine that must run it, as `uname -m` says.
    pub platform: &'a str,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
    /// Seconds after which it is ended, if any.
    pub timeout: Option<u64>,
}

/// The derivation of a package. Its result has the folders of [`Folder`].
pub fn derivation(build: &Build<'_>) -> Derivation {
    let tree = |at: &str, role, source| Input {
        at: at.to_owned(),
        role,
        owner: None,
        source,
    };
    let mut inputs = vec![tree("/", Role::Root, build.root.clone())];
    let views = build.surroundings.repositories.iter();
    inputs.extend(views.map(|(at, view)| tree(at, Role::Snapshot, InputSource::Tree(*view))));
    let settings = InputSource::Tree(build.surroundings.settings);
    inputs.push(tree(SETTINGS, Role::Snapshot, settings));
    let distfiles = build.distfiles.iter();
    inputs
        .extend(distfiles.map(|(name, source)| {
            tree(&format!("{DISTFILES}/{name}"), Role::File, source.clone())
        }));
    let target = build.name.target().to_owned();
    Derivation {
        env: Env::default(),
        name: build.name.clone(),
        root: RESULT.to_owned(),
        build: String::new(),
        class: CLASS.to_owned(),
        epoch: build.epoch,
        inputs,
        output: Output::Folder,
        phases: vec![Phase {
            name: "install".to_owned(),
            script: script(build.package, build.graph).into(),
        }],
        policy: Policy {
            tag: None,
            from: None,
            width: None,
            impure: Vec::new(),
            limits: None,
            network: Network::None,
            silence: None,
            timeout: build.timeout,
        },
        target,
        sandbox: SANDBOX_PROFILE.to_owned(),
        subarch: String::new(),
        platform: build.platform.to_owned(),
        arch_desc: String::new(),
    }
}

/// What the driver is told of a package.
#[derive(Serialize)]
struct Told<'a> {
    category: &'a str,
    ebuild: String,
    features: &'a [String],
    /// More than 0 where something may be taken out of an image before it is merged.
    masks: usize,
    version: String,
}

fn script(package: &Package, graph: &PackageGraph) -> String {
    let settings = graph.settings.get(package.settings);
    let repository = graph
        .repositories
        .iter()
        .find(|r| r.name == package.repository);
    let at = repository.map_or("", |repository| repository.at.as_str());
    let masked = |name: &str| settings.is_some_and(|s| s.config.contains_key(name));
    let told = Told {
        category: &package.category,
        ebuild: format!("{at}/{}", package.ebuild()),
        features: settings.map_or(&[], |settings| &settings.features),
        // A shell file may add to what is masked.
        masks: usize::from(masked("INSTALL_MASK")) + settings.map_or(0, |s| s.bashrcs.len()),
        version: package.name_version(),
    };
    python(&[&constant("PACKAGE", &told), normalise::TEXT, DRIVER])
}

/// Parts of a Python program as one.
pub(super) fn python(parts: &[&str]) -> String {
    format!("#!/usr/bin/env python3\n{}", parts.concat())
}

/// A constant of a Python program. The value has neither booleans nor nothing in it, which are written otherwise there.
pub(super) fn constant(name: &str, value: &impl Serialize) -> String {
    // Text, numbers, lists and maps of names cannot fail.
    let json = serde_json::to_string(value).expect("it is made of text, numbers, lists and maps");
    format!("{name} = {json}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::graph::{ConfigFile, Eclass, Repository, Root, Settings};
    use mstore_store::{Kind, Manifest, OpenOptions, Store};

    fn package() -> Package {
        Package {
            blockers: Vec::new(),
            category: "sys-libs".into(),
            distfiles: Vec::new(),
            eapi: "8".into(),
            first_round_of: None,
            edges: Vec::new(),
            inherits: vec![Eclass {
                name: "flags".into(),
                repository: "gentoo".into(),
            }],
            name: "zlib".into(),
            patches: vec!["sys-libs/zlib/fix.patch".into()],
            phases: vec!["compile".into()],
            properties: Vec::new(),
            repository: "own".into(),
            restrict: Vec::new(),
            root: Root::Target,
            settings: 0,
            slot: "0".into(),
            sub_slot: "1".into(),
            use_flags: vec!["a".into(), "b".into()],
            version: "1.3-r1".into(),
        }
    }

    fn graph() -> PackageGraph {
        let repository = |name: &str, masters: &[&str]| Repository {
            at: format!("/var/db/repos/{name}"),
            masters: masters.iter().map(|m| (*m).to_owned()).collect(),
            name: name.to_owned(),
        };
        let bashrc = |path: &str, repository: Option<&str>| ConfigFile {
            path: path.to_owned(),
            repository: repository.map(str::to_owned),
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        PackageGraph {
            packages: vec![package()],
            repositories: vec![
                repository("gentoo", &[]),
                repository("other", &[]),
                repository("own", &["gentoo"]),
            ],
            settings: vec![Settings {
                bashrcs: vec![
                    bashrc("profiles/a/profile.bashrc", Some("gentoo")),
                    bashrc("bashrc", None),
                ],
                config: [
                    pair("CFLAGS", "-O2"),
                    pair("MAKEOPTS", "-j9"),
                    pair("ODD", "\\$\""),
                ]
                .into(),
                features: vec!["sfperms".into(), "xattr".into()],
                profile: [pair("ARCH", "amd64")].into(),
            }],
            ..PackageGraph::default()
        }
    }

    struct World {
        store: Store,
        _dir: tempfile::TempDir,
        repositories: BTreeMap<String, TreeHash>,
        config: TreeHash,
    }

    fn world(change: impl Fn(&str) -> Option<&'static str>) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
        let tree = |name: &str, paths: &[&str]| {
            let mut draft = Draft::new();
            for path in paths {
                let at = format!("{name}/{path}");
                match change(&at) {
                    Some("") => {}
                    Some(text) => draft.text(path, text).unwrap(),
                    None => draft.text(path, at).unwrap(),
                }
            }
            store.weave(&[draft]).unwrap()[0]
        };
        let own = tree(
            "own",
            &[
                "profiles/repo_name",
                "sys-libs/zlib/Manifest",
                "sys-libs/zlib/files/a",
                "sys-libs/zlib/zlib-1.2.ebuild",
                "sys-libs/zlib/zlib-1.3-r1.ebuild",
            ],
        );
        let gentoo = tree(
            "gentoo",
            &[
                "eclass/flags.eclass",
                "eclass/other.eclass",
                "profiles/a/make.defaults",
                "profiles/a/profile.bashrc",
                "profiles/a/profile.bashrc.arm",
                "profiles/eapi",
            ],
        );
        let config = tree(
            "config",
            &[
                "bashrc",
                "make.conf",
                "patches/sys-libs/zlib/fix.patch",
                "patches/sys-libs/zlib/other.patch",
            ],
        );
        World {
            store,
            _dir: dir,
            repositories: [("own".into(), own), ("gentoo".into(), gentoo)].into(),
            config,
        }
    }

    impl World {
        fn around(&self, graph: &PackageGraph) -> Result<Surroundings, CutError> {
            let snapshots = Snapshots::new(&self.store, &self.repositories, Some(self.config));
            Ok(surroundings(&snapshots, graph, &graph.packages)?.remove(0))
        }

        fn names(&self, tree: TreeHash) -> Vec<String> {
            let mut found = Vec::new();
            let top = self.store.tree(tree).unwrap().dir;
            self.names_in(&self.store.manifest(top).unwrap(), "", &mut found);
            found
        }

        fn names_in(&self, manifest: &Manifest, above: &str, found: &mut Vec<String>) {
            for entry in manifest.entries() {
                let path = format!("{above}{}", String::from_utf8_lossy(&entry.name));
                match entry.kind {
                    Kind::Dir { manifest } => {
                        let manifest = self.store.manifest(manifest).unwrap();
                        self.names_in(&manifest, &format!("{path}/"), found);
                    }
                    _ => found.push(path),
                }
            }
        }

        fn text(&self, tree: TreeHash, path: &str) -> String {
            match self.store.entry(tree, path).unwrap().unwrap().kind {
                Kind::File { blob, .. } => {
                    String::from_utf8(self.store.blob(blob).unwrap()).unwrap()
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn a_package_sees_what_the_graph_names_and_nothing_else() {
        let world = world(|_| None);
        let around = world.around(&graph()).unwrap();
        let [(gentoo_at, gentoo), (own_at, own)] = around.repositories.as_slice() else {
            panic!("{around:?}");
        };
        assert_eq!(
            (gentoo_at.as_str(), own_at.as_str()),
            ("/var/db/repos/gentoo", "/var/db/repos/own")
        );
        assert_eq!(
            world.names(*gentoo),
            [
                "eclass/flags.eclass",
                "metadata/layout.conf",
                "profiles/a/profile.bashrc",
                "profiles/a/profile.bashrc.arm",
                "profiles/categories",
                "profiles/eapi",
                "profiles/repo_name",
            ]
        );
        assert_eq!(
            world.names(*own),
            [
                "metadata/layout.conf",
                "profiles/categories",
                "profiles/repo_name",
                "sys-libs/zlib/files/a",
                "sys-libs/zlib/zlib-1.3-r1.ebuild",
            ]
        );
        assert_eq!(
            world.names(around.settings),
            [
                "bashrc",
                "make.conf",
                "make.profile/eapi",
                "make.profile/make.defaults",
                "make.profile/profile.bashrc",
                "patches/sys-libs/zlib/fix.patch",
                "repos.conf/packages.conf",
            ]
        );
        insta::assert_snapshot!(world.text(around.settings, "make.conf"), @r#"
        CFLAGS="-O2"
        ODD="\\\\\\$\""
        ACCEPT_KEYWORDS="**"
        ACCEPT_LICENSE="*"
        CLEAN_DELAY="0"
        CONFIG_PROTECT="-*"
        DISTDIR="/var/cache/distfiles"
        EMERGE_WARNING_DELAY="0"
        NO_COLOR="1"
        PORTAGE_TMPDIR="/var/tmp"
        FEATURES="-* sfperms xattr"
        USE="-* a b"
        "#);
        assert_eq!(
            world.text(around.settings, "make.profile/profile.bashrc"),
            "source '/var/db/repos/gentoo/profiles/a/profile.bashrc'\n"
        );
        insta::assert_snapshot!(world.text(around.settings, "repos.conf/packages.conf"), @r"
        [DEFAULT]
        main-repo = gentoo

        [gentoo]
        location = /var/db/repos/gentoo
        auto-sync = no

        [own]
        location = /var/db/repos/own
        auto-sync = no
        ");
    }

    #[test]
    fn what_a_package_does_not_see_changes_nothing_and_what_it_sees_does() {
        let plain = world(|_| None).around(&graph()).unwrap();
        for path in [
            "own/sys-libs/zlib/Manifest",
            "own/sys-libs/zlib/zlib-1.2.ebuild",
            "gentoo/eclass/other.eclass",
            "gentoo/profiles/a/make.defaults",
            "config/make.conf",
            "config/patches/sys-libs/zlib/other.patch",
        ] {
            let other = world(|at| (at == path).then_some("changed"));
            assert_eq!(other.around(&graph()).unwrap(), plain, "{path}");
        }
        for path in [
            "own/sys-libs/zlib/files/a",
            "own/sys-libs/zlib/zlib-1.3-r1.ebuild",
            "gentoo/eclass/flags.eclass",
            "gentoo/profiles/a/profile.bashrc.arm",
            "config/bashrc",
            "config/patches/sys-libs/zlib/fix.patch",
        ] {
            let other = world(|at| (at == path).then_some("changed"));
            assert_ne!(other.around(&graph()).unwrap(), plain, "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        let said = |path: &'static str| {
            let world = world(|at| (at == path).then_some(""));
            world.around(&graph()).unwrap_err().to_string()
        };
        insta::assert_snapshot!(said("gentoo/eclass/flags.eclass"), @"sys-libs/zlib-1.3-r1:0 needs eclass/flags.eclass of the repository gentoo, which does not have it");
        insta::assert_snapshot!(said("own/sys-libs/zlib/zlib-1.3-r1.ebuild"), @"sys-libs/zlib-1.3-r1:0 needs sys-libs/zlib/zlib-1.3-r1.ebuild of the repository own, which does not have it");
        insta::assert_snapshot!(said("config/patches/sys-libs/zlib/fix.patch"), @"sys-libs/zlib-1.3-r1:0 needs patches/sys-libs/zlib/fix.patch of the repository /etc/portage, which does not have it");
        let world = world(|_| None);
        let mut other = graph();
        other.packages[0].inherits[0].repository = "none".into();
        insta::assert_snapshot!(world.around(&other).unwrap_err(), @"the package graph names the repository none, which is not there");
        let mut other = graph();
        other.settings[0].config.insert("A B".into(), String::new());
        insta::assert_snapshot!(world.around(&other).unwrap_err(), @"sys-libs/zlib-1.3-r1:0: `A B` is not the name of a variable");
    }

    #[test]
    fn the_script_is_told_of_the_package_and_the_name_is_in_no_key() {
        let world = world(|_| None);
        let graph = graph();
        let around = world.around(&graph).unwrap();
        let build = |name: &str| {
            derivation(&Build {
                name: name.parse().unwrap(),
                package: &graph.packages[0],
                graph: &graph,
                root: InputSource::Tree(around.settings),
                surroundings: &around,
                distfiles: &[("z.tar".to_owned(), InputSource::Tree(around.settings))].into(),
                platform: "x86_64",
                epoch: 7,
                timeout: None,
            })
        };
        let one = build("stage3-corei7:sys-libs/zlib");
        let script = one.phases[0].script.clone();
        let second = script.lines().nth(1).unwrap();
        insta::assert_snapshot!(second, @r#"PACKAGE = {"category":"sys-libs","ebuild":"/var/db/repos/own/sys-libs/zlib/zlib-1.3-r1.ebuild","features":["sfperms","xattr"],"masks":2,"version":"zlib-1.3-r1"}"#);
        let at: Vec<&str> = one.inputs.iter().map(|input| input.at.as_str()).collect();
        assert_eq!(
            at,
            [
                "/",
                "/var/db/repos/gentoo",
                "/var/db/repos/own",
                "/etc/portage",
                "/mstore/fetch/z.tar"
            ]
        );
        let trees = vec![around.settings; 5];
        let other = build("stage3-zen:sys-libs/zlib");
        assert_eq!(one.key(&trees).unwrap(), other.key(&trees).unwrap());
    }
}
