//! `mstore repo`, and what the program is when it is called `buildrepo`.

mod desk;
mod next;
mod publish;
mod push;
mod rotation;
mod upkeep;

use std::process::ExitCode;

use crate::cli::Failure;
use crate::cli::context::Context;
use desk::{Desk, Options};

/// Keep a mirror: what is built next, what failed, hashes, index, cleaning
///
/// Reads `~/.buildbot` as buildrepo did; the program called `buildrepo` takes the same verbs. See doc/repository.md.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(clap::Subcommand)]
enum Verb {
    /// Print the build that comes next, for a shell to evaluate; nothing, and status 1, if there is none
    Nextbuild(rotation::Nextbuild),
    /// Build what comes next, publish it, and count a failure
    Next(next::Next),
    /// Build a subarch whatever comes next, publish it, and count a failure
    Build(next::Build),
    /// Put targets that are built into the mirror
    Publish(publish::Publish),
    /// Push the newest builds of the rotation to another mirror
    Push(push::Push),
    /// Take builds that are pushed here, over standard input and output
    #[command(hide = true)]
    Receive,
    /// List every managed subarch: fail count, day of the newest build, path
    Fails,
    /// Remove fail counts, so that what failed is tried again
    Zap,
    /// List the subarches of the rotation that never were built
    Empties,
    /// Print a shell script that removes old builds, what came to nothing, and old snapshots
    Clean(upkeep::Clean),
    /// Make hash files beside archives, and remove those whose archive is gone
    Digestgen,
    /// Write index.xml into the root of the mirror: every build that can be downloaded
    #[command(name = "index.xml")]
    IndexXml,
    /// Compress archives that are marked with .cme, below a folder
    Compress(upkeep::Compress),
    /// Print the configuration as Metro text
    ImportBuildbot,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let desk = Desk::new(context, args.options)?;
    match args.verb {
        Verb::Nextbuild(args) => rotation::nextbuild(&desk, args),
        Verb::Next(args) => next::next(&desk, args),
        Verb::Build(args) => next::build(&desk, args),
        Verb::Publish(args) => publish::publish(&desk, args),
        Verb::Push(args) => push::push(&desk, args),
        Verb::Receive => push::receive(&desk),
        Verb::Fails => rotation::fails(&desk),
        Verb::Zap => rotation::zap(&desk),
        Verb::Empties => rotation::empties(&desk),
        Verb::Clean(args) => upkeep::clean(&desk, args),
        Verb::Digestgen => upkeep::digestgen(&desk),
        Verb::IndexXml => upkeep::index_xml(&desk),
        Verb::Compress(args) => upkeep::compress(&desk, args),
        Verb::ImportBuildbot => upkeep::import_buildbot(&desk),
    }
}
