//! Folders that whole trees were written out to: beyond a bound, those that nobody uses go.
//!
//! Such a folder takes as much as its tree, and can be made again at any time. So they need no collection to
//! go: a run that made some looks whether all of them together take more than the owner of the machine
//! wants to give. What goes first was used longest ago. A folder stays that a living process has leased or
//! works in, also one below the layers of such a tree; one that an out-link leads to was made for somebody by
//! name, and stays too.
//!
//! How much a folder takes is noted in `cache` when it was counted once: nobody writes to it afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::in_use::{InUse, Occupancy};
use super::plan::{LayerRows, disk_use, list_if_there};
use super::roots::Dropped;
use super::{GcPolicy, Gone, Why};
use crate::checkout::{LINKS, VIEWS};
use crate::db::Durable;
use crate::disk::Lock;
use crate::{Store, StoreError, TreeHash};

/// Folders of the store with whole trees.
const FOLDERS: [&str; 3] = ["checkouts", LINKS, VIEWS];

/// A whole tree that was written out.
struct Whole {
    folder: &'static str,
    name: String,
    path: PathBuf,
    tree: TreeHash,
    bytes: u64,
}

/// What trees that were written out take on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WrittenOut {
    /// Whole trees that builds use.
    pub checkouts: u64,
    /// What each step changed.
    pub layers: u64,
    /// Folders for people, and the files that they link to.
    pub views: u64,
}

/// The tree that a folder is named after.
fn tree_of(name: &str) -> Option<TreeHash> {
    name.split('-').next()?.parse().ok()
}

/// Bytes of what has one name only, and of folders: a file of `links` has names in `views` too.
fn own_use(path: &Path) -> u64 {
    let mut sum = 0;
    let mut open = vec![path.to_path_buf()];
    while let Some(path) = open.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else {
            continue;
        };
        if meta.is_dir() {
            let list = fs::read_dir(&path).into_iter().flatten().flatten();
            open.extend(list.map(|entry| entry.path()));
        } else if meta.nlink() > 1 {
            continue;
        }
        sum += meta.blocks() * 512;
    }
    sum
}

impl Store {
    /// What trees that were written out take on disk.
    pub fn written_out(&self) -> Result<WrittenOut, StoreError> {
        let mut sum = WrittenOut {
            layers: disk_use(&self.path().join("layers")),
            ..WrittenOut::default()
        };
        for whole in self.wholes()? {
            match whole.folder {
                "checkouts" => sum.checkouts += whole.bytes,
                _ => sum.views += whole.bytes,
            }
        }
        Ok(sum)
    }

    /// Whole trees that were written out, with what they take.
    fn wholes(&self) -> Result<Vec<Whole>, StoreError> {
        let mut all = Vec::new();
        for folder in FOLDERS {
            for (name, path) in list_if_there(self.disk(), &self.path().join(folder))? {
                let Some(tree) = tree_of(&name) else { continue };
                let bytes = self.size_of(folder, &name, &path);
                all.push(Whole {
                    folder,
                    name,
                    path,
                    tree,
                    bytes,
                });
            }
        }
        Ok(all)
    }

    /// Bytes of a folder, counted once.
    fn size_of(&self, folder: &str, name: &str, path: &Path) -> u64 {
        let inode = fs::symlink_metadata(path).map_or(0, |meta| meta.ino());
        let note = self
            .path()
            .join("cache")
            .join(format!("size-{folder}-{name}"));
        let noted = fs::read_to_string(&note).ok();
        let noted = noted.as_deref().and_then(|text| text.split_once(' '));
        if let Some((of, bytes)) = noted
            && of.parse() == Ok(inode)
            && let Ok(bytes) = bytes.parse()
        {
            return bytes;
        }
        let bytes = match folder {
            VIEWS => own_use(path),
            _ => disk_use(path),
        };
        if !self.is_read_only() {
            // It is counted again where this cannot be kept.
            let _ = crate::doors::write(self.inside(), &note, &format!("{inode} {bytes}"));
        }
        bytes
    }

    /// Removes whole trees that were written out and that nobody uses, those used longest ago first, until
    /// the rest takes at most `bound` bytes. Waits for nobody: while another process adds something or collects
    /// garbage, it does nothing. Folders for people go with `people` alone: who cannot see every process that
    /// may work in one, as an ordinary user within a user namespace, leaves them to the collector.
    pub fn trim(&self, bound: u64, people: bool) -> Result<Vec<Gone>, StoreError> {
        if self.is_read_only() || self.wholes()?.iter().map(|w| w.bytes).sum::<u64>() <= bound {
            return Ok(Vec::new());
        }
        let gc = self.path().join("gc.lock");
        let held = self.disk().lock(&gc, Lock::Try);
        let Some(_held) = held.map_err(|e| StoreError::io("lock", &gc, e))? else {
            return Ok(Vec::new());
        };
        let path = self.path().join("lock");
        let held = self.disk().lock(&path, Lock::Try);
        match held.map_err(|e| StoreError::io("lock", &path, e))? {
            Some(held) => self.trim_under(bound, people, None, held),
            None => Ok(Vec::new()),
        }
    }

    /// The same, for who has the lock of collections. Waits for the lock of the store.
    pub(super) fn trim_now(
        &self,
        bound: u64,
        seen: Option<&InUse>,
    ) -> Result<Vec<Gone>, StoreError> {
        self.trim_under(bound, true, seen, self.lock_exclusive()?)
    }

