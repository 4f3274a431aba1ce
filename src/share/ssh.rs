//! Ssh connections with the same program at the other end.

use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mstore_store::transfer::{Fact, Object, Source, TransferError};
use mstore_store::{Cancel, Hash, TreeHash};

use super::address::SshAddress;
use super::peer::{Ask, Believe, Offer, Peer};
use super::pipes::{Listening, Speaking, Stops};
use super::wire::{Foreword, Wire};

/// How to start ssh.
#[derive(Clone, Debug)]
pub struct SshOptions {
    /// The program and its first options.
    pub command: Vec<String>,
    /// Whether that is OpenSSH, which shares connections when it is told to.
    pub is_openssh: bool,
    /// The name of mstore at the other end.
    pub remote_program: String,
    /// Ask the other end to believe what nobody signed.
    pub blind: bool,
    /// Seconds that connecting may take, and then each answer; nobody is asked for a password then, and what is
    /// pressed at a terminal does not reach ssh.
    pub unattended: Option<u32>,
    /// The socket of a connection to go through, if it is there (see [`Master`](super::ssh_master::Master)).
    pub through: Option<PathBuf>,
    /// The process at the other end whose store is served, for as long as it is there.
    pub beside: Option<u32>,
}

/// A connection under way: ssh has been started, and nothing was said yet.
#[derive(Debug)]
pub struct Started {
    name: String,
    child: Running,
    patience: Option<Duration>,
    stops: Stops,
}

/// A process that ends, at the latest, with this.
#[derive(Debug)]
struct Running {
    child: Child,
    /// How often it is looked whether it ended by itself.
    tries: u32,
}

impl Running {
    /// Gives a process whose pipes are closed a moment to end by itself. Returns its exit status.
    fn end(&mut self) -> Option<i32> {
        for _ in 0..self.tries {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(20)),
                Ok(Some(status)) => return status.code(),
                Err(_) => return None,
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.stdin.is_some() {
            // Nothing was ever said, and nobody waits for what it may say.
            self.tries = 0;
        }
        self.end();
    }
}

/// Bytes from the other end that are kept, so that they can be shown if they are no hello.
const KEPT: usize = 1000;
/// How long more of them are waited for when it is known that they are none.
const LISTEN: Duration = Duration::from_secs(1);

/// A pipe whose first bytes are kept.
struct Heard<T> {
    pipe: T,
    first: Arc<Mutex<Vec<u8>>>,
}

impl<T: Read> Read for Heard<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.pipe.read(buffer)?;
        let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let room = KEPT.saturating_sub(first.len());
        first.extend_from_slice(&buffer[..read.min(room)]);
        Ok(read)
    }
}

/// Reads what else the other end says in place of a hello: until it ends, or the hello comes after all.
fn listen(pipe: OwnedFd, first: &mut Vec<u8>) -> Option<Foreword> {
    let pipe = std::fs::File::from(pipe);
    let until = Instant::now() + LISTEN;
    let mut buffer = [0; KEPT];
    loop {
        let said = Foreword::of(first);
        let left = until.saturating_duration_since(Instant::now());
        let room = KEPT.saturating_sub(first.len());
        if said.as_ref().is_some_and(|said| said.hello) || room == 0 || left.is_zero() {
            return said;
        }
        let mut patient = Listening {
            pipe: &pipe,
            patience: Some(left),
            until: None,
            stops: Stops::default(),
        };
        match patient.read(&mut buffer[..room]) {
            Ok(0) => return said,
            Ok(read) => first.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return said,
        }
    }
}

/// Text as one word of a shell.
fn quote(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+=:@,".contains(&b);
    if !text.is_empty() && text.bytes().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// The command that runs something on another machine, by its words, with two pipes to it and no terminal.
pub fn command(
    place: &SshAddress,
    options: &SshOptions,
    words: &[&str],
) -> Result<Command, TransferError> {
    let (program, first) = options
        .command
        .split_first()
        .ok_or_else(|| TransferError::peer(place.name(), "no program to run as ssh"))?;
    let mut command = Command::new(program);
    command.args(first);
    if let Some(seconds) = options.unattended {
        command.args([
            "-o",
            "BatchMode=yes",
            "-o",
            &format!("ConnectTimeout={seconds}"),
        ]);
        // Who presses Ctrl-C means this program, which knows what is to end.
        command.process_group(0);
    }
    if let Some(socket) = &options.through {
        let mut path = std::ffi::OsString::from("ControlPath=");
        path.push(socket);
        command.args(["-o", "ControlMaster=no", "-o"]).arg(path);
    }
    if let Some(user) = &place.user {
        command.args(["-l", user]);
    }
    if let Some(port) = place.port {
        command.args(["-p", &port.to_string()]);
    }
    // No terminal, no forwarding: only the two pipes.
    command.args(["-T", "-x", "-a", "--", &place.host]);
    let words: Vec<String> = words.iter().map(|word| quote(word)).collect();
    command.arg(words.join(" "));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command)
}

/// Starts a command of [`command`].
pub fn spawn(place: &SshAddress, mut command: Command) -> Result<Child, TransferError> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.spawn().map_err(|e| {
        let what = match e.kind() {
            io::ErrorKind::NotFound => format!("there is no program {program}; install OpenSSH"),
            _ => format!("cannot run {program}: {e}"),
        };
        TransferError::peer(place.name(), what)
    })
}

