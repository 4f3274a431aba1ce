//! A file of the stat cache with any content is used or passed over; what was written anew from it
//! answers as it did.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore_store::fuzzing;
use mstore_store_fuzz::{Damage, damage, folder};

#[derive(Arbitrary, Debug)]
struct Input {
    attributes: Vec<Vec<(Vec<u8>, Vec<u8>)>>,
    damage: Vec<Damage>,
    /// Numbers of one record: where its attributes are, and how long.
    place: Option<(u8, u64, u64)>,
    count: Option<u64>,
    right: bool,
}

fuzz_target!(|input: Input| {
    let path = folder("statcache").join("cache");
    let _ = std::fs::remove_file(&path);
    let attributes: Vec<_> = input.attributes.into_iter().take(20).collect();
    let mut bytes = fuzzing::statcache_of(&path, &attributes);
    damage(&mut bytes, &input.damage);
    if let Some((record, from, len)) = input.place {
        let at = 32 + usize::from(record) % attributes.len().max(1) * 96;
        if let Some(room) = bytes.get_mut(at + 80..at + 96) {
            room[..8].copy_from_slice(&from.to_le_bytes());
            room[8..].copy_from_slice(&len.to_le_bytes());
        }
    }
    if let (Some(count), Some(room)) = (input.count, bytes.get_mut(16..24)) {
        room.copy_from_slice(&count.to_le_bytes());
    }
    if input.right && bytes.len() >= 64 {
        let end = bytes.len() - 32;
        let sum = blake3::hash(&bytes[..end]);
        bytes[end..].copy_from_slice(sum.as_bytes());
    }
    fuzzing::statcache(&path, &bytes);
});
