//! Any sequence of operations on a store agrees with a simple model of it.
//!
//! `MSTORE_PROPERTY_CASES` says how many sequences are tried; there are few by default.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mstore_store::transfer::{LocalSource, ReceiveOptions};
use mstore_store::*;
use proptest::prelude::*;
use proptest::sample::Index;

mod cases;
use cases::cases;

#[derive(Clone, Debug)]
enum Op {
    Import(u8),
    /// From an archive of what the folder holds.
    ImportTar(u8),
    /// What a build on a tree adds one file to.
    Capture(u8, u8),
    Pick(u8),
    Root(u8, u8),
    Unroot(u8),
    Lease(u8, u8),
    Unlease(u8),
    Record(u8, u8),
    Forget(Index),
    /// So many of each name, and those younger than so many records.
    Collect(usize, u8),
    Shrink(u64),
    Repack,
    Verify(bool),
    Reopen,
    Checkout(u8),
    Read(u8),
    CopyTo(u8),
    CopyFrom(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..8u8).prop_map(Op::Import),
        1 => (0..8u8).prop_map(Op::ImportTar),
        2 => (0..8u8, 0..3u8).prop_map(|(n, m)| Op::Capture(n, m)),
        1 => (0..8u8).prop_map(Op::Pick),
        3 => (0..4u8, 0..32u8).prop_map(|(n, t)| Op::Root(n, t)),
        2 => (0..4u8).prop_map(Op::Unroot),
        2 => (0..3u8, 0..32u8).prop_map(|(n, t)| Op::Lease(n, t)),
        1 => (0..3u8).prop_map(Op::Unlease),
        2 => (0..3u8, 0..32u8).prop_map(|(n, t)| Op::Record(n, t)),
        1 => any::<Index>().prop_map(Op::Forget),
        3 => (0..3usize, 0..4u8).prop_map(|(keep, young)| Op::Collect(keep, young)),
        1 => (0..400_000u64).prop_map(Op::Shrink),
        1 => Just(Op::Repack),
        1 => any::<bool>().prop_map(Op::Verify),
        2 => Just(Op::Reopen),
        2 => (0..32u8).prop_map(Op::Checkout),
        2 => (0..32u8).prop_map(Op::Read),
        2 => (0..32u8).prop_map(Op::CopyTo),
        2 => (0..32u8).prop_map(Op::CopyFrom),
    ]
}

/// What must be true of the store.
#[derive(Default)]
struct Model {
    /// All trees that there ever were, by what made them; none has two names.
    known: BTreeMap<u8, TreeHash>,
    here: BTreeSet<TreeHash>,
    held: BTreeSet<TreeHash>,
    roots: BTreeMap<String, TreeHash>,
    leases: BTreeMap<u8, (Lease, BTreeSet<TreeHash>)>,
    /// Number, name and tree; newest last.
    records: Vec<(u8, String, TreeHash)>,
    clock: u8,
    /// What the other store has.
    elsewhere: BTreeSet<TreeHash>,
}

impl Model {
    fn made(&mut self, by: u8, tree: TreeHash) {
        assert_eq!(
            *self.known.entry(by).or_insert(tree),
            tree,
            "two trees of one thing"
        );
        self.came(tree);
    }

    fn came(&mut self, tree: TreeHash) {
        self.here.insert(tree);
        self.held.insert(tree);
    }

    /// What nobody may collect.
    fn protected(&self) -> BTreeSet<TreeHash> {
        let leased = self.leases.values().flat_map(|(_, trees)| trees);
        let roots = self.roots.values().chain(&self.held);
        roots.chain(leased).copied().collect()
    }

    fn alive(&self, keep: usize, since: u8) -> BTreeSet<TreeHash> {
        let mut alive = self.protected();
        let mut groups: BTreeMap<&str, BTreeSet<TreeHash>> = BTreeMap::new();
        for (number, name, tree) in self.records.iter().rev() {
            if !self.here.contains(tree) {
                continue;
            }
            let group = groups.entry(name).or_default();
            if group.len() < keep {
                group.insert(*tree);
            }
            if *number >= since {
                alive.insert(*tree);
            }
        }
        alive.extend(groups.into_values().flatten());
        alive
    }
}

struct Stores {
    dir: tempfile::TempDir,
    store: Store,
    other: Store,
}

fn open(path: &Path) -> Store {
    Store::open(path, &OpenOptions::create()).unwrap()
}

impl Stores {
    fn new() -> Stores {
        let dir = tempfile::tempdir().unwrap();
        Stores {
            store: open(&dir.path().join("store")),
            other: open(&dir.path().join("other")),
            dir,
        }
    }

    /// A folder with something of its own, something that half of them have, and something that all have.
    fn source(&self, n: u8) -> PathBuf {
        let dir = self.dir.path().join(format!("source{n}"));
        if !dir.exists() {
            std::fs::create_dir_all(dir.join("d")).unwrap();
            std::fs::write(dir.join("own"), [n].repeat(5000)).unwrap();
            std::fs::write(dir.join("d/half"), [n / 2].repeat(9000)).unwrap();
            std::fs::write(dir.join("d/all"), "the same everywhere").unwrap();
        }
        dir
    }

