//! Reading objects.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use crate::ingest::{ZeroChunk, nothing_but_zeros};
use crate::manifest::{Manifest, Tree};
use crate::pack::{Pack, PackEntry, RecordKind};
use crate::{BlobHash, DirHash, Hash, Store, StoreError, TreeHash};

/// Chunks of a large file: hash and length of each.
pub(crate) fn parse_chunks(hash: Hash, list: &[u8]) -> Result<Vec<(Hash, u32)>, StoreError> {
    if list.is_empty() || !list.len().is_multiple_of(36) {
        return Err(StoreError::Corrupt {
            what: "blob",
            hash,
            detail: "list of chunks is not well formed".into(),
        });
    }
    let chunks = list.chunks_exact(36).filter_map(|item| {
        let size = u32::from_le_bytes(item[32..].try_into().ok()?);
        Some((Hash::from_slice(&item[..32])?, size))
    });
    Ok(chunks.collect())
}

impl Store {
    /// Finds an object, looking for new packs when it is not in those known.
    pub(crate) fn find(&self, hash: &Hash) -> Result<Option<(Arc<Pack>, PackEntry)>, StoreError> {
        let (mut packs, mut state) = self.packs_and_state();
        let mut first = true;
        loop {
            let found = packs.find(hash);
            if let Ok(Some(_)) = found {
                return found;
            }
            // Others may have added it, or folded its pack into another.
            self.refresh()?;
            let (newer, now) = self.packs_and_state();
            // What cannot be read may have been mended, and an older database does not tell its state.
            let doubt = first && (packs.has_failed() || now.is_none());
            if now == state && !doubt {
                return found;
            }
            first = false;
            (packs, state) = (newer, now);
        }
    }

    pub(crate) fn locate(
        &self,
        what: &'static str,
        hash: &Hash,
        fits: impl Fn(RecordKind) -> bool,
    ) -> Result<(Arc<Pack>, PackEntry), StoreError> {
        match self.find(hash)? {
            Some((pack, place)) if fits(place.kind) => Ok((pack, place)),
            _ => Err(StoreError::Missing { what, hash: *hash }),
        }
    }

    fn read(
        &self,
        what: &'static str,
        hash: &Hash,
        kind: RecordKind,
        name: impl Fn(&[u8]) -> Hash,
    ) -> Result<Vec<u8>, StoreError> {
        let (pack, place) = self.locate(what, hash, |found| found == kind)?;
        let mut bytes = Vec::new();
        pack.read_into(&place, &mut bytes)?;
        if name(&bytes) != *hash {
            return Err(StoreError::Corrupt {
                what,
                hash: *hash,
                detail: format!("content does not have this hash (in {})", pack.name),
            });
        }
        Ok(bytes)
    }

