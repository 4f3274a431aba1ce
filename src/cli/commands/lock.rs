//! `mstore lock`

use std::process::ExitCode;

use mstore_store::TreeHash;

use crate::cli::context::{Context, Session};
use crate::cli::{Failure, object, output, provide};
use crate::plan::{How, Lock, Pin, PinKind};

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
    let mut session = if changes {
        provide::session(context)?
    } else {
        Session::to_read(context)?
    };
    for (kind, pins) in [
        (PinKind::Seed, &args.seed),
        (PinKind::Snapshot, &args.snapshot),
    ] {
        for pin in pins {
            let (name, tree) = parse(&session, pin)?;
            provide::set(
                &mut session,
                kind,
                name,
                Pin::new(tree, Some(provide::today())),
            )?;
        }
    }
    for name in &args.remove {
        remove(&mut session, name)?;
    }
    for name in &args.update {
        update(&mut session, name)?;
    }
    show(&session, args.json)?;
    Ok(ExitCode::SUCCESS)
}

fn parse<'a>(session: &Session, pin: &'a str) -> Result<(&'a str, TreeHash), Failure> {
    let (name, tree) = pin
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("`{pin}` is not of the form NAME=TREE")))?;
    if object::is_prefix(tree) {
        return Ok((name, object::one_tree(&session.store, tree)?));
    }
    match tree.parse::<TreeHash>() {
        Ok(tree) => Err(Failure::usage(format!(
            "the store does not have the tree {tree}"
        ))),
        Err(e) => Err(Failure::usage(format!("`{tree}` is no tree: {e}"))),
    }
}

fn remove(session: &mut Session, name: &str) -> Result<(), Failure> {
    let path = session.distribution.lock_path(session.store.path());
    let (lock, found) = Lock::update(session.distribution.files(), &path, |lock| {
        let seed = lock.remove(PinKind::Seed, name);
        let snapshot = lock.remove(PinKind::Snapshot, name);
        Ok(seed.or(snapshot).is_some())
    })?;
    if !found {
        return Err(Failure::usage(format!("the lock file has no `{name}`")));
    }
    session.lock = lock;
    provide::keep_pins(session)
}

/// Gets again what mstore can get by itself.
fn update(session: &mut Session, name: &str) -> Result<(), Failure> {
    let index = session.distribution.index();
    let all: Vec<_> = index.all_of(&index.default_build).collect();
    let recipes = session.recipes(&all)?;
    // As if it were not there; the old pin stays until the new one is made.
    let mut without = session.lock.clone();
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
        Some(_) => provide::provide(session, &recipes, &need, false),
    }
}

fn show(session: &Session, json: bool) -> Result<(), Failure> {
    if json {
        let all: Vec<_> = session
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
    let path = session.distribution.lock_path(session.store.path());
    tell!("{}", path.display());
    for (kind, name, pin) in session.lock.pins() {
        output::line(format!(
            "{kind} {name} {} {}",
            pin.tree,
            pin.date.as_deref().unwrap_or("-")
        ))?;
    }
    Ok(())
}
