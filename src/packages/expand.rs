//! From a package graph to derivations: of each package what fetches its archives, the root that it is built in, and the
//! package; and at last the stage.
//!
//! It looks at nothing but what it is given, so the same graph in the same surroundings is the same derivations. A key
//! has in it exactly what a build sees: a package that two stages build alike is one.

mod circles;
mod layers;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::base::{BaseError, Libraries, Slot};
use super::build::{self, Build, Surroundings};
use super::compose::{self, Layer, Purpose, ReadySettings};
use super::graph::{Distfile, Package, PackageGraph, Place, Root};
use crate::drv::derivation::{Derivation, DrvHash, InputSource};
use crate::drv::fetch::{Content, Digest, DigestError, Fixed, Origin};
use crate::drv::step_name::{NodeNameError, StepName};
use crate::plan::PackageLimits;
use mstore_store::TreeHash;

pub use circles::{Circles, twice};
pub use layers::Layers;

/// The rule by which graphs become derivations. Another one is another name.
pub const RULE: &str = "packages/1";
/// What the step that builds a package is called.
pub const STEP: &str = "install";

/// Why a graph cannot become derivations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpandError {
    /// Packages need each other to be built, and the base lacks one of them.
    #[error(
        "packages need each other to be built, and the base lacks {lacks}: {}", .members.join(", ")
    )]
    Circle {
        /// What the base lacks.
        lacks: String,
        /// The packages of the circle, sorted.
        members: Vec<String>,
    },
    /// Packages see more of each other than any do.
    #[error("the packages have more than {most} layers in their build roots together")]
    TooLarge {
        /// How many they may have.
        most: usize,
    },
    /// The base less what others replace cannot be had.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// Something cannot be named.
    #[error(transparent)]
    Name(#[from] NodeNameError),
    /// A digest of an archive is none.
    #[error("{package}: {error}")]
    Digest {
        /// The package.
        package: String,
        /// What is wrong.
        error: DigestError,
    },
}

/// What a specification says of the packages of a stage beside what Portage is told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Packages, `CATEGORY/NAME`, that stand before all others in the stage.
    pub first: Vec<String>,
    /// What single packages may use, by `CATEGORY/NAME`.
    pub limits: BTreeMap<String, PackageLimits>,
    /// Packages, `CATEGORY/NAME`, whose hooks are run in stages only.
    pub stage_hooks: Vec<String>,
}

/// A base less what it has in some slots.
pub type Less<'a> = dyn Fn(&BTreeSet<Slot>, Libraries) -> Result<TreeHash, BaseError> + 'a;

/// What packages are built in.
#[derive(Clone)]
pub struct Context<'a> {
    /// The name of the stage, `TARGET-SUBARCH`.
    pub stage: &'a str,
    /// The root that packages are built in, less what it has in some slots.
    pub base: &'a Less<'a>,
    /// The source archives that a repository brings along, by their names.
    pub local: &'a BTreeMap<String, TreeHash>,
    /// What each package sees beside its root, in the order of the graph.
    pub surroundings: &'a [Surroundings],
    /// What the steps see that make roots ready.
    pub ready: &'a ReadySettings,
    /// The machine that must run it, as `uname -m` says.
    pub platform: &'a str,
    /// `SOURCE_DATE_EPOCH`.
    pub epoch: i64,
    /// Seconds after which a package is ended, if any.
    pub timeout: Option<u64>,
    /// The folder of the root that the stage is made in, such as `/stage`; `/` for a root made of nothing else.
    pub prefix: &'a str,
    /// What the specification says besides.
    pub options: &'a Options,
}

/// A derivation that a graph became.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// What is done. Its name begins with that of the stage.
    pub derivation: Derivation,
    /// Its hash.
    pub hash: DrvHash,
    /// The package that it is, if it is one.
    pub package: Option<Place>,
}

impl Job {
    fn new(derivation: Derivation, package: Option<Place>) -> Job {
        Job {
            hash: derivation.hash(),
            derivation,
            package,
        }
    }
}

/// Makes the derivations of a graph, each after what it needs; the last one is the stage.
pub fn expand(graph: &PackageGraph, context: &Context<'_>) -> Result<Vec<Job>, ExpandError> {
    let layers = Layers::of(graph, context.options)?;
    expand_over(graph, &layers, context)
}

