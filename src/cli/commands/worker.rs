//! `mstore worker`

use std::fs::File;
use std::os::fd::AsFd;
use std::process::ExitCode;

use crate::build::memory;
use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::report::processors;
use crate::drv::StoreFacts;
use crate::farm::Worker;
use crate::project::Access;

/// Build for a scheduler on another machine
#[derive(clap::Args)]
pub struct Args {
    /// Speak with it over stdin and stdout, as over ssh
    #[arg(long, required = true)]
    stdio: bool,
}

/// Runs the command.
pub fn run(context: &Context, _: Args) -> Result<ExitCode, Failure> {
    // Must come before the first thread. The scheduler is told that it failed.
    let entered = context.enter();
    let own_mounts = entered.is_ok() && memory::own_mounts().is_ok();
    let store = context.store(Access::Change)?;
    let facts = StoreFacts::new(store.clone());
    let cancel = context.cancel()?;
    let worker = Worker {
        store: &store,
        facts: &facts,
        processors: processors(),
        program: env!("CARGO_PKG_VERSION"),
        own_mounts,
        obstacle: entered.err().map(|error| error.to_string()),
        cancel,
    };
    let pipe = |fd: std::io::Result<std::os::fd::OwnedFd>| {
        fd.map(File::from)
            .map_err(|e| Failure::machine(format!("cannot use stdin and stdout: {e}")))
    };
    // The library's own stdin reads ahead, which who waits for the descriptor does not see.
    let input = pipe(std::io::stdin().as_fd().try_clone_to_owned())?;
    let output = pipe(std::io::stdout().as_fd().try_clone_to_owned())?;
    worker.serve(input, output).map_err(Failure::machine)?;
    Ok(ExitCode::SUCCESS)
}
