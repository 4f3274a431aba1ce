//! What the changes of a job take on the disk.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};

use crate::build::space;

/// Changes are counted again at the earliest after this, and after ten times as long as it took.
const PAUSE: Duration = Duration::from_secs(1);
/// Folders that are open at a time while it is counted. A tree that needs more has at each of so many depths folders
/// beside the next one; what lies below counts as too much.
const MOST_OPEN: usize = 400;

/// Counts the changes of a job, not more often than needed.
#[derive(Debug)]
pub(super) struct Changes {
    upper: PathBuf,
    /// What there was when it was counted last.
    bytes: u64,
    next: Instant,
    /// What was free then.
    free: Option<u64>,
}

impl Changes {
    /// Begins with an upper folder.
    pub fn new(upper: &Path) -> Changes {
        Changes {
            upper: upper.to_owned(),
            bytes: 0,
            next: Instant::now(),
            free: None,
        }
    }

    /// Bytes of the changes, as they were when they were counted last, or now. `removed`: those that have no name.
    pub fn look(&mut self, most: u64, removed: impl FnOnce() -> u64) -> u64 {
        let free = space::free(&self.upper).ok().map(|free| free.bytes);
        // So much went since, by whomever: it may have been this job.
        let gone = match (self.free, free) {
            (Some(before), Some(now)) => before.saturating_sub(now),
            _ => 0,
        };
        let may_be = self.bytes.saturating_add(gone) > most;
        if Instant::now() < self.next && !may_be {
            return self.bytes;
        }
        self.free = free;
        self.count(most, removed())
    }

    /// Counts now. Where it is more than `most`, it may say less than there is.
    pub fn count(&mut self, most: u64, removed: u64) -> u64 {
        let began = Instant::now();
        self.bytes = blocks(&self.upper, most, removed);
        self.next = Instant::now() + PAUSE.max(began.elapsed() * 10);
        self.bytes
    }
}

/// Bytes on the disk of everything in a folder, and `bytes` besides, or more than `most`. A file with several names counts in
/// parts. It goes from folder to folder without their paths, which may be longer than the kernel takes.
fn blocks(folder: &Path, most: u64, mut bytes: u64) -> u64 {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(top) = rustix::fs::openat(CWD, folder, flags, Mode::empty()) else {
        return bytes;
    };
    // Folders that are not looked into yet, with the one that each is in.
    let mut open: Vec<(Rc<OwnedFd>, CString)> = vec![(Rc::new(top), c".".to_owned())];
    // Of these, how many different ones: each is open.
    let mut folders = 1_usize;
    while let Some((above, name)) = open.pop() {
        // What went meanwhile takes nothing.
        let here = rustix::fs::openat(&*above, &name, flags, Mode::empty());
        if Rc::strong_count(&above) == 1 {
            folders -= 1;
        }
        drop(above);
        let Ok(here) = here.map(Rc::new) else {
            continue;
        };
        let Ok(entries) = Dir::read_from(&*here) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let Ok(stat) = rustix::fs::statat(&*here, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            let all = stat.st_blocks.cast_unsigned().saturating_mul(512);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                bytes = bytes.saturating_add(all);
                open.push((here.clone(), name.to_owned()));
            } else {
                #[allow(clippy::useless_conversion)] // other machines have another type
                let names = u64::from(stat.st_nlink).max(1);
                bytes = bytes.saturating_add(all / names);
            }
        }
        folders += usize::from(Rc::strong_count(&here) > 1);
        if folders > MOST_OPEN {
            return u64::MAX;
        }
        if bytes > most {
            return bytes;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_in_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let hole = std::fs::File::create(dir.path().join("hole")).unwrap();
        hole.set_len(1 << 30).unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        std::fs::write(dir.path().join("folder/file"), vec![1; 300_000]).unwrap();
        std::fs::hard_link(dir.path().join("folder/file"), dir.path().join("again")).unwrap();
        let mut changes = Changes::new(dir.path());
        let bytes = changes.look(1 << 20, || 0);
        assert!((290_000..500_000).contains(&bytes), "{bytes}");
        assert!(changes.count(1 << 20, 7_000_000) > 7_000_000);
    }

    #[test]
    fn folders_too_deep_for_a_path_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        // 1,000 times a name of 100 bytes; every tenth folder has another one beside the next.
        let name = "n".repeat(100);
        let mut at = rustix::fs::open(dir.path(), OFlags::PATH, Mode::empty()).unwrap();
        for depth in 0..1000 {
            if depth % 10 == 0 {
                rustix::fs::mkdirat(&at, "beside", Mode::RWXU).unwrap();
            }
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, &name, OFlags::PATH, Mode::empty()).unwrap();
        }
        let flags = OFlags::CREATE | OFlags::WRONLY;
        let file = rustix::fs::openat(&at, "file", flags, Mode::RUSR).unwrap();
        let mut file = std::fs::File::from(file);
        std::io::Write::write_all(&mut file, &vec![1; 9_000_000]).unwrap();
        let bytes = blocks(dir.path(), 1 << 40, 0);
        assert!((9_000_000..30_000_000).contains(&bytes), "{bytes}");
        assert!(blocks(dir.path(), 8_000_000, 0) > 8_000_000);
    }
}
