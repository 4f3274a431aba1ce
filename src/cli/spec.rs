//! The specification in effect, and its settings with definitions or for a target.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use mstore_lang::{
    CauseKey, Diagnostic, DiskFiles, EvalError, Evaluated, LoadErrors, Session, Spec, Value,
};
use serde::Serialize;

use super::context::{Context, current_dir};
use super::failure::USAGE;
use super::{Failure, definitions, output};
use crate::plan::{Entry, Lock, advise_hooks};

/// An error of the language as `--json` tells it.
#[derive(Serialize)]
pub struct ErrorLine {
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

/// Does something with the settings of a target.
pub fn of_target<T>(
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
    // That it is not there is an error of loading, which has a form of its own.
    let entry = Entry::choose(context.entry(), &current_dir()?)?;
    let files = entry.files(Box::new(DiskFiles));
    let mut all = context.definitions().to_vec();
    all.extend(definitions::parse(words)?);
    let session = Session::new(&files);
    let loaded = session.load(entry.path(), &all);
    Ok(loaded.map_err(|mut errors| {
        advise_hooks(errors.all_mut(), &session, entry.path(), &all, &all);
        errors
    }))
}

/// Tells which elements may be defined from outside: those that are not defined from outside already, nor in a file
/// that the entry file collects, which would be a second definition.
pub fn may_define(context: &Context) -> Result<impl Fn(&str) -> bool, Failure> {
    let given = context.definitions().to_vec();
    let spec = load(context, &[])?;
    Ok(move |name: &str| {
        // What cannot be loaded is told of by whoever loads it in earnest.
        let free = |spec: &Spec| is_free(spec, name);
        !given.iter().any(|d| d.name == name) && spec.as_ref().map_or(true, free)
    })
}

/// Whether nothing but the entry file defines an element, if anything does.
pub fn is_free(spec: &Spec, name: &str) -> bool {
    let entry = spec.collected().first();
    let of_entry = |label: &mstore_lang::Label| Some(label.path()) == entry.map(PathBuf::as_path);
    spec.definitions(name).iter().all(of_entry)
}

/// Prints elements with their values, as Metro text; gives whether all have one.
pub fn dump(found: Vec<(&str, Result<Evaluated, EvalError>)>) -> Result<bool, Failure> {
    let mut text = String::new();
    // Elements that fail for one reason are told about once.
    let mut causes: BTreeMap<CauseKey, (EvalError, usize)> = BTreeMap::new();
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
    Ok(causes.is_empty())
}

/// The value of an element, as text.
pub fn value(spec: &Spec, name: &str) -> Result<String, Failure> {
    match spec.value(name) {
        Ok(value) => Ok(value.to_text()),
        Err(e) => Err(Failure::diagnostics(move |colour| {
            e.diagnostic.render(colour)
        })),
    }
}

/// Reports that nothing could be loaded.
pub fn load_failed(errors: LoadErrors, context: &Context, json: bool) -> Result<ExitCode, Failure> {
    if json {
        let line = errors.first().map(ErrorLine::from);
        output::json(&serde_json::json!({ "load_error": line }))?;
        return Ok(ExitCode::from(USAGE));
    }
    let failure = Failure::diagnostics(move |colour| errors.render(colour));
    let missing = |given| {
        let chosen = Entry::choose(Some(given), &current_dir().ok()?).ok()?;
        Some(!chosen.path().exists() && !chosen.is_builtin())
    };
    if context.entry().and_then(missing) == Some(true) {
        Err(failure.hint("write it, or leave out --file to use the standard specs"))
    } else {
        Err(failure)
    }
}
