//! A run whose graph grows: what stands for packages is followed by them as soon as the step that finds them out has
//! ended, while other steps go on.
//!
//! What stands for packages is listed as an open job. When it is known which they are, a larger graph is made, in which
//! everything keeps its name and place; what of it there is to do is listed, and the open job is closed.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use mstore_store::TreeHash;

use super::{Outcome, Run, Work, outside, plan_with};
use crate::drv::{DrvHash, Resolved, StepName};
use crate::packages::grow::Unfolding;
use crate::plan::{Graph, NodeId, NodeState, Recipes, Staleness, Todo};
use crate::project::{Project, ProjectError, clock};
use crate::schedule::driver::{self, Decision, Planner, Verdict};
use crate::schedule::growth::{Growth, Listing};
use crate::schedule::realise::{Failed, Options, Tools, drive};
use crate::schedule::{Demand, Observer, Place, ScheduleError, growth};
use crate::share::Substitute;

/// The graphs of a run, each with more nodes than the one before it. All stay until the run is over.
pub(super) struct Graphs {
    graph: Graph,
    next: OnceCell<Box<Graphs>>,
}

impl Graphs {
    /// The first.
    pub(super) fn new(graph: Graph) -> Graphs {
        Graphs {
            graph,
            next: OnceCell::new(),
        }
    }

    /// The first graph.
    pub(super) fn first(&self) -> &Graph {
        &self.graph
    }

    /// Puts one behind the others.
    fn push(&self, graph: Graph) -> &Graph {
        let mut at = self;
        while let Some(next) = at.next.get() {
            at = next;
        }
        &at.next.get_or_init(|| Box::new(Graphs::new(graph))).graph
    }
}

/// What a run is made of that grows.
pub(super) struct Grown<'a> {
    pub(super) project: &'a Project,
    pub(super) recipes: &'a Recipes,
    pub(super) facts: &'a Substitute<'a>,
    pub(super) run: &'a Run<'a>,
}

/// Builds what there is to do, and what becomes known on the way. `work` is in the end of the last graph, with all that
/// there was to do. Gives how it ended, and how many builds had the same result as the last under their name.
pub(super) fn realise<'g>(
    grown: &Grown<'_>,
    (graphs, work): (&'g Graphs, &mut Work<'g>),
    unfolding: &mut Unfolding,
    tools: &Tools<'_>,
    options: Options,
    observer: &mut dyn Observer,
) -> Result<(Outcome, usize), ProjectError> {
    let mut steps = GrowingSteps {
        grown,
        graphs,
        unfolding,
        places: places(work.staleness.graph()),
        staleness: work.staleness.clone(),
        seconds: tools.seconds,
        before: HashMap::new(),
        listed: HashSet::new(),
        maybe: HashSet::new(),
        open: Vec::new(),
        failed: None,
    };
    let (feed, intake) = growth::feed();
    let list = steps.list(&work.todo);
    // Cannot fail: the run has not begun.
    let _ = feed.send(Growth::Listed(list));
    drop(feed);
    let done = drive(tools, &mut steps, intake, options, observer, None);
    let GrowingSteps {
        staleness,
        places,
        listed,
        maybe,
        failed,
        before,
        ..
    } = steps;
    if let Some(error) = failed {
        return Err(error);
    }
    let nodes = staleness.graph().nodes();
    let outcome = told(done, staleness.graph(), &places);
    let is_listed = |at: &NodeId| listed.contains(&nodes[*at].hash);
    let is_known = |at: &NodeId| staleness.state(*at).tree().is_some();
    work.todo = Todo {
        build: nodes
            .ids()
            .filter(|at| is_listed(at) && !maybe.contains(&nodes[*at].hash))
            .collect(),
        maybe: nodes
            .ids()
            .filter(|at| maybe.contains(&nodes[*at].hash))
            .collect(),
        reuse: nodes
            .ids()
            .filter(|at| !is_listed(at) && is_known(at))
            .collect(),
        ..Todo::default()
    };
    let same = outcome.built.iter().filter(|at| {
        let last = before.get(&nodes[**at].full_name);
        last.is_some_and(|last| Some(last.0) == staleness.state(**at).tree())
    });
    let same = same.count();
    work.staleness = staleness;
    work.state = None;
    Ok((outcome, same))
}

