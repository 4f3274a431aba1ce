//! A folder of files for others to read: those with plain names in it and below, and nothing that a link leads to.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// Longest path that is looked for.
const LONGEST: usize = 1024;

/// A folder that is served.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Opens it.
    pub fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Folder(openat(CWD, path, flags, Mode::empty())?))
    }

    /// A file in it with its length, if there is one of that name.
    pub fn file(&self, path: &str) -> Option<(File, u64)> {
        let is_plain = |name: &str| {
            let known = |b: u8| b.is_ascii_alphanumeric() || b"+-._".contains(&b);
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(known)
        };
        if path.len() > LONGEST || !path.split('/').all(is_plain) {
            return None;
        }
        // Opening a pipe would wait for somebody who writes.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        let file = File::from(openat2(&self.0, path, flags, Mode::empty(), within).ok()?);
        let meta = file.metadata().ok()?;
        meta.is_file().then_some((file, meta.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_of_the_folder_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().join("top");
        std::fs::create_dir_all(top.join("a/b")).unwrap();
        std::fs::write(top.join("a/b/c+1_2.x-y"), "four").unwrap();
        std::fs::write(top.join(".hidden"), "").unwrap();
        std::fs::write(dir.path().join("outside"), "").unwrap();
        std::os::unix::fs::symlink("../outside", top.join("link")).unwrap();
        std::os::unix::fs::symlink("a", top.join("folder")).unwrap();
        rustix::fs::mknodat(
            CWD,
            top.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let folder = Folder::open(&top).unwrap();
        assert_eq!(folder.file("a/b/c+1_2.x-y").unwrap().1, 4);
        for path in [
            "",
            "a",
            "a/",
            "/a/b",
            "a//b",
            ".hidden",
            "../outside",
            "a/../../outside",
            "link",
            "folder/b/c+1_2.x-y",
            "pipe",
            "none",
            "a/b/%63",
            "a/b/c\0",
        ] {
            assert!(folder.file(path).is_none(), "{path}");
        }
        assert!(folder.file(&"a/".repeat(1000)).is_none());
        assert!(Folder::open(&top.join("none")).is_err());
    }
}
