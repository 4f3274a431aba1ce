//! The memo: everything evaluated so far.

use std::path::PathBuf;

use hashbrown::HashMap;

use super::cause::{Cause, CauseId};
use super::frame::Scratch;
use super::key::{Form, Key};
use super::outcome::{Flags, NameId, Outcome};
use super::text::{Arena, HeldId};
use crate::files::Unreadable;
use crate::index::{Id, IndexVec};
use crate::span::Loc;
use crate::table::ElementId;

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
    texts: IndexVec<ElementId, Entry>,
    lines: IndexVec<ElementId, Entry>,
    others: HashMap<Key, Entry>,
    pub arena: Arena,
    pub causes: IndexVec<CauseId, Cause>,
    /// Names met that have no definition.
    pub absent: IndexVec<NameId, Box<str>>,
    pub absent_index: HashMap<Box<str>, NameId>,
    /// Files read as values, or what went wrong.
    pub files: HashMap<PathBuf, Result<HeldId, Unreadable>>,
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
    /// Makes room for all elements of a table that has this number of slots.
    pub fn reserve(&mut self, slots: usize) {
        self.texts.grow_to(slots, Entry::None);
        self.lines.grow_to(slots, Entry::None);
    }

    #[inline]
    pub fn get(&self, key: Key) -> Option<Entry> {
        let element = key.element();
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
        let element = key.element();
        if element.index() >= list.len() {
            list.grow_to((element.index() + 1).next_power_of_two(), Entry::None);
        }
        list[element] = entry;
    }

    pub fn fail(&mut self, cause: Cause) -> CauseId {
        self.causes.push(cause)
    }

    pub fn absent_name(&mut self, name: &str) -> NameId {
        if let Some(id) = self.absent_index.get(name) {
            return *id;
        }
        let id = self.absent.push(name.into());
        self.absent_index.insert(name.into(), id);
        id
    }
}
