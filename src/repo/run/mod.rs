//! A run of targets over a mirror, one after the other, as `metro` did it: each starts from an archive of the mirror,
//! writes its log there while it is built, and is published as soon as it is finished.
//!
//! [`Sources`]: what a target starts from; [`Begun`]: the build folder while the run goes on; [`TargetLog`] and
//! [`Logged`]: the log of a target; [`SnapshotArchive`]: the archive of the snapshot that builds read.

mod begun;
mod log;
mod snapshot;
mod sources;

use std::io;
use std::path::PathBuf;

use mstore_store::StoreError;

use super::lock::Holder;
use super::publish::{GatherError, PublishError};
use super::quote::shown;
use crate::plan::{LockError, PlanError};
use crate::project::ProjectError;

pub use begun::{Begun, there};
pub use log::{Logged, TargetLog};
pub use snapshot::{SnapshotArchive, Written, pinned_snapshot};
pub use sources::{Archive, Origin, Sources, class_of};

/// Why a run does not go on. That a step fails is none of these.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Specifications, lock file or store are at fault.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The specifications give names that a mirror cannot have.
    #[error(transparent)]
    Gather(#[from] GatherError),
    /// The mirror cannot be changed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// Neither the mirror nor the lock file has the seed.
    #[error(
        "the mirror has no {kind} to start {target} from: there is no {}",
        shown(file)
    )]
    NoSeed {
        /// The target that starts from it.
        target: String,
        /// The kind of stage.
        kind: String,
        /// The name of the seed.
        seed: String,
        /// The file that would say which one is the newest.
        file: PathBuf,
        /// The folder of the subarch that it belongs to.
        subarch: PathBuf,
    },
    /// A version file names a build that the mirror does not have.
    #[error(
        "{} names {version}, and there is no archive {}",
        shown(file),
        shown(archive)
    )]
    NoArchive {
        /// The version file.
        file: PathBuf,
        /// What it says.
        version: String,
        /// The archive, without the ending that tells how it is compressed.
        archive: PathBuf,
    },
    /// A version file says something else than a day.
    #[error("{}: `{}` is not a day such as 2015-02-18", shown(file), shown(text))]
    Version {
        /// The version file.
        file: PathBuf,
        /// What it says.
        text: String,
    },
    /// An archive of the mirror cannot be taken into the store.
    #[error("{}: {source}", shown(path))]
    Import {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// A snapshot is to be published, and the targets read none.
    #[error("{target} reads no snapshot, and there is no target `snapshot`")]
    NoSnapshot {
        /// A target of the run.
        target: String,
    },
    /// Somebody works on something for longer than is waited.
    #[error("{} is held by {holder}", shown(path))]
    Held {
        /// The mark.
        path: PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// Somebody ended it.
    #[error("interrupted")]
    Interrupted,
    /// The mirror cannot be read or written.
    #[error("cannot {what} {}: {source}", shown(path))]
    Io {
        /// What was to be done.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl From<PlanError> for RunError {
    fn from(error: PlanError) -> Self {
        RunError::Project(error.into())
    }
}

impl From<LockError> for RunError {
    fn from(error: LockError) -> Self {
        RunError::Project(PlanError::from(error).into())
    }
}

impl RunError {
    fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> RunError {
        let path = path.into();
        move |source| RunError::Io { what, path, source }
    }
}
