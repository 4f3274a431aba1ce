//! A run over ports that begins while their tree is walked: each port is listed as soon as all that it needs is.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use mstore_store::{Store, TreeHash};

use super::books::{Found as Told, Telling, sizer};
use super::{Outcome, Report, Run, Seconds, Work, provide, remember};
use crate::build::failed;
use crate::build::host;
use crate::build::pause::Stopwatch;
use crate::build::userns::{Entered, UsernsError};
use crate::drv::derivation::{Derivation, InputSource};
use crate::drv::facts::TreePart;
use crate::drv::{
    DrvHash, Facts, FactsError, Key, Lineage, Resolved, StepName, StoreFacts, Trees as _,
};
use crate::plan::More as _;
use crate::plan::{NodeId, Pins, TargetId};
use crate::ports::pkgpath::{Flavors, MAIN, PortPath};
use crate::ports::scripts::Part;
use crate::ports::walk::STACK;
use crate::ports::{Base, Chain, Counts, Ignored, Job, PkgPath, PortsTree, Reason, Walk, Walked};
use crate::project::events::{Event, Steps};
use crate::project::{Blocked, Project, ProjectError};
use crate::schedule::driver::{self, Decision, Planner, Verdict};
use crate::schedule::growth::{Feed, Growth, Listing, feed};
use crate::schedule::realise::{self as run_steps, Failed, Tools};
use crate::schedule::{Demand, Ledger, Place, ScheduleError};
use crate::share::fetch::{self as outside_fetch, Outside};

/// What came of a run over ports.
#[derive(Debug)]
pub struct PortsReport {
    /// The ports that were built, or tried.
    pub report: Report,
    /// The ports that were not, because they cannot be.
    pub ignored: Vec<Ignored>,
}

/// A port that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedPort {
    /// Which.
    pub pkgpath: PkgPath,
    /// Whether it is to be tested too.
    pub tested: bool,
}

/// Jobs that the walk looked at, whether there is something to do for them or not.
#[derive(Debug, Default)]
struct Looked(Mutex<HashMap<DrvHash, LookedAt>>);

#[derive(Clone, Debug)]
struct LookedAt {
    derivation: Derivation,
    /// Its result, where that was found out.
    tree: Option<TreeHash>,
}

impl Looked {
    fn lock(&self) -> MutexGuard<'_, HashMap<DrvHash, LookedAt>> {
        // Only whole entries are put in.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, job: &Job, tree: Option<TreeHash>) {
        let derivation = job.derivation.clone();
        self.lock().insert(job.hash, LookedAt { derivation, tree });
    }

    fn at(&self, hash: DrvHash) -> Option<LookedAt> {
        self.lock().get(&hash).cloned()
    }
}

/// A job of a port, as the run knows it.
#[derive(Clone, Debug)]
pub struct PortJob {
    job: Arc<Job>,
    /// What others are that it uses and that nothing is to be done for.
    known: Arc<HashMap<DrvHash, TreeHash>>,
    /// The packages that come of its port.
    packages: Arc<[String]>,
}

impl PartialEq for PortJob {
    fn eq(&self, other: &Self) -> bool {
        self.job.hash == other.job.hash
    }
}

impl Eq for PortJob {}

impl Hash for PortJob {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Hash::hash(&self.job.hash, state);
    }
}

