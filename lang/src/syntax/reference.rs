//! References and inclusions in a text (L14-L34).

use memchr::memchr;

use super::lines::trim;
use crate::span::{Span, narrow};

/// A piece of a text with references.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text that stands for itself.
    Text(Span),
    /// `$[` up to the next `]`.
    Reference(Reference),
    /// `$[` without a `]` after it, up to the end.
    Unterminated(Span),
}

/// A reference as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// From the `$` to the `]`.
    pub span: Span,
    /// What lies between the brackets.
    pub inner: Span,
}

/// How a reference or an inclusion is to be taken (L22, L24, L25).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Modifier {
    /// No modifier.
    Plain,
    /// `:zap`
    Zap,
    /// `:lax`
    Lax,
    /// `?`
    Question,
}

/// The element that a reference names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Whether the section in force stands before the name (L15).
    pub relative: bool,
    /// The name as written; empty for the section itself.
    pub name: Span,
}

impl Reference {
    /// Takes the reference apart. The error is the span of what is not a modifier.
    #[inline]
    pub fn parse(&self, source: &str) -> Result<(Target, Modifier), Span> {
        let inner = self.inner;
        let bytes = source.as_bytes();
        let leading = !inner.is_empty() && bytes[inner.start as usize] == b':';
        let start = inner.start + u32::from(leading);
        let rest = &bytes[start as usize..inner.end as usize];
        let (mut name, modifiers) = match memchr(b':', rest) {
            None => (
                Span {
                    start,
                    end: inner.end,
                },
                None,
            ),
            Some(at) => {
                let colon = start + narrow(at);
                (
                    Span { start, end: colon },
                    Some(Span {
                        start: colon,
                        end: inner.end,
                    }),
                )
            }
        };
        let question = !name.is_empty() && bytes[name.end as usize - 1] == b'?';
        let modifier = match modifiers {
            None if question => {
                name.end -= 1;
                if !name.is_empty() && bytes[name.end as usize - 1] == b'?' {
                    return Err(Span {
                        start: name.end - 1,
                        end: inner.end,
                    });
                }
                Modifier::Question
            }
            None => Modifier::Plain,
            Some(span) if question => {
                return Err(Span {
                    start: name.end - 1,
                    end: span.end,
                });
            }
            Some(span) => match &bytes[span.start as usize..span.end as usize] {
                b":zap" => Modifier::Zap,
                b":lax" => Modifier::Lax,
                _ => return Err(span),
            },
        };
        Ok((
            Target {
                relative: leading || name.is_empty(),
                name,
            },
            modifier,
        ))
    }
}

/// Cuts a text into parts, from left to right.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    source: &'a str,
    /// What has not been cut yet.
    pub rest: Span,
}

impl<'a> Parts<'a> {
    /// Starts at the front of a span.
    pub fn new(source: &'a str, span: Span) -> Self {
        Parts { source, rest: span }
    }
}

impl Iterator for Parts<'_> {
    type Item = Part;

    #[inline]
    fn next(&mut self) -> Option<Part> {
        if self.rest.is_empty() {
            return None;
        }
        let start = self.rest.start as usize;
        let bytes = &self.source.as_bytes()[start..self.rest.end as usize];
        let mut from = 0;
        let dollar = loop {
            match memchr(b'$', &bytes[from..]) {
                None => break bytes.len(),
                Some(found) => {
                    let at = from + found;
                    if bytes.get(at + 1) != Some(&b'[') {
                        from = at + 1;
                    } else if bytes.get(at + 2) == Some(&b'[') {
                        from = at + 3;
                    } else {
                        break at;
                    }
                }
            }
        };
        if dollar > 0 {
            self.rest.start += narrow(dollar);
            return Some(Part::Text(Span::new(start, start + dollar)));
        }
        match memchr(b']', bytes) {
            None => {
                let span = self.rest;
                self.rest.start = span.end;
                Some(Part::Unterminated(span))
            }
            Some(close) => {
                self.rest.start += narrow(close) + 1;
                Some(Part::Reference(Reference {
                    span: Span::new(start, start + close + 1),
                    inner: Span::new(start + 2, start + close),
                }))
            }
        }
    }
}

/// An inclusion `$[[name]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inclusion {
    /// From the `$` to the last bracket.
    pub span: Span,
    /// The name; may contain references.
    pub target: Target,
    /// Whether it is `:lax`; the error is the span of what is not a modifier.
    pub lax: Result<bool, Span>,
}

