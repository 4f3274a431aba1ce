//! What is managed and how: `~/.buildbot`, or the same in Metro text.

mod error;
mod import;
mod metro;
mod plan;
mod python;

pub use error::BuildbotError;
pub use import::{NotThatShape, to_metro};
pub use plan::{Last, Mode};

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use mstore_lang::Spec;

use super::name::{Name, Place};
use super::small;
use plan::Chooser;

/// The name of the configuration in the home folder.
pub const FILE_NAME: &str = ".buildbot";
/// The section of Metro text that says the same.
pub const SECTION: &str = "buildbot";

/// A configuration.
pub struct Buildbot {
    /// The file that it was read from.
    file: PathBuf,
    settings: Settings,
    /// Chooses what kind of build comes next.
    chooser: Chooser,
    /// Lines that the file printed.
    printed: Vec<String>,
}

/// The values of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Builds of the rotation, in their order.
    pub builds: Vec<Name>,
    /// Arches of the rotation.
    pub arches: Vec<Name>,
    /// Subarches of the rotation.
    pub subarches: Vec<Name>,
    /// Builds that are managed: those of the rotation too.
    pub all_builds: Vec<Name>,
    /// Arches that are managed.
    pub all_arches: Vec<Name>,
    /// Subarches that are managed.
    pub all_subarches: Vec<Name>,
    /// Builds that the index leaves out.
    pub index_ignore_builds: Vec<Name>,
    /// Subarches that the index leaves out.
    pub index_ignore_subarches: Vec<Name>,
    /// The age in days from which a build is stale.
    pub stale_days: i64,
    /// The fail count from which a subarch is out of the rotation.
    pub max_failcount: u64,
    /// How many complete builds of each subarch stay.
    pub keep_num: usize,
    /// Whether what failed once more comes before what is stale, after twice the days.
    pub second_chance: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            builds: Vec::new(),
            arches: Vec::new(),
            subarches: Vec::new(),
            all_builds: Vec::new(),
            all_arches: Vec::new(),
            all_subarches: Vec::new(),
            index_ignore_builds: Vec::new(),
            index_ignore_subarches: Vec::new(),
            stale_days: 3,
            max_failcount: 3,
            keep_num: 3,
            second_chance: true,
        }
    }
}

/// A subarch that is managed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Managed {
    /// Where it is.
    pub place: Place,
    /// Whether it is in the rotation of this machine.
    pub own: bool,
}

/// How many subarches may be managed: builds times arches times subarches, there or not.
const MAX_MANAGED: usize = 1_000_000;

impl Settings {
    /// Says so if more is managed than anybody can look through.
    fn too_many(&self) -> Option<String> {
        let (builds, arches) = (self.all_builds.len(), self.all_arches.len());
        let all = builds.saturating_mul(arches);
        (all.saturating_mul(self.all_subarches.len()) > MAX_MANAGED)
            .then(|| format!("builds times arches times subarches are more than {MAX_MANAGED}"))
    }

    /// Whether a subarch is managed.
    pub fn manages(&self, place: &Place) -> bool {
        self.all_builds.contains(&place.build)
            && self.all_arches.contains(&place.arch)
            && self.all_subarches.contains(&place.subarch)
    }

    /// Every managed subarch, in the order of the configuration.
    pub fn managed(&self) -> impl Iterator<Item = Managed> + '_ {
        let (builds, arches) = (set(&self.builds), set(&self.arches));
        let subarches = set(&self.subarches);
        self.all_builds.iter().flat_map(move |build| {
            let own = builds.contains(build);
            let (arches, subarches) = (arches.clone(), subarches.clone());
            self.all_arches.iter().flat_map(move |arch| {
                let own = own && arches.contains(arch);
                let subarches = subarches.clone();
                self.all_subarches.iter().map(move |subarch| Managed {
                    place: Place {
                        build: build.clone(),
                        arch: arch.clone(),
                        subarch: subarch.clone(),
                    },
                    own: own && subarches.contains(subarch),
                })
            })
        })
    }
}

fn set(names: &[Name]) -> std::rc::Rc<HashSet<Name>> {
    std::rc::Rc::new(names.iter().cloned().collect())
}

/// The names of a list, each once, and then those of `more` that it lacks.
fn once(names: Vec<Name>, more: &[Name]) -> Vec<Name> {
    let mut seen = HashSet::new();
    let all = names.into_iter().chain(more.iter().cloned());
    all.filter(|name| seen.insert(name.clone())).collect()
}

impl Buildbot {
    /// Reads the configuration at a path: Python source, or Metro text with a section `buildbot`.
    pub fn read(file: &Path) -> Result<Buildbot, BuildbotError> {
        let limit = super::dialect::MAX_SOURCE as u64;
        let bytes = match small::read(file, limit) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(BuildbotError::Missing(file.to_owned())),
            Err(source) => {
                return Err(BuildbotError::Io {
                    path: file.to_owned(),
                    source,
                });
            }
        };
        let source = String::from_utf8(bytes).map_err(|e| BuildbotError::At {
            path: file.to_owned(),
            line: line_of(e.as_bytes(), e.utf8_error().valid_up_to()),
            message: "the file is not UTF-8 text".to_owned(),
        })?;
        match metro::is_metro(&source) {
            true => metro::read(file),
            false => Buildbot::parse(file, &source),
        }
    }

    /// Reads Python source; `file` is its name in errors.
    pub fn parse(file: &Path, source: &str) -> Result<Buildbot, BuildbotError> {
        python::parse(file, source)
    }

    /// Reads the section `buildbot` of specifications; nothing if they have none.
    pub fn of_spec(file: &Path, spec: &Spec) -> Result<Option<Buildbot>, BuildbotError> {
        metro::of_spec(file, spec)
    }

    /// The file that it was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Its values.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes the lines that the file printed so far.
    pub fn take_printed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.printed)
    }

    /// Chooses the kind of the next build of a subarch, from what its last complete build was.
    pub fn mode(&mut self, place: &Place, last: &Last) -> Result<Mode, BuildbotError> {
        let mode = self.chooser.mode(&self.file, place, last);
        self.printed.extend(self.chooser.take_printed());
        mode
    }
}

/// The line of a byte, from 1.
fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().filter(|b| **b == b'\n').count() + 1
}
