//! Pkgpaths: `CATEGORY/NAME[,FLAVOR...][,-SUBPACKAGE]`, the names of ports and of what they install.
//!
//! Text becomes a [`PkgPath`] here, at the door. A pkgpath without flavors (`editors/vim`) means the default flavor,
//! and one with an empty flavor (`editors/vim,`) none at all: these are two, and may be two builds.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Longest pkgpath, in bytes.
const MOST_BYTES: usize = 512;
/// Most flavors at once.
const MOST_FLAVORS: usize = 32;
/// The subpackage that every port has.
pub const MAIN: &str = "main";

/// Text that is not a pkgpath.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a pkgpath: {reason}")]
pub struct PkgPathError {
    /// The text, or its beginning.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl PkgPathError {
    fn new(text: &str, reason: impl Into<String>) -> Self {
        PkgPathError {
            text: text.chars().take(100).collect(),
            reason: reason.into(),
        }
    }
}

/// The folder of a port in its tree: `CATEGORY/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortPath {
    text: String,
    slash: usize,
}

impl PortPath {
    /// The whole text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The category.
    pub fn category(&self) -> &str {
        &self.text[..self.slash]
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.text[self.slash + 1..]
    }
}

impl FromStr for PortPath {
    type Err = PkgPathError;

    fn from_str(text: &str) -> Result<Self, PkgPathError> {
        let parts: Vec<&str> = text.split('/').collect();
        let [category, name] = parts.as_slice() else {
            return Err(PkgPathError::new(text, "the form is CATEGORY/NAME"));
        };
        for part in [category, name] {
            if !is_folder(part) {
                let reason = format!(
                    "`{part}` is not the name of a folder of letters, digits and . _ + - that begins with a letter or \
                     digit"
                );
                return Err(PkgPathError::new(text, reason));
            }
        }
        Ok(PortPath {
            slash: category.len(),
            text: text.to_owned(),
        })
    }
}

impl fmt::Display for PortPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether a folder may be called so.
fn is_folder(part: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._+-".contains(&b);
    part.len() <= 128
        && part.bytes().all(fine)
        && part
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

/// Whether a flavor or a subpackage may be called so.
pub fn is_word(word: &str) -> bool {
    let fine = |b: u8| b.is_ascii_alphanumeric() || b"._+".contains(&b);
    word.len() <= 64
        && word.bytes().all(fine)
        && word
            .bytes()
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric())
}

/// The flavors that a pkgpath asks for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavors {
    /// Those that the port has by itself.
    Default,
    /// These, or none if it is empty.
    These(BTreeSet<String>),
}

/// A port in a flavor, and perhaps one of its subpackages.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PkgPath {
    /// The port.
    pub path: PortPath,
    /// Its flavor.
    pub flavors: Flavors,
    /// The subpackage, without the dash; none for all of the port.
    pub subpackage: Option<String>,
}

impl PkgPath {
    /// A port in its default flavor.
    pub fn of(path: PortPath) -> PkgPath {
        PkgPath {
            path,
            flavors: Flavors::Default,
            subpackage: None,
        }
    }
}

impl FromStr for PkgPath {
    type Err = PkgPathError;

    fn from_str(text: &str) -> Result<Self, PkgPathError> {
        if text.len() > MOST_BYTES {
            return Err(PkgPathError::new(
                text,
                format!("it is longer than {MOST_BYTES} bytes"),
            ));
        }
        let mut pieces = text.split(',');
        let path: PortPath = pieces.next().unwrap_or_default().parse()?;
        let (mut named, mut flavors, mut subpackage) = (false, BTreeSet::new(), None);
        for piece in pieces {
            if subpackage.is_some() {
                return Err(PkgPathError::new(
                    text,
                    "a subpackage comes last, and there is one at most",
                ));
            }
            if let Some(word) = piece.strip_prefix('-') {
                if !is_word(word) {
                    return Err(PkgPathError::new(
                        text,
                        format!("`{piece}` is not the name of a subpackage"),
                    ));
                }
                subpackage = Some(word.to_owned());
                continue;
            }
            if piece.is_empty() && !named {
                named = true;
                continue;
            }
            if !is_word(piece) {
                return Err(PkgPathError::new(
                    text,
                    format!("`{piece}` is not the name of a flavor"),
                ));
            }
            named = true;
            flavors.insert(piece.to_owned());
        }
        if flavors.len() > MOST_FLAVORS {
            return Err(PkgPathError::new(
                text,
                format!("it has more than {MOST_FLAVORS} flavors"),
            ));
        }
        Ok(PkgPath {
            path,
            flavors: match named {
                true => Flavors::These(flavors),
                false => Flavors::Default,
            },
            subpackage,
        })
    }
}

