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
use std::path::Path;

/// A sealed file in memory.
#[derive(Debug)]
pub(crate) struct Map {
    map: memmap2::Mmap,
}

impl Map {
    /// Maps a sealed file of the store.
    pub fn sealed(path: &Path) -> io::Result<Map> {
        let file = File::open(path)?;
        // SAFETY: sealed packs are never written or truncated again (see the top of this file), and
        // the store's folder is not writable by others than its owner, whom the store must trust
        // anyway. All reads go through bounds-checked slices of plain bytes.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Map { map })
    }
}

impl Deref for Map {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.map
    }
}
