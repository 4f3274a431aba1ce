//! `mstore show`

use std::process::ExitCode;

use crate::cli::args::node_name;
use crate::cli::context::Context;
use crate::cli::{Failure, output};
use crate::plan::view::{DerivationView, TargetView};
use crate::plan::{Pins, Staleness};
use crate::project::Access;
use crate::project::find::Wants;
use crate::project::step::no_such_step;

/// Show the derivations of a target
#[derive(clap::Args)]
pub struct Args {
    /// A target, one of its steps as TARGET:STEP, or the hash of a derivation, key or tree or its
    /// beginning
    #[arg(value_name = "TARGET|HASH")]
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let project = context.project(Access::ReadIfPresent)?;
    if let Some(found) = project.hash(&args.target, Wants::Step)? {
        let known = project.known_step(&found)?;
        let mut view = DerivationView::alone(&known.step.derivation, &known.step.trees);
        view.key = known.key.map(|k| k.to_string());
        view.tree = known.tree.map(|t| t.to_string());
        if args.json {
            output::json_pretty(&view)?;
        } else {
            let mut text = String::new();
            show_step(&view, &mut text);
            output::line(text.trim_start())?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let name = node_name(&args.target)?;
    let step = name.step();
    let graph = project.graph(&[name.target().to_owned()], Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    for target in graph.requested() {
        let mut view = TargetView::new(&graph, target, Some(&staleness));
        if let Some(step) = step {
            view.steps.retain(|s| s.name.step() == step);
            if view.steps.is_empty() {
                return Err(no_such_step(&graph, target, step).into());
            }
        }
        if args.json {
            output::json_pretty(&view)?;
            continue;
        }
        let tree = staleness.target_tree(target, &project.facts)?;
        let mut text = format!(
            "{} ({}), version {}\n  derivation {}\n  tree {}",
            view.name,
            view.full_name,
            view.version,
            view.drv,
            tree.map_or("not built".to_owned(), |t| t.to_string())
        );
        for step in &view.steps {
            show_step(step, &mut text);
        }
        output::line(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_step(step: &DerivationView, text: &mut String) {
    text.push_str(&format!("\n\n{}\n  derivation {}", step.name, step.drv));
    if let Some(tree) = &step.tree {
        text.push_str(&format!("\n  tree {tree}"));
    }
    for input in &step.inputs {
        let from = input
            .from
            .as_ref()
            .or(input.tree.as_ref())
            .or(input.unpinned.as_ref());
        text.push_str(&format!(
            "\n  {} at {}: {}{}",
            input.role,
            input.at,
            from.map_or("?", String::as_str),
            input
                .path
                .as_ref()
                .map_or(String::new(), |p| format!(" ({p} of it)"))
        ));
    }
    for impure in &step.impure {
        text.push_str(&format!(
            "\n  impure at {}: the folder {}, which is no input",
            impure.at, impure.folder
        ));
    }
    for (name, value) in &step.env {
        text.push_str(&format!("\n  env {name}={value}"));
    }
    for phase in &step.phases {
        for line in &phase.script {
            text.push_str(&format!("\n    {line}"));
        }
    }
}
