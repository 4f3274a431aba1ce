//! The receiving end of a push: what another mstore sends is checked, stored, and made visible last.

use mstore_store::transfer::{Fact, Progress, ReceiveOptions};
use mstore_store::{Cancel, Store, TreeHash};

use super::ProjectError;
use crate::share::parcel::own_record;
use crate::share::wire::{Push, Wire};
use crate::share::{Parcel, Trust};

/// What of a pushed fact is kept, if `trust` believes it. What the other end wishes has no say.
pub fn believe(fact: Fact, trust: &Trust) -> Result<Fact, ProjectError> {
    trust.check(&fact)?;
    Ok(own_record(fact))
}

/// Takes what the other end pushes, with the facts that were believed. Returns what it came to.
pub fn receive(
    store: &Store,
    wire: &Wire,
    facts: Vec<Fact>,
    push: &Push,
) -> Result<Progress, ProjectError> {
    let mut parcel = Parcel::default();
    for fact in facts {
        parcel.facts.insert(fact.realisation.key, fact);
    }
    let never = Cancel::new();
    let options = ReceiveOptions {
        cancel: &never,
        progress: &|p: &Progress| wire.note_progress(*p),
        dry_run: push.dry_run,
    };
    let received = store.receive(wire, &push.trees, &options)?;
    if !push.dry_run {
        settle(store, &parcel, &push.trees, push.root.as_deref())?;
    }
    Ok(Progress {
        objects: received.objects,
        objects_wanted: received.objects,
        bytes: received.bytes,
        content: received.content,
        content_wanted: received.content,
    })
}

/// Makes facts and gc roots visible, when the trees are there. Further trees get a number behind the
/// name of the root.
pub fn settle(
    store: &Store,
    parcel: &Parcel,
    trees: &[TreeHash],
    root: Option<&str>,
) -> Result<(), ProjectError> {
    for fact in parcel.facts.values() {
        store.take_fact(fact)?;
    }
    if let Some(name) = root {
        for (at, tree) in trees.iter().enumerate() {
            let numbered = match at {
                0 => name.to_owned(),
                n => format!("{name} {}", n + 1),
            };
            store.add_root(&numbered, *tree)?;
        }
    }
    Ok(())
}
