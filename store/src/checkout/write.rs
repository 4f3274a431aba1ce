//! Writes a tree into a folder, files by several threads.
//!
//! Everything is created through open directories. A directory gets its metadata when the last thing
//! in it is there, since each creation changes its time.
//!
//! Files may come from a folder that holds the same tree already: linked, cloned or copied. A copy is
//! compared with its hash on the way; what does not fit comes from the packs instead.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, fchmod, fchown, fstat,
    futimens, ioctl_ficlone, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat,
    utimensat,
};
use rustix::io::Errno;

use super::Unmakeable;
use crate::attributes::{Place, Spelling};
use crate::error::show;
use crate::links::{a_directory, are_one, no_name, two_faces};
use crate::manifest::{Entry, Kind, MAX_DEPTH, Meta, Tree};
use crate::remove::remove_tree;
use crate::scan::times;
use crate::workers::{Batch, sole_owner};
use crate::{BlobHash, Cancel, DirHash, Need, Store, StoreError, TreeHash};

/// Runs of zeros at least this long, and aligned to it, become holes.
const HOLE: usize = 64 << 10;

/// Files of one directory that one job writes.
const BUNDLE: usize = 32;
/// Bytes that make a bundle complete.
const BUNDLE_BYTES: usize = 1 << 20;
/// What the smallest bundle counts: it keeps its directory open.
const BUNDLE_WEIGHT: usize = 256 << 10;

thread_local! {
    static CONTENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What to do with the files of a folder that holds the same tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// Gives them a second name.
    Link,
    /// Shares their blocks, where the file system can.
    Clone,
    /// Copies them.
    Copy,
}

/// How many files came how.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub linked: AtomicU64,
    pub cloned: AtomicU64,
    pub copied: AtomicU64,
}

/// A folder with the same tree, and what to do with its files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub path: &'a Path,
    pub take: Take,
}

/// State shared by the walk and its workers.
#[derive(Debug)]
struct Writing {
    store: Store,
    target: PathBuf,
    spelling: Spelling,
    take: Take,
    devices: Unmakeable,
    counts: Counts,
    cancel: Cancel,
}

/// A directory that is being filled.
#[derive(Debug)]
struct Frame {
    fd: OwnedFd,
    /// The same directory in the folder that files are taken from.
    source: Option<OwnedFd>,
    meta: Meta,
    path: Vec<u8>,
    /// Things still to come in it, and one for the walk itself.
    left: AtomicUsize,
    parent: Option<Arc<Frame>>,
}

/// A file to be written.
#[derive(Debug)]
struct NewFile {
    name: CString,
    meta: Meta,
    blob: BlobHash,
    size: u64,
}

/// Writes the tree; `target` must not exist or be an empty directory, and is so again after a failure.
/// It ends with [`StoreError::Interrupted`] soon after it was cancelled.
pub(crate) fn write_tree(
    store: &Store,
    tree: TreeHash,
    target: &Path,
    spelling: Spelling,
    devices: Unmakeable,
    source: Option<Source<'_>>,
    cancel: &Cancel,
) -> Result<Counts, StoreError> {
    let need = || store.content_of(tree).map(Need::Tree);
    let object = store.tree(tree)?;
    let (top, made) = make_root(target)?;
    let writing = Writing {
        store: store.clone(),
        target: target.to_path_buf(),
        spelling,
        take: source.map_or(Take::Copy, |source| source.take),
        devices,
        counts: Counts::default(),
        cancel: cancel.clone(),
    };
    write_all(writing, &object, top, source).map_err(|e| {
        let e = e.needing(need);
        // Where something is in the way, somebody else writes there too, and none of it is ours to remove.
        let theirs = matches!(&e, StoreError::Io { source, .. }
            if source.kind() == io::ErrorKind::AlreadyExists);
        if !theirs {
            clear(target, made);
        }
        e
    })
}

