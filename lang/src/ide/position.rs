//! Places as an editor counts them: lines from 0, and UTF-16 units from the start of the line.

use crate::span::{Span, narrow};

/// A place between two characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Number of the line, from 0.
    pub line: u32,
    /// UTF-16 units before it on that line.
    pub character: u32,
}

/// What lies between two places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Range {
    /// Where it begins.
    pub start: Position,
    /// Where it ends; not included.
    pub end: Position,
}

/// Where the lines of a text begin. To an editor a lone CR ends a line, too.
#[derive(Clone, Debug)]
pub struct LineIndex {
    starts: Vec<u32>,
    /// UTF-16 units before every [`STEP`] bytes, so that long lines need not be counted from their start;
    /// empty if the text is ASCII, in which every unit is a byte.
    units: Vec<u32>,
}

/// Bytes between two counts of units.
const STEP: usize = 1024;

impl LineIndex {
    /// Looks through a text of less than 4 GiB.
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = vec![0];
        for at in memchr::memchr2_iter(b'\n', b'\r', bytes) {
            if bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n') {
                starts.push(narrow(at) + 1);
            }
        }
        let mut units = Vec::new();
        if !text.is_ascii() {
            let mut count = 0;
            for (at, c) in text.char_indices() {
                // Counts belong to the first boundary of characters at or behind each step.
                while units.len() * STEP <= at {
                    units.push(count);
                }
                count += narrow(c.len_utf16());
            }
        }
        LineIndex { starts, units }
    }

    /// UTF-16 units in front of an offset, which is a boundary of characters.
    fn units(&self, text: &str, offset: usize) -> usize {
        let at = (offset / STEP).min(self.units.len().saturating_sub(1));
        let Some(count) = self.units.get(at) else {
            return offset;
        };
        let mut from = at * STEP;
        while !text.is_char_boundary(from) {
            from += 1;
        }
        *count as usize + text[from..offset].encode_utf16().count()
    }

    /// The place of a byte. An offset inside a character stands for its beginning.
    pub fn position(&self, text: &str, offset: u32) -> Position {
        let mut offset = (offset as usize).min(text.len());
        while !text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self
            .starts
            .partition_point(|start| *start as usize <= offset)
            - 1;
        let start = self.starts[line] as usize;
        let units = self.units(text, offset) - self.units(text, start);
        Position {
            line: narrow(line),
            character: narrow(units),
        }
    }

    /// The range of a span.
    pub fn range(&self, text: &str, span: Span) -> Range {
        Range {
            start: self.position(text, span.start),
            end: self.position(text, span.end),
        }
    }

    /// The byte at a place. A place behind the end of its line stands for the end of the line, one behind the
    /// last line for the end of the text, and one inside a surrogate pair for the character's beginning.
    pub fn offset(&self, text: &str, position: Position) -> u32 {
        let Some(start) = self.starts.get(position.line as usize) else {
            return narrow(text.len());
        };
        let start = *start as usize;
        let end = self
            .starts
            .get(position.line as usize + 1)
            .map_or(text.len(), |next| *next as usize);
        let line = text[start..end].trim_end_matches(['\n', '\r']);
        // Only the break itself is not a part of the line.
        let wanted = position.character as usize;
        if self.units.is_empty() {
            return narrow(start + wanted.min(line.len()));
        }
        // The last count that is not beyond the place, then character by character.
        let target = self.units(text, start) + wanted;
        let step = self
            .units
            .partition_point(|count| *count as usize <= target)
            .saturating_sub(1);
        let mut at = (step * STEP).clamp(start, start + line.len());
        while !text.is_char_boundary(at) {
            at += 1;
        }
        let mut units = self.units(text, at);
        for c in text[at..start + line.len()].chars() {
            units += c.len_utf16();
            if units > target {
                return narrow(at);
            }
            at += c.len_utf8();
        }
        narrow(start + line.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(line: u32, character: u32) -> Position {
        Position { line, character }
    }

    #[test]
    fn units_are_counted_not_bytes() {
        let text = "aé😀b\r\nx\ry\n";
        let index = LineIndex::new(text);
        assert_eq!(index.position(text, 0), position(0, 0));
        assert_eq!(index.position(text, 3), position(0, 2));
        assert_eq!(index.position(text, 7), position(0, 4));
        assert_eq!(index.position(text, 8), position(0, 5));
        assert_eq!(index.position(text, 10), position(1, 0));
        assert_eq!(index.position(text, 12), position(2, 0));
        assert_eq!(index.position(text, 14), position(3, 0));
        assert_eq!(index.position(text, 99), position(3, 0));
        assert_eq!(index.offset(text, position(0, 3)), 3, "inside the pair");
        assert_eq!(index.offset(text, position(0, 4)), 7);
        assert_eq!(index.offset(text, position(0, 99)), 8);
        assert_eq!(index.offset(text, position(1, 5)), 11);
        assert_eq!(index.offset(text, position(9, 0)), 14);
        assert_eq!(index.offset(text, position(u32::MAX, u32::MAX)), 14);
    }

    #[test]
    fn long_lines_are_counted_in_steps() {
        for unit in ["é", "😀", "aé", "abc😀"] {
            let text = format!("x\n{}\ny", unit.repeat(3000));
            let index = LineIndex::new(&text);
            let mut units = 0;
            for (at, c) in text.char_indices().skip(2).take_while(|(_, c)| *c != '\n') {
                let place = position(1, units);
                assert_eq!(index.position(&text, narrow(at)), place);
                assert_eq!(index.offset(&text, place), narrow(at));
                units += narrow(c.len_utf16());
            }
        }
    }

    proptest! {
        #[test]
        fn there_and_back(text in "[ab\n\ré😀]{0,20}") {
            let index = LineIndex::new(&text);
            for (at, c) in text.char_indices() {
                let place = index.position(&text, narrow(at));
                // The places inside a line break are those of its beginning.
                if c != '\n' || at == 0 || text.as_bytes()[at - 1] != b'\r' {
                    prop_assert_eq!(index.offset(&text, place), narrow(at));
                }
            }
            for line in 0..5 {
                for character in 0..9 {
                    let at = index.offset(&text, position(line, character));
                    prop_assert!(text.is_char_boundary(at as usize));
                }
            }
        }
    }
}
