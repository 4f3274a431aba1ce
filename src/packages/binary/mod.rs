//! Packages that were built, in the form in which Portage installs what was built elsewhere.
//!
//! [`gpkg`] writes one, [`index`] the list of all that clients look into. The same package is the same bytes, every time
//! and wherever it is written: members are sorted, times are those of the package, and the compressor is always the same.

pub mod gpkg;
pub mod index;

use std::collections::BTreeMap;

use mstore_store::{Kind, Manifest, Store, StoreError, TreeHash};

use super::base::name_of;
use super::read::{is_category, is_package};

/// Which build of a package it is. Builds are told apart by what they are made of, and not by numbers.
pub const BUILD_ID: u32 = 1;
/// Most bytes of a file of an entry that is read.
const MOST_BYTES: u64 = 64 << 20;
/// Most entries of one.
const MOST_ENTRIES: usize = 1000;
/// Longest name and version that the head of a member can hold.
const LONGEST: usize = 140;

/// Why a package cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BinaryError {
    /// It has something that no package has.
    #[error("{package}: {what}")]
    Malformed {
        /// The package.
        package: String,
        /// What.
        what: String,
    },
    /// It cannot be written where it should be.
    #[error("cannot write a binary package: {0}")]
    Write(#[from] std::io::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A package that was built.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Built {
    category: String,
    name: String,
    name_version: String,
    /// What its derivation left: a tree with the folders of a package.
    pub tree: TreeHash,
    /// `SOURCE_DATE_EPOCH` of the build.
    pub epoch: u64,
}

impl Built {
    /// A package by its category and its name with the version. Names become paths, so they are looked at.
    pub fn new(
        category: &str,
        name_version: &str,
        tree: TreeHash,
        epoch: i64,
    ) -> Result<Built, BinaryError> {
        let bad = |what: &str| BinaryError::Malformed {
            package: format!("{category:?}/{name_version:?}"),
            what: what.to_owned(),
        };
        let name = name_of(name_version).filter(|name| is_package(name));
        let name = name.ok_or_else(|| bad("it has no name and version"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "+_.-".contains(c);
        if !is_category(category) || !name_version.chars().all(plain) {
            return Err(bad("its name cannot be that of a file"));
        }
        if name_version.len() > LONGEST {
            return Err(bad(
                "its name is longer than that of a binary package can be",
            ));
        }
        Ok(Built {
            category: category.to_owned(),
            name: name.to_owned(),
            name_version: name_version.to_owned(),
            tree,
            epoch: epoch.try_into().unwrap_or_default(),
        })
    }

    /// `CATEGORY/NAME-VERSION`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.category, self.name_version)
    }

    /// Where it lies in a folder of binary packages.
    pub fn path(&self) -> String {
        let Built { category, name, .. } = self;
        format!("{category}/{name}/{}.gpkg.tar", self.base_name())
    }

    /// Name, version and build.
    fn base_name(&self) -> String {
        format!("{}-{BUILD_ID}", self.name_version)
    }

    fn malformed(&self, what: impl Into<String>) -> BinaryError {
        BinaryError::Malformed {
            package: self.id(),
            what: what.into(),
        }
    }
}

/// What the entry of a package in the database says, as far as a binary package says it: what is of the root that it was
/// installed in stays out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record(BTreeMap<String, Vec<u8>>);

impl Record {
    /// Reads it.
    pub fn read(store: &Store, package: &Built) -> Result<Record, BinaryError> {
        const OF_A_ROOT: [&str; 3] = ["CONTENTS", "COUNTER", "metadata"];
        let mut files = BTreeMap::new();
        for entry in folder(store, package, "record")?.entries() {
            let name = std::str::from_utf8(&entry.name).unwrap_or_default();
            let Kind::File { blob, size } = entry.kind else {
                return Err(package.malformed(format!("record/{} is no file", name.escape_debug())));
            };
            if OF_A_ROOT.contains(&name) {
                continue;
            }
            if name.is_empty() || name.len() > 80 || !name.chars().all(|c| c.is_ascii_graphic()) {
                return Err(package.malformed("a file of its record has a name that none has"));
            }
            if size > MOST_BYTES || files.len() == MOST_ENTRIES {
                return Err(package.malformed(format!("record/{name} is more than is read")));
            }
            files.insert(name.to_owned(), store.blob(blob)?);
        }
        files.insert("BUILD_ID".to_owned(), format!("{BUILD_ID}\n").into_bytes());
        Ok(Record(files))
    }

    /// A value, as one line.
    pub fn value(&self, name: &str) -> String {
        let text = self.0.get(name).map(|bytes| String::from_utf8_lossy(bytes));
        let words = text.as_deref().unwrap_or_default().split_ascii_whitespace();
        words.collect::<Vec<_>>().join(" ")
    }
}

/// A folder of what a package is.
fn folder(store: &Store, package: &Built, name: &str) -> Result<Manifest, BinaryError> {
    let top = store.manifest(store.tree(package.tree)?.dir)?;
    match top.get(name.as_bytes()).map(|entry| &entry.kind) {
        Some(Kind::Dir { manifest }) => Ok(store.manifest(*manifest)?),
        _ => Err(package.malformed(format!("it has no folder {name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_paths_only_if_they_can_be() {
        let tree = TreeHash(mstore_store::Hash::of(b""));
        let built = |category, version| Built::new(category, version, tree, 7);
        let zlib = built("sys-libs", "zlib-1.3.1-r2").unwrap();
        assert_eq!(zlib.path(), "sys-libs/zlib/zlib-1.3.1-r2-1.gpkg.tar");
        assert_eq!(zlib.id(), "sys-libs/zlib-1.3.1-r2");
        let long = format!("a-{}", "1".repeat(LONGEST));
        for (category, version) in [
            ("..", "zlib-1"),
            ("sys-libs", "zlib"),
            ("sys-libs", "../x-1"),
            ("sys-libs", "a-1/../../x"),
            ("sys libs", "a-1"),
            ("", "a-1"),
            ("sys-libs", "a-1\n"),
            ("sys-libs", &long),
        ] {
            assert!(built(category, version).is_err(), "{category}/{version}");
        }
    }
}
