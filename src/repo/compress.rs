//! Compresses archives that are marked as done: `X.tar` with `X.tar.cme` becomes `X.tar.xz`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mstore_store::compress::{Compression, Encoder};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};

use super::layout::{COMPRESS, COMPRESSING, inside};
use super::owner::Ownership;
use super::whole::random;

/// Folders that are deeper than this are not looked into.
const MAX_DEPTH: usize = 64;

/// How archives are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// gzip, xz or zstd.
    Usual(Compression),
    /// bzip2.
    Bzip2,
}

impl Default for Method {
    fn default() -> Self {
        Method::Usual(Compression::Xz(Compression::XZ))
    }
}

impl Method {
    /// Reads `target/compression`: gz, bz2, xz, zst and their longer names.
    pub fn parse(text: &str) -> Option<Method> {
        match text {
            "bz2" | "bzip2" => Some(Method::Bzip2),
            other => match other.parse().ok()? {
                Compression::None => None,
                usual => Some(Method::Usual(usual)),
            },
        }
    }

    /// What it adds to the name of an archive, such as `.xz`.
    pub fn ending(self) -> &'static str {
        match self {
            Method::Bzip2 => ".bz2",
            Method::Usual(usual) => usual.suffix(),
        }
    }
}

/// What became of a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was compressed, from so many bytes to so many.
    Compressed {
        /// The new file.
        to: PathBuf,
        /// Bytes before.
        from_bytes: u64,
        /// Bytes after.
        to_bytes: u64,
    },
    /// Somebody else does it, since so long.
    Taken(Duration),
    /// There is no archive that belongs to the mark.
    NoArchive,
    /// It could not be done: archive and mark are as they were.
    Failed(String),
}

/// Compresses what is marked below a folder, with so many threads. `who` stands in our marks: host and process.
/// Each archive is reported when it is done.
pub fn compress(
    folder: &Path,
    method: Method,
    ownership: &Ownership,
    threads: usize,
    who: &str,
    mut report: impl FnMut(PathBuf, Outcome),
) -> io::Result<()> {
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    let top = rustix::fs::open(folder, flags, Mode::empty())?;
    let mut marks = Vec::new();
    find(folder, &mut marks)?;
    marks.sort();
    for mark in marks {
        let (Some(above), Some(name)) = (mark.parent(), mark.file_name()) else {
            continue;
        };
        let archive = OsStr::from_bytes(
            name.as_bytes()
                .strip_suffix(COMPRESS.as_bytes())
                .unwrap_or_default(),
        );
        let inner = above.strip_prefix(folder).unwrap_or(Path::new(""));
        let outcome = match inside(&top, inner) {
            Ok(open) => one(&open, above, archive, method, ownership, threads, who),
            Err(e) => Outcome::Failed(e.to_string()),
        };
        report(above.join(archive), outcome);
    }
    Ok(())
}

