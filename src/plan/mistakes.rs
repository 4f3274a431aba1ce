//! Mistakes that leave specifications with a plan, and another one than is meant: sources that name no target,
//! circles of sources, machines that are none, and `reads` of steps that are none.

use std::collections::{BTreeMap, BTreeSet};

use super::elements::Elements;
use super::name::{Index, TargetId};
use super::recipe::{Reads, Recipe, Start, TEST_STEP};

/// What is wrong with an element of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The element.
    pub element: String,
    /// What kind of mistake it is.
    pub kind: MistakeKind,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

/// The kinds of mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MistakeKind {
    /// `source` names no target.
    Source,
    /// Targets start from each other.
    Circle,
    /// `target/platform` is not a machine that is known.
    Platform,
    /// `reads/NAME` where NAME is not a step.
    Reads,
    /// A path is to be read of a snapshot that lacks it.
    AbsentRead,
    /// A seed or snapshot is one thing for some targets, and another for others.
    TwoMeanings,
}

/// Machines as `uname -m` prints them on Linux.
const MACHINES: [&str; 33] = [
    "x86_64",
    "i386",
    "i486",
    "i586",
    "i686",
    "aarch64",
    "aarch64_be",
    "armv5tel",
    "armv6l",
    "armv7l",
    "armv8l",
    "riscv64",
    "riscv32",
    "ppc",
    "ppc64",
    "ppcle",
    "ppc64le",
    "s390",
    "s390x",
    "mips",
    "mips64",
    "loongarch64",
    "sparc",
    "sparc64",
    "alpha",
    "ia64",
    "parisc",
    "parisc64",
    "m68k",
    "sh4",
    "arc",
    "csky",
    "xtensa",
];

/// What one target says about itself.
pub fn of_target(elements: &Elements, recipe: &Recipe, index: &Index) -> Vec<Mistake> {
    let mut found = Vec::new();
    let named = elements.line("source").ok().flatten().unwrap_or_default();
    let named = named.trim();
    let seed = elements
        .line("source/seed")
        .ok()
        .flatten()
        .unwrap_or_default();
    let version = elements.line("source/version").ok().flatten();
    let earlier = version.is_some_and(|v| !v.trim().is_empty() && v.trim() != recipe.version);
    if let Start::Seed(start) = &recipe.start
        // There a source may be one that the mirror has.
        && elements.metro().is_none()
        && seed.trim().is_empty()
        && !earlier
        && !named.is_empty()
        && named != "seed"
    {
        let build = elements.line("source/build").ok().flatten();
        let build = build.filter(|b| !b.trim().is_empty());
        let build = build.as_deref().unwrap_or(&recipe.id.build).trim();
        found.push(Mistake {
            element: "source".to_owned(),
            kind: MistakeKind::Source,
            message: format!("`source` names no target: {named}"),
            help: format!(
                "the build {build} has the targets {}; a seed is named in `source/seed`, and else it is the seed {} that is taken",
                index.targets_of(build).cloned().collect::<Vec<_>>().join(" "),
                start.name
            ),
        });
    }
    if !MACHINES.contains(&recipe.platform.as_str()) {
        found.push(Mistake {
            element: "target/platform".to_owned(),
            kind: MistakeKind::Platform,
            message: format!("no machine is known as `{}`", recipe.platform),
            help: format!("`uname -m` prints one of {}", MACHINES.join(" ")),
        });
    }
    found
}

/// Paths that steps of a target read and that its snapshot lacks. `lacks` tells that of a snapshot and a path, as far as
/// it is known.
pub fn absent_reads(recipe: &Recipe, lacks: &dyn Fn(&str, &str) -> bool) -> Vec<Mistake> {
    let Some(snapshot) = &recipe.snapshot else {
        return Vec::new();
    };
    let mut absent: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for step in recipe.steps.iter().chain(&recipe.test) {
        let Reads::Paths(paths) = &step.reads else {
            continue;
        };
        for path in paths.iter().filter(|path| lacks(&snapshot.name, path)) {
            absent.entry(&step.reads_element).or_default().insert(path);
        }
    }
    let absent = absent.into_iter();
    absent
        .map(|(element, paths)| {
            let paths: Vec<&str> = paths.into_iter().collect();
            Mistake {
                element: element.to_owned(),
                kind: MistakeKind::AbsentRead,
                message: format!(
                    "the snapshot `{}`, as it is pinned, has no {}",
                    snapshot.name,
                    paths.join(" ")
                ),
                help: "correct the path, or pin a snapshot that has it".to_owned(),
            }
        })
        .collect()
}

/// What there is to know of one target when it is looked at with all others; small, as there may be thousands.
#[derive(Debug)]
pub struct Seen {
    id: TargetId,
    from: Option<TargetId>,
    steps: Vec<String>,
    reads: Vec<String>,
    /// The seed and the snapshots, each with the element that names it, its name and what it is.
    names: Vec<(&'static str, String, &'static str)>,
}

