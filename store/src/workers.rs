//! Threads that read, hash, compress and write, with a bound on what is under way.
//!
//! The bound is one for the whole process, since jobs hold files open: of many batches at once each
//! gets its share. What holds more than a job does (a walk through a tree has a directory open for each
//! level) takes a [`Turn`] besides.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use crate::StoreError;

/// Weight of all jobs under way together, in bytes.
const CAPACITY: usize = 32 << 20;
/// Cost in bytes of the jobs that a batch does without other threads, and what each costs at least.
const ALONE: usize = 256 << 10;
const LEAST: usize = 4 << 10;
/// Open files that are left to everything else: the database, pipes and sockets of running builds.
const OTHERS: u64 = 128;
/// Open files that a walk through a tree needs, unless the tree is unusually deep.
const WALK: u64 = 48;
/// More walks at once than this only get in each other's way.
const MOST_TURNS: u64 = 8;

/// What the limit of open files allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    /// Jobs under way together.
    jobs: usize,
    /// Walks at once.
    turns: usize,
}

impl Room {
    fn of(files: u64) -> Room {
        let ours = files.saturating_sub(OTHERS);
        Room {
            jobs: (ours / 4).clamp(8, 128) as usize,
            turns: (ours / 2 / WALK).clamp(1, MOST_TURNS) as usize,
        }
    }

    fn here() -> Room {
        static ROOM: OnceLock<Room> = OnceLock::new();
        *ROOM.get_or_init(|| {
            let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            Room::of(limit.current.unwrap_or(u64::MAX))
        })
    }
}

/// What all batches have under way.
#[derive(Debug, Default)]
struct Under {
    weight: usize,
    jobs: usize,
}

static UNDER: Mutex<Under> = Mutex::new(Under { weight: 0, jobs: 0 });
static ROOM_MADE: Condvar = Condvar::new();

static TURNS: Mutex<usize> = Mutex::new(0);
static TURN_ENDED: Condvar = Condvar::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters, and an error: valid after any panic.
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

/// The right to walk through a tree, or all such rights; given back when dropped.
#[derive(Debug)]
pub(crate) struct Turn(usize);

impl Turn {
    /// Waits for a turn. Who has one must not ask for another.
    pub fn take() -> Turn {
        Self::wait_for(1)
    }

    /// Waits until nobody has a turn, and takes them all.
    pub fn take_all() -> Turn {
        Self::wait_for(Room::here().turns)
    }

    fn wait_for(n: usize) -> Turn {
        let mut taken = lock(&TURNS);
        while *taken + n > Room::here().turns {
            taken = TURN_ENDED.wait(taken).unwrap_or_else(|e| e.into_inner());
        }
        *taken += n;
        Turn(n)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&TURNS) -= self.0;
        TURN_ENDED.notify_all();
    }
}

/// Does what walks through a tree when it is its turn; again, alone, if there were too few open files:
/// the tree is unusually deep.
pub(crate) fn in_turn<T>(work: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let first = {
        let _turn = Turn::take();
        work()
    };
    match first {
        Err(StoreError::Io { source, .. })
            if rustix::io::Errno::from_io_error(&source) == Some(rustix::io::Errno::MFILE) =>
        {
            let _turns = Turn::take_all();
            work()
        }
        other => other,
    }
}

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
    /// Cost of the jobs that were done at once.
    alone: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    jobs: usize,
    error: Option<StoreError>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// The place of a job among all that are under way; given back when dropped.
struct Place {
    weight: usize,
}

impl Place {
    /// Waits until there is room for a job of this weight. A batch without any gets one at once, so
    /// that each gets on.
    fn take(weight: usize, batch: &Shared) -> Place {
        let room = Room::here();
        let mut under = lock(&UNDER);
        while (under.weight + weight > CAPACITY || under.jobs >= room.jobs) && batch.lock().jobs > 0
        {
            under = ROOM_MADE.wait(under).unwrap_or_else(|e| e.into_inner());
        }
        under.weight += weight;
        under.jobs += 1;
        Place { weight }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut under = lock(&UNDER);
        under.weight -= self.weight;
        under.jobs -= 1;
        drop(under);
        ROOM_MADE.notify_all();
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
        self.pool.spawn(self.begin(weight, job)?);
        Ok(())
    }

