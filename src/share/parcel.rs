//! Parcels: facts and trees that travel together, and a recorder of the parts of trees that a plan uses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use mstore_store::transfer::Fact;
use mstore_store::{Hash, Signature, Store, StoreError, TreeHash};

use super::trust::SecretKey;
use crate::drv::facts::{Layer, TreePart};
use crate::drv::{Facts, FactsError, Resolved, StoreFacts, Trees as _, part_key};

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
        if let Some(fact) = store.fact(&key)?.and_then(pure) {
            self.facts.insert(key, fact);
        }
        Ok(())
    }

    /// Adds what is known of each of `keys`.
    pub fn add_facts(
        &mut self,
        store: &Store,
        keys: impl IntoIterator<Item = Hash>,
    ) -> Result<(), StoreError> {
        keys.into_iter()
            .try_for_each(|key| self.add_fact(store, key))
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

/// A fact, unless it is about a step that worked with a folder that is no input: what came out here says nothing
/// about what comes out elsewhere.
pub fn pure(fact: Fact) -> Option<Fact> {
    let record = fact.record.as_deref().map(Resolved::decode);
    let impure = matches!(record, Some(Ok(step)) if !step.derivation().policy.impure.is_empty());
    (!impure).then_some(fact)
}

/// A fact with its record only if that is the one of its key: signatures do not cover records, so that anybody could
/// put another one to it.
pub fn own_record(mut fact: Fact) -> Fact {
    let key = fact.realisation.key;
    fact.record = fact
        .record
        .filter(|record| Resolved::decode(record).is_ok_and(|resolved| resolved.key().0 == key));
    fact
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

impl Layer for Recorder<'_> {
    fn inner(&self) -> &dyn Facts {
        self.inner
    }

    fn subtree(&self, tree: TreeHash, path: &str) -> Result<TreePart, FactsError> {
        if path != "/" {
            self.lock().insert(part_key(tree, &[path]));
        }
        self.inner.subtree(tree, path)
    }

    fn pick(&self, tree: TreeHash, paths: &[String]) -> Result<TreePart, FactsError> {
        let names: Vec<&str> = paths.iter().map(String::as_str).collect();
        self.lock().insert(part_key(tree, &names));
        self.inner.pick(tree, paths)
    }
}
