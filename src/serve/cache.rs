//! Cache over HTTP: a store served read-only, one thread a connection, everything bounded.
//!
//! Who sends or takes slowly loses the connection: a head must come within seconds, and a body be taken at a least rate.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mstore_store::transfer::cache::{CacheFile, Listings};
use mstore_store::{Cancel, Lease, Store, StoreError};

use super::folder::Folder;
use super::gate::{Gate, Guest};

/// Longest head of a request.
const MAX_HEAD: usize = 8 << 10;
/// What the paths of binary packages begin with.
const PACKAGES: &str = "binhost/";
/// Time in which a whole head must have come.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Time that a connection may lie idle between requests.
const IDLE_TIME: Duration = Duration::from_secs(20);
/// Time that the other end may let us wait with what is sent, and the bytes a second that it must take beyond that.
const WRITE_TIME: Duration = Duration::from_secs(10);
const SLOWEST: u64 = 16 << 10;
/// How often waiting threads look whether to stop.
const POLL: Duration = Duration::from_millis(100);
/// A tree that was asked for stays at least so long.
const LEASE_TIME: Duration = Duration::from_secs(3600);
/// Time that transfers under way get when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// What a server did.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Requests answered.
    pub requests: AtomicU64,
    /// Bytes of bodies sent.
    pub bytes: AtomicU64,
}

/// A server that listens.
pub struct WebServer {
    listener: TcpListener,
    site: Arc<Site>,
}

struct Site {
    store: Store,
    leases: Mutex<Leases>,
    counters: Counters,
    gate: Arc<Gate>,
    listings: Listings,
    /// Binary packages of Portage that are served beside the store.
    packages: Option<Folder>,
}

/// What keeps the trees that clients asked for lately: a server that runs for months must not keep
/// everything that was ever asked for.
struct Leases {
    now: Arc<Lease>,
    /// The one before, until the next.
    _before: Option<Arc<Lease>>,
    since: Instant,
}

impl Site {
    fn lease(&self) -> Result<Arc<Lease>, StoreError> {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        if leases.since.elapsed() > LEASE_TIME {
            let new = Arc::new(self.store.lease("serve")?);
            leases._before = Some(std::mem::replace(&mut leases.now, new));
            leases.since = Instant::now();
        }
        Ok(leases.now.clone())
    }
}

impl WebServer {
    /// Listens.
    pub fn bind(store: &Store, address: &str, packages: Option<Folder>) -> io::Result<WebServer> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let lease = store.lease("serve").map_err(io::Error::other)?;
        Ok(WebServer {
            listener,
            site: Arc::new(Site {
                store: store.clone(),
                leases: Mutex::new(Leases {
                    now: Arc::new(lease),
                    _before: None,
                    since: Instant::now(),
                }),
                counters: Counters::default(),
                gate: Arc::new(Gate::new(open_files())),
                listings: Listings::default(),
                packages,
            }),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What it did so far.
    pub fn counters(&self) -> &Counters {
        &self.site.counters
    }

    /// Serves until it is cancelled, and then lets transfers under way end.
    pub fn run(&self, cancel: &Cancel) -> io::Result<()> {
        while !cancel.is_cancelled() {
            match self.listener.accept() {
                Ok((stream, address)) => {
                    // One for whom there is no room is closed again.
                    if let Some(guest) = self.site.gate.enter(stream, address.ip()) {
                        self.start(guest, cancel);
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => self.wait(),
                // One connection that failed, or no descriptors left for a moment.
                Err(_) => std::thread::sleep(POLL),
            }
        }
        let until = Instant::now() + GRACE;
        while self.site.gate.count() > 0 && Instant::now() < until {
            std::thread::sleep(POLL / 10);
        }
        Ok(())
    }

    /// Waits until somebody connects, or a little.
    fn wait(&self) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&self.listener, PollFlags::IN)];
        let time = Timespec {
            tv_sec: 0,
            tv_nsec: 100_000_000,
        };
        // Interrupted by a signal: then the caller looks whether to stop.
        let _ = poll(&mut fds, Some(&time));
    }

    fn start(&self, guest: Guest, cancel: &Cancel) {
        let (site, cancel) = (self.site.clone(), cancel.clone());
        site.counters.connections.fetch_add(1, Ordering::Relaxed);
        // A guest for whom there is no thread is dropped, and so is the connection.
        let _ = std::thread::Builder::new()
            .name("mstore-serve".into())
            .stack_size(512 << 10)
            .spawn(move || {
                // Whatever goes wrong between here and one client concerns nobody else.
                let _ = serve_one(&site, &guest, &cancel);
            });
    }
}

/// How many files this process may have open: as many as it can get.
fn open_files() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    );
    let now = match raised {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}

/// What is sent to the other end, which must take it at a least rate. Only time that is spent waiting for it counts.
struct Paced<'a> {
    stream: &'a TcpStream,
    waited: Duration,
    taken: u64,
}

