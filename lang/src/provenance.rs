//! Provenance: the explanation why a value is what it is.
//!
//! The evaluator walks once more, with a visitor that writes down what it does; so the explanation cannot differ
//! from what happened.

mod render;

use std::path::{Path, PathBuf};

use hashbrown::HashMap;

use crate::class::Class;
use crate::diagnostics::{Asker, explain_cause};
use crate::eval::text::{Item, Text};
use crate::eval::{Decision, Entry, Form, Key, Machine, Memo, Outcome, Visitor};
use crate::span::{FileId, Loc};
use crate::spec::{EvalError, Spec, lines};
use crate::syntax::{Kind, Modifier};
use crate::table::{ElementId, SlotId, Table};
use crate::value::Value;

/// A place in a file, as people count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The absolute path of the file, or `<command line>`.
    pub path: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
}

/// What an element came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A value.
    Value(Value),
    /// Removed by a `:zap` (L23).
    Removed,
    /// Without a definition that holds.
    Undefined,
    /// Failed.
    Failed {
        /// The class of the error.
        class: Class,
        /// What is wrong.
        message: String,
    },
    /// Nobody needed its value, only whether it is defined.
    Unasked,
}

/// What became of a reference or an inclusion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The value took its place.
    Used,
    /// Empty: the element is undefined, and `:lax` or `parse/lax` allows it.
    Empty,
    /// The value or line was removed.
    Removed,
    /// `$[name?]` answered.
    Answered(bool),
    /// It failed, or what it names did.
    Failed,
}

/// A reference or inclusion that was worked on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it is written.
    pub at: Location,
    /// The text of it, brackets included.
    pub written: String,
    /// What became of it.
    pub effect: Effect,
    /// The node of the element it names, if that has a definition.
    pub node: Option<usize>,
}

/// The condition of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Where the definition is.
    pub definition: Location,
    /// Where the condition is.
    pub at: Location,
    /// The condition as written.
    pub written: String,
    /// Whether it is true; none if testing it failed.
    pub holds: Option<bool>,
    /// The node of the element it tests, if that has a definition.
    pub node: Option<usize>,
}

/// A line of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineStep {
    /// Where it is written.
    pub at: Location,
    /// The line as written.
    pub written: String,
    /// What it came to; none if it was removed, failed, or is an inclusion.
    pub value: Option<String>,
    /// For an inclusion, how many lines it brought in.
    pub included: Option<usize>,
    /// The references in it, in order.
    pub steps: Vec<Step>,
}

/// One element that took part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The name of the element.
    pub element: String,
    /// Whether undefined references were taken as empty because a `:lax` asked for it (L24).
    pub lax: bool,
    /// What it came to.
    pub answer: Answer,
    /// Where the definition that holds is.
    pub definition: Option<Location>,
    /// Its value as written, if that is a line or a path.
    pub written: Option<String>,
    /// The file that the value was read from.
    pub file: Option<PathBuf>,
    /// The conditions that were tested to choose the definition.
    pub conditions: Vec<Tested>,
    /// The references of a line or path, in order.
    pub steps: Vec<Step>,
    /// The lines of a block, in order.
    pub lines: Vec<LineStep>,
}

/// The explanation of a value: every element that took part, once. The first node is the one asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The elements.
    pub nodes: Vec<Node>,
    /// Whether there are more than were kept.
    pub truncated: bool,
    /// The directory of the main file, to shorten paths.
    pub base: PathBuf,
}

/// More nodes than this help nobody.
const MOST: usize = 20_000;
/// Nor do more bytes of values than this.
const MOST_TEXT: usize = 64 << 20;

enum Event {
    Begin(SlotId),
    Reference(Loc, Option<Key>, Effect),
    Condition(SlotId, Option<ElementId>, Option<bool>),
    Line(Loc),
    Plain(Loc),
    Kept(Item),
    Read(PathBuf),
}

#[derive(Default)]
struct Journal {
    events: HashMap<Key, Vec<Event>>,
}

impl Journal {
    fn note(&mut self, key: Key, event: Event) {
        if key != Key::COLLECT {
            self.events.entry(key).or_default().push(event);
        }
    }

