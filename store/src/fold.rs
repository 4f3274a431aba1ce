//! Keeps look-ups quick as additions go on, whatever their number.
//!
//! Every addition leaves packs, and most are small. After each the store sees to two things:
//!
//! * *Folding.* Small packs of one kind and of about one size are written together into one, as soon as
//!   there are some of them. An object is copied a few times at most until its pack is large, and there
//!   are never more than a few dozen small packs.
//! * *Catalogues.* Packs that are large enough to stay go to a catalogue, a number of them at a time. It
//!   takes in the catalogues that are not much larger, so that there are few of those as well.
//!
//! Both are done under `gc.lock`, so that neither the collector nor a repack is at work meanwhile, and
//! only if it is free: what is not done now the next addition does. A fold replaces packs as a repack
//! does: the new one is durable before the database names it in the place of the old ones, in one
//! transaction, under the store's lock alone, so that whoever adds something and relies on an old pack
//! finds it as long as the addition goes on. Catalogues are caches: one is written beside the others,
//! synced, and gets its name; only then those that it took in go.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::db::Durable;
use crate::hash::HashedSet;
use crate::layout::CATALOGUES;
use crate::lock::StoreLock;
use crate::pack::{
    CATALOGUE, Catalogue, Effort, Listed, Pack, PackEntry, PackFile, PackKind, PackSet, PackWriter,
    Packed, Room, Rule, SealedPack, write_catalogue,
};
use crate::session::random_name;
use crate::verify::check_bytes;
use crate::{Store, StoreError};

/// A catalogue takes in those with at most so many times the objects that it has without.
const TAKEN_IN: usize = 2;
/// A catalogue with more objects is left alone: to write it anew would take seconds.
const MOST_LISTED: usize = 8 << 20;
/// Packs that are folded together are at most this long, however many there are.
const MOST_FOLDED: u64 = 64 << 20;
/// So many bytes are copied while the store's lock is held, for which others wait.
const AT_ONCE: u64 = 1 << 20;
/// How often it is tried to get the store's lock for a fold that is ready.
const TRIES: u32 = 20;
/// After an attempt that came to nothing, so many more packs have to come before the next.
const PATIENCE: usize = 8;

/// What is to be done for a set of packs.
#[derive(Debug, Default)]
struct Due {
    /// Packs to be folded together.
    fold: Vec<(PackKind, Vec<Arc<PackFile>>)>,
    /// Whether there are enough settled packs for a catalogue.
    list: bool,
}

impl Due {
    fn of(set: &PackSet, rule: &Rule) -> Due {
        let mut groups: BTreeMap<(PackKind, usize), Vec<Arc<PackFile>>> = BTreeMap::new();
        let mut settled = 0;
        for file in set.loose() {
            match rule.level_of(file.len()) {
                Some(level) => {
                    let group = groups.entry((file.row().kind, level));
                    group.or_default().push(file.clone());
                }
                None => settled += 1,
            }
        }
        let due = groups
            .into_iter()
            .filter(|((_, level), files)| files.len() >= rule.levels[*level].1);
        Due {
            fold: due.map(|((kind, _), files)| (kind, files)).collect(),
            list: settled >= rule.list,
        }
    }

    fn is_nothing(&self) -> bool {
        self.fold.is_empty() && !self.list
    }
}

impl Store {
    /// Folds small packs together and puts the others into catalogues, if there are some of them. To be
    /// called after an addition, without the store's lock. What stands in the way is left to the next one:
    /// the addition itself is done.
    pub(crate) fn keep_packs_few(&self) {
        let patience = &self.known_packs().patience;
        let set = self.packs();
        let loose = set.loose().count();
        if loose < patience.load(Ordering::Relaxed) || Due::of(&set, &self.fold_rule()).is_nothing()
        {
            return;
        }
        let done = self.fold_and_list().unwrap_or(false);
        let loose = self.packs().loose().count();
        let next = if done { 0 } else { loose + PATIENCE };
        patience.store(next, Ordering::Relaxed);
    }

    fn fold_rule(&self) -> Rule {
        let rule = self.known_packs().rule.read();
        *rule.unwrap_or_else(|e| e.into_inner())
    }

    /// Lets a store fold and list earlier than usual.
    #[cfg(test)]
    pub(crate) fn set_fold_rule(&self, rule: Rule) {
        let mut slot = self.known_packs().rule.write().unwrap();
        *slot = rule;
    }

