//! A store as the source of objects.

use std::sync::Mutex;

use super::{Object, Source, TransferError};
use crate::{Hash, Lease, Store, StoreError, TreeHash};

/// Reads objects from a store whose trees it protects while it lives.
#[derive(Debug)]
pub struct LocalSource {
    store: Store,
    /// Begun with the first tree.
    lease: Mutex<Option<Lease>>,
}

impl LocalSource {
    /// A source that has nothing protected yet.
    pub fn new(store: &Store) -> LocalSource {
        LocalSource {
            store: store.clone(),
            lease: Mutex::default(),
        }
    }

    /// Keeps the collector from a tree that is about to be copied. Fails when it is not there.
    pub fn protect(&self, tree: TreeHash) -> Result<(), StoreError> {
        let mut lease = self.lease.lock().unwrap_or_else(|e| e.into_inner());
        match &*lease {
            Some(lease) => lease.protect(tree)?,
            None => *lease = Some(self.store.lease_trees("copied from", &[tree])?),
        }
        Ok(())
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Those of some objects that are here, in the order in which they lie on disk.
    pub fn each(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let mut found = Vec::with_capacity(wanted.len());
        for hash in wanted {
            if let Some((pack, place)) = self.store.find(hash)? {
                found.push((pack, place));
            }
        }
        found.sort_by(|(a, p), (b, q)| (&a.name, p.offset).cmp(&(&b.name, q.offset)));
        for (pack, place) in found {
            take(pack.with_stored(&place, |stored| Ok(Object::new(place, stored)))?)?;
        }
        Ok(())
    }
}

impl Source for LocalSource {
    fn name(&self) -> String {
        self.store.path().display().to_string()
    }

    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        // Bounded memory for whatever is asked.
        for part in wanted.chunks(10_000) {
            self.each(part, take)?;
        }
        Ok(())
    }
}
