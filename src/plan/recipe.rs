//! Recipes: one target as its specification describes it, read from the settings and checked.

mod fetches;
mod impure;
mod metro;
mod package_limits;
mod packages;
mod width;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use super::elements::{Elements, Location, SpecError};
use super::embedded;
use super::error::PlanError;
use super::fetch::Fetches;
use super::lock;
use super::name::{Index, TargetId, suggestions};
use crate::drv::derivation::{Impure, UseLimits, Width};

pub use package_limits::PackageLimits;
pub use packages::{PACKAGES, Packages};

/// The name of the step that tests a finished target.
pub const TEST_STEP: &str = "test";

/// Steps that a target has when `steps/chroot` does not name any.
const USUAL_STEPS: [&str; 4] = ["prerun", "run", "postrun", "clean"];

/// Variables that mstore sets itself when a build runs, and that are never hashed.
const RUN_TIME_ENV: [&str; 2] = ["MAKEOPTS", "SOURCE_DATE_EPOCH"];

/// One target, ready to become derivations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recipe {
    /// What it is.
    pub id: TargetId,
    /// `target/class`.
    pub class: String,
    /// `target/platform`.
    pub platform: String,
    /// `target/version`.
    pub version: String,
    /// What it starts from.
    pub start: Start,
    /// The snapshot that its steps read.
    pub snapshot: Option<SnapshotUse>,
    /// Snapshots that they read besides, sorted by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<SnapshotUse>,
    /// `portage/ROOT`, the directory that is captured.
    pub root: String,
    /// The steps, in order; at least one.
    pub steps: Vec<StepRecipe>,
    /// The packages that are built each by itself, after one of the steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages: Option<Packages>,
    /// The test.
    pub test: Option<StepRecipe>,
    /// What is fetched for its steps.
    pub fetches: Fetches,
    /// The environment of every step.
    pub env: Arc<BTreeMap<String, String>>,
    /// Seconds that a step may take.
    pub timeout: Option<u64>,
    /// What a step may use of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<UseLimits>,
    /// Seconds that a step may print nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<u64>,
}

/// What a target starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// Another target.
    Target(TargetId),
    /// A seed.
    Seed(Seed),
}

/// A seed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seed {
    /// The name in the lock file.
    pub name: String,
    /// Whether it may be captured from this machine.
    pub host: bool,
}

/// The snapshot that a target reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SnapshotUse {
    /// The name in the lock file.
    pub name: String,
    /// Where it appears in a build.
    pub at: String,
    /// The built-in snapshot that serves when the lock file has none.
    pub builtin: Option<String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepRecipe {
    /// Its name.
    pub name: String,
    /// Its script.
    pub script: Arc<str>,
    /// What it reads of the snapshot.
    pub reads: Reads,
    /// What it reads of each of the snapshots beside it.
    pub reads_beside: Reads,
    /// The names of what is fetched for it, sorted.
    pub fetches: Vec<String>,
    /// Folders of the machine that it works with although they are no input.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub impure: Vec<Impure>,
    /// How much of a machine it may have to itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<Width>,
    /// Of steps with this word one runs at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The folder that it leaves, where that is all: such steps in a row run beside each other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaves: Option<String>,
    /// The element that said what it reads.
    #[serde(skip)]
    pub reads_element: String,
    /// Where that is defined.
    #[serde(skip)]
    pub reads_location: Option<Location>,
}

/// What a step reads of the snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// All of it.
    All,
    /// These paths alone: sorted, none inside another.
    Paths(Vec<String>),
    /// Those of these paths that it has: sorted, none inside another.
    Existing(Vec<String>),
}

impl Recipe {
    /// Reads the settings of `id`. `index` tells which targets exist.
    pub fn read(elements: &Elements, id: &TargetId, index: &Index) -> Result<Recipe, PlanError> {
        let reader = Reader {
            elements,
            id,
            index,
        };
        reader.recipe()
    }

    /// The element that says what a target's snapshot is called.
    pub(super) const SNAPSHOT: &'static str = "snapshot";

    /// The target that another starts from, if the settings of that say so without an error.
    pub(super) fn source(elements: &Elements, id: &TargetId, index: &Index) -> Option<TargetId> {
        let reader = Reader {
            elements,
            id,
            index,
        };
        match reader.start() {
            Ok(Start::Target(from)) => Some(from),
            _ => None,
        }
    }
}

