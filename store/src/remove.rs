//! Removes whole trees, of any depth, without following links.
//!
//! Trees that builds leave hold what `rm -rf` trips over: directories without any permission (overlayfs
//! makes its own `work` with mode 000), files of other owners, and nesting deeper than a process has
//! descriptors or a path has bytes.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// How many directories are held open at once; deeper ones are moved up first.
const DEPTH: usize = 48;

/// Removes `path` and everything in it; one that does not exist is fine.
///
/// Symbolic links are removed, never followed, and nothing on another file system mounted inside is
/// touched (its mount point makes the call fail). Directories without permissions are opened up.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::INVAL.into());
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match rustix::fs::open(parent, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    remove_at(parent, name)
}

/// Removes what is called `name` in an open folder, as [`remove_tree`] does.
pub(crate) fn remove_at(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    let name = CString::new(name.as_encoded_bytes())?;
    let stat = match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(unlink(&parent, &name, AtFlags::empty())?);
    }
    let device = stat.st_dev;
    let top = open_directory(&parent, &name, device)?;
    let mut buried = 0_u64;
    // Each pass empties the top directory, down to a fixed depth; what lies deeper is moved to the top
    // and falls to the next pass.
    while empty(&top, &top, device, 0, &mut buried)? {}
    drop(top);
    Ok(unlink(&parent, &name, AtFlags::REMOVEDIR)?)
}

/// Removes all entries of `dir`; true when some had to be moved up to `top` instead.
fn empty(
    dir: &OwnedFd,
    top: &OwnedFd,
    device: u64,
    depth: usize,
    buried: &mut u64,
) -> Result<bool, Errno> {
    let mut again = false;
    for (name, kind) in entries(dir)? {
        let kind = match kind {
            FileType::Unknown => match rustix::fs::statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
                // Somebody else removes the same tree.
                Err(Errno::NOENT) => continue,
                other => FileType::from_raw_mode(other?.st_mode),
            },
            kind => kind,
        };
        if kind != FileType::Directory {
            unlink(dir, &name, AtFlags::empty())?;
            continue;
        }
        // Most directories deep down are empty: try without opening them.
        if unlink(dir, &name, AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        if depth >= DEPTH {
            again |= bury(dir, &name, top, device, buried)?;
            continue;
        }
        let child = match open_directory(dir, &name, device) {
            Err(Errno::NOENT) => continue,
            other => other?,
        };
        again |= empty(&child, top, device, depth + 1, buried)?;
        drop(child);
        unlink(dir, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(again)
}

/// Moves a directory from deep down to the top; false when it is gone.
fn bury(
    dir: &OwnedFd,
    name: &CStr,
    top: &OwnedFd,
    device: u64,
    buried: &mut u64,
) -> Result<bool, Errno> {
    // Changing a directory's parent writes to that directory, so it must be writable.
    match open_directory(dir, name, device) {
        Err(Errno::NOENT) => return Ok(false),
        other => drop(other?),
    }
    loop {
        let up = format!(".mstore-removed-{buried}");
        *buried += 1;
        match rustix::fs::renameat_with(dir, name, top, up, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            Err(Errno::NOENT) => return Ok(false),
            other => return other.map(|()| true),
        }
    }
}

/// Reads all names first: removing while reading makes some file systems skip entries.
fn entries(dir: &OwnedFd) -> Result<Vec<(CString, FileType)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            found.push((name.to_owned(), entry.file_type()));
        }
    }
    Ok(found)
}

/// Opens a directory, after giving its owner the permissions needed.
fn open_directory(dir: impl AsFd, name: &CStr, device: u64) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = || rustix::fs::openat(&dir, name, flags, Mode::empty());
    let fd = match open() {
        Err(Errno::ACCESS) => {
            // Not a symbolic link: a moment ago the entry was a directory, and nobody else works in a
            // tree that is being removed.
            rustix::fs::chmodat(&dir, name, Mode::RWXU, AtFlags::empty())?;
            open()?
        }
        other => other?,
    };
    let stat = rustix::fs::fstat(&fd)?;
    if stat.st_dev != device {
        return Err(Errno::XDEV);
    }
    if stat.st_mode & 0o700 != 0o700 {
        // Readable is not enough: its entries are to be removed. As root this may be refused (an owner
        // that is not mapped) and still not be needed.
        let _ = rustix::fs::fchmod(&fd, Mode::RWXU);
    }
    Ok(fd)
}

fn unlink(dir: impl AsFd, name: &CStr, flags: AtFlags) -> Result<(), Errno> {
    match rustix::fs::unlinkat(&dir, name, flags) {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn removes_what_has_no_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir_all(top.join("work/work/deep")).unwrap();
        fs::write(top.join("work/work/file"), "x").unwrap();
        std::os::unix::fs::symlink("/", top.join("work/root")).unwrap();
        fs::set_permissions(top.join("work/work"), fs::Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(top.join("work"), fs::Permissions::from_mode(0o500)).unwrap();
        remove_tree(&top).unwrap();
        assert!(!top.exists());
        assert!(Path::new("/").exists());
    }

    #[test]
    fn what_is_not_there_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        remove_tree(&dir.path().join("none")).unwrap();
        remove_tree(&dir.path().join("none/at/all")).unwrap();
    }

    #[test]
    fn a_link_or_file_is_removed_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::create_dir(&target).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        remove_tree(&link).unwrap();
        assert!(target.exists() && fs::symlink_metadata(&link).is_err());
    }

    #[test]
    fn removes_a_chain_deeper_than_paths_and_descriptors() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        fs::create_dir(&top).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = rustix::fs::open(&top, flags, Mode::empty()).unwrap();
        for _ in 0..9000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            // A second branch, without permissions.
            rustix::fs::mkdirat(&at, "e", Mode::empty()).unwrap();
            at = rustix::fs::openat(&at, "d", flags, Mode::empty()).unwrap();
        }
        drop(at);
        remove_tree(&top).unwrap();
        assert!(!top.exists());
    }
}
