//! Reads everything again and compares it with its name.

use crate::{Hash, Store, StoreError};

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Forgets damaged objects and the realisations that need them, so that they are built anew.
    pub repair: bool,
    /// Checks indexes and references only, not contents.
    pub quick: bool,
}

/// One thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file of the store, if the fault is in one.
    pub file: Option<String>,
    /// The object, if the fault is in one.
    pub object: Option<Hash>,
    /// What is wrong.
    pub detail: String,
    /// Names of realisations and roots that need it.
    pub affects: Vec<String>,
}

/// The outcome of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Objects looked at.
    pub objects: u64,
    /// Bytes of content hashed.
    pub bytes: u64,
    /// All faults, in a fixed order.
    pub faults: Vec<Fault>,
    /// Keys of realisations that were forgotten.
    pub forgotten: Vec<Hash>,
}

impl Store {
    /// Checks the whole store, going on after each fault; `visitor` sees each as it is found.
    pub fn verify(
        &self,
        _options: &VerifyOptions,
        _visitor: &mut dyn FnMut(&Fault),
    ) -> Result<VerifyReport, StoreError> {
        Err(self.writable("x").err().unwrap_or(StoreError::BadName {
            name: String::new(),
            reason: "not yet written",
        }))
    }
}
