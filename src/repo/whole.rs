//! Files, links and folders that appear under their names whole, with the owner they are to have.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::layout::inside;
use super::owner::Ownership;
use super::small;

/// The mode of files in a mirror: those of its group may change them.
pub const FILE_MODE: u32 = 0o664;

/// A number that nobody guesses or has.
pub fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}

/// A hidden name that nobody has, for what becomes `name`.
pub fn hidden(name: &OsStr) -> io::Result<OsString> {
    // Short enough for any file system, whatever the name is.
    let start = &name.as_bytes()[..name.len().min(200)];
    let mut hidden = OsString::from(".");
    hidden.push(OsStr::from_bytes(start));
    hidden.push(format!(".{:016x}", random()?));
    Ok(hidden)
}

/// The hidden name of what becomes `name`, for those who hold a lock: what one that was killed left under it is
/// removed here.
fn pending(folder: &OwnedFd, name: &OsStr) -> io::Result<OsString> {
    let start = &name.as_bytes()[..name.len().min(200)];
    let mut pending = OsString::from(".");
    pending.push(OsStr::from_bytes(start));
    pending.push(".new");
    match rustix::fs::unlinkat(folder, &pending, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(pending),
        Err(e) => Err(e.into()),
    }
}

/// Creates a file that is not there, with the mode of a mirror's files whatever the umask is.
pub fn create(folder: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(FILE_MODE);
    let file = rustix::fs::openat(folder, name, flags, mode)?;
    rustix::fs::fchmod(&file, mode)?;
    Ok(file.into())
}

/// Writes a file: under a hidden name, durable, then in its place. Nobody else may write it at the same time.
pub fn write(
    folder: &OwnedFd,
    name: &OsStr,
    content: &[u8],
    ownership: &Ownership,
) -> io::Result<()> {
    let hidden = pending(folder, name)?;
    let mut file = create(folder, &hidden)?;
    let result = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| ownership.give(folder, Path::new(&hidden)))
        .and_then(|()| Ok(rustix::fs::renameat(folder, &hidden, folder, name)?));
    forget_failed(folder, &hidden, result)
}

/// Makes a link, in the place of one that is there. Nobody else may make it at the same time.
pub fn link(
    folder: &OwnedFd,
    name: &OsStr,
    target: &Path,
    ownership: &Ownership,
) -> io::Result<()> {
    let hidden = pending(folder, name)?;
    rustix::fs::symlinkat(target, folder, &hidden)?;
    let result = ownership
        .give(folder, Path::new(&hidden))
        .and_then(|()| Ok(rustix::fs::renameat(folder, &hidden, folder, name)?));
    forget_failed(folder, &hidden, result)
}

fn forget_failed(folder: &OwnedFd, hidden: &OsStr, result: io::Result<()>) -> io::Result<()> {
    if result.is_err() {
        let _ = rustix::fs::unlinkat(folder, hidden, AtFlags::empty());
    }
    result
}

/// Opens a folder in another one, and makes it if it is not there.
pub fn folder(above: &OwnedFd, name: &OsStr, ownership: &Ownership) -> io::Result<OwnedFd> {
    let mode = Mode::from_raw_mode(ownership.dirmode);
    match rustix::fs::mkdirat(above, name, mode) {
        Ok(()) => {
            let made = inside(above, Path::new(name))?;
            rustix::fs::fchmod(&made, mode)?;
            ownership.give(above, Path::new(name))?;
            Ok(made)
        }
        Err(rustix::io::Errno::EXIST) => inside(above, Path::new(name)),
        Err(e) => Err(e.into()),
    }
}

/// Opens a folder some way below another one, and makes what is not there of the way.
pub fn folders(above: &OwnedFd, path: &Path, ownership: &Ownership) -> io::Result<OwnedFd> {
    let mut at = inside(above, Path::new(""))?;
    for name in path.iter() {
        at = folder(&at, name, ownership)?;
    }
    Ok(at)
}

/// Makes what is in a folder durable: its names, not the content of its files.
pub fn sync(folder: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsync(folder) {
        // Some network file systems cannot, and need not.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOTSUP) => Ok(()),
        other => Ok(other?),
    }
}

/// What kind of thing is at a name, not through a link; nothing if nothing is.
pub fn kind(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(rustix::io::Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Opens a file to read it; not through a link, and without waiting for anybody.
pub fn open(folder: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::openat(folder, name, flags, Mode::empty())?);
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("it is not a file")),
    }
}

/// Reads a file to a bound; nothing if there is none.
pub fn read(folder: &OwnedFd, name: &OsStr, limit: u64) -> io::Result<Option<Vec<u8>>> {
    match open(folder, name) {
        Ok(file) => small::content(&file, limit).map(Some),
        Err(e) if small::is_absent(&e) => Ok(None),
        Err(e) => Err(e),
    }
}

/// A path by which programs reach an open folder, whatever became of its name.
pub fn by_descriptor(folder: &OwnedFd) -> PathBuf {
    Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string())
}

/// The names in a folder, sorted.
pub fn names(folder: &OwnedFd) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(by_descriptor(folder))? {
        names.push(entry?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Removes an entry of a folder with all that is in it; of a link, the link.
pub fn remove(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match kind(folder, name)? {
        None => return Ok(()),
        Some(FileType::Directory) => {}
        Some(_) => return Ok(rustix::fs::unlinkat(folder, name, AtFlags::empty())?),
    }
    // By the open folder: nobody can put a link into the way. What is in it is not followed either.
    match fs::remove_dir_all(by_descriptor(folder).join(name)) {
        Err(e) if small::is_absent(&e) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_written_is_whole_and_nothing_hidden_stays() {
        let dir = tempfile::tempdir().unwrap();
        let open = |path: &Path| -> OwnedFd { File::open(path).unwrap().into() };
        let top = open(dir.path());
        let own = Ownership::default();
        let deep = folders(&top, Path::new("a/b"), &own).unwrap();
        write(&deep, OsStr::new("x"), b"one", &own).unwrap();
        write(&deep, OsStr::new("x"), b"two", &own).unwrap();
        link(&deep, OsStr::new("l"), Path::new("x"), &own).unwrap();
        link(&deep, OsStr::new("l"), Path::new("y"), &own).unwrap();
        assert_eq!(names(&deep).unwrap(), ["l", "x"]);
        assert_eq!(read(&deep, OsStr::new("x"), 3).unwrap().unwrap(), b"two");
        assert!(read(&deep, OsStr::new("x"), 2).is_err());
        assert!(read(&deep, OsStr::new("l"), 9).is_err());
        assert!(read(&deep, OsStr::new("none"), 9).unwrap().is_none());
        let mode = |p: &str| {
            fs::metadata(dir.path().join(p))
                .unwrap()
                .permissions()
                .mode()
                & 0o7777
        };
        assert_eq!((mode("a"), mode("a/b/x")), (0o775, 0o664));
        // A folder is not written over, and nothing is left of the try.
        assert!(write(&top, OsStr::new("a"), b"", &own).is_err());
        assert_eq!(names(&top).unwrap(), ["a"]);
        remove(&top, OsStr::new("a")).unwrap();
        remove(&top, OsStr::new("a")).unwrap();
        assert!(names(&top).unwrap().is_empty());
    }
}
