//! `mstore show`

use std::process::ExitCode;

use crate::cli::args::node_name;
use crate::cli::context::Context;
use crate::cli::{Failure, output, pins};
use crate::plan::view::{DerivationView, PackageView, TargetView};
use crate::plan::{Pin, PinKind, Pins, Staleness};
use crate::project::find::Wants;
use crate::project::step::no_such_step;
use crate::project::{Access, Project};

/// Show the derivations of a target
#[derive(clap::Args)]
pub struct Args {
    /// A target, one of its steps as TARGET:STEP, one of its packages as TARGET:CATEGORY/NAME[:SLOT], seed/NAME, snapshot/NAME, or the hash of a derivation, key or tree
    /// or its beginning
    #[arg(value_name = "TARGET|HASH")]
    target: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let project = context.project(Access::ReadIfPresent)?;
    let found = match project.hash(&args.target, Wants::Step) {
        Ok(found) => found,
        // What looks like the beginning of a hash may be the name of a seed.
        Err(error) => match project.pinned(&args.target)? {
            Some(_) => None,
            None => return Err(error.into()),
        },
    };
    if let Some(found) = found {
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
    if let Some((kind, name, pin)) = project.pinned(&args.target)? {
        return show_pin(&project, kind, name, pin, args.json);
    }
    let name = node_name(&args.target)?;
    let step = name.step();
    let targets = [name.target().to_owned()];
    let graph = project.graph(&targets, Pins::Optional)?;
    context.tell_unread(&project, &project.targets(&targets)?)?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    for target in graph.requested() {
        let mut view = TargetView::new(&graph, target, Some(&staleness));
        if let Some(step) = step {
            let Some(at) = graph.step_of(target, step) else {
                return Err(no_such_step(&graph, target, step).into());
            };
            let shown = DerivationView::new(&graph, &graph.nodes()[at], Some(staleness.state(at)));
            view.steps = vec![shown];
            let hash = graph.nodes()[at].hash.to_string();
            view.packages.retain(|package| package.drv == hash);
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
        if !view.packages.is_empty() {
            text.push_str("\n  packages");
        }
        for package in &view.packages {
            show_package(package, &mut text);
        }
        for step in &view.steps {
            show_step(step, &mut text);
        }
        output::line(text)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show_package(package: &PackageView, text: &mut String) {
    let PackageView {
        name,
        version,
        slot,
        ..
    } = package;
    let state = package.state.unwrap_or_default();
    text.push_str(&format!("\n    {name}-{version}:{slot} {state}"));
    if package.tool {
        text.push_str(", a tool");
    }
    if !package.use_flags.is_empty() {
        text.push_str(&format!("; USE {}", package.use_flags.join(" ")));
    }
}

/// Shows what a seed or a snapshot stands for.
fn show_pin(
    project: &Project,
    kind: PinKind,
    name: &str,
    pin: &Pin,
    json: bool,
) -> Result<ExitCode, Failure> {
    let present = project.store.has_tree(pin.tree)?;
    let lock = project.lock_path().display().to_string();
    let mut value = pins::json(pin);
    value.insert("kind".into(), kind.to_string().into());
    value.insert("name".into(), name.into());
    value.insert("present".into(), present.into());
    value.insert("lock".into(), lock.clone().into());
    if json {
        output::json_pretty(&value)?;
        return Ok(ExitCode::SUCCESS);
    }
    let gone = if present { "" } else { " (not in the store)" };
    let mut text = format!("{kind} {name}\n  tree {}{gone}", pin.tree);
    for (key, value) in &value {
        let value = match value {
            serde_json::Value::String(text) => output::escaped(text),
            serde_json::Value::Number(number) => number.to_string(),
            _ => continue,
        };
        if !["tree", "kind", "name", "lock"].contains(&key.as_str()) {
            text.push_str(&format!("\n  {key} {value}"));
        }
    }
    text.push_str(&format!("\n  pinned in {lock}"));
    output::line(text)?;
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
