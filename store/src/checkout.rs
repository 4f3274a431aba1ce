//! Trees on disk: whole checkouts, and cached layers that builds left behind.
//!
//! A checkout is a cache, never the truth. It is made under a temporary name and renamed, and the
//! database notes on which boot of the machine it was made: contents are not synced, so what a
//! crash of the machine may have damaged is made anew. The rename and the note are one step, under
//! the database's write lock.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::{OptionalExtension, params};

use crate::attributes::Spelling;
use crate::db::Durable;
use crate::facts::{Lease, ScratchDir};
use crate::manifest::Tree;
use crate::session::random_name;
use crate::workers::in_turn;
use crate::{Cancel, Store, StoreError, TreeHash};

mod check;
mod look;
mod over;
mod raise;
mod views;
mod write;

use look::{Folder, Moment, changed_at};
pub use raise::Raised;
pub(crate) use views::{OUT_LINKS, VIEWS};
pub use views::{View, check_out_link};
use write::{How, Source, Take};

/// More layers than this on top of each other, and the upper ones are replaced by one: overlayfs gets slow
/// with many, and takes 500 at most.
const MAX_LAYERS: i64 = 32;

/// A tree on disk, in one or more layers. It stays while this is held.
#[derive(Debug)]
pub struct Checkout {
    layers: Vec<PathBuf>,
    dropped: Vec<Dropped>,
    _lease: Lease,
    /// Of one that was written for this alone.
    _scratch: Option<ScratchDir>,
}

/// A folder of the store that was not what it should be: somebody wrote to it, or the disk lost something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// The tree whose folder it was.
    pub tree: TreeHash,
    /// The folder and what was found in it; paths begin at the store's folder.
    pub found: String,
}

impl Checkout {
    /// The folders to give to overlayfs as `lowerdir`, topmost first. Nobody may write to them.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }

    /// Folders that could have been used and were not what they should be. They are not used any more.
    pub fn dropped(&self) -> &[Dropped] {
        &self.dropped
    }
}

/// What the handles of one store share about checkouts.
#[derive(Debug, Default)]
pub(crate) struct Making {
    /// Held by whoever writes a tree out or looks at its folder; others wait, and find it done.
    turns: Mutex<HashMap<TreeHash, Arc<Mutex<()>>>>,
    /// Folders that were looked at, or made, by this process.
    sound: Mutex<HashSet<(TreeHash, Moment)>>,
    /// Whether contents are compared as well.
    thorough: AtomicBool,
    /// Folders whose contents, with those of the folders below them, were compared.
    read: Mutex<HashSet<(TreeHash, Moment)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Sets are valid after any panic.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl Making {
    fn turn(&self, tree: TreeHash) -> Arc<Mutex<()>> {
        lock(&self.turns).entry(tree).or_default().clone()
    }

    fn is_sound(&self, tree: TreeHash, made: Moment) -> bool {
        lock(&self.sound).contains(&(tree, made))
    }

    fn is_to_be_read(&self, tree: TreeHash, made: Moment) -> bool {
        self.thorough.load(Ordering::Relaxed) && !lock(&self.read).contains(&(tree, made))
    }

    fn note(&self, tree: TreeHash, made: Moment) {
        lock(&self.sound).insert((tree, made));
    }
}

/// A folder of a tree, as the database has it.
struct OnDisk {
    tree: TreeHash,
    base: Option<TreeHash>,
    made: Moment,
    path: PathBuf,
}

/// One row of the table of layers.
struct Row {
    base: Option<TreeHash>,
    boot: String,
    made: Moment,
}

fn row(c: &rusqlite::Connection, tree: TreeHash) -> rusqlite::Result<Option<Row>> {
    c.prepare_cached("SELECT base, boot, made FROM layer WHERE tree = ?1")?
        .query_row([tree.to_string()], |row| {
            let base: Option<String> = row.get(0)?;
            let base = match base {
                Some(_) => Some(TreeHash(crate::db::rows::hash_at(row, 0)?)),
                None => None,
            };
            Ok(Row {
                base,
                boot: row.get(1)?,
                made: row.get(2)?,
            })
        })
        .optional()
}

/// The moment from which on nothing in a finished folder may change.
fn moment_of(path: &Path) -> rustix::io::Result<Moment> {
    let stat = rustix::fs::lstat(path)?;
    // Where a file system does not stamp what is moved, the clock that it stamps with tells.
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let now = now.tv_sec.saturating_mul(1_000_000_000) + now.tv_nsec;
    Ok(changed_at(&stat).max(now))
}

impl Store {
    fn whole_path(&self, tree: TreeHash) -> PathBuf {
        self.path().join("checkouts").join(tree.to_string())
    }

