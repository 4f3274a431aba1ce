//! `Facts` answered by a store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mstore_store::manifest::Kind;
use mstore_store::{ErrorKind, Hash, Realisation, Steady, Store, StoreError, TreeHash};

use super::facts::{Earlier, Facts, FactsError, FilePart, Realised, TreePart, Trees};
use super::resolved::{Key, Resolved};
use super::step_name::StepName;
use super::tree_diff::{TreeChanges, tree_changes};

/// Keeps hashes of "this part of that tree" apart from all others.
const PART_CONTEXT: &str = "mstore 2026 plan part of a tree";

/// Answers from a store.
#[derive(Clone)]
pub struct StoreFacts {
    store: Store,
    /// Trees that were seen to be here.
    present: Arc<Mutex<BTreeSet<TreeHash>>>,
}

impl std::fmt::Debug for StoreFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreFacts")
            .field("store", &self.store.path())
            .finish_non_exhaustive()
    }
}

impl StoreFacts {
    /// Asks `store`.
    pub fn new(store: Store) -> Self {
        StoreFacts {
            store,
            present: Arc::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, BTreeSet<TreeHash>> {
        // A set of hashes is never half changed.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets what follows be answered from one state of the store's database, and faster.
    pub fn steady(&self) -> Result<Steady<'_>, FactsError> {
        self.store
            .steady()
            .map_err(failed("cannot read the database"))
    }

    /// Remembers what was built, so that later plans can be compared with it. To be called before
    /// the realisation itself is recorded.
    pub fn remember(&self, step: &Resolved) -> Result<(), FactsError> {
        self.store
            .put_derivation(&step.key().0, &step.encode())
            .map_err(failed("cannot remember a derivation"))
    }

    /// The derivation behind a key, if it is remembered.
    pub fn derivation(&self, key: Key) -> Result<Option<Resolved>, FactsError> {
        let bytes = self
            .store
            .derivation(&key.0)
            .map_err(failed("cannot read a remembered derivation"))?;
        // A record that is damaged or of another version explains nothing, and harms nothing.
        Ok(bytes
            .and_then(|b| Resolved::decode(&b).ok())
            .filter(|r| r.key() == key))
    }
}

fn failed(context: &str) -> impl Fn(StoreError) -> FactsError {
    move |error| FactsError::new(context, error)
}

/// What a part of a tree is remembered under. A cut has one path, with its slash in front; a pick has
/// some without.
pub fn part_key(tree: TreeHash, paths: &[&str]) -> Hash {
    let mut bytes = tree.0.as_bytes().to_vec();
    for path in paths {
        bytes.extend_from_slice(path.as_bytes());
        // No path contains a line break.
        bytes.push(b'\n');
    }
    Hash::derive(PART_CONTEXT, &bytes)
}

impl StoreFacts {
    /// A part of `tree`, remembered: making it again costs a transaction, and the whole may be
    /// collected while the part lives on.
    fn part(
        &self,
        tree: TreeHash,
        paths: &[&str],
        make: impl FnOnce() -> Result<TreeHash, StoreError>,
    ) -> Result<TreePart, FactsError> {
        let key = part_key(tree, paths);
        let known = self
            .store
            .part(&key)
            .map_err(failed("cannot read a remembered part of a tree"))?;
        if let Some(part) = known {
            // Still there, or not to be had again anyway.
            if self.present(part)? || !self.present(tree)? {
                return Ok(TreePart::Tree(part));
            }
        }
        match make() {
            Ok(part) => {
                self.seen().insert(part);
                match self.store.put_part(&key, part) {
                    // On read-only media nothing can be remembered, and need not be.
                    Ok(()) | Err(StoreError::ReadOnly { .. }) => {}
                    Err(e) => return Err(failed("cannot remember a part of a tree")(e)),
                }
                Ok(TreePart::Tree(part))
            }
            Err(StoreError::NoSuchPath { path, .. }) => {
                // The store names the first directory or entry that is missing.
                let missing = path.trim_matches('/');
                let at = paths
                    .iter()
                    .position(|p| *p == missing)
                    .or_else(|| paths.iter().position(|p| p.starts_with(missing)));
                Ok(TreePart::NoSuchPath(at.unwrap_or(0)))
            }
            Err(StoreError::ReadOnly { .. }) => Ok(TreePart::Absent),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(TreePart::Absent),
            Err(error) => Err(FactsError::new(
                format!("cannot take {} out of {tree}", paths.join(" ")),
                error,
            )),
        }
    }
}

impl StoreFacts {
    /// All results of steps and targets, newest first.
    pub fn results(&self) -> Result<Vec<Realisation>, FactsError> {
        self.store
            .realisations(None)
            .map_err(failed("cannot list realisations"))
    }

    /// The folder `path` of a tree, if it is remembered.
    pub fn known_part(&self, tree: TreeHash, path: &str) -> Result<Option<TreeHash>, FactsError> {
        if path == "/" {
            return Ok(Some(tree));
        }
        self.store
            .part(&part_key(tree, &[path]))
            .map_err(failed("cannot read a remembered part of a tree"))
    }
}

impl Trees for StoreFacts {
    fn file(&self, tree: TreeHash, path: &str, limit: u64) -> Result<FilePart, FactsError> {
        let read = || {
            let Some(entry) = self.store.entry(tree, path)? else {
                return Ok(FilePart::NoSuchFile);
            };
            match entry.kind {
                Kind::File { blob, size } if size <= limit => {
                    Ok(FilePart::Content(self.store.blob(blob)?))
                }
                _ => Ok(FilePart::NoSuchFile),
            }
        };
        match read() {
            Ok(part) => Ok(part),
            Err(StoreError::NoSuchPath { .. }) => Ok(FilePart::NoSuchFile),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(FilePart::Absent),
            Err(error) => Err(FactsError::new(
                format!("cannot read {path} of {tree}"),
                error,
            )),
        }
    }

    fn subtree(&self, tree: TreeHash, path: &str) -> Result<TreePart, FactsError> {
        if path == "/" {
            return Ok(TreePart::Tree(tree));
        }
        let inside = path.trim_start_matches('/');
        // With its slash in front a cut is told from a pick of the same path.
        self.part(tree, &[path], || self.store.subtree(tree, inside))
    }

    fn pick(&self, tree: TreeHash, paths: &[String]) -> Result<TreePart, FactsError> {
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.part(tree, &names, || self.store.pick(tree, &names))
    }

    fn present(&self, tree: TreeHash) -> Result<bool, FactsError> {
        if self.seen().contains(&tree) {
            return Ok(true);
        }
        let there = self
            .store
            .has_tree(tree)
            .map_err(failed("cannot look for a tree"))?;
        if there {
            self.seen().insert(tree);
        }
        Ok(there)
    }

    fn changes(
        &self,
        old: TreeHash,
        new: TreeHash,
        limit: usize,
    ) -> Result<Option<TreeChanges>, FactsError> {
        match tree_changes(&self.store, old, new, limit) {
            Ok(changes) => Ok(Some(changes)),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
            Err(error) => Err(FactsError::new("cannot compare two trees", error)),
        }
    }
}

impl Facts for StoreFacts {
    fn realised(&self, key: Key) -> Result<Option<Realised>, FactsError> {
        let found = self
            .store
            .realisation(&key.0)
            .map_err(failed("cannot look up a realisation"))?;
        match found {
            None => Ok(None),
            Some(fact) => Ok(Some(Realised {
                tree: fact.tree,
                present: self.present(fact.tree)?,
            })),
        }
    }

    fn earlier(&self, name: &StepName, most: u32) -> Result<Vec<Earlier>, FactsError> {
        let found = self
            .store
            .derivations_of(name.as_str(), most)
            .map_err(failed("cannot look up a derivation"))?;
        let decode = |(started, key, bytes): &(i64, Hash, Vec<u8>)| {
            let step = Resolved::decode(bytes).ok().filter(|r| r.key().0 == *key)?;
            let started = *started;
            Some(Earlier { step, started })
        };
        let known: Vec<Earlier> = found.iter().filter_map(decode).collect();
        if !known.is_empty() || found.is_empty() {
            return Ok(known);
        }
        // They are damaged or of another version: an older one may explain something.
        let all = self
            .store
            .realisations(Some(name.as_str()))
            .map_err(failed("cannot list realisations"))?;
        for fact in all {
            if let Some(step) = self.derivation(Key(fact.key))? {
                let started = fact.started;
                return Ok(vec![Earlier { step, started }]);
            }
        }
        Ok(Vec::new())
    }
}
