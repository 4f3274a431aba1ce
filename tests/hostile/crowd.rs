//! Many clients of `serve`, idle ones and slow ones: others are answered all the same.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::Test;
use crate::place::Place;
use crate::tally::Tally;

pub const ALL: &[Test] = &[
    (
        "slow_readers_lose_the_connection",
        slow_readers_lose_the_connection,
    ),
    (
        "idle_and_slow_clients_shut_nobody_out",
        idle_and_slow_clients_shut_nobody_out,
    ),
];

struct Server {
    child: Child,
    address: SocketAddr,
    tree: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A store with a large file that is served.
fn serve(place: &Place) -> Server {
    let script = "head -c 30000000 /dev/urandom > /large";
    place.targets(&[("a", "base", &[("one", script)])]);
    let tree = place.tree("a");
    let mut child = place
        .command(&["serve", "--listen", "127.0.0.1:0", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address = value["listening"].as_str().unwrap().parse().unwrap();
    Server {
        child,
        address,
        tree,
    }
}

impl Server {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect_timeout(&self.address, Duration::from_secs(10)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream
    }

    fn ask(&self, path: &str) -> TcpStream {
        let mut stream = self.connect();
        // It may be closed again at once.
        let _ = write!(stream, "GET /{path} HTTP/1.1\r\nConnection: close\r\n\r\n");
        stream
    }

    fn get(&self, path: &str) -> Vec<u8> {
        let mut all = Vec::new();
        let _ = self.ask(path).read_to_end(&mut all);
        all
    }

    /// Whether somebody else is answered, and soon.
    fn answers(&self) -> Result<(), String> {
        let began = Instant::now();
        for path in ["mstore-cache".to_owned(), format!("trees/{}", self.tree)] {
            let got = self.get(&path);
            if !got.starts_with(b"HTTP/1.1 200") {
                return Err(format!("{path}: {:?}", String::from_utf8_lossy(&got)));
            }
        }
        match began.elapsed() {
            soon if soon < Duration::from_secs(5) => Ok(()),
            late => Err(format!("{late:?}")),
        }
    }

    /// The largest pack.
    fn pack(&self, place: &Place) -> String {
        let list = std::fs::read_dir(place.store().join("packs")).unwrap();
        let packs = list.map(|entry| entry.unwrap());
        let largest = packs.filter(|e| e.file_name().to_string_lossy().ends_with(".pack"));
        let largest = largest
            .max_by_key(|entry| entry.metadata().unwrap().len())
            .unwrap();
        format!("packs/{}", largest.file_name().to_string_lossy())
    }
}

fn idle_and_slow_clients_shut_nobody_out(place: &Place, tally: &Tally) -> Option<&'static str> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.maximum.is_some_and(|most| most < 4096) {
        return Some("a process may not have 4096 open files here");
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let server = serve(place);
    let pack = server.pack(place);
    let check = |what: &str| {
        let answers = server.answers();
        tally.held(what, answers.is_ok(), format!("{answers:?}"));
    };
    let mut crowd: Vec<TcpStream> = (0..64).map(|_| server.connect()).collect();
    check("64 that say nothing");
    crowd.extend((0..64).map(|_| {
        let mut stream = server.connect();
        stream.write_all(b"GET /packs/x HTTP/1.1\r\nX: ").unwrap();
        stream
    }));
    check("64 that stop in the middle of a head");
    let readers: Vec<TcpStream> = (0..64).map(|_| server.ask(&pack)).collect();
    check("64 that do not read");
    // A thousand at a time, all of them of one address, and more than there is room for.
    while crowd.len() < 900 {
        crowd.push(server.connect());
    }
    check("nearly a thousand");
    let began = Instant::now();
    for n in 0..1000 {
        crowd.push(server.connect());
        if n % 250 == 0 {
            check("one after the other, beyond the bound");
        }
    }
    check("two thousand came");
    tally.held(
        "they come in quickly",
        began.elapsed() < Duration::from_secs(30),
        "slowly",
    );
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.child.id()))
        .unwrap()
        .count();
    tally.held("their threads are bounded", threads < 1300, threads);
    drop((crowd, readers));
    // Those who are busy stay: a whole pack comes while the crowd does.
    let mut reader = server.ask(&pack);
    let _more: Vec<TcpStream> = (0..1500).map(|_| server.connect()).collect();
    let mut all = Vec::new();
    let read = reader.read_to_end(&mut all);
    let whole = read.is_ok() && all.len() > 30_000_000;
    tally.held(
        "a transfer under way ends",
        whole,
        format!("{read:?} {}", all.len()),
    );
    None
}

fn slow_readers_lose_the_connection(place: &Place, tally: &Tally) -> Option<&'static str> {
    let server = serve(place);
    let pack = server.pack(place);
    // One takes nothing, one a byte now and then. Neither may stay for long.
    let silent = server.ask(&pack);
    let mut dripping = server.ask(&pack);
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
        let names =
            tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names
            .filter(|name| name.starts_with("mstore-serve"))
            .count()
    };
    let began = Instant::now();
    while threads() < 2 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "nobody was let in"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut lost = None;
    while lost.is_none() && began.elapsed() < Duration::from_secs(60) {
        if threads() == 0 {
            lost = Some(began.elapsed());
        }
        let _ = dripping.read(&mut [0]);
        std::thread::sleep(Duration::from_millis(200));
    }
    tally.held("both are turned out", lost.is_some(), "they stay");
    tally.held(
        "and not at once",
        lost > Some(Duration::from_secs(5)),
        format!("{lost:?}"),
    );
    drop(silent);
    let listing = server.get(&format!("trees/{}", server.tree));
    let again = server.get(&format!("trees/{}", server.tree));
    tally.held(
        "a listing that is kept is the same",
        listing == again,
        "it is not",
    );
    None
}
