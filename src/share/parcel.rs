//! What travels for a target: the facts about all its steps, and its tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mstore_store::transfer::Fact;
use mstore_store::{Hash, Signature, Store, StoreError, TreeHash};

use super::trust::SecretKey;
use crate::drv::derivation::{Key, Resolved};
use crate::drv::facts::{Part, Realised};
use crate::drv::tree_diff::TreeChanges;
use crate::drv::{Facts, FactsError, StepName, StoreFacts, Trees, part_key, target_key};
use crate::plan::Staleness;

/// Facts and trees that travel together.
#[derive(Clone, Debug, Default)]
pub struct Parcel {
    /// The facts, by key.
    pub facts: BTreeMap<Hash, Fact>,
    /// The trees.
    pub trees: BTreeSet<TreeHash>,
}

impl Parcel {
    /// Adds what is known of a key.
    pub fn add_fact(&mut self, store: &Store, key: Hash) -> Result<(), StoreError> {
        if let Some(fact) = store.fact(&key)? {
            self.facts.insert(key, fact);
        }
        Ok(())
    }

    /// Adds the facts about all steps of a graph, about its targets and about the parts of trees that
    /// they use.
    pub fn add_graph(
        &mut self,
        store: &Store,
        staleness: &Staleness<'_>,
        facts: &Recorder<'_>,
    ) -> Result<(), ParcelError> {
        let graph = staleness.graph();
        for node in graph.nodes().ids() {
            if let (Some(key), Some(_)) =
                (staleness.state(node).key(), staleness.state(node).tree())
            {
                self.add_fact(store, key.0)?;
            }
        }
        for target in graph.targets() {
            let tree = staleness.target_tree(target, facts);
            if let Some(tree) = tree.map_err(|e| FactsError::new("cannot find a tree", e))? {
                self.add_fact(store, target_key(&target.id.to_string(), tree))?;
            }
        }
        for part in facts.parts() {
            self.add_fact(store, part)?;
        }
        Ok(())
    }

    /// Signs all facts, and keeps the signatures in `store` as well.
    pub fn sign(&mut self, store: &Store, key: &SecretKey) -> Result<(), StoreError> {
        for fact in self.facts.values_mut() {
            let before = fact.signatures.clone();
            key.sign(fact);
            for vouch in fact.signatures.iter().filter(|v| !before.contains(v)) {
                store.add_signature(&Signature {
                    key: fact.realisation.key,
                    tree: fact.realisation.tree,
                    signer: vouch.signer.clone(),
                    bytes: vouch.bytes,
                })?;
            }
        }
        Ok(())
    }
}

/// Why a parcel could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum ParcelError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The facts failed.
    #[error(transparent)]
    Facts(#[from] FactsError),
}

/// The facts of a store, which remembers the parts of trees that it was asked for.
#[derive(Debug)]
pub struct Recorder<'a> {
    inner: &'a StoreFacts,
    parts: Mutex<BTreeSet<Hash>>,
}

impl<'a> Recorder<'a> {
    /// Passes every question on to `inner`.
    pub fn new(inner: &'a StoreFacts) -> Self {
        Recorder {
            inner,
            parts: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Hash>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of the parts.
    pub fn parts(&self) -> Vec<Hash> {
        self.lock().iter().copied().collect()
    }
}

impl Trees for Recorder<'_> {
    fn subtree(&self, tree: TreeHash, path: &str) -> Result<Part, FactsError> {
        if path != "/" {
            self.lock().insert(part_key(tree, &[path]));
        }
        self.inner.subtree(tree, path)
    }

    fn pick(&self, tree: TreeHash, paths: &[String]) -> Result<Part, FactsError> {
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.lock().insert(part_key(tree, &names));
        self.inner.pick(tree, paths)
    }

    fn present(&self, tree: TreeHash) -> Result<bool, FactsError> {
        self.inner.present(tree)
    }

    fn changes(
        &self,
        old: TreeHash,
        new: TreeHash,
        limit: usize,
    ) -> Result<Option<TreeChanges>, FactsError> {
        self.inner.changes(old, new, limit)
    }
}

impl Facts for Recorder<'_> {
    fn realised(&self, key: Key) -> Result<Option<Realised>, FactsError> {
        self.inner.realised(key)
    }

    fn last(&self, name: &StepName) -> Result<Option<Resolved>, FactsError> {
        self.inner.last(name)
    }
}
