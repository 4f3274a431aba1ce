//! Making a cache smaller: facts beyond the newest go, then trees that only they named, then packs that
//! no tree names any more.
//!
//! A name goes before what it names, so that a client never meets a name of something that is gone unless
//! it read the name before. Between trees and facts that order alone would not do: a tree without a fact
//! is kept, since trees are copied by their hash as well. So the trees that are to go are written down
//! first, and whoever comes after an interruption reads on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::super::{Fact, MAX_FACT, TransferError};
use super::files::{LEAVING, leaving, put, read_file};
use super::listing::{Listing, MAX_LISTING};
use super::{CACHE_FILE, check_cache_text};
use crate::disk::RealDisk;
use crate::lock::StoreLock;
use crate::pack::EXTENSION;
use crate::{Cancel, Hash, Realisation, RealisationKind, StoreError, TreeHash};

/// What to keep of a cache.
pub struct CachePolicy<'a> {
    /// How many facts of each name stay, the newest first.
    pub keep: usize,
    /// And those of what was built since then, in seconds since 1970.
    pub keep_since: Option<i64>,
    /// The trees that a step was built from, if its record tells.
    pub inputs: &'a dyn Fn(&Fact) -> Option<Vec<TreeHash>>,
    /// Ends the collection with [`TransferError::Cancelled`]; the next one goes on.
    pub cancel: &'a Cancel,
}

/// A file of a cache that goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheGone {
    /// Its path in the cache.
    pub file: String,
    /// Its length.
    pub bytes: u64,
    /// What a fact is about, where it is one.
    pub about: Option<String>,
}

/// What a collection of a cache came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CacheCollected {
    /// What goes, in the order in which it goes.
    pub gone: Vec<CacheGone>,
    /// Facts that stay.
    pub facts: usize,
    /// Trees that stay.
    pub trees: usize,
    /// Facts that cannot be read; they stay, and what they name is not known.
    pub damaged: Vec<String>,
    /// Trees to remove, for whoever comes after an interruption.
    leaving: Vec<TreeHash>,
    /// They are not removed now, because what a fact that stays needs is not known.
    held: bool,
    /// Facts about derivations that take the place of ones that go.
    replaced: Vec<(Hash, Vec<u8>)>,
}

impl CacheCollected {
    /// Bytes of all that goes.
    pub fn freed(&self) -> u64 {
        self.gone.iter().map(|gone| gone.bytes).sum()
    }
}

/// Removes from the cache in `folder` what `policy` does not keep; with `dry_run` it only tells. It may be
/// read meanwhile, and whoever adds to it waits.
pub fn collect(
    folder: &Path,
    policy: &CachePolicy<'_>,
    dry_run: bool,
) -> Result<CacheCollected, TransferError> {
    let marker = folder.join(CACHE_FILE);
    let text = fs::read(&marker).map_err(|e| StoreError::io("read", &marker, e))?;
    check_cache_text(&text)
        .map_err(|why| TransferError::peer(folder.display().to_string(), why))?;
    let _lock = match dry_run {
        true => None,
        false => Some(StoreLock::take_file(&RealDisk::ANYWHERE, &marker, true)?),
    };
    let plan = plan(folder, policy)?;
    if !dry_run {
        carry_out(folder, &plan, policy.cancel)?;
    }
    Ok(plan)
}

