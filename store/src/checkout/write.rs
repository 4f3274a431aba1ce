//! Writes a tree into a folder, files by several threads.
//!
//! Everything is created through open directories. A directory gets its metadata when the last thing
//! in it is there, since each creation changes its time.
//!
//! Files may come from a folder that holds the same tree already: linked, cloned or copied. A copy is
//! compared with its hash on the way; what does not fit comes from the packs instead.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmodat, chownat, fchmod,
    fchown, futimens, linkat, makedev, mkdirat, mknodat, openat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::Unmakeable;
use super::over::{Over, Step, entries_below};
use crate::attributes::{Place, Spelling};
use crate::error::show;
use crate::inside::names;
use crate::links::{a_directory, are_one, no_name, two_faces};
use crate::manifest::{Entry, Kind, MAX_DEPTH, Meta, Mtime, Tree};
use crate::remove::remove_at;
use crate::scan::times;
use crate::workers::{Batch, in_turn, sole_owner};
use crate::{BlobHash, Cancel, DirHash, Need, Store, StoreError, TreeHash};

mod content;

/// Files of one directory that one job writes.
const BUNDLE: usize = 32;
/// Bytes that make a bundle complete.
const BUNDLE_BYTES: usize = 1 << 20;
/// What the smallest bundle counts: it keeps its directory open.
const BUNDLE_WEIGHT: usize = 256 << 10;

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
    only_linked: bool,
    vary: bool,
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
    /// Gets its metadata at the end: a further name of a file comes into it, or into one below it.
    late: AtomicBool,
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

/// How to write a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How<'a> {
    pub spelling: Spelling,
    /// Where files may be taken from.
    pub source: Option<Source<'a>>,
    pub devices: Unmakeable,
    /// The writing ends with [`StoreError::Interrupted`] soon after this was cancelled.
    pub cancel: Option<&'a Cancel>,
    /// Only files with several names, and the directories above them.
    pub only_linked: bool,
    /// Only what the tree has more than another one, and whiteouts for what it has not.
    pub over: Option<&'a Over>,
    /// Unlike other writings of the same tree, in all that is not part of the tree: order and size of
    /// directories, holes, times of access.
    pub vary: bool,
}

impl How<'_> {
    pub fn new(spelling: Spelling) -> Self {
        How {
            spelling,
            source: None,
            devices: Unmakeable::Never,
            cancel: None,
            only_linked: false,
            over: None,
            vary: false,
        }
    }
}

/// How many long names a directory had that is to be larger than it needs to be.
const SWELL: usize = 40;

/// Writes the tree; `target` must not exist or be an empty directory, and is so again after a failure.
pub(crate) fn write_tree(
    store: &Store,
    tree: TreeHash,
    target: &Path,
    how: How<'_>,
) -> Result<Counts, StoreError> {
    in_turn(|| write_now(store, tree, target, how))
}

fn write_now(
    store: &Store,
    tree: TreeHash,
    target: &Path,
    how: How<'_>,
) -> Result<Counts, StoreError> {
    let How {
        spelling,
        source,
        devices,
        cancel,
        only_linked,
        over,
        vary,
    } = how;
    let need = || store.content_of(tree).map(Need::Tree);
    let object = store.tree(tree)?;
    let (top, made) = make_root(store, target)?;
    let writing = Writing {
        store: store.clone(),
        target: target.to_path_buf(),
        spelling,
        take: source.map_or(Take::Copy, |source| source.take),
        devices,
        counts: Counts::default(),
        cancel: cancel.cloned().unwrap_or_default(),
        only_linked,
        vary,
    };
    write_all(writing, &object, top, source, over).map_err(|e| {
        let e = e.needing(need);
        // Where something is in the way, somebody else writes there too, and none of it is ours to remove.
        let theirs = matches!(&e, StoreError::Io { source, .. }
            if source.kind() == io::ErrorKind::AlreadyExists);
        if !theirs {
            clear(store, target, made);
        }
        e
    })
}

/// Removes what was written before a failure, which counts more than what goes wrong here.
fn clear(store: &Store, target: &Path, made: bool) {
    if made {
        let _ = store.inside().remove_tree(target);
        return;
    }
    let Ok(folder) = store.inside().folder(target) else {
        return;
    };
    for name in names(&folder).unwrap_or_default() {
        let _ = remove_at(&folder, &name);
    }
}

