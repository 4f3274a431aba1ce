//! Hash files beside archives: made where they lack or are older, removed where the archive is gone, and links to
//! them beside links to archives.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps};

use super::gpg::Gpg;
use super::hash::{Digests, digests, holds_hash};
use super::layout::{HASH, Mirror, SIGNATURE, archive_stem, compressed_stem, inside};
use super::owner::Ownership;
use super::small;
use super::whole::hidden;

/// The largest hash file that is read, in bytes.
const MAX_HASH: u64 = 4096;
/// Folders that are deeper in a mirror than this are not looked into.
const MAX_DEPTH: usize = 64;

/// What was done.
#[derive(Debug, Default)]
pub struct Digested {
    /// Archives that were hashed.
    pub hashed: Vec<(PathBuf, Digests)>,
    /// Files and links that were removed.
    pub removed: Vec<PathBuf>,
    /// Links that were made or turned.
    pub linked: Vec<PathBuf>,
    /// Archives that were signed.
    pub signed: Vec<PathBuf>,
    /// How many archives had their hash already.
    pub unchanged: usize,
    /// What could not be done, and why.
    pub failed: Vec<(PathBuf, String)>,
}

impl Digested {
    /// Notes what could not be done. What somebody removed meanwhile is nothing to be done.
    fn fail(&mut self, path: PathBuf, error: &io::Error) {
        if !small::is_absent(error) {
            self.failed.push((path, error.to_string()));
        }
    }
}

/// A folder with something to do in it.
struct Folder {
    /// In the mirror.
    path: PathBuf,
    archives: Vec<OsString>,
    links: Vec<OsString>,
    companions: Vec<OsString>,
}

/// Makes, removes and links hash files in the whole mirror, with so many threads; and signatures, where there is a
/// key.
pub fn digestgen(
    mirror: &Mirror,
    ownership: &Ownership,
    threads: usize,
    gpg: Option<&Gpg>,
) -> Digested {
    let mut done = Digested::default();
    let folders = walk(mirror, &mut done.failed);
    let mut waiting = Vec::new();
    for folder in &folders {
        match inside(mirror.folder(), &folder.path) {
            Err(e) => done.fail(folder.path.clone(), &e),
            Ok(open) => {
                for name in &folder.archives {
                    match wants_hash(&open, name) {
                        Ok(Some(size)) => waiting.push((size, &folder.path, name)),
                        Ok(None) => done.unchanged += 1,
                        Err(e) => done.fail(folder.path.join(name), &e),
                    }
                }
            }
        }
    }
    hash_all(mirror, ownership, waiting, threads, &mut done);
    if let Some(gpg) = gpg {
        for folder in &folders {
            sign_all(mirror, ownership, gpg, folder, &mut done);
        }
    }
    // Links come after what they lead to.
    for folder in &folders {
        match inside(mirror.folder(), &folder.path) {
            Err(e) => done.fail(folder.path.clone(), &e),
            Ok(open) => tidy(&open, folder, ownership, &mut done),
        }
    }
    done.removed.sort();
    done
}

