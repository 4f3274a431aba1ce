//! A cache that is made smaller: what stays can be fetched, what goes is gone, at any moment whole.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::LazyLock;

use mstore_store::transfer::cache::{CachePolicy, collect};
use mstore_store::transfer::{Fact, ReceiveOptions, TransferError};
use mstore_store::{Cancel, Hash, OpenOptions, Realisation, RealisationKind, Store, TreeHash};

use crate::environment::Environment;
use crate::support::{has, import};

static GO: LazyLock<Cancel> = LazyLock::new(Cancel::new);

fn add(store: &Store, cache: &Path, trees: &[TreeHash], facts: &[Fact]) {
    let options = ReceiveOptions {
        cancel: &GO,
        progress: &|_| (),
        dry_run: false,
    };
    store
        .write_cache(cache, trees, &mut facts.iter(), &options)
        .unwrap();
}

fn fact(name: &str, tree: TreeHash, started: i64) -> Fact {
    Fact {
        realisation: Realisation {
            kind: match name.contains(':') {
                true => RealisationKind::Step,
                false => RealisationKind::Target,
            },
            key: Hash::of(format!("{name} {started}").as_bytes()),
            drv: Hash::of(format!("drv of {name} {started}").as_bytes()),
            name: name.into(),
            tree,
            started,
            seconds: 1.0,
            host: "builder".into(),
            log: None,
        },
        signatures: Vec::new(),
        record: None,
    }
}

/// A cache with four builds of a target, one after another, and a tree that was copied by its hash.
/// Returns the trees, the last of them without a fact.
fn cache(env: &Environment) -> Vec<TreeHash> {
    let path = env.work().join("cache");
    let trees: Vec<TreeHash> = (0..5).map(|at| import(&env.store(), 1000 * at)).collect();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    for (at, tree) in trees[..4].iter().enumerate() {
        let started = 1_700_000_000 + at as i64;
        let facts = [fact("demo/pc/one/stage1", *tree, started)];
        add(&store, &path, &[*tree], &facts);
    }
    add(&store, &path, &trees[4..], &[]);
    trees
}

fn files(cache: &Path) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for below in ["realisations", "derivations", "trees", "packs"] {
        for entry in fs::read_dir(cache.join(below)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            all.insert(format!("{below}/{name}"));
        }
    }
    all
}

