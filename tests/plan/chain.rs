//! A chain of three stages: what becomes stale, and why.

use mstore::dense::Id;
use mstore::drv::Trees;
use mstore::plan::view::{GraphView, TargetView};
use mstore::plan::{Explainer, NodeId, Staleness};

use crate::world::{World, tree};

const ALL: [&str; 7] = [
    "stage1-corei7:prerun",
    "stage1-corei7:run",
    "stage2-corei7:run",
    "stage2-corei7:test",
    "stage3-corei7:build",
    "stage3-corei7:finish",
    "stage3-corei7:test",
];

/// Puts words in the place of hashes.
fn redact(text: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    for c in text.chars().chain(['\n']) {
        if c.is_ascii_lowercase() || ('2'..='7').contains(&c) {
            word.push(c);
            continue;
        }
        out.push_str(if word.len() == 52 { "HASH" } else { &word });
        word.clear();
        out.push(c);
    }
    out.trim_end().to_owned()
}

#[test]
fn derivations_are_what_the_specs_say() {
    let world = World::new();
    let graph = world.graph(&["stage3-corei7"]);
    let views: Vec<TargetView> = graph
        .targets()
        .iter()
        .map(|t| TargetView::new(&graph, t, None))
        .collect();
    let text = serde_json::to_string_pretty(&views).expect("serialised");
    insta::assert_snapshot!("derivations", redact(&text));
    let view = GraphView::new(&graph, None);
    let edges: Vec<String> = view.edges.iter().map(|e| e.join(" -> ")).collect();
    insta::assert_snapshot!(edges.join("\n"), @r"
        stage1-corei7:prerun -> stage1-corei7:run
        stage1-corei7:run -> stage2-corei7:run
        stage2-corei7:run -> stage2-corei7:test
        stage2-corei7:test -> stage3-corei7:build
        stage3-corei7:build -> stage3-corei7:finish
        stage3-corei7:finish -> stage3-corei7:test
        ");
}

#[test]
fn nothing_is_built_twice() {
    let world = World::new();
    assert_eq!(world.realise(&["stage3-corei7"]), ALL);
    world.lookups.set(0);
    assert!(world.realise(&["stage3-corei7"]).is_empty());
    assert_eq!(world.lookups.get(), ALL.len(), "one lookup for each step");
    assert!(world.why(&["stage3-corei7"]).is_empty());
    let graph = world.graph(&["stage3-corei7"]);
    let walk = Staleness::walk(&graph, &world, &mut ()).expect("walked");
    let view = GraphView::new(&graph, Some(&walk));
    assert!(view.nodes.iter().all(|n| n.state == Some("up-to-date")));
}

#[test]
fn a_comment_in_the_last_script_reruns_that_script_alone() {
    let world = World::new();
    world.realise(&["stage3-corei7"]);
    world.edit(
        "targets/stage3.conf",
        "echo $[target",
        "# more\necho $[target",
    );
    insta::assert_snapshot!(world.why(&["stage3-corei7"]), @r"
        stage3-corei7:finish
          the script of `finish` changed
              #!/bin/sh
            + # more
              echo corei7 > /etc/name
        stage3-corei7:test
          starts from stage3-corei7:finish, which has to be built first
        ");
    // The result is the same, so the test need not run again.
    assert_eq!(world.realise(&["stage3-corei7"]), ["stage3-corei7:finish"]);
    world.edit("targets/stage3.conf", "# more\n", "");
    assert!(world.realise(&["stage3-corei7"]).is_empty(), "a way back");
}

/// The last build differs in two things, the one before in one.
#[test]
fn a_step_is_compared_with_the_build_that_is_nearest_to_it() {
    let world = World::new();
    world.realise(&["stage3-corei7"]);
    world.edit("subarch/corei7.conf", "-O2", "-O3");
    world.edit("targets/stage3.conf", "world install", "world setup");
    world.realise(&["stage3-corei7"]);
    world.edit("subarch/corei7.conf", "-O3", "-O2");
    world.edit("targets/stage3.conf", "world setup", "world depend");
    insta::assert_snapshot!(world.why(&["stage3-corei7"]), @r"
        stage3-corei7:build
          the script of `build` changed
            - make -C /mstore/snapshot/world install
            + make -C /mstore/snapshot/world depend
        stage3-corei7:finish
          starts from stage3-corei7:build, which has to be built first
        stage3-corei7:test
          starts from stage3-corei7:finish, which has to be built first
        ");
    let graph = world.graph(&["stage3-corei7"]);
    let mut explainer = Explainer::new();
    Staleness::walk(&graph, &world, &mut explainer).expect("walked");
    let build = graph.find("stage3-corei7:build").expect("a step");
    let nearest = explainer.nearest(build).expect("there are two");
    assert_eq!((nearest.started, nearest.last), (1, false));
    // Where both differ in as many things it is the later one.
    world.edit("subarch/corei7.conf", "-O2", "-O1");
    let graph = world.graph(&["stage3-corei7"]);
    let mut explainer = Explainer::new();
    Staleness::walk(&graph, &world, &mut explainer).expect("walked");
    let nearest = explainer.nearest(build).expect("there are two");
    assert_eq!((nearest.started, nearest.last), (2, true));
}

#[test]
fn a_change_without_effect_stops_where_the_trees_are_equal() {
    let world = World::new();
    world.realise(&["stage3-corei7"]);
    world.edit(
        "targets/stage1.conf",
        "mkdir -p",
        "# to no effect\nmkdir -p",
    );
    assert_eq!(world.realise(&["stage3-corei7"]), ["stage1-corei7:prerun"]);
    world.edit("targets/stage1.conf", "mkdir -p", "mkdir -m 700 -p");
    assert_eq!(world.realise(&["stage3-corei7"]), ALL);
}

#[test]
fn a_change_to_the_environment_or_a_test_reaches_what_it_must() {
    let world = World::new();
    world.realise(&["stage3-corei7"]);
    world.edit("subarch/corei7.conf", "-O2", "-O3");
    insta::assert_snapshot!(world.why(&["stage3-corei7"]), @r"
        stage3-corei7:build
          env/CFLAGS changed
            - -O2 -march=corei7
            + -O3 -march=corei7
        stage3-corei7:finish
          starts from stage3-corei7:build, which has to be built first
          env/CFLAGS changed
            - -O2 -march=corei7
            + -O3 -march=corei7
        stage3-corei7:test
          starts from stage3-corei7:finish, which has to be built first
          env/CFLAGS changed
            - -O2 -march=corei7
            + -O3 -march=corei7
        ");
    assert_eq!(
        world.realise(&["stage3-corei7"]),
        [
            "stage3-corei7:build",
            "stage3-corei7:finish",
            "stage3-corei7:test"
        ]
    );
    world.edit("targets/stage2.conf", "tools --version", "tools --help");
    assert_eq!(world.realise(&["stage3-corei7"]), ["stage2-corei7:test"]);
}

#[test]
fn a_source_file_makes_stale_what_reads_it() {
    let world = World::new();
    world.realise(&["stage3-corei7"]);
    world.snapshot(&[
        ("libc/main.c", "1"),
        ("shell/main.c", "1"),
        ("tools/main.c", "2"),
        ("unused/main.c", "2"),
        ("world/main.c", "1"),
    ]);
    // `build` of stage3 names no paths: it reads the whole snapshot. stage1 reads none of what
    // changed; `finish` reads nothing.
    assert_eq!(
        world.realise(&["stage3-corei7"]),
        [
            "stage2-corei7:run",
            "stage2-corei7:test",
            "stage3-corei7:build",
            "stage3-corei7:finish",
            "stage3-corei7:test"
        ]
    );
    world.snapshot(&[
        ("libc/main.c", "1"),
        ("shell/main.c", "1"),
        ("tools/main.c", "2"),
        ("world/main.c", "2"),
    ]);
    insta::assert_snapshot!(
        world.why(&["stage3-corei7"]).lines().next().unwrap_or_default(),
        @"stage3-corei7:build"
    );
    assert_eq!(world.realise(&["stage2-corei7"]), [""; 0]);
}

#[test]
fn subarches_share_what_is_the_same_for_both() {
    let world = World::new();
    let names = ["stage3-corei7", "stage3-generic_64"];
    let graph = world.graph(&names);
    assert_eq!(graph.nodes().len(), 14);
    assert_eq!(
        world.realise(&names),
        [
            &ALL[..],
            &[
                "stage3-generic_64:build",
                "stage3-generic_64:finish",
                "stage3-generic_64:test"
            ]
        ]
        .concat()
    );
    assert!(world.realise(&["stage*"]).is_empty());
    assert_eq!(world.realise(&["other/stage3-corei7"]), [""; 0]);
}

#[test]
fn collected_trees_are_made_again_only_when_they_are_needed() {
    let world = World::new();
    world.realise(&["stage3-corei7"]);
    let graph = world.graph(&["stage3-corei7"]);
    let walk = Staleness::walk(&graph, &world, &mut ()).expect("walked");
    let last = graph.targets()[2].last;
    let keep = walk.state(last).tree();
    for node in graph.nodes().ids() {
        let tree = walk.state(node).tree();
        if tree != keep {
            world.collected.borrow_mut().extend(tree);
        }
    }
    // What was cut out of stage1 is collected as well.
    let root = walk.state(NodeId::at(1)).tree().expect("built");
    let cut = match world.subtree(root, "/tmp/stage1root").expect("cut") {
        mstore::drv::facts::TreePart::Tree(tree) => tree,
        other => panic!("{other:?}"),
    };
    world.collected.borrow_mut().insert(cut);
    assert!(world.realise(&["stage3-corei7"]).is_empty());
    // The script before the last changes: its input is gone, so all before it run again.
    world.edit(
        "targets/stage3.conf",
        "snapshot/world install",
        "snapshot/world all",
    );
    assert_eq!(world.realise(&["stage3-corei7"]), {
        let mut all = ALL.to_vec();
        // The test of stage2 hands on what it got, and that is there by then.
        all.retain(|n| *n != "stage2-corei7:test");
        all
    });
    assert!(world.realise(&["stage3-corei7"]).is_empty());
}

#[test]
fn a_step_that_is_stale_while_its_inputs_are_built_says_both() {
    let world = World::new();
    insta::assert_snapshot!(world.why(&["stage2-corei7"]), @r"
        stage1-corei7:prerun
          never built
        stage1-corei7:run
          starts from stage1-corei7:prerun, which has to be built first
        stage2-corei7:run
          starts from stage1-corei7:run, which has to be built first
        stage2-corei7:test
          starts from stage2-corei7:run, which has to be built first
        ");
    world.realise(&["stage2-corei7"]);
    world.pin(mstore::plan::PinKind::Seed, "debian", tree("newer"));
    world.edit("targets/stage2.conf", "tools install", "tools all install");
    insta::assert_snapshot!(world.why(&["stage2-corei7"]), @r"
        stage1-corei7:prerun
          the root changed: emesjzwffri2 -> mhlpsu6vi4lx
        stage1-corei7:run
          starts from stage1-corei7:prerun, which has to be built first
        stage2-corei7:run
          starts from stage1-corei7:run, which has to be built first
          the script of `run` changed
            - make -C /mstore/snapshot/tools install
            + make -C /mstore/snapshot/tools all install
        stage2-corei7:test
          starts from stage2-corei7:run, which has to be built first
        ");
}

#[test]
fn the_version_is_the_date_of_the_snapshot_and_reaches_no_hash_unused() {
    let world = World::new();
    let graph = world.graph(&["stage3-corei7"]);
    assert_eq!(graph.targets()[0].version, "2026-11-20");
    let hashes = |w: &World| -> Vec<_> {
        let graph = w.graph(&["stage3-corei7"]);
        graph.nodes().values().map(|n| n.hash).collect()
    };
    let before = hashes(&world);
    let snapshot = *world.snapshots.borrow().keys().next().expect("one");
    let newer = mstore::plan::Pin::new(snapshot, Some("2026-12-24".into()));
    let kind = mstore::plan::PinKind::Snapshot;
    world
        .lock
        .borrow_mut()
        .set(kind, "ports", newer)
        .expect("pinned");
    assert_eq!(
        world.graph(&["stage3-corei7"]).targets()[0].version,
        "2026-12-24"
    );
    assert_eq!(hashes(&world), before);
    world.write("subarch/corei7.conf", "subarch/CFLAGS: $[target/version]\n");
    assert_ne!(hashes(&world), before);
}

#[test]
fn steps_that_leave_a_folder_run_beside_each_other() {
    let world = World::new();
    world.edit(
        "targets/stage3.conf",
        "[section steps/chroot]",
        "[section leaves]\nbuild: /var/cache\nfinish: /srv/a\n[section steps/chroot]",
    );
    let graph = world.graph(&["stage3-corei7"]);
    let view = GraphView::new(&graph, None);
    let edges: Vec<String> = view.edges.iter().map(|e| e.join(" -> ")).collect();
    insta::assert_snapshot!(edges[3..].join("\n"), @r"
    stage2-corei7:test -> stage3-corei7:build
    stage2-corei7:test -> stage3-corei7:finish
    stage2-corei7:test -> stage3-corei7:together
    stage3-corei7:build -> stage3-corei7:together
    stage3-corei7:finish -> stage3-corei7:together
    stage3-corei7:together -> stage3-corei7:test
    ");
}
