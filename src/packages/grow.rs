//! Packages as nodes of a plan: what stands for them is followed by them, as soon as their graph is there.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use mstore_store::{Store, StoreError, TreeHash};

use super::base::{self, BaseError};
use super::build::{Folder, surroundings};
use super::closed::{self, Known, Lack, Stage};
use super::compose::ReadySettings;
use super::expand::{self, Context, ExpandError, Job, Layers, Options, expand_over};
use super::graph::{EdgeKind, FILE, Package, PackageGraph, Place, Root};
use super::linked::Linking;
use super::read::{GraphError, LIMIT, read};
use super::snapshot::{CutError, Snapshots};
use crate::drv::derivation::{DrvHash, InputSource};
use crate::drv::facts::{FactsError, FilePart, TreePart};
use crate::drv::step_name::{NodeNameError, StepName};
use crate::drv::{Key, StoreFacts, Trees as _};
use crate::plan::{
    Graph, Growing, NodeId, NodeState, Open, PackageId, PackageNode, PlanError, Staleness, Unfold,
};

/// Where Portage has its configuration.
const CONFIG: &str = "/etc/portage";

/// Why packages cannot become nodes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrowError {
    /// Their graph cannot be believed.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Their graph is not there.
    #[error("the step `resolve` left no file {FILE}")]
    NoGraph,
    /// Something that they are built of cannot be cut out of its tree.
    #[error(transparent)]
    Cut(#[from] CutError),
    /// The root that they are built in is not as it should be.
    #[error(transparent)]
    Base(#[from] BaseError),
    /// The graph makes no derivations.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// A repository that the graph names is not where it says.
    #[error("the package graph has the repository {name} at {at}, where nothing is")]
    NoRepository {
        /// Its name.
        name: String,
        /// Where it should be.
        at: String,
    },
    /// Packages are linked with what they do not say that they need.
    #[error("{}", lines(.0))]
    Undeclared(Vec<Told>),
    /// The specification says that something needs what is not there.
    #[error(
        "packages/depends says that {package} needs {needs}, which is not among the packages of the stage"
    )]
    NoSuchNeed {
        /// The package.
        package: String,
        /// What it would need.
        needs: String,
    },
    /// Something cannot be named.
    #[error(transparent)]
    Name(#[from] NodeNameError),
    /// The store did not answer.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// That a package is linked with what it does not say that it needs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    /// The package.
    pub package: String,
    /// The one that it needs, `CATEGORY/NAME`.
    pub owner: String,
    /// The libraries of that, sorted.
    pub sonames: BTreeSet<String>,
}

/// `app-misc/tui-1:0: undeclared: sys-libs/ncurses (libncurses.so.6)`.
impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sonames: Vec<&str> = self.sonames.iter().map(String::as_str).collect();
        let Told { package, owner, .. } = self;
        write!(f, "{package}: undeclared: {owner} ({})", sonames.join(" "))
    }
}

fn lines(all: &[Told]) -> String {
    let all: Vec<String> = all.iter().map(Told::to_string).collect();
    all.join("\n")
}

/// A stage whose packages are nodes of the graph that was made last.
#[derive(Debug)]
struct Shown {
    stage: Stage,
    /// The node of each package, by its place.
    nodes: Vec<Option<NodeId>>,
    /// Whether packages may not be linked with what they do not declare.
    is_strict: bool,
}

/// What packages are made of, by what stands for them: the trees of its inputs.
#[derive(Debug)]
pub struct Unfolding {
    facts: StoreFacts,
    store: Store,
    known: HashMap<DrvHash, Vec<TreeHash>>,
    linking: Linking,
    /// What packages were found out to need, by what stands for them.
    more: HashMap<DrvHash, BTreeSet<(Place, Place)>>,
    refused: HashMap<DrvHash, Vec<Told>>,
    /// Packages that have other libraries than the base has of them, and that packages of a circle were built with, by
    /// what stands for them.
    twice: HashMap<DrvHash, BTreeSet<Place>>,
    /// By what stands for their packages.
    stages: RefCell<BTreeMap<DrvHash, Rc<Shown>>>,
    /// The stage and the place of the derivations of packages.
    places: RefCell<HashMap<DrvHash, (Rc<Shown>, Place)>>,
}

