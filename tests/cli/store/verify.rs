//! `mstore store verify`: damage is told, forgotten or mended.

use std::fs;

use mstore_store::{OpenOptions, Store};

use crate::environment::Environment;
use crate::samples::{layered, small_tree};

#[test]
fn a_damaged_content_is_told_forgotten_and_gone() {
    let env = Environment::new();
    small_tree(&env);
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
    let base = small_tree(&env);
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let tree = layered(&store, base);
    drop(store);
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
fn a_damaged_database_is_written_anew() {
    let env = Environment::new();
    let tree = small_tree(&env);
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
    let tree = small_tree(&env);
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

/// The file that tells the format, damaged in every way: it costs nothing else.
#[test]
fn a_file_named_format_that_cannot_be_used_is_told_and_written_anew() {
    let env = Environment::new();
    let tree = small_tree(&env).to_string();
    let format = env.store().join("format");
    let sound = fs::read(&format).unwrap();
    let cases: [(&dyn Fn(), &str); 5] = [
        (&|| fs::write(&format, "").unwrap(), "not that of a store"),
        (
            &|| fs::write(&format, "mstore store\nform\n").unwrap(),
            "no format number",
        ),
        // Sparse, and far too large to be read whole.
        (
            &|| fs::File::create(&format).unwrap().set_len(1 << 40).unwrap(),
            "larger than 65536 bytes",
        ),
        (&|| fs::create_dir(&format).unwrap(), "it is not a file"),
        (&|| (), "there is none"),
    ];
    for (damage, expected) in cases {
        fs::remove_file(&format).unwrap();
        damage();
        for arguments in [&["store", "ls", &tree][..], &["store", "info"]] {
            let told = env.run(arguments).fails(3);
            assert!(told.contains(expected), "{told}");
            assert!(told.contains("mstore store verify --repair"), "{told}");
        }
        let ran = env.run(&["store", "verify", "--json"]);
        assert_eq!(ran.status, Some(1), "{}", ran.all());
        let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["faults"][0]["file"], "format", "{}", ran.stdout);
        let told = env.run(&["store", "verify", "--repair"]).fails(1);
        assert!(told.contains(expected), "{told}");
        assert_eq!(fs::read(&format).unwrap(), sound);
        assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
        let _ = env.run(&["store", "ls", &tree]).ok();
    }
    // A newer release's is left alone, and so is a folder that is no store.
    fs::write(&format, "mstore store\nformat 9\n").unwrap();
    let told = env.run(&["store", "verify", "--repair"]).fails(3);
    assert!(told.contains("store is of format 9"), "{told}");
    env.write("other/file", "of somebody else\n");
    let told = env.run(&["store", "verify", "--repair", "--store", "other"]);
    assert!(told.fails(3).contains("not a store"));
    assert!(!env.work().join("other/format").exists());
}

/// What a script gets is JSON also when there is nothing but the database to tell of.
#[test]
fn a_database_that_cannot_be_opened_is_told_as_json() {
    let env = Environment::new();
    small_tree(&env);
    let fields = |text: &str| -> Vec<String> {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    };
    let sound = fields(&env.run(&["store", "verify", "--json"]).ok());
    for end in ["", "-wal", "-shm"] {
        let path = env.store().join(format!("db/mstore.sqlite{end}"));
        if path.exists() {
            fs::write(path, [0x5a; 9000]).unwrap();
        }
    }
    let ran = env.run(&["store", "verify", "--json"]);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    assert_eq!(fields(&ran.stdout), sound);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["faults"][0]["file"], "db/mstore.sqlite");
}

#[test]
fn a_link_in_place_of_a_pack_is_not_taken_and_nothing_is_forgotten_for_it() {
    let env = Environment::new();
    let tree = small_tree(&env).to_string();
    let _ = env.run(&["store", "root", "add", "kept", &tree]).ok();
    let aside = env.work().join("aside");
    fs::create_dir(&aside).unwrap();
    let packs: Vec<_> = fs::read_dir(env.store().join("packs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    for pack in &packs {
        let moved = aside.join(pack.file_name().unwrap());
        fs::rename(pack, &moved).unwrap();
        std::os::unix::fs::symlink(&moved, pack).unwrap();
    }
    let told = env.run(&["store", "ls", "kept"]).fails(3);
    assert!(told.contains("symbolic link"), "{told}");
    let told = env.run(&["store", "verify"]).fails(1);
    assert!(told.contains("symbolic link"), "{told}");
    for arguments in [&["store", "verify", "--repair"][..], &["gc"]] {
        let told = env.run(arguments).fails(3);
        assert!(told.contains("symbolic link"), "{told}");
    }
    for pack in &packs {
        fs::rename(aside.join(pack.file_name().unwrap()), pack).unwrap();
    }
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    let _ = env.run(&["store", "ls", &tree]).ok();
}

/// What a repair lost of what somebody named, and what brings it back.
#[test]
fn a_repair_tells_which_roots_seeds_and_snapshots_it_lost() {
    let env = Environment::new();
    env.write(
        "seed/file",
        "content of a seed, and too short to be compressed\n",
    );
    env.write(
        "ports/file",
        "content of ports, and too short to be compressed\n",
    );
    let _ = env.run(&["seed", "import", "seed", "--name", "mine"]).ok();
    let _ = env
        .run(&["snapshot", "import", "ports", "--name", "ours"])
        .ok();
    let lock = fs::read_to_string(env.store().join("metro.lock")).unwrap();
    let trees: Vec<&str> = lock
        .lines()
        .filter_map(|l| l.strip_prefix("tree: "))
        .collect();
    let [seed, snapshot] = trees[..] else {
        panic!("{lock}");
    };
    let _ = env.run(&["store", "root", "add", "kept", seed]).ok();
    for entry in fs::read_dir(env.store().join("packs")).unwrap() {
        let pack = entry.unwrap().path();
        let mut bytes = fs::read(&pack).unwrap();
        if let Some(at) = bytes.windows(14).position(|w| w == b"content of a s") {
            bytes[at] ^= 1;
        }
        if let Some(at) = bytes.windows(14).position(|w| w == b"content of por") {
            bytes[at] ^= 1;
        }
        fs::write(pack, bytes).unwrap();
    }
    let ran = env.run(&["store", "verify", "--repair"]);
    let told = ran.all();
    assert_eq!(ran.status, Some(1), "{told}");
    for expected in [
        "forgot gc root kept".to_owned(),
        format!("lost seed mine of $TEST/store/metro.lock: {seed}"),
        format!("lost snapshot ours of $TEST/store/metro.lock: {snapshot}"),
        "mstore seed import FILE --name mine".into(),
        "mstore snapshot import DIR --name ours".into(),
        "--root NAME".into(),
    ] {
        assert!(told.contains(&expected), "{expected}: {told}");
    }
    // Done so, they are here again.
    let _ = env.run(&["seed", "import", "seed", "--name", "mine"]).ok();
    let _ = env.run(&["store", "ls", seed]).ok();
}
