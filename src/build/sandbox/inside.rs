//! The helper process: from an order on its standard input to a running script.
//!
//! Three processes, all of this program and all with a single thread:
//!
//! ```text
//! mstore ── helper ── init (process 1 inside) ── the script
//! ```
//!
//! The *helper* makes the namespaces, waits until mstore has mapped the identities, forks init and
//! watches: when mstore goes away or asks for it, it kills init. *Init* builds the root, gives up
//! privileges, forks the script, and reaps. When init ends, the kernel kills whatever else runs in
//! its pid namespace; only then can the helper's wait return, so when the helper is gone, so is
//! every process of the build. Each of the three dies with its parent.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode as FileMode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal, WaitOptions, WaitStatus};
use rustix::pty::OpenptFlags;
use rustix::thread::UnshareFlags;

use super::inherited;
use super::limits;
use super::mounts;
use super::stages::{During, SetupStage, Trouble};
use super::wire::{Channel, Mode, Order, Reply};
use crate::build::{pause, sys};

/// The exit status by convention when a script's interpreter does not exist.
const NOT_FOUND: i32 = 127;
/// The exit status by convention when it exists and cannot be run.
const NOT_RUNNABLE: i32 = 126;

/// Where the script lies inside.
const SCRIPT: &str = "/mstore/step";

/// Runs the helper; the order comes, and the answers go, on standard input.
pub(crate) fn helper_main() -> ! {
    let code = match open_channel() {
        Ok(channel) => match help(&channel) {
            Ok(()) => 0,
            Err(trouble) => {
                report(&channel, trouble);
                1
            }
        },
        // Not started by mstore: there is nobody to answer.
        Err(_) => 2,
    };
    std::process::exit(code)
}

#[allow(unsafe_code)]
fn open_channel() -> Result<Channel, Errno> {
    // What mstore itself was started with and does not know of.
    // SAFETY: this is the first thing the process does: it has opened nothing yet.
    unsafe { sys::close_from(3) }.map_err(|_| Errno::NOSYS)?;
    // An ignored SIGCHLD, handed down from whoever started mstore, would take away our children's
    // exit statuses.
    sys::reset_signals();
    let stdin = rustix::stdio::stdin();
    rustix::net::sockopt::socket_type(stdin)?;
    let channel = rustix::io::fcntl_dupfd_cloexec(stdin, 3)?;
    // From here on standard input is like anywhere else; the socket must not leak to the script.
    let null = rustix::fs::open(
        "/dev/null",
        OFlags::RDWR | OFlags::CLOEXEC,
        FileMode::empty(),
    )?;
    rustix::stdio::dup2_stdin(null)?;
    Ok(Channel(channel))
}

fn report(channel: &Channel, trouble: Trouble) {
    let reply = Reply::Failed {
        stage: trouble.stage.code(),
        path: trouble.path,
        errno: trouble.errno,
    };
    // When mstore is gone nobody wants to know.
    let _ = channel.send(&reply.encode());
}

fn help(channel: &Channel) -> Result<(), Trouble> {
    let order = channel
        .receive()
        .during(SetupStage::Protocol)?
        .ok_or(Errno::PIPE)
        .during(SetupStage::Protocol)?;
    let order = Order::decode(&order).during(SetupStage::Protocol)?;
    let mut stdio = channel.receive_fds().during(SetupStage::Protocol)?;
    if stdio.is_empty() {
        return Err(Errno::PROTO).during(SetupStage::Protocol);
    }
    let control = stdio.remove(0);
    die_with_parent(order.parent)?;
    inherited::settle()?;
    if order.fewer_processors {
        inherited::leave_a_processor().during(SetupStage::Limits)?;
    }
    sys::unshare(
        UnshareFlags::NEWUSER
            | UnshareFlags::NEWNS
            | UnshareFlags::NEWPID
            | UnshareFlags::NEWIPC
            | UnshareFlags::NEWUTS
            | UnshareFlags::NEWNET
            | UnshareFlags::NEWCGROUP,
    )
    .during(SetupStage::Namespaces)?;
    channel
        .send(&Reply::Unshared.encode())
        .during(SetupStage::Protocol)?;
    if channel.receive().during(SetupStage::Protocol)?.is_none() {
        return Ok(());
    }
    // With a single id there are no groups to give up, and the kernel says so.
    match rustix::thread::set_thread_groups(&[]) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(e) => return Err(e).during(SetupStage::Identities),
    }
    // New credentials make the kernel forget the death signal.
    die_with_parent(order.parent)?;

    let (alive, held) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).during(SetupStage::Fork)?;
    match sys::fork().during(SetupStage::Fork)? {
        None => {
            drop(held);
            let code = match init(channel, &order, stdio, &alive, &control) {
                Ok(()) => 0,
                Err(trouble) => {
                    report(channel, trouble);
                    1
                }
            };
            std::process::exit(code)
        }
        Some(init) => {
            drop((alive, stdio, control));
            let status = watch(channel, init)?;
            drop(held);
            match status.terminating_signal() {
                // What init had to say it has said, unless it was killed.
                Some(_) => Err(Errno::INTR).during(SetupStage::Init),
                None => Ok(()),
            }
        }
    }
}

