//! Records are read from their one encoding only, whatever the bytes; streams are decompressed within bounds.
#![no_main]

use std::io::Read;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore_store::compress::{DecodeLimits, Decoder};
use mstore_store::transfer::Fact;
use mstore_store::transfer::cache::check_cache_text;
use mstore_store::{Hash, Manifest, Tree, fuzzing};
use mstore_store_fuzz::{Damage, damage, fact, manifest, noise, tree};

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Manifest,
    Tree,
    Fact,
    Stream,
    Chunks,
    Record,
    CacheText,
}

#[derive(Arbitrary, Debug)]
struct Input {
    kind: Kind,
    /// The number of a sound one, to be damaged.
    sample: Option<(u8, u8)>,
    bytes: Vec<u8>,
    damage: Vec<Damage>,
}

/// A frame of zstd with a checksum, as records have.
fn frame(raw: &[u8]) -> Vec<u8> {
    let mut zip = zstd::bulk::Compressor::new(3).expect("there is memory");
    let checksum = zstd::zstd_safe::CParameter::ChecksumFlag(true);
    zip.set_parameter(checksum).expect("zstd has checksums");
    zip.compress(raw).expect("there is memory")
}

/// A record as it travels: head, then what is stored.
fn record(n: u8, count: u8, content: &[u8]) -> Vec<u8> {
    let (sort, raw) = match n % 3 {
        0 => (1u8, content.repeat(usize::from(count))),
        1 => (3, manifest(n, count).encode()),
        _ => (4, tree(n).encode()),
    };
    let hash = match sort {
        1 => Hash::of(&raw),
        3 => Manifest::hash_encoded(&raw).0,
        _ => Tree::hash_encoded(&raw).0,
    };
    let zipped = frame(&raw);
    let (flags, stored) = if zipped.len() < raw.len() {
        (1u8, &zipped)
    } else {
        (0, &raw)
    };
    let mut out = b"mobj".to_vec();
    out.extend([sort, flags, 0, 0]);
    out.extend((stored.len() as u64).to_le_bytes());
    out.extend((raw.len() as u64).to_le_bytes());
    out.extend(hash.as_bytes());
    out.extend(stored);
    out
}

fuzz_target!(|input: Input| {
    let mut bytes = match (input.kind, input.sample) {
        (_, None) => input.bytes,
        (Kind::Manifest, Some((n, count))) => manifest(n, count).encode(),
        (Kind::Tree, Some((n, _))) => tree(n).encode(),
        (Kind::Fact, Some((n, _))) => fact(n).encode(),
        (Kind::Stream, Some((_, count))) => frame(&input.bytes.repeat(usize::from(count))),
        (Kind::Chunks, Some((n, count))) => noise(n, usize::from(count) * 36),
        (Kind::Record, Some((n, count))) => record(n, count, &input.bytes),
        (Kind::CacheText, Some(_)) => mstore_store::transfer::cache::CACHE_TEXT.into(),
    };
    damage(&mut bytes, &input.damage);
    match input.kind {
        Kind::Manifest => {
            if let Ok(manifest) = Manifest::decode(&bytes) {
                assert_eq!(manifest.encode(), bytes);
            }
        }
        Kind::Tree => {
            if let Ok(tree) = Tree::decode(&bytes) {
                assert_eq!(tree.encode(), bytes);
            }
        }
        Kind::Fact => {
            if let Ok(fact) = Fact::decode(&bytes) {
                assert_eq!(fact.encode(), bytes);
            }
        }
        Kind::Stream => {
            if let Ok(decoder) = Decoder::new(&bytes[..], DecodeLimits::default()) {
                let _ = std::io::copy(&mut decoder.take(16 << 20), &mut std::io::sink());
            }
        }
        Kind::Chunks => fuzzing::chunks(&bytes),
        Kind::Record => fuzzing::record(&bytes),
        Kind::CacheText => {
            let _ = check_cache_text(&bytes);
        }
    }
});
