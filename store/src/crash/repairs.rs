//! Repairs of a damaged store, by forgetting and with the help of another store, and repacks.

use std::os::unix::fs::FileExt;

use super::scenes::{Mode, Scene, copy_folder, sweep};
use super::script::realisation;
use super::*;
use crate::manifest::Kind;

const ROOT: &str = "store";
const PEER: &str = "peer";

/// Three trees with a root and a realisation each.
pub(super) fn three(bench: &mut Bench, path: &Path) -> (Vec<TreeHash>, Model) {
    let store = Store::open(path, &OpenOptions::create()).unwrap();
    let mut model = Model::default();
    let mut trees = Vec::new();
    for n in 0..3u8 {
        let options = ImportOptions::snapshot();
        let tree = store.import_dir(&bench.source(n), &options).unwrap().tree;
        bench.archives.insert(tree, archive(&store, tree).unwrap());
        let r = realisation(n, &format!("target{n}"), tree);
        store.record(&r).unwrap();
        store.add_root(&format!("root{n}"), tree).unwrap();
        model.trees.insert(tree);
        model.records.insert(r.key, r);
        model.roots.insert(format!("root{n}"), tree);
        trees.push(tree);
    }
    (trees, model)
}

/// The pack and the place of the content that only one tree has.
fn own(store: &Store, tree: TreeHash) -> (Arc<crate::pack::Pack>, crate::pack::PackEntry) {
    let mut manifest = store.manifest(store.tree(tree).unwrap().dir).unwrap();
    for name in ["d", "e"] {
        let Kind::Dir { manifest: below } = entry(&manifest, name) else {
            panic!("{name} is a folder");
        };
        manifest = store.manifest(below).unwrap();
    }
    let Kind::File { blob, .. } = entry(&manifest, "own") else {
        panic!("own is a file");
    };
    store.find(&blob.0).unwrap().unwrap()
}

fn entry(manifest: &Manifest, name: &str) -> Kind {
    let found = manifest
        .entries()
        .iter()
        .find(|e| e.name == name.as_bytes());
    found.unwrap().kind.clone()
}

fn damage(path: &Path, at: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(b"damaged", at).unwrap();
}

/// A store of which content is damaged that the second tree needs, and the index of the pack with
/// content of the third; and a file among the packs that does not belong there.
struct Repair {
    peer: bool,
    trees: Vec<TreeHash>,
    model: Model,
}

impl Repair {
    fn forgetting() -> Repair {
        Repair {
            peer: false,
            trees: Vec::new(),
            model: Model::default(),
        }
    }

    fn refetching() -> Repair {
        Repair {
            peer: true,
            ..Repair::forgetting()
        }
    }

    fn repair(&self, bench: &Bench, store: &Store) -> Result<VerifyReport, StoreError> {
        let options = VerifyOptions {
            repair: true,
            ..VerifyOptions::default()
        };
        if !self.peer {
            return store.verify(&options, &mut |_| ());
        }
        // Somebody else's disk has faults of its own.
        let peer = Store::open(&bench.top.path().join(PEER), &OpenOptions::read_only()).unwrap();
        let mut refetch = |hash: &Hash| {
            let (pack, place) = peer.find(hash).unwrap()?;
            let mut room = crate::pack::Room::default();
            Some(pack.load(&place, &mut room).unwrap().to_vec())
        };
        store.verify_with(&options, &mut refetch, &mut |_| ())
    }

    /// What was not damaged, and with a peer all of it, is there.
    fn kept(&self, store: &Store) -> Model {
        let mut model = self.model.clone();
        if self.peer {
            return model;
        }
        let (key, lost) = (Hash::of(&[1]), self.trees[1]);
        model.trees.remove(&lost);
        // It may be there, as a whole, when it was imported again.
        let here = store.has_tree(lost).unwrap();
        let record = store.realisations(None).unwrap();
        assert!(here || record.iter().all(|r| r.key != key));
        model.doubt = ["root1".to_string(), key.to_string()].into();
        model
    }
}

impl Scene for Repair {
    /// Whether the repair came to its end.
    type Known = bool;

