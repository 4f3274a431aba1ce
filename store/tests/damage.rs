//! Every kind of damage is found, named and repaired, and costs no more than it hit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mstore_store::*;

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    hasher.finalize_xof().fill(&mut out);
    out
}

const NAMES: [&str; 3] = ["one", "two", "three"];

/// Imports tree `n`: one small file of its own, one long one for the first, one that all share.
fn import(store: &Store, dir: &Path, n: usize) -> TreeHash {
    let src = tempfile::tempdir_in(dir).unwrap();
    fs::create_dir(src.path().join("d")).unwrap();
    fs::write(src.path().join("d/own"), noise(n as u8 + 1, 50_000)).unwrap();
    fs::write(src.path().join("shared"), "words and words\n".repeat(2000)).unwrap();
    if n == 0 {
        fs::write(src.path().join("long"), noise(99, 6 << 20)).unwrap();
    }
    store
        .import_dir(src.path(), &ImportOptions::snapshot())
        .unwrap()
        .tree
}

fn record(store: &Store, n: usize, tree: TreeHash) {
    store
        .record(&Realisation {
            kind: RealisationKind::Target,
            key: Hash::of(&[n as u8]),
            drv: Hash::of(b"drv"),
            name: NAMES[n].into(),
            tree,
            started: n as i64,
            seconds: 1.0,
            host: "h".into(),
            log: None,
        })
        .unwrap();
}

struct Sample {
    dir: tempfile::TempDir,
    trees: Vec<TreeHash>,
}

impl Sample {
    fn new() -> Sample {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s"), &OpenOptions::create()).unwrap();
        let trees: Vec<TreeHash> = (0..3).map(|n| import(&store, dir.path(), n)).collect();
        for (n, tree) in trees.iter().enumerate() {
            record(&store, n, *tree);
        }
        store.add_root("seed", trees[2]).unwrap();
        Sample { dir, trees }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn open(&self) -> Store {
        Store::open(&self.path(), &OpenOptions::create()).unwrap()
    }

    /// The pack that has these bytes.
    fn pack_with(&self, needle: &[u8]) -> (PathBuf, usize) {
        for entry in fs::read_dir(self.path().join("packs")).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(needle.len()).position(|w| w == needle) {
                return (path, at);
            }
        }
        panic!("no pack has it");
    }

    /// The packs that hold trees and manifests, with their indexes.
    fn meta_with(&self, hash: &Hash) -> (PathBuf, usize) {
        let mut head = b"mobj".to_vec();
        for entry in fs::read_dir(self.path().join("packs")).unwrap() {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            head.truncate(4);
            let found = bytes
                .windows(56)
                .position(|w| w[..4] == head[..] && w[24..56] == hash.as_bytes()[..]);
            if let Some(at) = found {
                return (path, at);
            }
        }
        panic!("no pack has {hash}");
    }
}

