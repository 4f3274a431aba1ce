//! Makes a tree from objects that arrive raw, in any order, and are not to be believed.
//!
//! Other than a transfer, which asks for what it lacks, this takes what comes: each object is hashed, what the tree
//! needs must be there in the end, and what it does not need must not. Nothing is seen in the store before
//! [`Gather::finish`], and nothing stays of one that is dropped.

use std::collections::{HashMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::ingest::Ingest;
use crate::links;
use crate::manifest::{Kind, MAX_DEPTH, Manifest, Tree};
use crate::pack::RecordKind;
use crate::workers::{Batch, sole_owner};
use crate::{BlobHash, DirHash, Hash, Store, StoreError, TreeHash};

/// Bytes of encoded directories of one tree that are taken, about ten million entries.
const MOST_DIRS: usize = 1 << 30;

/// Why objects made no tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatherError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The objects are at fault.
    #[error("{0}")]
    Wrong(String),
}

fn wrong<T>(detail: impl Into<String>) -> Result<T, GatherError> {
    Err(GatherError::Wrong(detail.into()))
}

/// Objects of one tree on their way into a store. Keeps the collector away from what the store had before.
#[derive(Debug)]
pub struct Gather {
    store: Store,
    ingest: Arc<Ingest>,
    batch: Batch,
    tree: Option<(TreeHash, Tree)>,
    dirs: HashMap<DirHash, Manifest>,
    dir_bytes: usize,
    blobs: Arc<Mutex<HashMap<Hash, u64>>>,
}

impl Store {
    /// Begins to gather the objects of a tree.
    pub fn gather(&self) -> Result<Gather, StoreError> {
        Ok(Gather {
            store: self.clone(),
            ingest: Arc::new(Ingest::begin(self)?),
            batch: Batch::new()?,
            tree: None,
            dirs: HashMap::new(),
            dir_bytes: 0,
            blobs: Arc::default(),
        })
    }
}

impl Gather {
    /// Takes the tree object; there is one.
    pub fn tree(&mut self, raw: &[u8]) -> Result<(), GatherError> {
        if self.tree.is_some() {
            return wrong("there is a second tree");
        }
        let tree = Tree::decode(raw).or_else(|e| wrong(format!("a tree: {e}")))?;
        let hash = Tree::hash_encoded(raw);
        self.ingest.put(RecordKind::Tree, hash.0, raw)?;
        self.tree = Some((hash, tree));
        Ok(())
    }

    /// Takes a directory.
    pub fn manifest(&mut self, raw: &[u8]) -> Result<(), GatherError> {
        self.dir_bytes = self.dir_bytes.saturating_add(raw.len());
        if self.dir_bytes > MOST_DIRS {
            return wrong(format!("its directories have more than {MOST_DIRS} bytes"));
        }
        let manifest = Manifest::decode(raw).or_else(|e| wrong(format!("a directory: {e}")))?;
        let hash = Manifest::hash_encoded(raw);
        self.ingest.put(RecordKind::Manifest, hash.0, raw)?;
        self.dirs.insert(hash, manifest);
        Ok(())
    }

    /// Takes the content of a file. It is hashed and compressed by another thread.
    pub fn blob(&mut self, raw: Vec<u8>) -> Result<(), StoreError> {
        let (ingest, blobs) = (self.ingest.clone(), self.blobs.clone());
        self.batch.spawn(raw.len(), move || {
            let hash = ingest.put_blob(&raw)?;
            let mut blobs = blobs.lock().unwrap_or_else(PoisonError::into_inner);
            blobs.insert(hash.0, raw.len() as u64);
            Ok(())
        })
    }

    /// Takes the content of a long file, to its end. Returns its hash and length.
    pub fn file(&mut self, content: &mut dyn Read) -> Result<(BlobHash, u64), StoreError> {
        let name = Path::new("a long file");
        let (hash, size) = self.ingest.put_stream(content, name, Some(&self.batch))?;
        let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        blobs.insert(hash.0, size);
        Ok((hash, size))
    }

    /// Makes `tree` visible, durably, if all that it needs is there and nothing else came; it is kept until the last
    /// handle of the store is dropped. Returns the bytes by which the store grew.
    pub fn finish(mut self, tree: TreeHash) -> Result<u64, GatherError> {
        self.batch.wait()?;
        match &self.tree {
            Some((found, _)) if *found == tree => {}
            Some((found, _)) => return wrong(format!("it is tree {found}, not {tree}")),
            None => return wrong(format!("tree {tree} is not among it")),
        }
        self.check()?;
        // The job that ended last may hold its handle for a moment longer.
        let ingest = sole_owner(self.ingest.clone(), || drop(self))?;
        Ok(ingest.commit(tree)?)
    }

    /// Walks the tree: what is not in the store is here, and all that is here is met.
    fn check(&mut self) -> Result<(), GatherError> {
        let Some((_, tree)) = self.tree.take() else {
            return wrong("there is no tree");
        };
        let blobs = std::mem::take(&mut *self.blobs.lock().unwrap_or_else(PoisonError::into_inner));
        let mut met: HashSet<Hash> = HashSet::new();
        let mut todo = vec![(tree.dir, 1)];
        while let Some((dir, depth)) = todo.pop() {
            if depth > MAX_DEPTH + 1 {
                return wrong("directories are nested deeper than a tree may be");
            }
            let Some(manifest) = self.dirs.get(&dir) else {
                // A directory that the store has is complete.
                if self.ingest.had(&dir.0) {
                    continue;
                }
                return wrong(format!("directory {dir} is lacking"));
            };
            if !met.insert(dir.0) {
                continue;
            }
            for entry in manifest.entries() {
                match entry.kind {
                    Kind::Dir { manifest } => todo.push((manifest, depth + 1)),
                    Kind::File { blob, size } => {
                        let found = match blobs.get(&blob.0) {
                            Some(found) => Some(*found),
                            None => self.ingest.had_size(&blob.0, size)?,
                        };
                        match found {
                            Some(found) if found == size => met.insert(blob.0),
                            Some(found) => {
                                return wrong(format!(
                                    "blob {blob} has {found} bytes, and its directory says {size}"
                                ));
                            }
                            None => return wrong(format!("blob {blob} is lacking")),
                        };
                    }
                    _ => {}
                }
            }
        }
        let here = self.dirs.keys().map(|dir| dir.0).chain(blobs.into_keys());
        // The least, so that the message is the same each time.
        if let Some(hash) = here.filter(|hash| !met.contains(hash)).min() {
            return wrong(format!("the tree does not name {hash}"));
        }
        let read = |dir: &DirHash| match self.dirs.get(dir) {
            Some(manifest) => Ok(manifest.clone()),
            None => self.store.manifest(*dir),
        };
        match links::misfit(&tree, &read)? {
            Some(misfit) => wrong(misfit),
            None => Ok(()),
        }
    }
}

impl Drop for Gather {
    fn drop(&mut self) {
        // A job that goes on would keep files that are about to be garbage.
        self.batch.stop();
    }
}
