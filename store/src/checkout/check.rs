//! Compares folders that were written out with the trees that they should hold: whole ones, and layers
//! that builds left, each together with those below it as overlayfs shows them.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat,
};
use rustix::io::Errno;

use super::views::ROOT;
use super::{LINKS, VIEWS};
use crate::attributes::{
    Attributes, CAPABILITY, OPAQUE, Place, Spelling, WHITEOUT, normalise_capability,
};
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

impl FolderFault {
    /// Whether it is in a folder that builds may use as their input.
    pub fn is_seen_by_builds(&self) -> bool {
        !is_for_people(&self.folder)
    }
}

/// Whether a folder was made for people.
fn is_for_people(folder: &Path) -> bool {
    let mut above = folder.ancestors().skip(1);
    let (parent, next) = (above.next(), above.next());
    parent.is_some_and(|p| p.ends_with(LINKS)) || next.is_some_and(|p| p.ends_with(VIEWS))
}

/// Files whose content was read and is right: layers share those below them. Device, inode, content.
type Known = HashSet<(u64, u64, BlobHash)>;

impl Store {
    /// Compares every checkout and layer of this boot with its tree; with `full` contents too.
    pub(crate) fn check_checkouts(&self, full: bool) -> Result<Vec<FolderFault>, StoreError> {
        let boot = self.disk().boot();
        let made = |whole: bool| -> Result<BTreeSet<String>, StoreError> {
            self.database().read("list layers", |c| {
                c.prepare("SELECT tree FROM layer WHERE (base IS NULL) = ?1 AND boot = ?2")?
                    .query_map(rusqlite::params![whole, boot], |row| row.get(0))?
                    .collect()
            })
        };
        let wholes = made(true)?;
        let mut faults = Vec::new();
        let mut known = Known::new();
        for (folder, spelling) in [
            ("checkouts", Spelling::Overlay),
            (LINKS, Spelling::Plain),
            (VIEWS, Spelling::Plain),
        ] {
            let dir = self.path().join(folder);
            let Ok(names) = self.disk().list(&dir) else {
                continue;
            };
            for name in names.iter().filter_map(|name| name.to_str()) {
                let text = match folder {
                    LINKS => name.strip_suffix(&boot).and_then(|n| n.strip_suffix('-')),
                    VIEWS => Some(name).filter(|_| self.is_view(&dir.join(name))),
                    _ => wholes.get(name).map(String::as_str),
                };
                // What is of another boot is not used any more.
                let Some(Ok(tree)) = text.map(str::parse::<TreeHash>) else {
                    continue;
                };
                let shown = format!("{folder}/{name}");
                let layers = [match folder {
                    VIEWS => dir.join(name).join(ROOT),
                    _ => dir.join(name),
                }];
                faults.append(
                    &mut self.check_folder(tree, shown, &layers, spelling, full, &mut known)?,
                );
            }
        }
        for name in made(false)? {
            let Ok(tree) = name.parse::<TreeHash>() else {
                continue;
            };
            // Without all those below it, nobody uses a layer.
            let Some(layers) = self.present_layers(tree)? else {
                continue;
            };
            let shown = format!("layers/{name}");
            let spelling = Spelling::Overlay;
            faults
                .append(&mut self.check_folder(tree, shown, &layers, spelling, full, &mut known)?);
        }
        Ok(faults)
    }

    /// Compares what layers show together, topmost first, with a tree.
    fn check_folder(
        &self,
        tree: TreeHash,
        shown: String,
        layers: &[PathBuf],
        spelling: Spelling,
        full: bool,
        known: &mut Known,
    ) -> Result<Vec<FolderFault>, StoreError> {
        // A tree that is gone leaves its checkout to the collector.
        let Ok(object) = self.tree(tree) else {
            return Ok(Vec::new());
        };
        let mut check = Check {
            store: self,
            tree,
            layers,
            shown,
            spelling,
            full,
            known,
            path: Vec::new(),
            buffer: Vec::new(),
            faults: Vec::new(),
        };
        let mut levels = Vec::new();
        for (layer, folder) in layers.iter().enumerate() {
            match open(CWD, folder, OFlags::DIRECTORY).and_then(|fd| check.level(fd, layer)) {
                // What is below a root is never hidden as a whole.
                Ok((level, _)) => levels.push(level),
                Err(error) => check.fault(format!("cannot be opened: {error}")),
            }
        }
        if levels.len() == layers.len() {
            if let Err(detail) = check.top(&levels[0], &object.root) {
                check.fault(detail);
            }
            check.dir(&levels, object.dir, 0);
        }
        Ok(check.faults)
    }

