//! One object on its way: as it is stored, and not to be believed.

use crate::Hash;
use crate::ingest::CHUNK_ABOVE;
use crate::manifest::{Manifest, Tree};
use crate::objects::parse_chunks;
use crate::pack::{PackEntry, Packed, RECORD_HEAD, RecordKind, ZSTD, unzip};

/// Largest manifest or tree record that is taken from elsewhere.
const MAX_RECORD: u64 = 256 << 20;
/// Longest list of chunks that is taken from elsewhere: a file of about two terabytes.
const MAX_LIST: u64 = 64 << 20;

/// An object as it is stored, compressed or not. What it says of itself is checked only by the
/// receiver.
#[derive(Clone, Debug)]
pub struct Object {
    place: PackEntry,
    stored: Vec<u8>,
}

impl Object {
    /// Bytes of a record before the stored bytes.
    pub const HEAD: usize = RECORD_HEAD;

    pub(crate) fn new(place: PackEntry, stored: &[u8]) -> Object {
        Object {
            place,
            stored: stored.to_vec(),
        }
    }

    /// The hash that it goes by.
    pub fn hash(&self) -> Hash {
        self.place.hash
    }

    /// Bytes that its record takes.
    pub fn record_len(&self) -> u64 {
        self.place.record_len()
    }

    /// Bytes of its content.
    pub fn raw_len(&self) -> u64 {
        self.place.raw
    }

    /// The head of its record; the stored bytes follow it.
    pub fn head(&self) -> [u8; RECORD_HEAD] {
        self.place.head_bytes()
    }

    /// The stored bytes.
    pub fn stored(&self) -> &[u8] {
        &self.stored
    }

    /// How many stored bytes follow a head; `None` when it is not the head of a record that a
    /// receiver would take.
    pub fn stored_len(head: &[u8]) -> Option<u64> {
        let place = PackEntry::from_head(head)?;
        acceptable(&place).ok()?;
        Some(place.stored)
    }

    /// Reads a whole record.
    pub fn from_record(record: &[u8]) -> Option<Object> {
        let place = PackEntry::from_head(record.get(..RECORD_HEAD)?)?;
        let stored = &record[RECORD_HEAD..];
        (stored.len() as u64 == place.stored).then(|| Object::new(place, stored))
    }

    pub(crate) fn kind(&self) -> RecordKind {
        self.place.kind
    }

    pub(crate) fn packed(&self) -> Packed<'_> {
        Packed {
            hash: self.place.hash,
            kind: self.place.kind,
            raw: self.place.raw,
            flags: self.place.flags,
            stored: &self.stored,
        }
    }

    /// Decompresses it into `buffer` and compares content and name. The content of a list of chunks
    /// can be compared only when the chunks are there.
    pub(crate) fn open(&self, buffer: &mut Vec<u8>) -> Result<(), String> {
        acceptable(&self.place)?;
        buffer.clear();
        if self.place.flags & ZSTD == 0 {
            buffer.extend_from_slice(&self.stored);
        } else {
            check_frame(&self.stored, self.place.raw)?;
            // Bounded above, and equal to what the frame itself says.
            buffer.reserve_exact(self.place.raw as usize);
            let got = unzip(&self.stored, buffer).map_err(|e| e.to_string())?;
            if got as u64 != self.place.raw {
                return Err("its length is wrong".into());
            }
        }
        let name = match self.place.kind {
            RecordKind::Blob => Hash::of(buffer),
            RecordKind::Manifest => Manifest::hash_encoded(buffer).0,
            RecordKind::Tree => Tree::hash_encoded(buffer).0,
            RecordKind::Chunks => {
                let list = parse_chunks(self.place.hash, buffer).map_err(|e| e.to_string())?;
                let whole: u64 = list.iter().map(|(_, size)| u64::from(*size)).sum();
                if whole <= CHUNK_ABOVE as u64 {
                    return Err("its content is too short for a list of chunks".into());
                }
                self.place.hash
            }
        };
        if name != self.place.hash {
            return Err("its content does not have this hash".into());
        }
        Ok(())
    }
}

