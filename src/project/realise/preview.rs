//! Previews: the things that a run would do, and why, without doing any of them.

use std::collections::HashSet;

use mstore_store::TreeHash;
use serde::Serialize;

use super::rounds::learn;
use super::{Run, Work, outside};
use crate::drv::{StepName, Trees as _};
use crate::packages::grow::Unfolding;
use crate::plan::{
    Explainer, Graph, MissingPin, NodeId, PinKind, Pins, PlanError, Reason, Recipes, Staleness,
    Todo,
};
use crate::project::{Absent, Estimates, Project, ProjectError};
use crate::share::Substitute;

/// What a run would do, as far as that can be known now.
#[derive(Debug)]
pub enum Preview {
    /// Seeds and snapshots would be provided first.
    Provide(Vec<MissingPin>),
    /// A pinned tree would be fetched first, since it must be looked into.
    Fetch {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name.
        name: String,
        /// The tree.
        tree: TreeHash,
    },
    /// Steps would be built, or not.
    Steps(Box<StepsPreview>),
}

/// What would become of the steps, by name.
#[derive(Debug, Default)]
pub struct StepsPreview {
    /// What would be fetched from outside.
    pub outside: Vec<(StepName, Absent)>,
    /// Those that would be built, with the reasons.
    pub build: Vec<(StepName, Vec<Reason>)>,
    /// Those that would be built if their inputs came out different.
    pub maybe: Vec<StepName>,
    /// Those whose results are here.
    pub reuse: Vec<StepName>,
    /// Those of whose results caches tell.
    pub substituted: Vec<StepName>,
    /// Trees that would be fetched, with the bytes that travel at most where that is known.
    pub fetch: Vec<(TreeHash, Option<u64>)>,
    /// How long the building would take.
    pub estimate: Estimates,
    /// What would become of packages, target by target; nothing of targets that need none of them.
    pub packages: Vec<PackagesPreview>,
    /// The steps among those above that are of packages: people are told of these together.
    pub of_packages: HashSet<StepName>,
}

/// What would become of the packages of a target.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PackagesPreview {
    /// The target.
    pub target: String,
    /// Whether it is known which packages there are.
    pub known: bool,
    /// Seconds that the step takes that finds them out, where it has to run and earlier runs tell.
    pub resolve_seconds: Option<f64>,
    /// How many there are.
    pub packages: usize,
    /// How many are built.
    pub build: usize,
    /// How many of those only if what they need comes out different.
    pub maybe: usize,
    /// How many serve as they are.
    pub reuse: usize,
    /// Seconds that those to be built take, where earlier builds tell.
    pub seconds: Option<f64>,
}

/// Finds out what a run would do about the targets that `recipes` were asked for. Writes nothing.
pub fn preview(
    project: &Project,
    recipes: Recipes,
    run: &Run<'_>,
) -> Result<Preview, ProjectError> {
    let needs = recipes.needs(&project.lock);
    if !needs.is_empty() {
        // What the run itself would refuse is not promised.
        project.can_provide(&recipes, &needs)?;
        return Ok(Preview::Provide(needs));
    }
    let facts = run.facts(project, true);
    let mut unfolding = Unfolding::new(&project.store);
    let graph = loop {
        let mut graph = match graph(project, &recipes, &facts, &unfolding)? {
            Ok(graph) => graph,
            Err(fetch) => return Ok(fetch),
        };
        run.until.limit(&mut graph)?;
        facts.prepare(graph.nodes().values().map(|node| node.hash))?;
        // What is known is told of, unless that took writing.
        if project.store.is_read_only() || !learn(&graph, &facts, run, &mut unfolding, None)? {
            break graph;
        }
    };
    let _steady = facts.steady()?;
    let Work { todo, .. } = Work::of(&graph, &facts, None)?;
    inputs_can_be_had(project, &graph, &todo, &facts)?;
    outside::can_be_had(&graph, &todo, run.outside)?;
    // The same walk again, with somebody who listens to the reasons.
    let mut explainer = Explainer::only(todo.build.iter().copied());
    let staleness = Staleness::walk(&graph, &&facts, &mut explainer)?;
    let taken = facts.taken();
    let (substituted, reuse): (Vec<NodeId>, Vec<NodeId>) = todo.reuse.iter().partition(|&&n| {
        let key = staleness.state(n).key();
        key.is_some_and(|key| taken.contains(&key.0))
    });
    let packages = packages(project, &graph, &todo, run)?;
    let of_packages = |&n: &NodeId| {
        let node = &graph.nodes()[n];
        let is_around = node.package.is_some() || node.derivation.is_open();
        is_around.then(|| node.name.clone())
    };
    let all = todo.build.iter().chain(&todo.maybe).chain(&todo.reuse);
    let of_packages = all.filter_map(of_packages).collect();
    let name = |&n: &NodeId| graph.nodes()[n].name.clone();
    let why = |n: &NodeId| (name(n), explainer.of(*n).to_vec());
    let fetched = |n: &NodeId| graph.nodes()[*n].derivation.fetched();
    let outside = todo.build.iter().filter_map(|n| {
        let (fixed, from) = fetched(n)?;
        let (what, urls) = (fixed.to_string(), from.urls.clone());
        Some((name(n), Absent { what, urls }))
    });
    let built = todo.build.iter().filter(|n| fetched(n).is_none());
    let steps = StepsPreview {
        packages,
        of_packages,
        estimate: project.estimate(
            &graph,
            (&todo.build, &todo.maybe),
            (run.farm, run.jobs),
            run.events,
        )?,
        outside: outside.collect(),
        build: built.map(why).collect(),
        maybe: todo.maybe.iter().map(name).collect(),
        reuse: reuse.iter().map(name).collect(),
        substituted: substituted.iter().map(name).collect(),
        fetch: todo
            .fetch
            .iter()
            .map(|tree| (*tree, facts.size(*tree)))
            .collect(),
    };
    // Giving back the memory of 100,000 nodes takes a tenth of a plan's time: nobody waits for it.
    rayon::spawn(move || drop((graph, recipes)));
    Ok(Preview::Steps(Box::new(steps)))
}

