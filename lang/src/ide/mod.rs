//! The core of the language server: an editor's questions about specifications, without an editor.

mod answers;
mod complete;
mod document;
mod host;
mod outline;
mod position;
mod project;
mod rename;
#[cfg(test)]
mod tests;
mod workspace;

pub use answers::Hover;
pub use complete::{Completion, CompletionKind, Completions};
pub use document::Document;
pub use host::Host;
pub use outline::{Fold, FoldKind, Symbol, SymbolKind, folds, symbols};
pub use position::{LineIndex, Position, Range};
pub use rename::RenameError;
pub use workspace::{Location, Options, Problem, Workspace};

/// A change to a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced.
    pub range: Range,
    /// What takes its place.
    pub text: String,
}
