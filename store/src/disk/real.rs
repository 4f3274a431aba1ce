//! The file system itself.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Disk, DiskFile, Held, Lock};
use crate::map::Map;
use crate::remove::remove_tree;

/// Passes every call on to the system.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl DiskFile for File {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .open(path)?;
        Ok(Box::new(file))
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        match DirBuilder::new().mode(mode).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn protect(&self, path: &Path, mode: u32) -> io::Result<()> {
        let permissions = fs::metadata(path)?.permissions();
        let now = permissions.mode() & 0o7777;
        if now & mode != now {
            fs::set_permissions(path, fs::Permissions::from_mode(now & mode))?;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        remove_tree(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let refuse = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        // To open a pipe would wait for ever.
        if !fs::metadata(path)?.is_file() {
            return Err(refuse("it is not a file".into()));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > most {
            return Err(refuse(format!("it is larger than {most} bytes")));
        }
        Ok(bytes)
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        // To open a pipe would wait for ever. What a link leads to is not the store's, and may be
        // written to by anybody while it is mapped.
        let kind = fs::symlink_metadata(path)?.file_type();
        if !kind.is_file() {
            let what = match kind.is_symlink() {
                true => "it is a symbolic link; put the file itself there",
                false => "it is not a file",
            };
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Map::sealed(path)
    }

    fn lock(&self, path: &Path, how: Lock) -> io::Result<Option<Held>> {
        let file = File::open(path)?;
        let operation = match how {
            Lock::Shared => FlockOperation::LockShared,
            Lock::Alone => FlockOperation::LockExclusive,
            Lock::Try => FlockOperation::NonBlockingLockExclusive,
        };
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Some(Held { file })),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if how == Lock::Try => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn boot(&self) -> String {
        let id = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        id.unwrap_or_default().trim().to_string()
    }

    fn vfs(&self) -> Option<&str> {
        None
    }
}
