//! Compares folders that were written out with the trees that they should hold.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};

use super::LINKS;
use crate::attributes::{Place, Spelling};
use crate::error::show;
use crate::manifest::{Entry, Kind, MAX_DEPTH, Meta};
use crate::scan::mtime_of;
use crate::{BlobHash, DirHash, Store, StoreError, TreeHash};

/// A difference between a folder and its tree.
#[derive(Debug)]
pub(crate) struct FolderFault {
    pub tree: TreeHash,
    /// The folder.
    pub folder: PathBuf,
    /// The file, from the store's folder.
    pub file: String,
    pub detail: String,
}

impl Store {
    /// Compares every whole checkout of this boot with its tree; with `full` contents too.
    pub(crate) fn check_checkouts(&self, full: bool) -> Result<Vec<FolderFault>, StoreError> {
        let boot = self.disk().boot();
        let made: BTreeSet<String> = self.database().read("list layers", |c| {
            c.prepare("SELECT tree FROM layer WHERE base IS NULL AND boot = ?1")?
                .query_map([&boot], |row| row.get(0))?
                .collect()
        })?;
        let mut faults = Vec::new();
        for (folder, spelling) in [("checkouts", Spelling::Overlay), (LINKS, Spelling::Plain)] {
            let dir = self.path().join(folder);
            let Ok(names) = self.disk().list(&dir) else {
                continue;
            };
            for name in names.iter().filter_map(|name| name.to_str()) {
                let text = match folder {
                    LINKS => name.strip_suffix(&boot).and_then(|n| n.strip_suffix('-')),
                    _ => made.get(name).map(String::as_str),
                };
                // What is of another boot is not used any more.
                let Some(Ok(tree)) = text.map(str::parse::<TreeHash>) else {
                    continue;
                };
                // A tree that is gone leaves its checkout to the collector.
                let Ok(object) = self.tree(tree) else {
                    continue;
                };
                let mut check = Check {
                    store: self,
                    tree,
                    folder: dir.join(name),
                    shown: format!("{folder}/{name}"),
                    spelling,
                    full,
                    path: Vec::new(),
                    buffer: Vec::new(),
                    faults: Vec::new(),
                };
                match open(CWD, &*check.folder, OFlags::DIRECTORY) {
                    Ok(top) => check.dir(&top, object.dir, 0),
                    Err(error) => check.fault(format!("cannot be opened: {error}")),
                }
                faults.append(&mut check.faults);
            }
        }
        Ok(faults)
    }

    /// Makes nobody find folders again that are not what they should be.
    pub(crate) fn forget_checkouts(&self, faults: &[FolderFault]) -> Result<(), StoreError> {
        let folders: BTreeSet<(&Path, TreeHash)> =
            faults.iter().map(|f| (&*f.folder, f.tree)).collect();
        for (folder, tree) in folders {
            if folder
                .parent()
                .is_some_and(|parent| parent.ends_with(LINKS))
            {
                self.disk()
                    .remove_tree(folder)
                    .map_err(|e| StoreError::io("remove", folder, e))?;
                continue;
            }
            // A build may have it mounted: the next checkout, or the collector, removes it.
            self.database()
                .write(crate::db::Durable::No, "forget a checkout", |t| {
                    let forget = "DELETE FROM layer WHERE tree = ?1 AND base IS NULL";
                    t.execute(forget, [tree.to_string()])
                })?;
        }
        Ok(())
    }
}

fn open(at: impl AsFd, name: impl rustix::path::Arg, more: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::RDONLY;
    openat(at, name, flags | more, Mode::empty())
}

struct Check<'a> {
    store: &'a Store,
    tree: TreeHash,
    folder: PathBuf,
    shown: String,
    spelling: Spelling,
    full: bool,
    path: Vec<u8>,
    buffer: Vec<u8>,
    faults: Vec<FolderFault>,
}

