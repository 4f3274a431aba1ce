//! Free room of a full file system, and how much more was wanted of it: for messages.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What was known of the room on a file system in the moment in which it was not enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Room {
    /// Where the file system is mounted.
    pub mount: PathBuf,
    /// Bytes free there for this user.
    pub free: u64,
    /// Bytes that the file system has in all.
    pub size: u64,
    /// There are bytes, but no more files can be made.
    pub no_files: bool,
    /// The store, if it is a file of one that did not fit.
    pub store: Option<PathBuf>,
}

impl Room {
    /// Looks at the file system of a file that exists, or is to be made in a folder that does.
    pub fn of(path: &Path) -> Option<Room> {
        let mut folder = path;
        // A name alone tells no place.
        while folder.symlink_metadata().is_err() {
            folder = folder.parent().filter(|p| !p.as_os_str().is_empty())?;
        }
        let stat = rustix::fs::statvfs(folder).ok()?;
        let folder = folder.canonicalize().ok()?;
        let device = |path: &Path| path.metadata().map(|meta| meta.dev()).ok();
        let here = device(&folder);
        let mount = folder.ancestors().take_while(|at| device(at) == here);
        let is_store = |at: &&Path| crate::Store::is_in(at) && at.join("packs").is_dir();
        Some(Room {
            mount: mount.last().unwrap_or(&folder).to_path_buf(),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            size: stat.f_blocks.saturating_mul(stat.f_frsize),
            no_files: stat.f_files > 0 && stat.f_favail == 0,
            store: folder.ancestors().find(is_store).map(Path::to_path_buf),
        })
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (free, size) = (Bytes(self.free), Bytes(self.size));
        let mount = self.mount.display();
        write!(f, "the file system at {mount} has {free} of {size} free")?;
        if self.no_files {
            write!(f, " and takes no more files")?;
        }
        Ok(())
    }
}

/// How much an operation needs, or has in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// About as many bytes as a tree takes that is written out.
    Tree(u64),
    /// The content of a tree that goes to an archive or image.
    Archive(u64),
    /// The content of a folder that is imported.
    Folder(u64),
    /// Content that was added before there was no more room.
    Added(u64),
    /// The content of a copy that the other place lacked.
    Copy(u64),
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Tree(n) => write!(f, "the tree takes about {}", Bytes(*n)),
            Need::Archive(n) => write!(f, "the tree has {}, before compression", Bytes(*n)),
            Need::Folder(n) => write!(
                f,
                "the folder has {}, of which the store takes what is new to it, compressed",
                Bytes(*n)
            ),
            Need::Added(n) => write!(f, "{} had been added", Bytes(*n)),
            Need::Copy(n) => write!(f, "the copy has {}, before compression", Bytes(*n)),
        }
    }
}

/// Bytes of the files in a folder, as far as they can be seen.
pub(crate) fn measure(folder: &Path) -> u64 {
    let mut sum: u64 = 0;
    let mut open = vec![folder.to_path_buf()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => open.push(entry.path()),
                Ok(meta) if meta.is_file() => sum = sum.saturating_add(meta.len()),
                _ => {}
            }
        }
    }
    sum
}

/// A number of bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        for unit in ["B", "kB", "MB", "GB"] {
            if value < 999.5 {
                return match unit {
                    "B" => write!(f, "{} B", self.0),
                    _ => write!(f, "{value:.1} {unit}"),
                };
            }
            value /= 1000.0;
        }
        write!(f, "{value:.1} TB")
    }
}

/// The end of a message about a full file system.
pub(crate) fn tail(room: &Option<Box<Room>>, needs: &[Need]) -> String {
    let room = room.iter().map(|room| room.to_string());
    let parts = room.chain(needs.iter().map(|need| need.to_string()));
    parts.map(|part| format!("; {part}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_system_of_what_is_not_there_yet() {
        let tmp = tempfile::tempdir().unwrap();
        let here = Room::of(tmp.path()).unwrap();
        assert!(here.size >= here.free && here.size > 0);
        assert!(tmp.path().starts_with(&here.mount), "{here:?}");
        let later = Room::of(&tmp.path().join("a/b/c")).unwrap();
        assert_eq!((later.mount, later.store), (here.mount, None));
        // Where a bare name would go, only who is asked can tell.
        assert_eq!(Room::of(Path::new("surely not here")), None);
        assert_eq!(
            Room::of(Path::new("/proc/self")).unwrap().mount,
            Path::new("/proc")
        );
    }

    #[test]
    fn a_store_is_known_from_within() {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("store");
        let options = crate::OpenOptions::create();
        let store = crate::Store::open(&path, &options).unwrap();
        let room = Room::of(&store.path().join("tmp/x/y")).unwrap();
        assert_eq!(room.store.as_deref(), Some(store.path()));
    }

    #[test]
    fn messages() {
        let room = Room {
            mount: "/mnt/small".into(),
            free: 81_920,
            size: 6_291_456,
            no_files: false,
            store: None,
        };
        let needs = [Need::Folder(444_263_371), Need::Added(5_100_000)];
        insta::assert_snapshot!(
            tail(&Some(Box::new(room.clone())), &needs),
            @"; the file system at /mnt/small has 81.9 kB of 6.3 MB free; the folder has 444.3 MB, of which the store takes what is new to it, compressed; 5.1 MB had been added"
        );
        let room = Room {
            no_files: true,
            ..room
        };
        let all = [
            Need::Tree(12),
            Need::Archive(1_500),
            Need::Copy(7_000_000_000_000),
        ];
        insta::assert_snapshot!(
            tail(&Some(Box::new(room)), &all),
            @"; the file system at /mnt/small has 81.9 kB of 6.3 MB free and takes no more files; the tree takes about 12 B; the tree has 1.5 kB, before compression; the copy has 7.0 TB, before compression"
        );
        assert_eq!(tail(&None, &[]), "");
    }
}
