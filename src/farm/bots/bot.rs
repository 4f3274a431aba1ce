//! One session of a worker with an engine: it is kept up, what it gives is done, what came of it is told.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, Scope};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bazel_remote_apis::google::protobuf::{Any, Timestamp};
use mstore_store::Cancel;
use tonic::Code;

use super::health::Health;
use super::proto::{
    BotSession, CREATE, CreateBotSessionRequest, STATUS_OK, STATUS_TERMINATING, STATUS_UNHEALTHY,
    UPDATE, UpdateBotSessionRequest, Worker, call,
};
use super::table::{Finished, Order, Table};
use crate::build::cancel::CancelToken;
use crate::schedule::reapi::channel::Line;
use crate::schedule::reapi::reactor::{Reactor, Stop};
use crate::schedule::reapi::trouble::{Call, Status, Trouble, shown};

/// How long a call may take that the server answers at once.
const SHORT: Duration = Duration::from_secs(30);
/// How long a session lasts where the server does not say it, and the bounds of what is believed.
const SPAN: Duration = Duration::from_secs(60);
const SPANS: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(600));
/// How long the server may keep a call open in which it waits for work. Less than five seconds, and BuildGrid gives none.
const POLLS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));
/// How soon signals are heeded.
const BLINK: Duration = Duration::from_millis(100);
/// The pauses between attempts to reach a server, at first and at most.
pub const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(15));
/// How soon an answer without work comes from a server that did not wait for any.
const AT_ONCE: Duration = Duration::from_millis(200);
/// How soon a lease is told again that the server did not hear of, so that none is asked without a pause.
const AGAIN: Duration = Duration::from_millis(20);

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Session(name) => write!(f, "has a session: {}", shown(name)),
            News::Refused(why) => write!(f, "cannot go on for now: {why}"),
            News::Begun(id) => write!(f, "begins {}", shown(id)),
            News::Dropped(id) => write!(f, "ends {}, which is not wanted any more", shown(id)),
            News::Rests(time) => {
                let seconds = time.as_secs();
                write!(f, "takes nothing for {seconds} s, since this machine fails")
            }
            News::Ended(id, 0, _) => write!(f, "has done {}", shown(id)),
            News::Ended(id, code, why) => {
                let code = Code::from_i32(*code).description();
                write!(f, "could not do {}: {} ({code})", shown(id), shown(why))
            }
        }
    }
}

/// What went wrong, in words.
pub fn told(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Call(_, status) => status.to_string(),
        Trouble::Disagrees(what) => what.clone(),
        Trouble::Setup { why, .. } => why.clone(),
        Trouble::Gone(digest) => format!("the engine does not have {digest} any more"),
        Trouble::Cancelled | Trouble::Over => "it was ended from outside".to_owned(),
        Trouble::Store(error) => error.to_string(),
    }
}

/// What does the work of a lease.
pub trait Craft: Sync {
    /// Does what a lease says; ends it, with all processes, soon after `cancel` was cancelled. Returns when nothing of it
    /// runs any more.
    fn work(&self, payload: Option<Any>, cancel: &CancelToken) -> Finished;
}

/// How a worker is asked to leave.
#[derive(Clone, Debug, Default)]
pub struct Leaving {
    /// It finishes what it does.
    pub finish: Cancel,
    /// It gives back what it does.
    pub kill: Cancel,
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A session began.
    Session(String),
    /// The server refuses it, or cannot be reached.
    Refused(String),
    /// Work begins.
    Begun(String),
    /// The server wants it no more.
    Dropped(String),
    /// The machine fails, and is to be given nothing for so long.
    Rests(Duration),
    /// Work ended, with a code and what was said.
    Ended(String, i32, String),
}

/// A worker as one server knows it.
pub struct Bot<'a> {
    /// Where calls are carried out.
    pub reactor: &'a Reactor,
    /// The connection.
    pub line: Arc<Line>,
    /// Who does the work.
    pub craft: &'a dyn Craft,
    /// The worker's own name, the same after it was started again.
    pub id: String,
    /// What it is like.
    pub worker: Worker,
    /// When it is to leave.
    pub leaving: Leaving,
    /// The pauses between attempts to reach the server, at first and at most: [`PAUSES`].
    pub pauses: (Duration, Duration),
    /// How long the machine is left alone that failed, at first and at most: [`RESTS`](super::health::RESTS).
    pub rests: (Duration, Duration),
    /// Is told what people should know.
    pub tell: &'a (dyn Fn(News) + Sync),
}

/// A session as the server has it.
struct Session {
    name: String,
    version: String,
    span: Duration,
}

/// A lease that is being worked on.
struct Work {
    id: String,
    cancel: CancelToken,
}

/// How a call went.
enum Answer {
    Session(Box<BotSession>),
    /// Nothing came in time, and that says nothing.
    Nothing,
    Failed(Trouble),
}