impl Check<'_> {
    fn fault(&mut self, detail: impl Into<String>) {
        let mut file = self.shown.clone();
        if !self.path.is_empty() {
            file.push('/');
            file.push_str(&show(&self.path));
        }
        self.faults.push(FolderFault {
            tree: self.tree,
            folder: self.folder.clone(),
            file,
            detail: detail.into(),
        });
    }

    fn dir(&mut self, dir: &OwnedFd, manifest: DirHash, depth: usize) {
        // Damage of the store itself is told of elsewhere.
        let Ok(manifest) = self.store.manifest(manifest) else {
            return;
        };
        if depth > MAX_DEPTH {
            return;
        }
        let mut left: BTreeSet<Vec<u8>> = BTreeSet::new();
        match Dir::read_from(dir) {
            Ok(list) => {
                for entry in list.flatten() {
                    left.insert(entry.file_name().to_bytes().to_vec());
                }
            }
            Err(error) => return self.fault(format!("cannot be listed: {error}")),
        }
        left.remove(&b"."[..]);
        left.remove(&b".."[..]);
        for entry in manifest.into_entries() {
            left.remove(&entry.name);
            let before = self.path.len();
            self.enter(&entry.name);
            if let Err(detail) = self.entry(dir, &entry, depth) {
                self.fault(detail);
            }
            self.path.truncate(before);
        }
        for name in left {
            let before = self.path.len();
            self.enter(&name);
            self.fault("is not in the tree");
            self.path.truncate(before);
        }
    }

    fn enter(&mut self, name: &[u8]) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }

    fn entry(&mut self, dir: &OwnedFd, entry: &Entry, depth: usize) -> Result<(), String> {
        let name = CString::new(entry.name.clone()).map_err(|e| e.to_string())?;
        let is_device = matches!(entry.kind, Kind::Char { .. } | Kind::Block { .. });
        let stat = match statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            // Not every user may make devices.
            Err(rustix::io::Errno::NOENT) if is_device => return Ok(()),
            Err(error) => return Err(format!("cannot be looked at: {error}")),
        };
        let kind = match entry.kind {
            Kind::File { .. } => FileType::RegularFile,
            Kind::Dir { .. } => FileType::Directory,
            Kind::Symlink { .. } => FileType::Symlink,
            Kind::Char { .. } => FileType::CharacterDevice,
            Kind::Block { .. } => FileType::BlockDevice,
            Kind::Fifo => FileType::Fifo,
            Kind::Socket => FileType::Socket,
        };
        if FileType::from_raw_mode(stat.st_mode) != kind {
            return Err(format!("is not a {}", entry.kind.word()));
        }
        compare(&stat, &entry.meta, kind)?;
        match &entry.kind {
            Kind::File { blob, size } => {
                if stat.st_size.unsigned_abs() != *size {
                    return Err(format!("has {} bytes, not {size}", stat.st_size));
                }
                if self.full {
                    let file = open(dir, &name, OFlags::empty()).map_err(|e| e.to_string())?;
                    self.attributes(&file, &entry.meta)?;
                    self.content(&File::from(file), *blob, *size)?;
                }
            }
            Kind::Dir { manifest } => {
                let child = open(dir, &name, OFlags::DIRECTORY)
                    .map_err(|e| format!("cannot be opened: {e}"))?;
                if self.full {
                    self.attributes(&child, &entry.meta)?;
                }
                self.dir(&child, *manifest, depth + 1);
            }
            Kind::Symlink { target } => {
                let found = readlinkat(dir, &name, Vec::new()).map_err(|e| e.to_string())?;
                if found.as_bytes() != &target[..] {
                    return Err("points elsewhere".into());
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn attributes(&self, file: &OwnedFd, meta: &Meta) -> Result<(), String> {
        match Place::Open(file).read(self.spelling) {
            Ok(found) if found == meta.xattrs => Ok(()),
            Ok(_) => Err("has other extended attributes".into()),
            Err(error) => Err(format!("attributes cannot be read: {error}")),
        }
    }

    fn content(&mut self, file: &File, blob: BlobHash, size: u64) -> Result<(), String> {
        self.buffer.resize(1 << 20, 0);
        let mut hasher = blake3::Hasher::new();
        let mut at = 0;
        while at < size {
            let most = self.buffer.len().min((size - at) as usize);
            file.read_exact_at(&mut self.buffer[..most], at)
                .map_err(|e| format!("cannot be read: {e}"))?;
            hasher.update(&self.buffer[..most]);
            at += most as u64;
        }
        if hasher.finalize().as_bytes() == blob.0.as_bytes() {
            return Ok(());
        }
        Err("has other content".into())
    }
}

fn compare(stat: &Stat, meta: &Meta, kind: FileType) -> Result<(), String> {
    if (stat.st_uid, stat.st_gid) != (meta.uid, meta.gid) {
        return Err(format!("belongs to {}:{}", stat.st_uid, stat.st_gid));
    }
    if kind != FileType::Symlink && (stat.st_mode & 0o7777) as u16 != meta.mode {
        return Err(format!(
            "has mode {:o}, not {:o}",
            stat.st_mode & 0o7777,
            meta.mode
        ));
    }
    if mtime_of(stat) != meta.mtime {
        return Err("has another modification time".into());
    }
    Ok(())
}
