//! The `Host` trait: the files and definitions that the program around the core provides.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::document::Document;
use crate::files::Files;
use crate::lint::Finding;
use crate::load::Definition;

/// What the program around the editor's core provides.
pub trait Host {
    /// The files themselves, without what is open in the editor.
    fn base(&self) -> Arc<dyn Files + Send>;

    /// The files that the specification of an entry file is read from, made from `base`, which has what is open.
    fn files(&self, _entry: &Path, base: Box<dyn Files + Send>) -> Box<dyn Files + Send> {
        base
    }

    /// The name of the entry file to look for in the folders above a document.
    fn entry_name(&self) -> &str {
        "metro.conf"
    }

    /// Definitions under which the entry describes something that is built, most usual first. At least one set.
    /// `base` has what is open.
    fn definition_sets(&self, _entry: &Path, _base: Box<dyn Files + Send>) -> Vec<Vec<Definition>> {
        vec![Vec::new()]
    }

    /// What the program that builds by a specification has to say about it; `base` has what is open.
    fn findings(&self, _entry: &Path, _base: Box<dyn Files + Send>) -> Vec<Finding> {
        Vec::new()
    }

    /// All specification files under a folder, sorted; not more than a sensible number.
    fn specifications(&self, folder: &Path) -> Vec<PathBuf>;

    /// Where a file that a specification was read from lies; nowhere for one that is built in.
    fn real(&self, _entry: &Path, path: &Path) -> Option<PathBuf> {
        Some(path.to_owned())
    }

    /// A copy that an editor can show of a file that is built in.
    fn copy(&self, _path: &Path) -> Option<PathBuf> {
        None
    }

    /// Whether a file may be changed.
    fn is_writable(&self, _path: &Path) -> bool {
        true
    }
}

/// The documents that are open in the editor.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(Arc<RwLock<BTreeMap<PathBuf, Arc<Document>>>>);

impl Open {
    pub fn insert(&self, document: Document) {
        let path = document.path().to_owned();
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(path, Arc::new(document));
    }

    pub fn remove(&self, path: &Path) -> bool {
        let mut open = self.0.write().unwrap_or_else(PoisonError::into_inner);
        open.remove(path).is_some()
    }

    pub fn get(&self, path: &Path) -> Option<Arc<Document>> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        open.get(path).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Document>> {
        let open = self.0.read().unwrap_or_else(PoisonError::into_inner);
        open.values().cloned().collect()
    }
}

/// Files with what is open in the editor in front.
pub(super) struct Overlay {
    pub open: Open,
    pub base: Arc<dyn Files + Send>,
}

impl Files for Overlay {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_limited(path, u64::MAX)
    }

    fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        match self.open.get(path) {
            Some(document) if document.text().len() as u64 <= limit => {
                Ok(document.text().as_bytes().to_vec())
            }
            Some(_) => Err(crate::files::too_large(limit)),
            None => self.base.read_limited(path, limit),
        }
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        if self.open.get(path).is_some() {
            return Ok(true);
        }
        self.base.is_file(path)
    }

    fn origin(&self, path: &Path) -> Option<PathBuf> {
        self.base.origin(path)
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        self.base.absolute(path)
    }
}
