//! The `.control` folder of a subarch: fail counts, versions, and writing there so that nobody reads half a file.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

use super::layout::{CONTROL, FAILCOUNT, FAILCOUNT_NOTE, Mirror, VERSION};
use super::name::Place;
use super::small;

/// The largest file of control that is read, in bytes.
const MAX_SMALL: u64 = 4096;
/// How many version files are looked at, and how deep they lie.
const MAX_VERSIONS: usize = 1000;
const MAX_VERSION_DEPTH: u32 = 4;

/// How often a build failed since it last succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailCount {
    /// A number; 0 where there is no file.
    Number(u64),
    /// The file holds no number. Counts as 0.
    Unreadable {
        /// Why.
        detail: String,
        /// Whether it can be removed: it is not a folder.
        is_file: bool,
    },
}

impl FailCount {
    /// Reads the count of the subarch at a path.
    pub fn read(subarch: &Path) -> FailCount {
        let path = subarch.join(CONTROL).join(FAILCOUNT);
        match small::read(&path, MAX_SMALL) {
            Ok(None) => FailCount::Number(0),
            Ok(Some(bytes)) => FailCount::parse(&bytes),
            Err(e) => FailCount::Unreadable {
                detail: e.to_string(),
                is_file: std::fs::symlink_metadata(&path).is_ok_and(|m| !m.is_dir()),
            },
        }
    }

    /// Reads the content of the file: a number on the first line, with blanks around it and a `+` before it.
    pub fn parse(bytes: &[u8]) -> FailCount {
        let line = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let text = line.trim_ascii();
        let digits = text.strip_prefix(b"+").unwrap_or(text);
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return FailCount::Unreadable {
                detail: "its first line is not a number".to_owned(),
                is_file: true,
            };
        }
        // What does not fit is more than any maximum.
        let count = std::str::from_utf8(digits)
            .ok()
            .and_then(|d| d.parse().ok());
        FailCount::Number(count.unwrap_or(u64::MAX))
    }

    /// The number that it counts as.
    pub fn value(&self) -> u64 {
        match self {
            FailCount::Number(n) => *n,
            FailCount::Unreadable { .. } => 0,
        }
    }

    /// Whether `zap` removes the file.
    pub fn can_be_zapped(&self) -> bool {
        match self {
            FailCount::Number(n) => *n > 0,
            FailCount::Unreadable { is_file, .. } => *is_file,
        }
    }
}

/// The `.control` folder of a subarch, open to be changed.
#[derive(Debug)]
pub struct Control {
    folder: OwnedFd,
    path: PathBuf,
}

/// Keeps other processes from changing the same files of control until it is dropped.
#[derive(Debug)]
pub struct Guard {
    /// Its lock goes when it is closed.
    _folder: OwnedFd,
}

