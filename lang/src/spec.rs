//! The `Spec`: a loaded specification and the questions that it answers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bumpalo::Bump;

use crate::class::Class;
use crate::diagnostics::{
    Asker, Diagnostic, Label, LabelRole, conditions, explain_cause, label, nearest_name,
};
use crate::eval::text::{Block, BlockId, Cursor};
use crate::eval::{Cause, CauseId, Key, Machine, Memo, Outcome, Silent, Visitor};
use crate::files::Unreadable;
use crate::limits::Limits;
use crate::load::{Definition, Loaded, Loader, Untaken, load};
use crate::span::FileId;
use crate::syntax::{CollectId, File};
use crate::table::{ElementId, Table};
pub(crate) use crate::value::{Evaluated, Lines, Value};

/// All errors of a load, in the order of files and lines. There is at least one.
#[derive(Clone, Debug)]
pub struct LoadErrors {
    errors: Vec<Diagnostic>,
    more: usize,
}

impl LoadErrors {
    pub(crate) fn new(errors: Vec<Diagnostic>, more: usize) -> Self {
        debug_assert!(!errors.is_empty());
        LoadErrors { errors, more }
    }

    /// The errors.
    pub fn all(&self) -> &[Diagnostic] {
        &self.errors
    }

    /// The errors, for whoever knows more to say about them.
    pub fn all_mut(&mut self) -> &mut [Diagnostic] {
        &mut self.errors
    }

    /// The first error.
    pub fn first(&self) -> Option<&Diagnostic> {
        self.errors.first()
    }

    /// The class of the first error.
    pub fn class(&self) -> Class {
        self.first().map_or(Class::Limit, |error| error.class)
    }

    /// How many further errors were only counted.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Shows all of them.
    pub fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                out.push('\n');
            }
            out.push_str(&error.render(colour));
        }
        if self.more > 0 {
            out.push_str(&format!("\nand {} more errors\n", self.more));
        }
        out
    }
}

impl std::fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.first() {
            Some(error) => error.fmt(f)?,
            None => f.write_str("the specification cannot be loaded")?,
        }
        match self.errors.len() + self.more {
            0 | 1 => Ok(()),
            count => write!(f, " (and {} more)", count - 1),
        }
    }
}

impl std::error::Error for LoadErrors {}

/// A key that is equal for all elements of a specification that fail for the same reason, to sort and count by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CauseKey(CauseKind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum CauseKind {
    /// An error of evaluation.
    Cause(CauseId),
    /// The element has definitions, but no true condition.
    NoCondition(ElementId),
    /// No element has the name.
    NoSuchElement,
}

/// Why an element has no value.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{element}`: {}", diagnostic.message)]
pub struct EvalError {
    /// The element asked for.
    pub element: String,
    /// Equal for all elements that fail for the same reason.
    pub cause: CauseKey,
    /// What is wrong.
    pub diagnostic: Arc<Diagnostic>,
}

impl EvalError {
    /// The class of the error.
    pub fn class(&self) -> Class {
        self.diagnostic.class
    }
}

/// A collect that was not taken.
#[derive(Clone, Debug)]
pub struct UntakenCollect {
    /// The annotation.
    pub at: Label,
    /// Its id in [`File::collects`].
    pub collect: CollectId,
    /// Whether its condition was false; otherwise its path came to nothing (L50).
    pub condition: bool,
}

/// A loaded specification.
///
/// It can be shared between threads. Every element is evaluated at most once, when it is first asked for; since
/// nothing changes after loading, the order of questions never matters (L59).
#[derive(Debug)]
pub struct Spec {
    table: Table,
    memo: Mutex<Memo>,
    limits: Limits,
    collected: OnceLock<Vec<PathBuf>>,
    untaken: Vec<Untaken>,
    names: OnceLock<Names>,
}

/// The names of all elements, sorted.
#[derive(Debug)]
struct Names {
    names: Vec<String>,
    /// The element of each name.
    elements: Vec<ElementId>,
}

impl Spec {
    pub(crate) fn load_with(
        loader: &dyn Loader,
        entry: PathBuf,
        definitions: &[Definition],
        limits: &Limits,
    ) -> Result<Spec, LoadErrors> {
        let Loaded {
            table,
            memo,
            untaken,
        } = load(loader, limits, entry, definitions)
            .map_err(|(errors, more)| LoadErrors::new(errors, more))?;
        Ok(Spec {
            table,
            memo: Mutex::new(memo),
            limits: *limits,
            collected: OnceLock::new(),
            untaken,
            names: Default::default(),
        })
    }

    /// The names of all elements with a definition, sorted.
    pub fn names(&self) -> &[String] {
        &self.sorted().names
    }

