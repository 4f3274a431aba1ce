//! The trees that names of seeds and snapshots stand for, and where they come from.

use std::fmt;

use mstore_store::TreeHash;
use serde::{Deserialize, Serialize};

use crate::drv::fetch::Digest;

/// What a name is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinKind {
    /// A root file system that builds start from.
    Seed,
    /// A tree of sources that builds read.
    Snapshot,
}

impl fmt::Display for PinKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PinKind::Seed => "seed",
            PinKind::Snapshot => "snapshot",
        })
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The tree.
    pub tree: TreeHash,
    /// The day it was made, `YYYY-MM-DD`.
    pub date: Option<String>,
    /// `SOURCE_DATE_EPOCH` of builds that read it, if it is not that of normalised snapshots.
    pub epoch: Option<i64>,
    /// Where it came from, for people; and, for what is built in, which edition it is.
    pub origin: Option<String>,
    /// Where it can be had again.
    pub from: Option<PinFrom>,
}

/// Where a pinned tree can be had again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PinFrom {
    /// An archive.
    Archive {
        /// Its address.
        url: String,
        /// Its digest.
        hash: Digest,
    },
    /// A commit of a git repository.
    Git {
        /// The address of the repository.
        url: String,
        /// The branch that it was the newest of, if it is not the one that the repository names first.
        branch: Option<String>,
        /// The commit.
        commit: String,
    },
}

impl PinFrom {
    /// The address.
    pub fn url(&self) -> &str {
        match self {
            PinFrom::Archive { url, .. } | PinFrom::Git { url, .. } => url,
        }
    }

    /// Its elements, in the order in which they are written.
    pub fn elements(&self) -> Vec<(&'static str, String)> {
        match self {
            PinFrom::Archive { url, hash } => {
                vec![("url", url.clone()), ("hash", hash.to_string())]
            }
            PinFrom::Git {
                url,
                branch,
                commit,
            } => {
                let branch = branch.iter().map(|branch| ("branch", branch.clone()));
                let mut all = vec![("url", url.clone())];
                all.extend(branch);
                all.push(("commit", commit.clone()));
                all
            }
        }
    }
}

impl Pin {
    /// A pin of `tree`, made on `date`.
    pub fn new(tree: TreeHash, date: Option<String>) -> Self {
        Pin {
            tree,
            date,
            epoch: None,
            origin: None,
            from: None,
        }
    }
}
