//! The walk through directories.

use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat, utimensat,
};
use rustix::io::Errno;

use super::file::Waiting;
use super::{Frame, Inode, Scan, mtime_of, times};
use crate::attributes::{OPAQUE, Place, WHITEOUT};
use crate::error::show;
use crate::ingest::CHUNK_ABOVE;
use crate::manifest::{Entry, Kind, MAX_DEPTH, Manifest, Meta, Mtime, Tree};
use crate::statcache::Key;
use crate::workers::Batch;
use crate::{DirHash, StoreError};

/// Files of one directory that one job reads.
const BUNDLE: usize = 32;
/// Bytes that make a bundle complete.
const BUNDLE_BYTES: usize = 1 << 20;
/// What the smallest bundle counts: it keeps its directory open.
const BUNDLE_WEIGHT: usize = 256 << 10;
/// What it takes to open a file, in bytes that could be read meanwhile.
const FILE_COST: usize = 8 << 10;

/// Directories that the walk holds open; those above are opened again on the way back.
const HELD: usize = 32;

/// The walk itself.
pub(super) struct Walk<'a> {
    scan: &'a Arc<Scan>,
    batch: &'a Batch,
    device: u64,
    path: Vec<u8>,
}

/// A directory in which the walk is.
struct Here {
    /// Closed while the walk is far below.
    fd: Option<Arc<OwnedFd>>,
    inode: Inode,
    frame: Arc<Frame>,
    /// Files waiting to be read together, and their bytes.
    files: Vec<Waiting>,
    bytes: usize,
}

impl Here {
    fn fd(&self, scan: &Scan) -> Result<&Arc<OwnedFd>, StoreError> {
        // Open whenever the walk is here.
        let closed = || scan.io("go back to", &self.frame.path, Errno::BADF);
        self.fd.as_ref().ok_or_else(closed)
    }
}

