//! Trees made from parts of other trees. Only manifests are read and written, never contents.

use std::collections::BTreeMap;

use crate::error::show;
use crate::ingest::Ingest;
use crate::manifest::{Entry, Kind, Manifest, Meta, Tree, check_name};
use crate::{DirHash, Store, StoreError, TreeHash};

/// Splits a path in a tree into names. Slashes at either end and `.` mean nothing.
pub(crate) fn split(path: &str) -> Result<Vec<&[u8]>, StoreError> {
    let names: Vec<&[u8]> = path
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .map(str::as_bytes)
        .collect();
    for name in &names {
        check_name(name).map_err(|reason| StoreError::BadEntry {
            path: path.chars().take(200).collect(),
            reason,
        })?;
    }
    Ok(names)
}

/// What a pick wants of one directory.
#[derive(Default)]
struct Wanted<'a> {
    /// All of it.
    whole: bool,
    below: BTreeMap<&'a [u8], Wanted<'a>>,
}

impl Store {
    /// Finds an entry in a tree without following links; `None` is the root itself.
    pub fn entry(&self, tree: TreeHash, path: &str) -> Result<Option<Entry>, StoreError> {
        let mut dir = self.tree(tree)?.dir;
        let names = split(path)?;
        let mut found = None;
        for (at, name) in names.iter().enumerate() {
            let missing = |what| StoreError::NoSuchPath {
                tree,
                what,
                path: show(&names[..=at].join(&b'/')),
            };
            let manifest = self.manifest(dir)?;
            let entry = manifest.get(name).ok_or_else(|| missing("entry"))?.clone();
            match entry.kind {
                Kind::Dir { manifest } => dir = manifest,
                _ if at + 1 < names.len() => return Err(missing("directory")),
                _ => {}
            }
            found = Some(entry);
        }
        Ok(found)
    }

    /// Makes a subdirectory (`a/b`) a tree of its own.
    pub fn subtree(&self, tree: TreeHash, path: &str) -> Result<TreeHash, StoreError> {
        let Some(entry) = self.entry(tree, path)? else {
            return Ok(tree);
        };
        let Kind::Dir { manifest } = entry.kind else {
            return Err(StoreError::NoSuchPath {
                tree,
                what: "directory",
                path: path.to_string(),
            });
        };
        let mut prefix = split(path)?.join(&b'/');
        prefix.push(b'/');
        let links = self.tree(tree)?.links.into_iter();
        let links = links.map(|group| {
            let inside = group.iter().filter_map(|p| p.strip_prefix(&prefix[..]));
            inside.map(<[u8]>::to_vec).collect()
        });
        self.put_view(|_| {
            Ok(Tree {
                root: entry.meta,
                dir: manifest,
                links: Tree::normal_links(links.collect()),
            })
        })
    }

    /// Makes a tree that holds only the given paths, each where it was. Directories above them, the
    /// root among them, are root:root 0755 with mtime 0, unless they are picked themselves.
    pub fn pick(&self, tree: TreeHash, paths: &[&str]) -> Result<TreeHash, StoreError> {
        let whole = self.tree(tree)?;
        let mut wanted = Wanted::default();
        for path in paths {
            let mut at = &mut wanted;
            for name in split(path)? {
                at = at.below.entry(name).or_default();
            }
            at.whole = true;
            // A path that is missing is an error, not an empty pick.
            self.entry(tree, path)?;
        }
        if wanted.whole {
            return Ok(tree);
        }
        let links = whole.links.into_iter().map(|group| {
            let picked = group.into_iter().filter(|path| is_wanted(&wanted, path));
            picked.collect()
        });
        let links = Tree::normal_links(links.collect());
        self.put_view(|ingest| {
            let dir = self.pick_dir(ingest, whole.dir, &wanted)?;
            Ok(Tree {
                root: Meta::plain_dir(),
                dir,
                links,
            })
        })
    }

    fn pick_dir(
        &self,
        ingest: &Ingest,
        dir: DirHash,
        wanted: &Wanted<'_>,
    ) -> Result<DirHash, StoreError> {
        let manifest = self.manifest(dir)?;
        let mut entries = Vec::new();
        for (name, below) in &wanted.below {
            let Some(entry) = manifest.get(name) else {
                continue;
            };
            let entry = match entry.kind {
                Kind::Dir { manifest } if !below.whole => Entry {
                    name: entry.name.clone(),
                    meta: Meta::plain_dir(),
                    kind: Kind::Dir {
                        manifest: self.pick_dir(ingest, manifest, below)?,
                    },
                },
                _ => entry.clone(),
            };
            entries.push(entry);
        }
        let manifest = Manifest::new(entries).map_err(|error| StoreError::BadEntry {
            path: show(&error.name),
            reason: error.reason,
        })?;
        ingest.put_manifest(&manifest)
    }

    fn put_view(
        &self,
        make: impl FnOnce(&Ingest) -> Result<Tree, StoreError>,
    ) -> Result<TreeHash, StoreError> {
        let ingest = Ingest::begin(self)?;
        let tree = make(&ingest)?;
        let tree = ingest.put_tree(&tree)?;
        ingest.commit(tree)?;
        Ok(tree)
    }
}

fn is_wanted(wanted: &Wanted<'_>, path: &[u8]) -> bool {
    let mut at = wanted;
    for name in path.split(|b| *b == b'/') {
        if at.whole {
            return true;
        }
        match at.below.get(name) {
            Some(next) => at = next,
            None => return false,
        }
    }
    at.whole
}
