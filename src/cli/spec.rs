//! The specification in effect, and its settings with definitions or for a target.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_lang::{Diagnostic, DiskFiles, LoadErrors, Spec};
use serde::Serialize;

use super::context::{Context, current_dir};
use super::failure::USAGE;
use super::{Failure, definitions, output};
use crate::plan::distribution::ENTRY_NAME;
use crate::plan::embedded::BUILTIN_ENTRY;
use crate::plan::{Lock, SpecFiles};

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
    let (files, entry) = specification(context)?;
    let mut all = context.definitions().to_vec();
    all.extend(definitions::parse(words)?);
    Ok(Spec::load(&files, &entry, &all))
}

/// The files and the entry file in effect.
fn specification(context: &Context) -> Result<(SpecFiles, PathBuf), Failure> {
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
pub fn load_failed(errors: LoadErrors, context: &Context, json: bool) -> Result<ExitCode, Failure> {
    if json {
        let line = errors.first().map(ErrorLine::from);
        output::json(&serde_json::json!({ "load_error": line }))?;
        return Ok(ExitCode::from(USAGE));
    }
    let failure = Failure::diagnostics(move |colour| errors.render(colour));
    if context.entry().is_some_and(|entry| !entry.exists()) {
        Err(failure.hint("write it, or leave out --file to use the standard specs"))
    } else {
        Err(failure)
    }
}
