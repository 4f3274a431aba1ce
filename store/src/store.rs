//! The store itself: opening it, and the parts that all other modules share.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::checkout::{Making, OUT_LINKS, VIEWS};
use crate::claim;
use crate::db::{Database, Durable, records, rescue};
use crate::disk::{Disk, RealDisk};
use crate::doors;
use crate::inside::Inside;
use crate::layout::{CATALOGUES, DATABASE, FORMAT_FILE};
use crate::lock::StoreLock;
use crate::pack::{PackKind, SealedPack};
use crate::packs::Packs;
use crate::reserve;
use crate::session::{self, Session};
use crate::{OpenOptions, StoreError, TreeBuilder, TreeHash};

/// Newest format that this release reads and writes.
const FORMAT: u32 = 1;
/// What a new store has in its `format` file. Only the number on the second line decides.
const FORMAT_TEXT: &str = "mstore store\nformat 1\n\
    chunks fastcdc-2020 above 4194304 min 262144 average 1048576 max 4194304 level 1 seed 0\n";
/// A `format` file never comes near this.
const FORMAT_MOST: u64 = 64 << 10;
const LOCKS: [&str; 2] = ["lock", "gc.lock"];
/// Folders that steps share although they are no input; see [`Store::impure`].
const IMPURE: &str = "impure";
/// Folders that a store is damaged without.
const TRUTH_FOLDERS: [&str; 2] = ["packs", "db"];
/// Folders that are made again when they are not there.
const CACHE_FOLDERS: [&str; 9] = [
    "sessions",
    "tmp",
    "checkouts",
    "layers",
    "links",
    "logs",
    "cache",
    claim::FOLDER,
    CATALOGUES,
];

/// A store of trees and of the facts about them. Clones share everything.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    read_only: bool,
    tightened: Vec<&'static str>,
    /// There is no folder.
    absent: bool,
    inside: Arc<Inside>,
    disk: Arc<dyn Disk>,
    database: Database,
    packs: Packs,
    session: Mutex<Option<Arc<Session>>>,
    held: Mutex<Held>,
    making: Making,
}

/// What this session keeps alive because it made it.
#[derive(Debug, Default)]
struct Held {
    lease: Option<i64>,
    trees: HashSet<TreeHash>,
}

impl Store {
    /// Opens the store in `root`.
    pub fn open(root: &Path, options: &OpenOptions) -> Result<Store, StoreError> {
        Self::open_on(root, options, Arc::new(RealDisk::ANYWHERE))
    }

    pub(crate) fn open_on(
        root: &Path,
        options: &OpenOptions,
        disk: Arc<dyn Disk>,
    ) -> Result<Store, StoreError> {
        if options.create && !options.read_only {
            create(root, disk.as_ref())?;
        }
        check_format(root, disk.as_ref())?;
        doors::check(root, all_folders())?;
        // Mount options and namespaces change what a relative path means later.
        let root = fs::canonicalize(root).map_err(|e| StoreError::io("open store", root, e))?;
        let inside = Inside::open(&root).map_err(|e| StoreError::io("open store", &root, e))?;
        let inside = Arc::new(inside);
        let disk = disk.within(&inside).unwrap_or(disk);
        let path = root.join(DATABASE);
        let mut tightened = Vec::new();
        if !options.read_only {
            make_passing(&root, disk.as_ref())?;
            tightened = doors::tighten(&root, all_folders());
            rescue::finish(disk.as_ref(), &root)?;
        }
        let open = || Database::open(&path, options.read_only, disk.vfs());
        let mut database = open();
        let full = matches!(database, Err(StoreError::NoSpace { .. }));
        if full && !options.read_only && reserve::release(disk.as_ref(), &root) {
            database = open();
        }
        let database = database?;
        let store = Store {
            inner: Arc::new(Inner {
                packs: Packs::new(disk.clone(), &root),
                root,
                read_only: options.read_only,
                tightened,
                absent: false,
                inside,
                disk,
                database,
                session: Mutex::default(),
                held: Mutex::default(),
                making: Making::default(),
            }),
        };
        store.refresh()?;
        if !options.read_only {
            records::take_old(store.disk(), store.path(), store.database())?;
            session::clean(store.disk(), store.path(), store.database());
            claim::clean(store.disk(), store.path());
            if !full {
                reserve::keep(store.disk(), store.path());
            }
        }
        Ok(store)
    }

