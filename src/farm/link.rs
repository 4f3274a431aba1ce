//! A connection to a worker, as the scheduler holds it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::frames::{
    FrameError, PROTOCOL, SILENCE, Sender, Signature, ToScheduler, ToWorker, WireEnd, receive,
};
use crate::share::address::SshAddress;
use crate::share::ssh::{self, SshOptions};

/// How long a machine may take until it has said what it is like.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pieces of news that a job may have waiting for it.
const WAITING: usize = 1024;
/// Last bytes of what a program says on its standard error that are kept.
const KEPT: usize = 2000;

/// A host that cannot be used now, for this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

impl From<FrameError> for Away {
    fn from(error: FrameError) -> Away {
        Away(error.to_string())
    }
}

/// What a job hears from its worker.
#[derive(Debug)]
pub enum News {
    /// Output of its script.
    Output(Vec<u8>),
    /// It ended.
    Ended(WireEnd),
}

/// The jobs of a connection, each with the way to who waits for it. `None` once the connection is over.
type Jobs = Option<HashMap<u64, mpsc::SyncSender<News>>>;

/// An established connection. It is over when [`Link::listen`] returns.
pub struct Link {
    sender: Sender<ChildStdin>,
    jobs: Mutex<Jobs>,
}

/// A connection that was made, with its reading half and its process.
pub struct Connected {
    /// What the machine is like.
    pub signature: Signature,
    /// The sending half, for jobs.
    pub link: Link,
    /// The reading half.
    pub ear: Ear,
}

/// The reading half of a connection, and the process behind it, which ends with this.
pub struct Ear {
    pipe: Heard,
    child: Child,
    errors: Option<std::thread::JoinHandle<String>>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ear {
    /// What the program said on its standard error, once it has ended.
    fn said(&mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.errors.take().map(said).unwrap_or_default()
    }
}

/// A pipe on which nothing is waited for beyond a moment.
struct Heard {
    pipe: File,
    until: Option<Instant>,
}

impl Read for Heard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let until = self.until.unwrap_or_else(|| Instant::now() + SILENCE);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let wait = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            };
            match rustix::event::poll(&mut [PollFd::new(&self.pipe, PollFlags::IN)], Some(&wait)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.pipe.read(buffer),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Reads what a program says on its standard error, and keeps the end of it.
fn keep_errors(pipe: impl Read + Send + 'static) -> Option<std::thread::JoinHandle<String>> {
    let reader = std::thread::Builder::new().spawn(move || {
        let (mut pipe, mut kept, mut buffer) = (pipe, Vec::new(), [0; KEPT]);
        while let Ok(read) = pipe.read(&mut buffer) {
            if read == 0 {
                break;
            }
            kept.extend_from_slice(&buffer[..read]);
            let surplus = kept.len().saturating_sub(KEPT);
            kept.drain(..surplus);
        }
        let text = String::from_utf8_lossy(&kept);
        let shown = |c: char| if c.is_control() && c != '\n' { ' ' } else { c };
        let text: String = text.trim().chars().map(shown).collect();
        text.lines().last().unwrap_or_default().to_owned()
    });
    reader.ok()
}

/// What a program said last, if that is known soon after its end: what it started may keep its pipes.
fn said(errors: std::thread::JoinHandle<String>) -> String {
    for _ in 0..50 {
        if errors.is_finished() {
            return errors.join().unwrap_or_default();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    String::new()
}

/// Runs a command on another machine to its end, as what prepares it. Fails with what it said last.
pub fn prepare(place: &SshAddress, options: &SshOptions, program: &str) -> Result<(), Away> {
    let mut command = ssh::command(place, options, &[program]).map_err(|e| Away(e.to_string()))?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = ssh::spawn(place, command).map_err(|e| Away(e.to_string()))?;
    let errors = child.stderr.take().and_then(keep_errors);
    let until = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(Away(format!(
                    "{program} did not end within {} s",
                    PATIENCE.as_secs()
                )));
            }
            Err(error) => return Err(Away(format!("cannot wait for {program}: {error}"))),
        }
    };
    if status.success() {
        return Ok(());
    }
    let said = errors.map(said).unwrap_or_default();
    Err(Away(match said.is_empty() {
        true => format!("{program} ended with {status}"),
        false => format!("{program} ended with {status}: {said}"),
    }))
}

impl Connected {
    /// Starts a worker by `command` and hears what its machine is like.
    pub fn new(
        place: &SshAddress,
        mut command: Command,
        program: &str,
        platforms: &[String],
    ) -> Result<Connected, Away> {
        command.stderr(Stdio::piped());
        let mut child = ssh::spawn(place, command).map_err(|e| Away(e.to_string()))?;
        let errors = child.stderr.take().and_then(keep_errors);
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Away("ssh has no pipes".to_owned()));
        };
        let mut ear = Ear {
            pipe: Heard {
                pipe: File::from(OwnedFd::from(output)),
                until: Some(Instant::now() + PATIENCE),
            },
            child,
            errors,
        };
        let link = Link {
            sender: Sender::new(input),
            jobs: Mutex::new(Some(HashMap::new())),
        };
        match greet(&link, &mut ear.pipe, program, platforms) {
            Ok(signature) => {
                ear.pipe.until = None;
                Ok(Connected {
                    signature,
                    link,
                    ear,
                })
            }
            Err(away) => {
                drop(link);
                let said = ear.said();
                Err(match said.is_empty() {
                    true => away,
                    false => Away(format!("{away}: {said}")),
                })
            }
        }
    }
}

