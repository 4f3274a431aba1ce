//! Every byte of a pack is covered by a check, and a pack is the one that the database tells of.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use mstore_store::*;

/// A store with one tree: a content that is stored as it is, one that is compressed, one in chunks.
struct Sample {
    dir: tempfile::TempDir,
    tree: TreeHash,
}

fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    hasher.finalize_xof().fill(&mut out);
    out
}

impl Sample {
    fn new(long: bool) -> Sample {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("d")).unwrap();
        fs::write(from.join("d/noise"), noise(1, 90)).unwrap();
        fs::write(from.join("words"), "all the same words\n".repeat(40)).unwrap();
        if long {
            let chunk = [noise(2, 1 << 20), vec![7; 1 << 20]].concat();
            fs::write(from.join("long"), chunk.repeat(3)).unwrap();
        }
        let store = Store::open(&dir.path().join("s"), &OpenOptions::create()).unwrap();
        let tree = store.import_dir(&from, &ImportOptions::snapshot()).unwrap();
        store.add_root("r", tree.tree).unwrap();
        Sample {
            dir,
            tree: tree.tree,
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("s")
    }

    fn open(&self) -> Store {
        Store::open(&self.path(), &OpenOptions::default()).unwrap()
    }

    fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path().join("db/mstore.sqlite")).unwrap()
    }

    /// Packs, the one with contents first.
    fn packs(&self) -> Vec<PathBuf> {
        let c = self.sql();
        let mut names = c
            .prepare("SELECT name FROM pack ORDER BY content, name")
            .unwrap();
        let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
        names
            .map(|name| self.path().join(format!("packs/{}.pack", name.unwrap())))
            .collect()
    }

    /// The faults that a look at everything finds.
    fn faults(&self) -> Vec<Fault> {
        verify(&self.open(), false).faults
    }

    /// As after the migration of a store that knew no hashes of packs.
    fn forget_hashes(&self) {
        let c = self.sql();
        c.execute("UPDATE pack SET index_hash = NULL, records_hash = NULL", [])
            .unwrap();
    }

    fn known_hashes(&self) -> u32 {
        let sql = "SELECT count(index_hash) + count(records_hash) FROM pack";
        self.sql().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn verify(store: &Store, repair: bool) -> VerifyReport {
    let options = VerifyOptions {
        repair,
        ..VerifyOptions::default()
    };
    store.verify(&options, &mut |_| ()).unwrap()
}

/// Changes one byte in its place.
fn flip(path: &Path, at: u64, bits: u8) {
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

/// Flips bits at places of the packs, and expects each to be found. At most `step` bytes lie between them where
/// nothing but records and index entries is.
fn every(sample: &Sample, step: u64) {
    assert_eq!(sample.faults(), []);
    let mut tried = 0;
    for pack in sample.packs() {
        let len = fs::metadata(&pack).unwrap().len();
        for at in 0..len {
            // Heads, foot, and what separates records are tried byte by byte.
            let is_edge = at < 160 || at >= len - 200;
            if !is_edge && !at.is_multiple_of(step) {
                continue;
            }
            let bits = 1 << (at % 8);
            flip(&pack, at, bits);
            assert_ne!(
                sample.faults(),
                [],
                "byte {at} of {len}, {}",
                pack.display()
            );
            flip(&pack, at, bits);
            tried += 1;
        }
    }
    assert!(tried > 500, "{tried}");
    assert_eq!(sample.faults(), []);
}

#[test]
fn a_bit_in_any_byte_of_a_pack_is_found() {
    every(&Sample::new(false), 17);
}

#[test]
#[ignore = "long"]
fn a_bit_in_each_byte_of_a_pack_is_found() {
    every(&Sample::new(false), 1);
    every(&Sample::new(true), 2003);
}

#[test]
fn what_means_nothing_is_told_and_written_anew() {
    for long in [false, true] {
        let sample = Sample::new(long);
        for (number, pack) in sample.packs().iter().enumerate() {
            // How hard it was compressed: no object depends on it.
            flip(pack, 12, 1);
            let found = sample.faults();
            assert_eq!(found.len(), 1, "{found:?}");
            let file = found[0].file.as_deref().unwrap();
            assert!(pack.ends_with(file), "{file}");
            assert!(found[0].detail.contains("every object in it is good"));
            assert_eq!(found[0].affects, [""; 0]);
            let report = verify(&sample.open(), true);
            assert_eq!(report.faults, found);
            assert_eq!(report.forgotten_roots, [""; 0]);
            assert!(!pack.exists(), "{number}");
            assert_eq!(sample.faults(), []);
            assert!(sample.open().has_tree(sample.tree).unwrap());
        }
        assert_eq!(sample.known_hashes(), 4);
    }
}

#[test]
fn a_pack_in_the_place_of_another_is_none() {
    let sample = Sample::new(false);
    let from = sample.dir.path().join("from");
    // As long as the first, with as many objects.
    fs::write(from.join("d/noise"), noise(9, 90)).unwrap();
    let store = sample.open();
    let other = store.import_dir(&from, &ImportOptions::snapshot()).unwrap();
    store.add_root("other", other.tree).unwrap();
    drop(store);
    let packs: Vec<PathBuf> = sample.packs();
    let metas = &packs[packs.len() - 2..];
    let bytes = metas.iter().map(|pack| fs::read(pack).unwrap());
    let bytes: Vec<Vec<u8>> = bytes.collect();
    assert_eq!(bytes[0].len(), bytes[1].len());
    fs::remove_file(&metas[0]).unwrap();
    fs::write(&metas[0], &bytes[1]).unwrap();
    let found = sample.faults();
    let tells = |fault: &Fault| fault.detail.contains("not the pack that the database");
    assert!(found.iter().any(tells), "{found:?}");
    let planned = sample.open().gc(&GcPolicy::newest(3), true);
    let told = planned.unwrap_err().to_string();
    assert!(told.contains("not the pack that the database"), "{told}");
    // For a store that knows no hashes yet, what is missing tells.
    sample.forget_hashes();
    assert_ne!(sample.faults(), []);
    assert_eq!(sample.known_hashes(), 0);
    let report = verify(&sample.open(), true);
    assert_eq!(report.forgotten_roots.len(), 1);
    assert_eq!(sample.faults(), []);
}

#[test]
fn the_hashes_of_an_older_store_are_noted_by_a_whole_verification_alone() {
    let sample = Sample::new(true);
    sample.forget_hashes();
    let quick = VerifyOptions {
        quick: true,
        ..VerifyOptions::default()
    };
    let reader = Store::open(&sample.path(), &OpenOptions::read_only()).unwrap();
    assert_eq!(verify(&reader, false).faults, []);
    assert_eq!(sample.known_hashes(), 0);
    // A damaged pack is not noted as what it should be.
    let packs = sample.packs();
    flip(&packs[0], 200, 1);
    assert_ne!(sample.faults(), []);
    assert_eq!(sample.known_hashes(), 0);
    flip(&packs[0], 200, 1);
    let store = sample.open();
    store.verify(&quick, &mut |_| ()).unwrap();
    let after_quick = sample.known_hashes();
    assert!(after_quick < 4, "contents were not read");
    assert_eq!(verify(&store, false).faults, []);
    assert_eq!(sample.known_hashes(), 4);
    assert!(store.has_tree(sample.tree).unwrap());
    drop(store);
    flip(&packs[0], 12, 1);
    assert_eq!(sample.faults().len(), 1);
    flip(&packs[0], 12, 1);
    // A value that is not a hash is a fault of the database.
    let c = sample.sql();
    c.execute("UPDATE pack SET records_hash = 'x'", []).unwrap();
    drop(c);
    assert_ne!(sample.faults(), []);
}

#[test]
fn bytes_between_records_are_told_where_no_hash_is_known() {
    let sample = Sample::new(false);
    let pack = &sample.packs()[0];
    let old = fs::read(pack).unwrap();
    let number = |at: usize| u64::from_le_bytes(old[at..at + 8].try_into().unwrap());
    let foot = old.len() - 64;
    let (index, count) = (number(foot + 16) as usize, number(foot + 24) as usize);
    // Everything lies 8 bytes later.
    let mut new = old[..16].to_vec();
    new.extend_from_slice(&[0; 8]);
    new.extend_from_slice(&old[16..]);
    for n in 0..count {
        let at = index + 1024 + n * 64 + 32;
        new[at + 8..at + 16].copy_from_slice(&(number(at) + 8).to_le_bytes());
    }
    let foot = foot + 8;
    new[foot + 16..foot + 24].copy_from_slice(&(index as u64 + 8).to_le_bytes());
    let sum = blake3::hash(&new[index + 8..foot]);
    new[foot + 32..].copy_from_slice(sum.as_bytes());
    fs::remove_file(pack).unwrap();
    fs::write(pack, &new).unwrap();
    sample.forget_hashes();
    let name = pack.file_stem().unwrap().to_str().unwrap();
    let bytes = new.len() as i64;
    let sql = "UPDATE pack SET bytes = ?2 WHERE name = ?1";
    let c = sample.sql();
    c.execute(sql, rusqlite::params![name, bytes]).unwrap();
    drop(c);
    let found = sample.faults();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].detail, "a record begins at byte 24 and not at 16");
    let report = verify(&sample.open(), true);
    assert_eq!(report.forgotten_roots, [""; 0]);
    assert_eq!(sample.faults(), []);
}

