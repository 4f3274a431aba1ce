//! The index of a pack that is elsewhere.

use crate::Hash;
use crate::pack::{ENTRY_LEN, FANOUT, FOOT_LEN, FOOT_MAGIC, HEAD_LEN, PackEntry, VERSION};

/// The end of a pack, from its index on, checked as a whole.
#[derive(Debug)]
pub(crate) struct RemoteIndex {
    bytes: Vec<u8>,
    count: usize,
}

impl RemoteIndex {
    /// Bytes of an index of N objects.
    pub fn len_of(count: u64) -> Option<u64> {
        count
            .checked_mul(ENTRY_LEN as u64)?
            .checked_add((FANOUT + FOOT_LEN) as u64)
    }

    /// Checks everything that an index promises: nothing in it points outside the records.
    pub fn parse(bytes: Vec<u8>, index_at: u64, count: u64) -> Result<RemoteIndex, String> {
        let refuse = |detail: &str| Err(format!("its index {detail}"));
        if RemoteIndex::len_of(count) != Some(bytes.len() as u64) {
            return refuse("has a wrong length");
        }
        let end = bytes.len() - FOOT_LEN;
        let foot = &bytes[end..];
        let number = |at: usize| foot[at..at + 8].try_into().ok().map(u64::from_le_bytes);
        if foot[..8] != FOOT_MAGIC[..]
            || foot[8..12] != VERSION.to_le_bytes()
            || number(16) != Some(index_at)
            || number(24) != Some(count)
        {
            return refuse("has a foot that does not fit");
        }
        if blake3::hash(&bytes[..end]).as_bytes()[..] != foot[32..64] {
            return refuse("has a wrong checksum");
        }
        let index = RemoteIndex {
            count: (end - FANOUT) / ENTRY_LEN,
            bytes,
        };
        let mut last: Option<Hash> = None;
        let mut records = HEAD_LEN as u64;
        for at in 0..index.count {
            let Some(place) = index.place(at) else {
                return refuse("has an entry that is not well formed");
            };
            let inside = place
                .offset
                .checked_add(PackEntry::record_len_of(place.stored))
                .is_some_and(|end| end <= index_at);
            if place.offset < HEAD_LEN as u64 || !inside {
                return refuse("points outside the pack");
            }
            if last.is_some_and(|last| last >= place.hash) {
                return refuse("is not sorted");
            }
            last = Some(place.hash);
            records = records.saturating_add(place.record_len());
        }
        // Records follow each other without gaps, so that the length of a pack is that of what is in it.
        if records != index_at {
            return refuse("does not tell of all that is in the pack");
        }
        Ok(index)
    }

    fn entry(&self, at: usize) -> &[u8] {
        &self.bytes[FANOUT + at * ENTRY_LEN..][..ENTRY_LEN]
    }

    /// The entry of this number.
    pub fn place(&self, at: usize) -> Option<PackEntry> {
        PackEntry::from_index(self.entry(at))
    }

    /// Finds an object.
    pub fn find(&self, hash: &Hash) -> Option<PackEntry> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.entry(middle)[..32].cmp(hash.as_bytes()) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return self.place(middle),
            }
        }
        None
    }
}

/// For the fuzz targets: reads an index of N objects, which finds all of them or is refused.
#[cfg(feature = "fuzzing")]
pub fn index(bytes: Vec<u8>, index_at: u64, count: u64) {
    let Ok(index) = RemoteIndex::parse(bytes, index_at, count) else {
        return;
    };
    assert_eq!(index.count as u64, count);
    for at in 0..index.count {
        let place = index.place(at);
        let place = place.expect("a checked index has well-formed entries");
        assert!(place.offset + place.record_len() <= index_at);
        assert_eq!(index.find(&place.hash), Some(place));
    }
    let _ = index.find(&Hash::of(b"another"));
}
