//! The receiving end: finds out what is missing, checks what arrives, and makes it visible in order.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Object, Source, TransferError};
use crate::db::Durable;
use crate::links;
use crate::manifest::{Kind, MAX_DEPTH, Manifest, Tree};
use crate::objects::parse_chunks;
use crate::pack::{Effort, Pack, PackKind, PackWriter, RecordKind, SealedPack};
use crate::session::{self, random_name};
use crate::workers::{Batch, sole_owner};
use crate::{Cancel, DirHash, Hash, Lease, Need, Store, StoreError, TreeHash};

/// Bytes of contents that become visible together: what an interruption can cost.
const PART: u64 = 64 << 20;
/// How often everything is looked at again because the collector removed what was relied on.
const ATTEMPTS: usize = 5;

/// How far a transfer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Objects that arrived.
    pub objects: u64,
    /// Objects known to be missing, those that arrived included. Grows while directories are read.
    pub objects_wanted: u64,
    /// Bytes that arrived, as they travel.
    pub bytes: u64,
    /// Bytes of file content that arrived.
    pub content: u64,
    /// Bytes of file content known to be missing, those that arrived included.
    pub content_wanted: u64,
}

/// How to receive.
#[derive(Clone, Copy)]
pub struct ReceiveOptions<'a> {
    /// Ends the transfer with [`TransferError::Cancelled`]; what arrived stays.
    pub cancel: &'a Cancel,
    /// Is told now and then how far it is.
    pub progress: &'a (dyn Fn(&Progress) + Sync),
    /// Only finds out what is missing. Directories travel nonetheless, and are dropped.
    pub dry_run: bool,
}

impl std::fmt::Debug for ReceiveOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReceiveOptions")
            .field("dry_run", &self.dry_run)
            .finish_non_exhaustive()
    }
}

/// What a transfer came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Objects that travelled; with `dry_run`, that would.
    pub objects: u64,
    /// Bytes that travelled.
    pub bytes: u64,
    /// Bytes of file content in those objects.
    pub content: u64,
}

impl Store {
    /// Those of some objects that are not here.
    pub fn missing(&self, hashes: &[Hash]) -> Result<Vec<Hash>, StoreError> {
        let packs = self.refresh()?;
        let absent = hashes.iter().filter(|hash| !packs.contains(hash));
        Ok(absent.copied().collect())
    }

    /// Gets what trees need and this store lacks. They are complete and visible when this returns, and
    /// kept until the last handle of this store is dropped; see [`Store::lease`] for longer.
    pub fn receive(
        &self,
        source: &dyn Source,
        trees: &[TreeHash],
        options: &ReceiveOptions<'_>,
    ) -> Result<Received, TransferError> {
        self.receive_in_parts(source, trees, options, PART)
    }

    pub(crate) fn receive_in_parts(
        &self,
        source: &dyn Source,
        trees: &[TreeHash],
        options: &ReceiveOptions<'_>,
        part: u64,
    ) -> Result<Received, TransferError> {
        if !options.dry_run {
            self.writable("copy to it")?;
        }
        let shared = Arc::new(Shared::default());
        for _ in 0..ATTEMPTS {
            let mut incoming = Incoming::begin(self, source, options, shared.clone(), part)?;
            let need = || Some(Need::Copy(shared.progress().content_wanted));
            let done = incoming.run(trees).map_err(|error| error.needing(need))?;
            if done {
                let sum = shared.progress();
                (options.progress)(&sum);
                let wanted = options.dry_run;
                return Ok(Received {
                    objects: if wanted {
                        sum.objects_wanted
                    } else {
                        sum.objects
                    },
                    bytes: sum.bytes,
                    content: if wanted {
                        sum.content_wanted
                    } else {
                        sum.content
                    },
                });
            }
        }
        Err(TransferError::Collected)
    }
}

