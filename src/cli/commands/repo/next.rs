//! `next`, `build`: chooses, locks, builds, publishes; counts failures of builds, and nothing else.

use std::process::ExitCode;

use mstore_lang::Definition;

use super::desk::{Desk, tell_printed, tell_unreadable};
use super::publish::show;
use super::rotation::{self, held, pretend};
use crate::build::userns::{Entered, UsernsError};
use crate::cli::failure::FOUND;
use crate::cli::report::{broke_off, processors, show_failed};
use crate::cli::site::{Site, is_held};
use crate::cli::spec;
use crate::cli::watch::Watch;
use crate::cli::{Failure, args};
use crate::plan::TargetId;
use crate::project::realise::{Report, Run, Until, realise};
use crate::project::{Access, Caches, Project};
use crate::repo::config::{Buildbot, Managed, Mode};
use crate::repo::date::Date;
use crate::repo::lock::{Lock, LockState};
use crate::repo::mode::{RunTargets, targets};
use crate::repo::name::{Name, Place};
use crate::repo::publish::{Gathered, Publication, RunFailure, gather, keys_to_build, publish};
use crate::repo::quote::shown;
use crate::repo::rotation::{Offer, Why, elements};
use crate::repo::scan::{Subarch, scan_one, scan_own};
use crate::repo::strategy;
use crate::schedule::Leave;
use crate::schedule::realise::Failed;

/// How often a subarch is chosen anew while others take what was chosen.
const TRIES: usize = 1000;

/// How builds of a mirror are made.
#[derive(clap::Args)]
pub struct How {
    /// Steps to build at a time [default: the number of processors]
    #[arg(short, long, value_name = "N")]
    jobs: Option<std::num::NonZeroU16>,
    /// Print only errors and results
    #[arg(long, short)]
    quiet: bool,
    /// Do not ask the caches of the configuration file
    #[arg(long)]
    no_substitute: bool,
}

/// Build what comes next, and publish it
#[derive(clap::Args)]
pub struct Next {
    /// Print the run and do nothing
    #[arg(long)]
    pretend: bool,
    #[command(flatten)]
    how: How,
}

/// Build a subarch, and publish it
#[derive(clap::Args)]
pub struct Build {
    /// The build, such as funtoo-current
    #[arg(value_name = "BUILD")]
    build: String,
    /// The arch, such as x86-64bit
    #[arg(value_name = "ARCH")]
    arch: String,
    /// The subarch, such as corei7
    #[arg(value_name = "SUBARCH")]
    subarch: String,
    /// The kind of build, with extras behind +
    #[arg(value_name = "MODE[+EXTRA...]", default_value = "full")]
    mode: String,
    /// The day that the build is named by [default: today]
    #[arg(value_name = "YYYY-MM-DD")]
    date: Option<String>,
    #[command(flatten)]
    how: How,
}

/// A build that was chosen.
struct Job {
    place: Place,
    version: String,
    mode: Mode,
}

/// Runs `next`.
pub fn next(desk: &Desk<'_>, args: Next) -> Result<ExitCode, Failure> {
    if args.pretend {
        return pretend(desk);
    }
    // Must come before the first thread. That it failed matters only if something is to be built.
    let entered = desk.context().enter();
    let mut buildbot = desk.buildbot()?;
    let site = desk.site()?;
    for managed in buildbot.settings().managed().filter(|managed| managed.own) {
        site.finish(&managed.place)?;
    }
    forgive(desk, &site, &mut buildbot)?;
    let Some((offer, lock)) = choose(desk, &site, &mut buildbot)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let job = Job {
        version: offer.date.to_string(),
        place: offer.place,
        mode: offer.mode,
    };
    run(desk, &site, &args.how, &job, lock, entered)
}

/// Runs `build`.
pub fn build(desk: &Desk<'_>, args: Build) -> Result<ExitCode, Failure> {
    let name = |what: &str, text: &str| {
        Name::new(text).map_err(|e| Failure::usage(format!("{what}: `{}`: {e}", shown(text))))
    };
    let place = Place {
        build: name("BUILD", &args.build)?,
        arch: name("ARCH", &args.arch)?,
        subarch: name("SUBARCH", &args.subarch)?,
    };
    let mode = Mode::of_words([args.mode.as_str()])
        .ok_or_else(|| Failure::usage(format!("`{}` is not a kind of build", shown(&args.mode))))?;
    let version = match &args.date {
        None => desk.today().to_string(),
        Some(text) => Date::parse(text).map_err(Failure::usage)?.to_string(),
    };
    let entered = desk.context().enter();
    let site = desk.site()?;
    let lock = match site.lock(&place, &version) {
        Err(error) if is_held(&error) => return Err(Failure::found(error)),
        other => other?,
    };
    let job = Job {
        place,
        version,
        mode,
    };
    run(desk, &site, &args.how, &job, lock, entered)
}

