//! Whether the snapshots that a lock file pins have the paths that steps read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use mstore_store::{Store, StoreError, TreeHash};

use super::{Access, open_store};
use crate::plan::{Distribution, Lock, PinKind};

/// The snapshots of a lock file, to be looked into.
pub struct PinnedReads {
    store: Store,
    lock: Lock,
    known: Mutex<HashMap<(TreeHash, String), bool>>,
}

impl PinnedReads {
    /// Those that belong to some specifications, with the store in the folder `store`. Nothing where there is no store or
    /// no lock file that can be read: then nothing can be told.
    pub fn open(store: &Path, distribution: &Distribution) -> Option<PinnedReads> {
        let lock = Lock::read(distribution.files(), &distribution.lock_path(store)).ok()?;
        lock.pins().find(|(kind, ..)| *kind == PinKind::Snapshot)?;
        Some(PinnedReads {
            store: open_store(store, Access::Read).ok()?,
            lock,
            known: Mutex::default(),
        })
    }

    /// Whether the snapshot called `snapshot` is here and has no `path`.
    pub fn lacks(&self, snapshot: &str, path: &str) -> bool {
        let Some(pin) = self.lock.get(PinKind::Snapshot, snapshot) else {
            return false;
        };
        let key = (pin.tree, path.to_owned());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        *known.entry(key).or_insert_with(|| {
            matches!(
                self.store.entry(pin.tree, path),
                Ok(None) | Err(StoreError::NoSuchPath { .. })
            )
        })
    }
}