/// Removes what was written before a failure, which counts more than what goes wrong here.
fn clear(target: &Path, made: bool) {
    if made {
        let _ = remove_tree(target);
        return;
    }
    for inside in std::fs::read_dir(target).into_iter().flatten().flatten() {
        let _ = match inside.file_type() {
            Ok(kind) if kind.is_dir() => remove_tree(&inside.path()),
            _ => std::fs::remove_file(inside.path()),
        };
    }
}

fn write_all(
    writing: Writing,
    tree: &Tree,
    top: OwnedFd,
    source: Option<Source<'_>>,
) -> Result<Counts, StoreError> {
    let writing = Arc::new(writing);
    // Every member of a group but the first is linked to the first, once that is written.
    let disagrees = |detail: String| StoreError::Corrupt {
        what: "tree",
        hash: Tree::hash_encoded(&tree.encode()).0,
        detail,
    };
    let mut firsts = BTreeMap::new();
    for group in &tree.links {
        for path in &group[1..] {
            firsts.insert(path.as_slice(), group[0].as_slice());
        }
        firsts.insert(group[0].as_slice(), group[0].as_slice());
    }
    let frame = Arc::new(Frame {
        fd: top,
        source: source.and_then(|source| open_dir(CWD, source.path).ok()),
        meta: tree.root.clone(),
        path: Vec::new(),
        left: AtomicUsize::new(1),
        parent: None,
    });
    let batch = Batch::new()?;
    let mut walk = Walk {
        writing: &writing,
        batch: &batch,
        path: Vec::new(),
        firsts,
        originals: BTreeMap::new(),
        links: Vec::new(),
        misfit: None,
    };
    let walked = walk.dir(&frame, tree.dir, 0);
    if walked.is_err() {
        batch.cancel();
    }
    let worked = batch.wait();
    walked?;
    worked?;
    let Walk {
        firsts,
        originals,
        links,
        misfit,
        ..
    } = walk;
    if let Some(detail) = misfit {
        return Err(disagrees(detail));
    }
    let met = originals.len() + links.len();
    if met < firsts.len() {
        let is_met = |path: &[u8]| {
            originals.contains_key(path) || links.iter().any(|l| join(&l.dir.path, &l.name) == path)
        };
        let path = firsts.keys().find(|path| !is_met(path));
        return Err(disagrees(no_name(path.copied().unwrap_or_default())));
    }
    for link in links {
        let original = originals.get(&link.first);
        if let Some(original) = original
            && !are_one(&original.entry, &link.entry)
        {
            let path = join(&link.dir.path, &link.name);
            return Err(disagrees(two_faces(&link.first, &path)));
        }
        let made = match original {
            Some(Original { dir, name, .. }) => {
                linkat(&dir.fd, name, &link.dir.fd, &link.name, AtFlags::empty())
            }
            None => Err(Errno::NOENT),
        };
        // Device nodes that could not be made have no other names either.
        match made {
            Err(Errno::NOENT) if may_lack(&link.entry.kind) => {}
            other => {
                other.map_err(|e| writing.io("link", &join(&link.dir.path, &link.name), e))?;
            }
        }
        writing.release(link.dir)?;
    }
    drop(originals);
    writing.release(frame)?;
    Ok(sole_owner(writing, || ())?.counts)
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(at, name, flags, Mode::empty())
}

/// Makes an empty directory with the given metadata.
pub(crate) fn write_root(target: &Path, meta: &Meta, spelling: Spelling) -> Result<(), StoreError> {
    let (fd, _) = make_root(target)?;
    apply(&fd, meta, spelling).map_err(|e| explain("set metadata of", target, meta, e))
}

/// Opens the empty directory to be filled, and tells whether it had to be made.
fn make_root(target: &Path) -> Result<(OwnedFd, bool), StoreError> {
    let made = match mkdirat(CWD, target, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => {
            let mut list = std::fs::read_dir(target)
                .map_err(|e| StoreError::io("write tree to", target, e))?;
            if list.next().is_some() {
                let error = io::Error::from(io::ErrorKind::DirectoryNotEmpty);
                return Err(StoreError::io("write tree to", target, error));
            }
            false
        }
        Err(error) => return Err(StoreError::io("create directory", target, error)),
    };
    let fd = open_dir(CWD, target).map_err(|e| StoreError::io("open directory", target, e))?;
    Ok((fd, made))
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_raw_mode(u32::from(meta.mode))
}