    /// Makes folders and locks of a store again that are not there any more, so that it can be opened.
    pub fn restore_folders(root: &Path) -> Result<(), StoreError> {
        check_format(root, &RealDisk::ANYWHERE)?;
        make_folders(root, &RealDisk::ANYWHERE)
    }

    /// Writes the `format` file of a store anew if it is damaged or gone and the database and packs are
    /// there, and returns what was wrong with it. A database that cannot be used is an error: nothing
    /// else tells the format then.
    pub fn restore_format(root: &Path) -> Result<Option<String>, StoreError> {
        let detail = match check_format(root, &RealDisk::ANYWHERE) {
            Err(StoreError::LostFormat { detail, .. }) => detail,
            other => return other.map(|()| None),
        };
        Database::open(&root.join(DATABASE), true, None)?;
        let format = root.join(FORMAT_FILE);
        RealDisk::ANYWHERE
            .remove_tree(&format)
            .and_then(|()| write_format(root, &RealDisk::ANYWHERE))
            .map_err(|e| StoreError::io("write anew", &format, e))?;
        Ok(Some(detail))
    }

    /// A store that has nothing and takes nothing, for asking as long as there is no folder `root`.
    pub fn nothing(root: &Path) -> Result<Store, StoreError> {
        Ok(Store {
            inner: Arc::new(Inner {
                root: root.to_path_buf(),
                read_only: true,
                tightened: Vec::new(),
                absent: true,
                inside: Arc::new(Inside::NOTHING),
                disk: Arc::new(RealDisk::ANYWHERE),
                database: Database::nothing()?,
                packs: Packs::new(Arc::new(RealDisk::ANYWHERE), root),
                session: Mutex::default(),
                held: Mutex::default(),
                making: Making::default(),
            }),
        })
    }

    /// Tells whether there is a store in `root`, in whatever state. A folder that cannot be looked into
    /// counts, so that opening it tells why; one in which a store only began to be made does not, since it
    /// has nothing.
    pub fn exists(root: &Path) -> bool {
        !Self::is_begun(root)
    }

    /// Tells whether a store can be made in `root`: it is absent, empty, or holds nothing but what is there
    /// when making one was interrupted, and the owner's wishes.
    pub fn is_begun(root: &Path) -> bool {
        let names = match fs::read_dir(root) {
            Ok(list) => list
                .map(|entry| entry.map(|e| e.file_name()))
                .collect::<io::Result<Vec<_>>>(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return true,
            Err(error) => Err(error),
        };
        let whole = root.join(FORMAT_FILE).exists() || root.join(DATABASE).exists();
        names.is_ok_and(|names| !whole && names.iter().all(|name| is_ours(name)))
    }

    /// The store's folder, absolute.
    pub fn path(&self) -> &Path {
        &self.inner.root
    }

    /// Tells whether the store was opened read-only.
    pub fn is_read_only(&self) -> bool {
        self.inner.read_only
    }

    /// Folders of the store that were open to others and were closed when this handle was opened; `.` for
    /// the store's own.
    pub fn tightened(&self) -> &[&'static str] {
        &self.inner.tightened
    }

    /// The folder `name` (one part of a path) of those that steps share although they are no input. It is made
    /// if it is not there; its content is not the store's, and nothing collects it.
    pub fn impure(&self, name: &str) -> Result<PathBuf, StoreError> {
        let all = self.inner.root.join(IMPURE);
        let path = all.join(name);
        // Builds go in and out below a mount of it, which others cannot reach: the folder above is the owner's.
        for (folder, mode) in [(&all, doors::mode_of(IMPURE)), (&path, 0o755)] {
            match self.disk().create_dir(folder, mode) {
                Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
                    return Err(StoreError::io("create folder", folder, e));
                }
                _ => {}
            }
            let found = folder.symlink_metadata();
            if !found
                .map_err(|e| StoreError::io("look at", folder, e))?
                .is_dir()
            {
                let error = std::io::Error::from(std::io::ErrorKind::NotADirectory);
                return Err(StoreError::io("use as a folder", folder, error));
            }
        }
        Ok(path)
    }

