//! `mstore store`

mod look;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use mstore_store::VerifyOptions;

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::output;
use crate::cli::repack::{repacked, status};
use crate::project::Access;
use look::{Find, Roots, Where};

/// Look after the store
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List a directory of a tree
    Ls {
        #[command(flatten)]
        at: Where,
        /// List what is below as well
        #[arg(long, short)]
        recursive: bool,
    },
    /// Write a file of a tree to standard output
    Cat {
        /// A target, seed/NAME, snapshot/NAME, a gc root, or the hash of a tree or its beginning, and a path in it
        #[arg(value_name = "TREE:PATH")]
        at: OsString,
    },
    /// Show everything about one entry of a tree
    Stat(Where),
    /// Show how much space a tree uses, and how much of it is shared
    Du(Where),
    /// Print the folder in which a tree lies on disk, checking it out if need be
    Path(Where),
    /// Find the trees that have a directory, a content or a name of a file
    Find(Find),
    /// Print store statistics
    Info {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look after gc roots, the names that keep trees
    #[command(subcommand)]
    Root(Roots),
    /// Read everything again and compare it with its name
    Verify {
        /// Check indexes and references only, not contents
        #[arg(long)]
        quick: bool,
        /// Fetch what is damaged again from the caches of the configuration file, else forget it, so
        /// that it is built anew
        #[arg(long)]
        repair: bool,
        /// Compare what was written out with its trees too: checkouts, layers that builds left, and
        /// files that farms link to
        #[arg(long)]
        checkouts: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Compress well what imports and builds compressed fast; may be interrupted at any time
    Repack {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command. Exits with 1 when something is wrong or nothing was found.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Ls { at, recursive } => look::ls(context, &at, recursive),
        Command::Cat { at } => look::cat(context, &at),
        Command::Stat(at) => look::stat(context, &at),
        Command::Du(at) => look::du(context, &at),
        Command::Path(at) => look::path(context, &at),
        Command::Find(what) => look::find(context, &what),
        Command::Info { json } => look::info(context, json),
        Command::Root(command) => look::roots(context, &command),
        Command::Verify {
            quick,
            repair,
            checkouts,
            json,
        } => {
            let options = VerifyOptions {
                quick,
                repair,
                checkouts,
                keep_names: false,
            };
            verify::verify(context, options, json)
        }
        Command::Repack { json } => repack(context, json),
    }
}

fn repack(context: &Context, json: bool) -> Result<ExitCode, Failure> {
    context.enter()?;
    let store = context.store(Access::Change)?;
    let cancel = context.cancel()?;
    let (done, text) = repacked(&store, cancel)?;
    if json {
        output::json_pretty(&serde_json::json!({
            "packs": done.packs,
            "before": done.before,
            "after": done.after,
            "complete": done.complete,
        }))?;
    } else {
        output::line(text)?;
    }
    Ok(status(&done, cancel))
}
