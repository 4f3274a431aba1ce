//! One target of a run: skipped if its archive is there, else built and published.

use super::settings::{print_settings, replaces};
use super::under::Under;
use super::view::{Outcome, TargetView};
use crate::cli::{Failure, output};
use crate::plan::TargetId;
use crate::project::Events;
use crate::project::realise::Report;
use crate::repo::lock::Lock;
use crate::repo::mark::Mark;
use crate::repo::publish::{
    ArchiveOutcome, Gathered, Publication, PublishError, RunFailure, again, far_link, gather,
    keys_to_build, names_of, publish,
};
use crate::repo::quote::shown;
use crate::repo::run::{Begun, Logged, TargetLog, there};

/// What became of a target.
pub enum Made {
    /// It was there.
    Kept(TargetView),
    /// It was built and published.
    Published(TargetView),
    /// A step failed, and the fail count is this now.
    Failed(TargetView, u64),
}

/// Builds one target.
pub fn build(
    under: &mut Under<'_>,
    lock: &Lock,
    begun: &Begun,
    id: &TargetId,
) -> Result<Made, Failure> {
    let job = under.job;
    // Read anew for each: what the target before it left in the mirror counts.
    under.project.distribution = job.settings.distribution(&job.more()?)?;
    let project = &under.project;
    let elements = project.distribution.elements(id, &project.lock)?;
    if job.args.debug_flexdata {
        print_settings(id, &elements)?;
    }
    let recipe = project.distribution.recipe(id, &project.lock)?;
    if recipe.version != job.version {
        return Err(Failure::usage(format!(
            "{id} has the target/version `{}`, and the run {}",
            shown(&recipe.version),
            job.version
        ))
        .hint("where specifications define target/version, take it from the definition: it is given by the run"));
    }
    let names = names_of(id, &recipe.class, &job.version, &elements)?;
    let replace = replaces(&elements)?;
    let mirror = job.mirror();
    let folder = job.path().join(&job.version);
    let io = |source| PublishError::Io {
        path: folder.clone(),
        source,
    };
    let found = there(mirror, &job.place, &job.version, &names.stem).map_err(io)?;
    if let Some(archive) = found.filter(|_| !replace) {
        let path = folder.join(&archive);
        job.tell(&format!("{} is there already: skipped", shown(&path)));
        let far = far_link(id, &elements)?;
        let to = (mirror, lock.control(), &job.site.ownership);
        again(
            to,
            &job.place,
            &job.version,
            &names,
            far.as_deref(),
            &archive,
        )
        .map_err(io)?;
        return Ok(Made::Kept(TargetView::new(
            &id.target,
            Outcome::Kept,
            Some(&path),
        )));
    }
    let mark_name = format!(".{}_progress", id.target);
    let mark = Mark::take(lock.control().folder(), &mark_name, &job.site.machine).map_err(io)?;
    let _mark = mark.map_err(|holder| {
        let path = lock.control().path().join(&mark_name);
        Failure::found(format!("{} is held by {holder}", shown(path)))
            .hint("another run builds this target: wait until it has ended")
    })?;
    let log = begun.log(&id.target).map_err(io)?;
    job.tell(&format!("logging output to {}", shown(log.path())));
    log.say(&format!(
        "running target {} with class {}",
        id.target, recipe.class
    ));
    let made = logged(under, lock, id, (&log, replace));
    if let Err(failure) = &made {
        log.say(&format!("ended: {failure}"));
    }
    log.close()?;
    match made? {
        Ended::Published(view) => Ok(Made::Published(view)),
        Ended::Failed(publication) => failed(under, lock, begun, id, *publication),
    }
}

/// How a target ended whose log is being written.
enum Ended {
    Published(TargetView),
    Failed(Box<Publication>),
}

