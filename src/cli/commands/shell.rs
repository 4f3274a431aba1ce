//! `mstore shell`

use std::process::ExitCode;

use mstore_store::{Store, TreeHash};

use crate::build::cancel::CancelToken;
use crate::build::failed::FailedRoot;
use crate::build::sandbox::{Job, Sandbox, Status};
use crate::build::step::Prepared;
use crate::build::{environment, host};
use crate::cli::Failure;
use crate::cli::args::node_name;
use crate::cli::context::Context;
use crate::drv::derivation::DEFAULT_EPOCH;
use crate::plan::{Pins, Staleness};
use crate::project::Access;
use crate::project::find;

/// Open a shell in a root file system
#[derive(clap::Args)]
pub struct Args {
    /// A target, one of its steps as TARGET:STEP, or the hash of a tree or its beginning
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
        return enter_tree(&store, tree, &host::machine(), &args.command);
    }
    let project = context.project(Access::Change)?;
    let name = node_name(&args.target)?;
    let (name, step) = (name.target(), name.step());
    let graph = project.graph(&[name.to_owned()], Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    let Some(target) = graph.requested().next() else {
        return Err(Failure::usage(format!("`{name}` names no target")));
    };
    if let Some(step) = step
        && graph.step_of(target, step).is_none()
    {
        let all: Vec<&str> = graph.steps_of(target).collect();
        return Err(Failure::usage(format!("{name} has no step `{step}`"))
            .hint(format!("its steps are: {}", all.join(" "))));
    }
    let scratch = project.store.scratch("shell")?;
    let work = scratch.path().join("work");
    std::fs::create_dir(&work)
        .map_err(|e| Failure::machine(format!("cannot make {}: {e}", work.display())))?;
    let sandbox = Sandbox::new();
    let cancel = CancelToken::new()
        .map_err(|e| Failure::machine(format!("cannot make a cancel token: {e}")))?;

    // A failed root first: that is what one wants to look at.
    for &node in target.nodes.iter().filter(|_| !args.finished) {
        // Once the step is built, or found to be built, its failure is history.
        if staleness.state(node).tree().is_some() {
            continue;
        }
        let node = &graph.nodes()[node];
        if step.is_some_and(|s| s != node.name.step()) {
            continue;
        }
        let Some(failed) = FailedRoot::find(&project.store, node.full_name.as_str())? else {
            continue;
        };
        tell!(
            "this is the root file system of {} as its failed build left it; changes are not kept",
            node.name
        );
        let prepared = Prepared::new(&project.store, node.full_name.as_str(), &failed.step)?;
        let mut job = prepared.job(&failed.step, None, &work, 1);
        job.layers.insert(0, failed.upper);
        return enter(&sandbox, &job, &args.command, &cancel);
    }
    let tree: Option<TreeHash> = match step {
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
    enter_tree(&project.store, tree, &target.platform, &args.command)
}

/// Enters a tree as it is.
fn enter_tree(
    store: &Store,
    tree: TreeHash,
    platform: &str,
    command: &[String],
) -> Result<ExitCode, Failure> {
    let scratch = store.scratch("shell")?;
    let work = scratch.path().join("work");
    std::fs::create_dir(&work)
        .map_err(|e| Failure::machine(format!("cannot make {}: {e}", work.display())))?;
    let checkout = store.checkout(tree)?;
    let job = Job {
        layers: checkout.layers().to_vec(),
        upper: None,
        scratch: work,
        binds: Vec::new(),
        script: Vec::new(),
        env: environment(DEFAULT_EPOCH, 1),
        platform: platform.to_owned(),
        tmp_on_root: false,
        timeout: None,
    };
    let cancel = CancelToken::new()
        .map_err(|e| Failure::machine(format!("cannot make a cancel token: {e}")))?;
    enter(&Sandbox::new(), &job, command, &cancel)
}

fn enter(
    sandbox: &Sandbox,
    job: &Job,
    command: &[String],
    cancel: &CancelToken,
) -> Result<ExitCode, Failure> {
    let finished = sandbox
        .shell(job, command, cancel)
        .map_err(Failure::machine)?;
    Ok(match finished.status {
        Status::Exited(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Status::Signalled(signal) => ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)),
        Status::TimedOut | Status::Cancelled => ExitCode::from(crate::cli::failure::INTERRUPTED),
    })
}
