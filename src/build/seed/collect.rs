//! Paths of a machine, with every symbolic link on the way to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use super::SeedError;

/// One entry of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A directory with this mode.
    Dir {
        /// Its permission bits.
        mode: u16,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: PathBuf,
    },
    /// A file of the machine.
    File {
        /// Whether it can be run.
        executable: bool,
        /// Its length.
        size: u64,
        /// Its time of modification: seconds and nanoseconds.
        mtime: (i64, u32),
    },
    /// A file that is made for the seed.
    Text {
        /// What it says.
        content: String,
    },
}

impl Item {
    /// Bytes in it.
    pub fn size(&self) -> u64 {
        match self {
            Item::File { size, .. } => *size,
            Item::Text { content } => content.len() as u64,
            Item::Dir { .. } | Item::Link { .. } => 0,
        }
    }
}

/// Symbolic links followed on the way to one file, as many as the kernel allows.
const MAX_LINKS: u32 = 40;

/// Depth of a directory tree taken as a whole.
const MAX_DEPTH: u32 = 64;

/// Gathers paths.
///
/// Paths are absolute, as the programs of the machine see them; `root` is where that machine's root
/// directory is.
#[derive(Debug)]
pub struct Collector {
    root: PathBuf,
    items: BTreeMap<PathBuf, Item>,
    unscanned: BTreeSet<PathBuf>,
    unreadable: BTreeSet<PathBuf>,
}

impl Collector {
    /// Gathers paths of the machine whose root directory is `root`.
    pub fn new(root: &Path) -> Self {
        Collector {
            root: root.to_path_buf(),
            items: BTreeMap::new(),
            unscanned: BTreeSet::new(),
            unreadable: BTreeSet::new(),
        }
    }

    /// Where the machine's root directory is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where an absolute path of the machine is.
    pub fn on_disk(&self, path: &Path) -> PathBuf {
        on_disk(&self.root, path)
    }

    /// Takes the links of the root directory (`/bin`, `/lib64`, ...), which a merged `/usr` needs.
    pub fn top_level_links(&mut self) -> Result<(), SeedError> {
        for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32", "libo32"] {
            let path = Path::new("/").join(name);
            if self.on_disk(&path).is_symlink() {
                self.add(&path)?;
            }
        }
        Ok(())
    }

    /// Takes the file, directory (without its contents) or link at `path`, the directories above it
    /// and whatever links lead to it. Returns where it really is.
    pub fn add(&mut self, path: &Path) -> Result<PathBuf, SeedError> {
        let error = |source| SeedError::Read {
            path: path.to_path_buf(),
            source,
        };
        let mut real = PathBuf::from("/");
        let mut todo: VecDeque<OsString> = parts(path).collect();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&part);
            let meta = fs::symlink_metadata(self.on_disk(&next)).map_err(error)?;
            if meta.is_symlink() {
                let target = fs::read_link(self.on_disk(&next)).map_err(error)?;
                links += 1;
                if links > MAX_LINKS {
                    return Err(error(io::Error::other("too many symbolic links")));
                }
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    todo.push_front(part);
                }
                self.items.insert(next, Item::Link { target });
            } else if meta.is_dir() {
                self.items
                    .entry(next.clone())
                    .or_insert(Item::Dir { mode: 0o755 });
                real = next;
            } else if meta.is_file() {
                if !todo.is_empty() {
                    return Err(error(io::Error::from(io::ErrorKind::NotADirectory)));
                }
                self.add_file(&next, &meta);
                real = next;
            } else {
                return Err(error(io::Error::other("neither file nor directory")));
            }
        }
        Ok(real)
    }

    fn add_file(&mut self, path: &Path, meta: &fs::Metadata) {
        if self.items.contains_key(path) {
            return;
        }
        // What is readable for some only must not depend on who asks, so far as that can be told:
        // for root everything is readable.
        if fs::File::open(self.on_disk(path)).is_err() {
            self.unreadable.insert(path.to_path_buf());
        }
        let executable = meta.permissions().mode() & 0o111 != 0;
        let library = path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().contains(".so"));
        if executable || library {
            self.unscanned.insert(path.to_path_buf());
        }
        self.items.insert(
            path.to_path_buf(),
            Item::File {
                executable,
                size: meta.len(),
                mtime: (
                    meta.mtime(),
                    // The kernel keeps it below a thousand million.
                    u32::try_from(meta.mtime_nsec()).unwrap_or(0),
                ),
            },
        );
    }

    /// Takes a directory with everything in it. Links that lead nowhere are left out.
    pub fn add_tree(&mut self, path: &Path) -> Result<(), SeedError> {
        let real = self.add(path)?;
        self.add_below(&real, 0)
    }

    fn add_below(&mut self, dir: &Path, depth: u32) -> Result<(), SeedError> {
        let error = |source| SeedError::Read {
            path: dir.to_path_buf(),
            source,
        };
        if depth > MAX_DEPTH {
            return Err(error(io::Error::other("directories are too deep")));
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(self.on_disk(dir)).map_err(error)? {
            names.push(entry.map_err(error)?.file_name());
        }
        names.sort();
        for name in names {
            let path = dir.join(name);
            match fs::metadata(self.on_disk(&path)) {
                Ok(meta) if meta.is_dir() => {
                    let real = self.add(&path)?;
                    self.add_below(&real, depth + 1)?;
                }
                Ok(meta) if meta.is_file() => {
                    self.add(&path)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes a link at `path` to the absolute `target`, unless there is something already.
    pub fn link_if_absent(&mut self, path: &Path, target: &Path) {
        let Some(name) = path.file_name() else { return };
        let Some(parent) = path.parent() else { return };
        let dir = self.resolved(parent);
        let at = dir.join(name);
        if self.items.contains_key(&at) || at == target {
            return;
        }
        let mut above = dir.as_path();
        while above != Path::new("/") {
            self.items
                .entry(above.to_path_buf())
                .or_insert(Item::Dir { mode: 0o755 });
            above = above.parent().unwrap_or(Path::new("/"));
        }
        self.items.insert(
            at,
            Item::Link {
                target: target.to_path_buf(),
            },
        );
    }

    /// A directory's path with the links among the gathered paths followed.
    fn resolved(&self, dir: &Path) -> PathBuf {
        let mut real = PathBuf::from("/");
        let mut todo: VecDeque<OsString> = parts(dir).collect();
        let mut links = 0;
        while let Some(part) = todo.pop_front() {
            if part == ".." {
                real.pop();
                continue;
            }
            let next = real.join(part);
            match self.items.get(&next) {
                Some(Item::Link { target }) if links < MAX_LINKS => {
                    links += 1;
                    if target.is_absolute() {
                        real = PathBuf::from("/");
                    }
                    for part in parts(target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(part);
                    }
                }
                _ => real = next,
            }
        }
        real
    }

    /// The next program or library that nobody has looked into.
    pub fn next_unscanned(&mut self) -> Option<PathBuf> {
        self.unscanned.pop_first()
    }

    /// The files that this user may not read.
    pub fn unreadable(&self) -> Vec<PathBuf> {
        self.unreadable.iter().cloned().collect()
    }

    /// Everything gathered, by path without the leading `/`.
    pub fn into_items(self) -> BTreeMap<PathBuf, Item> {
        self.items
            .into_iter()
            .filter_map(|(path, item)| Some((path.strip_prefix("/").ok()?.to_path_buf(), item)))
            .collect()
    }
}

/// Where the absolute path `path` of a machine with the root directory `root` is.
pub fn on_disk(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The names in a path, `..` among them.
fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.to_os_string()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}
