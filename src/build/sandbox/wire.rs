//! Framed messages between `run` and the helper process, on one socket.
//!
//! A frame is a length (u32, little-endian) and that many bytes, the first of which is the kind.
//! Numbers are little-endian, byte strings carry their length. Both ends are the same program,
//! so there is no version; lengths are bounded all the same.
//!
//! Descriptors follow the order: the reading end of the control pipe (see `pause.rs`), and in one mode
//! input and output.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// The longest frame; scripts are the only large thing in one.
pub(crate) const MAX_FRAME: usize = 64 << 20;

/// What the helper is to do once the root is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Run the script, with output to the helper's own stdout and stderr.
    Run,
    /// Run `argv` on the three descriptors that follow the control pipe.
    Inherit,
    /// Run `argv` on a terminal made inside, whose other end is sent back.
    Terminal,
    /// Only prepare everything, to learn whether this machine can.
    Probe,
}

/// One directory or file shown inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WireBind {
    pub source: PathBuf,
    pub target: PathBuf,
    pub writable: bool,
}

/// All that the helper needs to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub mode: Mode,
    /// The process to die with.
    pub parent: u32,
    /// Topmost first.
    pub layers: Vec<PathBuf>,
    pub upper: PathBuf,
    pub scratch: PathBuf,
    pub binds: Vec<WireBind>,
    pub script: Vec<u8>,
    pub argv: Vec<Vec<u8>>,
    pub env: Vec<(Vec<u8>, Vec<u8>)>,
    /// Make `uname` report a 32-bit machine.
    pub linux32: bool,
    pub tmp_on_root: bool,
    pub fewer_processors: bool,
    /// Make the fifo of a jobserver, and send it.
    pub jobserver: bool,
}

/// What the helper answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The namespaces exist; identities must be mapped now.
    Unshared,
    /// The main process runs.
    Started,
    /// The controlling end of the shell's terminal follows.
    Terminal,
    /// The fifo of the jobserver follows.
    Jobserver,
    /// The main process ended: exit status, or signal; microseconds of user and system time; KiB.
    Ended {
        signal: bool,
        code: i32,
        user: u64,
        system: u64,
        peak: u64,
    },
    /// Something could not be set up; the script never ran.
    Failed {
        stage: u8,
        path: Option<PathBuf>,
        errno: i32,
    },
}

#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn number(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }
    fn signed(&mut self, n: i32) {
        self.number(i64::from(n).cast_unsigned());
    }
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }
    fn path(&mut self, path: &Path) {
        self.bytes(path.as_os_str().as_bytes());
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, n: usize) -> io::Result<&[u8]> {
        let (head, tail) = self.0.split_at_checked(n).ok_or_else(malformed)?;
        self.0 = tail;
        Ok(head)
    }
    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }
    fn number(&mut self) -> io::Result<u64> {
        let bytes = self.take(8)?.try_into().map_err(|_| malformed())?;
        Ok(u64::from_le_bytes(bytes))
    }
    /// A number that [`Writer::signed`] wrote; anything wider is refused.
    fn signed(&mut self) -> io::Result<i32> {
        i32::try_from(self.number()?.cast_signed()).map_err(|_| malformed())
    }
    /// A count of things that take at least eight bytes each.
    fn count(&mut self) -> io::Result<usize> {
        let n = self.number()?;
        if n > (self.0.len() / 8) as u64 {
            return Err(malformed());
        }
        Ok(n as usize)
    }
    fn bytes(&mut self) -> io::Result<Vec<u8>> {
        let n = usize::try_from(self.number()?).map_err(|_| malformed())?;
        Ok(self.take(n)?.to_vec())
    }
    fn path(&mut self) -> io::Result<PathBuf> {
        Ok(PathBuf::from(std::ffi::OsString::from_vec(self.bytes()?)))
    }
    fn end(&self) -> io::Result<()> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(malformed())
        }
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed sandbox message")
}

