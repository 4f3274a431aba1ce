//! A flag that stops running builds: a [`Cancel`] that the monitor of a sandbox can wait for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use mstore_store::Cancel;

/// Stops all builds that were started with it, once its [`Cancel`] is cancelled.
///
/// Clones are the same token.
#[derive(Clone, Debug)]
pub struct CancelToken {
    cancel: Cancel,
    event: Arc<OwnedFd>,
}

impl CancelToken {
    /// Makes a token of its own that is not cancelled.
    pub fn new() -> io::Result<CancelToken> {
        CancelToken::of(&Cancel::new())
    }

    /// Makes the token of a flag. Fails where the system gives no more descriptors.
    pub fn of(cancel: &Cancel) -> io::Result<CancelToken> {
        Ok(CancelToken {
            event: cancel.event()?,
            cancel: cancel.clone(),
        })
    }

    /// Cancels; a second call changes nothing.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Whether somebody cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// The flag, for what looks at it now and then.
    pub fn flag(&self) -> &Cancel {
        &self.cancel
    }
}

impl AsFd for CancelToken {
    /// A descriptor that polls readable once cancelled; never read from it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
