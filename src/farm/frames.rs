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
pub const PROTOCOL: u32 = 2;
/// Largest frame for a worker, in bytes. The greatest is a derivation with its scripts.
pub const MOST_ORDER: usize = 64 << 20;
/// Largest frame for a scheduler, in bytes. The greatest is a piece of output.
pub const MOST_ANSWER: usize = 1 << 20;
/// How often each end says that it is alive.
pub const ALIVE: Duration = Duration::from_secs(5);
/// How long a worker may be silent before the scheduler gives it up.
pub const SILENCE: Duration = Duration::from_secs(30);
/// How long a scheduler may be silent before the worker ends all that it runs. So much less than [`SILENCE`], each being
/// heard last up to [`ALIVE`] earlier, that what ran there has ended when the scheduler starts it elsewhere.
pub const LEASE: Duration = Duration::from_secs(20);
/// Characters of a text from the other end that are kept.
const MOST_TEXT: usize = 500;

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
        /// How many of the places for steps it has there.
        slots: u32,
        /// Bytes that its work folder had the last time, where that is known.
        size: Option<u64>,
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
    /// Bytes of memory that its work folder may take.
    pub memory: Option<u64>,
    /// Milliseconds that it may print nothing.
    pub silence: Option<u64>,
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
    /// The worker's process there.
    pub process: u32,
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
        /// Bytes that its work folder had.
        size: Option<u64>,
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

/// What the other end says, fit for a terminal and one line: without what moves a cursor, and not endless.
pub fn shown(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let text = text.chars().filter(|c| !turns(*c)).take(MOST_TEXT);
    let text: String = text.map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().to_owned()
}

/// A connection that is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The other end went away.
    #[error("the connection ended")]
    Ended,
    /// Nothing came for too long.
    #[error("nothing was heard for too long")]
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

    /// Closes the pipe, unless somebody is sending: the other end hears that nothing more comes.
    pub fn close(&self) {
        if let Ok(mut pipe) = self.0.try_lock() {
            *pipe = None;
        }
    }

    /// Sends a frame.
    pub fn send<T: Serialize>(&self, frame: &T) -> Result<(), FrameError> {
        let body = codec::encode(frame);
        let length = u32::try_from(body.len()).ok();
        let length = length.filter(|n| *n as usize <= MOST_ORDER);
        let length =
            length.ok_or_else(|| FrameError::Nonsense("a frame is too long".to_owned()))?;
        let mut own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = own.as_mut().ok_or(FrameError::Ended)?;
        let sent = pipe.write_all(&length.to_le_bytes());
        let sent = sent.and_then(|()| pipe.write_all(&body));
        sent.and_then(|()| pipe.flush()).map_err(|error| {
            // Half a frame is out, and nothing that followed it would be understood.
            *own = None;
            ended(error)
        })
    }
}

/// Reads a frame of at most so many bytes. What a length says is believed only as far as bytes come.
pub fn receive<T: Serialize + DeserializeOwned>(
    pipe: &mut impl Read,
    most: usize,
) -> Result<T, FrameError> {
    let mut head = [0; 4];
    pipe.read_exact(&mut head).map_err(ended)?;
    let length = u32::from_le_bytes(head) as usize;
    if length > most {
        return Err(FrameError::Nonsense(format!("a frame of {length} bytes")));
    }
    let mut body = Vec::new();
    pipe.take(length as u64)
        .read_to_end(&mut body)
        .map_err(ended)?;
    if body.len() != length {
        return Err(FrameError::Ended);
    }
    codec::decode(&body, most).map_err(|e| FrameError::Nonsense(shown(&e.to_string())))
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
                slots: 2,
                size: Some(3),
                limits: WireLimits {
                    file: 1,
                    output: 2,
                    memory: None,
                    silence: Some(3),
                },
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
            assert_eq!(receive::<ToWorker>(&mut pipe, MOST_ORDER).unwrap(), frame);
        }
        assert!(matches!(
            receive::<ToWorker>(&mut pipe, MOST_ORDER),
            Err(FrameError::Ended)
        ));
    }

    #[test]
    fn half_a_frame_is_the_last() {
        /// Takes five bytes.
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let taken = bytes.len().min(5 - self.0);
                self.0 += taken;
                match taken {
                    0 => Err(io::ErrorKind::TimedOut.into()),
                    taken => Ok(taken),
                }
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let sender = Sender::new(Full(0));
        let alive = || sender.send(&ToScheduler::Alive);
        assert!(matches!(alive(), Err(FrameError::Silent)));
        assert!(matches!(alive(), Err(FrameError::Ended)));
    }

    #[test]
    fn a_text_from_elsewhere_moves_no_cursor_and_has_an_end() {
        assert_eq!(shown("a\x1b[2Jb\n\u{202e}c"), "a [2Jb c");
        assert_eq!(shown(&"x".repeat(1 << 20)).len(), MOST_TEXT);
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_makes_it_stumble(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut pipe = bytes.as_slice();
            while receive::<ToScheduler>(&mut pipe, MOST_ANSWER).is_ok() {}
        }
    }
}

/// For the fuzz targets: reads frames as either end does, as long as they are good. Each has the same bytes when it is
/// sent on.
#[cfg(feature = "fuzzing")]
pub fn frames(bytes: &[u8]) {
    fn all<T: Serialize + DeserializeOwned>(bytes: &[u8], most: usize) {
        let mut rest = bytes;
        loop {
            let before = rest;
            let Ok(frame) = receive::<T>(&mut rest, most) else {
                return;
            };
            let mut again = Vec::new();
            let sent = Sender::new(&mut again).send(&frame);
            assert!(sent.is_ok());
            assert!(before.starts_with(&again));
        }
    }
    all::<ToWorker>(bytes, MOST_ORDER);
    all::<ToScheduler>(bytes, MOST_ANSWER);
    assert!(!shown(&String::from_utf8_lossy(bytes)).contains(char::is_control));
}
