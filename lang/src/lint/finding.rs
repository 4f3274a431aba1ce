//! Findings: single results of a check.

use std::fmt;
use std::path::Path;

use crate::class::Class;
use crate::diagnostics::{Diagnostic, Label};

/// What kind of finding it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lint {
    /// An error of loading or evaluation.
    Error(Class),
    /// A value that the program asking for it cannot use, or one that it needs and that is missing.
    UnusableValue,
    /// A collect that no target takes.
    UntakenCollect,
    /// An element that no target uses.
    UnusedElement,
    /// A lax reference or inclusion of an element that no target defines.
    LaxBlank,
    /// `$[[` where it is text (L33).
    InclusionIsText,
    /// A reference in a condition, where it is literal (L44).
    LiteralCondition,
    /// A line of a block that would begin another one.
    BlockInBlock,
    /// A source that names no target.
    UnknownSource,
    /// Targets that start from each other.
    SourceCircle,
    /// A machine that is not known.
    UnknownPlatform,
    /// Paths that are read by a step which no target has.
    ReadsOfNoStep,
    /// A path that is read of a snapshot, which lacks it.
    AbsentRead,
    /// A seed or snapshot that is one thing for some targets, and another for others.
    TwoMeanings,
}

impl Lint {
    /// The name for machine-readable forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Lint::Error(class) => class.as_str(),
            Lint::UnusableValue => "unusable-value",
            Lint::UntakenCollect => "untaken-collect",
            Lint::UnusedElement => "unused-element",
            Lint::LaxBlank => "lax-blank",
            Lint::InclusionIsText => "inclusion-is-text",
            Lint::LiteralCondition => "literal-condition",
            Lint::BlockInBlock => "block-in-block",
            Lint::UnknownSource => "unknown-source",
            Lint::SourceCircle => "source-circle",
            Lint::UnknownPlatform => "unknown-platform",
            Lint::ReadsOfNoStep => "reads-of-no-step",
            Lint::AbsentRead => "absent-read",
            Lint::TwoMeanings => "two-meanings",
        }
    }

    /// How bad it is.
    pub fn severity(self) -> Severity {
        match self {
            Lint::Error(_) | Lint::UnusableValue | Lint::SourceCircle | Lint::AbsentRead => {
                Severity::Error
            }
            _ => Severity::Warning,
        }
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Something has no value.
    Error,
    /// Something is probably not meant.
    Warning,
}

impl Severity {
    /// The name for machine-readable forms.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// The targets that a finding concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hits {
    /// How many.
    pub count: usize,
    /// Of how many.
    pub of: usize,
    /// The first of them.
    pub first: Vec<String>,
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.count == self.of {
            return write!(f, "in all {} targets", self.of);
        }
        write!(
            f,
            "in {} of {} targets: {}",
            self.count,
            self.of,
            self.first.join(", ")
        )?;
        if self.count > self.first.len() {
            f.write_str(", ...")
        } else {
            Ok(())
        }
    }
}

/// One thing that a check found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What kind of thing.
    pub lint: Lint,
    /// Where, and what to say about it.
    pub diagnostic: Diagnostic,
    /// The targets it concerns, when several were looked at.
    pub hits: Option<Hits>,
}

impl Finding {
    pub(super) fn new(lint: Lint, message: impl Into<String>, at: Label) -> Self {
        // The class is that of errors alone, and not shown for others.
        let diagnostic = Diagnostic::new(Class::BadLine, message).primary(at);
        Finding {
            lint,
            diagnostic,
            hits: None,
        }
    }

    pub(super) fn about(mut self, element: &str) -> Self {
        self.diagnostic = self.diagnostic.about(element);
        self
    }

    pub(super) fn about_missing(mut self, element: &str) -> Self {
        self.diagnostic = self.diagnostic.about_missing(element);
        self
    }

    pub(super) fn note(mut self, note: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.note(note);
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.diagnostic = self.diagnostic.help(help);
        self
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.diagnostic.message
    }

    /// The file it is in.
    pub fn path(&self) -> Option<&Path> {
        self.diagnostic.path()
    }

    /// Shows it with the lines of source it speaks of.
    pub fn render(&self, colour: bool) -> String {
        let mut shown = self.diagnostic.clone();
        if let Some(hits) = &self.hits
            && hits.of > 1
        {
            shown.notes.push(hits.to_string());
        }
        shown.render_as(
            colour,
            self.lint.severity() == Severity::Warning,
            self.lint.as_str(),
        )
    }

    /// For sorting: by file, then place, then kind.
    pub(super) fn key(&self) -> (Option<&Path>, u32, Lint) {
        (self.path(), self.diagnostic.offset(), self.lint)
    }
}
