//! The answers to the global options and to the environment: which store, which specifications,
//! which configuration. Opens each when it is asked for.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mstore_lang::Definition;
use mstore_store::{Cancel, Store};

use super::{Failure, GlobalArgs, definitions, output, signals};
use crate::build::userns::{self, Choice, Entered, UsernsError};
use crate::config::{self, Config};
use crate::plan::distribution::PORTS_TREE;
use crate::plan::{Distribution, Entry, TargetId, Unread, above};
use crate::project::find::{self, NamedTree};
use crate::project::peers::ssh_command;
use crate::project::ports;
use crate::project::{Access, Project, Reach, open_store};
use crate::schedule::Leave;
use crate::share::fetch::FetchOptions;

/// The answers to the options that every command takes.
pub struct Context {
    args: GlobalArgs,
    /// The entry file of a folder above, where none was named and this folder has none.
    above: Option<PathBuf>,
    config_home: Option<PathBuf>,
    store: Result<PathBuf, NoStorePath>,
    definitions: Vec<Definition>,
    cancel: OnceLock<Cancel>,
    leave: Arc<Leave>,
}

/// Something that was chosen for this run.
pub struct Chosen {
    /// What.
    pub name: &'static str,
    /// The choice.
    pub value: Option<String>,
    /// What made it.
    pub origin: Origin,
}

/// What made a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An option.
    Option(&'static str),
    /// A variable of the environment.
    Environment(&'static str),
    /// A file that lies where it is looked for.
    Found,
    /// Nothing: it is as usual.
    Default,
}

impl Origin {
    /// The kind of it.
    pub fn word(self) -> &'static str {
        match self {
            Origin::Option(_) => "option",
            Origin::Environment(_) => "environment",
            Origin::Found => "found",
            Origin::Default => "default",
        }
    }

    /// The option or the variable.
    pub fn source(self) -> Option<&'static str> {
        match self {
            Origin::Option(name) | Origin::Environment(name) => Some(name),
            Origin::Found | Origin::Default => None,
        }
    }
}

/// Why there is no place for the store.
#[derive(Clone, Debug, thiserror::Error)]
enum NoStorePath {
    #[error("no place for the store: HOME is not set")]
    NoHome,
    #[error("cannot find the store {}: {detail}", path.display())]
    NotFound { path: PathBuf, detail: String },
    #[error("the store belongs to another user (user id {owner}): {}", path.display())]
    Foreign { path: PathBuf, owner: u32 },
}

impl Context {
    /// Works out the folders of the store and of the specifications, which has to happen while this
    /// process still is the user that it was started by.
    pub fn new(args: GlobalArgs) -> Result<Self, Failure> {
        if let Some(folder) = &args.directory {
            env::set_current_dir(folder)
                .map_err(|e| Failure::usage(format!("cannot enter {}: {e}", folder.display())))?;
        }
        // Where this folder has no name, nothing lies above it.
        let cwd = env::current_dir().ok().filter(|_| args.file.is_none());
        let above = cwd.and_then(|cwd| above(&cwd, rustix::process::geteuid().as_raw()));
        let mut definitions = definitions::parse(&args.define)?;
        if let Some(folder) = &args.ports_tree {
            let folder = std::path::absolute(folder)
                .map_err(|e| Failure::usage(format!("cannot find {}: {e}", folder.display())))?;
            let Some(folder) = folder.to_str() else {
                return Err(Failure::usage(format!(
                    "the path is not UTF-8: {}",
                    folder.display()
                )));
            };
            definitions.retain(|given| given.name != PORTS_TREE);
            definitions.push(Definition::new(PORTS_TREE, folder));
        }
        Ok(Context {
            above,
            store: store_path(args.store.as_deref()).and_then(|path| own(path, args.foreign_store)),
            config_home: config_home(),
            definitions,
            args,
            cancel: OnceLock::new(),
            leave: Arc::default(),
        })
    }

