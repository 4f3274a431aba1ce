//! Keys: what can be asked of an element, and how.

use crate::index::Id;
use crate::span::narrow;
use crate::table::ElementId;

/// What is evaluated of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// Which of its definitions holds.
    Choice,
    /// Its value as one text.
    Text,
    /// Its value as lines.
    Lines,
}

/// An element, what is wanted of it, and whether undefined references in it are empty (L24).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(u32);

impl Key {
    /// Stands for the path and condition of a collect, which are not an element.
    pub const COLLECT: Key = Key(u32::MAX);

    #[inline]
    pub fn new(element: ElementId, form: Form, lax: bool) -> Key {
        let index = element.index();
        debug_assert!(index < u32::MAX as usize >> 3);
        Key(narrow(index) << 3 | (form as u32) << 1 | u32::from(lax))
    }

    pub fn element(self) -> ElementId {
        ElementId::new(self.0 as usize >> 3)
    }

    pub fn form(self) -> Form {
        match self.0 >> 1 & 3 {
            0 => Form::Choice,
            1 => Form::Text,
            _ => Form::Lines,
        }
    }

    /// The same question in another form.
    pub fn with_form(self, form: Form) -> Key {
        Key::new(self.element(), form, self.lax())
    }

    pub fn lax(self) -> bool {
        self.0 & 1 != 0
    }
}
