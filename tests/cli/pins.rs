//! Seeds and snapshots by name: where they can be named, how they are listed, what an import says.

use std::fs;

use insta::assert_snapshot;
use serde_json::Value;

use crate::environment::Environment;
use crate::samples::{STANDARD, tar_archive};

/// A place with a seed `small`, a snapshot `ports`, and one of each called `both`.
fn pinned() -> Environment {
    let env = Environment::new();
    env.write("metro.conf", STANDARD);
    env.write("root/etc/issue", "small\n");
    env.write("tree/app/build", "make\n");
    for (kind, folder, name) in [
        ("seed", "root", "small"),
        ("snapshot", "tree", "ports"),
        ("seed", "root", "both"),
        ("snapshot", "tree", "both"),
    ] {
        env.run(&[kind, "import", folder, "--name", name]).ok();
    }
    env
}

#[test]
fn a_seed_or_snapshot_can_be_named_wherever_a_tree_can() {
    let env = pinned();
    assert_eq!(
        env.run(&["store", "cat", "seed/small:etc/issue"]).ok(),
        "small\n"
    );
    // Names alone, one of which looks like the beginning of a hash.
    assert_eq!(
        env.run(&["store", "cat", "small:etc/issue"]).ok(),
        "small\n"
    );
    assert_eq!(env.run(&["store", "cat", "ports:app/build"]).ok(), "make\n");
    for command in [
        &["store", "ls", "snapshot/ports"][..],
        &["store", "stat", "ports"],
        &["store", "du", "ports"],
        &["store", "path", "ports"],
        &["store", "find", "--name", "build", "--in", "ports"],
        &["store", "root", "add", "kept", "ports"],
        &["why", "alive", "ports"],
        &["export", "ports", "ports.tar"],
        &["export", "ports", "--to", "folder"],
        &["copy", "ports", "snapshot/both", "--to", "other"],
        &["lock", "--snapshot", "copy=ports"],
    ] {
        env.run(command).ok();
    }
    assert!(env.work().join("ports.tar").is_file());
    assert_eq!(
        fs::read_to_string(env.work().join("folder/app/build")).unwrap(),
        "make\n"
    );
    let tree = |name: &str| {
        let text = env.run(&["snapshot", "list", "--json"]).ok();
        let all: Value = serde_json::from_str(&text).unwrap();
        let found = all.as_array().unwrap().iter().find(|p| p["name"] == name);
        found.unwrap()["tree"].as_str().unwrap().to_owned()
    };
    assert_eq!(tree("copy"), tree("ports"));
    // The copy has it, and gives it back by the same name.
    let there = ["--store", "other", "store", "cat", "ports:app/build"];
    assert_eq!(env.run(&there).ok(), "make\n");
    env.run(&["copy", "ports", "--from", "other", "--trust-unsigned"])
        .ok();
    assert_eq!(
        env.run(&["diff", "snapshot/ports", "snapshot/both"]).ok(),
        "no difference\n"
    );
    assert_eq!(
        env.run(&["diff", "small", "ports"]).fails(1),
        "",
        "what differs is on stdout"
    );
}

