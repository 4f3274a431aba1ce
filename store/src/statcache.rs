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
    xattrs: Vec<u8>,
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
        let path = store.path().join("cache").join(name);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let old = store.disk().map(&path).ok().filter(|map| is_sound(map));
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

    /// Looks up an unchanged file.
    pub fn get(&self, key: &Key) -> Option<(BlobHash, Attributes)> {
        let (mut low, mut high) = (0, self.count);
        let want = (key.device, key.inode);
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
        let (from, len) = (u64_at(record, 80) as usize, u64_at(record, 88) as usize);
        let mut xattrs = Vec::new();
        if len > 0 {
            let bytes = self.old.as_ref()?.get(from..from.checked_add(len)?)?;
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
            Vec::new()
        } else {
            let list: Vec<_> = xattrs
                .iter()
                .map(|(n, v)| (Bytes(n.clone()), Bytes(v.clone())))
                .collect();
            codec::encode(&list)
        };
        let mut fresh = self.fresh.lock().unwrap_or_else(|e| e.into_inner());
        fresh.push(Fresh { key, blob, xattrs });
    }

    /// Writes the cache for next time, if anything is new. Failing to is no failure of the import.
    pub fn save(self, store: &Store) {
        let mut fresh = self.fresh.lock().unwrap_or_else(|e| e.into_inner());
        let kept = self
            .used
            .iter()
            .map(|bits| bits.load(Ordering::Relaxed).count_ones() as usize)
            .sum::<usize>();
        if fresh.is_empty() && kept == self.count {
            return;
        }
        fresh.sort_unstable_by_key(|f| (f.key.device, f.key.inode));
        fresh.dedup_by_key(|f| (f.key.device, f.key.inode));
        let mut records: Vec<([u8; 80], &[u8])> = Vec::with_capacity(kept + fresh.len());
        for at in 0..self.count {
            let record = self.record(at);
            let is_used = self.used[at / 64].load(Ordering::Relaxed) >> (at % 64) & 1 == 1;
            let own = (u64_at(record, 0), u64_at(record, 8));
            let replaced = fresh
                .binary_search_by_key(&own, |f| (f.key.device, f.key.inode))
                .is_ok();
            if !is_used || replaced {
                continue;
            }
            let (from, len) = (u64_at(record, 80) as usize, u64_at(record, 88) as usize);
            let xattrs = self.old.as_ref().and_then(|map| map.get(from..from + len));
            if let (Ok(head), Some(xattrs)) = (record[..80].try_into(), xattrs) {
                records.push((head, xattrs));
            }
        }
        if !self.was_read() {
            records.clear();
        }
        for f in fresh.iter() {
            let mut head = [0; 80];
            head[..48].copy_from_slice(&f.key.bytes());
            head[48..].copy_from_slice(f.blob.0.as_bytes());
            records.push((head, &f.xattrs));
        }
        let order = |r: &([u8; 80], &[u8])| (u64_at(&r.0, 0), u64_at(&r.0, 8));
        records.sort_by_key(order);
        let mut out = Vec::with_capacity(HEAD + records.len() * RECORD + TAIL);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&(records.len() as u64).to_le_bytes());
        out.extend_from_slice(&1u64.to_le_bytes());
        let mut at = (HEAD + records.len() * RECORD) as u64;
        for (head, xattrs) in &records {
            out.extend_from_slice(head);
            out.extend_from_slice(&at.to_le_bytes());
            out.extend_from_slice(&(xattrs.len() as u64).to_le_bytes());
            at += xattrs.len() as u64;
        }
        for (_, xattrs) in &records {
            out.extend_from_slice(xattrs);
        }
        let check = blake3::hash(&out);
        out.extend_from_slice(check.as_bytes());
        let write = || -> std::io::Result<()> {
            let session = store.session().map_err(std::io::Error::other)?;
            let name = random_name().map_err(std::io::Error::other)?;
            let new = session.tmp.join(format!("statcache-{name}"));
            // A crash leaves what the checksum refuses: nothing needs to be synced.
            store.disk().create(&new)?.write_at(&out, 0)?;
            store.disk().rename(&new, &self.path)
        };
        let _ = write();
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
    records.is_some_and(|n| n <= end - HEAD)
        && blake3::hash(&map[..end]).as_bytes()[..] == map[end..]
}
