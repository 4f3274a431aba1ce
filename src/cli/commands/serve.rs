//! `mstore serve`

use std::fs::File;
use std::num::NonZeroU32;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;

use mstore_store::Store;
use mstore_store::transfer::{Fact, Progress, TransferError};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags};

use crate::cli::Failure;
use crate::cli::args::{self, TrustArgs};
use crate::cli::context::Context;
use crate::project::open::is_store;
use crate::project::receive::{believe, receive};
use crate::project::{Access, ProjectError};
use crate::share::pipes::{Listening, Speaking, Stops};
use crate::share::wire::{Push, Receiver, Wire};
use crate::share::{LocalPeer, Trust};

/// Let others copy from this store
#[derive(clap::Args)]
pub struct Args {
    /// Address and port to listen at; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8787")]
    listen: String,
    /// Speak with one other mstore over stdin and stdout, as over ssh; it may also copy to this store
    #[arg(long, conflicts_with = "listen")]
    stdio: bool,
    /// Print one line of JSON when it listens, and one when it ends
    #[arg(long, conflicts_with = "stdio")]
    json: bool,
    /// With --stdio: let the other end copy from this store only
    #[arg(long, requires = "stdio")]
    read_only: bool,
    /// With --stdio: believe what the other end says of targets, signed or not
    #[arg(long, requires = "stdio", conflicts_with = "read_only")]
    trust_unsigned: bool,
    /// With --stdio: end when this process does
    #[arg(long, requires = "stdio", value_name = "PROCESS", hide = true)]
    beside: Option<NonZeroU32>,
    /// Also serve this folder of binary packages, which `export --binhost` wrote, as /binhost
    #[arg(long, value_name = "DIR", conflicts_with = "stdio")]
    binhost: Option<PathBuf>,
    #[command(flatten)]
    trust: TrustArgs,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    if !args.stdio {
        return web(context, &args);
    }
    let config = context.config()?;
    let trust = match args.trust_unsigned {
        true => Trust::blind(),
        false => args::trust(&config, &args.trust)?,
    };
    let store = match args.read_only {
        true => context.store(Access::Read)?,
        false => open(context)?,
    };
    let peer = LocalPeer::new(&store);
    let wire = greet(args.beside)?;
    let end = End {
        store: &store,
        trust: &trust,
        read_only: args.read_only,
    };
    let served = wire.serve(&peer, &end);
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // It was told already, and is nobody's fault here.
        Err(TransferError::Peer { .. }) => Ok(ExitCode::from(crate::cli::failure::MACHINE)),
        Err(error) => Err(error.into()),
    }
}

/// What the other end is called.
const OTHER: &str = "the other end";

/// Greets the other end. Where a process is named both pipes end with it: a connection that is cut somewhere looks like one on which
/// nothing is said, and only the worker that this serves beside knows the difference.
fn greet(beside: Option<NonZeroU32>) -> Result<Wire, Failure> {
    let Some(process) = beside else {
        let (input, output) = (std::io::stdin(), std::io::stdout());
        return Ok(Wire::new(OTHER, Box::new(input), Box::new(output))?);
    };
    let failed =
        |e: std::io::Error| Failure::machine(format!("cannot watch process {process}: {e}"));
    let process_id = i32::try_from(process.get()).ok().and_then(Pid::from_raw);
    let process_id = process_id.ok_or_else(|| failed(Errno::SRCH.into()))?;
    let stops = Stops::default();
    match rustix::process::pidfd_open(process_id, PidfdFlags::empty()) {
        Ok(watched) => stops.add(watched),
        // A kernel before 5.3.
        Err(Errno::NOSYS) => {}
        Err(error) => return Err(failed(error.into())),
    }
    // The library's own stdin reads ahead, which who waits for the descriptor does not see.
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let output = std::io::stdout().as_fd().try_clone_to_owned();
    let input = Listening {
        pipe: File::from(input.map_err(failed)?),
        patience: None,
        until: None,
        stops: stops.clone(),
    };
    let output = Speaking {
        pipe: File::from(output.map_err(failed)?),
        patience: None,
        stops,
    };
    Ok(Wire::new(OTHER, Box::new(input), Box::new(output))?)
}

/// This end of a connection, for what the other one sends.
struct End<'a> {
    store: &'a Store,
    trust: &'a Trust,
    read_only: bool,
}

impl Receiver for End<'_> {
    fn believe(&self, fact: Fact) -> Result<Fact, String> {
        self.may_write()?;
        believe(fact, self.trust).map_err(refused)
    }

    fn receive(&self, wire: &Wire, facts: Vec<Fact>, push: Push) -> Result<Progress, String> {
        self.may_write()?;
        receive(self.store, wire, facts, &push).map_err(refused)
    }
}

impl End<'_> {
    fn may_write(&self) -> Result<(), String> {
        match self.read_only {
            true => Err("nothing can be copied to it: it is served with --read-only".to_owned()),
            false => Ok(()),
        }
    }
}

/// Tells the other end why its push was not taken.
fn refused(error: ProjectError) -> String {
    let untrusted = matches!(error, ProjectError::Untrusted(_));
    let why = Failure::from(error);
    match untrusted {
        true => format!(
            "{why}; it needs a key that is trusted there, or a `serve --stdio` there that was started with --trust-unsigned"
        ),
        false => why.to_string(),
    }
}

#[cfg(not(feature = "http"))]
fn web(_: &Context, _: &Args) -> Result<ExitCode, Failure> {
    Err(Failure::usage(
        "this mstore was built without the feature `http`",
    ))
}

/// Serves the store as a cache, read-only, until it is told to stop.
#[cfg(feature = "http")]
fn web(context: &Context, args: &Args) -> Result<ExitCode, Failure> {
    use std::sync::atomic::Ordering;

    use crate::cli::output;

    let store = context.store(Access::Read)?;
    let cancel = context.cancel()?;
    let failed =
        |e: std::io::Error| Failure::machine(format!("cannot listen at {}: {e}", args.listen));
    let packages = args.binhost.as_deref().map(|folder| {
        crate::serve::folder::Folder::open(folder).map_err(|e| {
            Failure::usage(format!("cannot serve {}: {e}", folder.display()))
                .hint("mstore export --binhost DIR TARGET makes such a folder")
        })
    });
    let packages = packages.transpose()?;
    let server =
        crate::serve::cache::WebServer::bind(&store, &args.listen, packages).map_err(failed)?;
    let address = server.address().map_err(failed)?;
    if args.json {
        output::json(&serde_json::json!({
            "listening": address.to_string(),
            "url": format!("http://{address}"),
            "store": store.path().display().to_string(),
        }))?;
    } else {
        tell!(
            "serving {} at http://{address}; Ctrl-C ends it",
            store.path().display()
        );
    }
    server.run(cancel).map_err(failed)?;
    let counters = server.counters();
    let get = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let (connections, requests, bytes) = (
        get(&counters.connections),
        get(&counters.requests),
        get(&counters.bytes),
    );
    if args.json {
        output::json(&serde_json::json!({
            "connections": connections,
            "requests": requests,
            "bytes": bytes,
        }))?;
    } else {
        tell!("answered {requests} requests, {}", output::size(bytes));
    }
    Ok(ExitCode::SUCCESS)
}

/// A store that may be written is, and is made if it is absent.
fn open(context: &Context) -> Result<Store, Failure> {
    let path = context.store_path()?;
    if is_store(&path) {
        context.store(Access::Read)
    } else {
        context.store(Access::Change)
    }
}
