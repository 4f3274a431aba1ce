//! The way into a store's folder: opened once, and from there on never through a link.
//!
//! Somebody else may be allowed to write to the folder that the store lies in, or, by a group, to the store's own.
//! They could put a symbolic link in the place of a folder at any moment, after it was looked at as well. So what the
//! store makes, moves and removes is named relative to the folder that was opened first, each folder on the
//! way is opened without following links, and so is the file itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, chmodat, fstat, mkdirat, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;

/// How a file is opened for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// It must not exist.
    New,
    /// What it had before goes.
    Over,
    /// What it has stays. It need not exist.
    On,
}

/// A store's folder that is open. Paths that do not lie in it are taken as they are, and links in them followed.
#[derive(Debug)]
pub struct Inside {
    /// The folder and its path; nothing lies inside without one.
    top: Option<(PathBuf, OwnedFd)>,
}

/// The folder that something lies in, and its name there.
#[derive(Debug)]
pub(crate) struct Spot<'a> {
    dir: Dir<'a>,
    /// The last name of the path; all of it where that does not lie inside.
    pub name: &'a Path,
    /// Whether it lies inside.
    is_inside: bool,
}

#[derive(Debug)]
enum Dir<'a> {
    Known(BorrowedFd<'a>),
    Opened(OwnedFd),
}

impl AsFd for Spot<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.dir {
            Dir::Known(fd) => fd.as_fd(),
            Dir::Opened(fd) => fd.as_fd(),
        }
    }
}

impl Spot<'_> {
    /// Flags for opening what is there.
    fn flags(&self, flags: OFlags) -> OFlags {
        match self.is_inside {
            true => flags | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            false => flags | OFlags::CLOEXEC,
        }
    }

    fn at_flags(&self) -> AtFlags {
        match self.is_inside {
            true => AtFlags::SYMLINK_NOFOLLOW,
            false => AtFlags::empty(),
        }
    }

    fn open(&self, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let mode = Mode::from_raw_mode(mode);
        let opened = openat(self, self.name, self.flags(flags), mode);
        opened.map_err(|errno| explain(self, self.name, errno))
    }
}

/// Says what a link that is not followed does to a call.
fn explain(dir: impl AsFd, name: impl rustix::path::Arg, errno: Errno) -> io::Error {
    let is_link = matches!(errno, Errno::LOOP | Errno::NOTDIR)
        && statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
    match is_link {
        true => io::Error::new(
            io::ErrorKind::NotADirectory,
            "a symbolic link is in its place, and is not followed",
        ),
        false => errno.into(),
    }
}

impl Inside {
    /// No folder: every path is taken as it is.
    pub(crate) const NOTHING: Inside = Inside { top: None };

