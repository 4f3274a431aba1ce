//! This machine as an executor: every job on a thread of its own, in a sandbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, Scope};
use std::time::Duration;

use mstore_store::TreeHash;

use super::engine::{HostId, JobId};
use super::error::ScheduleError;
use super::executor::{
    Executor, Fault, Host, HostDesk, HostNews, Job, JobResult, Product, Report, Work,
};
use crate::build::cancel::CancelToken;
use crate::build::error::StepError;
use crate::build::host;
use crate::build::pause::Stopwatch;
use crate::build::step::{Builder, Limits};

/// Tells whether a tree could be fetched from elsewhere and is here now.
pub type Fetch<'a> = dyn Fn(TreeHash) -> bool + Sync + 'a;

/// Builds on this machine. Its threads end before the scope that it was made with.
pub struct Local<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    builder: &'env Builder<'env>,
    fetch: &'env Fetch<'env>,
    slots: usize,
    silence: Option<Duration>,
    running: Arc<Running>,
}

impl<'scope, 'env> Local<'scope, 'env> {
    /// Builds with `builder`, whose own token is not looked at: every job gets one. At most `slots` run at
    /// a time.
    pub fn new(
        scope: &'scope Scope<'scope, 'env>,
        builder: &'env Builder<'env>,
        fetch: &'env Fetch<'env>,
        slots: usize,
    ) -> Self {
        Local {
            scope,
            builder,
            fetch,
            slots,
            silence: None,
            running: Arc::default(),
        }
    }

    /// The same, with another time that steps may print nothing whose derivations do not say it.
    pub fn with_silence(self, silence: Option<Duration>) -> Self {
        Local { silence, ..self }
    }
}

/// What this machine is like, a line each.
fn about(builder: &Builder<'_>) -> String {
    let name = rustix::system::uname();
    let free = mstore_store::Room::of(builder.store.path()).map_or(0, |room| room.free / 1024);
    format!(
        "version={}\nname={}\nmachine={}\nkernel={}\nprocessors={}\nfree={free}\n",
        env!("CARGO_PKG_VERSION"),
        builder.host,
        host::machine(),
        name.release().to_string_lossy(),
        std::thread::available_parallelism().map_or(1, |n| n.get()),
    )
}

impl Executor for Local<'_, '_> {
    /// One host, which stays. What its kernel and processor can run is not asked here: `Builder` refuses
    /// what it cannot.
    fn hosts(&self, _: HostDesk) -> Vec<(HostId, HostNews)> {
        let host = Host {
            name: self.builder.host.clone(),
            slots: self.slots,
            speed: 1.0,
            platforms: None,
            here: true,
            about: about(self.builder),
        };
        vec![(HostId::nth(0), HostNews::Up(host))]
    }

    fn start(&self, job: Job, _: HostId, report: Report) {
        let (builder, fetch, silence) = (self.builder, self.fetch, self.silence);
        let running = Arc::clone(&self.running);
        // The thread gets its job only once it exists, so that the report is still here if not.
        let (sender, receiver) = mpsc::sync_channel::<(Job, CancelToken, Report)>(1);
        let spawned = thread::Builder::new().spawn_scoped(self.scope, move || {
            let Ok((job, cancel, report)) = receiver.recv() else {
                return;
            };
            let clock = Stopwatch::start();
            let limits = Limits {
                silence: silence.or(builder.limits.silence),
                ..builder.limits
            };
            let end = work(builder, limits, fetch, &job, &cancel, &report);
            running.lock().remove(&job.id);
            let seconds = clock.elapsed().as_secs_f64();
            report.end(JobResult { seconds, end });
        });
        let cancel = spawned.and_then(|_| CancelToken::new());
        match cancel {
            Ok(cancel) => {
                self.running.lock().insert(job.id, cancel.clone());
                // Cannot fail: the thread waits for it.
                let _ = sender.send((job, cancel, report));
            }
            Err(source) => {
                let error = ScheduleError::NoWorker { source };
                report.end(JobResult {
                    seconds: 0.0,
                    end: Err(Fault::Infrastructure(error)),
                });
            }
        }
    }

    fn cancel(&self, job: JobId) {
        if let Some(token) = self.running.lock().get(&job) {
            token.cancel();
        }
    }
}

/// The tokens of the jobs that run.
#[derive(Default)]
struct Running(Mutex<HashMap<JobId, CancelToken>>);

impl Running {
    fn lock(&self) -> MutexGuard<'_, HashMap<JobId, CancelToken>> {
        // Only whole entries are put in.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn work(
    builder: &Builder<'_>,
    limits: Limits,
    fetch: &Fetch<'_>,
    job: &Job,
    cancel: &CancelToken,
    report: &Report,
) -> Result<Product, Fault> {
    let step = match &job.work {
        Work::Fetch(tree) if fetch(*tree) => return Ok(Product::Fetched),
        Work::Fetch(_) => return Ok(Product::NotFetched),
        Work::Build(step) => step,
    };
    let note = |note| report.note(note);
    let raw = |bytes: &[u8]| report.heard(bytes.len());
    let builder = Builder {
        limits,
        raw: &raw,
        ..builder.with(cancel, &note, job.slots)
    };
    report.silence(limits.silence_of(step.derivation()));
    match builder.build(&job.name, step, &mut |line| report.line(line)) {
        Ok(built) if built.found => Ok(Product::Found { tree: built.tree }),
        Ok(built) => Ok(Product::Built {
            tree: built.tree,
            changed: built.changed,
        }),
        Err(StepError::Failed(failure)) => Err(Fault::Build(failure)),
        Err(StepError::Infrastructure(e)) => Err(Fault::Infrastructure(e.into())),
        Err(StepError::Cancelled) => Err(Fault::Cancelled),
        Err(StepError::Lost(reason)) => Err(Fault::Lost(reason)),
    }
}
