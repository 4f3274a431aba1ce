//! Graphs with the packages in them that are known, for those who look and build nothing.

use mstore_store::TreeHash;

use crate::drv::PackageName;
use crate::packages::grow::Unfolding;
use crate::plan::{Graph, Lock, Pins, Recipes, Staleness};
use crate::project::{FindError, Project, ProjectError};

/// Makes a graph, with nodes for packages wherever the step that finds them out is up to date. What keeps packages from
/// becoming nodes is told by the run that needs them: here they are left out.
pub fn unfolded(
    project: &Project,
    recipes: &Recipes,
    lock: &Lock,
    pins: Pins,
) -> Result<Graph, ProjectError> {
    let plain = || Graph::build(recipes, lock, &project.facts, pins);
    let mut graph = plain()?;
    // What is known of packages is cut out of trees, which takes writing.
    if project.store.is_read_only() {
        return Ok(graph);
    }
    let mut unfolding = Unfolding::new(&project.store);
    while graph.nodes().values().any(|node| node.is_open()) {
        let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
        let all = graph.nodes().ids();
        if !unfolding.learn(&graph, &staleness, all)? {
            break;
        }
        match Graph::unfolded(recipes, lock, &project.facts, pins, &unfolding) {
            Ok(more) => graph = more,
            Err(_) => return Ok(plain()?),
        }
    }
    Ok(graph)
}

impl Project {
    /// What was built of a package, if the target has one of that name.
    pub fn package_tree(&self, name: &PackageName) -> Result<Option<TreeHash>, ProjectError> {
        let Ok(graph) = self.graph(&[name.target().to_owned()], Pins::Optional) else {
            return Ok(None);
        };
        let mut targets = graph.requested();
        let found = targets.find_map(|target| graph.package_of(target, name.package()));
        let Some(node) = found else {
            return Ok(None);
        };
        let staleness = Staleness::walk(&graph, &self.facts, &mut ())?;
        match staleness.state(node).tree() {
            Some(tree) => Ok(Some(tree)),
            None => Err(FindError::NotBuilt {
                target: name.to_string(),
            }
            .into()),
        }
    }
}
