//! Reads everything again and compares it with its name.
//!
//! Three passes: every record against its hash, by several threads; every reference of every manifest
//! and tree; and, when something was found, every realisation and root against what was found. A
//! repair writes packs anew without what is damaged and without the trees that need it, so that a
//! tree that can be found is whole again, and forgets the realisations of those trees.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use crate::db::{Durable, add_pack};
use crate::manifest::{Kind, Manifest, Tree};
use crate::objects::parse_chunks;
use crate::pack::{Content, Pack, PackSet, PackWriter, Packed, Place, RECORD_HEAD, Sort};
use crate::session::random_name;
use crate::{DirHash, Hash, Realisation, Store, StoreError, TreeHash};

/// What to check.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerifyOptions {
    /// Forgets damaged objects and the realisations that need them, so that they are built anew.
    pub repair: bool,
    /// Checks indexes and references only, not contents.
    pub quick: bool,
}

/// One thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file of the store, if the fault is in one.
    pub file: Option<String>,
    /// The object, if the fault is in one.
    pub object: Option<Hash>,
    /// What is wrong.
    pub detail: String,
    /// Names of realisations and roots that need it.
    pub affects: Vec<String>,
}

/// The outcome of a verification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Objects looked at.
    pub objects: u64,
    /// Bytes of content hashed.
    pub bytes: u64,
    /// All faults, in a fixed order.
    pub faults: Vec<Fault>,
    /// Keys of realisations that were forgotten.
    pub forgotten: Vec<Hash>,
    /// Names of roots that were forgotten.
    pub forgotten_roots: Vec<String>,
}

/// An object that is damaged or lacks something, and why.
type Damage = BTreeMap<Hash, (Option<String>, String)>;

impl Store {
    /// Checks the whole store, going on after each fault; `visitor` sees each as it is found.
    pub fn verify(
        &self,
        options: &VerifyOptions,
        visitor: &mut dyn FnMut(&Fault),
    ) -> Result<VerifyReport, StoreError> {
        if options.repair {
            self.writable("repair it")?;
        }
        // A repair must not meet additions that rely on what it removes; a plain verification only
        // keeps the collector away.
        let lock = if options.repair {
            self.lock_exclusive()?
        } else {
            self.lock_shared()?
        };
        let packs = self.refresh()?;
        let mut report = VerifyReport::default();
        let mut files: Vec<Fault> = Vec::new();
        for (name, reason) in &packs.broken {
            files.push(Fault {
                file: Some(format!("packs/{name}.pack")),
                object: None,
                detail: reason.clone(),
                affects: Vec::new(),
            });
        }
        let mut damage = Damage::new();
        let bytes = AtomicU64::new(0);
        for pack in &packs.packs {
            if let Err(error) = pack.check_index() {
                files.push(Fault {
                    file: Some(format!("packs/{}.pack", pack.name)),
                    object: None,
                    detail: error.to_string(),
                    affects: Vec::new(),
                });
            }
            if !options.quick {
                damage.extend(check_pack(pack, &bytes));
            }
            report.objects += pack.count() as u64;
        }
        // A good copy in another pack makes a damaged one a fault of that pack alone.
        let mut spoiled = BTreeSet::new();
        damage.retain(|hash, (file, detail)| {
            if !has_good_copy(&packs, hash) {
                return true;
            }
            spoiled.insert(*hash);
            files.push(Fault {
                file: file.clone(),
                object: Some(*hash),
                detail: format!("{detail}; another copy is good"),
                affects: Vec::new(),
            });
            false
        });
        let graph = Graph::read(&packs, &damage, options.quick);
        for (hash, detail) in &graph.faults {
            damage.entry(*hash).or_insert((None, detail.clone()));
        }
        report.bytes = bytes.into_inner() + graph.bytes;
        let realisations = self.realisations(None)?;
        let roots = self.roots()?;
        let bad_trees = graph.bad_trees(&damage);
        // A realisation whose tree was collected is in order; a root must be here.
        let bad_root =
            |tree: &TreeHash| bad_trees.contains_key(tree) || !graph.trees.contains_key(tree);
        for root in roots.iter().filter(|r| !graph.trees.contains_key(&r.tree)) {
            damage
                .entry(root.tree.0)
                .or_insert((None, "tree of a root is not in the store".into()));
        }
        report.faults = files;
        for (hash, (file, detail)) in &damage {
            let mut affects = Vec::new();
            for r in &realisations {
                if r.tree.0 == *hash || bad_trees.get(&r.tree).is_some_and(|d| d.contains(hash)) {
                    affects.push(r.name.clone());
                }
            }
            for root in &roots {
                let tree = &root.tree;
                if tree.0 == *hash || bad_trees.get(tree).is_some_and(|d| d.contains(hash)) {
                    affects.push(format!("root {}", root.name));
                }
            }
            affects.sort_unstable();
            affects.dedup();
            report.faults.push(Fault {
                file: file.clone(),
                object: Some(*hash),
                detail: detail.clone(),
                affects,
            });
        }
        for fault in &report.faults {
            visitor(fault);
        }
        if options.repair && !report.faults.is_empty() {
            let bad: Vec<&Realisation> = realisations
                .iter()
                .filter(|r| bad_trees.contains_key(&r.tree) || damage.contains_key(&r.tree.0))
                .collect();
            report.forgotten = bad.iter().map(|r| r.key).collect();
            report.forgotten_roots = roots
                .iter()
                .filter(|r| bad_root(&r.tree))
                .map(|r| r.name.clone())
                .collect();
            let mut gone = graph.needing(&damage);
            gone.extend(damage.keys());
            gone.extend(bad_trees.keys().map(|tree| tree.0));
            self.rewrite_without(&packs, &gone, &spoiled, &report)?;
        }
        drop(lock);
        Ok(report)
    }

