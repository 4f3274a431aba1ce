//! The engine's words: the states of a job, events that go in and commands that come out.

use std::fmt;

use crate::dense;

dense::id! {
    /// A job of one [`Engine`](super::Engine), which alone gives ids away: in the order in which it was
    /// asked for them, so that smaller ones are older.
    pub struct JobId
}

dense::id! {
    /// A host of one run, numbered from 0 by whoever knows the hosts: the executor.
    pub struct HostId
}

impl HostId {
    /// The host of that number. Numbers are to have no gaps: a table is kept by them.
    pub fn nth(number: usize) -> Self {
        dense::Id::at(number)
    }

    /// Its number.
    pub fn number(self) -> usize {
        dense::Id::index(self)
    }
}

dense::id! {
    /// What hosts a job can run on, as one [`Engine`](super::Engine) numbers it.
    pub struct KindId
}

dense::id! {
    /// A path: jobs of which at most one runs at a time, over all schedulers that share its lock.
    pub struct PathId
}

/// What a run waits for when nothing else is left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Patience {
    /// Whether to wait until others give back what they have locked.
    pub locks: bool,
    /// Whether to wait until somebody removes the locks of what ended badly.
    pub errors: bool,
}

dense::id! {
    /// A gate, through which a number of jobs may run at a time, on whatever hosts: those of one tag, or those that
    /// fetch from one site.
    pub struct GateId
}

dense::id! {
    /// The jobs that ask for the same, and wait in one queue.
    pub struct ClassId
}

/// How many slots of its host a job has while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slots {
    /// None: a host runs 16 of such jobs beside the others.
    None,
    /// So many of one host; all, of a host that has fewer. 0 counts as 1.
    UpTo(usize),
    /// All of one host: no other job that has a slot runs there meanwhile.
    All,
}

impl Slots {
    /// Whether one slot may not be enough.
    pub fn are_several(self) -> bool {
        !matches!(self, Slots::None | Slots::UpTo(0 | 1))
    }
}

/// What a job asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ask {
    /// What hosts it can run on.
    pub kind: KindId,
    /// How many slots of its host it has.
    pub slots: Slots,
    /// The gate that it goes through.
    pub gate: Option<GateId>,
}

impl From<KindId> for Ask {
    /// One slot of any host that can run it.
    fn from(kind: KindId) -> Self {
        Ask {
            kind,
            slots: Slots::UpTo(1),
            gate: None,
        }
    }
}

/// A job that was started. What is told of it names all three: the answer of a host that was given up
/// is told apart from that of the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// The job.
    pub job: JobId,
    /// Where it runs.
    pub host: HostId,
    /// Which start of the job this is, counted from 1.
    pub start: u32,
}

/// What a host can do.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// How many slots it has, and runs jobs in at a time; 0 counts as 1.
    pub slots: usize,
    /// What it can run.
    pub kinds: Vec<KindId>,
    /// How fast it is: a job of S seconds takes it S / speed. What is not a number above 0 counts as 1.
    pub speed: f64,
}

/// What may be done with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostState {
    /// It is to come, and was not there yet.
    Named,
    /// Jobs start on it.
    Up,
    /// Nothing more starts on it; what runs there may end.
    Stopped,
    /// It is not there.
    Down,
}

/// Where a job is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum JobState {
    /// Another job needs it, and it is not listed yet.
    Named,
    /// Listed, and may turn out to need more: it does not start.
    Open,
    /// All that it needs is known, and some of it is not usable yet.
    ToBuild,
    /// All that it needs is usable; it waits for a host.
    Queued,
    /// All that it needs is usable; another job of its path runs.
    Aside,
    /// All that it needs is usable; another scheduler holds the lock of its path.
    Locked,
    /// Handed to an executor, which has not reported back.
    Running,
    /// Its tree is there, built or found in the store.
    Usable,
    /// Its build ended badly.
    Failed,
    /// Cannot be built: something it needs failed.
    Skipped,
    /// Cannot be built as it was listed; a [`Flaw`] says why.
    Broken,
}

impl JobState {
    /// All states.
    pub(super) const ALL: [JobState; 11] = {
        use JobState::*;
        [
            Named, Open, ToBuild, Queued, Aside, Locked, Running, Usable, Failed, Skipped, Broken,
        ]
    };

