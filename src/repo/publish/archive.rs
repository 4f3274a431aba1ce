//! One archive of a publication: written once, with both digests of what was written; taken as it is where an earlier
//! try had finished it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use mstore_store::{Cancel, ExportOptions, Store, StoreError, TreeHash, compress::Compression};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::repo::compress::Method;
use crate::repo::hash::Digests;
use crate::repo::owner::Ownership;
use crate::repo::whole;

/// Before the name of an archive, in a hidden folder: the note that it is finished.
pub const MADE: &str = ".made-";
/// The largest such note, in bytes.
const MAX_NOTE: u64 = 4096;

/// An archive that is finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its digests and size.
    pub digests: Digests,
    /// Whether an earlier try had made it.
    pub resumed: bool,
}

/// The note beside a finished archive.
#[derive(Serialize, Deserialize)]
struct Note {
    tree: String,
    bytes: u64,
    sha256: [u8; 32],
    blake3: [u8; 32],
}

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The tree cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Somebody ended it.
    #[error("interrupted")]
    Interrupted,
}

fn note_name(name: &OsStr) -> OsString {
    let mut note = OsString::from(MADE);
    note.push(name);
    note
}

/// Writes the archive of a tree into a folder; equal trees and methods give equal bytes.
pub fn make(
    store: &Store,
    tree: TreeHash,
    folder: &OwnedFd,
    name: &OsStr,
    method: Method,
    ownership: &Ownership,
    cancel: &Cancel,
) -> Result<Made, ArchiveError> {
    let note = note_name(name);
    if let Some(made) = finished(folder, name, &note, tree) {
        return Ok(made);
    }
    let flags =
        OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(whole::FILE_MODE);
    let file = File::from(rustix::fs::openat(folder, name, flags, mode).map_err(io::Error::from)?);
    rustix::fs::fchmod(&file, mode).map_err(io::Error::from)?;
    let mut out = Counted {
        file: BufWriter::with_capacity(1 << 20, &file),
        sha256: Sha256::new(),
        blake3: blake3::Hasher::new(),
        bytes: 0,
        cancel,
    };
    let written = write(store, tree, &mut out, method);
    if cancel.is_cancelled() {
        return Err(ArchiveError::Interrupted);
    }
    written?;
    out.file.flush()?;
    let digests = Digests {
        sha256: out.sha256.finalize().into(),
        blake3: out.blake3.finalize().into(),
        bytes: out.bytes,
    };
    file.sync_all()?;
    ownership.give(folder, Path::new(name))?;
    let text = serde_json::to_vec(&Note {
        tree: tree.to_string(),
        bytes: digests.bytes,
        sha256: digests.sha256,
        blake3: digests.blake3,
    });
    let text = text.map_err(io::Error::other)?;
    whole::write(folder, &note, &text, &Ownership::default())?;
    Ok(Made {
        digests,
        resumed: false,
    })
}

/// The archive of an earlier try, if it was finished.
fn finished(folder: &OwnedFd, name: &OsStr, note: &OsStr, tree: TreeHash) -> Option<Made> {
    let text = whole::read(folder, note, MAX_NOTE).ok()??;
    let note: Note = serde_json::from_slice(&text).ok()?;
    let there = whole::open(folder, name).ok()?.metadata().ok()?.len();
    (note.tree == tree.to_string() && note.bytes == there).then_some(Made {
        digests: Digests {
            sha256: note.sha256,
            blake3: note.blake3,
            bytes: note.bytes,
        },
        resumed: true,
    })
}

fn write(
    store: &Store,
    tree: TreeHash,
    out: &mut Counted<'_>,
    method: Method,
) -> Result<(), ArchiveError> {
    match method {
        Method::Usual(compression) => {
            store.export_tar(tree, out, &ExportOptions::new(compression))?;
        }
        Method::Bzip2 => {
            let mut out = bzip2::write::BzEncoder::new(out, bzip2::Compression::best());
            store.export_tar(tree, &mut out, &ExportOptions::new(Compression::None))?;
            out.finish()?;
        }
    }
    Ok(())
}

/// Hashes what it writes, and stops when somebody wants it to.
struct Counted<'a> {
    file: BufWriter<&'a File>,
    sha256: Sha256,
    blake3: blake3::Hasher,
    bytes: u64,
    cancel: &'a Cancel,
}

impl Write for Counted<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let n = self.file.write(data)?;
        self.sha256.update(&data[..n]);
        self.blake3.update(&data[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
