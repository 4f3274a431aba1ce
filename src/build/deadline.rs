//! A flag for work of the store: cancelled once a step is, or once its time is over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::Duration;

use mstore_store::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pipe::PipeFlags;

use super::cancel::CancelToken;
use super::pause::Stopwatch;

/// Longest wait at a time: a clock that was stopped meanwhile is looked at again.
const WAIT: Duration = Duration::from_secs(3600);

/// Watches a cancel token and a clock while it is held.
pub(crate) struct Deadline {
    cancel: Cancel,
    /// Its closing ends the watch.
    held: Option<OwnedFd>,
    watcher: Option<JoinHandle<()>>,
}

impl Deadline {
    /// Watches `cancel`, and `clock` for the moment at which it reaches `timeout`.
    pub fn watch(
        cancel: &CancelToken,
        clock: Stopwatch,
        timeout: Option<Duration>,
    ) -> io::Result<Deadline> {
        let (ended, held) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let over = Cancel::new();
        let (raise, cancel) = (over.clone(), cancel.clone());
        let watcher = std::thread::Builder::new()
            .name("mstore-deadline".into())
            .spawn(move || {
                if is_over(&cancel, &ended, clock, timeout) {
                    raise.cancel();
                }
            })?;
        Ok(Deadline {
            cancel: over,
            held: Some(held),
            watcher: Some(watcher),
        })
    }

    /// The flag.
    pub fn flag(&self) -> &Cancel {
        &self.cancel
    }
}

/// Waits; false when nobody wants to know any more.
fn is_over(
    cancel: &CancelToken,
    ended: &OwnedFd,
    clock: Stopwatch,
    timeout: Option<Duration>,
) -> bool {
    loop {
        let left = match timeout {
            Some(timeout) => match timeout.checked_sub(clock.elapsed()) {
                None | Some(Duration::ZERO) => return true,
                Some(left) => left.min(WAIT),
            },
            None => WAIT,
        };
        let left = Timespec {
            tv_sec: left.as_secs().cast_signed(),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [
            PollFd::new(cancel, PollFlags::IN),
            PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
        ];
        let polled = rustix::event::poll(&mut fds, Some(&left));
        if polled.is_ok() && !fds[0].revents().is_empty() {
            return true;
        }
        if polled.is_ok() && !fds[1].revents().is_empty() {
            return false;
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        self.held = None;
        if let Some(watcher) = self.watcher.take() {
            // A watcher that panicked raised no flag, and there is nobody left to look at it.
            let _ = watcher.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn becomes_true(deadline: &Deadline) -> bool {
        let began = Instant::now();
        while !deadline.flag().is_cancelled() {
            if began.elapsed() > Duration::from_secs(5) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    #[test]
    fn time_and_token_raise_the_flag_and_nothing_else_does() {
        let token = CancelToken::new().unwrap();
        let clock = Stopwatch::start();
        let soon = Some(Duration::from_millis(20));
        assert!(becomes_true(&Deadline::watch(&token, clock, soon).unwrap()));
        let never = Deadline::watch(&token, clock, None).unwrap();
        let later = Deadline::watch(&token, clock, Some(Duration::from_secs(500))).unwrap();
        let flag = never.flag().clone();
        drop(never);
        assert!(!flag.is_cancelled());
        assert!(!later.flag().is_cancelled());
        token.cancel();
        assert!(becomes_true(&later));
        assert!(becomes_true(&Deadline::watch(&token, clock, None).unwrap()));
    }
}
