//! Verifying a store and repairing it, in the order in which that is safe: the file that tells the
//! format, the database, the objects, and last what caches can give back.

use std::collections::BTreeSet;
use std::path::Path;

use mstore_store::{
    Cancel, Fault, Hash, OpenOptions, Realisation, Rescued, Root, Store, StoreError, TreeHash,
    VerifyOptions, VerifyReport,
};

use super::caches::{self, Caches};
use super::events::{Event, Events};
use super::{Access, ProjectError, open_store};
use crate::drv::{Results, StoreFacts};
use crate::share::{Substitute, Trust};

/// A file of a store without which nothing else can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VitalFile {
    /// The one that tells the format.
    Format,
    /// The database.
    Database,
}

impl VitalFile {
    /// Its name within the store.
    pub fn name(self) -> &'static str {
        match self {
            VitalFile::Format => "format",
            VitalFile::Database => Store::DATABASE,
        }
    }

    /// What is wrong with it, as a fault like others.
    pub fn fault(self, detail: String) -> Fault {
        Fault {
            file: Some(self.name().to_owned()),
            object: None,
            detail,
            affects: Vec::new(),
        }
    }
}

/// What is done, as it is done. Faults are in the report too.
#[derive(Debug)]
pub enum Repair<'a> {
    /// A vital file is damaged, and is about to be written anew.
    VitalFault(&'a Fault),
    /// Something else is wrong.
    Fault(&'a Fault),
    /// The file that tells the format was written anew.
    FormatWritten,
    /// The database was written anew.
    DatabaseWritten(&'a Rescued),
}

/// What verifying came to.
#[derive(Debug, Default)]
pub struct Verified {
    /// What was found and forgotten.
    pub report: VerifyReport,
    /// Whether the database was written anew.
    pub rescued: bool,
    /// Trees that were fetched again.
    pub refetched: Vec<TreeHash>,
    /// What was built on folders that were not what they should be, in the order in which it was built. A
    /// repair forgot it.
    pub doubted: Vec<Realisation>,
}

impl Verified {
    /// Tells whether nothing was wrong.
    pub fn is_sound(&self) -> bool {
        self.report.faults.is_empty() && !self.rescued
    }
}

/// How to verify.
pub struct Verify<'a> {
    /// What to look at, and whether to repair.
    pub options: VerifyOptions,
    /// Who may have what a repair would have to forget.
    pub caches: &'a Caches,
    /// Ends fetching.
    pub cancel: &'a Cancel,
    /// Is told how far fetching is.
    pub events: &'a dyn Events,
}

/// Verifies the store in the folder `path`. `tell` is told what is found and done.
///
/// A vital file that cannot be used, and is not to be repaired, is [`ProjectError::Unusable`].
pub fn verify(
    path: &Path,
    how: &Verify<'_>,
    tell: &mut dyn FnMut(Repair<'_>),
) -> Result<Verified, ProjectError> {
    let mut options = how.options;
    // What can perhaps be fetched keeps its names until that was tried.
    options.keep_names = options.repair && !how.caches.is_empty();
    let mut format = None;
    if options.repair && Store::exists(path) {
        format = Store::restore_format(path)?.map(|detail| VitalFile::Format.fault(detail));
        if let Some(fault) = &format {
            tell(Repair::VitalFault(fault));
            tell(Repair::FormatWritten);
        }
        Store::restore_folders(path)?;
    }
    let Opened {
        store,
        rescued,
        broken,
    } = open(path, &options, tell)?;
    let before = match options.repair {
        true => Some(Before::note(&store)?),
        false => None,
    };
    let verified = store.verify(&options, &mut |fault: &Fault| tell(Repair::Fault(fault)));
    let mut report = match (verified, broken) {
        (Err(StoreError::Database { .. }), Some(detail)) => {
            return Err(unusable(VitalFile::Database, detail));
        }
        (verified, _) => verified?,
    };
    report.faults.splice(0..0, format);
    let refetched = match before {
        Some(before) => before.refetch(&store, how, &mut report)?,
        None => Vec::new(),
    };
    let doubted = doubted(&store, &report, options.repair)?;
    Ok(Verified {
        report,
        rescued,
        refetched,
        doubted,
    })
}

/// What was built on folders that were not what they should be. A repair forgets it.
fn doubted(
    store: &Store,
    report: &VerifyReport,
    repair: bool,
) -> Result<Vec<Realisation>, ProjectError> {
    if report.harmed.is_empty() {
        return Ok(Vec::new());
    }
    let doubted = Results::read(&StoreFacts::new(store.clone()))?.in_trees(&report.harmed)?;
    if repair {
        store.forget_results(&doubted)?;
    }
    Ok(doubted)
}

fn unusable(file: VitalFile, detail: String) -> ProjectError {
    ProjectError::Unusable { file, detail }
}

/// A store that can be looked at.
struct Opened {
    store: Store,
    /// Whether its database was written anew for that.
    rescued: bool,
    /// What is wrong with the database, if it is in use all the same.
    broken: Option<String>,
}

/// Opens the store; a damaged database is written anew first where that is allowed.
fn open(
    path: &Path,
    options: &VerifyOptions,
    tell: &mut dyn FnMut(Repair<'_>),
) -> Result<Opened, ProjectError> {
    let opened = open_store(path, Access::Read);
    let damaged = match Store::exists(path) {
        true => database_damage(path, &opened, options.quick)?,
        false => None,
    };
    let Some(detail) = damaged else {
        return Ok(Opened {
            store: opened?,
            rescued: false,
            broken: None,
        });
    };
    if options.repair {
        // It cannot be repaired while it is in use.
        drop(opened);
        tell(Repair::VitalFault(&VitalFile::Database.fault(detail)));
        tell(Repair::DatabaseWritten(&Store::rescue_database(path)?));
        return Ok(Opened {
            store: open_store(path, Access::Read)?,
            rescued: true,
            broken: None,
        });
    }
    match opened {
        Ok(store) => Ok(Opened {
            store,
            rescued: false,
            broken: Some(detail),
        }),
        Err(_) => Err(unusable(VitalFile::Database, detail)),
    }
}

/// Says what is wrong with the database, if anything is.
fn database_damage(
    path: &Path,
    opened: &Result<Store, ProjectError>,
    quick: bool,
) -> Result<Option<String>, ProjectError> {
    if let Ok(store) = opened {
        let said = store.check_database(quick);
        return Ok((!said.is_empty()).then(|| said.join("; ")));
    }
    match Store::open(path, &OpenOptions::read_only()) {
        Err(StoreError::LostFormat { detail, .. }) => Err(unusable(VitalFile::Format, detail)),
        Err(e @ (StoreError::Database { .. } | StoreError::DamagedFile { .. })) => {
            Ok(Some(e.to_string()))
        }
        _ => Ok(None),
    }
}

/// What a store knew before a repair.
struct Before {
    realisations: Vec<Realisation>,
    roots: Vec<Root>,
}

impl Before {
    fn note(store: &Store) -> Result<Before, ProjectError> {
        Ok(Before {
            realisations: store.realisations(None)?,
            roots: store.roots()?,
        })
    }

    /// Fetches the trees that a repair removed, of which only damaged objects travel, and takes what needs
    /// them off the list of what is forgotten; the repair left their names, and those of trees that nobody
    /// has go now. Returns the trees that are here again.
    fn refetch(
        self,
        store: &Store,
        how: &Verify<'_>,
        report: &mut VerifyReport,
    ) -> Result<Vec<TreeHash>, ProjectError> {
        let mut lost = self.realisations;
        lost.retain(|r| report.forgotten.contains(&r.key));
        let mut roots = self.roots;
        roots.retain(|r| report.forgotten_roots.contains(&r.name));
        let trees = lost.iter().map(|r| r.tree);
        let wanted: BTreeSet<TreeHash> = trees
            .chain(roots.iter().map(|r| r.tree))
            .chain(report.lost_pins.iter().map(|p| p.tree))
            .collect();
        if wanted.is_empty() || how.caches.is_empty() {
            return Ok(Vec::new());
        }
        // A tree is its hash: whoever has it, it is the one that was here.
        let facts = Substitute::new(
            StoreFacts::new(store.clone()),
            store.clone(),
            how.caches.openers(),
            Trust::blind(),
            false,
            |notice| how.events.event(Event::Cache(notice)),
        );
        caches::fetch(&facts, &wanted, how.cancel, how.events)?;
        let mut here = Vec::new();
        for tree in wanted {
            if store.has_tree(tree)? {
                here.push(tree);
            }
        }
        lost.retain(|r| !here.contains(&r.tree));
        roots.retain(|r| !here.contains(&r.tree));
        store.forget_lost(&lost, &roots)?;
        let is_lost = |key: &Hash| lost.iter().any(|r| r.key == *key);
        report.forgotten.retain(is_lost);
        let is_lost = |name: &String| roots.iter().any(|r| r.name == *name);
        report.forgotten_roots.retain(is_lost);
        report.lost_pins.retain(|p| !here.contains(&p.tree));
        Ok(here)
    }
}
