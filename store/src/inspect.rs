//! Looking around: what is in the store, where something is, what it costs.

use std::collections::{BTreeSet, HashMap};

use crate::db::rows::{hash_at, kind_at};
use crate::error::show;
use crate::manifest::{Entry, Kind, Manifest, Meta};
use crate::mark::Marks;
use crate::pack::RecordKind;
use crate::{DirHash, Hash, ObjectKind, RealisationKind, Store, StoreError, TreeHash};

/// More links than this on one way are a circle.
const MAX_LINKS: usize = 40;

/// What a path in a tree leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The path without links, from the root; empty for the root itself.
    pub path: Vec<u8>,
    /// Metadata.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
}

/// Where something was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The tree.
    pub tree: TreeHash,
    /// The path from its root; empty for the root itself.
    pub path: Vec<u8>,
}

/// What to look for in trees.
pub enum Wanted<'a> {
    /// Everything that is this object: a directory, or the content of a file.
    Object(Hash),
    /// Entries of such a name.
    Name(&'a dyn Fn(&[u8]) -> bool),
}

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries, the root not counted.
    pub entries: u64,
    /// Bytes of file content, as a plain copy would have them (hard links counted once each name).
    pub bytes: u64,
    /// Objects that it needs.
    pub objects: u64,
    /// Bytes of them in packs.
    pub stored: u64,
    /// Bytes of them that no other tree needs.
    pub unique: u64,
}

/// Numbers about a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreInfo {
    /// Packs.
    pub packs: u64,
    /// Bytes of all packs.
    pub pack_bytes: u64,
    /// Trees.
    pub trees: u64,
    /// Directories, each once.
    pub manifests: u64,
    /// Contents of files, and parts of long ones, each once.
    pub blobs: u64,
    /// Bytes of content, each once.
    pub blob_bytes: u64,
    /// Bytes of content as stored.
    pub stored_bytes: u64,
    /// Entries of all trees together.
    pub tree_entries: u64,
    /// Bytes of content of all trees together, as plain copies would have them.
    pub tree_bytes: u64,
    /// Realisations.
    pub realisations: u64,
    /// Attempts in the history.
    pub attempts: u64,
    /// Named roots.
    pub roots: u64,
    /// Checkouts and layers on disk.
    pub checkouts: u64,
}

/// The hash of a derivation, or a resolved key, that something was built or tried under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepHash {
    /// The hash.
    pub hash: Hash,
    /// Whether it is a resolved key; else it is that of a derivation.
    pub is_key: bool,
    /// What that is.
    pub kind: RealisationKind,
    /// What it is of.
    pub name: String,
}

impl Store {
    /// All trees that are here, sorted.
    pub fn trees(&self) -> Result<Vec<TreeHash>, StoreError> {
        let found = self.objects_with_prefix("")?;
        let trees = found.into_iter().filter(|(_, k)| *k == ObjectKind::Tree);
        Ok(trees.map(|(hash, _)| TreeHash(hash)).collect())
    }

