//! Reads a directory into the store: whole ([`Store::import_dir`]), or laid over a tree
//! ([`Store::capture`]).
//!
//! One thread walks, through open directories only, so that nobody can swap a directory for a link
//! under it. Files that must be read are opened and read by workers, those of one directory in
//! bundles; long ones are read by the walk, and their chunks compressed by workers. A directory is
//! encoded as soon as the last of what is in it is known, so that memory holds the frontier of the
//! walk and not the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fstat, openat,
};

use crate::attributes::{Attributes, Place, Spelling};
use crate::error::show;
use crate::ingest::Ingest;
use crate::manifest::{Entry, Kind, Manifest, Meta, Mtime, Tree};
use crate::statcache::StatCache;
use crate::workers::{Batch, Turn, sole_owner};
use crate::{
    CaptureBounds, CaptureOptions, Captured, DirHash, ImportOptions, Imported, Need, Store,
    StoreError, TreeHash,
};

mod file;
#[cfg(test)]
mod tests;
mod walk;

use walk::Walk;

/// Rules of one scan.
#[derive(Debug, Default)]
struct Rules {
    normalise: Option<Mtime>,
    exclude: BTreeSet<Vec<u8>>,
    one_file_system: bool,
    /// Set for an overlayfs upper directory: the time that nothing may be later than.
    clamp: Option<i64>,
    bounds: CaptureBounds,
}

impl Rules {
    fn spelling(&self) -> Spelling {
        match self.clamp {
            Some(_) => Spelling::Overlay,
            None => Spelling::Plain,
        }
    }
}

/// Device and inode.
type Inode = (u64, u64);

/// State shared by the walk and its workers.
#[derive(Debug)]
struct Scan {
    ingest: Arc<Ingest>,
    store: Store,
    /// The directory scanned, for messages.
    top: PathBuf,
    rules: Rules,
    cache: Option<StatCache>,
    entries: AtomicU64,
    bytes: AtomicU64,
    changed: AtomicU64,
    /// Names of entries that have several, by device and inode.
    links: Mutex<BTreeMap<Inode, Vec<Vec<u8>>>>,
    /// Paths at which a capture shows something else than its base.
    covered: Mutex<BTreeSet<Vec<u8>>>,
    root: OnceLock<DirHash>,
}

/// A directory whose entries are not all known yet.
#[derive(Debug)]
struct Frame {
    parent: Option<(Arc<Frame>, usize)>,
    entries: Mutex<Vec<Entry>>,
    /// Entries still to come, and one for the walk itself.
    left: AtomicUsize,
    path: Vec<u8>,
}