/// What worker threads add up.
#[derive(Debug, Default)]
struct Shared {
    objects: AtomicU64,
    objects_wanted: AtomicU64,
    bytes: AtomicU64,
    content: AtomicU64,
    content_wanted: AtomicU64,
}

impl Shared {
    fn progress(&self) -> Progress {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Progress {
            objects: get(&self.objects),
            objects_wanted: get(&self.objects_wanted),
            bytes: get(&self.bytes),
            content: get(&self.content),
            content_wanted: get(&self.content_wanted),
        }
    }
}

/// What checked directories name.
#[derive(Debug, Default)]
struct Named {
    dirs: Vec<Hash>,
    /// Contents, each with the length that is told of it.
    blobs: Vec<(Hash, u64)>,
    /// Lists of chunks, to be checked and written when the chunks are there.
    lists: Vec<Object>,
    /// Trees with hard links, to be compared with their directories when all of these are there.
    linked: Vec<(Hash, Tree)>,
    /// What the other end sent that cannot be.
    wrong: Option<String>,
}

/// One attempt.
struct Incoming<'a> {
    store: &'a Store,
    source: &'a dyn Source,
    options: &'a ReceiveOptions<'a>,
    part: u64,
    batch: Batch,
    shared: Arc<Shared>,
    named: Arc<Mutex<Named>>,
    /// Keeps the packs of parts.
    lease: Option<Lease>,
    data: Option<Arc<PackWriter>>,
    data_bytes: u64,
    meta: Option<Arc<PackWriter>>,
    temporary: Vec<PathBuf>,
    /// Trees that arrived and have hard links.
    linked: Vec<(Hash, Tree)>,
    /// Everything that must be in the store when the tree becomes visible, and is not in `meta`.
    relied: HashSet<Hash>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panicking job fails its batch, and with it the attempt.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

impl<'a> Incoming<'a> {
    fn begin(
        store: &'a Store,
        source: &'a dyn Source,
        options: &'a ReceiveOptions<'a>,
        shared: Arc<Shared>,
        part: u64,
    ) -> Result<Self, TransferError> {
        Ok(Incoming {
            store,
            source,
            options,
            part,
            batch: Batch::new()?,
            shared,
            named: Arc::default(),
            lease: None,
            data: None,
            data_bytes: 0,
            meta: None,
            temporary: Vec::new(),
            linked: Vec::new(),
            relied: HashSet::new(),
        })
    }

    fn peer(&self, detail: impl Into<String>) -> TransferError {
        TransferError::peer(self.source.name(), detail)
    }

    /// Tells whether the trees are here now; otherwise something was collected meanwhile.
    fn run(&mut self, trees: &[TreeHash]) -> Result<bool, TransferError> {
        let blobs = self.directories(trees)?;
        let missing = self.lacking(blobs)?;
        if self.options.dry_run {
            return Ok(true);
        }
        let sizes: HashMap<Hash, u64> = missing.iter().copied().collect();
        let wanted: Vec<Hash> = missing.into_iter().map(|(hash, _)| hash).collect();
        self.contents(&wanted, &sizes, false)?;
        let lists = std::mem::take(&mut lock(&self.named).lists);
        self.chunks(&lists, &sizes)?;
        if !lists.is_empty() {
            // They are compared with what they are made of, which must be readable.
            self.flush()?;
        }
        self.check_lists(lists)?;
        self.publish(trees)
    }

