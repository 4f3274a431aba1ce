//! Ctrl-Z: stops running jobs together with this process, and keeps clocks that stand still meanwhile.
//!
//! Jobs are in process groups of their own, which the terminal does not reach. So the handler of
//! SIGTSTP tells each of them to stop (a byte on its control pipe, see `sandbox/inside.rs`), then
//! stops this process as the shell expects; once the shell lets it go on (`fg`, `bg`), it tells them
//! to go on.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGSTOP, SIGTSTP};

use super::sys;

/// On a control pipe: stop everything.
pub(crate) const STOP: u8 = b's';
/// On a control pipe: let everything go on.
pub(crate) const GO_ON: u8 = b'c';

/// What the signal concerns: it belongs to the process, so this does, too.
struct Shared {
    /// Control pipes of running jobs.
    jobs: BTreeMap<u64, OwnedFd>,
    next: u64,
    /// How long this process has been stopped so far.
    stopped: Duration,
    /// When it was stopped, while it is.
    since: Option<Instant>,
}

static SHARED: Mutex<Shared> = Mutex::new(Shared {
    jobs: BTreeMap::new(),
    next: 0,
    stopped: Duration::ZERO,
    since: None,
});

fn shared() -> MutexGuard<'static, Shared> {
    // Each change is whole: valid after any panic.
    SHARED.lock().unwrap_or_else(|e| e.into_inner())
}

impl Shared {
    fn tell(&self, word: u8) {
        for pipe in self.jobs.values() {
            // Fails only when the job is gone.
            let _ = rustix::io::write(pipe, &[word]);
        }
    }

    fn total(&self) -> Duration {
        self.stopped + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// Makes Ctrl-Z (SIGTSTP) stop jobs as well. A second call changes nothing; where the signal is
/// ignored, as in programs started by shells without job control, it stays so.
pub fn watch_terminal_stop() -> io::Result<()> {
    static WATCHING: OnceLock<()> = OnceLock::new();
    if WATCHING.get().is_some() || sys::is_ignored(SIGTSTP)? {
        return Ok(());
    }
    let (mut signals, sender) = io::pipe()?;
    signal_hook::low_level::pipe::register(SIGTSTP, sender)?;
    if WATCHING.set(()).is_err() {
        return Ok(());
    }
    std::thread::Builder::new()
        .name("mstore-pause".into())
        .spawn(move || {
            while signals.read_exact(&mut [0]).is_ok() {
                stop_here();
            }
        })
        .map(drop)
}

/// Stops all jobs and this process; returns once it goes on.
fn stop_here() {
    {
        let mut shared = shared();
        shared.since = Some(Instant::now());
        shared.tell(STOP);
    }
    // To this thread, which is therefore stopped before it comes back from the call.
    let _ = signal_hook::low_level::raise(SIGSTOP);
    let mut shared = shared();
    shared.stopped = shared.total();
    shared.since = None;
    shared.tell(GO_ON);
}

/// A job that stops and goes on with this process, while this is held.
#[derive(Debug)]
pub(crate) struct Registered(u64);

/// Registers a job by the writing end of its control pipe.
pub(crate) fn register(pipe: OwnedFd) -> Registered {
    let mut shared = shared();
    if shared.since.is_some() {
        // It will not run before this process does; it only must not miss the word.
        let _ = rustix::io::write(&pipe, &[STOP]);
    }
    let number = shared.next;
    shared.next += 1;
    shared.jobs.insert(number, pipe);
    Registered(number)
}

impl Drop for Registered {
    fn drop(&mut self) {
        shared().jobs.remove(&self.0);
    }
}

/// Measures time in which this process was not stopped by Ctrl-Z.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
    stopped_before: Duration,
}

impl Stopwatch {
    /// Starts at zero.
    pub fn start() -> Stopwatch {
        let shared = shared();
        Stopwatch {
            started: Instant::now(),
            stopped_before: shared.total(),
        }
    }

    /// Tells how long this process has been running since.
    pub fn elapsed(&self) -> Duration {
        let shared = shared();
        let stopped = shared.total().saturating_sub(self.stopped_before);
        self.started.elapsed().saturating_sub(stopped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopped_time_does_not_count_and_jobs_are_told() {
        let (mut told, pipe) = io::pipe().unwrap();
        let job = register(pipe.into());
        let watch = Stopwatch::start();
        {
            let mut shared = shared();
            shared.since = Some(Instant::now());
            shared.tell(STOP);
        }
        std::thread::sleep(Duration::from_millis(60));
        let during = watch.elapsed();
        let (mut late_told, late) = io::pipe().unwrap();
        let late = register(late.into());
        {
            let mut shared = shared();
            shared.stopped = shared.total();
            shared.since = None;
            shared.tell(GO_ON);
        }
        let after = watch.elapsed();
        std::thread::sleep(Duration::from_millis(20));
        assert!(during < Duration::from_millis(40), "{during:?}");
        assert!(after < Duration::from_millis(40), "{after:?}");
        assert!(watch.elapsed() >= Duration::from_millis(20));
        drop((job, late));
        for pipe in [&mut told, &mut late_told] {
            let mut words = Vec::new();
            pipe.read_to_end(&mut words).unwrap();
            assert_eq!(words, [STOP, GO_ON]);
        }
    }
}