    /// Tells whether something was done.
    fn fold_and_list(&self) -> Result<bool, StoreError> {
        let gc_lock = self.path().join("gc.lock");
        let Some(_only) = StoreLock::try_file(self.disk(), &gc_lock)? else {
            return Ok(false);
        };
        // Packs of a transfer under way are kept by name. None that is here already is leased later.
        let leased = self.leased_packs()?;
        let mut done = false;
        loop {
            let due = Due::of(&*self.refresh()?, &self.fold_rule());
            let mut folded = false;
            for (kind, mut files) in due.fold {
                files.retain(|file| !leased.contains(file.name()));
                folded |= self.fold(kind, files)?;
            }
            if due.list && !folded {
                self.list_packs()?;
                return Ok(true);
            }
            if !folded {
                return Ok(done);
            }
            done = true;
        }
    }

    /// The packs that transfers under way keep.
    pub(crate) fn leased_packs(&self) -> Result<HashSet<String>, StoreError> {
        self.database().read("list leased packs", |c| {
            c.prepare_cached("SELECT pack FROM lease_pack")?
                .query_map([], |row| row.get(0))?
                .collect()
        })
    }

    /// Writes packs together into one. Tells whether it was done.
    fn fold(&self, kind: PackKind, files: Vec<Arc<PackFile>>) -> Result<bool, StoreError> {
        let mut lock = None;
        if files.iter().map(|file| file.len()).sum::<u64>() <= AT_ONCE {
            // Taken before anything is read: where others are at work, nothing was done in vain.
            lock = self.try_lock_exclusive()?;
            if lock.is_none() {
                return Ok(false);
            }
        }
        let mut sound = sound(files, MOST_FOLDED);
        // The head of a pack tells the least effort of what is in it: good compression is not forgotten.
        let least = sound.iter().map(|(_, pack, _)| pack.effort()).min();
        sound.retain(|(_, pack, _)| Some(pack.effort()) == least);
        let Some(effort) = least.filter(|_| sound.len() > 1) else {
            return Ok(false);
        };
        let new = self.copy_packs(effort, &sound)?;
        let mut tries = 0;
        while lock.is_none() && tries < TRIES {
            lock = self.try_lock_exclusive()?;
            tries += 1;
            if lock.is_none() {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        let now = self.refresh()?;
        let here = |file: &Arc<PackFile>| now.number(file.name()).is_some();
        if lock.is_none() || !sound.iter().all(|(file, _, _)| here(file)) {
            // Others are at work for long, or a repair took a pack away.
            let _ = self.disk().remove(&new.path);
            return Ok(false);
        }
        let olds: Vec<&str> = sound.iter().map(|(file, _, _)| file.name()).collect();
        let sealed = [(kind, new)];
        self.change_packs(Durable::Yes, "fold packs", &sealed, &olds, |_, _| Ok(()))?;
        self.unlink_packs(olds.iter().copied())?;
        Ok(true)
    }

    fn try_lock_exclusive(&self) -> Result<Option<StoreLock>, StoreError> {
        StoreLock::try_file(self.disk(), &self.path().join("lock"))
    }

    /// Copies all objects of some packs, each once, to a new one, durable and not yet visible.
    fn copy_packs(&self, effort: Effort, packs: &[Sound]) -> Result<SealedPack, StoreError> {
        let path = self.session()?.tmp.join(random_name()?);
        let copy = || {
            let writer = PackWriter::create(self.disk(), &path, effort)?;
            let mut seen = HashedSet::default();
            for (_, pack, entries) in packs {
                for entry in entries.iter().filter(|entry| seen.insert(entry.hash)) {
                    pack.with_stored(entry, |stored| {
                        writer.append(&Packed {
                            hash: entry.hash,
                            kind: entry.kind,
                            raw: entry.raw,
                            flags: entry.flags,
                            stored,
                        })
                    })?;
                }
            }
            writer.seal()
        };
        let sealed = copy();
        if sealed.is_err() {
            let _ = self.disk().remove(&path);
        }
        sealed
    }

    /// Writes a catalogue of the settled packs that are in none. The caller holds `gc.lock`.
    fn list_packs(&self) -> Result<(), StoreError> {
        let set = self.refresh()?;
        let mut sources = Vec::new();
        let mut count = 0;
        let rule = self.fold_rule();
        for file in set
            .loose()
            .filter(|file| rule.level_of(file.len()).is_none())
        {
            let pack = file.open();
            if let Ok(pack) = pack.and_then(|pack| pack.check_index().map(|()| pack)) {
                count += pack.count();
                sources.push(Listed::Pack(pack));
            }
        }
        if sources.is_empty() {
            return Ok(());
        }
        let mut others: Vec<&Arc<Catalogue>> = set.catalogues().collect();
        others.sort_by_key(|catalogue| catalogue.len());
        let mut taken = Vec::new();
        for catalogue in others {
            let fits = catalogue.len() <= TAKEN_IN * count && catalogue.len() <= MOST_LISTED;
            if fits && catalogue.check().is_ok() {
                let packs = catalogue.packs.iter();
                let stays = packs.map(|name| set.number(name).is_some()).collect();
                count += catalogue.len();
                taken.push(catalogue.path.clone());
                sources.push(Listed::Catalogue(catalogue, stays));
            }
        }
        let name = random_name()?;
        let new = self.session()?.tmp.join(&name);
        let path = self.path().join(CATALOGUES).join(name + CATALOGUE);
        let written = write_catalogue(self.disk(), &new, &sources).and_then(|()| {
            self.disk()
                .rename(&new, &path)
                .map_err(|e| StoreError::io("add catalogue", &path, e))
        });
        if let Err(error) = written {
            let _ = self.disk().remove(&new);
            return Err(error);
        }
        self.remove_catalogues(taken);
        self.catalogues_changed();
        Ok(())
    }

    /// Removes files that are of no use, or only harm; what cannot be removed does neither.
    fn remove_catalogues(&self, paths: impl IntoIterator<Item = PathBuf>) {
        for path in paths {
            let _ = self.disk().remove(&path);
        }
    }

    /// Removes catalogues all of whose packs are gone. The caller holds `gc.lock`.
    pub(crate) fn drop_catalogues(&self) {
        let set = self.packs();
        let is_dead = |catalogue: &&Arc<Catalogue>| {
            let mut packs = catalogue.packs.iter();
            packs.all(|name| set.number(name).is_none())
        };
        let dead = set.catalogues().filter(is_dead);
        let dead: Vec<PathBuf> = dead.map(|catalogue| catalogue.path.clone()).collect();
        if !dead.is_empty() {
            self.remove_catalogues(dead);
            self.catalogues_changed();
        }
    }

    /// The packs, without the help of catalogues that are damaged; and those. With `repair` they are
    /// removed.
    pub(crate) fn without_unsound_catalogues(
        &self,
        repair: bool,
    ) -> Result<(Arc<PackSet>, Vec<Unsound>), StoreError> {
        let set = self.refresh()?;
        let folder = self.path().join(CATALOGUES);
        let (mut sound, mut wrong) = (Vec::new(), Vec::new());
        for name in self.disk().list(&folder).unwrap_or_default() {
            let path = folder.join(&name);
            let checked = Catalogue::open(self.disk(), &path).and_then(|catalogue| {
                catalogue.check()?;
                Ok(catalogue)
            });
            let name = name.to_string_lossy().into_owned();
            match checked {
                Ok(catalogue) => sound.push(Arc::new(catalogue)),
                Err(StoreError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(StoreError::DamagedFile { detail, .. }) => wrong.push((name, detail)),
                Err(error) => wrong.push((name, error.to_string())),
            }
        }
        if repair && !wrong.is_empty() {
            self.remove_catalogues(wrong.iter().map(|(name, _)| folder.join(name)));
            self.catalogues_changed();
        }
        let set = set.with(self.pack_files(), &[], &[], sound);
        Ok((Arc::new(set), wrong))
    }
}

/// The name of a catalogue that is damaged, and what is wrong.
pub(crate) type Unsound = (String, String);

/// A pack with all of its entries, in the order of the file.
type Sound = (Arc<PackFile>, Arc<Pack>, Vec<PackEntry>);

/// The packs that are sound, up to a length of all together: what is damaged is left to a repair as it is.
fn sound(files: Vec<Arc<PackFile>>, most: u64) -> Vec<Sound> {
    let mut room = Room::default();
    let mut left = most;
    let mut read = |file: &Arc<PackFile>| -> Result<(Arc<Pack>, Vec<PackEntry>), StoreError> {
        let pack = file.open()?;
        pack.check_index()?;
        let mut entries = Vec::with_capacity(pack.count());
        for at in 0..pack.count() {
            let entry = pack.entry(at)?;
            check_bytes(&entry, pack.load(&entry, &mut room)?)?;
            entries.push(entry);
        }
        entries.sort_unstable_by_key(|entry| entry.offset);
        Ok((pack, entries))
    };
    let mut all = Vec::new();
    for file in files {
        let Some(rest) = left.checked_sub(file.len()) else {
            break;
        };
        if let Ok((pack, entries)) = read(&file) {
            left = rest;
            all.push((file, pack, entries));
        }
    }
    all
}
