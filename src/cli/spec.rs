//! The specification in effect, and its settings with definitions or for a target.

use std::process::ExitCode;

use mstore_lang::{Diagnostic, DiskFiles, LoadErrors, Spec};
use serde::Serialize;

use super::context::{Context, current_dir};
use super::failure::USAGE;
use super::{Failure, definitions, output};
use crate::plan::{Entry, Lock};

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
    Ok(Spec::load(&files, entry.path(), &all))
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
