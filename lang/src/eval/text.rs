//! Evaluated text, shared instead of copied.
//!
//! A value is a tree of pieces: spans of the source and other values. Building it costs what was written, not
//! what it expands to, so a value that would be enormous is known to be so before anything is copied. Empty
//! pieces are dropped and single ones stand for themselves, hence writing a value out takes time in its
//! length alone.

use crate::index::{IndexVec, ids};
use crate::span::{FileId, Span, narrow};
use crate::syntax::{block_lines, trim};
use crate::table::Table;

ids! {
    /// An evaluated block.
    pub(crate) BlockId;
    /// The contents of a file that was read as a value.
    pub(crate) HeldId;
}

/// A piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Empty,
    Source {
        file: FileId,
        span: Span,
    },
    /// The contents of a file.
    Held(HeldId),
    /// A range of [`Arena::flat`].
    Flat {
        start: u32,
        end: u32,
    },
    Yes,
    No,
    Blank,
    /// A range of [`Arena::pieces`].
    Rope {
        start: u32,
        end: u32,
    },
    /// Lines of a block joined by blanks.
    Joined {
        block: BlockId,
        skip: u32,
        take: u32,
    },
}

/// A text and its length in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text {
    pub piece: Piece,
    pub len: u32,
}

impl Text {
    pub const EMPTY: Text = Text {
        piece: Piece::Empty,
        len: 0,
    };
    pub const YES: Text = Text {
        piece: Piece::Yes,
        len: 3,
    };
    pub const NO: Text = Text {
        piece: Piece::No,
        len: 2,
    };
}

/// One entry of an evaluated block.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    /// A line that was expanded, or could have been.
    Line(Text),
    /// A line that is blank in the source, of a block that becomes one text.
    Blank,
    /// Lines of the source that hold no references.
    Run {
        file: FileId,
        span: Span,
        lines: u32,
        bytes: u32,
    },
    Block(BlockId),
}

/// An evaluated block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    /// A range of [`Arena::items`].
    pub start: u32,
    pub end: u32,
    pub lines: u32,
    pub bytes: u32,
    /// Lines in front that are blank in the source, and their bytes (L36).
    pub lead: (u32, u32),
    /// Lines at the back that are blank in the source, and their bytes.
    pub trail: (u32, u32),
}

#[derive(Debug, Default)]
pub(crate) struct Arena {
    pub pieces: Vec<Piece>,
    pub items: Vec<Item>,
    pub blocks: IndexVec<BlockId, Block>,
    pub held: IndexVec<HeldId, String>,
    /// Short values that several pieces make up, written out: most are used again.
    flat: String,
    scratch: String,
}

/// Longer values are not written out before they are asked for.
const FLAT: usize = 128;

pub(crate) fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| byte == b' ' || byte == b'\t')
}

impl Arena {
    /// Makes one piece of several.
    pub fn rope(&mut self, pieces: &[Piece]) -> Piece {
        match pieces {
            [] => Piece::Empty,
            [one] => *one,
            _ => {
                let start = narrow(self.pieces.len());
                self.pieces.extend_from_slice(pieces);
                Piece::Rope {
                    start,
                    end: narrow(self.pieces.len()),
                }
            }
        }
    }

    /// Makes one piece of all pieces of a value; `len` is the number of their bytes.
    pub fn value(&mut self, table: &Table, pieces: &[Piece], len: u64) -> Piece {
        if pieces.len() < 2 || len > FLAT as u64 || self.flat.len() > u32::MAX as usize - FLAT {
            return self.rope(pieces);
        }
        let mut text = std::mem::take(&mut self.scratch);
        text.clear();
        for piece in pieces {
            self.write(table, *piece, &mut text);
        }
        let start = narrow(self.flat.len());
        self.flat.push_str(&text);
        self.scratch = text;
        Piece::Flat {
            start,
            end: narrow(self.flat.len()),
        }
    }

