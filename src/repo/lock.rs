//! Who works on a subarch: the lock `.multi_progress` that the old tool knows, and our note beside it.
//!
//! The lock is a file with a process number. It is held while that process lives on this machine; a file without a
//! number counts for a minute, since the old tool creates it empty and then writes. Our note says more: host,
//! boot, and when the process began, so that a number used again is not taken for it, and another machine's lock
//! is not taken for dead: its time stamp is renewed while the process lives.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, Timestamps};
use rustix::process::{Pid, test_kill_process};
use serde::{Deserialize, Serialize};

use super::control::Control;
use super::layout::{CONTROL, LOCK, LOCK_NOTE};
use super::small;
use super::whole::random;

/// A lock without a number younger than this is being written.
const BEING_WRITTEN: Duration = Duration::from_secs(60);
/// The lock of another machine is alive while its time stamp is younger than this.
const ALIVE: Duration = Duration::from_secs(600);
/// How often the time stamp is renewed.
const RENEW: Duration = Duration::from_secs(30);
/// The largest lock or note that is read, in bytes.
const MAX_LOCK: u64 = 4096;
/// How often taking is tried while others take and leave.
const TRIES: usize = 20;

/// The machine that this process runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    host: String,
    /// Differs each time that the machine starts.
    boot: String,
}

impl Machine {
    /// This machine.
    pub fn this() -> Machine {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Machine {
            host,
            boot: boot.trim().to_owned(),
        }
    }

    /// Its name.
    pub fn host(&self) -> &str {
        &self.host
    }
}

/// What stands beside the lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    pid: i64,
    host: String,
    boot: String,
    /// When the process began, in ticks since the machine started.
    start: u64,
    /// The version that is being built, or nothing.
    #[serde(default)]
    version: String,
    nonce: String,
}

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A process of this machine.
    Process(i64),
    /// A process of another machine.
    Elsewhere {
        /// The machine.
        host: String,
        /// The process there.
        pid: i64,
    },
    /// Somebody who has not written a number yet.
    Unknown,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Holder::Process(pid) => write!(f, "process {pid}"),
            Holder::Elsewhere { host, pid } => {
                write!(f, "process {pid} of {}", super::quote::shown(host))
            }
            Holder::Unknown => f.write_str("a process that writes its number now"),
        }
    }
}

/// The state of a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockState {
    /// There is none.
    Free,
    /// It is held.
    Held(Holder),
    /// It is there and nobody holds it.
    Stale,
}

/// Looks at the lock of the subarch at a path; changes nothing.
pub fn look(subarch: &Path, machine: &Machine) -> LockState {
    let control = subarch.join(CONTROL);
    let Ok(meta) = fs::metadata(control.join(LOCK)) else {
        return LockState::Free;
    };
    let text = small::read(&control.join(LOCK), MAX_LOCK);
    let note_path = control.join(LOCK_NOTE);
    let note = || {
        let written = fs::symlink_metadata(&note_path).ok()?.modified().ok()?;
        let bytes = small::read(&note_path, MAX_LOCK).ok()??;
        Some((written, bytes))
    };
    let written = meta.modified().unwrap_or(SystemTime::UNIX_EPOCH);
    match text {
        Ok(None) => LockState::Free,
        Ok(Some(text)) => judge(&text, written, note, machine, SystemTime::now()),
        Err(_) => judge(b"", written, note, machine, SystemTime::now()),
    }
}

/// Judges a lock beside which there is no note, by its text and time.
pub(super) fn judge_alone(text: &[u8], written: SystemTime, machine: &Machine) -> LockState {
    judge(text, written, || None, machine, SystemTime::now())
}

/// Judges a lock by its text, its time, and the note beside it with its time.
fn judge(
    text: &[u8],
    written: SystemTime,
    note: impl FnOnce() -> Option<(SystemTime, Vec<u8>)>,
    machine: &Machine,
    now: SystemTime,
) -> LockState {
    let age = |time: SystemTime| now.duration_since(time).unwrap_or_default();
    let number = std::str::from_utf8(text)
        .ok()
        .and_then(|t| t.trim().parse::<i64>().ok());
    let Some(pid) = number.filter(|n| (1..=i64::from(i32::MAX)).contains(n)) else {
        return match age(written) < BEING_WRITTEN {
            true => LockState::Held(Holder::Unknown),
            false => LockState::Stale,
        };
    };
    // A note older than the lock is that of an earlier holder, whose number came again.
    if let Some((renewed, bytes)) = note()
        && renewed >= written
        && let Ok(note) = serde_json::from_slice::<Note>(&bytes)
        && (note.pid == pid || pid == 1)
    {
        return judge_note(&note, age(renewed), machine);
    }
    match is_alive(pid) {
        true => LockState::Held(Holder::Process(pid)),
        false => LockState::Stale,
    }
}

