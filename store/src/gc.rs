//! The collector: removes what nothing needs, and says why the rest lives.

use crate::{Realisation, Store, StoreError, TreeHash};

/// Names the group that a realisation belongs to; `None` for one that is not worth keeping by itself.
pub type GroupOf<'a> = dyn Fn(&Realisation) -> Option<String> + 'a;

/// What is to be kept.
pub struct GcPolicy<'a> {
    /// The newest so many realisations of each group live.
    pub keep: usize,
    /// The group of a realisation. By default its name.
    pub group: Box<GroupOf<'a>>,
    /// Trees that live whatever else is true, with the reason to show.
    pub pins: Vec<(String, TreeHash)>,
    /// Realisations begun at or after this second live too.
    pub keep_since: Option<i64>,
}

impl GcPolicy<'_> {
    /// Keeps the newest `keep` realisations of each name.
    pub fn newest(keep: usize) -> Self {
        GcPolicy {
            keep,
            group: Box::new(|r| Some(r.name.clone())),
            pins: Vec::new(),
            keep_since: None,
        }
    }
}

/// Why a tree lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Why {
    /// It is a named root.
    Root(String),
    /// It is among the newest of its group.
    Newest {
        /// The group.
        group: String,
        /// 1 is the newest.
        place: usize,
    },
    /// It was built recently.
    Recent {
        /// The realisation's name.
        name: String,
    },
    /// A living process uses it.
    Lease {
        /// The process.
        pid: u32,
        /// What it does.
        purpose: String,
    },
    /// The caller pins it.
    Pin(String),
}

/// A tree that stays, and all the reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// The tree.
    pub tree: TreeHash,
    /// Why it lives.
    pub why: Vec<Why>,
}

/// Something that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Gone {
    /// A tree, with the names of the realisations that made it.
    Tree {
        /// The tree.
        tree: TreeHash,
        /// Names of its realisations.
        names: Vec<String>,
    },
    /// A pack file nothing in which is needed.
    Pack {
        /// Its name.
        name: String,
        /// Bytes freed.
        bytes: u64,
    },
    /// A pack file whose living part moves to a new one.
    Rewrite {
        /// Its name.
        name: String,
        /// Bytes freed.
        bytes: u64,
    },
    /// A checkout or cached layer.
    Checkout {
        /// The tree.
        tree: TreeHash,
        /// Bytes of file content in it.
        bytes: u64,
    },
    /// A scratch folder whose owner is dead, or a left-over file.
    Leftover {
        /// Its path within the store.
        name: String,
        /// Bytes freed.
        bytes: u64,
    },
}

/// What a collection did, or with `dry_run` would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Trees that stay, sorted, with the reasons.
    pub alive: Vec<Survivor>,
    /// What goes.
    pub gone: Vec<Gone>,
    /// Bytes freed in all.
    pub freed: u64,
    /// Objects that stay.
    pub objects_alive: u64,
    /// Objects that go.
    pub objects_gone: u64,
}

impl Store {
    /// Removes what nothing needs; with `dry_run` only reports, by the same walk.
    pub fn gc(&self, _policy: &GcPolicy<'_>, _dry_run: bool) -> Result<GcReport, StoreError> {
        Err(self.writable("x").err().unwrap_or(StoreError::BadName {
            name: String::new(),
            reason: "not yet written",
        }))
    }
}
