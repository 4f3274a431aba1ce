//! GC roots: which trees are live, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::Connection;

use super::{GcPolicy, Survivor, Why, whole};
use crate::db::pins::pins_of;
use crate::db::realisations::{COLUMNS, realisation_at};
use crate::db::rows::hash_at;
use crate::db::used::last_used;
use crate::mark::Marks;
use crate::session;
use crate::{Realisation, RegisteredPin, Store, StoreError, TreeHash};

/// Trees that go because the store is too large, with when they were last used.
pub(super) type Dropped = BTreeMap<TreeHash, i64>;

/// Everything that makes a tree live, and the names of what made each tree.
#[derive(Default)]
pub(super) struct Roots {
    pub why: BTreeMap<TreeHash, Vec<Why>>,
    pub names: BTreeMap<TreeHash, Vec<String>>,
    /// When each tree was last used.
    pub used: BTreeMap<TreeHash, i64>,
    /// Logs of realisations, with their trees.
    pub logs: Vec<(String, TreeHash)>,
    /// Lock files that are missing for too long.
    pub dead_locks: Vec<String>,
    /// Lock files that are missing, and whether that is new.
    pub missing_locks: Vec<(String, bool)>,
    /// Packs of contents that are arriving, which no tree names yet.
    pub packs: Vec<String>,
}

impl Roots {
    pub fn survivors(&self) -> Vec<Survivor> {
        let all = self.why.iter();
        all.map(|(tree, why)| Survivor {
            tree: *tree,
            why: why.clone(),
        })
        .collect()
    }

    /// Trees that live, those used last first.
    pub fn newest_first(&self) -> Vec<TreeHash> {
        let mut all: Vec<TreeHash> = self.why.keys().copied().collect();
        all.sort_by_key(|tree| (std::cmp::Reverse(self.used_at(tree)), *tree));
        all
    }

    fn used_at(&self, tree: &TreeHash) -> i64 {
        self.used.get(tree).copied().unwrap_or(0)
    }

    pub fn is_must(&self, tree: &TreeHash) -> bool {
        self.why
            .get(tree)
            .is_some_and(|why| why.iter().any(Why::is_must))
    }
}

/// Whether a lock file is gone for certain; one that cannot be looked at is not.
fn is_missing(path: &str) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    let meta = std::fs::metadata(Path::new(path));
    meta.is_err_and(|e| matches!(e.kind(), NotFound | NotADirectory))
}

impl Store {
    /// Marks what the roots need; of trees that only the policy speaks for, those used last, as long
    /// as the store is small enough. Returns the others.
    pub(super) fn choose(
        &self,
        policy: &GcPolicy<'_>,
        roots: &Roots,
        marks: &mut Marks,
    ) -> Result<Dropped, StoreError> {
        let mut dropped = Dropped::new();
        let limit = match policy.max_size {
            Some(max) => max.saturating_sub(self.other_bytes(policy)?),
            None => u64::MAX,
        };
        for pack in &roots.packs {
            marks.mark_pack(pack);
        }
        for tree in roots.why.keys().filter(|tree| roots.is_must(tree)) {
            policy.go_on()?;
            marks.mark_tree(*tree, &mut ())?;
        }
        for tree in roots.newest_first() {
            if roots.is_must(&tree) {
                continue;
            }
            policy.go_on()?;
            marks.begin_trial();
            marks.mark_tree(tree, &mut ())?;
            // What is older than the first that does not fit goes too.
            if !dropped.is_empty() || marks.bytes > limit {
                marks.undo_trial();
                dropped.insert(tree, roots.used_at(&tree));
            }
        }
        marks.end_trial();
        whole(marks)?;
        Ok(dropped)
    }

