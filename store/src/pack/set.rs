//! All packs of a store, as one moment saw them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use super::*;
use crate::StoreError;
use crate::disk::Disk;

/// The packs of a store, sorted by name. Never changes: a newer set replaces it.
#[derive(Debug, Default)]
pub(crate) struct PackSet {
    pub packs: Vec<Arc<Pack>>,
    /// Numbers of packs, those with most objects first: what is looked for is most likely there.
    pub order: Vec<usize>,
    /// Packs that cannot be opened, with the reason. The objects of those that are lost or damaged
    /// count as missing.
    pub broken: Vec<(String, String)>,
    /// One of those that are there and cannot be read. What it has is not missing: nobody knows.
    unreadable: Option<Unreadable>,
    /// Those of the broken ones that may be sound: the system would not open them now, or their owner
    /// put a link in their place.
    pub withheld: Vec<Unreadable>,
}

/// An error of reading, to be told again and again.
#[derive(Debug)]
pub(crate) struct Unreadable {
    path: PathBuf,
    error: io::Error,
}

impl Unreadable {
    fn new(path: &Path, error: &io::Error) -> Unreadable {
        let error = match error.raw_os_error() {
            Some(number) => io::Error::from_raw_os_error(number),
            None => io::Error::new(error.kind(), error.to_string()),
        };
        Unreadable {
            path: path.to_path_buf(),
            error,
        }
    }

    /// As an error of what needs the pack.
    pub fn error(&self) -> StoreError {
        let Unreadable { path, error } = Unreadable::new(&self.path, &self.error);
        StoreError::Unreadable {
            path,
            source: error,
        }
    }
}

/// File name extension of packs.
pub(crate) const EXTENSION: &str = ".pack";

impl PackSet {
    /// Opens the packs that the database names, taking over what `old` has open.
    pub fn load(
        disk: &dyn Disk,
        dir: &Path,
        names: &[String],
        old: &PackSet,
    ) -> Result<PackSet, StoreError> {
        let mut set = PackSet::default();
        for name in names {
            let name = name.as_str();
            if let Ok(at) = old.packs.binary_search_by(|p| p.name.as_str().cmp(name)) {
                set.packs.push(old.packs[at].clone());
                continue;
            }
            let path = dir.join(format!("{name}{EXTENSION}"));
            match Pack::open(disk, name, &path) {
                Ok(pack) => set.packs.push(Arc::new(pack)),
                // Damaged or lost, or the collector removed it after we read the list: its objects
                // are not here either way.
                Err(StoreError::DamagedFile { detail, .. }) => {
                    set.broken.push((name.to_string(), detail));
                }
                Err(error) => {
                    let (action, source) = match error {
                        StoreError::Io { action, source, .. } => (action, source),
                        StoreError::Unreadable { source, .. } => ("read it", source),
                        other => return Err(other),
                    };
                    let detail = format!("cannot {action}: {source}");
                    set.broken.push((name.to_string(), detail));
                    if withheld(&source) || path.is_symlink() {
                        set.withheld.push(Unreadable::new(&path, &source));
                    }
                    if source.kind() != io::ErrorKind::NotFound {
                        let error = source;
                        set.unreadable.get_or_insert(Unreadable { path, error });
                    }
                }
            }
        }
        set.packs.sort_by(|a, b| a.name.cmp(&b.name));
        set.order = (0..set.packs.len()).collect();
        set.order
            .sort_by_key(|at| std::cmp::Reverse(set.packs[*at].count()));
        Ok(set)
    }

    /// Finds an object. It is not here only if every pack could be read; else this fails.
    pub fn find(&self, hash: &Hash) -> Result<Option<(&Arc<Pack>, PackEntry)>, StoreError> {
        self.first(|number| {
            let pack = &self.packs[number];
            Ok(pack.find(hash)?.map(|place| (pack, place)))
        })
    }

    /// Finds the numbers of an object's pack, and of the object in it.
    pub fn locate(&self, hash: &Hash) -> Result<Option<(usize, usize)>, StoreError> {
        self.first(|number| {
            let at = self.packs[number].position(hash)?;
            Ok(at.map(|at| (number, at)))
        })
    }

    fn first<T>(
        &self,
        look: impl Fn(usize) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut failed = None;
        for number in &self.order {
            match look(*number) {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                // Another may have it.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let failed = failed.or_else(|| self.unreadable.as_ref().map(Unreadable::error));
        failed.map_or(Ok(None), Err)
    }

    /// Tells whether an object is here for certain, without looking at it.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.locate(hash).is_ok_and(|found| found.is_some())
    }
}

/// What the system refuses for a reason that says nothing about the file.
fn withheld(error: &io::Error) -> bool {
    let about_us = [
        Errno::ACCESS,
        Errno::PERM,
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOMEM,
    ];
    Errno::from_io_error(error).is_some_and(|errno| about_us.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_no_damage_and_what_is_gone_is() {
        let error = |errno: Errno| io::Error::from(errno);
        for refused in [Errno::ACCESS, Errno::MFILE, Errno::NOMEM] {
            assert!(withheld(&error(refused)));
        }
        for lost in [Errno::NOENT, Errno::IO, Errno::ISDIR] {
            assert!(!withheld(&error(lost)));
        }
        assert!(!withheld(&io::ErrorKind::InvalidData.into()));
    }
}