impl Unfolding {
    /// Knows nothing yet; `store` has what will be known.
    pub fn new(store: &Store) -> Unfolding {
        Unfolding {
            facts: StoreFacts::new(store.clone()),
            store: store.clone(),
            known: HashMap::new(),
            linking: Linking::new(store),
            more: HashMap::new(),
            refused: HashMap::new(),
            twice: HashMap::new(),
            stages: RefCell::default(),
            places: RefCell::default(),
        }
    }

    /// Looks for what stands for packages that are known now, among `nodes`, and for what packages were found out to need.
    /// Tells whether there is some: then the graph is to be made again.
    pub fn learn(
        &mut self,
        graph: &Graph,
        staleness: &Staleness<'_>,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Result<bool, FactsError> {
        let is_more = self.learn_packages(graph, staleness, nodes)?;
        Ok(is_more | self.learn_needs(staleness, |_| true)?)
    }

    /// Looks for what stands for packages that are known now, among `nodes`.
    pub fn learn_packages(
        &mut self,
        graph: &Graph,
        staleness: &Staleness<'_>,
        nodes: impl IntoIterator<Item = NodeId>,
    ) -> Result<bool, FactsError> {
        let mut is_more = false;
        for at in nodes {
            let node = &graph.nodes()[at];
            let Some(trees) = staleness.state(at).trees().filter(|_| node.is_open()) else {
                continue;
            };
            let mut is_here = true;
            for tree in trees {
                is_here &= self.facts.present(*tree)?;
            }
            if is_here && !self.known.contains_key(&node.hash) {
                self.known.insert(node.hash, trees.to_vec());
                is_more = true;
            }
        }
        Ok(is_more)
    }

    /// Looks what packages lack that are built, of those stages that are wanted, by what stands for their packages. Tells
    /// whether that changes something.
    pub fn learn_needs(
        &mut self,
        staleness: &Staleness<'_>,
        is_wanted: impl Fn(DrvHash) -> bool,
    ) -> Result<bool, FactsError> {
        let mut is_more = false;
        let stages = self.stages.borrow().clone();
        for (open, shown) in stages {
            if !is_wanted(open) {
                continue;
            }
            let mut found: BTreeMap<Place, Vec<(Place, Told)>> = BTreeMap::new();
            for place in 0..shown.nodes.len() {
                let state = shown.nodes[place].map(|node| staleness.state(node));
                if let Some(tree) = state.and_then(NodeState::tree)
                    && self.is_outdated(&shown, place, tree)?
                {
                    is_more |= self.twice.entry(open).or_default().insert(place);
                }
                let lacks = self.known_lacks(staleness, &shown, place)?;
                let undeclared = shown.told(place, &lacks);
                if !undeclared.is_empty() {
                    found.insert(place, undeclared);
                }
            }
            // What lies in the root of a package is settled before the package: it may bring what is lacking.
            let is_first = |place: &Place| {
                let layers = &shown.stage.layers.of[*place];
                !layers.iter().any(|layer| found.contains_key(layer))
            };
            for (place, undeclared) in found.iter().filter(|(place, _)| is_first(place)) {
                for (owner, told) in undeclared {
                    if shown.is_strict {
                        is_more = true;
                        self.refused.entry(open).or_default().push(told.clone());
                    } else {
                        let more = self.more.entry(open).or_default();
                        is_more |= more.insert((*place, *owner));
                    }
                }
            }
        }
        Ok(is_more)
    }