/// Sets all metadata of an open file or directory. Owners come first, since changing them clears
/// setuid bits and capabilities; the time comes last.
fn apply(fd: &impl AsFd, meta: &Meta, spelling: Spelling) -> Result<(), Refused> {
    fchown(fd, Some(uid(meta)), Some(gid(meta))).map_err(Refused::Owner)?;
    fchmod(fd, mode(meta))?;
    if !meta.xattrs.is_empty() {
        Place::Open(fd).write(&meta.xattrs, spelling)?;
    }
    Ok(futimens(fd, &times(meta.mtime))?)
}

/// Which part of the metadata the system did not take.
enum Refused {
    Owner(Errno),
    Other(Errno),
}

impl From<Errno> for Refused {
    fn from(error: Errno) -> Refused {
        Refused::Other(error)
    }
}

fn uid(meta: &Meta) -> Uid {
    Uid::from_raw(meta.uid)
}

fn gid(meta: &Meta) -> Gid {
    Gid::from_raw(meta.gid)
}

/// An owner outside the mapped ranges of a user namespace is refused with "invalid argument".
fn explain(action: &'static str, path: &Path, meta: &Meta, refused: Refused) -> StoreError {
    match refused {
        Refused::Owner(Errno::INVAL | Errno::PERM | Errno::OVERFLOW) => StoreError::UnmappedOwner {
            path: path.to_path_buf(),
            uid: meta.uid,
            gid: meta.gid,
        },
        Refused::Owner(error) | Refused::Other(error) => StoreError::io(action, path, error),
    }
}

fn join(path: &[u8], name: &CString) -> Vec<u8> {
    if path.is_empty() {
        return name.to_bytes().to_vec();
    }
    [path, b"/", name.to_bytes()].concat()
}

impl Writing {
    fn full(&self, path: &[u8]) -> PathBuf {
        self.target.join(std::ffi::OsStr::from_bytes(path))
    }

    fn io(&self, action: &'static str, path: &[u8], error: impl Into<io::Error>) -> StoreError {
        StoreError::io(action, self.full(path), error)
    }

