//! Packs that cannot be read: cut short by somebody while the store has them mapped. A touch of what
//! is gone must be an error like any other, and end no process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use mstore_store::*;

struct Sample {
    tmp: tempfile::TempDir,
    trees: Vec<TreeHash>,
}

fn noise(n: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[n]);
    hasher.finalize_xof().fill(&mut out);
    out
}

impl Sample {
    fn new() -> Sample {
        Sample::with_dirs(120)
    }

    /// Two trees of many files, each with a pack for contents and one for the rest.
    fn with_dirs(dirs: u32) -> Sample {
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("store"), &OpenOptions::create()).unwrap();
        let mut trees = Vec::new();
        for n in 0..2u8 {
            let source = tmp.path().join(format!("source{n}"));
            for dir in 0..dirs {
                let dir = source.join(format!("d{dir}"));
                fs::create_dir_all(&dir).unwrap();
                let name = dir.display().to_string();
                fs::write(dir.join("small"), format!("{n}{name}")).unwrap();
            }
            for at in 0..20u8 {
                fs::write(source.join(format!("f{at}")), noise(n * 100 + at, 50_000)).unwrap();
            }
            let options = ImportOptions::default();
            trees.push(store.import_dir(&source, &options).unwrap().tree);
            store
                .add_root(&format!("root{n}"), trees[usize::from(n)])
                .unwrap();
        }
        Sample { tmp, trees }
    }

    fn open(&self) -> Store {
        Store::open(&self.tmp.path().join("store"), &OpenOptions::create()).unwrap()
    }

    fn packs(&self) -> Vec<PathBuf> {
        let packs = fs::read_dir(self.tmp.path().join("store/packs")).unwrap();
        packs.map(|p| p.unwrap().path()).collect()
    }

    /// The pack in which some bytes lie.
    fn pack_with(&self, bytes: &[u8]) -> (PathBuf, usize) {
        let mut packs = self.packs().into_iter();
        let found = packs.find_map(|path| {
            let all = fs::read(&path).unwrap();
            let at = all.windows(bytes.len()).position(|w| w == bytes)?;
            Some((path, at))
        });
        found.unwrap()
    }

    /// The pack that holds the tree object: `mobj`, tree, its flags and lengths, its hash.
    fn meta_of(&self, tree: TreeHash) -> PathBuf {
        let is_tree = |bytes: &[u8]| {
            let mut at = bytes.windows(32).enumerate();
            at.any(|(at, w)| {
                w == tree.0.as_bytes() && at >= 24 && bytes[at - 24..][..5] == *b"mobj\x04"
            })
        };
        let mut packs = self.packs().into_iter();
        packs
            .find(|path| is_tree(&fs::read(path).unwrap()))
            .unwrap()
    }
}

