//! `mstore config`

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::{Failure, engine, output};

/// Show what is in force on this machine
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Print every setting in force, its value, and where it comes from
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A setting, as JSON tells it.
#[derive(Serialize)]
struct Line {
    name: String,
    value: Option<String>,
    /// `option`, `environment`, `file`, `found` or `default`.
    from: &'static str,
    /// The option, the variable or the file.
    source: Option<String>,
    line: Option<usize>,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let Command::Show { json } = args.command;
    let config = context.config()?;
    let mut lines: Vec<Line> = Vec::new();
    for choice in context.choices(&config)? {
        lines.push(Line {
            name: choice.name.to_owned(),
            value: choice.value,
            from: choice.origin.word(),
            source: choice.origin.source().map(str::to_owned),
            line: None,
        });
    }
    let variable = engine::variable();
    for setting in config.settings()? {
        if let Some(address) = variable.clone().filter(|_| setting.name == "executor") {
            lines.push(Line {
                name: setting.name,
                value: Some(address),
                from: "environment",
                source: Some(engine::VARIABLE.to_owned()),
                line: None,
            });
            continue;
        }
        let from = setting.from.as_ref();
        lines.push(Line {
            from: if from.is_some() { "file" } else { "default" },
            source: from.map(|(path, _)| path.display().to_string()),
            line: from.map(|(_, line)| *line),
            name: setting.name,
            value: setting.value,
        });
    }
    if json {
        output::json_pretty(&lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    for line in &lines {
        let value = line.value.as_deref().map_or("-".into(), output::escaped);
        let origin = match (&line.source, line.line) {
            (Some(source), Some(number)) => format!("{source}:{number}"),
            (Some(source), None) => source.clone(),
            (None, _) => line.from.to_owned(),
        };
        output::line(format!("{}: {value} ({origin})", line.name))?;
    }
    Ok(ExitCode::SUCCESS)
}
