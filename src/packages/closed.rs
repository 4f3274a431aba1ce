//! Whether a package is *closed*: every library that its files are linked with is brought by itself or by a package that
//! lay in the root that it was built in. What only the base brings may be another one in the stage.
//!
//! If the stage has a package for such a library, the package that is linked with it needs that one and does not say so:
//! it is built once more, with it. What it was found to lack is a fact about its first build, and is recorded under the
//! key of that, so this happens once.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use mstore_store::{Draft, Hash, Kind, Realisation, RealisationKind, Store, StoreError, TreeHash};
use serde::{Deserialize, Serialize};

use super::base::{self, BaseError, Library, Slot};
use super::expand::{Circles, Layers};
use super::graph::{Package, PackageGraph, Place};
use super::linked::{Linked, Linking};
use crate::drv::Key;

/// Keeps the keys of what packages lack apart from those of packages.
const LACKS: &str = "mstore 2026 packages undeclared 1";
/// The step that what a package lacks is recorded as.
pub const STEP: &str = "undeclared";
/// The file that has it.
const FILE: &str = "undeclared.json";
/// Most bytes of that.
const MOST_BYTES: u64 = 16 << 20;
/// The C library and what compilers add to every program: no package says that it needs them, and what they are asked
/// for by stays the same.
const OF_ALL: [&str; 8] = [
    "llvm-core/compiler-rt",
    "llvm-runtimes/compiler-rt",
    "llvm-runtimes/libcxx",
    "llvm-runtimes/libcxxabi",
    "llvm-runtimes/libunwind",
    "sys-devel/gcc",
    "sys-libs/glibc",
    "sys-libs/musl",
];

/// Libraries that a package is linked with, which only the base brought, by the package of the base that has them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lack {
    /// The package of the base, `CATEGORY/NAME`.
    pub owner: String,
    /// Its slot.
    pub slot: String,
    /// The libraries, sorted.
    pub sonames: BTreeSet<String>,
}

/// What is known of what a package lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It was looked for.
    Lacks(Vec<Lack>),
    /// It was not.
    Not,
}

/// What is recorded of what the package with a key lacks.
pub fn recorded(store: &Store, key: Key) -> Result<Known, StoreError> {
    let known = store.realisation(&lacks_key(key))?;
    let Some(known) = known.filter(|known| store.has_tree(known.tree).unwrap_or(false)) else {
        return Ok(Known::Not);
    };
    let Some(Kind::File { blob, size }) = store.entry(known.tree, FILE)?.map(|entry| entry.kind)
    else {
        return Ok(Known::Not);
    };
    if size > MOST_BYTES {
        return Ok(Known::Not);
    }
    Ok(match serde_json::from_slice(&store.blob(blob)?) {
        Ok(lacks) => Known::Lacks(lacks),
        Err(_) => Known::Not,
    })
}

/// Records what the package with a key lacks. `name` is what it is recorded as, `drv` its derivation.
pub fn record(
    store: &Store,
    (key, drv, name): (Key, Hash, String),
    lacks: &[Lack],
    now: i64,
) -> Result<(), StoreError> {
    if store.is_read_only() {
        return Ok(());
    }
    let text = serde_json::to_vec(lacks).expect("lists of text can be written");
    let mut draft = Draft::new();
    draft.text(FILE, text)?;
    for tree in store.weave(&[draft])? {
        store.record(&Realisation {
            kind: RealisationKind::Step,
            key: lacks_key(key),
            drv,
            name: name.clone(),
            tree,
            started: now,
            seconds: 0.0,
            host: String::new(),
            log: None,
        })?;
    }
    Ok(())
}

fn lacks_key(key: Key) -> Hash {
    Hash::derive(LACKS, key.0.as_bytes())
}

/// A stage, as far as its packages are looked at.
#[derive(Debug)]
pub struct Stage {
    /// Its packages, with what was found out that they need.
    pub graph: PackageGraph,
    /// What lies in their build roots.
    pub layers: Layers,
    base: TreeHash,
    libraries: OnceCell<HashMap<String, Vec<Library>>>,
    /// What packages of circles take from the base though the stage has it, where they are not built twice.
    cut: BTreeSet<Place>,
}

impl Stage {
    /// A stage whose packages are built in a reduced base.
    pub fn new(graph: PackageGraph, layers: Layers, base: TreeHash) -> Stage {
        let circles = Circles::of(&graph);
        let packages = graph.packages.iter();
        let twice: Vec<Place> = packages
            .filter_map(|package| package.first_round_of)
            .collect();
        let is_twice = |place: Place| twice.contains(&place);
        let cut = circles.cut(&graph).filter(|(place, _)| !is_twice(*place));
        let cut = cut.map(|(_, need)| need).collect();
        Stage {
            cut,
            graph,
            layers,
            base,
            libraries: OnceCell::new(),
        }
    }

