//! Causes: the reasons why evaluations fail.

use crate::class::Class;
use crate::files::Unreadable;
use crate::index::ids;
use crate::span::Loc;
use crate::table::{ElementId, SlotId};

ids! {
    /// A cause that was met.
    pub(crate) CauseId;
}

/// The root of a failure; everything that needs the element shares it.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// A reference or inclusion of a name without definition.
    Undefined {
        at: Loc,
        name: String,
    },
    /// A reference or inclusion of an element none of whose conditions is true.
    NoCondition {
        at: Loc,
        element: ElementId,
    },
    /// Each element of the circle with the place where it asks for the next.
    Circular {
        links: Vec<(ElementId, Loc)>,
        /// The elements, sorted.
        members: Vec<ElementId>,
    },
    BadModifier {
        at: Loc,
        modifier: Loc,
    },
    Unterminated {
        at: Loc,
    },
    NoSection {
        at: Loc,
    },
    CannotOpen {
        at: Loc,
        path: String,
        why: Unreadable,
    },
    /// Two definitions whose conditions are both true.
    Conflict {
        slots: [SlotId; 2],
    },
    WrongKind {
        at: Loc,
        slot: SlotId,
    },
    EmbeddedCode {
        slot: SlotId,
        at: Loc,
    },
    Limit {
        at: Loc,
        what: &'static str,
        limit: u64,
    },
}

impl Cause {
    pub fn class(&self) -> Class {
        match self {
            Cause::Undefined { .. } | Cause::NoCondition { .. } => Class::Undefined,
            Cause::Circular { .. } => Class::Circular,
            Cause::BadModifier { .. } => Class::BadModifier,
            Cause::Unterminated { .. } => Class::Unterminated,
            Cause::NoSection { .. } => Class::NoSection,
            Cause::CannotOpen { .. } => Class::CannotOpen,
            Cause::Conflict { .. } => Class::Conflict,
            Cause::WrongKind { .. } => Class::WrongKind,
            Cause::EmbeddedCode { .. } => Class::EmbeddedCode,
            Cause::Limit { .. } => Class::Limit,
        }
    }
}