fn write_all(
    writing: Writing,
    tree: &Tree,
    top: OwnedFd,
    source: Option<Source<'_>>,
    over: Option<&Over>,
) -> Result<Counts, StoreError> {
    let writing = Arc::new(writing);
    // Every member of a group but the first is linked to the first, once that is written.
    let mut firsts = BTreeMap::new();
    for group in &tree.links {
        for path in &group[1..] {
            firsts.insert(path.as_slice(), group[0].as_slice());
        }
        firsts.insert(group[0].as_slice(), group[0].as_slice());
    }
    writing.swell(&top, b"")?;
    let frame = Arc::new(Frame {
        fd: top,
        source: source.and_then(|source| writing.store.inside().folder(source.path).ok()),
        meta: tree.root.clone(),
        path: Vec::new(),
        left: AtomicUsize::new(1),
        late: AtomicBool::new(false),
        parent: None,
    });
    let batch = Batch::new()?;
    let mut walk = Walk {
        writing: &writing,
        batch: &batch,
        over,
        path: Vec::new(),
        firsts,
        originals: BTreeMap::new(),
        links: Vec::new(),
        late: BTreeMap::new(),
        misfit: None,
    };
    let walked = walk.dir(&frame, tree.dir, over.map(|over| over.base), 0);
    if walked.is_err() {
        batch.cancel();
    }
    let worked = batch.wait();
    walked?;
    worked?;
    walk.finish(tree, &frame.fd)?;
    writing.release(frame)?;
    Ok(sole_owner(writing, || ())?.counts)
}

fn open_dir(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(at, name, flags, Mode::empty())
}

/// Makes an empty directory with the given metadata.
pub(crate) fn write_root(
    store: &Store,
    target: &Path,
    meta: &Meta,
    spelling: Spelling,
) -> Result<(), StoreError> {
    let (fd, _) = make_root(store, target)?;
    apply(&fd, meta, spelling, None).map_err(|e| explain("set metadata of", target, meta, e))
}

/// Opens the empty directory to be filled, and tells whether it had to be made.
fn make_root(store: &Store, target: &Path) -> Result<(OwnedFd, bool), StoreError> {
    let failed = |e| StoreError::io("write tree to", target, e);
    let spot = store.inside().spot(target).map_err(failed)?;
    let made = match mkdirat(&spot, spot.name, Mode::RWXU) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(error) => return Err(StoreError::io("create directory", target, error)),
    };
    let fd = open_dir(&spot, spot.name).map_err(|e| StoreError::io("open directory", target, e))?;
    if !made && !names(&fd).map_err(failed)?.is_empty() {
        return Err(failed(io::ErrorKind::DirectoryNotEmpty.into()));
    }
    Ok((fd, made))
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_raw_mode(u32::from(meta.mode))
}

/// Sets all metadata of an open file or directory. Owners come first, since changing them clears
/// setuid bits and capabilities; the time comes last.
fn apply(
    fd: &impl AsFd,
    meta: &Meta,
    spelling: Spelling,
    accessed: Option<i64>,
) -> Result<(), Refused> {
    fchown(fd, Some(uid(meta)), Some(gid(meta))).map_err(Refused::Owner)?;
    fchmod(fd, mode(meta))?;
    if !meta.xattrs.is_empty() {
        Place::Open(fd).write(&meta.xattrs, spelling)?;
    }
    Ok(futimens(fd, &both_times(meta.mtime, accessed))?)
}

