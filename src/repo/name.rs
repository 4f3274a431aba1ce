//! Names of builds, arches and subarches, and the places in a mirror that they make.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;

/// A name that is one folder of a mirror: not empty, not hidden, without `/` and NUL. Everything else is
/// allowed, also blanks, quotes and line feeds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

/// Why a text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("a name is empty")]
    Empty,
    /// It begins with a dot.
    #[error("a name begins with a dot")]
    Hidden,
    /// It has a `/`, and could leave the mirror.
    #[error("a name has a /")]
    Slash,
    /// It has a NUL.
    #[error("a name has a NUL")]
    Nul,
    /// It is longer than names of files can be.
    #[error("a name is longer than 255 bytes")]
    Long,
}

impl Name {
    /// Checks a text.
    pub fn new(text: impl Into<String>) -> Result<Name, NameError> {
        let text = text.into();
        if text.is_empty() {
            Err(NameError::Empty)
        } else if text.starts_with('.') {
            Err(NameError::Hidden)
        } else if text.contains('/') {
            Err(NameError::Slash)
        } else if text.contains('\0') {
            Err(NameError::Nul)
        } else if text.len() > 255 {
            Err(NameError::Long)
        } else {
            Ok(Name(text))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<OsStr> for Name {
    fn as_ref(&self) -> &OsStr {
        self.0.as_ref()
    }
}

/// A subarch of an arch of a build.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The build.
    pub build: Name,
    /// The arch.
    pub arch: Name,
    /// The subarch.
    pub subarch: Name,
}

impl Place {
    /// The path in the mirror.
    pub fn relative(&self) -> PathBuf {
        [
            self.build.as_str(),
            self.arch.as_str(),
            self.subarch.as_str(),
        ]
        .iter()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_leave_or_hide_is_not_a_name() {
        for (text, why) in [
            ("", NameError::Empty),
            (".", NameError::Hidden),
            ("..", NameError::Hidden),
            (".x", NameError::Hidden),
            ("a/b", NameError::Slash),
            ("a\0", NameError::Nul),
        ] {
            assert_eq!(Name::new(text), Err(why), "{text:?}");
        }
        for text in ["a", "a b", "it's", "a\nb", "-rf", "a..", "$HOME"] {
            assert_eq!(Name::new(text).unwrap().as_str(), text);
        }
    }
}