    /// What happened in the work on a key, in order.
    fn of(&self, key: Key) -> &[Event] {
        self.events.get(&key).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Visitor for &mut Journal {
    fn reference(
        &mut self,
        key: Key,
        at: Loc,
        modifier: Modifier,
        element: Option<ElementId>,
        decision: Decision,
    ) {
        let lax = key.lax() || modifier == Modifier::Lax;
        let named = element.map(|element| Key::new(element, Form::Choice, lax));
        let (effect, node) = match decision {
            Decision::Used(key) => (Effect::Used, Some(key)),
            Decision::Empty => (Effect::Empty, named),
            Decision::Removed(key) => (Effect::Removed, key.or(named)),
            Decision::Answer(yes) => (Effect::Answered(yes), named),
            Decision::Failed => (Effect::Failed, named),
            Decision::FailedIn(key) => (Effect::Failed, Some(key)),
        };
        self.note(key, Event::Reference(at, node, effect));
    }

    fn condition(
        &mut self,
        key: Key,
        slot: SlotId,
        element: Option<ElementId>,
        held: Option<bool>,
    ) {
        self.note(key, Event::Condition(slot, element, held));
    }

    fn begin(&mut self, key: Key, slot: SlotId) {
        self.note(key, Event::Begin(slot));
    }

    fn line(&mut self, key: Key, at: Loc) {
        self.note(key, Event::Line(at));
    }

    fn plain(&mut self, key: Key, at: Loc) {
        self.note(key, Event::Plain(at));
    }

    fn kept(&mut self, key: Key, item: &Item) {
        self.note(key, Event::Kept(*item));
    }

    fn read(&mut self, key: Key, path: &Path) {
        self.note(key, Event::Read(path.to_owned()));
    }
}

impl Spec {
    /// Explains the value of an element. The error says that nothing defines it.
    pub fn provenance(&self, name: &str) -> Result<Provenance, EvalError> {
        let table = self.table();
        let Some(element) = table.find(name) else {
            return Err(self.no_such(name));
        };
        let known = self.memo();
        let read = |path: &Path| match known.files.get(path) {
            Some(Ok(id)) => Ok(known.arena.held[*id].clone()),
            Some(Err(why)) => Err(why.clone()),
            None => crate::spec::unread(path),
        };
        let mut memo = Memo::default();
        let mut journal = Journal::default();
        let (key, _) =
            Machine::new(table, &mut memo, self.limits(), &read, &mut journal).value(element);
        drop(known);
        let mut writer = Writer {
            table,
            memo: &memo,
            journal: &journal,
            index: HashMap::new(),
            queue: Vec::new(),
        };
        writer.node(key);
        let mut nodes = Vec::new();
        // Numbers are given in the order of the queue, so it is worked on from its front.
        let mut size = 0;
        while nodes.len() < writer.queue.len().min(MOST) && size < MOST_TEXT {
            let node = writer.write(writer.queue[nodes.len()]);
            size += node.size();
            nodes.push(node);
        }
        let truncated = writer.queue.len() > nodes.len();
        if truncated {
            forget_beyond(&mut nodes);
        }
        Ok(Provenance {
            nodes,
            truncated,
            base: table.dir(FileId::MAIN).to_owned(),
        })
    }
}

/// Drops what points at nodes that were not kept.
fn forget_beyond(nodes: &mut [Node]) {
    let most = nodes.len();
    let keep = |node: &mut Option<usize>| *node = node.filter(|index| *index < most);
    for node in nodes.iter_mut() {
        node.conditions
            .iter_mut()
            .for_each(|test| keep(&mut test.node));
        node.steps.iter_mut().for_each(|step| keep(&mut step.node));
        node.lines
            .iter_mut()
            .flat_map(|line| &mut line.steps)
            .for_each(|step| keep(&mut step.node));
    }
}

impl Node {
    fn size(&self) -> usize {
        let answer = match &self.answer {
            Answer::Value(Value::Line(text)) => text.len(),
            Answer::Value(Value::Block(lines)) => lines.iter().map(|line| line.len() + 24).sum(),
            _ => 0,
        };
        let lines = self
            .lines
            .iter()
            .map(|line| line.written.len() + line.value.as_ref().map_or(0, String::len));
        answer + lines.sum::<usize>()
    }
}

struct Writer<'a> {
    table: &'a Table,
    memo: &'a Memo,
    journal: &'a Journal,
    index: HashMap<Key, usize>,
    queue: Vec<Key>,
}

impl Writer<'_> {
    /// The number of a key's node.
    fn node(&mut self, key: Key) -> Option<usize> {
        let next = self.queue.len();
        let index = *self.index.entry(key).or_insert(next);
        if index == next {
            self.queue.push(key);
        }
        Some(index)
    }

    fn place(&self, loc: Loc) -> Location {
        let file = self.table.file(loc.file);
        Location {
            path: file.origin().to_owned(),
            line: file.line(loc.span.start),
            column: file.column(loc.span.start),
        }
    }