/// How the run ended, in the words of its last graph.
fn told(
    done: driver::Outcome<DrvHash>,
    graph: &Graph,
    places: &HashMap<DrvHash, NodeId>,
) -> Outcome {
    let at = |hash: DrvHash| places.get(&hash).copied();
    let name = |hash: DrvHash| at(hash).map(|at| graph.nodes()[at].name.clone());
    let names = |all: Vec<DrvHash>| -> Vec<String> {
        let names = all.into_iter().filter_map(name);
        names.map(|name| name.to_string()).collect()
    };
    let failed = done.failed.into_iter().filter_map(|(hash, failure)| {
        let at = at(hash)?;
        Some(Failed {
            name: graph.nodes()[at].name.clone(),
            is_refusal: crate::schedule::realise::is_refusal(graph, at, &failure),
            failure,
        })
    });
    let refused = done.refused.into_iter().filter_map(|(hash, flaw)| {
        // What nobody listed is in no graph, and is needed by none.
        Some((
            name(hash)?,
            flaw.map(|hash| name(hash).unwrap_or_else(unknown)),
        ))
    });
    Outcome {
        built: done.built.into_iter().filter_map(at).collect(),
        failed: failed.collect(),
        skipped: names(done.skipped),
        refused: refused.collect(),
        infrastructure: done
            .infrastructure
            .map(|(hash, error)| (hash.and_then(name), error)),
        cancelled: done.cancelled,
        stopped: done.stopped,
        locked: names(done.locked),
        changed: names(done.changed),
        put_by: done.put_by.into_iter().filter_map(name).collect(),
        put_off: done.put_off.into_iter().filter_map(at).collect(),
    }
}

fn unknown() -> StepName {
    // A constant of the right form.
    StepName::new("packages", "unknown").expect("neither is empty or has a colon")
}

fn places(graph: &Graph) -> HashMap<DrvHash, NodeId> {
    let nodes = graph.nodes().iter();
    nodes.map(|(at, node)| (node.hash, at)).collect()
}

/// What steps are while there become more of them, and what follows from their results.
struct GrowingSteps<'a, 'g> {
    grown: &'a Grown<'a>,
    graphs: &'g Graphs,
    unfolding: &'a mut Unfolding,
    staleness: Staleness<'g>,
    /// Where things are in the graph of `staleness`.
    places: HashMap<DrvHash, NodeId>,
    seconds: &'a dyn Fn(&StepName) -> Option<f64>,
    /// What came of the last builds of what there is to do, and in how many seconds.
    before: HashMap<StepName, (TreeHash, f64)>,
    listed: HashSet<DrvHash>,
    /// Those of them that need not be built if their inputs come out as before.
    maybe: HashSet<DrvHash>,
    /// Jobs that stand for packages, and are not closed.
    open: Vec<DrvHash>,
    /// Why the run could not go on.
    failed: Option<ProjectError>,
}

impl GrowingSteps<'_, '_> {
    fn place_of(&self, hash: &DrvHash) -> Result<NodeId, ScheduleError> {
        self.places.get(hash).copied().ok_or(ScheduleError::Inputs)
    }

    fn resolved(&self, at: NodeId) -> Result<Box<Resolved>, ScheduleError> {
        let resolved = self.staleness.resolved(at);
        resolved.map(Box::new).ok_or(ScheduleError::Inputs)
    }