/// Brings ports up to date while the tree is walked, the most needed of the last time first. Failed steps and ports
/// that cannot be built are part of the report; an error means that the run could not begin or that its result could
/// not be written down.
pub fn realise_ports(
    project: &mut Project,
    tree: &PortsTree,
    wanted: &[WantedPort],
    run: &Run<'_>,
    mut entered: Result<Entered, UsernsError>,
) -> Result<PortsReport, ProjectError> {
    let clock = Stopwatch::start();
    let ids = |wanted: &mut dyn Iterator<Item = &WantedPort>| -> Vec<TargetId> {
        wanted
            .map(|port| TargetId::of_port(port.pkgpath.to_string()))
            .collect()
    };
    let recipes = project.recipes(&ids(&mut wanted.iter()))?;
    if !recipes.needs(&project.lock).is_empty() {
        entered = Ok(provide(project, &recipes, run, entered)?);
    }
    project.must_write(|| Blocked::Build { steps: Vec::new() })?;
    entered?;
    let base = tree.base_of(&project.lock, Pins::Required)?;
    bring_base(project, tree, &base, run)?;
    project.keep_pins()?;
    let walked = drive(project, tree, base, wanted, run)?;
    let refused: HashSet<String> = walked
        .ignored
        .iter()
        .map(|ignored| ignored.pkgpath.clone())
        .collect();
    let good = |port: &&WantedPort| {
        let whole = PkgPath {
            subpackage: None,
            ..port.pkgpath.clone()
        };
        !refused.contains(&whole.to_string())
    };
    let recipes = project.recipes(&ids(&mut wanted.iter().filter(good)))?;
    let facts = run.facts(project, false);
    let graph = super::plan(project, &recipes, &facts, run)?;
    let work = Work::of(&graph, &facts, None)?;
    let nodes: HashMap<DrvHash, NodeId> = graph
        .nodes()
        .iter()
        .map(|(id, node)| (node.hash, id))
        .collect();
    let same = walked.outcome.built.iter().filter(|port| {
        let before = walked.before.get(&port.job.name);
        let now = nodes
            .get(&port.job.hash)
            .and_then(|node| work.staleness.state(*node).tree());
        before.is_some_and(|tree| Some(*tree) == now)
    });
    let same = same.count();
    let idle = walked.outcome.built.is_empty() && walked.outcome.failed.is_empty();
    let spared = walked.outcome.reused.len();
    let outcome = told(walked.outcome, &nodes);
    let mut report = remember(project, &work, &facts, (outcome, same), clock)?;
    report.idle &= idle;
    report.spared = spared;
    if let Some(key) = run.sign
        && !report.outcome.built.is_empty()
        && !report.broke_off()
    {
        project.sign(&recipes, Pins::Required, key)?;
    }
    Ok(PortsReport {
        report,
        ignored: walked.ignored,
    })
}

/// Brings the root that ports are built in, where the lock file says where it is to be had.
fn bring_base(
    project: &Project,
    tree: &PortsTree,
    base: &Base,
    run: &Run<'_>,
) -> Result<(), ProjectError> {
    let Base::Tree(hash) = base else {
        return Ok(());
    };
    let (kind, name) = (crate::plan::PinKind::Seed, &tree.settings().base);
    if project.store.has_tree(*hash)? {
        return Ok(());
    }
    if project.can_bring_back(kind, name) {
        project.bring_back(kind, name, &run.bring())?;
        return Ok(());
    }
    Err(crate::plan::PlanError::AbsentPin {
        kind,
        name: name.clone(),
        host: tree.settings().from_host,
        tree: *hash,
        target: Box::new(TargetId::of_port(tree.folder().display().to_string())),
    }
    .into())
}

/// How the run ended, with the names that a front end shows.
fn told(done: driver::Outcome<PortJob>, nodes: &HashMap<DrvHash, NodeId>) -> Outcome {
    let name = |port: PortJob| port.job.name.clone();
    Outcome {
        built: done
            .built
            .iter()
            .filter_map(|port| nodes.get(&port.job.hash).copied())
            .collect(),
        failed: done
            .failed
            .into_iter()
            .map(|(port, failure)| Failed {
                name: name(port),
                is_refusal: false,
                failure,
            })
            .collect(),
        skipped: done
            .skipped
            .into_iter()
            .map(|port| name(port).to_string())
            .collect(),
        refused: done
            .refused
            .into_iter()
            .map(|(port, flaw)| (name(port), flaw.map(name)))
            .collect(),
        infrastructure: done
            .infrastructure
            .map(|(port, error)| (port.map(name), error)),
        cancelled: done.cancelled,
        stopped: done.stopped,
        locked: done
            .locked
            .into_iter()
            .map(|port| name(port).to_string())
            .collect(),
        put_by: done.put_by.into_iter().map(name).collect(),
        // Nobody looks whether ports are.
        put_off: Vec::new(),
        changed: done
            .changed
            .into_iter()
            .map(|port| name(port).to_string())
            .collect(),
    }
}

/// What came of the walk and of the run.
struct Done {
    outcome: driver::Outcome<PortJob>,
    ignored: Vec<Ignored>,
    /// The trees of the last builds of what was listed.
    before: HashMap<StepName, TreeHash>,
}

