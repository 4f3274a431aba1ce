//! What a target starts from: the newest archive of the mirror that its specifications mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use mstore_store::tar::{StripTop, TarOptions};
use mstore_store::{Cancel, StoreError, TreeHash};
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::RunError;
use super::begun::{archive_in, there};
use super::snapshot::{self, Names};
use crate::plan::{Elements, Pin, PinKind, PinOrigin, PlanError, Seed, Start, TargetId};
use crate::project::{Event, Events, Project, ProjectError};
use crate::repo::control::Control;
use crate::repo::date::Date;
use crate::repo::hash;
use crate::repo::layout::{CONTROL, Mirror, VERSION};
use crate::repo::name::{Name, Place};
use crate::repo::publish::{
    MAX_PROVENANCE, PROVENANCE, Provenance, archive_names, names_of, place,
};
use crate::repo::quote::shown;
use crate::repo::{small, whole};

/// The class of stages that others start from whatever day they are of.
const STAGE3: &str = "stage3";

/// An archive of the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The subarch.
    pub place: Place,
    /// The build folder.
    pub version: String,
    /// Its name in there.
    pub name: String,
}

impl Archive {
    /// The path in the mirror.
    pub fn relative(&self) -> PathBuf {
        self.place.relative().join(&self.version).join(&self.name)
    }
}

/// What a target starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An archive of the mirror.
    Archive(Archive),
    /// A seed as the lock file pins it, or as it is going to be captured from this machine.
    Seed(String),
    /// A target of which the mirror has no archive: it is built first, where the store has no result.
    Target(TargetId),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Archive(archive) => write!(f, "{}", shown(archive.relative())),
            Origin::Seed(name) => write!(f, "the seed {name}"),
            Origin::Target(id) => write!(f, "{id}"),
        }
    }
}

/// The archives of a mirror that targets start from.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The mirror.
    pub mirror: &'a Mirror,
    /// The version of the run.
    pub version: &'a str,
    /// Trees of archives that this run published, by their paths in the mirror.
    pub made: &'a BTreeMap<PathBuf, TreeHash>,
    /// Ends it.
    pub cancel: &'a Cancel,
}

/// What was found.
enum Found {
    /// A seed that is an archive of the mirror.
    Seed { name: String, archive: Archive },
    /// The source of a target is an archive of the mirror.
    Source {
        target: TargetId,
        from: TargetId,
        archive: Archive,
    },
    /// Nothing of the mirror.
    Other(Origin),
}

