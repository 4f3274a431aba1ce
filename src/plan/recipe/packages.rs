//! The packages of a target: `options/packages`, and the elements below `packages/`.

use std::collections::BTreeMap;

use serde::Serialize;

use super::package_limits::{PackageLimits, is_limit};
use super::{Reader, StepRecipe};
use crate::plan::error::PlanError;
use crate::plan::packages::{GRAPH, RESOLVE};

/// The word of `steps/chroot` that stands for packages, and the node that does.
pub const PACKAGES: &str = "packages";
/// Says whether they are built each by itself.
const OPTION: &str = "options/packages";
/// What asks Portage. What for is put above it.
const SCRIPT: &str = include_str!("../../packages/scripts/resolve.py");

/// The packages of a target, each built by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Packages {
    /// The place of the step that finds out which there are, among the steps. What it finds comes right after it.
    pub at: usize,
    /// Packages, `CATEGORY/NAME`, that come before all others in the stage.
    pub first: Vec<String>,
    /// Atoms and sets that are asked for.
    pub set: Vec<String>,
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
        format!("first {}\n", self.first.join(" "))
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
        // What is written otherwise would say nothing.
        for element in self.elements.names_below("packages/") {
            if ![SET, TOOLS, FIRST].contains(&element) && !is_limit(element) {
                let message = "packages have no such setting".to_owned();
                return Err(self.bad(
                    element,
                    message,
                    "known are set, tools and first, and timeout, memory and jobs of a package",
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
        let new_tools = match self.text(TOOLS)?.as_deref() {
            None | Some("base") => false,
            Some("new") => true,
            Some(other) => {
                let message = format!("`{other}` is neither `base` nor `new`");
                return Err(self.bad(
                    TOOLS,
                    message,
                    "tools are taken from the root that packages are built in, or built anew",
                ));
            }
        };
        let first = match self.elements.is_defined(FIRST) {
            true => self.words(FIRST)?,
            false => Vec::new(),
        };
        let is_name = |word: &&String| {
            let parts = word.split_once('/');
            let part = |text: &str| {
                !text.is_empty()
                    && text
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "+_.-".contains(c))
            };
            parts.is_some_and(|(category, name)| part(category) && part(name))
        };
        if let Some(word) = first.iter().find(|word| !is_name(word)) {
            let help = "it is CATEGORY/NAME, for example sys-apps/baselayout";
            return Err(self.bad(FIRST, format!("`{word}` does not name a package"), help));
        }
        let packages = Packages {
            at,
            first,
            set,
            new_tools,
            limits: self.package_limits()?,
        };
        let mut step = self.step(RESOLVE, packages.script())?;
        // It is ours, and needs none of what scripts of a specification have fetched.
        step.fetches = Vec::new();
        Ok((packages, step))
    }
}
