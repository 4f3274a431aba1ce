//! Remembers which content a file had, by inode and times, so that an unchanged directory is
//! imported by a walk alone.
//!
//! One file in `cache/` for every directory imported. It is only a cache: damaged or missing, files
//! are read again. A file is remembered only if it had not changed for a while when the import
//! began: a later change then has another ctime even where clocks tick slowly. The ctime covers
//! attributes, owners and modes too, and cannot be set back.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;

use crate::attributes::Attributes;
use crate::codec::{self, Bytes};
use crate::disk::Disk;
use crate::map::Map;
use crate::session::random_name;
use crate::{BlobHash, Hash, Store};

const MAGIC: &[u8; 16] = b"mstore statcache";
const HEAD: usize = 32;
const RECORD: usize = 96;
const TAIL: usize = 32;
/// Clocks of kernels tick at most this slowly.
const TICK: i128 = 20_000_000;
/// Some file systems keep whole seconds, or two.
const COARSE: i128 = 2_000_000_000;

/// What must be equal for a file to count as unchanged. Sorted by device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    device: u64,
    inode: u64,
    size: u64,
    mtime: (i64, u32),
    ctime: (i64, u32),
}

impl Key {
    pub fn of(stat: &Stat) -> Key {
        Key {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size.unsigned_abs(),
            mtime: (stat.st_mtime, stat.st_mtime_nsec as u32),
            ctime: (stat.st_ctime, stat.st_ctime_nsec as u32),
        }
    }

    fn inode(&self) -> (u64, u64) {
        (self.device, self.inode)
    }

    fn bytes(&self) -> [u8; 48] {
        let mut out = [0; 48];
        out[..8].copy_from_slice(&self.device.to_le_bytes());
        out[8..16].copy_from_slice(&self.inode.to_le_bytes());
        out[16..24].copy_from_slice(&self.size.to_le_bytes());
        out[24..32].copy_from_slice(&self.mtime.0.to_le_bytes());
        out[32..40].copy_from_slice(&self.ctime.0.to_le_bytes());
        out[40..44].copy_from_slice(&self.mtime.1.to_le_bytes());
        out[44..].copy_from_slice(&self.ctime.1.to_le_bytes());
        out
    }

    /// Tells whether a change from `start` on would show in the ctime.
    fn is_settled(&self, start: i128) -> bool {
        let coarse = self.mtime.1 == 0 && self.ctime.1 == 0;
        let changed = i128::from(self.ctime.0) * 1_000_000_000 + i128::from(self.ctime.1);
        changed + if coarse { COARSE } else { TICK } < start
    }
}

#[derive(Debug)]
struct Fresh {
    key: Key,
    blob: BlobHash,
    xattrs: Box<[u8]>,
}

/// The cache of one imported directory.
#[derive(Debug)]
pub(crate) struct StatCache {
    path: PathBuf,
    start: i128,
    old: Option<Map>,
    count: usize,
    /// One bit for each old record that is still true.
    used: Vec<AtomicU64>,
    fresh: Mutex<Vec<Fresh>>,
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

impl StatCache {
    /// Opens the cache of the directory with this device and inode.
    pub fn open(store: &Store, top: (u64, u64), kind: &str) -> StatCache {
        let name = format!("{:x}-{:x}-{kind}", top.0, top.1);
        StatCache::at(store.disk(), store.path().join("cache").join(name))
    }