    /// Whether a node, of which a tree came, is what those are to use that need it: a package that is linked with what it
    /// does not declare is not, and `tell` is told of it.
    pub fn settled(
        &self,
        staleness: &Staleness<'_>,
        at: NodeId,
        tree: TreeHash,
        now: i64,
        tell: &dyn Fn(&Told),
    ) -> Result<bool, FactsError> {
        let node = &staleness.graph().nodes()[at];
        let known = self.places.borrow().get(&node.hash).cloned();
        let (Some((shown, place)), Some(key)) = (known, staleness.state(at).key()) else {
            return Ok(true);
        };
        let mut lacks = self.recorded(key)?;
        if lacks == Known::Not {
            let found = self.lacks(staleness, &shown, place, tree)?;
            if let Some(found) = &found
                && !found.is_empty()
            {
                let name = StepName::new(node.full_name.target(), closed::STEP);
                let name = name.map_or_else(|_| node.full_name.to_string(), |n| n.to_string());
                closed::record(&self.store, (key, node.hash.0, name), found, now)
                    .map_err(|error| failed("cannot record what a package lacks", error))?;
            }
            lacks = Known::Lacks(found.unwrap_or_default());
        }
        let undeclared = match &lacks {
            Known::Lacks(lacks) => shown.told(place, lacks),
            Known::Not => Vec::new(),
        };
        undeclared.iter().for_each(|(_, told)| tell(told));
        Ok(undeclared.is_empty() && !self.is_outdated(&shown, place, tree)?)
    }

    /// Whether packages of a circle are to be built twice because of what came of one.
    fn is_outdated(&self, shown: &Shown, place: Place, tree: TreeHash) -> Result<bool, FactsError> {
        if !shown.stage.is_cut(place) {
            return Ok(false);
        }
        let TreePart::Tree(image) = self.facts.subtree(tree, &Folder::Image.path())? else {
            return Ok(false);
        };
        let found = (|| {
            let Some(image) = self.linking.of(image)? else {
                return Ok(false);
            };
            shown
                .stage
                .is_outdated(&self.store, &self.linking, place, &image)
        })();
        found.map_err(|error: BaseError| failed("cannot look what a package brings", error))
    }

    /// What a package of a plan lacks, as far as that is known or can be found out.
    fn known_lacks(
        &self,
        staleness: &Staleness<'_>,
        shown: &Shown,
        place: Place,
    ) -> Result<Vec<Lack>, FactsError> {
        let state = shown.nodes[place].map(|node| staleness.state(node));
        let Some((state, key)) = state.and_then(|state| Some((state, state.key()?))) else {
            return Ok(Vec::new());
        };
        match (self.recorded(key)?, state.tree()) {
            (Known::Lacks(lacks), _) => Ok(lacks),
            (Known::Not, Some(tree)) => {
                let found = self.lacks(staleness, shown, place, tree)?;
                Ok(found.unwrap_or_default())
            }
            (Known::Not, None) => Ok(Vec::new()),
        }
    }

    fn recorded(&self, key: Key) -> Result<Known, FactsError> {
        closed::recorded(&self.store, key)
            .map_err(|error| failed("cannot look up what a package lacks", error))
    }

    /// What a package lacks of which a tree came; nothing where the tree is not here.
    fn lacks(
        &self,
        staleness: &Staleness<'_>,
        shown: &Shown,
        place: Place,
        tree: TreeHash,
    ) -> Result<Option<Vec<Lack>>, FactsError> {
        if !shown.stage.graph.packages[place].is_of_stage() {
            // Tools run in the base, and what is built in a first round is built with it.
            return Ok(None);
        }
        let image = |tree| self.facts.subtree(tree, &Folder::Image.path());
        let TreePart::Tree(own) = image(tree)? else {
            return Ok(None);
        };
        let mut layers = Vec::new();
        for layer in &shown.stage.layers.of[place] {
            let node = shown.nodes[*layer];
            let Some(tree) = node.and_then(|node| staleness.state(node).tree()) else {
                continue;
            };
            if let TreePart::Tree(image) = image(tree)? {
                layers.push(image);
            }
        }
        let found = (|| {
            let Some(own) = self.linking.of(own)? else {
                return Ok(None);
            };
            let stage = &shown.stage;
            stage
                .lacks(&self.store, &self.linking, &own, &layers)
                .map(Some)
        })();
        found.map_err(|error: BaseError| failed("cannot look what a package is linked with", error))
    }

