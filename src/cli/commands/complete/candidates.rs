//! Where the words come from: which argument takes what, and what there is of it.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::sync::Arc;

use clap::Command;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use mstore_store::{Kind, Store};

use crate::cli::context::Context;
use crate::cli::{args, spec};
use crate::plan::embedded;
use crate::plan::{Distribution, Index, Lock, PinKind, Pins, Recipe, TargetId};
use crate::project::{Access, open_store};

/// What an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Targets, and steps behind a colon.
    Target,
    /// Targets, seeds, snapshots and gc roots.
    Tree,
    /// The same, and behind a colon a path in it.
    TreePath,
    /// Behind `NAME=` the same.
    PinnedTree,
    /// Elements.
    Element,
    /// Elements with `=` behind them.
    Definition,
    /// Seeds and snapshots of the lock file.
    Pin,
    /// Gc roots.
    Root,
    /// Files of the standard specifications.
    Standard,
    /// Signing keys by name.
    Key,
}

/// What the argument of a command takes, by the words that the help has for it. `None`: nothing that could be listed,
/// or files, which need no list.
pub fn source(command: &str, id: &str, value: &str) -> Option<Source> {
    Some(match (command, id, value) {
        ("lock", "update" | "remove", _) => Source::Pin,
        ("store root remove", "name", _) | ("copy", "root", _) => Source::Root,
        ("specs cat" | "specs export", "paths", _) => Source::Standard,
        ("top", "stop" | "requeue", _) => Source::Target,
        (_, _, "TARGET" | "TARGET[:STEP]" | "PATTERN" | "PKGPATH") => Source::Target,
        ("store find", _, "HASH|PATTERN") => return None,
        (_, _, "TREE" | "TARGET|TREE" | "TARGET|HASH" | "HASH|NAME") => Source::Tree,
        (_, _, "TREE:PATH" | "TREE[:PATH]") => Source::TreePath,
        (_, _, "NAME=TREE") => Source::PinnedTree,
        (_, _, "ELEMENT") => Source::Element,
        (_, _, "NAME=VALUE" | "NAME: VALUE") => Source::Definition,
        (_, _, "FILE|NAME") => Source::Key,
        _ => return None,
    })
}

/// What the words come from.
struct Surroundings {
    context: Context,
    typed: Vec<OsString>,
}

/// Tells the arguments of all commands what they take. `typed` are the words before the one at the cursor.
pub fn attach(command: Command, context: Option<Context>, typed: Vec<OsString>) -> Command {
    match context {
        Some(context) => below(command, "", &Arc::new(Surroundings { context, typed })),
        None => command,
    }
}

fn below(command: Command, path: &str, around: &Arc<Surroundings>) -> Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_value_names().and_then(|names| names.first());
        let value = value.map_or("", |name| name.as_str());
        let Some(source) = source(path, arg.get_id().as_str(), value) else {
            return arg;
        };
        let around = around.clone();
        arg.add(ArgValueCompleter::new(move |word: &OsStr| {
            around.candidates(source, word)
        }))
    });
    command.mut_subcommands(|sub| {
        let path = format!("{path} {}", sub.get_name());
        below(sub, path.trim_start(), around)
    })
}

/// Words that begin with what is typed.
struct Words<'a> {
    typed: &'a str,
    found: Vec<CompletionCandidate>,
}

impl Words<'_> {
    fn add(&mut self, word: impl AsRef<str>, help: Option<&str>) {
        if word.as_ref().starts_with(self.typed) {
            let help = help.map(|help| help.to_owned().into());
            let candidate = CompletionCandidate::new(word.as_ref());
            self.found.push(candidate.help(help));
        }
    }
}

impl Surroundings {
    fn candidates(&self, source: Source, word: &OsStr) -> Vec<CompletionCandidate> {
        let bytes = word.as_bytes();
        if source == Source::TreePath
            && let Some(colon) = bytes.iter().position(|b| *b == b':')
        {
            let (tree, path) = (&bytes[..colon], &bytes[colon + 1..]);
            let tree = std::str::from_utf8(tree).ok();
            return tree
                .and_then(|tree| self.inside(tree, path))
                .unwrap_or_default();
        }
        let Some(typed) = word.to_str() else {
            return Vec::new();
        };
        if source == Source::PinnedTree {
            let Some((name, tree)) = typed.split_once('=') else {
                return Vec::new();
            };
            let found = self.candidates(Source::Tree, OsStr::new(tree));
            let prefix = format!("{name}=");
            let found = found.into_iter();
            return found.map(|c| c.add_prefix(prefix.as_str())).collect();
        }
        let mut words = Words {
            typed,
            found: Vec::new(),
        };
        // What cannot be read has no words.
        let _ = self.fill(source, &mut words);
        words.found
    }

