//! The monitor of a running job: maps identities, copies the log, watches clock and cancel token.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use super::relay::{self, Relays};
use super::tty::Proxy;
use super::wire::{Channel, Mode, Order, Reply};
use super::{Finished, Job, Log, SandboxError, SetupStage, Status};
use crate::build::bounds::{Exceeded, Meter};
use crate::build::cancel::CancelToken;
use crate::build::pause::{self, Registered, Stopwatch};
use crate::build::processors::Jobserver;
use crate::build::space::Watcher;
use crate::build::{HELPER_WORD, clean, host, sys, userns};

/// How often the free space is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// How long the helper may take to end what it was told to end before it is killed itself.
const PATIENCE: Duration = Duration::from_secs(20);

/// The helper; dropping it stops the job and waits until nothing of it is left.
struct Helper {
    child: Child,
    channel: Channel,
    /// Only held: Ctrl-Z reaches the job.
    _registered: Registered,
    waited: bool,
}

impl Helper {
    /// Tells the helper to kill everything: the end of our side is the message.
    fn stop(&self) {
        // It fails only when the helper is gone already.
        let _ = rustix::net::shutdown(&self.channel, Shutdown::Write);
    }

    /// Waits until it is gone; says how it ended.
    fn wait(&mut self) -> io::Result<String> {
        let how = match self.child.wait() {
            Ok(status) => status.to_string(),
            // SIGCHLD is ignored in this process: the kernel has waited for us.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::CHILD) => "unknown status".into(),
            Err(e) => return Err(e),
        };
        self.waited = true;
        Ok(how)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if !self.waited {
            self.stop();
            let _ = self.child.wait();
        }
    }
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> SandboxError {
    move |source| SandboxError::Io { what, source }
}

/// Runs an order to its end.
pub(crate) fn drive(
    program: &Path,
    job: &Job,
    order: Order,
    log: Option<&mut Log<'_>>,
    cancel: &CancelToken,
    begun: &mut dyn FnMut(u32),
) -> Result<Finished, SandboxError> {
    let clock = Stopwatch::start();
    if cancel.is_cancelled() {
        return Ok(Finished {
            status: Status::Cancelled,
            seconds: 0.0,
            usage: sys::Usage::default(),
            lowest_free: None,
        });
    }
    if !rustix::process::geteuid().is_root() {
        return Err(SandboxError::NotEntered);
    }
    let mut space = Watcher::new(&order.scratch).map_err(|source| SandboxError::Setup {
        stage: SetupStage::Scratch,
        path: Some(order.scratch.clone()),
        source,
        hint: None,
    })?;
    let result = start(program, job, &order).and_then(|started| {
        begun(started.0.child.id());
        run(started, job, log, cancel, &mut space, clock)
    });
    // Also after a failure: half a set-up leaves directories, too.
    let mut left = vec!["work"];
    if job.upper.is_none() {
        left.push("upper-thrown-away");
    }
    for name in left {
        let removed = clean::remove_tree(&space.path().join(name));
        if result.is_ok() {
            removed?;
        }
    }
    result
}

fn run(
    (helper, output, relays, meter): Started,
    job: &Job,
    log: Option<&mut Log<'_>>,
    cancel: &CancelToken,
    space: &mut Watcher,
    clock: Stopwatch,
) -> Result<Finished, SandboxError> {
    let mut watch = Watch {
        helper,
        output,
        log,
        proxy: None,
        relays,
        cancel,
        space,
        clock,
        timeout: job.timeout,
        silence: job.silence,
        heard: clock.elapsed(),
        jobserver: job.jobserver.as_ref(),
        most_output: job.most_output,
        overflow: None,
        meter,
        output_left: job.most_output,
        next_look: Instant::now(),
        stopped: None,
        answer: None,
        buffer: vec![0; 64 << 10],
    };
    while watch.turn()? {}
    watch.finish()
}

/// A helper that was started, the pipe of the job's output, and what passes its own on.
type Started = (Helper, Option<OwnedFd>, Relays, Meter);

/// A running job, as seen from outside.
struct Watch<'a, 'l> {
    helper: Helper,
    /// The pipe of the job's output, until its end.
    output: Option<OwnedFd>,
    log: Option<&'a mut Log<'l>>,
    proxy: Option<Proxy>,
    relays: Relays,
    jobserver: Option<&'a Jobserver>,
    cancel: &'a CancelToken,
    space: &'a mut Watcher,
    clock: Stopwatch,
    timeout: Option<Duration>,
    silence: Option<Duration>,
    /// When (by the clock) it wrote something last; at first, when it began.
    heard: Duration,
    /// Bytes that the job may write, and may still write.
    most_output: Option<u64>,
    /// How the job ends that wrote more.
    overflow: Option<Status>,
    output_left: Option<u64>,
    meter: Meter,
    next_look: Instant,
    /// Why and when (by the clock) the helper was told to stop.
    stopped: Option<(Status, Duration)>,
    /// How the job ended, or what could not be set up.
    answer: Option<Reply>,
    buffer: Vec<u8>,
}

/// What is ready to be read.
struct Ready {
    channel: bool,
    output: bool,
    terminal: bool,
}

impl Watch<'_, '_> {
    /// Waits for something to happen and deals with it; false once the helper is gone.
    fn turn(&mut self) -> Result<bool, SandboxError> {
        self.look();
        let ready = self
            .wait()
            .map_err(io_error("cannot wait for the sandbox"))?;
        if ready.output {
            self.pass_on()?;
        }
        if ready.terminal
            && let Some(proxy) = &mut self.proxy
        {
            proxy.pass_on(&mut self.buffer);
        }
        if !ready.channel {
            return Ok(true);
        }
        match receive(&self.helper.channel)? {
            Some(reply) => self.answered(reply).map(|()| true),
            // The helper is gone, and with it everything.
            None => Ok(false),
        }
    }