    fn layer_path(&self, tree: TreeHash) -> PathBuf {
        self.path().join("layers").join(tree.to_string())
    }

    /// The folders of a tree that is on disk already, topmost first.
    fn present_layers(&self, tree: TreeHash) -> Result<Option<Vec<PathBuf>>, StoreError> {
        let found = self.on_disk(tree)?;
        Ok(found.map(|all| all.into_iter().map(|folder| folder.path).collect()))
    }

    fn on_disk(&self, tree: TreeHash) -> Result<Option<Vec<OnDisk>>, StoreError> {
        let boot = self.disk().boot();
        self.database().read_together("look up layers", |c| {
            let mut layers = Vec::new();
            let mut at = tree;
            // A chain is no longer than MAX_LAYERS when it is written.
            for _ in 0..=MAX_LAYERS {
                let Some(found) = row(c, at)?.filter(|row| row.boot == boot) else {
                    return Ok(None);
                };
                let path = match found.base {
                    Some(_) => self.layer_path(at),
                    None => self.whole_path(at),
                };
                if !path.is_dir() {
                    return Ok(None);
                }
                layers.push(OnDisk {
                    tree: at,
                    base: found.base,
                    made: found.made,
                    path,
                });
                match found.base {
                    Some(base) => at = base,
                    None => return Ok(Some(layers)),
                }
            }
            Ok(None)
        })
    }

    /// Brings a tree to disk as folders for overlayfs, or finds them there already.
    ///
    /// Attributes named `user.overlay.*` are spelled `user.overlay.overlay.*` there, as overlayfs
    /// expects in its layers. Folders that are found are compared with their trees once a process
    /// (names, kinds, sizes, owners, modes, times of change); what differs is dropped and written anew.
    pub fn checkout(&self, tree: TreeHash) -> Result<Checkout, StoreError> {
        self.checkout_until(tree, None)
    }

    /// Checks out like [`Store::checkout`], but ends with [`StoreError::Interrupted`] soon after it was
    /// cancelled.
    pub fn checkout_until(
        &self,
        tree: TreeHash,
        cancel: Option<&Cancel>,
    ) -> Result<Checkout, StoreError> {
        let lease = self.lease_trees("checkout", &[tree])?;
        let mut dropped = Vec::new();
        let turn = self.making().turn(tree);
        let _turn = lock(&turn);
        // The collector removes layers too, under its lock: what is found now stays, because the
        // tree is leased.
        let layers = loop {
            if let Some(layers) = self.sound_layers(tree, &mut dropped)? {
                break layers;
            }
            // Another process may be faster, and then its folder is looked at.
            if let Some(path) = self.make_checkout(tree, cancel)? {
                break vec![path];
            }
        };
        Ok(Checkout {
            layers,
            dropped,
            _lease: lease,
            _scratch: None,
        })
    }

    /// Writes a tree out whole, for this alone, and unlike any other writing of it in what is not part of
    /// the tree: order and size of directories, holes, times of access, numbers of inodes.
    pub fn checkout_anew(
        &self,
        tree: TreeHash,
        cancel: Option<&Cancel>,
    ) -> Result<Checkout, StoreError> {
        let lease = self.lease_trees("checkout", &[tree])?;
        let scratch = self.scratch("checkout")?;
        let path = scratch.path().join("root");
        let how = How {
            cancel,
            vary: true,
            ..How::new(Spelling::Overlay)
        };
        write::write_tree(self, tree, &path, how)?;
        Ok(Checkout {
            layers: vec![path],
            dropped: Vec::new(),
            _lease: lease,
            _scratch: Some(scratch),
        })
    }

