//! The evaluator: a loop over a stack of frames.
//!
//! A frame that needs the result of another element pushes a frame for it and is resumed with its position
//! unchanged; what it asked for is then in the memo. So every reference is looked at once or twice, and a chain
//! of any length needs no more than a longer stack.

mod block;
mod expand;

use super::Reader;
use super::cause::{Cause, CauseId};
use super::frame::{Frame, Scratch, Stage};
use super::key::{Form, Key};
use super::memo::{Entry, Memo};
use super::outcome::{Absent, Flags, Outcome};
use super::text::{Item, Piece, Text};
use super::visitor::Visitor;
use crate::limits::Limits;
use crate::span::{FileId, Loc, Span, narrow, narrow_len};
use crate::syntax::{CollectId, ConditionId, FullName, Kind, trim};
use crate::table::{ElementId, SlotId, Table};

/// The outcome of a collect's condition and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    /// Its condition is false.
    False,
    /// Its path is removed or empty (L50).
    Nothing,
    /// It names a file.
    Path(String),
    Failed(CauseId),
}

/// What a frame has to say after a step.
enum Next {
    /// Go on with the same frame.
    Again,
    /// The result of another key is needed first.
    Call(Key),
    Done(Outcome),
}

/// What expanding a text came to.
enum Expanded {
    All,
    Call(Key),
    Removed,
    Failed(CauseId),
}

/// What became of a name.
enum Found {
    Element(ElementId),
    Absent,
    Failed(CauseId),
}

/// What a test of a condition came to.
enum Tested {
    Is(bool),
    Call(Key),
    Failed(CauseId),
}

pub(crate) struct Machine<'a, V> {
    pub table: &'a Table,
    pub memo: &'a mut Memo,
    pub limits: &'a Limits,
    pub read: &'a Reader<'a>,
    pub visitor: V,
    frames: Vec<Frame>,
    pieces: Vec<Piece>,
    items: Vec<Item>,
}

impl<V> Drop for Machine<'_, V> {
    fn drop(&mut self) {
        self.memo.scratch = Scratch {
            frames: std::mem::take(&mut self.frames),
            pieces: std::mem::take(&mut self.pieces),
            items: std::mem::take(&mut self.items),
        };
    }
}

impl<'a, V: Visitor> Machine<'a, V> {
    pub fn new(
        table: &'a Table,
        memo: &'a mut Memo,
        limits: &'a Limits,
        read: &'a Reader<'a>,
        visitor: V,
    ) -> Self {
        let Scratch {
            mut frames,
            mut pieces,
            mut items,
        } = std::mem::take(&mut memo.scratch);
        // Left over only if a panic was caught half way.
        frames.clear();
        pieces.clear();
        items.clear();
        Machine {
            table,
            memo,
            limits,
            read,
            visitor,
            frames,
            pieces,
            items,
        }
    }

    /// The definition of an element that holds, or `Undefined` or `Failed`.
    pub fn choose(&mut self, element: ElementId, lax: bool) -> Outcome {
        if self.table.is_plain(element) {
            Outcome::Chosen(element.first())
        } else {
            self.ask(Key::new(element, Form::Choice, lax))
        }
    }

    /// The value of an element in the form that its kind calls for.
    pub fn value(&mut self, element: ElementId) -> (Key, Outcome) {
        match self.choose(element, false) {
            Outcome::Chosen(slot) => {
                let block = self.table.definition(slot).1.kind() == Kind::Block;
                let key = Key::new(element, if block { Form::Lines } else { Form::Text }, false);
                (key, self.ask(key))
            }
            other => (Key::new(element, Form::Choice, false), other),
        }
    }

    /// Evaluates, unless that was done before.
    pub fn ask(&mut self, key: Key) -> Outcome {
        if let Some(Entry::Done { outcome, .. }) = self.memo.get(key) {
            return outcome;
        }
        self.call(key);
        self.run().0
    }

    /// Evaluates the condition and the path of a collect.
    pub fn collect(&mut self, file: FileId, id: CollectId) -> (Collected, Flags) {
        let source = self.table.file(file);
        let collect = &source.collects[id];
        let mut frame = self.frame(Key::COLLECT, file);
        frame.section = collect.section();
        frame.rest = collect.path;
        frame.stage = match collect.condition() {
            Some(_) => Stage::When { collect: id },
            None => Stage::Collect,
        };
        self.frames.push(frame);
        let (outcome, flags) = self.run();
        let collected = match outcome {
            Outcome::Undefined => Collected::False,
            Outcome::Failed(cause) => Collected::Failed(cause),
            Outcome::Text(text) if text.len > 0 => {
                Collected::Path(self.memo.arena.string(self.table, text))
            }
            _ => Collected::Nothing,
        };
        (collected, flags)
    }