impl Seen {
    /// Looks at a target.
    pub fn new(elements: &Elements, recipe: &Recipe) -> Self {
        let reads = elements
            .names()
            .filter(|name| name.starts_with("reads/") && elements.spec().is_defined(name));
        Seen {
            id: recipe.id.clone(),
            from: match &recipe.start {
                Start::Target(from) => Some(from.clone()),
                Start::Seed(_) => None,
            },
            // One whose script is blank is left out of the recipe, and is a step all the same.
            steps: elements
                .names()
                .filter_map(|name| name.strip_prefix("steps/chroot/"))
                .map(str::to_owned)
                .collect(),
            reads: reads.map(str::to_owned).collect(),
            names: named(recipe),
        }
    }
}

/// The seed and the snapshots of a target, and where each comes from.
fn named(recipe: &Recipe) -> Vec<(&'static str, String, &'static str)> {
    let mut names = Vec::new();
    if let Start::Seed(seed) = &recipe.start {
        let kind = match seed.host {
            true => "captured from this machine",
            false => "imported",
        };
        names.push(("seed/kind", seed.name.clone(), kind));
    }
    if let Some(snapshot) = &recipe.snapshot {
        let kind = match snapshot.builtin.is_some() {
            true => "built into mstore",
            false => "imported",
        };
        names.push(("snapshot/kind", snapshot.name.clone(), kind));
    }
    names
}

/// What all targets together show: each mistake with the target that it is told of.
#[derive(Debug, Default)]
pub struct Together {
    starts: BTreeMap<TargetId, TargetId>,
    steps: BTreeSet<String>,
    /// Elements of the section `reads` by the step that they name, with the first target that has them.
    reads: BTreeMap<String, (String, TargetId)>,
    /// What each seed and each snapshot is, with the first target that says so.
    names: BTreeMap<(&'static str, String), BTreeMap<&'static str, TargetId>>,
}

impl Together {
    /// Takes a target in.
    pub fn add(&mut self, seen: Seen) {
        let Seen {
            id,
            from,
            steps,
            reads,
            names,
        } = seen;
        for (element, name, kind) in names {
            let kinds = self.names.entry((element, name)).or_default();
            kinds.entry(kind).or_insert_with(|| id.clone());
        }
        self.steps.insert(TEST_STEP.to_owned());
        self.steps.extend(steps);
        for element in reads {
            let step = element.strip_prefix("reads/").unwrap_or(&element);
            let step = step.strip_suffix("/beside").unwrap_or(step).to_owned();
            let first = || (element.clone(), id.clone());
            self.reads.entry(step).or_insert_with(first);
        }
        if let Some(from) = from {
            self.starts.insert(id, from);
        }
    }

    /// Circles of sources, each at the first of its targets.
    pub fn circles(&self) -> Vec<(TargetId, Mistake)> {
        let mut found = Vec::new();
        let mut done: BTreeSet<&TargetId> = BTreeSet::new();
        for first in self.starts.keys() {
            let mut way: Vec<&TargetId> = Vec::new();
            let mut at = first;
            while !done.contains(at) {
                done.insert(at);
                way.push(at);
                match self.starts.get(at) {
                    Some(next) => at = next,
                    None => break,
                }
            }
            let Some(begin) = way.iter().position(|id| *id == at) else {
                continue;
            };
            if !self.starts.contains_key(at) {
                continue;
            }
            let mut chain: Vec<String> = way[begin..].iter().map(ToString::to_string).collect();
            chain.push(at.to_string());
            found.push((
                at.clone(),
                Mistake {
                    element: "source".to_owned(),
                    kind: MistakeKind::Circle,
                    message: format!("targets start from each other: {}", chain.join(" -> ")),
                    help: "give one of them a seed: define `source/seed`, or `source/version` of an earlier build"
                        .to_owned(),
                },
            ));
        }
        found
    }

    /// Seeds and snapshots that are one thing for some targets and another for others: what is pinned under the name is
    /// but one of these. Told at the second.
    pub fn names(&self) -> Vec<(TargetId, Mistake)> {
        let several = self.names.iter().filter(|(_, kinds)| kinds.len() > 1);
        several
            .filter_map(|((element, name), kinds)| {
                let (_, at) = kinds.iter().next_back()?;
                let kinds: Vec<String> = kinds
                    .iter()
                    .map(|(kind, id)| format!("{kind} for {id}"))
                    .collect();
                let what = element.split('/').next().unwrap_or(element);
                let mistake = Mistake {
                    element: (*element).to_owned(),
                    kind: MistakeKind::TwoMeanings,
                    message: format!("the {what} `{name}` is {}", kinds.join(", and ")),
                    help: format!("give one of them another name, or the same `{element}`"),
                };
                Some((at.clone(), mistake))
            })
            .collect()
    }

    /// Names in the section `reads` that are steps of no target.
    pub fn reads(&self) -> Vec<(TargetId, Mistake)> {
        let unknown = self
            .reads
            .iter()
            .filter(|(step, _)| !self.steps.contains(*step));
        let steps: Vec<&str> = self.steps.iter().map(String::as_str).collect();
        unknown
            .map(|(step, (element, id))| {
                let mistake = Mistake {
                    element: element.clone(),
                    kind: MistakeKind::Reads,
                    message: format!("`{element}`: no target has a step `{step}`"),
                    help: format!("there is: {}", steps.join(" ")),
                };
                (id.clone(), mistake)
            })
            .collect()
    }
}
