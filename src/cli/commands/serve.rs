//! `mstore serve`

use std::process::ExitCode;

use mstore_store::Store;
use mstore_store::transfer::TransferError;

use crate::cli::Failure;
use crate::cli::args::{self, TrustArgs};
use crate::cli::context::Context;
use crate::project::open::is_store;
use crate::project::receive::receive;
use crate::project::{Access, ProjectError};
use crate::share::LocalPeer;
use crate::share::wire::Wire;

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
    #[command(flatten)]
    trust: TrustArgs,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    if !args.stdio {
        return web(context, &args);
    }
    let config = context.config()?;
    let trust = args::trust(&config, &args.trust)?;
    let store = open(context)?;
    let peer = LocalPeer::new(&store)?;
    let wire = Wire::new(
        "the other end",
        Box::new(std::io::stdin()),
        Box::new(std::io::stdout()),
    )?;
    let served = wire.serve(&peer, &mut |wire, facts, push| {
        receive(&store, wire, facts, &push, &trust).map_err(refused)
    });
    match served {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // It was told already, and is nobody's fault here.
        Err(TransferError::Peer { .. }) => Ok(ExitCode::from(crate::cli::failure::MACHINE)),
        Err(error) => Err(error.into()),
    }
}

/// Tells the other end why its push was not taken.
fn refused(error: ProjectError) -> String {
    let untrusted = matches!(error, ProjectError::Untrusted(_));
    let why = Failure::from(error);
    match untrusted {
        true => format!("{why}; it needs a key that is trusted there, or --trust-unsigned"),
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
    let server = crate::serve::cache::WebServer::bind(&store, &args.listen).map_err(failed)?;
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
