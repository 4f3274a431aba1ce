//! Places in a source text.

use std::num::NonZeroU32;

use crate::index::ids;

/// A range of bytes of one file.
///
/// Files are at most 4 GiB minus one byte long, so that a span is two words of 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// Offset of the first byte.
    pub start: u32,
    /// Offset behind the last byte.
    pub end: u32,
}

impl Span {
    /// Makes a span from byte offsets.
    #[inline]
    pub fn new(start: usize, end: usize) -> Self {
        debug_assert!(start <= end);
        Span {
            start: narrow(start),
            end: narrow(end),
        }
    }

    /// The number of bytes covered.
    #[inline]
    pub fn len(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether no byte is covered.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }

    /// The covered part of the text the span was made for.
    #[inline]
    pub fn of(self, source: &str) -> &str {
        &source[self.start as usize..self.end as usize]
    }

    /// Whether the offset lies inside, or directly behind the last byte.
    pub fn touches(self, offset: u32) -> bool {
        self.start <= offset && offset <= self.end
    }
}

/// Narrows an offset in a text, a length of one, or a number of parts of texts.
///
/// All of these are below 4 GiB: single texts are by `Limits::countable`, and a part takes a byte of one at least.
#[inline]
#[expect(clippy::cast_possible_truncation)]
pub(crate) fn narrow(number: usize) -> u32 {
    debug_assert!(number <= u32::MAX as usize);
    number as u32
}

/// Narrows the length of an evaluated text, once that is known to be within the limits.
#[inline]
#[expect(clippy::cast_possible_truncation)]
pub(crate) fn narrow_len(len: u64) -> u32 {
    debug_assert!(len <= u64::from(u32::MAX));
    len as u32
}

ids! {
    /// A file of a specification, in the order of loading.
    pub(crate) FileId;
}

impl FileId {
    /// The main file, which is read first.
    pub const MAIN: FileId = FileId(NonZeroU32::MIN);
}

/// A span in one of the files of a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Loc {
    /// The file.
    pub file: FileId,
    /// The bytes of that file.
    pub span: Span,
}