    /// Opens the cache in a file. One that is damaged or missing knows nothing.
    pub fn at(disk: &dyn Disk, path: PathBuf) -> StatCache {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let old = disk.map(&path).ok().filter(|map| is_sound(map));
        let count = old.as_ref().map_or(0, |map| u64_at(map, 16) as usize);
        StatCache {
            path,
            start: now.map_or(0, |d| d.as_nanos() as i128),
            old,
            count,
            used: (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            fresh: Mutex::default(),
        }
    }

    /// Tells whether the disk gave all that was read so far: zeros would be believed.
    fn was_read(&self) -> bool {
        let old = self.old.as_ref();
        old.is_none_or(|map| map.lost_in(0..map.len()).is_none())
    }

    fn record(&self, at: usize) -> &[u8] {
        match &self.old {
            Some(map) => &map[HEAD + at * RECORD..HEAD + (at + 1) * RECORD],
            None => &[],
        }
    }

    /// The encoded attributes of a record; empty when it has none.
    fn attributes(&self, record: &[u8]) -> Option<&[u8]> {
        let (from, len) = (u64_at(record, 80) as usize, u64_at(record, 88) as usize);
        if len == 0 {
            return Some(&[]);
        }
        self.old.as_ref()?.get(from..from.checked_add(len)?)
    }

    /// Looks up an unchanged file.
    pub fn get(&self, key: &Key) -> Option<(BlobHash, Attributes)> {
        let (mut low, mut high) = (0, self.count);
        let want = key.inode();
        while low < high {
            let middle = low + (high - low) / 2;
            let record = self.record(middle);
            let found = (u64_at(record, 0), u64_at(record, 8));
            if found < want {
                low = middle + 1;
            } else if found > want {
                high = middle;
            } else {
                return self.take(middle, key);
            }
        }
        None
    }

    fn take(&self, at: usize, key: &Key) -> Option<(BlobHash, Attributes)> {
        let record = self.record(at);
        if record.get(..48)? != key.bytes() {
            return None;
        }
        let blob = BlobHash(Hash::from_slice(&record[48..80])?);
        let bytes = self.attributes(record)?;
        let mut xattrs = Vec::new();
        if !bytes.is_empty() {
            let list: Vec<(Bytes, Bytes)> = codec::decode(bytes, bytes.len()).ok()?;
            xattrs = list.into_iter().map(|(n, v)| (n.0, v.0)).collect();
        }
        if !self.was_read() {
            return None;
        }
        self.used[at / 64].fetch_or(1 << (at % 64), Ordering::Relaxed);
        Some((blob, xattrs))
    }

    /// Remembers a file that was read.
    pub fn add(&self, key: Key, blob: BlobHash, xattrs: &Attributes) {
        if !key.is_settled(self.start) {
            return;
        }
        let xattrs = if xattrs.is_empty() {
            Box::default()
        } else {
            let list: Vec<_> = xattrs
                .iter()
                .map(|(n, v)| (Bytes(n.clone()), Bytes(v.clone())))
                .collect();
            codec::encode(&list).into_boxed_slice()
        };
        let mut fresh = self.fresh.lock().unwrap_or_else(|e| e.into_inner());
        fresh.push(Fresh { key, blob, xattrs });
    }

    /// Tells whether there is something to write for next time.
    fn has_news(&self) -> bool {
        let fresh = self.fresh.lock().unwrap_or_else(|e| e.into_inner());
        !fresh.is_empty() || !(0..self.count).all(|at| self.is_used(at))
    }

    fn is_used(&self, at: usize) -> bool {
        self.used[at / 64].load(Ordering::Relaxed) >> (at % 64) & 1 == 1
    }

    /// Writes the cache for next time, if anything is new. Failing to is no failure of the import.
    pub fn save(self, store: &Store) {
        if !self.has_news() {
            return;
        }
        let write = || -> std::io::Result<()> {
            let session = store.session().map_err(std::io::Error::other)?;
            let name = random_name().map_err(std::io::Error::other)?;
            let new = session.tmp.join(format!("statcache-{name}"));
            // A crash leaves what the checksum refuses: nothing needs to be synced.
            let file = store.disk().create(&new)?;
            self.write(|bytes, at| file.write_at(bytes, at))?;
            if !self.was_read() {
                // What cannot be read is no cache: next time there is none, and a new one is written.
                return store.disk().remove(&new);
            }
            store.disk().rename(&new, &self.path)
        };
        let _ = write();
    }

    /// Hands the bytes of the new cache to `write_at`, front to back.
    fn write(
        &self,
        write_at: impl FnMut(&[u8], u64) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        let mut fresh = self.fresh.lock().unwrap_or_else(|e| e.into_inner());
        fresh.sort_unstable_by_key(|f| f.key.inode());
        fresh.dedup_by_key(|f| f.key.inode());
        let mut out = Output::new(write_at);
        let count = self.kept(&fresh).count();
        out.put(MAGIC)?;
        out.put(&(count as u64).to_le_bytes())?;
        out.put(&1u64.to_le_bytes())?;
        let mut at = (HEAD + count * RECORD) as u64;
        for (head, xattrs) in self.kept(&fresh) {
            out.put(&head)?;
            out.put(&at.to_le_bytes())?;
            out.put(&(xattrs.len() as u64).to_le_bytes())?;
            at += xattrs.len() as u64;
        }
        for (_, xattrs) in self.kept(&fresh) {
            out.put(xattrs)?;
        }
        out.finish()
    }

    /// All records to write, in order: old ones that are still true, and new ones. Made twice, so that
    /// they need not be held.
    fn kept<'c>(&'c self, fresh: &'c [Fresh]) -> impl Iterator<Item = ([u8; 80], &'c [u8])> + 'c {
        let mut new = fresh.iter().peekable();
        let mut at = 0;
        std::iter::from_fn(move || {
            loop {
                let old = (at < self.count).then(|| self.record(at));
                let old_inode = old.map(|record| (u64_at(record, 0), u64_at(record, 8)));
                let next = new.peek().map(|f| f.key.inode());
                if let (Some(record), Some(inode)) = (old, old_inode)
                    && next.is_none_or(|next| inode <= next)
                {
                    at += 1;
                    if !self.is_used(at - 1) || next == Some(inode) {
                        continue;
                    }
                    match (record[..80].try_into(), self.attributes(record)) {
                        (Ok(head), Some(xattrs)) => return Some((head, xattrs)),
                        _ => continue,
                    }
                }
                let f = new.next()?;
                let mut head = [0; 80];
                head[..48].copy_from_slice(&f.key.bytes());
                head[48..].copy_from_slice(f.blob.0.as_bytes());
                return Some((head, &f.xattrs[..]));
            }
        })
    }
}

