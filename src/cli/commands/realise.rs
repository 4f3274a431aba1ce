//! `mstore realise`

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::build::step::Limits;
use crate::build::userns::{Entered, UsernsError};
use crate::build::{USER_WORD, host, memory};
use crate::cli::Failure;
use crate::cli::args::{self, TrustArgs};
use crate::cli::blame;
use crate::cli::blame::pin_hint;
use crate::cli::books::{NoScreen, Past, reopen, seed};
use crate::cli::context::{Context, current_dir};
use crate::cli::engine::engine;
use crate::cli::estimate;
use crate::cli::failure::FOUND;
use crate::cli::output::{self, Style, plural};
use crate::cli::places::Wanted;
use crate::cli::report::{failed_json, processors, put_by_json, show_failed};
use crate::cli::watch::Watch;
use crate::config::{self, Config};
use crate::drv::StepName;
use crate::farm::{Farm, HostsFile, Place};
use crate::plan::{MissingPin, PinOrigin, RESOLVE, Recipes, TargetId};
use crate::ports::grow::refusal;
use crate::ports::{Ignored, PortsTree, Reason};
use crate::project::realise::{
    Books, Followed, LeftOut, Obstacle, PackagesPreview, Preview, Question, Report, Run,
    StepsPreview, TargetReport, Until, WantedPort, check, left_out, preview, realise,
    realise_ports,
};
use crate::project::{Access, Blocked, Caches, Estimates, Project, ports};
use crate::schedule::Leave;
use crate::schedule::engine::Patience;
use crate::schedule::realise::Site;
use crate::share::ssh_master::Sockets;

/// The step of a port that tests it.
const TEST: &str = "test";

/// Seconds that connecting to a host may take.
const CONNECT: u32 = 20;
/// How often locks and stop files are looked at, at least.
const LOOK: Duration = Duration::from_secs(2);

/// Which targets are built a second time.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Checked {
    /// Those that were named
    Targets,
    /// Also those that they start from
    All,
}

/// Bring targets up to date
#[derive(clap::Args)]
pub struct Args {
    /// Targets, such as stage3-corei7, or patterns, such as 'stage3-*'
    ///
    /// TARGET:STEP builds a target up to that step, TARGET:CATEGORY/NAME[:SLOT] one of its packages.
    #[arg(required = true, value_name = "TARGET[:STEP]")]
    targets: Vec<String>,
    /// Whether one of them was given with a step
    #[arg(skip)]
    has_steps: bool,
    /// Steps to build at a time [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<std::num::NonZeroU16>,
    /// Only show what would be built, and why
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// With --dry-run: first run the steps that find out which packages targets are made of
    #[arg(long, requires = "dry_run")]
    resolve: bool,
    /// Make NAME a link to a folder with the result, which gc keeps while the link is there
    #[arg(long, value_name = "NAME", conflicts_with = "dry_run")]
    out_link: Option<PathBuf>,
    /// Write the result into the folder DIR, which must be empty or not exist
    #[arg(long, value_name = "DIR", conflicts_with = "dry_run")]
    checkout: Option<PathBuf>,
    /// Print one line of JSON a target
    #[arg(long)]
    json: bool,
    /// After a failure go on with what does not depend on it
    #[arg(long, short)]
    keep_going: bool,
    /// Build on the machines of this file, one a line: HOST jobs=N sf=SPEED memory=SIZE timeout=SECONDS arch=MACHINE.
    /// localhost is this one
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    hosts: Option<PathBuf>,
    /// Build on an engine of the Remote Execution API, reapi://HOST:PORT/INSTANCE or reapis:// over TLS; here is this
    /// machine [default: $MSTORE_EXECUTOR, else executor in the configuration file]
    #[arg(long, value_name = "URL")]
    executor: Option<String>,
    /// Keep locks and logs in this folder in the forms of dpb: runs that share it never build one target at the same
    /// time
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dry_run", "check"])]
    log_dir: Option<PathBuf>,
    /// Learn from the build.log of an earlier run what takes long
    #[arg(long, value_name = "FILE", requires = "log_dir")]
    history: Option<PathBuf>,
    /// Build in random order, which shows needs that nobody wrote down
    #[arg(long)]
    random: bool,
    /// Do not quit while there are errors or locks: what failed is tried again when its lock is removed
    #[arg(long, requires = "log_dir")]
    no_quit: bool,
    /// Build in memory what is known to need no more than SIZE for its work; what does not fit is built again on disk
    #[arg(long, short, value_name = "SIZE", value_parser = config::size, conflicts_with = "check")]
    memory: Option<u64>,
    /// End a step that prints nothing for so many seconds, unless its specification (policy/silence) or the
    /// hosts file (silence=) says it otherwise
    #[arg(long, value_name = "SECONDS")]
    silence: Option<std::num::NonZeroU32>,
    /// Build up-to-date targets a second time and compare; with =all also those that they start from. What differs
    /// is told file by file
    #[arg(
        long,
        conflicts_with = "dry_run",
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "targets"
    )]
    check: Option<Checked>,
    /// Build the targets again though they are up to date; what is known of them stays until then
    #[arg(long, conflicts_with_all = ["dry_run", "check"])]
    rebuild: bool,
    /// Do not ask the caches of the configuration file
    #[arg(long)]
    no_substitute: bool,
    /// Print only errors and results
    #[arg(long, short)]
    quiet: bool,
    /// Print what steps print as it comes, each line behind the name of its step
    #[arg(long, short = 'L', conflicts_with = "quiet")]
    show_output: bool,
}

