//! A server in this process, which plays what servers and networks do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bazel_remote_apis::google::protobuf::{Any, Timestamp};
use bazel_remote_apis::google::rpc;
use mstore_store::{ImportOptions, OpenOptions, Store};
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};
use tonic_prost::ProstCodec;

use super::bot::{Bot, Craft, Leaving, News};
use super::craft::WrittenOutBound;
use super::proto::*;
use super::table::Finished;
use crate::build::cancel::CancelToken;
use crate::schedule::reapi::channel::Line;
use crate::schedule::reapi::reactor::Reactor;
use crate::schedule::reapi::trouble::Trouble;
use crate::schedule::reapi::{EngineAddress, Settings};

/// What a server does wrong, or has done to it.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    /// Of a hundred calls: refused before anything happened, answered by silence after it did, session forgotten, lease
    /// cancelled, lease forgotten, leases that make no sense added.
    lost: u32,
    unheard: u32,
    sessions: u32,
    cancelled: u32,
    gone: u32,
    nonsense: u32,
}

/// A session: its name, its version, and its lease with the state of that.
type Known = (String, u32, Option<(String, i32)>);

#[derive(Default)]
struct State {
    faults: Faults,
    random: u64,
    /// The answer to all calls, if there is one for all.
    refuse: Option<Code>,
    next: u32,
    queue: VecDeque<String>,
    /// By the worker's name: the session, its version, and its lease.
    sessions: BTreeMap<String, Known>,
    completed: BTreeMap<String, i32>,
    /// Leases that the worker was told to end.
    ended: BTreeSet<String>,
    leaving: usize,
    unhealthy: usize,
    calls: usize,
}

impl State {
    fn chance(&mut self, of_hundred: u32) -> bool {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.random >> 33) % 100) < u64::from(of_hundred)
    }

    fn create(&mut self, session: BotSession) -> Result<BotSession, Status> {
        self.before()?;
        self.next += 1;
        let name = format!("main/{}", self.next);
        let old = self
            .sessions
            .insert(session.bot_id.clone(), (name, 0, None));
        self.requeue(old.and_then(|(_, _, lease)| lease));
        self.answer(session)
    }

    fn update(&mut self, session: BotSession) -> Result<BotSession, Status> {
        self.before()?;
        let faults = self.faults;
        if self.chance(faults.sessions)
            && let Some((_, _, lease)) = self.sessions.remove(&session.bot_id)
        {
            self.requeue(lease);
        }
        let known = self.sessions.get(&session.bot_id);
        let Some((name, version, lease)) =
            known.cloned().filter(|(name, ..)| *name == session.name)
        else {
            return Err(Status::invalid_argument("there is no such session"));
        };
        // That of an answer that was lost it never heard.
        assert!(
            session
                .version
                .parse::<u32>()
                .is_ok_and(|told| told <= version)
        );
        let mut lease = lease;
        for told in &session.leases {
            if told.state != LEASE_COMPLETED {
                assert_eq!(told.state, LEASE_ACTIVE);
                continue;
            }
            let code = told.status.as_ref().unwrap().code;
            if lease.as_ref().is_some_and(|(id, _)| *id == told.id) {
                if code == Code::Ok as i32 {
                    assert!(told.result.is_some());
                    self.completed.insert(told.id.clone(), code);
                } else {
                    assert_eq!(code, Code::Unavailable as i32);
                    self.queue.push_back(told.id.clone());
                }
                lease = None;
            }
        }
        if let Some((id, state)) = &mut lease {
            if self.chance(faults.cancelled) {
                *state = LEASE_CANCELLED;
                self.ended.insert(id.clone());
                self.queue.push_back(id.clone());
            } else if self.chance(faults.gone) {
                self.ended.insert(id.clone());
                self.queue.push_back(id.clone());
                lease = None;
            }
        }
        if session.status == STATUS_TERMINATING {
            self.leaving += 1;
        }
        if session.status == STATUS_UNHEALTHY {
            self.unhealthy += 1;
        }
        self.sessions
            .insert(session.bot_id.clone(), (name, version + 1, lease));
        let answer = self.answer(session)?;
        match self.chance(faults.unheard) {
            true => Err(Status::unavailable("the answer was lost")),
            false => Ok(answer),
        }
    }

    fn before(&mut self) -> Result<(), Status> {
        self.calls += 1;
        assert!(self.calls < 20_000, "it asks without a pause");
        if let Some(code) = self.refuse {
            return Err(Status::new(code, "not you"));
        }
        let lost = self.faults.lost;
        match self.chance(lost) {
            true => Err(Status::unavailable("a cut cable")),
            false => Ok(()),
        }
    }

    fn requeue(&mut self, lease: Option<(String, i32)>) {
        if let Some((id, _)) = lease.filter(|(_, state)| *state != LEASE_CANCELLED) {
            self.queue.push_back(id);
        }
    }

    fn answer(&mut self, session: BotSession) -> Result<BotSession, Status> {
        let faults = self.faults;
        let (name, version, mut lease) = self.sessions[&session.bot_id].clone();
        if lease.is_none() && session.status == STATUS_OK {
            let state = if self.chance(50) {
                LEASE_PENDING
            } else {
                LEASE_ACTIVE
            };
            lease = self.queue.pop_front().map(|id| (id, state));
        }
        let told = lease.clone();
        let lease = lease.filter(|(_, state)| *state != LEASE_CANCELLED);
        self.sessions
            .insert(session.bot_id.clone(), (name.clone(), version, lease));
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let one = |id: String, state: i32| Lease {
            id,
            state,
            payload: Some(Any::default()),
            ..Lease::default()
        };
        let mut leases: Vec<Lease> = told.into_iter().map(|(id, state)| one(id, state)).collect();
        if self.chance(faults.nonsense) {
            leases.push(one(String::new(), LEASE_ACTIVE));
            leases.push(one("x".repeat(5000), LEASE_ACTIVE));
            leases.push(one(format!("stranger{}", self.calls), LEASE_PENDING));
            leases.push(one("stranger".into(), 77));
            leases.extend((0..200).map(|n| one(format!("many{n}"), LEASE_COMPLETED)));
        }
        Ok(BotSession {
            name,
            version: version.to_string(),
            leases,
            expire_time: Some(Timestamp {
                seconds: now as i64 + 3,
                nanos: 0,
            }),
            ..session
        })
    }
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<State>>);

