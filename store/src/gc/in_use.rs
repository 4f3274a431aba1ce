//! Folders of the store that processes work in: the collector leaves them.
//!
//! What builds use is leased. But a folder that was named to somebody may be where a shell stands, what
//! a chroot was entered into, or where a program was started from, and nobody tells the store. So the
//! collector looks at each process as far as it may: its root, its working folder, its program, the
//! files that it has open, and those that are mapped into it, such as libraries. Processes of other
//! users can be looked at by root alone, and from within a user namespace those outside of it by nobody: who
//! is about to enter one looks before, and hands on what was seen. Of a process in a mount namespace of its own, what lies below
//! its root is seen by paths of that namespace; its root and its working folder are compared by device and
//! inode too.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Which folders in some folders of the store are in use, with the processes that use them.
#[derive(Clone, Debug, Default)]
pub struct InUse {
    by_path: BTreeMap<(OsString, OsString), BTreeSet<u32>>,
    by_inode: BTreeMap<(u64, u64), BTreeSet<u32>>,
}

impl InUse {
    /// Looks at all processes. `root` is the store's folder, without symbolic links in it.
    pub fn look(root: &Path) -> InUse {
        let mut found = InUse::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            if let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) {
                found.look_at(root, pid, &entry.path());
            }
        }
        found
    }

    /// What of a process cannot be looked at, or is gone meanwhile, is left out.
    fn look_at(&mut self, root: &Path, pid: u32, proc: &Path) {
        for name in ["root", "cwd", "exe"] {
            let link = proc.join(name);
            if let Ok(path) = fs::read_link(&link) {
                self.note(root, pid, &path);
            }
            if name != "exe"
                && let Ok(meta) = fs::metadata(&link)
            {
                let inode = (meta.dev(), meta.ino());
                self.by_inode.entry(inode).or_default().insert(pid);
            }
        }
        for open in fs::read_dir(proc.join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Ok(path) = fs::read_link(open.path()) {
                self.note(root, pid, &path);
            }
        }
        let Ok(maps) = fs::File::open(proc.join("maps")) else {
            return;
        };
        for line in BufReader::new(maps).split(b'\n') {
            let Ok(line) = line else { break };
            // The path comes last, and begins with the only slash.
            if let Some(at) = line.iter().position(|b| *b == b'/') {
                let path = std::ffi::OsStr::from_bytes(&line[at..]);
                self.note(root, pid, Path::new(path));
            }
        }
    }

    fn note(&mut self, root: &Path, pid: u32, path: &Path) {
        let Ok(below) = path.strip_prefix(root) else {
            return;
        };
        let mut names = below.iter();
        if let (Some(folder), Some(name)) = (names.next(), names.next()) {
            let key = (folder.to_owned(), name.to_owned());
            self.by_path.entry(key).or_default().insert(pid);
        }
    }

    /// The processes that use a folder, which lies in a folder of the store's.
    pub(super) fn of(&self, path: &Path) -> Vec<u32> {
        let mut all = BTreeSet::new();
        if let (Some(folder), Some(name)) =
            (path.parent().and_then(Path::file_name), path.file_name())
            && let Some(pids) = self.by_path.get(&(folder.to_owned(), name.to_owned()))
        {
            all.extend(pids);
        }
        if let Ok(meta) = fs::symlink_metadata(path)
            && let Some(pids) = self.by_inode.get(&(meta.dev(), meta.ino()))
        {
            all.extend(pids);
        }
        all.into_iter().collect()
    }
}

/// Looks at the processes when anything is to go, of which there may be thousands, and notes what stays.
pub(super) struct Occupancy<'a> {
    root: &'a Path,
    /// What was seen before.
    seen: Option<&'a InUse>,
    in_use: OnceCell<InUse>,
    found: RefCell<Vec<Occupied>>,
}

impl<'a> Occupancy<'a> {
    /// Of the folders of a store, whose own folder has no symbolic links in its path.
    pub fn of(root: &'a Path, seen: Option<&'a InUse>) -> Self {
        Occupancy {
            root,
            seen,
            in_use: OnceCell::new(),
            found: RefCell::default(),
        }
    }

    /// Whether processes work in a folder that would go.
    pub fn holds(&self, path: &Path) -> bool {
        let mut pids = self.in_use.get_or_init(|| InUse::look(self.root)).of(path);
        if let Some(seen) = self.seen {
            // Whether they still work there cannot be told, only whether they live.
            let lives = |pid: &u32| Path::new("/proc").join(pid.to_string()).exists();
            pids.extend(seen.of(path).into_iter().filter(lives));
            pids.sort_unstable();
            pids.dedup();
        }
        if pids.is_empty() {
            return false;
        }
        let path = path.to_path_buf();
        self.found.borrow_mut().push(Occupied { path, pids });
        true
    }

    /// The folders that stay.
    pub fn found(self) -> Vec<Occupied> {
        self.found.into_inner()
    }
}

/// A folder that stays because a process works in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// Its path.
    pub path: PathBuf,
    /// The processes, by their ids.
    pub pids: Vec<u32>,
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    struct Started(Child);

    impl Drop for Started {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn a_process_is_found_by_its_folder_and_by_what_it_has_open() {
        let top = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(top.path()).unwrap();
        let folder = |name: &str| {
            let path = root.join("checkouts").join(name);
            fs::create_dir_all(path.join("below")).unwrap();
            path
        };
        let (stands, opens, nobody) = (folder("stands"), folder("opens"), folder("nobody"));
        let file = fs::File::create(opens.join("below/file")).unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("60").current_dir(stands.join("below"));
        let standing = Started(sleep.spawn().unwrap());
        // The command goes at once: it has the file open too.
        let opening = Command::new("sleep").arg("60").stdin(file).spawn();
        let opening = Started(opening.unwrap());
        // A process counts from the moment in which it is another program.
        let mut seen = InUse::look(&root);
        while seen.of(&opens) != [opening.0.id()] {
            seen = InUse::look(&root);
        }
        assert_eq!(seen.of(&stands), [standing.0.id()]);
        assert!(seen.of(&nobody).is_empty());
        drop(standing);
        assert!(InUse::look(&root).of(&stands).is_empty());
    }
}
