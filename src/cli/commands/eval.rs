//! `mstore eval`

use std::collections::BTreeMap;
use std::process::ExitCode;

use mstore_lang::{Lines, Spec, Value};
use serde::{Serialize, Serializer};

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::failure::USAGE;
use crate::cli::output;
use crate::cli::spec::{self, ErrorLine};

/// Evaluate specifications and print their elements
#[derive(clap::Args)]
pub struct Args {
    /// Definitions that replace those of the entry file: NAME=VALUE or 'NAME: VALUE'
    #[arg(value_name = "NAME: VALUE")]
    definitions: Vec<String>,
    /// Print JSON: values, removed elements, errors and the files read
    #[arg(long)]
    json: bool,
    /// Also ask for an element that nothing defines (can be repeated)
    #[arg(long, value_name = "ELEMENT")]
    query: Vec<String>,
    /// Print the value of one element alone
    #[arg(long, short = 'k', value_name = "ELEMENT", conflicts_with_all = ["json", "query"])]
    key: Option<String>,
    /// Evaluate as for building this target
    #[arg(long, short, value_name = "TARGET", conflicts_with = "definitions")]
    target: Option<String>,
}

#[derive(Serialize)]
struct Answer<'a> {
    values: BTreeMap<&'a str, Text>,
    zapped: Vec<&'a str>,
    errors: BTreeMap<&'a str, ErrorLine>,
    collected: Vec<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Text {
    Line(String),
    #[serde(serialize_with = "each_line")]
    Block(Lines),
}

fn each_line<S: Serializer>(lines: &Lines, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(lines)
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    if let Some(name) = &args.target {
        return spec::of_target(context, name, |spec| print(spec, &args));
    }
    match spec::load(context, &args.definitions)? {
        Ok(spec) => print(&spec, &args),
        Err(errors) => spec::load_failed(errors, context, args.json),
    }
}

fn print(spec: &Spec, args: &Args) -> Result<ExitCode, Failure> {
    if let Some(key) = &args.key {
        output::line(spec::value(spec, key)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut found = spec.evaluate_all();
    for name in &args.query {
        if spec.names().binary_search(name).is_err() {
            found.push((name, spec.evaluate(name)));
        }
    }
    if args.json {
        let mut answer = Answer {
            values: BTreeMap::new(),
            zapped: Vec::new(),
            errors: BTreeMap::new(),
            collected: spec
                .collected_relative()
                .iter()
                .map(|p| p.display().to_string())
                .collect(),
        };
        for (name, result) in found {
            match result {
                Ok(evaluated) => {
                    if evaluated.zapped {
                        answer.zapped.push(name);
                    }
                    let text = match evaluated.value {
                        Value::Line(text) => Text::Line(text),
                        Value::Block(lines) => Text::Block(lines),
                    };
                    answer.values.insert(name, text);
                }
                Err(e) => {
                    answer.errors.insert(name, ErrorLine::from(&*e.diagnostic));
                }
            }
        }
        answer.zapped.sort_unstable();
        output::json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(match spec::dump(found)? {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(USAGE),
    })
}
