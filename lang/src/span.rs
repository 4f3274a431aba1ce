//! Places in a source text.

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
        debug_assert!(start <= end && end <= u32::MAX as usize);
        Span {
            start: start as u32,
            end: end as u32,
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

/// A span in one of the files of a specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Loc {
    /// Index of the file, in the order of loading.
    pub file: u32,
    /// The bytes of that file.
    pub span: Span,
}
