//! The packages of a target: `options/packages`, and the elements below `packages/`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::package_limits::{PackageLimits, is_limit};
use super::{Reader, StepRecipe};
use crate::plan::error::PlanError;
use crate::plan::packages::{GRAPH, RESOLVE};

/// The word of `steps/chroot` that stands for packages, and the node that does.
pub const PACKAGES: &str = "packages";
/// What packages need besides.
const DEPENDS: &str = "packages/depends";
/// Where hooks of packages are run.
const HOOKS: &str = "packages/hooks";
/// Says whether they are built each by itself.
const OPTION: &str = "options/packages";
/// What asks Portage. What for is put above it.
const SCRIPT: &str = include_str!("../../packages/scripts/resolve.py");

/// The packages of a target, each built by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// The place of the step that finds out which there are, among the steps. What it finds comes right after it.
    pub at: usize,
    /// What packages need besides, `CATEGORY/NAME` each, to be built and to be of use; with the slot where that is said.
    pub depends: Vec<(String, String)>,
    /// Packages, `CATEGORY/NAME`, that come before all others in the stage.
    pub first: Vec<String>,
    /// Atoms and sets that are asked for.
    pub set: Vec<String>,
    /// Whether circles are always built twice, first with what the base has, then with what came of that.
    pub is_twice: bool,
    /// Whether packages may not be linked with what they do not declare.
    pub is_strict: bool,
    /// Packages, `CATEGORY/NAME`, whose hooks are run in stages, and not in the roots that others are built in.
    pub stage_hooks: Vec<String>,
    /// Packages, `CATEGORY/NAME`, that all others are built with.
    pub toolchain: Vec<String>,
    /// Whether tools are built too, and not taken from the root that packages are built in.
    pub new_tools: bool,
    /// What single packages may use, by `CATEGORY/NAME`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, PackageLimits>,
}

/// What the step that finds out packages is told.
#[derive(Serialize)]
struct Asked<'a> {
    atoms: &'a [String],
    out: String,
    tools: &'static str,
}

impl Packages {
    /// What decides how packages become nodes, beside what they are: for the key.
    pub(in crate::plan) fn told(&self) -> String {
        let mut told = format!("first {}\n", self.first.join(" "));
        // What is said seldom is part of the key where it is said.
        for (package, needs) in &self.depends {
            told += &format!("depends {package} {needs}\n");
        }
        if self.is_strict {
            told += "undeclared error\n";
        }
        if self.is_twice {
            told += "circles twice\n";
        }
        if !self.stage_hooks.is_empty() {
            told += &format!("hooks in stages {}\n", self.stage_hooks.join(" "));
        }
        if !self.toolchain.is_empty() {
            told += &format!("toolchain {}\n", self.toolchain.join(" "));
        }
        told
    }

    fn script(&self) -> String {
        let asked = Asked {
            atoms: &self.set,
            out: format!("{GRAPH}/packages.json"),
            tools: match self.new_tools {
                true => "new",
                false => "base",
            },
        };
        // Text and lists of it cannot fail; and they are written in the same way there.
        let asked = serde_json::to_string(&asked).expect("it is made of text and lists");
        format!("#!/usr/bin/env python3\nASKED = {asked}\n{SCRIPT}")
    }
}

