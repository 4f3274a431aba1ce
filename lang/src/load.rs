//! Loading: the main file, the command line, and the queue of collects (L47-L58).
//!
//! The order in which annotations are written must not matter (L10), yet a path may use elements that
//! another collected file defines. So a collect that met an undefined element waits for it. When nothing else
//! can proceed, all waiting collects are tried at once on the understanding that what is undefined stays
//! so; those that thus name a file are collected together, and what they relied on is checked from then on.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet, HashTable};

use crate::class::Class;
use crate::diagnostics::{Asker, Diagnostic, Label, LabelRole, explain_cause};
use crate::eval::{CauseId, Collected, Flags, Form, Key, Machine, Memo, Outcome, Silent, Visitor};
use crate::files::{Unreadable, UnreadableKind, resolve, too_large};
use crate::index::{IndexVec, ids};
use crate::limits::Limits;
use crate::span::FileId;
use crate::syntax::{CollectId, DefinitionId, File, FullName, Kind, hash_name};
use crate::table::{ElementId, SlotId, Source, Table, spread};

/// A definition given on the command line (L56).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Definition {
    /// The full name of the element.
    pub name: String,
    /// Its value, taken as it is.
    pub value: String,
}

impl Definition {
    /// Makes a definition.
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Self {
        Definition {
            name: name.into(),
            value: value.into(),
        }
    }
}

/// Where parsed files come from.
pub(crate) trait Loader {
    /// Reads and parses a file; `path` is absolute and resolved.
    fn parsed(&self, path: &Path, limit: u64, max_errors: usize) -> std::io::Result<Arc<File>>;
    /// Reads the text of a file value.
    fn value(&self, path: &Path, limit: u64) -> Result<String, Unreadable>;
    /// About how many definitions there will be.
    fn expected(&self) -> usize;
}

/// A collect that was not taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Untaken {
    pub file: FileId,
    pub collect: CollectId,
    /// Whether the condition was false; otherwise the path came to nothing.
    pub condition: bool,
}

/// What loading leaves behind.
pub(crate) struct Loaded {
    pub table: Table,
    pub memo: Memo,
    pub untaken: Vec<Untaken>,
}

ids! {
    /// A collect in the queue.
    PendingId;
}

/// How a collect stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PendingState {
    /// To be tried.
    Ready,
    /// Met something undefined.
    Waiting,
    /// Collected, skipped, dropped or failed.
    Decided,
}

struct Pending {
    file: FileId,
    collect: CollectId,
    state: PendingState,
    /// What was decided on grounds that a later file might change.
    shaky: Option<Collected>,
}

struct Load<'a> {
    loader: &'a dyn Loader,
    limits: &'a Limits,
    table: Table,
    memo: Memo,
    pending: IndexVec<PendingId, Pending>,
    ready: BTreeSet<PendingId>,
    /// Waiting collects by the name that each met first.
    by_name: Names<Vec<PendingId>>,
    /// Waiting collects that any file may help.
    by_any: Vec<PendingId>,
    seen: HashMap<OsString, FileId>,
    /// Files that could not be read, which is reported once.
    unreadable: HashSet<OsString>,
    /// Names whose absence made a file be collected, with that collect (L49).
    relied: Names<PendingId>,
    bytes: u64,
    errors: Vec<Diagnostic>,
    more_errors: usize,
    untaken: Vec<Untaken>,
}

/// Loads a specification.
pub(crate) fn load(
    loader: &dyn Loader,
    limits: &Limits,
    entry: PathBuf,
    given: &[Definition],
) -> Result<Loaded, (Vec<Diagnostic>, usize)> {
    let mut load = Load {
        loader,
        limits,
        table: Table::default(),
        memo: Memo::default(),
        pending: IndexVec::new(),
        ready: BTreeSet::new(),
        by_name: Names::default(),
        by_any: Vec::new(),
        seen: HashMap::new(),
        unreadable: HashSet::new(),
        relied: Names::default(),
        bytes: 0,
        errors: Vec::new(),
        more_errors: 0,
        untaken: Vec::new(),
    };
    load.memo.loading = true;
    load.table.reserve(loader.expected());
    load.main(entry, given);
    load.queue();
    load.finish()
}

/// Something for each of a few names.
struct Names<T>(HashTable<(u32, Box<str>, T)>);

impl<T> Default for Names<T> {
    fn default() -> Self {
        Names(HashTable::new())
    }
}

