//! The package graph: which packages a stage is made of, what each needs, and how each is built, as data.
//!
//! A step writes it, in which Portage has chosen. It is canonical JSON: members sorted by name, nothing blank, numbers
//! that are whole, one newline at the end; the same choice is the same bytes. It holds no times, and no paths but those
//! that every build has.
//!
//! Packages stand sorted by root, category, name, version and slot, and are named by their places.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Number of the format.
pub const FORMAT: u32 = 1;
/// The name of the file in the tree of a resolve step.
pub const FILE: &str = "packages.json";

/// A place in [`PackageGraph::packages`].
pub type Place = usize;

/// The packages of one stage, with all that these need.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageGraph {
    /// What is installed in the root that packages are built in, sorted.
    pub base: Vec<Installed>,
    /// [`FORMAT`].
    pub format: u32,
    /// What is to be built, sorted.
    pub packages: Vec<Package>,
    /// The trees that the ebuilds come from, sorted by name.
    pub repositories: Vec<Repository>,
    /// Settings of packages, each once, sorted.
    pub settings: Vec<Settings>,
    /// What was asked for, sorted by atom.
    pub wanted: Vec<Wanted>,
}

impl PackageGraph {
    /// Says that packages need others, for these kinds.
    pub fn add_needs(
        &mut self,
        kinds: &[EdgeKind],
        needs: impl IntoIterator<Item = (Place, Place)>,
    ) {
        for (place, to) in needs {
            let Some(package) = self.packages.get_mut(place).filter(|_| place != to) else {
                continue;
            };
            match package.edges.binary_search_by_key(&to, |edge| edge.to) {
                Ok(at) => {
                    let own = &mut package.edges[at].kinds;
                    own.extend_from_slice(kinds);
                    own.sort_unstable();
                    own.dedup();
                }
                Err(at) => package.edges.insert(
                    at,
                    Edge {
                        kinds: kinds.to_vec(),
                        to,
                    },
                ),
            }
        }
    }
}

/// A package of the root that packages are built in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Its category, such as `sys-libs`.
    pub category: String,
    /// Its name, such as `zlib`.
    pub name: String,
    /// Its slot.
    pub slot: String,
    /// Its sub-slot, which is the slot where the ebuild gives none.
    pub sub_slot: String,
    /// Its version with the revision, such as `1.3.1-r1`.
    pub version: String,
}

/// The root that a package is installed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Root {
    /// The root that packages are built in: a tool that it lacks.
    Base,
    /// The root of the stage.
    Target,
}

/// A package that is to be built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Atoms that it blocks, as the ebuild writes them (`!CAT/PN`, `!!CAT/PN`), sorted.
    pub blockers: Vec<String>,
    /// Its category, such as `sys-libs`.
    pub category: String,
    /// Source archives for its flags, sorted by name.
    pub distfiles: Vec<Distfile>,
    /// The rules that its ebuild is written by.
    pub eapi: String,
    /// What it needs of the other packages, sorted by place.
    pub edges: Vec<Edge>,
    /// Eclasses that it inherits, also through others, sorted by name.
    pub inherits: Vec<Eclass>,
    /// The place of the package that it is the first round of: a circle is built with it once more, and no stage has it.
    /// Nothing that is read is one.
    #[serde(skip)]
    pub first_round_of: Option<Place>,
    /// Its name, such as `zlib`.
    pub name: String,
    /// Patches of the configuration, below `/etc/portage/patches`, sorted.
    pub patches: Vec<String>,
    /// Phases that the ebuild or an eclass defines, without the prefix, such as `compile`; sorted.
    pub phases: Vec<String>,
    /// PROPERTIES for its flags, sorted.
    pub properties: Vec<String>,
    /// The repository of its ebuild.
    pub repository: String,
    /// RESTRICT for its flags, sorted.
    pub restrict: Vec<String>,
    /// Where it is installed.
    pub root: Root,
    /// The place of its settings in [`PackageGraph::settings`].
    pub settings: usize,
    /// Its slot.
    pub slot: String,
    /// Its sub-slot, which is the slot where the ebuild gives none.
    pub sub_slot: String,
    /// USE flags that are on, also implicit ones and those of USE_EXPAND; sorted.
    #[serde(rename = "use")]
    pub use_flags: Vec<String>,
    /// Its version with the revision, such as `1.3.1-r1`.
    pub version: String,
}

