//! Reading a cache: indexes first, then those stretches of packs that are missing.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::{Fact, MAX_FACT, Object, Source, TransferError};
use super::index::RemoteIndex;
use super::listing::{ListedPack, Listing, MAX_LISTING};
use super::{CACHE_FILE, check_cache_text};
use crate::pack::{EXTENSION, PackEntry, RECORD_HEAD};
use crate::{Hash, TreeHash};

/// Bytes between two wanted objects that are fetched rather than asked around.
const GAP: u64 = 32 << 10;
/// The same among objects that name others: those are small, and will be wanted next.
const META_GAP: u64 = 256 << 10;
/// Longest stretch that is fetched at once.
const STRETCH: u64 = 8 << 20;
/// Bytes of objects kept because they came along.
const SPARE: u64 = 32 << 20;
/// Longest object that is kept because it came along.
const SPARE_ONE: u64 = 1 << 20;
/// Bytes of whole packs that are read for one reader, where the server knows no stretches: so much at least, and
/// this many times as much as the wanted objects take. Of what is read only wanted objects go on, so that
/// what a receiver writes is bounded by the tree; a listing, which is not signed, bounds nothing.
const WHOLE: u64 = 1 << 30;
const WHOLE_TIMES: u64 = 16;
/// Longest indexes that are read for one tree: four million objects.
const MAX_INDEX: u64 = 256 << 20;

/// What comes for a stretch of a file.
pub enum Body {
    /// That stretch.
    Stretch(Box<dyn Read + Send>),
    /// The whole file from its beginning, and its length as far as that is told: the other side knows no stretches.
    Whole(Box<dyn Read + Send>, Option<u64>),
}

/// Gets files of a cache, from wherever it is. Paths are those of the layout.
pub trait Fetch: Send + Sync {
    /// What to call it in messages.
    fn name(&self) -> String;

    /// A whole small file; `None` when there is none. One that is longer than `limit` is an error.
    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TransferError>;

    /// The bytes from `from` to `to` of a file.
    fn stretch(&self, path: &str, from: u64, to: u64) -> Result<Body, TransferError>;
}

/// A cache in a folder.
#[derive(Debug)]
pub struct FolderFetch {
    path: PathBuf,
}

impl FolderFetch {
    /// Reads the cache in `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        FolderFetch { path: path.into() }
    }

    fn failed(&self, path: &str, error: &io::Error) -> TransferError {
        TransferError::peer(self.name(), format!("cannot read {path}: {error}"))
    }
}

impl Fetch for FolderFetch {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn get(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, TransferError> {
        let file = match File::open(self.path.join(path)) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(self.failed(path, &e)),
        };
        let mut bytes = Vec::new();
        file.take(limit + 1)
            .read_to_end(&mut bytes)
            .map_err(|e| self.failed(path, &e))?;
        if bytes.len() as u64 > limit {
            return Err(TransferError::peer(
                self.name(),
                format!("{path} is too long"),
            ));
        }
        Ok(Some(bytes))
    }

    fn stretch(&self, path: &str, from: u64, to: u64) -> Result<Body, TransferError> {
        let file = File::open(self.path.join(path)).map_err(|e| self.failed(path, &e))?;
        Ok(Body::Stretch(Box::new(Stretch { file, at: from, to })))
    }
}

/// A part of a file.
struct Stretch {
    file: File,
    at: u64,
    to: u64,
}

