//! What a run was asked for: the elements of the command line over those of the entry file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_lang::{Definition, DiskFiles, LoadErrors, Spec};

use crate::cli::context::{Context, current_dir};
use crate::cli::failure::USAGE;
use crate::cli::{Failure, definitions, output, spec};
use crate::plan::{Distribution, Elements, Entry, Index, Lock, PlanError, TargetId, metro};
use crate::project::clock;
use crate::repo::config::Mode;
use crate::repo::control::Control;
use crate::repo::date::Date;
use crate::repo::layout::Mirror;
use crate::repo::mode::SNAPSHOT;
use crate::repo::name::Place;
use crate::repo::publish::place;
use crate::repo::quote::shown;
use crate::repo::strategy;

/// The element that names the day of a build.
const VERSION: &str = "target/version";
/// The file in the home folder that the old tool reads.
const USUAL: &str = ".metro";

/// What is to be built.
pub enum Wanted {
    /// The targets of a mode with its extras.
    Multi(Mode),
    /// One target.
    Single(String),
}

/// The elements of a run.
pub struct Settings {
    entry: Entry,
    /// Those that were given from outside, with the version.
    given: Vec<Definition>,
    /// All of them, as they are without a target.
    pub spec: Spec,
    /// Why that is not all.
    lacking: Option<LoadErrors>,
    /// Whether it is the entry file of a repository of Metro alone: what it collects needs to be told more.
    metro: bool,
}

/// What can be evaluated.
struct Evaluated {
    spec: Spec,
    lacking: Option<LoadErrors>,
    metro: bool,
}

impl Settings {
    /// Finds the entry file, and evaluates it with what is given.
    pub fn load(context: &Context, words: &[String]) -> Result<Settings, Failure> {
        let usual = home_file();
        let named = context.named_entry().map(Path::to_owned).or(usual);
        let entry = named.as_deref().or(context.entry());
        let entry = Entry::find(entry, &current_dir()?)?;
        let mut given = context.definitions().to_vec();
        for own in definitions::parse(words)? {
            // The last one counts, as it did.
            given.retain(|d| d.name != own.name);
            given.push(own);
        }
        let mut found = evaluate(&entry, &given)?;
        if !found.spec.is_defined(VERSION) {
            given.push(Definition::new(VERSION, clock::today()));
            found = evaluate(&entry, &given)?;
        }
        Ok(Settings {
            entry,
            given,
            spec: found.spec,
            lacking: found.lacking,
            metro: found.metro,
        })
    }

    /// Reports what is wrong, if not all of the specifications could be evaluated.
    pub fn whole(&self) -> Result<(), Failure> {
        match self.lacking.clone() {
            None => Ok(()),
            Some(errors) => {
                let failure = Failure::diagnostics(move |colour| errors.render(colour));
                Err(failure.hint("it may be that target/build, target/arch_desc, target/subarch or target is not given"))
            }
        }
    }

    /// All elements of a repository of Metro, where that can be told; nothing if it is not one.
    pub fn of_metro(&self) -> Result<Option<Elements>, Failure> {
        let Some(wanted) = self.wanted()?.filter(|_| self.metro) else {
            return Ok(None);
        };
        let distribution = self.distribution(&[])?;
        let mut id = self.id(distribution.index(), &wanted)?;
        let lock = Lock::in_memory();
        // One that is given counts, whatever else is to be built.
        if let Some(target) = self.given.iter().find(|d| d.name == "target") {
            target.value.trim().clone_into(&mut id.target);
            return Ok(Some(distribution.elements(&id, &lock)?));
        }
        Ok(Some(match wanted {
            Wanted::Single(_) => distribution.elements(&id, &lock)?,
            Wanted::Multi(mode) => distribution.mode(&id, &mode.target, &lock)?,
        }))
    }

    /// The entry file.
    pub fn entry(&self) -> &Path {
        self.entry.path()
    }

