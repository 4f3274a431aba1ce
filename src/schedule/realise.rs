//! Brings targets up to date on this machine: what is stale is built, the rest is looked up.

use std::collections::{BTreeSet, HashMap};
use std::thread::{self, Scope};
use std::time::Duration;

use mstore_store::{Cancel, TreeHash};

use super::control::Server;
use super::driver::{self, Driver, Planner};
use super::engine::{Flaw, Patience};
use super::error::ScheduleError;
use super::executor::Executor;
use super::growth::{Growth, Intake, feed};
use super::leave::Leave;
use super::ledger::Ledger;
use super::local::{Fetch, Local};
use super::progress::Observer;
use super::steps::{self, Settled, Steps};
use crate::build::error::{Failure, Infrastructure, StepError};
use crate::build::step::Builder;
use crate::drv::{Facts, Lineage, Resolved, StepName};
use crate::plan::{Graph, NodeId, Staleness, Todo};

/// How long steps wait for hosts until that is told.
const IDLE: Duration = Duration::from_secs(60);

/// Where steps are built: makes the executor of a run.
pub trait Site: Sync {
    /// An executor, whose threads end with the scope, once this is closed.
    fn open<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        builder: &'env Builder<'env>,
        fetch: &'env Fetch<'env>,
    ) -> Box<dyn Executor + 'scope>;

    /// Says that the run is over.
    fn close(&self) {}

    /// Whether its executor asks what the trees of jobs lie on.
    fn asks_lineage(&self) -> bool {
        false
    }

    /// How many steps are built at a time, where that is known before.
    fn slots(&self) -> Option<usize> {
        None
    }

    /// Bytes that were sent to each machine and received from it, by its name, so far.
    fn traffic(&self) -> Vec<(String, u64, u64)> {
        Vec::new()
    }

    /// Builds a step, whose trees lie on what is said beside it, once more from what it was built from, and gives the tree, which is not recorded; nothing where
    /// this machine does it itself.
    fn rebuild(
        &self,
        builder: &Builder<'_>,
        name: &str,
        step: (&Resolved, &Lineage),
        output: &mut dyn FnMut(&str),
    ) -> Option<Result<TreeHash, StepError>> {
        let _ = (builder, name, step, output);
        None
    }
}

/// This machine alone, with so many steps at a time.
#[derive(Clone, Copy, Debug)]
pub struct Here(pub usize);

impl Site for Here {
    fn open<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        builder: &'env Builder<'env>,
        fetch: &'env Fetch<'env>,
    ) -> Box<dyn Executor + 'scope> {
        Box::new(Local::new(scope, builder, fetch, self.0))
    }
}

/// Closes a site when it is dropped.
struct Closed<'a>(&'a dyn Site);

impl Drop for Closed<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether to go on with what does not depend on a failed step.
    pub keep_going: bool,
    /// Start steps in a random order that this number tells, in the place of the usual one.
    pub random: Option<u64>,
    /// How many things are fetched from one site at a time; 0 counts as 1.
    pub a_site: usize,
}

/// What came of one step.
#[derive(Debug)]
pub struct Failed {
    /// Its name.
    pub name: StepName,
    /// What is known about it.
    pub failure: Failure,
    /// Whether what it was asked for cannot be: the specification is at fault, or the tree that it names, and no build.
    pub is_refusal: bool,
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The nodes that were built.
    pub built: Vec<NodeId>,
    /// Steps whose scripts failed.
    pub failed: Vec<Failed>,
    /// Names of the steps that were not tried because of those.
    pub skipped: Vec<String>,
    /// Steps that could not be built as they were planned, and why.
    pub refused: Vec<(StepName, Flaw<StepName>)>,
    /// The failure of the machine that ended the run, and the step that met it, if one did.
    pub infrastructure: Option<(Option<StepName>, ScheduleError)>,
    /// Whether it was told to stop.
    pub cancelled: bool,
    /// Whether a stop file ended it.
    pub stopped: bool,
    /// Names of the steps that were not tried because a lock tells of a failure.
    pub locked: Vec<String>,
    /// Names of the steps whose description changed after they had failed.
    pub changed: Vec<String>,
    /// Steps that somebody stopped, who did not let them go on.
    pub put_by: Vec<StepName>,
    /// The nodes that were built or found, and are not what those are to use that need them.
    pub put_off: Vec<NodeId>,
}

/// What a run works with.
pub struct Tools<'a> {
    /// Builds the steps.
    pub builder: &'a Builder<'a>,
    /// Tells what was built before.
    pub facts: &'a dyn Facts,
    /// Fetches a tree that is known and not here; tells whether it is here now.
    pub fetch: &'a Fetch<'a>,
    /// Tells how many seconds the last build of a step of that name took.
    pub seconds: &'a dyn Fn(&StepName) -> Option<f64>,
    /// Ends the run.
    pub cancel: &'a Cancel,
    /// Ends the run when what runs has ended.
    pub leave: &'a Leave,
    /// Where steps are built.
    pub site: &'a dyn Site,
    /// Tells whether the description of a step is still what it was when the run began.
    pub unchanged: &'a dyn Fn(NodeId) -> bool,
    /// Tells whether a step is what those are to use that need it.
    pub settled: &'a Settled<'a>,
    /// Is told why others cannot look at the run, if they cannot.
    pub unattended: &'a dyn Fn(&std::io::Error),
}

/// Who holds the locks of paths and is told what becomes of them, and what to wait for.
pub struct Kept<'a> {
    /// Holds the locks.
    pub ledger: &'a mut dyn Ledger,
    /// What to wait for when nothing else is left to do.
    pub patience: Patience,
    /// Names of the targets that are to be listed first.
    pub first: &'a [String],
}