/// Walks and builds at the same time.
fn drive(
    project: &Project,
    tree: &PortsTree,
    base: Base,
    wanted: &[WantedPort],
    run: &Run<'_>,
) -> Result<Done, ProjectError> {
    let token = run.token()?;
    if run.read_inputs {
        project.store.read_inputs();
    }
    run.events.event(Event::WalkStarted {
        ports: wanted.len(),
    });
    let outside = Outside::new(&project.store, run.outside);
    outside_fetch::prune(&project.store);
    let fetch = |_: TreeHash| false;
    let tools = Tools {
        builder: &run.builder(project, &outside, &token),
        facts: &project.facts,
        fetch: &fetch,
        seconds: &|_| None,
        cancel: run.cancel,
        leave: run.leave,
        unchanged: &|_| true,
        settled: &|_, _, _| Ok(true),
        unattended: &|error| run.events.event(Event::Unattended(error)),
        site: match (run.site, run.farm) {
            (Some(site), _) => site,
            (None, Some(farm)) => farm,
            (None, None) => &run_steps::Here(run.jobs),
        },
    };
    let options = run_steps::Options {
        keep_going: run.keep_going,
        random: run.random,
        a_site: run.outside.a_site.get().into(),
    };
    let (feed, intake) = feed();
    let mut lister = Lister::new(project);
    lister.looked = tools.site.asks_lineage().then(Arc::default);
    if let Some(books) = run.books {
        lister.seconds = Some(&*books.seconds);
        lister.first.clone_from(&books.first);
    }
    let counts = counts(project);
    let mut planner = PortJobs {
        facts: &project.facts,
        trees: HashMap::new(),
        again: run.books.map(|_| Again { project, tree }),
        clean: run
            .books
            .filter(|books| books.clean)
            .map(|_| &project.store),
        looked: lister.looked.clone(),
    };
    if let Some(books) = run.books.filter(|books| books.writes_sizes) {
        let sizes = sizer(&project.store, HashMap::new());
        books.desk.borrow_mut().write_sizes(sizes);
    }
    let found = Mutex::default();
    let mut desk = run.books.map(|books| books.desk.borrow_mut());
    let mut telling = desk.as_mut().map(|desk| Telling {
        desk,
        found: &found,
    });
    let kept = run.books.zip(telling.as_mut());
    let kept = kept.map(|(books, telling)| (telling as &mut dyn Ledger, books.patience));
    let counts_of = &counts;
    let (mut outcome, walked) = thread::scope(|scope| {
        let found = run.books.map(|_| &found);
        let walker = thread::Builder::new()
            .stack_size(STACK)
            .spawn_scoped(scope, move || {
                lister.walk(tree, base, wanted, counts_of, feed, found)
            });
        let outcome = run_steps::drive(
            &tools,
            &mut planner,
            intake,
            options,
            &mut Steps(run.events),
            kept,
        );
        (outcome, walker.map(thread::ScopedJoinHandle::join))
    });
    if let Some(telling) = &mut telling
        && let Err(error) = telling.tell()
    {
        let error = (None, ScheduleError::Ledger(error));
        outcome.infrastructure.get_or_insert(error);
    }
    drop(desk);
    run.events.event(Event::BuildEnded);
    let Found {
        ignored,
        before,
        chains,
    } = match walked.map_err(|e| ProjectError::io("start a walk over", tree.folder(), e))? {
        Ok(walked) => walked?,
        Err(panic) => std::panic::resume_unwind(panic),
    };
    if wanted.len() > 1 {
        keep_counts(project, &counts, &chains);
    }
    Ok(Done {
        outcome,
        ignored,
        before,
    })
}

/// Where the counts of the last walk lie, below the store's folder.
const COUNTS: &str = "ports-needed";
/// Longest file of counts that is read, in bytes.
const MOST_COUNTS: u64 = 16 << 20;

/// How many ports needed each port in the last walk; nothing where that cannot be read.
pub fn counts(project: &Project) -> Counts {
    use std::io::Read as _;
    let mut text = String::new();
    let path = project.store.path().join(COUNTS);
    let file = project.store.inside().read(&path);
    match file.and_then(|file| file.take(MOST_COUNTS).read_to_string(&mut text)) {
        Ok(_) => Counts::parse(&text),
        Err(_) => Counts::default(),
    }
}

