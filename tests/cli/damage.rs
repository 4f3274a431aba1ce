//! `mstore store verify --repair` through the binary.

use std::fs;

use mstore_store::{
    CaptureOptions, Hash, ImportOptions, OpenOptions, Realisation, Store, TreeHash,
};

use crate::environment::Environment;

fn sample(env: &Environment) -> TreeHash {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    env.write(
        "tree/file",
        "content that nobody compresses, it is too short for that\n",
    );
    let tree = store
        .import_dir(&env.work().join("tree"), &ImportOptions::snapshot())
        .unwrap()
        .tree;
    store
        .record(&Realisation {
            key: Hash::of(b"key"),
            drv: Hash::of(b"drv"),
            name: "seedling/x86-64bit/corei7/stage1".into(),
            tree,
            started: 1,
            seconds: 1.0,
            host: "host".into(),
            log: None,
        })
        .unwrap();
    tree
}

#[test]
fn a_damaged_content_is_told_forgotten_and_gone() {
    let env = Environment::new();
    sample(&env);
    assert!(env.run(&["store", "verify"]).ok().ends_with("no fault\n"));
    for entry in fs::read_dir(env.store().join("packs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(7).position(|w| w == b"content") {
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    let told = env.run(&["store", "verify"]).fails(1);
    assert!(
        told.contains("affects seedling/x86-64bit/corei7/stage1"),
        "{told}"
    );
    assert!(told.contains("verify --repair"), "{told}");
    let told = env.run(&["store", "verify", "--quick"]);
    assert!(told.ok().contains("no fault"), "contents are not read");
    let repaired = env.run(&["store", "verify", "--repair"]);
    assert!(
        repaired.stdout.contains("forgot 1 realisation"),
        "{}",
        repaired.all()
    );
    let _ = env.run(&["store", "verify"]).ok();
}

/// A folder that a build left is a layer over another tree: the two together are compared.
#[test]
fn a_damaged_layer_is_told_and_dropped() {
    let env = Environment::new();
    let base = sample(&env);
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let below = store.checkout(base).unwrap();
    let upper = env.store().join("tmp/upper");
    store.prepare_upper(base, &upper).unwrap();
    fs::write(upper.join("more"), "of a build\n").unwrap();
    let options = CaptureOptions {
        epoch: 1_000_000_000,
    };
    let tree = store.capture(base, &upper, &options).unwrap().tree;
    store.add_root("built", tree).unwrap();
    store.keep_layer(base, tree, upper).unwrap();
    assert_eq!(store.checkout(tree).unwrap().layers().len(), 2);
    drop((below, store));
    let verify = ["store", "verify", "--checkouts"];
    assert!(env.run(&verify).ok().ends_with("no fault\n"));
    let file = env.store().join(format!("layers/{tree}/more"));
    let time = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "of nobody!\n").unwrap();
    let opened = fs::File::options().write(true).open(&file).unwrap();
    opened.set_modified(time).unwrap();
    let told = env.run(&verify).fails(1);
    let expected = format!("layers/{tree}/more: has other content");
    assert!(told.contains(&expected), "{told}");
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    let told = env.run(&["store", "verify", "--checkouts", "--repair"]);
    assert!(told.all().contains(&expected), "{}", told.all());
    assert!(env.run(&verify).ok().ends_with("no fault\n"));
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    assert_eq!(store.checkout(tree).unwrap().layers().len(), 1);
}

#[test]
fn a_damaged_manifest_stops_gc_with_advice() {
    let env = Environment::new();
    let tree = sample(&env);
    for entry in fs::read_dir(env.store().join("packs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        let named = |w: &[u8]| w[..4] == *b"mobj" && w[24..56] == tree.0.as_bytes()[..];
        if let Some(at) = bytes.windows(56).position(named) {
            bytes[at + 60] ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }
    for arguments in [&["gc"][..], &["gc", "--dry-run"]] {
        let told = env.run(arguments).fails(3);
        assert!(told.contains("mstore store verify"), "{told}");
        assert!(told.contains("--repair"), "{told}");
    }
    let _ = env.run(&["store", "verify", "--repair"]).fails(1);
    let _ = env.run(&["gc"]).ok();
}

#[test]
fn a_damaged_database_is_written_anew() {
    let env = Environment::new();
    let tree = sample(&env);
    for end in ["", "-wal", "-shm"] {
        let path = env.store().join(format!("db/mstore.sqlite{end}"));
        if path.exists() {
            fs::write(path, [0x5a; 9000]).unwrap();
        }
    }
    let told = env.run(&["store", "verify"]).fails(1);
    assert!(told.contains("db/mstore.sqlite"), "{told}");
    assert!(told.contains("--repair"), "{told}");
    let repaired = env.run(&["store", "verify", "--repair"]).fails(1);
    assert!(
        repaired.contains("the database was written anew"),
        "{repaired}"
    );
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    let _ = env.run(&["store", "ls", &tree.to_string()]).ok();
}

#[test]
fn a_lost_database_is_told_and_loses_no_tree() {
    let env = Environment::new();
    let tree = sample(&env);
    fs::remove_file(env.store().join("db/mstore.sqlite")).unwrap();
    let told = env.run(&["gc"]).fails(3);
    assert!(told.contains("verify"), "{told}");
    let told = env.run(&["store", "verify"]).fails(1);
    assert!(told.contains("--repair"), "{told}");
    let told = env.run(&["store", "verify", "--repair"]).all();
    assert!(told.contains("written anew"), "{told}");
    let _ = env.run(&["store", "verify"]).ok();
    let _ = env.run(&["store", "ls", &tree.to_string()]).ok();
}