impl Args {
    /// Whether ports may be built while they are walked over: nothing is asked of caches, and everything is to be done
    /// once that is to be done.
    fn asks_for_walk(&self, caches: &Caches, project: &Project) -> bool {
        caches.is_empty()
            && !project.store.is_read_only()
            && !self.dry_run
            && !self.rebuild
            && self.check.is_none()
            // Locks and logs are kept over a plan that is whole.
            && self.log_dir.is_none()
    }

    /// Takes the steps off the words of the form TARGET:STEP. Gives each name with its step, if it has one.
    fn take_steps(&mut self) -> Result<Vec<(String, Option<String>)>, Failure> {
        let mut words = Vec::with_capacity(self.targets.len());
        for word in &mut self.targets {
            let mut step = None;
            if let Some((name, after)) = word.split_once(':') {
                step = Some(after.to_owned());
                *word = name.to_owned();
            }
            words.push((word.clone(), step));
        }
        self.has_steps = words.iter().any(|(_, step)| step.is_some());
        if self.has_steps && self.check.is_some() {
            return Err(Failure::usage("--check builds whole targets a second time")
                .hint("give the target without a step"));
        }
        Ok(words)
    }
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
    /// What failed in the run, where the target is not there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<serde_json::Value>,
}

/// Runs the command.
pub fn run(context: &Context, mut args: Args) -> Result<ExitCode, Failure> {
    let config = context.config()?;
    let words = args.take_steps()?;
    if let Some(done) = recall(context, &config, &args)? {
        return Ok(done);
    }
    let caches = match args.no_substitute {
        true => Caches::default(),
        false => Caches::start(&config, &context.reach())?,
    };
    let key = args::signing_key(&config, None)?;
    let trust = args::trust(&config, &TrustArgs::default())?;
    let sees_all = rustix::process::geteuid().is_root();
    let mut limits = args::limits(&config);
    limits.memory = args.memory;
    limits.silence = args.silence.map(|n| Duration::from_secs(n.get().into()));
    let farm = match &args.hosts {
        Some(file) => Some(farm(context, file, &args, &mut limits)?),
        None => None,
    };
    let beside = farm.as_ref().map(|farm| farm as &dyn Site);
    let engine = engine(&config, args.executor.as_deref(), beside)?;
    let mut entered = match &farm {
        // Nothing is built here, and ssh is to be who the user is.
        Some(farm) if !farm.builds_here() => Ok(Entered::Root),
        None if engine.is_some() => Ok(Entered::Root),
        // Must come before the first thread. That it failed matters only if something is to be built.
        _ => context.enter(),
    };
    // Before the store is opened: what is mounted later is to be seen by all who use it.
    if limits.memory.is_some() && !args.dry_run && entered.is_ok() {
        memory::own_mounts().map_err(|e| {
            Failure::machine(format!("cannot give this program mounts of its own: {e}"))
                .hint("leave --memory out")
        })?;
    }
    let mut project = context.project(match args.dry_run && !args.resolve {
        true => Access::ReadIfPresent,
        false => Access::ChangeIfAllowed,
    })?;
    if !args.quiet {
        context.tell_if_standard(&project.distribution);
    }
    if args.check.is_some() {
        project.must_write(|| Blocked::Check)?;
        entered = Ok(entered?);
    }
    // Files of many owners are written.
    if args.out_link.is_some() || args.checkout.is_some() {
        entered = Ok(entered?);
    }
    let mut targets = project.targets(&args.targets)?;
    let until = Until::of(&project, &words)?;
    let warned = !args.quiet && context.tell_unread(&project, &targets)?;
    let books = books(context, &args)?;
    let cancel = context.cancel()?;
    let watch =
        Watch::with_bar(args.quiet, args.quiet || args.json).showing_output(args.show_output);
    let outside = context.outside(&config);
    // What other machines build is not lost as soon as a key is pressed.
    let alone = Leave::default();
    let leave = if farm.is_some() || engine.is_some() {
        context.leave()
    } else {
        &alone
    };
    let run = Run {
        farm: farm.as_ref(),
        site: engine.as_deref(),
        jobs: match engine.as_ref().and_then(|engine| engine.slots()) {
            Some(slots) => slots,
            None => args.jobs.map_or_else(processors, |n| n.get().into()),
        },
        processors: processors(),
        limits,
        keep_going: args.keep_going || args.no_quit,
        until: &until,
        rebuild: args.rebuild,
        read_inputs: key.is_some() && config.sign_verify,
        outside: &outside,
        caches: &caches,
        trust: &trust,
        sign: key.as_ref(),
        cancel,
        leave,
        events: &watch,
        random: args.random.then(seed).transpose()?,
        books: books.as_ref(),
    };
    let walks = match args.asks_for_walk(&caches, &project) {
        true => wanted_ports(&project, &words)?,
        false => None,
    };
    if let Some((tree, wanted)) = walks {
        let done = realise_ports(&mut project, &tree, &wanted, &run, entered)?;
        let place = Wanted::of(
            args.out_link.as_deref(),
            args.checkout.as_deref(),
            done.report.targets.len(),
        )?;
        let complete = show(&done.report, &args, |target| match target.tree {
            Some(tree) => place.make(&project.store, tree, cancel),
            None => Ok(None),
        })?;
        if !done.report.idle || place.is_some() {
            project.store.trim(config.gc.written_out, sees_all)?;
        }
        return match tell_ignored(&done.ignored, &args)? {
            false if complete => Ok(ExitCode::SUCCESS),
            _ => Ok(ExitCode::from(FOUND)),
        };
    }
    let ignored = project.ignored_ports(&targets)?;
    let ignored_named = tell_ignored(&ignored, &args);
    ports::leave_out(&mut targets, &ignored);
    if targets.is_empty() {
        let _: bool = ignored_named?;
        return Ok(ExitCode::from(FOUND));
    }
    let Chosen {
        recipes,
        left_out,
        named_left_out,
    } = choose(&project, &targets, &args, &run)?;
    let place = Wanted::of(
        args.out_link.as_deref(),
        args.checkout.as_deref(),
        recipes.requested().count(),
    )?;
    if args.dry_run {
        let recipes = match args.resolve {
            true => {
                let targets: Vec<TargetId> = recipes.requested().cloned().collect();
                resolve(&mut project, recipes, &run, entered)?;
                project.recipes(&targets)?
            }
            false => recipes,
        };
        show_preview(&preview(&project, recipes, &run)?, args.json)?;
        let _: bool = ignored_named?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = realise(&mut project, recipes, &run, entered)?;
    for locked in &report.outcome.locked {
        tell!("{locked} was not tried: a lock tells of its failure; remove that to try again");
    }
    if report.outcome.stopped {
        tell!("a stop file ended the run");
    }
    for changed in &report.outcome.changed {
        tell!("{changed} is described anew: run this again to build it as it is now");
    }
    let machines = engine.as_deref().or(beside);
    if let Some(machines) = machines.filter(|_| !args.quiet && !report.idle) {
        for (host, sent, received) in machines.traffic() {
            let (sent, received) = (output::size(sent), output::size(received));
            tell!("host {host}: sent {sent}, received {received}");
        }
    }
    let complete = show(&report, &args, |target| match target.tree {
        Some(tree) => place.make(&project.store, tree, cancel),
        None => Ok(None),
    })?;
    if !complete {
        return Ok(ExitCode::from(FOUND));
    }
    if !report.idle || place.is_some() {
        project.store.trim(config.gc.written_out, sees_all)?;
    }
    if let Some(which) = args.check {
        let below = which == Checked::All;
        let targets: Vec<TargetId> = report.targets.iter().map(|t| t.id.clone()).collect();
        return Ok(match check(&project, &targets, below, &run)? {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(FOUND),
        });
    }
    if ignored_named? || named_left_out {
        return Ok(ExitCode::from(FOUND));
    }
    // What is left out, and what nothing reads, is told every time.
    if can_recall(&config, &args) && !left_out && !warned {
        // Whoever cannot remember it works it out again.
        let _ = ask(context, &args, |question| question.keep(&project, &report));
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs what finds out of which packages targets are made, and nothing that needs more than that.
fn resolve(
    project: &mut Project,
    recipes: Recipes,
    run: &Run<'_>,
    entered: Result<Entered, UsernsError>,
) -> Result<(), Failure> {
    let made_of_packages = recipes.requested().filter(|id| {
        let recipe = recipes.get(id);
        recipe.is_some_and(|recipe| recipe.packages.is_some())
    });
    let targets: Vec<TargetId> = made_of_packages.cloned().collect();
    if targets.is_empty() {
        return Ok(());
    }
    let until = Until::step(&targets, RESOLVE);
    let recipes = project.recipes(&targets)?;
    let run = Run {
        until: &until,
        rebuild: false,
        ..*run
    };
    let report = realise(project, recipes, &run, entered)?;
    show_failed(&report.outcome);
    match report.outcome.failed.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(
            "what targets are made of could not be found out",
        )),
    }
}

/// Locks and logs, where they are kept.
fn books(context: &Context, args: &Args) -> Result<Option<Books>, Failure> {
    let Some(root) = &args.log_dir else {
        return Ok(None);
    };
    let hosts = match &args.hosts {
        Some(file) => Some(HostsFile::read(file).map_err(Failure::usage)?),
        None => None,
    };
    let past = Past::read(root, args.history.as_deref(), hosts.as_ref())?;
    let desk = past.desk(false, LOOK, Box::new(NoScreen))?;
    Ok(Some(Books {
        desk: RefCell::new(desk),
        patience: Patience {
            locks: true,
            errors: args.no_quit,
        },
        clean: false,
        writes_sizes: false,
        sizes: HashMap::new(),
        first: Vec::new(),
        seconds: Box::new(move |path, task| past.seconds(path, task)),
        reopen: reopen(context)?,
        unread: RefCell::default(),
    }))
}

/// Ports that are asked for, and the tree that they are of.
type WantedPorts = (Arc<PortsTree>, Vec<WantedPort>);

/// The ports that are asked for, with the tree that they are of; nothing where something else is asked for too.
fn wanted_ports(
    project: &Project,
    words: &[(String, Option<String>)],
) -> Result<Option<WantedPorts>, Failure> {
    let Some(tree) = project.ports()? else {
        return Ok(None);
    };
    let mut wanted: Vec<WantedPort> = Vec::new();
    for (name, step) in words {
        let tested = match step.as_deref() {
            None => false,
            Some(TEST) => true,
            Some(_) => return Ok(None),
        };
        for id in project.targets(std::slice::from_ref(name))? {
            if !id.is_port() {
                return Ok(None);
            }
            // Found by its pkgpath, it is one.
            let pkgpath = id.target.parse().map_err(Failure::usage)?;
            if !wanted.iter().any(|known| known.pkgpath == pkgpath) {
                wanted.push(WantedPort { pkgpath, tested });
            }
        }
    }
    Ok(Some((tree, wanted)))
}

/// Tells which ports were not built, and why. Returns whether one of them was named, and not found by a pattern; what is
/// to be mended is an error.
fn tell_ignored(ignored: &[Ignored], args: &Args) -> Result<bool, Failure> {
    let mut wrong: Option<Failure> = None;
    let mut named = false;
    for port in ignored {
        match &port.reason {
            Reason::Wrong(_) => {
                let id = TargetId::of_port(port.pkgpath.clone());
                let failure = Failure::from(refusal(&id, port));
                if let Some(before) = wrong.replace(failure) {
                    before.report();
                }
            }
            reason => tell!("! {}: {reason}", port.pkgpath),
        }
        named |= args.targets.contains(&port.pkgpath);
    }
    match wrong {
        Some(failure) => Err(failure),
        None => Ok(named),
    }
}

/// The machines of a hosts file. What it says of the memory of this one goes into `limits`.
fn farm(context: &Context, file: &Path, args: &Args, limits: &mut Limits) -> Result<Farm, Failure> {
    let mut file = HostsFile::read(file).map_err(Failure::usage)?;
    // Unless the file names this machine nothing is built here.
    limits.memory = None;
    for host in &mut file.hosts {
        host.memory = host.memory.or(args.memory);
        if host.place == Place::Here {
            limits.memory = host.memory;
        }
    }
    let jobs = args.jobs.map_or_else(processors, |n| n.get().into());
    // Nobody sits there to be asked for a password.
    let mut ssh = context.reach().ssh_options(Some(CONNECT));
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    if !user.is_root() && file.hosts.iter().any(|host| host.place == Place::Here) {
        // To build here this process becomes root of a user namespace, which ssh must not be.
        let (user, group) = (user.as_raw().to_string(), group.as_raw().to_string());
        let before = [
            "/proc/self/exe".to_owned(),
            USER_WORD.to_owned(),
            user,
            group,
        ];
        ssh.command.splice(0..0, before);
    }
    Ok(Farm::new(
        file,
        &ssh,
        jobs,
        env!("CARGO_PKG_VERSION"),
        host::platforms(),
        Sockets::new(&context.socket_folders()),
    ))
}

/// The targets that a run is about.
struct Chosen {
    /// How they are built.
    recipes: Recipes,
    /// Whether some were left out.
    left_out: bool,
    /// Whether one of these was named, and not found by a pattern.
    named_left_out: bool,
}

/// Leaves out what this machine cannot build: of patterns always, of what is named with --keep-going. Says what.
fn choose(
    project: &Project,
    targets: &[TargetId],
    args: &Args,
    run: &Run<'_>,
) -> Result<Chosen, Failure> {
    let mut recipes = project.recipes(targets)?;
    let is_pattern = |word: &&String| word.contains(['*', '?']);
    let names = args.targets.iter().filter(|word| !is_pattern(word));
    let names: Vec<String> = names.cloned().collect();
    if names.len() == args.targets.len() && !args.keep_going && !args.dry_run {
        return Ok(Chosen {
            recipes,
            left_out: false,
            named_left_out: false,
        });
    }
    let named: HashSet<TargetId> = match names.is_empty() {
        true => HashSet::new(),
        false => project.targets(&names)?.into_iter().collect(),
    };
    let mut left_out = left_out(project, &recipes, targets, run);
    if !args.keep_going {
        // The run itself stops at what is named.
        let (refused, others) = left_out.into_iter().partition(|(id, _)| named.contains(id));
        left_out = others;
        let refused: Vec<LeftOut> = refused;
        for (_, obstacle) in refused.iter().filter(|_| args.dry_run) {
            if let Obstacle::Platform(platform) = obstacle {
                host::runs(platform).map_err(Failure::machine)?;
            }
        }
    }
    let index = project.distribution.index();
    let mut why: BTreeMap<&Obstacle, Vec<String>> = BTreeMap::new();
    for (target, obstacle) in &left_out {
        why.entry(obstacle)
            .or_default()
            .push(index.display_name(target));
    }
    let gone: HashSet<TargetId> = left_out.iter().map(|(target, _)| target.clone()).collect();
    let named_left_out = gone.iter().any(|target| named.contains(target));
    let none_stays = targets.iter().all(|target| gone.contains(target));
    if !args.quiet || named_left_out || none_stays {
        for (obstacle, names) in &why {
            tell!(
                "{} {}",
                Style::stderr().note("note:"),
                omission(obstacle, names)
            );
        }
    }
    if none_stays {
        return Err(
            Failure::usage("nothing of what was asked for can be built on this machine")
                .hint("`mstore list` marks what can"),
        );
    }
    recipes.leave_out(&gone);
    Ok(Chosen {
        recipes,
        left_out: !gone.is_empty(),
        named_left_out,
    })
}

/// Says which targets are left out because of something.
fn omission(obstacle: &Obstacle, names: &[String]) -> String {
    let more = match names.len() - 1 {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let first = names.first().map_or("", String::as_str);
    let n = names.len();
    format!(
        "{n} {} left out, {first}{more}: {obstacle}",
        plural(n, "target")
    )
}

/// Whether the answer of an earlier run says all that this one would.
fn can_recall(config: &Config, args: &Args) -> bool {
    // A cache that is not to be believed is told of every time.
    let silent = args.no_substitute || config.caches.is_empty();
    let asks_more = args.has_steps || args.dry_run || args.check.is_some() || args.rebuild;
    let asks_more = asks_more || args.log_dir.is_some();
    silent && !asks_more && args.out_link.is_none() && args.checkout.is_none()
}

/// Asks what was asked before: these words, here, about this store.
fn ask<R>(
    context: &Context,
    args: &Args,
    ask: impl FnOnce(&Question<'_>) -> R,
) -> Result<R, Failure> {
    let program = std::env::current_exe()
        .map_err(|e| Failure::machine(format!("cannot find this program: {e}")))?;
    Ok(ask(&Question {
        store: &context.store_path()?,
        entry: context.entry(),
        cwd: &current_dir()?,
        definitions: context.definitions(),
        words: &args.targets,
        program: &program,
    }))
}

/// Answers as the last run did that found nothing to do, if nothing changed since.
fn recall(context: &Context, config: &Config, args: &Args) -> Result<Option<ExitCode>, Failure> {
    if !can_recall(config, args) {
        return Ok(None);
    }
    let Some(report) = ask(context, args, |question| question.recall())? else {
        return Ok(None);
    };
    show(&report, args, |_| Ok(None))?;
    Ok(Some(ExitCode::SUCCESS))
}

/// Prints what came of a run; `place` makes what is wanted of a target, and names it. Returns whether every
/// target is there.
fn show<'a>(
    report: &Report,
    args: &Args,
    mut place: impl FnMut(&TargetReport) -> Result<Option<&'a Path>, Failure>,
) -> Result<bool, Failure> {
    let outcome = &report.outcome;
    show_failed(outcome);
    for step in &outcome.put_by {
        tell!(
            "{} {step} was stopped, and is not built; `mstore realise` builds it another time",
            Style::stderr().note("note:")
        );
    }
    for target in &report.targets {
        show_target(report, target, place(target)?, args.json)?;
    }
    if outcome.cancelled {
        return Err(Failure::interrupted().hint("what is finished is kept; run it again to go on"));
    }
    if let Some((step, error)) = &outcome.infrastructure {
        return Err(blame::run(step.as_ref(), error));
    }
    let refused = outcome.refused.iter();
    let mut refused =
        refused.map(|(step, flaw)| Failure::usage(format!("{step} cannot be built: {flaw}")));
    if let Some(first) = refused.next() {
        for more in refused {
            more.report();
        }
        return Err(first);
    }
    if let Some(refused) = outcome.failed.iter().find(|failed| failed.is_refusal) {
        let told = format!("{}: Portage refuses what it was asked for", refused.name);
        return Err(Failure::usage(told));
    }
    if report.targets.iter().any(|t| t.tree.is_none()) || !outcome.failed.is_empty() {
        return Ok(false);
    }
    if report.idle && args.check.is_none() && !args.quiet && !args.json {
        tell!(
            "nothing to do: {} {} up to date{} ({})",
            report.up_to_date,
            plural(report.up_to_date, "step"),
            match report.substituted {
                0 => String::new(),
                n => format!(", {n} of them substituted"),
            },
            output::duration(report.seconds)
        );
    } else if !report.idle && !args.quiet && !args.json {
        for packages in &report.packages {
            tell!("{}", followed(packages));
        }
        tell!("{}", summary(report));
    }
    Ok(true)
}

/// What became of packages, in a line.
fn followed(packages: &Followed) -> String {
    let Followed {
        target,
        changed,
        follow,
        same,
        spared,
    } = packages;
    let mut text = format!(
        "{target}: {changed} {} changed, {follow} followed",
        plural(*changed, "package")
    );
    if *same > 0 {
        text.push_str(&format!(", {same} of them came out the same"));
        if *spared > 0 {
            text.push_str(&format!(" and ended it: {spared} need not be built"));
        }
    }
    text
}

/// What was built, in a line.
fn summary(report: &Report) -> String {
    let (built, same) = (report.outcome.built.len(), report.same);
    let alike = match (same, built) {
        (0, _) => String::new(),
        (same, built) if same == built => " with the same result".to_owned(),
        (same, _) => format!(", {same} of them with the same result"),
    };
    let spared = match report.spared {
        0 => String::new(),
        1 => ", 1 needs not run".to_owned(),
        n => format!(", {n} need not run"),
    };
    let time = output::duration(report.seconds);
    match alike.is_empty() && spared.is_empty() {
        true => format!("{built} built in {time}"),
        false => format!("{built} built{alike}{spared} ({time})"),
    }
}

fn show_target(
    report: &Report,
    target: &TargetReport,
    path: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    let path = path.map(|path| path.display().to_string());
    if json {
        return output::json(&Line {
            target: &target.name,
            drv: target.drv.to_string(),
            tree: target.tree.map(|t| t.to_string()),
            built: report.outcome.built.len(),
            reused: report.reused,
            substituted: report.substituted,
            seconds: (report.seconds * 1000.0).round() / 1000.0,
            path,
            failures: match target.tree {
                Some(_) => Vec::new(),
                None => {
                    let failed = report.outcome.failed.iter().map(failed_json);
                    let put_by = report.outcome.put_by.iter().map(put_by_json);
                    failed.chain(put_by).collect()
                }
            },
        });
    }
    match (target.tree, path) {
        (Some(tree), Some(path)) => output::line(format!("{} {tree} {path}", target.name)),
        (Some(tree), None) => output::line(format!("{} {tree}", target.name)),
        (None, _) => Ok(()),
    }
}

#[derive(Serialize)]
struct Fetched {
    tree: String,
    bytes: Option<u64>,
}

#[derive(Serialize)]
struct FromOutside<'a> {
    name: &'a str,
    what: &'a str,
    urls: &'a [String],
}

#[derive(Serialize)]
struct Planned<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    outside: Vec<FromOutside<'a>>,
    build: Vec<&'a str>,
    maybe: Vec<&'a str>,
    reuse: Vec<&'a str>,
    substituted: Vec<&'a str>,
    fetch: Vec<Fetched>,
    estimate: Estimates,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    packages: &'a [PackagesPreview],
}