    /// Whether a job in this state may go over to `next`. What this list lacks cannot happen.
    pub fn may_become(self, next: JobState) -> bool {
        use JobState::*;
        match self {
            // It is listed.
            Named => matches!(next, Open | ToBuild),
            // It is closed; or something that it needs failed; or it has a flaw.
            Open => matches!(next, ToBuild | Skipped | Broken),
            ToBuild => matches!(next, Queued | Aside | Skipped | Broken),
            // It starts; or another job of its path does; or there is no host for it.
            Queued => matches!(next, Running | Aside | Broken),
            // The other job of its path ended.
            Aside => matches!(next, Queued),
            // The lock is gone.
            Locked => matches!(next, Queued | Aside),
            // It ended; or its host was lost; or it needs more than was known; or its path is locked; or it is put off.
            Running => matches!(
                next,
                Usable | Failed | Queued | ToBuild | Broken | Locked | Skipped
            ),
            // Its lock is gone.
            Failed => matches!(next, Queued | Aside),
            // What it needs may be built again.
            Skipped => matches!(next, ToBuild | Open),
            Usable | Broken => false,
        }
    }

    /// Whether a job stays in this state, unless a lock is removed.
    pub fn is_final(self) -> bool {
        use JobState::*;
        matches!(self, Usable | Failed | Skipped | Broken)
    }

    /// Whether a job in this state cannot be part of a circle, or only of one that is known.
    pub(super) fn is_out_of_circles(self) -> bool {
        use JobState::*;
        // For all but the last: everything that it needs is usable.
        matches!(
            self,
            Queued | Aside | Locked | Running | Usable | Failed | Broken
        )
    }
}

/// What makes a job impossible as it was listed. `T` is what jobs are called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw<T = JobId> {
    /// It needs itself: each of these needs the next, and the last one the first. All of them are
    /// broken.
    Circle(Vec<T>),
    /// It needs these, which nobody listed.
    NeverListed(Vec<T>),
    /// It is still open, and nothing is left that could close it.
    NeverClosed,
    /// It ran, and asked for what it had.
    NothingNew,
    /// None of the hosts, up or not, can run it.
    NoHost,
}

impl<T> Flaw<T> {
    /// The same flaw with other names for jobs.
    pub fn map<U>(self, name: impl FnMut(T) -> U) -> Flaw<U> {
        match self {
            Flaw::Circle(jobs) => Flaw::Circle(jobs.into_iter().map(name).collect()),
            Flaw::NeverListed(jobs) => Flaw::NeverListed(jobs.into_iter().map(name).collect()),
            Flaw::NeverClosed => Flaw::NeverClosed,
            Flaw::NothingNew => Flaw::NothingNew,
            Flaw::NoHost => Flaw::NoHost,
        }
    }
}

impl<T: fmt::Display> fmt::Display for Flaw<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::Circle(jobs) => {
                f.write_str("it needs itself: ")?;
                for job in jobs {
                    write!(f, "{job} needs ")?;
                }
                match jobs.first() {
                    Some(first) => write!(f, "{first}"),
                    None => Ok(()),
                }
            }
            Flaw::NeverListed(jobs) => {
                f.write_str("it needs ")?;
                for (at, job) in jobs.iter().enumerate() {
                    write!(f, "{}{job}", if at == 0 { "" } else { ", " })?;
                }
                f.write_str(match jobs.len() {
                    1 => ", which does not exist",
                    _ => ", which do not exist",
                })
            }
            Flaw::NeverClosed => f.write_str("what it consists of never became known"),
            Flaw::NothingNew => f.write_str("it asked for more inputs, and has them all"),
            Flaw::NoHost => f.write_str("none of the hosts can run it"),
        }
    }
}

/// A job as it is listed.
#[derive(Clone, Debug, PartialEq)]
pub struct NewJob {
    /// Which one.
    pub job: JobId,
    /// The jobs whose trees it needs, listed or not.
    pub needs: Vec<JobId>,
    /// Seconds its last build took, where that is known.
    pub seconds: Option<f64>,
    /// Whether it may turn out to need more.
    pub open: bool,
    /// What it asks for.
    pub ask: Ask,
}

