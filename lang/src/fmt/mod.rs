//! The canonical layout of a specification file.
//!
//! Formatting works line by line and never moves a line, so that it cannot change what an element is
//! bound to. What it does, outside blocks:
//!
//! - whitespace around a line is removed, and one blank stands between a colon and its value, between the
//!   words of an annotation, and behind `<<`; none stands inside the brackets of an annotation;
//! - one blank stands before a comment that follows something, unless comments on neighbouring lines
//!   began in the same column: those stay aligned, one blank behind the longest line;
//! - blank lines at both ends of the file are removed, and several blank lines become one;
//! - the last line ends in a line break.
//!
//! Comments, the whitespace inside values and everything between the brackets of a block are kept byte
//! for byte, and so is the kind of every line break, LF or CRLF. Formatting a formatted file changes
//! nothing.

mod align;
mod diff;
#[cfg(test)]
mod tests;

pub use diff::unified;

use std::path::PathBuf;

use crate::span::Span;
use crate::syntax::{Annotation, File, LineKind, Lines, SyntaxError, words};

/// A formatted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formatted {
    /// The whole text.
    pub text: String,
    /// Which lines were changed, in order.
    pub changes: Vec<Change>,
}

impl Formatted {
    /// Whether the text was in canonical layout already.
    pub fn is_clean(&self) -> bool {
        self.changes.is_empty()
    }
}

/// A line that formatting changes or removes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The number of the line, from 1.
    pub line: usize,
    /// The line with its line break.
    pub span: Span,
    /// What takes its place; nothing for a line that is removed.
    pub new: Option<String>,
}

/// Formats a text, or says why it cannot be read.
///
/// A text with errors is not formatted at all: where a line is not understood, neither is what the
/// lines around it belong to.
pub fn format(source: &str) -> Result<Formatted, Vec<SyntaxError>> {
    let file = File::parse(PathBuf::new(), source.to_owned());
    if file.errors.is_empty() {
        Ok(format_file(&file))
    } else {
        Err(file.errors)
    }
}

/// Formats a file that was parsed without errors.
pub fn format_file(file: &File) -> Formatted {
    let source = file.source();
    let mut lines = read(source);
    align::align(&mut lines);
    squeeze(&mut lines);
    write(source, &lines)
}

/// A line on its way to canonical layout.
struct Draft<'a> {
    /// The old line with its line break.
    span: Span,
    /// Its line break, empty at the end of a file.
    end: &'a str,
    state: State<'a>,
}

enum State<'a> {
    /// Part of a block, kept as it is.
    Verbatim,
    /// An empty line.
    Blank,
    /// A blank line that is not written.
    Removed,
    Written {
        /// What stands before the comment, in canonical layout.
        code: String,
        /// Blanks between the code and the comment.
        gap: usize,
        /// From the `#` on; empty if there is none.
        comment: &'a str,
        /// The column in which the comment began.
        column: usize,
    },
}

fn read(source: &str) -> Vec<Draft<'_>> {
    let mut drafts = Vec::new();
    let mut lines = Lines::new(source);
    while let Some(line) = lines.next() {
        let next = lines.offset();
        let code = match line.kind {
            LineKind::Blank => String::new(),
            LineKind::Element { name, value } => element(source, name, value),
            LineKind::Open { name, .. } => format!("{}: [", name.of(source)),
            LineKind::Close => "]".to_owned(),
            LineKind::Annotation(text) => annotation(source, text),
            LineKind::Text => String::new(),
            // Kept out by the check for errors; kept as it is if a caller left it out.
            LineKind::Bad { text, .. } => text.of(source).to_owned(),
        };
        let comment = line.comment.map_or("", |span| span.of(source));
        let state = match line.kind {
            LineKind::Text => State::Verbatim,
            LineKind::Blank if comment.is_empty() => State::Blank,
            _ => {
                let before = line.comment.map_or("", |span| {
                    Span {
                        start: line.span.start,
                        end: span.start,
                    }
                    .of(source)
                });
                let gap = usize::from(!code.is_empty() && !comment.is_empty());
                State::Written {
                    code,
                    gap,
                    comment,
                    column: align::width(before),
                }
            }
        };
        let end = Span::new(line.span.end as usize, next).of(source);
        drafts.push(Draft {
            span: Span::new(line.span.start as usize, next),
            end,
            state,
        });
    }
    drafts
}

fn element(source: &str, name: Span, value: Span) -> String {
    let (name, value) = (name.of(source), value.of(source));
    let path = value
        .strip_prefix("<<")
        .filter(|rest| rest.starts_with([' ', '\t']));
    match path {
        _ if value.is_empty() => format!("{name}:"),
        // The path of a file value is one word, since the file has no errors.
        Some(path) => format!("{name}: << {}", path.trim_start_matches([' ', '\t'])),
        None => format!("{name}: {value}"),
    }
}

fn annotation(source: &str, text: Span) -> String {
    if Annotation::parse(source, text).is_err() {
        return text.of(source).to_owned();
    }
    let inner = Span {
        start: text.start + 1,
        end: text.end - 1,
    };
    let words: Vec<&str> = words(source, inner)
        .into_iter()
        .map(|word| word.of(source))
        .collect();
    format!("[{}]", words.join(" "))
}

/// Leaves one of several blank lines, and none at the ends of the file.
fn squeeze(lines: &mut [Draft<'_>]) {
    let mut wanted = false;
    for line in lines.iter_mut() {
        if matches!(line.state, State::Blank) {
            if !std::mem::take(&mut wanted) {
                line.state = State::Removed;
            }
        } else {
            wanted = true;
        }
    }
    if let Some(line) = lines
        .iter_mut()
        .rfind(|line| !matches!(line.state, State::Removed))
        && matches!(line.state, State::Blank)
    {
        line.state = State::Removed;
    }
}

fn write(source: &str, lines: &[Draft<'_>]) -> Formatted {
    let mut text = String::with_capacity(source.len() + 1);
    let mut changes = Vec::new();
    // The line break for a last line that has none is that of the line before.
    let mut usual = "\n";
    for (index, line) in lines.iter().enumerate() {
        let old = line.span.of(source);
        let start = text.len();
        match &line.state {
            State::Removed => {}
            State::Verbatim => text.push_str(old),
            State::Blank => text.push_str(if line.end.is_empty() { usual } else { line.end }),
            State::Written {
                code, gap, comment, ..
            } => {
                text.push_str(code);
                text.extend(std::iter::repeat_n(' ', *gap));
                text.push_str(comment);
                // A CR that belongs to the text must not meet the LF that ends the line (L1).
                let own_cr = text[start..].ends_with('\r');
                let end = if line.end.is_empty() { usual } else { line.end };
                text.push_str(if own_cr { "\r\n" } else { end });
            }
        }
        if !line.end.is_empty() {
            usual = line.end;
        }
        let new = &text[start..];
        if new != old {
            let new = (!matches!(line.state, State::Removed)).then(|| new.to_owned());
            changes.push(Change {
                line: index + 1,
                span: line.span,
                new,
            });
        }
    }
    Formatted { text, changes }
}
