//! The file system itself.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Disk, DiskFile, Held, Lock};
use crate::inside::{self, Inside, Write};
use crate::map::Map;

/// Passes every call on to the system; what lies in a store's folder that is open is never reached through links.
#[derive(Debug)]
pub(crate) struct RealDisk {
    inside: Option<Arc<Inside>>,
}

impl RealDisk {
    /// Takes every path as it is.
    pub const ANYWHERE: RealDisk = RealDisk { inside: None };

    fn inside(&self) -> &Inside {
        const NOTHING: &Inside = &Inside::NOTHING;
        self.inside.as_deref().unwrap_or(NOTHING)
    }
}

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
        Ok(Box::new(self.inside().write(path, Write::New, 0o644)?))
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.inside().make_folder(path, mode)
    }

    fn protect(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.inside().protect(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inside().rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inside().remove(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.inside().remove_tree(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::from(self.inside().folder(path)?).sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut names = inside::names(self.inside().folder(path)?)?;
        names.sort_unstable();
        Ok(names)
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let refuse = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        // Opened without waiting: it may be a pipe.
        let file = self.inside().read(path)?;
        if !file.metadata()?.is_file() {
            return Err(refuse("it is not a file".into()));
        }
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes)?;
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
        Map::sealed(&self.inside().read(path)?, path)
    }

    fn lock(&self, path: &Path, how: Lock) -> io::Result<Option<Held>> {
        let file = self.inside().read(path)?;
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
        // It stays as it is while anything runs, and is asked with every lease.
        static BOOT: OnceLock<String> = OnceLock::new();
        let read = || fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        BOOT.get_or_init(|| read().trim().to_string()).clone()
    }

    fn vfs(&self) -> Option<&str> {
        None
    }

    fn within(&self, inside: &Arc<Inside>) -> Option<Arc<dyn Disk>> {
        let inside = Some(inside.clone());
        Some(Arc::new(RealDisk { inside }))
    }
}
