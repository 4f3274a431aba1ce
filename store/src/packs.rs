//! Which packs a store has: read from the database when somebody else changed them, changed in memory
//! with every transaction of ours.

use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, RwLock};

use rusqlite::Transaction;

use crate::db::packs::{add_pack, pack_at};
use crate::db::{Durable, state};
use crate::disk::Disk;
use crate::layout::CATALOGUES;
use crate::pack::{
    CATALOGUE, Catalogue, EXTENSION, PackFiles, PackKind, PackRow, PackSet, Rule, SealedPack,
};
use crate::session::random_name;
use crate::{Hash, Store, StoreError, doors};

/// The packs of a store as this handle knows them.
#[derive(Debug)]
pub(crate) struct Packs {
    files: Arc<PackFiles>,
    known: RwLock<Known>,
    /// How many loose packs there must be before it is tried again to keep them few.
    pub patience: AtomicUsize,
    /// When packs are folded and listed.
    pub rule: RwLock<Rule>,
}

#[derive(Debug)]
struct Known {
    set: Arc<PackSet>,
    /// The state of packs in the database when the set was read.
    state: Option<i64>,
}

impl Packs {
    pub fn new(disk: Arc<dyn Disk>, root: &Path) -> Packs {
        Packs {
            files: PackFiles::new(disk, root.join("packs")),
            known: RwLock::new(Known {
                set: Arc::new(PackSet::empty()),
                state: None,
            }),
            patience: AtomicUsize::new(0),
            rule: RwLock::default(),
        }
    }

    fn look<R>(&self, look: impl FnOnce(&Known) -> R) -> R {
        // It is replaced whole.
        look(&self.known.read().unwrap_or_else(|e| e.into_inner()))
    }

    fn change<R>(&self, change: impl FnOnce(&mut Known) -> R) -> R {
        change(&mut self.known.write().unwrap_or_else(|e| e.into_inner()))
    }
}

impl Store {
    /// The packs as last seen.
    pub(crate) fn packs(&self) -> Arc<PackSet> {
        self.known_packs().look(|known| known.set.clone())
    }

    /// The packs as last seen, and the state of the database at which they were.
    pub(crate) fn packs_and_state(&self) -> (Arc<PackSet>, Option<i64>) {
        self.known_packs()
            .look(|known| (known.set.clone(), known.state))
    }

    /// The folder of packs.
    pub(crate) fn pack_files(&self) -> &Arc<PackFiles> {
        &self.known_packs().files
    }

    /// Looks again which packs there are. Under the store's lock, all of them can be opened as long as it
    /// is held.
    pub(crate) fn refresh(&self) -> Result<Arc<PackSet>, StoreError> {
        let state = self
            .database()
            .read("look for new packs", state::of_packs)?;
        let same = self.known_packs().look(|known| {
            let same = state.is_some() && known.state == state && !known.set.has_failed();
            same.then(|| known.set.clone())
        });
        same.map_or_else(|| self.reload(), Ok)
    }

    /// Reads which packs there are, and looks for catalogues.
    fn reload(&self) -> Result<Arc<PackSet>, StoreError> {
        let (state, mut rows) = self.database().read_together("list packs", |c| {
            let rows = c
                .prepare_cached(
                    "SELECT name, content, bytes, objects, index_hash, records_hash \
                     FROM pack ORDER BY name",
                )?
                .query_map([], pack_at)?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            Ok((state::of_packs(c)?, rows))
        })?;
        for row in rows.iter_mut().filter(|row| row.bytes == 0) {
            // It could not be read when it was noted.
            if let Ok(pack) = self.pack_files().open(&row.name) {
                *row = PackRow::of(&pack);
            }
        }
        let old = self.packs();
        let catalogues = self.find_catalogues(&old);
        let set = Arc::new(PackSet::new(self.pack_files(), rows, catalogues, &old));
        self.known_packs().change(|known| {
            known.set = set.clone();
            known.state = state;
        });
        Ok(set)
    }

    /// The catalogues that can be read. Without one, its packs are looked into one by one.
    fn find_catalogues(&self, old: &PackSet) -> Vec<Arc<Catalogue>> {
        if self.is_absent() {
            return Vec::new();
        }
        let folder = self.path().join(CATALOGUES);
        let names = self.disk().list(&folder).unwrap_or_default();
        let ours = names
            .iter()
            .filter(|name| name.to_string_lossy().ends_with(CATALOGUE));
        ours.filter_map(|name| {
            let path = folder.join(name);
            match old.catalogues().find(|known| known.path == path) {
                Some(known) => Some(known.clone()),
                None => Catalogue::open(self.disk(), &path).ok().map(Arc::new),
            }
        })
        .collect()
    }