fn cut(path: &Path, len: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

fn verify(store: &Store, repair: bool) -> VerifyReport {
    let options = VerifyOptions {
        repair,
        ..VerifyOptions::default()
    };
    store.verify(&options, &mut |_| ()).unwrap()
}

fn is_read_error(error: &StoreError, pack: &Path) {
    assert_eq!(error.kind(), ErrorKind::Machine, "{error}");
    let text = error.to_string();
    assert!(text.starts_with("cannot read store file: "), "{text}");
    assert!(
        text.contains(&*pack.file_name().unwrap().to_string_lossy()),
        "{text}"
    );
}

#[test]
fn a_pack_of_contents_that_is_cut_while_it_is_mapped() {
    let sample = Sample::new();
    let store = sample.open();
    let first = BlobHash(Hash::of(&noise(100, 50_000)));
    let (pack, _) = sample.pack_with(&noise(100, 50_000)[..64]);
    let whole = fs::read(&pack).unwrap();
    let last_in_file = (0..20u8)
        .max_by_key(|at| sample.pack_with(&noise(100 + at, 50_000)[..64]).1)
        .unwrap();
    assert!(store.blob(first).is_ok());
    cut(&pack, whole.len() as u64 / 2);
    let lost = BlobHash(Hash::of(&noise(100 + last_in_file, 50_000)));
    is_read_error(&store.blob(lost).unwrap_err(), &pack);
    // All the ways in which contents leave the store.
    let out = sample.tmp.path().join("out");
    is_read_error(&store.copy_out(sample.trees[1], &out).unwrap_err(), &pack);
    is_read_error(&store.checkout(sample.trees[1]).unwrap_err(), &pack);
    let export = store.export_tar(sample.trees[1], &mut Vec::new(), &ExportOptions::default());
    assert!(
        export
            .unwrap_err()
            .to_string()
            .contains("cannot read store file")
    );
    // The rest is as good as ever.
    store.checkout(sample.trees[0]).unwrap();
    let report = verify(&store, false);
    assert!(!report.faults.is_empty());
    let name = format!("packs/{}", pack.file_name().unwrap().to_string_lossy());
    let of_pack = &report.faults[0];
    assert_eq!(of_pack.file.as_deref(), Some(&*name));
    assert!(
        of_pack.detail.contains("cannot read store file"),
        "{of_pack:?}"
    );
    for fault in &report.faults {
        assert!(!fault.affects.contains(&"root root0".into()), "{fault:?}");
    }
    assert!(report.faults.iter().any(|f| f.affects == ["root root1"]));
    // The collector finds what lives, and copies none of it from there.
    let _ = store.gc(&GcPolicy::newest(9), false);
    assert!(pack.exists());
    // A repair keeps what can be read, and forgets who needs the rest.
    let report = verify(&store, true);
    assert_eq!(report.forgotten_roots, ["root1"]);
    assert_eq!(report.rebuilt.len(), 1);
    assert_eq!(verify(&store, false).faults, []);
    assert!(store.has_tree(sample.trees[0]).unwrap());
    assert!(!store.has_tree(sample.trees[1]).unwrap());
    let source = sample.tmp.path().join("source1");
    let again = store
        .import_dir(&source, &ImportOptions::default())
        .unwrap();
    assert_eq!(again.tree, sample.trees[1]);
    assert_eq!(verify(&store, false).faults, []);
}

/// That an object is not there must not be concluded from an index that cannot be read.
#[test]
fn what_an_unreadable_index_may_have_is_not_called_missing() {
    for keep in [1, 5000] {
        let sample = Sample::new();
        let pack = sample.meta_of(sample.trees[1]);
        let store = sample.open();
        // Now it is in use.
        assert!(store.has_tree(sample.trees[1]).unwrap());
        cut(&pack, keep);
        is_read_error(&store.has_tree(sample.trees[1]).unwrap_err(), &pack);
        is_read_error(&store.tree(sample.trees[1]).unwrap_err(), &pack);
        assert!(store.has_tree(sample.trees[0]).unwrap());
        is_read_error(&store.gc(&GcPolicy::newest(0), false).unwrap_err(), &pack);
        assert!(pack.exists());
        let faults = verify(&store, false).faults;
        assert!(
            faults[0].detail.contains("cannot read store file"),
            "{faults:?}"
        );
        assert!(faults.iter().any(|f| f.affects == ["root root1"]));
        // Imports go on: what is uncertain is written again.
        let source = sample.tmp.path().join("source1");
        let again = store
            .import_dir(&source, &ImportOptions::default())
            .unwrap();
        assert_eq!(again.tree, sample.trees[1]);
        assert!(store.has_tree(sample.trees[1]).unwrap());
        verify(&store, true);
        assert_eq!(verify(&store, false).faults, []);
        assert!(store.has_tree(sample.trees[1]).unwrap());
        store.checkout(sample.trees[1]).unwrap();
    }
}

/// The rest of the last page reads as zeros without any signal.
#[test]
fn a_cut_within_the_last_page_is_found() {
    let page = rustix::param::page_size() as u64;
    // How long the pack is depends on the times of the files. A directory more makes it longer by some
    // hundred bytes: with one of these numbers its last page has enough of the index.
    let (sample, pack, keep) = (120..160)
        .find_map(|dirs| {
            let sample = Sample::with_dirs(dirs);
            let pack = sample.meta_of(sample.trees[1]);
            let len = fs::metadata(&pack).unwrap().len();
            let keep = (len - 64 - 30 * 64).max(len / page * page);
            (len - keep > 64 + 10 * 64).then_some((sample, pack, keep))
        })
        .unwrap();
    let mut dirs = Vec::new();
    {
        let store = sample.open();
        let top = store.tree(sample.trees[1]).unwrap().dir;
        dirs.push(top);
        for entry in store.manifest(top).unwrap().entries() {
            if let Kind::Dir { manifest } = entry.kind {
                dirs.push(manifest);
            }
        }
    }
    let store = sample.open();
    // Now it is in use.
    assert!(store.has_tree(sample.trees[1]).unwrap());
    cut(&pack, keep);
    let mut failed = 0;
    for dir in &dirs {
        if let Err(error) = store.manifest(*dir) {
            assert_ne!(error.kind(), ErrorKind::Missing, "{error}");
            assert!(
                error.to_string().contains(&*pack.to_string_lossy()),
                "{error}"
            );
            failed += 1;
        }
    }
    assert!(
        0 < failed && failed < dirs.len(),
        "{failed} of {}",
        dirs.len()
    );
    assert!(store.gc(&GcPolicy::newest(0), false).is_err());
    assert!(!verify(&store, false).faults.is_empty());
}