#[test]
fn names_that_are_nothing_or_two_things_say_so() {
    let env = pinned();
    assert_snapshot!(env.run(&["store", "ls", "seed/nothing"]).fails(2), @"
    error: $TEST/work/metro.lock has no seed `nothing`
    hint: `mstore seed list` shows what there is
    hint: import one with `mstore seed import FILE.tar.xz --name nothing`, or capture this machine with `mstore seed host --name nothing`
    ");
    assert_snapshot!(env.run(&["store", "ls", "both"]).fails(2), @"
    error: `both` is the name of a seed and of a snapshot
    hint: write seed/both or snapshot/both
    ");
    env.run(&["lock", "--remove", "small"]).ok();
    assert_snapshot!(env.run(&["store", "ls", "small"]).fails(2), @"
    error: the store has no tree whose hash begins with small
    hint: `mstore list` names targets, `mstore seed list` and `mstore snapshot list` what is pinned, `mstore store root list` gc roots, and `mstore show TARGET` tells the hashes of a target
    ");
    // Pinned, and not in this store.
    let elsewhere = ["--store", "empty", "store", "ls", "snapshot/ports"];
    env.run(&["--store", "empty", "seed", "import", "root"])
        .ok();
    assert_snapshot!(env.run(&elsewhere).fails(2), @"
    error: the snapshot `ports` is not in the store: lvym5lc7dkfzi6tgzicqgj37czesqqjrjwvf7pukohebbh3fk6uq
    hint: import it again: `mstore snapshot import DIR --name ports`
    ");
}

#[test]
fn seeds_and_snapshots_are_listed() {
    let env = pinned();
    // A seed has the times of its files, and the date is today's.
    let today = |text: String| {
        let mut all = String::new();
        for line in text.lines() {
            let words: Vec<&str> = line.splitn(4, ' ').collect();
            assert_eq!((words[1].len(), words[2].len()), (52, 10), "{line}");
            all.push_str(&format!("{} TREE DATE {}\n", words[0], words[3]));
        }
        all
    };
    let listed = env.run(&["seed", "list"]);
    assert_eq!(listed.stderr, "$TEST/work/metro.lock\n");
    assert_snapshot!(today(listed.ok()), @"
    both TREE DATE root
    small TREE DATE root
    ");
    assert_snapshot!(today(env.run(&["snapshot", "list"]).ok()), @"
    both TREE DATE folder
    ports TREE DATE folder
    ");
    let absent = env.run(&["--store", "other", "snapshot", "list"]);
    assert_snapshot!(today(absent.ok()), @"
    both TREE DATE folder (not in the store)
    ports TREE DATE folder (not in the store)
    ");
    let json: Value = serde_json::from_str(&env.run(&["seed", "list", "--json"]).ok()).unwrap();
    assert_eq!(json[1]["name"], "small");
    assert_eq!(json[1]["present"], true);
    let none = Environment::new();
    none.write("metro.conf", STANDARD);
    assert_snapshot!(none.run(&["seed", "list"]).stderr, @r"
    $TEST/work/metro.lock
    it has no seed; import one with `mstore seed import FILE.tar.xz --name NAME`, or capture this machine with `mstore seed host --name NAME`
    ");
}

#[test]
fn an_import_says_which_lock_file_it_changed() {
    let env = Environment::new();
    env.write("metro.conf", STANDARD);
    env.write("root/etc/issue", "small\n");
    env.write("deep/er/keep", "");
    let import = ["-C", "deep/er", "seed", "import", "../../root"];
    let told = env.run(&import).stderr;
    let begins = "seed root: new in $TEST/work/metro.lock; 2 entries, 6 B; the store grew by ";
    assert!(told.starts_with(begins), "{told}");
    let json: Value =
        serde_json::from_str(&env.run(&["seed", "import", "root", "--json"]).ok()).unwrap();
    let lock = env.work().join("metro.lock");
    assert_eq!(
        json["lock"],
        lock.display().to_string().replace(&env.top(), "$TEST")
    );
    // Without a metro.conf it is the store's.
    fs::remove_file(env.work().join("metro.conf")).unwrap();
    let ran = env.run(&["snapshot", "import", "root", "--name", "ports"]);
    assert!(
        ran.stderr
            .starts_with("snapshot ports: new in $TEST/store/metro.lock; "),
        "{}",
        ran.all()
    );
}

#[test]
fn empty_folders_are_refused() {
    let env = Environment::new();
    env.write("metro.conf", STANDARD);
    fs::create_dir_all(env.work().join("empty")).unwrap();
    fs::create_dir_all(env.work().join("bare/.git")).unwrap();
    env.write("end.tar", tar_archive(&[]));
    assert_snapshot!(env.run(&["seed", "import", "empty"]).fails(2), @"
    error: empty: there is nothing in it, and nothing was imported
    hint: give the folder that has the files; what git keeps (.git) is not among them
    ");
    env.run(&["snapshot", "import", "empty"]).fails(2);
    env.run(&["snapshot", "import", "bare"]).fails(2);
    env.run(&["seed", "import", "end.tar"]).fails(2);
    assert!(!env.work().join("metro.lock").exists());
}
