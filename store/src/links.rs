//! Groups of hard links, compared with the directories that they speak of.
//!
//! A tree tells twice what a path with several names is: in the directory of each name, and by the
//! group. Who reads a tree may follow the one or the other, so that both must say the same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::show;
use crate::manifest::{Entry, Kind, Manifest, Tree};
use crate::{DirHash, StoreError};

/// Directories kept in memory while groups are compared.
const KEPT: usize = 4096;

/// Finds entries of a tree by their paths.
pub(crate) struct Entries<'a> {
    root: DirHash,
    read: &'a dyn Fn(&DirHash) -> Result<Manifest, StoreError>,
    known: HashMap<DirHash, Arc<Manifest>>,
}

impl<'a> Entries<'a> {
    /// Looks below the directory `root`; `read` gets directories by their hashes.
    pub fn new(root: DirHash, read: &'a dyn Fn(&DirHash) -> Result<Manifest, StoreError>) -> Self {
        Entries {
            root,
            read,
            known: HashMap::new(),
        }
    }

    fn manifest(&mut self, dir: DirHash) -> Result<Arc<Manifest>, StoreError> {
        if let Some(manifest) = self.known.get(&dir) {
            return Ok(manifest.clone());
        }
        if self.known.len() >= KEPT {
            self.known.clear();
        }
        let manifest = Arc::new((self.read)(&dir)?);
        self.known.insert(dir, manifest.clone());
        Ok(manifest)
    }

    /// The entry at a path from the root, to which directories alone lead.
    pub fn get(&mut self, path: &[u8]) -> Result<Option<Entry>, StoreError> {
        let mut at = self.root;
        let mut names = path.split(|b| *b == b'/').peekable();
        while let Some(name) = names.next() {
            let manifest = self.manifest(at)?;
            let Some(entry) = manifest.get(name) else {
                return Ok(None);
            };
            match entry.kind {
                _ if names.peek().is_none() => return Ok(Some(entry.clone())),
                Kind::Dir { manifest } => at = manifest,
                _ => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// Whether two entries of a group are one file under two names.
pub(crate) fn are_one(a: &Entry, b: &Entry) -> bool {
    !a.kind.is_dir() && a.kind == b.kind && a.meta == b.meta
}

/// Compares the groups of a tree with its directories. Tells what is wrong with the first that does not
/// fit, if there is one.
pub(crate) fn misfit(
    tree: &Tree,
    read: &dyn Fn(&DirHash) -> Result<Manifest, StoreError>,
) -> Result<Option<String>, StoreError> {
    let mut entries = Entries::new(tree.dir, read);
    for group in &tree.links {
        let mut first: Option<Entry> = None;
        for path in group {
            let Some(entry) = entries.get(path)? else {
                return Ok(Some(no_name(path)));
            };
            if entry.kind.is_dir() {
                return Ok(Some(a_directory(path)));
            }
            if let Some(first) = &first
                && !are_one(first, &entry)
            {
                return Ok(Some(two_faces(&group[0], path)));
            }
            first.get_or_insert(entry);
        }
    }
    Ok(None)
}

/// What is said of a group with a name that no directory has.
pub(crate) fn no_name(path: &[u8]) -> String {
    format!("its hard links name what no directory has: {}", show(path))
}

/// What is said of a group of directories.
pub(crate) fn a_directory(path: &[u8]) -> String {
    format!("its hard links name a directory: {}", show(path))
}

/// What is said of a group whose names are not one file.
pub(crate) fn two_faces(first: &[u8], other: &[u8]) -> String {
    format!(
        "its hard links say that {} and {} are one file, and its directories that they are not",
        show(first),
        show(other)
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{BlobHash, Hash, Meta, TreeHash};

    /// A tree of some entries below the root and below `d`, with a group.
    fn judge(group: &[&str]) -> Option<String> {
        let file = |name: &str, text: &str, mode| Entry {
            name: name.into(),
            meta: Meta {
                mode,
                ..Meta::default()
            },
            kind: Kind::File {
                blob: BlobHash(Hash::of(text.as_bytes())),
                size: text.len() as u64,
            },
        };
        let entry = |name: &str, kind| Entry {
            name: name.into(),
            meta: Meta::default(),
            kind,
        };
        let mut dirs = BTreeMap::new();
        let mut put = |entries| {
            let manifest = Manifest::new(entries).unwrap();
            let hash = Manifest::hash_encoded(&manifest.encode());
            dirs.insert(hash, manifest);
            hash
        };
        let below = put(vec![file("same", "x", 0o644), entry("pipe", Kind::Fifo)]);
        let to_d = Kind::Symlink {
            target: b"d".to_vec(),
        };
        let root = put(vec![
            file("a", "x", 0o644),
            file("content", "y", 0o644),
            file("mode", "x", 0o4755),
            entry("d", Kind::Dir { manifest: below }),
            entry("e", Kind::Dir { manifest: below }),
            entry("link", to_d),
            entry("pipe", Kind::Fifo),
        ]);
        let tree = Tree {
            root: Meta::default(),
            dir: root,
            links: Tree::normal_links(vec![
                group.iter().map(|path| path.as_bytes().to_vec()).collect(),
            ]),
        };
        let read = |dir: &DirHash| {
            let missing = StoreError::Missing {
                what: "manifest",
                hash: dir.0,
            };
            dirs.get(dir).cloned().ok_or(missing)
        };
        let _: TreeHash = Tree::hash_encoded(&tree.encode());
        misfit(&tree, &read).unwrap()
    }

    #[test]
    fn names_of_one_file_fit() {
        assert_eq!(judge(&["a", "d/same"]), None);
        assert_eq!(judge(&["a", "d/same", "e/same"]), None);
        assert_eq!(judge(&["d/pipe", "pipe"]), None);
    }

    #[test]
    fn two_faces_are_found() {
        for (group, said) in [
            (&["a", "content"], "a and content are one file"),
            (&["a", "mode"], "a and mode are one file"),
            (&["d/same", "pipe"], "d/same and pipe are one file"),
            (&["d", "e"], "name a directory: d"),
            (&["a", "nowhere"], "no directory has: nowhere"),
            (&["a", "link/same"], "no directory has: link/same"),
            (&["a", "a/b"], "no directory has: a/b"),
        ] {
            let told = judge(group).unwrap();
            assert!(told.contains(said), "{told}");
        }
    }
}
