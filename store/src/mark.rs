//! Marks what trees need, in one bit for each object of each pack.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::manifest::{Kind, Manifest, Tree};
use crate::objects::parse_chunks;
use crate::pack::{ENTRY_LEN, Pack, PackEntry, PackSet, RecordKind};
use crate::{DirHash, Hash, StoreError, TreeHash};

/// Hears who names whom while marks are made.
pub(crate) trait Edges {
    /// `from` names `to`, a tree its root directory and a list its chunks without a name.
    fn edge(&mut self, from: &Hash, name: &[u8], to: &Hash, is_dir: bool);
}

impl Edges for () {
    fn edge(&mut self, _: &Hash, _: &[u8], _: &Hash, _: bool) {}
}

/// Bits for all objects of a set of packs.
#[derive(Debug)]
pub(crate) struct Marks {
    pub packs: Arc<PackSet>,
    bits: Vec<Vec<u64>>,
    /// Objects that marked trees need and no pack has.
    pub missing: Vec<Hash>,
    /// Packs that stay as they are, by name.
    held: BTreeSet<String>,
    /// Bytes in packs of all that is marked.
    pub bytes: u64,
    /// Marks made since the trial began, and what `bytes` and `missing` were then.
    trial: Option<Trial>,
    buffer: Vec<u8>,
}

#[derive(Debug, Default)]
struct Trial {
    made: Vec<(usize, usize)>,
    bytes: u64,
    missing: usize,
}

impl Marks {
    pub fn new(packs: Arc<PackSet>) -> Marks {
        let bits = packs
            .packs
            .iter()
            .map(|pack| vec![0; pack.count().div_ceil(64)])
            .collect();
        Marks {
            packs,
            bits,
            missing: Vec::new(),
            held: BTreeSet::new(),
            bytes: 0,
            trial: None,
            buffer: Vec::new(),
        }
    }

    /// Goes on with a newer set of packs, in which all packs with marks still are.
    pub fn renew(mut self, packs: Arc<PackSet>) -> Marks {
        self.renew_in_place(packs);
        self
    }

    /// The same; marks in packs that are gone go with them.
    pub fn renew_in_place(&mut self, packs: Arc<PackSet>) {
        let mut new = Marks::new(packs);
        for (number, pack) in new.packs.packs.iter().enumerate() {
            if let Some(at) = self.packs.number(pack.name()) {
                new.bits[number] = std::mem::take(&mut self.bits[at]);
            }
        }
        self.packs = new.packs;
        self.bits = new.bits;
    }

    /// Goes on with a set in which packs are new that hold nothing but copies of what is marked.
    pub fn adopt(&mut self, packs: Arc<PackSet>, copies: &[String]) {
        self.renew_in_place(packs);
        for (number, pack) in self.packs.packs.iter().enumerate() {
            if copies.iter().any(|name| name == pack.name()) {
                for at in 0..pack.count() {
                    self.bits[number][at / 64] |= 1 << (at % 64);
                }
            }
        }
    }

    /// From now on marks can be taken back.
    pub fn begin_trial(&mut self) {
        let mut made = self.trial.take().map(|t| t.made).unwrap_or_default();
        made.clear();
        self.trial = Some(Trial {
            made,
            bytes: self.bytes,
            missing: self.missing.len(),
        });
    }

    /// Takes back the marks made since the trial began.
    pub fn undo_trial(&mut self) {
        if let Some(trial) = self.trial.take() {
            for (number, at) in trial.made {
                self.bits[number][at / 64] &= !(1 << (at % 64));
            }
            self.bytes = trial.bytes;
            self.missing.truncate(trial.missing);
        }
    }

    /// Keeps them.
    pub fn end_trial(&mut self) {
        self.trial = None;
    }

    pub fn is_marked(&self, pack: usize, at: usize) -> bool {
        self.bits[pack][at / 64] >> (at % 64) & 1 == 1
    }

    /// Objects marked in a pack.
    pub fn count(&self, pack: usize) -> usize {
        let ones = self.bits[pack].iter().map(|w| w.count_ones() as usize);
        ones.sum()
    }

