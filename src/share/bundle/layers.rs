//! What a tree lies on: the trees that the step began with that made it, as far as a store remembers.

use std::collections::BTreeSet;

use mstore_store::{RealisationKind, Store, StoreError, TreeHash};
use serde::{Deserialize, Serialize};

use super::Digest;
use crate::drv::Resolved;

/// Layers deeper than this are cut whole.
const DEEPEST: usize = 256;

/// A tree in bundles, less what other trees have.
///
/// The fields stand in the order of canonical CBOR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// The trees that are left out.
    pub on: Vec<TreeHash>,
    /// The tree.
    pub tree: TreeHash,
    /// The rest of it.
    pub bundles: Vec<Digest>,
}

/// Trees with what each lies on, those below first: all that `trees` need. Which step made a tree is what the store
/// remembers; of several that of the least key counts. A tree that nothing is known of lies on nothing.
pub fn layers(
    store: &Store,
    trees: &[TreeHash],
) -> Result<Vec<(TreeHash, Vec<TreeHash>)>, StoreError> {
    let mut walk = Walk {
        store,
        seen: BTreeSet::new(),
        found: Vec::new(),
    };
    for tree in trees {
        walk.visit(*tree, 0)?;
    }
    Ok(walk.found)
}

struct Walk<'a> {
    store: &'a Store,
    seen: BTreeSet<TreeHash>,
    found: Vec<(TreeHash, Vec<TreeHash>)>,
}

impl Walk<'_> {
    fn visit(&mut self, tree: TreeHash, depth: usize) -> Result<(), StoreError> {
        if !self.seen.insert(tree) {
            return Ok(());
        }
        let mut on = match depth < DEEPEST {
            true => below(self.store, tree)?,
            false => Vec::new(),
        };
        for base in &on {
            self.visit(*base, depth + 1)?;
        }
        // One of them lies on this tree itself: that it came out again is no reason to walk in a circle.
        on.retain(|base| self.found.iter().any(|(tree, _)| tree == base));
        self.found.push((tree, on));
        Ok(())
    }
}

/// What a tree lies on, if all of that is here.
fn below(store: &Store, tree: TreeHash) -> Result<Vec<TreeHash>, StoreError> {
    let mut made = store.realisations_of(&tree.0)?;
    made.retain(|made| made.kind == RealisationKind::Step && made.tree == tree);
    made.sort_by_key(|made| made.key);
    'steps: for made in made {
        let record = store.derivation(&made.key)?;
        let Some(step) = record.and_then(|record| Resolved::decode(&record).ok()) else {
            continue;
        };
        let below = step.below();
        // A test gives back what it was given.
        if step.key().0 != made.key || below.is_empty() || below.contains(&tree) {
            continue;
        }
        for base in &below {
            if !store.has_tree(*base)? {
                continue 'steps;
            }
        }
        return Ok(below);
    }
    Ok(Vec::new())
}
