//! The store itself: the front of all that the other modules do.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::manifest::{Manifest, Tree};
use crate::{
    BlobHash, CaptureOptions, Captured, DirHash, Hash, ImportOptions, Imported, OpenOptions,
    Realisation, Root, StoreError, TreeBuilder, TreeHash,
};

/// A store of trees and of the facts about them. Clones share everything.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
}

pub(crate) fn unfinished() -> StoreError {
    StoreError::Io {
        action: "use a part of the store that is being written",
        path: PathBuf::new(),
        source: std::io::ErrorKind::Unsupported.into(),
    }
}

impl Store {
    /// Opens the store in `root`.
    pub fn open(root: &Path, _options: &OpenOptions) -> Result<Store, StoreError> {
        Ok(Store {
            inner: Arc::new(Inner {
                root: root.to_path_buf(),
            }),
        })
    }

    /// The store's folder.
    pub fn path(&self) -> &Path {
        &self.inner.root
    }

    /// Reads a directory into the store, durably.
    pub fn import_dir(&self, _: &Path, _: &ImportOptions) -> Result<Imported, StoreError> {
        Err(unfinished())
    }

    /// Begins a tree whose entries come one by one.
    pub fn tree_builder(&self) -> Result<TreeBuilder, StoreError> {
        TreeBuilder::new(self)
    }

    /// Writes a plain copy of a tree for users; `target` must not exist or be an empty directory.
    pub fn copy_out(&self, _tree: TreeHash, _target: &Path) -> Result<(), StoreError> {
        Err(unfinished())
    }

    /// Tells whether a tree object and the manifest of its root are here.
    pub fn has_tree(&self, _tree: TreeHash) -> Result<bool, StoreError> {
        Err(unfinished())
    }

    /// Reads a tree object.
    pub fn tree(&self, _tree: TreeHash) -> Result<Tree, StoreError> {
        Err(unfinished())
    }

    /// Reads the entries of a directory.
    pub fn manifest(&self, _dir: DirHash) -> Result<Manifest, StoreError> {
        Err(unfinished())
    }

    /// Reads a file's content into memory.
    pub fn blob(&self, _blob: BlobHash) -> Result<Vec<u8>, StoreError> {
        Err(unfinished())
    }

    /// Opens a file's content for reading from the beginning.
    pub fn open_blob(&self, _blob: BlobHash) -> Result<Box<dyn Read + Send>, StoreError> {
        Err(unfinished())
    }

    /// Makes a subdirectory (`a/b`) a tree of its own.
    pub fn subtree(&self, _tree: TreeHash, _path: &str) -> Result<TreeHash, StoreError> {
        Err(unfinished())
    }

    /// Makes a tree that holds only the given paths, each where it was. Directories above them, the
    /// root among them, are root:root 0755 with mtime 0.
    pub fn pick(&self, _tree: TreeHash, _paths: &[&str]) -> Result<TreeHash, StoreError> {
        Err(unfinished())
    }

    /// Brings a tree to disk as folders for overlayfs, or finds them there already.
    pub fn checkout(&self, _tree: TreeHash) -> Result<Checkout, StoreError> {
        Err(unfinished())
    }

    /// Merges what a build wrote (an overlayfs upper directory, mounted with `userxattr`) with what
    /// it started from. Also corrects the upper directory itself, so that it can be kept as a layer.
    pub fn capture(
        &self,
        _base: TreeHash,
        _upper: &Path,
        _options: &CaptureOptions,
    ) -> Result<Captured, StoreError> {
        Err(unfinished())
    }

    /// Takes over a captured upper directory: laid over the layers of `base` it is `tree`.
    pub fn keep_layer(
        &self,
        _base: TreeHash,
        _tree: TreeHash,
        _upper: PathBuf,
    ) -> Result<(), StoreError> {
        Err(unfinished())
    }

    /// Looks up what a key produced. Its tree may be collected meanwhile: see [`Store::has_tree`].
    pub fn realisation(&self, _key: &Hash) -> Result<Option<Realisation>, StoreError> {
        Err(unfinished())
    }

    /// All realisations, newest first; with `name`, only those of that name.
    pub fn realisations(&self, _name: Option<&str>) -> Result<Vec<Realisation>, StoreError> {
        Err(unfinished())
    }

    /// Records what a key produced. Everything that the tree needs is durable before.
    pub fn record(&self, _realisation: &Realisation) -> Result<(), StoreError> {
        Err(unfinished())
    }

    /// Forgets what a key produced. Tells whether there was anything.
    pub fn forget(&self, _key: &Hash) -> Result<bool, StoreError> {
        Err(unfinished())
    }

    /// All named roots, sorted by name.
    pub fn roots(&self) -> Result<Vec<Root>, StoreError> {
        Err(unfinished())
    }

    /// Names a tree so that it lives; a root of that name is replaced.
    pub fn add_root(&self, _name: &str, _tree: TreeHash) -> Result<(), StoreError> {
        Err(unfinished())
    }

    /// Removes a named root. Tells whether there was one.
    pub fn remove_root(&self, _name: &str) -> Result<bool, StoreError> {
        Err(unfinished())
    }

    /// Begins a lease, which protects trees while this process lives.
    pub fn lease(&self, _purpose: &str) -> Result<Lease, StoreError> {
        Err(unfinished())
    }

    /// Makes an empty folder on the store's file system for work in progress.
    pub fn scratch(&self, _purpose: &str) -> Result<ScratchDir, StoreError> {
        Err(unfinished())
    }

    /// The folder of build logs.
    pub fn logs_dir(&self) -> PathBuf {
        self.inner.root.join("logs")
    }
}

/// Protects trees from the collector while it is held and its process lives.
pub struct Lease {
    _store: Store,
}

impl Lease {
    /// Protects a tree with all in it. Fails with [`StoreError::Missing`] when it is not there.
    pub fn protect(&self, _tree: TreeHash) -> Result<(), StoreError> {
        Err(unfinished())
    }
}

/// A tree on disk, in one or more layers. It stays while this is held.
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

/// A folder under the store that goes when this is dropped, or at the next opening of the store when
/// the process died.
pub struct ScratchDir {
    path: PathBuf,
}

impl ScratchDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
