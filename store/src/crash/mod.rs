//! Faults at every call: a script of all that a store does runs on a [`FaultyDisk`] which fails at the
//! first call, then at the second, and so on; then the machine comes back, and what was acknowledged
//! must be there, nothing half-written may be seen, and everything must work again. Copies, repairs and
//! repacks are scenes of their own (`scenes.rs`).
//!
//! By default only some of the calls are tried; `MSTORE_TEST_FAULTS=all` tries every one.

mod copies;
mod folds;
mod pairs;
mod repairs;
mod rescue;
mod scenes;
mod script;
mod sessions;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::faulty::{Crash, FaultyDisk, World};
use crate::disk::{Disk, RealDisk};
use crate::*;

/// Directories to import, and what a store without faults makes of them.
struct Bench {
    top: tempfile::TempDir,
    /// The archive of each tree.
    archives: BTreeMap<TreeHash, Vec<u8>>,
}

/// What is known to be in the store.
#[derive(Clone, Debug, Default)]
struct Model {
    trees: BTreeSet<TreeHash>,
    gone: BTreeSet<TreeHash>,
    roots: BTreeMap<String, TreeHash>,
    records: BTreeMap<Hash, Realisation>,
    /// Names of roots and keys of realisations that were being changed.
    doubt: BTreeSet<String>,
}

impl Model {
    /// The roots and records of a store.
    fn of(store: &Store) -> Model {
        let roots = store.roots().unwrap().into_iter();
        let records = store.realisations(None).unwrap().into_iter();
        Model {
            roots: roots.map(|r| (r.name, r.tree)).collect(),
            records: records.map(|r| (r.key, r)).collect(),
            ..Model::default()
        }
    }
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    hasher.finalize_xof().fill(&mut out);
    out
}

fn archive(store: &Store, tree: TreeHash) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    store.export_tar(tree, &mut out, &ExportOptions::default())?;
    Ok(out)
}

impl Bench {
    fn new() -> Bench {
        // Memory where there is some: nothing here needs a real disk.
        let memory = Path::new("/dev/shm");
        let top = match std::env::var_os("TMPDIR") {
            None if memory.is_dir() => tempfile::tempdir_in(memory),
            _ => tempfile::tempdir(),
        };
        let top = top.expect("a folder for tests can be made");
        for n in 0..4u8 {
            let dir = top.path().join(format!("source{n}"));
            fs::create_dir_all(dir.join("d/e")).unwrap();
            fs::write(dir.join("d/shared"), noise(100, 3000)).unwrap();
            fs::write(dir.join("d/e/own"), noise(n, 9000)).unwrap();
            fs::write(dir.join("d/text"), "all the same\n".repeat(50)).unwrap();
            fs::write(dir.join("number"), [n]).unwrap();
            std::os::unix::fs::symlink("d/text", dir.join("link")).unwrap();
        }
        Bench {
            top,
            archives: BTreeMap::new(),
        }
    }

    fn source(&self, n: u8) -> PathBuf {
        self.top.path().join(format!("source{n}"))
    }

    fn world(&self, name: &str, fault: crate::disk::faulty::Fault, lies: bool) -> Arc<World> {
        World::new(&self.top.path().join(format!("{name}.aside")), fault, lies)
    }

    fn clear(&self, name: &str) {
        let _ = RealDisk::ANYWHERE.remove_tree(&self.top.path().join(name));
        let _ = RealDisk::ANYWHERE.remove_tree(&self.top.path().join(format!("{name}.aside")));
    }
}

/// Tells what was tried when a test fails.
struct Tell(String);

impl Drop for Tell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("while testing: {}", self.0);
        }
    }
}

/// Waits until no thread has anything of a store any more.
fn closed(disk: &Arc<FaultyDisk>) {
    let end = Instant::now() + Duration::from_secs(60);
    while Arc::strong_count(disk) > 1 {
        assert!(Instant::now() < end, "the store is still in use");
        std::thread::yield_now();
    }
}

