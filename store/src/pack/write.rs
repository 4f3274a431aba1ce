//! Writing one pack: appended by several threads, sealed once.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::*;
use crate::StoreError;
use crate::disk::{Disk, DiskFile};

/// Bytes gathered before they are written.
const BATCH: usize = 1 << 20;
/// No record is larger than this when decompressed: larger files are cut into chunks, and larger
/// manifests are refused.
pub(crate) const MAX_RAW: u64 = 1 << 30;
/// Bytes that are written before the disk is made to take them, while we go on: the sync at the
/// end then finds little to do.
const BEHIND: u64 = 16 << 20;

/// How much time compression took. The head of a pack tells the least of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Effort {
    /// Little, because somebody waited.
    Quick = 0,
    /// Much, because nobody did.
    Thorough = 1,
}

/// Level of zstd when much is added and somebody waits. Levels here were chosen by measurement: see
/// `benches/store`.
pub(crate) const LEVEL_FAST: i32 = -10;
/// Level of zstd for the first megabytes of an addition, which take no time worth saving.
pub(crate) const LEVEL_FIRST: i32 = 3;
/// Level of zstd when nobody waits.
pub(crate) const LEVEL_THOROUGH: i32 = 6;

/// An object ready to be appended.
pub(crate) struct Packed<'a> {
    pub hash: Hash,
    pub kind: RecordKind,
    pub raw: u64,
    pub flags: u8,
    pub stored: &'a [u8],
}

