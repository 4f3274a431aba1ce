//! The files of this machine and the standard specifications, for the language server.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mstore_lang::ide::Host;
use mstore_lang::lint::{Finding, Lint};
use mstore_lang::{Definition, DiskFiles, Files, Spec};
use mstore_store::Hash;

use crate::cli::findings;
use crate::plan::embedded::{self, VIRTUAL_SPECS};
use crate::plan::entry::{ENTRY_NAME, Entry};
use crate::plan::{Distribution, targets};
use crate::project::PinnedReads;

/// Files listed in one folder tree.
const MOST_FILES: usize = 10_000;
/// Entries of folders looked at to find them.
const MOST_ENTRIES: usize = 100_000;

/// The files of this machine.
pub(super) struct Disk {
    /// The folder of the store, which has the snapshots that are read.
    pub(super) store: Option<PathBuf>,
    /// What was found last of specifications that take long to look at.
    last: Mutex<BTreeMap<PathBuf, Found>>,
}

/// Findings of specifications.
struct Found {
    at: Instant,
    took: Duration,
    findings: Vec<Finding>,
}

impl Disk {
    pub(super) fn new(store: Option<PathBuf>) -> Disk {
        let last = Mutex::default();
        Disk { store, last }
    }

    fn look(&self, entry: &Path, base: Box<dyn Files + Send>) -> Vec<Finding> {
        let Ok(distribution) = Distribution::with_files(base, Entry::at(entry), Vec::new()) else {
            return Vec::new();
        };
        let store = self.store.as_deref();
        let pins = store.and_then(|store| PinnedReads::open(store, &distribution));
        let Ok(found) = findings::matrix(&distribution, &[], pins.as_ref()) else {
            return Vec::new();
        };
        // What is probably not needed is not underlined while it is being written.
        let mut found = found.findings;
        found.retain(|finding| {
            !matches!(
                finding.lint,
                Lint::UntakenCollect | Lint::UnusedElement | Lint::LaxBlank
            )
        });
        found
    }
}

/// Looking at targets for longer than this is not done at each key that is pressed, but again when four times as long
/// has passed.
const LONG: Duration = Duration::from_millis(200);

/// Targets tried where none are listed.
const MOST_GUESSED: usize = 400;

/// The folder of copies of the standard specifications, one for every edition of them. They are there to be
/// read: an editor can only open what is a file.
fn copies() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let mut text = Vec::new();
    for file in embedded::standard_specs() {
        text.extend_from_slice(file.path.as_bytes());
        text.push(0);
        text.extend_from_slice(Hash::of(file.data).as_bytes());
    }
    let edition = Hash::of(&text).to_string();
    Some(cache.join("mstore").join(format!("specs-{edition:.16}")))
}

/// Writes the copies unless they are there.
fn write_copies(folder: &Path) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent)?;
    // Whoever sees the folder sees all of it.
    let half = parent.join(format!(".specs-{}", std::process::id()));
    let written = embedded::standard_specs().iter().try_for_each(|file| {
        let path = half.join(file.path);
        std::fs::create_dir_all(path.parent().unwrap_or(&half))?;
        std::fs::write(&path, file.data)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444))
    });
    match written.and_then(|()| std::fs::rename(&half, folder)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = std::fs::remove_dir_all(&half);
            // Another server may have been faster.
            if folder.is_dir() { Ok(()) } else { Err(error) }
        }
    }
}

impl Host for Disk {
    fn base(&self) -> Arc<dyn Files + Send> {
        Arc::new(DiskFiles)
    }

    fn files(&self, entry: &Path, base: Box<dyn Files + Send>) -> Box<dyn Files + Send> {
        Box::new(Entry::at(entry).files(base))
    }

    fn entry_name(&self) -> &str {
        ENTRY_NAME
    }

