//! Renaming an element in every file, each mention in its own spelling.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Edit;
use super::document::Document;
use crate::mentions::{Mention, Role};
use crate::syntax::is_valid_name;

/// Why an element cannot be renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RenameError {
    /// There is no element at this place.
    NoElement,
    /// The new name is none (L5).
    BadName(String),
    /// The new name is in use.
    Taken {
        /// The new name.
        name: String,
        /// Where it is mentioned.
        path: PathBuf,
        /// Line of the mention, from 1.
        line: usize,
    },
    /// A definition stands in a section to which the new name does not belong.
    OtherSection {
        /// The section.
        section: String,
        /// The file.
        path: PathBuf,
        /// Line of the definition, from 1.
        line: usize,
    },
    /// The name is computed somewhere, and could come to be the old one.
    Computed {
        /// The text.
        text: String,
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
    },
    /// A definition lies in a file that cannot be edited.
    ReadOnly(PathBuf),
}

impl std::error::Error for RenameError {}

impl fmt::Display for RenameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RenameError::NoElement => f.write_str("there is no element here"),
            RenameError::BadName(name) => write!(
                f,
                "`{name}` cannot be the name of an element: a name has no whitespace, `[`, `]` or `:`, does not end \
                 in `?` and does not start with `#`"
            ),
            RenameError::Taken { name, path, line } => {
                write!(
                    f,
                    "`{name}` is in use already, at {}:{line}",
                    path.display()
                )
            }
            RenameError::OtherSection {
                section,
                path,
                line,
            } => write!(
                f,
                "the definition at {}:{line} stands in [section {section}], so that the new name must be \
                 `{section}` or begin with `{section}/`",
                path.display()
            ),
            RenameError::Computed { text, path, line } => {
                write!(
                    f,
                    "`{text}` at {}:{line} may name this element, too: change it first",
                    path.display()
                )
            }
            RenameError::ReadOnly(path) => write!(
                f,
                "it is also mentioned in {}, which is built in",
                path.display()
            ),
        }
    }
}

/// Works out the edits. The documents are all files in which the element could be mentioned.
pub(super) fn rename(
    documents: &[(PathBuf, Arc<Document>)],
    old: &str,
    new: &str,
    writable: impl Fn(&Path) -> bool,
) -> Result<BTreeMap<PathBuf, Vec<Edit>>, RenameError> {
    if !is_valid_name(new) || new.contains(['\r', '\u{0}']) {
        return Err(RenameError::BadName(new.to_owned()));
    }
    let mut edits: BTreeMap<PathBuf, Vec<Edit>> = BTreeMap::new();
    if old == new {
        return Ok(edits);
    }
    for (path, document) in documents {
        let file = document.file();
        let line = |mention: &Mention| file.line(mention.whole.start);
        for mention in document.mentions() {
            if mention.computed {
                if mention.could_be(file, old) {
                    let text = file.text(mention.whole).to_owned();
                    return Err(RenameError::Computed {
                        text,
                        path: path.clone(),
                        line: line(mention),
                    });
                }
                continue;
            }
            let Some(full) = mention.full(file) else {
                continue;
            };
            if full.is(new) {
                let path = path.clone();
                return Err(RenameError::Taken {
                    name: new.to_owned(),
                    path,
                    line: line(mention),
                });
            }
            if !full.is(old) {
                continue;
            }
            if !writable(path) {
                return Err(RenameError::ReadOnly(path.clone()));
            }
            let (span, text) = match respell(document, mention, new) {
                Ok(edit) => edit,
                Err(section) => {
                    let path = path.clone();
                    return Err(RenameError::OtherSection {
                        section: section.to_owned(),
                        path,
                        line: line(mention),
                    });
                }
            };
            let edit = Edit {
                range: document.range(span),
                text,
            };
            edits.entry(path.clone()).or_default().push(edit);
        }
    }
    Ok(edits)
}

