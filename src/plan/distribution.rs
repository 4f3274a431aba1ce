//! A distribution: an entry file with all it collects, and the targets it describes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mstore_lang::{Definition, Files, Session};
use rayon::prelude::*;

use super::control::NO_VERSION;
use super::elements::{Asked, Elements, SpecError};
use super::entry::Entry;
use super::error::PlanError;
use super::files::SpecFiles;
use super::hooks;
use super::lock::{LOCK_NAME, Lock};
use super::looked::{Looked, Sights};
use super::metro::Repository;
use super::more::More;
use super::name::{Arch, Index, TargetId};
use super::pin::PinKind;
use super::recipe::{Recipe, Seed, Start};
use super::recipes::Recipes;
use super::unread::{self, Unread};

/// The element that names the folder of a ports tree.
pub const PORTS_TREE: &str = "ports/tree";

/// Names that one list of the index may have.
const MAX_NAMES: usize = 10_000;

/// An entry file with all it collects.
#[derive(Debug)]
pub struct Distribution {
    files: SpecFiles,
    entry: Entry,
    definitions: Vec<Definition>,
    index: Index,
    /// The snapshot that targets most likely use; saves loading them twice.
    likely_snapshot: Option<String>,
    /// Whether the specification itself says what `target/version` is.
    own_version: bool,
    /// The elements that tell what there is.
    asked: Asked,
    /// What was looked at on this machine's disk; nothing where files come from elsewhere.
    looked: Option<Looked>,
    /// The repository of Metro that it is, if it is one.
    metro: Option<Arc<Repository>>,
    /// Seeds of targets whose sources are had already.
    starts: BTreeMap<TargetId, Seed>,
    /// The folder of the ports tree that the specification names.
    ports_tree: Option<PathBuf>,
    /// The ports of that tree.
    more: Option<Arc<dyn More>>,
}

impl Distribution {
    /// Opens the entry file that is given, or the one in effect in the folder `cwd`, by the rule of
    /// [`Entry::find`]. `definitions` replace those of the entry file, as on Metro's command line.
    pub fn open(
        entry: Option<&Path>,
        cwd: &Path,
        definitions: Vec<Definition>,
    ) -> Result<Distribution, PlanError> {
        let looked = Looked::default();
        let entry = Entry::find_with(entry, cwd, &looked)?;
        let mut this = Self::with_files(Box::new(looked.clone()), entry, definitions)?;
        this.looked = Some(looked);
        Ok(this)
    }

    /// Opens an entry file among `base`.
    pub fn with_files(
        base: Box<dyn Files + Send>,
        entry: Entry,
        definitions: Vec<Definition>,
    ) -> Result<Distribution, PlanError> {
        let files = entry.files(base);
        let read = load_first(&files, entry.path(), &definitions)
            .map_err(PlanError::from)
            .and_then(|elements| Ok((read_index(&elements, entry.path())?, elements)));
        let (index, elements) = match read {
            Ok(read) => read,
            Err(error @ (PlanError::NoIndex { .. } | PlanError::Spec(_))) => {
                return match Repository::find(&files, entry.path(), &definitions) {
                    Some(repository) => Ok(Self::of_metro(files, entry, definitions, repository)),
                    None => Err(error),
                };
            }
            Err(error) => return Err(error),
        };
        let ports_tree = ports_tree(&elements, entry.path())?;
        Ok(Distribution {
            likely_snapshot: elements.line(Recipe::SNAPSHOT).ok().flatten(),
            own_version: elements.is_defined("target/version"),
            asked: elements.asked(),
            files,
            entry,
            definitions,
            index,
            looked: None,
            metro: None,
            starts: BTreeMap::new(),
            ports_tree,
            more: None,
        })
    }

    fn of_metro(
        mut files: SpecFiles,
        entry: Entry,
        mut definitions: Vec<Definition>,
        repository: Repository,
    ) -> Distribution {
        files.add_control();
        definitions.extend_from_slice(repository.given());
        Distribution {
            index: repository.index().clone(),
            own_version: definitions.iter().any(|d| d.name == "target/version"),
            likely_snapshot: None,
            asked: Asked::default(),
            files,
            entry,
            definitions,
            looked: None,
            metro: Some(Arc::new(repository)),
            starts: BTreeMap::new(),
            ports_tree: None,
            more: None,
        }
    }

