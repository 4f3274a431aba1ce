//! Retention: what the collector keeps, that it can be stopped, and that it tells why.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use mstore_store::compress::Compression;
use mstore_store::*;

const DAY: i64 = 86_400;

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    hasher.finalize_xof().fill(&mut out);
    out
}

/// A tree with something of its own and something that all have.
fn tree(store: &Store, dir: &Path, n: u8) -> TreeHash {
    let src = tempfile::tempdir_in(dir).unwrap();
    fs::create_dir(src.path().join("shared")).unwrap();
    fs::write(src.path().join("shared/all"), noise(200, 100_000)).unwrap();
    fs::create_dir(src.path().join("own")).unwrap();
    fs::write(src.path().join("own/file"), noise(n, 300_000)).unwrap();
    let options = ImportOptions::snapshot();
    store.import_dir(src.path(), &options).unwrap().tree
}

fn record(store: &Store, n: u8, name: &str, tree: TreeHash) {
    store
        .record(&Realisation {
            kind: RealisationKind::Target,
            key: Hash::of(&[n]),
            drv: Hash::of(b"drv"),
            name: name.into(),
            tree,
            started: i64::from(n) * DAY,
            seconds: 1.5,
            host: "host".into(),
            log: Some(format!("{n}.log")),
        })
        .unwrap();
}

/// A store with trees of three targets, closed and opened again so that nothing is held.
fn sample(dir: &Path) -> (Store, Vec<TreeHash>) {
    let path = dir.join("store");
    let store = Store::open(&path, &OpenOptions::create()).unwrap();
    let trees: Vec<TreeHash> = (1..=6).map(|n| tree(&store, dir, n)).collect();
    for (n, tree) in trees.iter().enumerate() {
        record(&store, n as u8 + 1, &format!("target{}", n % 3), *tree);
    }
    drop(store);
    (Store::open(&path, &OpenOptions::create()).unwrap(), trees)
}

fn sound(store: &Store) {
    let report = store
        .verify(&VerifyOptions::default(), &mut |_| ())
        .unwrap();
    assert_eq!(report.faults, []);
}

fn once(store: &Store, policy: &GcPolicy<'_>) -> GcReport {
    let dry = store.gc(policy, true).unwrap();
    let real = store.gc(policy, false).unwrap();
    assert_eq!(dry, real);
    real
}

fn both(store: &Store, policy: &GcPolicy<'_>) -> GcReport {
    let real = once(store, policy);
    assert_eq!(store.gc(policy, true).unwrap().gone, []);
    sound(store);
    real
}

fn here(store: &Store, trees: &[TreeHash]) -> Vec<usize> {
    let all = trees.iter().enumerate();
    all.filter(|(_, t)| store.has_tree(**t).unwrap())
        .map(|(n, _)| n + 1)
        .collect()
}

fn pack_bytes(store: &Store) -> u64 {
    let list = fs::read_dir(store.path().join("packs")).unwrap();
    list.map(|e| e.unwrap().metadata().unwrap().len()).sum()
}

#[test]
fn what_was_used_longest_ago_goes_until_the_store_fits() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    store.add_root("old", trees[0]).unwrap();
    let rest = |store: &Store| {
        let all = store.path();
        let used = |name: &str| {
            let list = fs::read_dir(all.join(name)).unwrap();
            list.map(|e| {
                std::os::unix::fs::MetadataExt::blocks(&e.unwrap().metadata().unwrap()) * 512
            })
            .sum::<u64>()
                + 4096
        };
        used("db") + used("logs") + used("cache")
    };
    let policy = |max| GcPolicy {
        max_size: Some(max),
        ..GcPolicy::newest(9)
    };
    assert_eq!(both(&store, &policy(100 << 20)).gone, []);
    // Room for the root, what is shared, and two more.
    let max = rest(&store) + 1_150_000;
    let report = both(&store, &policy(max));
    assert_eq!(report.over, 0);
    assert_eq!(here(&store, &trees), [1, 5, 6]);
    let for_size = |gone: &&Gone| matches!(gone, Gone::Tree { for_size: true, .. });
    assert_eq!(report.gone.iter().filter(for_size).count(), 3);
    assert!(pack_bytes(&store) < 1_150_000);
    // Using one makes it younger than a new one; its checkout is the first to go.
    drop(store.checkout(trees[4]).unwrap());
    let report = both(&store, &policy(rest(&store) + 1_150_000));
    assert!(
        matches!(report.gone[..], [Gone::Checkout { tree, for_size: true, .. }] if tree == trees[4]),
        "{report:?}"
    );
    let report = both(&store, &policy(rest(&store) + 850_000));
    assert_eq!(report.over, 0);
    assert_eq!(here(&store, &trees), [1, 5]);
    // The root stays though it is too large.
    let report = both(&store, &policy(10));
    assert!(report.over > 400_000);
    assert_eq!(here(&store, &trees), [1]);
}

