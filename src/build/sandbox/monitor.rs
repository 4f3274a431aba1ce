//! Our side of a running job: maps identities, copies the log, watches clock and cancel token.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use rustix::pipe::PipeFlags;

use super::tty::Proxy;
use super::wire::{Channel, Mode, Order, Reply};
use super::{Finished, Job, Log, SandboxError, Status, Step};
use crate::build::cancel::CancelToken;
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
) -> Result<Finished, SandboxError> {
    let started = Instant::now();
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
        step: Step::Scratch,
        path: Some(order.scratch.clone()),
        source,
        hint: None,
    })?;
    let result = run(program, job, &order, log, cancel, &mut space, started);
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
    program: &Path,
    job: &Job,
    order: &Order,
    mut log: Option<&mut Log<'_>>,
    cancel: &CancelToken,
    space: &mut Watcher,
    started: Instant,
) -> Result<Finished, SandboxError> {
    let (mut helper, mut output) = start(program, order)?;
    let deadline = job.timeout.and_then(|t| started.checked_add(t));
    let mut next_look = started;
    let mut stopped: Option<(Status, Instant)> = None;
    let mut answer = None;
    let mut proxy: Option<Proxy> = None;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let now = Instant::now();
        if now >= next_look {
            space.look();
            next_look = now + LOOK;
        }
        if stopped.is_none() && answer.is_none() {
            let why = if cancel.is_cancelled() {
                Some(Status::Cancelled)
            } else if deadline.is_some_and(|d| now >= d) {
                Some(Status::TimedOut)
            } else {
                None
            };
            if let Some(why) = why {
                helper.stop();
                stopped = Some((why, now));
            }
        }
        if stopped.is_some_and(|(_, since)| now > since + PATIENCE) {
            // Its children die with it.
            let _ = helper.child.kill();
        }

        let mut wake = next_look;
        if let (None, Some(deadline)) = (stopped, deadline) {
            wake = wake.min(deadline);
        }
        let (channel_ready, output_ready, terminal_ready) = {
            let mut fds = vec![PollFd::new(&helper.channel, PollFlags::IN)];
            let output_at = output.as_ref().map(|output| {
                fds.push(PollFd::new(output, PollFlags::IN));
                fds.len() - 1
            });
            if stopped.is_none() {
                fds.push(PollFd::new(cancel, PollFlags::IN));
            }
            let terminal_at = fds.len();
            if let Some(proxy) = &proxy {
                proxy.add_to(&mut fds);
            }
            wait(&mut fds, wake).map_err(io_error("cannot wait for the sandbox"))?;
            (
                !fds[0].revents().is_empty(),
                output_at.is_some_and(|at| !fds[at].revents().is_empty()),
                fds[terminal_at..].iter().any(|fd| !fd.revents().is_empty()),
            )
        };
        if output_ready
            && let Some(pipe) = &output
            && !pass_on(pipe, &mut buffer, &mut log)?
        {
            output = None;
        }
        if terminal_ready && let Some(proxy) = &mut proxy {
            proxy.pass_on(&mut buffer);
        }
        if !channel_ready {
            continue;
        }
        let Some(reply) = receive(&helper.channel)? else {
            // The helper is gone, and with it everything.
            break;
        };
        match reply {
            Reply::Unshared => {
                if stopped.is_none() {
                    map_identities(helper.child.id())?;
                    // A helper that dies here says why, or its end of the channel does.
                    let _ = helper.channel.send(b"go");
                }
            }
            Reply::Started => {}
            Reply::Terminal => {
                let mut fds = helper
                    .channel
                    .receive_fds()
                    .map_err(io_error("cannot receive the terminal"))?;
                let controller = fds.pop().ok_or_else(|| SandboxError::Io {
                    what: "cannot receive the terminal",
                    source: io::ErrorKind::UnexpectedEof.into(),
                })?;
                proxy =
                    Some(Proxy::start(controller).map_err(io_error("cannot use the terminal"))?);
            }
            ended @ Reply::Ended { .. } => answer = answer.or(Some(ended)),
            failed @ Reply::Failed { .. } => answer = answer.or(Some(failed)),
        }
    }
    // No process of the job exists any more, so these ends come without waiting.
    while let Some(pipe) = &output {
        if !pass_on(pipe, &mut buffer, &mut log)? {
            output = None;
        }
    }
    if let Some(proxy) = proxy {
        proxy.finish(&mut buffer);
    }
    let how = helper
        .wait()
        .map_err(io_error("cannot wait for the sandbox helper"))?;
    space.look();
    let finished = |status, usage| Finished {
        status,
        seconds: started.elapsed().as_secs_f64(),
        usage,
        lowest_free: space.lowest(),
    };
    match (answer, stopped) {
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
        (Some(Reply::Failed { step, errno, .. }), None)
            if Step::from_code(step) == Step::Init && errno == Errno::INTR.raw_os_error() =>
        {
            Err(SandboxError::Lost {
                how: "its first process was killed".into(),
            })
        }
        (Some(Reply::Failed { step, path, errno }), None) => {
            let step = Step::from_code(step);
            Err(SandboxError::Setup {
                step,
                hint: host::hint(step, errno),
                path,
                source: io::Error::from_raw_os_error(errno),
            })
        }
        _ => Err(SandboxError::Lost { how }),
    }
}

/// Starts the helper and gives it its order; the other half is the pipe of its output.
fn start(program: &Path, order: &Order) -> Result<(Helper, Option<OwnedFd>), SandboxError> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .map_err(|e| io_error("cannot make a socket")(e.into()))?;
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
    let helper = Helper {
        child,
        channel: Channel(ours),
        waited: false,
    };
    let sent = helper.channel.send(&order.encode()).and_then(|()| {
        if order.mode == Mode::Inherit {
            helper.channel.send_fds(&[
                rustix::stdio::stdin().as_fd(),
                rustix::stdio::stdout().as_fd(),
                rustix::stdio::stderr().as_fd(),
            ])
        } else {
            Ok(())
        }
    });
    match sent {
        // A helper that does not live long enough to listen is found out about by its end.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(io_error("cannot send the job")(e)),
        _ => Ok((helper, output)),
    }
}

/// Gives the new user namespace the identities that this process has, unchanged.
fn map_identities(pid: u32) -> Result<(), SandboxError> {
    for kind in ["uid_map", "gid_map"] {
        let mapped = userns::own_map(kind).map_err(io_error("cannot read the id map"))?;
        let path = format!("/proc/{pid}/{kind}");
        fs::write(&path, userns::identity(&mapped)).map_err(|source| {
            let hint = host::hint(Step::Identities, source.raw_os_error().unwrap_or_default());
            SandboxError::Setup {
                step: Step::Identities,
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

/// Reads what there is; false at the end.
fn pass_on(
    pipe: &OwnedFd,
    buffer: &mut [u8],
    log: &mut Option<&mut Log<'_>>,
) -> Result<bool, SandboxError> {
    match rustix::io::read(pipe, &mut *buffer) {
        Ok(0) => Ok(false),
        Ok(n) => {
            if let Some(log) = log {
                log(&buffer[..n]);
            }
            Ok(true)
        }
        Err(Errno::INTR) => Ok(true),
        Err(e) => Err(io_error("cannot read the log")(e.into())),
    }
}
