//! `publish`

use std::process::ExitCode;

use serde::Serialize;

use super::desk::Desk;
use crate::cli::failure::FOUND;
use crate::cli::site::{Site, is_held};
use crate::cli::{Failure, output};
use crate::project::Access;
use crate::repo::layout::archive_stem;
use crate::repo::name::Place;
use crate::repo::publish::{ArchiveOutcome, Gathered, Published, gather, publish as put};
use crate::repo::quote::shown;

/// Put targets that are built into the mirror
#[derive(clap::Args)]
pub struct Publish {
    /// Targets, such as stage3-corei7, or patterns
    #[arg(required = true, value_name = "TARGET")]
    targets: Vec<String>,
    /// Only show what would be published
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Replace archives that were published before
    #[arg(long)]
    replace: bool,
}

/// A build that was published, as JSON.
#[derive(Serialize)]
pub struct PublishedView<'a> {
    build: &'a str,
    arch_desc: &'a str,
    subarch: &'a str,
    version: &'a str,
    path: String,
    complete: bool,
    archives: Vec<ArchiveView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failcount: Option<u64>,
}

/// An archive, as JSON.
#[derive(Serialize)]
struct ArchiveView<'a> {
    name: &'a str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digests: Option<String>,
}

impl<'a> PublishedView<'a> {
    /// The view of a build.
    pub fn new(place: &'a Place, version: &'a str, published: &'a Published) -> Self {
        let archives = published.archives.iter().map(|(name, outcome)| {
            let (word, digests) = match outcome {
                ArchiveOutcome::Written(digests) => ("written", Some(digests)),
                ArchiveOutcome::Resumed(digests) => ("resumed", Some(digests)),
                ArchiveOutcome::Kept => ("kept", None),
            };
            ArchiveView {
                name,
                outcome: word,
                bytes: digests.map(|d| d.bytes),
                digests: digests.map(|d| d.lines()),
            }
        });
        PublishedView {
            build: place.build.as_str(),
            arch_desc: place.arch.as_str(),
            subarch: place.subarch.as_str(),
            version,
            path: published.path.to_string_lossy().into_owned(),
            complete: published.complete,
            archives: archives.collect(),
            failcount: published.failcount,
        }
    }
}

/// Prints what was published.
pub fn show(
    desk: &Desk<'_>,
    place: &Place,
    version: &str,
    published: &Published,
) -> Result<(), Failure> {
    if desk.json() {
        return output::json(&PublishedView::new(place, version, published));
    }
    for (name, outcome) in &published.archives {
        let path = published.path.join(name);
        match outcome {
            ArchiveOutcome::Kept => {
                tell!("{} was published before and stays", shown(&path));
            }
            ArchiveOutcome::Written(digests) | ArchiveOutcome::Resumed(digests) => {
                let size = output::size(digests.bytes);
                output::line(format!("published {}: {size}", shown(&path)))?;
            }
        }
    }
    Ok(())
}

/// Runs `publish`.
pub fn publish(desk: &Desk<'_>, args: Publish) -> Result<ExitCode, Failure> {
    let site = desk.site()?;
    let project = desk.context().project(Access::ReadIfPresent)?;
    let targets = project.targets(&args.targets)?;
    let all = gather(&project, &targets)?;
    let missing: Vec<&String> = all.iter().flat_map(|g| &g.missing).collect();
    if let Some(first) = missing.first() {
        return Err(Failure::found(format!(
            "{first} is not built, or not as it is specified now"
        ))
        .hint(format!("build it first: mstore realise {first}")));
    }
    if args.dry_run {
        for gathered in &all {
            preview(desk, &site, gathered, args.replace)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let cancel = desk.context().cancel()?;
    let mut held = false;
    for Gathered { publication, .. } in &all {
        let lock = match site.lock(&publication.place, &publication.version) {
            Ok(lock) => lock,
            Err(error) if is_held(&error) => {
                tell!("error: {error}: nothing was published there");
                held = true;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let press = site.press(&project, args.replace, cancel);
        let published = put(&press, &lock, publication)?;
        show(desk, &publication.place, &publication.version, &published)?;
    }
    Ok(match held {
        true => ExitCode::from(FOUND),
        false => ExitCode::SUCCESS,
    })
}

#[derive(Serialize)]
struct PreviewView<'a> {
    path: String,
    archive: String,
    tree: String,
    target: &'a str,
    kept: bool,
}

/// Prints what would be published.
fn preview(
    desk: &Desk<'_>,
    site: &Site,
    gathered: &Gathered,
    replace: bool,
) -> Result<(), Failure> {
    let publication = &gathered.publication;
    let folder = site
        .mirror
        .path(&publication.place)
        .join(&publication.version);
    let there: Vec<_> = std::fs::read_dir(&folder)
        .into_iter()
        .flatten()
        .flatten()
        .collect();
    for artifact in &publication.artifacts {
        let stem = artifact.names.stem.as_bytes();
        let kept = there
            .iter()
            .map(|entry| entry.file_name())
            .find(|name| archive_stem(name.as_encoded_bytes()) == Some(stem))
            .filter(|_| !replace);
        let archive = match &kept {
            Some(name) => name.to_string_lossy().into_owned(),
            None => format!("{}.tar{}", artifact.names.stem, publication.method.ending()),
        };
        if desk.json() {
            output::json(&PreviewView {
                path: folder.to_string_lossy().into_owned(),
                archive,
                tree: artifact.tree.to_string(),
                target: &artifact.target,
                kept: kept.is_some(),
            })?;
            continue;
        }
        let path = shown(folder.join(&archive));
        output::line(match kept {
            Some(_) => format!("{path} was published before and would stay"),
            None => format!("would publish {path}: tree {}", artifact.tree),
        })?;
    }
    Ok(())
}
