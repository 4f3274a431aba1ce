//! Bringing targets up to date, in phases: provide what is lacking, plan, fetch, build, remember, sign.
//!
//! [`realise`] runs them in this order; each is a function that leaves the project in a state from
//! which a later run goes on. [`preview`] plans only, [`check`] builds a second time what is there.

mod books;
mod check;
mod differences;
mod growing;
mod here;
mod outside;
mod places;
mod preview;
mod remembered;
mod rounds;
mod until;
mod walked;

use std::collections::{HashMap, HashSet};

use mstore_store::transfer::ReceiveOptions;
use mstore_store::{Cancel, Realisation, RealisationKind, TreeHash};

use super::caches::{self, Caches};
use super::estimate::home;
use super::events::{Amount, Event, Events, Steps};
use super::remote::Bring;
use super::{Blocked, Project, ProjectError, clock};
use crate::build::cancel::CancelToken;
use crate::build::pause::Stopwatch;
use crate::build::processors::Processors;
use crate::build::sandbox::Sandbox;
use crate::build::step::{Builder, Limits};
use crate::build::userns::{Entered, UsernsError};
use crate::drv::{DrvHash, Facts as _, StepName, Trees as _, target_key};
use crate::farm::Farm;
use crate::packages::grow::Unfolding;
use crate::plan::{
    Graph, NodeId, Pins, PlanError, Recipes, Staleness, Target, TargetId, Todo, Unfold,
};
use crate::schedule::Leave;
use crate::schedule::realise::{self as run, Here, Kept, Options, Outcome, Site, Tools};
use crate::schedule::steps::Settled;
use crate::share::fetch::{self as outside_fetch, FetchOptions, Outside};
use crate::share::{SecretKey, Substitute, Trust};

pub use books::{Books, Reopen, Seconds};
pub use check::check;
pub use here::{LeftOut, Obstacle, Obstacles, left_out};
pub use outside::{Brought, bring};
use places::{Places, Placing};
pub use preview::{PackagesPreview, Preview, StepsPreview, preview};
pub use remembered::Question;
pub use until::Until;
pub use walked::{PortsReport, WantedPort, counts, realise_ports};

/// What a run works with, and how it goes about it.
pub struct Run<'a> {
    /// Steps that are built at a time on this machine.
    pub jobs: usize,
    /// The machines that build; this one alone where there are none.
    pub farm: Option<&'a Farm>,
    /// Where steps are built, if neither this machine nor `farm` alone says that.
    pub site: Option<&'a dyn Site>,
    /// Processors that the steps share.
    pub processors: usize,
    /// What a step may leave and write.
    pub limits: Limits,
    /// Whether to go on, after a failure, with what does not depend on it.
    pub keep_going: bool,
    /// Up to which steps targets are built.
    pub until: &'a Until,
    /// Whether to build the steps of targets that were asked for though there are results.
    pub rebuild: bool,
    /// Whether to read the inputs of steps, and compare them with their hashes, before they are used.
    pub read_inputs: bool,
    /// How content is fetched that is known by its hashes.
    pub outside: &'a FetchOptions,
    /// Who may have what is not here.
    pub caches: &'a Caches,
    /// Whose facts are believed.
    pub trust: &'a Trust,
    /// Signs what was built.
    pub sign: Option<&'a SecretKey>,
    /// Ends the run.
    pub cancel: &'a Cancel,
    /// Ends the run when what runs has ended.
    pub leave: &'a Leave,
    /// Is told what happens.
    pub events: &'a dyn Events,
    /// Build in a random order that this number tells.
    pub random: Option<u64>,
    /// Locks and logs, where they are kept.
    pub books: Option<&'a Books>,
}