/// Prints what a real run would do.
fn show_preview(preview: &Preview, json: bool) -> Result<(), Failure> {
    match preview {
        Preview::Provide(needs) if json => {
            let needed: Vec<_> = needs.iter().map(needed_json).collect();
            return output::json(&serde_json::json!({ "needed": needed }));
        }
        Preview::Fetch { kind, name, tree } if json => {
            return output::json(&serde_json::json!({ "needed": [{
                "kind": kind.to_string(), "name": name, "from": "cache", "tree": tree.to_string(),
            }] }));
        }
        Preview::Provide(needs) => show_needs(needs),
        Preview::Fetch { kind, name, tree } => {
            tell!("{kind} {name} would be fetched: tree {tree}");
        }
        Preview::Steps(steps) if json => return show_json(steps),
        Preview::Steps(steps) => return show_steps(steps),
    }
    tell!("after that, --dry-run can tell what is to be built");
    Ok(())
}

/// A seed or snapshot that a real run would get first.
fn needed_json(need: &MissingPin) -> serde_json::Value {
    let from = match &need.from {
        PinOrigin::Host => "host",
        PinOrigin::Builtin(_) => "builtin",
        PinOrigin::Import => "import",
    };
    serde_json::json!({ "kind": need.kind.to_string(), "name": need.name, "from": from, "tree": null })
}

