//! Blocks: their lines, inclusions, and joining them into one text (L30-L37).

use std::borrow::Cow;

use super::{Found, Machine, Next};
use crate::eval::cause::Cause;
use crate::eval::frame::{Frame, Inclusion, Stage};
use crate::eval::key::{Form, Key};
use crate::eval::outcome::Outcome;
use crate::eval::text::{Arena, Item, Piece, Text};
use crate::eval::visitor::{Decision, Visitor};
use crate::span::{Loc, Span, narrow};
use crate::syntax::{FullName, Kind, Modifier, Target, inclusion, next_span, trim};
use crate::table::ElementId;

impl<'a, V: Visitor> Machine<'a, V> {
    /// Takes the next line of a block.
    pub(super) fn next_line(&mut self, frame: &mut Frame, joined: bool) -> Next {
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
                end: narrow(at),
            };
            frame.lines.start = narrow(at);
            frame.pieces = narrow(self.pieces.len());
            frame.len = 0;
            let text = line.of(source);
            let at = Loc {
                file: frame.file,
                span: line,
            };
            if !joined && !has_reference(text) {
                self.visitor.plain(frame.key, at);
                self.add_run(frame, whole, line);
                continue;
            }
            self.visitor.line(frame.key, at);
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
                frame.stage = Stage::Name(Inclusion {
                    joined,
                    relative: found.target.relative,
                    lax,
                    at: found.span,
                });
            } else {
                frame.rest = if joined { trim(source, line) } else { line };
                if frame.rest.is_empty() {
                    return self.add_item(frame, Item::Blank, joined);
                }
                frame.stage = Stage::Line { joined };
            }
            return Next::Again;
        }
    }

    /// A line that stands for itself.
    pub(super) fn add_run(&mut self, frame: &mut Frame, whole: Span, line: Span) {
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
            *bytes += narrow(line.len());
        } else {
            self.items.push(Item::Run {
                file: frame.file,
                span: whole,
                lines: 1,
                bytes: narrow(line.len()),
            });
        }
    }

    pub(super) fn end_line(&mut self, frame: &mut Frame, joined: bool) -> Next {
        self.pieces.truncate(frame.pieces as usize);
        frame.stage = Stage::Block { joined };
        Next::Again
    }

    pub(super) fn add_item(&mut self, frame: &mut Frame, item: Item, joined: bool) -> Next {
        let (lines, bytes) = self.memo.arena.size(&item);
        frame.size += u64::from(lines) + u64::from(bytes);
        if frame.size > self.limits.value {
            let at = self.value_loc(frame);
            return Next::Done(self.limit(at, "a value", self.limits.value));
        }
        self.visitor.kept(frame.key, &item);
        self.items.push(item);
        self.end_line(frame, joined)
    }

    /// The name of an inclusion is expanded: finds the block and adds its lines (L31-L35).
    pub(super) fn include(&mut self, frame: &mut Frame, inclusion: Inclusion) -> Next {
        frame.asked = inclusion.at;
        let name = self.included_name(frame);
        let found = if name.is_empty() && !inclusion.relative {
            // What was written is not empty, but stands for nothing.
            debug_assert!(frame.rest.start > inclusion.at.start + 3);
            let nameless = FullName {
                section: None,
                own: "",
            };
            self.absent(frame, &nameless);
            Found::Absent
        } else {
            let target = Target {
                relative: inclusion.relative,
                name: Span::default(),
            };
            self.find(frame, target, &name)
        };
        match found {
            Found::Failed(cause) => Next::Done(Outcome::Failed(cause)),
            Found::Absent => self.include_undefined(frame, inclusion, None, &name),
            Found::Element(element) => self.include_element(frame, inclusion, element, &name),
        }
    }

    /// The text that the name of an inclusion came to.
    fn included_name(&self, frame: &Frame) -> Cow<'a, str> {
        match &self.pieces[frame.pieces as usize..] {
            [] => Cow::Borrowed(""),
            [Piece::Source { file, span }] => Cow::Borrowed(self.table.file(*file).text(*span)),
            pieces if frame.len <= self.limits.path => {
                let mut name = String::new();
                for piece in pieces {
                    self.memo.arena.write(self.table, *piece, &mut name);
                }
                Cow::Owned(name)
            }
            // Longer names are not made: their definition would not fit into a file.
            _ => Cow::Borrowed(" "),
        }
    }

    /// Includes an element that has definitions.
    fn include_element(
        &mut self,
        frame: &mut Frame,
        inclusion: Inclusion,
        element: ElementId,
        name: &str,
    ) -> Next {
        let lax = frame.key.lax() || inclusion.lax;
        match self.chosen(frame, element, lax) {
            Err(key) => return Next::Call(key),
            Ok(Outcome::Chosen(slot)) => {
                if self.table.definition(slot).1.kind() != Kind::Block {
                    self.included(frame, inclusion, Some(element), Decision::Failed);
                    let at = Loc {
                        file: frame.file,
                        span: inclusion.at,
                    };
                    let cause = self.memo.fail(Cause::WrongKind { at, slot });
                    return Next::Done(Outcome::Failed(cause));
                }
            }
            Ok(Outcome::Failed(cause)) => {
                let key = Key::new(element, Form::Choice, lax);
                self.via(frame, key);
                self.included(frame, inclusion, Some(element), Decision::FailedIn(key));
                return Next::Done(Outcome::Failed(cause));
            }
            Ok(_) => return self.include_undefined(frame, inclusion, Some(element), name),
        }
        let key = Key::new(element, Form::Lines, lax);
        match self.get(frame, key) {
            Err(key) => Next::Call(key),
            Ok(Outcome::Lines(block)) => {
                self.included(frame, inclusion, Some(element), Decision::Used(key));
                match block {
                    Some(id) => self.add_item(frame, Item::Block(id), inclusion.joined),
                    None => self.end_line(frame, inclusion.joined),
                }
            }
            Ok(Outcome::Failed(cause)) => {
                self.via(frame, key);
                self.included(frame, inclusion, Some(element), Decision::FailedIn(key));
                Next::Done(Outcome::Failed(cause))
            }
            Ok(_) => self.end_line(frame, inclusion.joined),
        }
    }

    /// Includes something undefined; `element` if it has definitions without a true condition.
    fn include_undefined(
        &mut self,
        frame: &mut Frame,
        inclusion: Inclusion,
        element: Option<ElementId>,
        name: &str,
    ) -> Next {
        if frame.lax || inclusion.lax {
            self.included(frame, inclusion, element, Decision::Empty);
            return self.end_line(frame, inclusion.joined);
        }
        self.included(frame, inclusion, element, Decision::Failed);
        let at = Loc {
            file: frame.file,
            span: inclusion.at,
        };
        let cause = match element {
            Some(element) => Cause::NoCondition { at, element },
            None => {
                let section = match inclusion.relative {
                    true => self.section(frame),
                    false => None,
                };
                let name = FullName { section, own: name }.join();
                Cause::Undefined { at, name }
            }
        };
        Next::Done(Outcome::Failed(self.memo.fail(cause)))
    }

    /// Tells the visitor what became of an inclusion.
    fn included(
        &mut self,
        frame: &Frame,
        inclusion: Inclusion,
        element: Option<ElementId>,
        decision: Decision,
    ) {
        let at = Loc {
            file: frame.file,
            span: inclusion.at,
        };
        let modifier = match (frame.lax || inclusion.lax) && !frame.key.lax() {
            true => Modifier::Lax,
            false => Modifier::Plain,
        };
        self.visitor
            .reference(frame.key, at, modifier, element, decision);
    }

    pub(super) fn finish_block(&mut self, frame: &mut Frame, joined: bool) -> Outcome {
        let items = &self.items[frame.items as usize..];
        if frame.size > self.limits.value {
            let at = self.value_loc(frame);
            return self.limit(at, "a value", self.limits.value);
        }
        if !joined {
            return Outcome::Lines(self.memo.arena.block(self.table, items));
        }
        Outcome::Text(self.join(frame))
    }

    /// Makes one text of the lines (L36).
    pub(super) fn join(&mut self, frame: &Frame) -> Text {
        let arena = &mut self.memo.arena;
        let items = &self.items[frame.items as usize..];
        let blank = |arena: &Arena, item: &Item| match item {
            Item::Line(_) | Item::Run { .. } => false,
            Item::Blank => true,
            Item::Block(id) => arena.blocks[*id].lead.0 == arena.blocks[*id].lines,
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
                Item::Blank => Text::EMPTY,
                Item::Run {
                    file, span, bytes, ..
                } => Text {
                    piece: Piece::Source {
                        file: *file,
                        span: *span,
                    },
                    len: *bytes,
                },
                Item::Block(id) => {
                    let block = arena.blocks[*id];
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
        }
    }
}

/// Whether a text has anything in it that may have to be expanded.
#[inline]
fn has_reference(text: &str) -> bool {
    let bytes = text.as_bytes();
    memchr::memchr_iter(b'$', bytes).any(|at| bytes.get(at + 1) == Some(&b'['))
}
