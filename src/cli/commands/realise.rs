//! `mstore realise`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mstore_store::transfer::ReceiveOptions;
use mstore_store::{Realisation, RealisationKind, StoreError, TreeHash};
use serde::Serialize;

use crate::build::cancel::CancelToken;
use crate::build::error::{Infrastructure, StepError};
use crate::build::sandbox::Sandbox;
use crate::build::step::Builder;
use crate::build::userns::UsernsError;
use crate::cli::caches::{self, Caches};
use crate::cli::context::Context;
use crate::cli::output::{self, Style, plural};
use crate::cli::progress::Display;
use crate::cli::signals::Stop;
use crate::cli::transfer::{self, Bar, TrustArgs};
use crate::cli::{Failure, provide};
use crate::drv::{StepName, Trees as _, target_key, tree_changes};
use crate::plan::{Graph, NodeId, Pins, PlanError, Recipes, Staleness, Target, Todo};
use crate::project::Access;
use crate::project::Project;
use crate::schedule::realise::{self, Checked, Options, Outcome, Tools};
use crate::share::parcel::Recorder;
use crate::share::{Parcel, Substitute};

/// How many steps that were not tried are named.
const SKIPPED_SHOWN: usize = 6;

/// Bring targets up to date
#[derive(clap::Args)]
pub struct Args {
    /// Targets, such as stage3-corei7, or patterns, such as 'stage3-*'
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// Steps to build at a time [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<std::num::NonZeroU16>,
    /// Only show what would be built, and why
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Print one line of JSON a target
    #[arg(long)]
    json: bool,
    /// After a failure go on with what does not depend on it
    #[arg(long, short)]
    keep_going: bool,
    /// Build up-to-date targets a second time and compare
    #[arg(long, conflicts_with = "dry_run")]
    check: bool,
    /// Do not ask the caches of the configuration file
    #[arg(long)]
    no_substitute: bool,
    /// Print only errors and results
    #[arg(long, short)]
    quiet: bool,
}

