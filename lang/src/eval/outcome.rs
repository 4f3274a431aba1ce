//! Outcomes: what evaluation gives for a key, and what that rests on.

use std::num::NonZeroU32;

use super::text::Text;

/// The result of an evaluation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Outcome {
    /// The slot of the definition that holds.
    Chosen(u32),
    /// No definition holds.
    Undefined,
    /// Removed by a `:zap` (L22).
    Removed,
    Text(Text),
    /// A block of the arena; none without lines.
    Lines(Option<u32>),
    /// An index into [`Memo::causes`].
    Failed(u32),
}

/// What a result rests on besides definitions that cannot change any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags {
    /// It may differ once more files are loaded.
    pub unstable: bool,
    /// It met an undefined element: that one has no definition at all and this index in
    /// [`Memo::absent`], or it has definitions without a true condition.
    pub absent: Option<Absent>,
}

/// An index into [`Memo::absent`], or a mark for elements without a true condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Absent(NonZeroU32);

impl Absent {
    /// An element that has definitions, but no true condition.
    pub const CONDITION: Absent = Absent(NonZeroU32::MAX);

    pub fn name(index: u32) -> Absent {
        Absent(NonZeroU32::MIN.saturating_add(index))
    }

    /// The index of the name.
    pub fn index(self) -> Option<u32> {
        (self != Absent::CONDITION).then(|| self.0.get() - 1)
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
