//! The files of this machine and the standard specifications, for the language server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mstore_lang::ide::Host;
use mstore_lang::{Definition, DiskFiles, Files, Spec};

use crate::plan::distribution::{ENTRY_NAME, SHADOW_NAME};
use crate::plan::embedded::VIRTUAL_SPECS;
use crate::plan::{Distribution, SpecFiles};

/// Files listed in one folder tree.
const MOST_FILES: usize = 10_000;
/// Entries of folders looked at to find them.
const MOST_ENTRIES: usize = 100_000;

pub(super) struct Disk;

impl Host for Disk {
    fn base(&self) -> Arc<dyn Files + Send> {
        Arc::new(DiskFiles)
    }

    fn files(&self, entry: &Path, base: Box<dyn Files + Send>) -> Box<dyn Files + Send> {
        Box::new(SpecFiles::new(base, shadow(entry)))
    }

    fn entry_name(&self) -> &str {
        ENTRY_NAME
    }

    fn definition_sets(&self, entry: &Path, base: Box<dyn Files + Send>) -> Vec<Vec<Definition>> {
        let plain = vec![Vec::new()];
        let Ok(distribution) = Distribution::with_files(base, entry.to_owned(), Vec::new()) else {
            return plain;
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
                } else if kind.is_file() && path.extension().is_some_and(|e| e == "conf") {
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
        let own = shadow(entry)?.join(inner);
        own.is_file().then_some(own)
    }
}

/// The folder whose files replace standard specifications.
fn shadow(entry: &Path) -> Option<PathBuf> {
    let folder = entry.parent()?;
    (!entry.starts_with(VIRTUAL_SPECS)).then(|| folder.join(SHADOW_NAME))
}