    /// Makes a block of its items; `None` if they have no lines.
    pub fn block(&mut self, table: &Table, items: &[Item]) -> Option<BlockId> {
        if let [Item::Block(id)] = items {
            return Some(*id);
        }
        let start = narrow(self.items.len());
        self.items.extend_from_slice(items);
        let end = narrow(self.items.len());
        let (mut lines, mut bytes) = (0, 0);
        for item in items {
            let (more, size) = self.size(item);
            lines += more;
            bytes += size;
        }
        let lead = self.blanks(table, items.iter(), true);
        let trail = self.blanks(table, items.iter().rev(), false);
        if lines == 0 {
            return None;
        }
        Some(self.blocks.push(Block {
            start,
            end,
            lines,
            bytes,
            lead,
            trail,
        }))
    }

    /// Lines and bytes of an item.
    pub fn size(&self, item: &Item) -> (u32, u32) {
        match item {
            Item::Line(text) => (1, text.len),
            Item::Blank => (1, 0),
            Item::Run { lines, bytes, .. } => (*lines, *bytes),
            Item::Block(id) => {
                let block = &self.blocks[*id];
                (block.lines, block.bytes)
            }
        }
    }

    fn blanks<'i>(
        &self,
        table: &Table,
        items: impl Iterator<Item = &'i Item>,
        front: bool,
    ) -> (u32, u32) {
        let (mut lines, mut bytes) = (0, 0);
        for item in items {
            let (more, size) = match item {
                // What only evaluates to nothing stays.
                Item::Line(_) => (0, 0),
                Item::Blank => (1, 0),
                Item::Run { file, span, .. } => {
                    let source = table.file(*file).source();
                    if front {
                        count_blank(source, block_lines(source, *span))
                    } else {
                        let spans: Vec<Span> = block_lines(source, *span).collect();
                        count_blank(source, spans.into_iter().rev())
                    }
                }
                Item::Block(id) => {
                    let block = &self.blocks[*id];
                    if front { block.lead } else { block.trail }
                }
            };
            lines += more;
            bytes += size;
            if more < self.size(item).0 {
                break;
            }
        }
        (lines, bytes)
    }

    /// The text of a piece that is not made of others.
    #[inline]
    fn leaf<'t>(&'t self, table: &'t Table, piece: Piece) -> &'t str {
        match piece {
            Piece::Source { file, span } => table.file(file).text(span),
            Piece::Flat { start, end } => &self.flat[start as usize..end as usize],
            Piece::Held(id) => &self.held[id],
            Piece::Yes => "yes",
            Piece::No => "no",
            Piece::Blank => " ",
            Piece::Empty | Piece::Rope { .. } | Piece::Joined { .. } => "",
        }
    }

    /// Writes a piece out.
    pub fn write(&self, table: &Table, piece: Piece, out: &mut String) {
        self.write_with(table, piece, out, &mut Vec::new());
    }

    /// Writes a piece out, with a stack to be used again.
    pub fn write_with(&self, table: &Table, piece: Piece, out: &mut String, stack: &mut Vec<Walk>) {
        let mut next = piece;
        loop {
            match next {
                Piece::Rope { start, end } => stack.push(Walk::Pieces(start, end)),
                Piece::Joined { block, skip, take } => {
                    stack.push(Walk::Joined(Cursor::new(self, block, skip, take), true));
                }
                leaf => out.push_str(self.leaf(table, leaf)),
            }
            next = Piece::Empty;
            match stack.last_mut() {
                None => return,
                Some(Walk::Pieces(start, end)) => {
                    for piece in &self.pieces[*start as usize..*end as usize] {
                        *start += 1;
                        if let Piece::Rope { .. } | Piece::Joined { .. } = piece {
                            next = *piece;
                            break;
                        }
                        out.push_str(self.leaf(table, *piece));
                    }
                    // Nothing is left to come back for: the stack stays short on a tail of single references.
                    if start == end {
                        stack.pop();
                    }
                }
                Some(Walk::Joined(cursor, first)) => match cursor.next(self, table) {
                    None => {
                        stack.pop();
                    }
                    Some(text) => {
                        if !std::mem::take(first) {
                            out.push(' ');
                        }
                        next = text.piece;
                    }
                },
            }
        }
    }

    /// Writes the lines of a block out, joined by line feeds.
    pub fn write_block(&self, table: &Table, block: BlockId, out: &mut String) {
        let mut stack = Vec::new();
        let mut blocks = Vec::new();
        let Block {
            mut start, mut end, ..
        } = self.blocks[block];
        let mut first = true;
        let mut feed = |out: &mut String| {
            if !std::mem::take(&mut first) {
                out.push('\n');
            }
        };
        loop {
            if start == end {
                match blocks.pop() {
                    Some(rest) => (start, end) = rest,
                    None => return,
                }
                continue;
            }
            let item = self.items[start as usize];
            start += 1;
            match item {
                Item::Line(text) => {
                    feed(out);
                    self.write_with(table, text.piece, out, &mut stack);
                }
                Item::Blank => feed(out),
                Item::Run {
                    file,
                    span,
                    lines,
                    bytes,
                } => {
                    let source = table.file(file).source();
                    // One byte of each line is its line break: they are as they will be.
                    if lines as usize + bytes as usize == span.len() {
                        feed(out);
                        out.push_str(&source[span.start as usize..span.end as usize - 1]);
                    } else {
                        for line in block_lines(source, span) {
                            feed(out);
                            out.push_str(line.of(source));
                        }
                    }
                }
                Item::Block(id) => {
                    if start < end {
                        blocks.push((start, end));
                    }
                    let block = &self.blocks[id];
                    (start, end) = (block.start, block.end);
                }
            }
        }
    }

    /// The text of a piece.
    pub fn string(&self, table: &Table, text: Text) -> String {
        let mut out = String::with_capacity(text.len as usize);
        self.write(table, text.piece, &mut out);
        debug_assert_eq!(out.len(), text.len as usize);
        out
    }

    /// Whether a text is equal to another.
    pub fn equals(&self, table: &Table, text: Text, other: &str) -> bool {
        if text.len as usize != other.len() {
            return false;
        }
        match text.piece {
            leaf @ (Piece::Source { .. } | Piece::Flat { .. }) => self.leaf(table, leaf) == other,
            _ => self.string(table, text) == other,
        }
    }
}

