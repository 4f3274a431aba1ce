//! Makes a tree from entries that arrive one by one, as those of an archive do.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Slot;
use std::io::Read;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::error::show;
use crate::ingest::{CHUNK_ABOVE, Ingest};
use crate::manifest::{Entry, Kind, MAX_DEPTH, Manifest, Meta, Tree, check_name};
use crate::workers::Batch;
use crate::{BlobHash, DirHash, Imported, Store, StoreError};

/// What an entry without content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// Makes a tree from entries in any order.
///
/// Paths are relative to the tree's root (`etc/passwd`), without empty, `.` or `..` components; the
/// empty path is the root itself. A directory that is named by the paths of others alone is
/// root:root 0755 with mtime 0. A path given twice, a path below something that is not a directory, and
/// a hard link to what is not a file are errors. Contents are hashed, compressed and written as they
/// arrive, by several threads; nothing can be seen in the store before [`finish`](Self::finish), and
/// nothing stays of a builder dropped.
#[derive(Debug)]
pub struct TreeBuilder {
    ingest: Arc<Ingest>,
    batch: Batch,
    root: Dir,
    entries: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Dir {
    /// Missing while only paths below name this directory.
    meta: Option<Meta>,
    children: BTreeMap<Vec<u8>, Child>,
}

#[derive(Debug)]
enum Child {
    Dir(Dir),
    /// A file; its content may still be on its way through a worker.
    File {
        meta: Meta,
        blob: Arc<OnceLock<BlobHash>>,
        size: u64,
    },
    Other {
        meta: Meta,
        kind: Kind,
    },
    Link {
        target: Vec<u8>,
    },
}

impl Dir {
    fn get(&self, path: &[u8]) -> Option<&Child> {
        let mut dir = self;
        let mut names = path.split(|b| *b == b'/').peekable();
        while let Some(name) = names.next() {
            match dir.children.get(name) {
                Some(Child::Dir(next)) if names.peek().is_some() => dir = next,
                found if names.peek().is_none() => return found,
                _ => return None,
            }
        }
        None
    }
}

fn bad(path: &[u8], reason: impl Into<String>) -> StoreError {
    StoreError::BadEntry {
        path: show(path),
        reason: reason.into(),
    }
}

/// Sorts attributes, and refuses what no manifest could hold.
fn check_meta(path: &[u8], mut meta: Meta) -> Result<Meta, StoreError> {
    meta.xattrs.sort_unstable();
    meta.check().map_err(|reason| bad(path, reason))?;
    Ok(meta)
}

impl TreeBuilder {
    pub(crate) fn new(store: &Store) -> Result<Self, StoreError> {
        Ok(TreeBuilder {
            ingest: Arc::new(Ingest::begin(store)?),
            batch: Batch::new()?,
            root: Dir::default(),
            entries: 0,
            bytes: 0,
        })
    }

    /// Checks a path and goes to the directory that is to hold its last name.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(&mut Dir, &'p [u8]), StoreError> {
        let names: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
        if names.len() > MAX_DEPTH {
            return Err(StoreError::TooDeep {
                limit: MAX_DEPTH,
                path: show(&path[..path.len().min(200)]),
            });
        }
        for name in &names {
            check_name(name).map_err(|reason| bad(path, reason))?;
        }
        let Some((last, above)) = names.split_last() else {
            return Err(bad(path, "path is empty"));
        };
        let mut dir = &mut self.root;
        for name in above {
            if !dir.children.contains_key(*name) {
                self.entries += 1;
                dir.children
                    .insert(name.to_vec(), Child::Dir(Dir::default()));
            }
            match dir.children.get_mut(*name) {
                Some(Child::Dir(next)) => dir = next,
                _ => return Err(StoreError::Conflict { path: show(path) }),
            }
        }
        Ok((dir, last))
    }

    fn add(&mut self, path: &[u8], child: Child) -> Result<(), StoreError> {
        let (dir, name) = self.parent(path)?;
        match dir.children.entry(name.to_vec()) {
            Slot::Vacant(slot) => {
                slot.insert(child);
                self.entries += 1;
                Ok(())
            }
            Slot::Occupied(slot) => match slot.get() {
                Child::Dir(_) => Err(StoreError::Conflict { path: show(path) }),
                _ => Err(StoreError::Duplicate { path: show(path) }),
            },
        }
    }

