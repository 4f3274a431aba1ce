//! Retention: the policy of gc over the store's own rules, and the lock files whose pins count.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use mstore_lang::DiskFiles;
use mstore_store::{
    Cancel, GcPolicy, Hash, Realisation, RealisationKind, RegisteredPin, Store, StoreError,
    TreeHash,
};

use super::clock::{self, DAY};
use super::{Project, ProjectError, find};
use crate::config;
use crate::drv::{Results, StepName, StoreFacts};
use crate::plan::Lock;
use crate::plan::name::glob;

/// Seconds.
const MINUTE: i64 = 60;
/// Days after which caches of unchanged files go that nobody used.
const CACHE_DAYS: i64 = 60;
/// Days for which what was fetched stays though nothing that is kept needs it: it was perhaps brought ahead.
const FETCHED_DAYS: i64 = 14;

/// What is to be kept. What is not said here is as the configuration says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// How many trees of each target, the newest first.
    pub keep: Option<usize>,
    /// Everything that was built in the last days, this many.
    pub keep_days: Option<u32>,
    /// Bytes that the store may take; what was used longest ago goes first.
    pub max_size: Option<u64>,
}

impl Retention {
    /// How many trees of each target are kept.
    pub fn keep(&self, config: &config::Gc) -> usize {
        self.keep.unwrap_or(config.keep)
    }

    /// The second since 1970 after which everything is kept, if there is one.
    pub fn keep_since(&self, config: &config::Gc) -> Option<i64> {
        let days = self.keep_days.or(config.keep_days)?;
        Some(clock::now() - i64::from(days) * DAY)
    }

    /// The policy that follows from this and from the configuration. `cancel` ends a collection early.
    pub fn policy<'a>(
        &self,
        store: &Store,
        config: &config::Gc,
        cancel: &Cancel,
    ) -> Result<GcPolicy<'a>, ProjectError> {
        let now = clock::now();
        let before = |days: i64| Some(now - days * DAY);
        let mut patterns = Vec::new();
        let mut pins = Vec::new();
        for root in &config.roots {
            if let Some(pinned) = named_pins(store, root)? {
                pins.extend(pinned);
            } else if find::is_prefix(root) {
                pins.push((format!("gc/roots: {root}"), find::one_tree(store, root)?));
            } else {
                patterns.push(root.clone());
            }
        }
        pins.extend(self.fetched(store, config)?);
        Ok(GcPolicy {
            // Trees of steps serve only to resume; those of targets are the results.
            group: Box::new(|r| (r.kind == RealisationKind::Target).then(|| r.name.clone())),
            pins,
            keep_since: self.keep_since(config),
            always: Box::new(move |r| {
                let pattern = patterns.iter().find(|p| glob(p, &r.name))?;
                Some(format!("gc/roots: {pattern}"))
            }),
            max_size: self.max_size.or(config.max_size),
            // Uses are noted to a minute.
            used_since: Some(now - (i64::from(config.grace) + 1) * MINUTE)
                .filter(|_| config.grace > 0),
            locks: Box::new(locks),
            locks_before: before(config.lock_days.into()),
            failed_before: before(config.failed_days.into()),
            logs_before: before(config.log_days.into()),
            caches_before: before(CACHE_DAYS),
            most_written_out: Some(config.written_out),
            cancel: cancel.clone(),
            ..GcPolicy::newest(self.keep(config))
        })
    }
}

impl Retention {
    /// What was fetched and is kept: for the newest results of targets, as they are kept themselves, and lately.
    fn fetched(
        &self,
        store: &Store,
        config: &config::Gc,
    ) -> Result<Vec<(String, TreeHash)>, ProjectError> {
        let all = store.realisations(None)?;
        // Most stores have nothing that was fetched, and what everything was made from is much to read.
        let is_fetch = |r: &Realisation| r.name.parse().is_ok_and(|n: StepName| n.is_fetch());
        if !all.iter().any(is_fetch) {
            return Ok(Vec::new());
        }
        let results = Results::read(&StoreFacts::new(store.clone()))?;
        let lately = clock::now() - FETCHED_DAYS * DAY;
        let mut kept: Vec<(String, TreeHash)> = results
            .fetches()
            .filter(|result| result.started >= lately)
            .map(|result| {
                (
                    format!("{} in the last {FETCHED_DAYS} days", result.name),
                    result.tree,
                )
            })
            .collect();
        let mut newest: BTreeMap<&str, Vec<Hash>> = BTreeMap::new();
        // They come newest first.
        for result in all.iter().filter(|r| r.kind == RealisationKind::Target) {
            let keys = newest.entry(&result.name).or_default();
            if keys.len() < self.keep(config) && store.has_tree(result.tree)? {
                keys.push(result.key);
            }
        }
        let since = self.keep_since(config);
        let keep = |r: &Realisation| {
            since.is_some_and(|since| r.started >= since)
                || newest
                    .get(&*r.name)
                    .is_some_and(|keys| keys.contains(&r.key))
        };
        for (target, trees) in results.fetched_for(keep) {
            let why = format!("fetched for {}", target.name);
            kept.extend(trees.into_iter().map(|tree| (why.clone(), tree)));
        }
        Ok(kept)
    }
}