/// Builds what `todo` names.
pub fn realise(
    tools: &Tools<'_>,
    staleness: &mut Staleness<'_>,
    todo: &Todo,
    options: Options,
    observer: &mut dyn Observer,
    kept: Option<Kept<'_>>,
) -> Outcome {
    let graph = staleness.graph();
    // The graph lists every node after those it depends on.
    let nodes: BTreeSet<NodeId> = todo.build.iter().chain(&todo.maybe).copied().collect();
    let mut order: Vec<NodeId> = nodes.iter().copied().collect();
    if let Some(kept) = &kept {
        let rank: HashMap<&str, usize> = kept.first.iter().map(String::as_str).zip(0..).collect();
        order.sort_by_key(|&at| {
            let target = graph.nodes()[at].name.target();
            rank.get(target).copied().unwrap_or(usize::MAX)
        });
    }
    let list = order.iter().map(|&at| {
        let seconds = (tools.seconds)(&graph.nodes()[at].full_name);
        steps::listing(graph, at, seconds, |need| nodes.contains(&need))
    });
    let (feed, intake) = feed();
    // Cannot fail: the run has not begun.
    let _ = feed.send(Growth::Listed(list.collect()));
    drop(feed);
    let mut steps = Steps::new(staleness, tools.facts)
        .reading_again(tools.unchanged)
        .settled_by(tools.settled);
    let kept = kept.map(|kept| (kept.ledger, kept.patience));
    let done = drive(tools, &mut steps, intake, options, observer, kept);
    let name = |at: NodeId| graph.nodes()[at].name.clone();
    let failed = done.failed.into_iter().map(|(at, failure)| Failed {
        name: name(at),
        is_refusal: is_refusal(graph, at, &failure),
        failure,
    });
    let refused = done.refused.into_iter();
    Outcome {
        built: done.built,
        failed: failed.collect(),
        skipped: done
            .skipped
            .into_iter()
            .map(|at| name(at).to_string())
            .collect(),
        refused: refused
            .map(|(at, flaw)| (name(at), flaw.map(name)))
            .collect(),
        infrastructure: done.infrastructure.map(|(at, error)| (at.map(name), error)),
        cancelled: done.cancelled,
        stopped: done.stopped,
        put_by: done.put_by.into_iter().map(name).collect(),
        put_off: done.put_off,
        locked: done.locked.iter().map(|at| name(*at).to_string()).collect(),
        changed: done
            .changed
            .iter()
            .map(|at| name(*at).to_string())
            .collect(),
    }
}

/// Whether a step found out that packages cannot be chosen: it says so by its exit status.
pub fn is_refusal(graph: &Graph, at: NodeId, failure: &Failure) -> bool {
    const REFUSED: i32 = 2 << 8;
    let mut nodes = graph.nodes().values();
    failure.status == REFUSED
        && nodes.any(|node| node.is_open() && node.producers.last() == Some(&Some(at)))
}

/// Builds the jobs that come in by `intake`; with `kept` under the locks of paths.
pub fn drive<P: Planner>(
    tools: &Tools<'_>,
    planner: &mut P,
    intake: Intake<P::Node>,
    options: Options,
    observer: &mut dyn Observer,
    kept: Option<(&mut dyn Ledger, Patience)>,
) -> driver::Outcome<P::Node> {
    let random = options.random;
    let options = driver::Options {
        keep_going: options.keep_going,
        a_site: options.a_site,
        cancel: tools.cancel,
        leave: tools.leave,
        idle: IDLE,
    };
    // While it is held others look at the run; that they cannot keeps none from starting.
    let _control = match Server::start(tools.builder.store, intake.desk()) {
        Ok(server) => Some(server),
        Err(error) => {
            (tools.unattended)(&error);
            None
        }
    };
    thread::scope(|scope| {
        let executor = tools.site.open(scope, tools.builder, tools.fetch);
        // Also when the driver panics: the scope waits for the threads of the site.
        let _closed = Closed(tools.site);
        let driver = Driver::new(planner, &*executor, observer, intake, options);
        let driver = match random {
            Some(seed) => driver.in_random_order(seed),
            None => driver,
        };
        match kept {
            Some((ledger, patience)) => driver.with_ledger(ledger, patience).run(),
            None => driver.run(),
        }
    })
}

/// What a second build of a step said.
#[derive(Debug)]
pub enum Checked {
    /// The same tree.
    Same,
    /// Another tree.
    Differs {
        /// The recorded one.
        first: TreeHash,
        /// The new one.
        second: TreeHash,
    },
}

/// Builds a known step once more, from the inputs it was built from, where `site` does it or else here, and compares.
pub fn check(
    site: Option<&dyn Site>,
    builder: &Builder<'_>,
    staleness: &Staleness<'_>,
    node: NodeId,
    output: &mut dyn FnMut(&str),
) -> Result<Checked, StepError> {
    let name = &staleness.graph().nodes()[node].full_name;
    let (Some(step), Some(first)) = (staleness.resolved(node), staleness.state(node).tree()) else {
        return Err(StepError::Infrastructure(Infrastructure::Inputs {
            step: name.to_string(),
            detail: "it has not been built".to_owned(),
        }));
    };
    let elsewhere = site.and_then(|site| {
        let lineage = steps::lineage(staleness, node);
        site.rebuild(builder, name.as_str(), (&step, &lineage), output)
    });
    let second = match elsewhere {
        Some(second) => second?,
        None => builder.rebuild(name.as_str(), &step, output)?,
    };
    Ok(if first == second {
        Checked::Same
    } else {
        Checked::Differs { first, second }
    })
}