    fn fill(&self, source: Source, words: &mut Words<'_>) -> Option<()> {
        match source {
            Source::Standard => {
                embedded::replaceable().for_each(|file| words.add(file.path, None));
            }
            Source::Key => self.keys(words)?,
            Source::Root => self.roots(words)?,
            Source::Element => self.elements("", words)?,
            Source::Definition => self.elements("=", words)?,
            Source::Pin => {
                let distribution = self.context.distribution().ok()?;
                for (kind, name, _) in self.lock(&distribution)?.pins() {
                    words.add(name, Some(&kind.to_string()));
                }
            }
            Source::Target => {
                let distribution = self.context.distribution().ok()?;
                self.targets(&distribution, words)?;
            }
            Source::Tree | Source::TreePath | Source::PinnedTree => {
                let distribution = self.context.distribution().ok()?;
                let _ = self.targets(&distribution, words);
                for (kind, name, _) in self.lock(&distribution)?.pins() {
                    let word = match kind {
                        PinKind::Seed => format!("seed/{name}"),
                        PinKind::Snapshot => format!("snapshot/{name}"),
                    };
                    words.add(word, None);
                }
                self.roots(words)?;
            }
        }
        Some(())
    }

    fn lock(&self, distribution: &Distribution) -> Option<Lock> {
        let store = self.context.store_path().ok()?;
        Lock::read(distribution.files(), &distribution.lock_path(&store)).ok()
    }

    fn store(&self) -> Option<Store> {
        let path = self.context.store_path().ok()?;
        open_store(&path, Access::ReadIfPresent).ok()
    }

    fn roots(&self, words: &mut Words<'_>) -> Option<()> {
        for root in self.store()?.roots().ok()? {
            words.add(root.name, Some("gc root"));
        }
        Some(())
    }

    fn keys(&self, words: &mut Words<'_>) -> Option<()> {
        let folder = args::keys_folder(&self.context).ok()?;
        for entry in std::fs::read_dir(folder).ok()?.flatten() {
            let name = entry.file_name();
            if let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".key")) {
                words.add(name, None);
            }
        }
        Some(())
    }

    /// Targets; behind a colon the steps of one. Names of other builds than the usual one appear once their build is
    /// typed.
    fn targets(&self, distribution: &Distribution, words: &mut Words<'_>) -> Option<()> {
        let index = distribution.index();
        if let Some((target, _)) = words.typed.split_once(':') {
            let id = index.resolve(target).ok()?;
            let recipe = distribution.recipe(&id, &self.lock(distribution)?).ok()?;
            steps(&recipe, target, words);
            if recipe.packages.is_some() {
                // What cannot be told is not proposed.
                let _ = self.packages(target, words);
            }
            return Some(());
        }
        if let Some((build, _)) = words.typed.split_once('/') {
            let named = index.builds.iter().filter(|b| b.as_str() == build);
            for build in named {
                targets_of(index, build, &format!("{build}/"), words);
            }
            return Some(());
        }
        targets_of(index, &index.default_build, "", words);
        for build in &index.builds {
            if *build != index.default_build {
                words.add(format!("{build}/"), Some("targets of this build"));
            }
        }
        Some(())
    }

    /// The packages of a target, where the step that finds them out is up to date.
    fn packages(&self, target: &str, words: &mut Words<'_>) -> Option<()> {
        let project = self.context.project(Access::ReadIfPresent).ok()?;
        let graph = project.graph(&[target.to_owned()], Pins::Optional).ok()?;
        for found in graph.requested() {
            for (_, package) in graph.packages_of(found) {
                words.add(
                    format!("{target}:{}", package.word()),
                    Some(&package.version),
                );
            }
        }
        Some(())
    }

    /// The elements that the entry file knows, and those of the target that is typed, or else of the last one.
    fn elements(&self, end: &str, words: &mut Words<'_>) -> Option<()> {
        let mut names: Vec<String> = Vec::new();
        if let Ok(Ok(spec)) = spec::load(&self.context, &[]) {
            names.extend(spec.names().iter().cloned());
        }
        if let Ok(distribution) = self.context.distribution() {
            let index = distribution.index();
            let typed = self.typed.iter().filter_map(|word| word.to_str());
            let typed = typed.filter_map(|word| index.resolve(word).ok()).last();
            let id = typed.or_else(|| usual(index))?;
            let lock = self.lock(&distribution)?;
            if let Ok(elements) = distribution.elements(&id, &lock) {
                names.extend(elements.spec().names().iter().cloned());
            }
        }
        names.sort_unstable();
        names.dedup();
        for name in names {
            words.add(format!("{name}{end}"), None);
        }
        Some(())
    }

    /// What a folder of a tree has.
    fn inside(&self, word: &str, path: &[u8]) -> Option<Vec<CompletionCandidate>> {
        let store = self.store()?;
        let tree = self.context.tree(&store, word).ok()?.tree;
        let folder = path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1);
        let (folder, begun) = path.split_at(folder);
        let at = folder.strip_suffix(b"/").unwrap_or(folder);
        let Kind::Dir { manifest } = store.look_up(tree, at, true).ok()?.kind else {
            return None;
        };
        let manifest = store.manifest(manifest).ok()?;
        let entries = manifest.entries().iter();
        let entries = entries.filter(|entry| entry.name.starts_with(begun));
        let candidate = |name: &[u8], is_dir: bool| {
            let mut all = [word.as_bytes(), b":", folder, name].concat();
            all.extend(is_dir.then_some(b'/'));
            CompletionCandidate::new(OsString::from_vec(all))
        };
        Some(
            entries
                .map(|e| candidate(&e.name, matches!(e.kind, Kind::Dir { .. })))
                .collect(),
        )
    }
}

