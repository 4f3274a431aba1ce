//! A host of the cluster, as the scheduler sees it: kept connected, checked, given jobs and trees.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mstore_store::transfer::{Progress, ReceiveOptions, TransferError};
use mstore_store::{Cancel, TreeHash};

use super::frames::{ALIVE, SILENCE, Signature, ToWorker, WireEnd, WireLimits};
use super::hosts::Host;
use super::link::{self, Away, Connected, Link, News};
use crate::build::cancel::CancelToken;
use crate::build::error::StepError;
use crate::build::step::{Builder, BuiltStep, Elsewhere};
use crate::drv::Resolved;
use crate::share::LocalPeer;
use crate::share::address::SshAddress;
use crate::share::ssh::{self, SshOptions, SshPeer};
use crate::share::wire::Push;

/// How long is waited before a host that went away is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Seconds by which a host's clock may differ.
const MOST_CLOCK: i64 = 300;
/// Bytes that must be free on a host.
const LEAST_FREE: u64 = 256 << 20;
/// How long a worker may take to end a job that was cancelled.
const MOST_CANCEL: Duration = Duration::from_secs(20);

/// What became of a host.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteNews {
    /// It takes jobs.
    Up {
        /// How many at a time.
        jobs: usize,
        /// The platforms whose programs run there.
        platforms: Vec<String>,
    },
    /// It takes none, for this reason; it is tried again.
    Down(String),
}

/// Bytes of objects that travelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// To the host.
    pub sent: u64,
    /// From it.
    pub received: u64,
}

