//! Who may reach what of a store.
//!
//! What builds left is written out under `checkouts`, `layers`, `links`, `views` and `failed` with its own modes: set-id
//! programs, and files that only root of a stage may read. So nobody but the store's owner gets into these.
//! Everything else is for the owner and the group of the store. Modes do not depend on the umask, which can only
//! take more away. Folders of a store are never links: whoever could put one there would decide what is
//! written or removed elsewhere.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::StoreError;
use crate::disk::Disk;
use crate::inside::{Inside, Write};

/// The mode of a file.
pub(crate) const PACK: u32 = 0o640;
/// The mode of the store's own folder, and of those above that are made with it.
pub(crate) const TOP: u32 = 0o755;

/// The mode of a folder in the store.
pub(crate) fn mode_of(folder: &str) -> u32 {
    match folder {
        "checkouts" | "layers" | "links" | "views" | "failed" | "impure" | "running" | "tmp" => {
            0o700
        }
        _ => 0o750,
    }
}

/// The names in a folder, sorted. Of one that is for the store's owner alone others learn nothing: they ask what the
/// collector would do, and cannot make it do so.
pub(crate) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<OsString>, StoreError> {
    let me = rustix::process::geteuid().as_raw();
    let is_own = || fs::metadata(dir).is_ok_and(|meta| meta.uid() == me);
    match disk.list(dir) {
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !is_own() => Ok(Vec::new()),
        names => names.map_err(|e| StoreError::io("list", dir, e)),
    }
}

/// Writes a short note that members of the group may read.
pub(crate) fn write(inside: &Inside, path: &Path, text: &str) -> io::Result<()> {
    let mut file = inside.write(path, Write::Over, PACK)?;
    file.write_all(text.as_bytes())
}

/// Refuses links in the place of folders, and tells of one that the caller may not enter.
pub(crate) fn check(
    root: &Path,
    folders: impl Iterator<Item = &'static str>,
) -> Result<(), StoreError> {
    for folder in folders {
        let path = root.join(folder);
        let Ok(meta) = fs::symlink_metadata(&path) else {
            // That it is gone is told, or mended, elsewhere.
            continue;
        };
        if meta.is_symlink() {
            return Err(StoreError::LinkedFolder { path });
        }
        let is_needed = matches!(folder, "packs" | "db");
        if is_needed
            && let Err(error) = rustix::fs::access(&path, rustix::fs::Access::EXEC_OK)
            && error == rustix::io::Errno::ACCESS
        {
            return Err(StoreError::io("enter", path, io::Error::from(error)));
        }
    }
    Ok(())
}

/// Takes from others what the folders of an older release, or of a careless hand, gave them. Returns the
/// folders that it closed; those of somebody else are left to their owner.
pub(crate) fn tighten(
    root: &Path,
    folders: impl Iterator<Item = &'static str>,
) -> Vec<&'static str> {
    let close = |path: &Path, most: u32| -> io::Result<bool> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
        let meta = fs::symlink_metadata(path)?;
        let mode = meta.permissions().mode() & 0o7777;
        let closed = mode & (0o7000 | most);
        if closed == mode || meta.uid() != rustix::process::geteuid().as_raw() {
            return Ok(false);
        }
        // Through the descriptor: the name may be another folder's by now.
        let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&folder));
        let mode = Mode::from_raw_mode(closed);
        rustix::fs::chmodat(CWD, name, mode, AtFlags::empty())?;
        Ok(true)
    };
    let mut tightened = Vec::new();
    for folder in folders {
        if matches!(close(&root.join(folder), mode_of(folder)), Ok(true)) {
            tightened.push(folder);
        }
    }
    // Who may write here may put anything in the place of a folder. What a group may do is its owner's choice.
    if matches!(close(root, 0o775), Ok(true)) {
        tightened.push(".");
    }
    tightened
}
