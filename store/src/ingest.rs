//! One durable addition of objects to the store.
//!
//! An ingest holds the store's lock in shared mode, so that what it found present (and therefore did
//! not write again) cannot be collected before its result is leased. Objects go to packs under
//! temporary names; [`Ingest::commit`] makes them durable and visible. Dropped before, nothing of it
//! stays.

use std::io::Read;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use crate::hash::HashedSet;
use crate::lock::StoreLock;
use crate::manifest::{Manifest, Tree};
use crate::pack::{
    Effort, LEVEL_FAST, LEVEL_FIRST, PackKind, PackSet, PackWriter, RecordKind, with_packed,
};
use crate::workers::Batch;
use crate::{BlobHash, DirHash, Hash, Need, Store, StoreError, TreeHash};

/// Files longer than this are stored as chunks.
pub(crate) const CHUNK_ABOVE: usize = 4 << 20;
/// Parameters of content-defined chunking. They are part of the format.
pub(crate) const CHUNK_MIN: usize = 256 << 10;
pub(crate) const CHUNK_AVERAGE: usize = 1 << 20;
pub(crate) const CHUNK_MAX: usize = 4 << 20;
/// A pack is closed when it is longer than this, so that the collector never rewrites huge files.
pub(crate) const PACK_LIMIT: u64 = 1 << 30;
const SHARDS: usize = 16;
/// Buffers kept for the next chunk.
const SPARE: usize = 8;
/// Bytes of an addition that are compressed well at once.
const WELL: u64 = 8 << 20;

/// An addition under way. Shared by threads.
#[derive(Debug)]
pub(crate) struct Ingest {
    store: Store,
    /// Keeps the collector from removing what this relies on.
    _lock: StoreLock,
    packs: Arc<PackSet>,
    seen: [Mutex<HashedSet>; SHARDS],
    state: Mutex<Writing>,
    spare: Mutex<Vec<Vec<u8>>>,
    /// Bytes written, before compression.
    written: AtomicU64,
}

#[derive(Debug, Default)]
struct Writing {
    data: Option<Arc<PackWriter>>,
    meta: Option<Arc<PackWriter>>,
    full: Vec<(PackKind, Arc<PackWriter>)>,
    paths: Vec<PathBuf>,
}

impl Writing {
    fn slot(&mut self, content: PackKind) -> &mut Option<Arc<PackWriter>> {
        match content {
            PackKind::Data => &mut self.data,
            PackKind::Meta => &mut self.meta,
        }
    }
}

impl Ingest {
    pub fn begin(store: &Store) -> Result<Ingest, StoreError> {
        store.writable("add to it")?;
        let lock = store.lock_shared()?;
        // After locking: what this set shows stays until the lock goes.
        let packs = store.refresh()?;
        Ok(Ingest {
            store: store.clone(),
            _lock: lock,
            packs,
            seen: Default::default(),
            state: Mutex::default(),
            spare: Mutex::default(),
            written: AtomicU64::new(0),
        })
    }

    fn writing(&self) -> std::sync::MutexGuard<'_, Writing> {
        // A panicking thread fails the whole ingest, which then commits nothing.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Tells whether an object needs not be written; if not, claims it for the caller to write.
    fn known(&self, hash: &Hash) -> bool {
        if self.packs.contains(hash) {
            return true;
        }
        let shard = usize::from(hash.as_bytes()[1]) % SHARDS;
        let mut seen = self.seen[shard].lock().unwrap_or_else(|e| e.into_inner());
        !seen.insert(*hash)
    }

    /// Tells whether the store had this object before.
    pub fn had(&self, hash: &Hash) -> bool {
        self.packs.contains(hash)
    }

    /// The length of a content that the store had before, if it did. That of a list of chunks is believed to be
    /// `size`: reading compares it.
    pub fn had_size(&self, hash: &Hash, size: u64) -> Result<Option<u64>, StoreError> {
        let found = self.packs.find(hash)?;
        Ok(found.map(|(_, place)| match place.kind {
            RecordKind::Blob => place.raw,
            _ => size,
        }))
    }

