//! A disk that fails: it works on real files, counts the calls, fails at a chosen one, and undoes at
//! a power cut what was not made durable.
//!
//! Two things are noted until a sync makes them durable. *Names*: every creation, renaming and
//! removal, until its folder is synced (what is removed or replaced goes to a folder aside, to come
//! back). *Contents*: every write and truncation, until its file is synced. The database comes
//! through here as well, by a virtual file system of SQLite (see [`vfs`]).
//!
//! Names are undone in reverse order from some call on, as a journalling file system does, or from a call
//! of its own in each folder, and contents in any choice, since the kernel writes pages back as it likes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile, Held, Lock, RealDisk};
use crate::Hash;
use crate::map::Map;

pub(crate) mod vfs;

/// What goes wrong, and when. Calls count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// The process ends in the middle of this call.
    StopAt(u64),
    /// From this call on the disk is full.
    FullFrom(u64),
    /// This call, a reading one perhaps, fails with an input/output error.
    ErrorAt(u64),
}

/// How the machine comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Only the process ended: the kernel has everything.
    Kill,
    /// Nothing is left but what was synced.
    Bare,
    /// All names are left, but of the contents only what was synced.
    Hollow,
    /// Names up to some call, and some of the writes.
    Mixed(u64),
    /// Names of each folder up to a call of its own, and some of the writes: a file system that does not
    /// keep the order between folders.
    Scattered(u64),
    /// Everything up to some call and nothing after: a disk that acknowledges early, in order.
    Late(u64),
}

#[derive(Debug)]
enum Name {
    Create {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        replaced: Option<PathBuf>,
    },
    Remove {
        path: PathBuf,
        aside: PathBuf,
    },
}

#[derive(Debug)]
struct NameChange {
    number: u64,
    inode: u64,
    what: Name,
    durable: bool,
}

impl NameChange {
    /// The folder whose sync makes this durable.
    fn folder(&self) -> Option<&Path> {
        match &self.what {
            Name::Create { path } | Name::Remove { path, .. } => path.parent(),
            Name::Rename { to, .. } => to.parent(),
        }
    }
}

#[derive(Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

fn apply(content: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, data) => {
            let at = *at as usize;
            if content.len() < at + data.len() {
                content.resize(at + data.len(), 0);
            }
            content[at..at + data.len()].copy_from_slice(data);
        }
        Change::Truncate(len) => content.resize(*len as usize, 0),
    }
}

#[derive(Debug)]
struct Content {
    /// Never closed before the end: that would drop SQLite's locks.
    file: File,
    durable: Vec<u8>,
    pending: Vec<(u64, Change)>,
    /// The first sync of a new journal syncs its folder too.
    journal: Option<PathBuf>,
}

#[derive(Debug)]
struct State {
    fault: Fault,
    calls: u64,
    dead: bool,
    /// Syncs do nothing.
    lies: bool,
    names: Vec<NameChange>,
    contents: BTreeMap<u64, Content>,
    aside: PathBuf,
    /// What the failed call was.
    failed: Option<String>,
}

/// One machine, with the file system under one folder.
#[derive(Debug)]
pub(crate) struct World {
    state: Mutex<State>,
}

/// How far a call may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Go {
    All,
    /// Half of it, and then the process is dead.
    Half,
}

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    /// Takes room.
    Grow,
    /// Changes something, or makes it durable.
    Change,
    /// Only looks: it fails, but nobody can tell whether the process ended before or after.
    Look,
}

fn stopped() -> io::Error {
    io::Error::from_raw_os_error(5)
}

/// A random-looking number.
pub(crate) fn mix(seed: u64, n: u64) -> u64 {
    let mut x = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(n)
        .wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^= x >> 29;
    x = x.wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 32)
}

