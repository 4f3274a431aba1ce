//! A connection to a worker, as the scheduler holds it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mstore_store::Cancel;

use super::frames::{
    FrameError, MOST_ANSWER, PROTOCOL, SILENCE, Sender, Signature, ToScheduler, ToWorker, WireEnd,
    receive, shown,
};
use crate::build::cancel::CancelToken;
use crate::share::address::SshAddress;
use crate::share::pipes::{Listening, Speaking, Stops};
use crate::share::ssh::{self, SshOptions, SshPeer};

/// How long a machine may take until it has said what it is like.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pieces of news that a job may have waiting for it.
const WAITING: usize = 1024;
/// Last bytes of what a program says on its standard error that are kept, and first ones of what it says in place of a
/// hello.
const KEPT: usize = 2000;
/// How long a worker has to end what it runs when its connection ended: it hears of that in the same moment.
const GRACE: Duration = Duration::from_millis(500);
/// How long an orderly end may take.
const GOODBYE: Duration = Duration::from_secs(1);

/// How long a worker may take to end a job that was cancelled.
const MOST_CANCEL: Duration = Duration::from_secs(5);
/// A worker that was not heard for so long is not waited for when a job is cancelled.
const GONE: Duration = Duration::from_secs(7);

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

/// A job that is waited for.
pub struct Wait<'a> {
    /// Its number.
    pub number: u64,
    /// What is heard of it.
    pub news: &'a mpsc::Receiver<News>,
    /// Ends it.
    pub cancel: &'a CancelToken,
    /// When it has ended, if its worker is one.
    pub until: Option<Instant>,
}

/// The jobs of a connection, each with the way to who waits for it. `None` once the connection is over.
type Jobs = Option<HashMap<u64, mpsc::SyncSender<News>>>;

/// An established connection. It is over when [`Link::listen`] returns.
pub struct Link {
    sender: Sender<Speaking<ChildStdin>>,
    jobs: Mutex<Jobs>,
    /// Ends the connection, and whatever waits for it.
    over: Cancel,
    /// Whether it is ended from here.
    leaving: AtomicBool,
    /// Why it is, where that is known better here.
    why: Mutex<Option<Away>>,
    /// When the worker was heard last.
    heard: Mutex<Instant>,
    /// Connections for trees that nobody uses at the moment. They end with the worker.
    pub idle: Mutex<Vec<SshPeer>>,
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

/// What comes from a program. The first bytes are kept, so that they can be shown if they are no hello.
struct Heard {
    pipe: Listening<File>,
    first: Vec<u8>,
}

impl Read for Heard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.read(buffer)?;
        let room = KEPT.saturating_sub(self.first.len());
        self.first.extend_from_slice(&buffer[..read.min(room)]);
        Ok(read)
    }
}