    fn add(
        &self,
        open: &Open<'_>,
        trees: &[TreeHash],
        graph: &mut Growing,
    ) -> Result<Vec<NodeId>, GrowError> {
        if let Some(told) = self.refused.get(&open.hash) {
            return Err(GrowError::Undeclared(told.clone()));
        }
        let mut packages = self.graph(trees)?;
        let said = open.recipe.packages.as_ref();
        let both = [EdgeKind::Build, EdgeKind::Run];
        packages.add_needs(&both, needs(open, &packages)?);
        let more = self.more.get(&open.hash).into_iter().flatten();
        packages.add_needs(&both, more.copied());
        let toolchain = said.map_or(&[][..], |said| &said.toolchain);
        packages.add_needs(&[EdgeKind::Build], for_all(&packages, toolchain));
        let always = said.is_some_and(|said| said.is_twice);
        let found = self.twice.get(&open.hash);
        let outdated = outdated(&packages);
        expand::twice(&mut packages, |place| {
            always || outdated.contains(&place) || found.is_some_and(|all| all.contains(&place))
        });
        let options = Options {
            first: said.map_or_else(Vec::new, |said| said.first.clone()),
            limits: said.map_or_else(BTreeMap::new, |said| said.limits.clone()),
            stage_hooks: said.map_or_else(Vec::new, |said| said.stage_hooks.clone()),
        };
        let layers = Layers::of(&packages, &options)?;
        let (jobs, base) = self.jobs(open, trees, (&packages, &layers, &options))?;
        let stage = open.derivation.name.target().to_owned();
        let mut nodes = Vec::with_capacity(jobs.len());
        let mut places = vec![None; packages.packages.len()];
        let mut hashes = Vec::with_capacity(places.len());
        for job in jobs {
            let inputs = job.derivation.inputs.iter();
            let producers = inputs.map(|input| match &input.source {
                InputSource::Derivation { hash, .. } => graph.node(*hash),
                _ => None,
            });
            let producers = producers.collect();
            let own = job.derivation.name.clone();
            let (shown, full) = match own.target().strip_prefix(&stage) {
                Some(rest) => (
                    StepName::new(format_args!("{}{rest}", open.shown), own.step())?,
                    StepName::new(format_args!("{}{rest}", open.full), own.step())?,
                ),
                None => (own.clone(), own),
            };
            let at = graph.add(open.target, job.derivation, producers, shown, full);
            graph.of_packages(at, what(&packages, job.package));
            if let Some(place) = job.package {
                places[place] = Some(at);
                hashes.push((job.hash, place));
            }
            nodes.push(at);
        }
        let shown = Rc::new(Shown {
            stage: Stage::new(packages, layers, base),
            nodes: places,
            is_strict: said.is_some_and(|said| said.is_strict),
        });
        let hashes = hashes.into_iter();
        let known = hashes.map(|(hash, place)| (hash, (shown.clone(), place)));
        self.places.borrow_mut().extend(known);
        self.stages.borrow_mut().insert(open.hash, shown);
        Ok(nodes)
    }

    fn graph(&self, trees: &[TreeHash]) -> Result<PackageGraph, GrowError> {
        let Some(tree) = trees.last() else {
            return Err(GrowError::NoGraph);
        };
        match self.facts.file(*tree, FILE, LIMIT)? {
            FilePart::Content(bytes) => Ok(read(&bytes)?),
            FilePart::NoSuchFile | FilePart::Absent => Err(GrowError::NoGraph),
        }
    }

    fn jobs(
        &self,
        open: &Open<'_>,
        trees: &[TreeHash],
        (packages, layers, options): (&PackageGraph, &Layers, &Options),
    ) -> Result<(Vec<Job>, TreeHash), GrowError> {
        // What stands for packages has the root first, then snapshots, and the graph last.
        let root = trees.first().copied().ok_or(GrowError::NoGraph)?;
        let mut repositories = BTreeMap::new();
        for repository in &packages.repositories {
            let tree = self.tree_at(open, trees, &repository.at)?;
            let tree = tree.ok_or_else(|| GrowError::NoRepository {
                name: repository.name.clone(),
                at: repository.at.clone(),
            })?;
            repositories.insert(repository.name.clone(), tree);
        }
        let config = self.tree_at(open, trees, CONFIG)?;
        let snapshots = Snapshots::new(&self.store, &repositories, config);
        let reduced = base::reduce(&self.store, root)?;
        let context = Context {
            stage: open.derivation.name.target(),
            base: &|slots, libraries| match slots.is_empty() {
                true => Ok(reduced),
                false => base::less(&self.store, reduced, slots, libraries),
            },
            local: &self.local(packages, &repositories)?,
            surroundings: &surroundings(&snapshots, packages, &packages.packages)?,
            ready: &ReadySettings::new(&snapshots, packages)?,
            platform: &open.derivation.platform,
            epoch: open.derivation.epoch,
            timeout: open.recipe.timeout,
            prefix: &open.recipe.root,
            options,
        };
        Ok((expand_over(packages, layers, &context)?, reduced))
    }