/// Chooses what comes next and takes its lock; nothing if all is current or being built.
fn choose(
    desk: &Desk<'_>,
    site: &Site,
    buildbot: &mut Buildbot,
) -> Result<Option<(Offer, Lock)>, Failure> {
    for _ in 0..TRIES {
        let subarches = scan_own(&site.mirror, buildbot.settings());
        tell_unreadable(&subarches);
        let lock = |subarch: &Subarch| held(&site.mirror, subarch, &site.machine);
        let turn = rotation::turn(&subarches, buildbot, desk.today(), lock);
        tell_printed(buildbot);
        let Some(offer) = turn? else {
            return Ok(None);
        };
        let lock = match site.lock(&offer.place, &offer.date.to_string()) {
            Ok(lock) => lock,
            // Somebody was faster; then something else comes next.
            Err(error) if is_held(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        // Or was faster and has finished.
        let managed = Managed {
            place: offer.place.clone(),
            own: true,
        };
        let seen = subarches
            .iter()
            .find(|subarch| subarch.place == offer.place);
        let now = scan_one(&site.mirror, managed);
        let same = seen.zip(now.as_ref()).is_some_and(|(seen, now)| {
            seen.date() == now.date() && seen.fails.value() == now.fails.value()
        });
        if same {
            return Ok(Some((offer, lock)));
        }
    }
    Err(Failure::machine(
        "others take each build that is chosen here, again and again",
    ))
}

/// Removes fail counts of builds whose inputs are not what they were when they failed.
fn forgive(desk: &Desk<'_>, site: &Site, buildbot: &mut Buildbot) -> Result<(), Failure> {
    let subarches = scan_own(&site.mirror, buildbot.settings());
    for subarch in subarches.iter().filter(|subarch| subarch.fails.value() > 0) {
        if matches!(
            held(&site.mirror, subarch, &site.machine),
            LockState::Held(_)
        ) {
            continue;
        }
        let path = &subarch.path;
        let Some(control) = site.control(&subarch.place)? else {
            continue;
        };
        let note = control
            .fail_note()
            .map_err(|e| Failure::machine(format!("cannot read {}: {e}", shown(control.path()))))?;
        let Some((note, key)) = note.and_then(|note| Some((note.clone(), note.key?))) else {
            continue;
        };
        let offer = crate::repo::rotation::offer(subarch, buildbot, desk.today(), Why::Stale)?;
        let job = Job {
            place: offer.place,
            // The day alone is not a change: what failed was of that day.
            version: note.date.clone(),
            mode: offer.mode,
        };
        let same = match would_build(desk, site, &job, &key) {
            Ok(same) => same,
            Err(error) => {
                let _ = error.report();
                tell!(
                    "{}: the fail count stays, as it cannot be told what would be built now",
                    shown(path)
                );
                true
            }
        };
        if !same {
            let forgiven = control.forgive(&note).map_err(|e| {
                Failure::machine(format!("cannot write {}: {e}", shown(control.path())))
            })?;
            if forgiven {
                tell!(
                    "{}: the fail count of {} is removed: what would be built now is not what failed",
                    shown(path),
                    note.count
                );
            }
        }
    }
    Ok(())
}

/// Whether a run would build, first of all or among others, what has this key.
fn would_build(desk: &Desk<'_>, site: &Site, job: &Job, key: &str) -> Result<bool, Failure> {
    let more = definitions(desk, site, job)?;
    let project = desk.context().project_with(Access::ReadIfPresent, more)?;
    let targets = targets(&job.mode, &job.place, &project.distribution, &project.lock)?;
    let keys = keys_to_build(&project, &targets.all())?;
    Ok(keys.iter().any(|(_, now)| now.0.to_string() == key))
}

/// The definitions of a run: what is built, and what its subarch starts from.
fn definitions(desk: &Desk<'_>, site: &Site, job: &Job) -> Result<Vec<Definition>, Failure> {
    let mut all: Vec<Definition> = elements(&job.place, &job.version, &job.mode)
        .into_iter()
        .map(|(name, value)| Definition::new(name, value))
        .collect();
    let Some(control) = site.control(&job.place)? else {
        return Ok(all);
    };
    if desk.reads_control()? {
        return Ok(all);
    }
    let found = strategy::elements(&control, spec::may_define(desk.context())?)?;
    all.extend(
        found
            .into_iter()
            .map(|(name, value)| Definition::new(name, value)),
    );
    Ok(all)
}

/// Builds what was chosen and publishes it, or counts its failure. The lock is held until all is done.
fn run(
    desk: &Desk<'_>,
    site: &Site,
    how: &How,
    job: &Job,
    lock: Lock,
    entered: Result<Entered, UsernsError>,
) -> Result<ExitCode, Failure> {
    let context = desk.context();
    let config = &site.config;
    let caches = match how.no_substitute {
        true => Caches::default(),
        false => Caches::start(config, &context.reach())?,
    };
    let trust = args::trust(config, &args::TrustArgs::default())?;
    let sees_all = rustix::process::geteuid().is_root();
    let definitions = definitions(desk, site, job)?;
    let mut project = context.project_with(Access::Change, definitions)?;
    let targets = targets(&job.mode, &job.place, &project.distribution, &project.lock)?;
    let ids = targets.all();
    let cancel = context.cancel()?;
    if !how.quiet {
        let path = site.mirror.path(&job.place);
        tell!(
            "building {} of {}: {}",
            job.version,
            shown(path),
            kind(&job.mode)
        );
    }
    let watch = Watch::with_bar(how.quiet, how.quiet || desk.json());
    let outside = context.outside(config);
    let run = Run {
        farm: None,
        site: None,
        jobs: how.jobs.map_or_else(processors, |n| n.get().into()),
        processors: processors(),
        limits: args::limits(config),
        // An extra that fails is no reason to do without the others.
        keep_going: true,
        until: &Until::default(),
        rebuild: false,
        read_inputs: site.key().is_some() && config.sign_verify,
        caches: &caches,
        trust: &trust,
        outside: &outside,
        sign: site.key(),
        cancel,
        leave: &Leave::default(),
        events: &watch,
        random: None,
        books: None,
    };
    let recipes = project.recipes(&ids)?;
    let report = realise(&mut project, recipes, &run, entered)?;
    show_failed(&report.outcome);
    broke_off(&report)?;
    let publication = publication(&project, &targets, &report, job)?;
    let press = site.press(&project, false, cancel);
    let published = publish(&press, &lock, &publication)?;
    show(desk, &job.place, &job.version, &published)?;
    drop(lock);
    if !report.idle {
        project.store.trim(config.gc.written_out, sees_all)?;
    }
    match published.failcount {
        None => Ok(ExitCode::SUCCESS),
        Some(count) => {
            let path = shown(site.mirror.path(&job.place));
            tell!("{path}: the fail count is {count} now");
            Ok(ExitCode::from(FOUND))
        }
    }
}

fn kind(mode: &Mode) -> String {
    match mode.extras.is_empty() {
        true => mode.target.clone(),
        false => format!("{}+{}", mode.target, mode.joined()),
    }
}

/// What is published of a run. Of one that failed: what was built, if all but extras was; and the logs.
fn publication(
    project: &Project,
    targets: &RunTargets,
    report: &Report,
    job: &Job,
) -> Result<Publication, Failure> {
    let ids = targets.all();
    let mut all = gather(project, &ids)?;
    let own = |g: &Gathered| g.publication.version == job.version;
    let (true, Some(gathered)) = (all.len() == 1 && all.iter().all(own), all.pop()) else {
        return Err(Failure::usage(format!(
            "the specifications do not name builds by target/version {}",
            job.version
        ))
        .hint(
            "where they define target/version, take it from the definition: it is given by the run",
        ));
    };
    let Gathered {
        mut publication,
        missing,
    } = gathered;
    let is_missing = |id: &TargetId| missing.contains(&id.to_string());
    if targets.main.iter().any(is_missing) {
        publication.artifacts.clear();
    }
    if let Some(failed) = report.outcome.failed.first() {
        note_failure(project, &ids, report, failed, &mut publication)?;
    } else if !missing.is_empty() {
        return Err(Failure::machine(format!(
            "{} was not built",
            missing.join(", ")
        )));
    }
    Ok(publication)
}

/// Adds what is known of the first failure.
fn note_failure(
    project: &Project,
    ids: &[TargetId],
    report: &Report,
    failed: &Failed,
    publication: &mut Publication,
) -> Result<(), Failure> {
    let name = failed.name.target();
    let target = report.targets.iter().find(|target| target.name == name);
    let target = match target {
        Some(target) => target.id.target.clone(),
        // It is one that others start from.
        None => name.replace('/', "-"),
    };
    let keys = keys_to_build(project, ids)?;
    let key = keys.iter().find(|(step, _)| *step == failed.name);
    let log = failed.failure.log.clone();
    let logs = publication.logs.entry(target.clone()).or_default();
    if !logs.iter().any(|(_, file)| *file == log) {
        logs.push((failed.name.to_string(), log.clone()));
    }
    publication.failure = Some(RunFailure {
        key: key.map(|(_, key)| key.0.to_string()),
        target,
        log,
    });
    Ok(())
}