    /// The repository of Metro that it is; `None` where the specifications list what there is.
    pub fn metro(&self) -> Option<&Repository> {
        self.metro.as_deref()
    }

    /// The entry file.
    pub fn entry(&self) -> &Path {
        self.entry.path()
    }

    /// Whether the standard specs are used as they are.
    pub fn is_builtin(&self) -> bool {
        self.entry.is_builtin()
    }

    /// All that was looked at on this machine's disk so far; `None` where files come from elsewhere, and when
    /// they changed meanwhile, or folders tell what there is.
    pub fn sights(&self) -> Option<Sights> {
        if self.metro.is_some() || self.ports_tree.is_some() {
            return None;
        }
        self.looked.as_ref()?.sights()
    }

    /// The folder of the ports tree that the specification names with `ports/tree`, if it does.
    pub fn ports_tree(&self) -> Option<&Path> {
        self.ports_tree.as_deref()
    }

    /// The ports that a name or pattern stands for; nothing where it stands for none.
    pub(super) fn ports_called(&self, name: &str) -> Result<Option<Vec<TargetId>>, PlanError> {
        match &self.more {
            Some(more) => more.expand(name),
            None => Ok(None),
        }
    }

    /// Tells the ports which store the folders go to that their builds see.
    pub fn give_store(&self, store: &mstore_store::Store) {
        if let Some(more) = &self.more {
            more.use_store(store);
        }
    }

    /// Lets the ports of a tree be built beside the targets of the specification.
    pub fn set_ports(&mut self, ports: Arc<dyn More>) {
        self.more = Some(ports);
    }

    /// The files the specification is read from.
    pub fn files(&self) -> &dyn Files {
        &self.files
    }

    /// What was asked for to find out what there is.
    pub fn asked(&self) -> &Asked {
        &self.asked
    }

    /// What can be built.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// Where the lock file lies: beside the user's entry file, or in the store's folder.
    pub fn lock_path(&self, store: &Path) -> PathBuf {
        match self.entry().parent() {
            Some(folder) if !self.is_builtin() => folder.join(LOCK_NAME),
            _ => store.join(LOCK_NAME),
        }
    }

    /// The settings of one target.
    pub fn elements(&self, id: &TargetId, lock: &Lock) -> Result<Elements, PlanError> {
        self.elements_in(&Session::new(&self.files), id, lock)
    }

    /// The settings of one target, with files shared by all of the session.
    pub fn elements_in(
        &self,
        session: &Session<'_>,
        id: &TargetId,
        lock: &Lock,
    ) -> Result<Elements, PlanError> {
        self.settings(session, id, lock, &Versions::default())
    }

    fn settings(
        &self,
        session: &Session<'_>,
        id: &TargetId,
        lock: &Lock,
        versions: &Versions,
    ) -> Result<Elements, PlanError> {
        let load = |version| self.load(session, id, version);
        let mark = |mut error: SpecError| {
            let given = &self.definitions;
            let all = self.definitions_for(id, Some(NO_VERSION), &[("target", id.target.as_str())]);
            hooks::advise(
                &mut error.diagnostics,
                session,
                self.entry.path(),
                given,
                &all,
            );
            error.target = Some(id.to_string());
            error
        };
        if self.own_version {
            return Ok(load(None).map_err(mark)?);
        }
        let likely = match &self.metro {
            Some(_) => Some(id.build.as_str()),
            None => self.likely_snapshot.as_deref(),
        };
        let guess = date(lock, likely);
        let elements = match load(Some(&guess)) {
            Ok(elements) => elements,
            // A file that is collected for this target alone may say what the version is; a
            // definition from outside then is one too many.
            Err(error) => match load(None) {
                Ok(elements) if elements.is_defined("target/version") => return Ok(elements),
                _ => return Err(mark(error).into()),
            },
        };
        let version = match (&self.metro, snapshot_of(&elements)) {
            (_, Some(snapshot)) => date(lock, Some(&snapshot)),
            (Some(_), None) => date(lock, Some(&id.build)),
            (None, None) => {
                self.version_of_source(session, id, &elements, lock, (&guess, versions))
            }
        };
        if version == guess {
            return Ok(elements);
        }
        Ok(load(Some(&version)).map_err(mark)?)
    }

