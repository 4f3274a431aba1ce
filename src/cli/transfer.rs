//! Running a transfer that a signal ends and that shows how far it is.

use mstore_store::Cancel;
use mstore_store::transfer::{Progress, ReceiveOptions};

use super::progress::Bar;

/// Runs `work` with options that end it on Ctrl-C and show how far it is.
pub fn with_progress<R>(
    bar: &Bar,
    what: &str,
    cancel: &Cancel,
    dry_run: bool,
    work: impl FnOnce(&ReceiveOptions<'_>) -> R,
) -> R {
    let progress = |p: &Progress| bar.update(what, p);
    work(&ReceiveOptions {
        cancel,
        progress: &progress,
        dry_run,
    })
}