/// The answer for one target.
#[derive(Serialize)]
struct Line<'a> {
    target: &'a str,
    drv: String,
    tree: Option<String>,
    built: usize,
    reused: usize,
    substituted: usize,
    seconds: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let started = Instant::now();
    let config = context.config()?;
    let caches = match args.no_substitute {
        true => Caches::default(),
        false => Caches::start(&config)?,
    };
    let key = transfer::signing_key(&config, None)?;
    // Must come before the first thread. That it failed matters only if something is to be built.
    let entered = context.enter();
    let mut project = if args.dry_run {
        context.project(Access::ReadIfPresent)?
    } else {
        context.project(Access::ChangeIfAllowed)?
    };
    let read_only = project.store.is_read_only();
    if read_only && args.check {
        return Err(unwritable(
            &project,
            "--check builds everything a second time",
        ));
    }
    let targets = project.targets(&args.targets)?;
    let mut recipes = project.recipes(&targets)?;
    let needs = recipes.needs(&project.lock);
    if !needs.is_empty() {
        if args.dry_run {
            provide::announce(&needs);
            return Ok(ExitCode::SUCCESS);
        }
        if read_only {
            let names: Vec<&str> = needs.iter().map(|n| n.name.as_str()).collect();
            let what = format!(
                "seeds and snapshots are to be imported: {}",
                names.join(" ")
            );
            return Err(unwritable(&project, &what));
        }
        if let Err(e) = &entered {
            return Err(no_namespace(e));
        }
        provide::provide(&mut project, &recipes, &needs, args.quiet)?;
        recipes = project.recipes(&targets)?;
    }
    let trust = transfer::trust(&config, &TrustArgs::default())?;
    let openers = if caches.is_empty() {
        Vec::new()
    } else if trust.is_empty() {
        tell!(
            "caches are not used: {}",
            "no key is trusted here (trust/keys of the configuration file)"
        );
        Vec::new()
    } else {
        caches.openers(&project.store)
    };
    let facts = Substitute::new(
        project.facts.clone(),
        project.store.clone(),
        openers,
        trust,
        args.dry_run || read_only,
        |notice| tell!("{notice}"),
    );
    let stop = context.stop()?;
    let bar = Bar::new(args.quiet || args.json);
    let Some(graph) = with_pins(&recipes, &project, &facts, &bar, stop, args.dry_run)? else {
        return Ok(ExitCode::SUCCESS);
    };
    facts.prepare(&graph)?;
    let mut staleness = Staleness::walk(&graph, &&facts, &mut ())?;
    let mut todo = staleness.todo(&&facts)?;
    if args.dry_run {
        return dry_run(&facts, &graph, &todo, args.json);
    }
    if read_only && !todo.is_empty() {
        let names: Vec<&str> = todo
            .build
            .iter()
            .map(|&n| graph.nodes()[n].name.as_str())
            .collect();
        let trees = todo.fetch.len();
        return Err(unwritable(
            &project,
            &match names.split_at(names.len().min(SKIPPED_SHOWN)) {
                ([], _) => format!("{trees} {} had to be fetched", plural(trees, "tree")),
                (first, []) => format!("this has to be built: {}", first.join(" ")),
                (first, more) => {
                    let more = more.len();
                    format!("this has to be built: {} and {more} more", first.join(" "))
                }
            },
        ));
    }
    // A tree that cannot be had after all is built, and then more may be needed.
    while !todo.fetch.is_empty() {
        if !args.quiet {
            tell!("{}", announce(&facts, &todo));
        }
        let fetched = caches::fetch(&facts, &todo.fetch, &bar, &stop.stopped);
        bar.clear();
        fetched?;
        staleness = Staleness::walk(&graph, &&facts, &mut ())?;
        todo = staleness.todo(&&facts)?;
    }
    if let Err(e) = &entered
        && (!todo.is_empty() || args.check)
    {
        return Err(no_namespace(e));
    }
    let wanted = todo.build.iter().chain(&todo.maybe).copied();
    graph.require_inputs(wanted, &&facts)?;
    let run = Run {
        project: &project,
        facts: &facts,
        stop,
        graph: &graph,
        args: &args,
        started,
    };
    if !read_only {
        project.keep_pins()?;
    }
    let outcome = if todo.is_empty() {
        Outcome::default()
    } else {
        run.build(&mut staleness, &todo)?
    };
    let built = !outcome.built.is_empty();
    let code = run.finish(&staleness, &todo, outcome)?;
    if let Some(key) = key.filter(|_| built) {
        let recorder = Recorder::new(&project.facts);
        let graph = Graph::build(&recipes, &project.lock, &recorder, Pins::Required)?;
        let staleness = Staleness::walk(&graph, &recorder, &mut ())?;
        let mut parcel = Parcel::default();
        parcel.add_graph(&project.store, &staleness, &recorder)?;
        parcel.sign(&project.store, &key)?;
    }
    Ok(code)
}

/// The graph; what a lock file pins and the store lacks is fetched where it must be looked into.
fn with_pins(
    recipes: &Recipes,
    project: &Project,
    facts: &Substitute<'_>,
    bar: &Bar,
    stop: &Stop,
    dry_run: bool,
) -> Result<Option<Graph>, Failure> {
    let mut last = None;
    loop {
        match Graph::build(recipes, &project.lock, &facts, Pins::Required) {
            Err(PlanError::AbsentPin { tree, .. })
                if !dry_run && last != Some(tree) && facts.fetchable(tree)? =>
            {
                caches::fetch(facts, &[tree].into(), bar, &stop.stopped)?;
                last = Some(tree);
            }
            Err(PlanError::AbsentPin {
                kind, name, tree, ..
            }) if dry_run && facts.fetchable(tree)? => {
                tell!("{kind} {name} would be fetched: tree {tree}");
                tell!("after that, --dry-run can tell what is to be built");
                return Ok(None);
            }
            // A part that was never cut out of it can only be had by writing it.
            Err(PlanError::AbsentPin { name, tree, .. })
                if project.store.is_read_only() && project.store.has_tree(tree)? =>
            {
                let what = format!("a part of the snapshot {name} has to be stored");
                return Err(unwritable(project, &what));
            }
            other => return Ok(Some(other?)),
        }
    }
}