    /// Walks all directories that are not here, level by level, and returns the contents that they
    /// name.
    fn directories(&mut self, trees: &[TreeHash]) -> Result<Vec<(Hash, u64)>, TransferError> {
        let mut level: Vec<Hash> = trees.iter().map(|tree| tree.0).collect();
        let mut blobs: HashMap<Hash, u64> = HashMap::new();
        let mut order = Vec::new();
        let mut seen: HashSet<Hash> = HashSet::new();
        // The tree objects are a level of their own, above that of the roots.
        for depth in 0..=MAX_DEPTH + 1 {
            level.retain(|hash| seen.insert(*hash));
            let missing = self.store.missing(&level)?;
            if missing.len() < level.len() {
                // A manifest that can be found is complete.
                let absent: HashSet<Hash> = missing.iter().copied().collect();
                self.relied
                    .extend(level.iter().filter(|hash| !absent.contains(hash)));
            }
            if missing.is_empty() {
                break;
            }
            if depth == MAX_DEPTH + 1 {
                return Err(self.peer("directories are nested deeper than a tree may be"));
            }
            let expect = if depth == 0 {
                RecordKind::Tree
            } else {
                RecordKind::Manifest
            };
            self.fetch(&missing, None, |kind| kind == expect)?;
            let found = std::mem::take(&mut *lock(&self.named));
            level = found.dirs;
            self.linked.extend(found.linked);
            for (hash, size) in found.blobs {
                match blobs.insert(hash, size) {
                    None => order.push((hash, size)),
                    Some(before) if before == size => {}
                    Some(_) => {
                        let detail = format!("its manifests tell two lengths of blob {hash}");
                        return Err(self.peer(detail));
                    }
                }
            }
        }
        Ok(order)
    }

    /// Those contents that are not here.
    fn lacking(&mut self, blobs: Vec<(Hash, u64)>) -> Result<Vec<(Hash, u64)>, TransferError> {
        let packs = self.store.refresh()?;
        let mut missing = Vec::new();
        for (hash, size) in blobs {
            match packs.find(&hash)? {
                None => missing.push((hash, size)),
                Some((_, place)) if place.kind == RecordKind::Blob && place.raw != size => {
                    let detail = format!("its manifests tell a wrong length of blob {hash}");
                    return Err(self.peer(detail));
                }
                Some(_) => {
                    self.relied.insert(hash);
                }
            }
        }
        let content = missing.iter().map(|(_, size)| size).sum();
        let count = missing.len() as u64;
        self.shared
            .content_wanted
            .fetch_add(content, Ordering::Relaxed);
        if self.options.dry_run {
            self.shared
                .objects_wanted
                .fetch_add(count, Ordering::Relaxed);
        }
        (self.options.progress)(&self.shared.progress());
        Ok(missing)
    }

    fn contents(
        &mut self,
        wanted: &[Hash],
        sizes: &HashMap<Hash, u64>,
        chunks: bool,
    ) -> Result<(), TransferError> {
        if wanted.is_empty() {
            return Ok(());
        }
        self.fetch(wanted, Some(sizes), |kind| {
            kind == RecordKind::Blob || kind == RecordKind::Chunks && !chunks
        })?;
        self.relied.extend(wanted);
        Ok(())
    }

    /// Gets the chunks that lists name.
    fn chunks(
        &mut self,
        lists: &[Object],
        sizes: &HashMap<Hash, u64>,
    ) -> Result<(), TransferError> {
        let mut buffer = Vec::new();
        let mut wanted: HashMap<Hash, u64> = HashMap::new();
        let mut order = Vec::new();
        for list in lists {
            let hash = list.hash();
            // It is not in the store, but among what becomes visible last.
            self.relied.remove(&hash);
            list.open(&mut buffer).map_err(|detail| self.peer(detail))?;
            let parts = parse_chunks(hash, &buffer)?;
            let whole: u64 = parts.iter().map(|(_, size)| u64::from(*size)).sum();
            if sizes.get(&hash) != Some(&whole) {
                let detail = format!("the list of chunks of {hash} has a wrong length");
                return Err(self.peer(detail));
            }
            for (chunk, size) in parts {
                match wanted.insert(chunk, u64::from(size)) {
                    None => order.push(chunk),
                    Some(before) if before == u64::from(size) => {}
                    Some(_) => {
                        return Err(self.peer(format!("two lengths are told of chunk {chunk}")));
                    }
                }
            }
        }
        let missing = self.store.missing(&order)?;
        let absent: HashSet<Hash> = missing.iter().copied().collect();
        let here = order.iter().filter(|chunk| !absent.contains(chunk));
        for chunk in here {
            let size = wanted.get(chunk).copied().unwrap_or_default();
            self.shared.content.fetch_add(size, Ordering::Relaxed);
            self.relied.insert(*chunk);
        }
        self.contents(&missing, &wanted, true)
    }

