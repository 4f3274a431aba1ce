//! The facts of a real store: parts of snapshots, remembered derivations, what changed in a tree.

use std::fs;
use std::path::Path;

use mstore::dense::Id;
use mstore::drv::facts::TreePart;
use mstore::drv::{Facts, StoreFacts, Trees};
use mstore::plan::{Explainer, Graph, NodeId, PinKind, Pins, Staleness, WalkError};
use mstore_store::{
    GcPolicy, Hash, ImportOptions, OpenOptions, Realisation, RealisationKind, Store, TreeHash,
};

use crate::world::World;

fn store(dir: &Path) -> Store {
    Store::open(&dir.join("store"), &OpenOptions::create()).expect("a store")
}

fn import(store: &Store, dir: &Path, files: &[(&str, &str)]) -> TreeHash {
    let from = dir.join("from");
    let _ = fs::remove_dir_all(&from);
    fs::create_dir(&from).expect("made");
    for (path, text) in files {
        let path = from.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, text).expect("written");
    }
    let done = store.import_dir(&from, &ImportOptions::snapshot());
    done.expect("imported").tree
}

fn files(tools: &str) -> [(&str, &str); 4] {
    [
        ("libc/main.c", "1"),
        ("shell/main.c", "1"),
        ("tools/main.c", tools),
        ("world/main.c", "1"),
    ]
}

fn graph(world: &World, facts: &StoreFacts, name: &str) -> Graph {
    let distribution = world.open().expect("opened");
    let ids = distribution.expand(&[name]).expect("known");
    let lock = world.lock.borrow();
    let recipes = distribution.recipes(&ids, &lock).expect("loaded");
    Graph::build(&recipes, &lock, facts, Pins::Required).expect("a graph")
}

/// Pretends to build what is stale: each step gives a tree of its own.
fn realise(graph: &Graph, store: &Store, facts: &StoreFacts, dir: &Path) -> Vec<String> {
    let mut walk = Staleness::walk(graph, facts, &mut ()).expect("walked");
    let mut built = Vec::new();
    loop {
        let todo = walk.todo(facts).expect("known");
        let Some(node) = todo.build.first().copied() else {
            return built;
        };
        graph.require_inputs([node], facts).expect("at hand");
        let step = walk.resolved(node).expect("its inputs are known");
        let text = step.key().to_string();
        let tree = import(
            store,
            dir,
            &[("tmp/stage1root/bin/sh", &text), ("made/by", &text)],
        );
        facts.remember(&step).expect("remembered");
        let fact = Realisation {
            kind: RealisationKind::Step,
            key: step.key().0,
            drv: graph.nodes()[node].hash.0,
            name: graph.nodes()[node].full_name.to_string(),
            tree,
            started: built.len() as i64,
            seconds: 1.0,
            host: "here".into(),
            log: None,
        };
        store.record(&fact).expect("recorded");
        walk.built(node, tree, facts, &mut ()).expect("taken in");
        built.push(graph.nodes()[node].name.to_string());
    }
}

#[test]
fn parts_depend_on_their_content_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path());
    let facts = StoreFacts::new(store.clone());
    let (a, b) = (
        import(&store, dir.path(), &files("1")),
        import(&store, dir.path(), &files("2")),
    );
    let pick = |tree, paths: &[&str]| {
        let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
        facts.pick(tree, &paths).expect("asked")
    };
    assert_eq!(pick(a, &["libc", "shell"]), pick(b, &["libc", "shell"]));
    assert_ne!(pick(a, &["tools"]), pick(b, &["tools"]));
    assert_eq!(pick(a, &["libc", "nothing/x"]), TreePart::NoSuchPath(1));
    assert_eq!(
        pick(TreeHash(Hash::of(b"absent")), &["libc"]),
        TreePart::Absent
    );
    let cut = facts.subtree(a, "/libc").expect("asked");
    assert_ne!(cut, pick(a, &["libc"]), "one keeps the way, one does not");
    assert_eq!(facts.subtree(b, "/libc").expect("asked"), cut);
    assert_eq!(
        facts.subtree(a, "/none").expect("asked"),
        TreePart::NoSuchPath(0)
    );

    let changes = facts.changes(a, b, 10).expect("asked").expect("both here");
    let lines: Vec<String> = changes.paths.iter().map(ToString::to_string).collect();
    assert_eq!(lines, ["~ tools/main.c"]);
}

