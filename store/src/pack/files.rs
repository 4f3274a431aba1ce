//! Pack files that are opened when they are needed, and closed again before there are too many.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use rustix::io::Errno;

use super::{EXTENSION, Pack, PackKind};
use crate::disk::Disk;
use crate::{Hash, StoreError};

/// How many packs of a folder are mapped at a time. The kernel allows a process 65,530 mappings in all,
/// and a process may work with several stores and caches.
const MOST_MAPPED: usize = 8192;

/// What is known of a pack before it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PackRow {
    pub name: String,
    pub kind: PackKind,
    /// Length of the file.
    pub bytes: u64,
    pub objects: u64,
    /// What the pack has in its foot. Unknown of one that a release wrote which did not note it.
    pub index_hash: Option<Hash>,
    /// The hash of all before the index, likewise.
    pub records_hash: Option<Hash>,
}

impl PackRow {
    /// What is known of a pack that cannot be opened.
    pub fn unknown(name: String) -> PackRow {
        PackRow {
            name,
            kind: PackKind::Data,
            bytes: 0,
            objects: 0,
            index_hash: None,
            records_hash: None,
        }
    }

    /// What an open pack tells of itself.
    pub fn of(pack: &Pack) -> PackRow {
        PackRow {
            name: pack.name.clone(),
            kind: pack.kind(),
            bytes: pack.len(),
            objects: pack.count() as u64,
            index_hash: Some(pack.index_hash()),
            records_hash: None,
        }
    }

    /// Tells whether it tells of this pack, as far as that is seen without reading all of it.
    fn is_of(&self, pack: &Pack) -> bool {
        let (bytes, objects) = (pack.len(), pack.count() as u64);
        (bytes, objects) == (self.bytes, self.objects)
            && (objects == 0 || pack.kind() == self.kind)
            && self.index_hash.is_none_or(|hash| hash == pack.index_hash())
    }
}

/// A folder of packs, and which of them are mapped.
#[derive(Debug)]
pub(crate) struct PackFiles {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    most: usize,
    /// Those that were opened, the oldest first.
    opened: Mutex<VecDeque<Weak<PackFile>>>,
}

impl PackFiles {
    pub fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Arc<PackFiles> {
        Self::with_most(disk, folder, MOST_MAPPED)
    }

    /// The same with another bound.
    pub(super) fn with_most(disk: Arc<dyn Disk>, folder: PathBuf, most: usize) -> Arc<PackFiles> {
        Arc::new(PackFiles {
            disk,
            folder,
            most,
            opened: Mutex::default(),
        })
    }

    /// Where a pack lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{EXTENSION}"))
    }

    /// Opens a pack whatever is known of it.
    pub fn open(&self, name: &str) -> Result<Pack, StoreError> {
        Pack::open(self.disk.as_ref(), name, &self.path(name))
    }

    /// Takes in that a pack was opened; closes the one that was opened first when there are too many.
    fn note(&self, file: &Arc<PackFile>) {
        let mut opened = lock(&self.opened);
        opened.push_back(Arc::downgrade(file));
        let more = opened.len().saturating_sub(self.most);
        let close: Vec<Weak<PackFile>> = opened.drain(..more).collect();
        drop(opened);
        close_each(close);
    }

    /// Closes all that nobody uses at the moment.
    fn close_all(&self) {
        let all = std::mem::take(&mut *lock(&self.opened));
        close_each(all.into());
    }
}

fn close_each(files: Vec<Weak<PackFile>>) {
    for file in files.iter().filter_map(Weak::upgrade) {
        // One that is being opened at this moment stays, and its thread may be ours.
        if let Ok(mut pack) = file.pack.try_lock() {
            *pack = None;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is locked here is only ever replaced.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// A pack of a folder.
#[derive(Debug)]
pub(crate) struct PackFile {
    files: Arc<PackFiles>,
    row: PackRow,
    path: PathBuf,
    pack: Mutex<Option<Arc<Pack>>>,
}

impl PackFile {
    pub fn new(files: &Arc<PackFiles>, row: PackRow) -> Arc<PackFile> {
        Arc::new(PackFile {
            path: files.path(&row.name),
            files: files.clone(),
            row,
            pack: Mutex::default(),
        })
    }

    pub fn name(&self) -> &str {
        &self.row.name
    }

    pub fn row(&self) -> &PackRow {
        &self.row
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Tells whether this pack holds objects that name others.
    pub fn is_meta(&self) -> bool {
        self.row.kind == PackKind::Meta
    }

    /// Length of the file.
    pub fn len(&self) -> u64 {
        self.row.bytes
    }

    /// Objects in this pack.
    pub fn count(&self) -> usize {
        self.row.objects as usize
    }

    /// The pack, opened if need be. Whoever has it may read it, even when its file was removed.
    pub fn open(self: &Arc<Self>) -> Result<Arc<Pack>, StoreError> {
        let mut slot = lock(&self.pack);
        if let Some(pack) = &*slot {
            return Ok(pack.clone());
        }
        let opened = match self.files.open(&self.row.name) {
            Err(error) if is_exhausted(&error) => {
                // None of those to be closed is this one: it is not open.
                self.files.close_all();
                self.files.open(&self.row.name)?
            }
            other => other?,
        };
        if !self.row.is_of(&opened) {
            return Err(StoreError::DamagedFile {
                path: self.path.clone(),
                detail: "it is not the pack that the database tells of".into(),
            });
        }
        let pack = Arc::new(opened);
        *slot = Some(pack.clone());
        drop(slot);
        self.files.note(self);
        Ok(pack)
    }
}

/// Whether the process has too many mappings or files.
fn is_exhausted(error: &StoreError) -> bool {
    let exhausted = |e: &io::Error| {
        let numbers = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
        Errno::from_io_error(e).is_some_and(|number| numbers.contains(&number))
    };
    matches!(error, StoreError::Io { source, .. } if exhausted(source))
}
