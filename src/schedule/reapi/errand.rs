//! What one step needs on its way through an engine: the engine as it is spoken with, and the blobs that the engine
//! is provided with.

use std::cell::RefCell;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mstore_store::{Store, TreeHash};

use super::action::{self, Described};
use super::belief::Belief;
use super::cas::{Cas, Portion};
use super::channel::{Abilities, Line, Pauses, jittered};
use super::digest::{Blob, Digest, Function};
use super::fresh::Fresh;
use super::operation::Execution;
use super::program::Programs;
use super::reactor::{Reactor, Stop};
use super::settings::Settings;
use super::trouble::Trouble;
use crate::build::error::Infrastructure;
use crate::build::step::{Builder, Limits};
use crate::drv::{Lineage, Resolved};
use crate::share::action::{Bounds, Job};
use crate::share::bundle::{self, Cut, CutError, Layer, layers};

/// Portions that travel at a time for one job.
pub const AT_ONCE: usize = 4;

/// Bytes of blobs that travelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To the engine.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

/// An engine that is spoken with.
pub struct Live {
    pub(super) line: Arc<Line>,
    // After the line, which belongs to it.
    pub(super) reactor: Reactor,
    pub(super) label: String,
    pub(super) belief: Belief,
    abilities: Mutex<Option<Abilities>>,
    /// One lock for each tree that is being cut, so that it is cut once.
    cutting: Cutting,
    pub(super) fresh: Fresh,
    pub(super) programs: Programs,
    pub(super) traffic: Mutex<Traffic>,
}

/// One step on its way through an engine.
pub struct Errand<'a> {
    /// The engine.
    pub live: &'a Live,
    /// The store, limits, and who is told what people should know.
    pub builder: &'a Builder<'a>,
    /// What the step is called here.
    pub name: &'a str,
    /// The step.
    pub step: &'a Resolved,
    /// What the trees lie on that it starts from.
    pub lineage: &'a Lineage,
    /// How urgent it is beside others of the run, from 0 to 1.
    pub urgency: f64,
    /// Ends it.
    pub stop: &'a Stop,
    /// Whether no cache is to have a part in it.
    pub check: bool,
    /// Is told when the engine has too much to do.
    pub full: &'a dyn Fn(),
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are put in.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Live {
    /// Starts to speak with an engine: the thread is there, and nothing was said yet. `program` is the version of
    /// this program.
    pub fn new(settings: Settings, program: &str) -> Result<Live, Trouble> {
        let reactor = Reactor::start().map_err(|error| Trouble::Setup {
            why: format!("cannot start the thread that speaks with it: {error}"),
            remedy: "raise the limits of this machine".to_owned(),
        })?;
        let label = settings.address.label();
        let line = reactor.within(|| Line::new(settings, program))?;
        Ok(Live {
            line: Arc::new(line),
            reactor,
            label,
            belief: Belief::default(),
            abilities: Mutex::default(),
            cutting: Mutex::default(),
            fresh: Fresh::default(),
            programs: Programs::default(),
            traffic: Mutex::default(),
        })
    }

    /// What the engine is called where realisations name their host.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// What travelled so far.
    pub fn traffic(&self) -> Traffic {
        *lock(&self.traffic)
    }

    /// What the engine can do; it is asked the first time, and one that is away for as long as `patience` says.
    pub fn abilities(&self, stop: &Stop, patience: Duration) -> Result<Abilities, Trouble> {
        if let Some(known) = &*lock(&self.abilities) {
            return Ok(known.clone());
        }
        let line = Arc::clone(&self.line);
        let told = self.reactor.run(stop, async move {
            let mut pauses = Pauses::new(patience);
            loop {
                match line.abilities().await {
                    Err(trouble) => pauses.after(trouble).await?,
                    told => return told,
                }
            }
        })?;
        *lock(&self.abilities) = Some(told.clone());
        Ok(told)
    }

    /// The error that ends a run: the engine cannot be used as it is set up.
    pub fn closed(&self, why: String, remedy: String) -> Infrastructure {
        Infrastructure::Engine {
            engine: self.line.settings.address.to_string(),
            why,
            remedy,
        }
    }

    /// Names the bundles of a tree; two that ask at the same time have it cut once. What is made for that is kept.
    fn cut(
        &self,
        store: &Store,
        tree: TreeHash,
        on: &[TreeHash],
    ) -> Result<Vec<bundle::Digest>, CutError> {
        if let Some(known) = Cut::remembered(store, tree, on)? {
            return Ok(known);
        }
        let turn = Turn::take(&self.cutting, tree);
        let _one = lock(&turn.one);
        // Whoever came before may have cut it meanwhile.
        if let Some(known) = Cut::remembered(store, tree, on)? {
            return Ok(known);
        }
        Cut::plan(store, tree, on)?.make(store, &|_, digest, bytes| {
            self.fresh.put(digest, bytes);
            Ok(())
        })
    }
}

/// One of those that want a tree cut. The last of them takes its lock away.
struct Turn<'a> {
    cutting: &'a Cutting,
    tree: TreeHash,
    one: Arc<Mutex<()>>,
}

