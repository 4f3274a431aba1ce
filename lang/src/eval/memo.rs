//! The memo: everything evaluated so far.

use std::path::PathBuf;

use hashbrown::HashMap;

use super::cause::Cause;
use super::frame::Scratch;
use super::key::{Form, Key};
use super::outcome::{Flags, Outcome};
use super::text::Arena;
use crate::files::Unreadable;
use crate::span::Loc;

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
