//! Where specification files come from.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A place that files are read from: a disk, a set of embedded files, an editor's open buffers.
///
/// Paths given to it are absolute and free of `.` and `..`.
pub trait Files: Sync {
    /// Reads a regular file whole; anything else at the path is an error.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Reads a regular file unless it has more than `limit` bytes, which is an error.
    ///
    /// The default looks at the size after reading; a place with files of unknown size should do better.
    fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let bytes = self.read(path)?;
        if bytes.len() as u64 > limit {
            Err(too_large(limit))
        } else {
            Ok(bytes)
        }
    }

    /// Whether a regular file lies at the path; links are followed.
    fn is_file(&self, path: &Path) -> io::Result<bool>;

    /// Where the file at a path really lies, if that is elsewhere; what is wrong with it is then shown there.
    fn origin(&self, _path: &Path) -> Option<PathBuf> {
        None
    }

    /// Makes a path absolute. The default takes relative ones from the process's directory.
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        std::path::absolute(path)
    }
}

/// The files of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFiles;

impl Files for DiskFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_limited(path, u64::MAX)
    }

    fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        // Opening a FIFO would block until somebody writes to it, a terminal could become ours.
        let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(flags.bits() as i32)
            .open(path)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(not_regular(meta.file_type()));
        }
        if meta.len() > limit {
            return Err(too_large(limit));
        }
        // One byte more than expected, so that the end is seen without growing the buffer.
        let expected = usize::try_from(meta.len()).map_err(|_| too_large(limit))?;
        let mut bytes = Vec::with_capacity(expected.saturating_add(1));
        let read = file
            .by_ref()
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if read as u64 > limit {
            return Err(too_large(limit));
        }
        Ok(bytes)
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        match std::fs::metadata(path) {
            Ok(meta) => Ok(meta.is_file()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn not_regular(kind: std::fs::FileType) -> io::Error {
    use std::os::unix::fs::FileTypeExt;
    let what = if kind.is_dir() {
        "is a directory"
    } else if kind.is_fifo() {
        "is a FIFO, not a regular file"
    } else if kind.is_socket() {
        "is a socket, not a regular file"
    } else {
        "is a device, not a regular file"
    };
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// The error of a file over a size limit.
pub(crate) fn too_large(limit: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("is larger than {limit} bytes"),
    )
}

/// Says what is wrong with a file, without the numbers of the operating system.
pub(crate) fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotADirectory => "part of the path is not a directory".to_owned(),
        _ => {
            let text = error.to_string();
            match text.find(" (os error") {
                Some(at) => text[..at].to_lowercase(),
                None => text,
            }
        }
    }
}

/// Advice that goes with [`explain`].
pub(crate) fn advice(error: &io::Error) -> Option<&'static str> {
    match error.kind() {
        io::ErrorKind::IsADirectory => Some("name a file in it"),
        io::ErrorKind::InvalidInput => match error.to_string().as_str() {
            "is a directory" => Some("name a file in it"),
            text if text.ends_with("not a regular file") => {
                Some("only regular files are read: copy what it gives into one")
            }
            _ => None,
        },
        io::ErrorKind::PermissionDenied => Some("make it readable for the user who runs this"),
        _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            Some("a symbolic link leads back to itself: replace it")
        }
        _ => None,
    }
}

/// Joins and resolves `.` and `..` by their spelling alone; symbolic links are not followed (L53).
///
/// `base` is resolved already.
pub(crate) fn resolve(base: &Path, path: &Path) -> PathBuf {
    let (base, path) = (base.as_os_str().as_bytes(), path.as_os_str().as_bytes());
    let mut out = Vec::with_capacity(base.len() + path.len() + 1);
    if !path.starts_with(b"/") {
        out.extend_from_slice(base.strip_suffix(b"/").unwrap_or(base));
    }
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => out.truncate(out.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            part => {
                out.push(b'/');
                out.extend_from_slice(part);
            }
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_is_resolved() {
        let base = Path::new("/a/b");
        for (path, want) in [
            ("c", "/a/b/c"),
            ("./c", "/a/b/c"),
            ("../c", "/a/c"),
            ("/x//y/./z", "/x/y/z"),
            ("../../../c", "/c"),
            (".", "/a/b"),
            ("c/", "/a/b/c"),
        ] {
            assert_eq!(resolve(base, Path::new(path)), Path::new(want), "{path}");
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("f");
        std::fs::write(&path, "12345").expect("written");
        assert_eq!(DiskFiles.read_limited(&path, 5).expect("read"), b"12345");
        let error = DiskFiles.read_limited(&path, 4).expect_err("too large");
        assert_eq!(explain(&error), "is larger than 4 bytes");
        let error = DiskFiles.read(dir.path()).expect_err("a directory");
        assert_eq!(explain(&error), "is a directory");
        let error = DiskFiles
            .read(Path::new("/dev/zero"))
            .expect_err("a device");
        assert_eq!(explain(&error), "is a device, not a regular file");
        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .expect("mkfifo runs");
        assert!(made.success());
        let error = DiskFiles.read(&fifo).expect_err("a FIFO");
        assert_eq!(explain(&error), "is a FIFO, not a regular file");
        let ring = dir.path().join("ring");
        std::os::unix::fs::symlink(&ring, &ring).expect("linked");
        let error = DiskFiles.read(&ring).expect_err("a ring of links");
        assert!(
            explain(&error).contains("symbolic link"),
            "{}",
            explain(&error)
        );
    }
}
