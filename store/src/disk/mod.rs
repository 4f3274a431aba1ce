//! The one door to the disk for the store's own files, so that a crash can be a test.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::Path;

use crate::map::Map;

mod real;
pub(crate) use real::RealDisk;

/// A new file that is being written.
pub(crate) trait DiskFile: Send + Sync + Debug {
    /// Writes all of `data` at `offset`.
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// What the store does to its own files (packs, format file).
pub(crate) trait Disk: Send + Sync + Debug {
    /// Creates a file that must not exist.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Creates a folder whose parent exists; one that exists already is fine.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Gives a file another name, replacing what has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a folder, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<OsString>>;
    /// Reads a small file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Maps a sealed file.
    fn map(&self, path: &Path) -> io::Result<Map>;
}