    /// The jobs of what there is to do that were not listed before.
    fn list(&mut self, todo: &Todo) -> Vec<Listing<DrvHash>> {
        let nodes = self.staleness.graph().nodes();
        let mut all: Vec<NodeId> = todo.build.iter().chain(&todo.maybe).copied().collect();
        all.sort_unstable();
        all.retain(|at| self.listed.insert(nodes[*at].hash));
        let maybe: HashSet<NodeId> = todo.maybe.iter().copied().collect();
        let new = all.iter().filter(|at| maybe.contains(at));
        self.maybe.extend(new.map(|at| nodes[*at].hash));
        let mut list = Vec::with_capacity(all.len());
        for at in all {
            let node = &nodes[at];
            let open = node.is_open();
            if open {
                self.open.push(node.hash);
            }
            // Only what is told and how it is ordered depends on it.
            let last = self
                .grown
                .project
                .store
                .newest_realisation(node.full_name.as_str());
            let last = last.ok().flatten();
            if let Some(last) = &last {
                let told = (last.tree, last.seconds);
                self.before.insert(node.full_name.clone(), told);
            }
            list.push(Listing {
                node: node.hash,
                needs: self.needs(at),
                seconds: (self.seconds)(&node.full_name).or(last.map(|last| last.seconds)),
                open,
                demand: Demand::of(&node.derivation),
            });
        }
        list
    }

    /// The listed jobs that a node should run after.
    fn needs(&self, at: NodeId) -> Vec<DrvHash> {
        let nodes = self.staleness.graph().nodes();
        let needs = nodes[at].run_after().into_iter();
        let needs = needs.map(|need| nodes[need].hash);
        needs.filter(|hash| self.listed.contains(hash)).collect()
    }

    /// What follows for the jobs that stand for packages from what is known now.
    fn look(&mut self) -> Result<Vec<Growth<DrvHash>>, ProjectError> {
        let mut growth = Vec::new();
        while !self.open.is_empty() {
            let closed = self.close();
            let is_closed = !closed.is_empty();
            growth.extend(closed);
            if !self.learn(&mut growth)? && !is_closed {
                break;
            }
        }
        Ok(growth)
    }

    /// Closes what turned out to be there as it is, and what its packages are known of.
    fn close(&mut self) -> Vec<Growth<DrvHash>> {
        let mut growth = Vec::new();
        let mut open = std::mem::take(&mut self.open);
        open.retain(|hash| {
            let Ok(at) = self.place_of(hash) else {
                return true;
            };
            let node = &self.staleness.graph().nodes()[at];
            let is_there = matches!(
                self.staleness.state(at),
                NodeState::Known { present: true, .. }
            );
            if node.is_open() && !is_there {
                return true;
            }
            let needs = self.needs(at);
            if !node.is_open() && !needs.is_empty() {
                growth.push(Growth::Gained { node: *hash, needs });
            }
            growth.push(Growth::Closed(*hash));
            false
        });
        self.open = open;
        growth
    }

    /// Makes a larger graph where more packages are known. Tells whether there are.
    fn learn(&mut self, growth: &mut Vec<Growth<DrvHash>>) -> Result<bool, ProjectError> {
        let Grown {
            project,
            recipes,
            facts,
            run,
        } = *self.grown;
        let open: Vec<NodeId> = self
            .open
            .iter()
            .filter_map(|hash| self.places.get(hash).copied())
            .collect();
        let known = self.staleness.graph();
        if !self
            .unfolding
            .learn_packages(known, &self.staleness, open)?
        {
            return Ok(false);
        }
        let new: HashSet<DrvHash> = self.open.iter().copied().collect();
        // What is known of the packages already decides how they are built. Those that are listed stay as they are.
        let (graph, places, staleness) = loop {
            let graph = plan_with(project, recipes, facts, run, &*self.unfolding)?;
            let graph = self.graphs.push(graph);
            let places = places(graph);
            let old = self.staleness.graph().nodes();
            let before: HashMap<NodeId, NodeId> = old
                .iter()
                .filter_map(|(was, node)| Some((*places.get(&node.hash)?, was)))
                .collect();
            let rebuilt = match run.rebuild {
                true => rebuilt(graph),
                false => HashSet::new(),
            };
            let staleness = Staleness::onto(
                graph,
                &self.staleness,
                |at| before.get(&at).copied(),
                |at| rebuilt.contains(&at),
                &facts,
            )?;
            if !self
                .unfolding
                .learn_needs(&staleness, |open| new.contains(&open))?
            {
                break (graph, places, staleness);
            }
        };
        let todo = staleness.todo(&facts)?;
        (self.staleness, self.places) = (staleness, places);
        let wanted = todo.build.iter().chain(&todo.maybe).copied();
        graph.require_inputs(wanted, &facts)?;
        outside::can_be_had(graph, &todo, run.outside)?;
        growth.push(Growth::Listed(self.list(&todo)));
        Ok(true)
    }
}

