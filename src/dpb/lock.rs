//! Lock files: who works on what, over all schedulers that share the folder.
//!
//! A path is locked by a file that is made exclusively, named after the part of the path before the first comma, and a
//! second one named after the whole path, where that differs. Each line is `key=value`, written when it becomes known.
//! After success both are removed. After a failure that of the whole path stays, with `status=` and `end=`, until a
//! person removes it. A lock without either whose process is gone on this machine is *stale*, and taken over; whether a
//! process of another machine lives cannot be told from here, so its locks stand.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::files::{self, FileError, failed};
use super::lines;
use super::name::PkgPath;
use super::process;

/// Largest lock that is read, in bytes.
const LARGEST: u64 = 1 << 20;
/// Most locks of a folder.
const MOST: usize = 1_000_000;
/// Characters of what is told of an error.
const MOST_WHY: usize = 1000;
/// How often taking is tried while others take and leave.
const TRIES: usize = 20;

/// What stands in a lock file. Keys that are not known are passed over, as those of another version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LockFile {
    /// `locked=`: the whole path.
    pub locked: Option<String>,
    /// `dpb=`: process and machine of the scheduler.
    pub dpb: Option<(u32, String)>,
    /// `parent=`: the path through which it was found.
    pub parent: Option<String>,
    /// `mem=`: it is built in memory.
    pub mem: Option<String>,
    /// `tag=`: the tag of the port.
    pub tag: Option<String>,
    /// `host=`: where the job runs.
    pub host: Option<String>,
    /// `pid=`: its process here.
    pub pid: Option<u32>,
    /// `start=`: when it started, in Unix seconds.
    pub start: Option<u64>,
    /// `needed=`: packages that it was given, sorted.
    pub needed: Vec<String>,
    /// `status=`: what wait(2) said at the end.
    pub status: Option<String>,
    /// `todo=`: the task that was to come next.
    pub todo: Option<String>,
    /// `end=`: when it ended.
    pub end: Option<u64>,
    /// `error=`: why it could not be started at all.
    pub error: Option<String>,
}

impl LockFile {
    /// Reads the text of one. A line that is not `key=value` is passed over.
    pub fn parse(text: &str) -> LockFile {
        let mut lock = LockFile::default();
        let first_number = |value: &str| value.split_whitespace().next()?.parse().ok();
        for line in text.lines() {
            let Some((key, value)) = line.split_once('=') else {
                continue;
            };
            let word = || Some(value.to_owned());
            match key {
                "locked" => lock.locked = word(),
                "dpb" => {
                    lock.dpb = value
                        .split_once(" on ")
                        .and_then(|(pid, host)| Some((pid.parse().ok()?, host.to_owned())));
                }
                "parent" => lock.parent = word(),
                "mem" => lock.mem = word(),
                "tag" => lock.tag = word(),
                "host" => lock.host = word(),
                "pid" => lock.pid = value.parse().ok(),
                "start" => lock.start = first_number(value),
                "needed" => lock.needed = value.split_whitespace().map(str::to_owned).collect(),
                "status" => lock.status = word(),
                "todo" => lock.todo = word(),
                "end" => lock.end = first_number(value).or(Some(0)),
                "error" => lock.error = word(),
                _ => {}
            }
        }
        lock
    }

    /// Whether its job has ended: only a person removes it then.
    pub fn has_ended(&self) -> bool {
        self.end.is_some() || self.status.is_some() || self.error.is_some()
    }
}

/// A lock that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be read.
    #[error("cannot read the lock {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There are too many.
    #[error("there are more than {MOST} locks in {}", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// A file could not be written or removed.
    #[error(transparent)]
    File(#[from] FileError),
}

/// A lock as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its file name.
    pub name: String,
    /// What stands in it.
    pub content: LockFile,
    /// Whether its process is gone, so that it may be taken over.
    pub stale: bool,
}

/// What came of taking a lock.
#[derive(Debug)]
pub enum Taken {
    /// It is held; also the names of stale locks that stood in its place.
    Ours(Box<Holding>, Vec<String>),
    /// Another one stands there.
    Theirs(Box<Found>),
}

/// The folder of locks.
#[derive(Clone, Debug)]
pub struct Locks {
    folder: PathBuf,
    /// This machine.
    host: String,
}

