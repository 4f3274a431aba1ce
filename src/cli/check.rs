//! `mstore check`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_lang::lint::{Finding, Lint, Severity, Sighting, Survey};
use mstore_lang::{Definition, DiskFiles, Files, Session};
use rayon::prelude::*;
use serde::Serialize;

use super::place::{Place, current_dir};
use super::{Failure, definitions, error, output};
use crate::plan::distribution::{ENTRY_NAME, SHADOW_NAME};
use crate::plan::embedded::{BUILTIN_ENTRY, VIRTUAL_SPECS};
use crate::plan::{Distribution, Lock, PlanError, SpecFiles};

/// Check specifications: errors in any target, and what is probably not meant
///
/// Looks at every target of every build and subarchitecture that the specifications list, or, if
/// they list none, at the entry file as it is. Exit status: 0 if nothing was found, 1 if something
/// was, 2 if specifications cannot be loaded.
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Elements that mstore asks for by these names.
const ASKED: [&str; 9] = [
    "target",
    "source",
    "snapshot",
    "portage/ROOT",
    "steps/chroot",
    "default/build",
    "seed/kind",
    "policy/network",
    "policy/timeout",
];

/// Elements that mstore asks for if their names begin so.
const ASKED_BELOW: [&str; 7] = [
    "target/",
    "source/",
    "snapshot/",
    "steps/chroot/",
    "reads/",
    "env/",
    "list/",
];

fn asked(name: &str) -> bool {
    ASKED.contains(&name) || ASKED_BELOW.iter().any(|prefix| name.starts_with(prefix))
}

/// Checks, and prints what is found.
pub fn run(place: &Place, args: Args) -> Result<ExitCode, Failure> {
    let mut given = place.definitions().to_vec();
    given.extend(definitions::parse(&args.definitions)?);
    let cwd = current_dir()?;
    let report = match Distribution::open(place.entry(), &cwd, given.clone()) {
        Ok(distribution) => matrix(&distribution, &args)?,
        // Without lists, or if they cannot be read, the entry file is all there is to look at.
        Err(PlanError::NoIndex { .. } | PlanError::Spec(_)) if args.target.is_empty() => {
            single(&entry(place, &cwd), &given)
        }
        Err(error) => return Err(error.into()),
    };
    report.print(&args)
}

/// The entry file in effect, absolute.
fn entry(place: &Place, cwd: &Path) -> PathBuf {
    let here = match place.entry() {
        Some(file) => cwd.join(file),
        None => cwd.join(ENTRY_NAME),
    };
    match place.entry() {
        Some(_) if here.is_dir() => here.join(ENTRY_NAME),
        None if !here.exists() => BUILTIN_ENTRY.into(),
        _ => here,
    }
}

/// Looks at every target.
fn matrix(distribution: &Distribution, args: &Args) -> Result<Report, Failure> {
    let index = distribution.index();
    let ids = match args.target.as_slice() {
        [] => index.all().collect(),
        patterns => distribution.expand(patterns)?,
    };
    // Only dates come from the lock file, and no check depends on them.
    let lock = Lock::in_memory();
    let sightings: Vec<Result<Sighting, PlanError>> = ids
        .par_iter()
        .map(|id| match distribution.elements(id, &lock) {
            Ok(elements) => Ok(Sighting::new(Ok(elements.spec()))),
            Err(PlanError::Spec(error)) => Ok(Sighting::failed(&error.diagnostics)),
            Err(error) => Err(error),
        })
        .collect();
    // What a part of the targets does not use, the others may.
    let root: Option<&dyn Fn(&str) -> bool> = match args.target.is_empty() {
        true => Some(&asked),
        false => None,
    };
    let mut survey = Survey::new(root);
    for (id, sighting) in ids.iter().zip(sightings) {
        survey.add(&index.display_name(id), sighting?);
    }
    Ok(Report::new(survey, distribution.entry(), true))
}

/// Looks at the entry file alone.
fn single(entry: &Path, given: &[Definition]) -> Report {
    let builtin = entry.starts_with(VIRTUAL_SPECS);
    let shadow = entry.parent().map(|folder| folder.join(SHADOW_NAME));
    let files = SpecFiles::new(Box::new(DiskFiles), shadow.filter(|_| !builtin));
    let loaded = Session::new(&files).load(entry, given);
    let mut survey = Survey::new(None);
    survey.add(&entry.display().to_string(), Sighting::new(loaded.as_ref()));
    Report::new(survey, entry, false)
}

/// Whether a finding is about an element that the standard specifications leave to the user.
fn is_hook(finding: &Finding) -> bool {
    finding.lint == Lint::LaxBlank
        && finding
            .path()
            .is_some_and(|path| path.starts_with(VIRTUAL_SPECS))
        && finding.message().contains("`user/")
}

struct Report {
    findings: Vec<Finding>,
    targets: usize,
    failed: usize,
    /// Whether the targets are those of a distribution.
    matrix: bool,
    /// The folder whose `specs` shadow the standard ones; none for the standard ones themselves.
    folder: Option<PathBuf>,
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
        let builtin = entry.starts_with(VIRTUAL_SPECS);
        Report {
            targets: survey.targets(),
            failed: survey.failed(),
            findings: survey.findings(),
            matrix,
            folder: entry.parent().filter(|_| !builtin).map(Path::to_owned),
        }
    }

    /// Whether a finding is about a standard specification that is not the user's.
    fn is_foreign(&self, finding: &Finding) -> bool {
        let Some(folder) = &self.folder else {
            return false;
        };
        let standard = finding
            .path()
            .and_then(|p| p.strip_prefix(VIRTUAL_SPECS).ok());
        standard.is_some_and(|path| {
            let own = folder.join(SHADOW_NAME).join(path);
            !DiskFiles.is_file(&own).unwrap_or(false)
        })
    }

    fn print(self, args: &Args) -> Result<ExitCode, Failure> {
        let hidden = |finding: &&Finding| {
            let warning = finding.lint.severity() == Severity::Warning;
            !args.all && warning && (self.is_foreign(finding) || is_hook(finding))
        };
        let shown: Vec<&Finding> = self.findings.iter().filter(|f| !hidden(f)).collect();
        let status = match (self.failed, shown.is_empty()) {
            (0, true) => ExitCode::SUCCESS,
            (0, false) => ExitCode::from(error::FOUND),
            _ => ExitCode::from(error::USAGE),
        };
        if args.json {
            output::json(&serde_json::json!({
                "findings": shown.iter().map(|f| self.json(f)).collect::<Vec<_>>(),
                "targets": self.targets,
                "failed": self.failed,
            }))?;
            return Ok(status);
        }
        let colour = output::stdout_colour();
        for finding in &shown {
            output::bytes(format!("{}\n", finding.render(colour)).as_bytes())?;
        }
        tell!("{}", self.summary(&shown));
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
