//! The one door to the disk for the store's own files, so that a crash can be a test.
//!
//! What is inside a folder that a build or a checkout fills does not come through here: such a folder
//! counts only once it was renamed into place as a whole, which does.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use crate::inside::Inside;
use crate::map::Map;

#[cfg(test)]
pub(crate) mod faulty;
mod real;
#[cfg(test)]
pub(crate) mod turns;
pub(crate) use real::RealDisk;

/// A new file that is being written.
pub(crate) trait DiskFile: Send + Sync + Debug {
    /// Writes all of `data` at `offset`.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// How to take a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// Together with others that share; waits.
    Shared,
    /// Alone; waits.
    Alone,
    /// Alone, or not at all.
    Try,
}

/// A lock, until it is dropped or its process ends.
#[derive(Debug)]
pub(crate) struct Held {
    file: File,
}

impl Held {
    /// Whether the file that is locked has this name now.
    pub fn is_at(&self, path: &Path) -> bool {
        let same = self
            .file
            .metadata()
            .ok()
            .zip(std::fs::symlink_metadata(path).ok());
        same.is_some_and(|(a, b)| (a.dev(), a.ino()) == (b.dev(), b.ino()))
    }
}

/// What the store does to its own files.
pub(crate) trait Disk: Send + Sync + Debug {
    /// Creates a file that must not exist.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a folder whose parent exists; one that exists already is fine.
    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Takes from a file what its mode allows beyond this one.
    fn protect(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Gives a file or folder another name; a file replaces what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Removes a file, or a folder with all in it; one that is gone is fine.
    fn remove_tree(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Reads a small file, which must not have more than `most` bytes.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;
    /// Maps a sealed file.
    fn map(&self, path: &Path) -> io::Result<Map>;
    /// Locks a file that exists; `None` when it would have to be waited for and is not.
    fn lock(&self, path: &Path, how: Lock) -> io::Result<Option<Held>>;
    /// Names this boot of the machine; empty where that cannot be told.
    fn boot(&self) -> String;
    /// The virtual file system of SQLite through which the database is opened.
    fn vfs(&self) -> Option<&str>;
    /// The same disk for the store in an open folder, if it knows how to keep to one.
    fn within(&self, inside: &Arc<Inside>) -> Option<Arc<dyn Disk>> {
        let _ = inside;
        None
    }
}