    /// Looks at the clock, the cancel token and the free space.
    fn look(&mut self) {
        let now = Instant::now();
        if now >= self.next_look {
            self.space.look();
            if self.stopped.is_none()
                && self.meter.is_needed()
                && let Some(exceeded) = self.meter.look()
            {
                self.exceeded(exceeded);
            }
            self.next_look = Instant::now() + LOOK;
        }
        let elapsed = self.clock.elapsed();
        if self.cancel.is_cancelled() {
            self.stop(Status::Cancelled);
        } else if self.timeout.is_some_and(|t| elapsed >= t) {
            self.stop(Status::TimedOut);
        } else if let Some(most) = self.silence
            && elapsed >= self.heard.saturating_add(most)
        {
            let seconds = (elapsed - self.heard).as_secs();
            self.stop(Status::Silent { seconds });
        }
        if self
            .stopped
            .is_some_and(|(_, since)| elapsed > since + PATIENCE)
        {
            // Its children die with it.
            let _ = self.helper.child.kill();
        }
    }

    /// Ends a job that used too much.
    fn exceeded(&mut self, exceeded: Exceeded) {
        let status = Status::TooMuch(exceeded);
        self.overflow.get_or_insert(status);
        self.stop(status);
    }

    /// Tells the helper to stop, unless it was told so or all is over.
    fn stop(&mut self, why: Status) {
        if self.stopped.is_none() && self.answer.is_none() {
            self.helper.stop();
            self.stopped = Some((why, self.clock.elapsed()));
        }
    }

