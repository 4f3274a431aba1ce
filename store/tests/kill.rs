//! `kill -9` at any moment, and several processes at once: what was acknowledged is there, nothing
//! else is seen, and nothing stays lying about.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mstore_store::*;

const WORK: &str = "MSTORE_TEST_WORK";

fn sources(top: &Path) {
    for n in 0..6u8 {
        let dir = top.join(format!("source{n}"));
        fs::create_dir_all(dir.join("d")).unwrap();
        for file in 0..40u8 {
            let content = [n, file, 7].repeat(2000 + usize::from(file) * 50);
            fs::write(dir.join(format!("d/{file}")), content).unwrap();
        }
        fs::write(dir.join("large"), [n].repeat(5 << 20)).unwrap();
        fs::write(dir.join("shared"), "shared").unwrap();
    }
}

/// Does what builds do, over and over, and tells of every step that is complete.
#[test]
#[ignore = "started by the others"]
fn worker() {
    let Some(top) = std::env::var_os(WORK).map(PathBuf::from) else {
        return;
    };
    let id = std::process::id();
    let say = |line: String| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}").and_then(|()| out.flush()).unwrap();
    };
    for round in 0u32.. {
        let store = Store::open(&top.join("store"), &OpenOptions::create()).unwrap();
        let n = (id + round) % 6;
        let source = top.join(format!("source{n}"));
        let options = ImportOptions {
            no_cache: round % 2 == 0,
            ..ImportOptions::snapshot()
        };
        let tree = store.import_dir(&source, &options).unwrap().tree;
        let checkout = store.checkout(tree).unwrap();
        let layers = checkout.layers().to_vec();
        assert_eq!(
            fs::read(layers[layers.len() - 1].join("shared")).unwrap(),
            b"shared"
        );
        let scratch = store.scratch("build").unwrap();
        let upper = scratch.path().join("upper");
        store.prepare_upper(tree, &upper).unwrap();
        fs::write(upper.join("own"), format!("{n}")).unwrap();
        fs::create_dir(scratch.path().join("work")).unwrap();
        let epoch = CaptureOptions { epoch: 0 };
        let built = store.capture(tree, &upper, &epoch).unwrap().tree;
        store.keep_layer(tree, built, upper).unwrap();
        let key = Hash::of(&[id.to_le_bytes(), round.to_le_bytes()].concat());
        store
            .record(&Realisation {
                kind: RealisationKind::Target,
                key,
                drv: key,
                name: format!("target{n}"),
                tree: built,
                started: i64::from(round),
                seconds: 0.1,
                host: "h".into(),
                log: None,
            })
            .unwrap();
        say(format!("built {key} {built}"));
        if round % 3 == id % 3 {
            store.gc(&GcPolicy::newest(1), false).unwrap();
            say("collected".into());
        }
    }
}

fn start(top: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "worker", "--ignored", "--nocapture"])
        .env(WORK, top)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills a worker and returns what it had told.
fn kill(mut child: Child) -> Vec<String> {
    child.kill().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.map(|line| line.unwrap()).collect();
    child.wait().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap()).lines();
    let errors: Vec<_> = errors.map(|line| line.unwrap()).collect();
    assert!(
        !errors.iter().any(|line| line.contains("panicked")),
        "{errors:#?}"
    );
    told
}

fn check(top: &Path, built: &BTreeMap<Hash, TreeHash>) {
    let store = Store::open(&top.join("store"), &OpenOptions::create()).unwrap();
    for (key, tree) in built {
        let found = store
            .realisation(key)
            .unwrap()
            .expect("it was acknowledged");
        assert_eq!(found.tree, *tree);
    }
    let report = store
        .verify(&VerifyOptions::default(), &mut |_| ())
        .unwrap();
    assert_eq!(report.faults, []);
    // The newest of each name is here, whole.
    let mut names = BTreeMap::new();
    for r in store.realisations(None).unwrap() {
        names.entry(r.name.clone()).or_insert(r.tree);
    }
    for tree in names
        .values()
        .filter(|tree| store.has_tree(**tree).unwrap())
    {
        let checkout = store.checkout(*tree).unwrap();
        let copy = store.scratch("copy").unwrap();
        store.copy_out(*tree, &copy.path().join("root")).unwrap();
        let back = store.import_dir(&copy.path().join("root"), &ImportOptions::default());
        assert_eq!(back.unwrap().tree, *tree);
        drop(checkout);
    }
    let entries = fs::read_dir(store.path().join("tmp")).unwrap().count();
    assert!(entries <= 1, "only the session of this process works here");
    drop(store);
    assert_eq!(fs::read_dir(top.join("store/tmp")).unwrap().count(), 0);
    // A session killed while it began has no name yet; it goes when it is old enough.
    let sessions = fs::read_dir(top.join("store/sessions")).unwrap();
    let mut names = sessions.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.all(|name| name.ends_with(".new")));
}

#[test]
fn a_killed_process_leaves_all_or_nothing() {
    let tmp = tempfile::tempdir().unwrap();
    sources(tmp.path());
    let mut built = BTreeMap::new();
    for n in 0..12u64 {
        let child = start(tmp.path());
        // From before the store is made to well within the work.
        std::thread::sleep(Duration::from_millis(n * n * 7 + n));
        for line in kill(child) {
            if let Some((key, tree)) = line.strip_prefix("built ").and_then(|l| l.split_once(' ')) {
                built.insert(key.parse().unwrap(), tree.parse().unwrap());
            }
        }
        check(tmp.path(), &built);
    }
    assert!(!built.is_empty());
}

#[test]
fn many_processes_share_a_store() {
    let tmp = tempfile::tempdir().unwrap();
    sources(tmp.path());
    let seconds = std::env::var("MSTORE_TEST_SECONDS").ok();
    let seconds = seconds.and_then(|s| s.parse().ok()).unwrap_or(6);
    let children: Vec<_> = (0..8).map(|_| start(tmp.path())).collect();
    std::thread::sleep(Duration::from_secs(1));
    let store = Store::open(&tmp.path().join("store"), &OpenOptions::create()).unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(seconds);
    while std::time::Instant::now() < end {
        let report = store
            .verify(&VerifyOptions::default(), &mut |_| ())
            .unwrap();
        assert_eq!(report.faults, []);
        store.gc(&GcPolicy::newest(1), false).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(store);
    let mut built = BTreeMap::new();
    for child in children {
        let told = kill(child);
        assert!(!told.is_empty());
        for line in told {
            if let Some((key, tree)) = line.strip_prefix("built ").and_then(|l| l.split_once(' ')) {
                built.insert(key.parse().unwrap(), tree.parse().unwrap());
            }
        }
    }
    check(tmp.path(), &built);
}
