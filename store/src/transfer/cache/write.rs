//! Writing a cache: everything is added whole, and named only by what comes after it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Fact, MAX_FACT, Object, Progress, ReceiveOptions, Received, TransferError};
use super::files::{LEAVING, UNFINISHED, leaving, put};
use super::listing::Listing;
use super::{CACHE_FILE, CACHE_TEXT, check_cache_text};
use crate::disk::Disk;
use crate::lock::StoreLock;
use crate::mark::Marks;
use crate::pack::{
    EXTENSION, Effort, LEVEL_THOROUGH, PackEntry, PackFiles, PackKind, PackRow, PackSet,
    PackWriter, Packed, RECORD_HEAD, with_packed,
};
use crate::session::{is_old, random_name};
use crate::store::create_all;
use crate::workers::{Batch, sole_owner};
use crate::{Hash, Need, RealisationKind, Store, StoreError, TreeHash};

/// A pack is closed when it is longer than this: what an interruption can cost, and what a client of a
/// server without ranges fetches for nothing.
const PART: u64 = 64 << 20;
const FOLDERS: [&str; 4] = ["packs", "trees", "realisations", "derivations"];

/// Tells whether a cache can be made in `folder`: it is absent, empty, or holds nothing but what is there
/// when making one was interrupted.
pub fn is_begun(folder: &Path) -> bool {
    let ours = |name: &std::ffi::OsStr| {
        let name = name.to_string_lossy();
        FOLDERS.contains(&&*name) || name.starts_with(UNFINISHED)
    };
    match std::fs::read_dir(folder) {
        Ok(mut list) => list.all(|entry| entry.is_ok_and(|e| ours(&e.file_name()))),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// What was added to a cache.
pub type CacheWritten = Received;

impl Store {
    /// Adds trees and facts to the cache in `folder`, which is made if there is none. Only objects that
    /// it lacks are written.
    pub fn write_cache(
        &self,
        folder: &Path,
        trees: &[TreeHash],
        facts: &mut dyn Iterator<Item = &Fact>,
        options: &ReceiveOptions<'_>,
    ) -> Result<CacheWritten, TransferError> {
        let _lease = self.lease_trees("copied from", trees)?;
        let cache = match Folder::open(self, folder, !options.dry_run)? {
            Some(cache) => cache,
            None => Folder::absent(self, folder),
        };
        let written = cache.add_trees(trees, options)?;
        if !options.dry_run {
            // What an interrupted collection was about to remove is wanted again.
            if leaving(folder)?.iter().any(|tree| trees.contains(tree)) {
                let note = folder.join(LEAVING);
                let removed = self.disk().remove(&note);
                removed.map_err(|e| StoreError::io("remove", &note, e))?;
            }
            for fact in facts {
                cache.add_fact(fact)?;
            }
            cache.sync("realisations")?;
            cache.sync("derivations")?;
        }
        Ok(written)
    }
}

/// A cache in a folder.
struct Folder<'a> {
    store: &'a Store,
    path: PathBuf,
    packs: Arc<PackSet>,
    /// Two processes must not add the same at once.
    _lock: Option<StoreLock>,
}

impl<'a> Folder<'a> {
    fn absent(store: &'a Store, folder: &Path) -> Self {
        Folder {
            store,
            path: folder.to_path_buf(),
            packs: Arc::new(PackSet::empty()),
            _lock: None,
        }
    }

    fn open(store: &'a Store, folder: &Path, write: bool) -> Result<Option<Self>, TransferError> {
        let io = |action, path: &Path, e| TransferError::from(StoreError::io(action, path, e));
        let marker = folder.join(CACHE_FILE);
        let disk = store.disk();
        let found = match disk.read(&marker, 64 << 10) {
            Ok(text) => {
                check_cache_text(&text)
                    .map_err(|why| TransferError::peer(folder.display().to_string(), why))?;
                true
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound && write => false,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io("read", &marker, e)),
        };
        let mut lock = None;
        if write {
            for name in FOLDERS {
                let path = folder.join(name);
                create_all(&path, disk).map_err(|e| io("create", &path, e))?;
            }
            if !found {
                put(disk, &marker, CACHE_TEXT.as_bytes())?;
            }
            // One that was found may be of somebody who did not come this far.
            disk.sync_dir(folder).map_err(|e| io("sync", folder, e))?;
            lock = Some(StoreLock::take_file(disk, &marker, true)?);
        }
        let mut cache = Folder {
            store,
            path: folder.to_path_buf(),
            packs: Arc::new(PackSet::empty()),
            _lock: lock,
        };
        if write {
            cache.sweep()?;
        }
        cache.packs = Arc::new(cache.load()?);
        Ok(Some(cache))
    }

    fn packs_dir(&self) -> PathBuf {
        self.path.join("packs")
    }

    fn disk(&self) -> &'a dyn Disk {
        self.store.disk()
    }

    fn names(&self, dir: &Path) -> Result<Vec<String>, StoreError> {
        let list = self.disk().list(dir);
        let list = list.map_err(|e| StoreError::io("list", dir, e))?;
        Ok(list
            .into_iter()
            .filter_map(|n| n.into_string().ok())
            .collect())
    }

    /// Removes what interrupted additions left. Nobody else writes to the folders: the cache is locked.
    /// Beside them somebody may be making the cache still, and not have the lock yet.
    fn sweep(&self) -> Result<(), StoreError> {
        let folders = FOLDERS.iter().map(|name| self.path.join(name));
        for dir in folders.chain([self.path.clone()]) {
            for name in self.names(&dir)? {
                let path = dir.join(&name);
                if name.starts_with(UNFINISHED) && (dir != self.path || is_old(&path)) {
                    let _ = self.disk().remove(&path);
                }
            }
        }
        Ok(())
    }

    /// Makes durable what has its name in a folder.
    fn sync(&self, folder: &str) -> Result<(), StoreError> {
        let path = self.path.join(folder);
        let synced = self.disk().sync_dir(&path);
        synced.map_err(|e| StoreError::io("sync", &path, e))
    }

    /// The packs that are complete.
    fn load(&self) -> Result<PackSet, StoreError> {
        let all: BTreeSet<String> = self.names(&self.packs_dir())?.into_iter().collect();
        let names: Vec<String> = all
            .iter()
            .filter_map(|name| name.strip_suffix(EXTENSION))
            .filter(|name| all.contains(&format!("{name}.index")))
            .map(str::to_owned)
            .collect();
        let files = PackFiles::new(self.store.disk_handle(), self.packs_dir());
        let mut rows = Vec::with_capacity(names.len());
        for name in names {
            // Whoever looks into one that cannot be opened learns why.
            let row = files.open(&name).map(|pack| PackRow::of(&pack));
            rows.push(row.unwrap_or_else(|_| PackRow::unknown(name)));
        }
        Ok(PackSet::new(&files, rows, Vec::new(), &self.packs))
    }

    fn add_trees(
        &self,
        trees: &[TreeHash],
        options: &ReceiveOptions<'_>,
    ) -> Result<CacheWritten, TransferError> {
        let mut marks = Marks::new(self.store.refresh()?);
        for tree in trees {
            marks.mark_tree(*tree, &mut ())?;
        }
        if let Some(hash) = marks.missing.first() {
            return Err(StoreError::Missing {
                what: "object",
                hash: *hash,
            }
            .into());
        }
        let mut progress = Progress::default();
        let mut wanted = self.wanted(&marks, &mut progress)?;
        if options.dry_run {
            return Ok(Received {
                objects: progress.objects_wanted,
                bytes: wanted.iter().map(|(_, _, p)| p.record_len()).sum(),
                content: progress.content_wanted,
            });
        }
        // Contents first, in the order in which they lie here.
        wanted.sort_by_key(|(content, number, place)| (*content, *number, place.offset));
        let mut parts = Parts {
            folder: self,
            batch: Batch::new()?,
            open: BTreeMap::new(),
            bytes: 0,
            written: Arc::default(),
        };
        let all = progress.content_wanted;
        let bytes = parts.written.clone();
        let add = || -> Result<(), TransferError> {
            for (content, number, place) in wanted {
                if options.cancel.is_cancelled() {
                    return Err(TransferError::Cancelled);
                }
                let pack = marks.packs.packs[number].open()?;
                let object = pack.with_stored(&place, |stored| Ok(Object::new(place, stored)))?;
                progress.objects += 1;
                if content == PackKind::Data {
                    progress.content += place.raw;
                }
                parts.add(content, object, pack.effort() < Effort::Thorough)?;
                progress.bytes = bytes.load(Ordering::Relaxed);
                (options.progress)(&progress);
            }
            parts.finish()
        };
        add().map_err(|error| error.needing(|| Some(Need::Copy(all))))?;
        // What names something comes after it, whatever moment the power fails in.
        self.sync("packs")?;
        self.list(trees)?;
        Ok(Received {
            objects: progress.objects,
            bytes: bytes.load(Ordering::Relaxed),
            content: progress.content,
        })
    }

    /// The marked objects that the cache lacks: the kind of their pack, its number, their place in it.
    fn wanted(
        &self,
        marks: &Marks,
        progress: &mut Progress,
    ) -> Result<Vec<(PackKind, usize, PackEntry)>, TransferError> {
        let mut wanted = Vec::new();
        for (number, pack) in marks.packs.packs.iter().enumerate() {
            if marks.count(number) == 0 {
                continue;
            }
            let open = pack.open()?;
            for at in (0..open.count()).filter(|at| marks.is_marked(number, *at)) {
                let place = open.entry(at)?;
                if !self.packs.contains(&place.hash) {
                    progress.objects_wanted += 1;
                    if pack.is_meta() {
                        wanted.push((PackKind::Meta, number, place));
                    } else {
                        progress.content_wanted += place.raw;
                        wanted.push((PackKind::Data, number, place));
                    }
                }
            }
        }
        Ok(wanted)
    }

    /// Writes for each tree which packs it needs.
    fn list(&self, trees: &[TreeHash]) -> Result<(), TransferError> {
        let packs = Arc::new(self.load()?);
        for tree in trees {
            let listing = Listing::of(&packs, *tree)?.map_err(|hash| {
                let name = self.path.display().to_string();
                TransferError::peer(name, format!("object {hash} is not in the cache after all"))
            })?;
            put(
                self.disk(),
                &self.path.join("trees").join(tree.to_string()),
                &listing.encode(),
            )?;
        }
        Ok(self.sync("trees")?)
    }

    fn add_fact(&self, fact: &Fact) -> Result<(), TransferError> {
        let path = self
            .path
            .join("realisations")
            .join(fact.realisation.key.to_string());
        let mut fact = fact.clone();
        // Others may have signed the same.
        if let Ok(bytes) = self.disk().read(&path, MAX_FACT as u64)
            && let Ok(old) = Fact::decode(&bytes)
            && old.signed_bytes() == fact.signed_bytes()
        {
            fact.signatures.extend(old.signatures);
            fact.signatures.sort();
            fact.signatures.dedup();
        }
        let bytes = fact.encode();
        put(self.disk(), &path, &bytes)?;
        if fact.realisation.kind == RealisationKind::Step {
            let drv = fact.realisation.drv.to_string();
            put(
                self.disk(),
                &self.path.join("derivations").join(drv),
                &bytes,
            )?;
        }
        Ok(())
    }
}

