//! The collector: removes what nothing needs, and says why the rest lives.
//!
//! It runs beside everything else. First, without a lock, it marks what the roots need. Then it takes
//! the store's lock alone, which waits for additions under way, marks what became needed meanwhile,
//! and makes a plan. A dry run ends there and prints the plan; a real run carries it out: under the
//! same lock it writes the packs of manifests anew, forgets and moves aside what is dead as a whole,
//! and lets go of the lock. Half-dead packs of contents, which is where the copying is, follow in
//! rounds of about a gigabyte: copied without the lock, looked at again under it, replaced. So a run
//! that is interrupted has done what it did, and the next one goes on.
//!
//! A crash at any moment leaves whole packs only: a copy is durable and visible before the original
//! goes, and an object that is in two packs for a while does no harm.
//!
//! What is read is the database, the indexes of the packs, trees and manifests; contents only where
//! they are copied.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::lock::StoreLock;
use crate::mark::Marks;
use crate::pack::{PackFile, PackKind};
use crate::reserve;
use crate::{Cancel, LostResult, Realisation, RegisteredPin, Store, StoreError, TreeHash};

mod alive;
mod in_use;
mod plan;
mod roots;
mod trim;
mod work;

pub use alive::{Keeper, ObjectKind, WhyAlive};
pub use in_use::{InUse, Occupied};
use plan::{Plan, Victim, victims};
use roots::{Dropped, Roots};
pub use trim::WrittenOut;

/// Names the group that a realisation belongs to; `None` for one that is not worth keeping by itself.
pub type GroupOf<'a> = dyn Fn(&Realisation) -> Option<String> + 'a;

/// Tells what lock files that use a store pin at this moment, by their paths.
pub type LocksNow<'a> =
    dyn Fn(&Store) -> Result<Vec<(String, Vec<RegisteredPin>)>, StoreError> + 'a;

/// What is to be kept.
pub struct GcPolicy<'a> {
    /// How many realisations of each group live, the newest first.
    pub keep: usize,
    /// The group of a realisation. By default its name.
    pub group: Box<GroupOf<'a>>,
    /// Trees that live whatever else is true, with the reason to show.
    pub pins: Vec<(String, TreeHash)>,
    /// Realisations begun at or after this second live too.
    pub keep_since: Option<i64>,
    /// The newest tree of each name for which this gives a reason lives whatever else is true.
    pub always: Box<GroupOf<'a>>,
    /// The size in bytes that the store shall not exceed. What was used longest ago goes first:
    /// checkouts, which can be made again, then trees that only `keep` and `keep_since` speak for.
    pub max_size: Option<u64>,
    /// With `max_size`, trees that were used at or after this second stay with their checkouts, if anything
    /// speaks for them. Uses are noted to a minute.
    pub used_since: Option<i64>,
    /// What lock files pin at this moment, in place of what they pinned when they were registered. Asked
    /// again whenever roots are gathered: a pin that comes while a collection waits counts.
    pub locks: Box<LocksNow<'a>>,
    /// The pins of a lock file that is missing since before this second count no more.
    pub locks_before: Option<i64>,
    /// Roots of failed builds kept before this second go.
    pub failed_before: Option<i64>,
    /// Logs written before this second go, except those of realisations whose trees are here.
    pub logs_before: Option<i64>,
    /// Caches of unchanged files that nobody used since this second go.
    pub caches_before: Option<i64>,
    /// The processes that were seen at work in folders of the store before the collection, by one that
    /// cannot see them any more.
    pub seen: Option<InUse>,
    /// The bytes that trees may take that were written out whole. Those that nobody uses go, also of trees
    /// that stay, and what was used longest ago goes first.
    pub most_written_out: Option<u64>,
    /// Ends the collection with [`StoreError::Interrupted`].
    pub cancel: Cancel,
}

impl GcPolicy<'_> {
    /// Keeps the newest `keep` realisations of each name, and nothing of no use to builds goes.
    pub fn newest(keep: usize) -> Self {
        GcPolicy {
            keep,
            group: Box::new(|r| Some(r.name.clone())),
            pins: Vec::new(),
            keep_since: None,
            always: Box::new(|_| None),
            max_size: None,
            used_since: None,
            locks: Box::new(|_| Ok(Vec::new())),
            locks_before: None,
            failed_before: None,
            logs_before: None,
            caches_before: None,
            seen: None,
            most_written_out: None,
            cancel: Cancel::new(),
        }
    }

    fn go_on(&self) -> Result<(), StoreError> {
        match self.cancel.is_cancelled() {
            true => Err(StoreError::Interrupted),
            false => Ok(()),
        }
    }
}

/// Why a tree lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Why {
    /// It is a named root.
    Root(String),
    /// A lock file that uses this store pins it.
    Lock {
        /// The lock file.
        path: String,
        /// `seed` or `snapshot`.
        kind: String,
        /// The name in it.
        name: String,
        /// Since when the lock file is missing.
        missing: Option<i64>,
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
    /// It was used a moment ago.
    JustUsed,
    /// Somebody has a link to the folder of it.
    OutLink(PathBuf),
}

impl Why {
    /// Whether the tree lives even when the store is too large.
    fn is_must(&self) -> bool {
        !matches!(self, Why::Newest { .. } | Why::Recent { .. })
    }