fn both_times(mtime: Mtime, accessed: Option<i64>) -> Timestamps {
    let mut both = times(mtime);
    if let Some(seconds) = accessed {
        both.last_access = Timespec {
            tv_sec: seconds,
            tv_nsec: 0,
        };
    }
    both
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
            if !frame.late.load(Ordering::Acquire) {
                self.apply(&frame.fd, &frame.path, &frame.meta)?;
            }
            match &frame.parent {
                Some(parent) => frame = parent.clone(),
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Sets the metadata of a directory.
    fn apply(&self, fd: &OwnedFd, path: &[u8], meta: &Meta) -> Result<(), StoreError> {
        apply(fd, meta, self.spelling, self.accessed())
            .map_err(|e| explain("set metadata of", &self.full(path), meta, e))
    }

    /// The time of access to set.
    fn accessed(&self) -> Option<i64> {
        self.vary.then_some(0)
    }

    /// Makes a directory larger than what will be in it needs, where file systems keep them so.
    fn swell(&self, dir: &OwnedFd, path: &[u8]) -> Result<(), StoreError> {
        if !self.vary {
            return Ok(());
        }
        let name = |n: usize| format!("{n:0>250}");
        let swell = || {
            mknodat(dir, name(0), FileType::RegularFile, Mode::RUSR, 0)?;
            for n in 1..SWELL {
                linkat(dir, name(0), dir, name(n), AtFlags::empty())?;
            }
            for n in 0..SWELL {
                unlinkat(dir, name(n), AtFlags::empty())?;
            }
            Ok(())
        };
        swell().map_err(|e: Errno| self.io("write in", path, e))
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
        apply(&file, &new.meta, self.spelling, self.accessed())
            .map_err(|e| explain("set metadata of", &self.full(&path()), &new.meta, e))
    }
}

/// One more name to be made at the end.
struct Link {
    path: Vec<u8>,
    first: Vec<u8>,
    entry: Entry,
}

/// Whether it is fine that something could not be made here.
fn may_lack(kind: &Kind) -> bool {
    matches!(kind, Kind::Char { .. } | Kind::Block { .. })
}

struct Walk<'a> {
    writing: &'a Arc<Writing>,
    batch: &'a Batch,
    over: Option<&'a Over>,
    path: Vec<u8>,
    /// The first name of everything that has several.
    firsts: BTreeMap<&'a [u8], &'a [u8]>,
    /// What the first names are names of.
    originals: BTreeMap<Vec<u8>, Entry>,
    links: Vec<Link>,
    /// Directories that get their metadata when the further names are there. They are opened again
    /// then: however many there are, few are open at a time.
    late: BTreeMap<Vec<u8>, Meta>,
    /// What is wrong with a group of hard links.
    misfit: Option<String>,
}