    /// The store's folder.
    pub fn store_path(&self) -> Result<PathBuf, Failure> {
        self.store.clone().map_err(|e| match e {
            NoStorePath::NoHome => {
                Failure::usage(e).hint("give one with --store DIR or MSTORE_STORE")
            }
            NoStorePath::NotFound { .. } => Failure::machine(e),
            NoStorePath::Foreign { .. } => foreign(e),
        })
    }

    /// Refuses a folder of somebody else, to which or from which a store is to be copied, as one's own is.
    pub fn check_owner(&self, folder: &Path) -> Result<(), Failure> {
        let own = own(folder.to_path_buf(), self.args.foreign_store);
        own.map(drop).map_err(foreign)
    }

    /// Reads the configuration file, if there is one.
    pub fn config(&self) -> Result<Config, Failure> {
        self.read_config(self.args.config.clone())
    }

    /// Reads the configuration file for a command that has another meaning for `--config`.
    pub fn machine_config(&self) -> Result<Config, Failure> {
        self.read_config(None)
    }

    fn read_config(&self, named: Option<PathBuf>) -> Result<Config, Failure> {
        let named = named.or_else(|| {
            env::var_os("MSTORE_CONFIG")
                .filter(|p| !p.is_empty())
                .map(PathBuf::from)
        });
        let store = self.store_path().ok();
        let places = config::places(store.as_deref(), self.config_home.as_deref());
        Ok(Config::find(named.as_deref(), &places)?)
    }

    /// The file that `--config` names.
    pub fn named_config(&self) -> Option<&Path> {
        self.args.config.as_deref()
    }

