//! The last steps of a publication, written down before the first of them is taken, so that whoever comes after a
//! crash finishes them.
//!
//! Everything that is published lies complete and durable in a hidden folder before the intent is written. From then
//! on each step can be taken again: move the folder to its name (or its files into one that is there, stage3 last),
//! then `status`, version files, links, strategy, then the fail count; last the intent goes. Without an intent
//! nothing of a hidden folder counts. Its holder holds the lock of the subarch.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, RenameFlags};
use serde::{Deserialize, Serialize};

use super::names::is_plain;
use crate::repo::control::{Control, FailNote};
use crate::repo::date::Date;
use crate::repo::layout::{HASH, Mirror, SIGNATURE, STATUS, VERSION, archive_stem, inside};
use crate::repo::name::Place;
use crate::repo::owner::Ownership;
use crate::repo::whole;

/// In `.control`: what is left to do of a publication; ours.
pub const INTENT: &str = ".publishing.mstore";
/// The largest intent that is read, in bytes.
const MAX_INTENT: u64 = 4 << 20;
/// The largest file of strategy that is read, in bytes.
const MAX_WORD: u64 = 64;
/// Format number of an intent.
const FORMAT: u32 = 1;

/// What is left to do of a publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Intent {
    format: u32,
    /// The build folder.
    pub version: String,
    /// The hidden folder, if something is in it.
    pub incoming: Option<String>,
    /// Lines of hash files by the archives that they belong to.
    pub hashes: BTreeMap<String, String>,
    /// Links in the folder of the subarch: names, and archives in the build folder.
    pub links: BTreeMap<String, String>,
    /// Links elsewhere in the mirror to archives in the build folder, by their paths.
    pub far_links: BTreeMap<String, String>,
    /// Files below `.control/version` that name this version.
    pub versions: Vec<String>,
    /// The failure that ended the run, or nothing after a success.
    pub failure: Option<FailNote>,
    /// Whether the run goes on: then neither status nor fail count is written yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub goes_on: bool,
}

/// What came of the last steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Whether the build folder has a stage3.
    pub complete: bool,
}

impl Intent {
    /// An intent to publish a version, with nothing in it yet.
    pub fn new(version: &str) -> Intent {
        Intent {
            format: FORMAT,
            version: version.to_owned(),
            incoming: None,
            hashes: BTreeMap::new(),
            links: BTreeMap::new(),
            far_links: BTreeMap::new(),
            versions: Vec::new(),
            failure: None,
            goes_on: false,
        }
    }

    /// Writes it down, durable.
    pub fn write(&self, control: &Control) -> io::Result<()> {
        let bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        whole::write(
            control.folder(),
            OsStr::new(INTENT),
            &bytes,
            &Ownership::default(),
        )?;
        whole::sync(control.folder())
    }

    /// Reads the one that somebody left; nothing if there is none. What is not one that we write is an error.
    pub fn read(control: &Control) -> io::Result<Option<Intent>> {
        let Some(bytes) = whole::read(control.folder(), OsStr::new(INTENT), MAX_INTENT)? else {
            return Ok(None);
        };
        let intent: Intent = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
        match intent.is_sound() {
            true => Ok(Some(intent)),
            false => Err(io::Error::other("it is not an intent of this program")),
        }
    }

    /// Whether it names nothing but entries of the folders that it is about. Others may write into a mirror.
    pub fn is_sound(&self) -> bool {
        let path_is_plain = |path: &str, most: usize| {
            let parts: Vec<&str> = path.split('/').collect();
            parts.len() <= most && parts.iter().all(|part| is_plain(part))
        };
        let incoming = self.incoming.as_ref();
        self.format == FORMAT
            && Date::of_folder(&self.version).is_some()
            && incoming.is_none_or(|name| is_incoming(OsStr::new(name)))
            && self.hashes.keys().all(|name| is_plain(name))
            && self.links.iter().all(|(a, b)| is_plain(a) && is_plain(b))
            && self
                .far_links
                .iter()
                .all(|(a, b)| path_is_plain(a, 4) && is_plain(b))
            && self.versions.iter().all(|path| path_is_plain(path, 2))
    }
}

/// The beginning of hidden folders that builds are assembled in.
pub const INCOMING: &str = ".incoming-";

/// Whether a name is that of such a folder: a date and sixteen hexadecimal digits follow.
pub fn is_incoming(name: &OsStr) -> bool {
    let name = name.to_str().and_then(|name| name.strip_prefix(INCOMING));
    name.and_then(|rest| rest.rsplit_once('-'))
        .is_some_and(|(version, nonce)| {
            Date::of_folder(version).is_some()
                && nonce.len() == 16
                && nonce.bytes().all(|b| b.is_ascii_hexdigit())
        })
}