    fn sorted(&self) -> &Names {
        self.names.get_or_init(|| {
            // Sorted as slices of one arena, and made owned in the order in which they will be read.
            let scratch = Bump::new();
            let elements = self.table.elements();
            let mut names: Vec<(&str, ElementId)> = elements
                .map(|element| (self.table.name(element).join_in(&scratch), element))
                .collect();
            names.sort_unstable();
            Names {
                names: names.iter().map(|(name, _)| (*name).to_owned()).collect(),
                elements: names.iter().map(|(_, element)| *element).collect(),
            }
        })
    }

    /// The files read, main file first, in the order of reading.
    pub fn collected(&self) -> &[PathBuf] {
        self.collected.get_or_init(|| {
            let read = self
                .table
                .sources
                .iter()
                .filter(|source| !source.command_line);
            read.map(|source| source.file.path().to_owned()).collect()
        })
    }

    /// Like [`collected`](Spec::collected), relative to the main file's directory where they lie under it, sorted.
    pub fn collected_relative(&self) -> Vec<PathBuf> {
        let dir = self.table.dir(FileId::MAIN);
        let relative = |path: &PathBuf| path.strip_prefix(dir).unwrap_or(path).to_owned();
        let mut paths: Vec<PathBuf> = self.collected().iter().map(relative).collect();
        paths.sort_unstable();
        paths
    }

    /// The parsed files, in the order of reading; the command line, if used, comes second.
    pub fn files(&self) -> impl Iterator<Item = &Arc<File>> {
        self.table.sources.iter().map(|source| &source.file)
    }

    /// The collects that were not taken.
    pub fn untaken(&self) -> Vec<UntakenCollect> {
        let label = |untaken: &Untaken| {
            let file = &self.table.sources[untaken.file].file;
            let span = file.collects[untaken.collect].span;
            UntakenCollect {
                at: Label::new(file, span, ""),
                collect: untaken.collect,
                condition: untaken.condition,
            }
        };
        self.untaken.iter().map(label).collect()
    }

    /// The collects that were taken, each with the file it brought in.
    pub fn taken(&self) -> Vec<(Label, &Path)> {
        let sources = self.table.sources.iter();
        let taken = sources.filter_map(|source| {
            let (by, collect) = source.brought_by?;
            let by = &self.table.sources[by].file;
            let span = by.collects[collect].span;
            Some((Label::new(by, span, ""), source.file.path()))
        });
        taken.collect()
    }

    /// The definitions of an element, as places of its name.
    pub fn definitions(&self, name: &str) -> Vec<Label> {
        let mut slot = self.table.find(name).map(ElementId::first);
        let mut labels = Vec::new();
        while let Some(this) = slot {
            labels.push(label(&self.table, self.table.name_loc(this), ""));
            slot = self.table.next(this);
        }
        labels
    }

    /// Whether the element is defined: has an unconditional definition or exactly one true condition.
    ///
    /// An element whose conditions fail or conflict counts as defined; asking for its value tells why.
    pub fn is_defined(&self, name: &str) -> bool {
        let Some(element) = self.table.find(name) else {
            return false;
        };
        let outcome = self.machine(Silent, |machine| machine.choose(element, false));
        !matches!(outcome, Outcome::Undefined)
    }

    /// The value of an element. What was removed (L23) is an empty line.
    pub fn value(&self, name: &str) -> Result<Value, EvalError> {
        self.evaluate(name).map(|found| found.value)
    }

