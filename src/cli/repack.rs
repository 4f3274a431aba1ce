//! Repacking, as `store repack` does it alone and `gc` when it is done.

use std::process::ExitCode;

use mstore_store::{Cancel, Repacked, Store};

use super::Failure;
use super::failure::INTERRUPTED;
use super::output::{self, plural};

/// How a repack that may have been told to stop ends.
pub fn status(done: &Repacked, cancel: &Cancel) -> ExitCode {
    // It is not complete either where a repair took away what was to be repacked.
    match !done.complete && cancel.is_cancelled() {
        true => ExitCode::from(INTERRUPTED),
        false => ExitCode::SUCCESS,
    }
}

/// Repacks until it is done or told to stop, and tells how it went.
pub fn repacked(store: &Store, cancel: &Cancel) -> Result<(Repacked, String), Failure> {
    let done = store.repack(cancel)?;
    let packs = usize::try_from(done.packs).unwrap_or(usize::MAX);
    let mut text = format!(
        "repacked {} {}: {} became {}",
        done.packs,
        plural(packs, "pack"),
        output::size(done.before),
        output::size(done.after)
    );
    if !done.complete {
        text.push_str("; stopped, the next one goes on");
    }
    Ok((done, text))
}
