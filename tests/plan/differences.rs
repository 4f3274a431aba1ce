//! Two plans side by side: two targets, two states of the specs, two git revisions.

use std::path::Path;
use std::process::Command;

use mstore::plan::{Distribution, Entry, GitFiles, Graph, Lock, Pairing, Pins, PlanDiff, diff};

use crate::world::World;

/// What differs, step by step.
fn told(diff: &PlanDiff) -> String {
    let mut text = String::new();
    for node in &diff.nodes {
        let reasons: Vec<String> = node.reasons.iter().map(ToString::to_string).collect();
        let what = format!(
            "{:?} {} of {}\n{}",
            node.fate,
            node.name,
            node.target,
            reasons.join("\n")
        );
        text.push_str(what.trim_end());
        text.push('\n');
    }
    text.push_str(&format!(
        "stale {:?}, removed {:?}, unchanged {}",
        diff.stale, diff.removed, diff.unchanged
    ));
    text
}

#[test]
fn two_targets_differ_where_their_settings_do() {
    let world = World::new();
    let (a, b) = (
        world.graph(&["stage3-generic_64"]),
        world.graph(&["stage3-corei7"]),
    );
    let found = diff(&a, &b, Pairing::ByClass, &world).expect("compared");
    insta::assert_snapshot!(told(&found), @r"
    Changed stage3:build of stage3-corei7
    env/CFLAGS changed
      - -O2
      + -O2 -march=corei7
    Changed stage3:finish of stage3-corei7
    the script of `finish` changed
        #!/bin/sh
      - echo generic_64 > /etc/name
      + echo corei7 > /etc/name
    env/CFLAGS changed
      - -O2
      + -O2 -march=corei7
    the root it starts from changed: stage3:build
    Changed stage3:test of stage3-corei7
    env/CFLAGS changed
      - -O2
      + -O2 -march=corei7
    the root it starts from changed: stage3:finish
    stale [], removed [], unchanged 4
    ");
    let same = diff(&a, &a, Pairing::ByClass, &world).expect("compared");
    assert!(same.is_empty());
    assert!(same.is_empty() && same.groups().is_empty());
}

#[test]
fn a_change_is_told_once_for_all_it_reaches() {
    let world = World::new();
    let before = world.graph(&["stage*"]);
    world.edit("targets/stage2.conf", "tools install", "tools all install");
    world.edit("targets/stage2.conf", "tools --version", "tools --help");
    world.edit(
        "targets/stage3.conf",
        "chroot: build finish",
        "chroot: build strip finish",
    );
    world.write(
        "targets/stage3.conf",
        &format!("{}\n[section steps/chroot]\nstrip: [\nstrip /bin/*\n]\n", {
            std::fs::read_to_string(world.path().join("targets/stage3.conf")).expect("read")
        }),
    );
    world.edit(
        "metro.conf",
        "targets: stage1 stage2 stage3",
        "targets: stage2 stage1 stage3 stage4",
    );
    world.write(
        "targets/stage4.conf",
        "source: stage3\nsteps/chroot/run: [\necho 4\n]\n",
    );
    world.edit("metro.conf", "generic_64 corei7", "corei7");
    let after = world.graph(&["stage*"]);
    let found = diff(&before, &after, Pairing::ByName, &world).expect("compared");
    insta::assert_snapshot!(told(&found), @r#"
    Changed stage2-corei7:run of stage2-corei7
    the script of `run` changed
      - make -C /mstore/snapshot/tools install
      + make -C /mstore/snapshot/tools all install
    Changed stage2-corei7:test of stage2-corei7
    the script of `test` changed
      - tools --version
      + tools --help
    the root it starts from changed: stage2-corei7:run
    Downstream stage3-corei7:build of stage3-corei7
    the root it starts from changed: stage2-corei7:test
    Added stage3-corei7:strip of stage3-corei7
    Downstream stage3-corei7:finish of stage3-corei7
    the root it starts from changed: stage3-corei7:strip
    Downstream stage3-corei7:test of stage3-corei7
    the root it starts from changed: stage3-corei7:finish
    Added stage4-corei7:run of stage4-corei7
    Removed stage1-generic_64:prerun of stage1-generic_64
    Removed stage1-generic_64:run of stage1-generic_64
    Removed stage2-generic_64:run of stage2-generic_64
    Removed stage2-generic_64:test of stage2-generic_64
    Removed stage3-generic_64:build of stage3-generic_64
    Removed stage3-generic_64:finish of stage3-generic_64
    Removed stage3-generic_64:test of stage3-generic_64
    stale ["stage2-corei7", "stage3-corei7", "stage4-corei7"], removed ["stage1-generic_64", "stage2-generic_64", "stage3-generic_64"], unchanged 2
    "#);
    assert!(serde_json::to_value(&found).expect("serialised")["nodes"].is_array());
}

#[test]
fn a_changed_test_alone_reaches_nothing_else() {
    let world = World::new();
    let before = world.graph(&["stage3-corei7"]);
    world.edit("targets/stage2.conf", "tools --version", "tools --help");
    let after = world.graph(&["stage3-corei7"]);
    let found = diff(&before, &after, Pairing::ByName, &world).expect("compared");
    insta::assert_snapshot!(told(&found), @r#"
    Changed stage2-corei7:test of stage2-corei7
    the script of `test` changed
      - tools --version
      + tools --help
    Unaffected stage3-corei7:build of stage3-corei7
    Unaffected stage3-corei7:finish of stage3-corei7
    Unaffected stage3-corei7:test of stage3-corei7
    stale ["stage2-corei7"], removed [], unchanged 3
    "#);
}

fn git(dir: &Path, args: &[&str]) {
    let done = Command::new("git")
        .arg("-C")
        .arg(dir)
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org"])
        .args(args)
        .output()
        .expect("git runs");
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn revisions_are_compared_without_a_checkout() {
    let world = World::new();
    let dir = world.path();
    git(dir, &["init", "-q"]);
    std::fs::write(dir.join("metro.lock"), world.lock.borrow().text()).expect("written");
    git(dir, &["add", "-A"]);
    git(dir, &["commit", "-q", "-m", "first"]);
    world.edit("subarch/corei7.conf", "-O2", "-O3");
    git(dir, &["commit", "-q", "-a", "-m", "second"]);
    world.edit("subarch/corei7.conf", "-O3", "not committed");

    let graph = |revision: &str| -> Graph {
        let files = GitFiles::open(dir, revision).expect("opened");
        let entry = files.top().join("metro.conf");
        let distribution = Distribution::with_files(Box::new(files), Entry::at(entry), Vec::new())
            .expect("loaded");
        let ids = distribution.expand(&["stage*"]).expect("known");
        let lock = Lock::read(distribution.files(), &distribution.lock_path(dir)).expect("read");
        assert_eq!(lock.pins().count(), 2, "the lock file of the revision");
        let recipes = distribution.recipes(&ids, &lock).expect("loaded");
        Graph::build(&recipes, &lock, &world, Pins::Optional).expect("built")
    };
    let (old, new) = (graph("HEAD~1"), graph("HEAD"));
    let found = diff(&old, &new, Pairing::ByName, &world).expect("compared");
    assert_eq!(found.stale, ["stage3-corei7"]);
    insta::assert_snapshot!(told(&found), @r#"
    Changed stage3-corei7:build of stage3-corei7
    env/CFLAGS changed
      - -O2 -march=corei7
      + -O3 -march=corei7
    Changed stage3-corei7:finish of stage3-corei7
    env/CFLAGS changed
      - -O2 -march=corei7
      + -O3 -march=corei7
    the root it starts from changed: stage3-corei7:build
    Changed stage3-corei7:test of stage3-corei7
    env/CFLAGS changed
      - -O2 -march=corei7
      + -O3 -march=corei7
    the root it starts from changed: stage3-corei7:finish
    stale ["stage3-corei7"], removed [], unchanged 11
    "#);
}
