//! The content of files: from a folder that has them already, or from the packs.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, ioctl_ficlone, linkat, openat, statat};

use super::{Frame, NewFile, Take, Writing};
use crate::StoreError;

/// Runs of zeros at least this long, and aligned to it, become holes.
const HOLE: usize = 64 << 10;
/// Files up to this size have no holes where a writing is to be unlike others.
const FILLED: u64 = 16 << 20;

thread_local! {
    static CONTENT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Writing {
    /// Gives a file that is there already a second name, if it looks as it should.
    pub(super) fn link(&self, dir: &Frame, new: &NewFile) -> bool {
        let Some(source) = &dir.source else {
            return false;
        };
        let Ok(stat) = statat(source, &new.name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        let same = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
            && stat.st_size.unsigned_abs() == new.size
            && (stat.st_mode & 0o7777) as u16 == new.meta.mode
            && (stat.st_uid, stat.st_gid) == (new.meta.uid, new.meta.gid)
            && crate::scan::mtime_of(&stat) == new.meta.mtime;
        // Too many names, another file system, not allowed: then it is copied.
        same && linkat(source, &new.name, &dir.fd, &new.name, AtFlags::empty()).is_ok()
    }

    /// Clones or copies content from a file that is there already. Tells whether that worked.
    pub(super) fn take_content(&self, dir: &Frame, new: &NewFile, file: &File) -> bool {
        let Some(source) = &dir.source else {
            return false;
        };
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::RDONLY;
        let Ok(old) = openat(source, &new.name, flags, Mode::empty()) else {
            return false;
        };
        let fits = fstat(&old).is_ok_and(|stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
                && stat.st_size.unsigned_abs() == new.size
        });
        if !fits {
            return false;
        }
        if self.take == Take::Clone && ioctl_ficlone(file, &old).is_ok() {
            self.counts.cloned.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let go_on = || self.go_on().is_ok();
        let done = copy(&File::from(old), new, file, &go_on).unwrap_or(false);
        if done {
            self.counts.copied.fetch_add(1, Ordering::Relaxed);
        } else {
            // The content from the packs is written over it, and may have holes.
            let _ = file.set_len(0);
        }
        done
    }

    /// Writes content from the packs.
    pub(super) fn content(
        &self,
        new: &NewFile,
        file: &File,
        path: &dyn Fn() -> Vec<u8>,
    ) -> Result<(), StoreError> {
        self.counts.copied.fetch_add(1, Ordering::Relaxed);
        let (blob, size) = (new.blob, new.size);
        CONTENT.with_borrow_mut(|buffer| {
            let mut at = 0;
            let mut end = 0;
            self.store.each_part(blob, buffer, |part| {
                self.go_on()?;
                let written = if self.vary && size <= FILLED {
                    let all = file.write_all_at(part, at);
                    all.map(|()| Some(at + part.len() as u64))
                } else {
                    write_sparse(file, part, at)
                };
                end = written
                    .map_err(|e| self.io("write", &path(), e))?
                    .unwrap_or(end);
                at += part.len() as u64;
                Ok(())
            })?;
            if at != size {
                return Err(StoreError::Corrupt {
                    what: "blob",
                    hash: blob.0,
                    detail: format!("it has {at} bytes where a manifest says {size}"),
                });
            }
            // Where the end is a hole, nothing was written.
            if end != size {
                file.set_len(size)
                    .map_err(|e| self.io("set length of", &path(), e))?;
            }
            Ok(())
        })
    }
}

/// Copies a file, and tells whether what was copied has the hash that it should have.
fn copy(old: &File, new: &NewFile, file: &File, go_on: &dyn Fn() -> bool) -> io::Result<bool> {
    CONTENT.with_borrow_mut(|buffer| {
        let room = (new.size as usize).clamp(1, 1 << 20);
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        let mut hasher = blake3::Hasher::new();
        let (mut at, mut end) = (0, 0);
        while at < new.size {
            if !go_on() {
                return Ok(false);
            }
            let most = room.min((new.size - at) as usize);
            // Whole blocks, so that holes are found.
            old.read_exact_at(&mut buffer[..most], at)?;
            hasher.update(&buffer[..most]);
            end = write_sparse(file, &buffer[..most], at)?.unwrap_or(end);
            at += most as u64;
        }
        if end != new.size {
            file.set_len(new.size)?;
        }
        Ok(hasher.finalize().as_bytes() == new.blob.0.as_bytes())
    })
}

/// Writes `part` at `at`, leaving out aligned runs of zeros. Tells where the last write ended.
fn write_sparse(file: &File, part: &[u8], at: u64) -> io::Result<Option<u64>> {
    if part.len() < HOLE {
        file.write_all_at(part, at)?;
        return Ok(Some(at + part.len() as u64));
    }
    let is_zero = |block: &[u8]| block.iter().all(|b| *b == 0);
    let mut end = None;
    let mut write = |from: usize, to: usize| {
        end = Some(at + to as u64);
        file.write_all_at(&part[from..to], at + from as u64)
    };
    // Blocks are aligned in the file, so that parts of any length make the same holes.
    let mut from = 0;
    let mut next = ((HOLE as u64 - at % HOLE as u64) % HOLE as u64) as usize;
    while next + HOLE <= part.len() {
        if is_zero(&part[next..next + HOLE]) {
            if from < next {
                write(from, next)?;
            }
            from = next + HOLE;
        }
        next += HOLE;
    }
    if from < part.len() {
        write(from, part.len())?;
    }
    Ok(end)
}
