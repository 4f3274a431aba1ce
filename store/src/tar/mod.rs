//! Archives: read with suspicion, written reproducibly.
//!
//! [`Store::import_tar`](crate::Store::import_tar) takes plain, gzip, bzip2, xz and zstd archives
//! (told apart by their first bytes, not by a name) in all dialects in use: V7, ustar, GNU with long
//! names and sparse files, PAX with attributes, access lists, fractional times and the three
//! generations of sparse files. It streams: contents are hashed and compressed while reading goes on,
//! and no number in a header makes it allocate.
//!
//! Of extended attributes, those are kept that an import of a folder keeps: `user.*`, access lists and
//! file capabilities. Others describe the machine on which the archive was made.
//!
//! An archive is refused, and the store left as it was, when it is damaged, cut short, larger than
//! [`TarLimits`] allow, when it names anything outside of itself, or when tools in use would
//! disagree about what it holds. The error is a [`TarError`] that names the entry.
//!
//! [`Store::export_tar`](crate::Store::export_tar) writes a tree as a PAX archive whose bytes depend
//! on the tree and on [`ExportOptions::compression`] alone; GNU tar, bsdtar and Python's `tarfile`
//! read back all metadata.

pub(crate) mod acl;
mod attributes;
mod error;
pub(crate) mod export;
mod header;
mod import;
mod number;
mod path;
mod pax;
mod pump;
mod reader;
mod sparse;

pub use error::{EntryFault, TarError};
pub use export::{Exported, Within};
pub use import::{Checked, check};

use crate::compress::{Compression, DecodeLimits};
use crate::manifest::{MAX_DEPTH, MAX_XATTRS, Mtime};

/// What to make of an archive.
#[derive(Clone, Debug, Default)]
pub struct TarOptions {
    /// Keeps content alone, as [`ImportOptions::normalise`](crate::ImportOptions::normalise) does.
    pub normalise: Option<Mtime>,
    /// What to do with a folder that holds everything else, as release tarballs have.
    pub strip_top: StripTop,
    /// Whether device nodes are taken. Real root file systems have some; snapshots have none.
    pub devices: Devices,
    /// How much an archive may hold.
    pub limits: TarLimits,
}

impl TarOptions {
    /// Options for seeds: everything is kept.
    pub fn seed() -> TarOptions {
        TarOptions::default()
    }

    /// Options for snapshots: content alone, no devices, a single top folder is taken off.
    pub fn snapshot() -> TarOptions {
        TarOptions {
            normalise: crate::ImportOptions::snapshot().normalise,
            strip_top: StripTop::IfSingle,
            devices: Devices::Refuse,
            limits: TarLimits::default(),
        }
    }
}

/// What to do with a folder that holds everything else in an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StripTop {
    /// Keeps it.
    #[default]
    No,
    /// Makes it the root if there is exactly one.
    IfSingle,
    /// Makes it the root, and refuses an archive that has none or more than one.
    Require,
}

/// Whether device nodes are taken from an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// They become part of the tree, up to [`TarLimits::devices`] of them.
    #[default]
    Take,
    /// An archive with one is refused.
    Refuse,
}

/// How much an archive may hold. The defaults are far above any real root file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TarLimits {
    /// Entries.
    pub entries: u64,
    /// Device nodes.
    pub devices: u64,
    /// Bytes of one file, holes included.
    pub file_bytes: u64,
    /// Bytes of all files together, holes included.
    pub total_bytes: u64,
    /// Bytes of names, link targets and attributes of all entries together: these are held in memory.
    pub metadata_bytes: u64,
    /// Bytes of one path or link target.
    pub path_length: usize,
    /// Components of one path.
    pub depth: usize,
    /// Bytes of one PAX header.
    pub extension_bytes: u64,
    /// Runs of data in one sparse file.
    pub sparse_runs: usize,
    /// How far a compressed archive may expand.
    pub decode: DecodeLimits,
}

impl Default for TarLimits {
    fn default() -> TarLimits {
        TarLimits {
            entries: 4_000_000,
            devices: 4_096,
            file_bytes: 64 << 30,
            total_bytes: 256 << 30,
            metadata_bytes: 1 << 30,
            path_length: 4_096,
            depth: MAX_DEPTH,
            // Room for the attributes that a tree can hold, in both notations.
            extension_bytes: 4 * MAX_XATTRS as u64,
            sparse_runs: 1 << 18,
            decode: DecodeLimits::default(),
        }
    }
}

/// How to write an archive.
///
/// There is nothing to choose about the archive itself. Entries come in the order of their names,
/// each folder before what is in it. Owners are numbers without names. Whatever the classic header
/// cannot hold (long names, fractions of seconds, times before 1970, large numbers, attributes,
/// access lists) stands in PAX records, and nothing else does. Hard links point to the first of their
/// paths. Sparse files are written in full: the three forms of holes are not read alike by all tools,
/// a compressor makes nothing of zeros, and a checkout makes the holes again. Sockets cannot be
/// archived and are left out, as other tools do; [`Exported::sockets`] counts them.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportOptions {
    /// The compressor and its level, which decide about the bytes.
    pub compression: Compression,
    /// How many threads compress; 0 means one for each processor. This changes no byte.
    pub threads: usize,
}

impl ExportOptions {
    /// Options for a compressor, with a thread for each processor.
    pub fn new(compression: Compression) -> ExportOptions {
        ExportOptions {
            compression,
            threads: 0,
        }
    }
}

#[cfg(test)]
mod tests;
