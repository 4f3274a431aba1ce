//! The `Files` trait: the places that specification files are read from.

use std::ffi::OsString;
use std::fmt;
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
        NotRegular::Directory
    } else if kind.is_fifo() {
        NotRegular::Fifo
    } else if kind.is_socket() {
        NotRegular::Socket
    } else {
        NotRegular::Device
    };
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// What lies at a path in the place of a regular file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum NotRegular {
    #[error("is a directory")]
    Directory,
    #[error("is a FIFO, not a regular file")]
    Fifo,
    #[error("is a socket, not a regular file")]
    Socket,
    #[error("is a device, not a regular file")]
    Device,
}

/// The error of a file over a size limit.
pub(crate) fn too_large(limit: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("is larger than {limit} bytes"),
    )
}

/// Why a file cannot be read: what to tell the user, and of which kind it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    text: String,
    kind: UnreadableKind,
}

/// The kinds of [`Unreadable`] that there is advice for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnreadableKind {
    /// Nothing lies at the path.
    Missing,
    /// The user may not read it.
    Forbidden,
    /// A directory.
    Directory,
    /// A FIFO, a socket or a device.
    NotRegular,
    /// A symbolic link that leads back to itself.
    LinkLoop,
    /// Anything else.
    Other,
}

impl Unreadable {
    /// A reason that has nothing to do with the operating system.
    pub fn other(text: impl Into<String>) -> Self {
        Unreadable {
            text: text.into(),
            kind: UnreadableKind::Other,
        }
    }

    /// Of which kind it is.
    pub fn kind(&self) -> UnreadableKind {
        self.kind
    }

    /// Advice that holds wherever the path was written.
    pub fn advice(&self) -> Option<&'static str> {
        match self.kind {
            UnreadableKind::Missing | UnreadableKind::Other => None,
            UnreadableKind::Forbidden => Some("make it readable for the user who runs this"),
            UnreadableKind::Directory => Some("name a file in it"),
            UnreadableKind::NotRegular => {
                Some("only regular files are read: copy what it gives into one")
            }
            UnreadableKind::LinkLoop => Some("a symbolic link leads back to itself: replace it"),
        }
    }
}

impl From<&io::Error> for Unreadable {
    /// Tells the error without the numbers of the operating system.
    fn from(error: &io::Error) -> Self {
        let not_regular = error
            .get_ref()
            .and_then(|source| source.downcast_ref::<NotRegular>());
        let kind = match (error.kind(), not_regular) {
            (_, Some(NotRegular::Directory)) | (io::ErrorKind::IsADirectory, _) => {
                UnreadableKind::Directory
            }
            (_, Some(_)) => UnreadableKind::NotRegular,
            (io::ErrorKind::NotFound, _) => UnreadableKind::Missing,
            (io::ErrorKind::PermissionDenied, _) => UnreadableKind::Forbidden,
            _ if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
                UnreadableKind::LinkLoop
            }
            _ => UnreadableKind::Other,
        };
        let text = match error.kind() {
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
        };
        Unreadable { text, kind }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
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
        let why = |path: &Path, limit: u64| {
            let error = DiskFiles
                .read_limited(path, limit)
                .expect_err("cannot be read");
            let why = Unreadable::from(&error);
            (why.to_string(), why.kind())
        };
        let (text, kind) = why(&path, 4);
        assert_eq!(text, "is larger than 4 bytes");
        assert_eq!(kind, UnreadableKind::Other);
        let (text, kind) = why(&dir.path().join("none"), 4);
        assert_eq!(text, "no such file");
        assert_eq!(kind, UnreadableKind::Missing);
        let (text, kind) = why(dir.path(), 4);
        assert_eq!(text, "is a directory");
        assert_eq!(kind, UnreadableKind::Directory);
        let (text, kind) = why(Path::new("/dev/zero"), 4);
        assert_eq!(text, "is a device, not a regular file");
        assert_eq!(kind, UnreadableKind::NotRegular);
        let fifo = dir.path().join("fifo");
        let made = std::process::Command::new("mkfifo")
            .arg(&fifo)
            .status()
            .expect("mkfifo runs");
        assert!(made.success());
        let (text, kind) = why(&fifo, 4);
        assert_eq!(text, "is a FIFO, not a regular file");
        assert_eq!(kind, UnreadableKind::NotRegular);
        let ring = dir.path().join("ring");
        std::os::unix::fs::symlink(&ring, &ring).expect("linked");
        let (text, kind) = why(&ring, 4);
        assert!(text.contains("symbolic link"), "{text}");
        assert_eq!(kind, UnreadableKind::LinkLoop);
    }
}
