//! Frames: pieces of unfinished work on the evaluator's stack.

use super::cause::CauseId;
use super::key::Key;
use super::outcome::Flags;
use super::text::{Item, Piece};
use crate::span::{FileId, Span};
use crate::syntax::{CollectId, SectionId};
use crate::table::SlotId;

/// How far the work on a frame has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// Nothing is known yet.
    Start,
    /// Testing conditions: the next slot, and the one found true.
    Choose {
        slot: SlotId,
        found: Option<SlotId>,
        failed: Option<CauseId>,
    },
    /// Expanding a line element.
    Text,
    /// Expanding the path of a file value.
    Path,
    /// Between two lines of a block.
    Block { joined: bool },
    /// In a line of a block.
    Line { joined: bool },
    /// In the name of an inclusion.
    Name(Inclusion),
    /// Testing the condition of a collect.
    When { collect: CollectId },
    /// Expanding the path of a collect.
    Collect,
}

/// An inclusion whose name is being expanded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inclusion {
    /// Whether the block that it stands in becomes one text.
    pub joined: bool,
    /// Whether the section in force stands before its name.
    pub relative: bool,
    /// Whether it is `:lax`.
    pub lax: bool,
    /// From the `$` to the last bracket.
    pub at: Span,
}

/// The work on one key, or on one collect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub key: Key,
    pub stage: Stage,
    /// The file that the text at work is in.
    pub file: FileId,
    /// The definition at work; for a collect none.
    pub slot: Option<SlotId>,
    /// The section in force in that file.
    pub section: Option<SectionId>,
    /// Undefined references are empty.
    pub lax: bool,
    /// What is left of the text being expanded.
    pub rest: Span,
    /// What is left of the block.
    pub lines: Span,
    /// Where the work of this frame begins in the stacks of pieces and items.
    pub pieces: u32,
    pub items: u32,
    /// Of the text being expanded.
    pub len: u64,
    /// Of the block so far.
    pub size: u64,
    pub flags: Flags,
    /// The reference whose element is being waited for.
    pub asked: Span,
}

/// The stacks of a machine, empty, kept for the next one.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub frames: Vec<Frame>,
    pub pieces: Vec<Piece>,
    pub items: Vec<Item>,
}
