//! Diagnostics: errors with their places in the text and with advice.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use bumpalo::Bump;

use crate::class::Class;
use crate::eval::{Cause, CauseId, Memo};
use crate::files::UnreadableKind;
use crate::nearest::nearest;
use crate::shorten::shorten;
use crate::span::{Loc, Span};
use crate::syntax::{File, is_valid_name};
use crate::table::{ElementId, Table};

/// What a label is there to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelRole {
    /// Something about the error itself.
    Detail,
    /// A step of the way by which one element came to the error; others come to it in other ways.
    NeededBy,
}

/// A place in a file, with what there is to say about it.
#[derive(Clone, Debug)]
pub struct Label {
    file: Arc<File>,
    /// The bytes meant.
    pub span: Span,
    /// A few words; may be empty.
    pub text: String,
    /// What it is there to say.
    pub role: LabelRole,
}

impl Label {
    /// Makes a label.
    pub fn new(file: &Arc<File>, span: Span, text: impl Into<String>) -> Self {
        Label {
            file: Arc::clone(file),
            span,
            text: shorten(text),
            role: LabelRole::Detail,
        }
    }

    pub(crate) fn with_role(mut self, role: LabelRole) -> Self {
        self.role = role;
        self
    }

    /// The file it points into.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where that file lies.
    pub fn path(&self) -> &Path {
        self.file.origin()
    }

    /// The number of its first line, from 1.
    pub fn line(&self) -> usize {
        self.file.line(self.span.start)
    }

    /// The column of its first character, from 1.
    pub fn column(&self) -> usize {
        self.file.column(self.span.start)
    }
}

/// The element that an error or a finding is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its full name.
    pub element: String,
    /// Whether anything defines it, be it under a condition that is false.
    pub defined: bool,
}

/// An error of loading or evaluation, ready to be shown.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Its class.
    pub class: Class,
    /// What is wrong, in one line.
    pub message: String,
    /// The element it is about, if it is about one.
    pub subject: Option<Subject>,
    /// The place that is wrong, if there is one.
    pub primary: Option<Label>,
    /// Other places that matter.
    pub labels: Vec<Label>,
    /// More to know.
    pub notes: Vec<String>,
    /// What to do about it.
    pub help: Vec<String>,
    /// The file that is not there, if that is the error.
    pub missing: Option<PathBuf>,
    path: Option<PathBuf>,
}

impl Diagnostic {
    /// The errors that parsing found in a file, ready to be shown.
    pub fn of_syntax(file: &Arc<File>) -> Vec<Diagnostic> {
        let show = |error: &crate::syntax::SyntaxError| {
            let mut found = Diagnostic::new(error.class, error.message.clone())
                .primary(Label::new(file, error.span, ""));
            if let Some((span, text)) = error.other {
                found = found.label(Label::new(file, span, text));
            }
            match &error.help {
                Some(help) => found.help(help.clone()),
                None => found,
            }
        };
        file.errors.iter().map(show).collect()
    }
}

/// The order in which an error and its parts are built up.
impl Diagnostic {
    /// Makes an error without a place.
    pub fn new(class: Class, message: impl Into<String>) -> Self {
        Diagnostic {
            class,
            message: shorten(message),
            subject: None,
            primary: None,
            labels: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
            missing: None,
            path: None,
        }
    }

    /// The element it is about, which something defines.
    #[must_use]
    pub fn about(mut self, element: impl Into<String>) -> Self {
        self.subject = Some(Subject {
            element: element.into(),
            defined: true,
        });
        self
    }

    /// The element it is about, which nothing defines.
    #[must_use]
    pub fn about_missing(mut self, element: impl Into<String>) -> Self {
        self.subject = Some(Subject {
            element: element.into(),
            defined: false,
        });
        self
    }

    /// The place that is wrong.
    #[must_use]
    pub fn primary(mut self, label: Label) -> Self {
        self.primary = Some(label);
        self
    }

    pub(crate) fn label(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    /// More to know.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(shorten(note));
        self
    }