impl Write for Paced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let began = Instant::now();
        let n = self.stream.write(bytes)?;
        self.waited += began.elapsed();
        self.taken += n as u64;
        if self.waited > WRITE_TIME + Duration::from_secs(self.taken / SLOWEST) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What was asked.
struct Request {
    path: String,
    head_only: bool,
    range: Option<(u64, Option<u64>)>,
    keep_alive: bool,
}

/// The end of a connection that did not bring a request to answer.
enum Refused {
    /// The connection is to be closed without a word.
    Gone,
    /// It is to be told this status, and closed.
    Status(u16, &'static str),
}

fn serve_one(site: &Site, guest: &Guest, cancel: &Cancel) -> io::Result<()> {
    let stream = &guest.connection.stream;
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(POLL))?;
    stream.set_write_timeout(Some(WRITE_TIME))?;
    let mut buffer = Vec::new();
    while !cancel.is_cancelled() {
        let request = match read_request(stream, &mut buffer, cancel) {
            Ok(request) => request,
            Err(Refused::Gone) => return Ok(()),
            Err(Refused::Status(status, reason)) => {
                return plain(&mut { stream }, status, reason, false);
            }
        };
        site.counters.requests.fetch_add(1, Ordering::Relaxed);
        guest.busy(true);
        let mut paced = Paced {
            stream,
            waited: Duration::ZERO,
            taken: 0,
        };
        answer(site, &mut paced, &request)?;
        if !request.keep_alive {
            break;
        }
        guest.busy(false);
    }
    Ok(())
}

/// Reads one head, and leaves in `buffer` what came after it.
fn read_request(
    mut stream: &TcpStream,
    buffer: &mut Vec<u8>,
    cancel: &Cancel,
) -> Result<Request, Refused> {
    let began = Instant::now();
    let mut first: Option<Instant> = (!buffer.is_empty()).then_some(began);
    loop {
        if let Some((request, used)) = parse(buffer)? {
            buffer.drain(..used);
            return Ok(request);
        }
        if buffer.len() > MAX_HEAD {
            return Err(Refused::Status(431, "Request Header Fields Too Large"));
        }
        let late = match first {
            Some(first) => first.elapsed() > HEAD_TIME,
            None => began.elapsed() > IDLE_TIME || cancel.is_cancelled(),
        };
        if late {
            return Err(match first {
                Some(_) => Refused::Status(408, "Request Timeout"),
                None => Refused::Gone,
            });
        }
        let mut part = [0; 2048];
        match stream.read(&mut part) {
            Ok(0) => return Err(Refused::Gone),
            Ok(n) => {
                first.get_or_insert_with(Instant::now);
                buffer.extend_from_slice(&part[..n]);
            }
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock
                        | io::ErrorKind::TimedOut
                        | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => return Err(Refused::Gone),
        }
    }
}

fn parse(buffer: &[u8]) -> Result<Option<(Request, usize)>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut headers);
    let bad = Refused::Status(400, "Bad Request");
    let used = match head.parse(buffer) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(bad),
    };
    let head_only = match head.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Err(Refused::Status(405, "Method Not Allowed")),
    };
    let mut request = Request {
        path: head.path.unwrap_or_default().to_owned(),
        head_only,
        range: None,
        keep_alive: head.version == Some(1),
    };
    for header in head.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        match header.name.to_ascii_lowercase().as_str() {
            // Nothing that is asked here has a body; one that came would be taken for a request.
            "transfer-encoding" => return Err(bad),
            "content-length" if value != "0" => return Err(bad),
            "connection" if value.eq_ignore_ascii_case("close") => request.keep_alive = false,
            "range" => request.range = range(value),
            _ => {}
        }
    }
    Ok(Some((request, used)))
}

/// One range from a number on; anything else is answered with the whole, as it may be.
fn range(value: &str) -> Option<(u64, Option<u64>)> {
    let (from, to) = value.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    match to {
        "" => Some((from, None)),
        to => to
            .parse()
            .ok()
            .filter(|to| *to >= from)
            .map(|to| (from, Some(to))),
    }
}

/// Begin and end of the bytes of a file that are asked for; `None` when the file does not have them.
fn stretch(range: Option<(u64, Option<u64>)>, len: u64) -> Option<(u64, u64)> {
    match range {
        None => Some((0, len)),
        Some((from, _)) if from >= len => None,
        // Whoever wants everything may name a last byte far beyond the end.
        Some((from, to)) => Some((from, to.map_or(len, |to| to.saturating_add(1).min(len)))),
    }
}

fn plain(stream: &mut impl Write, status: u16, reason: &str, keep_alive: bool) -> io::Result<()> {
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let allow = if status == 405 {
        "Allow: GET, HEAD\r\n"
    } else {
        ""
    };
    write!(
        stream,
        "HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\n{allow}Connection: {connection}\r\n\r\n"
    )
}

/// What was asked for.
enum Found {
    Bytes(Arc<[u8]>),
    /// A stretch of a file.
    File {
        file: File,
        from: u64,
        len: u64,
    },
}

