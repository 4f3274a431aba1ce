//! Files in a folder where others write too: read to a bound, never waited for, appended to a line at a time.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

/// What a file of this folder could not be used for.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

/// An error of a file, told with what was tried.
pub(super) fn failed<'p>(
    action: &'static str,
    path: &'p Path,
) -> impl Fn(io::Error) -> FileError + 'p {
    move |source| FileError {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Neither follows a link nor waits for who may be at the other end of a pipe.
fn flags() -> i32 {
    (OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC)
        .bits()
        .cast_signed()
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

/// Opens a regular file for reading; a link, pipe, device or folder is an error.
pub fn open(path: &Path) -> io::Result<File> {
    // A device may do things when it is opened.
    if !std::fs::symlink_metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    regular(
        OpenOptions::new()
            .read(true)
            .custom_flags(flags())
            .open(path)?,
    )
}

/// Reads a regular file of at most `limit` bytes; a larger one is an error.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    content(&open(path)?, limit)
}

/// Reads an open file of at most `limit` bytes.
pub fn content(file: &File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::other(format!("it is larger than {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// The last lines of a log, at most `limit` bytes of them, and whether there were more. What is not text is
/// replaced; nothing is there if the file is not.
pub fn tail(path: &Path, limit: u64) -> io::Result<(String, bool)> {
    let mut file = open(path)?;
    let size = file.metadata()?.len();
    let more = size > limit;
    if more {
        file.seek(SeekFrom::Start(size - limit))?;
    }
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if more {
        // The first line is not whole.
        let whole = text.find('\n').map_or(text.len(), |at| at + 1);
        text.drain(..whole);
    }
    Ok((text, more))
}

/// A log that is written a line at a time, each at once and in one piece.
#[derive(Debug)]
pub struct Appended {
    path: PathBuf,
    file: File,
}

impl Appended {
    /// Opens it, or makes it.
    pub fn open(path: &Path) -> Result<Appended, FileError> {
        Appended::with(path, OpenOptions::new().append(true).create(true))
    }

    /// Makes it anew: what stood there is gone.
    pub fn anew(path: &Path) -> Result<Appended, FileError> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", path)(e));
            }
            _ => Appended::with(path, OpenOptions::new().append(true).create_new(true)),
        }
    }

    fn with(path: &Path, options: &mut OpenOptions) -> Result<Appended, FileError> {
        let mut open = || {
            if let Ok(meta) = std::fs::symlink_metadata(path)
                && !meta.is_file()
            {
                return Err(io::Error::other("it is not a regular file"));
            }
            regular(options.mode(0o666).custom_flags(flags()).open(path)?)
        };
        Ok(Appended {
            file: open().map_err(failed("write", path))?,
            path: path.to_owned(),
        })
    }

    /// Adds a line.
    pub fn line(&mut self, line: &str) -> Result<(), FileError> {
        self.bytes(format!("{line}\n").as_bytes())
    }

    /// Adds bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        self.file
            .write_all(bytes)
            .map_err(failed("write", &self.path))
    }
}

/// Replaces a file by one with this content, at once.
pub fn replace(path: &Path, content: &str) -> Result<(), FileError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hidden = folder.join(format!(".{name}.{}", std::process::id()));
    let mut file = Appended::anew(&hidden)?;
    file.bytes(content.as_bytes())?;
    std::fs::rename(&hidden, path).map_err(failed("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn nothing_but_regular_files_is_opened_and_nothing_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "text").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        std::fs::create_dir(at("folder")).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            mode,
            0,
        )
        .unwrap();
        for name in ["link", "device", "folder", "pipe"] {
            assert!(read(&at(name), 100).is_err(), "{name}");
            assert!(tail(&at(name), 100).is_err(), "{name}");
            assert!(Appended::open(&at(name)).is_err(), "{name}");
        }
        assert!(read(Path::new("/dev/zero"), 100).is_err());
        assert_eq!(read(&at("file"), 4).unwrap(), b"text");
        assert!(read(&at("file"), 3).is_err());
    }

    #[test]
    fn of_a_huge_log_the_end_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = File::create(&path).unwrap();
        file.set_len(10 << 30).unwrap();
        let mut log = Appended::open(&path).unwrap();
        log.line("").unwrap();
        log.line("first").unwrap();
        log.line("second").unwrap();
        let (text, more) = tail(&path, 100).unwrap();
        assert!(more && text == "first\nsecond\n", "{text:?}");
    }

    #[test]
    fn a_log_grows_by_lines_and_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        for line in ["a", "b"] {
            Appended::open(&path).unwrap().line(line).unwrap();
        }
        assert_eq!(tail(&path, 100).unwrap(), ("a\nb\n".to_owned(), false));
        Appended::anew(&path).unwrap().line("c").unwrap();
        replace(&dir.path().join("other"), "x\n").unwrap();
        assert_eq!(read(&path, 100).unwrap(), b"c\n");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
