//! A folder of a port, `files` or `patches`, as a tree that builds see.
//!
//! Its hash is worked out from the folder alone, so that plans can be made without writing to a store. Owners, times
//! and all of the modes but the right to execute are left out: they are those of whoever checked the tree out.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use mstore_store::{
    BlobHash, Entry, Hash, Kind, Manifest, Meta, Mtime, Store, StoreError, Tree, TreeHash,
};

use crate::drv::derivation::DEFAULT_EPOCH;

/// Entries of one folder with all below it.
const MOST_ENTRIES: usize = 10_000;
/// Bytes of all files together.
const MOST_BYTES: u64 = 256 << 20;
/// Folders may nest this deep.
const MOST_DEPTH: usize = 32;

/// A folder, and the tree that it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
    /// The tree.
    pub tree: TreeHash,
}

/// What a folder has.
enum Item {
    Dir(Vec<(Vec<u8>, Item)>),
    File(u16, Vec<u8>),
    Symlink(Vec<u8>),
}

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        mtime: Mtime {
            secs: DEFAULT_EPOCH,
            nanos: 0,
        },
        ..Meta::default()
    }
}

impl Folder {
    /// Looks at a folder; nothing if there is none.
    pub fn find(path: PathBuf) -> io::Result<Option<Folder>> {
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(io::Error::other("it is not a folder")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        }
        let items = read(&path)?;
        let manifest = manifest(&items).map_err(io::Error::other)?;
        let tree = Tree {
            root: meta(0o755),
            dir: Manifest::hash_encoded(&manifest.encode()),
            links: Vec::new(),
        };
        Ok(Some(Folder {
            path,
            tree: Tree::hash_encoded(&tree.encode()),
        }))
    }

    /// Brings it into a store, unless it is there.
    pub fn store(&self, store: &Store) -> Result<(), StoreError> {
        if store.has_tree(self.tree)? {
            return Ok(());
        }
        let failed = |source| StoreError::Io {
            action: "read",
            path: self.path.clone(),
            source,
        };
        let items = read(&self.path).map_err(failed)?;
        let mut builder = store.tree_builder()?;
        builder.dir(b"", meta(0o755))?;
        let mut todo: Vec<(Vec<u8>, &Item)> = items.iter().map(|(n, i)| (n.clone(), i)).collect();
        while let Some((path, item)) = todo.pop() {
            match item {
                Item::File(mode, data) => {
                    builder.file(&path, meta(*mode), &mut data.as_slice())?;
                }
                Item::Symlink(target) => builder.symlink(&path, meta(0o777), target)?,
                Item::Dir(items) => {
                    builder.dir(&path, meta(0o755))?;
                    let below = |(name, item)| ([&path, &b"/"[..], name].concat(), item);
                    todo.extend(items.iter().map(|(n, i)| below((n.as_slice(), i))));
                }
            }
        }
        match builder.finish()?.tree == self.tree {
            true => Ok(()),
            false => Err(failed(io::Error::other("it changed while it was read"))),
        }
    }
}

fn manifest(items: &[(Vec<u8>, Item)]) -> Result<Manifest, String> {
    let mut entries = Vec::with_capacity(items.len());
    for (name, item) in items {
        let (mode, kind) = match item {
            Item::File(mode, data) => {
                let blob = BlobHash(Hash::of(data));
                let size = data.len() as u64;
                (*mode, Kind::File { blob, size })
            }
            Item::Symlink(target) => {
                let target = target.clone();
                (0o777, Kind::Symlink { target })
            }
            Item::Dir(items) => {
                let manifest = Manifest::hash_encoded(&manifest(items)?.encode());
                (0o755, Kind::Dir { manifest })
            }
        };
        entries.push(Entry {
            name: name.clone(),
            meta: meta(mode),
            kind,
        });
    }
    Manifest::new(entries).map_err(|error| error.to_string())
}

/// What is left to be read of a folder.
struct Left {
    entries: usize,
    bytes: u64,
}

fn read(path: &Path) -> io::Result<Vec<(Vec<u8>, Item)>> {
    let mut left = Left {
        entries: MOST_ENTRIES,
        bytes: MOST_BYTES,
    };
    read_dir(path, &mut left, MOST_DEPTH)
}

fn read_dir(path: &Path, left: &mut Left, depth: usize) -> io::Result<Vec<(Vec<u8>, Item)>> {
    let much = |what: String| Err(io::Error::other(what));
    if depth == 0 {
        return much(format!("folders nest deeper than {MOST_DEPTH}"));
    }
    let mut items = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if left.entries == 0 {
            return much(format!("more than {MOST_ENTRIES} entries"));
        }
        left.entries -= 1;
        let (name, path) = (entry.file_name().into_vec(), entry.path());
        let kind = entry.file_type()?;
        let item = if kind.is_dir() {
            Item::Dir(read_dir(&path, left, depth - 1)?)
        } else if kind.is_symlink() {
            Item::Symlink(fs::read_link(&path)?.as_os_str().as_bytes().to_vec())
        } else if kind.is_file() {
            let file = fs::File::open(&path)?;
            let mode = match file.metadata()?.permissions().mode() & 0o100 {
                0 => 0o644,
                _ => 0o755,
            };
            let mut data = Vec::new();
            file.take(left.bytes + 1).read_to_end(&mut data)?;
            let Some(rest) = left.bytes.checked_sub(data.len() as u64) else {
                return much(format!("more than {} MiB", MOST_BYTES >> 20));
            };
            left.bytes = rest;
            Item::File(mode, data)
        } else {
            return much(format!(
                "{} is neither a file, a folder nor a link",
                path.display()
            ));
        };
        items.push((name, item));
    }
    items.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_store::OpenOptions;

    #[test]
    fn the_hash_of_a_folder_is_that_of_the_tree_it_becomes() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("files");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        fs::write(folder.join("a/x"), "x").unwrap();
        fs::write(folder.join("large"), vec![7; 5 << 20]).unwrap();
        std::os::unix::fs::symlink("../nowhere", folder.join("a/l")).unwrap();
        let run = folder.join("run");
        fs::write(&run, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
        let found = Folder::find(folder.clone()).unwrap().unwrap();
        let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
        found.store(&store).unwrap();
        assert!(store.has_tree(found.tree).unwrap());
        found.store(&store).unwrap();
        // Only the right to execute counts of a mode.
        fs::set_permissions(&run, fs::Permissions::from_mode(0o711)).unwrap();
        assert_eq!(Folder::find(folder.clone()).unwrap().unwrap(), found);
        fs::set_permissions(&run, fs::Permissions::from_mode(0o600)).unwrap();
        assert_ne!(Folder::find(folder.clone()).unwrap().unwrap(), found);
        assert_eq!(Folder::find(dir.path().join("none")).unwrap(), None);
        assert!(Folder::find(run).is_err());
    }

    #[test]
    fn links_in_a_circle_are_links() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("files");
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(".", folder.join("self")).unwrap();
        assert!(Folder::find(folder).unwrap().is_some());
    }
}