/// What would become of packages, of each target of which some may have to be built.
fn packages(
    project: &Project,
    graph: &Graph,
    todo: &Todo,
    run: &Run<'_>,
) -> Result<Vec<PackagesPreview>, ProjectError> {
    let nodes = graph.nodes();
    let build: HashSet<NodeId> = todo.build.iter().copied().collect();
    let maybe: HashSet<NodeId> = todo.maybe.iter().copied().collect();
    let is_to_do = |at: &NodeId| build.contains(at) || maybe.contains(at);
    let seconds = |at: &[NodeId]| -> Result<Option<f64>, ProjectError> {
        let crew = (run.farm, run.jobs);
        let found = project.estimate(graph, (at, &[]), crew, &())?.least;
        Ok((found.steps > 0 && !found.is_unknown()).then_some(found.seconds))
    };
    // What was never built is built whatever comes of the rest. Only what is told depends on it.
    let may_serve = |at: &NodeId| {
        let name = nodes[*at].full_name.as_str();
        maybe.contains(at) && matches!(project.store.newest_realisation(name), Ok(Some(_)))
    };
    let mut found = Vec::new();
    for target in graph.targets() {
        let Some(stand) = graph.standing_of(target).filter(is_to_do) else {
            continue;
        };
        let resolve = nodes[stand].producers.last().copied().flatten();
        let all: Vec<NodeId> = graph.packages_of(target).map(|(at, _)| at).collect();
        let to_do: Vec<NodeId> = all.iter().copied().filter(is_to_do).collect();
        found.push(PackagesPreview {
            target: target.name.clone(),
            known: !nodes[stand].is_open(),
            resolve_seconds: match resolve.filter(is_to_do) {
                Some(resolve) => seconds(&[resolve])?,
                None => None,
            },
            packages: all.len(),
            build: to_do.len(),
            maybe: to_do.iter().filter(|at| may_serve(at)).count(),
            reuse: all.len() - to_do.len(),
            seconds: seconds(&to_do)?,
        });
    }
    Ok(found)
}

/// Checks, as the run itself does, that the seeds and snapshots are here that steps are to be built on, or can be
/// brought.
fn inputs_can_be_had(
    project: &Project,
    graph: &Graph,
    todo: &Todo,
    facts: &Substitute<'_>,
) -> Result<(), ProjectError> {
    let nodes = || todo.build.iter().chain(&todo.maybe).copied();
    if graph.require_inputs(nodes(), &facts).is_ok() {
        return Ok(());
    }
    for node in nodes() {
        match graph.require_inputs([node], &facts) {
            Ok(()) => {}
            Err(PlanError::AbsentPin {
                kind,
                ref name,
                tree,
                ..
            }) if todo.fetch.contains(&tree) || project.can_bring_back(kind, name) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The graph, or what has to be fetched before it can be made.
fn graph(
    project: &Project,
    recipes: &Recipes,
    facts: &Substitute<'_>,
    unfolding: &Unfolding,
) -> Result<Result<Graph, Preview>, ProjectError> {
    match Graph::unfolded(recipes, &project.lock, &facts, Pins::Required, unfolding) {
        Err(PlanError::AbsentPin {
            kind, name, tree, ..
        }) if facts.fetchable(tree)?
            || (!project.store.has_tree(tree)? && project.can_bring_back(kind, &name)) =>
        {
            Ok(Err(Preview::Fetch { kind, name, tree }))
        }
        // A part that was never cut out of it can only be had by writing it.
        Err(PlanError::AbsentPin { name, tree, .. })
            if project.store.is_read_only() && project.store.has_tree(tree)? =>
        {
            Err(project.blocked(super::Blocked::Part { snapshot: name }))
        }
        other => Ok(Ok(other?)),
    }
}
