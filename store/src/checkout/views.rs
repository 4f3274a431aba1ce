//! Folders for people.
//!
//! What builds see is never what people get: lower layers lie in `checkouts` and `layers`, which no command
//! prints, and whoever asks for a tree gets a folder of its own in `views`. Its files are clones where the
//! file system can make them, else further names of files in `links`, else copies; nothing that builds
//! read is among them, so that writing to such a folder, even as root, spoils that folder alone (and, where
//! its files are further names, other folders that were given to people).
//!
//! `views/TREE/root` is the folder, and `views/TREE/boot` names the boot of the machine on which it was
//! written: nothing is synced, so on another one it is written anew when it is asked for. The time of
//! `views/TREE` tells when it was asked for last.
//!
//! An *out-link* is a symbolic link somewhere on the machine that leads to such a folder. The store keeps
//! a note of it, the link `out-links/TREE-…`, and the tree is a gc root for as long as the out-link is
//! there and leads there.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Placing, Unmakeable, lock};
use crate::doors;
use crate::facts::Lease;
use crate::inside::{Inside, Write};
use crate::session::random_name;
use crate::{Cancel, Hash, Store, StoreError, TreeHash};

/// Folder of the store with folders for people.
pub(crate) const VIEWS: &str = "views";
/// Folder of the store with notes of out-links.
pub(crate) const OUT_LINKS: &str = "out-links";

/// Within a folder of `views`.
pub(super) const ROOT: &str = "root";
const BOOT: &str = "boot";

/// A tree in a folder for people. It stays while this is held, and may go afterwards.
#[derive(Debug)]
pub struct View {
    tree: TreeHash,
    path: PathBuf,
    _lease: Lease,
}

impl View {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A link that somebody had made to the folder of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutLink {
    pub tree: TreeHash,
    /// Where it is.
    pub link: PathBuf,
    /// Whether it is gone for certain, or leads elsewhere. One that cannot be looked at is not.
    pub dead: bool,
    /// The store's note of it.
    pub note: PathBuf,
}

impl Store {
    fn view_path(&self, tree: TreeHash) -> PathBuf {
        self.path().join(VIEWS).join(tree.to_string())
    }

    /// Whether a folder of `views` is complete, and was written on this boot.
    pub(crate) fn is_view(&self, folder: &Path) -> bool {
        let boot = fs::read(folder.join(BOOT));
        boot.is_ok_and(|boot| boot == self.disk().boot().as_bytes())
            && fs::symlink_metadata(folder.join(ROOT)).is_ok_and(|meta| meta.is_dir())
    }

    /// Brings a tree to disk in a folder for people, or finds it there. Devices that this user cannot make
    /// are left out. Ends with [`StoreError::Interrupted`] soon after it was cancelled.
    pub fn view(&self, tree: TreeHash, cancel: &Cancel) -> Result<View, StoreError> {
        let lease = self.lease_trees("view", &[tree])?;
        let folder = self.view_path(tree);
        let turn = self.making().turn(tree);
        let _turn = lock(&turn);
        if self.is_view(&folder) {
            // Exactness is worth no failure.
            let _ = self.inside().touch(&folder);
        } else {
            self.make_view(tree, &folder, cancel)?;
        }
        Ok(View {
            tree,
            path: folder.join(ROOT),
            _lease: lease,
        })
    }

