//! Looks at folders before builds use them: is each still what it was when it was made?
//!
//! A folder is compared with its tree (and a layer with the tree below it) by what the system tells
//! without reading: names, kinds, sizes, owners, modes, times, and how many names a file has. Nothing in
//! it may have changed since the moment that was noted for it: the time of an entry's last change
//! (ctime) tells, which nobody can set back. So contents need not be read.
//!
//! Trees of steps are collected while layers over them are in use. Then that time alone has to tell: it
//! is stamped on a directory as well when an entry comes or goes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::attributes::{OPAQUE, Place, WHITEOUT};
use crate::error::show;
use crate::manifest::{Entry, Kind, MAX_DEPTH, Meta, Tree};
use crate::scan::mtime_of;
use crate::{DirHash, Store, StoreError};

/// A moment, in nanoseconds since 1970, as the kernel stamps files with it.
pub(super) type Moment = i64;

/// When an entry was changed last.
pub(super) fn changed_at(stat: &Stat) -> Moment {
    let nanos = i64::try_from(stat.st_ctime_nsec).unwrap_or_default();
    stat.st_ctime
        .saturating_mul(1_000_000_000)
        .saturating_add(nanos)
}

/// A folder that holds a whole tree, or what one has more than another.
pub(super) struct Folder<'a> {
    pub path: &'a Path,
    /// What it shows, together with what is below it; `None` if that tree was collected.
    pub tree: Option<&'a Tree>,
    /// Whether there is something below it.
    pub layered: bool,
    /// What that is; `None` if that tree was collected.
    pub base: Option<&'a Tree>,
    /// When it was complete.
    pub made: Moment,
}

/// What a directory of a layer is laid over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Under {
    Nothing,
    Dir(DirHash),
    /// Something, of which nobody knows any more what it was.
    Unknown,
}

/// Why a look ended early.
enum End {
    /// The folder is not what it was.
    Differs(String),
    /// The store could not tell what it should be.
    Store(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> End {
        End::Store(error)
    }
}

/// Tells the first difference, if there is one.
pub(super) fn difference(store: &Store, folder: &Folder<'_>) -> Result<Option<String>, StoreError> {
    let links = folder.tree.iter().flat_map(|tree| &tree.links);
    let mut look = Look {
        store,
        made: folder.made,
        layered: folder.layered,
        names: links
            .flat_map(|group| group.iter().map(|path| (path.as_slice(), group.len())))
            .collect(),
        here: BTreeSet::new(),
        path: Vec::new(),
    };
    match look.top(folder) {
        Ok(()) => Ok(None),
        Err(End::Differs(detail)) if look.path.is_empty() => Ok(Some(detail)),
        Err(End::Differs(detail)) => Ok(Some(format!("{}: {detail}", show(&look.path)))),
        Err(End::Store(error)) => Err(error),
    }
}

struct Look<'a> {
    store: &'a Store,
    made: Moment,
    layered: bool,
    /// How many names the files have that have several.
    names: HashMap<&'a [u8], usize>,
    /// Those of these names that the folder itself has.
    here: BTreeSet<&'a [u8]>,
    /// Where the look is; after a difference, where that is.
    path: Vec<u8>,
}

fn open(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(at, name, flags, Mode::empty())
}

fn differs<T>(detail: impl Into<String>) -> Result<T, End> {
    Err(End::Differs(detail.into()))
}

/// What the system cannot tell is a difference, unless it only has too few open files.
fn unseen(path: &Path) -> impl Fn(Errno) -> End + '_ {
    move |error| match error {
        Errno::MFILE | Errno::NFILE | Errno::NOMEM => {
            End::Store(StoreError::io("look at", path, error))
        }
        error => End::Differs(format!("cannot be looked at: {error}")),
    }
}