/// Reads a line of a block as an inclusion, if it is one (L31).
#[inline]
pub fn inclusion(source: &str, line: Span) -> Option<Inclusion> {
    let bytes = source.as_bytes();
    let mut start = line.start as usize;
    while start < line.end as usize && super::lines::is_space(bytes[start]) {
        start += 1;
    }
    if !bytes[start..line.end as usize].starts_with(b"$[[") {
        return None;
    }
    let span = trim(source, line);
    if span.len() < 5 || !span.of(source).ends_with("]]") {
        return None;
    }
    let content = Span {
        start: span.start + 3,
        end: span.end - 2,
    };
    let leading = bytes[content.start as usize] == b':' && !content.is_empty();
    let mut name = Span {
        start: content.start + u32::from(leading),
        end: content.end,
    };
    let mut modifiers = None;
    let mut ends_in_text = false;
    for part in Parts::new(source, name) {
        ends_in_text = false;
        if let Part::Text(text) = part {
            if let Some(at) = memchr(b':', text.of(source).as_bytes()) {
                let colon = text.start + narrow(at);
                modifiers = Some(Span {
                    start: colon,
                    end: content.end,
                });
                name.end = colon;
                ends_in_text = at > 0;
                break;
            }
            ends_in_text = true;
        }
    }
    let question = ends_in_text && bytes[name.end as usize - 1] == b'?';
    let lax = match modifiers {
        _ if question => Err(Span {
            start: name.end - 1,
            end: content.end,
        }),
        None => Ok(false),
        Some(at) if at.of(source) == ":lax" => Ok(true),
        Some(at) => Err(at),
    };
    Some(Inclusion {
        span,
        target: Target {
            relative: leading || name.is_empty(),
            name,
        },
        lax,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Result<(bool, &str, Modifier), &str> {
        let span = Span::new(0, text.len());
        let Some(Part::Reference(reference)) = Parts::new(text, span).next() else {
            panic!("no reference in {text}");
        };
        match reference.parse(text) {
            Ok((target, modifier)) => Ok((target.relative, target.name.of(text), modifier)),
            Err(span) => Err(span.of(text)),
        }
    }

    #[test]
    fn references_are_taken_apart() {
        use Modifier::*;
        for (text, want) in [
            ("$[a]", Ok((false, "a", Plain))),
            ("$[]", Ok((true, "", Plain))),
            ("$[:]", Ok((true, "", Plain))),
            ("$[:x]", Ok((true, "x", Plain))),
            ("$[:zap]", Ok((true, "zap", Plain))),
            ("$[:x:zap]", Ok((true, "x", Zap))),
            ("$[::zap]", Ok((true, "", Zap))),
            ("$[::lax]", Ok((true, "", Lax))),
            ("$[:?]", Ok((true, "", Question))),
            ("$[a?]", Ok((false, "a", Question))),
            ("$[:a?]", Ok((true, "a", Question))),
            ("$[ a ]", Ok((false, " a ", Plain))),
            ("$[a/$[n]]", Ok((false, "a/$[n", Plain))),
            ("$[a:]", Err(":")),
            ("$[::]", Err(":")),
            ("$[a:trim]", Err(":trim")),
            ("$[a:zap:lax]", Err(":zap:lax")),
            ("$[a?:zap]", Err("?:zap")),
            ("$[a:zap?]", Err(":zap?")),
            ("$[a??]", Err("??")),
        ] {
            assert_eq!(reference(text), want, "{text}");
        }
    }

    #[test]
    fn texts_are_cut_at_references() {
        let text = "a$[b]$[[c]$ [d] $$[e]]$[f";
        let parts: Vec<_> = Parts::new(text, Span::new(0, text.len()))
            .map(|part| match part {
                Part::Text(span) => ("text", span.of(text)),
                Part::Reference(reference) => ("ref", reference.span.of(text)),
                Part::Unterminated(span) => ("open", span.of(text)),
            })
            .collect();
        let want = [
            ("text", "a"),
            ("ref", "$[b]"),
            ("text", "$[[c]$ [d] $"),
            ("ref", "$[e]"),
            ("text", "]"),
            ("open", "$[f"),
        ];
        assert_eq!(parts, want);
    }

    #[test]
    fn inclusions_are_taken_apart() {
        for (text, want) in [
            (" $[[a]]\t", Some((false, "a", Ok(false)))),
            ("$[[]]", Some((true, "", Ok(false)))),
            ("$[[:a:lax]]", Some((true, "a", Ok(true)))),
            ("$[[::lax]]", Some((true, "", Ok(true)))),
            ("$[[x/$[k:zap]]]", Some((false, "x/$[k:zap]", Ok(false)))),
            ("$[[x/$[k:zap]:lax]]", Some((false, "x/$[k:zap]", Ok(true)))),
            ("$[[b]] $[[b]]", Some((false, "b]] $[[b", Ok(false)))),
            ("$[[ b ]]", Some((false, " b ", Ok(false)))),
            ("$[[b?]]", Some((false, "b?", Err("?")))),
            ("$[[$[b?]]]", Some((false, "$[b?]", Ok(false)))),
            ("$[[b:lax:lax]]", Some((false, "b", Err(":lax:lax")))),
            ("$[[b:zap]]", Some((false, "b", Err(":zap")))),
            ("$[[b:]]", Some((false, "b", Err(":")))),
            ("# $[[a]]", None),
            ("$[[a]] x", None),
            ("$[[a]", None),
            ("$[[]", None),
        ] {
            let got = inclusion(text, Span::new(0, text.len())).map(|found| {
                let lax = found.lax.map_err(|span| span.of(text));
                (found.target.relative, found.target.name.of(text), lax)
            });
            assert_eq!(got, want, "{text}");
        }
    }
}