fn judge_note(note: &Note, age: Duration, machine: &Machine) -> LockState {
    if note.host != machine.host {
        return match age < ALIVE {
            true => LockState::Held(Holder::Elsewhere {
                host: note.host.clone(),
                pid: note.pid,
            }),
            false => LockState::Stale,
        };
    }
    let same =
        note.boot == machine.boot && is_alive(note.pid) && started(note.pid) == Some(note.start);
    match same {
        true => LockState::Held(Holder::Process(note.pid)),
        false => LockState::Stale,
    }
}

/// Whether a process lives; one that may not be asked lives.
fn is_alive(pid: i64) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| {
        matches!(
            test_kill_process(pid),
            Ok(()) | Err(rustix::io::Errno::PERM)
        )
    })
}

/// When a process began, in ticks since the machine started.
fn started(pid: i64) -> Option<u64> {
    let stat = small::read(Path::new(&format!("/proc/{pid}/stat")), MAX_LOCK).ok()??;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // The name before it may have anything in it, also blanks and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

/// Removes a lock that nobody holds; tells whether it did.
pub fn sweep(control: &Control, machine: &Machine) -> io::Result<bool> {
    let _guard = control.guard()?;
    sweep_guarded(control, machine)
}

fn sweep_guarded(control: &Control, machine: &Machine) -> io::Result<bool> {
    // Looked at once more: nobody of ours takes it meanwhile.
    if state(control, machine)? != LockState::Stale {
        return Ok(false);
    }
    control.remove(LOCK)?;
    control.remove(LOCK_NOTE)?;
    Ok(true)
}

/// The state of the lock in an open folder.
fn state(control: &Control, machine: &Machine) -> io::Result<LockState> {
    let time = |name: &str| -> Option<SystemTime> {
        let stat = rustix::fs::statat(control.folder(), name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).ok()?);
        let nanos = Duration::from_nanos(stat.st_mtime_nsec);
        SystemTime::UNIX_EPOCH
            .checked_add(seconds)?
            .checked_add(nanos)
    };
    let Some(written) = time(LOCK) else {
        return Ok(LockState::Free);
    };
    let text = match control.read(LOCK) {
        Ok(None) => return Ok(LockState::Free),
        Ok(Some(text)) => text,
        Err(_) => Vec::new(),
    };
    let note = || Some((time(LOCK_NOTE)?, control.read(LOCK_NOTE).ok()??));
    Ok(judge(&text, written, note, machine, SystemTime::now()))
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody has it.
    #[error("{} is held by {holder}", super::quote::shown(path))]
    Held {
        /// The folder of control.
        path: std::path::PathBuf,
        /// Who has it.
        holder: Holder,
    },
    /// The machine is at fault.
    #[error("cannot lock {}: {source}", super::quote::shown(path))]
    Io {
        /// The folder of control.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A lock that this process holds, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    inner: Arc<Inner>,
    /// Ends the thread that renews the time stamp.
    stop: Option<Sender<()>>,
    renewing: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Inner {
    control: Control,
    /// The text of the lock.
    text: String,
    inode: u64,
}

impl Lock {
    /// Takes the lock of a subarch. `shared`: the mirror is shared with machines on which the old tool runs, which
    /// removes locks of processes that it does not see; the number of process 1 lives everywhere. `version`: what
    /// is going to be built, or nothing.
    pub fn take(
        control: Control,
        machine: &Machine,
        shared: bool,
        version: &str,
    ) -> Result<Lock, LockError> {
        let path = control.path().to_owned();
        match take(&control, machine, shared, version) {
            Ok(Ok((text, inode))) => Ok(Lock::renewed(Inner {
                control,
                text,
                inode,
            })),
            Ok(Err(holder)) => Err(LockError::Held { path, holder }),
            Err(source) => Err(LockError::Io { path, source }),
        }
    }

    fn renewed(inner: Inner) -> Lock {
        let inner = Arc::new(inner);
        let (stop, stopped) = channel();
        let theirs = inner.clone();
        let thread = std::thread::Builder::new().name("lock".to_owned());
        // Without the thread the lock is held all the same, by the number of the process.
        let renewing = thread.spawn(move || renew(&theirs, &stopped)).ok();
        Lock {
            inner,
            stop: Some(stop),
            renewing,
        }
    }

    /// The folder of control.
    pub fn control(&self) -> &Control {
        &self.inner.control
    }

    /// Whether the lock still is the one that was taken: the old tool looks and then writes over it.
    pub fn is_mine(&self) -> bool {
        self.inner.is_mine()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.renewing.take() {
            let _ = thread.join();
        }
        let control = &self.inner.control;
        let _guard = control.guard();
        if self.is_mine() {
            // What cannot be removed is stale when this process ends.
            let _ = control.remove(LOCK);
            let _ = control.remove(LOCK_NOTE);
        }
    }
}

impl Inner {
    fn is_mine(&self) -> bool {
        let stat = rustix::fs::statat(self.control.folder(), LOCK, AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|s| s.st_ino == self.inode)
            && matches!(self.control.read(LOCK), Ok(Some(text)) if text == self.text.as_bytes())
    }
}

fn renew(inner: &Inner, stopped: &Receiver<()>) {
    while stopped.recv_timeout(RENEW) == Err(RecvTimeoutError::Timeout) {
        if !inner.is_mine() {
            return;
        }
        let now = Timestamps {
            last_access: NOW,
            last_modification: NOW,
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let _ = rustix::fs::utimensat(inner.control.folder(), LOCK_NOTE, &now, flags);
    }
}

const NOW: rustix::fs::Timespec = rustix::fs::Timespec {
    tv_sec: 0,
    tv_nsec: rustix::fs::UTIME_NOW,
};

/// Takes a lock; gives its text and inode, or who holds it.
fn take(
    control: &Control,
    machine: &Machine,
    shared: bool,
    version: &str,
) -> io::Result<Result<(String, u64), Holder>> {
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let text = if shared {
        "1".to_owned()
    } else {
        pid.to_string()
    };
    let hidden = control.write_hidden(LOCK, text.as_bytes())?;
    let result = (|| {
        let stat = rustix::fs::statat(control.folder(), &hidden, AtFlags::empty())?;
        let note = Note {
            pid: i64::from(pid),
            host: machine.host.clone(),
            boot: machine.boot.clone(),
            start: started(i64::from(pid)).unwrap_or(0),
            version: version.to_owned(),
            nonce: format!("{:016x}", random()?),
        };
        let note = serde_json::to_vec(&note).map_err(io::Error::other)?;
        let _guard = control.guard()?;
        for _ in 0..TRIES {
            match state(control, machine)? {
                LockState::Held(holder) => return Ok(Err(holder)),
                LockState::Stale => {
                    sweep_guarded(control, machine)?;
                }
                LockState::Free => {}
            }
            let (folder, flags) = (control.folder(), AtFlags::empty());
            match rustix::fs::linkat(folder, &hidden, folder, LOCK, flags) {
                Ok(()) => {
                    control.write(LOCK_NOTE, &note).inspect_err(|_| {
                        let _ = control.remove(LOCK);
                    })?;
                    sweep_hidden(control);
                    return Ok(Ok((text.clone(), stat.st_ino)));
                }
                // The old tool was faster.
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Err(Holder::Unknown))
    })();
    let _ = rustix::fs::unlinkat(control.folder(), &hidden, AtFlags::empty());
    result
}

/// Removes what processes left that were killed while they took the lock.
fn sweep_hidden(control: &Control) {
    let begins = format!("{LOCK}.");
    for name in super::whole::names(control.folder()).unwrap_or_default() {
        let nonce = name.to_str().and_then(|name| name.strip_prefix(&begins));
        let Some(name) = nonce
            .filter(|n| n.len() == 16 && n.bytes().all(|b| b.is_ascii_hexdigit()))
            .and(name.to_str())
        else {
            continue;
        };
        // The number in it, of whoever wrote it; of process 1 nothing is known.
        let text = control.read(name).ok().flatten().unwrap_or_default();
        let pid = std::str::from_utf8(&text)
            .ok()
            .and_then(|t| t.trim().parse().ok());
        if pid.is_some_and(|pid| !is_alive(pid)) {
            let _ = control.remove(name);
        }
    }
}

#[cfg(test)]
mod tests;