    /// The objects whose hashes begin so, sorted.
    pub fn objects_with_prefix(&self, prefix: &str) -> Result<Vec<(Hash, ObjectKind)>, StoreError> {
        let mut found = BTreeSet::new();
        let Some(first) = Hash::first_with_prefix(prefix) else {
            return Ok(Vec::new());
        };
        let _lock = self.lock_shared()?;
        for file in &self.refresh()?.packs {
            // What cannot be opened counts as missing.
            let Ok(pack) = file.open() else { continue };
            for at in pack.first_from(&first)..pack.count() {
                let place = pack.entry(at)?;
                if !place.hash.has_prefix(prefix) {
                    break;
                }
                found.insert((place.hash, ObjectKind::of(place.kind)));
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The derivations and keys whose hashes begin so, of everything that was built or tried, sorted.
    /// `prefix` is (the beginning of) a hash as text.
    pub fn steps_with_prefix(&self, prefix: &str) -> Result<Vec<StepHash>, StoreError> {
        // Sorted after all that go on with a letter or a digit. Of a step and its target the step is named:
        // SQLite takes the other columns from the row that has the greatest of `max`.
        let end = format!("{prefix}~");
        self.database().read("look for a derivation", |c| {
            c.prepare_cached(
                "SELECT hash, is_key, kind, name, max((kind = 'step') || name) FROM (\
                 SELECT key AS hash, 1 AS is_key, kind, name FROM realisation \
                 WHERE key >= ?1 AND key < ?2 UNION ALL \
                 SELECT drv, 0, kind, name FROM realisation WHERE drv >= ?1 AND drv < ?2 UNION ALL \
                 SELECT key, 1, kind, name FROM history WHERE key >= ?1 AND key < ?2 UNION ALL \
                 SELECT drv, 0, kind, name FROM history WHERE drv >= ?1 AND drv < ?2) \
                 GROUP BY hash, is_key ORDER BY hash, is_key",
            )?
            .query_map([prefix, &end], |row| {
                Ok(StepHash {
                    hash: hash_at(row, 0)?,
                    is_key: row.get(1)?,
                    kind: kind_at(row, 2)?,
                    name: row.get(3)?,
                })
            })?
            .collect()
        })
    }

    /// Finds what a path leads to. Links on the way are followed inside the tree, whose root is also
    /// what an absolute link starts from and what `..` does not leave; a link at the end only with
    /// `follow`.
    pub fn look_up(
        &self,
        tree: TreeHash,
        path: impl AsRef<[u8]>,
        follow: bool,
    ) -> Result<Found, StoreError> {
        let top = self.tree(tree)?;
        let missing = |what, at: &[Vec<u8>]| StoreError::NoSuchPath {
            tree,
            what,
            path: show(&at.join(&b'/')),
        };
        let names = |path: &[u8]| -> Vec<Vec<u8>> {
            let names = path.split(|b| *b == b'/');
            let mut names: Vec<_> = names
                .filter(|name| !name.is_empty() && *name != b".")
                .map(<[u8]>::to_vec)
                .collect();
            names.reverse();
            names
        };
        let mut todo = names(path.as_ref());
        let mut dirs = vec![(top.dir, top.root.clone())];
        let mut done: Vec<Vec<u8>> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == b".." {
                if done.pop().is_some() {
                    dirs.pop();
                }
                continue;
            }
            // The root is always there.
            let Some((dir, _)) = dirs.last() else { break };
            let manifest = self.manifest(*dir)?;
            let entry = match manifest.get(&name) {
                Some(entry) => entry.clone(),
                None => {
                    done.push(name);
                    return Err(missing("entry", &done));
                }
            };
            match entry.kind {
                Kind::Dir { manifest } => {
                    done.push(name);
                    dirs.push((manifest, entry.meta));
                }
                Kind::Symlink { ref target } if follow || !todo.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        done.push(name);
                        return Err(missing("end of links", &done));
                    }
                    if target.starts_with(b"/") {
                        dirs.truncate(1);
                        done.clear();
                    }
                    todo.extend(names(target));
                }
                kind => {
                    done.push(name);
                    if !todo.is_empty() {
                        return Err(missing("directory", &done));
                    }
                    return Ok(Found {
                        path: done.join(&b'/'),
                        meta: entry.meta,
                        kind,
                    });
                }
            }
        }
        let (manifest, meta) = dirs.pop().unwrap_or((top.dir, top.root));
        Ok(Found {
            path: done.join(&b'/'),
            meta,
            kind: Kind::Dir { manifest },
        })
    }

