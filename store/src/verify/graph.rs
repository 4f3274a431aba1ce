//! Graph of references between objects: read only when something is wrong.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::Damage;
use crate::manifest::{Kind, Manifest, Tree};
use crate::objects::parse_chunks;
use crate::pack::{PackEntry, PackFile, PackSet, RecordKind};
use crate::{DirHash, Hash, TreeHash};

/// Who names whom, of all objects that can be read.
#[derive(Default)]
pub(super) struct Graph {
    pub trees: BTreeMap<TreeHash, DirHash>,
    dirs: HashMap<DirHash, Children>,
    /// Chunks of large blobs.
    chunks: HashMap<Hash, Vec<Hash>>,
    pub faults: Vec<(Hash, String)>,
    /// What is named and not here.
    pub missing: BTreeSet<Hash>,
}

#[derive(Default)]
struct Children {
    dirs: Vec<DirHash>,
    blobs: Vec<Hash>,
}

impl Graph {
    pub fn read(packs: &PackSet, damage: &Damage) -> Graph {
        let mut graph = Graph::default();
        let mut sizes: HashMap<Hash, u64> = HashMap::new();
        let mut metas: Vec<(&Arc<PackFile>, PackEntry)> = Vec::new();
        for file in &packs.packs {
            let Ok(pack) = file.open() else { continue };
            for place in (0..pack.count()).filter_map(|at| pack.entry(at).ok()) {
                if place.kind == RecordKind::Blob {
                    sizes.insert(place.hash, place.raw);
                } else {
                    metas.push((file, place));
                }
            }
        }
        metas.sort_by_key(|(_, place)| (place.kind, place.hash));
        metas.dedup_by_key(|(_, place)| place.hash);
        let mut buffer = Vec::new();
        let mut files: HashMap<DirHash, Vec<(Hash, u64)>> = HashMap::new();
        for (file, place) in metas {
            if damage.contains_key(&place.hash) {
                continue;
            }
            buffer.clear();
            let read = file
                .open()
                .and_then(|pack| pack.read_into(&place, &mut buffer));
            if let Err(error) = read {
                graph.faults.push((place.hash, error.to_string()));
                continue;
            }
            graph.take(&place, &buffer, &mut sizes, &mut files);
        }
        graph.check_references(&sizes, &files);
        graph.faults.sort_unstable();
        graph
    }

    fn take(
        &mut self,
        place: &PackEntry,
        bytes: &[u8],
        sizes: &mut HashMap<Hash, u64>,
        files: &mut HashMap<DirHash, Vec<(Hash, u64)>>,
    ) {
        match place.kind {
            RecordKind::Blob => {}
            RecordKind::Chunks => match parse_chunks(place.hash, bytes) {
                Ok(list) => {
                    let size = list.iter().map(|(_, size)| u64::from(*size)).sum();
                    sizes.insert(place.hash, size);
                    let chunks = list.into_iter().map(|(hash, _)| hash).collect();
                    self.chunks.insert(place.hash, chunks);
                }
                Err(error) => self.faults.push((place.hash, error.to_string())),
            },
            RecordKind::Manifest => match Manifest::decode(bytes) {
                Ok(manifest) => {
                    let mut children = Children::default();
                    let mut sized = Vec::new();
                    for entry in manifest.entries() {
                        match entry.kind {
                            Kind::Dir { manifest } => children.dirs.push(manifest),
                            Kind::File { blob, size } => {
                                children.blobs.push(blob.0);
                                sized.push((blob.0, size));
                            }
                            _ => {}
                        }
                    }
                    files.insert(DirHash(place.hash), sized);
                    self.dirs.insert(DirHash(place.hash), children);
                }
                Err(error) => self.faults.push((place.hash, error.to_string())),
            },
            RecordKind::Tree => match Tree::decode(bytes) {
                Ok(tree) => {
                    self.trees.insert(TreeHash(place.hash), tree.dir);
                }
                Err(error) => self.faults.push((place.hash, error.to_string())),
            },
        }
    }

