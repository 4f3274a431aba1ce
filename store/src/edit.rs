//! A tree with some paths taken out and small files written anew. What is not on the way to one of them is shared.

use std::collections::BTreeMap;

use crate::error::show;
use crate::ingest::Ingest;
use crate::manifest::{Entry, Kind, Manifest, Meta, Tree};
use crate::view::split;
use crate::{DirHash, Store, StoreError, TreeHash};

/// What becomes of one path of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// It is taken out, with all below it. What is not there stays away.
    Remove,
    /// It is a file with this content: one that is there keeps all else, a new one is root:root 0644 with mtime 0.
    Text(Vec<u8>),
}

/// The edits of one directory.
#[derive(Default)]
struct Edits<'e> {
    here: Option<&'e Edit>,
    below: BTreeMap<Vec<u8>, Edits<'e>>,
}

impl Store {
    /// Makes a tree of another one by edits of paths (`a/b`). Links are not followed.
    pub fn edit(
        &self,
        tree: TreeHash,
        edits: &BTreeMap<String, Edit>,
    ) -> Result<TreeHash, StoreError> {
        let whole = self.tree(tree)?;
        let mut top = Edits::default();
        for (path, edit) in edits {
            let mut at = &mut top;
            for name in split(path)? {
                at = at.below.entry(name.to_vec()).or_default();
            }
            at.here = Some(edit);
        }
        if top.here.is_some() {
            return Err(StoreError::BadEntry {
                path: "/".to_owned(),
                reason: "the root itself cannot be edited".to_owned(),
            });
        }
        let ingest = Ingest::begin(self)?;
        let dir = self.edit_dir(&ingest, Some(whole.dir), &top)?;
        let links = whole.links.into_iter().map(|group| {
            let kept = group.into_iter().filter(|path| !is_edited(&top, path));
            kept.collect()
        });
        let edited = ingest.put_tree(&Tree {
            root: whole.root,
            dir,
            links: Tree::normal_links(links.collect()),
        })?;
        ingest.commit(edited)?;
        Ok(edited)
    }

    fn edit_dir(
        &self,
        ingest: &Ingest,
        dir: Option<DirHash>,
        edits: &Edits<'_>,
    ) -> Result<DirHash, StoreError> {
        let manifest = match dir {
            Some(dir) => self.manifest(dir)?,
            None => Manifest::default(),
        };
        let mut entries: BTreeMap<Vec<u8>, Entry> = manifest
            .into_entries()
            .into_iter()
            .map(|entry| (entry.name.clone(), entry))
            .collect();
        for (name, edit) in &edits.below {
            let old = entries.remove(name);
            match edit.here {
                Some(Edit::Remove) => {}
                Some(Edit::Text(content)) => {
                    let kind = Kind::File {
                        blob: ingest.put_blob(content)?,
                        size: content.len() as u64,
                    };
                    let mode = 0o644;
                    let meta = old.map_or(
                        Meta {
                            mode,
                            ..Meta::default()
                        },
                        |old| old.meta,
                    );
                    let name = name.clone();
                    entries.insert(name.clone(), Entry { name, meta, kind });
                }
                None => {
                    let (meta, inner) = match old {
                        None if !adds(edit) => continue,
                        None => (Meta::plain_dir(), None),
                        Some(Entry {
                            meta,
                            kind: Kind::Dir { manifest },
                            ..
                        }) => (meta, Some(manifest)),
                        Some(other) if !adds(edit) => {
                            // Nothing is below what is no directory.
                            entries.insert(name.clone(), other);
                            continue;
                        }
                        Some(_) => {
                            return Err(StoreError::BadEntry {
                                path: show(name),
                                reason: "a file is to be below it, and it is no directory"
                                    .to_owned(),
                            });
                        }
                    };
                    let manifest = self.edit_dir(ingest, inner, edit)?;
                    let kind = Kind::Dir { manifest };
                    let name = name.clone();
                    entries.insert(name.clone(), Entry { name, meta, kind });
                }
            }
        }
        let manifest = Manifest::new(entries.into_values().collect());
        let manifest = manifest.map_err(|error| StoreError::BadEntry {
            path: show(&error.name),
            reason: error.reason,
        })?;
        ingest.put_manifest(&manifest)
    }
}

/// Whether a file is written anew somewhere below.
fn adds(edits: &Edits<'_>) -> bool {
    matches!(edits.here, Some(Edit::Text(_))) || edits.below.values().any(adds)
}

/// Whether a path is edited, or lies below one that is taken out.
fn is_edited(edits: &Edits<'_>, path: &[u8]) -> bool {
    let mut at = edits;
    for name in path.split(|b| *b == b'/') {
        match at.below.get(name) {
            Some(below) if below.here.is_some() => return true,
            Some(below) => at = below,
            None => return false,
        }
    }
    false
}
