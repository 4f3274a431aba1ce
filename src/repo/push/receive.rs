//! The end that takes builds, and publishes them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{Answer, Listed, Manifest, digest, hear, parts, say};
use crate::repo::control::Control;
use crate::repo::layout::{HASH, Mirror, archive_stem, inside};
use crate::repo::lock::{Lock, LockError, Machine};
use crate::repo::name::Place;
use crate::repo::owner::Ownership;
use crate::repo::publish::{
    INCOMING, Intent, MAX_PROVENANCE, PROVENANCE, PUSHED, Provenance, PublishError, carry_out,
    finish, lock,
};
use crate::repo::whole;
use crate::share::Trust;

/// In a hidden folder: the beginning of a file that is not whole yet, named by the digest of all of it.
const PART: &str = ".part-";
/// How long the lock of a subarch is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often it is tried meanwhile.
const PAUSE: Duration = Duration::from_millis(200);
/// The largest hash file that is read, in bytes.
const MAX_HASH: u64 = 4096;

/// What takes builds.
pub struct Receiver<'a> {
    /// The mirror.
    pub mirror: &'a Mirror,
    /// Owner, group and mode of what is written.
    pub ownership: &'a Ownership,
    /// This machine.
    pub machine: &'a Machine,
    /// Whether locks are those of a mirror that is shared with the old tool.
    pub shared: bool,
    /// Whose builds are taken; everybody's where no key is trusted.
    pub trust: Option<&'a Trust>,
    /// Whether a subarch is looked after here.
    pub takes: &'a dyn Fn(&Place) -> bool,
}

/// Takes builds over two pipes until the other end has no more.
pub fn receive(
    receiver: &Receiver<'_>,
    from: &mut dyn BufRead,
    to: &mut dyn Write,
) -> io::Result<()> {
    while let Some(manifest) = hear::<Manifest>(from)? {
        let answer = match manifest.fault() {
            Some(fault) => Answer::Refused(fault.to_owned()),
            None => match manifest.place() {
                Some(place) if (receiver.takes)(&place) => {
                    let build = Build {
                        receiver,
                        manifest: &manifest,
                        place,
                    };
                    match build.take(from, to) {
                        Ok(answer) => answer,
                        Err(Stop::Refused(why)) => Answer::Refused(why),
                        Err(Stop::Connection(error)) => return Err(error),
                    }
                }
                _ => Answer::Refused("the subarch is not managed here".to_owned()),
            },
        };
        say(to, &answer)?;
    }
    Ok(())
}

enum Stop {
    Refused(String),
    Connection(io::Error),
}

/// An error here is told to the other end: the connection itself is well.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Stop::Refused(error.to_string())
    }
}

impl From<PublishError> for Stop {
    fn from(error: PublishError) -> Self {
        Stop::Refused(error.to_string())
    }
}

/// A build that is being taken.
struct Build<'a> {
    receiver: &'a Receiver<'a>,
    manifest: &'a Manifest,
    place: Place,
}