    /// The folder that a build sees at `at`, if there is one.
    fn tree_at(
        &self,
        open: &Open<'_>,
        trees: &[TreeHash],
        at: &str,
    ) -> Result<Option<TreeHash>, GrowError> {
        let within = |place: &str| match place {
            "/" => Some(at.to_owned()),
            place => {
                let rest = at.strip_prefix(place)?;
                let whole = rest.is_empty() || rest.starts_with('/');
                whole.then(|| match rest {
                    "" => "/".to_owned(),
                    rest => rest.to_owned(),
                })
            }
        };
        let inputs = open.derivation.inputs.iter().zip(trees);
        let inputs =
            inputs.filter_map(|(input, tree)| Some((&input.at, within(&input.at)?, *tree)));
        // What is mounted deepest is what is seen.
        let Some((_, path, tree)) = inputs.max_by_key(|(place, ..)| place.len()) else {
            return Ok(None);
        };
        Ok(match self.facts.subtree(tree, &path)? {
            TreePart::Tree(tree) => Some(tree),
            TreePart::NoSuchPath(_) | TreePart::Absent => None,
        })
    }

    /// The source archives that repositories bring along, each in a tree of its own.
    fn local(
        &self,
        packages: &PackageGraph,
        repositories: &BTreeMap<String, TreeHash>,
    ) -> Result<BTreeMap<String, TreeHash>, GrowError> {
        let mut found = BTreeMap::new();
        let files = packages
            .packages
            .iter()
            .flat_map(|package| &package.distfiles);
        for file in files {
            let Some(local) = &file.local else { continue };
            let (Some(name), Some((folder, own))) =
                (&local.repository, local.path.rsplit_once('/'))
            else {
                continue;
            };
            let Some(tree) = repositories.get(name).filter(|_| own == file.name) else {
                continue;
            };
            let picked = self.facts.pick(*tree, std::slice::from_ref(&local.path))?;
            let TreePart::Tree(picked) = picked else {
                continue;
            };
            if let TreePart::Tree(alone) = self.facts.subtree(picked, &format!("/{folder}"))? {
                found.insert(file.name.clone(), alone);
            }
        }
        Ok(found)
    }
}

impl Shown {
    /// What a package needs and does not declare, of what it lacks, and how that is told.
    fn told(&self, place: Place, lacks: &[Lack]) -> Vec<(Place, Told)> {
        let undeclared = self.stage.undeclared(place, lacks).into_iter();
        let told = undeclared.map(|(owner, lack)| {
            let told = Told {
                package: self.stage.graph.packages[place].to_string(),
                owner: lack.owner.clone(),
                sonames: lack.sonames.clone(),
            };
            (owner, told)
        });
        told.collect()
    }
}

/// That all packages need these to be built, but for those that they need themselves.
fn for_all(graph: &PackageGraph, wanted: &[String]) -> Vec<(Place, Place)> {
    let all = graph.packages.iter().enumerate();
    let wanted = all.filter(|(_, p)| p.is_of_stage() && wanted.contains(&p.category_name()));
    let wanted: Vec<Place> = wanted.map(|(place, _)| place).collect();
    let mut is_before = vec![false; graph.packages.len()];
    let mut left = wanted.clone();
    while let Some(next) = left.pop() {
        if !std::mem::replace(&mut is_before[next], true) {
            left.extend(graph.packages[next].edges.iter().map(|edge| edge.to));
        }
    }
    let after = (0..is_before.len()).filter(|place| !is_before[*place]);
    let after = after.filter(|place| graph.packages[*place].is_of_stage());
    after
        .flat_map(|place| wanted.iter().map(move |to| (place, *to)))
        .collect()
}

