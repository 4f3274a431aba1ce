//! `mstore eval`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_lang::{Diagnostic, DiskFiles, EvalError, Lines, LoadErrors, Spec, Value};
use serde::{Serialize, Serializer};

use crate::cli::context::{Context, current_dir};
use crate::cli::output;
use crate::cli::{Failure, definitions};
use crate::plan::distribution::ENTRY_NAME;
use crate::plan::embedded::BUILTIN_ENTRY;
use crate::plan::{Lock, SpecFiles};

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
    #[arg(long, value_name = "NAME")]
    query: Vec<String>,
    /// Print the value of one element alone
    #[arg(long, short = 'k', value_name = "NAME", conflicts_with_all = ["json", "query"])]
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

#[derive(Serialize)]
pub(super) struct ErrorLine {
    class: &'static str,
    message: String,
    file: Option<String>,
    line: Option<usize>,
}

impl From<&Diagnostic> for ErrorLine {
    fn from(diagnostic: &Diagnostic) -> Self {
        ErrorLine {
            class: diagnostic.class.as_str(),
            message: diagnostic.message.clone(),
            file: diagnostic.path().map(|p| p.display().to_string()),
            line: diagnostic.line(),
        }
    }
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    if let Some(name) = &args.target {
        return target(context, name, |spec| print(spec, &args));
    }
    match load(context, &args.definitions)? {
        Ok(spec) => print(&spec, &args),
        Err(errors) => load_failed(&errors, context, args.json),
    }
}

/// Does something with the settings of a target.
pub fn target<T>(
    context: &Context,
    name: &str,
    with: impl FnOnce(&Spec) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let distribution = context.distribution()?;
    let store = context.store_path()?;
    let lock = Lock::read(distribution.files(), &distribution.lock_path(&store))?;
    let ids = distribution.expand(&[name])?;
    let [id] = ids.as_slice() else {
        return Err(Failure::usage(format!("`{name}` names several targets")));
    };
    let elements = distribution.elements(id, &lock)?;
    with(elements.spec())
}

/// Loads the specification in effect with definitions from the command line.
pub fn load(context: &Context, words: &[String]) -> Result<Result<Spec, LoadErrors>, Failure> {
    let (files, entry) = specification(context)?;
    let mut all = context.definitions().to_vec();
    all.extend(definitions::parse(words)?);
    Ok(Spec::load(&files, &entry, &all))
}

/// The files and the entry file in effect.
pub fn specification(context: &Context) -> Result<(SpecFiles, PathBuf), Failure> {
    let cwd = current_dir()?;
    let entry = match context.entry() {
        // As other commands take a folder.
        Some(file) if cwd.join(file).join(ENTRY_NAME).is_file() => cwd.join(file).join(ENTRY_NAME),
        Some(file) => cwd.join(file),
        None => {
            let here = cwd.join(ENTRY_NAME);
            if here.exists() {
                here
            } else {
                PathBuf::from(BUILTIN_ENTRY)
            }
        }
    };
    let shadow = entry
        .parent()
        .map(|dir| dir.join(crate::plan::distribution::SHADOW_NAME));
    let shadow = shadow.filter(|_| entry != Path::new(BUILTIN_ENTRY));
    Ok((SpecFiles::new(Box::new(DiskFiles), shadow), entry))
}

/// Reports that nothing could be loaded.
pub(super) fn load_failed(
    errors: &LoadErrors,
    context: &Context,
    json: bool,
) -> Result<ExitCode, Failure> {
    if json {
        let line = errors.first().map(ErrorLine::from);
        output::json(&serde_json::json!({ "load_error": line }))?;
        return Ok(ExitCode::from(crate::cli::failure::USAGE));
    }
    let failure = Failure::rendered(errors.render(output::stderr_colour()));
    if context.entry().is_some_and(|entry| !entry.exists()) {
        Err(failure.hint("write it, or leave out --file to use the standard specs"))
    } else {
        Err(failure)
    }
}

fn print(spec: &Spec, args: &Args) -> Result<ExitCode, Failure> {
    if let Some(key) = &args.key {
        return match spec.value(key) {
            Ok(value) => {
                output::line(value.to_text())?;
                Ok(ExitCode::SUCCESS)
            }
            Err(e) => Err(Failure::rendered(
                e.diagnostic.render(output::stderr_colour()),
            )),
        };
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
    let mut text = String::new();
    // Elements that fail for one reason are told about once.
    let mut causes: BTreeMap<usize, (EvalError, usize)> = BTreeMap::new();
    for (name, result) in found {
        match result.map(|e| e.value) {
            Ok(Value::Line(line)) if line.is_empty() => text.push_str(&format!("{name}:\n")),
            Ok(Value::Line(line)) => text.push_str(&format!("{name}: {line}\n")),
            Ok(Value::Block(lines)) => {
                text.push_str(&format!("{name}: [\n"));
                for line in &lines {
                    text.push_str(line);
                    text.push('\n');
                }
                text.push_str("]\n");
            }
            Err(e) => causes.entry(e.cause).or_insert((e, 0)).1 += 1,
        }
    }
    output::bytes(text.as_bytes())?;
    for (error, count) in causes.values() {
        tell!(
            "{}",
            error.diagnostic.render(output::stderr_colour()).trim_end()
        );
        if *count > 1 {
            tell!("  ({count} elements fail because of this)");
        }
    }
    Ok(ExitCode::SUCCESS)
}
