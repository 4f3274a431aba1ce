//! git with a closed environment: neither the caller's settings nor those of a repository make it run a
//! program, ask somebody or reach another repository.

use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

/// How much of git's answers and complaints is kept, in bytes.
pub(super) const LONGEST: u64 = 64 << 10;

/// Settings that make git run a program or change what it does, each with a value that does neither. What stands
/// on the command line counts more than any file.
const SETTINGS: [&str; 14] = [
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "core.askPass=",
    "credential.helper=",
    "diff.external=",
    "log.showSignature=false",
    "gpg.program=false",
    "submodule.recurse=false",
    "fetch.recurseSubmodules=false",
    "maintenance.auto=false",
    "gc.auto=0",
    // git refuses repositories of other users because of what their configuration could make it run.
    "safe.directory=*",
    "advice.detachedHead=false",
];

/// A git command with an environment of its own: nothing of the caller's (`GIT_*`, `HOME`) and nothing of the
/// user's or the system's configuration has a say, missing objects are not fetched, hooks, monitors, pagers, helpers
/// and questions are off.
///
/// `protocols` are the ways to other repositories that it may take, by the names that git has for them (`https`,
/// `ssh`, `file`); with an empty list, none. `ssh` is run so that it asks nothing, with the configuration of root's
/// or the user's home as ssh itself finds it; without it nothing is run in its place.
///
/// A repository's own configuration is still read: which refs, objects and remotes it has. So commands that write
/// files out (`checkout`, `add`, with their filters), compare (`diff`, with text conversion) or go to a remote are
/// for repositories that the caller made, whose configuration is known. Input is closed, output and errors are piped.
pub fn command(program: &Path, protocols: &[&str]) -> Command {
    let ssh = match protocols.contains(&"ssh") {
        true => "ssh -o BatchMode=yes",
        false => "false",
    };
    let mut command = Command::new(program);
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        // For releases that do not know the line above, and for all else that would go elsewhere.
        .env("GIT_ALLOW_PROTOCOL", protocols.join(":"))
        .env("GIT_PROTOCOL_FROM_USER", "0")
        .env("GIT_SSH_COMMAND", ssh)
        .env("GIT_SSH_VARIANT", "ssh")
        .env("GIT_ASKPASS", "")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_EDITOR", "false")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command
}

/// A [`command`] in a repository itself, for looking things up only: names, lists, objects as they are.
pub fn look_up(program: &Path, repo: &Path) -> Command {
    let mut command = command(program, &[]);
    command.arg("-C").arg(repo);
    command
}

/// How a command ended and what it said, both outputs cut at 64 KiB.
#[derive(Debug)]
pub struct Answer {
    /// How it ended.
    pub status: ExitStatus,
    /// Its output.
    pub out: Vec<u8>,
    /// What it complained of, as it came: see [`tidy`].
    pub errors: Vec<u8>,
}

/// Runs a command whose answer is short.
pub fn finish(mut command: Command) -> io::Result<Answer> {
    let mut running = Running(command.spawn()?);
    let errors = collect(running.0.stderr.take());
    let out = collect(running.0.stdout.take()).join().unwrap_or_default();
    let status = running.0.wait()?;
    Ok(Answer {
        status,
        out,
        errors: errors.join().unwrap_or_default(),
    })
}

/// How a list ended.
#[derive(Debug)]
pub enum Listed {
    /// Everything was seen, and the command ended so, with this complaint.
    Ended(ExitStatus, Vec<u8>),
    /// It did not come to its end: whoever looked had enough.
    Stopped,
}

/// Runs a command whose answer ends every entry with a zero byte, and shows them one at a time until `see` says
/// that it has seen enough. An entry is at most 64 KiB long, or the list ends there as if it had been stopped.
pub fn list(mut command: Command, see: &mut dyn FnMut(&[u8]) -> bool) -> io::Result<Listed> {
    let mut running = Running(command.spawn()?);
    let errors = collect(running.0.stderr.take());
    if let Some(stdout) = running.0.stdout.take() {
        let mut lines = BufReader::with_capacity(256 << 10, stdout);
        let mut line = Vec::new();
        loop {
            line.clear();
            let read = lines.by_ref().take(LONGEST).read_until(0, &mut line)?;
            if read == 0 {
                break;
            }
            let Some(entry) = line.strip_suffix(b"\0") else {
                return Ok(Listed::Stopped);
            };
            if !see(entry) {
                return Ok(Listed::Stopped);
            }
        }
    }
    let status = running.0.wait()?;
    Ok(Listed::Ended(status, errors.join().unwrap_or_default()))
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and been waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads a pipe to its end in a thread of its own, so that no other pipe can fill up meanwhile.
pub(super) fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // What cannot be read is missing from a message or makes an answer unusable: both are seen later.
            let _ = (&mut pipe).take(LONGEST).read_to_end(&mut kept);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        kept
    })
}

/// What git says, on one line, fit for a terminal.
pub fn tidy(errors: &[u8]) -> String {
    let text = OsStr::from_bytes(errors).to_string_lossy();
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.trim()
                .escape_debug()
                .to_string()
                .replace("\\'", "'")
                .replace("\\\"", "\"")
        })
        .filter(|line| !line.is_empty())
        .take(5)
        .collect();
    match lines.is_empty() {
        true => "no message".into(),
        false => lines.join("; "),
    }
}
