//! What was looked at on the disk while specifications were read: every file that was read, and every one
//! that was looked for, whether it was there or not. Who finds all of it unchanged need not read it again.
//!
//! A file is the same when device, inode, length and times of change are. That is true only if it changed
//! for the last time some seconds before it was looked at: a change within the grain of the clock leaves
//! no trace. Of files that were younger the content counts as well.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mstore_lang::{DiskFiles, Files};
use mstore_store::Hash;
use serde::{Deserialize, Serialize};

/// Files that changed for the last time so many seconds before they were looked at, and no later, are told
/// by their times.
const GRAIN: i64 = 3;
/// Larger files are not read to be compared.
const MOST: u64 = 64 << 20;

/// What was seen at a path, links followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Sight {
    /// Nothing.
    Absent,
    /// A regular file.
    File(Mark),
    /// Something else, such as a folder: what is in it does not count.
    Other {
        /// Its device and inode.
        id: (u64, u64),
    },
}

/// What tells a file from another one, and from what it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    id: (u64, u64),
    mode: u32,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    /// The content, of a file whose times do not tell enough.
    content: Option<Hash>,
}

/// Seconds since 1970.
fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_secs().cast_signed())
}

impl Sight {
    /// Looks at a path.
    fn of(path: &Path) -> io::Result<Sight> {
        let meta = match std::fs::metadata(path) {
            Ok(meta) => meta,
            Err(error) => match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => return Ok(Sight::Absent),
                _ => return Err(error),
            },
        };
        let id = (meta.dev(), meta.ino());
        if !meta.is_file() {
            return Ok(Sight::Other { id });
        }
        Ok(Sight::File(Mark {
            id,
            mode: meta.mode(),
            size: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            content: None,
        }))
    }
}

impl Sight {
    /// Whether two looks saw the same. A file that was young at the first look need not be at the second, which
    /// then tells nothing of its content.
    fn agrees(&self, later: &Sight) -> bool {
        let (Sight::File(mark), Sight::File(other)) = (self, later) else {
            return self == later;
        };
        let times = |mark: &Mark| Mark {
            content: None,
            ..mark.clone()
        };
        let contents = mark.content.zip(other.content);
        times(mark) == times(other) && contents.is_none_or(|(a, b)| a == b)
    }
}

impl Mark {
    /// Whether another change of the file could have left the same times.
    fn is_young(&self, now: i64) -> bool {
        self.modified.0.max(self.changed.0) > now - GRAIN
    }
}

/// A path, and what was seen there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    path: Vec<u8>,
    sight: Sight,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sights(Vec<Entry>);

impl Sights {
    /// Looks at files that are never written to once they have their names: their times tell enough. `None`
    /// when one is not there.
    pub fn of_sealed(paths: &[&Path]) -> Option<Sights> {
        let entries = paths.iter().map(|path| {
            let sight = Sight::of(path).ok()?;
            matches!(sight, Sight::File(_)).then(|| Entry {
                path: path.as_os_str().as_bytes().to_vec(),
                sight,
            })
        });
        Some(Sights(entries.collect::<Option<_>>()?))
    }

    /// Adds what was looked at elsewhere.
    pub fn extend(&mut self, other: Sights) {
        self.0.extend(other.0);
    }

    /// Tells whether all is as it was.
    pub fn is_unchanged(&self) -> bool {
        self.0.iter().all(|entry| {
            let path = PathBuf::from(std::ffi::OsString::from_vec(entry.path.clone()));
            let Ok(now) = Sight::of(&path) else {
                return false;
            };
            match (&entry.sight, now) {
                (Sight::File(before), Sight::File(now)) => {
                    let content = before.content;
                    let same = now
                        == Mark {
                            content: None,
                            ..before.clone()
                        };
                    same && content.is_none_or(|hash| content_of(&path) == Some(hash))
                }
                (before, now) => *before == now,
            }
        })
    }

    /// Tells whether the content of some files counts because they were young.
    pub fn is_young(&self) -> bool {
        let young =
            |entry: &Entry| matches!(&entry.sight, Sight::File(mark) if mark.content.is_some());
        self.0.iter().any(young)
    }
}

fn content_of(path: &Path) -> Option<Hash> {
    Some(Hash::of(&DiskFiles.read_limited(path, MOST).ok()?))
}

/// The files of the machine, and a note of every look at them.
#[derive(Clone, Debug, Default)]
pub struct Looked {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    sights: BTreeMap<PathBuf, Sight>,
    /// Something changed meanwhile, or could not be looked at.
    unsteady: bool,
}

impl Looked {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        // Whole entries are put in.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what was seen before something was done with a path, and after.
    fn note(&self, path: &Path, before: io::Result<Sight>, content: Option<&[u8]>) {
        let after = Sight::of(path);
        let mut seen = self.lock();
        let (Ok(before), Ok(mut after)) = (before, after) else {
            seen.unsteady = true;
            return;
        };
        if before != after {
            seen.unsteady = true;
            return;
        }
        if let Sight::File(mark) = &mut after
            && mark.is_young(now())
        {
            mark.content = match content {
                Some(bytes) => Some(Hash::of(bytes)),
                None => content_of(path),
            };
            seen.unsteady |= mark.content.is_none();
        }
        match seen.sights.get(path) {
            Some(known) if !known.agrees(&after) => seen.unsteady = true,
            Some(_) => {}
            None => {
                seen.sights.insert(path.to_owned(), after);
            }
        }
    }

