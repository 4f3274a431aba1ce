//! The `Survey`: checks across all targets.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::finding::{Finding, Hits, Lint};
use super::text::check_file;
use crate::diagnostics::{Diagnostic, Label, LabelRole};
use crate::mentions::{Mention, Role, Within, in_collect, mentions};
use crate::spec::{CauseKey, EvalError, Evaluated, LoadErrors, Spec, Value};
use crate::syntax::{CollectId, DefinitionId, File, Modifier};

/// How many targets are named in a finding.
const NAMED: usize = 3;

/// What one target has to report.
#[derive(Debug, Default)]
pub struct Sighting {
    /// Each error, with how many of the elements fail by it and the first of these.
    errors: Vec<(Lint, Diagnostic, Vec<String>, usize)>,
    failed_to_load: bool,
    /// Whether it is known what is asked for.
    incomplete: bool,
    files: Vec<Arc<File>>,
    defined: Vec<String>,
    untaken: Vec<Untaken>,
}

#[derive(Debug)]
struct Untaken {
    file: Arc<File>,
    collect: CollectId,
    why: String,
}

impl Sighting {
    /// Looks at the outcome of loading one target.
    pub fn new(loaded: Result<&Spec, &LoadErrors>) -> Self {
        match loaded {
            Ok(spec) => Sighting::of_spec(spec),
            Err(errors) => Sighting::failed(errors.all()),
        }
    }

    /// A target that cannot be loaded.
    pub fn failed(errors: &[Diagnostic]) -> Self {
        let errors = errors
            .iter()
            .map(|error| (Lint::Error(error.class), error.clone(), Vec::new(), 0))
            .collect();
        Sighting {
            errors,
            failed_to_load: true,
            incomplete: true,
            ..Sighting::default()
        }
    }

    /// Adds what the program that asks for elements has against a value; it then did not ask for all that it
    /// else would.
    pub fn unusable(&mut self, problem: Diagnostic) {
        self.errors
            .push((Lint::UnusableValue, problem, Vec::new(), 0));
        self.incomplete = true;
    }

    /// Adds something else that the program found.
    pub fn note(&mut self, lint: Lint, found: Diagnostic) {
        self.errors.push((lint, found, Vec::new(), 0));
    }

    /// Notes that not all that would be asked for is known, so that nothing counts as unused.
    pub fn set_incomplete(&mut self) {
        self.incomplete = true;
    }

    /// Whether the target could not be loaded.
    pub fn failed_to_load(&self) -> bool {
        self.failed_to_load
    }

    /// Looks at a target of which only some elements count: errors of others are left out.
    pub fn asking<'n>(spec: &Spec, names: impl IntoIterator<Item = &'n str>) -> Self {
        let values = names
            .into_iter()
            .filter(|name| spec.is_defined(name))
            .map(|name| (name, spec.evaluate(name)));
        Sighting::with_errors(spec, by_cause(values))
    }

    fn of_spec(spec: &Spec) -> Self {
        Sighting::with_errors(spec, errors_by_cause(spec))
    }

    fn with_errors(spec: &Spec, errors: Vec<(Diagnostic, Vec<String>, usize)>) -> Self {
        let mut found = Sighting {
            errors: errors
                .into_iter()
                .map(|(error, names, count)| (Lint::Error(error.class), error, names, count))
                .collect(),
            ..Sighting::default()
        };
        let names = spec.names().iter();
        found.defined = names
            .filter(|name| spec.is_defined(name))
            .cloned()
            .collect();
        found.files = spec.files().cloned().collect();
        for untaken in spec.untaken() {
            let (file, collect) = (untaken.at.file(), untaken.collect);
            let why = match untaken.condition {
                true => false_condition(spec, file, collect),
                false => empty_path(spec, file, collect),
            };
            found.untaken.push(Untaken {
                file: Arc::clone(file),
                collect,
                why,
            });
        }
        found
    }
}

/// The errors of all elements, each cause once, with how many elements fail by it and the first of these.
pub(crate) fn errors_by_cause(spec: &Spec) -> Vec<(Diagnostic, Vec<String>, usize)> {
    // Without a true condition it is undefined, which is not an error as long as nobody needs it.
    let values = spec.evaluate_all().into_iter();
    by_cause(values.filter(|(name, value)| value.is_err() && spec.is_defined(name)))
}