    fn text(&self, loc: Loc) -> String {
        self.table.file(loc.file).text(loc.span).to_owned()
    }

    fn string(&self, text: Text) -> String {
        self.memo.arena.string(self.table, text)
    }

    fn answer(&self, key: Key) -> Answer {
        let outcome = match self.memo.get(key) {
            Some(Entry::Done { outcome, .. }) => outcome,
            _ => return Answer::Unasked,
        };
        match outcome {
            Outcome::Text(text) => Answer::Value(Value::Line(self.string(text))),
            Outcome::Lines(block) => {
                Answer::Value(Value::Block(lines(self.table, self.memo, block)))
            }
            Outcome::Removed => Answer::Removed,
            Outcome::Undefined => Answer::Undefined,
            Outcome::Chosen(_) => Answer::Unasked,
            Outcome::Failed(cause) => {
                let error = explain_cause(self.table, self.memo, cause, Asker::Value);
                Answer::Failed {
                    class: error.class,
                    message: error.message,
                }
            }
        }
    }

    /// Describes what happened for a key.
    fn write(&mut self, key: Key) -> Node {
        let mut node = Node {
            element: self.table.name(key.element()).join(),
            lax: key.lax(),
            answer: self.answer(key),
            definition: None,
            written: None,
            file: None,
            conditions: self.conditions(key),
            steps: Vec::new(),
            lines: Vec::new(),
        };
        if key.form() == Form::Choice {
            // A plain element is never worked on for its choice.
            let slot = match self.memo.get(key) {
                Some(Entry::Done {
                    outcome: Outcome::Chosen(slot),
                    ..
                }) => Some(slot),
                _ => self
                    .table
                    .is_plain(key.element())
                    .then_some(key.element().first()),
            };
            node.definition = slot.map(|slot| self.place(self.table.name_loc(slot)));
            return node;
        }
        for event in self.journal.of(key) {
            self.event(&mut node, event);
        }
        node
    }

    /// The conditions that were tested to choose the definition of an element.
    fn conditions(&mut self, key: Key) -> Vec<Tested> {
        let mut conditions = Vec::new();
        for event in self.journal.of(key.with_form(Form::Choice)) {
            let Event::Condition(slot, element, holds) = event else {
                continue;
            };
            let Some((file, condition)) = self.table.condition(*slot) else {
                continue;
            };
            let at = Loc {
                file,
                span: condition.span,
            };
            let asked = element.map(|element| {
                let text = Key::new(element, Form::Text, key.lax());
                let known = self.memo.get(text).is_some() && !condition.words.is_empty();
                match known {
                    true => text,
                    false => text.with_form(Form::Choice),
                }
            });
            conditions.push(Tested {
                definition: self.place(self.table.name_loc(*slot)),
                at: self.place(at),
                written: self.text(at),
                holds: *holds,
                node: asked.and_then(|key| self.node(key)),
            });
        }
        conditions
    }

    /// Adds one thing that happened in the work on a value.
    fn event(&mut self, node: &mut Node, event: &Event) {
        match event {
            Event::Begin(slot) => {
                let (file, definition) = self.table.definition(*slot);
                node.definition = Some(self.place(self.table.name_loc(*slot)));
                if definition.kind() != Kind::Block {
                    node.written = Some(self.text(Loc {
                        file,
                        span: definition.value,
                    }));
                }
            }
            Event::Reference(at, named, effect) => {
                let step = Step {
                    at: self.place(*at),
                    written: self.text(*at),
                    effect: *effect,
                    node: named.and_then(|key| self.node(key)),
                };
                match node.lines.last_mut() {
                    Some(line) => line.steps.push(step),
                    None => node.steps.push(step),
                }
            }
            Event::Line(at) => node.lines.push(self.line(*at, None)),
            Event::Plain(at) => node.lines.push(self.line(*at, Some(self.text(*at)))),
            Event::Kept(item) => {
                let Some(line) = node.lines.last_mut() else {
                    return;
                };
                match item {
                    Item::Line(text) => line.value = Some(self.string(*text)),
                    Item::Blank => line.value = Some(String::new()),
                    Item::Block(_) => line.included = Some(self.memo.arena.size(item).0 as usize),
                    Item::Run { .. } => {}
                }
            }
            Event::Read(path) => node.file = Some(path.clone()),
            Event::Condition(..) => {}
        }
    }

    fn line(&self, at: Loc, value: Option<String>) -> LineStep {
        LineStep {
            at: self.place(at),
            written: self.text(at),
            value,
            included: None,
            steps: Vec::new(),
        }
    }
}