    /// Starts a job like [`Batch::spawn`], but does the first ones of a batch at once, up to a cost in
    /// bytes: to wake threads for a handful of files takes longer than to read them.
    pub fn spawn_or_do(
        &self,
        weight: usize,
        cost: usize,
        job: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<(), StoreError> {
        let job = self.begin(weight, job)?;
        let cost = cost.clamp(LEAST, CAPACITY);
        if self.shared.alone.fetch_add(cost, Ordering::Relaxed) + cost <= ALONE {
            job();
        } else {
            self.pool.spawn(job);
        }
        Ok(())
    }

    /// Waits until there is room for a job, and counts it. What it gives has to be run.
    fn begin(
        &self,
        weight: usize,
        job: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<impl FnOnce() + Send + 'static, StoreError> {
        let place = Place::take(weight.clamp(1, CAPACITY), &self.shared);
        let mut state = self.shared.lock();
        if let Some(error) = state.error.take() {
            // Kept for `wait`, which must not report success after this.
            return Err(error);
        }
        state.jobs += 1;
        drop(state);
        let shared = self.shared.clone();
        Ok(move || {
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
            state.jobs -= 1;
            if let Err(error) = result
                && !shared.failed.swap(true, Ordering::Relaxed)
            {
                state.error = Some(error);
            }
            drop(state);
            // After the job stopped counting: whoever waits for room looks at both.
            drop(place);
            shared.changed.notify_all();
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_done_at_once_and_the_rest_by_others() {
        let batch = Batch::new().unwrap();
        let ours = std::thread::current().id();
        let by_us = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let by_us = by_us.clone();
            let count = move || {
                if std::thread::current().id() == ours {
                    by_us.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            };
            batch.spawn_or_do(1, 1, count).unwrap();
        }
        batch.wait().unwrap();
        assert_eq!(by_us.load(Ordering::Relaxed), ALONE / LEAST);
        let failing = Batch::new().unwrap();
        let fail = || Err(StoreError::Interrupted);
        failing.spawn_or_do(1, 1, fail).unwrap();
        assert!(failing.spawn_or_do(1, 1, || unreachable!()).is_err());
        assert!(failing.wait().is_err());
    }

    #[test]
    fn few_open_files_make_little_at_once() {
        let room = |jobs, turns| Room { jobs, turns };
        assert_eq!(Room::of(64), room(8, 1));
        assert_eq!(Room::of(256), room(32, 1));
        assert_eq!(Room::of(1024), room(128, 8));
        assert_eq!(Room::of(u64::MAX), room(128, 8));
    }

    #[test]
    fn batches_beside_each_other_all_end_and_share_the_bound() {
        let most = Arc::new(AtomicUsize::new(0));
        let now = Arc::new(AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                let (most, now) = (most.clone(), now.clone());
                scope.spawn(move || {
                    let batch = Batch::new().unwrap();
                    for _ in 0..40 {
                        now.fetch_add(1, Ordering::SeqCst);
                        let (most, now) = (most.clone(), now.clone());
                        // Each alone is as much as all may be together.
                        batch
                            .spawn(CAPACITY, move || {
                                most.fetch_max(
                                    now.fetch_sub(1, Ordering::SeqCst),
                                    Ordering::SeqCst,
                                );
                                Ok(())
                            })
                            .unwrap();
                    }
                    batch.wait().unwrap();
                });
            }
        });
        assert_eq!(now.load(Ordering::SeqCst), 0);
        // One of each batch is under way, and one more of each waits.
        assert!(most.load(Ordering::SeqCst) <= 12);
    }

    #[test]
    fn what_needs_too_many_open_files_is_done_again_alone() {
        let tries = AtomicUsize::new(0);
        let done = in_turn(|| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Err(StoreError::io("open", "x", rustix::io::Errno::MFILE)),
            _ => Ok(*lock(&TURNS)),
        });
        assert!(done.unwrap() >= Room::here().turns);
        let refused = in_turn(|| -> Result<(), _> {
            Err(StoreError::io("open", "x", rustix::io::Errno::MFILE))
        });
        assert!(refused.is_err());
    }
}
