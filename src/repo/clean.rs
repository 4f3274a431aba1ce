//! What a mirror does not keep: builds older than the newest few, builds that came to nothing, old snapshots.
//!
//! One plan is printed as a script, or carried out. Nothing outside the mirror is ever named or removed.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::AtFlags;

use super::config::{Managed, Settings};
use super::control::{Control, versions};
use super::date::Date;
use super::layout::{HASH, Mirror, SIGNATURE, SNAPSHOTS};
use super::lock::{Holder, Lock, LockError, LockState, Machine, look};
use super::name::Name;
use super::publish::is_incoming;
use super::scan::{Subarch, scan_one};
use super::whole::{random, remove};

/// What hidden names of builds that are being removed begin with.
const REMOVED: &str = ".removed-";
/// The snapshot that is never removed.
const CURRENT: &[u8] = b"portage-current.tar.xz";

/// Why something stays or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the nth newest of those that are kept.
    Newest(usize),
    /// As many newer ones are kept.
    Old,
    /// The build came to nothing, and is not old yet.
    Young,
    /// The build came to nothing, so many days ago.
    Incomplete(i64),
    /// The build came to nothing, and a version file names it.
    Named,
    /// Somebody works on the subarch.
    InProgress(Holder),
    /// Whether something starts from it cannot be told.
    Unknown(String),
}

/// One line of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The path in the mirror.
    pub path: PathBuf,
    /// Whether it goes.
    pub goes: bool,
    /// Why.
    pub reason: Reason,
}

/// Plans what stays and what goes of one subarch.
pub fn plan_subarch(
    subarch: &Subarch,
    settings: &Settings,
    today: Date,
    machine: &Machine,
) -> Vec<Step> {
    plan(subarch, settings, today, || look(&subarch.path, machine))
}

fn plan(
    subarch: &Subarch,
    settings: &Settings,
    today: Date,
    lock: impl Fn() -> LockState,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut kept = 0;
    // Asked once for all, and only if there is something to ask about.
    let mut held = None;
    let mut named = None;
    for build in subarch.builds.iter().rev() {
        let age = build.date.age(today);
        let (goes, reason) = if subarch.state(build).complete {
            kept += 1;
            match kept <= settings.keep_num {
                true => (false, Reason::Newest(kept)),
                false => (true, Reason::Old),
            }
        } else if age < settings.stale_days {
            (false, Reason::Young)
        } else if let LockState::Held(holder) = held.get_or_insert_with(&lock) {
            (false, Reason::InProgress(holder.clone()))
        } else {
            match named.get_or_insert_with(|| versions(&subarch.path)) {
                Ok(names) if names.contains(&build.name) => (false, Reason::Named),
                Ok(_) => (true, Reason::Incomplete(age)),
                Err(e) => (false, Reason::Unknown(e.to_string())),
            }
        };
        steps.push(Step {
            path: subarch.place.relative().join(&build.name),
            goes,
            reason,
        });
    }
    steps
}

/// Plans what stays and what goes of the snapshots of one build.
pub fn plan_snapshots(mirror: &Mirror, build: &Name, settings: &Settings) -> Vec<Step> {
    let Ok(entries) = fs::read_dir(mirror.snapshots(build)) else {
        return Vec::new();
    };
    let mut names: Vec<OsString> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.file_name())
        .filter(|name| {
            let name = name.as_bytes();
            name.starts_with(b"portage-") && name.ends_with(b".tar.xz") && name != CURRENT
        })
        .collect();
    names.sort();
    let folder = Path::new(build.as_str()).join(SNAPSHOTS);
    let mut steps = Vec::new();
    for (at, name) in names.iter().rev().enumerate() {
        let goes = at >= settings.keep_num;
        let reason = || match goes {
            true => Reason::Old,
            false => Reason::Newest(at + 1),
        };
        let mut step = |name: &OsString| {
            steps.push(Step {
                path: folder.join(name),
                goes,
                reason: reason(),
            });
        };
        step(name);
        for companion in [HASH, SIGNATURE].iter().filter(|_| goes) {
            let mut companion_name = name.clone();
            companion_name.push(companion);
            if mirror
                .root()
                .join(&folder)
                .join(&companion_name)
                .symlink_metadata()
                .is_ok()
            {
                step(&companion_name);
            }
        }
    }
    steps
}

/// What became of a subarch, or of the snapshots of a build.
#[derive(Debug)]
pub enum Cleaned {
    /// These went.
    Removed(Vec<PathBuf>),
    /// Somebody works on it: nothing was done.
    InProgress(Holder),
    /// Something failed, after these went.
    Failed {
        /// Those that went.
        removed: Vec<PathBuf>,
        /// Why no more.
        detail: String,
    },
}

