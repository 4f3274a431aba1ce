//! The hosts of a hosts file as the executor of a run.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};
use std::time::Duration;

use mstore_store::{Cancel, TreeHash};

use super::holdings::Holdings;
use super::hosts::{HostsFile, Place};
use super::remote::{RemoteHost, RemoteNews, Traffic};
use crate::build::cancel::CancelToken;
use crate::build::error::StepError;
use crate::build::pause::Stopwatch;
use crate::build::step::{Builder, Limits};
use crate::dense::Id as _;
use crate::schedule::error::ScheduleError;
use crate::schedule::executor::{Fault, HostDesk, Job, JobResult, Product, Report, Work};
use crate::schedule::history::History;
use crate::schedule::local::{Fetch, Local};
use crate::schedule::realise::Site;
use crate::schedule::{Executor, Host, HostId, HostNews, JobId};
use crate::share::ssh::SshOptions;
use crate::share::ssh_master::Sockets;

/// The machines of a hosts file.
pub struct Farm {
    /// Those that are reached by ssh, in the order of their numbers; more may come.
    remotes: Mutex<Vec<Arc<RemoteHost>>>,
    /// How they are reached.
    ssh: SshOptions,
    /// The version of this program.
    program: String,
    /// A program that is run on each of them before anything is built.
    startup: Option<String>,
    /// How many steps are built on this machine at a time; without any, things are only fetched here, which takes no
    /// place.
    here: Option<usize>,
    /// How fast this machine is, where the file says it.
    here_speed: Option<f64>,
    /// What earlier runs tell of the hosts.
    history: Mutex<History>,
    /// How long a step may print nothing on this machine, if the file says it.
    silence: Option<Duration>,
    /// What the jobs may be for, as `uname -m` says.
    platforms: Vec<String>,
    /// Ends the connections.
    closing: Cancel,
    /// Where shared connections have their sockets.
    sockets: Option<Sockets>,
}

impl Farm {
    /// The machines of `file`, reached with `ssh`. `jobs` is how many steps are built here at a time, where the
    /// file names this machine and no number; `program` is the version of this program; `platforms` are those that
    /// there may be jobs for. Connections are shared by sockets in `sockets`, if there are any.
    pub fn new(
        file: HostsFile,
        ssh: &SshOptions,
        jobs: usize,
        program: &str,
        platforms: Vec<String>,
        sockets: Option<Sockets>,
    ) -> Farm {
        let startup = file.startup.map(|path| path.to_string_lossy().into_owned());
        let (mut remotes, mut here, mut here_speed) = (Vec::new(), None, None);
        let mut silence = None;
        for host in file.hosts {
            match host.place.clone() {
                Place::Here => {
                    here = Some(host.jobs.map_or(jobs, |n| n.get().into()));
                    here_speed = host.speed;
                    silence = host.silence;
                }
                Place::Ssh(address) => {
                    let startup = startup.clone();
                    let socket = sockets.as_ref().map(|all| all.socket(remotes.len()));
                    let ssh = ssh.clone();
                    let remote = RemoteHost::new(host, address, ssh, program, startup, socket);
                    remotes.push(Arc::new(remote));
                }
            }
        }
        Farm {
            remotes: Mutex::new(remotes),
            ssh: ssh.clone(),
            program: program.to_owned(),
            startup,
            here,
            here_speed,
            history: Mutex::default(),
            silence,
            platforms,
            closing: Cancel::new(),
            sockets,
        }
    }

    /// Whether steps are built on this machine too.
    pub fn builds_here(&self) -> bool {
        self.here.is_some()
    }

    fn remotes(&self) -> MutexGuard<'_, Vec<Arc<RemoteHost>>> {
        // Whole hosts are put in.
        self.remotes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The speeds that the file gives, by host; `home` is what this machine is called.
    pub fn given_speeds(&self, home: &str) -> BTreeMap<String, f64> {
        let remotes = self.remotes();
        let remotes = remotes.iter().map(|remote| remote.host());
        let given = remotes.filter_map(|host| Some((host.name.clone(), host.speed?)));
        let here = self.here_speed.map(|speed| (home.to_owned(), speed));
        given.chain(here).collect()
    }