/// Says what a real run would get first.
fn show_needs(needs: &[MissingPin]) {
    for need in needs {
        let how = match &need.from {
            PinOrigin::Host => "captured from this machine".to_owned(),
            PinOrigin::Builtin(name) => format!("taken from this program ({name})"),
            PinOrigin::Import => format!("needed: {}", pin_hint(need.kind, &need.name, false)),
        };
        tell!("{} {} would be {how}", need.kind, need.name);
    }
}

fn names(steps: &[StepName]) -> Vec<&str> {
    steps.iter().map(StepName::as_str).collect()
}

fn show_json(steps: &StepsPreview) -> Result<(), Failure> {
    let fetched = |(tree, bytes): &(mstore_store::TreeHash, Option<u64>)| Fetched {
        tree: tree.to_string(),
        bytes: *bytes,
    };
    let outside = steps.outside.iter().map(|(name, absent)| FromOutside {
        name: name.as_str(),
        what: &absent.what,
        urls: &absent.urls,
    });
    output::json(&Planned {
        outside: outside.collect(),
        build: steps.build.iter().map(|(name, _)| name.as_str()).collect(),
        maybe: names(&steps.maybe),
        reuse: names(&steps.reuse),
        substituted: names(&steps.substituted),
        fetch: steps.fetch.iter().map(fetched).collect(),
        estimate: steps.estimate,
        packages: &steps.packages,
    })
}

