//! Entry files: the file that a specification is read from, and the folder whose files replace standard
//! specs. One rule, for every command and the language server:
//!
//! - a path that was given is taken relative to the current folder; where it is a folder, its `metro.conf`
//!   is meant;
//! - without one it is the `metro.conf` of the current folder or of the nearest folder above it that has one
//!   (see [`above`]), and the built-in entry otherwise;
//! - a file `specs/PATH` beside the entry file stands for the standard spec PATH, unless the entry file is
//!   itself one of the standard specs.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use mstore_lang::Files;

use super::embedded::{BUILTIN_ENTRY, VIRTUAL_SPECS};
use super::error::PlanError;
use super::files::{SpecFiles, shadow_of};
use super::looked::Looked;

/// The name of an entry file that is looked for.
pub const ENTRY_NAME: &str = "metro.conf";

/// The entry file of a specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    path: PathBuf,
}

impl Entry {
    /// The entry file at an absolute path, whether it is there or not.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Entry { path: path.into() }
    }

    /// Chooses the entry file. One that was given need not be there.
    pub fn choose(given: Option<&Path>, cwd: &Path) -> Result<Self, PlanError> {
        Self::choose_with(given, cwd, &Looked::default())
    }

    fn choose_with(given: Option<&Path>, cwd: &Path, looked: &Looked) -> Result<Self, PlanError> {
        Ok(Self::at(match given {
            Some(path) if path.starts_with(VIRTUAL_SPECS) => path.to_owned(),
            Some(path) => {
                let path = cwd.join(path);
                match looked.is_dir(&path) {
                    true => path.join(ENTRY_NAME),
                    false => path,
                }
            }
            None => {
                let here = cwd.join(ENTRY_NAME);
                match is_file(&here, looked)? {
                    true => here,
                    false => BUILTIN_ENTRY.into(),
                }
            }
        }))
    }

    /// Chooses the entry file. One that was given and is not there is an error.
    pub fn find(given: Option<&Path>, cwd: &Path) -> Result<Self, PlanError> {
        Self::find_with(given, cwd, &Looked::default())
    }

    /// The same; `looked` notes what was looked at.
    pub fn find_with(given: Option<&Path>, cwd: &Path, looked: &Looked) -> Result<Self, PlanError> {
        let entry = Self::choose_with(given, cwd, looked)?;
        if !entry.is_builtin() && !is_file(&entry.path, looked)? {
            return Err(PlanError::NoEntry { path: entry.path });
        }
        Ok(entry)
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is one of the standard specs.
    pub fn is_builtin(&self) -> bool {
        self.path.starts_with(VIRTUAL_SPECS)
    }

    /// The folder whose files replace standard specs, be it there or not.
    pub fn shadow(&self) -> Option<PathBuf> {
        shadow_of(&self.path)
    }

    /// The files that the specification is read from: those of `base`, and the standard specs with what
    /// replaces them.
    pub fn files(&self, base: Box<dyn Files + Send>) -> SpecFiles {
        SpecFiles::new(base, self.shadow())
    }
}

/// The `metro.conf` of the nearest folder above `cwd` that has one, if `cwd` itself has none.
///
/// Whoever may write to a folder above could otherwise choose what is built: the search ends at the border of
/// the file system, and at a folder or file that belongs neither to root nor to the user `uid`.
pub fn above(cwd: &Path, uid: u32) -> Option<PathBuf> {
    let is_there = |path: &Path| fs::metadata(path).ok().filter(|meta| meta.is_file());
    if is_there(&cwd.join(ENTRY_NAME)).is_some() {
        return None;
    }
    let device = fs::metadata(cwd).ok()?.dev();
    let trusted = |meta: &fs::Metadata| meta.uid() == 0 || meta.uid() == uid;
    for folder in cwd.ancestors().skip(1) {
        let meta = fs::metadata(folder).ok()?;
        if meta.dev() != device || !trusted(&meta) {
            return None;
        }
        let path = folder.join(ENTRY_NAME);
        if let Some(meta) = is_there(&path) {
            return trusted(&meta).then_some(path);
        }
    }
    None
}

