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

/// Build for a scheduler on another machine, or for an engine
#[derive(clap::Args)]
pub struct Args {
    /// Speak with a scheduler over stdin and stdout, as over ssh
    #[arg(long, required_unless_present = "bots")]
    stdio: bool,
    /// Take jobs from an engine with the Remote Workers interface, such as BuildGrid: reapi://HOST:PORT/INSTANCE, or reapis://
    /// over TLS. SIGTERM lets it finish what it does; a second one ends that at once
    #[arg(long, value_name = "URL", conflicts_with = "stdio")]
    bots: Option<String>,
    /// Take N jobs at a time
    #[arg(long, short, value_name = "N", requires = "bots", default_value = "1")]
    jobs: std::num::NonZeroU16,
    /// Call this worker NAME; of two with one name, the engine knows the newer one [default: the name of this machine]
    #[arg(long, value_name = "NAME", requires = "bots")]
    name: Option<String>,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.bots {
        None => stdio(context),
        Some(url) => bots(context, &url, args.jobs.get().into(), args.name),
    }
}

fn stdio(context: &Context) -> Result<ExitCode, Failure> {
    let sees_all = rustix::process::geteuid().is_root();
    // Must come before the first thread. The scheduler is told that it failed.
    let entered = context.enter();
    let own_mounts = entered.is_ok() && memory::own_mounts().is_ok();
    let store = context.store(Access::Change)?;
    // What earlier runs wrote out; what this one needs stays while it goes on.
    let _ = store.trim(context.config()?.gc.written_out, sees_all);
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

#[cfg(not(feature = "reapi"))]
fn bots(_: &Context, _: &str, _: usize, _: Option<String>) -> Result<ExitCode, Failure> {
    Err(
        Failure::usage("this mstore was built without engines of remote execution")
            .hint("build it with the feature `reapi`"),
    )
}

#[cfg(feature = "reapi")]
fn bots(
    context: &Context,
    url: &str,
    jobs: usize,
    name: Option<String>,
) -> Result<ExitCode, Failure> {
    use crate::cli::engine;
    use crate::farm::bots::{Bots, Leaving, told};
    use crate::schedule::reapi::trouble::Trouble;
    use crate::worker::needs;

    let config = context.config()?;
    let settings = engine::settings(&config, url)?;
    let sees_all = rustix::process::geteuid().is_root();
    // Must come before the first thread.
    let entered = context.enter();
    let store = context.store(Access::Change)?;
    {
        // Better now than with every job.
        let scratch = store.scratch("check")?;
        needs::sandbox(&entered, scratch.path()).map_err(Failure::machine)?;
    }
    let leaving = Leaving::default();
    watch(leaving.clone())?;
    let host = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let name = name.unwrap_or(host);
    let worker = Bots {
        settings,
        program: env!("CARGO_PKG_VERSION"),
        store: &store,
        name: &name,
        jobs,
        processors: processors(),
        memory: None,
        written_out: (config.gc.written_out, sees_all),
        leaving,
        tell: &|session, news| tell!("{session}: {news}"),
    };
    match worker.run() {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(trouble) => {
            let failure = Failure::machine(told(&trouble));
            Err(match trouble {
                Trouble::Setup { remedy, .. } => failure.hint(remedy),
                _ => failure,
            })
        }
    }
}

/// The first signal lets the worker finish what it does, the second one has it give that back, the third one ends this
/// process.
#[cfg(feature = "reapi")]
fn watch(leaving: crate::farm::bots::Leaving) -> Result<(), Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let failed = |e: std::io::Error| Failure::machine(format!("cannot handle signals: {e}"));
    let mut signals =
        signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let heed = move || {
        for _ in signals.forever() {
            if leaving.kill.is_cancelled() {
                signal_hook::low_level::exit(crate::cli::failure::INTERRUPTED.into());
            }
            if leaving.finish.is_cancelled() {
                leaving.kill.cancel();
            }
            leaving.finish.cancel();
        }
    };
    std::thread::Builder::new()
        .name("mstore-signals".into())
        .spawn(heed)
        .map_err(failed)?;
    Ok(())
}
