//! What there is to publish of targets: their trees, the names that their specifications give them, logs, and texts
//! about the build.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::{Artifact, Publication, archive_names, is_plain};
use crate::drv::{Key, StepName};
use crate::plan::{Elements, Graph, Pins, PlanError, Staleness, Target, TargetId};
use crate::project::{Project, ProjectError};
use crate::repo::compress::Method;
use crate::repo::date::Date;
use crate::repo::name::{Name, NameError, Place};
use crate::repo::quote::shown;

/// Elements that a text about the build is taken from, the first that has something.
const INFO: &[(&str, &[&str])] = &[
    ("ARCH", &["portage/ARCH", "arch/ARCH", "target/arch_desc"]),
    (
        "CFLAGS",
        &["portage/CFLAGS", "chosen/CFLAGS", "subarch/CFLAGS"],
    ),
    ("CHOST", &["portage/CHOST", "subarch/CHOST"]),
];
/// The text that only processors with such flags have.
const CPU_FLAGS: &str = "CPU_FLAGS_X86";

/// What there is of a build of one subarch.
#[derive(Clone, Debug)]
pub struct Gathered {
    /// It, without failures.
    pub publication: Publication,
    /// Targets that are not built, by their full names.
    pub missing: Vec<String>,
}

/// Why targets cannot be published.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// There is no plan, or the store cannot be read.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// A name is not a folder or file of a mirror.
    #[error("{target}: {element}: `{}`: {error}", shown(name))]
    Name {
        /// The target.
        target: String,
        /// The element that gives the name.
        element: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        error: NameError,
    },
    /// The version of a target is not a date.
    #[error(
        "{target}: target/version: `{}` is not a day such as 2015-02-18",
        shown(version)
    )]
    Version {
        /// The target.
        target: String,
        /// Its version.
        version: String,
    },
    /// An element says nothing that can be used.
    #[error("{target}: {element}: `{}` is not a compression", shown(text))]
    Compression {
        /// The target.
        target: String,
        /// The element.
        element: &'static str,
        /// The text.
        text: String,
    },
}

impl From<PlanError> for GatherError {
    fn from(error: PlanError) -> Self {
        GatherError::Project(error.into())
    }
}

/// Finds out what there is to publish of some targets, a publication for each build of a subarch, in the order in
/// which they were named.
pub fn gather(project: &Project, ids: &[TargetId]) -> Result<Vec<Gathered>, GatherError> {
    let recipes = project.recipes(ids)?;
    let graph = Graph::build(&recipes, &project.lock, &project.facts, Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ()).map_err(ProjectError::from)?;
    let mut all: Vec<Gathered> = Vec::new();
    for id in ids {
        let Some(target) = graph.target(id) else {
            continue;
        };
        let elements = project.distribution.elements(id, &project.lock)?;
        let place = place(id)?;
        if Date::of_folder(&target.version).is_none() {
            return Err(GatherError::Version {
                target: id.to_string(),
                version: target.version.clone(),
            });
        }
        let is_it =
            |g: &Gathered| g.publication.place == place && g.publication.version == target.version;
        let at = match all.iter().position(is_it) {
            Some(at) => at,
            None => {
                all.push(nothing(&place, target, &elements)?);
                all.len() - 1
            }
        };
        let gathered = &mut all[at];
        let publication = &mut gathered.publication;
        publication.targets.push(id.target.clone());
        // The texts are those of the last target, the most finished one.
        publication.info.extend(info(&elements)?);
        let logs = logs(project, &graph, &staleness, target)?;
        if !logs.is_empty() {
            publication.logs.insert(id.target.clone(), logs);
        }
        let tree = staleness
            .target_tree(target, &project.facts)
            .map_err(ProjectError::from)?;
        match tree {
            None => gathered.missing.push(id.to_string()),
            Some(tree) => publication.artifacts.push(Artifact {
                target: id.to_string(),
                names: names_of(id, &target.class, &target.version, &elements)?,
                far_link: far_link(id, &elements)?,
                tree,
                derivation: graph.nodes()[target.last].hash.to_string(),
                key: staleness
                    .state(target.last)
                    .key()
                    .map(|key| key.0.to_string()),
            }),
        }
    }
    Ok(all)
}

/// A publication with nothing in it.
fn nothing(place: &Place, target: &Target, elements: &Elements) -> Result<Gathered, GatherError> {
    let compression = elements
        .line("target/compression")
        .map_err(PlanError::from)?;
    let method = match compression.filter(|text| !text.is_empty()) {
        None => Method::default(),
        Some(text) => Method::parse(&text).ok_or_else(|| GatherError::Compression {
            target: target.id.to_string(),
            element: "target/compression",
            text,
        })?,
    };
    Ok(Gathered {
        publication: Publication {
            place: place.clone(),
            version: target.version.clone(),
            artifacts: Vec::new(),
            targets: Vec::new(),
            logs: BTreeMap::new(),
            info: BTreeMap::new(),
            method,
            failure: None,
            goes_on: false,
        },
        missing: Vec::new(),
    })
}