impl Run<'_> {
    /// Tells people of what a package does not declare.
    fn tell(&self) -> impl Fn(&crate::packages::grow::Told) {
        |told| self.events.event(Event::Undeclared(told))
    }

    fn builder<'b>(
        &self,
        project: &'b Project,
        fetcher: &'b Outside<'b>,
        token: &'b CancelToken,
    ) -> Builder<'b> {
        Builder {
            store: &project.store,
            facts: &project.facts,
            sandbox: Sandbox::new(),
            fetcher,
            cancel: token,
            processors: Processors::new(self.processors),
            slots: 1,
            limits: self.limits,
            note: &|_| (),
            raw: &|_| (),
            anew: self.rebuild,
            host: home(),
        }
    }

    /// How seeds and snapshots are brought from outside.
    fn bring(&self) -> Bring<'_> {
        Bring {
            options: self.outside,
            cancel: self.cancel,
            events: self.events,
        }
    }

    /// The cancel flag as running builds wait for it.
    fn token(&self) -> Result<CancelToken, ProjectError> {
        CancelToken::of(self.cancel).map_err(ProjectError::Token)
    }

    /// The facts of the store, and over them those of the caches. Nothing is written down of these with
    /// `dry_run`.
    fn facts<'b>(&'b self, project: &'b Project, dry_run: bool) -> Substitute<'b> {
        let openers = if self.caches.is_empty() {
            Vec::new()
        } else if self.trust.is_empty() {
            self.events.event(Event::CachesUntrusted);
            Vec::new()
        } else {
            self.caches.openers()
        };
        Substitute::new(
            project.facts.clone(),
            project.store.clone(),
            openers,
            self.trust.clone(),
            dry_run,
            |notice| self.events.event(Event::Cache(notice)),
        )
    }
}

/// What came of one target that was asked for.
#[derive(Clone, Debug)]
pub struct TargetReport {
    /// The target.
    pub id: TargetId,
    /// Its name, as short as it can be; with the step, if it was asked for up to one.
    pub name: String,
    /// The derivation of its last step, or of that one.
    pub drv: DrvHash,
    /// Its tree, or what that step left, if there is one now.
    pub tree: Option<TreeHash>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The targets that were asked for, in their order.
    pub targets: Vec<TargetReport>,
    /// Whether there was nothing to build or to fetch.
    pub idle: bool,
    /// Steps whose results served as they were, of the whole plan.
    pub up_to_date: usize,
    /// Steps that were there before and were not built now.
    pub reused: usize,
    /// Steps that were built and came out as the last time.
    pub same: usize,
    /// Steps that were to be built if their inputs changed, and need not be.
    pub spared: usize,
    /// Steps of whose results a cache told.
    pub substituted: usize,
    /// What became of packages, target by target; nothing of targets of which none was built.
    pub packages: Vec<Followed>,
    /// How the run over the steps ended.
    pub outcome: Outcome,
    /// The state of the store at which all was found out, if it was one.
    state: Option<i64>,
    /// Wall seconds.
    pub seconds: f64,
}

/// What became of the packages of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// The target.
    pub target: String,
    /// Packages that were built because they changed.
    pub changed: usize,
    /// Packages that were built because others did.
    pub follow: usize,
    /// How many of both came out as the last time.
    pub same: usize,
    /// Packages that were not built because of that.
    pub spared: usize,
}

impl Followed {
    /// Counts them.
    fn of(
        project: &Project,
        Work {
            staleness, todo, ..
        }: &Work<'_>,
        target: &Target,
        built: &HashSet<NodeId>,
    ) -> Result<Option<Followed>, ProjectError> {
        let graph = staleness.graph();
        let mut found = Followed {
            target: target.name.clone(),
            changed: 0,
            follow: 0,
            same: 0,
            spared: 0,
        };
        let maybe: HashSet<NodeId> = todo.maybe.iter().copied().collect();
        for (at, _) in graph.packages_of(target) {
            let tree = staleness.state(at).tree();
            match (built.contains(&at), maybe.contains(&at)) {
                (true, true) => found.follow += 1,
                (true, false) => found.changed += 1,
                (false, true) if tree.is_some() => found.spared += 1,
                (false, _) => continue,
            }
            if built.contains(&at)
                && let [_, before] = &project.facts.earlier(&graph.nodes()[at].full_name, 2)?[..]
            {
                let was = project.facts.realised(before.step.key())?;
                found.same += usize::from(was.map(|was| was.tree) == tree);
            }
        }
        Ok((found.changed + found.follow > 0).then_some(found))
    }
}

impl Report {
    /// Tells whether the run ended before everything was tried that could be.
    fn broke_off(&self) -> bool {
        self.outcome.cancelled || self.outcome.infrastructure.is_some()
    }
}