impl Sources<'_> {
    /// Finds out what a target starts from; changes nothing.
    pub fn origin(&self, project: &Project, id: &TargetId) -> Result<Origin, RunError> {
        Ok(match self.look(project, id)? {
            Found::Seed { archive, .. } | Found::Source { archive, .. } => Origin::Archive(archive),
            Found::Other(origin) => origin,
        })
    }

    /// Finds out what a target starts from, and lets it start from that: archives are taken into the store, seeds
    /// pinned in the lock file.
    pub fn settle(
        &self,
        project: &mut Project,
        id: &TargetId,
        events: &dyn Events,
    ) -> Result<Origin, RunError> {
        Ok(match self.look(project, id)? {
            Found::Seed { name, archive } => {
                let tree = self.tree(project, &archive)?;
                let pinned = project.lock.get(PinKind::Seed, &name);
                if pinned.is_none_or(|pin| pin.tree != tree) {
                    project.set_pin(PinKind::Seed, &name, pin(tree, &archive))?;
                    let kind = PinKind::Seed;
                    let name = &name;
                    events.event(Event::Provided { kind, name, tree });
                }
                self.provide(project, id, None, events)?;
                Origin::Archive(archive)
            }
            Found::Source {
                target,
                from,
                archive,
            } => {
                let tree = self.tree(project, &archive)?;
                let name = format!("{from}@{}", archive.version);
                let seed = Seed {
                    name: name.clone(),
                    host: false,
                };
                project.distribution.start_at(target, seed);
                // What is pinned in the file comes first: it is read anew then.
                self.provide(project, id, Some(&name), events)?;
                // In memory alone: nobody else has to know of it.
                project
                    .lock
                    .set(PinKind::Seed, &name, pin(tree, &archive))?;
                Origin::Archive(archive)
            }
            Found::Other(origin) => {
                self.provide(project, id, None, events)?;
                origin
            }
        })
    }

    fn look(&self, project: &Project, id: &TargetId) -> Result<Found, RunError> {
        let mut at = id.clone();
        let mut seen = BTreeSet::new();
        loop {
            let recipe = project.distribution.recipe(&at, &project.lock)?;
            match recipe.start {
                Start::Seed(seed) if seed.host => return Ok(Found::Other(Origin::Seed(seed.name))),
                Start::Seed(seed) => return self.seed(project, id, seed.name),
                Start::Target(from) => {
                    if let Some(archive) = self.source(project, &from)? {
                        return Ok(Found::Source {
                            target: at,
                            from,
                            archive,
                        });
                    }
                    // A circle is told of by whoever plans it.
                    if !seen.insert(from.clone()) || !project.distribution.index().contains(&from) {
                        return Ok(Found::Other(Origin::Target(from)));
                    }
                    at = from;
                }
            }
        }
    }

    /// The archive of a target that another one starts from, if the mirror has it: that of the version of the run; of
    /// a stage3 also the newest one.
    fn source(&self, project: &Project, from: &TargetId) -> Result<Option<Archive>, RunError> {
        let elements = project.distribution.elements(from, &project.lock)?;
        let class = class_of(project, from, &elements)?;
        let names = names_of(from, &class, self.version, &elements)?;
        let place = place(from)?;
        if let Some(archive) = self.archive(&place, self.version, &names.stem)? {
            return Ok(Some(archive));
        }
        if class != STAGE3 {
            return Ok(None);
        }
        match self.newest(&place, STAGE3)? {
            None => Ok(None),
            Some(version) => self.named(&place, STAGE3, &version).map(Some),
        }
    }

    /// A seed with the name of a stage of some subarch is the newest one of the mirror.
    fn seed(&self, project: &Project, id: &TargetId, name: String) -> Result<Found, RunError> {
        let pinned = project.lock.get(PinKind::Seed, &name).is_some();
        let Some((place, kind)) = place_of_seed(&name) else {
            return Ok(Found::Other(Origin::Seed(name)));
        };
        match self.newest(&place, &kind)? {
            Some(version) => Ok(Found::Seed {
                archive: self.named(&place, &kind, &version)?,
                name,
            }),
            None if pinned => Ok(Found::Other(Origin::Seed(name))),
            None => Err(RunError::NoSeed {
                target: project.distribution.index().display_name(id),
                file: self.version_file(&place, &kind),
                subarch: self.mirror.path(&place),
                kind,
                seed: name,
            }),
        }
    }

    fn version_file(&self, place: &Place, kind: &str) -> PathBuf {
        let control = self.mirror.path(place).join(CONTROL);
        control.join(VERSION).join(kind)
    }

    /// What the version file of a kind of stage says.
    fn newest(&self, place: &Place, kind: &str) -> Result<Option<String>, RunError> {
        let file = self.version_file(place, kind);
        let read = || -> io::Result<Option<Vec<u8>>> {
            match Control::open(self.mirror, place)? {
                Some(control) => control.read(&format!("{VERSION}/{kind}")),
                None => Ok(None),
            }
        };
        let Some(bytes) = read().map_err(RunError::io("read", &file))? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(bytes.trim_ascii()).into_owned();
        match Date::of_folder(&text) {
            Some(_) => Ok(Some(text)),
            None => Err(RunError::Version { file, text }),
        }
    }

    /// The archive that a version file names.
    fn named(&self, place: &Place, kind: &str, version: &str) -> Result<Archive, RunError> {
        let stem = archive_names(kind, kind, place, version).stem;
        let archive = self.archive(place, version, &stem)?;
        archive.ok_or_else(|| RunError::NoArchive {
            file: self.version_file(place, kind),
            version: version.to_owned(),
            archive: self
                .mirror
                .path(place)
                .join(version)
                .join(format!("{stem}.tar.xz")),
        })
    }

    fn archive(
        &self,
        place: &Place,
        version: &str,
        stem: &str,
    ) -> Result<Option<Archive>, RunError> {
        let folder = self.mirror.path(place).join(version);
        let name =
            there(self.mirror, place, version, stem).map_err(RunError::io("read", folder))?;
        Ok(name.map(|name| Archive {
            place: place.clone(),
            version: version.to_owned(),
            name,
        }))
    }

    /// The tree of an archive: as this run or another one published it, if the archive still is what it was; else it
    /// is taken into the store.
    fn tree(&self, project: &Project, archive: &Archive) -> Result<TreeHash, RunError> {
        let relative = archive.relative();
        let path = self.mirror.root().join(&relative);
        let store = &project.store;
        let has = |tree: TreeHash| -> Result<bool, RunError> {
            Ok(store.has_tree(tree).map_err(ProjectError::from)?)
        };
        if let Some(tree) = self.made.get(&relative)
            && has(*tree)?
        {
            return Ok(*tree);
        }
        let mut file = self.open(&relative)?;
        if let Some(origin) = self.origin_of(archive)
            && let Ok(tree) = origin.tree.parse::<TreeHash>()
            && file.metadata().is_ok_and(|meta| meta.len() == origin.bytes)
            && has(tree)?
        {
            let mut stoppable = Stoppable {
                file: &file,
                cancel: self.cancel,
            };
            let digests = hash::digests(&mut stoppable, true);
            self.go_on()?;
            let lines = digests.map_err(RunError::io("read", &path))?.lines();
            let digests = lines.lines().filter_map(|line| line.split_once(' '));
            let digests = digests.map(|(a, b)| (a.to_owned(), b.to_owned()));
            if digests.collect::<BTreeMap<_, _>>() == origin.digests {
                return Ok(tree);
            }
            file = self.open(&relative)?;
        }
        self.import(project, &file, path, &TarOptions::default())
    }

    /// Where an archive comes from, as the folder that it lies in says.
    fn origin_of(&self, archive: &Archive) -> Option<crate::repo::publish::Origin> {
        let path = archive.place.relative().join(&archive.version);
        let folder = self.mirror.inside(&path).ok()?;
        let text = whole::read(&folder, PROVENANCE.as_ref(), MAX_PROVENANCE).ok()??;
        let mut provenance = Provenance::parse(&text)?;
        if !provenance.is_of(&archive.place, &archive.version) {
            return None;
        }
        provenance.archives.remove(&archive.name)
    }

    /// Opens a file of the mirror, also through links that stay in it.
    fn open(&self, relative: &std::path::Path) -> Result<File, RunError> {
        let path = self.mirror.root().join(relative);
        let open = || -> io::Result<File> {
            let file = File::from(rustix::fs::openat2(
                self.mirror.folder(),
                relative,
                OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK,
                Mode::empty(),
                ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
            )?);
            match file.metadata()?.is_file() {
                true => Ok(file),
                false => Err(io::Error::other("it is not a file")),
            }
        };
        open().map_err(RunError::io("open", path))
    }

    fn import(
        &self,
        project: &Project,
        file: &File,
        path: PathBuf,
        options: &TarOptions,
    ) -> Result<TreeHash, RunError> {
        let stoppable = Stoppable {
            file,
            cancel: self.cancel,
        };
        let imported = project.store.import_tar(stoppable, options);
        self.go_on()?;
        let imported = imported.map_err(|source| RunError::Import {
            path: path.clone(),
            source,
        })?;
        match imported.entries {
            0 => Err(RunError::io("use", path)(io::Error::other(
                "there is nothing in it",
            ))),
            _ => Ok(imported.tree),
        }
    }

    fn go_on(&self) -> Result<(), RunError> {
        match self.cancel.is_cancelled() {
            true => Err(RunError::Interrupted),
            false => Ok(()),
        }
    }

    /// Gets what a target needs besides: the snapshot from the mirror, where the lock file has none, and what is made
    /// without anybody's help. `had`: the seed that is had already.
    fn provide(
        &self,
        project: &mut Project,
        id: &TargetId,
        had: Option<&str>,
        events: &dyn Events,
    ) -> Result<(), RunError> {
        let recipes = project.recipes(std::slice::from_ref(id))?;
        let own = recipes.get(id).and_then(|recipe| recipe.snapshot.as_ref());
        let mut needs = recipes.needs(&project.lock);
        needs.retain(|need| Some(need.name.as_str()) != had);
        let is_own = |name: &str| own.is_some_and(|own| own.name == name);
        let wanted = needs.iter().position(|need| {
            need.kind == PinKind::Snapshot && need.from == PinOrigin::Import && is_own(&need.name)
        });
        if let Some(wanted) = wanted
            && let Some(own) = own
            && let Some((path, tree)) = self.snapshot(project, id, &own.at)?
        {
            let need = needs.remove(wanted);
            let mut pin = Pin::new(tree, Some(self.version.to_owned()));
            pin.origin = Some(path.to_string_lossy().into_owned());
            project.set_pin(need.kind, &need.name, pin)?;
            let (kind, name) = (need.kind, &need.name);
            events.event(Event::Provided { kind, name, tree });
        }
        Ok(project.provide(&recipes, &needs, events)?)
    }

    /// The snapshot of this version, if the mirror has it. `at`: where it appears in a build. The old tool's lies in a
    /// folder with the last name of that.
    fn snapshot(
        &self,
        project: &Project,
        id: &TargetId,
        at: &str,
    ) -> Result<Option<(PathBuf, TreeHash)>, RunError> {
        let elements = project.distribution.elements(id, &project.lock)?;
        let names = Names::new(&elements, id, self.version)?;
        let build = place(id)?.build;
        let path = self.mirror.snapshots(&build);
        let relative = snapshot::folder(&build);
        let folder: OwnedFd = match self.mirror.inside(&relative) {
            Ok(folder) => folder,
            Err(e) if small::is_absent(&e) => return Ok(None),
            Err(e) => return Err(RunError::io("read", path)(e)),
        };
        let name = archive_in(&folder, &names.stem).map_err(RunError::io("read", &path))?;
        let Some(name) = name else { return Ok(None) };
        let relative = relative.join(&name);
        let file = self.open(&relative)?;
        let options = TarOptions {
            strip_top: StripTop::No,
            ..TarOptions::snapshot()
        };
        let whole = self.import(project, &file, path.join(name), &options)?;
        let top = at.rsplit('/').next().filter(|top| !top.is_empty());
        let tree = match top.map(|top| project.store.subtree(whole, top)) {
            None | Some(Err(StoreError::NoSuchPath { .. })) => whole,
            Some(found) => found.map_err(ProjectError::from)?,
        };
        Ok(Some((relative, tree)))
    }
}

