//! Outcomes: what evaluation gives for a key, and what that rests on.

use std::num::NonZeroU32;

use super::cause::CauseId;
use super::text::{BlockId, Text};
use crate::index::ids;
use crate::table::SlotId;

/// The result of an evaluation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// The slot of the definition that holds.
    Chosen(SlotId),
    /// No definition holds.
    Undefined,
    /// Removed by a `:zap` (L22).
    Removed,
    Text(Text),
    /// A block of the arena; none without lines.
    Lines(Option<BlockId>),
    Failed(CauseId),
}

/// What a result rests on besides definitions that cannot change any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// It may differ once more files are loaded.
    pub unstable: bool,
    /// The first undefined element that it met.
    pub absent: Option<Absent>,
}

ids! {
    /// A name that was looked for and has no definition.
    pub(crate) NameId;
}

/// An undefined element: its name, or a mark for those that have definitions without a true condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absent(NonZeroU32);

impl Absent {
    /// An element that has definitions, but no true condition.
    pub const CONDITION: Absent = Absent(NonZeroU32::MAX);

    pub fn name(name: NameId) -> Absent {
        Absent(name.0)
    }

    /// The name, if it has no definition at all.
    pub fn id(self) -> Option<NameId> {
        (self != Absent::CONDITION).then_some(NameId(self.0))
    }
}

impl Flags {
    #[inline]
    pub fn merge(&mut self, other: Flags) {
        self.unstable |= other.unstable;
        if self.absent.is_none() {
            self.absent = other.absent;
        }
    }
}