/// What is left to write of a piece that is being written.
pub(crate) enum Walk {
    Pieces(u32, u32),
    Joined(Cursor, bool),
}

fn count_blank(source: &str, lines: impl Iterator<Item = Span>) -> (u32, u32) {
    lines
        .take_while(|line| trim(source, *line).is_empty())
        .fold((0, 0), |(lines, bytes), line| {
            (lines + 1, bytes + narrow(line.len()))
        })
}

/// Goes through the lines of an evaluated block.
pub(crate) struct Cursor {
    stack: Vec<(u32, u32)>,
    run: Option<(FileId, Span)>,
    skip: u32,
    take: u32,
}

impl Cursor {
    pub fn new(arena: &Arena, block: BlockId, skip: u32, take: u32) -> Self {
        let block = &arena.blocks[block];
        Cursor {
            stack: vec![(block.start, block.end)],
            run: None,
            skip,
            take,
        }
    }

    pub fn next(&mut self, arena: &Arena, table: &Table) -> Option<Text> {
        if self.take == 0 {
            return None;
        }
        loop {
            if let Some((file, span)) = self.run {
                let mut at = span.start as usize;
                let line =
                    crate::syntax::next_span(table.file(file).source(), &mut at, span.end as usize);
                let rest = Span {
                    start: narrow(at),
                    end: span.end,
                };
                self.run = (!rest.is_empty()).then_some((file, rest));
                if self.skip > 0 {
                    self.skip -= 1;
                    continue;
                }
                self.take -= 1;
                let piece = Piece::Source { file, span: line };
                return Some(Text {
                    piece,
                    len: narrow(line.len()),
                });
            }
            let (start, end) = self.stack.last_mut()?;
            let item = arena.items[*start as usize];
            *start += 1;
            if start == end {
                self.stack.pop();
            }
            let (lines, _) = arena.size(&item);
            if lines <= self.skip {
                self.skip -= lines;
                continue;
            }
            match item {
                Item::Line(text) => {
                    self.take -= 1;
                    return Some(text);
                }
                Item::Blank => {
                    self.take -= 1;
                    return Some(Text::EMPTY);
                }
                Item::Run { file, span, .. } => self.run = Some((file, span)),
                Item::Block(id) => {
                    let block = &arena.blocks[id];
                    self.stack.push((block.start, block.end));
                }
            }
        }
    }
}