    /// Gets objects and hands them to threads that check and write them. With `sizes` they are
    /// contents of that length.
    fn fetch(
        &mut self,
        wanted: &[Hash],
        sizes: Option<&HashMap<Hash, u64>>,
        fits: impl Fn(RecordKind) -> bool,
    ) -> Result<(), TransferError> {
        let count = wanted.len() as u64;
        self.shared
            .objects_wanted
            .fetch_add(count, Ordering::Relaxed);
        let mut open: HashSet<Hash> = wanted.iter().copied().collect();
        let (source, cancel) = (self.source, self.options.cancel);
        let fetched = source.fetch(wanted, &mut |object| {
            if cancel.is_cancelled() {
                return Err(TransferError::Cancelled);
            }
            let hash = object.hash();
            if !open.remove(&hash) || !fits(object.kind()) {
                return Err(self.peer(format!("it sent {hash}, which nobody asked for")));
            }
            if object.kind() == RecordKind::Blob
                && sizes.is_some_and(|s| s.get(&hash) != Some(&object.raw_len()))
            {
                return Err(self.peer(format!("blob {hash} has a length that nobody expects")));
            }
            self.take(object)
        });
        if let Err(error) = fetched {
            // What arrived before that stays, unless this end failed.
            let checked = self.batch.wait();
            if !matches!(error, TransferError::Store(_)) && checked.is_ok() {
                self.flush()?;
            }
            return Err(error);
        }
        self.settle()?;
        if let Some(hash) = open.iter().min() {
            self.flush()?;
            return Err(TransferError::Lacks {
                peer: self.source.name(),
                hash: *hash,
                count: open.len(),
            });
        }
        Ok(())
    }

    /// Waits for the threads and reports what they found.
    fn settle(&mut self) -> Result<(), TransferError> {
        self.batch.wait()?;
        if let Some(wrong) = lock(&self.named).wrong.take() {
            return Err(self.peer(wrong));
        }
        (self.options.progress)(&self.shared.progress());
        Ok(())
    }

    fn take(&mut self, object: Object) -> Result<(), TransferError> {
        let writer = match object.kind() {
            RecordKind::Blob => Some(self.data_writer()?),
            RecordKind::Chunks => None,
            RecordKind::Manifest | RecordKind::Tree if self.options.dry_run => None,
            RecordKind::Manifest | RecordKind::Tree => Some(self.meta_writer()?),
        };
        if object.kind() == RecordKind::Blob {
            self.data_bytes += object.record_len();
        }
        let weight = object.record_len().saturating_add(object.raw_len());
        let weight = usize::try_from(weight).unwrap_or(usize::MAX);
        let (shared, named) = (self.shared.clone(), self.named.clone());
        self.batch.spawn(weight, move || {
            match check(&object, &named) {
                Err(wrong) => {
                    let detail = format!("{} {}: {wrong}", object.kind().word(), object.hash());
                    lock(&named).wrong.get_or_insert(detail);
                    return Ok(());
                }
                Ok(()) => {
                    if let Some(writer) = &writer {
                        writer.append(&object.packed())?;
                    }
                }
            }
            shared.objects.fetch_add(1, Ordering::Relaxed);
            shared
                .bytes
                .fetch_add(object.record_len(), Ordering::Relaxed);
            match object.kind() {
                RecordKind::Blob => {
                    shared
                        .content
                        .fetch_add(object.raw_len(), Ordering::Relaxed);
                }
                RecordKind::Chunks => lock(&named).lists.push(object),
                _ => {}
            }
            Ok(())
        })?;
        if lock(&self.named).wrong.is_some() {
            self.settle()?;
        }
        (self.options.progress)(&self.shared.progress());
        if self.data_bytes > self.part {
            self.settle()?;
            self.flush()?;
        }
        Ok(())
    }

