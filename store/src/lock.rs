//! The lock between those who add to the store and the collector.
//!
//! Adding, checking out and leasing hold it shared; the collector holds it alone for the short time
//! in which it decides and removes. The lock goes with its file descriptor, whatever happens to the
//! process.

use std::path::Path;

use crate::StoreError;
use crate::disk::{Disk, Held, Lock};

/// A held lock.
#[derive(Debug, Default)]
pub(crate) struct StoreLock {
    _held: Option<Held>,
}

impl StoreLock {
    pub fn take(disk: &dyn Disk, root: &Path, exclusive: bool) -> Result<StoreLock, StoreError> {
        Self::take_file(disk, &root.join("lock"), exclusive)
    }

    /// Locks any file of the store that exists for being locked.
    pub fn take_file(
        disk: &dyn Disk,
        path: &Path,
        exclusive: bool,
    ) -> Result<StoreLock, StoreError> {
        let how = if exclusive { Lock::Alone } else { Lock::Shared };
        let held = disk
            .lock(path, how)
            .map_err(|e| StoreError::io("lock store", path, e))?;
        Ok(StoreLock { _held: held })
    }

    /// Locks a file alone, or not at all if somebody else has it.
    pub fn try_file(disk: &dyn Disk, path: &Path) -> Result<Option<StoreLock>, StoreError> {
        let held = disk
            .lock(path, Lock::Try)
            .map_err(|e| StoreError::io("lock store", path, e))?;
        Ok(held.map(|held| StoreLock { _held: Some(held) }))
    }
}
