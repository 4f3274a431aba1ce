//! Cutting: which objects are in which bundle, and the bytes of each.

use std::collections::HashSet;
use std::io;
use std::ops::Range;

use mstore_store::manifest::{Kind, MAX_DEPTH};
use mstore_store::{BlobHash, DirHash, Hash, Store, StoreError, TreeHash, codec};
use rayon::prelude::*;

use super::{
    Digest, FORMAT, HEAD, LEAST, LEVEL, MAGIC, MOST, MOST_PACKED, PIECE, PIECE_HEAD, SPREAD, Tag,
};

/// Keeps what is remembered of a cut apart from all else.
const CUT_CONTEXT: &str = "mstore 2026 bundles of a tree";
/// Most bundles that one tree is cut into: about a terabyte.
pub(crate) const MOST_BUNDLES: usize = 1 << 17;
/// Longest list of digests that is read.
const MOST_LIST: usize = MOST_BUNDLES * 128;

/// Why a tree cannot be cut.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CutError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A directory is too large for a bundle.
    #[error("directory {dir} of tree {tree} has {size} bytes of names, more than a bundle holds")]
    Large {
        /// The tree.
        tree: TreeHash,
        /// The directory.
        dir: Hash,
        /// Bytes of its encoding.
        size: u64,
    },
    /// Too much for one job.
    #[error("tree {tree} would be more than {MOST_BUNDLES} bundles")]
    Many {
        /// The tree.
        tree: TreeHash,
    },
    /// Whoever took a bundle failed.
    #[error("cannot keep a bundle: {0}")]
    Taken(#[source] io::Error),
}

/// Is given each bundle: its number, its name and its bytes.
pub type Take<'a> = dyn Fn(usize, &Digest, Vec<u8>) -> io::Result<()> + Sync + 'a;

/// A record of a bundle.
#[derive(Clone, Copy, Debug)]
struct Item {
    tag: Tag,
    hash: Hash,
    /// Bytes of the whole object.
    whole: u64,
    /// Bytes from here on that are in this record.
    at: u64,
    len: u64,
}

impl Item {
    /// Bytes that its record takes.
    fn size(&self) -> u64 {
        let head = match self.tag {
            Tag::Piece => PIECE_HEAD,
            _ => HEAD,
        };
        head + self.len
    }

    /// Whether a bundle that is long enough ends behind it.
    fn ends(&self) -> bool {
        let mut first = [0; 8];
        first.copy_from_slice(&self.hash.as_bytes()[..8]);
        // As likely as it is long, so that bundles are equally long whatever the files are.
        let (least, most) = (u128::from(self.size()), u128::from(SPREAD));
        u128::from(u64::from_le_bytes(first)) * most < (least << 64)
    }
}

/// A tree taken apart on paper: nothing but directories was read.
#[derive(Debug)]
pub struct Cut {
    tree: TreeHash,
    key: Hash,
    items: Vec<Item>,
    bundles: Vec<Range<usize>>,
}

impl Cut {
    /// Says where a tree is cut. Objects of the trees `on` are left out: whoever joins has those.
    pub fn plan(store: &Store, tree: TreeHash, on: &[TreeHash]) -> Result<Cut, CutError> {
        let mut below = HashSet::new();
        for base in on {
            below.insert(base.0);
            names(store, store.tree(*base)?.dir, &mut below, 1)?;
        }
        let mut walk = Walk {
            store,
            below,
            manifests: Vec::new(),
            contents: Vec::new(),
        };
        let object = store.tree(tree)?;
        if !walk.below.contains(&tree.0) {
            walk.below.insert(tree.0);
            walk.manifests
                .push(item(Tag::Tree, tree.0, object.encode().len() as u64));
            walk.dir(object.dir, 1)?;
        }
        let Walk {
            manifests,
            contents,
            ..
        } = walk;
        for item in &manifests {
            if item.size() + MAGIC.len() as u64 > MOST {
                return Err(CutError::Large {
                    tree,
                    dir: item.hash,
                    size: item.len,
                });
            }
        }
        let edge = manifests.len();
        let mut items = manifests;
        items.extend(contents);
        let bundles = bounds(&items, edge);
        if bundles.len() > MOST_BUNDLES {
            return Err(CutError::Many { tree });
        }
        Ok(Cut {
            tree,
            key: key(tree, on),
            items,
            bundles,
        })
    }

    /// The tree that is cut.
    pub fn tree(&self) -> TreeHash {
        self.tree
    }

    /// How many bundles there are.
    pub fn len(&self) -> usize {
        self.bundles.len()
    }

    /// Whether there are none: all is in the trees below.
    pub fn is_empty(&self) -> bool {
        self.bundles.is_empty()
    }

    /// The bytes of a bundle.
    pub fn bundle(&self, store: &Store, number: usize) -> Result<Vec<u8>, CutError> {
        let items = self.bundles.get(number).cloned().unwrap_or_default();
        let mut raw = MAGIC.to_vec();
        for item in &self.items[items] {
            record(store, item, &mut raw)?;
        }
        let packed = pack(&raw).map_err(|e| StoreError::io("compress", store.path(), e))?;
        debug_assert!(packed.len() as u64 <= MOST_PACKED);
        Ok(packed)
    }

    /// Names all bundles, in their order. Each is made for it, by several threads, and handed to `take` with its number
    /// and its name, so that nobody has to make it again; the names are remembered in the store where it can be
    /// written.
    pub fn make(&self, store: &Store, take: &Take<'_>) -> Result<Vec<Digest>, CutError> {
        let made = (0..self.len()).into_par_iter().map(|number| {
            let bytes = self.bundle(store, number)?;
            let digest = Digest::of(&bytes);
            take(number, &digest, bytes).map_err(CutError::Taken)?;
            Ok(digest)
        });
        let digests = made.collect::<Result<Vec<Digest>, CutError>>()?;
        if !store.is_read_only() {
            store.note_bundles(&self.key, &codec::encode(&digests))?;
        }
        Ok(digests)
    }