impl Order {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.0.push(match self.mode {
            Mode::Run => 0,
            Mode::Inherit => 1,
            Mode::Terminal => 2,
            Mode::Probe => 3,
        });
        w.0.push(u8::from(self.linux32));
        w.0.push(u8::from(self.tmp_on_root));
        w.0.push(u8::from(self.fewer_processors));
        w.0.push(u8::from(self.jobserver));
        w.number(self.parent.into());
        w.number(self.layers.len() as u64);
        for layer in &self.layers {
            w.path(layer);
        }
        w.path(&self.upper);
        w.path(&self.scratch);
        w.number(self.binds.len() as u64);
        for bind in &self.binds {
            w.path(&bind.source);
            w.path(&bind.target);
            w.number(bind.writable.into());
        }
        w.bytes(&self.script);
        w.number(self.argv.len() as u64);
        for word in &self.argv {
            w.bytes(word);
        }
        w.number(self.env.len() as u64);
        for (name, value) in &self.env {
            w.bytes(name);
            w.bytes(value);
        }
        w.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Order> {
        let mut r = Reader(bytes);
        let mode = match r.byte()? {
            0 => Mode::Run,
            1 => Mode::Inherit,
            2 => Mode::Terminal,
            3 => Mode::Probe,
            _ => return Err(malformed()),
        };
        let linux32 = r.byte()? != 0;
        let tmp_on_root = r.byte()? != 0;
        let fewer_processors = r.byte()? != 0;
        let jobserver = r.byte()? != 0;
        let parent = u32::try_from(r.number()?).map_err(|_| malformed())?;
        let layers = (0..r.count()?)
            .map(|_| r.path())
            .collect::<io::Result<_>>()?;
        let upper = r.path()?;
        let scratch = r.path()?;
        let mut binds = Vec::new();
        for _ in 0..r.count()? {
            binds.push(WireBind {
                source: r.path()?,
                target: r.path()?,
                writable: r.number()? != 0,
            });
        }
        let script = r.bytes()?;
        let argv = (0..r.count()?)
            .map(|_| r.bytes())
            .collect::<io::Result<_>>()?;
        let mut env = Vec::new();
        for _ in 0..r.count()? {
            env.push((r.bytes()?, r.bytes()?));
        }
        r.end()?;
        Ok(Order {
            mode,
            parent,
            layers,
            upper,
            scratch,
            binds,
            script,
            argv,
            env,
            linux32,
            tmp_on_root,
            fewer_processors,
            jobserver,
        })
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        match self {
            Reply::Unshared => w.0.push(0),
            Reply::Started => w.0.push(1),
            Reply::Terminal => w.0.push(4),
            Reply::Jobserver => w.0.push(5),
            Reply::Ended {
                signal,
                code,
                user,
                system,
                peak,
            } => {
                w.0.push(2);
                w.0.push(u8::from(*signal));
                w.signed(*code);
                w.number(*user);
                w.number(*system);
                w.number(*peak);
            }
            Reply::Failed { stage, path, errno } => {
                w.0.push(3);
                w.0.push(*stage);
                w.0.push(u8::from(path.is_some()));
                w.signed(*errno);
                w.path(path.as_deref().unwrap_or(Path::new("")));
            }
        }
        w.0
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Reply> {
        let mut r = Reader(bytes);
        let reply = match r.byte()? {
            0 => Reply::Unshared,
            1 => Reply::Started,
            4 => Reply::Terminal,
            5 => Reply::Jobserver,
            2 => Reply::Ended {
                signal: r.byte()? != 0,
                code: r.signed()?,
                user: r.number()?,
                system: r.number()?,
                peak: r.number()?,
            },
            3 => {
                let stage = r.byte()?;
                let has_path = r.byte()? != 0;
                let errno = r.signed()?;
                let path = r.path()?;
                Reply::Failed {
                    stage,
                    path: has_path.then_some(path),
                    errno,
                }
            }
            _ => return Err(malformed()),
        };
        r.end()?;
        Ok(reply)
    }
}

/// One end of the socket.
#[derive(Debug)]
pub(crate) struct Channel(pub OwnedFd);

impl Channel {
    /// Sends one frame.
    pub(crate) fn send(&self, payload: &[u8]) -> io::Result<()> {
        let length = u32::try_from(payload.len())
            .ok()
            .filter(|&n| n as usize <= MAX_FRAME)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "job too large"))?;
        self.send_all(&length.to_le_bytes())?;
        self.send_all(payload)
    }

    fn send_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            // No SIGPIPE: a helper that died is reported, it must not take us along.
            match rustix::net::send(&self.0, bytes, SendFlags::NOSIGNAL) {
                Ok(n) => bytes = &bytes[n..],
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Receives one frame; `None` when the other end has closed.
    pub(crate) fn receive(&self) -> io::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        if !self.fill(&mut length)? {
            return Ok(None);
        }
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_FRAME {
            return Err(malformed());
        }
        let mut payload = vec![0; length];
        if !self.fill(&mut payload)? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(Some(payload))
    }

    /// Fills `buffer`; false when the stream ended before its first byte.
    fn fill(&self, buffer: &mut [u8]) -> io::Result<bool> {
        let mut done = 0;
        while done < buffer.len() {
            match rustix::net::recv(&self.0, &mut buffer[done..], RecvFlags::empty()) {
                Ok((0, _)) if done == 0 => return Ok(false),
                Ok((0, _)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok((n, _)) => done += n,
                Err(rustix::io::Errno::INTR) => {}
                // What a peer that died with unread bytes leaves behind.
                Err(rustix::io::Errno::CONNRESET) if done == 0 => return Ok(false),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(true)
    }

    /// Sends descriptors along with one byte.
    pub(crate) fn send_fds(&self, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = rustix::net::sendmsg(
            &self.0,
            &[io::IoSlice::new(b"d")],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        if sent == 1 {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// Receives the descriptors of one [`Channel::send_fds`].
    pub(crate) fn receive_fds(&self) -> io::Result<Vec<OwnedFd>> {
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut byte = [0];
        rustix::net::recvmsg(
            &self.0,
            &mut [io::IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )?;
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        Ok(fds)
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn order() -> Order {
        Order {
            mode: Mode::Terminal,
            parent: 77,
            layers: vec!["/a:b".into(), "/c,d\\".into()],
            upper: "/up per".into(),
            scratch: "/s".into(),
            binds: vec![WireBind {
                source: "/x".into(),
                target: "/mstore/y".into(),
                writable: true,
            }],
            script: b"#!/bin/sh\n\0\xff".to_vec(),
            argv: vec![b"sh".to_vec(), vec![]],
            env: vec![(b"A".to_vec(), b"1=2".to_vec())],
            linux32: true,
            tmp_on_root: false,
            fewer_processors: true,
            jobserver: true,
        }
    }

    #[test]
    fn orders_and_replies_come_back_as_they_were() {
        let order = order();
        assert_eq!(Order::decode(&order.encode()).unwrap(), order);
        for reply in [
            Reply::Unshared,
            Reply::Started,
            Reply::Terminal,
            Reply::Jobserver,
            Reply::Ended {
                signal: true,
                code: -9,
                user: 1,
                system: 2,
                peak: 3,
            },
            Reply::Failed {
                stage: 3,
                path: Some("/x".into()),
                errno: 13,
            },
            Reply::Failed {
                stage: 0,
                path: None,
                errno: 1,
            },
        ] {
            assert_eq!(Reply::decode(&reply.encode()).unwrap(), reply);
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = order().encode();
        for end in 0..bytes.len() {
            assert!(Order::decode(&bytes[..end]).is_err(), "{end}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Order::decode(&bytes);
            let _ = Reply::decode(&bytes);
        }
    }
}
