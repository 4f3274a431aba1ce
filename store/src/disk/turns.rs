//! A disk on which processes take turns, so that every order in which they can do things is a test.
//!
//! Each process is a thread that stops before every call of the disk and of the database. When all have
//! stopped, one is let go on until its next call. Which one is the schedule; [`explore`] goes through
//! all schedules, or through all that take a process off its turn at most N times. Who waits for
//! a lock that another holds gets no turn.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use rustix::fs::{FlockOperation, flock};

use super::{Disk, DiskFile, Held, Lock, RealDisk};
use crate::map::Map;

thread_local! {
    static PLACE: RefCell<Option<(Arc<Turns>, usize)>> = const { RefCell::new(None) };
}

#[derive(Debug)]
enum Process {
    /// Between two calls.
    Works,
    /// Before a call.
    Stands,
    /// Before a call that waits for this lock.
    Waits(Arc<File>, FlockOperation),
    Ended,
}

#[derive(Debug)]
struct State {
    processes: Vec<Process>,
    /// Whose turn it is.
    turn: Option<usize>,
}

/// Who may go on.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
    changed: Condvar,
}

/// Where a thread that takes part in a schedule stops.
pub(crate) fn point() {
    stop(Process::Stands);
}

fn stop(how: Process) {
    PLACE.with_borrow(|place| {
        if let Some((turns, me)) = place {
            turns.stop(*me, how);
        }
    });
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn stop(&self, me: usize, how: Process) {
        let mut state = self.lock();
        state.processes[me] = how;
        state.turn = None;
        self.changed.notify_all();
        while state.turn != Some(me) {
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        state.processes[me] = Process::Works;
    }

    /// Waits until all have stopped, and returns those that can go on.
    fn ready(&self) -> Vec<usize> {
        let mut state = self.lock();
        while state.turn.is_some() || state.processes.iter().any(|p| matches!(p, Process::Works)) {
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
        let can = |process: &Process| match process {
            Process::Works | Process::Stands => true,
            Process::Waits(file, how) => {
                let free = flock(file, *how).is_ok();
                flock(file, FlockOperation::Unlock).expect("a lock can be let go");
                free
            }
            Process::Ended => false,
        };
        let all = state.processes.iter().enumerate();
        all.filter(|(_, p)| can(p)).map(|(n, _)| n).collect()
    }

    fn give(&self, to: usize) {
        self.lock().turn = Some(to);
        self.changed.notify_all();
    }
}

/// Ends a process even when it panics.
struct Leave(Arc<Turns>, usize);

impl Drop for Leave {
    fn drop(&mut self) {
        PLACE.take();
        let mut state = self.0.lock();
        state.processes[self.1] = Process::Ended;
        state.turn = None;
        self.0.changed.notify_all();
    }
}

/// Plays one schedule: at each step the number of the choice among those that can go on, the one whose
/// turn it was first; after the end of `choices` always the first. Returns how many choices there were
/// at each step.
fn play<S: Sync>(
    stage: &S,
    works: &[fn(&S)],
    choices: &[usize],
    switches: usize,
) -> Vec<(usize, usize)> {
    let turns = Arc::new(Turns {
        state: Mutex::new(State {
            processes: works.iter().map(|_| Process::Works).collect(),
            turn: None,
        }),
        changed: Condvar::new(),
    });
    let mut made = Vec::new();
    std::thread::scope(|scope| {
        for (me, work) in works.iter().enumerate() {
            let turns = turns.clone();
            scope.spawn(move || {
                let _leave = Leave(turns.clone(), me);
                PLACE.set(Some((turns, me)));
                point();
                work(stage);
            });
        }
        let mut last = None;
        let mut left = switches;
        loop {
            let mut ready = turns.ready();
            if ready.is_empty() {
                let state = turns.lock();
                let ended = |p: &Process| matches!(p, Process::Ended);
                assert!(state.processes.iter().all(ended), "all wait: {state:?}");
                break;
            }
            // To take a process off its turn is a switch; to go on when it ended or waits is none.
            if let Some(at) = last.and_then(|l| ready.iter().position(|r| *r == l)) {
                let own = ready.remove(at);
                ready.insert(0, own);
                if left == 0 {
                    ready.truncate(1);
                }
            } else {
                last = None;
            }
            let choice = choices.get(made.len()).copied().unwrap_or(0);
            made.push((choice, ready.len()));
            if last.is_some() && choice > 0 {
                left -= 1;
            }
            last = Some(ready[choice]);
            turns.give(ready[choice]);
        }
    });
    made
}

/// Goes through all schedules of some works on a stage that `make` makes anew for each, with at most so
/// many switches, and looks at the outcome of each. Returns the number of schedules.
pub(crate) fn explore<S: Sync>(
    switches: usize,
    make: fn() -> S,
    works: &[fn(&S)],
    check: fn(&S),
) -> u64 {
    let mut choices: Vec<usize> = Vec::new();
    let mut count = 0;
    loop {
        let stage = make();
        let tell = Tell(&choices);
        let made = play(&stage, works, &choices, switches);
        check(&stage);
        drop(tell);
        count += 1;
        // The last step at which there is one more choice.
        let Some(at) = made.iter().rposition(|(choice, of)| choice + 1 < *of) else {
            return count;
        };
        choices = made[..=at].iter().map(|(choice, _)| *choice).collect();
        choices[at] += 1;
    }
}

/// Tells the schedule when a test fails.
struct Tell<'a>(&'a [usize]);

impl Drop for Tell<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("schedule: {:?}", self.0);
        }
    }
}

