//! The words of a program, with indentation as Python counts it.

use super::error::Fault;

/// How large a file may be, in bytes.
pub const MAX_SOURCE: usize = 1 << 20;
/// How many levels of indentation or brackets there may be.
const MAX_LEVELS: usize = 50;

/// A word and its line.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    pub line: usize,
    pub kind: TokenKind,
}

/// The kinds of words.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenKind {
    Name(String),
    Keyword(&'static str),
    Int(i64),
    Str(String),
    Op(&'static str),
    Newline,
    Indent,
    Dedent,
    End,
}

const KEYWORDS: &[&str] = &[
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Longest first.
const OPERATORS: &[&str] = &[
    "**=", "//=", ">>=", "<<=", "...", "==", "!=", "<=", ">=", "->", "+=", "-=", "*=", "/=", "%=",
    "&=", "|=", "^=", "@=", ":=", "**", "//", "<<", ">>", "+", "-", "*", "/", "%", "@", "&", "|",
    "^", "~", "<", ">", "(", ")", "[", "]", "{", "}", ",", ":", ".", ";", "=",
];

/// Takes a program apart.
pub fn tokens(source: &str) -> Result<Vec<Token>, Fault> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    if source.len() > MAX_SOURCE {
        return Err(Fault::at(
            1,
            format!("the file is larger than {} MiB", MAX_SOURCE >> 20),
        ));
    }
    let mut lexer = Lexer {
        // Line ends of other systems count as one.
        chars: source
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .chars()
            .collect(),
        at: 0,
        line: 1,
        brackets: Vec::new(),
        indents: vec![(0, 0)],
        tokens: Vec::new(),
    };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    /// Open brackets and their lines.
    brackets: Vec<(char, usize)>,
    /// Columns with tabs as eight and as one: Python refuses what depends on which it is.
    indents: Vec<(usize, usize)>,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn ahead(&self, n: usize) -> Option<char> {
        self.chars.get(self.at + n).copied()
    }

    fn push(&mut self, kind: TokenKind) {
        let line = self.line;
        self.tokens.push(Token { line, kind });
    }

    fn fault<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::at(self.line, message))
    }

    fn run(&mut self) -> Result<(), Fault> {
        let mut begins_line = true;
        loop {
            if begins_line && self.brackets.is_empty() {
                self.indentation()?;
            }
            begins_line = false;
            let Some(c) = self.peek() else { break };
            match c {
                '\n' => {
                    begins_line = true;
                    if self.brackets.is_empty() && self.in_statement() {
                        self.push(TokenKind::Newline);
                    }
                    self.at += 1;
                    self.line += 1;
                }
                ' ' | '\t' | '\u{c}' => self.at += 1,
                '#' => self.comment(),
                '\\' => {
                    if self.ahead(1) != Some('\n') {
                        return self.fault("`\\` stands at the end of a line, or in text");
                    }
                    self.at += 2;
                    self.line += 1;
                }
                '"' | '\'' => self.text("")?,
                c if c.is_ascii_digit() => self.number()?,
                c if c == '_' || c.is_alphabetic() => self.word()?,
                _ => self.operator(c)?,
            }
        }
        if let Some(&(open, line)) = self.brackets.last() {
            return Err(Fault::at(line, format!("`{open}` is never closed")));
        }
        if self.in_statement() {
            self.push(TokenKind::Newline);
        }
        for _ in 1..self.indents.len() {
            self.push(TokenKind::Dedent);
        }
        self.push(TokenKind::End);
        Ok(())
    }

    /// Whether something of a statement is there since the last line ended.
    fn in_statement(&self) -> bool {
        !matches!(
            self.tokens.last().map(|t| &t.kind),
            None | Some(TokenKind::Newline | TokenKind::Indent | TokenKind::Dedent)
        )
    }

    fn comment(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.at += 1;
        }
    }

    fn indentation(&mut self) -> Result<(), Fault> {
        let (mut column, mut narrow) = (0, 0);
        while let Some(c) = self.peek() {
            match c {
                ' ' => (column, narrow) = (column + 1, narrow + 1),
                '\t' => (column, narrow) = ((column / 8 + 1) * 8, narrow + 1),
                '\u{c}' => (column, narrow) = (0, 0),
                _ => break,
            }
            self.at += 1;
        }
        // Blank lines and comments have no indentation, and what goes on after `\` has none of its own.
        if matches!(self.peek(), None | Some('\n' | '#')) || self.in_statement() {
            return Ok(());
        }
        const MIXED: &str =
            "tabs and blanks of the indentation do not fit those of the lines above";
        let (last, last_narrow) = *self.indents.last().unwrap_or(&(0, 0));
        if column == last {
            return if narrow == last_narrow {
                Ok(())
            } else {
                self.fault(MIXED)
            };
        }
        if column > last {
            if narrow <= last_narrow {
                return self.fault(MIXED);
            }
            if self.indents.len() > MAX_LEVELS {
                return self.fault(format!("more than {MAX_LEVELS} levels of indentation"));
            }
            self.indents.push((column, narrow));
            self.push(TokenKind::Indent);
            return Ok(());
        }
        while self.indents.last().is_some_and(|i| i.0 > column) {
            self.indents.pop();
            self.push(TokenKind::Dedent);
        }
        match self.indents.last() {
            Some(&(c, n)) if c == column && n == narrow => Ok(()),
            Some(&(c, _)) if c == column => self.fault(MIXED),
            _ => self.fault("the indentation fits none of the lines above"),
        }
    }

    fn word(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|c| c == '_' || c.is_alphanumeric()) {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        if matches!(self.peek(), Some('"' | '\'')) && word.len() <= 2 {
            let lower = word.to_ascii_lowercase();
            match lower.as_str() {
                "r" | "u" => return self.text(&lower),
                "b" | "br" | "rb" => {
                    return self.fault("bytes are not supported, and never used: write text");
                }
                "f" | "fr" | "rf" => {
                    return self.fault("text with `f` before it is not supported: use `%` or `+`");
                }
                _ => {}
            }
        }
        match KEYWORDS.iter().find(|k| **k == word) {
            Some(keyword) => self.push(TokenKind::Keyword(keyword)),
            None => self.push(TokenKind::Name(word)),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|c| c == '_' || c.is_alphanumeric()) {
            self.at += 1;
        }
        let written: String = self.chars[start..self.at].iter().collect();
        let point = self.peek() == Some('.');
        let decimal = written.chars().all(|c| c.is_ascii_digit() || c == '_');
        let exponent = written.contains(['e', 'E', 'j', 'J']) && !written.starts_with("0x");
        if (point && decimal) || exponent {
            return self.fault("fractions are not supported: write whole numbers");
        }
        let digits: String = written.chars().filter(|c| *c != '_').collect();
        let lower = digits.to_ascii_lowercase();
        let value = match lower.get(..2) {
            Some("0x") => i64::from_str_radix(&lower[2..], 16),
            Some("0o") => i64::from_str_radix(&lower[2..], 8),
            Some("0b") => i64::from_str_radix(&lower[2..], 2),
            _ => lower.parse(),
        };
        let malformed = written.ends_with('_')
            || written.contains("__")
            // As in Python: it was octal once.
            || (decimal && lower.starts_with('0') && lower.chars().any(|c| c != '0'));
        match value {
            Ok(value) if !malformed => {
                self.push(TokenKind::Int(value));
                Ok(())
            }
            _ => self.fault(format!(
                "`{written}` is not a whole number that fits 64 bits"
            )),
        }
    }

    fn operator(&mut self, c: char) -> Result<(), Fault> {
        let Some(op) = OPERATORS.iter().find(|op| {
            let mut n = 0;
            op.chars().all(|c| {
                n += 1;
                self.ahead(n - 1) == Some(c)
            })
        }) else {
            return self.fault(format!("`{}` means nothing here", c.escape_debug()));
        };
        self.at += op.len();
        match *op {
            "(" | "[" | "{" => {
                if self.brackets.len() >= MAX_LEVELS {
                    return self
                        .fault(format!("more than {MAX_LEVELS} brackets within each other"));
                }
                self.brackets.push((c, self.line));
            }
            ")" | "]" | "}" => {
                let fits = matches!(
                    (self.brackets.pop(), *op),
                    (Some(('(', _)), ")") | (Some(('[', _)), "]") | (Some(('{', _)), "}")
                );
                if !fits {
                    return self.fault(format!("`{op}` closes nothing"));
                }
            }
            _ => {}
        }
        self.push(TokenKind::Op(op));
        Ok(())
    }

    fn text(&mut self, prefix: &str) -> Result<(), Fault> {
        let begun = self.line;
        let Some(quote) = self.peek() else {
            return Ok(());
        };
        let long = self.ahead(1) == Some(quote) && self.ahead(2) == Some(quote);
        self.at += if long { 3 } else { 1 };
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(Fault::at(begun, "text is never closed"));
            };
            match c {
                '\n' if !long => return Err(Fault::at(begun, "text is not closed on its line")),
                '\\' => self.escape(prefix == "r", &mut text)?,
                c if c == quote
                    && (!long
                        || (self.ahead(1) == Some(quote) && self.ahead(2) == Some(quote))) =>
                {
                    self.at += if long { 3 } else { 1 };
                    break;
                }
                c => {
                    self.line += usize::from(c == '\n');
                    self.at += 1;
                    text.push(c);
                }
            }
        }
        self.tokens.push(Token {
            line: begun,
            kind: TokenKind::Str(text),
        });
        Ok(())
    }

    fn escape(&mut self, raw: bool, text: &mut String) -> Result<(), Fault> {
        let Some(c) = self.ahead(1) else {
            return self.fault("text is never closed");
        };
        self.at += 2;
        self.line += usize::from(c == '\n');
        if raw {
            text.extend(['\\', c]);
            return Ok(());
        }
        match c {
            '\n' => {}
            '\\' | '\'' | '"' => text.push(c),
            'a' => text.push('\u{7}'),
            'b' => text.push('\u{8}'),
            'f' => text.push('\u{c}'),
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'v' => text.push('\u{b}'),
            'x' => self.code(16, 2, 2, text)?,
            'u' => self.code(16, 4, 4, text)?,
            'U' => self.code(16, 8, 8, text)?,
            '0'..='7' => {
                self.at -= 1;
                self.code(8, 1, 3, text)?;
            }
            'N' => {
                return self
                    .fault("names of characters are not supported: write `\\u` and the number");
            }
            other => text.extend(['\\', other]),
        }
        Ok(())
    }

    /// A character by its number.
    fn code(
        &mut self,
        radix: u32,
        least: usize,
        most: usize,
        text: &mut String,
    ) -> Result<(), Fault> {
        let mut value = 0u32;
        let mut count = 0;
        while count < most
            && let Some(digit) = self.peek().and_then(|c| c.to_digit(radix))
        {
            value = value.wrapping_mul(radix).wrapping_add(digit);
            count += 1;
            self.at += 1;
        }
        match char::from_u32(value) {
            Some(c) if count >= least => {
                text.push(c);
                Ok(())
            }
            _ => self.fault("`\\` is not followed by the number of a character"),
        }
    }
}
