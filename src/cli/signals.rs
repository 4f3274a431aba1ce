//! Signals that end a command: Ctrl-C, termination, a terminal that goes away.

use std::io;
use std::sync::Arc;

use mstore_store::Cancel;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::failure::INTERRUPTED;
use crate::build::pause;
use crate::schedule::Leave;

/// Handles the signals for as long as the process lives: the first one cancels the work, which cleans
/// up; a second one ends the process at once. Where a run heeds `leave`, the first Ctrl-C is asked that in place of all.
pub fn watch(cancel: &Cancel, leave: Arc<Leave>) -> io::Result<()> {
    // Ctrl-Z stops builds together with this process.
    pause::watch_terminal_stop()?;
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let cancel = cancel.clone();
    std::thread::Builder::new()
        .name("mstore-signals".into())
        .spawn(move || {
            for signal in signals.forever() {
                if signal == SIGINT && !cancel.is_cancelled() && leave.ask() {
                    continue;
                }
                if cancel.is_cancelled() {
                    signal_hook::low_level::exit(INTERRUPTED.into());
                }
                cancel.cancel();
            }
        })?;
    Ok(())
}
