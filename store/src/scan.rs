//! Reads a directory into the store: whole ([`Store::import_dir`]), or laid over a tree
//! ([`Store::capture`]).
//!
//! One thread walks, through open directories only, so that nobody can swap a directory for a link
//! under it. Files that must be read are opened by the walk and read by workers. A directory is
//! encoded as soon as the last of what is in it is known, so that memory holds the frontier of the
//! walk and not the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_OMIT, fstat,
    openat, readlinkat, statat, utimensat,
};
use rustix::io::Errno;

use crate::attributes::{Attributes, OPAQUE, Place, Spelling, WHITEOUT};
use crate::error::show;
use crate::ingest::{CHUNK_ABOVE, Ingest};
use crate::manifest::{Entry, Kind, MAX_DEPTH, Manifest, Meta, Mtime, Tree};
use crate::statcache::{Key, StatCache};
use crate::workers::{Batch, sole_owner};
use crate::{
    CaptureOptions, Captured, DirHash, ImportOptions, Imported, Store, StoreError, TreeHash,
};

/// Rules of one scan.
#[derive(Debug, Default)]
struct Rules {
    normalise: Option<Mtime>,
    exclude: BTreeSet<Vec<u8>>,
    one_file_system: bool,
    /// Set for an overlayfs upper directory: the time that nothing may be later than.
    clamp: Option<i64>,
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
    ingest: Ingest,
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
            clamp: None,
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
    pub fn capture(
        &self,
        base: TreeHash,
        upper: &Path,
        options: &CaptureOptions,
    ) -> Result<Captured, StoreError> {
        let top = open_top(upper)?;
        let rules = Rules {
            clamp: Some(options.epoch),
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
            ingest: Ingest::begin(store)?,
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
        let walked = Walk {
            scan: &scan,
            batch: &batch,
            device: 0,
            path: Vec::new(),
        }
        .top(top, base);
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
            ingest: scan.ingest,
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
        let mut mtime = mtime_of(stat);
        if let Some(epoch) = self.rules.clamp {
            mtime = mtime.min(Mtime {
                secs: epoch,
                nanos: 0,
            });
        }
        Meta {
            mode: (stat.st_mode & 0o7777) as u16,
            uid: stat.st_uid,
            gid: stat.st_gid,
            mtime,
            xattrs,
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

    /// A worker's job: reads one file.
    fn read_file(
        &self,
        file: File,
        path: Vec<u8>,
        frame: Arc<Frame>,
        slot: usize,
    ) -> Result<(), StoreError> {
        let full = self.full(&path);
        let mut tries = 0;
        let (stat, blob, size) = loop {
            let before = fstat(&file).map_err(|e| self.io("look at", &path, e))?;
            let length = before.st_size.unsigned_abs();
            let (blob, size) = if length <= CHUNK_ABOVE as u64 {
                let mut buffer = Vec::with_capacity(length as usize + 1);
                let mut reader = Pread {
                    file: &file,
                    at: 0,
                    holes: None,
                };
                (&mut reader)
                    .take(CHUNK_ABOVE as u64 + 1)
                    .read_to_end(&mut buffer)
                    .map_err(|e| self.io("read", &path, e))?;
                (self.ingest.put_blob(&buffer)?, buffer.len() as u64)
            } else {
                let sparse = before.st_blocks.unsigned_abs().saturating_mul(512) < length;
                let mut reader = Pread {
                    file: &file,
                    at: 0,
                    holes: sparse.then_some(Holes::default()),
                };
                self.ingest.put_stream(&mut reader, &full)?
            };
            let after = fstat(&file).map_err(|e| self.io("look at", &path, e))?;
            let same = size == length
                && before.st_size == after.st_size
                && before.st_mtime == after.st_mtime
                && before.st_mtime_nsec == after.st_mtime_nsec;
            if same {
                break (after, blob, size);
            }
            tries += 1;
            if tries == 3 {
                return Err(StoreError::Changed { path: full });
            }
        };
        let xattrs = if self.rules.normalise.is_some() {
            Vec::new()
        } else {
            Place::Open(&file)
                .read(self.rules.spelling())
                .map_err(|e| self.io("read attributes of", &path, e))?
        };
        self.bytes.fetch_add(size, Ordering::Relaxed);
        if let Some(cache) = &self.cache {
            cache.add(Key::of(&stat), blob, &xattrs);
        }
        let meta = self.meta(&stat, xattrs);
        self.deliver(frame, slot, Some(meta), Kind::File { blob, size })
    }
}

/// The walk itself.
struct Walk<'a> {
    scan: &'a Arc<Scan>,
    batch: &'a Batch,
    device: u64,
    path: Vec<u8>,
}

impl Walk<'_> {
    fn top(&mut self, top: OwnedFd, base: Option<&Tree>) -> Result<Meta, StoreError> {
        let scan = self.scan;
        let stat = fstat(&top).map_err(|e| scan.io("look at", b"", e))?;
        self.device = stat.st_dev;
        let meta = self.dir_meta(&top, &stat)?;
        // The root of an upper directory is laid over the base's root, never opaque.
        self.dir(&top, None, base.map(|tree| tree.dir))?;
        if scan.rules.clamp.is_some() && meta.mtime != mtime_of(&stat) {
            let times = times(meta.mtime);
            rustix::fs::futimens(&top, &times).map_err(|e| scan.io("set times of", b"", e))?;
        }
        Ok(meta)
    }

    fn dir_meta(&self, dir: &OwnedFd, stat: &Stat) -> Result<Meta, StoreError> {
        let scan = self.scan;
        let xattrs = if scan.rules.normalise.is_some() {
            Vec::new()
        } else {
            Place::Open(dir)
                .read(scan.rules.spelling())
                .map_err(|e| scan.io("read attributes of", &self.path, e))?
        };
        Ok(scan.meta(stat, xattrs))
    }

    /// Scans a directory whose entry waits in `parent`.
    fn dir(
        &mut self,
        dir: &OwnedFd,
        parent: Option<(Arc<Frame>, usize)>,
        base: Option<DirHash>,
    ) -> Result<(), StoreError> {
        let scan = self.scan;
        let fail = |action, error: Errno| scan.io(action, &self.path, error);
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(dir).map_err(|e| fail("list", e))? {
            let entry = entry.map_err(|e| fail("list", e))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        let mut below = match base {
            Some(base) => scan.store.manifest(base)?.into_entries(),
            None => Vec::new(),
        };
        let xwhiteouts = scan.rules.clamp.is_some()
            && Place::Open(dir)
                .value(OPAQUE)
                .map_err(|e| fail("read attributes of", e))?
                .is_some_and(|value| value == b"x");
        let mut taken: Vec<Option<Entry>> = Vec::new();
        if !below.is_empty() {
            // Both lists sorted: what the upper directory names is taken out of the base.
            names.sort_unstable();
            taken.resize_with(names.len(), || None);
            let mut kept = Vec::with_capacity(below.len());
            for entry in below {
                match names.binary_search_by(|n| n.to_bytes().cmp(entry.name.as_slice())) {
                    Ok(at) => taken[at] = Some(entry),
                    Err(_) => kept.push(entry),
                }
            }
            below = kept;
        }
        let frame = Frame::new(parent, below, self.path.clone());
        for (at, name) in names.iter().enumerate() {
            let base = taken.get_mut(at).and_then(Option::take);
            let before = self.path.len();
            if before > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            let result = self.entry(dir, name, base, &frame, xwhiteouts);
            self.path.truncate(before);
            result?;
        }
        scan.release(frame)
    }

    fn entry(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        base: Option<Entry>,
        frame: &Arc<Frame>,
        xwhiteouts: bool,
    ) -> Result<(), StoreError> {
        let scan = self.scan;
        if scan.rules.exclude.contains(&self.path) {
            return Ok(());
        }
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Removed since the directory was listed: an import sees it gone.
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(scan.io("look at", &self.path, error)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let overlay = scan.rules.clamp.is_some();
        if overlay && self.is_whiteout(dir, name, &stat, kind, xwhiteouts)? {
            scan.changed.fetch_add(1, Ordering::Relaxed);
            self.cover();
            return Ok(());
        }
        scan.entries.fetch_add(1, Ordering::Relaxed);
        if kind == FileType::Directory {
            return self.enter(dir, name, base, frame);
        }
        if overlay {
            scan.changed.fetch_add(1, Ordering::Relaxed);
            self.cover();
        }
        if stat.st_nlink > 1 && scan.rules.normalise.is_none() {
            let mut links = scan.links.lock().unwrap_or_else(|e| e.into_inner());
            let key = (stat.st_dev, stat.st_ino);
            links.entry(key).or_default().push(self.path.clone());
        }
        if kind == FileType::RegularFile {
            return self.file(dir, name, &stat, frame);
        }
        let (major, minor) = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        let made = match kind {
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new())
                    .map_err(|e| scan.io("read link", &self.path, e))?;
                Kind::Symlink {
                    target: target.into_bytes(),
                }
            }
            FileType::CharacterDevice => Kind::Char { major, minor },
            FileType::BlockDevice => Kind::Block { major, minor },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            _ => {
                return Err(StoreError::BadEntry {
                    path: show(&self.path),
                    reason: "it is of a kind unknown to this system".into(),
                });
            }
        };
        // Links have no attributes that belong to a tree; other special files may have ACLs.
        let xattrs = if kind == FileType::Symlink || scan.rules.normalise.is_some() {
            Vec::new()
        } else {
            match Place::Named(dir, name).read(scan.rules.spelling()) {
                Ok(xattrs) => xattrs,
                Err(Errno::NOENT) => Vec::new(),
                Err(error) => return Err(scan.io("read attributes of", &self.path, error)),
            }
        };
        let meta = scan.meta(&stat, xattrs);
        self.clamp(dir, name, &stat)?;
        frame.lock().push(Entry {
            name: name.to_bytes().to_vec(),
            meta,
            kind: made,
        });
        Ok(())
    }

    /// Notes that what the base has at this path, and below, is not seen any more.
    fn cover(&self) {
        let mut covered = self.scan.covered.lock().unwrap_or_else(|e| e.into_inner());
        covered.insert(self.path.clone());
    }

    fn is_whiteout(
        &self,
        dir: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        kind: FileType,
        xwhiteouts: bool,
    ) -> Result<bool, StoreError> {
        match kind {
            FileType::CharacterDevice => Ok(stat.st_rdev == 0),
            FileType::RegularFile if xwhiteouts && stat.st_size == 0 => {
                let value = Place::Named(dir, name).value(WHITEOUT);
                Ok(value
                    .map_err(|e| self.scan.io("read attributes of", &self.path, e))?
                    .is_some())
            }
            _ => Ok(false),
        }
    }

    /// Brings the time of an entry in an upper directory to what the tree says.
    fn clamp(&self, dir: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), StoreError> {
        let Some(epoch) = self.scan.rules.clamp else {
            return Ok(());
        };
        let limit = Mtime {
            secs: epoch,
            nanos: 0,
        };
        if mtime_of(stat) <= limit {
            return Ok(());
        }
        utimensat(dir, name, &times(limit), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.scan.io("set times of", &self.path, e))
    }

    fn enter(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        base: Option<Entry>,
        frame: &Arc<Frame>,
    ) -> Result<(), StoreError> {
        let scan = self.scan;
        if self.path.iter().filter(|b| **b == b'/').count() + 1 >= MAX_DEPTH {
            return Err(StoreError::TooDeep {
                limit: MAX_DEPTH,
                path: show(&self.path[..self.path.len().min(200)]),
            });
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let fail = |action, error: Errno| scan.io(action, &self.path, error);
        let child =
            openat(dir, name, flags, Mode::empty()).map_err(|e| fail("open directory", e))?;
        // What was opened counts, not what was seen before.
        let stat = fstat(&child).map_err(|e| fail("look at", e))?;
        let meta = self.dir_meta(&child, &stat)?;
        let mut under = None;
        if scan.rules.clamp.is_some() {
            let opaque = Place::Open(&child)
                .value(OPAQUE)
                .map_err(|e| fail("read attributes of", e))?
                .is_some_and(|value| value == b"y");
            match base {
                Some(Entry {
                    kind: Kind::Dir { manifest },
                    meta: old,
                    ..
                }) if !opaque => {
                    under = Some(manifest);
                    if old != meta {
                        scan.changed.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ => {
                    scan.changed.fetch_add(1, Ordering::Relaxed);
                    self.cover();
                }
            }
        }
        let slot = {
            let mut entries = frame.lock();
            entries.push(Entry {
                name: name.to_bytes().to_vec(),
                meta,
                kind: Kind::Fifo,
            });
            entries.len() - 1
        };
        frame.left.fetch_add(1, Ordering::AcqRel);
        if scan.rules.one_file_system && stat.st_dev != self.device {
            let empty = scan.ingest.put_manifest(&Manifest::default())?;
            return scan.deliver(frame.clone(), slot, None, Kind::Dir { manifest: empty });
        }
        self.dir(&child, Some((frame.clone(), slot)), under)?;
        self.clamp(dir, name, &stat)
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        frame: &Arc<Frame>,
    ) -> Result<(), StoreError> {
        let scan = self.scan;
        let key = Key::of(stat);
        let known = scan.cache.as_ref().and_then(|cache| cache.get(&key));
        // The store may have collected it since.
        if let Some((blob, xattrs)) = known.filter(|(blob, _)| scan.ingest.had(&blob.0)) {
            let size = stat.st_size.unsigned_abs();
            scan.bytes.fetch_add(size, Ordering::Relaxed);
            let meta = scan.meta(stat, xattrs);
            frame.lock().push(Entry {
                name: name.to_bytes().to_vec(),
                meta,
                kind: Kind::File { blob, size },
            });
            return Ok(());
        }
        let plain = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::RDONLY;
        // Not every owner may ask for NOATIME.
        let file = match openat(dir, name, plain | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => openat(dir, name, plain, Mode::empty()),
            other => other,
        };
        let file = file.map_err(|e| scan.io("open", &self.path, e))?;
        let opened = fstat(&file).map_err(|e| scan.io("look at", &self.path, e))?;
        if (opened.st_dev, opened.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(StoreError::Changed {
                path: scan.full(&self.path),
            });
        }
        let slot = {
            let mut entries = frame.lock();
            entries.push(Entry {
                name: name.to_bytes().to_vec(),
                meta: Meta::default(),
                kind: Kind::Fifo,
            });
            entries.len() - 1
        };
        frame.left.fetch_add(1, Ordering::AcqRel);
        // The worker looks at the times again: they must be right before.
        self.clamp(dir, name, stat)?;
        let (shared, frame, path) = (scan.clone(), frame.clone(), self.path.clone());
        let file = File::from(file);
        self.batch
            .spawn(256 << 10, move || shared.read_file(file, path, frame, slot))
    }
}

fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() {
        return name.to_vec();
    }
    [path, b"/", name].concat()
}

fn mtime_of(stat: &Stat) -> Mtime {
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

/// Reads a file by offset, and gives holes as zeros without reading them.
struct Pread<'a> {
    file: &'a File,
    at: u64,
    holes: Option<Holes>,
}

/// The stretch of data or hole that was found last.
#[derive(Default)]
struct Holes {
    data_from: u64,
    data_to: u64,
    /// Nothing but a hole from here to the end.
    end: Option<u64>,
}

impl Read for Pread<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(holes) = &mut self.holes else {
            let n = self.file.read_at(out, self.at)?;
            self.at += n as u64;
            return Ok(n);
        };
        if self.at >= holes.data_to && holes.end.is_none() {
            let seek = |from| rustix::fs::seek(self.file.as_fd(), from);
            match seek(rustix::fs::SeekFrom::Data(self.at)) {
                Ok(data) => {
                    holes.data_from = data;
                    holes.data_to = seek(rustix::fs::SeekFrom::Hole(data))?;
                }
                Err(Errno::NXIO) => {
                    holes.end = Some(self.file.metadata()?.len());
                }
                // A file system that does not know holes: all is data.
                Err(_) => {
                    self.holes = None;
                    return self.read(out);
                }
            }
        }
        let zeros_to = match holes.end {
            Some(end) => end,
            None => holes.data_from,
        };
        if self.at < zeros_to {
            let n = out.len().min((zeros_to - self.at) as usize);
            out[..n].fill(0);
            self.at += n as u64;
            return Ok(n);
        }
        if holes.end.is_some() {
            return Ok(0);
        }
        let most = out.len().min((holes.data_to - self.at) as usize);
        let n = self.file.read_at(&mut out[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
