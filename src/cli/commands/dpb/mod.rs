//! `mstore dpb`, and what the program is when it is called `dpb`: builds what is asked for over a cluster, with dpb's
//! options, display, locks and logs.

mod decide;
mod screen;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use crate::build::step::Limits;
use crate::build::userns::Entered;
use crate::build::{host, memory};
use crate::cli::args::{self, TrustArgs};
use crate::cli::books::{Past, check, most_needed, read_list, read_sizes, reopen, seed};
use crate::cli::context::{Context, current_dir};
use crate::cli::engine::engine;
use crate::cli::failure::FOUND;
use crate::cli::report::{broke_off, processors};
use crate::cli::watch::Watch;
use crate::cli::{Failure, blame};
use crate::config;
use crate::dpb::folder::Log;
use crate::farm::{Farm, HostsFile, Place};
use crate::plan::TargetId;
use crate::ports::PortsTree;
use crate::project::realise::{
    Books, Report, Run, Until, WantedPort, left_out, realise, realise_ports,
};
use crate::project::{Access, Caches, Project, ports};
use crate::schedule::Leave;
use crate::schedule::engine::Patience;
use crate::schedule::realise::Site;
use crate::share::ssh_master::Sockets;
use screen::Display;

/// Build targets and ports over a cluster, as dpb did
///
/// Takes the options of dpb(1), shows what it showed, and keeps locks and logs in its forms below the folder of logs:
/// locks, engine.log, build.log, paths and others. Several may run at once over one folder: what one works on the
/// others leave alone. The program called `dpb` does the same. See doc/dpb.md.
///
/// For example: mstore dpb -h hosts -j 4 stage3-corei7
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// Targets and paths of ports; all, if none is given
    #[arg(value_name = "PKGPATH")]
    pkgpaths: Vec<String>,
    /// Walk everything and build all of it
    #[arg(short = 'a')]
    all: bool,
    /// Remove what is left of a failed build before it is tried again
    #[arg(short = 'c')]
    clean: bool,
    /// The listing job is extra. It is anyhow: nothing waits for it
    #[arg(short = 'e')]
    extra: bool,
    /// Do not quit while there are errors or locks
    #[arg(short = 'q')]
    no_quit: bool,
    /// Build in random order
    #[arg(short = 'r')]
    random: bool,
    /// Write to rebuild.log what is built again, and why. What a result depends on decides
    #[arg(short = 'R')]
    rebuild: bool,
    /// Write the sizes of work folders to size.log
    #[arg(short = 's')]
    sizes: bool,
    /// Update packages while dependencies are solved. Roots are made anew for each build, so there are none
    #[arg(short = 'u')]
    update: bool,
    /// The same as -u, also for packages that did not change
    #[arg(short = 'U')]
    insist: bool,
    /// Tell only of hosts that go and come, errors, and jobs that stand still
    #[arg(short = 'x')]
    terse: bool,
    /// Build for this architecture, as `uname -m` says, on the hosts that have it [default: this machine's]
    #[arg(short = 'A', value_name = "ARCH")]
    arch: Option<String>,
    /// Learn from the build.log of an earlier run what takes long
    #[arg(short = 'b', value_name = "LOGFILE")]
    history: Option<PathBuf>,
    /// File with the hosts to build on: HOST jobs=N sf=SPEED memory=SIZE timeout=SECONDS arch=MACHINE
    #[arg(short = 'h', value_name = "HOSTS")]
    hosts: Option<PathBuf>,
    /// Jobs to run at a time on this machine [default: the number of processors]
    #[arg(short = 'j', value_name = "N")]
    jobs: Option<NonZeroU16>,
    /// Folder of locks and logs [default: logs/ARCH beside the entry file]
    #[arg(short = 'L', value_name = "LOGDIR")]
    logs: Option<PathBuf>,
    /// Build in memory what needs less than this for its work folder
    #[arg(short = 'm', value_name = "SIZE", value_parser = config::size)]
    memory: Option<u64>,
    /// Read paths from a file, one a line
    #[arg(short = 'P', value_name = "SUBDIRLIST")]
    list: Option<PathBuf>,
    /// Read the sizes of work folders from a size.log
    #[arg(short = 'S', value_name = "SIZEFILE")]
    size_file: Option<PathBuf>,
    /// Seconds that connecting to a host may take
    #[arg(short = 't', value_name = "SECONDS", default_value_t = 60)]
    connect: u32,
    /// Seconds after which the display is drawn though nothing happened
    #[arg(short = 'T', value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    display: Duration,
    /// Build on an engine of the Remote Execution API, reapi://HOST:PORT/INSTANCE or reapis:// over TLS; here is this
    /// machine [default: $MSTORE_EXECUTOR, else executor in the configuration file]
    #[arg(long, value_name = "URL")]
    executor: Option<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