/// Works out what goes.
fn plan(folder: &Path, policy: &CachePolicy<'_>) -> Result<CacheCollected, TransferError> {
    let mut plan = CacheCollected::default();
    let mut facts = BTreeMap::new();
    for (name, bytes) in list(folder, "realisations")? {
        if policy.cancel.is_cancelled() {
            return Err(TransferError::Cancelled);
        }
        let file = format!("realisations/{name}");
        match read_fact(&folder.join(&file))? {
            Some(fact) if fact.realisation.key.to_string() == name => {
                facts.insert(name, (fact, bytes));
            }
            _ => plan.damaged.push(file),
        }
    }
    let keys = newest(facts.values().map(|(fact, _)| fact), policy);
    let alive = |fact: &Fact| keys.contains(&fact.realisation.key);

    // What the facts that stay need, and what all of them name.
    let mut needed = BTreeSet::new();
    let mut inputs = BTreeSet::new();
    let mut unknown = !plan.damaged.is_empty();
    let mut named = BTreeSet::new();
    for (fact, _) in facts
        .values()
        .filter(|(f, _)| f.realisation.kind != RealisationKind::Part)
    {
        let uses = (policy.inputs)(fact);
        if alive(fact) {
            needed.insert(fact.realisation.tree);
            unknown |= fact.realisation.kind == RealisationKind::Step && uses.is_none();
            inputs.extend(uses.unwrap_or_default());
        } else {
            named.insert(fact.realisation.tree);
            named.extend(uses.unwrap_or_default());
        }
    }
    needed.extend(&inputs);
    for (name, (fact, bytes)) in &facts {
        // A part is of use as long as something is built from it.
        let stays = match fact.realisation.kind {
            RealisationKind::Part => unknown || needed.contains(&fact.realisation.tree),
            _ => alive(fact),
        };
        if stays {
            plan.facts += 1;
        } else {
            named.insert(fact.realisation.tree);
            plan.gone.push(CacheGone {
                file: format!("realisations/{name}"),
                bytes: *bytes,
                about: Some(fact.realisation.name.clone()),
            });
        }
    }
    plan.derivations(folder, &facts, &keys)?;
    plan.held = unknown;

    named.extend(leaving(folder)?);
    let packs = plan.trees(folder, &named, &needed)?;
    plan.packs(folder, &packs)?;
    Ok(plan)
}

impl CacheCollected {
    /// What becomes of the trees; returns the packs that those which stay need.
    fn trees(
        &mut self,
        folder: &Path,
        named: &BTreeSet<TreeHash>,
        needed: &BTreeSet<TreeHash>,
    ) -> Result<BTreeSet<String>, TransferError> {
        let mut packs = BTreeSet::new();
        for (name, bytes) in list(folder, "trees")? {
            let tree = name.parse::<TreeHash>().ok();
            if let Some(tree) = tree.filter(|t| named.contains(t) && !needed.contains(t)) {
                self.leaving.push(tree);
                if !self.held {
                    self.gone.push(CacheGone {
                        file: format!("trees/{name}"),
                        bytes,
                        about: None,
                    });
                    continue;
                }
            }
            let path = folder.join("trees").join(&name);
            let text = read_file(&path, MAX_LISTING as u64)?;
            let listing = Listing::decode(&text).map_err(|e| {
            let detail = format!(
                "it is damaged, and what it needs is not known; remove it, or copy the tree there \
                 again: {e}"
            );
            TransferError::peer(path.display().to_string(), detail)
        })?;
            self.trees += 1;
            packs.extend(listing.packs.into_iter().map(|pack| pack.name));
        }
        Ok(packs)
    }

    /// What becomes of the packs.
    fn packs(&mut self, folder: &Path, packs: &BTreeSet<String>) -> Result<(), TransferError> {
        // A pack counts while its index is there.
        let mut files = list(folder, "packs")?;
        files.sort_by_key(|(name, _)| (!name.ends_with(".index"), name.clone()));
        for (name, bytes) in files {
            let pack = name
                .strip_suffix(EXTENSION)
                .or_else(|| name.strip_suffix(".index"));
            if pack.is_some_and(|pack| !packs.contains(pack)) {
                self.gone.push(CacheGone {
                    file: format!("packs/{name}"),
                    bytes,
                    about: None,
                });
            }
        }
        Ok(())
    }

