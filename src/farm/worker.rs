//! The end of a connection that builds: `mstore worker --stdio`.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::thread::{self, Scope};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mstore_store::codec::Bytes;
use mstore_store::{Cancel, Store};

use super::frames::{
    ALIVE, FrameError, LEASE, MOST_ORDER, PROTOCOL, Sender, Signature, ToScheduler, ToWorker,
    WireEnd, WireLimits, receive,
};
use crate::build::cancel::CancelToken;
use crate::build::error::StepError;
use crate::build::host;
use crate::build::pause::Stopwatch;
use crate::build::processors::Processors;
use crate::build::sandbox::Sandbox;
use crate::build::step::{Builder, Limits};
use crate::drv::fetcher::NoFetcher;
use crate::drv::{Resolved, StoreFacts};
use crate::share::pipes::{Listening, Speaking, Stops};

/// Most jobs that a worker runs at a time.
const MOST_JOBS: usize = 4096;
/// Most platforms that are asked for.
const MOST_PLATFORMS: usize = 256;

/// Most bytes of output that are sent at once.
const PIECE: usize = 64 << 10;

/// A worker that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The scheduler cannot be understood, or is gone.
    #[error("the scheduler: {0}")]
    Frame(#[from] FrameError),
    /// The scheduler is of another version.
    #[error("the scheduler speaks version {0} of the protocol, and this program {PROTOCOL}")]
    Version(u32),
    /// The system failed.
    #[error("cannot {what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What it says.
        source: io::Error,
    },
}

/// Builds what a scheduler at the other end asks for.
pub struct Worker<'a> {
    /// Where inputs are and results go.
    pub store: &'a Store,
    /// Where derivations are remembered.
    pub facts: &'a StoreFacts,
    /// Processors that the jobs share.
    pub processors: usize,
    /// The version of this program.
    pub program: &'a str,
    /// Why nothing can be built here, if that is so.
    pub obstacle: Option<String>,
    /// Whether this process has mounts of its own: work folders may lie in memory.
    pub own_mounts: bool,
    /// Ends everything.
    pub cancel: &'a Cancel,
}

/// The running jobs.
type Jobs = Mutex<HashMap<u64, CancelToken>>;

