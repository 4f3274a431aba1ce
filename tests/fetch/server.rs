//! A web server that does what a test wants of it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request: its path, and the headers that matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub path: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
}

/// What is sent back.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Status and further headers, without lengths.
    pub head: String,
    pub body: Vec<u8>,
    /// What `Content-Length` says, if not the truth.
    pub says: Option<usize>,
    /// Bytes after which the connection breaks off.
    pub cut: Option<usize>,
    /// Bytes after which nothing comes for a long time.
    pub hang: Option<usize>,
    /// Time between two bytes.
    pub slow: Option<Duration>,
    /// Whether the body comes in chunks, with no length said.
    pub chunked: bool,
}

impl Answer {
    pub fn ok(body: &[u8]) -> Answer {
        Answer {
            head: "200 OK\r\n".into(),
            body: body.to_vec(),
            ..Answer::default()
        }
    }

    pub fn status(head: &str) -> Answer {
        Answer {
            head: format!("{head}\r\n"),
            ..Answer::default()
        }
    }

    /// All of `body` under a tag, or the part of it that was asked for if the tag is still the same.
    pub fn tagged(request: &Request, tag: &str, body: &[u8]) -> Answer {
        let same = request.if_range.as_deref() == Some(tag);
        let from = request.range.as_deref().filter(|_| same);
        let from = from.and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
        match from {
            Some(from) => Answer {
                head: format!(
                    "206 Part\r\nETag: {tag}\r\nContent-Range: bytes {from}-{}/{}\r\n",
                    body.len() - 1,
                    body.len()
                ),
                body: body[from..].to_vec(),
                ..Answer::default()
            },
            None => Answer {
                head: format!("200 OK\r\nETag: {tag}\r\n"),
                body: body.to_vec(),
                ..Answer::default()
            },
        }
    }
}

/// A server that runs as long as the test.
pub struct Server {
    pub url: String,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers requests; `number` counts them from 0.
    pub fn new(answer: impl Fn(usize, &Request) -> Answer + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (noted, answer) = (seen.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (noted, answer) = (noted.clone(), answer.clone());
                std::thread::spawn(move || {
                    let mut stream = stream.ok()?;
                    let mut reader = BufReader::new(stream.try_clone().ok()?);
                    let mut first = String::new();
                    reader.read_line(&mut first).ok()?;
                    let mut head = BTreeMap::new();
                    let mut line = String::new();
                    while reader.read_line(&mut line).ok()? > 2 {
                        let (name, value) = line.split_once(':')?;
                        head.insert(name.to_lowercase(), value.trim().to_owned());
                        line.clear();
                    }
                    let request = Request {
                        path: first.split(' ').nth(1)?.to_owned(),
                        range: head.remove("range"),
                        if_range: head.remove("if-range"),
                    };
                    let number = {
                        let mut noted = noted.lock().unwrap();
                        noted.push(request.clone());
                        noted.len() - 1
                    };
                    send(&mut stream, &answer(number, &request))
                });
            }
        });
        Server { url, seen }
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }
}

fn send(stream: &mut impl Write, answer: &Answer) -> Option<()> {
    let length = answer.says.unwrap_or(answer.body.len());
    let length = match answer.chunked {
        true => "Transfer-Encoding: chunked".to_owned(),
        false => format!("Content-Length: {length}"),
    };
    let head = format!(
        "HTTP/1.1 {}{length}\r\nConnection: close\r\n\r\n",
        answer.head
    );
    stream.write_all(head.as_bytes()).ok()?;
    let mut body = &answer.body[..];
    if let Some(end) = answer.cut.or(answer.hang) {
        body = &body[..end.min(body.len())];
    }
    if answer.chunked {
        stream
            .write_all(format!("{:x}\r\n", body.len()).as_bytes())
            .ok()?;
    }
    match answer.slow {
        None => stream.write_all(body).ok()?,
        Some(pause) => {
            for byte in body {
                stream.write_all(&[*byte]).ok()?;
                std::thread::sleep(pause);
            }
        }
    }
    if answer.chunked {
        stream.write_all(b"\r\n0\r\n\r\n").ok()?;
    }
    stream.flush().ok()?;
    if answer.hang.is_some() {
        std::thread::sleep(Duration::from_secs(120));
    }
    Some(())
}
