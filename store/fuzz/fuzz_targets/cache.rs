//! A binary cache whose every file may be anything: its reader gives what was asked for or an error.
//!
//! A sound cache is made once. Each input damages some of its files, and has the checksums of indexes put
//! right if it likes.
#![no_main]

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore_store::transfer::cache::{Body, CacheReader, Fetch};
use mstore_store::transfer::{ReceiveOptions, Source, TransferError};
use mstore_store::{Cancel, Hash, ImportOptions, OpenOptions, Realisation, RealisationKind, Store, TreeHash, fuzzing};
use mstore_store_fuzz::{Damage, damage, folder, noise};

#[derive(Arbitrary, Debug)]
struct Input {
    /// Number of the file, and what happens to it.
    damage: Vec<(u8, Vec<Damage>)>,
    /// A listing with these numbers: whether it holds objects that name others, length, beginning of the
    /// index, objects.
    listing: Option<(bool, u64, u64, u64)>,
    /// Which indexes get a right checksum.
    right: u8,
    /// The server knows no stretches.
    whole: bool,
    /// An index by itself.
    index: Option<(Vec<u8>, u64, u64)>,
    /// A listing by itself.
    bytes: Vec<u8>,
}

struct Sound {
    files: BTreeMap<String, Vec<u8>>,
    tree: TreeHash,
    keys: Vec<Hash>,
    objects: Vec<Hash>,
}

fn read(folder: &Path, under: &str, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("the cache was written") {
        let entry = entry.expect("the cache was written");
        let name = format!("{under}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), into);
        } else {
            let bytes = std::fs::read(entry.path()).expect("the cache was written");
            into.insert(name, bytes);
        }
    }
}

fn sound() -> &'static Sound {
    static SOUND: OnceLock<Sound> = OnceLock::new();
    SOUND.get_or_init(|| {
        let folder = folder("cache");
        let from = folder.join("tree");
        for dir in ["a/b", "c"] {
            std::fs::create_dir_all(from.join(dir)).expect("there is room");
        }
        for (at, dir) in (0u8..).zip(["", "a", "a/b", "c"]) {
            let path = from.join(dir);
            std::fs::write(path.join("noise"), noise(at, 700)).expect("there is room");
            std::fs::write(path.join("words"), "words ".repeat(200)).expect("there is room");
        }
        let store =
            Store::open(&folder.join("store"), &OpenOptions::create()).expect("a new store");
        let options = ImportOptions::snapshot();
        let tree = store.import_dir(&from, &options).expect("a folder").tree;
        let key = Hash::of(b"key");
        let realisation = Realisation {
            kind: RealisationKind::Step,
            key,
            drv: Hash::of(b"drv"),
            name: "name:step".into(),
            tree,
            started: 1,
            seconds: 1.0,
            host: "host".into(),
            log: None,
        };
        store.record(&realisation).expect("the tree is here");
        let fact = store.fact(&key).expect("the store is open");
        let options = ReceiveOptions {
            cancel: &Cancel::new(),
            progress: &|_| (),
            dry_run: false,
        };
        let cache = folder.join("cache");
        store
            .write_cache(&cache, &[tree], &mut fact.iter(), &options)
            .expect("there is room");
        let mut files = BTreeMap::new();
        read(&cache, "", &mut files);
        let objects = store.objects_with_prefix("").expect("the store is open");
        Sound {
            files,
            tree,
            keys: vec![key, Hash::of(b"drv")],
            objects: objects.into_iter().map(|(hash, _)| hash).collect(),
        }
    })
}

struct Memory {
    files: Arc<BTreeMap<String, Vec<u8>>>,
    whole: bool,
}

impl Fetch for Memory {
    fn name(&self) -> String {
        "memory".into()
    }

    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TransferError> {
        let bytes = self.files.get(path).cloned();
        Ok(bytes.filter(|bytes| bytes.len() as u64 <= limit))
    }

    fn stretch(&self, path: &str, from: u64, to: u64) -> Result<Body, TransferError> {
        let bytes = self.files.get(path).cloned().unwrap_or_default();
        if self.whole {
            return Ok(Body::Whole(Box::new(Cursor::new(bytes)), None));
        }
        let mut body = Cursor::new(bytes);
        body.set_position(from);
        Ok(Body::Stretch(Box::new(body.take(to - from))))
    }
}

fuzz_target!(|input: Input| {
    fuzzing::listing(&input.bytes);
    if let Some((bytes, at, count)) = input.index {
        fuzzing::index(bytes, at, count);
    }
    let sound = sound();
    let mut files = sound.files.clone();
    let names: Vec<String> = files.keys().cloned().collect();
    for (number, all) in input.damage.iter().take(4) {
        let name = &names[usize::from(*number) % names.len()];
        damage(files.get_mut(name).expect("it has that name"), all);
    }
    for (at, name) in names
        .iter()
        .filter(|name| name.ends_with(".index"))
        .enumerate()
    {
        let bytes = files.get_mut(name).expect("it has that name");
        if input.right >> (at % 8) & 1 == 1
            && let Some(foot) = bytes.len().checked_sub(64)
        {
            let sum = blake3::hash(&bytes[..foot]);
            bytes[foot + 32..].copy_from_slice(sum.as_bytes());
            let (name, bytes) = (name.clone(), bytes.clone());
            let (at, count) = (
                bytes[foot + 16..foot + 24].try_into(),
                bytes[foot + 24..foot + 32].try_into(),
            );
            if let (Ok(at), Ok(count)) = (at, count) {
                fuzzing::index(bytes, u64::from_le_bytes(at), u64::from_le_bytes(count));
            }
            drop(name);
        }
    }
    let listing = format!("trees/{}", sound.tree);
    if let Some((meta, len, index, count)) = input.listing {
        let pack = (
            names
                .iter()
                .find_map(|n| n.strip_prefix("packs/")?.strip_suffix(".pack")),
            meta,
            len,
            index,
            count,
        );
        let bytes = mstore_store::codec::encode(&(1u32, [pack], 3u64, 4u64));
        files.insert(listing.clone(), bytes);
    }
    if let Some(bytes) = files.get(&listing) {
        fuzzing::listing(bytes);
    }
    let fetch = Memory {
        files: Arc::new(files),
        whole: input.whole,
    };
    let Ok(reader) = CacheReader::open(Box::new(fetch), 1) else {
        return;
    };
    for fact in reader
        .facts(&sound.keys[..1], &sound.keys[1..], &Some)
        .unwrap_or_default()
    {
        assert!(
            sound.keys.contains(&fact.realisation.key)
                || sound.keys.contains(&fact.realisation.drv)
        );
    }
    if !matches!(reader.offer(sound.tree), Ok(Some(_))) {
        return;
    }
    let mut wanted = sound.objects.clone();
    // In two parts: the second may find what came along with the first.
    let second = wanted.split_off(wanted.len() / 2);
    for wanted in [wanted, second] {
        let mut left = wanted.clone();
        let done = reader.fetch(&wanted, &mut |object| {
            let at = left.iter().position(|hash| *hash == object.hash());
            left.remove(at.expect("each object comes once, and only if it was wanted"));
            fuzzing::opened(&object);
            Ok(())
        });
        let damaged = !input.damage.is_empty() || input.listing.is_some();
        assert!(damaged || (done.is_ok() && left.is_empty()));
    }
});
