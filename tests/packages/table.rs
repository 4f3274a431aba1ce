//! A package graph of the packages of the tree of ebuilds, as a resolve step would write it.

use std::collections::BTreeMap;

use mstore::build::host;
use mstore::drv::derivation::{DrvHash, InputSource};
use mstore::drv::step_name::StepName;
use mstore::packages::PackageGraph;
use mstore::packages::base::{self, Slot};
use mstore::packages::build::{self, Build, surroundings};
use mstore::packages::compose::{self, Layer, Purpose, ReadySettings, Root};
use mstore::packages::graph::{
    Distfile, Eclass, Edge, EdgeKind, FORMAT, Package, Repository, Root as Place, Settings,
};
use mstore::packages::snapshot::Snapshots;
use mstore_store::TreeHash;

use crate::world::World;

/// `SOURCE_DATE_EPOCH` of all.
pub const EPOCH: i64 = 1_700_000_000;
const USE: [&str; 4] = ["amd64", "elibc_glibc", "kernel_linux", "reference"];
const FEATURES: [&str; 6] = [
    "binpkg-docompress",
    "binpkg-dostrip",
    "fixlafiles",
    "sfperms",
    "strict",
    "xattr",
];

/// A package: its name and version, slot, phases, eclasses, source archives, what it needs to be built and to be of use.
pub type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

/// In canonical order: each after what it needs.
pub const ROWS: &[Row] = &[
    (
        "acct-group/maildrop-0",
        "0",
        "preinst",
        "accounts",
        "",
        "",
        "",
    ),
    (
        "acct-user/maildrop-0",
        "0",
        "preinst",
        "accounts",
        "",
        "",
        "acct-group/maildrop",
    ),
    (
        "app-misc/privileges-1",
        "0",
        "compile install postinst",
        "capabilities",
        "",
        "acct-group/maildrop acct-user/maildrop",
        "acct-group/maildrop acct-user/maildrop",
    ),
    ("sys-libs/tide-1", "0", "compile install", "", "", "", ""),
    (
        "app-misc/boat-1",
        "0",
        "compile install",
        "",
        "",
        "sys-libs/tide",
        "sys-libs/tide",
    ),
    (
        "sys-libs/zlib-1.2.13",
        "0/1",
        "compile configure install unpack",
        "",
        "zlib-1.2.13.tar.bz2",
        "",
        "",
    ),
    (
        "app-arch/bzip2-1.0.8",
        "0/1",
        "compile install",
        "",
        "bzip2-1.0.8.tar.gz",
        "",
        "sys-libs/zlib",
    ),
    (
        "app-alternatives/bz-1",
        "0",
        "install",
        "",
        "",
        "",
        "app-arch/bzip2",
    ),
    ("app-misc/greeting-1", "0", "install unpack", "", "", "", ""),
    (
        "app-misc/odd-1",
        "0",
        "install postinst preinst",
        "",
        "",
        "",
        "",
    ),
];

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// The names of all source archives.
pub fn archives() -> Vec<String> {
    ROWS.iter().flat_map(|row| words(row.4)).collect()
}

/// The graph of all packages, in canonical order.
pub fn graph(rows: &[Row]) -> PackageGraph {
    let names: Vec<&str> = rows.iter().map(|row| split(row.0).0).collect();
    let packages = rows.iter().map(|row| {
        let (id, slot, phases, eclasses, archive, build, run) = *row;
        let (category_name, version) = split(id);
        let (category, name) = category_name.split_once('/').unwrap();
        let (slot, sub_slot) = slot.split_once('/').unwrap_or((slot, slot));
        let mut edges: BTreeMap<usize, Vec<EdgeKind>> = BTreeMap::new();
        for (kind, needed) in [(EdgeKind::Build, build), (EdgeKind::Run, run)] {
            for needed in needed.split_whitespace() {
                let to = names.iter().position(|name| *name == needed).unwrap();
                edges.entry(to).or_default().push(kind);
            }
        }
        Package {
            blockers: Vec::new(),
            category: category.to_owned(),
            distfiles: words(archive)
                .into_iter()
                .map(|name| Distfile {
                    digests: Vec::new(),
                    local: None,
                    name,
                    size: 0,
                    urls: Vec::new(),
                })
                .collect(),
            eapi: "8".to_owned(),
            first_round_of: None,
            edges: edges
                .into_iter()
                .map(|(to, kinds)| Edge { kinds, to })
                .collect(),
            inherits: words(eclasses)
                .into_iter()
                .map(|name| Eclass {
                    name,
                    repository: "gentoo".to_owned(),
                })
                .collect(),
            name: name.to_owned(),
            patches: Vec::new(),
            phases: words(phases),
            properties: Vec::new(),
            repository: "gentoo".to_owned(),
            restrict: Vec::new(),
            root: Place::Target,
            settings: 0,
            slot: slot.to_owned(),
            sub_slot: sub_slot.to_owned(),
            use_flags: USE.map(str::to_owned).into(),
            version: version.to_owned(),
        }
    });
    PackageGraph {
        base: Vec::new(),
        format: FORMAT,
        packages: packages.collect(),
        repositories: vec![Repository {
            at: "/var/db/repos/gentoo".to_owned(),
            masters: Vec::new(),
            name: "gentoo".to_owned(),
        }],
        settings: vec![Settings {
            bashrcs: Vec::new(),
            config: map(&[
                ("CFLAGS", "-O1 -pipe"),
                ("CXXFLAGS", "-O1 -pipe"),
                ("LDFLAGS", "-Wl,-z,relro"),
                ("ODD", "a \"b\" 'c' $d \\e \\\\f `g` #h"),
            ]),
            features: FEATURES.map(str::to_owned).into(),
            profile: map(&[
                ("ARCH", "amd64"),
                ("CBUILD", "x86_64-pc-linux-gnu"),
                ("CHOST", "x86_64-pc-linux-gnu"),
                ("ELIBC", "glibc"),
                ("KERNEL", "linux"),
                ("USERLAND", "GNU"),
                ("USE_EXPAND", "ELIBC KERNEL"),
                ("USE_EXPAND_IMPLICIT", "ARCH ELIBC KERNEL"),
                ("USE_EXPAND_VALUES_ARCH", "amd64"),
                ("USE_EXPAND_VALUES_ELIBC", "glibc"),
                ("USE_EXPAND_VALUES_KERNEL", "linux"),
            ]),
        }],
        wanted: Vec::new(),
    }
}

