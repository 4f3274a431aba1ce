//! How long a run will take, by how long its steps took before.

use std::collections::HashMap;

use serde::Serialize;

use super::{Project, ProjectError};
use crate::plan::{Estimate, Graph, NodeId};

/// How long a run takes, at the least and at the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Estimates {
    /// With the steps alone that are built in any case.
    pub least: Estimate,
    /// With those too that are built if what they start from comes out different.
    pub most: Estimate,
}

impl Project {
    /// Estimates how long it takes to build `build`, and `maybe` too, with `jobs` steps at a time: by the medians of
    /// the newest runs that the history of the store has of them.
    pub fn estimate(
        &self,
        graph: &Graph,
        build: &[NodeId],
        maybe: &[NodeId],
        jobs: usize,
    ) -> Result<Estimates, ProjectError> {
        let all = || build.iter().chain(maybe).copied();
        let names: Vec<&str> = all()
            .map(|id| graph.nodes()[id].full_name.as_str())
            .collect();
        let seconds = self.store.usual_seconds(&names)?;
        let known: HashMap<NodeId, f64> = all()
            .zip(seconds)
            .filter_map(|(id, seconds)| Some((id, seconds?)))
            .collect();
        let seconds = |id: NodeId| known.get(&id).copied();
        Ok(Estimates {
            least: Estimate::of(graph, build.iter().copied(), jobs, seconds),
            most: Estimate::of(graph, all(), jobs, seconds),
        })
    }
}