#[test]
fn a_checkout_of_an_earlier_boot_does_not_go_for_the_size() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    drop(store.checkout(trees[4]).unwrap());
    rusqlite::Connection::open(store.path().join("db/mstore.sqlite"))
        .unwrap()
        .execute("UPDATE layer SET boot = 'earlier'", [])
        .unwrap();
    let report = both(&store, &GcPolicy::newest(9));
    assert!(
        matches!(report.gone[..], [Gone::Checkout { tree, for_size: false, .. }] if tree == trees[4]),
        "{report:?}"
    );
}

#[test]
fn what_is_pinned_while_a_collection_begins_lives() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    let asked = Cell::new(0);
    let policy = GcPolicy {
        locks: Box::new(|_| {
            asked.set(asked.get() + 1);
            // The file changes between the first look and the one that decides.
            let pinned = (asked.get() > 1).then(|| RegisteredPin {
                path: "/lock".into(),
                kind: "seed".into(),
                name: "late".into(),
                tree: trees[0],
            });
            Ok(vec![("/lock".into(), pinned.into_iter().collect())])
        }),
        ..GcPolicy::newest(0)
    };
    store.gc(&policy, false).unwrap();
    assert_eq!(here(&store, &trees), [1]);
}

/// Collects all that it can while an archive is written.
struct Meanwhile<'a> {
    store: &'a Store,
    tree: TreeHash,
    done: bool,
}

impl std::io::Write for Meanwhile<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if !self.done {
            self.done = true;
            self.store.gc(&GcPolicy::newest(0), false).unwrap();
            assert!(self.store.has_tree(self.tree).unwrap());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_exported_is_used_and_stays_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    let tree = trees[0];
    let before = store.last_used().unwrap()[&tree];
    let mut out = Meanwhile {
        store: &store,
        tree,
        done: false,
    };
    store
        .export_tar(tree, &mut out, &ExportOptions::new(Compression::None))
        .unwrap();
    assert!(out.done);
    assert!(store.last_used().unwrap()[&tree] > before);
    store.gc(&GcPolicy::newest(0), false).unwrap();
    assert!(!store.has_tree(tree).unwrap());
}

#[test]
fn old_failures_logs_and_caches_go() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    let old = SystemTime::now() - Duration::from_secs(100 * 86_400);
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    for (name, is_old) in [
        ("failed/old", true),
        ("failed/new", false),
        ("logs/1.log", true),
        ("logs/6.log", true),
        ("logs/other.log", true),
        ("logs/new.log", false),
        ("cache/1-1-x", true),
    ] {
        let path = store.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "x").unwrap();
        if is_old {
            let times = fs::FileTimes::new().set_modified(old).set_accessed(old);
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_times(times).unwrap();
        }
    }
    assert_eq!(both(&store, &GcPolicy::newest(9)).gone, []);
    let before = Some(now - 30 * DAY);
    let report = both(
        &store,
        &GcPolicy {
            failed_before: before,
            logs_before: before,
            caches_before: before,
            ..GcPolicy::newest(1)
        },
    );
    let names: BTreeSet<String> = report
        .gone
        .iter()
        .filter_map(|gone| match gone {
            Gone::Failed { name, .. } | Gone::Log { name, .. } | Gone::Cache { name, .. } => {
                Some(name.clone())
            }
            _ => None,
        })
        .collect();
    // The log of what is still here stays.
    let expected = ["cache/1-1-x", "failed/old", "logs/1.log", "logs/other.log"];
    assert_eq!(names.iter().collect::<Vec<_>>(), expected);
    assert_eq!(here(&store, &trees), [4, 5, 6]);
    assert!(store.path().join("logs/6.log").exists());
}

