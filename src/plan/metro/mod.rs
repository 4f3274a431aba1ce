//! Repositories of Metro itself: no element lists what there is, the folders of the layout do.
//!
//! | there is | because of |
//! | --- | --- |
//! | a build | `etc/builds/BUILD/build.conf` |
//! | a target | `targets/DISTRIBUTION/TARGET.spec` |
//! | a mode | `etc/multi-targets/MODE` |
//! | a subarch | `subarch/SUBARCH.spec`, or its folder in the mirror, or `list/subarches/ARCH`; else the standard ones |
//! | an architecture | what such a file says, a folder of the mirror, or a file that a build collects by `target/arch_desc` |

mod find;
mod index;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mstore_lang::{Definition, Files, Spec};

use super::name::{Index, TargetId};

use find::alone;

/// The options of `make`.
const MAKEOPTS: &str = "portage/MAKEOPTS";
/// The folder that the original builds in.
const WORK: &str = "path/work";
/// The folder of the repository.
const INSTALL: &str = "path/install";

/// What the entry file of a repository of Metro says by itself; `None` if it is not one.
pub fn entry_of(files: &dyn Files, entry: &Path, definitions: &[Definition]) -> Option<Spec> {
    Repository::find(files, entry, definitions).map(|found| found.main)
}

/// A repository in the layout of Metro.
#[derive(Debug)]
pub struct Repository {
    root: PathBuf,
    /// The entry file without what it collects.
    main: Spec,
    /// Definitions in the place of those of the entry file.
    given: Vec<Definition>,
    index: Index,
    modes: BTreeSet<String>,
    /// Subarches whose file says what their `target/arch_desc` is, with that.
    described: BTreeMap<String, String>,
    /// The folder of the mirror.
    mirror: Option<PathBuf>,
}

impl Repository {
    /// Finds the repository that an entry file belongs to: the folder that its `path/install` names; if that is
    /// not here, the folder that it lies in. `None` if neither has the layout.
    pub(super) fn find(
        files: &dyn Files,
        entry: &Path,
        definitions: &[Definition],
    ) -> Option<Repository> {
        let main = alone(files, entry, definitions).ok()?;
        if find::is_for_mstore(files, entry, &main) {
            return None;
        }
        let (root, installed) = find::root(files, entry, &main)?;
        let line = |name: &str| match main.get(name) {
            Ok(Some(value)) => Some(value.to_text()),
            _ => None,
        };
        let mut given = Vec::new();
        let mut give = |name: &str, value: String| {
            if !definitions.iter().any(|d| d.name == name) {
                given.push(Definition::new(name, value));
            }
        };
        if !installed && main.is_defined(INSTALL) {
            give(INSTALL, root.display().to_string());
        }
        // A step is inside what it builds, so that a path below it begins with nothing.
        if main.is_defined(WORK) {
            give(WORK, String::new());
        }
        // The number of jobs is an option of the run and in no hash; a step has it in its environment.
        if line(MAKEOPTS).is_some_and(|value| value == "auto") {
            give(MAKEOPTS, "$MAKEOPTS".to_owned());
        }
        let mirror = line("path/mirror").filter(|path| path.starts_with('/'));
        let mut this = Repository {
            root,
            main,
            given,
            index: Index::default(),
            modes: BTreeSet::new(),
            described: BTreeMap::new(),
            mirror: mirror.map(PathBuf::from),
        };
        this.read_folders(files, entry, definitions);
        let some = !this.index.arches.is_empty();
        some.then_some(this)
    }

    /// The folder of the repository.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The entry file without what it collects: what holds for all targets.
    pub fn main(&self) -> &Spec {
        &self.main
    }

    /// What there is to build.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Whether there is a mode of this name, such as `full`.
    pub fn has_mode(&self, mode: &str) -> bool {
        self.modes.contains(mode)
    }

    /// The modes, sorted.
    pub fn modes(&self) -> impl Iterator<Item = &str> {
        self.modes.iter().map(String::as_str)
    }

    /// Definitions that every load has besides those from outside.
    pub(super) fn given(&self) -> &[Definition] {
        &self.given
    }

    /// Whether a file of the repository says what the `target/arch_desc` of a subarch is, so that a definition from
    /// outside would be one too many.
    pub(super) fn describes(&self, subarch: &str) -> bool {
        self.described.contains_key(subarch)
    }

    /// Leaves out definitions from outside that the repository has no place for: what the file of a subarch says, and a
    /// mode that has no file, as `test` is the name of a target.
    pub(super) fn leave_out(&self, definitions: &mut Vec<Definition>, subarch: &str) {
        if self.describes(subarch) {
            definitions.retain(|d| d.name != "target/arch_desc");
        }
        let strange = |d: &Definition| d.name == "multi/mode" && !self.has_mode(&d.value);
        if definitions.iter().any(strange) {
            let multi = ["multi", "multi/mode", "multi/extras"];
            definitions.retain(|d| !multi.contains(&&*d.name));
        }
    }

    /// The name of an architecture by which it is known here: of `arm-32bit/armv7a`, the part before the slash.
    pub(super) fn arch_name(desc: &str) -> &str {
        desc.split('/').next().unwrap_or(desc)
    }

    /// Targets that stand for all others: no file is named after the subarch of one that is left out, and neither the
    /// repository nor the mirror has anything else of its own for it, so that the settings differ in names alone.
    pub fn representatives(&self) -> Vec<TargetId> {
        let mut all = Vec::new();
        for build in &self.index.builds {
            for arch in &self.index.arches {
                let mut plain = false;
                for subarch in &arch.subarches {
                    if !self.is_special(build, &arch.name, subarch)
                        && std::mem::replace(&mut plain, true)
                    {
                        continue;
                    }
                    all.extend(self.index.targets_of(build).map(|target| TargetId {
                        build: build.clone(),
                        arch_desc: arch.name.clone(),
                        subarch: subarch.clone(),
                        target: target.clone(),
                    }));
                }
            }
        }
        all
    }

    fn is_special(&self, build: &str, arch: &str, subarch: &str) -> bool {
        self.describes(subarch)
            || self.mirror.as_ref().is_some_and(|mirror| {
                let place = mirror.join(build).join(arch).join(subarch);
                place.join(".control").is_dir()
            })
    }

    /// Elements that the original asks for to keep the mirror, besides what a build is planned from.
    pub const OF_THE_MIRROR: [&str; 4] = [
        "path/mirror/target",
        "path/mirror/source",
        "path/mirror/snapshot",
        "release/type",
    ];
}