/// The new spelling of a mention and where it goes; the error is the section that stands in the way.
fn respell<'a>(
    document: &'a Document,
    mention: &Mention,
    new: &str,
) -> Result<(crate::span::Span, String), &'a str> {
    let file = document.file();
    let section = mention
        .section
        .filter(|_| mention.relative)
        .map(|span| file.text(span));
    let Some(section) = section else {
        return Ok((mention.name, new.to_owned()));
    };
    let rest = new
        .strip_prefix(section)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let rest = rest.map(|rest| rest.strip_prefix('/').unwrap_or(rest));
    // `s/` would be spelled like `s`.
    let rest = rest.filter(|rest| !rest.is_empty() || new == section);
    if mention.role == Role::Definition {
        return match rest {
            Some(rest) => Ok((mention.name, rest.to_owned())),
            None => Err(section),
        };
    }
    // The colon of a relative spelling goes and comes with it; `$[]` has none.
    let mut span = mention.name;
    let colon = span.start > 0 && file.source().as_bytes()[span.start as usize - 1] == b':';
    if colon {
        span.start -= 1;
    }
    Ok((
        span,
        rest.map_or_else(|| new.to_owned(), |rest| format!(":{rest}")),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(files: &[&str], old: &str, new: &str) -> Result<Vec<String>, String> {
        let documents: Vec<(PathBuf, Arc<Document>)> = files
            .iter()
            .enumerate()
            .map(|(i, text)| {
                let path = PathBuf::from(format!("/{i}"));
                (
                    path.clone(),
                    Arc::new(Document::new(path, (*text).to_owned())),
                )
            })
            .collect();
        let edits = rename(&documents, old, new, |path| path != Path::new("/9"))
            .map_err(|error| error.to_string())?;
        Ok(documents
            .iter()
            .map(|(_, document)| {
                let mut text = document.text().to_owned();
                for edit in edits.get(document.path()).into_iter().flatten().rev() {
                    let (start, end) = (
                        document.offset(edit.range.start),
                        document.offset(edit.range.end),
                    );
                    text.replace_range(start as usize..end as usize, &edit.text);
                }
                text
            })
            .collect())
    }

    #[test]
    fn every_spelling_is_kept() {
        let main = "x: é $[s/a] $[s/a:zap]$[s/a?] $[s/ab]\n[when s/a is s/a]\n[section s]\na: 1\nb: $[:a]$[:a?]$[s/a]\n";
        let other = "[section s/t]\nc: [\n$[[s/a]]\n $[[ s/a ]]\n# $[s/a:lax]\n]\n[section s]\nd: [\n$[[:a:lax]]\n]\n";
        let want = [
            "x: é $[s/n] $[s/n:zap]$[s/n?] $[s/ab]\n[when s/n is s/a]\n[section s]\nn: 1\nb: $[:n]$[:n?]$[s/n]\n",
            "[section s/t]\nc: [\n$[[s/n]]\n $[[ s/a ]]\n# $[s/n:lax]\n]\n[section s]\nd: [\n$[[:n:lax]]\n]\n",
        ];
        assert_eq!(
            renamed(&[main, other], "s/a", "s/n").as_deref(),
            Ok(&want.map(str::to_owned)[..])
        );
        // References from a section to a name outside it become absolute.
        let got = renamed(
            &[
                "q: 1\n",
                "[section s]\nb: $[:a]$[:a:lax]$[:a?]\n",
                "s/a: 1\n",
            ],
            "s/a",
            "t/a",
        );
        let want = [
            "q: 1\n",
            "[section s]\nb: $[t/a]$[t/a:lax]$[t/a?]\n",
            "t/a: 1\n",
        ];
        assert_eq!(got.as_deref(), Ok(&want.map(str::to_owned)[..]));
    }

    #[test]
    fn the_section_itself_is_an_element() {
        let main = "[section s]\n: 1\nb: $[] $[:] $[::zap] $[s]\n";
        let want = "[section s]\nn: 1\nb: $[:n] $[:n] $[:n:zap] $[s/n]\n";
        assert_eq!(renamed(&[main], "s", "s/n"), Ok(vec![want.to_owned()]));
        let back = "[section s]\n: 1\nb: $[:] $[:] $[::zap] $[s]\n";
        assert_eq!(renamed(&[want], "s/n", "s"), Ok(vec![back.to_owned()]));
    }

    #[test]
    fn what_cannot_be_renamed_is_refused() {
        let error = |files: &[&str], new: &str| renamed(files, "s/a", new).expect_err("refused");
        assert!(error(&["s/a: 1\n"], "s a").contains("cannot be the name"));
        assert!(error(&["s/a: 1\n"], "").contains("cannot be the name"));
        assert!(error(&["s/a: 1\ns/b:\n"], "s/b").contains("in use already, at /0:2"));
        assert!(error(&["[section s]\na: 1\n"], "t/a").contains("[section s]"));
        assert!(
            error(&["s/a: 1\n", "b: [\n$[[s/$[k]]]\n]\n"], "s/n").contains("may name this element")
        );
        assert_eq!(
            renamed(&["s/a: 1\n"], "s/a", "s/a"),
            Ok(vec!["s/a: 1\n".to_owned()])
        );
    }
}
