//! The archive of the snapshot that builds read: `BUILD/snapshots/portage-VERSION.tar.xz` and the link to the newest.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mstore_store::TreeHash;

use super::RunError;
use super::begun::archive_in;
use crate::plan::{Elements, PinKind, PlanError, TargetId};
use crate::project::Project;
use crate::repo::compress::Method;
use crate::repo::layout::{HASH, SIGNATURE, SNAPSHOTS};
use crate::repo::lock::Holder;
use crate::repo::mark::Mark;
use crate::repo::name::Name;
use crate::repo::publish::{ArchiveError, GatherError, MADE, Press, PublishError, make, place};
use crate::repo::whole;

/// The name of snapshots, unless specifications say otherwise.
const USUAL: &str = "portage";
/// How long another run is waited for, as the old tool does.
const PATIENCE: Duration = Duration::from_secs(15 * 60);
/// How often it is looked whether the other run has ended.
const LOOK: Duration = Duration::from_millis(500);

/// The folder of the snapshots of a build, in a mirror.
pub(super) fn folder(build: &Name) -> PathBuf {
    Path::new(build.as_str()).join(SNAPSHOTS)
}

/// The names of a snapshot, without endings.
pub(super) struct Names {
    /// The archive.
    pub stem: String,
    /// The link to the newest.
    latest: String,
}

impl Names {
    /// Those that specifications give: `portage/name/full`, `portage/name`.
    pub fn new(elements: &Elements, id: &TargetId, version: &str) -> Result<Names, RunError> {
        let line = |element: &'static str| -> Result<Option<String>, RunError> {
            let text = elements.line(element).map_err(PlanError::from)?;
            let Some(name) = text.filter(|text| !text.is_empty()) else {
                return Ok(None);
            };
            match Name::new(name.as_str()) {
                Ok(_) => Ok(Some(name)),
                Err(error) => Err(RunError::Gather(GatherError::Name {
                    target: id.to_string(),
                    element,
                    name,
                    error,
                })),
            }
        };
        let name = line("portage/name")?.unwrap_or_else(|| USUAL.to_owned());
        Ok(Names {
            stem: line("portage/name/full")?.unwrap_or_else(|| format!("{name}-{version}")),
            latest: format!("{name}-latest"),
        })
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// It was written now: its size in bytes.
    Now(u64),
    /// It was there, or another run made it meanwhile.
    Before,
}

/// A snapshot to be published.
pub struct SnapshotArchive {
    names: Names,
    method: Method,
    folder: OwnedFd,
    path: PathBuf,
}

/// The tree of the snapshot that a target reads, as it is pinned.
pub fn pinned_snapshot(project: &Project, id: &TargetId) -> Result<TreeHash, RunError> {
    let recipe = project.distribution.recipe(id, &project.lock)?;
    let pin = recipe
        .snapshot
        .and_then(|snapshot| project.lock.get(PinKind::Snapshot, &snapshot.name));
    match pin {
        Some(pin) => Ok(pin.tree),
        None => Err(RunError::NoSnapshot {
            target: project.distribution.index().display_name(id),
        }),
    }
}

impl SnapshotArchive {
    /// The snapshot of a version that targets of this build read; `id` is one of them.
    pub fn new(
        press: &Press<'_>,
        project: &Project,
        id: &TargetId,
        version: &str,
    ) -> Result<SnapshotArchive, RunError> {
        let elements = project.distribution.elements(id, &project.lock)?;
        let names = Names::new(&elements, id, version)?;
        let element = "snapshot/compression";
        let text = elements.line(element).map_err(PlanError::from)?;
        let method = match text.filter(|text| !text.is_empty()) {
            None => Method::default(),
            Some(text) => Method::parse(&text).ok_or_else(|| GatherError::Compression {
                target: id.to_string(),
                element,
                text,
            })?,
        };
        let build = place(id)?.build;
        let path = press.mirror.snapshots(&build);
        let folder = whole::folders(press.mirror.folder(), &folder(&build), press.ownership)
            .map_err(RunError::io("make", &path))?;
        Ok(SnapshotArchive {
            names,
            method,
            folder,
            path,
        })
    }

    /// The path of the archive in the mirror.
    pub fn path(&self) -> Result<PathBuf, RunError> {
        Ok(self.path.join(match self.there()? {
            Some(name) => name,
            None => self.name(),
        }))
    }

    fn name(&self) -> String {
        format!("{}.tar{}", self.names.stem, self.method.ending())
    }

