//! Entries of trees of ebuilds, found without looking at anything beside them.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use mstore_store::{DirHash, Entry, Kind, Manifest, Store, StoreError, TreeHash};

/// Why something of a package could not be cut out of a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CutError {
    /// The graph speaks of a repository that it does not describe, or that nobody gave a tree of.
    #[error("the package graph names the repository {name}, which is not there")]
    Repository {
        /// Its name.
        name: String,
    },
    /// A repository lacks what the graph says that a package is made of.
    #[error("{package} needs {path} of the repository {repository}, which does not have it")]
    Missing {
        /// The package.
        package: String,
        /// The path in the repository.
        path: String,
        /// The repository; `/etc/portage` if it is the configuration.
        repository: String,
    },
    /// Something that cannot be written where it has to be.
    #[error("{package}: {what}")]
    Unwritable {
        /// The package.
        package: String,
        /// What, and why.
        what: String,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The trees that packages are cut out of. What was read once is not read again.
pub struct Snapshots<'a> {
    store: &'a Store,
    /// The tree of each repository, by name.
    repositories: &'a BTreeMap<String, TreeHash>,
    /// What builds see as `/etc/portage`, if there is something.
    config: Option<TreeHash>,
    read: RefCell<HashMap<DirHash, Rc<Manifest>>>,
}

impl<'a> Snapshots<'a> {
    /// The trees of repositories by their names, and the tree that is `/etc/portage`.
    pub fn new(
        store: &'a Store,
        repositories: &'a BTreeMap<String, TreeHash>,
        config: Option<TreeHash>,
    ) -> Snapshots<'a> {
        Snapshots {
            store,
            repositories,
            config,
            read: RefCell::default(),
        }
    }

    /// The store that they are in.
    pub fn store(&self) -> &'a Store {
        self.store
    }

    /// An entry of a repository, or of `/etc/portage`, if it is there. Links are not followed.
    pub fn entry(&self, repository: Option<&str>, path: &str) -> Result<Option<Entry>, CutError> {
        let tree = match repository {
            Some(name) => match self.repositories.get(name) {
                Some(tree) => *tree,
                None => {
                    let name = name.to_owned();
                    return Err(CutError::Repository { name });
                }
            },
            None => match self.config {
                Some(tree) => tree,
                None => return Ok(None),
            },
        };
        let mut dir = self.store.tree(tree)?.dir;
        let mut found: Option<Entry> = None;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if let Some(above) = &found {
                match above.kind {
                    Kind::Dir { manifest } => dir = manifest,
                    _ => return Ok(None),
                }
            }
            match self.manifest(dir)?.get(name.as_bytes()) {
                Some(entry) => found = Some(entry.clone()),
                None => return Ok(None),
            }
        }
        Ok(found)
    }

    /// Names beside a file that begin as its own does, itself among them.
    pub fn beside(&self, repository: Option<&str>, path: &str) -> Result<Vec<String>, CutError> {
        let (folder, own) = path.rsplit_once('/').unwrap_or(("", path));
        let dir = match folder {
            // A file at the top has no neighbours that anybody would source.
            "" => return Ok(vec![path.to_owned()]),
            folder => match self.entry(repository, folder)?.map(|entry| entry.kind) {
                Some(Kind::Dir { manifest }) => manifest,
                _ => return Ok(Vec::new()),
            },
        };
        let manifest = self.manifest(dir)?;
        let names = manifest.entries().iter().filter_map(|entry| {
            let name = std::str::from_utf8(&entry.name).ok()?;
            let is_file = matches!(entry.kind, Kind::File { .. });
            (is_file && name.starts_with(own)).then(|| format!("{folder}/{name}"))
        });
        Ok(names.collect())
    }

    fn manifest(&self, dir: DirHash) -> Result<Rc<Manifest>, StoreError> {
        if let Some(known) = self.read.borrow().get(&dir) {
            return Ok(known.clone());
        }
        let manifest = Rc::new(self.store.manifest(dir)?);
        self.read.borrow_mut().insert(dir, manifest.clone());
        Ok(manifest)
    }
}
