//! A file as an editor sees it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use super::position::{LineIndex, Position, Range};
use crate::mentions::{Mention, mentions};
use crate::span::Span;
use crate::syntax::{File, Line, Lines};

/// A parsed text with what is needed to answer questions about places in it.
#[derive(Debug)]
pub struct Document {
    file: Arc<File>,
    index: OnceLock<LineIndex>,
    mentions: OnceLock<Vec<Mention>>,
}

impl Document {
    /// Parses a text.
    pub fn new(path: PathBuf, text: String) -> Self {
        // More errors than these nobody reads at once.
        Document::of(Arc::new(File::parse_bytes(path, text.into_bytes(), 1000)))
    }

    /// Takes a file that is parsed already.
    pub fn of(file: Arc<File>) -> Self {
        Document {
            file,
            index: OnceLock::new(),
            mentions: OnceLock::new(),
        }
    }

    /// The file.
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Its text.
    pub fn text(&self) -> &str {
        self.file.source()
    }

    /// The range of a span.
    pub fn range(&self, span: Span) -> Range {
        self.index().range(self.text(), span)
    }

    /// The offset of a place.
    pub fn offset(&self, position: Position) -> u32 {
        self.index().offset(self.text(), position)
    }

    fn index(&self) -> &LineIndex {
        self.index.get_or_init(|| LineIndex::new(self.text()))
    }

    /// All mentions of elements in it, in order.
    pub fn mentions(&self) -> &[Mention] {
        self.mentions.get_or_init(|| mentions(&self.file))
    }

    /// The mention at an offset: the innermost, as an inclusion can hold references.
    pub fn mention_at(&self, offset: u32) -> Option<&Mention> {
        let end = self
            .mentions()
            .partition_point(|mention| mention.whole.start <= offset);
        let line = memchr::memrchr(b'\n', &self.text().as_bytes()[..offset as usize])
            .map_or(0, |at| at + 1);
        let near = self.mentions()[..end]
            .iter()
            .rev()
            .take_while(|mention| mention.whole.start as usize >= line);
        near.filter(|mention| mention.whole.touches(offset))
            .min_by_key(|mention| mention.whole.len())
    }

    /// The line that an offset lies on, and whether the end of the text is inside a block.
    pub fn line_at(&self, offset: u32) -> Option<Line> {
        let mut lines = Lines::new(self.text());
        loop {
            let in_block = lines.in_block();
            match lines.next() {
                Some(line) if line.span.touches(offset) => return Some(line),
                Some(_) => {}
                // The empty line behind the last line break.
                None => {
                    let end = self.text().len();
                    let kind = if in_block {
                        crate::syntax::LineKind::Text
                    } else {
                        crate::syntax::LineKind::Blank
                    };
                    return (offset as usize == end).then(|| Line {
                        span: Span::new(end, end),
                        comment: None,
                        kind,
                    });
                }
            }
        }
    }

    /// The name of the section in force at an offset.
    pub fn section_at(&self, offset: u32) -> Option<&str> {
        let sections = self.file.sections.as_slice();
        let end = sections.partition_point(|section| section.name.end < offset);
        end.checked_sub(1)
            .map(|index| self.file.text(sections[index].name))
    }
}
