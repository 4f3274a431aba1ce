//! The `.control` folder of a subarch: fail counts, versions, and writing there so that nobody reads half a file.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::layout::{CONTROL, FAILCOUNT, FAILCOUNT_NOTE, Mirror, VERSION};
use super::name::Place;
use super::owner::Ownership;
use super::small;
use super::whole::{self, random};

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

/// What failed when the count was raised last: ours, beside the count of the old tool. It holds as long as the
/// count is the one that it names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailNote {
    /// The count that was written with it.
    pub count: u64,
    /// The key of the step that failed, where it was known.
    pub key: Option<String>,
    /// The version that was being built.
    pub date: String,
    /// The machine that built it.
    pub host: String,
    /// The log, in the folder of the subarch.
    pub log: String,
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

impl Guard {
    /// Waits until no other process of ours has a guard of this folder. For moments, not for builds.
    pub(super) fn of(folder: &OwnedFd) -> io::Result<Guard> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
        // A description of its own: the lock belongs to that.
        let folder = rustix::fs::openat(folder, ".", flags, Mode::empty())?;
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
        let mode = Mode::from_raw_mode(mode);
        let made = match rustix::fs::mkdirat(&subarch, CONTROL, mode) {
            Ok(()) => true,
            Err(rustix::io::Errno::EXIST) => false,
            Err(e) => return Err(e.into()),
        };
        let control = Control::open(mirror, place)?;
        let control = control.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if made {
            // Whatever the umask is.
            rustix::fs::fchmod(&control.folder, mode)?;
        }
        Ok(control)
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
        Guard::of(&self.folder)
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

    /// Writes a whole file: under a hidden name first, then it takes the place of the old one. The caller holds the
    /// guard, so that nobody else writes it.
    pub fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        whole::write(
            &self.folder,
            OsStr::new(name),
            content,
            &Ownership::default(),
        )
    }

    /// Writes a file under a hidden name that nobody has, and gives that name.
    pub(super) fn write_hidden(&self, name: &str, content: &[u8]) -> io::Result<OsString> {
        let hidden = OsString::from(format!(
            ".{}.{:016x}",
            name.trim_start_matches('.'),
            random()?
        ));
        let mut file = whole::create(&self.folder, &hidden)?;
        file.write_all(content).inspect_err(|_| {
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

    /// Forgets the failures, after a success.
    pub fn clear(&self) -> io::Result<()> {
        let _guard = self.guard()?;
        self.remove(FAILCOUNT)?;
        self.remove(FAILCOUNT_NOTE)?;
        Ok(())
    }

    /// Writes the count of a failure, which stands in its note. Doing it twice counts once.
    pub fn fail(&self, note: &FailNote) -> io::Result<()> {
        let _guard = self.guard()?;
        let bytes = serde_json::to_vec(note).map_err(io::Error::other)?;
        self.write(FAILCOUNT_NOTE, &bytes)?;
        self.write(FAILCOUNT, note.count.to_string().as_bytes())
    }

    /// The note of the last failure, if the count still is the one that it was written with.
    pub fn fail_note(&self) -> io::Result<Option<FailNote>> {
        let Some(bytes) = self.read(FAILCOUNT_NOTE)? else {
            return Ok(None);
        };
        // What another release or somebody else wrote says nothing.
        let note = serde_json::from_slice::<FailNote>(&bytes).ok();
        let count = self.failcount()?;
        Ok(note.filter(|note| count == FailCount::Number(note.count)))
    }

    /// Forgets the failures if they still are those of a note; tells whether it did.
    pub fn forgive(&self, note: &FailNote) -> io::Result<bool> {
        let _guard = self.guard()?;
        if self.fail_note()?.as_ref() != Some(note) {
            return Ok(false);
        }
        self.remove(FAILCOUNT)?;
        self.remove(FAILCOUNT_NOTE)?;
        Ok(true)
    }

    /// How often the build failed.
    pub fn failcount(&self) -> io::Result<FailCount> {
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

    fn note(count: u64) -> FailNote {
        FailNote {
            count,
            key: Some("k".into()),
            date: "2015-02-18".into(),
            host: "h".into(),
            log: "l".into(),
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
        control.fail(&note(1)).unwrap();
        control.fail(&note(2)).unwrap();
        // Finishing what another run began.
        control.fail(&note(2)).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "2");
        assert_eq!(control.fail_note().unwrap(), Some(note(2)));
        assert!(!control.forgive(&note(1)).unwrap());
        // The old tool counts on.
        fs::write(&file, "3").unwrap();
        assert_eq!(control.fail_note().unwrap(), None);
        assert!(!control.forgive(&note(2)).unwrap());
        fs::write(&file, "2").unwrap();
        assert!(control.forgive(&note(2)).unwrap());
        assert_eq!(fs::read_dir(control.path()).unwrap().count(), 0);
        control.fail(&note(1)).unwrap();
        assert!(control.zap().unwrap());
        assert!(!control.zap().unwrap());
        assert_eq!(fs::read_dir(control.path()).unwrap().count(), 0);
        control.fail(&note(1)).unwrap();
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

    proptest! {
        #[test]
        fn any_count_is_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = FailCount::parse(&bytes);
        }
    }
}
