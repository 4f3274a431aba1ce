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
        let found = inherited(recipes, own_obstacles(recipes, lock));
        Obstacles { found }
    }

    /// What keeps this machine from building a target and what that starts from, if anything does.
    pub fn of(&self, target: &TargetId) -> Option<&Obstacle> {
        self.found.get(target)
    }
}

/// What is so of targets, or of what these start from: the nearest, where it is so of several.
fn inherited<'r, T: Clone>(
    recipes: &'r Recipes,
    own: HashMap<&'r TargetId, T>,
) -> HashMap<&'r TargetId, T> {
    let mut found = HashMap::new();
    if own.is_empty() {
        return found;
    }
    let mut seen = HashSet::new();
    for recipe in recipes.all() {
        // Up to one that it is so of, that is known, or that starts from a seed. Circles are told of elsewhere.
        let (mut chain, mut at) = (Vec::new(), Some(recipe));
        let mut what = None;
        while let Some(recipe) = at {
            what = own.get(&recipe.id).or_else(|| found.get(&recipe.id));
            if what.is_some() || !seen.insert(&recipe.id) {
                break;
            }
            chain.push(&recipe.id);
            at = match &recipe.start {
                Start::Target(from) => recipes.get(from),
                Start::Seed(_) => None,
            };
        }
        if let Some(what) = what.cloned() {
            let here = at.map(|recipe| &recipe.id).into_iter();
            found.extend(here.chain(chain).map(|id| (id, what.clone())));
        }
    }
    found
}

/// The targets that lack a seed or a snapshot, or that start from one which does.
fn unpinned<'r>(recipes: &'r Recipes, lock: &Lock) -> HashMap<&'r TargetId, ()> {
    let needs = recipes.needs(lock);
    let wanted = needs.iter().flat_map(|need| &need.wanted_by);
    let wanted = wanted.filter_map(|id| Some((&recipes.get(id)?.id, ())));
    inherited(recipes, wanted.collect())
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
    let mut foreign: Vec<TargetId> = foreign.map(|(id, _)| (*id).clone()).collect();
    if !foreign.is_empty() {
        // Of these nothing can be told.
        let unpinned = unpinned(recipes, &project.lock);
        foreign.retain(|id| !unpinned.contains_key(id));
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
    let look = || -> Result<Vec<TargetId>, ProjectError> {
        let recipes = project.recipes(targets)?;
        let graph = Graph::build(&recipes, &project.lock, &facts, Pins::Required)?;
        facts.prepare(graph.nodes().values().map(|node| node.hash))?;
        let todo = Work::of(&graph, facts, None)?.todo;
        let builds: HashSet<NodeId> = todo.build.iter().chain(&todo.maybe).copied().collect();
        let there = graph.requested();
        let there = there.filter(|target| !builds.contains(&target.last));
        Ok(there.map(|target| target.id.clone()).collect())
    };
    match look() {
        Ok(found) => had.extend(found),
        Err(_) if targets.len() > 1 => {
            let (first, second) = targets.split_at(targets.len() / 2);
            add_had(project, first, facts, had);
            add_had(project, second, facts, had);
        }
        Err(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Distribution;

    #[test]
    fn what_is_so_of_a_target_is_so_of_all_that_start_from_it() {
        let folder = tempfile::tempdir().unwrap();
        let text = "list/builds: b\nlist/arches: a\nlist/subarches/a: s\nlist/targets: one two three four five six\n\
                    target/version: 1\nsteps/chroot/run: [\ntrue\n]\n\
                    [collect ./$[target:zap].conf]\n";
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("metro.conf", text);
        for (target, source, platform) in [
            ("one", "two", "z"),
            ("two", "three", "z"),
            ("three", "four", "vax"),
            ("four", "seed", "z"),
            ("five", "six", "z"),
            ("six", "five", "z"),
        ] {
            let text = format!("source: {source}\ntarget/platform: {platform}\n");
            write(&format!("{target}.conf"), &text);
        }
        let distribution = Distribution::open(None, folder.path(), Vec::new()).unwrap();
        let all = distribution.expand(&["*"]).unwrap();
        let lock = Lock::in_memory();
        let mut recipes = distribution.recipes(&all, &lock).unwrap();
        let own = recipes.all().map(|recipe| (&recipe.id, &recipe.platform));
        let own = own.filter(|(_, platform)| *platform == "vax").collect();
        let found = inherited(&recipes, own);
        let mut names: Vec<&str> = found.keys().map(|id| id.target.as_str()).collect();
        names.sort_unstable();
        assert_eq!(names, ["one", "three", "two"]);

        // What others start from stays with them.
        let gone = all.iter().filter(|id| id.target != "two").cloned();
        recipes.leave_out(&gone.collect());
        let left = recipes.all().map(|recipe| recipe.id.target.as_str());
        let mut left: Vec<&str> = left.collect();
        left.sort_unstable();
        assert_eq!(left, ["four", "three", "two"]);
        assert_eq!(recipes.requested().count(), 1);
    }
}