    /// Passes on a piece of output; notices its end, and too much of it.
    fn pass_on(&mut self) -> Result<(), SandboxError> {
        let Some(pipe) = &self.output else {
            return Ok(());
        };
        let n = match rustix::io::read(pipe, &mut *self.buffer) {
            Ok(0) => {
                self.output = None;
                return Ok(());
            }
            Ok(n) => n,
            Err(Errno::INTR) => return Ok(()),
            Err(e) => return Err(io_error("cannot read the log")(e.into())),
        };
        self.heard = self.clock.elapsed();
        let mut taken = n;
        if let Some(left) = &mut self.output_left {
            taken = n.min(usize::try_from(*left).unwrap_or(usize::MAX));
            *left -= taken as u64;
        }
        if let Some(log) = &mut self.log {
            log(&self.buffer[..taken]);
        }
        if taken < n
            && let Some(most) = self.most_output
        {
            // Also of a job that ended before it could be stopped.
            self.overflow = Some(Status::TooMuchOutput { most });
            self.stop(Status::TooMuchOutput { most });
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Ready> {
        let mut wake = self.next_look;
        let silent_until = self.silence.map(|most| self.heard.saturating_add(most));
        for until in [self.timeout, silent_until].into_iter().flatten() {
            if self.stopped.is_none() {
                let left = until.saturating_sub(self.clock.elapsed());
                wake = wake.min(Instant::now() + left.min(LOOK));
            }
        }
        let mut fds = vec![PollFd::new(&self.helper.channel, PollFlags::IN)];
        let output_at = self.output.as_ref().map(|output| {
            fds.push(PollFd::new(output, PollFlags::IN));
            fds.len() - 1
        });
        if self.stopped.is_none() {
            fds.push(PollFd::new(self.cancel, PollFlags::IN));
        }
        let terminal_at = fds.len();
        if let Some(proxy) = &self.proxy {
            proxy.add_to(&mut fds);
        }
        wait(&mut fds, wake)?;
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok(Ready {
            channel: ready(&fds[0]),
            output: output_at.is_some_and(|at| ready(&fds[at])),
            terminal: fds[terminal_at..].iter().any(ready),
        })
    }

    fn answered(&mut self, reply: Reply) -> Result<(), SandboxError> {
        match reply {
            Reply::Unshared => {
                if self.stopped.is_none() {
                    map_identities(self.helper.child.id())?;
                    // A helper that dies here says why, or its end of the channel does.
                    let _ = self.helper.channel.send(b"go");
                }
            }
            // What was set up before is none of its silence.
            Reply::Started => self.heard = self.clock.elapsed(),
            Reply::Terminal => self.proxy = Some(self.connect_terminal()?),
            Reply::Jobserver => {
                let fifo = self.receive_fd("cannot receive the jobserver")?;
                if let Some(jobserver) = self.jobserver {
                    jobserver.connect(fifo);
                }
            }
            Reply::Ended { .. } | Reply::Failed { .. } => {
                self.answer.get_or_insert(reply);
            }
        }
        Ok(())
    }

    fn receive_fd(&self, what: &'static str) -> Result<OwnedFd, SandboxError> {
        let received = self.helper.channel.receive_fds();
        let fd = received.map_err(io_error(what))?.pop();
        fd.ok_or_else(|| SandboxError::Io {
            what,
            source: io::ErrorKind::UnexpectedEof.into(),
        })
    }

    /// Takes the controlling end of the terminal inside.
    fn connect_terminal(&self) -> Result<Proxy, SandboxError> {
        let controller = self.receive_fd("cannot receive the terminal")?;
        Proxy::start(controller).map_err(io_error("cannot use the terminal"))
    }

    /// Reads what is still to be read, and tells how it all ended.
    fn finish(mut self) -> Result<Finished, SandboxError> {
        // No process of the job exists any more, so these ends come without waiting.
        while self.output.is_some() {
            self.pass_on()?;
        }
        if let Some(proxy) = self.proxy.take() {
            proxy.finish(&mut self.buffer);
        }
        std::mem::take(&mut self.relays).finish();
        let how = self
            .helper
            .wait()
            .map_err(io_error("cannot wait for the sandbox helper"))?;
        self.space.look();
        if self.overflow.is_none() {
            self.overflow = self.meter.end().map(Status::TooMuch);
        }
        let finished = |status, usage| Finished {
            status,
            seconds: self.clock.elapsed().as_secs_f64(),
            usage,
            lowest_free: self.space.lowest(),
        };
        // Whoever is told why a job ended is told the reason and not what the kernel did about it.
        if let (Some(status), None | Some((Status::TooMuchOutput { .. } | Status::TooMuch(_), _))) =
            (self.overflow, self.stopped)
        {
            return Ok(finished(status, sys::Usage::default()));
        }
        match (self.answer, self.stopped) {
            (
                Some(Reply::Ended {
                    signal,
                    code,
                    user,
                    system,
                    peak,
                }),
                _,
            ) => {
                let usage = sys::Usage {
                    user: Duration::from_micros(user),
                    system: Duration::from_micros(system),
                    peak_kib: peak,
                };
                let status = if signal {
                    Status::Signalled(code)
                } else {
                    Status::Exited(code)
                };
                Ok(finished(status, usage))
            }
            (_, Some((why, _))) => Ok(finished(why, sys::Usage::default())),
            (Some(Reply::Failed { stage, path, errno }), None) => {
                Err(setup_error(SetupStage::from_code(stage), path, errno))
            }
            _ => Err(SandboxError::Lost { how }),
        }
    }
}

fn setup_error(stage: SetupStage, path: Option<PathBuf>, errno: i32) -> SandboxError {
    if stage == SetupStage::Init && errno == Errno::INTR.raw_os_error() {
        return SandboxError::Lost {
            how: "its first process was killed".into(),
        };
    }
    SandboxError::Setup {
        stage,
        hint: host::hint(stage, errno),
        path,
        source: io::Error::from_raw_os_error(errno),
    }
}

/// Starts the helper and gives it its order; the other parts are the pipe of its output, and what stands between it
/// and our terminal.
fn start(program: &Path, job: &Job, order: &Order) -> Result<Started, SandboxError> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| io_error("cannot make a socket")(e.into()))?;
    let (control, words) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|e| io_error("cannot make a pipe")(e.into()))?;
    let mut command = Command::new(program);
    command
        .arg(HELPER_WORD)
        .stdin(Stdio::from(theirs))
        .env_clear()
        .current_dir("/")
        // Not reached by the terminal's Ctrl-C: stopping in order is our task.
        .process_group(0);
    let mut output = None;
    if order.mode == Mode::Run {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
            .map_err(|e| io_error("cannot make a pipe")(e.into()))?;
        let copy = write.try_clone().map_err(io_error("cannot make a pipe"))?;
        command.stdout(Stdio::from(write)).stderr(Stdio::from(copy));
        output = Some(read);
    } else {
        command.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let child = command.spawn().map_err(|source| SandboxError::Spawn {
        program: program.to_owned(),
        source,
    })?;
    // Our copies of the helper's ends, or their closing would never be seen.
    drop(command);
    // Before it has anything to do, so that all that it starts is counted.
    let meter = Meter::start(job.bounds, child.id(), &order.upper);
    let helper = Helper {
        child,
        channel: Channel(ours),
        _registered: pause::register(words),
        waited: false,
    };
    let (given, relays) = match order.mode {
        Mode::Inherit => relay::stdio().map_err(io_error("cannot make a pipe"))?,
        _ => (Vec::new(), Relays::default()),
    };
    let mut fds = vec![control.as_fd()];
    fds.extend(given.iter().map(AsFd::as_fd));
    let sent = helper
        .channel
        .send(&order.encode())
        .and_then(|()| helper.channel.send_fds(&fds));
    match sent {
        // A helper that does not live long enough to listen is found out about by its end.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(io_error("cannot send the job")(e)),
        _ => Ok((helper, output, relays, meter)),
    }
}

/// Gives the new user namespace the identities that this process has, unchanged.
fn map_identities(pid: u32) -> Result<(), SandboxError> {
    for kind in ["uid_map", "gid_map"] {
        let mapped = userns::own_map(kind).map_err(io_error("cannot read the id map"))?;
        let path = format!("/proc/{pid}/{kind}");
        fs::write(&path, userns::identity(&mapped)).map_err(|source| {
            let hint = host::hint(
                SetupStage::Identities,
                source.raw_os_error().unwrap_or_default(),
            );
            SandboxError::Setup {
                stage: SetupStage::Identities,
                path: Some(path.into()),
                source,
                hint,
            }
        })?;
    }
    Ok(())
}

fn receive(channel: &Channel) -> Result<Option<Reply>, SandboxError> {
    let frame = channel
        .receive()
        .map_err(io_error("cannot hear the sandbox helper"))?;
    frame
        .map(|f| Reply::decode(&f))
        .transpose()
        .map_err(io_error("cannot understand the sandbox helper"))
}

/// Waits for a descriptor, or until `wake`.
fn wait(fds: &mut [PollFd<'_>], wake: Instant) -> io::Result<()> {
    let left = wake.saturating_duration_since(Instant::now());
    let left = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(left.subsec_nanos()),
    };
    match rustix::event::poll(fds, Some(&left)) {
        Ok(_) => Ok(()),
        Err(Errno::INTR) => {
            for fd in fds {
                fd.clear_revents();
            }
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}
