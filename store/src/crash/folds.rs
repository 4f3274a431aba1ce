//! Additions that leave small packs, so that they are folded together and listed in catalogues all the
//! time, with a fault at each call.

use super::scenes::{Mode, Scene, sweep};
use super::script::realisation;
use super::*;
use crate::pack::Rule;

const ROOT: &str = "store";
/// How many small trees are added.
const TREES: u8 = 7;

/// Folds and lists after every second addition; three levels below what the packs of the tests have.
pub(super) fn early() -> Rule {
    Rule {
        levels: [(1 << 10, 2), (2 << 10, 2), (6 << 10, 2)],
        list: 2,
    }
}

/// Adds small trees, one after the other, each with a directory and a content of its own.
pub(super) fn small(store: &Store, from: u8, to: u8, model: &mut Model) -> Result<(), StoreError> {
    for n in from..to {
        let mut builder = store.tree_builder()?;
        builder.file(b"d/own", Meta::default(), &mut &noise(n, 700)[..])?;
        builder.file(b"shared", Meta::default(), &mut &noise(200, 900)[..])?;
        let tree = builder.finish()?.tree;
        model.trees.insert(tree);
        let r = realisation(n, &format!("small{n}"), tree);
        model.doubt.insert(r.key.to_string());
        store.record(&r)?;
        model.doubt.remove(&r.key.to_string());
        model.records.insert(r.key, r);
    }
    Ok(())
}

/// Small trees are added by two handles, the second of which finds what the first folded.
#[derive(Default)]
struct Fold {
    model: Model,
}

impl Fold {
    fn open(&self, bench: &Bench, disk: Arc<dyn Disk>) -> Result<Store, StoreError> {
        let root = bench.top.path().join(ROOT);
        let store = Store::open_on(&root, &OpenOptions::create(), disk)?;
        store.set_fold_rule(early());
        Ok(store)
    }
}

impl Scene for Fold {
    /// What was acknowledged.
    type Known = Model;

    const FOLDERS: &'static [&'static str] = &[ROOT];

    fn prepare(&mut self, bench: &mut Bench, top: &Path) {
        let store = Store::open(&top.join(ROOT), &OpenOptions::create()).unwrap();
        store.set_fold_rule(early());
        small(&store, 100, 100 + TREES, &mut self.model).unwrap();
        for tree in &self.model.trees {
            bench
                .archives
                .insert(*tree, archive(&store, *tree).unwrap());
        }
    }

    fn play(
        &self,
        bench: &Bench,
        disk: &Arc<FaultyDisk>,
        known: &mut Model,
    ) -> Result<(), StoreError> {
        let first = self.open(bench, disk.clone())?;
        small(&first, 0, TREES, known)?;
        let second = self.open(bench, disk.clone())?;
        small(&second, TREES, 2 * TREES, known)?;
        // What others folded is found by who saw it before.
        for tree in self.model.trees.iter().chain(&known.trees) {
            assert!(archive(&first, *tree)?.len() > 1024);
        }
        Ok(())
    }

    fn check(&self, bench: &Bench, known: &Model) {
        let store = self.open(bench, Arc::new(RealDisk::ANYWHERE)).unwrap();
        let mut model = self.model.clone();
        model.trees.extend(&known.trees);
        model.records.extend(known.records.clone());
        model.doubt.extend(known.doubt.clone());
        // One that was acknowledged before it was interrupted is not in doubt.
        for record in store.realisations(None).unwrap() {
            if !model.records.contains_key(&record.key) {
                model.doubt.insert(record.key.to_string());
            }
        }
        check(bench, &store, &model);
    }

    fn check_end(&self, bench: &Bench, known: &Model) {
        let store = self.open(bench, Arc::new(RealDisk::ANYWHERE)).unwrap();
        self.check(bench, known);
        // What was left undone because of the fault is done by the next additions.
        let mut more = Model::default();
        small(&store, 150, 158, &mut more).unwrap();
        let (packs, catalogues) = (
            store.packs(),
            RealDisk::ANYWHERE.list(&store.path().join("catalogues")),
        );
        // Of each kind one pack of each level at most, and fewer settled ones than are listed together.
        let loose = packs.loose().count();
        assert!(loose <= 8, "{loose} of {}", packs.packs.len());
        assert!(packs.packs.len() > loose, "nothing is listed");
        assert!(catalogues.unwrap().len() <= 4);
        check(
            bench,
            &store,
            &Model {
                trees: more.trees,
                ..Model::of(&store)
            },
        );
        tidy(&store);
    }
}

#[test]
fn a_process_that_stops_at_any_call_of_a_fold_loses_nothing() {
    sweep(Fold::default(), Mode::Stop, 40);
}

#[test]
fn a_power_cut_at_any_call_of_a_fold_loses_nothing() {
    sweep(Fold::default(), Mode::PowerCut, 20);
}

#[test]
fn a_disk_full_at_any_call_of_a_fold_loses_nothing() {
    sweep(Fold::default(), Mode::Full, 20);
}

#[test]
fn an_error_at_any_call_of_a_fold_loses_nothing() {
    sweep(Fold::default(), Mode::Error, 30);
}

#[test]
fn a_disk_that_lies_in_order_loses_the_newest_fold_alone() {
    sweep(Fold::default(), Mode::Early, 20);
}
