//! Writes a file anew so that a reader sees the old text or the new one, never a part.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// A file as it was before it was read.
pub(super) struct Original(Metadata);

impl Original {
    /// Looks at a file; a link is not followed.
    pub(super) fn look(path: &Path) -> io::Result<Self> {
        fs::symlink_metadata(path).map(Original)
    }

    /// Whether it is a symbolic link.
    pub(super) fn is_link(&self) -> bool {
        self.0.file_type().is_symlink()
    }

    fn is_still(&self, path: &Path) -> io::Result<bool> {
        let key = |m: &Metadata| (m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec());
        Ok(key(&self.0) == key(&fs::symlink_metadata(path)?))
    }

    /// Puts a new text in the place of the file, with its mode and owner.
    ///
    /// Other hard links to the file keep the old text.
    pub(super) fn replace(&self, path: &Path, text: &[u8]) -> io::Result<()> {
        let (mut file, temporary) = create_beside(path)?;
        let written = self.fill(&mut file, text).and_then(|()| {
            // An editor may have saved the file in the meantime.
            if !self.is_still(path)? {
                return Err(io::Error::other("the file was changed by another program"));
            }
            fs::rename(&temporary, path)
        });
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
            return written;
        }
        if let Some(folder) = path.parent() {
            let folder = if folder.as_os_str().is_empty() {
                Path::new(".")
            } else {
                folder
            };
            // The text is in place; that the name survives a power cut is a bonus.
            let _ = File::open(folder).and_then(|folder| folder.sync_all());
        }
        Ok(())
    }

    fn fill(&self, file: &mut File, text: &[u8]) -> io::Result<()> {
        file.write_all(text)?;
        let own = file.metadata()?;
        if (own.uid(), own.gid()) != (self.0.uid(), self.0.gid()) {
            fchown(&*file, Some(self.0.uid()), Some(self.0.gid()))?;
        }
        file.set_permissions(fs::Permissions::from_mode(self.0.mode() & 0o7777))?;
        file.sync_all()
    }
}

/// Makes a new file in the folder of another, under a name that nothing else has.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("not the name of a file"))?;
    for attempt in 0..100 {
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{attempt}", std::process::id()));
        let temporary = path.with_file_name(temporary);
        match OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)
        {
            Ok(file) => return Ok((file, temporary)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
        }
    }
    Err(io::Error::other(
        "no free name for a temporary file beside it",
    ))
}