/// A file of the store's cache; nothing where there is none.
fn in_store(site: &Site, path: &str) -> Result<Option<Found>, StoreError> {
    let lease = site.lease()?;
    Ok(match site.store.cache_file(path, &lease, &site.listings) {
        Ok(Some(CacheFile::Bytes(bytes))) => Some(Found::Bytes(bytes)),
        // Where it cannot be opened the collector was faster.
        Ok(Some(CacheFile::File { path, from, len })) => File::open(path)
            .ok()
            .map(|file| Found::File { file, from, len }),
        Ok(None) | Err(StoreError::Missing { .. }) => None,
        Err(error) => return Err(error),
    })
}

fn answer(site: &Site, stream: &mut impl Write, request: &Request) -> io::Result<()> {
    let path = request.path.strip_prefix('/').unwrap_or_default();
    let found = match path.strip_prefix(PACKAGES) {
        Some(rest) => {
            let file = site.packages.as_ref().and_then(|folder| folder.file(rest));
            Ok(file.map(|(file, len)| Found::File { file, from: 0, len }))
        }
        None => in_store(site, path),
    };
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => return plain(stream, 404, "Not Found", request.keep_alive),
        Err(_) => return plain(stream, 500, "Internal Server Error", request.keep_alive),
    };
    let len = match &found {
        Found::Bytes(bytes) => bytes.len() as u64,
        Found::File { len, .. } => *len,
    };
    let Some((from, to)) = stretch(request.range, len) else {
        return write!(
            stream,
            "HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{len}\r\n\
             Content-Length: 0\r\nConnection: {}\r\n\r\n",
            connection(request)
        );
    };
    let (status, content_range) = match request.range {
        None => ("200 OK", String::new()),
        Some(_) => (
            "206 Partial Content",
            format!("Content-Range: bytes {from}-{}/{len}\r\n", to - 1),
        ),
    };
    let lasting = if path.starts_with("packs/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\
         {content_range}Accept-Ranges: bytes\r\nCache-Control: {lasting}\r\nConnection: {}\r\n\r\n",
        to - from,
        connection(request)
    );
    let mut head = head.into_bytes();
    if request.head_only {
        return stream.write_all(&head);
    }
    let sent = &site.counters.bytes;
    match &found {
        Found::Bytes(bytes) => {
            let part = bytes.get(from as usize..to as usize).unwrap_or_default();
            // In one piece: most answers are short.
            head.extend_from_slice(part);
            stream.write_all(&head)?;
            sent.fetch_add(part.len() as u64, Ordering::Relaxed);
            Ok(())
        }
        Found::File {
            file, from: start, ..
        } => {
            stream.write_all(&head)?;
            send_part(stream, file, start + from..start + to, sent)
        }
    }
}

/// The word for what becomes of the connection after the answer.
fn connection(request: &Request) -> &'static str {
    match request.keep_alive {
        true => "keep-alive",
        false => "close",
    }
}

/// Sends some bytes of a file, and adds to `sent` as they go.
fn send_part(
    stream: &mut impl Write,
    file: &File,
    bytes: Range<u64>,
    sent: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    let mut at = bytes.start;
    while at < bytes.end {
        let room = buffer.len().min((bytes.end - at) as usize);
        let n = file.read_at(&mut buffer[..room], at)?;
        if n == 0 {
            // Its length was promised: only closing tells that it is not kept.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.write_all(&buffer[..n])?;
        sent.fetch_add(n as u64, Ordering::Relaxed);
        at += n as u64;
    }
    Ok(())
}

/// For the fuzz targets: reads the head of a request, and finds what it asks for in a file of `len` bytes.
#[cfg(feature = "fuzzing")]
pub fn request(buffer: &[u8], len: u64) {
    let Ok(Some((request, used))) = parse(buffer) else {
        return;
    };
    assert!(used <= buffer.len());
    // The head alone says the same, and less than the head says nothing yet.
    let alone = parse(&buffer[..used]);
    assert!(
        matches!(alone, Ok(Some((again, end))) if end == used && again.path == request.path
            && again.range == request.range && again.keep_alive == request.keep_alive)
    );
    assert!(!matches!(parse(&buffer[..used - 1]), Ok(Some(_))));
    match stretch(request.range, len) {
        Some((from, to)) => assert!(from <= to && to <= len && (from < to || len == 0)),
        None => assert!(request.range.is_some_and(|(from, _)| from >= len)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found while the fuzz target `web` was written: one more than the largest number was zero, and
    /// the answer promised more bytes than there are numbers for.
    #[test]
    fn a_range_may_end_at_the_largest_number() {
        let last = range(&format!("bytes=2-{}", u64::MAX));
        assert_eq!(stretch(last, 9), Some((2, 9)));
        assert_eq!(stretch(range("bytes=2-3"), 9), Some((2, 4)));
        assert_eq!(stretch(range("bytes=2-"), 9), Some((2, 9)));
        assert_eq!(stretch(range("bytes=9-"), 9), None);
        assert_eq!(stretch(range("bytes=3-2"), 9), Some((0, 9)));
        assert_eq!(stretch(None, 0), Some((0, 0)));
    }
}
