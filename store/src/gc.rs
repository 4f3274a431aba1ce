//! The collector: removes what nothing needs, and says why the rest lives.
//!
//! It runs beside everything else, in two steps. First, without a lock, it marks what the roots need
//! and copies what lives in packs that are half dead or small. Then it takes the store's lock alone,
//! which waits for additions under way, marks what became needed meanwhile, decides, and removes.
//! That second step is short: it looks at what changed, moves folders aside and unlinks files.
//!
//! A crash at any moment leaves whole packs only: a copy is durable and visible before the original
//! goes, and an object that is in two packs for a while does no harm.
//!
//! A dry run is the same code, which stops before the first change.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::db::{Durable, add_pack};
use crate::disk::Disk;
use crate::facts::{hash_at, realisation_at};
use crate::lock::StoreLock;
use crate::mark::Marks;
use crate::pack::{Content, EXTENSION, Pack, PackWriter, Packed, RECORD_HEAD, SealedPack, Sort};
use crate::session::{self, random_name};
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

/// Packs smaller than this are merged when there are many.
const SMALL: u64 = 4 << 20;
/// So many small packs are left alone.
const SMALL_MANY: usize = 32;

/// Everything that makes a tree live, and the names of what made each tree.
struct Roots {
    why: BTreeMap<TreeHash, Vec<Why>>,
    names: BTreeMap<TreeHash, Vec<String>>,
    /// Packs of contents that are arriving, which no tree names yet.
    packs: Vec<String>,
}

impl Roots {
    fn mark(&self, marks: &mut Marks) -> Result<(), StoreError> {
        for tree in self.why.keys() {
            marks.mark_tree(*tree)?;
        }
        for pack in &self.packs {
            marks.mark_pack(pack);
        }
        Ok(())
    }

    fn survivors(&self) -> Vec<Survivor> {
        let all = self.why.iter();
        all.map(|(tree, why)| Survivor {
            tree: *tree,
            why: why.clone(),
        })
        .collect()
    }
}

/// A pack whose living objects were copied.
struct Victim {
    pack: Arc<Pack>,
    /// Living objects that the copy has.
    copied: usize,
    /// Bytes that go.
    bytes: u64,
}

