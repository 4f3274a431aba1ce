//! Roots that are unions: on disk they lie over the folders of what they are unions with, which most of them is.
//!
//! Which root that is, is remembered beside the parts of trees; without it a root is written out whole, and that is
//! all.

use mstore_store::{Cancel, Hash, Store, StoreError, TreeHash};

/// Keeps what is remembered apart from all else.
const OVER_CONTEXT: &str = "mstore 2026 build union over its root";

fn key(tree: TreeHash) -> Hash {
    Hash::derive(OVER_CONTEXT, tree.0.as_bytes())
}

/// Remembers that `tree` is a union of `root` with others.
pub fn note(store: &Store, root: TreeHash, tree: TreeHash) -> Result<(), StoreError> {
    match root == tree {
        true => Ok(()),
        false => store.put_part(&key(tree), root),
    }
}

/// Brings a tree to disk over the root that it is a union with, if it is one and that root is here.
pub fn lay(store: &Store, tree: TreeHash, cancel: Option<&Cancel>) -> Result<(), StoreError> {
    match store.part(&key(tree))? {
        Some(root) if !store.is_read_only() && store.has_tree(root)? => {
            store.checkout_over(root, tree, cancel)
        }
        _ => Ok(()),
    }
}
