//! Completion: what could be written at a place.

use std::collections::{BTreeMap, BTreeSet};

use super::document::Document;
use super::position::Range;
use crate::span::{Span, narrow};
use crate::syntax::{LineKind, words};

/// The most suggestions given at once.
const MOST: usize = 2000;

/// What is suggested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompletionKind {
    /// A line element.
    Line,
    /// A block.
    Block,
    /// An element that is referred to, but has no definition.
    Undefined,
    /// A word of the language.
    Keyword,
    /// The name of a section.
    Section,
    /// A file.
    File,
}

/// A suggestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// What is shown.
    pub label: String,
    /// More about it.
    pub detail: String,
    /// What it is.
    pub kind: CompletionKind,
    /// What is replaced; it lies on one line and touches the place asked about.
    pub range: Range,
    /// What is written there.
    pub text: String,
}

/// The suggestions for a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// In the order of their labels.
    pub items: Vec<Completion>,
    /// Whether there are more.
    pub more: bool,
}

/// What is known of the specification.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Defined elements: whether a block, and how their values begin.
    pub defined: BTreeMap<String, (bool, String)>,
    /// Names mentioned without a definition.
    pub undefined: BTreeSet<String>,
    /// Sections.
    pub sections: BTreeSet<String>,
    /// Files that could be collected, as the document would write them.
    pub files: Vec<String>,
}

/// Where the cursor is, as far as the text tells.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Context {
    /// In the name of a reference or inclusion.
    Name { block: bool, span: Span },
    /// Behind the colon of a modifier.
    Modifier { block: bool, span: Span },
    /// In a word of an annotation, behind these.
    Annotation { before: Vec<Span>, word: Span },
    /// In the name of a definition.
    Definition { span: Span },
}

/// Makes suggestions for an offset.
pub(super) fn complete(document: &Document, offset: u32, known: &Known) -> Completions {
    let mut list = List {
        document,
        offset,
        items: Vec::new(),
        more: false,
    };
    match context(document, offset) {
        None => {}
        Some(Context::Name { block, span }) => list.names(known, block, span),
        Some(Context::Modifier { block, span }) => {
            let close = list.close(span, block);
            if !block {
                let detail = "remove the value or line if the element is undefined or empty";
                list.push(
                    "zap",
                    detail,
                    CompletionKind::Keyword,
                    span,
                    format!("zap{close}"),
                );
            }
            let detail = "empty if the element is undefined";
            list.push(
                "lax",
                detail,
                CompletionKind::Keyword,
                span,
                format!("lax{close}"),
            );
        }
        Some(Context::Annotation { before, word }) => list.annotation(known, &before, word),
        Some(Context::Definition { span }) => list.definition(known, span),
    }
    list.items.sort_by(|a, b| a.label.cmp(&b.label));
    Completions {
        items: list.items,
        more: list.more,
    }
}

fn context(document: &Document, offset: u32) -> Option<Context> {
    let line = document.line_at(offset)?;
    let source = document.text();
    let in_block = matches!(line.kind, LineKind::Text | LineKind::Close);
    if line.comment.is_some_and(|comment| comment.start < offset) {
        return None;
    }
    let before = Span {
        start: line.span.start,
        end: offset,
    };
    let text = before.of(source);
    if let Some(at) = text.rfind("$[").filter(|at| !text[*at..].contains(']')) {
        let mut start = at + 2;
        let block = text[start..].starts_with('[');
        if block {
            // Elsewhere `$[[` is text (L33).
            if !in_block || !text[..at].trim_matches([' ', '\t']).is_empty() {
                return None;
            }
            start += 1;
        }
        return Some(reference(
            document,
            Span {
                start: before.start + narrow(start),
                end: offset,
            },
            line.span.end,
            block,
        ));
    }
    if in_block {
        return None;
    }
    let trimmed = text.trim_start_matches([' ', '\t']);
    let first = before.end - narrow(trimmed.len());
    if trimmed.starts_with('[') {
        let mut before = words(
            source,
            Span {
                start: first + 1,
                end: offset,
            },
        );
        let mut word = Span {
            start: offset,
            end: offset,
        };
        if let Some(last) = before.last().filter(|last| last.end == offset) {
            word = *last;
            before.pop();
        }
        word.end = end_of_word(source, offset, line.span.end, |c| {
            matches!(c, ' ' | '\t' | ']')
        });
        return Some(Context::Annotation { before, word });
    }
    if trimmed.contains([' ', '\t', ':']) {
        return None;
    }
    let end = end_of_word(source, offset, line.span.end, |c| {
        matches!(c, ' ' | '\t' | ':')
    });
    Some(Context::Definition {
        span: Span { start: first, end },
    })
}

