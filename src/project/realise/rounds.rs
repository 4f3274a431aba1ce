//! The rounds of a run: which packages a stage is made of is known when a step has told, and then there is more to do.
//!
//! A run without packages, or with packages that are known, has one round, and so has one whose graph can grow while it is
//! worked off. Else what does not wait for packages is built in the first one.

use std::collections::{HashMap, HashSet};

use mstore_store::{Realisation, RealisationKind, TreeHash};

use super::growing::Graphs;
use super::{
    Grows, Report, Run, Work, build, fetch, lacks_outside, outside, plan_with, remember,
    with_inputs,
};
use crate::build::pause::Stopwatch;
use crate::build::userns::{Entered, UsernsError};
use crate::drv::DrvHash;
use crate::packages::grow::Unfolding;
use crate::plan::{Graph, NodeId, NodeState, Recipes, Staleness, Todo};
use crate::project::{Project, ProjectError, clock};
use crate::schedule::realise::Outcome;
use crate::share::Substitute;

/// Brings targets up to date, round by round, until nothing waits for packages any more.
pub(super) fn realise(
    project: &Project,
    recipes: &Recipes,
    facts: &Substitute<'_>,
    run: &Run<'_>,
    entered: Result<Entered, UsernsError>,
    clock: Stopwatch,
) -> Result<Report, ProjectError> {
    let mut unfolding = Unfolding::new(&project.store);
    let mut entered = Some(entered);
    let mut done = Done::default();
    loop {
        // What was built a moment ago is not built again.
        let before: HashSet<DrvHash> = done.built.iter().copied().collect();
        let rebuild = run.rebuild.then_some(&before);
        let graph = unfolded(project, recipes, facts, run, &mut unfolding, rebuild)?;
        // A package that is to be built again has to be known first.
        let rebuild = rebuild.filter(|_| run.until.unknown(&graph).is_empty());
        let graphs = Graphs::new(graph);
        let mut work = fetch(project, graphs.first(), facts, run, rebuild)?;
        // What was fetched tells more than what is only known.
        if !work.todo.is_empty() && learn(graphs.first(), facts, run, &mut unfolding, rebuild)? {
            continue;
        }
        let grows = grows(run, graphs.first(), &work.todo);
        let waiting = match grows {
            true => 0,
            false => work.todo.leave_open(graphs.first()),
        };
        if !work.todo.is_empty()
            && let Some(entered) = entered.take()
        {
            entered?;
        }
        let wanted = work.todo.build.iter().chain(&work.todo.maybe).copied();
        graphs.first().require_inputs(wanted, &facts)?;
        outside::can_be_had(graphs.first(), &work.todo, run.outside)?;
        if !project.store.is_read_only() {
            project.keep_pins()?;
        }
        let (outcome, same) = if grows {
            let grows = Grows {
                recipes,
                graphs: &graphs,
                unfolding: &mut unfolding,
            };
            // It looks itself.
            build(project, &mut work, facts, run, Some(grows), &|_, _, _| {
                Ok(true)
            })?
        } else {
            let settled = |staleness: &Staleness<'_>, at: NodeId, tree: TreeHash| {
                unfolding.settled(staleness, at, tree, clock::now(), &run.tell())
            };
            build(project, &mut work, facts, run, None, &settled)?
        };
        if !project.store.is_read_only() {
            record_open(project, &work.staleness)?;
        }
        let graph = work.staleness.graph();
        let is_last = waiting == 0 && outcome.put_off.is_empty() || !went_well(&outcome);
        done.take(graph, &work.todo, outcome, same);
        if is_last {
            let (outcome, same, idle) = done.told(graph);
            let mut report = remember(project, &work, facts, (outcome, same), clock)?;
            report.idle &= idle;
            return Ok(report);
        }
    }
}

/// Whether packages become known while other steps are built. Locks are kept over a plan that is whole, and what caches
/// have is fetched before anything is built: then what waits for packages waits for all others too.
fn grows(run: &Run<'_>, graph: &Graph, todo: &Todo) -> bool {
    let mut all = todo.build.iter().chain(&todo.maybe);
    run.books.is_none()
        && run.caches.is_empty()
        // What is asked for may be one of those that are not known.
        && run.until.unknown(graph).is_empty()
        && all.any(|at| graph.nodes()[*at].is_open())
}

