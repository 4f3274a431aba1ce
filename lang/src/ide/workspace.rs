//! The state of an editing session: open documents and the specifications that they are part of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::document::Document;
use super::host::{Host, Open, Overlay};
use super::position::{LineIndex, Range};
use super::project::Project;
use crate::diagnostics::{Diagnostic, Label};
use crate::files::Files;
use crate::lint::{Lint, Severity, check_file};
use crate::load::Definition;
use crate::session::Session;
use crate::syntax::File;

/// Open documents larger than this are not looked into.
const LARGEST: usize = 16 << 20;
/// How many sets of definitions are tried to find one under which a document is collected.
const TRIES: usize = 200;
/// Problems shown for one file.
const SHOWN: usize = 500;

/// How a session is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The entry file of all documents; otherwise the nearest one above each.
    pub entry: Option<PathBuf>,
    /// The definitions to load it with; otherwise those of a target that has the document.
    pub definitions: Vec<Definition>,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// The file.
    pub path: PathBuf,
    /// The place.
    pub range: Range,
}

/// Something to underline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The place.
    pub range: Range,
    /// How bad it is.
    pub severity: Severity,
    /// The class of the error, or the name of the check.
    pub code: &'static str,
    /// What is wrong, and what to do about it.
    pub message: String,
    /// Other places that matter, with what is to be said about each.
    pub related: Vec<(Location, String)>,
}

/// Which specification a document is looked at as part of.
#[derive(Clone, Debug)]
struct Choice {
    project: usize,
    /// Whether no set of definitions was found under which the document is collected.
    outside: bool,
}

/// An editing session.
pub struct Workspace {
    pub(super) host: Box<dyn Host>,
    pub(super) open: Open,
    options: Options,
    projects: Vec<Project>,
    choices: BTreeMap<PathBuf, Option<Choice>>,
    stale: bool,
}

impl Workspace {
    /// Starts a session without open documents.
    pub fn new(host: Box<dyn Host>, options: Options) -> Self {
        Workspace {
            host,
            open: Open::default(),
            options,
            projects: Vec::new(),
            choices: BTreeMap::new(),
            stale: false,
        }
    }

    /// Opens a document, or takes its new text. The path is absolute and free of `.` and `..`.
    pub fn change(&mut self, path: &Path, text: String) {
        let text = if text.len() > LARGEST {
            String::new()
        } else {
            text
        };
        self.open.insert(Document::new(path.to_owned(), text));
        self.stale = true;
    }

    /// Closes a document: from now on its file counts.
    pub fn close(&mut self, path: &Path) {
        if self.open.remove(path) {
            self.choices.remove(path);
            self.stale = true;
        }
    }

    /// Files may have been changed by others.
    pub fn files_changed(&mut self) {
        // Documents without a specification may have one now.
        self.choices
            .retain(|_, choice| choice.as_ref().is_some_and(|choice| !choice.outside));
        self.stale = true;
    }

    /// An open document.
    pub fn document(&self, path: &Path) -> Option<Arc<Document>> {
        self.open.get(path)
    }

    /// The paths of all open documents, sorted.
    pub fn open_paths(&self) -> Vec<PathBuf> {
        let open = self.open.all();
        open.iter()
            .map(|document| document.path().to_owned())
            .collect()
    }

    pub(super) fn overlay(&self) -> Overlay {
        Overlay {
            open: self.open.clone(),
            base: self.host.base(),
        }
    }

    fn files(&self, entry: &Path) -> Box<dyn Files + Send> {
        self.host.files(entry, Box::new(self.overlay()))
    }

    /// The specification that a document is part of.
    pub(super) fn project(&mut self, path: &Path) -> Option<&Project> {
        self.refresh();
        let choice = self.choices.get(path)?.as_ref()?;
        self.projects.get(choice.project)
    }

    /// Loads what has to be loaded again.
    fn refresh(&mut self) {
        if !std::mem::take(&mut self.stale) {
            return;
        }
        let mut projects = std::mem::take(&mut self.projects);
        for project in &mut projects {
            let files = self.files(&project.entry);
            project.load(&*self.host, &Session::new(&*files));
        }
        self.projects = projects;
        for document in self.open.all() {
            let path = document.path();
            let settled = match self.choices.get(path) {
                None => false,
                Some(None) => true,
                Some(Some(choice)) => {
                    let project = &self.projects[choice.project];
                    // One that fails to load has the documents that it had.
                    choice.outside || project.has(path)
                }
            };
            if !settled {
                let choice = self.choose(path);
                self.choices.insert(path.to_owned(), choice);
            }
        }
        self.drop_unused();
    }