/// The nodes that are built again though there are results: those of targets that were asked for. What packages have
/// fetched is known by its content.
pub(super) fn rebuilt(graph: &Graph) -> HashSet<NodeId> {
    let nodes = graph.nodes();
    let is_built =
        |at: &NodeId| nodes[*at].package.is_none() || nodes[*at].derivation.fetched().is_none();
    let wanted = graph.requested().flat_map(|target| {
        // Of packages only the one that was asked for.
        let alone = nodes[target.until].package().is_some();
        target
            .wanted()
            .filter(move |at| !alone || *at == target.until)
    });
    wanted.filter(is_built).collect()
}

impl Planner for GrowingSteps<'_, '_> {
    type Node = DrvHash;

    fn name(&self, node: &DrvHash) -> String {
        match self.place_of(node) {
            Ok(at) => self.staleness.graph().nodes()[at].name.to_string(),
            Err(_) => node.to_string(),
        }
    }

    fn recorded_as(&self, node: &DrvHash) -> String {
        match self.place_of(node) {
            Ok(at) => self.staleness.graph().nodes()[at].full_name.to_string(),
            Err(_) => node.to_string(),
        }
    }

    fn listed(&mut self, _: &DrvHash) -> Result<(), ScheduleError> {
        Ok(())
    }

    fn decide(&mut self, node: &DrvHash) -> Result<Decision, ScheduleError> {
        let at = self.place_of(node)?;
        match *self.staleness.state(at) {
            NodeState::Known {
                tree,
                present: true,
                ..
            } => Ok(Decision::Reuse(tree)),
            NodeState::Known { tree, .. } => Ok(Decision::Fetch {
                tree,
                or: self.resolved(at)?,
            }),
            _ => Ok(Decision::Build(self.resolved(at)?)),
        }
    }

    fn trees(&self, node: &DrvHash) -> Vec<TreeHash> {
        let resolved = self.place_of(node).ok();
        let resolved = resolved.and_then(|at| self.staleness.resolved(at));
        resolved.map_or_else(Vec::new, |step| step.trees().to_vec())
    }

    fn usable(
        &mut self,
        node: &DrvHash,
        tree: TreeHash,
    ) -> Result<Verdict<DrvHash>, ScheduleError> {
        let at = self.place_of(node)?;
        let tell = self.grown.run.tell();
        let settled = self
            .unfolding
            .settled(&self.staleness, at, tree, clock::now(), &tell);
        if !settled? {
            return Ok(Verdict {
                put_off: true,
                ..Verdict::default()
            });
        }
        self.staleness.built(at, tree, &self.grown.facts, &mut ())?;
        match self.look() {
            Ok(growth) => Ok(Verdict {
                growth,
                ..Verdict::default()
            }),
            Err(error) => {
                let told = ScheduleError::Growth(error.to_string());
                self.failed.get_or_insert(error);
                Err(told)
            }
        }
    }

    /// A target is a path, and its steps are the tasks.
    fn place(&self, node: &DrvHash) -> Option<Place> {
        let at = self.place_of(node).ok()?;
        Place::of(&self.staleness.graph().nodes()[at].name)
    }
}
