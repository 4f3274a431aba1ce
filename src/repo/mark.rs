//! Marks: files with the number of the process that works on something, as the old tool makes them for one target
//! (`.TARGET_progress`) and for snapshots (`.NAME_progress`). They have no note beside them; what the lock of a
//! subarch is good for, they are not.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use rustix::fs::AtFlags;

use super::control::Guard;
use super::layout::LOCK;
use super::lock::{Holder, LockState, Machine, judge_alone};
use super::whole;

/// The largest mark that is read, in bytes.
const MAX_MARK: u64 = 4096;
/// The end of the names of marks, and what follows it while one is made.
const END: &str = "_progress";
const HIDDEN: &str = "_progress.";
/// How often taking is tried while others take and leave.
const TRIES: usize = 20;

/// A mark of this process, until it is dropped.
#[derive(Debug)]
pub struct Mark {
    folder: OwnedFd,
    name: OsString,
    text: String,
}

impl Mark {
    /// Makes a mark in a folder; gives whose it is if there is one of a process that lives.
    pub fn take(
        folder: &OwnedFd,
        name: &str,
        machine: &Machine,
    ) -> io::Result<Result<Mark, Holder>> {
        let text = rustix::process::getpid().as_raw_nonzero().to_string();
        let name = OsString::from(name);
        let hidden = whole::hidden(&name)?;
        whole::create(folder, &hidden)?.write_all(text.as_bytes())?;
        let taken = (|| -> io::Result<Result<(), Holder>> {
            let _guard = Guard::of(folder)?;
            for _ in 0..TRIES {
                match look(folder, &name, machine)? {
                    LockState::Held(holder) => return Ok(Err(holder)),
                    LockState::Stale => whole::remove(folder, &name)?,
                    LockState::Free => {}
                }
                let flags = AtFlags::empty();
                match rustix::fs::linkat(folder, &hidden, folder, &name, flags) {
                    Ok(()) => return Ok(Ok(())),
                    // The old tool was faster.
                    Err(rustix::io::Errno::EXIST) => {}
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(Err(Holder::Unknown))
        })();
        let _ = rustix::fs::unlinkat(folder, &hidden, AtFlags::empty());
        Ok(match taken? {
            Err(holder) => Err(holder),
            Ok(()) => Ok(Mark {
                folder: folder.try_clone()?,
                name,
                text,
            }),
        })
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let there = whole::read(&self.folder, &self.name, MAX_MARK);
        if matches!(there, Ok(Some(text)) if text == self.text.as_bytes()) {
            // What cannot be removed is stale when this process ends.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// Removes the marks of a folder whose processes have ended, and what one that was killed left of taking one. The lock
/// of a subarch is none of them; the caller holds it, so that nobody of ours takes marks meanwhile.
pub fn sweep(folder: &OwnedFd, machine: &Machine) -> io::Result<()> {
    let _guard = Guard::of(folder)?;
    for name in whole::names(folder)? {
        let Some(text) = name.to_str() else { continue };
        let hidden = text
            .strip_prefix("..")
            .is_some_and(|rest| rest.contains(HIDDEN));
        let mark = text.starts_with('.') && text.ends_with(END) && text != LOCK;
        if !hidden && !mark {
            continue;
        }
        match look(folder, &name, machine)? {
            LockState::Stale => whole::remove(folder, &name)?,
            // Who made it was killed before it wrote its number.
            LockState::Held(Holder::Unknown) if hidden => whole::remove(folder, &name)?,
            _ => {}
        }
    }
    Ok(())
}

/// Looks whose a mark is; changes nothing.
fn look(folder: &OwnedFd, name: &OsStr, machine: &Machine) -> io::Result<LockState> {
    let stat = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT) => return Ok(LockState::Free),
        Err(e) => return Err(e.into()),
    };
    let seconds = Duration::from_secs(u64::try_from(stat.st_mtime).unwrap_or_default());
    let written = SystemTime::UNIX_EPOCH
        .checked_add(seconds)
        .unwrap_or(SystemTime::UNIX_EPOCH);
    // What cannot be read is nobody's, once it is old enough.
    let text = match whole::read(folder, name, MAX_MARK) {
        Ok(None) => return Ok(LockState::Free),
        Ok(Some(text)) => text,
        Err(_) => Vec::new(),
    };
    Ok(judge_alone(&text, written, machine))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_mark_is_of_one_process_and_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder: OwnedFd = File::open(dir.path()).unwrap().into();
        let (path, machine) = (dir.path().join(".x_progress"), Machine::this());
        let take = || Mark::take(&folder, ".x_progress", &machine).unwrap();
        // One of a process that ended, and one of nobody.
        for text in ["2147483646", "0"] {
            fs::write(&path, text).unwrap();
            let old = SystemTime::now() - Duration::from_secs(100);
            File::options()
                .write(true)
                .open(&path)
                .unwrap()
                .set_modified(old)
                .unwrap();
            let mark = take().unwrap();
            let own = std::process::id();
            assert_eq!(fs::read_to_string(&path).unwrap(), own.to_string());
            assert_eq!(take().unwrap_err(), Holder::Process(own.into()));
            drop(mark);
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
        // What ended is swept, and nothing else.
        for (name, text) in [
            (".x_progress", "2147483646"),
            ("..y_progress.0123456789abcdef", "2147483646"),
            ("..y_progress.1123456789abcdef", ""),
            (".w_progress", ""),
            (".z_progress", "1"),
            (".multi_progress", "2147483646"),
            ("x_progress", "2147483646"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        sweep(&folder, &machine).unwrap();
        assert_eq!(
            whole::names(&folder).unwrap(),
            [
                ".multi_progress",
                ".w_progress",
                ".z_progress",
                "x_progress"
            ]
        );
        // One that is being written, and one that somebody wrote over.
        fs::write(&path, "").unwrap();
        assert_eq!(take().unwrap_err(), Holder::Unknown);
        fs::remove_file(&path).unwrap();
        let mark = take().unwrap();
        fs::write(&path, "1").unwrap();
        drop(mark);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
    }
}
