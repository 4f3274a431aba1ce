//! Whatever a source sends, the store that receives it stays sound: what it then shows is whole.
#![no_main]

use std::collections::BTreeMap;
use std::sync::OnceLock;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore_store::transfer::{LocalSource, Object, ReceiveOptions, Source, TransferError};
use mstore_store::{Cancel, Hash, ImportOptions, Manifest, OpenOptions, Store, Tree, TreeHash, VerifyOptions};
use mstore_store_fuzz::{Damage, damage, folder, noise};

/// What becomes of the object with this number.
#[derive(Arbitrary, Debug)]
enum Change {
    /// It does not come.
    Withheld,
    /// It comes damaged.
    Damaged(Vec<Damage>),
    /// Something else comes under its name.
    Replaced(u8),
    /// It comes as another kind of object.
    Kind(u8),
    /// Something that nobody asked for comes too.
    Company(u8),
    /// It comes twice.
    Twice,
    /// A directory or tree comes that says something else, under the name that it really has.
    Rewritten(Vec<Damage>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    changes: Vec<(u8, Change)>,
    again: bool,
}

struct Sound {
    tree: TreeHash,
    records: BTreeMap<Hash, Vec<u8>>,
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = folder("receive");
        let from = folder.join("tree");
        std::fs::create_dir_all(from.join("a/b")).expect("there is room");
        std::fs::write(from.join("words"), "words ".repeat(200)).expect("there is room");
        std::fs::write(from.join("a/noise"), noise(1, 300)).expect("there is room");
        std::fs::write(from.join("a/b/empty"), "").expect("there is room");
        std::fs::write(from.join("a/b/large"), vec![7; 5 << 20]).expect("there is room");
        let store = Store::open(&folder.join("from"), &OpenOptions::create()).expect("a new store");
        let options = ImportOptions::snapshot();
        let tree = store.import_dir(&from, &options).expect("a folder").tree;
        let objects = store.objects_with_prefix("").expect("the store is open");
        let wanted: Vec<Hash> = objects.into_iter().map(|(hash, _)| hash).collect();
        let source = LocalSource::new(&store);
        let mut records = BTreeMap::new();
        source
            .fetch(&wanted, &mut |object| {
                records.insert(
                    object.hash(),
                    [&object.head()[..], object.stored()].concat(),
                );
                Ok(())
            })
            .expect("the store is open");
        Sound { tree, records }
    })
}

/// Head and content of an uncompressed record.
fn record(sort: u8, hash: Hash, raw: &[u8]) -> Vec<u8> {
    let mut out = b"mobj".to_vec();
    out.extend([sort, 0, 0, 0]);
    out.extend((raw.len() as u64).to_le_bytes());
    out.extend((raw.len() as u64).to_le_bytes());
    out.extend(hash.as_bytes());
    out.extend(raw);
    out
}

/// What is in a record.
fn content(record: &[u8]) -> Vec<u8> {
    match record.get(5) {
        Some(1) => zstd::bulk::decompress(&record[56..], 8 << 20).unwrap_or_default(),
        _ => record.get(56..).unwrap_or_default().to_vec(),
    }
}

struct Hostile<'a> {
    records: BTreeMap<Hash, Vec<u8>>,
    changes: BTreeMap<Hash, &'a Change>,
}

impl Source for Hostile<'_> {
    fn name(&self) -> String {
        "hostile".into()
    }

    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let other = |n: u8| {
            self.records
                .values()
                .nth(usize::from(n) % self.records.len())
        };
        for hash in wanted {
            let Some(record) = self.records.get(hash) else {
                continue;
            };
            let mut all = vec![record.clone()];
            match self.changes.get(hash) {
                None | Some(Change::Rewritten(_)) => {}
                Some(Change::Withheld) => all.clear(),
                Some(Change::Damaged(how)) => damage(&mut all[0], how),
                Some(Change::Replaced(n)) => {
                    let mut record = other(*n).expect("there are some").clone();
                    record[24..56].copy_from_slice(hash.as_bytes());
                    all = vec![record];
                }
                Some(Change::Kind(kind)) => all[0][4] = *kind,
                Some(Change::Company(n)) => all.extend(other(*n).cloned()),
                Some(Change::Twice) => all.push(record.clone()),
            }
            for record in all {
                // What is no record at all does not come through the wire either.
                if let Some(object) = Object::from_record(&record) {
                    take(object)?;
                }
            }
        }
        Ok(())
    }
}

fuzz_target!(|input: Input| {
    let sound = sound();
    let mut records = sound.records.clone();
    let mut tree = sound.tree;
    let hashes: Vec<Hash> = records.keys().copied().collect();
    let mut changes = BTreeMap::new();
    for (number, change) in input.changes.iter().take(4) {
        let hash = hashes[usize::from(*number) % hashes.len()];
        if let Change::Rewritten(how) = change {
            // Whoever names it is left as it is, except that a tree is asked for by its new name.
            let old = records[&hash].clone();
            let mut raw = content(&old);
            damage(&mut raw, how);
            let sort = old[4];
            let new = match sort {
                3 => Manifest::hash_encoded(&raw).0,
                4 => Tree::hash_encoded(&raw).0,
                _ => Hash::of(&raw),
            };
            records.insert(new, record(sort, new, &raw));
            match sort {
                4 => tree = TreeHash(new),
                // A tree whose root is this directory.
                3 => {
                    let raw = Tree {
                        root: mstore_store::Meta::plain_dir(),
                        dir: mstore_store::DirHash(new),
                        links: Vec::new(),
                    }
                    .encode();
                    tree = Tree::hash_encoded(&raw);
                    records.insert(tree.0, record(4, tree.0, &raw));
                }
                _ => {}
            }
            continue;
        }
        changes.insert(hash, change);
    }
    let path = folder("receive").join("to");
    let _ = std::fs::remove_dir_all(&path);
    let store = Store::open(&path, &OpenOptions::create()).expect("a new store");
    let options = ReceiveOptions {
        cancel: &Cancel::new(),
        progress: &|_| (),
        dry_run: false,
    };
    let hostile = Hostile { records, changes };
    let received = store.receive(&hostile, &[tree], &options);
    assert_eq!(
        received.is_ok(),
        store.has_tree(tree).expect("the store is open")
    );
    let verified = store.verify(&VerifyOptions::default(), &mut |_| ());
    let faults = verified.expect("the store can be read").faults;
    assert!(faults.is_empty(), "{faults:?}");
    if received.is_err() && input.again {
        // An honest source completes what the other began.
        let honest = Hostile {
            records: sound.records.clone(),
            changes: BTreeMap::new(),
        };
        store
            .receive(&honest, &[sound.tree], &options)
            .expect("an honest source");
        let verified = store.verify(&VerifyOptions::default(), &mut |_| ());
        assert!(verified.expect("the store can be read").faults.is_empty());
    }
});