impl Frame {
    fn new(parent: Option<(Arc<Frame>, usize)>, entries: Vec<Entry>, path: Vec<u8>) -> Arc<Frame> {
        Arc::new(Frame {
            parent,
            entries: Mutex::new(entries),
            left: AtomicUsize::new(1),
            path,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        // A worker that panicked fails the whole scan.
        self.entries.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Directory at the top of a scan.
fn open_top(path: &Path) -> Result<OwnedFd, StoreError> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(CWD, path, flags, Mode::empty()).map_err(|e| StoreError::io("open directory", path, e))
}

impl Store {
    /// Reads a directory into the store, durably.
    ///
    /// Files that an earlier import of the same directory has read and that did not change since
    /// (same inode, size and times, and old enough for the times to be trusted) are not read again.
    pub fn import_dir(&self, path: &Path, options: &ImportOptions) -> Result<Imported, StoreError> {
        let need = || Some(Need::Folder(crate::room::measure(path)));
        self.import(path, options).map_err(|e| e.needing(need))
    }

    fn import(&self, path: &Path, options: &ImportOptions) -> Result<Imported, StoreError> {
        let top = open_top(path)?;
        let stat = fstat(&top).map_err(|e| StoreError::io("look at", path, e))?;
        let cache = if options.no_cache {
            None
        } else {
            let kind = match options.normalise {
                Some(_) => "content",
                None => "full",
            };
            Some(StatCache::open(self, (stat.st_dev, stat.st_ino), kind))
        };
        let exclude = options.exclude.iter();
        let rules = Rules {
            normalise: options.normalise,
            exclude: exclude.map(|p| p.as_os_str().as_bytes().to_vec()).collect(),
            one_file_system: options.one_file_system,
            ..Rules::default()
        };
        let scan = Scan::begin(self, path, rules, cache)?;
        let done = scan.run(top, None)?;
        let (entries, bytes) = (done.entries.into_inner(), done.bytes.into_inner());
        let new_bytes = done.ingest.commit(done.tree)?;
        if let Some(cache) = done.cache {
            cache.save(self);
        }
        Ok(Imported {
            tree: done.tree,
            entries,
            bytes,
            new_bytes,
        })
    }

    /// Merges what a build wrote (an overlayfs upper directory, mounted with `userxattr`) with what
    /// it started from. Also clamps the times in the upper directory itself, so that it can be kept
    /// as a layer.
    ///
    /// The metadata of the root directory is that of `upper` itself, as overlayfs shows it: make the
    /// directory with [`Store::prepare_upper`].
    ///
    /// Extended attributes that a tree does not hold (`security.*` but for capabilities, `trusted.*`) are
    /// removed from what lies in `upper`, as far as the system lets them be.
    pub fn capture(
        &self,
        base: TreeHash,
        upper: &Path,
        options: &CaptureOptions,
    ) -> Result<Captured, StoreError> {
        self.capture_within(base, upper, options, &CaptureBounds::default())
    }

    /// Captures like [`Store::capture`], within bounds.
    pub fn capture_within(
        &self,
        base: TreeHash,
        upper: &Path,
        options: &CaptureOptions,
        bounds: &CaptureBounds,
    ) -> Result<Captured, StoreError> {
        let _turn = Turn::take();
        let top = open_top(upper)?;
        let rules = Rules {
            clamp: Some(options.epoch),
            bounds: bounds.clone(),
            ..Rules::default()
        };
        let scan = Scan::begin(self, upper, rules, None)?;
        let base = self.tree(base)?;
        let done = scan.run(top, Some(&base))?;
        let (changed, bytes) = (done.changed.into_inner(), done.bytes.into_inner());
        done.ingest.commit(done.tree)?;
        Ok(Captured {
            tree: done.tree,
            changed,
            bytes,
        })
    }
}

/// A scan that has seen everything.
struct Done {
    tree: TreeHash,
    ingest: Ingest,
    cache: Option<StatCache>,
    entries: AtomicU64,
    bytes: AtomicU64,
    changed: AtomicU64,
}

impl Scan {
    fn begin(
        store: &Store,
        top: &Path,
        rules: Rules,
        cache: Option<StatCache>,
    ) -> Result<Scan, StoreError> {
        Ok(Scan {
            ingest: Arc::new(Ingest::begin(store)?),
            store: store.clone(),
            top: top.to_path_buf(),
            rules,
            cache,
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            changed: AtomicU64::new(0),
            links: Mutex::default(),
            covered: Mutex::default(),
            root: OnceLock::new(),
        })
    }

    fn run(self, top: OwnedFd, base: Option<&Tree>) -> Result<Done, StoreError> {
        let scan = Arc::new(self);
        let batch = Batch::new()?;
        let walked = Walk::new(&scan, &batch).top(top, base);
        if walked.is_err() {
            batch.cancel();
        }
        let worked = batch.wait();
        let root = walked?;
        worked?;
        let scan = sole_owner(scan, || ())?;
        let dir = *scan.root.get().ok_or_else(|| {
            StoreError::io(
                "finish",
                &scan.top,
                io::Error::other("directory is incomplete"),
            )
        })?;
        let links = scan.links.into_inner().unwrap_or_else(|e| e.into_inner());
        let mut links: Vec<_> = links.into_values().collect();
        if let Some(base) = base {
            let covered = scan.covered.into_inner().unwrap_or_else(|e| e.into_inner());
            for group in &base.links {
                let stays = |path: &&Vec<u8>| !is_covered(&covered, path);
                links.push(group.iter().filter(stays).cloned().collect());
            }
        }
        let tree = scan.ingest.put_tree(&Tree {
            root,
            dir,
            links: Tree::normal_links(links),
        })?;
        Ok(Done {
            tree,
            ingest: sole_owner(scan.ingest, || ())?,
            cache: scan.cache,
            entries: scan.entries,
            bytes: scan.bytes,
            changed: scan.changed,
        })
    }

    fn full(&self, path: &[u8]) -> PathBuf {
        self.top.join(std::ffi::OsStr::from_bytes(path))
    }

    fn io(&self, action: &'static str, path: &[u8], error: impl Into<io::Error>) -> StoreError {
        StoreError::io(action, self.full(path), error)
    }

    /// Fails once the caller asked to stop.
    fn go_on(&self) -> Result<(), StoreError> {
        match self.rules.bounds.cancel.is_cancelled() {
            true => Err(StoreError::Interrupted),
            false => Ok(()),
        }
    }

    /// Reads the attributes that belong to a tree. In an upper directory, which later builds may see, the
    /// others are removed.
    fn attributes<F: AsFd>(&self, place: &Place<'_, F>) -> rustix::io::Result<Attributes> {
        if self.rules.normalise.is_some() {
            return Ok(Vec::new());
        }
        let spelling = self.rules.spelling();
        match self.rules.clamp {
            Some(_) => place.read_and_strip(spelling),
            None => place.read(spelling),
        }
    }

    fn meta(&self, stat: &Stat, xattrs: Attributes) -> Meta {
        if let Some(mtime) = self.rules.normalise {
            let kind = FileType::from_raw_mode(stat.st_mode);
            let mode = match kind {
                FileType::Symlink => 0o777,
                FileType::Directory => 0o755,
                _ if stat.st_mode & 0o100 != 0 => 0o755,
                _ => 0o644,
            };
            return Meta {
                mode,
                mtime,
                ..Meta::default()
            };
        }
        Meta {
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime: self.clamped(mtime_of(stat)),
            xattrs,
        }
    }

    /// The time of an entry of an upper directory that the tree is to have.
    fn clamped(&self, mtime: Mtime) -> Mtime {
        match self.rules.clamp {
            Some(epoch) => mtime.min(Mtime {
                secs: epoch,
                nanos: 0,
            }),
            None => mtime,
        }
    }

    /// Puts what became known of one entry in its place, and finishes all directories that this
    /// completes.
    fn deliver(
        &self,
        frame: Arc<Frame>,
        slot: usize,
        meta: Option<Meta>,
        kind: Kind,
    ) -> Result<(), StoreError> {
        {
            let mut entries = frame.lock();
            let entry = &mut entries[slot];
            entry.kind = kind;
            if let Some(meta) = meta {
                entry.meta = meta;
            }
        }
        self.release(frame)
    }

    fn release(&self, frame: Arc<Frame>) -> Result<(), StoreError> {
        let mut frame = frame;
        loop {
            if frame.left.fetch_sub(1, Ordering::AcqRel) != 1 {
                return Ok(());
            }
            let entries = std::mem::take(&mut *frame.lock());
            let manifest = Manifest::new(entries).map_err(|e| StoreError::BadEntry {
                path: show(&join(&frame.path, &e.name)),
                reason: e.reason,
            })?;
            let manifest = self.ingest.put_manifest(&manifest)?;
            let Some((parent, slot)) = frame.parent.clone() else {
                let _ = self.root.set(manifest);
                return Ok(());
            };
            parent.lock()[slot].kind = Kind::Dir { manifest };
            frame = parent;
        }
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return name.to_vec();
    }
    [path, b"/", name].concat()
}

pub(crate) fn mtime_of(stat: &Stat) -> Mtime {
    Mtime {
        secs: stat.st_mtime,
        nanos: stat.st_mtime_nsec as u32,
    }
}

/// Times for a call that sets the modification time alone.
pub(crate) fn times(mtime: Mtime) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT as _,
        },
        last_modification: Timespec {
            tv_sec: mtime.secs,
            tv_nsec: mtime.nanos.into(),
        },
    }
}

/// Tells whether a path or a directory above it is covered.
fn is_covered(covered: &BTreeSet<Vec<u8>>, path: &[u8]) -> bool {
    if covered.is_empty() {
        return false;
    }
    let ends = path
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'/')
        .map(|(at, _)| at)
        .chain([path.len()]);
    ends.into_iter().any(|end| covered.contains(&path[..end]))
}