    fn capture(&self, base: TreeHash, m: u8) -> Result<TreeHash, StoreError> {
        let lease = self.store.lease("build")?;
        lease.protect(base)?;
        let scratch = self.store.scratch("upper")?;
        let upper = scratch.path().join("upper");
        self.store.prepare_upper(base, &upper)?;
        std::fs::write(upper.join("new"), [100 + m].repeat(3000)).unwrap();
        let options = CaptureOptions { epoch: 0 };
        Ok(self.store.capture(base, &upper, &options)?.tree)
    }

    fn copy(from: &Store, to: &Store, tree: TreeHash) -> bool {
        let source = LocalSource::new(from);
        let options = ReceiveOptions {
            cancel: &Cancel::new(),
            progress: &|_| (),
            dry_run: false,
        };
        to.receive(&source, &[tree], &options).is_ok()
    }

    fn check(&self, quick: bool) {
        let options = VerifyOptions {
            quick,
            checkouts: !quick,
            ..VerifyOptions::default()
        };
        let report = self.store.verify(&options, &mut |_| ()).unwrap();
        assert_eq!(report.faults, vec![]);
    }
}

/// The numbers of what is made from folder `n`: the whole, its folder `d`, and three builds on it.
fn picked(n: u8) -> u8 {
    64 + n
}

fn captured(n: u8, m: u8) -> u8 {
    128 + n * 3 + m
}