/// Something that happened.
///
/// What comes of the end of a job (more jobs, a job closed) is to be told before the end itself: once
/// nothing runs and nobody lists any more, open jobs count as forgotten.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineEvent {
    /// Jobs are known, all of them at once. A job that is listed already stays as it was.
    Listed(Vec<NewJob>),
    /// An open job needs these as well.
    Gained {
        /// The open job.
        job: JobId,
        /// What else it needs, listed or not.
        needs: Vec<JobId>,
    },
    /// Nothing more is to come for an open job.
    Closed(JobId),
    /// The walk that lists jobs has ended. From now on only open and finished jobs bring more.
    WalkEnded,
    /// A running job's tree is in the store.
    Succeeded(Run),
    /// A running job's build failed.
    Failed(Run),
    /// A running job ended, and needs these as well before it can be built.
    Refined {
        /// The job.
        run: Run,
        /// What it needs beside what it had.
        needs: Vec<JobId>,
    },
    /// A running job ended well, and what came of it is not what others are to use: nothing comes of these in this run.
    PutOff(Run),
    /// A running job got lost: it is to run again.
    Lost(Run),
    /// A job that was to start did not, for a lock stands in its way.
    LockFound {
        /// The job.
        run: Run,
        /// Whether that lock tells of a job that ended badly: then this counts as having failed.
        ended: bool,
    },
    /// The locks are gone that kept these jobs from starting, or that they left when they failed: they may run
    /// again.
    LockGone(Vec<JobId>),
    /// Start nothing for now, or go on.
    Held(bool),
    /// A host is to come. Of one that is known already, this is what it offers from now on.
    HostNamed {
        /// The host.
        host: HostId,
        /// What it can do.
        offer: Offer,
    },
    /// A host is there, for the first time or again, and jobs may start on it.
    HostUp {
        /// The host.
        host: HostId,
        /// What it can do.
        offer: Offer,
    },
    /// A host is there, and nothing is to start on it.
    HostBarred {
        /// The host.
        host: HostId,
        /// What it can do.
        offer: Offer,
    },
    /// A host is to start nothing more; what runs there may end. One that is not up stays as it is.
    HostStopped(HostId),
    /// A host is lost, and what ran there is to run again.
    HostDown(HostId),
    /// A host can run jobs of a kind that was not known when it was named.
    Offered {
        /// The host.
        host: HostId,
        /// The kind.
        kind: KindId,
    },
    /// On this host a job would be done sooner by so many seconds than elsewhere: it holds what the job needs, which
    /// would have to travel. To be told before the job can start; the last word counts.
    Near {
        /// The job.
        job: JobId,
        /// The host.
        host: HostId,
        /// Seconds that are saved there. What is not a number above 0 counts as nothing.
        seconds: f64,
    },
    /// It is so many seconds since the run began. The engine has no other clock: whatever follows counts as
    /// happening then. Time that goes back stands still.
    Tick(f64),
    /// Start nothing any more; what runs may end.
    Stop,
}

/// Something the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start this job on this host; answer with `Succeeded`, `Failed`, `Refined` or `Lost`.
    Start(Run),
    /// Tell the user that this job cannot be built because `cause` cannot.
    Skip {
        /// The job that will not be built.
        job: JobId,
        /// The failed or broken job it needs, directly or not.
        cause: JobId,
    },
    /// Tell the user that this job cannot be built as it was listed. For a circle this is told once,
    /// of the job that closed it. It may be told of a job that was skipped before.
    Refuse {
        /// The job.
        job: JobId,
        /// Why.
        flaw: Flaw,
    },
    /// Tell the user that a job could start on a free host and does not, which is an error in the engine.
    /// It has stopped.
    Confess {
        /// One of the jobs.
        job: JobId,
        /// The host.
        host: HostId,
    },
}

/// Why a job has not started. The code that starts jobs answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Another job needs it, and nobody has listed it yet.
    Unlisted,
    /// It is open: it may turn out to need more.
    Open,
    /// It needs these, which are not usable yet.
    Needs(Vec<JobId>),
    /// This other job of its path runs.
    Path(JobId),
    /// Another scheduler holds the lock of its path.
    Lock,
    /// Nothing starts any more, or for now.
    RunStopped,
    /// None of the hosts can run it.
    NoHost,
    /// Hosts that can run it are there, but none of them is up.
    NoneUp(Vec<HostId>),
    /// These can run it, and have no free slot.
    Full(Vec<HostId>),
    /// Its gate is closed: these run with the same tag, or fetch from the same site.
    Gate(GateId, Vec<JobId>),
    /// It needs several slots of one host, and none of those that can run it has as many free. If a host is named,
    /// nothing else starts there until it has.
    Wide(Option<HostId>),
    /// These can run it and have a free slot, which is kept for a job that needs several.
    Kept(Vec<HostId>),
    /// A slower host is free, but this one is expected to end it earlier, though it runs something else
    /// yet.
    HeldFor(HostId),
    /// Another host is free, but this one holds what it needs, and to wait for it takes less time than the inputs would
    /// need to travel.
    Near(HostId),
    /// Jobs that are more urgent are passed over as well, for one of those reasons.
    Order,
}