    /// An element, if it has something in it.
    pub fn element(&self, name: &str) -> Result<Option<String>, Failure> {
        let value = self
            .spec
            .get(name)
            .map_err(|e| Failure::diagnostics(move |colour| e.diagnostic.render(colour)))?;
        let text = value.map(|v| v.to_text().trim().to_owned());
        Ok(text.filter(|t| !t.is_empty()))
    }

    /// What is to be built; nothing if it is not said.
    pub fn wanted(&self) -> Result<Option<Wanted>, Failure> {
        if self.element("multi")?.as_deref() != Some("yes") {
            let given = self.given.iter().find(|d| d.name == "target");
            return Ok(match given {
                Some(given) => Some(Wanted::Single(given.value.trim().to_owned())),
                None => self.element("target")?.map(Wanted::Single),
            });
        }
        let listed = self.spec.is_defined("multi/targets");
        let target = match self.element("multi/mode")? {
            Some(mode) => mode,
            // They are listed whatever the mode is.
            None if listed => "multi".to_owned(),
            None => {
                return Err(Failure::usage("multi/mode is not given").hint(
                    "write `multi/mode: full` (or freshen, quick, stage1), or list targets in multi/targets",
                ));
            }
        };
        let extras = self.element("multi/extras")?.unwrap_or_default();
        let extras = extras.split(|c: char| c == '+' || c.is_whitespace());
        let extras = extras.filter(|e| !e.is_empty()).map(str::to_owned);
        Ok(Some(Wanted::Multi(Mode {
            target,
            extras: extras.collect(),
        })))
    }

    /// The day that the build is named by.
    pub fn version(&self) -> Result<String, Failure> {
        let text = self.element(VERSION)?.unwrap_or_default();
        Date::parse(&text).map_err(|e| {
            Failure::usage(format!("{VERSION}: {e}")).hint("write `target/version: 2015-02-20`")
        })?;
        Ok(text)
    }

    /// Opens the mirror.
    pub fn mirror(&self) -> Result<Mirror, Failure> {
        let Some(path) = self.element("path/mirror")? else {
            return Err(Failure::usage("there is no place for the mirror")
                .hint("set path/mirror in the entry file, or write `path/mirror: DIR`"));
        };
        Mirror::open(Path::new(&path)).map_err(|error| {
            Failure::from(error).hint(format!(
                "path/mirror says where it is; make it with: mkdir -p {}",
                shown(&path)
            ))
        })
    }

    /// The specifications for all targets.
    pub fn distribution(&self, more: &[Definition]) -> Result<Distribution, Failure> {
        let mut all: Vec<Definition> = self.given.iter().chain(more).cloned().collect();
        // Which target it is comes from whoever asks.
        all.retain(|d| d.name != "target");
        let (entry, cwd) = (self.entry.path(), current_dir()?);
        Ok(Distribution::open(Some(entry), &cwd, all)?)
    }

    /// The subarch that is built. Where a snapshot alone is made any subarch of the build will do.
    pub fn id(&self, index: &Index, wanted: &Wanted) -> Result<TargetId, Failure> {
        let Some(build) = self.element("target/build")? else {
            return Err(missing("target/build", &index.builds));
        };
        let (arch, subarch) = (
            self.element("target/arch_desc")?,
            self.element("target/subarch")?,
        );
        if matches!(wanted, Wanted::Single(target) if target == SNAPSHOT)
            && (arch.is_none() || subarch.is_none())
        {
            let mut all = index.all_of(&build);
            let first = all.next();
            let usual = all.find(|id| id.target == "stage3");
            return usual.or(first).ok_or_else(|| {
                Failure::usage(format!("no build is called `{}`", shown(&build)))
                    .hint(format!("there is: {}", index.builds.join(" ")))
            });
        }
        let Some(subarch) = subarch else {
            let all = index.arches.iter().flat_map(|arch| &arch.subarches);
            return Err(missing("target/subarch", &all.cloned().collect::<Vec<_>>()));
        };
        let arch_desc = match arch {
            Some(arch) => arch,
            None => {
                let homes = index.arches.iter();
                let homes = homes.filter(|arch| arch.subarches.contains(&subarch));
                match homes.map(|arch| &arch.name).collect::<Vec<_>>().as_slice() {
                    [only] => (*only).clone(),
                    _ => {
                        let all = index.arches.iter().map(|arch| arch.name.clone());
                        return Err(missing("target/arch_desc", &all.collect::<Vec<_>>()));
                    }
                }
            }
        };
        let target = match wanted {
            Wanted::Single(target) => target.clone(),
            Wanted::Multi(_) => String::new(),
        };
        Ok(TargetId {
            build,
            arch_desc,
            subarch,
            target,
        })
    }