/// Tells whether a tree was there; every other error is one.
fn was_here<T>(result: Result<T, StoreError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(StoreError::Missing { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Does one thing to the store and to the model.
fn run(stores: &mut Stores, model: &mut Model, op: Op) {
    let any = |model: &Model, n: u8| {
        let count = model.known.len().max(1);
        model
            .known
            .iter()
            .nth(usize::from(n) % count)
            .map(|(by, tree)| (*by, *tree))
    };
    let store = &stores.store;
    match op {
        Op::Import(n) => {
            let options = ImportOptions::snapshot();
            let tree = store.import_dir(&stores.source(n), &options).unwrap().tree;
            model.made(n, tree);
        }
        Op::ImportTar(n) => {
            let Some(tree) = model.known.get(&n).copied() else {
                return;
            };
            let mut archive = Vec::new();
            let options = ExportOptions::default();
            if was_here(store.export_tar(tree, &mut archive, &options)).is_some() {
                assert!(model.here.contains(&tree));
                let tree = store
                    .import_tar(&archive[..], &TarOptions::seed())
                    .unwrap()
                    .tree;
                model.made(n, tree);
            } else {
                assert!(!model.here.contains(&tree));
            }
        }
        Op::Capture(n, m) => {
            let Some(base) = model.known.get(&n).copied() else {
                return;
            };
            let tree = was_here(stores.capture(base, m));
            assert_eq!(tree.is_some(), model.here.contains(&base));
            if let Some(tree) = tree {
                model.made(captured(n, m), tree);
            }
        }
        Op::Pick(n) => {
            let Some(from) = model.known.get(&n).copied() else {
                return;
            };
            let tree = was_here(store.pick(from, &["d"]));
            assert_eq!(tree.is_some(), model.here.contains(&from));
            // Two folders have the same `d`, so it goes by the first that had it.
            if let Some(tree) = tree {
                let by = model.known.iter().find(|(_, known)| **known == tree);
                let by = by.map_or(picked(n), |(by, _)| *by);
                model.made(by, tree);
            }
        }
        Op::Root(name, n) => {
            let Some((_, tree)) = any(model, n) else {
                return;
            };
            let name = format!("root{name}");
            let added = was_here(store.add_root(&name, tree)).is_some();
            assert_eq!(added, model.here.contains(&tree));
            if added {
                model.roots.insert(name, tree);
            }
        }
        Op::Unroot(name) => {
            let name = format!("root{name}");
            let had = model.roots.remove(&name).is_some();
            assert_eq!(store.remove_root(&name).unwrap(), had);
        }
        Op::Lease(number, n) => {
            let Some((_, tree)) = any(model, n) else {
                return;
            };
            let lease = || (store.lease("test").unwrap(), BTreeSet::new());
            let (lease, trees) = model.leases.entry(number).or_insert_with(lease);
            let protected = was_here(lease.protect(tree)).is_some();
            assert_eq!(protected, model.here.contains(&tree));
            if protected {
                trees.insert(tree);
            }
        }
        Op::Unlease(number) => drop(model.leases.remove(&number)),
        Op::Record(name, n) => {
            let Some((_, tree)) = any(model, n) else {
                return;
            };
            model.clock += 1;
            let name = format!("target{name}");
            let recorded = was_here(store.record(&Realisation {
                kind: RealisationKind::Target,
                key: Hash::of(&[model.clock]),
                drv: Hash::of(b"d"),
                name: name.clone(),
                tree,
                started: i64::from(model.clock),
                seconds: 0.0,
                host: "h".into(),
                log: None,
            }));
            assert_eq!(recorded.is_some(), model.here.contains(&tree));
            if recorded.is_some() {
                model.records.push((model.clock, name, tree));
            }
        }
        Op::Forget(which) => {
            if model.records.is_empty() {
                return;
            }
            let (number, ..) = model.records.remove(which.index(model.records.len()));
            let key = Hash::of(&[number]);
            assert!(store.forget(&key).unwrap());
            assert!(!store.forget(&key).unwrap());
        }
        Op::Collect(keep, young) => {
            let since = (model.clock + 1).saturating_sub(young);
            let policy = GcPolicy {
                keep_since: Some(i64::from(since)),
                ..GcPolicy::newest(keep)
            };
            let dry = store.gc(&policy, true).unwrap();
            let real = store.gc(&policy, false).unwrap();
            assert_eq!(dry, real);
            let found: BTreeSet<_> = real.alive.iter().map(|s| s.tree).collect();
            let alive = model.alive(keep, since);
            assert_eq!(found, alive);
            model.here = alive;
        }
        Op::Shrink(max) => {
            let policy = GcPolicy {
                max_size: Some(max),
                ..GcPolicy::newest(3)
            };
            let dry = store.gc(&policy, true).unwrap();
            let real = store.gc(&policy, false).unwrap();
            assert_eq!(dry, real);
            let found: BTreeSet<_> = real.alive.iter().map(|s| s.tree).collect();
            assert!(found.is_superset(&model.protected()));
            assert!(found.is_subset(&model.alive(3, u8::MAX)));
            model.here = found;
        }
        Op::Repack => assert!(store.repack(&Cancel::new()).unwrap().complete),
        Op::Verify(quick) => stores.check(quick),
        Op::Reopen => {
            // A lease holds the store open.
            model.leases.clear();
            model.held.clear();
            let path = store.path().to_owned();
            let nothing = Store::nothing(&path).unwrap();
            drop(std::mem::replace(&mut stores.store, nothing));
            stores.store = open(&path);
        }
        Op::Checkout(n) => {
            let Some((by, tree)) = any(model, n) else {
                return;
            };
            let checkout = was_here(store.checkout(tree));
            assert_eq!(checkout.is_some(), model.here.contains(&tree));
            if let Some(checkout) = checkout
                && by < 64
            {
                let own = std::fs::read(checkout.layers()[0].join("own")).unwrap();
                assert_eq!(own, [by].repeat(5000));
            }
        }
        Op::Read(n) => {
            let Some((by, tree)) = any(model, n) else {
                return;
            };
            let files = was_here(store.tree(tree)).map(|tree| {
                let manifest = store.manifest(tree.dir).unwrap();
                let read = |name: &str| match manifest.get(name.as_bytes())?.kind {
                    Kind::File { blob, .. } => Some(store.blob(blob).unwrap()),
                    _ => None,
                };
                (read("own"), read("new"))
            });
            assert_eq!(files.is_some(), model.here.contains(&tree));
            match files {
                Some(files) if by < 64 => assert_eq!(files, (Some([by].repeat(5000)), None)),
                Some(files) if by >= 128 => {
                    let (n, m) = ((by - 128) / 3, (by - 128) % 3);
                    let (own, new) = ([n].repeat(5000), [100 + m].repeat(3000));
                    assert_eq!(files, (Some(own), Some(new)));
                }
                _ => {}
            }
        }
        Op::CopyTo(n) => {
            let Some((_, tree)) = any(model, n) else {
                return;
            };
            let done = Stores::copy(store, &stores.other, tree);
            let was = model.here.contains(&tree) || model.elsewhere.contains(&tree);
            assert_eq!(done, was);
            if done {
                model.elsewhere.insert(tree);
            }
        }
        Op::CopyFrom(n) => {
            let Some((_, tree)) = any(model, n) else {
                return;
            };
            let done = Stores::copy(&stores.other, store, tree);
            let was = model.here.contains(&tree) || model.elsewhere.contains(&tree);
            assert_eq!(done, was);
            if done {
                model.came(tree);
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(20))]

    #[test]
    fn any_sequence_of_operations_agrees_with_the_model(ops in prop::collection::vec(op(), 1..40)) {
        let mut stores = Stores::new();
        let mut model = Model::default();
        for op in ops {
            run(&mut stores, &mut model, op);
            for tree in model.known.values() {
                let here = stores.store.has_tree(*tree).unwrap();
                prop_assert_eq!(here, model.here.contains(tree));
            }
            let roots: BTreeMap<String, TreeHash> = stores
                .store
                .roots()
                .unwrap()
                .into_iter()
                .map(|root| (root.name, root.tree))
                .collect();
            prop_assert_eq!(&roots, &model.roots);
            let recorded = stores.store.realisations(None).unwrap();
            let newest = model.records.iter().rev().map(|(_, _, tree)| *tree);
            prop_assert!(recorded.iter().map(|r| r.tree).eq(newest));
        }
        model.leases.clear();
        stores.check(false);
    }
}