#[test]
fn looking_beside_a_collection_finds_no_damage() {
    let sample = Sample::new(false);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(2);
    let is_time = || std::time::Instant::now() < until;
    std::thread::scope(|scope| {
        for thread in 0..2u8 {
            let sample = &sample;
            scope.spawn(move || {
                let store = sample.open();
                for n in 0.. {
                    if !is_time() {
                        break;
                    }
                    let from = sample.dir.path().join(format!("from{thread}"));
                    fs::create_dir_all(&from).unwrap();
                    fs::write(from.join("own"), noise(thread, 5000 + n)).unwrap();
                    fs::write(from.join("shared"), noise(n as u8 % 7, 70_000)).unwrap();
                    store.import_dir(&from, &ImportOptions::snapshot()).unwrap();
                    if n % 3 == 0 {
                        store.gc(&GcPolicy::newest(0), false).unwrap();
                    }
                }
            });
        }
        let mut rounds = 0;
        let kept = sample.open();
        while is_time() {
            for store in [&kept, &sample.open()] {
                let info = store.info().unwrap();
                assert!(info.trees > 0);
                store.gc(&GcPolicy::newest(0), true).unwrap();
                assert_eq!(verify(store, false).faults, []);
            }
            rounds += 1;
        }
        assert!(rounds > 3, "{rounds}");
    });
}
