//! Saves what can be saved before anything is forgotten: packs whose index is damaged are read
//! record by record, and single objects can be had again from somebody else.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::read::check_record_bytes;
use crate::db::{Durable, rows};
use crate::manifest::{Manifest, Tree};
use crate::pack::{
    EXTENSION, Effort, HEAD_LEN, MAX_RAW, Pack, PackEntry, PackFile, PackKind, PackRow, PackSet,
    PackWriter, Packed, RECORD_HEAD, RecordKind, SealedPack,
};
use crate::session::random_name;
use crate::{Hash, Store, StoreError};

/// Gets an object from somewhere else by its hash: the content of a file or of a chunk, or an encoded
/// manifest or tree. What it gives is compared with the hash.
pub type Refetch<'a> = dyn FnMut(&Hash) -> Option<Vec<u8>> + 'a;

/// What a repair writes: one pack for contents and one for what names them.
#[derive(Default)]
struct Writers {
    data: Option<PackWriter>,
    meta: Option<PackWriter>,
    seen: BTreeSet<Hash>,
}

impl Writers {
    fn append(&mut self, store: &Store, object: &Packed<'_>) -> Result<bool, StoreError> {
        if !self.seen.insert(object.hash) {
            return Ok(false);
        }
        let slot = match object.kind.pack_kind() {
            PackKind::Data => &mut self.data,
            PackKind::Meta => &mut self.meta,
        };
        let writer = match slot {
            Some(writer) => writer,
            None => {
                let path = store.session()?.tmp.join(random_name()?);
                slot.insert(PackWriter::create(store.disk(), &path, Effort::Quick)?)
            }
        };
        writer.append(object)?;
        Ok(true)
    }

    fn seal(self) -> Result<Vec<(PackKind, SealedPack)>, StoreError> {
        let mut sealed = Vec::new();
        for (content, writer) in [(PackKind::Data, self.data), (PackKind::Meta, self.meta)] {
            if let Some(writer) = writer {
                sealed.push((content, writer.seal()?));
            }
        }
        Ok(sealed)
    }
}

