//! One sealed pack, mapped.
//!
//! What the disk does not give reads as zeros (see [`Map`]). An index entry or a record that was found
//! proves itself: entry and head of the record say the same. Everything else that was read from the
//! map is confirmed before it counts, above all that something is *not* here.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::StoreError;
use crate::disk::Disk;
use crate::map::Map;

thread_local! {
    /// Decompression contexts are large and slow to make: one a thread.
    static UNZIP: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Bytes of a pack that are in our memory at most, about: more would not make anything faster.
const RESIDENT: u64 = 8 << 20;
/// What the system brings to memory at a touch.
const AROUND: u64 = 64 << 10;

/// Room to read records into, used again and again.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub stored: Vec<u8>,
    pub raw: Vec<u8>,
}

/// A sealed pack.
#[derive(Debug)]
pub(crate) struct Pack {
    pub name: String,
    pub path: PathBuf,
    map: Map,
    /// Bytes of the map touched since it was released.
    touched: AtomicU64,
    /// Offset of the index section.
    index: usize,
    count: usize,
    kind: PackKind,
    effort: Effort,
    /// The hash of the index, as its foot tells it.
    index_hash: Hash,
}

impl Pack {
    /// Maps a pack and checks head, foot and lengths; the index itself is checked where it is used.
    pub fn open(disk: &dyn Disk, name: &str, path: &Path) -> Result<Pack, StoreError> {
        let map = disk
            .map(path)
            .map_err(|e| StoreError::io("open pack", path, e))?;
        let damaged = |detail: &str| StoreError::DamagedFile {
            path: path.to_path_buf(),
            detail: detail.into(),
        };
        if map.len() < HEAD_LEN + FANOUT + FOOT_LEN {
            return Err(damaged("shorter than an empty pack"));
        }
        let mut pack = Pack {
            name: name.to_string(),
            path: path.to_path_buf(),
            map,
            touched: AtomicU64::new(0),
            index: 0,
            count: 0,
            kind: PackKind::Data,
            effort: Effort::Quick,
            index_hash: Hash::from_bytes([0; 32]),
        };
        let parsed = pack.parse();
        // Zeros in the place of what cannot be read are no damage, and no pack of this kind.
        match pack.map.lost_in(0..pack.map.len()) {
            Some(error) => Err(pack.unreadable(error)),
            None => parsed.map(|()| pack),
        }
    }

    fn parse(&mut self) -> Result<(), StoreError> {
        let map = &self.map;
        let damaged = |detail| self.damaged(detail);
        let foot = &map[map.len() - FOOT_LEN..];
        if map[..8] != HEAD_MAGIC[..] || foot[..8] != FOOT_MAGIC[..] {
            return Err(damaged("head or foot is not that of a pack"));
        }
        let version = u32_at(map, 8).unwrap_or(0);
        if version != VERSION || u32_at(foot, 8) != Some(VERSION) {
            return Err(damaged("unknown version of the pack format"));
        }
        let index = u64_at(foot, 16).and_then(|n| usize::try_from(n).ok());
        let count = u64_at(foot, 24).and_then(|n| usize::try_from(n).ok());
        let (Some(index), Some(count)) = (index, count) else {
            return Err(damaged("index lies beyond the end"));
        };
        let expected = count
            .checked_mul(ENTRY_LEN)
            .and_then(|n| n.checked_add(FANOUT))
            .and_then(|n| n.checked_add(index))
            .and_then(|n| n.checked_add(FOOT_LEN));
        if index < HEAD_LEN || expected != Some(map.len()) {
            return Err(damaged("length does not agree with the index"));
        }
        let index_hash = Hash::from_slice(&foot[32..FOOT_LEN])
            .ok_or_else(|| damaged("head or foot is not that of a pack"))?;
        self.effort = match u32_at(map, 12) {
            Some(0) | None => Effort::Quick,
            Some(_) => Effort::Thorough,
        };
        self.index_hash = index_hash;
        (self.index, self.count) = (index, count);
        // A pack is never empty, and never mixed.
        if count > 0
            && let Ok(first) = self.entry(0)
        {
            self.kind = first.kind.pack_kind();
        }
        Ok(())
    }

    /// What it holds, as far as its index tells.
    pub fn kind(&self) -> PackKind {
        self.kind
    }

    /// How hard what is in it was compressed.
    pub fn effort(&self) -> Effort {
        self.effort
    }

    /// The hash of the index, as the foot tells it.
    pub fn index_hash(&self) -> Hash {
        self.index_hash
    }

    /// The bytes before the first record.
    pub fn head(&self) -> Result<[u8; HEAD_LEN], StoreError> {
        let mut head = [0; HEAD_LEN];
        self.map
            .read_at(&mut head, 0)
            .map_err(|e| self.unreadable(e))?;
        Ok(head)
    }