    /// The archive, if it is there.
    pub fn there(&self) -> Result<Option<String>, RunError> {
        archive_in(&self.folder, &self.names.stem).map_err(RunError::io("read", &self.path))
    }

    /// Writes the archive of a tree, unless it is there, and turns the link to it. While another run writes it, that
    /// is waited for; `waiting` is told once whom for. `tree` gives the tree, if it is needed.
    pub fn write(
        &self,
        press: &Press<'_>,
        waiting: &dyn Fn(&Path, &Holder),
        tree: &mut dyn FnMut() -> Result<TreeHash, RunError>,
    ) -> Result<Written, RunError> {
        let mark_name = format!(".{}_progress", self.name());
        let mark_path = self.path.join(&mark_name);
        let until = Instant::now() + PATIENCE;
        let mut told = false;
        let _mark = loop {
            if press.cancel.is_cancelled() {
                return Err(RunError::Interrupted);
            }
            let taken = Mark::take(&self.folder, &mark_name, press.machine)
                .map_err(RunError::io("write", &mark_path))?;
            match taken {
                Ok(mark) => break mark,
                Err(holder) if Instant::now() >= until => {
                    return Err(RunError::Held {
                        path: mark_path,
                        holder,
                    });
                }
                Err(holder) => {
                    if !told {
                        waiting(&mark_path, &holder);
                        told = true;
                    }
                    std::thread::sleep(LOOK);
                }
            }
        };
        let there = self.there()?.filter(|_| !press.replace);
        let (name, written) = match there {
            Some(name) => (name, Written::Before),
            None => (self.name(), Written::Now(self.make(press, tree()?)?)),
        };
        self.point(press, &name)
            .map_err(RunError::io("write", self.path.join(&self.names.latest)))?;
        Ok(written)
    }

    /// Makes the archive under a hidden name, and then gives it its own.
    fn make(&self, press: &Press<'_>, tree: TreeHash) -> Result<u64, RunError> {
        let name = self.name();
        let hidden = OsString::from(format!(".{name}.new"));
        let at = self.path.join(&name);
        let made = make(
            press.store,
            tree,
            &self.folder,
            &hidden,
            self.method,
            press.ownership,
            press.cancel,
        )
        .map_err(|error| match error {
            ArchiveError::Store(error) => RunError::Publish(PublishError::Store(error)),
            ArchiveError::Interrupted => RunError::Interrupted,
            ArchiveError::Io(source) => RunError::io("write", &at)(source),
        })?;
        let sign = || -> Result<Option<Vec<u8>>, RunError> {
            let Some(gpg) = press.gpg else {
                return Ok(None);
            };
            let file = whole::open(&self.folder, &hidden).map_err(RunError::io("read", &at))?;
            Ok(Some(gpg.sign(file).map_err(PublishError::from)?))
        };
        let signature = sign()?;
        let place = || -> std::io::Result<()> {
            let beside = |end: &str| OsString::from(format!("{name}{end}"));
            let lines = made.digests.lines();
            let owner = press.ownership;
            whole::write(&self.folder, &beside(HASH), lines.as_bytes(), owner)?;
            if let Some(signature) = &signature {
                whole::write(&self.folder, &beside(SIGNATURE), signature, owner)?;
            }
            rustix::fs::renameat(&self.folder, &hidden, &self.folder, &name)?;
            let mut note = OsString::from(MADE);
            note.push(&hidden);
            whole::remove(&self.folder, &note)?;
            whole::sync(&self.folder)
        };
        place().map_err(RunError::io("write", &at))?;
        Ok(made.digests.bytes)
    }

    /// Turns the link to the newest snapshot, and those beside it.
    fn point(&self, press: &Press<'_>, name: &str) -> std::io::Result<()> {
        let ending = &name[self.names.stem.len()..];
        for end in ["", HASH, SIGNATURE] {
            let target = format!("{name}{end}");
            let link = OsString::from(format!("{}{ending}{end}", self.names.latest));
            if whole::kind(&self.folder, OsStr::new(&target))?.is_none() {
                continue;
            }
            match rustix::fs::readlinkat(&self.folder, &link, Vec::new()) {
                Ok(there) if there.as_bytes() == target.as_bytes() => continue,
                Ok(_) => {}
                // A file that somebody put there is not ours to replace.
                Err(_) if whole::kind(&self.folder, &link)?.is_some() => continue,
                Err(_) => {}
            }
            whole::link(&self.folder, &link, Path::new(&target), press.ownership)?;
        }
        Ok(())
    }
}
