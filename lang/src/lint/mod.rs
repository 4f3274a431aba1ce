//! Lints: checks of one specification, or of all targets that one describes.
//!
//! [`text`] looks at a file alone. A [`Survey`] is told of every target, one [`Sighting`] each, and knows in the
//! end what held for all of them: which collects were never taken, which elements never used. Errors are
//! gathered by cause, so that a mistake that breaks six hundred targets is one finding.

mod finding;
mod survey;
#[cfg(test)]
mod tests;
mod text;

pub use finding::{Finding, Hits, Lint, Severity};
pub(crate) use survey::errors_by_cause;
pub use survey::{Sighting, Survey};
pub use text::check_file;
