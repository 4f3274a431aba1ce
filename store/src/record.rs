//! The facts that the database holds.

use crate::{Hash, TreeHash};

/// The fact that a resolved derivation produced a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Realisation {
    /// The resolved key: what was built from exactly what.
    pub key: Hash,
    /// The derivation hash.
    pub drv: Hash,
    /// What was built, for people and for the policy of the collector.
    pub name: String,
    /// The result.
    pub tree: TreeHash,
    /// When the build began, in seconds since 1970.
    pub started: i64,
    /// How long it took.
    pub seconds: f64,
    /// The machine that built it.
    pub host: String,
    /// File name of the log in [`Store::logs_dir`](crate::Store::logs_dir).
    pub log: Option<String>,
}

/// A tree that lives because somebody named it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Root {
    /// The name: 1 to 200 printable characters.
    pub name: String,
    /// The tree.
    pub tree: TreeHash,
}
