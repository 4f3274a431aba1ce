//! `mstore log`

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use mstore_store::{Attempt, HistoryFilter, Realisation, RealisationKind, Store};

use crate::build::step_log;
use crate::cli::args::node_name;
use crate::cli::context::Context;
use crate::cli::{Failure, output};
use crate::drv::{NodeName, StepName};
use crate::plan::{Graph, Pins, Staleness};
use crate::project::Access;
use crate::project::Project;
use crate::project::find::Found;
use crate::project::find::Wants;

/// Print build logs
#[derive(clap::Args)]
pub struct Args {
    /// A target, one of its steps as TARGET:STEP, or the hash of a derivation, key or tree or its
    /// beginning
    #[arg(value_name = "TARGET|HASH")]
    target: String,
    /// Only name the files
    #[arg(long)]
    path: bool,
    /// List every attempt to build it, also those that failed, newest first
    #[arg(long, conflicts_with = "path")]
    attempts: bool,
    /// With --attempts, print JSON
    #[arg(long, requires = "attempts")]
    json: bool,
}

/// Runs the command: the newest log of each step, in the order of the steps.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let project = context.project(Access::ReadIfPresent)?;
    if let Some(found) = project.hash(&args.target, Wants::Step)? {
        return by_hash(&project, &found, &args);
    }
    let name = node_name(&args.target)?;
    if let NodeName::Step(name) = &name
        && name.is_fetch()
    {
        return of_fetch(&project, name, &args);
    }
    let (target, step) = (name.target(), name.step());
    let graph = project.graph(&[target.to_owned()], Pins::Optional)?;
    if args.attempts {
        return attempts(&project, of_names(&project, &graph, step)?, args.json);
    }
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    let mut shown = 0;
    let mut elsewhere = None;
    for target in graph.requested() {
        for &at in &target.nodes {
            let node = &graph.nodes()[at];
            if step.is_some_and(|s| s != node.name.step()) {
                continue;
            }
            let made = match staleness.state(at).key() {
                Some(key) => project.store.realisation(&key.0)?,
                None => None,
            };
            let path = step_log::newest(&project.store, node.full_name.as_str())?;
            let note = made.and_then(|r| {
                Some(match (whereabouts(&project.store, &r)?, &path) {
                    (text, Some(_)) => format!("{text}; what follows is of another attempt"),
                    (text, None) => text,
                })
            });
            if let Some(note) = note {
                if path.is_some() || shown > 0 {
                    tell!("{}: {note}", node.name);
                }
                elsewhere.get_or_insert(note);
            }
            let Some(path) = path else {
                continue;
            };
            shown += 1;
            print(node.name.as_str(), &path, args.path)?;
        }
    }
    if shown == 0 {
        return Err(match elsewhere {
            Some(note) => Failure::usage(format!("{} has no log here: {note}", args.target))
                .hint(format!("`mstore log {target}` there shows it")),
            None => Failure::usage(format!(
                "{} has no log: it was never built here",
                args.target
            ))
            .hint(format!("build it first: mstore realise {target}")),
        });
    }
    Ok(ExitCode::SUCCESS)
}

/// What there is of something that was fetched.
fn of_fetch(project: &Project, name: &StepName, args: &Args) -> Result<ExitCode, Failure> {
    if args.attempts {
        return attempts(project, of_name(project, name.as_str())?, args.json);
    }
    let Some(path) = step_log::newest(&project.store, name.as_str())? else {
        return Err(Failure::usage(format!(
            "{name} has no log: it was never fetched here"
        )));
    };
    print(name.as_str(), &path, args.path)?;
    Ok(ExitCode::SUCCESS)
}

/// Where the log of a result is, if not here.
fn whereabouts(store: &Store, made: &Realisation) -> Option<String> {
    let when = crate::cli::output::time(made.started);
    match &made.log {
        Some(name) if store.logs_dir().join(name).exists() => None,
        Some(name) => Some(format!(
            "it was built {when}, and its log {name} was removed (gc/log-days)"
        )),
        // Facts of the plan itself are no builds.
        None if made.host.is_empty() => None,
        None => Some(format!(
            "it was built on the host {}, {when}, and its log stayed there",
            made.host
        )),
    }
}

