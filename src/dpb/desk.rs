//! The desk: carries what a run decides into locks and logs, and keeps what is shown meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::build_log::{BuildHistory, BuildLine};
use super::display::Shown;
use super::files::{Appended, FileError};
use super::folder::{Log, LogFolder, now};
use super::lines::{self, Change, Counts};
use super::lock::{Holding, LockError, Locks, Mine, Taken};
use super::name::PkgPath;
use super::process;
use crate::build::pause::Stopwatch;
use crate::schedule::HostNews;
use crate::schedule::ledger::{Ledger, LedgerError, Lock, Look, PathEvent, PathState, TaskEnd};

mod board;
mod hosts;
mod silence;

pub use silence::Silences;

/// Bytes of the log of one attempt; what comes beyond is counted and not kept.
const LONGEST_LOG: u64 = 4 << 30;
/// How often the locks and stop files are looked at, at least.
const LOOK: Duration = Duration::from_secs(2);

/// Shows how a run gets on.
pub trait Screen {
    /// Is called several times a second. `changed` tells whether anything did since; `board` gives what is to be
    /// shown.
    fn turn(&mut self, changed: bool, board: &mut dyn FnMut() -> Board);

    /// Takes in what happened to a host.
    fn host(&mut self, name: &str, news: &HostNews);

    /// Takes the whole away at the end.
    fn close(&mut self, board: Board);
}

/// What there is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// The running jobs, the oldest first.
    pub jobs: Vec<Shown>,
    /// How many paths are in each state.
    pub counts: Counts,
    /// Paths that cannot be built because of locks.
    pub locked: Vec<String>,
    /// Paths in error, with the host where that is another machine.
    pub errors: Vec<(String, Option<String>)>,
}

/// Why a desk could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// A lock is of no use.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file is.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The attempt at a path that runs.
struct Attempt {
    path: PkgPath,
    log: Appended,
    size: u64,
    tasks: Vec<(String, f64)>,
    host: String,
    here: bool,
    /// Whether it was not given to the host that holds its inputs.
    strayed: bool,
    /// The task that runs, and how many there were before.
    task: Option<String>,
    order: u64,
    pid: Option<u32>,
    waits_for: Option<String>,
    /// Whether its lock tells what it needs.
    knows_needs: bool,
    /// Bytes of the largest work folder of a task, and of that of `fake`.
    work: Option<u64>,
    fake: Option<u64>,
    /// Places for jobs that its task has, and the most that one had.
    slots: usize,
    most_slots: usize,
    /// Whether its task fills a gap, and whether its work folder is in memory.
    filler: bool,
    memory: bool,
    /// The tag that its lock tells.
    tag: Option<String>,
    spoke: Stopwatch,
}

/// How a task starts.
struct Start<'a> {
    host: &'a str,
    here: bool,
    slots: usize,
    filler: bool,
    tag: Option<&'a str>,
}

/// The state of a path, as it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    ToBuild,
    Queued,
    Running,
    Installable,
    Locked,
    Aside,
    Error,
    Ignored,
}

/// Tells the bytes of the work folder that the last build of a task of a path had.
pub type Sizes = dyn Fn(&str, &str) -> Option<u64>;

/// The desk of one run.
pub struct Desk {
    folder: LogFolder,
    locks: Locks,
    pid: u32,
    host: String,
    held: BTreeMap<String, Holding>,
    /// Locks of hosts that are being set up.
    hosts: BTreeMap<String, Mine>,
    /// Hosts that were there.
    were_up: BTreeSet<String>,
    attempts: BTreeMap<String, Attempt>,
    started: u64,
    /// Paths that wait for locks to go, with the names of these.
    waiting: BTreeMap<String, String>,
    states: BTreeMap<Arc<str>, State>,
    errors: Vec<(String, Option<String>)>,
    history: Arc<BuildHistory>,
    packages: BTreeMap<String, Vec<String>>,
    /// Of paths that nobody asked for: those through which they were found.
    parents: BTreeMap<String, String>,
    /// What is to be fetched.
    fetches: BTreeSet<String>,
    writes_dependencies: bool,
    /// How often each path is needed, where that was counted over all that there is.
    needed: Option<Vec<(String, usize)>>,
    sizes: Option<Box<Sizes>>,
    every: Duration,
    looked: Option<Instant>,
    stats: Option<Counts>,
    concurrent: usize,
    changed: bool,
    /// Taken out while it is drawn.
    screen: Option<Box<dyn Screen>>,
}

