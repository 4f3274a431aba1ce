//! Catalogues: which pack has an object, over many packs at once.
//!
//! A catalogue lists the objects of some packs, each by the first 8 bytes of its hash and the number of
//! its pack. It is made from the indexes of those packs, and can be made again at any time: nothing is
//! lost with it. Whoever finds something in it still looks into the index of the pack, which decides;
//! so packs that went since, and hashes that begin alike, do no harm.
//!
//! A store has a few catalogues, each several times the size of the next, like the runs of a
//! log-structured merge tree. The layout is described byte by byte in `doc/store-format.md`.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Pack, u32_at, u64_at};
use crate::disk::{Disk, DiskFile};
use crate::map::Map;
use crate::{Hash, StoreError};

const HEAD_MAGIC: &[u8; 8] = b"mstorect";
const FOOT_MAGIC: &[u8; 8] = b"mstorecx";
const VERSION: u32 = 1;
const HEAD_LEN: usize = 16;
const FOOT_LEN: usize = 64;
/// Bytes for the name of a pack, filled up with zeros.
const NAME_LEN: usize = 64;
/// Bytes of an item: the begin of a hash as a number, and the number of a pack.
const ITEM_LEN: usize = 12;
/// Objects that share a slot of the fanout table, about.
const SLOT: usize = 16;
/// Most bits of a hash that choose a slot.
const MAX_BITS: u32 = 24;
/// Bytes gathered before they are written.
const BATCH: usize = 1 << 20;

/// File name extension of catalogues.
pub(crate) const CATALOGUE: &str = ".catalogue";

/// The begin of a hash, as catalogues sort by it.
fn prefix(hash: &Hash) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&hash.as_bytes()[..8]);
    u64::from_be_bytes(first)
}

/// The slot of the fanout table for the begin of a hash.
fn slot_of(prefix: u64, bits: u32) -> usize {
    // A shift by all bits is not defined.
    prefix.checked_shr(64 - bits).unwrap_or(0) as usize
}

/// A catalogue, mapped.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub path: PathBuf,
    /// Names of the packs that it is about, by their numbers in it.
    pub packs: Vec<String>,
    map: Map,
    bits: u32,
    count: usize,
}

/// What the ends of a catalogue tell: bits of the fanout table, packs, items.
struct Outline {
    bits: u32,
    packs: Vec<String>,
    count: usize,
}

fn outline(map: &[u8]) -> Result<Outline, &'static str> {
    if map.len() < HEAD_LEN + FOOT_LEN || map[..8] != HEAD_MAGIC[..] {
        return Err("its head is not that of a catalogue");
    }
    let foot = &map[map.len() - FOOT_LEN..];
    if foot[..8] != FOOT_MAGIC[..] {
        return Err("its foot is not that of a catalogue");
    }
    if u32_at(map, 8) != Some(VERSION) || u32_at(foot, 8) != Some(VERSION) {
        return Err("it has an unknown version");
    }
    let number = |at| u64_at(foot, at).and_then(|n| usize::try_from(n).ok());
    let (Some(bits), Some(packs), Some(count)) = (u32_at(foot, 12), number(16), number(24)) else {
        return Err("its foot is too short");
    };
    let len = || {
        let slots = 1usize.checked_shl(bits)?.checked_mul(4)?;
        let names = packs.checked_mul(NAME_LEN)?;
        let items = count.checked_mul(ITEM_LEN)?;
        let parts = [HEAD_LEN, names, items, slots, FOOT_LEN];
        parts.into_iter().try_fold(0usize, usize::checked_add)
    };
    if bits > MAX_BITS || u32::try_from(count).is_err() || len() != Some(map.len()) {
        return Err("its length does not agree with its foot");
    }
    let names = map[HEAD_LEN..HEAD_LEN + packs * NAME_LEN].chunks_exact(NAME_LEN);
    let packs = names.map(|field| {
        let name = field.split(|byte| *byte == 0).next().unwrap_or_default();
        let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let filled = field[name.len()..].iter().all(|byte| *byte == 0);
        let good = !name.is_empty() && name.iter().all(plain) && filled;
        let text = str::from_utf8(name).ok().filter(|_| good);
        text.map(str::to_owned)
            .ok_or("the name of a pack cannot be")
    });
    Ok(Outline {
        bits,
        packs: packs.collect::<Result<_, _>>()?,
        count,
    })
}

