//! The line of a bash that is being typed: its words, and the form that words must have to be put into it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

/// A line up to the cursor.
pub struct Line {
    /// Its words without quotes, those of the last command alone. The last one is being typed.
    pub words: Vec<OsString>,
    /// The quote that is open at the end.
    quote: Option<u8>,
}

impl Line {
    /// Splits a line as bash does, so far as words go. What is in `$(...)` or a variable stays as it is.
    pub fn split(line: &[u8]) -> Line {
        let mut words: Vec<Vec<u8>> = vec![Vec::new()];
        let mut begun = false;
        let mut quote = None;
        let mut bytes = line.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let word = words.len() - 1;
            match (quote, byte) {
                (Some(open), close) if open == close => quote = None,
                (Some(b'\''), _) => words[word].push(byte),
                (Some(_), b'\\') if matches!(bytes.peek(), Some(b'"' | b'\\' | b'$' | b'`')) => {
                    words[word].extend(bytes.next());
                }
                (Some(_), _) => words[word].push(byte),
                (None, b'\'' | b'"') => (quote, begun) = (Some(byte), true),
                (None, b'\\') => {
                    begun = true;
                    words[word].extend(bytes.next());
                }
                (None, b' ' | b'\t' | b'\n') if !begun => {}
                (None, b' ' | b'\t' | b'\n') => {
                    words.push(Vec::new());
                    begun = false;
                }
                // Another command begins.
                (None, b';' | b'|' | b'&' | b'(' | b')') => {
                    words = vec![Vec::new()];
                    begun = false;
                }
                (None, _) => {
                    begun = true;
                    words[word].push(byte);
                }
            }
        }
        // Assignments before the command are not its name.
        let is_assignment = |word: &Vec<u8>| {
            let name = word.split(|b| *b == b'=').next().unwrap_or_default();
            name.len() < word.len()
                && !name.is_empty()
                && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        };
        while words.len() > 1 && is_assignment(&words[0]) {
            words.remove(0);
        }
        Line {
            words: words.into_iter().map(OsString::from_vec).collect(),
            quote,
        }
    }

    /// A word as bash wants it. Where no quote is open, readline begins a new word behind each of `breaks`, so what
    /// stands before the last of them is there already; the rest is quoted.
    pub fn for_bash(&self, word: &[u8], breaks: &[u8]) -> Vec<u8> {
        if self.quote.is_some() {
            return word.to_vec();
        }
        let typed = self.words.last().map(|word| word.as_encoded_bytes());
        let breaks_here = |b: &u8| matches!(b, b':' | b'=' | b'@') && breaks.contains(b);
        let kept = typed.unwrap_or_default().iter().rposition(breaks_here);
        let rest = &word[kept.map_or(0, |at| at + 1).min(word.len())..];
        let mut text = Vec::with_capacity(rest.len());
        for &byte in rest {
            let plain = byte.is_ascii_alphanumeric() || b"/._-+:=@%,~^".contains(&byte);
            if !plain && byte.is_ascii() {
                text.push(b'\\');
            }
            text.push(byte);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let words = Line::split(line.as_bytes()).words.into_iter();
        words.map(|word| word.into_string().unwrap()).collect()
    }

    #[test]
    fn lines_are_split_as_bash_does() {
        assert_eq!(words("mstore realise st"), ["mstore", "realise", "st"]);
        assert_eq!(words("mstore  log "), ["mstore", "log", ""]);
        assert_eq!(
            words("mstore -C 'a b' \"c d"),
            ["mstore", "-C", "a b", "c d"]
        );
        assert_eq!(words("mstore a\\ b"), ["mstore", "a b"]);
        assert_eq!(words("cd /x && A=b mstore ''"), ["mstore", ""]);
        assert_eq!(words("echo; mstore list | grep x"), ["grep", "x"]);
        assert_eq!(words(""), [""]);
        assert_eq!(words("\\"), [""]);
    }

    #[test]
    fn what_is_typed_already_is_not_put_in_again() {
        let bash = |line: &str, word: &str| {
            let text = Line::split(line.as_bytes()).for_bash(word.as_bytes(), b" \t\n:=");
            String::from_utf8(text).unwrap()
        };
        assert_eq!(bash("mstore log stage1-a:l", "stage1-a:libc"), "libc");
        assert_eq!(
            bash("mstore log 'stage1-a:l", "stage1-a:libc"),
            "stage1-a:libc"
        );
        assert_eq!(bash("mstore -D a/b", "a/bc="), "a/bc=");
        assert_eq!(bash("mstore --store=/a", "--store=/a b/"), "/a\\ b/");
        assert_eq!(bash("mstore log s", "$(x)'*"), "\\$\\(x\\)\\'\\*");
    }
}