    /// Whether a folder lies at the path; links are followed.
    pub fn is_dir(&self, path: &Path) -> bool {
        let before = Sight::of(path);
        let found = path.is_dir();
        self.note(path, before, None);
        found
    }

    /// All that was looked at; `None` when it changed meanwhile, or when something could not be looked at.
    pub fn sights(&self) -> Option<Sights> {
        let seen = self.lock();
        if seen.unsteady {
            return None;
        }
        let entries = seen.sights.iter().map(|(path, sight)| Entry {
            path: path.as_os_str().as_bytes().to_vec(),
            sight: sight.clone(),
        });
        Some(Sights(entries.collect()))
    }
}

impl Files for Looked {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_limited(path, u64::MAX)
    }

    fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let before = Sight::of(path);
        let read = DiskFiles.read_limited(path, limit);
        self.note(path, before, read.as_deref().ok());
        read
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        let before = Sight::of(path);
        let found = DiskFiles.is_file(path);
        self.note(path, before, None);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_file_that_comes_of_age_between_two_looks_is_steady() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "one").unwrap();
        let looked = Looked::default();
        looked.read(&path).unwrap();
        assert!(looked.sights().unwrap().is_young());
        std::thread::sleep(std::time::Duration::from_secs(GRAIN.cast_unsigned() + 1));
        looked.read(&path).unwrap();
        let sights = looked.sights().expect("it did not change");
        // The first look is what counts: it was told by its content.
        assert!(sights.is_young() && sights.is_unchanged());
        fs::write(&path, "two").unwrap();
        looked.read(&path).unwrap();
        assert!(looked.sights().is_none());
    }

    /// Makes a file look as if it were written long ago; only the clock of its last change cannot be set.
    fn set_modified(path: &Path, seconds: u64) {
        let time = UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    #[test]
    fn any_change_of_what_was_looked_at_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("folder/read"), "one").unwrap();
        fs::write(at("asked"), "").unwrap();
        symlink("folder/read", at("link")).unwrap();
        symlink("nothing", at("dangling")).unwrap();
        type Change<'a> = (&'static str, &'a dyn Fn());
        let changes: [Change<'_>; 11] = [
            ("another content of the same length and time", &|| {
                let time = fs::metadata(at("folder/read")).unwrap().modified().unwrap();
                fs::write(at("folder/read"), "two").unwrap();
                fs::File::options()
                    .write(true)
                    .open(at("folder/read"))
                    .unwrap()
                    .set_modified(time)
                    .unwrap();
            }),
            ("longer", &|| fs::write(at("folder/read"), "three").unwrap()),
            ("another time", &|| set_modified(&at("folder/read"), 5)),
            ("gone", &|| fs::remove_file(at("folder/read")).unwrap()),
            ("another file in its place", &|| {
                fs::write(at("new"), "one").unwrap();
                fs::rename(at("new"), at("folder/read")).unwrap();
            }),
            ("a folder in its place", &|| {
                fs::remove_file(at("asked")).unwrap();
                fs::create_dir(at("asked")).unwrap();
            }),
            ("what was absent is there", &|| {
                fs::write(at("absent"), "").unwrap()
            }),
            ("what a link lacked is there", &|| {
                fs::write(at("nothing"), "").unwrap()
            }),
            ("what was absent below a file", &|| {
                fs::remove_file(at("asked")).unwrap();
                fs::create_dir(at("asked")).unwrap();
                fs::write(at("asked/below"), "").unwrap();
            }),
            ("a link to something else", &|| {
                fs::write(at("other"), "one").unwrap();
                fs::remove_file(at("link")).unwrap();
                symlink("other", at("link")).unwrap();
            }),
            ("another folder of that name", &|| {
                fs::rename(at("folder"), at("away")).unwrap();
                fs::create_dir(at("folder")).unwrap();
                fs::write(at("folder/read"), "one").unwrap();
            }),
        ];
        for (what, change) in changes {
            for name in [
                "folder", "asked", "link", "absent", "nothing", "other", "away", "new",
            ] {
                let _ = fs::remove_dir_all(at(name));
                let _ = fs::remove_file(at(name));
            }
            fs::create_dir(at("folder")).unwrap();
            fs::write(at("folder/read"), "one").unwrap();
            fs::write(at("asked"), "").unwrap();
            symlink("folder/read", at("link")).unwrap();
            let looked = Looked::default();
            assert_eq!(looked.read(&at("folder/read")).unwrap(), b"one");
            assert_eq!(looked.read(&at("link")).unwrap(), b"one");
            assert!(looked.is_file(&at("asked")).unwrap());
            assert!(looked.read(&at("absent")).is_err());
            assert!(looked.is_file(&at("asked/below")).is_err() || !at("asked/below").exists());
            assert!(!looked.is_file(&at("dangling")).unwrap());
            assert!(looked.is_dir(&at("folder")));
            let sights = looked.sights().unwrap();
            assert!(sights.is_unchanged() && sights.is_young());
            // What nobody looked at does not count.
            fs::write(at("folder/elsewhere"), what).unwrap();
            assert!(sights.is_unchanged(), "{what}");
            change();
            assert!(!sights.is_unchanged(), "{what}");
        }
    }

    #[test]
    fn what_changes_while_it_is_looked_at_is_not_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        fs::write(&path, "one").unwrap();
        let looked = Looked::default();
        looked.read(&path).unwrap();
        assert!(looked.sights().is_some());
        fs::write(&path, "longer").unwrap();
        looked.read(&path).unwrap();
        assert_eq!(looked.sights(), None);
    }
}