struct Zip {
    level: i32,
    zip: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

thread_local! {
    static ZIP: RefCell<Option<Zip>> = const { RefCell::new(None) };
}

/// Compresses `raw` where it pays and hands the result on.
pub(crate) fn with_packed<R>(
    level: i32,
    hash: Hash,
    kind: RecordKind,
    raw: &[u8],
    then: impl FnOnce(Packed<'_>) -> R,
) -> io::Result<R> {
    let plain = Packed {
        hash,
        kind,
        raw: raw.len() as u64,
        flags: 0,
        stored: raw,
    };
    if raw.len() < 64 {
        return Ok(then(plain));
    }
    ZIP.with_borrow_mut(|slot| {
        let zip = match slot {
            Some(zip) => {
                if zip.level != level {
                    zip.zip.set_compression_level(level)?;
                    zip.level = level;
                }
                zip
            }
            None => {
                let mut zip = zstd::bulk::Compressor::new(level)?;
                // The checksum finds damage while reading, for far less than a hash costs.
                zip.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
                slot.insert(Zip {
                    level,
                    zip,
                    out: Vec::new(),
                })
            }
        };
        const SAMPLE: usize = 16 << 10;
        if raw.len() > 16 * SAMPLE {
            // A sample of the middle tells whether the whole is worth the time.
            let middle = raw.len() / 2;
            let sample = &raw[middle..middle + SAMPLE];
            let size = zip.compress(sample)?;
            if size > SAMPLE / 16 * 15 {
                return Ok(then(plain));
            }
        }
        let size = zip.compress(raw)?;
        if size >= raw.len() - raw.len() / 16 {
            return Ok(then(plain));
        }
        Ok(then(Packed {
            flags: ZSTD,
            stored: &zip.out[..size],
            ..plain
        }))
    })
}

impl Zip {
    fn compress(&mut self, raw: &[u8]) -> io::Result<usize> {
        let bound = zstd::zstd_safe::compress_bound(raw.len());
        if self.out.len() < bound {
            self.out.resize(bound, 0);
        }
        self.zip.compress_to_buffer(raw, &mut self.out[..])
    }
}

/// A pack that is being written, under a temporary name.
#[derive(Debug)]
pub(crate) struct PackWriter {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Offset at which `batch` belongs.
    start: u64,
    batch: Vec<u8>,
    /// Batches written and used again.
    spare: Vec<Vec<u8>>,
    places: Vec<PackEntry>,
    /// Of all that was appended.
    records: Option<RecordsHash>,
    /// Offset up to which a sync was begun.
    behind: u64,
    syncing: Option<JoinHandle<io::Result<()>>>,
}

impl PackWriter {
    /// Begins a pack in a file that must not exist.
    pub fn create(disk: &dyn Disk, path: &Path, effort: Effort) -> Result<PackWriter, StoreError> {
        let file = disk
            .create(path)
            .map_err(|e| StoreError::io("create pack", path, e))?;
        let mut batch = Vec::with_capacity(BATCH + BATCH / 4);
        batch.extend_from_slice(HEAD_MAGIC);
        batch.extend_from_slice(&VERSION.to_le_bytes());
        batch.extend_from_slice(&(effort as u32).to_le_bytes());
        Ok(PackWriter {
            path: path.to_path_buf(),
            file: file.into(),
            state: Mutex::new(State {
                records: Some(RecordsHash::new(&batch)),
                batch,
                ..State::default()
            }),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // A thread that panicked while it held the lock had only appended to vectors; its error
        // ends the whole import, so that the pack is never sealed.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn write(&self, data: &[u8], at: u64) -> Result<(), StoreError> {
        self.file
            .write_at(data, at)
            .map_err(|e| StoreError::io("write pack", &self.path, e))
    }

    /// Tells whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.lock().places.is_empty()
    }

    /// Appends an object. Returns the length of the pack so far.
    pub fn append(&self, object: &Packed<'_>) -> Result<u64, StoreError> {
        let mut full = None;
        let stored_hash = match is_own_hash(object.kind, object.flags) {
            true => object.hash,
            false => Hash::of(object.stored),
        };
        let end = {
            let mut state = self.lock();
            let offset = state.start + state.batch.len() as u64;
            let place = PackEntry {
                hash: object.hash,
                offset,
                stored: object.stored.len() as u64,
                raw: object.raw,
                kind: object.kind,
                flags: object.flags,
            };
            state.batch.extend_from_slice(&place.head_bytes());
            state.batch.extend_from_slice(object.stored);
            if let Some(records) = &mut state.records {
                records.add(&place, &stored_hash);
            }
            state.places.push(place);
            if state.batch.len() >= BATCH {
                let next = state.spare.pop();
                let next = next.unwrap_or_else(|| Vec::with_capacity(BATCH + BATCH / 4));
                let batch = std::mem::replace(&mut state.batch, next);
                let at = state.start;
                state.start += batch.len() as u64;
                full = Some((batch, at));
            }
            state.start + state.batch.len() as u64
        };
        // Outside the lock: other threads go on compressing and appending meanwhile.
        if let Some((mut batch, at)) = full {
            self.write(&batch, at)?;
            batch.clear();
            let mut state = self.lock();
            state.spare.push(batch);
            if at > state.behind + BEHIND && state.syncing.as_ref().is_none_or(|s| s.is_finished())
            {
                state.behind = at;
                if let Some(done) = state.syncing.take() {
                    self.synced(done)?;
                }
                let file = self.file.clone();
                state.syncing = std::thread::Builder::new()
                    .name("mstore-sync".into())
                    .spawn(move || file.sync())
                    .ok();
            }
        }
        Ok(end)
    }

    /// Takes the result of a sync that went on beside us: an error is told once only.
    fn synced(&self, done: JoinHandle<io::Result<()>>) -> Result<(), StoreError> {
        let result = done
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread that syncs panicked")));
        result.map_err(|e| StoreError::io("sync pack", &self.path, e))
    }

    /// Writes the index and makes all of it durable under the temporary name.
    pub fn seal(self) -> Result<SealedPack, StoreError> {
        let mut state = std::mem::take(&mut *self.lock());
        let behind = state.syncing.take();
        state.places.sort_unstable_by_key(|place| place.hash);
        let records = state.records.take();
        let index_at = state.start + state.batch.len() as u64;
        let mut check = blake3::Hasher::new();
        let mut piece = std::mem::take(&mut state.batch);
        // What is left of the records is no part of the index.
        let mut unhashed = piece.len();
        let mut at = state.start;
        let mut seen = [0u32; 256];
        for place in &state.places {
            seen[usize::from(place.hash.as_bytes()[0])] += 1;
        }
        let mut sum = 0;
        for n in seen {
            sum += n;
            piece.extend_from_slice(&sum.to_le_bytes());
        }
        for place in &state.places {
            piece.extend_from_slice(&place.index_bytes());
            if piece.len() >= BATCH {
                check.update(&piece[unhashed..]);
                self.write(&piece, at)?;
                at += piece.len() as u64;
                piece.clear();
                unhashed = 0;
            }
        }
        check.update(&piece[unhashed..]);
        piece.extend_from_slice(FOOT_MAGIC);
        piece.extend_from_slice(&VERSION.to_le_bytes());
        piece.extend_from_slice(&[0; 4]);
        piece.extend_from_slice(&index_at.to_le_bytes());
        piece.extend_from_slice(&(state.places.len() as u64).to_le_bytes());
        let index_hash = check.finalize();
        piece.extend_from_slice(index_hash.as_bytes());
        self.write(&piece, at)?;
        at += piece.len() as u64;
        if let Some(done) = behind {
            self.synced(done)?;
        }
        self.file
            .sync()
            .map_err(|e| StoreError::io("sync pack", &self.path, e))?;
        Ok(SealedPack {
            len: at,
            count: state.places.len() as u64,
            index_hash: Hash::from_bytes(*index_hash.as_bytes()),
            records_hash: records.map(|records| records.finish()),
            path: self.path,
        })
    }
}

/// A pack that is complete and durable, but not yet part of the store.
#[derive(Debug)]
pub(crate) struct SealedPack {
    pub path: PathBuf,
    pub len: u64,
    pub count: u64,
    /// What its foot has.
    pub index_hash: Hash,
    /// The hash of all before the index.
    pub records_hash: Option<Hash>,
}
