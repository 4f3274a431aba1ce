//! The hash of all that lies before the index of a pack.
//!
//! It goes over the head of the pack and, for each record in the order of the file, over its head and the hash
//! of its stored bytes. A content that is stored as it is has that hash already, so that an addition hashes
//! compressed bytes alone, and a verification reads nothing twice.

use super::{PackEntry, RecordKind, ZSTD};
use crate::Hash;

/// Of a pack that is being written or read.
#[derive(Debug)]
pub(crate) struct RecordsHash(blake3::Hasher);

impl RecordsHash {
    /// Begins with the head of a pack.
    pub fn new(head: &[u8]) -> RecordsHash {
        let mut hasher = blake3::Hasher::new_derive_key("mstore 2026-11-28 records of a pack");
        hasher.update(head);
        RecordsHash(hasher)
    }

    /// Goes on with the record that lies next.
    pub fn add(&mut self, entry: &PackEntry, stored: &Hash) {
        self.0.update(&entry.head_bytes());
        self.0.update(stored.as_bytes());
    }

    /// The hash.
    pub fn finish(&self) -> Hash {
        Hash::from_bytes(*self.0.finalize().as_bytes())
    }
}

/// Whether the stored bytes of an object have the object's own hash.
pub(crate) fn is_own_hash(kind: RecordKind, flags: u8) -> bool {
    kind == RecordKind::Blob && flags & ZSTD == 0
}
