//! From text to definitions, rule by rule (L1-L13, L28, L38, L41-L46, L55).

use std::collections::BTreeSet;

use super::{Class, trim};

#[derive(Debug)]
pub enum Body {
    Line(String),
    /// The path of a file.
    File(String),
    Block(Vec<String>),
}

#[derive(Clone, Debug)]
pub struct Condition {
    pub element: String,
    pub words: Vec<String>,
}

impl Condition {
    /// Whether both always hold together as they are written: words are a set.
    pub fn same(&self, other: &Condition) -> bool {
        let set = |words: &[String]| words.iter().cloned().collect::<BTreeSet<_>>();
        self.element == other.element && set(&self.words) == set(&other.words)
    }
}

#[derive(Debug)]
pub struct Definition {
    pub name: String,
    pub section: Option<String>,
    pub when: Option<Condition>,
    pub lax: bool,
    pub body: Body,
}

#[derive(Debug)]
pub struct Collect {
    pub path: String,
    pub section: Option<String>,
    pub when: Option<Condition>,
}

#[derive(Debug, Default)]
pub struct File {
    pub definitions: Vec<Definition>,
    pub collects: Vec<Collect>,
}

/// Which of two classes is named when there is one too many: the one that L61 has first.
pub fn first_class(one: Class, other: Class) -> Class {
    const ORDER: [Class; 13] = [
        "bad-line",
        "bad-annotation",
        "duplicate",
        "bad-collect",
        "unterminated",
        "no-section",
        "undefined",
        "circular",
        "bad-modifier",
        "cannot-open",
        "conflict",
        "wrong-kind",
        "embedded-code",
    ];
    let place = |class: Class| ORDER.iter().position(|other| *other == class);
    if place(one) <= place(other) {
        one
    } else {
        other
    }
}

/// The lines of a text, without what ends them (L1).
pub fn lines(text: &str) -> Vec<&str> {
    let text = match text.strip_suffix('\n') {
        Some(rest) => rest.strip_suffix('\r').unwrap_or(rest),
        None => text,
    };
    let mut lines: Vec<&str> = text.split('\n').collect();
    let last = lines.len() - 1;
    for line in &mut lines[..last] {
        *line = line.strip_suffix('\r').unwrap_or(line);
    }
    lines
}

/// L5.
pub fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('#')
        && !name.ends_with('?')
        && !name.contains([' ', '\t', '[', ']', ':', '\n'])
}

fn words(text: &str) -> Vec<&str> {
    text.split([' ', '\t'])
        .filter(|word| !word.is_empty())
        .collect()
}

/// L38.
pub fn line_body(value: &str) -> Result<Body, Class> {
    match words(value).as_slice() {
        ["<<", path] => Ok(Body::File((*path).to_owned())),
        ["<<", ..] => Err("bad-line"),
        _ => Ok(Body::Line(value.to_owned())),
    }
}

/// The line without its comment, trimmed (L2, L3).
fn content(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && (before == ' ' || before == '\t') {
            return trim(&line[..at]);
        }
        before = c;
    }
    trim(line)
}

