//! Publishing: archives of trees, with hashes, signatures, logs and provenance, come into a mirror at once.
//!
//! All of a build is assembled in a hidden folder beside the others, `.incoming-VERSION-NONCE`, and made durable; then
//! an [`Intent`] is written, and the folder gets its name. Readers see all of a build or none of it. A run that was
//! killed before the intent left a hidden folder, of which the next try takes what was finished; one that was
//! killed after it is finished by the next run that takes the lock of the subarch. See doc/repository.md.

mod again;
mod archive;
mod failures;
mod gather;
mod intent;
mod names;
mod provenance;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use mstore_store::{Cancel, Store, StoreError, TreeHash};

use super::compress::Method;
use super::control::{Control, FailNote};
use super::gpg::{Gpg, GpgError};
use super::hash::Digests;
use super::layout::{BUILD_INFO, HASH, Mirror, SIGNATURE, archive_stem, inside};
use super::lock::{Lock, LockError, Machine};
use super::name::Place;
use super::owner::Ownership;
use super::quote::shown;
use super::whole;
use crate::share::SecretKey;

pub use again::{again, conclude};
pub use archive::{ArchiveError, MADE, make};
pub use failures::ebuild_failures;
pub use gather::{GatherError, Gathered, far_link, gather, keys_to_build, names_of, place};
pub use intent::{INCOMING, INTENT, Intent, carry_out, finish, is_incoming, is_stage3};
pub use names::{ArchiveNames, archive_names, is_plain};
pub use provenance::{MAX_PROVENANCE, Origin, PROVENANCE, Provenance};

/// In a build folder: the targets of the run.
pub const TARGETS: &str = ".targets";
/// In a build folder: the logs.
pub const LOG: &str = "log";
/// In a build folder, below [`LOG`]: ebuilds that failed.
pub const ERRORS: &str = "errors.json";
/// Keeps names of hidden folders apart from other hashes.
const CONTEXT: &str = "mstore 2026 repo incoming";

/// A target whose archive is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its full name.
    pub target: String,
    /// The names of its files.
    pub names: ArchiveNames,
    /// Whether links to it lie in `BUILD/TARGET/ARCH` too.
    pub far_link: Option<String>,
    /// What it is.
    pub tree: TreeHash,
    /// The derivation of its last step.
    pub derivation: String,
    /// The key of that.
    pub key: Option<String>,
}

/// A failure that ends a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunFailure {
    /// The key of the step that failed, where it is known.
    pub key: Option<String>,
    /// The target that it belongs to.
    pub target: String,
    /// Its log.
    pub log: PathBuf,
}

/// What is published at once: a build of a subarch.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Where it goes.
    pub place: Place,
    /// The build folder.
    pub version: String,
    /// What is in it.
    pub artifacts: Vec<Artifact>,
    /// The targets of the run, by their short names.
    pub targets: Vec<String>,
    /// The logs of each target, in the order of its steps: names of steps, and files.
    pub logs: BTreeMap<String, Vec<(String, PathBuf)>>,
    /// Texts about the build.
    pub info: BTreeMap<String, String>,
    /// How archives are compressed.
    pub method: Method,
    /// The failure that ended the run, or nothing after a success.
    pub failure: Option<RunFailure>,
    /// Whether the run goes on: then neither status nor fail count is written yet.
    pub goes_on: bool,
}

/// What a publication is made with.
#[derive(Clone, Copy)]
pub struct Press<'a> {
    /// The mirror.
    pub mirror: &'a Mirror,
    /// The store that has the trees.
    pub store: &'a Store,
    /// Owner, group and mode of what is written.
    pub ownership: &'a Ownership,
    /// Signs archives.
    pub gpg: Option<&'a Gpg>,
    /// Signs the provenance.
    pub key: Option<&'a SecretKey>,
    /// This machine.
    pub machine: &'a Machine,
    /// Whether archives that are there are made again.
    pub replace: bool,
    /// Ends it.
    pub cancel: &'a Cancel,
}