impl<T> Names<T> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn remove(&mut self, hash: u32, name: &FullName<'_>) -> Option<T> {
        let found = self.0.find_entry(spread(hash), |(other, own, _)| {
            *other == hash && name.is(own)
        });
        found.ok().map(|entry| entry.remove().0.2)
    }

    fn get_or_insert(&mut self, name: &str, new: impl FnOnce() -> T) -> &mut T {
        let hash = hash_name(name);
        let same = |(other, own, _): &(u32, Box<str>, T)| *other == hash && **own == *name;
        let entry = self.0.entry(spread(hash), same, |(hash, ..)| spread(*hash));
        &mut entry
            .or_insert_with(|| (hash, name.into(), new()))
            .into_mut()
            .2
    }

    fn insert_new(&mut self, name: &str, value: T) {
        self.get_or_insert(name, || value);
    }

    fn into_list(self) -> Vec<(Box<str>, T)> {
        self.0
            .into_iter()
            .map(|(_, name, value)| (name, value))
            .collect()
    }
}

impl<T: Default> Names<T> {
    fn get_or_default(&mut self, name: &str) -> &mut T {
        self.get_or_insert(name, T::default)
    }
}

/// Notes the names whose absence was met.
#[derive(Default)]
struct Absences {
    names: Vec<Box<str>>,
    elements: Vec<ElementId>,
}

impl Visitor for &mut Absences {
    fn absent(&mut self, name: &FullName<'_>) {
        self.names.push(name.join().into());
    }

    fn no_condition(&mut self, element: ElementId) {
        self.elements.push(element);
    }
}