/// Whether the lengths that a record tells are possible at all, so that nothing is allocated for
/// those that are not.
fn acceptable(place: &PackEntry) -> Result<(), String> {
    let limit = match place.kind {
        RecordKind::Blob => CHUNK_ABOVE as u64,
        RecordKind::Chunks => MAX_LIST,
        RecordKind::Manifest | RecordKind::Tree => MAX_RECORD,
    };
    if place.raw > limit {
        return Err(format!(
            "{} of {} bytes is longer than the limit of {limit}",
            place.kind.word(),
            place.raw
        ));
    }
    let fits = if place.flags & ZSTD == 0 {
        place.stored == place.raw
    } else {
        place.stored < place.raw
    };
    if fits {
        Ok(())
    } else {
        Err("its stored length is impossible".into())
    }
}

/// Makes sure that compressed bytes are what the format says: one frame, which tells its length and
/// has a checksum. Reading relies on the checksum.
fn check_frame(stored: &[u8], raw: u64) -> Result<(), String> {
    let refuse = || "its compressed form is not that of the format".to_string();
    // Of the descriptor's bits in the middle only the one that announces a checksum may be set.
    let magic = zstd::zstd_safe::MAGICNUMBER.to_le_bytes();
    if stored.len() < 6 || stored[..4] != magic || stored[4] & 0x1c != 4 {
        return Err(refuse());
    }
    let size = zstd::zstd_safe::get_frame_content_size(stored).map_err(|_| refuse())?;
    let one = zstd::zstd_safe::find_frame_compressed_size(stored).map_err(|_| refuse())?;
    if size != Some(raw) || one != stored.len() {
        return Err(refuse());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::with_packed;

    fn made(kind: RecordKind, hash: Hash, raw: &[u8]) -> Object {
        with_packed(crate::pack::LEVEL_FIRST, hash, kind, raw, |p| {
            let place = PackEntry {
                hash: p.hash,
                offset: 0,
                stored: p.stored.len() as u64,
                raw: p.raw,
                kind: p.kind,
                flags: p.flags,
            };
            Object::new(place, p.stored)
        })
        .unwrap()
    }

    #[test]
    fn good_objects_pass_and_every_flipped_bit_is_seen() {
        let raw = b"some content that compresses well ".repeat(50);
        let object = made(RecordKind::Blob, Hash::of(&raw), &raw);
        assert!(object.stored().len() < raw.len());
        let mut buffer = Vec::new();
        object.open(&mut buffer).unwrap();
        assert_eq!(buffer, raw);
        let mut record = object.head().to_vec();
        record.extend_from_slice(object.stored());
        for at in 0..record.len() {
            for bit in 0..8 {
                let mut bad = record.clone();
                bad[at] ^= 1 << bit;
                let opened = Object::from_record(&bad).map(|o| o.open(&mut buffer).is_ok());
                assert_ne!(opened, Some(true), "byte {at} bit {bit}");
            }
        }
        assert!(Object::from_record(&record[..record.len() - 1]).is_none());
    }

    #[test]
    fn bombs_are_refused_before_anything_is_allocated() {
        let bomb = vec![0; 64 << 20];
        let object = made(RecordKind::Blob, Hash::of(&bomb), &bomb);
        assert!(object.stored().len() < 10_000);
        assert!(Object::stored_len(&object.head()).is_none());
        let mut buffer = Vec::new();
        assert!(object.open(&mut buffer).unwrap_err().contains("limit"));
        assert_eq!(buffer.capacity(), 0);
        // One that lies about its length.
        let mut small = object.clone();
        small.place.raw = 4096.max(small.stored.len() as u64 + 1);
        assert!(small.open(&mut buffer).is_err());
        assert_eq!(buffer.capacity(), 0);
    }

    #[test]
    fn frames_without_checksum_or_with_company_are_refused() {
        let raw = vec![7; 1000];
        let mut object = made(RecordKind::Blob, Hash::of(&raw), &raw);
        object.stored = zstd::bulk::compress(&raw, 1).unwrap();
        object.place.stored = object.stored.len() as u64;
        let mut buffer = Vec::new();
        assert!(object.open(&mut buffer).is_err());
        let mut object = made(RecordKind::Blob, Hash::of(&raw), &raw);
        let again = object.stored.clone();
        object.stored.extend_from_slice(&again);
        object.place.stored = object.stored.len() as u64;
        assert!(object.open(&mut buffer).is_err());
    }
}