/// As a new file: packs are mapped.
fn change(path: &Path, f: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    f(&mut bytes);
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

fn verify(store: &Store, repair: bool) -> VerifyReport {
    let options = VerifyOptions {
        repair,
        checkouts: true,
        ..VerifyOptions::default()
    };
    store.verify(&options, &mut |_| ()).unwrap()
}

/// Finds the damage, repairs it, builds what was forgotten, and looks again. Returns what was
/// forgotten.
fn heal(sample: &Sample) -> Vec<usize> {
    let store = sample.open();
    let found = verify(&store, false);
    assert!(!found.faults.is_empty());
    assert!(found.forgotten.is_empty());
    assert!(
        found
            .faults
            .iter()
            .all(|f| f.file.is_some() || f.object.is_some())
    );
    let report = verify(&store, true);
    assert!(!report.faults.is_empty());
    drop(store);
    let store = sample.open();
    assert_eq!(verify(&store, false).faults, []);
    let mut rebuilt = Vec::new();
    for (n, tree) in sample.trees.iter().enumerate() {
        let known = store.realisation(&Hash::of(&[n as u8])).unwrap();
        assert_eq!(
            report.forgotten.contains(&Hash::of(&[n as u8])),
            known.is_none()
        );
        if known.is_some() {
            // Whole, byte by byte.
            let out = sample.dir.path().join(format!("out{n}"));
            store.copy_out(*tree, &out).unwrap();
            continue;
        }
        rebuilt.push(n);
        assert_eq!(import(&store, sample.dir.path(), n), *tree);
        record(&store, n, *tree);
    }
    // Everyone who is hit is named, and nobody else.
    let mut named: Vec<&str> = NAMES
        .into_iter()
        .filter(|name| {
            let mut affected = found.faults.iter().flat_map(|f| &f.affects);
            affected.any(|a| a == name)
        })
        .collect();
    named.sort_unstable();
    let mut expected: Vec<&str> = rebuilt.iter().map(|n| NAMES[*n]).collect();
    expected.sort_unstable();
    if report.rebuilt.is_empty() {
        assert_eq!(named, expected);
    }
    if rebuilt.contains(&2) {
        assert_eq!(report.forgotten_roots, ["seed"]);
        store.add_root("seed", sample.trees[2]).unwrap();
    } else {
        assert_eq!(report.forgotten_roots, [] as [&str; 0]);
    }
    assert_eq!(verify(&store, false).faults, []);
    drop(store);
    // Nothing that was wrong is left behind for the collector to trip over.
    let store = sample.open();
    store.gc(&GcPolicy::newest(9), false).unwrap();
    for tree in &sample.trees {
        assert!(store.has_tree(*tree).unwrap());
        store.checkout(*tree).unwrap();
    }
    assert_eq!(verify(&store, false).faults, []);
    rebuilt
}

#[test]
fn one_bit_in_a_content() {
    let sample = Sample::new();
    let (path, at) = sample.pack_with(&noise(2, 50_000)[..64]);
    change(&path, |bytes| bytes[at + 1000] ^= 4);
    assert_eq!(heal(&sample), [1]);
}

#[test]
fn one_bit_in_a_chunk_of_a_long_file() {
    let sample = Sample::new();
    let (path, at) = sample.pack_with(&noise(99, 6 << 20)[3_000_000..3_000_064]);
    change(&path, |bytes| bytes[at] ^= 4);
    assert_eq!(heal(&sample), [0]);
}

#[test]
fn one_bit_in_the_head_of_a_record() {
    for byte in [0, 4, 5, 6, 9, 17, 30] {
        let sample = Sample::new();
        let (path, at) = sample.meta_with(&Hash::of(&noise(2, 50_000)));
        change(&path, |bytes| bytes[at + byte] ^= 1);
        assert_eq!(heal(&sample), [1], "{byte}");
    }
}

#[test]
fn one_bit_in_a_tree_or_manifest() {
    let sample = Sample::new();
    let (path, at) = sample.meta_with(&sample.trees[2].0);
    change(&path, |bytes| bytes[at + 60] ^= 1);
    assert_eq!(heal(&sample), [2]);
    let sample = Sample::new();
    let dir = sample.open().tree(sample.trees[1]).unwrap().dir;
    let (path, at) = sample.meta_with(&dir.0);
    change(&path, |bytes| bytes[at + 70] ^= 1);
    assert_eq!(heal(&sample), [1]);
}

#[test]
fn what_all_share_hits_all() {
    let sample = Sample::new();
    let shared = Hash::of("words and words\n".repeat(2000).as_bytes());
    let (path, at) = sample.meta_with(&shared);
    change(&path, |bytes| bytes[at + 70] ^= 1);
    assert_eq!(heal(&sample), [0, 1, 2]);
}

#[test]
fn an_index_that_is_damaged_is_made_again_from_a_sound_pack() {
    for from_end in [1, 40, 50, 60, 64 + 10, 64 + 64, 64 + 64 + 300] {
        let sample = Sample::new();
        let (path, _) = sample.pack_with(&noise(2, 50_000)[..64]);
        change(&path, |bytes| {
            let at = bytes.len() - from_end;
            bytes[at] ^= 0x11;
        });
        assert_eq!(heal(&sample), [] as [usize; 0], "{from_end}");
    }
    // The head of the file.
    for at in [0, 8] {
        let sample = Sample::new();
        let (path, _) = sample.meta_with(&sample.trees[1].0);
        change(&path, |bytes| bytes[at] ^= 0x11);
        assert_eq!(heal(&sample), [] as [usize; 0], "{at}");
    }
}

#[test]
fn a_pack_that_is_cut_loses_what_was_cut_off() {
    let sample = Sample::new();
    let (path, _) = sample.pack_with(&noise(2, 50_000)[..64]);
    // Only the index is cut off.
    change(&path, |bytes| bytes.truncate(bytes.len() - 30));
    assert_eq!(heal(&sample), [] as [usize; 0]);
    let sample = Sample::new();
    let (path, at) = sample.pack_with(&noise(2, 50_000)[..64]);
    change(&path, |bytes| bytes.truncate(at + 100));
    assert_eq!(heal(&sample), [1]);
    let sample = Sample::new();
    let (path, _) = sample.pack_with(&noise(2, 50_000)[..64]);
    change(&path, |bytes| bytes.clear());
    assert_eq!(heal(&sample), [1]);
}

#[test]
fn a_pack_that_is_gone() {
    let sample = Sample::new();
    let (path, _) = sample.pack_with(&noise(3, 50_000)[..64]);
    fs::remove_file(path).unwrap();
    assert_eq!(heal(&sample), [2]);
    let sample = Sample::new();
    let (path, _) = sample.meta_with(&sample.trees[1].0);
    fs::remove_file(path).unwrap();
    let store = sample.open();
    let report = verify(&store, true);
    // It was lost, not collected: the result is built anew.
    assert_eq!(report.forgotten.len(), 1);
    assert_eq!(report.faults.len(), 2);
    assert!(report.faults[1].detail.contains("no collection removed it"));
    assert!(!store.has_tree(sample.trees[1]).unwrap());
    assert_eq!(import(&store, sample.dir.path(), 1), sample.trees[1]);
    assert_eq!(verify(&store, false).faults, []);
}

#[test]
fn files_that_do_not_belong() {
    let sample = Sample::new();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    for name in ["packs/aaaa.pack", "packs/notes.txt"] {
        let path = sample.path().join(name);
        fs::write(&path, "x").unwrap();
        let times = fs::FileTimes::new().set_modified(old);
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_times(times).unwrap();
    }
    assert_eq!(heal(&sample), [] as [usize; 0]);
}

#[test]
fn a_checkout_that_was_changed_or_lost() {
    let sample = Sample::new();
    let checkout = sample.open().checkout(sample.trees[1]).unwrap();
    let own = checkout.layers()[0].join("d/own");
    drop(checkout);
    fs::remove_file(&own).unwrap();
    assert_eq!(heal(&sample), [] as [usize; 0]);
    assert_eq!(fs::read(own).unwrap(), noise(2, 50_000));
}

#[test]
fn somebody_else_has_what_is_damaged() {
    for damage in 0..4 {
        let sample = Sample::new();
        let peer = Store::open(&sample.dir.path().join("peer"), &OpenOptions::create()).unwrap();
        let mut objects: BTreeMap<Hash, Vec<u8>> = BTreeMap::new();
        for n in 0..3 {
            import(&peer, sample.dir.path(), n);
            let bytes = noise(n as u8 + 1, 50_000);
            objects.insert(Hash::of(&bytes), bytes);
        }
        let (path, at) = match damage {
            0 | 1 => sample.pack_with(&noise(2, 50_000)[..64]),
            _ => sample.meta_with(&Hash::of(&noise(2, 50_000))),
        };
        match damage {
            0 => change(&path, |bytes| bytes[at + 1000] ^= 4),
            1 => fs::remove_file(&path).unwrap(),
            2 => change(&path, |bytes| bytes[at] ^= 4),
            _ => change(&path, |bytes| bytes.truncate(at + 100)),
        }
        let store = sample.open();
        let repair = VerifyOptions {
            repair: true,
            ..VerifyOptions::default()
        };
        let mut asked = 0;
        let report = store
            .verify_with(
                &repair,
                &mut |hash| {
                    asked += 1;
                    objects.get(hash).cloned()
                },
                &mut |_| (),
            )
            .unwrap();
        assert_eq!(report.refetched, [Hash::of(&noise(2, 50_000))], "{damage}");
        assert_eq!((report.forgotten.len(), asked), (0, 1), "{damage}");
        assert_eq!(verify(&store, false).faults, []);
        for (n, tree) in sample.trees.iter().enumerate() {
            let out = sample.dir.path().join(format!("out{n}"));
            store.copy_out(*tree, &out).unwrap();
        }
    }
    // Who gives something else gives nothing.
    let sample = Sample::new();
    let (path, at) = sample.pack_with(&noise(2, 50_000)[..64]);
    change(&path, |bytes| bytes[at + 1000] ^= 4);
    let repair = VerifyOptions {
        repair: true,
        ..VerifyOptions::default()
    };
    let store = sample.open();
    let report = store.verify_with(&repair, &mut |_| Some(b"no".to_vec()), &mut |_| ());
    let report = report.unwrap();
    assert_eq!((report.refetched.len(), report.forgotten.len()), (0, 1));
}

#[test]
fn a_database_that_is_damaged_is_written_anew() {
    // Pages here and there, the head, all of it.
    for (from, len) in [(4096 * 3, 4096), (4096 * 8, 8192), (0, 100), (0, 1 << 20)] {
        let sample = Sample::new();
        let path = sample.path().join("db/mstore.sqlite");
        {
            let c = rusqlite::Connection::open(&path).unwrap();
            c.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
                .unwrap();
        }
        let size = fs::metadata(&path).unwrap().len() as usize;
        change(&path, |bytes| {
            let end = (from + len).min(size);
            bytes[from.min(size)..end].fill(0x5a);
        });
        let told = match Store::open(&sample.path(), &OpenOptions::create()) {
            Err(error) => error.to_string(),
            Ok(store) => store.check_database(false).join("\n"),
        };
        assert!(!told.is_empty(), "{from}");
        let rescued = Store::rescue_database(&sample.path()).unwrap();
        assert!(sample.path().join(&rescued.kept).exists());
        let store = sample.open();
        assert_eq!(store.check_database(false), [] as [String; 0]);
        verify(&store, true);
        assert_eq!(verify(&store, false).faults, []);
        // No content is lost, whatever was forgotten about it.
        for (n, tree) in sample.trees.iter().enumerate() {
            assert!(store.has_tree(*tree).unwrap(), "{from} {n}: {rescued:?}");
            store
                .copy_out(*tree, &sample.dir.path().join(format!("out{n}")))
                .unwrap();
        }
    }
    // Without any a new one would make garbage of all that is there.
    let sample = Sample::new();
    fs::remove_file(sample.path().join("db/mstore.sqlite")).unwrap();
    let lost = Store::open(&sample.path(), &OpenOptions::create()).unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Machine, "{lost}");
    assert!(lost.to_string().contains("db/mstore.sqlite"), "{lost}");
    Store::rescue_database(&sample.path()).unwrap();
    let store = sample.open();
    verify(&store, true);
    assert!(sample.trees.iter().all(|t| store.has_tree(*t).unwrap()));
    drop(store);
    // A sound one loses nothing.
    let sample = Sample::new();
    let rescued = Store::rescue_database(&sample.path()).unwrap();
    assert_eq!((rescued.damaged.len(), rescued.packs), (0, 0));
    let store = sample.open();
    assert_eq!(store.realisations(None).unwrap().len(), 3);
    assert_eq!(store.roots().unwrap().len(), 1);
    assert_eq!(store.history(&HistoryFilter::default()).unwrap().len(), 3);
    // Not under the feet of others.
    let lease = store.lease("test").unwrap();
    assert!(Store::rescue_database(&sample.path()).is_err());
    drop(lease);
}

