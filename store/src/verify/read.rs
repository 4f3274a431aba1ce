//! The reading pass: every record against its hash, and every name against the indexes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::Damage;
use super::tally::{Read, Tallies};
use crate::links;
use crate::manifest::{Kind, Manifest, Tree};
use crate::objects::parse_chunks;
use crate::pack::{
    Pack, PackEntry, PackSet, RECORD_HEAD, RecordKind, Room, ZSTD, is_own_hash, unzip,
};
use crate::{DirHash, Hash, StoreError};

/// Bytes that one job reads at once.
const WINDOW: u64 = 1 << 20;

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// What the reading pass found.
#[derive(Default)]
pub(super) struct Found {
    pub damage: Damage,
    /// What is good by itself and does not fit what it names: large blobs that their chunks do not make
    /// together, and trees whose hard links are not as their directories say.
    pub wholes: Vec<(Hash, String)>,
    /// Packs in which every object is good and which are not what was written, with the reason.
    pub packs: Vec<(String, String)>,
    /// Packs that the database has no hashes of, with those of index and records.
    pub hashes: Vec<(String, Hash, Hash)>,
    /// Something names what is not here.
    lacking: bool,
    pub bytes: u64,
}

impl Found {
    pub fn is_clean(&self) -> bool {
        let whole = self.wholes.is_empty() && self.packs.is_empty();
        self.damage.is_empty() && whole && !self.lacking
    }
}

/// A large blob, and where its chunks are.
struct Large {
    hash: Hash,
    size: u64,
    /// Pack and number of each chunk, its length, and whether it is to be checked here.
    chunks: Vec<Chunk>,
}

struct Chunk {
    hash: Hash,
    size: u32,
    at: Option<(usize, usize)>,
    first: bool,
}

/// A piece of work: a large blob with its chunks, or records that lie together.
enum Job {
    Whole(Large),
    Records(usize, Vec<u32>),
}

struct Reading<'a> {
    packs: &'a PackSet,
    /// Lengths of large blobs.
    large: HashMap<Hash, u64>,
    found: Mutex<Found>,
    tallies: Tallies,
    bytes: AtomicU64,
}

/// Reads all packs; with `quick` those alone that name other objects.
pub(super) fn read_all(packs: &PackSet, quick: bool) -> Result<Found, StoreError> {
    let mut reading = Reading {
        packs,
        large: HashMap::new(),
        found: Mutex::default(),
        tallies: Tallies::new(packs),
        bytes: AtomicU64::new(0),
    };
    // A chunk is hashed where its blob is, so that it is read once.
    let mut taken: Vec<Vec<u64>> = Vec::new();
    for pack in &packs.packs {
        taken.push(vec![0; pack.count().div_ceil(64)]);
    }
    let mut jobs: Vec<Job> = Vec::new();
    for large in reading.lists() {
        if reading.large.insert(large.hash, large.size).is_some() || quick {
            continue;
        }
        let mut large = large;
        for chunk in &mut large.chunks {
            if let Some((pack, at)) = chunk.at {
                let word = &mut taken[pack][at / 64];
                chunk.first = *word >> (at % 64) & 1 == 0;
                *word |= 1 << (at % 64);
            }
        }
        jobs.push(Job::Whole(large));
    }
    // The longest first: they cannot be divided.
    jobs.sort_by_key(|job| match job {
        Job::Whole(large) => std::cmp::Reverse(large.size),
        Job::Records(..) => std::cmp::Reverse(0),
    });
    for (number, file) in packs.packs.iter().enumerate() {
        if quick && !file.is_meta() {
            continue;
        }
        // That it cannot be opened is told already.
        let Ok(pack) = file.open() else { continue };
        let is_taken = |at: usize| taken[number][at / 64] >> (at % 64) & 1 == 1;
        windows(&pack, is_taken, |records| {
            jobs.push(Job::Records(number, records));
        });
    }
    crate::workers::pool()?.install(|| {
        jobs.into_par_iter().with_max_len(1).for_each(|job| {
            ROOM.with_borrow_mut(|room| match job {
                Job::Whole(large) => reading.whole(&large, room),
                Job::Records(pack_number, records) => {
                    // It could be opened a moment ago.
                    if let Ok(pack) = packs.packs[pack_number].open() {
                        reading.records(pack_number, &pack, &records, room);
                    }
                }
            });
        });
    });
    let mut found = reading
        .found
        .into_inner()
        .unwrap_or_else(|e| e.into_inner());
    found.bytes = reading.bytes.into_inner();
    found.wholes.sort_unstable();
    found.packs.sort_unstable();
    Ok(found)
}

