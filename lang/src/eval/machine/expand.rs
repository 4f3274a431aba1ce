//! Texts: their references, and file values (L14-L27, L38-L40).

use std::path::Path;

use super::{Expanded, Found, Machine};
use crate::eval::cause::{Cause, CauseId};
use crate::eval::frame::Frame;
use crate::eval::key::{Form, Key};
use crate::eval::outcome::Outcome;
use crate::eval::text::{Piece, Text, is_blank};
use crate::eval::visitor::{Decision, Visitor};
use crate::files::{Unreadable, resolve};
use crate::span::{Loc, Span, narrow, narrow_len};
use crate::syntax::{FullName, Kind, Modifier, Part, Parts, Reference, Target};
use crate::table::{ElementId, SlotId};

impl<V: Visitor> Machine<'_, V> {
    /// Looks a target up.
    pub(super) fn find(&mut self, frame: &mut Frame, target: Target, name: &str) -> Found {
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
    pub(super) fn expand(&mut self, frame: &mut Frame) -> Expanded {
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
                        len: narrow(span.len()),
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
                self.pieces.push(text.piece);
            }
            if frame.len > self.limits.value {
                let at = self.value_loc(frame);
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
    pub(super) fn reference(
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
                    _ => (Decision::Answer(false), Ok(Text::NO)),
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
    pub(super) fn answer(
        &mut self,
        _frame: &Frame,
        slot: SlotId,
    ) -> (Decision, Result<Text, Expanded>) {
        let (file, definition) = self.table.definition(slot);
        let yes = match definition.kind() {
            Kind::Line => !is_blank(self.table.file(file).text(definition.value)),
            Kind::FileValue => true,
            Kind::Block => !definition.value.is_empty(),
        };
        let text = if yes { Text::YES } else { Text::NO };
        (Decision::Answer(yes), Ok(text))
    }

    /// A reference to something undefined; `element` if it has definitions without a true condition.
    pub(super) fn undefined(
        &mut self,
        frame: &mut Frame,
        modifier: Modifier,
        at: Loc,
        element: Option<ElementId>,
    ) -> (Decision, Result<Text, Expanded>) {
        match modifier {
            Modifier::Zap => (Decision::Removed(None), Err(Expanded::Removed)),
            Modifier::Question => (Decision::Answer(false), Ok(Text::NO)),
            Modifier::Lax => (Decision::Empty, Ok(Text::EMPTY)),
            Modifier::Plain if frame.lax => (Decision::Empty, Ok(Text::EMPTY)),
            Modifier::Plain => {
                let cause = self.undefined_cause(frame, at, element);
                (Decision::Failed, Err(Expanded::Failed(cause)))
            }
        }
    }

    pub(super) fn undefined_cause(
        &mut self,
        frame: &Frame,
        at: Loc,
        element: Option<ElementId>,
    ) -> CauseId {
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

    pub(super) fn finish_text(&mut self, frame: &mut Frame) -> Outcome {
        let pieces = &self.pieces[frame.pieces as usize..];
        let piece = self.memo.arena.value(self.table, pieces, frame.len);
        Outcome::Text(Text {
            piece,
            len: narrow_len(frame.len),
        })
    }

    /// The path of a file value is known: reads it (L38-L40).
    pub(super) fn read_file(&mut self, frame: &mut Frame) -> Outcome {
        let file = frame.file;
        let span = match frame.slot {
            Some(slot) => self.table.definition(slot).1.value,
            None => frame.asked,
        };
        let at = Loc { file, span };
        if frame.len > self.limits.path {
            return self.limit(at, "a path", self.limits.path);
        }
        let Outcome::Text(text) = self.finish_text(frame) else {
            return Outcome::Undefined;
        };
        let path = self.memo.arena.string(self.table, text);
        let full = resolve(self.table.dir(file), Path::new(&path));
        self.visitor.read(frame.key, &full);
        let found = match self.memo.files.get(&full) {
            Some(found) => found.clone(),
            None => {
                let found = (self.read)(&full).and_then(|value| {
                    self.memo.file_bytes += value.len() as u64;
                    if self.memo.file_bytes > self.limits.total {
                        return Err(Unreadable::other(format!(
                            "all file values have more than {} bytes",
                            self.limits.total
                        )));
                    }
                    Ok(self.memo.arena.held.push(value))
                });
                self.memo.files.insert(full, found.clone());
                found
            }
        };
        match found {
            Ok(id) => {
                let value = &self.memo.arena.held[id];
                let len = narrow(value.len());
                let piece = if len == 0 {
                    Piece::Empty
                } else {
                    Piece::Held(id)
                };
                Outcome::Text(Text { piece, len })
            }
            Err(why) => Outcome::Failed(self.memo.fail(Cause::CannotOpen { at, path, why })),
        }
    }
}

/// What lies between the brackets of a reference.
fn inner(span: Span) -> Span {
    Span {
        start: span.start + 2,
        end: span.end - 1,
    }
}