impl Locks {
    /// The locks in a folder, which is made if it is not there, seen from the machine `host`.
    pub fn open(folder: &Path, host: &str) -> Result<Locks, FileError> {
        fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
        Ok(Locks {
            folder: folder.to_owned(),
            host: host.to_owned(),
        })
    }

    /// The file of the lock of that name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Looks at a lock; nothing if there is none.
    pub fn look(&self, name: &str) -> Result<Option<Found>, LockError> {
        let path = self.path(name);
        match self.judge(&path) {
            Ok((content, stale, _)) => Ok(Some(Found {
                name: name.to_owned(),
                content,
                stale,
            })),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(LockError::Read { path, source }),
        }
    }

    /// Whether something stands in the place of a lock, readable or not.
    pub fn stands(&self, name: &str) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Looks at all locks, in the order of their names. One that cannot be read is an error. Hidden files are none.
    pub fn all(&self) -> Result<Vec<Found>, LockError> {
        let read = |source| LockError::Read {
            path: self.folder.clone(),
            source,
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(read)? {
            let name = entry.map_err(read)?.file_name();
            let Some(name) = name.to_str() else {
                return Err(LockError::Read {
                    path: self.folder.join(&name),
                    source: io::Error::other("its name is not text (UTF-8)"),
                });
            };
            if !name.starts_with('.') {
                names.push(name.to_owned());
            }
            if names.len() > MOST {
                let path = self.folder.clone();
                return Err(LockError::TooMany { path });
            }
        }
        names.sort_unstable();
        let found = names.iter().map(|name| self.look(name));
        Ok(found
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// Reads a lock: what stands in it, whether it is stale, and the open file.
    fn judge(&self, path: &Path) -> io::Result<(LockFile, bool, File)> {
        let file = files::open(path)?;
        let bytes = files::content(&file, LARGEST)?;
        let text = String::from_utf8(bytes)
            .ok()
            .filter(|text| !text.contains('\0'))
            .ok_or_else(|| io::Error::other("it is not text (UTF-8)"))?;
        let lock = LockFile::parse(&text);
        let written = file.metadata()?.modified()?;
        let gone = match &lock.dpb {
            Some((pid, host)) if *host == self.host => !process::wrote(*pid, written),
            // Somebody made it by hand, or it is another machine's.
            _ => false,
        };
        let stale = gone && !lock.has_ended();
        Ok((lock, stale, file))
    }

    /// Takes the lock of a path, or tells who has it.
    pub fn take(&self, path: &PkgPath, parent: Option<&str>) -> Result<Taken, LockError> {
        let lines = [
            Some(format!("locked={path}\n")),
            Some(format!("dpb={} on {}\n", process::pid(), self.host)),
            parent.map(|parent| format!("parent={parent}\n")),
        ];
        let content: String = lines.into_iter().flatten().collect();
        let mut taken_over = Vec::new();
        let base = match self.make(&path.base_lock(), &content, &mut taken_over)? {
            Ok(mine) => mine,
            Err(theirs) => return Ok(Taken::Theirs(theirs)),
        };
        if !path.is_full() {
            return Ok(Taken::Ours(
                Box::new(Holding {
                    base: None,
                    full: base,
                }),
                taken_over,
            ));
        }
        match self.make(&path.lock(), &content, &mut taken_over) {
            Ok(Ok(full)) => {
                let base = Some(base);
                Ok(Taken::Ours(Box::new(Holding { base, full }), taken_over))
            }
            Ok(Err(theirs)) => {
                base.remove()?;
                Ok(Taken::Theirs(theirs))
            }
            Err(error) => {
                base.remove()?;
                Err(error)
            }
        }
    }

    /// Makes the lock of a host that is being set up.
    pub fn take_host(&self, host: &str) -> Result<Option<Mine>, LockError> {
        let plain: String = host
            .chars()
            .filter(|c| *c != '/' && !c.is_control())
            .collect();
        let content = format!("dpb={} on {}\n", process::pid(), self.host);
        let made = self.make(&format!("host:{plain}"), &content, &mut Vec::new())?;
        Ok(made.ok())
    }

    fn make(
        &self,
        name: &str,
        content: &str,
        taken_over: &mut Vec<String>,
    ) -> Result<Result<Mine, Box<Found>>, LockError> {
        let path = self.path(name);
        for _ in 0..TRIES {
            let made = OpenOptions::new()
                .append(true)
                .create_new(true)
                .mode(0o666)
                .open(&path);
            match made {
                Ok(file) => {
                    let mut mine = Mine { path, file };
                    if let Err(error) = mine.write(content) {
                        // A full disk: nobody is to find a lock without an owner.
                        let _ = fs::remove_file(&mine.path);
                        return Err(error.into());
                    }
                    return Ok(Ok(mine));
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(failed("make the lock", &path)(e).into()),
            }
            match self.look(name)? {
                // It is gone again.
                None => {}
                Some(found) if !found.stale => return Ok(Err(Box::new(found))),
                Some(_) if self.remove_stale(name)? => taken_over.push(name.to_owned()),
                Some(_) => {}
            }
        }
        let source = io::Error::other("others make and remove it all the time");
        Err(failed("make the lock", &path)(source).into())
    }

    /// Removes a lock whose process is gone; tells whether it did. Of several schedulers that find it one does.
    pub fn remove_stale(&self, name: &str) -> Result<bool, LockError> {
        let path = self.path(name);
        let read = |source| LockError::Read {
            path: path.clone(),
            source,
        };
        let (file, inode) = match self.judge(&path) {
            Ok((_, true, file)) => {
                let inode = file.metadata().map_err(read)?.ino();
                (file, inode)
            }
            Ok(_) => return Ok(false),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(read(source)),
        };
        // Who removes it holds it, and looks once more whether the name still leads to it.
        if rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(false);
        }
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.ino() == inode => {}
            _ => return Ok(false),
        }
        fs::remove_file(&path).map_err(failed("remove the lock", &path))?;
        Ok(true)
    }
}

/// A lock file of this process.
#[derive(Debug)]
pub struct Mine {
    path: PathBuf,
    file: File,
}

impl Mine {
    fn write(&mut self, text: &str) -> Result<(), FileError> {
        let written = self.file.write_all(text.as_bytes());
        written.map_err(failed("write the lock", &self.path))
    }

    /// Whether the file is still the one that was made.
    fn is_there(&self) -> bool {
        let inode = |meta: io::Result<fs::Metadata>| meta.map(|m| (m.dev(), m.ino())).ok();
        inode(fs::symlink_metadata(&self.path)) == inode(self.file.metadata())
    }

    /// Removes it. What a person removed is gone already, and what another made since stays.
    pub fn remove(self) -> Result<(), FileError> {
        if !self.is_there() {
            return Ok(());
        }
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove the lock", &self.path)(e))
            }
            _ => Ok(()),
        }
    }
}