/// What is about to be fetched.
fn announce(facts: &Substitute<'_>, todo: &Todo) -> String {
    let sizes = todo.fetch.iter().filter_map(|tree| facts.size(*tree));
    let sum: u64 = sizes.sum();
    let n = todo.fetch.len();
    match sum {
        0 => format!("fetching {n} {}", plural(n, "tree")),
        _ => format!(
            "fetching {n} {}, at most {}",
            plural(n, "tree"),
            output::size(sum)
        ),
    }
}

/// Something has to be written, and may not be.
fn unwritable(project: &Project, what: &str) -> Failure {
    let path = project.store.path().display();
    Failure::machine(format!("the store {path} may not be written, and {what}"))
        .hint("run it as the user that the store belongs to, and where it is mounted for writing")
        .hint(format!(
            "or use a store of your own, --store DIR, with {path} among its caches (doc/caches.md)"
        ))
}

fn no_namespace(error: &UsernsError) -> Failure {
    Failure::machine(error)
}

/// One run over a graph that is known.
struct Run<'a> {
    project: &'a Project,
    facts: &'a Substitute<'a>,
    stop: &'a Stop,
    graph: &'a Graph,
    args: &'a Args,
    started: Instant,
}

impl Run<'_> {
    fn jobs(&self) -> usize {
        self.args.jobs.map_or_else(processors, |n| n.get().into())
    }

    fn builder<'b>(&'b self, cancel: &'b CancelToken) -> Builder<'b> {
        Builder {
            store: &self.project.store,
            facts: &self.project.facts,
            sandbox: Sandbox::new(),
            cancel,
            make_jobs: processors(),
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        }
    }

    fn build(&self, staleness: &mut Staleness<'_>, todo: &Todo) -> Result<Outcome, Failure> {
        let stop = self.stop;
        let mut display = Display::new(self.args.quiet);
        if !self.args.quiet {
            display.say(&format!(
                "{} {} to build{}, {} up to date",
                todo.build.len(),
                plural(todo.build.len(), "step"),
                match todo.maybe.len() {
                    0 => String::new(),
                    n => format!(", {n} more if their inputs change"),
                },
                todo.reuse.len()
            ));
        }
        let store = &self.project.store;
        let seconds = |name: &StepName| {
            let all = store.realisations(Some(name.as_str())).ok()?;
            all.first().map(|r| r.seconds)
        };
        let fetch = |tree: TreeHash| {
            let options = ReceiveOptions {
                cancel: &stop.stopped,
                progress: &|_| (),
                dry_run: false,
            };
            // What cannot be fetched is built.
            matches!(self.facts.fetch(tree, &options), Ok(Some(_)))
        };
        let tools = Tools {
            builder: &self.builder(&stop.cancel),
            facts: &self.facts,
            fetch: &fetch,
            seconds: &seconds,
            cancelled: &stop.stopped,
        };
        let options = Options {
            jobs: self.jobs(),
            keep_going: self.args.keep_going,
        };
        let outcome = realise::realise(&tools, staleness, todo, options, &mut display);
        display.clear();
        Ok(outcome)
    }

    fn finish(
        &self,
        staleness: &Staleness<'_>,
        todo: &Todo,
        outcome: Outcome,
    ) -> Result<ExitCode, Failure> {
        report(&outcome);
        let mut missing = 0;
        // Not simply the rest: after Ctrl-C or a full disk some steps are neither.
        let taken = self.facts.taken();
        let substituted = |n: &NodeId| {
            let key = staleness.state(*n).key();
            key.is_some_and(|key| taken.contains(&key.0)) && !outcome.built.contains(n)
        };
        let substituted = self.graph.nodes().ids().filter(substituted).count();
        let reused = self
            .graph
            .nodes()
            .ids()
            .filter(|n| staleness.state(*n).tree().is_some() && !outcome.built.contains(n))
            .count()
            - substituted;
        for target in self.graph.targets().iter().filter(|t| !t.requested) {
            // What others start from is kept too: a change to them must not start from nothing.
            if let Some(tree) = staleness.target_tree(target, &self.facts)? {
                self.remember(target, tree)?;
            }
        }
        for target in self.graph.requested() {
            let tree = staleness.target_tree(target, &self.facts)?;
            let path = match tree {
                Some(tree) => {
                    self.remember(target, tree)?;
                    match self.project.store.checkout_whole(tree) {
                        Err(StoreError::ReadOnly { .. }) => {
                            tell!(
                                "{} is not checked out, and the store may not be written: mstore export {tree} --to DIR",
                                target.name
                            );
                            None
                        }
                        other => Some(other?),
                    }
                }
                None => {
                    missing += 1;
                    None
                }
            };
            let path = path.as_ref().and_then(|p| p.layers().first());
            self.print(
                target,
                tree,
                path.map(PathBuf::as_path),
                &outcome,
                (reused, substituted),
            )?;
        }
        if outcome.cancelled {
            return Err(
                Failure::interrupted().hint("what is finished is kept; run it again to go on")
            );
        }
        if let Some((step, error)) = &outcome.infrastructure {
            return Err(infrastructure(step, error));
        }
        if missing > 0 || !outcome.failed.is_empty() {
            return Ok(ExitCode::from(crate::cli::failure::FOUND));
        }
        if self.args.check {
            return self.check(staleness);
        }
        if todo.is_empty() && !self.args.quiet && !self.args.json {
            tell!(
                "nothing to do: {} {} up to date{} ({})",
                todo.reuse.len(),
                plural(todo.reuse.len(), "step"),
                match substituted {
                    0 => String::new(),
                    n => format!(", {n} of them substituted"),
                },
                output::duration(self.started.elapsed().as_secs_f64())
            );
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Records that a target is a tree, when it was another one before: history, and what the
    /// collector keeps the newest of.
    fn remember(&self, target: &Target, tree: TreeHash) -> Result<(), Failure> {
        let store = &self.project.store;
        let name = target.id.to_string();
        let known = store.realisations(Some(&name))?;
        if store.is_read_only() || known.first().is_some_and(|r| r.tree == tree) {
            return Ok(());
        }
        store.record(&Realisation {
            kind: RealisationKind::Target,
            key: target_key(&name, tree),
            drv: self.graph.nodes()[target.last].hash.0,
            name,
            tree,
            started: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |d| d.as_secs().cast_signed()),
            seconds: self.started.elapsed().as_secs_f64(),
            host: String::new(),
            log: None,
        })?;
        Ok(())
    }

    fn print(
        &self,
        target: &Target,
        tree: Option<TreeHash>,
        path: Option<&std::path::Path>,
        outcome: &Outcome,
        (reused, substituted): (usize, usize),
    ) -> Result<(), Failure> {
        let path = path.map(|p| p.display().to_string());
        if self.args.json {
            return output::json(&Line {
                target: &target.name,
                drv: self.graph.nodes()[target.last].hash.to_string(),
                tree: tree.map(|t| t.to_string()),
                built: outcome.built.len(),
                reused,
                substituted,
                seconds: (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
                path,
            });
        }
        match (tree, path) {
            (Some(tree), Some(path)) => output::line(format!("{} {tree} {path}", target.name)),
            (Some(tree), None) => output::line(format!("{} {tree}", target.name)),
            (None, _) => Ok(()),
        }
    }

    fn check(&self, staleness: &Staleness<'_>) -> Result<ExitCode, Failure> {
        let stop = self.stop;
        let builder = self.builder(&stop.cancel);
        let style = Style::stderr();
        let mut differing = 0;
        for target in self.graph.requested() {
            for &node in &target.nodes {
                let name = &self.graph.nodes()[node].name;
                match realise::check(&builder, staleness, node, &mut |_| ()) {
                    Ok(Checked::Same) => tell!("{} {name}", style.good("same")),
                    Ok(Checked::Differs { first, second }) => {
                        differing += 1;
                        tell!(
                            "{} {name}: {first} before, {second} now",
                            style.error("differs")
                        );
                        let changes = tree_changes(&self.project.store, first, second, 20)?;
                        for path in &changes.paths {
                            tell!("  {path}");
                        }
                    }
                    Err(StepError::Failed(failure)) => {
                        differing += 1;
                        tell!("{} {name}: {}", style.error("failed"), failure.how);
                    }
                    Err(StepError::Infrastructure(e)) => return Err(infrastructure(name, &e)),
                    Err(StepError::Cancelled) => return Err(Failure::interrupted()),
                }
            }
        }
        Ok(if differing == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(crate::cli::failure::FOUND)
        })
    }
}