    /// Writes packs anew without damaged objects and without the trees that need them.
    fn rewrite_without(
        &self,
        packs: &PackSet,
        gone: &BTreeSet<Hash>,
        spoiled: &BTreeSet<Hash>,
        report: &VerifyReport,
    ) -> Result<(), StoreError> {
        let session = self.session()?;
        let mut old = Vec::new();
        let mut new = Vec::new();
        for pack in &packs.packs {
            let places: Vec<Place> = (0..pack.count())
                .filter_map(|at| pack.place(at).ok())
                .collect();
            let whole = places.len() == pack.count() && pack.check_index().is_ok();
            let touched = |hash| gone.contains(hash) || spoiled.contains(hash);
            if whole && !places.iter().any(|place| touched(&place.hash)) {
                continue;
            }
            old.push(pack.clone());
            let mut kept: Vec<Place> = places
                .into_iter()
                .filter(|place| !gone.contains(&place.hash) && check_record(pack, place).is_ok())
                .collect();
            kept.sort_unstable_by_key(|place| place.offset);
            kept.dedup_by_key(|place| place.offset);
            for content in [Content::Data, Content::Meta] {
                let mut places = kept
                    .iter()
                    .filter(|place| place.sort.content() == content)
                    .peekable();
                if places.peek().is_none() {
                    continue;
                }
                let path = session.tmp.join(random_name()?);
                let writer = PackWriter::create(self.disk(), &path)?;
                for place in places {
                    writer.append(&Packed {
                        hash: place.hash,
                        sort: place.sort,
                        raw: place.raw,
                        flags: place.flags,
                        stored: &pack.record(place)?[RECORD_HEAD..],
                    })?;
                }
                new.push((content, writer.seal()?));
            }
        }
        let names = self.place_packs(&new)?;
        self.database().write(Durable::Yes, "repair", |t| {
            for ((content, pack), name) in new.iter().zip(&names) {
                add_pack(t, name, *content, pack.len, pack.count)?;
            }
            let rewritten = old.iter().map(|pack| &pack.name);
            for name in rewritten.chain(packs.broken.iter().map(|(name, _)| name)) {
                t.execute("DELETE FROM pack WHERE name = ?1", [name])?;
            }
            for key in &report.forgotten {
                t.execute("DELETE FROM realisation WHERE key = ?1", [key.to_string()])?;
            }
            for name in &report.forgotten_roots {
                t.execute("DELETE FROM root WHERE name = ?1", [name])?;
            }
            // What was written out from damaged trees may be wrong too.
            for hash in gone {
                t.execute("DELETE FROM layer WHERE tree = ?1", [hash.to_string()])?;
            }
            Ok(())
        })?;
        for pack in &old {
            let _ = self.disk().remove(&pack.path);
        }
        self.refresh()?;
        Ok(())
    }
}

/// Compares every record of a pack with its hash.
fn check_pack(pack: &Arc<Pack>, bytes: &AtomicU64) -> Vec<(Hash, (Option<String>, String))> {
    let mut places: Vec<Place> = (0..pack.count())
        .filter_map(|at| pack.place(at).ok())
        .collect();
    // In the order of the file, as the disk likes it.
    places.sort_unstable_by_key(|place| place.offset);
    places
        .par_iter()
        .filter_map(|place| match check_record(pack, place) {
            Ok(read) => {
                bytes.fetch_add(read, Ordering::Relaxed);
                None
            }
            Err(error) => {
                let file = format!("packs/{}.pack", pack.name);
                Some((place.hash, (Some(file), error.to_string())))
            }
        })
        .collect()
}