    fn drop_unused(&mut self) {
        let used: BTreeSet<usize> = self
            .choices
            .values()
            .flatten()
            .map(|choice| choice.project)
            .collect();
        let mut places = BTreeMap::new();
        let mut kept = Vec::new();
        for (index, project) in std::mem::take(&mut self.projects).into_iter().enumerate() {
            if used.contains(&index) {
                places.insert(index, kept.len());
                kept.push(project);
            }
        }
        self.projects = kept;
        for choice in self.choices.values_mut().flatten() {
            choice.project = places.get(&choice.project).copied().unwrap_or_default();
        }
    }

    /// The entry file of a document.
    fn entry(&self, path: &Path) -> Option<PathBuf> {
        if let Some(entry) = &self.options.entry {
            return Some(entry.clone());
        }
        let files = self.overlay();
        let candidates = path
            .ancestors()
            .skip(1)
            .map(|folder| folder.join(self.host.entry_name()));
        candidates
            .take(64)
            .find(|entry| files.is_file(entry).unwrap_or(false))
    }

    /// Finds a specification that has the document.
    fn choose(&mut self, path: &Path) -> Option<Choice> {
        let entry = self.entry(path)?;
        let known = self
            .projects
            .iter()
            .position(|project| project.entry == entry && project.has(path));
        if let Some(project) = known {
            return Some(Choice {
                project,
                outside: false,
            });
        }
        let files = self.files(&entry);
        let session = Session::new(&*files);
        let mut sets = match self.options.definitions.as_slice() {
            [] => self.host.definition_sets(&entry, Box::new(self.overlay())),
            given => vec![given.to_vec()],
        };
        let usual = if sets.is_empty() {
            Vec::new()
        } else {
            sets[0].clone()
        };
        // A file is often named after the value that brings it in.
        let named = |set: &[Definition]| {
            let part = |value: &str| {
                path.components().any(|part| {
                    Path::new(part.as_os_str())
                        .file_stem()
                        .is_some_and(|stem| stem == value)
                })
            };
            set.iter()
                .filter(|definition| part(&definition.value))
                .count()
        };
        if let Some(rest) = sets.get_mut(1..) {
            rest.sort_by_key(|set| std::cmp::Reverse(named(set)));
        }
        for definitions in sets.into_iter().take(TRIES) {
            let mut project = Project::new(entry.clone(), definitions);
            project.load(&*self.host, &session);
            // Among other definitions it would fail as well, most likely.
            if project.has(path) {
                self.projects.push(project);
                return Some(Choice {
                    project: self.projects.len() - 1,
                    outside: false,
                });
            }
        }
        let known = self
            .projects
            .iter()
            .position(|project| project.entry == entry && project.definitions == usual);
        let project = known.unwrap_or_else(|| {
            let mut project = Project::new(entry, usual);
            project.load(&*self.host, &session);
            self.projects.push(project);
            self.projects.len() - 1
        });
        Some(Choice {
            project,
            outside: true,
        })
    }

    /// What is wrong in each file, for all open documents and the specifications they are part of.
    pub fn problems(&mut self) -> BTreeMap<PathBuf, Vec<Problem>> {
        self.refresh();
        let mut all = Problems::new();
        let mut ranges = Ranges::default();
        for project in &self.projects {
            self.project_problems(project, &mut ranges, &mut all);
        }
        let entries = self.projects.iter().map(|project| &project.entry);
        for entry in entries.collect::<BTreeSet<_>>() {
            self.findings(entry, &mut ranges, &mut all);
        }
        for document in self.open.all() {
            self.document_problems(&document, &mut ranges, &mut all);
        }
        for list in all.values_mut() {
            list.sort_by(|a, b| (a.range, a.code).cmp(&(b.range, b.code)));
        }
        all
    }

    /// Adds the errors of a specification, each in the file that it is in.
    fn project_problems(&self, project: &Project, ranges: &mut Ranges, all: &mut Problems) {
        for (diagnostic, names, count) in &project.errors {
            let (path, range) = match &diagnostic.primary {
                Some(label) => match self.host.real(&project.entry, label.path()) {
                    Some(path) => (path, ranges.range(label)),
                    None => continue,
                },
                // Without a place, such as an entry file that is not there: shown at its top.
                None => {
                    let path = diagnostic.path().unwrap_or(&project.entry);
                    (path.to_owned(), Range::default())
                }
            };
            let problem = self.problem(ranges, &project.entry, diagnostic, range, names, *count);
            let list = all.entry(path).or_default();
            if list.len() < SHOWN && !list.contains(&problem) {
                list.push(problem);
            }
        }
    }

