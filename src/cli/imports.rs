//! Importing seeds and snapshots: names, refusals, and the pin that comes of it.

use std::path::Path;
use std::process::ExitCode;

use mstore_store::compress::{CompressError, Format};
use mstore_store::tar::{EntryFault, TarError};
use mstore_store::{ErrorKind, Imported, StoreError};

use super::context::Context;
use super::watch::Watch;
use super::{Failure, output};
use crate::drv::fetch::{Digest, is_commit};
use crate::plan::lock::is_branch;
use crate::plan::{Pin, PinKind};
use crate::project::remote::{Bring, Source};
use crate::project::{Project, ProjectError};

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

/// What was asked for from outside.
pub struct Outside<'a> {
    /// Seed or snapshot.
    pub kind: PinKind,
    /// The address.
    pub url: &'a str,
    /// The digest of an archive.
    pub hash: Option<&'a str>,
    /// The branch or commit of a git repository.
    pub revision: Option<&'a str>,
    /// The time stamp of everything in a snapshot.
    pub epoch: Option<i64>,
    /// The name in the lock file.
    pub name: Option<&'a str>,
    /// Whether to print JSON.
    pub json: bool,
}

/// The text of an address, if a path is one.
pub fn address(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains("://"))
}

/// Imports a seed or snapshot from outside, and pins it.
pub fn from_outside(context: &Context, wanted: &Outside<'_>) -> Result<ExitCode, Failure> {
    let source = source(wanted)?;
    let name = match wanted.name {
        Some(name) => name.to_owned(),
        None => {
            let path = wanted.url.split(['?', '#']).next().unwrap_or_default();
            name_of(Path::new(path.trim_end_matches('/')))?
        }
    };
    let config = context.config()?;
    let mut project = context.project_to_pin()?;
    let options = context.outside(&config);
    let watch = Watch::with_bar(false, wanted.json);
    let bring = Bring {
        options: &options,
        cancel: context.cancel()?,
        events: &watch,
    };
    let pin = project
        .import_outside(wanted.kind, &source, wanted.epoch, &bring)
        .map_err(|error| match error {
            ProjectError::Store(error) => refused(error, Path::new(wanted.url)),
            other => other.into(),
        })?;
    let from = pin.from.iter().flat_map(|from| from.elements());
    let from: Vec<String> = from
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    pinned(
        &mut project,
        wanted.kind,
        &name,
        pin,
        wanted.json,
        &from.join(", "),
    )
}

fn source(wanted: &Outside<'_>) -> Result<Source, Failure> {
    let url = wanted.url.to_owned();
    if !(url.starts_with("git+") || url.starts_with("git://")) {
        if wanted.revision.is_some() {
            return Err(Failure::usage(format!("{url} is not a git repository"))
                .hint("put git+ before its address: git+https://..."));
        }
        let Some(hash) = wanted.hash else {
            return Err(
                Failure::usage(format!("it is not said what {url} has to give")).hint(
                    "give --hash sha256:HEX (or sha512, blake2b, blake3), as the publisher has it",
                ),
            );
        };
        let hash: Digest = hash.parse().map_err(Failure::usage)?;
        return Ok(Source::Archive {
            url,
            hash: Some(hash),
        });
    }
    if wanted.kind == PinKind::Seed {
        return Err(Failure::usage(
            "a seed is an archive, and not a revision of a git repository",
        ));
    }
    if wanted.hash.is_some() {
        return Err(Failure::usage(
            "a git repository has commits: give one with --rev",
        ));
    }
    let (branch, commit) = match wanted.revision {
        None => (None, None),
        Some(text) if is_commit(text) => (None, Some(text.to_owned())),
        Some(text) if is_branch(text) => (Some(text.to_owned()), None),
        Some(text) => {
            return Err(Failure::usage(format!(
                "`{text}` is neither a branch nor the whole hash of a commit"
            )));
        }
    };
    Ok(Source::Git {
        url,
        branch,
        commit,
    })
}

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

/// Refuses an import of nothing, which is a mistaken path more often than it is meant.
pub fn not_empty(imported: &Imported, from: &Path) -> Result<(), Failure> {
    match imported.entries {
        0 => Err(
            Failure::usage("there is nothing in it, and nothing was imported")
                .about(from)
                .hint(
                    "give the folder that has the files; what git keeps (.git) is not among them",
                ),
        ),
        _ => Ok(()),
    }
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
    let lock = project.lock_path();
    if json {
        output::json(&serde_json::json!({
            "kind": kind.to_string(),
            "name": name,
            "tree": tree.to_string(),
            "before": before.map(|t| t.to_string()),
            "lock": lock.display().to_string(),
        }))?;
    } else {
        let what = match before {
            Some(old) if old == tree => "unchanged",
            Some(_) => "changed",
            None => "new",
        };
        tell!("{kind} {name}: {what} in {}; {details}", lock.display());
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