    /// Looks for something in trees, and hands each place on until `take` returns false. Directories
    /// without anything wanted are read once, however many trees have them.
    pub fn find_in_trees(
        &self,
        trees: &[TreeHash],
        wanted: &Wanted<'_>,
        take: &mut dyn FnMut(Place) -> bool,
    ) -> Result<(), StoreError> {
        let _lock = self.lock_shared()?;
        let mut barren: BTreeSet<DirHash> = BTreeSet::new();
        for tree in trees {
            let top = match self.tree(*tree) {
                // Collected since it was listed.
                Err(StoreError::Missing { .. }) => continue,
                top => top?,
            };
            let own = match wanted {
                Wanted::Object(hash) => *hash == tree.0 || *hash == top.dir.0,
                Wanted::Name(_) => false,
            };
            if own
                && !take(Place {
                    tree: *tree,
                    path: Vec::new(),
                })
            {
                return Ok(());
            }
            let mut hand = |path: &[u8]| {
                take(Place {
                    tree: *tree,
                    path: path.to_vec(),
                })
            };
            if self.find_below(top.dir, &mut Vec::new(), wanted, &mut barren, &mut hand)?
                == Step::End
            {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Trees nest no deeper than manifests may, so that this may call itself.
    fn find_below(
        &self,
        dir: DirHash,
        path: &mut Vec<u8>,
        wanted: &Wanted<'_>,
        barren: &mut BTreeSet<DirHash>,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Result<Step, StoreError> {
        if barren.contains(&dir) {
            return Ok(Step::Nothing);
        }
        let mut found = Step::Nothing;
        for entry in self.manifest(dir)?.entries() {
            let length = path.len();
            if length > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&entry.name);
            if is_wanted(entry, wanted) {
                found = Step::Found;
                if !take(path) {
                    return Ok(Step::End);
                }
            }
            if let Kind::Dir { manifest } = entry.kind {
                match self.find_below(manifest, path, wanted, barren, take)? {
                    Step::End => return Ok(Step::End),
                    Step::Found => found = Step::Found,
                    Step::Nothing => {}
                }
            }
            path.truncate(length);
        }
        if found == Step::Nothing {
            barren.insert(dir);
        }
        Ok(found)
    }

    /// What a tree takes, or a directory in it, and how much of that no other tree needs.
    pub fn usage(&self, tree: TreeHash, path: impl AsRef<[u8]>) -> Result<Usage, StoreError> {
        // What is counted must not be collected meanwhile.
        let _lock = self.lock_shared()?;
        let path = path.as_ref();
        let found = self.look_up(tree, path, true)?;
        let Kind::Dir { manifest: dir } = found.kind else {
            return Err(StoreError::NoSuchPath {
                tree,
                what: "directory",
                path: show(path),
            });
        };
        let (entries, bytes) = self.size_of_dir(dir, &mut HashMap::new())?;
        let _lock = self.lock_shared()?;
        let packs = self.refresh()?;
        let whole = found.path.is_empty();
        let mark = |marks: &mut Marks| match whole {
            true => marks.mark_tree(tree, &mut ()),
            false => marks.mark_dir(dir, &mut ()),
        };
        let mut alone = Marks::new(packs.clone());
        mark(&mut alone)?;
        let numbers = 0..packs.packs.len();
        let objects = numbers.map(|n| alone.count(n) as u64).sum();
        let mut marks = Marks::new(packs);
        for other in self.trees()? {
            if other != tree {
                marks.mark_tree(other, &mut ())?;
            }
        }
        let before = marks.bytes;
        mark(&mut marks)?;
        Ok(Usage {
            entries,
            bytes,
            objects,
            stored: alone.bytes,
            unique: marks.bytes - before,
        })
    }

    /// Entries below a directory, and bytes of file content.
    /// Bytes of file content in a tree, if it can be read.
    pub(crate) fn content_of(&self, tree: TreeHash) -> Option<u64> {
        let dir = self.tree(tree).ok()?.dir;
        let (_, bytes) = self.size_of_dir(dir, &mut HashMap::new()).ok()?;
        Some(bytes)
    }

    fn size_of_dir(
        &self,
        dir: DirHash,
        known: &mut HashMap<DirHash, (u64, u64)>,
    ) -> Result<(u64, u64), StoreError> {
        if let Some(size) = known.get(&dir) {
            return Ok(*size);
        }
        let manifest: Manifest = self.manifest(dir)?;
        let (mut entries, mut bytes) = (0u64, 0u64);
        for entry in manifest.entries() {
            entries += 1;
            match entry.kind {
                Kind::Dir { manifest } => {
                    let (e, b) = self.size_of_dir(manifest, known)?;
                    entries = entries.saturating_add(e);
                    bytes = bytes.saturating_add(b);
                }
                Kind::File { size, .. } => bytes = bytes.saturating_add(size),
                _ => {}
            }
        }
        known.insert(dir, (entries, bytes));
        Ok((entries, bytes))
    }

    /// Numbers about the whole store.
    pub fn info(&self) -> Result<StoreInfo, StoreError> {
        // A collection that goes on beside it would be half done.
        let _lock = self.lock_shared()?;
        let mut info = StoreInfo::default();
        let mut seen: BTreeSet<Hash> = BTreeSet::new();
        let lock = self.lock_shared()?;
        for file in &self.refresh()?.packs {
            let Ok(pack) = file.open() else { continue };
            info.packs += 1;
            info.pack_bytes += pack.len();
            for at in 0..pack.count() {
                let place = pack.entry(at)?;
                // Contents may be many: only what several packs could have is remembered.
                match place.kind {
                    RecordKind::Blob => {
                        info.blobs += 1;
                        info.blob_bytes += place.raw;
                        info.stored_bytes += place.stored;
                    }
                    RecordKind::Manifest if seen.insert(place.hash) => info.manifests += 1,
                    RecordKind::Tree if seen.insert(place.hash) => info.trees += 1,
                    _ => {}
                }
            }
        }
        drop(lock);
        let mut sizes = HashMap::new();
        for tree in self.trees()? {
            let (entries, bytes) = self.size_of_dir(self.tree(tree)?.dir, &mut sizes)?;
            info.tree_entries = info.tree_entries.saturating_add(entries);
            info.tree_bytes = info.tree_bytes.saturating_add(bytes);
        }
        let count = |table: &str| -> Result<u64, StoreError> {
            self.database().read("count rows", |c| {
                let sql = format!("SELECT count(*) FROM {table}");
                c.query_row(&sql, [], |row| row.get::<_, i64>(0))
                    .map(i64::unsigned_abs)
            })
        };
        info.realisations = count("realisation")?;
        info.attempts = count("history")?;
        info.roots = count("root")?;
        info.checkouts = count("layer")?;
        Ok(info)
    }
}

/// What a search of a directory came to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Nothing,
    Found,
    End,
}

fn is_wanted(entry: &Entry, wanted: &Wanted<'_>) -> bool {
    match wanted {
        Wanted::Name(fits) => fits(&entry.name),
        Wanted::Object(hash) => match entry.kind {
            Kind::Dir { manifest } => manifest.0 == *hash,
            Kind::File { blob, .. } => blob.0 == *hash,
            _ => false,
        },
    }
}
