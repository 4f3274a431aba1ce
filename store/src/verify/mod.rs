//! Reads everything again and compares it with its name.
//!
//! One pass reads every record in the order of the files, by several threads, compares it with its
//! hash, and looks up all that manifests, trees and lists of chunks name. It remembers nothing but
//! faults. Only when there are any, a second pass reads who names whom, to tell which realisations
//! and roots are affected. A repair writes packs anew without what is damaged and without the trees
//! that need it, so that a tree that can be found is whole again, and forgets the realisations of
//! those trees.

use std::collections::{BTreeMap, BTreeSet};

use crate::db::{Durable, add_pack};
use crate::pack::{Content, PackSet, PackWriter, Packed, Place, RECORD_HEAD, Sort};
use crate::session::random_name;
use crate::{Hash, Realisation, Store, StoreError, TreeHash};

mod graph;
mod read;

use graph::Graph;
use read::{check_record, has_good_copy};

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Forgets damaged objects and the realisations that need them, so that they are built anew.
    pub repair: bool,
    /// Checks indexes and references only, not contents.
    pub quick: bool,
    /// Compares what was written out to `checkouts` and `links` with its trees too.
    pub checkouts: bool,
}

/// One thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file of the store, if the fault is in one.
    pub file: Option<String>,
    /// The object, if the fault is in one.
    pub object: Option<Hash>,
    /// What is wrong.
    pub detail: String,
    /// Names of realisations and roots that need it.
    pub affects: Vec<String>,
}

/// The outcome of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Objects looked at.
    pub objects: u64,
    /// Bytes of content hashed.
    pub bytes: u64,
    /// All faults, in a fixed order.
    pub faults: Vec<Fault>,
    /// Keys of realisations that were forgotten.
    pub forgotten: Vec<Hash>,
    /// Names of roots that were forgotten.
    pub forgotten_roots: Vec<String>,
}

/// An object that is damaged or lacks something, and why.
type Damage = BTreeMap<Hash, (Option<String>, String)>;

impl Store {
    /// Checks the whole store, going on after each fault; `visitor` sees each as it is found.
    pub fn verify(
        &self,
        options: &VerifyOptions,
        visitor: &mut dyn FnMut(&Fault),
    ) -> Result<VerifyReport, StoreError> {
        if options.repair {
            self.writable("repair it")?;
        }
        // A repair must not meet additions that rely on what it removes; a plain verification only
        // keeps the collector away.
        let lock = if options.repair {
            self.lock_exclusive()?
        } else {
            self.lock_shared()?
        };
        let packs = self.refresh()?;
        let mut report = VerifyReport::default();
        let mut files: Vec<Fault> = Vec::new();
        for (name, reason) in &packs.broken {
            files.push(Fault {
                file: Some(format!("packs/{name}.pack")),
                object: None,
                detail: reason.clone(),
                affects: Vec::new(),
            });
        }
        for pack in &packs.packs {
            if let Err(error) = pack.check_index() {
                files.push(Fault {
                    file: Some(format!("packs/{}.pack", pack.name)),
                    object: None,
                    detail: error.to_string(),
                    affects: Vec::new(),
                });
            }
            report.objects += pack.count() as u64;
        }
        let found = read::read_all(&packs, options.quick)?;
        report.bytes = found.bytes;
        let realisations = self.realisations(None)?;
        let roots = self.roots()?;
        let mut roots_here = true;
        for root in &roots {
            let place = packs.find(&root.tree.0).ok().flatten();
            roots_here &= place.is_some_and(|(_, place)| place.sort == Sort::Tree);
        }
        let folders = if options.checkouts {
            self.check_checkouts(!options.quick)?
        } else {
            Vec::new()
        };
        files.extend(folders.iter().map(|fault| Fault {
            file: Some(fault.file.clone()),
            object: None,
            detail: fault.detail.clone(),
            affects: Vec::new(),
        }));
        if options.repair {
            self.forget_checkouts(&folders)?;
        }
        if files.is_empty() && found.is_clean() && roots_here {
            return Ok(report);
        }
        let mut damage = found.damage;
        // A good copy in another pack makes a damaged one a fault of that pack alone.
        let mut spoiled = BTreeSet::new();
        damage.retain(|hash, (file, detail)| {
            if !has_good_copy(&packs, hash) {
                return true;
            }
            spoiled.insert(*hash);
            files.push(Fault {
                file: file.clone(),
                object: Some(*hash),
                detail: format!("{detail}; another copy is good"),
                affects: Vec::new(),
            });
            false
        });
        let graph = Graph::read(&packs, &damage);
        for (hash, detail) in found.wholes.iter().chain(&graph.faults) {
            damage.entry(*hash).or_insert((None, detail.clone()));
        }
        let bad_trees = graph.bad_trees(&damage);
        // A realisation whose tree was collected is in order; a root must be here.
        let bad_root =
            |tree: &TreeHash| bad_trees.contains_key(tree) || !graph.trees.contains_key(tree);
        for root in roots.iter().filter(|r| !graph.trees.contains_key(&r.tree)) {
            damage
                .entry(root.tree.0)
                .or_insert((None, "tree of a root is not in the store".into()));
        }
        report.faults = files;
        for (hash, (file, detail)) in &damage {
            let mut affects = Vec::new();
            for r in &realisations {
                if r.tree.0 == *hash || bad_trees.get(&r.tree).is_some_and(|d| d.contains(hash)) {
                    affects.push(r.name.clone());
                }
            }
            for root in &roots {
                let tree = &root.tree;
                if tree.0 == *hash || bad_trees.get(tree).is_some_and(|d| d.contains(hash)) {
                    affects.push(format!("root {}", root.name));
                }
            }
            affects.sort_unstable();
            affects.dedup();
            report.faults.push(Fault {
                file: file.clone(),
                object: Some(*hash),
                detail: detail.clone(),
                affects,
            });
        }
        for fault in &report.faults {
            visitor(fault);
        }
        if options.repair && report.faults.len() > folders.len() {
            let bad: Vec<&Realisation> = realisations
                .iter()
                .filter(|r| bad_trees.contains_key(&r.tree) || damage.contains_key(&r.tree.0))
                .collect();
            report.forgotten = bad.iter().map(|r| r.key).collect();
            report.forgotten_roots = roots
                .iter()
                .filter(|r| bad_root(&r.tree))
                .map(|r| r.name.clone())
                .collect();
            let mut gone = graph.needing(&damage);
            gone.extend(damage.keys());
            gone.extend(bad_trees.keys().map(|tree| tree.0));
            self.rewrite_without(&packs, &gone, &spoiled, &report)?;
        }
        drop(lock);
        Ok(report)
    }