/// The machine comes back. All stores must be closed.
fn come_back(world: &World, root: &Path, how: Crash) {
    world.crash(how);
    if how != Crash::Kill {
        forget_unsynced(root);
    }
}

/// What a power cut takes that no world notes.
fn forget_unsynced(root: &Path) {
    let _ = fs::remove_file(root.join("db/mstore.sqlite-shm"));
    // What was never synced may be anything.
    for folder in ["checkouts", "layers", "tmp"] {
        spoil(&root.join(folder));
    }
}

fn spoil(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            spoil(&entry.path());
        } else if kind.is_file() {
            fs::File::options()
                .write(true)
                .truncate(true)
                .open(entry.path())
                .unwrap();
        }
    }
}

fn clean(store: &Store) {
    let report = store.verify(&VerifyOptions::default(), &mut |_| ());
    assert_eq!(report.unwrap().faults, []);
}

/// Looks whether a store that came back is as it must be.
fn check(bench: &Bench, store: &Store, model: &Model) {
    clean(store);
    for tree in &model.trees {
        assert!(store.has_tree(*tree).unwrap(), "tree {tree} is lost");
        if let Some(expected) = bench.archives.get(tree) {
            assert!(
                archive(store, *tree).unwrap() == *expected,
                "{tree} differs"
            );
        }
    }
    for tree in &model.gone {
        assert!(!store.has_tree(*tree).unwrap(), "tree {tree} came back");
    }
    let mut roots = model.roots.clone();
    let mut found: BTreeMap<_, _> = store
        .roots()
        .unwrap()
        .into_iter()
        .map(|root| (root.name, root.tree))
        .collect();
    roots.retain(|name, _| !model.doubt.contains(name));
    found.retain(|name, _| !model.doubt.contains(name));
    assert_eq!(found, roots);
    let mut records = model.records.clone();
    let list = store.realisations(None).unwrap();
    let mut found: BTreeMap<_, _> = list.into_iter().map(|r| (r.key, r)).collect();
    records.retain(|key, _| !model.doubt.contains(&key.to_string()));
    found.retain(|key, _| !model.doubt.contains(&key.to_string()));
    assert_eq!(found, records);
    // What is written out is whole.
    for tree in &model.trees {
        let checkout = store.checkout(*tree).unwrap();
        for layer in checkout.layers() {
            check_layer(store, layer);
        }
    }
}

fn check_layer(store: &Store, layer: &Path) {
    let name = layer.file_name().and_then(|name| name.to_str());
    let tree: TreeHash = name.and_then(|name| name.parse().ok()).unwrap();
    if layer.parent().is_some_and(|p| p.ends_with("layers")) {
        assert_eq!(fs::read(layer.join("made")).unwrap(), b"made by a build");
        return;
    }
    let options = ImportOptions {
        no_cache: true,
        ..ImportOptions::default()
    };
    assert_eq!(store.import_dir(layer, &options).unwrap().tree, tree);
}

/// Looks whether the collector finds everything that a crash left.
fn tidy(store: &Store) {
    store.gc(&GcPolicy::newest(1), false).unwrap();
    assert_eq!(store.gc(&GcPolicy::newest(1), true).unwrap().gone, []);
    let own = store.session().unwrap().id.clone();
    let list = |folder: &str| RealDisk::ANYWHERE.list(&store.path().join(folder)).unwrap();
    assert_eq!(list("tmp"), [own.as_str()]);
    let packs = store.refresh().unwrap();
    assert_eq!(list("packs").len(), packs.packs.len());
    assert_eq!(packs.broken().unwrap().packs, []);
    // A session that ended while it began has no name yet; it goes when it is old enough.
    for name in list("sessions") {
        let name = name.to_str().unwrap();
        assert!(name == own || name.ends_with(".new"), "session {name}");
    }
    clean(store);
}