#[test]
fn a_chain_is_built_once_and_explained_afterwards() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path());
    let facts = StoreFacts::new(store.clone());
    let world = World::new();
    let seed = import(&store, dir.path(), &[("bin/sh", "#!")]);
    world.pin(PinKind::Seed, "debian", seed);
    world.pin(
        PinKind::Snapshot,
        "ports",
        import(&store, dir.path(), &files("1")),
    );
    let first = graph(&world, &facts, "stage3-corei7");
    assert_eq!(realise(&first, &store, &facts, dir.path()).len(), 7);
    assert!(realise(&first, &store, &facts, dir.path()).is_empty());
    // Another process, later.
    let facts = StoreFacts::new(store.clone());
    let first = graph(&world, &facts, "stage3-corei7");
    assert!(realise(&first, &store, &facts, dir.path()).is_empty());

    world.pin(
        PinKind::Snapshot,
        "ports",
        import(&store, dir.path(), &files("2")),
    );
    let second = graph(&world, &facts, "stage2-corei7");
    let mut explainer = Explainer::new();
    Staleness::walk(&second, &facts, &mut explainer).expect("walked");
    let run = second.find("stage2-corei7:run").expect("there");
    let text: Vec<String> = explainer.of(run).iter().map(ToString::to_string).collect();
    let [text] = text.as_slice() else {
        panic!("{text:?}");
    };
    assert!(text.starts_with("the snapshot changed: "), "{text}");
    assert!(text.ends_with("\n  ~ tools/main.c"), "{text}");
    assert!(
        explainer.of(NodeId::at(0)).is_empty(),
        "stage1 does not read it"
    );
    assert_eq!(
        realise(&second, &store, &facts, dir.path()),
        ["stage2-corei7:run", "stage2-corei7:test"]
    );
    // Remembered derivations go with their realisations.
    let known: Vec<Hash> = store
        .realisations(None)
        .expect("listed")
        .iter()
        .map(|r| r.key)
        .collect();
    assert_eq!(known.len(), 9);
    assert_eq!(store.forget_derivations().expect("kept"), 0);
    for key in &known {
        store.forget(key).expect("forgotten");
    }
    assert_eq!(store.forget_derivations().expect("gone"), 9);
    assert!(
        facts
            .earlier(
                &"demo/x86-64bit/corei7/stage2:run".parse().expect("a name"),
                9
            )
            .expect("asked")
            .is_empty()
    );
}

#[test]
fn what_a_target_captures_must_have_been_made() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path());
    let facts = StoreFacts::new(store.clone());
    let world = World::new();
    world.edit(
        "targets/stage1.conf",
        "ROOT: /tmp/stage1root",
        "ROOT: /tmp/forgotten",
    );
    let seed = import(&store, dir.path(), &[("bin/sh", "#!")]);
    world.pin(PinKind::Seed, "debian", seed);
    world.pin(
        PinKind::Snapshot,
        "ports",
        import(&store, dir.path(), &files("1")),
    );
    let graph = graph(&world, &facts, "stage1-corei7");
    let mut walk = Staleness::walk(&graph, &facts, &mut ()).expect("walked");
    let tree = import(&store, dir.path(), &[("bin/sh", "x")]);
    walk.built(NodeId::at(0), tree, &facts, &mut ())
        .expect("taken in");
    walk.built(NodeId::at(1), tree, &facts, &mut ())
        .expect("taken in");
    let error = walk.target_tree(&graph.targets()[0], &facts);
    assert!(matches!(&error, Err(WalkError::NoRoot { .. })), "{error:?}");
    insta::assert_snapshot!(error.expect_err("no root"), @"`stage1-corei7:run` left no directory /tmp/forgotten in its tree; portage/ROOT of stage1-corei7 names it, so one of its steps must make it");
}

#[test]
fn after_a_collection_finished_targets_stay_finished() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = store(dir.path());
    let world = World::new();
    let seed = import(&store, dir.path(), &[("bin/sh", "#!")]);
    let ports = import(&store, dir.path(), &files("1"));
    world.pin(PinKind::Seed, "debian", seed);
    world.pin(PinKind::Snapshot, "ports", ports);
    let keep = {
        let facts = StoreFacts::new(store.clone());
        let graph = graph(&world, &facts, "stage3-corei7");
        realise(&graph, &store, &facts, dir.path());
        let walk = Staleness::walk(&graph, &facts, &mut ()).expect("walked");
        let last = graph.requested().next().expect("one");
        walk.target_tree(last, &facts)
            .expect("asked")
            .expect("built")
    };
    for (name, tree) in world.lock.borrow().roots() {
        store.add_root(&name, tree).expect("named");
    }
    store.add_root("keep", keep).expect("named");
    drop(store);
    let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).expect("opened");
    store.gc(&GcPolicy::newest(0), false).expect("collected");
    let facts = StoreFacts::new(store.clone());
    let graph = graph(&world, &facts, "stage3-corei7");
    let first = Staleness::walk(&graph, &facts, &mut ()).expect("walked");
    let state = first.state(NodeId::at(0)).tree().expect("still known");
    assert!(!facts.present(state).expect("asked"), "it was collected");
    assert!(realise(&graph, &store, &facts, dir.path()).is_empty());
}