#[test]
fn a_cache_keeps_the_newest_and_what_they_need() {
    let env = Environment::new();
    let trees = cache(&env);
    let folder = env.work().join("cache");
    let before = files(&folder);
    let dry = env
        .run(&["gc", "--cache", "cache", "--keep", "2", "-n", "--json"])
        .ok();
    assert_eq!(files(&folder), before, "a dry run removes nothing");
    let real = env
        .run(&["gc", "--cache", "cache", "--keep", "2", "--json"])
        .ok();
    assert_eq!(dry.replace("\"dry_run\": true", "\"dry_run\": false"), real);
    let told: serde_json::Value = serde_json::from_str(&real).unwrap();
    let gone: BTreeSet<String> = told["gone"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gone| gone["file"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(&before - &files(&folder), gone);
    assert_eq!((&told["facts"], &told["trees"]), (&2.into(), &3.into()));
    // The pack of the first has a content that all share, and stays whole.
    assert!(told["freed"].as_u64().unwrap() > 6_000_000, "{real}");
    for (at, tree) in trees.iter().enumerate() {
        let store = env.work().join(format!("store{at}"));
        let copy = [
            "copy",
            "--from",
            "cache",
            "--store",
            store.to_str().unwrap(),
            &tree.to_string(),
        ]
        .map(str::to_owned);
        let ran = env.run(&copy.each_ref().map(String::as_str));
        // The newest two, and the one that never had a fact.
        assert_eq!(
            ran.status,
            Some(if at < 2 { 3 } else { 0 }),
            "{at}: {}",
            ran.all()
        );
        if at >= 2 {
            assert!(has(&store, *tree));
        }
    }
    let again = env.run(&["gc", "--cache", "cache", "--keep", "2"]).ok();
    assert_eq!(again, "freed 0 B: 0 files; 2 facts and 3 trees stay\n");
    // What went can be added again.
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    add(
        &store,
        &folder,
        &trees[..1],
        &[fact("demo/pc/one/stage1", trees[0], 1_700_000_009)],
    );
    let kept = env
        .run(&["gc", "--cache", "cache", "--keep", "1", "-n"])
        .ok();
    assert!(!kept.contains(&trees[0].to_string()), "{kept}");
    assert!(kept.contains(&trees[3].to_string()), "{kept}");
    assert!(
        env.run(&[
            "gc",
            "--cache",
            "cache",
            "--keep",
            "0",
            "--keep-days",
            "99999"
        ])
        .ok()
        .starts_with("freed 0 B")
    );
    let none = env.run(&["gc", "--cache", "."]).fails(2);
    assert!(none.contains("there is no cache in ."), "{none}");
}

#[test]
fn steps_keep_what_they_are_built_from() {
    let env = Environment::new();
    let trees = cache(&env);
    let folder = env.work().join("cache");
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    // Two builds of a step, from the first and the second tree; a part of each.
    let part = |tree: TreeHash| {
        let mut part = fact("part", tree, tree.0.as_bytes()[0].into());
        part.realisation.kind = RealisationKind::Part;
        part
    };
    let facts = [
        fact("demo/pc/one/stage2:run", trees[2], 1),
        fact("demo/pc/one/stage2:run", trees[3], 2),
        part(trees[0]),
        part(trees[1]),
    ];
    add(&store, &folder, &[], &facts);
    let inputs = |fact: &Fact| {
        Some(match (fact.realisation.kind, fact.realisation.started) {
            (RealisationKind::Step, 1) => vec![trees[0]],
            (RealisationKind::Step, _) => vec![trees[1]],
            _ => Vec::new(),
        })
    };
    let policy = CachePolicy {
        keep: 1,
        keep_since: None,
        inputs: &inputs,
        cancel: &GO,
    };
    let done = collect(&folder, &policy, false).unwrap();
    let left = files(&folder);
    let there = |tree: TreeHash| left.contains(&format!("trees/{tree}"));
    let stays: Vec<bool> = trees.iter().map(|tree| there(*tree)).collect();
    assert_eq!(stays, [false, true, false, true, true]);
    let part_left = |at: usize| {
        let key = part(trees[at]).realisation.key;
        left.contains(&format!("realisations/{key}"))
    };
    assert_eq!((part_left(0), part_left(1)), (false, true));
    assert!(done.damaged.is_empty());
    // Where a step that stays does not tell, every tree stays.
    let silent = |_: &Fact| None;
    add(
        &store,
        &folder,
        &trees[..1],
        &[fact("demo/pc/one/stage1", trees[0], 5)],
    );
    let unsure = CachePolicy {
        inputs: &silent,
        ..policy
    };
    collect(&folder, &unsure, false).unwrap();
    assert!(files(&folder).contains(&format!("trees/{}", trees[0])));
    // It goes as soon as that is known.
    collect(&folder, &policy, false).unwrap();
    assert!(!files(&folder).contains(&format!("trees/{}", trees[0])));
}

#[test]
fn an_interrupted_collection_is_finished_by_the_next_one() {
    let env = Environment::new();
    let trees = cache(&env);
    let folder = env.work().join("cache");
    let cancel = Cancel::new();
    // Stopped when it is about to remove the first file.
    let inputs = |_: &Fact| {
        cancel.cancel();
        Some(Vec::new())
    };
    let policy = CachePolicy {
        keep: 1,
        keep_since: None,
        inputs: &inputs,
        cancel: &cancel,
    };
    let before = files(&folder);
    let ended = collect(&folder, &policy, false);
    assert!(matches!(ended, Err(TransferError::Cancelled)));
    assert_eq!(files(&folder), before);
    // As if the facts had gone before that, so that nothing but the note tells of their trees.
    let plan = env
        .run(&["gc", "--cache", "cache", "--keep", "1", "-n"])
        .ok();
    for line in plan.lines().filter(|l| l.contains(" realisations/")) {
        let file = line.split([' ', ',']).nth(2).unwrap();
        fs::remove_file(folder.join(file)).unwrap();
    }
    // One of them is wanted again meanwhile: then nothing is known of the others, and they stay.
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let note = fs::read(folder.join(".leaving")).unwrap();
    add(&store, &folder, &trees[..1], &[]);
    assert!(!folder.join(".leaving").exists());
    fs::write(folder.join(".leaving"), note).unwrap();
    let _ = env.run(&["gc", "--cache", "cache", "--keep", "1"]).ok();
    let left = files(&folder);
    let there = |tree: &TreeHash| left.contains(&format!("trees/{tree}"));
    assert_eq!(
        trees.iter().map(there).collect::<Vec<_>>(),
        [false, false, false, true, true]
    );
    assert!(!folder.join(".leaving").exists());
}

#[test]
fn whoever_adds_and_whoever_reads_is_not_disturbed() {
    let env = Environment::new();
    let trees = cache(&env);
    let folder = env.work().join("cache");
    let newest = trees[3].to_string();
    let mut running = Vec::new();
    for (at, tree) in trees.iter().take(3).enumerate() {
        let store = format!("reader{at}");
        for arguments in [
            &["copy", "--from", "cache", "--store", &store, &newest][..],
            &["gc", "--cache", "cache", "--keep", "1"],
            &["copy", "--to", "cache", &tree.to_string()],
        ] {
            let mut command = env.command(arguments);
            running.push(command.stdout(Stdio::null()).spawn().unwrap());
        }
    }
    for mut child in running {
        assert!(child.wait().unwrap().success());
    }
    // Every tree that is named is whole.
    for entry in fs::read_dir(folder.join("trees")).unwrap() {
        let tree = entry.unwrap().file_name().into_string().unwrap();
        let _ = env
            .run(&["copy", "--from", "cache", "--store", "last", &tree])
            .ok();
    }
}
