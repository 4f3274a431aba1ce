//! One process, and a fault at each of its calls.

use super::script::Run;
use super::*;
use crate::disk::faulty::{Fault, mix};

const ROOT: &str = "store";

/// How many of the calls are tried when not all are.
const SOME: u64 = 60;

pub(super) fn stride(count: u64, some: u64) -> usize {
    match std::env::var("MSTORE_TEST_FAULTS") {
        Ok(text) if text == "all" => 1,
        _ => usize::try_from(count / some).unwrap_or(1).max(1),
    }
}

/// Runs the script without faults; returns the number of its calls.
fn rehearse(bench: &mut Bench, looks: bool) -> u64 {
    // An error at a call that never comes lets reading calls count.
    let fault = if looks {
        Fault::ErrorAt(u64::MAX)
    } else {
        Fault::None
    };
    let root = bench.top.path().join(ROOT);
    let world = bench.world(ROOT, fault, false);
    let disk = FaultyDisk::new(&world, "boot");
    let mut run = Run::new(bench, &root, disk.clone(), Model::default());
    run.all().unwrap();
    let (model, archives) = (run.model.clone(), run.archives.clone());
    drop(run);
    closed(&disk);
    let calls = world.calls();
    world.crash(Crash::Kill);
    bench.archives = archives;
    let store = Store::open(&root, &OpenOptions::create()).unwrap();
    check(bench, &store, &model);
    tidy(&store);
    drop(store);
    bench.clear(ROOT);
    calls
}

/// Lets the script meet a fault, and the machine come back.
fn meet(bench: &Bench, fault: Fault, how: Crash) {
    let mut tell = Tell(format!("{fault:?}, {how:?}"));
    let root = bench.top.path().join(ROOT);
    let world = bench.world(ROOT, fault, false);
    let boot = match how {
        Crash::Kill => RealDisk::ANYWHERE.boot(),
        _ => "before the power cut".into(),
    };
    let disk = FaultyDisk::new(&world, &boot);
    let mut run = Run::new(bench, &root, disk.clone(), Model::default());
    let result = run.all();
    let model = run.model.clone();
    drop(run);
    closed(&disk);
    tell.0 = format!("{} {:?}", tell.0, world.failed());
    if let (Fault::FullFrom(_), Err(error)) = (fault, &result) {
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    }
    if let (Fault::StopAt(_), Ok(())) = (fault, &result) {
        // It stopped while it closed the store.
        assert!(world.failed().is_some());
    }
    come_back(&world, &root, how);
    let store = Store::open(&root, &OpenOptions::create()).unwrap();
    check(bench, &store, &model);
    tidy(&store);
    // Nothing stands in the way of doing it again.
    let model = Model::of(&store);
    drop(store);
    let world = bench.world(ROOT, Fault::None, false);
    let disk = FaultyDisk::new(&world, &RealDisk::ANYWHERE.boot());
    let mut run = Run::new(bench, &root, disk.clone(), model);
    run.all().unwrap();
    drop(run);
    closed(&disk);
    world.crash(Crash::Kill);
    bench.clear(ROOT);
}

fn sweep(looks: bool, some: u64, cases: impl Fn(u64) -> Vec<(Fault, Crash)>) {
    let mut bench = Bench::new();
    let count = rehearse(&mut bench, looks);
    println!("{count} calls");
    for n in (1..=count).step_by(stride(count, some)) {
        for (fault, how) in cases(n) {
            meet(&bench, fault, how);
        }
    }
}

#[test]
fn a_process_that_stops_at_any_call_loses_nothing() {
    sweep(false, SOME, |n| vec![(Fault::StopAt(n), Crash::Kill)]);
}

#[test]
fn a_power_cut_at_any_call_loses_nothing() {
    sweep(false, SOME, |n| {
        let stop = Fault::StopAt(n);
        vec![
            (stop, Crash::Bare),
            (stop, Crash::Hollow),
            (stop, Crash::Mixed(n)),
            (stop, Crash::Scattered(n)),
        ]
    });
}

#[test]
fn a_disk_full_at_any_call_loses_nothing() {
    sweep(false, SOME / 2, |n| {
        let full = Fault::FullFrom(n);
        vec![(full, Crash::Kill), (full, Crash::Mixed(n))]
    });
}

#[test]
fn an_error_at_any_call_loses_nothing() {
    sweep(true, SOME, |n| {
        let error = Fault::ErrorAt(n);
        let how = if n % 2 == 0 {
            Crash::Kill
        } else {
            Crash::Mixed(n)
        };
        vec![(error, how)]
    });
}

/// What a disk that acknowledges too early does: in order, the newest is lost and nothing else.
#[test]
fn a_disk_that_lies_in_order_loses_the_newest_alone() {
    let mut bench = Bench::new();
    let count = rehearse(&mut bench, false);
    let root = bench.top.path().join(ROOT);
    for n in (1..=count).step_by(stride(count, SOME)) {
        let how = Crash::Late(n);
        let mut tell = Tell(format!("call {n}, {how:?}"));
        let world = bench.world(ROOT, Fault::StopAt(n), true);
        let disk = FaultyDisk::new(&world, "before the power cut");
        let mut run = Run::new(&bench, &root, disk.clone(), Model::default());
        let _ = run.all();
        drop(run);
        closed(&disk);
        tell.0 = format!("{} {:?}", tell.0, world.failed());
        come_back(&world, &root, how);
        let store = Store::open(&root, &OpenOptions::create()).unwrap();
        clean(&store);
        tidy(&store);
        drop(store);
        bench.clear(ROOT);
    }
}

/// A disk that lies and loses what it likes: nobody can promise anything, but nothing hangs or
/// panics, and what is lost is told.
#[test]
fn a_disk_that_lies_in_disorder_is_told() {
    let mut bench = Bench::new();
    let count = rehearse(&mut bench, false);
    let root = bench.top.path().join(ROOT);
    for n in (1..=count).step_by(stride(count, SOME)) {
        let how = Crash::Mixed(mix(n, 7));
        let _tell = Tell(format!("call {n}, {how:?}"));
        let world = bench.world(ROOT, Fault::StopAt(n), true);
        let disk = FaultyDisk::new(&world, "before the power cut");
        let mut run = Run::new(&bench, &root, disk.clone(), Model::default());
        let _ = run.all();
        drop(run);
        closed(&disk);
        come_back(&world, &root, how);
        let told = match repaired(&root) {
            Ok(faults) => {
                let only = |f: &crate::Fault| f.file.as_deref() == Some("db/mstore.sqlite");
                assert!(faults.iter().all(only), "{faults:?}");
                !faults.is_empty()
            }
            // The file that names the format: that this is a store cannot be known.
            Err(StoreError::NotAStore { .. } | StoreError::LostFormat { .. }) => false,
            Err(StoreError::Database { .. } | StoreError::DamagedFile { .. }) => true,
            Err(error) => panic!("{error:?}"),
        };
        if told {
            Store::rescue_database(&root).unwrap();
            assert_eq!(repaired(&root).unwrap(), []);
        }
        bench.clear(ROOT);
    }
}

/// Repairs a store; returns what is wrong with it afterwards.
fn repaired(root: &Path) -> Result<Vec<crate::Fault>, StoreError> {
    let store = Store::open(root, &OpenOptions::create())?;
    let repair = VerifyOptions {
        repair: true,
        ..VerifyOptions::default()
    };
    store.verify(&repair, &mut |_| ())?;
    Ok(store.verify(&VerifyOptions::default(), &mut |_| ())?.faults)
}
