//! Steps and trees by their hashes, in every command that takes one.

use std::fs;

use mstore::dense::Id;
use mstore::plan::{Distribution, PinKind, Pins, Staleness};
use mstore::project::{Access, Project};
use mstore_store::{ImportOptions, OpenOptions, Realisation, RealisationKind, Store};

use crate::environment::Environment;

/// Specifications of two targets with two steps each, and a store in which one of them is "built".
pub struct World {
    pub env: Environment,
    /// Derivation, key and tree of `stage1-one:run`, then of `stage1-one:clean`.
    pub steps: Vec<(String, String, String)>,
}

pub fn world() -> World {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "[section list]\nbuilds: demo\narches: pc\nsubarches/pc: one two\ntargets: stage1\n\
         [section default]\nbuild: demo\n[section path]\nwork: /x\n[section target]\nplatform: x86_64\nversion: 1\n\
         [section source]\n: seed\nseed: base\n[section steps]\nchroot: run clean\n[section steps/chroot]\n\
         run: [\nmake $[target/subarch]\n]\nclean: [\nrm -rf /tmp/work\n]\n",
    );
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let import = |text: &str| {
        env.write("from/made/by", text);
        let from = env.work().join("from");
        store
            .import_dir(&from, &ImportOptions::snapshot())
            .unwrap()
            .tree
    };
    let seed = import("hand");
    store.add_root("seed", seed).unwrap();
    let pin = env.run(&[
        "lock",
        "--seed",
        &format!("base={}", &seed.to_string()[..8]),
    ]);
    assert!(pin.ok().contains(&seed.to_string()));
    let steps = build(&env, 1_700_000_000);
    World { env, steps }
}

/// "Builds" `stage1-one`, from `started` on. Gives derivation, key and tree of each of its steps.
pub fn build(env: &Environment, started: i64) -> Vec<(String, String, String)> {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let import = |text: &str| {
        env.write("from/made/by", text);
        let from = env.work().join("from");
        store
            .import_dir(&from, &ImportOptions::snapshot())
            .unwrap()
            .tree
    };
    let distribution = Distribution::open(None, &env.work(), Vec::new()).unwrap();
    let project = Project::open(&env.store(), Access::Change, distribution).unwrap();
    assert!(project.lock.get(PinKind::Seed, "base").is_some());
    let graph = project
        .graph(&["stage1-one".to_owned()], Pins::Required)
        .unwrap();
    let facts = &project.facts;
    let mut steps = Vec::new();
    let mut walk = Staleness::walk(&graph, facts, &mut ()).unwrap();
    for (at, node) in graph.nodes().iter() {
        let step = walk.resolved(at).unwrap();
        let tree = import(node.name.as_str());
        facts.remember(&step).unwrap();
        let log = format!("demo.pc.one.stage1.{}.{started}.log", node.name.step());
        fs::write(
            store.logs_dir().join(&log),
            format!("{} was here\n", node.name.step()),
        )
        .unwrap();
        let fact = Realisation {
            kind: RealisationKind::Step,
            key: step.key().0,
            drv: node.hash.0,
            name: node.full_name.to_string(),
            tree,
            started: started + at.index() as i64,
            seconds: 60.0,
            host: "builder".into(),
            log: Some(log),
        };
        store.record(&fact).unwrap();
        walk.built(at, tree, facts, &mut ()).unwrap();
        steps.push((
            node.hash.to_string(),
            step.key().to_string(),
            tree.to_string(),
        ));
    }
    steps
}

/// The beginning of a hash.
pub fn short(hash: &str) -> &str {
    &hash[..7]
}

#[test]
fn a_step_is_found_by_derivation_key_and_tree() {
    let World { env, steps } = world();
    let (drv, key, tree) = &steps[0];
    let by_name = env.run(&["show", "stage1-one:run"]).ok();
    assert!(by_name.contains(&format!("derivation {drv}")), "{by_name}");
    let shown = env.run(&["show", short(drv)]).ok();
    insta::assert_snapshot!(shown.replace(drv, "DRV").replace(tree, "TREE"), @r"
    stage1-one:run
      derivation DRV
      tree TREE
      root at /: rp6dbuzbhyxdcph43ag2sg5pyv3o6wrnojhu6liaj7tlpxspghja
        make one
    ");
    for other in [drv.as_str(), short(key), short(tree)] {
        assert_eq!(env.run(&["show", other]).ok(), shown, "{other}");
        let log = env.run(&["log", other]).ok();
        assert!(log.ends_with("run was here\n"), "{log}");
    }
    let json = env.run(&["show", "--json", short(key)]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["drv"], &json["key"]),
        (&drv.as_str().into(), &key.as_str().into())
    );
    assert_eq!(json["tree"], tree.as_str());
    let attempts = env.run(&["log", "--attempts", short(drv)]).ok();
    assert!(attempts.contains("demo/pc/one/stage1:run ok"), "{attempts}");
    // One that was never built is known from the specifications.
    let plan = env.run(&["show", "stage1-two:clean", "--json"]).ok();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    let planned = plan["steps"][0]["drv"].as_str().unwrap();
    let shown = env.run(&["show", short(planned)]).ok();
    assert!(
        shown.contains("stage1-two:clean") && shown.contains("rm -rf"),
        "{shown}"
    );
    insta::assert_snapshot!(
        env.run(&["log", short(planned)]).fails(2).replace(planned, "DRV"),
        @"error: DRV (derivation of demo/pc/two/stage1:clean) has no log: it was never built here"
    );
}