impl NamedService for Fake {
    const NAME: &'static str = "google.devtools.remoteworkers.v1test2.Bots";
}

struct Creates(Fake);
struct Updates(Fake);

impl UnaryService<CreateBotSessionRequest> for Creates {
    type Response = BotSession;
    type Future = BoxFuture<Response<BotSession>, Status>;

    fn call(&mut self, request: Request<CreateBotSessionRequest>) -> Self::Future {
        let request = request.into_inner();
        assert_eq!(request.parent, "main");
        let answer = self
            .0
            .0
            .lock()
            .unwrap()
            .create(request.bot_session.unwrap());
        Box::pin(async move { answer.map(Response::new) })
    }
}

impl UnaryService<UpdateBotSessionRequest> for Updates {
    type Response = BotSession;
    type Future = BoxFuture<Response<BotSession>, Status>;

    fn call(&mut self, request: Request<UpdateBotSessionRequest>) -> Self::Future {
        let request = request.into_inner();
        let session = request.bot_session.unwrap();
        assert_eq!(request.name, session.name);
        let answer = self.0.0.lock().unwrap().update(session);
        Box::pin(async move {
            // As servers do that have nothing to give.
            if answer.as_ref().is_ok_and(|answer| answer.leases.is_empty()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer.map(Response::new)
        })
    }
}

impl Service<http::Request<Body>> for Fake {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let fake = self.clone();
        Box::pin(async move {
            Ok(match request.uri().path() {
                CREATE => {
                    let codec = ProstCodec::<BotSession, CreateBotSessionRequest>::default();
                    Grpc::new(codec).unary(Creates(fake), request).await
                }
                UPDATE => {
                    let codec = ProstCodec::<BotSession, UpdateBotSessionRequest>::default();
                    Grpc::new(codec).unary(Updates(fake), request).await
                }
                other => panic!("nobody calls {other}"),
            })
        })
    }
}

