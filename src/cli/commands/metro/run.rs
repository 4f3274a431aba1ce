//! A run: takes the lock of the subarch, then goes from target to target, and writes down how it ended.

use std::collections::BTreeMap;
use std::process::ExitCode;

use super::job::Job;
use super::snapshot;
use super::target::{self, Made};
use super::under::Under;
use super::view::{RunView, TargetView};
use crate::build::userns::{Entered, UsernsError};
use crate::cli::failure::FOUND;
use crate::cli::site::{Site, is_held};
use crate::cli::watch::Watch;
use crate::cli::{Failure, args, output};
use crate::project::{Access, Caches};
use crate::repo::lock::Lock;
use crate::repo::mark::sweep;
use crate::repo::mode::SNAPSHOT;
use crate::repo::publish::{PublishError, conclude, finish};
use crate::repo::quote::shown;
use crate::repo::run::Begun;

/// Builds everything that is not there.
pub fn all(job: &Job<'_>, entered: Result<Entered, UsernsError>) -> Result<ExitCode, Failure> {
    let context = job.context;
    let config = &job.site.config;
    let entered = entered?;
    let caches = match job.args.no_substitute {
        true => Caches::default(),
        false => Caches::start(config, &context.reach())?,
    };
    let trust = args::trust(config, &args::TrustArgs::default())?;
    let outside = context.outside(config);
    let project = context.open(Access::Change, job.settings.distribution(&job.more()?)?)?;
    let cancel = context.cancel()?;
    let (quiet, json) = (job.args.quiet, job.args.json);
    let watch = Watch::with_bar(quiet, quiet || json).showing_output(job.args.debug);
    let mut under = Under {
        job,
        project,
        cancel,
        watch: &watch,
        made: BTreeMap::new(),
        entered,
        caches: &caches,
        trust: &trust,
        outside: &outside,
        busy: false,
    };
    let names = job.names();
    let first = job.snapshot.then_some(SNAPSHOT);
    let list: Vec<&str> = first
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    job.tell(&format!(
        "running {} of {} for {}",
        list.join(" "),
        job.version,
        shown(job.path())
    ));
    let mut view = RunView::new(job);
    let failed = match job.targets.is_empty() {
        true => {
            view.targets.push(snapshot::publish(&mut under)?);
            false
        }
        false => {
            let lock = lock(job)?;
            each(&mut under, &lock, &mut view)?
        }
    };
    if under.busy {
        let sees_all = rustix::process::geteuid().is_root();
        let store = &under.project.store;
        store.trim(config.gc.written_out, sees_all)?;
    }
    if json {
        output::json(&view)?;
    }
    Ok(match failed {
        true => ExitCode::from(FOUND),
        false => ExitCode::SUCCESS,
    })
}

/// Takes the lock of the subarch.
fn lock(job: &Job<'_>) -> Result<Lock, Failure> {
    match job.site.lock(&job.place, &job.version) {
        Err(error) if is_held(&error) => Err(Failure::found(error).hint(
            "another run builds this subarch: wait until it has ended; the lock of one that was killed is taken over by itself",
        )),
        other => Ok(other?),
    }
}

/// Goes from target to target; tells whether one failed.
fn each(under: &mut Under<'_>, lock: &Lock, view: &mut RunView<'_>) -> Result<bool, Failure> {
    let job = under.job;
    let Site {
        mirror, ownership, ..
    } = &job.site;
    let io = |source| PublishError::Io {
        path: job.path().join(&job.version),
        source,
    };
    // What a run that was killed left comes first: its archive may be there, and not known yet.
    finish(mirror, &job.place, lock.control(), ownership).map_err(io)?;
    sweep(lock.control().folder(), &job.site.machine).map_err(io)?;
    let begun =
        Begun::new(mirror, &job.place, &job.version, &job.names(), ownership).map_err(io)?;
    if job.snapshot {
        let made = snapshot::publish(under)?;
        view.targets.push(made);
    }
    // The old tool looks and then writes over a lock.
    let still_mine = || match lock.is_mine() {
        true => Ok(()),
        false => Err(PublishError::LockLost { path: job.path() }),
    };
    for (at, id) in job.targets.iter().enumerate() {
        still_mine()?;
        match target::build(under, lock, &begun, id)? {
            Made::Kept(target) | Made::Published(target) => view.targets.push(target),
            Made::Failed(target, count) => {
                view.targets.push(target);
                let rest = job.targets[at + 1..].iter();
                view.targets.extend(rest.map(TargetView::not_tried));
                view.end("fail", Some(count));
                tell!("{}: the fail count is {count} now", shown(job.path()));
                return Ok(true);
            }
        }
    }
    still_mine()?;
    let target = (mirror, lock.control(), ownership);
    let done = conclude(target, &job.place, &job.version).map_err(io)?;
    view.end(if done.complete { "ok" } else { "" }, None);
    Ok(false)
}