    fn release(&self, frame: Arc<Frame>) -> Result<(), StoreError> {
        let mut frame = frame;
        while frame.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            apply(&frame.fd, &frame.meta, self.spelling)
                .map_err(|e| explain("set metadata of", &self.full(&frame.path), &frame.meta, e))?;
            match &frame.parent {
                Some(parent) => frame = parent.clone(),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    fn go_on(&self) -> Result<(), StoreError> {
        match self.cancel.is_cancelled() {
            true => Err(StoreError::Interrupted),
            false => Ok(()),
        }
    }

    /// A worker's job: writes files of one directory.
    fn files(&self, dir: Arc<Frame>, files: Vec<NewFile>) -> Result<(), StoreError> {
        for file in files {
            self.go_on()?;
            self.file(&dir, &file)?;
        }
        self.release(dir)
    }

    fn file(&self, dir: &Frame, new: &NewFile) -> Result<(), StoreError> {
        let path = || join(&dir.path, &new.name);
        if self.take == Take::Link && self.link(dir, new) {
            self.counts.linked.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(&dir.fd, &new.name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| self.io("create", &path(), e))?;
        let file = File::from(fd);
        if new.size > 0 && !self.take_content(dir, new, &file) {
            self.content(new, &file, &path)?;
        }
        apply(&file, &new.meta, self.spelling)
            .map_err(|e| explain("set metadata of", &self.full(&path()), &new.meta, e))
    }

    /// Gives a file that is there already a second name, if it looks as it should.
    fn link(&self, dir: &Frame, new: &NewFile) -> bool {
        let Some(source) = &dir.source else {
            return false;
        };
        let Ok(stat) = statat(source, &new.name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        let same = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_size.unsigned_abs() == new.size
            && (stat.st_mode & 0o7777) as u16 == new.meta.mode
            && (stat.st_uid, stat.st_gid) == (new.meta.uid, new.meta.gid)
            && crate::scan::mtime_of(&stat) == new.meta.mtime;
        // Too many names, another file system, not allowed: then it is copied.
        same && linkat(source, &new.name, &dir.fd, &new.name, AtFlags::empty()).is_ok()
    }

    /// Clones or copies content from a file that is there already. Tells whether that worked.
    fn take_content(&self, dir: &Frame, new: &NewFile, file: &File) -> bool {
        let Some(source) = &dir.source else {
            return false;
        };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::RDONLY;
        let Ok(old) = openat(source, &new.name, flags, Mode::empty()) else {
            return false;
        };
        let fits = fstat(&old).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_size.unsigned_abs() == new.size
        });
        if !fits {
            return false;
        }
        if self.take == Take::Clone && ioctl_ficlone(file, &old).is_ok() {
            self.counts.cloned.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let go_on = || self.go_on().is_ok();
        let done = copy(&File::from(old), new, file, &go_on).unwrap_or(false);
        if done {
            self.counts.copied.fetch_add(1, Ordering::Relaxed);
        } else {
            // The content from the packs is written over it, and may have holes.
            let _ = file.set_len(0);
        }
        done
    }

    /// Writes content from the packs.
    fn content(
        &self,
        new: &NewFile,
        file: &File,
        path: &dyn Fn() -> Vec<u8>,
    ) -> Result<(), StoreError> {
        self.counts.copied.fetch_add(1, Ordering::Relaxed);
        let (blob, size) = (new.blob, new.size);
        CONTENT.with_borrow_mut(|buffer| {
            let mut at = 0;
            let mut end = 0;
            self.store.each_part(blob, buffer, |part| {
                self.go_on()?;
                end = write_sparse(file, part, at)
                    .map_err(|e| self.io("write", &path(), e))?
                    .unwrap_or(end);
                at += part.len() as u64;
                Ok(())
            })?;
            if at != size {
                return Err(StoreError::Corrupt {
                    what: "blob",
                    hash: blob.0,
                    detail: format!("it has {at} bytes where a manifest says {size}"),
                });
            }
            // Where the end is a hole, nothing was written.
            if end != size {
                file.set_len(size)
                    .map_err(|e| self.io("set length of", &path(), e))?;
            }
            Ok(())
        })
    }
}

/// Copies a file, and tells whether what was copied has the hash that it should have.
fn copy(old: &File, new: &NewFile, file: &File, go_on: &dyn Fn() -> bool) -> io::Result<bool> {
    CONTENT.with_borrow_mut(|buffer| {
        let room = (new.size as usize).clamp(1, 1 << 20);
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let mut hasher = blake3::Hasher::new();
        let (mut at, mut end) = (0, 0);
        while at < new.size {
            if !go_on() {
                return Ok(false);
            }
            let most = room.min((new.size - at) as usize);
            // Whole blocks, so that holes are found.
            old.read_exact_at(&mut buffer[..most], at)?;
            hasher.update(&buffer[..most]);
            end = write_sparse(file, &buffer[..most], at)?.unwrap_or(end);
            at += most as u64;
        }
        if end != new.size {
            file.set_len(new.size)?;
        }
        Ok(hasher.finalize().as_bytes() == new.blob.0.as_bytes())
    })
}

/// Writes `part` at `at`, leaving out aligned runs of zeros. Tells where the last write ended.
fn write_sparse(file: &File, part: &[u8], at: u64) -> io::Result<Option<u64>> {
    if part.len() < HOLE {
        file.write_all_at(part, at)?;
        return Ok(Some(at + part.len() as u64));
    }
    let is_zero = |block: &[u8]| block.iter().all(|b| *b == 0);
    let mut end = None;
    let mut write = |from: usize, to: usize| {
        end = Some(at + to as u64);
        file.write_all_at(&part[from..to], at + from as u64)
    };
    // Blocks are aligned in the file, so that parts of any length make the same holes.
    let mut from = 0;
    let mut next = ((HOLE as u64 - at % HOLE as u64) % HOLE as u64) as usize;
    while next + HOLE <= part.len() {
        if is_zero(&part[next..next + HOLE]) {
            if from < next {
                write(from, next)?;
            }
            from = next + HOLE;
        }
        next += HOLE;
    }
    if from < part.len() {
        write(from, part.len())?;
    }
    Ok(end)
}

/// One more name to be made at the end.
struct Link {
    dir: Arc<Frame>,
    name: CString,
    first: Vec<u8>,
    entry: Entry,
}

/// The first name of something that has several.
struct Original {
    dir: Arc<Frame>,
    name: CString,
    entry: Entry,
}

/// Whether it is fine that something could not be made here.
fn may_lack(kind: &Kind) -> bool {
    matches!(kind, Kind::Char { .. } | Kind::Block { .. })
}

struct Walk<'a> {
    writing: &'a Arc<Writing>,
    batch: &'a Batch,
    path: Vec<u8>,
    /// The first name of everything that has several.
    firsts: BTreeMap<&'a [u8], &'a [u8]>,
    /// Where the first names are.
    originals: BTreeMap<Vec<u8>, Original>,
    links: Vec<Link>,
    /// What is wrong with a group of hard links.
    misfit: Option<String>,
}

impl Walk<'_> {
    fn dir(&mut self, frame: &Arc<Frame>, dir: DirHash, depth: usize) -> Result<(), StoreError> {
        if depth > MAX_DEPTH {
            return Err(StoreError::TooDeep {
                limit: MAX_DEPTH,
                path: show(&self.path[..self.path.len().min(200)]),
            });
        }
        let mut files = Vec::new();
        let mut bytes = 0;
        for entry in self.writing.store.manifest(dir)?.into_entries() {
            self.writing.go_on()?;
            let before = self.path.len();
            if before > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&entry.name);
            let result = self.entry(frame, entry, depth);
            self.path.truncate(before);
            if let Some(file) = result? {
                bytes += file.size;
                files.push(file);
            }
            if files.len() == BUNDLE || bytes > BUNDLE_BYTES as u64 {
                self.write_files(frame, std::mem::take(&mut files), bytes)?;
                bytes = 0;
            }
        }
        if !files.is_empty() {
            self.write_files(frame, files, bytes)?;
        }
        if depth > 0 {
            self.writing.release(frame.clone())?;
        }
        Ok(())
    }