    /// The settings of a mode of a repository of Metro: those of no target.
    pub fn mode(&self, id: &TargetId, mode: &str, lock: &Lock) -> Result<Elements, PlanError> {
        let pin = lock.get(PinKind::Snapshot, &id.build);
        let version = pin
            .and_then(|pin| pin.date.as_deref())
            .unwrap_or(NO_VERSION);
        let more = [("multi", "yes"), ("multi/mode", mode), ("multi/extras", "")];
        let session = Session::new(&self.files);
        Ok(self.load_with(&session, id, Some(version), &more)?)
    }

    /// The version of the target that `id`, which has no snapshot of its own, starts from.
    fn version_of_source(
        &self,
        session: &Session<'_>,
        id: &TargetId,
        elements: &Elements,
        lock: &Lock,
        (guess, versions): (&str, &Versions),
    ) -> String {
        let mut way: Vec<TargetId> = vec![id.clone()];
        let mut from = Recipe::source(elements, id, &self.index);
        let version = loop {
            let Some(source) = from.take().filter(|source| !way.contains(source)) else {
                break NO_VERSION.to_owned();
            };
            if let Some(known) = versions.get(&source) {
                break known;
            }
            // What is wrong with it is told where it is read itself.
            let own = |elements: &Elements| elements.line("target/version").ok().flatten();
            let loaded = match self.load(session, &source, Some(guess)) {
                Ok(loaded) => loaded,
                Err(_) => match self.load(session, &source, None) {
                    Ok(loaded) => break own(&loaded).unwrap_or_else(|| NO_VERSION.to_owned()),
                    Err(_) => break NO_VERSION.to_owned(),
                },
            };
            if let Some(snapshot) = snapshot_of(&loaded) {
                break date(lock, Some(&snapshot));
            }
            from = Recipe::source(&loaded, &source, &self.index);
            way.push(source);
        };
        versions.note(way, &version);
        version
    }

    fn load(
        &self,
        session: &Session<'_>,
        id: &TargetId,
        version: Option<&str>,
    ) -> Result<Elements, SpecError> {
        let target = [("target", id.target.as_str())];
        self.load_with(session, id, version, &target)
    }

    fn load_with(
        &self,
        session: &Session<'_>,
        id: &TargetId,
        version: Option<&str>,
        more: &[(&str, &str)],
    ) -> Result<Elements, SpecError> {
        let definitions = self.definitions_for(id, version, more);
        let elements = Elements::load_in(session, self.entry.path(), &definitions)?;
        Ok(elements.of_metro(self.metro.as_ref()))
    }

    /// The definitions that the settings of a target are loaded with, `more` among them.
    fn definitions_for(
        &self,
        id: &TargetId,
        version: Option<&str>,
        more: &[(&str, &str)],
    ) -> Vec<Definition> {
        let ours = [
            ("target/build", Some(id.build.as_str())),
            ("target/arch_desc", Some(id.arch_desc.as_str())),
            ("target/subarch", Some(id.subarch.as_str())),
            ("target/version", version),
        ];
        let mut definitions = self.definitions.clone();
        if let Some(metro) = &self.metro {
            metro.leave_out(&mut definitions, &id.subarch);
        }
        let more = more.iter().map(|(name, value)| (*name, Some(*value)));
        for (name, value) in more.chain(ours) {
            let Some(value) = value else { continue };
            let metro = self.metro.as_ref();
            if name == "target/arch_desc" && metro.is_some_and(|m| m.describes(&id.subarch)) {
                continue;
            }
            if !definitions.iter().any(|d| d.name == name) {
                definitions.push(Definition::new(name, value));
            }
        }
        definitions
    }

