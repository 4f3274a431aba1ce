//! `mstore snapshot`

mod taken;

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::ExitCode;

use mstore_store::tar::StripTop;
use mstore_store::{GitOptions, ImportOptions, Mtime, TarOptions};

use crate::cli::context::Context;
use crate::cli::imports::{Outside, address, from_outside, name_of, not_empty, pinned, refused};
use crate::cli::{Failure, output, pins};
use crate::plan::{Pin, PinKind};
use crate::project::clock;

/// Import or list snapshots
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the snapshots of the lock file: name, tree, date, origin
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Import a ports tree from a folder, a revision of a git repository, an archive or an address
    Import(Import),
}

#[derive(clap::Args)]
struct Import {
    /// A folder, a git repository or an archive; https://, http:// or file:/// for an archive that is fetched,
    /// git+https://, git+http://, git:// or git+file:/// for a repository elsewhere: the lock file remembers them
    #[arg(value_name = "DIR|GIT|TARBALL|URL")]
    from: PathBuf,
    /// Digest of an archive that is fetched, such as sha256:HEX
    #[arg(long, value_name = "ALGORITHM:HEX")]
    hash: Option<String>,
    /// Name in the lock file [default: the last part of the path without endings]
    #[arg(long)]
    name: Option<String>,
    /// Revision of a git repository; without it a folder is taken as it is, a bare repository at
    /// HEAD. Of a repository elsewhere a branch, or the whole hash of a commit
    #[arg(long, value_name = "REV")]
    rev: Option<String>,
    /// Time stamp of everything in the snapshot, which is SOURCE_DATE_EPOCH in builds, in seconds
    /// since 1970 [default: 1980-01-01, so that only content counts]
    #[arg(long, value_name = "SECONDS")]
    epoch: Option<i64>,
    /// Keep the single top folder of an archive
    #[arg(long)]
    keep_top: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::List { json } => pins::list(context, PinKind::Snapshot, json),
        Command::Import(args) => import(context, &args),
    }
}

fn import(context: &Context, args: &Import) -> Result<ExitCode, Failure> {
    if let Some(url) = address(&args.from) {
        if args.keep_top {
            let text = "--keep-top cannot be remembered with an address";
            return Err(Failure::usage(text).hint("import the archive as a file"));
        }
        return from_outside(
            context,
            &Outside {
                kind: PinKind::Snapshot,
                url,
                hash: args.hash.as_deref(),
                revision: args.rev.as_deref(),
                epoch: args.epoch,
                name: args.name.as_deref(),
                json: args.json,
            },
        );
    }
    if args.hash.is_some() {
        return Err(Failure::usage("--hash is for an archive that is fetched"));
    }
    let from = args.from.as_path();
    let absent = |e| {
        Failure::usage(format!("cannot find {}: {e}", from.display()))
            .hint("give the path of a folder, a git repository or an archive")
    };
    let name = match &args.name {
        Some(name) => name.clone(),
        None => {
            let whole = fs::canonicalize(from).map_err(absent)?;
            name_of(&whole)?
        }
    };
    let meta = fs::metadata(from).map_err(absent)?;
    let mut project = context.project_to_pin()?;
    let mtime = args
        .epoch
        .map_or(ImportOptions::SNAPSHOT_MTIME, |secs| Mtime {
            secs,
            nanos: 0,
        });
    let bare = meta.is_dir() && from.join("HEAD").is_file() && from.join("objects").is_dir();
    let revision = args.rev.as_deref().or(bare.then_some("HEAD"));
    let (imported, date, origin) = if let Some(revision) = revision {
        let options = GitOptions {
            normalise: Some(mtime),
            ..GitOptions::default()
        };
        let git = project.store.import_git(from, revision, &options)?;
        for path in &git.submodules {
            let path = output::escaped(path);
            tell!("note: {path} is a submodule; it is an empty folder in the snapshot");
        }
        for path in &git.lfs_pointers {
            let path = output::escaped(path);
            tell!(
                "note: {path} is in Git LFS; in the snapshot it is the pointer, without the content"
            );
        }
        (
            git.imported,
            clock::date(git.date),
            format!("git {}", git.commit),
        )
    } else if meta.is_dir() {
        let options = ImportOptions {
            normalise: Some(mtime),
            // What git keeps beside the sources is not part of them.
            exclude: vec![".git".into()],
            ..ImportOptions::default()
        };
        let imported = project
            .store
            .import_dir(from, &options)
            .map_err(|e| Failure::from(e).about(from))?;
        taken::tell(&project.store, imported.tree, from)?;
        (imported, clock::today(), "folder".to_owned())
    } else {
        let input = File::open(from)
            .map_err(|e| Failure::usage(format!("cannot open {}: {e}", from.display())))?;
        let imported = project
            .store
            .import_tar(input, &tar_options(mtime, !args.keep_top))
            .map_err(|e| refused(e, from))?;
        (imported, clock::today(), "archive".to_owned())
    };
    not_empty(&imported, from)?;
    let mut pin = Pin::new(imported.tree, Some(date));
    pin.epoch = args.epoch;
    pin.origin = Some(origin);
    let details = format!(
        "{} entries, {}; the store grew by {}",
        imported.entries,
        output::size(imported.bytes),
        output::size(imported.new_bytes)
    );
    pinned(
        &mut project,
        PinKind::Snapshot,
        &name,
        pin,
        args.json,
        &details,
    )
}

fn tar_options(mtime: Mtime, strip: bool) -> TarOptions {
    TarOptions {
        normalise: Some(mtime),
        strip_top: if strip {
            StripTop::IfSingle
        } else {
            StripTop::No
        },
        ..TarOptions::snapshot()
    }
}
