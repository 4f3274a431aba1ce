//! `mstore check`

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_lang::lint::{Finding, Severity, Sighting, Survey};
use mstore_lang::{Definition, DiskFiles};
use serde::Serialize;

use crate::cli::context::{Context, current_dir};
use crate::cli::findings::{self, is_foreign, is_hook, metro_reads};
use crate::cli::{Failure, definitions, failure, output};
use crate::plan::metro::Repository;
use crate::plan::{Distribution, Entry, PlanError, targets};
use crate::project::PinnedReads;

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

/// Targets looked at where none are listed.
const MOST_GUESSED: usize = 20_000;

/// Checks, and prints what is found.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let mut given = context.definitions().to_vec();
    given.extend(definitions::parse(&args.definitions)?);
    let cwd = current_dir()?;
    let report = match Distribution::open(context.entry(), &cwd, given.clone()) {
        Ok(distribution) => {
            if let Some(metro) = distribution.metro() {
                tell_metro(metro);
            }
            let pins = context.store_path().ok();
            let pins = pins.and_then(|store| PinnedReads::open(&store, &distribution));
            let found = findings::matrix(&distribution, &args.target, pins.as_ref())?;
            Report {
                findings: found.findings,
                targets: found.targets,
                failed: found.failed,
                matrix: true,
                shadow: Entry::at(distribution.entry()).shadow(),
                assumed: BTreeMap::new(),
                cut: false,
            }
        }
        // Without lists, or if they cannot be read, the entry file is all there is to look at.
        Err(PlanError::NoIndex { .. } | PlanError::Spec(_)) if args.target.is_empty() => {
            guessed(&Entry::choose(context.entry(), &cwd)?, &given)
        }
        Err(error) => return Err(error.into()),
    };
    report.print(&args)
}

/// Tells what is different of a repository of Metro.
fn tell_metro(metro: &Repository) {
    tell!(
        "{} is a repository of Metro: of each architecture, one subarch stands for all that have no file of their own. \
         steps/unpack, steps/capture and triggers touch the host and are not run: mstore does itself what they do (doc/metro.md)",
        metro.root().display()
    );
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

    fn print(self, args: &Args) -> Result<ExitCode, Failure> {
        let hidden = |finding: &&Finding| {
            let warning = finding.lint.severity() == Severity::Warning;
            let shadow = self.shadow.as_deref();
            !args.all && warning && (is_foreign(finding, shadow) || is_hook(finding))
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
