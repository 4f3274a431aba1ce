//! Evaluation: lazy, every element at most once, never on the machine's own stack (L14-L37, L44, L45).

mod cause;
mod frame;
mod key;
mod machine;
mod memo;
mod outcome;
pub(crate) mod text;
mod visitor;

pub(crate) use cause::{Cause, CauseId};
pub(crate) use key::{Form, Key};
pub(crate) use machine::{Collected, Machine};
pub(crate) use memo::{Entry, Memo};
pub(crate) use outcome::{Flags, Outcome};

pub(crate) use visitor::{Decision, Silent, Visitor};

use std::path::Path;

use crate::files::Unreadable;

/// Reads the file of a file value.
pub(crate) type Reader<'a> = dyn Fn(&Path) -> Result<String, Unreadable> + 'a;
