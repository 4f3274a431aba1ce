//! After a repair: what it had to forget, fetched again from the caches.

use std::collections::BTreeSet;

use mstore_store::transfer::{Fact, FactKind};
use mstore_store::{Realisation, Root, Store, TreeHash, VerifyReport};

use super::Failure;
use super::caches::{self, Caches};
use super::realise::Stop;
use super::transfer::Bar;
use crate::plan::StoreFacts;
use crate::serve::{Substitute, Trust};

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

    /// Fetches the trees that a repair removed, of which only damaged objects travel, and takes them off
    /// the list of what is forgotten. Returns those that are here again.
    pub fn refetch(
        self,
        store: &Store,
        caches: &Caches,
        report: &mut VerifyReport,
        quiet: bool,
    ) -> Result<Vec<TreeHash>, Failure> {
        let lost: Vec<Realisation> = self
            .realisations
            .into_iter()
            .filter(|r| report.forgotten.contains(&r.key))
            .collect();
        let roots: Vec<Root> = self
            .roots
            .into_iter()
            .filter(|r| report.forgotten_roots.contains(&r.name))
            .collect();
        let wanted: BTreeSet<TreeHash> = lost
            .iter()
            .map(|r| r.tree)
            .chain(roots.iter().map(|r| r.tree))
            .collect();
        if wanted.is_empty() || caches.is_empty() {
            return Ok(Vec::new());
        }
        let stop = Stop::install()?;
        let bar = Bar::new(quiet);
        // A tree is its hash: whoever has it, it is the one that was here.
        let facts = Substitute::new(
            StoreFacts::new(store.clone()),
            store.clone(),
            caches.openers(store),
            Trust::blind(),
            false,
            |notice| tell!("{notice}"),
        );
        let fetched = caches::fetch(&facts, &wanted, &bar, &stop.stopped);
        bar.clear();
        fetched?;
        let mut here = Vec::new();
        for tree in wanted {
            if !store.has_tree(tree)? {
                continue;
            }
            here.push(tree);
            for root in roots.iter().filter(|r| r.tree == tree) {
                store.add_root(&root.name, tree)?;
                report.forgotten_roots.retain(|name| *name != root.name);
            }
            for realisation in lost.iter().filter(|r| r.tree == tree) {
                // Signatures and derivations were never forgotten.
                store.take_fact(&Fact {
                    kind: FactKind::Step,
                    realisation: realisation.clone(),
                    signatures: Vec::new(),
                    record: None,
                })?;
                report.forgotten.retain(|key| *key != realisation.key);
            }
        }
        Ok(here)
    }
}