    /// What a package is linked with that neither it brings nor a layer of its root, and the base does; sorted. This is so
    /// whatever else the stage has.
    pub fn lacks(
        &self,
        store: &Store,
        linking: &Linking,
        image: &Linked,
        layers: &[TreeHash],
    ) -> Result<Vec<Lack>, BaseError> {
        let mut left: BTreeSet<_> = image.needs.difference(&image.brings).cloned().collect();
        for layer in layers {
            if left.is_empty() {
                break;
            }
            if let Some(layer) = linking.of(*layer)? {
                left.retain(|library| !layer.brings.contains(library));
            }
        }
        let mut found: BTreeMap<&Slot, BTreeSet<String>> = BTreeMap::new();
        for (machine, soname) in &left {
            for library in self.libraries(store)?.get(soname).into_iter().flatten() {
                if OF_ALL.contains(&library.owner.category_name.as_str()) {
                    break;
                }
                let (path, entry) = &library.file;
                let of_base = linking.of_file(path, entry)?;
                if of_base.brings.iter().any(|(own, _)| own == machine) {
                    found
                        .entry(&library.owner)
                        .or_default()
                        .insert(soname.clone());
                    break;
                }
            }
        }
        let found = found.into_iter().map(|(owner, sonames)| Lack {
            owner: owner.category_name.clone(),
            slot: owner.slot.clone(),
            sonames,
        });
        Ok(found.collect())
    }

    /// Whether packages of a circle are built with what the base has of a package, and only so.
    pub fn is_cut(&self, place: Place) -> bool {
        self.cut.contains(&place)
    }

