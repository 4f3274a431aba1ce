//! A host of the cluster, as the scheduler sees it: kept connected, checked, given jobs and trees.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mstore_store::transfer::{Progress, ReceiveOptions, TransferError};
use mstore_store::{Cancel, Held, Store, TreeHash};

use super::frames::{ALIVE, Signature, ToWorker, WireEnd, WireLimits, shown};
use super::holdings::Holdings;
use super::hosts::Host;
use super::link::{self, Away, Connected, Link, Wait};
use crate::build::cancel::CancelToken;
use crate::build::error::StepError;
use crate::build::step::{Builder, BuiltStep, Elsewhere, Note};
use crate::drv::Resolved;
use crate::share::LocalPeer;
use crate::share::address::SshAddress;
use crate::share::ssh::{self, SshOptions, SshPeer};
use crate::share::ssh_master::{Master, may_share};
use crate::share::wire::Push;

/// How long is waited before a host that went away is tried again, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
/// Seconds by which a host's clock may differ.
const MOST_CLOCK: i64 = 300;
/// Bytes that must be free on a host.
const LEAST_FREE: u64 = 256 << 20;
/// Most jobs at a time that a machine is believed to be good for.
const MOST_JOBS: u32 = 4096;
/// How long after the limit of its time a step may still be unheard of: its worker, which sees to that limit, makes the
/// roots before and takes in what it left.
const LATE: Duration = Duration::from_secs(3600);
/// Bytes of output of a job beyond what its script may write, which the worker sees to: what ends it is told there too.
const MORE_OUTPUT: u64 = 1 << 20;