/// The errors among values.
fn by_cause<'n>(
    values: impl Iterator<Item = (&'n str, Result<Evaluated, EvalError>)>,
) -> Vec<(Diagnostic, Vec<String>, usize)> {
    let mut errors: Vec<(Diagnostic, Vec<String>, usize)> = Vec::new();
    let mut causes: BTreeMap<CauseKey, usize> = BTreeMap::new();
    for (name, value) in values {
        let Err(error) = value else { continue };
        let index = *causes.entry(error.cause).or_insert_with(|| {
            let mut diagnostic = (*error.diagnostic).clone();
            // How this element came to the cause; others came in other ways.
            diagnostic
                .labels
                .retain(|label| label.role != LabelRole::NeededBy);
            errors.push((diagnostic, Vec::new(), 0));
            errors.len() - 1
        });
        let (_, names, count) = &mut errors[index];
        *count += 1;
        if names.len() < NAMED {
            names.push(name.to_owned());
        }
    }
    errors
}

/// Says why a condition is false, in terms of the value it tests.
fn false_condition(spec: &Spec, file: &File, collect: CollectId) -> String {
    let Some(condition) = file.collects[collect]
        .condition()
        .map(|index| &file.conditions[index])
    else {
        return "its condition is false".to_owned();
    };
    let (element, text) = (file.text(condition.element), file.text(condition.span));
    match spec.get(element) {
        Ok(None) => format!("its condition `{text}` is false: `{element}` is undefined"),
        Ok(Some(value)) => format!(
            "its condition `{text}` is false: `{element}` is `{}`",
            shown(&value)
        ),
        Err(_) => format!("its condition `{text}` is false"),
    }
}

/// Says which reference made a path come to nothing.
fn empty_path(spec: &Spec, file: &File, collect: CollectId) -> String {
    let path = file.text(file.collects[collect].path);
    for mention in in_collect(file, collect) {
        let Some(name) = mention.full(file).map(|name| name.join()) else {
            continue;
        };
        match (mention.role, spec.get(&name)) {
            (Role::Reference(Modifier::Zap | Modifier::Lax), Ok(None)) => {
                return format!("its path `{path}` comes to nothing: `{name}` is undefined");
            }
            (Role::Reference(_), Ok(Some(value))) if value.to_text().is_empty() => {
                return format!("its path `{path}` comes to nothing: `{name}` is empty");
            }
            _ => {}
        }
    }
    format!("its path `{path}` comes to nothing")
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Line(text) => text.clone(),
        Value::Block(lines) => lines.join(" "),
    };
    match text.char_indices().nth(40) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// Something that several targets may share: its class, message and place.
type ErrorKey = (Option<PathBuf>, u32, Lint, String);

struct ErrorGroup {
    diagnostic: Diagnostic,
    elements: BTreeSet<String>,
    more: usize,
    targets: Targets,
}

#[derive(Default)]
struct Targets {
    count: usize,
    first: Vec<String>,
}

impl Targets {
    fn add(&mut self, name: &str) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(name.to_owned());
        }
    }

    fn hits(self, of: usize) -> Hits {
        Hits {
            count: self.count,
            of,
            first: self.first,
        }
    }
}

/// The reasons of targets that pass a collect by.
#[derive(Default)]
struct Passed {
    targets: usize,
    /// Each reason with how many targets have it.
    why: BTreeMap<String, usize>,
}

/// Gathers what all targets have to report.
#[derive(Default)]
pub struct Survey<'a> {
    /// Whether an element is asked for by the program itself; without it use cannot be told.
    root: Option<&'a dyn Fn(&str) -> bool>,
    targets: usize,
    failed: usize,
    incomplete: bool,
    errors: BTreeMap<ErrorKey, ErrorGroup>,
    /// Each file with the number of targets that read it.
    files: BTreeMap<PathBuf, (Arc<File>, usize)>,
    passed: BTreeMap<(PathBuf, CollectId), Passed>,
    defined: HashSet<String>,
}