    fn writer(&self, content: PackKind) -> Result<Arc<PackWriter>, StoreError> {
        let mut state = self.writing();
        if let Some(writer) = state.slot(content) {
            return Ok(writer.clone());
        }
        let path = self
            .store
            .session()?
            .tmp
            .join(crate::session::random_name()?);
        state.paths.push(path.clone());
        let writer = Arc::new(PackWriter::create(self.store.disk(), &path, Effort::Quick)?);
        *state.slot(content) = Some(writer.clone());
        Ok(writer)
    }

    /// Adds an object whose hash is known.
    pub fn put(&self, kind: RecordKind, hash: Hash, raw: &[u8]) -> Result<(), StoreError> {
        if self.known(&hash) {
            return Ok(());
        }
        self.write(kind, hash, raw)
    }

    /// The level at which to compress: small additions are compressed well at once, the rest of
    /// large ones by a later repack.
    fn level(&self, raw: &[u8]) -> i32 {
        let before = self.written.fetch_add(raw.len() as u64, Ordering::Relaxed);
        if before < WELL {
            LEVEL_FIRST
        } else {
            LEVEL_FAST
        }
    }

    /// What was added so far, for the message of a full disk.
    fn added(&self) -> Option<Need> {
        Some(Need::Added(self.written.load(Ordering::Relaxed)))
    }

    /// Writes an object that is claimed.
    fn write(&self, kind: RecordKind, hash: Hash, raw: &[u8]) -> Result<(), StoreError> {
        if raw.len() as u64 > crate::pack::MAX_RAW {
            return Err(StoreError::BadEntry {
                path: hash.to_string(),
                reason: format!("{} of {} bytes is too large", kind.word(), raw.len()),
            });
        }
        let writer = self.writer(kind.pack_kind())?;
        let end = with_packed(self.level(raw), hash, kind, raw, |packed| {
            writer.append(&packed)
        })
        .map_err(|e| StoreError::io("compress", self.store.path(), e))?
        .map_err(|e| e.needing(|| self.added()))?;
        if end > PACK_LIMIT {
            let mut state = self.writing();
            let slot = state.slot(kind.pack_kind());
            if let Some(full) = slot.take_if(|now| Arc::ptr_eq(now, &writer)) {
                state.full.push((kind.pack_kind(), full));
            }
        }
        Ok(())
    }

    /// Adds content that is in memory.
    pub fn put_blob(&self, raw: &[u8]) -> Result<BlobHash, StoreError> {
        if raw.len() > CHUNK_ABOVE {
            let put = |hash, chunk: &[u8]| self.put(RecordKind::Blob, hash, chunk);
            return Ok(self.chunks(&mut Plain(raw), self.store.path(), put)?.0);
        }
        let hash = Hash::of(raw);
        self.put(RecordKind::Blob, hash, raw)?;
        Ok(BlobHash(hash))
    }

    /// Adds content of unknown length. `name` is for messages. With `batch`, which must not be given
    /// from inside one of its own jobs, chunks are compressed by its workers while this reads on.
    pub fn put_stream(
        self: &Arc<Self>,
        content: &mut dyn Read,
        name: &std::path::Path,
        batch: Option<&Batch>,
    ) -> Result<(BlobHash, u64), StoreError> {
        self.put_content(&mut Plain(content), name, batch, &|| Ok(()))
    }

    /// Adds content like [`Ingest::put_stream`], until `go_on` fails.
    pub fn put_content(
        self: &Arc<Self>,
        content: &mut dyn Content,
        name: &std::path::Path,
        batch: Option<&Batch>,
        go_on: &dyn Fn() -> Result<(), StoreError>,
    ) -> Result<(BlobHash, u64), StoreError> {
        self.chunks(content, name, |hash, chunk| {
            go_on()?;
            let Some(batch) = batch else {
                return self.put(RecordKind::Blob, hash, chunk);
            };
            if self.known(&hash) {
                return Ok(());
            }
            let mut own = self.buffer();
            own.extend_from_slice(chunk);
            let ingest = self.clone();
            batch.spawn(own.capacity(), move || {
                ingest.write(RecordKind::Blob, hash, &own)?;
                ingest.give_back(own);
                Ok(())
            })
        })
    }