    /// What to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(shorten(help));
        self
    }

    /// The file it is about, for an error without a place in it.
    #[must_use]
    pub fn at_path(mut self, path: &Path) -> Self {
        self.path = Some(path.to_owned());
        self
    }

    pub(crate) fn offset(&self) -> u32 {
        self.primary.as_ref().map_or(0, |label| label.span.start)
    }

    /// The file that is wrong.
    pub fn path(&self) -> Option<&Path> {
        self.primary
            .as_ref()
            .map(Label::path)
            .or(self.path.as_deref())
    }

    /// The line that is wrong, from 1.
    pub fn line(&self) -> Option<usize> {
        self.primary.as_ref().map(Label::line)
    }

    /// The column that is wrong, from 1.
    pub fn column(&self) -> Option<usize> {
        self.primary.as_ref().map(Label::column)
    }

    /// Shows the error with the lines of source it speaks of.
    pub fn render(&self, colour: bool) -> String {
        self.render_as(colour, false, self.class.as_str())
    }

    /// Shows it under another heading than its class, as an error or a warning.
    pub(crate) fn render_as(&self, colour: bool, warning: bool, id: &str) -> String {
        let renderer = if colour {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let level = if warning {
            Level::WARNING
        } else {
            Level::ERROR
        };
        let mut group = Group::with_title(level.primary_title(&self.message).id(id));
        if self.primary.is_none()
            && let Some(path) = &self.path
        {
            group = group.element(Origin::path(path.display().to_string()));
        }
        for snippet in self.snippets() {
            group = group.element(snippet);
        }
        for note in &self.notes {
            group = group.element(Level::NOTE.message(note));
        }
        for help in &self.help {
            group = group.element(Level::HELP.message(help));
        }
        renderer.render(&[group]) + "\n"
    }

    /// The pieces of source to show: one for each file, or more if labels lie far apart.
    fn snippets(&self) -> Vec<Snippet<'_, annotate_snippets::Annotation<'_>>> {
        const NEAR: usize = 200;
        const SHOWN: usize = 12;
        let all = self.primary.iter().chain(&self.labels).enumerate();
        type Lines<'a> = (usize, usize, Vec<(usize, &'a Label)>);
        let mut groups: Vec<Lines<'_>> = Vec::new();
        for (index, label) in all.take(SHOWN) {
            let line = label.line();
            let last = label
                .file
                .line(label.span.end.max(label.span.start + 1) - 1);
            let fits = groups.iter_mut().find(|(from, to, labels)| {
                Arc::ptr_eq(labels[0].1.file(), label.file())
                    && line + NEAR > *from
                    && line < *to + NEAR
            });
            match fits {
                Some((from, to, labels)) => {
                    *from = line.min(*from);
                    *to = last.max(*to);
                    labels.push((index, label));
                }
                None => groups.push((line, last.max(line), vec![(index, label)])),
            }
        }
        groups
            .into_iter()
            .map(|(from, to, labels)| snippet(from, to, &labels))
            .collect()
    }
}

/// Lines longer than this are cut where nothing points at.
const WIDE: usize = 400;

fn snippet<'a>(
    from: usize,
    to: usize,
    labels: &[(usize, &'a Label)],
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let file = &labels[0].1.file;
    let source = file.source();
    let start = file.line_start(from);
    let end = file.line_start(to + 1).min(source.len());
    // A line of megabytes would be copied, measured and trimmed for nothing.
    let longest = (from..=to)
        .map(|line| file.line_start(line + 1) - file.line_start(line))
        .max();
    if longest.is_some_and(|longest| longest > WIDE * 10) {
        let label = labels[0].1;
        let at = label.span.start as usize;
        let mut cut = at.saturating_sub(WIDE / 4).max(start);
        while !source.is_char_boundary(cut) {
            cut -= 1;
        }
        let mut stop = (at + WIDE).min(end);
        while !source.is_char_boundary(stop) {
            stop -= 1;
        }
        let text = source[cut..stop].replace('\n', " ");
        let place = format!(
            "{}:{}:{}",
            file.origin().display(),
            label.line(),
            label.column()
        );
        let span = at - cut..(label.span.end as usize).min(stop).max(at) - cut;
        let annotation = AnnotationKind::Primary.span(span).label(label.text.clone());
        return Snippet::source(text)
            .line_start(from)
            .path(place)
            .annotation(annotation);
    }
    let text = source[start..end].trim_end_matches('\n');
    let mut snippet = Snippet::source(text)
        .line_start(from)
        .path(file.origin().display().to_string());
    for (index, label) in labels {
        let kind = if *index == 0 {
            AnnotationKind::Primary
        } else {
            AnnotationKind::Context
        };
        let low = (label.span.start as usize - start).min(text.len());
        let high = (label.span.end as usize - start).clamp(low, text.len());
        let annotation = kind.span(low..high);
        snippet = snippet.annotation(match label.text.is_empty() {
            true => annotation,
            false => annotation.label(&label.text),
        });
    }
    snippet
}

impl fmt::Display for Diagnostic {
    /// One line: place, class and message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(path) = self.path() {
            write!(f, "{}:", path.display())?;
            if let (Some(line), Some(column)) = (self.line(), self.column()) {
                write!(f, "{line}:{column}:")?;
            }
            f.write_str(" ")?;
        }
        write!(f, "{}: {}", self.class, self.message)
    }
}

