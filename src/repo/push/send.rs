//! The end that has a build and pushes it.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mstore_store::Cancel;
use rustix::fs::FileType;

use super::{Answer, FORMAT, Listed, Manifest, TARGETS, digest, hear, is_path, parts, say};
use crate::repo::layout::{CONTROL, Mirror, STATUS, VERSION, inside};
use crate::repo::name::Place;
use crate::repo::publish::is_plain;
use crate::repo::{small, whole};

/// Ends of names that are not pushed: archives that are being worked on.
const UNFINISHED: &[&str] = &[".tar", ".cme", ".cme.run"];
/// The largest version file that is read, in bytes.
const MAX_WORD: u64 = 64;

/// What became of a build that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is published there now; so many bytes went over.
    Published(u64),
    /// It was there already.
    There,
    /// It was not taken, and why.
    Refused(String),
    /// It is not here any more.
    Gone,
}

/// Why a push ended.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// A file of the build cannot be read.
    #[error("cannot read {}: {source}", crate::repo::quote::shown(path))]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The other end is gone, or is something else.
    #[error("the connection to the other mirror failed: {0}")]
    Connection(#[source] io::Error),
    /// Somebody ended it.
    #[error("interrupted")]
    Interrupted,
}

/// Pushes one build of a mirror over two pipes.
pub fn send(
    mirror: &Mirror,
    place: &Place,
    version: &str,
    from: &mut dyn BufRead,
    to: &mut dyn Write,
    cancel: &Cancel,
) -> Result<Pushed, SendError> {
    let path = mirror.path(place).join(version);
    let read = |source| SendError::Read {
        path: path.clone(),
        source,
    };
    let folder = match mirror.inside(&place.relative().join(version)) {
        Ok(folder) => folder,
        Err(e) if small::is_absent(&e) => return Ok(Pushed::Gone),
        Err(e) => return Err(read(e)),
    };
    let (manifest, files) = match list(mirror, place, version, &folder) {
        Ok(listed) => listed,
        // A cleaner was faster.
        Err(e) if small::is_absent(&e) => return Ok(Pushed::Gone),
        Err(e) => return Err(read(e)),
    };
    say(to, &manifest).map_err(SendError::Connection)?;
    let mut sent = 0;
    loop {
        let answer = hear(from).map_err(SendError::Connection)?;
        match answer {
            Some(Answer::Want(wanted)) => {
                for (at, offset) in wanted {
                    let (Some(listed), Some(file)) = (manifest.files.get(at), files.get(at)) else {
                        let error = io::Error::other("it wants what was not offered");
                        return Err(SendError::Connection(error));
                    };
                    sent += stream(file, listed, offset, to, cancel)?;
                }
                to.flush().map_err(SendError::Connection)?;
            }
            Some(Answer::Published) => return Ok(Pushed::Published(sent)),
            Some(Answer::There) => return Ok(Pushed::There),
            Some(Answer::Refused(why)) => return Ok(Pushed::Refused(why)),
            None => {
                return Err(SendError::Connection(io::Error::other("it ended")));
            }
        }
    }
}

/// Sends a file from a byte on. It is open, and stays what it was when it was hashed whatever becomes of its name.
fn stream(
    mut file: &File,
    listed: &Listed,
    offset: u64,
    to: &mut dyn Write,
    cancel: &Cancel,
) -> Result<u64, SendError> {
    let read = |source| SendError::Read {
        path: PathBuf::from(&listed.path),
        source,
    };
    let mut left = listed.bytes.saturating_sub(offset);
    file.seek(SeekFrom::Start(offset)).map_err(read)?;
    let mut buffer = vec![0; 256 << 10];
    while left > 0 {
        if cancel.is_cancelled() {
            return Err(SendError::Interrupted);
        }
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = match file.read(&mut buffer[..most]) {
            Ok(0) => return Err(read(io::Error::other("it became shorter"))),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(read(e)),
        };
        to.write_all(&buffer[..n]).map_err(SendError::Connection)?;
        left -= n as u64;
    }
    Ok(listed.bytes.saturating_sub(offset))
}

