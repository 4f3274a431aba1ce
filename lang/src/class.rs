//! The classes of errors (L61).

use std::fmt;

/// What kind of mistake an error reports.
///
/// All but [`Class::Limit`] are classes of the language. `limit` is this implementation's own: an
/// input that is well formed but would need more memory than [`Limits`](crate::Limits) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Neither element nor annotation (L1, L4, L5).
    BadLine,
    /// Ill-formed annotation or condition (L41, L44, L52, L55).
    BadAnnotation,
    /// Defined or collected twice (L9, L46, L53, L57).
    Duplicate,
    /// No such file to collect (L51).
    BadCollect,
    /// Open block (L29) or open reference (L19).
    Unterminated,
    /// A section is wanted where none is in force (L12, L15).
    NoSection,
    /// No such element (L17), or a stuck collect (L54).
    Undefined,
    /// Depends on itself (L18, L54).
    Circular,
    /// Unknown or surplus modifier (L26, L32).
    BadModifier,
    /// Unreadable file value (L40).
    CannotOpen,
    /// Several true conditions (L45), or decided too early (L49).
    Conflict,
    /// Inclusion of a line (L35).
    WrongKind,
    /// A block with `<?python` (L62).
    EmbeddedCode,
    /// Larger than the limits of this implementation.
    Limit,
}

impl Class {
    /// Every class, in the order of the language reference.
    pub const ALL: [Class; 14] = [
        Class::BadLine,
        Class::BadAnnotation,
        Class::Duplicate,
        Class::BadCollect,
        Class::Unterminated,
        Class::NoSection,
        Class::Undefined,
        Class::Circular,
        Class::BadModifier,
        Class::CannotOpen,
        Class::Conflict,
        Class::WrongKind,
        Class::EmbeddedCode,
        Class::Limit,
    ];

    /// The name that the reference and the machine-readable forms use.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::BadLine => "bad-line",
            Class::BadAnnotation => "bad-annotation",
            Class::Duplicate => "duplicate",
            Class::BadCollect => "bad-collect",
            Class::Unterminated => "unterminated",
            Class::NoSection => "no-section",
            Class::Undefined => "undefined",
            Class::Circular => "circular",
            Class::BadModifier => "bad-modifier",
            Class::CannotOpen => "cannot-open",
            Class::Conflict => "conflict",
            Class::WrongKind => "wrong-kind",
            Class::EmbeddedCode => "embedded-code",
            Class::Limit => "limit",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
