//! Brings targets up to date on this machine: what is stale is built, the rest is looked up.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

use mstore_store::TreeHash;

use super::engine::{Graph as Edges, NodeId, State as NodeState};
use super::run::{self, Built, Event, NodeError, Observer, Work};
use crate::build::error::{Failure, Infrastructure, StepError};
use crate::build::step::Builder;
use crate::drv::{Facts, StepName};
use crate::plan::{Graph, NodeId as PlanNode, Staleness, State, Todo, WalkError};

/// How to go about it.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many steps are built at a time.
    pub jobs: usize,
    /// Whether to go on with what does not depend on a failed step.
    pub keep_going: bool,
}

/// What came of one step.
#[derive(Debug)]
pub struct Failed {
    /// Its name.
    pub name: StepName,
    /// What is known about it.
    pub failure: Failure,
}

/// How it ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The nodes that were built.
    pub built: Vec<PlanNode>,
    /// Steps whose scripts failed.
    pub failed: Vec<Failed>,
    /// Names of the steps that were not tried because of those.
    pub skipped: Vec<String>,
    /// The step and the failure of the machine that ended the run.
    pub infrastructure: Option<(StepName, Infrastructure)>,
    /// Whether it was told to stop.
    pub cancelled: bool,
}

/// The nodes that may have to be built, as the driver sees them.
struct Steps<'a, 'g> {
    builder: &'a Builder<'a>,
    facts: &'a (dyn Facts + Sync),
    fetch: &'a (dyn Fn(TreeHash) -> bool + Sync),
    graph: &'g Graph,
    /// The node of the graph that each node of the run is.
    nodes: Vec<PlanNode>,
    staleness: Mutex<&'a mut Staleness<'g>>,
    expected: Vec<Option<f64>>,
}

impl Steps<'_, '_> {
    fn step_name(&self, node: NodeId) -> &StepName {
        &self.graph.nodes()[self.nodes[node]].name
    }
}

impl Work for Steps<'_, '_> {
    type Failure = Failure;
    type Infrastructure = Infrastructure;

    fn name(&self, node: NodeId) -> &str {
        self.step_name(node).as_str()
    }

    fn expected(&self, node: NodeId) -> Option<f64> {
        self.expected[node]
    }

    fn find(&self, node: NodeId) -> Result<bool, Infrastructure> {
        // What others turned out to be may have made this one known.
        let staleness = lock(&self.staleness);
        Ok(matches!(
            staleness.state(self.nodes[node]),
            State::Known { present: true, .. }
        ))
    }