fn lock(jobs: &Jobs) -> std::sync::MutexGuard<'_, HashMap<u64, CancelToken>> {
    // Only whole entries are put in.
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker<'_> {
    /// Serves until the other end goes away, is silent for too long or says what cannot be understood; what runs then
    /// is ended.
    pub fn serve<R: Read + AsFd, W: Write + AsFd + Send>(
        &self,
        input: R,
        output: W,
    ) -> Result<(), WorkerError> {
        let over = Cancel::new();
        // Whoever does not read any more must not keep anything here.
        let (hears, says) = (Stops::default(), Stops::default());
        let set = hears.set(&[self.cancel]).and_then(|()| says.set(&[&over]));
        set.map_err(|source| WorkerError::System {
            what: "make an event",
            source,
        })?;
        let sender = Sender::new(Speaking {
            pipe: output,
            patience: Some(LEASE),
            stops: says,
        });
        sender.send(&ToScheduler::Hello {
            protocol: PROTOCOL,
            program: self.program.to_owned(),
        })?;
        let mut input = Listening {
            pipe: input,
            patience: Some(LEASE),
            until: None,
            stops: hears,
        };
        let platforms = match receive(&mut input, MOST_ORDER)? {
            ToWorker::Hello { protocol, .. } if protocol != PROTOCOL => {
                return Err(WorkerError::Version(protocol));
            }
            ToWorker::Hello { platforms, .. } => platforms,
            _ => return Err(FrameError::Nonsense("no hello came".to_owned()).into()),
        };
        sender.send(&ToScheduler::Signature(self.signature(&platforms)))?;
        let jobs = Jobs::default();
        let processors = Processors::new(self.processors);
        thread::scope(|scope| {
            let alive = thread::Builder::new().spawn_scoped(scope, || {
                while !over.is_cancelled() {
                    thread::sleep(Duration::from_millis(200));
                    // Not a clock: what matters is that something comes often enough.
                    let _ = sender.send(&ToScheduler::Alive);
                    for _ in 0..ALIVE.as_millis() / 200 {
                        if over.is_cancelled() {
                            return;
                        }
                        thread::sleep(Duration::from_millis(200));
                    }
                }
            });
            let served = match alive {
                Ok(_) => self.listen(scope, &mut input, &sender, &jobs, &processors),
                Err(source) => Err(WorkerError::System {
                    what: "start a thread",
                    source,
                }),
            };
            for token in lock(&jobs).values() {
                token.cancel();
            }
            over.cancel();
            match served {
                // That is how a connection ends.
                Err(WorkerError::Frame(FrameError::Ended)) => Ok(()),
                other => other,
            }
        })
    }

    fn listen<'scope, 'env, R: Read + AsFd, W: Write + Send>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        input: &mut Listening<R>,
        sender: &'env Sender<W>,
        jobs: &'env Jobs,
        processors: &'env Processors,
    ) -> Result<(), WorkerError> {
        loop {
            match receive(input, MOST_ORDER)? {
                ToWorker::Alive => {}
                ToWorker::Hello { .. } => {
                    return Err(FrameError::Nonsense("a second hello".to_owned()).into());
                }
                ToWorker::Cancel { job } => {
                    if let Some(token) = lock(jobs).get(&job) {
                        token.cancel();
                    }
                }
                ToWorker::Start {
                    job,
                    name,
                    step,
                    slots,
                    size,
                    limits,
                    anew,
                } => {
                    let order = Order {
                        job,
                        name,
                        step,
                        slots,
                        size,
                        limits,
                        anew,
                    };
                    let token = CancelToken::new().map_err(|source| WorkerError::System {
                        what: "make an event",
                        source,
                    })?;
                    {
                        let mut jobs = lock(jobs);
                        if jobs.len() >= MOST_JOBS || jobs.contains_key(&job) {
                            let what = "a job that runs, or too many".to_owned();
                            return Err(FrameError::Nonsense(what).into());
                        }
                        jobs.insert(job, token.clone());
                    }
                    let spawned = thread::Builder::new().spawn_scoped(scope, move || {
                        let clock = Stopwatch::start();
                        let end = self.build(&order, sender, processors, &token);
                        lock(jobs).remove(&job);
                        let millis = u64::try_from(clock.elapsed().as_millis()).unwrap_or(u64::MAX);
                        // Fails only when nobody is there to hear it.
                        let _ = sender.send(&ToScheduler::Ended { job, millis, end });
                    });
                    if let Err(error) = spawned {
                        lock(jobs).remove(&job);
                        let what = format!("cannot start a thread: {error}");
                        let end = WireEnd::Infrastructure { what };
                        sender.send(&ToScheduler::Ended {
                            job,
                            millis: 0,
                            end,
                        })?;
                    }
                }
            }
        }
    }

    fn build<W: Write + Send>(
        &self,
        order: &Order,
        sender: &Sender<W>,
        processors: &Processors,
        token: &CancelToken,
    ) -> WireEnd {
        let step = match Resolved::decode(&order.step.0) {
            Ok(step) if step.derivation().fetched().is_none() => step,
            Ok(_) => {
                let what = "it is fetched, which the scheduler does itself".to_owned();
                return WireEnd::Infrastructure { what };
            }
            Err(error) => {
                let what = error.to_string();
                return WireEnd::Infrastructure { what };
            }
        };
        let job = order.job;
        if let Some(size) = order.size {
            // It decides where it is built, and nothing else.
            let _ = self.store.note_work_size(&order.name, size);
        }
        let builder = Builder {
            slots: order.slots as usize,
            store: self.store,
            facts: self.facts,
            sandbox: Sandbox::new(),
            fetcher: &NoFetcher,
            cancel: token,
            processors: processors.clone(),
            limits: Limits {
                file: order.limits.file,
                output: order.limits.output,
                memory: order.limits.memory.filter(|_| self.own_mounts),
                silence: order.limits.silence.map(Duration::from_millis),
            },
            note: &|_| (),
            raw: &|bytes| {
                for bytes in bytes.chunks(PIECE) {
                    let bytes = Bytes(bytes.to_vec());
                    // Whoever does not hear it is gone, which the reader of this end finds out.
                    let _ = sender.send(&ToScheduler::Output { job, bytes });
                }
            },
            anew: order.anew,
            host: rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned(),
        };
        match builder.build(&order.name, &step, &mut |_| ()) {
            Ok(built) => WireEnd::Built {
                tree: built.tree,
                changed: built.changed,
                size: self.store.work_size(&order.name).unwrap_or_default(),
            },
            Err(StepError::Failed(failure)) => WireEnd::Failed {
                how: failure.how,
                status: failure.status,
            },
            Err(StepError::Infrastructure(error)) => WireEnd::Infrastructure {
                what: error.to_string(),
            },
            Err(StepError::Cancelled | StepError::Lost(_)) => WireEnd::Cancelled,
        }
    }

    fn signature(&self, platforms: &[String]) -> Signature {
        let name = rustix::system::uname();
        let runs = platforms.iter().take(MOST_PLATFORMS);
        let runs = runs.filter(|platform| host::runs(platform).is_ok());
        let room = mstore_store::Room::of(self.store.path());
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        Signature {
            host: name.nodename().to_string_lossy().into_owned(),
            machine: host::machine(),
            kernel: name.release().to_string_lossy().into_owned(),
            processors: u32::try_from(self.processors).unwrap_or(u32::MAX),
            platforms: runs.cloned().collect(),
            free: room.map_or(0, |room| room.free),
            clock: clock.map_or(0, |since| since.as_secs().cast_signed()),
            process: std::process::id(),
            obstacle: self.obstacle.clone(),
        }
    }
}

/// A job as it was ordered.
struct Order {
    job: u64,
    name: String,
    step: Bytes,
    slots: u32,
    size: Option<u64>,
    limits: WireLimits,
    anew: bool,
}
