//! Two processes on one store, and a fault at some call of them.

use super::copies::{fact, of_store, options};
use super::script::realisation;
use super::*;
use crate::disk::faulty::{Fault, mix};
use crate::transfer::LocalSource;

const ROOT: &str = "store";
const PEER: &str = "peer";

/// What one of the two does. It adds to the model what it did.
type Work = fn(&Bench, &Store, &mut Model) -> Result<(), StoreError>;

fn import(bench: &Bench, store: &Store, model: &mut Model) -> Result<(), StoreError> {
    for n in [2, 1, 3] {
        let options = ImportOptions {
            no_cache: n == 1,
            ..ImportOptions::snapshot()
        };
        let tree = store.import_dir(&bench.source(n), &options)?.tree;
        model.trees.insert(tree);
        assert!(archive(store, tree)?.len() > 1024);
    }
    Ok(())
}

fn record(bench: &Bench, store: &Store, model: &mut Model) -> Result<(), StoreError> {
    for n in [3, 2] {
        let options = ImportOptions::snapshot();
        let tree = store.import_dir(&bench.source(n), &options)?.tree;
        model.trees.insert(tree);
        let r = realisation(50 + n, "target", tree);
        model.doubt.insert(r.key.to_string());
        store.record(&r)?;
        model.doubt.remove(&r.key.to_string());
        model.records.insert(r.key, r);
        let name = format!("root{n}");
        model.doubt.insert(name.clone());
        store.add_root(&name, tree)?;
        model.doubt.remove(&name);
        model.roots.insert(name, tree);
        drop(store.checkout(tree)?);
    }
    Ok(())
}

fn collect(_: &Bench, store: &Store, _: &mut Model) -> Result<(), StoreError> {
    for keep in [1, 0, 0] {
        store.gc(&GcPolicy::newest(keep), false)?;
    }
    Ok(())
}

fn export(bench: &Bench, store: &Store, _: &mut Model) -> Result<(), StoreError> {
    for _ in 0..6 {
        for root in store.roots()? {
            let lease = store.lease("export")?;
            lease.protect(root.tree)?;
            let bytes = archive(store, root.tree)?;
            if let Some(expected) = bench.archives.get(&root.tree) {
                assert!(bytes == *expected);
            }
        }
    }
    Ok(())
}

fn repack(_: &Bench, store: &Store, _: &mut Model) -> Result<(), StoreError> {
    for _ in 0..4 {
        store.repack_in_steps(1, &Cancel::new())?;
    }
    Ok(())
}

fn repair(_: &Bench, store: &Store, _: &mut Model) -> Result<(), StoreError> {
    let options = VerifyOptions {
        repair: true,
        ..VerifyOptions::default()
    };
    for _ in 0..4 {
        let report = store.verify(&options, &mut |_| ())?;
        // Of somebody who died before the pack counted.
        let garbage = |f: &crate::Fault| f.object.is_none() && f.detail.contains("not a pack of");
        assert!(report.faults.iter().all(garbage), "{:?}", report.faults);
    }
    Ok(())
}

/// Copies into the store, in small parts, from one that nobody else uses.
fn copy_in(bench: &Bench, store: &Store, model: &mut Model) -> Result<(), StoreError> {
    let peer = bench.top.path().join(PEER);
    let peer = Store::open(&peer, &OpenOptions::create()).unwrap();
    for n in [2, 3] {
        let options_of_import = ImportOptions::snapshot();
        let tree = peer.import_dir(&bench.source(n), &options_of_import);
        let tree = tree.unwrap().tree;
        let source = LocalSource::new(&peer);
        of_store(store.receive_in_parts(&source, &[tree], &options(), 4000))?;
        model.trees.insert(tree);
        assert!(archive(store, tree)?.len() > 1024);
    }
    Ok(())
}

/// Copies from the store to a cache.
fn copy_out(bench: &Bench, store: &Store, _: &mut Model) -> Result<(), StoreError> {
    let cache = bench.top.path().join("cache");
    for root in store.roots()? {
        let fact = fact(realisation(9, "target", root.tree));
        let written = store.write_cache(&cache, &[root.tree], &mut [fact].iter(), &options());
        of_store(written)?;
    }
    Ok(())
}

/// Adds small trees, which are folded together all the time.
fn fold(_: &Bench, store: &Store, model: &mut Model) -> Result<(), StoreError> {
    store.set_fold_rule(super::folds::early());
    super::folds::small(store, 60, 72, model)
}

/// The same with other trees.
fn fold_too(_: &Bench, store: &Store, model: &mut Model) -> Result<(), StoreError> {
    store.set_fold_rule(super::folds::early());
    super::folds::small(store, 80, 92, model)
}

fn verify(_: &Bench, store: &Store, _: &mut Model) -> Result<(), StoreError> {
    for _ in 0..4 {
        let report = store.verify(&VerifyOptions::default(), &mut |_| ())?;
        assert_eq!(report.faults, []);
    }
    Ok(())
}

