//! The packages that a stage is made of, where these were built.

use super::{FindError, Project, ProjectError};
use crate::drv::derivation::{InputSource, Role};
use crate::packages::binary::Built;
use crate::packages::grow::Unfolding;
use crate::plan::{Graph, NodeId, Pins, Staleness, Target};

/// Where the database has the entries of packages.
const DATABASE: &str = "/var/db/pkg/";

impl Project {
    /// The packages of a target that is built and up to date, sorted. There are none where it is not made of packages
    /// that are steps of their own.
    pub fn stage_packages(&self, name: &str) -> Result<Vec<Built>, ProjectError> {
        let recipes = self.recipes(&self.targets(&[name.to_owned()])?)?;
        let not_built = || FindError::NotBuilt {
            target: name.to_owned(),
        };
        // What stands for packages is known to be built without them. They are looked at all the same.
        let mut unfolding = Unfolding::new(&self.store);
        let mut graph = Graph::build(&recipes, &self.lock, &self.facts, Pins::Optional)?;
        let staleness = Staleness::walk(&graph, &self.facts, &mut ())?;
        let requested: Vec<&Target> = graph.requested().collect();
        let [target] = requested.as_slice() else {
            return Err(FindError::SeveralTargets {
                name: name.to_owned(),
            }
            .into());
        };
        if staleness.target_tree(target, &self.facts)?.is_none() {
            return Err(not_built().into());
        }
        let graph = loop {
            let staleness = Staleness::walk(&graph, &self.facts, &mut ())?;
            if !unfolding.learn(&graph, &staleness, graph.nodes().ids())? {
                break graph;
            }
            graph = Graph::unfolded(
                &recipes,
                &self.lock,
                &self.facts,
                Pins::Optional,
                &unfolding,
            )?;
        };
        let staleness = Staleness::walk(&graph, &self.facts, &mut ())?;
        let mut found = Vec::new();
        for target in graph.requested() {
            let ends = target.nodes.iter();
            let ends = ends.filter_map(|at| graph.nodes()[*at].stands_for);
            for end in ends {
                let Some(union) = union_of(&graph, end) else {
                    continue;
                };
                let node = &graph.nodes()[union];
                for (input, producer) in node.derivation.inputs.iter().zip(&node.producers) {
                    let Some((category, version)) = entry(&input.at, &input.source) else {
                        continue;
                    };
                    let tree = producer.and_then(|at| staleness.state(at).tree());
                    let tree = tree.filter(|tree| self.store.has_tree(*tree).unwrap_or(false));
                    let (Some(tree), Some(at)) = (tree, producer) else {
                        return Err(FindError::NotBuilt {
                            target: format!("{name}/{category}/{version}"),
                        }
                        .into());
                    };
                    let epoch = graph.nodes()[*at].derivation.epoch;
                    found.push(Built::new(category, version, tree, epoch)?);
                }
            }
        }
        found.sort();
        Ok(found)
    }
}

/// The node that lays the packages of a stage over each other: the last one, or what that makes ready.
fn union_of(graph: &Graph, end: NodeId) -> Option<NodeId> {
    let is_union = |at: NodeId| {
        let inputs = &graph.nodes()[at].derivation.inputs;
        inputs.iter().any(|input| input.role == Role::Layer)
    };
    match is_union(end) {
        true => Some(end),
        false => graph.nodes()[end]
            .producers
            .first()
            .copied()
            .flatten()
            .filter(|at| is_union(*at)),
    }
}

/// Category and version of the package whose entry is laid there.
fn entry<'a>(at: &'a str, source: &InputSource) -> Option<(&'a str, &'a str)> {
    let (_, package) = at.rsplit_once(DATABASE)?;
    match source {
        InputSource::Derivation { path, .. } if path == "/record" => package.split_once('/'),
        _ => None,
    }
}