/// The cursor stands behind `$[` or `$[[` and this much of what lies in the brackets.
fn reference(document: &Document, typed: Span, line_end: u32, block: bool) -> Context {
    let source = document.text();
    let text = typed.of(source);
    let name_from = usize::from(text.starts_with(':'));
    if let Some(colon) = text[name_from..].find(':') {
        let start = typed.start + narrow(name_from + colon) + 1;
        let end = end_of_word(source, typed.end, line_end, |c| !c.is_ascii_alphabetic());
        return Context::Modifier {
            block,
            span: Span { start, end },
        };
    }
    let end = end_of_word(source, typed.end, line_end, |c| {
        matches!(c, ']' | ':' | '?' | ' ' | '\t' | '$' | '[')
    });
    Context::Name {
        block,
        span: Span {
            start: typed.start,
            end,
        },
    }
}

/// Where the word that an offset lies in ends.
fn end_of_word(source: &str, offset: u32, line_end: u32, stop: impl Fn(char) -> bool) -> u32 {
    let rest = Span {
        start: offset,
        end: line_end.max(offset),
    }
    .of(source);
    offset + narrow(rest.find(stop).unwrap_or(rest.len()))
}

struct List<'a> {
    document: &'a Document,
    offset: u32,
    items: Vec<Completion>,
    more: bool,
}

impl List<'_> {
    fn push(&mut self, label: &str, detail: &str, kind: CompletionKind, span: Span, text: String) {
        if self.items.len() >= MOST {
            self.more = true;
            return;
        }
        let (label, detail) = (label.to_owned(), detail.to_owned());
        self.items.push(Completion {
            label,
            detail,
            kind,
            range: self.document.range(span),
            text,
        });
    }

    /// What has been typed of a word.
    fn typed(&self, span: Span) -> &str {
        Span {
            start: span.start,
            end: self.offset.max(span.start),
        }
        .of(self.document.text())
    }

    /// The brackets to write behind a reference, unless something stands there already.
    fn close(&self, span: Span, block: bool) -> &'static str {
        let rest = &self.document.text()[span.end as usize..];
        match (rest.starts_with([']', ':', '?']), block) {
            (true, _) => "",
            (false, false) => "]",
            (false, true) => "]]",
        }
    }

    fn names(&mut self, known: &Known, block: bool, span: Span) {
        let close = self.close(span, block);
        let typed = self.typed(span).to_owned();
        let section = self.document.section_at(span.start).map(str::to_owned);
        let relative = typed.starts_with(':');
        for (name, (is_block, detail)) in &known.defined {
            if block && !is_block {
                continue;
            }
            let kind = if *is_block {
                CompletionKind::Block
            } else {
                CompletionKind::Line
            };
            let written = if relative {
                let Some(section) = &section else { return };
                match name.strip_prefix(section.as_str()) {
                    Some("") => ":".to_owned(),
                    Some(rest) if rest.starts_with('/') && rest.len() > 1 => {
                        format!(":{}", &rest[1..])
                    }
                    _ => continue,
                }
            } else {
                name.clone()
            };
            if wanted(&written, &typed) {
                self.push(&written, detail, kind, span, format!("{written}{close}"));
            }
        }
    }

    fn definition(&mut self, known: &Known, span: Span) {
        let typed = self.typed(span).to_owned();
        let section = self.document.section_at(span.start).map(str::to_owned);
        let colon = if self.document.text()[span.end as usize..].starts_with(':') {
            ""
        } else {
            ": "
        };
        for name in &known.undefined {
            let own = match &section {
                None => name.as_str(),
                Some(section) => match name
                    .strip_prefix(section.as_str())
                    .and_then(|rest| rest.strip_prefix('/'))
                {
                    Some(own) if !own.is_empty() => own,
                    _ => continue,
                },
            };
            if wanted(own, &typed) {
                let detail = "referred to, but not defined";
                self.push(
                    own,
                    detail,
                    CompletionKind::Undefined,
                    span,
                    format!("{own}{colon}"),
                );
            }
        }
    }

    fn annotation(&mut self, known: &Known, before: &[Span], word: Span) {
        let source = self.document.text();
        let before: Vec<&str> = before.iter().map(|word| word.of(source)).collect();
        let typed = self.typed(word).to_owned();
        let keyword = |list: &mut Self, words: &[(&str, &str)]| {
            for (label, detail) in words {
                if wanted(label, &typed) {
                    list.push(
                        label,
                        detail,
                        CompletionKind::Keyword,
                        word,
                        (*label).to_owned(),
                    );
                }
            }
        };
        match before.as_slice() {
            [] => keyword(
                self,
                &[
                    ("section", "prefix the names that follow"),
                    ("when", "make what follows conditional"),
                    ("collect", "take another file in"),
                    ("option", "how to take undefined references"),
                ],
            ),
            ["option"] => keyword(
                self,
                &[
                    ("parse/lax", "undefined references are empty"),
                    ("parse/strict", "undefined references are errors"),
                ],
            ),
            ["section"] => {
                for name in known.sections.iter().filter(|name| wanted(name, &typed)) {
                    self.push(name, "section", CompletionKind::Section, word, name.clone());
                }
            }
            ["collect"] => {
                for file in known.files.iter().filter(|file| wanted(file, &typed)) {
                    self.push(file, "file", CompletionKind::File, word, file.clone());
                }
            }
            ["section" | "collect", _] => keyword(self, &[("when", "only if a condition holds")]),
            ["when"] | [.., "when"] => {
                if before == ["when"] {
                    keyword(self, &[("*", "end the condition")]);
                }
                for (name, (_, detail)) in known
                    .defined
                    .iter()
                    .filter(|(name, _)| wanted(name, &typed))
                {
                    self.push(name, detail, CompletionKind::Line, word, name.clone());
                }
            }
            ["when", _] | [_, _, "when", _] => {
                keyword(
                    self,
                    &[("is", "compare with words"), ("in", "compare with words")],
                );
            }
            _ => {}
        }
    }
}