/// Lists and opens the files of a build.
fn list(
    mirror: &Mirror,
    place: &Place,
    version: &str,
    folder: &OwnedFd,
) -> io::Result<(Manifest, Vec<File>)> {
    let mut paths = Vec::new();
    for name in whole::names(folder)? {
        let Some(text) = name.to_str() else { continue };
        match whole::kind(folder, &name)? {
            Some(FileType::Directory) if is_plain(text) => {
                let inner = inside(folder, Path::new(&name))?;
                for file in whole::names(&inner)? {
                    if whole::kind(&inner, &file)? == Some(FileType::RegularFile)
                        && let Some(file) = file.to_str()
                    {
                        paths.push(format!("{text}/{file}"));
                    }
                }
            }
            Some(FileType::RegularFile) if text != STATUS => paths.push(text.to_owned()),
            _ => {}
        }
    }
    paths.retain(|path| {
        (is_path(path) || path == TARGETS) && !UNFINISHED.iter().any(|end| path.ends_with(end))
    });
    let (mut listed, mut files) = (Vec::new(), Vec::new());
    for path in paths {
        let (above, name) = parts(&path);
        let file = whole::open(&inside(folder, above)?, OsStr::new(name))?;
        let bytes = file.metadata()?.len();
        let blake3 = digest(&file)?;
        listed.push(Listed {
            path,
            bytes,
            blake3,
        });
        files.push(file);
    }
    let subarch = mirror.inside(&place.relative())?;
    let manifest = Manifest {
        format: FORMAT,
        build: place.build.to_string(),
        arch_desc: place.arch.to_string(),
        subarch: place.subarch.to_string(),
        version: version.to_owned(),
        files: listed,
        links: links(&subarch, version)?,
        versions: versions(&subarch, version)?,
    };
    Ok((manifest, files))
}

/// The links of a subarch that lead to archives of a build.
fn links(subarch: &OwnedFd, version: &str) -> io::Result<BTreeMap<String, String>> {
    let mut links = BTreeMap::new();
    for name in whole::names(subarch)? {
        let Some(text) = name.to_str().filter(|text| is_plain(text)) else {
            continue;
        };
        let is_companion = text.ends_with(".hash.txt") || text.ends_with(".gpg");
        if is_companion || whole::kind(subarch, &name)? != Some(FileType::Symlink) {
            continue;
        }
        let target = rustix::fs::readlinkat(subarch, &name, Vec::new())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        if target.parent() == Some(Path::new(version))
            && let Some(archive) = target.file_name().and_then(OsStr::to_str)
        {
            links.insert(text.to_owned(), archive.to_owned());
        }
    }
    Ok(links)
}

/// The files of control that name a build, of one or two parts.
fn versions(subarch: &OwnedFd, version: &str) -> io::Result<Vec<String>> {
    let folder = match inside(subarch, &Path::new(CONTROL).join(VERSION)) {
        Ok(folder) => folder,
        Err(e) if small::is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let names_it = |folder: &OwnedFd, name: &OsStr| {
        let text = whole::read(folder, name, MAX_WORD).ok().flatten();
        text.is_some_and(|text| text.trim_ascii() == version.as_bytes())
    };
    let mut found = Vec::new();
    for name in whole::names(&folder)? {
        let Some(text) = name.to_str().filter(|text| is_plain(text)) else {
            continue;
        };
        if whole::kind(&folder, &name)? == Some(FileType::Directory) {
            let inner = inside(&folder, Path::new(&name))?;
            for file in whole::names(&inner)? {
                if names_it(&inner, &file)
                    && let Some(file) = file.to_str().filter(|file| is_plain(file))
                {
                    found.push(format!("{text}/{file}"));
                }
            }
        } else if names_it(&folder, &name) {
            found.push(text.to_owned());
        }
    }
    Ok(found)
}
