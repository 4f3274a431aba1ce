//! What every verb needs: the mirror, its configuration, and today.

use std::cell::OnceCell;
use std::env;
use std::path::{Path, PathBuf};

use mstore_lang::{Definition, DiskFiles, Spec};

use crate::cli::Failure;
use crate::cli::context::{Context, current_dir};
use crate::cli::site::{self, Site};
use crate::plan::{Entry, metro};
use crate::project::clock;
use crate::repo::config::{Buildbot, FILE_NAME};
use crate::repo::control::FailCount;
use crate::repo::date::Date;
use crate::repo::layout::{CONTROL, FAILCOUNT, Mirror};
use crate::repo::owner::Ownership;
use crate::repo::quote::shown;
use crate::repo::scan::Subarch;

/// Options of all verbs.
#[derive(clap::Args)]
pub struct Options {
    /// Mirror to look after [default: path/mirror of the specifications or of ~/.metro]
    #[arg(long, global = true, value_name = "DIR")]
    mirror: Option<PathBuf>,
    /// Day to take for today, in UTC [default: what the clock says]
    #[arg(long, global = true, value_name = "YYYY-MM-DD")]
    today: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

/// Specifications, as far as they say something about the mirror.
struct Specs {
    path: PathBuf,
    spec: Spec,
    /// Whether they are those of a repository of Metro, which reads the files of control itself.
    metro: bool,
}

/// The answers to these options.
pub struct Desk<'a> {
    context: &'a Context,
    options: Options,
    today: Date,
    specs: OnceCell<Option<Specs>>,
}

impl<'a> Desk<'a> {
    /// Reads the options.
    pub fn new(context: &'a Context, options: Options) -> Result<Desk<'a>, Failure> {
        let today = match &options.today {
            Some(text) => Date::parse(text).map_err(|e| Failure::usage(format!("--today: {e}")))?,
            None => Date::of_seconds(clock::now()),
        };
        Ok(Desk {
            context,
            options,
            today,
            specs: OnceCell::new(),
        })
    }

    /// The answers to the global options.
    pub fn context(&self) -> &'a Context {
        self.context
    }

    /// Whether JSON is wanted.
    pub fn json(&self) -> bool {
        self.options.json
    }

    /// Today.
    pub fn today(&self) -> Date {
        self.today
    }

    /// Opens the mirror.
    pub fn mirror(&self) -> Result<Mirror, Failure> {
        if let Some(path) = &self.options.mirror {
            return Ok(Mirror::open(path)?);
        }
        match self.element("path/mirror")? {
            Some(path) => Ok(Mirror::open(Path::new(&path))?),
            None => Err(Failure::usage("there is no place for the mirror")
                .hint("give one with --mirror DIR, or set path/mirror in ~/.metro")),
        }
    }

    /// Reads the configuration, and tells what it printed.
    pub fn buildbot(&self) -> Result<Buildbot, Failure> {
        let mut buildbot = self.find_buildbot()?;
        tell_printed(&mut buildbot);
        Ok(buildbot)
    }

    fn find_buildbot(&self) -> Result<Buildbot, Failure> {
        if let Some(named) = self.context.named_config() {
            return Ok(Buildbot::read(named)?);
        }
        let usual = home().map(|home| home.join(FILE_NAME));
        if let Some(usual) = &usual
            && usual.symlink_metadata().is_ok()
        {
            return Ok(Buildbot::read(usual)?);
        }
        if let Some(specs) = self.specs()?
            && let Some(buildbot) = Buildbot::of_spec(&specs.path, &specs.spec)?
        {
            return Ok(buildbot);
        }
        Ok(Buildbot::read(&usual.unwrap_or_else(|| FILE_NAME.into()))?)
    }

    /// The specifications in effect, without the standard ones; else `~/.metro`.
    fn specs(&self) -> Result<Option<&Specs>, Failure> {
        if let Some(specs) = self.specs.get() {
            return Ok(specs.as_ref());
        }
        let entry = Entry::find(self.context.entry(), &current_dir()?)?;
        // What is built is not what ~/.metro says where the specifications are the standard ones.
        let own = !entry.is_builtin();
        let found = match entry.is_builtin() {
            false => Some(entry),
            true => home()
                .map(|home| home.join(".metro"))
                .filter(|path| path.is_file())
                .map(Entry::at),
        };
        let specs = match found {
            None => None,
            Some(entry) => {
                let files = entry.files(Box::new(DiskFiles));
                let definitions: &[Definition] = self.context.definitions();
                let path = entry.path().to_owned();
                let (spec, metro) = match Spec::load(&files, &path, definitions) {
                    Ok(spec) => (spec, false),
                    // It does not load without a target.
                    Err(errors) => match metro::entry_of(&files, &path, definitions) {
                        Some(spec) => (spec, own),
                        None => {
                            return Err(Failure::diagnostics(move |colour| errors.render(colour)));
                        }
                    },
                };
                Some(Specs { path, spec, metro })
            }
        };
        Ok(self.specs.get_or_init(|| specs).as_ref())
    }

    /// Whether specifications read by themselves what the files of control in the mirror say.
    pub fn reads_control(&self) -> Result<bool, Failure> {
        Ok(self.specs()?.is_some_and(|specs| specs.metro))
    }

    /// Owner, group and mode of what is written, as the specifications say.
    pub fn ownership(&self) -> Result<Ownership, Failure> {
        site::ownership(|name| self.element(name))
    }

    /// The mirror with what publishing needs.
    pub fn site(&self) -> Result<Site, Failure> {
        self.site_at(self.mirror()?)
    }

    /// What publishing needs of another mirror.
    pub fn site_at(&self, mirror: Mirror) -> Result<Site, Failure> {
        Site::new(self.context, mirror, self.ownership()?)
    }

    /// Whether the mirror is shared with machines on which the old tool runs.
    pub fn shared(&self) -> Result<bool, Failure> {
        Ok(self.context.machine_config()?.shared_mirror)
    }

    /// An element of the specifications, if they have it with something in it.
    pub fn element(&self, name: &str) -> Result<Option<String>, Failure> {
        let Some(specs) = self.specs()? else {
            return Ok(None);
        };
        let value = specs
            .spec
            .get(name)
            .map_err(|e| Failure::diagnostics(move |colour| e.diagnostic.render(colour)))?;
        let text = value.map(|v| v.to_text().trim().to_owned());
        Ok(text.filter(|t| !t.is_empty()))
    }
}

fn home() -> Option<PathBuf> {
    env::var_os("HOME")
        .filter(|h| !h.is_empty())
        .map(PathBuf::from)
}

/// Tells what the configuration printed since it was asked last.
pub fn tell_printed(buildbot: &mut Buildbot) {
    for line in buildbot.take_printed() {
        tell!("{}", shown(line));
    }
}

/// Tells which fail counts cannot be read.
pub fn tell_unreadable(subarches: &[Subarch]) {
    for subarch in subarches {
        if let FailCount::Unreadable { detail, .. } = &subarch.fails {
            let path = subarch.path.join(CONTROL).join(FAILCOUNT);
            tell!("warning: {}: {detail}: it counts as 0", shown(path));
        }
    }
}
