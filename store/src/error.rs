//! Every way in which the store can fail, with what the reader needs to act.

use std::io;
use std::path::{Path, PathBuf};

use crate::codec::CodecError;
use crate::image::ImageError;
use crate::room::{Need, Room, tail};
use crate::{GitError, Hash, TarError, TreeHash};

/// Who has to act on an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The file system is full, or a quota is used up.
    NoSpace,
    /// The store lacks an object that was asked for.
    Missing,
    /// An object in the store is damaged.
    Corrupt,
    /// The folder is not a store, is of a newer format, or was opened read-only.
    Format,
    /// An owner cannot be set because the user's id ranges do not reach it.
    Owner,
    /// What was given to be stored or asked for is not acceptable.
    Input,
    /// Something cannot be written where it is to be; without it, the rest can.
    Lossy,
    /// The caller asked to stop.
    Interrupted,
    /// The machine failed: input/output, database.
    Machine,
}

/// An error of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call failed.
    #[error("cannot {action}: {}: {source}", path.display())]
    Io {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file system is full.
    #[error("no space left: cannot {action}: {}: {source}{}", path.display(), tail(room, needs))]
    NoSpace {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// The file or directory concerned.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
        /// What the file system had in that moment, where its place is known.
        room: Option<Box<Room>>,
        /// What is known of how much is needed.
        needs: Vec<Need>,
    },
    /// The folder holds something else.
    #[error("not a store: {}: {detail}", path.display())]
    NotAStore {
        /// The folder.
        path: PathBuf,
        /// What is missing or strange.
        detail: String,
    },
    /// A link is in the place of a folder of the store. What is behind it is not the store's.
    #[error("a symbolic link is in the place of a folder of the store: {}", path.display())]
    LinkedFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The file that tells the format is damaged or gone; the database and packs are there.
    #[error("the store's file named format cannot be used: {}: {detail}", path.display())]
    LostFormat {
        /// The store's folder.
        path: PathBuf,
        /// What is wrong with the file.
        detail: String,
    },
    /// The store was written by a newer release.
    #[error("store is of format {found}, this release knows up to {known}: {}", path.display())]
    NewerFormat {
        /// The store's folder.
        path: PathBuf,
        /// The format number found.
        found: u32,
        /// The newest format number that this release can read.
        known: u32,
    },
    /// The caller asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A change was asked of a store opened read-only.
    #[error("store is open read-only, cannot {action}: {}", path.display())]
    ReadOnly {
        /// What was tried.
        action: &'static str,
        /// The store's folder.
        path: PathBuf,
    },
    /// The database failed.
    #[error("store database failed, cannot {action}: {}: {source}", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// The database file.
        path: PathBuf,
        /// What SQLite says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An object is not in the store.
    #[error("{what} is not in the store: {hash}")]
    Missing {
        /// The kind of object.
        what: &'static str,
        /// Its hash.
        hash: Hash,
    },
    /// An object is damaged.
    #[error("{what} is damaged: {hash}: {detail}")]
    Corrupt {
        /// The kind of object.
        what: &'static str,
        /// Its hash.
        hash: Hash,
        /// What does not fit.
        detail: String,
    },
    /// A pack or index file is damaged.
    #[error("store file is damaged: {}: {detail}", path.display())]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// A pack file cannot be read: the disk fails, or the file was cut short while it was in use.
    #[error("cannot read store file: {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A record of the store is not well formed.
    #[error("{what} cannot be decoded: {hash}: {source}")]
    Decode {
        /// The kind of object.
        what: &'static str,
        /// Its hash.
        hash: Hash,
        /// What the codec says.
        source: CodecError,
    },
    /// A path is not in a tree.
    #[error("tree {tree} has no {what}: {path}")]
    NoSuchPath {
        /// The tree.
        tree: TreeHash,
        /// What was looked for: "directory", "entry", "file".
        what: &'static str,
        /// The path within the tree.
        path: String,
    },
    /// An entry that a tree cannot hold.
    #[error("entry cannot be stored: {path}: {reason}")]
    BadEntry {
        /// The entry's path.
        path: String,
        /// Why not.
        reason: String,
    },
    /// A path was given twice.
    #[error("path is given twice: {path}")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A path is used as a directory and as something else.
    #[error("path is both a directory and not: {path}")]
    Conflict {
        /// The path.
        path: String,
    },
    /// A hard link whose target is not a file given before or after.
    #[error("hard link to what is not a file: {path} -> {target}")]
    BadLink {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// Directories nested deeper than a tree may be.
    #[error("directories are nested deeper than {limit}: {path}")]
    TooDeep {
        /// Deepest level allowed.
        limit: usize,
        /// Where it was passed.
        path: String,
    },
    /// A file with more bytes than the caller allows.
    #[error("file has more than {limit} bytes: {path} has {size}")]
    TooLarge {
        /// The file's path within its tree.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// The most bytes allowed.
        limit: u64,
    },
    /// A file changed while it was read.
    #[error("file changed while it was read: {}", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// An owner outside the id ranges of this user.
    #[error(
        "cannot give {} to {uid}:{gid}: these ids are not mapped for this user (subordinate id ranges in /etc/subuid and /etc/subgid are needed, or run as root)",
        path.display()
    )]
    UnmappedOwner {
        /// The file.
        path: PathBuf,
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
    /// A device node, which this user cannot make.
    #[error("cannot make the {what} {}: only root can", path.display())]
    Device {
        /// The kind of device.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// An archive that is damaged or hostile.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A git revision that cannot be read.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file-system image that cannot be made.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// Something is in the way of a link.
    #[error("{} is there, and no link to a folder of a store", path.display())]
    NotALink {
        /// What is there.
        path: PathBuf,
    },
    /// A name that roots or scratch folders cannot have.
    #[error("not a usable name: {name}: {reason}")]
    BadName {
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
}

impl StoreError {
    /// Wraps an error of the system; a full disk becomes [`StoreError::NoSpace`].
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let (path, source) = (path.as_ref().to_path_buf(), source.into());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::NoSpace {
                action,
                room: Room::of(&path).map(Box::new),
                path,
                source,
                needs: Vec::new(),
            },
            _ => StoreError::Io {
                action,
                path,
                source,
            },
        }
    }

    /// Of a full file system, tells what is known of how much is needed. It is found out only then.
    #[must_use]
    pub fn needing(mut self, find: impl FnOnce() -> Option<Need>) -> Self {
        if let StoreError::NoSpace { needs, .. } = &mut self {
            needs.extend(find());
        }
        self
    }

    /// Of a full file system, tells which file was written, where only the caller knows it.
    #[must_use]
    pub fn writing_to(mut self, file: &Path) -> Self {
        if let StoreError::NoSpace { path, room, .. } = &mut self
            && room.is_none()
        {
            *path = file.to_path_buf();
            let place = std::path::absolute(file).ok();
            *room = place.and_then(|place| Room::of(&place)).map(Box::new);
        }
        self
    }

    /// Who has to act.
    pub fn kind(&self) -> ErrorKind {
        use StoreError as E;
        match self {
            E::NoSpace { .. } => ErrorKind::NoSpace,
            E::Missing { .. } => ErrorKind::Missing,
            E::Corrupt { .. } | E::DamagedFile { .. } | E::Decode { .. } => ErrorKind::Corrupt,
            E::Interrupted => ErrorKind::Interrupted,
            E::NotAStore { .. }
            | E::LinkedFolder { .. }
            | E::LostFormat { .. }
            | E::NewerFormat { .. }
            | E::ReadOnly { .. } => ErrorKind::Format,
            E::UnmappedOwner { .. } => ErrorKind::Owner,
            E::Device { .. } => ErrorKind::Lossy,
            E::Tar(TarError::Read { .. }) | E::Git(GitError::NoProgram { .. }) => {
                ErrorKind::Machine
            }
            E::NoSuchPath { .. }
            | E::BadEntry { .. }
            | E::Duplicate { .. }
            | E::Conflict { .. }
            | E::BadLink { .. }
            | E::TooDeep { .. }
            | E::TooLarge { .. }
            | E::Changed { .. }
            | E::Tar(_)
            | E::Git(_)
            | E::NotALink { .. }
            | E::BadName { .. } => ErrorKind::Input,
            E::Image(_) | E::Io { .. } | E::Unreadable { .. } | E::Database { .. } => {
                ErrorKind::Machine
            }
        }
    }
}

/// Bytes of a path as text for messages.
pub(crate) fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
