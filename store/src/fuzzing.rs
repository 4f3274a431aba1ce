//! Doors for the fuzz targets to what is private; compiled for them alone.
//!
//! What must hold is asserted here, so that a target only has to make input.

use std::path::Path;

use crate::disk::RealDisk;
use crate::manifest::{Manifest, Tree};
use crate::objects::{one_part, parse_chunks};
use crate::pack::{
    Effort, LEVEL_FAST, LEVEL_THOROUGH, Pack, PackWriter, RecordKind, Room, with_packed,
};
use crate::statcache::StatCache;
use crate::transfer::Object;
use crate::{Hash, StoreError};

pub use crate::transfer::cache::{index, listing};

/// An object to be put into a pack.
#[derive(Clone, Debug)]
pub struct Made {
    kind: RecordKind,
    hash: Hash,
    raw: Vec<u8>,
}

impl Made {
    /// Content of a file.
    pub fn blob(raw: Vec<u8>) -> Made {
        let hash = Hash::of(&raw);
        Made {
            kind: RecordKind::Blob,
            hash,
            raw,
        }
    }

    /// A list of chunks, of any form, that goes by any hash.
    pub fn chunks(hash: Hash, raw: Vec<u8>) -> Made {
        Made {
            kind: RecordKind::Chunks,
            hash,
            raw,
        }
    }

    /// A directory.
    pub fn manifest(raw: Vec<u8>) -> Made {
        let hash = Manifest::hash_encoded(&raw).0;
        Made {
            kind: RecordKind::Manifest,
            hash,
            raw,
        }
    }

    /// A tree.
    pub fn tree(raw: Vec<u8>) -> Made {
        let hash = Tree::hash_encoded(&raw).0;
        Made {
            kind: RecordKind::Tree,
            hash,
            raw,
        }
    }
}

/// Writes a pack to `path`, as an addition does or as a repack does.
pub fn write_pack(path: &Path, objects: &[Made], thorough: bool) -> Result<(), StoreError> {
    let (effort, level) = if thorough {
        (Effort::Thorough, LEVEL_THOROUGH)
    } else {
        (Effort::Quick, LEVEL_FAST)
    };
    let writer = PackWriter::create(&RealDisk::ANYWHERE, path, effort)?;
    let mut seen = std::collections::HashSet::new();
    for object in objects.iter().filter(|object| seen.insert(object.hash)) {
        with_packed(level, object.hash, object.kind, &object.raw, |packed| {
            writer.append(&packed)
        })
        .map_err(|e| StoreError::io("compress", path, e))??;
    }
    writer.seal().map(drop)
}

/// Reads all there is in a file as a pack, in every way there is, whatever it holds.
pub fn pack(path: &Path) {
    let Ok(pack) = Pack::open(&RealDisk::ANYWHERE, "fuzz", path) else {
        return;
    };
    let sound = pack.check_index().is_ok();
    let _ = (pack.kind(), pack.effort(), pack.len());
    let mut room = Room::default();
    for at in 0..pack.count().min(32) {
        let Ok(place) = pack.entry(at) else {
            assert!(!sound, "a sound index has an unsound entry");
            continue;
        };
        let found = pack.position(&place.hash).ok().flatten();
        assert!(
            !sound || found == Some(at),
            "a sound index does not find an entry"
        );
        let _ = pack.with_stored(&place, |_| Ok(()));
        let _ = pack.plain(&place);
        let mut out = Vec::new();
        let read = pack.read_into(&place, &mut out);
        match (pack.load(&place, &mut room), read) {
            (Ok(loaded), Ok(())) => assert_eq!(loaded, out),
            (loaded, read) => assert_eq!(loaded.is_ok(), read.is_ok()),
        }
        if place.kind == RecordKind::Chunks {
            chunks(&out);
        }
    }
    for first in 0..=255 {
        if let Some(hash) = Hash::from_slice(&[first; 32]) {
            let _ = pack.position(&hash);
        }
    }
}

