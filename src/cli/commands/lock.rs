//! `mstore lock`

use std::process::ExitCode;

use mstore_store::TreeHash;

use crate::cli::context::Context;
use crate::cli::watch::Watch;
use crate::cli::{Failure, output};
use crate::plan::{Pin, PinKind};
use crate::project::Access;
use crate::project::Project;
use crate::project::clock;
use crate::project::find;

/// Show or change metro.lock
#[derive(clap::Args)]
pub struct Args {
    /// Names to make anew: a seed that is captured from this machine is captured again
    #[arg(long, value_name = "NAME", num_args = 1..)]
    update: Vec<String>,
    /// Pin a seed to a tree that the store has, as NAME=TREE
    #[arg(long, value_name = "NAME=TREE")]
    seed: Vec<String>,
    /// Pin a snapshot to a tree that the store has, as NAME=TREE
    #[arg(long, value_name = "NAME=TREE")]
    snapshot: Vec<String>,
    /// Remove a name
    #[arg(long, value_name = "NAME")]
    remove: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let changes = !(args.update.is_empty()
        && args.seed.is_empty()
        && args.snapshot.is_empty()
        && args.remove.is_empty());
    let mut project = if changes {
        context.project_to_pin()?
    } else {
        context.project(Access::ReadIfPresent)?
    };
    for (kind, pins) in [
        (PinKind::Seed, &args.seed),
        (PinKind::Snapshot, &args.snapshot),
    ] {
        for pin in pins {
            let (name, tree) = parse(&project, pin)?;
            project.set_pin(kind, name, Pin::new(tree, Some(clock::today())))?;
        }
    }
    for name in &args.remove {
        project.remove_pin(name)?;
    }
    for name in &args.update {
        project.renew_pin(name, &Watch::new(false))?;
    }
    show(&project, args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn parse<'a>(project: &Project, pin: &'a str) -> Result<(&'a str, TreeHash), Failure> {
    let (name, tree) = pin
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("`{pin}` is not of the form NAME=TREE")))?;
    if find::is_prefix(tree) {
        return Ok((name, find::one_tree(&project.store, tree)?));
    }
    match tree.parse::<TreeHash>() {
        Ok(tree) => Err(Failure::usage(format!(
            "the store does not have the tree {tree}"
        ))),
        Err(e) => Err(Failure::usage(format!("`{tree}` is not a tree: {e}"))),
    }
}

fn show(project: &Project, json: bool) -> Result<(), Failure> {
    if json {
        let all: Vec<_> = project
            .lock
            .pins()
            .map(|(kind, name, pin)| {
                serde_json::json!({
                    "kind": kind.to_string(),
                    "name": name,
                    "tree": pin.tree.to_string(),
                    "date": pin.date,
                    "epoch": pin.epoch,
                    "origin": pin.origin,
                })
            })
            .collect();
        return output::json_pretty(&all);
    }
    let path = project.lock_path();
    tell!("{}", path.display());
    for (kind, name, pin) in project.lock.pins() {
        output::line(format!(
            "{kind} {name} {} {}",
            pin.tree,
            pin.date.as_deref().unwrap_or("-")
        ))?;
    }
    Ok(())
}