impl fmt::Display for PkgPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.as_str())?;
        if let Flavors::These(flavors) = &self.flavors {
            write_flavors(f, flavors)?;
        }
        match &self.subpackage {
            Some(word) => write!(f, ",-{word}"),
            None => Ok(()),
        }
    }
}

fn write_flavors(f: &mut fmt::Formatter<'_>, flavors: &BTreeSet<String>) -> fmt::Result {
    if flavors.is_empty() {
        return f.write_str(",");
    }
    flavors.iter().try_for_each(|flavor| write!(f, ",{flavor}"))
}

/// One build of a port: in one flavor.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    /// The port.
    pub path: PortPath,
    /// Its flavors.
    pub flavors: BTreeSet<String>,
    /// Whether these are what it has by itself.
    pub is_default: bool,
}

impl PortId {
    /// The pkgpath of one of its subpackages.
    pub fn subpackage(&self, word: &str) -> String {
        format!("{self},-{word}")
    }
}

impl fmt::Display for PortId {
    /// Writes the shortest pkgpath that means it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.as_str())?;
        match self.is_default {
            true => Ok(()),
            false => write_flavors(f, &self.flavors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> PkgPath {
        text.parse().unwrap()
    }

    #[test]
    fn the_default_flavor_and_the_empty_one_are_two() {
        assert_eq!(parse("editors/vim").flavors, Flavors::Default);
        assert_eq!(
            parse("editors/vim,").flavors,
            Flavors::These(BTreeSet::new())
        );
        assert_ne!(parse("editors/vim"), parse("editors/vim,"));
        assert_eq!(parse("editors/vim,-lang").flavors, Flavors::Default);
        let empty = parse("editors/vim,,-lang");
        assert_eq!(empty.flavors, Flavors::These(BTreeSet::new()));
        assert_eq!(empty.subpackage.as_deref(), Some("lang"));
        assert_eq!(
            parse("editors/vim,no_x11,gtk3"),
            parse("editors/vim,gtk3,no_x11")
        );
        for text in [
            "editors/vim",
            "editors/vim,",
            "editors/vim,gtk3,-main",
            "x11/a+b,,-doc",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_not_a_pkgpath_is_refused_at_the_door() {
        for text in [
            "",
            "vim",
            "a/b/c",
            "../../x",
            "a/..",
            "./b",
            "a/",
            "/a/b",
            "a/.b",
            "-a/b",
            "a/b,-",
            "a/b,--x",
            "a/b,-x,y",
            "a/b,x,,y",
            "a/b,x y",
            "a b/c",
            "a/b:c",
            "a/b,-x,-y",
            "a/b\n",
            "a/b,\u{e9}",
        ] {
            assert!(text.parse::<PkgPath>().is_err(), "{text}");
        }
        assert!("a/b,x".repeat(200).parse::<PkgPath>().is_err());
        let many: String = (0..40).map(|n| format!(",f{n}")).collect();
        assert!(format!("a/b{many}").parse::<PkgPath>().is_err());
        let error = "../../x".parse::<PkgPath>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`../../x` is not a pkgpath: the form is CATEGORY/NAME"
        );
    }

    proptest! {
        #[test]
        fn pkgpaths_come_back(text in "[a-c]{1,2}/[a-c+.-]{1,3}(,[a-c_]{0,2}){0,2}(,-[a-c]{1,2})?") {
            if let Ok(path) = text.parse::<PkgPath>() {
                prop_assert_eq!(path.to_string().parse::<PkgPath>().unwrap(), path);
            }
        }
    }
}