    fn build(
        &self,
        node: NodeId,
        output: &mut dyn FnMut(&str),
    ) -> Result<Built, NodeError<Failure, Infrastructure>> {
        let at = self.nodes[node];
        let known = match lock(&self.staleness).state(at) {
            State::Known {
                tree,
                present: false,
                ..
            } => Some(*tree),
            _ => None,
        };
        // What others turned out to be may have made it something that a cache has.
        if let Some(tree) = known.filter(|tree| (self.fetch)(*tree)) {
            lock(&self.staleness)
                .built(at, tree, self.facts, &mut ())
                .map_err(|e: WalkError| NodeError::Infrastructure(e.into()))?;
            return Ok(Built { changed: 0 });
        }
        let resolved = lock(&self.staleness).resolved(at);
        let name = &self.graph.nodes()[at].full_name;
        let Some(step) = resolved else {
            return Err(NodeError::Infrastructure(Infrastructure::Inputs {
                step: name.to_string(),
                detail: "an input is not known".to_owned(),
            }));
        };
        let built = self
            .builder
            .build(name.as_str(), &step, output)
            .map_err(|e| match e {
                StepError::Failed(failure) => NodeError::Build(failure),
                StepError::Infrastructure(e) => NodeError::Infrastructure(e),
                StepError::Cancelled => NodeError::Cancelled,
            })?;
        lock(&self.staleness)
            .built(at, built.tree, self.facts, &mut ())
            .map_err(|e: WalkError| NodeError::Infrastructure(e.into()))?;
        Ok(Built {
            changed: built.changed,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A thread that panicked is reported by the driver; the states are replaced whole.
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What a run works with.
pub struct Tools<'a> {
    /// Builds the steps.
    pub builder: &'a Builder<'a>,
    /// Tells what was built before.
    pub facts: &'a (dyn Facts + Sync),
    /// Fetches a tree that is known and not here; tells whether it is here now.
    pub fetch: &'a (dyn Fn(TreeHash) -> bool + Sync),
    /// Tells how many seconds the last build of a step of that name took.
    pub seconds: &'a dyn Fn(&StepName) -> Option<f64>,
    /// Ends the run when it becomes true.
    pub cancelled: &'a AtomicBool,
}

/// Builds what `todo` names.
pub fn realise(
    tools: &Tools<'_>,
    staleness: &mut Staleness<'_>,
    todo: &Todo,
    options: Options,
    observer: &mut dyn Observer,
) -> Outcome {
    let Tools {
        builder,
        facts,
        fetch,
        seconds,
        cancelled,
    } = *tools;
    let graph = staleness.graph();
    let mut nodes: Vec<PlanNode> = todo.build.iter().chain(&todo.maybe).copied().collect();
    // The graph lists every node after those it depends on.
    nodes.sort_unstable();
    let mut edges = Edges::default();
    let mut expected = Vec::new();
    for &at in &nodes {
        let node = &graph.nodes()[at];
        // Twins wait for each other: what one builds the other finds.
        let dependencies = node
            .run_after()
            .iter()
            .filter_map(|d| nodes.binary_search(d).ok())
            .collect();
        let last = seconds(&node.full_name);
        expected.push(last);
        edges.add(dependencies, last);
    }
    // An estimate only when most of the work is known.
    let known: f64 = expected.iter().flatten().sum();
    let total = edges
        .remaining_paths()
        .into_iter()
        .fold(known / options.jobs.max(1) as f64, f64::max);
    let enough = expected.iter().flatten().count() * 2 > expected.len();
    observer.event(Event::Planned {
        nodes: nodes.len(),
        expected: enough.then_some(total),
    });
    let steps = Steps {
        builder,
        facts,
        fetch,
        graph,
        nodes,
        staleness: Mutex::new(staleness),
        expected,
    };
    let done = run::run(
        edges,
        &steps,
        options.jobs,
        options.keep_going,
        cancelled,
        observer,
    );
    let name = |n: NodeId| steps.step_name(n).clone();
    Outcome {
        built: done.built.iter().map(|&n| steps.nodes[n]).collect(),
        skipped: (0..done.states.len())
            .filter(|&n| done.states[n] == NodeState::Skipped)
            .map(|n| steps.name(n).to_owned())
            .collect(),
        failed: done
            .failures
            .into_iter()
            .map(|(n, failure)| Failed {
                name: name(n),
                failure,
            })
            .collect(),
        infrastructure: done.infrastructure.map(|(n, e)| (name(n), e)),
        cancelled: done.cancelled,
    }
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

/// Builds a known step once more, from the inputs it was built from, and compares.
pub fn check(
    builder: &Builder<'_>,
    staleness: &Staleness<'_>,
    node: PlanNode,
    output: &mut dyn FnMut(&str),
) -> Result<Checked, StepError> {
    let name = &staleness.graph().nodes()[node].full_name;
    let (Some(step), Some(first)) = (staleness.resolved(node), staleness.state(node).tree()) else {
        return Err(StepError::Infrastructure(Infrastructure::Inputs {
            step: name.to_string(),
            detail: "it has not been built".to_owned(),
        }));
    };
    let second = builder.rebuild(name.as_str(), &step, output)?;
    Ok(if first == second {
        Checked::Same
    } else {
        Checked::Differs { first, second }
    })
}
