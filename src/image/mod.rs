//! Media that machines start from: an ISO 9660 image that holds a tree as squashfs, and a disk that holds it as ext4.
//! Beside them, and beside any other export, the list of what is in a tree ([`contents`]).
//!
//! The tree stays as it is: kernel, first root and boot loader lie beside it, outside of the file system that holds
//! it. They come from the tree where it has them, else from a folder that the caller names ([`pieces`]). What starts is
//! a root in memory that looks for the medium by its identifier and enters it ([`initrd`]).
//!
//! The same tree, pieces and releases of the tools give the same bytes.

mod contents;
mod disk;
mod initrd;
mod iso;
mod kernel;
mod loader;
mod pieces;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use mstore_store::{Cancel, Store, StoreError, TreeHash, Unmakeable};

pub use contents::{ContentsError, contents};
pub use disk::disk;
pub use iso::iso;

/// 1980-01-01, the time of what no tree has a time for.
const EPOCH: u64 = 315_532_800;
/// Keeps identifiers of media apart from hashes of anything else.
const CONTEXT: &str = "mstore 2026 image medium";

/// How to make a medium.
#[derive(Clone, Debug, Default)]
pub struct MediaOptions {
    /// Whether machines can be started from it.
    pub boots: bool,
    /// A folder that has what the tree lacks: `boot/vmlinuz*`, `lib/modules`, `bin/busybox`, `usr/lib/grub`.
    pub from: Option<PathBuf>,
    /// The kernel, if it is another one than these have.
    pub kernel: Option<PathBuf>,
    /// The first root, if it is not to be made.
    pub initrd: Option<PathBuf>,
    /// What the kernel is told besides.
    pub append: Vec<String>,
    /// The line of the boot loader's menu.
    pub title: String,
    /// The machine that the tree is for, by the name that `uname -m` has, if that is known.
    pub machine: Option<String>,
    /// Bytes that are to be free on a disk.
    pub free: Option<u64>,
    /// Whether devices that this user cannot make are left out.
    pub lossy: bool,
    /// Ends it with [`StoreError::Interrupted`].
    pub cancel: Cancel,
    /// Gets the length of the file while it grows.
    pub progress: Option<Arc<AtomicU64>>,
}

impl MediaOptions {
    fn devices(&self) -> Unmakeable {
        match self.lossy {
            true => Unmakeable::LeaveOut,
            false => Unmakeable::Fail,
        }
    }
}

/// What was made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Medium {
    /// The firmware of machines that it starts on: `bios`, `uefi`.
    pub firmware: Vec<&'static str>,
    /// The release of its kernel.
    pub kernel: Option<String>,
    /// How many modules of the kernel the first root has, if that was made.
    pub modules: Option<usize>,
}

/// Why a medium could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The store failed, or a tool did.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something that is needed to start a machine is nowhere.
    #[error("{what} is missing; looked for in {places}")]
    Missing {
        /// What it is.
        what: &'static str,
        /// Where it was looked for.
        places: String,
        /// The package of Debian that has it.
        package: &'static str,
    },
    /// A file is not what it has to be.
    #[error("{place}: {reason}")]
    Unfit {
        /// The file.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A word for the kernel's command line has characters that boot loaders do not pass on.
    #[error("the kernel cannot be told `{0}`: letters, digits and _ - . , : = / + @ % only")]
    Word(String),
    /// There is no boot loader for such a machine.
    #[error("there is no boot loader here for machines of {0}, only for x86-64")]
    Machine(String),
}

impl MediaError {
    fn io(what: &'static str, path: &Path, source: std::io::Error) -> MediaError {
        MediaError::Io {
            what,
            path: path.into(),
            source,
        }
    }
}

/// The identifier of a medium, by what is on it.
fn identifier(tree: TreeHash, kind: &str) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(kind.as_bytes());
    hasher.update(tree.to_string().as_bytes());
    let mut id = [0; 16];
    id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    // A UUID of the kind that is made of what somebody likes.
    id[6] = 0x80 | id[6] & 0x0f;
    id[8] = 0x80 | id[8] & 0x3f;
    id
}

/// Whether a tree holds a system as squashfs already, beside its kernels: the target `livecd` makes such.
fn is_live(store: &Store, tree: TreeHash) -> bool {
    let file = |path: &str| {
        let found = store.look_up(tree, path, false);
        found.is_ok_and(|found| matches!(found.kind, mstore_store::Kind::File { .. }))
    };
    file("livecd") && file("image.squashfs")
}

/// Gives everything in a folder the same time, the folder last.
fn settle_times(folder: &Path) -> std::io::Result<()> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => settle_times(&path)?,
            false => set_time(&path)?,
        }
    }
    return set_time(folder);

    fn set_time(path: &Path) -> std::io::Result<()> {
        let time = Timespec {
            tv_sec: EPOCH as i64,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(utimensat(CWD, path, &times, AtFlags::empty())?)
    }
}
