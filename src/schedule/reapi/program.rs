//! The worker's program, which travels with each action.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::digest::{Blob, Function};
use super::trouble::Trouble;

/// Most bytes of a program.
const MOST: u64 = 256 << 20;

/// The programs for all platforms, each read once.
#[derive(Default)]
pub struct Programs(Mutex<HashMap<PathBuf, Arc<Blob>>>);

impl Programs {
    /// The program for a platform, as `files` says.
    pub fn of(
        &self,
        platform: &str,
        files: &BTreeMap<String, PathBuf>,
        function: Function,
    ) -> Result<Arc<Blob>, Trouble> {
        let remedy = || {
            format!(
                "name it in the configuration file: reapi/worker/{platform}: FILE; `mstore-worker` is built beside `mstore`"
            )
        };
        let Some(path) = files.get(platform) else {
            return Err(Trouble::Setup {
                why: format!("there is no worker's program for {platform}"),
                remedy: remedy(),
            });
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(program) = known.get(path) {
            return Ok(Arc::clone(program));
        }
        let bytes = read(path).map_err(|detail| Trouble::Setup {
            why: format!(
                "cannot use {} as the worker's program: {detail}",
                path.display()
            ),
            remedy: remedy(),
        })?;
        let program = Arc::new(Blob::new(function, bytes));
        known.insert(path.clone(), Arc::clone(&program));
        Ok(program)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let length = fs::metadata(path).map_err(|e| e.to_string())?.len();
    if length > MOST {
        return Err(format!("it has more than {MOST} bytes"));
    }
    let bytes = fs::read(path).map_err(|e| e.to_string())?;
    match bytes.starts_with(b"\x7fELF") {
        true => Ok(bytes),
        false => Err("it is not a program".to_owned()),
    }
}
