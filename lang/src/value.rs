//! Values: the lines and blocks that evaluation gives.

use std::fmt;

/// The value of an element.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// The text of a line element.
    Line(String),
    /// The lines of a block.
    Block(Lines),
}

impl Value {
    /// The value as one text, the lines of a block joined by line feeds.
    pub fn to_text(&self) -> String {
        self.as_text().to_owned()
    }

    /// The value as one text, the lines of a block joined by line feeds.
    pub fn as_text(&self) -> &str {
        match self {
            Value::Line(text) => text,
            Value::Block(lines) => lines.as_text(),
        }
    }

    /// Turns the value into one text, the lines of a block joined by line feeds.
    pub fn into_text(self) -> String {
        match self {
            Value::Line(text) => text,
            Value::Block(lines) => lines.text,
        }
    }
}

/// A value, and whether it is empty because a `:zap` removed it (L23).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Evaluated {
    /// The value; an empty line if removed.
    pub value: Value,
    /// Whether it was removed.
    pub zapped: bool,
}

/// The lines of a block, all in one text.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Lines {
    /// The lines, joined by line feeds.
    text: String,
    count: usize,
    /// Where each line ends, if line feeds do not tell: one may come from the command line and be part of a line.
    ends: Option<Box<[usize]>>,
}

impl Lines {
    /// Takes a text of `count` lines joined by line feeds, none of which has a line feed in it.
    ///
    /// Gives the text back if it has another number of lines.
    pub(crate) fn plain(text: String, count: usize) -> Result<Lines, String> {
        let feeds = memchr::memchr_iter(b'\n', text.as_bytes()).count();
        match count {
            0 if text.is_empty() => Ok(Lines::default()),
            0 => Err(text),
            _ if feeds == count - 1 => Ok(Lines {
                text,
                count,
                ends: None,
            }),
            _ => Err(text),
        }
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none. A block with one blank line is not empty.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The lines joined by line feeds.
    pub fn as_text(&self) -> &str {
        &self.text
    }

    /// The lines, without line breaks.
    pub fn iter(&self) -> Iter<'_> {
        Iter {
            lines: self,
            at: 0,
            next: 0,
        }
    }

    /// The lines joined by `between`.
    pub fn join(&self, between: &str) -> String {
        let mut text = String::with_capacity(self.text.len() + self.count * between.len());
        for (index, line) in self.iter().enumerate() {
            if index > 0 {
                text.push_str(between);
            }
            text.push_str(line);
        }
        text
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<S: AsRef<str>> FromIterator<S> for Lines {
    fn from_iter<I: IntoIterator<Item = S>>(lines: I) -> Lines {
        let mut text = String::new();
        let mut ends = Vec::new();
        for line in lines {
            if !ends.is_empty() {
                text.push('\n');
            }
            text.push_str(line.as_ref());
            ends.push(text.len());
        }
        Lines::plain(text, ends.len()).unwrap_or_else(|text| Lines {
            text,
            count: ends.len(),
            ends: Some(ends.into()),
        })
    }
}

impl From<Vec<String>> for Lines {
    fn from(lines: Vec<String>) -> Lines {
        lines.iter().collect()
    }
}

impl<'a> IntoIterator for &'a Lines {
    type Item = &'a str;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Goes through [`Lines`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    lines: &'a Lines,
    /// Where the next line starts.
    at: usize,
    next: usize,
}

impl<'a> Iterator for Iter<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let lines = self.lines;
        if self.next == lines.count {
            return None;
        }
        let end = match &lines.ends {
            Some(ends) => ends[self.next],
            None => memchr::memchr(b'\n', &lines.text.as_bytes()[self.at..])
                .map_or(lines.text.len(), |len| self.at + len),
        };
        let line = &lines.text[self.at..end];
        self.at = end + 1;
        self.next += 1;
        Some(line)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.lines.count - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_apart() {
        for want in [
            vec![],
            vec![""],
            vec!["", ""],
            vec!["a"],
            vec!["a", "", "bc"],
            vec!["a\nb", "c"],
            vec!["\n"],
            vec!["", "\n\n", "x\r"],
        ] {
            let lines: Lines = want.iter().collect();
            assert_eq!(lines.iter().collect::<Vec<_>>(), want);
            assert_eq!(lines.iter().len(), want.len());
            assert_eq!(lines.is_empty(), want.is_empty());
            assert_eq!(lines.as_text(), want.join("\n"));
            assert_eq!(lines.join(", "), want.join(", "));
            assert_eq!(lines, want.iter().collect());
        }
        let (one, two): (Lines, Lines) = (["a\nb"].iter().collect(), ["a", "b"].iter().collect());
        assert_ne!(one, two);
    }
}