    /// Objects in this pack.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Where the index begins.
    pub fn index_at(&self) -> u64 {
        self.index as u64
    }

    /// The file from its index on.
    pub fn index_bytes(&self) -> Result<Vec<u8>, StoreError> {
        let bytes = self.map[self.index..].to_vec();
        self.index_lost().map_or(Ok(bytes), Err)
    }

    /// Length of the file.
    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    fn damaged(&self, detail: impl Into<String>) -> StoreError {
        StoreError::DamagedFile {
            path: self.path.clone(),
            detail: detail.into(),
        }
    }

    fn unreadable(&self, source: io::Error) -> StoreError {
        StoreError::Unreadable {
            path: self.path.clone(),
            source,
        }
    }

    /// Tells why some of the index could not be read, if so.
    fn index_lost(&self) -> Option<StoreError> {
        let lost = self.map.lost_in(self.index..self.map.len());
        lost.map(|error| self.unreadable(error))
    }

    /// The reason for a record not to be what it should: damage, unless it could not be read.
    fn blame(&self, place: &PackEntry, damage: StoreError) -> StoreError {
        match self.confirm(place) {
            Err(unreadable) => unreadable,
            Ok(()) => damage,
        }
    }

    /// Tells whether all that was read of a record from the map is what the file has.
    pub fn confirm(&self, place: &PackEntry) -> Result<(), StoreError> {
        let start = place.offset as usize;
        self.map
            .confirm(start..start + place.record_len() as usize)
            .map_err(|error| self.unreadable(error))
    }

    fn entry_bytes(&self, at: usize) -> &[u8] {
        let start = self.index + FANOUT + at * ENTRY_LEN;
        &self.map[start..start + ENTRY_LEN]
    }

    /// The place number `at` in the order of hashes.
    pub fn entry(&self, at: usize) -> Result<PackEntry, StoreError> {
        let damaged = |what: &str| {
            self.index_lost()
                .unwrap_or_else(|| self.damaged(format!("index entry {at} {what}")))
        };
        let place = PackEntry::from_index(self.entry_bytes(at))
            .ok_or_else(|| damaged("is not well formed"))?;
        let end = place
            .offset
            .checked_add(RECORD_HEAD as u64)
            .and_then(|n| n.checked_add(place.stored));
        if place.offset < HEAD_LEN as u64 || end.is_none_or(|end| end > self.index as u64) {
            return Err(damaged("points outside"));
        }
        Ok(place)
    }