    /// The definitions from outside that nothing reads: neither what is made of `ids` and of all these start from, nor
    /// any text of their specifications.
    pub fn unread(&self, ids: &[TargetId], lock: &Lock) -> Result<Vec<Unread>, PlanError> {
        let session = Session::new(&self.files);
        let mut search = unread::Search::new(&self.definitions, &self.asked);
        let mut seen: BTreeSet<TargetId> = BTreeSet::new();
        let mut todo: Vec<TargetId> = ids.to_vec();
        while let Some(id) = todo.pop() {
            if search.is_over() {
                break;
            }
            if id.is_port() || !seen.insert(id.clone()) {
                continue;
            }
            let elements = self.elements_in(&session, &id, lock)?;
            // What is wrong with it is told by whoever plans with it.
            let recipe = self.read(&elements, &id);
            search.look(&elements);
            if let Ok(recipe) = recipe
                && let Start::Target(from) = recipe.start
            {
                todo.push(from);
            }
        }
        Ok(search.rest())
    }

    /// The recipe of one target.
    pub fn recipe(&self, id: &TargetId, lock: &Lock) -> Result<Recipe, PlanError> {
        self.read(&self.elements(id, lock)?, id)
    }

    /// Lets a target start from a seed, whatever its source is: for sources that are had already, and not to be
    /// built. The settings stay as they are.
    pub fn start_at(&mut self, id: TargetId, seed: Seed) {
        self.starts.insert(id, seed);
    }

    fn read(&self, elements: &Elements, id: &TargetId) -> Result<Recipe, PlanError> {
        let mut recipe = Recipe::read(elements, id, &self.index)?;
        if let Some(seed) = self.starts.get(id) {
            recipe.start = Start::Seed(seed.clone());
        }
        Ok(recipe)
    }

    /// The recipes of `ids` and of everything these start from, loaded in parallel.
    pub fn recipes(&self, ids: &[TargetId], lock: &Lock) -> Result<Recipes, PlanError> {
        let session = Session::new(&self.files);
        let versions = Versions::default();
        let mut recipes: BTreeMap<TargetId, Recipe> = BTreeMap::new();
        let mut todo: BTreeSet<TargetId> = ids.iter().filter(|id| !id.is_port()).cloned().collect();
        while !todo.is_empty() {
            let batch: Vec<TargetId> = std::mem::take(&mut todo).into_iter().collect();
            let loaded: Vec<Result<Recipe, PlanError>> = batch
                .par_iter()
                .map(|id| {
                    let elements = self.settings(&session, id, lock, &versions)?;
                    self.read(&elements, id)
                })
                .collect();
            // In order, so that of several errors it is always the same that is reported.
            let mut loaded = loaded
                .into_iter()
                .collect::<Result<Vec<Recipe>, PlanError>>()?;
            if self.metro.is_some() && recipes.is_empty() {
                start_in_the_run(&mut loaded);
            }
            for recipe in loaded {
                if let Start::Target(from) = &recipe.start {
                    todo.insert(from.clone());
                }
                recipes.insert(recipe.id.clone(), recipe);
            }
            todo.retain(|id| !recipes.contains_key(id));
        }
        Ok(Recipes {
            index: self.index.clone(),
            requested: once(ids.to_vec()),
            recipes,
            more: self.more.clone(),
        })
    }
}

/// Lets targets of Metro that start from one which is not asked for start from the one that is asked for and makes
/// the same archive: after `freshen`, an image is made of the stage3 that was freshened.
fn start_in_the_run(recipes: &mut [Recipe]) {
    let makers: Vec<(TargetId, String)> = recipes
        .iter()
        .map(|recipe| (recipe.id.clone(), recipe.class.clone()))
        .collect();
    for recipe in recipes {
        let Start::Target(from) = &recipe.start else {
            continue;
        };
        if makers.iter().any(|(id, _)| id == from) {
            continue;
        }
        let same = |id: &TargetId, class: &str| {
            let renamed = TargetId {
                target: class.to_owned(),
                ..id.clone()
            };
            renamed == *from && *id != recipe.id
        };
        if let Some((id, _)) = makers.iter().find(|(id, class)| same(id, class)) {
            recipe.start = Start::Target(id.clone());
        }
    }
}

/// Loads an entry file as it is read to find out what there is.
fn load_first(
    files: &SpecFiles,
    entry: &Path,
    definitions: &[Definition],
) -> Result<Elements, SpecError> {
    let session = Session::new(files);
    Elements::load_in(&session, entry, definitions).map_err(|mut error| {
        let all = &mut error.diagnostics;
        hooks::advise(all, &session, entry, definitions, definitions);
        error
    })
}

