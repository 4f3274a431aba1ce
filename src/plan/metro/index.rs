//! What there is in a repository of Metro, by its folders.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mstore_lang::{Definition, Files, Session, Spec};

use super::Repository;
use super::find::{self, is_name, names};
use crate::plan::embedded::BUILTIN_ENTRY;
use crate::plan::name::{Arch, Index};
use crate::plan::targets;

/// Folders of a mirror that are looked into, as they may be those of a subarch.
const MOST_PLACES: usize = 20_000;

/// Subarches of each architecture.
type Subarches = BTreeMap<String, BTreeSet<String>>;

impl Repository {
    /// Fills in the index, the modes and the subarches that have a file.
    pub(super) fn read_folders(&mut self, files: &dyn Files, entry: &Path, given: &[Definition]) {
        let builds = find::builds(files, &self.root);
        let mut all = self.described_subarches(files);
        if all.is_empty() {
            let mut definitions = given.to_vec();
            definitions.extend_from_slice(&self.given);
            for arch in arches_by_collects(files, entry, &definitions, &builds) {
                all.entry(arch).or_default();
            }
        }
        self.of_mirror(&builds, &mut all);
        add_listed(&self.main, &mut all);
        if all.values().any(BTreeSet::is_empty) || all.is_empty() {
            add_standard(files, &mut all);
        }
        let default_build = ["default/build", "target/build"]
            .into_iter()
            .filter_map(|name| self.main.get(name).ok().flatten())
            .map(|value| value.to_text().trim().to_owned())
            .find(|build| builds.contains(build));
        let multi = self.root.join("etc/multi-targets");
        self.modes = names(&multi)
            .into_iter()
            .filter(|name| find::is_file(files, &multi.join(name)))
            .collect();
        let mut targets = find::targets(files, &self.root);
        // What most people build is what stands for all that cannot be told apart: the last.
        if let Some(at) = targets.iter().position(|target| target == "stage3") {
            let stage3 = targets.remove(at);
            targets.push(stage3);
        }
        self.index = Index {
            default_build: default_build
                .or_else(|| builds.first().cloned())
                .unwrap_or_default(),
            builds,
            arches: all
                .into_iter()
                .filter(|(_, subarches)| !subarches.is_empty())
                .map(|(name, subarches)| Arch {
                    name,
                    subarches: subarches.into_iter().collect(),
                })
                .collect(),
            targets,
            ..Index::default()
        };
        self.index.imported = self.imported(files, entry, given);
    }

    /// The targets of class `snapshot`.
    fn imported(&self, files: &dyn Files, entry: &Path, given: &[Definition]) -> Vec<String> {
        let (Some(build), Some(arch)) = (self.index.builds.first(), self.index.arches.first())
        else {
            return Vec::new();
        };
        let Some(subarch) = arch.subarches.first() else {
            return Vec::new();
        };
        let session = Session::new(files);
        let is_snapshot = |target: &&String| {
            let mut definitions = given.to_vec();
            definitions.extend_from_slice(&self.given);
            for (name, value) in [
                ("target", target.as_str()),
                ("target/build", build),
                ("target/arch_desc", &arch.name),
                ("target/subarch", subarch),
            ] {
                if !definitions.iter().any(|d| d.name == name) {
                    definitions.push(Definition::new(name, value));
                }
            }
            self.leave_out(&mut definitions, subarch);
            // One that needs more than this to be loaded is built.
            let loaded = session.load(entry, &definitions);
            let class = loaded
                .ok()
                .and_then(|spec| spec.get("target/class").ok().flatten());
            class.is_some_and(|class| class.to_text() == "snapshot")
        };
        self.index
            .targets
            .iter()
            .filter(is_snapshot)
            .cloned()
            .collect()
    }

    /// Subarches that have a file which says what architecture they are of.
    fn described_subarches(&mut self, files: &dyn Files) -> Subarches {
        let mut all = Subarches::new();
        let folder = self.root.join("subarch");
        let session = Session::new(files);
        for subarch in find::specs(files, &folder) {
            let Ok(spec) = session.load(&folder.join(format!("{subarch}.spec")), &[]) else {
                continue;
            };
            let Ok(Some(desc)) = spec.get("target/arch_desc") else {
                continue;
            };
            let desc = desc.to_text().trim().to_owned();
            let arch = Repository::arch_name(&desc);
            if is_name(arch) {
                all.entry(arch.to_owned())
                    .or_default()
                    .insert(subarch.clone());
                self.described.insert(subarch, desc);
            }
        }
        all
    }

    /// Adds the subarches that have a folder of control in the mirror.
    fn of_mirror(&self, builds: &[String], all: &mut Subarches) {
        let Some(mirror) = &self.mirror else { return };
        let mut left = MOST_PLACES;
        for build in builds {
            let folder = mirror.join(build);
            for arch in names(&folder) {
                for subarch in names(&folder.join(&arch)) {
                    let Some(fewer) = left.checked_sub(1) else {
                        return;
                    };
                    left = fewer;
                    let place = folder.join(&arch).join(&subarch);
                    if !self.describes(&subarch) && place.join(".control").is_dir() {
                        all.entry(arch.clone()).or_default().insert(subarch);
                    }
                }
            }
        }
    }
}

/// Architectures by the files that builds collect by `target/arch_desc`.
fn arches_by_collects(
    files: &dyn Files,
    entry: &Path,
    given: &[Definition],
    builds: &[String],
) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for build in builds {
        let mut definitions = given.to_vec();
        definitions.push(Definition::new("target/build", build.as_str()));
        all.extend(targets::values_of(
            files,
            entry,
            &definitions,
            "target/arch_desc",
        ));
    }
    all.retain(|name| is_name(name));
    all
}

/// Adds what the entry file lists, as specifications for mstore do.
fn add_listed(main: &Spec, all: &mut Subarches) {
    const LISTS: &str = "list/subarches/";
    for element in main.names() {
        let Some(arch) = element.strip_prefix(LISTS).filter(|arch| is_name(arch)) else {
            continue;
        };
        let Ok(Some(words)) = main.get(element) else {
            continue;
        };
        let words = words.to_text();
        let words = words.split_whitespace().filter(|word| is_name(word));
        all.entry(arch.to_owned())
            .or_default()
            .extend(words.map(str::to_owned));
    }
}

/// Gives architectures without a known subarch those that the standard specifications have, and a repository without
/// architectures those. Later repositories of Metro leave the subarches to the profiles in the tree of ebuilds, where
/// they have these names.
fn add_standard(files: &dyn Files, all: &mut Subarches) {
    let Ok(standard) = Spec::load(files, Path::new(BUILTIN_ENTRY), &[]) else {
        return;
    };
    let words = |name: &str| -> Vec<String> {
        let value = standard.get(name).ok().flatten();
        let text = value.map(|value| value.to_text());
        let text = text.unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    if all.is_empty() {
        for arch in words("list/arches") {
            all.entry(arch).or_default();
        }
    }
    for (arch, subarches) in all.iter_mut().filter(|(_, subarches)| subarches.is_empty()) {
        subarches.extend(words(&format!("list/subarches/{arch}")));
    }
}
