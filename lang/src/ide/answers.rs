//! Answers to an editor's questions about a place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Edit;
use super::complete::{Completions, Known, complete};
use super::document::Document;
use super::outline::{detail, shorten};
use super::position::{Position, Range};
use super::rename::{RenameError, rename};
use super::workspace::{Location, Workspace};
use crate::fmt::format_file;
use crate::mentions::{Mention, Role};
use crate::provenance::{self, Answer, Effect, Node, Provenance};
use crate::spec::Value;
use crate::syntax::{Collect, Kind, SyntaxError};

/// What is shown for a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hover {
    /// The text it is about.
    pub range: Range,
    /// What to show, in Markdown.
    pub markdown: String,
}

/// Lines of a value that are shown.
const LINES: usize = 20;
/// Characters of a line that are shown.
const WIDTH: usize = 200;
/// References that are shown.
const STEPS: usize = 20;

impl Workspace {
    /// The document and the mention at a place.
    fn at(&self, path: &Path, position: Position) -> Option<(Arc<Document>, u32, Option<Mention>)> {
        let document = self.document(path)?;
        let offset = document.offset(position);
        let mention = document.mention_at(offset).copied();
        Some((document, offset, mention))
    }

    /// The full name of the element at a place.
    fn name_at(&self, path: &Path, position: Position) -> Option<String> {
        let (document, _, mention) = self.at(path, position)?;
        let name = mention?.full(document.file())?.join();
        Some(name)
    }

    /// The value of the element at a place, and how it came about.
    pub fn hover(&mut self, path: &Path, position: Position) -> Option<Hover> {
        let (document, offset, mention) = self.at(path, position)?;
        let project = self.project(path)?;
        let spec = project.spec.clone()?;
        let definitions: Vec<String> = project
            .definitions
            .iter()
            .map(|d| format!("{}={}", d.name, shorten(&d.value, WIDTH)))
            .collect();
        let Some(mention) = mention else {
            let collect = collect_at(&document, offset)?;
            let range = document.range(collect.span);
            let file = self.collected(path, &document, &collect);
            let text = match file {
                Some(file) => format!("collects `{}`", file.display()),
                None => "is not collected".to_owned(),
            };
            return Some(Hover {
                range,
                markdown: with_definitions(text, &definitions),
            });
        };
        let name = mention.full(document.file())?.join();
        let markdown = match spec.provenance(&name) {
            Ok(provenance) => explain(&provenance),
            Err(_) => format!("`{name}` is not defined"),
        };
        let range = document.range(mention.whole);
        Some(Hover {
            range,
            markdown: with_definitions(markdown, &definitions),
        })
    }

    /// The file that a collect brought in.
    fn collected(
        &mut self,
        path: &Path,
        document: &Document,
        collect: &Collect,
    ) -> Option<PathBuf> {
        let (spec, entry) = {
            let project = self.project(path)?;
            (project.spec.clone()?, project.entry.clone())
        };
        let text = document.file().text(collect.span);
        spec.taken().into_iter().find_map(|(label, file)| {
            let same = self.host.real(&entry, label.path()).as_deref() == Some(path);
            // The specification may be older than the document, so places are compared by their text.
            let lies = || {
                self.host
                    .real(&entry, file)
                    .or_else(|| self.host.copy(file))
            };
            (same && label.file().text(label.span) == text).then(lies)?
        })
    }

    /// Where the element at a place is defined, or the file that is collected there.
    pub fn definition(&mut self, path: &Path, position: Position) -> Vec<Location> {
        let Some((document, offset, mention)) = self.at(path, position) else {
            return Vec::new();
        };
        let Some(mention) = mention else {
            let Some(collect) = collect_at(&document, offset) else {
                return Vec::new();
            };
            let file = self.collected(path, &document, &collect);
            return file
                .map(|path| Location {
                    path,
                    range: Range::default(),
                })
                .into_iter()
                .collect();
        };
        let wanted = |other: &Mention, file: &crate::syntax::File| {
            if !other.is_definition() {
                return false;
            }
            let Some(full) = other.full(file) else {
                return false;
            };
            if mention.computed {
                return mention.could_be(document.file(), &full.join());
            }
            mention
                .full(document.file())
                .is_some_and(|name| name.same(&full))
        };
        let near = self.search(path, false, &wanted);
        if near.is_empty() {
            self.search(path, true, &wanted)
        } else {
            near
        }
    }

    /// All mentions of the element at a place.
    pub fn references(
        &mut self,
        path: &Path,
        position: Position,
        definitions: bool,
    ) -> Vec<Location> {
        let Some(name) = self.name_at(path, position) else {
            return Vec::new();
        };
        self.search(path, true, &|mention, file| {
            (definitions || !mention.is_definition())
                && mention.full(file).is_some_and(|full| full.is(&name))
        })
    }