    /// A tree, unless it was collected.
    fn tree_if_here(&self, tree: TreeHash) -> Result<Option<Tree>, StoreError> {
        match self.has_tree(tree)? {
            true => self.tree(tree).map(Some),
            false => Ok(None),
        }
    }

    /// The folders of a tree that is on disk already, topmost first, if all of them are what they were
    /// when they were made. One that is not is forgotten, and what was found is told.
    fn sound_layers(
        &self,
        tree: TreeHash,
        dropped: &mut Vec<Dropped>,
    ) -> Result<Option<Vec<PathBuf>>, StoreError> {
        let Some(folders) = self.on_disk(tree)? else {
            return Ok(None);
        };
        for folder in &folders {
            // The turn of the tree itself is ours. Turns are taken from the top down, so nobody waits
            // for us while we wait.
            let turn = self.making().turn(folder.tree);
            let _turn = (folder.tree != tree).then(|| lock(&turn));
            if self.making().is_sound(folder.tree, folder.made) {
                continue;
            }
            let found = in_turn(|| {
                let object = self.tree_if_here(folder.tree)?;
                let base = folder.base.map(|base| self.tree_if_here(base));
                let base = base.transpose()?.flatten();
                look::difference(
                    self,
                    &Folder {
                        path: &folder.path,
                        tree: object.as_ref(),
                        layered: folder.base.is_some(),
                        base: base.as_ref(),
                        made: folder.made,
                    },
                )
            })?;
            let Some(detail) = found else {
                self.making().note(folder.tree, folder.made);
                continue;
            };
            let shown = folder.path.strip_prefix(self.path());
            let shown = shown.unwrap_or(&folder.path).display();
            dropped.push(self.drop_folder(folder, format!("{shown}: {detail}"))?);
            return Ok(None);
        }
        let layers: Vec<PathBuf> = folders.iter().map(|f| f.path.clone()).collect();
        if let Some(top) = folders.first()
            && self.making().is_to_be_read(tree, top.made)
        {
            if let Some(found) = in_turn(|| self.wrong_content(tree, &layers))? {
                dropped.push(self.drop_folder(top, found)?);
                return Ok(None);
            }
            lock(&self.making().read).insert((tree, top.made));
        }
        Ok(Some(layers))
    }

    /// Makes nobody find a folder again.
    fn drop_folder(&self, folder: &OnDisk, found: String) -> Result<Dropped, StoreError> {
        self.writable("drop a checkout that was changed")?;
        // A build may have it mounted: the next checkout, or the collector, removes it.
        self.database()
            .write(Durable::No, "forget a checkout", |t| {
                let forget = "DELETE FROM layer WHERE tree = ?1 AND made = ?2";
                t.execute(forget, params![folder.tree.to_string(), folder.made])
            })?;
        Ok(Dropped {
            tree: folder.tree,
            found,
        })
    }

    /// Makes this and all handles of the same store compare contents too, before folders are used for the
    /// first time from now on.
    pub fn read_inputs(&self) {
        self.making().thorough.store(true, Ordering::Relaxed);
    }

    /// Writes a tree out; nothing when another process was faster. The turn of the tree is the caller's.
    fn make_checkout(
        &self,
        tree: TreeHash,
        cancel: Option<&Cancel>,
    ) -> Result<Option<PathBuf>, StoreError> {
        self.writable("check out a tree")?;
        let scratch = self.scratch("checkout")?;
        let new = scratch.path().join("root");
        let how = How {
            cancel,
            ..How::new(Spelling::Overlay)
        };
        write::write_tree(self, tree, &new, how)?;
        let path = self.whole_path(tree);
        let ours = self.publish(tree, None, 1, &new, &path)?;
        Ok(ours.then_some(path))
    }

