//! What ends a worker that is not the build's fault, and the number by which whoever started it knows it.

use std::fmt;
use std::io;

use mstore_store::{ErrorKind, StoreError};

use crate::build::error::Infrastructure;
use crate::share::bundle::{CutError, JoinError};

/// What ended a worker that is not to blame on the build; the number is its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Something that no other number is for.
    Other = 100,
    /// The machine cannot isolate builds.
    Sandbox = 101,
    /// The job cannot be understood, or asks for what this version does not do.
    Job = 102,
    /// A bundle is lacking or is not what it should be.
    Bundles = 103,
    /// The disk is full.
    Room = 104,
    /// The store failed.
    Store = 105,
    /// This machine cannot run the step's programs.
    Platform = 106,
    /// Somebody ended it.
    Cancelled = 110,
}

/// A failure of the machine, of the store, or of what was sent. Never the build's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which kind.
    pub code: Code,
    /// What is wrong, for people.
    pub what: String,
}

impl Trouble {
    /// Says what is wrong.
    pub fn new(code: Code, what: impl Into<String>) -> Trouble {
        Trouble {
            code,
            what: what.into(),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Trouble {}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Trouble {
        let code = match error.kind() {
            ErrorKind::NoSpace => Code::Room,
            _ => Code::Store,
        };
        Trouble::new(code, error.to_string())
    }
}

impl From<JoinError> for Trouble {
    fn from(error: JoinError) -> Trouble {
        match error {
            JoinError::Store(error) => error.into(),
            JoinError::Get { ref source, .. } if source.kind() == io::ErrorKind::Interrupted => {
                cancelled()
            }
            other => Trouble::new(Code::Bundles, other.to_string()),
        }
    }
}

impl From<CutError> for Trouble {
    fn from(error: CutError) -> Trouble {
        match error {
            CutError::Store(error) => error.into(),
            CutError::Taken(ref source) if source.kind() == io::ErrorKind::StorageFull => {
                Trouble::new(Code::Room, error.to_string())
            }
            other => Trouble::new(Code::Other, other.to_string()),
        }
    }
}

impl From<Infrastructure> for Trouble {
    fn from(error: Infrastructure) -> Trouble {
        let code = match &error {
            error if error.is_disk_full() => Code::Room,
            Infrastructure::Sandbox(_) => Code::Sandbox,
            Infrastructure::Platform(_) => Code::Platform,
            Infrastructure::Store(_) => Code::Store,
            Infrastructure::Inputs { .. } => Code::Job,
            _ => Code::Other,
        };
        Trouble::new(code, error.to_string())
    }
}

/// Somebody wants it to end.
pub(super) fn cancelled() -> Trouble {
    Trouble::new(Code::Cancelled, "it was ended from outside")
}
