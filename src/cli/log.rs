//! `mstore log`

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

use mstore_store::{Attempt, HistoryFilter};

use super::place::{Place, Session};
use super::show::split;
use super::{Failure, output};
use crate::build::step_log;
use crate::plan::{Graph, Pins};

/// Print build logs
#[derive(clap::Args)]
pub struct Args {
    /// A target, or one of its steps as TARGET:STEP
    #[arg(value_name = "TARGET")]
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
pub fn run(place: &Place, args: Args) -> Result<ExitCode, Failure> {
    let session = Session::to_read(place)?;
    let (target, step) = split(&args.target);
    let graph = session.graph(&[target.to_owned()], Pins::Optional)?;
    if args.attempts {
        return attempts(&session, &graph, step, args.json);
    }
    let mut shown = 0;
    for target in graph.requested() {
        for &node in &target.nodes {
            let node = &graph.nodes()[node];
            if step.is_some_and(|s| s != node.step) {
                continue;
            }
            let Some(path) = step_log::newest(&session.store, &node.full_name)? else {
                continue;
            };
            shown += 1;
            if args.path {
                output::line(path.display())?;
                continue;
            }
            let io = |e| Failure::machine(format!("cannot read {}: {e}", path.display()));
            output::line(format!("==== {} ({})", node.name, path.display()))?;
            let mut file = File::open(&path).map_err(io)?;
            let mut buffer = vec![0; 64 << 10];
            loop {
                match file.read(&mut buffer).map_err(io)? {
                    0 => break,
                    n => output::bytes(&buffer[..n])?,
                }
            }
        }
    }
    if shown == 0 {
        return Err(Failure::usage(format!(
            "{} has no log: it was never built here",
            args.target
        ))
        .hint(format!("build it first: mstore realise {target}")));
    }
    Ok(ExitCode::SUCCESS)
}

/// What was tried of the steps of some targets.
fn attempts(
    session: &Session,
    graph: &Graph,
    step: Option<&str>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let mut all = Vec::new();
    for target in graph.requested() {
        for &node in &target.nodes {
            let node = &graph.nodes()[node];
            if step.is_none_or(|s| s == node.step) {
                let filter = HistoryFilter {
                    name: Some(&node.full_name),
                    ..HistoryFilter::default()
                };
                let attempts = session.store.history(&filter)?;
                all.extend(attempts.into_iter().map(|a| (node.name.clone(), a)));
            }
        }
    }
    // Steps of one run follow each other: the later one is the newer.
    all.reverse();
    all.sort_by_key(|(_, attempt)| std::cmp::Reverse(attempt.started));
    let path = |a: &Attempt| Some(session.store.logs_dir().join(a.log.as_ref()?));
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
            super::look::time(a.started),
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