/// Divides the records of a pack, in the order of the file, into pieces that can be read at once.
fn windows(pack: &Pack, skip: impl Fn(usize) -> bool, mut take: impl FnMut(Vec<u32>)) {
    let mut order: Vec<(u64, u32)> = Vec::new();
    for at in (0..pack.count()).filter(|at| !skip(*at)) {
        // Entries that are not well formed are faults of the index, told of already.
        if let (Ok(place), Ok(number)) = (pack.entry(at), u32::try_from(at)) {
            order.push((place.offset, number));
        }
    }
    order.sort_unstable();
    let mut piece: Vec<u32> = Vec::new();
    let mut from = 0;
    for (offset, number) in order {
        if piece.is_empty() {
            from = offset;
        } else if offset - from > WINDOW {
            take(std::mem::take(&mut piece));
            from = offset;
        }
        piece.push(number);
    }
    if !piece.is_empty() {
        take(piece);
    }
}

impl Reading<'_> {
    fn found(&self) -> std::sync::MutexGuard<'_, Found> {
        // Faults are only added: whatever a panic left is true.
        self.found.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn damaged(&self, pack: &Pack, hash: Hash, error: &StoreError) {
        let file = Some(format!("packs/{}.pack", pack.name));
        let mut found = self.found();
        found.damage.insert(hash, (file, error.to_string()));
    }

    /// All lists of chunks that can be read.
    fn lists(&self) -> Vec<Large> {
        let mut lists = Vec::new();
        let mut room = Room::default();
        for file in self.packs.packs.iter().filter(|pack| pack.is_meta()) {
            let Ok(pack) = file.open() else { continue };
            for place in (0..pack.count()).filter_map(|at| pack.entry(at).ok()) {
                if place.kind != RecordKind::Chunks {
                    continue;
                }
                // What cannot be read is told of when its turn comes.
                let Ok(bytes) = pack.load(&place, &mut room) else {
                    continue;
                };
                let Ok(list) = parse_chunks(place.hash, bytes) else {
                    continue;
                };
                let chunks: Vec<Chunk> = list
                    .into_iter()
                    .map(|(hash, size)| Chunk {
                        hash,
                        size,
                        at: self.packs.locate(&hash).ok().flatten(),
                        first: false,
                    })
                    .collect();
                lists.push(Large {
                    hash: place.hash,
                    size: chunks.iter().map(|chunk| u64::from(chunk.size)).sum(),
                    chunks,
                });
            }
        }
        lists
    }

    /// Hashes chunks one by one, and all together.
    fn whole(&self, large: &Large, room: &mut Room) {
        let mut together = Some(blake3::Hasher::new());
        for chunk in &large.chunks {
            let found = chunk.at.and_then(|(number, at)| {
                let pack = self.packs.packs[number].open().ok()?;
                let place = pack.entry(at).ok()?;
                Some((number, at, pack, place))
            });
            // One that is missing is told of where the list itself is checked.
            let Some((number, at, pack, place)) =
                found.filter(|(.., place)| place.kind == RecordKind::Blob)
            else {
                together = None;
                continue;
            };
            let end = place.offset + place.record_len();
            let loaded = pack.load_range(place.offset, end, &mut room.stored);
            let record = &room.stored[..place.record_len() as usize];
            let opened = loaded.and_then(|()| pack.open_record(&place, record, &mut room.raw));
            let checked = opened.and_then(|bytes| match Hash::of(bytes) == chunk.hash {
                true => Ok(bytes),
                false => Err(wrong_hash(&place)),
            });
            if chunk.first {
                let read = read_of(&place, record, checked.is_ok());
                self.tally(number, &pack, [(at as u32, read)]);
            }
            let bytes = match checked {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.damaged(&pack, place.hash, &error);
                    together = None;
                    continue;
                }
            };
            if chunk.first {
                self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            if bytes.len() as u64 != u64::from(chunk.size) {
                if together.take().is_some() {
                    let fault = format!("its list tells a wrong length of chunk {}", chunk.hash);
                    self.found().wholes.push((large.hash, fault));
                }
                continue;
            }
            if let Some(together) = &mut together {
                together.update(bytes);
            }
        }
        if together.is_some_and(|all| all.finalize().as_bytes() != large.hash.as_bytes()) {
            let fault = "its chunks together do not have this hash".to_string();
            self.found().wholes.push((large.hash, fault));
        }
    }

    /// Notes what came of records of a pack, and judges the pack when those were the last.
    fn tally(&self, number: usize, pack: &Pack, records: impl IntoIterator<Item = (u32, Read)>) {
        let Some(whole) = self.tallies.take(number, pack, records) else {
            return;
        };
        let noted = self.packs.packs[number].row().records_hash;
        let name = pack.name.clone();
        let mut found = self.found();
        match (whole, noted) {
            (Ok(hash), Some(noted)) if hash == noted => {}
            (Ok(_), Some(_)) => found.packs.push((
                name,
                "every object in it is good, and other bytes are not those that were written"
                    .into(),
            )),
            (Ok(hash), None) => found.hashes.push((name, pack.index_hash(), hash)),
            (Err(wrong), _) => found.packs.push((name, wrong)),
        }
    }

    fn records(&self, number: usize, pack: &Pack, records: &[u32], room: &mut Room) {
        let places: Vec<(u32, PackEntry)> = records
            .iter()
            .filter_map(|at| Some((*at, pack.entry(*at as usize).ok()?)))
            .collect();
        let (Some((_, first)), Some((_, last))) = (places.first(), places.last()) else {
            return;
        };
        let (from, to) = (first.offset, last.offset + last.record_len());
        // Where the whole cannot be read, single records may be.
        let window = pack.load_range(from, to, &mut room.stored).is_ok();
        let mut reads = Vec::with_capacity(places.len());
        for (at, place) in &places {
            let length = place.record_len();
            let (loaded, begin) = match window {
                true => (Ok(()), (place.offset - from) as usize),
                false => {
                    let end = place.offset + length;
                    let loaded = pack.load_range(place.offset, end, &mut room.stored);
                    (loaded, 0)
                }
            };
            let record = room.stored.get(begin..begin + length as usize);
            let record = record.unwrap_or_default();
            let bytes = loaded.and_then(|()| pack.open_record(place, record, &mut room.raw));
            let checked = bytes.and_then(|bytes| {
                check_bytes(place, bytes)?;
                self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                if place.kind != RecordKind::Blob && !self.names_are_here(place, bytes)? {
                    self.found().lacking = true;
                }
                if place.kind == RecordKind::Tree
                    && let Some(wrong) = self.two_faces(bytes)
                {
                    self.found().wholes.push((place.hash, wrong));
                }
                Ok(())
            });
            reads.push((*at, read_of(place, record, checked.is_ok())));
            if let Err(error) = checked {
                self.damaged(pack, place.hash, &error);
            }
        }
        self.tally(number, pack, reads);
    }

    /// What is wrong with the hard links of a tree, as far as its directories can be read.
    fn two_faces(&self, tree: &[u8]) -> Option<String> {
        let tree = Tree::decode(tree).ok()?;
        let read = |dir: &DirHash| {
            let missing = || StoreError::Missing {
                what: "manifest",
                hash: dir.0,
            };
            let (pack, entry) = self.packs.find(&dir.0)?.ok_or_else(missing)?;
            let mut bytes = Vec::new();
            pack.read_into(&entry, &mut bytes)?;
            Manifest::decode(&bytes).map_err(|source| StoreError::Decode {
                what: "manifest",
                hash: dir.0,
                source,
            })
        };
        // What is missing or damaged is told of by itself.
        links::misfit(&tree, &read).ok().flatten()
    }

    /// Tells whether all that an object names is here, with the length that it tells.
    fn names_are_here(&self, place: &PackEntry, bytes: &[u8]) -> Result<bool, StoreError> {
        let corrupt = |error: &dyn std::fmt::Display| StoreError::Corrupt {
            what: place.kind.word(),
            hash: place.hash,
            detail: error.to_string(),
        };
        let find = |hash: &Hash| self.packs.find(hash).ok().flatten().map(|(_, place)| place);
        let is_manifest =
            |hash: &Hash| find(hash).is_some_and(|place| place.kind == RecordKind::Manifest);
        Ok(match place.kind {
            RecordKind::Blob => true,
            RecordKind::Chunks => parse_chunks(place.hash, bytes)?
                .iter()
                .all(|(hash, _)| find(hash).is_some_and(|place| place.kind == RecordKind::Blob)),
            RecordKind::Tree => is_manifest(&Tree::decode(bytes).map_err(|e| corrupt(&e))?.dir.0),
            RecordKind::Manifest => {
                let manifest = Manifest::decode(bytes).map_err(|e| corrupt(&e))?;
                manifest.entries().iter().all(|entry| match &entry.kind {
                    Kind::Dir { manifest } => is_manifest(&manifest.0),
                    Kind::File { blob, size } => find(&blob.0).is_some_and(|place| {
                        let real = match place.kind {
                            RecordKind::Blob => Some(place.raw),
                            RecordKind::Chunks => self.large.get(&blob.0).copied(),
                            _ => None,
                        };
                        real == Some(*size)
                    }),
                    _ => true,
                })
            }
        })
    }
}