fn seconds(word: &str) -> Result<Duration, String> {
    let seconds: f64 = word
        .parse()
        .map_err(|_| "a number of seconds is expected")?;
    match (0.05..=86400.0).contains(&seconds) {
        true => Ok(Duration::from_secs_f64(seconds)),
        false => Err("between 0.05 and 86400 is expected".to_owned()),
    }
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let names = names(&args)?;
    let hosts = hosts(&args)?;
    let machine = rustix::system::uname()
        .machine()
        .to_string_lossy()
        .into_owned();
    let arch = args.arch.clone().unwrap_or_else(|| machine.clone());
    let distribution = context.distribution()?;
    let root = match &args.logs {
        Some(root) => root.clone(),
        None => logs(&distribution, &arch)?,
    };
    let past = Past::read(&root, args.history.as_deref(), hosts.as_ref())?;
    let reopen = reopen(context)?;
    let sizes = match &args.size_file {
        Some(file) => read_sizes(file)?,
        None => HashMap::new(),
    };
    let mut memory = args.memory;
    let farm = match hosts {
        Some(file) => Some(farm(context, file, &args, &mut memory)?),
        None => None,
    };
    let beside = farm.as_ref().map(|farm| farm as &dyn Site);
    let engine = engine(&context.config()?, args.executor.as_deref(), beside)?;
    // Must come before the first thread.
    let entered = match &farm {
        Some(farm) if !farm.builds_here() => Entered::Root,
        None if engine.is_some() => Entered::Root,
        _ => context.enter()?,
    };
    // Before the store is opened: what is mounted later is to be seen by all who use it.
    if memory.is_some() {
        memory::own_mounts().map_err(|e| {
            Failure::machine(format!("cannot give this program mounts of its own: {e}"))
                .hint("leave -m out")
        })?;
    }
    let screen = Box::new(Display::new(args.terse, args.display));
    let mut desk = past.desk(args.all || names.is_empty(), args.display, screen)?;
    let first = most_needed(desk.folder())?;
    let books = Books {
        desk: RefCell::new(desk),
        patience: Patience {
            locks: true,
            errors: args.no_quit,
        },
        clean: args.clean,
        writes_sizes: args.sizes,
        sizes,
        first,
        seconds: Box::new(move |path, task| past.seconds(path, task)),
        reopen,
        unread: RefCell::default(),
    };
    let session = Session {
        context,
        args: &args,
        names,
        arch: &arch,
        farm: farm.as_ref(),
        engine: engine.as_deref(),
        books: &books,
        entered,
        memory,
        lacks: Cell::new(false),
    };
    let done = session.rounds(distribution);
    if let Err(failure) = &done {
        // With what the walk printed on errors.
        let line = failure.to_string();
        let _ = books.desk.borrow_mut().folder().line(Log::Vars, &line);
    }
    drop(books);
    done
}

/// What was asked for: words of the command line, and those of a file.
fn names(args: &Args) -> Result<Vec<String>, Failure> {
    let mut names = Vec::new();
    if !args.all {
        for name in &args.pkgpaths {
            check(name).map_err(Failure::usage)?;
            names.push(name.clone());
        }
        if let Some(file) = &args.list {
            names.extend(read_list(file)?);
        }
    }
    Ok(names)
}

/// The hosts file, with the hosts of the architecture.
fn hosts(args: &Args) -> Result<Option<HostsFile>, Failure> {
    let Some(path) = &args.hosts else {
        return Ok(None);
    };
    let mut file = HostsFile::read(path).map_err(Failure::usage)?;
    if let Some(arch) = &args.arch {
        file.hosts
            .retain(|host| host.arch.as_ref().is_none_or(|own| own == arch));
        if file.hosts.is_empty() {
            let message = format!("{} names no host for {arch}", path.display());
            return Err(Failure::usage(message));
        }
    }
    Ok(Some(file))
}

/// The machines of a hosts file. What it says of the memory of this one goes into `memory`.
fn farm(
    context: &Context,
    mut file: HostsFile,
    args: &Args,
    memory: &mut Option<u64>,
) -> Result<Farm, Failure> {
    for host in &mut file.hosts {
        host.memory = host.memory.or(args.memory);
        if host.place == Place::Here {
            *memory = host.memory;
        }
    }
    let is_root = rustix::process::geteuid().is_root();
    if let Some(host) = file
        .hosts
        .iter()
        .find(|host| host.place == Place::Here && !is_root)
    {
        let message = format!(
            "line {} of the hosts file: only root builds on this machine and on others in one run",
            host.line
        );
        return Err(Failure::usage(message)
            .hint("name this machine as another one, USER@HOST, and let yourself in by ssh"));
    }
    let jobs = args.jobs.map_or_else(processors, |n| n.get().into());
    let ssh = context.reach().ssh_options(Some(args.connect));
    let program = env!("CARGO_PKG_VERSION");
    let sockets = Sockets::new(&context.socket_folders());
    let platforms = host::platforms();
    Ok(Farm::new(file, &ssh, jobs, program, platforms, sockets))
}

