//! `mstore list`

use std::process::ExitCode;

use crate::cli::context::Context;
use crate::cli::{Failure, output};
use crate::plan::view::ListView;

/// List builds, subarchitectures and targets
#[derive(clap::Args)]
pub struct Args {
    /// Patterns of target names, such as 'stage3-*': list the targets that fit, one a line
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let distribution = context.distribution()?;
    context.tell_if_standard(&distribution);
    let index = distribution.index();
    if !args.patterns.is_empty() {
        let names: Vec<String> = distribution
            .expand(&args.patterns)?
            .iter()
            .map(|id| index.display_name(id))
            .collect();
        if args.json {
            output::json(&names)?;
        } else {
            output::line(names.join("\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let view = ListView::from(index);
    if args.json {
        output::json_pretty(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!("targets: {}\nbuilds:", view.targets.join(" "));
    for build in &view.builds {
        text.push_str(&format!(" {build}"));
        if *build == view.default_build {
            text.push_str(" (default)");
        }
    }
    for (build, targets) in &view.targets_of {
        text.push_str(&format!("\nmore targets of {build}: {}", targets.join(" ")));
    }
    for (arch, subarches) in &view.subarches {
        text.push_str(&format!("\n{arch}: {}", subarches.join(" ")));
    }
    output::line(text)?;
    tell!(
        "a target's name is TARGET-SUBARCH or BUILD/TARGET-SUBARCH, for example {}",
        example(&view)
    );
    Ok(ExitCode::SUCCESS)
}

fn example(view: &ListView) -> String {
    let target = view.targets.last().map_or("stage3", String::as_str);
    let subarch = view.subarches.values().flatten().next();
    format!("{target}-{}", subarch.map_or("corei7", String::as_str))
}