/// A graph whose nodes are decided, with what there is to do.
struct Work<'g> {
    staleness: Staleness<'g>,
    todo: Todo,
    /// The state of the store at which that is so, if it is one.
    state: Option<i64>,
}

impl<'g> Work<'g> {
    /// Of nodes that are built again though there are results nothing is known but of those in `rebuild`.
    fn of(
        graph: &'g Graph,
        facts: &Substitute<'_>,
        rebuild: Option<&HashSet<DrvHash>>,
    ) -> Result<Self, ProjectError> {
        // What is looked up is of one moment, as long as no cache is asked.
        let steady = facts.steady()?;
        let staleness = match rebuild {
            Some(done) => {
                let rebuilt = growing::rebuilt(graph);
                let is_anew = |at| rebuilt.contains(&at) && !done.contains(&graph.nodes()[at].hash);
                Staleness::walk_anew(graph, &facts, &mut (), is_anew)?
            }
            None => Staleness::walk(graph, &facts, &mut ())?,
        };
        let todo = staleness.todo(&facts)?;
        let state = steady.answers();
        Ok(Work {
            staleness,
            todo,
            state,
        })
    }
}

/// Brings the targets that `recipes` were asked for up to date. Failed steps are part of the report; an error means that the run could
/// not begin or that its result could not be written down.
///
/// `entered` is what became of entering a user namespace, which has to come before the first thread;
/// that it failed matters only if something is to be built.
pub fn realise(
    project: &mut Project,
    mut recipes: Recipes,
    run: &Run<'_>,
    mut entered: Result<Entered, UsernsError>,
) -> Result<Report, ProjectError> {
    let clock = Stopwatch::start();
    if !recipes.needs(&project.lock).is_empty() {
        entered = Ok(provide(project, &recipes, run, entered)?);
        let targets: Vec<TargetId> = recipes.requested().cloned().collect();
        recipes = project.recipes(&targets)?;
    }
    let facts = run.facts(project, project.store.is_read_only());
    let report = rounds::realise(project, &recipes, &facts, run, entered, clock)?;
    if let Some(key) = run.sign
        && !report.outcome.built.is_empty()
        && !report.broke_off()
    {
        project.sign(&recipes, Pins::Required, key)?;
    }
    Ok(report)
}

/// Gets the seeds and snapshots that the lock file lacks.
fn provide(
    project: &mut Project,
    recipes: &Recipes,
    run: &Run<'_>,
    entered: Result<Entered, UsernsError>,
) -> Result<Entered, ProjectError> {
    let needs = recipes.needs(&project.lock);
    let names = needs.iter().map(|n| n.name.clone()).collect();
    project.must_write(|| Blocked::Pins(names))?;
    let entered = entered?;
    project.provide(recipes, &needs, run.events)?;
    Ok(entered)
}

/// Makes the graph; what a lock file pins and the store lacks is fetched where it must be looked into.
fn plan(
    project: &Project,
    recipes: &Recipes,
    facts: &Substitute<'_>,
    run: &Run<'_>,
) -> Result<Graph, ProjectError> {
    plan_with(project, recipes, facts, run, &())
}

/// The same, with nodes for packages as far as they are known.
fn plan_with(
    project: &Project,
    recipes: &Recipes,
    facts: &Substitute<'_>,
    run: &Run<'_>,
    unfold: &dyn Unfold,
) -> Result<Graph, ProjectError> {
    let mut last = None;
    let mut graph = loop {
        match Graph::unfolded(recipes, &project.lock, &facts, Pins::Required, unfold) {
            Err(PlanError::AbsentPin { tree, .. })
                if last != Some(tree) && facts.fetchable(tree)? =>
            {
                caches::fetch(facts, &[tree].into(), run.cancel, run.events)?;
                last = Some(tree);
            }
            Err(PlanError::AbsentPin {
                kind, name, tree, ..
            }) if last != Some(tree)
                && !project.store.is_read_only()
                && project.can_bring_back(kind, &name) =>
            {
                project.bring_back(kind, &name, &run.bring())?;
                last = Some(tree);
            }
            // A part that was never cut out of it can only be had by writing it.
            Err(PlanError::AbsentPin { name, tree, .. })
                if project.store.is_read_only() && project.store.has_tree(tree)? =>
            {
                return Err(project.blocked(Blocked::Part { snapshot: name }));
            }
            other => break other?,
        }
    };
    run.until.limit(&mut graph)?;
    facts.prepare(graph.nodes().values().map(|node| node.hash))?;
    Ok(graph)
}