/// Finds archives, links to archives, and files that belong to one. Folders that begin with a dot are not entered,
/// links to folders not followed.
fn walk(mirror: &Mirror, failed: &mut Vec<(PathBuf, String)>) -> Vec<Folder> {
    let mut found = Vec::new();
    let mut pending = vec![(PathBuf::new(), 0)];
    while let Some((path, depth)) = pending.pop() {
        let entries = inside(mirror.folder(), &path).and_then(|open| Ok(Dir::new(open)?));
        let entries = match entries {
            Ok(entries) => entries,
            // A cleaner was faster.
            Err(e) if small::is_absent(&e) && !path.as_os_str().is_empty() => continue,
            Err(e) => {
                failed.push((path, e.to_string()));
                continue;
            }
        };
        let mut folder = Folder {
            path,
            archives: Vec::new(),
            links: Vec::new(),
            companions: Vec::new(),
        };
        let mut below = Vec::new();
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(e) => {
                    failed.push((folder.path.clone(), e.to_string()));
                    break;
                }
            };
            let name = entry.file_name().to_bytes();
            if name.starts_with(b".") {
                continue;
            }
            let owned = || OsString::from_vec(name.to_vec());
            match entry.file_type() {
                FileType::Directory => below.push(owned()),
                FileType::RegularFile if compressed_stem(name).is_some() => {
                    folder.archives.push(owned())
                }
                FileType::Symlink if compressed_stem(name).is_some() => folder.links.push(owned()),
                FileType::RegularFile | FileType::Symlink if owner_of(name).is_some() => {
                    folder.companions.push(owned());
                }
                _ => {}
            }
        }
        if depth < MAX_DEPTH {
            pending.extend(below.iter().map(|name| (folder.path.join(name), depth + 1)));
        } else if !below.is_empty() {
            failed.push((
                folder.path.clone(),
                format!("more than {MAX_DEPTH} folders deep"),
            ));
        }
        if !folder.archives.is_empty() || !folder.links.is_empty() || !folder.companions.is_empty()
        {
            folder.archives.sort();
            folder.links.sort();
            folder.companions.sort();
            found.push(folder);
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// The archive that a hash or signature belongs to, by its name.
fn owner_of(name: &[u8]) -> Option<&[u8]> {
    let archive = [HASH, SIGNATURE]
        .iter()
        .find_map(|end| name.strip_suffix(end.as_bytes()))?;
    archive_stem(archive).map(|_| archive)
}

fn with(name: &OsStr, end: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(end);
    name
}

fn modified(stat: &Stat) -> (i64, i64) {
    (signed(stat.st_mtime), signed(stat.st_mtime_nsec))
}

/// A number of a time stamp, whichever type the machine has for it.
fn signed(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

/// Whether an archive has to be hashed: gives its size then.
fn wants_hash(folder: &OwnedFd, name: &OsStr) -> io::Result<Option<u64>> {
    let archive = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let size = archive.st_size.try_into().unwrap_or(0);
    let hash = with(name, HASH);
    let stat = match rustix::fs::statat(folder, &hash, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(rustix::io::Errno::NOENT) => return Ok(Some(size)),
        Err(e) => return Err(e.into()),
    };
    if !FileType::from_raw_mode(stat.st_mode).is_file() || modified(&archive) > modified(&stat) {
        return Ok(Some(size));
    }
    let text = small::content(&open(folder, &hash)?, MAX_HASH);
    match text.is_ok_and(|text| holds_hash(&text)) {
        true => Ok(None),
        false => Ok(Some(size)),
    }
}

/// Opens a file of a folder to read it; not through a link, and without waiting for anybody.
fn open(folder: &OwnedFd, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?.into())
}

/// Signs the archives of a folder that have no signature, or an older one.
fn sign_all(mirror: &Mirror, ownership: &Ownership, gpg: &Gpg, of: &Folder, done: &mut Digested) {
    for name in &of.archives {
        let signed = inside(mirror.folder(), &of.path)
            .and_then(|folder| sign_one(&folder, name, ownership, gpg));
        match signed {
            Ok(true) => done.signed.push(of.path.join(name)),
            Ok(false) => {}
            Err(e) => done.fail(of.path.join(name), &e),
        }
    }
}

fn sign_one(folder: &OwnedFd, name: &OsStr, ownership: &Ownership, gpg: &Gpg) -> io::Result<bool> {
    let archive = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let signature = with(name, SIGNATURE);
    match rustix::fs::statat(folder, &signature, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if modified(&there) >= modified(&archive) => return Ok(false),
        Ok(_) | Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    let made = gpg.sign(open(folder, name)?).map_err(io::Error::other)?;
    write(folder, &signature, &made, ownership, modified(&archive))?;
    Ok(true)
}

/// Hashes archives, the largest first, so that the end does not wait for one.
fn hash_all(
    mirror: &Mirror,
    ownership: &Ownership,
    mut waiting: Vec<(u64, &PathBuf, &OsString)>,
    threads: usize,
    done: &mut Digested,
) {
    waiting.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (a.1, a.2).cmp(&(b.1, b.2))));
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some((_, path, name)) = waiting.get(at) else {
                break;
            };
            // Nobody else has work any more.
            let split = threads > 1 && waiting.len() - at < threads;
            let result = hash_one(mirror, ownership, path, name, split);
            if let Ok(mut results) = results.lock() {
                results.push((path.join(name), result));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads.min(waiting.len()) {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().unwrap_or_default();
    results.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, result) in results {
        match result {
            Ok(digests) => done.hashed.push((path, digests)),
            Err(e) => done.fail(path, &e),
        }
    }
}

fn hash_one(
    mirror: &Mirror,
    ownership: &Ownership,
    path: &Path,
    name: &OsStr,
    split: bool,
) -> io::Result<Digests> {
    let folder = inside(mirror.folder(), path)?;
    let mut file = open(&folder, name)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a file any more"));
    }
    let before = rustix::fs::fstat(&file)?;
    let digests = digests(&mut file, split)?;
    let after = rustix::fs::fstat(&file)?;
    if modified(&before) != modified(&after) || after.st_size != before.st_size {
        return Err(io::Error::other("it was changed while it was read"));
    }
    // A hash that is older than its archive would be made again each time.
    write(
        &folder,
        &with(name, HASH),
        digests.lines().as_bytes(),
        ownership,
        modified(&after),
    )?;
    Ok(digests)
}