/// How a desk goes about it.
pub struct Setup {
    /// What earlier builds tell.
    pub history: Arc<BuildHistory>,
    /// The packages that come of each path.
    pub packages: BTreeMap<String, Vec<String>>,
    /// Whether to write how often each path is needed.
    pub writes_dependencies: bool,
    /// How often to look at stop files, at least.
    pub every: Duration,
    /// Shows how it gets on.
    pub screen: Box<dyn Screen>,
}

impl Desk {
    /// A desk over the folder of logs at `root`, which is made if it is not there. Every lock in it is read; one that
    /// cannot be read is an error, and one whose process is gone is removed.
    pub fn open(root: &Path, setup: Setup) -> Result<Desk, DeskError> {
        let folder = LogFolder::open(root)?;
        let host = process::host();
        let locks = Locks::open(&folder.locks(), &host)?;
        let mut desk = Desk {
            folder,
            locks,
            pid: process::pid(),
            host,
            held: BTreeMap::new(),
            hosts: BTreeMap::new(),
            were_up: BTreeSet::new(),
            attempts: BTreeMap::new(),
            started: 0,
            waiting: BTreeMap::new(),
            states: BTreeMap::new(),
            errors: Vec::new(),
            history: setup.history,
            packages: setup.packages,
            parents: BTreeMap::new(),
            fetches: BTreeSet::new(),
            writes_dependencies: setup.writes_dependencies,
            needed: None,
            sizes: None,
            every: setup.every.min(LOOK),
            looked: None,
            stats: None,
            concurrent: 0,
            changed: true,
            screen: Some(setup.screen),
        };
        for found in desk.locks.all()? {
            if found.stale && desk.locks.remove_stale(&found.name)? {
                let path = found.content.locked.clone().unwrap_or(found.name);
                desk.taken_over(&path, found.content.dpb.as_ref())?;
            }
        }
        Ok(desk)
    }

    /// The folder of logs.
    pub fn folder(&mut self) -> &mut LogFolder {
        &mut self.folder
    }

    /// Writes the sizes of work folders down from now on, as `sizes` tells them.
    pub fn write_sizes(&mut self, sizes: Box<Sizes>) {
        self.sizes = Some(sizes);
    }

    /// Takes in through which other path one was found that nobody asked for.
    pub fn found_through(&mut self, path: &str, parent: &str) {
        self.parents.insert(path.to_owned(), parent.to_owned());
    }

    /// Takes in how often each path is needed, also of those that are there already.
    pub fn counted(&mut self, counts: Vec<(String, usize)>) {
        self.needed = Some(counts);
    }

    /// Writes how often each path is needed, where that is wanted. `listed` counts if nothing else was counted.
    pub fn write_needed(&mut self, listed: &[(Arc<str>, usize)]) -> Result<(), LedgerError> {
        if !self.writes_dependencies {
            return Ok(());
        }
        let counts: Vec<(&str, usize)> = match &self.needed {
            Some(counts) => counts.iter().map(|(path, n)| (&**path, *n)).collect(),
            None => listed.iter().map(|(path, n)| (&**path, *n)).collect(),
        };
        self.folder.write_dependencies(counts).map_err(told)
    }

    /// Notes that a path is there already, of which the run knows nothing else.
    pub fn known(&mut self, path: &str) -> Result<(), LedgerError> {
        if self.states.get(path) == Some(&State::Installable) {
            return Ok(());
        }
        self.set(path, State::Installable);
        self.log(&Change::Installable, path).map_err(told)
    }

    /// Notes that a path is not built at all, and why.
    pub fn ignored(&mut self, path: &str, why: &str) -> Result<(), LedgerError> {
        if self.states.get(path) == Some(&State::Ignored) {
            return Ok(());
        }
        self.set(path, State::Ignored);
        self.log(&Change::Ignored(why.to_owned()), path)
            .map_err(told)
    }

