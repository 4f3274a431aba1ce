//! Recipes of the targets that were asked for and of all that these start from, and the seeds and
//! snapshots that they lack.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::Serialize;

use super::embedded;
use super::lock::Lock;
use super::more::More;
use super::name::{Index, TargetId};
use super::pin::PinKind;
use super::recipe::{Recipe, Start};

/// Recipes by target.
#[derive(Debug, Clone, Default)]
pub struct Recipes {
    pub(super) index: Index,
    pub(super) requested: Vec<TargetId>,
    pub(super) recipes: BTreeMap<TargetId, Recipe>,
    /// Makes the ports among those that were asked for.
    pub(super) more: Option<Arc<dyn More>>,
}

/// A seed or snapshot that has to be made or imported before anything can be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingPin {
    /// Seed or snapshot.
    pub kind: PinKind,
    /// The name that the lock file lacks.
    pub name: String,
    /// Where it can come from.
    pub from: PinOrigin,
    /// Whether the lock file has it, but made from another edition of what is built in.
    pub outdated: bool,
    /// The targets that need it, sorted.
    pub wanted_by: Vec<TargetId>,
}

/// Where a seed or snapshot can come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinOrigin {
    /// It may be captured from this machine.
    Host,
    /// It comes with mstore, under this name.
    Builtin(String),
    /// Only people can give it.
    Import,
}

impl Recipes {
    /// The targets that were asked for, in that order.
    pub fn requested(&self) -> impl Iterator<Item = &TargetId> {
        self.requested.iter()
    }

    /// Forgets that some targets were asked for, and those that were here for their sake only.
    pub fn leave_out(&mut self, gone: &HashSet<TargetId>) {
        if gone.is_empty() {
            return;
        }
        self.requested.retain(|id| !gone.contains(id));
        let mut kept = BTreeSet::new();
        for id in &self.requested {
            let mut at = Some(id);
            while let Some(id) = at {
                let start = self.recipes.get(id).map(|recipe| &recipe.start);
                at = match start {
                    Some(Start::Target(from)) if kept.insert(id.clone()) => Some(from),
                    _ => {
                        kept.insert(id.clone());
                        None
                    }
                };
            }
        }
        self.recipes.retain(|id, _| kept.contains(id));
    }

    /// The recipe of a target.
    pub fn get(&self, id: &TargetId) -> Option<&Recipe> {
        self.recipes.get(id)
    }

    /// All recipes, sorted by target.
    pub fn all(&self) -> impl Iterator<Item = &Recipe> {
        self.recipes.values()
    }

    /// The shortest name of a target.
    pub fn display_name(&self, id: &TargetId) -> String {
        self.index.display_name(id)
    }

    /// The names these recipes were found under.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// What `lock` lacks, sorted by kind and name.
    pub fn needs(&self, lock: &Lock) -> Vec<MissingPin> {
        let mut needs: BTreeMap<(PinKind, String), MissingPin> = BTreeMap::new();
        let mut want = |kind, name: &str, from: PinOrigin, outdated, id: &TargetId| {
            let need = needs.entry((kind, name.to_owned())).or_insert(MissingPin {
                kind,
                name: name.to_owned(),
                from,
                outdated,
                wanted_by: Vec::new(),
            });
            need.wanted_by.push(id.clone());
        };
        if let Some(more) = &self.more {
            let (name, host) = more.base();
            if lock.get(PinKind::Seed, name).is_none() {
                for id in self.requested.iter().filter(|id| id.is_port()) {
                    let from = match host {
                        true => PinOrigin::Host,
                        false => PinOrigin::Import,
                    };
                    want(PinKind::Seed, name, from, false, id);
                }
            }
        }
        for recipe in self.recipes.values() {
            if let Start::Seed(seed) = &recipe.start
                && lock.get(PinKind::Seed, &seed.name).is_none()
            {
                let from = if seed.host {
                    PinOrigin::Host
                } else {
                    PinOrigin::Import
                };
                want(PinKind::Seed, &seed.name, from, false, &recipe.id);
            }
            for snapshot in &recipe.beside {
                if lock.get(PinKind::Snapshot, &snapshot.name).is_none() {
                    let from = PinOrigin::Import;
                    want(PinKind::Snapshot, &snapshot.name, from, false, &recipe.id);
                }
            }
            let Some(snapshot) = &recipe.snapshot else {
                continue;
            };
            let pin = lock.get(PinKind::Snapshot, &snapshot.name);
            let builtin = snapshot
                .builtin
                .as_deref()
                .and_then(embedded::builtin_snapshot);
            let from = match builtin {
                Some(b) => PinOrigin::Builtin(b.name().to_owned()),
                None => PinOrigin::Import,
            };
            match pin {
                None => want(PinKind::Snapshot, &snapshot.name, from, false, &recipe.id),
                Some(pin) => {
                    // A tree that the user imported under this name stays; one that an older mstore
                    // brought along would not fit the specs of this one.
                    let origin = pin.origin.as_deref().unwrap_or_default();
                    let other = builtin
                        .is_some_and(|b| origin.starts_with("builtin/") && origin != b.origin());
                    if other {
                        want(PinKind::Snapshot, &snapshot.name, from, true, &recipe.id);
                    }
                }
            }
        }
        needs.into_values().collect()
    }
}
