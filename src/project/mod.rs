//! Specifications, lock file and store opened together, and what one does with them.
//!
//! Every face of the program stands on this floor: the command line, a page, a mirror keeper, a
//! worker. Nothing in here prints, reads the environment, exits or names a command: what happens on
//! the way is told as events, what went wrong as a [`ProjectError`] that carries the objects
//! concerned.
//!
//! - [`open`]: one opener of stores; [`Project`]: the three opened together;
//! - [`provide`]: seeds and snapshots; [`realise`]: bringing targets up to date; [`Project::sign`]: vouching
//!   for what was built; [`caches`], [`peers`]: whom results are taken from;
//! - [`remote`]: seeds and snapshots from outside, and where the lock file says they came from;
//! - [`pack`], [`copy`], [`receive`]: results on their way to and from other places;
//! - [`repair`]: verifying a store, and getting back what is damaged;
//! - [`forget`]: forgetting results, and what was built on them;
//! - [`estimate`]: how long a run will take;
//! - [`packages`]: graphs with the packages in them that are known;
//! - [`find`]: hashes, roots and names to trees and targets; [`step`]: one step by its hash or name;
//! - [`retention`]: what gc keeps, and the lock files that count.

mod binaries;
pub mod caches;
pub mod clock;
pub mod copy;
pub mod error;
pub mod estimate;
pub mod events;
pub mod find;
pub mod forget;
pub mod open;
pub mod pack;
pub mod packages;
pub mod peers;
mod pinned_reads;
pub mod ports;
pub mod provide;
pub mod realise;
pub mod receive;
pub mod remote;
pub mod repair;
pub mod retention;
mod sign;
pub mod stats;
pub mod step;

use std::path::{Path, PathBuf};

use mstore_store::Store;

use crate::drv::StoreFacts;
use crate::plan::{Distribution, Graph, Lock, Pins, Recipes, TargetId};

pub use caches::Caches;
pub use error::{Absent, Blocked, FindError, ProjectError};
pub use estimate::Estimates;
pub use events::{Event, Events};
pub use open::{Access, open_store};
pub use peers::Reach;
pub use pinned_reads::PinnedReads;
pub use realise::realise;
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
        distribution.give_store(&store);
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

    /// The error of a store that may not be written though something has to be.
    pub(crate) fn blocked(&self, what: Blocked) -> ProjectError {
        ProjectError::Unwritable {
            store: self.store.path().to_owned(),
            what,
        }
    }

    /// Returns an error if the store may not be written.
    pub fn must_write(&self, what: impl FnOnce() -> Blocked) -> Result<(), ProjectError> {
        match self.store.is_read_only() {
            true => Err(self.blocked(what())),
            false => Ok(()),
        }
    }

    /// Reads the recipes of targets and of what these start from.
    pub fn recipes(&self, targets: &[TargetId]) -> Result<Recipes, ProjectError> {
        Ok(self.distribution.recipes(targets, &self.lock)?)
    }

    /// Makes the graph of some targets, which are given by name or by hash, with their packages as far as these are
    /// known.
    pub fn graph(&self, names: &[String], pins: Pins) -> Result<Graph, ProjectError> {
        let recipes = self.recipes(&self.targets(names)?)?;
        packages::unfolded(self, &recipes, &self.lock, pins)
    }
}