impl Bot<'_> {
    /// Works until it is to leave. Fails where the server does not take it at all.
    pub fn run(&self) -> Result<(), Trouble> {
        thread::scope(|scope| self.serve(scope))
    }

    fn serve<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Result<(), Trouble> {
        let (sender, receiver) = channel::<(String, Finished)>();
        let mut table = Table::default();
        let mut session: Option<Session> = None;
        let mut work: Option<Work> = None;
        let (mut met, mut said_leaving) = (false, false);
        let mut pause = self.pauses.0;
        let mut health = Health::new(self.rests);
        loop {
            let killed = self.leaving.kill.is_cancelled();
            if killed && table.is_busy() {
                if let Some(work) = &work {
                    work.cancel.cancel();
                }
                self.wait_for(&receiver, &mut table, &mut health, None);
            } else if table.is_busy() && !table.has_news() {
                let span = session.as_ref().map_or(SPAN, |session| session.span);
                let most = Some((span / 3, said_leaving));
                self.wait_for(&receiver, &mut table, &mut health, most);
            }
            if !table.is_busy() {
                work = None;
            }
            let leaves = self.leaving.finish.is_cancelled() || killed;
            if leaves
                && !table.is_busy()
                && !table.has_news()
                && (said_leaving || session.is_none())
            {
                return Ok(());
            }
            let status = match (leaves, health.left()) {
                (true, _) => STATUS_TERMINATING,
                (false, Some(_)) => STATUS_UNHEALTHY,
                (false, None) => STATUS_OK,
            };
            let takes = status == STATUS_OK;
            let idle = takes && !table.is_busy() && !table.has_news();
            let asked = Instant::now();
            match self.ask(session.as_ref(), &table, status, idle) {
                Answer::Nothing => {}
                Answer::Session(answer) => {
                    (met, pause) = (true, self.pauses.0);
                    said_leaving = leaves;
                    if session.is_none() {
                        (self.tell)(News::Session(answer.name.clone()));
                    }
                    session = Some(Session {
                        name: answer.name.clone(),
                        version: answer.version.clone(),
                        span: span_of(answer.expire_time.as_ref()),
                    });
                    let had = table.has_news();
                    let orders = table.hear(&answer.leases, takes);
                    self.obey(scope, orders, &sender, &mut work);
                    if matches!(work, Some(ref work) if work.cancel.is_cancelled()) {
                        self.wait_for(&receiver, &mut table, &mut health, None);
                        work = None;
                    }
                    if had && table.has_news() {
                        thread::sleep(AGAIN);
                    } else if let (STATUS_UNHEALTHY, Some(rest)) = (status, health.left())
                        && !table.has_news()
                    {
                        let span = session.as_ref().map_or(SPAN, |session| session.span);
                        self.rest(rest.min(span / 3));
                    } else if idle && !table.is_busy() && asked.elapsed() < AT_ONCE {
                        // One that does not wait for work itself.
                        self.pause(self.pauses.0);
                    }
                }
                Answer::Failed(trouble) => {
                    // Without a session that was ever there, it is a matter of the settings.
                    if !met && !is_passing(&trouble) {
                        return Err(trouble);
                    }
                    let refused = !is_passing(&trouble) && !is_login(&trouble);
                    (self.tell)(News::Refused(told(&trouble)));
                    if refused {
                        session = None;
                        said_leaving = false;
                        if table.lose().is_some() {
                            self.obey(scope, vec![Order::Kill], &sender, &mut work);
                            self.wait_for(&receiver, &mut table, &mut health, None);
                            work = None;
                        }
                        if leaves {
                            return Ok(());
                        }
                    } else {
                        self.line.reconnect();
                        if leaves && !table.is_busy() && pause >= self.pauses.1 / 4 {
                            // There is nobody to hear it: the server notices by itself.
                            return Ok(());
                        }
                    }
                    self.pause(pause);
                    pause = (pause * 2).min(self.pauses.1);
                }
            }
        }
    }

    /// Waits until work has ended; with a time, no longer than that and not beyond a signal to leave that the server has
    /// not heard of.
    fn wait_for(
        &self,
        receiver: &Receiver<(String, Finished)>,
        table: &mut Table,
        health: &mut Health,
        most: Option<(Duration, bool)>,
    ) {
        let began = Instant::now();
        loop {
            match receiver.recv_timeout(BLINK) {
                Ok((id, finished)) => {
                    let status = &finished.status;
                    (self.tell)(News::Ended(id.clone(), status.code, status.message.clone()));
                    let finished = match self.leaving.kill.is_cancelled() && status.code != 0 {
                        true => Finished::failed(Code::Unavailable, "the worker was told to leave"),
                        false => finished,
                    };
                    if let Some(rest) = health.hear(&finished) {
                        (self.tell)(News::Rests(rest));
                    }
                    table.ended(&id, finished);
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let Some((most, said_leaving)) = most else {
                continue;
            };
            let leaves = self.leaving.finish.is_cancelled() && !said_leaving;
            if began.elapsed() >= most || leaves || self.leaving.kill.is_cancelled() {
                return;
            }
        }
    }

    fn obey<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        orders: Vec<Order>,
        sender: &Sender<(String, Finished)>,
        work: &mut Option<Work>,
    ) {
        for order in orders {
            match order {
                Order::Kill => {
                    if let Some(work) = work {
                        (self.tell)(News::Dropped(work.id.clone()));
                        work.cancel.cancel();
                    }
                }
                Order::Start { id, payload } => {
                    (self.tell)(News::Begun(id.clone()));
                    let begun = CancelToken::new().and_then(|cancel| {
                        let (token, own, sender) = (cancel.clone(), id.clone(), sender.clone());
                        let run = move || {
                            let work = AssertUnwindSafe(|| self.craft.work(payload, &token));
                            let finished = catch_unwind(work).unwrap_or_else(|_| {
                                Finished::failed(Code::Internal, "the worker stumbled")
                            });
                            // Fails only when nobody waits for it.
                            let _ = sender.send((own, finished));
                        };
                        thread::Builder::new().spawn_scoped(scope, run)?;
                        Ok(cancel)
                    });
                    match begun {
                        Ok(cancel) => *work = Some(Work { id, cancel }),
                        Err(error) => {
                            let why = format!("the worker cannot begin: {error}");
                            let finished = Finished::failed(Code::Unavailable, why);
                            let _ = sender.send((id.clone(), finished));
                            let Ok(cancel) = CancelToken::new() else {
                                // Told when the next wait ends: nothing of it runs.
                                continue;
                            };
                            *work = Some(Work { id, cancel });
                        }
                    }
                }
            }
        }
    }

    /// Speaks with the server once. An `idle` worker gives it time to find work.
    fn ask(&self, session: Option<&Session>, table: &Table, status: i32, idle: bool) -> Answer {
        let own = BotSession {
            name: session.map_or_else(String::new, |session| session.name.clone()),
            bot_id: self.id.clone(),
            status,
            worker: Some(self.worker.clone()),
            leases: table.leases(),
            expire_time: None,
            version: session.map_or_else(String::new, |session| session.version.clone()),
        };
        let deadline = match (idle, session) {
            (true, Some(session)) => session.span.clamp(POLLS.0, POLLS.1),
            (_, None) | (false, _) => SHORT,
        };
        let (line, parent) = (self.line.clone(), self.line.instance());
        let leaving = self.leaving.clone();
        let is_new = session.is_none();
        let asked = self.reactor.run(&Stop::default(), async move {
            let answer = async {
                if is_new {
                    let message = CreateBotSessionRequest {
                        parent,
                        bot_session: Some(own),
                    };
                    let ask = |channel, request| call(channel, CREATE, request);
                    line.once(Call::Wait, message, deadline, ask).await
                } else {
                    let message = UpdateBotSessionRequest {
                        name: own.name.clone(),
                        bot_session: Some(own),
                    };
                    let ask = |channel, request| call(channel, UPDATE, request);
                    line.once(Call::Wait, message, deadline, ask).await
                }
            };
            let signal = async {
                while !(idle && (leaving.finish.is_cancelled() || leaving.kill.is_cancelled())) {
                    tokio::time::sleep(BLINK).await;
                }
            };
            tokio::select! {
                answer = answer => answer.map(Some),
                () = signal => Ok(None),
            }
        });
        match asked {
            Ok(Some(answer)) => Answer::Session(Box::new(answer)),
            Ok(None) => Answer::Nothing,
            Err(Trouble::Call(_, status)) if idle && status.code == Code::DeadlineExceeded => {
                Answer::Nothing
            }
            Err(trouble) => Answer::Failed(trouble),
        }
    }

    /// Pauses, unless it is to leave.
    fn rest(&self, time: Duration) {
        let began = Instant::now();
        let leaves = || self.leaving.finish.is_cancelled() || self.leaving.kill.is_cancelled();
        while began.elapsed() < time && !leaves() {
            thread::sleep(BLINK.min(time));
        }
    }

    /// Pauses, unless it is to leave at once.
    fn pause(&self, time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time && !self.leaving.kill.is_cancelled() {
            thread::sleep(BLINK.min(time));
        }
    }
}

/// Whether a failure goes away by itself.
pub(super) fn is_passing(trouble: &Trouble) -> bool {
    let Trouble::Call(_, status) = trouble else {
        return false;
    };
    !status.tls && is_passing_status(status)
}

fn is_passing_status(status: &Status) -> bool {
    matches!(
        status.code,
        Code::Unavailable
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Aborted
            | Code::Cancelled
    )
}

/// Whether the server does not believe who this is: another token may come.
fn is_login(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Call(_, status)
        if matches!(status.code, Code::Unauthenticated | Code::PermissionDenied))
}

/// How long a session lasts, by the server's clock and this one.
fn span_of(ends: Option<&Timestamp>) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| now.as_secs().cast_signed());
    let seconds = ends.map(|ends| ends.seconds.saturating_sub(now));
    let span = seconds.and_then(|seconds| u64::try_from(seconds).ok());
    // Clocks that disagree make nonsense of it.
    span.map_or(SPAN, Duration::from_secs)
        .clamp(SPANS.0, SPANS.1)
}