    /// Adds a directory, or the root's metadata when `path` is empty.
    pub fn dir(&mut self, path: &[u8], meta: Meta) -> Result<(), StoreError> {
        let meta = check_meta(path, meta)?;
        let dir = if path.is_empty() {
            &mut self.root
        } else {
            let mut new = 0;
            let (above, name) = self.parent(path)?;
            let child = above.children.entry(name.to_vec()).or_insert_with(|| {
                new = 1;
                Child::Dir(Dir::default())
            });
            let Child::Dir(dir) = child else {
                return Err(StoreError::Conflict { path: show(path) });
            };
            if dir.meta.is_some() {
                return Err(StoreError::Duplicate { path: show(path) });
            }
            dir.meta = Some(meta);
            self.entries += new;
            return Ok(());
        };
        if dir.meta.is_some() {
            return Err(StoreError::Duplicate { path: show(path) });
        }
        dir.meta = Some(meta);
        Ok(())
    }

    /// Adds a file and reads its content to the end. Returns the length of the content.
    pub fn file(
        &mut self,
        path: &[u8],
        meta: Meta,
        content: &mut dyn Read,
    ) -> Result<u64, StoreError> {
        let meta = check_meta(path, meta)?;
        let blob = Arc::new(OnceLock::new());
        // The path is checked before its content is read.
        self.add(
            path,
            Child::File {
                meta: meta.clone(),
                blob: blob.clone(),
                size: 0,
            },
        )?;
        let name = PathBuf::from(show(path));
        let mut buffer = Vec::new();
        (&mut *content)
            .take(CHUNK_ABOVE as u64 + 1)
            .read_to_end(&mut buffer)
            .map_err(|e| StoreError::io("read", &name, e))?;
        let length = if buffer.len() <= CHUNK_ABOVE {
            let length = buffer.len() as u64;
            let ingest = self.ingest.clone();
            self.batch.spawn(buffer.len() + 4096, move || {
                let _ = blob.set(ingest.put_blob(&buffer)?);
                Ok(())
            })?;
            length
        } else {
            let mut rest = buffer.as_slice().chain(content);
            let (hash, length) = self
                .ingest
                .put_stream(&mut rest, &name, Some(&self.batch))?;
            let _ = blob.set(hash);
            length
        };
        let (dir, last) = self.parent(path)?;
        if let Some(Child::File { size, .. }) = dir.children.get_mut(last) {
            *size = length;
        }
        self.bytes += length;
        Ok(length)
    }

    /// Adds a symbolic link.
    pub fn symlink(&mut self, path: &[u8], meta: Meta, target: &[u8]) -> Result<(), StoreError> {
        let meta = check_meta(path, meta)?;
        let kind = Kind::Symlink {
            target: target.to_vec(),
        };
        kind.check().map_err(|reason| bad(path, reason))?;
        self.add(path, Child::Other { meta, kind })
    }

    /// Adds a device, pipe or socket.
    pub fn node(&mut self, path: &[u8], meta: Meta, node: Node) -> Result<(), StoreError> {
        let meta = check_meta(path, meta)?;
        let kind = match node {
            Node::Char { major, minor } => Kind::Char { major, minor },
            Node::Block { major, minor } => Kind::Block { major, minor },
            Node::Fifo => Kind::Fifo,
            Node::Socket => Kind::Socket,
        };
        self.add(path, Child::Other { meta, kind })
    }

    /// Adds one more name for the file at `target`, which may be given earlier or later.
    pub fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError> {
        let target = target.to_vec();
        self.add(path, Child::Link { target })
    }

