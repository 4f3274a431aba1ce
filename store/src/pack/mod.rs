//! Pack files: many objects in one sealed file with a sorted index at its end.
//!
//! The layout is a contract, described byte by byte in `doc/store-format.md`.

mod catalogue;
mod files;
mod read;
mod rule;
mod set;
mod sum;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use catalogue::{CATALOGUE, Catalogue, Listed, write_catalogue};
pub(crate) use files::{PackFile, PackFiles, PackRow};
pub(crate) use read::{Pack, Room, unzip};
pub(crate) use rule::Rule;
pub(crate) use set::PackSet;
pub(crate) use sum::{RecordsHash, is_own_hash};
pub(crate) use write::{
    Effort, LEVEL_FAST, LEVEL_FIRST, LEVEL_THOROUGH, MAX_RAW, PackWriter, Packed, SealedPack,
    with_packed,
};

use crate::Hash;

/// File name extension of packs.
pub(crate) const EXTENSION: &str = ".pack";

pub(crate) const HEAD_MAGIC: &[u8; 8] = b"mstorepk";
pub(crate) const FOOT_MAGIC: &[u8; 8] = b"mstoreix";
pub(crate) const VERSION: u32 = 1;
pub(crate) const HEAD_LEN: usize = 16;
pub(crate) const FOOT_LEN: usize = 64;
pub(crate) const RECORD_HEAD: usize = 56;
pub(crate) const FANOUT: usize = 256 * 4;
pub(crate) const ENTRY_LEN: usize = 64;
/// Set when the stored bytes are a zstd frame.
pub(crate) const ZSTD: u8 = 1;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

/// What a pack holds. Objects that name others never share a pack with contents, so that the
/// collector can always remove every dead one of them: a tree that can be found is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PackKind {
    /// Blobs.
    Data,
    /// Trees, manifests, lists of chunks.
    Meta,
}

impl PackKind {
    /// The word in the database.
    pub fn word(self) -> &'static str {
        match self {
            PackKind::Data => "data",
            PackKind::Meta => "meta",
        }
    }

    /// The kind of which this is the word.
    pub fn of_word(word: &str) -> Option<PackKind> {
        [PackKind::Data, PackKind::Meta]
            .into_iter()
            .find(|kind| kind.word() == word)
    }
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum RecordKind {
    /// Content of a file, or a chunk of one.
    Blob = 1,
    /// Content of a large file, stored as a list of chunks.
    Chunks = 2,
    /// A manifest.
    Manifest = 3,
    /// A tree object.
    Tree = 4,
}

impl RecordKind {
    pub fn from_number(number: u8) -> Option<RecordKind> {
        Some(match number {
            1 => RecordKind::Blob,
            2 => RecordKind::Chunks,
            3 => RecordKind::Manifest,
            4 => RecordKind::Tree,
            _ => return None,
        })
    }

    /// The kind of pack that it goes to.
    pub fn pack_kind(self) -> PackKind {
        match self {
            RecordKind::Blob => PackKind::Data,
            RecordKind::Chunks | RecordKind::Manifest | RecordKind::Tree => PackKind::Meta,
        }
    }

    /// The word for messages.
    pub fn word(self) -> &'static str {
        match self {
            RecordKind::Blob | RecordKind::Chunks => "blob",
            RecordKind::Manifest => "manifest",
            RecordKind::Tree => "tree",
        }
    }
}

/// Where an object lies in its pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PackEntry {
    pub hash: Hash,
    /// Offset of the record's head.
    pub offset: u64,
    /// Bytes after the head.
    pub stored: u64,
    /// Bytes when decompressed.
    pub raw: u64,
    pub kind: RecordKind,
    pub flags: u8,
}

impl PackEntry {
    /// Bytes that the record takes in the pack.
    pub fn record_len(&self) -> u64 {
        PackEntry::record_len_of(self.stored)
    }

    /// Bytes that a record with that number of stored bytes takes. Does not overflow: such a record is none.
    pub fn record_len_of(stored: u64) -> u64 {
        stored.saturating_add(RECORD_HEAD as u64)
    }

    pub fn index_bytes(&self) -> [u8; ENTRY_LEN] {
        let mut out = [0; ENTRY_LEN];
        out[..32].copy_from_slice(self.hash.as_bytes());
        out[32..40].copy_from_slice(&self.offset.to_le_bytes());
        out[40..48].copy_from_slice(&self.stored.to_le_bytes());
        out[48..56].copy_from_slice(&self.raw.to_le_bytes());
        out[56] = self.kind as u8;
        out[57] = self.flags;
        out
    }

    pub fn head_bytes(&self) -> [u8; RECORD_HEAD] {
        let mut out = [0; RECORD_HEAD];
        out[..4].copy_from_slice(b"mobj");
        out[4] = self.kind as u8;
        out[5] = self.flags;
        out[8..16].copy_from_slice(&self.stored.to_le_bytes());
        out[16..24].copy_from_slice(&self.raw.to_le_bytes());
        out[24..56].copy_from_slice(self.hash.as_bytes());
        out
    }

    /// Reads the head of a record; `None` when it is not well formed. The offset is that of nothing.
    pub fn from_head(bytes: &[u8]) -> Option<PackEntry> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let place = PackEntry {
            hash: Hash::from_slice(bytes.get(24..RECORD_HEAD)?)?,
            offset: 0,
            stored: number(8)?,
            raw: number(16)?,
            kind: RecordKind::from_number(bytes[4])?,
            flags: bytes[5],
        };
        (place.flags <= ZSTD && bytes[..RECORD_HEAD] == place.head_bytes()).then_some(place)
    }

    /// Reads one entry of an index; `None` when it is not well formed.
    pub fn from_index(bytes: &[u8]) -> Option<PackEntry> {
        let number = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        if bytes.len() != ENTRY_LEN || bytes[58..].iter().any(|b| *b != 0) || bytes[57] > ZSTD {
            return None;
        }
        Some(PackEntry {
            hash: Hash::from_slice(&bytes[..32])?,
            offset: number(32)?,
            stored: number(40)?,
            raw: number(48)?,
            kind: RecordKind::from_number(bytes[56])?,
            flags: bytes[57],
        })
    }
}