impl Walk<'_> {
    /// Fills a directory, with `under` in the tree that it is laid over.
    fn dir(
        &mut self,
        frame: &Arc<Frame>,
        dir: DirHash,
        under: Option<DirHash>,
        depth: usize,
    ) -> Result<(), StoreError> {
        if depth > MAX_DEPTH {
            return Err(StoreError::TooDeep {
                limit: MAX_DEPTH,
                path: show(&self.path[..self.path.len().min(200)]),
            });
        }
        let mut files = Vec::new();
        let mut bytes = 0;
        let mut below = entries_below(&self.writing.store, under)?;
        let mut entries = self.writing.store.manifest(dir)?.into_entries();
        if self.writing.vary {
            entries.reverse();
        }
        for entry in entries {
            self.writing.go_on()?;
            let before = self.path.len();
            if before > 0 {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(&entry.name);
            let old = below.remove(&entry.name);
            let step = match self.over {
                Some(over) => over.step(&self.path, &entry, old.as_ref()),
                None if self.is_wanted(&entry) => Step::Write(None),
                None => Step::Leave,
            };
            let result = match step {
                Step::Write(under) => self.entry(frame, entry, under, depth),
                Step::Leave => Ok(None),
            };
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
        for name in below.into_keys() {
            // A whiteout, which every user may make.
            let whiteout = FileType::CharacterDevice;
            mknodat(&frame.fd, name.as_slice(), whiteout, Mode::empty(), 0)
                .map_err(|e| self.writing.io("hide an entry of", &self.path, e))?;
        }
        if depth > 0 {
            self.writing.release(frame.clone())?;
        }
        Ok(())
    }

    /// Tells whether an entry is to be written.
    fn is_wanted(&self, entry: &Entry) -> bool {
        if !self.writing.only_linked {
            return true;
        }
        match entry.kind {
            Kind::Dir { .. } => {
                let below = [&self.path[..], b"/"].concat();
                let mut from = self.firsts.range(below.as_slice()..);
                from.next()
                    .is_some_and(|(path, _)| path.starts_with(&below))
            }
            // Nobody can change one in a build, and not every user may make one.
            Kind::Char { .. } | Kind::Block { .. } => false,
            _ => self.firsts.contains_key(self.path.as_slice()),
        }
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
        under: Option<DirHash>,
        depth: usize,
    ) -> Result<Option<NewFile>, StoreError> {
        let name = CString::new(entry.name.clone()).map_err(|_| StoreError::BadEntry {
            path: show(&self.path),
            reason: "name has a NUL in it".into(),
        })?;
        if let Some(first) = self.firsts.get(self.path.as_slice()) {
            if entry.kind.is_dir() {
                self.misfit = Some(a_directory(&self.path));
            } else {
                let first = first.to_vec();
                self.put_off(frame);
                if first != self.path {
                    self.links.push(Link {
                        path: self.path.clone(),
                        first,
                        entry,
                    });
                    return Ok(None);
                }
                self.originals.insert(first, entry.clone());
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
                writing.swell(&fd, &self.path)?;
                let source = frame.source.as_ref();
                let source = source.and_then(|source| open_dir(source, &name).ok());
                frame.left.fetch_add(1, Ordering::AcqRel);
                let child = Arc::new(Frame {
                    fd,
                    source,
                    meta,
                    path: self.path.clone(),
                    left: AtomicUsize::new(1),
                    late: AtomicBool::new(false),
                    parent: Some(frame.clone()),
                });
                self.dir(&child, manifest, under, depth + 1)?;
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
        if writing.devices == Unmakeable::Never && may_lack(kind) {
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
                    Unmakeable::Never | Unmakeable::LeaveOut => Ok(()),
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
            let times = both_times(meta.mtime, writing.accessed());
            Ok(utimensat(&frame.fd, name, &times, nofollow)?)
        };
        set().map_err(|e| explain("set metadata of", &writing.full(&self.path), meta, e))
    }

    /// Puts off the metadata of a directory, and of those above it: it could not be reached otherwise, or
    /// not be written to.
    fn put_off(&mut self, frame: &Arc<Frame>) {
        let mut next = Some(frame);
        // The walk is in all of them, so none is complete. That of the top comes last anyway.
        while let Some(frame) = next
            && frame.parent.is_some()
            && !frame.late.swap(true, Ordering::AcqRel)
        {
            self.late.insert(frame.path.clone(), frame.meta.clone());
            next = frame.parent.as_ref();
        }
    }

    /// Makes the further names, when all files are written.
    fn finish(self, tree: &Tree, top: &OwnedFd) -> Result<(), StoreError> {
        let disagrees = |detail: String| StoreError::Corrupt {
            what: "tree",
            hash: Tree::hash_encoded(&tree.encode()).0,
            detail,
        };
        let Walk {
            writing,
            firsts,
            originals,
            links,
            late,
            misfit,
            over,
            ..
        } = self;
        if let Some(detail) = misfit {
            return Err(disagrees(detail));
        }
        // Of names alone, those of devices are not met.
        if originals.len() + links.len() < firsts.len() && !writing.only_linked && over.is_none() {
            let is_met = |path: &[u8]| {
                originals.contains_key(path) || links.iter().any(|link| link.path == path)
            };
            let path = firsts.keys().find(|path| !is_met(path));
            return Err(disagrees(no_name(path.copied().unwrap_or_default())));
        }
        let (mut from, mut to) = (Opened::default(), Opened::default());
        for link in links {
            let original = originals.get(&link.first);
            if let Some(original) = original
                && !are_one(original, &link.entry)
            {
                return Err(disagrees(two_faces(&link.first, &link.path)));
            }
            let made = match original {
                Some(_) => from.at(top, &link.first).and_then(|(from, old)| {
                    let (to, new) = to.at(top, &link.path)?;
                    linkat(from, old, to, new, AtFlags::empty())
                }),
                None => Err(Errno::NOENT),
            };
            // Device nodes that could not be made have no other names either.
            match made {
                Err(Errno::NOENT) if may_lack(&link.entry.kind) => {}
                other => other.map_err(|e| writing.io("link", &link.path, e))?,
            }
        }
        // Those below first: what is above them may be closed to us afterwards.
        for (path, meta) in late.iter().rev() {
            let dir = open_below(top, path).map_err(|e| writing.io("open directory", path, e))?;
            writing.apply(&dir, path, meta)?;
        }
        Ok(())
    }
}

/// The directory that was opened last.
#[derive(Default)]
struct Opened {
    path: Vec<u8>,
    fd: Option<OwnedFd>,
}

impl Opened {
    /// The directory of a path below `top`, and the name in it.
    fn at<'a>(
        &'a mut self,
        top: &'a OwnedFd,
        path: &'a [u8],
    ) -> rustix::io::Result<(&'a OwnedFd, &'a [u8])> {
        let Some(slash) = path.iter().rposition(|b| *b == b'/') else {
            return Ok((top, path));
        };
        let (dir, name) = (&path[..slash], &path[slash + 1..]);
        if self.fd.is_none() || self.path != dir {
            self.fd = Some(open_below(top, dir)?);
            self.path = dir.to_vec();
        }
        Ok((self.fd.as_ref().unwrap_or(top), name))
    }
}

/// Opens a directory below another one, however long its path is.
fn open_below(top: &OwnedFd, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let mut names = path.split(|b| *b == b'/');
    let mut dir = open_dir(top, names.next().unwrap_or_default())?;
    for name in names {
        dir = open_dir(&dir, name)?;
    }
    Ok(dir)
}