fn infrastructure(step: &StepName, error: &Infrastructure) -> Failure {
    let room = error.room().map(|room| format!("; {room}"));
    let failure = Failure::machine(format!("{step}: {error}{}", room.unwrap_or_default()));
    if error.is_disk_full() {
        failure.hint(crate::cli::blame::IN_STORE)
    } else {
        failure
    }
}

/// Tells about failed steps: how, the last lines, and what can be done next.
fn report(outcome: &Outcome) {
    let style = Style::stderr();
    for failed in &outcome.failed {
        let failure = &failed.failure;
        tell!(
            "{} {} failed: {}",
            style.error("error:"),
            failed.name,
            failure.how
        );
        if !failure.tail.is_empty() {
            tell!("last lines of {}:", failure.log.display());
            for line in &failure.tail {
                let clean: String = line
                    .chars()
                    .filter(|c| !c.is_control() || *c == '\t')
                    .collect();
                tell!("  {clean}");
            }
        }
        let target = failed.name.target();
        tell!(
            "{} `mstore log {target}` shows the whole log, `mstore shell {target}` enters the root as the step left it",
            style.note("hint:")
        );
    }
    // After a failure of the machine or Ctrl-C it goes without saying.
    if !outcome.failed.is_empty() && !outcome.skipped.is_empty() {
        let (first, rest) = outcome
            .skipped
            .split_at(outcome.skipped.len().min(SKIPPED_SHOWN));
        let more = match rest.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        tell!("not tried because of this: {}{more}", first.join(" "));
    }
}

