//! `mstore seed`

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_store::{ImportOptions, TarOptions};

use crate::cli::context::Context;
use crate::cli::imports::{Outside, address, from_outside, name_of, not_empty, pinned, refused};
use crate::cli::pins;
use crate::cli::watch::Watch;
use crate::cli::{Failure, output};
use crate::plan::{Pin, PinKind};
use crate::project::clock;
use crate::project::provide;

/// Make, import or list seeds
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the seeds of the lock file: name, tree, date, origin
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Import a root file system from an archive (plain, .gz, .bz2, .xz or .zst), a folder or an address
    Import {
        /// The archive, or a folder; - for an archive on standard input; https://, http:// or file:/// for one
        /// that is fetched, and that the lock file remembers
        #[arg(value_name = "FILE|URL")]
        archive: PathBuf,
        /// Digest of an archive that is fetched, such as sha256:HEX
        #[arg(long, value_name = "ALGORITHM:HEX")]
        hash: Option<String>,
        /// Name in the lock file [default: the file's name without its endings]
        #[arg(long)]
        name: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Capture a minimal root file system with a C compiler from this machine
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
        Command::List { json } => pins::list(context, PinKind::Seed, json),
        Command::Import {
            archive,
            hash,
            name,
            json,
        } => match address(&archive) {
            Some(url) => from_outside(
                context,
                &Outside {
                    kind: PinKind::Seed,
                    url,
                    hash: hash.as_deref(),
                    revision: None,
                    epoch: None,
                    name: name.as_deref(),
                    json,
                },
            ),
            None => import(context, &archive, hash.as_deref(), name, json),
        },
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
    hash: Option<&str>,
    name: Option<String>,
    json: bool,
) -> Result<ExitCode, Failure> {
    if hash.is_some() {
        return Err(Failure::usage("--hash is for an archive that is fetched"));
    }
    let name = match name {
        Some(name) => name,
        None => name_of(file)?,
    };
    let mut project = context.project_to_pin()?;
    let options = TarOptions::default();
    let imported = if file == Path::new("-") {
        project.store.import_tar(std::io::stdin(), &options)
    } else if file.is_dir() {
        project.store.import_dir(file, &ImportOptions::default())
    } else {
        let input = File::open(file)
            .map_err(|e| Failure::usage(format!("cannot open {}: {e}", file.display())))?;
        project.store.import_tar(input, &options)
    };
    let imported = imported.map_err(|e| refused(e, file))?;
    not_empty(&imported, file)?;
    let mut pin = Pin::new(imported.tree, Some(clock::today()));
    pin.origin = file.file_name().map(|n| n.to_string_lossy().into_owned());
    pinned(
        &mut project,
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

fn host(
    context: &Context,
    name: Option<String>,
    dry_run: bool,
    json: bool,
) -> Result<ExitCode, Failure> {
    let name = name.unwrap_or_else(|| format!("host/{}", crate::build::host::machine()));
    if dry_run {
        let found = provide::survey(&Watch::new(json))?;
        if json {
            let paths = found
                .items()
                .map(|(path, _)| format!("/{}", path.display()));
            output::json_pretty(&serde_json::json!({
                "paths": paths.collect::<Vec<_>>(),
                "bytes": found.bytes(),
            }))?;
            return Ok(ExitCode::SUCCESS);
        }
        for (path, _) in found.items() {
            output::line(format!("/{}", path.display()))?;
        }
        tell!("{} entries, {}", found.len(), output::size(found.bytes()));
        return Ok(ExitCode::SUCCESS);
    }
    let mut project = context.project_to_pin()?;
    let pin = project.capture_host(&Watch::new(json))?;
    pinned(
        &mut project,
        PinKind::Seed,
        &name,
        pin,
        json,
        "captured from this machine",
    )
}