/// Writes a whole file, with a time stamp that is not before `not_before`.
fn write(
    folder: &OwnedFd,
    name: &OsStr,
    content: &[u8],
    ownership: &Ownership,
    not_before: (i64, i64),
) -> io::Result<()> {
    let hidden = hidden(name)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, &hidden, flags, Mode::from_raw_mode(0o644))?;
    let result = (|| {
        let mut file = File::from(file);
        file.write_all(content)?;
        let stat = rustix::fs::fstat(&file)?;
        if modified(&stat) < not_before {
            let time = Timespec {
                tv_sec: not_before.0,
                tv_nsec: not_before.1,
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            rustix::fs::futimens(&file, &times)?;
        }
        ownership.give(folder, Path::new(&hidden))?;
        rustix::fs::renameat(folder, &hidden, folder, name)?;
        Ok(())
    })();
    if result.is_err() {
        let _ = rustix::fs::unlinkat(folder, &hidden, AtFlags::empty());
    }
    result
}

/// Removes what belongs to archives that are gone, and sees to links.
fn tidy(folder: &OwnedFd, of: &Folder, ownership: &Ownership, done: &mut Digested) {
    let mut dead = HashSet::new();
    for link in &of.links {
        let result = match is_dead(folder, link) {
            Ok(true) => {
                dead.insert(link.clone());
                remove(folder, of, link, done)
            }
            Ok(false) => follow(folder, of, link, ownership, done),
            Err(e) => Err(e),
        };
        if let Err(e) = result {
            done.fail(of.path.join(link), &e);
        }
    }
    for companion in &of.companions {
        let Some(archive) = owner_of(companion.as_bytes()).map(OsStr::from_bytes) else {
            continue;
        };
        let gone = matches!(
            rustix::fs::statat(folder, archive, AtFlags::SYMLINK_NOFOLLOW),
            Err(rustix::io::Errno::NOENT)
        );
        if (gone || dead.contains(archive))
            && let Err(e) = remove(folder, of, companion, done)
        {
            done.fail(of.path.join(companion), &e);
        }
    }
}

fn remove(folder: &OwnedFd, of: &Folder, name: &OsStr, done: &mut Digested) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) => done.removed.push(of.path.join(name)),
        Err(rustix::io::Errno::NOENT) => {}
        Err(e) => return Err(e.into()),
    }
    Ok(())
}

/// Whether a link leads nowhere.
fn is_dead(folder: &OwnedFd, link: &OsStr) -> io::Result<bool> {
    match rustix::fs::statat(folder, link, AtFlags::empty()) {
        Ok(_) => Ok(false),
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            Ok(true)
        }
        Err(e) => Err(e.into()),
    }
}

/// Beside a link to an archive: links to its hash and signature, as far as these are there.
fn follow(
    folder: &OwnedFd,
    of: &Folder,
    link: &OsStr,
    ownership: &Ownership,
    done: &mut Digested,
) -> io::Result<()> {
    let stat = rustix::fs::statat(folder, link, AtFlags::empty())?;
    if !FileType::from_raw_mode(stat.st_mode).is_file() {
        return Ok(());
    }
    let target = read_link(folder, link)?;
    for end in [HASH, SIGNATURE] {
        let (name, wanted) = (with(link, end), with(&target, end));
        let there = match rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(rustix::io::Errno::NOENT) => None,
            Err(e) => return Err(e.into()),
        };
        if is_dead(folder, &wanted)? {
            // Theirs is not there; a link that leads nowhere is no use.
            if there == Some(FileType::Symlink) && is_dead(folder, &name)? {
                remove(folder, of, &name, done)?;
            }
            continue;
        }
        if there == Some(FileType::Symlink) && read_link(folder, &name)? == wanted {
            continue;
        }
        let hidden = hidden(&name)?;
        rustix::fs::symlinkat(&wanted, folder, &hidden)?;
        let placed = ownership
            .give(folder, Path::new(&hidden))
            .and_then(|()| Ok(rustix::fs::renameat(folder, &hidden, folder, &name)?));
        if placed.is_err() {
            let _ = rustix::fs::unlinkat(folder, &hidden, AtFlags::empty());
        }
        placed?;
        done.linked.push(of.path.join(&name));
    }
    Ok(())
}

fn read_link(folder: &OwnedFd, link: &OsStr) -> io::Result<OsString> {
    let target = rustix::fs::readlinkat(folder, link, Vec::new())?;
    Ok(OsString::from_vec(target.into_bytes()))
}