    /// Tells whether a tree object and the manifest of its root are here. The collector removes a
    /// tree only together with what no other tree needs, so the rest is here too.
    pub fn has_tree(&self, tree: TreeHash) -> Result<bool, StoreError> {
        match self.tree(tree) {
            Ok(tree) => Ok(self.find(&tree.dir.0)?.is_some()),
            Err(StoreError::Missing { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reads a tree object.
    pub fn tree(&self, tree: TreeHash) -> Result<Tree, StoreError> {
        let name = |bytes: &[u8]| Tree::hash_encoded(bytes).0;
        let bytes = self.read("tree", &tree.0, RecordKind::Tree, name)?;
        Tree::decode(&bytes).map_err(|source| StoreError::Decode {
            what: "tree",
            hash: tree.0,
            source,
        })
    }

    /// Reads the entries of a directory.
    pub fn manifest(&self, dir: DirHash) -> Result<Manifest, StoreError> {
        let name = |bytes: &[u8]| Manifest::hash_encoded(bytes).0;
        let bytes = self.read("manifest", &dir.0, RecordKind::Manifest, name)?;
        Manifest::decode(&bytes).map_err(|source| StoreError::Decode {
            what: "manifest",
            hash: dir.0,
            source,
        })
    }

    /// Reads a file's content into memory.
    pub fn blob(&self, blob: BlobHash) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::new();
        self.blob_parts(blob, &mut bytes, |part| Ok::<_, StoreError>(part.to_vec()))
            .map(|parts| parts.concat())
    }

    /// Appends the bytes of a file's content that are in a range to `out`; nothing of what is beyond its end.
    pub fn blob_range(
        &self,
        blob: BlobHash,
        range: Range<u64>,
        out: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let (pack, place) = self.locate("blob", &blob.0, |kind| {
            matches!(kind, RecordKind::Blob | RecordKind::Chunks)
        })?;
        let mut buffer = Vec::new();
        let parts = match place.kind {
            RecordKind::Blob => vec![(blob.0, place.raw)],
            _ => {
                pack.read_into(&place, &mut buffer)?;
                let list = parse_chunks(blob.0, &buffer)?.into_iter();
                list.map(|(hash, size)| (hash, size.into())).collect()
            }
        };
        let mut at = 0;
        for (hash, size) in parts {
            let (from, to) = (range.start.max(at), range.end.min(at + size));
            if from < to {
                self.each_part(BlobHash(hash), &mut buffer, |bytes| {
                    // Shorter where the list of chunks tells another length: the caller sees that.
                    let to = bytes.len().min((to - at) as usize);
                    let from = to.min((from - at) as usize);
                    out.extend_from_slice(&bytes[from..to]);
                    Ok(())
                })?;
            }
            at += size;
        }
        Ok(())
    }

    /// Hands a file's content on, part by part. `buffer` is room to work in.
    pub(crate) fn each_part(
        &self,
        blob: BlobHash,
        buffer: &mut Vec<u8>,
        mut take: impl FnMut(&[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.blob_parts(blob, buffer, |part| take(part)).map(|_| ())
    }

    fn blob_parts<T>(
        &self,
        blob: BlobHash,
        buffer: &mut Vec<u8>,
        mut take: impl FnMut(&[u8]) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let (pack, place) = self.locate("blob", &blob.0, |kind| {
            matches!(kind, RecordKind::Blob | RecordKind::Chunks)
        })?;
        if place.kind == RecordKind::Blob {
            return Ok(vec![one_part(&pack, &place, buffer, &mut take)?]);
        }
        buffer.clear();
        pack.read_into(&place, buffer)?;
        let mut results = Vec::new();
        let zero = ZeroChunk::get();
        for (hash, _) in parse_chunks(blob.0, buffer)? {
            // Of files with large holes nearly all are this one.
            if hash == zero.hash {
                results.push(take(&nothing_but_zeros()[..zero.size])?);
                continue;
            }
            let (pack, place) = self.locate("blob", &hash, |kind| kind == RecordKind::Blob)?;
            results.push(one_part(&pack, &place, buffer, &mut take)?);
        }
        Ok(results)
    }

    /// Opens a file's content for reading from the beginning.
    pub fn open_blob(&self, blob: BlobHash) -> Result<Box<dyn Read + Send>, StoreError> {
        let (pack, place) = self.locate("blob", &blob.0, |kind| {
            matches!(kind, RecordKind::Blob | RecordKind::Chunks)
        })?;
        let chunks = if place.kind == RecordKind::Chunks {
            let mut list = Vec::new();
            pack.read_into(&place, &mut list)?;
            parse_chunks(blob.0, &list)?
        } else {
            vec![(blob.0, 0)]
        };
        Ok(Box::new(BlobReader {
            store: self.clone(),
            chunks: chunks.into_iter(),
            buffer: Vec::new(),
            at: 0,
        }))
    }
}

/// Reads one stored part. Uncompressed records have no checksum of their own: those are hashed.
pub(crate) fn one_part<T>(
    pack: &Pack,
    place: &PackEntry,
    buffer: &mut Vec<u8>,
    take: &mut impl FnMut(&[u8]) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    if let Some(plain) = pack.plain(place)? {
        let is_good = Hash::of(plain) == place.hash;
        let taken = if is_good { Some(take(plain)) } else { None };
        // Also what was taken: the disk may have failed between the two.
        pack.confirm(place)?;
        return taken.unwrap_or_else(|| {
            Err(StoreError::Corrupt {
                what: "blob",
                hash: place.hash,
                detail: format!("content does not have this hash (in {})", pack.name),
            })
        });
    }
    buffer.clear();
    pack.read_into(place, buffer)?;
    take(buffer)
}

/// Reads a blob chunk by chunk.
struct BlobReader {
    store: Store,
    chunks: std::vec::IntoIter<(Hash, u32)>,
    buffer: Vec<u8>,
    at: usize,
}

impl Read for BlobReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.buffer.len() {
            let Some((hash, _)) = self.chunks.next() else {
                return Ok(0);
            };
            let mut part = std::mem::take(&mut self.buffer);
            let mut got = Vec::new();
            self.store
                .each_part(BlobHash(hash), &mut part, |bytes| {
                    got.extend_from_slice(bytes);
                    Ok(())
                })
                .map_err(io::Error::other)?;
            self.buffer = got;
            self.at = 0;
        }
        let n = out.len().min(self.buffer.len() - self.at);
        out[..n].copy_from_slice(&self.buffer[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}
