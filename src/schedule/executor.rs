//! Executors: who takes a job and gives back a tree, and on which hosts.
//!
//! The driver decides and an executor works. What passes between them can travel: a job is a resolved
//! derivation, or a tree to fetch; what comes back are lines of output while it runs, and once, at the
//! end, a tree with timings or the reason why there is none, which also says who is to blame. An
//! executor that has built something records it in the store of this machine before it says so.
//!
//! An executor keeps no state of the run, and its answer may come from any thread. Trees of its inputs
//! are in the store of this machine; how they get to where they are needed is its own affair.
//!
//! An executor has hosts, which it numbers. It says which there are and what they can do, and whatever
//! happens to them; the engine says what runs where.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use mstore_store::TreeHash;

use super::control::words::{Answer, Question};
use super::engine::{HostId, JobId, Run, Slots};
use super::error::ScheduleError;
use crate::build::error::Failure;
use crate::build::step::Note;
use crate::drv::derivation::{ANY_PLATFORM, Network, Width};
use crate::drv::{Derivation, Lineage, Resolved};

/// Takes jobs, any number at a time: the engine counts the slots.
pub trait Executor {
    /// Says which hosts there are, before anything starts. What happens to them later, also while this is
    /// still running, is told to `desk`. A run ends with an error for jobs that none of the hosts can
    /// run, so hosts that come later are to be named here.
    fn hosts(&self, desk: HostDesk) -> Vec<(HostId, HostNews)>;

    /// Starts a job on a host and returns at once. `report` is told what it prints and, once, how it
    /// ended.
    ///
    /// A job whose host was said to be down may start again while its first start has not ended: the two
    /// differ in their host, or in their report alone.
    fn start(&self, job: Job, host: HostId, report: Report);

    /// The host on which a job that starts from these trees would be done sooner than elsewhere, because it holds of
    /// them what others lack, and by how many seconds. To be quick.
    fn near(&self, trees: &[TreeHash]) -> Option<(HostId, f64)> {
        let _ = trees;
        None
    }

    /// Whether jobs are to come with what their trees lie on.
    fn asks_lineage(&self) -> bool {
        false
    }

    /// Ends a job that was started: its report is to say [`Fault::Cancelled`] soon, if it has not said
    /// something else yet. For any other job nothing happens.
    fn cancel(&self, job: JobId);

    /// Adds the host that a line in the form of a hosts file describes, and gives its number and what is known of it.
    /// What happens to it later is told to `desk`. An error says why there is none.
    fn add(&self, line: &str, desk: HostDesk) -> Result<Vec<(HostId, HostNews)>, String> {
        let _ = (line, desk);
        Err(
            "this run builds on one machine: `mstore realise --hosts FILE` builds on several"
                .to_owned(),
        )
    }
}

/// What a host can do.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// What people call it.
    pub name: String,
    /// How many jobs it runs at a time; 0 counts as 1.
    pub slots: usize,
    /// How fast it is beside others. Jobs are expected to take their seconds divided by this. What is not
    /// a number above 0 counts as 1.
    pub speed: f64,
    /// The platforms that it can run, as derivations name them; all if there is no list.
    pub platforms: Option<BTreeSet<String>>,
    /// Whether it is the machine of the scheduler, with its store and its network.
    pub here: bool,
    /// What else is known of the machine, a line `key=value` each.
    pub about: String,
}

impl Host {
    /// Whether it can run a job of that kind.
    pub fn can_run(&self, kind: &Kind) -> bool {
        let platforms = self.platforms.as_ref();
        let knows = |platforms: &BTreeSet<String>| platforms.contains(&kind.platform);
        (kind.platform == ANY_PLATFORM || platforms.is_none_or(knows)) && (self.here || !kind.here)
    }
}

/// What hosts a job can run on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind {
    /// The platform that it runs on, as derivations name them.
    pub platform: String,
    /// Whether it runs on the machine of the scheduler only.
    pub here: bool,
}

impl Kind {
    /// What a step asks.
    pub fn of(step: &Derivation) -> Self {
        Kind {
            platform: step.platform.clone(),
            here: matches!(step.policy.network, Network::FixedOutput(_)) || step.is_union(),
        }
    }
}

/// What a job asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Demand {
    /// What hosts it can run on.
    pub kind: Kind,
    /// How many places for jobs it has on its host.
    pub slots: Slots,
    /// What it must not run beside, wherever.
    pub gate: Option<Gate>,
}

/// Jobs of which some alone run at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// Those with this tag: one at a time.
    Tag(String),
    /// Those that fetch from this site: as many at a time as the run allows.
    Site(String),
}

impl From<Kind> for Demand {
    /// One place of any host that can run it.
    fn from(kind: Kind) -> Self {
        Demand {
            kind,
            slots: Slots::UpTo(1),
            gate: None,
        }
    }
}

impl Demand {
    /// What a step asks. What is fetched takes no place from what is built.
    pub fn of(step: &Derivation) -> Self {
        let kind = Kind::of(step);
        if let Some((_, origin)) = step.fetched() {
            return Demand {
                kind,
                slots: Slots::None,
                gate: origin.site().map(Gate::Site),
            };
        }
        Demand {
            kind,
            slots: match step.policy.width {
                None => Slots::UpTo(1),
                Some(Width::Slots(slots)) => Slots::UpTo(slots.get().into()),
                Some(Width::Host) => Slots::All,
            },
            gate: step.policy.tag.clone().map(Gate::Tag),
        }
    }
}