    /// Gives files to a worker.
    fn write_files(
        &self,
        frame: &Arc<Frame>,
        files: Vec<NewFile>,
        bytes: u64,
    ) -> Result<(), StoreError> {
        frame.left.fetch_add(1, Ordering::AcqRel);
        let weight = (bytes as usize).clamp(BUNDLE_WEIGHT, 4 << 20);
        let (writing, frame) = (self.writing.clone(), frame.clone());
        self.batch
            .spawn(weight, move || writing.files(frame, files))
    }

    /// Makes an entry; a file is given back, to be written with others.
    fn entry(
        &mut self,
        frame: &Arc<Frame>,
        entry: Entry,
        depth: usize,
    ) -> Result<Option<NewFile>, StoreError> {
        let name = CString::new(entry.name.clone()).map_err(|_| StoreError::BadEntry {
            path: show(&self.path),
            reason: "name has a NUL in it".into(),
        })?;
        if let Some(first) = self.firsts.get(self.path.as_slice()) {
            if entry.kind.is_dir() {
                self.misfit = Some(a_directory(&self.path));
            } else if *first != self.path.as_slice() {
                frame.left.fetch_add(1, Ordering::AcqRel);
                self.links.push(Link {
                    dir: frame.clone(),
                    name,
                    first: first.to_vec(),
                    entry,
                });
                return Ok(None);
            } else {
                let original = Original {
                    dir: frame.clone(),
                    name: name.clone(),
                    entry: entry.clone(),
                };
                self.originals.insert(self.path.clone(), original);
            }
        }
        let Entry { meta, kind, .. } = entry;
        let writing = self.writing;
        match kind {
            Kind::File { blob, size } => {
                return Ok(Some(NewFile {
                    name,
                    meta,
                    blob,
                    size,
                }));
            }
            Kind::Dir { manifest } => {
                let fail = |action, e: Errno| writing.io(action, &self.path, e);
                mkdirat(&frame.fd, &name, Mode::RWXU).map_err(|e| fail("create directory", e))?;
                let fd = open_dir(&frame.fd, &name).map_err(|e| fail("open directory", e))?;
                let source = frame.source.as_ref();
                let source = source.and_then(|source| open_dir(source, &name).ok());
                frame.left.fetch_add(1, Ordering::AcqRel);
                let child = Arc::new(Frame {
                    fd,
                    source,
                    meta,
                    path: self.path.clone(),
                    left: AtomicUsize::new(1),
                    parent: Some(frame.clone()),
                });
                self.dir(&child, manifest, depth + 1)?;
            }
            other => self.special(frame, &name, &meta, &other)?,
        }
        Ok(None)
    }