/// The file system itself, in turns. Threads that take part in no schedule do not stop.
#[derive(Debug)]
pub(crate) struct TurnsDisk;

impl Disk for TurnsDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        point();
        RealDisk::ANYWHERE.create(path)
    }

    fn create_dir(&self, path: &Path, mode: u32) -> io::Result<()> {
        point();
        RealDisk::ANYWHERE.create_dir(path, mode)
    }

    fn protect(&self, path: &Path, mode: u32) -> io::Result<()> {
        point();
        RealDisk::ANYWHERE.protect(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        point();
        RealDisk::ANYWHERE.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        point();
        RealDisk::ANYWHERE.remove(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        point();
        RealDisk::ANYWHERE.remove_tree(path)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        // Changes nothing that others see.
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<OsString>> {
        point();
        RealDisk::ANYWHERE.list(path)
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        point();
        RealDisk::ANYWHERE.read(path, most)
    }

    fn map(&self, path: &Path) -> io::Result<Map> {
        point();
        RealDisk::ANYWHERE.map(path)
    }

    fn lock(&self, path: &Path, how: Lock) -> io::Result<Option<Held>> {
        point();
        // To open and to lock are two calls: what happens to the name in between is seen by nobody else.
        let file = Arc::new(File::open(path)?);
        let operation = match how {
            Lock::Shared => FlockOperation::NonBlockingLockShared,
            Lock::Alone | Lock::Try => FlockOperation::NonBlockingLockExclusive,
        };
        match how {
            Lock::Try => point(),
            Lock::Shared | Lock::Alone => stop(Process::Waits(file.clone(), operation)),
        }
        let free = PLACE.with_borrow(Option::is_none) && how != Lock::Try;
        let operation = match (free, how) {
            (true, Lock::Shared) => FlockOperation::LockShared,
            (true, _) => FlockOperation::LockExclusive,
            (false, _) => operation,
        };
        match flock(&file, operation) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) if how == Lock::Try => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let file = Arc::into_inner(file).expect("nobody waits with it any more");
        Ok(Some(Held { file }))
    }

    fn boot(&self) -> String {
        RealDisk::ANYWHERE.boot()
    }

    fn vfs(&self) -> Option<&str> {
        None
    }
}