    fn make_view(&self, tree: TreeHash, folder: &Path, cancel: &Cancel) -> Result<(), StoreError> {
        self.writable("write out a tree")?;
        let views = self.path().join(VIEWS);
        let make = |path: &Path| {
            let made = self.disk().create_dir(path, doors::mode_of(VIEWS));
            made.map_err(|e| StoreError::io("create folder", path, e))
        };
        make(&views)?;
        let scratch = self.scratch("view")?;
        let new = scratch.path().join("new");
        make(&new)?;
        let how = Placing::Shared;
        self.place_until(tree, &new.join(ROOT), how, Unmakeable::Never, cancel)?;
        let boot = new.join(BOOT);
        doors::write(self.inside(), &boot, &self.disk().boot())
            .map_err(|e| StoreError::io("write", &boot, e))?;
        let old = scratch.path().join("old");
        match self.disk().rename(folder, &old) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("move aside", folder, error));
            }
            _ => {}
        }
        match self.disk().rename(&new, folder) {
            // Another process was faster.
            Err(_) if self.is_view(folder) => Ok(()),
            other => other.map_err(|e| StoreError::io("move a folder to", folder, e)),
        }
    }

    /// Makes `link` (an absolute path) a symbolic link to the folder, and the tree a gc root as long as the
    /// link is there. A link that this made before is replaced; anything else is left, and
    /// [`StoreError::NotALink`] says so.
    pub fn out_link(&self, view: &View, link: &Path) -> Result<(), StoreError> {
        self.writable("note a link")?;
        check_out_link(link)?;
        let notes = self.path().join(OUT_LINKS);
        self.disk()
            .create_dir(&notes, doors::mode_of(OUT_LINKS))
            .map_err(|e| StoreError::io("create folder", &notes, e))?;
        // The tree is leased: until the link is there too, no collector takes the note for dead.
        let _lock = self.lock_shared()?;
        let hash = Hash::of(link.as_os_str().as_bytes()).to_string();
        let note = notes.join(format!("{}-{}", view.tree, &hash[..16]));
        replace_link(self.inside(), link, &note)?;
        replace_link(self.inside(), &view.path, link)
    }

    /// The links that the store knows of.
    pub(crate) fn out_links(&self) -> Result<Vec<OutLink>, StoreError> {
        let notes = self.path().join(OUT_LINKS);
        if !notes.is_dir() {
            return Ok(Vec::new());
        }
        let mut all = Vec::new();
        for entry in fs::read_dir(&notes).map_err(|e| StoreError::io("list", &notes, e))? {
            let name = entry
                .map_err(|e| StoreError::io("list", &notes, e))?
                .file_name();
            let note = notes.join(&name);
            let tree = name.to_str().and_then(|name| name.split_once('-'));
            let (Some(Ok(tree)), Ok(link)) = (
                tree.map(|(tree, _)| tree.parse::<TreeHash>()),
                fs::read_link(&note),
            ) else {
                continue;
            };
            let dead = match fs::read_link(&link) {
                Ok(to) => to != self.view_path(tree).join(ROOT),
                // `InvalidInput`: something that is no link took its place.
                Err(error) => matches!(
                    error.kind(),
                    io::ErrorKind::NotFound
                        | io::ErrorKind::NotADirectory
                        | io::ErrorKind::InvalidInput
                ),
            };
            all.push(OutLink {
                tree,
                link,
                dead,
                note,
            });
        }
        Ok(all)
    }

    /// Tells whether the file system of the store can make clones of files.
    pub(super) fn can_clone(&self) -> Result<bool, StoreError> {
        let scratch = self.scratch("clone")?;
        let at = |name: &str| scratch.path().join(name);
        let tried = || -> io::Result<bool> {
            let make = |name| self.inside().write(&at(name), Write::New, doors::PACK);
            let (mut old, new) = (make("a")?, make("b")?);
            old.write_all(&[0; 4096])?;
            let old = self.inside().read(&at("a"))?;
            Ok(rustix::fs::ioctl_ficlone(&new, &old).is_ok())
        };
        tried().map_err(|e| StoreError::io("write to", scratch.path(), e))
    }
}

/// Returns an error if something is in the way of an out-link that [`Store::out_link`] would not replace.
pub fn check_out_link(link: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(link) {
        Ok(_) if fs::read_link(link).is_ok_and(|to| leads_to_view(&to)) => Ok(()),
        Ok(_) => Err(StoreError::NotALink {
            path: link.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StoreError::io("look at", link, error)),
    }
}

/// Whether a link leads to a folder for people, of this store or another one.
fn leads_to_view(to: &Path) -> bool {
    let mut names = to.iter().rev();
    let root = names.next().is_some_and(|name| name == ROOT);
    let tree = names.next().and_then(|name| name.to_str());
    let tree = tree.is_some_and(|name| name.parse::<TreeHash>().is_ok());
    root && tree && names.next().is_some_and(|name| name == VIEWS)
}

/// Makes a symbolic link, in one step where there is one already.
fn replace_link(inside: &Inside, to: &Path, link: &Path) -> Result<(), StoreError> {
    let fail = |error| StoreError::io("make the link", link, error);
    let mut new = link.as_os_str().to_owned();
    new.push(format!(".{}", random_name()?));
    let new = PathBuf::from(new);
    inside.link(to, &new).map_err(fail)?;
    inside.rename(&new, link).map_err(|error| {
        let _ = inside.remove(&new);
        fail(error)
    })
}