/// Remembers the counts of a walk over several ports. It only decides an order, so failing to is no error.
fn keep_counts(project: &Project, before: &Counts, chains: &[Arc<Chain>]) {
    use std::io::Write as _;
    let now = Counts::of(chains.iter().map(|chain| &**chain));
    if now == *before || project.store.is_read_only() {
        return;
    }
    let inside = project.store.inside();
    let path = project.store.path().join(COUNTS);
    let new = project.store.path().join(format!("{COUNTS}.new"));
    let written = inside.write(&new, mstore_store::Write::Over, 0o600);
    let written = written.and_then(|mut file| file.write_all(now.render().as_bytes()));
    let _ = written.and_then(|()| inside.rename(&new, &path));
}

/// What a walk leaves.
struct Found {
    ignored: Vec<Ignored>,
    before: HashMap<StepName, TreeHash>,
    chains: Vec<Arc<Chain>>,
}

/// Lists what is to be done for ports, as they are walked over.
struct Lister<'a> {
    /// What an earlier log tells of durations.
    seconds: Option<&'a Seconds>,
    /// Ports that are walked first.
    first: Vec<String>,
    facts: StoreFacts,
    store: Store,
    /// What the result of a job is, where it was found out.
    known: HashMap<DrvHash, TreeHash>,
    /// Jobs whose result is here.
    present: HashSet<DrvHash>,
    listed: HashSet<DrvHash>,
    /// The first job of each shape, and the number of each shape: jobs of one shape have the same result.
    shapes: HashMap<mstore_store::Hash, (usize, DrvHash)>,
    numbers: HashMap<DrvHash, usize>,
    before: HashMap<StepName, TreeHash>,
    /// All of it, where the run asks what trees lie on.
    looked: Option<Arc<Looked>>,
}

