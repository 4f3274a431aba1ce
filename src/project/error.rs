//! Why something with a project could not be done: the objects concerned, without advice.

use std::io;
use std::path::{Path, PathBuf};

use mstore_store::transfer::TransferError;
use mstore_store::{Hash, Realisation, StoreError};

use super::find::{Found, Wants};
use crate::drv::FactsError;
use crate::plan::{LockError, NameError, PlanError, WalkError};

/// Why something with a project could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The facts of the store failed.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The state of the steps cannot be found out.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// Something could not be copied.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A word names nothing that can be used.
    #[error(transparent)]
    Find(Box<FindError>),
    /// The folder has no store.
    #[error("no store at {}", path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds something else.
    #[error("{} is neither a store nor a cache", path.display())]
    NeitherStoreNorCache {
        /// The folder.
        path: PathBuf,
    },
    /// The file system failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl ProjectError {
    /// The file system failed.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        ProjectError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<FindError> for ProjectError {
    fn from(error: FindError) -> Self {
        ProjectError::Find(Box::new(error))
    }
}

impl From<LockError> for ProjectError {
    fn from(error: LockError) -> Self {
        ProjectError::Plan(error.into())
    }
}

/// Why a word names nothing that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Several hashes begin with it.
    #[error("{word} is ambiguous: {} hashes begin so", found.len())]
    Ambiguous {
        /// The word.
        word: String,
        /// What could be meant, by hash.
        found: Vec<Found>,
    },
    /// It is the hash of something else.
    #[error("{} is a {found}, not a {wants}", found.hash)]
    OtherKind {
        /// What it is.
        found: Found,
        /// What was wanted.
        wants: Wants,
    },
    /// The store has nothing of the wanted kind.
    #[error("the store has no {wants} whose hash begins with {word}")]
    NoHash {
        /// The beginning of the hash.
        word: String,
        /// What was wanted.
        wants: Wants,
    },
    /// It is neither the name of a target nor the hash of anything.
    #[error("{unknown}")]
    NeitherNameNorHash {
        /// Why it is not a name.
        unknown: Box<PlanError>,
        /// The word.
        word: String,
        /// What was wanted of a hash.
        wants: Wants,
    },
    /// The target of a derivation or key is gone from the specifications.
    #[error("{} is a {found}, which is no longer in the specifications: {unknown}", found.hash)]
    NotSpecified {
        /// The hash as it was given.
        word: String,
        /// What it is.
        found: Found,
        /// What the name of the target is now.
        unknown: Box<NameError>,
    },
    /// The specifications say something else of the step now.
    #[error("{} is a {found}, which is specified in another way now", found.hash)]
    SpecifiedOtherwise {
        /// The hash as it was given.
        word: String,
        /// What it is.
        found: Found,
    },
    /// A derivation or key without a tree in the store.
    #[error("{} is a {found}, of which the store has no tree", found.hash)]
    NoTree {
        /// What it is.
        found: Found,
    },
    /// Several steps made a tree.
    #[error("{tree} is a tree that several steps made")]
    SeveralMakers {
        /// The tree.
        tree: Hash,
        /// How it was made each time.
        makers: Vec<Realisation>,
    },
    /// The step that made a tree is not remembered.
    #[error("{tree} is a tree, and which step made it is not remembered here")]
    NoMaker {
        /// The tree.
        tree: Hash,
    },
    /// The step of a hash is not remembered.
    #[error("{} is a {found}; what it was is not remembered here", found.hash)]
    NotRemembered {
        /// What it is.
        found: Found,
    },
    /// A name stands for no target.
    #[error("`{name}` names no target")]
    NoTarget {
        /// The name.
        name: String,
    },
    /// A name stands for more than one target.
    #[error("`{name}` names several targets; one is expected")]
    SeveralTargets {
        /// The name.
        name: String,
    },
    /// A target has no such step.
    #[error("{target} has no step `{step}`")]
    NoStep {
        /// The target.
        target: String,
        /// The name of the step.
        step: String,
        /// The names of the steps that it has.
        steps: Vec<String>,
    },
    /// A target has no tree.
    #[error("{target} is not built, or not up to date")]
    NotBuilt {
        /// The target.
        target: String,
    },
}
