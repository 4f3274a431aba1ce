//! All packs of a store, as one moment saw them.
//!
//! A pack is opened when something is looked for in it. Where it is needed is told by the catalogues,
//! whose packs are opened and closed again so that never too many are mapped. The packs that no
//! catalogue is about, the *loose* ones, are looked into one by one: they are few, because additions
//! fold small packs together, and put the others into a catalogue (see `fold.rs`).

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

use super::*;
use crate::StoreError;

/// So many loose packs stay open with a set. There are more in a store that an older release left to those
/// who may not write to it.
const MOST_PINNED: usize = 16_384;

/// The packs of a store, sorted by name. Never changes: a newer set replaces it.
#[derive(Debug)]
pub(crate) struct PackSet {
    pub packs: Vec<Arc<PackFile>>,
    catalogues: Vec<Listing>,
    /// Those with most objects first: what is looked for is most likely there.
    loose: Vec<Loose>,
    /// Some pack could not be opened.
    failed: AtomicBool,
}

/// A catalogue, and where its packs are in the set.
#[derive(Debug)]
struct Listing {
    catalogue: Arc<Catalogue>,
    /// Numbers in the set; none for a pack that is gone.
    numbers: Vec<Option<usize>>,
}

/// A pack that no catalogue is about. What came of opening it is kept with the set.
#[derive(Debug)]
struct Loose {
    number: usize,
    pack: OnceLock<Result<Arc<Pack>, Failure>>,
}

/// Why a pack cannot be opened.
#[derive(Debug)]
enum Failure {
    /// It is damaged, or not there. Its objects count as missing.
    Lost,
    /// It is there and cannot be read. What it has is not missing: nobody knows.
    Unreadable(Unreadable),
}

impl Failure {
    fn of(path: &Path, error: StoreError) -> Failure {
        match error {
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Failure::Lost
            }
            StoreError::Io { source, .. } | StoreError::Unreadable { source, .. } => {
                Failure::Unreadable(Unreadable::new(path, &source))
            }
            _ => Failure::Lost,
        }
    }
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

/// The packs that cannot be opened.
#[derive(Debug, Default)]
pub(crate) struct Broken {
    /// Names, with the reason.
    pub packs: Vec<(String, String)>,
    /// Those of them that may be sound: the system would not open them now, or their owner put a link in
    /// their place.
    pub withheld: Vec<Unreadable>,
}

impl PackSet {
    /// Nothing, where packs can be opened from.
    pub fn empty() -> PackSet {
        PackSet {
            packs: Vec::new(),
            catalogues: Vec::new(),
            loose: Vec::new(),
            failed: AtomicBool::new(false),
        }
    }

    /// The packs of a folder that `rows` name, sorted by name. What `old` has open is taken over.
    pub fn new(
        files: &Arc<PackFiles>,
        rows: impl IntoIterator<Item = PackRow>,
        catalogues: Vec<Arc<Catalogue>>,
        old: &PackSet,
    ) -> PackSet {
        let packs = rows.into_iter().map(|row| match old.number(&row.name) {
            Some(number) if old.packs[number].row() == &row => old.packs[number].clone(),
            _ => PackFile::new(files, row),
        });
        Self::of(packs.collect(), catalogues, old)
    }

    /// This set with some packs more and some less.
    pub fn with(
        &self,
        files: &Arc<PackFiles>,
        added: &[PackRow],
        removed: &[&str],
        catalogues: Vec<Arc<Catalogue>>,
    ) -> PackSet {
        let mut packs: Vec<Arc<PackFile>> = self
            .packs
            .iter()
            .filter(|pack| !removed.contains(&pack.name()))
            .cloned()
            .collect();
        packs.extend(added.iter().map(|row| PackFile::new(files, row.clone())));
        packs.sort_by(|a, b| a.name().cmp(b.name()));
        Self::of(packs, catalogues, self)
    }

    fn of(packs: Vec<Arc<PackFile>>, catalogues: Vec<Arc<Catalogue>>, old: &PackSet) -> PackSet {
        let mut set = PackSet {
            packs,
            ..PackSet::empty()
        };
        let mut listed = vec![false; set.packs.len()];
        for catalogue in catalogues {
            let numbers: Vec<Option<usize>> = catalogue
                .packs
                .iter()
                .map(|name| set.number(name))
                .collect();
            for number in numbers.iter().flatten() {
                listed[*number] = true;
            }
            set.catalogues.push(Listing { catalogue, numbers });
        }
        let mut loose: Vec<Loose> = listed
            .iter()
            .enumerate()
            .filter(|(_, listed)| !**listed)
            .map(|(number, _)| Loose {
                number,
                pack: OnceLock::new(),
            })
            .collect();
        // What is open stays so; what failed is tried again.
        for before in &old.loose {
            let Some(Ok(open)) = before.pack.get() else {
                continue;
            };
            let file = &old.packs[before.number];
            let number = set.number(file.name());
            let here = number.filter(|number| Arc::ptr_eq(&set.packs[*number], file));
            let at = here.and_then(|n| loose.binary_search_by_key(&n, |l| l.number).ok());
            if let Some(at) = at {
                let _ = loose[at].pack.set(Ok(open.clone()));
            }
        }
        loose.sort_by_key(|l| std::cmp::Reverse(set.packs[l.number].count()));
        set.loose = loose;
        set
    }