    /// Gathers the roots from one state of the database.
    pub(super) fn gc_roots(
        &self,
        policy: &GcPolicy<'_>,
        dropped: &Dropped,
    ) -> Result<Roots, StoreError> {
        let mut living = session::living(self.disk(), self.path())?;
        let noted = self.database().read_together("gather roots", Noted::read)?;
        let leases = noted.leased.iter().map(|lease| lease.session.as_str());
        let leases = leases.chain(noted.packs.iter().map(|(_, session)| session.as_str()));
        session::add_newer(self.disk(), self.path(), &mut living, leases)?;
        let lives = |session: &String| living.binary_search(session).is_ok();
        let mut roots = Roots {
            used: noted.used,
            packs: noted
                .packs
                .into_iter()
                .filter(|(_, session)| lives(session))
                .map(|(pack, _)| pack)
                .collect(),
            ..Roots::default()
        };
        roots.logs = noted
            .realisations
            .iter()
            .filter_map(|r| Some((r.log.clone()?, r.tree)))
            .collect();
        for (tree, name) in noted.named {
            roots.add(tree, Why::Root(name));
        }
        for lease in noted.leased {
            if lives(&lease.session) {
                let (pid, purpose) = (lease.pid, lease.purpose);
                roots.add(lease.tree, Why::Lease { pid, purpose });
            }
        }
        // Asked after the leases: who imports leases first, then pins, then lets go of the lease.
        let now_pinned = (policy.locks)(self)?;
        roots.add_pins(policy, noted.locks, &noted.pins, &now_pinned);
        for link in self.out_links()?.into_iter().filter(|link| !link.dead) {
            roots.add(link.tree, Why::OutLink(link.link));
        }
        for (name, tree) in &policy.pins {
            roots.add(*tree, Why::Pin(name.clone()));
        }
        self.add_realisations(policy, &noted.realisations, &mut roots)?;
        if let Some(since) = policy.used_since
            && policy.max_size.is_some()
        {
            for (tree, why) in &mut roots.why {
                if roots.used.get(tree).is_some_and(|at| *at >= since) {
                    why.push(Why::JustUsed);
                }
            }
        }
        // Trees that are named but not here are not roots.
        let mut here = BTreeMap::new();
        for (tree, mut why) in std::mem::take(&mut roots.why) {
            // One that was used meanwhile is not the one that was judged.
            let kept = why.iter().any(Why::is_must)
                || dropped
                    .get(&tree)
                    .is_none_or(|at| roots.used_at(&tree) > *at);
            if kept && self.has_tree(tree)? {
                why.sort_unstable();
                why.dedup();
                here.insert(tree, why);
            }
        }
        roots.why = here;
        Ok(roots)
    }

    /// Adds what the policy keeps of all realisations, which come newest first: those of each group,
    /// counting trees that are still here, each once; recent ones; those that are always kept.
    fn add_realisations(
        &self,
        policy: &GcPolicy<'_>,
        realisations: &[Realisation],
        roots: &mut Roots,
    ) -> Result<(), StoreError> {
        let mut groups: BTreeMap<String, Vec<TreeHash>> = BTreeMap::new();
        let mut always: BTreeSet<&str> = BTreeSet::new();
        for r in realisations {
            let names = roots.names.entry(r.tree).or_default();
            if !names.contains(&r.name) {
                names.push(r.name.clone());
            }
            if policy.keep_since.is_some_and(|since| r.started >= since) {
                let name = r.name.clone();
                roots.add(r.tree, Why::Recent { name });
            }
            if let Some(why) = (policy.always)(r)
                && !always.contains(&*r.name)
                && self.has_tree(r.tree)?
            {
                always.insert(&r.name);
                roots.add(r.tree, Why::Pin(why));
            }
            let Some(group) = (policy.group)(r) else {
                continue;
            };
            let kept = groups.entry(group.clone()).or_default();
            if kept.len() < policy.keep && !kept.contains(&r.tree) && self.has_tree(r.tree)? {
                kept.push(r.tree);
                let place = kept.len();
                roots.add(r.tree, Why::Newest { group, place });
            }
        }
        Ok(())
    }
}

