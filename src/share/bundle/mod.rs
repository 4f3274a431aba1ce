//! Bundles: the objects of one tree in pieces of a few megabytes, each a function of the tree alone.
//!
//! A tree is *cut* ([`Cut`]) where its objects are, and *joined* ([`join`]) in another store. How the packs of a store
//! came about shows nowhere: two stores cut the same tree into the same bytes, so that whoever keeps bundles by
//! their hashes keeps them once.
//!
//! # Form
//! A bundle is one zstd frame with its length and a checksum. In it are [`MAGIC`] and records: a byte that says
//! what it is, the length of what follows in 4 bytes (little-endian, as all numbers), and that.
//!
//! | byte | record |
//! | --- | --- |
//! | 1 | the tree object, in its canonical encoding; the first record of the first bundle |
//! | 2 | a manifest, in its canonical encoding |
//! | 3 | the whole content of a file |
//! | 4 | a piece of the content of a long file: its hash (32 bytes), its length (8) and where the piece begins (8), then bytes |
//!
//! Hashes of the others are not written: whoever reads them has to compute them. Manifests come in front in the order of
//! their paths (a directory before what is in it, names by their bytes), then contents in the same order, each once. A
//! tree that is a layer on others has none of the objects of those.
//!
//! # Where it is cut
//! Behind a record whose hash, seen as a number, is small for its length: so a change leaves the cuts elsewhere where
//! they were. A bundle has at least [`LEAST`] and about 4 MiB raw, and no more than [`MOST`]; the last one, the
//! last before contents and the last before a long piece may be shorter. Contents do not share a bundle with manifests that have
//! [`LEAST`] themselves.

mod cut;
mod digest;
mod join;
mod layers;

pub use cut::{Cut, CutError, Take};
pub use digest::{Digest, Sha256};
pub use join::{Get, JoinError, join};
pub use layers::{Layer, layers};

/// Begins each bundle, once it is decompressed.
pub const MAGIC: &[u8; 16] = b"mstore bundle 1\n";
/// Bytes of a bundle, decompressed, up to which it is never cut.
pub const LEAST: u64 = 1 << 20;
/// Bytes that are added to [`LEAST`] on average.
const SPREAD: u64 = 3 << 20;
/// Most bytes of a bundle, decompressed. Compressed it has less than 16 MiB even where nothing can be compressed.
pub const MOST: u64 = (16 << 20) - 2048;
/// Most bytes of a bundle as it travels.
pub const MOST_PACKED: u64 = 16 << 20;
/// Bytes of a piece of a long file; shorter files are not cut.
const PIECE: u64 = (16 << 20) - 4096;
/// Bytes before what a record holds.
const HEAD: u64 = 5;
/// The same with what a piece tells of itself.
const PIECE_HEAD: u64 = HEAD + 48;

/// The number of the form. It stands for the level and the version of zstd too: a bundle is named by its bytes.
const FORMAT: u32 = 1;
/// The level of [`FORMAT`] 1, which is that of libzstd 1.5.7; a test keeps it so.
const LEVEL: i32 = 3;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Tree = 1,
    Manifest = 2,
    Content = 3,
    Piece = 4,
}

impl Tag {
    fn of(byte: u8) -> Option<Tag> {
        [Tag::Tree, Tag::Manifest, Tag::Content, Tag::Piece]
            .into_iter()
            .find(|tag| *tag as u8 == byte)
    }
}

/// For the fuzz targets: compresses what is to be a bundle, sound or not.
#[cfg(feature = "fuzzing")]
pub fn packed(raw: &[u8]) -> Vec<u8> {
    cut::pack(raw).unwrap_or_default()
}

#[cfg(test)]
mod tests;