    /// The number of a pack.
    pub fn number(&self, name: &str) -> Option<usize> {
        self.packs.binary_search_by(|p| p.name().cmp(name)).ok()
    }

    /// Tells whether some pack could not be opened, which may be otherwise by now.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// The catalogues in use.
    pub fn catalogues(&self) -> impl Iterator<Item = &Arc<Catalogue>> {
        self.catalogues.iter().map(|listing| &listing.catalogue)
    }

    /// The packs that no catalogue is about.
    pub fn loose(&self) -> impl Iterator<Item = &Arc<PackFile>> {
        self.loose.iter().map(|loose| &self.packs[loose.number])
    }

    /// Finds an object. It is not here only if every pack that could have it was read; else this fails.
    pub fn find(&self, hash: &Hash) -> Result<Option<(Arc<Pack>, PackEntry)>, StoreError> {
        self.first(hash, |_, pack| {
            let found = pack.find(hash)?;
            Ok(found.map(|entry| (pack.clone(), entry)))
        })
    }

    /// Finds the numbers of an object's pack, and of the object in it.
    pub fn locate(&self, hash: &Hash) -> Result<Option<(usize, usize)>, StoreError> {
        self.first(hash, |number, pack| {
            let at = pack.position(hash)?;
            Ok(at.map(|at| (number, at)))
        })
    }

    /// Looks into the packs that may have an object until one has it.
    fn first<T>(
        &self,
        hash: &Hash,
        look: impl Fn(usize, &Arc<Pack>) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        // Another may have what cannot be read here.
        let mut failed: Option<StoreError> = None;
        let mut take = |found: Result<Option<T>, StoreError>| match found {
            Ok(found) => found,
            Err(error) => {
                failed.get_or_insert(error);
                None
            }
        };
        for listing in &self.catalogues {
            let mut found = None;
            let named = listing.catalogue.candidates(hash, |number| {
                let number = listing.numbers.get(number as usize).copied().flatten();
                found = number.and_then(|number| take(self.look_into(number, &look)));
                match found {
                    Some(_) => ControlFlow::Break(()),
                    None => ControlFlow::Continue(()),
                }
            });
            if found.is_some() {
                return Ok(found);
            }
            if named.is_err() {
                // It cannot be read: its packs can.
                for number in listing.numbers.iter().flatten() {
                    if let Some(found) = take(self.look_into(*number, &look)) {
                        return Ok(Some(found));
                    }
                }
            }
        }
        let pinned = self.loose.len() <= MOST_PINNED;
        for loose in &self.loose {
            let looked = match pinned {
                false => self.look_into(loose.number, &look),
                true => match self.open_loose(loose) {
                    Ok(pack) => look(loose.number, pack),
                    Err(Failure::Lost) => Ok(None),
                    Err(Failure::Unreadable(error)) => Err(error.error()),
                },
            };
            if let Some(found) = take(looked) {
                return Ok(Some(found));
            }
        }
        failed.map_or(Ok(None), Err)
    }

    fn open_loose<'a>(&self, loose: &'a Loose) -> Result<&'a Arc<Pack>, &'a Failure> {
        let open = || {
            let file = &self.packs[loose.number];
            file.open().map_err(|error| {
                self.failed.store(true, Ordering::Relaxed);
                Failure::of(file.path(), error)
            })
        };
        loose.pack.get_or_init(open).as_ref()
    }

    fn look_into<T>(
        &self,
        number: usize,
        look: impl Fn(usize, &Arc<Pack>) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let file = &self.packs[number];
        match file.open() {
            Ok(pack) => look(number, &pack),
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                match Failure::of(file.path(), error) {
                    Failure::Lost => Ok(None),
                    Failure::Unreadable(error) => Err(error.error()),
                }
            }
        }
    }

    /// Tells whether an object is here for certain, without looking at it.
    pub fn contains(&self, hash: &Hash) -> bool {
        self.locate(hash).is_ok_and(|found| found.is_some())
    }

    /// Opens every pack, one after the other, and tells which cannot be.
    pub fn broken(&self) -> Result<Broken, StoreError> {
        let mut broken = Broken::default();
        for file in &self.packs {
            // An error that does not come again says nothing.
            let opened = file.open().or_else(|_| file.open());
            let (detail, source) = match opened {
                Ok(_) => continue,
                Err(StoreError::DamagedFile { detail, .. }) => (detail, None),
                Err(StoreError::Io { action, source, .. }) => {
                    (format!("cannot {action}: {source}"), Some(source))
                }
                Err(StoreError::Unreadable { source, .. }) => {
                    (format!("cannot read it: {source}"), Some(source))
                }
                Err(other) => return Err(other),
            };
            broken.packs.push((file.name().to_owned(), detail));
            let path = file.path();
            if let Some(source) = source.filter(|e| withheld(e) || path.is_symlink()) {
                broken.withheld.push(Unreadable::new(path, &source));
            }
        }
        Ok(broken)
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
