//! Memory maps of sealed files: the only unsafe code of the store.
//!
//! A map is sound while nobody changes or shortens the file beneath it. Only pack files are mapped,
//! and only after they were sealed: written completely, synced, and moved to their final name. From
//! then on no code of this crate opens them for writing; the collector removes whole files, and a
//! removed file stays intact for those who have it mapped.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A sealed file in memory.
#[derive(Debug)]
pub(crate) struct Map {
    map: memmap2::Mmap,
    path: PathBuf,
}

impl Map {
    /// Maps a sealed file of the store.
    pub fn sealed(path: &Path) -> io::Result<Map> {
        let file = File::open(path)?;
        // SAFETY: sealed packs are never written or truncated again (see the top of this file), and
        // the store's folder is not writable by others than its owner, whom the store must trust
        // anyway. All reads go through bounds-checked slices of plain bytes.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        let path = path.to_path_buf();
        Ok(Map { map, path })
    }

    /// Reads bytes of the file without the map: a disk that fails gives an error here, where the map
    /// would end the process. The file must still have its name.
    pub fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<()> {
        File::open(&self.path)?.read_exact_at(out, offset)
    }

    /// Gives the pages read so far back to the system, which has them in its cache.
    pub fn release(&self) {
        // SAFETY: the pages of a shared map of a file that nobody changes hold nothing of their own;
        // touched again, they are read from the file again, with the same bytes.
        let _ = unsafe {
            self.map
                .unchecked_advise(memmap2::UncheckedAdvice::DontNeed)
        };
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