    /// Notes that a path is not built because another one is not.
    pub fn ignored_because(&mut self, path: &str, other: &str) -> Result<(), LedgerError> {
        if self.states.get(path) == Some(&State::Ignored) {
            return Ok(());
        }
        self.set(path, State::Ignored);
        self.log(&Change::Because(other.to_owned()), path)
            .map_err(told)
    }

    /// Adds a line to a log.
    pub fn line(&mut self, log: Log, line: &str) -> Result<(), LedgerError> {
        self.folder.line(log, line).map_err(told)
    }

    /// Notes that what a failed build of a path left could not be removed.
    pub fn unclean(&mut self, path: &str) -> Result<(), LedgerError> {
        self.folder.line(Log::Clean, path).map_err(told)
    }

    fn taken_over(&mut self, path: &str, who: Option<&(u32, String)>) -> Result<(), FileError> {
        let who = who.map_or("nobody".to_owned(), |(pid, host)| {
            format!("{pid} on {host}")
        });
        self.log(&Change::TakenOver(who), path)
    }

    fn log(&mut self, change: &Change, path: &str) -> Result<(), FileError> {
        let line = change.line(self.pid, now(), path);
        self.folder.line(Log::Engine, &line)
    }

    fn set(&mut self, path: &str, state: State) {
        self.changed = true;
        match self.states.get_mut(path) {
            Some(place) => *place = state,
            None => drop(self.states.insert(path.into(), state)),
        }
        if state != State::Error {
            self.errors.retain(|(failed, _)| failed != path);
        }
    }

    fn state(&mut self, path: &str, state: PathState<'_>) -> Result<(), LedgerError> {
        let (now, change) = match state {
            PathState::ToBuild => (State::ToBuild, Change::ToBuild),
            PathState::Queued => (State::Queued, Change::Queued),
            PathState::Built => return self.built(path),
            PathState::Past => (State::Installable, Change::Past),
            PathState::Locked => (State::Locked, Change::Locked),
            PathState::Aside => (State::Aside, Change::Aside),
            PathState::Back => (State::Queued, Change::Back),
            PathState::Error => (State::Error, Change::Error),
            PathState::Ignored(why) => (State::Ignored, Change::Ignored(why.to_owned())),
            PathState::Because(other) => (State::Ignored, Change::Because(other.to_owned())),
        };
        self.set(path, now);
        self.log(&change, path).map_err(told)
    }

    /// All of a path is there.
    fn built(&mut self, path: &str) -> Result<(), LedgerError> {
        if let Some(attempt) = self.attempts.remove(path) {
            self.log(&Change::Built, path).map_err(told)?;
            if attempt.strayed {
                self.log(&Change::Strayed, path).map_err(told)?;
            }
            let line = BuildLine {
                cores: u32::try_from(attempt.most_slots).unwrap_or(u32::MAX),
                ..BuildLine::new(path, &attempt.host, attempt.size, attempt.tasks)
            };
            self.folder.line(Log::Build, &line.line()).map_err(told)?;
            self.folder
                .set_affinity(&attempt.path, None)
                .map_err(told)?;
            if let Some(size) = attempt.work {
                let line = lines::size(
                    path,
                    size.div_ceil(1024),
                    attempt.fake.map(|n| n.div_ceil(1024)),
                );
                self.folder.line(Log::Size, &line).map_err(told)?;
            }
        }
        // The lock of an earlier failure is of no use any more.
        if let Ok(name) = path.parse::<PkgPath>()
            && self.locks.stands(&name.lock())
            && let Ok(Some(found)) = self.locks.look(&name.lock())
            && found.content.has_ended()
        {
            let _ = std::fs::remove_file(self.locks.path(&found.name));
        }
        self.waiting.remove(path);
        self.set(path, State::Installable);
        self.log(&Change::Installable, path).map_err(told)
    }

