//! `mstore shell`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use mstore_store::{ScratchDir, Store, TreeHash};

use crate::build::cancel::CancelToken;
use crate::build::failed::FailedRoot;
use crate::build::processors::{Processors, Share};
use crate::build::sandbox::{Bind, Job, Sandbox, Status};
use crate::build::step::Prepared;
use crate::build::{environment, host};
use crate::cli::Failure;
use crate::cli::args::node_name;
use crate::cli::context::Context;
use crate::cli::failure::INTERRUPTED;
use crate::cli::report::processors;
use crate::drv::Role;
use crate::drv::derivation::{DEFAULT_EPOCH, Derivation, InputSource};
use crate::plan::{Graph, Node, Pins, Staleness, Target};
use crate::project::step::no_such_step;
use crate::project::{Access, FindError, find};

/// Open a shell in a root file system
#[derive(clap::Args)]
pub struct Args {
    /// A target, one of its steps as TARGET:STEP, one of its packages as TARGET:CATEGORY/NAME[:SLOT], seed/NAME, or the hash of a tree or its beginning
    #[arg(value_name = "TARGET")]
    target: String,
    /// Enter the finished root file system even if the last build failed
    #[arg(long)]
    finished: bool,
    /// Command to run in place of a shell
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Runs the command. What is changed inside is lost.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    context.enter()?;
    if find::is_prefix(&args.target) {
        let store = context.store(Access::Read)?;
        let tree = context.tree(&store, &args.target)?.tree;
        return enter_tree(&store, tree, &host::machine(), None, &args.command);
    }
    let project = context.project(Access::Change)?;
    if let Some(found) = project.pinned_tree(&args.target)? {
        let (tree, machine) = (found.tree, host::machine());
        return enter_tree(&project.store, tree, &machine, None, &args.command);
    }
    let name = node_name(&args.target)?;
    let (name, step) = (name.target(), name.step());
    let graph = project.graph(&[name.to_owned()], Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    let no_target = || FindError::NoTarget {
        name: name.to_owned(),
    };
    let target = graph.requested().next().ok_or_else(no_target)?;
    if let Some(step) = step
        && graph.step_of(target, step).is_none()
    {
        return Err(no_such_step(&graph, target, step).into());
    }
    // A failed root first: that is what one wants to look at.
    if !args.finished {
        for &node in &target.nodes {
            let wanted = step.is_none_or(|s| graph.step_of(target, s) == Some(node));
            // Once the step is built, or found to be built, its failure is history.
            if !wanted || staleness.state(node).tree().is_some() {
                continue;
            }
            if let Some(code) = enter_failed(&project.store, &graph.nodes()[node], &args.command)? {
                return Ok(code);
            }
        }
    }
    let tree: Option<TreeHash> = match step {
        // A subpackage is no root: what the last step left is.
        None if target.id.is_port() => staleness.state(target.last).tree(),
        None => staleness.target_tree(target, &project.facts)?,
        Some(step) => graph
            .step_of(target, step)
            .and_then(|id| staleness.state(id).tree()),
    };
    let Some(tree) = tree else {
        return Err(Failure::usage(format!("{} is not built", args.target))
            .hint(format!("build it first: mstore realise {name}")));
    };
    host::runs(&target.platform).map_err(Failure::machine)?;
    let view = view(&graph, target, step);
    enter_tree(&project.store, tree, &target.platform, view, &args.command)
}

/// What a shell in a finished root sees besides it.
struct View<'a> {
    /// A step whose environment and time the shell has.
    step: &'a Derivation,
    /// Snapshots and the places where they are shown.
    snapshots: Vec<(&'a str, TreeHash)>,
}

/// The view of the step that is named, or that of the target's steps together: each snapshot that one of
/// them reads, whole although each may read parts of it.
fn view<'a>(graph: &'a Graph, target: &Target, step: Option<&str>) -> Option<View<'a>> {
    if let Some(step) = step {
        let step = &graph.nodes()[graph.step_of(target, step)?].derivation;
        let snapshots = snapshots(step).collect();
        return Some(View { step, snapshots });
    }
    let steps = target.nodes.iter().rev();
    let mut steps = steps.map(|&node| &graph.nodes()[node].derivation);
    let mut all = BTreeMap::new();
    for (at, part) in steps.clone().flat_map(snapshots) {
        all.entry(at)
            .or_insert_with(|| graph.whole(part).unwrap_or(part));
    }
    // One that reads a snapshot has its time.
    let step = steps
        .clone()
        .find(|step| snapshots(step).next().is_some())
        .or_else(|| steps.next())?;
    Some(View {
        step,
        snapshots: all.into_iter().collect(),
    })
}