/// A host.
pub struct RemoteHost {
    host: Host,
    address: SshAddress,
    options: SshOptions,
    /// The version of this program, which the other end must have too.
    program: String,
    /// A program that is run there before anything is built.
    startup: Option<String>,
    link: Mutex<Option<Arc<Link>>>,
    /// Connections for trees that nobody uses at the moment.
    idle: Mutex<Vec<SshPeer>>,
    traffic: Mutex<Traffic>,
    next: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole values are put in.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl RemoteHost {
    /// A host that is not connected yet.
    pub fn new(
        host: Host,
        address: SshAddress,
        options: SshOptions,
        program: &str,
        startup: Option<String>,
    ) -> RemoteHost {
        RemoteHost {
            host,
            address,
            options,
            program: program.to_owned(),
            startup,
            link: Mutex::default(),
            idle: Mutex::default(),
            traffic: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    /// What the hosts file says of it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What travelled so far.
    pub fn traffic(&self) -> Traffic {
        *lock(&self.traffic)
    }

    /// Keeps the host connected until `closing`: connects, checks it, and tells what became of it; when it goes away,
    /// waits and tries again.
    pub fn keep(&self, platforms: &[String], closing: &Cancel, tell: &dyn Fn(RemoteNews)) {
        let mut wait = RETRY.0;
        while !closing.is_cancelled() {
            let since = Instant::now();
            self.once(platforms, closing, tell);
            if since.elapsed() > RETRY.1 {
                wait = RETRY.0;
            }
            let until = Instant::now() + wait;
            while Instant::now() < until && !closing.is_cancelled() {
                thread::sleep(Duration::from_millis(50));
            }
            wait = RETRY.1.min(wait * 2);
        }
    }

    /// Connects once, stays until the connection is over, and tells why it is.
    fn once(&self, platforms: &[String], closing: &Cancel, tell: &dyn Fn(RemoteNews)) {
        let down = |away: Away| {
            *lock(&self.link) = None;
            // What lies in the pool hangs on the same machine.
            lock(&self.idle).clear();
            if !closing.is_cancelled() {
                tell(RemoteNews::Down(away.0));
            }
        };
        let connected = match self.connect(platforms) {
            Ok(connected) => connected,
            Err(away) => return down(away),
        };
        let Connected {
            signature,
            link,
            mut ear,
        } = connected;
        let jobs = self
            .host
            .jobs
            .map_or(signature.processors, |n| n.get().into());
        let link = Arc::new(link);
        *lock(&self.link) = Some(Arc::clone(&link));
        tell(RemoteNews::Up {
            jobs: jobs.max(1) as usize,
            platforms: signature.platforms,
        });
        let over = Cancel::new();
        thread::scope(|scope| {
            let beat = thread::Builder::new().spawn_scoped(scope, || {
                let mut next = Instant::now();
                while !over.is_cancelled() && !closing.is_cancelled() {
                    if Instant::now() >= next {
                        if link.alive().is_err() {
                            break;
                        }
                        next = Instant::now() + ALIVE;
                    }
                    thread::sleep(Duration::from_millis(50));
                }
                // Closes the worker's input, upon which it ends.
                link.close();
            });
            if beat.is_err() {
                // Nobody says that this end is there: the worker would go.
                link.close();
            }
            link.listen(&mut ear, &down);
            over.cancel();
        });
    }

    fn connect(&self, platforms: &[String]) -> Result<Connected, Away> {
        if let Some(startup) = &self.startup {
            link::prepare(&self.address, &self.options, startup)?;
        }
        let mut words = vec![self.options.remote_program.as_str(), "worker", "--stdio"];
        if let Some(store) = &self.address.store {
            words.extend(["--store", store]);
        }
        let command = ssh::command(&self.address, &self.options, &words);
        let command = command.map_err(|e| Away(e.to_string()))?;
        let connected = Connected::new(&self.address, command, &self.program, platforms)?;
        check(&self.host, &connected.signature)?;
        Ok(connected)
    }

    /// Builds a step there, and brings what came out.
    pub fn build(
        &self,
        builder: &Builder<'_>,
        name: &str,
        step: &Resolved,
        output: &mut dyn FnMut(&str),
    ) -> Result<BuiltStep, StepError> {
        builder.build_elsewhere(name, step, &self.host.name, output, &mut |log| {
            self.work(builder, name, step, log)
        })
    }

    fn work(
        &self,
        builder: &Builder<'_>,
        name: &str,
        step: &Resolved,
        log: &mut dyn FnMut(&[u8]),
    ) -> Result<Elsewhere, StepError> {
        let link = lock(&self.link).clone();
        let link = link.ok_or_else(|| self.lost("it is away"))?;
        let lost = |away: Away| self.give_up(&link, away);
        let cancel = builder.cancel;
        let peer = self.peer().map_err(|e| self.trouble(&link, e))?;
        let from = LocalPeer::new(builder.store)?;
        let trees: Vec<TreeHash> = step.trees().to_vec();
        let push = Push {
            trees,
            ..Push::default()
        };
        let mut go_on = |_: Progress| !cancel.is_cancelled();
        let wire = peer.wire().map_err(|e| self.trouble(&link, e))?;
        let sent = wire.push(&from, &mut std::iter::empty(), &push, &mut go_on);
        let sent = sent.map_err(|e| self.trouble(&link, e))?;
        lock(&self.traffic).sent += sent.bytes;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let order = ToWorker::Start {
            job: number,
            name: name.to_owned(),
            step: mstore_store::codec::Bytes(step.encode()),
            limits: WireLimits {
                file: builder.limits.file,
                output: builder.limits.output,
            },
            anew: builder.anew,
        };
        let news = link.start(number, &order).map_err(lost)?;
        match self.wait(&link, number, &news, cancel, log).map_err(lost)? {
            WireEnd::Built { tree, changed } => {
                let options = ReceiveOptions {
                    cancel: cancel.flag(),
                    progress: &|_| (),
                    dry_run: false,
                };
                let received = builder.store.receive(&peer, &[tree], &options);
                let received = received.map_err(|e| self.trouble(&link, e))?;
                lock(&self.traffic).received += received.bytes;
                lock(&self.idle).push(peer);
                Ok(Elsewhere::Built { tree, changed })
            }
            WireEnd::Failed { how, status } => {
                lock(&self.idle).push(peer);
                Ok(Elsewhere::Failed { how, status })
            }
            WireEnd::Cancelled if cancel.is_cancelled() => Err(StepError::Cancelled),
            WireEnd::Cancelled => Err(lost(Away("its worker was told to end".to_owned()))),
            WireEnd::Infrastructure { what } => Err(lost(Away(what))),
        }
    }

    /// Waits until a job has ended, and passes on what it prints.
    fn wait(
        &self,
        link: &Link,
        number: u64,
        news: &std::sync::mpsc::Receiver<News>,
        cancel: &CancelToken,
        log: &mut dyn FnMut(&[u8]),
    ) -> Result<WireEnd, Away> {
        let mut cancelled: Option<Instant> = None;
        loop {
            match news.recv_timeout(Duration::from_millis(100)) {
                Ok(News::Output(bytes)) => log(&bytes),
                Ok(News::Ended(end)) => return Ok(end),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Away("the connection ended while it was built".to_owned()));
                }
            }
            match cancelled {
                None if cancel.is_cancelled() => {
                    cancelled = Some(Instant::now());
                    link.cancel(number);
                }
                Some(since) if since.elapsed() > MOST_CANCEL => {
                    // Whoever ends it there is not this program: the connection goes, and the worker with it.
                    link.close();
                    return Ok(WireEnd::Cancelled);
                }
                _ => {}
            }
        }
    }

    /// A connection for trees.
    fn peer(&self) -> Result<SshPeer, TransferError> {
        if let Some(peer) = lock(&self.idle).pop() {
            return Ok(peer);
        }
        ssh::start(&self.address, &self.options)?.connect()
    }

    fn lost(&self, why: &str) -> StepError {
        StepError::Lost(format!("{}: {why}", self.host.name))
    }

    /// Gives the connection up, so that the host is looked at again before it gets more. A job must not be reported
    /// lost before that was told: it might start there again.
    fn give_up(&self, link: &Link, away: Away) -> StepError {
        link.close();
        let until = Instant::now() + SILENCE * 2;
        while !link.is_over() && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        self.lost(&away.0)
    }

    /// Tells apart what is wrong with the host and what is wrong here.
    fn trouble(&self, link: &Link, error: TransferError) -> StepError {
        match error {
            TransferError::Cancelled => StepError::Cancelled,
            TransferError::Store(error) => error.into(),
            error => self.give_up(link, Away(error.to_string())),
        }
    }
}

/// Whether a machine is fit to build.
fn check(host: &Host, signature: &Signature) -> Result<(), Away> {
    if let Some(obstacle) = &signature.obstacle {
        return Err(Away(obstacle.clone()));
    }
    if let Some(arch) = &host.arch
        && *arch != signature.machine
    {
        return Err(Away(format!(
            "it is a machine of {}, and the hosts file says {arch}",
            signature.machine
        )));
    }
    if signature.free < LEAST_FREE {
        return Err(Away(format!(
            "only {} MB are free where its store is",
            signature.free / 1_000_000
        )));
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().cast_signed());
    let apart = now.saturating_sub(signature.clock).saturating_abs();
    if apart > MOST_CLOCK {
        return Err(Away(format!(
            "its clock is {apart} s apart from the one here; set one of them"
        )));
    }
    Ok(())
}
