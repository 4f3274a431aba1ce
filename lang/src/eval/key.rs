//! Keys: what can be asked of an element, and how.

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
    /// Stands for the path and condition of a collect, which is no element.
    pub const COLLECT: Key = Key(u32::MAX);

    #[inline]
    pub fn new(element: u32, form: Form, lax: bool) -> Key {
        debug_assert!(element < u32::MAX >> 3);
        Key(element << 3 | (form as u32) << 1 | u32::from(lax))
    }

    pub fn element(self) -> u32 {
        self.0 >> 3
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