/// Category and name, and the version.
fn split(id: &str) -> (&str, &str) {
    id.rsplit_once('-').unwrap()
}

/// Packages with their derivations, over a base.
pub struct Built<'w> {
    pub world: &'w World,
    pub graph: PackageGraph,
    pub ready: ReadySettings,
    pub base: TreeHash,
    /// The derivation of each package.
    pub packages: Vec<DrvHash>,
}

impl<'w> Built<'w> {
    /// Makes the derivations of all packages of a tree of ebuilds over the seed; nothing is built.
    pub fn new(world: &'w World, ebuilds: TreeHash) -> Built<'w> {
        Built::over(world, ebuilds, world.seed, ROWS)
    }

    /// The same of some packages over a reduced base.
    pub fn over(world: &'w World, ebuilds: TreeHash, base: TreeHash, rows: &[Row]) -> Built<'w> {
        let graph = graph(rows);
        let repositories = BTreeMap::from([("gentoo".to_owned(), ebuilds)]);
        let snapshots = Snapshots::new(&world.store, &repositories, None);
        let around = surroundings(&snapshots, &graph, &graph.packages).unwrap();
        let ready = ReadySettings::new(&snapshots, &graph).unwrap();
        let mut built = Built {
            world,
            ready,
            base,
            packages: Vec::new(),
            graph,
        };
        for (place, around) in around.iter().enumerate() {
            let root = built.build_root(place);
            let package = &built.graph.packages[place];
            let distfiles = package.distfiles.iter();
            let distfiles =
                distfiles.map(|file| (file.name.clone(), world.distfiles[&file.name].clone()));
            let derivation = build::derivation(&Build {
                name: StepName::new("stage", &package.category_name()).unwrap(),
                package,
                graph: &built.graph,
                root,
                surroundings: around,
                distfiles: &distfiles.collect(),
                platform: &host::machine(),
                epoch: EPOCH,
                timeout: Some(600),
            });
            let hash = world.know([derivation]);
            built.packages.push(hash);
        }
        built
    }

    /// The place of a package.
    pub fn place(&self, name: &str) -> usize {
        let mut packages = self.graph.packages.iter();
        packages.position(|p| p.category_name() == name).unwrap()
    }

    /// What a package needs to be built, with all that this needs to be of use, in canonical order.
    fn closure(&self, place: usize) -> Vec<usize> {
        let needs = |place: usize, kind| {
            let edges = self.graph.packages[place].edges.iter();
            edges.filter(move |e: &&Edge| e.is(kind)).map(|e| e.to)
        };
        let mut left: Vec<usize> = needs(place, EdgeKind::Build).collect();
        let mut all = std::collections::BTreeSet::new();
        while let Some(next) = left.pop() {
            if all.insert(next) {
                left.extend(needs(next, EdgeKind::Run));
            }
        }
        all.into_iter().collect()
    }

    fn layers(&self, places: &[usize]) -> Vec<Layer<'_>> {
        let layer = |place: &usize| Layer {
            derivation: self.packages[*place],
            package: &self.graph.packages[*place],
            runs_hooks: true,
        };
        places.iter().map(layer).collect()
    }

    /// The root that a package is built in.
    pub fn build_root(&self, place: usize) -> InputSource {
        let closure = self.closure(place);
        let replaced = closure.iter().map(|place| {
            let package = &self.graph.packages[*place];
            Slot {
                category_name: package.category_name(),
                slot: package.slot.clone(),
            }
        });
        let needed = base::Libraries::Needed;
        let base = base::less(&self.world.store, self.base, &replaced.collect(), needed).unwrap();
        let derivations = compose::derivations(
            &Root {
                target: &format!("root-{place}"),
                base: Some(InputSource::Tree(base)),
                prefix: "",
                layers: &self.layers(&closure),
                purpose: Purpose::Build,
                platform: &host::machine(),
                epoch: EPOCH,
            },
            &self.ready,
        );
        match derivations.is_empty() {
            true => InputSource::Tree(base),
            false => InputSource::Derivation {
                hash: self.world.know(derivations),
                path: "/".to_owned(),
            },
        }
    }

    /// The stage of all packages, over the base, or in a folder of its own.
    pub fn stage(&self, prefix: &str, world: &[String]) -> DrvHash {
        let all: Vec<usize> = (0..self.packages.len()).collect();
        let root = Root {
            target: "stage",
            base: Some(InputSource::Tree(self.base)),
            prefix,
            layers: &self.layers(&all),
            purpose: Purpose::Stage(world),
            platform: &host::machine(),
            epoch: EPOCH,
        };
        self.world.know(compose::derivations(&root, &self.ready))
    }
}
