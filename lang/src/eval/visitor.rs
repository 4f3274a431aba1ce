//! The `Visitor` trait: callbacks during evaluation.

use std::path::Path;

use super::key::Key;
use super::text::Item;
use crate::span::Loc;
use crate::syntax::{FullName, Modifier};
use crate::table::{ElementId, SlotId};

/// What became of a reference, an inclusion or a condition.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decision {
    /// Its value took its place.
    Used(Key),
    /// Empty, since the element is undefined.
    Empty,
    /// It removed the value or line.
    Removed(Option<Key>),
    /// Answered with `yes` or `no`.
    Answer(bool),
    /// It failed by itself.
    Failed,
    /// What it names failed.
    FailedIn(Key),
}

/// Is told what the evaluator does. Nothing it does changes a result.
pub(crate) trait Visitor {
    /// A name without any definition was looked for.
    fn absent(&mut self, _name: &FullName<'_>) {}
    /// An element was found to have no true condition.
    fn no_condition(&mut self, _element: ElementId) {}
    /// A reference or inclusion was dealt with, in the work on a key.
    fn reference(
        &mut self,
        _key: Key,
        _at: Loc,
        _modifier: Modifier,
        _element: Option<ElementId>,
        _decision: Decision,
    ) {
    }
    /// The condition of a definition was tested; `element` is what it names.
    fn condition(
        &mut self,
        _key: Key,
        _slot: SlotId,
        _element: Option<ElementId>,
        _held: Option<bool>,
    ) {
    }
    /// A definition was chosen for a key, and work on it begins.
    fn begin(&mut self, _key: Key, _slot: SlotId) {}
    /// A line of a block begins that has references, or is to be joined.
    fn line(&mut self, _key: Key, _at: Loc) {}
    /// A line of a block stands for itself.
    fn plain(&mut self, _key: Key, _at: Loc) {}
    /// What the line that began last came to; a line that was removed comes to nothing.
    fn kept(&mut self, _key: Key, _item: &Item) {}
    /// A file is read as a value.
    fn read(&mut self, _key: Key, _path: &Path) {}
}

/// A visitor that is not interested.
pub(crate) struct Silent;

impl Visitor for Silent {}
