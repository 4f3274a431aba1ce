//! The evaluator: a loop over a stack of frames.
//!
//! A frame that needs the result of another element pushes a frame for it and is resumed with its position
//! unchanged; what it asked for is then in the memo. So every reference is looked at once or twice, and a chain
//! of any length needs no more than a longer stack.

use std::path::Path;

use super::Reader;
use super::cause::Cause;
use super::memo::{Absent, Entry, Flags, Form, Key, Memo, Outcome};
use super::text::{Item, Piece, Text, is_blank};
use crate::class::Class;
use crate::files::resolve;
use crate::limits::Limits;
use crate::span::{Loc, Span};
use crate::syntax::{
    FullName, Kind, Modifier, Part, Parts, Reference, Target, inclusion, next_span, trim,
};
use crate::table::Table;

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
#[allow(dead_code)]
pub(crate) trait Visitor {
    /// A name without any definition was looked for.
    fn absent(&mut self, _name: &FullName<'_>) {}
    /// An element was found to have no true condition.
    fn no_condition(&mut self, _element: u32) {}
    /// A reference or inclusion was dealt with, in the work on a key.
    fn reference(
        &mut self,
        _key: Key,
        _at: Loc,
        _modifier: Modifier,
        _element: Option<u32>,
        _decision: Decision,
    ) {
    }
    /// The condition of a definition was tested; `element` is what it names.
    fn condition(&mut self, _key: Key, _slot: u32, _element: Option<u32>, _held: Result<bool, ()>) {
    }
    /// A definition was chosen for a key, and work on it begins.
    fn begin(&mut self, _key: Key, _slot: u32) {}
    /// A line of a block begins.
    fn line(&mut self, _key: Key, _at: Loc) {}
}

/// A visitor that is not interested.
pub(crate) struct Silent;

impl Visitor for Silent {}

/// The outcome of a collect's condition and path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Collected {
    /// Its condition is false.
    False,
    /// Its path is removed or empty (L50).
    Nothing,
    /// It names a file.
    Path(String),
    /// An index into [`Memo::causes`].
    Failed(u32),
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Nothing is known yet.
    Start,
    /// Testing conditions: the next slot, and the one found true.
    Choose {
        slot: u32,
        found: Option<u32>,
        failed: Option<u32>,
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
    Name {
        joined: bool,
        relative: bool,
        lax: bool,
        at: Span,
    },
    /// Testing the condition of a collect.
    When { collect: u32 },
    /// Expanding the path of a collect.
    Collect,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    key: Key,
    step: Step,
    file: u32,
    /// The slot at work.
    slot: u32,
    /// Number of the section in force in that file.
    section: u32,
    /// Undefined references are empty.
    lax: bool,
    /// What is left of the text being expanded.
    rest: Span,
    /// What is left of the block.
    lines: Span,
    /// Where the work of this frame begins in the stacks of pieces and items.
    pieces: u32,
    items: u32,
    /// Of the text being expanded.
    len: u64,
    blank: bool,
    /// Of the block so far.
    size: u64,
    flags: Flags,
    /// The reference whose element is being waited for.
    asked: Span,
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
    Failed(u32),
}

/// What became of a name.
enum Found {
    Element(u32),
    Absent,
    Failed(u32),
}

/// What a test of a condition came to.
enum Tested {
    Is(bool),
    Call(Key),
    Failed(u32),
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

impl<'a, V: Visitor> Machine<'a, V> {
    pub fn new(
        table: &'a Table,
        memo: &'a mut Memo,
        limits: &'a Limits,
        read: &'a Reader<'a>,
        visitor: V,
    ) -> Self {
        Machine {
            table,
            memo,
            limits,
            read,
            visitor,
            frames: Vec::new(),
            pieces: Vec::new(),
            items: Vec::new(),
        }
    }

    /// The definition of an element that holds, or `Undefined` or `Failed`.
    pub fn choose(&mut self, element: u32, lax: bool) -> Outcome {
        if self.table.is_plain(element) {
            Outcome::Chosen(element)
        } else {
            self.ask(Key::new(element, Form::Choice, lax))
        }
    }