/// One lock for each tree that is being cut.
type Cutting = Mutex<HashMap<TreeHash, Arc<Mutex<()>>>>;

impl<'a> Turn<'a> {
    fn take(cutting: &'a Cutting, tree: TreeHash) -> Turn<'a> {
        let one = Arc::clone(lock(cutting).entry(tree).or_default());
        Turn { cutting, tree, one }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut cutting = lock(self.cutting);
        // The map's and this one: whoever comes next makes another.
        if Arc::strong_count(&self.one) == 2 {
            cutting.remove(&self.tree);
        }
    }
}

impl Errand<'_> {
    /// The job, and what is needed to make the bundles of its trees.
    pub(super) fn job(&self) -> Result<(Job, Vec<Layer>), Trouble> {
        let store = self.builder.store;
        let mut found = Vec::new();
        for (tree, on) in layers(store, self.lineage, self.step.trees())? {
            let bundles = self.live.cut(store, tree, &on).map_err(of_cut)?;
            found.push(Layer { on, tree, bundles });
        }
        let (limits, usual) = (&self.builder.limits, Limits::default());
        let job = Job {
            anew: self.check || self.builder.anew,
            step: Job::sent(self.step, limits.silence.map(|time| time.as_secs())),
            bounds: Bounds {
                file: (limits.file != usual.file).then_some(limits.file),
                output: (limits.output != usual.output).then_some(limits.output),
            },
            layers: found.clone(),
        };
        Ok((job, found))
    }

    pub(super) fn pause(&self, time: Duration) -> Result<(), Trouble> {
        let time = jittered(time.min(self.live.line.settings.patience / 20));
        self.live.reactor.run(self.stop, async move {
            tokio::time::sleep(time).await;
            Ok(())
        })
    }

    /// Uploads what the engine lacks. Tells whether it was asked about all of it now and lacked nothing.
    pub(super) fn provide(&self, work: &Work) -> Result<bool, Trouble> {
        let belief = &self.live.belief;
        let digests = work.blobs.digests();
        let mut looked = None;
        loop {
            let doubtful = belief.doubtful(&digests);
            if doubtful.is_empty() {
                return Ok(looked == Some(true));
            }
            let (cas, asked) = (work.cas.clone(), doubtful.clone());
            let missing = self
                .live
                .reactor
                .run(self.stop, async move { cas.missing(&asked).await })?;
            let whole = doubtful.len() == digests.len() && missing.is_empty();
            looked.get_or_insert(whole);
            let lacks: HashSet<&Digest> = missing.iter().collect();
            belief.note(
                doubtful
                    .into_iter()
                    .filter(|digest| !lacks.contains(digest)),
            );
            let claim = belief.claim(&missing);
            let mut sending = VecDeque::new();
            for portion in work.cas.portions(claim.digests()) {
                let mut blobs = Vec::with_capacity(portion.len());
                for digest in portion {
                    blobs.push(self.blob(&work.blobs, digest)?);
                    lock(&self.live.traffic).sent += digest.size;
                }
                let cas = work.cas.clone();
                sending.push_back(
                    self.live
                        .reactor
                        .spawn(self.stop, async move { cas.upload(blobs).await }),
                );
                if sending.len() >= AT_ONCE
                    && let Some(first) = sending.pop_front()
                {
                    first.wait()?;
                }
            }
            for rest in sending {
                rest.wait()?;
            }
            claim.done();
            belief.wait(&missing, &|| self.stop.is_stopped());
            if self.stop.is_stopped() {
                return Err(Trouble::Cancelled);
            }
        }
    }

    /// A blob of an action, with its bytes.
    fn blob(&self, blobs: &Blobs, digest: Digest) -> Result<Blob, Trouble> {
        let bundle = blobs.bundle(&digest);
        match bundle.and_then(|bundle| self.live.fresh.take(bundle)) {
            Some(bytes) => Ok(Blob { digest, bytes }),
            None => blobs.make(self.builder.store, digest),
        }
    }

    pub(super) fn fetch(&self, work: &Work, portion: Portion) -> Result<Vec<Vec<u8>>, Trouble> {
        let bytes: u64 = portion.iter().map(|digest| digest.size).sum();
        let cas = work.cas.clone();
        let got = self
            .live
            .reactor
            .run(self.stop, async move { cas.read_all(portion).await })?;
        lock(&self.live.traffic).received += bytes;
        Ok(got)
    }
}

/// What is asked of an engine for one step.
pub struct Work {
    /// The blobs of the engine.
    pub cas: Cas,
    /// What is to be executed.
    pub execution: Execution,
    /// What the engine needs for it.
    pub blobs: Blobs,
    /// Whether the engine was asked again, after a failure, for all that the action needs, and had it.
    pub looked: bool,
    /// Whether it is provided with what it lacks a second time.
    pub again: bool,
}

