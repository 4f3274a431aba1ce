//! `clean`, `digestgen`, `index.xml`, `compress`, `import-buildbot`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;

use serde::Serialize;

use super::desk::{Desk, tell_unreadable};
use crate::cli::failure::{FOUND, MACHINE};
use crate::cli::site::gpg;
use crate::cli::{Failure, output};
use crate::repo::clean::{self, Cleaned, Reason, Step};
use crate::repo::compress::{self, Method, Outcome};
use crate::repo::config::to_metro;
use crate::repo::digest::digestgen as make_digests;
use crate::repo::index;
use crate::repo::layout::{INDEX, Mirror, SNAPSHOTS};
use crate::repo::lock::Machine;
use crate::repo::quote::{quoted, shown};
use crate::repo::scan::scan;

/// Print a script that removes old builds
#[derive(clap::Args)]
pub struct Clean {
    /// Remove them, under locks, in place of printing the script
    #[arg(long)]
    run: bool,
}

/// Compress archives that are marked
#[derive(clap::Args)]
pub struct Compress {
    /// Folder to look in
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// A step of `clean` as JSON.
#[derive(Serialize)]
struct StepView {
    path: String,
    removed: bool,
    reason: String,
}

/// What `clean --run` did, as JSON.
#[derive(Default, Serialize)]
struct CleanedView {
    removed: Vec<String>,
    in_progress: Vec<String>,
    failed: Vec<FailedView>,
}

/// Something that could not be done, as JSON.
#[derive(Serialize)]
struct FailedView {
    path: String,
    detail: String,
}

/// What `digestgen` did, as JSON.
#[derive(Serialize)]
struct DigestedView {
    hashed: Vec<HashedView>,
    removed: Vec<String>,
    linked: Vec<String>,
    signed: Vec<String>,
    unchanged: usize,
    failed: Vec<FailedView>,
}

/// An archive that was hashed, as JSON.
#[derive(Serialize)]
struct HashedView {
    path: String,
    bytes: u64,
    digests: String,
}

/// What `index.xml` did, as JSON.
#[derive(Serialize)]
struct IndexView {
    path: String,
    subarches: usize,
    artifacts: usize,
    left_out: Vec<FailedView>,
}

/// What became of a mark, as JSON: one line each.
#[derive(Serialize)]
struct CompressedView {
    archive: String,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

fn lossy(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn threads() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn words(reason: &Reason) -> String {
    match reason {
        Reason::Newest(n) => format!("number {n} from the newest"),
        Reason::Old => "enough newer ones are there".to_owned(),
        Reason::Young => "it may still be built".to_owned(),
        Reason::Incomplete(days) => format!("it came to nothing {days} days ago"),
        Reason::Named => "a version file names it".to_owned(),
        Reason::InProgress(holder) => format!("{holder} works on it"),
        Reason::Unknown(why) => format!("it cannot be told whether it is needed: {why}"),
    }
}

/// The whole plan, in the order of the configuration. What lies outside the mirror is not in it.
fn plan(desk: &Desk, mirror: &Mirror, settings: &crate::repo::config::Settings) -> Vec<Step> {
    let machine = Machine::this();
    let subarches = scan(mirror, settings);
    tell_unreadable(&subarches);
    let mut steps = Vec::new();
    for subarch in &subarches {
        if is_inside(mirror, &subarch.place.relative()) {
            steps.extend(clean::plan_subarch(
                subarch,
                settings,
                desk.today(),
                &machine,
            ));
        }
    }
    for build in &settings.all_builds {
        let snapshots = clean::plan_snapshots(mirror, build, settings);
        let goes = snapshots.iter().any(|step| step.goes);
        if !goes || is_inside(mirror, &Path::new(build.as_str()).join(SNAPSHOTS)) {
            steps.extend(snapshots);
        }
    }
    steps
}

/// Whether a folder lies in the mirror, through whatever links; tells of one that does not.
fn is_inside(mirror: &Mirror, relative: &Path) -> bool {
    let result = mirror.inside(relative);
    if let Err(e) = &result {
        let path = shown(mirror.root().join(relative));
        tell!("warning: {path} leads out of the mirror, nothing is removed there: {e}");
    }
    result.is_ok()
}

/// Runs `clean`.
pub fn clean(desk: &Desk, args: Clean) -> Result<ExitCode, Failure> {
    let buildbot = desk.buildbot()?;
    let mirror = desk.mirror()?;
    let settings = buildbot.settings();
    if args.run {
        return run_clean(desk, &mirror, settings);
    }
    let steps = plan(desk, &mirror, settings);
    if desk.json() {
        let views: Vec<StepView> = steps
            .iter()
            .map(|step| StepView {
                path: lossy(&mirror.root().join(&step.path)),
                removed: step.goes,
                reason: words(&step.reason),
            })
            .collect();
        output::json(&views)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut script = b"#!/bin/sh\n".to_vec();
    for step in &steps {
        let path = mirror.root().join(&step.path);
        if step.goes {
            script.extend(b"rm -rf -- ");
            script.extend(quoted(&path));
        } else {
            let comment = format!("# {} stays: {}", shown(&path), words(&step.reason));
            script.extend(comment.bytes());
        }
        script.push(b'\n');
    }
    output::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}

fn run_clean(
    desk: &Desk,
    mirror: &Mirror,
    settings: &crate::repo::config::Settings,
) -> Result<ExitCode, Failure> {
    let machine = Machine::this();
    let shared = desk.shared()?;
    let mut view = CleanedView::default();
    let mut take = |at: PathBuf, cleaned: Cleaned| -> Result<(), Failure> {
        let removed = match cleaned {
            Cleaned::Removed(removed) => removed,
            Cleaned::InProgress(holder) => {
                tell!("{} is being built by {holder}: passed over", shown(&at));
                view.in_progress.push(lossy(&at));
                return Ok(());
            }
            Cleaned::Failed { removed, detail } => {
                tell!("error: {}: {detail}", shown(&at));
                let path = lossy(&at);
                view.failed.push(FailedView { path, detail });
                removed
            }
        };
        for path in removed {
            let path = mirror.root().join(path);
            if !desk.json() {
                output::line(format!("Removed {}", shown(&path)))?;
            }
            view.removed.push(lossy(&path));
        }
        Ok(())
    };
    for managed in settings.managed() {
        let at = mirror.path(&managed.place);
        let today = desk.today();
        take(
            at,
            clean::clean_subarch(mirror, &managed, settings, today, &machine, shared),
        )?;
    }
    for build in &settings.all_builds {
        take(
            mirror.snapshots(build),
            clean::clean_snapshots(mirror, build, settings),
        )?;
    }
    let failed = !view.failed.is_empty();
    if desk.json() {
        output::json(&view)?;
    }
    Ok(match failed {
        true => ExitCode::from(MACHINE),
        false => ExitCode::SUCCESS,
    })
}

/// Runs `digestgen`.
pub fn digestgen(desk: &Desk) -> Result<ExitCode, Failure> {
    // What cannot be used is told before anything is done, also by a verb that looks at the whole mirror.
    desk.buildbot()?;
    let mirror = desk.mirror()?;
    let gpg = gpg(&desk.context().machine_config()?);
    let done = make_digests(&mirror, &desk.ownership()?, threads(), gpg.as_ref());
    let full = |path: &PathBuf| mirror.root().join(path);
    for (path, detail) in &done.failed {
        tell!("error: {}: {detail}", shown(full(path)));
    }
    let failed = !done.failed.is_empty();
    if desk.json() {
        let paths = |all: &[PathBuf]| all.iter().map(|p| lossy(&full(p))).collect();
        let failures = done.failed.iter().map(|(path, detail)| FailedView {
            path: lossy(&full(path)),
            detail: detail.clone(),
        });
        output::json(&DigestedView {
            hashed: done
                .hashed
                .iter()
                .map(|(path, digests)| HashedView {
                    path: lossy(&full(path)),
                    bytes: digests.bytes,
                    digests: digests.lines(),
                })
                .collect(),
            removed: paths(&done.removed),
            linked: paths(&done.linked),
            signed: paths(&done.signed),
            unchanged: done.unchanged,
            failed: failures.collect(),
        })?;
    } else {
        let mut text = String::new();
        for (word, paths) in [
            (
                "hashed",
                done.hashed.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            ),
            ("removed", done.removed.iter().collect()),
            ("linked", done.linked.iter().collect()),
            ("signed", done.signed.iter().collect()),
        ] {
            for path in paths {
                text.push_str(&format!("{word} {}\n", shown(full(path))));
            }
        }
        output::bytes(text.as_bytes())?;
    }
    Ok(match failed {
        true => ExitCode::from(MACHINE),
        false => ExitCode::SUCCESS,
    })
}

/// Runs `index.xml`.
pub fn index_xml(desk: &Desk) -> Result<ExitCode, Failure> {
    let buildbot = desk.buildbot()?;
    let mirror = desk.mirror()?;
    let ownership = desk.ownership()?;
    let index = index::index(&mirror, buildbot.settings());
    for (path, why) in &index.left_out {
        tell!("warning: {}: {why}: left out of the index", shown(path));
    }
    let path = mirror.root().join(INDEX);
    index::write(&mirror, &ownership, &index.text)
        .map_err(|e| Failure::machine(format!("cannot write {}: {e}", shown(&path))))?;
    if desk.json() {
        let left_out = index.left_out.iter().map(|(path, detail)| FailedView {
            path: lossy(path),
            detail: detail.clone(),
        });
        output::json(&IndexView {
            path: lossy(&path),
            subarches: index.subarches,
            artifacts: index.artifacts,
            left_out: left_out.collect(),
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `compress`.
pub fn compress(desk: &Desk, args: Compress) -> Result<ExitCode, Failure> {
    let method = match desk.element("target/compression")? {
        None => Method::default(),
        Some(text) => Method::parse(&text).ok_or_else(|| {
            Failure::usage(format!(
                "target/compression: `{}` is not a compression",
                shown(&text)
            ))
            .hint("write gz, bz2, xz or zst")
        })?,
    };
    let ownership = desk.ownership()?;
    let machine = Machine::this();
    let who = format!("{} {}\n", machine.host(), std::process::id());
    let (mut failed, mut written) = (false, Ok(()));
    let report = |archive: PathBuf, outcome: Outcome| {
        failed |= matches!(outcome, Outcome::Failed(_));
        if written.is_ok() {
            written = told(desk, &archive, &outcome);
        }
    };
    compress::compress(&args.folder, method, &ownership, threads(), &who, report)
        .map_err(|e| Failure::usage(format!("cannot look into {}: {e}", shown(&args.folder))))?;
    written?;
    Ok(match failed {
        true => ExitCode::from(FOUND),
        false => ExitCode::SUCCESS,
    })
}

/// Tells what became of an archive.
fn told(desk: &Desk, archive: &Path, outcome: &Outcome) -> Result<(), Failure> {
    let path = shown(archive);
    let mut view = CompressedView {
        archive: lossy(archive),
        outcome: "compressed",
        to: None,
        bytes: None,
        detail: None,
    };
    match outcome {
        Outcome::Compressed {
            to,
            from_bytes,
            to_bytes,
        } => {
            view.to = Some(lossy(to));
            view.bytes = Some(*to_bytes);
            if !desk.json() {
                let (from, bytes) = (output::size(*from_bytes), output::size(*to_bytes));
                output::line(format!("compressed {} from {from} to {bytes}", shown(to)))?;
            }
        }
        Outcome::Taken(age) => {
            view.outcome = "taken";
            let since = output::duration(age.as_secs_f64());
            tell!("{path} is being compressed since {since} by somebody else: passed over");
        }
        Outcome::NoArchive => {
            view.outcome = "no-archive";
            tell!("{path} is marked and is not there: the mark stays");
        }
        Outcome::Failed(why) => {
            view.outcome = "failed";
            view.detail = Some(why.clone());
            tell!("error: cannot compress {path}: {why}");
        }
    }
    match desk.json() {
        true => output::json(&view),
        false => Ok(()),
    }
}

/// Runs `import-buildbot`.
pub fn import_buildbot(desk: &Desk) -> Result<ExitCode, Failure> {
    let mut buildbot = desk.buildbot()?;
    let text = to_metro(&mut buildbot)?;
    if desk.json() {
        output::json(&text)?;
    } else {
        output::bytes(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}
