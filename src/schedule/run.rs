//! The driver: turns the engine's commands into work on threads, and what happens into
//! events for the engine and for whoever watches.

use super::engine::{Command, Engine, Event as EngineEvent, Graph, NodeId, State};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often a waiting driver looks whether it was told to stop.
const POLL: Duration = Duration::from_millis(50);

/// Something a watcher may want to show.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The graph is known.
    Planned {
        /// How many nodes it has.
        nodes: usize,
        /// Seconds the stale nodes are likely to take, where earlier builds tell.
        expected: Option<f64>,
    },
    /// A node's build starts.
    Started {
        /// Which node.
        node: NodeId,
        /// Its name.
        name: &'a str,
        /// Seconds its last build took.
        expected: Option<f64>,
    },
    /// A running build printed a line.
    Output {
        /// Which node.
        node: NodeId,
        /// What it printed, without the line break; not cleaned of control characters.
        line: &'a str,
    },
    /// A node is done with.
    Ended {
        /// Which node.
        node: NodeId,
        /// How it ended.
        end: NodeEnd,
    },
    /// A node will not be built.
    Skipped {
        /// Its name.
        name: &'a str,
        /// The name of the failed node it needs.
        cause: &'a str,
    },
}

/// How a node ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeEnd {
    /// It was built.
    Built {
        /// Wall seconds.
        seconds: f64,
        /// Entries of the tree that the build added, changed or removed.
        changed: u64,
    },
    /// The store had its tree.
    Reused,
    /// Its build failed.
    Failed {
        /// Wall seconds.
        seconds: f64,
    },
}

/// Receives events as they happen. Called from the driver's own thread only.
pub trait Observer {
    /// Takes one event.
    fn event(&mut self, event: Event<'_>);
}

/// An observer that looks away.
impl Observer for () {
    fn event(&mut self, _: Event<'_>) {}
}

/// What a successful build reports.
#[derive(Clone, Copy, Debug)]
pub struct Built {
    /// Entries of the tree that changed.
    pub changed: u64,
}

/// Why a node has no tree.
#[derive(Debug)]
pub enum NodeError<F, I> {
    /// The build itself failed.
    Build(F),
    /// The machine or the store failed; says nothing about the build.
    Infrastructure(I),
    /// The build was told to stop.
    Cancelled,
}

/// The nodes of a graph, as things that can be found or built.
pub trait Work: Sync {
    /// What is known of a failed build.
    type Failure: Send;
    /// What is known of a failure of the machine.
    type Infrastructure: Send;

    /// The name of a node.
    fn name(&self, node: NodeId) -> &str;

    /// Seconds that the last build of a node took.
    fn expected(&self, node: NodeId) -> Option<f64>;

    /// Looks whether the store has the node's tree; its inputs are there. Called on the
    /// driver's thread, so it has to be quick.
    fn find(&self, node: NodeId) -> Result<bool, Self::Infrastructure>;

