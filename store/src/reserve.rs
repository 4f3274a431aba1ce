//! Room that is kept back for the collector: on a full disk neither the database nor a session could
//! be opened, and nothing could ever be removed.

use std::path::{Path, PathBuf};

use crate::disk::Disk;

/// Enough for the shared memory and the log of the database, a session, and a small pack of trees.
const SIZE: usize = 1 << 20;
/// With less than this the collector takes the reserve before it begins.
const LITTLE: u64 = 8 << 20;

fn path(root: &Path) -> PathBuf {
    root.join("db/reserve")
}

/// Keeps room back, if none is. A disk too full for it is no failure.
pub(crate) fn keep(disk: &dyn Disk, root: &Path) {
    let path = path(root);
    if path.exists() {
        return;
    }
    // Not only a hole.
    let written = disk
        .create(&path)
        .and_then(|file| file.write_at(&vec![0xa5; SIZE], 0));
    if written.is_err() {
        let _ = disk.remove(&path);
    }
}

/// Gives it to whoever comes first. Tells whether there was any.
pub(crate) fn release(disk: &dyn Disk, root: &Path) -> bool {
    disk.remove(&path(root)).is_ok()
}

/// Gives it away when there is little room otherwise.
pub(crate) fn release_if_little(disk: &dyn Disk, root: &Path) {
    if free(root).is_some_and(|free| free < LITTLE) {
        release(disk, root);
    }
}

/// Bytes that are free for this user where a file lies.
pub(crate) fn free(path: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(path).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