    fn create(&mut self) -> Result<Arc<PackWriter>, TransferError> {
        let path = self.store.session()?.tmp.join(random_name()?);
        self.temporary.push(path.clone());
        Ok(Arc::new(PackWriter::create(
            self.store.disk(),
            &path,
            // How hard the other store compressed is not told with each object.
            Effort::Quick,
        )?))
    }

    fn data_writer(&mut self) -> Result<Arc<PackWriter>, TransferError> {
        if let Some(writer) = &self.data {
            return Ok(writer.clone());
        }
        let writer = self.create()?;
        Ok(self.data.insert(writer).clone())
    }

    fn meta_writer(&mut self) -> Result<Arc<PackWriter>, TransferError> {
        if let Some(writer) = &self.meta {
            return Ok(writer.clone());
        }
        let writer = self.create()?;
        Ok(self.meta.insert(writer).clone())
    }

    /// Makes the contents that arrived so far part of the store.
    fn flush(&mut self) -> Result<(), TransferError> {
        let Some(pack) = self.seal_data()? else {
            return Ok(());
        };
        let sealed = [(PackKind::Data, pack)];
        if self.lease.is_none() {
            self.lease = Some(self.store.lease("being copied here")?);
        }
        self.store.add_part(&sealed, self.lease.as_ref())?;
        Ok(())
    }

    /// Compares the contents of lists of chunks with their hashes, now that the chunks are here.
    fn check_lists(&mut self, lists: Vec<Object>) -> Result<(), TransferError> {
        if lists.is_empty() {
            return Ok(());
        }
        let meta = self.meta_writer()?;
        for list in lists {
            let (store, meta, named) = (self.store.clone(), meta.clone(), self.named.clone());
            self.batch.spawn(4 << 20, move || {
                let mut buffer = Vec::new();
                if list.open(&mut buffer).is_err() {
                    return Ok(());
                }
                let mut whole = blake3::Hasher::new();
                let parts = parse_chunks(list.hash(), &buffer)?;
                for (chunk, size) in parts {
                    let mut length = 0;
                    store.each_part(crate::BlobHash(chunk), &mut buffer, |bytes| {
                        length += bytes.len();
                        whole.update(bytes);
                        Ok(())
                    })?;
                    if length != size as usize {
                        break;
                    }
                }
                if whole.finalize().as_bytes() != list.hash().as_bytes() {
                    let detail = format!("the chunks of {} do not make it", list.hash());
                    lock(&named).wrong.get_or_insert(detail);
                    return Ok(());
                }
                meta.append(&list.packed()).map(|_| ())
            })?;
        }
        drop(meta);
        match self.settle() {
            // A chunk that was collected between its arrival and now: `publish` finds out.
            Err(TransferError::Store(StoreError::Missing { .. })) => Ok(()),
            other => other,
        }
    }

    /// Makes what arrived last visible, directories and trees among it, if all that they need is here. In one
    /// transaction: most results are small.
    fn publish(&mut self, trees: &[TreeHash]) -> Result<bool, TransferError> {
        let mut sealed: Vec<(PackKind, SealedPack)> = Vec::new();
        let mut contents = None;
        if let Some(pack) = self.seal_data()? {
            contents = Some(Pack::open(self.store.disk(), "new", &pack.path)?);
            sealed.push((PackKind::Data, pack));
        }
        if let Some(writer) = self.meta.take() {
            sealed.push((PackKind::Meta, sole_owner(writer, || ())?.seal()?));
        }
        let lock = self.store.lock_shared()?;
        let packs = self.store.refresh()?;
        for hash in &self.relied {
            let arrived = |pack: &Pack| pack.find(hash).map(|entry| entry.is_some());
            let is_here = packs.contains(hash)
                || contents.as_ref().map(arrived).transpose()?.unwrap_or(false);
            if !is_here {
                return Ok(false);
            }
        }
        self.check_links(&sealed)?;
        self.store.add_packs(&sealed, trees)?;
        drop(lock);
        self.store.keep_packs_few();
        Ok(true)
    }