impl std::error::Error for Diagnostic {}

/// Points at a location of a table.
pub(crate) fn label(table: &Table, loc: Loc, text: impl Into<String>) -> Label {
    Label::new(&table.sources[loc.file].file, loc.span, text)
}

/// What asked for the element that failed: advice differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// A value, or a line of one.
    Value,
    /// The path or the condition of a collect.
    Collect,
}

/// Tells why an evaluation failed.
///
/// It is longer than other functions, but flat: one arm a cause, each with its message and advice.
pub(crate) fn explain_cause(
    table: &Table,
    memo: &Memo,
    cause: CauseId,
    asker: Asker,
) -> Diagnostic {
    let cause = &memo.causes[cause];
    let class = cause.class();
    let error = |message: String| Diagnostic::new(class, message);
    match cause {
        Cause::Undefined { at, name } => undefined(table, *at, name, asker),
        Cause::NoCondition { at, element } => {
            let name = table.name(*element);
            let found = error(format!(
                "`{name}` is undefined: none of its conditions is true"
            ))
            .about(name.join());
            let found = found.primary(label(table, *at, "undefined here"));
            conditions(table, *element, found).help(
                "add a definition whose condition is true here, or refer to it with `:zap` or `:lax`",
            )
        }
        Cause::Circular { links, .. } => circular(table, links),
        Cause::BadModifier { at, modifier } => {
            let file = table.file(at.file);
            let text = file.text(modifier.span).trim_start_matches(':');
            let inclusion = file.text(at.span).starts_with("$[[");
            let message = match text {
                "" => "a modifier must follow the colon".to_owned(),
                _ if text.contains(':') || text.contains('?') && text != "?" => {
                    "a reference has at most one modifier".to_owned()
                }
                _ => format!(
                    "`{text}` is not a modifier{}",
                    if inclusion { " of an inclusion" } else { "" }
                ),
            };
            let help = match inclusion {
                true => "the only modifier of an inclusion is `:lax`",
                false => "the modifiers are `:zap`, `:lax` and `?`",
            };
            error(message)
                .primary(label(table, *modifier, ""))
                .help(help)
        }
        Cause::Unterminated { at } => {
            let start = Span {
                start: at.span.start,
                end: at.span.start + 2,
            };
            error("a reference without its `]`".to_owned())
                .primary(label(
                    table,
                    Loc {
                        file: at.file,
                        span: start,
                    },
                    "opened here",
                ))
                .help("close it with `]` on the same line")
        }
        Cause::NoSection { at } => {
            let text = table.file(at.file).text(at.span);
            let found = error(format!(
                "`{text}` stands for a section, and none is in force here"
            ))
            .primary(label(table, *at, ""));
            match table.sources[at.file].command_line {
                true => found.help("write the whole name"),
                false => found.help("write the whole name, or open a section above"),
            }
        }
        Cause::CannotOpen { at, path, why } => {
            let found = error(format!("cannot read `{path}`: {why}")).primary(label(
                table,
                *at,
                "named here",
            ));
            let found = match (why.kind(), why.advice()) {
                (UnreadableKind::Missing, _) => {
                    found.help("write the file, or give the value on the command line")
                }
                (_, Some(advice)) => found.help(advice),
                (_, None) => found,
            };
            match path.starts_with('/') {
                true => found,
                false => found.note(format!(
                    "a relative path starts at {}",
                    table.dir(at.file).display()
                )),
            }
        }
        Cause::Conflict {
            slots: [first, second],
        } => {
            let name = table.slot_name(*first);
            error(format!("`{name}` has more than one true condition"))
                .about(name.join())
                .primary(label(
                    table,
                    table.name_loc(*second),
                    "this definition holds",
                ))
                .label(label(table, table.name_loc(*first), "and so does this one"))
                .help("make the conditions exclude each other")
        }
        Cause::WrongKind { at, slot } => {
            let name = table.slot_name(*slot);
            error(format!(
                "`{name}` is a line, and only blocks can be included"
            ))
            .about(name.join())
            .primary(label(table, *at, "included here"))
            .label(label(
                table,
                table.name_loc(*slot),
                "defined here, as a line",
            ))
            .help(format!("to insert its text, write `$[{name}]`"))
        }
        Cause::EmbeddedCode { slot, at } => {
            let name = table.slot_name(*slot);
            let line = table.file(at.file).line(at.span.start);
            error(format!(
                "`{name}` has code embedded in line {line}, which is never executed"
            ))
            .about(name.join())
            .primary(label(table, *at, "the code starts here"))
            .help(match at.file == crate::span::FileId::MAIN {
                true => "give the element's value on the command line instead".to_owned(),
                // Given from outside as well, it would be defined twice.
                false => "replace the code, from `<?python` to `?>`, by the lines that it prints"
                    .to_owned(),
            })
        }
        Cause::Limit { at, what, limit } => error(format!("{what} of more than {limit} bytes"))
            .primary(label(table, *at, "grows too large here")),
    }
}