impl Lister<'_> {
    fn new(project: &Project) -> Self {
        Lister {
            seconds: None,
            first: Vec::new(),
            facts: project.facts.clone(),
            store: project.store.clone(),
            known: HashMap::new(),
            present: HashSet::new(),
            listed: HashSet::new(),
            shapes: HashMap::new(),
            numbers: HashMap::new(),
            before: HashMap::new(),
            looked: None,
        }
    }

    fn walk(
        mut self,
        tree: &PortsTree,
        base: Base,
        wanted: &[WantedPort],
        counts: &Counts,
        feed: Feed<PortJob>,
        found: Option<&Mutex<Vec<Told>>>,
    ) -> Result<Found, ProjectError> {
        let mut pkgpaths: Vec<PkgPath> = wanted.iter().map(|port| port.pkgpath.clone()).collect();
        counts.sort(&mut pkgpaths);
        let rank: HashMap<String, usize> = self.first.drain(..).zip(0..).collect();
        pkgpaths.sort_by_key(|path| rank.get(&path.to_string()).copied().unwrap_or(usize::MAX));
        let tell = |told: Told| {
            if let Some(found) = found {
                let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                found.push(told);
            }
        };
        let (mut ignored, mut chains, mut failed) = (Vec::new(), Vec::new(), None);
        let mut needed: BTreeMap<String, usize> = BTreeMap::new();
        let asked = wanted
            .iter()
            .map(|port| (&port.pkgpath.path, &port.pkgpath.flavors));
        let asked: HashSet<(&PortPath, &Flavors)> = asked.collect();
        let mut walk = Walk::new(tree, base);
        let mut see = |walked: Walked| {
            let chain = match walked {
                Walked::Chain(chain) => chain,
                Walked::Ignored(port) => {
                    let because = match &port.reason {
                        Reason::Needs { pkgpath, .. } => Some(pkgpath.clone()),
                        _ => None,
                    };
                    let why = port.reason.to_string();
                    tell(Told::Ignored(port.pkgpath.clone(), why, because));
                    ignored.push(port);
                    return ControlFlow::Continue(());
                }
            };
            if let Some(parent) = found_through(&chain, &asked) {
                tell(Told::Parent(chain.port.id.to_string(), parent));
            }
            for need in &chain.needs {
                *needed.entry(need.clone()).or_default() += 1;
            }
            let listed = self.list(&chain, false);
            let folder = chain.port.spec.parent();
            let folder = folder.map(|folder| folder.display().to_string());
            tell(Told::Folder(folder.unwrap_or_default()));
            if listed.as_ref().is_ok_and(Vec::is_empty) {
                tell(Told::Known(chain.port.id.to_string()));
            }
            chains.push(chain);
            match listed {
                Ok(list) => send(&feed, list),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let _ = walk.walk(&pkgpaths, &mut see);
        tell(Told::Counts(needed.into_iter().collect()));
        // Tests are told of last: nobody waits for them.
        for port in wanted.iter().filter(|port| port.tested) {
            let Some(Ok(chain)) = walk.of(&port.pkgpath) else {
                continue;
            };
            match self.list(chain, true) {
                Ok(list) => {
                    if send(&feed, list).is_break() {
                        break;
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            Some(error) => Err(crate::plan::WalkError::from(error).into()),
            None => Ok(Found {
                ignored,
                before: self.before,
                chains,
            }),
        }
    }

    /// The jobs of a port that there is something to do for, or may be: each is needed by one that there is, or its
    /// result is wanted and not here. With `test` those of its test.
    fn list(&mut self, chain: &Chain, test: bool) -> Result<Vec<Listing<PortJob>>, FactsError> {
        let jobs: Vec<&Job> = match test {
            true => chain.test.iter().collect(),
            false => chain.jobs.iter().collect(),
        };
        for job in &jobs {
            self.look_up(job)?;
            if let Some(looked) = &self.looked {
                looked.note(job, self.known.get(&job.hash).copied());
            }
        }
        let mut needed: HashSet<DrvHash> = HashSet::new();
        if let Some(last) = jobs.last() {
            let there = match test {
                // What a test hands on is the root that it ran in, which nobody wants.
                true => self.known.contains_key(&last.hash),
                false => self.parts_are_here(chain)?,
            };
            if !there {
                needed.insert(last.hash);
            }
        }
        let mut list = Vec::new();
        for job in jobs.iter().rev() {
            if !needed.contains(&job.hash) || !self.listed.insert(job.hash) {
                continue;
            }
            let needs = job.needs();
            needed.extend(needs.iter().filter(|need| !self.present.contains(*need)));
            list.push(*job);
        }
        list.reverse();
        let packages: Arc<[String]> = packages(chain).into();
        let listings = list.into_iter().map(|job| self.listing(job, &packages));
        Ok(listings.collect())
    }

    fn listing(&mut self, job: &Job, packages: &Arc<[String]>) -> Listing<PortJob> {
        let last = self
            .store
            .newest_realisation(job.name.as_str())
            .ok()
            .flatten();
        if let Some(last) = &last {
            self.before.insert(job.name.clone(), last.tree);
        }
        let told = self
            .seconds
            .and_then(|told| told(job.name.target(), job.task.dpb()));
        let mut needs = job.needs();
        let known = needs
            .iter()
            .filter_map(|hash| Some((*hash, *self.known.get(hash)?)));
        let known: HashMap<DrvHash, TreeHash> = known.collect();
        // What one builds its twin finds.
        needs.extend(self.twin(job));
        let node = |job: &Job, known: HashMap<DrvHash, TreeHash>| PortJob {
            job: Arc::new(job.clone()),
            known: Arc::new(known),
            packages: packages.clone(),
        };
        let need = |hash: &DrvHash| {
            // Equal by their hash alone.
            let job = Job {
                hash: *hash,
                ..job.clone()
            };
            node(&job, HashMap::new())
        };
        Listing {
            needs: needs
                .iter()
                .filter(|hash| self.listed.contains(*hash))
                .map(need)
                .collect(),
            node: node(job, known),
            seconds: told.or(last.map(|last| last.seconds)),
            open: false,
            demand: Demand::of(&job.derivation),
        }
    }

    /// The first job that is the same but for names, if that is another one.
    fn twin(&mut self, job: &Job) -> Option<DrvHash> {
        let shape = job.derivation.shape(|input| {
            let input = job.derivation.inputs.get(input)?;
            match &input.source {
                InputSource::Derivation { hash, .. } => self.numbers.get(hash).copied(),
                _ => None,
            }
        });
        let next = self.shapes.len();
        let (number, first) = *self.shapes.entry(shape).or_insert((next, job.hash));
        self.numbers.insert(job.hash, number);
        (first != job.hash).then_some(first)
    }

    /// Finds out what the result of a job is, if that can be told by now.
    fn look_up(&mut self, job: &Job) -> Result<(), FactsError> {
        if self.known.contains_key(&job.hash) {
            return Ok(());
        }
        let Some(trees) = trees_of(&job.derivation, &self.facts, |hash| {
            self.known.get(&hash).copied()
        })?
        else {
            return Ok(());
        };
        let Some(key) = key_of(job, &trees) else {
            return Ok(());
        };
        if let Some(found) = self.facts.realised(key)? {
            self.known.insert(job.hash, found.tree);
            if found.present {
                self.present.insert(job.hash);
            }
        }
        Ok(())
    }

    /// Whether everything is here that others can be built on, or that was asked for.
    fn parts_are_here(&self, chain: &Chain) -> Result<bool, FactsError> {
        let package = chain.package();
        let Some(tree) = self.known.get(&package.hash) else {
            return Ok(false);
        };
        for sub in &chain.port.subpackages {
            for part in [Part::Image, Part::View] {
                match self.facts.subtree(*tree, &part.folder(&sub.name))? {
                    TreePart::Tree(part) if self.facts.present(part)? => {}
                    _ => return Ok(false),
                }
            }
        }
        Ok(true)
    }
}

fn send(feed: &Feed<PortJob>, list: Vec<Listing<PortJob>>) -> ControlFlow<()> {
    match list.is_empty() || feed.send(Growth::Listed(list)).is_ok() {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    }
}

/// The trees of the inputs of a job, where all can be told; `result` says what another job's is.
fn trees_of(
    derivation: &Derivation,
    facts: &dyn Facts,
    result: impl Fn(DrvHash) -> Option<TreeHash>,
) -> Result<Option<Vec<TreeHash>>, FactsError> {
    let mut trees = Vec::with_capacity(derivation.inputs.len());
    for input in &derivation.inputs {
        let tree = match &input.source {
            InputSource::Tree(tree) => Some(*tree),
            InputSource::Unpinned(_) => None,
            InputSource::Derivation { hash, path } => match result(*hash) {
                None => None,
                Some(tree) => match facts.subtree(tree, path)? {
                    TreePart::Tree(part) => Some(part),
                    TreePart::NoSuchPath(_) | TreePart::Absent => None,
                },
            },
        };
        match tree {
            Some(tree) => trees.push(tree),
            None => return Ok(None),
        }
    }
    Ok(Some(trees))
}

fn key_of(job: &Job, trees: &[TreeHash]) -> Option<Key> {
    // There is one tree for each input.
    job.derivation.key(trees).ok()
}

/// The pkgpath of the port through which the walk came to one that was not asked for.
fn found_through(chain: &Chain, asked: &HashSet<(&PortPath, &Flavors)>) -> Option<String> {
    let parent = chain.parent.as_ref()?;
    let id = &chain.port.id;
    let flavors = Flavors::These(id.flavors.clone());
    let is_asked = |flavors| asked.contains(&(&id.path, flavors));
    (!is_asked(&flavors) && !is_asked(&Flavors::Default)).then(|| parent.clone())
}

/// The names of the packages of a port: `NAME[-SUBPACKAGE]-VERSION[-FLAVOR...]`.
fn packages(chain: &Chain) -> Vec<String> {
    let (id, version) = (&chain.port.id, &chain.port.version);
    let flavors: String = id
        .flavors
        .iter()
        .map(|flavor| format!("-{flavor}"))
        .collect();
    let subpackages = chain.port.subpackages.iter().map(|sub| {
        let sub = match sub.name.as_str() {
            MAIN => String::new(),
            name => format!("-{name}"),
        };
        format!("{}{sub}-{version}{flavors}", id.path.name())
    });
    subpackages.collect()
}

/// Reads specifications of ports again.
struct Again<'a> {
    project: &'a Project,
    tree: &'a PortsTree,
}

impl Again<'_> {
    /// Whether a job is described as it was. What cannot be read counts as that: it failed, and stays what it is.
    fn is_unchanged(&self, job: &Job) -> bool {
        let read = || -> Option<bool> {
            let pkgpath: PkgPath = job.name.target().parse().ok()?;
            let tree = PortsTree::open(self.tree.folder(), &host::machine()).ok()?;
            tree.use_store(&self.project.store);
            let base = tree.base_of(&self.project.lock, Pins::Required).ok()?;
            let mut walk = Walk::new(&tree, base);
            let _ = walk.walk(std::slice::from_ref(&pkgpath), &mut |_| {
                ControlFlow::Continue(())
            });
            let chain = walk.of(&pkgpath)?.as_ref().ok()?;
            let mut jobs = chain.jobs.iter().chain(&chain.test);
            Some(jobs.any(|other| other.hash == job.hash))
        };
        read().unwrap_or(true)
    }
}

/// What the jobs of ports are, and what follows from their results.
struct PortJobs<'a> {
    facts: &'a dyn Facts,
    trees: HashMap<DrvHash, TreeHash>,
    /// Reads specifications again, where locks are kept.
    again: Option<Again<'a>>,
    /// Where what is left of failed builds is removed first.
    clean: Option<&'a Store>,
    /// What the walk looked at, where the run asks what trees lie on.
    looked: Option<Arc<Looked>>,
}

impl PortJobs<'_> {
    /// A job that the walk looked at, built in this run or before.
    fn made(&self, looked: &Looked, hash: DrvHash) -> Option<Resolved> {
        let job = looked.at(hash)?;
        let tree_of = |hash| {
            let built = self.trees.get(&hash).copied();
            built.or_else(|| looked.at(hash)?.tree)
        };
        let trees = trees_of(&job.derivation, self.facts, tree_of).ok()??;
        job.derivation.resolve(trees).ok()
    }

    fn resolved(&self, port: &PortJob) -> Result<Box<Resolved>, ScheduleError> {
        let result = |hash| {
            self.trees
                .get(&hash)
                .or_else(|| port.known.get(&hash))
                .copied()
        };
        let trees =
            trees_of(&port.job.derivation, self.facts, result)?.ok_or(ScheduleError::Inputs)?;
        let resolved = port.job.derivation.resolve(trees);
        resolved.map(Box::new).map_err(|_| ScheduleError::Inputs)
    }
}

