//! Evaluation: lazy, every element at most once, never on the machine's own stack (L14-L37, L44, L45).

mod cause;
mod machine;
mod memo;
pub(crate) mod text;
mod visitor;

pub(crate) use cause::Cause;
pub(crate) use machine::{Collected, Machine};
pub(crate) use memo::{Entry, Flags, Form, Key, Memo, Outcome};

pub(crate) use visitor::{Decision, Silent, Visitor};

use std::path::Path;

use crate::files::Unreadable;

/// Reads the file of a file value.
pub(crate) type Reader<'a> = dyn Fn(&Path) -> Result<String, Unreadable> + 'a;
