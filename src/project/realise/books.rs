//! Locks and logs of a run, in dpb's forms.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use mstore_store::Store;

use super::Work;
use crate::build::failed;
use crate::dpb::Desk;
use crate::dpb::desk::Sizes;
use crate::dpb::folder::Log;
use crate::drv::StepName;
use crate::plan::{Distribution, Graph, NodeId, Pins, TargetId};
use crate::project::Project;
use crate::schedule::engine::Patience;
use crate::schedule::ledger::{Ledger, LedgerError, Lock, Look, PathEvent};
use crate::share::Substitute;

/// Seconds of a task of a path, as an earlier log tells.
pub type Seconds = dyn Fn(&str, &str) -> Option<f64> + Send + Sync;
/// Opens the specifications again, or says why that cannot be done.
pub type Reopen = dyn Fn() -> Result<Distribution, String>;

/// Locks and logs of a run, which may have several rounds.
pub struct Books {
    /// Holds the locks and writes the logs.
    pub desk: RefCell<Desk>,
    /// What to wait for when nothing else is left to do.
    pub patience: Patience,
    /// Whether to remove what is left of failed builds before what is built.
    pub clean: bool,
    /// Whether to write down how large work folders are.
    pub writes_sizes: bool,
    /// KiB of the work folders of paths, where the store does not know.
    pub sizes: HashMap<String, u64>,
    /// Paths that are listed first.
    pub first: Vec<String>,
    /// What earlier logs tell of durations.
    pub seconds: Box<Seconds>,
    /// Opens the specifications again.
    pub reopen: Box<Reopen>,
    /// What went wrong when descriptions were read again.
    pub unread: RefCell<Vec<String>>,
}

impl Books {
    /// Seconds that a step is likely to take.
    pub(super) fn seconds(&self, name: &StepName) -> Option<f64> {
        (self.seconds)(name.target(), name.step())
    }

    /// Tells the store how large a step's work folder is, where only a file of the user says.
    pub(super) fn learn_size(&self, store: &Store, name: &StepName, full: &str) {
        if let Some(kib) = self.sizes.get(name.target())
            && let Ok(None) = store.work_size(full)
        {
            // Only where it is built depends on it.
            let _ = store.note_work_size(full, kib.saturating_mul(1024));
        }
    }

