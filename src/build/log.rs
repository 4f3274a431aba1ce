//! Keeps the log of a step bounded, however much the step writes.

use std::collections::VecDeque;
use std::io::{self, Write};

/// Passes on the beginning of a stream and its end; what lies between is counted.
///
/// The head goes to the writer at once; the tail is kept in memory until [`BoundedLog::finish`].
/// Errors of the writer are kept until then as well, so that a full disk under the log neither
/// stops nor fails a build by itself.
#[derive(Debug)]
pub struct BoundedLog<W> {
    writer: W,
    head_left: u64,
    tail: VecDeque<u8>,
    tail_limit: usize,
    dropped: u64,
    error: Option<io::Error>,
}

impl<W: Write> BoundedLog<W> {
    /// What is kept of a log by default: 32 MiB from its beginning.
    pub const HEAD: u64 = 32 << 20;
    /// What is kept of a log by default: 1 MiB from its end.
    pub const TAIL: usize = 1 << 20;

    /// Keeps the default amounts.
    pub fn new(writer: W) -> BoundedLog<W> {
        BoundedLog::with_limits(writer, Self::HEAD, Self::TAIL)
    }

    /// Keeps `head` bytes from the beginning and `tail` bytes from the end.
    pub fn with_limits(writer: W, head: u64, tail: usize) -> BoundedLog<W> {
        BoundedLog {
            writer,
            head_left: head,
            tail: VecDeque::new(),
            tail_limit: tail,
            dropped: 0,
            error: None,
        }
    }

    /// Takes a piece of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        let now = bytes
            .len()
            .min(usize::try_from(self.head_left).unwrap_or(usize::MAX));
        let (head, rest) = bytes.split_at(now);
        self.head_left -= now as u64;
        self.write(head);
        // Only the last `tail_limit` bytes of this piece can survive it.
        let skip = rest.len().saturating_sub(self.tail_limit);
        self.dropped += skip as u64;
        let rest = &rest[skip..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.tail_limit);
        self.dropped += surplus as u64;
        self.tail.drain(..surplus);
        self.tail.extend(rest);
    }

    /// Writes a line about what was left out (if anything was) and the tail.
    pub fn finish(mut self) -> io::Result<W> {
        let mut tail = std::mem::take(&mut self.tail);
        if self.dropped > 0 {
            // Begin the tail with a whole line, unless it is one endless line.
            if let Some(end) = tail.iter().position(|&b| b == b'\n') {
                self.dropped += end as u64 + 1;
                tail.drain(..=end);
            }
            let note = format!("\n[... {} bytes left out ...]\n", self.dropped);
            self.write(note.as_bytes());
        }
        let (a, b) = tail.as_slices();
        self.write(a);
        self.write(b);
        match self.error.take() {
            Some(error) => Err(error),
            None => {
                self.writer.flush()?;
                Ok(self.writer)
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.error.is_none() && !bytes.is_empty() {
            self.error = self.writer.write_all(bytes).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn short_logs_stay_whole() {
        let mut log = BoundedLog::with_limits(Vec::new(), 4, 100);
        log.push(b"one\ntwo\n");
        log.push(b"three");
        assert_eq!(log.finish().unwrap(), b"one\ntwo\nthree");
    }

    #[test]
    fn long_logs_lose_their_middle() {
        let mut log = BoundedLog::with_limits(Vec::new(), 6, 12);
        for n in 0..1000 {
            log.push(format!("line {n}\n").as_bytes());
        }
        let text = String::from_utf8(log.finish().unwrap()).unwrap();
        assert_eq!(text, "line 0\n[... 8875 bytes left out ...]\nline 999\n");
    }

    #[test]
    fn a_writer_that_fails_is_told_at_the_end() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = BoundedLog::new(Full);
        log.push(b"x");
        log.push(b"y");
        let error = log.finish().err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    proptest! {
        #[test]
        fn nothing_is_lost_or_added_within_the_limits(
            pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..50), 0..20),
            head in 0_u64..200,
            tail in 0_usize..200,
        ) {
            let all: Vec<u8> = pieces.concat();
            let mut log = BoundedLog::with_limits(Vec::new(), head, tail);
            for piece in &pieces {
                log.push(piece);
            }
            prop_assert!(log.tail.len() <= tail);
            let out = log.finish().unwrap();
            if all.len() as u64 <= head + tail as u64 {
                prop_assert_eq!(out, all);
            } else {
                let head = head as usize;
                prop_assert_eq!(&out[..head], &all[..head]);
            }
        }
    }
}
