//! The lines of a file and what each is (L1-L5, L28).

use memchr::memchr;

use super::name::is_valid_name;
use crate::span::Span;

/// Whether a byte is whitespace of the language: a blank or a tab (L2).
#[inline]
pub(super) fn is_space(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Narrows a span by the whitespace at both of its ends.
#[inline]
pub fn trim(source: &str, span: Span) -> Span {
    let bytes = source.as_bytes();
    let (mut start, mut end) = (span.start, span.end);
    while start < end && is_space(bytes[start as usize]) {
        start += 1;
    }
    while end > start && is_space(bytes[end as usize - 1]) {
        end -= 1;
    }
    Span { start, end }
}

/// One line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The whole line without its line break.
    pub span: Span,
    /// From the `#` to the end of the line, outside blocks.
    pub comment: Option<Span>,
    /// What the line is.
    pub kind: LineKind,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// Nothing but whitespace, or a comment.
    Blank,
    /// `name: value`; the name without the colon, the value trimmed.
    Element {
        /// The name, empty for the element of the section itself.
        name: Span,
        /// The value.
        value: Span,
    },
    /// `name: [`
    Open {
        /// The name.
        name: Span,
        /// The bracket.
        bracket: Span,
    },
    /// A line inside a block.
    Text,
    /// The `]` that ends a block.
    Close,
    /// A line that starts with `[`, trimmed and without its comment.
    Annotation(Span),
    /// None of these; trimmed and without its comment.
    Bad {
        /// The text of the line.
        text: Span,
        /// Whether what follows is read as a block, since a bracket ends the line.
        opens: bool,
    },
}

/// Cuts a file into lines.
pub struct Lines<'a> {
    source: &'a str,
    at: usize,
    in_block: bool,
}

impl<'a> Lines<'a> {
    /// Starts at the top of a file.
    pub fn new(source: &'a str) -> Self {
        Lines {
            source,
            at: 0,
            in_block: false,
        }
    }

    /// Whether the next line lies inside a block.
    pub fn in_block(&self) -> bool {
        self.in_block
    }

    /// The offset of the next line.
    #[inline]
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Skips to the line that closes the block in which the next line lies, and returns it.
    ///
    /// `each` is called with the span of every line of the block.
    #[inline]
    pub(super) fn skip_block(&mut self, mut each: impl FnMut(Span)) -> Option<Span> {
        while self.at < self.source.len() {
            let span = next_span(self.source, &mut self.at, self.source.len());
            if is_close(self.source, span) {
                self.in_block = false;
                return Some(span);
            }
            each(span);
        }
        None
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    #[inline]
    fn next(&mut self) -> Option<Line> {
        if self.at >= self.source.len() {
            return None;
        }
        let span = next_span(self.source, &mut self.at, self.source.len());
        if self.in_block {
            let kind = if is_close(self.source, span) {
                LineKind::Close
            } else {
                LineKind::Text
            };
            self.in_block = kind == LineKind::Text;
            return Some(Line {
                span,
                comment: None,
                kind,
            });
        }
        let line = classify(self.source, span);
        self.in_block = matches!(
            line.kind,
            LineKind::Open { .. } | LineKind::Bad { opens: true, .. }
        );
        Some(line)
    }
}

/// The lines of a block, given the span of all of them with their line breaks.
pub fn block_lines(source: &str, block: Span) -> impl Iterator<Item = Span> {
    let mut at = block.start as usize;
    let end = block.end as usize;
    std::iter::from_fn(move || (at < end).then(|| next_span(source, &mut at, end)))
}

/// Takes the line at `at`, without its line break, and moves `at` to the next one.
#[inline]
pub(crate) fn next_span(source: &str, at: &mut usize, end: usize) -> Span {
    let start = *at;
    let bytes = &source.as_bytes()[start..end];
    match memchr(b'\n', bytes) {
        Some(len) => {
            *at = start + len + 1;
            let len = if len > 0 && bytes[len - 1] == b'\r' {
                len - 1
            } else {
                len
            };
            Span::new(start, start + len)
        }
        None => {
            *at = end;
            Span::new(start, end)
        }
    }
}

#[inline]
fn is_close(source: &str, span: Span) -> bool {
    let bytes = &source.as_bytes()[span.start as usize..span.end as usize];
    let Some(first) = bytes.iter().position(|byte| !is_space(*byte)) else {
        return false;
    };
    bytes[first] == b']' && bytes[first + 1..].iter().all(|byte| is_space(*byte))
}

#[inline]
fn classify(source: &str, span: Span) -> Line {
    let bytes = &source.as_bytes()[..span.end as usize];
    let mut start = span.start as usize;
    while start < bytes.len() && is_space(bytes[start]) {
        start += 1;
    }
    let mut comment = None;
    let mut end = bytes.len();
    let mut from = start;
    while let Some(found) = memchr(b'#', &bytes[from..]) {
        let hash = from + found;
        if hash == start || is_space(bytes[hash - 1]) {
            comment = Some(Span::new(hash, bytes.len()));
            end = hash;
            break;
        }
        from = hash + 1;
    }
    while end > start && is_space(bytes[end - 1]) {
        end -= 1;
    }
    let kind = if start == end {
        LineKind::Blank
    } else if bytes[start] == b'[' {
        LineKind::Annotation(Span::new(start, end))
    } else {
        element(source, Span::new(start, end))
    };
    Line {
        span,
        comment,
        kind,
    }
}

#[inline]
fn element(source: &str, text: Span) -> LineKind {
    let (start, end) = (text.start as usize, text.end as usize);
    let bytes = &source.as_bytes()[..end];
    let mut word = start;
    while word < end && !is_space(bytes[word]) {
        word += 1;
    }
    let name = Span::new(start, word - 1);
    if bytes[word - 1] != b':' || !(name.is_empty() || is_valid_name(name.of(source))) {
        let opens = bytes[end - 1] == b'[' && end - start > 1 && is_space(bytes[end - 2]);
        return LineKind::Bad { text, opens };
    }
    let mut value = word;
    while value < end && is_space(bytes[value]) {
        value += 1;
    }
    if end - value == 1 && bytes[value] == b'[' {
        LineKind::Open {
            name,
            bracket: Span::new(value, end),
        }
    } else {
        LineKind::Element {
            name,
            value: Span::new(value, end),
        }
    }
}
