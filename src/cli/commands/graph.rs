//! `mstore graph`

use std::process::ExitCode;

use crate::cli::context::Context;
use crate::cli::{Failure, output};
use crate::plan::view::GraphView;
use crate::plan::{Pins, Staleness};
use crate::project::Access;

/// Print the graph of a target's derivations
#[derive(clap::Args)]
pub struct Args {
    /// Targets
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// Print JSON
    #[arg(long, conflicts_with = "dot")]
    json: bool,
    /// Print the input of Graphviz's dot
    #[arg(long)]
    dot: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let project = context.project(Access::ReadIfPresent)?;
    let graph = project.graph(&args.targets, Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    let view = GraphView::new(&graph, Some(&staleness));
    if args.json {
        output::json(&view)?;
    } else if args.dot {
        let mut text = "digraph mstore {\n".to_owned();
        for node in &view.nodes {
            text.push_str(&format!("  {:?};\n", node.name));
        }
        for [from, to] in &view.edges {
            text.push_str(&format!("  {from:?} -> {to:?};\n"));
        }
        output::line(text + "}")?;
    } else {
        for node in &view.nodes {
            let needs: Vec<&str> = view
                .edges
                .iter()
                .filter(|[_, to]| *to == node.name)
                .map(|[from, _]| from.as_str())
                .collect();
            let needs = if needs.is_empty() {
                String::new()
            } else {
                format!(" <- {}", needs.join(" "))
            };
            output::line(format!(
                "{:10} {}{needs}",
                node.state.unwrap_or_default(),
                node.name
            ))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
