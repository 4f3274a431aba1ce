//! Files that have come in part: in the folder `partial` of the store, each with where the rest of it is.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use mstore_store::{Hash, Store, Write, codec};
use serde::{Deserialize, Serialize};

use super::failed_to;
use crate::drv::fetch::{FetchError, Fixed};

/// The folder within a store.
const FOLDER: &str = "partial";
/// Keeps the names of partial files apart from hashes of anything else.
const CONTEXT: &str = "mstore 2026 partial file";
/// What is left alone for so long goes.
const OLD: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Largest note that is read, in bytes.
const NOTE_LIMIT: u64 = 16 << 10;

/// A file that has come in part. One process works on it: the claim of its step sees to that.
#[derive(Debug)]
pub struct Partial {
    store: Store,
    path: PathBuf,
    note: PathBuf,
}

/// Where the rest is, and what tells that it is of the same file.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    pub url: String,
    /// A strong `ETag`, or else a `Last-Modified`.
    pub validator: Option<String>,
}

impl Partial {
    /// The place of `fixed`, which need not exist.
    pub fn of(store: &Store, fixed: &Fixed) -> Result<Partial, FetchError> {
        Self::named(store, &Hash::derive(CONTEXT, &codec::encode(fixed)))
    }

    /// The place of something that is known by its address alone.
    pub fn of_address(store: &Store, url: &str) -> Result<Partial, FetchError> {
        Self::named(store, &Hash::derive(CONTEXT, url.as_bytes()))
    }

    fn named(store: &Store, name: &Hash) -> Result<Partial, FetchError> {
        let folder = store.path().join(FOLDER);
        let made = store.inside().make_folder(&folder, 0o700);
        made.map_err(failed_to("make the folder", &folder))?;
        Ok(Partial {
            store: store.clone(),
            path: folder.join(name.to_string()),
            note: folder.join(format!("{name}.json")),
        })
    }

    /// Where the content is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes that have come.
    pub fn length(&self) -> Result<u64, FetchError> {
        match fs::symlink_metadata(&self.path) {
            Ok(meta) => Ok(meta.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(failed_to("look at", &self.path)(e)),
        }
    }

    fn open(&self, how: Write) -> Result<File, FetchError> {
        let opened = self.store.inside().write(&self.path, how, 0o600);
        opened.map_err(failed_to("write to", &self.path))
    }

    /// Begins anew with what comes from `url`.
    pub(super) fn restart(&self, url: &str) -> Result<File, FetchError> {
        self.write_note(&Note {
            url: url.to_owned(),
            validator: None,
        })?;
        self.open(Write::Over)
    }

    /// Opens it to be gone on with.
    #[cfg(feature = "http")]
    pub(super) fn append(&self) -> Result<File, FetchError> {
        self.open(Write::On)
    }

    pub(super) fn write_note(&self, note: &Note) -> Result<(), FetchError> {
        let text = serde_json::to_vec(note).unwrap_or_default();
        let temporary = self.note.with_extension("new");
        let inside = self.store.inside();
        inside
            .write(&temporary, Write::Over, 0o600)
            .and_then(|mut file| file.write_all(&text))
            .and_then(|()| inside.rename(&temporary, &self.note))
            .map_err(failed_to("write to", &self.note))
    }

    /// Where the rest is; nothing if there is none, or if it cannot be told.
    pub(super) fn note(&self) -> Option<Note> {
        let meta = fs::symlink_metadata(&self.note).ok()?;
        if !meta.is_file() || meta.len() > NOTE_LIMIT {
            return None;
        }
        serde_json::from_slice(&fs::read(&self.note).ok()?).ok()
    }

    /// Whether what has come is worth keeping, to go on from `url` later.
    pub(super) fn can_go_on(&self, url: &str) -> bool {
        let known = |note: Note| note.url == url && note.validator.is_some();
        self.note().is_some_and(known) && self.length().is_ok_and(|length| length > 0)
    }

    /// Removes it.
    pub fn clear(&self) -> Result<(), FetchError> {
        for path in [&self.note, &self.path] {
            match self.store.inside().remove(path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(failed_to("remove", path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Moves the content, which is whole, to `place`.
    pub fn take(&self, place: &Path) -> Result<(), FetchError> {
        let inside = self.store.inside();
        match inside.rename(&self.path, place) {
            Err(e) if e.kind() == io::ErrorKind::CrossesDevices => {
                let copy = || {
                    let mut to = inside.write(place, Write::Over, 0o600)?;
                    io::copy(&mut inside.read(&self.path)?, &mut to)
                };
                copy().map_err(failed_to("write to", place))?;
            }
            other => other.map_err(failed_to("move a file to", place))?,
        }
        self.clear()
    }
}

/// Removes what nobody has gone on with for a week.
pub fn prune(store: &Store) {
    let Ok(entries) = fs::read_dir(store.path().join(FOLDER)) else {
        return;
    };
    for entry in entries.flatten() {
        let age = entry
            .metadata()
            .and_then(|meta| meta.modified())
            .ok()
            .and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age > OLD) {
            // The next run tries again.
            let _ = store.inside().remove(&entry.path());
        }
    }
}
