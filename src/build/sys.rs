//! The few system calls that need `unsafe`, each behind a safe function.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use rustix::thread::UnshareFlags;

/// Moves this process into new namespaces.
///
/// The file descriptor table is never unshared, which is what makes the call safe: no descriptor
/// changes its meaning. With `NEWUSER` the kernel itself refuses a process with several threads.
pub(crate) fn unshare(flags: UnshareFlags) -> io::Result<()> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    // SAFETY: `CLONE_FILES` is not among the flags, so I/O safety is not affected.
    unsafe { rustix::thread::unshare_unsafe(flags) }.map_err(io::Error::from)
}

/// Forks; gives the child's id to the parent and `None` to the child.
///
/// Refuses when this process has more than one thread: the child could then find locks (the
/// allocator's among them) held for ever.
pub(crate) fn fork() -> io::Result<Option<Pid>> {
    if thread_count()? != 1 {
        return Err(io::Error::other("cannot fork a process that has threads"));
    }
    // SAFETY: this is the only thread, so the child is an exact and consistent copy.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

fn thread_count() -> io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}

/// Adds mount attributes (`MOUNT_ATTR_*`) to the mount at `fd`, and to those below it if asked.
pub(crate) fn mount_setattr(fd: impl AsFd, recursive: bool, set: u64) -> io::Result<()> {
    /// `struct mount_attr` of the kernel, version 0.
    #[repr(C)]
    struct MountAttr {
        set: u64,
        clear: u64,
        propagation: u64,
        userns_fd: u64,
    }
    let attr = MountAttr {
        set,
        clear: 0,
        propagation: 0,
        userns_fd: 0,
    };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a NUL-terminated literal, `attr` lives through the call and its size is
    // given; the kernel only reads both.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(done as i32)
}

/// How the kernel presents itself to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Personality {
    /// As it is.
    Linux,
    /// `uname` reports the 32-bit machine, as 32-bit builds expect.
    Linux32,
}

/// Sets the personality, without any of its flags (a fixed address space, another release number).
pub(crate) fn set_personality(personality: Personality) -> io::Result<()> {
    let number: libc::c_ulong = match personality {
        Personality::Linux => 0,
        Personality::Linux32 => 8,
    };
    // SAFETY: takes and gives plain numbers.
    check(unsafe { libc::personality(number) })
}

/// Leaves any special scheduling class.
pub(crate) fn schedule_normally() -> io::Result<()> {
    // SAFETY: `sched_param` is plain old data, for which all-zero bytes are a value.
    let parameters: libc::sched_param = unsafe { std::mem::zeroed() };
    // SAFETY: reads `parameters`, which lives through the call.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters) })
}

/// Leaves any special class of input and output.
pub(crate) fn reset_io_priority() -> io::Result<()> {
    const WHO_PROCESS: libc::c_int = 1;
    // SAFETY: takes and gives plain numbers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, 0) } as i32)
}

/// Whether a signal is ignored by this process.
pub(crate) fn is_ignored(signal: i32) -> io::Result<bool> {
    // SAFETY: `sigaction` is plain old data, for which all-zero bytes are a value; with a null
    // pointer for the new action the call only fills the old one.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        check(libc::sigaction(signal, std::ptr::null(), &raw mut action))?;
        action
    };
    Ok(action.sa_sigaction == libc::SIG_IGN)
}

/// Undoes an ignored SIGCHLD: the kernel would keep the exit statuses of children from us.
pub(crate) fn wait_for_children() {
    // SAFETY: installs no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Blocks SIGCHLD in this thread and gives a descriptor that can be read (and then must be, see
/// [`drain`]) when a child ended.
pub(crate) fn child_events() -> io::Result<OwnedFd> {
    // SAFETY: a `sigset_t` is plain old data that `sigemptyset` fills; the other calls read it. What
    // `signalfd` gives is a new descriptor, which nobody else owns.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(
            libc::SIG_BLOCK,
            &raw const set,
            std::ptr::null_mut(),
        ))?;
        let fd = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(fd)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Reads all that a descriptor which does not block has.
pub(crate) fn drain(fd: impl AsFd) {
    let mut buffer = [0; 1024];
    while matches!(rustix::io::read(&fd, &mut buffer), Ok(1..)) {}
}

/// Sends a signal to all processes of this pid namespace but this one, which must be its first.
pub(crate) fn signal_all(signal: Signal) -> io::Result<()> {
    if rustix::process::getpid() != Pid::INIT {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    // SAFETY: takes plain numbers.
    check(unsafe { libc::kill(-1, signal.as_raw()) })
}

/// Brings the loopback interface of this network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: `ifreq` is plain old data, for which all-zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`, which lives through the call; its name is
    // NUL-terminated, since the rest is zero.
    check(unsafe {
        libc::ioctl(
            socket.as_raw_fd(),
            libc::SIOCSIFFLAGS as _,
            &raw const request,
        )
    })
}

/// Gives every signal its default action and unblocks all: both survive `exec` otherwise.
pub(crate) fn reset_signals() {
    // The system calls themselves: the C library keeps two signals from us, which a parent that
    // is not careful can still have handed down as ignored.
    let default = [0_u64; 8];
    let none = 0_u64;
    // SAFETY: called in a freshly forked, single-threaded process that is about to `exec`. Eight
    // zero words cover `struct kernel_sigaction` of every machine and mean SIG_DFL without flags,
    // so no handler is installed. A signal set of the kernel is one word. All are only read.
    unsafe {
        for number in 1..=64 {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                size_of::<u64>(),
            );
        }
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        );
    }
}

/// Marks all descriptors from `first` on to be closed by the next `exec`.
pub(crate) fn close_from_on_exec(first: u32) -> io::Result<()> {
    // SAFETY: only sets flags on descriptors, closes none.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(done as i32)
}

/// Closes all descriptors from `first` on.
///
/// # Safety
///
/// Nothing in this process may own one of them.
pub(crate) unsafe fn close_from(first: u32) -> io::Result<()> {
    // SAFETY: nobody owns what is closed, says our caller.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) } as i32)
}

/// What the children that this process has waited for have used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// The largest resident set of any one process, in KiB.
    pub peak_kib: u64,
}

/// Reads what the waited-for children have used.
pub(crate) fn children_usage() -> Usage {
    // SAFETY: `rusage` is plain old data, for which all-zero bytes are a value; the call fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let time = |t: libc::timeval| {
        Duration::from_secs(t.tv_sec.max(0) as u64) + Duration::from_micros(t.tv_usec.max(0) as u64)
    };
    Usage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        peak_kib: usage.ru_maxrss.max(0) as u64,
    }
}

fn check(done: i32) -> io::Result<()> {
    if done == -1 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
