//! Plays a graph on a simulated clock, with the engine of mstore in charge.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mstore::schedule::engine::{
    Command, Engine, EngineEvent, HostId, JobId, JobState, NewJob, Offer, Run,
};

use super::graph::{Graph, Park};

/// Seconds that a graph takes on a set of hosts. `told` is what the engine hears that each job takes.
pub fn makespan(graph: &Graph, park: &Park, told: impl Fn(usize) -> Option<f64>) -> f64 {
    let mut engine = Engine::new(true);
    let kind = engine.name_kind();
    let ids: Vec<JobId> = (0..graph.len()).map(|_| engine.name()).collect();
    let jobs = (0..graph.len()).map(|at| NewJob {
        job: ids[at],
        needs: graph.needs[at].iter().map(|need| ids[*need]).collect(),
        seconds: told(at),
        open: false,
        ask: kind.into(),
    });
    let jobs = jobs.collect();
    let up = park.hosts.iter().enumerate().map(|(n, &(slots, speed))| {
        let kinds = vec![kind];
        EngineEvent::HostUp {
            host: HostId::nth(n),
            offer: Offer {
                slots,
                kinds,
                speed,
            },
        }
    });
    let mut todo: Vec<EngineEvent> = up.collect();
    todo.extend([EngineEvent::Listed(jobs), EngineEvent::WalkEnded]);
    let mut going: BinaryHeap<Reverse<(u64, Run)>> = BinaryHeap::new();
    let mut clock = 0.0;
    loop {
        for event in todo.drain(..) {
            for command in engine.handle(event) {
                let Command::Start(run) = command else {
                    panic!("{command:?}");
                };
                let at = ids.binary_search(&run.job).expect("a job that was named");
                let end: f64 = clock + graph.seconds[at] / park.hosts[run.host.number()].1;
                going.push(Reverse((end.to_bits(), run)));
            }
        }
        let Some(Reverse((end, run))) = going.pop() else {
            break;
        };
        clock = f64::from_bits(end);
        todo.extend([EngineEvent::Tick(clock), EngineEvent::Succeeded(run)]);
    }
    assert!(engine.is_over() && engine.count(JobState::Usable) == graph.len());
    clock
}
