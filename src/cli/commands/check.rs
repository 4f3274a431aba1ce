//! `mstore check`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_lang::lint::{Finding, Lint, Severity, Sighting, Survey};
use mstore_lang::{Class, Definition, Diagnostic, DiskFiles, Files, Session};
use rayon::prelude::*;
use serde::Serialize;

use crate::cli::context::{Context, current_dir};
use crate::cli::{Failure, definitions, failure, output};
use crate::plan::embedded::VIRTUAL_SPECS;
use crate::plan::metro::Repository;
use crate::plan::mistakes::{self, Mistake, MistakeKind, Seen, Together};
use crate::plan::{
    Asked, Distribution, Elements, Entry, Lock, PlanError, Recipe, TargetId, targets,
};

/// Check specifications: errors in any target, and what is probably not meant
///
/// Looks at every target of every build and subarchitecture that the specifications list. If they
/// list none, as those written for Metro do, the targets are those that the collects could name:
/// with `[collect builds/$[target/build].conf]`, each file in that folder is a build. Exit status: 0
/// if nothing was found, 1 if something was, 2 if specifications cannot be loaded.
#[derive(clap::Args)]
pub struct Args {
    /// Definitions that replace those of the entry file: NAME=VALUE or 'NAME: VALUE'
    #[arg(value_name = "NAME: VALUE")]
    definitions: Vec<String>,
    /// Check only targets whose names fit, such as 'stage3-*' (can be repeated)
    #[arg(long, short, value_name = "PATTERN")]
    target: Vec<String>,
    /// Also show warnings about the standard specifications
    #[arg(long)]
    all: bool,
    /// Form of the findings: with lines of source, or short: FILE:LINE:COLUMN: KIND: MESSAGE, a line each
    #[arg(
        long,
        value_name = "FORM",
        default_value = "full",
        conflicts_with = "json"
    )]
    format: Form,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How findings are printed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// With lines of source
    Full,
    /// A line each
    Short,
}

/// What Metro reads of a specification: these elements and all below them. Where no targets are listed, there is
/// nothing that mstore would read instead.
const METRO_READS: [&str; 23] = [
    "emerge", "env", "files", "freshen", "host", "list", "metro", "mirror", "multi", "owner",
    "path", "policy", "portage", "probe", "profile", "reads", "release", "snapshot", "source",
    "steps", "strategy", "target", "trigger",
];

fn metro_reads(name: &str) -> bool {
    let section = name.split('/').next().unwrap_or(name);
    METRO_READS.contains(&section)
}

/// Targets looked at where none are listed.
const MOST_GUESSED: usize = 20_000;

/// Checks, and prints what is found.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let mut given = context.definitions().to_vec();
    given.extend(definitions::parse(&args.definitions)?);
    let cwd = current_dir()?;
    let report = match Distribution::open(context.entry(), &cwd, given.clone()) {
        Ok(distribution) => matrix(&distribution, &args)?,
        // Without lists, or if they cannot be read, the entry file is all there is to look at.
        Err(PlanError::NoIndex { .. } | PlanError::Spec(_)) if args.target.is_empty() => {
            guessed(&Entry::choose(context.entry(), &cwd)?, &given)
        }
        Err(error) => return Err(error.into()),
    };
    report.print(&args)
}

