//! Plan of a collection, as data: a dry run prints it, a real one carries it out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::in_use::Occupancy;
use super::roots::{Dropped, Roots};
use super::{GcPolicy, GcReport, Gone, Why};
use crate::checkout::{LINKS, OUT_LINKS, VIEWS};
use crate::db::rows::hash_at;
use crate::disk::Disk;
use crate::doors;
use crate::layout::CATALOGUES;
use crate::mark::Marks;
use crate::pack::{EXTENSION, PackFile, PackKind, RecordKind};
use crate::session;
use crate::{Store, StoreError, TreeHash};

/// Packs smaller than this are merged when there are many.
const SMALL: u64 = 4 << 20;
/// Number of small packs that are left alone.
const SMALL_MANY: usize = 32;

/// What will be done.
pub(super) struct Plan {
    pub report: GcReport,
    pub marks: Marks,
    /// Packs that go under the lock.
    pub dead: Vec<Arc<PackFile>>,
    /// Packs of manifests, whose living part is copied under the lock.
    pub meta: Vec<Victim>,
    /// Packs of contents, whose living part is copied afterwards.
    pub data: Vec<Victim>,
    /// Checkouts and layers to be forgotten and removed.
    pub layers: Vec<(Option<TreeHash>, PathBuf)>,
    /// Files and folders to be removed.
    pub paths: Vec<PathBuf>,
    /// Lock files to be forgotten.
    pub dead_locks: Vec<String>,
    /// Lock files to be noted as missing.
    pub missing_locks: Vec<String>,
}

/// A pack whose living objects are copied.
#[derive(Clone)]
pub(super) struct Victim {
    pub pack: Arc<PackFile>,
    /// Living objects that the copy has.
    pub copied: usize,
    /// Bytes of them.
    pub living: u64,
    /// Bytes that go.
    pub bytes: u64,
}

/// Rows of the table of layers by tree: the layer below, and the boot that it was made in.
pub(super) type LayerRows = BTreeMap<TreeHash, (Option<TreeHash>, String)>;

impl Store {
    /// Makes the plan from marks that are complete. The caller holds the store's lock.
    pub(super) fn plan(
        &self,
        policy: &GcPolicy<'_>,
        roots: Roots,
        marks: Marks,
        dropped: &Dropped,
    ) -> Result<Plan, StoreError> {
        let mut report = GcReport {
            alive: roots.survivors(),
            missing_locks: roots.missing_locks.iter().map(|(p, _)| p.clone()).collect(),
            ..GcReport::default()
        };
        let meta = victims(&marks, PackKind::Meta, false)?;
        let mut data = victims(&marks, PackKind::Data, false)?;
        let limit = match policy.max_size {
            Some(max) => Some(max.saturating_sub(self.other_bytes(policy)?)),
            None => None,
        };
        let mut size = size_after(&marks, &meta, &data);
        if limit.is_some_and(|limit| size > limit) {
            data = victims(&marks, PackKind::Data, true)?;
            size = size_after(&marks, &meta, &data);
        }
        let all: Vec<&Victim> = meta.iter().chain(&data).collect();
        let dead = judge_packs(&marks, &roots, &all, dropped, &mut report)?;
        let room = limit.map(|limit| limit.saturating_sub(size));
        let layers = self.judge_layers(policy, &roots, room, &mut report)?;
        let mut paths = self.judge_leftovers(&marks, &mut report)?;
        paths.extend(self.judge_aids(policy, &roots, &mut report)?);
        report.lost = self.lost_results()?;
        for path in &roots.dead_locks {
            report.gone.push(Gone::Lock { path: path.clone() });
        }
        report.over = limit.map_or(0, |limit| size.saturating_sub(limit));
        report.freed = report.gone.iter().map(Gone::bytes).sum();
        Ok(Plan {
            report,
            marks,
            dead,
            meta,
            data,
            layers,
            paths,
            dead_locks: roots.dead_locks,
            missing_locks: roots
                .missing_locks
                .into_iter()
                .filter_map(|(path, new)| new.then_some(path))
                .collect(),
        })
    }