/// What became of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArchiveOutcome {
    /// It was written.
    Written(Digests),
    /// An earlier try had finished it.
    Resumed(Digests),
    /// One of that name was published before, and stays.
    Kept,
}

/// What was published.
#[derive(Clone, Debug)]
pub struct Published {
    /// The build folder, in the mirror.
    pub path: PathBuf,
    /// Archives and what became of them.
    pub archives: Vec<(String, ArchiveOutcome)>,
    /// Whether the build has a stage3.
    pub complete: bool,
    /// The fail count after a failure.
    pub failcount: Option<u64>,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// Somebody works on the subarch, or it cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The lock was taken by somebody else meanwhile.
    #[error(
        "the lock of {} was taken by somebody else meanwhile: nothing was published",
        shown(path)
    )]
    LockLost {
        /// The folder of the subarch.
        path: PathBuf,
    },
    /// A tree cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no signature.
    #[error(transparent)]
    Gpg(#[from] GpgError),
    /// Somebody ended it.
    #[error("interrupted")]
    Interrupted,
    /// The mirror cannot be written.
    #[error("cannot write {}: {source}", shown(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Makes the folder of a subarch with those above it, and takes its lock. `version`: what is going to be built.
pub fn lock(
    mirror: &Mirror,
    place: &Place,
    ownership: &Ownership,
    machine: &Machine,
    shared: bool,
    version: &str,
) -> Result<Lock, PublishError> {
    let path = mirror.path(place);
    let control = whole::folders(mirror.folder(), &place.relative(), ownership)
        .and_then(|_| Control::open_or_make(mirror, place, ownership.dirmode))
        .map_err(|source| PublishError::Io { path, source })?;
    Ok(Lock::take(control, machine, shared, version)?)
}

/// Publishes a build, or writes down its failure. The caller holds the lock of the subarch.
pub fn publish(
    press: &Press<'_>,
    lock: &Lock,
    publication: &Publication,
) -> Result<Published, PublishError> {
    let run = Run {
        press,
        lock,
        publication,
        path: press.mirror.path(&publication.place),
    };
    run.publish()
}

/// One publication under way.
struct Run<'a> {
    press: &'a Press<'a>,
    lock: &'a Lock,
    publication: &'a Publication,
    /// The folder of the subarch, for messages.
    path: PathBuf,
}