impl Roots {
    fn add(&mut self, tree: TreeHash, why: Why) {
        self.why.entry(tree).or_default().push(why);
    }

    /// Adds the pins of lock files: those that were registered, as they are now where they can be read,
    /// and what the caller knows of lock files that were not registered yet.
    fn add_pins(
        &mut self,
        policy: &GcPolicy<'_>,
        locks: Vec<(String, Option<i64>)>,
        pins: &[RegisteredPin],
        now_pinned: &[(String, Vec<RegisteredPin>)],
    ) {
        let known: Vec<&String> = locks.iter().map(|(path, _)| path).collect();
        let unknown: Vec<(String, Option<i64>)> = (now_pinned.iter())
            .filter(|(path, _)| !known.contains(&path))
            .map(|(path, _)| (path.clone(), None))
            .collect();
        for (path, noted) in locks.into_iter().chain(unknown) {
            let now = now_pinned.iter().find(|(p, _)| *p == path);
            let missing = match now {
                Some(_) => None,
                None if is_missing(&path) => Some(noted),
                None => None,
            };
            if let Some(noted) = missing {
                let old = |since: i64| policy.locks_before.is_some_and(|before| since < before);
                if noted.is_some_and(old) {
                    self.dead_locks.push(path);
                    continue;
                }
                self.missing_locks.push((path.clone(), noted.is_none()));
            }
            let pins = now.map_or(pins, |(_, pins)| pins);
            for pin in pins.iter().filter(|pin| pin.path == path) {
                self.add(
                    pin.tree,
                    Why::Lock {
                        path: path.clone(),
                        kind: pin.kind.clone(),
                        name: pin.name.clone(),
                        missing: missing.flatten(),
                    },
                );
            }
        }
    }
}

/// A tree that a process leased.
struct LeasedTree {
    tree: TreeHash,
    session: String,
    pid: u32,
    purpose: String,
}

/// One state of what the database knows that makes trees live.
struct Noted {
    /// Newest first.
    realisations: Vec<Realisation>,
    named: Vec<(TreeHash, String)>,
    leased: Vec<LeasedTree>,
    /// Lock files, and since when each is known to be missing.
    locks: Vec<(String, Option<i64>)>,
    pins: Vec<RegisteredPin>,
    used: BTreeMap<TreeHash, i64>,
    /// Packs that are leased by themselves, and the session of each lease.
    packs: Vec<(String, String)>,
}

impl Noted {
    fn read(c: &Connection) -> rusqlite::Result<Noted> {
        Ok(Noted {
            realisations: c
                .prepare(&format!(
                    "SELECT {COLUMNS} FROM realisation ORDER BY started DESC, key"
                ))?
                .query_map([], realisation_at)?
                .collect::<rusqlite::Result<_>>()?,
            named: c
                .prepare("SELECT tree, name FROM root ORDER BY name")?
                .query_map([], |row| Ok((TreeHash(hash_at(row, 0)?), row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?,
            leased: c
                .prepare(
                    "SELECT lease_tree.tree, lease.session, lease.pid, lease.purpose \
                     FROM lease_tree JOIN lease ON lease.id = lease_tree.lease",
                )?
                .query_map([], |row| {
                    Ok(LeasedTree {
                        tree: TreeHash(hash_at(row, 0)?),
                        session: row.get(1)?,
                        pid: row.get(2)?,
                        purpose: row.get(3)?,
                    })
                })?
                .collect::<rusqlite::Result<_>>()?,
            locks: c
                .prepare("SELECT path, missing FROM lock_file ORDER BY path")?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?,
            pins: pins_of(c, None)?,
            packs: c
                .prepare(
                    "SELECT lease_pack.pack, lease.session \
                     FROM lease_pack JOIN lease ON lease.id = lease_pack.lease",
                )?
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect::<rusqlite::Result<_>>()?,
            used: last_used(c)?,
        })
    }
}