    fn special(
        &self,
        frame: &Frame,
        name: &CString,
        meta: &Meta,
        kind: &Kind,
    ) -> Result<(), StoreError> {
        let writing = self.writing;
        if writing.take == Take::Link
            && let Kind::Symlink { target } = kind
            && let Some(source) = &frame.source
            && rustix::fs::readlinkat(source, name, Vec::new())
                .is_ok_and(|found| found.as_bytes() == &target[..])
            && linkat(source, name, &frame.fd, name, AtFlags::empty()).is_ok()
        {
            return Ok(());
        }
        let node = |kind, major, minor| {
            mknodat(
                &frame.fd,
                name,
                kind,
                Mode::RUSR | Mode::WUSR,
                makedev(major, minor),
            )
        };
        let made = match kind {
            Kind::Symlink { target } => symlinkat(&target[..], &frame.fd, name),
            Kind::Char { major, minor } => node(FileType::CharacterDevice, *major, *minor),
            Kind::Block { major, minor } => node(FileType::BlockDevice, *major, *minor),
            Kind::Fifo => node(FileType::Fifo, 0, 0),
            Kind::Socket => node(FileType::Socket, 0, 0),
            Kind::File { .. } | Kind::Dir { .. } => Ok(()),
        };
        match made {
            // Devices cannot be made in a user namespace. Builds have a private /dev anyway.
            Err(Errno::PERM) if may_lack(kind) => {
                return match writing.devices {
                    Unmakeable::LeaveOut => Ok(()),
                    Unmakeable::Fail => Err(StoreError::Device {
                        what: kind.word(),
                        path: writing.full(&self.path),
                    }),
                };
            }
            other => other.map_err(|e| writing.io("create", &self.path, e))?,
        }
        let set = || -> Result<(), Refused> {
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            chownat(&frame.fd, name, Some(uid(meta)), Some(gid(meta)), nofollow)
                .map_err(Refused::Owner)?;
            if !matches!(kind, Kind::Symlink { .. }) {
                chmodat(&frame.fd, name, mode(meta), AtFlags::empty())?;
                if !meta.xattrs.is_empty() {
                    Place::Named(&frame.fd, name).write(&meta.xattrs, writing.spelling)?;
                }
            }
            Ok(utimensat(&frame.fd, name, &times(meta.mtime), nofollow)?)
        };
        set().map_err(|e| explain("set metadata of", &writing.full(&self.path), meta, e))
    }
}