/// What came of a record that was compared with its hash.
fn read_of(place: &PackEntry, record: &[u8], good: bool) -> Read {
    match (good, is_own_hash(place.kind, place.flags)) {
        (false, _) => Read::Bad,
        (true, true) => Read::Plain,
        (true, false) => Read::Packed(Hash::of(&record[RECORD_HEAD..])),
    }
}

/// Tells whether any pack has an object undamaged.
pub(super) fn has_good_copy(packs: &PackSet, hash: &Hash) -> bool {
    packs.packs.iter().any(|file| {
        let Ok(pack) = file.open() else { return false };
        let place = pack.find(hash).ok().flatten();
        place.is_some_and(|place| check_record(&pack, &place).is_ok())
    })
}

/// Compares one record with its hash, and decodes it.
pub(super) fn check_record(pack: &Pack, place: &PackEntry) -> Result<(), StoreError> {
    let corrupt = |error: &dyn std::fmt::Display| StoreError::Corrupt {
        what: place.kind.word(),
        hash: place.hash,
        detail: error.to_string(),
    };
    let mut room = Room::default();
    let bytes = pack.load(place, &mut room)?;
    check_bytes(place, bytes)?;
    match place.kind {
        RecordKind::Manifest => Manifest::decode(bytes).map(drop).map_err(|e| corrupt(&e)),
        RecordKind::Tree => Tree::decode(bytes).map(drop).map_err(|e| corrupt(&e)),
        RecordKind::Blob | RecordKind::Chunks => Ok(()),
    }
}