    /// Adds another entry with the content and metadata of what is at `target`, which must be given
    /// before and be no directory.
    pub fn copy(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError> {
        let (child, length) = match self.root.get(target) {
            Some(Child::File { meta, blob, size }) => {
                let child = Child::File {
                    meta: meta.clone(),
                    blob: blob.clone(),
                    size: *size,
                };
                (child, *size)
            }
            Some(Child::Other { meta, kind }) => {
                let child = Child::Other {
                    meta: meta.clone(),
                    kind: kind.clone(),
                };
                (child, 0)
            }
            _ => {
                return Err(StoreError::BadLink {
                    path: show(path),
                    target: show(target),
                });
            }
        };
        self.add(path, child)?;
        self.bytes += length;
        Ok(())
    }

    /// Makes the tree, durably.
    pub fn finish(mut self) -> Result<Imported, StoreError> {
        self.batch.wait()?;
        let mut links = Vec::new();
        collect_links(&self.root, &mut Vec::new(), &mut links);
        let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        let mut resolved = BTreeMap::new();
        for (path, target) in links {
            let (file, meta, kind) = resolve(&self.root, &path, &target)?;
            let group = groups.entry(file.clone()).or_insert_with(|| vec![file]);
            group.push(path.clone());
            resolved.insert(path, (meta, kind));
        }
        let dir = put_dir(&self.ingest, &self.root, &mut Vec::new(), &resolved)?;
        let tree = Tree {
            root: self.root.meta.take().unwrap_or_else(Meta::plain_dir),
            dir,
            links: Tree::normal_links(groups.into_values().collect()),
        };
        let tree = self.ingest.put_tree(&tree)?;
        let (entries, bytes) = (self.entries, self.bytes);
        let ingest = self.take_ingest()?;
        let new_bytes = ingest.commit(tree)?;
        Ok(Imported {
            tree,
            entries,
            bytes,
            new_bytes,
        })
    }

    /// All jobs are done; the last of them may hold its handle for a moment longer.
    fn take_ingest(self) -> Result<Ingest, StoreError> {
        crate::workers::sole_owner(self.ingest.clone(), || drop(self))
    }
}

fn collect_links(dir: &Dir, path: &mut Vec<u8>, links: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    for (name, child) in &dir.children {
        let before = path.len();
        if before > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        match child {
            Child::Dir(dir) => collect_links(dir, path, links),
            Child::Link { target } => links.push((path.clone(), target.clone())),
            _ => {}
        }
        path.truncate(before);
    }
}

/// Follows links to links, up to a bound that no honest archive passes.
fn resolve(root: &Dir, path: &[u8], target: &[u8]) -> Result<(Vec<u8>, Meta, Kind), StoreError> {
    let refuse = || StoreError::BadLink {
        path: show(path),
        target: show(target),
    };
    let mut at = target;
    for _ in 0..64 {
        match root.get(at) {
            Some(Child::Link { target }) => at = target,
            Some(Child::File { meta, blob, size }) => {
                let blob = *blob.get().ok_or_else(refuse)?;
                let kind = Kind::File { blob, size: *size };
                return Ok((at.to_vec(), meta.clone(), kind));
            }
            Some(Child::Other { meta, kind }) => {
                return Ok((at.to_vec(), meta.clone(), kind.clone()));
            }
            Some(Child::Dir(_)) | None => return Err(refuse()),
        }
    }
    Err(refuse())
}

fn put_dir(
    ingest: &Ingest,
    dir: &Dir,
    path: &mut Vec<u8>,
    links: &BTreeMap<Vec<u8>, (Meta, Kind)>,
) -> Result<DirHash, StoreError> {
    let mut entries = Vec::with_capacity(dir.children.len());
    for (name, child) in &dir.children {
        let before = path.len();
        if before > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        let (meta, kind) = match child {
            Child::Dir(dir) => {
                let manifest = put_dir(ingest, dir, path, links)?;
                let meta = dir.meta.clone().unwrap_or_else(Meta::plain_dir);
                (meta, Kind::Dir { manifest })
            }
            Child::File { meta, blob, size } => {
                let blob = *blob
                    .get()
                    .ok_or_else(|| bad(path, "its content was not stored"))?;
                (meta.clone(), Kind::File { blob, size: *size })
            }
            Child::Other { meta, kind } => (meta.clone(), kind.clone()),
            Child::Link { target } => match links.get(path.as_slice()) {
                Some(found) => found.clone(),
                None => {
                    return Err(StoreError::BadLink {
                        path: show(path),
                        target: show(target),
                    });
                }
            },
        };
        path.truncate(before);
        entries.push(Entry {
            name: name.clone(),
            meta,
            kind,
        });
    }
    let manifest = Manifest::new(entries).map_err(|e| bad(path, e.to_string()))?;
    ingest.put_manifest(&manifest)
}

impl Drop for TreeBuilder {
    fn drop(&mut self) {
        // A job that goes on would keep files that are about to be garbage.
        self.batch.stop();
    }
}