/// Cleans one subarch, under its lock. What goes is hidden first, so that nobody sees half a build.
pub fn clean_subarch(
    mirror: &Mirror,
    managed: &Managed,
    settings: &Settings,
    today: Date,
    machine: &Machine,
    shared: bool,
) -> Cleaned {
    let Some(subarch) = scan_one(mirror, managed.clone()) else {
        return Cleaned::Removed(Vec::new());
    };
    let any = plan_subarch(&subarch, settings, today, machine)
        .iter()
        .any(|step| step.goes);
    if !any && !has_leftovers(&subarch.path, settings) {
        return Cleaned::Removed(Vec::new());
    }
    let mut removed = Vec::new();
    let result = Control::open_or_make(mirror, &managed.place, 0o775)
        .map_err(|e| Stop::Failed(e.to_string()))
        .and_then(|control| match Lock::take(control, machine, shared, "") {
            Ok(lock) => Ok(lock),
            Err(LockError::Held { holder, .. }) => Err(Stop::Held(holder)),
            Err(error) => Err(Stop::Failed(error.to_string())),
        })
        .and_then(|lock| {
            remove_builds(mirror, managed, settings, today, &lock, &mut removed)
                .map_err(|e| Stop::Failed(e.to_string()))
        });
    match result {
        Ok(()) => Cleaned::Removed(removed),
        Err(Stop::Held(holder)) => Cleaned::InProgress(holder),
        Err(Stop::Failed(detail)) => Cleaned::Failed { removed, detail },
    }
}

enum Stop {
    Held(Holder),
    Failed(String),
}

/// Whether an earlier removal was interrupted, or an attempt to publish long ago.
fn has_leftovers(subarch: &Path, settings: &Settings) -> bool {
    let entries = fs::read_dir(subarch).into_iter().flatten().flatten();
    let mut names = entries.map(|entry| entry.file_name());
    names.any(|name| is_leftover(name.as_bytes()) || is_abandoned(subarch, &name, settings))
}

/// Whether a hidden folder was assembled by somebody who has not written there for as many days as make a build
/// stale. By the clock of the machine: it has no day of its own.
fn is_abandoned(subarch: &Path, name: &OsString, settings: &Settings) -> bool {
    let days = u64::try_from(settings.stale_days).unwrap_or(0).max(1);
    let written = subarch.join(name).symlink_metadata();
    let age = written.and_then(|meta| meta.modified()).ok();
    let age = age.and_then(|time| SystemTime::now().duration_since(time).ok());
    is_incoming(name) && age.is_some_and(|age| age >= Duration::from_secs(days * 86_400))
}

fn is_leftover(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(REMOVED.as_bytes()) else {
        return false;
    };
    let Some(rest) = std::str::from_utf8(rest).ok() else {
        return false;
    };
    rest.rsplit_once('-').is_some_and(|(build, nonce)| {
        Date::of_folder(build).is_some()
            && nonce.len() == 16
            && nonce.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn remove_builds(
    mirror: &Mirror,
    managed: &Managed,
    settings: &Settings,
    today: Date,
    lock: &Lock,
    removed: &mut Vec<PathBuf>,
) -> io::Result<()> {
    // Looked at again: before the lock was taken a build may have been finished.
    let Some(subarch) = scan_one(mirror, managed.clone()) else {
        return Ok(());
    };
    let folder = mirror.inside(&managed.place.relative())?;
    for entry in fs::read_dir(&subarch.path)? {
        let name = entry?.file_name();
        if is_leftover(name.as_bytes()) || is_abandoned(&subarch.path, &name, settings) {
            remove(&folder, &name)?;
        }
    }
    // Its lock is ours: nobody else works on it.
    let steps = plan(&subarch, settings, today, || LockState::Free);
    for step in steps.into_iter().filter(|step| step.goes) {
        if !lock.is_mine() {
            return Err(io::Error::other("the lock was taken by somebody else"));
        }
        let Some(name) = step.path.file_name() else {
            continue;
        };
        let mut hidden = OsString::from(REMOVED);
        hidden.push(name);
        hidden.push(format!("-{:016x}", random()?));
        rustix::fs::renameat(&folder, name, &folder, &hidden)?;
        remove(&folder, &hidden)?;
        removed.push(step.path);
    }
    Ok(())
}

/// Cleans the snapshots of one build.
pub fn clean_snapshots(mirror: &Mirror, build: &Name, settings: &Settings) -> Cleaned {
    let mut removed = Vec::new();
    let result = (|| {
        let steps = plan_snapshots(mirror, build, settings);
        if !steps.iter().any(|step| step.goes) {
            return Ok(());
        }
        let folder = mirror.inside(&Path::new(build.as_str()).join(SNAPSHOTS))?;
        for step in steps.into_iter().filter(|step| step.goes) {
            let Some(name) = step.path.file_name() else {
                continue;
            };
            match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
                Ok(()) => removed.push(step.path),
                Err(rustix::io::Errno::NOENT) => {}
                Err(e) => return Err(io::Error::from(e)),
            }
        }
        Ok(())
    })();
    match result {
        Ok(()) => Cleaned::Removed(removed),
        Err(error) => Cleaned::Failed {
            removed,
            detail: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
