//! Runs one job in a sandbox: namespaces, an overlay root, no network, few privileges.
//!
//! [`Sandbox::run`] starts a helper (this same program under another word, so that nothing
//! delicate runs in a forked copy of a process with threads), maps its identities, and then only
//! listens: to the log, to the helper's answers, to the clock, to the cancel token. What happens
//! on the other side is told in `inside.rs`.

mod inherited;
mod inside;
mod limits;
mod monitor;
mod mounts;
mod relay;
mod seccomp;
mod stages;
mod tty;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

pub(crate) use inside::helper_main;
pub use stages::SetupStage;

use super::bounds::{Bounds, Exceeded};
use super::cancel::CancelToken;
use super::host;
use super::processors::Jobserver;
use super::space::Free;
use super::sys::Usage;

/// A directory or file of this machine that the job sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where it is on this machine (absolute).
    pub source: PathBuf,
    /// Where it appears inside (absolute; need not exist there).
    pub target: PathBuf,
    /// Whether the job may change it. Inputs are read-only; this is for caches.
    pub writable: bool,
}

/// What to run, and over what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The root's read-only layers, topmost first; absolute paths. Usually a checkout's.
    pub layers: Vec<PathBuf>,
    /// Takes all changes; made if it does not exist. With `None` changes are thrown away.
    ///
    /// On the same file system as `scratch`. What is written here is *not* synced to disk.
    pub upper: Option<PathBuf>,
    /// An existing directory for the duration of the job; what is made there is removed again.
    pub scratch: PathBuf,
    /// Inputs.
    pub binds: Vec<Bind>,
    /// The step: its `#!` line is honoured, without one it runs under `/bin/sh -e`.
    pub script: Vec<u8>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The `uname` machine that the root's programs are for.
    pub platform: String,
    /// `/tmp` belongs to the root (and its changes are kept) instead of being private.
    pub tmp_on_root: bool,
    /// The time after which the job is stopped; time in which this process is stopped by Ctrl-Z
    /// does not count.
    pub timeout: Option<Duration>,
    /// The time without output after which the job is stopped; counted as `timeout` is.
    pub silence: Option<Duration>,
    /// The number of bytes of output after which the job is stopped.
    pub most_output: Option<u64>,
    /// What it may use of the machine.
    pub bounds: Bounds,
    /// The job sees one processor less than it might, if there are several.
    pub fewer_processors: bool,
    /// Fills the jobserver that it finds; without one there is none.
    pub jobserver: Option<Jobserver>,
}

/// How the script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// By itself, with this status; 0 is success.
    Exited(i32),
    /// By a signal.
    Signalled(i32),
    /// By us: its time was over.
    TimedOut,
    /// By us: it wrote nothing for too long.
    Silent {
        /// How many seconds it was silent.
        seconds: u64,
    },
    /// By us: it wrote more than it may.
    TooMuchOutput {
        /// How many bytes it may write.
        most: u64,
    },
    /// By us or by the kernel: it used more than it may.
    TooMuch(Exceeded),
    /// By us: somebody cancelled.
    Cancelled,
}

impl Status {
    /// Whether the script succeeded.
    pub fn is_success(self) -> bool {
        self == Status::Exited(0)
    }

    /// Whether it was ended because it was over a limit.
    pub fn is_limit(self) -> bool {
        !matches!(
            self,
            Status::Exited(_) | Status::Signalled(_) | Status::Cancelled
        )
    }

    /// The same as wait(2) gives it. What was ended by us was killed.
    pub fn raw(self) -> i32 {
        match self {
            Status::Exited(code) => (code & 0xff) << 8,
            Status::Signalled(signal) => signal & 0x7f,
            Status::TimedOut
            | Status::Silent { .. }
            | Status::TooMuchOutput { .. }
            | Status::TooMuch(_)
            | Status::Cancelled => 9,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Status::Exited(code) => write!(f, "exit status {code}"),
            Status::Signalled(signal) => write!(f, "killed by signal {signal}"),
            Status::TimedOut => f.write_str("timed out"),
            Status::Silent { seconds } => write!(f, "wrote nothing for {seconds} s"),
            Status::TooMuchOutput { most } => write!(f, "wrote more than {most} bytes of output"),
            Status::TooMuch(exceeded) => exceeded.fmt(f),
            Status::Cancelled => f.write_str("cancelled"),
        }
    }
}

