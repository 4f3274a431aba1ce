//! Trees on disk: whole checkouts, and cached layers that builds left behind.
//!
//! A checkout is a cache, never the truth. It is made under a temporary name and renamed, and the
//! database notes on which boot of the machine it was made: contents are not synced, so what a
//! crash of the machine may have damaged is made anew. The rename and the note are one step, under
//! the database's write lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, params};

use crate::attributes::Spelling;
use crate::db::Durable;
use crate::facts::Lease;
use crate::session::random_name;
use crate::{Cancel, Store, StoreError, TreeHash};

mod check;
mod write;

use write::{Source, Take};

/// More layers than this on top of each other, and a fresh whole checkout is made: overlayfs gets
/// slow with many, and takes 500 at most.
const MAX_LAYERS: i64 = 32;

/// A tree on disk, in one or more layers. It stays while this is held.
#[derive(Debug)]
pub struct Checkout {
    layers: Vec<PathBuf>,
    _lease: Lease,
}

impl Checkout {
    /// The folders to give to overlayfs as `lowerdir`, topmost first. Nobody may write to them.
    pub fn layers(&self) -> &[PathBuf] {
        &self.layers
    }
}

/// One row of the table of layers.
struct Row {
    base: Option<TreeHash>,
    boot: String,
}

fn row(c: &rusqlite::Connection, tree: TreeHash) -> rusqlite::Result<Option<Row>> {
    c.prepare_cached("SELECT base, boot FROM layer WHERE tree = ?1")?
        .query_row([tree.to_string()], |row| {
            let base: Option<String> = row.get(0)?;
            let base = match base {
                Some(_) => Some(TreeHash(crate::db::rows::hash_at(row, 0)?)),
                None => None,
            };
            Ok(Row {
                base,

                boot: row.get(1)?,
            })
        })
        .optional()
}

impl Store {
    fn whole_path(&self, tree: TreeHash) -> PathBuf {
        self.path().join("checkouts").join(tree.to_string())
    }

    fn layer_path(&self, tree: TreeHash) -> PathBuf {
        self.path().join("layers").join(tree.to_string())
    }

    /// The folders of a tree that is on disk already, topmost first, and how many there are.
    fn present_layers(&self, tree: TreeHash) -> Result<Option<Vec<PathBuf>>, StoreError> {
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
                layers.push(path);
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
    /// expects in its layers.
    pub fn checkout(&self, tree: TreeHash) -> Result<Checkout, StoreError> {
        let lease = self.lease("checkout")?;
        lease.protect(tree)?;
        // The collector removes layers too, under its lock: what is found now stays, because the
        // tree is leased.
        let layers = match self.present_layers(tree)? {
            Some(layers) => layers,
            None => vec![self.make_checkout(tree)?],
        };
        Ok(Checkout {
            layers,
            _lease: lease,
        })
    }

    /// Like [`Store::checkout`], but always one folder, which people can look into.
    pub fn checkout_whole(&self, tree: TreeHash) -> Result<Checkout, StoreError> {
        let lease = self.lease("checkout")?;
        lease.protect(tree)?;
        let layers = match self.present_layers(tree)? {
            Some(layers) if layers.len() == 1 => layers,
            _ => vec![self.make_checkout(tree)?],
        };
        Ok(Checkout {
            layers,
            _lease: lease,
        })
    }

    fn make_checkout(&self, tree: TreeHash) -> Result<PathBuf, StoreError> {
        self.writable("check out a tree")?;
        let scratch = self.scratch("checkout")?;
        let new = scratch.path().join("root");
        write::write_tree(
            self,
            tree,
            &new,
            Spelling::Overlay,
            Unmakeable::LeaveOut,
            None,
            &Cancel::new(),
        )?;
        let path = self.whole_path(tree);
        self.publish(tree, None, 1, &new, &path)?;
        Ok(path)
    }

    /// Moves a finished folder to its place, unless another process was faster.
    fn publish(
        &self,
        tree: TreeHash,
        base: Option<TreeHash>,
        depth: i64,
        new: &Path,
        path: &Path,
    ) -> Result<(), StoreError> {
        let session = self.session()?;
        let stale = session.tmp.join(format!("stale-{}", random_name()?));
        let boot = self.disk().boot();
        let mut failed = None;
        let result = self.database().write(Durable::No, "note a checkout", |t| {
            let current = row(t, tree)?.filter(|row| row.boot == boot);
            if current.is_some_and(|row| row.base == base) && path.is_dir() {
                return Ok(());
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
            t.execute(
                "INSERT OR REPLACE INTO layer (tree, base, depth, boot) VALUES (?1, ?2, ?3, ?4)",
                params![tree.to_string(), base.map(|b| b.to_string()), depth, boot],
            )?;
            Ok(())
        });
        let _ = self.disk().remove_tree(&stale);
        match failed {
            Some(error) => Err(error),
            None => result,
        }
    }

    /// Takes over a captured upper directory: laid over the layers of `base` it is `tree`. It must
    /// lie in a scratch folder of this store. When it cannot be used (the base has no layers here,
    /// or too many), it is removed, and the next checkout writes the tree out.
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
        let depth = match self.present_layers(base)? {
            Some(layers) => layers.len() as i64 + 1,
            None => return drop_it(),
        };
        if depth > MAX_LAYERS {
            return drop_it();
        }
        let path = self.layer_path(tree);
        self.publish(tree, Some(base), depth, &upper, &path)
    }

    /// Makes the upper directory for a build on `tree`: empty, with the metadata of the tree's root,
    /// which overlayfs shows as that of the merged root.
    pub fn prepare_upper(&self, tree: TreeHash, upper: &Path) -> Result<(), StoreError> {
        let tree = self.tree(tree)?;
        write::write_root(upper, &tree.root, Spelling::Overlay)
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
        let lease = self.lease("copy")?;
        lease.protect(tree)?;
        let near = how != Placing::Copy && !self.is_read_only() && self.is_near(target);
        let from = if near {
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
        let plain = Spelling::Plain;
        let counts = write::write_tree(self, tree, target, plain, devices, source, cancel)?;
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
            .create_dir(&folder, 0o755)
            .map_err(|e| StoreError::io("create folder", &folder, e))?;
        let scratch = self.scratch("links")?;
        let new = scratch.path().join("root");
        let from = self.whole_on_disk(tree)?;
        let source = from.as_deref().map(|path| Source {
            path,
            take: Take::Clone,
        });
        write::write_tree(
            self,
            tree,
            &new,
            Spelling::Plain,
            Unmakeable::LeaveOut,
            source,
            cancel,
        )?;
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
}

/// What to do about devices that this user cannot make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmakeable {
    /// Leaves them out.
    LeaveOut,
    /// Fails with [`StoreError::Device`] and writes nothing.
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
