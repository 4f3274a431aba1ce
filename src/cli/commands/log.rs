//! `mstore log`

mod follow;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_store::{Attempt, HistoryFilter, Outcome, Realisation, RealisationKind, Store};

use crate::build::step_log;
use crate::cli::args::node_name;
use crate::cli::context::Context;
use crate::cli::output::Style;
use crate::cli::{Failure, output};
use crate::drv::{NodeName, StepName};
use crate::plan::{Graph, NodeId, Pins, Staleness};
use crate::project::Access;
use crate::project::Project;
use crate::project::find::Found;
use crate::project::find::Wants;
use crate::project::step::no_such_step;

/// Print build logs
#[derive(clap::Args)]
pub struct Args {
    /// A target, one of its steps as TARGET:STEP, one of its packages as TARGET:CATEGORY/NAME[:SLOT], or the hash of a derivation, key or tree or its
    /// beginning
    #[arg(value_name = "TARGET|HASH")]
    target: String,
    /// Entry file of the specifications, as elsewhere, without the short form
    // Declared once more because `-f` is another option here, as it is of `tail`.
    #[arg(long = "file", id = "file", global = true, value_name = "FILE")]
    _file: Option<PathBuf>,
    /// Print what running steps write, as it comes, until none of them runs any more
    #[arg(long, short, conflicts_with_all = ["path", "attempts", "json"])]
    follow: bool,
    /// Only name the files
    #[arg(long)]
    path: bool,
    /// List every attempt to build it, also those that failed, newest first
    #[arg(long, conflicts_with = "path")]
    attempts: bool,
    /// Print JSON: the steps and the files of their logs, or with --attempts the attempts
    #[arg(long)]
    json: bool,
}

