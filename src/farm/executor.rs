//! The hosts of a hosts file as the executor of a run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope};

use mstore_store::{Cancel, TreeHash};

use super::holdings::Holdings;
use super::hosts::{HostsFile, Place};
use super::remote::{RemoteHost, RemoteNews, Traffic};
use crate::build::cancel::CancelToken;
use crate::build::error::StepError;
use crate::build::pause::Stopwatch;
use crate::build::step::Builder;
use crate::dense::Id as _;
use crate::schedule::error::ScheduleError;
use crate::schedule::executor::{Fault, HostDesk, Job, JobResult, Product, Report, Work};
use crate::schedule::local::{Fetch, Local};
use crate::schedule::realise::Site;
use crate::schedule::{Executor, Host, HostId, HostNews, JobId};
use crate::share::ssh::SshOptions;
use crate::share::ssh_master::Sockets;

/// The machines of a hosts file.
pub struct Farm {
    /// Those that are reached by ssh, with their numbers.
    remotes: Vec<RemoteHost>,
    /// How many steps are built on this machine at a time; without any, things are only fetched here, which takes no
    /// place.
    here: Option<usize>,
    /// What the jobs may be for, as `uname -m` says.
    platforms: Vec<String>,
    /// Ends the connections.
    closing: Cancel,
    /// Where shared connections have their sockets.
    _sockets: Option<Sockets>,
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
        let (mut remotes, mut here) = (Vec::new(), None);
        for host in file.hosts {
            match host.place.clone() {
                Place::Here => here = Some(host.jobs.map_or(jobs, |n| n.get().into())),
                Place::Ssh(address) => {
                    let startup = startup.clone();
                    remotes.push(RemoteHost::new(
                        host,
                        address,
                        ssh.clone(),
                        program,
                        startup,
                        sockets.as_ref().map(|all| all.socket(remotes.len())),
                    ));
                }
            }
        }
        Farm {
            remotes,
            here,
            platforms,
            closing: Cancel::new(),
            _sockets: sockets,
        }
    }

    /// Whether steps are built on this machine too.
    pub fn builds_here(&self) -> bool {
        self.here.is_some()
    }

    /// What travelled to and from each host, by its name.
    pub fn traffic(&self) -> impl Iterator<Item = (&str, Traffic)> {
        let remotes = self.remotes.iter();
        remotes.map(|remote| (remote.host().name.as_str(), remote.traffic()))
    }

    /// The host of a number, unless that is this machine.
    fn remote(&self, host: HostId) -> Option<&RemoteHost> {
        self.remotes.get(host.index().checked_sub(1)?)
    }
}

impl Site for Farm {
    fn open<'scope, 'env>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        builder: &'env Builder<'env>,
        fetch: &'env Fetch<'env>,
    ) -> Box<dyn Executor + 'scope> {
        let holdings = Arc::new(Mutex::new(Holdings::new(self.remotes.len())));
        for (number, remote) in self.remotes.iter().enumerate() {
            // What cannot be read is not known.
            let held = builder.store.held(&remote.host().name).unwrap_or_default();
            lock(&holdings).recall(number, &held);
            remote.note_in(&holdings, number);
        }
        Box::new(Machines {
            scope,
            builder,
            local: Local::new(scope, builder, fetch, self.here.unwrap_or(1)),
            farm: self,
            holdings,
            running: Arc::default(),
        })
    }

    fn close(&self) {
        self.closing.cancel();
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

/// What the hosts file says of a host, and what it said itself if it did.
fn described(remote: &RemoteHost, said: Option<(usize, Vec<String>)>) -> Host {
    let spec = remote.host();
    let (slots, platforms) = match said {
        Some((slots, platforms)) => (slots, Some(platforms.into_iter().collect())),
        // It may turn out to run anything.
        None => (spec.jobs.map_or(1, |n| n.get().into()), None),
    };
    Host {
        name: spec.name.clone(),
        slots,
        speed: spec.speed,
        platforms,
        here: false,
    }
}

impl Executor for Machines<'_, '_> {
    fn hosts(&self, desk: HostDesk) -> Vec<(HostId, HostNews)> {
        let mut hosts = self.local.hosts(desk.clone());
        if self.farm.here.is_none() {
            for (_, news) in &mut hosts {
                if let HostNews::Up(host) | HostNews::Named(host) = news {
                    host.platforms = Some([].into());
                }
            }
        }
        for (remote, number) in self.farm.remotes.iter().zip(1..) {
            let host = HostId::nth(number);
            let (farm, desk) = (self.farm, desk.clone());
            let kept = thread::Builder::new().spawn_scoped(self.scope, move || {
                remote.keep(&farm.platforms, &farm.closing, &|news| {
                    desk.tell(
                        host,
                        match news {
                            RemoteNews::Up { jobs, platforms } => {
                                HostNews::Up(described(remote, Some((jobs, platforms))))
                            }
                            RemoteNews::Down(reason) => HostNews::Down(reason),
                        },
                    );
                });
            });
            let news = HostNews::Named(described(remote, None));
            hosts.push((host, news));
            if let Err(error) = kept {
                hosts.push((
                    host,
                    HostNews::Down(format!("cannot start a thread: {error}")),
                ));
            }
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
            let end = work(remote, builder, &job, &token, &report);
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
        let is_up = |number: usize| self.farm.remotes[number].is_up();
        let (number, seconds) = lock(&self.holdings).nearest(trees, is_up)?;
        Some((HostId::nth(number + 1), seconds))
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
    let builder = builder.with(token, &note, job.slots);
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
