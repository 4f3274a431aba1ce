//! Which store and which specifications a command works on.

use std::env;
use std::path::{Path, PathBuf};

use mstore_lang::Definition;
use mstore_store::{ErrorKind, OpenOptions, Store};

use super::object::{self, Found, Wants};
use super::{Failure, GlobalArgs, definitions};
use crate::build::userns::{self, Choice, Entered, UsernsError};
use crate::config::{self, Config};
use crate::drv::StoreFacts;
use crate::plan::{Distribution, Graph, Lock, Pins, Recipes, TargetId};

/// The answers to the options that every command takes.
pub struct Context {
    args: GlobalArgs,
    config_home: Option<PathBuf>,
    store: Result<PathBuf, Failure>,
    definitions: Vec<Definition>,
}

impl Context {
    /// Works out the store's folder, which has to happen while this process still is the user
    /// that it was started by.
    pub fn new(args: GlobalArgs) -> Result<Self, Failure> {
        Ok(Context {
            store: store_path(args.store.as_deref()),
            config_home: config_home(),
            definitions: definitions::parse(&args.define)?,
            args,
        })
    }

    /// The store's folder.
    pub fn store_path(&self) -> Result<PathBuf, Failure> {
        self.store.clone()
    }

    /// Reads the configuration file, if there is one.
    pub fn config(&self) -> Result<Config, Failure> {
        let named = self.args.config.clone().or_else(|| {
            env::var_os("MSTORE_CONFIG")
                .filter(|p| !p.is_empty())
                .map(PathBuf::from)
        });
        let store = self.store_path().ok();
        let places = config::places(store.as_deref(), self.config_home.as_deref());
        Ok(Config::find(named.as_deref(), &places)?)
    }

    /// Makes an ordinary user's process root of a user namespace. Has to come before anything
    /// that starts a thread.
    pub fn enter(&self) -> Result<Entered, UsernsError> {
        userns::enter(if self.args.single_id {
            Choice::Single
        } else {
            Choice::Auto
        })
    }

    /// Where users keep the configuration of their programs.
    pub fn config_home(&self) -> Option<&Path> {
        self.config_home.as_deref()
    }

    /// Opens the store for reading and writing, making it if there is none.
    pub fn store(&self) -> Result<Store, Failure> {
        Ok(Store::open(&self.store_path()?, &OpenOptions::create())?)
    }

    /// Opens the store for reading; an absent one is an error, a read-only or full one is not.
    pub fn store_to_read(&self) -> Result<Store, Failure> {
        let path = self.store_path()?;
        if !Store::exists(&path) {
            return Err(Failure::usage(format!("no store at {}", path.display()))
                .hint("`mstore realise` makes it; another one is given by --store DIR"));
        }
        open_to_read(&path)
    }

    /// The same, but an absent one is empty, and is not made.
    pub fn store_to_ask(&self) -> Result<Store, Failure> {
        let path = self.store_path()?;
        if Store::exists(&path) {
            open_to_read(&path)
        } else {
            Ok(Store::nothing(&path)?)
        }
    }

    /// The definitions of `--define`.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// The entry file that the user named.
    pub fn entry(&self) -> Option<&Path> {
        self.args.file.as_deref()
    }

    /// Opens the specifications.
    pub fn distribution(&self) -> Result<Distribution, Failure> {
        Ok(Distribution::open(
            self.entry(),
            &current_dir()?,
            self.definitions.clone(),
        )?)
    }
}

/// The folder that the command was started in.
pub fn current_dir() -> Result<PathBuf, Failure> {
    env::current_dir().map_err(|e| Failure::machine(format!("cannot tell the current folder: {e}")))
}

/// Where users keep the configuration of their programs.
fn config_home() -> Option<PathBuf> {
    let named = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    // A relative one is to be ignored, says its specification.
    named.filter(|p| p.is_absolute()).or_else(|| {
        let home = env::var_os("HOME").filter(|h| !h.is_empty())?;
        Some(Path::new(&home).join(".config"))
    })
}