    /// A buffer that was used before, if there is one.
    fn buffer(&self) -> Vec<u8> {
        let mut spare = self.spare.lock().unwrap_or_else(|e| e.into_inner());
        spare.pop().unwrap_or_default()
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut spare = self.spare.lock().unwrap_or_else(|e| e.into_inner());
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }

    /// Cuts content into chunks, hands each on with its hash, and adds the list of them. Short
    /// content is a blob by itself.
    fn chunks(
        &self,
        content: &mut dyn Content,
        name: &std::path::Path,
        mut put: impl FnMut(Hash, &[u8]) -> Result<(), StoreError>,
    ) -> Result<(BlobHash, u64), StoreError> {
        let mut buffer = self.buffer();
        let fill = |content: &mut dyn Content, buffer: &mut Vec<u8>, upto: usize| {
            let want = upto.saturating_sub(buffer.len()) as u64;
            let got = content
                .take(want)
                .read_to_end(buffer)
                .map_err(|e| StoreError::io("read", name, e))?;
            Ok::<bool, StoreError>((got as u64) < want)
        };
        if fill(content, &mut buffer, CHUNK_ABOVE + 1)? {
            let blob = self.put_blob(&buffer)?;
            return Ok((blob, buffer.len() as u64));
        }
        let mut whole = blake3::Hasher::new();
        let mut list = Vec::new();
        let mut size = 0u64;
        let mut ended = false;
        let mut at = 0;
        loop {
            // Nothing but zeros for long: what comes of them is known.
            let zeros = content
                .zeros()
                .map_err(|e| StoreError::io("read", name, e))?;
            let zero = ZeroChunk::get();
            let held = buffer.len() - at;
            if zeros > 0 && held as u64 + zeros >= CHUNK_MAX as u64 && is_zero(&buffer[at..]) {
                update_with_zeros(&mut whole, zero.size)?;
                put(zero.hash, &nothing_but_zeros()[..zero.size])?;
                list.extend_from_slice(zero.hash.as_bytes());
                list.extend_from_slice(&(zero.size as u32).to_le_bytes());
                size += zero.size as u64;
                let from_buffer = held.min(zero.size);
                at += from_buffer;
                content.skip((zero.size - from_buffer) as u64);
                continue;
            }
            // A cut depends on the next CHUNK_MAX bytes at most: with that many at hand, the cuts
            // do not depend on how the content arrived.
            if !ended && buffer.len() - at < CHUNK_MAX {
                buffer.drain(..at);
                at = 0;
                ended = fill(content, &mut buffer, 2 * CHUNK_MAX)?;
            }
            if at == buffer.len() {
                break;
            }
            let rest = &buffer[at..];
            let chunk = &rest[..cut(rest)];
            whole.update(chunk);
            let hash = Hash::of(chunk);
            put(hash, chunk)?;
            list.extend_from_slice(hash.as_bytes());
            list.extend_from_slice(&(chunk.len() as u32).to_le_bytes());
            size += chunk.len() as u64;
            at += chunk.len();
        }
        self.give_back(buffer);
        let hash = Hash::from_bytes(*whole.finalize().as_bytes());
        self.put(RecordKind::Chunks, hash, &list)?;
        Ok((BlobHash(hash), size))
    }

    /// Adds a manifest.
    pub fn put_manifest(&self, manifest: &Manifest) -> Result<DirHash, StoreError> {
        let bytes = manifest.encode();
        let hash = Manifest::hash_encoded(&bytes);
        self.put(RecordKind::Manifest, hash.0, &bytes)?;
        Ok(hash)
    }

    /// Adds a tree object.
    pub fn put_tree(&self, tree: &Tree) -> Result<TreeHash, StoreError> {
        let bytes = tree.encode();
        let hash = Tree::hash_encoded(&bytes);
        self.put(RecordKind::Tree, hash.0, &bytes)?;
        Ok(hash)
    }

