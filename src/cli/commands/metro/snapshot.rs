//! The snapshot of a run: skipped if its archive is there, else published.

use std::path::Path;

use super::settings::{print_settings, replaces};
use super::under::Under;
use super::view::{Outcome, TargetView};
use crate::cli::{Failure, output};
use crate::plan::TargetId;
use crate::repo::lock::Holder;
use crate::repo::mode::SNAPSHOT;
use crate::repo::quote::shown;
use crate::repo::run::{SnapshotArchive, Written, pinned_snapshot};

/// Makes the archive of the snapshot, unless it is there.
pub fn publish(under: &mut Under<'_>) -> Result<TargetView, Failure> {
    let job = under.job;
    let id = TargetId {
        target: SNAPSHOT.to_owned(),
        ..job.id.clone()
    };
    // That of a repository of Metro is imported.
    let distribution = &under.project.distribution;
    let own = distribution.metro().is_none() && distribution.index().contains(&id);
    let of = match (own, job.targets.first()) {
        (true, _) => id.clone(),
        (false, Some(target)) => target.clone(),
        (false, None) => job.id.clone(),
    };
    let elements = under
        .project
        .distribution
        .elements(&of, &under.project.lock)?;
    if job.args.debug_flexdata {
        print_settings(&of, &elements)?;
    }
    let replace = replaces(&elements)?;
    let press = job.site.press(&under.project, replace, under.cancel);
    let archive = SnapshotArchive::new(&press, &under.project, &of, &job.version)?;
    let there = archive.there()?.is_some() && !replace;
    let tree = match (there, own) {
        (true, _) => None,
        // A target makes it.
        (false, true) => {
            under.sources_settle(&of, &())?;
            let watch = under.watch;
            let report = under.realise(&of, watch)?;
            match report.targets.first().and_then(|target| target.tree) {
                Some(tree) => Some(tree),
                None => return Err(Failure::found(format!("{of} was not built"))),
            }
        }
        // Else it is what targets read.
        (false, false) => {
            let watch = under.watch;
            under.sources_settle(&of, watch)?;
            Some(pinned_snapshot(&under.project, &of)?)
        }
    };
    let press = job.site.press(&under.project, replace, under.cancel);
    let waiting = |path: &Path, holder: &Holder| {
        job.tell(&format!(
            "another run makes the snapshot ({} is held by {holder}): waiting for it",
            shown(path)
        ));
    };
    let project = &under.project;
    let written = archive.write(&press, &waiting, &mut || match tree {
        Some(tree) => Ok(tree),
        // It was removed meanwhile.
        None => pinned_snapshot(project, &of),
    })?;
    let path = archive.path()?;
    let name = shown(&path);
    let outcome = match written {
        Written::Now(bytes) => {
            if !job.args.json {
                output::line(format!("published {name}: {}", output::size(bytes)))?;
            }
            Outcome::Built
        }
        Written::Before => {
            job.tell(&format!("{name} is there already: skipped"));
            Outcome::Kept
        }
    };
    Ok(TargetView::new(SNAPSHOT, outcome, Some(&path)))
}