thread_local! {
    static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Tells whether any pack has an object undamaged.
fn has_good_copy(packs: &PackSet, hash: &Hash) -> bool {
    packs.packs.iter().any(|pack| {
        let place = pack.find(hash).ok().flatten();
        place.is_some_and(|place| check_record(pack, &place).is_ok())
    })
}

/// Compares one record with its hash, and returns its length. The content of a list of chunks is
/// compared later.
fn check_record(pack: &Pack, place: &Place) -> Result<u64, StoreError> {
    let corrupt = |detail: &str| StoreError::Corrupt {
        what: place.sort.word(),
        hash: place.hash,
        detail: detail.into(),
    };
    BUFFER.with_borrow_mut(|buffer| {
        buffer.clear();
        let bytes = match pack.plain(place)? {
            Some(plain) => plain,
            None => {
                pack.read_into(place, buffer)?;
                &buffer[..]
            }
        };
        let name = match place.sort {
            Sort::Blob => Hash::of(bytes),
            Sort::Manifest => Manifest::hash_encoded(bytes).0,
            Sort::Tree => Tree::hash_encoded(bytes).0,
            Sort::Chunks => {
                parse_chunks(place.hash, bytes)?;
                place.hash
            }
        };
        if name != place.hash {
            return Err(corrupt("content does not have this hash"));
        }
        match place.sort {
            Sort::Manifest => Manifest::decode(bytes).err(),
            Sort::Tree => Tree::decode(bytes).err(),
            _ => None,
        }
        .map_or(Ok(bytes.len() as u64), |error| {
            Err(corrupt(&error.to_string()))
        })
    })
}

/// Who names whom, of all objects that can be read.
#[derive(Default)]
struct Graph {
    trees: BTreeMap<TreeHash, DirHash>,
    dirs: HashMap<DirHash, Children>,
    /// Chunks of large blobs.
    chunks: HashMap<Hash, Vec<Hash>>,
    faults: Vec<(Hash, String)>,
    bytes: u64,
}

#[derive(Default)]
struct Children {
    dirs: Vec<DirHash>,
    blobs: Vec<Hash>,
}

impl Graph {
    fn read(packs: &PackSet, damage: &Damage, quick: bool) -> Graph {
        let mut graph = Graph::default();
        let mut sizes: HashMap<Hash, u64> = HashMap::new();
        let mut metas: Vec<(&Arc<Pack>, Place)> = Vec::new();
        for pack in &packs.packs {
            for place in (0..pack.count()).filter_map(|at| pack.place(at).ok()) {
                if place.sort == Sort::Blob {
                    sizes.insert(place.hash, place.raw);
                } else {
                    metas.push((pack, place));
                }
            }
        }
        metas.sort_by_key(|(_, place)| (place.sort, place.hash));
        metas.dedup_by_key(|(_, place)| place.hash);
        let mut buffer = Vec::new();
        let mut files: HashMap<DirHash, Vec<(Hash, u64)>> = HashMap::new();
        for (pack, place) in metas {
            if damage.contains_key(&place.hash) {
                continue;
            }
            buffer.clear();
            if let Err(error) = pack.read_into(&place, &mut buffer) {
                graph.faults.push((place.hash, error.to_string()));
                continue;
            }
            graph.take(packs, &place, &buffer, &mut sizes, &mut files, quick);
        }
        graph.check_references(&sizes, &files);
        graph.faults.sort_unstable();
        graph
    }

    fn take(
        &mut self,
        packs: &PackSet,
        place: &Place,
        bytes: &[u8],
        sizes: &mut HashMap<Hash, u64>,
        files: &mut HashMap<DirHash, Vec<(Hash, u64)>>,
        quick: bool,
    ) {
        match place.sort {
            Sort::Blob => {}
            Sort::Chunks => match parse_chunks(place.hash, bytes) {
                Ok(list) => {
                    let size = list.iter().map(|(_, size)| u64::from(*size)).sum();
                    sizes.insert(place.hash, size);
                    if !quick && let Some(fault) = whole_differs(packs, place.hash, &list) {
                        self.faults.push((place.hash, fault));
                    }
                    self.bytes += if quick { 0 } else { size };
                    let chunks = list.into_iter().map(|(hash, _)| hash).collect();
                    self.chunks.insert(place.hash, chunks);
                }
                Err(error) => self.faults.push((place.hash, error.to_string())),
            },
            Sort::Manifest => match Manifest::decode(bytes) {
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
            Sort::Tree => match Tree::decode(bytes) {
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
        let mut lacks = |who: Hash, what: &str, whom: Hash| {
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
        // One fault an object is enough to name it.
        faults.sort_unstable();
        faults.dedup_by_key(|(hash, _)| *hash);
        self.faults.append(&mut faults);
    }

    /// The trees that need anything damaged, with what they need of it.
    fn bad_trees(&self, damage: &Damage) -> BTreeMap<TreeHash, BTreeSet<Hash>> {
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
    fn needing(&self, damage: &Damage) -> BTreeSet<Hash> {
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

/// Hashes the chunks of a large blob together.
fn whole_differs(packs: &PackSet, hash: Hash, list: &[(Hash, u32)]) -> Option<String> {
    let mut whole = blake3::Hasher::new();
    let mut buffer = Vec::new();
    for (chunk, size) in list {
        // A chunk that is missing or damaged is told of by itself.
        let (pack, place) = packs.find(chunk).ok()??;
        buffer.clear();
        pack.read_into(&place, &mut buffer).ok()?;
        if buffer.len() as u64 != u64::from(*size) {
            return Some(format!("its list tells a wrong length of chunk {chunk}"));
        }
        whole.update(&buffer);
    }
    let found = Hash::from_bytes(*whole.finalize().as_bytes());
    (found != hash).then(|| "its chunks together do not have this hash".into())
}