impl Run<'_> {
    fn io<T>(&self, name: &OsStr, result: io::Result<T>) -> Result<T, PublishError> {
        result.map_err(|source| PublishError::Io {
            path: self.path.join(name),
            source,
        })
    }

    fn publish(&self) -> Result<Published, PublishError> {
        let Press {
            mirror, ownership, ..
        } = *self.press;
        let Publication { place, version, .. } = self.publication;
        let control = self.lock.control();
        // What an earlier run left comes first: its build may be the one that is added to.
        self.io(
            OsStr::new(INTENT),
            finish(mirror, place, control, ownership),
        )?;
        let subarch = self.io(OsStr::new(""), mirror.inside(&place.relative()))?;
        let there = self.io(OsStr::new(version), names_there(&subarch, version))?;
        let incoming = self.incoming_name();
        self.io(&incoming, self.sweep(&subarch, &incoming))?;
        let folder = self.io(&incoming, whole::folder(&subarch, &incoming, ownership))?;
        self.io(&incoming, self.keep_archives(&folder))?;

        let mut intent = Intent::new(version);
        intent.incoming = Some(incoming.to_string_lossy().into_owned());
        intent.goes_on = self.publication.goes_on;
        let archives = self.archives(&folder, &incoming, &there, &mut intent)?;
        self.papers(&subarch, &folder, &incoming, &archives)?;
        let failcount = self.count_failure(&mut intent)?;
        self.io(&incoming, forget_notes(&folder))?;
        self.io(&incoming, whole::sync(&folder))?;
        if self.press.cancel.is_cancelled() {
            return Err(PublishError::Interrupted);
        }
        if !self.lock.is_mine() {
            return Err(PublishError::LockLost {
                path: self.path.clone(),
            });
        }
        self.io(OsStr::new(INTENT), intent.write(control))?;
        let done = carry_out(mirror, place, control, ownership, &intent);
        let done = self.io(OsStr::new(version), done)?;
        Ok(Published {
            path: self.path.join(version),
            archives,
            complete: done.complete,
            failcount,
        })
    }

    /// The hidden folder: the same for the same content, so that a try that was interrupted is found again.
    fn incoming_name(&self) -> OsString {
        let Publication {
            version, artifacts, ..
        } = self.publication;
        let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
        hasher.update(format!("{:?}\n", self.publication.method).as_bytes());
        for artifact in artifacts {
            let line = format!("{} {}\n", artifact.names.stem, artifact.tree);
            hasher.update(line.as_bytes());
        }
        let nonce = &hasher.finalize().to_hex()[..16];
        format!("{INCOMING}{version}-{nonce}").into()
    }

    /// Removes hidden folders of other publications that were interrupted: whoever made them held the lock that is
    /// ours now. Folders that are pushed to have a mark and stay.
    fn sweep(&self, subarch: &OwnedFd, mine: &OsStr) -> io::Result<()> {
        for name in whole::names(subarch)? {
            if is_incoming(&name) && name != mine && !is_pushed(subarch, &name) {
                whole::remove(subarch, &name)?;
            }
        }
        Ok(())
    }

    /// Leaves nothing of an earlier try but its archives, finished or not.
    fn keep_archives(&self, folder: &OwnedFd) -> io::Result<()> {
        for name in whole::names(folder)? {
            let bytes = name.as_bytes();
            let bytes = bytes
                .strip_prefix(archive::MADE.as_bytes())
                .unwrap_or(bytes);
            let stem = archive_stem(bytes);
            let artifacts = &self.publication.artifacts;
            if !artifacts
                .iter()
                .any(|a| stem == Some(a.names.stem.as_bytes()))
            {
                whole::remove(folder, &name)?;
            }
        }
        Ok(())
    }

    /// Makes the archives with their hash files and signatures, and says in the intent what points to them.
    fn archives(
        &self,
        folder: &OwnedFd,
        incoming: &OsStr,
        there: &[OsString],
        intent: &mut Intent,
    ) -> Result<Vec<(String, ArchiveOutcome)>, PublishError> {
        let Press {
            store,
            ownership,
            cancel,
            replace,
            ..
        } = *self.press;
        let mut all = Vec::new();
        for artifact in &self.publication.artifacts {
            let names = &artifact.names;
            let is_it =
                |name: &&OsString| archive_stem(name.as_bytes()) == Some(names.stem.as_bytes());
            let (archive, outcome) = match there.iter().find(is_it).filter(|_| !replace) {
                Some(name) => (name.to_string_lossy().into_owned(), ArchiveOutcome::Kept),
                None => {
                    let archive = format!("{}.tar{}", names.stem, self.publication.method.ending());
                    let name = OsStr::new(&archive);
                    let at = Path::new(incoming).join(name);
                    let method = self.publication.method;
                    let made = archive::make(
                        store,
                        artifact.tree,
                        folder,
                        name,
                        method,
                        ownership,
                        cancel,
                    )
                    .map_err(|e| self.archive_error(&at, e))?;
                    let lines = made.digests.lines();
                    let hash = with(name, HASH);
                    self.io(
                        &hash,
                        whole::write(folder, &hash, lines.as_bytes(), ownership),
                    )?;
                    self.sign(folder, name)?;
                    intent.hashes.insert(archive.clone(), lines);
                    let outcome = match made.resumed {
                        true => ArchiveOutcome::Resumed(made.digests),
                        false => ArchiveOutcome::Written(made.digests),
                    };
                    (archive, outcome)
                }
            };
            let far_link = artifact.far_link.as_deref();
            again::name(intent, &self.publication.place, names, far_link, &archive);
            all.push((archive, outcome));
        }
        Ok(all)
    }

    fn archive_error(&self, path: &Path, error: ArchiveError) -> PublishError {
        match error {
            ArchiveError::Store(error) => error.into(),
            ArchiveError::Interrupted => PublishError::Interrupted,
            ArchiveError::Io(source) => PublishError::Io {
                path: self.path.join(path),
                source,
            },
        }
    }

    fn sign(&self, folder: &OwnedFd, archive: &OsStr) -> Result<(), PublishError> {
        let Some(gpg) = self.press.gpg else {
            return Ok(());
        };
        let name = with(archive, SIGNATURE);
        let signature = gpg.sign(self.io(archive, whole::open(folder, archive))?)?;
        self.io(
            &name,
            whole::write(folder, &name, &signature, self.press.ownership),
        )
    }

    /// Everything that is not an archive.
    fn papers(
        &self,
        subarch: &OwnedFd,
        folder: &OwnedFd,
        incoming: &OsStr,
        archives: &[(String, ArchiveOutcome)],
    ) -> Result<(), PublishError> {
        let Publication {
            targets,
            info,
            logs,
            ..
        } = self.publication;
        let write = |folder: &OwnedFd, name: &str, content: &[u8]| {
            let at = Path::new(incoming).join(name);
            let written = whole::write(folder, OsStr::new(name), content, self.press.ownership);
            self.io(at.as_os_str(), written)
        };
        let lines: String = targets.iter().map(|target| format!("{target}\n")).collect();
        write(folder, TARGETS, lines.as_bytes())?;
        if !info.is_empty() {
            write(folder, BUILD_INFO, info_text(info).as_bytes())?;
        }
        if let Some(provenance) = self.provenance(subarch, archives) {
            write(folder, PROVENANCE, provenance.text().as_bytes())?;
        }
        if logs.is_empty() {
            return Ok(());
        }
        let made = whole::folder(folder, OsStr::new(LOG), self.press.ownership);
        let log_folder = self.io(OsStr::new(LOG), made)?;
        for (target, steps) in logs.iter().filter(|(target, _)| is_plain(target)) {
            let name = OsString::from(format!("{target}.txt"));
            self.io(&name, self.log(&log_folder, &name, steps))?;
        }
        let failed = self
            .publication
            .failure
            .as_ref()
            .map(|failure| &failure.log);
        let found = failed.and_then(|log| File::open(log).ok());
        let found = found.and_then(|log| failures::ebuild_failures(BufReader::new(log)).ok());
        if let Some(found) = found.filter(|found| !found.is_empty()) {
            write(&log_folder, ERRORS, indented(&found).as_bytes())?;
        }
        self.io(OsStr::new(LOG), whole::sync(&log_folder))
    }

    /// Puts the logs of the steps of a target into one file.
    fn log(&self, folder: &OwnedFd, name: &OsStr, steps: &[(String, PathBuf)]) -> io::Result<()> {
        whole::remove(folder, name)?;
        let mut out = whole::create(folder, name)?;
        for (step, log) in steps {
            let mut file = match File::open(log) {
                Ok(file) => file,
                // Logs may be collected at any time.
                Err(_) => continue,
            };
            writeln!(out, "==== {step}")?;
            io::copy(&mut file, &mut out)?;
        }
        out.sync_all()?;
        self.press.ownership.give(folder, Path::new(name))
    }

    /// Where archives come from: what is known of those that stay, and of the new ones.
    fn provenance(
        &self,
        subarch: &OwnedFd,
        archives: &[(String, ArchiveOutcome)],
    ) -> Option<Provenance> {
        let Publication { place, version, .. } = self.publication;
        let before = inside(subarch, Path::new(version)).ok().and_then(|folder| {
            let text = whole::read(&folder, OsStr::new(PROVENANCE), MAX_PROVENANCE).ok()??;
            Provenance::parse(&text).filter(|read| read.is_of(place, version))
        });
        let mut provenance = before.unwrap_or_else(|| Provenance::new(place, version));
        let mut changed = false;
        for ((archive, outcome), artifact) in archives.iter().zip(&self.publication.artifacts) {
            let (ArchiveOutcome::Written(digests) | ArchiveOutcome::Resumed(digests)) = outcome
            else {
                continue;
            };
            changed = true;
            let lines = digests.lines();
            let digest = |line: &str| {
                line.split_once(' ')
                    .map(|(a, b)| (a.to_owned(), b.to_owned()))
            };
            let origin = Origin {
                target: artifact.target.clone(),
                derivation: artifact.derivation.clone(),
                key: artifact.key.clone(),
                tree: artifact.tree.to_string(),
                host: self.press.machine.host().to_owned(),
                bytes: digests.bytes,
                digests: lines.lines().filter_map(digest).collect(),
            };
            provenance.archives.insert(archive.clone(), origin);
        }
        if !changed {
            return None;
        }
        provenance.signatures.clear();
        if let Some(key) = self.press.key {
            provenance.sign(key);
        }
        Some(provenance)
    }

    /// Says in the intent that the run failed, and gives the new count.
    fn count_failure(&self, intent: &mut Intent) -> Result<Option<u64>, PublishError> {
        let Some(failure) = &self.publication.failure else {
            return Ok(None);
        };
        let count = self.io(OsStr::new(""), self.lock.control().failcount())?;
        let count = count.value().saturating_add(1);
        let version = &self.publication.version;
        intent.failure = Some(FailNote {
            count,
            key: failure.key.clone(),
            date: version.clone(),
            host: self.press.machine.host().to_owned(),
            log: format!("{version}/{LOG}/{}.txt", failure.target),
        });
        Ok(Some(count))
    }
}

