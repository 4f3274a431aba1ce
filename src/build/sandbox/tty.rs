//! Connects our terminal with the terminal of a shell in the sandbox.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
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
    input_open: bool,
    output_open: bool,
}

impl Proxy {
    pub(crate) fn start(controller: OwnedFd) -> io::Result<Proxy> {
        let saved = rustix::termios::tcgetattr(rustix::stdio::stdin())?;
        let (resized, sender) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let resized_id =
            signal_hook::low_level::pipe::register(signal_hook::consts::SIGWINCH, sender)?;
        let proxy = Proxy {
            controller,
            saved,
            resized,
            resized_id,
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
            fds.push(PollFd::new(&self.controller, PollFlags::IN));
        }
        if self.input_open {
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
            self.output_open = copy(&self.controller, rustix::stdio::stdout(), buffer);
        }
        if self.input_open && ready(rustix::stdio::stdin()) {
            self.input_open = copy(rustix::stdio::stdin(), &self.controller, buffer);
        }
    }

    /// Shows what is still to be read; everything inside has ended.
    pub(crate) fn finish(mut self, buffer: &mut [u8]) {
        while self.output_open && ready(&self.controller) {
            self.output_open = copy(&self.controller, rustix::stdio::stdout(), buffer);
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

/// Copies one piece; false at the end (a terminal whose last user has gone gives an error).
fn copy(from: impl AsFd, to: impl AsFd, buffer: &mut [u8]) -> bool {
    let n = match rustix::io::read(from, &mut *buffer) {
        Ok(0) => return false,
        Ok(n) => n,
        Err(rustix::io::Errno::INTR) => return true,
        Err(_) => return false,
    };
    let mut rest = &buffer[..n];
    while !rest.is_empty() {
        match rustix::io::write(&to, rest) {
            Ok(n) => rest = &rest[n..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
    true
}