/// The lock of a path, held by this process.
#[derive(Debug)]
pub struct Holding {
    /// That of the part before the first comma, where the path has more.
    base: Option<Mine>,
    full: Mine,
}

impl Holding {
    /// Adds `key=value`. What would not stay on one line is put on one.
    pub fn note(&mut self, key: &str, value: &str) -> Result<(), FileError> {
        let value = value.replace(['\n', '\r'], " ");
        let line = format!("{key}={value}\n");
        if let Some(base) = &mut self.base {
            base.write(&line)?;
        }
        self.full.write(&line)
    }

    /// Adds a moment: `key=SECONDS (readable)`.
    pub fn moment(&mut self, key: &str, at: SystemTime) -> Result<(), FileError> {
        self.note(key, &lines::moment(at))
    }

    /// Removes it: all went well, or nothing was tried.
    pub fn release(self) -> Result<(), FileError> {
        if let Some(base) = self.base {
            base.remove()?;
        }
        self.full.remove()
    }

    /// Leaves the lock of the whole path standing, with why nothing of it could be started.
    pub fn refuse(mut self, why: &str) -> Result<(), FileError> {
        let why: String = why.chars().take(MOST_WHY).collect();
        self.note("error", &why)?;
        match self.base {
            Some(base) => base.remove(),
            None => Ok(()),
        }
    }

    /// Leaves the lock of the whole path standing, with how its job ended.
    pub fn leave(
        mut self,
        status: i32,
        todo: Option<&str>,
        at: SystemTime,
    ) -> Result<(), FileError> {
        // If there is no room for it, it is better removed by a person than taken for stale.
        self.note("status", &status.to_string())?;
        self.note("todo", todo.unwrap_or("<nothing>"))?;
        self.moment("end", at)?;
        match self.base {
            Some(base) => base.remove(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
