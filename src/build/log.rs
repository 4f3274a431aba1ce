//! Keeps the log of a step bounded, however much the step writes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// What a log is written to: it grows at its end, and its end can be replaced.
pub trait Sink {
    /// Adds bytes at the end.
    fn add(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Puts `bytes` in place of all that follows the first `from` bytes.
    fn replace_end(&mut self, from: u64, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for File {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn replace_end(&mut self, from: u64, bytes: &[u8]) -> io::Result<()> {
        // In this order: whatever ends this process meanwhile, nothing that is to stay is missing.
        self.write_all_at(bytes, from)?;
        self.set_len(from + bytes.len() as u64)?;
        self.seek(SeekFrom::End(0)).map(|_| ())
    }
}

impl Sink for Vec<u8> {
    fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }

    fn replace_end(&mut self, from: u64, bytes: &[u8]) -> io::Result<()> {
        self.truncate(usize::try_from(from).unwrap_or(usize::MAX));
        self.add(bytes)
    }
}

/// Passes on the beginning of a stream and its end; what lies between is counted.
///
/// All goes to the sink at once, so that the log can be read while it is written and lacks nothing if this
/// process is killed. Whenever what follows the head has grown to some times the tail, the tail takes its
/// place. Errors of the sink are kept until [`BoundedLog::finish`], so that a full disk under the log
/// neither stops nor fails a build by itself.
#[derive(Debug)]
pub struct BoundedLog<W> {
    writer: W,
    head: u64,
    head_left: u64,
    /// Bytes of the sink beyond the head.
    beyond: u64,
    tail: VecDeque<u8>,
    tail_limit: usize,
    dropped: u64,
    error: Option<io::Error>,
}

impl<W: Sink> BoundedLog<W> {
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
            head,
            head_left: head,
            beyond: 0,
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
        self.write(rest);
        self.beyond += rest.len() as u64;
        // Only the last `tail_limit` bytes of this piece can survive it.
        let skip = rest.len().saturating_sub(self.tail_limit);
        self.dropped += skip as u64;
        let rest = &rest[skip..];
        let surplus = (self.tail.len() + rest.len()).saturating_sub(self.tail_limit);
        self.dropped += surplus as u64;
        self.tail.drain(..surplus);
        self.tail.extend(rest);
        if self.dropped > 0 && self.beyond >= SLACK * self.tail_limit.max(1) as u64 {
            self.leave_out();
        }
    }

    /// Puts a line about what was left out (if anything was) and the tail behind the head.
    pub fn finish(mut self) -> io::Result<W> {
        if self.dropped > 0 {
            self.leave_out();
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(self.writer),
        }
    }

    fn leave_out(&mut self) {
        let tail = self.tail.make_contiguous();
        // Begin the tail with a whole line, unless it is one endless line.
        let cut = tail
            .iter()
            .position(|&b| b == b'\n')
            .map_or(0, |end| end + 1);
        let left_out = self.dropped + cut as u64;
        let mut end = format!("\n[... {left_out} bytes left out ...]\n").into_bytes();
        end.extend_from_slice(&tail[cut..]);
        self.beyond = end.len() as u64;
        if self.error.is_none() {
            self.error = self.writer.replace_end(self.head, &end).err();
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.error.is_none() && !bytes.is_empty() {
            self.error = self.writer.add(bytes).err();
        }
    }
}

/// How many times the tail may follow the head before the tail takes its place.
const SLACK: u64 = 4;

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
        impl Sink for Full {
            fn add(&mut self, _: &[u8]) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn replace_end(&mut self, _: u64, _: &[u8]) -> io::Result<()> {
                Ok(())
            }
        }
        let mut log = BoundedLog::new(Full);
        log.push(b"x");
        log.push(b"y");
        let error = log.finish().err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_file_has_the_end_of_all_that_came_while_it_is_written() {
        let mut log = BoundedLog::with_limits(tempfile::tempfile().unwrap(), 6, 12);
        for n in 0..1000 {
            log.push(format!("line {n}\n").as_bytes());
            let size = log.writer.metadata().unwrap().len();
            assert!(size < 6 + (SLACK + 1) * 12 + 40, "{size}");
            let mut text = vec![0; size as usize];
            log.writer.read_exact_at(&mut text, 0).unwrap();
            let text = String::from_utf8(text).unwrap();
            assert!(text.ends_with(&format!("line {n}\n")), "{text}");
        }
        let file = log.finish().unwrap();
        let mut text = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut text, 0).unwrap();
        assert_eq!(text, b"line 0\n[... 8875 bytes left out ...]\nline 999\n");
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