    /// Moves a finished folder to its place, unless another process was faster; tells which.
    fn publish(
        &self,
        tree: TreeHash,
        base: Option<TreeHash>,
        depth: i64,
        new: &Path,
        path: &Path,
    ) -> Result<bool, StoreError> {
        let session = self.session()?;
        let stale = session.tmp.join(format!("stale-{}", random_name()?));
        let boot = self.disk().boot();
        let mut failed = None;
        let result = self.database().write(Durable::No, "note a checkout", |t| {
            let current = row(t, tree)?.filter(|row| row.boot == boot);
            if current.is_some_and(|row| row.base == base) && path.is_dir() {
                return Ok(None);
            }
            let moved = match fs::symlink_metadata(path) {
                Ok(_) => self.disk().rename(path, &stale),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = moved.and_then(|()| self.disk().rename(new, path)) {
                failed = Some(StoreError::io("move checkout to", path, error));
                return Err(rusqlite::Error::ExecuteReturnedResults);
            }
            let made = match moment_of(path) {
                Ok(made) => made,
                Err(error) => {
                    failed = Some(StoreError::io("look at", path, error));
                    return Err(rusqlite::Error::ExecuteReturnedResults);
                }
            };
            t.execute(
                "INSERT OR REPLACE INTO layer (tree, base, depth, boot, made)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    tree.to_string(),
                    base.map(|b| b.to_string()),
                    depth,
                    boot,
                    made
                ],
            )?;
            Ok(Some(made))
        });
        let _ = self.disk().remove_tree(&stale);
        if let Some(error) = failed {
            return Err(error);
        }
        let made = result?;
        if let Some(made) = made {
            self.making().note(tree, made);
            if base.is_none() {
                // Content was compared with its hash as it was written.
                lock(&self.making().read).insert((tree, made));
            }
        }
        Ok(made.is_some())
    }

    /// Takes over a captured upper directory: laid over the layers of `base` it is `tree`. It must
    /// lie in a scratch folder of this store. When it cannot be used (the base has no layers here), it is
    /// removed, and the next checkout writes the tree out. When there would be too many layers, one takes the
    /// place of the upper ones.
    pub fn keep_layer(
        &self,
        base: TreeHash,
        tree: TreeHash,
        upper: PathBuf,
    ) -> Result<(), StoreError> {
        self.writable("keep a layer")?;
        let _lock = self.lock_shared()?;
        self.need_tree(tree)?;
        let drop_it = || {
            let gone = self.disk().remove_tree(&upper);
            gone.map_err(|e| StoreError::io("remove layer", &upper, e))
        };
        if base == tree || self.present_layers(tree)?.is_some() {
            return drop_it();
        }
        let Some(layers) = self.on_disk(base)? else {
            return drop_it();
        };
        let depth = layers.len() as i64 + 1;
        if depth > MAX_LAYERS {
            // A layer is worth no failure: without one the tree is written out when it is needed.
            let _ = self.keep_folded(tree, &layers);
            return drop_it();
        }
        let path = self.layer_path(tree);
        self.publish(tree, Some(base), depth, &upper, &path)
            .map(drop)
    }

    /// Brings `tree` to disk as what it has more than `base`, in one layer over the folders of that one; what is on
    /// disk already is left. Worth it where most of `tree` is `base`: a union of it with others.
    pub fn checkout_over(
        &self,
        base: TreeHash,
        tree: TreeHash,
        cancel: Option<&Cancel>,
    ) -> Result<(), StoreError> {
        if base == tree || self.present_layers(tree)?.is_some() {
            return Ok(());
        }
        let _lease = self.lease_trees("checkout", &[tree])?;
        let below = self.checkout_until(base, cancel)?;
        let depth = below.layers.len() as i64 + 1;
        if depth > MAX_LAYERS {
            return Ok(());
        }
        let over = over::Over::new(&self.tree(tree)?, &self.tree(base)?);
        let scratch = self.scratch("checkout")?;
        let new = scratch.path().join("upper");
        let how = How {
            over: Some(&over),
            cancel,
            ..How::new(Spelling::Overlay)
        };
        write::write_tree(self, tree, &new, how)?;
        let path = self.layer_path(tree);
        self.publish(tree, Some(base), depth, &new, &path).map(drop)
    }

