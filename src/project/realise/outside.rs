//! What is fetched from outside: bringing it ahead of a build, and telling what a build without a network lacks.

use super::{Run, Work, build, plan, provide};
use crate::build::pause::Stopwatch;
use crate::build::userns::{Entered, UsernsError};
use crate::plan::{Graph, NodeId, NodeState, TargetId, Todo};
use crate::project::{Absent, Blocked, Project, ProjectError};
use crate::schedule::realise::Outcome;
use crate::share::fetch::FetchOptions;

/// What came of bringing what targets have fetched.
#[derive(Debug)]
pub struct Brought {
    /// How many things were there before.
    pub there: usize,
    /// How many were brought.
    pub brought: usize,
    /// How the run ended.
    pub outcome: Outcome,
    /// Wall seconds.
    pub seconds: f64,
}

/// Brings everything that targets, and those that they start from, have fetched; builds nothing.
pub fn bring(
    project: &mut Project,
    targets: &[TargetId],
    run: &Run<'_>,
    entered: Result<Entered, UsernsError>,
) -> Result<Brought, ProjectError> {
    let clock = Stopwatch::start();
    let mut recipes = project.recipes(targets)?;
    if !recipes.needs(&project.lock).is_empty() {
        provide(project, &recipes, run, entered)?;
        recipes = project.recipes(targets)?;
    }
    let facts = run.facts(project, project.store.is_read_only());
    let graph = plan(project, &recipes, &facts, run)?;
    let mut work = Work::of(&graph, &facts, None)?;
    let is_there = |node: NodeId| {
        let state = work.staleness.state(node);
        matches!(state, NodeState::Known { present: true, .. })
    };
    let (there, absent): (Vec<NodeId>, Vec<NodeId>) = fetches(&graph).partition(|&n| is_there(n));
    let wanted = absent.len();
    work.todo = Todo {
        build: absent,
        reuse: there,
        ..Todo::default()
    };
    can_be_had(&graph, &work.todo, run.outside)?;
    if wanted > 0 {
        project.must_write(|| Blocked::Build {
            steps: (work.todo.build.iter())
                .map(|&n| graph.nodes()[n].name.clone())
                .collect(),
        })?;
        project.keep_pins()?;
    }
    let there = work.todo.reuse.len();
    let (outcome, _) = build(project, &mut work, &facts, run, None, &|_, _, _| Ok(true))?;
    let is_now = |node: &NodeId| work.staleness.state(*node).tree().is_some();
    Ok(Brought {
        there,
        brought: work.todo.build.iter().filter(|n| is_now(n)).count(),
        outcome,
        seconds: clock.elapsed().as_secs_f64(),
    })
}

/// The nodes that fetch something.
fn fetches(graph: &Graph) -> impl Iterator<Item = NodeId> {
    let nodes = graph.nodes().iter();
    nodes
        .filter(|(_, node)| node.derivation.fetched().is_some())
        .map(|(id, _)| id)
}

/// Checks, where the network must not be used, that nothing in `todo` needs it.
pub(super) fn can_be_had(
    graph: &Graph,
    todo: &Todo,
    options: &FetchOptions,
) -> Result<(), ProjectError> {
    if !options.offline {
        return Ok(());
    }
    let nodes = todo.build.iter().chain(&todo.maybe);
    let absent: Vec<Absent> = nodes
        .filter_map(|&node| graph.nodes()[node].derivation.fetched())
        .filter(|(fixed, from)| {
            let mut folders = options.folders.iter();
            let local = |url: &String| url.starts_with("file://") || url.starts_with("git+file://");
            !from.urls.iter().any(local)
                && !folders.any(|folder| folder.join(&fixed.name).is_file())
        })
        .map(|(fixed, from)| Absent {
            what: fixed.to_string(),
            urls: from.urls.clone(),
        })
        .collect();
    match absent.is_empty() {
        true => Ok(()),
        false => Err(ProjectError::Offline(absent)),
    }
}