impl Package {
    /// Its category and name, `sys-libs/zlib`.
    pub fn category_name(&self) -> String {
        format!("{}/{}", self.category, self.name)
    }

    /// Name and version, `zlib-1.3.1-r1`.
    pub fn name_version(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Its ebuild within the repository.
    pub fn ebuild(&self) -> String {
        let Package { category, name, .. } = self;
        format!("{category}/{name}/{}.ebuild", self.name_version())
    }

    /// Whether a stage has it.
    pub fn is_of_stage(&self) -> bool {
        self.root == Root::Target && self.first_round_of.is_none()
    }

    /// Whether the ebuild or an eclass defines a phase.
    pub fn has_phase(&self, phase: &str) -> bool {
        self.phases.iter().any(|own| own == phase)
    }

    /// Whether something is run when it is installed.
    pub fn has_hook(&self) -> bool {
        self.has_phase("preinst") || self.has_phase("postinst")
    }

    /// What it is sorted by.
    pub fn order(&self) -> (Root, &str, &str, &str, &str) {
        let Package {
            root,
            category,
            name,
            version,
            slot,
            ..
        } = self;
        (*root, category, name, version, slot)
    }
}

/// Root, category, name, version and slot: `sys-libs/zlib-1.3.1:0`, of a tool `sys-libs/zlib-1.3.1:0 (tool)`.
impl fmt::Display for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}-{}:{}",
            self.category, self.name, self.version, self.slot
        )?;
        match self.root {
            Root::Base => f.write_str(" (tool)"),
            Root::Target if self.first_round_of.is_some() => f.write_str(" (first round)"),
            Root::Target => Ok(()),
        }
    }
}

/// That a package needs another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// What for, sorted, at least one.
    pub kinds: Vec<EdgeKind>,
    /// The place of the other one.
    pub to: Place,
}

impl Edge {
    /// Whether it is for that.
    pub fn is(&self, kind: EdgeKind) -> bool {
        self.kinds.contains(&kind)
    }
}

/// What a package needs another one for. If the other one is for the base and it is not, that is a tool; else a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EdgeKind {
    /// To be built: DEPEND, BDEPEND.
    Build,
    /// To be installed: IDEPEND.
    Install,
    /// To be of use, though later: PDEPEND.
    Post,
    /// To be of use: RDEPEND.
    Run,
}

/// A source archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Distfile {
    /// Its digests, `blake2b:HEX` and `sha512:HEX`, sorted, at least one.
    pub digests: Vec<String>,
    /// Where a repository brings it along, in its folder `distfiles`. What is there is not checked.
    pub local: Option<ConfigFile>,
    /// The name of the file.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Addresses, in the order in which they are tried; none where it is to be had only by hand.
    pub urls: Vec<String>,
}

/// An eclass of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Eclass {
    /// Its name, such as `toolchain-funcs`.
    pub name: String,
    /// The repository that it is in, at `eclass/NAME.eclass`.
    pub repository: String,
}

/// A tree of ebuilds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repository {
    /// Where builds see it, such as `/var/db/repos/gentoo`.
    pub at: String,
    /// The repositories that its eclasses come from as well, nearest last.
    pub masters: Vec<String>,
    /// Its name.
    pub name: String,
}

/// What Portage tells a package beside its flags.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Shell files that phases read, in that order.
    pub bashrcs: Vec<ConfigFile>,
    /// Variables of `make.conf`.
    pub config: BTreeMap<String, String>,
    /// FEATURES that are on, sorted.
    pub features: Vec<String>,
    /// Variables of the `make.defaults` of a profile.
    pub profile: BTreeMap<String, String>,
}

/// A file that settings name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// The file, relative to the repository or to `/etc/portage`.
    pub path: String,
    /// The repository that it is in; `/etc/portage` if none.
    pub repository: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The atom, such as `sys-libs/zlib`, after sets were written out.
    pub atom: String,
    /// The place of the package that was chosen for it.
    pub package: Place,
}