impl Control {
    /// Opens the folder of a subarch; nothing if there is none.
    pub fn open(mirror: &Mirror, place: &Place) -> io::Result<Option<Control>> {
        let relative = place.relative().join(CONTROL);
        match mirror.inside(&relative) {
            Ok(folder) => Ok(Some(Control {
                folder,
                path: mirror.root().join(relative),
            })),
            Err(e) if small::is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Opens the folder of a subarch that is there, and makes it if need be, with this mode.
    pub fn open_or_make(mirror: &Mirror, place: &Place, mode: u32) -> io::Result<Control> {
        if let Some(control) = Control::open(mirror, place)? {
            return Ok(control);
        }
        let subarch = mirror.inside(&place.relative())?;
        match rustix::fs::mkdirat(&subarch, CONTROL, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(e) => return Err(e.into()),
        }
        Control::open(mirror, place)?.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The path, for messages and for reading.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder itself.
    pub fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// Waits until no other process of ours changes these files. For moments, not for builds.
    pub fn guard(&self) -> io::Result<Guard> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        // A description of its own: the lock belongs to that.
        let folder = rustix::fs::openat(&self.folder, ".", flags, Mode::empty())?;
        match rustix::io::retry_on_intr(|| {
            rustix::fs::flock(&folder, FlockOperation::LockExclusive)
        }) {
            // Some network file systems lock no folders; there it is as with the old tool.
            Ok(())
            | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::BADF | rustix::io::Errno::NOLCK) =>
                {}
            Err(e) => return Err(e.into()),
        }
        Ok(Guard { _folder: folder })
    }

    /// Reads a file of at most 4096 bytes; nothing if there is none.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let flags = OFlags::CLOEXEC | OFlags::RDONLY | OFlags::NONBLOCK;
        match rustix::fs::openat(&self.folder, name, flags, Mode::empty()) {
            Ok(file) => small::content(&File::from(file), MAX_SMALL).map(Some),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes a whole file: under a hidden name first, then it takes the place of the old one.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let hidden = self.write_hidden(name, content)?;
        rustix::fs::renameat(&self.folder, &hidden, &self.folder, name).map_err(|e| {
            let _ = rustix::fs::unlinkat(&self.folder, &hidden, AtFlags::empty());
            e.into()
        })
    }

    /// Writes a file under a hidden name that nobody has, and gives that name.
    pub(super) fn write_hidden(&self, name: &str, content: &[u8]) -> io::Result<OsString> {
        let hidden = OsString::from(format!(
            ".{}.{:016x}",
            name.trim_start_matches('.'),
            random()?
        ));
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(0o644);
        let file = rustix::fs::openat(&self.folder, &hidden, flags, mode)?;
        File::from(file).write_all(content).inspect_err(|_| {
            let _ = rustix::fs::unlinkat(&self.folder, &hidden, AtFlags::empty());
        })?;
        Ok(hidden)
    }

    /// Removes a file; tells whether it was there.
    pub fn remove(&self, name: &str) -> io::Result<bool> {
        match rustix::fs::unlinkat(&self.folder, name, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    /// Removes the fail count if `zap` would; tells whether it did.
    pub fn zap(&self) -> io::Result<bool> {
        let _guard = self.guard()?;
        let zapped = self.failcount()?.can_be_zapped() && self.remove(FAILCOUNT)?;
        if zapped {
            self.remove(FAILCOUNT_NOTE)?;
        }
        Ok(zapped)
    }

    /// Counts one failure more, and gives the new count.
    pub fn raise(&self) -> io::Result<u64> {
        let _guard = self.guard()?;
        let count = self.failcount()?.value().saturating_add(1);
        self.write(FAILCOUNT, count.to_string().as_bytes())?;
        Ok(count)
    }

    /// Forgets the failures, after a success.
    pub fn clear(&self) -> io::Result<()> {
        let _guard = self.guard()?;
        self.remove(FAILCOUNT)?;
        self.remove(FAILCOUNT_NOTE)?;
        Ok(())
    }

    fn failcount(&self) -> io::Result<FailCount> {
        Ok(match self.read(FAILCOUNT) {
            Ok(None) => FailCount::Number(0),
            Ok(Some(bytes)) => FailCount::parse(&bytes),
            Err(e) => FailCount::Unreadable {
                detail: e.to_string(),
                is_file: rustix::fs::statat(&self.folder, FAILCOUNT, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|s| !rustix::fs::FileType::from_raw_mode(s.st_mode).is_dir()),
            },
        })
    }
}

/// The versions that the files below `.control/version` name: builds that others start from. An error where it
/// cannot be told.
pub fn versions(subarch: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut folders = vec![(subarch.join(CONTROL).join(VERSION), 0)];
    let mut files = 0;
    while let Some((folder, depth)) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if small::is_absent(&e) => continue,
            Err(e) => return Err(e),
        };
        for entry in entries {
            let entry = entry?;
            files += 1;
            if files > MAX_VERSIONS || depth > MAX_VERSION_DEPTH {
                return Err(io::Error::other("there are too many version files"));
            }
            if entry.file_type()?.is_dir() {
                folders.push((entry.path(), depth + 1));
            } else if let Ok(Some(bytes)) = small::read(&entry.path(), MAX_SMALL) {
                names.insert(String::from_utf8_lossy(bytes.trim_ascii()).into_owned());
            }
        }
    }
    Ok(names)
}

/// A number that nobody guesses or has.
pub(super) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::name::Name;
    use proptest::prelude::*;
    use std::fs;

