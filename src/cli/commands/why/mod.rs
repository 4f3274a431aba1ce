//! `mstore why`

mod value;

use std::process::ExitCode;

use crate::cli::commands::gc::{self, Wishes};
use crate::cli::failure::USAGE;
use mstore_store::{HistoryFilter, Outcome};

use crate::cli::commands::eval;
use crate::cli::context::{Context, Session};
use crate::cli::object::Sort;
use crate::cli::{Failure, object, output};
use crate::plan::{Explainer, Pins, Staleness};

/// Explain a decision
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    question: Question,
}

#[derive(clap::Subcommand)]
enum Question {
    /// Why a target has to be built again
    Rebuild {
        /// Targets, or hashes of derivations or their beginnings
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Why something in the store is kept by gc
    Alive {
        /// The hash of a tree, a directory, a content, a derivation or a key, its beginning, a root or a target
        #[arg(value_name = "HASH|NAME")]
        what: String,
        #[command(flatten)]
        wishes: Wishes,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Where the value of an element comes from
    Value {
        /// The element
        #[arg(value_name = "KEY")]
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
        Question::Alive { what, wishes, json } => alive(context, &what, &wishes, json),
        Question::Value {
            key,
            definitions,
            target,
            json,
        } => value(context, &key, &definitions, target.as_deref(), json),
    }
}

fn rebuild(context: &Context, targets: &[String], json: bool) -> Result<ExitCode, Failure> {
    let session = Session::to_read(context)?;
    let graph = session.graph(targets, Pins::Optional)?;
    let mut explainer = Explainer::new();
    Staleness::walk(&graph, &session.facts, &mut explainer)?;
    if json {
        let all: Vec<_> = explainer
            .reasons()
            .iter()
            .map(|(&node, reasons)| serde_json::json!({ "step": graph.nodes()[node].name, "reasons": reasons }))
            .collect();
        output::json_pretty(&all)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (&node, reasons) in explainer.reasons() {
        let filter = HistoryFilter {
            name: Some(&graph.nodes()[node].full_name),
            limit: Some(1),
            ..HistoryFilter::default()
        };
        let last = session.store.history(&filter)?.pop();
        output::line(&graph.nodes()[node].name)?;
        for reason in reasons {
            output::line(format!("  {}", reason.to_string().replace('\n', "\n  ")))?;
        }
        if let Some(last) = last.filter(|a| a.outcome != Outcome::Ok) {
            output::line(format!(
                "  the last attempt, {}, failed: {}",
                crate::cli::output::time(last.started),
                last.detail.unwrap_or_default()
            ))?;
        }
    }
    if explainer.reasons().is_empty() {
        tell!("nothing has to be built");
    }
    Ok(ExitCode::SUCCESS)
}

/// The walk of `mstore gc`, under the same policy, with another listener.
fn alive(context: &Context, what: &str, wishes: &Wishes, json: bool) -> Result<ExitCode, Failure> {
    let config = context.config()?.gc;
    let store = context.store_to_read()?;
    let found = match object::is_prefix(what) {
        true => object::find(&store, what, object::ANYTHING)?,
        false => None,
    };
    let hash = if let Some(found) = found {
        match found.sort {
            Sort::Object(_) => found.hash,
            // What is kept of a step is its tree.
            Sort::Derivation | Sort::Key => object::tree_of(&store, found)?.0,
        }
    } else if let Ok(hash) = what.parse() {
        // It may be gone already, which is an answer.
        hash
    } else {
        object::tree(context, &store, what)?.tree.0
    };
    let policy = wishes.policy(&store, &config, None)?;
    let why = store.why_alive(&policy, &hash)?;
    if json {
        let keepers: Vec<_> = why
            .keepers
            .iter()
            .map(|k| {
                let reasons: Vec<String> = k.why.iter().map(gc::reason).collect();
                serde_json::json!({
                    "tree": k.tree.to_string(),
                    "names": k.names,
                    "path": k.path,
                    "why": reasons,
                })
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
            line.push_str(&match keeper.path.as_str() {
                "" => "the root of ".to_owned(),
                path => format!("{} in ", crate::cli::output::escaped(path)),
            });
        }
        line.push_str(&format!("tree {}", keeper.tree));
        if !keeper.names.is_empty() {
            line.push_str(&format!(" ({})", keeper.names.join(", ")));
        }
        output::line(line)?;
        for reason in &keeper.why {
            output::line(format!("    kept as {}", gc::reason(reason)))?;
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
    let explain = |spec: &mstore_lang::Spec| match spec.provenance(key) {
        Ok(provenance) if json => {
            output::json(&value::explanation(&provenance))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(provenance) => {
            output::bytes(provenance.render().as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
        Err(e) if json => {
            let error = eval::ErrorLine::from(&*e.diagnostic);
            output::json(&serde_json::json!({ "element": key, "error": error }))?;
            Ok(ExitCode::from(USAGE))
        }
        Err(e) => Err(Failure::rendered(
            e.diagnostic.render(output::stderr_colour()),
        )),
    };
    match target {
        Some(target) => eval::target(context, target, explain),
        None => match eval::load(context, definitions)? {
            Ok(spec) => explain(&spec),
            Err(errors) => eval::load_failed(&errors, context, json),
        },
    }
}
