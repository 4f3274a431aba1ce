//! What is found in all targets of specifications: by `mstore check` and by the language server.

use std::collections::BTreeSet;
use std::path::Path;

use mstore_lang::lint::{Finding, Lint, Sighting, Survey};
use mstore_lang::{Class, Diagnostic, DiskFiles, Files, Session};
use rayon::prelude::*;

use crate::plan::embedded::VIRTUAL_SPECS;
use crate::plan::metro::Repository;
use crate::plan::mistakes::{self, Mistake, MistakeKind, Seen, Together};
use crate::plan::{Asked, Distribution, Elements, Lock, PlanError, Recipe, TargetId};
use crate::project::PinnedReads;

/// What was found.
pub struct Found {
    /// The findings.
    pub findings: Vec<Finding>,
    /// How many targets were looked at.
    pub targets: usize,
    /// How many of them could not be loaded.
    pub failed: usize,
}

/// What Metro reads of a specification: these elements and all below them. Where no targets are listed, there is
/// nothing that mstore would read instead.
const METRO_READS: [&str; 23] = [
    "emerge", "env", "files", "freshen", "host", "list", "metro", "mirror", "multi", "owner",
    "path", "policy", "portage", "probe", "profile", "reads", "release", "snapshot", "source",
    "steps", "strategy", "target", "trigger",
];

/// Whether Metro reads an element.
pub fn metro_reads(name: &str) -> bool {
    let section = name.split('/').next().unwrap_or(name);
    METRO_READS.contains(&section)
}

/// Looks at every target.
///
/// `patterns` choose targets; without any all are looked at. With `pins` also paths that the pinned snapshots lack are
/// found.
pub fn matrix(
    distribution: &Distribution,
    patterns: &[String],
    pins: Option<&PinnedReads>,
) -> Result<Found, PlanError> {
    let index = distribution.index();
    let ids = match (patterns, distribution.metro()) {
        ([], Some(metro)) => metro.representatives(),
        ([], None) => index.all().collect(),
        (patterns, _) => distribution.expand(patterns)?,
    };
    // Only dates come from the lock file, and no check depends on them.
    let lock = Lock::in_memory();
    let session = Session::new(distribution.files());
    let looks: Vec<Result<Look, PlanError>> = ids
        .par_iter()
        .map(|id| look(distribution, &session, id, (&lock, pins)))
        .collect();
    let mut asked = distribution.asked().clone();
    let mut sightings = Vec::with_capacity(looks.len());
    let mut together = Together::default();
    for look in looks {
        let look = look?;
        asked.extend(look.asked);
        if let Some(seen) = look.seen {
            together.add(seen);
        }
        sightings.push(look.sighting);
    }
    let mut mistakes = together.circles();
    mistakes.extend(together.names());
    // What a part of the targets has no step for, the others may.
    if patterns.is_empty() {
        mistakes.extend(together.reads());
    }
    for (id, mistake) in mistakes {
        if let (Some(at), Ok(elements)) = (
            ids.iter().position(|other| *other == id),
            distribution.elements_in(&session, &id, &lock),
        ) {
            note(&mut sightings[at], &elements, distribution.entry(), mistake);
        }
    }
    let asked = |name: &str| asked.has(name);
    // What a part of the targets does not use, the others may.
    let root: Option<&dyn Fn(&str) -> bool> = match patterns.is_empty() {
        true if distribution.metro().is_some() => Some(&metro_reads),
        true => Some(&asked),
        false => None,
    };
    let mut survey = Survey::new(root);
    for (id, sighting) in ids.iter().zip(sightings) {
        survey.add(&index.display_name(id), sighting);
    }
    for (name, sighting) in modes(distribution, &ids, &lock)? {
        survey.add_aside(&name, sighting);
    }
    Ok(Found {
        targets: survey.targets(),
        failed: survey.failed(),
        findings: survey.findings(),
    })
}

/// Looks at the modes of a repository of Metro, in every build.
fn modes(
    distribution: &Distribution,
    ids: &[TargetId],
    lock: &Lock,
) -> Result<Vec<(String, Sighting)>, PlanError> {
    let Some(metro) = distribution.metro() else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let mut builds = BTreeSet::new();
    for id in ids.iter().filter(|id| builds.insert(&id.build)) {
        for mode in metro.modes() {
            let sighting = match distribution.mode(id, mode, lock) {
                Ok(elements) => Sighting::asking(elements.spec(), ["multi/targets"]),
                Err(PlanError::Spec(error)) => Sighting::failed(&error.diagnostics),
                Err(error) => return Err(error),
            };
            found.push((format!("{}/{mode}", id.build), sighting));
        }
    }
    Ok(found)
}

/// What was seen of one target.
struct Look {
    sighting: Sighting,
    asked: Asked,
    /// What is looked at with all others, if it has a recipe.
    seen: Option<Seen>,
}