    fn place() -> Place {
        let name = |text: &str| Name::new(text).unwrap();
        Place {
            build: name("b"),
            arch: name("a"),
            subarch: name("s"),
        }
    }

    fn mirror() -> (tempfile::TempDir, Mirror) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("b/a/s")).unwrap();
        let mirror = Mirror::open(dir.path()).unwrap();
        (dir, mirror)
    }

    #[test]
    fn counts_are_read_as_the_old_tool_read_them() {
        let value = |text: &str| match FailCount::parse(text.as_bytes()) {
            FailCount::Number(n) => Some(n),
            FailCount::Unreadable { .. } => None,
        };
        for (text, count) in [
            ("3", Some(3)),
            (" 2 \n", Some(2)),
            ("1\nfailed\n", Some(1)),
            ("+3", Some(3)),
            ("007", Some(7)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("", None),
            ("\n2", None),
            ("two", None),
            ("-1", None),
            ("1.5", None),
            ("++1", None),
            ("+ 1", None),
        ] {
            assert_eq!(value(text), count, "{text:?}");
        }
    }

    #[test]
    fn failures_are_counted_and_forgotten() {
        let (dir, mirror) = mirror();
        let control = Control::open_or_make(&mirror, &place(), 0o775).unwrap();
        let file = dir.path().join("b/a/s/.control/.failcount");
        assert_eq!(control.raise().unwrap(), 1);
        assert_eq!(control.raise().unwrap(), 2);
        assert_eq!(fs::read_to_string(&file).unwrap(), "2");
        fs::write(dir.path().join("b/a/s/.control/.failcount.mstore"), "{}").unwrap();
        assert!(control.zap().unwrap());
        assert!(!control.zap().unwrap());
        assert_eq!(fs::read_dir(control.path()).unwrap().count(), 0);
        control.raise().unwrap();
        control.clear().unwrap();
        assert!(!file.exists());
    }

    #[test]
    fn what_is_not_a_file_is_neither_waited_for_nor_removed() {
        let (dir, mirror) = mirror();
        let control = Control::open_or_make(&mirror, &place(), 0o775).unwrap();
        let subarch = dir.path().join("b/a/s");
        fs::create_dir(control.path().join(FAILCOUNT)).unwrap();
        let count = FailCount::read(&subarch);
        assert_eq!((count.value(), count.can_be_zapped()), (0, false));
        assert!(!control.zap().unwrap());
        fs::remove_dir(control.path().join(FAILCOUNT)).unwrap();
        // A pipe without a writer would be waited for.
        rustix::fs::mkfifoat(control.folder(), FAILCOUNT, Mode::from_raw_mode(0o644)).unwrap();
        assert!(matches!(
            FailCount::read(&subarch),
            FailCount::Unreadable { is_file: true, .. }
        ));
        assert!(control.zap().unwrap());
        let huge = File::create(control.path().join(FAILCOUNT)).unwrap();
        huge.set_len(1 << 40).unwrap();
        assert_eq!(FailCount::read(&subarch).value(), 0);
    }

    #[test]
    fn many_failures_at_once_are_all_counted() {
        let (_dir, mirror) = mirror();
        let control = Control::open_or_make(&mirror, &place(), 0o775).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        control.raise().unwrap();
                    }
                });
            }
        });
        assert_eq!(control.failcount().unwrap(), FailCount::Number(100));
    }

    proptest! {
        #[test]
        fn any_count_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = FailCount::parse(&bytes);
        }
    }
}
