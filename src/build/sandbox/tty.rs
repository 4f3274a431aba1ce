//! Connects our terminal with the terminal of a shell in the sandbox.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::termios::{OptionalActions, Termios};

/// Whether a person sits in front of this process.
pub(crate) fn have_terminal() -> bool {
    rustix::termios::isatty(rustix::stdio::stdin())
        && rustix::termios::isatty(rustix::stdio::stdout())
}

/// Copies keys inside and output outside; our terminal is in raw mode meanwhile.
pub(crate) struct Proxy {
    controller: OwnedFd,
    saved: Termios,
    /// Gets a byte whenever our window changes its size.
    resized: OwnedFd,
    resized_id: signal_hook::SigId,
    /// Keys that the terminal inside has no room for yet.
    pending: Vec<u8>,
    input_open: bool,
    output_open: bool,
}

impl Proxy {
    pub(crate) fn start(controller: OwnedFd) -> io::Result<Proxy> {
        // A program inside that writes and does not read must not make us wait for it.
        let flags = rustix::fs::fcntl_getfl(&controller)?;
        rustix::fs::fcntl_setfl(&controller, flags | OFlags::NONBLOCK)?;
        let saved = rustix::termios::tcgetattr(rustix::stdio::stdin())?;
        let (resized, sender) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let resized_id =
            signal_hook::low_level::pipe::register(signal_hook::consts::SIGWINCH, sender)?;
        let proxy = Proxy {
            controller,
            saved,
            resized,
            resized_id,
            pending: Vec::new(),
            input_open: true,
            output_open: true,
        };
        proxy.copy_size();
        let mut raw = proxy.saved.clone();
        raw.make_raw();
        rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &raw)?;
        Ok(proxy)
    }

    fn copy_size(&self) {
        // A terminal that does not know its size is fine.
        if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
            let _ = rustix::termios::tcsetwinsize(&self.controller, size);
        }
    }

    pub(crate) fn add_to<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        fds.push(PollFd::new(&self.resized, PollFlags::IN));
        if self.output_open {
            let mut events = PollFlags::IN;
            events.set(PollFlags::OUT, !self.pending.is_empty());
            fds.push(PollFd::new(&self.controller, events));
        }
        if self.input_open && self.pending.is_empty() {
            fds.push(PollFd::from_borrowed_fd(
                rustix::stdio::stdin(),
                PollFlags::IN,
            ));
        }
    }

    /// Copies what is ready, in all directions.
    pub(crate) fn pass_on(&mut self, buffer: &mut [u8]) {
        if ready(&self.resized) {
            let _ = rustix::io::read(&self.resized, &mut *buffer);
            self.copy_size();
        }
        if self.output_open && ready(&self.controller) {
            self.show(buffer);
        }
        if self.input_open && self.pending.is_empty() && ready(rustix::stdio::stdin()) {
            match rustix::io::read(rustix::stdio::stdin(), &mut *buffer) {
                Ok(0) => self.input_open = false,
                Ok(n) => self.pending.extend_from_slice(&buffer[..n]),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.input_open = false,
            }
        }
        if !self.pending.is_empty() {
            match rustix::io::write(&self.controller, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::INTR | Errno::AGAIN) => {}
                Err(_) => self.pending.clear(),
            }
        }
    }

    /// Shows one piece of output.
    fn show(&mut self, buffer: &mut [u8]) {
        match rustix::io::read(&self.controller, &mut *buffer) {
            Ok(n) if n > 0 => self.output_open = write_all(rustix::stdio::stdout(), &buffer[..n]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            // A terminal whose last user has gone gives an error.
            _ => self.output_open = false,
        }
    }

    /// Shows what is still to be read; everything inside has ended.
    pub(crate) fn finish(mut self, buffer: &mut [u8]) {
        while self.output_open && ready(&self.controller) {
            self.show(buffer);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        signal_hook::low_level::unregister(self.resized_id);
        let _ =
            rustix::termios::tcsetattr(rustix::stdio::stdin(), OptionalActions::Drain, &self.saved);
    }
}

fn ready(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(1..))
}

/// False when nobody reads any more.
fn write_all(to: impl AsFd, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match rustix::io::write(&to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
