//! `mstore why`

mod packages;
mod value;
mod waiting;

use std::process::ExitCode;

use mstore_store::{Cancel, HistoryFilter, Outcome};

use crate::cli::args::RetentionArgs;
use crate::cli::context::Context;
use crate::cli::failure::USAGE;
use crate::cli::spec;
use crate::cli::text::reason;
use crate::cli::{Failure, bytes, output};
use crate::plan::{Explainer, NodeId, Pins, Staleness};
use crate::project::Access;
use crate::project::find;
use crate::project::find::HashKind;
use crate::project::find::Wants;

/// Explain a decision
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(clap::Subcommand)]
enum Question {
    /// Explain why a target has to be built again
    Rebuild {
        /// Targets, packages of targets as TARGET:CATEGORY/NAME[:SLOT], or hashes of derivations or their beginnings
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain why a step of a run that goes on has not started
    Waiting {
        /// Steps, or targets for all of their steps
        #[arg(required = true, value_name = "TARGET[:STEP]")]
        targets: Vec<String>,
        /// The run of this process [default: all runs of the store]
        #[arg(long, value_name = "PID")]
        pid: Option<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Explain why gc keeps something in the store
    Alive {
        /// The hash of a tree, a directory, a content, a derivation or a key, its beginning, a gc root, a target, seed/NAME or snapshot/NAME
        #[arg(value_name = "HASH|NAME")]
        what: String,
        #[command(flatten)]
        retention: RetentionArgs,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show where the value of an element comes from
    Value {
        /// The element
        #[arg(value_name = "ELEMENT")]
        key: String,
        /// Definitions that replace those of the entry file: NAME=VALUE or 'NAME: VALUE'
        #[arg(value_name = "NAME: VALUE", conflicts_with = "target")]
        definitions: Vec<String>,
        /// Evaluate as for building this target
        #[arg(long, short, value_name = "TARGET")]
        target: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.question {
        Question::Rebuild { targets, json } => rebuild(context, &targets, json),
        Question::Waiting { targets, pid, json } => waiting::waiting(context, &targets, pid, json),
        Question::Alive {
            what,
            retention,
            json,
        } => alive(context, &what, &retention, json),
        Question::Value {
            key,
            definitions,
            target,
            json,
        } => value(context, &key, &definitions, target.as_deref(), json),
    }
}

fn rebuild(context: &Context, targets: &[String], json: bool) -> Result<ExitCode, Failure> {
    let project = context.project(Access::ReadIfPresent)?;
    let (named, targets) = packages::split(&project, targets)?;
    let graph = project.graph(&targets, Pins::Optional)?;
    context.tell_unread(&project, &project.targets(&targets)?)?;
    let mut explainer = Explainer::new();
    let staleness = Staleness::walk(&graph, &project.facts, &mut explainer)?;
    if !named.is_empty() {
        return packages::rebuild(&project, &staleness, &named, json);
    }
    let cascades = packages::cascades(&project, &staleness)?;
    // Of packages more can be told than of other steps.
    let is_step = |node: &NodeId| graph.nodes()[*node].package.is_none();
    if json {
        let all: Vec<_> = explainer
            .reasons()
            .iter()
            .filter(|(node, _)| is_step(node))
            .map(|(&node, reasons)| {
                let mut value =
                    serde_json::json!({ "step": graph.nodes()[node].name, "reasons": reasons });
                if let Some(nearest) = explainer.nearest(node) {
                    value["compared"] = serde_json::json!({
                        "key": nearest.key.to_string(),
                        "started": nearest.started,
                        "last": nearest.last,
                    });
                }
                value
            })
            .collect();
        let all = [all, packages::cascades_json(&cascades)].concat();
        output::json_pretty(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    let steps = explainer.reasons().iter();
    for (&node, reasons) in steps.filter(|(node, _)| is_step(node)) {
        let filter = HistoryFilter {
            name: Some(graph.nodes()[node].full_name.as_str()),
            limit: Some(1),
            ..HistoryFilter::default()
        };
        let last = project.store.history(&filter)?.pop();
        output::line(&graph.nodes()[node].name)?;
        if let Some(nearest) = explainer.nearest(node).filter(|nearest| !nearest.last) {
            output::line(format!(
                "  compared with the build of {}, which differs less than the last:",
                output::time(nearest.started)
            ))?;
        }
        for reason in reasons {
            output::line(format!("  {}", reason.to_string().replace('\n', "\n  ")))?;
        }
        if let Some(last) = last.filter(|a| a.outcome != Outcome::Ok) {
            let when = output::time(last.started);
            output::line(match last.outcome {
                Outcome::Interrupted => format!("  the last attempt, {when}, was interrupted"),
                _ => format!(
                    "  the last attempt, {when}, failed: {}",
                    last.detail.unwrap_or_default()
                ),
            })?;
        }
    }
    packages::show_cascades(&cascades)?;
    if explainer.reasons().keys().all(|node| !is_step(node)) && cascades.is_empty() {
        tell!("nothing has to be built");
    }
    Ok(ExitCode::SUCCESS)
}

/// The walk of `mstore gc`, under the same policy, with another listener.
fn alive(
    context: &Context,
    what: &str,
    args: &RetentionArgs,
    json: bool,
) -> Result<ExitCode, Failure> {
    let config = context.config()?.gc;
    let store = context.store(Access::Read)?;
    let found = match find::is_prefix(what) {
        true => find::find(&store, what, Wants::Anything)?,
        false => None,
    };
    let hash = if let Some(found) = found {
        match found.kind {
            HashKind::Object(_) => found.hash,
            // What is kept of a step is its tree.
            HashKind::Derivation | HashKind::Key(_) => find::tree_of(&store, found)?.0,
        }
    } else if let Ok(hash) = what.parse() {
        // It may be gone already, which is an answer.
        hash
    } else {
        context.tree(&store, what)?.tree.0
    };
    let policy = args.retention().policy(&store, &config, &Cancel::new())?;
    let why = store.why_alive(&policy, &hash)?;
    if json {
        let keepers: Vec<_> = why
            .keepers
            .iter()
            .map(|k| {
                let reasons: Vec<String> = k.why.iter().map(reason).collect();
                let mut value = serde_json::json!({
                    "tree": k.tree.to_string(),
                    "names": k.names,
                    "why": reasons,
                });
                bytes::put(&mut value, "path", &k.path);
                value
            })
            .collect();
        output::json_pretty(&serde_json::json!({
            "hash": hash.to_string(),
            "kind": why.kind.map(|k| k.word()),
            "alive": !keepers.is_empty(),
            "keepers": keepers,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some(kind) = why.kind else {
        output::line(format!("{hash}: the store does not have it"))?;
        return Ok(ExitCode::SUCCESS);
    };
    output::line(format!("{} {hash}", kind.word()))?;
    for keeper in &why.keepers {
        let mut line = String::from("  is ");
        if keeper.tree.0 != hash {
            line.push_str(&match &keeper.path[..] {
                b"" => "the top folder of ".to_owned(),
                path => format!("{} in ", bytes::shown(path)),
            });
        }
        line.push_str(&format!("tree {}", keeper.tree));
        if !keeper.names.is_empty() {
            line.push_str(&format!(" ({})", keeper.names.join(", ")));
        }
        output::line(line)?;
        for why in &keeper.why {
            output::line(format!("    kept as {}", reason(why)))?;
        }
    }
    if why.keepers.is_empty() {
        output::line("  nothing keeps it: the next gc removes it")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn value(
    context: &Context,
    key: &str,
    definitions: &[String],
    target: Option<&str>,
    json: bool,
) -> Result<ExitCode, Failure> {
    let explain = |it: &mstore_lang::Spec| match it.provenance(key) {
        Ok(provenance) if json => {
            output::json(&value::explanation(&provenance))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(provenance) => {
            output::bytes(provenance.render().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(e) if json => {
            let error = spec::ErrorLine::from(&*e.diagnostic);
            output::json(&serde_json::json!({ "element": key, "error": error }))?;
            Ok(ExitCode::from(USAGE))
        }
        Err(e) => Err(Failure::diagnostics(move |colour| {
            e.diagnostic.render(colour)
        })),
    };
    match target {
        Some(target) => spec::of_target(context, target, explain),
        None => match spec::load(context, definitions)? {
            Ok(spec) => explain(&spec),
            Err(errors) => spec::load_failed(errors, context, json),
        },
    }
}
