//! `mstore lock`

use std::process::ExitCode;

use mstore_store::TreeHash;

use crate::cli::context::Context;
use crate::cli::pins::{self, Object};
use crate::cli::watch::Watch;
use crate::cli::{Failure, output};
use crate::plan::{Pin, PinFrom, PinKind};
use crate::project::Access;
use crate::project::Project;
use crate::project::clock;
use crate::project::remote::{Bring, Renewal};

/// Show or change metro.lock
#[derive(clap::Args)]
pub struct Args {
    /// Names to make anew, from where the lock file says that they came from: the newest commit of a branch, what
    /// an address gives today; a seed that is captured from this machine is captured again
    #[arg(long, value_name = "NAME", num_args = 1..)]
    update: Vec<String>,
    /// With --update: only show what would change
    #[arg(long, short = 'n', requires = "update")]
    dry_run: bool,
    /// Pin a seed to a tree that the store has, as NAME=TREE: a target, a seed, a snapshot, a gc root, or a hash or its beginning
    #[arg(long, value_name = "NAME=TREE")]
    seed: Vec<String>,
    /// Pin a snapshot to a tree that the store has, in the same way
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
            let (name, tree) = parse(context, &project, pin)?;
            project.set_pin(kind, name, Pin::new(tree, Some(clock::today())))?;
        }
    }
    for name in &args.remove {
        project.remove_pin(name)?;
    }
    let mut renewals = Vec::new();
    if !args.update.is_empty() {
        let options = context.outside(&context.config()?);
        let watch = Watch::with_bar(false, args.json);
        let bring = Bring {
            options: &options,
            cancel: context.cancel()?,
            events: &watch,
        };
        for name in &args.update {
            renewals.extend(project.renew_pin(name, args.dry_run, &bring)?);
        }
    }
    if !args.json {
        for renewal in &renewals {
            tell_renewal(renewal, args.dry_run);
        }
    }
    show(&project, &renewals, args.json)?;
    Ok(ExitCode::SUCCESS)
}

/// What a pin is of, as short as it can be told.
fn edition(pin: &Pin) -> String {
    match &pin.from {
        Some(PinFrom::Git { commit, .. }) => format!("commit {commit:.12}"),
        Some(PinFrom::Archive { hash, .. }) => format!("{}:{:.12}", hash.algorithm(), hash.hex()),
        None => pin.tree.to_string(),
    }
}

/// Tells what an update changed, or would change.
fn tell_renewal(renewal: &Renewal, dry_run: bool) {
    let Renewal {
        kind,
        name,
        before,
        after,
        changes,
    } = renewal;
    let now = if dry_run { "would be" } else { "now" };
    match before {
        None => return tell!("{kind} {name}: new; {}", edition(after)),
        Some(before) if before.tree == after.tree && before.from == after.from => {
            return tell!("{kind} {name}: unchanged; {}", edition(after));
        }
        Some(before) => tell!(
            "{kind} {name}: {} before, {now} {}{}",
            edition(before),
            edition(after),
            match before.tree == after.tree {
                true => "; with the same files",
                false => "",
            }
        ),
    }
    for path in changes.iter().flat_map(|changes| &changes.paths) {
        tell!("  {path}");
    }
    if changes.as_ref().is_some_and(|changes| changes.more) {
        tell!("  and more");
    }
}

fn parse<'a>(
    context: &Context,
    project: &Project,
    pin: &'a str,
) -> Result<(&'a str, TreeHash), Failure> {
    let (name, tree) = pin
        .split_once('=')
        .ok_or_else(|| Failure::usage(format!("`{pin}` is not of the form NAME=TREE")))?;
    Ok((name, context.tree(&project.store, tree)?.tree))
}

fn show(project: &Project, renewals: &[Renewal], json: bool) -> Result<(), Failure> {
    if json {
        let all: Vec<_> = project
            .lock
            .pins()
            .map(|(kind, name, pin)| {
                let mut value = pins::json(pin);
                value.insert("kind".into(), kind.to_string().into());
                value.insert("name".into(), name.into());
                let renewed = renewals.iter().find(|r| r.kind == kind && r.name == name);
                if let Some(renewal) = renewed {
                    value.insert("update".into(), renewal_json(renewal).into());
                }
                value
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

fn renewal_json(renewal: &Renewal) -> Object {
    let mut value = Object::new();
    value.insert(
        "before".into(),
        renewal.before.as_ref().map(pins::json).into(),
    );
    value.insert("after".into(), pins::json(&renewal.after).into());
    let changes = renewal.changes.as_ref();
    // Cannot fail: it is names and words.
    let changes = changes.and_then(|changes| serde_json::to_value(changes).ok());
    value.insert("changes".into(), changes.into());
    value
}