    /// Marks an object where it is found first: further copies of it are not needed. Tells where it
    /// is when it was not marked before.
    fn mark(&mut self, hash: &Hash) -> Result<Option<(Arc<Pack>, PackEntry)>, StoreError> {
        if let Some((number, at)) = self.packs.locate(hash)? {
            let pack = self.packs.packs[number].open()?;
            let word = &mut self.bits[number][at / 64];
            let bit = 1 << (at % 64);
            if *word & bit != 0 {
                return Ok(None);
            }
            *word |= bit;
            let place = pack.entry(at)?;
            self.bytes += place.record_len() + ENTRY_LEN as u64;
            if let Some(trial) = &mut self.trial {
                trial.made.push((number, at));
            }
            return Ok(Some((pack, place)));
        }
        self.missing.push(*hash);
        Ok(None)
    }

    /// Reads a small object and checks that it has the hash it goes by.
    fn read(
        &mut self,
        pack: &Pack,
        place: &PackEntry,
        name: impl Fn(&[u8]) -> Hash,
    ) -> Result<&[u8], StoreError> {
        self.buffer.clear();
        pack.read_into(place, &mut self.buffer)?;
        if name(&self.buffer) != place.hash {
            return Err(StoreError::Corrupt {
                what: place.kind.word(),
                hash: place.hash,
                detail: format!("content does not have this hash (in {})", pack.name),
            });
        }
        Ok(&self.buffer)
    }

    /// Tells whether a pack stays as it is.
    pub fn is_held(&self, pack: &str) -> bool {
        self.held.contains(pack)
    }

    /// Marks everything in a pack, which stays as it is.
    pub fn mark_pack(&mut self, name: &str) {
        let Some(number) = self.packs.number(name) else {
            return;
        };
        if self.held.insert(name.to_owned()) {
            self.bytes += self.packs.packs[number].len();
        }
        let count = self.packs.packs[number].count();
        for at in 0..count {
            self.bits[number][at / 64] |= 1 << (at % 64);
        }
    }

    /// Marks a tree with all that it needs.
    pub fn mark_tree(&mut self, tree: TreeHash, edges: &mut impl Edges) -> Result<(), StoreError> {
        let Some((pack, place)) = self.mark(&tree.0)? else {
            return Ok(());
        };
        let bytes = self.read(&pack, &place, |b| Tree::hash_encoded(b).0)?;
        let top = Tree::decode(bytes).map_err(|source| StoreError::Decode {
            what: "tree",
            hash: tree.0,
            source,
        })?;
        edges.edge(&tree.0, b"", &top.dir.0, true);
        self.mark_dir(top.dir, edges)
    }

    /// Marks a directory with all that it needs.
    pub fn mark_dir(&mut self, dir: DirHash, edges: &mut impl Edges) -> Result<(), StoreError> {
        let mut open = vec![dir];
        while let Some(dir) = open.pop() {
            let Some((pack, place)) = self.mark(&dir.0)? else {
                continue;
            };
            let bytes = self.read(&pack, &place, |b| Manifest::hash_encoded(b).0)?;
            let manifest = Manifest::decode(bytes).map_err(|source| StoreError::Decode {
                what: "manifest",
                hash: dir.0,
                source,
            })?;
            for entry in manifest.entries() {
                match entry.kind {
                    Kind::Dir { manifest } => {
                        edges.edge(&dir.0, &entry.name, &manifest.0, true);
                        open.push(manifest);
                    }
                    Kind::File { blob, .. } => {
                        edges.edge(&dir.0, &entry.name, &blob.0, false);
                        self.mark_blob(&blob.0, edges)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn mark_blob(&mut self, blob: &Hash, edges: &mut impl Edges) -> Result<(), StoreError> {
        let Some((pack, place)) = self.mark(blob)? else {
            return Ok(());
        };
        if place.kind != RecordKind::Chunks {
            return Ok(());
        }
        self.buffer.clear();
        pack.read_into(&place, &mut self.buffer)?;
        for (chunk, _) in parse_chunks(*blob, &self.buffer)? {
            edges.edge(blob, b"", &chunk, false);
            self.mark(&chunk)?;
        }
        Ok(())
    }
}