/// Finishes what somebody left of a publication of this subarch, if anything. The caller holds its lock. Gives the
/// version that was finished.
pub fn finish(
    mirror: &Mirror,
    place: &Place,
    control: &Control,
    ownership: &Ownership,
) -> io::Result<Option<String>> {
    let Some(intent) = Intent::read(control)? else {
        return Ok(None);
    };
    carry_out(mirror, place, control, ownership, &intent)?;
    Ok(Some(intent.version))
}

/// Takes the steps of an intent that was written down. Each may have been taken before.
pub fn carry_out(
    mirror: &Mirror,
    place: &Place,
    control: &Control,
    ownership: &Ownership,
    intent: &Intent,
) -> io::Result<Finished> {
    let subarch = mirror.inside(&place.relative())?;
    if let Some(incoming) = &intent.incoming {
        move_in(
            &subarch,
            OsStr::new(incoming),
            OsStr::new(&intent.version),
            ownership,
        )?;
    }
    whole::sync(&subarch)?;
    let folder = match inside(&subarch, Path::new(&intent.version)) {
        Ok(folder) => Some(folder),
        // Somebody removed it meanwhile; then nothing may tell of it.
        Err(e) if crate::repo::small::is_absent(&e) => None,
        Err(e) => return Err(e),
    };
    let mut complete = false;
    if let Some(folder) = &folder {
        let names = whole::names(folder)?;
        complete = names.iter().any(|name| is_stage3(name));
        see_to_hashes(folder, intent, &names, ownership)?;
        let status = match (&intent.failure, complete) {
            _ if intent.goes_on => None,
            (Some(_), _) => Some("fail"),
            (None, true) => Some("ok"),
            // A build that is not whole yet must not be taken for one.
            (None, false) => None,
        };
        if let Some(status) = status {
            whole::write(folder, OsStr::new(STATUS), status.as_bytes(), ownership)?;
            whole::sync(folder)?;
        }
        let has = |archive: &str| names.iter().any(|name| name.to_str() == Some(archive));
        name_newest(mirror, place, control, ownership, intent, &has)?;
    }
    match &intent.failure {
        Some(note) => control.fail(note)?,
        None if complete && !intent.goes_on => control.clear()?,
        None => {}
    }
    control.remove(INTENT)?;
    whole::sync(control.folder())?;
    Ok(Finished { complete })
}

/// Gives a hidden folder its name; where that is taken, moves its files into the folder that has it.
fn move_in(
    subarch: &OwnedFd,
    incoming: &OsStr,
    version: &OsStr,
    ownership: &Ownership,
) -> io::Result<()> {
    let from = match inside(subarch, Path::new(incoming)) {
        Ok(from) => from,
        Err(e) if crate::repo::small::is_absent(&e) => return Ok(()),
        Err(e) => return Err(e),
    };
    if whole::kind(subarch, version)?.is_none() {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(subarch, incoming, subarch, version, flags) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::EXIST) => {}
            // File systems that cannot do it without looking: nobody of ours is in between, we hold the lock.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
                rustix::fs::renameat(subarch, incoming, subarch, version)?;
                return Ok(());
            }
            Err(e) => return Err(e.into()),
        }
    }
    let to = whole::folder(subarch, version, ownership)?;
    move_all(&from, &to, ownership, 0)?;
    whole::sync(&to)?;
    Ok(rustix::fs::unlinkat(subarch, incoming, AtFlags::REMOVEDIR)?)
}

/// Moves everything that is in a folder into another one, the archives of stage3 last of all.
fn move_all(from: &OwnedFd, to: &OwnedFd, ownership: &Ownership, depth: u32) -> io::Result<()> {
    let mut names = whole::names(from)?;
    // Before an archive comes what belongs to it.
    names.sort_by_key(|name| match (is_stage3(name), is_archive(name)) {
        (true, _) => 2,
        (_, true) => 1,
        _ => 0,
    });
    for name in names {
        let is_folder = whole::kind(from, &name)? == Some(FileType::Directory);
        if is_folder && depth < 2 && whole::kind(to, &name)?.is_some() {
            let (inner, outer) = (
                inside(from, Path::new(&name))?,
                whole::folder(to, &name, ownership)?,
            );
            move_all(&inner, &outer, ownership, depth + 1)?;
            rustix::fs::unlinkat(from, &name, AtFlags::REMOVEDIR)?;
            continue;
        }
        rustix::fs::renameat(from, &name, to, &name)?;
    }
    Ok(())
}

fn is_archive(name: &OsStr) -> bool {
    archive_stem(name.as_bytes()).is_some()
}

/// Whether a name is that of an archive which makes a build complete.
pub fn is_stage3(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b"stage3") && is_archive(name)
}

/// Hash files that somebody took for leftovers, in the moment before their archives came, are written again.
fn see_to_hashes(
    folder: &OwnedFd,
    intent: &Intent,
    names: &[OsString],
    ownership: &Ownership,
) -> io::Result<()> {
    for (archive, lines) in &intent.hashes {
        let hash = OsString::from(format!("{archive}{HASH}"));
        let has = |name: &OsStr| names.iter().any(|n| n == name);
        if has(OsStr::new(archive)) && !has(&hash) {
            whole::write(folder, &hash, lines.as_bytes(), ownership)?;
        }
    }
    Ok(())
}

