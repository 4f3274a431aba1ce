//! Importing seeds and snapshots: names, refusals, and the pin that comes of it.

use std::path::Path;
use std::process::ExitCode;

use mstore_store::tar::{EntryFault, TarError};
use mstore_store::{ErrorKind, StoreError};

use super::{Failure, output};
use crate::plan::{Pin, PinKind};
use crate::project::Project;

/// What to do about an archive that is not as it was published.
const DAMAGED: &str =
    "nothing was imported; get the archive anew and compare its checksum with the publisher's";
/// What to do about an archive that is whole.
const UNFIT: &str =
    "nothing was imported; make the archive without this, or unpack it and import the folder";

/// Why an archive was not imported.
pub fn refused(error: StoreError, archive: &Path) -> Failure {
    let hint = match &error {
        StoreError::Tar(TarError::Entry { fault, .. }) if is_honest(fault) => UNFIT,
        other if other.kind() == ErrorKind::Input => DAMAGED,
        _ => return Failure::from(error).about(archive),
    };
    Failure::from(error).about(archive).hint(hint)
}

/// Whether tools write such entries when they are asked to, so that the archive may be as it was meant.
fn is_honest(fault: &EntryFault) -> bool {
    matches!(
        fault,
        EntryFault::Acl { .. }
            | EntryFault::Duplicate { .. }
            | EntryFault::NumberTooLarge { .. }
            | EntryFault::TooDeep { .. }
            | EntryFault::TooLong { .. }
            | EntryFault::Unsupported { .. }
            | EntryFault::Whiteout
            | EntryFault::Xattr { .. }
    )
}

/// Pins an imported tree and prints it.
pub fn pinned(
    project: &mut Project,
    kind: PinKind,
    name: &str,
    pin: Pin,
    json: bool,
    details: &str,
) -> Result<ExitCode, Failure> {
    let tree = pin.tree;
    let before = project.set_pin(kind, name, pin)?;
    if json {
        output::json(&serde_json::json!({
            "kind": kind.to_string(),
            "name": name,
            "tree": tree.to_string(),
            "before": before.map(|t| t.to_string()),
        }))?;
    } else {
        let what = match before {
            Some(old) if old == tree => "unchanged",
            Some(_) => "changed",
            None => "new",
        };
        tell!("{kind} {name}: {what}; {details}");
        output::line(tree)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The name of an archive or folder without folders and endings.
pub fn name_of(path: &Path) -> Result<String, Failure> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let mut name = name.as_str();
    for ending in [".gz", ".bz2", ".xz", ".zst", ".tgz", ".txz", ".tar", ".git"] {
        name = name.strip_suffix(ending).unwrap_or(name);
    }
    if name.is_empty() || name == "-" {
        Err(
            Failure::usage(format!("{} has no name to pin", path.display()))
                .hint("give one with --name"),
        )
    } else {
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_are_no_part_of_a_name() {
        assert_eq!(
            name_of(Path::new("a/stage3-corei7.tar.xz")).unwrap(),
            "stage3-corei7"
        );
        assert_eq!(name_of(Path::new("seed.tgz")).unwrap(), "seed");
        assert!(name_of(Path::new("-")).is_err());
        assert!(name_of(Path::new("..")).is_err());
    }
}
