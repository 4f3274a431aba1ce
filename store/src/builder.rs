//! Makes a tree from entries that arrive one by one, as those of an archive do.

use std::io::Read;

use crate::manifest::Meta;
use crate::{Imported, Store, StoreError};

/// What an entry without content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Makes a tree from entries in any order.
///
/// Paths are relative to the tree's root (`etc/passwd`), without empty, `.` or `..` components; the
/// empty path is the root itself. A directory that is named by the paths of others alone is
/// root:root 0755 with mtime 0. A path given twice, a path below something that is no directory, and
/// a hard link to what is not a file are errors; directories may be given again (the last metadata
/// counts), as archives do. Contents are hashed, compressed and written as they arrive; nothing can
/// be seen in the store before [`finish`](Self::finish), and nothing stays of a builder dropped.
pub struct TreeBuilder {
    _store: Store,
}

impl TreeBuilder {
    pub(crate) fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(TreeBuilder {
            _store: store.clone(),
        })
    }

    /// Adds a directory, or the root's metadata when `path` is empty.
    pub fn dir(&mut self, _path: &[u8], _meta: Meta) -> Result<(), StoreError> {
        Err(crate::store::unfinished())
    }

    /// Adds a file and reads its content to the end. Returns the length of the content.
    pub fn file(
        &mut self,
        _path: &[u8],
        _meta: Meta,
        _content: &mut dyn Read,
    ) -> Result<u64, StoreError> {
        Err(crate::store::unfinished())
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, _path: &[u8], _meta: Meta, _target: &[u8]) -> Result<(), StoreError> {
        Err(crate::store::unfinished())
    }

    /// Adds a device, pipe or socket.
    pub fn node(&mut self, _path: &[u8], _meta: Meta, _node: Node) -> Result<(), StoreError> {
        Err(crate::store::unfinished())
    }

    /// Adds one more name for the file at `target`, which may be given earlier or later.
    pub fn hard_link(&mut self, _path: &[u8], _target: &[u8]) -> Result<(), StoreError> {
        Err(crate::store::unfinished())
    }

    /// Adds another file with the content and metadata of the file at `target`, which must be given before.
    pub fn copy(&mut self, _path: &[u8], _target: &[u8]) -> Result<(), StoreError> {
        Err(crate::store::unfinished())
    }

    /// Makes the tree, durably.
    pub fn finish(self) -> Result<Imported, StoreError> {
        Err(crate::store::unfinished())
    }
}
