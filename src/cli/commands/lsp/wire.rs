//! Messages on a stream: headers, an empty line, and JSON.
//!
//! Nothing that arrives can make the reader hold more than [`LARGEST`] bytes, and what cannot be understood is
//! handed on as such, so that it is answered and the stream goes on.

use std::io::{self, BufRead, Read, Write};

use serde_json::Value;

/// The largest message that is read.
const LARGEST: u64 = 64 << 20;
/// The longest line of a header.
const HEADER: u64 = 4096;
/// Lines of headers that may come without an empty one.
const HEADERS: usize = 64;

/// What arrived.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    /// JSON.
    Json(Value),
    /// Something else, and what is wrong with it.
    Broken(String),
}

/// Reads the next message; nothing at the end of the stream, or when it makes no sense any more.
pub(super) fn read(input: &mut impl BufRead) -> Option<Incoming> {
    let mut length: Option<Result<u64, String>> = None;
    let mut line = Vec::new();
    for _ in 0..HEADERS {
        line.clear();
        let read = input.by_ref().take(HEADER).read_until(b'\n', &mut line);
        if read.ok()? == 0 {
            return None;
        }
        if !line.ends_with(b"\n") {
            // Too long, or the end of the stream: where the next message begins cannot be told.
            return None;
        }
        let text = line.trim_ascii();
        if text.is_empty() {
            return match length {
                None => Some(Incoming::Broken(
                    "a message without Content-Length".to_owned(),
                )),
                Some(Err(why)) => Some(Incoming::Broken(why)),
                Some(Ok(length)) => body(input, length),
            };
        }
        let colon = text.iter().position(|byte| *byte == b':');
        let Some((name, value)) = colon.map(|at| (&text[..at], &text[at + 1..])) else {
            continue;
        };
        if name.trim_ascii().eq_ignore_ascii_case(b"content-length") {
            let value = String::from_utf8_lossy(value.trim_ascii());
            let parsed = value
                .parse()
                .map_err(|_| "Content-Length is not a number".to_owned());
            length = Some(parsed);
        }
    }
    None
}

fn body(input: &mut impl BufRead, length: u64) -> Option<Incoming> {
    if length > LARGEST {
        let skipped = io::copy(&mut input.by_ref().take(length), &mut io::sink());
        return (skipped.ok()? == length)
            .then(|| Incoming::Broken(format!("a message of more than {LARGEST} bytes")));
    }
    // Grows with what arrives: a length alone takes no memory.
    let mut bytes = Vec::new();
    let read = input.by_ref().take(length).read_to_end(&mut bytes).ok()?;
    if (read as u64) < length {
        return None;
    }
    Some(match serde_json::from_slice(&bytes) {
        Ok(value) => Incoming::Json(value),
        Err(e) => Incoming::Broken(format!("not JSON: {e}")),
    })
}

/// Writes a message.
pub(super) fn write(out: &mut impl Write, message: &Value) -> io::Result<()> {
    let text = message.to_string();
    write!(out, "Content-Length: {}\r\n\r\n{text}", text.len())?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<Incoming> {
        let mut input = text.as_bytes();
        std::iter::from_fn(|| read(&mut input)).collect()
    }

    #[test]
    fn what_is_broken_is_passed_over() {
        let got = all(concat!(
            "Content-Length: 2\r\n\r\n{}",
            "Content-Type: x\r\ncontent-length:3\n\n[1]",
            "Content-Length: 1\r\n\r\n{",
            "Content-Length: x\r\n\r\n",
            "\r\n",
            "no header\r\nContent-Length: 4\r\n\r\nnull",
            "Content-Length: 9\r\n\r\nnull",
        ));
        let broken = |i: &Incoming| matches!(i, Incoming::Broken(_));
        assert_eq!(got.len(), 6);
        assert_eq!(got[0], Incoming::Json(serde_json::json!({})));
        assert_eq!(got[1], Incoming::Json(serde_json::json!([1])));
        assert!(got[2..5].iter().all(broken), "{got:?}");
        assert_eq!(got[5], Incoming::Json(Value::Null));
    }

    #[test]
    fn what_is_huge_ends_or_is_passed_over() {
        assert_eq!(all(&"x".repeat(10_000)), []);
        assert_eq!(all(&"a: b\r\n".repeat(100)), []);
        assert_eq!(all("Content-Length: 99999999999\r\n\r\nx"), []);
        let deep = "[".repeat(100_000);
        let got = all(&format!("Content-Length: {}\r\n\r\n{deep}", deep.len()));
        assert!(matches!(got.as_slice(), [Incoming::Broken(_)]));
    }
}