    /// Makes one layer of what `tree` has more than one of `layers`, and lays it over that one.
    fn keep_folded(&self, tree: TreeHash, layers: &[OnDisk]) -> Result<(), StoreError> {
        let Some((at, over)) = self.fold_onto(tree, layers)? else {
            return Ok(());
        };
        let scratch = self.scratch("fold")?;
        let new = scratch.path().join("upper");
        let how = How {
            over: Some(&over),
            ..How::new(Spelling::Overlay)
        };
        write::write_tree(self, tree, &new, how)?;
        let depth = (layers.len() - at) as i64 + 1;
        let path = self.layer_path(tree);
        self.publish(tree, Some(layers[at].tree), depth, &new, &path)
            .map(drop)
    }

    /// Makes the upper directory for a build on `tree`, with the metadata of the tree's root, which
    /// overlayfs shows as that of the merged root. It is empty but for files that have several names:
    /// overlayfs would change them under one name alone. Call [`Raised::take_back`] before the directory
    /// is captured.
    pub fn prepare_upper(&self, tree: TreeHash, upper: &Path) -> Result<Raised, StoreError> {
        self.raise(tree, upper, false)
    }

    /// Makes an upper directory like [`Store::prepare_upper`], with the variations of
    /// [`Store::checkout_anew`].
    pub fn prepare_upper_anew(&self, tree: TreeHash, upper: &Path) -> Result<Raised, StoreError> {
        self.raise(tree, upper, true)
    }

    fn raise(&self, tree: TreeHash, upper: &Path, vary: bool) -> Result<Raised, StoreError> {
        let object = self.tree(tree)?;
        if object.links.is_empty() {
            write::write_root(self, upper, &object.root, Spelling::Overlay)?;
            return Ok(Raised::nothing(self, upper));
        }
        // Nothing that people were given: a build sees it.
        let from = self.whole_layer(tree)?;
        let how = How {
            source: from.as_deref().map(|path| Source {
                path,
                take: Take::Clone,
            }),
            only_linked: true,
            vary,
            ..How::new(Spelling::Overlay)
        };
        write::write_tree(self, tree, upper, how)?;
        Raised::note(self, upper, &object)
    }

    /// Writes a plain copy of a tree for users; `target` must not exist, or be an empty directory.
    pub fn copy_out(&self, tree: TreeHash, target: &Path) -> Result<(), StoreError> {
        self.place(tree, target, Placing::Copy).map(drop)
    }

    /// Writes a tree for users; `target` must not exist, or be an empty directory.
    ///
    /// For [`Placing::Link`] and [`Placing::Reflink`] the store keeps a folder of its own with the
    /// files of the tree, which is written when it is first needed. Builds never see those files.
    pub fn place(&self, tree: TreeHash, target: &Path, how: Placing) -> Result<Placed, StoreError> {
        self.place_until(tree, target, how, Unmakeable::LeaveOut, &Cancel::new())
    }

    /// The same, but it ends with [`StoreError::Interrupted`] soon after it was cancelled. What was
    /// written by then goes, as it does when anything else fails.
    pub fn place_until(
        &self,
        tree: TreeHash,
        target: &Path,
        how: Placing,
        devices: Unmakeable,
        cancel: &Cancel,
    ) -> Result<Placed, StoreError> {
        let _lease = self.lease_trees("copy", &[tree])?;
        let near = how != Placing::Copy && !self.is_read_only() && self.is_near(target);
        let clones = near && how == Placing::Shared && self.can_clone()?;
        let how = match how {
            Placing::Shared if clones => Placing::Reflink,
            Placing::Shared => Placing::Link,
            how => how,
        };
        let from = if clones {
            // Clones share nothing that anybody could write to.
            self.whole_layer(tree)?
        } else if near {
            Some(self.links_source(tree, cancel)?)
        } else {
            self.whole_on_disk(tree)?
        };
        let source = from.as_deref().map(|path| Source {
            path,
            take: match how {
                Placing::Reflink if near => Take::Clone,
                Placing::Link if near => Take::Link,
                _ => Take::Copy,
            },
        });
        let how = How {
            source,
            devices,
            cancel: Some(cancel),
            ..How::new(Spelling::Plain)
        };
        let counts = write::write_tree(self, tree, target, how)?;
        Ok(Placed {
            linked: counts.linked.into_inner(),
            cloned: counts.cloned.into_inner(),
            copied: counts.copied.into_inner(),
        })
    }