/// Adds a mistake, at the place where its element is defined.
fn note(sighting: &mut Sighting, elements: &Elements, entry: &Path, mistake: Mistake) {
    let lint = match mistake.kind {
        MistakeKind::Source => Lint::UnknownSource,
        MistakeKind::Circle => Lint::SourceCircle,
        MistakeKind::Platform => Lint::UnknownPlatform,
        MistakeKind::Reads => Lint::ReadsOfNoStep,
        MistakeKind::AbsentRead => Lint::AbsentRead,
        MistakeKind::TwoMeanings => Lint::TwoMeanings,
    };
    let help = Some(mistake.help);
    let found = unusable(elements, entry, &mistake.element, mistake.message, help);
    sighting.note(lint, found);
}

/// Looks at one target: as a specification, and as what a build is planned from.
fn look(
    distribution: &Distribution,
    session: &Session<'_>,
    id: &TargetId,
    (lock, pins): (&Lock, Option<&PinnedReads>),
) -> Result<Look, PlanError> {
    let elements = match distribution.elements_in(session, id, lock) {
        Ok(elements) => elements,
        Err(PlanError::Spec(error)) => {
            return Ok(Look {
                sighting: Sighting::failed(&error.diagnostics),
                asked: Asked::default(),
                seen: None,
            });
        }
        Err(error) => return Err(error),
    };
    let recipe = Recipe::read(&elements, id, distribution.index());
    let mut sighting = match elements.metro() {
        // Its files define for every target what only some have all parts of, and of a snapshot nothing is asked for.
        Some(_) if matches!(recipe, Err(PlanError::Imported { .. })) => {
            Sighting::asking(elements.spec(), [])
        }
        Some(_) => {
            let asked = elements.asked();
            let names = asked.names().chain(Repository::OF_THE_MIRROR);
            Sighting::asking(elements.spec(), names)
        }
        None => Sighting::new(Ok(elements.spec())),
    };
    let mut read = None;
    match recipe {
        Ok(recipe) => read = Some(recipe),
        Err(PlanError::Imported { .. }) => {}
        Err(PlanError::Value {
            element,
            message,
            help,
            ..
        }) => sighting.unusable(unusable(
            &elements,
            distribution.entry(),
            &element,
            format!("`{element}`: {message}"),
            help,
        )),
        Err(PlanError::Missing { element, help, .. }) => sighting.unusable(unusable(
            &elements,
            distribution.entry(),
            &element,
            format!("there is no `{element}`"),
            Some(help.to_owned()),
        )),
        Err(PlanError::NoSteps { .. }) => sighting.unusable(unusable(
            &elements,
            distribution.entry(),
            "steps/chroot",
            "there are no steps".to_owned(),
            Some("define `steps/chroot/run`, or name the steps in `steps/chroot`".to_owned()),
        )),
        // The specification's own errors have been noted already, the others are none of it.
        Err(_) => sighting.set_incomplete(),
    }
    let asked = elements.asked();
    if let Some(recipe) = &read {
        let mut found = mistakes::of_target(&elements, recipe, distribution.index());
        if let Some(pins) = pins {
            let lacks = |snapshot: &str, path: &str| pins.lacks(snapshot, path);
            found.extend(mistakes::absent_reads(recipe, &lacks));
        }
        for mistake in found {
            note(&mut sighting, &elements, distribution.entry(), mistake);
        }
    }
    Ok(Look {
        sighting,
        asked,
        seen: read.map(|recipe| Seen::new(&elements, &recipe)),
    })
}

/// What is wrong with the value of an element, at the place where that is defined.
fn unusable(
    elements: &Elements,
    entry: &Path,
    element: &str,
    message: String,
    help: Option<String>,
) -> Diagnostic {
    // The class is that of the language's errors, and not shown.
    let found = Diagnostic::new(Class::Undefined, message);
    let found = match elements.spec().definitions(element).into_iter().next() {
        Some(context) => found.primary(context),
        None => found.at_path(entry),
    };
    match help {
        Some(help) => found.help(help),
        None => found,
    }
}

/// The sections that the standard specifications leave to the user.
const HOOKS: [&str; 2] = ["user/", "stage4/"];

/// Whether a finding is about an element that the standard specifications leave to the user.
pub fn is_hook(finding: &Finding) -> bool {
    finding.lint == Lint::LaxBlank
        && finding
            .path()
            .is_some_and(|path| path.starts_with(VIRTUAL_SPECS))
        && finding.diagnostic.subject.as_ref().is_some_and(|subject| {
            let element = &subject.element;
            HOOKS.iter().any(|section| element.starts_with(section))
        })
}

/// Whether a finding is about a standard specification that is not the user's: `shadow` is the folder whose files
/// replace the standard ones, and `None` where those themselves are looked at.
pub fn is_foreign(finding: &Finding, shadow: Option<&Path>) -> bool {
    let Some(shadow) = shadow else {
        return false;
    };
    let standard = finding
        .path()
        .and_then(|p| p.strip_prefix(VIRTUAL_SPECS).ok());
    standard.is_some_and(|path| !DiskFiles.is_file(&shadow.join(path)).unwrap_or(false))
}
