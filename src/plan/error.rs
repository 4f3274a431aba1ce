//! Every way in which planning can fail: the objects concerned, and what can be written otherwise.
//!
//! Advice that names commands is for who called: an error says which seed is missing, not how to import it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use mstore_store::TreeHash;

use super::elements::{Location, SpecError, at};
use super::git::GitError;
use super::lock::LockError;
use super::name::{NameError, TargetId};
use super::pin::PinKind;
use crate::drv::NodeNameError;
use crate::drv::facts::FactsError;

fn lock_file(lock: &Option<PathBuf>) -> String {
    lock.as_ref()
        .map_or("the lock file".to_owned(), |p| p.display().to_string())
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The specification cannot be loaded, or an element cannot be evaluated.
    #[error(transparent)]
    Spec(Box<SpecError>),
    /// The entry file is not there.
    #[error("no such entry file: {}", .path.display())]
    NoEntry {
        /// The path that was given.
        path: PathBuf,
    },
    /// The entry file does not list its targets.
    #[error("{}: the specification has no `{element}`", .entry.display())]
    NoIndex {
        /// The entry file.
        entry: PathBuf,
        /// The element that is missing.
        element: String,
    },
    /// A name stands for no target.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A target is a snapshot: it is imported.
    #[error(
        "{target} is a snapshot, which is imported and not built: the name that is wanted is `{name}`"
    )]
    Imported {
        /// The target.
        target: Box<TargetId>,
        /// The name of the snapshot.
        name: String,
    },
    /// A mode or an extra needs a target that is not there.
    #[error(
        "the kind of build `{kind}` needs `{target}`, which the specifications do not have for {home}"
    )]
    Mode {
        /// The mode or extra.
        kind: String,
        /// The target.
        target: String,
        /// Build, architecture and subarch.
        home: String,
    },
    /// A step cannot be called what the specification calls it.
    #[error(transparent)]
    NodeName(#[from] NodeNameError),
    /// An element that a target needs is missing.
    #[error("{target} has no `{element}`")]
    Missing {
        /// The element.
        element: String,
        /// The target.
        target: String,
        /// What to define.
        help: &'static str,
    },
    /// An element has a value that cannot be used.
    #[error("{}`{element}` of {target}: {message}", at(.location))]
    Value {
        /// The element.
        element: String,
        /// The target.
        target: String,
        /// Where it is defined.
        location: Option<Box<Location>>,
        /// What is wrong.
        message: String,
        /// What to write in its place, if that is not plain from the message.
        help: Option<String>,
    },
    /// Targets start from each other in a circle.
    #[error("targets start from each other: {}", .chain.join(" -> "))]
    Cycle {
        /// The targets, the first one again at the end.
        chain: Vec<String>,
    },
    /// A target without a step.
    #[error("{target} has no steps")]
    NoSteps {
        /// The target.
        target: Box<TargetId>,
    },
    /// A graph was asked for over targets that were not loaded.
    #[error("{target} was not loaded")]
    NotLoaded {
        /// The target.
        target: Box<TargetId>,
    },
    /// The lock file lacks a seed or snapshot.
    #[error("{} has no {kind} `{name}`, which {target} needs", lock_file(.lock))]
    NotPinned {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name: the section `KIND/NAME` of the lock file.
        name: String,
        /// Whether it may be captured from this machine.
        host: bool,
        /// The target that needs it.
        target: Box<TargetId>,
        /// The lock file.
        lock: Option<PathBuf>,
    },
    /// The lock file names a tree that the store does not have.
    #[error("the {kind} `{name}` of {target} is not in the store: {tree}")]
    AbsentPin {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name.
        name: String,
        /// Whether it may be captured from this machine.
        host: bool,
        /// The tree.
        tree: TreeHash,
        /// The target that needs it.
        target: Box<TargetId>,
    },
    /// A step reads a path that the snapshot does not have.
    #[error("{}`{element}`: the snapshot `{snapshot}` has no `{path}`", at(.location))]
    NoSuchRead {
        /// The path.
        path: String,
        /// The snapshot.
        snapshot: String,
        /// The element that names the path.
        element: String,
        /// Where it is defined.
        location: Option<Box<Location>>,
    },
    /// A port that was asked for is not built.
    #[error("{pkgpath}: {reason}")]
    Port {
        /// Its pkgpath.
        pkgpath: String,
        /// Why not.
        reason: String,
        /// What is wrong with its specification, if something is.
        error: Option<Arc<PlanError>>,
    },
    /// The packages of a target cannot be made nodes.
    #[error("the packages of {target}: {error}")]
    Packages {
        /// The target.
        target: String,
        /// What is wrong.
        error: Arc<dyn std::error::Error + Send + Sync>,
        /// What can be done about it.
        help: Option<&'static str>,
    },
    /// The lock file.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store did not answer.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The git repository of the specification.
    #[error(transparent)]
    Git(#[from] GitError),
    /// A file.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl PlanError {
    /// What can be written in the specification, the lock file or on this machine so that there is a plan.
    pub fn help(&self) -> Option<&str> {
        match self {
            PlanError::NoIndex { .. } => Some(
                "add the line `[collect /usr/share/mstore/specs/metro.conf]` to use the standard \
                 specs, or define it",
            ),
            PlanError::Missing { help, .. } => Some(help),
            PlanError::Value { help, .. } => help.as_deref(),
            PlanError::Cycle { .. } => Some(
                "give one of them a seed: define `source/seed`, or `source/version` of an earlier \
                 build",
            ),
            PlanError::NoSteps { .. } => {
                Some("define `steps/chroot/run`, or name its steps in `steps/chroot`")
            }
            PlanError::Port { error, .. } => error.as_ref()?.help(),
            PlanError::Packages { help, .. } => *help,
            PlanError::Lock(error) => error.help(),
            PlanError::Git(error) => error.help(),
            _ => None,
        }
    }
}

impl From<SpecError> for PlanError {
    fn from(error: SpecError) -> Self {
        PlanError::Spec(Box::new(error))
    }
}