    /// Tells whether a folder is, or will be, on the file system of the store.
    fn is_near(&self, target: &Path) -> bool {
        use std::os::unix::fs::MetadataExt;
        let parent = match target.parent() {
            Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
            Some(parent) => parent,
            None => target,
        };
        let device = |path: &Path| fs::metadata(path).map(|meta| meta.dev());
        match (
            device(target).or_else(|_| device(parent)),
            device(self.path()),
        ) {
            (Ok(a), Ok(b)) => a == b,
            _ => false,
        }
    }

    /// A folder that holds the whole tree already, if there is one.
    fn whole_on_disk(&self, tree: TreeHash) -> Result<Option<PathBuf>, StoreError> {
        let links = self.links_path(tree);
        if links.is_dir() {
            return Ok(Some(links));
        }
        self.whole_layer(tree)
    }

    /// The folder that builds see a tree in, if that is a single one.
    fn whole_layer(&self, tree: TreeHash) -> Result<Option<PathBuf>, StoreError> {
        Ok(match self.present_layers(tree)? {
            Some(layers) if layers.len() == 1 => layers.into_iter().next(),
            _ => None,
        })
    }

    /// Where the files of a tree are that farms link to. Made on another boot, it may be damaged.
    fn links_path(&self, tree: TreeHash) -> PathBuf {
        let name = format!("{tree}-{}", self.disk().boot());
        self.path().join(LINKS).join(name)
    }

    /// Brings the files of a tree to disk for farms, or finds them there already.
    fn links_source(&self, tree: TreeHash, cancel: &Cancel) -> Result<PathBuf, StoreError> {
        let path = self.links_path(tree);
        if path.is_dir() {
            return Ok(path);
        }
        let folder = self.path().join(LINKS);
        self.disk()
            .create_dir(&folder, crate::doors::mode_of(LINKS))
            .map_err(|e| StoreError::io("create folder", &folder, e))?;
        let scratch = self.scratch("links")?;
        let new = scratch.path().join("root");
        let from = self.whole_on_disk(tree)?;
        let source = from.as_deref().map(|path| Source {
            path,
            take: Take::Clone,
        });
        let how = How {
            source,
            cancel: Some(cancel),
            ..How::new(Spelling::Plain)
        };
        write::write_tree(self, tree, &new, how)?;
        match self.disk().rename(&new, &path) {
            // Another process was faster.
            Err(_) if path.is_dir() => {}
            other => other.map_err(|e| StoreError::io("move checkout to", &path, e))?,
        }
        Ok(path)
    }
}

/// Folder of the store with the files that farms link to.
pub(crate) const LINKS: &str = "links";

/// How the files of a tree come to a folder of the user's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placing {
    /// As files of their own.
    #[default]
    Copy,
    /// As files of their own that share their blocks with the store, where the file system can (XFS,
    /// btrfs); as copies elsewhere.
    Reflink,
    /// As further names of the store's files: nobody may write to them. Copies where that cannot be,
    /// as on another file system. Files of their own in the tree never become one.
    Link,
    /// As clones where the file system can, else as further names, else as copies.
    Shared,
}

/// What to do about devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmakeable {
    /// Leaves all of them out, also where this user could make them: a node opens the machine's disk to whoever
    /// reaches it, whatever made the tree.
    Never,
    /// Leaves out those that this user cannot make.
    LeaveOut,
    /// Fails with [`StoreError::Device`] where this user cannot make one, and writes nothing.
    Fail,
}

/// How many files came to a folder how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Placed {
    /// As further names of files of the store.
    pub linked: u64,
    /// As clones.
    pub cloned: u64,
    /// As copies.
    pub copied: u64,
}