/// Asks a pack for the objects that were put into it before it was damaged: each comes as it was, or
/// not at all. An undamaged one has them all.
pub fn pack_keeps(path: &Path, objects: &[Made], damaged: bool) {
    let pack = match Pack::open(&RealDisk::ANYWHERE, "fuzz", path) {
        Ok(pack) => pack,
        Err(_) if damaged => return,
        Err(error) => panic!("{error}"),
    };
    assert!(damaged || pack.check_index().is_ok());
    for object in objects {
        let read = || -> Result<Option<Vec<u8>>, StoreError> {
            let Some(place) = pack.find(&object.hash)? else {
                return Ok(None);
            };
            if place.kind != object.kind {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            if place.kind == RecordKind::Blob {
                return one_part(&pack, &place, &mut bytes, &mut |part| Ok(part.to_vec()))
                    .map(Some);
            }
            pack.read_into(&place, &mut bytes)?;
            Ok(Some(bytes))
        };
        let fits = |bytes: &[u8]| match object.kind {
            RecordKind::Manifest => Manifest::hash_encoded(bytes).0 == object.hash,
            RecordKind::Tree => Tree::hash_encoded(bytes).0 == object.hash,
            // Its content is compared where the chunks are.
            RecordKind::Chunks => true,
            RecordKind::Blob => false,
        };
        match read() {
            Ok(Some(bytes)) if bytes == object.raw => {}
            // The reader of the store compares the hash of these, and refuses them.
            Ok(Some(bytes)) if object.kind != RecordKind::Blob && (damaged && !fits(&bytes)) => {}
            Ok(Some(_)) if object.kind == RecordKind::Chunks && damaged => {}
            Ok(None) | Err(_) if damaged => {}
            other => panic!("{} {}: {other:?}", object.kind.word(), object.hash),
        }
    }
}

/// Walks the records of a pack without its index. What is handed on has the hash that it goes by.
/// Returns how many records that was.
pub fn salvage(bytes: &[u8]) -> usize {
    let mut count = 0;
    let scanned = crate::verify::scan_records(bytes, |place, stored| {
        count += 1;
        let mut raw = Vec::new();
        if Object::new(*place, stored).open(&mut raw).is_ok() {
            assert_eq!(raw.len() as u64, place.raw);
        }
        Ok(())
    });
    assert!(scanned.is_ok(), "only taking a record may fail");
    count
}

/// Reads a list of chunks.
pub fn chunks(bytes: &[u8]) {
    if let Ok(list) = parse_chunks(Hash::of(b"fuzz"), bytes) {
        let again: Vec<u8> = list
            .iter()
            .flat_map(|(hash, size)| [&hash.as_bytes()[..], &size.to_le_bytes()].concat())
            .collect();
        assert_eq!(again, bytes);
    }
}

/// Reads a record that somebody sent. What can be opened has the hash that it goes by.
pub fn record(bytes: &[u8]) {
    let Some(object) = Object::from_record(bytes) else {
        return;
    };
    assert_eq!([&object.head()[..], object.stored()].concat(), bytes);
    opened(&object);
}

/// Opens an object that somebody sent. What can be opened has the hash that it goes by.
pub fn opened(object: &Object) {
    let mut raw = Vec::new();
    if object.open(&mut raw).is_err() {
        return;
    }
    assert_eq!(raw.len() as u64, object.raw_len());
    assert_eq!(
        Object::stored_len(&object.head()),
        Some(object.stored().len() as u64)
    );
    match object.kind() {
        RecordKind::Blob => assert_eq!(Hash::of(&raw), object.hash()),
        RecordKind::Manifest => assert_eq!(Manifest::hash_encoded(&raw).0, object.hash()),
        RecordKind::Tree => assert_eq!(Tree::hash_encoded(&raw).0, object.hash()),
        RecordKind::Chunks => chunks(&raw),
    }
}

/// Reads a file of the stat cache, asks it for every file that it may know, and writes it anew. What
/// was written answers in the same way.
pub fn statcache(path: &Path, bytes: &[u8]) {
    let write = |bytes: &[u8]| {
        let _ = std::fs::remove_file(path);
        std::fs::write(path, bytes).is_ok()
    };
    if !write(bytes) {
        return;
    }
    let old = StatCache::at(&RealDisk::ANYWHERE, path.to_path_buf());
    let mut known = Vec::new();
    for key in StatCache::keys_in(bytes).into_iter().take(256) {
        if let Some(answer) = old.get(&key) {
            known.push((key, answer));
        }
    }
    let Some(new) = old.merged() else { return };
    if !write(&new) {
        return;
    }
    let new = StatCache::at(&RealDisk::ANYWHERE, path.to_path_buf());
    for (key, answer) in known {
        assert_eq!(new.get(&key), Some(answer), "{key:?}");
    }
}

/// A file of the stat cache with these records, for files numbered upwards.
pub fn statcache_of(path: &Path, attributes: &[Vec<(Vec<u8>, Vec<u8>)>]) -> Vec<u8> {
    StatCache::sample(&RealDisk::ANYWHERE, path.to_path_buf(), attributes)
}