impl Load<'_> {
    fn error(&mut self, error: Diagnostic) {
        if self.errors.len() < self.limits.errors {
            self.errors.push(error);
        } else {
            self.more_errors += 1;
        }
    }

    fn main(&mut self, entry: PathBuf, given: &[Definition]) {
        match self.parse(&entry) {
            Ok(file) => self.add(file, None),
            Err(error) => {
                let why = Unreadable::from(&error);
                let message = format!("cannot read the main file {}: {why}", entry.display());
                let found = Diagnostic::new(Class::CannotOpen, message).at_path(&entry);
                self.error(match why.advice() {
                    Some(advice) => found.help(advice),
                    None => found,
                });
                return;
            }
        }
        if !given.is_empty() {
            self.command_line(given);
        }
    }

    fn parse(&mut self, path: &Path) -> std::io::Result<Arc<File>> {
        let limit = self.limits.file;
        let file = self.loader.parsed(path, limit, self.limits.errors)?;
        self.bytes += file.source().len() as u64;
        if self.bytes > self.limits.total {
            return Err(std::io::Error::new(
                std::io::ErrorKind::FileTooLarge,
                format!(
                    "together with the files before it has more than {} bytes",
                    self.limits.total
                ),
            ));
        }
        if file.source().len() as u64 > limit {
            return Err(too_large(limit));
        }
        Ok(file)
    }

    /// Puts the definitions of the command line in the place of the main file's (L56).
    fn command_line(&mut self, given: &[Definition]) {
        let main = Arc::clone(&self.table.sources[FileId::MAIN].file);
        let list: Vec<(&str, &str, Option<&str>)> = given
            .iter()
            .map(|definition| {
                let section = self.table.find(&definition.name).and_then(|element| {
                    let (_, replaced) = self.table.definition(element.first());
                    main.section_of(replaced)
                });
                (definition.name.as_str(), definition.value.as_str(), section)
            })
            .collect();
        let file = Arc::new(File::command_line(PathBuf::from("<command line>"), &list));
        let number = self.table.sources.push(Source {
            file: Arc::clone(&file),
            brought_by: None,
            command_line: true,
        });
        self.syntax_errors(&file, number);
        for (id, definition) in file.definitions.entries() {
            match self.table.find_full(&file.name(definition)) {
                Some(element) if self.table.file_of(element.first()) == FileId::MAIN => {
                    self.table.replace(element, number, id);
                }
                _ => self.define(&file, number, id),
            }
        }
    }

    fn syntax_errors(&mut self, file: &Arc<File>, number: FileId) {
        for found in Diagnostic::of_syntax(file) {
            self.error(self.brought(found, number));
        }
        self.more_errors += file.more_errors;
    }

    /// Adds the collect that brought a file in.
    fn brought(&self, error: Diagnostic, file: FileId) -> Diagnostic {
        match self.table.sources[file].brought_by {
            None => error,
            Some((by, collect)) => {
                let by = &self.table.sources[by].file;
                let span = by.collects[collect].span;
                error.label(Label::new(by, span, "the file is collected here"))
            }
        }
    }

    /// Takes a file in: its definitions, and its collects into the queue.
    fn add(&mut self, file: Arc<File>, brought_by: Option<(FileId, CollectId)>) {
        let number = self.table.sources.push(Source {
            file: Arc::clone(&file),
            brought_by,
            command_line: false,
        });
        self.seen.insert(file.path().as_os_str().to_owned(), number);
        let before = self.errors.len();
        self.syntax_errors(&file, number);
        self.table.reserve(file.definitions.len());
        for id in file.definitions.ids() {
            self.define(&file, number, id);
        }
        // Errors of a file come in its order, whichever step finds them.
        self.errors[before..].sort_by_key(Diagnostic::offset);
        for collect in file.collects.ids() {
            let id = self.pending.push(Pending {
                file: number,
                collect,
                state: PendingState::Ready,
                shaky: None,
            });
            self.ready.insert(id);
        }
        for id in std::mem::take(&mut self.by_any) {
            self.wake(id);
        }
        self.memo.epoch += 1;
    }

    fn wake(&mut self, id: PendingId) {
        if self.pending[id].state == PendingState::Waiting {
            self.pending[id].state = PendingState::Ready;
            self.ready.insert(id);
        }
    }

    fn define(&mut self, file: &Arc<File>, number: FileId, id: DefinitionId) {
        match self.table.insert(file, number, id) {
            Ok(element) => {
                if self.by_name.is_empty() && self.relied.is_empty() {
                    return;
                }
                let this = &file.definitions[id];
                let name = file.name(this);
                for waiting in self.by_name.remove(this.hash, &name).unwrap_or_default() {
                    self.wake(waiting);
                }
                if this.condition().is_none()
                    && let Some(by) = self.relied.remove(this.hash, &name)
                {
                    self.relied_on(&name.join(), by, element);
                }
            }
            Err(first) => {
                let error = self.duplicate(file, id, first);
                self.error(self.brought(error, number));
            }
        }
    }

    fn duplicate(&self, file: &Arc<File>, id: DefinitionId, first: SlotId) -> Diagnostic {
        let this = &file.definitions[id];
        let name = file.name(this);
        let loc = self.table.name_loc(first);
        let (from, earlier) = self.table.definition(first);
        let source = &self.table.sources[from];
        let text = match (source.command_line, this.condition(), earlier.condition()) {
            (true, ..) => "given on the command line",
            (_, Some(_), Some(_)) => "first defined here, under the same condition",
            (_, Some(_), None) => "first defined here, without a condition",
            (_, None, Some(_)) => "first defined here, under a condition",
            _ => "first defined here",
        };
        let error = Diagnostic::new(Class::Duplicate, format!("`{name}` is defined twice"))
            .about(name.join())
            .primary(Label::new(file, file.name_span(this), "defined again"))
            .label(Label::new(&source.file, loc.span, text));
        match (
            source.command_line,
            this.condition().is_some() != earlier.condition().is_some(),
        ) {
            (true, _) => error.help("the command line replaces definitions of the main file only"),
            (_, true) => error
                .help("an element with an unconditional definition may have no conditional one"),
            _ => error.help(
                "remove one of them, or make them exclude each other by conditions: `[when ELEMENT is WORD]`",
            ),
        }
    }

    fn relied_on(&mut self, name: &str, by: PendingId, element: ElementId) {
        let (file, collect) = (self.pending[by].file, self.pending[by].collect);
        let source = &self.table.sources[file].file;
        let loc = self.table.name_loc(element.first());
        let at = &self.table.sources[loc.file].file;
        let message = format!("`{name}` is defined after its absence made a file be collected");
        let error = Diagnostic::new(Class::Conflict, message)
            .about(name)
            .primary(Label::new(at, loc.span, "defined here"))
            .label(Label::new(
                source,
                source.collects[collect].span,
                "collected since it was undefined",
            ))
            .help("define it in a file whose collect does not depend on it");
        self.error(error);
    }

    fn machine<V: Visitor, R>(
        &mut self,
        visitor: V,
        work: impl FnOnce(&mut Machine<'_, V>) -> R,
    ) -> R {
        let (loader, limit) = (self.loader, self.limits.file_value);
        let read = move |path: &Path| loader.value(path, limit);
        work(&mut Machine::new(
            &self.table,
            &mut self.memo,
            self.limits,
            &read,
            visitor,
        ))
    }

    fn trial(&mut self, id: PendingId) -> (Collected, Flags) {
        let (file, collect) = (self.pending[id].file, self.pending[id].collect);
        self.machine(Silent, |machine| machine.collect(file, collect))
    }

    /// Works on the queue until nothing can proceed.
    fn queue(&mut self) {
        loop {
            while let Some(id) = self.ready.pop_first() {
                let (outcome, flags) = self.trial(id);
                match flags.absent {
                    None => {
                        self.pending[id].state = PendingState::Decided;
                        if flags.unstable {
                            self.pending[id].shaky = Some(outcome.clone());
                        }
                        self.decide(id, outcome);
                    }
                    Some(absent) => {
                        self.pending[id].state = PendingState::Waiting;
                        match absent.id() {
                            Some(name) => {
                                let name = &self.memo.absent[name];
                                self.by_name.get_or_default(name).push(id);
                            }
                            None => self.by_any.push(id),
                        }
                    }
                }
            }
            if !self.decide_absence() {
                return;
            }
        }
    }

    fn decide(&mut self, id: PendingId, outcome: Collected) {
        let (file, collect) = (self.pending[id].file, self.pending[id].collect);
        match outcome {
            Collected::Path(path) => self.collect(id, &path),
            Collected::False => self.untaken.push(Untaken {
                file,
                collect,
                condition: true,
            }),
            Collected::Nothing => self.untaken.push(Untaken {
                file,
                collect,
                condition: false,
            }),
            Collected::Failed(cause) => {
                let error = self.failed(file, collect, cause);
                self.error(error);
            }
        }
    }

    fn failed(&self, file: FileId, collect: CollectId, cause: CauseId) -> Diagnostic {
        let error = explain_cause(&self.table, &self.memo, cause, Asker::Collect);
        let source = &self.table.sources[file].file;
        let span = source.collects[collect].span;
        let collect = Label::new(source, span, "needed by this collect");
        error.label(collect.with_role(LabelRole::NeededBy))
    }

    /// Reads the file that a collect names.
    fn collect(&mut self, id: PendingId, path: &str) {
        let (file, collect) = (self.pending[id].file, self.pending[id].collect);
        let full = resolve(self.table.dir(file), Path::new(path));
        let source = Arc::clone(&self.table.sources[file].file);
        let annotation = source.collects[collect];
        let label = |text: String| Label::new(&source, annotation.path, text);
        if let Some(first) = self.seen.get(full.as_os_str()) {
            let error = Diagnostic::new(
                Class::Duplicate,
                format!("{} is collected twice", full.display()),
            )
            .primary(label("collected again".to_owned()))
            .help("remove one of them: an element is there for all files wherever its file is collected");
            let error = match self.table.sources[*first].brought_by {
                None => error.note("it is the main file"),
                Some((by, collect)) => {
                    let by = &self.table.sources[by].file;
                    let span = by.collects[collect].path;
                    error.label(Label::new(by, span, "first collected here"))
                }
            };
            self.error(error);
            return;
        }
        if self.table.sources.len() >= self.limits.files {
            let message = format!("more than {} files are collected", self.limits.files);
            self.error(
                Diagnostic::new(Class::Limit, message).primary(label("one too many".to_owned())),
            );
            return;
        }
        if self.unreadable.contains(full.as_os_str()) {
            return;
        }
        match self.parse(&full) {
            Ok(parsed) => self.add(parsed, Some((file, collect))),
            Err(error) => {
                let why = Unreadable::from(&error);
                let message = format!("cannot collect {}: {why}", full.display());
                let found =
                    Diagnostic::new(Class::BadCollect, message).primary(label(why.to_string()));
                let written = source.text(annotation.path);
                let found = match written.contains("$[") {
                    true => found.note(format!("the path `{written}` came to `{path}`")),
                    false => found,
                };
                let found = match why.advice() {
                    Some(advice) => found.help(advice),
                    None if why.kind() == UnreadableKind::Missing => found.help(
                        "correct the path, or collect it under a condition: `[collect PATH when ELEMENT]`",
                    ),
                    None => found,
                };
                let mut found = found;
                if why.kind() == UnreadableKind::Missing {
                    found.missing = Some(full.clone());
                }
                self.error(found);
                self.unreadable.insert(full.into_os_string());
            }
        }
    }

    /// The collects that wait for something undefined, in order.
    fn waiting(&self) -> Vec<PendingId> {
        let waiting = |(id, pending): (PendingId, &Pending)| {
            (pending.state == PendingState::Waiting).then_some(id)
        };
        self.pending.entries().filter_map(waiting).collect()
    }

    /// Collects what is named on the understanding that what is undefined stays so; false if nothing is.
    fn decide_absence(&mut self) -> bool {
        let waiting = self.waiting().into_iter();
        let named: Vec<PendingId> = waiting
            .filter(|id| matches!(self.trial(*id).0, Collected::Path(_)))
            .collect();
        if named.is_empty() {
            return false;
        }
        // Once more, from scratch, to learn all they rely on.
        self.memo.epoch += 1;
        let mut paths = Vec::with_capacity(named.len());
        for id in named {
            let (file, collect) = (self.pending[id].file, self.pending[id].collect);
            let mut absences = Absences::default();
            let (outcome, _) =
                self.machine(&mut absences, |machine| machine.collect(file, collect));
            for name in absences.names {
                self.relied.insert_new(&name, id);
            }
            for element in absences.elements {
                let name = self.table.name(element).join();
                self.relied.insert_new(&name, id);
            }
            self.pending[id].state = PendingState::Decided;
            self.pending[id].shaky = Some(outcome.clone());
            paths.push((id, outcome));
        }
        for (id, outcome) in paths {
            self.decide(id, outcome);
        }
        true
    }

    /// Nothing can proceed: drops what is false, and checks what was decided.
    fn finish(mut self) -> Result<Loaded, (Vec<Diagnostic>, usize)> {
        // What fails for want of something may only lack a file that failed, which is reported already.
        if self.errors.is_empty() {
            for id in self.waiting() {
                let (outcome, _) = self.trial(id);
                self.decide(id, outcome);
            }
        }
        if self.errors.is_empty() {
            self.check_relied();
        }
        if self.errors.is_empty() {
            self.check_shaky();
        }
        if !self.errors.is_empty() {
            return Err((self.errors, self.more_errors));
        }
        self.memo.loading = false;
        self.read_values();
        Ok(Loaded {
            table: self.table,
            memo: self.memo,
            untaken: self.untaken,
        })
    }

    /// Looks whether a condition that became true defined what was relied on to be undefined.
    fn check_relied(&mut self) {
        let mut relied = std::mem::take(&mut self.relied).into_list();
        relied.sort();
        for (name, by) in relied {
            let Some(element) = self.table.find(&name) else {
                continue;
            };
            let outcome = self.machine(Silent, |machine| machine.choose(element, false));
            if !matches!(outcome, Outcome::Undefined) {
                self.relied_on(&name, by, element);
            }
        }
    }

    /// Looks whether what was decided would be decided the same now.
    fn check_shaky(&mut self) {
        for id in self.pending.ids() {
            let Some(before) = self.pending[id].shaky.take() else {
                continue;
            };
            let (file, collect) = (self.pending[id].file, self.pending[id].collect);
            match self.trial(id).0 {
                now if now == before => {}
                Collected::Failed(cause) => {
                    let error = self.failed(file, collect, cause);
                    self.error(error);
                }
                now => {
                    let tell = |outcome: &Collected| match outcome {
                        Collected::Path(path) => format!("to `{path}`"),
                        Collected::False => "to a false condition".to_owned(),
                        _ => "to nothing".to_owned(),
                    };
                    let message = "a collect was decided before all it depends on was defined";
                    let source = &self.table.sources[file].file;
                    let span = source.collects[collect].span;
                    let error = Diagnostic::new(Class::Conflict, message)
                        .primary(Label::new(source, span, ""))
                        .note(format!(
                            "it came {} when decided, and {} in the end",
                            tell(&before),
                            tell(&now)
                        ));
                    self.error(error);
                }
            }
        }
    }

    /// Reads all file values, so that evaluation needs no files and never changes (L59).
    fn read_values(&mut self) {
        let mut keys = Vec::new();
        for source in &self.table.sources {
            for definition in &source.file.definitions {
                if definition.kind() == Kind::FileValue
                    && let Some(element) = self.table.find_full(&source.file.name(definition))
                {
                    keys.push(element);
                }
            }
        }
        keys.dedup();
        self.machine(Silent, |machine| {
            for element in keys {
                for lax in [false, true] {
                    machine.ask(Key::new(element, Form::Text, lax));
                }
            }
        });
    }
}
