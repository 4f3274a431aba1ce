//! Reading files.

use std::cell::RefCell;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{Mode, OFlags, Stat, fstat, openat};
use rustix::io::Errno;

use super::{Frame, Inode, Scan, join};
use crate::attributes::Place;
use crate::ingest::{CHUNK_ABOVE, Content};
use crate::manifest::{Kind, Meta};
use crate::statcache::Key;
use crate::workers::Batch;
use crate::{BlobHash, StoreError};

thread_local! {
    /// Room for the content of a short file.
    static CONTENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A file that waits to be read.
#[derive(Debug)]
pub(super) struct Waiting {
    pub name: CString,
    /// What the walk saw there.
    pub inode: Inode,
    /// Number of its entry.
    pub slot: usize,
}

impl Scan {
    /// A worker's job: reads files of one directory.
    pub(super) fn read_files(
        &self,
        dir: &OwnedFd,
        frame: Arc<Frame>,
        files: Vec<Waiting>,
    ) -> Result<(), StoreError> {
        let mut read = Vec::with_capacity(files.len());
        for file in files {
            self.go_on()?;
            let (meta, kind) = self.read_file(dir, &file, &frame.path, None)?;
            read.push((file.slot, meta, kind));
        }
        let mut entries = frame.lock();
        for (slot, meta, kind) in read {
            entries[slot].meta = meta;
            entries[slot].kind = kind;
        }
        drop(entries);
        self.release(frame)
    }

    /// Reads one file. With `batch`, chunks of a long one are left to workers.
    pub(super) fn read_file(
        &self,
        dir: &OwnedFd,
        name: &Waiting,
        above: &[u8],
        batch: Option<&Batch>,
    ) -> Result<(Meta, Kind), StoreError> {
        let path = || join(above, name.name.to_bytes());
        let plain = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::RDONLY;
        // Not every owner may ask for NOATIME.
        let file = match openat(dir, &name.name, plain | OFlags::NOATIME, Mode::empty()) {
            Err(Errno::PERM) => openat(dir, &name.name, plain, Mode::empty()),
            other => other,
        };
        let changed = || StoreError::Changed {
            path: self.full(&path()),
        };
        let file = File::from(file.map_err(|e| match e {
            // It was there when the folder was listed.
            Errno::NOENT => changed(),
            e => self.io("open", &path(), e),
        })?);
        let look = || fstat(&file).map_err(|e| self.io("look at", &path(), e));
        let mut before = look()?;
        if (before.st_dev, before.st_ino) != name.inode {
            return Err(changed());
        }
        let mut tries = 0;
        let (stat, blob, size) = loop {
            let (blob, size) = self.content(&file, &before, &path, batch)?;
            let after = look()?;
            let same = size == before.st_size.unsigned_abs()
                && before.st_size == after.st_size
                && before.st_mtime == after.st_mtime
                && before.st_mtime_nsec == after.st_mtime_nsec;
            if same {
                break (after, blob, size);
            }
            tries += 1;
            if tries == 3 {
                return Err(changed());
            }
            before = after;
        };
        let xattrs = self
            .attributes(&Place::Open(&file))
            .map_err(|e| self.io("read attributes of", &path(), e))?;
        self.bytes.fetch_add(size, Ordering::Relaxed);
        if let Some(cache) = &self.cache {
            cache.add(Key::of(&stat), blob, &xattrs);
        }
        let meta = self.meta(&stat, xattrs);
        Ok((meta, Kind::File { blob, size }))
    }

    /// Adds the content of a file to the store, and tells how much was read.
    fn content(
        &self,
        file: &File,
        stat: &Stat,
        path: &dyn Fn() -> Vec<u8>,
        batch: Option<&Batch>,
    ) -> Result<(BlobHash, u64), StoreError> {
        let length = stat.st_size.unsigned_abs();
        if length > CHUNK_ABOVE as u64 {
            let sparse = stat.st_blocks.unsigned_abs().saturating_mul(512) < length;
            let mut reader = Pread {
                file,
                at: 0,
                holes: sparse.then_some(Holes::default()),
            };
            let full = self.full(&path());
            let go_on = || self.go_on();
            return self.ingest.put_content(&mut reader, &full, batch, &go_on);
        }
        let length = length as usize;
        CONTENT.with_borrow_mut(|buffer| {
            if buffer.len() < length {
                buffer.resize(length.next_multiple_of(64 << 10), 0);
            }
            let mut at = 0;
            while at < length {
                match file.read_at(&mut buffer[at..length], at as u64) {
                    Ok(0) => break,
                    Ok(n) => at += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(self.io("read", &path(), error)),
                }
            }
            // More than was told, or less, shows in the size afterwards.
            Ok((self.ingest.put_blob(&buffer[..at])?, at as u64))
        })
    }
}

/// Reads a file by offset, and gives holes as zeros without reading them.
struct Pread<'a> {
    file: &'a File,
    at: u64,
    holes: Option<Holes>,
}

impl Pread<'_> {
    /// Finds the next stretch of data, when the last one was read.
    fn look_ahead(&mut self) -> io::Result<()> {
        let Some(holes) = &mut self.holes else {
            return Ok(());
        };
        if self.at < holes.data_to || holes.end.is_some() {
            return Ok(());
        }
        let seek = |from| rustix::fs::seek(self.file.as_fd(), from);
        match seek(rustix::fs::SeekFrom::Data(self.at)) {
            Ok(data) => {
                holes.data_from = data;
                holes.data_to = seek(rustix::fs::SeekFrom::Hole(data))?;
            }
            Err(Errno::NXIO) => {
                holes.end = Some(self.file.metadata()?.len());
            }
            // A file system that does not know holes: all is data.
            Err(_) => self.holes = None,
        }
        Ok(())
    }
}

impl Content for Pread<'_> {
    fn zeros(&mut self) -> io::Result<u64> {
        self.look_ahead()?;
        let end = self.holes.as_ref().map_or(0, |holes| match holes.end {
            Some(end) => end,
            None => holes.data_from,
        });
        Ok(end.saturating_sub(self.at))
    }

    fn skip(&mut self, zeros: u64) {
        self.at += zeros;
    }
}

/// The stretch of data or hole that was found last.
#[derive(Default)]
struct Holes {
    data_from: u64,
    data_to: u64,
    /// Nothing but a hole from here to the end.
    end: Option<u64>,
}

impl Read for Pread<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let zeros = self.zeros()?;
        let Some(holes) = &self.holes else {
            let n = self.file.read_at(out, self.at)?;
            self.at += n as u64;
            return Ok(n);
        };
        if zeros > 0 {
            let n = out.len().min(usize::try_from(zeros).unwrap_or(usize::MAX));
            out[..n].fill(0);
            self.at += n as u64;
            return Ok(n);
        }
        if holes.end.is_some() {
            return Ok(0);
        }
        let most = out.len().min((holes.data_to - self.at) as usize);
        let n = self.file.read_at(&mut out[..most], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
