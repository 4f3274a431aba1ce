//! Roots of failed steps, kept as the step left them so that people can look around.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use mstore_store::{Hash, Store};

use super::clean;
use super::error::{Infrastructure, failed_to};
use crate::drv::Resolved;
use crate::drv::resolved::RecordError;

/// Largest record that is read back, in bytes.
const RECORD_LIMIT: u64 = 64 << 20;

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
    store.path().join("failed").join(&short[..32])
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
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(failed_to("make the folder", &folder))?;
        let kept = folder.join("upper");
        fs::rename(upper, &kept).map_err(failed_to("move the failed root to", &kept))?;
        // Written last: without it the folder counts as nothing.
        let record = folder.join("step");
        fs::write(&record, step.encode()).map_err(failed_to("write", &record))
    }

    /// The root that the last failed build of `name` left, if there was one since it was last
    /// built.
    pub fn find(store: &Store, name: &str) -> Result<Option<FailedRoot>, Infrastructure> {
        let folder = folder(store, name);
        let record = folder.join("step");
        let bytes = match fs::metadata(&record) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed_to("read", &record)(e)),
            Ok(meta) if meta.len() > RECORD_LIMIT => return Ok(None),
            Ok(_) => fs::read(&record).map_err(failed_to("read", &record))?,
        };
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

/// Removes the failed root of `name`, if there is one.
pub fn forget(store: &Store, name: &str) -> Result<(), Infrastructure> {
    let folder = folder(store, name);
    if !folder.exists() {
        return Ok(());
    }
    clean::remove_tree(&folder).map_err(|e| failed_to("remove", &e.path)(e.source))
}
