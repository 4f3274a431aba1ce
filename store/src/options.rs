//! Options of callers, and results for them.

use std::path::PathBuf;

use crate::manifest::Mtime;
use crate::{Cancel, TreeHash};

/// How to open a store.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Makes the store when the folder is missing or empty.
    pub create: bool,
    /// Changes nothing on disk, so that a store on read-only media can be used.
    pub read_only: bool,
}

impl OpenOptions {
    /// Opens for reading and writing, and makes the store when there is none.
    pub fn create() -> Self {
        OpenOptions {
            create: true,
            read_only: false,
        }
    }

    /// Opens an existing store without changing it.
    pub fn read_only() -> Self {
        OpenOptions {
            create: false,
            read_only: true,
        }
    }
}

/// How to read a directory into the store.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// Keeps content alone: owner 0:0, modes 0644 or (for directories, and files their owner may
    /// execute) 0755, no extended attributes, no hard links, every mtime this one.
    pub normalise: Option<Mtime>,
    /// Paths within the directory (`var/cache`, no leading `/`) left out with all under them.
    pub exclude: Vec<PathBuf>,
    /// Keeps directories on which another file system is mounted, but not what is in them.
    pub one_file_system: bool,
    /// Reads every file, even those that look unchanged since an earlier import.
    pub no_cache: bool,
}

impl ImportOptions {
    /// The time that normalised snapshots carry: 1980-01-01.
    pub const SNAPSHOT_MTIME: Mtime = Mtime {
        secs: 315_532_800,
        nanos: 0,
    };

    /// Options for snapshots, whose hash is to depend on content alone.
    pub fn snapshot() -> Self {
        ImportOptions {
            normalise: Some(Self::SNAPSHOT_MTIME),
            ..Self::default()
        }
    }
}

/// What an import made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The tree.
    pub tree: TreeHash,
    /// Entries in it, the root not counted.
    pub entries: u64,
    /// Bytes of file content in it.
    pub bytes: u64,
    /// Bytes by which the store grew.
    pub new_bytes: u64,
}

/// How to merge what a build wrote with what it started from.
#[derive(Clone, Debug, Default)]
pub struct CaptureOptions {
    /// Modification times later than this (seconds since 1970) become this.
    pub epoch: i64,
}

/// What may end a capture before it is done.
#[derive(Clone, Debug, Default)]
pub struct CaptureBounds {
    /// The most bytes that a file may have, holes included.
    pub file: Option<u64>,
    /// The capture ends with [`StoreError::Interrupted`](crate::StoreError::Interrupted) soon after
    /// this was cancelled.
    pub cancel: Cancel,
}

/// What a capture made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Captured {
    /// The merged tree.
    pub tree: TreeHash,
    /// Entries added, replaced, changed or removed.
    pub changed: u64,
    /// Bytes of file content in the upper layer.
    pub bytes: u64,
}