    /// Takes in what earlier runs tell of the hosts, before a run.
    pub fn learn(&self, history: History) {
        *self.history() = history;
    }

    /// Slots and speed of each host that builds; one that has not said how many slots it has counts with one.
    pub fn crew(&self, home: &str) -> Vec<(usize, f64)> {
        let remotes = self.remotes();
        let remotes = remotes.iter().map(|remote| {
            let host = self.described(remote, None);
            (host.slots, host.speed)
        });
        let here = self.here.map(|slots| (slots, self.history().speed(home)));
        remotes.chain(here).collect()
    }

    /// What the hosts file says of a host, and what it said itself if it did.
    fn described(&self, remote: &RemoteHost, said: Option<(usize, Vec<String>)>) -> Host {
        let spec = remote.host();
        let (slots, platforms) = match said {
            Some((slots, platforms)) => (slots, Some(platforms.into_iter().collect())),
            // It may turn out to run anything.
            None => (spec.jobs.map_or(1, |n| n.get().into()), None),
        };
        Host {
            name: spec.name.clone(),
            slots,
            // What the file gives is in the history too, but not that of a host which was added.
            speed: spec
                .speed
                .unwrap_or_else(|| self.history().speed(&spec.name)),
            platforms,
            here: false,
            about: String::new(),
        }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        // Only whole ones are put in.
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The host of a number, unless that is this machine.
    fn remote(&self, host: HostId) -> Option<Arc<RemoteHost>> {
        let at = host.index().checked_sub(1)?;
        self.remotes().get(at).cloned()
    }

    /// Adds the host that a line describes. Gives its number too.
    fn add(&self, line: &str) -> Result<(HostId, Arc<RemoteHost>), String> {
        if line.contains('\n') {
            return Err("one line is expected".to_owned());
        }
        let file = HostsFile::parse(Path::new("the line"), line).map_err(|e| e.to_string())?;
        let [host] = <[_; 1]>::try_from(file.hosts).map_err(|_| "one host is expected")?;
        let Place::Ssh(address) = host.place.clone() else {
            return Err("this machine cannot be added to a run".to_owned());
        };
        let mut remotes = self.remotes();
        if remotes.iter().any(|other| other.host().name == host.name) {
            return Err(format!("{} is one of the hosts already", host.name));
        }
        let (ssh, startup) = (self.ssh.clone(), self.startup.clone());
        let socket = self.sockets.as_ref().map(|all| all.socket(remotes.len()));
        let remote = RemoteHost::new(host, address, ssh, &self.program, startup, socket);
        let remote = Arc::new(remote);
        remotes.push(Arc::clone(&remote));
        Ok((HostId::nth(remotes.len()), remote))
    }
}

impl Site for Farm {
    fn open<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        builder: &'env Builder<'env>,
        fetch: &'env Fetch<'env>,
    ) -> Box<dyn Executor + 'scope> {
        let holdings = Arc::new(Mutex::new(Holdings::new(self.remotes().len())));
        for (number, remote) in self.remotes().iter().enumerate() {
            // What cannot be read is not known.
            let held = builder.store.held(&remote.host().name).unwrap_or_default();
            lock(&holdings).recall(number, &held);
            remote.note_in(&holdings, number);
        }
        Box::new(Machines {
            scope,
            builder,
            local: Local::new(scope, builder, fetch, self.here.unwrap_or(1))
                .with_silence(self.silence),
            farm: self,
            holdings,
            running: Arc::default(),
        })
    }

    fn close(&self) {
        self.closing.cancel();
    }

    fn traffic(&self) -> Vec<(String, u64, u64)> {
        let remotes = self.remotes();
        let traffic = remotes.iter().map(|remote| {
            let Traffic { sent, received } = remote.traffic();
            (remote.host().name.clone(), sent, received)
        });
        traffic.collect()
    }
}