impl Build<'_> {
    fn take(&self, from: &mut dyn BufRead, to: &mut dyn Write) -> Result<Answer, Stop> {
        let Receiver {
            mirror, ownership, ..
        } = *self.receiver;
        let manifest = self.manifest;
        let subarch = whole::folders(mirror.folder(), &self.place.relative(), ownership)?;
        if self.is_there(&subarch)? {
            self.finish_left()?;
            return Ok(Answer::There);
        }
        let incoming = OsString::from(format!(
            "{INCOMING}{}-{}",
            manifest.version,
            manifest.nonce()
        ));
        let folder = whole::folder(&subarch, &incoming, ownership)?;
        // Whoever else pushes the same build waits for another day.
        let _mine = claim(&folder)?;
        if whole::kind(&folder, OsStr::new(PUSHED))?.is_none() {
            whole::write(&folder, OsStr::new(PUSHED), b"", ownership)?;
        }
        let wanted = self.wanted(&folder)?;
        say(to, &Answer::Want(wanted.clone())).map_err(Stop::Connection)?;
        let mut damaged = BTreeSet::new();
        for (at, offset) in wanted {
            let listed = &manifest.files[at];
            if !self.file(&folder, listed, offset, from)? {
                damaged.insert(listed.path.as_str());
            }
        }
        if let Some(path) = damaged.first() {
            return Err(Stop::Refused(format!("{path} came damaged: push it again")));
        }
        self.check(&folder)?;
        whole::sync(&folder)?;
        let lock = self.lock()?;
        finish(mirror, &self.place, lock.control(), ownership)?;
        // While nobody else could publish: another one may have been faster.
        if self.is_there(&subarch)? {
            whole::remove(&subarch, &incoming)?;
            return Ok(Answer::There);
        }
        whole::remove(&folder, OsStr::new(PUSHED))?;
        self.publish(&lock, &incoming)?;
        Ok(Answer::Published)
    }

    /// Whether every archive of the build is published here. One of the same name with another content is refused:
    /// what people may have downloaded does not change.
    fn is_there(&self, subarch: &OwnedFd) -> Result<bool, Stop> {
        let folder = match inside(subarch, Path::new(&self.manifest.version)) {
            Ok(folder) => folder,
            Err(e) if crate::repo::small::is_absent(&e) => return Ok(false),
            Err(e) => return Err(e.into()),
        };
        let names = whole::names(&folder)?;
        let mut all = true;
        for listed in self.archives() {
            let stem = archive_stem(listed.path.as_bytes());
            let Some(name) = names
                .iter()
                .find(|name| archive_stem(name.as_bytes()) == stem)
            else {
                all = false;
                continue;
            };
            let hash = OsString::from(format!("{}{HASH}", listed.path));
            let lines = whole::read(&folder, &hash, MAX_HASH)
                .ok()
                .flatten()
                .unwrap_or_default();
            let same = name.as_bytes() == listed.path.as_bytes()
                && match has_digest(&lines, &listed.blake3) {
                    Some(same) => same,
                    None => digest(whole::open(&folder, name)?)? == listed.blake3,
                };
            if !same {
                let path = Path::new(&self.manifest.version).join(name);
                let path = crate::repo::quote::shown(self.place.relative().join(path));
                return Err(Stop::Refused(format!(
                    "{path} is there with another content"
                )));
            }
        }
        Ok(all)
    }

    fn archives(&self) -> impl Iterator<Item = &Listed> {
        let files = self.manifest.files.iter();
        files.filter(|file| archive_stem(file.path.as_bytes()).is_some())
    }

    /// Finishes what a killed push or publication left in this subarch: the archives of the very build that is
    /// asked for may be there, and nothing tell of them yet.
    fn finish_left(&self) -> Result<(), Stop> {
        let Receiver {
            mirror, ownership, ..
        } = *self.receiver;
        let left = match Control::open(mirror, &self.place)? {
            Some(control) => Intent::read(&control)?,
            None => None,
        };
        if left.is_some() {
            let lock = self.lock()?;
            finish(mirror, &self.place, lock.control(), ownership)?;
        }
        Ok(())
    }

    /// What is not here yet, and from which byte on.
    fn wanted(&self, folder: &OwnedFd) -> Result<Vec<(usize, u64)>, Stop> {
        let mut wanted = Vec::new();
        for (at, listed) in self.manifest.files.iter().enumerate() {
            let (above, name) = parts(&listed.path);
            let whole_one = match inside(folder, above) {
                Ok(above) => whole::open(&above, OsStr::new(name)).ok(),
                Err(_) => None,
            };
            // It got its name when it was verified.
            let size = |file: File| file.metadata().map(|m| m.len()).ok();
            if whole_one.and_then(size) == Some(listed.bytes) {
                continue;
            }
            let part = whole::open(folder, &part(listed))
                .ok()
                .and_then(size)
                .unwrap_or(0);
            wanted.push((at, if part <= listed.bytes { part } else { 0 }));
        }
        Ok(wanted)
    }

    /// Takes the bytes of a file, verifies all of it, and gives it its name. Tells whether it is what was announced.
    fn file(
        &self,
        folder: &OwnedFd,
        listed: &Listed,
        offset: u64,
        from: &mut dyn BufRead,
    ) -> Result<bool, Stop> {
        let ownership = self.receiver.ownership;
        let name = part(listed);
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(whole::FILE_MODE);
        let mut file =
            File::from(rustix::fs::openat(folder, &name, flags, mode).map_err(io::Error::from)?);
        rustix::fs::fchmod(&file, mode).map_err(io::Error::from)?;
        file.set_len(offset)?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
        copy(from, &mut file, listed.bytes - offset)?;
        file.sync_all()?;
        io::Seek::rewind(&mut file)?;
        if digest(&file)? != listed.blake3 {
            whole::remove(folder, &name)?;
            return Ok(false);
        }
        let (above, last) = parts(&listed.path);
        let above = whole::folders(folder, above, ownership)?;
        ownership.give(folder, Path::new(&name))?;
        rustix::fs::renameat(folder, &name, &above, last).map_err(io::Error::from)?;
        Ok(true)
    }

    /// Removes what is not of the build, and looks who vouches for it.
    fn check(&self, folder: &OwnedFd) -> Result<(), Stop> {
        let tops: BTreeSet<&OsStr> = self
            .manifest
            .files
            .iter()
            .map(|file| OsStr::new(file.path.split('/').next().unwrap_or_default()))
            .collect();
        for name in whole::names(folder)? {
            if name != PUSHED && !tops.contains(name.as_os_str()) {
                whole::remove(folder, &name)?;
            }
        }
        let Some(trust) = self.receiver.trust else {
            return Ok(());
        };
        let text = whole::read(folder, OsStr::new(PROVENANCE), MAX_PROVENANCE)?;
        let refuse = |why: &str| Stop::Refused(format!("{PROVENANCE} {why}"));
        let provenance = text.and_then(|text| Provenance::parse(&text));
        let provenance = provenance
            .filter(|p| p.is_of(&self.place, &self.manifest.version))
            .ok_or_else(|| refuse("is not there, or is not of this build"))?;
        provenance.check(trust).map_err(|why| refuse(&why))?;
        for listed in self.archives() {
            let origin = provenance.archives.get(&listed.path);
            let known = origin.and_then(|origin| origin.digests.get("blake3"));
            if known != Some(&listed.blake3) {
                return Err(refuse(&format!("does not vouch for {}", listed.path)));
            }
        }
        Ok(())
    }

    /// Takes the lock of the subarch; whoever has it is waited for a while.
    fn lock(&self) -> Result<Lock, Stop> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Receiver {
                mirror,
                ownership,
                machine,
                shared,
                ..
            } = *self.receiver;
            let version = &self.manifest.version;
            match lock(mirror, &self.place, ownership, machine, shared, version) {
                Err(PublishError::Lock(LockError::Held { .. })) if Instant::now() < until => {
                    std::thread::sleep(PAUSE);
                }
                other => return Ok(other?),
            }
        }
    }

    fn publish(&self, lock: &Lock, incoming: &OsStr) -> Result<(), Stop> {
        let Receiver {
            mirror, ownership, ..
        } = *self.receiver;
        let control: &Control = lock.control();
        let mut intent = Intent::new(&self.manifest.version);
        intent.incoming = Some(incoming.to_string_lossy().into_owned());
        let archives: BTreeSet<&str> = self.archives().map(|file| file.path.as_str()).collect();
        let known = |(_, archive): &(&String, &String)| archives.contains(archive.as_str());
        let links = self.manifest.links.iter().filter(known);
        intent.links = links
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect::<BTreeMap<_, _>>();
        intent.versions = self.manifest.versions.clone();
        if !intent.is_sound() {
            return Err(Stop::Refused(
                "its links or versions are not those of a build".to_owned(),
            ));
        }
        if !lock.is_mine() {
            return Err(Stop::Refused(
                "the lock was taken by somebody else meanwhile".to_owned(),
            ));
        }
        intent.write(control)?;
        carry_out(mirror, &self.place, control, ownership, &intent)?;
        Ok(())
    }
}