fn name(id: &TargetId, element: &'static str, name: &str) -> Result<Name, GatherError> {
    Name::new(name).map_err(|error| GatherError::Name {
        target: id.to_string(),
        element,
        name: name.to_owned(),
        error,
    })
}

/// The place in a mirror of what is built of a target.
pub fn place(id: &TargetId) -> Result<Place, GatherError> {
    Ok(Place {
        build: name(id, "target/build", &id.build)?,
        arch: name(id, "target/arch_desc", &id.arch_desc)?,
        subarch: name(id, "target/subarch", &id.subarch)?,
    })
}

/// The names of the files of a target: those of the layout, unless its specifications say otherwise.
pub fn names_of(
    id: &TargetId,
    class: &str,
    version: &str,
    elements: &Elements,
) -> Result<super::ArchiveNames, GatherError> {
    let mut names = archive_names(&id.target, class, &place(id)?, version);
    let given = |element: &'static str| -> Result<Option<String>, GatherError> {
        let text = elements.line(element).map_err(PlanError::from)?;
        match text.filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => Ok(Some(name(id, element, &text)?.to_string())),
        }
    };
    if let Some(stem) = given("target/name")? {
        names.stem = stem;
    }
    if let Some(latest) = given("target/name/latest")? {
        names.latest = Some(latest);
    }
    // A target has a name without slashes; what was made of it fits too.
    name(id, "target", &names.stem)?;
    Ok(names)
}

/// The folder for a link outside the folder of the subarch, where the specifications want one.
pub fn far_link(id: &TargetId, elements: &Elements) -> Result<Option<String>, GatherError> {
    let wanted = elements
        .words("path/mirror/target/auxlink/enable")
        .map_err(PlanError::from)?;
    let is_wanted = wanted.contains(&id.target) && is_plain(&id.target);
    Ok(is_wanted.then(|| format!("{}/{}/{}", id.build, id.target, id.arch_desc)))
}

/// Texts about the build.
fn info(elements: &Elements) -> Result<BTreeMap<String, String>, GatherError> {
    let line = |element: &str| -> Result<Option<String>, GatherError> {
        let text = elements.line(element).map_err(PlanError::from)?;
        Ok(text.filter(|text| !text.is_empty()))
    };
    let mut info = BTreeMap::new();
    for (text, candidates) in INFO {
        for element in *candidates {
            if let Some(value) = line(element)? {
                info.insert((*text).to_owned(), value);
                break;
            }
        }
    }
    let flags = match line(&format!("portage/{CPU_FLAGS}"))? {
        None if line("arch/cpu_flags")?.as_deref() == Some(CPU_FLAGS) => line("subarch/CPU_FLAGS")?,
        flags => flags,
    };
    info.extend(flags.map(|flags| (CPU_FLAGS.to_owned(), flags)));
    Ok(info)
}

/// The logs of the steps of a target: those of the results, which may have been made under other names; of a step
/// without a result that of the newest attempt.
fn logs(
    project: &Project,
    graph: &Graph,
    staleness: &Staleness<'_>,
    target: &Target,
) -> Result<Vec<(String, PathBuf)>, GatherError> {
    let mut logs = Vec::new();
    for &at in &target.nodes {
        let node = &graph.nodes()[at];
        let store = &project.store;
        let made = match staleness.state(at).key() {
            Some(key) => store.realisation(&key.0).map_err(ProjectError::from)?,
            None => None,
        };
        let log = match made {
            Some(made) => made.log.map(|log| store.logs_dir().join(log)),
            None => project.newest_log(&node.full_name)?,
        };
        if let Some(log) = log.filter(|log| log.exists()) {
            logs.push((node.name.to_string(), log));
        }
    }
    Ok(logs)
}

/// The steps of some targets that a run would build first, with the keys that they have now.
pub fn keys_to_build(
    project: &Project,
    ids: &[TargetId],
) -> Result<Vec<(StepName, Key)>, ProjectError> {
    let recipes = project.recipes(ids)?;
    let graph = Graph::build(&recipes, &project.lock, &project.facts, Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    let todo = staleness.todo(&project.facts)?;
    let keys = todo.build.iter().filter_map(|&at| {
        let key = staleness.state(at).key()?;
        Some((graph.nodes()[at].name.clone(), key))
    });
    Ok(keys.collect())
}