/// The settings of one target, being read.
struct Reader<'a> {
    elements: &'a Elements,
    id: &'a TargetId,
    index: &'a Index,
}

impl Reader<'_> {
    fn recipe(&self) -> Result<Recipe, PlanError> {
        if self.metro().is_some() {
            self.check_metro_class()?;
        }
        let snapshot = self.snapshot()?;
        let beside = self.beside(snapshot.as_ref())?;
        let (mut steps, packages) = self.steps()?;
        let mut test = match self.script(TEST_STEP)? {
            Some(script) if !self.tests_in_root()? => Some(self.step(TEST_STEP, script)?),
            _ => None,
        };
        let places: Vec<&SnapshotUse> = snapshot.iter().chain(&beside).collect();
        self.impure(&places, &mut steps, &mut test)?;
        let names = steps.iter().chain(&test).flat_map(|step| &step.fetches);
        let fetches = self.fetches(names)?;
        let mut taken = snapshot.iter().chain(&beside);
        if let Some(other) =
            taken.find(|s| lies_in(&s.at, &fetches.at) || lies_in(&fetches.at, &s.at))
            && !fetches.all.is_empty()
        {
            return Err(self.bad(
                "fetch/path",
                format!("`{}` appears at {}", other.name, other.at),
                "choose a folder that has nothing of a snapshot in it, and lies in none",
            ));
        }
        Ok(Recipe {
            id: self.id.clone(),
            class: self.class()?,
            platform: self.platform()?,
            version: self.text("target/version")?.unwrap_or_default(),
            start: self.start()?,
            snapshot,
            beside,
            root: self.root()?,
            steps,
            packages,
            test,
            fetches,
            env: Arc::new(self.env()?),
            timeout: self.timeout()?,
            limits: self.limits()?,
            silence: self.seconds("policy/silence")?,
        })
    }

    /// The value of a line element; nothing if it is undefined, removed or blank.
    fn text(&self, name: &str) -> Result<Option<String>, PlanError> {
        let value = self.elements.line(name).map_err(|e| self.of_target(e))?;
        Ok(value.map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()))
    }

    fn of_target(&self, mut error: SpecError) -> PlanError {
        error.target = Some(self.id.to_string());
        error.into()
    }

    fn bad(&self, element: &str, message: impl Into<String>, help: impl Into<String>) -> PlanError {
        let help = help.into();
        PlanError::Value {
            element: element.to_owned(),
            target: self.id.to_string(),
            location: self.elements.location(element).map(Box::new),
            message: message.into(),
            help: (!help.is_empty()).then_some(help),
        }
    }

    fn class(&self) -> Result<String, PlanError> {
        if self.metro().is_some() {
            return self.metro_class();
        }
        let class = self.text("target/class")?;
        Ok(class.unwrap_or_else(|| self.id.target.clone()))
    }

    fn platform(&self) -> Result<String, PlanError> {
        let platform = match self.text("target/platform")? {
            None if self.metro().is_some() => self.metro_platform()?,
            platform => platform,
        };
        let Some(platform) = platform else {
            return Err(PlanError::Missing {
                element: "target/platform".to_owned(),
                target: self.id.to_string(),
                help: "say which machine (as `uname -m` prints it) runs the build, for example \
                       `target/platform: x86_64`",
            });
        };
        if !platform
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        {
            return Err(self.bad(
                "target/platform",
                format!("`{platform}` is not a machine name"),
                "use what `uname -m` prints, for example x86_64",
            ));
        }
        Ok(platform)
    }

    fn start(&self) -> Result<Start, PlanError> {
        let host = match self.text("seed/kind")?.as_deref() {
            None => false,
            Some("host") => true,
            Some(other) => {
                return Err(self.bad(
                    "seed/kind",
                    format!("`{other}` is not a kind of seed"),
                    "`host` is the only one; leave it out for seeds that are imported",
                ));
            }
        };
        let seed = |element: &str, name: String| self.seed(element, name, host);
        if let Some(name) = self.text("source/seed")? {
            return seed("source/seed", name);
        }
        if self.metro().is_some() {
            return self.metro_start();
        }
        let class = self.text("source")?.unwrap_or_else(|| "seed".to_owned());
        if class == "seed" {
            return seed("source", class);
        }
        let or_own = |element: &str, own: &str| -> Result<String, PlanError> {
            Ok(self.text(element)?.unwrap_or_else(|| own.to_owned()))
        };
        let from = TargetId {
            build: or_own("source/build", &self.id.build)?,
            arch_desc: or_own("source/arch_desc", &self.id.arch_desc)?,
            subarch: or_own("source/subarch", &self.id.subarch)?,
            target: class,
        };
        let version = self.text("source/version")?;
        let earlier = version.is_some() && version != self.text("target/version")?;
        if !earlier && self.index.contains(&from) {
            return Ok(Start::Target(from));
        }
        seed("source", from.to_string())
    }

    fn seed(&self, element: &str, name: String, host: bool) -> Result<Start, PlanError> {
        lock::check_name(&name)
            .map_err(|e| self.bad(element, e.to_string(), e.help().unwrap_or_default()))?;
        Ok(Start::Seed(Seed { name, host }))
    }

    fn snapshot(&self) -> Result<Option<SnapshotUse>, PlanError> {
        let (name, usual) = match self.metro() {
            Some(_) => (Some(self.metro_snapshot()?), self.metro_snapshot_path()?),
            None => (self.text(Recipe::SNAPSHOT)?, "/mstore/snapshot"),
        };
        let Some(name) = name else { return Ok(None) };
        lock::check_name(&name).map_err(|e| {
            self.bad(
                Recipe::SNAPSHOT,
                e.to_string(),
                e.help().unwrap_or_default(),
            )
        })?;
        let builtin = match self.text("snapshot/kind")?.as_deref() {
            None => None,
            Some("builtin") => {
                let name = self.text("snapshot/builtin")?.unwrap_or_default();
                if embedded::builtin_snapshot(&name).is_none() {
                    let known: Vec<&str> = embedded::builtin_snapshot_names().collect();
                    return Err(self.bad(
                        "snapshot/builtin",
                        format!("`{name}` is not a built-in snapshot"),
                        format!("there is: {}", known.join(" ")),
                    ));
                }
                Some(name)
            }
            Some(other) => {
                return Err(self.bad(
                    "snapshot/kind",
                    format!("`{other}` is not a kind of snapshot"),
                    "`builtin` is the only one; leave it out for snapshots that are imported",
                ));
            }
        };
        let at = self.place("snapshot/path", usual)?;
        Ok(Some(SnapshotUse { name, at, builtin }))
    }

    /// The snapshots of `snapshot/beside`. Each appears under the last part of its name.
    fn beside(&self, snapshot: Option<&SnapshotUse>) -> Result<Vec<SnapshotUse>, PlanError> {
        const LIST: &str = "snapshot/beside";
        const FOLDER: &str = "snapshot/beside/path";
        let names: BTreeSet<String> = self.words(LIST)?.into_iter().collect();
        let folder = self.place(FOLDER, "/mstore/snapshots")?;
        let mut all: Vec<SnapshotUse> = Vec::new();
        for name in names {
            lock::check_name(&name)
                .map_err(|e| self.bad(LIST, e.to_string(), e.help().unwrap_or_default()))?;
            let last = name.rsplit('/').next().unwrap_or(&name);
            let at = format!("{folder}/{last}");
            let at = absolute(&at).filter(|at| *at != folder).ok_or_else(|| {
                let message = format!("`{name}` cannot name a folder below {folder}");
                self.bad(LIST, message, "")
            })?;
            let within = |other: &SnapshotUse| {
                let (long, short) = match at.len() > other.at.len() {
                    true => (&at, &other.at),
                    false => (&other.at, &at),
                };
                let rest = long.strip_prefix(short.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            if let Some(other) = snapshot.into_iter().chain(&all).find(|other| within(other)) {
                return Err(self.bad(
                    LIST,
                    format!(
                        "`{name}` would appear at {at}, where `{}` is ({})",
                        other.name, other.at
                    ),
                    "give one of them another name in the lock file",
                ));
            }
            all.push(SnapshotUse {
                name,
                at,
                builtin: None,
            });
        }
        Ok(all)
    }

    /// A folder of the build that something appears in.
    fn place(&self, element: &str, usual: &str) -> Result<String, PlanError> {
        let at = self.text(element)?.unwrap_or_else(|| usual.to_owned());
        absolute(&at).filter(|p| p != "/").ok_or_else(|| {
            self.bad(
                element,
                format!("`{at}` is not an absolute path below /"),
                format!("the default is {usual}"),
            )
        })
    }

    fn root(&self) -> Result<String, PlanError> {
        let Some(root) = self.text("portage/ROOT")? else {
            return Ok("/".to_owned());
        };
        absolute(&root).ok_or_else(|| {
            self.bad(
                "portage/ROOT",
                format!("`{root}` is not an absolute path"),
                "name the directory of the build that is captured; the default is /",
            )
        })
    }

    fn timeout(&self) -> Result<Option<u64>, PlanError> {
        match self.text("policy/network")?.as_deref() {
            None | Some("none") => {}
            Some(other) => {
                return Err(self.bad(
                    "policy/network",
                    format!("`{other}` is not possible"),
                    "steps have no network: put what they need into the snapshot or have it fetched (`fetch/NAME`), and \
                     say `none`",
                ));
            }
        }
        self.seconds("policy/timeout")
    }

    /// A limit in seconds.
    fn seconds(&self, element: &str) -> Result<Option<u64>, PlanError> {
        let Some(text) = self.text(element)? else {
            return Ok(None);
        };
        match text.parse::<u64>() {
            Ok(seconds) if seconds > 0 => Ok(Some(seconds)),
            _ => Err(self.bad(
                element,
                format!("`{text}` is not a number of seconds above 0"),
                "leave it out for no limit",
            )),
        }
    }

    fn limits(&self) -> Result<Option<UseLimits>, PlanError> {
        // One that is written otherwise would be none.
        let known = ["memory", "processes", "disk", "output"];
        for element in self.elements.names_below("policy/limit/") {
            let name = &element["policy/limit/".len()..];
            if !known.contains(&name) {
                return Err(self.bad(
                    element,
                    format!("`{name}` is not a limit"),
                    "the limits are memory, processes, disk and output",
                ));
            }
        }
        let limits = UseLimits {
            memory: self.limit("memory", true)?,
            processes: self.limit("processes", false)?,
            disk: self.limit("disk", true)?,
            output: self.limit("output", true)?,
        };
        Ok((limits != UseLimits::default()).then_some(limits))
    }

    /// The limit `policy/limit/NAME`: a number above 0, of bytes with units.
    fn limit(&self, name: &str, bytes: bool) -> Result<Option<u64>, PlanError> {
        self.amount(&format!("policy/limit/{name}"), bytes)
    }

    /// A number above 0, of bytes with units.
    fn amount(&self, element: &str, bytes: bool) -> Result<Option<u64>, PlanError> {
        let Some(text) = self.text(element)? else {
            return Ok(None);
        };
        let (number, shift) = match text.strip_suffix(['K', 'M', 'G', 'T']) {
            Some(number) if bytes => (
                number,
                10 * (1 + "KMGT".find(&text[number.len()..]).unwrap_or(0)),
            ),
            _ => (&*text, 0),
        };
        let value = number.parse::<u64>().ok().filter(|n| *n > 0);
        match value.and_then(|n| n.checked_mul(1 << shift)) {
            Some(value) if i64::try_from(value).is_ok() => Ok(Some(value)),
            _ => Err(self.bad(
                element,
                match bytes {
                    true => format!("`{text}` is not a size above 0, such as 500M or 2G"),
                    false => format!("`{text}` is not a number above 0"),
                },
                "leave it out for no limit",
            )),
        }
    }

    fn env(&self) -> Result<BTreeMap<String, String>, PlanError> {
        let mut env = BTreeMap::new();
        for element in self.elements.names_below("env/") {
            let name = &element["env/".len()..];
            let first_digit = name.starts_with(|c: char| c.is_ascii_digit());
            let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if first_digit || !word || name.is_empty() {
                return Err(self.bad(
                    element,
                    format!("`{name}` cannot name an environment variable"),
                    "use letters, digits and _",
                ));
            }
            if RUN_TIME_ENV.contains(&name) {
                return Err(self.bad(
                    element,
                    format!("mstore sets {name} itself when it runs a step"),
                    "remove it; the number of jobs is an option of the run",
                ));
            }
            let value = self
                .elements
                .any_text(element)
                .map_err(|e| self.of_target(e))?;
            if let Some(value) = value {
                if value.contains('\0') {
                    return Err(self.bad(element, "a NUL character cannot be passed on", ""));
                }
                env.insert(name.to_owned(), value);
            }
        }
        Ok(env)
    }

    fn steps(&self) -> Result<(Vec<StepRecipe>, Option<Packages>), PlanError> {
        const LIST: &str = "steps/chroot";
        self.elements.asks_below("steps/chroot/");
        self.elements.asks_below("reads/");
        self.elements.asks_below("fetches/");
        self.elements.asks_below("leaves/");
        self.asks_for_widths();
        let listed = match self.elements.is_defined(LIST) {
            true => Some(self.words(LIST)?),
            false => None,
        };
        let mut steps: Vec<StepRecipe> = Vec::new();
        let (has_packages, mut packages) = (self.has_packages()?, None);
        let usual: &[&str] = match self.metro() {
            Some(_) => &metro::STEPS,
            None => &USUAL_STEPS,
        };
        let usual = || usual.iter().map(|step| (*step).to_owned()).collect();
        for name in listed.clone().unwrap_or_else(usual) {
            if name == TEST_STEP {
                return Err(self.bad(
                    LIST,
                    "`test` cannot be one of the steps",
                    "remove it: steps/chroot/test runs by itself when all steps have",
                ));
            }
            if name.contains(['/', ':']) {
                return Err(self.bad(LIST, format!("`{name}` cannot name a step"), ""));
            }
            if steps.iter().any(|s| s.name == name) {
                return Err(self.bad(LIST, format!("`{name}` is listed twice"), ""));
            }
            if has_packages && name == PACKAGES {
                let (found, step) = self.packages_of_stage(steps.len())?;
                if steps.iter().any(|other| other.name == step.name) {
                    let message = format!("`{}` is what comes before `{name}`", step.name);
                    return Err(self.bad(LIST, message, "call the other step otherwise"));
                }
                packages = Some(found);
                steps.push(step);
                continue;
            }
            match self.script(&name)? {
                Some(script) => steps.push(self.step(&name, script)?),
                None if listed.is_none() => {}
                None if self.elements.is_defined(&format!("{LIST}/{name}")) => {}
                None => {
                    let known = self
                        .elements
                        .names_below("steps/chroot/")
                        .map(|n| n["steps/chroot/".len()..].to_owned());
                    let near = suggestions(&name, known);
                    let help = match near.is_empty() {
                        true => format!("define the block steps/chroot/{name}"),
                        false => format!("there is: {}", near.join(" ")),
                    };
                    return Err(self.bad(LIST, format!("there is no steps/chroot/{name}"), help));
                }
            }
        }
        if steps.is_empty() {
            return Err(PlanError::NoSteps {
                target: Box::new(self.id.clone()),
            });
        }
        if has_packages && packages.is_none() {
            let help =
                "write the word `packages` where they are to be built, for example after `setup`";
            return Err(self.bad(LIST, "it does not say when packages are built", help));
        }
        if self.metro().is_some() {
            self.add_metro_steps(&mut steps)?;
        }
        Ok((steps, packages))
    }

    /// The text of a step's script; nothing if it is undefined or blank.
    fn script(&self, step: &str) -> Result<Option<String>, PlanError> {
        let element = format!("steps/chroot/{step}");
        let lines = self
            .elements
            .block(&element)
            .map_err(|e| self.of_target(e))?
            .unwrap_or_default();
        if lines.iter().all(|l| l.trim().is_empty()) {
            return Ok(None);
        }
        let mut script = lines.join("\n");
        script.push('\n');
        Ok(Some(script))
    }

    fn step(&self, name: &str, script: String) -> Result<StepRecipe, PlanError> {
        let script = self.metro_script(name, script);
        let own = format!("reads/{name}");
        let beside = format!("{own}/beside");
        let own_is_defined = self.elements.is_defined(&own);
        let reads_beside = match self.elements.is_defined(&beside) {
            true => Reads::Existing(self.paths(&beside)?),
            // Who names what is read reads nothing else.
            false if own_is_defined || self.is_late(name) => Reads::Existing(Vec::new()),
            false => Reads::All,
        };
        let element = match own_is_defined {
            true => own,
            false => "snapshot/reads".to_owned(),
        };
        let reads = match self.elements.is_defined(&element) {
            true => Reads::Paths(self.paths(&element)?),
            false if self.is_late(name) => Reads::Paths(Vec::new()),
            false => Reads::All,
        };
        let own = format!("fetches/{name}");
        let fetches = match self.elements.is_defined(&own) {
            true => self.fetch_names(&own)?,
            false => self.fetch_names("fetch")?,
        };
        Ok(StepRecipe {
            name: name.to_owned(),
            script: script.into(),
            reads,
            reads_beside,
            fetches,
            impure: Vec::new(),
            width: self.width(name)?,
            tag: self.tag(name)?,
            leaves: self.leaves(name)?,
            reads_location: self.elements.location(&element),
            reads_element: element,
        })
    }

    /// The folder that is all that a step leaves, if it says so.
    fn leaves(&self, step: &str) -> Result<Option<String>, PlanError> {
        let element = format!("leaves/{step}");
        let Some(folder) = self.text(&element)? else {
            return Ok(None);
        };
        match folder.strip_prefix('/').and_then(relative) {
            Some(path) if step != TEST_STEP && !path.is_empty() && path != "." => {
                Ok(Some(format!("/{path}")))
            }
            _ => Err(self.bad(
                &element,
                format!("`{folder}` is not a folder that a step can leave"),
                "it is an absolute path without `..`, and not the whole root; of a test nothing is left",
            )),
        }
    }

    /// The words of a line or block.
    fn words(&self, element: &str) -> Result<Vec<String>, PlanError> {
        self.elements.words(element).map_err(|e| self.of_target(e))
    }

    /// Paths within the snapshot: sorted, none inside another.
    fn paths(&self, element: &str) -> Result<Vec<String>, PlanError> {
        let mut paths = BTreeSet::new();
        for word in self.words(element)? {
            match relative(&word) {
                Some(path) => paths.insert(path),
                None => {
                    return Err(self.bad(
                        element,
                        format!("`{word}` is not a path within the snapshot"),
                        "paths are relative to the snapshot's root and have no `..`",
                    ));
                }
            };
        }
        let all: Vec<String> = paths.iter().cloned().collect();
        Ok(all
            .into_iter()
            .filter(|path| {
                !path
                    .match_indices('/')
                    .any(|(at, _)| paths.contains(&path[..at]))
            })
            .collect())
    }
}

/// Whether `path` is `folder`, or lies in it.
fn lies_in(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `path` without `.`, doubled and trailing slashes; nothing if it is not absolute or has `..`.
fn absolute(path: &str) -> Option<String> {
    let rest = path.strip_prefix('/')?;
    match relative(rest) {
        Some(rest) => Some(format!("/{rest}")),
        None if rest.split('/').all(|p| p.is_empty() || p == ".") => Some("/".to_owned()),
        None => None,
    }
}

/// `path` without `.`, doubled and trailing slashes; nothing if it is absolute, blank or has `..`.
fn relative(path: &str) -> Option<String> {
    if path.starts_with('/') || path.contains(['\0', '\n']) {
        return None;
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|p| !p.is_empty() && *p != ".")
        .collect();
    (!parts.is_empty() && !parts.contains(&"..")).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_one_spelling() {
        for (path, want) in [
            ("/", Some("/")),
            ("//", Some("/")),
            ("/a//b/./c/", Some("/a/b/c")),
            ("a", None),
            ("/a/../b", None),
            ("", None),
        ] {
            assert_eq!(absolute(path).as_deref(), want, "{path}");
        }
        for (path, want) in [
            ("a/b", Some("a/b")),
            ("./a//b/", Some("a/b")),
            (".", None),
            ("", None),
            ("/a", None),
            ("a/../b", None),
        ] {
            assert_eq!(relative(path).as_deref(), want, "{path}");
        }
    }
}
