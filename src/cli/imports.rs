//! Importing seeds and snapshots: names, refusals, and the pin that comes of it.

use std::path::Path;
use std::process::ExitCode;

use mstore_store::compress::{CompressError, Format};
use mstore_store::tar::{EntryFault, TarError};
use mstore_store::{ErrorKind, StoreError};

use super::{Failure, output};
use crate::plan::{Pin, PinKind};
use crate::project::Project;

/// What to do about an archive that is not as it was published.
const DAMAGED: &str =
    "nothing was imported; get the archive anew and compare its checksum with the publisher's";
/// What to do about names in access lists.
const ACL_NAMES: &str = "nothing was imported; unpack it where these users exist (`tar --acls -xpf ARCHIVE -C DIR`) and import the folder, or make the archive with `bsdtar`, which writes numbers";
/// What to do about an archive that is whole, and larger than is taken.
const LARGE: &str =
    "nothing was imported, and the archive may be whole; unpack it and import the folder";
/// What to do about an archive that is whole.
const UNFIT: &str =
    "nothing was imported; make the archive without this, or unpack it and import the folder";

/// Why an archive was not imported.
pub fn refused(error: StoreError, archive: &Path) -> Failure {
    let hint = match &error {
        StoreError::Tar(TarError::Compressed(
            CompressError::Bomb { format, .. } | CompressError::Memory { format, .. },
        )) => {
            let hint = decompress_first(*format);
            return Failure::from(error).about(archive).hint(hint);
        }
        StoreError::Tar(TarError::Entry { fault, .. }) if is_honest(fault) => match fault {
            EntryFault::AclName { .. } => ACL_NAMES,
            _ => UNFIT,
        },
        StoreError::Tar(TarError::TooMuch { .. }) => LARGE,
        other if other.kind() == ErrorKind::Input => DAMAGED,
        _ => return Failure::from(error).about(archive),
    };
    Failure::from(error).about(archive).hint(hint)
}

/// What to do about an archive that is whole, and costs more to decompress than is taken unasked.
fn decompress_first(format: Format) -> String {
    let command = match format {
        // The largest window that the format has.
        Format::Zstd => "zstd -d --long=31",
        Format::Xz => "xz -d -k",
        Format::Bzip2 => "bzip2 -d -k",
        Format::Gzip | Format::Plain => "gzip -d -k",
    };
    format!(
        "nothing was imported, and the archive may be whole; if it is what it should be, decompress it first (`{command} ARCHIVE`) and import the plain archive"
    )
}

/// Whether tools write such entries when they are asked to, so that the archive may be as it was meant.
fn is_honest(fault: &EntryFault) -> bool {
    matches!(
        fault,
        EntryFault::Acl { .. }
            | EntryFault::AclName { .. }
            | EntryFault::Duplicate { .. }
            | EntryFault::FileTooLarge { .. }
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