    /// What becomes of the newest facts about derivations.
    fn derivations(
        &mut self,
        folder: &Path,
        facts: &BTreeMap<String, (Fact, u64)>,
        keys: &BTreeSet<Hash>,
    ) -> Result<(), TransferError> {
        let mut newest: BTreeMap<Hash, &Fact> = BTreeMap::new();
        for (fact, _) in facts.values() {
            let r = &fact.realisation;
            if fact.realisation.kind == RealisationKind::Step && keys.contains(&r.key) {
                let known = newest.entry(r.drv).or_insert(fact);
                if known.realisation.started < r.started {
                    *known = fact;
                }
            }
        }
        for (name, bytes) in list(folder, "derivations")? {
            let file = format!("derivations/{name}");
            let fact = read_fact(&folder.join(&file))?;
            let stays = fact.as_ref().is_some_and(|fact| {
                let key = fact.realisation.key;
                // One whose realisation is not there cannot be judged.
                keys.contains(&key) || !facts.contains_key(&key.to_string())
            });
            let drv = name.parse::<Hash>().ok();
            match drv.and_then(|drv| newest.get(&drv)) {
                _ if stays => {}
                Some(other) => self.replaced.push((other.realisation.drv, other.encode())),
                None => self.gone.push(CacheGone {
                    file,
                    bytes,
                    about: fact.map(|fact| fact.realisation.name),
                }),
            }
        }
        Ok(())
    }
}

/// The keys of the facts that the policy keeps.
fn newest<'a>(facts: impl Iterator<Item = &'a Fact>, policy: &CachePolicy<'_>) -> BTreeSet<Hash> {
    let mut by_name: BTreeMap<&str, Vec<&Realisation>> = BTreeMap::new();
    for fact in facts.filter(|fact| fact.realisation.kind != RealisationKind::Part) {
        let r = &fact.realisation;
        by_name.entry(r.name.as_str()).or_default().push(r);
    }
    let mut keys = BTreeSet::new();
    for mut all in by_name.into_values() {
        all.sort_by_key(|r| (std::cmp::Reverse(r.started), r.key));
        let recent = |r: &Realisation| policy.keep_since.is_some_and(|since| r.started >= since);
        let kept = all.iter().enumerate();
        let kept = kept.filter(|(at, r)| *at < policy.keep || recent(r));
        keys.extend(kept.map(|(_, r)| r.key));
    }
    keys
}

/// Removes what the plan says, in its order.
fn carry_out(folder: &Path, plan: &CacheCollected, cancel: &Cancel) -> Result<(), TransferError> {
    let note = folder.join(LEAVING);
    if !plan.leaving.is_empty() {
        let text: String = plan.leaving.iter().map(|t| format!("{t}\n")).collect();
        put(&RealDisk::ANYWHERE, &note, text.as_bytes())?;
        sync(folder)?;
    }
    for (drv, bytes) in &plan.replaced {
        put(
            &RealDisk::ANYWHERE,
            &folder.join("derivations").join(drv.to_string()),
            bytes,
        )?;
    }
    let mut at = "";
    for gone in &plan.gone {
        if cancel.is_cancelled() {
            return Err(TransferError::Cancelled);
        }
        let (below, _) = gone.file.split_once('/').unwrap_or_default();
        if below != at {
            // That the names are gone lasts before what they name goes.
            if !at.is_empty() {
                sync(&folder.join(at))?;
            }
            at = below;
        }
        let path = folder.join(&gone.file);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", &path, e).into());
            }
            _ => {}
        }
    }
    if !at.is_empty() {
        sync(&folder.join(at))?;
    }
    if plan.held {
        return Ok(());
    }
    match fs::remove_file(&note) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::io("remove", &note, e).into())
        }
        _ => Ok(()),
    }
}

fn sync(folder: &Path) -> Result<(), StoreError> {
    let synced = File::open(folder).and_then(|dir| dir.sync_all());
    synced.map_err(|e| StoreError::io("sync", folder, e))
}

fn read_fact(path: &Path) -> Result<Option<Fact>, StoreError> {
    Ok(Fact::decode(&read_file(path, MAX_FACT as u64)?).ok())
}

/// The files in a folder of the cache with their lengths, sorted by name. What is being written is not
/// one of them.
fn list(folder: &Path, below: &str) -> Result<Vec<(String, u64)>, StoreError> {
    let dir = folder.join(below);
    let failed = |e| StoreError::io("list", &dir, e);
    let mut all = Vec::new();
    for entry in fs::read_dir(&dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let meta = entry.metadata().map_err(failed)?;
        match entry.file_name().into_string() {
            Ok(name) if meta.is_file() && !name.starts_with('.') => all.push((name, meta.len())),
            _ => {}
        }
    }
    all.sort_unstable();
    Ok(all)
}