    fn frame(&self, key: Key, file: FileId) -> Frame {
        Frame {
            key,
            stage: Stage::Start,
            file,
            slot: None,
            section: None,
            lax: false,
            rest: Span::default(),
            lines: Span::default(),
            pieces: narrow(self.pieces.len()),
            items: narrow(self.items.len()),
            len: 0,
            size: 0,
            flags: Flags::default(),
            asked: Span::default(),
        }
    }

    fn call(&mut self, key: Key) {
        let frame = self.frame(key, FileId::MAIN);
        self.memo.set(key, Entry::Busy(narrow(self.frames.len())));
        self.frames.push(frame);
    }

    /// Works until the stack is empty, and returns what its first frame came to.
    fn run(&mut self) -> (Outcome, Flags) {
        loop {
            // The frame is taken off while it works: one copy, and no fight over `self`.
            let Some(mut frame) = self.frames.pop() else {
                return (Outcome::Undefined, Flags::default());
            };
            loop {
                match self.advance(&mut frame) {
                    Next::Again => {}
                    Next::Call(key) => {
                        self.frames.push(frame);
                        self.call(key);
                        break;
                    }
                    Next::Done(outcome) => {
                        self.pieces.truncate(frame.pieces as usize);
                        self.items.truncate(frame.items as usize);
                        if frame.key != Key::COLLECT {
                            let epoch = self.memo.epoch;
                            let entry = Entry::Done {
                                outcome,
                                flags: frame.flags,
                                epoch,
                            };
                            self.memo.set(frame.key, entry);
                        }
                        if self.frames.is_empty() {
                            return (outcome, frame.flags);
                        }
                        break;
                    }
                }
            }
        }
    }