    /// Everything that is named must be here, with the length that is told of it.
    fn check_references(
        &mut self,
        sizes: &HashMap<Hash, u64>,
        files: &HashMap<DirHash, Vec<(Hash, u64)>>,
    ) {
        let mut faults = Vec::new();
        let mut missing = BTreeSet::new();
        let mut lacks = |who: Hash, what: &str, whom: Hash| {
            missing.insert(whom);
            faults.push((
                who,
                format!("it needs a {what} that is not in the store: {whom}"),
            ));
        };
        for (tree, dir) in &self.trees {
            if !self.dirs.contains_key(dir) {
                lacks(tree.0, "manifest", dir.0);
            }
        }
        for (dir, children) in &self.dirs {
            for child in &children.dirs {
                if !self.dirs.contains_key(child) {
                    lacks(dir.0, "manifest", child.0);
                }
            }
        }
        for (list, chunks) in &self.chunks {
            for chunk in chunks.iter().filter(|chunk| !sizes.contains_key(*chunk)) {
                lacks(*list, "chunk", *chunk);
            }
        }
        for (dir, sized) in files {
            for (blob, _) in sized {
                if !sizes.contains_key(blob) {
                    lacks(dir.0, "blob", *blob);
                }
            }
        }
        for (dir, sized) in files {
            for (blob, size) in sized {
                if sizes.get(blob).is_some_and(|real| real != size) {
                    let detail = format!("it tells a wrong length of blob {blob}");
                    faults.push((dir.0, detail));
                }
            }
        }
        self.missing = missing;
        // One fault an object is enough to name it.
        faults.sort_unstable();
        faults.dedup_by_key(|(hash, _)| *hash);
        self.faults.append(&mut faults);
    }

    /// The trees that need anything damaged, with what they need of it.
    pub fn bad_trees(&self, damage: &Damage) -> BTreeMap<TreeHash, BTreeSet<Hash>> {
        if damage.is_empty() {
            return BTreeMap::new();
        }
        let mut memo: HashMap<DirHash, Arc<BTreeSet<Hash>>> = HashMap::new();
        let mut bad = BTreeMap::new();
        for (tree, dir) in &self.trees {
            let mut found = (*self.bad_below(*dir, damage, &mut memo)).clone();
            if damage.contains_key(&tree.0) {
                found.insert(tree.0);
            }
            if !found.is_empty() {
                bad.insert(*tree, found);
            }
        }
        bad
    }

    /// Manifests and lists of chunks that need anything damaged.
    pub fn needing(&self, damage: &Damage) -> BTreeSet<Hash> {
        let mut memo = HashMap::new();
        let mut found = BTreeSet::new();
        for dir in self.dirs.keys() {
            if !self.bad_below(*dir, damage, &mut memo).is_empty() {
                found.insert(dir.0);
            }
        }
        for (list, chunks) in &self.chunks {
            if chunks.iter().any(|chunk| damage.contains_key(chunk)) {
                found.insert(*list);
            }
        }
        found
    }

    /// What is damaged below a directory. A manifest can only name manifests made before it, so this
    /// ends; damaged ones are not followed.
    fn bad_below(
        &self,
        dir: DirHash,
        damage: &Damage,
        memo: &mut HashMap<DirHash, Arc<BTreeSet<Hash>>>,
    ) -> Arc<BTreeSet<Hash>> {
        if let Some(known) = memo.get(&dir) {
            return known.clone();
        }
        let mut found = BTreeSet::new();
        let mut look = |hash: &Hash| {
            if damage.contains_key(hash) {
                found.insert(*hash);
            }
        };
        look(&dir.0);
        let mut below = Vec::new();
        if let Some(children) = self.dirs.get(&dir) {
            for blob in &children.blobs {
                look(blob);
                for chunk in self.chunks.get(blob).into_iter().flatten() {
                    look(chunk);
                }
            }
            below.clone_from(&children.dirs);
        }
        for child in below {
            found.extend(self.bad_below(child, damage, memo).iter().copied());
        }
        let found = Arc::new(found);
        memo.insert(dir, found.clone());
        found
    }
}