#[test]
fn pins_live_as_long_as_their_lock_file_and_a_while_longer() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    let lock = dir.path().join("metro.lock");
    fs::write(&lock, "").unwrap();
    let path = lock.to_str().unwrap();
    let pin = |tree| ("seed".to_owned(), "s".to_owned(), tree);
    store.register_pins(path, 1, &[pin(trees[1])]).unwrap();
    both(&store, &GcPolicy::newest(0));
    assert_eq!(here(&store, &trees), [2]);
    fs::remove_file(&lock).unwrap();
    let policy = |before| GcPolicy {
        locks_before: Some(before),
        ..GcPolicy::newest(0)
    };
    // Missing for the first time: noted, and nothing else.
    let report = once(&store, &policy(i64::MAX));
    assert_eq!(report.missing_locks, [path]);
    assert_eq!(here(&store, &trees), [2]);
    let since = store.lock_files().unwrap()[0].missing.unwrap();
    both(&store, &policy(since));
    assert_eq!(here(&store, &trees), [2]);
    // Back again: as if nothing had been.
    fs::write(&lock, "").unwrap();
    store.register_pins(path, since, &[pin(trees[1])]).unwrap();
    both(&store, &policy(i64::MAX));
    assert_eq!(here(&store, &trees), [2]);
    fs::remove_file(&lock).unwrap();
    both(&store, &policy(since));
    let report = both(&store, &policy(i64::MAX));
    assert!(report.gone.contains(&Gone::Lock { path: path.into() }));
    assert_eq!(here(&store, &trees), [] as [usize; 0]);
    assert_eq!(store.pins().unwrap(), []);
}

#[test]
fn a_collection_can_be_stopped_anywhere_and_the_next_one_goes_on() {
    let stops = |keep| {
        for at in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let (store, trees) = sample(dir.path());
            drop(store.checkout(trees[0]).unwrap());
            let cancel = Cancel::new();
            let calls = Cell::new(0);
            let policy = GcPolicy {
                group: Box::new(|r| {
                    calls.set(calls.get() + 1);
                    if calls.get() > at {
                        cancel.cancel();
                    }
                    Some(r.name.clone())
                }),
                max_size: Some(1),
                cancel: cancel.clone(),
                ..GcPolicy::newest(keep)
            };
            let done = store.gc(&policy, false);
            sound(&store);
            let names = || here(&store, &trees).len();
            match done {
                Ok(_) => {
                    assert_eq!(names(), 0);
                    assert!(at > 3, "{at}");
                    return;
                }
                Err(StoreError::Interrupted) => {}
                Err(error) => panic!("{error}"),
            }
            let policy = GcPolicy::newest(0);
            both(&store, &policy);
            assert_eq!(names(), 0);
            assert_eq!(pack_bytes(&store), 0);
        }
    };
    stops(1);
}

