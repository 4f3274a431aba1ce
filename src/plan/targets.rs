//! Targets of specifications that do not list them: what collects could name, by the files that are there.
//!
//! Specifications written for Metro take the target from the command line: `[collect
//! builds/$[target/build].conf]`. A folder with eight such files then says that there are eight builds. So for an
//! element that a collect needs and nothing defines, a mark is put in its place; the path that is then asked
//! for is a pattern, and the files that fit it give the values.

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use mstore_lang::mentions::{Role, in_collect};
use mstore_lang::syntax::Modifier;
use mstore_lang::{Class, Definition, Files, LoadErrors, Session, Spec};
use rayon::prelude::*;

/// Elements that are guessed for one target.
const DEEPEST: usize = 8;
/// Values of one element.
const WIDEST: usize = 500;
/// Stands around the number of an element in a path; no file has it in its name.
const MARK: char = '\u{1}';
/// What Metro sets to the date unless it is given.
const VERSION: &str = "target/version";

/// One target, with what `each` made of it.
pub struct Guessed<R> {
    /// The definitions that name it.
    pub definitions: Vec<Definition>,
    /// A definition that it needs besides: a version, if it has none.
    pub version: Option<Definition>,
    /// What became of it.
    pub result: R,
}

/// Loads `entry` once for everything that its collects could name, at most about `most` times.
///
/// The second value is whether there was more. A single target without definitions of its own means that
/// there was nothing to guess.
pub fn each_target<R: Send>(
    files: &dyn Files,
    entry: &Path,
    given: &[Definition],
    most: usize,
    each: &(dyn Fn(Result<&Spec, &LoadErrors>) -> R + Sync),
) -> (Vec<Guessed<R>>, bool) {
    let search = Search {
        files,
        entry,
        given,
        each,
    };
    let probe = Probe::new(files);
    let session = Session::new(&probe);
    let (found, cut) = match search.look(&session, &probe, &[], None) {
        Look::Target(guessed) => (vec![*guessed], false),
        Look::Open(name, values) => {
            let share = (most / values.len()).max(1);
            let parts: Vec<(Vec<Guessed<R>>, bool)> = values
                .par_iter()
                .map(|value| {
                    let probe = Probe::new(files);
                    let session = Session::new(&probe);
                    let mut branch = Branch {
                        found: Vec::new(),
                        most: share,
                        cut: false,
                        version: None,
                    };
                    let chosen = vec![Definition::new(&*name, &**value)];
                    search.branch(&session, &probe, chosen, &mut branch);
                    (branch.found, branch.cut)
                })
                .collect();
            let cut = parts.iter().any(|(_, cut)| *cut);
            (
                parts.into_iter().flat_map(|(found, _)| found).collect(),
                cut,
            )
        }
    };
    (found, cut)
}

/// What an element could be, by the files that are there for what collects make of it.
pub(super) fn values_of(
    files: &dyn Files,
    entry: &Path,
    given: &[Definition],
    element: &str,
) -> BTreeSet<String> {
    let probe = Probe::new(files);
    let mark = format!("{MARK}0{MARK}");
    let mut all = given.to_vec();
    all.push(Definition::new(element, &*mark));
    // What becomes of it does not matter, only what it asks for.
    drop(Session::new(&probe).load(entry, &all));
    let any = entry.with_file_name(&mark);
    let patterns = probe.take();
    let patterns = patterns.iter().filter(|pattern| **pattern != any);
    patterns
        .filter_map(|pattern| fitting(files, pattern, &mark))
        .flatten()
        .collect()
}

struct Search<'a, R> {
    files: &'a dyn Files,
    entry: &'a Path,
    given: &'a [Definition],
    each: &'a (dyn Fn(Result<&Spec, &LoadErrors>) -> R + Sync),
}

struct Branch<R> {
    found: Vec<Guessed<R>>,
    most: usize,
    cut: bool,
    /// Whether the version has to be given, once that is known.
    version: Option<bool>,
}

enum Look<R> {
    /// Nothing is left to guess.
    Target(Box<Guessed<R>>),
    /// An element and the values that it could have.
    Open(String, Vec<String>),
}