/// Tells whether the stored bytes of a record have the hash that its head tells.
pub(super) fn check_record_bytes(place: &PackEntry, stored: &[u8]) -> bool {
    let mut raw = Vec::new();
    let bytes = if place.flags & ZSTD == 0 {
        stored
    } else {
        raw.reserve(place.raw as usize);
        match unzip(stored, &mut raw) {
            Ok(_) => &raw[..],
            Err(_) => return false,
        }
    };
    bytes.len() as u64 == place.raw && check_bytes(place, bytes).is_ok()
}

fn wrong_hash(place: &PackEntry) -> StoreError {
    StoreError::Corrupt {
        what: place.kind.word(),
        hash: place.hash,
        detail: "content does not have this hash".into(),
    }
}

/// Compares bytes with the hash that they go by. The content of a list of chunks is compared where
/// the chunks are.
pub(crate) fn check_bytes(place: &PackEntry, bytes: &[u8]) -> Result<(), StoreError> {
    let name = match place.kind {
        RecordKind::Blob => Hash::of(bytes),
        RecordKind::Manifest => Manifest::hash_encoded(bytes).0,
        RecordKind::Tree => Tree::hash_encoded(bytes).0,
        RecordKind::Chunks => parse_chunks(place.hash, bytes).map(|_| place.hash)?,
    };
    if name == place.hash {
        Ok(())
    } else {
        Err(wrong_hash(place))
    }
}