impl<'a> Walk<'a> {
    pub fn new(scan: &'a Arc<Scan>, batch: &'a Batch) -> Walk<'a> {
        Walk {
            scan,
            batch,
            device: 0,
            path: Vec::new(),
        }
    }

    pub fn top(&mut self, top: OwnedFd, base: Option<&Tree>) -> Result<Meta, StoreError> {
        let scan = self.scan;
        let stat = fstat(&top).map_err(|e| scan.io("look at", b"", e))?;
        self.device = stat.st_dev;
        let mut meta = self.dir_meta(&top, &stat)?;
        keep_time(&mut meta, &stat, base.map(|tree| &tree.root));
        // The root of an upper directory is laid over the base's root, never opaque.
        let top = self.dir(Arc::new(top), &stat, None, base.map(|tree| tree.dir))?;
        if scan.rules.clamp.is_some() && meta.mtime != mtime_of(&stat) {
            let times = times(meta.mtime);
            rustix::fs::futimens(&top, &times).map_err(|e| scan.io("set times of", b"", e))?;
        }
        Ok(meta)
    }

    fn dir_meta(&self, dir: &OwnedFd, stat: &Stat) -> Result<Meta, StoreError> {
        let scan = self.scan;
        let xattrs = scan
            .attributes(&Place::Open(dir))
            .map_err(|e| scan.io("read attributes of", &self.path, e))?;
        Ok(scan.meta(stat, xattrs))
    }

    /// Scans a directory whose entry waits in `parent`, and gives it back.
    fn dir(
        &mut self,
        dir: Arc<OwnedFd>,
        stat: &Stat,
        parent: Option<(Arc<Frame>, usize)>,
        base: Option<DirHash>,
    ) -> Result<Arc<OwnedFd>, StoreError> {
        let scan = self.scan;
        let fail = |action, error: Errno| scan.io(action, &self.path, error);
        let mut names: Vec<CString> = Vec::new();
        for entry in Dir::read_from(&dir).map_err(|e| fail("list", e))? {
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
            && Place::Open(&dir)
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
        let mut here = Here {
            fd: Some(dir),
            inode: (stat.st_dev, stat.st_ino),
            frame: Frame::new(parent, below, self.path.clone()),
            files: Vec::new(),
            bytes: 0,
        };
        for (at, name) in names.iter().enumerate() {
            let base = taken.get_mut(at).and_then(Option::take);
            let before = self.path.len();
            if before > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name.to_bytes());
            let result = self.entry(&mut here, name, base, xwhiteouts);
            self.path.truncate(before);
            result?;
        }
        self.read_waiting(&mut here)?;
        let dir = here.fd(scan)?.clone();
        scan.release(here.frame)?;
        Ok(dir)
    }

    /// Gives the files that wait to a worker.
    fn read_waiting(&self, here: &mut Here) -> Result<(), StoreError> {
        if here.files.is_empty() {
            return Ok(());
        }
        here.frame.left.fetch_add(1, Ordering::AcqRel);
        let weight = here.bytes.max(BUNDLE_WEIGHT);
        let files = std::mem::take(&mut here.files);
        let cost = here.bytes + files.len() * FILE_COST;
        here.bytes = 0;
        let dir = here.fd(self.scan)?.clone();
        let (scan, frame) = (self.scan.clone(), here.frame.clone());
        self.batch
            .spawn_or_do(weight, cost, move || scan.read_files(&dir, frame, files))
    }

    fn entry(
        &mut self,
        here: &mut Here,
        name: &CStr,
        base: Option<Entry>,
        xwhiteouts: bool,
    ) -> Result<(), StoreError> {
        let scan = self.scan;
        scan.go_on()?;
        let dir = &**here.fd(scan)?;
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
            return self.enter(here, name, base);
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
            return self.file(here, name, &stat);
        }
        let made = self.special(dir, name, &stat, kind)?;
        // Links have no attributes that belong to a tree; other special files may have ACLs.
        let xattrs = match scan.attributes(&Place::Named(dir, name)) {
            Ok(_) if kind == FileType::Symlink => Vec::new(),
            Ok(xattrs) => xattrs,
            Err(Errno::NOENT) => Vec::new(),
            Err(error) => return Err(scan.io("read attributes of", &self.path, error)),
        };
        let meta = scan.meta(&stat, xattrs);
        self.clamp(dir, name, &stat)?;
        here.frame.lock().push(Entry {
            name: name.to_bytes().to_vec(),
            meta,
            kind: made,
        });
        Ok(())
    }

    /// What is neither a folder nor a regular file.
    fn special(
        &self,
        dir: &OwnedFd,
        name: &CStr,
        stat: &Stat,
        kind: FileType,
    ) -> Result<Kind, StoreError> {
        let (major, minor) = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        Ok(match kind {
            FileType::Symlink => {
                let target = readlinkat(dir, name, Vec::new())
                    .map_err(|e| self.scan.io("read link", &self.path, e))?;
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
        })
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
        let mtime = self.scan.clamped(mtime_of(stat));
        self.bring_to(mtime, dir, name, stat)
    }

    fn bring_to(
        &self,
        mtime: Mtime,
        dir: &OwnedFd,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), StoreError> {
        if self.scan.rules.clamp.is_none() || mtime_of(stat) == mtime {
            return Ok(());
        }
        utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| self.scan.io("set times of", &self.path, e))
    }

    fn enter(
        &mut self,
        here: &mut Here,
        name: &CStr,
        base: Option<Entry>,
    ) -> Result<(), StoreError> {
        let scan = self.scan;
        let (dir, frame) = (&**here.fd(scan)?, &here.frame);
        let depth = self.path.iter().filter(|b| **b == b'/').count() + 1;
        if depth >= MAX_DEPTH {
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
        let mut meta = self.dir_meta(&child, &stat)?;
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
                    keep_time(&mut meta, &stat, Some(&old));
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
        let mtime = meta.mtime;
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
        let parent = Some((frame.clone(), slot));
        let child = Arc::new(child);
        if depth < HELD {
            self.dir(child, &stat, parent, under)?;
        } else {
            // The way back leads through the child.
            here.fd = None;
            let child = self.dir(child, &stat, parent, under)?;
            here.fd = Some(Arc::new(self.back(&child, here.inode)?));
        }
        self.bring_to(mtime, here.fd(scan)?, name, &stat)
    }

    /// Opens the directory above another one, which must still be the one that it was.
    fn back(&self, child: &OwnedFd, inode: Inode) -> Result<OwnedFd, StoreError> {
        let scan = self.scan;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        let above = openat(child, "..", flags, Mode::empty())
            .map_err(|e| scan.io("open the directory above", &self.path, e))?;
        let stat = fstat(&above).map_err(|e| scan.io("look at", &self.path, e))?;
        if (stat.st_dev, stat.st_ino) != inode {
            return Err(StoreError::Changed {
                path: scan.full(&self.path),
            });
        }
        Ok(above)
    }

    fn file(&mut self, here: &mut Here, name: &CStr, stat: &Stat) -> Result<(), StoreError> {
        let scan = self.scan;
        let size = stat.st_size.unsigned_abs();
        if let Some(limit) = scan.rules.bounds.file.filter(|limit| size > *limit) {
            return Err(StoreError::TooLarge {
                path: show(&self.path),
                size,
                limit,
            });
        }
        let key = Key::of(stat);
        let known = scan.cache.as_ref().and_then(|cache| cache.get(&key));
        // The store may have collected it since.
        if let Some((blob, xattrs)) = known.filter(|(blob, _)| scan.ingest.had(&blob.0)) {
            let size = stat.st_size.unsigned_abs();
            scan.bytes.fetch_add(size, Ordering::Relaxed);
            let meta = scan.meta(stat, xattrs);
            here.frame.lock().push(Entry {
                name: name.to_bytes().to_vec(),
                meta,
                kind: Kind::File { blob, size },
            });
            return Ok(());
        }
        let slot = {
            let mut entries = here.frame.lock();
            entries.push(Entry {
                name: name.to_bytes().to_vec(),
                meta: Meta::default(),
                kind: Kind::Fifo,
            });
            entries.len() - 1
        };
        // Whoever reads the file looks at its times again: they must be right before.
        self.clamp(here.fd(scan)?, name, stat)?;
        let file = Waiting {
            name: name.to_owned(),
            inode: (stat.st_dev, stat.st_ino),
            slot,
        };
        let size = stat.st_size.unsigned_abs();
        if size > CHUNK_ABOVE as u64 {
            let (meta, kind) =
                scan.read_file(here.fd(scan)?, &file, &here.frame.path, Some(self.batch))?;
            let entry = &mut here.frame.lock()[slot];
            entry.meta = meta;
            entry.kind = kind;
            return Ok(());
        }
        here.bytes += size as usize;
        here.files.push(file);
        if here.files.len() == BUNDLE || here.bytes > BUNDLE_BYTES {
            self.read_waiting(here)?;
        }
        Ok(())
    }
}

/// Keeps the time of a folder that is laid over one of the base and still has its time, however late that
/// is: the build has changed nothing in it. (Files are different: one that was written anew could have its
/// old time in one build and, through two steps, the clamped one.)
fn keep_time(meta: &mut Meta, stat: &Stat, base: Option<&Meta>) {
    let now = mtime_of(stat);
    if base.is_some_and(|base| base.mtime == now) {
        meta.mtime = now;
    }
}
