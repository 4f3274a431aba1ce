//! Threads that read, hash, compress and write, with a bound on what is under way.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use crate::StoreError;

/// Weight of all jobs under way together, in bytes.
const CAPACITY: usize = 32 << 20;

/// The threads that do all work of the store.
pub(crate) fn pool() -> Result<&'static rayon::ThreadPool, StoreError> {
    static POOL: OnceLock<rayon::ThreadPool> = OnceLock::new();
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 16));
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|n| format!("mstore-store-{n}"))
        .build()
        .map_err(|error| StoreError::io("start threads", "", std::io::Error::other(error)))?;
    Ok(POOL.get_or_init(|| pool))
}

/// A batch of jobs. The first failure stops the rest.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    shared: Arc<Shared>,
    pool: &'static rayon::ThreadPool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    weight: usize,
    jobs: usize,
    error: Option<StoreError>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is only counters and an error: valid after any panic.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Batch {
    pub fn new() -> Result<Batch, StoreError> {
        Ok(Batch {
            shared: Arc::default(),
            pool: pool()?,
        })
    }

    /// Starts a job, after waiting until there is room for its weight. Must not be called by a job.
    pub fn spawn(
        &self,
        weight: usize,
        job: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let weight = weight.clamp(1, CAPACITY);
        let mut state = self.shared.lock();
        while state.jobs > 0 && state.weight + weight > CAPACITY {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(|e| e.into_inner());
        }
        if let Some(error) = state.error.take() {
            // Kept for `wait`, which must not report success after this.
            return Err(error);
        }
        state.weight += weight;
        state.jobs += 1;
        drop(state);
        let shared = self.shared.clone();
        self.pool.spawn(move || {
            let result = if shared.failed.load(Ordering::Relaxed) {
                // What it holds goes before it counts as done.
                drop(job);
                Ok(())
            } else {
                catch_unwind(AssertUnwindSafe(job)).unwrap_or_else(|_| {
                    let error = std::io::Error::other("a worker thread panicked");
                    Err(StoreError::io("work", "", error))
                })
            };
            let mut state = shared.lock();
            state.weight -= weight;
            state.jobs -= 1;
            if let Err(error) = result
                && !shared.failed.swap(true, Ordering::Relaxed)
            {
                state.error = Some(error);
            }
            drop(state);
            shared.changed.notify_all();
        });
        Ok(())
    }

    /// Tells the jobs not yet begun to do nothing.
    pub fn cancel(&self) {
        self.shared.failed.store(true, Ordering::Relaxed);
    }

    /// Tells the jobs not yet begun to do nothing, and waits for the others, so that nobody writes
    /// any more. Must not be called by a job.
    pub fn stop(&self) {
        self.cancel();
        // That it was stopped is no news, and a failure was told already.
        let _ = self.wait();
    }

    /// Waits until all jobs are done. Reports the first failure.
    pub fn wait(&self) -> Result<(), StoreError> {
        let mut state = self.shared.lock();
        while state.jobs > 0 {
            state = self
                .shared
                .changed
                .wait(state)
                .unwrap_or_else(|e| e.into_inner());
        }
        match state.error.take() {
            Some(error) => Err(error),
            None if self.shared.failed.load(Ordering::Relaxed) => Err(StoreError::io(
                "finish",
                "",
                std::io::Error::from(std::io::ErrorKind::Interrupted),
            )),
            None => Ok(()),
        }
    }
}

/// Takes a value out of its `Arc` once the jobs that shared it are done. A job counts as done just
/// before its thread drops what it captured, so this waits a moment where it must.
pub(crate) fn sole_owner<T>(value: Arc<T>, drop_others: impl FnOnce()) -> Result<T, StoreError> {
    drop_others();
    let mut value = value;
    for _ in 0..100_000 {
        match Arc::try_unwrap(value) {
            Ok(value) => return Ok(value),
            Err(shared) => value = shared,
        }
        std::thread::yield_now();
    }
    let error = std::io::Error::other("a thread is still at work");
    Err(StoreError::io("finish", "", error))
}