    fn advance(&mut self, frame: &mut Frame) -> Next {
        match frame.stage {
            Stage::Start => self.start(frame),
            Stage::Choose {
                slot,
                found,
                failed,
            } => self.choose_next(frame, slot, found, failed),
            Stage::Text => match self.expand(frame) {
                Expanded::All => Next::Done(self.finish_text(frame)),
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => Next::Done(Outcome::Removed),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
            Stage::Path => match self.expand(frame) {
                Expanded::All => Next::Done(self.read_file(frame)),
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => Next::Done(Outcome::Removed),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
            Stage::Block { joined } => self.next_line(frame, joined),
            Stage::Line { joined } => match self.expand(frame) {
                Expanded::All => {
                    let piece = {
                        let pieces = &self.pieces[frame.pieces as usize..];
                        self.memo.arena.rope(pieces)
                    };
                    let text = Text {
                        piece,
                        len: narrow_len(frame.len),
                    };
                    self.add_item(frame, Item::Line(text), joined)
                }
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => self.end_line(frame, joined),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
            Stage::Name(inclusion) => match self.expand(frame) {
                Expanded::All => self.include(frame, inclusion),
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => self.end_line(frame, inclusion.joined),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
            Stage::When { collect } => {
                let table = self.table;
                let file = table.file(frame.file);
                let Some(condition) = file.collects[collect].condition() else {
                    frame.stage = Stage::Collect;
                    return Next::Again;
                };
                match self.test(frame, frame.file, condition, false) {
                    Tested::Is(true) => {
                        frame.stage = Stage::Collect;
                        Next::Again
                    }
                    Tested::Is(false) => Next::Done(Outcome::Undefined),
                    Tested::Call(key) => Next::Call(key),
                    Tested::Failed(cause) => Next::Done(Outcome::Failed(cause)),
                }
            }
            Stage::Collect => match self.expand(frame) {
                Expanded::All if frame.len > self.limits.path => {
                    let at = Loc {
                        file: frame.file,
                        span: frame.asked,
                    };
                    Next::Done(self.limit(at, "a path", self.limits.path))
                }
                Expanded::All => Next::Done(self.finish_text(frame)),
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => Next::Done(Outcome::Removed),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
        }
    }

    fn limit(&mut self, at: Loc, what: &'static str, limit: u64) -> Outcome {
        Outcome::Failed(self.memo.fail(Cause::Limit { at, what, limit }))
    }

    /// Where to point for a value that grows too large: at its definition, or into the path of a collect.
    fn value_loc(&self, frame: &Frame) -> Loc {
        match frame.slot {
            Some(slot) => self.table.name_loc(slot),
            None => Loc {
                file: frame.file,
                span: frame.asked,
            },
        }
    }

    /// Finds the definition to work on.
    fn start(&mut self, frame: &mut Frame) -> Next {
        let key = frame.key;
        let element = key.element();
        if key.form() == Form::Choice {
            frame.stage = Stage::Choose {
                slot: element.first(),
                found: None,
                failed: None,
            };
            return Next::Again;
        }
        let slot = match self.chosen(frame, element, key.lax()) {
            Ok(Outcome::Chosen(slot)) => slot,
            Ok(other) => return Next::Done(other),
            Err(call) => return Next::Call(call),
        };
        let table = self.table;
        let (file, definition) = table.definition(slot);
        self.visitor.begin(key, slot);
        frame.file = file;
        frame.slot = Some(slot);
        frame.section = definition.section();
        frame.lax = key.lax() || definition.is_lax();
        frame.rest = definition.value;
        frame.stage = match definition.kind() {
            Kind::Line => Stage::Text,
            Kind::FileValue => Stage::Path,
            Kind::Block => {
                if definition.has_python() {
                    let at = self.python_line(file, definition.value);
                    return Next::Done(Outcome::Failed(
                        self.memo.fail(Cause::EmbeddedCode { slot, at }),
                    ));
                }
                frame.lines = definition.value;
                Stage::Block {
                    joined: key.form() == Form::Text,
                }
            }
        };
        Next::Again
    }

    fn python_line(&self, file: FileId, block: Span) -> Loc {
        let source = self.table.file(file).source();
        let line = crate::syntax::block_lines(source, block)
            .map(|line| trim(source, line))
            .find(|line| line.of(source).starts_with("<?python"));
        Loc {
            file,
            span: line.unwrap_or(block),
        }
    }

    /// Looks a result up; `Err` if it has to be worked out first.
    fn get(&mut self, frame: &mut Frame, key: Key) -> Result<Outcome, Key> {
        match self.memo.get(key) {
            Some(Entry::Done { outcome, flags, .. }) => {
                frame.flags.merge(flags);
                Ok(outcome)
            }
            Some(Entry::Busy(first)) => Ok(Outcome::Failed(self.circle(frame, first as usize))),
            None | Some(Entry::None) => Err(key),
        }
    }

    /// The frame asks for something that a frame below it, or itself, is working on.
    fn circle(&mut self, frame: &mut Frame, first: usize) -> CauseId {
        let mut links: Vec<(ElementId, Loc)> = Vec::new();
        let ring = &self.frames[first.min(self.frames.len())..];
        for link in ring.iter().chain(std::iter::once(&*frame)) {
            // The choice and the value of one element are one link to the reader.
            let element = link.key.element();
            let loc = Loc {
                file: link.file,
                span: link.asked,
            };
            match links.last_mut() {
                Some((last, at)) if *last == element => *at = loc,
                _ => links.push((element, loc)),
            }
        }
        // What those below met so far decided that they came here.
        let met = ring.iter().fold(Flags::default(), |mut met, link| {
            met.merge(link.flags);
            met
        });
        frame.flags.merge(met);
        let mut members: Vec<ElementId> = links.iter().map(|(element, _)| *element).collect();
        members.sort_unstable();
        self.memo.fail(Cause::Circular { links, members })
    }

    /// The choice of an element's definition.
    #[inline]
    fn chosen(&mut self, frame: &mut Frame, element: ElementId, lax: bool) -> Result<Outcome, Key> {
        if self.table.is_plain(element) {
            return Ok(Outcome::Chosen(element.first()));
        }
        self.get(frame, Key::new(element, Form::Choice, lax))
    }

    fn choose_next(
        &mut self,
        frame: &mut Frame,
        slot: SlotId,
        found: Option<SlotId>,
        failed: Option<CauseId>,
    ) -> Next {
        let table = self.table;
        let (file, definition) = table.definition(slot);
        frame.flags.unstable = true;
        let holds = match definition.condition() {
            None => true,
            Some(condition) => {
                let lax = frame.key.lax();
                frame.file = file;
                let tested = self.test(frame, file, condition, lax);
                let held = match tested {
                    Tested::Call(key) => return Next::Call(key),
                    Tested::Is(held) => Ok(held),
                    Tested::Failed(cause) => Err(cause),
                };
                let element = table.find(
                    table
                        .file(file)
                        .text(table.file(file).conditions[condition].element),
                );
                self.visitor.condition(frame.key, slot, element, held.ok());
                match held {
                    Ok(held) => held,
                    Err(cause) => {
                        // All are tested, and the class named does not depend on their order (L10).
                        let class = |cause: CauseId| self.memo.causes[cause].class();
                        let failed = match failed {
                            Some(first) if class(first) <= class(cause) => first,
                            _ => cause,
                        };
                        return self.choose_after(frame, slot, found, Some(failed));
                    }
                }
            }
        };
        match (holds, found) {
            (true, Some(first)) => {
                let failed = match failed {
                    // A failed condition comes before a conflict, whatever the order.
                    Some(failed) => failed,
                    None => self.memo.fail(Cause::Conflict {
                        slots: [first, slot],
                    }),
                };
                self.choose_after(frame, slot, found, Some(failed))
            }
            (true, None) => self.choose_after(frame, slot, Some(slot), failed),
            (false, _) => self.choose_after(frame, slot, found, failed),
        }
    }

    fn choose_after(
        &mut self,
        frame: &mut Frame,
        slot: SlotId,
        found: Option<SlotId>,
        failed: Option<CauseId>,
    ) -> Next {
        if let Some(slot) = self.table.next(slot) {
            frame.stage = Stage::Choose {
                slot,
                found,
                failed,
            };
            return Next::Again;
        }
        Next::Done(match (failed, found) {
            (Some(cause), _) => Outcome::Failed(cause),
            (None, Some(slot)) => Outcome::Chosen(slot),
            (None, None) => {
                frame.flags.merge(Flags {
                    unstable: true,
                    absent: Some(Absent::CONDITION),
                });
                self.visitor.no_condition(frame.key.element());
                Outcome::Undefined
            }
        })
    }

    /// Tests a condition (L44).
    fn test(
        &mut self,
        frame: &mut Frame,
        file: FileId,
        condition: ConditionId,
        lax: bool,
    ) -> Tested {
        let table = self.table;
        let source = table.file(file);
        let condition = &source.conditions[condition];
        frame.asked = condition.element;
        let name = source.text(condition.element);
        let Some(element) = table.find(name) else {
            self.absent(
                frame,
                &FullName {
                    section: None,
                    own: name,
                },
            );
            return Tested::Is(false);
        };
        match self.chosen(frame, element, lax) {
            Ok(Outcome::Chosen(_)) if condition.words.is_empty() => Tested::Is(true),
            Ok(Outcome::Chosen(_)) => {
                let key = Key::new(element, Form::Text, lax);
                match self.get(frame, key) {
                    Err(key) => Tested::Call(key),
                    Ok(Outcome::Text(text)) => {
                        let mut words = condition.words.iter().map(|word| source.text(*word));
                        Tested::Is(words.any(|word| self.memo.arena.equals(table, text, word)))
                    }
                    Ok(Outcome::Failed(cause)) => {
                        self.via(frame, key);
                        Tested::Failed(cause)
                    }
                    // Removed: the empty string, which is not a word.
                    Ok(_) => Tested::Is(false),
                }
            }
            Ok(Outcome::Failed(cause)) => {
                self.via(frame, Key::new(element, Form::Choice, lax));
                Tested::Failed(cause)
            }
            Ok(_) => Tested::Is(false),
            Err(key) => Tested::Call(key),
        }
    }

    fn absent(&mut self, frame: &mut Frame, name: &FullName<'_>) {
        self.visitor.absent(name);
        frame.flags.unstable = true;
        if frame.flags.absent.is_none() {
            if !self.memo.loading {
                frame.flags.absent = Some(Absent::CONDITION);
                return;
            }
            let id = match name.section {
                None => self.memo.absent_name(name.own),
                Some(_) => self.memo.absent_name(&name.join()),
            };
            frame.flags.absent = Some(Absent::name(id));
        }
    }

    /// Notes that a frame fails because what it asks for failed.
    fn via(&mut self, frame: &Frame, needs: Key) {
        let at = Loc {
            file: frame.file,
            span: frame.asked,
        };
        self.memo.via.entry(frame.key).or_insert((at, needs));
    }

    fn section(&self, frame: &Frame) -> Option<&'a str> {
        self.table.file(frame.file).section_name(frame.section)
    }
}
