//! The layout of a mirror: what its files are called, and safe ways to them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::name::{Name, Place};

/// The folder of a subarch with what its keeper remembers.
pub const CONTROL: &str = ".control";
/// In [`CONTROL`]: how often the build failed since it last succeeded.
pub const FAILCOUNT: &str = ".failcount";
/// In [`CONTROL`]: which key failed; ours.
pub const FAILCOUNT_NOTE: &str = ".failcount.mstore";
/// In [`CONTROL`]: the process that builds.
pub const LOCK: &str = ".multi_progress";
/// In [`CONTROL`]: the host and process that builds; ours.
pub const LOCK_NOTE: &str = ".multi_progress.mstore";
/// In [`CONTROL`]: dates of the newest stages, a file a kind.
pub const VERSION: &str = "version";
/// In a build folder: `ok` or `fail`.
pub const STATUS: &str = "status";
/// In a build folder: texts about the build, as JSON.
pub const BUILD_INFO: &str = "build-info.json";
/// The folder of a build with its snapshots.
pub const SNAPSHOTS: &str = "snapshots";
/// The list of builds in the root of a mirror.
pub const INDEX: &str = "index.xml";
/// Added to the name of an archive: the file with its hashes.
pub const HASH: &str = ".hash.txt";
/// Added to the name of an archive: its signature.
pub const SIGNATURE: &str = ".gpg";
/// Added to the name of an archive: it may be compressed.
pub const COMPRESS: &str = ".cme";
/// Added to the name of an archive: somebody compresses it.
pub const COMPRESSING: &str = ".cme.run";

/// Compressed archives that people download, the preferred one first.
pub const COMPRESSED: [&str; 4] = [".tar.xz", ".tar.zst", ".tar.bz2", ".tar.gz"];

/// The name of a compressed archive without its ending.
pub fn compressed_stem(name: &[u8]) -> Option<&[u8]> {
    COMPRESSED
        .iter()
        .find_map(|end| name.strip_suffix(end.as_bytes()))
}

/// The name of an archive, compressed or not yet, without its ending.
pub fn archive_stem(name: &[u8]) -> Option<&[u8]> {
    compressed_stem(name).or_else(|| name.strip_suffix(b".tar"))
}

/// A mirror.
#[derive(Debug)]
pub struct Mirror {
    root: PathBuf,
    folder: OwnedFd,
}

/// A path is not a mirror.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the mirror {}: {source}", root.display())]
pub struct MirrorError {
    root: PathBuf,
    source: io::Error,
}

impl Mirror {
    /// Opens the mirror at a path.
    pub fn open(path: &Path) -> Result<Mirror, MirrorError> {
        // Without `.` and `/` at the end, as paths are printed.
        let root = std::path::absolute(path).map(|p| p.components().collect::<PathBuf>());
        let opened = root.and_then(|root| {
            let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
            let folder = rustix::fs::open(&root, flags, Mode::empty())?;
            Ok(Mirror { root, folder })
        });
        opened.map_err(|source| MirrorError {
            root: path.to_owned(),
            source,
        })
    }

    /// The path of its root: absolute, without a slash at its end.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The root itself, open.
    pub fn folder(&self) -> &OwnedFd {
        &self.folder
    }

    /// The path of a subarch.
    pub fn path(&self, place: &Place) -> PathBuf {
        self.root.join(place.relative())
    }

    /// The path of the snapshots of a build.
    pub fn snapshots(&self, build: &Name) -> PathBuf {
        self.root.join(build.as_str()).join(SNAPSHOTS)
    }

    /// Opens a folder of the mirror to change something in it. Links on the way are followed within the mirror
    /// and refused where they lead out of it: whatever is changed lies in the mirror.
    pub fn inside(&self, relative: &Path) -> io::Result<OwnedFd> {
        inside(&self.folder, relative)
    }
}

/// Opens a folder below another one, from which no link leads out.
pub fn inside(folder: &OwnedFd, relative: &Path) -> io::Result<OwnedFd> {
    let path = match relative.as_os_str().is_empty() {
        true => Path::new("."),
        false => relative,
    };
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY;
    Ok(rustix::fs::openat2(
        folder,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    )?)
}

/// Whether an entry of a folder is a folder, or a link to one.
pub fn is_folder(entry: &fs::DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => fs::metadata(entry.path()).is_ok_and(|m| m.is_dir()),
        Ok(kind) => kind.is_dir(),
        Err(_) => false,
    }
}

/// Whether an entry of a folder is a file, or a link to one that is there.
pub fn is_file(entry: &fs::DirEntry) -> bool {
    match entry.file_type() {
        Ok(kind) if kind.is_symlink() => fs::metadata(entry.path()).is_ok_and(|m| m.is_file()),
        Ok(kind) => kind.is_file(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_changed_lies_in_the_mirror() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("mirror");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        symlink("../outside", root.join("out")).unwrap();
        symlink("a/b", root.join("in")).unwrap();
        symlink(root.join("a"), root.join("absolute")).unwrap();
        let mirror = Mirror::open(&root.join(".//")).unwrap();
        assert_eq!(mirror.root(), root);
        assert!(mirror.inside(Path::new("")).is_ok());
        assert!(mirror.inside(Path::new("a/b")).is_ok());
        assert!(mirror.inside(Path::new("in")).is_ok());
        assert!(mirror.inside(Path::new("out")).is_err());
        assert!(mirror.inside(Path::new("..")).is_err());
        // Also one that comes back: the kernel does not look where it ends.
        assert!(mirror.inside(Path::new("absolute")).is_err());
        assert!(Mirror::open(&root.join("none")).is_err());
    }

    #[test]
    fn archives_are_known_by_their_endings() {
        assert_eq!(compressed_stem(b"stage3-a.tar.zst"), Some(&b"stage3-a"[..]));
        assert_eq!(compressed_stem(b"stage3-a.tar"), None);
        assert_eq!(archive_stem(b"stage3-a.tar"), Some(&b"stage3-a"[..]));
        assert_eq!(archive_stem(b"stage3-a.tar.xz.hash.txt"), None);
    }
}