/// Something that happened to a host.
#[derive(Clone, Debug, PartialEq)]
pub enum HostNews {
    /// It is to come. Of a host that is known already, this is what it can do from now on.
    Named(Host),
    /// It is there, for the first time or again.
    Up(Host),
    /// Nothing more is to start on it; what runs there goes on.
    Stopped,
    /// It is lost, for this reason. What ran there is run again at once, and what is reported of it later
    /// counts for nothing. To be told before that is reported as lost, else it might start there again.
    Down(String),
}

/// Where executors tell of their hosts, from any thread.
#[derive(Clone)]
pub struct HostDesk(pub(super) Arc<dyn Desk>);

impl HostDesk {
    /// Tells what happened to a host.
    pub fn tell(&self, host: HostId, news: HostNews) {
        self.0.host(host, news);
    }
}

/// Something to do.
#[derive(Clone, Debug)]
pub struct Job {
    /// What it is called between driver and executor.
    pub id: JobId,
    /// What its realisation, log and failures are recorded under.
    pub name: String,
    /// How many places for jobs it has on its host; 0 where it takes none.
    pub slots: usize,
    /// What is to be done.
    pub work: Work,
    /// How urgent it is beside the others, from 0 to 1: the longest chain of jobs that wait for it against the longest of
    /// all.
    pub urgency: f64,
    /// What the trees lie on that it starts from, where the executor asks for that.
    pub lineage: Lineage,
}

/// What is to be done.
#[derive(Clone, Debug)]
pub enum Work {
    /// Build this, and record what came out.
    Build(Box<Resolved>),
    /// Bring the content of this tree into the store from whoever has it.
    Fetch(TreeHash),
}

/// How a job ended.
#[derive(Debug)]
pub struct JobResult {
    /// Wall seconds.
    pub seconds: f64,
    /// What came of it.
    pub end: Result<Product, Fault>,
}

/// What a job produced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Product {
    /// A tree was built; its realisation is recorded.
    Built {
        /// The tree.
        tree: TreeHash,
        /// Entries of it that the build added, changed or removed.
        changed: u64,
    },
    /// Somebody else built it meanwhile, and recorded it in the store of this machine.
    Found {
        /// The tree.
        tree: TreeHash,
    },
    /// The content of the tree is here.
    Fetched,
    /// Nobody could deliver the tree.
    NotFetched,
}

/// Why a job produced nothing, by who is to blame.
#[derive(Debug)]
pub enum Fault {
    /// The build itself failed. It is recorded as a failed attempt.
    Build(Failure),
    /// The machine or the store failed; says nothing about the build.
    Infrastructure(ScheduleError),
    /// The job was lost with the machine that it ran on, for this reason: it may run again, elsewhere
    /// or later.
    Lost(String),
    /// It was told to stop.
    Cancelled,
}

/// Where reports go to.
pub(super) trait Desk: Send + Sync {
    fn line(&self, run: Run, line: &str);
    fn note(&self, run: Run, note: Note);
    fn ended(&self, run: Run, result: JobResult);
    fn host(&self, host: HostId, news: HostNews);
    /// Brings a question from outside. Tells whether anybody is there to answer.
    fn asked(&self, question: Question, reply: SyncSender<Answer>) -> bool;
}

/// How a running job lives, as the driver looks at it now and then: what it printed, and for how long it may print
/// nothing.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    bytes: AtomicU64,
    /// Milliseconds; 0 is no limit.
    silence: AtomicU64,
}

impl Pulse {
    /// Bytes that it printed so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How long it may print nothing.
    pub fn silence(&self) -> Option<Duration> {
        let millis = self.silence.load(Ordering::Relaxed);
        (millis > 0).then(|| Duration::from_millis(millis))
    }
}

/// The way from a job back to the driver. Dropped without a word, it reports that the executor gave no
/// result.
pub struct Report {
    run: Run,
    desk: Arc<dyn Desk>,
    pulse: Arc<Pulse>,
    ended: bool,
}

impl Report {
    pub(super) fn new(run: Run, desk: Arc<dyn Desk>) -> Self {
        Report {
            run,
            desk,
            pulse: Arc::default(),
            ended: false,
        }
    }

    pub(super) fn pulse(&self) -> Arc<Pulse> {
        Arc::clone(&self.pulse)
    }

    /// Reports that the job printed so many bytes, in lines or not.
    pub fn heard(&self, bytes: usize) {
        self.pulse.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Reports how long the job may print nothing before it is ended.
    pub fn silence(&self, most: Option<Duration>) {
        let millis = most.map_or(0, |most| {
            u64::try_from(most.as_millis()).unwrap_or(u64::MAX)
        });
        self.pulse.silence.store(millis, Ordering::Relaxed);
    }

    /// Reports a line of output, without its line break. It may get lost when there are too many.
    pub fn line(&self, line: &str) {
        self.desk.line(self.run, line);
    }

    /// Reports something that people should know.
    pub fn note(&self, note: Note) {
        self.desk.note(self.run, note);
    }

    /// Reports how the job ended.
    pub fn end(mut self, result: JobResult) {
        self.ended = true;
        self.desk.ended(self.run, result);
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if !self.ended {
            let end = Err(Fault::Infrastructure(ScheduleError::NoResult));
            self.desk.ended(self.run, JobResult { seconds: 0.0, end });
        }
    }
}
