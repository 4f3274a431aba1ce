//! `mstore metro`, and what the program is when it is called `metro`: runs of targets over a mirror.

mod job;
mod preview;
mod run;
mod settings;
mod snapshot;
mod target;
mod under;
mod view;

use std::num::NonZeroU16;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::context::Context;
use crate::cli::{Failure, output, spec};
use job::Job;
use settings::Settings;

/// Build targets over a mirror, as metro did
///
/// Reads ~/.metro where it is there (else the entry file as every command), builds the targets of `multi/mode` and
/// `multi/extras` with `multi: yes`, or else that of `target`, one after the other, each from an archive of the mirror,
/// and puts archives, logs, links and version files where metro put them. What is there already is skipped. The
/// program called `metro` does the same. See doc/metro.md.
///
/// For example: mstore metro multi: yes multi/mode: full target/build: funtoo-current target/arch_desc: x86-64bit
/// target/subarch: corei7 target/version: 2015-02-20
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub struct Args {
    /// Definitions that replace those of the entry file
    #[arg(value_name = "NAME: VALUE")]
    definitions: Vec<String>,
    /// Entry file of the specifications [default: ~/.metro, else metro.conf here or in the nearest folder above, else
    /// the standard ones]
    // Declared once more because `-f` is another option here, as it was of metro.
    #[arg(long = "file", id = "file", global = true, value_name = "FILE")]
    _file: Option<PathBuf>,
    /// Name the files that are read, and print every line that steps print
    #[arg(short, long)]
    debug: bool,
    /// Print all elements of each target
    #[arg(short = 'f', long, conflicts_with = "json")]
    debug_flexdata: bool,
    /// Tell which configuration is used, and what each target starts from
    #[arg(short, long)]
    verbose: bool,
    /// Print the value of one element and do nothing else
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["json", "dry_run", "debug_flexdata"])]
    key: Option<String>,
    /// Print what would be built and do nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Steps to build at a time [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<NonZeroU16>,
    /// Print only errors and results
    #[arg(short, long)]
    quiet: bool,
    /// Do not ask the caches of the configuration file
    #[arg(long)]
    no_substitute: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    // Must come before the first thread. That it failed matters only if something is to be built.
    let asks = args.key.is_some() || args.dry_run;
    let entered = (!asks).then(|| context.enter());
    let settings = Settings::load(context, &args.definitions)?;
    if args.verbose || args.debug {
        tell!(
            "Using main configuration file {}",
            settings.entry().display()
        );
    }
    if args.debug {
        for path in settings.spec.collected() {
            tell!("read {}", path.display());
        }
    }
    if let Some(key) = &args.key {
        let value = match settings.spec.is_defined(key) {
            true => spec::value(&settings.spec, key)?,
            false => match settings.of_metro()? {
                Some(elements) => spec::value(elements.spec(), key)?,
                None => {
                    settings.whole()?;
                    spec::value(&settings.spec, key)?
                }
            },
        };
        output::line(value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(wanted) = settings.wanted()? else {
        if args.debug_flexdata {
            settings.whole()?;
            return settings::dump(&settings.spec);
        }
        return Err(Failure::usage("it is not said what is to be built").hint(
            "give `multi: yes` with `multi/mode: full` (or freshen, quick, ...), or `target: stage3`",
        ));
    };
    let job = Job::new(context, &args, settings, wanted)?;
    match entered {
        None => preview::print(&job),
        Some(entered) => run::all(&job, entered),
    }
}
