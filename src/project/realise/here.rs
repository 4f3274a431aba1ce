//! Which targets this machine can bring up to date, and what keeps it from the others.

use std::collections::{HashMap, HashSet};
use std::fmt;

use super::{Run, Work};
use crate::build::host;
use crate::plan::{Graph, Lock, NodeId, PinKind, PinOrigin, Pins, Recipes, Start, TargetId};
use crate::project::{Project, ProjectError};
use crate::share::Substitute;

/// What keeps this machine from building a target.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// It is built for machines of another kind, whose programs do not run here.
    Platform(String),
    /// A seed or snapshot is lacking that only people can give.
    Lacks(PinKind, String),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Platform(platform) => {
                write!(f, "programs for {platform} do not run on this machine")
            }
            Obstacle::Lacks(kind, name) => write!(f, "the {kind} {name} is lacking"),
        }
    }
}

/// The obstacles of targets.
pub struct Obstacles<'r> {
    /// What keeps this machine from building a target or what that starts from; others have none.
    found: HashMap<&'r TargetId, Obstacle>,
}

impl<'r> Obstacles<'r> {
    /// Those of the targets that there are recipes of, with the seeds and snapshots that `lock` pins.
    pub fn new(recipes: &'r Recipes, lock: &Lock) -> Obstacles<'r> {
        let own = own_obstacles(recipes, lock);
        let mut found = HashMap::new();
        if own.is_empty() {
            return Obstacles { found };
        }
        let mut seen = HashSet::new();
        for recipe in recipes.all() {
            // Up to what has an obstacle of its own, is known, or starts from a seed. Circles are told of elsewhere.
            let (mut chain, mut at) = (Vec::new(), Some(recipe));
            let mut obstacle = None;
            while let Some(recipe) = at {
                obstacle = own.get(&recipe.id).or_else(|| found.get(&recipe.id));
                if obstacle.is_some() || !seen.insert(&recipe.id) {
                    break;
                }
                chain.push(&recipe.id);
                at = match &recipe.start {
                    Start::Target(from) => recipes.get(from),
                    Start::Seed(_) => None,
                };
            }
            if let Some(obstacle) = obstacle.cloned() {
                let here = at.map(|recipe| &recipe.id).into_iter();
                found.extend(here.chain(chain).map(|id| (id, obstacle.clone())));
            }
        }
        Obstacles { found }
    }

    /// What keeps this machine from building a target and what that starts from, if anything does.
    pub fn of(&self, target: &TargetId) -> Option<&Obstacle> {
        self.found.get(target)
    }
}

/// What keeps this machine from building targets, but for what these start from.
fn own_obstacles<'r>(recipes: &'r Recipes, lock: &Lock) -> HashMap<&'r TargetId, Obstacle> {
    let (mut platforms, mut own) = (HashMap::new(), HashMap::new());
    for recipe in recipes.all() {
        let platform = recipe.platform.as_str();
        let runs = platforms.entry(platform);
        if !*runs.or_insert_with(|| host::runs(platform).is_ok()) {
            own.insert(&recipe.id, Obstacle::Platform(platform.to_owned()));
        }
    }
    let machine = host::machine();
    for need in recipes.needs(lock) {
        for recipe in need.wanted_by.iter().filter_map(|id| recipes.get(id)) {
            let lacks = match need.from {
                PinOrigin::Import => true,
                PinOrigin::Host => recipe.platform != machine,
                PinOrigin::Builtin(_) => false,
            };
            if lacks {
                let obstacle = || Obstacle::Lacks(need.kind, need.name.clone());
                own.entry(&recipe.id).or_insert_with(obstacle);
            }
        }
    }
    own
}

/// A target that cannot be brought up to date here, and what keeps it from that.
pub type LeftOut = (TargetId, Obstacle);

/// Tells which of `targets`, all of which there are recipes of, cannot be brought up to date here, and why. What is
/// foreign and needs no building, here or with what caches have, can be.
pub fn left_out(
    project: &Project,
    recipes: &Recipes,
    targets: &[TargetId],
    run: &Run<'_>,
) -> Vec<LeftOut> {
    let obstacles = Obstacles::new(recipes, &project.lock);
    let found = targets.iter();
    let found = found.filter_map(|id| Some((id, obstacles.of(id)?)));
    let mut found: Vec<(&TargetId, &Obstacle)> = found.collect();
    let foreign = found.iter();
    let foreign = foreign.filter(|(_, obstacle)| matches!(obstacle, Obstacle::Platform(_)));
    let foreign: Vec<TargetId> = foreign.map(|(id, _)| (*id).clone()).collect();
    if !foreign.is_empty() {
        let mut had = HashSet::new();
        add_had(project, &foreign, &run.facts(project, true), &mut had);
        found.retain(|(id, _)| !had.contains(*id));
    }
    let found = found.into_iter();
    found.map(|(id, o)| (id.clone(), o.clone())).collect()
}

/// Adds those of `targets` that nothing has to be built for. What cannot be told of all at once is told of the halves;
/// what cannot be told of one counts as no.
fn add_had(
    project: &Project,
    targets: &[TargetId],
    facts: &Substitute<'_>,
    had: &mut HashSet<TargetId>,
) {
    let look = || -> Result<Option<Vec<TargetId>>, ProjectError> {
        let recipes = project.recipes(targets)?;
        if !recipes.needs(&project.lock).is_empty() {
            return Ok(None);
        }
        let graph = Graph::build(&recipes, &project.lock, &facts, Pins::Required)?;
        facts.prepare(graph.nodes().values().map(|node| node.hash))?;
        let todo = Work::of(&graph, facts, false)?.todo;
        let builds: HashSet<NodeId> = todo.build.iter().chain(&todo.maybe).copied().collect();
        let there = graph.requested();
        let there = there.filter(|target| !builds.contains(&target.last));
        Ok(Some(there.map(|target| target.id.clone()).collect()))
    };
    match look() {
        Ok(Some(found)) => had.extend(found),
        _ if targets.len() > 1 => {
            let (first, second) = targets.split_at(targets.len() / 2);
            add_had(project, first, facts, had);
            add_had(project, second, facts, had);
        }
        _ => {}
    }
}