impl Catalogue {
    /// Maps a catalogue and checks its outline.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Catalogue, StoreError> {
        let map = disk
            .map(path)
            .map_err(|e| StoreError::io("open catalogue", path, e))?;
        let outline = outline(&map);
        if let Some(source) = map.lost_in(0..map.len()) {
            let path = path.to_path_buf();
            return Err(StoreError::Unreadable { path, source });
        }
        let Outline { bits, packs, count } = outline.map_err(|detail| StoreError::DamagedFile {
            path: path.to_path_buf(),
            detail: detail.into(),
        })?;
        Ok(Catalogue {
            path: path.to_path_buf(),
            packs,
            map,
            bits,
            count,
        })
    }

    /// How many objects it lists.
    pub fn len(&self) -> usize {
        self.count
    }

    fn items_at(&self) -> usize {
        HEAD_LEN + self.packs.len() * NAME_LEN
    }

    fn item(&self, at: usize) -> (u64, u32) {
        let at = self.items_at() + at * ITEM_LEN;
        let prefix = u64_at(&self.map, at).unwrap_or(0);
        (prefix, u32_at(&self.map, at + 8).unwrap_or(u32::MAX))
    }

    /// How many items come before those of a slot of the fanout table.
    fn before(&self, slot: usize) -> usize {
        let fanout = self.items_at() + self.count * ITEM_LEN;
        match slot.checked_sub(1) {
            None => 0,
            Some(slot) => u32_at(&self.map, fanout + 4 * slot).unwrap_or(0) as usize,
        }
    }

    /// Hands on the numbers of the packs that may have an object, until told to stop. That there are no
    /// more is true only if this does not fail.
    pub fn candidates(
        &self,
        hash: &Hash,
        mut take: impl FnMut(u32) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let wanted = prefix(hash);
        let slot = slot_of(wanted, self.bits);
        let end = self.before(slot + 1).min(self.count);
        let (mut low, mut high) = (self.before(slot), end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.item(middle).0 < wanted {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        for at in low..end {
            let (found, pack) = self.item(at);
            if found != wanted {
                break;
            }
            if take(pack).is_break() {
                return Ok(());
            }
        }
        // Zeros in the place of what cannot be read lead nowhere.
        let lost = self.map.lost_in(0..self.map.len());
        lost.map_or(Ok(()), Err)
    }

    /// Checks it as a whole: its checksum, its order and its fanout table.
    pub fn check(&self) -> Result<(), StoreError> {
        let end = self.map.len() - 32;
        let sum = blake3::hash(&self.map[..end]);
        if let Some(source) = self.map.lost_in(0..self.map.len()) {
            let path = self.path.clone();
            return Err(StoreError::Unreadable { path, source });
        }
        let wrong = if sum.as_bytes()[..] != self.map[end..] {
            Some("its checksum is wrong")
        } else {
            self.disorder()
        };
        wrong.map_or(Ok(()), |detail| {
            Err(StoreError::DamagedFile {
                path: self.path.clone(),
                detail: detail.into(),
            })
        })
    }

    fn disorder(&self) -> Option<&'static str> {
        let mut last = (0, 0);
        for at in 0..self.count {
            let item = self.item(at);
            if item < last || item.1 as usize >= self.packs.len() {
                return Some("it is not sorted");
            }
            let slot = slot_of(item.0, self.bits);
            if !(self.before(slot)..self.before(slot + 1)).contains(&at) {
                return Some("its fanout table is wrong");
            }
            last = item;
        }
        let slots = 1 << self.bits;
        let grows = (0..slots).all(|slot| self.before(slot) <= self.before(slot + 1));
        (!grows || self.before(slots) != self.count).then_some("its fanout table is wrong")
    }
}

/// Something whose objects go to a new catalogue. It must be sound: its checksum was compared.
pub(crate) enum Listed<'a> {
    /// The index of a pack.
    Pack(Arc<Pack>),
    /// A catalogue, and which of its packs are to be in the new one.
    Catalogue(&'a Catalogue, Vec<bool>),
}

/// The items of one source, in order, with the numbers that packs have in the new catalogue.
struct Items<'a> {
    from: &'a Listed<'a>,
    /// New numbers of packs by those in the source.
    numbers: Vec<Option<u32>>,
    at: usize,
}