/// The name of an inclusion and what follows its first colon outside of references (L32, L34).
pub fn split_inclusion(inner: &str) -> (&str, Option<&str>) {
    let bytes = inner.as_bytes();
    let mut at = 0;
    let mut text_before = false;
    while at < bytes.len() {
        if inner[at..].starts_with("$[[") {
            at += 3;
            text_before = true;
        } else if inner[at..].starts_with("$[") {
            match inner[at..].find(']') {
                Some(end) => at += end + 1,
                None => at = bytes.len(),
            }
            text_before = false;
        } else if bytes[at] == b':' {
            if text_before && bytes[at - 1] == b'?' {
                return (&inner[..at - 1], Some(&inner[at - 1..]));
            }
            return (&inner[..at], Some(&inner[at..]));
        } else {
            text_before = true;
            at += inner[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    if text_before && inner.ends_with('?') {
        return (&inner[..inner.len() - 1], Some("?"));
    }
    (inner, None)
}

fn condition(words: &[&str]) -> Result<Condition, Class> {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    match words {
        ["*"] | [] => Err("bad-annotation"),
        [element] => Ok(Condition {
            element: (*element).to_owned(),
            words: Vec::new(),
        }),
        [element, "is" | "in", values @ ..] if !values.is_empty() => Ok(Condition {
            element: (*element).to_owned(),
            words: owned(values),
        }),
        _ => Err("bad-annotation"),
    }
}

/// What is in force at a line.
#[derive(Default)]
struct State {
    section: Option<String>,
    when: Option<Condition>,
    lax: bool,
}

pub fn parse(text: &str, errors: &mut BTreeSet<Class>) -> File {
    let mut file = File::default();
    let mut state = State::default();
    let mut lines = match text.is_empty() {
        true => Vec::new(),
        false => lines(text),
    }
    .into_iter();
    while let Some(line) = lines.next() {
        let line = content(line);
        if line.is_empty() {
            continue;
        }
        let result = if line.starts_with('[') {
            annotation(line, &mut state, &mut file)
        } else {
            element(line, &mut lines, &state, &mut file, errors)
        };
        if let Err(class) = result {
            errors.insert(class);
        }
    }
    file
}

fn element<'a>(
    line: &str,
    lines: &mut impl Iterator<Item = &'a str>,
    state: &State,
    file: &mut File,
    errors: &mut BTreeSet<Class>,
) -> Result<(), Class> {
    let end = line.find([' ', '\t']).unwrap_or(line.len());
    let (word, value) = (&line[..end], trim(&line[end..]));
    let own = word
        .strip_suffix(':')
        .filter(|own| own.is_empty() || is_name(own));
    let mut body = Ok(Body::Line(String::new()));
    if value == "[" || (own.is_none() && (value.ends_with(" [") || value.ends_with("\t["))) {
        let mut block = Vec::new();
        let mut closed = false;
        for line in lines {
            if trim(line) == "]" {
                closed = true;
                break;
            }
            block.push(line.to_owned());
        }
        // One that is never closed is a definition nevertheless.
        if !closed {
            errors.insert("unterminated");
        }
        body = Ok(Body::Block(block));
    } else if own.is_some() {
        body = line_body(value);
    }
    // Two mistakes in one line are two errors.
    let body = body.map_err(|class| errors.insert(class)).ok();
    let own = own.ok_or("bad-line")?;
    let name = match &state.section {
        None if own.is_empty() => return Err("no-section"),
        None => own.to_owned(),
        Some(section) if own.is_empty() => section.clone(),
        Some(section) => format!("{section}/{own}"),
    };
    let Some(body) = body else {
        return Ok(());
    };
    let (section, when) = (state.section.clone(), state.when.clone());
    file.definitions.push(Definition {
        name,
        section,
        when,
        lax: state.lax,
        body,
    });
    Ok(())
}

fn annotation(line: &str, state: &mut State, file: &mut File) -> Result<(), Class> {
    let inner = match line
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        Some(inner) => inner,
        None => return Err("bad-annotation"),
    };
    match words(inner).as_slice() {
        ["section", name, rest @ ..] => {
            let when = match rest {
                [] | ["when", "*"] => None,
                ["when", words @ ..] => Some(condition(words)?),
                _ => return Err("bad-annotation"),
            };
            if !is_name(name) {
                return Err("bad-line");
            }
            state.section = Some((*name).to_owned());
            state.when = when;
        }
        ["option", "parse/lax"] => state.lax = true,
        ["option", "parse/strict"] => state.lax = false,
        ["when", "*"] => state.when = None,
        ["when", words @ ..] => state.when = Some(condition(words)?),
        ["collect", path, rest @ ..] => {
            let when = match (rest, &state.when) {
                ([], when) => when.clone(),
                (["when", words @ ..], None) => Some(condition(words)?),
                _ => return Err("bad-annotation"),
            };
            let section = state.section.clone();
            file.collects.push(Collect {
                path: (*path).to_owned(),
                section,
                when,
            });
        }
        _ => return Err("bad-annotation"),
    }
    Ok(())
}