/// The folder of logs, where none was named.
fn logs(distribution: &crate::plan::Distribution, arch: &str) -> Result<PathBuf, Failure> {
    if arch.is_empty() || arch.starts_with('.') || arch.contains('/') {
        return Err(Failure::usage(format!("`{arch}` is not an architecture")));
    }
    let folder = match distribution.is_builtin() {
        true => current_dir()?,
        false => distribution
            .entry()
            .parent()
            .unwrap_or(Path::new(""))
            .to_owned(),
    };
    Ok(folder.join("logs").join(arch))
}

/// Ports that are asked for, and the tree that they are of.
type WantedPorts = (Arc<PortsTree>, Vec<WantedPort>);

/// The ports that were asked for, with their tree, where nothing else was.
fn ports_alone(project: &Project, targets: &[TargetId]) -> Result<Option<WantedPorts>, Failure> {
    let all = !targets.is_empty() && targets.iter().all(TargetId::is_port);
    let Some(tree) = project.ports()?.filter(|_| all) else {
        return Ok(None);
    };
    let mut wanted: Vec<WantedPort> = Vec::new();
    for id in targets {
        // Found by its pkgpath, it is one.
        let pkgpath = id.target.parse().map_err(Failure::usage)?;
        if !wanted.iter().any(|known| known.pkgpath == pkgpath) {
            let tested = false;
            wanted.push(WantedPort { pkgpath, tested });
        }
    }
    Ok(Some((tree, wanted)))
}

/// All that the rounds of a run share.
struct Session<'a> {
    context: &'a Context,
    args: &'a Args,
    names: Vec<String>,
    arch: &'a str,
    farm: Option<&'a Farm>,
    engine: Option<&'a dyn Site>,
    books: &'a Books,
    entered: Entered,
    /// Bytes up to which steps are built in memory on this machine.
    memory: Option<u64>,
    /// Whether something that was asked for cannot be built.
    lacks: Cell<bool>,
}

