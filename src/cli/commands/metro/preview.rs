//! What a run would do, without doing any of it.

use std::collections::BTreeSet;
use std::process::ExitCode;

use super::job::Job;
use super::settings::{print_settings, replaces};
use super::view::{Outcome, RunView, TargetView};
use crate::cli::{Failure, output};
use crate::plan::{Start, TargetId};
use crate::project::Access;
use crate::repo::lock::{self, LockState};
use crate::repo::mode::SNAPSHOT;
use crate::repo::publish::{PublishError, names_of};
use crate::repo::quote::shown;
use crate::repo::run::{Sources, class_of, there};

/// Prints what a run would do; changes nothing.
pub fn print(job: &Job<'_>) -> Result<ExitCode, Failure> {
    let mut view = RunView::new(job);
    let distribution = job.settings.distribution(&job.more()?)?;
    let project = job.context.open(Access::ReadIfPresent, distribution)?;
    if let LockState::Held(holder) = lock::look(&job.path(), &job.site.machine) {
        tell!(
            "{} is held by {holder}: a run would end at once",
            shown(job.path())
        );
    }
    if job.snapshot {
        let mut target = TargetView::new(SNAPSHOT, Outcome::WouldBuild, None);
        target.source = None;
        view.targets.push(target);
    }
    let made = Default::default();
    let sources = Sources {
        mirror: job.mirror(),
        version: &job.version,
        made: &made,
        cancel: job.context.cancel()?,
    };
    // Archives that the run itself would make, by their names.
    let mut planned = BTreeSet::new();
    let stem = |id: &TargetId| -> Result<(String, bool), Failure> {
        let elements = project.distribution.elements(id, &project.lock)?;
        let class = class_of(&project, id, &elements)?;
        let names = names_of(id, &class, &job.version, &elements)?;
        Ok((names.stem, replaces(&elements)?))
    };
    for id in &job.targets {
        if job.args.debug_flexdata {
            let elements = project.distribution.elements(id, &project.lock)?;
            print_settings(id, &elements)?;
        }
        let (own, replace) = stem(id)?;
        let folder = job.path().join(&job.version);
        let found = there(job.mirror(), &job.place, &job.version, &own);
        let found = found.map_err(|source| PublishError::Io {
            path: folder.clone(),
            source,
        })?;
        if let Some(archive) = found.filter(|_| !replace) {
            let path = folder.join(archive);
            view.targets
                .push(TargetView::new(&id.target, Outcome::Kept, Some(&path)));
            continue;
        }
        let mut target = TargetView::new(&id.target, Outcome::WouldBuild, None);
        let recipe = project.distribution.recipe(id, &project.lock)?;
        target.source = Some(match &recipe.start {
            Start::Target(from)
                if project.distribution.index().contains(from)
                    && planned.contains(&stem(from)?.0) =>
            {
                format!("{} of this run", from.target)
            }
            _ => sources.origin(&project, id)?.to_string(),
        });
        planned.insert(own);
        view.targets.push(target);
    }
    if job.args.json {
        output::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    for target in &view.targets {
        output::line(match (&target.archive, &target.source) {
            (Some(path), _) => format!("{}: {} is there already", target.target, shown(path)),
            (None, Some(source)) => format!("{}: would be built from {source}", target.target),
            (None, None) => format!("{}: would be published, if it is not there", target.target),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
