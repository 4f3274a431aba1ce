//! Packages as nodes of a plan: what stands for them is followed by them, as soon as their graph is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mstore_store::{Store, StoreError, TreeHash};

use super::base::{self, BaseError};
use super::build::surroundings;
use super::compose::ReadySettings;
use super::expand::{Context, ExpandError, Job, Options, expand};
use super::graph::{FILE, Package, PackageGraph, Place, Root};
use super::read::{GraphError, LIMIT, read};
use super::snapshot::{CutError, Snapshots};
use crate::drv::derivation::{DrvHash, InputSource};
use crate::drv::facts::{FactsError, FilePart, TreePart};
use crate::drv::step_name::{NodeNameError, StepName};
use crate::drv::{StoreFacts, Trees as _};
use crate::plan::{
    Graph, Growing, NodeId, Open, PackageId, PackageNode, PlanError, Staleness, Unfold,
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

/// What packages are made of, by what stands for them: the trees of its inputs.
#[derive(Debug)]
pub struct Unfolding {
    facts: StoreFacts,
    store: Store,
    known: HashMap<DrvHash, Vec<TreeHash>>,
}

impl Unfolding {
    /// Knows nothing yet; `store` has what will be known.
    pub fn new(store: &Store) -> Unfolding {
        Unfolding {
            facts: StoreFacts::new(store.clone()),
            store: store.clone(),
            known: HashMap::new(),
        }
    }

    /// Looks for what stands for packages that are known now, among `nodes`, and tells whether there is some: then the
    /// graph is to be made again.
    pub fn learn(
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

    fn add(
        &self,
        open: &Open<'_>,
        trees: &[TreeHash],
        graph: &mut Growing,
    ) -> Result<Vec<NodeId>, GrowError> {
        let packages = self.graph(trees)?;
        let jobs = self.jobs(open, trees, &packages)?;
        let stage = open.derivation.name.target().to_owned();
        let mut nodes = Vec::with_capacity(jobs.len());
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
            nodes.push(at);
        }
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
        packages: &PackageGraph,
    ) -> Result<Vec<Job>, GrowError> {
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
        let options = match &open.recipe.packages {
            Some(packages) => Options {
                first: packages.first.clone(),
                limits: packages.limits.clone(),
            },
            None => Options::default(),
        };
        let context = Context {
            stage: open.derivation.name.target(),
            base: &|slots| match slots.is_empty() {
                true => Ok(reduced),
                false => base::less(&self.store, reduced, slots),
            },
            local: &self.local(packages, &repositories)?,
            surroundings: &surroundings(&snapshots, packages, &packages.packages)?,
            ready: &ReadySettings::new(&snapshots, packages)?,
            platform: &open.derivation.platform,
            epoch: open.derivation.epoch,
            timeout: open.recipe.timeout,
            prefix: &open.recipe.root,
            options: &options,
        };
        Ok(expand(packages, &context)?)
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
    let Some(package) = place.map(|place| &graph.packages[place]) else {
        return PackageNode::Around;
    };
    let same = |other: &&Package| {
        other.root == package.root
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
        _ => None,
    }
}