/// The class of a target, also of one whose own source is not there: its archive may be.
pub fn class_of(project: &Project, id: &TargetId, elements: &Elements) -> Result<String, RunError> {
    if let Ok(recipe) = project.distribution.recipe(id, &project.lock) {
        return Ok(recipe.class);
    }
    let class = elements.line("target/class").map_err(PlanError::from)?;
    Ok(class.unwrap_or_else(|| id.target.clone()))
}

fn pin(tree: TreeHash, archive: &Archive) -> Pin {
    // Only what the lock file takes for a day.
    let day = Date::of_folder(&archive.version).map(|day| day.to_string());
    let mut pin = Pin::new(tree, day);
    pin.origin = Some(archive.relative().to_string_lossy().into_owned());
    pin
}

/// The subarch and the kind of stage that the name of a seed stands for.
fn place_of_seed(name: &str) -> Option<(Place, String)> {
    let parts: Vec<&str> = name.split('/').collect();
    let [build, arch, subarch, kind] = parts.as_slice() else {
        return None;
    };
    let name = |text: &str| Name::new(text).ok();
    let place = Place {
        build: name(build)?,
        arch: name(arch)?,
        subarch: name(subarch)?,
    };
    Some((place, name(kind)?.to_string()))
}

/// Reads a file until somebody ends it.
struct Stoppable<'a> {
    file: &'a File,
    cancel: &'a Cancel,
}

impl Read for Stoppable<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.cancel.is_cancelled() {
            true => Err(io::Error::other("interrupted")),
            false => self.file.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_with_the_name_of_a_stage_are_of_a_subarch() {
        let (place, kind) = place_of_seed("b/a/s/stage3").unwrap();
        assert_eq!((place.relative(), kind.as_str()), ("b/a/s".into(), STAGE3));
        for other in ["seed", "host/x86_64", "b/a/s", "b/a/s/t/u", "b/../s/stage3"] {
            assert_eq!(place_of_seed(other), None, "{other}");
        }
    }
}