    /// Finds checkouts and layers that no living tree uses.
    fn judge_layers(
        &self,
        policy: &GcPolicy<'_>,
        roots: &Roots,
        mut room: Option<u64>,
        report: &mut GcReport,
    ) -> Result<Vec<(Option<TreeHash>, PathBuf)>, StoreError> {
        let limited = room.is_some();
        let rows = self.layer_rows()?;
        let kept = self.kept_layers(roots, &rows, &mut room);
        let occupancy = Occupancy::of(self.path(), policy.seen.as_ref());
        let mut gone = Vec::new();
        for folder in [VIEWS, LINKS] {
            gone.extend(self.judge_links(folder, roots, &mut room, limited, &occupancy, report)?);
        }
        for (folder, whole) in [("checkouts", true), ("layers", false)] {
            for (name, path) in list(self.disk(), &self.path().join(folder))? {
                let tree: Option<TreeHash> = name.parse().ok();
                let stays = tree.is_some_and(|tree| {
                    kept.contains(&tree)
                        && rows
                            .get(&tree)
                            .is_some_and(|(base, _)| base.is_none() == whole)
                });
                if stays || occupancy.holds(&path) {
                    continue;
                }
                let bytes = disk_use(&path);
                report.gone.push(match tree {
                    Some(tree) => Gone::Checkout {
                        tree,
                        folder,
                        bytes,
                        // Else a newer form took its place, or it was made before the last boot.
                        for_size: limited && roots.why.contains_key(&tree),
                    },
                    None => Gone::Leftover {
                        name: format!("{folder}/{name}"),
                        bytes,
                    },
                });
                gone.push((tree, path));
            }
        }
        report.occupied = occupancy.found();
        Ok(gone)
    }

    /// The table of layers.
    pub(super) fn layer_rows(&self) -> Result<LayerRows, StoreError> {
        self.database().read("list layers", |c| {
            c.prepare("SELECT tree, base, boot FROM layer ORDER BY tree")?
                .query_map([], |row| {
                    let base: Option<String> = row.get(1)?;
                    let base = match base {
                        Some(_) => Some(TreeHash(hash_at(row, 1)?)),
                        None => None,
                    };
                    Ok((TreeHash(hash_at(row, 0)?), (base, row.get::<_, String>(2)?)))
                })?
                .collect()
        })
    }

    /// The trees whose checkouts and layers stay: those of living trees, newest first, as long as there is
    /// `room`, which what stays makes smaller.
    fn kept_layers(
        &self,
        roots: &Roots,
        rows: &LayerRows,
        room: &mut Option<u64>,
    ) -> BTreeSet<TreeHash> {
        let boot = self.disk().boot();
        let mut kept = BTreeSet::new();
        for top in roots.newest_first() {
            if let Some(room) = room {
                let leased = roots.why[&top].iter().any(Why::is_use);
                let mut bytes = 0;
                let mut at = Some(top);
                while let Some((base, tree)) = at
                    .filter(|tree| !kept.contains(tree))
                    .and_then(|tree| Some((rows.get(&tree)?.0, tree)))
                {
                    let folder = if base.is_some() {
                        "layers"
                    } else {
                        "checkouts"
                    };
                    bytes += disk_use(&self.path().join(folder).join(tree.to_string()));
                    at = base;
                }
                if bytes > *room && !leased {
                    continue;
                }
                *room = room.saturating_sub(bytes);
            }
            let mut at = Some(top);
            while let Some(tree) = at {
                let row = rows.get(&tree).filter(|(_, made)| *made == boot);
                // A layer kept already was followed to its end already.
                at = match row {
                    Some((base, _)) if kept.insert(tree) => *base,
                    _ => None,
                };
            }
        }
        kept
    }

