//! Tells a script that failed by itself from one that failed because the disk was full.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Less free space than this counts as none: file systems keep some, and programs clean up a
/// little before they give up.
const FEW_BYTES: u64 = 2 << 20;
const FEW_FILES: u64 = 16;

/// Free space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Free {
    /// Bytes that an unprivileged process may still write.
    pub bytes: u64,
    /// Files that may still be made; `None` where there is no such limit.
    pub files: Option<u64>,
}

impl Free {
    /// Whether so little is left that programs fail for that alone.
    pub fn is_exhausted(&self) -> bool {
        self.bytes < FEW_BYTES || self.files.is_some_and(|f| f < FEW_FILES)
    }

    /// The worse of two moments, each way.
    pub fn lowest(self, other: Free) -> Free {
        Free {
            bytes: self.bytes.min(other.bytes),
            files: match (self.files, other.files) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

/// Asks how much is free on the file system of a path.
pub fn free(path: &Path) -> io::Result<Free> {
    Ok(of(rustix::fs::statvfs(path)?))
}

fn of(stat: rustix::fs::StatVfs) -> Free {
    Free {
        bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        files: (stat.f_files > 0).then_some(stat.f_favail),
    }
}

/// Follows the free space of one file system over time and remembers the lowest.
#[derive(Debug)]
pub(crate) struct Watcher {
    dir: OwnedFd,
    path: PathBuf,
    lowest: Option<Free>,
}

impl Watcher {
    pub(crate) fn new(path: &Path) -> io::Result<Watcher> {
        let dir = rustix::fs::open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Watcher {
            dir,
            path: path.to_owned(),
            lowest: None,
        })
    }

    pub(crate) fn look(&mut self) {
        // Failing to look is no reason to stop a build.
        if let Ok(stat) = rustix::fs::fstatvfs(self.dir.as_fd()) {
            let now = of(stat);
            self.lowest = Some(self.lowest.map_or(now, |l| l.lowest(now)));
        }
    }

    pub(crate) fn lowest(&self) -> Option<Free> {
        self.lowest
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_or_few_files_are_none() {
        let free = |bytes, files| Free { bytes, files };
        assert!(!free(1 << 30, Some(1000)).is_exhausted());
        assert!(!free(1 << 30, None).is_exhausted());
        assert!(free(4096, Some(1000)).is_exhausted());
        assert!(free(1 << 30, Some(0)).is_exhausted());
        assert_eq!(free(5, Some(9)).lowest(free(7, Some(2))), free(5, Some(2)));
    }

    #[test]
    fn asks_the_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::new(dir.path()).unwrap();
        assert_eq!(watcher.lowest(), None);
        watcher.look();
        assert!(watcher.lowest().unwrap().bytes > 0);
        assert!(free(dir.path()).is_ok());
    }
}
