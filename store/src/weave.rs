//! Trees that are woven of entries: small files written here, beside files and folders of other trees as they are.
//!
//! Many trees are made in one addition to the store: what waits for the disk is waited for once.

use std::collections::BTreeMap;

use crate::error::show;
use crate::ingest::Ingest;
use crate::manifest::{Entry, Kind, MAX_DEPTH, Manifest, Meta, Tree, check_name};
use crate::view::split;
use crate::{DirHash, Store, StoreError, TreeHash};

/// A tree that is to be made. Folders that nobody described are root:root 0755, files 0644, and all that is written
/// here has mtime 0.
#[derive(Clone, Debug, Default)]
pub struct Draft {
    top: BTreeMap<Vec<u8>, Thread>,
}

/// What lies under one name of a draft.
#[derive(Clone, Debug)]
enum Thread {
    Dir(BTreeMap<Vec<u8>, Thread>),
    Text(Vec<u8>),
    Link(Vec<u8>),
    /// An entry of another tree, with all below it.
    Entry(Box<Entry>),
}

impl Draft {
    /// A draft of an empty tree.
    pub fn new() -> Draft {
        Draft::default()
    }

    /// Adds a file. Fails where something else than a folder is in the way.
    pub fn text(&mut self, path: &str, content: impl Into<Vec<u8>>) -> Result<(), StoreError> {
        self.put(path, Thread::Text(content.into()))
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), StoreError> {
        self.put(path, Thread::Link(target.as_bytes().to_vec()))
    }

    /// Adds a folder, which may stay empty.
    pub fn folder(&mut self, path: &str) -> Result<(), StoreError> {
        self.put(path, Thread::Dir(BTreeMap::new()))
    }

    /// Adds an entry of another tree, as [`Store::entry`] gives it, under the name that `path` ends in. The store must
    /// have what is below it when the draft is woven, and a lease must hold the tree until then.
    pub fn entry(&mut self, path: &str, entry: Entry) -> Result<(), StoreError> {
        self.put(path, Thread::Entry(Box::new(entry)))
    }

    fn put(&mut self, path: &str, thread: Thread) -> Result<(), StoreError> {
        let bad = |reason: &str| StoreError::BadEntry {
            path: path.chars().take(200).collect(),
            reason: reason.to_owned(),
        };
        let names = split(path)?;
        let Some((last, above)) = names.split_last() else {
            return Err(bad("the path is that of the root"));
        };
        if names.len() > MAX_DEPTH {
            return Err(bad("the path is too deep"));
        }
        let mut at = &mut self.top;
        for name in above {
            let below = at.entry(name.to_vec());
            at = match below.or_insert_with(|| Thread::Dir(BTreeMap::new())) {
                Thread::Dir(below) => below,
                _ => return Err(bad("something that is no folder is above it")),
            };
        }
        match (at.get(*last), &thread) {
            (None, _) => {
                at.insert(last.to_vec(), thread);
                Ok(())
            }
            (Some(Thread::Dir(_)), Thread::Dir(_)) => Ok(()),
            _ => Err(bad("it is there already")),
        }
    }
}

impl Store {
    /// Makes a tree of each draft, all in one addition. What is in the store already is not written again.
    pub fn weave(&self, drafts: &[Draft]) -> Result<Vec<TreeHash>, StoreError> {
        let ingest = Ingest::begin(self)?;
        let mut trees = Vec::with_capacity(drafts.len());
        for draft in drafts {
            let dir = weave_dir(&ingest, &draft.top)?;
            trees.push(ingest.put_tree(&Tree {
                root: Meta::plain_dir(),
                dir,
                links: Vec::new(),
            })?);
        }
        ingest.commit_all(&trees)?;
        Ok(trees)
    }
}

fn weave_dir(ingest: &Ingest, threads: &BTreeMap<Vec<u8>, Thread>) -> Result<DirHash, StoreError> {
    let mut entries = Vec::with_capacity(threads.len());
    for (name, thread) in threads {
        check_name(name).map_err(|reason| StoreError::BadEntry {
            path: show(name),
            reason,
        })?;
        let mode = |mode| Meta {
            mode,
            ..Meta::default()
        };
        let (meta, kind) = match thread {
            Thread::Dir(below) => {
                let manifest = weave_dir(ingest, below)?;
                (Meta::plain_dir(), Kind::Dir { manifest })
            }
            Thread::Text(content) => {
                let blob = ingest.put_blob(content)?;
                let size = content.len() as u64;
                (mode(0o644), Kind::File { blob, size })
            }
            Thread::Link(target) => {
                let target = target.clone();
                (mode(0o777), Kind::Symlink { target })
            }
            Thread::Entry(entry) => (entry.meta.clone(), entry.kind.clone()),
        };
        entries.push(Entry {
            name: name.clone(),
            meta,
            kind,
        });
    }
    let manifest = Manifest::new(entries).map_err(|error| StoreError::BadEntry {
        path: show(&error.name),
        reason: error.reason,
    })?;
    ingest.put_manifest(&manifest)
}