    /// A task starts.
    fn begin(&mut self, path: &str, task: &str, start: &Start<'_>) -> Result<(), LedgerError> {
        let Start {
            host,
            here,
            slots,
            filler,
            tag,
        } = *start;
        if !self.attempts.contains_key(path) {
            let name = parse(path)?;
            let mut log = self.folder.attempt(&name).map_err(told)?;
            let line = format!(">>> Building on {host} under {path}\n");
            log.bytes(line.as_bytes()).map_err(told)?;
            for package in self.packages.get(path).into_iter().flatten() {
                self.folder.link_package(package, &name).map_err(told)?;
            }
            let before = self.folder.affinity(&name);
            let strayed = before.is_some_and(|before| before != host);
            self.folder.set_affinity(&name, Some(host)).map_err(told)?;
            self.started += 1;
            let attempt = Attempt {
                path: name,
                log,
                size: line.len() as u64,
                tasks: Vec::new(),
                host: host.to_owned(),
                here,
                strayed,
                task: None,
                order: self.started,
                pid: None,
                waits_for: None,
                knows_needs: false,
                work: None,
                fake: None,
                slots,
                most_slots: slots,
                filler,
                memory: false,
                tag: None,
                spoke: Stopwatch::start(),
            };
            self.attempts.insert(path.to_owned(), attempt);
            self.log(&Change::Job(host.to_owned()), path)
                .map_err(told)?;
        }
        let moment = now();
        if let Some(holding) = self.held.get_mut(path) {
            let known = self.attempts.get_mut(path).map(|attempt| &mut attempt.tag);
            if let (Some(tag), Some(known)) = (tag, known)
                && known.as_deref() != Some(tag)
            {
                holding.note("tag", tag).map_err(told)?;
                *known = Some(tag.to_owned());
            }
            holding.note("host", host).map_err(told)?;
            holding.note("pid", &self.pid.to_string()).map_err(told)?;
            holding.moment("start", moment).map_err(told)?;
        }
        let seconds = lines::unix(moment);
        if let Some(attempt) = self.attempts.get_mut(path) {
            if attempt.host != host {
                (attempt.host, attempt.here) = (host.to_owned(), here);
            }
            attempt.task = Some(task.to_owned());
            attempt.spoke = Stopwatch::start();
            (attempt.pid, attempt.waits_for) = (None, None);
            (attempt.slots, attempt.filler, attempt.memory) = (slots, filler, false);
            attempt.most_slots = attempt.most_slots.max(slots);
            write(
                attempt,
                &format!(">>> Running {task} in {path} at {seconds}"),
            )?;
        }
        self.set(path, State::Running);
        Ok(())
    }

    /// Writes into the lock what a path was given, once its dependencies are prepared.
    fn tell_needed(
        &mut self,
        path: &str,
        task: &str,
        needs: &[Arc<str>],
    ) -> Result<(), LedgerError> {
        let prepares = matches!(task, "layers" | "depends");
        let Some(attempt) = self.attempts.get_mut(path).filter(|_| !prepares) else {
            return Ok(());
        };
        if std::mem::replace(&mut attempt.knows_needs, true) || needs.is_empty() {
            return Ok(());
        }
        let packages = needs
            .iter()
            .flat_map(|need| match self.packages.get(&**need) {
                Some(packages) => packages.clone(),
                None => vec![need.to_string()],
            });
        let packages: BTreeSet<String> = packages.collect();
        let packages: Vec<String> = packages.into_iter().collect();
        match self.held.get_mut(path) {
            Some(holding) => holding.note("needed", &packages.join(" ")).map_err(told),
            None => Ok(()),
        }
    }

    fn end(
        &mut self,
        path: &str,
        task: &str,
        seconds: f64,
        end: TaskEnd<'_>,
    ) -> Result<(), LedgerError> {
        self.changed = true;
        let size = match (&self.sizes, end) {
            (Some(sizes), TaskEnd::Built) => sizes(path, task),
            _ => None,
        };
        if let Some(attempt) = self.attempts.get_mut(path) {
            attempt.work = attempt.work.max(size);
            if task == "fake" {
                attempt.fake = size;
            }
            attempt.task = None;
            if matches!(end, TaskEnd::Built | TaskEnd::Failed { .. }) {
                attempt.tasks.push((task.to_owned(), seconds));
            }
        }
        match end {
            TaskEnd::Built | TaskEnd::Reused => Ok(()),
            TaskEnd::NotFinished(why) => {
                if let Some(attempt) = self.attempts.get_mut(path) {
                    write(
                        attempt,
                        &format!(">>> Not finished: {task} in {path}: {why}"),
                    )?;
                    self.log(&Change::NotFinished, path).map_err(told)?;
                }
                Ok(())
            }
            TaskEnd::Failed { status, how, next } => self.fail(path, (status, how), next),
        }
    }