/// Walks the records of a pack without its index, and hands on those that have the hash they go by.
pub(crate) fn scan(
    bytes: &[u8],
    mut take: impl FnMut(&PackEntry, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut at = HEAD_LEN;
    while let Some(head) = bytes.get(at..at + RECORD_HEAD) {
        let record = PackEntry::from_head(head).and_then(|place| {
            let stored = usize::try_from(place.stored).ok()?;
            let from = at + RECORD_HEAD;
            // A copy: what the disk does not give any more turns into zeros at any time.
            let stored = bytes.get(from..from.checked_add(stored)?)?.to_vec();
            let sound = place.raw <= MAX_RAW && check_record_bytes(&place, &stored);
            sound.then_some((place, stored))
        });
        match record {
            Some((place, stored)) => {
                take(&place, &stored)?;
                at += RECORD_HEAD + stored.len();
            }
            // Damaged: the next record begins where its mark is.
            None => {
                let rest = &bytes[at + 1..];
                match rest.windows(4).position(|w| w == b"mobj") {
                    Some(next) => at += 1 + next,
                    None => break,
                }
            }
        }
    }
    Ok(())
}

impl Store {
    /// Writes packs anew whose index cannot be used, from their records. Returns the names of those
    /// from which something was saved. The caller holds the store's lock alone.
    pub(super) fn salvage(&self, packs: &PackSet) -> Result<Vec<String>, StoreError> {
        let unsound = |file: &&Arc<PackFile>| file.open().and_then(|p| p.check_index()).is_err();
        let names: Vec<&str> = packs
            .packs
            .iter()
            .filter(unsound)
            .map(|file| file.name())
            .collect();
        let mut saved = Vec::new();
        for name in names {
            let path = self.packs_dir().join(format!("{name}{EXTENSION}"));
            // One that is not there, or that the disk does not give, has nothing to be saved.
            let Ok(map) = self.disk().map(&path) else {
                continue;
            };
            let mut writers = Writers::default();
            scan(&map, |place, stored| {
                let object = Packed {
                    hash: place.hash,
                    kind: place.kind,
                    raw: place.raw,
                    flags: place.flags,
                    stored,
                };
                writers.append(self, &object).map(drop)
            })?;
            let sealed = writers.seal()?;
            let (durable, old) = (Durable::Yes, [name]);
            self.change_packs(durable, "save a pack", &sealed, &old, |_, _| Ok(()))?;
            drop(map);
            // All that is good of it is elsewhere now.
            let _ = self.disk().remove(&path);
            if !sealed.is_empty() {
                saved.push(name.to_owned());
            }
        }
        Ok(saved)
    }

    /// Gets objects from somebody else and makes them part of the store. Returns those that came.
    pub(super) fn refetch(
        &self,
        wanted: &[Hash],
        refetch: &mut Refetch<'_>,
    ) -> Result<Vec<Hash>, StoreError> {
        let mut writers = Writers::default();
        let mut came = Vec::new();
        for hash in wanted {
            let Some(bytes) = refetch(hash).filter(|b| b.len() as u64 <= MAX_RAW) else {
                continue;
            };
            let kind = if Hash::of(&bytes) == *hash {
                RecordKind::Blob
            } else if Manifest::hash_encoded(&bytes).0 == *hash && Manifest::decode(&bytes).is_ok()
            {
                RecordKind::Manifest
            } else if Tree::hash_encoded(&bytes).0 == *hash && Tree::decode(&bytes).is_ok() {
                RecordKind::Tree
            } else {
                // Not what was asked for.
                continue;
            };
            writers.append(
                self,
                &Packed {
                    hash: *hash,
                    kind,
                    raw: bytes.len() as u64,
                    flags: 0,
                    stored: &bytes,
                },
            )?;
            came.push(*hash);
        }
        let sealed = writers.seal()?;
        self.change_packs(Durable::Yes, "mend", &sealed, &[], |_, _| Ok(()))?;
        Ok(came)
    }

    /// Takes packs back that the store does not name and that hold what is wanted: only their row was
    /// lost. Takes their files from `strange`, and returns their names.
    pub(super) fn adopt(
        &self,
        strange: &mut Vec<String>,
        wanted: &BTreeSet<Hash>,
    ) -> Result<Vec<String>, StoreError> {
        let mut adopted = Vec::new();
        strange.retain(|file| {
            let pack = file.strip_suffix(EXTENSION).and_then(|name| {
                let pack = Pack::open(self.disk(), name, &self.packs_dir().join(file)).ok()?;
                let is_wanted = wanted
                    .iter()
                    .any(|hash| pack.position(hash).is_ok_and(|at| at.is_some()));
                (is_wanted && pack.check_index().is_ok()).then_some(pack)
            });
            let stays = pack.is_none();
            adopted.extend(pack);
            stays
        });
        let rows: Vec<PackRow> = adopted.iter().map(PackRow::of).collect();
        self.change_pack_rows(Durable::Yes, "take packs back", &rows, &[], |_| Ok(()))?;
        Ok(adopted.into_iter().map(|pack| pack.name).collect())
    }

    /// Files among the packs that the store does not name. With `alone` nobody is adding any; else
    /// those that just came are left out.
    pub(super) fn strange_files(
        &self,
        packs: &PackSet,
        alone: bool,
    ) -> Result<Vec<String>, StoreError> {
        let dir = self.packs_dir();
        let list = match self.disk().list(&dir) {
            // That the folder is not there is told already.
            Err(_) if !dir.is_dir() => return Ok(Vec::new()),
            list => list.map_err(|e| StoreError::io("list", &dir, e))?,
        };
        let mut strange = Vec::new();
        for name in list {
            let text = name.to_string_lossy();
            let named = text.strip_suffix(EXTENSION);
            let named = named.and_then(|name| packs.number(name)).is_some();
            let old = || {
                let changed = std::fs::metadata(dir.join(&name)).and_then(|m| m.modified());
                changed.is_ok_and(|t| t.elapsed().is_ok_and(|age| age.as_secs() > 3600))
            };
            if !named && (alone || old()) {
                strange.push(text.into_owned());
            }
        }
        Ok(strange)
    }

    /// What SQLite says of the database; nothing when it is in order.
    pub fn check_database(&self, quick: bool) -> Vec<String> {
        let sql = match quick {
            true => "PRAGMA quick_check(20)",
            false => "PRAGMA integrity_check(20)",
        };
        let check = || {
            self.database().read("check it", |c| {
                c.prepare(sql)?
                    .query_map([], |row| row.get::<_, String>(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()
            })
        };
        // The check tells errors of reading like damage: damage is what is there twice.
        let said = match check() {
            Ok(lines) if lines == ["ok"] => Ok(lines),
            _ => check(),
        };
        match said {
            Ok(lines) if lines == ["ok"] => {
                let misfits = self.database().read("check its rows", rows::misfits);
                misfits.unwrap_or_else(|error| vec![error.to_string()])
            }
            Ok(lines) => lines,
            Err(error) => vec![error.to_string()],
        }
    }
}