    /// Tells of the targets that are there already, and cleans up for the others.
    pub(super) fn begin(&self, project: &Project, work: &Work<'_>) -> Result<(), LedgerError> {
        let mut desk = self.desk.borrow_mut();
        let graph = work.staleness.graph();
        let todo = work.todo.build.iter().chain(&work.todo.maybe);
        let todo: HashSet<NodeId> = todo.copied().collect();
        let to_do = |node: &NodeId| todo.contains(node);
        let nodes = graph.nodes();
        if self.writes_sizes {
            let full = todo.iter().map(|node| {
                let node = &nodes[*node];
                (
                    node.name.as_str().to_owned(),
                    node.full_name.as_str().to_owned(),
                )
            });
            desk.write_sizes(sizer(&project.store, full.collect()));
        }
        for node in &todo {
            self.learn_size(
                &project.store,
                &nodes[*node].name,
                nodes[*node].full_name.as_str(),
            );
        }
        tell_needs(&mut desk, graph);
        if work.todo.is_empty() {
            // No run tells that all is listed.
            desk.write_needed(&[])?;
        }
        for target in graph.targets() {
            let path = graph.nodes()[target.last].name.target();
            if !target.nodes.iter().any(to_do) && target.is_whole() {
                desk.known(path)?;
            } else if self.clean {
                for node in target.nodes.iter().filter(|node| to_do(node)) {
                    let name = &graph.nodes()[*node].full_name;
                    if failed::forget(&project.store, name.as_str()).is_err() {
                        desk.unclean(path)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a step is still described as it was. What cannot be read counts as that, and is told of later.
    pub(super) fn is_unchanged(
        &self,
        project: &Project,
        graph: &Graph,
        at: NodeId,
        facts: &Substitute<'_>,
    ) -> bool {
        let node = &graph.nodes()[at];
        let read = || -> Result<bool, String> {
            let distribution = (self.reopen)()?;
            distribution.give_store(&project.store);
            let target = [TargetId::clone(&node.target)];
            let recipes = distribution.recipes(&target, &project.lock);
            let recipes = recipes.map_err(|error| error.to_string())?;
            let again = Graph::build(&recipes, &project.lock, &facts, Pins::Required);
            let again = again.map_err(|error| error.to_string())?;
            let found = again.find(node.full_name.as_str());
            Ok(found.is_some_and(|found| again.nodes()[found].hash == node.hash))
        };
        read().unwrap_or_else(|error| {
            let line = format!("{}: {error}", node.name.target());
            self.unread.borrow_mut().push(line);
            true
        })
    }
}

/// Tells sizes of work folders from a store; `full` are the names under which it knows tasks, by those that people
/// know.
pub(super) fn sizer(store: &Store, full: HashMap<String, String>) -> Box<Sizes> {
    let store = store.clone();
    Box::new(move |path, task| {
        let name = format!("{path}:{task}");
        let name = full.get(&name).unwrap_or(&name);
        store.work_size(name).ok().flatten()
    })
}

/// Tells what needs what over a whole graph, also of what is there already.
fn tell_needs(desk: &mut Desk, graph: &Graph) {
    let nodes = graph.nodes();
    // Of each path those that need it, and the first of them.
    let mut needed: BTreeMap<&str, (Option<&str>, HashSet<&str>)> = BTreeMap::new();
    let steps = nodes.iter().map(|(_, node)| node);
    for node in steps.filter(|node| !node.name.is_fetch()) {
        let path = node.name.target();
        for need in node.run_after() {
            let need = &nodes[need].name;
            if !need.is_fetch() && need.target() != path {
                let (first, above) = needed.entry(need.target()).or_default();
                first.get_or_insert(path);
                above.insert(path);
            }
        }
    }
    let asked = graph.targets().iter().filter(|target| target.requested);
    let asked: HashSet<&str> = asked
        .map(|target| nodes[target.last].name.target())
        .collect();
    for (path, (first, _)) in &needed {
        if let Some(parent) = first.filter(|_| !asked.contains(path)) {
            desk.found_through(path, parent);
        }
    }
    let counts = needed.iter();
    let counts = counts.map(|(path, (_, above))| ((*path).to_owned(), above.len()));
    desk.counted(counts.collect());
}

/// Something that a walk over ports found.
pub(super) enum Found {
    /// The folder that it looked into.
    Folder(String),
    /// A port of which nothing is to be built.
    Known(String),
    /// A port that is not built, why, and the other one because of which that is so.
    Ignored(String, String, Option<String>),
    /// A port that was not asked for, and that through which it was found.
    Parent(String, String),
    /// All is walked over: how often each port is needed.
    Counts(Vec<(String, usize)>),
}

/// A desk that is also told what a walk finds, which goes on beside the run.
pub(super) struct Telling<'a> {
    /// The desk.
    pub desk: &'a mut Desk,
    /// What was found and is not told yet.
    pub found: &'a Mutex<Vec<Found>>,
}

impl Telling<'_> {
    /// Tells what was found.
    pub fn tell(&mut self) -> Result<(), LedgerError> {
        let found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        for found in found {
            match found {
                Found::Folder(folder) => self.desk.line(Log::Vars, &folder)?,
                Found::Known(path) => self.desk.known(&path)?,
                Found::Parent(path, parent) => self.desk.found_through(&path, &parent),
                Found::Counts(counts) => self.desk.counted(counts),
                Found::Ignored(path, _, Some(other)) => self.desk.ignored_because(&path, &other)?,
                Found::Ignored(path, why, None) => {
                    self.desk.ignored(&path, &why)?;
                    self.desk.line(Log::Vars, &format!("{path}: {why}"))?;
                }
            }
        }
        Ok(())
    }
}

impl Ledger for Telling<'_> {
    fn take(&mut self, path: &str) -> Result<Lock, LedgerError> {
        self.tell()?;
        self.desk.take(path)
    }

    fn event(&mut self, event: PathEvent<'_>) -> Result<(), LedgerError> {
        if let PathEvent::AllListed(_) = event {
            // With what the walk counted.
            self.tell()?;
        }
        self.desk.event(event)
    }

    fn look(&mut self, ended: bool, hosts: &[&str]) -> Result<Option<Look>, LedgerError> {
        self.tell()?;
        self.desk.look(ended, hosts)
    }
}
