//! What has been evaluated so far.

use std::num::NonZeroU32;
use std::path::PathBuf;

use hashbrown::HashMap;

use super::cause::Cause;
use super::machine::Scratch;
use super::text::{Arena, Text};
use crate::files::Unreadable;
use crate::span::Loc;

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

    pub fn lax(self) -> bool {
        self.0 & 1 != 0
    }
}

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

#[derive(Clone, Copy, Debug)]
pub(crate) enum Entry {
    /// Not asked for yet.
    None,
    /// Being evaluated, by the frame of this index.
    Busy(u32),
    Done {
        outcome: Outcome,
        flags: Flags,
        epoch: u32,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Memo {
    /// What is asked for most, by element: texts and lines that are not lax.
    texts: Vec<Entry>,
    lines: Vec<Entry>,
    others: HashMap<Key, Entry>,
    pub arena: Arena,
    pub causes: Vec<Cause>,
    /// Names met that have no definition.
    pub absent: Vec<Box<str>>,
    pub absent_index: HashMap<Box<str>, u32>,
    /// Files read as values: their index in the arena, or what went wrong.
    pub files: HashMap<PathBuf, Result<u32, Unreadable>>,
    pub file_bytes: u64,
    /// For what failed because something it needs failed: that, and where it is needed.
    pub via: HashMap<Key, (Loc, Key)>,
    /// Whether files may still be added, so that it matters which names are absent.
    pub loading: bool,
    pub scratch: Scratch,
    /// Grows whenever results that are not stable become void.
    pub epoch: u32,
}

impl Memo {
    /// Makes room for so many elements.
    pub fn reserve(&mut self, elements: usize) {
        for list in [&mut self.texts, &mut self.lines] {
            if elements > list.len() {
                list.resize(elements, Entry::None);
            }
        }
    }

    #[inline]
    pub fn get(&self, key: Key) -> Option<Entry> {
        let element = key.element() as usize;
        let entry = match (key.form(), key.lax()) {
            (Form::Text, false) => self.texts.get(element)?,
            (Form::Lines, false) => self.lines.get(element)?,
            _ => self.others.get(&key)?,
        };
        match entry {
            Entry::None => None,
            Entry::Done { flags, epoch, .. } if flags.unstable && *epoch != self.epoch => None,
            entry => Some(*entry),
        }
    }

    #[inline]
    pub fn set(&mut self, key: Key, entry: Entry) {
        let list = match (key.form(), key.lax()) {
            (Form::Text, false) => &mut self.texts,
            (Form::Lines, false) => &mut self.lines,
            _ => {
                self.others.insert(key, entry);
                return;
            }
        };
        let element = key.element() as usize;
        if element >= list.len() {
            list.resize((element + 1).next_power_of_two(), Entry::None);
        }
        list[element] = entry;
    }

    pub fn fail(&mut self, cause: Cause) -> u32 {
        self.causes.push(cause);
        self.causes.len() as u32 - 1
    }

    pub fn absent_name(&mut self, name: &str) -> u32 {
        if let Some(index) = self.absent_index.get(name) {
            return *index;
        }
        let index = self.absent.len() as u32;
        self.absent.push(name.into());
        self.absent_index.insert(name.into(), index);
        index
    }
}