impl Reader<'_> {
    /// Whether packages are built each by itself.
    pub(super) fn has_packages(&self) -> Result<bool, PlanError> {
        match self.text(OPTION)?.as_deref() {
            None | Some("no") => Ok(false),
            Some("yes") => Ok(true),
            Some(other) => {
                Err(self.bad(OPTION, format!("`{other}` is neither `yes` nor `no`"), ""))
            }
        }
    }

    /// The packages, and the step that finds out which there are.
    pub(super) fn packages_of_stage(&self, at: usize) -> Result<(Packages, StepRecipe), PlanError> {
        const SET: &str = "packages/set";
        const TOOLS: &str = "packages/tools";
        const FIRST: &str = "packages/first";
        const UNDECLARED: &str = "packages/undeclared";
        const CIRCLES: &str = "packages/circles";
        const TOOLCHAIN: &str = "packages/toolchain";
        const ALL: [&str; 8] = [
            SET, TOOLS, FIRST, DEPENDS, UNDECLARED, CIRCLES, TOOLCHAIN, HOOKS,
        ];
        // What is written otherwise would say nothing.
        for element in self.elements.names_below("packages/") {
            if !ALL.contains(&element) && !is_limit(element) {
                let message = "packages have no such setting".to_owned();
                return Err(self.bad(
                    element,
                    message,
                    "known are set, tools, first, depends, undeclared, circles, toolchain and hooks, and timeout, memory and jobs of a package",
                ));
            }
        }
        let set = match self.elements.is_defined(SET) {
            true => self.words(SET)?,
            false => Vec::new(),
        };
        if set.is_empty() {
            let help = "name sets and atoms, for example `@system`";
            return Err(self.bad(SET, "it does not say which packages are wanted", help));
        }
        let is_atom = |word: &&String| {
            word.starts_with(|c: char| c.is_ascii_alphanumeric() || "@<>=~_".contains(c))
                && word.chars().all(|c| c.is_ascii_graphic())
        };
        if let Some(word) = set.iter().find(|word| !is_atom(word)) {
            let help = "a set begins with @; an atom is CATEGORY/NAME, or that with a version and one of < > = ~ before it";
            return Err(self.bad(SET, format!("`{word}` is neither a set nor an atom"), help));
        }
        let new_tools = self.is_second(
            TOOLS,
            ["base", "new"],
            "tools are taken from the root that packages are built in, or built anew",
        )?;
        let is_twice = self.is_second(
            CIRCLES,
            ["once", "twice"],
            "packages that need each other to be built are built with what the base has of the others, or then once more with what came of that",
        )?;
        let is_strict = self.is_second(
            UNDECLARED,
            ["refine", "error"],
            "a package that is linked with what it does not declare is built once more with it, or ends the run",
        )?;
        let packages = Packages {
            at,
            depends: self.depends()?,
            first: self.names(FIRST)?,
            is_strict,
            is_twice,
            set,
            stage_hooks: self.stage_hooks()?,
            toolchain: self.names(TOOLCHAIN)?,
            new_tools,
            limits: self.package_limits()?,
        };
        let mut step = self.step(RESOLVE, packages.script())?;
        // It is ours, and needs none of what scripts of a specification have fetched.
        step.fetches = Vec::new();
        Ok((packages, step))
    }

    /// Whether an element says the second of two words; without it, it says the first.
    fn is_second(
        &self,
        element: &str,
        [first, second]: [&str; 2],
        help: &str,
    ) -> Result<bool, PlanError> {
        match self.text(element)?.as_deref() {
            None => Ok(false),
            Some(word) if word == first => Ok(false),
            Some(word) if word == second => Ok(true),
            Some(other) => {
                let message = format!("`{other}` is neither `{first}` nor `{second}`");
                Err(self.bad(element, message, help))
            }
        }
    }

    /// Packages, `CATEGORY/NAME`.
    fn names(&self, element: &str) -> Result<Vec<String>, PlanError> {
        if !self.elements.is_defined(element) {
            return Ok(Vec::new());
        }
        let names = self.words(element)?;
        if let Some(word) = names.iter().find(|word| !is_name(word)) {
            let help = "it is CATEGORY/NAME, for example sys-apps/baselayout";
            return Err(self.bad(element, format!("`{word}` does not name a package"), help));
        }
        Ok(names)
    }

    /// Packages whose hooks are run in stages only: lines `CATEGORY/NAME root` or `CATEGORY/NAME stage`, of which the last
    /// for a package counts.
    fn stage_hooks(&self) -> Result<Vec<String>, PlanError> {
        let mut found = BTreeSet::new();
        for line in self.block(HOOKS)? {
            let words: Vec<&str> = line.split_whitespace().collect();
            match *words.as_slice() {
                [] => {}
                [package, "stage"] if is_name(package) => {
                    found.insert(package.to_owned());
                }
                [package, "root"] if is_name(package) => {
                    found.remove(package);
                }
                _ => {
                    let message = format!("`{line}` does not say where hooks are run");
                    let help = "a line is CATEGORY/NAME and `root`, which is usual, or `stage`";
                    return Err(self.bad(HOOKS, message, help));
                }
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The lines of an element; none where it is not there.
    fn block(&self, element: &str) -> Result<Vec<String>, PlanError> {
        if !self.elements.is_defined(element) {
            return Ok(Vec::new());
        }
        let lines = self
            .elements
            .block(element)
            .map_err(|e| self.of_target(e))?;
        Ok(lines.unwrap_or_default())
    }

    /// What packages need besides: a line each, `CATEGORY/NAME ATOM...`.
    fn depends(&self) -> Result<Vec<(String, String)>, PlanError> {
        let mut found = Vec::new();
        for line in self.block(DEPENDS)? {
            let mut words = line.split_whitespace().map(str::to_owned);
            let Some(package) = words.next() else {
                continue;
            };
            let needs: Vec<String> = words.collect();
            let is_wrong = |word: &&String| {
                let (name, slot) = word.split_once(':').unwrap_or((word, "0"));
                !is_name(name) || !is_part(slot)
            };
            let wrong = match needs.is_empty() || !is_name(&package) {
                true => Some(&line),
                false => needs.iter().find(is_wrong),
            };
            if let Some(wrong) = wrong {
                let message = format!("`{wrong}` does not say what a package needs");
                let help = "a line is CATEGORY/NAME and what it needs, CATEGORY/NAME or CATEGORY/NAME:SLOT each";
                return Err(self.bad(DEPENDS, message, help));
            }
            found.extend(needs.into_iter().map(|needs| (package.clone(), needs)));
        }
        Ok(found)
    }
}

/// Whether a word is CATEGORY/NAME.
fn is_name(word: &str) -> bool {
    let parts = word.split_once('/');
    parts.is_some_and(|(category, name)| is_part(category) && is_part(name))
}

fn is_part(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+_.-".contains(c))
}