/// Names of the files of packs.
fn packs(sample: &Sample) -> Vec<PathBuf> {
    let list = fs::read_dir(sample.path().join("packs")).unwrap();
    let mut all: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
fn a_store_that_lost_its_database_is_not_taken_for_an_empty_one() {
    for lose in [
        (|path| fs::remove_file(path).unwrap()) as fn(&Path),
        |path| fs::write(path, "").unwrap(),
    ] {
        let sample = Sample::new();
        let before = packs(&sample);
        lose(&sample.path().join("db/mstore.sqlite"));
        for options in [OpenOptions::create(), OpenOptions::read_only()] {
            // Again and again: opening must not make a new one.
            let error = Store::open(&sample.path(), &options).unwrap_err();
            assert!(error.to_string().contains("packs"), "{error}");
            assert!(matches!(error, StoreError::Database { .. }));
        }
        let rescued = Store::rescue_database(&sample.path()).unwrap();
        assert_eq!(rescued.packs, before.len() as u64);
        let store = sample.open();
        assert_eq!(verify(&store, false).faults, []);
        for tree in &sample.trees {
            assert!(store.has_tree(*tree).unwrap());
        }
    }
}

#[test]
fn a_row_that_cannot_be_is_found_and_left_out() {
    for change in [
        "UPDATE realisation SET tree = 'nonsense' WHERE name = 'two'",
        "UPDATE realisation SET started = 'yesterday' WHERE name = 'two'",
        "UPDATE realisation SET host = x'ff' WHERE name = 'two'",
    ] {
        let sample = Sample::new();
        let path = sample.path().join("db/mstore.sqlite");
        rusqlite::Connection::open(&path)
            .unwrap()
            .execute(change, [])
            .unwrap();
        let said = sample.open().check_database(false);
        assert_eq!(said.len(), 1, "{change}");
        assert!(said[0].contains("table realisation"), "{said:?}");
        let rescued = Store::rescue_database(&sample.path()).unwrap();
        assert_eq!(rescued.damaged, ["realisation"]);
        let store = sample.open();
        assert_eq!(store.check_database(false), [] as [String; 0]);
        let names: Vec<String> = store
            .realisations(None)
            .unwrap()
            .into_iter()
            .map(|r| r.name)
            .collect();
        assert_eq!(names.len(), 2);
        assert!(!names.contains(&"two".to_owned()), "{names:?}");
        assert_eq!(verify(&store, false).faults, []);
    }
}

#[test]
fn a_pack_whose_row_is_lost_is_taken_back_and_not_removed() {
    let sample = Sample::new();
    let (lost, _) = sample.pack_with(&noise(2, 50_000)[..64]);
    let name = lost.file_stem().unwrap().to_str().unwrap().to_owned();
    let c = rusqlite::Connection::open(sample.path().join("db/mstore.sqlite")).unwrap();
    let gone = c
        .execute("DELETE FROM pack WHERE name = ?1", [&name])
        .unwrap();
    assert_eq!(gone, 1);
    drop(c);
    // One that nobody needs goes, whatever is in it.
    fs::write(sample.path().join("packs/stray.pack"), "nothing").unwrap();
    let store = sample.open();
    let report = verify(&store, true);
    assert_eq!(report.adopted, [name]);
    assert_eq!(
        (report.forgotten.len(), report.forgotten_roots.len()),
        (0, 0)
    );
    assert_eq!(verify(&store, false).faults, []);
    assert!(lost.exists());
    assert!(!sample.path().join("packs/stray.pack").exists());
    assert_eq!(store.realisations(None).unwrap().len(), 3);
}

#[test]
fn a_pipe_in_place_of_a_pack_is_a_fault_and_waits_for_nobody() {
    let sample = Sample::new();
    let (path, _) = sample.pack_with(&noise(2, 50_000)[..64]);
    fs::remove_file(&path).unwrap();
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let store = sample.open();
    let faults = verify(&store, false).faults;
    assert!(faults[0].detail.contains("not a file"), "{faults:?}");
    assert_eq!(verify(&store, true).forgotten.len(), 1);
    assert_eq!(verify(&store, false).faults, []);
}

#[test]
fn folders_that_are_gone_are_told_and_made_again() {
    let sample = Sample::new();
    for folder in ["packs", "sessions", "tmp", "checkouts"] {
        fs::remove_dir_all(sample.path().join(folder)).unwrap();
    }
    let store = Store::open(&sample.path(), &OpenOptions::read_only()).unwrap();
    let faults = verify(&store, false).faults;
    let told: Vec<&str> = faults.iter().filter_map(|f| f.file.as_deref()).collect();
    assert!(told.contains(&"packs"), "{told:?}");
    // The others may go at any time.
    assert!(!told.contains(&"checkouts"), "{told:?}");
    drop(store);
    fs::remove_file(sample.path().join("lock")).unwrap();
    Store::restore_folders(&sample.path()).unwrap();
    let store = sample.open();
    assert_eq!(verify(&store, true).forgotten_roots, ["seed"]);
    assert_eq!(verify(&store, false).faults, []);
    import(&store, sample.dir.path(), 1);
}
