//! How long a run will take, by how long its steps took before.

use serde::Serialize;

use super::events::{Event, Events};
use super::{Project, ProjectError};
use crate::farm::Farm;
use crate::plan::{Crew, Estimate, Graph, NodeId};
use crate::schedule::history::History;

/// How long a run takes, at the least and at the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Estimates {
    /// With the steps alone that are built in any case.
    pub least: Estimate,
    /// With those too that are built if what they start from comes out different.
    pub most: Estimate,
}

/// What this machine is called where its builds are recorded.
pub(super) fn home() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

impl Project {
    /// What the history of the store tells of steps of these names, and of the hosts of `farm`, which takes that in.
    pub(super) fn history(
        &self,
        names: &[&str],
        farm: Option<&Farm>,
        events: &dyn Events,
    ) -> History {
        let home = home();
        let given = farm
            .map(|farm| farm.given_speeds(&home))
            .unwrap_or_default();
        let runs = self.store.past_runs(names).unwrap_or_else(|error| {
            // Nothing but order and estimates depends on it.
            events.event(Event::HistoryUnread(&error));
            Default::default()
        });
        if runs.senseless > 0 {
            let runs = runs.senseless;
            events.event(Event::HistoryLeftOut { runs });
        }
        let history = History::learn(names, &runs, &given, &home);
        if let Some(farm) = farm {
            farm.learn(history.clone());
        }
        history
    }

    /// Estimates how long it takes to build `build`, and `maybe` too, on the hosts of `farm`, or else with `jobs` steps at a
    /// time on this machine: by the medians of the newest runs that the history of the store has of them.
    pub fn estimate(
        &self,
        graph: &Graph,
        (build, maybe): (&[NodeId], &[NodeId]),
        (farm, jobs): (Option<&Farm>, usize),
        events: &dyn Events,
    ) -> Result<Estimates, ProjectError> {
        let all = || build.iter().chain(maybe).copied();
        let name = |id: NodeId| graph.nodes()[id].full_name.as_str();
        let names: Vec<&str> = all().map(name).collect();
        let history = self.history(&names, farm, events);
        let crew = match farm {
            Some(farm) => Crew::of(farm.crew(&home())),
            None => Crew::of([(jobs, 1.0)]),
        };
        let seconds = |id: NodeId| history.seconds(name(id));
        Ok(Estimates {
            least: Estimate::of(graph, build.iter().copied(), crew, seconds),
            most: Estimate::of(graph, all(), crew, seconds),
        })
    }
}