/// In a hidden folder: it is pushed to from elsewhere.
pub const PUSHED: &str = ".pushed";

/// Whether a hidden folder is pushed to from elsewhere.
pub fn is_pushed(subarch: &OwnedFd, name: &OsStr) -> bool {
    rustix::fs::statat(
        subarch,
        Path::new(name).join(PUSHED),
        rustix::fs::AtFlags::empty(),
    )
    .is_ok()
}

fn with(name: &OsStr, end: &str) -> OsString {
    let mut name = name.to_owned();
    name.push(end);
    name
}

/// The names in a build folder; none if it is not there.
fn names_there(subarch: &OwnedFd, version: &str) -> io::Result<Vec<OsString>> {
    match inside(subarch, Path::new(version)) {
        Ok(folder) => whole::names(&folder),
        Err(e) if super::small::is_absent(&e) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Removes the notes of finished archives: nothing but what is published stays.
fn forget_notes(folder: &OwnedFd) -> io::Result<()> {
    for name in whole::names(folder)? {
        if name.as_bytes().starts_with(archive::MADE.as_bytes()) {
            whole::remove(folder, &name)?;
        }
    }
    Ok(())
}

/// The text of `build-info.json`: sorted, with an indent of four, as it always was.
fn info_text(info: &BTreeMap<String, String>) -> String {
    indented(info)
}

/// JSON with an indent of four.
pub fn indented(value: &impl serde::Serialize) -> String {
    let mut text = Vec::new();
    let format = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut writer = serde_json::Serializer::with_formatter(&mut text, format);
    // Cannot fail: keys are text, and the writer is memory.
    let _ = value.serialize(&mut writer);
    String::from_utf8(text).unwrap_or_default()
}

/// The short names of targets that a run has, without those that are no archives of a build.
pub fn short_names<'a>(targets: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let named = targets.into_iter().filter(|target| *target != "snapshot");
    named
        .filter(|target| seen.insert(*target))
        .map(str::to_owned)
        .collect()
}