    /// The value of an element, if it is defined.
    pub fn get(&self, name: &str) -> Result<Option<Value>, EvalError> {
        if self.is_defined(name) {
            self.value(name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether the element is defined but removed by a `:zap`.
    pub fn is_zapped(&self, name: &str) -> bool {
        self.evaluate(name).is_ok_and(|found| found.zapped)
    }

    /// The value of an element, and whether it was removed.
    pub fn evaluate(&self, name: &str) -> Result<Evaluated, EvalError> {
        let Some(element) = self.table.find(name) else {
            return Err(self.no_such(name));
        };
        let mut memo = self.memo();
        let (key, outcome) =
            Machine::new(&self.table, &mut memo, &self.limits, &unread, Silent).value(element);
        self.result(name, &memo, element, key, outcome)
    }

    /// The values of all elements, in the order of their names.
    pub fn evaluate_all(&self) -> Vec<(&str, Result<Evaluated, EvalError>)> {
        let mut memo = self.memo();
        let Names { names, elements } = self.sorted();
        memo.reserve(self.table.slots());
        let mut machine = Machine::new(&self.table, &mut memo, &self.limits, &unread, Silent);
        std::iter::zip(names, elements)
            .map(|(name, element)| {
                let (key, outcome) = machine.value(*element);
                (
                    name.as_str(),
                    self.result(name, machine.memo, *element, key, outcome),
                )
            })
            .collect()
    }

    fn result(
        &self,
        name: &str,
        memo: &Memo,
        element: ElementId,
        key: Key,
        outcome: Outcome,
    ) -> Result<Evaluated, EvalError> {
        let value = match outcome {
            Outcome::Text(text) => Value::Line(memo.arena.string(&self.table, text)),
            Outcome::Lines(block) => Value::Block(lines(&self.table, memo, block)),
            Outcome::Removed => {
                return Ok(Evaluated {
                    value: Value::Line(String::new()),
                    zapped: true,
                });
            }
            Outcome::Failed(cause) => return Err(self.failed(name, memo, key, cause)),
            Outcome::Undefined | Outcome::Chosen(_) => return Err(self.no_condition(name, element)),
        };
        Ok(Evaluated {
            value,
            zapped: false,
        })
    }

    pub(crate) fn memo(&self) -> MutexGuard<'_, Memo> {
        // A panic elsewhere cannot leave a half-made result: entries are written when they are complete.
        self.memo.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    fn machine<V: Visitor, R>(&self, visitor: V, work: impl FnOnce(&mut Machine<'_, V>) -> R) -> R {
        let mut memo = self.memo();
        work(&mut Machine::new(
            &self.table,
            &mut memo,
            &self.limits,
            &unread,
            visitor,
        ))
    }

    fn failed(&self, name: &str, memo: &Memo, key: Key, cause: CauseId) -> EvalError {
        let mut diagnostic = explain_cause(&self.table, memo, cause, Asker::Value);
        // The way from the element asked for to the cause, its first steps.
        let mut at = key;
        let mut steps = 0;
        while let Some((loc, next)) = memo.via.get(&at) {
            if in_circle(&memo.causes[cause], at.element()) {
                break;
            }
            if steps == 6 {
                diagnostic
                    .notes
                    .push("there are more steps on the way than shown".to_owned());
                break;
            }
            let text = format!("needed by `{}`", self.table.name(at.element()));
            let step = label(&self.table, *loc, text).with_role(LabelRole::NeededBy);
            diagnostic.labels.push(step);
            at = *next;
            steps += 1;
        }
        EvalError {
            element: name.to_owned(),
            cause: CauseKey(CauseKind::Cause(cause)),
            diagnostic: Arc::new(diagnostic),
        }
    }

    pub(crate) fn no_such(&self, name: &str) -> EvalError {
        let mut diagnostic = Diagnostic::new(Class::Undefined, format!("`{name}` is not defined"))
            .about_missing(name);
        if let Some(main) = self.table.sources.get(FileId::MAIN) {
            diagnostic = diagnostic.at_path(main.file.path());
        }
        if let Some(near) = nearest_name(&self.table, name) {
            diagnostic = diagnostic.help(format!("did you mean `{near}`?"));
        }
        EvalError {
            element: name.to_owned(),
            cause: CauseKey(CauseKind::NoSuchElement),
            diagnostic: Arc::new(diagnostic),
        }
    }

    fn no_condition(&self, name: &str, element: ElementId) -> EvalError {
        let diagnostic = Diagnostic::new(
            Class::Undefined,
            format!("`{name}` is undefined: none of its conditions is true"),
        )
        .about(name)
        .primary(label(
            &self.table,
            self.table.name_loc(element.first()),
            "defined under a condition",
        ));
        let diagnostic = conditions(&self.table, element, diagnostic)
            .help("add a definition whose condition is true here");
        EvalError {
            element: name.to_owned(),
            cause: CauseKey(CauseKind::NoCondition(element)),
            diagnostic: Arc::new(diagnostic),
        }
    }
}

fn in_circle(cause: &Cause, element: ElementId) -> bool {
    matches!(cause, Cause::Circular { members, .. } if members.binary_search(&element).is_ok())
}

/// The lines of an evaluated block.
pub(crate) fn lines(table: &Table, memo: &Memo, block: Option<BlockId>) -> Lines {
    let Some(block) = block else {
        return Lines::default();
    };
    let Block { lines, bytes, .. } = memo.arena.blocks[block];
    let mut text = String::with_capacity(bytes as usize + lines as usize);
    memo.arena.write_block(table, block, &mut text);
    match Lines::plain(text, lines as usize) {
        Ok(lines) => lines,
        // A value from the command line has line feeds in it.
        Err(_) => {
            let mut cursor = Cursor::new(&memo.arena, block, 0, lines);
            std::iter::from_fn(|| cursor.next(&memo.arena, table))
                .map(|text| memo.arena.string(table, text))
                .collect()
        }
    }
}

/// Everything was read when the specification was loaded.
pub(crate) fn unread(_: &Path) -> Result<String, Unreadable> {
    Err(Unreadable::other(
        "it was not read when the specification was loaded",
    ))
}
