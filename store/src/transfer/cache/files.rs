//! Files of a cache that both who adds to it and who collects it touch.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::listing::MAX_LISTING;
use crate::disk::Disk;
use crate::session::random_name;
use crate::{StoreError, TreeHash};

/// The trees that an interrupted collection was about to remove, a line each.
pub(super) const LEAVING: &str = ".leaving";
/// How files begin that are not complete yet.
pub(super) const UNFINISHED: &str = ".new-";

/// Writes a file whole. Its name is durable when its folder was synced.
pub(super) fn put(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    if disk
        .read(path, bytes.len() as u64)
        .is_ok_and(|old| old == bytes)
    {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    let new = folder.join(format!("{UNFINISHED}{}", random_name()?));
    let write = || {
        let file = disk.create(&new)?;
        file.write_at(bytes, 0)?;
        file.sync()?;
        disk.rename(&new, path)
    };
    write().map_err(|e| {
        let _ = disk.remove(&new);
        StoreError::io("write", path, e)
    })
}

/// The trees that an interrupted collection was about to remove.
pub(super) fn leaving(folder: &Path) -> Result<Vec<TreeHash>, StoreError> {
    let path = folder.join(LEAVING);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let bytes = read_file(&path, MAX_LISTING as u64)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Reads a file of at most `limit` bytes.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|e| StoreError::io("read", path, e))
}
