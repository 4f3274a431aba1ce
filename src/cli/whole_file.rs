//! A file that appears under its name when it is complete, or not at all.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mstore_store::Beside;
use rustix::fs::{AtFlags, CWD, linkat};

/// Symbolic links that are followed, one after the other, as by the kernel.
const MOST_LINKS: usize = 40;

/// A file being written, beside the one whose place it takes.
pub struct WholeFile {
    file: File,
    /// Where it goes: what a symbolic link led to, not the link.
    place: PathBuf,
    /// Where it is until then. A file without a name is gone however this process ends.
    beside: Option<Beside>,
}

/// What a path to be written names.
pub enum Destination {
    /// A regular file, or nothing yet.
    Whole(PathBuf),
    /// A device, a pipe or the like, which must stay what it is.
    Stream,
}

impl Destination {
    /// Looks at a path. Links are followed, as by everything else that writes to a file.
    pub fn of(path: &Path) -> io::Result<Destination> {
        match fs::metadata(path) {
            Ok(meta) if meta.is_file() => fs::canonicalize(path).map(Destination::Whole),
            Ok(meta) if meta.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
            Ok(_) => Ok(Destination::Stream),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // A link to what is not there yet leads there all the same.
                let mut place = path.to_path_buf();
                for _ in 0..MOST_LINKS {
                    match fs::read_link(&place) {
                        Ok(target) => place = folder(&place).join(target),
                        Err(_) => return Ok(Destination::Whole(place)),
                    }
                }
                Err(e)
            }
            Err(e) => Err(e),
        }
    }
}

impl WholeFile {
    /// Begins to write what will be at `place`.
    pub fn begin(place: PathBuf) -> io::Result<WholeFile> {
        let nameless = i32::try_from(rustix::fs::OFlags::TMPFILE.bits())
            .map_err(io::Error::other)
            .and_then(|flag| {
                fs::OpenOptions::new()
                    .write(true)
                    .custom_flags(flag)
                    .open(folder(&place))
            });
        if let Ok(file) = nameless
            && fs::symlink_metadata(descriptor(&file)).is_ok()
        {
            return Ok(WholeFile {
                file,
                place,
                beside: None,
            });
        }
        // Not every file system has files without names.
        let beside = Beside::of(&place)?;
        let file = File::create_new(beside.path())?;
        Ok(WholeFile {
            file,
            place,
            beside: Some(beside),
        })
    }

    /// Where to write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Tells whether nothing of the file stays if the process ends now.
    pub fn is_nameless(&self) -> bool {
        self.beside.is_none()
    }

    /// Where what was written can be read, by this process.
    pub fn path(&self) -> PathBuf {
        match &self.beside {
            Some(beside) => beside.path().to_path_buf(),
            None => descriptor(&self.file),
        }
    }

    /// Makes the content durable and puts it in its place.
    pub fn finish(self) -> io::Result<()> {
        let beside = match self.beside {
            Some(beside) => beside,
            None => {
                let beside = Beside::of(&self.place)?;
                let from = descriptor(&self.file);
                linkat(CWD, &from, CWD, beside.path(), AtFlags::SYMLINK_FOLLOW)?;
                beside
            }
        };
        beside.place()
    }
}

fn folder(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