    /// What was chosen by options, by the environment, or by what lies around, in place of the configuration file.
    pub fn choices(&self, config: &Config) -> Result<Vec<Chosen>, Failure> {
        let args = &self.args;
        let by = |option: bool, name: &'static str, variable: &'static str, set: bool| match () {
            () if option => Origin::Option(name),
            () if set => Origin::Environment(variable),
            () => Origin::Default,
        };
        let has = |name: &str| env::var_os(name).is_some_and(|v| !v.is_empty());
        let yes = |yes: bool| Some(if yes { "yes" } else { "no" }.to_owned());
        let shown = |path: &Path| Some(path.display().to_string());
        let entry = Entry::choose(self.entry(), &current_dir()?)?;
        let foreign = env::var_os("MSTORE_FOREIGN_STORE").is_some_and(|v| v == "yes");
        let choice = |name, value, origin| Chosen {
            name,
            value,
            origin,
        };
        let home = match rustix::process::geteuid().is_root() {
            true => Origin::Default,
            false if has("XDG_DATA_HOME") => Origin::Environment("XDG_DATA_HOME"),
            false => Origin::Environment("HOME"),
        };
        Ok(vec![
            choice(
                "store",
                shown(&self.store_path()?),
                match by(
                    args.store.is_some(),
                    "--store",
                    "MSTORE_STORE",
                    has("MSTORE_STORE"),
                ) {
                    Origin::Default => home,
                    other => other,
                },
            ),
            choice(
                "config",
                config.file.as_deref().and_then(shown),
                match by(
                    args.config.is_some(),
                    "--config",
                    "MSTORE_CONFIG",
                    has("MSTORE_CONFIG"),
                ) {
                    Origin::Default if config.file.is_some() => Origin::Found,
                    other => other,
                },
            ),
            choice(
                "file",
                match entry.is_builtin() {
                    true => Some("the standard specifications".to_owned()),
                    false => shown(entry.path()),
                },
                match () {
                    () if args.file.is_some() => Origin::Option("--file"),
                    () if entry.is_builtin() => Origin::Default,
                    () => Origin::Found,
                },
            ),
            choice(
                "ssh",
                Some(self.reach().ssh.join(" ")),
                by(false, "", "MSTORE_SSH", has("MSTORE_SSH")),
            ),
            choice(
                "offline",
                yes(args.offline),
                by(args.offline, "--offline", "", false),
            ),
            choice(
                "single-id",
                yes(args.single_id),
                by(args.single_id, "--single-id", "", false),
            ),
            choice(
                "foreign-store",
                yes(args.foreign_store || foreign),
                by(
                    args.foreign_store,
                    "--foreign-store",
                    "MSTORE_FOREIGN_STORE",
                    foreign,
                ),
            ),
        ])
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

    /// The flag that the first signal cancels from now on, in place of ending the process. For commands
    /// that stop then; the others end as they always did. To be called after [`Context::enter`]: it starts
    /// a thread.
    pub fn cancel(&self) -> Result<&Cancel, Failure> {
        if let Some(cancel) = self.cancel.get() {
            return Ok(cancel);
        }
        let cancel = Cancel::new();
        signals::watch(&cancel, Arc::clone(&self.leave))
            .map_err(|e| Failure::machine(format!("cannot handle signals: {e}")))?;
        Ok(self.cancel.get_or_init(|| cancel))
    }

    /// What the first Ctrl-C asks for where a run is given this: that what runs ends in its time. To be used with
    /// [`Context::cancel`].
    pub fn leave(&self) -> &Leave {
        &self.leave
    }

    /// Where sockets may lie.
    pub fn socket_folders(&self) -> Vec<PathBuf> {
        let own = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        own.into_iter()
            .chain([env::temp_dir(), "/tmp".into()])
            .collect()
    }

    /// Where users keep the configuration of their programs.
    pub fn config_home(&self) -> Option<&Path> {
        self.config_home.as_deref()
    }

    /// How other places are reached unless a command says otherwise.
    pub fn reach(&self) -> Reach {
        Reach {
            jobs: 4,
            ssh: ssh_command(&env::var("MSTORE_SSH").unwrap_or_default()),
            remote_program: "mstore".to_owned(),
            ca_file: None,
            timeout: Duration::from_secs(30),
            offline: self.args.offline,
        }
    }

    /// How content is fetched that is known by its hashes.
    pub fn outside(&self, config: &Config) -> FetchOptions {
        FetchOptions {
            offline: self.args.offline,
            folders: Vec::new(),
            timeout: config.fetch.timeout,
            ca_file: config.fetch.ca_file.clone(),
            a_site: config.fetch.a_site,
        }
    }

    /// Opens the store.
    pub fn store(&self, access: Access) -> Result<Store, Failure> {
        Ok(told(open_store(&self.store_path()?, access)?))
    }

    /// The definitions of `--define`.
    pub fn definitions(&self) -> &[Definition] {
        &self.definitions
    }

    /// The entry file that the user named.
    pub fn named_entry(&self) -> Option<&Path> {
        self.args.file.as_deref()
    }

    /// The entry file that the user named, or that was found in a folder above.
    pub fn entry(&self) -> Option<&Path> {
        self.named_entry().or(self.above.as_deref())
    }

    /// Tells that the standard specifications are used, where nobody asked for them.
    pub fn tell_if_standard(&self, distribution: &Distribution) {
        if self.entry().is_none() && distribution.is_builtin() {
            tell!(
                "note: there is no metro.conf here or above: these are the standard specifications (`mstore specs`)"
            );
        }
    }

    /// Warns of definitions of `--define` that nothing reads that is made of `targets`. Returns whether there are any.
    pub fn tell_unread(&self, project: &Project, targets: &[TargetId]) -> Result<bool, Failure> {
        if self.definitions.is_empty() {
            return Ok(false);
        }
        let unread = project.distribution.unread(targets, &project.lock)?;
        for Unread { name, nearest } in &unread {
            let nearest = match nearest.as_slice() {
                [] => String::new(),
                names => format!("; nearest: {}", names.join(" ")),
            };
            tell!(
                "{} --define {name}: nothing reads this element{nearest}",
                output::Style::stderr().note("warning:")
            );
        }
        Ok(!unread.is_empty())
    }

    /// Opens the specifications.
    pub fn distribution(&self) -> Result<Distribution, Failure> {
        self.distribution_with(self.definitions.clone())
    }

    /// Opens the specifications with these definitions, and the ports tree that they name.
    fn distribution_with(&self, definitions: Vec<Definition>) -> Result<Distribution, Failure> {
        let cwd = current_dir()?;
        Ok(ports::open_specifications(self.entry(), &cwd, definitions)?)
    }

    /// Opens specifications, lock file and store.
    pub fn project(&self, access: Access) -> Result<Project, Failure> {
        // Specification errors first, also before the store's place is asked for.
        let distribution = self.distribution()?;
        self.open(access, distribution)
    }

    /// Opens lock file and store for specifications that are open.
    pub fn open(&self, access: Access, distribution: Distribution) -> Result<Project, Failure> {
        let mut project = Project::open(&self.store_path()?, access, distribution)?;
        project.store = told(project.store);
        Ok(project)
    }

    /// Opens the three with more definitions, which take the place of those of `--define`.
    pub fn project_with(&self, access: Access, more: Vec<Definition>) -> Result<Project, Failure> {
        let mut all: Vec<Definition> = self.definitions.clone();
        all.retain(|given| !more.iter().any(|own| own.name == given.name));
        all.extend(more);
        self.open(access, self.distribution_with(all)?)
    }

    /// Opens the three for a command that changes the lock file.
    pub fn project_to_pin(&self) -> Result<Project, Failure> {
        self.enter()?;
        self.project(Access::Change)
    }

    /// Finds the tree of a hash, of the beginning of one, of a gc root, of a target, or of a seed or snapshot.
    pub fn tree(&self, store: &Store, word: &str) -> Result<NamedTree, Failure> {
        match find::tree_by_hash_or_root(store, word) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Ok(self.project(Access::ReadIfPresent)?.named_tree(word)?),
            // What looks like the beginning of a hash may be the name of a seed; then there are specifications.
            Err(error) => match self.project(Access::ReadIfPresent) {
                Ok(project) => Ok(project.pinned_tree(word)?.ok_or(error)?),
                Err(_) => Err(error.into()),
            },
        }
    }
}

