//! `mstore gc`: what it keeps, and what it says.

use std::fs;

use mstore_store::{Hash, OpenOptions, Store};

use crate::environment::Environment;
use crate::samples::{large_tree, layered, on_full_disk, small_tree, two_trees};

#[test]
fn a_damaged_manifest_stops_gc_with_advice() {
    let env = Environment::new();
    let tree = small_tree(&env);
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

/// One tree may be there as a whole and as a layer: what goes is told apart.
#[test]
fn gc_tells_layers_from_checkouts() {
    let env = Environment::new();
    let base = small_tree(&env);
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let tree = layered(&store, base);
    store.remove_root("built").unwrap();
    assert!(store.forget(&Hash::of(b"key")).unwrap());
    drop(store);
    let told = env.run(&["gc"]).ok();
    assert!(told.contains(&format!("removed layer {tree}, ")), "{told}");
    assert!(
        told.contains(&format!("removed checkout {base}, ")),
        "{told}"
    );
}

#[test]
fn a_store_that_is_full() {
    let env = Environment::new();
    let tree = large_tree(&env).to_string();
    let Some(ran) = on_full_disk(&env, &["copy", "--quiet", "--to", "small/store", &tree]) else {
        return;
    };
    let text = ran.fails(3);
    assert!(
        text.starts_with("error: no space left: cannot write pack: $TEST/work/small/store/tmp/"),
        "{text}"
    );
    assert!(
        text.contains("; the file system at $TEST/work/small has 0 B of 2.1 MB free; the copy has 5.0 MB, before compression"),
        "{text}"
    );
    assert!(text.contains("mstore gc"), "{text}");
    assert!(text.contains("--store DIR"), "{text}");
}

#[test]
fn roots_keep_and_why_alive_tells() {
    let env = Environment::new();
    let (one, two) = two_trees(&env);
    let [first, second] = [one, two].map(|tree| tree.to_string());
    let _ = env.run(&["store", "root", "add", "mine", &first[..8]]).ok();
    assert_eq!(
        env.run(&["store", "root", "list"]).ok(),
        format!("mine {first}\n")
    );
    let why = env.run(&["why", "alive", "mine"]).ok();
    assert!(why.contains("kept as gc root mine"), "{why}");
    let name = Hash::of(b"one\n").to_string();
    let why = env.run(&["why", "alive", &name, "--keep", "1"]).ok();
    assert!(
        why.contains(&format!("is etc/name in tree {first}")),
        "{why}"
    );
    let why = env
        .run(&["why", "alive", "--json", &second, "--keep", "1"])
        .ok();
    let why: serde_json::Value = serde_json::from_str(&why).unwrap();
    assert_eq!(why["alive"], true);
    assert_eq!(
        why["keepers"][0]["why"][0],
        "seedling/x86-64bit/corei7/stage1, number 1 from the newest"
    );
    let _ = env.run(&["store", "root", "remove", "mine"]).ok();
    let _ = env.run(&["store", "root", "remove", "mine"]).fails(2);
    let why = env.run(&["why", "alive", &first, "--keep", "1"]).ok();
    assert!(
        why.contains("nothing keeps it: the next gc removes it"),
        "{why}"
    );
    let dry = env.run(&["gc", "--keep", "1", "--dry-run", "--json"]).ok();
    let real = env.run(&["gc", "--keep", "1", "--json"]).ok();
    assert_eq!(dry.replace("\"dry_run\": true", "\"dry_run\": false"), real);
    assert!(real.contains(&format!("\"tree\": \"{first}\"")), "{real}");
    let why = env.run(&["why", "alive", &first]).ok();
    assert!(why.contains("the store does not have it"), "{why}");
    let _ = env.run(&["store", "ls", &second]).ok();
}

#[test]
fn the_configuration_file_says_what_gc_keeps() {
    let env = Environment::new();
    let (one, two) = two_trees(&env);
    fs::write(env.store().join("mstore.conf"), "gc/keep: 0\n").unwrap();
    let dry = env.run(&["gc", "--dry-run"]).ok();
    assert!(dry.contains(&format!("would remove tree {one}")), "{dry}");
    assert!(dry.contains(&format!("would remove tree {two}")), "{dry}");
    env.write(
        "mine.conf",
        format!("gc/keep: 0\ngc/roots: */stage1 {:.8}\n", one.to_string()),
    );
    let dry = env.run(&["--config", "mine.conf", "gc", "--dry-run"]).ok();
    assert!(
        dry.contains(&format!("keeps {two}: gc/roots: */stage1")),
        "{dry}"
    );
    assert!(dry.contains(&format!("keeps {one}: gc/roots: ")), "{dry}");
    // Options win.
    assert!(
        !env.run(&["gc", "--dry-run", "--keep", "2"])
            .ok()
            .contains("would remove")
    );
    let mut command = env.command(&["gc", "--dry-run"]);
    command.env("MSTORE_CONFIG", env.write("bad.conf", "\n\ngc/kep: 3\n"));
    let error = env.finish(command.output().unwrap()).fails(2);
    insta::assert_snapshot!(error, @"error: $TEST/work/bad.conf:3: gc/kep: there is no such element; nearest: gc/keep");
    let error = env.run(&["gc", "--config", "none.conf"]).fails(2);
    assert!(
        error.contains("there is no configuration file none.conf"),
        "{error}"
    );
    let error = env.run(&["gc", "--max-size", "much"]).fails(2);
    assert!(error.contains("is not a size"), "{error}");
    let small = env.run(&["gc", "--keep", "2", "--max-size", "1k", "--dry-run"]);
    assert!(small.ok().contains(&format!(
        "would remove tree {two} (seedling/x86-64bit/corei7/stage1) for the size"
    )));
}

/// The names of roots are bounded, paths of lock files are not.
#[test]
fn a_lock_file_at_a_long_path_keeps_its_trees() {
    let env = Environment::new();
    let folder = ["a".repeat(90), "b".repeat(90), "c".repeat(90)].join("/");
    let entry = format!("{folder}/metro.conf");
    env.write(&entry, "[collect /usr/share/mstore/specs/metro.conf]\n");
    env.write("tree/file", "content\n");
    let import = ["-f", &entry, "snapshot", "import", "tree", "--name", "mine"];
    let tree = env.run(&import).ok();
    let _ = env.run(&["-f", &entry, "gc"]).ok();
    // Collected with other specifications in effect, it lives too.
    let _ = env.run(&["gc"]).ok();
    let pin = format!("mine={}", tree.trim());
    let _ = env.run(&["-f", &entry, "lock", "--snapshot", &pin]).ok();
    // Out of the lock file, it goes.
    let _ = env.run(&["-f", &entry, "lock", "--remove", "mine"]).ok();
    let _ = env.run(&["-f", &entry, "gc"]).ok();
    let refused = env.run(&["-f", &entry, "lock", "--snapshot", &pin]);
    assert!(
        refused
            .fails(2)
            .contains("has no tree whose hash begins with")
    );
}
