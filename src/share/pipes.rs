//! Pipes on which nothing is waited for without end: a patience, and descriptors that end every wait.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mstore_store::Cancel;
use rustix::event::{PollFd, PollFlags, Timespec};

/// What ends the waiting of the pipes that share it: each is a descriptor that polls readable from then on.
///
/// Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Stops(Arc<Mutex<Vec<Arc<OwnedFd>>>>);

impl Stops {
    /// Takes these flags in place of those that were there. To be called while nobody waits. Fails where the system
    /// gives no more descriptors.
    pub fn set(&self, flags: &[&Cancel]) -> io::Result<()> {
        let events = flags
            .iter()
            .map(|flag| flag.event())
            .collect::<io::Result<_>>()?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = events;
        Ok(())
    }

    /// Takes one more descriptor.
    pub fn add(&self, descriptor: OwnedFd) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(Arc::new(descriptor));
    }

    fn all(&self) -> Vec<Arc<OwnedFd>> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// How waiting ended.
enum Woken {
    Ready,
    Stopped,
}

/// Waits until a pipe is ready, or something ends that.
fn wait(
    pipe: &impl AsFd,
    flags: PollFlags,
    until: Option<Instant>,
    stops: &Stops,
) -> io::Result<Woken> {
    let stops = stops.all();
    let mut all = vec![PollFd::new(pipe, flags)];
    all.extend(stops.iter().map(|stop| PollFd::new(stop, PollFlags::IN)));
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let time = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut all, time.as_ref()) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) if all[1..].iter().any(|stop| !stop.revents().is_empty()) => {
                return Ok(Woken::Stopped);
            }
            Ok(_) => return Ok(Woken::Ready),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A time that ran out, told with its seconds.
fn told(error: io::Error, patience: Option<Duration>) -> io::Error {
    match (error.kind(), patience) {
        (io::ErrorKind::TimedOut, Some(patience)) => io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", patience.as_secs()),
        ),
        _ => error,
    }
}

/// The end of a pipe that is read. Once it is stopped, it is as if the other end had gone.
#[derive(Debug)]
pub struct Listening<T> {
    /// The pipe. Nothing may have been read ahead of it.
    pub pipe: T,
    /// How long one read may take.
    pub patience: Option<Duration>,
    /// When all reads end.
    pub until: Option<Instant>,
    /// What ends the waiting.
    pub stops: Stops,
}

impl<T: Read + AsFd> Read for Listening<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let patience = self.patience.map(|patience| Instant::now() + patience);
        let until = match (patience, self.until) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let woken = wait(&self.pipe, PollFlags::IN, until, &self.stops);
        match woken.map_err(|error| told(error, self.patience))? {
            Woken::Ready => self.pipe.read(buffer),
            Woken::Stopped => Ok(0),
        }
    }
}

/// So much can be written to a pipe that takes anything, without waiting.
const AT_ONCE: usize = 4096;

/// The end of a pipe that is written. Once it is stopped, it is as if the other end had gone.
#[derive(Debug)]
pub struct Speaking<T> {
    /// The pipe.
    pub pipe: T,
    /// How long the other end may take nothing.
    pub patience: Option<Duration>,
    /// What ends the waiting.
    pub stops: Stops,
}

impl<T: Write + AsFd> Write for Speaking<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let until = self.patience.map(|patience| Instant::now() + patience);
        let woken = wait(&self.pipe, PollFlags::OUT, until, &self.stops);
        match woken.map_err(|error| told(error, self.patience))? {
            Woken::Ready => self.pipe.write(&bytes[..bytes.len().min(AT_ONCE)]),
            Woken::Stopped => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pipe.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_its_patience_and_when_it_is_stopped() {
        let (read, write) = io::pipe().unwrap();
        let stops = Stops::default();
        let mut read = Listening {
            pipe: read,
            patience: Some(Duration::from_millis(20)),
            until: None,
            stops: stops.clone(),
        };
        let error = read.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let mut write = Speaking {
            pipe: write,
            patience: None,
            stops: stops.clone(),
        };
        write.write_all(b"a").unwrap();
        assert_eq!(read.read(&mut [0; 9]).unwrap(), 1);
        let flag = Cancel::new();
        stops.set(&[&flag]).unwrap();
        read.patience = None;
        std::thread::scope(|scope| {
            // Nobody takes what it says: it is full soon.
            let full = scope.spawn(move || write.write_all(&[7; 1 << 20]).unwrap_err().kind());
            std::thread::sleep(Duration::from_millis(20));
            flag.cancel();
            assert_eq!(full.join().unwrap(), io::ErrorKind::BrokenPipe);
        });
        assert_eq!(read.read(&mut [0; 9]).unwrap(), 0);
    }
}
