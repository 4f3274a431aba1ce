//! Writes a seed into a store or a directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use mstore_store::{Imported, Meta, Mtime, Store};

use super::{HostSeed, Item, SeedError};

/// The time of everything that is not a file of the machine, 1980-01-01: directories and links get
/// new times whenever something else is installed, which must not make another seed.
const MADE: i64 = 315_532_800;

fn meta(mode: u16, mtime: (i64, u32)) -> Meta {
    Meta {
        mode,
        mtime: Mtime {
            secs: mtime.0,
            nanos: mtime.1,
        },
        ..Meta::default()
    }
}

fn file_mode(executable: bool) -> u16 {
    if executable { 0o755 } else { 0o644 }
}

impl HostSeed {
    /// Puts the seed into a store: everything root's, nothing setuid, files with their own times.
    pub fn import(&self, store: &Store) -> Result<Imported, SeedError> {
        use std::os::unix::ffi::OsStrExt;

        let mut tree = store.tree_builder()?;
        tree.dir(b"", meta(0o755, (MADE, 0)))?;
        for (path, item) in self.items() {
            let name = path.as_os_str().as_bytes();
            match item {
                Item::Dir { mode } => tree.dir(name, meta(*mode, (MADE, 0)))?,
                Item::Link { target } => {
                    tree.symlink(name, meta(0o777, (MADE, 0)), target.as_os_str().as_bytes())?
                }
                Item::Text { content } => {
                    tree.file(name, meta(0o644, (MADE, 0)), &mut content.as_bytes())?;
                }
                Item::File {
                    executable,
                    size,
                    mtime,
                } => {
                    let mut file = open(path)?;
                    let read = tree.file(name, meta(file_mode(*executable), *mtime), &mut file)?;
                    if read != *size {
                        return Err(SeedError::Changed {
                            path: Path::new("/").join(path),
                        });
                    }
                }
            }
        }
        Ok(tree.finish()?)
    }

    /// Puts the seed into an empty or new directory, as files of whoever calls this.
    pub fn stage(&self, target: &Path) -> Result<(), SeedError> {
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| SeedError::Write { path, source }
        };
        fs::create_dir_all(target).map_err(failed(target))?;
        for (path, item) in self.items() {
            let at = target.join(path);
            match item {
                Item::Dir { .. } => {
                    fs::DirBuilder::new()
                        .mode(0o755)
                        .create(&at)
                        .map_err(failed(&at))?;
                }
                Item::Link { target } => symlink(target, &at).map_err(failed(&at))?,
                Item::Text { content } => {
                    let mut from = content.as_bytes();
                    copy(&mut from, &at, 0o644, (MADE, 0)).map_err(failed(&at))?;
                }
                Item::File {
                    executable, mtime, ..
                } => {
                    let mut from = open(path)?;
                    copy(&mut from, &at, file_mode(*executable), *mtime).map_err(failed(&at))?;
                }
            }
        }
        // Last, since writing into a directory needs permission and changes its time.
        for (path, item) in self.items() {
            if let Item::Dir { mode } = item {
                let at = target.join(path);
                fs::set_permissions(&at, fs::Permissions::from_mode((*mode).into()))
                    .and_then(|()| set_time(&File::open(&at)?, (MADE, 0)))
                    .map_err(failed(&at))?;
            }
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, SeedError> {
    let path = Path::new("/").join(path);
    File::open(&path).map_err(|source| SeedError::Read { path, source })
}

fn copy(from: &mut dyn Read, to: &Path, mode: u16, mtime: (i64, u32)) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode.into())
        .open(to)?;
    io::copy(from, &mut file)?;
    file.set_permissions(fs::Permissions::from_mode(mode.into()))?;
    set_time(&file, mtime)
}

fn set_time(file: &File, (secs, nanos): (i64, u32)) -> io::Result<()> {
    let since = Duration::new(secs.unsigned_abs(), 0);
    let whole = if secs < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(since)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(since)
    };
    let time = whole
        .and_then(|t| t.checked_add(Duration::new(0, nanos)))
        .ok_or_else(|| io::Error::other("a time beyond the clock"))?;
    file.set_modified(time)
}
