//! Annotations: lines from `[` to `]`, read as words (L41-L44, L52, L55).

use super::error::SyntaxError;
use super::lines::is_space;
use super::name::is_valid_name;
use crate::class::Class;
use crate::span::{Span, narrow};

/// What an annotation asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    /// `[section name]`, `[section name when c]`
    Section {
        /// The name.
        name: Span,
        /// The words of the condition.
        when: Option<Vec<Span>>,
    },
    /// `[option parse/lax]` (true) or `[option parse/strict]`
    Option(bool),
    /// `[when c]`; none for `[when *]`
    When(Option<Vec<Span>>),
    /// `[collect path]`, `[collect path when c]`
    Collect {
        /// The path as written.
        path: Span,
        /// The words of the condition.
        when: Option<Vec<Span>>,
    },
}

/// The words of a span.
pub fn words(source: &str, span: Span) -> Vec<Span> {
    let bytes = source.as_bytes();
    let mut words = Vec::new();
    let (mut at, end) = (span.start as usize, span.end as usize);
    while at < end {
        let start = at;
        while at < end && !is_space(bytes[at]) {
            at += 1;
        }
        if at > start {
            words.push(Span::new(start, at));
        }
        at += 1;
    }
    words
}

fn bad(span: Span, message: impl Into<String>, help: impl Into<String>) -> SyntaxError {
    SyntaxError::new(Class::BadAnnotation, span, message).help(help)
}

impl Annotation {
    /// Reads a trimmed line that starts with `[`.
    pub fn parse(source: &str, line: Span) -> Result<Annotation, SyntaxError> {
        let text = line.of(source);
        if text.len() < 2 || !text.ends_with(']') {
            return Err(match text.rfind(']') {
                Some(at) => {
                    let rest = Span {
                        start: line.start + narrow(at) + 1,
                        end: line.end,
                    };
                    let rest = super::lines::trim(source, rest);
                    bad(
                        rest,
                        "text after an annotation",
                        "start a comment with `#`, or put this on a line of its own",
                    )
                }
                None => bad(line, "annotation without its `]`", "end the line with `]`"),
            });
        }
        let words = words(
            source,
            Span {
                start: line.start + 1,
                end: line.end - 1,
            },
        );
        let Some((first, rest)) = words.split_first() else {
            return Err(bad(
                line,
                "empty annotation",
                "write `[section ...]`, `[when ...]`, `[collect ...]` or `[option ...]`",
            ));
        };
        match first.of(source) {
            "section" => section(source, line, rest),
            "option" => option(source, line, rest),
            "when" => match rest {
                [star] if star.of(source) == "*" => Ok(Annotation::When(None)),
                rest => condition(source, line, rest).map(|when| Annotation::When(Some(when))),
            },
            "collect" => collect(source, line, rest),
            other => {
                let known = ["section", "option", "when", "collect"];
                let near = crate::nearest::nearest(other, known);
                let help = match near {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => {
                        "the annotations are `section`, `option`, `when` and `collect`".to_owned()
                    }
                };
                Err(bad(*first, format!("unknown annotation `{other}`"), help))
            }
        }
    }
}

/// Cuts `when c` off the words behind a name or path.
fn tail(
    source: &str,
    line: Span,
    rest: &[Span],
    what: &str,
) -> Result<Option<Vec<Span>>, SyntaxError> {
    match rest {
        [] => Ok(None),
        [when, words @ ..] if when.of(source) == "when" => condition(source, line, words).map(Some),
        [surplus, ..] => {
            let span = Span {
                start: surplus.start,
                end: rest[rest.len() - 1].end,
            };
            Err(bad(
                span,
                format!("surplus words after {what}"),
                "only a condition, `when ...`, may follow",
            ))
        }
    }
}

fn section(source: &str, line: Span, rest: &[Span]) -> Result<Annotation, SyntaxError> {
    let Some((name, rest)) = rest.split_first() else {
        return Err(bad(
            line,
            "section without a name",
            "write `[section name]`",
        ));
    };
    let when = match rest {
        [when, star] if when.of(source) == "when" && star.of(source) == "*" => None,
        rest => tail(source, line, rest, "the name of a section")?,
    };
    if !is_valid_name(name.of(source)) {
        return Err(SyntaxError::new(
            Class::BadLine,
            *name,
            format!("`{}` cannot be the name of a section", name.of(source)),
        )
        .help("a name has no `[`, `]` or `:` and does not end in `?`"));
    }
    Ok(Annotation::Section { name: *name, when })
}

fn option(source: &str, line: Span, rest: &[Span]) -> Result<Annotation, SyntaxError> {
    const HELP: &str = "the options are `parse/lax` and `parse/strict`";
    match rest {
        [] => Err(bad(line, "option without a name", HELP)),
        [name] => match name.of(source) {
            "parse/lax" => Ok(Annotation::Option(true)),
            "parse/strict" => Ok(Annotation::Option(false)),
            other => Err(bad(*name, format!("unknown option `{other}`"), HELP)),
        },
        [_, surplus, ..] => Err(bad(
            *surplus,
            "an annotation sets one option",
            "write two annotations",
        )),
    }
}

fn collect(source: &str, line: Span, rest: &[Span]) -> Result<Annotation, SyntaxError> {
    let Some((path, rest)) = rest.split_first() else {
        return Err(bad(
            line,
            "collect without a path",
            "write `[collect path]`",
        ));
    };
    let when = tail(source, line, rest, "the path of a collect")?;
    Ok(Annotation::Collect { path: *path, when })
}

fn condition(source: &str, line: Span, words: &[Span]) -> Result<Vec<Span>, SyntaxError> {
    const HELP: &str = "a condition is `name`, `name is value...` or `name in value...`";
    match words {
        [] => Err(bad(line, "condition missing after `when`", HELP)),
        [name] if name.of(source) == "*" => Err(bad(
            *name,
            "`*` is not a condition here",
            "leave the condition out, or name an element",
        )),
        [_] => Ok(words.to_vec()),
        [_, is, rest @ ..] if matches!(is.of(source), "is" | "in") => {
            if rest.is_empty() {
                Err(bad(
                    *is,
                    format!("no value after `{}`", is.of(source)),
                    HELP,
                ))
            } else {
                Ok(words.to_vec())
            }
        }
        [_, other, ..] => Err(bad(
            *other,
            format!("`{}` is not a test", other.of(source)),
            HELP,
        )),
    }
}