impl<R: Send> Search<'_, R> {
    fn branch(
        &self,
        session: &Session<'_>,
        probe: &Probe<'_>,
        chosen: Vec<Definition>,
        branch: &mut Branch<R>,
    ) {
        if branch.found.len() >= branch.most {
            branch.cut = true;
            return;
        }
        match self.look(session, probe, &chosen, Some(&mut branch.version)) {
            Look::Target(guessed) => branch.found.push(*guessed),
            Look::Open(name, values) => {
                for value in values {
                    let mut more = chosen.clone();
                    more.push(Definition::new(&*name, value));
                    self.branch(session, probe, more, branch);
                }
            }
        }
    }

    /// Loads with what was chosen so far.
    fn look(
        &self,
        session: &Session<'_>,
        probe: &Probe<'_>,
        chosen: &[Definition],
        version: Option<&mut Option<bool>>,
    ) -> Look<R> {
        let mut all = self.given.to_vec();
        all.extend_from_slice(chosen);
        let loaded = session.load(self.entry, &all);
        if chosen.len() < DEEPEST {
            let wanted: Vec<String> = wanted(&loaded)
                .into_iter()
                .filter(|name| !all.iter().any(|d| d.name == *name))
                .collect();
            if let Some((name, values)) = self.values(session, probe, &all, &wanted) {
                return Look::Open(name, values);
            }
        }
        let (result, version) = match version {
            Some(known) => self.with_version(session, &mut all, loaded, known),
            None => ((self.each)(loaded.as_ref()), None),
        };
        Look::Target(Box::new(Guessed {
            definitions: chosen.to_vec(),
            version,
            result,
        }))
    }

    /// Gives a version if the specification has none, as Metro does.
    fn with_version(
        &self,
        session: &Session<'_>,
        all: &mut Vec<Definition>,
        loaded: Result<Spec, LoadErrors>,
        known: &mut Option<bool>,
    ) -> (R, Option<Definition>) {
        let given = all.iter().any(|d| d.name == VERSION);
        if let Ok(spec) = &loaded {
            let lacks = *known.get_or_insert_with(|| !given && !spec.is_defined(VERSION));
            if lacks && !spec.is_defined(VERSION) {
                all.push(Definition::new(VERSION, "1980-01-01"));
                let again = session.load(self.entry, all);
                if again.is_ok() {
                    return ((self.each)(again.as_ref()), all.pop());
                }
            }
        }
        ((self.each)(loaded.as_ref()), None)
    }

    /// The first of the elements for which there are files, with the values that these give.
    fn values(
        &self,
        session: &Session<'_>,
        probe: &Probe<'_>,
        all: &[Definition],
        wanted: &[String],
    ) -> Option<(String, Vec<String>)> {
        if wanted.is_empty() {
            return None;
        }
        let mut all = all.to_vec();
        for (number, name) in wanted.iter().enumerate() {
            all.push(Definition::new(&**name, format!("{MARK}{number}{MARK}")));
        }
        probe.take();
        // What becomes of it does not matter, only what it asks for.
        drop(session.load(self.entry, &all));
        let patterns = probe.take();
        for (number, name) in wanted.iter().enumerate() {
            let mark = format!("{MARK}{number}{MARK}");
            // Any file beside the entry would fit a path that is nothing but the mark.
            let any = self.entry.with_file_name(&mark);
            let sets = patterns
                .iter()
                .filter(|pattern| **pattern != any)
                .filter_map(|pattern| fitting(self.files, pattern, &mark));
            let both = |a: BTreeSet<String>, b: BTreeSet<String>| {
                let common: BTreeSet<String> = a.intersection(&b).cloned().collect();
                if common.is_empty() { a } else { common }
            };
            let values = sets.filter(|set| !set.is_empty()).reduce(both);
            if let Some(values) = values {
                return Some((name.clone(), values.into_iter().take(WIDEST).collect()));
            }
        }
        None
    }
}

/// The elements that collects need and that nothing defines.
fn wanted(loaded: &Result<Spec, LoadErrors>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    match loaded {
        Err(errors) => {
            for error in errors.all() {
                if let (Class::Undefined, Some(subject)) = (error.class, &error.subject)
                    && !subject.defined
                {
                    add(&subject.element);
                }
            }
        }
        // With `:zap` its absence is no error. Only what names the target counts here: that a file of the
        // user's own is not there says nothing.
        Ok(spec) => {
            for untaken in spec.untaken().iter().filter(|untaken| !untaken.condition) {
                let file = untaken.at.file();
                for mention in in_collect(file, untaken.collect) {
                    if let Role::Reference(Modifier::Zap | Modifier::Lax) = mention.role
                        && let Some(name) = mention.full(file).map(|name| name.join())
                        && (name == "target" || name.starts_with("target/"))
                        && !spec.is_defined(&name)
                    {
                        add(&name);
                    }
                }
            }
        }
    }
    names
}

/// What could stand at the mark in a path, by the files that are there. Nothing if it is not in the path, or
/// comes after another mark.
fn fitting(files: &dyn Files, pattern: &Path, mark: &str) -> Option<BTreeSet<String>> {
    let mut folder = PathBuf::new();
    let mut parts = pattern.components();
    let part = loop {
        match parts.next()? {
            Component::Normal(part) => {
                let part = part.to_str()?;
                if part.contains(MARK) {
                    break part;
                }
                folder.push(part);
            }
            other => folder.push(other),
        }
    };
    let (before, after) = part.split_once(mark)?;
    if before.contains(MARK) || after.contains(MARK) {
        return None;
    }
    let rest = parts.as_path().to_str()?;
    let mut values = BTreeSet::new();
    for entry in std::fs::read_dir(&folder).ok()?.flatten().take(100_000) {
        let name = entry.file_name();
        let Some(value) = name
            .to_str()
            .and_then(|name| name.strip_prefix(before))
            .and_then(|name| name.strip_suffix(after))
        else {
            continue;
        };
        if value.is_empty() || value.starts_with('.') {
            continue;
        }
        let path = entry.path();
        let there = match rest {
            "" => files.is_file(&path).unwrap_or(false),
            // What comes after may hold another mark.
            rest => match rest.replace(mark, value) {
                rest if rest.contains(MARK) => path.is_dir(),
                rest => files.is_file(&path.join(rest)).unwrap_or(false),
            },
        };
        if there {
            values.insert(value.to_owned());
        }
    }
    Some(values)
}

/// Files that remember which paths with a mark were asked for.
struct Probe<'a> {
    files: &'a dyn Files,
    asked: Mutex<BTreeSet<PathBuf>>,
}

impl<'a> Probe<'a> {
    fn new(files: &'a dyn Files) -> Self {
        Probe {
            files,
            asked: Mutex::default(),
        }
    }

    fn take(&self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn note(&self, path: &Path) {
        if path.to_str().is_some_and(|path| path.contains(MARK)) {
            let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.insert(path.to_owned());
        }
    }
}

impl Files for Probe<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.note(path);
        self.files.read(path)
    }

    fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.note(path);
        self.files.read_limited(path, limit)
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        self.note(path);
        self.files.is_file(path)
    }

    fn origin(&self, path: &Path) -> Option<PathBuf> {
        self.files.origin(path)
    }

    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        self.files.absolute(path)
    }
}
