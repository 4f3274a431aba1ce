//! The program `mstore-worker`: one job of remote execution in a folder. It is sent along with the job, so it is
//! small and stands alone.

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore::build::cancel::CancelToken;
use mstore::build::userns::{self, Choice};
use mstore::worker::Code;
use mstore::worker::action::{Action, Ended, PROGRAM};
use mstore::worker::needs::STORE_VARIABLE;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

const HELP: &str = "\
Build one job of `mstore`'s remote execution

Usage: mstore-worker action JOB [--store DIR]
       mstore-worker --version

The bundles of the job lie below b/ in the current folder. What comes of it is written there too: result, out/
and log.zst. With a store that stays (--store, or MSTORE_WORKER_STORE in the environment) trees that it has are
not unpacked again; else there is one for the time of the job.

Exit: 0 built, 1 the build failed, 2 usage, 101 this machine cannot isolate builds, 100 to 119 it failed otherwise
";

fn main() -> ExitCode {
    mstore::build::hidden_main();
    let mut arguments = env::args_os().skip(1);
    let word = arguments.next();
    match word.as_ref().and_then(|word| word.to_str()) {
        Some("action") => {}
        Some("--version") => return say_out(&format!("{PROGRAM} {}\n", env!("CARGO_PKG_VERSION"))),
        Some("--help" | "-h") => return say_out(HELP),
        _ => return usage(),
    }
    let (mut job, mut store) = (
        None,
        env::var_os(STORE_VARIABLE).filter(|path| !path.is_empty()),
    );
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--store") => store = Some(arguments.next().unwrap_or_default()),
            Some(option) if option.starts_with("--") => return usage(),
            _ if job.is_none() => job = Some(argument),
            _ => return usage(),
        }
    }
    let Some(job) = job else {
        return usage();
    };
    let store = store.map(PathBuf::from);
    // Before the first thread.
    let entered = userns::enter(Choice::Auto);
    let ended = run(Path::new(&job), store.as_deref(), &entered);
    say(&ended.log);
    say(format!("{PROGRAM}: {}\n", ended.text).as_bytes());
    ExitCode::from(ended.status)
}

fn run(
    job: &Path,
    store: Option<&Path>,
    entered: &Result<userns::Entered, userns::UsernsError>,
) -> Ended {
    let other = |what: String| Ended {
        status: Code::Other as u8,
        text: what,
        log: Vec::new(),
    };
    let cancel = match CancelToken::new() {
        Ok(cancel) => cancel,
        Err(error) => return other(format!("cannot make an event: {error}")),
    };
    if let Err(error) = watch(cancel.clone()) {
        return other(format!("cannot handle signals: {error}"));
    }
    let folder = match env::current_dir() {
        Ok(folder) => folder,
        Err(error) => return other(format!("cannot find the current folder: {error}")),
    };
    let action = Action {
        folder: &folder,
        job,
        store,
        entered,
        cancel: &cancel,
        processors: std::thread::available_parallelism().map_or(1, |count| count.get()),
        host: rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned(),
    };
    action.run()
}

/// The first signal ends the build, and what is left is removed; a second one ends this process at once.
fn watch(cancel: CancelToken) -> std::io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::Builder::new()
        .name("mstore-signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                if cancel.is_cancelled() {
                    signal_hook::low_level::exit((Code::Cancelled as u8).into());
                }
                cancel.cancel();
            }
        })?;
    Ok(())
}

fn say_out(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Whoever does not read it does without.
fn say(text: &[u8]) {
    let _ = std::io::stderr().write_all(text);
}

fn usage() -> ExitCode {
    say(HELP.as_bytes());
    ExitCode::from(2)
}