/// All that an action needs.
pub struct Blobs {
    /// The action, with all that is small of it.
    pub described: Described,
    program: Arc<Blob>,
    /// Its trees in bundles.
    pub cuts: Vec<Layer>,
    function: Function,
    places: HashMap<Digest, Place>,
    /// Where trees are cut of which bundles were asked for.
    plans: RefCell<HashMap<TreeHash, Cut>>,
}

/// Where a blob comes from.
#[derive(Clone, Copy)]
enum Place {
    /// It is the worker's program.
    Program,
    /// It is a small one, with this number.
    Small(usize),
    /// It is a bundle: of which tree, and which one.
    Bundle(usize, usize),
}

impl Blobs {
    /// Those of an action, with its worker's program and its trees.
    pub fn new(
        described: Described,
        program: Arc<Blob>,
        cuts: Vec<Layer>,
        function: Function,
    ) -> Blobs {
        let mut places = HashMap::new();
        for (at, cut) in cuts.iter().enumerate() {
            for (number, bundle) in cut.bundles.iter().enumerate() {
                let digest = action::bundle_digest(function, bundle);
                places.entry(digest).or_insert(Place::Bundle(at, number));
            }
        }
        let small = described.blobs.iter().enumerate();
        places.extend(small.map(|(at, blob)| (blob.digest, Place::Small(at))));
        places.insert(program.digest, Place::Program);
        Blobs {
            described,
            program,
            cuts,
            function,
            places,
            plans: RefCell::default(),
        }
    }

    /// The digests, each once.
    pub fn digests(&self) -> Vec<Digest> {
        let mut all: Vec<Digest> = self.places.keys().copied().collect();
        all.sort_unstable();
        all
    }

    /// The bundle that a blob is, if it is one.
    fn bundle(&self, digest: &Digest) -> Option<&bundle::Digest> {
        match self.places.get(digest) {
            Some(Place::Bundle(at, number)) => Some(&self.cuts[*at].bundles[*number]),
            _ => None,
        }
    }

    /// A blob, with its bytes.
    fn make(&self, store: &Store, digest: Digest) -> Result<Blob, Trouble> {
        let (cut, number) = match self.places.get(&digest) {
            Some(Place::Program) => return Ok((*self.program).clone()),
            Some(Place::Small(at)) => return Ok(self.described.blobs[*at].clone()),
            Some(Place::Bundle(at, number)) => (&self.cuts[*at], *number),
            None => {
                return Err(Trouble::Disagrees(format!(
                    "nothing here makes the blob {digest}"
                )));
            }
        };
        let mut plans = self.plans.borrow_mut();
        let plan = match plans.entry(cut.tree) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => {
                free.insert(Cut::plan(store, cut.tree, &cut.on).map_err(of_cut)?)
            }
        };
        let bytes = plan.bundle(store, number).map_err(of_cut)?;
        if self.function.digest(&bytes) == digest {
            return Ok(Blob { digest, bytes });
        }
        Err(Trouble::Setup {
            why: format!(
                "the bundles of tree {} come out otherwise than before",
                cut.tree
            ),
            remedy: "this is an error in mstore".to_owned(),
        })
    }
}

fn of_cut(error: CutError) -> Trouble {
    match error {
        CutError::Store(error) => Trouble::Store(error),
        error => Trouble::Setup {
            why: error.to_string(),
            remedy: "build this step on this machine or on a host that ssh reaches".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mstore_store::Hash;

    use super::*;

    fn bundle(n: usize) -> bundle::Digest {
        bundle::Digest::of(&n.to_le_bytes())
    }

    #[test]
    fn ten_thousand_bundles_are_found_each_at_once() {
        const COUNT: usize = 10_000;
        let function = Function::Sha256;
        let cut = |from: usize| Layer {
            on: Vec::new(),
            tree: TreeHash(Hash::of(&from.to_le_bytes())),
            bundles: (from..from + COUNT / 2).map(bundle).collect(),
        };
        let program = Arc::new(Blob::new(function, b"the program".to_vec()));
        let action = Blob::new(function, b"the action".to_vec());
        let described = Described {
            action: action.digest,
            blobs: vec![action],
        };
        let began = Instant::now();
        let blobs = Blobs::new(described, program, vec![cut(0), cut(COUNT / 2)], function);
        let digests = blobs.digests();
        assert_eq!(digests.len(), COUNT + 2);
        let found = digests.iter().filter_map(|digest| blobs.bundle(digest));
        assert_eq!(found.count(), COUNT);
        // It took 50 million comparisons before, some seconds without optimisation.
        let took = began.elapsed();
        eprintln!("{COUNT} bundles: {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn the_lock_of_a_tree_goes_with_the_last_that_wants_it() {
        let cutting = Cutting::default();
        let tree = TreeHash(Hash::of(b"tree"));
        let first = Turn::take(&cutting, tree);
        let second = Turn::take(&cutting, tree);
        assert!(Arc::ptr_eq(&first.one, &second.one));
        drop(first);
        assert_eq!(lock(&cutting).len(), 1);
        drop(second);
        assert!(lock(&cutting).is_empty());
    }
}
