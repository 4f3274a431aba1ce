//! A tree in memory: the simplest thing that an archive can be read into and written from.

use std::collections::BTreeMap;
use std::io::{self, Read};

use crate::manifest::{Entry, Kind, Manifest, Meta, Tree};
use crate::tar::TarOptions;
use crate::tar::export::{Trees, export};
use crate::tar::import::{Sink, read_into};
use crate::{BlobHash, DirHash, ExportOptions, Hash, Node, StoreError};

/// What lies at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Dir,
    File(Vec<u8>),
    Symlink(Vec<u8>),
    Node(Node),
}

/// A tree: what lies at each path, and which paths are one file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    pub entries: BTreeMap<Vec<u8>, (Meta, What)>,
    /// From each path of a hard link to the path that it is a link to.
    pub links: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Memory {
    pub fn read(archive: &[u8]) -> Result<Memory, StoreError> {
        Memory::read_with(archive, &TarOptions::default())
    }

    pub fn read_with(archive: &[u8], options: &TarOptions) -> Result<Memory, StoreError> {
        let mut memory = Memory::default();
        let decoder = crate::compress::Decoder::new(archive, options.limits.decode)
            .map_err(|e| crate::tar::TarError::from_io(e, 0))?;
        read_into(io::BufReader::new(decoder), &mut memory, options)?;
        Ok(memory)
    }

    pub fn write(&self, options: &ExportOptions) -> Vec<u8> {
        let mut objects = Objects::default();
        let dir = objects.add(self, b"");
        let mut groups: BTreeMap<&Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for (path, target) in &self.links {
            let group = groups.entry(target).or_insert_with(|| vec![target.clone()]);
            group.push(path.clone());
        }
        let tree = Tree {
            root: self.meta(b""),
            dir,
            links: Tree::normal_links(groups.into_values().collect()),
        };
        let mut out = Vec::new();
        export(&objects, &tree, &mut out, options).unwrap();
        out
    }

    pub fn meta(&self, path: &[u8]) -> Meta {
        match self.entries.get(path) {
            Some((meta, _)) => meta.clone(),
            None => Meta::plain_dir(),
        }
    }

    pub fn what(&self, path: &str) -> &What {
        &self.entries[path.as_bytes()].1
    }

    /// Which paths are one file, whichever of them the links name.
    pub fn groups(&self) -> Vec<Vec<Vec<u8>>> {
        let mut groups: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
        for (path, target) in &self.links {
            let mut end = target;
            while let Some(next) = self.links.get(end) {
                end = next;
            }
            let group = groups
                .entry(end.clone())
                .or_insert_with(|| vec![end.clone()]);
            group.push(path.clone());
        }
        Tree::normal_links(groups.into_values().collect())
    }
}

impl Sink for Memory {
    fn dir(&mut self, path: &[u8], meta: Meta) -> Result<(), StoreError> {
        self.entries.insert(path.to_vec(), (meta, What::Dir));
        Ok(())
    }

    fn file(&mut self, path: &[u8], meta: Meta, content: &mut dyn Read) -> Result<(), StoreError> {
        let mut data = Vec::new();
        content
            .read_to_end(&mut data)
            .map_err(|e| StoreError::io("read", "content", e))?;
        self.entries.insert(path.to_vec(), (meta, What::File(data)));
        Ok(())
    }

    fn symlink(&mut self, path: &[u8], meta: Meta, target: &[u8]) -> Result<(), StoreError> {
        let what = What::Symlink(target.to_vec());
        self.entries.insert(path.to_vec(), (meta, what));
        Ok(())
    }

    fn node(&mut self, path: &[u8], meta: Meta, node: Node) -> Result<(), StoreError> {
        self.entries.insert(path.to_vec(), (meta, What::Node(node)));
        Ok(())
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError> {
        self.copy(path, target)?;
        self.links.insert(path.to_vec(), target.to_vec());
        Ok(())
    }

    fn copy(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError> {
        let entry = self.entries[target].clone();
        self.entries.insert(path.to_vec(), entry);
        Ok(())
    }
}

/// The objects of a tree by their names.
#[derive(Default)]
struct Objects {
    manifests: BTreeMap<DirHash, Manifest>,
    blobs: BTreeMap<BlobHash, Vec<u8>>,
}

impl Objects {
    fn add(&mut self, memory: &Memory, dir: &[u8]) -> DirHash {
        let mut entries = Vec::new();
        let mut last: Option<Vec<u8>> = None;
        for path in memory.entries.keys() {
            let below = match dir {
                b"" => Some(&path[..]),
                dir => path.strip_prefix(dir).and_then(|p| p.strip_prefix(b"/")),
            };
            let Some(below) = below.filter(|p| !p.is_empty()) else {
                continue;
            };
            let name = below.split(|&b| b == b'/').next().unwrap_or_default();
            if last.as_deref() == Some(name) {
                continue;
            }
            if entries.iter().any(|e: &Entry| e.name == name) {
                continue;
            }
            last = Some(name.to_vec());
            let full = match dir {
                b"" => name.to_vec(),
                dir => [dir, b"/", name].concat(),
            };
            let kind = match memory.entries.get(&full).map(|(_, what)| what) {
                None | Some(What::Dir) => Kind::Dir {
                    manifest: self.add(memory, &full),
                },
                Some(What::File(data)) => {
                    let blob = BlobHash(Hash::of(data));
                    self.blobs.insert(blob, data.clone());
                    Kind::File {
                        blob,
                        size: data.len() as u64,
                    }
                }
                Some(What::Symlink(target)) => Kind::Symlink {
                    target: target.clone(),
                },
                Some(What::Node(node)) => match *node {
                    Node::Char { major, minor } => Kind::Char { major, minor },
                    Node::Block { major, minor } => Kind::Block { major, minor },
                    Node::Fifo => Kind::Fifo,
                    Node::Socket => Kind::Socket,
                },
            };
            entries.push(Entry {
                name: name.to_vec(),
                meta: memory.meta(&full),
                kind,
            });
        }
        let manifest = Manifest::new(entries).unwrap();
        let hash = Manifest::hash_encoded(&manifest.encode());
        self.manifests.insert(hash, manifest);
        hash
    }
}

impl Trees for Objects {
    fn manifest(&self, dir: DirHash) -> Result<Manifest, StoreError> {
        Ok(self.manifests[&dir].clone())
    }

    fn blob(&self, blob: BlobHash) -> Result<Vec<u8>, StoreError> {
        Ok(self.blobs[&blob].clone())
    }

    fn open_blob(&self, blob: BlobHash) -> Result<Box<dyn Read + Send>, StoreError> {
        Ok(Box::new(io::Cursor::new(self.blobs[&blob].clone())))
    }
}
