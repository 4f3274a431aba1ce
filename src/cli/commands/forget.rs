//! `mstore forget`

use std::process::ExitCode;

use mstore_store::{Realisation, Root};

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::output::{self, Style, plural};
use crate::project::forget::{Holder, holders, roots_of};
use crate::project::{Access, Caches};

/// Forget what steps produced, and what was built on it here
///
/// For results that are not to be believed: the next `mstore realise` builds them again. Trees stay in the
/// store until `mstore gc` removes them. `mstore realise --rebuild` builds a target again and forgets nothing
/// before that succeeds.
#[derive(clap::Args)]
pub struct Args {
    /// Targets, steps as TARGET:STEP, or hashes of derivations, keys or trees
    #[arg(required = true, value_name = "TARGET[:STEP]")]
    targets: Vec<String>,
    /// Only show what would be forgotten
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Do not ask the caches of the configuration file what they have
    #[arg(long)]
    no_substitute: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let caches = match args.no_substitute {
        true => Caches::default(),
        false => Caches::start(&context.config()?, &context.reach())?,
    };
    context.enter()?;
    let project = context.project(match args.dry_run {
        true => Access::Read,
        false => Access::Change,
    })?;
    let results = project.results_on(&args.targets)?;
    let roots = roots_of(&project.store, &results)?;
    if !args.dry_run {
        project.store.forget_results(&results)?;
    }
    let holders = holders(&caches, &results);
    if args.json {
        print_json(&results, &roots, &holders, args.dry_run)?;
        return Ok(ExitCode::SUCCESS);
    }
    let verb = match args.dry_run {
        true => "would forget",
        false => "forgot",
    };
    for result in &results {
        output::line(format!(
            "{} {} {}",
            Style::stdout().error(verb),
            result.name,
            result.tree
        ))?;
    }
    if results.is_empty() {
        tell!("nothing to forget: no such step has a result here");
    }
    advise(&roots, &holders);
    Ok(ExitCode::SUCCESS)
}

/// Says where such results are still to be had.
fn advise(roots: &[Root], holders: &[Holder]) {
    let style = Style::stderr();
    for root in roots {
        tell!(
            "{} gc root {} still names {}",
            style.note("note:"),
            root.name,
            root.tree
        );
    }
    for holder in holders {
        match &holder.has {
            Ok(n) => tell!(
                "{} cache {} has {n} of these {}",
                style.note("note:"),
                holder.name,
                plural(*n, "result")
            ),
            Err(error) => tell!(
                "{} cache {} may have some of these results: {error}",
                style.note("note:"),
                holder.name
            ),
        }
    }
    if !holders.is_empty() {
        tell!(
            "{} `mstore realise --no-substitute` builds in place of taking them from there; other stores that were copied to are not known here",
            style.note("hint:")
        );
    }
}

fn print_json(
    results: &[Realisation],
    roots: &[Root],
    holders: &[Holder],
    dry_run: bool,
) -> Result<(), Failure> {
    let forgotten: Vec<_> = results
        .iter()
        .map(|r| {
            serde_json::json!({
                "kind": r.kind.word(),
                "name": r.name,
                "key": r.key.to_string(),
                "tree": r.tree.to_string(),
            })
        })
        .collect();
    let caches: Vec<_> = holders
        .iter()
        .map(|h| {
            serde_json::json!({
                "name": h.name,
                "has": h.has.as_ref().ok(),
                "error": h.has.as_ref().err().map(ToString::to_string),
            })
        })
        .collect();
    let roots: Vec<_> = roots.iter().map(|root| &root.name).collect();
    output::json_pretty(&serde_json::json!({
        "dry_run": dry_run,
        "forgotten": forgotten,
        "roots": roots,
        "caches": caches,
    }))
}