impl<'a> Survey<'a> {
    /// Starts a survey. `root` tells which elements are asked for by name; elements that none of these needs
    /// are unused. Without it every element counts as asked for.
    pub fn new(root: Option<&'a dyn Fn(&str) -> bool>) -> Self {
        Survey {
            root,
            ..Survey::default()
        }
    }

    /// Takes the report of a target in. The order matters only for which targets are named.
    pub fn add(&mut self, target: &str, sighting: Sighting) {
        self.targets += 1;
        self.failed += usize::from(sighting.failed_to_load);
        self.incomplete |= sighting.incomplete;
        for (lint, diagnostic, elements, count) in sighting.errors {
            let path = diagnostic.path().map(Path::to_owned);
            let key = (path, diagnostic.offset(), lint, diagnostic.message.clone());
            let group = self.errors.entry(key).or_insert_with(|| ErrorGroup {
                diagnostic,
                elements: BTreeSet::new(),
                more: 0,
                targets: Targets::default(),
            });
            group.targets.add(target);
            group.more = group.more.max(count);
            if group.elements.len() < NAMED {
                group.elements.extend(elements);
            }
        }
        for untaken in sighting.untaken {
            let key = (untaken.file.path().to_owned(), untaken.collect);
            let passed = self.passed.entry(key).or_default();
            passed.targets += 1;
            *passed.why.entry(untaken.why).or_default() += 1;
        }
        for file in sighting.files {
            let path = file.path().to_owned();
            self.files.entry(path).or_insert((file, 0)).1 += 1;
        }
        self.defined.extend(sighting.defined);
    }

    /// Takes in the report of something that is looked at with the targets and is none of them.
    pub fn add_aside(&mut self, name: &str, sighting: Sighting) {
        let (targets, failed) = (self.targets, self.failed);
        self.add(name, sighting);
        (self.targets, self.failed) = (targets, failed);
    }

    /// How many targets were looked at.
    pub fn targets(&self) -> usize {
        self.targets
    }

    /// How many of them could not be loaded.
    pub fn failed(&self) -> usize {
        self.failed
    }

    /// All findings, by file and line.
    pub fn findings(self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (file, _) in self.sources() {
            findings.extend(check_file(file));
        }
        // What a target that does not load would use is not known.
        if self.failed == 0 {
            self.untaken(&mut findings);
            self.lax_blanks(&mut findings);
        }
        if !self.incomplete {
            self.unused(&mut findings);
        }
        let of = self.targets;
        for ((_, _, lint, _), group) in self.errors {
            let mut finding = Finding {
                lint,
                diagnostic: group.diagnostic,
                hits: None,
            };
            if group.more > 0 {
                let names: Vec<String> = group
                    .elements
                    .into_iter()
                    .map(|name| format!("`{name}`"))
                    .collect();
                let more = if group.more > names.len() {
                    format!(" and {} more", group.more - names.len())
                } else {
                    String::new()
                };
                finding = finding.note(format!("fails {}{more}", names.join(", ")));
            }
            finding.hits = Some(group.targets.hits(of));
            findings.push(finding);
        }
        findings.sort_by(|a, b| a.key().cmp(&b.key()));
        findings
    }

    /// The files, without what stands for the command line.
    fn sources(&self) -> impl Iterator<Item = (&Arc<File>, usize)> {
        let files = self
            .files
            .values()
            .filter(|(file, _)| file.path().is_absolute());
        files.map(|(file, readers)| (file, *readers))
    }

    fn untaken(&self, findings: &mut Vec<Finding>) {
        for ((path, collect), passed) in &self.passed {
            let Some((file, readers)) = self.files.get(path) else {
                continue;
            };
            if passed.targets < *readers {
                continue;
            }
            let at = Label::new(file, file.collects[*collect].span, "");
            let mut finding =
                Finding::new(Lint::UntakenCollect, "this file is never collected", at);
            for (why, count) in passed.why.iter().take(NAMED) {
                finding = finding.note(match passed.why.len() {
                    1 => why.clone(),
                    _ if *count == 1 => format!("{why} (in 1 target)"),
                    _ => format!("{why} (in {count} targets)"),
                });
            }
            findings.push(finding);
        }
    }

