//! Names of elements: which there can be, and how two spellings of one are compared.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;

use bumpalo::Bump;
use hashbrown::DefaultHashBuilder;

/// Whether an element could have this name (L5).
#[inline]
pub fn is_valid_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    // A line feed cannot be in a name that was read from a file, but in one from the command line.
    *first != b'#'
        && *last != b'?'
        && !bytes
            .iter()
            .any(|byte| matches!(byte, b' ' | b'\t' | b'[' | b']' | b':' | b'\n'))
}

/// The name of an element, in the two parts it is written in.
#[derive(Clone, Copy, Debug)]
pub struct FullName<'a> {
    /// The section, if the definition stands in one.
    pub section: Option<&'a str>,
    /// The rest; empty for the element named by the section itself.
    pub own: &'a str,
}

impl FullName<'_> {
    /// The whole name.
    pub fn join(&self) -> String {
        let section = self.section.unwrap_or_default();
        let slash = if self.section.is_some() && !self.own.is_empty() {
            "/"
        } else {
            ""
        };
        [section, slash, self.own].concat()
    }

    /// The whole name, in scratch memory that goes all at once.
    pub(crate) fn join_in<'b>(&self, scratch: &'b Bump) -> &'b str {
        let Some(section) = self.section else {
            return scratch.alloc_str(self.own);
        };
        let mut name = bumpalo::collections::String::with_capacity_in(
            section.len() + 1 + self.own.len(),
            scratch,
        );
        name.push_str(section);
        if !self.own.is_empty() {
            name.push('/');
            name.push_str(self.own);
        }
        name.into_bump_str()
    }

    fn bytes(&self) -> impl Iterator<Item = u8> + '_ {
        let section = self.section.unwrap_or_default();
        let slash = if self.section.is_some() && !self.own.is_empty() {
            "/"
        } else {
            ""
        };
        section.bytes().chain(slash.bytes()).chain(self.own.bytes())
    }

    /// Whether this is the name.
    #[inline]
    pub fn is(&self, name: &str) -> bool {
        match self.section {
            None => self.own == name,
            Some(section) if self.own.is_empty() => section == name,
            Some(section) => {
                name.len() == section.len() + 1 + self.own.len()
                    && name.as_bytes()[section.len()] == b'/'
                    && name.starts_with(section)
                    && name.ends_with(self.own)
            }
        }
    }

    /// Whether both spell the same name.
    #[inline]
    pub fn same(&self, other: &FullName<'_>) -> bool {
        if self.section == other.section {
            return self.own == other.own;
        }
        self.bytes().eq(other.bytes())
    }

    /// Compares as text.
    pub fn order(&self, other: &FullName<'_>) -> Ordering {
        self.bytes().cmp(other.bytes())
    }

    #[inline]
    pub(crate) fn hash(&self) -> u32 {
        let Some(section) = self.section else {
            return hash_name(self.own);
        };
        if self.own.is_empty() {
            return hash_name(section);
        }
        let len = section.len() + 1 + self.own.len();
        let mut short = [0; 128];
        let mut long = Vec::new();
        let joined = if len <= short.len() {
            &mut short[..len]
        } else {
            long.resize(len, 0);
            &mut long[..]
        };
        joined[..section.len()].copy_from_slice(section.as_bytes());
        joined[section.len()] = b'/';
        joined[section.len() + 1..].copy_from_slice(self.own.as_bytes());
        hash_bytes(joined)
    }
}

impl fmt::Display for FullName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.section {
            None => f.write_str(self.own),
            Some(section) if self.own.is_empty() => f.write_str(section),
            Some(section) => write!(f, "{section}/{}", self.own),
        }
    }
}

/// The hash of a whole name; the same for every spelling of it.
#[inline]
pub(crate) fn hash_name(name: &str) -> u32 {
    hash_bytes(name.as_bytes())
}

#[inline]
fn hash_bytes(bytes: &[u8]) -> u32 {
    // Keyed anew in every process, so that nobody can write a file full of collisions.
    static KEY: LazyLock<DefaultHashBuilder> = LazyLock::new(DefaultHashBuilder::default);
    let mut hasher = KEY.build_hasher();
    hasher.write(bytes);
    let hash = hasher.finish();
    let folded = hash ^ (hash >> 32);
    // Half of the bits are meant to go.
    #[expect(clippy::cast_possible_truncation)]
    let short = folded as u32;
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_agree() {
        let whole = FullName {
            section: None,
            own: "a/b/c",
        };
        for (section, own) in [("a", "b/c"), ("a/b", "c"), ("a/b/c", "")] {
            let name = FullName {
                section: Some(section),
                own,
            };
            assert!(name.is("a/b/c") && name.same(&whole) && whole.same(&name));
            assert_eq!(name.hash(), whole.hash());
            assert_eq!(name.join(), "a/b/c");
        }
        let other = FullName {
            section: Some("a"),
            own: "bxc",
        };
        assert!(!other.is("a/b/c") && !other.same(&whole));
        assert_eq!(other.order(&whole), Ordering::Greater);
    }
}
