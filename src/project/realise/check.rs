//! Building a second time what is up to date, to see whether the same comes out.

use super::differences::differences;
use super::{Run, plan};
use crate::build::error::StepError;
use crate::build::step::{Builder, Note};
use crate::drv::tree_changes;
use crate::plan::{NodeId, Staleness, TargetId};
use crate::project::events::{Event, Verdict};
use crate::project::{Blocked, Project, ProjectError};
use crate::schedule::realise::{self as run_steps, Checked};
use crate::share::fetch::Outside;

/// Paths that are listed of a step that comes out different.
const PATHS: usize = 20;

/// Builds every step of some targets once more and compares; with `below` also those of the targets that these
/// start from. Returns how many differ or fail; each is told as an event.
pub fn check(
    project: &Project,
    targets: &[TargetId],
    below: bool,
    run: &Run<'_>,
) -> Result<usize, ProjectError> {
    project.must_write(|| Blocked::Check)?;
    let facts = run.facts(project, true);
    let graph = plan(project, &project.recipes(targets)?, &facts, run)?;
    let staleness = Staleness::walk(&graph, &&facts, &mut ())?;
    project.store.read_inputs();
    let token = run.token()?;
    let note = |note: Note| match note {
        // Whoever shows running jobs wants to know; here nothing is shown of them.
        Note::Process { .. } | Note::Used { .. } => {}
        note => run.events.event(Event::Noted(&note)),
    };
    let outside = Outside::new(&project.store, run.outside);
    let builder = Builder {
        note: &note,
        ..run.builder(project, &outside, &token)
    };
    let mut differing = 0;
    let all = graph.targets().iter();
    let checked = all.filter(|target| below || target.requested);
    let nodes = checked.flat_map(|target| &target.nodes).copied();
    // What stands for packages is nothing that was built.
    let nodes = nodes.filter(|node| !graph.nodes()[*node].derivation.is_open());
    let nodes: Vec<NodeId> = nodes.collect();
    for &node in &nodes {
        let node = &graph.nodes()[node];
        if let Some(impure) = node.derivation.policy.impure.first() {
            return Err(ProjectError::Impure {
                step: node.name.clone(),
                at: impure.at.clone(),
                folder: impure.folder.clone(),
            });
        }
    }
    for node in nodes {
        let step = &graph.nodes()[node].name;
        let tell = |verdict| run.events.event(Event::Checked { step, verdict });
        match run_steps::check(run.site, &builder, &staleness, node, &mut |_| ()) {
            Ok(Checked::Same) => tell(Verdict::Same),
            Ok(Checked::Differs { first, second }) => {
                differing += 1;
                let changes = &tree_changes(&project.store, first, second, PATHS)?;
                let each = changes.paths.iter();
                let details = each
                    .map(|path| differences(&project.store, first, second, path))
                    .collect::<Result<Vec<_>, _>>()?;
                tell(Verdict::Differs {
                    first,
                    second,
                    changes,
                    details: &details,
                });
            }
            Err(StepError::Failed(failure)) => {
                differing += 1;
                tell(Verdict::Failed(&failure.how));
            }
            Err(StepError::Infrastructure(error)) => {
                return Err(ProjectError::Step {
                    step: step.clone(),
                    error: Box::new(error),
                });
            }
            Err(StepError::Cancelled | StepError::Lost(_)) => {
                return Err(ProjectError::Interrupted);
            }
        }
    }
    Ok(differing)
}