    /// Makes all objects durable and visible, and leases `tree` to this session. Returns the bytes
    /// by which the store grew.
    pub fn commit(self, tree: TreeHash) -> Result<u64, StoreError> {
        self.commit_all(&[tree])
    }

    /// The same for several trees.
    pub fn commit_all(self, trees: &[TreeHash]) -> Result<u64, StoreError> {
        let writers: Vec<_> = {
            let mut state = self.writing();
            let data = state.data.take().map(|writer| (PackKind::Data, writer));
            let meta = state.meta.take().map(|writer| (PackKind::Meta, writer));
            state.full.drain(..).chain(data).chain(meta).collect()
        };
        let mut sealed = Vec::new();
        for (content, writer) in writers {
            let writer = Arc::into_inner(writer).ok_or_else(|| {
                let error = std::io::Error::other("a thread is still writing");
                StoreError::io("finish pack", self.store.path(), error)
            })?;
            let seal = writer.seal();
            sealed.push((content, seal.map_err(|e| e.needing(|| self.added()))?));
        }
        self.store.add_packs(&sealed, trees)?;
        let store = self.store.clone();
        // The lock goes.
        drop(self);
        if !sealed.is_empty() {
            store.keep_packs_few();
        }
        Ok(sealed.iter().map(|(_, pack)| pack.len).sum())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        let paths = std::mem::take(&mut self.writing().paths);
        for path in paths {
            // After a commit the files have other names; after a failure they are garbage, and
            // whatever cannot be removed now goes with the session.
            let _ = self.store.disk().remove(&path);
        }
    }
}

/// Content that is read once, from its beginning.
pub(crate) trait Content: Read {
    /// How many of the bytes that come next are known to be zeros without being read.
    fn zeros(&mut self) -> std::io::Result<u64> {
        Ok(0)
    }

    /// Passes over as many of those.
    fn skip(&mut self, zeros: u64) {
        let _ = zeros;
    }
}

/// Content that knows nothing of holes.
struct Plain<R>(R);

impl<R: Read> Read for Plain<R> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(out)
    }
}

impl<R: Read> Content for Plain<R> {}

/// As many zeros as the longest chunk has bytes. They are made when they are asked for: as a constant they would lie in
/// the file of every program.
pub(crate) fn nothing_but_zeros() -> &'static [u8] {
    static ZEROS: OnceLock<Vec<u8>> = OnceLock::new();
    ZEROS.get_or_init(|| vec![0; CHUNK_MAX])
}

/// The chunk that begins a run of zeros which is at least as long as the longest chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ZeroChunk {
    pub hash: Hash,
    pub size: usize,
}

impl ZeroChunk {
    pub fn get() -> ZeroChunk {
        static CHUNK: OnceLock<ZeroChunk> = OnceLock::new();
        *CHUNK.get_or_init(|| {
            let size = cut(nothing_but_zeros());
            ZeroChunk {
                hash: Hash::of(&nothing_but_zeros()[..size]),
                size,
            }
        })
    }
}

pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    bytes
        .chunks(CHUNK_MAX)
        .all(|part| part == &nothing_but_zeros()[..part.len()])
}

/// Hashing is all that zeros cost, so all processors do it.
fn update_with_zeros(whole: &mut blake3::Hasher, n: usize) -> Result<(), StoreError> {
    crate::workers::pool()?.install(|| {
        whole.update_rayon(&nothing_but_zeros()[..n]);
    });
    Ok(())
}

/// Length of the next chunk.
fn cut(rest: &[u8]) -> usize {
    if rest.len() <= CHUNK_MIN {
        return rest.len();
    }
    let end = rest.len().min(CHUNK_MAX);
    let cdc = fastcdc::v2020::FastCDC::new(&rest[..end], CHUNK_MIN, CHUNK_AVERAGE, CHUNK_MAX);
    let (_, at) = cdc.cut(0, end);
    at.clamp(1, end)
}
