//! Targets that are asked for up to a step: `TARGET:STEP`.

use std::collections::HashMap;

use crate::plan::{Graph, NodeId, TargetId};
use crate::ports::Task;
use crate::project::step::no_such_step;
use crate::project::{Project, ProjectError};

/// Up to which steps targets are asked for. Those that it does not name are asked for to their ends.
#[derive(Clone, Debug, Default)]
pub struct Until(HashMap<TargetId, Vec<String>>);

impl Until {
    /// Reads it of what was asked for: names or patterns of targets, each with the step if it has one. A target that
    /// is also asked for without one is built to its end.
    pub fn of(
        project: &Project,
        words: &[(String, Option<String>)],
    ) -> Result<Until, ProjectError> {
        let mut steps: HashMap<TargetId, Vec<String>> = HashMap::new();
        for (name, step) in words {
            let Some(step) = step else { continue };
            for id in project.targets(std::slice::from_ref(name))? {
                steps.entry(id).or_default().push(step.clone());
            }
        }
        if !steps.is_empty() {
            for (name, _) in words.iter().filter(|(_, step)| step.is_none()) {
                for id in project.targets(std::slice::from_ref(name))? {
                    steps.remove(&id);
                }
            }
        }
        Ok(Until(steps))
    }

    /// Asks for all of `targets` up to the step of this name.
    pub fn step(targets: &[TargetId], step: &str) -> Until {
        let targets = targets.iter();
        Until(
            targets
                .map(|id| (id.clone(), vec![step.to_owned()]))
                .collect(),
        )
    }

    /// What stands for packages of which one is asked for, while they are not known.
    pub(super) fn unknown(&self, graph: &Graph) -> Vec<NodeId> {
        let asked = self.0.iter();
        let asked = asked.filter(|(_, steps)| steps.iter().any(|step| step.contains('/')));
        let open = asked.filter_map(|(id, _)| {
            let at = graph.standing_of(graph.target(id)?)?;
            graph.nodes()[at].is_open().then_some(at)
        });
        open.collect()
    }

    /// Puts it down in a graph. An error names a step that there is not.
    pub(super) fn limit(&self, graph: &mut Graph) -> Result<(), ProjectError> {
        for (id, steps) in &self.0 {
            for step in steps {
                let before = graph
                    .target(id)
                    .map(|target| (target.until, target.is_whole()));
                if !graph.stop_at(id, step) {
                    let Some(target) = graph.target(id) else {
                        continue;
                    };
                    // Which packages there are is not known yet: what stands for them has to be looked into.
                    if graph.stands_for_packages(id) && step.contains('/') {
                        let open = graph
                            .standing_of(target)
                            .map(|at| graph.nodes()[at].name.clone());
                        if let Some(open) = open {
                            graph.stop_at(id, open.step());
                            continue;
                        }
                    }
                    // A port that has no test is built, and that is all.
                    if id.is_port() && step == Task::Test.name() {
                        continue;
                    }
                    return Err(no_such_step(graph, target, step).into());
                }
                // Of several steps the last counts.
                if let (Some((node, false)), Some(target)) = (before, graph.target(id))
                    && node > target.until
                {
                    graph.stop_at_node(id, node);
                }
            }
        }
        Ok(())
    }
}