/// Tells what was open to other users until now.
fn told(store: Store) -> Store {
    let closed = store.tightened();
    if !closed.is_empty() {
        tell!(
            "note: other users had more access to the store than they should, and have it no more: {}: {}",
            store.path().display(),
            closed.join(", ")
        );
    }
    store
}

fn foreign(error: NoStorePath) -> Failure {
    Failure::machine(error).hint(
        "--foreign-store (or MSTORE_FOREIGN_STORE=yes) uses it all the same; \
         what its owner puts there is then believed",
    )
}

/// Refuses a store whose folder belongs neither to root nor to the caller, unless the caller says so: its owner could
/// put links and results of their choice there.
fn own(path: PathBuf, foreign: bool) -> Result<PathBuf, NoStorePath> {
    use std::os::unix::fs::MetadataExt as _;

    let said = env::var_os("MSTORE_FOREIGN_STORE").is_some_and(|v| v == "yes");
    if foreign || said {
        return Ok(path);
    }
    // One that is absent, or cannot be looked at, is told of by whoever opens it.
    let owner = std::fs::metadata(&path).map(|meta| meta.uid());
    let me = rustix::process::geteuid().as_raw();
    match owner {
        Ok(owner) if owner != 0 && owner != me => Err(NoStorePath::Foreign { path, owner }),
        _ => Ok(path),
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

fn store_path(option: Option<&Path>) -> Result<PathBuf, NoStorePath> {
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
        return Err(NoStorePath::NoHome);
    };
    std::path::absolute(&path).map_err(|e| NoStorePath::NotFound {
        detail: e.to_string(),
        path,
    })
}
