//! The other end: finds the runs of a store and asks them.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::words::{Answer, Question};
use super::{Envelope, FOLDER, FORMAT, MOST_ANSWER};

/// How long an answer may take. A run answers at once, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(6);
/// Seconds after which a socket that never got its name is left over.
const BEGUN: i64 = 60;
/// Names in the folder that are looked at.
const MOST_NAMES: usize = 4096;

/// A run that cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The folder of sockets cannot be looked into.
    #[error("cannot look for runs in {}: {source}", path.display())]
    Folder {
        /// The folder.
        path: std::path::PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It does not answer in time.
    #[error("the run of process {pid} does not answer; perhaps it is stopped (Ctrl-Z)")]
    Silent {
        /// The process.
        pid: u32,
    },
    /// It went away.
    #[error("the run of process {pid} has ended")]
    Over {
        /// The process.
        pid: u32,
    },
    /// What it answers cannot be understood.
    #[error(
        "the run of process {pid} answers what cannot be understood; it may be of another version of mstore"
    )]
    Nonsense {
        /// The process.
        pid: u32,
    },
}

/// A run that can be asked.
#[derive(Debug)]
pub struct Instance {
    /// Its process.
    pub pid: u32,
    stream: UnixStream,
}

/// The runs of the store in `root`, in the order of their processes. What dead ones left is removed.
pub fn instances(root: &Path) -> Result<Vec<Instance>, ControlError> {
    let path = root.join(FOLDER);
    let failed = |source: Errno| ControlError::Folder {
        path: path.clone(),
        source: source.into(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match openat(CWD, &path, flags, Mode::empty()) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let found = walk(&folder).map_err(|source| ControlError::Folder {
        path: path.clone(),
        source,
    })?;
    Ok(found)
}

/// Removes what dead runs left.
pub(super) fn sweep(folder: &OwnedFd) -> io::Result<()> {
    walk(folder).map(drop)
}

fn walk(folder: &OwnedFd) -> io::Result<Vec<Instance>> {
    let mut found = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)?.take(MOST_NAMES) {
        let entry = entry?;
        let Ok(name) = entry.file_name().to_str() else {
            continue;
        };
        let Some((pid, named)) = pid_of(name) else {
            continue;
        };
        match connect(folder, name) {
            Ok(stream) if named => found.push(Instance { pid, stream }),
            // Nobody listens: its process is gone. Before it is listened on a socket has another name.
            Err(Errno::CONNREFUSED) if named || is_old(folder, name) => {
                let _ = unlinkat(folder, name, AtFlags::empty());
            }
            // It is in a hurry, or gone by now.
            _ => {}
        }
    }
    found.sort_by_key(|instance| instance.pid);
    Ok(found)
}

/// The process of a socket, and whether the name is a whole one.
fn pid_of(name: &str) -> Option<(u32, bool)> {
    let stem = name.strip_suffix(".sock")?;
    let (stem, named) = match stem.strip_prefix('.') {
        Some(stem) => (stem, false),
        None => (stem, true),
    };
    let (pid, number) = stem.split_once('-')?;
    number.parse::<u64>().ok()?;
    Some((pid.parse().ok()?, named))
}

fn is_old(folder: &OwnedFd, name: &str) -> bool {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed());
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| now.saturating_sub(stat.st_mtime) > BEGUN)
}

/// Connects without waiting, however long the path of the folder is. What listens there must be the user's own.
fn connect(folder: &OwnedFd, name: &str) -> Result<UnixStream, Errno> {
    let address = format!("/proc/self/fd/{}/{name}", folder.as_fd().as_raw_fd());
    let address = SocketAddrUnix::new(address)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::connect(&socket, &address)?;
    let peer = rustix::net::sockopt::socket_peercred(&socket)?;
    let me = rustix::process::geteuid();
    if peer.uid != me && !me.is_root() {
        return Err(Errno::PERM);
    }
    let stream = UnixStream::from(socket);
    let blocking = stream.set_nonblocking(false);
    blocking.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    Ok(stream)
}

impl Instance {
    /// Asks, and waits for the answer.
    pub fn ask(&mut self, question: &Question) -> Result<Answer, ControlError> {
        let pid = self.pid;
        let envelope = Envelope {
            format: FORMAT,
            question: question.clone(),
        };
        let mut text = serde_json::to_vec(&envelope).map_err(|_| ControlError::Nonsense { pid })?;
        text.push(b'\n');
        let asked = self.stream.set_write_timeout(Some(PATIENCE));
        let asked = asked.and_then(|()| self.stream.write_all(&text));
        asked.map_err(|e| told(pid, &e))?;
        let line = self.line().map_err(|e| told(pid, &e))?;
        serde_json::from_slice(&line).map_err(|_| ControlError::Nonsense { pid })
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let until = Instant::now() + PATIENCE;
        let mut line = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_read_timeout(Some(left))?;
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => line.extend_from_slice(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if line.last() == Some(&b'\n') {
                return Ok(line);
            }
            if line.len() > MOST_ANSWER {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

fn told(pid: u32, error: &io::Error) -> ControlError {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ControlError::Silent { pid },
        io::ErrorKind::InvalidData => ControlError::Nonsense { pid },
        _ => ControlError::Over { pid },
    }
}
