//! A store as if it were a cache.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::listing::Listing;
use super::{CACHE_FILE, CACHE_TEXT};
use crate::pack::{EXTENSION, PackSet};
use crate::{Hash, Lease, Store, StoreError, TreeHash};

/// One file of the cache that a store pretends to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFile {
    /// Made for the occasion.
    Bytes(Arc<[u8]>),
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

/// Listings kept, in bytes: making one is a walk through the whole tree.
const KEPT: usize = 64 << 20;

/// The listings of trees that were asked for lately.
#[derive(Debug, Default)]
pub struct Listings {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    of: HashMap<TreeHash, Listed>,
    bytes: usize,
}

/// One listing, which holds as long as the packs that it names are there.
#[derive(Debug, Clone)]
struct Listed {
    bytes: Arc<[u8]>,
    packs: Arc<[String]>,
    /// The packs among which they were last found.
    among: Weak<PackSet>,
    /// The lease that keeps the tree.
    lease: Option<i64>,
}

impl Listings {
    fn find(&self, tree: TreeHash, among: &Arc<PackSet>, lease: Option<i64>) -> Option<Arc<[u8]>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = kept.of.get_mut(&tree)?;
        if listed.lease != lease {
            return None;
        }
        if listed.among.as_ptr() != Arc::as_ptr(among) {
            if listed.packs.iter().any(|name| among.number(name).is_none()) {
                return None;
            }
            listed.among = Arc::downgrade(among);
        }
        Some(listed.bytes.clone())
    }

    fn keep(&self, tree: TreeHash, listed: Listed) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.bytes + listed.bytes.len() > KEPT {
            *kept = Kept::default();
        }
        kept.bytes += listed.bytes.len();
        if let Some(old) = kept.of.insert(tree, listed) {
            kept.bytes -= old.bytes.len();
        }
    }
}

impl Store {
    /// The file at `path` of this store seen as a cache; `None` when there is none. Paths that are not
    /// of the layout name nothing, whatever is in them. Trees that are asked for are kept by `lease`.
    pub fn cache_file(
        &self,
        path: &str,
        lease: &Lease,
        listings: &Listings,
    ) -> Result<Option<CacheFile>, StoreError> {
        if path == CACHE_FILE {
            return Ok(Some(CacheFile::Bytes(CACHE_TEXT.as_bytes().into())));
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
            "trees" => return self.cached_listing(TreeHash(hash), lease, listings),
            _ => None,
        };
        Ok(fact.map(|fact| CacheFile::Bytes(fact.encode().into())))
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
        listings: &Listings,
    ) -> Result<Option<CacheFile>, StoreError> {
        if let Some(bytes) = listings.find(tree, &self.refresh()?, lease.id()) {
            return Ok(Some(CacheFile::Bytes(bytes)));
        }
        match lease.protect(tree) {
            Ok(()) => {}
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let _lock = self.lock_shared()?;
        let packs = self.refresh()?;
        let Ok(listing) = Listing::of(&packs, tree)? else {
            return Ok(None);
        };
        let bytes: Arc<[u8]> = listing.encode().into();
        let listed = Listed {
            bytes: bytes.clone(),
            packs: listing.packs.into_iter().map(|pack| pack.name).collect(),
            among: Arc::downgrade(&packs),
            lease: lease.id(),
        };
        listings.keep(tree, listed);
        Ok(Some(CacheFile::Bytes(bytes)))
    }
}
