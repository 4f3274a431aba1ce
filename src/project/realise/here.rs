//! Which targets this machine can bring up to date, and what keeps it from the others.

use std::collections::BTreeMap;
use std::fmt;

use super::{Run, Work};
use crate::build::host;
use crate::plan::{
    Graph, Lock, MissingPin, NodeId, PinKind, PinOrigin, Pins, Recipes, Start, TargetId,
};
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

/// The obstacles of targets, looked up.
pub struct Obstacles<'r> {
    recipes: &'r Recipes,
    needs: Vec<MissingPin>,
    platforms: BTreeMap<&'r str, bool>,
    machine: String,
}

impl<'r> Obstacles<'r> {
    /// Those of the targets that there are recipes of, with the seeds and snapshots that `lock` pins.
    pub fn new(recipes: &'r Recipes, lock: &Lock) -> Obstacles<'r> {
        let mut platforms = BTreeMap::new();
        for recipe in recipes.all() {
            let platform = recipe.platform.as_str();
            platforms
                .entry(platform)
                .or_insert_with(|| host::runs(platform).is_ok());
        }
        Obstacles {
            recipes,
            needs: recipes.needs(lock),
            platforms,
            machine: host::machine(),
        }
    }

    /// What keeps this machine from building a target and what that starts from, if anything does.
    pub fn of(&self, target: &TargetId) -> Option<Obstacle> {
        let mut at = target;
        // A chain has no more members than there are recipes; circles are told of elsewhere.
        for _ in self.recipes.all() {
            let recipe = self.recipes.get(at)?;
            if self.platforms.get(&*recipe.platform) == Some(&false) {
                return Some(Obstacle::Platform(recipe.platform.clone()));
            }
            let mut needs = self.needs.iter().filter(|need| need.wanted_by.contains(at));
            let lacks = needs.find(|need| match need.from {
                PinOrigin::Import => true,
                PinOrigin::Host => recipe.platform != self.machine,
                PinOrigin::Builtin(_) => false,
            });
            if let Some(need) = lacks {
                return Some(Obstacle::Lacks(need.kind, need.name.clone()));
            }
            match &recipe.start {
                Start::Target(from) => at = from,
                Start::Seed(_) => break,
            }
        }
        None
    }
}

/// A target that cannot be brought up to date here, and what keeps it from that.
pub type LeftOut = (TargetId, Obstacle);

/// Tells apart which targets can be brought up to date here, and which not and why. What is foreign and needs no
/// building, here or with what caches have, can be.
pub fn can_be_had(
    project: &Project,
    targets: &[TargetId],
    run: &Run<'_>,
) -> Result<(Vec<TargetId>, Vec<LeftOut>), ProjectError> {
    let recipes = project.recipes(targets)?;
    let obstacles = Obstacles::new(&recipes, &project.lock);
    let (mut here, mut left_out) = (Vec::new(), Vec::new());
    let mut facts = None;
    for target in targets {
        match obstacles.of(target) {
            None => here.push(target.clone()),
            Some(Obstacle::Platform(_))
                if is_had(
                    project,
                    target,
                    facts.get_or_insert_with(|| run.facts(project, true)),
                ) =>
            {
                here.push(target.clone());
            }
            Some(obstacle) => left_out.push((target.clone(), obstacle)),
        }
    }
    Ok((here, left_out))
}

/// Whether nothing has to be built for a target. What cannot be told counts as no.
fn is_had(project: &Project, target: &TargetId, facts: &Substitute<'_>) -> bool {
    let look = || -> Result<bool, ProjectError> {
        let recipes = project.recipes(std::slice::from_ref(target))?;
        if !recipes.needs(&project.lock).is_empty() {
            return Ok(false);
        }
        let graph = Graph::build(&recipes, &project.lock, &facts, Pins::Required)?;
        facts.prepare(graph.nodes().values().map(|node| node.hash))?;
        let todo = Work::of(&graph, facts, false)?.todo;
        let builds: Vec<&NodeId> = todo.build.iter().chain(&todo.maybe).collect();
        Ok(builds.is_empty())
    };
    look().unwrap_or(false)
}
