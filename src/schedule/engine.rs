//! What to start next: a pure state machine.
//!
//! Events go in, commands come out; there is no thread, clock, file or socket in here, so
//! every policy can be tested by simulation. The driver (`schedule::run`) turns what
//! happens on the machine into events and commands into work.
//!
//! A node's life:
//!
//! ```text
//! ToBuild --all dependencies usable--> Queued --slot free--> Running --ok--> Usable
//!    |                                   |                     |-- failed --> Failed
//!    '------- a dependency failed -------'-------------------> Skipped
//! ```

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Index of a node in the graph that the engine was made with.
pub type NodeId = usize;

/// Where a node is on its way. See the drawing at the top of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Some dependency is not usable yet.
    ToBuild,
    /// Every dependency is usable; waits for a free job slot.
    Queued,
    /// Handed to an executor, which has not reported back.
    Running,
    /// Its tree is there, built or found in the store.
    Usable,
    /// Its build ended badly.
    Failed,
    /// Cannot be built: something it depends on failed.
    Skipped,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Run once, before anything else.
    Begin,
    /// A running node's tree is in the store.
    Succeeded(NodeId),
    /// A running node's build failed.
    Failed(NodeId),
    /// Start nothing any more; what runs may end.
    Stop,
}

/// Something the driver must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start this node; answer with `Succeeded` or `Failed`.
    Start(NodeId),
    /// Tell the user that this node cannot be built because `cause` failed.
    Skip {
        /// The node that will not be built.
        node: NodeId,
        /// The failed node it depends on, directly or not.
        cause: NodeId,
    },
}

/// The graph as the engine sees it: edges and durations, nothing else.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    dependencies: Vec<Vec<NodeId>>,
    seconds: Vec<Option<f64>>,
}

impl Graph {
    /// Adds a node that depends on nodes added before it, with the duration of its last
    /// build in seconds where one is known.
    ///
    /// # Panics
    /// If a dependency has not been added yet: nodes come in topological order, which also
    /// rules out circles.
    pub fn add(&mut self, dependencies: Vec<NodeId>, seconds: Option<f64>) -> NodeId {
        let id = self.dependencies.len();
        assert!(
            dependencies.iter().all(|&d| d < id),
            "node {id} depends on a later node"
        );
        self.dependencies.push(dependencies);
        self.seconds.push(seconds);
        id
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.dependencies.len()
    }

    /// Whether there is no node at all.
    pub fn is_empty(&self) -> bool {
        self.dependencies.is_empty()
    }

    /// Seconds from the start of each node to the end of the longest chain of nodes above
    /// it. Unknown durations count as the median of the known ones (1 if none is known),
    /// so that without any record the number of dependents in a row decides.
    pub fn remaining_paths(&self) -> Vec<f64> {
        let mut known: Vec<f64> = self.seconds.iter().flatten().copied().collect();
        known.sort_by(f64::total_cmp);
        let median = known.get(known.len() / 2).copied().unwrap_or(1.0);
        let mut longest = vec![0.0_f64; self.len()];
        for id in (0..self.len()).rev() {
            longest[id] += self.seconds[id].unwrap_or(median);
            let through = longest[id];
            for &d in &self.dependencies[id] {
                longest[d] = longest[d].max(through);
            }
        }
        longest
    }
}

/// A queued node; the one with the longest remaining path starts first.
#[derive(PartialEq)]
struct Ready {
    remaining: f64,
    node: NodeId,
}

impl Eq for Ready {}

impl Ord for Ready {
    fn cmp(&self, other: &Self) -> Ordering {
        // Among equals the lower id first: the same events must give the same commands.
        self.remaining
            .total_cmp(&other.remaining)
            .then(other.node.cmp(&self.node))
    }
}

impl PartialOrd for Ready {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The state machine.
pub struct Engine {
    graph: Graph,
    dependents: Vec<Vec<NodeId>>,
    remaining: Vec<f64>,
    states: Vec<State>,
    waiting_for: Vec<usize>,
    ready: BinaryHeap<Ready>,
    slots: usize,
    running: usize,
    keep_going: bool,
    stopped: bool,
}

impl Engine {
    /// An engine over `graph` that runs at most `slots` nodes at a time. Unless
    /// `keep_going`, the first failure acts as a stop.
    pub fn new(graph: Graph, slots: usize, keep_going: bool) -> Self {
        let mut dependents = vec![Vec::new(); graph.len()];
        let mut waiting_for = vec![0; graph.len()];
        for (id, dependencies) in graph.dependencies.iter().enumerate() {
            waiting_for[id] = dependencies.len();
            for &d in dependencies {
                dependents[d].push(id);
            }
        }
        Engine {
            remaining: graph.remaining_paths(),
            states: vec![State::ToBuild; graph.len()],
            dependents,
            waiting_for,
            ready: BinaryHeap::new(),
            slots: slots.max(1),
            running: 0,
            keep_going,
            stopped: false,
            graph,
        }
    }

    /// The state of a node.
    pub fn state(&self, node: NodeId) -> State {
        self.states[node]
    }

    /// Whether nothing runs and nothing can be started any more.
    pub fn is_over(&self) -> bool {
        self.running == 0 && (self.stopped || self.ready.is_empty())
    }

    /// Takes in one event and says what to do next.
    pub fn handle(&mut self, event: Event) -> Vec<Command> {
        let mut commands = Vec::new();
        match event {
            Event::Begin => {
                for node in 0..self.graph.len() {
                    if self.waiting_for[node] == 0 {
                        self.queue(node);
                    }
                }
            }
            Event::Succeeded(node) => {
                self.leave_running(node, State::Usable);
                for i in 0..self.dependents[node].len() {
                    let dependent = self.dependents[node][i];
                    self.waiting_for[dependent] -= 1;
                    if self.waiting_for[dependent] == 0 && self.states[dependent] == State::ToBuild
                    {
                        self.queue(dependent);
                    }
                }
            }
            Event::Failed(node) => {
                self.leave_running(node, State::Failed);
                self.stopped |= !self.keep_going;
                self.skip_dependents(node, &mut commands);
            }
            Event::Stop => self.stopped = true,
        }
        self.fill_slots(&mut commands);
        commands
    }

    fn queue(&mut self, node: NodeId) {
        self.states[node] = State::Queued;
        self.ready.push(Ready {
            remaining: self.remaining[node],
            node,
        });
    }

    fn leave_running(&mut self, node: NodeId, state: State) {
        debug_assert_eq!(self.states[node], State::Running);
        self.states[node] = state;
        self.running -= 1;
    }

    fn skip_dependents(&mut self, cause: NodeId, commands: &mut Vec<Command>) {
        let mut todo = vec![cause];
        while let Some(node) = todo.pop() {
            for &dependent in &self.dependents[node] {
                // Only `ToBuild` is possible here besides an earlier skip: a dependent of
                // something unusable was never queued.
                if self.states[dependent] == State::ToBuild {
                    self.states[dependent] = State::Skipped;
                    commands.push(Command::Skip {
                        node: dependent,
                        cause,
                    });
                    todo.push(dependent);
                }
            }
        }
    }

    fn fill_slots(&mut self, commands: &mut Vec<Command>) {
        while !self.stopped && self.running < self.slots {
            let Some(Ready { node, .. }) = self.ready.pop() else {
                break;
            };
            self.states[node] = State::Running;
            self.running += 1;
            commands.push(Command::Start(node));
        }
    }
}

#[cfg(test)]
mod tests;