    /// Whether packages of a circle, which were built with what the base has of a package, have to be built once more with
    /// what came of it: the base had a library that it does not bring.
    pub fn is_outdated(
        &self,
        store: &Store,
        linking: &Linking,
        place: Place,
        image: &Linked,
    ) -> Result<bool, BaseError> {
        if !self.cut.contains(&place) {
            return Ok(false);
        }
        let package = &self.graph.packages[place];
        let all = self.libraries(store)?.iter();
        for (soname, library) in all.flat_map(|(name, all)| all.iter().map(move |l| (name, l))) {
            let Slot {
                category_name,
                slot,
            } = &library.owner;
            if *category_name != package.category_name() || *slot != package.slot {
                continue;
            }
            let (path, entry) = &library.file;
            let of_base = linking.of_file(path, entry)?;
            let mut machines = of_base.brings.iter().filter(|(_, name)| name == soname);
            if machines.any(|library| !image.brings.contains(library)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn libraries(&self, store: &Store) -> Result<&HashMap<String, Vec<Library>>, BaseError> {
        if let Some(known) = self.libraries.get() {
            return Ok(known);
        }
        let mut found: HashMap<String, Vec<Library>> = HashMap::new();
        for library in base::libraries(store, self.base)? {
            found
                .entry(library.soname.clone())
                .or_default()
                .push(library);
        }
        Ok(self.libraries.get_or_init(|| found))
    }

    /// Of what a package lacks what the stage has a package for that it can be built with, and the place of that.
    pub fn undeclared<'l>(&self, place: Place, lacks: &'l [Lack]) -> Vec<(Place, &'l Lack)> {
        // Tools run in the base, and what is built in a first round is built with it.
        let is_looked_at = self.graph.packages[place].is_of_stage();
        let found = lacks.iter().filter(|_| is_looked_at).filter_map(|lack| {
            let owner = self.owner(lack)?;
            let is_there = owner == place || self.layers.of[place].contains(&owner);
            (!is_there && !self.needs(owner, place)).then_some((owner, lack))
        });
        found.collect()
    }

    /// The package of the stage that is what the base has: of the same slot, or the only one of its name.
    fn owner(&self, lack: &Lack) -> Option<Place> {
        let is_named =
            |package: &Package| package.is_of_stage() && package.category_name() == lack.owner;
        let named = self
            .graph
            .packages
            .iter()
            .enumerate()
            .filter(|(_, package)| is_named(package));
        let named: Vec<(Place, &Package)> = named.collect();
        match named.iter().find(|(_, package)| package.slot == lack.slot) {
            Some((place, _)) => Some(*place),
            None if named.len() == 1 => Some(named[0].0),
            None => None,
        }
    }

    /// Whether a package needs another one, for whatever and through whomever: that one cannot be built with it.
    fn needs(&self, place: Place, other: Place) -> bool {
        let mut seen = vec![false; self.graph.packages.len()];
        let mut left = vec![place];
        while let Some(next) = left.pop() {
            if next == other {
                return true;
            }
            if !std::mem::replace(&mut seen[next], true) {
                left.extend(self.graph.packages[next].edges.iter().map(|edge| edge.to));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::elf::tests::library;
    use crate::packages::expand::Options;
    use crate::packages::samples::graph;
    use mstore_store::OpenOptions;

    struct World {
        store: Store,
        _dir: tempfile::TempDir,
    }

    impl World {
        fn new() -> World {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
            World { store, _dir: dir }
        }

        fn tree(&self, files: &[(&str, &[u8])]) -> TreeHash {
            let mut draft = Draft::new();
            for (path, content) in files {
                draft.text(path, *content).unwrap();
            }
            self.store.weave(&[draft]).unwrap()[0]
        }

        /// A base with two libraries: `curses` of a package, and one that nobody owns.
        fn base(&self) -> TreeHash {
            let entry = "var/db/pkg/dev-libs/curses-1";
            self.tree(&[
                ("usr/lib/libcurses.so.5", &library("libcurses.so.5", &[])),
                ("usr/lib/libnobody.so.1", &library("libnobody.so.1", &[])),
                (&format!("{entry}/SLOT"), b"0\n"),
                (
                    &format!("{entry}/CONTENTS"),
                    b"obj /usr/lib/libcurses.so.5 00 17\n",
                ),
                (
                    &format!("{entry}/NEEDED.ELF.2"),
                    b"X86_64;/usr/lib/libcurses.so.5;libcurses.so.5;;;x86_64\n",
                ),
            ])
        }

        fn stage(&self, graph: PackageGraph) -> Stage {
            let layers = Layers::of(&graph, &Options::default()).unwrap();
            Stage::new(graph, layers, self.base())
        }

        fn lacks(&self, stage: &Stage, needed: &[&str], layers: &[TreeHash]) -> Vec<Lack> {
            let linking = Linking::new(&self.store);
            let image = self.tree(&[("usr/lib/libtui.so.1", &library("libtui.so.1", needed))]);
            let image = linking.of(image).unwrap().unwrap();
            stage.lacks(&self.store, &linking, &image, layers).unwrap()
        }
    }

    #[test]
    fn what_only_the_base_brings_and_the_stage_has_a_package_for_is_undeclared() {
        let world = World::new();
        let stage = world.stage(graph(&["curses", "tui"], &[]));
        let needed = ["libcurses.so.5", "libnobody.so.1", "libtui.so.1"];
        let lacks = world.lacks(&stage, &needed, &[]);
        let found = Lack {
            owner: "dev-libs/curses".into(),
            slot: "0".into(),
            sonames: ["libcurses.so.5".to_owned()].into(),
        };
        assert_eq!(lacks, [found]);
        assert_eq!(stage.undeclared(1, &lacks), [(0, &lacks[0])]);
        // A layer brings it, whoever that is.
        let file = library("libcurses.so.5", &[]);
        let layer = world.tree(&[("usr/lib/libcurses.so.5", &file)]);
        assert_eq!(world.lacks(&stage, &needed, &[layer]), []);
        // It is declared, the stage has none, or that one needs this one itself.
        let declared = world.stage(graph(&["curses", "tui"], &[(1, "b", 0)]));
        assert_eq!(declared.undeclared(1, &lacks), []);
        let other = world.stage(graph(&["other", "tui"], &[]));
        assert_eq!(other.undeclared(1, &lacks), []);
        let circle = world.stage(graph(&["curses", "tui"], &[(0, "b", 1)]));
        assert_eq!(circle.undeclared(1, &lacks), []);
        // What is built in a first round is built with the base.
        let mut twice = graph(&["curses", "tui"], &[(0, "b", 1), (1, "br", 0)]);
        crate::packages::expand::twice(&mut twice, |_| true);
        let twice = world.stage(twice);
        assert_eq!(twice.graph.packages[3].first_round_of, Some(1));
        assert_eq!(twice.undeclared(3, &lacks), []);
    }

    #[test]
    fn what_a_package_lacks_is_remembered_with_its_first_build() {
        let world = World::new();
        let key = Key(Hash::derive("a test", b"key"));
        assert_eq!(recorded(&world.store, key).unwrap(), Known::Not);
        let lacks = [Lack {
            owner: "dev-libs/curses".into(),
            slot: "0".into(),
            sonames: ["libcurses.so.5".to_owned()].into(),
        }];
        let of = (key, key.0, "stage/dev-libs/tui:undeclared".to_owned());
        record(&world.store, of, &lacks, 7).unwrap();
        let known = recorded(&world.store, key).unwrap();
        assert_eq!(known, Known::Lacks(lacks.to_vec()));
    }

    #[test]
    fn a_circle_is_built_twice_if_the_base_had_another_library() {
        let world = World::new();
        let stage = world.stage(graph(&["curses", "tui"], &[(0, "b", 1), (1, "br", 0)]));
        assert!(stage.is_cut(0) && stage.is_cut(1));
        let linking = Linking::new(&world.store);
        let is_outdated = |soname: &str| {
            let image = world.tree(&[("usr/lib/libcurses.so", &library(soname, &[]))]);
            let image = linking.of(image).unwrap().unwrap();
            stage
                .is_outdated(&world.store, &linking, 0, &image)
                .unwrap()
        };
        assert!(is_outdated("libcurses.so.6"));
        assert!(!is_outdated("libcurses.so.5"));
    }
}
