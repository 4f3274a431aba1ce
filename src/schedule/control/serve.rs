//! The end of the run: a socket in the store, and threads that carry questions to the driver.

use std::collections::HashMap;
use std::fs::Permissions;
use std::io::{self, PipeWriter, Read as _, Write as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mstore_store::Store;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{AtFlags, renameat, unlinkat};

use super::client::sweep;
use super::words::Answer;
use super::{Envelope, FOLDER, FORMAT, MOST_ANSWER, MOST_QUESTION};
use crate::schedule::executor::Desk;

/// Clients at a time; more are turned away.
const CLIENTS: usize = 16;
/// How long a client may say nothing.
const IDLE: Duration = Duration::from_secs(60);
/// How long a question may take to come, and an answer to go.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a client may ask at most.
const PACE: Duration = Duration::from_millis(50);

/// Tells sockets of one process apart.
static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A socket that is listened on, until it is dropped.
pub struct Server {
    folder: OwnedFd,
    name: String,
    /// Its closing ends the listener.
    wake: Option<PipeWriter>,
    listener: Option<JoinHandle<()>>,
    clients: Arc<Clients>,
}

/// The connections, to be closed at the end.
#[derive(Default)]
struct Clients(Mutex<HashMap<u64, UnixStream>>);

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, UnixStream>> {
        // Only whole entries are put in.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Listens in a store, and brings what is asked to `desk`.
    pub(in crate::schedule) fn start(store: &Store, desk: Arc<dyn Desk>) -> io::Result<Server> {
        let path = store.path().join(FOLDER);
        store.inside().make_folder(&path, 0o700)?;
        let folder = store.inside().folder(&path)?;
        let stat = rustix::fs::fstat(&folder)?;
        if stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("{} is not for its owner alone", path.display()),
            ));
        }
        sweep(&folder)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}.sock", std::process::id());
        let listener = listen(&folder, &name)?;
        let (ended, wake) = io::pipe()?;
        let clients = Arc::new(Clients::default());
        let all = Arc::clone(&clients);
        let mut server = Server {
            folder,
            name,
            wake: Some(wake),
            listener: None,
            clients,
        };
        let thread = std::thread::Builder::new().name("mstore-control".into());
        server.listener = Some(thread.spawn(move || {
            let mut number = 0;
            loop {
                let mut fds = [
                    PollFd::new(&listener, PollFlags::IN),
                    PollFd::from_borrowed_fd(ended.as_fd(), PollFlags::IN),
                ];
                let polled = rustix::event::poll(&mut fds, None);
                if polled.is_ok() && !fds[1].revents().is_empty() {
                    return;
                }
                if polled.is_ok()
                    && !fds[0].revents().is_empty()
                    && let Ok((client, _)) = listener.accept()
                {
                    number += 1;
                    admit(client, number, &all, &desk);
                }
            }
        })?);
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // In this order: who finds the name is still answered, or hears that it is over.
        let _ = unlinkat(&self.folder, &*self.name, AtFlags::empty());
        self.wake = None;
        if let Some(listener) = self.listener.take() {
            // One that panicked carries nothing any more either.
            let _ = listener.join();
        }
        for (_, client) in self.clients.lock().drain() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

/// Makes a socket that has its name only once it is listened on. However long the path of the folder is.
fn listen(folder: &OwnedFd, name: &str) -> io::Result<UnixListener> {
    let begun = format!(".{name}");
    let path = format!("/proc/self/fd/{}/{begun}", folder.as_raw_fd());
    // Of a process that had this number before.
    let _ = unlinkat(folder, &*begun, AtFlags::empty());
    let listener = UnixListener::bind(&path)?;
    let named = std::fs::set_permissions(&path, Permissions::from_mode(0o600))
        .and_then(|()| Ok(renameat(folder, &*begun, folder, name)?))
        .and_then(|()| listener.set_nonblocking(true));
    if let Err(error) = named {
        let _ = unlinkat(folder, &*begun, AtFlags::empty());
        return Err(error);
    }
    Ok(listener)
}

/// Takes a connection, if it is the user's own and there are not too many.
fn admit(client: UnixStream, number: u64, clients: &Arc<Clients>, desk: &Arc<dyn Desk>) {
    let own = rustix::net::sockopt::socket_peercred(&client)
        .is_ok_and(|peer| peer.uid == rustix::process::geteuid());
    let Ok(copy) = client.try_clone() else { return };
    if !own || client.set_nonblocking(false).is_err() {
        return;
    }
    {
        let mut all = clients.lock();
        if all.len() >= CLIENTS {
            return;
        }
        all.insert(number, copy);
    }
    let (all, desk) = (Arc::clone(clients), Arc::clone(desk));
    let thread = std::thread::Builder::new().name("mstore-control".into());
    let spawned = thread.spawn(move || {
        // However it ends: the client hears that it is over.
        let _ = converse(client, &*desk);
        all.lock().remove(&number);
    });
    if spawned.is_err() {
        clients.lock().remove(&number);
    }
}

/// Answers questions until the client goes, or is too slow.
fn converse(mut client: UnixStream, desk: &dyn Desk) -> io::Result<()> {
    loop {
        let Some(line) = question(&mut client)? else {
            return Ok(());
        };
        let answer = match serde_json::from_slice::<Envelope>(&line) {
            Ok(Envelope { format, .. }) if format != FORMAT => refused(format),
            Ok(Envelope { question, .. }) => {
                let (sender, receiver) = sync_channel(1);
                if !desk.asked(question, sender) {
                    return Ok(());
                }
                match receiver.recv_timeout(PATIENCE) {
                    Ok(answer) => answer,
                    Err(_) => return Ok(()),
                }
            }
            Err(_) => match serde_json::from_slice::<Format>(&line) {
                Ok(Format { format }) if format != FORMAT => refused(format),
                _ => Answer::Refused("this is not a question of mstore's".to_owned()),
            },
        };
        let mut text = serde_json::to_vec(&answer)?;
        if text.len() >= MOST_ANSWER {
            text = serde_json::to_vec(&Answer::Refused("the answer is too long".to_owned()))?;
        }
        text.push(b'\n');
        send(&mut client, &text)?;
        std::thread::sleep(PACE);
    }
}

/// What is known of any question.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

fn refused(format: u32) -> Answer {
    Answer::Refused(format!(
        "this run speaks format {FORMAT} and not {format}: it is of another version of mstore"
    ))
}

/// Reads a line; nothing if the client went away in between. It may wait for long before one begins, and not in the
/// middle of it.
fn question(client: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    let mut until = Instant::now() + IDLE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_read_timeout(Some(left))?;
        let n = match client.read(&mut buffer) {
            Ok(0) => return Ok(None),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if line.is_empty() {
            until = Instant::now() + PATIENCE;
        }
        line.extend_from_slice(&buffer[..n]);
        if let Some(end) = line.iter().position(|b| *b == b'\n') {
            // One question at a time: what is behind it nobody waits for.
            line.truncate(end);
            return Ok(Some(line));
        }
        if line.len() > MOST_QUESTION {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

fn send(client: &mut UnixStream, mut text: &[u8]) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !text.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_write_timeout(Some(left))?;
        match client.write(text) {
            Ok(n) => text = &text[n..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
