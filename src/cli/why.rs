//! `mstore why`

use std::process::ExitCode;

use super::place::{Place, Session};
use super::{Failure, eval, output};
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
        /// Targets
        #[arg(required = true, value_name = "TARGET")]
        targets: Vec<String>,
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
    },
}

/// Runs the command.
pub fn run(place: &Place, args: Args) -> Result<ExitCode, Failure> {
    match args.question {
        Question::Rebuild { targets, json } => rebuild(place, &targets, json),
        Question::Value {
            key,
            definitions,
            target,
        } => value(place, &key, &definitions, target.as_deref()),
    }
}

fn rebuild(place: &Place, targets: &[String], json: bool) -> Result<ExitCode, Failure> {
    let session = Session::open(place)?;
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
        output::line(&graph.nodes()[node].name)?;
        for reason in reasons {
            output::line(format!("  {}", reason.to_string().replace('\n', "\n  ")))?;
        }
    }
    if explainer.reasons().is_empty() {
        tell!("nothing has to be built");
    }
    Ok(ExitCode::SUCCESS)
}

fn value(
    place: &Place,
    key: &str,
    definitions: &[String],
    target: Option<&str>,
) -> Result<ExitCode, Failure> {
    let explain = |spec: &mstore_lang::Spec| match spec.provenance(key) {
        Ok(provenance) => output::bytes(provenance.render().as_bytes()),
        Err(e) => Err(Failure::rendered(
            e.diagnostic.render(output::stderr_colour()),
        )),
    };
    match target {
        Some(target) => eval::target(place, target, |spec| explain(spec))?,
        None => match eval::load(place, definitions)? {
            Ok(spec) => explain(&spec)?,
            Err(errors) => {
                return Err(Failure::rendered(errors.render(output::stderr_colour())));
            }
        },
    }
    Ok(ExitCode::SUCCESS)
}
