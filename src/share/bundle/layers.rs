//! What a tree is cut against: the trees that the step began with that made it.

use std::collections::BTreeSet;

use mstore_store::{Store, StoreError, TreeHash};
use serde::{Deserialize, Serialize};

use super::Digest;
use crate::drv::Lineage;

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

/// The trees that `trees` need, with what each is cut against, those below first. That is what the derivations of the
/// plan say ([`Lineage`]), and nothing that this store remembers: so whoever builds the same step cuts in the same
/// way. A tree below that is not here is left out.
pub fn layers(
    store: &Store,
    lineage: &Lineage,
    trees: &[TreeHash],
) -> Result<Vec<(TreeHash, Vec<TreeHash>)>, StoreError> {
    let mut found: Vec<(TreeHash, Vec<TreeHash>)> = Vec::new();
    let mut known = BTreeSet::new();
    for (tree, on) in lineage.trees() {
        if trees.contains(tree) || store.has_tree(*tree)? {
            let on = on.iter().copied().filter(|base| known.contains(base));
            found.push((*tree, on.collect()));
            known.insert(*tree);
        }
    }
    let others = trees.iter().filter(|tree| known.insert(**tree));
    found.extend(others.map(|tree| (*tree, Vec::new())));
    // Backwards: only what something that is needed lies on.
    let mut needed: BTreeSet<TreeHash> = trees.iter().copied().collect();
    found.reverse();
    found.retain(|(tree, on)| {
        let is_needed = needed.contains(tree);
        if is_needed {
            needed.extend(on);
        }
        is_needed
    });
    found.reverse();
    Ok(found)
}