impl Session<'_> {
    /// Builds. When the description of something changed that had failed, begins again with what is written there
    /// now.
    fn rounds(&self, distribution: crate::plan::Distribution) -> Result<ExitCode, Failure> {
        let mut project = self.context.open(Access::Change, distribution)?;
        loop {
            let report = self.round(&mut project)?;
            for line in self.books.unread.take() {
                self.note(Log::Vars, &line)?;
            }
            broke_off(&report)?;
            if report.outcome.stopped && !self.args.terse {
                tell!("a stop file ended the run");
            }
            if !report.outcome.changed.is_empty() && !report.outcome.stopped {
                project = self.context.project(Access::Change)?;
                continue;
            }
            let lacking = report.targets.iter().any(|target| target.tree.is_none());
            let failed = !report.outcome.failed.is_empty() || !report.outcome.locked.is_empty();
            return Ok(match lacking || failed || self.lacks.get() {
                true => ExitCode::from(FOUND),
                false => ExitCode::SUCCESS,
            });
        }
    }

    fn note(&self, log: Log, line: &str) -> Result<(), Failure> {
        let noted = self.books.desk.borrow_mut().folder().line(log, line);
        noted.map_err(Failure::machine)
    }

    fn round(&self, project: &mut Project) -> Result<Report, Failure> {
        let config = self.context.config()?;
        let caches = Caches::start(&config, &self.context.reach())?;
        let key = args::signing_key(&config, None)?;
        let trust = args::trust(&config, &TrustArgs::default())?;
        let outside = self.context.outside(&config);
        let cancel = self.context.cancel()?;
        let watch = Watch::with_bar(true, true);
        let until = Until::default();
        // What other machines build is not lost as soon as a key is pressed.
        let alone = Leave::default();
        let leave = match (self.farm, self.engine) {
            (None, None) => &alone,
            _ => self.context.leave(),
        };
        let run = Run {
            farm: self.farm,
            site: self.engine,
            jobs: match self.engine.and_then(|engine| engine.slots()) {
                Some(slots) => slots,
                None => self.args.jobs.map_or_else(processors, |n| n.get().into()),
            },
            processors: processors(),
            limits: Limits {
                memory: self.memory,
                ..args::limits(&config)
            },
            keep_going: true,
            until: &until,
            rebuild: false,
            read_inputs: key.is_some() && config.sign_verify,
            outside: &outside,
            caches: &caches,
            trust: &trust,
            sign: key.as_ref(),
            cancel,
            leave,
            events: &watch,
            random: self.args.random.then(seed).transpose()?,
            books: Some(self.books),
        };
        let mut targets = self.targets(project)?;
        if let Some((tree, wanted)) = ports_alone(project, &targets)? {
            return self.ports(project, &tree, &wanted, &run);
        }
        let ignored = project.ignored_ports(&targets)?;
        for port in &ignored {
            self.ignored(&port.pkgpath, &port.reason.to_string())?;
        }
        ports::leave_out(&mut targets, &ignored);
        self.log_walk(project, &targets)?;
        let mut recipes = project.recipes(&targets)?;
        let gone = self.ignore(project, &recipes, &targets, &run)?;
        if gone.len() == targets.len() {
            let error = Failure::usage("nothing of what was asked for can be built here");
            return Err(error.hint("engine.log tells why, in the lines with `!`"));
        }
        recipes.leave_out(&gone.iter().cloned().collect());
        if self.args.rebuild {
            let asked: Vec<TargetId> = targets
                .iter()
                .filter(|id| !gone.contains(id))
                .cloned()
                .collect();
            for line in decide::lines(project, &asked, &run)? {
                self.note(Log::Rebuild, &line)?;
            }
        }
        let entered = self.entered.clone();
        Ok(realise(project, recipes, &run, Ok(entered))?)
    }

    /// What was asked for; everything, if nothing was.
    fn targets(&self, project: &Project) -> Result<Vec<TargetId>, Failure> {
        if !self.names.is_empty() {
            return Ok(project.targets(&self.names)?);
        }
        if project.distribution.ports_tree().is_none() {
            return Ok(project.targets(&["*".to_owned()])?);
        }
        // One of the two may be none. Beside a ports tree the stages of the standard specs were not asked for.
        let stages = match project.distribution.is_builtin() {
            true => Vec::new(),
            false => project.targets(&["*".to_owned()]).unwrap_or_default(),
        };
        match project.targets(&["*/*".to_owned()]) {
            Ok(ports) => Ok([stages, ports].concat()),
            Err(error) if stages.is_empty() => Err(error.into()),
            Err(_) => Ok(stages),
        }
    }

    /// Builds ports while their tree is walked.
    fn ports(
        &self,
        project: &mut Project,
        tree: &PortsTree,
        wanted: &[WantedPort],
        run: &Run<'_>,
    ) -> Result<Report, Failure> {
        if self.args.rebuild {
            let asked = wanted
                .iter()
                .map(|port| TargetId::of_port(port.pkgpath.to_string()));
            let mut asked: Vec<TargetId> = asked.collect();
            let ignored = project.ignored_ports(&asked)?;
            ports::leave_out(&mut asked, &ignored);
            for line in decide::lines(project, &asked, run)? {
                self.note(Log::Rebuild, &line)?;
            }
        }
        let done = realise_ports(project, tree, wanted, run, Ok(self.entered.clone()))?;
        let named = |path: &String| self.names.contains(path);
        let wrong = done.ignored.iter();
        let wrong = wrong.filter(|port| port.reason.is_wrong() || named(&port.pkgpath));
        let mut wrong = wrong.peekable();
        self.lacks.set(wrong.peek().is_some());
        for port in wrong {
            tell!("! {}: {}", port.pkgpath, port.reason);
        }
        Ok(done.report)
    }

    /// Notes the folders whose files the specifications were read from.
    fn log_walk(&self, project: &Project, targets: &[TargetId]) -> Result<(), Failure> {
        for folder in decide::walked(project, targets) {
            self.note(Log::Vars, &folder)?;
        }
        Ok(())
    }

    /// Tells of the targets that cannot be built here, or are for another architecture, and gives them.
    fn ignore(
        &self,
        project: &Project,
        recipes: &crate::plan::Recipes,
        targets: &[TargetId],
        run: &Run<'_>,
    ) -> Result<Vec<TargetId>, Failure> {
        let index = project.distribution.index();
        let mut gone = Vec::new();
        if self.farm.is_none() && self.engine.is_none() {
            for (id, obstacle) in left_out(project, recipes, targets, run) {
                self.ignored(&index.display_name(&id), &obstacle.to_string())?;
                gone.push(id);
            }
        }
        if self.args.arch.is_some() {
            for recipe in recipes.all() {
                let asked = targets.contains(&recipe.id) && !gone.contains(&recipe.id);
                if asked && recipe.platform != self.arch {
                    let why = format!("it is for {}", recipe.platform);
                    self.ignored(&index.display_name(&recipe.id), &why)?;
                    gone.push(recipe.id.clone());
                }
            }
        }
        Ok(gone)
    }

    fn ignored(&self, path: &str, why: &str) -> Result<(), Failure> {
        let told = self.books.desk.borrow_mut().ignored(path, why);
        told.map_err(|error| blame::run(None, &error.into()))
    }
}
