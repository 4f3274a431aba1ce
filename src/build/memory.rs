//! File systems in memory for the work of steps.
//!
//! A step that is known to need little room has its work folder in memory. The file system is mounted within
//! the store, in a mount namespace of this process ([`own_mounts`]), so that it goes when the process does,
//! however that ends, and nobody else sees it.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

use super::space::{Free, free};
use super::sys;

/// Room beyond what a step may use, so that it is noticed that it uses more.
const BESIDE: u64 = 4 << 20;
/// Deepest folder of a failed root that is copied.
const DEEPEST: usize = 4096;

/// Gives this process mounts of its own: those of the machine still appear, and none of its own appear elsewhere. To
/// be called before the first thread is started and before the store is opened.
pub fn own_mounts() -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWNS)?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(rustix::mount::mount_change("/", flags)?)
}

/// A file system in memory, until it is dropped.
#[derive(Debug)]
pub(super) struct Memory {
    path: PathBuf,
    size: u64,
}

impl Memory {
    /// Mounts one on a folder, for a step that may use `bytes`. Nothing if this machine has not as much memory left, or
    /// cannot keep in memory what a work folder needs.
    pub fn mount(path: &Path, bytes: u64) -> Option<Memory> {
        let size = bytes.checked_add(BESIDE)?;
        if available()? < size {
            return None;
        }
        let options = CString::new(format!("size={size},mode=0700")).ok()?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("mstore", path, "tmpfs", flags, options.as_c_str()).ok()?;
        let memory = Memory {
            path: path.to_owned(),
            size,
        };
        // Overlayfs keeps its marks there; kernels before 6.6 have no room for them.
        let mark = rustix::fs::setxattr(path, c"user.overlay.mstore", b"y", XattrFlags::empty());
        mark.ok()?;
        rustix::fs::removexattr(path, c"user.overlay.mstore").ok()?;
        Some(memory)
    }

    /// Bytes that are used, when this was free at the least.
    pub fn used(&self, lowest: Option<Free>) -> u64 {
        let now = free(&self.path).ok();
        let least = match (lowest, now) {
            (Some(a), Some(b)) => a.lowest(b).bytes,
            (a, b) => a.or(b).map_or(0, |free| free.bytes),
        };
        self.size.saturating_sub(least)
    }

    /// Whether it was full, when this was free at the least.
    pub fn was_full(&self, lowest: Option<Free>) -> bool {
        let now = free(&self.path).ok();
        lowest
            .into_iter()
            .chain(now)
            .any(|free| free.is_exhausted())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Else it goes with the process.
        let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
    }
}

/// Bytes of memory that programs may still get without the machine beginning to swap.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Copies a folder that a step left, with all that overlayfs keeps in it, to `to`, which must not exist.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let source = rustix::fs::openat(CWD, from, folder_flags(), Mode::empty())?;
    rustix::fs::mkdirat(CWD, to, Mode::RWXU)?;
    let target = rustix::fs::openat(CWD, to, folder_flags(), Mode::empty())?;
    let mut copier = Copier {
        links: HashMap::new(),
        top: target.try_clone()?,
    };
    copier.folder(&source, &target, &PathBuf::new(), 0)
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

struct Copier {
    /// Where a file with several names lies already, below `top`.
    links: HashMap<(u64, u64), PathBuf>,
    top: OwnedFd,
}

impl Copier {
    fn folder(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> io::Result<()> {
        if depth > DEEPEST {
            return Err(Errno::NAMETOOLONG.into());
        }
        for entry in Dir::read_from(from)? {
            let entry = entry?;
            let name = entry.file_name().to_owned();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let inside = path.join(OsStr::from_bytes(name.to_bytes()));
            let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            self.entry((from, to), &name, &stat, &inside, depth)?;
        }
        let stat = rustix::fs::fstat(from)?;
        copy_metadata(from, to, &stat)
    }

    fn entry(
        &mut self,
        (from, to): (&OwnedFd, &OwnedFd),
        name: &CString,
        stat: &Stat,
        path: &Path,
        depth: usize,
    ) -> io::Result<()> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let owner = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        if kind == FileType::Directory {
            let inner = rustix::fs::openat(from, name, folder_flags(), Mode::empty())?;
            rustix::fs::mkdirat(to, name, Mode::RWXU)?;
            let made = rustix::fs::openat(to, name, folder_flags(), Mode::empty())?;
            return self.folder(&inner, &made, path, depth + 1);
        }
        let id = (stat.st_dev, stat.st_ino);
        if stat.st_nlink > 1 {
            if let Some(first) = self.links.get(&id) {
                rustix::fs::linkat(&self.top, first, to, name, AtFlags::empty())?;
                return Ok(());
            }
            self.links.insert(id, path.to_owned());
        }
        match kind {
            FileType::RegularFile => {
                let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let source = rustix::fs::openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
                let new = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
                let target = rustix::fs::openat(to, name, new, Mode::RUSR | Mode::WUSR)?;
                let mut source = std::fs::File::from(source);
                let mut target = std::fs::File::from(target);
                io::copy(&mut source, &mut target)?;
                return copy_metadata(&source.into(), &target.into(), stat);
            }
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(&target, to, name)?;
            }
            // A device of number 0 is overlayfs's mark of what is gone; others a step cannot make.
            kind => {
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev)?;
            }
        }
        let link = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(to, name, Some(owner.0), Some(owner.1), link)?;
        Ok(rustix::fs::utimensat(to, name, &times(stat), link)?)
    }
}

fn times(stat: &Stat) -> Timestamps {
    let time = |sec: i64, nsec: u64| Timespec {
        tv_sec: sec,
        tv_nsec: nsec as _,
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

fn copy_metadata(from: &OwnedFd, to: &OwnedFd, stat: &Stat) -> io::Result<()> {
    // Of another owner first: that takes set-id bits and capabilities away.
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to.as_fd(), Some(uid), Some(gid))?;
    rustix::fs::fchmod(to.as_fd(), Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::flistxattr(from, &mut names[..])?;
    let mut value = vec![0; 64 << 10];
    for name in names[..length].split(|&b| b == 0).filter(|n| !n.is_empty()) {
        if name == b"security.selinux" {
            continue;
        }
        let size = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..size], XattrFlags::empty())?;
    }
    Ok(rustix::fs::futimens(to.as_fd(), &times(stat))?)
}
