//! Tree differences: the paths in which two trees differ.

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use mstore_store::manifest::{MAX_DEPTH, Manifest};
use mstore_store::{DirHash, Entry, Kind, Store, StoreError, TreeHash};
use serde::Serialize;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Change {
    /// Only the new tree has it.
    Added,
    /// Only the old tree has it.
    Removed,
    /// Its content or kind differs.
    Content,
    /// Only owner, mode, time stamp or attributes differ.
    Metadata,
}

/// One path that differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct PathChange {
    /// The path, without a leading `/`; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// The path as base 64, if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// What happened to it.
    pub change: Change,
}

impl fmt::Display for PathChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.change {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Content => '~',
            Change::Metadata => '.',
        };
        write!(f, "{mark} {}", self.path)
    }
}

/// The paths that differ between two trees.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct TreeChanges {
    /// The paths, sorted as a walk through the tree meets them.
    pub paths: Vec<PathChange>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

/// Compares two trees of `store`, reading only directories that differ. A directory that is all new
/// or all gone counts as one path.
pub fn tree_changes(
    store: &Store,
    old: TreeHash,
    new: TreeHash,
    limit: usize,
) -> Result<TreeChanges, StoreError> {
    let mut walk = Walk {
        read: |dir| store.manifest(dir),
        found: TreeChanges::default(),
        limit,
    };
    if old == new {
        return Ok(walk.found);
    }
    let (old, new) = (store.tree(old)?, store.tree(new)?);
    if old.root != new.root {
        walk.note(b".", Change::Metadata);
    }
    walk.directory(b"", old.dir, new.dir, 0)?;
    if old.links != new.links && walk.found.paths.is_empty() {
        let first = old
            .links
            .iter()
            .chain(&new.links)
            .find(|g| !(old.links.contains(g) && new.links.contains(g)))
            .and_then(|g| g.first());
        if let Some(path) = first {
            walk.note(path, Change::Metadata);
        }
    }
    Ok(walk.found)
}

struct Walk<R> {
    read: R,
    found: TreeChanges,
    limit: usize,
}

impl<R: FnMut(DirHash) -> Result<Manifest, StoreError>> Walk<R> {
    fn note(&mut self, path: &[u8], change: Change) {
        if self.found.paths.len() < self.limit {
            self.found.paths.push(PathChange {
                path: String::from_utf8_lossy(path).into_owned(),
                path_base64: match std::str::from_utf8(path) {
                    Ok(_) => None,
                    Err(_) => Some(BASE64_STANDARD.encode(path)),
                },
                change,
            });
        } else {
            self.found.more = true;
        }
    }

    fn directory(
        &mut self,
        prefix: &[u8],
        old: DirHash,
        new: DirHash,
        depth: usize,
    ) -> Result<(), StoreError> {
        if old == new || self.found.more || depth > MAX_DEPTH {
            return Ok(());
        }
        let (old, new) = ((self.read)(old)?, (self.read)(new)?);
        let (mut a, mut b) = (
            old.entries().iter().peekable(),
            new.entries().iter().peekable(),
        );
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return Ok(()),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(x), Some(y)) => x.name.cmp(&y.name),
            };
            let path = |e: &Entry| [prefix, &e.name].concat();
            let (before, after) = match order {
                std::cmp::Ordering::Less => (a.next(), None),
                std::cmp::Ordering::Greater => (None, b.next()),
                std::cmp::Ordering::Equal => (a.next(), b.next()),
            };
            match (before, after) {
                (Some(e), None) => self.note(&path(e), Change::Removed),
                (None, Some(e)) => self.note(&path(e), Change::Added),
                (Some(x), Some(y)) => self.entry(path(x), x, y, depth)?,
                (None, None) => return Ok(()),
            }
        }
    }

    fn entry(
        &mut self,
        path: Vec<u8>,
        old: &Entry,
        new: &Entry,
        depth: usize,
    ) -> Result<(), StoreError> {
        match (&old.kind, &new.kind) {
            (Kind::Dir { manifest: x }, Kind::Dir { manifest: y }) => {
                if old.meta != new.meta {
                    self.note(&path, Change::Metadata);
                }
                self.directory(&[&path[..], b"/"].concat(), *x, *y, depth + 1)
            }
            (x, y) if x != y => {
                self.note(&path, Change::Content);
                Ok(())
            }
            _ => {
                if old.meta != new.meta {
                    self.note(&path, Change::Metadata);
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_store::{BlobHash, Hash, Meta};
    use std::collections::BTreeMap;

    fn file(name: &str, content: &str, mode: u16) -> Entry {
        Entry {
            name: name.into(),
            meta: Meta {
                mode,
                ..Meta::default()
            },
            kind: Kind::File {
                blob: BlobHash(Hash::of(content.as_bytes())),
                size: content.len() as u64,
            },
        }
    }

    fn dir(all: &mut BTreeMap<DirHash, Manifest>, entries: Vec<Entry>) -> DirHash {
        let manifest = Manifest::new(entries).unwrap();
        let hash = Manifest::hash_encoded(&manifest.encode());
        all.insert(hash, manifest);
        hash
    }

    fn folder(name: &str, manifest: DirHash) -> Entry {
        Entry {
            name: name.into(),
            meta: Meta::plain_dir(),
            kind: Kind::Dir { manifest },
        }
    }

    #[test]
    fn finds_what_differs_and_reads_nothing_else() {
        let mut all = BTreeMap::new();
        let same = dir(&mut all, vec![file("x", "x", 0o644)]);
        let (in_old, in_new) = (
            dir(
                &mut all,
                vec![file("gone", "", 0o644), file("main.c", "1", 0o644)],
            ),
            dir(
                &mut all,
                vec![file("main.c", "2", 0o644), file("new", "", 0o644)],
            ),
        );
        let old = dir(
            &mut all,
            vec![
                folder("app", in_old),
                folder("same", same),
                file("run", "r", 0o644),
            ],
        );
        let new = dir(
            &mut all,
            vec![
                folder("app", in_new),
                folder("same", same),
                file("run", "r", 0o755),
            ],
        );
        let compare = |limit| {
            let mut reads = 0;
            let mut walk = Walk {
                read: |d| {
                    reads += 1;
                    Ok(all[&d].clone())
                },
                found: TreeChanges::default(),
                limit,
            };
            walk.directory(b"", old, new, 0).unwrap();
            let found = walk.found;
            (found, reads)
        };
        let (found, reads) = compare(10);
        let lines: Vec<String> = found.paths.iter().map(PathChange::to_string).collect();
        assert_eq!(lines, ["- app/gone", "~ app/main.c", "+ app/new", ". run"]);
        assert_eq!((reads, found.more), (4, false));
        let (found, _) = compare(2);
        assert_eq!((found.paths.len(), found.more), (2, true));
    }
}