/// Looks at every target.
fn matrix(distribution: &Distribution, args: &Args) -> Result<Report, Failure> {
    let index = distribution.index();
    let ids = match (args.target.as_slice(), distribution.metro()) {
        ([], Some(metro)) => metro.representatives(),
        ([], None) => index.all().collect(),
        (patterns, _) => distribution.expand(patterns)?,
    };
    if let Some(metro) = distribution.metro() {
        tell_metro(metro);
    }
    // Only dates come from the lock file, and no check depends on them.
    let lock = Lock::in_memory();
    let session = Session::new(distribution.files());
    let looks: Vec<Result<Look, PlanError>> = ids
        .par_iter()
        .map(|id| look(distribution, &session, id, &lock))
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
    // What a part of the targets has no step for, the others may.
    if args.target.is_empty() {
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
    let root: Option<&dyn Fn(&str) -> bool> = match args.target.is_empty() {
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
    Ok(Report::new(survey, distribution.entry(), true))
}

/// Tells what is different of a repository of Metro.
fn tell_metro(metro: &Repository) {
    tell!(
        "{} is a repository of Metro: of each architecture, one subarch stands for all that have no file of their own. \
         steps/unpack, steps/capture and triggers touch the host and are not run: mstore does itself what they do (doc/metro.md)",
        metro.root().display()
    );
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
    lock: &Lock,
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
        for mistake in mistakes::of_target(&elements, recipe, distribution.index()) {
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

/// Looks at what the entry file could be loaded for, by the files that its collects could name.
fn guessed(entry: &Entry, given: &[Definition]) -> Report {
    let files = entry.files(Box::new(DiskFiles));
    let entry = entry.path();
    let (found, cut) = targets::each_target(&files, entry, given, MOST_GUESSED, &Sighting::new);
    let alone = matches!(found.as_slice(), [one] if one.definitions.is_empty());
    let mut survey = match alone {
        true => Survey::new(None),
        false => Survey::new(Some(&metro_reads)),
    };
    let mut assumed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for one in found {
        let mut words = Vec::new();
        for definition in one.definitions {
            words.push(format!("{}={}", definition.name, definition.value));
            let values = assumed.entry(definition.name).or_default();
            values.insert(definition.value);
        }
        let name = match alone {
            true => entry.display().to_string(),
            false => words.join(" "),
        };
        survey.add(&name, one.result);
    }
    Report {
        assumed,
        cut,
        ..Report::new(survey, entry, !alone)
    }
}

/// The sections that the standard specifications leave to the user.
const HOOKS: [&str; 2] = ["user/", "stage4/"];

/// Whether a finding is about an element that the standard specifications leave to the user.
fn is_hook(finding: &Finding) -> bool {
    finding.lint == Lint::LaxBlank
        && finding
            .path()
            .is_some_and(|path| path.starts_with(VIRTUAL_SPECS))
        && finding.diagnostic.subject.as_ref().is_some_and(|subject| {
            let element = &subject.element;
            HOOKS.iter().any(|section| element.starts_with(section))
        })
}

/// A finding in one line, as editors and CI read them.
fn short(finding: &Finding) -> String {
    let diagnostic = &finding.diagnostic;
    let place = match (finding.path(), diagnostic.line(), diagnostic.column()) {
        (Some(path), Some(line), Some(column)) => format!("{}:{line}:{column}: ", path.display()),
        (Some(path), ..) => format!("{}: ", path.display()),
        _ => String::new(),
    };
    let severity = finding.lint.severity().as_str();
    let text = format!("{place}{severity}[{}]: {}", finding.lint, finding.message());
    output::escaped(&text)
}

struct Report {
    findings: Vec<Finding>,
    targets: usize,
    failed: usize,
    /// Whether the targets are those of a distribution.
    matrix: bool,
    /// The folder whose files replace the standard specs; `None` for the standard ones themselves.
    shadow: Option<PathBuf>,
    /// The values that elements were given to make targets where none are listed.
    assumed: BTreeMap<String, BTreeSet<String>>,
    /// Whether there would have been more of these targets.
    cut: bool,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    lint: &'static str,
    severity: &'static str,
    message: &'a str,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    notes: &'a [String],
    help: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<JsonTargets<'a>>,
}

#[derive(Serialize)]
struct JsonTargets<'a> {
    count: usize,
    first: &'a [String],
}

impl Report {
    fn new(survey: Survey<'_>, entry: &Path, matrix: bool) -> Self {
        Report {
            targets: survey.targets(),
            failed: survey.failed(),
            findings: survey.findings(),
            matrix,
            shadow: Entry::at(entry).shadow(),
            assumed: BTreeMap::new(),
            cut: false,
        }
    }

    /// Whether a finding is about a standard specification that is not the user's.
    fn is_foreign(&self, finding: &Finding) -> bool {
        let Some(shadow) = &self.shadow else {
            return false;
        };
        let standard = finding
            .path()
            .and_then(|p| p.strip_prefix(VIRTUAL_SPECS).ok());
        standard.is_some_and(|path| !DiskFiles.is_file(&shadow.join(path)).unwrap_or(false))
    }

    fn print(self, args: &Args) -> Result<ExitCode, Failure> {
        let hidden = |finding: &&Finding| {
            let warning = finding.lint.severity() == Severity::Warning;
            !args.all && warning && (self.is_foreign(finding) || is_hook(finding))
        };
        let shown: Vec<&Finding> = self.findings.iter().filter(|f| !hidden(f)).collect();
        let status = match (self.failed, shown.is_empty()) {
            (0, true) => ExitCode::SUCCESS,
            (0, false) => ExitCode::from(failure::FOUND),
            _ => ExitCode::from(failure::USAGE),
        };
        if args.json {
            output::json(&serde_json::json!({
                "findings": shown.iter().map(|f| self.json(f)).collect::<Vec<_>>(),
                "targets": self.targets,
                "failed": self.failed,
                "assumed": self.assumed,
            }))?;
            return Ok(status);
        }
        let colour = output::stdout_colour();
        for finding in &shown {
            if args.format == Form::Short {
                output::line(short(finding))?;
                continue;
            }
            output::bytes(format!("{}\n", finding.render(colour)).as_bytes())?;
        }
        tell!("{}", self.summary(&shown));
        if !self.assumed.is_empty() {
            let assumed: Vec<String> = self
                .assumed
                .iter()
                .map(|(name, values)| format!("{name} ({})", values.len()))
                .collect();
            tell!(
                "no targets are listed, so these are all that files to collect are there for: {}",
                assumed.join(", ")
            );
        }
        if self.cut {
            tell!("stopped after 20,000 targets; narrow the search with NAME=VALUE");
        }
        Ok(status)
    }

    fn json<'a>(&self, finding: &'a Finding) -> JsonFinding<'a> {
        let diagnostic = &finding.diagnostic;
        JsonFinding {
            lint: finding.lint.as_str(),
            severity: finding.lint.severity().as_str(),
            message: finding.message(),
            file: finding.path().map(|p| p.display().to_string()),
            line: diagnostic.line(),
            column: diagnostic.column(),
            notes: &diagnostic.notes,
            help: &diagnostic.help,
            targets: finding
                .hits
                .as_ref()
                .filter(|_| self.matrix)
                .map(|hits| JsonTargets {
                    count: hits.count,
                    first: &hits.first,
                }),
        }
    }

    fn summary(&self, shown: &[&Finding]) -> String {
        let count = |n: usize, what: &str| match n {
            1 => format!("1 {what}"),
            n => format!("{n} {what}s"),
        };
        let errors = shown
            .iter()
            .filter(|f| f.lint.severity() == Severity::Error)
            .count();
        let found = match (errors, shown.len() - errors) {
            (0, 0) => "nothing found".to_owned(),
            (errors, 0) => count(errors, "error"),
            (0, warnings) => count(warnings, "warning"),
            (errors, warnings) => {
                format!("{}, {}", count(errors, "error"), count(warnings, "warning"))
            }
        };
        let mut text = match self.matrix {
            true => format!("{found} in {}", count(self.targets, "target")),
            false => found,
        };
        if self.failed > 0 && self.matrix {
            text.push_str(&format!(", {} of which cannot be loaded", self.failed));
        }
        let hidden = self.findings.len() - shown.len();
        if hidden > 0 {
            let hidden = count(hidden, "warning");
            text.push_str(&format!(
                " ({hidden} about the standard specifications not shown, see --all)"
            ));
        }
        text
    }
}
