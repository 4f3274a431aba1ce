//! Reads a file into a [`File`].

use std::hash::BuildHasher;
use std::path::PathBuf;
use std::sync::{LazyLock, OnceLock};

use hashbrown::DefaultHashBuilder;

use super::annotation::{Annotation, words};
use super::error::SyntaxError;
use super::lines::{LineKind, Lines, is_space, trim};
use super::name::{hash_name, is_valid_name};
use super::{
    ABSOLUTE, Collect, CollectId, Condition, ConditionId, Definition, DefinitionId, File, FullName,
    Kind, LAX, PYTHON, Section, SectionId,
};
use crate::class::Class;
use crate::index::IndexVec;
use crate::span::{Span, narrow};

struct Parser<'a> {
    source: &'a str,
    definitions: IndexVec<DefinitionId, Definition>,
    collects: IndexVec<CollectId, Collect>,
    sections: IndexVec<SectionId, Section>,
    conditions: IndexVec<ConditionId, Condition>,
    errors: Vec<SyntaxError>,
    more_errors: usize,
    max_errors: usize,
    section: Option<SectionId>,
    condition: Option<ConditionId>,
    lax: u8,
}

impl File {
    /// Reads a text. Errors are kept in the file.
    pub fn parse(path: PathBuf, source: String) -> File {
        File::parse_limited(path, source, usize::MAX)
    }

    /// Reads the bytes of a file; those that are not UTF-8 are an error (L1).
    pub fn parse_bytes(path: PathBuf, bytes: Vec<u8>, max_errors: usize) -> File {
        match String::from_utf8(bytes) {
            Ok(source) => File::parse_limited(path, source, max_errors),
            Err(error) => {
                let start = error.utf8_error().valid_up_to();
                // Only shown in a message; replacing the bad bytes keeps what is before them in place.
                let source = String::from_utf8_lossy(error.as_bytes()).into_owned();
                let mut file = File::parse_limited(path, String::new(), 0);
                let span = Span::new(start, start + char::REPLACEMENT_CHARACTER.len_utf8());
                file.source = source;
                let error =
                    SyntaxError::new(Class::BadLine, span, "the file is not UTF-8 from here on");
                file.errors.push(error.help("save the file in UTF-8"));
                file
            }
        }
    }

    pub(crate) fn parse_limited(path: PathBuf, source: String, max_errors: usize) -> File {
        let mut parser = Parser {
            source: &source,
            // Pages that are not used cost nothing, and growing would copy all.
            definitions: IndexVec::with_capacity(source.len() / 48 + 4),
            collects: IndexVec::new(),
            sections: IndexVec::new(),
            conditions: IndexVec::new(),
            errors: Vec::new(),
            more_errors: 0,
            max_errors,
            section: None,
            condition: None,
            lax: 0,
        };
        parser.run();
        let Parser {
            mut definitions,
            collects,
            sections,
            conditions,
            errors,
            more_errors,
            ..
        } = parser;
        definitions.shrink_to_fit();
        File {
            path,
            source,
            definitions,
            collects,
            sections,
            conditions,
            errors,
            more_errors,
            line_starts: OnceLock::new(),
            origin: None,
        }
    }

    /// Makes the file that stands for the command line (L56, L58).
    ///
    /// Each definition is a name, a value and the section that `$[]` means in the value.
    pub(crate) fn command_line(path: PathBuf, given: &[(&str, &str, Option<&str>)]) -> File {
        let mut file = File::parse_limited(path, String::new(), 0);
        for (name, value, _) in given {
            file.source.push_str(name);
            file.source.push_str(": ");
            file.source.push_str(value);
            file.source.push('\n');
        }
        let mut at = 0;
        for (name, value, section) in given {
            let own = Span::new(at, at + name.len());
            let text = Span::new(own.end as usize + 2, own.end as usize + 2 + value.len());
            at = text.end as usize + 1;
            if !is_valid_name(name) {
                let message = format!("`{name}` cannot be the name of an element");
                let error = SyntaxError::new(Class::BadLine, own, message);
                file.errors.push(
                    error.help("a name has no whitespace, `[`, `]` or `:` and does not end in `?`"),
                );
                continue;
            }
            let (kind, span) = match line_value(&file.source, text) {
                Ok(found) => found,
                Err(error) => {
                    file.errors.push(error);
                    continue;
                }
            };
            let section = section.map(|section| {
                let start = file.source.len();
                file.source.push_str(section);
                file.sections.push(Section {
                    name: Span::new(start, file.source.len()),
                })
            });
            let flags = kind as u8 | ABSOLUTE;
            let hash = hash_name(name);
            file.definitions.push(Definition {
                hash,
                name: own,
                value: span,
                section,
                condition: None,
                flags,
            });
        }
        file
    }
}