/// The graph with all packages that are known, and what outside inputs it needs at hand.
fn unfolded(
    project: &Project,
    recipes: &Recipes,
    facts: &Substitute<'_>,
    run: &Run<'_>,
    unfolding: &mut Unfolding,
    rebuild: Option<&HashSet<DrvHash>>,
) -> Result<Graph, ProjectError> {
    loop {
        let mut graph = plan_with(project, recipes, facts, run, unfolding)?;
        if lacks_outside(project, &graph)? {
            graph = with_inputs(project, recipes, facts, run, unfolding, rebuild)?;
        }
        if !learn(&graph, facts, run, unfolding, rebuild)? {
            return Ok(graph);
        }
    }
}

/// Whether packages are known now that were not, so that the graph is to be made again.
pub(super) fn learn(
    graph: &Graph,
    facts: &Substitute<'_>,
    run: &Run<'_>,
    unfolding: &mut Unfolding,
    rebuild: Option<&HashSet<DrvHash>>,
) -> Result<bool, ProjectError> {
    if !graph.nodes().values().any(|node| node.derivation.is_open()) {
        return Ok(false);
    }
    let unknown = run.until.unknown(graph);
    let rebuild = rebuild.filter(|_| unknown.is_empty());
    let Work {
        staleness, todo, ..
    } = Work::of(graph, facts, rebuild)?;
    let needed = todo.build.into_iter().chain(todo.maybe);
    let asked = needed.chain(unknown);
    Ok(unfolding.learn(graph, &staleness, asked)?)
}

/// Whether all was built that there was to build.
fn went_well(outcome: &Outcome) -> bool {
    outcome.failed.is_empty()
        // What waits for what is put off is next.
        && (outcome.skipped.is_empty() || !outcome.put_off.is_empty())
        && outcome.refused.is_empty()
        && outcome.infrastructure.is_none()
        && !outcome.cancelled
        && !outcome.stopped
        && outcome.locked.is_empty()
        && outcome.changed.is_empty()
        && outcome.put_by.is_empty()
}

/// Writes down the results of what stands for packages: then nobody has to look at these any more.
fn record_open(project: &Project, staleness: &Staleness<'_>) -> Result<(), ProjectError> {
    let graph = staleness.graph();
    for (at, node) in graph.nodes().iter() {
        let (Some(_), NodeState::Known { key, tree, .. }) = (node.stands_for, staleness.state(at))
        else {
            continue;
        };
        let known = project.store.realisation(&key.0)?;
        if known.is_some_and(|known| known.tree == *tree) {
            continue;
        }
        let Some(resolved) = staleness.resolved(at) else {
            continue;
        };
        project.facts.remember(&resolved)?;
        project.store.record(&Realisation {
            kind: RealisationKind::Step,
            key: key.0,
            drv: node.hash.0,
            name: node.full_name.to_string(),
            tree: *tree,
            started: clock::now(),
            seconds: 0.0,
            host: String::new(),
            log: None,
        })?;
    }
    Ok(())
}

/// What came of the rounds by now.
#[derive(Default)]
struct Done {
    rounds: usize,
    /// What was built in earlier rounds, whose graphs are gone.
    built: Vec<DrvHash>,
    last: Outcome,
    same: usize,
    is_busy: bool,
}

impl Done {
    fn take(&mut self, graph: &Graph, todo: &Todo, outcome: Outcome, same: usize) {
        let nodes = graph.nodes();
        self.rounds += 1;
        self.same += same;
        self.is_busy |= !todo.is_empty();
        self.built
            .extend(outcome.built.iter().map(|at| nodes[*at].hash));
        self.last = outcome;
    }

    /// All of it in the words of the last graph, and whether there was nothing to do.
    fn told(self, graph: &Graph) -> (Outcome, usize, bool) {
        let places: HashMap<DrvHash, NodeId> = graph
            .nodes()
            .iter()
            .map(|(at, node)| (node.hash, at))
            .collect();
        let built = self.built.iter();
        let outcome = Outcome {
            built: built.filter_map(|hash| places.get(hash).copied()).collect(),
            ..self.last
        };
        (outcome, self.same, !self.is_busy)
    }
}