    const FOLDERS: &'static [&'static str] = &[ROOT, PEER];

    fn prepare(&mut self, bench: &mut Bench, top: &Path) {
        (self.trees, self.model) = three(bench, &top.join(ROOT));
        copy_folder(&top.join(ROOT), &top.join(PEER));
        let store = Store::open(&top.join(ROOT), &OpenOptions::default()).unwrap();
        let (pack, place) = own(&store, self.trees[1]);
        damage(&pack.path, place.offset + 100);
        let (pack, _) = own(&store, self.trees[2]);
        damage(&pack.path, pack.len() - 30);
        fs::write(store.path().join("packs/strange"), "not ours").unwrap();
    }

    fn play(
        &self,
        bench: &Bench,
        disk: &Arc<FaultyDisk>,
        known: &mut bool,
    ) -> Result<(), StoreError> {
        let root = bench.top.path().join(ROOT);
        let store = Store::open_on(&root, &OpenOptions::default(), disk.clone())?;
        self.repair(bench, &store)?;
        let report = store.verify(&VerifyOptions::default(), &mut |_| ())?;
        assert_eq!(report.faults, []);
        *known = true;
        // As `realise` does with what was forgotten.
        let tree = store
            .import_dir(&bench.source(1), &ImportOptions::snapshot())?
            .tree;
        store.record(&realisation(1, "target1", tree))?;
        store.add_root("root1", tree)
    }

    fn check(&self, bench: &Bench, known: &bool) {
        let root = bench.top.path().join(ROOT);
        let store = Store::open(&root, &OpenOptions::default()).unwrap();
        let first = self.trees[0];
        assert!(archive(&store, first).unwrap() == bench.archives[&first]);
        if *known {
            clean(&store);
        }
        // One that was interrupted is done again.
        self.repair(bench, &store).unwrap();
        clean(&store);
        check(bench, &store, &self.kept(&store));
        assert!(!root.join("packs/strange").exists());
        if self.peer {
            // What was fetched before the fault is not fetched again, and there is no harm in asking.
            assert_eq!(self.repair(bench, &store).unwrap().faults, []);
        }
    }

    fn check_end(&self, bench: &Bench, known: &bool) {
        assert!(known);
        let root = bench.top.path().join(ROOT);
        let store = Store::open(&root, &OpenOptions::default()).unwrap();
        check(bench, &store, &self.model);
        tidy(&store);
        check(bench, &store, &self.model);
    }
}

/// Packs that were written fast are written well, in steps of one pack each, and garbage is collected.
#[derive(Default)]
struct Repack {
    model: Model,
}

impl Scene for Repack {
    /// What was imported besides.
    type Known = BTreeSet<TreeHash>;

    const FOLDERS: &'static [&'static str] = &[ROOT];

    fn prepare(&mut self, bench: &mut Bench, top: &Path) {
        (_, self.model) = three(bench, &top.join(ROOT));
    }

    fn play(
        &self,
        bench: &Bench,
        disk: &Arc<FaultyDisk>,
        known: &mut BTreeSet<TreeHash>,
    ) -> Result<(), StoreError> {
        let root = bench.top.path().join(ROOT);
        let store = Store::open_on(&root, &OpenOptions::default(), disk.clone())?;
        store.repack_in_steps(1, &Cancel::new())?;
        let options = ImportOptions::snapshot();
        let tree = store.import_dir(&bench.source(3), &options)?.tree;
        known.insert(tree);
        assert!(store.repack(&Cancel::new())?.complete);
        store.gc(&GcPolicy::newest(1), false)?;
        for tree in self.model.trees.iter().chain(&*known) {
            assert!(archive(&store, *tree)?.len() > 1024);
        }
        Ok(())
    }

    fn check(&self, bench: &Bench, known: &BTreeSet<TreeHash>) {
        let store = Store::open(&bench.top.path().join(ROOT), &OpenOptions::default()).unwrap();
        let mut model = self.model.clone();
        model.trees.extend(known);
        check(bench, &store, &model);
    }

    fn check_end(&self, bench: &Bench, _: &BTreeSet<TreeHash>) {
        let store = Store::open(&bench.top.path().join(ROOT), &OpenOptions::default()).unwrap();
        assert_eq!(store.repack(&Cancel::new()).unwrap().packs, 0);
        tidy(&store);
        check(bench, &store, &self.model);
    }
}

#[test]
fn a_repair_that_stops_at_any_call_can_be_repeated() {
    sweep(Repair::forgetting(), Mode::Stop, 14);
    sweep(Repair::refetching(), Mode::Stop, 14);
}

#[test]
fn a_power_cut_at_any_call_of_a_repair_can_be_repaired() {
    sweep(Repair::forgetting(), Mode::PowerCut, 8);
    sweep(Repair::refetching(), Mode::PowerCut, 8);
}

#[test]
fn a_disk_full_at_any_call_of_a_repair_loses_nothing_more() {
    sweep(Repair::forgetting(), Mode::Full, 8);
    sweep(Repair::refetching(), Mode::Full, 8);
}

#[test]
fn an_error_at_any_call_of_a_repair_loses_nothing_more() {
    sweep(Repair::forgetting(), Mode::Error, 14);
    sweep(Repair::refetching(), Mode::Error, 14);
}

#[test]
fn a_fault_at_any_call_of_a_repack_loses_nothing() {
    sweep(Repack::default(), Mode::Stop, 14);
    sweep(Repack::default(), Mode::PowerCut, 6);
    sweep(Repack::default(), Mode::Full, 6);
    sweep(Repack::default(), Mode::Error, 14);
    sweep(Repack::default(), Mode::Early, 10);
}
