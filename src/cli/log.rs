//! `mstore log`

use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

use super::place::{Place, Session};
use super::show::split;
use super::{Failure, output};
use crate::build::step_log;
use crate::plan::Pins;

/// Print build logs
#[derive(clap::Args)]
pub struct Args {
    /// A target, or one of its steps as TARGET:STEP
    #[arg(value_name = "TARGET")]
    target: String,
    /// Only name the files
    #[arg(long)]
    path: bool,
}

/// Runs the command: the newest log of each step, in the order of the steps.
pub fn run(place: &Place, args: Args) -> Result<ExitCode, Failure> {
    let session = Session::open(place)?;
    let (target, step) = split(&args.target);
    let graph = session.graph(&[target.to_owned()], Pins::Optional)?;
    let mut shown = 0;
    for target in graph.requested() {
        for &node in &target.nodes {
            let node = &graph.nodes()[node];
            if step.is_some_and(|s| s != node.step) {
                continue;
            }
            let Some(path) = step_log::newest(&session.store, &node.full_name)? else {
                continue;
            };
            shown += 1;
            if args.path {
                output::line(path.display())?;
                continue;
            }
            let io = |e| Failure::machine(format!("cannot read {}: {e}", path.display()));
            output::line(format!("==== {} ({})", node.name, path.display()))?;
            let mut file = File::open(&path).map_err(io)?;
            let mut buffer = vec![0; 64 << 10];
            loop {
                match file.read(&mut buffer).map_err(io)? {
                    0 => break,
                    n => output::bytes(&buffer[..n])?,
                }
            }
        }
    }
    if shown == 0 {
        return Err(Failure::usage(format!(
            "{} has no log: it was never built here",
            args.target
        ))
        .hint(format!("build it first: mstore realise {target}")));
    }
    Ok(ExitCode::SUCCESS)
}
