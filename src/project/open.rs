//! Opening a store: one opener, told what the store is wanted for.

use std::io::ErrorKind as Io;
use std::path::Path;

use mstore_store::transfer::cache::{self, CACHE_FILE};
use mstore_store::{ErrorKind, OpenOptions, Store};

use super::ProjectError;

/// What a store is opened for: it decides what becomes of one that is absent or that may not be
/// written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading and writing; an absent store is made.
    Change,
    /// Reading and writing where that is allowed, else reading; an absent store is made. What is up
    /// to date needs no writing.
    ChangeIfAllowed,
    /// Reading; an absent store is an error. Written to where that is possible, so that answers are
    /// remembered.
    Read,
    /// The same, but an absent store is an empty one, and is not made.
    ReadIfPresent,
}

/// Opens the store in the folder `path`.
pub fn open_store(path: &Path, access: Access) -> Result<Store, ProjectError> {
    match access {
        Access::ChangeIfAllowed if is_store(path) && !may_write(path) => {
            Ok(Store::open(path, &OpenOptions::read_only())?)
        }
        Access::Change | Access::ChangeIfAllowed => Ok(Store::open(path, &OpenOptions::create())?),
        Access::Read | Access::ReadIfPresent if Store::exists(path) => existing(path),
        Access::ReadIfPresent => Ok(Store::nothing(path)?),
        Access::Read => Err(ProjectError::NoStore {
            path: path.to_owned(),
        }),
    }
}

/// Opens a store that exists; for writing where that can be.
fn existing(path: &Path) -> Result<Store, ProjectError> {
    if may_write(path) {
        let options = OpenOptions {
            create: false,
            read_only: false,
        };
        match Store::open(path, &options) {
            // A full disk is no obstacle to reading.
            Err(error) if error.kind() == ErrorKind::NoSpace => {}
            other => return Ok(other?),
        }
    }
    Ok(Store::open(path, &OpenOptions::read_only())?)
}

/// Whether this process may write into the store in `path`.
fn may_write(path: &Path) -> bool {
    let write = rustix::fs::Access::WRITE_OK;
    rustix::fs::access(path, write).is_ok() && rustix::fs::access(path.join("db"), write).is_ok()
}

/// Tells whether the folder `path` holds a store that is complete enough to be opened.
pub fn is_store(path: &Path) -> bool {
    Store::is_in(path)
}

/// What a folder holds, as far as results are copied to or from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Folder {
    /// A store.
    Store,
    /// A binary cache.
    Cache,
    /// Nothing yet; it may be absent.
    Empty,
    /// A store of which nothing was made but folders: making it was interrupted.
    BegunStore,
    /// A cache of which nothing was made but folders.
    BegunCache,
}

impl Folder {
    /// Looks what the folder `path` holds; anything else is an error.
    pub fn of(path: &Path) -> Result<Folder, ProjectError> {
        if is_store(path) {
            return Ok(Folder::Store);
        }
        if path.join(CACHE_FILE).is_file() {
            return Ok(Folder::Cache);
        }
        if let Err(source) = std::fs::read_dir(path)
            && source.kind() != Io::NotFound
        {
            return Err(ProjectError::io("read", path, source));
        }
        match (Store::is_begun(path), cache::is_begun(path)) {
            (true, true) => Ok(Folder::Empty),
            (true, false) => Ok(Folder::BegunStore),
            (false, true) => Ok(Folder::BegunCache),
            (false, false) => Err(ProjectError::NeitherStoreNorCache {
                path: path.to_owned(),
            }),
        }
    }
}
