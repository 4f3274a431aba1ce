//! From text to definitions: lexical structure, sections, conditions, collects (L1-L13, L28, L38, L41-L44).
//!
//! A [`File`] keeps its source once; everything else is spans into it. Nothing is evaluated here, so a
//! parsed file can serve any number of specifications at the same time.

mod annotation;
mod error;
mod lines;
mod name;
mod parse;
mod reference;

pub use annotation::{Annotation, words};
pub use error::SyntaxError;
pub(crate) use lines::next_span;
pub use lines::{Line, LineKind, Lines, block_lines, trim};
pub use name::{FullName, is_valid_name};
pub use reference::{Modifier, Part, Parts, Reference, Target, inclusion};

pub(crate) use name::hash_name;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::index::{IndexVec, ids};
use crate::span::{Span, narrow};

/// What an element is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `name: text`
    Line,
    /// `name: << path`
    FileValue,
    /// `name: [` ... `]`
    Block,
}

ids! {
    /// A definition of a file.
    pub DefinitionId;
    /// A collect of a file.
    pub CollectId;
    /// A section annotation of a file.
    pub SectionId;
    /// A condition of a file.
    pub ConditionId;
}

const KIND_MASK: u8 = 3;
const LAX: u8 = 4;
const PYTHON: u8 = 8;
const ABSOLUTE: u8 = 16;

/// One definition of an element, as written.
#[derive(Clone, Copy, Debug)]
pub struct Definition {
    pub(crate) hash: u32,
    /// The name as written, without the section; empty for `: value`.
    pub name: Span,
    /// The text of a line, the path of a file value, or the lines of a block with their line breaks.
    pub value: Span,
    section: Option<SectionId>,
    condition: Option<ConditionId>,
    flags: u8,
}

impl Definition {
    /// What the definition binds.
    pub fn kind(&self) -> Kind {
        match self.flags & KIND_MASK {
            0 => Kind::Line,
            1 => Kind::FileValue,
            _ => Kind::Block,
        }
    }

    /// Whether it stands under `[option parse/lax]` (L42).
    pub fn is_lax(&self) -> bool {
        self.flags & LAX != 0
    }

    /// Whether it is a block with a line that starts with `<?python` (L62).
    pub fn has_python(&self) -> bool {
        self.flags & PYTHON != 0
    }

    /// The section in force.
    #[inline]
    pub fn section(&self) -> Option<SectionId> {
        self.section
    }

    /// The condition in force.
    #[inline]
    pub fn condition(&self) -> Option<ConditionId> {
        self.condition
    }
}

/// A `[section name]` annotation.
#[derive(Clone, Copy, Debug)]
pub struct Section {
    /// The name in it.
    pub name: Span,
}

/// A condition: `e`, `e is v...` or `e in v...` (L44).
#[derive(Clone, Debug)]
pub struct Condition {
    /// The name of the element tested.
    pub element: Span,
    /// The words it is compared with; empty for the plain test.
    pub words: Vec<Span>,
    /// The whole condition.
    pub span: Span,
    pub(crate) hash: u64,
}

/// A `[collect path]` annotation.
#[derive(Clone, Copy, Debug)]
pub struct Collect {
    /// The whole annotation, brackets included.
    pub span: Span,
    /// The path as written.
    pub path: Span,
    section: Option<SectionId>,
    condition: Option<ConditionId>,
}

impl Collect {
    /// The section in force.
    #[inline]
    pub fn section(&self) -> Option<SectionId> {
        self.section
    }

    /// Its condition.
    pub fn condition(&self) -> Option<ConditionId> {
        self.condition
    }
}

/// One parsed file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    source: String,
    /// The definitions, in order.
    pub definitions: IndexVec<DefinitionId, Definition>,
    /// The collects, in order.
    pub collects: IndexVec<CollectId, Collect>,
    /// The section annotations, in order.
    pub sections: IndexVec<SectionId, Section>,
    /// The conditions, in order.
    pub conditions: IndexVec<ConditionId, Condition>,
    /// What is wrong with the text, in order.
    pub errors: Vec<SyntaxError>,
    /// How many more errors there are than `errors` holds.
    pub more_errors: usize,
    line_starts: OnceLock<Vec<u32>>,
    origin: Option<PathBuf>,
}

impl File {
    /// The absolute path it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it really lies: mostly the path that it was read from, which is what its relative paths start at.
    pub fn origin(&self) -> &Path {
        self.origin.as_deref().unwrap_or(&self.path)
    }

    pub(crate) fn set_origin(&mut self, origin: Option<PathBuf>) {
        self.origin = origin;
    }

    /// Its text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text of a span.
    #[inline]
    pub fn text(&self, span: Span) -> &str {
        span.of(&self.source)
    }

    /// The full name that a definition gives its element.
    #[inline]
    pub fn name(&self, definition: &Definition) -> FullName<'_> {
        let own = self.text(definition.name);
        if definition.flags & ABSOLUTE != 0 {
            return FullName { section: None, own };
        }
        FullName {
            section: self.section_name(definition.section),
            own,
        }
    }

    #[inline]
    pub(crate) fn section_name(&self, section: Option<SectionId>) -> Option<&str> {
        Some(self.text(self.sections[section?].name))
    }

    /// The section that `$[]` means in a definition.
    #[inline]
    pub fn section_of(&self, definition: &Definition) -> Option<&str> {
        self.section_name(definition.section)
    }

    /// The section that `$[]` means in the path of a collect.
    pub fn section_of_collect(&self, collect: &Collect) -> Option<&str> {
        self.section_name(collect.section)
    }

    /// Where to point for a definition: its name, or the colon of a nameless one.
    pub fn name_span(&self, definition: &Definition) -> Span {
        let span = definition.name;
        if span.is_empty() {
            Span {
                start: span.start,
                end: span.end + 1,
            }
        } else {
            span
        }
    }

    /// The number of the line that an offset lies in, from 1.
    pub fn line(&self, offset: u32) -> usize {
        self.starts().partition_point(|start| *start <= offset)
    }

    /// The column of an offset in characters, from 1.
    pub fn column(&self, offset: u32) -> usize {
        let start = self.line_start(self.line(offset));
        let end = (offset as usize).min(self.source.len());
        self.source
            .get(start..end)
            .map_or(1, |text| text.chars().count() + 1)
    }

    /// The offset at which a line begins; lines count from 1.
    pub fn line_start(&self, line: usize) -> usize {
        let starts = self.starts();
        starts
            .get(line.saturating_sub(1))
            .map_or(self.source.len(), |start| *start as usize)
    }

    fn starts(&self) -> &[u32] {
        self.line_starts.get_or_init(|| {
            let ends = memchr::memchr_iter(b'\n', self.source.as_bytes());
            std::iter::once(0)
                .chain(ends.map(|at| narrow(at) + 1))
                .collect()
        })
    }
}
