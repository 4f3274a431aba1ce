//! Memory maps of sealed files: the only unsafe code of the store.
//!
//! A map is sound while nobody changes the file beneath it. Only pack files and files of the stat
//! cache are mapped, and only after they were sealed: written completely and moved to their final
//! name. From then on no code of this crate opens them for writing; the collector removes whole
//! files, and a removed file stays intact for those who have it mapped.
//!
//! A file may be cut short by others all the same, and a disk may fail. Then the bytes that cannot be
//! read turn into zeros (see [`fault`]). So whoever reads asks afterwards, with [`Map::confirm`] or
//! [`Map::lost_in`], before anything is concluded from what was read.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

mod fault;
#[cfg(test)]
mod tests;

use fault::Watch;

/// A sealed file in memory.
#[derive(Debug)]
pub(crate) struct Map {
    // Dropped first: a map that is gone must not be known.
    watch: Watch,
    map: memmap2::Mmap,
    path: PathBuf,
}

impl Map {
    /// Maps a sealed file of the store that is open.
    pub fn sealed(file: &File, path: &Path) -> io::Result<Map> {
        // SAFETY: sealed files are never written again (see the top of this file), and the store's
        // folder is not writable by others than its owner, whom the store must trust anyway. What
        // cannot be read turns into zeros, at any time: all reads go through bounds-checked slices of
        // plain bytes, of which every value is valid.
        let map = unsafe { memmap2::Mmap::map(file)? };
        let watch = Watch::new(&map)?;
        let path = path.to_path_buf();
        Ok(Map { watch, map, path })
    }

    /// Reads bytes of the file without the map. The file must still have its name.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        let read = File::open(&self.path)?.read_exact_at(out, offset);
        read.map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(io::ErrorKind::UnexpectedEof, "the file is cut short")
            }
            _ => error,
        })
    }

    /// Tells that bytes that were read before this call were those of the file; else why it could not
    /// be read.
    pub fn confirm(&self, range: Range<usize>) -> io::Result<()> {
        let Some(lost) = self.watch.lost() else {
            return Ok(());
        };
        if !overlap(&lost, &range) {
            return Ok(());
        }
        // Something near was lost. What the file itself says counts.
        let mut buffer = vec![0; 64 << 10];
        let mut at = range.start;
        while at < range.end {
            let part = &self.map[at..range.end.min(at + buffer.len())];
            let read = &mut buffer[..part.len()];
            self.read_at(read, at as u64)?;
            if read != part {
                return Err(failed());
            }
            at += part.len();
        }
        Ok(())
    }

    /// Tells why something in a range, or between parts of it, could not be read, if so. Quick, where
    /// [`Map::confirm`] is exact.
    pub fn lost_in(&self, range: Range<usize>) -> Option<io::Error> {
        let lost = self.watch.lost().filter(|lost| overlap(lost, &range))?;
        let from = lost.start.max(range.start);
        let read = self.read_at(&mut [0], from as u64);
        Some(read.err().unwrap_or_else(failed))
    }

    /// Gives the pages read so far back to the system, which has them in its cache.
    pub fn release(&self) {
        // SAFETY: the pages of a shared map of a file that nobody changes hold nothing of their own;
        // touched again, they are read from the file again, with the same bytes. Pages that were
        // lost stay zeros.
        let _ = unsafe {
            self.map
                .unchecked_advise(memmap2::UncheckedAdvice::DontNeed)
        };
    }
}

fn overlap(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

/// The disk failed once, and does not any more.
fn failed() -> io::Error {
    rustix::io::Errno::IO.into()
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
