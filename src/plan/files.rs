//! Spec files: the embedded standard specs under one folder, a base (the disk, or a revision in git) for
//! all else.

use std::io;
use std::path::{Path, PathBuf};

use mstore_lang::Files;

use super::control;
use super::embedded::{self, VIRTUAL_SPECS};

/// The standard specs at [`VIRTUAL_SPECS`], file by file replaced by those of a folder of the user's,
/// over a base that serves every other path.
pub struct SpecFiles {
    base: Box<dyn Files + Send>,
    shadow: Option<PathBuf>,
    /// Whether files of control that a mirror lacks have their usual content.
    control: bool,
}

impl std::fmt::Debug for SpecFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpecFiles")
            .field("shadow", &self.shadow)
            .finish_non_exhaustive()
    }
}

impl SpecFiles {
    /// Serves `base`; files below `shadow` replace or extend the standard specs.
    pub fn new(base: Box<dyn Files + Send>, shadow: Option<PathBuf>) -> Self {
        SpecFiles {
            base,
            shadow,
            control: false,
        }
    }

    /// From now on, files of control that a mirror lacks have their usual content.
    pub(super) fn add_control(&mut self) {
        self.control = true;
    }

    /// The file of the user's that stands for the standard spec `rel`.
    fn shadowing(&self, rel: &Path) -> io::Result<Option<PathBuf>> {
        let Some(shadow) = &self.shadow else {
            return Ok(None);
        };
        let path = shadow.join(rel);
        Ok(self.base.is_file(&path)?.then_some(path))
    }
}

/// The folder beside an entry file whose files replace standard specs.
const SHADOW_NAME: &str = "specs";

/// The folder whose files replace standard specs, be it there or not; none for an entry file that is one of them.
pub(super) fn shadow_of(entry: &Path) -> Option<PathBuf> {
    let folder = entry
        .parent()
        .filter(|_| !entry.starts_with(VIRTUAL_SPECS))?;
    Some(folder.join(SHADOW_NAME))
}

fn standard(rel: &Path) -> Option<&'static embedded::Embedded> {
    embedded::standard_spec(rel.to_str()?)
}

impl Files for SpecFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_limited(path, u64::MAX)
    }

    fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let Ok(rel) = path.strip_prefix(VIRTUAL_SPECS) else {
            let read = self.base.read_limited(path, limit);
            let absent = matches!(&read, Err(e) if e.kind() == io::ErrorKind::NotFound);
            return match control::usual(path).filter(|_| self.control && absent) {
                Some(usual) => Ok(usual.as_bytes().to_vec()),
                None => read,
            };
        };
        if let Some(path) = self.shadowing(rel)? {
            return self.base.read_limited(&path, limit);
        }
        match standard(rel) {
            // The table is part of the binary, which bounds it.
            Some(file) => Ok(file.data.to_vec()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn origin(&self, path: &Path) -> Option<PathBuf> {
        let Ok(rel) = path.strip_prefix(VIRTUAL_SPECS) else {
            return self.base.origin(path);
        };
        self.shadowing(rel).ok().flatten()
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        let Ok(rel) = path.strip_prefix(VIRTUAL_SPECS) else {
            return self.base.is_file(path);
        };
        Ok(standard(rel).is_some() || self.shadowing(rel)?.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_lang::DiskFiles;

    #[test]
    fn a_folder_of_the_users_shadows_file_by_file() {
        let dir = tempfile::tempdir().unwrap();
        let specs = dir.path().join("specs");
        std::fs::create_dir_all(specs.join("subarch")).unwrap();
        std::fs::write(specs.join("subarch/mine.conf"), "mine").unwrap();
        let files = SpecFiles::new(Box::new(DiskFiles), Some(specs));
        let at = |p: &str| Path::new(VIRTUAL_SPECS).join(p);
        assert_eq!(files.read(&at("subarch/mine.conf")).unwrap(), b"mine");
        assert!(files.is_file(&at("subarch/mine.conf")).unwrap());
        assert!(!files.is_file(&at("subarch/none.conf")).unwrap());
        assert!(files.read(&at("subarch")).is_err());
        let plain = SpecFiles::new(Box::new(DiskFiles), None);
        assert!(!plain.is_file(&at("subarch/mine.conf")).unwrap());
        for file in embedded::standard_specs() {
            assert!(plain.is_file(&at(file.path)).unwrap());
            assert_eq!(plain.read(&at(file.path)).unwrap(), file.data);
        }
    }
}