/// Packs that are being written, one of each content.
struct Parts<'a> {
    folder: &'a Folder<'a>,
    batch: Batch,
    open: BTreeMap<PackKind, (PathBuf, Arc<PackWriter>)>,
    /// Bytes of records in them, as they were before.
    bytes: u64,
    /// Bytes of all records written.
    written: Arc<AtomicU64>,
}

impl Parts<'_> {
    /// Adds an object; with `quick` it was compressed in haste, and is compressed well here: it is written
    /// once, and read often.
    fn add(&mut self, content: PackKind, object: Object, quick: bool) -> Result<(), TransferError> {
        let writer = match self.open.get(&content) {
            Some((_, writer)) => writer.clone(),
            None => {
                let name = format!("{UNFINISHED}{}", random_name()?);
                let path = self.folder.packs_dir().join(name);
                let writer = PackWriter::create(self.folder.disk(), &path, Effort::Thorough)?;
                let writer = Arc::new(writer);
                self.open.insert(content, (path, writer.clone()));
                writer
            }
        };
        let weight = object.record_len().saturating_add(object.raw_len());
        let written = self.written.clone();
        self.bytes += object.record_len();
        self.batch
            .spawn(usize::try_from(weight).unwrap_or(usize::MAX), move || {
                // What is damaged here must not be passed on.
                let mut room = Vec::new();
                object
                    .open(&mut room)
                    .map_err(|detail| StoreError::Corrupt {
                        what: object.kind().word(),
                        hash: object.hash(),
                        detail,
                    })?;
                let append = |packed: Packed<'_>| {
                    let bytes = (packed.stored.len() + RECORD_HEAD) as u64;
                    written.fetch_add(bytes, Ordering::Relaxed);
                    writer.append(&packed).map(|_| ())
                };
                if !quick {
                    return append(object.packed());
                }
                with_packed(LEVEL_THOROUGH, object.hash(), object.kind(), &room, append)
                    .map_err(|e| StoreError::io("compress", "", e))?
            })?;
        if self.bytes > PART {
            self.close()?;
        }
        Ok(())
    }

    /// Completes the packs that are open.
    fn close(&mut self) -> Result<(), TransferError> {
        self.batch.wait()?;
        self.batch = Batch::new()?;
        self.bytes = 0;
        for (_, (path, writer)) in std::mem::take(&mut self.open) {
            let sealed = sole_owner(writer, || ())?.seal()?;
            let disk = self.folder.disk();
            let pack = crate::pack::Pack::open(disk, "new", &path)?;
            let index = pack.index_bytes()?;
            debug_assert_eq!(sealed.len, pack.len());
            drop(pack);
            // Equal packs have equal names, whoever writes them.
            let name = Hash::of(&index).to_string();
            let dir = self.folder.packs_dir();
            put(disk, &dir.join(format!("{name}.index")), &index)?;
            let to = dir.join(format!("{name}{EXTENSION}"));
            disk.rename(&path, &to)
                .map_err(|e| StoreError::io("add pack", &to, e))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<(), TransferError> {
        self.close()
    }
}

impl Drop for Parts<'_> {
    fn drop(&mut self) {
        for (path, _) in std::mem::take(&mut self.open).into_values() {
            // What stays is swept by the next addition.
            let _ = self.folder.disk().remove(&path);
        }
    }
}