    /// The mentions in the same document of the element at a place.
    pub fn highlights(&self, path: &Path, position: Position) -> Vec<(Range, bool)> {
        let Some((document, _, Some(mention))) = self.at(path, position) else {
            return Vec::new();
        };
        let file = document.file();
        let Some(name) = mention.full(file) else {
            return Vec::new();
        };
        let same = document
            .mentions()
            .iter()
            .filter(|other| other.full(file).is_some_and(|full| full.same(&name)));
        same.map(|other| (document.range(other.shown()), other.is_definition()))
            .collect()
    }

    /// The documents that belong together with one: its specification's, or it alone.
    fn documents(&mut self, path: &Path, wide: bool) -> BTreeMap<PathBuf, Arc<Document>> {
        let Some(project) = self.project(path).cloned() else {
            return self
                .document(path)
                .map(|document| (path.to_owned(), document))
                .into_iter()
                .collect();
        };
        match wide {
            true => project.all_documents(&*self.host, &self.open, &self.overlay()),
            false => {
                let mut documents = project.documents(&self.open);
                if let Some(document) = self.document(path) {
                    documents.insert(path.to_owned(), document);
                }
                documents
            }
        }
    }

    fn search(
        &mut self,
        path: &Path,
        wide: bool,
        wanted: &dyn Fn(&Mention, &crate::syntax::File) -> bool,
    ) -> Vec<Location> {
        let mut found = Vec::new();
        for (path, document) in self.documents(path, wide) {
            let mut shown = self.is_real(&path).then(|| path.clone());
            for mention in document.mentions() {
                if wanted(mention, document.file()) {
                    // Copies are made when there is something to see in them.
                    let Some(path) = shown.take().or_else(|| self.host.copy(&path)) else {
                        break;
                    };
                    shown = Some(path.clone());
                    found.push(Location {
                        path,
                        range: document.range(mention.shown()),
                    });
                }
            }
        }
        found
    }

    /// Whether an editor can open a file.
    fn is_real(&self, path: &Path) -> bool {
        self.document(path).is_some() || self.host.base().is_file(path).unwrap_or(false)
    }

    /// The range and the name of the element at a place, if it can be renamed.
    pub fn prepare_rename(&self, path: &Path, position: Position) -> Option<(Range, String)> {
        let (document, _, mention) = self.at(path, position)?;
        let mention = mention?;
        Some((
            document.range(mention.shown()),
            mention.full(document.file())?.join(),
        ))
    }

    /// The edits that give the element at a place a new full name, by file.
    pub fn rename(
        &mut self,
        path: &Path,
        position: Position,
        new: &str,
    ) -> Result<BTreeMap<PathBuf, Vec<Edit>>, RenameError> {
        let old = self.name_at(path, position).ok_or(RenameError::NoElement)?;
        let documents = self.documents(path, true);
        // A file is edited where it lies, which is not where the specification read it from.
        let documents: Vec<(PathBuf, Arc<Document>)> = documents.into_iter().collect();
        rename(&documents, &old, new, |path| {
            self.is_real(path) && self.host.is_writable(path)
        })
    }

    /// What could be written at a place.
    pub fn complete(&mut self, path: &Path, position: Position) -> Completions {
        let Some(document) = self.document(path) else {
            return Completions::default();
        };
        let offset = document.offset(position);
        let mut known = Known::default();
        let mut mentioned = BTreeSet::new();
        for (_, other) in self.documents(path, false) {
            let file = other.file();
            for definition in &file.definitions {
                let kind = definition.kind();
                let detail = detail(file.text(definition.value), kind);
                known
                    .defined
                    .entry(file.name(definition).join())
                    .or_insert((kind == Kind::Block, detail));
            }
            for section in &file.sections {
                known.sections.insert(file.text(section.name).to_owned());
            }
            for mention in other
                .mentions()
                .iter()
                .filter(|mention| mention.role != Role::Definition)
            {
                if let Some(name) = mention.full(file).map(|name| name.join())
                    && crate::syntax::is_valid_name(&name)
                {
                    mentioned.insert(name);
                }
            }
        }
        mentioned.retain(|name| !known.defined.contains_key(name));
        known.undefined = mentioned;
        if let (Some(folder), Some(project)) = (path.parent(), self.project(path)) {
            let entry = project.entry.clone();
            let root = entry.parent().unwrap_or(folder);
            let files = self.host.specifications(root);
            known.files = files
                .iter()
                .filter(|file| *file != path)
                .filter_map(|file| {
                    file.strip_prefix(folder)
                        .ok()?
                        .to_str()
                        .map(|rest| format!("./{rest}"))
                })
                .collect();
        }
        complete(&document, offset, &known)
    }