impl Items<'_> {
    fn next(&mut self) -> Result<Option<(u64, u32)>, StoreError> {
        loop {
            let (prefix, pack) = match self.from {
                Listed::Pack(pack) if self.at < pack.count() => {
                    (prefix(&pack.entry(self.at)?.hash), 0)
                }
                Listed::Catalogue(catalogue, _) if self.at < catalogue.count => {
                    catalogue.item(self.at)
                }
                _ => return Ok(None),
            };
            self.at += 1;
            if let Some(number) = self.numbers.get(pack as usize).copied().flatten() {
                return Ok(Some((prefix, number)));
            }
        }
    }
}

/// Bytes on their way to a file, with their checksum.
struct Output<'a> {
    path: &'a Path,
    file: &'a dyn DiskFile,
    at: u64,
    piece: Vec<u8>,
    sum: blake3::Hasher,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= BATCH {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), StoreError> {
        self.sum.update(&self.piece);
        self.write_piece()
    }

    fn write_piece(&mut self) -> Result<(), StoreError> {
        self.file
            .write_at(&self.piece, self.at)
            .map_err(|e| StoreError::io("write catalogue", self.path, e))?;
        self.at += self.piece.len() as u64;
        self.piece.clear();
        Ok(())
    }
}

/// Writes a catalogue to a file that must not exist, and makes it durable.
pub(crate) fn write_catalogue(
    disk: &dyn Disk,
    path: &Path,
    sources: &[Listed<'_>],
) -> Result<(), StoreError> {
    let mut names: Vec<&str> = Vec::new();
    let mut runs = Vec::new();
    for from in sources {
        let mut add = |name| {
            names.push(name);
            u32::try_from(names.len() - 1).ok()
        };
        let numbers = match from {
            Listed::Pack(pack) => vec![add(pack.name.as_str())],
            Listed::Catalogue(catalogue, stays) => {
                let packs = catalogue.packs.iter().zip(stays);
                packs
                    .map(|(name, stays)| stays.then(|| add(name)).flatten())
                    .collect()
            }
        };
        runs.push(Items {
            from,
            numbers,
            at: 0,
        });
    }
    let most: usize = sources.iter().map(Listed::len).sum();
    let bits = (most / SLOT).max(1).ilog2().min(MAX_BITS);
    let file = disk
        .create(path)
        .map_err(|e| StoreError::io("create catalogue", path, e))?;
    let mut out = Output {
        path,
        file: file.as_ref(),
        at: 0,
        piece: Vec::with_capacity(BATCH + NAME_LEN),
        sum: blake3::Hasher::new(),
    };
    out.put(HEAD_MAGIC)?;
    out.put(&VERSION.to_le_bytes())?;
    out.put(&[0; 4])?;
    for name in &names {
        let mut field = [0; NAME_LEN];
        let bytes = name.as_bytes();
        field[..bytes.len()].copy_from_slice(bytes);
        out.put(&field)?;
    }
    let mut slots = vec![0u32; 1 << bits];
    let count = merge(&mut runs, &mut out, |prefix| {
        slots[slot_of(prefix, bits)] += 1
    })?;
    let mut sum = 0;
    for slot in slots {
        sum += slot;
        out.put(&sum.to_le_bytes())?;
    }
    out.put(FOOT_MAGIC)?;
    out.put(&VERSION.to_le_bytes())?;
    out.put(&bits.to_le_bytes())?;
    out.put(&(names.len() as u64).to_le_bytes())?;
    out.put(&count.to_le_bytes())?;
    out.write()?;
    out.piece.extend_from_slice(out.sum.finalize().as_bytes());
    out.write_piece()?;
    file.sync()
        .map_err(|e| StoreError::io("sync catalogue", path, e))
}

/// Writes the items of all runs in one order, and returns how many there were.
fn merge(
    runs: &mut [Items<'_>],
    out: &mut Output<'_>,
    mut seen: impl FnMut(u64),
) -> Result<u64, StoreError> {
    let mut next = BinaryHeap::new();
    for (number, run) in runs.iter_mut().enumerate() {
        if let Some(item) = run.next()? {
            next.push(Reverse((item, number)));
        }
    }
    let mut count = 0;
    while let Some(Reverse(((prefix, pack), run))) = next.pop() {
        out.put(&prefix.to_le_bytes())?;
        out.put(&pack.to_le_bytes())?;
        seen(prefix);
        count += 1;
        if let Some(item) = runs[run].next()? {
            next.push(Reverse((item, run)));
        }
    }
    Ok(count)
}

impl Listed<'_> {
    /// How many items it has at most.
    fn len(&self) -> usize {
        match self {
            Listed::Pack(pack) => pack.count(),
            Listed::Catalogue(catalogue, _) => catalogue.count,
        }
    }
}
