//! A file system that is full: what is said of it.

use std::fs;
use std::process::Command;

use mstore_store::{ImportOptions, OpenOptions, Store, TreeHash};

use crate::environment::{Environment, Ran};

/// Runs mstore in a namespace in which `small` is a file system of 2 MiB; `None` where that cannot be.
fn run(env: &Environment, arguments: &[&str]) -> Option<Ran> {
    let small = env.work().join("small");
    fs::create_dir_all(&small).unwrap();
    let own = env.command(arguments);
    let mut command = Command::new("unshare");
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs -o size=2m tmpfs \"$1\" || exit 99; shift; exec \"$@\"")
        .arg("sh")
        .arg(small)
        .arg(own.get_program())
        .args(own.get_args())
        .current_dir(env.work())
        .env_clear();
    for (name, value) in own.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let Ok(output) = command.output() else {
        println!("skipped: there is no unshare");
        return None;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(99) || said.contains("unshare failed") {
        println!("skipped: {said}");
        return None;
    }
    Some(env.finish(output))
}

/// A store with a tree of 5 MB that cannot be compressed.
fn sample(env: &Environment) -> TreeHash {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    });
    env.write("tree/noise", noise.take(5_000_000).collect::<Vec<u8>>());
    let source = env.work().join("tree");
    let tree = store.import_dir(&source, &ImportOptions::snapshot());
    let tree = tree.unwrap().tree;
    store.add_root("sample", tree).unwrap();
    tree
}

#[test]
fn an_archive_that_does_not_fit() {
    let env = Environment::new();
    let tree = sample(&env).to_string();
    let Some(ran) = run(&env, &["export", &tree, "small/x.tar"]) else {
        return;
    };
    insta::assert_snapshot!(ran.all(), @r"
    status: 3
    --- stdout
    --- stderr
    error: no space left: cannot write the archive: small/x.tar: No space left on device (os error 28); the file system at $TEST/work/small has 0 B of 2.1 MB free; the tree has 5.0 MB, before compression
    hint: nothing in the store is lost; free some space there, or write to another file system, then try again
    ");
    let ran = run(&env, &["export", &tree, "small/x.tar.zst"]).unwrap();
    let text = ran.fails(3);
    assert!(
        text.contains("; the tree has 5.0 MB, before compression\n"),
        "{text}"
    );
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
}

#[test]
fn a_folder_that_does_not_fit() {
    let env = Environment::new();
    let tree = sample(&env).to_string();
    let Some(ran) = run(&env, &["export", &tree, "--to", "small/out"]) else {
        return;
    };
    insta::assert_snapshot!(ran.all(), @r"
    status: 3
    --- stdout
    --- stderr
    error: no space left: cannot write: small/out/noise: No space left on device (os error 28); the file system at $TEST/work/small has 0 B of 2.1 MB free; the tree takes about 5.0 MB
    hint: nothing in the store is lost; free some space there, or write to another file system, then try again
    ");
}

#[test]
fn a_copy_that_does_not_fit() {
    let env = Environment::new();
    let tree = sample(&env).to_string();
    let arguments = ["copy", "--quiet", "--to", "small/cache", "--cache", &tree];
    let Some(ran) = run(&env, &arguments) else {
        return;
    };
    let text = ran.fails(3);
    // Names of packs are random.
    assert!(
        text.starts_with("error: no space left: cannot write pack: small/cache/packs/"),
        "{text}"
    );
    assert!(
        text.contains("; the file system at $TEST/work/small has 0 B of 2.1 MB free; the copy has 5.0 MB, before compression"),
        "{text}"
    );
    assert!(text.contains("write to another file system"), "{text}");
}

#[test]
fn a_store_that_is_full() {
    let env = Environment::new();
    let tree = sample(&env).to_string();
    let Some(ran) = run(&env, &["copy", "--quiet", "--to", "small/store", &tree]) else {
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
