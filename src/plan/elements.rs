//! The settings of one evaluation, as plan asks for them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mstore_lang::{Definition, Diagnostic, Session, Spec, Value};

use super::metro::Repository;
use super::own_files::{OwnFiles, advise};

/// Where an element is defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Writes `FILE:LINE: ` if there is a location.
pub(super) fn at(location: &Option<impl fmt::Display>) -> String {
    location
        .as_ref()
        .map_or(String::new(), |l| format!("{l}: "))
}

/// What the language says about a specification.
#[derive(Debug, Clone)]
pub struct SpecError {
    /// The target that was being loaded, if one was.
    pub target: Option<String>,
    /// What is wrong, in order; at least one.
    pub diagnostics: Vec<Diagnostic>,
    /// How many further errors were only counted.
    pub more: usize,
}

impl SpecError {
    /// The file of the first error that has a place.
    pub fn path(&self) -> Option<&Path> {
        self.diagnostics.iter().find_map(Diagnostic::path)
    }

    /// The file that a user of the standard specifications has yet to write, if the first error is that one is
    /// missing.
    pub fn own_file(&self) -> Option<&'static OwnFiles> {
        OwnFiles::of(self.diagnostics.first()?.missing.as_deref()?)
    }

    /// The text for people: source lines with carets, and helps.
    pub fn render(&self, colour: bool) -> String {
        let mut all: Vec<String> = self.diagnostics.iter().map(|d| d.render(colour)).collect();
        if self.more > 0 {
            all.push(format!("and {} more errors\n", self.more));
        }
        if let Some(target) = &self.target {
            all.push(format!("while loading {target}\n"));
        }
        all.join("\n")
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for SpecError {}

/// A loaded specification.
#[derive(Debug)]
pub struct Elements {
    spec: Spec,
    asked: Mutex<Asked>,
    metro: Option<Arc<Repository>>,
}

/// What was asked for, written down by the asking itself: so a check of what is never used needs no list of
/// the names that mstore reads, which would be one more thing to keep true.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    names: BTreeSet<String>,
    below: BTreeSet<String>,
}

impl Asked {
    /// Whether it was asked for `name`.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.below.iter().any(|prefix| name.starts_with(prefix))
    }

    /// The names that were asked for, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Takes in what another has.
    pub fn extend(&mut self, other: Asked) {
        self.names.extend(other.names);
        self.below.extend(other.below);
    }
}

impl Elements {
    /// Loads `entry` and all it collects, sharing parsed files with others of the session.
    pub fn load_in(
        session: &Session<'_>,
        entry: &Path,
        definitions: &[Definition],
    ) -> Result<Elements, SpecError> {
        match session.load(entry, definitions) {
            Ok(spec) => Ok(Elements {
                spec,
                asked: Mutex::default(),
                metro: None,
            }),
            Err(errors) => {
                let mut diagnostics = errors.all().to_vec();
                for diagnostic in &mut diagnostics {
                    advise(diagnostic, entry);
                }
                Err(SpecError {
                    target: None,
                    diagnostics,
                    more: errors.more(),
                })
            }
        }
    }

    /// Says that they are those of a repository of Metro.
    pub(super) fn of_metro(mut self, repository: Option<&Arc<Repository>>) -> Self {
        self.metro = repository.cloned();
        self
    }

    /// The repository of Metro that they are from, if they are from one.
    pub fn metro(&self) -> Option<&Repository> {
        self.metro.as_deref()
    }

    /// The specification itself.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What was asked for so far.
    pub fn asked(&self) -> Asked {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn note(&self, name: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.names.contains(name) {
            asked.names.insert(name.to_owned());
        }
    }

    /// Notes that names below `prefix` are made from values, so that another value would ask for others.
    pub(super) fn asks_below(&self, prefix: &str) {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.below.insert(prefix.to_owned());
    }

    /// The names of all elements, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.spec.names().iter().map(String::as_str)
    }

    /// The names of all elements that begin with `prefix`, sorted.
    pub fn names_below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.asks_below(prefix);
        self.names().filter(move |n| n.starts_with(prefix))
    }

    /// Whether `name` is defined, blank or not.
    pub fn is_defined(&self, name: &str) -> bool {
        self.note(name);
        self.spec.is_defined(name)
    }

    /// Where `name` is defined; with conditions, where it is first.
    pub fn location(&self, name: &str) -> Option<Location> {
        let definitions = self.spec.definitions(name);
        let first = definitions.first()?;
        Some(Location {
            file: first.path().to_owned(),
            line: first.line(),
        })
    }

    /// The value of `name`; nothing if it is undefined or was removed.
    fn value(&self, name: &str) -> Result<Option<Value>, SpecError> {
        if !self.is_defined(name) {
            return Ok(None);
        }
        match self.spec.evaluate(name) {
            Ok(found) => Ok((!found.zapped).then_some(found.value)),
            Err(error) => Err(SpecError {
                target: None,
                diagnostics: vec![error.diagnostic.as_ref().clone()],
                more: 0,
            }),
        }
    }

    /// The text of `name`, a line or a block of one line; nothing if it is undefined or was removed.
    pub fn line(&self, name: &str) -> Result<Option<String>, SpecError> {
        Ok(self.value(name)?.map(|value| match value {
            Value::Line(line) => line,
            Value::Block(lines) => lines.join(" "),
        }))
    }

    /// The text of `name` with the lines of a block kept apart.
    pub fn any_text(&self, name: &str) -> Result<Option<String>, SpecError> {
        Ok(self.value(name)?.map(Value::into_text))
    }

    /// The lines of `name`, a block or a single line; nothing if it is undefined or was removed.
    pub fn block(&self, name: &str) -> Result<Option<Vec<String>>, SpecError> {
        Ok(self.value(name)?.map(|value| match value {
            Value::Line(line) => vec![line],
            Value::Block(lines) => lines.iter().map(str::to_owned).collect(),
        }))
    }

    /// The words of `name`; none if it is undefined or was removed.
    pub fn words(&self, name: &str) -> Result<Vec<String>, SpecError> {
        let lines = self.block(name)?.unwrap_or_default();
        Ok(lines
            .iter()
            .flat_map(|l| l.split_whitespace())
            .map(str::to_owned)
            .collect())
    }
}
