//! A store as if it were a cache.

use std::path::PathBuf;

use super::listing::Listing;
use super::{CACHE_FILE, CACHE_TEXT};
use crate::pack::{EXTENSION, PackSet};
use crate::{Hash, Lease, Store, StoreError, TreeHash};

/// One file of the cache that a store pretends to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFile {
    /// Made for the occasion.
    Bytes(Vec<u8>),
    /// A part of a file that never changes.
    File {
        /// The file.
        path: PathBuf,
        /// Where the part begins.
        from: u64,
        /// How long it is.
        len: u64,
    },
}

impl Store {
    /// The file at `path` of this store seen as a cache; `None` when there is none. Paths that are not
    /// of the layout name nothing, whatever is in them. Trees that are asked for are kept by `lease`.
    pub fn cache_file(&self, path: &str, lease: &Lease) -> Result<Option<CacheFile>, StoreError> {
        if path == CACHE_FILE {
            return Ok(Some(CacheFile::Bytes(CACHE_TEXT.into())));
        }
        let Some((folder, name)) = path.split_once('/') else {
            return Ok(None);
        };
        if folder == "packs" {
            return self.cached_pack(name);
        }
        let Ok(hash) = name.parse::<Hash>() else {
            return Ok(None);
        };
        let fact = match folder {
            "realisations" => self.fact(&hash)?,
            "derivations" => self.fact_of_derivation(&hash)?,
            "trees" => return self.cached_listing(TreeHash(hash), lease),
            _ => None,
        };
        Ok(fact.map(|fact| CacheFile::Bytes(fact.encode())))
    }

    fn cached_pack(&self, name: &str) -> Result<Option<CacheFile>, StoreError> {
        let (name, whole) = match (name.strip_suffix(EXTENSION), name.strip_suffix(".index")) {
            (Some(name), _) => (name, true),
            (None, Some(name)) => (name, false),
            (None, None) => return Ok(None),
        };
        let find = |packs: &PackSet| packs.number(name).map(|number| packs.packs[number].clone());
        let found = match find(&self.packs()) {
            None => find(&*self.refresh()?),
            found => found,
        };
        // One that cannot be opened is not there.
        Ok(found.and_then(|file| file.open().ok()).map(|pack| {
            let from = if whole { 0 } else { pack.index_at() };
            CacheFile::File {
                path: pack.path.clone(),
                from,
                len: pack.len() - from,
            }
        }))
    }

    fn cached_listing(
        &self,
        tree: TreeHash,
        lease: &Lease,
    ) -> Result<Option<CacheFile>, StoreError> {
        match lease.protect(tree) {
            Ok(()) => {}
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let _lock = self.lock_shared()?;
        let listing = Listing::of(&self.refresh()?, tree)?;
        Ok(listing
            .ok()
            .map(|listing| CacheFile::Bytes(listing.encode())))
    }
}