/// A job that ran.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    /// How it ended.
    pub status: Status,
    /// From start to the end of its last process, without time in which this process was stopped.
    pub seconds: f64,
    /// What it used, as far as its processes were waited for.
    pub usage: Usage,
    /// The least free space seen where its changes go. A script that failed while
    /// [`Free::is_exhausted`] holds for this failed because of the machine.
    pub lowest_free: Option<Free>,
}

impl Finished {
    /// Whether the script failed while the file system that takes its changes was full.
    pub fn disk_was_full(&self) -> bool {
        // Who filled it up to a limit of its own is to blame itself.
        let limited = matches!(self.status, Status::TooMuch(_));
        !self.status.is_success() && !limited && self.lowest_free.is_some_and(|f| f.is_exhausted())
    }
}

/// A job that could not be run. Never the script's fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// The job itself makes no sense.
    #[error("bad sandbox job: {0}")]
    BadJob(String),
    /// This process is neither root nor in a user namespace of its own.
    #[error("builds need a user namespace, and this process did not enter one")]
    NotEntered,
    /// This machine cannot run the job's programs.
    #[error(transparent)]
    Platform(#[from] host::PlatformError),
    /// The helper could not be started.
    #[error("cannot start the sandbox helper {}", program.display())]
    Spawn {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A stage of setting up failed.
    #[error("sandbox: {stage} failed{}{}", shown_path(path), shown_hint(hint))]
    Setup {
        /// The stage.
        stage: SetupStage,
        /// What it was about.
        path: Option<PathBuf>,
        /// Why.
        source: io::Error,
        /// What to do about it, where that is known.
        hint: Option<String>,
    },
    /// The helper ended without an answer (killed from outside, or out of memory).
    #[error("the sandbox was killed from outside ({how}); is the machine out of memory?")]
    Lost {
        /// How the helper ended.
        how: String,
    },
    /// Something between us and the helper failed.
    #[error("sandbox: {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What the job left in its scratch directory resists.
    #[error(transparent)]
    Clean(#[from] super::clean::CleanError),
}

impl SandboxError {
    /// Whether the cause is a full file system.
    pub fn is_disk_full(&self) -> bool {
        let source = match self {
            SandboxError::Setup { source, .. }
            | SandboxError::Io { source, .. }
            | SandboxError::Spawn { source, .. } => source,
            SandboxError::Clean(e) => &e.source,
            _ => return false,
        };
        matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }
}

fn shown_path(path: &Option<PathBuf>) -> String {
    path.as_ref()
        .map(|p| format!(": {}", p.display()))
        .unwrap_or_default()
}

fn shown_hint(hint: &Option<String>) -> String {
    hint.as_ref().map(|h| format!(" ({h})")).unwrap_or_default()
}

/// Takes what a job writes, piece by piece as it comes.
pub type Log<'a> = dyn FnMut(&[u8]) + 'a;

/// Starts jobs. Any number may run at once, from any threads.
#[derive(Clone, Debug)]
pub struct Sandbox {
    program: PathBuf,
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        Sandbox::new()
    }
}

impl Sandbox {
    /// Uses this program itself as the helper; its `main` calls [`super::hidden_main`].
    pub fn new() -> Sandbox {
        Sandbox::with_program("/proc/self/exe".into())
    }

    /// Uses another program whose `main` calls [`super::hidden_main`].
    pub fn with_program(program: PathBuf) -> Sandbox {
        Sandbox { program }
    }

    /// Runs the job's script to its end; `log` gets what it writes, as it comes.
    ///
    /// When this returns, no process of the job exists any more, whatever happened.
    pub fn run(
        &self,
        job: &Job,
        log: &mut Log<'_>,
        cancel: &CancelToken,
    ) -> Result<Finished, SandboxError> {
        self.run_told(job, log, cancel, &mut |_| ())
    }

    /// The same; `begun` is told the number of the job's process on this machine, once it is there.
    pub fn run_told(
        &self,
        job: &Job,
        log: &mut Log<'_>,
        cancel: &CancelToken,
        begun: &mut dyn FnMut(u32),
    ) -> Result<Finished, SandboxError> {
        let order = order(job, wire::Mode::Run, Vec::new())?;
        monitor::drive(&self.program, job, order, Some(log), cancel, begun)
    }

    /// Runs a command (a shell, if none is given) with this process's own input and output.
    ///
    /// When those are a terminal, the command gets a terminal of its own inside.
    pub fn shell(
        &self,
        job: &Job,
        argv: &[String],
        cancel: &CancelToken,
    ) -> Result<Finished, SandboxError> {
        let argv = if argv.is_empty() {
            let shell = "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi";
            vec![b"/bin/sh".to_vec(), b"-c".to_vec(), shell.into()]
        } else {
            argv.iter().map(|a| a.clone().into_bytes()).collect()
        };
        let mode = if tty::have_terminal() {
            wire::Mode::Terminal
        } else {
            wire::Mode::Inherit
        };
        let mut order = order(job, mode, argv)?;
        for (name, value) in [("HOME", "/root"), ("PS1", "(mstore) \\w \\$ ")] {
            if !job.env.contains_key(name) {
                order.env.push((name.into(), value.into()));
            }
        }
        monitor::drive(&self.program, job, order, None, cancel, &mut |_| ())
    }

    /// Sets up a sandbox over nothing and takes it down: an error tells what this machine lacks.
    pub fn probe(&self, scratch: &Path) -> Result<(), SandboxError> {
        let job = Job {
            layers: Vec::new(),
            upper: None,
            scratch: scratch.to_owned(),
            binds: Vec::new(),
            script: Vec::new(),
            env: BTreeMap::new(),
            platform: host::machine(),
            tmp_on_root: false,
            timeout: Some(Duration::from_secs(60)),
            silence: None,
            most_output: None,
            bounds: Bounds::default(),
            fewer_processors: false,
            jobserver: None,
        };
        let order = order(&job, wire::Mode::Probe, Vec::new())?;
        let cancel = CancelToken::new().map_err(|source| SandboxError::Io {
            what: "cannot make an event descriptor",
            source,
        })?;
        monitor::drive(&self.program, &job, order, None, &cancel, &mut |_| ()).map(drop)
    }
}

/// Places that are the sandbox's own.
const RESERVED: [&str; 5] = ["/dev", "/proc", "/sys", "/mstore/step", "/mstore/jobs"];

fn order(job: &Job, mode: wire::Mode, argv: Vec<Vec<u8>>) -> Result<wire::Order, SandboxError> {
    let bad = |text: String| Err(SandboxError::BadJob(text));
    let upper = job
        .upper
        .clone()
        .unwrap_or_else(|| job.scratch.join("upper-thrown-away"));
    let sources = job.binds.iter().map(|b| &b.source);
    for path in job
        .layers
        .iter()
        .chain([&upper, &job.scratch])
        .chain(sources)
    {
        if !path.is_absolute() {
            return bad(format!("{} is not an absolute path", path.display()));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for bind in &job.binds {
        let target = &bind.target;
        let plain = target
            .components()
            .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !target.is_absolute() || !plain {
            return bad(format!("an input cannot be shown at {}", target.display()));
        }
        let whole = ["/", "/tmp", "/mstore"]
            .iter()
            .any(|p| target == Path::new(p));
        if whole || RESERVED.iter().any(|p| target.starts_with(p)) {
            return bad(format!("{} is the sandbox's own", target.display()));
        }
        if !seen.insert(target) {
            return bad(format!("two inputs are to appear at {}", target.display()));
        }
    }
    host::runs(&job.platform)?;
    let mut env = Vec::new();
    for (name, value) in &job.env {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return bad(format!("{name:?} cannot be put into the environment"));
        }
        env.push((name.clone().into_bytes(), value.clone().into_bytes()));
    }
    Ok(wire::Order {
        mode,
        parent: rustix::process::getpid().as_raw_nonzero().get() as u32,
        layers: job.layers.clone(),
        upper,
        scratch: job.scratch.clone(),
        binds: job
            .binds
            .iter()
            .map(|b| wire::WireBind {
                source: b.source.clone(),
                target: b.target.clone(),
                writable: b.writable,
            })
            .collect(),
        script: job.script.clone(),
        argv,
        env,
        linux32: host::is_32_bit_of(&host::machine(), &job.platform),
        tmp_on_root: job.tmp_on_root,
        fewer_processors: job.fewer_processors,
        jobserver: job.jobserver.is_some(),
    })
}