/// Shows the definitions of an element whose conditions are all false.
pub(crate) fn conditions(table: &Table, element: ElementId, mut found: Diagnostic) -> Diagnostic {
    let mut slot = Some(element.first());
    let mut shown = 0;
    while let Some(this) = slot {
        if let Some((file, condition)) = table.condition(this)
            && shown < 6
        {
            let loc = Loc {
                file,
                span: condition.span,
            };
            found = found.label(label(table, loc, "not true"));
            shown += 1;
        }
        slot = table.next(this);
    }
    found
}

/// Shows a circle, or both ends of a long one.
fn circular(table: &Table, links: &[(ElementId, Loc)]) -> Diagnostic {
    // A circle of a hundred thousand must not be spelt out for each of its elements.
    const SHOWN: usize = 12;
    let name = |index: usize| {
        links
            .get(index)
            .map_or_else(String::new, |(element, _)| table.name(*element).join())
    };
    let mut way: Vec<String> = Vec::new();
    if links.len() <= 8 {
        way.extend((0..links.len()).map(name));
    } else {
        way.extend((0..4).map(name));
        way.push(format!("({} more)", links.len() - 7));
        way.extend((links.len() - 3..links.len()).map(name));
    }
    way.push(name(0));
    let message = format!("`{}` depends on itself: {}", name(0), way.join(" -> "));
    let mut found = Diagnostic::new(Class::Circular, message)
        .about(name(0))
        .help("one of them has to do without the next; `$[name?]` asks for no value");
    for (index, (_, at)) in links.iter().enumerate().take(SHOWN) {
        let next = name((index + 1) % links.len());
        let place = label(table, *at, format!("`{}` needs `{next}`", name(index)));
        found = if index == 0 {
            found.primary(place)
        } else {
            found.label(place)
        };
    }
    found
}

fn undefined(table: &Table, at: Loc, name: &str, asker: Asker) -> Diagnostic {
    let file = table.file(at.file);
    let written = file.text(at.span);
    let found = Diagnostic::new(Class::Undefined, format!("`{name}` is not defined"))
        .about_missing(name)
        .primary(label(table, at, "undefined here"));
    if !is_valid_name(name) {
        return match (
            written.contains("$[[") && written.contains("]]"),
            name.contains("$["),
        ) {
            (_, true) => {
                found.help("references do not nest: define an element for the inner one's result")
            }
            (_, false) if name.contains([' ', '\t']) => found.help("no name has blanks in it"),
            _ => found.help("no element can have this name"),
        };
    }
    if let Some(near) = nearest_name(table, name) {
        let found = match table.find(&near) {
            Some(element) => found.label(label(
                table,
                table.name_loc(element.first()),
                "a similar name is defined here",
            )),
            None => found,
        };
        return found.help(format!("did you mean `{near}`?"));
    }
    if let Some(inner) = written.strip_prefix("$[[") {
        let inner = inner.trim_end_matches("]]");
        return found.help(format!(
            "if it may be undefined, write `$[[{inner}:lax]]` to include nothing"
        ));
    }
    if let Some(inner) = written.strip_prefix("$[") {
        let inner = inner.trim_end_matches(']');
        let removal = match asker {
            Asker::Value => "remove the line",
            Asker::Collect => "skip the collect",
        };
        return found.help(format!(
            "if it may be undefined, write `$[{inner}:zap]` to {removal}, or `$[{inner}:lax]` for an empty text"
        ));
    }
    found
}

/// The defined name that was probably meant.
pub(crate) fn nearest_name(table: &Table, name: &str) -> Option<String> {
    // Beyond this many names a suggestion is not worth the time, which every error takes.
    if table.len() > 2_000 {
        return None;
    }
    let scratch = Bump::new();
    let names = table
        .elements()
        .map(|element| table.name(element).join_in(&scratch));
    nearest(name, names).map(str::to_owned)
}