impl Store {
    /// Removes what nothing needs; with `dry_run` only reports, by the same walk.
    pub fn gc(&self, policy: &GcPolicy<'_>, dry_run: bool) -> Result<GcReport, StoreError> {
        if !dry_run {
            self.writable("collect garbage in it")?;
        }
        let _only = if dry_run {
            None
        } else {
            Some(StoreLock::take_file(
                self.disk(),
                &self.path().join("gc.lock"),
                true,
            )?)
        };
        let roots = self.gc_roots(policy)?;
        let mut marks = Marks::new(self.refresh()?);
        roots.mark(&mut marks)?;
        let mut victims = victims(&marks, Content::Data)?;
        let mut copies = Vec::new();
        if !dry_run {
            copies = match self.copy_living(&marks, &victims, Content::Data) {
                // A full disk is when a collection is needed most: what is dead as a whole goes
                // without any room.
                Err(StoreError::NoSpace { .. }) => {
                    victims.clear();
                    Vec::new()
                }
                other => other?,
            };
        }
        let lock = if dry_run {
            self.lock_shared()?
        } else {
            self.lock_exclusive()?
        };
        // What became needed since, or is leased by work that ended just now.
        let roots = self.gc_roots(policy)?;
        marks = marks.renew(self.refresh()?);
        roots.mark(&mut marks)?;
        let mut report = GcReport {
            alive: roots.survivors(),
            ..GcReport::default()
        };
        let meta_victims = self::victims(&marks, Content::Meta)?;
        let all: Vec<&Victim> = victims.iter().chain(&meta_victims).collect();
        let dead_packs = judge_packs(&marks, &roots, &all, &mut report)?;
        let layers = self.judge_layers(&roots, &mut report)?;
        let leftovers = self.judge_leftovers(&marks, &mut report)?;
        report.freed = report.gone.iter().map(Gone::bytes).sum();
        if dry_run {
            return Ok(report);
        }
        let copied = match self.copy_living(&marks, &meta_victims, Content::Meta) {
            Err(StoreError::NoSpace { .. }) => {
                self.replace(&[], &[], &layers)?;
                for path in layers.iter().map(|(_, path)| path).chain(&leftovers) {
                    let gone = self.disk().remove_tree(path);
                    gone.map_err(|e| StoreError::io("remove", path, e))?;
                }
                self.copy_living(&marks, &meta_victims, Content::Meta)
            }
            other => other,
        };
        copies.extend(copied?);
        self.replace(&copies, &dead_packs, &layers)?;
        let aside = self.scratch("gc")?;
        let paths = layers.iter().map(|(_, path)| path).chain(&leftovers);
        for (n, path) in paths.enumerate() {
            match self.disk().rename(path, &aside.path().join(n.to_string())) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("move aside", path, error));
                }
                _ => {}
            }
        }
        self.unlink_packs(&dead_packs)?;
        drop(lock);
        aside.remove()?;
        Ok(report)
    }

    /// Gathers the roots from one state of the database.
    fn gc_roots(&self, policy: &GcPolicy<'_>) -> Result<Roots, StoreError> {
        let living = session::living(self.disk(), self.path())?;
        let (realisations, named, leased, packs) =
            self.database().read_together("gather roots", |c| {
                let realisations = c
                    .prepare(
                        "SELECT key, drv, name, tree, started, seconds, host, log \
                         FROM realisation ORDER BY started DESC, key",
                    )?
                    .query_map([], realisation_at)?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                let named = c
                    .prepare("SELECT tree, name FROM root ORDER BY name")?
                    .query_map([], |row| {
                        Ok((TreeHash(hash_at(row, 0)?), row.get::<_, String>(1)?))
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                let leased = c
                    .prepare(
                        "SELECT lease_tree.tree, lease.session, lease.pid, lease.purpose \
                         FROM lease_tree JOIN lease ON lease.id = lease_tree.lease",
                    )?
                    .query_map([], |row| {
                        Ok((
                            TreeHash(hash_at(row, 0)?),
                            row.get::<_, String>(1)?,
                            row.get::<_, u32>(2)?,
                            row.get::<_, String>(3)?,
                        ))
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                let packs = c
                    .prepare(
                        "SELECT lease_pack.pack, lease.session \
                         FROM lease_pack JOIN lease ON lease.id = lease_pack.lease",
                    )?
                    .query_map([], |row| {
                        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
                    })?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                Ok((realisations, named, leased, packs))
            })?;
        let mut roots = Roots {
            why: BTreeMap::new(),
            names: BTreeMap::new(),
            packs: packs
                .into_iter()
                .filter(|(_, session)| living.binary_search(session).is_ok())
                .map(|(pack, _)| pack)
                .collect(),
        };
        let mut add = |tree: TreeHash, why: Why| roots.why.entry(tree).or_default().push(why);
        for (tree, name) in named {
            add(tree, Why::Root(name));
        }
        for (tree, session, pid, purpose) in leased {
            if living.binary_search(&session).is_ok() {
                add(tree, Why::Lease { pid, purpose });
            }
        }
        for (name, tree) in &policy.pins {
            add(*tree, Why::Pin(name.clone()));
        }
        // The newest of each group, counting trees that are still here, each once.
        let mut groups: BTreeMap<String, Vec<TreeHash>> = BTreeMap::new();
        for r in &realisations {
            let names = roots.names.entry(r.tree).or_default();
            if !names.contains(&r.name) {
                names.push(r.name.clone());
            }
            if policy.keep_since.is_some_and(|since| r.started >= since) {
                add(
                    r.tree,
                    Why::Recent {
                        name: r.name.clone(),
                    },
                );
            }
            let Some(group) = (policy.group)(r) else {
                continue;
            };
            let kept = groups.entry(group.clone()).or_default();
            if kept.len() < policy.keep && !kept.contains(&r.tree) && self.has_tree(r.tree)? {
                kept.push(r.tree);
                let place = kept.len();
                add(r.tree, Why::Newest { group, place });
            }
        }
        // Trees that are named but not here are no roots.
        let mut here = BTreeMap::new();
        for (tree, mut why) in roots.why {
            if self.has_tree(tree)? {
                why.sort_unstable();
                why.dedup();
                here.insert(tree, why);
            }
        }
        roots.why = here;
        Ok(roots)
    }

    /// Copies the living objects of the victims into new packs, durable but not yet visible.
    fn copy_living(
        &self,
        marks: &Marks,
        victims: &[Victim],
        content: Content,
    ) -> Result<Vec<(Content, SealedPack)>, StoreError> {
        let session = self.session()?;
        let mut sealed = Vec::new();
        let mut writer: Option<PackWriter> = None;
        for victim in victims {
            for (number, pack) in marks.packs.packs.iter().enumerate() {
                if pack.name != victim.pack.name {
                    continue;
                }
                let mut places = Vec::new();
                for at in 0..pack.count() {
                    if marks.is_marked(number, at) {
                        places.push(pack.place(at)?);
                    }
                }
                places.sort_unstable_by_key(|place| place.offset);
                for place in places {
                    let current = match writer.take() {
                        Some(writer) => writer,
                        None => {
                            let path = session.tmp.join(random_name()?);
                            PackWriter::create(self.disk(), &path)?
                        }
                    };
                    let end = current.append(&Packed {
                        hash: place.hash,
                        sort: place.sort,
                        raw: place.raw,
                        flags: place.flags,
                        stored: &pack.record(&place)?[RECORD_HEAD..],
                    })?;
                    if end > crate::ingest::PACK_LIMIT {
                        sealed.push((content, current.seal()?));
                    } else {
                        writer = Some(current);
                    }
                }
            }
        }
        if let Some(writer) = writer {
            sealed.push((content, writer.seal()?));
        }
        Ok(sealed)
    }

    /// Finds checkouts and layers that no living tree uses.
    fn judge_layers(
        &self,
        roots: &Roots,
        report: &mut GcReport,
    ) -> Result<Vec<(Option<TreeHash>, PathBuf)>, StoreError> {
        let boot = self.disk().boot();
        let rows = self.database().read("list layers", |c| {
            c.prepare("SELECT tree, base, boot FROM layer ORDER BY tree")?
                .query_map([], |row| {
                    let base: Option<String> = row.get(1)?;
                    let base = match base {
                        Some(_) => Some(TreeHash(hash_at(row, 1)?)),
                        None => None,
                    };
                    Ok((TreeHash(hash_at(row, 0)?), (base, row.get::<_, String>(2)?)))
                })?
                .collect::<rusqlite::Result<BTreeMap<_, _>>>()
        })?;
        let mut kept = BTreeSet::new();
        for tree in roots.why.keys() {
            let mut at = Some(*tree);
            while let Some(tree) = at {
                let row = rows.get(&tree).filter(|(_, made)| *made == boot);
                // A layer kept already was followed to its end already.
                at = match row {
                    Some((base, _)) if kept.insert(tree) => *base,
                    _ => None,
                };
            }
        }
        let mut gone = Vec::new();
        for (folder, whole) in [("checkouts", true), ("layers", false)] {
            for (name, path) in list(self.disk(), &self.path().join(folder))? {
                let tree: Option<TreeHash> = name.parse().ok();
                let stays = tree.is_some_and(|tree| {
                    kept.contains(&tree)
                        && rows
                            .get(&tree)
                            .is_some_and(|(base, _)| base.is_none() == whole)
                });
                if stays {
                    continue;
                }
                let bytes = disk_use(&path);
                report.gone.push(match tree {
                    Some(tree) => Gone::Checkout { tree, bytes },
                    None => Gone::Leftover {
                        name: format!("{folder}/{name}"),
                        bytes,
                    },
                });
                gone.push((tree, path));
            }
        }
        Ok(gone)
    }

    /// Finds files that no crash-free run leaves behind.
    fn judge_leftovers(
        &self,
        marks: &Marks,
        report: &mut GcReport,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let mut gone = Vec::new();
        let living = session::living(self.disk(), self.path())?;
        let mut leave = |folder: &str, name: &str, path: PathBuf| {
            report.gone.push(Gone::Leftover {
                name: format!("{folder}/{name}"),
                bytes: disk_use(&path),
            });
            gone.push(path);
        };
        for (name, path) in list(self.disk(), &self.packs_dir())? {
            // Packs are placed and named under the lock: one that has no name was left by a crash.
            let named = name.strip_suffix(EXTENSION).is_some_and(|name| {
                let broken = marks.packs.broken.iter().any(|(b, _)| b == name);
                broken || marks.packs.packs.iter().any(|p| p.name == name)
            });
            if !named {
                leave("packs", &name, path);
            }
        }
        for (name, path) in list(self.disk(), &self.path().join("tmp"))? {
            if living.binary_search(&name).is_err() {
                leave("tmp", &name, path);
            }
        }
        Ok(gone)
    }

    /// Makes the copies part of the store in place of what they were copied from, and forgets layers,
    /// in one step: whatever happens, nobody finds a tree of which a part is gone.
    fn replace(
        &self,
        copies: &[(Content, SealedPack)],
        dead: &[Arc<Pack>],
        layers: &[(Option<TreeHash>, PathBuf)],
    ) -> Result<(), StoreError> {
        let names = self.place_packs(copies)?;
        self.database().write(Durable::Yes, "replace packs", |t| {
            for ((content, pack), name) in copies.iter().zip(&names) {
                add_pack(t, name, *content, pack.len, pack.count)?;
            }
            for pack in dead {
                t.execute("DELETE FROM pack WHERE name = ?1", [&pack.name])?;
            }
            let mut forget =
                t.prepare("DELETE FROM layer WHERE tree = ?1 AND (base IS NULL) = ?2")?;
            for (tree, path) in layers {
                if let Some(tree) = tree {
                    let whole = path.parent().is_some_and(|p| p.ends_with("checkouts"));
                    forget.execute(rusqlite::params![tree.to_string(), whole])?;
                }
            }
            Ok(())
        })?;
        self.refresh()?;
        Ok(())
    }

    /// Removes the files of packs that the store does not name any more.
    fn unlink_packs(&self, dead: &[Arc<Pack>]) -> Result<(), StoreError> {
        for pack in dead {
            match self.disk().remove(&pack.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove pack", &pack.path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Decides about every pack, names the trees that go, and returns the packs that go.
fn judge_packs(
    marks: &Marks,
    roots: &Roots,
    victims: &[&Victim],
    report: &mut GcReport,
) -> Result<Vec<Arc<Pack>>, StoreError> {
    let mut dead = Vec::new();
    let mut trees = BTreeSet::new();
    for (number, pack) in marks.packs.packs.iter().enumerate() {
        let living = marks.count(number);
        report.objects_alive += living as u64;
        report.objects_gone += (pack.count() - living) as u64;
        for at in 0..pack.count() {
            if !marks.is_marked(number, at) {
                let place = pack.place(at)?;
                if place.sort == Sort::Tree {
                    trees.insert(TreeHash(place.hash));
                }
            }
        }
        if living == 0 {
            report.gone.push(Gone::Pack {
                name: pack.name.clone(),
                bytes: pack.len(),
            });
            dead.push(pack.clone());
            continue;
        }
        let victim = victims.iter().find(|v| v.pack.name == pack.name);
        // Something in it became needed after the copy was made: it stays until next time.
        if let Some(victim) = victim.filter(|v| v.copied == living) {
            report.gone.push(Gone::Rewrite {
                name: pack.name.clone(),
                bytes: victim.bytes,
            });
            dead.push(pack.clone());
        }
    }
    for tree in trees {
        if !roots.why.contains_key(&tree) {
            let names = roots.names.get(&tree).cloned().unwrap_or_default();
            report.gone.push(Gone::Tree { tree, names });
        }
    }
    Ok(dead)
}

impl Gone {
    /// Bytes that this frees.
    pub fn bytes(&self) -> u64 {
        match self {
            Gone::Tree { .. } => 0,
            Gone::Pack { bytes, .. }
            | Gone::Rewrite { bytes, .. }
            | Gone::Checkout { bytes, .. }
            | Gone::Leftover { bytes, .. } => *bytes,
        }
    }
}

/// Chooses packs to be copied. Of contents, those at least half dead; of what names other objects,
/// all in which anything is dead; of both, the small ones when there are many.
fn victims(marks: &Marks, content: Content) -> Result<Vec<Victim>, StoreError> {
    let mut chosen = Vec::new();
    let mut small = Vec::new();
    for (number, pack) in marks.packs.packs.iter().enumerate() {
        let copied = marks.count(number);
        if copied == 0 || marks.is_held(&pack.name) || pack.is_meta() != (content == Content::Meta)
        {
            continue;
        }
        let mut living = 0;
        for at in 0..pack.count() {
            if marks.is_marked(number, at) {
                living += pack.place(at)?.record_len() + crate::pack::ENTRY_LEN as u64;
            }
        }
        let victim = Victim {
            pack: pack.clone(),
            copied,
            bytes: pack.len().saturating_sub(living),
        };
        let half = content == Content::Meta || living * 2 <= pack.len();
        if half && copied < pack.count() {
            chosen.push(victim);
        } else if pack.len() < SMALL {
            small.push(victim);
        }
    }
    if small.len() > SMALL_MANY {
        chosen.append(&mut small);
    }
    Ok(chosen)
}

/// What is in a folder, sorted by name.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let names = disk.list(dir).map_err(|e| StoreError::io("list", dir, e))?;
    let found = names.into_iter().map(|name| {
        let path = dir.join(&name);
        (name.to_string_lossy().into_owned(), path)
    });
    Ok(found.collect())
}

/// Bytes on disk of a file, or of a folder with all in it. What cannot be looked at counts nothing.
fn disk_use(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    let mut open = vec![path.to_path_buf()];
    let mut linked = BTreeSet::new();
    while let Some(path) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.nlink() > 1 && !meta.is_dir() && !linked.insert(meta.ino()) {
            continue;
        }
        sum += meta.blocks() * 512;
        if meta.is_dir()
            && let Ok(list) = fs::read_dir(&path)
        {
            open.extend(list.flatten().map(|entry| entry.path()));
        }
    }
    sum
}
