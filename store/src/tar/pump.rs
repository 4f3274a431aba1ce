//! Reads and decompresses ahead in a thread of its own, a few chunks at most.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, SyncSender};

/// How much is read at a time.
const CHUNK: usize = 512 << 10;
/// How many chunks may wait. With the ones being filled and used this bounds the memory.
pub(crate) const AHEAD: usize = 4;

/// The end from which what was read ahead is taken.
pub(crate) struct Pumped {
    chunks: Receiver<io::Result<Vec<u8>>>,
    spent: SyncSender<Vec<u8>>,
    current: Vec<u8>,
    position: usize,
    ended: bool,
}

impl Pumped {
    /// Takes chunks from one channel and gives the emptied ones back through the other.
    pub fn new(chunks: Receiver<io::Result<Vec<u8>>>, spent: SyncSender<Vec<u8>>) -> Pumped {
        Pumped {
            chunks,
            spent,
            current: Vec::new(),
            position: 0,
            ended: false,
        }
    }
}

impl Read for Pumped {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.fill_buf()?;
        let count = available.len().min(buffer.len());
        buffer[..count].copy_from_slice(&available[..count]);
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Pumped {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.current.len() && !self.ended {
            let empty = std::mem::take(&mut self.current);
            self.position = 0;
            // Not taken back when the other side has enough or is gone already.
            let _ = self.spent.try_send(empty);
            match self.chunks.recv() {
                Ok(Ok(chunk)) => self.current = chunk,
                Ok(Err(error)) => {
                    self.ended = true;
                    return Err(error);
                }
                Err(_) => self.ended = true,
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position = (self.position + count).min(self.current.len());
    }
}

/// Reads to the end, or to the first error, or until nobody takes the chunks any more.
pub(crate) fn pump(
    mut reader: impl Read,
    chunks: SyncSender<io::Result<Vec<u8>>>,
    spent: Receiver<Vec<u8>>,
) {
    loop {
        let mut chunk = spent.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let mut filled = 0;
        let mut failure = None;
        while filled < CHUNK {
            match reader.read(&mut chunk[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let ended = filled < CHUNK;
        chunk.truncate(filled);
        if filled > 0 && chunks.send(Ok(chunk)).is_err() {
            return;
        }
        if let Some(error) = failure {
            // Nobody left to hear of it means that nobody minds.
            let _ = chunks.send(Err(error));
            return;
        }
        if ended {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn pumped(reader: impl Read + Send + 'static) -> Pumped {
        let (send, chunks) = sync_channel(AHEAD);
        let (spent, returned) = sync_channel(AHEAD);
        std::thread::spawn(move || pump(reader, send, returned));
        Pumped::new(chunks, spent)
    }

    #[test]
    fn all_bytes_arrive_in_order() {
        let data: Vec<u8> = (0..CHUNK as u32 * 3 / 2)
            .flat_map(u32::to_le_bytes)
            .collect();
        let mut out = Vec::new();
        pumped(io::Cursor::new(data.clone()))
            .read_to_end(&mut out)
            .unwrap();
        assert!(out == data);
    }

    #[test]
    fn what_came_before_an_error_is_delivered() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        let mut reader = pumped(io::Cursor::new(vec![7; 100]).chain(Fails));
        let mut out = [0; 100];
        reader.read_exact(&mut out).unwrap();
        assert_eq!(out, [7; 100]);
        assert_eq!(reader.read(&mut out).unwrap_err().raw_os_error(), Some(5));
    }
}
