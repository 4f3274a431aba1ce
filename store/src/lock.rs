//! The lock between those who add to the store and the collector.
//!
//! Adding, checking out and leasing hold it shared; the collector holds it alone for the short time
//! in which it decides and removes. The lock goes with its file descriptor, whatever happens to the
//! process.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::StoreError;

/// A held lock.
#[derive(Debug)]
pub(crate) struct StoreLock {
    _file: File,
}

impl StoreLock {
    pub fn take(root: &Path, exclusive: bool) -> Result<StoreLock, StoreError> {
        Self::take_file(&root.join("lock"), exclusive)
    }

    /// Locks any file of the store that exists for being locked.
    pub fn take_file(path: &Path, exclusive: bool) -> Result<StoreLock, StoreError> {
        let file = File::open(path).map_err(|e| StoreError::io("open lock", path, e))?;
        let how = if exclusive {
            FlockOperation::LockExclusive
        } else {
            FlockOperation::LockShared
        };
        loop {
            match flock(&file, how) {
                Ok(()) => return Ok(StoreLock { _file: file }),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(StoreError::io("lock store", path, error)),
            }
        }
    }
}