    fn fail(
        &mut self,
        path: &str,
        (status, how): (i32, &str),
        next: Option<&str>,
    ) -> Result<(), LedgerError> {
        let moment = now();
        let mut place = None;
        if let Some(mut attempt) = self.attempts.remove(path) {
            let (host, seconds) = (attempt.host.clone(), lines::unix(moment));
            write(
                &mut attempt,
                &format!("{how}\nError: job failed with {status} on {host} at {seconds}"),
            )?;
            place = (!attempt.here).then(|| host.clone());
            let line = BuildLine {
                failed: true,
                cores: u32::try_from(attempt.most_slots).unwrap_or(u32::MAX),
                ..BuildLine::new(path, &host, attempt.size, attempt.tasks)
            };
            self.folder.line(Log::Build, &line.line()).map_err(told)?;
        }
        if let Some(holding) = self.held.remove(path) {
            holding.leave(status, next, moment).map_err(told)?;
        }
        self.waiting.insert(path.to_owned(), parse(path)?.lock());
        self.errors.push((path.to_owned(), place));
        self.set(path, State::Error);
        Ok(())
    }

    /// The task of a path has its work folder in memory; or it did not fit, and is built on disk.
    fn in_memory(&mut self, path: &str, bytes: Option<u64>) -> Result<(), LedgerError> {
        self.changed = true;
        if let Some(attempt) = self.attempts.get_mut(path) {
            attempt.memory = bytes.is_some();
            if bytes.is_some() {
                let line = format!(">>> Building on {} in memory under {path}", attempt.host);
                write(attempt, &line)?;
            }
        }
        match (self.held.get_mut(path), bytes) {
            (Some(holding), Some(bytes)) => holding.note("mem", &bytes.to_string()).map_err(told),
            _ => Ok(()),
        }
    }

    /// A path cannot be started at all: its lock says why, and stands until a person removes it.
    fn blocked(&mut self, path: &str, why: &str) -> Result<(), LedgerError> {
        if self.take(path)? == Lock::Ours
            && let Some(holding) = self.held.remove(path)
        {
            holding.refuse(why).map_err(told)?;
            self.waiting.insert(path.to_owned(), parse(path)?.lock());
        }
        if !self.errors.iter().any(|(failed, _)| failed == path) {
            self.errors.push((path.to_owned(), None));
        }
        self.set(path, State::Error);
        Ok(())
    }

    /// Something is to be fetched, or is there.
    fn fetch(&mut self, name: &str, there: bool) -> Result<(), LedgerError> {
        self.changed = true;
        if there {
            self.fetches.remove(name);
        } else if self.fetches.insert(name.to_owned()) {
            self.log(&Change::Fetch, name).map_err(told)?;
        }
        Ok(())
    }

    /// Whether the lock is gone that a path waits for.
    fn is_gone(&mut self, path: &str, lock: &str) -> Result<bool, LedgerError> {
        match self.locks.look(lock) {
            Ok(None) => Ok(true),
            Ok(Some(found)) if found.stale => {
                let removed = self.locks.remove_stale(lock).map_err(told)?;
                if removed {
                    self.taken_over(path, found.content.dpb.as_ref())
                        .map_err(told)?;
                }
                Ok(removed)
            }
            // What cannot be read stands all the same.
            Ok(Some(_)) | Err(_) => Ok(false),
        }
    }
}

fn told(error: impl std::fmt::Display) -> LedgerError {
    LedgerError(error.to_string())
}

fn parse(path: &str) -> Result<PkgPath, LedgerError> {
    path.parse().map_err(told)
}

/// Adds a line to the log of an attempt.
fn write(attempt: &mut Attempt, line: &str) -> Result<(), LedgerError> {
    let bytes = line.len() as u64 + 1;
    if attempt.size + bytes <= LONGEST_LOG {
        attempt.log.line(line).map_err(told)?;
    }
    attempt.size += bytes;
    Ok(())
}