/// Version files, links and strategy: what tells others of the newest build. Nothing goes back to an older one.
fn name_newest(
    mirror: &Mirror,
    place: &Place,
    control: &Control,
    ownership: &Ownership,
    intent: &Intent,
    has: &dyn Fn(&str) -> bool,
) -> io::Result<()> {
    let subarch = mirror.inside(&place.relative())?;
    if !intent.versions.is_empty() {
        let versions = whole::folder(control.folder(), OsStr::new(VERSION), ownership)?;
        for path in &intent.versions {
            let path = Path::new(path);
            let (Some(above), Some(name)) = (path.parent(), path.file_name()) else {
                continue;
            };
            let folder = whole::folders(&versions, above, ownership)?;
            let named = whole::read(&folder, name, MAX_WORD).ok().flatten();
            let named = named.and_then(|text| version_of(&text));
            // A version that is named and gone is no reason to stay with it.
            let stays = named.filter(|named| exists(&subarch, named));
            if !is_newer(stays.as_deref(), &intent.version) {
                whole::write(
                    &folder,
                    name,
                    format!("{}\n", intent.version).as_bytes(),
                    ownership,
                )?;
            }
        }
    }
    for (name, archive) in intent.links.iter().filter(|(_, archive)| has(archive)) {
        let target = Path::new(&intent.version).join(archive);
        point(&subarch, name, &target, &intent.version, ownership)?;
    }
    for (path, archive) in intent.far_links.iter().filter(|(_, archive)| has(archive)) {
        let path = Path::new(path);
        let (Some(above), Some(name)) = (path.parent(), path.file_name().and_then(OsStr::to_str))
        else {
            continue;
        };
        let folder = whole::folders(mirror.folder(), above, ownership)?;
        let up: PathBuf = above.iter().map(|_| "..").collect();
        let target = up
            .join(place.relative())
            .join(&intent.version)
            .join(archive);
        point(&folder, name, &target, &intent.version, ownership)?;
    }
    if intent.versions.iter().any(|path| path == "stage3") && intent.failure.is_none() {
        become_local(control, ownership)?;
    }
    Ok(())
}

/// Turns a link to the newest archive, and those beside it to hash and signature.
fn point(
    folder: &OwnedFd,
    name: &str,
    target: &Path,
    version: &str,
    ownership: &Ownership,
) -> io::Result<()> {
    let there = rustix::fs::readlinkat(folder, name, Vec::new()).ok();
    if let Some(there) = there {
        let there = Path::new(OsStr::from_bytes(there.as_bytes()));
        let named = there
            .parent()
            .and_then(Path::file_name)
            .and_then(OsStr::to_str);
        let alive = rustix::fs::statat(folder, name, AtFlags::empty()).is_ok();
        if alive && is_newer(named, version) {
            return Ok(());
        }
    } else if whole::kind(folder, OsStr::new(name))?.is_some() {
        // A file that somebody put there is not ours to replace.
        return Ok(());
    }
    whole::link(folder, OsStr::new(name), target, ownership)?;
    for end in [HASH, SIGNATURE] {
        let (name, target) = (format!("{name}{end}"), with(target, end));
        let is_there = rustix::fs::statat(folder, &target, AtFlags::empty()).is_ok();
        let link = whole::kind(folder, OsStr::new(&name))?;
        if is_there {
            whole::link(folder, OsStr::new(&name), &target, ownership)?;
        } else if link == Some(FileType::Symlink) {
            rustix::fs::unlinkat(folder, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    path.into()
}

fn version_of(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    Date::of_folder(text).map(|_| text.to_owned())
}

fn exists(subarch: &OwnedFd, version: &str) -> bool {
    rustix::fs::statat(subarch, version, AtFlags::empty()).is_ok()
}

/// Whether a build folder is of a later day than another one.
fn is_newer(named: Option<&str>, version: &str) -> bool {
    match (named.and_then(Date::of_folder), Date::of_folder(version)) {
        (Some(named), Some(version)) => named > version,
        _ => false,
    }
}

/// After the first stage3 of its own a subarch does not start from another one any more.
fn become_local(control: &Control, ownership: &Ownership) -> io::Result<()> {
    let folder = match inside(control.folder(), Path::new("strategy")) {
        Ok(folder) => folder,
        Err(e) if crate::repo::small::is_absent(&e) => return Ok(()),
        Err(e) => return Err(e),
    };
    let build = OsStr::new("build");
    match whole::read(&folder, build, MAX_WORD)? {
        Some(text) if text.trim_ascii() == b"remote" => {
            whole::write(&folder, build, b"local\n", ownership)
        }
        _ => Ok(()),
    }
}
