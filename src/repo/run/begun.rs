//! The build folder while a run goes on: the list of its targets, the folder of its logs, failures of ebuilds.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::log::TargetLog;
use crate::repo::layout::{COMPRESSED, Mirror, archive_stem};
use crate::repo::name::Place;
use crate::repo::owner::Ownership;
use crate::repo::publish::{ERRORS, LOG, TARGETS, ebuild_failures, indented};
use crate::repo::{small, whole};

/// A build folder in which a run has begun.
#[derive(Debug)]
pub struct Begun {
    logs: OwnedFd,
    path: PathBuf,
    ownership: Ownership,
}

impl Begun {
    /// Makes the build folder of a version with the list of the targets that are going to be built. The caller holds
    /// the lock of the subarch.
    pub fn new(
        mirror: &Mirror,
        place: &Place,
        version: &str,
        targets: &[String],
        ownership: &Ownership,
    ) -> io::Result<Begun> {
        let subarch = mirror.inside(&place.relative())?;
        let folder = whole::folder(&subarch, OsStr::new(version), ownership)?;
        let lines: String = targets.iter().map(|target| format!("{target}\n")).collect();
        whole::write(&folder, OsStr::new(TARGETS), lines.as_bytes(), ownership)?;
        let logs = whole::folder(&folder, OsStr::new(LOG), ownership)?;
        // Of an earlier try.
        whole::remove(&logs, OsStr::new(ERRORS))?;
        Ok(Begun {
            logs,
            path: mirror.path(place).join(version).join(LOG),
            ownership: ownership.clone(),
        })
    }

    /// The path of the log of a target.
    pub fn log_path(&self, target: &str) -> PathBuf {
        self.path.join(log_name(target))
    }

    /// Begins the log of a target anew.
    pub fn log(&self, target: &str) -> io::Result<TargetLog> {
        let name = OsString::from(log_name(target));
        // Not written over: somebody may have put a link there.
        whole::remove(&self.logs, &name)?;
        let file = whole::create(&self.logs, &name)?;
        self.ownership.give(&self.logs, Path::new(&name))?;
        Ok(TargetLog::new(file, self.log_path(target)))
    }

    /// Lists the ebuilds that failed, as the log of a target tells; gives how many they are.
    pub fn list_failures(&self, target: &str) -> io::Result<usize> {
        let log: File = whole::open(&self.logs, OsStr::new(&log_name(target)))?;
        let found = ebuild_failures(BufReader::new(log))?;
        if !found.is_empty() {
            let text = indented(&found);
            whole::write(
                &self.logs,
                OsStr::new(ERRORS),
                text.as_bytes(),
                &self.ownership,
            )?;
        }
        Ok(found.len())
    }
}

fn log_name(target: &str) -> String {
    format!("{target}.txt")
}

/// The archive of a build folder, whatever its compression, by its name without ending; nothing if it is not there.
pub fn there(
    mirror: &Mirror,
    place: &Place,
    version: &str,
    stem: &str,
) -> io::Result<Option<String>> {
    let folder = match mirror.inside(&place.relative().join(version)) {
        Ok(folder) => folder,
        Err(e) if small::is_absent(&e) => return Ok(None),
        Err(e) => return Err(e),
    };
    archive_in(&folder, stem)
}

/// The same in an open folder. Of several the one that people prefer.
pub(super) fn archive_in(folder: &OwnedFd, stem: &str) -> io::Result<Option<String>> {
    let mut found = Vec::new();
    for name in whole::names(folder)? {
        let Some(text) = name.to_str() else { continue };
        let is_it = archive_stem(text.as_bytes()) == Some(stem.as_bytes());
        // A link that leads nowhere is no archive, and neither is a folder.
        let file = || rustix::fs::statat(folder, &name, rustix::fs::AtFlags::empty());
        let is_file =
            |stat: rustix::fs::Stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file();
        if is_it && file().is_ok_and(is_file) {
            found.push(text.to_owned());
        }
    }
    let rank = |name: &String| COMPRESSED.iter().position(|end| name.ends_with(end));
    Ok(found
        .into_iter()
        .min_by_key(|name| rank(name).unwrap_or(COMPRESSED.len())))
}