#[derive(Serialize)]
struct Fetched {
    tree: String,
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct Planned<'a> {
    build: Vec<&'a str>,
    maybe: Vec<&'a str>,
    reuse: Vec<&'a str>,
    substituted: Vec<&'a str>,
    fetch: Vec<Fetched>,
}

fn dry_run(
    facts: &Substitute<'_>,
    graph: &Graph,
    todo: &Todo,
    json: bool,
) -> Result<ExitCode, Failure> {
    let names = |list: &[NodeId]| -> Vec<&str> {
        list.iter()
            .map(|&n| graph.nodes()[n].name.as_str())
            .collect()
    };
    let mut explainer = crate::plan::Explainer::only(todo.build.iter().copied());
    let staleness = Staleness::walk(graph, &facts, &mut explainer)?;
    let taken = facts.taken();
    let (substituted, reuse): (Vec<NodeId>, Vec<NodeId>) = todo.reuse.iter().partition(|&&n| {
        let key = staleness.state(n).key();
        key.is_some_and(|key| taken.contains(&key.0))
    });
    let planned = Planned {
        build: names(&todo.build),
        maybe: names(&todo.maybe),
        reuse: names(&reuse),
        substituted: names(&substituted),
        fetch: todo
            .fetch
            .iter()
            .map(|tree| Fetched {
                tree: tree.to_string(),
                bytes: facts.size(*tree),
            })
            .collect(),
    };
    if json {
        output::json(&planned)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (&node, name) in todo.build.iter().zip(&planned.build) {
        let why: Vec<String> = explainer
            .of(node)
            .iter()
            .map(|r| r.to_string().lines().next().unwrap_or_default().to_owned())
            .collect();
        output::line(format!("would build {name}: {}", why.join("; ")))?;
    }
    for name in &planned.maybe {
        output::line(format!(
            "would build {name} if its inputs come out different"
        ))?;
    }
    for fetch in &planned.fetch {
        let size = fetch
            .bytes
            .map(|b| format!(", at most {}", output::size(b)));
        output::line(format!(
            "would fetch tree {}{}",
            fetch.tree,
            size.unwrap_or_default()
        ))?;
    }
    if !planned.substituted.is_empty() {
        output::line(format!(
            "would substitute {} {}",
            planned.substituted.len(),
            plural(planned.substituted.len(), "step")
        ))?;
    }
    output::line(format!(
        "would reuse {} {}",
        planned.reuse.len(),
        plural(planned.reuse.len(), "step")
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