/// Tells a text from the name of a file that has the text (L38).
#[inline]
fn line_value(source: &str, value: Span) -> Result<(Kind, Span), SyntaxError> {
    let text = trim(source, value);
    let bytes = &source.as_bytes()[text.start as usize..text.end as usize];
    if !bytes.starts_with(b"<<") || bytes.get(2).is_some_and(|byte| !is_space(*byte)) {
        return Ok((Kind::Line, value));
    }
    file_value(source, text)
}

/// Takes the path out of `<< path`; few values are of this kind.
#[cold]
fn file_value(source: &str, text: Span) -> Result<(Kind, Span), SyntaxError> {
    let rest = trim(
        source,
        Span {
            start: text.start + 2,
            end: text.end,
        },
    );
    let words = words(source, rest);
    match words.as_slice() {
        [path] => Ok((Kind::FileValue, *path)),
        [] => Err(
            SyntaxError::new(Class::BadLine, text, "`<<` without the path of a file")
                .help("write `name: << path`"),
        ),
        _ => Err(
            SyntaxError::new(Class::BadLine, rest, "more than one word after `<<`")
                .help("a path with blanks must come from an element: `<< $[name]`"),
        ),
    }
}

impl Parser<'_> {
    fn error(&mut self, error: SyntaxError) {
        if self.errors.len() < self.max_errors {
            self.errors.push(error);
        } else {
            self.more_errors += 1;
        }
    }

    fn run(&mut self) {
        let source = self.source;
        let mut lines = Lines::new(source);
        while let Some(line) = lines.next() {
            match line.kind {
                LineKind::Element { name, value } => match line_value(source, value) {
                    Ok((kind, span)) => self.define(name, span, kind, 0),
                    Err(error) => self.error(error),
                },
                LineKind::Open { name, bracket } => self.block(&mut lines, name, bracket),
                LineKind::Annotation(text) => match Annotation::parse(source, text) {
                    Ok(annotation) => self.annotate(annotation, text),
                    Err(error) => self.error(error),
                },
                LineKind::Bad { text, opens } => {
                    self.bad_line(text, opens);
                    if opens {
                        lines.skip_block(|_| {});
                    }
                }
                // Blocks are read above, together with the line that opens them.
                LineKind::Blank | LineKind::Text | LineKind::Close => {}
            }
        }
    }

    fn block(&mut self, lines: &mut Lines<'_>, name: Span, bracket: Span) {
        let start = lines.offset();
        let source = self.source;
        let mut flags = 0;
        let close = lines.skip_block(|line| {
            let bytes = &source.as_bytes()[line.start as usize..line.end as usize];
            // Few lines have a `<` in front, so the word is looked at only then.
            if let Some(first) = bytes.iter().position(|byte| !is_space(*byte))
                && bytes[first] == b'<'
                && is_python(&bytes[first..])
            {
                flags = PYTHON;
            }
        });
        let end = match close {
            Some(close) => close.start as usize,
            None => {
                let mut error =
                    SyntaxError::new(Class::Unterminated, bracket, "this block is never closed")
                        .help("close it with a line that is only `]`");
                error.other = Some((
                    Span::new(source.len(), source.len()),
                    "the file ends inside the block",
                ));
                self.error(error);
                source.len()
            }
        };
        self.define(name, Span::new(start, end), Kind::Block, flags);
    }

    #[inline]
    fn define(&mut self, name: Span, value: Span, kind: Kind, flags: u8) {
        let section = self
            .section
            .map(|section| self.sections[section].name.of(self.source));
        if name.is_empty() && section.is_none() {
            let colon = Span {
                start: name.start,
                end: name.start + 1,
            };
            let error = SyntaxError::new(
                Class::NoSection,
                colon,
                "an element without a name outside a section",
            );
            self.error(error.help("open a section first, or write a name before the colon"));
            return;
        }
        let hash = FullName {
            section,
            own: name.of(self.source),
        }
        .hash();
        self.definitions.push(Definition {
            hash,
            name,
            value,
            section: self.section,
            condition: self.condition,
            flags: kind as u8 | flags | self.lax,
        });
    }

    fn annotate(&mut self, annotation: Annotation, line: Span) {
        match annotation {
            Annotation::Section { name, when } => {
                self.section = Some(self.sections.push(Section { name }));
                self.condition = None;
                self.when(when);
            }
            Annotation::Option(lax) => self.lax = if lax { LAX } else { 0 },
            Annotation::When(when) => {
                self.condition = None;
                self.when(when);
            }
            Annotation::Collect { path, when } => {
                let outer = self.condition;
                if let (Some(words), Some(outer)) = (&when, outer) {
                    let span = Span {
                        start: words[0].start,
                        end: words[words.len() - 1].end,
                    };
                    let message = "a condition on a collect that already stands under one";
                    let mut error = SyntaxError::new(Class::BadAnnotation, span, message);
                    error.other =
                        Some((self.conditions[outer].span, "the condition it stands under"));
                    self.error(error.help("end the other condition with `[when *]`"));
                    return;
                }
                self.when(when);
                let condition = std::mem::replace(&mut self.condition, outer);
                self.collects.push(Collect {
                    span: line,
                    path,
                    section: self.section,
                    condition,
                });
            }
        }
    }

    /// Puts a condition in force, if one is given.
    fn when(&mut self, words: Option<Vec<Span>>) {
        let Some(words) = words else { return };
        let span = Span {
            start: words[0].start,
            end: words[words.len() - 1].end,
        };
        let element = words[0];
        let words = words.get(2..).unwrap_or_default().to_vec();
        let hash = self.condition_hash(element, &words);
        self.condition = Some(self.conditions.push(Condition {
            element,
            words,
            span,
            hash,
        }));
    }

    /// Equal for conditions that cannot differ: words count as a set.
    fn condition_hash(&self, element: Span, words: &[Span]) -> u64 {
        let mut texts: Vec<&str> = words.iter().map(|word| word.of(self.source)).collect();
        texts.sort_unstable();
        texts.dedup();
        static KEY: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);
        KEY.hash_one((element.of(self.source), texts))
    }

    fn bad_line(&mut self, text: Span, opens: bool) {
        let source = self.source;
        let content = text.of(source);
        let word = content.split([' ', '\t']).next().unwrap_or(content);
        let name = Span {
            start: text.start,
            end: text.start + narrow(word.len()),
        };
        let bad = |span, message: String| SyntaxError::new(Class::BadLine, span, message);
        let error = if let Some(own) = word.strip_suffix(':') {
            bad(name, format!("`{own}` cannot be the name of an element"))
                .help("a name has no `[`, `]` or `:` and does not end in `?`")
        } else if content == "]" {
            bad(text, "`]` outside a block".to_owned()).help("a block is opened by `name: [`")
        } else if text.start == 0 && content.starts_with('\u{feff}') {
            let span = Span {
                start: 0,
                end: narrow('\u{feff}'.len_utf8()),
            };
            bad(span, "the file starts with a byte order mark".to_owned())
                .help("save the file without it")
        } else if opens {
            bad(name, "neither element nor annotation".to_owned())
                .help(format!("a colon is missing: `{word}: [`"))
        } else if let Some((first, rest)) = word.split_once(':') {
            bad(name, "neither element nor annotation".to_owned()).help(format!(
                "whitespace must follow the colon: `{first}: {rest}`"
            ))
        } else {
            let rest = content[word.len()..].trim_start();
            let fixed = if rest.is_empty() {
                format!("{word}:")
            } else if rest.starts_with([':', '=']) {
                format!("{word}: {}", rest[1..].trim_start())
            } else {
                format!("{word}: {rest}")
            };
            let fixed: String = fixed.chars().take(60).collect();
            let span = if rest.is_empty() { name } else { text };
            bad(span, "neither element nor annotation".to_owned())
                .help(format!("a colon is missing: `{fixed}`"))
        };
        self.error(error);
    }
}

fn is_python(line: &[u8]) -> bool {
    const WORD: &[u8] = b"<?python";
    line.starts_with(WORD) && line.get(WORD.len()).is_none_or(|byte| is_space(*byte))
}