impl World {
    /// A machine that keeps what is undone in the folder `aside`, on the same file system.
    pub fn new(aside: &Path, fault: Fault, lies: bool) -> Arc<World> {
        fs::create_dir_all(aside).expect("a folder for tests can be made");
        Arc::new(World {
            state: Mutex::new(State {
                fault,
                calls: 0,
                dead: false,
                lies,
                names: Vec::new(),
                contents: BTreeMap::new(),
                aside: aside.to_path_buf(),
                failed: None,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// What the call was at which the fault struck.
    pub fn failed(&self) -> Option<String> {
        self.lock().failed.clone()
    }

    /// The machine comes back. All handles of the store must be closed.
    pub fn crash(&self, how: Crash) {
        let mut state = self.lock();
        let last = state.calls;
        let cut = match how {
            Crash::Kill | Crash::Hollow | Crash::Scattered(_) => u64::MAX,
            Crash::Bare => 0,
            Crash::Mixed(seed) | Crash::Late(seed) => mix(seed, 1) % (last + 2),
        };
        for content in std::mem::take(&mut state.contents).into_values() {
            if how == Crash::Kill {
                continue;
            }
            let mut left = content.durable;
            for (number, change) in &content.pending {
                let kept = match how {
                    Crash::Kill => true,
                    Crash::Bare | Crash::Hollow => false,
                    Crash::Late(_) => *number < cut,
                    Crash::Mixed(seed) | Crash::Scattered(seed) => mix(seed, *number) & 1 == 0,
                };
                if kept {
                    apply(&mut left, change);
                }
            }
            content.file.set_len(0).expect("a test file can be cut");
            content
                .file
                .write_all_at(&left, 0)
                .expect("a test file can be written");
        }
        for change in std::mem::take(&mut state.names).into_iter().rev() {
            let cut = match (how, change.folder()) {
                (Crash::Scattered(seed), Some(folder)) => {
                    let folder = Hash::of(folder.as_os_str().as_encoded_bytes());
                    let folder = u64::from_le_bytes(folder.as_bytes()[..8].try_into().unwrap());
                    mix(seed, folder) % (last + 2)
                }
                _ => cut,
            };
            if !change.durable && change.number >= cut {
                state.undo(change);
            }
        }
    }
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|meta| meta.ino())
}

impl State {
    fn step(&mut self, call: Call, what: &str) -> io::Result<Go> {
        if self.dead {
            return Err(stopped());
        }
        if call == Call::Look && !matches!(self.fault, Fault::ErrorAt(_)) {
            return Ok(Go::All);
        }
        self.calls += 1;
        match self.fault {
            Fault::StopAt(at) if self.calls == at => {
                self.dead = true;
                self.failed = Some(what.to_string());
                Ok(Go::Half)
            }
            Fault::FullFrom(at) if self.calls >= at && call == Call::Grow => {
                self.failed.get_or_insert_with(|| what.to_string());
                Err(io::Error::from_raw_os_error(28))
            }
            Fault::ErrorAt(at) if self.calls == at => {
                self.failed = Some(what.to_string());
                Err(io::Error::from_raw_os_error(5))
            }
            _ => Ok(Go::All),
        }
    }

    /// For calls that happen or do not.
    fn whole(&mut self, call: Call, what: &str) -> io::Result<()> {
        match self.step(call, what)? {
            Go::All => Ok(()),
            Go::Half => Err(stopped()),
        }
    }

    fn note(&mut self, inode: Option<u64>, what: Name) {
        let number = self.calls;
        self.names.push(NameChange {
            number,
            inode: inode.unwrap_or(0),
            what,
            durable: false,
        });
    }

    fn aside(&self) -> PathBuf {
        // Worlds share the folder.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        self.aside.join(number.to_string())
    }

    /// Begins to note what is written to a file.
    fn watch(&mut self, path: &Path, new: bool, journal: bool) -> io::Result<u64> {
        let inode = fs::symlink_metadata(path)?.ino();
        // A second handle would drop SQLite's locks when it is closed.
        if !new && self.contents.contains_key(&inode) {
            return Ok(inode);
        }
        let file = File::options().read(true).write(true).open(path)?;
        let mut durable = Vec::new();
        if !new {
            durable = vec![0; file.metadata()?.len() as usize];
            file.read_exact_at(&mut durable, 0)?;
        }
        self.contents.insert(
            inode,
            Content {
                file,
                durable,
                pending: Vec::new(),
                journal: (new && journal).then(|| path.to_path_buf()),
            },
        );
        if new {
            let path = path.to_path_buf();
            self.note(Some(inode), Name::Create { path });
        }
        Ok(inode)
    }

    fn changed(&mut self, inode: u64, change: Change) {
        let number = self.calls;
        if let Some(content) = self.contents.get_mut(&inode) {
            content.pending.push((number, change));
        }
    }

    fn synced(&mut self, inode: u64) {
        if self.lies {
            return;
        }
        let Some(content) = self.contents.get_mut(&inode) else {
            return;
        };
        for (_, change) in content.pending.drain(..) {
            apply(&mut content.durable, &change);
        }
        let journal = content.journal.take();
        if let Some(folder) = journal.as_deref().and_then(Path::parent) {
            self.folder_synced(folder);
        }
    }

    fn folder_synced(&mut self, folder: &Path) {
        if self.lies {
            return;
        }
        for at in (0..self.names.len()).rev() {
            if self.names[at].durable || self.names[at].folder() != Some(folder) {
                continue;
            }
            let inode = self.names[at].inode;
            // What led to this name does not matter any more.
            for change in &mut self.names[..=at] {
                change.durable |= change.inode == inode;
            }
        }
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let inode = fs::symlink_metadata(path)?.ino();
        let aside = self.aside();
        fs::rename(path, &aside)?;
        let path = path.to_path_buf();
        self.note(Some(inode), Name::Remove { path, aside });
        Ok(())
    }

    fn undo(&mut self, change: NameChange) {
        let back = |from: &Path, to: &Path| {
            if fs::rename(from, to).is_err() {
                // Its folder went by another way, and it went with it.
            }
        };
        match change.what {
            Name::Create { path } => {
                if inode(&path) == Some(change.inode) {
                    let aside = self.aside();
                    back(&path, &aside);
                }
            }
            Name::Rename { from, to, replaced } => {
                if inode(&to) == Some(change.inode) {
                    if from.parent().is_some_and(Path::is_dir) {
                        back(&to, &from);
                    } else {
                        let aside = self.aside();
                        back(&to, &aside);
                    }
                }
                if let Some(replaced) = replaced {
                    back(&replaced, &to);
                }
            }
            Name::Remove { path, aside } => back(&aside, &path),
        }
    }
}

/// One process on such a machine.
#[derive(Debug)]
pub(crate) struct FaultyDisk {
    world: Arc<World>,
    vfs: String,
    boot: String,
}

impl FaultyDisk {
    /// A process, on the boot of this name.
    pub fn new(world: &Arc<World>, boot: &str) -> Arc<FaultyDisk> {
        Arc::new(FaultyDisk {
            world: world.clone(),
            vfs: vfs::register(world),
            boot: boot.to_string(),
        })
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        vfs::unregister(&self.vfs);
    }
}

#[derive(Debug)]
struct FaultyFile {
    world: Arc<World>,
    file: File,
    inode: u64,
    path: PathBuf,
}

impl DiskFile for FaultyFile {
    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.world.lock();
        let go = state.step(Call::Grow, &format!("write {}", self.path.display()))?;
        let data = match go {
            Go::All => data,
            Go::Half => &data[..data.len() / 2],
        };
        state.changed(self.inode, Change::Write(offset, data.to_vec()));
        self.file.write_all_at(data, offset)?;
        match go {
            Go::All => Ok(()),
            Go::Half => Err(stopped()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.world.lock();
        state.whole(Call::Change, &format!("sync {}", self.path.display()))?;
        state.synced(self.inode);
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.world.lock();
        state.whole(Call::Grow, &format!("create {}", path.display()))?;
        let file = File::options().write(true).create_new(true).open(path)?;
        let inode = state.watch(path, true, false)?;
        Ok(Box::new(FaultyFile {
            world: self.world.clone(),
            file,
            inode,
            path: path.to_path_buf(),
        }))
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut state = self.world.lock();
        state.whole(Call::Grow, &format!("make folder {}", path.display()))?;
        let before = path.is_dir();
        RealDisk::ANYWHERE.create_dir(path, mode)?;
        if !before {
            let path = path.to_path_buf();
            state.note(inode(&path), Name::Create { path });
        }
        Ok(())
    }

    fn protect(&self, path: &Path, mode: u32) -> io::Result<()> {
        // A mode that is lost at a power cut harms nothing: the folder around it is closed too.
        RealDisk::ANYWHERE.protect(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.world.lock();
        state.whole(Call::Change, &format!("rename to {}", to.display()))?;
        let moved = fs::symlink_metadata(from)?;
        let mut replaced = None;
        if fs::symlink_metadata(to).is_ok_and(|meta| !meta.is_dir()) {
            let aside = state.aside();
            fs::rename(to, &aside)?;
            replaced = Some(aside);
        }
        fs::rename(from, to)?;
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        state.note(Some(moved.ino()), Name::Rename { from, to, replaced });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.world.lock();
        state.whole(Call::Change, &format!("remove {}", path.display()))?;
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        state.remove(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        let mut state = self.world.lock();
        let go = state.step(Call::Change, &format!("remove tree {}", path.display()))?;
        if go == Go::Half {
            let inside = fs::read_dir(path).into_iter().flatten().flatten();
            let inside: Vec<_> = inside.map(|entry| entry.path()).collect();
            for path in &inside[..inside.len().div_ceil(2)] {
                state.remove(path)?;
            }
            return Err(stopped());
        }
        match state.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.world.lock();
        state.whole(Call::Change, &format!("sync folder {}", path.display()))?;
        state.folder_synced(path);
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.world.lock();
        state.whole(Call::Look, &format!("list {}", path.display()))?;
        RealDisk::ANYWHERE.list(path)
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut state = self.world.lock();
        state.whole(Call::Look, &format!("read {}", path.display()))?;
        RealDisk::ANYWHERE.read(path, most)
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        let mut state = self.world.lock();
        state.whole(Call::Look, &format!("map {}", path.display()))?;
        RealDisk::ANYWHERE.map(path)
    }

    fn lock(&self, path: &Path, how: Lock) -> io::Result<Option<Held>> {
        let what = format!("lock {}", path.display());
        self.world.lock().whole(Call::Look, &what)?;
        // Without the world's own lock, since this may wait for another process.
        let held = RealDisk::ANYWHERE.lock(path, how)?;
        self.world.lock().whole(Call::Look, &what)?;
        Ok(held)
    }

    fn boot(&self) -> String {
        self.boot.clone()
    }

    fn vfs(&self) -> Option<&str> {
        Some(&self.vfs)
    }
}
