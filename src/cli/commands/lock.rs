//! `mstore lock`

use std::process::ExitCode;

use mstore_store::TreeHash;

use crate::cli::context::Context;
use crate::cli::{Failure, output, provide};
use crate::plan::{How, Lock, Pin, PinKind};
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
            provide::set(
                &mut project,
                kind,
                name,
                Pin::new(tree, Some(clock::today())),
            )?;
        }
    }
    for name in &args.remove {
        remove(&mut project, name)?;
    }
    for name in &args.update {
        update(&mut project, name)?;
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
        Err(e) => Err(Failure::usage(format!("`{tree}` is no tree: {e}"))),
    }
}

fn remove(project: &mut Project, name: &str) -> Result<(), Failure> {
    let path = project.lock_path();
    let (lock, found) = Lock::update(project.distribution.files(), &path, |lock| {
        let seed = lock.remove(PinKind::Seed, name);
        let snapshot = lock.remove(PinKind::Snapshot, name);
        Ok(seed.or(snapshot).is_some())
    })?;
    if !found {
        return Err(Failure::usage(format!("the lock file has no `{name}`")));
    }
    project.lock = lock;
    Ok(project.keep_pins()?)
}

/// Gets again what mstore can get by itself.
fn update(project: &mut Project, name: &str) -> Result<(), Failure> {
    let index = project.distribution.index();
    let all: Vec<_> = index.all_of(&index.default_build).collect();
    let recipes = project.recipes(&all)?;
    // As if it were not there; the old pin stays until the new one is made.
    let mut without = project.lock.clone();
    without.remove(PinKind::Seed, name);
    without.remove(PinKind::Snapshot, name);
    let need: Vec<_> = recipes
        .needs(&without)
        .into_iter()
        .filter(|n| n.name == name)
        .collect();
    match need.first().map(|n| &n.how) {
        None => Err(Failure::usage(format!(
            "no target uses a seed or snapshot called `{name}`"
        ))),
        Some(How::Import(hint)) => {
            Err(Failure::usage(format!("mstore cannot get `{name}` by itself")).hint(hint))
        }
        Some(_) => provide::provide(project, &recipes, &need, false),
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