/// The same over layers that are known.
pub fn expand_over(
    graph: &PackageGraph,
    layers: &Layers,
    context: &Context<'_>,
) -> Result<Vec<Job>, ExpandError> {
    let mut making = Making {
        graph,
        context,
        names: names(graph),
        in_base: graph
            .base
            .iter()
            .map(|installed| (&installed.category, &installed.name, &installed.slot))
            .collect(),
        jobs: Vec::with_capacity(graph.packages.len() * 3),
        built: vec![None; graph.packages.len()],
        fetched: HashMap::new(),
        roots: HashMap::new(),
    };
    for place in buildable(graph, layers) {
        making.package(place, &layers.of[place])?;
    }
    making.stage(&layers.order)?;
    Ok(making.jobs)
}

/// The packages, each after all that lies in its build root.
fn buildable(graph: &PackageGraph, layers: &Layers) -> Vec<Place> {
    let mut done = vec![false; graph.packages.len()];
    let mut sorted = Vec::with_capacity(graph.packages.len());
    for first in &layers.order {
        let mut way = vec![(*first, 0)];
        while let Some((place, at)) = way.pop() {
            if done[place] {
                continue;
            }
            match layers.of[place].get(at) {
                // What is in a circle with it is not among its layers, so there is an end.
                Some(layer) => way.extend([(place, at + 1), (*layer, 0)]),
                None => {
                    done[place] = true;
                    sorted.push(place);
                }
            }
        }
    }
    sorted
}

/// What packages are called in names of nodes: category and name, and the slot and that it is a tool where that is
/// needed to tell them apart.
fn names(graph: &PackageGraph) -> Vec<String> {
    let mut count: HashMap<(&str, &str), usize> = HashMap::new();
    for package in &graph.packages {
        let is_of_stage = usize::from(package.is_of_stage());
        *count.entry((&package.category, &package.name)).or_default() += is_of_stage;
    }
    let name = |package: &Package| {
        let alone = count[&(package.category.as_str(), package.name.as_str())] <= 1;
        let name = package.category_name();
        let name = match package.root {
            Root::Target if alone => name,
            Root::Target => format!("{name}@{}", package.slot),
            Root::Base => format!("tool/{name}@{}", package.slot),
        };
        match package.first_round_of {
            Some(_) => format!("first/{name}"),
            None => name,
        }
    };
    graph.packages.iter().map(name).collect()
}

struct Making<'a> {
    graph: &'a PackageGraph,
    context: &'a Context<'a>,
    names: Vec<String>,
    /// Category, name and slot of what the base has.
    in_base: HashSet<(&'a String, &'a String, &'a String)>,
    jobs: Vec<Job>,
    /// The derivation of each package, by its place.
    built: Vec<Option<DrvHash>>,
    /// What fetches an archive, by its name and digests.
    fetched: HashMap<(&'a str, &'a [String]), DrvHash>,
    /// Build roots by what lies in them.
    roots: HashMap<&'a [Place], InputSource>,
}

impl<'a> Making<'a> {
    fn package(&mut self, place: Place, layers: &'a [Place]) -> Result<(), ExpandError> {
        let package = &self.graph.packages[place];
        let mut distfiles = BTreeMap::new();
        for file in &package.distfiles {
            let source = match self.context.local.get(&file.name) {
                Some(tree) if file.local.is_some() => InputSource::Tree(*tree),
                _ => InputSource::Derivation {
                    hash: self.fetch(package, file)?,
                    path: "/".to_owned(),
                },
            };
            distfiles.insert(file.name.clone(), source);
        }
        let root = self.root(place, layers)?;
        let Context {
            surroundings,
            platform,
            epoch,
            timeout,
            ..
        } = *self.context;
        let mut derivation = build::derivation(&Build {
            name: StepName::new(self.node(place), STEP)?,
            package,
            graph: self.graph,
            root,
            surroundings: &surroundings[place],
            distfiles: &distfiles,
            platform,
            epoch,
            timeout,
        });
        if let Some(limits) = self.context.options.limits.get(&package.category_name()) {
            limits.apply(&mut derivation.policy);
        }
        let job = Job::new(derivation, Some(place));
        self.built[place] = Some(job.hash);
        self.jobs.push(job);
        Ok(())
    }

    /// What the nodes of a package are called.
    fn node(&self, place: Place) -> String {
        format!("{}/{}", self.context.stage, self.names[place])
    }