/// The hidden name of a file that is not whole yet.
fn part(listed: &Listed) -> OsString {
    OsString::from(format!("{PART}{}", &listed.blake3[..32]))
}

/// Whether the lines of a hash file have a digest of blake3, and whether it is this one.
fn has_digest(lines: &[u8], blake3: &str) -> Option<bool> {
    let text = std::str::from_utf8(lines).ok()?;
    let found = text.lines().find_map(|line| line.strip_prefix("blake3 "))?;
    Some(found.trim_end() == blake3)
}

/// Keeps other pushes away from a hidden folder until it is closed.
fn claim(folder: &OwnedFd) -> Result<OwnedFd, Stop> {
    let own = inside(folder, Path::new(""))?;
    match rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive) {
        Ok(())
        | Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::BADF | rustix::io::Errno::NOLCK) => {
            Ok(own)
        }
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Stop::Refused(
            "somebody else pushes the same build now".to_owned(),
        )),
        Err(e) => Err(io::Error::from(e).into()),
    }
}

/// Copies bytes from the other end. What came is written also where the connection then breaks.
fn copy(from: &mut dyn BufRead, to: &mut File, mut left: u64) -> Result<(), Stop> {
    let mut buffer = vec![0; 256 << 10];
    // After an error of the disk the rest is read all the same, so that it can be told.
    let mut failed = None;
    while left > 0 {
        let most = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        match from.read(&mut buffer[..most]) {
            Ok(0) => {
                return Err(Stop::Connection(io::Error::other(
                    "the other end broke off",
                )));
            }
            Ok(n) => {
                if failed.is_none() {
                    failed = to.write_all(&buffer[..n]).err();
                }
                left -= n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Stop::Connection(e)),
        }
    }
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(()),
    }
}