    /// All mentions in all files.
    fn mentions(&self) -> Vec<(&Arc<File>, Vec<Mention>)> {
        self.sources()
            .map(|(file, _)| (file, mentions(file)))
            .collect()
    }

    fn lax_blanks(&self, findings: &mut Vec<Finding>) {
        let all = self.mentions();
        let each = || {
            all.iter()
                .flat_map(|(file, list)| list.iter().map(move |mention| (*file, mention)))
        };
        // Who asks whether an element is there knows that it may not be.
        let optional: HashSet<String> = each()
            .filter(|(_, mention)| mention.role == Role::Reference(Modifier::Question))
            .filter_map(|(file, mention)| mention.full(file).map(|name| name.join()))
            .collect();
        for (file, mention) in each() {
            let by_option = match mention.within {
                Within::Definition(id) => file.definitions[id].is_lax(),
                _ => false,
            };
            let inclusion = match mention.role {
                Role::Reference(Modifier::Lax) | Role::Inclusion(true) => {
                    matches!(mention.role, Role::Inclusion(_))
                }
                Role::Reference(Modifier::Plain) | Role::Inclusion(false) if by_option => {
                    matches!(mention.role, Role::Inclusion(_))
                }
                _ => continue,
            };
            let Some(name) = mention.full(file).map(|name| name.join()) else {
                continue;
            };
            if self.defined.contains(&name) || optional.contains(&name) {
                continue;
            }
            let what = if inclusion {
                "includes nothing"
            } else {
                "is always empty"
            };
            let message = format!("this {what}: `{name}` is never defined");
            let mut finding =
                Finding::new(Lint::LaxBlank, message, Label::new(file, mention.whole, ""))
                    .about_missing(&name);
            let near = crate::nearest::nearest(&name, self.defined.iter());
            if let Some(near) = near {
                finding = finding.help(format!("did you mean `{near}`?"));
            }
            findings.push(finding);
        }
    }

    fn unused(&self, findings: &mut Vec<Finding>) {
        let Some(root) = self.root else { return };
        let all = self.mentions();
        let mut needs: BTreeMap<String, Vec<(&Arc<File>, &Mention)>> = BTreeMap::new();
        let mut names: BTreeMap<String, Vec<(&Arc<File>, DefinitionId)>> = BTreeMap::new();
        // What collects and conditions name is used whatever is asked for.
        let mut reached: Vec<(&Arc<File>, &Mention)> = Vec::new();
        for (file, list) in &all {
            for mention in list {
                match mention.within {
                    Within::Definition(id) => {
                        let name = file.name(&file.definitions[id]).join();
                        if mention.is_definition() {
                            names.entry(name).or_default().push((file, id));
                        } else {
                            needs.entry(name).or_default().push((file, mention));
                        }
                    }
                    _ => reached.push((file, mention)),
                }
            }
        }
        let mut used: HashSet<&str> = HashSet::new();
        let mut todo: Vec<&str> = names
            .keys()
            .map(String::as_str)
            .filter(|name| root(name))
            .collect();
        for (file, mention) in reached {
            todo.extend(reach(&names, file, mention));
        }
        while let Some(name) = todo.pop() {
            if !used.insert(name) {
                continue;
            }
            for (file, mention) in needs.get(name).into_iter().flatten() {
                todo.extend(reach(&names, file, mention));
            }
        }
        for (name, definitions) in &names {
            if used.contains(name.as_str()) {
                continue;
            }
            let Some((file, id)) = definitions.first() else {
                continue;
            };
            let at = Label::new(file, file.name_span(&file.definitions[*id]), "");
            findings.push(
                Finding::new(
                    Lint::UnusedElement,
                    format!("`{name}` is used by no target"),
                    at,
                )
                .about(name),
            );
        }
    }
}

/// The defined names that a mention means.
fn reach<'n, T>(names: &'n BTreeMap<String, T>, file: &File, mention: &Mention) -> Vec<&'n str> {
    if mention.computed {
        let names = names.keys().map(String::as_str);
        return names.filter(|name| mention.could_be(file, name)).collect();
    }
    let full = mention.full(file).map(|name| name.join());
    let found = full.and_then(|name| names.get_key_value(&name));
    found.map(|(name, _)| name.as_str()).into_iter().collect()
}
