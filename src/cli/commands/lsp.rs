//! `mstore lsp`: the thin outside of the language server. What it knows is in `mstore_lang::ide`.

mod convert;
mod host;
mod params;
mod server;
#[cfg(test)]
mod tests;
mod uri;
mod wire;

use std::io::{BufReader, BufWriter, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

use crate::cli::context::{Context, current_dir};
use crate::cli::{Failure, definitions};
use mstore_lang::ide::Options;
use server::Server;
use wire::Incoming;

/// Serve an editor: the language server protocol over stdin and stdout
///
/// Each document is looked at as part of the nearest metro.conf above it, under the definitions
/// of a target that has it, unless these are given here or in the initialization options `entry`
/// and `definitions`.
#[derive(clap::Args)]
pub struct Args {
    /// Definitions to load the entry file with: NAME=VALUE or 'NAME: VALUE'
    #[arg(value_name = "NAME: VALUE")]
    definitions: Vec<String>,
    /// Accepted since some editors give it: there is no other way to talk
    #[arg(long, hide = true)]
    stdio: bool,
}

/// Serves until the editor says `exit` or closes stdin.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let mut given = context.definitions().to_vec();
    given.extend(definitions::parse(&args.definitions)?);
    let cwd = current_dir()?;
    let options = Options {
        entry: context.named_entry().map(|entry| cwd.join(entry)),
        definitions: given,
    };
    let (sender, receiver) = sync_channel(16);
    std::thread::spawn(move || {
        let mut input = BufReader::new(std::io::stdin());
        while let Some(message) = wire::read(&mut input) {
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    let mut out = BufWriter::new(std::io::stdout());
    let server = Server::new(options, cwd, context.store_path().ok());
    match serve(server, &receiver, &mut out) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        // The editor is gone: nobody is left to tell.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(ExitCode::FAILURE),
        Err(e) => Err(Failure::machine(format!("cannot write to stdout: {e}"))),
    }
}

/// Answers until the end; true if the editor asked to shut down before.
fn serve(
    mut server: Server,
    incoming: &Receiver<Incoming>,
    out: &mut impl Write,
) -> std::io::Result<bool> {
    loop {
        // What is wrong is worked out when there is nothing else to do: a fast typist needs it once.
        let next = match incoming.try_recv() {
            Ok(message) => Some(message),
            Err(TryRecvError::Disconnected) => None,
            Err(TryRecvError::Empty) => {
                for message in server.idle() {
                    wire::write(out, &message)?;
                }
                incoming.recv().ok()
            }
        };
        let Some(message) = next else {
            return Ok(server.is_shut_down());
        };
        for answer in server.take(message) {
            wire::write(out, &answer)?;
        }
        if server.is_over() {
            return Ok(server.is_shut_down());
        }
    }
}
