//! Marks what trees need, in one bit for each object of each pack.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::manifest::{Kind, Manifest, Tree};
use crate::objects::parse_chunks;
use crate::pack::{Pack, PackSet, Place, Sort};
use crate::{Hash, StoreError, TreeHash};

/// Bits for all objects of a set of packs.
#[derive(Debug)]
pub(crate) struct Marks {
    pub packs: Arc<PackSet>,
    bits: Vec<Vec<u64>>,
    /// Objects that marked trees need and no pack has.
    pub missing: Vec<Hash>,
    /// Packs that stay as they are, by name.
    held: BTreeSet<String>,
    buffer: Vec<u8>,
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
            buffer: Vec::new(),
        }
    }

    /// Goes on with a newer set of packs, in which all packs with marks still are.
    pub fn renew(self, packs: Arc<PackSet>) -> Marks {
        let mut new = Marks::new(packs);
        new.held.clone_from(&self.held);
        for (number, pack) in new.packs.packs.iter().enumerate() {
            let old = &self.packs.packs;
            if let Ok(at) = old.binary_search_by(|p| p.name.cmp(&pack.name)) {
                new.bits[number].clone_from(&self.bits[at]);
            }
        }
        new
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
    fn mark(&mut self, hash: &Hash) -> Result<Option<(Arc<Pack>, Place)>, StoreError> {
        for (number, pack) in self.packs.packs.iter().enumerate() {
            let Some(at) = pack.position(hash) else {
                continue;
            };
            let word = &mut self.bits[number][at / 64];
            let bit = 1 << (at % 64);
            if *word & bit != 0 {
                return Ok(None);
            }
            *word |= bit;
            return Ok(Some((pack.clone(), pack.place(at)?)));
        }
        self.missing.push(*hash);
        Ok(None)
    }

    /// Reads a small object and checks that it has the hash it goes by.
    fn read(
        &mut self,
        pack: &Pack,
        place: &Place,
        name: impl Fn(&[u8]) -> Hash,
    ) -> Result<&[u8], StoreError> {
        self.buffer.clear();
        pack.read_into(place, &mut self.buffer)?;
        if name(&self.buffer) != place.hash {
            return Err(StoreError::Corrupt {
                what: place.sort.word(),
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
        let Ok(number) = self
            .packs
            .packs
            .binary_search_by(|p| p.name.as_str().cmp(name))
        else {
            return;
        };
        self.held.insert(name.to_owned());
        let count = self.packs.packs[number].count();
        for at in 0..count {
            self.bits[number][at / 64] |= 1 << (at % 64);
        }
    }

    /// Marks a tree with all that it needs.
    pub fn mark_tree(&mut self, tree: TreeHash) -> Result<(), StoreError> {
        let Some((pack, place)) = self.mark(&tree.0)? else {
            return Ok(());
        };
        let bytes = self.read(&pack, &place, |b| Tree::hash_encoded(b).0)?;
        let top = Tree::decode(bytes).map_err(|source| StoreError::Decode {
            what: "tree",
            hash: tree.0,
            source,
        })?;
        let mut open = vec![top.dir];
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
                    Kind::Dir { manifest } => open.push(manifest),
                    Kind::File { blob, .. } => self.mark_blob(&blob.0)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn mark_blob(&mut self, blob: &Hash) -> Result<(), StoreError> {
        let Some((pack, place)) = self.mark(blob)? else {
            return Ok(());
        };
        if place.sort != Sort::Chunks {
            return Ok(());
        }
        self.buffer.clear();
        pack.read_into(&place, &mut self.buffer)?;
        for (chunk, _) in parse_chunks(*blob, &self.buffer)? {
            self.mark(&chunk)?;
        }
        Ok(())
    }
}
