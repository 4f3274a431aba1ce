//! Signals that end a command: Ctrl-C, termination, a terminal that goes away.

use std::io;

use mstore_store::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::Failure;
use super::failure::INTERRUPTED;
use crate::build::cancel::CancelToken;

/// Ctrl-C and termination, as a flag.
pub struct Stop {
    /// Cancelled with the first signal.
    pub cancel: Cancel,
    /// The same, as builds wait for it.
    pub token: CancelToken,
}

impl Stop {
    /// The first signal cancels the work and cleans up; a second one ends the process at once.
    pub fn install() -> Result<Stop, Failure> {
        let machine = |e: io::Error| Failure::machine(format!("cannot handle signals: {e}"));
        let cancel = Cancel::new();
        watch(&cancel).map_err(machine)?;
        Ok(Stop {
            token: CancelToken::of(&cancel).map_err(machine)?,
            cancel,
        })
    }
}

/// Handles the signals for as long as the process lives.
fn watch(cancel: &Cancel) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let cancel = cancel.clone();
    std::thread::Builder::new()
        .name("mstore-signals".into())
        .spawn(move || {
            for _ in signals.forever() {
                if cancel.is_cancelled() {
                    signal_hook::low_level::exit(INTERRUPTED.into());
                }
                cancel.cancel();
            }
        })?;
    Ok(())
}