    fn trim_under(
        &self,
        bound: u64,
        people: bool,
        seen: Option<&InUse>,
        lock: impl Sized,
    ) -> Result<Vec<Gone>, StoreError> {
        let mut gone = self.to_trim(bound, seen, &BTreeSet::new())?;
        gone.retain(|whole| people || whole.folder != VIEWS);
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let aside = self.remove_wholes(&gone, lock)?;
        aside.remove()?;
        Ok(gone.iter().map(Whole::gone).collect())
    }

    /// What would be removed, besides `others`, which go anyway. The caller holds the lock of the store.
    pub(super) fn trim_plan(
        &self,
        bound: u64,
        seen: Option<&InUse>,
        others: &BTreeSet<PathBuf>,
    ) -> Result<Vec<Gone>, StoreError> {
        let gone = self.to_trim(bound, seen, others)?;
        Ok(gone.iter().map(Whole::gone).collect())
    }

    fn to_trim(
        &self,
        bound: u64,
        seen: Option<&InUse>,
        others: &BTreeSet<PathBuf>,
    ) -> Result<Vec<Whole>, StoreError> {
        let mut wholes = self.wholes()?;
        wholes.retain(|whole| !others.contains(&whole.path));
        let mut left: u64 = wholes.iter().map(|whole| whole.bytes).sum();
        if left <= bound {
            return Ok(Vec::new());
        }
        let rows = self.layer_rows()?;
        let roots = self.gc_roots(&GcPolicy::newest(0), &Dropped::new())?;
        let mut used = roots.used;
        let mut held = BTreeSet::new();
        for (tree, why) in &roots.why {
            if why.iter().any(|why| matches!(why, Why::Lease { .. })) {
                held.extend(below(&rows, *tree));
            }
        }
        // What lies below a layer is used whenever the layer is.
        for tree in rows.keys() {
            let at = used.get(tree).copied().unwrap_or(0);
            for below in below(&rows, *tree) {
                let used = used.entry(below).or_insert(at);
                *used = at.max(*used);
            }
        }
        let named: BTreeSet<TreeHash> = self
            .out_links()?
            .into_iter()
            .filter_map(|link| (!link.dead).then_some(link.tree))
            .collect();
        let asked = |whole: &Whole| {
            let meta = fs::symlink_metadata(&whole.path);
            match whole.folder {
                VIEWS => meta.map_or(0, |meta| meta.mtime()),
                _ => 0,
            }
        };
        wholes.sort_by_cached_key(|whole| {
            let used = used.get(&whole.tree).copied().unwrap_or(0);
            (used.max(asked(whole)), whole.path.clone())
        });
        let occupancy = Occupancy::of(self.path(), seen);
        let mut gone = Vec::new();
        for whole in wholes {
            if left <= bound {
                break;
            }
            let stays = held.contains(&whole.tree)
                || (whole.folder == VIEWS && named.contains(&whole.tree))
                || occupancy.holds(&whole.path);
            if !stays {
                left -= whole.bytes;
                gone.push(whole);
            }
        }
        Ok(gone)
    }

    /// Takes folders out of the store, and layers that lie on them, while the lock is held.
    fn remove_wholes(
        &self,
        gone: &[Whole],
        lock: impl Sized,
    ) -> Result<crate::ScratchDir, StoreError> {
        let aside = self.scratch("trim")?;
        let rows = self.layer_rows()?;
        let bases = gone.iter().filter(|whole| whole.folder == "checkouts");
        let bases: BTreeSet<TreeHash> = bases.map(|whole| whole.tree).collect();
        let lie_on = |tree: &TreeHash| below(&rows, *tree).any(|at| bases.contains(&at));
        let useless: Vec<TreeHash> = rows.keys().copied().filter(lie_on).collect();
        self.database()
            .write(Durable::No, "forget checkouts", |t| {
                let mut forget = t.prepare("DELETE FROM layer WHERE tree = ?1")?;
                for tree in &useless {
                    forget.execute([tree.to_string()])?;
                }
                Ok(())
            })?;
        let layers = useless.iter().filter(|tree| rows[*tree].0.is_some());
        let layers = layers.map(|tree| self.path().join("layers").join(tree.to_string()));
        let paths = gone.iter().map(|whole| whole.path.clone()).chain(layers);
        for (n, path) in paths.enumerate() {
            match self.disk().rename(&path, &aside.path().join(n.to_string())) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("move aside", &path, error));
                }
                _ => {}
            }
        }
        for whole in gone {
            let note = format!("size-{}-{}", whole.folder, whole.name);
            let _ = self.disk().remove(&self.path().join("cache").join(note));
        }
        drop(lock);
        Ok(aside)
    }
}

/// A tree and those that its layers lie on.
fn below(rows: &LayerRows, tree: TreeHash) -> impl Iterator<Item = TreeHash> {
    let mut left = rows.len() + 1;
    std::iter::successors(Some(tree), move |tree| {
        left -= 1;
        rows.get(tree)?.0.filter(|_| left > 0)
    })
}

impl Whole {
    fn gone(&self) -> Gone {
        Gone::Checkout {
            tree: self.tree,
            folder: self.folder,
            bytes: self.bytes,
            for_size: true,
        }
    }
}
