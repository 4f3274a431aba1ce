//! Every failure has an owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mstore::build::error::{Infrastructure, StepError};
use tonic::Code;

use crate::fake::{Fake, Fault};
use crate::place::{Place, pretend};

const CALLS: [&str; 9] = [
    "capabilities",
    "cached",
    "missing",
    "update",
    "write",
    "execute",
    "wait",
    "batch",
    "read",
];
const CODES: [Code; 16] = [
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

fn fake(
    place: &Place,
    fault: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static,
) -> Fake {
    let worker = place.worker();
    // So that all calls are made: some blobs are larger than a message.
    Fake::start(4096, move |folder| pretend(&worker, folder), fault)
}

/// What became of a step: whose failure it was.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Owner {
    None,
    Build,
    Infrastructure,
    Configuration,
}

/// Builds, and checks that nothing is recorded but what was made.
#[track_caller]
fn owner(place: &Place, fake: &Fake) -> Owner {
    let began = Instant::now();
    let owner = match place.build(fake) {
        Ok(_) => {
            place.is_built();
            Owner::None
        }
        Err(StepError::Failed(_)) => Owner::Build,
        Err(StepError::Lost(why)) => {
            assert!(why.contains(&fake.address.to_string()), "{why}");
            Owner::Infrastructure
        }
        Err(StepError::Infrastructure(Infrastructure::Engine { engine, remedy, .. })) => {
            assert!(engine.contains(&fake.address.to_string()) && !remedy.is_empty());
            Owner::Configuration
        }
        Err(other) => panic!("{other:?}"),
    };
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "it took {:?}",
        began.elapsed()
    );
    if owner != Owner::None {
        assert_eq!(place.recorded().map(|made| made.tree), None);
    }
    owner
}

/// Once at each call: an engine that answers the next time is forgiven, and nothing is recorded otherwise.
#[test]
fn every_status_once_at_every_call() {
    std::thread::scope(|scope| {
        for call in CALLS {
            scope.spawn(move || {
                for code in CODES {
                    let place = Place::new(5000);
                    let fake = fake(&place, move |name, count| {
                        // There is something to wait for only when a stream broke.
                        if call == "wait" && name == "execute" && count == 0 {
                            return Some(Fault::Cut(1));
                        }
                        (name == call && count == 0).then_some(Fault::Status(code))
                    });
                    let owner = owner(&place, &fake);
                    let closes = match code {
                        Code::Unauthenticated
                        | Code::PermissionDenied
                        | Code::InvalidArgument
                        | Code::Unimplemented => true,
                        Code::Cancelled | Code::Unknown | Code::Internal | Code::NotFound => {
                            call == "capabilities"
                        }
                        _ => false,
                    };
                    match (owner, closes) {
                        (Owner::Configuration, true)
                        | (Owner::None | Owner::Infrastructure, false) => {}
                        other => panic!("{call} {code:?}: {other:?}"),
                    }
                    if code == Code::Unavailable && call != "capabilities" {
                        assert_eq!(owner, Owner::None, "{call}");
                    }
                }
            });
        }
    });
}

/// Always at each call: it ends all the same.
#[test]
fn an_engine_that_never_answers_well_is_given_up() {
    std::thread::scope(|scope| {
        for call in CALLS {
            scope.spawn(move || {
                for code in [
                    Code::Unavailable,
                    Code::ResourceExhausted,
                    Code::Internal,
                    Code::NotFound,
                ] {
                    let place = Place::new(5000);
                    let fake = fake(&place, move |name, _| {
                        if call == "wait" && name == "execute" {
                            return Some(Fault::Cut(1));
                        }
                        (name == call).then_some(Fault::Status(code))
                    });
                    let owner = owner(&place, &fake);
                    match (call, code) {
                        // That it has nothing cached is what it says then.
                        ("cached", Code::NotFound) => assert_eq!(owner, Owner::None),
                        _ => assert_ne!(owner, Owner::Build, "{call} {code:?}"),
                    }
                }
            });
        }
    });
}

