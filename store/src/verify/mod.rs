//! Reads everything again and compares it with its name.
//!
//! One pass reads every record in the order of the files, by several threads, compares it with its
//! hash, and looks up all that manifests, trees and lists of chunks name. It remembers nothing but
//! faults. Only when there are any, a second pass reads who names whom, to tell which realisations
//! and roots are affected. A repair writes packs anew without what is damaged and without the trees
//! that need it, so that a tree that can be found is whole again, and forgets the realisations of
//! those trees.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::db::Durable;
use crate::layout::CATALOGUES;
use crate::pack::{PackEntry, PackKind, PackSet, PackWriter, Packed, RecordKind};
use crate::session::random_name;
use crate::store::missing_folders;
use crate::{Hash, LostResult, Realisation, RegisteredPin, Root, Store, StoreError, TreeHash};

mod graph;
mod mend;
mod read;
mod tally;

use graph::Graph;
pub use mend::Refetch;
#[cfg(feature = "fuzzing")]
pub(crate) use mend::scan as scan_records;
pub(crate) use read::check_bytes;
use read::{check_record, has_good_copy};

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Forgets damaged objects and the realisations that need them, so that they are built anew.
    pub repair: bool,
    /// Checks indexes and references only, not contents.
    pub quick: bool,
    /// Compares what was written out to `checkouts` and `links`, and the layers that builds left, with
    /// their trees too.
    pub checkouts: bool,
    /// A repair leaves the realisations and roots of trees that it removed, though the report names them,
    /// for a caller who gets these trees again and then calls [`Store::forget_lost`] for the rest. So nothing
    /// is lost when that is interrupted.
    pub keep_names: bool,
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
    /// Seeds and snapshots of lock files whose trees are not here after the repair.
    pub lost_pins: Vec<RegisteredPin>,
    /// Names of packs with a damaged index that were written anew from their records.
    pub rebuilt: Vec<String>,
    /// Names of packs that the database did not list any more and that were needed.
    pub adopted: Vec<String>,
    /// Objects that were got again from somebody else.
    pub refetched: Vec<Hash>,
    /// Trees whose folders, of those that builds see, were not what they should be.
    pub harmed: BTreeSet<TreeHash>,
}

impl Fault {
    fn of_file(file: impl Into<String>, detail: impl ToString) -> Fault {
        Fault {
            file: Some(file.into()),
            object: None,
            detail: detail.to_string(),
            affects: Vec::new(),
        }
    }
}

/// Who may need what is damaged.
struct Users {
    realisations: Vec<Realisation>,
    roots: Vec<Root>,
    pins: Vec<RegisteredPin>,
    /// Results whose trees are not here though nothing removed them.
    lost: Vec<LostResult>,
}

impl Users {
    fn roots_are_here(&self, packs: &PackSet) -> bool {
        self.roots.iter().all(|root| {
            let place = packs.find(&root.tree.0).ok().flatten();
            place.is_some_and(|(_, place)| place.kind == RecordKind::Tree)
        })
    }

