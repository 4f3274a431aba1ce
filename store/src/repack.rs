//! Compresses well what additions compressed fast.
//!
//! An addition is waited for, so it compresses at the speed of the disk. A repack writes the same
//! objects again at a level that takes its time, at low priority and beside everything else. It works
//! in steps of some packs each, and each step is durable by itself: one that is interrupted loses
//! that step alone, and the next repack goes on where it stopped. Heads of packs tell what is done.

use std::sync::Arc;

use rayon::prelude::*;

use crate::hash::HashedSet;
use crate::pack::{
    Effort, LEVEL_THOROUGH, Pack, PackEntry, PackFile, PackKind, PackWriter, Packed, RECORD_HEAD,
    Room, SealedPack, with_packed,
};
use crate::session::random_name;
use crate::{Cancel, Hash, Store, StoreError};

/// Bytes of packs that one step takes, or one pack if it is larger.
const STEP: u64 = 256 << 20;
/// Packs that one step takes at most: all of them are mapped.
const STEP_PACKS: usize = 1000;
/// How much lower than others the priority of the threads is.
const NICE: i32 = 10;

/// What a repack did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repacked {
    /// Packs that were written again.
    pub packs: u64,
    /// Bytes that they had.
    pub before: u64,
    /// Bytes that they have now.
    pub after: u64,
    /// Nothing is left to do.
    pub complete: bool,
}

impl Store {
    /// Compresses well what additions compressed fast. Readers, additions and builds go on beside it.
    ///
    /// Once cancelled, the step under way is given up; those before it stay done.
    pub fn repack(&self, cancel: &Cancel) -> Result<Repacked, StoreError> {
        self.repack_in_steps(STEP, cancel)
    }

    pub(crate) fn repack_in_steps(
        &self,
        size: u64,
        cancel: &Cancel,
    ) -> Result<Repacked, StoreError> {
        self.writable("repack it")?;
        let _only = self.gc_lock()?;
        let packs = self.refresh()?;
        // None that is here already is leased later.
        let leased = self.leased_packs()?;
        let mut todo: Vec<&Arc<PackFile>> = Vec::new();
        for file in packs.packs.iter().filter(|pack| !pack.is_meta()) {
            // What cannot be opened is left to a repair.
            let quick = file
                .open()
                .is_ok_and(|pack| pack.effort() < Effort::Thorough);
            if quick && !leased.contains(file.name()) {
                todo.push(file);
            }
        }
        let mut report = Repacked {
            complete: true,
            ..Repacked::default()
        };
        let mut rest = &todo[..];
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = rest.iter().take(STEP_PACKS).take_while(|pack| {
                bytes += pack.len();
                bytes <= size
            });
            let (step, later) = rest.split_at(fits.count().max(1));
            rest = later;
            let Some(new) = self.repack_step(step, cancel)? else {
                report.complete = false;
                break;
            };
            let old = step.iter().map(|pack| pack.len()).sum::<u64>();
            let new_bytes = new.len;
            let olds: Vec<Arc<PackFile>> = step.iter().map(|pack| (*pack).clone()).collect();
            // Waits for additions under way: nobody who relies on the old packs looks for them now.
            let lock = self.lock_exclusive()?;
            let now = self.refresh()?;
            let here = |pack: &Arc<PackFile>| now.number(pack.name()).is_some();
            if !olds.iter().all(here) {
                // A repair took a pack away, and what is copied may be what it removed.
                let _ = self.disk().remove(&new.path);
                report.complete = false;
                continue;
            }
            self.replace(&[(PackKind::Data, new)], &olds, |_| Ok(()))?;
            self.unlink_packs(olds.iter().map(|pack| pack.name()))?;
            drop(lock);
            report.packs += step.len() as u64;
            report.before += old;
            report.after += new_bytes;
        }
        self.drop_catalogues();
        Ok(report)
    }

    /// Writes the objects of some packs into a new one, not yet visible; `None` when cancelled.
    fn repack_step(
        &self,
        files: &[&Arc<PackFile>],
        cancel: &Cancel,
    ) -> Result<Option<SealedPack>, StoreError> {
        let session = self.session()?;
        let mut seen = HashedSet::default();
        let mut packs = Vec::with_capacity(files.len());
        for file in files {
            packs.push(file.open()?);
        }
        let mut objects: Vec<(&Pack, PackEntry)> = Vec::new();
        for pack in &packs {
            let mut places = Vec::with_capacity(pack.count());
            for at in 0..pack.count() {
                places.push(pack.entry(at)?);
            }
            places.sort_unstable_by_key(|place| place.offset);
            places.retain(|place| seen.insert(place.hash));
            objects.extend(places.into_iter().map(|place| (&**pack, place)));
        }
        drop(seen);
        let path = session.tmp.join(random_name()?);
        let writer = PackWriter::create(self.disk(), &path, Effort::Thorough)?;
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get().clamp(1, 16));
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|n| format!("mstore-repack-{n}"))
            .start_handler(|_| {
                // Where it is not allowed, it goes at the usual priority.
                let _ = rustix::process::nice(NICE);
            })
            .build()
            .map_err(|e| StoreError::io("start threads", "", std::io::Error::other(e)))?;
        let result = pool.install(|| {
            objects.par_iter().with_max_len(8).try_for_each_init(
                Room::default,
                |room, (pack, place)| {
                    if cancel.is_cancelled() {
                        return Ok(());
                    }
                    rewrite(pack, place, &writer, room)
                },
            )
        });
        if result.is_err() || cancel.is_cancelled() {
            drop(writer);
            let _ = self.disk().remove(&path);
            return result.map(|()| None);
        }
        Ok(Some(writer.seal()?))
    }
}

/// Writes one object, in the smaller of its old form and its new one.
fn rewrite(
    pack: &Pack,
    place: &PackEntry,
    writer: &PackWriter,
    room: &mut Room,
) -> Result<(), StoreError> {
    let end = place.offset + place.record_len();
    pack.load_range(place.offset, end, &mut room.stored)?;
    let record = &room.stored[..place.record_len() as usize];
    let raw = pack.open_record(place, record, &mut room.raw)?;
    if Hash::of(raw) != place.hash {
        return Err(StoreError::Corrupt {
            what: place.kind.word(),
            hash: place.hash,
            detail: format!("content does not have this hash (in {})", pack.name),
        });
    }
    let append = |new: Packed<'_>| {
        if new.stored.len() as u64 <= place.stored {
            return writer.append(&new);
        }
        writer.append(&Packed {
            flags: place.flags,
            stored: &record[RECORD_HEAD..],
            ..new
        })
    };
    with_packed(LEVEL_THOROUGH, place.hash, place.kind, raw, append)
        .map_err(|e| StoreError::io("compress", &pack.path, e))?
        .map(drop)
}