/// A pin as the store registers it: kind, name, tree.
type Pinned = (String, String, TreeHash);

/// A lock file by its absolute path, with what it pins.
#[derive(Clone, Debug)]
pub struct LockPins {
    path: String,
    pins: Vec<Pinned>,
}

impl LockPins {
    /// As the collector takes them.
    fn registered(self) -> (String, Vec<RegisteredPin>) {
        let pin = |(kind, name, tree)| RegisteredPin {
            path: self.path.clone(),
            kind,
            name,
            tree,
        };
        let pins = self.pins.into_iter().map(pin).collect();
        (self.path, pins)
    }

    /// Lets the pins of this lock file count too, though it is not registered with the store.
    pub fn count_in(self, policy: &mut GcPolicy<'_>) {
        let here = self.registered();
        policy.locks = Box::new(move |store| {
            let mut all = locks(store)?;
            if all.iter().all(|(known, _)| *known != here.0) {
                all.push(here.clone());
            }
            Ok(all)
        });
    }
}

/// What the lock files that use this store pin now: one that was changed by hand or by git counts as
/// it is. One that cannot be read counts as it was.
fn locks(store: &Store) -> Result<Vec<(String, Vec<RegisteredPin>)>, StoreError> {
    let mut all = Vec::new();
    for file in store.lock_files()? {
        let path = Path::new(&file.path);
        if !path.is_file() {
            continue;
        }
        let Ok(lock) = Lock::read(&DiskFiles, path) else {
            continue;
        };
        let pins = pins_of(&lock);
        let path = file.path;
        all.push(LockPins { path, pins }.registered());
    }
    Ok(all)
}

/// The trees that a word of `gc/roots` names which is about seeds or snapshots: `seed/NAME`, `snapshot/NAME`, with
/// patterns in NAME, or NAME alone. `None` where it is about something else.
fn named_pins(store: &Store, root: &str) -> Result<Option<Vec<(String, TreeHash)>>, ProjectError> {
    let of_kind = |kind: &str| root.strip_prefix(kind)?.strip_prefix('/');
    let (kind, name) = match (of_kind("seed"), of_kind("snapshot")) {
        (Some(name), _) => (Some("seed"), name),
        (_, Some(name)) => (Some("snapshot"), name),
        // Full names of targets have four parts.
        (None, None) if root.contains('/') => return Ok(None),
        (None, None) => (None, root),
    };
    let mut found = Vec::new();
    for (_, pins) in locks(store)? {
        for pin in pins {
            let wanted = kind.is_none_or(|kind| kind == pin.kind) && glob(name, &pin.name);
            if wanted && store.has_tree(pin.tree)? {
                found.push((format!("gc/roots: {root}"), pin.tree));
            }
        }
    }
    // A pattern of targets may be of four parts or of none.
    Ok((kind.is_some() || !found.is_empty() && !name.contains(['*', '?'])).then_some(found))
}

/// What a lock file pins.
fn pins_of(lock: &Lock) -> Vec<Pinned> {
    lock.pins()
        .map(|(kind, name, pin)| (kind.to_string(), name.to_owned(), pin.tree))
        .collect()
}

impl Project {
    /// Returns the lock file in use with what it pins; `None` where there is none.
    pub fn lock_pins(&self) -> Option<LockPins> {
        let path = self.lock.path().filter(|path| path.is_file())?;
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        // A name that is not text cannot be looked at again by its text.
        let path = absolute.to_str()?.to_owned();
        let pins = pins_of(&self.lock);
        Some(LockPins { path, pins })
    }

    /// Registers the lock file with the store, so that a collection started with other specifications
    /// keeps what it pins too. Costs next to nothing when nothing changed.
    pub fn keep_pins(&self) -> Result<(), ProjectError> {
        let Some(LockPins { path, pins }) = self.lock_pins() else {
            return Ok(());
        };
        self.store.register_pins(&path, clock::now(), &pins)?;
        // Earlier releases made roots of pins.
        let path = self.lock.path().unwrap_or("".as_ref());
        let prefix = format!(
            "lock {:.16} ",
            Hash::of(path.as_os_str().as_bytes()).to_string()
        );
        for root in self.store.roots()? {
            if root.name.starts_with(&prefix) {
                self.store.remove_root(&root.name)?;
            }
        }
        Ok(())
    }
}