impl Read for Stretch {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.to - self.at).unwrap_or(usize::MAX);
        let room = out.len().min(left);
        let n = self.file.read_at(&mut out[..room], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// A cache, as a source of objects and facts.
pub struct CacheReader {
    fetch: Box<dyn Fetch>,
    /// Stretches fetched at a time.
    jobs: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    packs: BTreeMap<String, Arc<RemotePack>>,
    spare: HashMap<Hash, Object>,
    spare_bytes: u64,
    /// Bytes that all wanted objects take, and all packs that came as a whole.
    wanted_bytes: u64,
    whole_bytes: u64,
}

struct RemotePack {
    listed: ListedPack,
    index: RemoteIndex,
    /// Whether stretches of it can be had.
    stretches: AtomicBool,
    /// Held by whoever asks while that is not known, so that a whole pack comes once.
    asking: Mutex<()>,
}

impl RemotePack {
    fn path(&self) -> String {
        format!("packs/{}{EXTENSION}", self.listed.name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Some wanted objects of one pack, close to each other.
struct Job {
    pack: Arc<RemotePack>,
    from: u64,
    to: u64,
    /// Everything in between, by offset; not all of it is wanted.
    places: Vec<(PackEntry, bool)>,
    /// Whether somebody is at it, or has done it.
    begun: AtomicBool,
}

impl CacheReader {
    /// Opens a cache, of which `jobs` stretches are fetched at a time.
    pub fn open(fetch: Box<dyn Fetch>, jobs: usize) -> Result<CacheReader, TransferError> {
        let name = fetch.name();
        let text = fetch
            .get(CACHE_FILE, 4096)?
            .ok_or_else(|| TransferError::peer(&name, "there is no cache of mstore"))?;
        check_cache_text(&text).map_err(|why| TransferError::peer(&name, why))?;
        Ok(CacheReader {
            fetch,
            jobs: jobs.max(1),
            state: Mutex::default(),
        })
    }

    fn wrong(&self, detail: impl Into<String>) -> TransferError {
        TransferError::peer(self.fetch.name(), detail)
    }

    fn fact(&self, folder: &str, hash: &Hash) -> Result<Option<Fact>, TransferError> {
        let path = format!("{folder}/{hash}");
        let Some(bytes) = self.fetch.get(&path, MAX_FACT as u64)? else {
            return Ok(None);
        };
        let fact = Fact::decode(&bytes).map_err(|e| self.wrong(format!("{path}: {e}")))?;
        let named = match folder {
            "derivations" => fact.realisation.drv,
            _ => fact.realisation.key,
        };
        if named != *hash {
            return Err(self.wrong(format!("{path} is about something else")));
        }
        Ok(Some(fact))
    }

    /// What is known of keys and derivations, each asked for by a request of its own. What `believe` does not
    /// give back is dropped as soon as it has come.
    pub fn facts(
        &self,
        keys: &[Hash],
        drvs: &[Hash],
        believe: &(dyn Fn(Fact) -> Option<Fact> + Sync),
    ) -> Result<Vec<Fact>, TransferError> {
        let keys = keys.iter().map(|key| ("realisations", key));
        let asked: Vec<_> = keys
            .chain(drvs.iter().map(|drv| ("derivations", drv)))
            .collect();
        let found = self.each(&asked, |(folder, hash)| {
            Ok(self.fact(folder, hash)?.and_then(believe))
        })?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Bytes that a tree takes, if it is here. Has to be asked before the tree is fetched.
    pub fn offer(&self, tree: TreeHash) -> Result<Option<u64>, TransferError> {
        let path = format!("trees/{tree}");
        let Some(bytes) = self.fetch.get(&path, MAX_LISTING as u64)? else {
            return Ok(None);
        };
        let listing = Listing::decode(&bytes).map_err(|e| self.wrong(format!("{path}: {e}")))?;
        let new: Vec<ListedPack> = {
            let state = lock(&self.state);
            let packs = listing.packs.into_iter();
            packs
                .filter(|p| !state.packs.contains_key(&p.name))
                .collect()
        };
        let indexes = new
            .iter()
            .try_fold(0u64, |sum, p| sum.checked_add(p.len - p.index));
        if indexes.is_none_or(|sum| sum > MAX_INDEX) {
            return Err(self.wrong(format!("{path} names indexes that are too long")));
        }
        let loaded = self.each(&new, |listed| {
            let path = format!("packs/{}.index", listed.name);
            let length = listed.len - listed.index;
            let bytes = self.fetch.get(&path, length)?;
            let bytes = bytes.ok_or_else(|| self.wrong(format!("there is no {path}")))?;
            let index = RemoteIndex::parse(bytes, listed.index, listed.count)
                .map_err(|why| self.wrong(format!("{path}: {why}")))?;
            Ok(RemotePack {
                listed: listed.clone(),
                index,
                stretches: AtomicBool::new(false),
                asking: Mutex::default(),
            })
        })?;
        let mut state = lock(&self.state);
        for pack in loaded {
            state.packs.insert(pack.listed.name.clone(), Arc::new(pack));
        }
        Ok(Some(listing.bytes))
    }

    /// Does something with each item, several at a time, and keeps their order.
    fn each<T: Sync, R: Send>(
        &self,
        items: &[T],
        work: impl Fn(&T) -> Result<R, TransferError> + Sync,
    ) -> Result<Vec<R>, TransferError> {
        let next = AtomicUsize::new(0);
        let done: Mutex<BTreeMap<usize, R>> = Mutex::default();
        let failed: Mutex<Option<TransferError>> = Mutex::default();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.min(items.len()) {
                scope.spawn(|| {
                    while lock(&failed).is_none() {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let Some(item) = items.get(at) else { break };
                        match work(item) {
                            Ok(result) => {
                                lock(&done).insert(at, result);
                            }
                            Err(error) => {
                                lock(&failed).get_or_insert(error);
                            }
                        }
                    }
                });
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => {
                let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
                Ok(done.into_values().collect())
            }
        }
    }

    /// Divides wanted objects into stretches.
    fn plan(&self, wanted: &[Hash]) -> Vec<Job> {
        let packs: Vec<Arc<RemotePack>> = lock(&self.state).packs.values().cloned().collect();
        let mut by_pack: BTreeMap<usize, Vec<PackEntry>> = BTreeMap::new();
        for hash in wanted {
            let found = packs
                .iter()
                .enumerate()
                .find_map(|(number, pack)| Some((number, pack.index.find(hash)?)));
            if let Some((number, place)) = found {
                by_pack.entry(number).or_default().push(place);
            }
        }
        let mut jobs = Vec::new();
        for (number, mut places) in by_pack {
            let pack = &packs[number];
            let gap = if pack.listed.meta { META_GAP } else { GAP };
            places.sort_unstable_by_key(|place| place.offset);
            // Records may not lie over each other, whatever the index says.
            let mut rest = places.into_iter().peekable();
            while let Some(first) = rest.next() {
                let (from, mut to) = (first.offset, first.offset + first.record_len());
                let mut places = vec![(first, true)];
                while let Some(next) = rest.peek()
                    && next.offset <= to.saturating_add(gap)
                    && next.offset + next.record_len() - from <= STRETCH
                {
                    to = to.max(next.offset + next.record_len());
                    places.push((*next, true));
                    rest.next();
                }
                jobs.push(Job {
                    pack: pack.clone(),
                    from,
                    to,
                    places,
                    begun: AtomicBool::new(false),
                });
            }
            if pack.listed.meta {
                self.add_company(pack, &mut jobs);
            }
        }
        jobs
    }

    /// Notes what else lies in the stretches of a pack of objects that name others.
    fn add_company(&self, pack: &Arc<RemotePack>, jobs: &mut [Job]) {
        let mut all: Vec<PackEntry> = (0..)
            .map_while(|at| (at < pack.listed.count as usize).then(|| pack.index.place(at)))
            .flatten()
            .collect();
        all.sort_unstable_by_key(|place| place.offset);
        for job in jobs.iter_mut().filter(|job| Arc::ptr_eq(&job.pack, pack)) {
            let start = all.partition_point(|place| place.offset < job.from);
            let inside = all[start..]
                .iter()
                .take_while(|place| place.offset + place.record_len() <= job.to);
            let wanted: Vec<Hash> = job.places.iter().map(|(place, _)| place.hash).collect();
            let wanted: std::collections::HashSet<Hash> = wanted.into_iter().collect();
            let places = inside.map(|place| (*place, wanted.contains(&place.hash)));
            let places: Vec<_> = places.collect();
            // Only if nothing is lost by it: an index may be strange.
            if places.iter().filter(|(_, wanted)| *wanted).count() == job.places.len() {
                job.places = places;
            }
        }
    }

    /// Fetches one stretch; where all of the pack comes, those of the others in it too.
    fn run(
        &self,
        jobs: &[Job],
        at: usize,
        give: &mut dyn FnMut(Object, bool) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let job = &jobs[at];
        let pack = &job.pack;
        let asking = (!pack.stretches.load(Ordering::Acquire)).then(|| lock(&pack.asking));
        if job.begun.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match self.fetch.stretch(&pack.path(), job.from, job.to)? {
            Body::Stretch(body) => {
                pack.stretches.store(true, Ordering::Release);
                drop(asking);
                let mut body = body.take(job.to - job.from);
                self.read(pack, &mut body, job.from, &job.places, give)
            }
            Body::Whole(body, said) => {
                if said.is_some_and(|said| said != pack.listed.len) {
                    return Err(self.wrong(format!("{} has a wrong length", pack.path())));
                }
                self.allow_whole(pack)?;
                let others = jobs.iter().filter(|other| Arc::ptr_eq(&other.pack, pack));
                let others = others.filter(|other| !other.begun.swap(true, Ordering::AcqRel));
                let places = all_wanted(pack, std::iter::once(job).chain(others));
                drop(asking);
                let mut body = body.take(pack.listed.len);
                self.read(pack, &mut body, 0, &places, give)
            }
        }
    }

    /// Counts a pack that comes as a whole, and refuses it if that is out of all proportion.
    fn allow_whole(&self, pack: &RemotePack) -> Result<(), TransferError> {
        let mut state = lock(&self.state);
        let room = WHOLE.max(state.wanted_bytes.saturating_mul(WHOLE_TIMES));
        let sum = state.whole_bytes.saturating_add(pack.listed.len);
        if sum > room {
            return Err(self.wrong(format!(
                "it gives packs only as a whole, and they are too long for what is wanted: {sum} bytes for {}",
                state.wanted_bytes
            )));
        }
        state.whole_bytes = sum;
        Ok(())
    }

    /// Reads objects from what comes of a pack, which begins at the offset `at` of it.
    fn read(
        &self,
        pack: &RemotePack,
        body: &mut dyn Read,
        mut at: u64,
        places: &[(PackEntry, bool)],
        give: &mut dyn FnMut(Object, bool) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let path = pack.path();
        let broken = |e: &io::Error| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.wrong(format!("{path} ends too early")),
            _ => self.wrong(format!("{path}: {e}")),
        };
        for (place, wanted) in places {
            let Some(skip) = place.offset.checked_sub(at) else {
                return Err(self.wrong(format!("records of {path} lie over each other")));
            };
            let skipped = io::copy(&mut body.take(skip), &mut io::sink());
            if skipped.map_err(|e| broken(&e))? != skip {
                return Err(self.wrong(format!("{path} ends too early")));
            }
            let mut head = [0; RECORD_HEAD];
            body.read_exact(&mut head).map_err(|e| broken(&e))?;
            let fits = head == place.head_bytes() && Object::stored_len(&head).is_some();
            if !fits {
                return Err(self.wrong(format!("a record of {path} does not agree with the index")));
            }
            let mut stored = Vec::new();
            let got = body.take(place.stored).read_to_end(&mut stored);
            if got.map_err(|e| broken(&e))? as u64 != place.stored {
                return Err(self.wrong(format!("{path} ends too early")));
            }
            at = place.offset + place.record_len();
            give(Object::new(*place, &stored), *wanted)?;
        }
        Ok(())
    }
}

/// What is taken of a whole pack, by offset: what some jobs want, and of objects that name others all that
/// are small, since they will be wanted next.
fn all_wanted<'a>(
    pack: &RemotePack,
    jobs: impl Iterator<Item = &'a Job>,
) -> Vec<(PackEntry, bool)> {
    let places = jobs.flat_map(|job| &job.places);
    let mut all: BTreeMap<u64, (PackEntry, bool)> = BTreeMap::new();
    for (place, wanted) in places {
        all.entry(place.offset).or_insert((*place, false)).1 |= wanted;
    }
    if pack.listed.meta {
        for at in 0..usize::try_from(pack.listed.count).unwrap_or(0) {
            if let Some(place) = pack.index.place(at)
                && place.record_len() <= SPARE_ONE
            {
                all.entry(place.offset).or_insert((place, false));
            }
        }
    }
    all.into_values().collect()
}

impl Source for CacheReader {
    fn name(&self) -> String {
        self.fetch.name()
    }

    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let mut rest = Vec::with_capacity(wanted.len());
        for hash in wanted {
            let spare = {
                let mut state = lock(&self.state);
                let spare = state.spare.remove(hash);
                if let Some(object) = &spare {
                    state.spare_bytes -= object.record_len();
                }
                spare
            };
            match spare {
                Some(object) => take(object)?,
                None => rest.push(*hash),
            }
        }
        let jobs = self.plan(&rest);
        let places = jobs.iter().flat_map(|job| &job.places);
        let wanted = places.filter(|(_, wanted)| *wanted);
        lock(&self.state).wanted_bytes += wanted.map(|(place, _)| place.record_len()).sum::<u64>();
        if jobs.is_empty() {
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Each holds at most one object of bounded length.
            let (send, receive) = sync_channel(8);
            for _ in 0..self.jobs.min(jobs.len()) {
                let send = send.clone();
                let (jobs, next, stop) = (&jobs, &next, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= jobs.len() {
                            break;
                        }
                        let done = self.run(jobs, at, &mut |object, wanted| {
                            send.send(Ok((object, wanted)))
                                .map_err(|_| TransferError::Cancelled)
                        });
                        if let Err(error) = done {
                            stop.store(true, Ordering::Relaxed);
                            // Nobody listens any more: then there is an error already.
                            let _ = send.send(Err(error));
                        }
                    }
                });
            }
            drop(send);
            for message in receive {
                let taken = match message {
                    Ok((object, true)) => take(object),
                    Ok((object, false)) => {
                        let mut state = lock(&self.state);
                        if state.spare_bytes + object.record_len() <= SPARE {
                            state.spare_bytes += object.record_len();
                            if let Some(old) = state.spare.insert(object.hash(), object) {
                                state.spare_bytes -= old.record_len();
                            }
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                };
                if let Err(error) = taken {
                    stop.store(true, Ordering::Relaxed);
                    // Dropping the receiver ends the threads that wait to send.
                    return Err(error);
                }
            }
            Ok(())
        })
    }
}
