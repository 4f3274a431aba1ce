//! Writing one pack: appended by several threads, sealed once.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::*;
use crate::StoreError;
use crate::disk::{Disk, DiskFile};

/// Bytes gathered before they are written.
const BATCH: usize = 1 << 20;
/// No record is larger than this when decompressed: larger files are cut into chunks, and larger
/// manifests are refused.
pub(crate) const MAX_RAW: u64 = 1 << 30;
/// Level of zstd. Chosen by measurement: see `benches/store`.
const LEVEL: i32 = 1;

/// An object ready to be appended.
pub(crate) struct Packed<'a> {
    pub hash: Hash,
    pub sort: Sort,
    pub raw: u64,
    pub flags: u8,
    pub stored: &'a [u8],
}

struct Zip {
    zip: zstd::bulk::Compressor<'static>,
    out: Vec<u8>,
}

thread_local! {
    static ZIP: RefCell<Option<Zip>> = const { RefCell::new(None) };
}

/// Compresses `raw` where it pays and hands the result on.
pub(crate) fn with_packed<R>(
    hash: Hash,
    sort: Sort,
    raw: &[u8],
    then: impl FnOnce(Packed<'_>) -> R,
) -> io::Result<R> {
    let plain = Packed {
        hash,
        sort,
        raw: raw.len() as u64,
        flags: 0,
        stored: raw,
    };
    if raw.len() < 64 {
        return Ok(then(plain));
    }
    ZIP.with_borrow_mut(|slot| {
        let zip = match slot {
            Some(zip) => zip,
            None => {
                let mut zip = zstd::bulk::Compressor::new(LEVEL)?;
                // The checksum finds damage while reading, for far less than a hash costs.
                zip.set_parameter(zstd::zstd_safe::CParameter::ChecksumFlag(true))?;
                slot.insert(Zip {
                    zip,
                    out: Vec::new(),
                })
            }
        };
        const SAMPLE: usize = 32 << 10;
        if raw.len() > 4 * SAMPLE {
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
    file: Box<dyn DiskFile>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Offset at which `batch` belongs.
    start: u64,
    batch: Vec<u8>,
    places: Vec<Place>,
}

impl PackWriter {
    /// Begins a pack in a file that must not exist.
    pub fn create(disk: &dyn Disk, path: &Path) -> Result<PackWriter, StoreError> {
        let file = disk
            .create(path)
            .map_err(|e| StoreError::io("create pack", path, e))?;
        let mut batch = Vec::with_capacity(BATCH + BATCH / 4);
        batch.extend_from_slice(HEAD_MAGIC);
        batch.extend_from_slice(&VERSION.to_le_bytes());
        batch.extend_from_slice(&[0; 4]);
        Ok(PackWriter {
            path: path.to_path_buf(),
            file,
            state: Mutex::new(State {
                start: 0,
                batch,
                places: Vec::new(),
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
        let end = {
            let mut state = self.lock();
            let offset = state.start + state.batch.len() as u64;
            let place = Place {
                hash: object.hash,
                offset,
                stored: object.stored.len() as u64,
                raw: object.raw,
                sort: object.sort,
                flags: object.flags,
            };
            state.batch.extend_from_slice(&place.head_bytes());
            state.batch.extend_from_slice(object.stored);
            state.places.push(place);
            if state.batch.len() >= BATCH {
                let next = Vec::with_capacity(BATCH + BATCH / 4);
                let batch = std::mem::replace(&mut state.batch, next);
                let at = state.start;
                state.start += batch.len() as u64;
                full = Some((batch, at));
            }
            state.start + state.batch.len() as u64
        };
        // Outside the lock: other threads go on compressing and appending meanwhile.
        if let Some((batch, at)) = full {
            self.write(&batch, at)?;
        }
        Ok(end)
    }

    /// Writes the index and makes all of it durable under the temporary name.
    pub fn seal(self) -> Result<SealedPack, StoreError> {
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(|error| error.into_inner());
        state.places.sort_unstable_by_key(|place| place.hash);
        let index_at = state.start + state.batch.len() as u64;
        let mut tail = std::mem::take(&mut state.batch);
        let skip = tail.len();
        let mut seen = [0u32; 256];
        for place in &state.places {
            seen[usize::from(place.hash.as_bytes()[0])] += 1;
        }
        let mut sum = 0;
        for n in seen {
            sum += n;
            tail.extend_from_slice(&sum.to_le_bytes());
        }
        for place in &state.places {
            tail.extend_from_slice(&place.index_bytes());
        }
        let check = blake3::hash(&tail[skip..]);
        tail.extend_from_slice(FOOT_MAGIC);
        tail.extend_from_slice(&VERSION.to_le_bytes());
        tail.extend_from_slice(&[0; 4]);
        tail.extend_from_slice(&index_at.to_le_bytes());
        tail.extend_from_slice(&(state.places.len() as u64).to_le_bytes());
        tail.extend_from_slice(check.as_bytes());
        let io = |action| {
            let path = &self.path;
            move |e: io::Error| StoreError::io(action, path, e)
        };
        self.file
            .write_at(&tail, state.start)
            .map_err(io("write pack"))?;
        self.file.sync().map_err(io("sync pack"))?;
        Ok(SealedPack {
            len: state.start + tail.len() as u64,
            count: state.places.len() as u64,
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
}
