//! The `Cancel` flag: one request to stop, shared by everything that is to stop.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::event::{EventfdFlags, eventfd};

/// A request to stop that any thread may make and any number of operations may look at.
///
/// Clones are the same flag. Once cancelled it stays so. Operations that take one end soon afterwards,
/// with an error that says that they were interrupted; what they began and did not finish is gone.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    flag: Arc<AtomicBool>,
    /// Readable for ever once cancelled, so that any number of waiting threads can poll it. Made when the
    /// first of them asks for it.
    event: OnceLock<Arc<OwnedFd>>,
}

impl Cancel {
    /// Makes a flag that is not cancelled.
    pub fn new() -> Cancel {
        Cancel::default()
    }

    /// Cancels; a second call changes nothing. Only stores a value and writes to a descriptor, so it may
    /// be called from a signal handler.
    pub fn cancel(&self) {
        self.inner.flag.store(true, Ordering::SeqCst);
        if let Some(event) = self.inner.event.get() {
            wake(event);
        }
    }

    /// Tells whether somebody cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.inner.flag.load(Ordering::Relaxed)
    }

    /// A descriptor that polls readable once cancelled; never read from it. Fails where the system gives
    /// no more descriptors.
    pub fn event(&self) -> io::Result<Arc<OwnedFd>> {
        let event = match self.inner.event.get() {
            Some(event) => event,
            None => {
                let new = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                self.inner.event.get_or_init(|| Arc::new(new))
            }
        };
        // Whoever cancelled before the descriptor was there could not write to it.
        if self.inner.flag.load(Ordering::SeqCst) {
            wake(event);
        }
        Ok(event.clone())
    }

    /// The flag alone, for libraries that look at one: true once cancelled. Setting it wakes nobody who
    /// waits for [`Cancel::event`]: use [`Cancel::cancel`].
    pub fn flag(&self) -> &Arc<AtomicBool> {
        &self.inner.flag
    }
}

fn wake(event: &OwnedFd) {
    // Fails only when the counter is full, and then it is readable already.
    let _ = rustix::io::write(event, &1_u64.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn is_readable(cancel: &Cancel) -> bool {
        let event = cancel.event().unwrap();
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut [PollFd::new(&event, PollFlags::IN)], Some(&now)).unwrap() > 0
    }

    #[test]
    fn clones_are_cancelled_together_and_wake_who_polls() {
        let cancel = Cancel::new();
        let other = cancel.clone();
        assert!(!other.is_cancelled() && !is_readable(&other));
        cancel.cancel();
        cancel.cancel();
        assert!(other.is_cancelled() && cancel.is_cancelled());
        assert!(is_readable(&other) && is_readable(&cancel));
        assert!(cancel.flag().load(Ordering::Relaxed));
    }

    #[test]
    fn who_polls_later_is_woken_too() {
        let cancel = Cancel::new();
        cancel.cancel();
        assert!(is_readable(&cancel));
    }

    #[test]
    fn threads_that_begin_to_poll_meanwhile_are_woken() {
        for _ in 0..200 {
            let cancel = Cancel::new();
            std::thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    let event = cancel.event().unwrap();
                    let soon = Timespec {
                        tv_sec: 10,
                        tv_nsec: 0,
                    };
                    poll(&mut [PollFd::new(&event, PollFlags::IN)], Some(&soon)).unwrap()
                });
                cancel.cancel();
                assert_eq!(waiter.join().unwrap(), 1);
            });
        }
    }
}
