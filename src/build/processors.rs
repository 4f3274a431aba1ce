//! Shares this machine's processors out among the steps that run on it at a time.
//!
//! A step has one processor for as long as it runs, and two ways to learn of more. `MAKEOPTS` says, as
//! it starts, how many fall to it with what runs beside it then: a step that has the places of several has as much
//! as those would have had. And it finds a *jobserver*, as GNU make
//! speaks to it, at `/mstore/jobs`: a fifo with a byte for every further process that may run. Each step
//! has a fifo of its own, which this module fills: bytes that lie unused in one fifo are moved to those
//! that are empty, so that a processor that one step leaves idle serves another, and a step that is
//! alone in the end has all. What a step holds is forgotten with its fifo when it ends, however it
//! ended; what it writes into the fifo beyond what it was lent counts for nobody.
//!
//! [`settle`] decides, without clock and file; a thread, the steward, looks at the fifos while several
//! steps run.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

/// How often fifos are looked at while several steps run.
const TICK: Duration = Duration::from_millis(20);
/// Ticks for which a step gets nothing more after it has left something unused; doubled each time.
const REST: u32 = 2;
const LONGEST_REST: u32 = 50;
/// What GNU make puts into the fifo of a jobserver of its own.
const TOKEN: u8 = b'+';

/// The processors of this machine. Clones share them.
#[derive(Clone, Debug)]
pub struct Processors(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    count: usize,
    seats: Mutex<Seats>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seats {
    all: BTreeMap<u64, Seat>,
    next: u64,
    /// Whether a steward is at work.
    steward: bool,
}

/// A step that runs.
#[derive(Debug)]
struct Seat {
    /// From the moment in which its sandbox has one.
    fifo: Option<Arc<OwnedFd>>,
    account: Account,
    /// Bytes that it gets beyond what there is for it.
    more: usize,
}

/// What a step was lent, and how it deals with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Account {
    /// Bytes that were put into the fifo and not taken out again.
    lent: usize,
    /// Of these, those that lie in it now.
    idle: usize,
    /// Ticks for which it is passed over.
    rest: u32,
    /// How long the next rest is going to be.
    next_rest: u32,
    /// How many steps' places it has; 0 counts as 1.
    slots: usize,
}

impl Account {
    fn used(&self) -> usize {
        self.lent.saturating_sub(self.idle)
    }

    fn slots(&self) -> usize {
        self.slots.max(1)
    }

    /// Whether it may want more: all that it was lent is in use.
    fn is_hungry(&self) -> bool {
        self.idle == 0 && self.rest == 0
    }
}

/// Decides how much each step is lent from now on. Of what is in use nothing can be taken back.
///
/// Every step counts for one processor. What is left goes to those that have used up what they were lent,
/// to those with the least for each of their places first. Whoever leaves something unused meanwhile keeps half of it, and in the
/// end nothing; then it is passed over for a while, unless it shows that it has use for what it gets.
fn settle(count: usize, accounts: &mut [&mut Account]) {
    let used: usize = accounts.iter().map(|a| a.used()).sum();
    let mut free = count.saturating_sub(accounts.len() + used);
    for account in accounts.iter_mut() {
        account.rest = account.rest.saturating_sub(1);
        if account.used() > 0 {
            (account.rest, account.next_rest) = (0, REST);
        }
    }
    let hungry = accounts.iter().any(|a| a.is_hungry());
    let kept = |a: &Account| if hungry { a.idle / 2 } else { a.idle };
    let mut given = vec![0; accounts.len()];
    let mut share_out = |may: &dyn Fn(&Account, usize) -> bool| {
        while free > 0 {
            let open = accounts.iter().enumerate();
            let open = open.filter(|(at, a)| may(a, given[*at]));
            let each =
                |(at, a): &(usize, &&mut Account)| ((a.used() + given[*at]) << 16) / a.slots();
            let Some((at, _)) = open.min_by_key(each) else {
                return;
            };
            given[at] += 1;
            free -= 1;
        }
    };
    share_out(&|a, given| given < kept(a));
    share_out(&|a, _| !hungry || a.is_hungry());
    for (account, given) in accounts.iter_mut().zip(given) {
        if account.idle > 0 && account.used() + given == 0 {
            account.rest = account.next_rest.max(REST);
            account.next_rest = (account.rest * 2).min(LONGEST_REST);
        }
        account.lent = account.used() + given;
        account.idle = given;
    }
}