/// Whether a suggestion goes with what has been typed: each of its characters comes up in order. Editors
/// sort and filter further.
fn wanted(suggestion: &str, typed: &str) -> bool {
    let mut left = suggestion.chars().flat_map(char::to_lowercase);
    typed
        .chars()
        .flat_map(char::to_lowercase)
        .all(|c| left.any(|other| other == c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let line = |text: &str| (false, text.to_owned());
        Known {
            defined: BTreeMap::from([
                ("a".to_owned(), line("1")),
                ("s".to_owned(), line("2")),
                ("s/b".to_owned(), line("3")),
                ("s/run".to_owned(), (true, "[2 lines]".to_owned())),
            ]),
            undefined: BTreeSet::from(["s/miss".to_owned(), "other".to_owned()]),
            sections: BTreeSet::from(["s".to_owned()]),
            files: vec!["./x.conf".to_owned()],
        }
    }

    /// The texts that a line would become, with the cursor at `|`.
    fn lines(source: &str) -> Vec<String> {
        let at = source.find('|').expect("a cursor");
        let text = source.replacen('|', "", 1);
        let document = Document::new("/m".into(), text.clone());
        let completions = complete(&document, narrow(at), &known());
        let apply = |item: &Completion| {
            let (start, end) = (
                document.offset(item.range.start),
                document.offset(item.range.end),
            );
            assert!(start as usize <= at && at <= end as usize);
            let line = text[..start as usize].rfind('\n').map_or(0, |at| at + 1);
            let rest = text[end as usize..].lines().next().unwrap_or_default();
            format!("{}{}{rest}", &text[line..start as usize], item.text)
        };
        completions.items.iter().map(apply).collect()
    }

    #[test]
    fn references_are_completed() {
        assert_eq!(
            lines("x: é$[|"),
            ["x: é$[a]", "x: é$[s]", "x: é$[s/b]", "x: é$[s/run]"]
        );
        assert_eq!(
            lines("x: $[S/|old:zap] $[y]\n"),
            ["x: $[s/b:zap] $[y]", "x: $[s/run:zap] $[y]"]
        );
        assert_eq!(
            lines("[section s]\nx: $[:|"),
            ["x: $[:]", "x: $[:b]", "x: $[:run]"]
        );
        assert_eq!(lines("x: $[:|"), [""; 0]);
        assert_eq!(lines("x: $[a:|"), ["x: $[a:lax]", "x: $[a:zap]"]);
        assert_eq!(
            lines("[section s]\nx: $[:b:z|]"),
            ["x: $[:b:lax]", "x: $[:b:zap]"]
        );
        assert_eq!(lines("b: [\n  $[[|\n]\n"), ["  $[[s/run]]"]);
        assert_eq!(lines("b: [\n  $[[s/run:|\n]\n"), ["  $[[s/run:lax]]"]);
        assert_eq!(lines("b: [\n echo $[b|\n]\n"), [" echo $[s/b]"]);
        assert_eq!(lines("[collect ./$[a|"), ["[collect ./$[a]"]);
        for none in [
            "x: $[a]|",
            "x: $[[|",
            "x: 1 # $[|",
            "b: [\n|\n]\n",
            "x: |",
            "b: [\necho $[[|\n]\n",
        ] {
            assert_eq!(lines(none), [""; 0], "{none}");
        }
    }

    #[test]
    fn annotations_and_definitions_are_completed() {
        assert_eq!(
            lines("[|]"),
            ["[collect]", "[option]", "[section]", "[when]"]
        );
        assert_eq!(
            lines("[option |"),
            ["[option parse/lax", "[option parse/strict"]
        );
        assert_eq!(lines("[section |"), ["[section s"]);
        assert_eq!(lines("[section s w|"), ["[section s when"]);
        assert_eq!(
            lines("[section s when s/|"),
            ["[section s when s/b", "[section s when s/run"]
        );
        assert_eq!(lines("[when a |"), ["[when a in", "[when a is"]);
        assert_eq!(lines("[collect |]"), ["[collect ./x.conf]"]);
        assert_eq!(lines("|"), ["other: ", "s/miss: "]);
        assert_eq!(lines("[section s]\nm|"), ["miss: "]);
        assert_eq!(lines("[section s]\nm|x: 1"), ["miss: 1"]);
    }
}
