//! The check of this machine: one sandbox set up and taken down.

use std::path::Path;

use super::platform::{KNOWN, machine, runs};
use crate::build::sandbox::{Sandbox, SandboxError};

/// What this machine can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCapabilities {
    /// `uname -m`.
    pub machine: String,
    /// `uname -r`.
    pub kernel: String,
    /// Platforms whose programs run here, this machine's own first.
    pub platforms: Vec<String>,
}

/// Sets up a sandbox once (in an existing scratch directory on the store's file system) to see
/// whether builds can run here at all.
pub fn check(sandbox: &Sandbox, scratch: &Path) -> Result<HostCapabilities, SandboxError> {
    sandbox.probe(scratch)?;
    let name = rustix::system::uname();
    let platforms = KNOWN
        .iter()
        .map(|k| k.machine)
        .filter(|platform| runs(platform).is_ok());
    let mut all = vec![machine()];
    all.extend(
        platforms
            .filter(|p| *p != all[0])
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    );
    Ok(HostCapabilities {
        machine: machine(),
        kernel: name.release().to_string_lossy().into_owned(),
        platforms: all,
    })
}