/// The executor of a run.
struct Machines<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    builder: &'env Builder<'env>,
    local: Local<'scope, 'env>,
    farm: &'env Farm,
    holdings: Arc<Mutex<Holdings>>,
    running: Arc<Running>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whatever is half noted is a guess all the same.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The tokens of the jobs that run elsewhere, by job and host.
#[derive(Default)]
struct Running(Mutex<HashMap<(JobId, HostId), CancelToken>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<(JobId, HostId), CancelToken>> {
        // Only whole entries are put in.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Machines<'_, '_> {
    /// Keeps a host connected, and gives what is known of it now.
    fn keep(
        &self,
        host: HostId,
        remote: &Arc<RemoteHost>,
        desk: &HostDesk,
    ) -> Vec<(HostId, HostNews)> {
        let mut news = vec![(host, HostNews::Named(self.farm.described(remote, None)))];
        let (farm, desk, remote) = (self.farm, desk.clone(), Arc::clone(remote));
        let kept = thread::Builder::new().spawn_scoped(self.scope, move || {
            remote.keep(&farm.platforms, &farm.closing, &|news| {
                desk.tell(
                    host,
                    match news {
                        RemoteNews::Up {
                            jobs,
                            about,
                            platforms,
                        } => HostNews::Up(Host {
                            about,
                            ..farm.described(&remote, Some((jobs, platforms)))
                        }),
                        RemoteNews::Down(reason) => HostNews::Down(reason),
                    },
                );
            });
        });
        if let Err(error) = kept {
            let why = format!("cannot start a thread: {error}");
            news.push((host, HostNews::Down(why)));
        }
        news
    }
}

impl Executor for Machines<'_, '_> {
    fn hosts(&self, desk: HostDesk) -> Vec<(HostId, HostNews)> {
        let mut hosts = self.local.hosts(desk.clone());
        for (_, news) in &mut hosts {
            if let HostNews::Up(host) | HostNews::Named(host) = news {
                host.speed = self.farm.history().speed(&host.name);
                if self.farm.here.is_none() {
                    host.platforms = Some([].into());
                }
            }
        }
        for (remote, number) in self.farm.remotes().iter().zip(1..) {
            hosts.extend(self.keep(HostId::nth(number), remote, &desk));
        }
        hosts
    }

    fn start(&self, job: Job, host: HostId, report: Report) {
        let remote = self.farm.remote(host);
        let (Some(remote), Work::Build(_)) = (remote, &job.work) else {
            // What is fetched comes to this machine, by this machine.
            return self.local.start(job, host, report);
        };
        let (builder, id) = (self.builder, job.id);
        let running = Arc::clone(&self.running);
        let token = match CancelToken::new() {
            Ok(token) => token,
            Err(source) => return no_worker(report, source),
        };
        running.lock().insert((id, host), token.clone());
        let (sender, receiver) = std::sync::mpsc::sync_channel::<Report>(1);
        let spawned = thread::Builder::new().spawn_scoped(self.scope, move || {
            let Ok(report) = receiver.recv() else {
                return;
            };
            let clock = Stopwatch::start();
            let end = work(&remote, builder, &job, &token, &report);
            running.lock().remove(&(id, host));
            let seconds = clock.elapsed().as_secs_f64();
            report.end(JobResult { seconds, end });
        });
        match spawned {
            // Cannot fail: the thread waits for it.
            Ok(_) => drop(sender.send(report)),
            Err(source) => {
                self.running.lock().remove(&(id, host));
                no_worker(report, source);
            }
        }
    }

    fn near(&self, trees: &[TreeHash]) -> Option<(HostId, f64)> {
        let remotes = self.farm.remotes();
        // Of hosts that were added nothing is known.
        let is_up = |number: usize| remotes.get(number).is_some_and(|remote| remote.is_up());
        let (number, seconds) = lock(&self.holdings).nearest(trees, is_up)?;
        Some((HostId::nth(number + 1), seconds))
    }

    fn add(&self, line: &str, desk: HostDesk) -> Result<Vec<(HostId, HostNews)>, String> {
        let (host, remote) = self.farm.add(line)?;
        Ok(self.keep(host, &remote, &desk))
    }

    fn cancel(&self, job: JobId) {
        self.local.cancel(job);
        let running = self.running.lock();
        for (_, token) in running.iter().filter(|((id, _), _)| *id == job) {
            token.cancel();
        }
    }
}

fn no_worker(report: Report, source: std::io::Error) {
    report.end(JobResult {
        seconds: 0.0,
        end: Err(Fault::Infrastructure(ScheduleError::NoWorker { source })),
    });
}

fn work(
    remote: &RemoteHost,
    builder: &Builder<'_>,
    job: &Job,
    token: &CancelToken,
    report: &Report,
) -> Result<Product, Fault> {
    let step = match &job.work {
        Work::Build(step) => step,
        Work::Fetch(_) => return Ok(Product::NotFetched),
    };
    let note = |note| report.note(note);
    let raw = |bytes: &[u8]| report.heard(bytes.len());
    let builder = Builder {
        limits: Limits {
            silence: remote.silence(builder),
            ..builder.limits
        },
        raw: &raw,
        ..builder.with(token, &note, job.slots)
    };
    report.silence(builder.limits.silence_of(step.derivation()));
    match remote.build(&builder, &job.name, step, &mut |line| report.line(line)) {
        Ok(built) if built.found => Ok(Product::Found { tree: built.tree }),
        Ok(built) => Ok(Product::Built {
            tree: built.tree,
            changed: built.changed,
        }),
        Err(StepError::Failed(failure)) => Err(Fault::Build(failure)),
        Err(StepError::Infrastructure(error)) => Err(Fault::Infrastructure(error.into())),
        Err(StepError::Cancelled) => Err(Fault::Cancelled),
        Err(StepError::Lost(reason)) => Err(Fault::Lost(reason)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mstore_store::{PastRun, PastRuns};

    use super::*;

    #[test]
    fn a_host_is_as_fast_as_its_line_says_or_else_as_was_learnt() {
        let text = "localhost jobs=2\nbig jobs=4 sf=2\nold jobs=3\nnew\n";
        let file = HostsFile::parse(Path::new("hosts"), text).unwrap();
        let ssh = SshOptions {
            command: vec!["ssh".into()],
            is_openssh: false,
            remote_program: "mstore".into(),
            blind: false,
            unattended: None,
            through: None,
            beside: None,
        };
        let farm = Farm::new(file, &ssh, 8, "1", Vec::new(), None);
        let given = farm.given_speeds("desk");
        assert_eq!(given, [("big".to_owned(), 2.0)].into());
        assert_eq!(farm.crew("desk"), [(4, 2.0), (3, 1.0), (1, 1.0), (2, 1.0)]);
        let run = |seconds: f64, host: usize| PastRun {
            started: 0,
            seconds,
            host,
        };
        // The older one takes twice as long as the big one does, and this machine is not known.
        let runs = PastRuns {
            hosts: vec!["big".into(), "old".into()],
            of: vec![vec![run(10.0, 0), run(20.0, 1)]],
            ..PastRuns::default()
        };
        farm.learn(History::learn(&["a:run"], &runs, &given, "desk"));
        let crew = farm.crew("desk");
        assert_eq!((crew[0], crew[2], crew[3]), ((4, 2.0), (1, 1.0), (2, 1.0)));
        assert!((1.0..1.1).contains(&crew[1].1), "{crew:?}");
    }
}