/// The target that stands for all where none is named.
fn usual(index: &Index) -> Option<TargetId> {
    let arch = index
        .arches
        .iter()
        .find(|arch| !arch.subarches.is_empty())?;
    Some(TargetId {
        build: index.default_build.clone(),
        arch_desc: arch.name.clone(),
        subarch: arch.subarches.first()?.clone(),
        target: index.targets.last()?.clone(),
    })
}

fn targets_of(index: &Index, build: &str, prefix: &str, words: &mut Words<'_>) {
    let Some(begun) = words.typed.strip_prefix(prefix) else {
        return;
    };
    for arch in &index.arches {
        for subarch in &arch.subarches {
            for target in index.targets_of(build) {
                // Most do not fit; names are made of those that do.
                let fits = match begun.get(..target.len()) {
                    Some(head) => head == target,
                    None => target.starts_with(begun),
                };
                if !fits {
                    continue;
                }
                let name = format!("{prefix}{target}-{subarch}");
                match index.resolve(&name) {
                    Ok(_) => words.add(name, Some(&arch.name)),
                    // Two architectures have it.
                    Err(_) => {
                        let name = format!("{build}/{}/{target}-{subarch}", arch.name);
                        words.add(name, None);
                    }
                }
            }
        }
    }
}

fn steps(recipe: &Recipe, target: &str, words: &mut Words<'_>) {
    for step in recipe.steps.iter().chain(&recipe.test) {
        words.add(format!("{target}:{}", step.name), None);
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, ValueHint};

    use super::source;
    use crate::cli::parser;

    /// Values that nothing can be proposed for: numbers, names that are new, programs, addresses.
    const FREE: &[&str] = &[
        "ADDRESS:PORT",
        "ALGORITHM:HEX",
        "COMMAND",
        "DAYS",
        "FOLDER|ADDRESS",
        "HASH|PATTERN",
        "HOST",
        "KEY",
        "LINE",
        "MACHINE",
        "MODE[+EXTRA...]",
        "N",
        "NAME",
        "NAME:BASE64",
        "PID",
        "PLACE",
        "PROCESS",
        "PROGRAM",
        "REV",
        "SECONDS",
        "SIZE",
        "URL",
        "YYYY-MM-DD",
        "FORMAT",
        "ARCH",
        "BUILD",
        "SUBARCH",
        "WORDS",
    ];

    #[test]
    fn every_value_is_completed_or_cannot_be() {
        fn look(command: &Command, path: &str, open: &mut Vec<String>) {
            for arg in command.get_arguments() {
                let takes = arg.get_num_args().is_some_and(|n| n.takes_values());
                let names = arg.get_value_names().unwrap_or_default();
                let value = names.first().map_or("", |name| name.as_str());
                let done = !arg.get_possible_values().is_empty()
                    || arg.get_value_hint() != ValueHint::Unknown
                    || source(path, arg.get_id().as_str(), value).is_some()
                    || FREE.contains(&value);
                if takes && !done {
                    open.push(format!("{path}: {} {value}", arg.get_id()));
                }
            }
            for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                look(sub, format!("{path} {}", sub.get_name()).trim_start(), open);
            }
        }
        let mut cli = parser();
        cli.build();
        let mut open = Vec::new();
        look(&cli, "", &mut open);
        open.retain(|line| !line.starts_with("help"));
        assert!(open.is_empty(), "{open:#?}");
    }
}