/// Both ends say hello; the worker must be of the same version.
fn greet(
    link: &Link,
    pipe: &mut Heard,
    program: &str,
    platforms: &[String],
) -> Result<Signature, Away> {
    link.sender.send(&ToWorker::Hello {
        protocol: PROTOCOL,
        program: program.to_owned(),
        platforms: platforms.to_vec(),
    })?;
    match receive(pipe)? {
        ToScheduler::Hello {
            protocol,
            program: theirs,
        } => {
            if protocol != PROTOCOL || theirs != program {
                return Err(Away(format!(
                    "its mstore is version {theirs} (protocol {protocol}), and this one {program} (protocol {PROTOCOL})"
                )));
            }
        }
        _ => return Err(Away("no hello came".to_owned())),
    }
    match receive(pipe)? {
        ToScheduler::Signature(signature) => Ok(signature),
        _ => Err(Away("it does not say what its machine is like".to_owned())),
    }
}

impl Link {
    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        // Only whole entries are put in.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a job under a number that no other has. What it hears ends when the connection does.
    pub fn start(&self, number: u64, order: &ToWorker) -> Result<mpsc::Receiver<News>, Away> {
        let (sender, receiver) = mpsc::sync_channel(WAITING);
        match &mut *self.jobs() {
            Some(jobs) => jobs.insert(number, sender),
            None => return Err(FrameError::Ended.into()),
        };
        self.sender.send(order)?;
        Ok(receiver)
    }

    /// Asks for the end of a job.
    pub fn cancel(&self, job: u64) {
        // A connection that does not take it is over, which ends the job too.
        let _ = self.sender.send(&ToWorker::Cancel { job });
    }

    /// Ends the connection: the worker hears that nothing more comes, ends what it runs, and goes.
    pub fn close(&self) {
        self.sender.close();
    }

    /// Says that this end is there. To be called every [`ALIVE`](super::frames::ALIVE).
    pub fn alive(&self) -> Result<(), Away> {
        Ok(self.sender.send(&ToWorker::Alive)?)
    }

    /// Whether the connection is over, and that was told.
    pub fn is_over(&self) -> bool {
        self.jobs().is_none()
    }

    /// Passes on what the worker says until the connection is over. `tell` is told why it is before any job hears of
    /// it: what is reported lost must not start there again.
    pub fn listen(&self, ear: &mut Ear, tell: &dyn Fn(Away)) {
        let away = loop {
            match receive(&mut ear.pipe) {
                Ok(ToScheduler::Alive) => {}
                Ok(ToScheduler::Output { job, bytes }) => {
                    let sender = self
                        .jobs()
                        .as_ref()
                        .and_then(|jobs| jobs.get(&job).cloned());
                    // Whoever does not hear it has given the job up.
                    let _ = sender.map(|sender| sender.send(News::Output(bytes.0)));
                }
                Ok(ToScheduler::Ended { job, end, .. }) => {
                    let sender = self.jobs().as_mut().and_then(|jobs| jobs.remove(&job));
                    let _ = sender.map(|sender| sender.send(News::Ended(end)));
                }
                Ok(_) => break Away("it sent what does not belong here".to_owned()),
                Err(FrameError::Ended) => {
                    let said = ear.said();
                    break Away(match said.is_empty() {
                        true => FrameError::Ended.to_string(),
                        false => format!("{}: {said}", FrameError::Ended),
                    });
                }
                Err(error) => break error.into(),
            }
        };
        tell(away);
        // Each job hears that nobody speaks any more.
        *self.jobs() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Remote;

    fn connect(script: &str) -> Result<Connected, Away> {
        let Ok(Remote::Ssh(place)) = "ssh://elsewhere".parse() else {
            panic!("an address");
        };
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Connected::new(&place, command, "1.0.0", &[])
    }

    fn away(script: &str) -> String {
        match connect(script) {
            Ok(_) => panic!("it connects"),
            Err(Away(why)) => why,
        }
    }

    /// Frames as a shell prints them.
    fn printed(frames: &[ToScheduler]) -> String {
        let mut bytes = Vec::new();
        let sender = Sender::new(&mut bytes);
        for frame in frames {
            sender.send(frame).unwrap();
        }
        sender.close();
        let octal: String = bytes.iter().map(|b| format!("\\{b:03o}")).collect();
        format!("printf '{octal}'; cat > /dev/null")
    }

    #[test]
    fn what_is_no_worker_is_told_with_what_it_said() {
        let all = [
            away("exit 0"),
            away("echo 'mstore: not found' >&2; exit 127"),
            away("echo Welcome to this machine, where you can do a lot; sleep 60"),
            away(&printed(&[ToScheduler::Hello {
                protocol: PROTOCOL,
                program: "0.9.0".to_owned(),
            }])),
            away(&printed(&[ToScheduler::Alive])),
        ];
        insta::assert_snapshot!(all.join("\n"), @r"
        the connection ended
        the connection ended: mstore: not found
        it sent what does not belong here: a frame of 1668048215 bytes
        its mstore is version 0.9.0 (protocol 1), and this one 1.0.0 (protocol 1)
        no hello came
        ");
    }
}
