//! What a target has fetched, as its specification says it, and the addresses of each file.

use std::collections::BTreeMap;

use mstore_store::TreeHash;
use serde::Serialize;

use super::elements::Location;
use super::name::glob;
use crate::drv::derivation::Role;
use crate::drv::fetch::{Content, Digest, Fixed, Origin};

/// What stands, in the address of a mirror, for the first two digits of the BLAKE2b of a file's name.
pub(super) const NAME_DIGITS: &str = "{blake2b}";

/// What a step has fetched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Fetches {
    /// The folder that it appears in.
    pub at: String,
    /// By name: what is fetched.
    pub all: BTreeMap<String, Fetch>,
}

/// One section `fetch/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fetch {
    /// What it is.
    pub what: What,
    /// Addresses as they are written, with lists of mirrors put in.
    pub urls: Vec<String>,
    /// Where the section is defined.
    #[serde(skip)]
    pub location: Option<Location>,
}

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// A file.
    File {
        /// Its name.
        name: String,
        /// Its digests, sorted.
        digests: Vec<Digest>,
        /// Its bytes, if they are known.
        size: Option<u64>,
    },
    /// The files of a commit.
    Commit {
        /// The commit.
        commit: String,
        /// The tree that it must become.
        tree: Option<TreeHash>,
    },
    /// Source archives of packages, as Manifests in the snapshot list them.
    Manifests(Vec<Package>),
}

/// A package, and which of its source archives are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    /// Its folder in the snapshot.
    pub folder: String,
    /// Patterns of names; with none all are wanted.
    pub patterns: Vec<String>,
}

impl Package {
    /// Whether an archive is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.patterns.is_empty() || self.patterns.iter().any(|p| glob(p, name))
    }
}

/// One thing to fetch, and where a step sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub role: Role,
    pub fixed: Fixed,
    pub origin: Origin,
}

impl Fetch {
    /// What `name` is, if it does not need the snapshot to tell.
    pub(super) fn piece(&self, name: &str) -> Option<Piece> {
        let (role, file, content, size) = match &self.what {
            What::File {
                name,
                digests,
                size,
            } => (Role::File, name, Content::File(digests.clone()), *size),
            What::Commit { commit, tree } => {
                let content = Content::Commit {
                    tree: *tree,
                    commit: commit.clone(),
                };
                return Some(Piece {
                    role: Role::Folder,
                    fixed: Fixed {
                        name: name.to_owned(),
                        content,
                    },
                    origin: Origin {
                        size: None,
                        urls: self.urls.clone(),
                    },
                });
            }
            What::Manifests(_) => return None,
        };
        Some(Piece {
            role,
            fixed: Fixed {
                name: file.clone(),
                content,
            },
            origin: Origin {
                size,
                urls: self.urls_of(file),
            },
        })
    }

    /// The addresses of a file: those that end with a slash are folders that have it.
    pub(super) fn urls_of(&self, file: &str) -> Vec<String> {
        let digits = name_digits(file);
        let full = |url: &String| {
            let url = url.replace(NAME_DIGITS, &digits);
            match url.ends_with('/') {
                true => format!("{url}{}", escaped(file)),
                false => url,
            }
        };
        self.urls.iter().map(full).collect()
    }
}

/// The folder in which mirrors that sort files by name have one (`filename-hash BLAKE2B 8`).
fn name_digits(file: &str) -> String {
    use blake2::Digest as _;
    let digest = blake2::Blake2b512::digest(file.as_bytes());
    format!("{:02x}", digest[0])
}

/// A file name as part of an address.
fn escaped(name: &str) -> String {
    name.bytes()
        .map(|b| match b {
            b if b.is_ascii_alphanumeric() || b"-._~+@=,:!".contains(&b) => {
                char::from(b).to_string()
            }
            b => format!("%{b:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_files() {
        let fetch = Fetch {
            what: What::Manifests(Vec::new()),
            urls: vec![
                "https://a/{blake2b}/".into(),
                "https://b/x.tar".into(),
                "file:///d/".into(),
            ],
            location: None,
        };
        // What `b2sum` says of the name begins with 06.
        assert_eq!(
            fetch.urls_of("zlib-1.3.tar.xz"),
            [
                "https://a/06/zlib-1.3.tar.xz",
                "https://b/x.tar",
                "file:///d/zlib-1.3.tar.xz",
            ]
        );
    }
}