/// What became of a host.
#[derive(Clone, Debug, PartialEq)]
pub enum RemoteNews {
    /// It takes jobs.
    Up {
        /// How many at a time.
        jobs: usize,
        /// What the machine is like, a line `key=value` each.
        about: String,
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

/// A connection to a worker, and how trees travel meanwhile.
struct Seat {
    link: Link,
    /// How connections for trees are made.
    trees: SshOptions,
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
    /// Where connections for trees may be shared, if they are to be.
    socket: Option<PathBuf>,
    link: Mutex<Option<Arc<Seat>>>,
    traffic: Mutex<Traffic>,
    next: AtomicU64,
    /// What the hosts hold, and which of them this is.
    holdings: Mutex<Option<(Arc<Mutex<Holdings>>, usize)>>,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
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
        mut options: SshOptions,
        program: &str,
        startup: Option<String>,
        socket: Option<PathBuf>,
    ) -> RemoteHost {
        if let Some(timeout) = host.timeout {
            options.unattended = u32::try_from(timeout.as_secs()).ok();
        }
        RemoteHost {
            host,
            address,
            options,
            program: program.to_owned(),
            startup,
            socket,
            link: Mutex::default(),
            traffic: Mutex::default(),
            next: AtomicU64::new(0),
            holdings: Mutex::default(),
        }
    }

    /// What the hosts file says of it.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Says where to note what it holds, and as which host.
    pub fn note_in(&self, holdings: &Arc<Mutex<Holdings>>, number: usize) {
        *lock(&self.holdings) = Some((Arc::clone(holdings), number));
    }

    /// Whether it is connected.
    pub fn is_up(&self) -> bool {
        lock(&self.link).is_some()
    }

    /// Notes what it holds, for this run and for later ones.
    fn hold(&self, store: &Store, note: impl FnOnce(&mut Holdings, usize) -> Vec<Held>) {
        let Some((holdings, number)) = lock(&self.holdings).clone() else {
            return;
        };
        let news = note(&mut lock(&holdings), number);
        if !news.is_empty() {
            // It decides where something is built, and nothing else.
            let _ = store.note_held(&self.host.name, &news);
        }
    }

    /// What travelled so far.
    pub fn traffic(&self) -> Traffic {
        *lock(&self.traffic)
    }

    /// Keeps the host connected until `closing`: connects, checks it, and tells what became of it; when it goes away,
    /// waits and tries again. Of a host that stays away what is told is told once.
    pub fn keep(&self, platforms: &[String], closing: &Cancel, tell: &dyn Fn(RemoteNews)) {
        let mut wait = RETRY.0;
        let mut told = None;
        while !closing.is_cancelled() {
            let since = Instant::now();
            let (was_up, away) = self.once(platforms, closing, tell);
            if was_up {
                told = Some(away);
            } else if told.as_ref() != Some(&away) && !closing.is_cancelled() {
                tell(RemoteNews::Down(away.0.clone()));
                told = Some(away);
            }
            if was_up && since.elapsed() > RETRY.1 {
                wait = RETRY.0;
            }
            let until = Instant::now() + wait;
            while Instant::now() < until && !closing.is_cancelled() {
                thread::sleep(Duration::from_millis(50));
            }
            wait = RETRY.1.min(wait * 2);
        }
    }

    /// Connects once, and stays until the connection is over. Gives whether there was one, whose end is told by then,
    /// and why there is none now.
    fn once(
        &self,
        platforms: &[String],
        closing: &Cancel,
        tell: &dyn Fn(RemoteNews),
    ) -> (bool, Away) {
        let connected = match self.connect(platforms, closing) {
            Ok(connected) => connected,
            Err(away) => return (false, away),
        };
        let Connected {
            signature,
            link,
            mut ear,
        } = connected;
        let mut trees = self.options.clone();
        trees.beside = Some(signature.process);
        let _master = self.master(&mut trees, closing);
        let jobs = self
            .host
            .jobs
            .map_or(signature.processors, |n| n.get().into());
        let seat = Arc::new(Seat { link, trees });
        *lock(&self.link) = Some(Arc::clone(&seat));
        tell(RemoteNews::Up {
            jobs: jobs.clamp(1, MOST_JOBS) as usize,
            about: about(&self.program, &signature),
            platforms: signature.platforms,
        });
        let link = &seat.link;
        let over = Cancel::new();
        let why = Mutex::new(Away(String::new()));
        let down = |away: Away| {
            *lock(&self.link) = None;
            *lock(&why) = away.clone();
            if !closing.is_cancelled() {
                tell(RemoteNews::Down(away.0));
            }
        };
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
                link.close();
            });
            if beat.is_err() {
                // Nobody says that this end is there: the worker would go.
                link.over().cancel();
            }
            link.listen(&mut ear, &down);
            over.cancel();
        });
        // What lies there hangs on the worker.
        lock(&link.idle).clear();
        (
            true,
            why.into_inner().unwrap_or_else(PoisonError::into_inner),
        )
    }

    fn connect(&self, platforms: &[String], closing: &Cancel) -> Result<Connected, Away> {
        if let Some(startup) = &self.startup {
            link::prepare(&self.address, &self.options, startup, closing)?;
        }
        let words = self.words(&["worker", "--stdio"]);
        let command = ssh::command(&self.address, &self.options, &words);
        let command = command.map_err(|e| Away(e.to_string()))?;
        let connected = Connected::new(&self.address, command, &self.program, platforms, closing)?;
        check(&self.host, &connected.signature)?;
        Ok(connected)
    }

    /// The words that run a command of mstore there.
    fn words<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        let mut words = vec![self.options.remote_program.as_str()];
        words.extend(command);
        if let Some(store) = &self.address.store {
            words.extend(["--store", store]);
        }
        words
    }

    /// Makes the connection that those for trees go through. The worker's own is another: what says that it is alive
    /// must not wait behind trees. Where there is none, each is made by itself.
    fn master(&self, trees: &mut SshOptions, closing: &Cancel) -> Option<Master> {
        let socket = self.socket.clone()?;
        if !may_share(&self.address, &self.options, closing) {
            return None;
        }
        let beside = trees.beside?.to_string();
        let words = self.words(&["serve", "--stdio", "--beside", &beside]);
        let master = Master::new(&self.address, trees, socket.clone(), &words, closing).ok()?;
        trees.through = Some(socket);
        Some(master)
    }

    /// How long a step may print nothing whose derivation does not say it.
    pub fn silence(&self, builder: &Builder<'_>) -> Option<Duration> {
        self.host.silence.or(builder.limits.silence)
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
        let seat = lock(&self.link).clone();
        let seat = seat.ok_or_else(|| self.lost("it is away"))?;
        let link = &seat.link;
        let cancel = builder.cancel;
        let trouble = |error| self.trouble(link, cancel, error);
        let lost = |away: Away| self.give_up(link, away);
        let peer = self.peer(&seat, cancel).map_err(trouble)?;
        let from = LocalPeer::new(builder.store);
        let trees: Vec<TreeHash> = step.trees().to_vec();
        let push = Push {
            trees: trees.clone(),
            ..Push::default()
        };
        let mut go_on = |_: Progress| !cancel.is_cancelled();
        let clock = Instant::now();
        let wire = peer.wire().map_err(trouble)?;
        let sent = wire.push(&from, &mut std::iter::empty(), &push, &mut go_on);
        let sent = sent.map_err(trouble)?;
        lock(&self.traffic).sent += sent.bytes;
        let seconds = clock.elapsed().as_secs_f64();
        self.hold(builder.store, |holdings, number| {
            holdings.sent(number, &trees, sent.bytes, seconds)
        });
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let size = builder.store.work_size(name)?;
        if let (Some(size), Some(bytes)) = (size, self.host.memory)
            && size <= bytes
        {
            // It goes by the same rule there, unless it has no memory left.
            (builder.note)(Note::InMemory { bytes });
        }
        let order = ToWorker::Start {
            job: number,
            name: name.to_owned(),
            step: mstore_store::codec::Bytes(step.encode()),
            slots: u32::try_from(builder.slots).unwrap_or(u32::MAX),
            size,
            limits: WireLimits {
                file: builder.limits.file,
                output: builder.limits.output,
                memory: self.host.memory,
                silence: builder.limits.silence.map(millis),
            },
            anew: builder.anew,
        };
        let news = link.start(number, &order).map_err(lost)?;
        let most = builder.limits.output.saturating_add(MORE_OUTPUT);
        let mut left = most;
        let mut bounded = |bytes: &[u8]| {
            left = left.checked_sub(bytes.len() as u64)?;
            log(bytes);
            Some(())
        };
        let timeout = step.derivation().policy.timeout.map(Duration::from_secs);
        let wait = Wait {
            number,
            news: &news,
            cancel,
            until: timeout.map(|limit| Instant::now() + limit + LATE),
        };
        match link.wait(&wait, &mut bounded).map_err(lost)? {
            WireEnd::Built {
                tree,
                changed,
                size,
            } => {
                let options = ReceiveOptions {
                    cancel: cancel.flag(),
                    progress: &|_| (),
                    dry_run: false,
                };
                let clock = Instant::now();
                let received = builder.store.receive(&peer, &[tree], &options);
                let received = received.map_err(trouble)?;
                lock(&self.traffic).received += received.bytes;
                let seconds = clock.elapsed().as_secs_f64();
                self.hold(builder.store, |holdings, number| {
                    let on = trees.first().copied();
                    holdings.built(number, tree, on, received.bytes, seconds)
                });
                lock(&link.idle).push(peer);
                Ok(Elsewhere::Built {
                    tree,
                    changed,
                    size,
                })
            }
            WireEnd::Failed { how, status } => {
                lock(&link.idle).push(peer);
                let how = shown(&how);
                Ok(Elsewhere::Failed { how, status })
            }
            WireEnd::Cancelled if cancel.is_cancelled() => Err(StepError::Cancelled),
            WireEnd::Cancelled => Err(lost(Away("its worker was told to end".to_owned()))),
            WireEnd::Infrastructure { what } => Err(lost(Away(shown(&what)))),
        }
    }

    /// A connection for trees, which breaks off when the job is cancelled or the worker is gone.
    fn peer(&self, seat: &Seat, cancel: &CancelToken) -> Result<SshPeer, TransferError> {
        let flags = [cancel.flag(), seat.link.over()];
        let no_event = |e: std::io::Error| TransferError::peer(&self.host.name, e.to_string());
        let idle = lock(&seat.link.idle).pop();
        if let Some(peer) = idle {
            peer.heed(&flags).map_err(no_event)?;
            return Ok(peer);
        }
        let started = ssh::start(&self.address, &seat.trees)?;
        started.heed(&flags).map_err(no_event)?;
        started.connect()
    }

    fn lost(&self, why: &str) -> StepError {
        StepError::Lost(format!("{}: {why}", self.host.name))
    }

    /// Gives the connection up, so that the host is looked at again before it gets more.
    fn give_up(&self, link: &Link, away: Away) -> StepError {
        link.abandon(away.clone());
        self.lost(&away.0)
    }

    /// Tells apart what is wrong with the host and what is wrong here.
    fn trouble(&self, link: &Link, cancel: &CancelToken, error: TransferError) -> StepError {
        match error {
            // Its pipes end with it.
            _ if cancel.is_cancelled() => StepError::Cancelled,
            TransferError::Cancelled => StepError::Cancelled,
            TransferError::Store(error) => error.into(),
            error => self.give_up(link, Away(error.to_string())),
        }
    }
}

/// What a machine said of itself, a line each.
fn about(program: &str, signature: &Signature) -> String {
    // A worker of another version is not taken.
    let Signature {
        host,
        machine,
        kernel,
        processors,
        free,
        clock,
        process,
        ..
    } = signature;
    let free = free / 1024;
    let text = [host, kernel].map(|text| text.replace(char::is_control, " "));
    let [host, kernel] = text;
    format!(
        "version={program}\nname={host}\nmachine={machine}\nkernel={kernel}\nprocessors={processors}\nfree={free}\n\
         clock={clock}\nworker={process}\n"
    )
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
