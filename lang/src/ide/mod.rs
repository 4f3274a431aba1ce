//! What an editor asks about specifications, without any editor: the core of the language server.

pub mod complete;
pub mod document;
pub mod outline;
pub mod position;
pub mod rename;

pub use position::{LineIndex, Position, Range};

/// A change to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub range: Range,
    /// What takes its place.
    pub text: String,
}
