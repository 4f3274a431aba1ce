//! What is written appears under its name when it is complete, or not at all.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

/// Names of hidden folders begin so.
const PREFIX: &str = ".mstore-part.";
/// Most entries of a folder among which leftovers are looked for.
const MOST_ENTRIES: usize = 100_000;
/// How often a name is tried.
const TRIES: usize = 16;

/// A file or folder that is being written, in a hidden folder beside the place that it takes.
///
/// The hidden folder goes with this value. After a process that was killed it stays, and the next one that writes to
/// the same folder removes it: that nobody holds its lock tells that nobody writes to it any more.
#[derive(Debug)]
pub struct Beside {
    place: PathBuf,
    folder: PathBuf,
    path: PathBuf,
    /// Locked, on file systems that have locks.
    _lock: OwnedFd,
}

impl Beside {
    /// Makes the hidden folder for what will be at `place`. Leftovers of processes that were killed go first.
    pub fn of(place: &Path) -> io::Result<Beside> {
        let name = place
            .file_name()
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no name"))?;
        let parent = match place.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        remove_leftovers(parent);
        for _ in 0..TRIES {
            let mut bytes = [0; 8];
            rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
            let folder = parent.join(format!("{PREFIX}{:016x}", u64::from_le_bytes(bytes)));
            fs::DirBuilder::new().mode(0o700).create(&folder)?;
            // Somebody who removes leftovers may have been here before the lock.
            if let Some(lock) = locked(&folder)? {
                return Ok(Beside {
                    place: place.to_path_buf(),
                    path: folder.join(name),
                    folder,
                    _lock: lock,
                });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Removes the hidden folders of processes that were killed, for who finds nothing to write in `folder`. One that
    /// was killed when its file had its name leaves an empty one.
    pub fn remove_leftovers(folder: &Path) {
        remove_leftovers(folder);
    }

    /// Where to write. Nothing is there yet.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it will be, for messages.
    pub fn named(&self) -> &Path {
        &self.place
    }

    /// Makes a file durable, and gives it its name, or a folder. Of what is there, a file takes the place of a file, and
    /// a folder that of an empty one.
    pub fn place(self) -> io::Result<()> {
        if fs::symlink_metadata(&self.path)?.is_file() {
            File::open(&self.path)?.sync_all()?;
        }
        fs::rename(&self.path, &self.place)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // After a success it is empty; after a failure the failure counts more.
        let _ = crate::remove::remove_tree(&self.folder);
    }
}

/// Opens a folder of ours and takes its lock; `None` if somebody else has that, or the folder is gone.
fn locked(folder: &Path) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(folder, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => File::from(opened?),
    };
    match flock(&opened, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        // This file system has no locks: nobody removes anything on it.
        Err(_) => return Ok(Some(opened.into())),
        Ok(()) => {}
    }
    let id = |meta: fs::Metadata| (meta.dev(), meta.ino());
    let here = fs::symlink_metadata(folder).map(id).ok();
    let is_here = here == Some(id(opened.metadata()?));
    Ok(is_here.then(|| opened.into()))
}

/// Removes what processes left that were killed. What cannot be removed is left.
fn remove_leftovers(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    let user = rustix::process::geteuid().as_raw();
    for entry in entries.take(MOST_ENTRIES).flatten() {
        if !is_hidden(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        let ours = fs::symlink_metadata(&path);
        if !ours.is_ok_and(|meta| meta.is_dir() && meta.uid() == user) {
            continue;
        }
        if let Ok(Some(lock)) = locked(&path)
            && flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
        {
            let _ = crate::remove::remove_tree(&path);
        }
    }
}

/// Whether a name is one of ours.
fn is_hidden(name: &OsStr) -> bool {
    let rest = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    rest.is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let names = entries.map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_complete_takes_its_place_and_what_is_not_goes() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("file");
        fs::write(&place, "old").unwrap();
        let beside = Beside::of(&place).unwrap();
        fs::write(beside.path(), "half").unwrap();
        drop(beside);
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        let beside = Beside::of(&place).unwrap();
        fs::write(beside.path(), "new").unwrap();
        beside.place().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "new");
        assert_eq!(names(dir.path()), ["file"]);
        // As long as names can be.
        let long = dir.path().join("n".repeat(255));
        let beside = Beside::of(&long).unwrap();
        fs::write(beside.path(), "x").unwrap();
        beside.place().unwrap();
        assert!(Beside::of(Path::new("/")).is_err());
    }

    #[test]
    fn leftovers_go_and_what_is_being_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let old = at(".mstore-part.0123456789abcdef");
        fs::create_dir_all(old.join("deep/er")).unwrap();
        fs::write(old.join("deep/file"), "half").unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), old.join("deep/link")).unwrap();
        // None of these is ours.
        std::os::unix::fs::symlink(outside.path(), at(".mstore-part.1123456789abcdef")).unwrap();
        fs::write(at(".mstore-part.2123456789abcdef"), "a file").unwrap();
        fs::create_dir(at(".mstore-part.mine")).unwrap();
        let busy = Beside::of(&at("busy")).unwrap();
        fs::write(busy.path(), "x").unwrap();
        let other = Beside::of(&at("other")).unwrap();
        drop(other);
        assert!(busy.path().is_file());
        assert!(!old.exists());
        busy.place().unwrap();
        assert!(outside.path().join("kept").is_file());
        assert_eq!(
            names(dir.path()),
            [
                ".mstore-part.1123456789abcdef",
                ".mstore-part.2123456789abcdef",
                ".mstore-part.mine",
                "busy"
            ]
        );
    }
}