/// Builds a target and publishes it, with its log open.
fn logged(
    under: &mut Under<'_>,
    lock: &Lock,
    id: &TargetId,
    (log, replace): (&TargetLog, bool),
) -> Result<Ended, Failure> {
    let job = under.job;
    let watch = under.watch;
    let events: &dyn Events = &Logged { log, events: watch };
    let origin = under.sources_settle(id, events)?;
    let line = format!("{} starts from {origin}", id.target);
    log.say(&line);
    if job.args.verbose || job.args.debug {
        job.tell(&line);
    }
    let report = under.realise(id, events)?;
    let mut gathered = gather(&under.project, std::slice::from_ref(id))?;
    let (
        1,
        Some(Gathered {
            mut publication,
            missing,
        }),
    ) = (gathered.len(), gathered.pop())
    else {
        return Err(Failure::machine(format!("{id} is not what was planned")));
    };
    publication.targets = job.names();
    if let Some(failure) = failure(under, &report, id)? {
        publication.artifacts.clear();
        publication.info.clear();
        publication.logs.clear();
        publication.failure = Some(failure);
        return Ok(Ended::Failed(Box::new(publication)));
    }
    if let Some(name) = missing.first() {
        return Err(Failure::machine(format!("{name} was not built")));
    }
    // Steps that had results told nothing now.
    let stored = publication.logs.remove(&id.target).unwrap_or_default();
    log.add_stored(&stored);
    // They are in the mirror already.
    publication.logs.clear();
    publication.goes_on = true;
    let press = job.site.press(&under.project, replace, under.cancel);
    let published = publish(&press, lock, &publication)?;
    let mut view = TargetView::new(&id.target, Outcome::Built, None);
    for ((name, outcome), artifact) in published.archives.iter().zip(&publication.artifacts) {
        let path = published.path.join(name);
        let relative = job.place.relative().join(&job.version).join(name);
        under.made.insert(relative, artifact.tree);
        view.set_archive(&path, outcome, artifact.tree);
        if let ArchiveOutcome::Written(digests) | ArchiveOutcome::Resumed(digests) = outcome {
            let size = output::size(digests.bytes);
            let line = format!("published {}: {size}", shown(&path));
            log.say(&line);
            if !job.args.json {
                output::line(line)?;
            }
        }
    }
    log.say("target run complete");
    Ok(Ended::Published(view))
}

/// The first failure of a report.
fn failure(
    under: &Under<'_>,
    report: &Report,
    id: &TargetId,
) -> Result<Option<RunFailure>, Failure> {
    let Some(failed) = report.outcome.failed.first() else {
        return Ok(None);
    };
    let keys = keys_to_build(&under.project, std::slice::from_ref(id))?;
    let key = keys.iter().find(|(step, _)| *step == failed.name);
    Ok(Some(RunFailure {
        key: key.map(|(_, key)| key.0.to_string()),
        target: id.target.clone(),
        log: failed.failure.log.clone(),
    }))
}

/// Writes a failure down: ebuilds that failed, status, fail count.
fn failed(
    under: &mut Under<'_>,
    lock: &Lock,
    begun: &Begun,
    id: &TargetId,
    publication: Publication,
) -> Result<Made, Failure> {
    let job = under.job;
    let path = begun.log_path(&id.target);
    let listed = begun
        .list_failures(&id.target)
        .map_err(|source| PublishError::Io {
            path: path.clone(),
            source,
        })?;
    let press = job.site.press(&under.project, false, under.cancel);
    let published = publish(&press, lock, &publication)?;
    match listed {
        0 => tell!("{} failed; its log: {}", id.target, shown(&path)),
        n => tell!(
            "{} failed; its log: {}; {n} {} in errors.json beside it",
            id.target,
            shown(&path),
            match n {
                1 => "ebuild that failed stands",
                _ => "ebuilds that failed stand",
            }
        ),
    }
    let mut view = TargetView::new(&id.target, Outcome::Failed, None);
    view.log = Some(path.to_string_lossy().into_owned());
    Ok(Made::Failed(view, published.failcount.unwrap_or_default()))
}