    fn definition_sets(&self, entry: &Path, base: Box<dyn Files + Send>) -> Vec<Vec<Definition>> {
        let plain = vec![Vec::new()];
        let base: Arc<dyn Files + Send> = Arc::from(base);
        let shared = || Box::new(Shared(Arc::clone(&base)));
        let opened = Distribution::with_files(shared(), Entry::at(entry), Vec::new());
        let Some(distribution) = opened.ok().filter(|opened| opened.metro().is_none()) else {
            return guessed(&*self.files(entry, shared()), entry).unwrap_or(plain);
        };
        let version = Spec::load(distribution.files(), entry, &[])
            .is_ok_and(|spec| !spec.is_defined("target/version"));
        let index = distribution.index();
        let mut ids: Vec<_> = index.all().collect();
        // What most people build stands for all that cannot be told apart.
        ids.sort_by_key(|id| (id.build != index.default_build, id.target != "stage3"));
        let set = |id: crate::plan::TargetId| {
            let mut set = vec![
                Definition::new("target", id.target),
                Definition::new("target/build", id.build),
                Definition::new("target/arch_desc", id.arch_desc),
                Definition::new("target/subarch", id.subarch),
            ];
            if version {
                set.push(Definition::new("target/version", "1980-01-01"));
            }
            set
        };
        match ids.is_empty() {
            true => plain,
            false => ids.into_iter().map(set).collect(),
        }
    }

    /// What `mstore check` finds where the targets are planned.
    fn findings(&self, entry: &Path, base: Box<dyn Files + Send>) -> Vec<Finding> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = last.get(entry)
            && found.took > LONG
            && found.at.elapsed() < found.took * 4
        {
            return found.findings.clone();
        }
        let began = Instant::now();
        let findings = self.look(entry, base);
        let found = Found {
            at: Instant::now(),
            took: began.elapsed(),
            findings: findings.clone(),
        };
        last.insert(entry.to_owned(), found);
        findings
    }

    fn specifications(&self, folder: &Path) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![folder.to_owned()];
        let mut left = MOST_ENTRIES;
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries.flatten() {
                left = left.saturating_sub(1);
                if left == 0 || files.len() >= MOST_FILES {
                    folders.clear();
                    break;
                }
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    continue;
                }
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                let path = entry.path();
                if kind.is_dir() {
                    folders.push(path);
                } else if kind.is_file()
                    && path.extension().is_some_and(|e| e == "conf" || e == "spec")
                {
                    files.push(path);
                }
            }
        }
        files.sort();
        files
    }

    fn real(&self, entry: &Path, path: &Path) -> Option<PathBuf> {
        let Ok(inner) = path.strip_prefix(VIRTUAL_SPECS) else {
            return Some(path.to_owned());
        };
        let own = Entry::at(entry).shadow()?.join(inner);
        own.is_file().then_some(own)
    }

    fn copy(&self, path: &Path) -> Option<PathBuf> {
        let inner = path.strip_prefix(VIRTUAL_SPECS).ok()?;
        embedded::standard_spec(inner.to_str()?)?;
        let folder = copies()?;
        write_copies(&folder).ok()?;
        Some(folder.join(inner))
    }

    fn is_writable(&self, path: &Path) -> bool {
        // Of a copy, whichever program wrote it, only the folder's name tells.
        let inside = copies().and_then(|folder| Some(path.starts_with(folder.parent()?)));
        !inside.unwrap_or(false)
    }
}

/// What the entry could be loaded for, by the files that its collects could name.
fn guessed(files: &dyn Files, entry: &Path) -> Option<Vec<Vec<Definition>>> {
    let (found, _) = targets::each_target(files, entry, &[], MOST_GUESSED, &|_| ());
    let sets: Vec<Vec<Definition>> = found
        .into_iter()
        .filter(|one| !one.definitions.is_empty())
        .map(|one| one.definitions.into_iter().chain(one.version).collect())
        .collect();
    (!sets.is_empty()).then_some(sets)
}

/// The same files for two readers.
struct Shared(Arc<dyn Files + Send>);

impl Files for Shared {
    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        self.0.read(path)
    }

    fn read_limited(&self, path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
        self.0.read_limited(path, limit)
    }

    fn is_file(&self, path: &Path) -> std::io::Result<bool> {
        self.0.is_file(path)
    }

    fn origin(&self, path: &Path) -> Option<PathBuf> {
        self.0.origin(path)
    }

    fn absolute(&self, path: &Path) -> std::io::Result<PathBuf> {
        self.0.absolute(path)
    }
}