    /// Compares what layers show together, topmost first, with a tree, contents too. Tells the first
    /// difference.
    pub(super) fn wrong_content(
        &self,
        tree: TreeHash,
        layers: &[PathBuf],
    ) -> Result<Option<String>, StoreError> {
        let top = layers.first().map(|top| top.strip_prefix(self.path()));
        let shown = top
            .and_then(Result::ok)
            .map(|top| top.display().to_string());
        let faults = self.check_folder(
            tree,
            shown.unwrap_or_default(),
            layers,
            Spelling::Overlay,
            true,
            &mut Known::new(),
        )?;
        let first = faults.into_iter().next();
        Ok(first.map(|fault| format!("{}: {}", fault.file, fault.detail)))
    }

    /// Makes nobody find folders again that are not what they should be.
    pub(crate) fn forget_checkouts(&self, faults: &[FolderFault]) -> Result<(), StoreError> {
        let folders: BTreeSet<(&Path, TreeHash)> =
            faults.iter().map(|f| (&*f.folder, f.tree)).collect();
        for (folder, tree) in folders {
            if is_for_people(folder) {
                self.disk()
                    .remove_tree(folder)
                    .map_err(|e| StoreError::io("remove", folder, e))?;
                continue;
            }
            // A build may have it mounted: the next checkout, or the collector, removes it. Layers
            // above it are not used any more either.
            let whole = folder.parent().is_some_and(|p| p.ends_with("checkouts"));
            self.database()
                .write(crate::db::Durable::No, "forget a checkout", |t| {
                    let forget = "DELETE FROM layer WHERE tree = ?1 AND (base IS NULL) = ?2";
                    t.execute(forget, rusqlite::params![tree.to_string(), whole])
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
    /// The folders, topmost first.
    layers: &'a [PathBuf],
    shown: String,
    spelling: Spelling,
    full: bool,
    known: &'a mut Known,
    path: Vec<u8>,
    buffer: Vec<u8>,
    faults: Vec<FolderFault>,
}

/// A directory in one of the layers.
struct Level {
    fd: OwnedFd,
    /// Number of the layer.
    layer: usize,
    /// Empty files in it may stand for what is not there.
    files_hide: bool,
}

/// What layers show of a name.
enum Seen {
    Nothing,
    /// It is hidden: the layers below do not count.
    Hidden,
    /// The number of the level that has it.
    At(usize, Stat),
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
            folder: self.layers[0].clone(),
            file,
            detail: detail.into(),
        });
    }

    /// A directory, and whether it hides those of its name below it.
    fn level(&self, fd: OwnedFd, layer: usize) -> rustix::io::Result<(Level, bool)> {
        let mark = match self.layers.len() {
            1 => None,
            _ => Place::Open(&fd).value(OPAQUE)?,
        };
        let is = |word: &[u8]| mark.as_deref() == Some(word);
        let (opaque, files_hide) = (is(b"y"), is(b"x"));
        let level = Level {
            fd,
            layer,
            files_hide,
        };
        Ok((level, opaque))
    }

    fn is_whiteout(&self, level: &Level, name: &CStr, stat: &Stat) -> rustix::io::Result<bool> {
        if self.layers.len() == 1 {
            return Ok(false);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::CharacterDevice => Ok(stat.st_rdev == 0),
            FileType::RegularFile if level.files_hide && stat.st_size == 0 => {
                Ok(Place::Named(&level.fd, name).value(WHITEOUT)?.is_some())
            }
            _ => Ok(false),
        }
    }

    /// Looks a name up as overlayfs does.
    fn look(&self, levels: &[Level], name: &CStr) -> rustix::io::Result<Seen> {
        for (at, level) in levels.iter().enumerate() {
            match statat(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if self.is_whiteout(level, name, &stat)? => return Ok(Seen::Hidden),
                Ok(stat) => return Ok(Seen::At(at, stat)),
                Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Seen::Nothing)
    }

    /// The directories of a name that are shown as one, beginning with that of the first level.
    fn merged(&self, levels: &[Level], name: &CStr) -> rustix::io::Result<Vec<Level>> {
        let mut found = Vec::new();
        for level in levels {
            match statat(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => break,
                other => other?,
            };
            let child = open(&level.fd, name, OFlags::DIRECTORY)?;
            let (child, opaque) = self.level(child, level.layer)?;
            found.push(child);
            if opaque {
                break;
            }
        }
        Ok(found)
    }

    fn top(&self, top: &Level, meta: &Meta) -> Result<(), String> {
        let stat = fstat(&top.fd).map_err(|e| format!("cannot be looked at: {e}"))?;
        compare(&stat, meta, FileType::Directory)?;
        if self.full {
            self.attributes(&top.fd, meta)?;
        }
        Ok(())
    }

    fn dir(&mut self, levels: &[Level], manifest: DirHash, depth: usize) {
        // Damage of the store itself is told of elsewhere.
        let Ok(manifest) = self.store.manifest(manifest) else {
            return;
        };
        if depth > MAX_DEPTH {
            return;
        }
        let mut left: BTreeSet<CString> = BTreeSet::new();
        for level in levels {
            let listed = Dir::read_from(&level.fd).and_then(|list| {
                for entry in list {
                    left.insert(entry?.file_name().to_owned());
                }
                Ok(())
            });
            if let Err(error) = listed {
                return self.fault(format!("cannot be listed: {error}"));
            }
        }
        left.remove(c".");
        left.remove(c"..");
        for entry in manifest.into_entries() {
            let before = self.path.len();
            self.enter(&entry.name);
            let checked = match CString::new(entry.name.clone()) {
                Ok(name) => {
                    left.remove(&name);
                    self.entry(levels, &name, &entry, depth)
                }
                Err(error) => Err(error.to_string()),
            };
            if let Err(detail) = checked {
                self.fault(detail);
            }
            self.path.truncate(before);
        }
        for name in left {
            let before = self.path.len();
            self.enter(name.to_bytes());
            match self.look(levels, &name) {
                Ok(Seen::Hidden | Seen::Nothing) => {}
                Ok(Seen::At(at, _)) => {
                    let from = self.origin(&levels[at]);
                    self.fault(format!("is not in the tree{from}"));
                }
                Err(error) => self.fault(format!("cannot be looked at: {error}")),
            }
            self.path.truncate(before);
        }
    }

    fn enter(&mut self, name: &[u8]) {
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }

    /// Tells of which layer below something is shown.
    fn origin(&self, level: &Level) -> String {
        let folder = &self.layers[level.layer];
        match folder.strip_prefix(self.store.path()) {
            Ok(folder) if level.layer > 0 => format!(" (shown of {})", folder.display()),
            _ => String::new(),
        }
    }

    fn entry(
        &mut self,
        levels: &[Level],
        name: &CStr,
        entry: &Entry,
        depth: usize,
    ) -> Result<(), String> {
        let is_device = matches!(entry.kind, Kind::Char { .. } | Kind::Block { .. });
        let unseen = |error: Errno| format!("cannot be looked at: {error}");
        let (at, stat) = match self.look(levels, name).map_err(unseen)? {
            Seen::At(at, stat) => (at, stat),
            // Not every user may make devices.
            Seen::Nothing if is_device => return Ok(()),
            Seen::Nothing => return Err(unseen(Errno::NOENT)),
            Seen::Hidden => return Err("is hidden by a whiteout".into()),
        };
        let levels = &levels[at..];
        self.shown_entry(levels, name, entry, &stat, depth)
            .map_err(|detail| detail + &self.origin(&levels[0]))
    }

    /// Compares what the first level shows.
    fn shown_entry(
        &mut self,
        levels: &[Level],
        name: &CStr,
        entry: &Entry,
        stat: &Stat,
        depth: usize,
    ) -> Result<(), String> {
        let dir = &levels[0].fd;
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
        compare(stat, &entry.meta, kind)?;
        match &entry.kind {
            Kind::File { blob, size } => {
                if stat.st_size.unsigned_abs() != *size {
                    return Err(format!("has {} bytes, not {size}", stat.st_size));
                }
                if self.full {
                    let file = open(dir, name, OFlags::empty()).map_err(|e| e.to_string())?;
                    self.attributes(&file, &entry.meta)?;
                    let key = (stat.st_dev, stat.st_ino, *blob);
                    if !self.known.contains(&key) {
                        self.content(&File::from(file), *blob, *size)?;
                        self.known.insert(key);
                    }
                }
            }
            Kind::Dir { manifest } => {
                let children = self
                    .merged(levels, name)
                    .map_err(|e| format!("cannot be opened: {e}"))?;
                if let Some(first) = children.first().filter(|_| self.full) {
                    self.attributes(&first.fd, &entry.meta)?;
                }
                self.dir(&children, *manifest, depth + 1);
            }
            Kind::Symlink { target } => {
                let found = readlinkat(dir, name, Vec::new()).map_err(|e| e.to_string())?;
                if found.as_bytes() != &target[..] {
                    return Err("points elsewhere".into());
                }
            }
            Kind::Char { major, minor } | Kind::Block { major, minor } => {
                let found = (
                    rustix::fs::major(stat.st_rdev),
                    rustix::fs::minor(stat.st_rdev),
                );
                if found != (*major, *minor) {
                    return Err(format!("is device {}:{}", found.0, found.1));
                }
            }
            Kind::Fifo | Kind::Socket => {}
        }
        Ok(())
    }

    fn attributes(&self, file: &OwnedFd, meta: &Meta) -> Result<(), String> {
        match Place::Open(file).read(self.spelling) {
            Ok(found) if found == meta.xattrs => Ok(()),
            // A tree of an earlier release may have a capability in a form that Linux does not give back.
            Ok(found) if found == normal(&meta.xattrs) => Ok(()),
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

/// Attributes in the form that Linux gives them back in.
fn normal(attributes: &Attributes) -> Attributes {
    let mut attributes = attributes.clone();
    for (name, value) in &mut attributes {
        if name == CAPABILITY {
            normalise_capability(value);
        }
    }
    attributes
}