    /// Adds what the program that builds by a specification has to say. Errors of the language, and what the text of a
    /// document alone gives away, are told of elsewhere.
    fn findings(&self, entry: &Path, ranges: &mut Ranges, all: &mut Problems) {
        for finding in self.host.findings(entry, Box::new(self.overlay())) {
            let told = matches!(
                finding.lint,
                Lint::Error(_)
                    | Lint::InclusionIsText
                    | Lint::LiteralCondition
                    | Lint::BlockInBlock
            );
            let Some(label) = finding.diagnostic.primary.as_ref().filter(|_| !told) else {
                continue;
            };
            let Some(path) = self.host.real(entry, label.path()) else {
                continue;
            };
            let range = ranges.range(label);
            let problem = Problem {
                severity: finding.lint.severity(),
                code: finding.lint.as_str(),
                ..self.problem(ranges, entry, &finding.diagnostic, range, &[], 0)
            };
            let list = all.entry(path).or_default();
            if list.len() < SHOWN && !list.contains(&problem) {
                list.push(problem);
            }
        }
    }

    /// Adds what the text of a document alone gives away.
    fn document_problems(&self, document: &Document, ranges: &mut Ranges, all: &mut Problems) {
        let path = document.path();
        let list = all.entry(path.to_owned()).or_default();
        for diagnostic in Diagnostic::of_syntax(document.file()) {
            let Some(label) = &diagnostic.primary else {
                continue;
            };
            let range = ranges.range(label);
            let problem = self.problem(ranges, path, &diagnostic, range, &[], 0);
            let same = |other: &Problem| other.range == range && other.code == problem.code;
            if !list.iter().any(same) {
                list.push(problem);
            }
        }
        for finding in check_file(document.file()) {
            let Some(label) = &finding.diagnostic.primary else {
                continue;
            };
            if list.len() < SHOWN {
                list.push(Problem {
                    range: ranges.range(label),
                    severity: finding.lint.severity(),
                    code: finding.lint.as_str(),
                    message: with_help(&finding.diagnostic),
                    related: Vec::new(),
                });
            }
        }
    }

    fn problem(
        &self,
        ranges: &mut Ranges,
        entry: &Path,
        diagnostic: &Diagnostic,
        range: Range,
        names: &[String],
        count: usize,
    ) -> Problem {
        let mut message = with_help(diagnostic);
        if count > 0 {
            let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            message.push_str(&format!("\nfails {}", names.join(", ")));
            if count > names.len() {
                message.push_str(&format!(" and {} more", count - names.len()));
            }
        }
        let related = diagnostic.labels.iter().filter_map(|label| {
            let path = self.host.real(entry, label.path())?;
            Some((
                Location {
                    path,
                    range: ranges.range(label),
                },
                label.text.clone(),
            ))
        });
        Problem {
            range,
            severity: Severity::Error,
            code: diagnostic.class.as_str(),
            message,
            related: related.collect(),
        }
    }
}

fn with_help(diagnostic: &Diagnostic) -> String {
    let mut message = diagnostic.message.clone();
    for line in diagnostic.notes.iter().chain(&diagnostic.help) {
        message.push('\n');
        message.push_str(line);
    }
    message
}

/// The problems of each file.
type Problems = BTreeMap<PathBuf, Vec<Problem>>;

/// The ranges of labels, each in its own file, whose lines are counted once.
#[derive(Default)]
struct Ranges(BTreeMap<usize, (Arc<File>, LineIndex)>);

impl Ranges {
    fn range(&mut self, label: &Label) -> Range {
        let file = label.file();
        // The file is kept, so no other one can come to lie at its address.
        let (_, index) = self
            .0
            .entry(Arc::as_ptr(file).addr())
            .or_insert_with(|| (Arc::clone(file), LineIndex::new(file.source())));
        index.range(file.source(), label.span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::Span;

    #[test]
    fn lines_are_counted_once_for_each_file() {
        let file = |text: &str| Arc::new(File::parse(PathBuf::from("/f"), text.to_owned()));
        let mut ranges = Ranges::default();
        let one = file("a: 1\nb: 2\n");
        for (at, line) in [(0, 0), (5, 1), (8, 1)] {
            let label = Label::new(&one, Span::new(at, at + 1), "");
            assert_eq!(ranges.range(&label).start.line, line);
        }
        assert_eq!(ranges.0.len(), 1);
        drop(one);
        // A file of its own, wherever in memory it comes to lie.
        let label = Label::new(&file("\n\n\n\n\na: 1\n"), Span::new(5, 6), "");
        assert_eq!(ranges.range(&label).start.line, 5);
        assert_eq!(ranges.0.len(), 2);
    }
}
