//! A pack file with any content is read or refused, and gives nothing under a name that it does not have.
//!
//! The target writes a sound pack, as an addition or a repack does, and damages it. Which of the fixed
//! parts and checksums are put right afterwards is part of the input, so that what lies behind them is
//! reached.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore_store::Hash;
use mstore_store::fuzzing::{self, Made};
use mstore_store_fuzz::{Damage, damage, folder, manifest, noise, tree, write};

#[derive(Arbitrary, Debug)]
enum Content {
    Own(Vec<u8>),
    Noise(u8, u16),
    Same(u8, u16),
    Words(Vec<u8>, u8),
}

#[derive(Arbitrary, Debug)]
enum Objects {
    Data(Vec<Content>),
    Meta(Vec<Named>),
}

#[derive(Arbitrary, Debug)]
enum Named {
    Manifest(u8, u8),
    Tree(u8),
    Chunks(Vec<(u8, u32)>),
    NoList(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
struct Input {
    objects: Objects,
    thorough: bool,
    damage: Vec<Damage>,
    /// Fields of the index and of heads of records: which entry, which field, what it becomes.
    fields: Vec<(u8, u8, u64)>,
    right: u8,
}

fn content(made: &Content) -> Vec<u8> {
    match made {
        Content::Own(bytes) => bytes.clone(),
        Content::Noise(seed, len) => noise(*seed, usize::from(*len)),
        Content::Same(byte, len) => vec![*byte; usize::from(*len)],
        Content::Words(word, count) => {
            word.repeat(usize::from(*count).min(60_000 / word.len().max(1)))
        }
    }
}

fn objects(made: &Objects) -> Vec<Made> {
    match made {
        Objects::Data(all) => all
            .iter()
            .take(12)
            .map(|one| Made::blob(content(one)))
            .collect(),
        // A list goes by a hash that its bytes do not tell; no two may go by the same.
        Objects::Meta(all) => (0u8..12)
            .zip(all)
            .map(|(at, one)| match one {
                Named::Manifest(n, count) => Made::manifest(manifest(*n, *count).encode()),
                Named::Tree(n) => Made::tree(tree(*n).encode()),
                Named::Chunks(list) => {
                    let items = list.iter().flat_map(|(chunk, size)| {
                        [&Hash::of(&[*chunk]).as_bytes()[..], &size.to_le_bytes()].concat()
                    });
                    Made::chunks(Hash::of(&[at, 9]), items.collect())
                }
                Named::NoList(bytes) => Made::chunks(Hash::of(&[at, 9]), bytes.clone()),
            })
            .collect(),
    }
}

const HEAD: usize = 16;
const FANOUT: usize = 1024;
const ENTRY: usize = 64;
const FOOT: usize = 64;

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(bytes)).ok()
}

/// Sets fields of the index, and the same ones of the records' heads if asked to.
fn fields(pack: &mut [u8], all: &[(u8, u8, u64)]) {
    let Some(foot) = pack.len().checked_sub(FOOT) else {
        return;
    };
    let (Some(index), Some(count)) = (number(pack, foot + 16), number(pack, foot + 24)) else {
        return;
    };
    for (entry, field, value) in all.iter().take(8) {
        let entry = index + FANOUT + usize::from(*entry) % count.max(1) * ENTRY;
        let record = number(pack, entry + 32).unwrap_or(0);
        let (in_entry, in_head, len) = match field % 6 {
            0 => (32, None, 8),
            1 => (40, Some(8), 8),
            2 => (48, Some(16), 8),
            3 => (56, Some(4), 1),
            4 => (57, Some(5), 1),
            _ => (0, Some(24), 8),
        };
        let value = value.to_le_bytes();
        let mut set = |at: usize| {
            if let Some(room) = pack.get_mut(at..at.saturating_add(len)) {
                room.copy_from_slice(&value[..len]);
            }
        };
        if field & 0x40 == 0 {
            set(entry + in_entry);
        }
        if let Some(in_head) = in_head
            && field & 0x80 != 0
        {
            set(record.saturating_add(in_head));
        }
    }
}

/// Puts right what random changes make wrong at once.
fn right(pack: &mut [u8], choice: u8) {
    let len = pack.len();
    if len < HEAD + FANOUT + FOOT {
        return;
    }
    let foot = len - FOOT;
    if choice & 1 != 0 {
        pack[..8].copy_from_slice(b"mstorepk");
        pack[8..12].copy_from_slice(&1u32.to_le_bytes());
        pack[foot..foot + 8].copy_from_slice(b"mstoreix");
        pack[foot + 8..foot + 12].copy_from_slice(&1u32.to_le_bytes());
    }
    if choice & 2 != 0 {
        let count = usize::from(choice >> 4).min((foot - HEAD - FANOUT) / ENTRY);
        let index = foot - FANOUT - count * ENTRY;
        pack[foot + 16..foot + 24].copy_from_slice(&(index as u64).to_le_bytes());
        pack[foot + 24..foot + 32].copy_from_slice(&(count as u64).to_le_bytes());
    }
    if choice & 4 != 0
        && let Some(index) = number(pack, foot + 16)
        && index <= foot
    {
        let sum = blake3::hash(&pack[index..foot]);
        pack[foot + 32..foot + 64].copy_from_slice(sum.as_bytes());
    }
}

fuzz_target!(|input: Input| {
    let path = folder("pack").join("pack");
    let objects = objects(&input.objects);
    let _ = std::fs::remove_file(&path);
    fuzzing::write_pack(&path, &objects, input.thorough).expect("the temporary folder has room");
    let mut pack = std::fs::read(&path).expect("what was written can be read");
    if input.damage.is_empty() && input.fields.is_empty() {
        fuzzing::pack_keeps(&path, &objects, false);
    }
    fields(&mut pack, &input.fields);
    damage(&mut pack, &input.damage);
    right(&mut pack, input.right);
    write(&path, &pack);
    fuzzing::pack(&path);
    fuzzing::salvage(&pack);
    // Against somebody who writes checksums that fit, only `verify` helps.
    if input.fields.is_empty() && input.damage.iter().all(Damage::is_accident) {
        fuzzing::pack_keeps(&path, &objects, true);
    }
});
