//! Specifications, lock file and store opened together, and what one does with them.
//!
//! Every face of the program stands on this floor: the command line, a page, a mirror keeper, a
//! worker. Nothing in here prints, reads the environment, exits or names a command: what happens on
//! the way is told as events, what went wrong as a [`ProjectError`] that carries the objects
//! concerned.
//!
//! - [`open`]: one opener of stores; [`Project`]: the three opened together;
//! - [`find`]: hashes, roots and names to trees and targets; [`step`]: one step by its hash or name;
//! - [`retention`]: what gc keeps, and the lock files that count.

pub mod clock;
pub mod error;
pub mod find;
pub mod open;
pub mod retention;
pub mod step;

use std::path::{Path, PathBuf};

use mstore_store::Store;

use crate::drv::StoreFacts;
use crate::plan::{Distribution, Graph, Lock, Pins, Recipes, TargetId};

pub use error::{FindError, ProjectError};
pub use open::{Access, open_store};
pub use retention::Retention;

/// Specifications, lock file and store, opened together.
#[derive(Debug)]
pub struct Project {
    /// The store.
    pub store: Store,
    /// What it knows.
    pub facts: StoreFacts,
    /// The specifications.
    pub distribution: Distribution,
    /// Seeds and snapshots as pinned.
    pub lock: Lock,
}

impl Project {
    /// Opens the store in the folder `store` and the lock file that belongs to the specifications.
    ///
    /// The specifications come opened: errors in them must leave no empty store behind.
    pub fn open(
        store: &Path,
        access: Access,
        distribution: Distribution,
    ) -> Result<Project, ProjectError> {
        let store = open_store(store, access)?;
        let lock = Lock::read(distribution.files(), &distribution.lock_path(store.path()))?;
        Ok(Project {
            facts: StoreFacts::new(store.clone()),
            store,
            distribution,
            lock,
        })
    }

    /// The place of the lock file, which need not exist.
    pub fn lock_path(&self) -> PathBuf {
        self.distribution.lock_path(self.store.path())
    }

    /// Reads the recipes of targets and of what these start from.
    pub fn recipes(&self, targets: &[TargetId]) -> Result<Recipes, ProjectError> {
        Ok(self.distribution.recipes(targets, &self.lock)?)
    }

    /// Makes the graph of some targets, which are given by name or by hash.
    pub fn graph(&self, names: &[String], pins: Pins) -> Result<Graph, ProjectError> {
        let recipes = self.recipes(&self.targets(names)?)?;
        Ok(Graph::build(&recipes, &self.lock, &self.facts, pins)?)
    }
}