    /// Finds the number of an object. That there is none is said only of an index that was read.
    pub fn position(&self, hash: &Hash) -> Result<Option<usize>, StoreError> {
        let first = usize::from(hash.as_bytes()[0]);
        let bound = |slot: usize| {
            u32_at(&self.map, self.index + slot * 4).map_or(self.count, |n| n as usize)
        };
        let mut low = if first == 0 { 0 } else { bound(first - 1) };
        let mut high = bound(first).min(self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.entry_bytes(middle);
            match entry[..32].cmp(hash.as_bytes()) {
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                // No entry is of no kind: these are zeros, which lead nowhere.
                _ if entry[56] == 0 => return self.entry(middle).map(|_| None),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        if let Some(error) = self.index_lost() {
            return Err(error);
        }
        // A file cut short in the middle of a page ends with zeros that nobody tells of.
        if u32_at(&self.map, self.index + 255 * 4) != u32::try_from(self.count).ok() {
            return Err(self.damaged("fanout table is wrong"));
        }
        Ok(None)
    }

    /// The number of the first object whose hash is not smaller. To be compared: damage leads anywhere.
    pub fn first_from(&self, hash: &Hash) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.entry_bytes(middle)[..32] < hash.as_bytes()[..] {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Finds an object.
    pub fn find(&self, hash: &Hash) -> Result<Option<PackEntry>, StoreError> {
        self.position(hash)?.map(|at| self.entry(at)).transpose()
    }

    /// Hands on the stored bytes of a record as they lie in the file, to be copied. When they cannot be
    /// read this fails afterwards: what was made of them does not count then.
    pub fn with_stored<T>(
        &self,
        place: &PackEntry,
        take: impl FnOnce(&[u8]) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let taken = take(&self.record(place)?[RECORD_HEAD..]);
        self.confirm(place)?;
        taken
    }

    /// A record as it lies in the file, head included. To be confirmed when it was read.
    fn record(&self, place: &PackEntry) -> Result<&[u8], StoreError> {
        let start = place.offset as usize;
        let touch = place.record_len() + AROUND;
        if self.touched.fetch_add(touch, Ordering::Relaxed) > RESIDENT {
            self.touched.store(touch, Ordering::Relaxed);
            self.map.release();
        }
        let bytes = &self.map[start..start + place.record_len() as usize];
        if bytes[..RECORD_HEAD] != place.head_bytes() {
            return Err(self.blame(place, self.disagrees(place)));
        }
        Ok(bytes)
    }

    /// Reads the bytes from `from` to `to` of the file, which must not have been removed.
    pub fn load_range(&self, from: u64, to: u64, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let len = to.saturating_sub(from) as usize;
        if out.len() < len {
            // Grown once in a while: clearing it every time would cost as much as reading.
            out.resize(len.next_multiple_of(64 << 10), 0);
        }
        self.map
            .read_at(&mut out[..len], from)
            .map_err(|e| self.unreadable(e))
    }

    /// Reads an object's bytes, decompressed. What [`Pack::read_into`] says of damage holds here.
    pub fn load<'r>(&self, place: &PackEntry, room: &'r mut Room) -> Result<&'r [u8], StoreError> {
        let end = place.offset + place.record_len();
        self.load_range(place.offset, end, &mut room.stored)?;
        let record = &room.stored[..place.record_len() as usize];
        self.open_record(place, record, &mut room.raw)
    }

    /// Takes a record that was read apart: gives its bytes, decompressed into `raw` if need be.
    pub fn open_record<'r>(
        &self,
        place: &PackEntry,
        record: &'r [u8],
        raw: &'r mut Vec<u8>,
    ) -> Result<&'r [u8], StoreError> {
        let corrupt = |detail: String| StoreError::Corrupt {
            what: place.kind.word(),
            hash: place.hash,
            detail: format!("{detail} (in {})", self.name),
        };
        if record.get(..RECORD_HEAD) != Some(&place.head_bytes()[..]) {
            return Err(self.disagrees(place));
        }
        let stored = &record[RECORD_HEAD..];
        if place.flags & ZSTD == 0 {
            if stored.len() as u64 != place.raw {
                return Err(corrupt("length is wrong".into()));
            }
            return Ok(stored);
        }
        // No record is larger than this when it is written: a larger one is damage, and must not
        // make us allocate.
        if place.raw > super::write::MAX_RAW {
            return Err(corrupt(format!("length is impossible: {}", place.raw)));
        }
        raw.clear();
        raw.reserve(place.raw as usize);
        let got = unzip(stored, raw).map_err(|e| corrupt(e.to_string()))?;
        if got as u64 != place.raw {
            return Err(corrupt("length is wrong".into()));
        }
        Ok(raw)
    }

    fn disagrees(&self, place: &PackEntry) -> StoreError {
        StoreError::Corrupt {
            what: place.kind.word(),
            hash: place.hash,
            detail: format!("record in {} does not agree with the index", self.name),
        }
    }

    /// Appends an object's bytes, decompressed, to `out`. Damage that changes the length or breaks
    /// the zstd frame (which carries a checksum) is found; the hash is the caller's to check.
    pub fn read_into(&self, place: &PackEntry, out: &mut Vec<u8>) -> Result<(), StoreError> {
        let record = self.record(place)?;
        let read = if out.is_empty() && place.flags & ZSTD != 0 {
            self.open_record(place, record, out).map(|_| ())
        } else {
            let mut raw = Vec::new();
            let read = self.open_record(place, record, &mut raw);
            read.map(|bytes| out.extend_from_slice(bytes))
        };
        self.confirm(place)?;
        read
    }

    /// The stored bytes when they are not compressed. To be confirmed when they were read.
    pub fn plain(&self, place: &PackEntry) -> Result<Option<&[u8]>, StoreError> {
        if place.flags & ZSTD != 0 || place.stored != place.raw {
            return Ok(None);
        }
        Ok(Some(&self.record(place)?[RECORD_HEAD..]))
    }

    /// Checks the index as a whole: its checksum, order and fanout.
    pub fn check_index(&self) -> Result<(), StoreError> {
        let end = self.map.len() - FOOT_LEN;
        let foot = &self.map[end..];
        let sum = blake3::hash(&self.map[self.index..end]);
        if let Some(error) = self.index_lost() {
            return Err(error);
        }
        if sum.as_bytes()[..] != foot[32..64] {
            return Err(self.damaged("checksum of the index is wrong"));
        }
        if foot[12..16] != [0; 4] {
            return Err(self.damaged("foot has bytes that mean nothing"));
        }
        let mut last: Option<Hash> = None;
        for at in 0..self.count {
            let place = self.entry(at)?;
            if last.is_some_and(|last| last >= place.hash) {
                return Err(self.damaged("index is not sorted"));
            }
            if self.position(&place.hash)? != Some(at) {
                return Err(self.damaged("fanout table is wrong"));
            }
            last = Some(place.hash);
        }
        Ok(())
    }
}

/// Decompresses one frame into the room that `out` has.
pub(crate) fn unzip(stored: &[u8], out: &mut Vec<u8>) -> io::Result<usize> {
    UNZIP.with_borrow_mut(|slot| {
        let unzip = match slot {
            Some(unzip) => unzip,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        unzip.decompress_to_buffer(stored, out)
    })
}