fn store_path(option: Option<&Path>) -> Result<PathBuf, Failure> {
    let path = if let Some(path) = option {
        path.to_owned()
    } else if let Some(path) = env::var_os("MSTORE_STORE").filter(|p| !p.is_empty()) {
        path.into()
    } else if rustix::process::geteuid().is_root() {
        "/var/lib/mstore".into()
    } else if let Some(path) = env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        // A relative one is to be ignored, says its specification.
        .filter(|p| p.is_absolute())
    {
        path.join("mstore")
    } else if let Some(home) = env::var_os("HOME").filter(|h| !h.is_empty()) {
        Path::new(&home).join(".local/share/mstore")
    } else {
        return Err(Failure::usage("no place for the store: HOME is not set")
            .hint("give one with --store DIR or MSTORE_STORE"));
    };
    std::path::absolute(&path)
        .map_err(|e| Failure::machine(format!("cannot find the store {}: {e}", path.display())))
}

/// Specifications, lock file and store, opened together.
pub struct Session {
    /// The store.
    pub store: Store,
    /// What it knows.
    pub facts: StoreFacts,
    /// The specifications.
    pub distribution: Distribution,
    /// Seeds and snapshots as pinned.
    pub lock: Lock,
}

/// Whether this process may write into the store in `path`.
fn may_write(path: &Path) -> bool {
    let write = rustix::fs::Access::WRITE_OK;
    rustix::fs::access(path, write).is_ok() && rustix::fs::access(path.join("db"), write).is_ok()
}

/// Opens a store that exists; for writing where that can be, so that answers are remembered.
fn open_to_read(path: &Path) -> Result<Store, Failure> {
    if may_write(path) {
        let options = OpenOptions {
            create: false,
            read_only: false,
        };
        match Store::open(path, &options) {
            Err(error) if error.kind() == ErrorKind::NoSpace => {}
            other => return Ok(other?),
        }
    }
    Ok(Store::open(path, &OpenOptions::read_only())?)
}

impl Session {
    /// Opens the three; the store is made if there is none.
    pub fn open(context: &Context) -> Result<Session, Failure> {
        // Specification errors first: they must leave no empty store behind.
        let distribution = context.distribution()?;
        Self::with(context.store()?, distribution)
    }

    /// Opens the three for a command that only asks: a store that is not there is empty, and is not
    /// made; one that cannot be written is read.
    pub fn to_read(context: &Context) -> Result<Session, Failure> {
        let distribution = context.distribution()?;
        Self::with(context.store_to_ask()?, distribution)
    }

    /// Opens the three for bringing targets up to date; the store is made if there is none. One that may
    /// not be written is read: what is up to date needs nothing else.
    pub fn to_realise(context: &Context) -> Result<Session, Failure> {
        let distribution = context.distribution()?;
        let path = context.store_path()?;
        let store = match path.join("format").is_file() && !may_write(&path) {
            true => Store::open(&path, &OpenOptions::read_only())?,
            false => context.store()?,
        };
        Self::with(store, distribution)
    }

    fn with(store: Store, distribution: Distribution) -> Result<Session, Failure> {
        let lock = Lock::read(distribution.files(), &distribution.lock_path(store.path()))?;
        Ok(Session {
            facts: StoreFacts::new(store.clone()),
            store,
            distribution,
            lock,
        })
    }

    /// The targets that names stand for; the hash of a derivation, or its beginning, for the target that
    /// it is a step of.
    pub fn targets(&self, names: &[String]) -> Result<Vec<TargetId>, Failure> {
        let mut plain = Vec::with_capacity(names.len());
        for name in names {
            plain.push(match self.hash(name, object::DERIVATION)? {
                Some(found) => object::planned_target(self, name, &found)?.to_string(),
                None => name.clone(),
            });
        }
        Ok(self.distribution.expand(&plain)?)
    }

    /// What the hash `word`, or the beginning of one, names; `None` where it is the name of a target or
    /// cannot be a hash.
    pub fn hash(&self, word: &str, wants: Wants) -> Result<Option<Found>, Failure> {
        if !object::is_prefix(word) {
            return Ok(None);
        }
        let Err(unknown) = self.distribution.expand(&[word]) else {
            return Ok(None);
        };
        match object::planned(self, word, wants)? {
            None => Err(Failure::from(unknown).hint(format!(
                "nor does the hash of a {} begin with {word}",
                wants.word
            ))),
            found => Ok(found),
        }
    }

    /// Their recipes and those of what they start from.
    pub fn recipes(&self, targets: &[TargetId]) -> Result<Recipes, Failure> {
        Ok(self.distribution.recipes(targets, &self.lock)?)
    }

    /// The graph of some targets.
    pub fn graph(&self, names: &[String], pins: Pins) -> Result<Graph, Failure> {
        let recipes = self.recipes(&self.targets(names)?)?;
        Ok(Graph::build(&recipes, &self.lock, &self.facts, pins)?)
    }
}