    /// The way to what lies in the store's folder, for making, moving and removing it: never through a link.
    pub fn inside(&self) -> &Inside {
        &self.inner.inside
    }

    /// The folder of build logs.
    pub fn logs_dir(&self) -> PathBuf {
        self.inner.root.join("logs")
    }

    /// Begins a tree whose entries come one by one.
    pub fn tree_builder(&self) -> Result<TreeBuilder, StoreError> {
        TreeBuilder::new(self)
    }

    pub(crate) fn packs_dir(&self) -> PathBuf {
        self.inner.root.join("packs")
    }

    pub(crate) fn disk_handle(&self) -> Arc<dyn Disk> {
        self.inner.disk.clone()
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.inner.disk.as_ref()
    }

    pub(crate) fn making(&self) -> &Making {
        &self.inner.making
    }

    /// Tells whether there is no folder, and so nothing in it.
    pub(crate) fn is_absent(&self) -> bool {
        self.inner.absent
    }

    /// Which packs there are.
    pub(crate) fn known_packs(&self) -> &Packs {
        &self.inner.packs
    }

    pub(crate) fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Refuses what a store opened read-only cannot do.
    pub(crate) fn writable(&self, action: &'static str) -> Result<(), StoreError> {
        if self.inner.read_only {
            return Err(StoreError::ReadOnly {
                action,
                path: self.inner.root.clone(),
            });
        }
        Ok(())
    }

    pub(crate) fn lock_shared(&self) -> Result<StoreLock, StoreError> {
        if self.inner.absent {
            return Ok(StoreLock::default());
        }
        StoreLock::take(self.disk(), self.path(), false)
    }

    pub(crate) fn lock_exclusive(&self) -> Result<StoreLock, StoreError> {
        StoreLock::take(self.disk(), self.path(), true)
    }

    /// The session of this store handle, begun when first needed.
    pub(crate) fn session(&self) -> Result<Arc<Session>, StoreError> {
        self.writable("work in it")?;
        let mut slot = self.inner.session.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(session) = &*slot {
            return Ok(session.clone());
        }
        let session = Arc::new(Session::begin(self.disk(), self.path())?);
        *slot = Some(session.clone());
        Ok(session)
    }

    /// Makes sealed packs part of the store, all or none, and keeps trees that this session made
    /// until the last handle is dropped. The caller holds the store's lock.
    pub(crate) fn add_packs(
        &self,
        sealed: &[(PackKind, SealedPack)],
        trees: &[TreeHash],
    ) -> Result<(), StoreError> {
        let session = self.session()?;
        let mut held = self.inner.held.lock().unwrap_or_else(|e| e.into_inner());
        let durable = match sealed {
            [] if trees.iter().all(|tree| held.trees.contains(tree)) => return Ok(()),
            [] => Durable::No,
            _ => Durable::Yes,
        };
        let (boot, known) = (self.disk().boot(), held.lease);
        let lease = self.change_packs(durable, "add packs", sealed, &[], |t, _| {
            let lease = match known {
                Some(lease) => lease,
                None => session::add_lease(t, &boot, &session, "made here")?,
            };
            for tree in trees {
                session::lease_tree(t, lease, *tree)?;
            }
            Ok(lease)
        })?;
        held.lease = Some(lease);
        held.trees.extend(trees);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let slot = self.session.get_mut().unwrap_or_else(|e| e.into_inner());
        if let Some(session) = slot.take() {
            session.end(self.disk.as_ref(), &self.database);
        }
    }
}

/// Makes a store in an empty or missing folder. The `format` file comes last: without it, a folder
/// that holds nothing but our own folders is a store whose creation was interrupted.
fn create(root: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    let format = root.join(FORMAT_FILE);
    if fs::symlink_metadata(&format).is_ok() {
        return Ok(());
    }
    create_all(root, disk).map_err(|e| StoreError::io("create store", root, e))?;
    let list = disk
        .list(root)
        .map_err(|e| StoreError::io("create store in", root, e))?;
    if let Some(name) = list.iter().find(|name| !is_ours(name)) {
        return Err(StoreError::NotAStore {
            path: root.to_path_buf(),
            detail: format!("folder is not empty: it holds {}", name.to_string_lossy()),
        });
    }
    make_folders(root, disk)?;
    write_format(root, disk).map_err(|e| StoreError::io("create store", root, e))
}