    /// Finds folders for people, and of the files that these link to, of trees that do not live.
    fn judge_links(
        &self,
        folder: &'static str,
        roots: &Roots,
        room: &mut Option<u64>,
        limited: bool,
        occupancy: &Occupancy<'_>,
        report: &mut GcReport,
    ) -> Result<Vec<(Option<TreeHash>, PathBuf)>, StoreError> {
        let boot = self.disk().boot();
        let mut gone = Vec::new();
        for (name, path) in list_if_there(self.disk(), &self.path().join(folder))? {
            let (tree, made) = name.split_once('-').unwrap_or((&name, ""));
            let tree = tree.parse::<TreeHash>().ok();
            let why = tree.and_then(|tree| roots.why.get(&tree));
            // Somebody had it made by name: it stays as it is, also when the machine was started anew.
            let is_named = |why: &Why| folder == VIEWS && matches!(why, Why::OutLink(_));
            let named = why.is_some_and(|why| why.iter().any(is_named));
            let made_now = match folder {
                VIEWS => self.is_view(&path),
                _ => made == boot,
            };
            let why = why.filter(|_| made_now || named);
            let leased = named || why.is_some_and(|why| why.iter().any(Why::is_use));
            let bytes = disk_use(&path);
            if why.is_some() && (leased || room.is_none_or(|room| bytes <= room)) {
                *room = room.map(|room| room.saturating_sub(bytes));
                continue;
            }
            if occupancy.holds(&path) {
                continue;
            }
            report.gone.push(match tree {
                Some(tree) => Gone::Checkout {
                    tree,
                    folder,
                    bytes,
                    for_size: limited && why.is_some(),
                },
                None => Gone::Leftover {
                    name: format!("{folder}/{name}"),
                    bytes,
                },
            });
            // No row of the table of layers speaks of it.
            gone.push((None, path));
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
        let mut leave = |folder: &str, name: &str, path: PathBuf| {
            report.gone.push(Gone::Leftover {
                name: format!("{folder}/{name}"),
                bytes: disk_use(&path),
            });
            gone.push(path);
        };
        for (name, path) in list(self.disk(), &self.packs_dir())? {
            // Packs are placed and named under the lock: one that has no name was left by a crash.
            let named = name.strip_suffix(EXTENSION);
            if named.and_then(|name| marks.packs.number(name)).is_none() {
                leave("packs", &name, path);
            }
        }
        for link in self.out_links()?.into_iter().filter(|link| link.dead) {
            if let Some(name) = link.note.file_name() {
                leave(OUT_LINKS, &name.to_string_lossy(), link.note.clone());
            }
        }
        for name in session::abandoned(self.disk(), self.path())? {
            let path = self.path().join("tmp").join(&name);
            leave("tmp", &name.to_string_lossy(), path);
        }
        Ok(gone)
    }

    /// Finds old things that help people and not builds.
    fn judge_aids(
        &self,
        policy: &GcPolicy<'_>,
        roots: &Roots,
        report: &mut GcReport,
    ) -> Result<Vec<PathBuf>, StoreError> {
        let mut gone = Vec::new();
        let logs: BTreeSet<&str> = roots
            .logs
            .iter()
            .filter(|(_, tree)| roots.why.contains_key(tree))
            .map(|(log, _)| log.as_str())
            .collect();
        type Make = fn(String, u64) -> Gone;
        let kinds: [(&str, Option<i64>, Make); 3] = [
            ("failed", policy.failed_before, |name, bytes| Gone::Failed {
                name,
                bytes,
            }),
            ("logs", policy.logs_before, |name, bytes| Gone::Log {
                name,
                bytes,
            }),
            ("cache", policy.caches_before, |name, bytes| Gone::Cache {
                name,
                bytes,
            }),
        ];
        for (folder, before, make) in kinds {
            let dir = self.path().join(folder);
            let Some(before) = before.filter(|_| dir.is_dir()) else {
                continue;
            };
            for (name, path) in list(self.disk(), &dir)? {
                let old = fs::symlink_metadata(&path)
                    .is_ok_and(|m| m.mtime() < before && (folder != "cache" || m.atime() < before));
                if old && !(folder == "logs" && logs.contains(&*name)) {
                    report
                        .gone
                        .push(make(format!("{folder}/{name}"), disk_use(&path)));
                    gone.push(path);
                }
            }
        }
        Ok(gone)
    }

    /// Bytes of the store that are neither in packs nor in checkouts, and stay.
    pub(super) fn other_bytes(&self, policy: &GcPolicy<'_>) -> Result<u64, StoreError> {
        let mut sum = 0;
        for folder in ["db", "logs", "cache", "failed", CATALOGUES] {
            sum += disk_use(&self.path().join(folder));
        }
        let mut report = GcReport::default();
        let roots = Roots::default();
        let kept_logs = GcPolicy {
            failed_before: policy.failed_before,
            caches_before: policy.caches_before,
            ..GcPolicy::newest(0)
        };
        self.judge_aids(&kept_logs, &roots, &mut report)?;
        let gone: u64 = report.gone.iter().map(Gone::bytes).sum();
        Ok(sum.saturating_sub(gone))
    }
}

/// Bytes of all packs when the victims are written anew.
fn size_after(marks: &Marks, meta: &[Victim], data: &[Victim]) -> u64 {
    let all = meta.iter().chain(data);
    let living: BTreeMap<&str, u64> = all.map(|v| (v.pack.name(), v.living)).collect();
    let mut sum = 0;
    for (number, pack) in marks.packs.packs.iter().enumerate() {
        if marks.count(number) > 0 {
            sum += living.get(pack.name()).copied().unwrap_or(pack.len());
        }
    }
    sum
}

/// Decides about every pack, names the trees that go, and returns the packs that go under the lock:
/// the dead ones, and those of manifests that are written anew.
fn judge_packs(
    marks: &Marks,
    roots: &Roots,
    victims: &[&Victim],
    dropped: &Dropped,
    report: &mut GcReport,
) -> Result<Vec<Arc<PackFile>>, StoreError> {
    let victims: BTreeMap<&str, u64> = victims.iter().map(|v| (v.pack.name(), v.bytes)).collect();
    let mut dead = Vec::new();
    let mut trees = BTreeSet::new();
    for (number, pack) in marks.packs.packs.iter().enumerate() {
        let living = marks.count(number);
        report.objects_alive += living as u64;
        report.objects_gone += (pack.count() - living) as u64;
        if pack.is_meta() && living < pack.count() {
            let open = pack.open()?;
            for at in (0..open.count()).filter(|at| !marks.is_marked(number, *at)) {
                let place = open.entry(at)?;
                if place.kind == RecordKind::Tree {
                    trees.insert(TreeHash(place.hash));
                }
            }
        }
        if living == 0 {
            report.gone.push(Gone::Pack {
                name: pack.name().to_owned(),
                bytes: pack.len(),
            });
            dead.push(pack.clone());
            continue;
        }
        if let Some(bytes) = victims.get(pack.name()) {
            report.gone.push(Gone::Rewrite {
                name: pack.name().to_owned(),
                bytes: *bytes,
            });
            if pack.is_meta() {
                dead.push(pack.clone());
            }
        }
    }
    for tree in trees {
        if !roots.why.contains_key(&tree) {
            let names = roots.names.get(&tree).cloned().unwrap_or_default();
            report.gone.push(Gone::Tree {
                tree,
                names,
                for_size: dropped.contains_key(&tree),
            });
        }
    }
    Ok(dead)
}

/// Chooses packs to be copied. Of contents, those at least half dead; of what names other objects,
/// all in which anything is dead; of both, the small ones when there are many. With `tight`, of
/// contents too all in which anything is dead.
pub(super) fn victims(
    marks: &Marks,
    content: PackKind,
    tight: bool,
) -> Result<Vec<Victim>, StoreError> {
    let mut chosen = Vec::new();
    let mut small = Vec::new();
    for (number, pack) in marks.packs.packs.iter().enumerate() {
        let copied = marks.count(number);
        if copied == 0
            || marks.is_held(pack.name())
            || pack.is_meta() != (content == PackKind::Meta)
        {
            continue;
        }
        let mut living = 0;
        let open = pack.open()?;
        for at in (0..open.count()).filter(|at| marks.is_marked(number, *at)) {
            living += open.entry(at)?.record_len() + crate::pack::ENTRY_LEN as u64;
        }
        let victim = Victim {
            pack: pack.clone(),
            copied,
            living,
            bytes: pack.len().saturating_sub(living),
        };
        let half = content == PackKind::Meta || tight || living * 2 <= pack.len();
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

/// What is in a folder that stores of earlier releases do not have.
pub(super) fn list_if_there(
    disk: &dyn Disk,
    dir: &Path,
) -> Result<Vec<(String, PathBuf)>, StoreError> {
    if dir.is_dir() {
        list(disk, dir)
    } else {
        Ok(Vec::new())
    }
}

/// What is in a folder, sorted by name.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<(String, PathBuf)>, StoreError> {
    let found = doors::list(disk, dir)?.into_iter().map(|name| {
        let path = dir.join(&name);
        (name.to_string_lossy().into_owned(), path)
    });
    Ok(found.collect())
}

/// Bytes on disk of a file, or of a folder with all in it. What cannot be looked at counts nothing.
pub(crate) fn disk_use(path: &Path) -> u64 {
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