fn is_file(path: &Path, looked: &Looked) -> Result<bool, PlanError> {
    looked.is_file(path).map_err(|source| PlanError::Io {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_file_may_lie_above() {
        let dir = tempfile::tempdir().unwrap();
        let (top, uid) = (dir.path(), rustix::process::geteuid().as_raw());
        let deep = top.join("a/b/c");
        fs::create_dir_all(&deep).unwrap();
        assert_eq!(above(&deep, uid), None);
        // A folder of that name is passed by.
        fs::create_dir(top.join("a/b").join(ENTRY_NAME)).unwrap();
        let (far, near) = (top.join(ENTRY_NAME), top.join("a").join(ENTRY_NAME));
        fs::write(&far, "").unwrap();
        assert_eq!(above(&deep, uid), Some(far));
        fs::write(&near, "").unwrap();
        assert_eq!(above(&deep, uid), Some(near.clone()));
        assert_eq!(above(&top.join("a"), uid), None, "its own comes first");
        if uid != 0 {
            return;
        }
        // A file, then a folder, of another user.
        std::os::unix::fs::chown(&near, Some(1), None).unwrap();
        assert_eq!(above(&deep, uid), None);
        assert_eq!(above(&deep, 1), Some(near.clone()));
        std::os::unix::fs::chown(&near, Some(0), None).unwrap();
        std::os::unix::fs::chown(top.join("a/b"), Some(1), None).unwrap();
        assert_eq!(above(&deep, uid), None);
        assert_eq!(above(&deep, 1), Some(near));
    }

    #[test]
    fn one_rule_chooses_the_entry_file() {
        let dir = tempfile::tempdir().unwrap();
        let cwd = dir.path();
        let choose = |given: Option<&str>| Entry::choose(given.map(Path::new), cwd).unwrap();
        let find = |given: Option<&str>| Entry::find(given.map(Path::new), cwd);

        // Nothing here, or a folder of that name: the built-in one.
        assert_eq!(choose(None).path(), Path::new(BUILTIN_ENTRY));
        fs::create_dir(cwd.join(ENTRY_NAME)).unwrap();
        assert_eq!(choose(None).path(), Path::new(BUILTIN_ENTRY));
        fs::remove_dir(cwd.join(ENTRY_NAME)).unwrap();
        fs::write(cwd.join(ENTRY_NAME), "").unwrap();
        assert_eq!(choose(None).path(), cwd.join(ENTRY_NAME));
        assert_eq!(find(None).unwrap(), choose(None));

        // A folder stands for the file in it, whether that is there or not.
        fs::create_dir(cwd.join("sub")).unwrap();
        let inside = cwd.join("sub").join(ENTRY_NAME);
        assert_eq!(choose(Some("sub")).path(), inside);
        assert!(matches!(find(Some("sub")), Err(PlanError::NoEntry { path }) if path == inside));
        fs::write(&inside, "").unwrap();
        assert_eq!(find(Some("sub")).unwrap().path(), inside);

        let absent = cwd.join("absent.conf");
        assert_eq!(choose(Some("absent.conf")).path(), absent);
        assert!(
            matches!(find(Some("absent.conf")), Err(PlanError::NoEntry { path }) if path == absent)
        );
        assert_eq!(
            find(Some(BUILTIN_ENTRY)).unwrap().path(),
            Path::new(BUILTIN_ENTRY)
        );
    }

    #[test]
    fn standard_specs_are_replaced_from_beside_the_users_entry_file_alone() {
        assert_eq!(Entry::at("/a/x.conf").shadow(), Some("/a/specs".into()));
        let inside = Path::new(VIRTUAL_SPECS).join("target/stage3.conf");
        for builtin in [Path::new(BUILTIN_ENTRY), &inside] {
            assert!(Entry::at(builtin).is_builtin());
            assert_eq!(Entry::at(builtin).shadow(), None);
        }
    }
}