/// Whether a name may be in the folder of a store that is not made yet. The owner's wishes may be there
/// before the store is, and a file system of its own has a folder for what a check finds.
fn is_ours(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| {
        folders().any(|folder| folder == name)
            || LOCKS.contains(&name)
            || name.starts_with("format")
            || ["mstore.conf", "metro.lock", "lost+found"].contains(&name)
    })
}

/// Under another name first: it is there whole or not at all.
fn write_format(root: &Path, disk: &dyn Disk) -> io::Result<()> {
    let name = session::random_name().map_err(io::Error::other)?;
    let new = root.join(format!("format.{name}"));
    let file = disk.create(&new)?;
    file.write_at(FORMAT_TEXT.as_bytes(), 0)?;
    file.sync()?;
    disk.rename(&new, &root.join(FORMAT_FILE))?;
    disk.sync_dir(root)
}

/// Folders that a store is damaged without.
pub(crate) fn missing_folders(root: &Path) -> Vec<&'static str> {
    absent(root, &TRUTH_FOLDERS)
}

/// Makes the other folders again: caches may go at any time, and an older release did not have all of
/// them.
fn make_passing(root: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    for folder in absent(root, &CACHE_FOLDERS) {
        let path = root.join(folder);
        disk.create_dir(&path, doors::mode_of(folder))
            .map_err(|e| StoreError::io("create folder", &path, e))?;
    }
    Ok(())
}

/// Those too that are made when they are first needed.
fn all_folders() -> impl Iterator<Item = &'static str> {
    folders().chain(["failed", IMPURE, "running", VIEWS, OUT_LINKS])
}

fn folders() -> impl Iterator<Item = &'static str> {
    TRUTH_FOLDERS.into_iter().chain(CACHE_FOLDERS)
}

fn absent(root: &Path, folders: &[&'static str]) -> Vec<&'static str> {
    let all = folders.iter().copied();
    all.filter(|folder| !root.join(folder).is_dir()).collect()
}

fn make_folders(root: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    for folder in folders() {
        let path = root.join(folder);
        disk.create_dir(&path, doors::mode_of(folder))
            .map_err(|e| StoreError::io("create folder", &path, e))?;
    }
    // Mode 0644 is enough to lock it, by others who may only read as well.
    for lock in LOCKS {
        let path = root.join(lock);
        match disk.create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(StoreError::io("create lock", &path, error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Makes a folder and the missing ones above it, durably: what is synced within is worth nothing when
/// a power cut takes the name away.
pub(crate) fn create_all(path: &Path, disk: &dyn Disk) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_all(parent, disk)?;
    disk.create_dir(path, doors::TOP)?;
    disk.sync_dir(parent)
}

fn check_format(root: &Path, disk: &dyn Disk) -> Result<(), StoreError> {
    let refuse = |detail: String| {
        let path = root.to_path_buf();
        // Both are there only in a store.
        match root.join(DATABASE).is_file() && root.join("packs").is_dir() {
            true => StoreError::LostFormat { path, detail },
            false => StoreError::NotAStore {
                path,
                detail: format!("its file named format: {detail}"),
            },
        }
    };
    let bytes = match disk.read(&root.join(FORMAT_FILE), FORMAT_MOST) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if root.is_dir() {
                return Err(refuse("there is none".into()));
            }
            return Err(StoreError::NotAStore {
                path: root.to_path_buf(),
                detail: "there is no such folder".into(),
            });
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(refuse(error.to_string()));
        }
        Err(error) => return Err(StoreError::io("read", root.join(FORMAT_FILE), error)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    if lines.next() != Some("mstore store") {
        return Err(refuse("it is not that of a store".into()));
    }
    let number = lines.next().and_then(|line| line.strip_prefix("format "));
    match number.and_then(|n| n.parse::<u32>().ok()) {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(StoreError::NewerFormat {
            path: root.to_path_buf(),
            found,
            known: FORMAT,
        }),
        _ => Err(refuse("it has no format number".into())),
    }
}