    /// Builds a node whose tree was not found. `output` takes every line it prints.
    fn build(
        &self,
        node: NodeId,
        output: &mut dyn FnMut(&str),
    ) -> Result<Built, NodeError<Self::Failure, Self::Infrastructure>>;
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome<F, I> {
    /// State of each node.
    pub states: Vec<State>,
    /// Nodes that were built, in the order in which they ended.
    pub built: Vec<NodeId>,
    /// Nodes whose tree the store had.
    pub reused: Vec<NodeId>,
    /// Failed builds.
    pub failures: Vec<(NodeId, F)>,
    /// The first failure of the machine, after which nothing more was started.
    pub infrastructure: Option<(NodeId, I)>,
    /// Whether the run was told to stop.
    pub cancelled: bool,
}

enum Message<F, I> {
    Output(NodeId, String),
    Done(NodeId, f64, Result<Built, NodeError<F, I>>),
}

/// Brings every node of `graph` up to date with at most `jobs` builds at a time.
///
/// `cancelled` is looked at often; once it is true nothing more starts, and it is up to
/// [`Work::build`] to end early. Returns when nothing runs any more.
pub fn run<W: Work>(
    graph: Graph,
    work: &W,
    jobs: usize,
    keep_going: bool,
    cancelled: &AtomicBool,
    observer: &mut dyn Observer,
) -> Outcome<W::Failure, W::Infrastructure> {
    let nodes = graph.len();
    let mut outcome = Outcome {
        states: Vec::new(),
        built: Vec::new(),
        reused: Vec::new(),
        failures: Vec::new(),
        infrastructure: None,
        cancelled: false,
    };
    let mut engine = Engine::new(graph, jobs, keep_going);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        let mut events = vec![EngineEvent::Begin];
        loop {
            // Events that the driver makes itself (found in the store) are worked off
            // before it waits for a build.
            while let Some(event) = events.pop() {
                for command in engine.handle(event) {
                    match command {
                        Command::Skip { node, cause } => observer.event(Event::Skipped {
                            name: work.name(node),
                            cause: work.name(cause),
                        }),
                        Command::Start(node) => match work.find(node) {
                            Ok(true) => {
                                outcome.reused.push(node);
                                observer.event(Event::Ended {
                                    node,
                                    end: NodeEnd::Reused,
                                });
                                events.push(EngineEvent::Succeeded(node));
                            }
                            Ok(false) => {
                                observer.event(Event::Started {
                                    node,
                                    name: work.name(node),
                                    expected: work.expected(node),
                                });
                                let sender = sender.clone();
                                scope.spawn(move || build_one(work, node, &sender));
                            }
                            Err(e) => {
                                outcome.infrastructure.get_or_insert((node, e));
                                events.push(EngineEvent::Failed(node));
                                events.push(EngineEvent::Stop);
                            }
                        },
                    }
                }
            }
            if engine.is_over() {
                break;
            }
            match receiver.recv_timeout(POLL) {
                Ok(Message::Output(node, line)) => {
                    observer.event(Event::Output { node, line: &line });
                }
                Ok(Message::Done(node, seconds, result)) => {
                    let (event, end) = match result {
                        Ok(Built { changed }) => {
                            outcome.built.push(node);
                            (
                                EngineEvent::Succeeded(node),
                                NodeEnd::Built { seconds, changed },
                            )
                        }
                        Err(error) => {
                            match error {
                                NodeError::Build(f) => outcome.failures.push((node, f)),
                                NodeError::Infrastructure(e) => {
                                    outcome.infrastructure.get_or_insert((node, e));
                                }
                                NodeError::Cancelled => outcome.cancelled = true,
                            }
                            (EngineEvent::Failed(node), NodeEnd::Failed { seconds })
                        }
                    };
                    events.push(event);
                    // On top of the stack: what a failed node leaves free must stay free.
                    if outcome.infrastructure.is_some() || outcome.cancelled {
                        events.push(EngineEvent::Stop);
                    }
                    observer.event(Event::Ended { node, end });
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Cannot be: `sender` lives as long as this loop.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if cancelled.load(Ordering::Relaxed) && !outcome.cancelled {
                outcome.cancelled = true;
                events.push(EngineEvent::Stop);
            }
        }
    });
    outcome.states = (0..nodes).map(|n| engine.state(n)).collect();
    outcome
}

fn build_one<W: Work>(
    work: &W,
    node: NodeId,
    sender: &mpsc::Sender<Message<W::Failure, W::Infrastructure>>,
) {
    let started = Instant::now();
    // Sending fails only when the driver is gone, and then nobody is left to tell.
    let result = work.build(node, &mut |line| {
        let _ = sender.send(Message::Output(node, line.to_owned()));
    });
    let _ = sender.send(Message::Done(node, started.elapsed().as_secs_f64(), result));
}

#[cfg(test)]
mod tests;
