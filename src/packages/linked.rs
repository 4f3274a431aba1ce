//! What the files of a package are linked with and what libraries they bring, as [`elf`](super::elf) reads it; remembered
//! for each tree.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use mstore_store::{DirHash, Draft, Entry, Hash, Kind, Store, StoreError, TreeHash};
use serde::{Deserialize, Serialize};

use super::elf::{self, Machine};

/// Keeps what is remembered of trees apart. Another form of it is another context.
const CONTEXT: &str = "mstore 2026 packages linked 1";
/// The file that has it.
const FILE: &str = "linked.json";
/// Most bytes of a file that is read: libraries are smaller, and what is larger is an image of a disk.
const MOST_BYTES: u64 = 1 << 30;
/// Fewest bytes of an ELF file: its header.
const FEWEST_BYTES: u64 = 52;
/// How one begins.
const MAGIC: &[u8] = b"\x7fELF";
/// Most folders below each other. Trees of the store have fewer.
const DEEPEST: usize = 4096;

/// A library, by what loads it and what it is asked for by.
pub type Library = (Machine, String);

/// What the files of a tree are linked with, and what they bring.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Linked {
    /// The libraries that are there: each by its soname, and by the name of its file.
    pub brings: BTreeSet<Library>,
    /// The libraries that files are linked with.
    pub needs: BTreeSet<Library>,
}

impl Linked {
    fn add(&mut self, name: &str, file: &[u8]) {
        let Some(links) = elf::links(file) else {
            return;
        };
        let of_machine = |name: String| (links.machine.clone(), name);
        self.needs.extend(links.needed.into_iter().map(of_machine));
        if is_library(name) {
            self.brings.insert(of_machine(name.to_owned()));
        }
        self.brings.extend(links.soname.map(of_machine));
    }
}

/// Whether a file is one that a loader finds by its name.
fn is_library(name: &str) -> bool {
    name.ends_with(".so") || name.contains(".so.")
}

/// Reads trees of a store, each once.
#[derive(Debug)]
pub struct Linking {
    store: Store,
    known: RefCell<HashMap<TreeHash, Rc<Linked>>>,
}

impl Linking {
    /// Nothing is read yet.
    pub fn new(store: &Store) -> Linking {
        Linking {
            store: store.clone(),
            known: RefCell::default(),
        }
    }

    /// What the files of a tree are linked with and bring; nothing where its content is not here.
    pub fn of(&self, tree: TreeHash) -> Result<Option<Rc<Linked>>, StoreError> {
        if let Some(known) = self.known.borrow().get(&tree) {
            return Ok(Some(known.clone()));
        }
        let key = Hash::derive(CONTEXT, tree.0.as_bytes());
        let linked = match self.remembered(&key)? {
            Some(linked) => linked,
            None if !self.store.has_tree(tree)? => return Ok(None),
            None => {
                let mut linked = Linked::default();
                self.read(self.store.tree(tree)?.dir, &mut linked, 0)?;
                self.remember(&key, &linked)?;
                linked
            }
        };
        let linked = Rc::new(linked);
        self.known.borrow_mut().insert(tree, linked.clone());
        Ok(Some(linked))
    }

    /// What a file of a tree is linked with and brings, if it is one of the kind.
    pub fn of_file(&self, name: &str, entry: &Entry) -> Result<Linked, StoreError> {
        let mut linked = Linked::default();
        if let Kind::File { blob, size } = entry.kind
            && (FEWEST_BYTES..=MOST_BYTES).contains(&size)
        {
            let mut first = Vec::new();
            self.store
                .blob_range(blob, 0..MAGIC.len() as u64, &mut first)?;
            if first == MAGIC {
                linked.add(name, &self.store.blob(blob)?);
            }
        }
        Ok(linked)
    }

    fn read(&self, dir: DirHash, linked: &mut Linked, depth: usize) -> Result<(), StoreError> {
        if depth == DEEPEST {
            return Ok(());
        }
        for entry in self.store.manifest(dir)?.entries() {
            match entry.kind {
                Kind::Dir { manifest } => self.read(manifest, linked, depth + 1)?,
                Kind::File { .. } => {
                    // What has another name can neither be run nor be asked for by it.
                    let name = String::from_utf8_lossy(&entry.name);
                    if entry.meta.mode & 0o111 != 0 || is_library(&name) {
                        let Linked { brings, needs } = self.of_file(&name, entry)?;
                        linked.brings.extend(brings);
                        linked.needs.extend(needs);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn remembered(&self, key: &Hash) -> Result<Option<Linked>, StoreError> {
        let Some(tree) = self.store.part(key)? else {
            return Ok(None);
        };
        if !self.store.has_tree(tree)? {
            return Ok(None);
        }
        let entry = self.store.entry(tree, FILE)?;
        let Some(Kind::File { blob, .. }) = entry.map(|entry| entry.kind) else {
            return Ok(None);
        };
        Ok(serde_json::from_slice(&self.store.blob(blob)?).ok())
    }

    fn remember(&self, key: &Hash, linked: &Linked) -> Result<(), StoreError> {
        if self.store.is_read_only() {
            return Ok(());
        }
        // Sets of text cannot fail.
        let text = serde_json::to_vec(linked).expect("it is made of sets of text");
        let mut draft = Draft::new();
        draft.text(FILE, text)?;
        for tree in self.store.weave(&[draft])? {
            self.store.put_part(key, tree)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::elf::tests::library;
    use mstore_store::OpenOptions;

    #[test]
    fn a_tree_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
        let mut draft = Draft::new();
        let tui = library("libtui.so.1", &["libncurses.so.6"]);
        draft.text("usr/lib/libtui.so.1.0", tui).unwrap();
        draft
            .text("usr/lib/deep/plugin.so", library("", &["libz.so.1"]))
            .unwrap();
        draft
            .text("usr/share/data", library("libnone.so", &["libnone.so"]))
            .unwrap();
        draft
            .text("usr/lib/script.so", "INPUT(libtui.so.1)")
            .unwrap();
        let tree = store.weave(&[draft]).unwrap()[0];
        let linking = Linking::new(&store);
        let found = linking.of(tree).unwrap().unwrap();
        let names = |set: &BTreeSet<Library>| -> Vec<String> {
            set.iter().map(|(_, name)| name.clone()).collect()
        };
        assert_eq!(
            names(&found.brings),
            ["libtui.so.1", "libtui.so.1.0", "plugin.so"]
        );
        assert_eq!(names(&found.needs), ["libncurses.so.6", "libz.so.1"]);
        let key = Hash::derive(CONTEXT, tree.0.as_bytes());
        assert_eq!(linking.remembered(&key).unwrap().as_ref(), Some(&*found));
        let again = Linking::new(&store).of(tree).unwrap().unwrap();
        assert_eq!(again, found);
        // What is not here says nothing.
        assert_eq!(linking.of(TreeHash(key)).unwrap(), None);
    }
}
