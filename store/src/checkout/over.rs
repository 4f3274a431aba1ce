//! What one tree has more than another, as a single upper layer.
//!
//! A chain of steps leaves a layer each. When there are too many on top of each other, the upper ones are
//! replaced by one: the difference between the newest tree and one further down, written from what the
//! store knows of both. It holds changed files only, so that no root is ever written out for it.

use std::collections::BTreeSet;

use super::{MAX_LAYERS, OnDisk};
use crate::manifest::{Entry, Kind, Tree};
use crate::{DirHash, Store, StoreError, TreeHash};

/// What a step may take to have upper layers folded, about a tenth of a second. A difference that is larger
/// is folded by halves: then what lies deeper is written seldom.
const MOST_BYTES: u64 = 16 << 20;
const MOST_ENTRIES: u64 = 2000;

/// Paths that a layer has to have though their entries did not change: files whose names did.
#[derive(Debug, Default)]
pub(super) struct Forced(BTreeSet<Vec<u8>>);

impl Forced {
    /// Of a layer that makes `tree` of `base`. Names of one file must lie in one layer, else the file
    /// would have another number of names than the tree says.
    fn between(tree: &Tree, base: &Tree) -> Forced {
        let (now, before): (BTreeSet<_>, BTreeSet<_>) =
            (tree.links.iter().collect(), base.links.iter().collect());
        let changed = now.symmetric_difference(&before);
        Forced(changed.flat_map(|group| group.iter().cloned()).collect())
    }

    fn has(&self, path: &[u8]) -> bool {
        self.0.contains(path)
    }

    fn has_below(&self, path: &[u8]) -> bool {
        let below = [path, b"/"].concat();
        let mut from = self.0.range(below.clone()..);
        from.next().is_some_and(|first| first.starts_with(&below))
    }
}

/// A tree as it is laid over another one.
#[derive(Debug)]
pub(super) struct Over {
    /// The root of what is below.
    pub base: DirHash,
    forced: Forced,
}

/// What to do about a name of a directory that is laid over another one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It shows through.
    Leave,
    /// It is written as it is; a directory over this one, or over nothing.
    Write(Option<DirHash>),
}

impl Over {
    pub fn new(tree: &Tree, base: &Tree) -> Over {
        Over {
            base: base.dir,
            forced: Forced::between(tree, base),
        }
    }

    /// Decides about an entry at `path` where the directory below has `below`.
    pub fn step(&self, path: &[u8], entry: &Entry, below: Option<&Entry>) -> Step {
        let under = match (&entry.kind, below.map(|below| &below.kind)) {
            (Kind::Dir { .. }, Some(Kind::Dir { manifest })) => Some(*manifest),
            _ => None,
        };
        let forced = match entry.kind {
            Kind::Dir { .. } => self.forced.has_below(path),
            _ => self.forced.has(path),
        };
        match below == Some(entry) && !forced {
            true => Step::Leave,
            false => Step::Write(under),
        }
    }
}

/// Counts what a layer would hold, as long as that is little.
struct Measure<'a> {
    store: &'a Store,
    over: &'a Over,
    entries: u64,
    bytes: u64,
}

impl Measure<'_> {
    fn is_much(&self) -> bool {
        self.entries > MOST_ENTRIES || self.bytes > MOST_BYTES
    }

    fn dir(
        &mut self,
        path: &mut Vec<u8>,
        dir: DirHash,
        under: Option<DirHash>,
    ) -> Result<(), StoreError> {
        let mut below = entries_below(self.store, under)?;
        for entry in self.store.manifest(dir)?.into_entries() {
            if self.is_much() {
                return Ok(());
            }
            let old = below.remove(&entry.name);
            let before = path.len();
            if before > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&entry.name);
            if let Step::Write(under) = self.over.step(path, &entry, old.as_ref()) {
                self.entries += 1;
                match entry.kind {
                    Kind::File { size, .. } => self.bytes += size,
                    Kind::Dir { manifest } => self.dir(path, manifest, under)?,
                    _ => {}
                }
            }
            path.truncate(before);
        }
        // Those that are hidden.
        self.entries += below.len() as u64;
        Ok(())
    }
}

/// The entries of a directory that another one is laid over.
pub(super) fn entries_below(
    store: &Store,
    under: Option<DirHash>,
) -> Result<std::collections::BTreeMap<Vec<u8>, Entry>, StoreError> {
    let entries = match under {
        Some(under) => store.manifest(under)?.into_entries(),
        None => Vec::new(),
    };
    let named = entries.into_iter();
    Ok(named.map(|entry| (entry.name.clone(), entry)).collect())
}

impl Store {
    /// Chooses the layer that `tree` is to be laid over in place of the topmost of `layers`: as deep as
    /// can be without much work, and halfway down at least. Gives its place among them, the topmost
    /// being 0, and what to write; `None` where the trees in question were collected.
    pub(super) fn fold_onto(
        &self,
        tree: TreeHash,
        layers: &[OnDisk],
    ) -> Result<Option<(usize, Over)>, StoreError> {
        let object = self.tree(tree)?;
        let half = MAX_LAYERS as usize / 2;
        for at in (1..layers.len()).rev() {
            let Some(base) = self.tree_if_here(layers[at].tree)? else {
                continue;
            };
            let over = Over::new(&object, &base);
            let mut measure = Measure {
                store: self,
                over: &over,
                entries: 0,
                bytes: 0,
            };
            if at > half {
                measure.dir(&mut Vec::new(), object.dir, Some(base.dir))?;
                if measure.is_much() {
                    continue;
                }
            }
            return Ok(Some((at, over)));
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlobHash, Hash, Meta};

    fn file(name: &str, content: &str) -> Entry {
        Entry {
            name: name.into(),
            meta: Meta::default(),
            kind: Kind::File {
                blob: BlobHash(Hash::of(content.as_bytes())),
                size: content.len() as u64,
            },
        }
    }

    fn tree(groups: &[&[&str]]) -> Tree {
        let groups = groups
            .iter()
            .map(|group| group.iter().map(|path| path.as_bytes().to_vec()).collect());
        Tree {
            root: Meta::default(),
            dir: DirHash(Hash::of(b"dir")),
            links: Tree::normal_links(groups.collect()),
        }
    }

    #[test]
    fn names_of_a_file_that_got_or_lost_one_are_written_together() {
        let over = Over::new(
            &tree(&[&["d/a", "d/b", "e"], &["same", "too"]]),
            &tree(&[&["d/a", "d/b"], &["same", "too"], &["lone", "gone"]]),
        );
        let old = file("x", "1");
        let step = |path: &str| over.step(path.as_bytes(), &old, Some(&old));
        for path in ["d/a", "d/b", "e", "lone"] {
            assert_eq!(step(path), Step::Write(None), "{path}");
        }
        for path in ["same", "too", "d/c"] {
            assert_eq!(step(path), Step::Leave, "{path}");
        }
        let dir = Entry {
            kind: Kind::Dir {
                manifest: DirHash(Hash::of(b"d")),
            },
            ..file("d", "")
        };
        let under = Some(DirHash(Hash::of(b"d")));
        assert_eq!(over.step(b"d", &dir, Some(&dir)), Step::Write(under));
        assert_eq!(over.step(b"f", &dir, Some(&dir)), Step::Leave);
        assert_eq!(over.step(b"f", &dir, None), Step::Write(None));
        assert_eq!(
            over.step(b"n", &file("n", "2"), Some(&old)),
            Step::Write(None)
        );
    }
}
