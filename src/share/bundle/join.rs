//! Joining: bundles that came from elsewhere become a tree of a store.

use std::io::{self, Read};

use mstore_store::{Gather, GatherError, Hash, Store, StoreError, TreeHash};

use super::{Digest, HEAD, MAGIC, MOST, MOST_PACKED, Tag};

/// Why bundles do not become a tree. Nothing stays in the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bundle cannot be had.
    #[error("cannot get bundle {number} of tree {tree}: {source}")]
    Get {
        /// The tree.
        tree: TreeHash,
        /// Which bundle.
        number: usize,
        /// Why.
        source: io::Error,
    },
    /// What came is not what it should be.
    #[error("the bundles of tree {tree}: {detail}")]
    Wrong {
        /// The tree.
        tree: TreeHash,
        /// What is wrong.
        detail: String,
    },
}

/// Gets the bytes of a bundle by its number and its name.
pub type Get<'a> = dyn FnMut(usize, &Digest) -> io::Result<Vec<u8>> + 'a;

/// Makes `tree` from its bundles, unless it is there; nothing is got then. Trees that it is a layer on must be there.
/// Each bundle and each object is hashed. The tree is kept until the last handle of the store is dropped.
pub fn join(
    store: &Store,
    tree: TreeHash,
    bundles: &[Digest],
    get: &mut Get<'_>,
) -> Result<(), JoinError> {
    if store.has_tree(tree)? {
        return Ok(());
    }
    let wrong = |detail: String| JoinError::Wrong { tree, detail };
    let mut records = Records {
        tree,
        bundles,
        next: 0,
        raw: Vec::new(),
        at: 0,
        get,
        failed: None,
    };
    let mut gather = store.gather()?;
    while let Some((tag, range)) = records.next()? {
        let body = &records.raw[range.clone()];
        match tag {
            Tag::Tree => gather.tree(body).map_err(gathered(tree))?,
            Tag::Manifest => gather.manifest(body).map_err(gathered(tree))?,
            Tag::Content => gather.blob(body.to_vec())?,
            Tag::Piece => long(&mut records, range, &mut gather)?,
        }
    }
    if records.bundles.is_empty() {
        return Err(wrong("there are none".to_owned()));
    }
    gather.finish(tree).map_err(gathered(tree)).map(drop)
}

fn gathered(tree: TreeHash) -> impl Fn(GatherError) -> JoinError {
    move |error| match error {
        GatherError::Store(error) => JoinError::Store(error),
        other => JoinError::Wrong {
            tree,
            detail: other.to_string(),
        },
    }
}

/// Takes a long file, whose first piece is here.
fn long(
    records: &mut Records<'_, '_>,
    first: std::ops::Range<usize>,
    gather: &mut Gather,
) -> Result<(), JoinError> {
    let tree = records.tree;
    let wrong = |detail: &str| JoinError::Wrong {
        tree,
        detail: detail.to_owned(),
    };
    let piece = Piece::of(&records.raw, first).ok_or_else(|| wrong("a piece is too short"))?;
    if piece.at != 0 {
        return Err(wrong("a long file does not begin with its beginning"));
    }
    let (hash, whole) = (piece.hash, piece.whole);
    let mut content = Pieces {
        left: piece.body.clone(),
        done: 0,
        piece,
        records,
    };
    let taken = gather.file(&mut content);
    if let Some(error) = records.failed.take() {
        return Err(error);
    }
    let (found, size) = taken?;
    if found.0 != hash || size != whole {
        return Err(wrong("the pieces of a long file do not make it"));
    }
    Ok(())
}

/// A piece of a long file, within the bundle that is open.
struct Piece {
    hash: Hash,
    whole: u64,
    at: u64,
    body: std::ops::Range<usize>,
}

