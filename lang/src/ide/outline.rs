//! The structure of a file: what can be folded, and what it defines.

use super::document::Document;
use super::position::Range;
use crate::span::{Span, narrow};
use crate::syntax::{Kind, Line, LineKind, Lines, SectionId};

/// Why a range of lines can be folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldKind {
    /// A block, or a section with its elements.
    Region,
    /// Several lines of comments.
    Comment,
}

/// Lines that can be folded; both numbers count from 0 and belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    /// The line that stays.
    pub first: u32,
    /// The last line that goes.
    pub last: u32,
    /// Why.
    pub kind: FoldKind,
}

/// What can be folded: sections, blocks and runs of comments, in the order of their first lines.
pub fn folds(document: &Document) -> Vec<Fold> {
    let mut folds = Vec::new();
    // Line numbers are those of the editor, which a lone CR moves, so they come from offsets.
    let row = |line: &Line| {
        document
            .range(Span {
                start: line.span.start,
                end: line.span.start,
            })
            .start
            .line
    };
    let mut push = |first: u32, last: u32, kind: FoldKind| {
        if last > first {
            folds.push(Fold { first, last, kind });
        }
    };
    let (mut section, mut block, mut comments): (Option<u32>, Option<u32>, Option<(u32, u32)>) =
        (None, None, None);
    let mut last_text = 0;
    for line in Lines::new(document.text()) {
        let at = row(&line);
        let comment = line.kind == LineKind::Blank && line.comment.is_some();
        if let Some((first, last)) = comments
            && !comment
        {
            push(first, last, FoldKind::Comment);
            comments = None;
        }
        match line.kind {
            LineKind::Blank if comment => {
                comments = Some((comments.map_or(at, |(first, _)| first), at))
            }
            LineKind::Open { .. } | LineKind::Bad { opens: true, .. } => block = Some(at),
            LineKind::Close => {
                if let Some(first) = block.take() {
                    push(first, at, FoldKind::Region);
                }
            }
            LineKind::Annotation(text) if is_section(text.of(document.text())) => {
                if let Some(first) = section.replace(at) {
                    push(first, last_text, FoldKind::Region);
                }
            }
            _ => {}
        }
        // Comments in front of a section belong to it, not to the section before.
        if line.kind != LineKind::Blank {
            last_text = at;
        }
    }
    if let Some((first, last)) = comments {
        push(first, last, FoldKind::Comment);
    }
    if let Some(first) = block {
        push(first, last_text, FoldKind::Region);
    }
    if let Some(first) = section {
        push(first, last_text, FoldKind::Region);
    }
    folds.sort_by_key(|fold| (fold.first, std::cmp::Reverse(fold.last)));
    folds
}

fn is_section(annotation: &str) -> bool {
    annotation[1..]
        .trim_start_matches([' ', '\t'])
        .starts_with("section")
}

/// What a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolKind {
    /// A section.
    Section,
    /// A line element or file value.
    Line,
    /// A block.
    Block,
}

/// Something that a file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// The name as written; the section's for an element without a name of its own.
    pub name: String,
    /// The beginning of the value.
    pub detail: String,
    /// What it is.
    pub kind: SymbolKind,
    /// All of it.
    pub range: Range,
    /// Its name.
    pub selection: Range,
    /// What belongs to it.
    pub children: Vec<Symbol>,
}

/// The sections and elements of a file, in order.
pub fn symbols(document: &Document) -> Vec<Symbol> {
    let file = document.file();
    let mut top: Vec<Symbol> = Vec::new();
    let mut open: Option<SectionId> = None;
    for definition in &file.definitions {
        let selection = file.name_span(definition);
        let end = whole_end(
            document,
            definition.value.end.max(selection.end),
            definition.kind(),
        );
        let range = document.range(Span {
            start: selection.start,
            end,
        });
        if definition.section() != open
            && let Some(section) = definition.section()
        {
            let name = file.sections[section].name;
            top.push(Symbol {
                name: file.text(name).to_owned(),
                detail: String::new(),
                kind: SymbolKind::Section,
                range: document.range(name),
                selection: document.range(name),
                children: Vec::new(),
            });
        }
        open = definition.section();
        let own = file.text(definition.name);
        let name = if own.is_empty() {
            file.section_of(definition).unwrap_or(":")
        } else {
            own
        };
        let symbol = Symbol {
            name: name.to_owned(),
            detail: detail(file.text(definition.value), definition.kind()),
            kind: if definition.kind() == Kind::Block {
                SymbolKind::Block
            } else {
                SymbolKind::Line
            },
            range,
            selection: document.range(selection),
            children: Vec::new(),
        };
        match top.last_mut().filter(|_| open.is_some()) {
            Some(section) => {
                section.range.end = section.range.end.max(symbol.range.end);
                section.children.push(symbol);
            }
            None => top.push(symbol),
        }
    }
    top
}

/// A block ends behind its closing bracket.
fn whole_end(document: &Document, value: u32, kind: Kind) -> u32 {
    if kind != Kind::Block {
        return value;
    }
    let rest = &document.text()[value as usize..];
    let line = rest.split(['\n', '\r']).next().unwrap_or_default();
    value + narrow(line.trim_end().len())
}

/// The beginning of a value, for a list.
pub(super) fn detail(value: &str, kind: Kind) -> String {
    match kind {
        Kind::Block => {
            let lines = value.lines().count();
            format!("[{lines} line{}]", if lines == 1 { "" } else { "s" })
        }
        Kind::FileValue => format!("<< {}", shorten(value, 60)),
        Kind::Line => shorten(value, 60),
    }
}

/// Cuts a text to at most `most` characters.
pub(super) fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "# one\n# two\na: 1\n[section s]\n: x\nb: [\nl\n]\n\n# c\n[section t when a]\nc: << p\nd: é\n";

    #[test]
    fn structure_is_found() {
        let document = Document::new("/m".into(), SOURCE.to_owned());
        let folds: Vec<(u32, u32, FoldKind)> = folds(&document)
            .iter()
            .map(|fold| (fold.first, fold.last, fold.kind))
            .collect();
        let region = FoldKind::Region;
        assert_eq!(
            folds,
            [
                (0, 1, FoldKind::Comment),
                (3, 7, region),
                (5, 7, region),
                (10, 12, region)
            ]
        );
        let symbols = symbols(&document);
        let names: Vec<(&str, Vec<&str>)> = symbols
            .iter()
            .map(|symbol| {
                (
                    symbol.name.as_str(),
                    symbol
                        .children
                        .iter()
                        .map(|child| child.name.as_str())
                        .collect(),
                )
            })
            .collect();
        assert_eq!(
            names,
            [("a", vec![]), ("s", vec!["s", "b"]), ("t", vec!["c", "d"])]
        );
        let block = &symbols[1].children[1];
        assert_eq!(
            (
                block.range.start.line,
                block.range.end.line,
                block.range.end.character
            ),
            (5, 7, 1)
        );
        assert_eq!(block.detail, "[1 line]");
    }
}
