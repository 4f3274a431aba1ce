//! `mstore graph`

use std::collections::HashMap;
use std::fmt::Write as _;
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
    context.tell_unread(&project, &project.targets(&args.targets)?)?;
    let steady = project.facts.steady()?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    drop(steady);
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
        let mut needs: HashMap<&str, String> = HashMap::new();
        for [from, to] in &view.edges {
            let all = needs.entry(to).or_insert_with(|| " <-".to_owned());
            all.push(' ');
            all.push_str(from);
        }
        let mut text = String::new();
        for node in &view.nodes {
            let needs = needs.get(node.name.as_str());
            let needs = needs.map_or("", String::as_str);
            let state = node.state.unwrap_or_default();
            // Writing to a string does not fail.
            let _ = writeln!(text, "{state:10} {}{needs}", node.name);
        }
        output::bytes(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
