//! What a scheduler and a worker say to each other: frames of canonical CBOR behind their length, over two pipes.
//!
//! Each end says [`Hello`](ToWorker::Hello) first. Then the worker tells what its machine is like, and the scheduler
//! starts jobs on it; both say now and then that they are alive, since a connection that is cut somewhere looks
//! like one on which nothing is said.

use std::io::{self, Read, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mstore_store::TreeHash;
use mstore_store::codec::{self, Bytes};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of what is said here. Ends of different versions do not work together.
pub const PROTOCOL: u32 = 1;
/// Largest frame, in bytes. The greatest is a derivation with its scripts.
const MAX_FRAME: usize = 64 << 20;
/// How often each end says that it is alive.
pub const ALIVE: Duration = Duration::from_secs(5);
/// How long an end may be silent before the other gives it up.
pub const SILENCE: Duration = Duration::from_secs(30);

/// What a scheduler says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToWorker {
    /// First of all.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The version of the program.
        program: String,
        /// The machines whose programs there may be jobs for, as `uname -m` says.
        platforms: Vec<String>,
    },
    /// Build this. Its inputs are in the worker's store.
    Start {
        /// What the job is called in what follows.
        job: u64,
        /// What its realisation and its log are recorded under.
        name: String,
        /// The step as it is recorded ([`Resolved::encode`](crate::drv::Resolved::encode)).
        step: Bytes,
        /// What it may leave and write.
        limits: WireLimits,
        /// Build though there is a result.
        anew: bool,
    },
    /// End a job.
    Cancel {
        /// Which one.
        job: u64,
    },
    /// Nothing; this end is there.
    Alive,
}

/// [`Limits`](crate::build::step::Limits), as they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WireLimits {
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of output.
    pub output: u64,
}

/// What a worker says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ToScheduler {
    /// First of all.
    Hello {
        /// [`PROTOCOL`].
        protocol: u32,
        /// The version of the program.
        program: String,
    },
    /// What the machine is like; or why nothing can be built on it.
    Signature(Signature),
    /// What a job prints.
    Output {
        /// Which one.
        job: u64,
        /// As it came, in pieces of any length.
        bytes: Bytes,
    },
    /// How a job ended.
    Ended {
        /// Which one.
        job: u64,
        /// Wall milliseconds.
        millis: u64,
        /// How.
        end: WireEnd,
    },
    /// Nothing; this end is there.
    Alive,
}

/// What a worker's machine is like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Its name.
    pub host: String,
    /// What it is, as `uname -m` says.
    pub machine: String,
    /// The kernel.
    pub kernel: String,
    /// Its processors.
    pub processors: u32,
    /// Those of the scheduler's platforms whose programs run there.
    pub platforms: Vec<String>,
    /// Bytes free where its store is.
    pub free: u64,
    /// What its clock says, in Unix seconds.
    pub clock: i64,
    /// Why it cannot build, if it cannot.
    pub obstacle: Option<String>,
}

/// How a job ended, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum WireEnd {
    /// It was built; the tree is in the worker's store.
    Built {
        /// The tree.
        tree: TreeHash,
        /// Entries that changed.
        changed: u64,
    },
    /// Its script failed.
    Failed {
        /// How, for people.
        how: String,
        /// The same as wait(2) gives it.
        status: i32,
    },
    /// The machine failed.
    Infrastructure {
        /// What is wrong, for people.
        what: String,
    },
    /// It was cancelled.
    Cancelled,
}

/// A connection that is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end went away.
    #[error("the connection ended")]
    Ended,
    /// Nothing came for too long.
    #[error("nothing was heard for {} s", SILENCE.as_secs())]
    Silent,
    /// What came is not of this protocol.
    #[error("it sent what does not belong here: {0}")]
    Nonsense(String),
    /// The pipe failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

/// The sending half of a connection. Any thread may send.
pub struct Sender<W>(Mutex<Option<W>>);

impl<W: Write> Sender<W> {
    /// Sends over a pipe.
    pub fn new(pipe: W) -> Sender<W> {
        Sender(Mutex::new(Some(pipe)))
    }

    /// Closes the pipe: the other end hears that nothing more comes.
    pub fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Sends a frame.
    pub fn send<T: Serialize>(&self, frame: &T) -> Result<(), FrameError> {
        let body = codec::encode(frame);
        let length = u32::try_from(body.len()).ok();
        let length = length.filter(|n| *n as usize <= MAX_FRAME);
        let length =
            length.ok_or_else(|| FrameError::Nonsense("a frame is too long".to_owned()))?;
        let mut pipe = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = pipe.as_mut().ok_or(FrameError::Ended)?;
        let sent = pipe.write_all(&length.to_le_bytes());
        let sent = sent.and_then(|()| pipe.write_all(&body));
        sent.and_then(|()| pipe.flush()).map_err(ended)
    }
}

/// Reads a frame. What a length says is believed only as far as bytes come.
pub fn receive<T: Serialize + DeserializeOwned>(pipe: &mut impl Read) -> Result<T, FrameError> {
    let mut head = [0; 4];
    pipe.read_exact(&mut head).map_err(ended)?;
    let length = u32::from_le_bytes(head) as usize;
    if length > MAX_FRAME {
        return Err(FrameError::Nonsense(format!("a frame of {length} bytes")));
    }
    let mut body = Vec::new();
    pipe.take(length as u64)
        .read_to_end(&mut body)
        .map_err(ended)?;
    if body.len() != length {
        return Err(FrameError::Ended);
    }
    codec::decode(&body, MAX_FRAME).map_err(|e| FrameError::Nonsense(e.to_string()))
}

fn ended(error: io::Error) -> FrameError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe => FrameError::Ended,
        io::ErrorKind::TimedOut => FrameError::Silent,
        _ => FrameError::Io(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_come_as_they_were_sent() {
        let frames = [
            ToWorker::Hello {
                protocol: PROTOCOL,
                program: "0.1.0".to_owned(),
                platforms: vec!["x86_64".to_owned()],
            },
            ToWorker::Start {
                job: 7,
                name: "b/a/s/t:run".to_owned(),
                step: Bytes(vec![1, 2, 3]),
                limits: WireLimits { file: 1, output: 2 },
                anew: false,
            },
            ToWorker::Cancel { job: 7 },
            ToWorker::Alive,
        ];
        let mut pipe = Vec::new();
        let sender = Sender::new(&mut pipe);
        for frame in &frames {
            sender.send(frame).unwrap();
        }
        sender.close();
        let mut pipe = pipe.as_slice();
        for frame in frames {
            assert_eq!(receive::<ToWorker>(&mut pipe).unwrap(), frame);
        }
        assert!(matches!(
            receive::<ToWorker>(&mut pipe),
            Err(FrameError::Ended)
        ));
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_makes_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut pipe = bytes.as_slice();
            while receive::<ToScheduler>(&mut pipe).is_ok() {}
        }
    }
}
