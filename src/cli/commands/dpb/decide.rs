//! What is built again and what is not, with the reasons; and what was walked to find that out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::plan::TargetId;
use crate::project::realise::{Preview, Run, preview};
use crate::project::{Project, ProjectError};

/// A line a path: whether it is built again, and why.
pub fn lines(
    project: &Project,
    targets: &[TargetId],
    run: &Run<'_>,
) -> Result<Vec<String>, ProjectError> {
    let steps = match preview(project, project.recipes(targets)?, run)? {
        Preview::Steps(steps) => steps,
        // Nothing was ever built on what is not there.
        Preview::Provide(_) | Preview::Fetch { .. } => return Ok(Vec::new()),
    };
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut kept: BTreeSet<String> = BTreeSet::new();
    for name in steps.reuse.iter().chain(&steps.substituted) {
        kept.insert(name.target().to_owned());
    }
    for (name, why) in &steps.build {
        let why = why.iter().map(|reason| reason.to_string());
        let why: Vec<String> = why
            .filter_map(|reason| reason.lines().next().map(str::to_owned))
            .collect();
        let told = format!("{}: {}", name.step(), why.join("; "));
        reasons
            .entry(name.target().to_owned())
            .or_default()
            .push(told);
    }
    for name in &steps.maybe {
        let told = format!("{}: if its inputs come out different", name.step());
        reasons
            .entry(name.target().to_owned())
            .or_default()
            .push(told);
    }
    let mut lines: Vec<String> = kept
        .iter()
        .filter(|path| !reasons.contains_key(*path))
        .map(|path| format!("{path}: not rebuilt, its keys have results"))
        .collect();
    lines.extend(
        reasons
            .iter()
            .map(|(path, why)| format!("{path}: rebuilt, {}", why.join(" | "))),
    );
    lines.sort_unstable();
    Ok(lines)
}

/// The folder of the entry file, and those of the files that tell of some targets.
pub fn walked(project: &Project, targets: &[TargetId]) -> BTreeSet<String> {
    let entry = project.distribution.entry();
    let mut folders = BTreeSet::new();
    folders.insert(shown(entry.parent().unwrap_or(Path::new(""))));
    for target in targets {
        // What cannot be read is told of when it is built.
        if let Ok(elements) = project.distribution.elements(target, &project.lock) {
            let files = elements.spec().collected().iter();
            folders.extend(files.map(|file| shown(file.parent().unwrap_or(Path::new("")))));
        }
    }
    folders
}

fn shown(folder: &Path) -> String {
    match folder.as_os_str().is_empty() {
        true => ".".to_owned(),
        false => folder.display().to_string(),
    }
}