fn die_with_parent(parent: u32) -> Result<(), Trouble> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .during(SetupStage::Init)?;
    let now = rustix::process::getppid().map_or(0, |p| p.as_raw_nonzero().get() as u32);
    if now != parent {
        // It died before the signal was asked for.
        std::process::exit(1);
    }
    Ok(())
}

/// Waits for init; kills it when mstore says so or is gone.
fn watch(channel: &Channel, init: Pid) -> Result<WaitStatus, Trouble> {
    let handle = rustix::process::pidfd_open(init, PidfdFlags::empty()).during(SetupStage::Init)?;
    let mut watched = true;
    loop {
        let mut fds = [
            PollFd::new(&handle, PollFlags::IN),
            PollFd::new(channel, PollFlags::IN),
        ];
        let fds = if watched { &mut fds[..] } else { &mut fds[..1] };
        match rustix::event::poll(fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).during(SetupStage::Init),
        }
        if !fds[0].revents().is_empty() {
            break;
        }
        // After the go-ahead mstore sends nothing more: whatever comes means the end.
        if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            watched = false;
            let _ = rustix::process::pidfd_send_signal(&handle, Signal::KILL);
        }
    }
    loop {
        match rustix::process::waitpid(Some(init), WaitOptions::empty()) {
            Ok(Some((_, status))) => return Ok(status),
            Ok(None) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).during(SetupStage::Init),
        }
    }
}

/// Process 1 of the sandbox.
fn init(
    channel: &Channel,
    order: &Order,
    stdio: Vec<OwnedFd>,
    alive: &OwnedFd,
    control: &OwnedFd,
) -> Result<(), Trouble> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .during(SetupStage::Init)?;
    // The helper may have died before that; then the other end of this pipe is closed.
    let mut fds = [PollFd::new(alive, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    if rustix::event::poll(&mut fds, Some(&now)).during(SetupStage::Init)? > 0 {
        std::process::exit(1);
    }
    rustix::process::umask(FileMode::from_raw_mode(0));
    if let Some(fifo) = mounts::enter_root(order)? {
        channel
            .send(&Reply::Jobserver.encode())
            .during(SetupStage::Protocol)?;
        channel
            .send_fds(&[fifo.as_fd()])
            .during(SetupStage::Protocol)?;
    }
    rustix::process::umask(FileMode::from_raw_mode(0o022));
    rustix::system::sethostname(b"mstore").during(SetupStage::Hostname)?;
    rustix::system::setdomainname(b"(none)").during(SetupStage::Hostname)?;
    sys::loopback_up().during(SetupStage::Network)?;
    let terminal = match order.mode {
        Mode::Terminal => Some(make_terminal(channel)?),
        _ => None,
    };
    inherited::lower_open_files()?;
    if order.linux32 {
        limits::pretend_32_bit()?;
    }
    // Nobody inside may look into this process: it is mstore's own program.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .during(SetupStage::Init)?;
    limits::drop_privileges(order.linux32)?;
    if order.mode == Mode::Probe {
        return ended(channel, 0, false);
    }
    let children = sys::child_events().during(SetupStage::Init)?;
    match sys::fork().during(SetupStage::Fork)? {
        None => run_main(order, &stdio, terminal.as_ref()),
        Some(main) => {
            drop((stdio, terminal));
            channel
                .send(&Reply::Started.encode())
                .during(SetupStage::Protocol)?;
            reap(channel, main, &children, control)
        }
    }
}

/// Opens a new terminal inside and sends its controlling end to mstore.
fn make_terminal(channel: &Channel) -> Result<OwnedFd, Trouble> {
    let path = Path::new("/dev/ptmx");
    let controller = rustix::fs::open(
        path,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        FileMode::empty(),
    )
    .at(SetupStage::Terminal, path)?;
    rustix::pty::unlockpt(&controller).at(SetupStage::Terminal, path)?;
    let terminal = rustix::pty::ioctl_tiocgptpeer(
        &controller,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )
    .at(SetupStage::Terminal, path)?;
    channel
        .send(&Reply::Terminal.encode())
        .during(SetupStage::Protocol)?;
    channel
        .send_fds(&[controller.as_fd()])
        .during(SetupStage::Terminal)?;
    Ok(terminal)
}

/// Waits for everything that ends inside, until the main process has; stops all processes, and lets
/// them go on, when the control pipe says so.
fn reap(
    channel: &Channel,
    main: Pid,
    children: &OwnedFd,
    control: &OwnedFd,
) -> Result<(), Trouble> {
    let mut watched = true;
    loop {
        let mut fds = [
            PollFd::new(children, PollFlags::IN),
            PollFd::new(control, PollFlags::IN),
        ];
        let fds = if watched { &mut fds[..] } else { &mut fds[..1] };
        match rustix::event::poll(fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e).during(SetupStage::Init),
        }
        if fds.get(1).is_some_and(|fd| !fd.revents().is_empty()) {
            let mut word = [0];
            match rustix::io::read(control, &mut word) {
                Ok(1) if word[0] == pause::STOP => stop_all(Signal::STOP),
                Ok(1) if word[0] == pause::GO_ON => stop_all(Signal::CONT),
                // mstore is gone, and soon so are we.
                _ => watched = false,
            }
        }
        sys::drain(children);
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == main => {
                    return match status.terminating_signal() {
                        Some(signal) => ended(channel, signal, true),
                        None => ended(channel, status.exit_status().unwrap_or(1), false),
                    };
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) => break,
                Err(e) => return Err(e).during(SetupStage::Init),
            }
        }
    }
}

