//! A specification as the editor's documents make it at the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::Document;
use super::host::{Host, Open};
use crate::diagnostics::Diagnostic;
use crate::files::Files;
use crate::lint::errors_by_cause;
use crate::load::Definition;
use crate::session::Session;
use crate::spec::Spec;

/// An entry file and the definitions that it is loaded with.
#[derive(Clone, Debug)]
pub(super) struct Project {
    pub entry: PathBuf,
    pub definitions: Vec<Definition>,
    /// The specification, as it was when it last could be loaded.
    pub spec: Option<Arc<Spec>>,
    /// The errors of the last load, or of the elements if that succeeded.
    pub errors: Vec<(Diagnostic, Vec<String>, usize)>,
    /// The files it was read from, by where they lie.
    documents: BTreeMap<PathBuf, Arc<Document>>,
}

impl Project {
    pub fn new(entry: PathBuf, definitions: Vec<Definition>) -> Self {
        Project {
            entry,
            definitions,
            spec: None,
            errors: Vec::new(),
            documents: BTreeMap::new(),
        }
    }

    /// Loads anew. What was known of a specification that now cannot be loaded is kept.
    pub fn load(&mut self, host: &dyn Host, session: &Session<'_>) {
        match session.load(&self.entry, &self.definitions) {
            Err(errors) => {
                let errors = errors.all().iter();
                self.errors = errors.map(|e| (e.clone(), Vec::new(), 0)).collect();
            }
            Ok(spec) => {
                self.errors = errors_by_cause(&spec);
                let files = spec.files().filter(|file| file.path().is_absolute());
                self.documents = files
                    .map(|file| {
                        let path = host.real(&self.entry, file.path());
                        let path = path.unwrap_or_else(|| file.path().to_owned());
                        (path, Arc::new(Document::of(Arc::clone(file))))
                    })
                    .collect();
                self.spec = Some(Arc::new(spec));
            }
        }
    }

    /// Whether a file is part of it.
    pub fn has(&self, path: &Path) -> bool {
        path == self.entry || self.documents.contains_key(path)
    }

    /// Its files by where they lie, those that are open as they are now.
    pub fn documents(&self, open: &Open) -> BTreeMap<PathBuf, Arc<Document>> {
        let mut documents = self.documents.clone();
        for document in open.all() {
            if self.has(document.path()) {
                documents.insert(document.path().to_owned(), document);
            }
        }
        documents
    }

    /// Its files, and all others that could be part of it under other definitions.
    pub fn all_documents(
        &self,
        host: &dyn Host,
        open: &Open,
        files: &dyn Files,
    ) -> BTreeMap<PathBuf, Arc<Document>> {
        const LARGEST: u64 = 16 << 20;
        let mut documents = self.documents(open);
        let folder = self.entry.parent().unwrap_or(Path::new("/"));
        let mut more: BTreeSet<PathBuf> = host.specifications(folder).into_iter().collect();
        let opened = open.all();
        let inside = opened
            .iter()
            .filter(|document| document.path().starts_with(folder));
        more.extend(inside.map(|document| document.path().to_owned()));
        for path in more {
            if documents.contains_key(&path) {
                continue;
            }
            let document = match open.get(&path) {
                Some(document) => document,
                None => {
                    let Ok(bytes) = files.read_limited(&path, LARGEST) else {
                        continue;
                    };
                    let Ok(text) = String::from_utf8(bytes) else {
                        continue;
                    };
                    Arc::new(Document::new(path.clone(), text))
                }
            };
            documents.insert(path, document);
        }
        documents
    }
}
