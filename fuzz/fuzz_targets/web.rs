//! The head of a request to `mstore serve` may be anything; a range of bytes lies in its file.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore::serve::cache;

#[derive(Arbitrary, Debug)]
enum Line {
    Range(Option<u64>, Option<u64>),
    Close(bool),
    Length(u8),
    Encoding,
    Other(Vec<u8>, Vec<u8>),
    Plain(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Input {
    Bytes(Vec<u8>),
    Head {
        method: u8,
        path: Vec<u8>,
        version: u8,
        lines: Vec<Line>,
        after: Vec<u8>,
    },
}

fn head(method: u8, path: &[u8], version: u8, lines: &[Line]) -> Vec<u8> {
    let method = ["GET", "HEAD", "POST", "get"][usize::from(method % 4)];
    let mut out = format!("{method} /").into_bytes();
    out.extend(path);
    out.extend(format!(" HTTP/1.{}\r\n", version % 3).into_bytes());
    for line in lines.iter().take(70) {
        match line {
            Line::Range(from, to) => {
                let text = |n: &Option<u64>| n.map_or(String::new(), |n| n.to_string());
                out.extend(format!("Range: bytes={}-{}", text(from), text(to)).into_bytes());
            }
            Line::Close(close) => {
                let word = if *close { "close" } else { "keep-alive" };
                out.extend(format!("Connection: {word}").into_bytes());
            }
            Line::Length(n) => out.extend(format!("Content-Length: {n}").into_bytes()),
            Line::Encoding => out.extend(b"Transfer-Encoding: chunked"),
            Line::Other(name, value) => {
                out.extend(name);
                out.extend(b": ");
                out.extend(value);
            }
            Line::Plain(bytes) => out.extend(bytes),
        }
        out.extend(b"\r\n");
    }
    out.extend(b"\r\n");
    out
}

fuzz_target!(|input: (Input, u64)| {
    let bytes = match &input.0 {
        Input::Bytes(bytes) => bytes.clone(),
        Input::Head {
            method,
            path,
            version,
            lines,
            after,
        } => [head(*method, path, *version, lines), after.clone()].concat(),
    };
    for len in [input.1, 0, 1, 100, u64::MAX] {
        cache::request(&bytes, len);
    }
});