    /// Takes in that there are other catalogues now.
    pub(crate) fn catalogues_changed(&self) {
        let catalogues = self.find_catalogues(&self.packs());
        self.known_packs().change(|known| {
            let set = known.set.with(self.pack_files(), &[], &[], catalogues);
            known.set = Arc::new(set);
        });
    }

    /// Moves sealed packs to the folder of packs, makes them part of the store in the place of those that
    /// are `removed`, and does more in the same transaction, which gets their names: all or nothing.
    pub(crate) fn change_packs<R>(
        &self,
        durable: Durable,
        action: &'static str,
        sealed: &[(PackKind, SealedPack)],
        removed: &[&str],
        more: impl FnOnce(&Transaction<'_>, &[PackRow]) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        let rows = self.place_packs(sealed)?;
        self.change_pack_rows(durable, action, &rows, removed, |t| more(t, &rows))
    }

    /// The same with packs that are in their place already.
    pub(crate) fn change_pack_rows<R>(
        &self,
        durable: Durable,
        action: &'static str,
        added: &[PackRow],
        removed: &[&str],
        more: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        let (result, before, after) = self.database().write(durable, action, |t| {
            let before = state::of_packs(t)?;
            for row in added {
                add_pack(t, row)?;
            }
            for name in removed {
                t.prepare_cached("DELETE FROM pack WHERE name = ?1")?
                    .execute([name])?;
            }
            let result = more(t)?;
            Ok((result, before, state::of_packs(t)?))
        })?;
        if before == after && before.is_some() {
            return Ok(result);
        }
        let ours = self.known_packs().change(|known| {
            // Else somebody else changed something too.
            let ours = before.is_some() && known.state == before;
            if ours {
                let catalogues = known.set.catalogues().cloned().collect();
                let set = known
                    .set
                    .with(self.pack_files(), added, removed, catalogues);
                known.set = Arc::new(set);
                known.state = after;
            }
            ours
        });
        if !ours {
            self.refresh()?;
        }
        Ok(result)
    }

    /// Notes the hashes of packs that a release wrote which did not.
    pub(crate) fn note_hashes(&self, hashes: &[(String, Hash, Hash)]) -> Result<(), StoreError> {
        if hashes.is_empty() {
            return Ok(());
        }
        self.database().write(Durable::No, "note hashes", |t| {
            let mut note = t.prepare(
                "UPDATE pack SET index_hash = ?2, records_hash = ?3 \
                 WHERE name = ?1 AND records_hash IS NULL",
            )?;
            for (name, index, records) in hashes {
                note.execute([name, &index.to_string(), &records.to_string()])?;
            }
            Ok(())
        })?;
        self.refresh().map(drop)
    }

    /// Moves sealed packs to the folder of packs, durably. They count from the moment in which the
    /// database names them.
    fn place_packs(&self, sealed: &[(PackKind, SealedPack)]) -> Result<Vec<PackRow>, StoreError> {
        let dir = self.packs_dir();
        let mut rows = Vec::new();
        for (kind, pack) in sealed {
            let name = random_name()?;
            let to = dir.join(format!("{name}{EXTENSION}"));
            let protect = self.disk().protect(&pack.path, doors::PACK);
            protect
                .and_then(|()| self.disk().rename(&pack.path, &to))
                .map_err(|e| StoreError::io("add pack", &to, e))?;
            rows.push(PackRow {
                name,
                kind: *kind,
                bytes: pack.len,
                objects: pack.count,
                index_hash: Some(pack.index_hash),
                records_hash: pack.records_hash,
            });
        }
        if !rows.is_empty() {
            self.disk()
                .sync_dir(&dir)
                .map_err(|e| StoreError::io("sync packs folder", &dir, e))?;
        }
        Ok(rows)
    }

    /// Removes the files of packs that the store does not name any more.
    pub(crate) fn unlink_packs<'a>(
        &self,
        dead: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), StoreError> {
        for name in dead {
            let path = self.pack_files().path(name);
            match self.disk().remove(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove pack", &path, error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}