#[test]
fn whatever_takes_a_tree_takes_the_step_that_made_it() {
    let World { env, steps } = world();
    let (drv, key, tree) = &steps[1];
    for word in [drv, key, tree] {
        let at = format!("{}:made/by", short(word));
        assert_eq!(env.run(&["store", "cat", &at]).ok(), "stage1-one:clean");
        let why = env.run(&["why", "alive", short(word)]).ok();
        assert!(why.contains(&format!("tree {tree}")), "{why}");
        let path = env.run(&["store", "path", short(word)]).ok();
        assert!(path.ends_with(&format!("/views/{tree}/root\n")), "{path}");
        let root = format!("by {}", short(word));
        let _ = env.run(&["store", "root", "add", &root, short(word)]).ok();
        let copied = env.run(&["copy", "--to", "other", short(word)]).ok();
        assert!(copied.contains("1 tree"), "{copied}");
        let _ = env.run(&["export", short(word), "-o", "x.tar"]).ok();
    }
    let roots = env.run(&["store", "root", "list"]).ok();
    assert_eq!(roots.matches(tree.as_str()).count(), 3, "{roots}");
}

#[test]
fn a_derivation_stands_for_its_target() {
    let World { env, steps } = world();
    let drv = short(&steps[1].0);
    let named = env.run(&["graph", "stage1-one"]).ok();
    assert_eq!(env.run(&["graph", drv]).ok(), named);
    assert_eq!(env.run(&["graph", short(&steps[0].1)]).ok(), named);
    let why = env.run(&["why", "rebuild", drv]);
    assert_eq!(why.stderr, "nothing has to be built\n");
    let dry = env.run(&["realise", "--dry-run", drv]).ok();
    assert_eq!(dry, "would reuse 2 steps\n");
    let error = env.run(&["realise", "-n", short(&steps[1].2)]).fails(2);
    insta::assert_snapshot!(error.replace(&steps[1].2, "TREE"), @r"
    error: TREE is a tree, not a derivation
    hint: a tree is there already: `mstore store path` names its folder, `mstore show` the step that made it
    ");
}

#[test]
fn what_is_ambiguous_or_nothing_is_told() {
    let World { env, steps } = world();
    // Contents until two begin alike with one of the hashes that are there.
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let begin = &steps[0].0[..4];
    let mut found = None;
    for n in 0..4_000_000u32 {
        let text = n.to_string();
        let hash = mstore_store::Hash::of(text.as_bytes());
        if hash.has_prefix(begin) {
            found = Some((text, hash.to_string()));
            break;
        }
    }
    let (text, blob) = found.unwrap();
    env.write("more/file", text);
    let options = ImportOptions::snapshot();
    let tree = store
        .import_dir(&env.work().join("more"), &options)
        .unwrap()
        .tree;
    store.add_root("more", tree).unwrap();
    drop(store);
    let error = env.run(&["why", "alive", begin]).fails(2);
    for line in [
        format!("error: {begin} is ambiguous: 2 hashes begin so\n"),
        format!(
            "hint: {} (derivation of demo/pc/one/stage1:run)\n",
            steps[0].0
        ),
        format!("hint: {blob} (blob)\n"),
    ] {
        assert!(error.contains(&line), "{error}");
    }
    // Only the derivation can be shown.
    let shown = env.run(&["show", begin]).ok();
    assert!(shown.contains(&steps[0].0), "{shown}");
    let error = env.run(&["show", &blob[..9]]).fails(2);
    insta::assert_snapshot!(error.replace(&blob, "BLOB"), @r"
    error: BLOB is a blob, not a derivation, key or tree
    hint: `mstore store find` tells in which trees it is, and where
    ");
    for command in [
        &["show", "zzzzz"][..],
        &["diff", "zzzzz", "stage1-one"],
        &["realise", "zzzzz"],
        &["store", "ls", "zzzzz"],
        &["lock", "--seed", "base=zzzzz"],
        &["shell", "zzzzz", "--", "true"],
    ] {
        let error = env.run(command).fails(2);
        assert!(
            error.contains("zzzzz") && error.contains("hint: "),
            "{error}"
        );
    }
    insta::assert_snapshot!(env.run(&["log", "zzzzz"]).fails(2), @r"
    error: no target is called `zzzzz`
    hint: `mstore list` shows what there is
    hint: nor does the hash of a derivation, key or tree begin with zzzzz
    ");
}