fn print(name: &str, path: &Path, only_path: bool) -> Result<(), Failure> {
    if only_path {
        return output::line(path.display());
    }
    let io = |e| Failure::machine(format!("cannot read {}: {e}", path.display()));
    output::line(format!("==== {name} ({})", path.display()))?;
    let mut file = File::open(path).map_err(io)?;
    let mut buffer = vec![0; 64 << 10];
    let mut content = output::Content::new();
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return content.show(&[], true),
            n => content.show(&buffer[..n], false)?,
        }
    }
}

/// The newest log of what a hash names.
fn by_hash(project: &Project, found: &Found, args: &Args) -> Result<ExitCode, Failure> {
    let hash = project.hash_of_step(found)?;
    let filter = HistoryFilter {
        of: Some(&hash),
        ..HistoryFilter::default()
    };
    let mut all = project.store.history(&filter)?;
    // That a target is what its last step made is no attempt.
    all.retain(|a| a.kind == RealisationKind::Step);
    if args.attempts {
        let all = all.into_iter().map(|a| (a.name.clone(), a)).collect();
        return attempts(project, all, args.json);
    }
    for attempt in &all {
        let path = attempt.log.as_ref();
        let path = path.map(|log| project.store.logs_dir().join(log));
        if let Some(path) = path.filter(|path| path.exists()) {
            print(&attempt.name, &path, args.path)?;
            return Ok(ExitCode::SUCCESS);
        }
    }
    let made = project.store.realisations_of(&hash)?;
    let note = made.iter().find_map(|r| whereabouts(&project.store, r));
    Err(match note {
        Some(note) => Failure::usage(format!("{} ({found}) has no log here: {note}", found.hash))
            .hint(format!("`mstore log {}` there shows it", found.hash)),
        None => Failure::usage(format!(
            "{} ({found}) has no log: it was never built here",
            found.hash
        )),
    })
}

/// What was tried under a name.
fn of_name(project: &Project, name: &str) -> Result<Vec<(String, Attempt)>, Failure> {
    let filter = HistoryFilter {
        name: Some(name),
        ..HistoryFilter::default()
    };
    let attempts = project.store.history(&filter)?;
    Ok(attempts.into_iter().map(|a| (name.to_owned(), a)).collect())
}

/// What was tried of the steps of some targets.
fn of_names(
    project: &Project,
    graph: &Graph,
    step: Option<&str>,
) -> Result<Vec<(String, Attempt)>, Failure> {
    let mut all = Vec::new();
    for target in graph.requested() {
        for &node in &target.nodes {
            let node = &graph.nodes()[node];
            if step.is_none_or(|s| s == node.name.step()) {
                let attempts = of_name(project, node.full_name.as_str())?;
                all.extend(
                    attempts
                        .into_iter()
                        .map(|(_, a)| (node.name.to_string(), a)),
                );
            }
        }
    }
    // Steps of one run follow each other: the later one is the newer.
    all.reverse();
    Ok(all)
}

/// Lists attempts, newest first.
fn attempts(
    project: &Project,
    mut all: Vec<(String, Attempt)>,
    json: bool,
) -> Result<ExitCode, Failure> {
    all.sort_by_key(|(_, attempt)| std::cmp::Reverse(attempt.started));
    let path = |a: &Attempt| Some(project.store.logs_dir().join(a.log.as_ref()?));
    if json {
        let all: Vec<_> = all
            .iter()
            .map(|(name, a)| {
                serde_json::json!({
                    "step": name,
                    "key": a.key.to_string(),
                    "drv": a.drv.to_string(),
                    "outcome": a.outcome.word(),
                    "tree": a.tree.map(|t| t.to_string()),
                    "started": a.started,
                    "seconds": a.seconds,
                    "host": a.host,
                    "phase": a.phase,
                    "detail": a.detail,
                    "log": path(a).map(|p| p.to_string_lossy().into_owned()),
                })
            })
            .collect();
        output::json_pretty(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, a) in &all {
        output::line(format!(
            "{} {name} {}{} ({} on {}){}",
            crate::cli::output::time(a.started),
            a.outcome.word(),
            a.detail
                .as_ref()
                .map_or(String::new(), |d| format!(": {d}")),
            output::duration(a.seconds),
            a.host,
            path(a).map_or(String::new(), |p| format!(" {}", p.display())),
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