/// Runs the command: for each step the log of what is there, else the newest, in the order of the steps.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let project = context.project(Access::ReadIfPresent)?;
    if let Some(found) = project.hash(&args.target, Wants::Step)? {
        if args.follow {
            return Err(Failure::usage(
                "only what a target names can be followed, not a hash",
            ));
        }
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
    let nodes = nodes_of(&graph, step, args.follow)?;
    if args.follow {
        let names = nodes.iter().map(|&at| &graph.nodes()[at]);
        let names = names.map(|node| (node.name.to_string(), node.full_name.to_string()));
        if follow::follow(&project.store, &names.collect::<Vec<_>>())? {
            return Ok(ExitCode::SUCCESS);
        }
        tell!(
            "{} nothing of it is being built now",
            Style::stderr().note("note:")
        );
    }
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    let mut files = Vec::new();
    let mut shown = 0;
    let mut elsewhere = None;
    for at in nodes {
        let node = &graph.nodes()[at];
        let made = match staleness.state(at).key() {
            Some(key) => project.store.realisation(&key.0)?,
            None => None,
        };
        let of_it = LogOfStep::find(&project.store, node.full_name.as_str(), made.as_ref())?;
        let note = made.filter(|_| !of_it.of_result).and_then(|r| {
            Some(match (whereabouts(&project.store, &r)?, &of_it.path) {
                (text, Some(_)) => format!("{text}; what follows is of another attempt"),
                (text, None) => text,
            })
        });
        if let Some(note) = note {
            if of_it.path.is_some() || shown > 0 {
                tell!("{}: {note}", node.name);
            }
            elsewhere.get_or_insert(note);
        }
        if let Some(newer) = of_it.newer {
            tell!("{} {}: {newer}", Style::stderr().note("note:"), node.name);
        }
        let Some(path) = of_it.path else {
            continue;
        };
        shown += 1;
        if args.json {
            files.push(file_json(node.name.as_str(), &path));
            continue;
        }
        print(node.name.as_str(), &path, args.path)?;
    }
    if args.json && shown > 0 {
        output::json_pretty(&files)?;
    } else if let Some(target) = graph.requested().next()
        && step.is_none()
        && !args.follow
        && graph.packages_of(target).next().is_some()
    {
        tell!(
            "{} logs of packages: mstore log {}:CATEGORY/NAME",
            Style::stderr().note("note:"),
            target.name
        );
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

/// The steps that are meant: of a target without a step all that its specification names, and its packages too with
/// `all`.
fn nodes_of(graph: &Graph, step: Option<&str>, all: bool) -> Result<Vec<NodeId>, Failure> {
    let mut nodes = Vec::new();
    for target in graph.requested() {
        match step {
            None if all => nodes.extend(&target.nodes),
            None => nodes.extend(graph.own_steps(target)),
            Some(step) => {
                let found = graph.step_of(target, step);
                // A step that there is not has no log, but a package is not one that could have been renamed.
                if found.is_none() && step.contains('/') {
                    return Err(no_such_step(graph, target, step).into());
                }
                nodes.extend(found);
            }
        }
    }
    Ok(nodes)
}

/// What there is of something that was fetched.
fn of_fetch(project: &Project, name: &StepName, args: &Args) -> Result<ExitCode, Failure> {
    if args.attempts {
        return attempts(project, of_name(project, name.as_str())?, args.json);
    }
    if args.follow {
        let both = (name.to_string(), name.to_string());
        if follow::follow(&project.store, &[both])? {
            return Ok(ExitCode::SUCCESS);
        }
    }
    let Some(path) = step_log::newest(&project.store, name.as_str())? else {
        return Err(Failure::usage(format!(
            "{name} has no log: it was never fetched here"
        )));
    };
    if args.json {
        output::json_pretty(&[file_json(name.as_str(), &path)])?;
        return Ok(ExitCode::SUCCESS);
    }
    print(name.as_str(), &path, args.path)?;
    Ok(ExitCode::SUCCESS)
}

fn file_json(step: &str, log: &Path) -> serde_json::Value {
    serde_json::json!({ "step": step, "log": log.display().to_string() })
}

/// The log of a step that is shown.
struct LogOfStep {
    path: Option<PathBuf>,
    /// Whether it is that of the result which the store has; otherwise it is the newest.
    of_result: bool,
    /// What became of a newer attempt, or of the one that is shown, if it has no result.
    newer: Option<String>,
}

impl LogOfStep {
    fn find(store: &Store, name: &str, made: Option<&Realisation>) -> Result<Self, Failure> {
        let newest = step_log::newest(store, name)?;
        let own = made.and_then(|made| Some(store.logs_dir().join(made.log.as_ref()?)));
        let own = own.filter(|path| path.exists());
        let newer = match &newest {
            Some(newest) if Some(newest) != own.as_ref() => how_it_ended(store, name, newest)?,
            _ => None,
        };
        let newer = newer.map(|how| match (&own, &newest) {
            (Some(_), Some(newest)) => {
                format!("a newer attempt {how}; its log: {}", newest.display())
            }
            _ => format!("the last attempt {how}"),
        });
        Ok(LogOfStep {
            of_result: own.is_some(),
            path: own.or(newest),
            newer,
        })
    }
}

/// What the store knows of the attempt with this log: nothing until it has ended.
fn attempt_of(store: &Store, name: &str, log: &Path) -> Result<Option<Attempt>, Failure> {
    let filter = HistoryFilter {
        name: Some(name),
        ..HistoryFilter::default()
    };
    let file = log.file_name().and_then(|file| file.to_str());
    let mut all = store.history(&filter)?.into_iter();
    Ok(all.find(|a| a.log.as_deref() == file))
}

/// How the attempt with this log ended, unless it has a result.
fn how_it_ended(store: &Store, name: &str, log: &Path) -> Result<Option<String>, Failure> {
    Ok(match attempt_of(store, name, log)? {
        Some(a) => {
            let when = output::time(a.started);
            let detail = a
                .detail
                .as_deref()
                .map_or(String::new(), |d| format!(": {d}"));
            match a.outcome {
                Outcome::Ok => None,
                Outcome::Interrupted => Some(format!("was interrupted ({when})")),
                Outcome::Failed => Some(format!("failed{detail} ({when})")),
                Outcome::Infrastructure => Some(format!("was not finished{detail} ({when})")),
            }
        }
        None if store.being_built().iter().any(|b| b.name == name) => {
            Some("is running: --follow shows what it writes".to_owned())
        }
        None => Some("was not finished: mstore itself was ended".to_owned()),
    })
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
    header(name, path)?;
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

/// Says of what the log is that follows.
fn header(name: &str, path: &Path) -> Result<(), Failure> {
    output::line(format!("==== {name} ({})", path.display()))
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
            match args.json {
                true => output::json_pretty(&[file_json(&attempt.name, &path)])?,
                false => print(&attempt.name, &path, args.path)?,
            }
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
    let nodes = nodes_of(graph, step, false)?;
    let mut all = Vec::new();
    // Steps of one run follow each other: of what began in one second the later step is the newer.
    for &at in nodes.iter().rev() {
        let node = &graph.nodes()[at];
        let attempts = of_name(project, node.full_name.as_str())?.into_iter();
        all.extend(attempts.map(|(_, a)| (node.name.to_string(), a)));
    }
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
