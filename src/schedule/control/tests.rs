use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use mstore_store::{OpenOptions, Store};

use super::words::{Answer, Question};
use super::*;
use crate::build::step::Note;
use crate::schedule::engine::{HostId, Run};
use crate::schedule::executor::{Desk, HostNews, JobResult};

/// A driver that answers at once, or never.
struct Echo {
    answers: bool,
    kept: std::sync::Mutex<Vec<SyncSender<Answer>>>,
}

impl Desk for Echo {
    fn line(&self, _: Run, _: &str) {}
    fn note(&self, _: Run, _: Note) {}
    fn ended(&self, _: Run, _: JobResult) {}
    fn host(&self, _: HostId, _: HostNews) {}
    fn asked(&self, question: Question, reply: SyncSender<Answer>) -> bool {
        match self.answers {
            true => drop(reply.try_send(Answer::Done(format!("{question:?}")))),
            false => self.kept.lock().unwrap().push(reply),
        }
        true
    }
}

fn echo(answers: bool) -> Arc<dyn Desk> {
    let kept = std::sync::Mutex::default();
    Arc::new(Echo { answers, kept })
}

fn store(dir: &Path) -> Store {
    Store::open(dir, &OpenOptions::create()).unwrap()
}

fn sockets(store: &Store) -> Vec<PathBuf> {
    let list = std::fs::read_dir(store.path().join(FOLDER)).unwrap();
    list.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn runs_are_found_and_asked_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    // A path that is longer than addresses of sockets may be.
    let long = dir.path().join("x".repeat(150));
    std::fs::create_dir(&long).unwrap();
    let store = store(&long);
    assert!(instances(store.path()).unwrap().is_empty());
    let servers = [(); 2].map(|()| Server::start(&store, echo(true)).unwrap());
    for path in sockets(&store) {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let mut found = instances(store.path()).unwrap();
    assert_eq!(found.len(), 2);
    for instance in &mut found {
        assert_eq!(instance.pid, std::process::id());
        for _ in 0..3 {
            let answer = instance.ask(&Question::View).unwrap();
            assert_eq!(answer, Answer::Done("View".to_owned()));
        }
    }
    drop(servers);
    for instance in &mut found {
        let error = instance.ask(&Question::View).unwrap_err();
        assert!(matches!(error, ControlError::Over { .. }), "{error}");
    }
    assert!(sockets(&store).is_empty());
}

#[test]
fn what_dead_runs_left_is_removed_and_what_is_no_socket_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    drop(Server::start(&store, echo(true)).unwrap());
    let folder = store.path().join(FOLDER);
    // Nobody listens on a socket once its process is gone.
    drop(UnixListener::bind(folder.join("1-0.sock")).unwrap());
    // This one may just be being made.
    drop(UnixListener::bind(folder.join(".1-1.sock")).unwrap());
    for name in ["notes", "x-1.sock", "1.sock"] {
        std::fs::write(folder.join(name), "").unwrap();
    }
    assert!(instances(store.path()).unwrap().is_empty());
    let mut left = sockets(&store);
    left.sort();
    let left: Vec<_> = left.iter().map(|p| p.file_name().unwrap()).collect();
    assert_eq!(left, [".1-1.sock", "1.sock", "notes", "x-1.sock"]);
    // Links are not followed, and a folder that others may enter is not used.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(Server::start(&store, echo(true)).is_err());
    let aside = store.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &folder).unwrap();
    assert!(Server::start(&store, echo(true)).is_err());
    assert!(instances(store.path()).is_err());
}

/// Connects as nobody does that means well.
fn raw(store: &Store) -> UnixStream {
    let stream = UnixStream::connect(&sockets(store)[0]).unwrap();
    let wait = Some(Duration::from_secs(20));
    stream.set_read_timeout(wait).unwrap();
    stream.set_write_timeout(wait).unwrap();
    stream
}

/// What comes until the other end closes.
fn rest(mut stream: UnixStream) -> String {
    let mut all = Vec::new();
    // Closed with unread input it is an error, as good as an end.
    let _ = stream.read_to_end(&mut all);
    String::from_utf8(all).unwrap()
}

#[test]
fn what_is_no_question_is_refused_or_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let _server = Server::start(&store, echo(true)).unwrap();
    let says = |text: &[u8]| {
        let mut stream = raw(&store);
        let _ = stream.write_all(text);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        rest(stream)
    };
    for text in [
        "\n",
        "{}\n",
        "[[[[\n",
        "{\"format\":1,\"question\":{\"ask\":\"dance\"}}\n",
    ] {
        let said = says(text.as_bytes());
        assert!(said.contains("this is not a question"), "{text}: {said}");
    }
    let deep = format!("{}\n", "[".repeat(60_000));
    assert!(says(deep.as_bytes()).contains("this is not a question"));
    for text in [
        "{\"format\":2,\"question\":{\"ask\":\"view\"}}\n",
        "{\"format\":7,\"question\":{\"ask\":\"dance\"}}\n",
    ] {
        assert!(says(text.as_bytes()).contains("another version"), "{text}");
    }
    // Nothing that ends, and too much of it.
    assert_eq!(says(b"{\"format\":"), "");
    assert_eq!(says(&vec![b'x'; MOST_QUESTION * 2]), "");
    // All of that holds up nobody.
    let mut instance = instances(store.path()).unwrap().pop().unwrap();
    assert!(instance.ask(&Question::View).is_ok());
}

#[test]
fn clients_that_dawdle_hold_up_nobody_and_there_are_not_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let server = Server::start(&store, echo(true)).unwrap();
    // They ask without end and read nothing.
    let mut slow: Vec<UnixStream> = (0..14).map(|_| raw(&store)).collect();
    for stream in &mut slow {
        stream
            .write_all(b"{\"format\":1,\"question\":{\"ask\":\"view\"}}\n{")
            .unwrap();
    }
    let mut instance = instances(store.path()).unwrap().pop().unwrap();
    let began = Instant::now();
    assert!(instance.ask(&Question::View).is_ok());
    assert!(began.elapsed() < Duration::from_secs(5));
    // One more is taken, and the others are turned away.
    let more: Vec<UnixStream> = (0..8).map(|_| raw(&store)).collect();
    std::thread::sleep(Duration::from_millis(300));
    let closed = more.into_iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        matches!((&*stream).read(&mut [0]), Ok(0))
    });
    assert_eq!(closed.count(), 7);
    // Nor does it take long to end.
    let began = Instant::now();
    drop(server);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_run_that_does_not_answer_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let _server = Server::start(&store, echo(false)).unwrap();
    let mut instance = instances(store.path()).unwrap().pop().unwrap();
    let error = instance.ask(&Question::View).unwrap_err();
    assert!(
        matches!(
            error,
            ControlError::Silent { .. } | ControlError::Over { .. }
        ),
        "{error}"
    );
}
