//! All definitions of a specification, found by name.

use std::path::Path;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};

use crate::span::Loc;
use crate::syntax::{Condition, Definition, File, FullName, hash_name};

/// Marks the end of a chain of slots.
pub(crate) const NONE: u32 = u32::MAX;

/// A file that takes part, and why.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub file: Arc<File>,
    /// The collect that brought it in: file and index.
    pub brought_by: Option<(u32, u32)>,
    /// Whether it stands for the command line.
    pub command_line: bool,
}

/// One definition in use. The first slot of an element is also the element's number.
#[derive(Clone, Copy, Debug)]
struct Slot {
    file: u32,
    definition: u32,
    next: u32,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub sources: Vec<Source>,
    slots: Vec<Slot>,
    index: HashTable<u32>,
    /// Conditional definitions by element and condition, with the last slot of each element.
    conditional: HashMap<(u32, u64), u32>,
    tails: HashMap<u32, u32>,
}

impl Table {
    #[inline]
    pub fn file(&self, file: u32) -> &File {
        &self.sources[file as usize].file
    }

    /// Where relative paths in a file start; those of the command line start where the main file's do.
    pub fn dir(&self, file: u32) -> &Path {
        let source = &self.sources[file as usize];
        let file = if source.command_line {
            &self.sources[0].file
        } else {
            &source.file
        };
        file.path().parent().unwrap_or(Path::new("/"))
    }

    #[inline]
    pub fn definition(&self, slot: u32) -> (u32, &Definition) {
        let Slot {
            file, definition, ..
        } = self.slots[slot as usize];
        (file, &self.file(file).definitions[definition as usize])
    }

    /// The index of a slot's definition in its file.
    pub fn definition_index(&self, slot: u32) -> (u32, u32) {
        let Slot {
            file, definition, ..
        } = self.slots[slot as usize];
        (file, definition)
    }

    pub fn next(&self, slot: u32) -> Option<u32> {
        let next = self.slots[slot as usize].next;
        (next != NONE).then_some(next)
    }

    #[inline]
    pub fn name(&self, slot: u32) -> FullName<'_> {
        let (file, definition) = self.definition(slot);
        self.file(file).name(definition)
    }

    /// Where an element is defined, for messages.
    pub fn name_loc(&self, slot: u32) -> Loc {
        let (file, definition) = self.definition(slot);
        Loc {
            file,
            span: self.file(file).name_span(definition),
        }
    }

    pub fn condition(&self, slot: u32) -> Option<(u32, &Condition)> {
        let (file, definition) = self.definition(slot);
        Some((file, &self.file(file).conditions[definition.condition()?]))
    }

    #[inline]
    pub fn find(&self, name: &str) -> Option<u32> {
        let hash = hash_name(name);
        self.index
            .find(spread(hash), |slot| {
                self.is(*slot, hash, |full| full.is(name))
            })
            .copied()
    }

    #[inline]
    pub fn find_full(&self, name: &FullName<'_>) -> Option<u32> {
        if name.section.is_none() {
            return self.find(name.own);
        }
        self.find_hashed(name.hash(), name)
    }

    fn find_hashed(&self, hash: u32, name: &FullName<'_>) -> Option<u32> {
        self.index
            .find(spread(hash), |slot| {
                self.is(*slot, hash, |full| full.same(name))
            })
            .copied()
    }

    #[inline]
    fn is(&self, slot: u32, hash: u32, same: impl Fn(FullName<'_>) -> bool) -> bool {
        let (file, definition) = self.definition(slot);
        definition.hash == hash && same(self.file(file).name(definition))
    }

    /// The elements, in the order of their first definitions.
    pub fn elements(&self) -> impl Iterator<Item = u32> + '_ {
        self.index.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// How many definitions are in use; no element has a higher number.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether the element has but one definition, which holds in any case.
    #[inline]
    pub fn is_plain(&self, element: u32) -> bool {
        self.slots[element as usize].next == NONE
            && self.definition(element).1.condition().is_none()
    }

    pub fn reserve(&mut self, more: usize) {
        let Table {
            index,
            sources,
            slots,
            ..
        } = self;
        slots.reserve(more);
        index.reserve(more, |slot| hash_of(sources, slots, *slot));
    }

    /// Adds a definition. The error is the slot of an earlier one that excludes it (L9, L46).
    #[inline]
    pub fn insert(&mut self, source: &File, file: u32, definition: u32) -> Result<u32, u32> {
        let this = &source.definitions[definition as usize];
        let found = self.find_hashed(this.hash, &source.name(this));
        let slot = self.slots.len() as u32;
        let condition = this.condition().map(|index| source.conditions[index].hash);
        let Some(element) = found else {
            self.slots.push(Slot {
                file,
                definition,
                next: NONE,
            });
            let Table {
                index,
                sources,
                slots,
                ..
            } = self;
            index.insert_unique(spread(this.hash), slot, |slot| {
                hash_of(sources, slots, *slot)
            });
            if let Some(hash) = condition {
                self.conditional.insert((slot, hash), slot);
            }
            return Ok(slot);
        };
        let Some(hash) = condition else {
            return Err(element);
        };
        if self.definition(element).1.condition().is_none() {
            return Err(element);
        }
        if let Some(first) = self.conditional.get(&(element, hash)) {
            return Err(*first);
        }
        self.conditional.insert((element, hash), slot);
        self.slots.push(Slot {
            file,
            definition,
            next: NONE,
        });
        let tail = self.tails.insert(element, slot).unwrap_or(element);
        self.slots[tail as usize].next = slot;
        Ok(element)
    }

    /// Puts a definition in the place of all that its element has (L56).
    pub fn replace(&mut self, element: u32, file: u32, definition: u32) {
        self.slots[element as usize] = Slot {
            file,
            definition,
            next: NONE,
        };
        self.tails.remove(&element);
    }
}

fn hash_of(sources: &[Source], slots: &[Slot], slot: u32) -> u64 {
    let Slot {
        file, definition, ..
    } = slots[slot as usize];
    spread(sources[file as usize].file.definitions[definition as usize].hash)
}

/// The table wants its 7 tag bits on top.
#[inline]
pub(crate) fn spread(hash: u32) -> u64 {
    u64::from(hash) | u64::from(hash) << 32
}