/// Where a step sees snapshots, and which trees these are.
fn snapshots(step: &Derivation) -> impl Iterator<Item = (&str, TreeHash)> {
    let inputs = step.inputs.iter();
    inputs.filter_map(|input| match (input.role, &input.source) {
        (Role::Snapshot, InputSource::Tree(tree)) => Some((input.at.as_str(), *tree)),
        _ => None,
    })
}

/// A folder for the changes that are thrown away.
fn work_folder(store: &Store) -> Result<(ScratchDir, PathBuf), Failure> {
    let scratch = store.scratch("shell")?;
    let work = scratch.path().join("work");
    std::fs::create_dir(&work)
        .map_err(|e| Failure::machine(format!("cannot make {}: {e}", work.display())))?;
    Ok((scratch, work))
}

/// Enters the root file system that the failed build of a step left behind; `None` where there is none.
fn enter_failed(
    store: &Store,
    node: &Node,
    command: &[String],
) -> Result<Option<ExitCode>, Failure> {
    let name = node.full_name.as_str();
    let Some(failed) = FailedRoot::find(store, name)? else {
        return Ok(None);
    };
    tell!(
        "this is the root file system of {} as its failed build left it; changes are not kept",
        node.name
    );
    let (_scratch, work) = work_folder(store)?;
    let share = all_processors();
    let prepared = Prepared::new(store, name, &failed.step)?;
    let mut job = prepared.job(&failed.step, None, &work, &share);
    job.layers.insert(0, failed.upper);
    enter(&job, command).map(Some)
}

/// What a step gets that is built alone.
fn all_processors() -> Share {
    Processors::new(processors()).join(1, 0)
}

/// Enters a tree, with the snapshots and environment of `view`.
fn enter_tree(
    store: &Store,
    tree: TreeHash,
    platform: &str,
    view: Option<View<'_>>,
    command: &[String],
) -> Result<ExitCode, Failure> {
    if command.is_empty() {
        tell!("changes made in this shell are not kept");
    }
    let (scratch, work) = work_folder(store)?;
    let share = all_processors();
    let checkout = store.checkout(tree)?;
    let upper = scratch.path().join("upper");
    store.prepare_upper(tree, &upper)?;
    let mut job = Job {
        layers: checkout.layers().to_vec(),
        upper: Some(upper),
        scratch: work,
        binds: Vec::new(),
        script: Vec::new(),
        env: environment(&BTreeMap::new(), DEFAULT_EPOCH, share.jobs()),
        platform: platform.to_owned(),
        tmp_on_root: false,
        timeout: None,
        silence: None,
        most_output: None,
        bounds: Default::default(),
        fewer_processors: false,
        jobserver: Some(share.jobserver()),
    };
    // Held while the shell runs, since the binds point into them.
    let mut shown = Vec::new();
    if let Some(View { step, snapshots }) = view {
        job.env = environment(&step.env.0, step.epoch, share.jobs());
        for (at, tree) in snapshots {
            let checkout = match store.checkout(tree) {
                Ok(checkout) => checkout,
                Err(error) => {
                    tell!("the snapshot {tree} is not shown at {at}: {error}");
                    continue;
                }
            };
            job.binds.extend(checkout.layers().iter().map(|layer| Bind {
                source: layer.clone(),
                target: at.into(),
                writable: false,
            }));
            shown.push(checkout);
        }
    }
    enter(&job, command)
}

fn enter(job: &Job, command: &[String]) -> Result<ExitCode, Failure> {
    // Ctrl-C is the shell's.
    let cancel = CancelToken::new()
        .map_err(|e| Failure::machine(format!("cannot make a cancel token: {e}")))?;
    let finished = Sandbox::new()
        .shell(job, command, &cancel)
        .map_err(Failure::machine)?;
    Ok(match finished.status {
        Status::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Status::Signalled(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
        Status::TimedOut
        | Status::Silent { .. }
        | Status::TooMuchOutput { .. }
        | Status::TooMuch(_)
        | Status::Cancelled => ExitCode::from(INTERRUPTED),
    })
}