/// Tells which steps use more than their share while another uses less and may want it.
fn to_watch(count: usize, accounts: &[&Account]) -> Vec<usize> {
    let extra = count.saturating_sub(accounts.len());
    let slots: usize = accounts.iter().map(|a| a.slots()).sum();
    let share = |a: &Account| extra * a.slots() / slots.max(1);
    let starved = |a: &&&Account| a.is_hungry() && a.used() < share(a);
    let starved = accounts.iter().any(|a| starved(&a));
    let all = accounts.iter().enumerate();
    all.filter(|(_, a)| starved && a.used() > share(a))
        .map(|(at, _)| at)
        .collect()
}

impl Processors {
    /// So many processors; at least one.
    pub fn new(count: usize) -> Processors {
        Processors(Arc::new(Shared {
            count: count.max(1),
            seats: Mutex::default(),
            changed: Condvar::new(),
        }))
    }

    /// Gives a step that has `slots` of the places for steps its share until that is dropped. With `more` it gets so
    /// many jobs more than there are for it, to see whether that changes what it builds.
    pub fn join(&self, slots: usize, more: usize) -> Share {
        let mut seats = self.0.lock();
        let number = seats.next;
        seats.next += 1;
        let seat = Seat {
            fifo: None,
            account: Account {
                slots,
                ..Account::default()
            },
            more,
        };
        seats.all.insert(number, seat);
        seats.settle(self.0.count);
        drop(seats);
        self.0.changed.notify_all();
        Share {
            shared: Arc::clone(&self.0),
            number,
            more,
        }
    }
}

/// A running step's share of the processors.
#[derive(Debug)]
pub struct Share {
    shared: Arc<Shared>,
    number: u64,
    more: usize,
}

impl Share {
    /// Tells how many jobs the step may run with what runs beside it now, its own process counted.
    pub fn jobs(&self) -> usize {
        let seats = self.shared.lock();
        let slots = |seat: &Seat| seat.account.slots();
        let all: usize = seats.all.values().map(slots).sum();
        let own = seats.all.get(&self.number).map_or(1, slots);
        (self.shared.count * own).div_ceil(all.max(1)) + self.more
    }

    /// Its jobserver, for the sandbox that the step runs in.
    pub fn jobserver(&self) -> Jobserver {
        Jobserver {
            shared: Arc::clone(&self.shared),
            number: self.number,
        }
    }
}

/// Fills the fifo of a step's jobserver as long as the step has its share. Clones are the same.
#[derive(Clone, Debug)]
pub struct Jobserver {
    shared: Arc<Shared>,
    number: u64,
}

impl PartialEq for Jobserver {
    fn eq(&self, other: &Jobserver) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.number == other.number
    }
}

impl Eq for Jobserver {}