/// Finds marks. Links to folders are not followed.
fn find(folder: &Path, marks: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut pending = vec![(folder.to_owned(), 0)];
    while let Some((folder, depth)) = pending.pop() {
        let entries = match fs::read_dir(&folder) {
            // One that is gone, or that we may not look into, has nothing for us.
            Err(_) if depth > 0 => continue,
            other => other?,
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => {
                    pending.push((entry.path(), depth + 1))
                }
                Ok(kind) if kind.is_file() && name.as_bytes().ends_with(b".tar.cme") => {
                    marks.push(entry.path());
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn with(name: &OsStr, end: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(end);
    name
}

fn one(
    folder: &OwnedFd,
    path: &Path,
    archive: &OsStr,
    method: Method,
    ownership: &Ownership,
    threads: usize,
    who: &str,
) -> Outcome {
    let run = with(archive, COMPRESSING);
    if let Some(age) = age(folder, &run) {
        return Outcome::Taken(age);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let from = match rustix::fs::openat(folder, archive, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return Outcome::NoArchive,
        Err(e) => return Outcome::Failed(e.to_string()),
    };
    let create = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mine = match rustix::fs::openat(folder, &run, create, Mode::from_raw_mode(0o644)) {
        Ok(mine) => mine,
        Err(rustix::io::Errno::EXIST) => return Outcome::Taken(Duration::ZERO),
        Err(e) => return Outcome::Failed(e.to_string()),
    };
    let to = with(archive, method.ending());
    let result = File::from(mine)
        .write_all(who.as_bytes())
        .and_then(|()| replace(folder, archive, &from, &to, method, ownership, threads));
    // Last of all, so that nobody takes it up in between.
    let released = rustix::fs::unlinkat(folder, &run, AtFlags::empty());
    match (result, released) {
        (Ok((from_bytes, to_bytes)), Ok(())) => Outcome::Compressed {
            to: path.join(to),
            from_bytes,
            to_bytes,
        },
        (Err(e), _) => Outcome::Failed(e.to_string()),
        (_, Err(e)) => Outcome::Failed(e.to_string()),
    }
}

/// How long ago a file was written; nothing if it is not there.
fn age(folder: &OwnedFd, name: &OsStr) -> Option<Duration> {
    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    let written = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let age = written.and_then(|written| SystemTime::now().duration_since(written).ok());
    Some(age.unwrap_or_default())
}

/// Writes the compressed file under a hidden name, puts it in its place, and removes mark and archive.
fn replace(
    folder: &OwnedFd,
    archive: &OsStr,
    from: &File,
    to: &OsStr,
    method: Method,
    ownership: &Ownership,
    threads: usize,
) -> io::Result<(u64, u64)> {
    let there = |e: io::Error| match e.kind() {
        io::ErrorKind::AlreadyExists => {
            io::Error::other(format!("{} is there already", super::quote::shown(to)))
        }
        _ => e,
    };
    if rustix::fs::statat(folder, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
        return Err(there(io::ErrorKind::AlreadyExists.into()));
    }
    let meta = from.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut hidden = OsString::from(".");
    hidden.push(OsStr::from_bytes(&to.as_bytes()[..to.len().min(200)]));
    hidden.push(format!(".{:016x}", random()?));
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(0o644);
    let out = File::from(rustix::fs::openat(folder, &hidden, flags, mode)?);
    let result = (|| {
        let out = pack(from, out, method, threads)?;
        out.sync_all()?;
        if from.metadata()?.len() != meta.len() {
            return Err(io::Error::other("it was changed while it was read"));
        }
        let bytes = out.metadata()?.len();
        ownership.give(folder, Path::new(&hidden))?;
        // Not over a file that appeared meanwhile.
        rustix::fs::renameat_with(folder, &hidden, folder, to, RenameFlags::NOREPLACE)
            .map_err(|e| there(e.into()))?;
        Ok(bytes)
    })();
    let bytes = result.inspect_err(|_| {
        let _ = rustix::fs::unlinkat(folder, &hidden, AtFlags::empty());
    })?;
    rustix::fs::fsync(folder)?;
    rustix::fs::unlinkat(folder, with(archive, COMPRESS), AtFlags::empty())?;
    rustix::fs::unlinkat(folder, archive, AtFlags::empty())?;
    Ok((meta.len(), bytes))
}

/// Compresses a file into another one.
fn pack(mut from: &File, out: File, method: Method, threads: usize) -> io::Result<File> {
    match method {
        Method::Usual(setting) => {
            let mut encoder = Encoder::new(out, setting, threads)?;
            io::copy(&mut from, &mut encoder)?;
            encoder.finish()
        }
        Method::Bzip2 => {
            let mut encoder = bzip2::write::BzEncoder::new(out, bzip2::Compression::best());
            io::copy(&mut from, &mut encoder)?;
            encoder.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_those_of_target_compression() {
        assert_eq!(Method::parse("xz"), Some(Method::default()));
        assert_eq!(Method::parse("bz2"), Some(Method::Bzip2));
        assert_eq!(Method::parse("gz").unwrap().ending(), ".gz");
        assert_eq!(Method::parse("zst").unwrap().ending(), ".zst");
        assert_eq!(Method::parse("none"), None);
        assert_eq!(Method::parse("rar"), None);
    }
}
