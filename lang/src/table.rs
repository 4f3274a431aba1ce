//! The table: all definitions of a specification, found by name.

use std::path::Path;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};

use crate::index::{IndexVec, ids};
use crate::span::{FileId, Loc};
use crate::syntax::{CollectId, Condition, Definition, DefinitionId, File, FullName, hash_name};

ids! {
    /// A definition in use.
    pub(crate) SlotId;
    /// An element: what its first definition in use is.
    pub(crate) ElementId;
}

impl ElementId {
    /// The slot of the first definition.
    #[inline]
    pub fn first(self) -> SlotId {
        SlotId(self.0)
    }
}

impl SlotId {
    /// The element whose first definition it is.
    #[inline]
    fn element(self) -> ElementId {
        ElementId(self.0)
    }
}

/// A file that takes part, and why.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub file: Arc<File>,
    /// The collect that brought it in.
    pub brought_by: Option<(FileId, CollectId)>,
    /// Whether it stands for the command line.
    pub command_line: bool,
}

/// One definition in use.
#[derive(Clone, Copy, Debug)]
struct Slot {
    file: FileId,
    definition: DefinitionId,
    /// The next definition of the same element.
    next: Option<SlotId>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    pub sources: IndexVec<FileId, Source>,
    slots: IndexVec<SlotId, Slot>,
    index: HashTable<ElementId>,
    /// Conditional definitions by element and condition.
    conditional: HashMap<(ElementId, u64), SlotId>,
    /// The last slot of each element that has several.
    tails: HashMap<ElementId, SlotId>,
}

impl Table {
    #[inline]
    pub fn file(&self, file: FileId) -> &File {
        &self.sources[file].file
    }

    /// Where relative paths in a file start; those of the command line start where the main file's do.
    pub fn dir(&self, file: FileId) -> &Path {
        let source = &self.sources[file];
        let file = if source.command_line {
            self.file(FileId::MAIN)
        } else {
            &source.file
        };
        file.path().parent().unwrap_or(Path::new("/"))
    }

    #[inline]
    pub fn definition(&self, slot: SlotId) -> (FileId, &Definition) {
        let Slot {
            file, definition, ..
        } = self.slots[slot];
        (file, &self.file(file).definitions[definition])
    }

    /// The file that a slot's definition is in.
    pub fn file_of(&self, slot: SlotId) -> FileId {
        self.slots[slot].file
    }

    pub fn next(&self, slot: SlotId) -> Option<SlotId> {
        self.slots[slot].next
    }

    #[inline]
    pub fn name(&self, element: ElementId) -> FullName<'_> {
        self.slot_name(element.first())
    }

    /// The name of the element that a slot belongs to.
    #[inline]
    pub fn slot_name(&self, slot: SlotId) -> FullName<'_> {
        let (file, definition) = self.definition(slot);
        self.file(file).name(definition)
    }

    /// Where a slot's definition names its element, for messages.
    pub fn name_loc(&self, slot: SlotId) -> Loc {
        let (file, definition) = self.definition(slot);
        Loc {
            file,
            span: self.file(file).name_span(definition),
        }
    }

    pub fn condition(&self, slot: SlotId) -> Option<(FileId, &Condition)> {
        let (file, definition) = self.definition(slot);
        Some((file, &self.file(file).conditions[definition.condition()?]))
    }

    #[inline]
    pub fn find(&self, name: &str) -> Option<ElementId> {
        let hash = hash_name(name);
        self.index
            .find(spread(hash), |element| {
                self.is(*element, hash, |full| full.is(name))
            })
            .copied()
    }

    #[inline]
    pub fn find_full(&self, name: &FullName<'_>) -> Option<ElementId> {
        if name.section.is_none() {
            return self.find(name.own);
        }
        self.find_hashed(name.hash(), name)
    }

    fn find_hashed(&self, hash: u32, name: &FullName<'_>) -> Option<ElementId> {
        self.index
            .find(spread(hash), |element| {
                self.is(*element, hash, |full| full.same(name))
            })
            .copied()
    }

    #[inline]
    fn is(&self, element: ElementId, hash: u32, same: impl Fn(FullName<'_>) -> bool) -> bool {
        let (file, definition) = self.definition(element.first());
        definition.hash == hash && same(self.file(file).name(definition))
    }

    /// The elements, in no order.
    pub fn elements(&self) -> impl Iterator<Item = ElementId> + '_ {
        self.index.iter().copied()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// The number of definitions in use; it is greater than the index of every element.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Whether the element has but one definition, which holds in any case.
    #[inline]
    pub fn is_plain(&self, element: ElementId) -> bool {
        let slot = element.first();
        self.next(slot).is_none() && self.definition(slot).1.condition().is_none()
    }

    pub fn reserve(&mut self, more: usize) {
        let Table {
            index,
            sources,
            slots,
            ..
        } = self;
        slots.reserve(more);
        index.reserve(more, |element| hash_of(sources, slots, *element));
    }

    /// Adds a definition. The error is the slot of an earlier one that excludes it (L9, L46).
    #[inline]
    pub fn insert(
        &mut self,
        source: &File,
        file: FileId,
        definition: DefinitionId,
    ) -> Result<ElementId, SlotId> {
        let this = &source.definitions[definition];
        let found = self.find_hashed(this.hash, &source.name(this));
        let condition = this.condition().map(|id| source.conditions[id].hash);
        let new = Slot {
            file,
            definition,
            next: None,
        };
        let Some(element) = found else {
            let slot = self.slots.push(new);
            let element = slot.element();
            let Table {
                index,
                sources,
                slots,
                ..
            } = self;
            index.insert_unique(spread(this.hash), element, |element| {
                hash_of(sources, slots, *element)
            });
            if let Some(hash) = condition {
                self.conditional.insert((element, hash), slot);
            }
            return Ok(element);
        };
        let Some(hash) = condition else {
            return Err(element.first());
        };
        if self.definition(element.first()).1.condition().is_none() {
            return Err(element.first());
        }
        if let Some(first) = self.conditional.get(&(element, hash)) {
            return Err(*first);
        }
        let slot = self.slots.push(new);
        self.conditional.insert((element, hash), slot);
        let tail = self.tails.insert(element, slot);
        self.slots[tail.unwrap_or(element.first())].next = Some(slot);
        Ok(element)
    }

    /// Puts a definition in the place of all that its element has (L56).
    pub fn replace(&mut self, element: ElementId, file: FileId, definition: DefinitionId) {
        self.slots[element.first()] = Slot {
            file,
            definition,
            next: None,
        };
        self.tails.remove(&element);
    }
}

fn hash_of(
    sources: &IndexVec<FileId, Source>,
    slots: &IndexVec<SlotId, Slot>,
    element: ElementId,
) -> u64 {
    let Slot {
        file, definition, ..
    } = slots[element.first()];
    spread(sources[file].file.definitions[definition].hash)
}

/// The table wants its 7 tag bits on top.
#[inline]
pub(crate) fn spread(hash: u32) -> u64 {
    u64::from(hash) | u64::from(hash) << 32
}
