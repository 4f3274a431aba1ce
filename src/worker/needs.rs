//! What a machine must be able to do before a job is taken, found out by doing it.
//!
//! There is no way to build with less: whatever lacks is named, with what to do about it.

use std::fs::{self, File};
use std::path::Path;

use mstore_store::Room;

use super::trouble::{Code, Trouble};
use crate::build::host;
use crate::build::sandbox::Sandbox;
use crate::build::userns::{Entered, UsernsError};

/// The variable with which whoever runs an engine's worker gives it a store that stays.
pub const STORE_VARIABLE: &str = "MSTORE_WORKER_STORE";
/// Free bytes without which nothing is tried.
const LEAST_ROOM: u64 = 64 << 20;
/// A tree takes about three times what its bundles do, and it is there twice: in packs and written out.
const ROOM_FOR_EACH: u64 = 5;

/// Looks whether builds can run with their files in `folder`: namespaces, overlayfs, `/proc`, files of other owners. Takes
/// some milliseconds, and leaves nothing.
pub fn sandbox(entered: &Result<Entered, UsernsError>, folder: &Path) -> Result<(), Trouble> {
    let lacks = |what: String| Trouble::new(Code::Sandbox, what);
    if let Err(error) = entered {
        return Err(lacks(error.to_string()));
    }
    host::check(&Sandbox::new(), folder).map_err(|error| lacks(error.to_string()))?;
    owners(entered, folder)
}

fn owners(entered: &Result<Entered, UsernsError>, folder: &Path) -> Result<(), Trouble> {
    let path = folder.join("owner");
    let made = File::create(&path).and_then(|_| std::os::unix::fs::chown(&path, Some(1), Some(1)));
    let removed = fs::remove_file(&path);
    let Err(error) = made.and(removed) else {
        return Ok(());
    };
    let why = match entered {
        Ok(Entered::Single { reason }) => format!(" ({reason})"),
        _ => String::new(),
    };
    Err(Trouble::new(
        Code::Sandbox,
        format!(
            "files of other owners cannot be made: {error}{why}; run the worker as root without a user namespace of \
             its own, or give its user subordinate ids: `usermod --add-subuids 100000-165535 --add-subgids \
             100000-165535 USER`, with newuidmap (package uidmap)"
        ),
    ))
}

/// Looks whether there is room for bundles of `bytes` that are to be joined in `folder`. Where the system does not tell,
/// there is.
pub fn room(folder: &Path, bytes: u64) -> Result<(), Trouble> {
    let need = LEAST_ROOM.max(bytes.saturating_mul(ROOM_FOR_EACH));
    match Room::of(folder) {
        Some(room) if room.free < need => Err(Trouble::new(
            Code::Room,
            format!(
                "{} has {} bytes free, and about {need} are needed; give the worker another folder with {} or --store",
                folder.display(),
                room.free,
                STORE_VARIABLE,
            ),
        )),
        _ => Ok(()),
    }
}
