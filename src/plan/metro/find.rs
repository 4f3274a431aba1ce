//! The entry file alone, and the folder of the repository that it belongs to.

use std::io;
use std::path::{Path, PathBuf};

use mstore_lang::syntax::File;
use mstore_lang::{Definition, Files, LoadErrors, Spec};

use super::INSTALL;
use crate::plan::embedded::VIRTUAL_SPECS;

/// Entry files of more bytes are none of Metro.
const MOST: u64 = 1 << 20;

/// An entry file whose collects are blanked out, over the files themselves.
struct Alone<'a> {
    files: &'a dyn Files,
    entry: &'a Path,
    text: Vec<u8>,
}

impl Files for Alone<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_limited(path, u64::MAX)
    }

    fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        match path == self.entry {
            true => Ok(self.text.clone()),
            false => self.files.read_limited(path, limit),
        }
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        self.files.is_file(path)
    }

    fn origin(&self, path: &Path) -> Option<PathBuf> {
        self.files.origin(path)
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        self.files.absolute(path)
    }
}

/// Loads the entry file without what it collects.
pub(super) fn alone(
    files: &dyn Files,
    entry: &Path,
    definitions: &[Definition],
) -> Result<Spec, LoadErrors> {
    let Ok(mut text) = files.read_limited(entry, MOST) else {
        return Spec::load(files, entry, definitions);
    };
    let file = File::parse_bytes(entry.to_owned(), text.clone(), 1);
    for collect in &file.collects {
        let span = collect.span;
        if let Some(bytes) = text.get_mut(span.start as usize..span.end as usize) {
            bytes.fill(b' ');
        }
    }
    let alone = Alone { files, entry, text };
    Spec::load(&alone, entry, definitions)
}

/// Whether an entry file is written for mstore: it takes the standard specifications, or lists targets itself. What is
/// wrong with it is then told, whatever folders lie beside it.
pub(super) fn is_for_mstore(files: &dyn Files, entry: &Path, main: &Spec) -> bool {
    let standard = || {
        let text = files.read_limited(entry, MOST).unwrap_or_default();
        let file = File::parse_bytes(entry.to_owned(), text, 1);
        file.collects
            .iter()
            .any(|collect| file.text(collect.path).starts_with(VIRTUAL_SPECS))
    };
    main.is_defined("list/targets") || standard()
}

/// The folder of the repository, and whether it is the one that `path/install` names.
pub(super) fn root(files: &dyn Files, entry: &Path, main: &Spec) -> Option<(PathBuf, bool)> {
    let install = match main.get(INSTALL) {
        Ok(Some(value)) => PathBuf::from(value.to_text()),
        _ => PathBuf::new(),
    };
    if install.is_absolute() && has_layout(files, &install) {
        return Some((install, true));
    }
    // The entry file lies in it, or in its folder `etc`.
    let here = entry.parent()?;
    let above = here.parent().filter(|_| here.ends_with("etc"));
    let mut all = std::iter::once(here).chain(above);
    Some((
        all.find(|folder| has_layout(files, folder))?.to_owned(),
        false,
    ))
}

fn has_layout(files: &dyn Files, root: &Path) -> bool {
    !builds(files, root).is_empty() && !targets(files, root).is_empty()
}

/// The builds of a repository, sorted.
pub(super) fn builds(files: &dyn Files, root: &Path) -> Vec<String> {
    let folder = root.join("etc/builds");
    let mut all = names(&folder);
    all.retain(|name| is_file(files, &folder.join(name).join("build.conf")));
    all
}

/// The targets of a repository, sorted.
pub(super) fn targets(files: &dyn Files, root: &Path) -> Vec<String> {
    let folder = root.join("targets");
    let mut all: Vec<String> = names(&folder)
        .iter()
        .flat_map(|distribution| specs(files, &folder.join(distribution)))
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// The names of the files `NAME.spec` in a folder, sorted.
pub(super) fn specs(files: &dyn Files, folder: &Path) -> Vec<String> {
    let of = |name: &String| -> Option<String> {
        let stem = name.strip_suffix(".spec").filter(|stem| is_name(stem))?;
        is_file(files, &folder.join(name)).then(|| stem.to_owned())
    };
    names(folder).iter().filter_map(of).collect()
}

pub(super) fn is_file(files: &dyn Files, path: &Path) -> bool {
    files.is_file(path).unwrap_or(false)
}

/// Entries of a folder that are looked at.
const WIDEST: usize = 10_000;

/// The entries of a folder that can be names, sorted.
pub(super) fn names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let entries = entries.flatten().take(WIDEST);
    let mut all: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_name(name))
        .collect();
    all.sort_unstable();
    all
}

/// Whether something can be the name of a build, an architecture, a subarch or a target.
pub(super) fn is_name(name: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control() || "/:*?".contains(c);
    !name.is_empty() && name.len() <= 255 && !name.starts_with('.') && !name.contains(bad)
}