impl Planner for PortJobs<'_> {
    type Node = PortJob;

    fn name(&self, node: &PortJob) -> String {
        node.job.name.to_string()
    }

    fn recorded_as(&self, node: &PortJob) -> String {
        node.job.name.to_string()
    }

    fn listed(&mut self, _: &PortJob) -> Result<(), ScheduleError> {
        Ok(())
    }

    fn trees(&self, node: &PortJob) -> Vec<TreeHash> {
        let resolved = self.resolved(node);
        resolved.map_or_else(|_| Vec::new(), |step| step.trees().to_vec())
    }

    fn lineage(&self, node: &PortJob) -> Lineage {
        match (&self.looked, self.resolved(node)) {
            (Some(looked), Ok(step)) => Lineage::of(&step, &|hash| self.made(looked, hash)),
            _ => Lineage::default(),
        }
    }

    fn decide(&mut self, node: &PortJob) -> Result<Decision, ScheduleError> {
        let resolved = self.resolved(node)?;
        Ok(match self.facts.realised(resolved.key())? {
            Some(found) if found.present => Decision::Reuse(found.tree),
            _ => {
                if let Some(store) = self.clean {
                    // What cannot be removed is in nobody's way.
                    let _ = failed::forget(store, node.job.name.as_str());
                }
                Decision::Build(resolved)
            }
        })
    }

    fn place(&self, node: &PortJob) -> Option<Place> {
        let place = Place::of(&node.job.name)?;
        Some(Place {
            task: node.job.task.dpb().into(),
            ..place
        })
    }

    fn packages(&self, node: &PortJob) -> Vec<String> {
        node.packages.to_vec()
    }

    fn read_again(&mut self, node: &PortJob) -> Result<bool, ScheduleError> {
        let again = self.again.as_ref();
        Ok(again.is_none_or(|again| again.is_unchanged(&node.job)))
    }

    fn usable(
        &mut self,
        node: &PortJob,
        tree: TreeHash,
    ) -> Result<Verdict<PortJob>, ScheduleError> {
        self.trees.insert(node.job.hash, tree);
        Ok(Verdict::default())
    }
}