    /// The edits that bring a document into canonical layout; the error is why it cannot be.
    pub fn format(&self, path: &Path) -> Result<Vec<Edit>, Vec<SyntaxError>> {
        let Some(document) = self.document(path) else {
            return Ok(Vec::new());
        };
        if !document.file().errors.is_empty() {
            return Err(document.file().errors.clone());
        }
        let formatted = format_file(document.file());
        let edits = formatted.changes.into_iter().map(|change| Edit {
            range: document.range(change.span),
            text: change.new.unwrap_or_default(),
        });
        Ok(edits.collect())
    }
}

/// The collect whose annotation an offset lies in.
fn collect_at(document: &Document, offset: u32) -> Option<Collect> {
    document
        .file()
        .collects
        .iter()
        .find(|collect| collect.span.touches(offset))
        .copied()
}

fn with_definitions(text: String, definitions: &[String]) -> String {
    if definitions.is_empty() {
        return text;
    }
    format!(
        "{text}\n\n---\nwith {}",
        definitions
            .iter()
            .map(|d| code(d))
            .collect::<Vec<_>>()
            .join(" ")
    )
}

/// A text as code on a line of Markdown.
fn code(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') || text.is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Lines as a block of code in Markdown.
fn fenced<'a>(lines: impl Iterator<Item = &'a str>, all: usize) -> String {
    let lines: Vec<String> = lines.take(LINES).map(|line| shorten(line, WIDTH)).collect();
    let longest = lines
        .iter()
        .flat_map(|line| line.split(|c| c != '`'))
        .map(str::len)
        .max()
        .unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let more = if all > lines.len() {
        format!("\n*{} more lines*", all - lines.len())
    } else {
        String::new()
    };
    format!("{fence}\n{}\n{fence}{more}", lines.join("\n"))
}

fn place(provenance: &Provenance, place: &provenance::Location) -> String {
    let path = place
        .path
        .strip_prefix(&provenance.base)
        .unwrap_or(&place.path);
    format!("{}:{}", path.display(), place.line)
}

/// The value of the first node, and what it was made of.
fn explain(provenance: &Provenance) -> String {
    let Some(node) = provenance.nodes.first() else {
        return String::new();
    };
    let mut text = format!("**{}**\n\n{}", code(&node.element), answer(&node.answer));
    if let Some(definition) = &node.definition {
        text.push_str(&format!("\n\ndefined at {}", place(provenance, definition)));
    }
    for tested in &node.conditions {
        let holds = match tested.holds {
            Some(true) => "holds",
            Some(false) => "does not hold",
            None => "cannot be tested",
        };
        text.push_str(&format!(
            "\n- {} {holds}, {}",
            code(&tested.written),
            place(provenance, &tested.at)
        ));
    }
    let steps = node
        .steps
        .iter()
        .chain(node.lines.iter().flat_map(|line| &line.steps));
    let all = steps.clone().count();
    for step in steps.take(STEPS) {
        let needed = step.node.and_then(|index| provenance.nodes.get(index));
        let effect = match (step.effect, needed) {
            (Effect::Used, Some(node)) => short(node),
            (Effect::Used, None) => "used".to_owned(),
            (Effect::Empty, _) => "empty".to_owned(),
            (Effect::Removed, _) => "removes the text it is in".to_owned(),
            (Effect::Answered(yes), _) => if yes { "`yes`" } else { "`no`" }.to_owned(),
            (Effect::Failed, _) => "fails".to_owned(),
        };
        let from = needed.and_then(|node| node.definition.as_ref());
        let from = from.map_or_else(String::new, |from| format!(", {}", place(provenance, from)));
        text.push_str(&format!("\n- {} → {effect}{from}", code(&step.written)));
    }
    if all > STEPS {
        text.push_str(&format!("\n- and {} more", all - STEPS));
    }
    text
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Value(Value::Line(line)) if line.is_empty() => "*blank*".to_owned(),
        Answer::Value(Value::Line(line)) => fenced(std::iter::once(line.as_str()), 1),
        Answer::Value(Value::Block(lines)) if lines.is_empty() => "*no lines*".to_owned(),
        Answer::Value(Value::Block(lines)) => fenced(lines.iter(), lines.len()),
        Answer::Removed => "*removed*".to_owned(),
        Answer::Undefined => "*undefined: none of its conditions holds*".to_owned(),
        Answer::Failed { message, .. } => format!("*fails:* {message}"),
        Answer::Unasked => String::new(),
    }
}

/// The value of a node on one line.
fn short(node: &Node) -> String {
    match &node.answer {
        Answer::Value(Value::Line(line)) if line.is_empty() => "blank".to_owned(),
        Answer::Value(Value::Line(line)) => code(&shorten(line, 80)),
        Answer::Value(Value::Block(lines)) if lines.len() == 1 => "1 line".to_owned(),
        Answer::Value(Value::Block(lines)) => format!("{} lines", lines.len()),
        Answer::Removed => "removed".to_owned(),
        Answer::Undefined => "undefined".to_owned(),
        Answer::Failed { .. } => "fails".to_owned(),
        Answer::Unasked => "used".to_owned(),
    }
}