impl<'a> Look<'a> {
    fn top(&mut self, folder: &Folder<'_>) -> Result<(), End> {
        let seen = unseen(folder.path);
        let top = open(CWD, folder.path).map_err(&seen)?;
        let stat = fstat(&top).map_err(&seen)?;
        let Some(tree) = folder.tree else {
            self.unchanged(&stat)?;
            return self.times(&top, folder.path, 0);
        };
        self.compare(&stat, &tree.root, FileType::Directory)?;
        let under = match folder.base {
            Some(base) => Under::Dir(base.dir),
            None if folder.layered => Under::Unknown,
            None => Under::Nothing,
        };
        self.dir(&top, folder.path, tree.dir, under, 0)?;
        self.groups(tree, folder.base)
    }

    /// Looks at nothing but times of change.
    fn times(&mut self, dir: &OwnedFd, folder: &Path, depth: usize) -> Result<(), End> {
        let seen = unseen(folder);
        if depth > MAX_DEPTH {
            return differs("is nested too deep");
        }
        for name in names(dir).map_err(&seen)? {
            let before = self.enter(name.to_bytes());
            let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(&seen)?;
            if !is_whiteout(dir, &name, &stat, false).map_err(&seen)? {
                self.unchanged(&stat)?;
            }
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                self.times(&open(dir, &name).map_err(&seen)?, folder, depth + 1)?;
            }
            self.path.truncate(before);
        }
        Ok(())
    }

    /// Compares a directory of the folder with what it should show, and with what is below it.
    fn dir(
        &mut self,
        dir: &OwnedFd,
        folder: &Path,
        manifest: DirHash,
        under: Under,
        depth: usize,
    ) -> Result<(), End> {
        let seen = unseen(folder);
        if depth > MAX_DEPTH {
            return differs("is nested too deep");
        }
        let mut names = names(dir).map_err(&seen)?;
        let layered = self.layered;
        let files_hide = layered
            && Place::Open(dir).value(OPAQUE).map_err(&seen)?.as_deref() == Some(b"x".as_slice());
        let mut below: BTreeMap<Vec<u8>, Entry> = match under {
            Under::Dir(under) => {
                let entries = self.store.manifest(under)?.into_entries().into_iter();
                entries.map(|entry| (entry.name.clone(), entry)).collect()
            }
            Under::Nothing | Under::Unknown => BTreeMap::new(),
        };
        for entry in self.store.manifest(manifest)?.into_entries() {
            let before = self.enter(&entry.name);
            let name = CString::new(entry.name.as_slice())
                .map_err(|_| End::Differs("has a name with a NUL".into()))?;
            let below = below.remove(&entry.name);
            if names.remove(&name) {
                let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(&seen)?;
                if layered && is_whiteout(dir, &name, &stat, files_hide).map_err(&seen)? {
                    return differs("is hidden");
                }
                self.entry(dir, &name, &entry, &stat)?;
                if let Kind::Dir { manifest } = entry.kind {
                    let child = open(dir, &name).map_err(&seen)?;
                    let hides = layered && is_opaque(&child).map_err(&seen)?;
                    let under = match below.map(|below| below.kind) {
                        _ if hides => Under::Nothing,
                        Some(Kind::Dir { manifest }) => Under::Dir(manifest),
                        _ if under == Under::Unknown => Under::Unknown,
                        _ => Under::Nothing,
                    };
                    self.dir(&child, folder, manifest, under, depth + 1)?;
                }
            } else if under != Under::Unknown && !shows_through(&entry, below.as_ref()) {
                return differs("is not there");
            }
            self.path.truncate(before);
        }
        // What the folder has more, and what the tree below it has more, must be hidden by the folder.
        let hidden = below.into_keys().filter_map(|name| CString::new(name).ok());
        names.extend(hidden);
        for name in names {
            let before = self.enter(name.to_bytes());
            let hides = match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // When it was changed says nothing: overlayfs gives one whiteout many names, some of which
                // go with its working directory.
                Ok(stat) => layered && is_whiteout(dir, &name, &stat, files_hide).map_err(&seen)?,
                Err(Errno::NOENT) => false,
                Err(error) => return Err(seen(error)),
            };
            if !hides {
                return differs("is not in the tree");
            }
            self.path.truncate(before);
        }
        Ok(())
    }

    fn enter(&mut self, name: &[u8]) -> usize {
        let before = self.path.len();
        if before > 0 {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
        before
    }

    fn entry(&mut self, dir: &OwnedFd, name: &CStr, entry: &Entry, stat: &Stat) -> Result<(), End> {
        let kind = match entry.kind {
            Kind::File { .. } => FileType::RegularFile,
            Kind::Dir { .. } => FileType::Directory,
            Kind::Symlink { .. } => FileType::Symlink,
            Kind::Char { .. } => FileType::CharacterDevice,
            Kind::Block { .. } => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
        };
        if FileType::from_raw_mode(stat.st_mode) != kind {
            return differs(format!("is not a {}", entry.kind.word()));
        }
        self.compare(stat, &entry.meta, kind)?;
        match &entry.kind {
            Kind::Dir { .. } => return Ok(()),
            Kind::File { size, .. } if stat.st_size.unsigned_abs() != *size => {
                return differs(format!("has {} bytes, not {size}", stat.st_size));
            }
            Kind::Symlink { target } => {
                let found = rustix::fs::readlinkat(dir, name, Vec::new());
                if found.is_ok_and(|found| found.as_bytes() != &target[..]) {
                    return differs("points elsewhere");
                }
            }
            _ => {}
        }
        let want = match self.names.get_key_value(self.path.as_slice()) {
            Some((path, names)) => {
                self.here.insert(path);
                *names
            }
            None => 1,
        };
        if usize::try_from(stat.st_nlink).ok() != Some(want) {
            return differs(format!("has {} names, not {want}", stat.st_nlink));
        }
        Ok(())
    }

    fn compare(&self, stat: &Stat, meta: &Meta, kind: FileType) -> Result<(), End> {
        self.unchanged(stat)?;
        if (stat.st_uid, stat.st_gid) != (meta.uid, meta.gid) {
            return differs(format!("belongs to {}:{}", stat.st_uid, stat.st_gid));
        }
        let mode = (stat.st_mode & 0o7777) as u16;
        if kind != FileType::Symlink && mode != meta.mode {
            return differs(format!("has mode {mode:o}, not {:o}", meta.mode));
        }
        if mtime_of(stat) != meta.mtime {
            return differs("has another modification time");
        }
        Ok(())
    }

    fn unchanged(&self, stat: &Stat) -> Result<(), End> {
        if changed_at(stat) > self.made {
            return differs("was changed after it was written");
        }
        Ok(())
    }

    /// Of a layer: names of one file are all in it, or all below it; else it would show a file with
    /// other names than the tree says.
    fn groups(&mut self, tree: &Tree, base: Option<&Tree>) -> Result<(), End> {
        if !self.layered {
            return Ok(());
        }
        for group in &tree.links {
            let here = group.iter().filter(|p| self.here.contains(p.as_slice()));
            let whole_below = || base.is_none_or(|b| b.links.binary_search(group).is_ok());
            match here.count() {
                n if n == group.len() => {}
                0 if whole_below() => {}
                _ => {
                    self.path.clone_from(&group[0]);
                    return differs("has its names in several layers");
                }
            }
        }
        Ok(())
    }
}

/// Tells whether what a folder lacks is shown of what is below it.
fn shows_through(entry: &Entry, below: Option<&Entry>) -> bool {
    match below {
        Some(below) => below == entry,
        // Not every user may make devices.
        None => matches!(entry.kind, Kind::Char { .. } | Kind::Block { .. }),
    }
}

fn names(dir: &OwnedFd) -> rustix::io::Result<BTreeSet<CString>> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.insert(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

fn is_opaque(dir: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(Place::Open(dir).value(OPAQUE)?.as_deref() == Some(b"y".as_slice()))
}

fn is_whiteout(
    dir: &OwnedFd,
    name: &CStr,
    stat: &Stat,
    files_hide: bool,
) -> rustix::io::Result<bool> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::CharacterDevice => Ok(stat.st_rdev == 0),
        FileType::RegularFile if files_hide && stat.st_size == 0 => {
            Ok(Place::Named(dir, name).value(WHITEOUT)?.is_some())
        }
        _ => Ok(false),
    }
}
