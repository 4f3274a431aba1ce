//! The file that says which packs hold what a tree needs.

use std::sync::Arc;

use super::is_pack_name;
use crate::codec::{self, CodecError};
use crate::mark::Marks;
use crate::pack::PackSet;
use crate::{Hash, StoreError, TreeHash};

const FORMAT: u32 = 1;
/// Longest listing that is read.
pub(super) const MAX_LISTING: usize = 16 << 20;
/// A pack is closed soon after this length; anything much longer is not a pack.
const MAX_PACK: u64 = 1 << 40;

/// One pack of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListedPack {
    pub name: String,
    /// Whether it holds objects that name others.
    pub meta: bool,
    /// Length of the file.
    pub len: u64,
    /// Where its index begins.
    pub index: u64,
    /// Objects in it.
    pub count: u64,
}

/// The packs that a tree needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Sorted by name.
    pub packs: Vec<ListedPack>,
    /// Objects that the tree needs.
    pub objects: u64,
    /// Bytes that their records take.
    pub bytes: u64,
}

/// name, meta, length, index, objects.
type WirePack = (String, bool, u64, u64, u64);

impl Listing {
    /// Finds out where a tree is in a set of packs; the error is an object that none of them has.
    pub fn of(packs: &Arc<PackSet>, tree: TreeHash) -> Result<Result<Listing, Hash>, StoreError> {
        let mut marks = Marks::new(packs.clone());
        marks.mark_tree(tree, &mut ())?;
        if let Some(missing) = marks.missing.first() {
            return Ok(Err(*missing));
        }
        let mut listing = Listing::default();
        for (number, pack) in packs.packs.iter().enumerate() {
            if marks.count(number) == 0 {
                continue;
            }
            let open = pack.open()?;
            for at in (0..open.count()).filter(|at| marks.is_marked(number, *at)) {
                listing.objects += 1;
                listing.bytes += open.entry(at)?.record_len();
            }
            listing.packs.push(ListedPack {
                name: pack.name().to_owned(),
                meta: pack.is_meta(),
                len: pack.len(),
                index: open.index_at(),
                count: pack.count() as u64,
            });
        }
        Ok(Ok(listing))
    }

    pub fn encode(&self) -> Vec<u8> {
        let packs: Vec<WirePack> = self
            .packs
            .iter()
            .map(|p| (p.name.clone(), p.meta, p.len, p.index, p.count))
            .collect();
        codec::encode(&(FORMAT, packs, self.objects, self.bytes))
    }

    pub fn decode(bytes: &[u8]) -> Result<Listing, CodecError> {
        let (format, packs, objects, bytes): (u32, Vec<WirePack>, u64, u64) =
            codec::decode(bytes, MAX_LISTING)?;
        let refuse = |detail: &str| CodecError::Malformed {
            detail: detail.into(),
        };
        if format != FORMAT {
            return Err(refuse(
                "this release does not know the format of the listing",
            ));
        }
        let packs = packs.into_iter().map(|(name, meta, len, index, count)| {
            let end = super::index::RemoteIndex::len_of(count).and_then(|n| n.checked_add(index));
            if !is_pack_name(&name) || end != Some(len) || len > MAX_PACK {
                return Err(refuse("a pack in it cannot be"));
            }
            Ok(ListedPack {
                name,
                meta,
                len,
                index,
                count,
            })
        });
        Ok(Listing {
            packs: packs.collect::<Result<_, _>>()?,
            objects,
            bytes,
        })
    }
}

/// For the fuzz targets: reads a listing, which is in its one encoding or refused.
#[cfg(feature = "fuzzing")]
pub fn listing(bytes: &[u8]) {
    if let Ok(listing) = Listing::decode(bytes) {
        assert_eq!(listing.encode(), bytes);
        for pack in &listing.packs {
            assert!(pack.index < pack.len && pack.len <= MAX_PACK);
        }
    }
}
