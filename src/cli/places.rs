//! Places that a result is wanted in, besides the store: a link to a folder with it, a folder of one's own.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mstore_store::{Cancel, Placing, Store, StoreError, TreeHash, Unmakeable, check_out_link};

use super::Failure;

/// What was asked for with `--out-link` and `--checkout`.
pub struct Wanted<'a> {
    link: Option<&'a Path>,
    folder: Option<&'a Path>,
}

impl<'a> Wanted<'a> {
    /// Takes the options in, of a run with so many targets; what cannot work is refused before anything is
    /// built.
    pub fn of(
        link: Option<&'a Path>,
        folder: Option<&'a Path>,
        targets: usize,
    ) -> Result<Self, Failure> {
        let option = match (link, folder) {
            (None, None) => return Ok(Wanted { link, folder }),
            (Some(_), _) => "--out-link",
            _ => "--checkout",
        };
        if targets != 1 {
            return Err(Failure::usage(format!(
                "{option} takes the result of one target, and these are {targets}"
            ))
            .hint("run it once for each: what is built already costs nothing"));
        }
        if let Some(link) = link {
            check_out_link(link).map_err(|error| not_a_link(link, error))?;
        }
        if let Some(folder) = folder {
            match fs::read_dir(folder).map(|mut list| list.next().is_some()) {
                Ok(true) => return Err(in_the_way(folder, "is not empty")),
                Ok(false) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) if error.kind() == ErrorKind::NotADirectory => {
                    return Err(in_the_way(folder, "is not a folder"));
                }
                Err(error) => {
                    return Err(Failure::machine(format!(
                        "cannot look at {}: {error}",
                        folder.display()
                    )));
                }
            }
        }
        Ok(Wanted { link, folder })
    }

    /// Whether anything is wanted.
    pub fn is_some(&self) -> bool {
        self.link.is_some() || self.folder.is_some()
    }

    /// Makes what is wanted of a tree; gives the link, else the folder.
    pub fn make(
        &self,
        store: &Store,
        tree: TreeHash,
        cancel: &Cancel,
    ) -> Result<Option<&'a Path>, Failure> {
        if let Some(folder) = self.folder {
            let how = Placing::Shared;
            store.place_until(tree, folder, how, Unmakeable::Never, cancel)?;
        }
        if let Some(link) = self.link {
            let view = store.view(tree, cancel)?;
            let absolute = |error| {
                Failure::machine(format!("cannot tell where {} is: {error}", link.display()))
            };
            let place: PathBuf = std::path::absolute(link).map_err(absolute)?;
            let made = store.out_link(&view, &place);
            made.map_err(|error| not_a_link(link, error))?;
        }
        Ok(self.link.or(self.folder))
    }
}

fn not_a_link(link: &Path, error: StoreError) -> Failure {
    match error {
        StoreError::NotALink { .. } => {
            in_the_way(link, "is there, and is not a link to a folder of a store")
        }
        other => other.into(),
    }
}

fn in_the_way(path: &Path, how: &str) -> Failure {
    Failure::usage(format!("{} {how}", path.display())).hint("give another name, or remove it")
}