    /// Ends the pack of contents that is being written, unless there is none or nothing in it.
    fn seal_data(&mut self) -> Result<Option<SealedPack>, TransferError> {
        self.data_bytes = 0;
        let Some(writer) = self.data.take() else {
            return Ok(None);
        };
        let writer = sole_owner(writer, || ())?;
        match writer.is_empty() {
            true => Ok(None),
            false => Ok(Some(writer.seal()?)),
        }
    }

    /// Compares hard links with the directories that they speak of, some of which are in a pack that is
    /// not part of the store yet.
    fn check_links(&self, sealed: &[(PackKind, SealedPack)]) -> Result<(), TransferError> {
        if self.linked.is_empty() {
            return Ok(());
        }
        let mut arrived = Vec::new();
        for (_, pack) in sealed {
            arrived.push(Pack::open(self.store.disk(), "new", &pack.path)?);
        }
        let read = |dir: &DirHash| {
            for pack in &arrived {
                if let Some(entry) = pack.find(&dir.0)? {
                    let mut bytes = Vec::new();
                    pack.read_into(&entry, &mut bytes)?;
                    return Manifest::decode(&bytes).map_err(|source| StoreError::Decode {
                        what: "manifest",
                        hash: dir.0,
                        source,
                    });
                }
            }
            self.store.manifest(*dir)
        };
        for (hash, tree) in &self.linked {
            if let Some(wrong) = links::misfit(tree, &read)? {
                return Err(self.peer(format!("tree {hash}: {wrong}")));
            }
        }
        Ok(())
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        for path in std::mem::take(&mut self.temporary) {
            // Those that became packs have other names; what cannot be removed goes with the session.
            let _ = self.store.disk().remove(&path);
        }
    }
}

thread_local! {
    static BUFFER: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Checks an object, and notes what it names.
fn check(object: &Object, named: &Mutex<Named>) -> Result<(), String> {
    BUFFER.with_borrow_mut(|buffer| {
        object.open(buffer)?;
        match object.kind() {
            RecordKind::Blob | RecordKind::Chunks => {}
            RecordKind::Tree => {
                let tree = Tree::decode(buffer).map_err(|e| e.to_string())?;
                let mut named = lock(named);
                named.dirs.push(tree.dir.0);
                if !tree.links.is_empty() {
                    named.linked.push((object.hash(), tree));
                }
            }
            RecordKind::Manifest => {
                let manifest = Manifest::decode(buffer).map_err(|e| e.to_string())?;
                let mut named = lock(named);
                for entry in manifest.entries() {
                    match entry.kind {
                        Kind::Dir { manifest } => named.dirs.push(manifest.0),
                        Kind::File { blob, size } => named.blobs.push((blob.0, size)),
                        _ => {}
                    }
                }
            }
        }
        if buffer.capacity() > 16 << 20 {
            *buffer = Vec::new();
        }
        Ok(())
    })
}

impl Store {
    /// Makes packs of contents part of the store before anything names them. They live while the
    /// lease does.
    fn add_part(
        &self,
        sealed: &[(PackKind, SealedPack)],
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        let _lock = self.lock_shared()?;
        let lease = lease.and_then(Lease::id);
        self.change_packs(Durable::Yes, "add packs", sealed, &[], |t, rows| {
            for row in rows {
                if let Some(lease) = lease {
                    session::lease_pack(t, lease, &row.name)?;
                }
            }
            Ok(())
        })
    }
}