impl Jobserver {
    /// Takes the fifo, opened for reading and writing, and without waiting.
    pub fn connect(&self, fifo: OwnedFd) {
        let mut seats = self.shared.lock();
        let Some(seat) = seats.all.get_mut(&self.number) else {
            return;
        };
        put(&fifo, seat.more);
        seat.fifo = Some(Arc::new(fifo));
        seats.settle(self.shared.count);
        if !seats.steward && self.shared.count > 1 {
            let shared = Arc::clone(&self.shared);
            let steward = thread::Builder::new().name("mstore-processors".into());
            // Without it each step keeps what it has now.
            seats.steward = steward.spawn(move || shared.keep()).is_ok();
        }
        drop(seats);
        self.shared.changed.notify_all();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut seats = self.shared.lock();
        seats.all.remove(&self.number);
        seats.settle(self.shared.count);
        drop(seats);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seats> {
        // Accounts are right again after the next look at the fifos.
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The steward's work: moves what is unused as long as there are steps.
    fn keep(&self) {
        let mut seats = self.lock();
        loop {
            match seats.all.len() {
                0 => {
                    seats.steward = false;
                    return;
                }
                // It has been lent all there is.
                1 => {
                    let woken = self.changed.wait(seats);
                    seats = woken.unwrap_or_else(PoisonError::into_inner);
                }
                _ => {
                    seats.settle(self.count);
                    let watched = seats.to_watch(self.count);
                    if watched.is_empty() {
                        let woken = self.changed.wait_timeout(seats, TICK);
                        seats = woken.unwrap_or_else(PoisonError::into_inner).0;
                    } else {
                        drop(seats);
                        wait_for_any(&watched);
                        seats = self.lock();
                    }
                }
            }
        }
    }
}

impl Seats {
    /// Those with a fifo.
    fn open(&mut self) -> impl Iterator<Item = (&Arc<OwnedFd>, &mut Account)> {
        let all = self.all.values_mut();
        all.filter_map(|seat| Some((seat.fifo.as_ref()?, &mut seat.account)))
    }

    /// The processors that those with a fifo share: the others have one each.
    fn shared(&self, count: usize) -> usize {
        let closed = self.all.values().filter(|seat| seat.fifo.is_none());
        count.saturating_sub(closed.count())
    }

    /// Looks at the fifos and moves what is unused.
    fn settle(&mut self, count: usize) {
        let count = self.shared(count);
        for (fifo, account) in self.open() {
            // What the step itself put in counts for nothing.
            let there = rustix::io::ioctl_fionread(fifo).unwrap_or(0);
            let there = usize::try_from(there).unwrap_or(usize::MAX);
            account.idle = there.min(account.lent);
        }
        let before: Vec<Account> = self.open().map(|(_, account)| *account).collect();
        let mut accounts: Vec<_> = self.open().map(|(_, account)| account).collect();
        settle(count, &mut accounts);
        // First what goes back: it may have been used since, and is not lent to others then.
        let mut missing = 0;
        for ((fifo, account), before) in self.open().zip(&before) {
            let wanted = before.lent.saturating_sub(account.lent);
            let got = take(fifo, wanted);
            account.lent += wanted - got;
            missing += wanted - got;
        }
        for ((fifo, account), before) in self.open().zip(&before) {
            let mut wanted = account.lent.saturating_sub(before.lent);
            let short = missing.min(wanted);
            (missing, wanted) = (missing - short, wanted - short);
            account.lent -= short + (wanted - put(fifo, wanted));
        }
    }

    fn to_watch(&self, count: usize) -> Vec<Arc<OwnedFd>> {
        let open = self.all.values();
        let open: Vec<_> = open
            .filter_map(|seat| Some((seat.fifo.as_ref()?, &seat.account)))
            .collect();
        let accounts: Vec<&Account> = open.iter().map(|(_, account)| *account).collect();
        let watched = to_watch(self.shared(count), &accounts).into_iter();
        watched.map(|at| Arc::clone(open[at].0)).collect()
    }
}

/// Waits for something to lie in one of the fifos, at most for a tick.
fn wait_for_any(fifos: &[Arc<OwnedFd>]) {
    let mut fds: Vec<_> = fifos
        .iter()
        .map(|fd| PollFd::new(fd, PollFlags::IN))
        .collect();
    let tick = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(TICK.subsec_nanos()),
    };
    // Whatever the answer is, the fifos are looked at next.
    let _ = rustix::event::poll(&mut fds, Some(&tick));
}

/// Takes bytes out of a fifo; says how many there were.
fn take(fifo: &OwnedFd, most: usize) -> usize {
    let mut bytes = vec![0; most];
    let mut done = 0;
    while done < most {
        match rustix::io::read(fifo, &mut bytes[done..]) {
            Ok(n) if n > 0 => done += n,
            _ => break,
        }
    }
    done
}

/// Puts bytes into a fifo; says for how many there was room.
fn put(fifo: &OwnedFd, count: usize) -> usize {
    let bytes = vec![TOKEN; count];
    match count {
        0 => 0,
        _ => rustix::io::write(fifo, &bytes).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
