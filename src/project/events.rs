//! Events: the things that happen on the way, for whoever shows them to people.

use mstore_store::transfer::Progress;
use mstore_store::{StoreError, TreeHash};

use crate::build::step::Note;
use crate::drv::{StepName, TreeChanges};
use crate::packages::grow::Told;
use crate::plan::PinKind;
use crate::schedule;
use crate::share::substitute::Notice;

/// Something that happened. Nothing in it is needed to go on; results and errors are returned.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Caches are configured and are not asked: no key is trusted here.
    CachesUntrusted,
    /// Something about a cache.
    Cache(Notice<'a>),
    /// A seed is being captured from this machine.
    CaptureStarted,
    /// The seed goes without something.
    LeftOut {
        /// What it lacks.
        what: &'a str,
        /// Why.
        why: &'a str,
    },
    /// The seed was captured.
    Captured {
        /// Entries of its tree.
        entries: u64,
        /// Bytes of the contents of its files.
        bytes: u64,
        /// Wall seconds.
        seconds: f64,
    },
    /// A seed or snapshot that was lacking was pinned.
    Provided {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name in the lock file.
        name: &'a str,
        /// What it stands for now.
        tree: TreeHash,
    },
    /// How it goes with something that is fetched from outside.
    Fetching {
        /// A line for people.
        line: &'a str,
        /// Whether it is of the moment, and of no use later.
        passing: bool,
    },
    /// Trees are going to be fetched from caches.
    FetchStarted {
        /// How many.
        trees: usize,
        /// Bytes that travel at most, as far as that is known.
        bytes: Option<u64>,
    },
    /// How far a transfer is.
    Progress(Transfer, &'a Progress),
    /// The transfer has ended, well or not.
    TransferEnded,
    /// What was built before cannot be read: nothing is known of how long steps take.
    HistoryUnread(&'a StoreError),
    /// Some of what is recorded of earlier builds makes no sense and does not count.
    HistoryLeftOut {
        /// How many runs.
        runs: usize,
    },
    /// Other processes cannot look at the run that begins, for this reason.
    Unattended(&'a std::io::Error),
    /// Steps are going to be built.
    BuildStarted(Amount),
    /// Ports are going to be walked over, and built as they are found.
    WalkStarted {
        /// How many were asked for.
        ports: usize,
    },
    /// Something happened in the run over the steps.
    Step(schedule::RunEvent<'a>),
    /// A package is linked with what it does not say that it needs.
    Undeclared(&'a Told),
    /// The run over the steps has ended, well or not.
    BuildEnded,
    /// A step was built a second time.
    Checked {
        /// Its name.
        step: &'a StepName,
        /// What came of it.
        verdict: Verdict<'a>,
    },
    /// Something turned up while a step was built a second time.
    Noted(&'a Note),
}

/// How much there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    /// Steps that have to be built, those among them that nobody ever built here.
    pub build: usize,
    /// Steps that have to be built if what they start from comes out different.
    pub maybe: usize,
    /// Steps whose results are here.
    pub up_to_date: usize,
}

/// The direction of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Taken from caches in place of being built.
    Fetch,
    /// Copied because somebody asked for it.
    Copy,
}

/// What a second build of a step says of the first.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// The same tree came out.
    Same,
    /// Another tree came out.
    Differs {
        /// The recorded one.
        first: TreeHash,
        /// The new one.
        second: TreeHash,
        /// Where they differ, as far as that is listed.
        changes: &'a TreeChanges,
        /// What differs at each of those paths, in lines for people.
        details: &'a [Vec<String>],
    },
    /// The script failed this time; the text says how it ended.
    Failed(&'a str),
}

/// Is told what happens; from any thread.
pub trait Events: Sync {
    /// Takes one event.
    fn event(&self, event: Event<'_>);

    /// Whether to get every line that steps print: see [`schedule::Observer::wants_every_line`].
    fn wants_every_line(&self) -> bool {
        false
    }
}

/// Looks away.
impl Events for () {
    fn event(&self, _: Event<'_>) {}
}

/// Passes the events of a run over steps on.
pub(super) struct Steps<'a>(pub &'a dyn Events);

impl schedule::Observer for Steps<'_> {
    fn event(&mut self, event: schedule::RunEvent<'_>) {
        self.0.event(Event::Step(event));
    }

    fn wants_every_line(&self) -> bool {
        self.0.wants_every_line()
    }
}
