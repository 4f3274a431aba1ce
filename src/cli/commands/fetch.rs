//! `mstore fetch`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::cli::Failure;
use crate::cli::args::{self, TrustArgs};
use crate::cli::blame;
use crate::cli::context::Context;
use crate::cli::output::{self, plural};
use crate::cli::watch::Watch;
use crate::project::realise::{Run, Until, bring};
use crate::project::{Access, Caches};
use crate::schedule::Leave;

/// Fetches at a time unless somebody says otherwise: servers are asked, not processors.
const JOBS: u16 = 4;

/// Bring what targets have fetched, and build nothing
#[derive(clap::Args)]
pub struct Args {
    /// Targets, such as stage3-corei7, or patterns, such as 'stage3-*'
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// Take files from the folder DIR where it has them; they are checked as if they came from elsewhere
    #[arg(long, value_name = "DIR")]
    from: Vec<PathBuf>,
    /// Things to fetch at a time [default: 4]
    #[arg(short, long, value_name = "N")]
    jobs: Option<std::num::NonZeroU16>,
    /// Do not ask the caches of the configuration file
    #[arg(long)]
    no_substitute: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print only errors
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let caches = match args.no_substitute {
        true => Caches::default(),
        false => Caches::start(&config, &context.reach())?,
    };
    let trust = args::trust(&config, &TrustArgs::default())?;
    // Must come before the first thread.
    let entered = context.enter();
    let mut project = context.project(Access::ChangeIfAllowed)?;
    let targets = project.targets(&args.targets)?;
    let cancel = context.cancel()?;
    let watch = Watch::with_bar(args.quiet, args.quiet || args.json);
    let mut outside = context.outside(&config);
    for folder in &args.from {
        if !folder.is_dir() {
            return Err(Failure::usage(format!(
                "{} is not a folder",
                folder.display()
            )));
        }
        outside.folders.push(folder.clone());
    }
    let run = Run {
        farm: None,
        site: None,
        jobs: args.jobs.map_or(JOBS, |n| n.get()).into(),
        processors: 1,
        limits: args::limits(&config),
        keep_going: true,
        until: &Until::default(),
        rebuild: false,
        read_inputs: false,
        outside: &outside,
        caches: &caches,
        trust: &trust,
        sign: None,
        cancel,
        leave: &Leave::default(),
        events: &watch,
        random: None,
        books: None,
    };
    let brought = bring(&mut project, &targets, &run, entered)?;
    if brought.outcome.cancelled {
        return Err(Failure::interrupted().hint("what came is kept; run it again to go on"));
    }
    if let Some((step, error)) = &brought.outcome.infrastructure {
        return Err(blame::run(step.as_ref(), error));
    }
    if args.json {
        output::json(&serde_json::json!({
            "fetched": brought.brought,
            "there": brought.there,
            "seconds": (brought.seconds * 1000.0).round() / 1000.0,
        }))?;
    } else if !args.quiet {
        let all = brought.brought + brought.there;
        tell!(
            "{} {} fetched, {} there before",
            brought.brought,
            plural(brought.brought, "thing"),
            all - brought.brought
        );
    }
    Ok(ExitCode::SUCCESS)
}
