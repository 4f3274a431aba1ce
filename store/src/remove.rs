//! Removes whole folders, without following links and without a limit of path length.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, chmodat, openat, unlinkat};
use rustix::io::Errno;

use crate::manifest::MAX_DEPTH;

/// Removes a folder and all in it; one that is gone is fine. Folders without permissions, such as
/// overlayfs leaves behind, are opened up first.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    remove_at(CWD, path, 0)
}

fn open_dir<P: rustix::path::Arg + Copy>(at: impl AsFd, name: P) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    match openat(at.as_fd(), name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            chmodat(at.as_fd(), name, Mode::RWXU, AtFlags::empty())?;
            openat(at.as_fd(), name, flags, Mode::empty())
        }
        other => other,
    }
}

fn remove_at<P: rustix::path::Arg + Copy>(at: impl AsFd, name: P, depth: usize) -> io::Result<()> {
    let dir = match open_dir(at.as_fd(), name) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::NOTDIR | Errno::LOOP) => {
            return unlinkat(at, name, AtFlags::empty()).map_err(Into::into);
        }
        Err(error) => return Err(error.into()),
    };
    // Builds can nest deeper than trees may: such leftovers are found, not recursed into for ever.
    if depth > 8 * MAX_DEPTH {
        return Err(io::Error::other(
            "directories are nested too deep to be removed",
        ));
    }
    let mut names: Vec<(CString, FileType)> = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push((entry.file_name().to_owned(), entry.file_type()));
        }
    }
    let mut opened = false;
    for (child, kind) in names {
        let remove = || -> io::Result<()> {
            if kind != FileType::Directory {
                match unlinkat(&dir, &*child, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => return Ok(()),
                    Err(Errno::ISDIR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            remove_at(&dir, &*child, depth + 1)
        };
        match remove() {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !opened => {
                opened = true;
                rustix::fs::fchmod(&dir, Mode::RWXU)?;
                remove()?;
            }
            other => other?,
        }
    }
    match unlinkat(at, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