    fn fetch(&mut self, package: &Package, file: &'a Distfile) -> Result<DrvHash, ExpandError> {
        let key = (file.name.as_str(), file.digests.as_slice());
        if let Some(known) = self.fetched.get(&key) {
            return Ok(*known);
        }
        let digests: Result<Vec<Digest>, DigestError> =
            file.digests.iter().map(|digest| digest.parse()).collect();
        let digests = digests.map_err(|error| ExpandError::Digest {
            package: package.to_string(),
            error,
        })?;
        let fixed = Fixed {
            name: file.name.clone(),
            content: Content::File(digests),
        };
        let origin = Origin {
            size: Some(file.size),
            urls: file.urls.clone(),
        };
        let job = Job::new(Derivation::fetch(fixed, origin)?, None);
        self.fetched.insert(key, job.hash);
        let hash = job.hash;
        self.jobs.push(job);
        Ok(hash)
    }

    /// The root with some layers. Equal ones are made once.
    fn root(&mut self, place: Place, layers: &'a [Place]) -> Result<InputSource, ExpandError> {
        if let Some(known) = self.roots.get(layers) {
            return Ok(known.clone());
        }
        // What was built in a first round may be linked with what the base has.
        let mut rounds = layers
            .iter()
            .map(|at| self.graph.packages[*at].first_round_of);
        let libraries = match rounds.any(|round| round.is_some()) {
            true => Libraries::All,
            false => Libraries::Needed,
        };
        let base = (self.context.base)(&self.replaced(layers), libraries)?;
        let base = InputSource::Tree(base);
        let root = compose::Root {
            target: &self.node(place),
            base: Some(base.clone()),
            prefix: "",
            layers: &self.layers(layers, Some(&self.context.options.stage_hooks)),
            purpose: Purpose::Build,
            platform: self.context.platform,
            epoch: self.context.epoch,
        };
        let made = compose::derivations(&root, self.context.ready);
        let source = match self.add(made) {
            Some(hash) => InputSource::Derivation {
                hash,
                path: "/".to_owned(),
            },
            None => base,
        };
        self.roots.insert(layers, source.clone());
        Ok(source)
    }

    /// The slots of the base that layers replace.
    fn replaced(&self, layers: &[Place]) -> BTreeSet<Slot> {
        let layers = layers.iter().map(|place| &self.graph.packages[*place]);
        let in_base = layers.filter(|layer| {
            let id = (&layer.category, &layer.name, &layer.slot);
            self.in_base.contains(&id)
        });
        let slots = in_base.map(|layer| Slot {
            category_name: layer.category_name(),
            slot: layer.slot.clone(),
        });
        slots.collect()
    }

    fn stage(&mut self, order: &[Place]) -> Result<(), ExpandError> {
        let packages = &self.graph.packages;
        let of_stage = order.iter().copied();
        let members: Vec<Place> = of_stage
            .filter(|place| packages[*place].is_of_stage())
            .collect();
        let wanted = self.graph.wanted.iter();
        let world: Vec<String> = wanted.map(|wanted| wanted.atom.clone()).collect();
        // A stage that is a root by itself is made of nothing else.
        let base = match self.context.prefix {
            "/" => None,
            _ => Some(InputSource::Tree((self.context.base)(
                &BTreeSet::new(),
                Libraries::Needed,
            )?)),
        };
        let root = compose::Root {
            target: &format!("{}/packages", self.context.stage),
            base,
            prefix: self.context.prefix.trim_end_matches('/'),
            layers: &self.layers(&members, None),
            purpose: Purpose::Stage(&world),
            platform: self.context.platform,
            epoch: self.context.epoch,
        };
        let made = compose::derivations(&root, self.context.ready);
        self.add(made);
        Ok(())
    }

    /// Packages as layers. The hooks of some are not run.
    fn layers(&self, places: &[Place], without: Option<&[String]>) -> Vec<Layer<'a>> {
        let layers = places.iter().filter_map(|place| {
            Some(Layer {
                // What lies in a root was made before.
                derivation: self.built[*place]?,
                package: &self.graph.packages[*place],
                runs_hooks: without.is_none_or(|without| {
                    !without.contains(&self.graph.packages[*place].category_name())
                }),
            })
        });
        layers.collect()
    }

    /// Adds derivations and gives the last.
    fn add(&mut self, made: Vec<Derivation>) -> Option<DrvHash> {
        let made = made
            .into_iter()
            .map(|derivation| Job::new(derivation, None));
        let before = self.jobs.len();
        self.jobs.extend(made);
        self.jobs[before..].last().map(|job| job.hash)
    }
}