    /// Writes packs anew without damaged objects and without the trees that need them.
    fn rewrite_without(
        &self,
        packs: &PackSet,
        gone: &BTreeSet<Hash>,
        spoiled: &BTreeSet<Hash>,
        report: &VerifyReport,
    ) -> Result<(), StoreError> {
        let session = self.session()?;
        let mut old = Vec::new();
        let mut new = Vec::new();
        for pack in &packs.packs {
            let places: Vec<Place> = (0..pack.count())
                .filter_map(|at| pack.place(at).ok())
                .collect();
            let whole = places.len() == pack.count() && pack.check_index().is_ok();
            let touched = |hash| gone.contains(hash) || spoiled.contains(hash);
            if whole && !places.iter().any(|place| touched(&place.hash)) {
                continue;
            }
            old.push(pack.clone());
            let mut kept: Vec<Place> = places
                .into_iter()
                .filter(|place| !gone.contains(&place.hash) && check_record(pack, place).is_ok())
                .collect();
            kept.sort_unstable_by_key(|place| place.offset);
            kept.dedup_by_key(|place| place.offset);
            for content in [Content::Data, Content::Meta] {
                let mut places = kept
                    .iter()
                    .filter(|place| place.sort.content() == content)
                    .peekable();
                if places.peek().is_none() {
                    continue;
                }
                let path = session.tmp.join(random_name()?);
                let writer = PackWriter::create(self.disk(), &path, pack.effort())?;
                for place in places {
                    writer.append(&Packed {
                        hash: place.hash,
                        sort: place.sort,
                        raw: place.raw,
                        flags: place.flags,
                        stored: &pack.record(place)?[RECORD_HEAD..],
                    })?;
                }
                new.push((content, writer.seal()?));
            }
        }
        let names = self.place_packs(&new)?;
        self.database().write(Durable::Yes, "repair", |t| {
            for ((content, pack), name) in new.iter().zip(&names) {
                add_pack(t, name, *content, pack.len, pack.count)?;
            }
            let rewritten = old.iter().map(|pack| &pack.name);
            for name in rewritten.chain(packs.broken.iter().map(|(name, _)| name)) {
                t.execute("DELETE FROM pack WHERE name = ?1", [name])?;
            }
            for key in &report.forgotten {
                t.execute("DELETE FROM realisation WHERE key = ?1", [key.to_string()])?;
            }
            for name in &report.forgotten_roots {
                t.execute("DELETE FROM root WHERE name = ?1", [name])?;
            }
            // What was written out from damaged trees may be wrong too.
            for hash in gone {
                t.execute("DELETE FROM layer WHERE tree = ?1", [hash.to_string()])?;
            }
            Ok(())
        })?;
        for pack in &old {
            let _ = self.disk().remove(&pack.path);
        }
        self.refresh()?;
        Ok(())
    }
}
