//! Removes trees that builds leave behind.

use std::io;
use std::path::{Path, PathBuf};

/// A tree that could not be removed.
#[derive(Debug, thiserror::Error)]
#[error("cannot remove {}", path.display())]
pub struct CleanError {
    /// The tree.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Removes `path` and everything in it, however deep; see [`mstore_store::remove_tree`].
pub fn remove_tree(path: &Path) -> Result<(), CleanError> {
    mstore_store::remove_tree(path).map_err(|source| CleanError {
        path: path.to_owned(),
        source,
    })
}
