//! Files with several names, in the upper directory of a build.
//!
//! Overlayfs copies a file of a lower layer to the upper one when it is changed, under the name by which
//! it is changed; its other names keep showing the old file. So that a build sees files as any system
//! shows them, all that have several names lie in its upper directory before it starts. Those that it
//! left alone are taken out again before the directory is captured.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, futimens, openat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use super::look::{Moment, changed_at};
use crate::manifest::Tree;
use crate::scan::{mtime_of, times};
use crate::{Store, StoreError};

/// Clocks of kernels tick at least this often.
const TICK: Duration = Duration::from_millis(20);

/// What an upper directory had before a build: files with several names, and directories above them.
#[derive(Debug)]
pub struct Raised {
    store: Store,
    upper: PathBuf,
    entries: BTreeMap<CString, Node>,
    groups: usize,
}

/// What identifies the state of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    inode: u64,
    changed: Moment,
}

impl Note {
    fn of(stat: &Stat) -> Note {
        Note {
            inode: stat.st_ino,
            changed: changed_at(stat),
        }
    }
}

#[derive(Debug)]
enum Node {
    Dir {
        note: Note,
        entries: BTreeMap<CString, Node>,
    },
    File {
        note: Note,
        /// Number of its group.
        group: usize,
    },
}

fn open(at: impl AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(at, name, flags, Mode::empty())
}

impl Raised {
    /// Of an upper directory without such files.
    pub(super) fn nothing(store: &Store, upper: &Path) -> Raised {
        Raised {
            store: store.clone(),
            upper: upper.to_path_buf(),
            entries: BTreeMap::new(),
            groups: 0,
        }
    }

    /// Notes what lies in an upper directory that has nothing but the files of `tree` with several names.
    /// Returns when a change to any of it would show.
    pub(super) fn note(store: &Store, upper: &Path, tree: &Tree) -> Result<Raised, StoreError> {
        let mut groups = BTreeMap::new();
        for (number, group) in tree.links.iter().enumerate() {
            groups.extend(group.iter().map(|path| (path.as_slice(), number)));
        }
        let mut newest = 0;
        let failed = |e| StoreError::io("look at", upper, e);
        let top = store.inside().folder(upper).map_err(failed)?;
        let entries = read(&top, &mut Vec::new(), &groups, &mut newest);
        let entries = entries.map_err(|e| failed(e.into()))?;
        wait_until_after(newest);
        Ok(Raised {
            store: store.clone(),
            upper: upper.to_path_buf(),
            entries,
            groups: tree.links.len(),
        })
    }

    /// Takes out of the upper directory what the build left alone: it is shown of the layers below.
    pub fn take_back(&self) -> Result<(), StoreError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.store.writable("clear an upper directory")?;
        let mut touched = vec![false; self.groups];
        let failed = |e| StoreError::io("clear upper directory", &self.upper, e);
        let top = self.store.inside().folder(&self.upper).map_err(failed)?;
        let mut take = || {
            find_touched(&top, &self.entries, &mut touched)?;
            let before = fstat(&top)?;
            remove(&top, &self.entries, &touched)?;
            futimens(&top, &times(mtime_of(&before)))
        };
        take().map_err(|e: Errno| failed(e.into()))
    }
}

fn read(
    dir: &OwnedFd,
    path: &mut Vec<u8>,
    groups: &BTreeMap<&[u8], usize>,
    newest: &mut Moment,
) -> rustix::io::Result<BTreeMap<CString, Node>> {
    let mut entries = BTreeMap::new();
    let mut names: Vec<CString> = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    for name in names {
        let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let note = Note::of(&stat);
        *newest = note.changed.max(*newest);
        let before = path.len();
        if before > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let node = if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let child = open(dir, &name)?;
            let entries = read(&child, path, groups, newest)?;
            Some(Node::Dir { note, entries })
        } else {
            let group = groups.get(path.as_slice());
            group.map(|group| Node::File {
                note,
                group: *group,
            })
        };
        path.truncate(before);
        entries.extend(node.map(|node| (name, node)));
    }
    Ok(entries)
}

/// Waits until the kernel would stamp a change with a later time.
fn wait_until_after(moment: Moment) {
    for _ in 0..TICK.as_millis() {
        let now = clock_gettime(ClockId::RealtimeCoarse);
        if now.tv_sec.saturating_mul(1_000_000_000) + now.tv_nsec > moment {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Finds the groups of which a name was changed, removed, or moved.
fn find_touched(
    dir: &OwnedFd,
    entries: &BTreeMap<CString, Node>,
    touched: &mut [bool],
) -> rustix::io::Result<()> {
    for (name, node) in entries {
        let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error),
        };
        match node {
            Node::File { note, group } => {
                // A file system that keeps whole seconds tells nothing.
                let exact = note.changed % 1_000_000_000 != 0;
                if !exact || stat.is_none_or(|stat| Note::of(&stat) != *note) {
                    touched[*group] = true;
                }
            }
            Node::Dir { note, entries } => {
                if is_still(stat.as_ref(), note) {
                    find_touched(&open(dir, name)?, entries, touched)?;
                } else {
                    all_touched(entries, touched);
                }
            }
        }
    }
    Ok(())
}

/// Whether a directory is the one that it was, whatever happened in it.
fn is_still(stat: Option<&Stat>, note: &Note) -> bool {
    stat.is_some_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::Directory && stat.st_ino == note.inode
    })
}

fn all_touched(entries: &BTreeMap<CString, Node>, touched: &mut [bool]) {
    for node in entries.values() {
        match node {
            Node::File { group, .. } => touched[*group] = true,
            Node::Dir { entries, .. } => all_touched(entries, touched),
        }
    }
}

/// Removes the files of untouched groups, and directories that are left with nothing of the build's.
fn remove(
    dir: &OwnedFd,
    entries: &BTreeMap<CString, Node>,
    touched: &[bool],
) -> rustix::io::Result<()> {
    for (name, node) in entries {
        match node {
            Node::File { group, .. } if touched[*group] => {}
            Node::File { .. } => unlinkat(dir, name, AtFlags::empty())?,
            Node::Dir { note, entries } => remove_dir(dir, name, note, entries, touched)?,
        }
    }
    Ok(())
}

fn remove_dir(
    dir: &OwnedFd,
    name: &CStr,
    note: &Note,
    entries: &BTreeMap<CString, Node>,
    touched: &[bool],
) -> rustix::io::Result<()> {
    let stat = match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) if is_still(Some(&stat), note) => stat,
        Ok(_) | Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(error),
    };
    let child = open(dir, name)?;
    remove(&child, entries, touched)?;
    if Note::of(&stat) == *note {
        match unlinkat(dir, name, AtFlags::REMOVEDIR) {
            Ok(()) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
    }
    // What was removed here was not there for the build.
    futimens(&child, &times(mtime_of(&stat)))
}