fn stop_all(signal: Signal) {
    // There may be no process any more.
    let _ = sys::signal_all(signal);
}

fn ended(channel: &Channel, code: i32, signal: bool) -> Result<(), Trouble> {
    let usage = sys::children_usage();
    let reply = Reply::Ended {
        signal,
        code,
        user: usage.user.as_micros() as u64,
        system: usage.system.as_micros() as u64,
        peak: usage.peak_kib,
    };
    channel.send(&reply.encode()).during(SetupStage::Protocol)
}

/// Becomes the script or the shell. Messages go to the log: from here on it is the build's fault.
fn run_main(order: &Order, stdio: &[OwnedFd], terminal: Option<&OwnedFd>) -> ! {
    let problem = match prepare_main(stdio, terminal) {
        Err(e) => format!("cannot prepare the process: {e}"),
        Ok(()) => {
            let (mut command, name) = main_command(order);
            command.env_clear();
            for (key, value) in &order.env {
                command.env(OsStr::from_bytes(key), OsStr::from_bytes(value));
            }
            let error = command.exec();
            let code = match error.kind() {
                std::io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_RUNNABLE,
            };
            say(&explain(&name, &order.script, &error));
            std::process::exit(code)
        }
    };
    say(&problem);
    std::process::exit(NOT_RUNNABLE)
}

fn say(text: &str) {
    let _ = rustix::io::write(
        rustix::stdio::stderr(),
        format!("mstore: {text}\n").as_bytes(),
    );
}

fn explain(name: &str, script: &[u8], error: &std::io::Error) -> String {
    if name != SCRIPT {
        return format!("cannot run {name} in this root: {error}");
    }
    let first = script.split(|&b| b == b'\n').next().unwrap_or_default();
    let first = String::from_utf8_lossy(&first[..first.len().min(200)]);
    format!("cannot run the step, which starts with `{first}`, in this root: {error}")
}

fn prepare_main(stdio: &[OwnedFd], terminal: Option<&OwnedFd>) -> Result<(), Errno> {
    rustix::process::setsid()?;
    if let Some(terminal) = terminal {
        rustix::process::ioctl_tiocsctty(terminal)?;
        set_stdio(terminal.as_fd(), terminal.as_fd(), terminal.as_fd())?;
    } else if let [input, output, error] = stdio {
        set_stdio(input.as_fd(), output.as_fd(), error.as_fd())?;
    } else {
        // The private /dev/null rather than the machine's.
        let null = rustix::fs::open(
            "/dev/null",
            OFlags::RDONLY | OFlags::CLOEXEC,
            FileMode::empty(),
        )?;
        rustix::stdio::dup2_stdin(null)?;
    }
    sys::reset_signals();
    sys::close_from_on_exec(3).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::INVAL))
}

fn set_stdio(
    input: BorrowedFd<'_>,
    output: BorrowedFd<'_>,
    error: BorrowedFd<'_>,
) -> Result<(), Errno> {
    rustix::stdio::dup2_stdin(input)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(error)
}

fn main_command(order: &Order) -> (Command, String) {
    if let Some((program, arguments)) = order.argv.split_first() {
        let mut command = Command::new(OsStr::from_bytes(program));
        command.args(arguments.iter().map(|a| OsStr::from_bytes(a)));
        return (command, String::from_utf8_lossy(program).into_owned());
    }
    if order.script.starts_with(b"#!") {
        (Command::new(SCRIPT), SCRIPT.to_owned())
    } else {
        let mut command = Command::new("/bin/sh");
        command.args(["-e", SCRIPT]);
        (command, "/bin/sh".to_owned())
    }
}