/// A file written front to back in large pieces, with the hash of all of it at its end.
struct Output<W> {
    write_at: W,
    at: u64,
    piece: Vec<u8>,
    hash: blake3::Hasher,
}

/// Bytes gathered before they are written.
const PIECE: usize = 1 << 20;

impl<W: FnMut(&[u8], u64) -> std::io::Result<()>> Output<W> {
    fn new(write_at: W) -> Output<W> {
        Output {
            write_at,
            at: 0,
            piece: Vec::new(),
            hash: blake3::Hasher::new(),
        }
    }

    fn put(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.hash.update(&self.piece);
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        (self.write_at)(&self.piece, self.at)?;
        self.at += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }

    fn finish(mut self) -> std::io::Result<()> {
        self.hash.update(&self.piece);
        let hash = self.hash.finalize();
        self.piece.extend_from_slice(hash.as_bytes());
        self.flush()
    }
}

fn is_sound(map: &[u8]) -> bool {
    if map.len() < HEAD + TAIL || map[..16] != MAGIC[..] || u64_at(map, 24) != 1 {
        return false;
    }
    let end = map.len() - TAIL;
    let records = usize::try_from(u64_at(map, 16))
        .ok()
        .and_then(|count| count.checked_mul(RECORD));
    let Some(records) = records.filter(|n| *n <= end - HEAD) else {
        return false;
    };
    let records = map[HEAD..HEAD + records].chunks_exact(RECORD);
    blake3::hash(&map[..end]).as_bytes()[..] == map[end..]
        && records
            .map(|record| (u64_at(record, 0), u64_at(record, 8)))
            .is_sorted_by(|a, b| a < b)
}

#[cfg(any(test, feature = "fuzzing"))]
impl StatCache {
    /// What would be written for next time, if anything is new.
    pub fn merged(&self) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut write = |bytes: &[u8], _| {
            out.extend_from_slice(bytes);
            Ok(())
        };
        if !self.has_news() || self.write(&mut write).is_err() {
            return None;
        }
        Some(out)
    }
}

/// For the fuzz targets.
#[cfg(feature = "fuzzing")]
impl StatCache {
    /// The files that the records of a cache are about, in whatever order they lie.
    pub fn keys_in(bytes: &[u8]) -> Vec<Key> {
        let end = bytes.len().saturating_sub(TAIL).max(HEAD).min(bytes.len());
        let records = bytes.get(HEAD..end).unwrap_or_default();
        let half = |record: &[u8], at: usize| u64_at(record, at) as u32;
        records
            .chunks_exact(RECORD)
            .map(|record| Key {
                device: u64_at(record, 0),
                inode: u64_at(record, 8),
                size: u64_at(record, 16),
                mtime: (u64_at(record, 24) as i64, half(record, 40)),
                ctime: (u64_at(record, 32) as i64, half(record, 44)),
            })
            .collect()
    }

    /// The bytes of a cache that knows a file for each of these lists of attributes.
    pub fn sample(disk: &dyn Disk, path: PathBuf, attributes: &[Attributes]) -> Vec<u8> {
        let cache = StatCache::at(disk, path);
        for (inode, xattrs) in (0u64..).zip(attributes) {
            let key = Key {
                device: 1,
                inode,
                size: inode,
                mtime: (0, 1),
                ctime: (1, 0),
            };
            cache.add(key, BlobHash(Hash::of(&inode.to_le_bytes())), xattrs);
        }
        cache.merged().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    fn key(inode: u64) -> Key {
        Key {
            device: 1,
            inode,
            size: 7,
            mtime: (0, 1),
            ctime: (1, 0),
        }
    }

    /// Found by the fuzz target `statcache`: a record without attributes, whose place for them was
    /// wrong, was used, and lost when the file was written anew.
    #[test]
    fn what_is_used_is_written_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cache");
        let cache = StatCache::at(&RealDisk::ANYWHERE, path.clone());
        let blob = |n: u8| BlobHash(Hash::of(&[n]));
        cache.add(key(1), blob(1), &Vec::new());
        let mut bytes = cache.merged().unwrap();
        let end = bytes.len() - TAIL;
        bytes[HEAD + 80..HEAD + 88].fill(255);
        let check = blake3::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(check.as_bytes());
        std::fs::write(&path, bytes).unwrap();
        let cache = StatCache::at(&RealDisk::ANYWHERE, path.clone());
        assert_eq!(cache.get(&key(1)), Some((blob(1), Vec::new())));
        let attributes = vec![(b"user.a".to_vec(), b"b".to_vec())];
        cache.add(key(2), blob(2), &attributes);
        let new = cache.merged().unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, new).unwrap();
        let cache = StatCache::at(&RealDisk::ANYWHERE, path);
        assert_eq!(cache.get(&key(1)), Some((blob(1), Vec::new())));
        assert_eq!(cache.get(&key(2)), Some((blob(2), attributes)));
        assert!(cache.merged().is_none());
    }
}