    /// The definitions that a run adds: what its subarch starts from, as the files of control say.
    pub fn of_subarch(&self, mirror: &Mirror, id: &TargetId) -> Result<Vec<Definition>, Failure> {
        let place: Place = place(id)?;
        if self.metro {
            // It reads the files of control itself.
            return Ok(Vec::new());
        }
        let given = |name: &str| self.given.iter().any(|d| d.name == name);
        let mut more = Vec::new();
        let control = Control::open(mirror, &place).map_err(|e| {
            Failure::machine(format!(
                "cannot open .control of {}: {e}",
                shown(mirror.path(&place))
            ))
        })?;
        if let Some(control) = control {
            let free = |name: &str| !given(name) && spec::is_free(&self.spec, name);
            more.extend(strategy::elements(&control, free)?);
        }
        let more = more.into_iter();
        Ok(more
            .map(|(name, value)| Definition::new(name, value))
            .collect())
    }
}

/// Evaluates an entry file with all that it collects. What is wrong with the target alone is told of when that is
/// built: a snapshot need not be one. Of a repository of Metro that collects what needs to be told more, the entry file
/// alone serves.
fn evaluate(entry: &Entry, given: &[Definition]) -> Result<Evaluated, Failure> {
    let files = entry.files(Box::new(DiskFiles));
    let errors = match Spec::load(&files, entry.path(), given) {
        Ok(spec) => {
            return Ok(Evaluated {
                spec,
                lacking: None,
                metro: false,
            });
        }
        Err(errors) => errors,
    };
    let without: Vec<Definition> = given
        .iter()
        .filter(|d| d.name != "target")
        .cloned()
        .collect();
    let found = match without.len() < given.len() {
        true => Spec::load(&files, entry.path(), &without).ok(),
        false => None,
    };
    let metro = found.is_none();
    match found.or_else(|| metro::entry_of(&files, entry.path(), &without)) {
        Some(spec) => Ok(Evaluated {
            spec,
            lacking: Some(errors),
            metro,
        }),
        None => Err(Failure::diagnostics(move |colour| errors.render(colour))),
    }
}

/// The file of the old tool, if it is there.
fn home_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
    Some(Path::new(&home).join(USUAL)).filter(|path| path.is_file())
}

/// Names that an error lists at most.
const NAMED: usize = 12;

fn missing(element: &str, there: &[String]) -> Failure {
    let more = match there.len() {
        0..=NAMED => "",
        _ => " ...",
    };
    let names: Vec<&str> = there.iter().take(NAMED).map(String::as_str).collect();
    Failure::usage(format!("{element} is not given")).hint(format!(
        "write `{element}: NAME`; there is: {}{more}",
        names.join(" ")
    ))
}

/// Prints all elements.
pub fn dump(spec: &Spec) -> Result<ExitCode, Failure> {
    Ok(match spec::dump(spec.evaluate_all())? {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(USAGE),
    })
}

/// Prints all elements of a target.
pub fn print_settings(id: &TargetId, elements: &Elements) -> Result<(), Failure> {
    output::line(format!("# {id}"))?;
    spec::dump(elements.spec().evaluate_all()).map(drop)
}

/// Whether archives that are there are made again.
pub fn replaces(elements: &Elements) -> Result<bool, Failure> {
    let options = elements.words("metro/options");
    let options = options.map_err(PlanError::from)?;
    Ok(options.iter().any(|word| word == "replace"))
}
