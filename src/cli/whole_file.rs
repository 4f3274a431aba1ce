//! A file that appears under its name when it is complete, or not at all.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, linkat};

/// A file being written, beside the one whose place it takes.
pub struct WholeFile {
    file: File,
    /// Where it goes: what a symbolic link led to, not the link.
    place: PathBuf,
    /// Its name until then. A file without one is gone however this process ends.
    name: Option<PathBuf>,
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
                Ok(Destination::Whole(path.to_path_buf()))
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
                name: None,
            });
        }
        // Not every file system has files without names.
        let name = beside(&place)?;
        let file = File::create_new(&name)?;
        Ok(WholeFile {
            file,
            place,
            name: Some(name),
        })
    }

    /// Where to write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Tells whether nothing of the file stays if the process ends now.
    pub fn is_nameless(&self) -> bool {
        self.name.is_none()
    }

    /// Makes the content durable and puts it in its place.
    pub fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        let name = match &self.name {
            Some(name) => name.clone(),
            None => {
                let name = beside(&self.place)?;
                let from = descriptor(&self.file);
                linkat(CWD, &from, CWD, &name, AtFlags::SYMLINK_FOLLOW)?;
                self.name = Some(name.clone());
                name
            }
        };
        fs::rename(&name, &self.place)?;
        self.name = None;
        Ok(())
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Whatever failed before counts more.
            let _ = fs::remove_file(name);
        }
    }
}

fn folder(place: &Path) -> &Path {
    match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A hidden name that nobody has.
fn beside(place: &Path) -> io::Result<PathBuf> {
    let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{:016x}", u64::from_le_bytes(bytes)));
    Ok(folder(place).join(hidden))
}

fn descriptor(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}