/// Starts ssh. Has to come before this process changes who it is.
pub fn start(place: &SshAddress, options: &SshOptions) -> Result<Started, TransferError> {
    let mut words = vec![options.remote_program.as_str(), "serve", "--stdio"];
    if options.blind {
        // Whoever may run any command there may say so; a forced command does not listen.
        words.push("--trust-unsigned");
    }
    if let Some(store) = &place.store {
        words.extend(["--store", store]);
    }
    let beside = options.beside.map(|process| process.to_string());
    if let Some(process) = &beside {
        words.extend(["--beside", process]);
    }
    let mut command = command(place, options, &words)?;
    if options.unattended.is_some() {
        command.stderr(Stdio::null());
    }
    let child = spawn(place, command)?;
    let patience = options.unattended.map(|seconds| {
        // Connecting and answering are waited for together.
        Duration::from_secs(2 * u64::from(seconds))
    });
    let tries = if patience.is_some() { 20 } else { 100 };
    Ok(Started {
        name: place.name(),
        child: Running { child, tries },
        patience,
        stops: Stops::default(),
    })
}

/// A connection.
pub struct SshPeer {
    wire: Option<Wire>,
    child: Mutex<Running>,
    stops: Stops,
}

impl Started {
    /// Breaks the connection off, also while it is made, as soon as one of these is cancelled. Fails where the system
    /// gives no more descriptors.
    pub fn heed(&self, flags: &[&Cancel]) -> io::Result<()> {
        self.stops.set(flags)
    }

    /// Waits until the other end answers.
    pub fn connect(mut self) -> Result<SshPeer, TransferError> {
        let child = &mut self.child.child;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(TransferError::peer(&self.name, "ssh has no pipes"));
        };
        let patience = self.patience;
        // The same pipe: when the other end says no hello, what it says is read to its end.
        let rest = output.as_fd().try_clone_to_owned().ok();
        let first = Arc::new(Mutex::new(Vec::new()));
        let output = Heard {
            pipe: Listening {
                pipe: output,
                patience,
                until: None,
                stops: self.stops.clone(),
            },
            first: first.clone(),
        };
        let input = Speaking {
            pipe: input,
            patience,
            stops: self.stops.clone(),
        };
        // An error closes both pipes, upon which the other end ends.
        match Wire::new(&self.name, Box::new(output), Box::new(input)) {
            Ok(wire) => Ok(SshPeer {
                wire: Some(wire),
                child: Mutex::new(self.child),
                stops: self.stops,
            }),
            Err(error) => {
                let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
                let said = rest.and_then(|rest| listen(rest, &mut first));
                let status = self.child.end();
                Err(instead_of_hello(&self.name, status, said, error))
            }
        }
    }
}

/// What is told of an end that says no hello, by how ssh ended and what came.
fn instead_of_hello(
    name: &str,
    status: Option<i32>,
    said: Option<Foreword>,
    error: TransferError,
) -> TransferError {
    let detail = match (status, &said) {
        (Some(255), _) => "ssh could not connect",
        (Some(127), _) => {
            "mstore is not installed there, or not in its PATH (--remote-program names it)"
        }
        (_, None) => return error,
        (_, Some(said)) if said.hello => {
            "its shell prints something before mstore answers; make it print nothing for sessions without a terminal"
        }
        (_, Some(_)) => "it does not answer as mstore does",
    };
    let detail = match said {
        Some(said) => format!("{detail}; it printed: {}", said.text),
        None => detail.to_owned(),
    };
    TransferError::peer(name, detail)
}

impl SshPeer {
    /// Breaks the connection off as soon as one of these is cancelled, in place of those before. To be called while
    /// nothing is under way. Fails where the system gives no more descriptors.
    pub fn heed(&self, flags: &[&Cancel]) -> io::Result<()> {
        self.stops.set(flags)
    }

    /// The connection itself.
    pub fn wire(&self) -> Result<&Wire, TransferError> {
        // Taken only when this is dropped.
        let gone = || TransferError::peer("ssh", "the connection is closed");
        self.wire.as_ref().ok_or_else(gone)
    }
}

impl Drop for SshPeer {
    fn drop(&mut self) {
        // Closes the pipes, upon which the other end ends by itself.
        self.wire = None;
        let child = self.child.get_mut().unwrap_or_else(|e| e.into_inner());
        child.end();
    }
}

impl Source for SshPeer {
    fn name(&self) -> String {
        self.wire.as_ref().map_or_else(String::new, Source::name)
    }

    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        self.wire()?.fetch(wanted, take)
    }
}

impl Peer for SshPeer {
    fn facts(&self, ask: &Ask, believe: &Believe<'_>) -> Result<Vec<Fact>, TransferError> {
        self.wire()?.facts(ask, believe)
    }

    fn offer(&self, trees: &[TreeHash]) -> Result<Vec<Option<Offer>>, TransferError> {
        self.wire()?.offer(trees)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        assert_eq!(quote("/srv/store"), "/srv/store");
        assert_eq!(quote("a b"), "'a b'");
        assert_eq!(quote("it's; rm -rf $HOME"), "'it'\\''s; rm -rf $HOME'");
        assert_eq!(quote(""), "''");
    }
}