    /// The value of an element in the form that its kind calls for.
    pub fn value(&mut self, element: u32) -> (Key, Outcome) {
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
    pub fn collect(&mut self, file: u32, index: u32) -> (Collected, Flags) {
        let source = self.table.file(file);
        let collect = &source.collects[index as usize];
        let mut frame = self.frame(Key::COLLECT, file);
        frame.section = collect.section().map_or(0, |index| index as u32 + 1);
        frame.rest = collect.path;
        frame.step = match collect.condition() {
            Some(_) => Step::When { collect: index },
            None => Step::Collect,
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

    fn frame(&self, key: Key, file: u32) -> Frame {
        Frame {
            key,
            step: Step::Start,
            file,
            slot: 0,
            section: 0,
            lax: false,
            rest: Span::default(),
            lines: Span::default(),
            pieces: self.pieces.len() as u32,
            items: self.items.len() as u32,
            len: 0,
            blank: true,
            size: 0,
            flags: Flags::default(),
            asked: Span::default(),
        }
    }

    fn call(&mut self, key: Key) {
        let frame = self.frame(key, 0);
        self.memo
            .entries
            .insert(key, Entry::Busy(self.frames.len() as u32));
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
                            self.memo.entries.insert(frame.key, entry);
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
        match frame.step {
            Step::Start => self.start(frame),
            Step::Choose {
                slot,
                found,
                failed,
            } => self.choose_next(frame, slot, found, failed),
            Step::Text => match self.expand(frame) {
                Expanded::All => Next::Done(self.finish_text(frame)),
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => Next::Done(Outcome::Removed),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
            Step::Path => match self.expand(frame) {
                Expanded::All => Next::Done(self.read_file(frame)),
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => Next::Done(Outcome::Removed),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
            Step::Block { joined } => self.next_line(frame, joined),
            Step::Line { joined } => match self.expand(frame) {
                Expanded::All => {
                    let piece = {
                        let pieces = &self.pieces[frame.pieces as usize..];
                        self.memo.arena.rope(pieces)
                    };
                    let text = Text {
                        piece,
                        len: frame.len as u32,
                        blank: frame.blank,
                    };
                    self.add_item(frame, Item::Line(text), joined)
                }
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => self.end_line(frame, joined),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
            Step::Name {
                joined,
                relative,
                lax,
                at,
            } => match self.expand(frame) {
                Expanded::All => self.include(frame, joined, relative, lax, at),
                Expanded::Call(key) => Next::Call(key),
                Expanded::Removed => self.end_line(frame, joined),
                Expanded::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            },
            Step::When { collect } => {
                let table = self.table;
                let file = table.file(frame.file);
                let condition = file.collects[collect as usize]
                    .condition()
                    .unwrap_or_default();
                match self.test(frame, frame.file, condition, false) {
                    Tested::Is(true) => {
                        frame.step = Step::Collect;
                        Next::Again
                    }
                    Tested::Is(false) => Next::Done(Outcome::Undefined),
                    Tested::Call(key) => Next::Call(key),
                    Tested::Failed(cause) => Next::Done(Outcome::Failed(cause)),
                }
            }
            Step::Collect => match self.expand(frame) {
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

    /// Finds the definition to work on.
    fn start(&mut self, frame: &mut Frame) -> Next {
        let key = frame.key;
        let element = key.element();
        if key.form() == Form::Choice {
            frame.step = Step::Choose {
                slot: element,
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
        frame.slot = slot;
        frame.section = definition.section().map_or(0, |index| index as u32 + 1);
        frame.lax = key.lax() || definition.is_lax();
        frame.rest = definition.value;
        frame.step = match definition.kind() {
            Kind::Line => Step::Text,
            Kind::FileValue => Step::Path,
            Kind::Block => {
                if definition.has_python() {
                    let at = self.python_line(file, definition.value);
                    return Next::Done(Outcome::Failed(
                        self.memo.fail(Cause::EmbeddedCode { slot, at }),
                    ));
                }
                frame.lines = definition.value;
                Step::Block {
                    joined: key.form() == Form::Text,
                }
            }
        };
        Next::Again
    }

    fn python_line(&self, file: u32, block: Span) -> Loc {
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
            None => Err(key),
        }
    }

    /// The frame asks for something that a frame below it, or itself, is working on.
    fn circle(&mut self, frame: &mut Frame, first: usize) -> u32 {
        let mut links: Vec<(u32, Loc)> = Vec::new();
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
        self.memo.fail(Cause::Circular { links })
    }

    /// The choice of an element's definition.
    #[inline]
    fn chosen(&mut self, frame: &mut Frame, element: u32, lax: bool) -> Result<Outcome, Key> {
        if self.table.is_plain(element) {
            return Ok(Outcome::Chosen(element));
        }
        self.get(frame, Key::new(element, Form::Choice, lax))
    }

    fn choose_next(
        &mut self,
        frame: &mut Frame,
        slot: u32,
        found: Option<u32>,
        failed: Option<u32>,
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
                self.visitor
                    .condition(frame.key, slot, element, held.map_err(|_| ()));
                match held {
                    Ok(held) => held,
                    Err(cause) => {
                        // All are tested, and the class named does not depend on their order (L10).
                        let class = |cause: u32| self.memo.causes[cause as usize].class();
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
        slot: u32,
        found: Option<u32>,
        failed: Option<u32>,
    ) -> Next {
        if let Some(slot) = self.table.next(slot) {
            frame.step = Step::Choose {
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
                    absent: Some(Absent::Condition),
                });
                self.visitor.no_condition(frame.key.element());
                Outcome::Undefined
            }
        })
    }

    /// Tests a condition (L44).
    fn test(&mut self, frame: &mut Frame, file: u32, condition: usize, lax: bool) -> Tested {
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
                    // Removed: the empty string, which is no word.
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
            let index = match name.section {
                None => self.memo.absent_name(name.own),
                Some(_) => self.memo.absent_name(&name.join()),
            };
            frame.flags.absent = Some(Absent::Name(index));
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

    /// Looks a target up.
    fn find(&mut self, frame: &mut Frame, target: Target, name: &str) -> Found {
        let table = self.table;
        let section = match target.relative {
            false => None,
            true => match self.section(frame) {
                Some(section) => Some(section),
                None => {
                    let at = Loc {
                        file: frame.file,
                        span: frame.asked,
                    };
                    return Found::Failed(self.memo.fail(Cause::NoSection { at }));
                }
            },
        };
        let full = FullName { section, own: name };
        match table.find_full(&full) {
            Some(element) => Found::Element(element),
            None => {
                self.absent(frame, &full);
                Found::Absent
            }
        }
    }

    /// Expands what is left of the text, up to the first reference that needs something else first.
    fn expand(&mut self, frame: &mut Frame) -> Expanded {
        let table = self.table;
        let source = table.file(frame.file).source();
        let mut parts = Parts::new(source, frame.rest);
        loop {
            frame.rest = parts.rest;
            let text = match parts.next() {
                None => return Expanded::All,
                Some(Part::Text(span)) => {
                    let piece = Piece::Source {
                        file: frame.file,
                        span,
                    };
                    Text {
                        piece,
                        len: span.len() as u32,
                        blank: frame.blank && is_blank(span.of(source)),
                    }
                }
                Some(Part::Unterminated(span)) => {
                    let at = Loc {
                        file: frame.file,
                        span,
                    };
                    return Expanded::Failed(self.memo.fail(Cause::Unterminated { at }));
                }
                Some(Part::Reference(reference)) => {
                    frame.asked = reference.span;
                    match self.reference(frame, source, reference) {
                        Ok(text) => text,
                        Err(stop) => return stop,
                    }
                }
            };
            if text.len > 0 {
                frame.len += u64::from(text.len);
                frame.blank &= text.blank;
                self.pieces.push(text.piece);
            }
            if frame.len > self.limits.value {
                let at = if frame.key == Key::COLLECT {
                    Loc {
                        file: frame.file,
                        span: frame.asked,
                    }
                } else {
                    table.name_loc(frame.slot)
                };
                let failed = self.memo.fail(Cause::Limit {
                    at,
                    what: "a value",
                    limit: self.limits.value,
                });
                return Expanded::Failed(failed);
            }
        }
    }

    /// Works out one reference.
    fn reference(
        &mut self,
        frame: &mut Frame,
        source: &str,
        reference: Reference,
    ) -> Result<Text, Expanded> {
        let at = Loc {
            file: frame.file,
            span: reference.span,
        };
        let (target, modifier) = match reference.parse(source) {
            Ok(parsed) => parsed,
            Err(span) => {
                let modifier = Loc {
                    file: frame.file,
                    span,
                };
                return Err(Expanded::Failed(
                    self.memo.fail(Cause::BadModifier { at, modifier }),
                ));
            }
        };
        let name = target.name.of(source);
        let element = match self.find(frame, target, name) {
            Found::Failed(cause) => return Err(Expanded::Failed(cause)),
            Found::Absent => None,
            Found::Element(element) => Some(element),
        };
        let lax = frame.key != Key::COLLECT && frame.key.lax() || modifier == Modifier::Lax;
        let (decision, result) = match element {
            None => self.undefined(frame, modifier, at, None),
            Some(element) if modifier == Modifier::Question => {
                match self.chosen(frame, element, lax).map_err(Expanded::Call)? {
                    Outcome::Chosen(slot) => self.answer(frame, slot),
                    Outcome::Failed(cause) => {
                        let key = Key::new(element, Form::Choice, lax);
                        self.via(frame, key);
                        (Decision::FailedIn(key), Err(Expanded::Failed(cause)))
                    }
                    _ => (
                        Decision::Answer(false),
                        Ok(Text {
                            piece: Piece::No,
                            len: 2,
                            blank: false,
                        }),
                    ),
                }
            }
            Some(element) => {
                let key = Key::new(element, Form::Text, lax);
                match self.get(frame, key).map_err(Expanded::Call)? {
                    Outcome::Text(text) if modifier == Modifier::Zap && text.len == 0 => {
                        (Decision::Removed(Some(key)), Err(Expanded::Removed))
                    }
                    Outcome::Text(text) => (Decision::Used(key), Ok(text)),
                    Outcome::Removed => (Decision::Removed(Some(key)), Err(Expanded::Removed)),
                    Outcome::Failed(cause) => {
                        self.via(frame, key);
                        (Decision::FailedIn(key), Err(Expanded::Failed(cause)))
                    }
                    _ => self.undefined(frame, modifier, at, Some(element)),
                }
            }
        };
        self.visitor
            .reference(frame.key, at, modifier, element, decision);
        result
    }

    /// `yes` or `no`, by the text as it is written (L25).
    fn answer(&mut self, _frame: &Frame, slot: u32) -> (Decision, Result<Text, Expanded>) {
        let (file, definition) = self.table.definition(slot);
        let yes = match definition.kind() {
            Kind::Line => !is_blank(self.table.file(file).text(definition.value)),
            Kind::FileValue => true,
            Kind::Block => !definition.value.is_empty(),
        };
        let text = match yes {
            true => Text {
                piece: Piece::Yes,
                len: 3,
                blank: false,
            },
            false => Text {
                piece: Piece::No,
                len: 2,
                blank: false,
            },
        };
        (Decision::Answer(yes), Ok(text))
    }

    /// A reference to something undefined; `element` if it has definitions without a true condition.
    fn undefined(
        &mut self,
        frame: &mut Frame,
        modifier: Modifier,
        at: Loc,
        element: Option<u32>,
    ) -> (Decision, Result<Text, Expanded>) {
        match modifier {
            Modifier::Zap => (Decision::Removed(None), Err(Expanded::Removed)),
            Modifier::Question => (
                Decision::Answer(false),
                Ok(Text {
                    piece: Piece::No,
                    len: 2,
                    blank: false,
                }),
            ),
            Modifier::Lax => (Decision::Empty, Ok(Text::EMPTY)),
            Modifier::Plain if frame.lax => (Decision::Empty, Ok(Text::EMPTY)),
            Modifier::Plain => {
                let cause = self.undefined_cause(frame, at, element);
                (Decision::Failed, Err(Expanded::Failed(cause)))
            }
        }
    }

    fn undefined_cause(&mut self, frame: &Frame, at: Loc, element: Option<u32>) -> u32 {
        let cause = match element {
            Some(element) => Cause::NoCondition { at, element },
            None => {
                let source = self.table.file(frame.file).source();
                let name = match (Reference {
                    span: at.span,
                    inner: inner(at.span),
                })
                .parse(source)
                {
                    Ok((target, _)) => {
                        let section = if target.relative {
                            self.section(frame)
                        } else {
                            None
                        };
                        FullName {
                            section,
                            own: target.name.of(source),
                        }
                        .join()
                    }
                    Err(_) => String::new(),
                };
                Cause::Undefined { at, name }
            }
        };
        self.memo.fail(cause)
    }

    fn finish_text(&mut self, frame: &mut Frame) -> Outcome {
        let piece = self.memo.arena.rope(&self.pieces[frame.pieces as usize..]);
        Outcome::Text(Text {
            piece,
            len: frame.len as u32,
            blank: frame.blank,
        })
    }

    /// The path of a file value is known: reads it (L38-L40).
    fn read_file(&mut self, frame: &mut Frame) -> Outcome {
        let (file, definition) = self.table.definition(frame.slot);
        let at = Loc {
            file,
            span: definition.value,
        };
        if frame.len > self.limits.path {
            return self.limit(at, "a path", self.limits.path);
        }
        let Outcome::Text(text) = self.finish_text(frame) else {
            return Outcome::Undefined;
        };
        let path = self.memo.arena.string(self.table, text);
        let full = resolve(self.table.dir(file), Path::new(&path));
        let found = match self.memo.files.get(&full) {
            Some(found) => found.clone(),
            None => {
                let found = (self.read)(&full).and_then(|value| {
                    self.memo.file_bytes += value.len() as u64;
                    if self.memo.file_bytes > self.limits.total {
                        return Err(format!(
                            "all file values have more than {} bytes",
                            self.limits.total
                        ));
                    }
                    self.memo.arena.held.push(value);
                    Ok(self.memo.arena.held.len() as u32 - 1)
                });
                self.memo.files.insert(full, found.clone());
                found
            }
        };
        match found {
            Ok(id) => {
                let value = &self.memo.arena.held[id as usize];
                let len = value.len() as u32;
                let piece = if len == 0 {
                    Piece::Empty
                } else {
                    Piece::Held(id)
                };
                Outcome::Text(Text {
                    piece,
                    len,
                    blank: is_blank(value),
                })
            }
            Err(why) => Outcome::Failed(self.memo.fail(Cause::CannotOpen { at, path, why })),
        }
    }

    /// Takes the next line of a block.
    fn next_line(&mut self, frame: &mut Frame, joined: bool) -> Next {
        let table = self.table;
        let source = table.file(frame.file).source();
        loop {
            if frame.lines.is_empty() {
                return Next::Done(self.finish_block(frame, joined));
            }
            let mut at = frame.lines.start as usize;
            let line = next_span(source, &mut at, frame.lines.end as usize);
            let whole = Span {
                start: frame.lines.start,
                end: at as u32,
            };
            frame.lines.start = at as u32;
            frame.pieces = self.pieces.len() as u32;
            frame.len = 0;
            frame.blank = true;
            let text = line.of(source);
            if !joined && memchr::memmem::find(text.as_bytes(), b"$[").is_none() {
                self.add_run(frame, whole, line);
                continue;
            }
            self.visitor.line(
                frame.key,
                Loc {
                    file: frame.file,
                    span: line,
                },
            );
            if let Some(found) = inclusion(source, line) {
                let lax = match found.lax {
                    Ok(lax) => lax,
                    Err(span) => {
                        let at = Loc {
                            file: frame.file,
                            span: found.span,
                        };
                        let modifier = Loc {
                            file: frame.file,
                            span,
                        };
                        return Next::Done(Outcome::Failed(
                            self.memo.fail(Cause::BadModifier { at, modifier }),
                        ));
                    }
                };
                frame.rest = found.target.name;
                frame.step = Step::Name {
                    joined,
                    relative: found.target.relative,
                    lax,
                    at: found.span,
                };
            } else {
                frame.rest = if joined { trim(source, line) } else { line };
                frame.step = Step::Line { joined };
            }
            return Next::Again;
        }
    }

    /// A line that stands for itself.
    fn add_run(&mut self, frame: &mut Frame, whole: Span, line: Span) {
        frame.size += line.len() as u64 + 1;
        if let Some(Item::Run {
            file,
            span,
            lines,
            bytes,
        }) = self.items[frame.items as usize..].last_mut()
            && span.end == whole.start
            && *file == frame.file
        {
            span.end = whole.end;
            *lines += 1;
            *bytes += line.len() as u32;
        } else {
            self.items.push(Item::Run {
                file: frame.file,
                span: whole,
                lines: 1,
                bytes: line.len() as u32,
            });
        }
    }

    fn end_line(&mut self, frame: &mut Frame, joined: bool) -> Next {
        self.pieces.truncate(frame.pieces as usize);
        frame.step = Step::Block { joined };
        Next::Again
    }

    fn add_item(&mut self, frame: &mut Frame, item: Item, joined: bool) -> Next {
        let (lines, bytes) = self.memo.arena.size(&item);
        frame.size += u64::from(lines) + u64::from(bytes);
        if frame.size > self.limits.value {
            let at = self.table.name_loc(frame.slot);
            return Next::Done(self.limit(at, "a value", self.limits.value));
        }
        self.items.push(item);
        self.end_line(frame, joined)
    }

    /// The name of an inclusion is known.
    fn include(
        &mut self,
        frame: &mut Frame,
        joined: bool,
        relative: bool,
        lax: bool,
        at: Span,
    ) -> Next {
        let table = self.table;
        let loc = Loc {
            file: frame.file,
            span: at,
        };
        frame.asked = at;
        // Longer names are not made: their definition would not fit into a file.
        let pieces = &self.pieces[frame.pieces as usize..];
        let mut owned = String::new();
        let name = match pieces {
            [] => "",
            [Piece::Source { file, span }] => table.file(*file).text(*span),
            pieces if frame.len <= self.limits.path => {
                for piece in pieces {
                    self.memo.arena.write(table, *piece, &mut owned);
                }
                &owned
            }
            _ => " ",
        };
        let written = frame.rest.start > at.start + 3;
        let found = if name.is_empty() && !relative {
            // What was written is not empty, but stands for nothing.
            debug_assert!(written);
            self.absent(
                frame,
                &FullName {
                    section: None,
                    own: "",
                },
            );
            Found::Absent
        } else {
            self.find(
                frame,
                Target {
                    relative,
                    name: Span::default(),
                },
                name,
            )
        };
        let empty = frame.lax || lax;
        let lax = frame.key.lax() || lax;
        let modifier = if empty && !frame.key.lax() {
            Modifier::Lax
        } else {
            Modifier::Plain
        };
        let undefined =
            |machine: &mut Self, frame: &mut Frame, element: Option<u32>, name: &str| {
                if empty {
                    machine
                        .visitor
                        .reference(frame.key, loc, modifier, element, Decision::Empty);
                    return machine.end_line(frame, joined);
                }
                let cause = match element {
                    Some(element) => Cause::NoCondition { at: loc, element },
                    None => {
                        let section = if relative {
                            machine.section(frame)
                        } else {
                            None
                        };
                        Cause::Undefined {
                            at: loc,
                            name: FullName { section, own: name }.join(),
                        }
                    }
                };
                machine
                    .visitor
                    .reference(frame.key, loc, modifier, element, Decision::Failed);
                Next::Done(Outcome::Failed(machine.memo.fail(cause)))
            };
        let element = match found {
            Found::Failed(cause) => return Next::Done(Outcome::Failed(cause)),
            Found::Absent => return undefined(self, frame, None, name),
            Found::Element(element) => element,
        };
        match self.chosen(frame, element, lax) {
            Err(key) => return Next::Call(key),
            Ok(Outcome::Chosen(slot)) => {
                if table.definition(slot).1.kind() != Kind::Block {
                    self.visitor.reference(
                        frame.key,
                        loc,
                        modifier,
                        Some(element),
                        Decision::Failed,
                    );
                    return Next::Done(Outcome::Failed(
                        self.memo.fail(Cause::WrongKind { at: loc, slot }),
                    ));
                }
            }
            Ok(Outcome::Failed(cause)) => {
                let key = Key::new(element, Form::Choice, lax);
                self.via(frame, key);
                self.visitor.reference(
                    frame.key,
                    loc,
                    modifier,
                    Some(element),
                    Decision::FailedIn(key),
                );
                return Next::Done(Outcome::Failed(cause));
            }
            Ok(_) => return undefined(self, frame, Some(element), name),
        }
        let key = Key::new(element, Form::Lines, lax);
        match self.get(frame, key) {
            Err(key) => Next::Call(key),
            Ok(Outcome::Lines(block)) => {
                self.visitor.reference(
                    frame.key,
                    loc,
                    modifier,
                    Some(element),
                    Decision::Used(key),
                );
                match block {
                    Some(id) => self.add_item(frame, Item::Block(id), joined),
                    None => self.end_line(frame, joined),
                }
            }
            Ok(Outcome::Failed(cause)) => {
                self.via(frame, key);
                self.visitor.reference(
                    frame.key,
                    loc,
                    modifier,
                    Some(element),
                    Decision::FailedIn(key),
                );
                Next::Done(Outcome::Failed(cause))
            }
            Ok(_) => self.end_line(frame, joined),
        }
    }

    fn finish_block(&mut self, frame: &mut Frame, joined: bool) -> Outcome {
        let items = &self.items[frame.items as usize..];
        if frame.size > self.limits.value {
            let at = self.table.name_loc(frame.slot);
            return self.limit(at, "a value", self.limits.value);
        }
        if !joined {
            return Outcome::Lines(self.memo.arena.block(self.table, items));
        }
        Outcome::Text(self.join(frame))
    }

    /// Makes one text of the lines (L36).
    fn join(&mut self, frame: &Frame) -> Text {
        let arena = &mut self.memo.arena;
        let items = &self.items[frame.items as usize..];
        let blank = |arena: &super::text::Arena, item: &Item| match item {
            Item::Line(text) => text.blank,
            Item::Run { .. } => false,
            Item::Block(id) => {
                arena.blocks[*id as usize].lead.0 == arena.blocks[*id as usize].lines
            }
        };
        let Some(first) = items.iter().position(|item| !blank(arena, item)) else {
            return Text::EMPTY;
        };
        let last = items
            .iter()
            .rposition(|item| !blank(arena, item))
            .unwrap_or(first);
        let mut pieces = Vec::with_capacity(2 * (last - first) + 1);
        let mut len = 0;
        for (index, item) in items.iter().enumerate().take(last + 1).skip(first) {
            if index > first {
                pieces.push(Piece::Blank);
                len += 1;
            }
            let text = match item {
                Item::Line(text) => *text,
                Item::Run {
                    file, span, bytes, ..
                } => Text {
                    piece: Piece::Source {
                        file: *file,
                        span: *span,
                    },
                    len: *bytes,
                    blank: false,
                },
                Item::Block(id) => {
                    let block = arena.blocks[*id as usize];
                    let lead = if index == first { block.lead } else { (0, 0) };
                    let trail = if index == last { block.trail } else { (0, 0) };
                    let take = block.lines - lead.0 - trail.0;
                    let len = block.bytes - lead.1 - trail.1 + take.saturating_sub(1);
                    Text {
                        piece: Piece::Joined {
                            block: *id,
                            skip: lead.0,
                            take,
                        },
                        len,
                        blank: false,
                    }
                }
            };
            if text.len > 0 {
                pieces.push(text.piece);
                len += text.len;
            }
        }
        Text {
            piece: arena.rope(&pieces),
            len,
            blank: false,
        }
    }

    /// The class of a failure.
    pub fn class(&self, cause: u32) -> Class {
        self.memo.causes[cause as usize].class()
    }
}

/// What lies between the brackets of a reference.
fn inner(span: Span) -> Span {
    Span {
        start: span.start + 2,
        end: span.end - 1,
    }
}