    /// Whether what is written out of the tree stays too.
    fn is_use(&self) -> bool {
        matches!(self, Why::Lease { .. } | Why::JustUsed)
    }
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
        /// The policy would keep it if the store were not too large.
        for_size: bool,
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
    /// A tree that was written out, or the layer of it that a build left.
    Checkout {
        /// The tree.
        tree: TreeHash,
        /// The folder of the store that it is in: `checkouts`, `layers`, `links` or `views`.
        folder: &'static str,
        /// Bytes on disk.
        bytes: u64,
        /// It goes though its tree stays, because the store is too large.
        for_size: bool,
    },
    /// A scratch folder whose owner is dead, or a left-over file.
    Leftover {
        /// Its path within the store.
        name: String,
        /// Bytes freed.
        bytes: u64,
    },
    /// The root of a failed build.
    Failed {
        /// Its path within the store.
        name: String,
        /// Bytes freed.
        bytes: u64,
    },
    /// A log.
    Log {
        /// Its path within the store.
        name: String,
        /// Bytes freed.
        bytes: u64,
    },
    /// A cache of unchanged files.
    Cache {
        /// Its path within the store.
        name: String,
        /// Bytes freed.
        bytes: u64,
    },
    /// The pins of a lock file that is missing for long.
    Lock {
        /// The lock file.
        path: String,
    },
}

impl Gone {
    /// Bytes that this frees.
    pub fn bytes(&self) -> u64 {
        match self {
            Gone::Tree { .. } | Gone::Lock { .. } => 0,
            Gone::Pack { bytes, .. }
            | Gone::Rewrite { bytes, .. }
            | Gone::Checkout { bytes, .. }
            | Gone::Leftover { bytes, .. }
            | Gone::Failed { bytes, .. }
            | Gone::Log { bytes, .. }
            | Gone::Cache { bytes, .. } => *bytes,
        }
    }
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
    /// Bytes by which what must stay exceeds the size that was wished.
    pub over: u64,
    /// Packs that could not be written anew, because the disk is full or because something in them
    /// became needed; the next run tries again. Always empty in a dry run.
    pub postponed: Vec<String>,
    /// Lock files that were found missing, or still are; their pins count for the time being.
    pub missing_locks: Vec<String>,
    /// Folders that would go and stay, because processes work in them.
    pub occupied: Vec<Occupied>,
    /// The newest results of targets whose trees are lost: no collection removed them.
    pub lost: Vec<LostResult>,
}

/// Bytes that are copied at a time, about.
const ROUND: u64 = 1 << 30;

impl Store {
    /// Waits until nobody else rewrites packs.
    pub(crate) fn gc_lock(&self) -> Result<StoreLock, StoreError> {
        StoreLock::take_file(self.disk(), &self.path().join("gc.lock"), true)
    }

    /// Removes what nothing needs; with `dry_run` only tells the plan, which is what a real run
    /// carries out.
    pub fn gc(&self, policy: &GcPolicy<'_>, dry_run: bool) -> Result<GcReport, StoreError> {
        if !dry_run {
            self.writable("collect garbage in it")?;
        }
        let _only = if dry_run { None } else { Some(self.gc_lock()?) };
        // A plan alone must not meet another collection, which would be half done.
        let looking = if dry_run {
            Some(self.lock_shared()?)
        } else {
            None
        };
        if !dry_run {
            reserve::release_if_little(self.disk(), self.path());
        }
        // Most of the marking, while others add.
        let roots = self.gc_roots(policy, &Dropped::new())?;
        let mut marks = Marks::new(self.refresh()?);
        let dropped = self.choose(policy, &roots, &mut marks)?;
        let lock = match looking {
            Some(lock) => lock,
            None => self.lock_exclusive()?,
        };
        // What became needed since, or is leased by work that ended just now.
        let roots = self.gc_roots(policy, &dropped)?;
        marks = marks.renew(self.refresh()?);
        mark_all(policy, &roots, &mut marks)?;
        let mut plan = self.plan(policy, roots, marks, &dropped)?;
        if dry_run {
            if let Some(bound) = policy.most_written_out {
                let others = plan.layers.iter().map(|(_, path)| path.clone()).collect();
                plan.report
                    .gone
                    .extend(self.trim_plan(bound, policy.seen.as_ref(), &others)?);
                plan.report.freed = plan.report.gone.iter().map(Gone::bytes).sum();
            }
            return Ok(plan.report);
        }
        policy.go_on()?;
        self.remove_dead(&mut plan, lock)?;
        self.rewrite(policy, &mut plan)?;
        if let Some(bound) = policy.most_written_out {
            plan.report
                .gone
                .extend(self.trim_now(bound, policy.seen.as_ref())?);
        }
        plan.report.freed = plan.report.gone.iter().map(Gone::bytes).sum();
        self.drop_catalogues();
        reserve::keep(self.disk(), self.path());
        Ok(plan.report)
    }
}

/// Marks what all roots need. What cannot be marked whole must not be collected around: repair could
/// still need the rest.
fn mark_all(policy: &GcPolicy<'_>, roots: &Roots, marks: &mut Marks) -> Result<(), StoreError> {
    for tree in roots.why.keys() {
        policy.go_on()?;
        marks.mark_tree(*tree, &mut ())?;
    }
    for pack in &roots.packs {
        marks.mark_pack(pack);
    }
    whole(marks)
}

fn whole(marks: &Marks) -> Result<(), StoreError> {
    if let Some((name, detail)) = marks.packs.broken()?.packs.first() {
        return Err(StoreError::DamagedFile {
            path: PathBuf::from(format!("packs/{name}.pack")),
            detail: detail.clone(),
        });
    }
    match marks.missing.first() {
        Some(hash) => Err(StoreError::Corrupt {
            what: "store",
            hash: *hash,
            detail: "a tree that lives needs this object, which is not there".into(),
        }),
        None => Ok(()),
    }
}