/// A store with something to keep and something to collect.
fn prepare(bench: &mut Bench, boot: &str) -> (PathBuf, Model) {
    let root = bench.top.path().join(ROOT);
    let world = bench.world(ROOT, Fault::None, false);
    let disk = FaultyDisk::new(&world, boot);
    let store = Store::open_on(&root, &OpenOptions::create(), disk.clone()).unwrap();
    let mut model = Model::default();
    let mut trees = Vec::new();
    for n in [0, 1] {
        let options = ImportOptions::snapshot();
        let tree = store.import_dir(&bench.source(n), &options).unwrap().tree;
        bench.archives.insert(tree, archive(&store, tree).unwrap());
        drop(store.checkout(tree).unwrap());
        trees.push(tree);
    }
    store.add_root("kept", trees[0]).unwrap();
    model.roots.insert("kept".into(), trees[0]);
    model.trees.insert(trees[0]);
    drop(store);
    closed(&disk);
    world.crash(Crash::Kill);
    (root, model)
}

fn two(works: [Work; 2], fault: Fault, how: Crash, both: bool) -> u64 {
    let mut tell = Tell(format!("{fault:?}, {how:?}, both end: {both}"));
    let mut bench = Bench::new();
    let boot = match how {
        Crash::Kill => RealDisk::ANYWHERE.boot(),
        _ => "before the power cut".into(),
    };
    let (root, before) = prepare(&mut bench, &boot);
    let bench = &bench;
    let first = bench.world("first", fault, false);
    let second = if both {
        first.clone()
    } else {
        bench.world("second", Fault::None, false)
    };
    let worlds = [&first, &second];
    let disks = worlds.map(|world| FaultyDisk::new(world, &boot));
    let run = |n: usize| {
        let mut model = Model::default();
        let disk = disks[n].clone();
        let result = Store::open_on(&root, &OpenOptions::default(), disk).map(|store| {
            let result = works[n](bench, &store, &mut model);
            // Both handles end together: what a session made it keeps until then.
            (store, result)
        });
        (result, model)
    };
    let (one, other) = std::thread::scope(|scope| {
        let one = scope.spawn(|| run(0));
        let other = run(1);
        (one.join().unwrap(), other)
    });
    if !both {
        let (_, result) = other.0.as_ref().unwrap();
        result.as_ref().unwrap();
    }
    if fault == Fault::None {
        one.0.as_ref().unwrap().1.as_ref().unwrap();
    }
    let mut model = before;
    for m in [&one.1, &other.1] {
        model.trees.extend(&m.trees);
        model.roots.extend(m.roots.clone());
        model.records.extend(m.records.clone());
        model.doubt.extend(m.doubt.clone());
    }
    drop((one, other));
    for disk in &disks {
        closed(disk);
    }
    tell.0 = format!("{} {:?}", tell.0, first.failed());
    let calls = first.calls();
    if both {
        come_back(&first, &root, how);
    } else {
        first.crash(Crash::Kill);
        second.crash(Crash::Kill);
    }
    let store = Store::open(&root, &OpenOptions::create()).unwrap();
    check(bench, &store, &model);
    tidy(&store);
    calls
}

fn pair(works: [Work; 2]) {
    let calls = two(works, Fault::None, Crash::Kill, true);
    let all = std::env::var("MSTORE_TEST_FAULTS").is_ok_and(|text| text == "all");
    let rounds = if all { 200 } else { 6 };
    for seed in 0..rounds {
        let stop = Fault::StopAt(1 + mix(seed, 3) % calls);
        let how = match seed % 4 {
            0 => Crash::Kill,
            1 => Crash::Bare,
            2 => Crash::Hollow,
            _ => Crash::Mixed(seed),
        };
        two(works, stop, how, true);
        // One process ends, the other must not notice.
        let stop = Fault::StopAt(1 + mix(seed, 4) % (calls / 2 + 1));
        two(works, stop, Crash::Kill, false);
    }
}

#[test]
fn import_beside_gc() {
    pair([import, collect]);
    pair([collect, import]);
}

#[test]
fn import_beside_import() {
    pair([import, import]);
}

#[test]
fn record_beside_gc() {
    pair([record, collect]);
    pair([collect, record]);
}

#[test]
fn export_beside_gc() {
    pair([collect, export]);
}

#[test]
fn verify_beside_gc_and_import() {
    pair([collect, verify]);
    pair([import, verify]);
}

#[test]
fn repack_beside_import_and_gc() {
    pair([repack, import]);
    pair([import, repack]);
    pair([repack, collect]);
}

#[test]
fn copy_beside_gc() {
    pair([copy_in, collect]);
    pair([collect, copy_in]);
    pair([collect, copy_out]);
}

#[test]
fn repair_beside_import_and_copy() {
    pair([repair, import]);
    pair([copy_in, repair]);
}

#[test]
fn fold_beside_fold() {
    pair([fold, fold_too]);
}

#[test]
fn fold_beside_gc_and_repack() {
    pair([fold, collect]);
    pair([collect, fold]);
    pair([repack, fold]);
}

#[test]
fn fold_beside_readers() {
    pair([fold, export]);
    pair([fold, verify]);
    pair([fold, copy_out]);
}

#[test]
fn fold_beside_import_and_copy() {
    pair([fold, import]);
    pair([fold, copy_in]);
    pair([repair, fold]);
}
