//! Names of what can be built: `category/name`, with flavors and a subpackage behind commas.

use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes: with what is put before and behind it, it must fit into a file name.
const LONGEST: usize = 200;

/// A full path of a port: `category/name[,flavor…][,-subpackage]`. A stage's is its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PkgPath(String);

/// A name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a path of a port: {detail}", name.escape_default())]
pub struct BadName {
    /// What was given.
    pub name: String,
    /// What is wrong with it.
    pub detail: &'static str,
}

impl PkgPath {
    /// The whole name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the first comma: what at most one job at a time works on.
    pub fn base(&self) -> &str {
        self.0.split(',').next().unwrap_or_default()
    }

    /// Whether it has flavors or a subpackage.
    pub fn is_full(&self) -> bool {
        self.0.contains(',')
    }

    /// The name of the lock of the whole name.
    pub fn lock(&self) -> String {
        flat(&self.0)
    }

    /// The name of the lock of the part before the first comma.
    pub fn base_lock(&self) -> String {
        flat(self.base())
    }
}

/// A name as a file name: slashes become dots.
fn flat(name: &str) -> String {
    name.replace('/', ".")
}

impl fmt::Display for PkgPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PkgPath {
    type Err = BadName;

    fn from_str(name: &str) -> Result<PkgPath, BadName> {
        let refuse = |detail| {
            Err(BadName {
                name: name.chars().take(LONGEST).collect(),
                detail,
            })
        };
        if name.len() > LONGEST {
            return refuse("it is longer than 200 bytes");
        }
        if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return refuse("it has blanks or control characters in it");
        }
        // `host:NAME` is the lock of a host.
        if name.contains([':', '\\']) {
            return refuse("it has a colon or a backslash in it");
        }
        let mut parts = name.split(',');
        let base = parts.next().unwrap_or_default();
        if base.split('/').any(|part| part.is_empty()) {
            return refuse("a part of it is empty");
        }
        if base.split('/').any(|part| part.starts_with('.')) {
            return refuse("a part of it begins with a dot");
        }
        // An empty flavor says that it is not the usual one.
        let rest: Vec<&str> = parts.collect();
        let none = rest.iter().filter(|part| part.is_empty()).count();
        if none > 1 || none == 1 && !rest[0].is_empty() {
            return refuse("a flavor is empty");
        }
        if rest.iter().any(|part| *part == "-" || part.contains('/')) {
            return refuse("a flavor or subpackage is empty or has a slash in it");
        }
        Ok(PkgPath(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_their_locks() {
        for (name, lock, base) in [
            ("devel/make", "devel.make", "devel.make"),
            (
                "devel/make,static,-doc",
                "devel.make,static,-doc",
                "devel.make",
            ),
            ("a/b/c", "a.b.c", "a.b.c"),
            ("stage3-corei7", "stage3-corei7", "stage3-corei7"),
        ] {
            let path: PkgPath = name.parse().unwrap();
            assert_eq!((&*path.lock(), &*path.base_lock()), (lock, base));
            assert_eq!(path.is_full(), name.contains(','));
        }
    }

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for name in [
            "",
            "/",
            "../../x",
            "a/../b",
            "a/",
            "/etc/passwd",
            "a//b",
            ".hidden",
            "a/.b",
            "a b",
            "a\nb",
            "a,,",
            "a,/etc",
            "host:a",
            "a,-",
            "a\u{1b}[2J",
        ] {
            assert!(name.parse::<PkgPath>().is_err(), "{name:?}");
        }
        assert!("x".repeat(201).parse::<PkgPath>().is_err());
    }

    proptest! {
        #[test]
        fn a_lock_stays_in_its_folder(name in "[a-z./,:\\-\u{0}-\u{20}]{0,40}") {
            if let Ok(path) = name.parse::<PkgPath>() {
                for lock in [path.lock(), path.base_lock()] {
                    prop_assert!(!lock.contains('/') && !lock.starts_with('.') && !lock.is_empty());
                    prop_assert!(!lock.starts_with("host:"));
                }
                prop_assert_eq!(path.to_string(), name);
            }
        }
    }
}
