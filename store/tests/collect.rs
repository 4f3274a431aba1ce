//! The collector and the verification.

use std::fs;
use std::path::Path;

use mstore_store::*;

fn tree(store: &Store, dir: &Path, files: &[(&str, &[u8])]) -> TreeHash {
    let src = tempfile::tempdir_in(dir).unwrap();
    for (name, content) in files {
        let path = src.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let options = ImportOptions::snapshot();
    store.import_dir(src.path(), &options).unwrap().tree
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    hasher.finalize_xof().fill(&mut out);
    out
}

fn realisation(n: u8, name: &str, tree: TreeHash) -> Realisation {
    Realisation {
        kind: RealisationKind::Target,
        key: Hash::of(&[n]),
        drv: Hash::of(b"drv"),
        name: name.into(),
        tree,
        started: i64::from(n),
        seconds: 1.5,
        host: "host".into(),
        log: None,
    }
}

fn reopen(store: Store) -> Store {
    let path = store.path().to_path_buf();
    drop(store);
    Store::open(&path, &OpenOptions::create()).unwrap()
}

#[test]
fn only_what_is_needed_stays() {
    let tmp = tempfile::tempdir().unwrap();
    let store = Store::open(&tmp.path().join("s"), &OpenOptions::create()).unwrap();
    let shared = noise(1, 100_000);
    let trees: Vec<TreeHash> = (0..6u8)
        .map(|n| {
            tree(
                &store,
                tmp.path(),
                &[
                    ("a/shared", &shared),
                    ("b", &noise(10 + n, 300_000)),
                    ("c/big", &noise(20 + n, 6 << 20)),
                ],
            )
        })
        .collect();
    for n in 0..4 {
        let r = realisation(n, "stage3", trees[usize::from(n)]);
        store.record(&r).unwrap();
        assert_eq!(store.realisation(&r.key).unwrap(), Some(r));
    }
    store.add_root("seed", trees[4]).unwrap();
    // All of it was made in this session.
    let report = store.gc(&GcPolicy::newest(2), false).unwrap();
    assert_eq!(report.alive.len(), 6);
    assert_eq!(report.gone, []);
    let store = reopen(store);
    drop(store.checkout(trees[0]).unwrap());
    let lease = store.lease("test").unwrap();
    lease.protect(trees[5]).unwrap();
    let dry = store.gc(&GcPolicy::newest(2), true).unwrap();
    let real = store.gc(&GcPolicy::newest(2), false).unwrap();
    assert_eq!(dry, real);
    let alive: Vec<_> = real.alive.iter().map(|s| s.tree).collect();
    let mut expected = vec![trees[2], trees[3], trees[4], trees[5]];
    expected.sort();
    assert_eq!(alive, expected);
    for (n, tree) in trees.iter().enumerate() {
        assert_eq!(store.has_tree(*tree).unwrap(), n > 1, "{n}");
    }
    // The fact outlives the tree.
    assert!(store.realisation(&Hash::of(&[0])).unwrap().is_some());
    assert!(matches!(
        lease.protect(trees[0]),
        Err(StoreError::Missing { .. })
    ));
    let report = store
        .verify(&VerifyOptions::default(), &mut |_| ())
        .unwrap();
    assert_eq!(report.faults, []);
    for tree in &expected {
        store.checkout(*tree).unwrap();
    }
    drop(lease);
    store.remove_root("seed").unwrap();
    let store = reopen(store);
    let report = store.gc(&GcPolicy::newest(0), false).unwrap();
    assert_eq!(report.objects_alive, 0);
    assert_eq!(fs::read_dir(store.path().join("packs")).unwrap().count(), 0);
    assert_eq!(
        fs::read_dir(store.path().join("checkouts"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(store.gc(&GcPolicy::newest(0), false).unwrap().gone, []);
}

#[test]
fn packs_half_dead_are_rewritten_and_many_small_ones_merged() {
    let tmp = tempfile::tempdir().unwrap();
    let store = Store::open(&tmp.path().join("s"), &OpenOptions::create()).unwrap();
    let big: Vec<(String, Vec<u8>)> = (0..20u8)
        .map(|n| (format!("f{n}"), noise(n, 50_000)))
        .collect();
    let all: Vec<(&str, &[u8])> = big
        .iter()
        .map(|(n, c)| (n.as_str(), c.as_slice()))
        .collect();
    let whole = tree(&store, tmp.path(), &all);
    let part = store.pick(whole, &["f1", "f2"]).unwrap();
    store.add_root("part", part).unwrap();
    let mut small = Vec::new();
    for n in 0..40u8 {
        let t = tree(&store, tmp.path(), &[("x", &noise(100 + n, 1000))]);
        store.add_root(&format!("small{n}"), t).unwrap();
        small.push(t);
    }
    let store = reopen(store);
    let report = store.gc(&GcPolicy::newest(0), false).unwrap();
    assert!(report.freed > 800_000, "{}", report.freed);
    // Of more than eighty. Additions fold small packs: of each kind fewer than 16 of the smallest stay, and
    // what those before were folded to. That is fewer than the collector takes for many, so it merges none.
    let left = fs::read_dir(store.path().join("packs")).unwrap().count();
    assert!(left < 2 * 16, "{left}");
    assert!(!store.has_tree(whole).unwrap());
    assert!(store.has_tree(part).unwrap());
    for t in small {
        store.checkout(t).unwrap();
    }
    assert_eq!(
        store
            .verify(&VerifyOptions::default(), &mut |_| ())
            .unwrap()
            .faults,
        []
    );
    // Nothing more to do: the collector comes to rest.
    assert_eq!(store.gc(&GcPolicy::newest(0), false).unwrap().gone, []);
}

#[test]
fn damage_is_named_and_repair_forgets_exactly_what_it_hits() {
    let tmp = tempfile::tempdir().unwrap();
    let store = Store::open(&tmp.path().join("s"), &OpenOptions::create()).unwrap();
    let good = tree(&store, tmp.path(), &[("good", &noise(1, 10_000))]);
    let bad = tree(
        &store,
        tmp.path(),
        &[("d/bad", &noise(2, 10_000)), ("good", &noise(1, 10_000))],
    );
    store.record(&realisation(1, "good", good)).unwrap();
    store.record(&realisation(2, "bad", bad)).unwrap();
    store.add_root("seed", bad).unwrap();
    // Contents are stored as they are when they do not compress: find the bytes and spoil one.
    let needle = noise(2, 10_000);
    let mut hit = 0;
    for entry in fs::read_dir(store.path().join("packs")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(64).position(|w| w == &needle[..64]) {
            bytes[at + 32] ^= 1;
            // As a new file: packs are mapped.
            fs::remove_file(&path).unwrap();
            fs::write(&path, bytes).unwrap();
            hit += 1;
        }
    }
    assert_eq!(hit, 1);
    let store = reopen(store);
    assert!(matches!(
        store.checkout(bad),
        Err(StoreError::Corrupt { .. })
    ));
    let mut seen = 0;
    let report = store
        .verify(&VerifyOptions::default(), &mut |_| seen += 1)
        .unwrap();
    assert_eq!(seen, 1);
    let [fault] = &report.faults[..] else {
        panic!("{:?}", report.faults)
    };
    assert_eq!(fault.object, Some(Hash::of(&needle)));
    assert_eq!(fault.affects, ["bad", "root seed"]);
    let repair = VerifyOptions {
        repair: true,
        ..VerifyOptions::default()
    };
    let report = store.verify(&repair, &mut |_| ()).unwrap();
    assert_eq!(report.forgotten, [Hash::of(&[2])]);
    assert_eq!(report.forgotten_roots, ["seed"]);
    assert_eq!(
        store
            .verify(&VerifyOptions::default(), &mut |_| ())
            .unwrap()
            .faults,
        []
    );
    assert!(!store.has_tree(bad).unwrap());
    store.checkout(good).unwrap();
    // It comes back by being imported again.
    let again = tree(
        &store,
        tmp.path(),
        &[("d/bad", &needle), ("good", &noise(1, 10_000))],
    );
    assert_eq!(again, bad);
    store.checkout(bad).unwrap();
}
