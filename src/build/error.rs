//! Errors of a build, apart by who is to blame: the script, or the machine and the store.

use std::path::PathBuf;

use mstore_store::{ErrorKind, Room, StoreError};

use super::host::PlatformError;
use super::sandbox::SandboxError;
use super::step_log::StepLogError;
use crate::drv::FactsError;
use crate::drv::fetch::FetchError;

/// A script that ended badly.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How it ended, for people: `exit status 7`, `killed by signal 9`, `timed out`.
    pub how: String,
    /// The same as wait(2) gives it; that of exit status 1 where the script ended well and left what cannot be kept.
    pub status: i32,
    /// Whether it was ended because it was over its time or another limit.
    pub limit: bool,
    /// The log file.
    pub log: PathBuf,
    /// The last lines of the log.
    pub tail: Vec<String>,
}

/// Why a step has no result.
#[derive(Debug)]
pub enum StepError {
    /// The script is to blame.
    Failed(Failure),
    /// The machine or the store is to blame.
    Infrastructure(Infrastructure),
    /// Somebody cancelled it.
    Cancelled,
    /// It got lost with the machine that built it, for this reason.
    Lost(String),
}

/// A failure of the machine or the store.
#[derive(Debug, thiserror::Error)]
pub enum Infrastructure {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox could not be set up.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// This machine cannot run the programs of the step's platform.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The log could not be written.
    #[error(transparent)]
    Log(#[from] StepLogError),
    /// A derivation without the inputs that every build has.
    #[error("{step} cannot be built: {detail}")]
    Inputs {
        /// The step.
        step: String,
        /// What is wrong.
        detail: String,
    },
    /// A file of the build could not be handled.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The script failed while the store's file system had no space.
    #[error("no space left on the file system of {}: {step} failed because of it ({how}){}", path.display(), shown_room(room))]
    NoSpace {
        /// The store's folder.
        path: PathBuf,
        /// The step.
        step: String,
        /// How its script ended.
        how: String,
        /// What there was when it had ended.
        room: Option<Box<Room>>,
    },
    /// An engine that builds for this machine cannot be used as it is set up.
    #[error("the engine {engine} cannot be used: {why}")]
    Engine {
        /// Its address.
        engine: String,
        /// What is wrong.
        why: String,
        /// What helps.
        remedy: String,
    },
    /// What is known by its hashes could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// What the store knows could not be asked or noted.
    #[error(transparent)]
    Facts(#[from] FactsError),
}

fn shown_room(room: &Option<Box<Room>>) -> String {
    room.iter().map(|room| format!("; {room}")).collect()
}

impl Infrastructure {
    /// What there is on the file system of a file that could not be written, where the message does
    /// not tell it.
    pub fn room(&self) -> Option<Room> {
        match self {
            Infrastructure::Log(StepLogError { path, .. }) | Infrastructure::Io { path, .. } => {
                Room::of(path).filter(|_| self.is_disk_full())
            }
            _ => None,
        }
    }

    /// Whether the cause is a full file system.
    pub fn is_disk_full(&self) -> bool {
        match self {
            Infrastructure::NoSpace { .. } => true,
            Infrastructure::Store(e) => e.kind() == ErrorKind::NoSpace,
            Infrastructure::Sandbox(e) => e.is_disk_full(),
            Infrastructure::Fetch(FetchError::Store(e)) => e.kind() == ErrorKind::NoSpace,
            Infrastructure::Fetch(FetchError::Io { source, .. })
            | Infrastructure::Log(StepLogError { source, .. })
            | Infrastructure::Io { source, .. } => matches!(
                source.kind(),
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
            ),
            _ => false,
        }
    }
}

impl From<Infrastructure> for StepError {
    fn from(e: Infrastructure) -> Self {
        StepError::Infrastructure(e)
    }
}

macro_rules! infrastructure {
    ($($error:ty)*) => {
        $(impl From<$error> for StepError {
            fn from(e: $error) -> Self {
                StepError::Infrastructure(e.into())
            }
        })*
    };
}

impl From<FetchError> for StepError {
    fn from(e: FetchError) -> Self {
        match e {
            FetchError::Cancelled => StepError::Cancelled,
            FetchError::Store(e) => e.into(),
            e => StepError::Infrastructure(e.into()),
        }
    }
}

infrastructure! { StoreError SandboxError PlatformError StepLogError FactsError }

/// Makes an error of the system an [`Infrastructure::Io`].
pub(super) fn failed_to(
    action: &'static str,
    path: &std::path::Path,
) -> impl FnOnce(std::io::Error) -> Infrastructure {
    let path = path.to_owned();
    move |source| Infrastructure::Io {
        action,
        path,
        source,
    }
}