impl Ledger for Desk {
    fn take(&mut self, path: &str) -> Result<Lock, LedgerError> {
        let parent = self.parents.get(path).map(String::as_str);
        match self.locks.take(&parse(path)?, parent).map_err(told)? {
            Taken::Ours(holding, stale) => {
                for name in stale {
                    self.log(&Change::TakenOver(name), path).map_err(told)?;
                }
                self.waiting.remove(path);
                self.held.insert(path.to_owned(), *holding);
                Ok(Lock::Ours)
            }
            Taken::Theirs(found) => {
                self.waiting.insert(path.to_owned(), found.name);
                let ended = found.content.has_ended();
                Ok(Lock::Theirs { ended })
            }
        }
    }

    fn event(&mut self, event: PathEvent<'_>) -> Result<(), LedgerError> {
        match event {
            PathEvent::Listed { path, packages } => {
                if !packages.is_empty() {
                    self.packages.insert(path.to_owned(), packages.to_vec());
                }
                parse(path).map(drop)
            }
            PathEvent::State { path, state } => self.state(path, state),
            PathEvent::Started {
                path,
                task,
                host,
                here,
                needs,
                slots,
                filler,
                tag,
            } => {
                let start = Start {
                    host,
                    here,
                    slots,
                    filler,
                    tag,
                };
                self.begin(path, task, &start)?;
                self.tell_needed(path, task, needs)
            }
            PathEvent::Process { path, pid } => {
                if let Some(holding) = self.held.get_mut(path) {
                    holding.note("pid", &pid.to_string()).map_err(told)?;
                }
                if let Some(attempt) = self.attempts.get_mut(path) {
                    (attempt.pid, attempt.waits_for) = (Some(pid), None);
                }
                self.changed = true;
                Ok(())
            }
            PathEvent::Waiting { path, what } => {
                if let Some(attempt) = self.attempts.get_mut(path) {
                    attempt.waits_for = Some(what.to_owned());
                }
                self.changed = true;
                Ok(())
            }
            PathEvent::Output { path, line } => {
                self.changed = true;
                match self.attempts.get_mut(path) {
                    Some(attempt) => {
                        attempt.spoke = Stopwatch::start();
                        write(attempt, line)
                    }
                    None => Ok(()),
                }
            }
            PathEvent::Ended {
                path,
                task,
                seconds,
                end,
            } => self.end(path, task, seconds, end),
            PathEvent::Left { path } => match self.held.remove(path) {
                Some(holding) => holding.release().map_err(told),
                None => Ok(()),
            },
            PathEvent::Host { name, news } => self.happened_to_host(name, news),
            PathEvent::Memory { path, bytes } => self.in_memory(path, bytes),
            PathEvent::Fetch { name, there } => self.fetch(name, there),
            PathEvent::Blocked { path, why } => self.blocked(path, why),
            PathEvent::AllListed(counts) => self.write_needed(counts),
        }
    }

    fn look(&mut self, ended: bool, hosts: &[&str]) -> Result<Option<Look>, LedgerError> {
        let changed = std::mem::take(&mut self.changed);
        if changed {
            self.write_counters().map_err(told)?;
        }
        if let Some(mut screen) = self.screen.take() {
            screen.turn(changed, &mut || self.board());
            self.screen = Some(screen);
        }
        let due = self.looked.is_none_or(|at| at.elapsed() >= self.every);
        if !ended && !due {
            return Ok(None);
        }
        self.looked = Some(Instant::now());
        let mut gone = Vec::new();
        for (path, lock) in self.waiting.clone() {
            if self.is_gone(&path, &lock)? {
                self.waiting.remove(&path);
                gone.push(path);
            }
        }
        let stopped = hosts.iter().filter(|host| {
            let here = **host == self.host && self.folder.stops_host("localhost");
            here || self.folder.stops_host(host)
        });
        Ok(Some(Look {
            gone,
            stop: self.folder.stop(),
            stopped_hosts: stopped.map(|host| (*host).to_owned()).collect(),
        }))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // A run that broke off: what was not ended is not locked any more.
        for (_, holding) in std::mem::take(&mut self.held) {
            let _ = holding.release();
        }
        for (_, lock) in std::mem::take(&mut self.hosts) {
            let _ = lock.remove();
        }
        let board = self.board();
        if let Some(mut screen) = self.screen.take() {
            screen.close(board);
        }
    }
}

#[cfg(test)]
mod tests;
