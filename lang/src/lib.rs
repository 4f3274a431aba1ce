//! The Metro specification language: text in, settings out.
//!
//! ```
//! use std::path::Path;
//! # use mstore_lang::{Definition, DiskFiles, Spec, Value};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let entry = dir.path().join("metro.conf");
//! std::fs::write(&entry, "greeting: hello $[who]\n")?;
//! let spec = Spec::load(&DiskFiles, &entry, &[Definition::new("who", "world")])?;
//! assert_eq!(spec.value("greeting")?, Value::Line("hello world".into()));
//! # Ok(())
//! # }
//! ```
//!
//! Text becomes definitions in [`syntax`]; `load` works on the queue of collects; `eval` evaluates; [`Spec`] is
//! what is asked. The crate prints nothing and reads no environment. It bounds what any input can make it do:
//! see [`Limits`].

// Numbers are narrowed in `span` alone, where it is said why they fit.
#![warn(clippy::cast_possible_truncation)]

mod class;
mod diagnostics;
mod eval;
mod files;
pub mod fmt;
pub mod ide;
pub mod index;
mod limits;
pub mod lint;
mod load;
pub mod mentions;
pub mod nearest;
pub mod provenance;
mod session;
mod shorten;
mod span;
mod spec;
pub mod syntax;
mod table;
mod value;

pub use class::Class;
pub use diagnostics::{Diagnostic, Label, LabelRole, Subject};
pub use files::{DiskFiles, Files};
pub use limits::Limits;
pub use load::Definition;
pub use provenance::Provenance;
pub use session::Session;
pub use span::Span;
pub use spec::{CauseKey, EvalError, LoadErrors, Spec, UntakenCollect};
pub use value::{Evaluated, Lines, Value};
