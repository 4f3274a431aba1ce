//! Roots of failed steps, kept as the step left them so that people can look around.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use mstore_store::{Hash, Store, Write};

use super::error::{Infrastructure, failed_to};
use crate::drv::Resolved;
use crate::drv::resolved::RecordError;

/// Largest record that is read back, in bytes.
const RECORD_LIMIT: u64 = 64 << 20;

/// The folder within a store.
const FOLDER: &str = "failed";

/// The root of a failed step.
#[derive(Debug)]
pub struct FailedRoot {
    /// The step, as it was built.
    pub step: Resolved,
    /// What it had changed.
    pub upper: PathBuf,
}

fn folder(store: &Store, name: &str) -> PathBuf {
    // Names have slashes and may be long; their hash does not.
    let short: String = Hash::of(name.as_bytes()).to_string();
    store.path().join(FOLDER).join(&short[..32])
}

impl FailedRoot {
    /// Moves `upper` to where [`FailedRoot::find`] finds it under `name`, in place of an
    /// earlier one.
    pub fn keep(
        store: &Store,
        name: &str,
        step: &Resolved,
        upper: &Path,
    ) -> Result<(), Infrastructure> {
        forget(store, name)?;
        let folder = folder(store, name);
        // Set-id programs of the step are for nobody but the owner of the store.
        let inside = store.inside();
        for made in [&store.path().join(FOLDER), &folder] {
            let done = inside.make_folder(made, 0o700);
            done.map_err(failed_to("make the folder", made))?;
        }
        let kept = folder.join("upper");
        let moved = inside.rename(upper, &kept);
        moved.map_err(failed_to("move the failed root to", &kept))?;
        // Written last: without it the folder counts as nothing.
        let record = folder.join("step");
        inside
            .write(&record, Write::New, 0o600)
            .and_then(|mut file| file.write_all(&step.encode()))
            .map_err(failed_to("write", &record))
    }

    /// The root that the last failed build of `name` left, if there was one since it was last
    /// built.
    pub fn find(store: &Store, name: &str) -> Result<Option<FailedRoot>, Infrastructure> {
        let folder = folder(store, name);
        let record = folder.join("step");
        let mut bytes = Vec::new();
        match store.inside().read(&record) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed_to("read", &record)(e)),
            Ok(file) => file
                .take(RECORD_LIMIT + 1)
                .read_to_end(&mut bytes)
                .map_err(failed_to("read", &record))?,
        };
        if bytes.len() as u64 > RECORD_LIMIT {
            return Ok(None);
        }
        match Resolved::decode(&bytes) {
            Ok(step) => Ok(Some(FailedRoot {
                step,
                upper: folder.join("upper"),
            })),
            // Left by another release; nothing of value.
            Err(RecordError::Format { .. }) => Ok(None),
            Err(e) => Err(Infrastructure::Inputs {
                step: name.to_owned(),
                detail: format!("the record of its failed root is damaged: {e}"),
            }),
        }
    }
}

/// The steps whose failed roots are kept, each by the path of its folder within the store, as far as they can be told.
pub fn kept(store: &Store) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let Ok(folders) = std::fs::read_dir(store.path().join(FOLDER)) else {
        return names;
    };
    for folder in folders.flatten() {
        let mut bytes = Vec::new();
        let record = folder.path().join("step");
        let Ok(file) = store.inside().read(&record) else {
            continue;
        };
        if file.take(RECORD_LIMIT).read_to_end(&mut bytes).is_err() {
            continue;
        }
        if let Ok(step) = Resolved::decode(&bytes) {
            let path = format!("{FOLDER}/{}", folder.file_name().to_string_lossy());
            names.insert(path, step.derivation().name.to_string());
        }
    }
    names
}

/// Removes the failed root of `name`, if there is one.
pub fn forget(store: &Store, name: &str) -> Result<(), Infrastructure> {
    let folder = folder(store, name);
    let gone = store.inside().remove_tree(&folder);
    gone.map_err(failed_to("remove", &folder))
}
