//! After a repair: what it had to forget, fetched again from the caches.

use std::collections::BTreeSet;

use mstore_store::{Hash, Realisation, Root, Store, TreeHash, VerifyReport};

use super::Failure;
use super::watch::Watch;
use crate::cli::signals::Stop;
use crate::drv::StoreFacts;
use crate::project::caches::{self, Caches};
use crate::project::{Event, Events as _};
use crate::share::{Substitute, Trust};

/// What a store knew before a repair.
pub struct Before {
    realisations: Vec<Realisation>,
    roots: Vec<Root>,
}

impl Before {
    /// Notes it.
    pub fn note(store: &Store) -> Result<Before, Failure> {
        Ok(Before {
            realisations: store.realisations(None)?,
            roots: store.roots()?,
        })
    }

    /// Fetches the trees that a repair removed, of which only damaged objects travel, and takes what needs
    /// them off the list of what is forgotten; the repair left their names, and those of trees that nobody
    /// has go now. Returns the trees that are here again.
    pub fn refetch(
        self,
        store: &Store,
        caches: &Caches,
        report: &mut VerifyReport,
        stop: &Stop,
        quiet: bool,
    ) -> Result<Vec<TreeHash>, Failure> {
        let mut lost = self.realisations;
        lost.retain(|r| report.forgotten.contains(&r.key));
        let mut roots = self.roots;
        roots.retain(|r| report.forgotten_roots.contains(&r.name));
        let trees = lost.iter().map(|r| r.tree);
        let wanted: BTreeSet<TreeHash> = trees
            .chain(roots.iter().map(|r| r.tree))
            .chain(report.lost_pins.iter().map(|p| p.tree))
            .collect();
        if wanted.is_empty() || caches.is_empty() {
            return Ok(Vec::new());
        }
        let watch = Watch::new(quiet);
        // A tree is its hash: whoever has it, it is the one that was here.
        let facts = Substitute::new(
            StoreFacts::new(store.clone()),
            store.clone(),
            caches.openers(store),
            Trust::blind(),
            false,
            |notice| watch.event(Event::Cache(notice)),
        );
        let fetched = caches::fetch(&facts, &wanted, &stop.cancel, &watch);
        fetched?;
        let mut here = Vec::new();
        for tree in wanted {
            if store.has_tree(tree)? {
                here.push(tree);
            }
        }
        lost.retain(|r| !here.contains(&r.tree));
        roots.retain(|r| !here.contains(&r.tree));
        store.forget_lost(&lost, &roots)?;
        let is_lost = |key: &Hash| lost.iter().any(|r| r.key == *key);
        report.forgotten.retain(is_lost);
        let is_lost = |name: &String| roots.iter().any(|r| r.name == *name);
        report.forgotten_roots.retain(is_lost);
        report.lost_pins.retain(|p| !here.contains(&p.tree));
        Ok(here)
    }
}
