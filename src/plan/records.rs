//! What is remembered beside realisations: the derivation behind each, and directories already cut
//! out of trees. Small files in one folder of the store, each written whole; losing one costs an
//! explanation or a lookup, never a result.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use mstore_store::Hash;

/// Largest record that is read.
const LIMIT: u64 = 64 << 20;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordKind {
    /// An encoded [`Resolved`](super::Resolved), by its key.
    Derivation,
    /// The tree of a part of a tree, by a hash of both.
    Part,
}

impl RecordKind {
    fn suffix(self) -> &'static str {
        match self {
            RecordKind::Derivation => "drv",
            RecordKind::Part => "part",
        }
    }
}

/// A folder of records.
#[derive(Debug, Clone)]
pub struct Records {
    folder: PathBuf,
}

impl Records {
    /// The records of the store in the folder `store`.
    pub fn of_store(store: &Path) -> Records {
        Records {
            folder: store.join("derivations"),
        }
    }

    fn path(&self, kind: RecordKind, key: &Hash) -> PathBuf {
        let text = key.to_string();
        self.folder
            .join(&text[..2])
            .join(format!("{}.{}", &text[2..], kind.suffix()))
    }

    /// Remembers `bytes` under `key`.
    pub fn put(&self, kind: RecordKind, key: &Hash, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(kind, key);
        if fs::metadata(&path).is_ok_and(|m| m.len() == bytes.len() as u64) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.folder);
        fs::create_dir_all(folder)?;
        // Threads of one process may write the same record at once.
        let thread = format!("{:?}", std::thread::current().id());
        let number: String = thread.chars().filter(char::is_ascii_digit).collect();
        let temporary = folder.join(format!(".new-{}-{number}", std::process::id()));
        let written = fs::File::create(&temporary)
            .and_then(|mut file| file.write_all(bytes))
            .and_then(|()| fs::rename(&temporary, &path));
        if written.is_err() {
            // The first error is the one to report.
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// What is remembered under `key`.
    pub fn get(&self, kind: RecordKind, key: &Hash) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(kind, key);
        match fs::metadata(&path) {
            Ok(meta) if meta.len() > LIMIT => Ok(None),
            Ok(_) => fs::read(&path).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Forgets every derivation whose key `keep` refuses, and what crashes left. Returns how many
    /// files went.
    pub fn retain(&self, keep: impl Fn(&Hash) -> bool) -> io::Result<u64> {
        let mut gone = 0;
        let folders = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            other => other?,
        };
        for folder in folders {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            let head = folder.file_name();
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                let name = file.file_name();
                let (head, name) = (head.to_string_lossy(), name.to_string_lossy());
                let stays = match name.strip_suffix(".drv") {
                    Some(rest) => format!("{head}{rest}").parse().is_ok_and(|k| keep(&k)),
                    None => name.ends_with(".part"),
                };
                if !stays {
                    fs::remove_file(file.path())?;
                    gone += 1;
                }
            }
        }
        Ok(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_kept_until_they_are_not_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::of_store(dir.path());
        let (a, b) = (Hash::of(b"a"), Hash::of(b"b"));
        let kind = RecordKind::Derivation;
        assert_eq!(records.get(kind, &a).unwrap(), None);
        assert_eq!(records.retain(|_| true).unwrap(), 0);
        records.put(kind, &a, b"one").unwrap();
        records.put(kind, &a, b"one").unwrap();
        records.put(kind, &b, b"two").unwrap();
        records.put(RecordKind::Part, &b, b"part").unwrap();
        assert_eq!(records.get(kind, &a).unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(records.retain(|k| *k == a).unwrap(), 1);
        assert_eq!(records.get(kind, &b).unwrap(), None);
        assert!(records.get(kind, &a).unwrap().is_some());
        assert!(records.get(RecordKind::Part, &b).unwrap().is_some());
    }
}
