//! `mstore seed`

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_store::tar::{EntryFault, TarError};
use mstore_store::{ErrorKind, ImportOptions, StoreError, TarOptions};

use crate::cli::context::{Context, Session};
use crate::cli::{Failure, output, provide};
use crate::plan::{Pin, PinKind};

/// Make or import seeds
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Import a root file system from an archive (plain, .gz, .bz2, .xz or .zst) or a folder
    Import {
        /// The archive, or a folder; - for an archive on standard input
        #[arg(value_name = "FILE")]
        archive: PathBuf,
        /// Name in the lock file [default: the file's name without its endings]
        #[arg(long)]
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Capture a minimal root with a C compiler from this machine
    Host {
        /// Name in the lock file [default: host/ and the machine, such as host/x86_64]
        #[arg(long)]
        name: Option<String>,
        /// Only list what would be captured
        #[arg(long, short = 'n')]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Import {
            archive,
            name,
            json,
        } => import(context, &archive, name, json),
        Command::Host {
            name,
            dry_run,
            json,
        } => host(context, name, dry_run, json),
    }
}

fn import(
    context: &Context,
    file: &Path,
    name: Option<String>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let name = match name {
        Some(name) => name,
        None => name_of(file)?,
    };
    let mut session = provide::session(context)?;
    let options = TarOptions::default();
    let imported = if file == Path::new("-") {
        session.store.import_tar(std::io::stdin(), &options)
    } else if file.is_dir() {
        session.store.import_dir(file, &ImportOptions::default())
    } else {
        let input = File::open(file)
            .map_err(|e| Failure::usage(format!("cannot open {}: {e}", file.display())))?;
        session.store.import_tar(input, &options)
    };
    let imported = imported.map_err(|e| refused(e, file))?;
    let mut pin = Pin::new(imported.tree, Some(provide::today()));
    pin.origin = file.file_name().map(|n| n.to_string_lossy().into_owned());
    pinned(
        &mut session,
        PinKind::Seed,
        &name,
        pin,
        json,
        &format!(
            "{} entries, {}; the store grew by {}",
            imported.entries,
            output::size(imported.bytes),
            output::size(imported.new_bytes)
        ),
    )
}

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

fn host(
    context: &Context,
    name: Option<String>,
    dry_run: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let name = name.unwrap_or_else(|| format!("host/{}", crate::build::host::machine()));
    if dry_run {
        let found = provide::survey(json)?;
        for (path, _) in found.items() {
            output::line(format!("/{}", path.display()))?;
        }
        tell!("{} entries, {}", found.len(), output::size(found.bytes()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut session = provide::session(context)?;
    let pin = provide::host_seed(&session, json)?;
    pinned(
        &mut session,
        PinKind::Seed,
        &name,
        pin,
        json,
        "captured from this machine",
    )
}

/// Pins an imported tree and prints it.
pub fn pinned(
    session: &mut Session,
    kind: PinKind,
    name: &str,
    pin: Pin,
    json: bool,
    details: &str,
) -> Result<ExitCode, Failure> {
    let tree = pin.tree;
    let before = provide::set(session, kind, name, pin)?;
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
