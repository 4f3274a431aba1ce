//! Packs as files: whether each is, byte by byte, what it was when it was written.
//!
//! Objects are compared with their hashes where they are read. What lies around them (heads, unused bits of
//! compressed frames, the order of records) is compared here with the hash that the database has of the pack,
//! as soon as the last of its records was read.

use std::collections::HashMap;
use std::sync::Mutex;

use crate::Hash;
use crate::pack::{HEAD_LEN, Pack, PackSet, RecordsHash};

/// What was read of a pack so far.
struct Tally {
    /// Records that were not yet read.
    left: usize,
    /// Something in it is damaged, which is told of already.
    bad: bool,
    /// Hashes of stored bytes that are not those of the objects, by the number in the index.
    stored: HashMap<u32, Hash>,
}

/// The same of all packs.
pub(super) struct Tallies(Vec<Mutex<Tally>>);

/// What came of a record.
pub(super) enum Read {
    /// It is damaged.
    Bad,
    /// It is good, and its stored bytes have the hash of the object.
    Plain,
    /// It is good, and its stored bytes have this hash.
    Packed(Hash),
}

impl Tallies {
    pub fn new(packs: &PackSet) -> Tallies {
        let tally = |count| Tally {
            left: count,
            bad: false,
            stored: HashMap::new(),
        };
        let packs = packs.packs.iter().map(|file| file.count());
        Tallies(packs.map(|count| Mutex::new(tally(count))).collect())
    }

    /// Takes in records of a pack. When those were the last and all are good, returns the hash of the records,
    /// or what is wrong with their places.
    pub fn take(
        &self,
        number: usize,
        pack: &Pack,
        records: impl IntoIterator<Item = (u32, Read)>,
    ) -> Option<Result<Hash, String>> {
        // What a panic left is not complete, and stays so.
        let mut tally = self.0[number].lock().unwrap_or_else(|e| e.into_inner());
        let before = tally.left;
        for (at, read) in records {
            tally.left = tally.left.saturating_sub(1);
            match read {
                Read::Bad => tally.bad = true,
                Read::Plain => {}
                Read::Packed(hash) => {
                    tally.stored.insert(at, hash);
                }
            }
        }
        let is_last = before > 0 && tally.left == 0;
        let stored = (is_last && !tally.bad).then(|| std::mem::take(&mut tally.stored))?;
        drop(tally);
        hash_of(pack, &stored).transpose()
    }
}

/// The hash of the records; nothing when the index is damaged, which is told of by itself.
fn hash_of(pack: &Pack, stored: &HashMap<u32, Hash>) -> Result<Option<Hash>, String> {
    let mut order = Vec::with_capacity(pack.count());
    for at in 0..pack.count() {
        match (pack.entry(at), u32::try_from(at)) {
            (Ok(entry), Ok(at)) => order.push((entry.offset, at)),
            _ => return Ok(None),
        }
    }
    order.sort_unstable();
    let Ok(head) = pack.head() else {
        return Ok(None);
    };
    let mut hash = RecordsHash::new(&head);
    let mut end = HEAD_LEN as u64;
    for (offset, at) in order {
        let Ok(entry) = pack.entry(at as usize) else {
            return Ok(None);
        };
        if offset != end {
            return Err(format!("a record begins at byte {offset} and not at {end}"));
        }
        end = offset + entry.record_len();
        hash.add(&entry, stored.get(&at).unwrap_or(&entry.hash));
    }
    if end != pack.index_at() {
        return Err(format!(
            "the index begins at byte {} and not at {end}",
            pack.index_at()
        ));
    }
    Ok(Some(hash.finish()))
}
