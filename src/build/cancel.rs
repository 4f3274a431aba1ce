//! A flag that stops running builds, from any thread or a signal handler's thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};

/// Stops all builds that were started with it, once [`CancelToken::cancel`] is called.
///
/// Clones are the same token.
#[derive(Clone, Debug)]
pub struct CancelToken {
    // Readable for ever once cancelled, so any number of waiting builds can poll it.
    event: Arc<OwnedFd>,
}

impl CancelToken {
    /// Makes a token that is not cancelled.
    pub fn new() -> io::Result<CancelToken> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(CancelToken {
            event: Arc::new(event),
        })
    }

    /// Cancels; a second call changes nothing. Only writes to a descriptor, so it may be called
    /// from a signal handler.
    pub fn cancel(&self) {
        // Fails only when the counter is full, and then the token is cancelled already.
        let _ = rustix::io::write(&*self.event, &1_u64.to_ne_bytes());
    }

    /// Whether somebody cancelled.
    pub fn is_cancelled(&self) -> bool {
        let mut fds = [PollFd::new(&*self.event, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(1..))
    }
}

impl AsFd for CancelToken {
    /// A descriptor that polls readable once cancelled; never read from it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clones_are_cancelled_together() {
        let token = CancelToken::new().unwrap();
        let other = token.clone();
        assert!(!other.is_cancelled());
        token.cancel();
        token.cancel();
        assert!(other.is_cancelled() && token.is_cancelled());
    }
}