impl Heard {
    /// What was said in place of a hello, if that is text. A little more of it is waited for.
    fn text(&mut self) -> Option<String> {
        self.pipe.until = Some(Instant::now() + GRACE);
        let mut rest = [0; KEPT];
        while self.first.len() < KEPT && self.read(&mut rest).is_ok_and(|read| read > 0) {}
        let is_text = |c: char| !c.is_control() || c.is_whitespace() || c == '\u{1b}';
        // Frames follow it, perhaps.
        let valid = match std::str::from_utf8(&self.first) {
            Ok(text) => text,
            Err(error) => std::str::from_utf8(&self.first[..error.valid_up_to()]).ok()?,
        };
        let end = valid.find(|c| !is_text(c)).unwrap_or(valid.len());
        let text = shown(&valid[..end]);
        // A few letters are in any number.
        (text.len() >= 3).then_some(text)
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
        shown(text.trim().lines().last().unwrap_or_default())
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
pub fn prepare(
    place: &SshAddress,
    options: &SshOptions,
    program: &str,
    stop: &Cancel,
) -> Result<(), Away> {
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
            Ok(None) if Instant::now() < until && !stop.is_cancelled() => {
                std::thread::sleep(Duration::from_millis(20));
            }
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
    /// Starts a worker by `command` and hears what its machine is like; `stop` breaks that off.
    pub fn new(
        place: &SshAddress,
        mut command: Command,
        program: &str,
        platforms: &[String],
        stop: &Cancel,
    ) -> Result<Connected, Away> {
        let no_event = |error| Away(format!("cannot make an event: {error}"));
        let (over, stops) = (Cancel::new(), Stops::default());
        stops.set(&[&over, stop]).map_err(no_event)?;
        command.stderr(Stdio::piped());
        let mut child = ssh::spawn(place, command).map_err(|e| Away(e.to_string()))?;
        let errors = child.stderr.take().and_then(keep_errors);
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Away("ssh has no pipes".to_owned()));
        };
        let mut ear = Ear {
            pipe: Heard {
                pipe: Listening {
                    pipe: File::from(OwnedFd::from(output)),
                    patience: None,
                    until: Some(Instant::now() + PATIENCE),
                    stops: stops.clone(),
                },
                first: Vec::new(),
            },
            child,
            errors,
        };
        let link = Link {
            sender: Sender::new(Speaking {
                pipe: input,
                patience: Some(SILENCE),
                stops: stops.clone(),
            }),
            jobs: Mutex::new(Some(HashMap::new())),
            over: over.clone(),
            leaving: AtomicBool::new(false),
            why: Mutex::default(),
            heard: Mutex::new(Instant::now()),
            idle: Mutex::default(),
        };
        match greet(&link, &mut ear.pipe, program, platforms) {
            Ok(signature) => {
                // From now on an orderly end is possible.
                stops.set(&[&over]).map_err(no_event)?;
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
    match receive(pipe, MOST_ANSWER) {
        Ok(ToScheduler::Hello {
            protocol,
            program: theirs,
        }) => {
            if protocol != PROTOCOL || theirs != program {
                let theirs = shown(&theirs);
                return Err(Away(format!(
                    "its mstore is version {theirs} (protocol {protocol}), and this one {program} (protocol {PROTOCOL})"
                )));
            }
        }
        Ok(_) => return Err(Away("no hello came".to_owned())),
        Err(FrameError::Silent) => {
            let seconds = PATIENCE.as_secs();
            return Err(Away(format!("no hello came within {seconds} s")));
        }
        Err(error) => {
            let nonsense = matches!(error, FrameError::Nonsense(_));
            return Err(match pipe.text().filter(|_| nonsense) {
                Some(text) => Away(format!(
                    "something is printed there before mstore answers; make its shell print nothing for sessions \
                     without a terminal; it printed: {text}"
                )),
                None => error.into(),
            });
        }
    }
    match receive(pipe, MOST_ANSWER)? {
        ToScheduler::Signature(signature) => Ok(Signature {
            obstacle: signature.obstacle.map(|text| shown(&text)),
            machine: shown(&signature.machine),
            platforms: signature
                .platforms
                .into_iter()
                .filter(|platform| platforms.contains(platform))
                .collect(),
            ..signature
        }),
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

    /// Waits until a job has ended, and passes on what it prints as long as `log` takes it.
    pub fn wait(
        &self,
        job: &Wait<'_>,
        log: &mut dyn FnMut(&[u8]) -> Option<()>,
    ) -> Result<WireEnd, Away> {
        let mut cancelled: Option<Instant> = None;
        loop {
            match job.news.recv_timeout(Duration::from_millis(100)) {
                Ok(News::Output(bytes)) => {
                    let more = || Away("it sent more output than a step may write".to_owned());
                    log(&bytes).ok_or_else(more)?;
                }
                Ok(News::Ended(end)) => return Ok(end),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Away("the connection ended while it was built".to_owned()));
                }
            }
            if job.until.is_some_and(|until| Instant::now() > until) {
                return Err(Away("it did not end a step whose time was over".to_owned()));
            }
            match cancelled {
                None if job.cancel.is_cancelled() => {
                    cancelled = Some(Instant::now());
                    self.cancel(job.number);
                }
                // Whoever ends it there is not this program: the connection goes, and the worker with it.
                Some(since) if since.elapsed() > MOST_CANCEL || self.silence() > GONE => {
                    self.abandon(Away("it did not end what was cancelled".to_owned()));
                    return Ok(WireEnd::Cancelled);
                }
                _ => {}
            }
        }
    }

    /// Asks for the end of a job.
    pub fn cancel(&self, job: u64) {
        // A connection that does not take it is over, which ends the job too.
        let _ = self.sender.send(&ToWorker::Cancel { job });
    }

    /// Ends the connection in order: the worker hears that nothing more comes, ends what it runs, and goes. One that
    /// does not is left to itself after a moment. Returns when the connection is over.
    pub fn close(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        let until = Instant::now() + GOODBYE;
        // Whoever speaks at this moment to a pipe that takes nothing ends with the connection.
        self.sender.close();
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.abandon(FrameError::Ended.into());
    }

    /// Ends the connection at once, for this reason. Returns when that was told, before which no job of it may be
    /// reported lost: it might start there again.
    pub fn abandon(&self, why: Away) {
        let mut first = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(why);
        drop(first);
        self.leaving.store(true, Ordering::Relaxed);
        self.over.cancel();
        let until = Instant::now() + SILENCE;
        while !self.is_over() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Is cancelled when the connection is over or about to be.
    pub fn over(&self) -> &Cancel {
        &self.over
    }

    /// For how long nothing was heard of the worker.
    pub fn silence(&self) -> Duration {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.elapsed()
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
            // Whoever sends a byte now and then is as good as silent.
            ear.pipe.pipe.until = Some(Instant::now() + SILENCE);
            let frame = receive(&mut ear.pipe, MOST_ANSWER);
            *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            match frame {
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
                    if !self.leaving.load(Ordering::Relaxed) {
                        std::thread::sleep(GRACE);
                    }
                    break Away(match said.is_empty() {
                        true => FrameError::Ended.to_string(),
                        false => format!("{}: {said}", FrameError::Ended),
                    });
                }
                Err(FrameError::Silent) => {
                    let seconds = SILENCE.as_secs();
                    break Away(format!("nothing was heard for {seconds} s"));
                }
                Err(error) => break error.into(),
            }
        };
        let why = self.why.lock().unwrap_or_else(PoisonError::into_inner);
        let away = why.clone().unwrap_or(away);
        drop(why);
        tell(away);
        // Each job hears that nobody speaks any more, and trees that are under way are not waited for.
        *self.jobs() = None;
        self.over.cancel();
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
        Connected::new(&place, command, "1.0.0", &[], &Cancel::new())
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
        something is printed there before mstore answers; make its shell print nothing for sessions without a terminal; it printed: Welcome to this machine, where you can do a lot
        its mstore is version 0.9.0 (protocol 2), and this one 1.0.0 (protocol 2)
        no hello came
        ");
    }

    /// What a worker says before it builds.
    fn greeting() -> [ToScheduler; 2] {
        [
            ToScheduler::Hello {
                protocol: PROTOCOL,
                program: "1.0.0".to_owned(),
            },
            ToScheduler::Signature(Signature {
                host: "far".to_owned(),
                machine: "x86_64".to_owned(),
                kernel: "6.1".to_owned(),
                processors: 1,
                platforms: Vec::new(),
                free: 1 << 40,
                clock: 0,
                process: 1,
                obstacle: None,
            }),
        ]
    }

    #[test]
    fn a_step_whose_time_is_over_is_given_up_though_its_worker_goes_on_talking() {
        let Ok(connected) = connect(&printed(&greeting())) else {
            panic!("it is a worker");
        };
        let (says, news) = mpsc::sync_channel(WAITING);
        let talks = std::thread::spawn(move || {
            while says.send(News::Output(b"still here".to_vec())).is_ok() {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let mut heard = 0;
        let wait = Wait {
            number: 1,
            news: &news,
            cancel: &CancelToken::new().unwrap(),
            until: Some(Instant::now() + Duration::from_millis(100)),
        };
        let end = connected.link.wait(&wait, &mut |_| {
            heard += 1;
            Some(())
        });
        let why = Away("it did not end a step whose time was over".to_owned());
        assert_eq!(end, Err(why));
        assert!(heard > 0, "it was heard until then");
        drop(news);
        talks.join().unwrap();
    }
}