#[test]
fn what_lives_and_why_is_told_by_the_same_walk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    store.add_root("mine", trees[0]).unwrap();
    let policy = GcPolicy::newest(1);
    let objects = store.objects_with_prefix("").unwrap();
    let report = store.gc(&policy, true).unwrap();
    let mut dead = 0;
    for (hash, kind) in &objects {
        let why = store.why_alive(&policy, hash).unwrap();
        assert_eq!(why.kind, Some(*kind));
        if why.keepers.is_empty() {
            dead += 1;
        }
        for keeper in why.keepers {
            // The path leads there.
            let found = store.look_up(keeper.tree, &keeper.path, false).unwrap();
            match found.kind {
                Kind::Dir { manifest } => {
                    assert!(manifest.0 == *hash || keeper.tree.0 == *hash);
                }
                Kind::File { blob, .. } => assert_eq!(blob.0, *hash),
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(dead, report.objects_gone);
    assert!(dead > 0);
    let why = store.why_alive(&policy, &trees[0].0).unwrap();
    assert_eq!(why.keepers[0].why, [Why::Root("mine".into())]);
    assert_eq!(why.keepers[0].path, b"");
    let shared = BlobHash(Hash::of(&noise(200, 100_000)));
    let why = store.why_alive(&policy, &shared.0).unwrap();
    assert_eq!(why.keepers.len(), 4);
    assert!(why.keepers.iter().all(|k| k.path == b"shared/all"));
    let nothing = store.why_alive(&policy, &Hash::of(b"nothing")).unwrap();
    assert_eq!((nothing.kind, nothing.keepers.len()), (None, 0));
}

#[test]
fn damage_among_what_lives_stops_a_collection() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    let path = store.path().to_owned();
    drop(store);
    // The pack that has the manifest of the newest tree.
    for entry in fs::read_dir(path.join("packs")).unwrap() {
        let pack = entry.unwrap().path();
        let mut bytes = fs::read(&pack).unwrap();
        if bytes.len() < 50_000 {
            bytes[100] ^= 1;
            fs::write(&pack, bytes).unwrap();
        }
    }
    let store = Store::open(&path, &OpenOptions::create()).unwrap();
    let before = pack_bytes(&store);
    for dry in [true, false] {
        let error = store.gc(&GcPolicy::newest(9), dry).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    assert_eq!(pack_bytes(&store), before);
    let repair = VerifyOptions {
        repair: true,
        ..VerifyOptions::default()
    };
    store.verify(&repair, &mut |_| ()).unwrap();
    both(&store, &GcPolicy::newest(9));
    assert!(here(&store, &trees).len() < trees.len());
}

#[test]
fn looking_around() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    let info = store.info().unwrap();
    assert_eq!((info.trees, info.realisations), (6, 6));
    assert_eq!(info.blobs, 7);
    assert_eq!(info.blob_bytes, 6 * 300_000 + 100_000);
    assert_eq!(info.tree_bytes, 6 * 400_000);
    let usage = store.usage(trees[0], "").unwrap();
    assert_eq!((usage.entries, usage.bytes, usage.objects), (4, 400_000, 6));
    assert!((300_000..302_000).contains(&usage.unique), "{usage:?}");
    assert!((400_000..403_000).contains(&usage.stored), "{usage:?}");
    let mut places = Vec::new();
    let wanted = Wanted::Object(Hash::of(&noise(3, 300_000)));
    let all = store.trees().unwrap();
    store
        .find_in_trees(&all, &wanted, &mut |place| {
            places.push(place);
            true
        })
        .unwrap();
    assert_eq!(
        places,
        [Place {
            tree: trees[2],
            path: "own/file".into()
        }]
    );
    let mut count = 0;
    let fits = |name: &[u8]| name == b"all";
    store
        .find_in_trees(&all, &Wanted::Name(&fits), &mut |_| {
            count += 1;
            count < 4
        })
        .unwrap();
    assert_eq!(count, 4);
}

#[test]
fn links_stay_inside_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let src = dir.path().join("src");
    fs::create_dir_all(src.join("usr/bin")).unwrap();
    fs::write(src.join("usr/bin/sh"), "shell").unwrap();
    for (link, target) in [
        ("bin", "usr/bin"),
        ("abs", "/usr/bin/sh"),
        ("out", "../../../../etc/passwd"),
        ("loop", "loop"),
        ("usr/up", "../../usr/bin"),
    ] {
        std::os::unix::fs::symlink(target, src.join(link)).unwrap();
    }
    let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
    let tree = store
        .import_dir(&src, &ImportOptions::default())
        .unwrap()
        .tree;
    let look = |path: &str, follow| match store.look_up(tree, path, follow) {
        Ok(found) => {
            let kind = match found.kind {
                Kind::Dir { .. } => "dir",
                Kind::File { .. } => "file",
                _ => "link",
            };
            format!("{} {kind}", String::from_utf8(found.path).unwrap())
        }
        Err(error) => error.to_string().replace(&tree.to_string(), "TREE"),
    };
    assert_eq!(look("", true), " dir");
    assert_eq!(look("/", true), " dir");
    assert_eq!(look("../..", true), " dir");
    assert_eq!(look("bin/sh", true), "usr/bin/sh file");
    assert_eq!(look("bin", false), "bin link");
    assert_eq!(look("bin", true), "usr/bin dir");
    assert_eq!(look("abs", true), "usr/bin/sh file");
    assert_eq!(look("usr/up/sh", false), "usr/bin/sh file");
    assert_eq!(look("out", true), "tree TREE has no entry: etc");
    assert_eq!(look("loop", true), "tree TREE has no end of links: loop");
    assert_eq!(
        look("usr/bin/sh/x", true),
        "tree TREE has no directory: usr/bin/sh"
    );
    assert_eq!(look("usr/no/x", true), "tree TREE has no entry: usr/no");
}

/// The manual's queries work, on a store that has something to answer.
#[test]
fn the_manual_s_queries_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let (store, trees) = sample(dir.path());
    let pin = ("seed".to_owned(), "s".to_owned(), trees[0]);
    store
        .register_pins("/nowhere/metro.lock", 1, &[pin])
        .unwrap();
    drop(store.checkout(trees[0]).unwrap());
    let manual = include_str!("../../doc/store.md");
    let (_, manual) = manual.split_once("## Asking the database").unwrap();
    let sql: String = manual
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| format!("{line}\n"))
        .collect();
    let path = store.path().join("db/mstore.sqlite");
    let c = rusqlite::Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap();
    let mut answers = Vec::new();
    for query in sql.split_inclusive(';').filter(|q| !q.trim().is_empty()) {
        let mut statement = c.prepare(query).unwrap_or_else(|e| panic!("{query}: {e}"));
        let mut rows = statement.query([]).unwrap();
        let mut count = 0;
        while rows.next().unwrap().is_some() {
            count += 1;
        }
        answers.push(count);
    }
    assert_eq!(answers, [6, 3, 0, 0, 1, 5, 2, 0]);
}