    /// Opens a store's folder. `root` is absolute and has no links.
    pub(crate) fn open(root: &Path) -> io::Result<Inside> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = openat(CWD, root, flags, Mode::empty())?;
        Ok(Inside {
            top: Some((root.to_path_buf(), fd)),
        })
    }

    /// Finds where `path` is: opens the folder around it.
    pub(crate) fn spot<'a>(&'a self, path: &'a Path) -> io::Result<Spot<'a>> {
        let below = self.top.as_ref().and_then(|(root, top)| {
            let below = path.strip_prefix(root).ok()?;
            Some((below, top.as_fd()))
        });
        let Some((below, top)) = below else {
            return Ok(Spot {
                dir: Dir::Known(CWD),
                name: path,
                is_inside: false,
            });
        };
        let Some(name) = below.file_name() else {
            return Ok(Spot {
                dir: Dir::Known(top),
                name: Path::new("."),
                is_inside: true,
            });
        };
        let above = below.parent().unwrap_or(Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut dir = Dir::Known(top);
        for part in above.components() {
            let Component::Normal(part) = part else {
                return Err(Errno::INVAL.into());
            };
            let at = match &dir {
                Dir::Known(fd) => *fd,
                Dir::Opened(fd) => fd.as_fd(),
            };
            let next = openat(at, part, flags, Mode::empty());
            dir = Dir::Opened(next.map_err(|errno| explain(at, part, errno))?);
        }
        Ok(Spot {
            dir,
            name: Path::new(name),
            is_inside: true,
        })
    }

    /// Opens a folder, for listing it and for working in it.
    pub fn folder(&self, path: &Path) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.spot(path)?.open(flags, 0)
    }

    /// Makes a folder whose parent exists; one that exists already is fine, a link to one is not.
    pub fn make_folder(&self, path: &Path, mode: u32) -> io::Result<()> {
        let spot = self.spot(path)?;
        match mkdirat(&spot, spot.name, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let stat = statat(&spot, spot.name, spot.at_flags())?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => Ok(()),
                    FileType::Symlink => Err(explain(&spot, spot.name, Errno::NOTDIR)),
                    _ => Err(Errno::EXIST.into()),
                }
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Opens a file for writing; `mode` is that of a new one.
    pub fn write(&self, path: &Path, how: Write, mode: u32) -> io::Result<File> {
        let flags = match how {
            Write::New => OFlags::EXCL,
            Write::Over => OFlags::TRUNC,
            Write::On => OFlags::empty(),
        };
        // To open a pipe would wait for ever.
        let flags = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK;
        let file = File::from(self.spot(path)?.open(flags, mode)?);
        match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is not a file",
            )),
        }
    }

    /// Opens a file for reading.
    pub fn read(&self, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK;
        Ok(self.spot(path)?.open(flags, 0)?.into())
    }

    /// Gives a file or folder another name; a file replaces what has it.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.spot(from)?, self.spot(to)?);
        Ok(renameat(&from, from.name, &to, to.name)?)
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        let spot = self.spot(path)?;
        Ok(unlinkat(&spot, spot.name, AtFlags::empty())?)
    }

    /// Removes a file, or a folder with all in it; one that is gone is fine. See [`crate::remove_tree`].
    pub fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let spot = match self.spot(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        match spot.is_inside {
            true => crate::remove::remove_at(&spot, spot.name.as_os_str()),
            false => crate::remove_tree(path),
        }
    }

    /// Takes from a file what its mode allows beyond this one.
    pub(crate) fn protect(&self, path: &Path, mode: u32) -> io::Result<()> {
        let file = self.spot(path)?.open(OFlags::PATH, 0)?;
        let now = fstat(&file)?.st_mode & 0o7777;
        if now & mode != now {
            let name = format!("/proc/self/fd/{}", file.as_raw_fd());
            chmodat(CWD, name, Mode::from_raw_mode(now & mode), AtFlags::empty())?;
        }
        Ok(())
    }

    /// Makes a symbolic link that must not exist.
    pub(crate) fn link(&self, to: &Path, path: &Path) -> io::Result<()> {
        let spot = self.spot(path)?;
        Ok(rustix::fs::symlinkat(to, &spot, spot.name)?)
    }

    /// Says that a folder was used now.
    pub(crate) fn touch(&self, path: &Path) -> io::Result<()> {
        let folder = File::from(self.folder(path)?);
        folder.set_modified(std::time::SystemTime::now())
    }
}

