//! Every way in which planning can fail, with what the reader needs to act.

use std::fmt;
use std::io;
use std::path::PathBuf;

use mstore_store::TreeHash;

use super::elements::Elements;
use super::lock::PinKind;
use super::name::{NameError, TargetId};
use crate::drv::NodeNameError;
use crate::drv::facts::FactsError;

/// Where an element is defined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Writes `FILE:LINE: ` if there is a place.
fn at(place: &Option<impl fmt::Display>) -> String {
    place.as_ref().map_or(String::new(), |p| format!("{p}: "))
}

fn wrapped(help: &str) -> String {
    if help.is_empty() {
        String::new()
    } else {
        format!("\nhelp: {help}")
    }
}

fn lock_file(lock: &Option<PathBuf>) -> String {
    lock.as_ref()
        .map_or("the lock file".to_owned(), |p| p.display().to_string())
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The specification cannot be loaded, or an element cannot be evaluated.
    #[error(transparent)]
    Spec(Box<SpecError>),
    /// The entry file is not there.
    #[error("no such entry file: {}\nhelp: write one, or leave out --file to use the standard specs", .path.display())]
    NoEntry {
        /// The path that was given.
        path: PathBuf,
    },
    /// The entry file names no targets.
    #[error(
        "{}: the specification has no `{element}`\nhelp: add the line \
         `[collect /usr/share/mstore/specs/metro.conf]` to use the standard specs, or define it",
        .entry.display()
    )]
    NoIndex {
        /// The entry file.
        entry: PathBuf,
        /// The element that is missing.
        element: String,
    },
    /// A name stands for no target.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A step cannot be called what the specification calls it.
    #[error(transparent)]
    NodeName(#[from] NodeNameError),
    /// An element that a target needs is missing.
    #[error("{target} has no `{element}`{}", wrapped(.help))]
    Missing {
        /// The element.
        element: String,
        /// The target.
        target: String,
        /// What to do.
        help: String,
    },
    /// An element has a value that cannot be used.
    #[error("{}`{element}` of {target}: {message}{}", at(.place), wrapped(.help))]
    Value {
        /// The element.
        element: String,
        /// The target.
        target: String,
        /// Where it is defined.
        place: Option<Box<Place>>,
        /// What is wrong.
        message: String,
        /// What to do.
        help: String,
    },
    /// Targets start from each other in a circle.
    #[error(
        "targets start from each other: {}\nhelp: give one of them a seed: define `source/seed`, or \
         `source/version` of an earlier build",
        .chain.join(" -> ")
    )]
    Cycle {
        /// The targets, the first one again at the end.
        chain: Vec<String>,
    },
    /// A target without a step.
    #[error(
        "{target} has no steps\nhelp: define `steps/chroot/run`, or name its steps in `steps/chroot`"
    )]
    NoSteps {
        /// The target.
        target: Box<TargetId>,
    },
    /// A graph was asked for over targets that were not loaded.
    #[error("{target} was not loaded")]
    NotLoaded {
        /// The target.
        target: Box<TargetId>,
    },
    /// The lock file lacks a seed or snapshot.
    #[error("{} has no {kind} `{name}`, which {target} needs\nhelp: {hint}", lock_file(.lock))]
    MissingPin {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name: the section `KIND/NAME` of the lock file.
        name: String,
        /// The target that needs it.
        target: Box<TargetId>,
        /// The lock file.
        lock: Option<PathBuf>,
        /// What to do.
        hint: String,
    },
    /// The lock file names a tree that the store does not have.
    #[error("the {kind} `{name}` of {target} is not in the store: {tree}\nhelp: {hint}")]
    AbsentPin {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name.
        name: String,
        /// The tree.
        tree: TreeHash,
        /// The target that needs it.
        target: Box<TargetId>,
        /// What to do.
        hint: String,
    },
    /// A step reads a path that the snapshot does not have.
    #[error(
        "{}`{element}`: the snapshot `{snapshot}` has no `{path}`\nhelp: correct the path, or import a \
         snapshot that has it: mstore snapshot import DIR --name {snapshot}",
        at(.place)
    )]
    NoSuchRead {
        /// The path.
        path: String,
        /// The snapshot.
        snapshot: String,
        /// The element that names the path.
        element: String,
        /// Where it is defined.
        place: Option<Box<Place>>,
    },
    /// The lock file.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store did not answer.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The git repository of the specification.
    #[error(transparent)]
    Git(#[from] super::git::GitError),
    /// A file.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What the language says about a specification.
#[derive(Debug, Clone)]
pub struct SpecError {
    /// The target that was being loaded, if one was.
    pub target: Option<String>,
    /// What is wrong, in order; at least one.
    pub diagnostics: Vec<mstore_lang::Diagnostic>,
    /// How many further errors were only counted.
    pub more: usize,
}

impl SpecError {
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

impl From<SpecError> for PlanError {
    fn from(error: SpecError) -> Self {
        PlanError::Spec(Box::new(error))
    }
}

/// Why a lock file cannot be read, changed or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// It is not well-formed Metro text.
    #[error(transparent)]
    Load(Box<SpecError>),
    /// It holds an element that means nothing here.
    #[error(
        "{}`{element}` means nothing in a lock file\nhelp: it holds sections seed/NAME and \
         snapshot/NAME with tree, date, epoch and origin",
        at(.place)
    )]
    Unknown {
        /// The element.
        element: String,
        /// Where it is defined.
        place: Option<Place>,
    },
    /// A value is not what it has to be.
    #[error("{}`{element}`: {message}", at(.place))]
    Value {
        /// The element.
        element: String,
        /// Where it is defined.
        place: Option<Place>,
        /// What is wrong.
        message: String,
    },
    /// A name that cannot be an element.
    #[error(
        "`{name}` cannot name a seed or snapshot\nhelp: names are letters, digits and -_.+@, with / \
         between parts"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A date that is none.
    #[error("`{date}` is no date of the form YYYY-MM-DD")]
    Date {
        /// The text.
        date: String,
    },
    /// The file system failed.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl LockError {
    pub(super) fn unknown(elements: &Elements, element: &str) -> Self {
        LockError::Unknown {
            element: element.to_owned(),
            place: elements.place(element),
        }
    }

    pub(super) fn value(elements: &Elements, element: &str, message: String) -> Self {
        LockError::Value {
            element: element.to_owned(),
            place: elements.place(element),
            message,
        }
    }
}
