//! Growth of a run: how jobs get into it while it goes on.
//!
//! Whoever knows jobs holds a [`Feed`], on any thread, and lists them as it finds them, in any order:
//! a need may name a job that comes later. When the last feed is dropped the walk has ended, also when
//! its thread panicked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use super::control::words::{Answer, Question};
use super::engine::{HostId, Run};
use super::executor::{Demand, Desk, HostNews, JobResult};
use crate::build::step::Note;

/// Lines of output that may wait for the driver.
const LINES: usize = 4096;

/// A job as it is listed. `N` is what its lister calls jobs.
#[derive(Clone, Debug)]
pub struct Listing<N> {
    /// Which job.
    pub node: N,
    /// The jobs that it needs, listed or not.
    pub needs: Vec<N>,
    /// Seconds its last build took, where that is known.
    pub seconds: Option<f64>,
    /// Whether it may turn out to need more. It does not start before it is closed.
    pub open: bool,
    /// What it asks for.
    pub demand: Demand,
}

/// More of the graph.
#[derive(Clone, Debug)]
pub enum Growth<N> {
    /// Jobs that are known now, all of them at once.
    Listed(Vec<Listing<N>>),
    /// An open job needs these as well.
    Gained {
        /// The open job.
        node: N,
        /// What else it needs, listed or not.
        needs: Vec<N>,
    },
    /// Nothing more is to come for an open job.
    Closed(N),
}

/// The run is over, and takes nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run is over")]
pub struct RunOver;

/// Brings growth into a run. Clones bring it into the same run.
pub struct Feed<N>(Arc<Walk<N>>);

impl<N> Clone for Feed<N> {
    fn clone(&self) -> Self {
        Feed(Arc::clone(&self.0))
    }
}

impl<N> Feed<N> {
    /// Brings something into the run. Fails once the run is over, which may be early.
    pub fn send(&self, growth: Growth<N>) -> Result<(), RunOver> {
        let sent = self.0.0.send(Message::Growth(growth));
        sent.map_err(|_| RunOver)
    }
}

/// What all feeds of a run share; its end is the end of the walk.
struct Walk<N>(Sender<Message<N>>);

impl<N> Drop for Walk<N> {
    fn drop(&mut self) {
        // Fails only when the run is over, and then nobody needs to know.
        let _ = self.0.send(Message::WalkEnded);
    }
}

/// Something that the driver is told.
pub(super) enum Message<N> {
    Growth(Growth<N>),
    WalkEnded,
    Output(Run, String),
    Noted(Run, Note),
    Ended(Run, JobResult),
    Host(HostId, HostNews),
    Asked(Question, SyncSender<Answer>),
}

/// The driver's end of the feeds and of all reports.
pub struct Intake<N> {
    pub(super) receiver: Receiver<Message<N>>,
    pub(super) office: Arc<Office<N>>,
}

impl<N: Send + 'static> Intake<N> {
    /// Where questions from outside are brought.
    pub(super) fn desk(&self) -> Arc<dyn Desk> {
        self.office.clone()
    }
}

/// Where reports are taken.
pub(super) struct Office<N> {
    sender: Sender<Message<N>>,
    /// Lines that were sent and not yet received.
    lines: AtomicUsize,
    /// Whether those who send lines wait when there are too many; otherwise lines are lost.
    hold: AtomicBool,
}

impl<N> Office<N> {
    /// Says whether those who send lines wait when there are too many.
    pub fn hold(&self, hold: bool) {
        self.hold.store(hold, Ordering::Relaxed);
    }

    /// Takes in that the driver received a line.
    pub fn line_received(&self) {
        self.lines.fetch_sub(1, Ordering::Relaxed);
    }
}

impl<N: Send> Desk for Office<N> {
    fn line(&self, run: Run, line: &str) {
        while self.hold.load(Ordering::Relaxed) && self.lines.load(Ordering::Relaxed) >= LINES {
            thread::sleep(Duration::from_millis(1));
        }
        // A watcher that is slower than the builds must neither hold them up, unless it asked for it, nor cost
        // memory.
        if self.lines.fetch_add(1, Ordering::Relaxed) >= LINES
            || self
                .sender
                .send(Message::Output(run, line.to_owned()))
                .is_err()
        {
            self.lines.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn note(&self, run: Run, note: Note) {
        // As below.
        let _ = self.sender.send(Message::Noted(run, note));
    }

    fn ended(&self, run: Run, result: JobResult) {
        // Fails only when the driver is gone, and then nobody is left to tell.
        let _ = self.sender.send(Message::Ended(run, result));
    }

    fn host(&self, host: HostId, news: HostNews) {
        // As above.
        let _ = self.sender.send(Message::Host(host, news));
    }

    fn asked(&self, question: Question, reply: SyncSender<Answer>) -> bool {
        self.sender.send(Message::Asked(question, reply)).is_ok()
    }
}

/// The two ends of the way into a run.
pub fn feed<N>() -> (Feed<N>, Intake<N>) {
    let (sender, receiver) = mpsc::channel();
    let office = Office {
        sender: sender.clone(),
        lines: AtomicUsize::new(0),
        hold: AtomicBool::new(false),
    };
    let intake = Intake {
        receiver,
        office: Arc::new(office),
    };
    (Feed(Arc::new(Walk(sender))), intake)
}