impl Piece {
    fn of(raw: &[u8], range: std::ops::Range<usize>) -> Option<Piece> {
        let number = |at: usize| {
            let bytes = raw.get(range.start + at..range.start + at + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let body = range.start + 48..range.end;
        if body.start >= body.end {
            return None;
        }
        Some(Piece {
            hash: Hash::from_slice(raw.get(range.start..range.start + 32)?)?,
            whole: number(32)?,
            at: number(40)?,
            body,
        })
    }
}

/// The content of a long file: one piece, then what the records that follow have of it.
struct Pieces<'a, 'b, 'c> {
    piece: Piece,
    left: std::ops::Range<usize>,
    done: u64,
    records: &'a mut Records<'b, 'c>,
}

impl Pieces<'_, '_, '_> {
    /// Goes on to the next piece. An end that comes too early is seen by the length.
    fn turn(&mut self) -> Result<(), JoinError> {
        let tree = self.records.tree;
        let wrong = || JoinError::Wrong {
            tree,
            detail: "a piece of a long file is not where it belongs".to_owned(),
        };
        let Some((Tag::Piece, range)) = self.records.next()? else {
            return Err(wrong());
        };
        let next = Piece::of(&self.records.raw, range).ok_or_else(wrong)?;
        if next.hash != self.piece.hash || next.whole != self.piece.whole || next.at != self.done {
            return Err(wrong());
        }
        self.left = next.body.clone();
        self.piece = next;
        Ok(())
    }
}

impl Read for Pieces<'_, '_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() {
            if self.done >= self.piece.whole {
                return Ok(0);
            }
            if let Err(error) = self.turn() {
                self.records.failed = Some(error);
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        let count = out.len().min(self.left.len());
        let from = self.left.start;
        out[..count].copy_from_slice(&self.records.raw[from..from + count]);
        self.left.start += count;
        self.done += count as u64;
        Ok(count)
    }
}

/// The records of bundles, one after the other.
struct Records<'a, 'g> {
    tree: TreeHash,
    bundles: &'a [Digest],
    next: usize,
    /// The bundle that is open, decompressed.
    raw: Vec<u8>,
    at: usize,
    get: &'a mut Get<'g>,
    /// Why the content of a long file ended early.
    failed: Option<JoinError>,
}

impl Records<'_, '_> {
    fn next(&mut self) -> Result<Option<(Tag, std::ops::Range<usize>)>, JoinError> {
        if self.at == self.raw.len() {
            let Some(digest) = self.bundles.get(self.next) else {
                return Ok(None);
            };
            let (tree, number) = (self.tree, self.next);
            let wrong = |detail: String| JoinError::Wrong {
                tree,
                detail: format!("bundle {number} {detail}"),
            };
            if digest.size > MOST_PACKED {
                return Err(wrong(format!("has {} bytes", digest.size)));
            }
            let got = (self.get)(number, digest);
            let packed = got.map_err(|source| JoinError::Get {
                tree,
                number,
                source,
            })?;
            if packed.len() as u64 != digest.size || Hash::of(&packed) != digest.blake3 {
                return Err(wrong("is not what it is called".to_owned()));
            }
            unpack(&packed, &mut self.raw).map_err(wrong)?;
            self.at = MAGIC.len();
            self.next += 1;
        }
        let wrong = || JoinError::Wrong {
            tree: self.tree,
            detail: format!("a record of bundle {} makes no sense", self.next - 1),
        };
        let body = self.at + HEAD as usize;
        let head = self.raw.get(self.at..body).ok_or_else(wrong)?;
        let tag = Tag::of(head[0]).ok_or_else(wrong)?;
        let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let end = body.checked_add(length).ok_or_else(wrong)?;
        if end > self.raw.len() {
            return Err(wrong());
        }
        self.at = end;
        Ok(Some((tag, body..end)))
    }
}

/// Decompresses a bundle, within bounds.
fn unpack(packed: &[u8], raw: &mut Vec<u8>) -> Result<(), String> {
    let size = zstd::zstd_safe::get_frame_content_size(packed)
        .ok()
        .flatten();
    let one = zstd::zstd_safe::find_frame_compressed_size(packed).ok();
    let size = size.filter(|size| *size <= MOST && one == Some(packed.len()));
    let size = size.ok_or_else(|| "is not one frame that tells its length".to_owned())?;
    raw.clear();
    // Bounded above, and no more is written.
    raw.reserve_exact(size as usize);
    let mut decompressor = zstd::bulk::Decompressor::new().map_err(|e| e.to_string())?;
    let got = decompressor.decompress_to_buffer(packed, raw);
    let got = got.map_err(|e| format!("cannot be decompressed: {e}"))?;
    // At least one record: nothing is said with none.
    if got as u64 != size || !raw.starts_with(MAGIC) || raw.len() == MAGIC.len() {
        return Err("does not begin as a bundle does".to_owned());
    }
    Ok(())
}