/// Whether the store lacks a seed or snapshot of which the lock file says where it is to be had.
fn lacks_outside(project: &Project, graph: &Graph) -> Result<bool, ProjectError> {
    for (kind, name, tree) in graph.pins() {
        if project.can_bring_back(kind, name) && !project.store.has_tree(tree)? {
            return Ok(!project.store.is_read_only());
        }
    }
    Ok(false)
}

/// Makes the graph when seeds and snapshots, as far as steps are to be built on them, were brought from where the
/// lock file says.
fn with_inputs(
    project: &Project,
    recipes: &Recipes,
    facts: &Substitute<'_>,
    run: &Run<'_>,
    unfold: &dyn Unfold,
    rebuild: Option<&HashSet<DrvHash>>,
) -> Result<Graph, ProjectError> {
    let mut brought = HashSet::new();
    loop {
        let graph = plan_with(project, recipes, facts, run, unfold)?;
        let lacking = {
            let work = fetch(project, &graph, facts, run, rebuild)?;
            let wanted = work.todo.build.iter().chain(&work.todo.maybe).copied();
            graph.require_inputs(wanted, &facts)
        };
        match lacking {
            Ok(()) => return Ok(graph),
            Err(PlanError::AbsentPin { kind, ref name, .. })
                if project.can_bring_back(kind, name) && brought.insert((kind, name.clone())) =>
            {
                project.bring_back(kind, name, &run.bring())?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Finds out what there is to do, and fetches what caches have of it. A tree that cannot be had after
/// all is built, and then more may be needed.
fn fetch<'g>(
    project: &Project,
    graph: &'g Graph,
    facts: &Substitute<'_>,
    run: &Run<'_>,
    rebuild: Option<&HashSet<DrvHash>>,
) -> Result<Work<'g>, ProjectError> {
    let mut work = Work::of(graph, facts, rebuild)?;
    if !work.todo.is_empty() {
        let steps = work.todo.build.iter();
        let steps: Vec<StepName> = steps.map(|&n| graph.nodes()[n].name.clone()).collect();
        project.must_write(|| match steps.is_empty() {
            true => Blocked::Fetch {
                trees: work.todo.fetch.len(),
            },
            false => Blocked::Build { steps },
        })?;
    }
    while !work.todo.fetch.is_empty() {
        let sizes = work.todo.fetch.iter().filter_map(|tree| facts.size(*tree));
        run.events.event(Event::FetchStarted {
            trees: work.todo.fetch.len(),
            bytes: Some(sizes.sum()).filter(|&sum| sum > 0),
        });
        caches::fetch(facts, &work.todo.fetch, run.cancel, run.events)?;
        work = Work::of(graph, facts, rebuild)?;
    }
    Ok(work)
}

/// Builds what there is to be built. Gives how it ended, and how many builds had the same result as the last under
/// their name.
fn build<'g>(
    project: &Project,
    work: &mut Work<'g>,
    facts: &Substitute<'_>,
    run: &Run<'_>,
    grows: Option<Grows<'_, 'g>>,
    settled: &Settled<'_>,
) -> Result<(Outcome, usize), ProjectError> {
    let begun = run.books.map_or(Ok(()), |books| books.begin(project, work));
    if let Err(error) = begun {
        let outcome = Outcome {
            infrastructure: Some((None, error.into())),
            ..Outcome::default()
        };
        return Ok((outcome, 0));
    }
    if work.todo.is_empty() {
        return Ok((Outcome::default(), 0));
    }
    let token = run.token()?;
    if run.read_inputs {
        project.store.read_inputs();
    }
    let before = Before::of(project, work);
    let names: Vec<&str> = before.0.keys().map(StepName::as_str).collect();
    let history = project.history(&names, run.farm, run.events);
    run.events.event(Event::BuildStarted(before.amount(work)));
    // What people call steps, by their full names.
    let nodes = work.staleness.graph().nodes();
    let todo = work.todo.build.iter().chain(&work.todo.maybe);
    let short: HashMap<&StepName, &StepName> = todo
        .filter(|_| run.books.is_some())
        .map(|node| (&nodes[*node].full_name, &nodes[*node].name))
        .collect();
    let seconds = |name: &StepName| {
        let told = run.books.zip(short.get(name));
        let told = told.and_then(|(books, name)| books.seconds(name));
        // What was copied from another store has no history here.
        let copied = || before.0.get(name).map(|last| last.1);
        told.or_else(|| history.seconds(name.as_str()))
            .or_else(copied)
    };
    let fetch = |tree: TreeHash| {
        let options = ReceiveOptions {
            cancel: run.cancel,
            progress: &|_| (),
            dry_run: false,
        };
        // What cannot be fetched is built.
        matches!(facts.fetch(tree, &options), Ok(Some(_)))
    };
    let outside = Outside::new(&project.store, run.outside);
    outside_fetch::prune(&project.store);
    let graph = work.staleness.graph();
    let unchanged = |at: NodeId| {
        run.books
            .is_none_or(|books| books.is_unchanged(project, graph, at, facts))
    };
    let tools = Tools {
        builder: &run.builder(project, &outside, &token),
        facts: &facts,
        fetch: &fetch,
        seconds: &seconds,
        cancel: run.cancel,
        leave: run.leave,
        site: match (run.site, run.farm) {
            (Some(site), _) => site,
            (None, Some(farm)) => farm,
            (None, None) => &Here(run.jobs),
        },
        unchanged: &unchanged,
        settled,
        unattended: &|error| run.events.event(Event::Unattended(error)),
    };
    let options = Options {
        keep_going: run.keep_going,
        random: run.random,
        a_site: run.outside.a_site.get().into(),
    };
    let places = Places::new(project, graph);
    let mut observer = Placing {
        steps: Steps(run.events),
        places: &places,
        names: HashMap::new(),
    };
    if let Some(Grows {
        recipes,
        graphs,
        unfolding,
    }) = grows
    {
        let grown = growing::Grown {
            project,
            recipes,
            facts,
            run,
        };
        let of = (graphs, &mut *work);
        let done = growing::realise(&grown, of, unfolding, &tools, options, &mut observer);
        run.events.event(Event::BuildEnded);
        let (mut outcome, same) = done?;
        place_lines(&mut outcome, &places);
        return Ok((outcome, same));
    }
    let Work {
        staleness, todo, ..
    } = work;
    let mut desk = run.books.map(|books| books.desk.borrow_mut());
    let kept = run.books.zip(desk.as_mut()).map(|(books, desk)| Kept {
        ledger: &mut **desk,
        patience: books.patience,
        first: &books.first,
    });
    let mut outcome = run::realise(&tools, staleness, todo, options, &mut observer, kept);
    drop(desk);
    run.events.event(Event::BuildEnded);
    place_lines(&mut outcome, &places);
    let same = |n: &&NodeId| {
        let last = before.0.get(&staleness.graph().nodes()[**n].full_name);
        last.is_some_and(|last| Some(last.0) == staleness.state(**n).tree())
    };
    let same = outcome.built.iter().filter(same).count();
    Ok((outcome, same))
}

/// Says of lines of failed steps where the lines of scripts are written that they are about.
fn place_lines(outcome: &mut Outcome, places: &Places<'_>) {
    for failed in &mut outcome.failed {
        for line in &mut failed.failure.tail {
            if let Some(placed) = places.placed(failed.name.as_str(), line) {
                *line = placed;
            }
        }
    }
}

/// What a graph grows from while its steps are built.
struct Grows<'a, 'g> {
    recipes: &'a Recipes,
    graphs: &'g growing::Graphs,
    unfolding: &'a mut Unfolding,
}

/// What came of the last builds of the steps that there are to do, and in how many seconds, by name.
struct Before(HashMap<StepName, (TreeHash, f64)>);

impl Before {
    fn of(project: &Project, work: &Work<'_>) -> Before {
        let nodes = work.staleness.graph().nodes();
        let todo = work.todo.build.iter().chain(&work.todo.maybe);
        let last = todo.filter_map(|&node| {
            let name = &nodes[node].full_name;
            // Only what is told depends on it.
            let newest = project.store.newest_realisation(name.as_str()).ok()??;
            Some((name.clone(), (newest.tree, newest.seconds)))
        });
        Before(last.collect())
    }

    /// How much there is to do. What was never built is built whatever comes of the rest.
    fn amount(&self, work: &Work<'_>) -> Amount {
        let nodes = work.staleness.graph().nodes();
        let maybe = work.todo.maybe.iter();
        let maybe = maybe
            .filter(|&&n| self.0.contains_key(&nodes[n].full_name))
            .count();
        Amount {
            build: work.todo.build.len() + work.todo.maybe.len() - maybe,
            maybe,
            up_to_date: work.todo.reuse.len(),
        }
    }
}

/// Records which trees the targets are now, and sums the run up.
fn remember(
    project: &Project,
    work: &Work<'_>,
    facts: &Substitute<'_>,
    (outcome, same): (Outcome, usize),
    clock: Stopwatch,
) -> Result<Report, ProjectError> {
    let Work {
        staleness,
        todo,
        state,
    } = work;
    let graph = staleness.graph();
    let mut targets = Vec::new();
    for target in graph.targets() {
        // What others start from is remembered too: a change to them must not start from nothing.
        let tree = staleness.target_tree(target, &facts)?;
        if let Some(tree) = tree {
            record(project, graph, target, tree, clock)?;
        }
        if target.requested {
            let until = &graph.nodes()[target.until];
            targets.push(TargetReport {
                id: target.id.clone(),
                name: match target.is_whole() {
                    true => target.name.clone(),
                    false => until.name.to_string(),
                },
                drv: until.hash,
                tree: staleness.wanted_tree(target, &facts)?,
            });
        }
    }
    let trees: Vec<TreeHash> = targets.iter().filter_map(|target| target.tree).collect();
    project.store.note_use(&trees)?;
    // Not simply the rest: after a signal or a full disk some steps are neither.
    let to_do = todo.build.iter().chain(&todo.maybe);
    let to_do: HashSet<NodeId> = to_do.copied().collect();
    let built: HashSet<NodeId> = outcome.built.iter().copied().collect();
    let mut packages = Vec::new();
    for target in graph.targets() {
        packages.extend(Followed::of(project, work, target, &built)?);
    }
    let there = graph
        .nodes()
        .ids()
        .filter(|n| staleness.state(*n).tree().is_some() && !built.contains(n));
    let there: Vec<NodeId> = there.collect();
    let spared = there.iter().filter(|n| to_do.contains(n)).count();
    let taken = facts.taken();
    let (substituted, reused): (Vec<NodeId>, Vec<NodeId>) = there.into_iter().partition(|&n| {
        let key = staleness.state(n).key();
        key.is_some_and(|key| taken.contains(&key.0))
    });
    Ok(Report {
        targets,
        idle: todo.is_empty(),
        up_to_date: todo.reuse.len(),
        same,
        spared,
        reused: reused.len(),
        substituted: substituted.len(),
        packages,
        outcome,
        state: *state,
        seconds: clock.elapsed().as_secs_f64(),
    })
}

/// Records that a target is a tree, when it was another one before: history, and what the collector
/// keeps the newest of.
fn record(
    project: &Project,
    graph: &Graph,
    target: &Target,
    tree: TreeHash,
    clock: Stopwatch,
) -> Result<(), ProjectError> {
    let store = &project.store;
    let name = target.id.to_string();
    let known = store.newest_realisation(&name)?;
    if store.is_read_only() || known.as_ref().is_some_and(|r| r.tree == tree) {
        return Ok(());
    }
    // Newer than what was the newest, also within a second and after the clock was put back.
    let after = known.map_or(0, |r| r.started.saturating_add(1));
    store.record(&Realisation {
        kind: RealisationKind::Target,
        key: target_key(&name, tree),
        drv: graph.nodes()[target.last].hash.0,
        name,
        tree,
        started: clock::now().max(after),
        seconds: clock.elapsed().as_secs_f64(),
        host: String::new(),
        log: None,
    })?;
    Ok(())
}