/// Versions of targets that have no snapshot of their own, as they were found out for others.
#[derive(Debug, Default)]
struct Versions(Mutex<HashMap<TargetId, String>>);

impl Versions {
    fn get(&self, id: &TargetId) -> Option<String> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).cloned()
    }

    fn note(&self, ids: Vec<TargetId>, version: &str) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(ids.into_iter().map(|id| (id, version.to_owned())));
    }
}

/// The name of the snapshot that a target reads, if it reads one.
fn snapshot_of(elements: &Elements) -> Option<String> {
    let name = elements.line(Recipe::SNAPSHOT).ok().flatten()?;
    (!name.trim().is_empty()).then_some(name)
}

/// `target/version` as the pin of a snapshot gives it.
fn date(lock: &Lock, snapshot: Option<&str>) -> String {
    snapshot
        .and_then(|name| lock.get(PinKind::Snapshot, name))
        .and_then(|pin| pin.date.clone())
        .unwrap_or_else(|| NO_VERSION.to_owned())
}

/// The folder of the ports tree that a specification names. Relative paths begin at its entry file.
fn ports_tree(elements: &Elements, entry: &Path) -> Result<Option<PathBuf>, PlanError> {
    let named = elements.line(PORTS_TREE)?.filter(|path| !path.is_empty());
    let folder = entry.parent().unwrap_or(Path::new("/"));
    Ok(named.map(|path| folder.join(path)))
}

/// Leaves out what came before.
pub(super) fn once(mut ids: Vec<TargetId>) -> Vec<TargetId> {
    let mut seen = BTreeSet::new();
    ids.retain(|id| seen.insert(id.clone()));
    ids
}

fn read_index(elements: &Elements, entry: &Path) -> Result<Index, PlanError> {
    let words = |element: &str| -> Result<Vec<String>, PlanError> {
        let mut words = elements.words(element)?;
        let mut seen = BTreeSet::new();
        words.retain(|w| seen.insert(w.clone()));
        if words.len() > MAX_NAMES {
            return Err(PlanError::Value {
                element: element.to_owned(),
                target: entry.display().to_string(),
                location: elements.location(element).map(Box::new),
                message: format!("{} names are more than {MAX_NAMES}", words.len()),
                help: None,
            });
        }
        if let Some(bad) = words.iter().find(|w| w.contains(['/', ':', '*', '?'])) {
            return Err(PlanError::Value {
                element: element.to_owned(),
                target: entry.display().to_string(),
                location: elements.location(element).map(Box::new),
                message: format!("`{bad}` cannot be a name: it has one of / : * ?"),
                help: None,
            });
        }
        Ok(words)
    };
    let needed = |element: &str| -> Result<Vec<String>, PlanError> {
        match words(element)? {
            words if words.is_empty() => Err(PlanError::NoIndex {
                entry: entry.to_owned(),
                element: element.to_owned(),
            }),
            words => Ok(words),
        }
    };
    let targets = needed("list/targets")?;
    let builds = needed("list/builds")?;
    let mut of_build = BTreeMap::new();
    for build in &builds {
        let mut own = words(&format!("list/targets/{build}"))?;
        own.retain(|target| !targets.contains(target));
        if !own.is_empty() {
            of_build.insert(build.clone(), own);
        }
    }
    let mut arches = Vec::new();
    for name in needed("list/arches")? {
        let subarches = words(&format!("list/subarches/{name}"))?;
        arches.push(Arch { name, subarches });
    }
    let default_build = match elements.line("default/build")?.filter(|b| !b.is_empty()) {
        Some(build) => build,
        None => builds[0].clone(),
    };
    if !builds.contains(&default_build) {
        return Err(PlanError::Value {
            element: "default/build".to_owned(),
            target: entry.display().to_string(),
            location: elements.location("default/build").map(Box::new),
            message: format!("`{default_build}` is not among list/builds"),
            help: Some(format!("there is: {}", builds.join(" "))),
        });
    }
    Ok(Index {
        default_build,
        builds,
        arches,
        targets,
        of_build,
        imported: Vec::new(),
        names: Default::default(),
    })
}
