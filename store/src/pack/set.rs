//! All packs of a store, as one moment saw them.

use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::StoreError;
use crate::disk::Disk;

/// The packs of a store, sorted by name. Never changes: a newer set replaces it.
#[derive(Debug, Default)]
pub(crate) struct PackSet {
    pub packs: Vec<Arc<Pack>>,
    /// Numbers of packs, those with most objects first: what is looked for is most likely there.
    pub order: Vec<usize>,
    /// Packs that cannot be opened, with the reason; their objects count as missing.
    pub broken: Vec<(String, String)>,
}

/// File name extension of packs.
pub(crate) const EXTENSION: &str = ".pack";

impl PackSet {
    /// Opens the packs that the database names, taking over what `old` has open.
    pub fn load(
        disk: &dyn Disk,
        dir: &Path,
        names: &[String],
        old: &PackSet,
    ) -> Result<PackSet, StoreError> {
        let mut set = PackSet::default();
        for name in names {
            let name = name.as_str();
            if let Ok(at) = old.packs.binary_search_by(|p| p.name.as_str().cmp(name)) {
                set.packs.push(old.packs[at].clone());
                continue;
            }
            let path = dir.join(format!("{name}{EXTENSION}"));
            match Pack::open(disk, name, &path) {
                Ok(pack) => set.packs.push(Arc::new(pack)),
                // Damaged or lost, or the collector removed it after we read the list: its objects
                // are not here either way.
                Err(error @ (StoreError::DamagedFile { .. } | StoreError::Io { .. })) => {
                    set.broken.push((name.to_string(), error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        set.packs.sort_by(|a, b| a.name.cmp(&b.name));
        set.order = (0..set.packs.len()).collect();
        set.order
            .sort_by_key(|at| std::cmp::Reverse(set.packs[*at].count()));
        Ok(set)
    }

    /// Finds an object.
    pub fn find(&self, hash: &Hash) -> Result<Option<(&Arc<Pack>, Place)>, StoreError> {
        for pack in self.order.iter().map(|at| &self.packs[*at]) {
            if let Some(place) = pack.find(hash)? {
                return Ok(Some((pack, place)));
            }
        }
        Ok(None)
    }

    /// Finds the numbers of an object's pack, and of the object in it.
    pub fn locate(&self, hash: &Hash) -> Option<(usize, usize)> {
        let mut packs = self.order.iter();
        packs.find_map(|at| Some((*at, self.packs[*at].position(hash)?)))
    }

    /// Tells whether an object is here, without looking at it.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.locate(hash).is_some()
    }
}
