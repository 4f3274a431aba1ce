//! Copies between stores: what travels, what hostile sources can do, what interruptions leave.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::manifest::{Entry, Kind, Manifest, Meta, Tree};
use crate::pack::{PackEntry, RecordKind, with_packed};
use crate::{Cancel, GcPolicy, ImportOptions, OpenOptions, Store, TreeHash, VerifyOptions};

struct Stores {
    dir: tempfile::TempDir,
}

impl Stores {
    fn new() -> Stores {
        Stores {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn store(&self, name: &str) -> Store {
        Store::open(&self.dir.path().join(name), &OpenOptions::create()).unwrap()
    }

    fn import(&self, store: &Store, make: impl FnOnce(&Path)) -> TreeHash {
        let folder = tempfile::tempdir_in(self.dir.path()).unwrap();
        make(folder.path());
        let options = ImportOptions::snapshot();
        store.import_dir(folder.path(), &options).unwrap().tree
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// A tree with nested folders, equal files, an empty one, and one that is cut into chunks.
fn sample(folder: &Path) {
    for at in 0..40u64 {
        let dir = folder.join(format!("d{}/e{}", at % 7, at % 3));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{at}")), noise(at / 2, 5000)).unwrap();
        fs::write(dir.join("text"), "the same words\n".repeat(100)).unwrap();
    }
    fs::write(folder.join("empty"), b"").unwrap();
    fs::write(folder.join("large"), noise(99, 9 << 20)).unwrap();
    std::os::unix::fs::symlink("d0", folder.join("link")).unwrap();
}

static GO: LazyLock<Cancel> = LazyLock::new(Cancel::new);

fn options() -> ReceiveOptions<'static> {
    ReceiveOptions {
        cancel: &GO,
        progress: &|_| (),
        dry_run: false,
    }
}

/// Passes objects on, and may change them.
struct Meddler<'a, F> {
    inner: LocalSource,
    meddle: &'a F,
}

impl<F> Source for Meddler<'_, F>
where
    F: Fn(Object) -> Result<Option<Object>, TransferError> + Send + Sync,
{
    fn name(&self) -> String {
        "meddler".into()
    }

    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        self.inner
            .fetch(wanted, &mut |object| match (self.meddle)(object)? {
                Some(object) => take(object),
                None => Ok(()),
            })
    }
}

fn clean(store: &Store) {
    let report = store
        .verify(&VerifyOptions::default(), &mut |_| ())
        .unwrap();
    assert_eq!(report.faults, []);
}

#[test]
fn only_what_is_missing_travels_and_the_result_is_whole() {
    let place = Stores::new();
    let (from, to) = (place.store("from"), place.store("to"));
    let tree = place.import(&from, sample);
    let source = LocalSource::new(&from);
    source.protect(tree).unwrap();
    let dry = ReceiveOptions {
        dry_run: true,
        ..options()
    };
    let would = to.receive(&source, &[tree], &dry).unwrap();
    assert!(!to.has_tree(tree).unwrap());
    assert!(would.content > 9 << 20);
    let first = to.receive(&source, &[tree], &options()).unwrap();
    assert!(first.bytes > 9 << 20);
    assert_eq!(first.content, would.content);
    assert!(to.has_tree(tree).unwrap());
    clean(&to);
    let again = to.receive(&source, &[tree], &options()).unwrap();
    assert_eq!(again, Received::default());
    // A changed file in a large tree: its content, and the manifests above it.
    let second = place.import(&from, |folder| {
        sample(folder);
        fs::write(folder.join("d1/e1/f1"), "changed").unwrap();
    });
    source.protect(second).unwrap();
    let more = to.receive(&source, &[second], &options()).unwrap();
    assert_eq!(more.objects, 5, "{more:?}");
    assert_eq!(more.content, 7);
    assert!(more.bytes < 5000, "{more:?}");
    assert_eq!(to.tree(second).unwrap(), from.tree(second).unwrap());
    clean(&to);
    // All of it lives while this session does, and goes afterwards.
    assert!(!to.gc(&GcPolicy::newest(1), false).unwrap().alive.is_empty());
    assert!(to.has_tree(tree).unwrap());
    drop(to);
    let to = place.store("to");
    to.gc(&GcPolicy::newest(1), false).unwrap();
    assert!(!to.has_tree(tree).unwrap());
}

#[test]
fn an_interrupted_copy_goes_on_where_it_stopped() {
    let place = Stores::new();
    let (from, to) = (place.store("from"), place.store("to"));
    let tree = place.import(&from, sample);
    let whole = {
        let other = place.store("other");
        let source = LocalSource::new(&from);
        other.receive(&source, &[tree], &options()).unwrap()
    };
    let mut sum = 0;
    for limit in [8, 9, 10, 1000] {
        let count = AtomicUsize::new(0);
        let sent = AtomicUsize::new(0);
        let meddle = |object: Object| {
            let is_data = object.kind().pack_kind() == crate::pack::PackKind::Data;
            if is_data && count.fetch_add(1, Ordering::Relaxed) >= limit {
                return Err(TransferError::peer("meddler", "connection lost"));
            }
            if is_data {
                sent.fetch_add(object.record_len() as usize, Ordering::Relaxed);
            }
            Ok(Some(object))
        };
        let source = Meddler {
            inner: LocalSource::new(&from),
            meddle: &meddle,
        };
        let ended = to.receive_in_parts(&source, &[tree], &options(), 20_000);
        sum += sent.load(Ordering::Relaxed);
        // What a killed process leaves is the same without the session.
        let ok = ended.is_ok();
        assert_eq!(to.has_tree(tree).unwrap(), ok, "{ended:?}");
        clean(&to);
        if ok {
            assert_eq!(limit, 1000);
        } else {
            assert!(ended.unwrap_err().is_peer());
        }
    }
    assert!(to.has_tree(tree).unwrap());
    assert!((sum as u64) < whole.bytes, "nothing travelled twice");
}

#[test]
fn a_collection_takes_nothing_from_a_copy_under_way() {
    let place = Stores::new();
    let (from, to) = (place.store("from"), place.store("to"));
    let tree = place.import(&from, sample);
    let count = AtomicUsize::new(0);
    let collector = place.store("to");
    let meddle = |object: Object| {
        if count.fetch_add(1, Ordering::Relaxed) % 5 == 4 {
            collector.gc(&GcPolicy::newest(1), false).unwrap();
        }
        Ok(Some(object))
    };
    let source = Meddler {
        inner: LocalSource::new(&from),
        meddle: &meddle,
    };
    let got = to
        .receive_in_parts(&source, &[tree], &options(), 20_000)
        .unwrap();
    let objects = got.objects;
    assert_eq!(
        count.load(Ordering::Relaxed) as u64,
        objects,
        "nothing came twice"
    );
    clean(&to);
    // What an interrupted copy left goes when its process is gone.
    let half = place.store("half");
    let count = AtomicUsize::new(0);
    let meddle = |object: Object| match count.fetch_add(1, Ordering::Relaxed) {
        40.. => Err(TransferError::peer("meddler", "connection lost")),
        _ => Ok(Some(object)),
    };
    let source = Meddler {
        inner: LocalSource::new(&from),
        meddle: &meddle,
    };
    let ended = half.receive_in_parts(&source, &[tree], &options(), 20_000);
    assert!(ended.is_err());
    let packs = || {
        fs::read_dir(place.dir.path().join("half/packs"))
            .unwrap()
            .count()
    };
    assert!(packs() > 0);
    half.gc(&GcPolicy::newest(1), false).unwrap();
    assert_eq!(packs(), 0);
}

#[test]
fn hostile_objects_are_refused_and_leave_nothing() {
    let place = Stores::new();
    let from = place.store("from");
    let tree = place.import(&from, sample);
    let remade = |kind, hash, raw: &[u8]| {
        with_packed(crate::pack::LEVEL_FIRST, hash, kind, raw, |p| {
            let place = PackEntry {
                hash: p.hash,
                offset: 0,
                stored: p.stored.len() as u64,
                raw: p.raw,
                kind: p.kind,
                flags: p.flags,
            };
            Object::new(place, p.stored)
        })
        .unwrap()
    };
    type Change = Box<dyn Fn(&Object) -> Option<Object> + Send + Sync>;
    type Meddle<'a> =
        Box<dyn Fn(Object) -> Result<Option<Object>, TransferError> + Send + Sync + 'a>;
    let nth = |n: usize, change: Change| -> Meddle<'_> {
        let count = AtomicUsize::new(0);
        Box::new(move |object| {
            Ok(if count.fetch_add(1, Ordering::Relaxed) == n {
                change(&object)
            } else {
                Some(object)
            })
        })
    };
    let mut cases: Vec<(String, Meddle<'_>)> = Vec::new();
    for n in [0, 1, 5, 30] {
        cases.push((
            format!("other content under the hash of object {n}"),
            nth(
                n,
                Box::new(move |o| Some(remade(o.kind(), o.hash(), b"other"))),
            ),
        ));
        cases.push((
            format!("another hash for object {n}"),
            nth(
                n,
                Box::new(move |o| Some(remade(o.kind(), Hash::of(b"x"), b"x"))),
            ),
        ));
        cases.push((
            format!("object {n} does not come"),
            nth(n, Box::new(|_| None)),
        ));
        cases.push((
            format!("object {n} is empty"),
            nth(n, Box::new(move |o| Some(remade(o.kind(), o.hash(), b"")))),
        ));
        cases.push((
            format!("object {n} is a bomb"),
            nth(
                n,
                Box::new(move |o| Some(remade(o.kind(), o.hash(), &vec![0; 5 << 20]))),
            ),
        ));
    }
    // A list of chunks that are others than it says.
    cases.push((
        "chunks in another order".into(),
        Box::new(|object| {
            if object.kind() != RecordKind::Chunks {
                return Ok(Some(object));
            }
            let mut list = Vec::new();
            object.open(&mut list).unwrap();
            let turned: Vec<u8> = list.chunks_exact(36).rev().flatten().copied().collect();
            Ok(Some(remade(RecordKind::Chunks, object.hash(), &turned)))
        }),
    ));
    for (what, meddle) in cases {
        let to = place.store(&format!("to-{}", what.replace(' ', "-")));
        let source = Meddler {
            inner: LocalSource::new(&from),
            meddle: &meddle,
        };
        let error = to.receive(&source, &[tree], &options()).unwrap_err();
        assert!(error.is_peer(), "{what}: {error}");
        assert!(!to.has_tree(tree).unwrap(), "{what}");
        clean(&to);
    }
}

#[test]
fn a_source_that_lies_about_lengths_and_depth_is_refused() {
    struct Fixed(HashMap<Hash, Object>);
    impl Source for Fixed {
        fn name(&self) -> String {
            "fixed".into()
        }
        fn fetch(
            &self,
            wanted: &[Hash],
            take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
        ) -> Result<(), TransferError> {
            wanted
                .iter()
                .filter_map(|hash| self.0.get(hash))
                .try_for_each(|object| take(object.clone()))
        }
    }
    let place = Stores::new();
    let object = |kind, hash, raw: &[u8]| {
        let place = PackEntry {
            hash,
            offset: 0,
            stored: raw.len() as u64,
            raw: raw.len() as u64,
            kind,
            flags: 0,
        };
        (hash, Object::new(place, raw))
    };
    let entry = |name: &str, kind| Entry {
        name: name.into(),
        meta: Meta::plain_dir(),
        kind,
    };
    let tree_of = |dir| {
        let tree = Tree {
            root: Meta::plain_dir(),
            dir,
            links: Vec::new(),
        };
        let bytes = tree.encode();
        let hash = Tree::hash_encoded(&bytes);
        (hash, object(RecordKind::Tree, hash.0, &bytes))
    };
    // Two lengths.
    let blob = crate::BlobHash(Hash::of(b"content"));
    let size = 8;
    let manifest = Manifest::new(vec![entry("f", Kind::File { blob, size })]).unwrap();
    let bytes = manifest.encode();
    let dir = Manifest::hash_encoded(&bytes);
    let (tree, top) = tree_of(dir);
    let all = [
        top,
        object(RecordKind::Manifest, dir.0, &bytes),
        object(RecordKind::Blob, blob.0, b"content"),
    ];
    let to = place.store("lengths");
    let error = to
        .receive(&Fixed(all.into()), &[tree], &options())
        .unwrap_err();
    assert!(error.to_string().contains("length"), "{error}");
    assert!(!to.has_tree(tree).unwrap());
    // Too deep.
    let mut all = HashMap::new();
    let bytes = Manifest::default().encode();
    let mut dir = Manifest::hash_encoded(&bytes);
    all.extend([object(RecordKind::Manifest, dir.0, &bytes)]);
    for _ in 0..crate::manifest::MAX_DEPTH + 1 {
        let manifest = Manifest::new(vec![entry("d", Kind::Dir { manifest: dir })]).unwrap();
        let bytes = manifest.encode();
        dir = Manifest::hash_encoded(&bytes);
        all.extend([object(RecordKind::Manifest, dir.0, &bytes)]);
    }
    let (tree, top) = tree_of(dir);
    all.extend([top]);
    let to = place.store("depth");
    let error = to.receive(&Fixed(all), &[tree], &options()).unwrap_err();
    assert!(error.to_string().contains("deeper"), "{error}");
    assert!(!to.has_tree(tree).unwrap());
    clean(&to);
}

#[test]
fn the_caller_can_end_it() {
    let place = Stores::new();
    let (from, to) = (place.store("from"), place.store("to"));
    let tree = place.import(&from, sample);
    let cancel = Cancel::new();
    cancel.cancel();
    let options = ReceiveOptions {
        cancel: &cancel,
        ..options()
    };
    let source = LocalSource::new(&from);
    assert!(matches!(
        to.receive(&source, &[tree], &options),
        Err(TransferError::Cancelled)
    ));
}

/// Puts a tree into a store that no import makes: what its hard links say is not what its directories say.
fn two_faced(store: &Store, group: [&str; 2]) -> TreeHash {
    let ingest = crate::ingest::Ingest::begin(store).unwrap();
    let file = |name: &str, text: &str| Entry {
        name: name.into(),
        meta: Meta::default(),
        kind: Kind::File {
            blob: ingest.put_blob(text.as_bytes()).unwrap(),
            size: text.len() as u64,
        },
    };
    let below = Manifest::new(vec![file("same", "good\n")]).unwrap();
    let below = ingest.put_manifest(&below).unwrap();
    let folder = |name: &str| Entry {
        name: name.into(),
        meta: Meta::plain_dir(),
        kind: Kind::Dir { manifest: below },
    };
    let link = Entry {
        name: b"link".to_vec(),
        meta: Meta::default(),
        kind: Kind::Symlink {
            target: b"d".to_vec(),
        },
    };
    let entries = vec![
        file("a", "evil\n"),
        file("b", "good\n"),
        folder("d"),
        folder("e"),
        link,
    ];
    let dir = ingest
        .put_manifest(&Manifest::new(entries).unwrap())
        .unwrap();
    let tree = Tree {
        root: Meta::plain_dir(),
        dir,
        links: vec![group.map(|path| path.as_bytes().to_vec()).to_vec()],
    };
    let tree = ingest.put_tree(&tree).unwrap();
    ingest.commit(tree).unwrap();
    tree
}

#[test]
fn a_tree_with_two_faces_is_not_taken_not_written_and_found() {
    for group in [
        ["a", "b"],
        ["d", "e"],
        ["a", "nowhere"],
        ["b", "link/same"],
        ["a", "link"],
    ] {
        let place = Stores::new();
        let (from, to) = (place.store("from"), place.store("to"));
        let tree = two_faced(&from, group);
        from.add_root("bad", tree).unwrap();
        let source = LocalSource::new(&from);
        let refused = to.receive(&source, &[tree], &options()).unwrap_err();
        let said = refused.to_string();
        assert!(said.contains("hard links"), "{group:?}: {said}");
        assert!(!to.has_tree(tree).unwrap());
        clean(&to);
        // One that was taken by an earlier release shows no face.
        let written = from.export_tar(tree, Vec::new(), &Default::default());
        assert!(written.unwrap_err().to_string().contains("hard links"));
        let folder = place.dir.path().join("out");
        let written = from.copy_out(tree, &folder).unwrap_err();
        assert!(written.to_string().contains("hard links"), "{written}");
        assert!(!folder.exists());
        let quick = VerifyOptions {
            quick: true,
            ..VerifyOptions::default()
        };
        for options in [VerifyOptions::default(), quick] {
            let faults = from.verify(&options, &mut |_| ()).unwrap().faults;
            assert_eq!(faults.len(), 1, "{faults:?}");
            assert_eq!(faults[0].object, Some(tree.0));
            assert_eq!(faults[0].affects, ["root bad"]);
            assert!(faults[0].detail.contains("hard links"), "{faults:?}");
        }
        let repair = VerifyOptions {
            repair: true,
            ..VerifyOptions::default()
        };
        from.verify(&repair, &mut |_| ()).unwrap();
        assert!(!from.has_tree(tree).unwrap());
        clean(&from);
    }
    // The same with links that are what they say.
    let place = Stores::new();
    let (from, to) = (place.store("from"), place.store("to"));
    let tree = two_faced(&from, ["b", "d/same"]);
    let source = LocalSource::new(&from);
    to.receive(&source, &[tree], &options()).unwrap();
    clean(&to);
}