#[test]
fn every_end_of_an_operation_has_its_owner() {
    let rows = [
        (Fault::Fails, Owner::Build),
        (Fault::Ended(Code::Cancelled, 143), Owner::Infrastructure),
        (
            Fault::Ended(Code::DeadlineExceeded, 137),
            Owner::Infrastructure,
        ),
        (
            Fault::Ended(Code::DeadlineExceeded, 9),
            Owner::Infrastructure,
        ),
        (Fault::Ended(Code::Unknown, 0), Owner::Infrastructure),
        (Fault::Ended(Code::Aborted, 0), Owner::Infrastructure),
        (Fault::Ended(Code::Unavailable, 0), Owner::Infrastructure),
        (
            Fault::Ended(Code::ResourceExhausted, 0),
            Owner::Infrastructure,
        ),
        (Fault::Ended(Code::Internal, 0), Owner::Infrastructure),
        (Fault::Ended(Code::Ok, 1), Owner::Infrastructure),
        (Fault::Ended(Code::Ok, 0), Owner::Infrastructure),
        (Fault::Ended(Code::Ok, 100), Owner::Infrastructure),
        (Fault::Ended(Code::Ok, 119), Owner::Infrastructure),
        (Fault::Ended(Code::Ok, 101), Owner::Configuration),
        (Fault::NoSandbox, Owner::Configuration),
        (Fault::Ended(Code::InvalidArgument, 0), Owner::Configuration),
        (
            Fault::Ended(Code::PermissionDenied, 0),
            Owner::Configuration,
        ),
        // As BuildGrid says of a property that is not registered.
        (
            Fault::Status(Code::FailedPrecondition),
            Owner::Configuration,
        ),
        (
            Fault::Ended(Code::FailedPrecondition, 0),
            Owner::Configuration,
        ),
        (Fault::Nothing, Owner::Infrastructure),
        (Fault::OtherKey, Owner::Infrastructure),
        (Fault::BadRecord, Owner::Infrastructure),
        (Fault::OtherTree, Owner::Infrastructure),
        (Fault::NoRecord, Owner::Infrastructure),
        (Fault::CachedFailure, Owner::Infrastructure),
        (Fault::Evicted, Owner::Infrastructure),
        (Fault::Missing, Owner::Infrastructure),
    ];
    std::thread::scope(|scope| {
        for (fault, expected) in &rows {
            scope.spawn(move || {
                let place = Place::new(5000);
                let with = fault.clone();
                let fake = fake(&place, move |name, _| {
                    (name == "execute").then(|| with.clone())
                });
                assert_eq!(owner(&place, &fake), *expected, "{fault:?}");
            });
        }
    });
}

/// What goes wrong once and is mended by doing it again.
#[test]
fn what_happens_once_is_mended() {
    let rows = [
        ("execute", Fault::Swept),
        ("execute", Fault::Missing),
        ("execute", Fault::Evicted),
        ("execute", Fault::Forgotten),
        ("execute", Fault::Cut(1)),
        ("execute", Fault::CachedFailure),
        ("execute", Fault::Ended(Code::FailedPrecondition, 0)),
        ("execute", Fault::Ended(Code::ResourceExhausted, 0)),
        ("write", Fault::Cut(1)),
        ("update", Fault::Cut(0)),
        ("read", Fault::Cut(0)),
        ("read", Fault::Cut(700)),
        ("read", Fault::Wrong),
        ("batch", Fault::Cut(0)),
    ];
    std::thread::scope(|scope| {
        for (call, fault) in &rows {
            scope.spawn(move || {
                let place = Place::new(50_000);
                let (at, with) = (*call, fault.clone());
                let fake = fake(&place, move |name, count| {
                    (name == at && count == 0).then(|| with.clone())
                });
                assert_eq!(owner(&place, &fake), Owner::None, "{call} {fault:?}");
            });
        }
    });
}

#[test]
fn hostile_answers_are_refused() {
    let rows = [
        ("missing", Fault::Foreign),
        ("update", Fault::Foreign),
        ("write", Fault::Wrong),
        ("batch", Fault::Wrong),
        ("batch", Fault::Long),
        ("batch", Fault::Foreign),
        ("read", Fault::Wrong),
        ("read", Fault::Long),
    ];
    std::thread::scope(|scope| {
        for (call, fault) in &rows {
            scope.spawn(move || {
                let place = Place::new(50_000);
                let (at, with) = (*call, fault.clone());
                // Those that read have something to read alone.
                let fake = fake(&place, move |name, _| (name == at).then(|| with.clone()));
                let owner = owner(&place, &fake);
                let made = fake.state.count(call);
                assert!(
                    made == 0 || owner == Owner::Infrastructure,
                    "{call} {fault:?}: {owner:?}"
                );
            });
        }
    });
}

/// Random faults at random calls, by seeds: in the end it is built as it should be, or nothing is recorded.
#[test]
fn random_faults_lose_nothing() {
    let built = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for lane in 0..4_u64 {
            let built = &built;
            scope.spawn(move || {
                for seed in lane * 100..lane * 100 + 12 {
                    let place = Place::new(20_000);
                    let state =
                        Arc::new(AtomicU64::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
                    let fake = fake(&place, move |name, _| {
                        let random = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
                        let random =
                            (random ^ random >> 31).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16;
                        // One of four goes wrong.
                        if !random.is_multiple_of(4) {
                            return None;
                        }
                        let random = (random >> 8) as usize;
                        Some(match (random % 6, name) {
                            (0, "execute") => Fault::Swept,
                            (1, "execute") => Fault::Evicted,
                            (2, "execute") => Fault::OtherTree,
                            (3, "execute") => Fault::Forgotten,
                            (4, "execute") => Fault::Cut(1),
                            (0 | 1, "read" | "write") => Fault::Cut(random % 5000),
                            (2, "read" | "batch") => Fault::Wrong,
                            _ => Fault::Status(
                                [
                                    Code::Unavailable,
                                    Code::Aborted,
                                    Code::Internal,
                                    Code::Unknown,
                                ][random % 4],
                            ),
                        })
                    });
                    if owner(&place, &fake) == Owner::None {
                        built.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let built = built.into_inner();
    assert!(
        built > 5,
        "only {built} of 48 were built: the faults hide what they test"
    );
}