    /// Names of those that use any of some trees.
    fn of(&self, is_hit: impl Fn(&TreeHash) -> bool) -> Vec<String> {
        let realisations = self.realisations.iter().filter(|r| is_hit(&r.tree));
        let mut names: Vec<String> = realisations.map(|r| r.name.clone()).collect();
        let roots = self.roots.iter().filter(|r| is_hit(&r.tree));
        names.extend(roots.map(|r| format!("root {}", r.name)));
        let pins = self.pins.iter().filter(|p| is_hit(&p.tree));
        names.extend(pins.map(|p| format!("{} {} of {}", p.kind, p.name, p.path)));
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// What is wrong, and with whom.
struct Judged {
    faults: Vec<Fault>,
    damage: Damage,
    /// Damaged objects of which another copy is good.
    spoiled: BTreeSet<Hash>,
    graph: Graph,
    bad_trees: BTreeMap<TreeHash, BTreeSet<Hash>>,
    /// Objects that would mend something.
    wanted: BTreeSet<Hash>,
    /// Packs that are not what was written, though every object in them is good.
    altered: BTreeSet<String>,
}

impl Judged {
    fn is_bad(&self) -> bool {
        !self.damage.is_empty() || !self.spoiled.is_empty() || !self.altered.is_empty()
    }
}

fn judge(packs: &PackSet, found: read::Found, users: &Users) -> Judged {
    let altered = found.packs.iter();
    let mut faults: Vec<Fault> = altered
        .map(|(name, detail)| Fault::of_file(format!("packs/{name}.pack"), detail))
        .collect();
    let mut damage = found.damage;
    // A good copy in another pack makes a damaged one a fault of that pack alone.
    let mut spoiled = BTreeSet::new();
    damage.retain(|hash, (file, detail)| {
        if !has_good_copy(packs, hash) {
            return true;
        }
        spoiled.insert(*hash);
        faults.push(Fault {
            file: file.clone(),
            object: Some(*hash),
            detail: format!("{detail}; another copy is good"),
            affects: Vec::new(),
        });
        false
    });
    let graph = Graph::read(packs, &damage);
    let mut wanted: BTreeSet<Hash> = damage.keys().copied().collect();
    wanted.extend(&graph.missing);
    for (hash, detail) in found.wholes.iter().chain(&graph.faults) {
        damage.entry(*hash).or_insert((None, detail.clone()));
    }
    let bad_trees = graph.bad_trees(&damage);
    for result in &users.lost {
        if !graph.trees.contains_key(&result.tree) {
            wanted.insert(result.tree.0);
            damage.entry(result.tree.0).or_insert((
                None,
                "tree of a result is not in the store, and no collection removed it".into(),
            ));
        }
    }
    for root in &users.roots {
        if !graph.trees.contains_key(&root.tree) {
            wanted.insert(root.tree.0);
            damage
                .entry(root.tree.0)
                .or_insert((None, "tree of a root is not in the store".into()));
        }
    }
    for (hash, (file, detail)) in &damage {
        let hit = |tree: &TreeHash| {
            tree.0 == *hash || bad_trees.get(tree).is_some_and(|d| d.contains(hash))
        };
        faults.push(Fault {
            file: file.clone(),
            object: Some(*hash),
            detail: detail.clone(),
            affects: users.of(hit),
        });
    }
    Judged {
        faults,
        damage,
        spoiled,
        graph,
        bad_trees,
        wanted,
        altered: found.packs.into_iter().map(|(name, _)| name).collect(),
    }
}

/// An object that is damaged or lacks something, and why.
type Damage = BTreeMap<Hash, (Option<String>, String)>;

impl Store {
    /// Checks the whole store, going on after each fault; `visitor` sees each when all are known.
    pub fn verify(
        &self,
        options: &VerifyOptions,
        visitor: &mut dyn FnMut(&Fault),
    ) -> Result<VerifyReport, StoreError> {
        self.verify_with(options, &mut |_| None, visitor)
    }

    /// Like [`Store::verify`]; a repair first asks `refetch` for every object that is damaged or
    /// missing.
    pub fn verify_with(
        &self,
        options: &VerifyOptions,
        refetch: &mut Refetch<'_>,
        visitor: &mut dyn FnMut(&Fault),
    ) -> Result<VerifyReport, StoreError> {
        if options.repair {
            self.writable("repair it")?;
        }
        // A repair must not meet additions that rely on what it removes; a plain verification only
        // keeps the collector away.
        let lock = match options.repair {
            true => self.lock_exclusive()?,
            false => self.lock_shared()?,
        };
        let (mut packs, catalogues) = self.without_unsound_catalogues(options.repair)?;
        // A repair forgets what cannot be read: not for a reason that may be gone in a minute.
        let unopened = packs.broken()?;
        if options.repair
            && let Some(pack) = unopened.withheld.first()
        {
            return Err(pack.error());
        }
        let mut report = VerifyReport::default();
        let (mut files, broken) =
            self.file_faults(&packs, &unopened.packs, options.quick, &mut report);
        for (name, detail) in catalogues {
            files.push(Fault::of_file(format!("{CATALOGUES}/{name}"), detail));
        }
        let strange = self.strange_files(&packs, options.repair)?;
        for name in &strange {
            files.push(Fault::of_file(
                format!("packs/{name}"),
                "it is not a pack of this store",
            ));
        }
        if options.repair && broken {
            report.rebuilt = self.salvage(&packs)?;
            packs = self.refresh()?;
        }
        let folders = match options.checkouts {
            true => self.check_checkouts(!options.quick)?,
            false => Vec::new(),
        };
        files.extend(
            folders
                .iter()
                .map(|fault| Fault::of_file(&fault.file, &fault.detail)),
        );
        let seen = folders.iter().filter(|fault| fault.is_seen_by_builds());
        report.harmed = seen.map(|fault| fault.tree).collect();
        if options.repair {
            self.forget_checkouts(&folders)?;
        }
        let users = Users {
            realisations: self.realisations(None)?,
            roots: self.roots()?,
            pins: self.pins()?,
            lost: self.all_lost()?,
        };
        let found = read::read_all(&packs, options.quick)?;
        report.bytes = found.bytes;
        let whole = found.is_clean() && users.lost.is_empty() && users.roots_are_here(&packs);
        if whole && !broken && self.writable("note hashes").is_ok() {
            // Else one of these packs may be in the place of another.
            self.note_hashes(&found.hashes)?;
        }
        if whole && files.is_empty() {
            return Ok(report);
        }
        let mut judged = judge(&packs, found, &users);
        report.faults = files;
        report.faults.append(&mut judged.faults);
        for fault in &report.faults {
            visitor(fault);
        }
        if !options.repair {
            return Ok(report);
        }
        self.bring_back(
            options,
            &users,
            strange,
            refetch,
            (&mut packs, &mut judged),
            &mut report,
        )?;
        if broken || judged.is_bad() {
            self.forget_bad(options, &packs, &judged, &users, &mut report)?;
        }
        drop(lock);
        Ok(report)
    }

    /// Faults of the database, of packs as files, and of the store's folders. Tells as well whether a
    /// pack is among them.
    fn file_faults(
        &self,
        packs: &PackSet,
        unopened: &[(String, String)],
        quick: bool,
        report: &mut VerifyReport,
    ) -> (Vec<Fault>, bool) {
        let mut files: Vec<Fault> = self
            .check_database(quick)
            .into_iter()
            .map(|detail| Fault::of_file("db/mstore.sqlite", detail))
            .collect();
        let before_packs = files.len();
        for (name, reason) in unopened {
            files.push(Fault::of_file(format!("packs/{name}.pack"), reason));
        }
        for file in &packs.packs {
            let Ok(pack) = file.open() else { continue };
            if let Err(error) = pack.check_index() {
                let detail = match error {
                    StoreError::DamagedFile { detail, .. } => detail,
                    other => other.to_string(),
                };
                files.push(Fault::of_file(format!("packs/{}.pack", pack.name), detail));
            }
            report.objects += pack.count() as u64;
        }
        let broken = files.len() > before_packs;
        for folder in missing_folders(self.path()) {
            files.push(Fault::of_file(folder, "this folder is missing"));
        }
        (files, broken)
    }

    /// Looks for what is damaged or missing: in packs that are not the store's own, which go afterwards,
    /// and at whoever `refetch` asks. What came may name more that is missing.
    fn bring_back(
        &self,
        options: &VerifyOptions,
        users: &Users,
        mut strange: Vec<String>,
        refetch: &mut Refetch<'_>,
        (packs, judged): (&mut Arc<PackSet>, &mut Judged),
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        loop {
            let mut adopted = self.adopt(&mut strange, &judged.wanted)?;
            if adopted.is_empty() {
                break;
            }
            report.adopted.append(&mut adopted);
            *packs = self.refresh()?;
            *judged = judge(packs, read::read_all(packs, options.quick)?, users);
        }
        for name in &strange {
            let path = self.packs_dir().join(name);
            let gone = self.disk().remove_tree(&path);
            gone.map_err(|e| StoreError::io("remove", path, e))?;
        }
        let mut asked = BTreeSet::new();
        loop {
            let wanted: Vec<Hash> = judged
                .wanted
                .iter()
                .filter(|hash| asked.insert(**hash))
                .copied()
                .collect();
            let mut came = self.refetch(&wanted, refetch)?;
            if came.is_empty() {
                break;
            }
            report.refetched.append(&mut came);
            // What came may name more that is missing.
            *packs = self.refresh()?;
            *judged = judge(packs, read::read_all(packs, options.quick)?, users);
        }
        Ok(())
    }

    /// Removes what is beyond repair, and forgets the names of what needs it if `options` say so.
    fn forget_bad(
        &self,
        options: &VerifyOptions,
        packs: &PackSet,
        judged: &Judged,
        users: &Users,
        report: &mut VerifyReport,
    ) -> Result<(), StoreError> {
        let bad = |tree: &TreeHash| {
            judged.bad_trees.contains_key(tree) || judged.damage.contains_key(&tree.0)
        };
        let all = users.realisations.iter();
        report.forgotten = all.filter(|r| bad(&r.tree)).map(|r| r.key).collect();
        // A realisation whose tree was collected is in order; a root must be here.
        report.forgotten_roots = users
            .roots
            .iter()
            .filter(|r| bad(&r.tree) || !judged.graph.trees.contains_key(&r.tree))
            .map(|r| r.name.clone())
            .collect();
        report.lost_pins = users
            .pins
            .iter()
            .filter(|p| bad(&p.tree) || !judged.graph.trees.contains_key(&p.tree))
            .cloned()
            .collect();
        let mut gone = judged.graph.needing(&judged.damage);
        gone.extend(judged.damage.keys());
        gone.extend(judged.bad_trees.keys().map(|tree| tree.0));
        let (keys, roots) = match options.keep_names {
            true => (&[][..], &[][..]),
            false => (&report.forgotten[..], &report.forgotten_roots[..]),
        };
        self.rewrite_without(packs, &gone, judged, keys, roots)
    }

    /// Forgets realisations and roots whose trees a repair removed. Names that were given to other trees
    /// since stay.
    pub fn forget_lost(
        &self,
        realisations: &[Realisation],
        roots: &[Root],
    ) -> Result<(), StoreError> {
        self.writable("repair it")?;
        self.database()
            .write(Durable::Yes, "forget what is lost", |t| {
                for r in realisations {
                    t.execute(
                        "DELETE FROM realisation WHERE key = ?1 AND tree = ?2",
                        [r.key.to_string(), r.tree.to_string()],
                    )?;
                }
                for root in roots {
                    t.execute(
                        "DELETE FROM root WHERE name = ?1 AND tree = ?2",
                        [&root.name, &root.tree.to_string()],
                    )?;
                }
                Ok(())
            })
    }

    /// Writes packs anew without damaged objects and without the trees that need them.
    fn rewrite_without(
        &self,
        packs: &PackSet,
        gone: &BTreeSet<Hash>,
        judged: &Judged,
        keys: &[Hash],
        roots: &[String],
    ) -> Result<(), StoreError> {
        let session = self.session()?;
        let mut old = Vec::new();
        let mut new = Vec::new();
        let broken = packs.broken()?.packs;
        for file in &packs.packs {
            let Ok(pack) = file.open() else { continue };
            let places: Vec<PackEntry> = (0..pack.count())
                .filter_map(|at| pack.entry(at).ok())
                .collect();
            let whole = places.len() == pack.count() && pack.check_index().is_ok();
            let whole = whole && !judged.altered.contains(file.name());
            let touched = |hash| gone.contains(hash) || judged.spoiled.contains(hash);
            if whole && !places.iter().any(|place| touched(&place.hash)) {
                continue;
            }
            old.push(file.name());
            let mut kept: Vec<PackEntry> = places
                .into_iter()
                .filter(|place| !gone.contains(&place.hash) && check_record(&pack, place).is_ok())
                .collect();
            kept.sort_unstable_by_key(|place| place.offset);
            kept.dedup_by_key(|place| place.offset);
            for content in [PackKind::Data, PackKind::Meta] {
                let mut places = kept
                    .iter()
                    .filter(|place| place.kind.pack_kind() == content)
                    .peekable();
                if places.peek().is_none() {
                    continue;
                }
                let path = session.tmp.join(random_name()?);
                let writer = PackWriter::create(self.disk(), &path, pack.effort())?;
                for place in places {
                    pack.with_stored(place, |stored| {
                        writer.append(&Packed {
                            hash: place.hash,
                            kind: place.kind,
                            raw: place.raw,
                            flags: place.flags,
                            stored,
                        })
                    })?;
                }
                new.push((content, writer.seal()?));
            }
        }
        let removed: Vec<&str> = old
            .iter()
            .copied()
            .chain(broken.iter().map(|(name, _)| name.as_str()))
            .collect();
        self.change_packs(Durable::Yes, "repair", &new, &removed, |t, _| {
            for key in keys {
                t.execute("DELETE FROM realisation WHERE key = ?1", [key.to_string()])?;
            }
            for name in roots {
                t.execute("DELETE FROM root WHERE name = ?1", [name])?;
            }
            // What was written out from damaged trees may be wrong too.
            for hash in gone {
                t.execute("DELETE FROM layer WHERE tree = ?1", [hash.to_string()])?;
            }
            Ok(())
        })?;
        for name in old {
            let _ = self.disk().remove(&self.pack_files().path(name));
        }
        Ok(())
    }
}
