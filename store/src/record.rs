//! The facts that the database holds.

use crate::{Hash, TreeHash};

/// What a realisation is a fact about.
///
/// More kinds follow (packages, ports). A release that adds one raises the version of the database,
/// so that releases that do not know it refuse the store instead of taking it for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RealisationKind {
    /// A step was built: the key is its resolved key.
    Step,
    /// A directory of a tree is a tree of its own: the key names both tree and path.
    Part,
    /// A target is a tree: the key names both.
    Target,
}

impl RealisationKind {
    const ALL: [RealisationKind; 3] = [
        RealisationKind::Step,
        RealisationKind::Part,
        RealisationKind::Target,
    ];

    /// The word for it, as the database has it.
    pub fn word(self) -> &'static str {
        match self {
            RealisationKind::Step => "step",
            RealisationKind::Part => "part",
            RealisationKind::Target => "target",
        }
    }

    /// The kind that a word stands for.
    pub fn from_word(word: &str) -> Option<RealisationKind> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// The number for it, as facts that travel have it: a contract.
    pub(crate) fn number(self) -> u8 {
        match self {
            RealisationKind::Step => 1,
            RealisationKind::Part => 2,
            RealisationKind::Target => 3,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<RealisationKind> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }
}

/// The fact that a resolved derivation produced a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct Realisation {
    /// What it is a fact about.
    pub kind: RealisationKind,
    /// The resolved key: what was built from exactly what.
    pub key: Hash,
    /// The derivation hash.
    pub drv: Hash,
    /// What was built, for people and for the policy of the collector. Nothing is read out of it.
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
