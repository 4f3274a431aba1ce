//! Stands between a terminal of ours and a command in the sandbox that gets no terminal of its own.
//!
//! A descriptor of a terminal is the terminal: whoever holds one may read what is typed and change its settings,
//! also when it is there only to be written to. So a command gets a pipe in the place of each terminal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::pipe::PipeFlags;

/// The threads that copy.
#[derive(Default)]
pub(crate) struct Relays(Vec<JoinHandle<()>>);

impl Relays {
    /// Waits until everything that was written has been shown. Nobody must hold a writing end any more.
    pub(crate) fn finish(self) {
        for thread in self.0 {
            // A thread of ours that panicked has shown what it could.
            let _ = thread.join();
        }
    }
}

/// What a command gets as its input, output and errors: ours, but for terminals.
pub(crate) fn stdio() -> io::Result<(Vec<OwnedFd>, Relays)> {
    let mut relays = Relays::default();
    let ours: [BorrowedFd<'static>; 3] = [
        rustix::stdio::stdin(),
        rustix::stdio::stdout(),
        rustix::stdio::stderr(),
    ];
    let mut given = Vec::new();
    for (at, fd) in ours.into_iter().enumerate() {
        if !rustix::termios::isatty(fd) {
            given.push(fd.try_clone_to_owned()?);
            continue;
        }
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        if at == 0 {
            // It ends with this process: it may wait for a key that never comes.
            std::thread::spawn(move || copy(fd, write));
            given.push(read);
        } else {
            relays.0.push(std::thread::spawn(move || copy(read, fd)));
            given.push(write);
        }
    }
    Ok((given, relays))
}

/// Copies until one side has ended.
fn copy(from: impl AsFd, to: impl AsFd) {
    let mut buffer = [0; 16 << 10];
    loop {
        let n = match rustix::io::read(&from, &mut buffer) {
            Ok(0) => return,
            Ok(n) => n,
            Err(Errno::INTR) => continue,
            Err(_) => return,
        };
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            match rustix::io::write(&to, rest) {
                Ok(n) => rest = &rest[n..],
                Err(Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }
}
