//! What commands share that keep locks and logs in dpb's forms: the folder, what earlier logs tell, hosts.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Failure;
use super::context::{Context, current_dir};
use super::output::plural;
use crate::dpb::folder;
use crate::dpb::{Board, BuildHistory, Desk, DeskError, LogFolder, PkgPath, Screen, Setup};
use crate::farm::HostsFile;
use crate::project::ports;
use crate::project::realise::Reopen;
use crate::schedule::HostNews;

/// Largest list of paths that is read, in bytes.
const MAX_LIST: u64 = 64 << 20;

/// What is known before the locks are looked at.
pub struct Past {
    /// Where locks and logs are.
    pub root: PathBuf,
    /// What the log of an earlier run tells of durations, if one was named.
    durations: Option<BuildHistory>,
    /// What the log in the folder tells of sizes.
    sizes: Arc<BuildHistory>,
    /// How much faster the fastest host is than one of factor 1.
    greatest: f64,
}

impl Past {
    /// Reads what is known: of `history`, and of the logs in the folder `root`.
    pub fn read(
        root: &Path,
        history: Option<&Path>,
        hosts: Option<&HostsFile>,
    ) -> Result<Past, Failure> {
        let factors: HashMap<String, f64> = hosts
            .iter()
            .flat_map(|file| &file.hosts)
            .map(|host| (host.name.clone(), host.speed.unwrap_or(1.0)))
            .collect();
        let durations = match history {
            Some(file) => Some(read_history(file, &factors)?),
            None => None,
        };
        let sizes = match BuildHistory::read(&root.join("build.log"), &factors) {
            Ok(history) => history,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => BuildHistory::default(),
            Err(e) => {
                let file = root.join("build.log");
                return Err(Failure::machine(format!(
                    "cannot read {}: {e}",
                    file.display()
                )));
            }
        };
        Ok(Past {
            root: root.to_owned(),
            sizes: Arc::new(match (&durations, sizes.is_empty()) {
                (Some(durations), true) => durations.clone(),
                _ => sizes,
            }),
            durations,
            greatest: factors.values().copied().fold(1.0, f64::max),
        })
    }

    /// Seconds that a task of a path is likely to take on a host of factor 1, if a log was named that tells.
    pub fn seconds(&self, path: &str, task: &str) -> Option<f64> {
        let known = self.durations.as_ref()?.get(path)?;
        let seconds = match known.tasks.is_empty() {
            true => Some(known.seconds),
            false => known.tasks.get(task).copied(),
        };
        seconds.map(|seconds| seconds * self.greatest)
    }

    /// Opens locks and logs.
    pub fn desk(
        &self,
        writes_dependencies: bool,
        every: Duration,
        screen: Box<dyn Screen>,
    ) -> Result<Desk, Failure> {
        let setup = Setup {
            history: self.sizes.clone(),
            packages: BTreeMap::new(),
            writes_dependencies,
            every,
            screen,
        };
        Desk::open(&self.root, setup).map_err(|error| match error {
            DeskError::Lock(crate::dpb::LockError::Read { .. }) => Failure::machine(&error).hint(
                "nothing was started: look at that file, and remove it if nobody works there",
            ),
            _ => Failure::machine(error),
        })
    }
}

fn read_history(file: &Path, factors: &HashMap<String, f64>) -> Result<BuildHistory, Failure> {
    let history = BuildHistory::read(file, factors).map_err(|e| {
        Failure::usage(format!("cannot read the build log {}: {e}", file.display()))
    })?;
    if history.malformed > 0 {
        tell!(
            "{} {} {} of {} passed over: not of the form PATH HOST TIME LOGSIZE TIMING",
            super::output::Style::stderr().note("note:"),
            history.malformed,
            plural(history.malformed, "line"),
            file.display()
        );
    }
    Ok(history)
}

/// Reads a list of paths: one a line, `#` begins a comment.
pub fn read_list(file: &Path) -> Result<Vec<String>, Failure> {
    let refuse = |e: std::io::Error| Failure::usage(format!("cannot read {}: {e}", file.display()));
    let bytes = crate::dpb::files::read(file, MAX_LIST).map_err(refuse)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("{}: it is not text (UTF-8)", file.display())))?;
    let mut names = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let name = line.split('#').next().unwrap_or_default().trim();
        if !name.is_empty() {
            check(name).map_err(|e| Failure::usage(format!("{}:{number}: {e}", file.display())))?;
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Checks that a word can be the path of a port, the name of a target, or a pattern.
pub fn check(name: &str) -> Result<(), crate::dpb::BadName> {
    name.parse::<PkgPath>().map(drop)
}

/// Opens the specifications of a command again.
pub fn reopen(context: &Context) -> Result<Box<Reopen>, Failure> {
    let (entry, cwd) = (context.entry().map(Path::to_owned), current_dir()?);
    let definitions = context.definitions().to_vec();
    Ok(Box::new(move || {
        let opened = ports::open_specifications(entry.as_deref(), &cwd, definitions.clone());
        opened.map_err(|error| error.to_string())
    }))
}

/// A number that nobody can foretell, for a random order.
pub fn seed() -> Result<u64, Failure> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| Failure::machine(format!("cannot get random numbers: {e}")))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Shows nothing.
pub struct NoScreen;

impl Screen for NoScreen {
    fn turn(&mut self, _: bool, _: &mut dyn FnMut() -> Board) {}
    fn host(&mut self, _: &str, _: &HostNews) {}
    fn close(&mut self, _: Board) {}
}

/// The paths that were needed most often the last time.
pub fn most_needed(folder: &LogFolder) -> Result<Vec<String>, Failure> {
    folder.dependencies().map_err(Failure::machine)
}

/// Reads a log of sizes.
pub fn read_sizes(file: &Path) -> Result<HashMap<String, u64>, Failure> {
    folder::sizes(file)
        .map_err(|e| Failure::usage(format!("cannot read the sizes {}: {e}", file.display())))
}