/// The names in an open folder, in no order.
pub(crate) fn names(folder: impl AsFd) -> io::Result<Vec<std::ffi::OsString>> {
    use std::os::unix::ffi::OsStrExt as _;

    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::{GcPolicy, OpenOptions, Store, StoreError};

    /// What a stranger's folder holds, which nothing may change.
    fn precious(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut all = Vec::new();
        let mut open = vec![folder.to_path_buf()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => {
                        open.push(path.clone());
                        all.push((path, Vec::new()));
                    }
                    false => all.push((path.clone(), fs::read(&path).unwrap())),
                }
            }
        }
        all.sort();
        all
    }

    #[test]
    fn no_call_follows_a_link_in_the_place_of_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap().join("store");
        let outside = dir.path().join("outside");
        for folder in [&root, &outside, &outside.join("tree")] {
            fs::create_dir(folder).unwrap();
        }
        for file in ["file", "tree/file"] {
            fs::write(outside.join(file), "precious").unwrap();
        }
        let inside = Inside::open(&root).unwrap();
        let (folder, file) = (root.join("logs"), root.join("logs/file"));
        symlink(&outside, &folder).unwrap();
        symlink(outside.join("file"), root.join("link")).unwrap();
        fs::write(root.join("own"), "own").unwrap();
        let before = precious(&outside);
        let refused: [(&str, io::Result<()>); 12] = [
            ("folder", inside.folder(&folder).map(drop)),
            ("make", inside.make_folder(&folder, 0o700)),
            ("make below", inside.make_folder(&folder.join("new"), 0o700)),
            (
                "new",
                inside.write(&folder.join("n"), Write::New, 0o600).map(drop),
            ),
            ("over", inside.write(&file, Write::Over, 0o600).map(drop)),
            (
                "a link",
                inside
                    .write(&root.join("link"), Write::Over, 0o600)
                    .map(drop),
            ),
            ("read", inside.read(&file).map(drop)),
            (
                "rename out",
                inside.rename(&root.join("own"), &folder.join("own")),
            ),
            ("rename in", inside.rename(&file, &root.join("taken"))),
            ("remove", inside.remove(&file)),
            ("remove tree", inside.remove_tree(&folder.join("tree"))),
            ("protect", inside.protect(&root.join("logs/file"), 0o600)),
        ];
        for (what, result) in refused {
            let error = result.expect_err(what).to_string();
            assert!(error.contains("symbolic link"), "{what}: {error}");
        }
        assert_eq!(precious(&outside), before);
        assert!(
            inside
                .remove_tree(&root.join("..").join("outside"))
                .is_err()
        );
        // The folder itself may have another name by now.
        fs::rename(&root, dir.path().join("moved")).unwrap();
        symlink(&outside, &root).unwrap();
        inside.write(&root.join("new"), Write::New, 0o600).unwrap();
        inside.remove(&root.join("own")).unwrap();
        assert_eq!(precious(&outside), before);
        assert!(dir.path().join("moved/new").is_file());
        // The link itself goes.
        inside.remove_tree(&folder).unwrap();
        assert_eq!(precious(&outside), before);
    }

    /// Another user who may write to the store's folder swaps folders and links for as long as this lives.
    fn swapping<T>(root: &Path, outside: &Path, names: &[&str], work: impl FnOnce() -> T) -> T {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    for name in names {
                        let (place, aside) = (root.join(name), root.join(format!("{name}.aside")));
                        if fs::rename(&place, &aside).is_err() {
                            continue;
                        }
                        let linked = symlink(outside.join(name), &place);
                        std::thread::yield_now();
                        if linked.is_ok() {
                            fs::remove_file(&place).unwrap();
                        }
                        // The store may have made the folder anew meanwhile.
                        while fs::rename(&aside, &place).is_err() {
                            let _ = fs::remove_dir_all(&place);
                        }
                    }
                }
            });
            let result = work();
            done.store(true, Ordering::SeqCst);
            result
        })
    }

    #[test]
    fn a_collection_removes_nothing_elsewhere_while_folders_are_swapped_for_links() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap().join("store");
        let outside = fs::canonicalize(dir.path()).unwrap().join("outside");
        let source = dir.path().join("source");
        fs::create_dir(&source).unwrap();
        let store = Store::open(&root, &OpenOptions::create()).unwrap();
        let folders = [
            "checkouts",
            "layers",
            "links",
            "views",
            "tmp",
            "logs",
            "cache",
            "packs",
        ];
        let fill = |n: usize| {
            fs::write(source.join("file"), format!("content {n}")).unwrap();
            let tree = store.import_dir(&source, &Default::default())?.tree;
            drop(store.checkout(tree)?);
            drop(store.view(tree, &crate::Cancel::new())?);
            Ok::<_, StoreError>(tree)
        };
        let mut moved = 0;
        for round in 0..12 {
            let made: Vec<_> = (0..3).map(|n| fill(round * 3 + n).unwrap()).collect();
            // What a stranger wants to be rid of has the names that are about to go.
            for folder in folders {
                for tree in &made {
                    let copy = outside.join(folder).join(tree.to_string());
                    fs::create_dir_all(&copy).unwrap();
                    fs::write(copy.join("precious"), folder).unwrap();
                }
                for entry in fs::read_dir(root.join(folder)).unwrap().flatten() {
                    let copy = outside.join(folder).join(entry.file_name());
                    match entry.file_type().unwrap().is_file() {
                        _ if copy.exists() => {}
                        true => fs::write(copy, folder).unwrap(),
                        false => fs::create_dir_all(copy).unwrap(),
                    }
                }
            }
            drop(store.view(made[0], &crate::Cancel::new()).unwrap());
            let before = precious(&outside);
            let again = Store::open(&root, &OpenOptions::create()).unwrap();
            swapping(&root, &outside, &folders, || {
                for _ in 0..4 {
                    // That it fails while a link is there is right.
                    moved += usize::from(again.gc(&GcPolicy::newest(0), false).is_ok());
                    let _ = again.trim(0, true);
                    let _ = fill(1000 + round);
                }
            });
            let after = precious(&outside);
            assert_eq!(before.len(), after.len(), "round {round}");
            assert_eq!(before, after, "round {round}");
        }
        // All is well once it is over.
        store.gc(&GcPolicy::newest(0), false).unwrap();
        println!("{moved} of 48 collections came through");
    }
}