/// Packages that the base has with another sub-slot.
fn outdated(graph: &PackageGraph) -> BTreeSet<Place> {
    let base: HashMap<_, _> = graph
        .base
        .iter()
        .map(|own| ((&own.category, &own.name, &own.slot), &own.sub_slot))
        .collect();
    let all = graph.packages.iter().enumerate();
    let other = all.filter(|(_, own)| {
        let known = base.get(&(&own.category, &own.name, &own.slot));
        known.is_some_and(|sub_slot| **sub_slot != own.sub_slot)
    });
    other.map(|(place, _)| place).collect()
}

/// What the specification says that packages need. What it says of packages that are not there is nothing.
fn needs(open: &Open<'_>, graph: &PackageGraph) -> Result<Vec<(Place, Place)>, GrowError> {
    let of_stage = |wanted: &dyn Fn(&Package) -> bool| -> Vec<Place> {
        let all = graph.packages.iter().enumerate();
        let wanted = all.filter(|(_, p)| p.is_of_stage() && wanted(p));
        wanted.map(|(place, _)| place).collect()
    };
    let mut found = Vec::new();
    let depends = open
        .recipe
        .packages
        .iter()
        .flat_map(|packages| &packages.depends);
    for (package, needs) in depends {
        let (name, slot) = match needs.split_once(':') {
            Some((name, slot)) => (name, Some(slot)),
            None => (needs.as_str(), None),
        };
        let from = of_stage(&|own| own.category_name() == *package);
        let to = of_stage(&|own| {
            own.category_name() == name && slot.is_none_or(|slot| slot == own.slot)
        });
        if !from.is_empty() && to.is_empty() {
            return Err(GrowError::NoSuchNeed {
                package: package.clone(),
                needs: needs.clone(),
            });
        }
        found.extend(
            from.iter()
                .flat_map(|from| to.iter().map(move |to| (*from, *to))),
        );
    }
    Ok(found)
}

fn failed(context: &str, error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> FactsError {
    FactsError::new(context, error)
}

impl Unfold for Unfolding {
    fn unfold(&self, open: &Open<'_>, graph: &mut Growing) -> Result<Vec<NodeId>, PlanError> {
        let Some(trees) = self.known.get(&open.hash) else {
            return Ok(Vec::new());
        };
        self.add(open, trees, graph)
            .map_err(|error| PlanError::Packages {
                target: open.shown.to_owned(),
                help: help(&error),
                error: Arc::new(error),
            })
    }
}

/// What people are told of a node: the package that it builds, or that it is around some.
fn what(graph: &PackageGraph, place: Option<Place>) -> PackageNode {
    let package = place.map(|place| &graph.packages[place]);
    // Nobody asks for a first round by name.
    let Some(package) = package.filter(|package| package.first_round_of.is_none()) else {
        return PackageNode::Around;
    };
    let same = |other: &&Package| {
        other.root == package.root
            && other.first_round_of.is_none()
            && (&other.category, &other.name) == (&package.category, &package.name)
    };
    PackageNode::Package(Arc::new(PackageId {
        name: package.category_name(),
        slot: package.slot.clone(),
        version: package.version.clone(),
        is_tool: package.root == Root::Base,
        is_alone: graph.packages.iter().filter(same).nth(1).is_none(),
        use_flags: package.use_flags.clone(),
    }))
}

fn help(error: &GrowError) -> Option<&'static str> {
    match error {
        GrowError::Expand(ExpandError::Circle { .. }) => Some(
            "start from a root that has it, or turn off the flags because of which they need each other",
        ),
        GrowError::Undeclared(_) => Some(
            "name it in the DEPEND and RDEPEND of their ebuilds, or in packages/depends; or let `packages/undeclared: refine` build them once more with it",
        ),
        GrowError::NoSuchNeed { .. } => Some("name it in packages/set as well"),
        _ => None,
    }
}