    /// The names of the bundles, if this tree was cut before.
    pub fn remembered(
        store: &Store,
        tree: TreeHash,
        on: &[TreeHash],
    ) -> Result<Option<Vec<Digest>>, StoreError> {
        let list = store.bundles(&key(tree, on))?;
        // What is damaged counts as forgotten.
        Ok(list.and_then(|list| codec::decode(&list, MOST_LIST).ok()))
    }

    /// The names of the bundles of a tree: those that are remembered, or it is cut.
    pub fn digests(
        store: &Store,
        tree: TreeHash,
        on: &[TreeHash],
    ) -> Result<Vec<Digest>, CutError> {
        match Self::remembered(store, tree, on)? {
            Some(digests) => Ok(digests),
            None => Self::plan(store, tree, on)?.make(store, &|_, _, _| Ok(())),
        }
    }
}

/// What is remembered of a cut is remembered under this.
pub(super) fn key(tree: TreeHash, on: &[TreeHash]) -> Hash {
    Hash::derive(CUT_CONTEXT, &codec::encode(&(FORMAT, tree, on)))
}

fn item(tag: Tag, hash: Hash, size: u64) -> Item {
    Item {
        tag,
        hash,
        whole: size,
        at: 0,
        len: size,
    }
}

/// Adds what a directory and all below it are called.
fn names(
    store: &Store,
    dir: DirHash,
    names_of: &mut HashSet<Hash>,
    depth: usize,
) -> Result<(), StoreError> {
    if depth > MAX_DEPTH + 1 || !names_of.insert(dir.0) {
        return Ok(());
    }
    for entry in store.manifest(dir)?.entries() {
        match entry.kind {
            Kind::Dir { manifest } => names(store, manifest, names_of, depth + 1)?,
            Kind::File { blob, .. } => {
                names_of.insert(blob.0);
            }
            _ => {}
        }
    }
    Ok(())
}

/// The walk in the order of paths.
struct Walk<'a> {
    store: &'a Store,
    /// What is there already, or was met before.
    below: HashSet<Hash>,
    manifests: Vec<Item>,
    contents: Vec<Item>,
}

impl Walk<'_> {
    fn dir(&mut self, dir: DirHash, depth: usize) -> Result<(), StoreError> {
        if depth > MAX_DEPTH + 1 || !self.below.insert(dir.0) {
            return Ok(());
        }
        let manifest = self.store.manifest(dir)?;
        let size = manifest.encode().len() as u64;
        self.manifests.push(item(Tag::Manifest, dir.0, size));
        for entry in manifest.entries() {
            match entry.kind {
                Kind::Dir { manifest } => self.dir(manifest, depth + 1)?,
                Kind::File { blob, size } if self.below.insert(blob.0) => {
                    self.content(blob.0, size);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn content(&mut self, blob: Hash, size: u64) {
        if size <= PIECE {
            self.contents.push(item(Tag::Content, blob, size));
            return;
        }
        let mut at = 0;
        while at < size {
            let len = PIECE.min(size - at);
            self.contents.push(Item {
                tag: Tag::Piece,
                hash: blob,
                whole: size,
                at,
                len,
            });
            at += len;
        }
    }
}

/// Where bundles begin and end; contents begin with the item `edge`.
fn bounds(items: &[Item], edge: usize) -> Vec<Range<usize>> {
    let magic = MAGIC.len() as u64;
    let (mut bundles, mut first, mut size) = (Vec::new(), 0, magic);
    for (at, item) in items.iter().enumerate() {
        let full = size + item.size() > MOST || at == edge && size >= LEAST;
        if full && first < at {
            bundles.push(first..at);
            (first, size) = (at, magic);
        }
        size += item.size();
        if size >= LEAST && item.ends() {
            bundles.push(first..at + 1);
            (first, size) = (at + 1, magic);
        }
    }
    if first < items.len() {
        bundles.push(first..items.len());
    }
    bundles
}

/// Writes one record.
fn record(store: &Store, item: &Item, raw: &mut Vec<u8>) -> Result<(), StoreError> {
    raw.push(item.tag as u8);
    let head = item.size() - HEAD;
    let length = u32::try_from(head).unwrap_or(u32::MAX);
    raw.extend_from_slice(&length.to_le_bytes());
    let before = raw.len() as u64;
    match item.tag {
        Tag::Tree => raw.extend_from_slice(&store.tree(TreeHash(item.hash))?.encode()),
        Tag::Manifest => raw.extend_from_slice(&store.manifest(DirHash(item.hash))?.encode()),
        Tag::Content | Tag::Piece => {
            if item.tag == Tag::Piece {
                raw.extend_from_slice(item.hash.as_bytes());
                raw.extend_from_slice(&item.whole.to_le_bytes());
                raw.extend_from_slice(&item.at.to_le_bytes());
            }
            store.blob_range(BlobHash(item.hash), item.at..item.at + item.len, raw)?;
        }
    }
    let wrote = raw.len() as u64 - before;
    if wrote == head {
        return Ok(());
    }
    // A directory says another length than the content has: such a tree cannot be joined.
    Err(StoreError::Corrupt {
        what: "blob",
        hash: item.hash,
        detail: format!("its directory says {} bytes", item.whole),
    })
}

/// Compresses a bundle: the same bytes wherever it is done.
pub(super) fn pack(raw: &[u8]) -> io::Result<Vec<u8>> {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    compressor.compress(raw)
}