/// What would become of the packages of a target, in a line.
fn packages_told(preview: &PackagesPreview) -> String {
    let PackagesPreview {
        packages,
        build,
        maybe,
        reuse,
        ..
    } = preview;
    let about = |seconds: Option<f64>| seconds.map(estimate::about);
    if !preview.known {
        let took = about(preview.resolve_seconds);
        let took = took.map_or(String::new(), |took| format!("about {took}; "));
        return format!("packages unknown until resolve has run ({took}--resolve runs it)");
    }
    let took = about(preview.seconds).map_or(String::new(), |took| format!(" (about {took})"));
    let maybe = match maybe {
        0 => String::new(),
        n => format!(", {n} of them only if what they need comes out different"),
    };
    format!(
        "resolve up to date; {build} of {packages} {} to build{took}{maybe}, {reuse} reused; then compose {}",
        plural(*packages, "package"),
        preview.target
    )
}

fn show_steps(steps: &StepsPreview) -> Result<(), Failure> {
    let mut text = String::new();
    for (_, absent) in &steps.outside {
        let from = absent.urls.first().map(|url| format!(" from {url}"));
        text.push_str(&format!(
            "would fetch {}{}\n",
            absent.what,
            from.unwrap_or_default()
        ));
    }
    let of_packages = |name: &StepName| steps.of_packages.contains(name);
    for (name, reasons) in steps.build.iter().filter(|(name, _)| !of_packages(name)) {
        let why: Vec<String> = reasons
            .iter()
            .map(|r| r.to_string().lines().next().unwrap_or_default().to_owned())
            .collect();
        text.push_str(&format!("would build {name}: {}\n", why.join("; ")));
    }
    for name in steps.maybe.iter().filter(|name| !of_packages(name)) {
        text.push_str(&format!(
            "would build {name} if its inputs come out different\n"
        ));
    }
    for packages in &steps.packages {
        text.push_str(&format!(
            "{}: {}\n",
            packages.target,
            packages_told(packages)
        ));
    }
    output::bytes(text.as_bytes())?;
    for (tree, bytes) in &steps.fetch {
        let size = bytes.map(|b| format!(", at most {}", output::size(b)));
        output::line(format!(
            "would fetch tree {tree}{}",
            size.unwrap_or_default()
        ))?;
    }
    if !steps.substituted.is_empty() {
        let n = steps.substituted.len();
        output::line(format!("would substitute {n} {}", plural(n, "step")))?;
    }
    let n = steps.reuse.len();
    output::line(format!("would reuse {n} {}", plural(n, "step")))?;
    match estimate::told(&steps.estimate) {
        Some(told) => output::line(format!("would take {told}")),
        None => Ok(()),
    }
}