/// Work that takes some milliseconds, or until it is ended.
#[derive(Default)]
struct Sleeps {
    runs: AtomicUsize,
    for_ever: bool,
    ended: AtomicUsize,
    /// Jobs for which its machine has no room.
    full: AtomicUsize,
}

impl Craft for Sleeps {
    fn work(&self, _: Option<Any>, cancel: &CancelToken) -> Finished {
        assert_eq!(
            self.runs.fetch_add(1, Ordering::SeqCst),
            0,
            "one thing at a time"
        );
        let began = Instant::now();
        while self.for_ever || began.elapsed() < Duration::from_millis(4) {
            if cancel.is_cancelled() {
                self.ended.fetch_add(1, Ordering::SeqCst);
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.runs.fetch_sub(1, Ordering::SeqCst);
        let take = |left: usize| left.checked_sub(1);
        let full = self
            .full
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        if full.is_ok() {
            return Finished {
                rests: true,
                ..Finished::failed(Code::Unavailable, "no room")
            };
        }
        match cancel.is_cancelled() {
            true => Finished::failed(Code::Unavailable, "ended"),
            false => Finished {
                status: rpc::Status::default(),
                result: Some(Any::default()),
                rests: false,
            },
        }
    }
}

/// Runs a worker against a server until `until` says so, and has it leave then; `kill` at once.
fn play(
    state: State,
    craft: &Sleeps,
    kill: bool,
    until: impl Fn(&State, &[News]) -> bool + Sync,
) -> (Result<(), Trouble>, State, Vec<News>) {
    let fake = Fake(Arc::new(Mutex::new(state)));
    let reactor = Reactor::start().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let incoming = {
        let _guard = runtime.enter();
        TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    };
    let address = incoming.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = fake.clone();
    let server = std::thread::spawn(move || {
        runtime.block_on(async move {
            let served = Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming);
            tokio::select! {
                served = served => served.unwrap(),
                _ = stopped => {}
            }
        });
    });
    let address: EngineAddress = format!("reapi://{address}/main").parse().unwrap();
    let line = reactor
        .within(|| Line::new(Settings::new(address), "test"))
        .unwrap();
    let news = Mutex::new(Vec::new());
    let leaving = Leaving::default();
    let done = AtomicUsize::new(0);
    let bot = Bot {
        reactor: &reactor,
        line: Arc::new(line),
        craft,
        id: "here/0".into(),
        worker: Worker::default(),
        leaving: leaving.clone(),
        pauses: (Duration::from_millis(2), Duration::from_millis(9)),
        rests: (Duration::from_millis(30), Duration::from_millis(60)),
        tell: &|told| news.lock().unwrap().push(told),
    };
    let ended = std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            while done.load(Ordering::SeqCst) == 0 {
                let state = fake.0.lock();
                let stumbled = state.is_err();
                let enough = state.is_ok_and(|state| until(&state, &news.lock().unwrap()));
                if enough || stumbled || began.elapsed() > Duration::from_secs(300) {
                    leaving.finish.cancel();
                    if kill || stumbled {
                        leaving.kill.cancel();
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let ended = bot.run();
        done.store(1, Ordering::SeqCst);
        ended
    });
    drop(stop);
    server.join().unwrap();
    let state = std::mem::take(&mut *fake.0.lock().unwrap());
    (ended, state, news.into_inner().unwrap())
}

fn queue(count: usize) -> VecDeque<String> {
    (0..count).map(|n| format!("lease{n}")).collect()
}

#[test]
fn whatever_happens_every_lease_comes_to_its_end() {
    std::thread::scope(|scope| {
        for seed in 0..3 {
            scope.spawn(move || {
                let state = State {
                    random: seed,
                    faults: Faults {
                        lost: 10,
                        unheard: 10,
                        sessions: 5,
                        cancelled: 10,
                        gone: 10,
                        nonsense: 10,
                    },
                    queue: queue(12),
                    ..State::default()
                };
                let craft = Sleeps::default();
                let all = |state: &State, _: &[News]| state.completed.len() == 12;
                let (ended, state, _) = play(state, &craft, false, all);
                ended.unwrap();
                assert_eq!(state.completed.len(), 12, "seed {seed}: {:?}", state.queue);
                assert_eq!(craft.runs.into_inner(), 0);
            });
        }
    });
}

#[test]
fn a_lease_that_is_not_wanted_any_more_is_ended() {
    for faults in [
        Faults {
            cancelled: 100,
            ..Faults::default()
        },
        Faults {
            sessions: 100,
            ..Faults::default()
        },
    ] {
        let state = State {
            faults,
            queue: queue(1),
            ..State::default()
        };
        let craft = Sleeps {
            for_ever: true,
            ..Sleeps::default()
        };
        let dropped =
            |_: &State, news: &[News]| news.iter().any(|news| matches!(news, News::Dropped(_)));
        let (ended, ..) = play(state, &craft, true, dropped);
        ended.unwrap();
        assert!(craft.ended.into_inner() >= 1, "{faults:?}");
    }
}

#[test]
fn a_machine_that_fails_says_so_and_rests() {
    let state = State {
        queue: queue(3),
        ..State::default()
    };
    let craft = Sleeps {
        full: AtomicUsize::new(2),
        ..Sleeps::default()
    };
    let all = |state: &State, _: &[News]| state.completed.len() == 3;
    let (ended, state, news) = play(state, &craft, false, all);
    ended.unwrap();
    assert_eq!(state.completed.len(), 3);
    assert!(state.unhealthy >= 2, "{}", state.unhealthy);
    let rests = news.iter().filter_map(|news| match news {
        News::Rests(time) => Some(time.as_millis()),
        _ => None,
    });
    assert_eq!(rests.collect::<Vec<_>>(), [30, 60]);
}

#[test]
fn asked_to_leave_it_finishes_and_says_so() {
    let state = State {
        queue: queue(2),
        ..State::default()
    };
    let craft = Sleeps::default();
    let begun = |_: &State, news: &[News]| news.iter().any(|news| matches!(news, News::Begun(_)));
    let (ended, state, _) = play(state, &craft, false, begun);
    ended.unwrap();
    assert!(state.leaving >= 1);
    assert!(!state.completed.is_empty());
    assert_eq!(state.completed.len() + state.queue.len(), 2);
}

#[test]
fn told_to_leave_at_once_it_gives_back_what_it_does() {
    let state = State {
        queue: queue(1),
        ..State::default()
    };
    let craft = Sleeps {
        for_ever: true,
        ..Sleeps::default()
    };
    let begun = |_: &State, news: &[News]| news.iter().any(|news| matches!(news, News::Begun(_)));
    let (ended, state, _) = play(state, &craft, true, begun);
    ended.unwrap();
    assert_eq!(craft.ended.into_inner(), 1);
    assert_eq!(state.queue, queue(1));
    assert!(state.completed.is_empty());
}

#[test]
fn a_server_that_does_not_take_it_at_all_is_told_of() {
    for code in [
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::InvalidArgument,
        Code::Unimplemented,
    ] {
        let state = State {
            refuse: Some(code),
            ..State::default()
        };
        let (ended, ..) = play(state, &Sleeps::default(), false, |_, _| false);
        assert!(matches!(ended, Err(Trouble::Call(_, status)) if status.code == code));
    }
}

/// A worker that never ends keeps what trees take that are written out within its bound, but for those of running jobs.
#[test]
fn folders_of_trees_stay_within_a_bound() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
    let written = |name: &str| {
        let job = Store::open(store.path(), &OpenOptions::default()).unwrap();
        let from = dir.path().join(name);
        std::fs::create_dir(&from).unwrap();
        std::fs::write(from.join("file"), name).unwrap();
        let tree = job.import_dir(&from, &ImportOptions::snapshot()).unwrap();
        let checkout = job.checkout(tree.tree).unwrap();
        (job, checkout.layers()[0].clone())
    };
    let (done, first) = written("first");
    let (running, second) = written("second");
    drop(done);
    WrittenOutBound::new(1 << 30, true).keep(&store);
    assert!(first.exists() && second.exists());
    let bound = WrittenOutBound::new(0, true);
    bound.keep(&store);
    assert!(!first.exists() && second.exists());
    drop(running);
    // Not every time.
    bound.keep(&store);
    assert!(second.exists());
}
