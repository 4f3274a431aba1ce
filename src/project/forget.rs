//! Forgetting what steps produced, with what was built on it here: it is built again when it is asked for.

use std::collections::BTreeSet;

use mstore_store::transfer::TransferError;
use mstore_store::{Hash, ObjectKind, Realisation, RealisationKind, Root, Store};

use super::caches::Caches;
use super::find::{HashKind, Wants};
use super::step::no_such_step;
use super::{Project, ProjectError};
use crate::drv::{NodeName, Results};
use crate::plan::{Pins, Staleness};
use crate::share::Ask;

/// A cache of the configuration that may have results.
#[derive(Debug)]
pub struct Holder {
    /// Its name.
    pub name: String,
    /// How many of them it has, or why it could not be asked.
    pub has: Result<usize, TransferError>,
}

/// What names results: keys and derivations.
#[derive(Default)]
struct Asked(BTreeSet<Hash>);

impl Project {
    /// The results that some words stand for (targets, steps as `TARGET:STEP`, hashes) and all that was
    /// built on them here, in the order in which they were built. Of a target by name those count that its
    /// specifications lead to today.
    pub fn results_on(&self, words: &[String]) -> Result<Vec<Realisation>, ProjectError> {
        let mut asked = Asked::default();
        for word in words {
            self.add_asked(word, &mut asked)?;
        }
        let Asked(hashes) = asked;
        let results = Results::read(&self.facts)?;
        Ok(results.of_steps(|r| hashes.contains(&r.key) || hashes.contains(&r.drv))?)
    }

    fn add_asked(&self, word: &str, Asked(hashes): &mut Asked) -> Result<(), ProjectError> {
        if let Some(found) = self.hash(word, Wants::Step)? {
            match found.kind {
                HashKind::Object(ObjectKind::Tree) => {
                    let made = self.store.realisations_of(&found.hash)?.into_iter();
                    let steps = made.filter(|r| r.kind == RealisationKind::Step);
                    hashes.extend(steps.map(|r| r.key));
                }
                _ => {
                    hashes.insert(self.hash_of_step(&found)?);
                }
            }
            return Ok(());
        }
        // What is no name of a node is no name of a target either, and then the plan says so.
        let (name, step) = match word.parse::<NodeName>() {
            Ok(name) => (name.target().to_owned(), name.step().map(str::to_owned)),
            Err(_) => (word.to_owned(), None),
        };
        let graph = self.graph(&[name], Pins::Optional)?;
        let staleness = Staleness::walk(&graph, &self.facts, &mut ())?;
        for target in graph.requested() {
            let nodes = match &step {
                None => graph.own_steps(target).collect(),
                Some(step) => match graph.step_of(target, step) {
                    Some(node) => vec![node],
                    None => return Err(no_such_step(&graph, target, step).into()),
                },
            };
            for node in nodes {
                hashes.insert(graph.nodes()[node].hash.0);
                hashes.extend(staleness.state(node).key().map(|key| key.0));
            }
        }
        Ok(())
    }
}

/// The named roots that keep trees of some results.
pub fn roots_of(store: &Store, results: &[Realisation]) -> Result<Vec<Root>, ProjectError> {
    let trees: BTreeSet<_> = results.iter().map(|r| r.tree).collect();
    let mut roots = store.roots()?;
    roots.retain(|root| trees.contains(&root.tree));
    Ok(roots)
}

/// The caches that have some of these results, and those that could not be asked.
pub fn holders(caches: &Caches, results: &[Realisation]) -> Vec<Holder> {
    if results.is_empty() {
        return Vec::new();
    }
    let mut holders = Vec::new();
    for (name, open) in caches.openers() {
        let ask = || {
            let ask = Ask {
                keys: results.iter().map(|r| r.key).collect(),
                drvs: Vec::new(),
            };
            // That there is one is enough.
            let facts = open()?.facts(&ask, &|mut fact| {
                fact.record = None;
                Some(fact)
            })?;
            let told: BTreeSet<_> = facts.iter().map(|f| f.realisation.key).collect();
            Ok(results.iter().filter(|r| told.contains(&r.key)).count())
        };
        let has = ask();
        if !matches!(has, Ok(0)) {
            holders.push(Holder { name, has });
        }
    }
    holders
}
