//! Reasons for an object to live: the walk of the collector, with a second reader.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use super::roots::Dropped;
use super::{GcPolicy, Why};
use crate::mark::{Edges, Marks};
use crate::objects::parse_chunks;
use crate::pack::RecordKind;
use crate::{Hash, Store, StoreError, TreeHash};

/// What kind of object a hash names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ObjectKind {
    /// A tree.
    Tree,
    /// A directory.
    Manifest,
    /// The content of a file, or a part of one.
    Blob,
}

impl ObjectKind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            ObjectKind::Tree => "tree",
            ObjectKind::Manifest => "directory",
            ObjectKind::Blob => "blob",
        }
    }

    pub(crate) fn of(kind: RecordKind) -> ObjectKind {
        match kind {
            RecordKind::Tree => ObjectKind::Tree,
            RecordKind::Manifest => ObjectKind::Manifest,
            RecordKind::Blob | RecordKind::Chunks => ObjectKind::Blob,
        }
    }
}

/// A tree that keeps an object alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// The tree.
    pub tree: TreeHash,
    /// The names of the realisations that made it.
    pub names: Vec<String>,
    /// Why the tree lives.
    pub why: Vec<Why>,
    /// The object's first path in the tree; empty when it is the tree, or its root directory.
    pub path: Vec<u8>,
}

/// Why an object lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhyAlive {
    /// The object.
    pub hash: Hash,
    /// Its kind; `None` when the store does not have it.
    pub kind: Option<ObjectKind>,
    /// Every tree that keeps it alive. When there are none, the next collection removes it.
    pub keepers: Vec<Keeper>,
}

/// Notes who names whom: for each directory, and for the object asked for, those that name it.
struct Namers {
    wanted: HashSet<Hash>,
    namers: HashMap<Hash, Vec<Namer>>,
}

/// Who names an object, and how.
type Namer = (Hash, Box<[u8]>);

impl Edges for Namers {
    fn edge(&mut self, from: &Hash, name: &[u8], to: &Hash, is_dir: bool) {
        if is_dir || self.wanted.contains(to) {
            let all = self.namers.entry(*to).or_default();
            all.push((*from, name.into()));
        }
    }
}

impl Store {
    /// An object, and the lists of chunks that have it.
    fn lists_with(&self, hash: &Hash) -> Result<HashSet<Hash>, StoreError> {
        let mut found = HashSet::from([*hash]);
        let packs = self.packs();
        let mut buffer = Vec::new();
        for file in packs.packs.iter().filter(|pack| pack.is_meta()) {
            // Its objects count as missing.
            let Ok(pack) = file.open() else { continue };
            for at in 0..pack.count() {
                let place = pack.entry(at)?;
                if place.kind != RecordKind::Chunks {
                    continue;
                }
                buffer.clear();
                pack.read_into(&place, &mut buffer)?;
                let chunks = parse_chunks(place.hash, &buffer)?;
                if chunks.iter().any(|(chunk, _)| chunk == hash) {
                    found.insert(place.hash);
                }
            }
        }
        Ok(found)
    }

    /// Tells what keeps an object from the collector, by the collector's own walk under the same
    /// policy.
    pub fn why_alive(&self, policy: &GcPolicy<'_>, hash: &Hash) -> Result<WhyAlive, StoreError> {
        let _lock = self.lock_shared()?;
        let roots = self.gc_roots(policy, &Dropped::new())?;
        let mut marks = Marks::new(self.refresh()?);
        let dropped = self.choose(policy, &roots, &mut marks)?;
        let roots = self.gc_roots(policy, &dropped)?;
        let mut marks = Marks::new(self.packs());
        let mut edges = Namers {
            wanted: self.lists_with(hash)?,
            namers: HashMap::new(),
        };
        for tree in roots.why.keys() {
            policy.go_on()?;
            marks.mark_tree(*tree, &mut edges)?;
        }
        // From the object up; the first path found to each directory is the shortest.
        let mut paths: HashMap<Hash, Vec<u8>> = HashMap::from([(*hash, Vec::new())]);
        let mut open = VecDeque::from([*hash]);
        let mut seen = HashSet::from([*hash]);
        while let Some(at) = open.pop_front() {
            let below = paths.get(&at).cloned().unwrap_or_default();
            for (from, name) in edges.namers.get(&at).into_iter().flatten() {
                if !seen.insert(*from) {
                    continue;
                }
                let mut path = name.to_vec();
                if !below.is_empty() && !name.is_empty() {
                    path.push(b'/');
                }
                path.extend_from_slice(&below);
                paths.insert(*from, path);
                open.push_back(*from);
            }
        }
        let keepers: BTreeMap<TreeHash, Keeper> = roots
            .why
            .iter()
            .filter_map(|(tree, why)| {
                let path = paths.get(&tree.0)?;
                let keeper = Keeper {
                    tree: *tree,
                    names: roots.names.get(tree).cloned().unwrap_or_default(),
                    why: why.clone(),
                    path: path.clone(),
                };
                Some((*tree, keeper))
            })
            .collect();
        let kind = self
            .find(hash)?
            .map(|(_, place)| ObjectKind::of(place.kind));
        Ok(WhyAlive {
            hash: *hash,
            kind,
            keepers: keepers.into_values().collect(),
        })
    }
}
