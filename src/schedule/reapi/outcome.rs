//! Who owns a failure, and what follows: one table, without any call or clock.

use tonic::Code;

use super::trouble::{Call, Status};

/// Exit statuses with which a worker says that it could not build, and that of a worker whose sandbox lacks something.
const WORKER_LACKS: std::ops::RangeInclusive<i32> = 100..=119;
const SANDBOX_LACKS: i32 = 101;

/// What was seen of a call or an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A call ended without what was asked for.
    Call {
        /// Which one.
        call: Call,
        /// How.
        status: Status,
        /// Whether the engine was asked again, after a failure, for everything that the action needs, and had it.
        looked: bool,
    },
    /// An operation ended.
    Ended {
        /// The status that the response has.
        status: Status,
        /// The exit status of the worker.
        exit: i32,
        /// Whether the engine says that it comes from a cache.
        cached: bool,
        /// Its record.
        record: Record,
        /// The same as of a call.
        looked: bool,
    },
}

/// The record that a worker left, as far as it decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// There is none.
    None,
    /// It cannot be believed, for this reason.
    Bad(String),
    /// It is this step's, which was built.
    Built,
    /// It is this step's, and its script failed or hit its own limit.
    Failed,
    /// It is this step's, and the worker could not build it, for this reason.
    Infrastructure(String),
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The tree is fetched, compared and recorded.
    Built,
    /// The build failed: it is counted, and its log is kept.
    Failed,
    /// It was nobody's fault that the build knows of: it runs again.
    Again {
        /// What comes before that.
        first: First,
        /// What was seen.
        why: String,
    },
    /// The engine cannot be used as it is set up.
    Closed {
        /// What was seen.
        why: String,
        /// What helps.
        remedy: &'static str,
    },
    /// What came back does not agree with itself: it is dropped, and said aloud.
    Dropped {
        /// What does not agree.
        why: String,
    },
}

/// What comes before something runs again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// A pause.
    Pause,
    /// The engine is asked what it lacks, which is uploaded.
    Upload,
    /// A pause; and the engine is given fewer steps at a time.
    Fewer,
    /// Nothing: the engine has forgotten the operation.
    Nothing,
}

/// Says who owns what was seen, and what follows.
pub fn judge(seen: &Seen) -> Ruling {
    match seen {
        Seen::Call {
            call,
            status,
            looked,
        } => of_status(Some(*call), status, *looked),
        Seen::Ended { status, looked, .. } if status.code != Code::Ok => {
            of_status(None, status, *looked)
        }
        Seen::Ended {
            exit,
            cached,
            record,
            ..
        } => of_record(*exit, *cached, record),
    }
}

/// What follows from a record, and the exit status beside it.
fn of_record(exit: i32, cached: bool, record: &Record) -> Ruling {
    let pause = |why: String| Ruling::Again {
        first: First::Pause,
        why,
    };
    match (record, exit) {
        (Record::Infrastructure(why), SANDBOX_LACKS) => Ruling::Closed {
            why: format!("its worker cannot build: {why}"),
            remedy: "run the worker as root, or with ranges of subordinate ids: doc/remote-execution.md says what it needs",
        },
        (Record::None, SANDBOX_LACKS) => Ruling::Closed {
            why: "its worker lacks what a sandbox needs, and says so with exit status 101"
                .to_owned(),
            remedy: "the engine's own page of the action has what the worker printed; doc/remote-execution.md says what it needs",
        },
        (Record::Infrastructure(why), _) => pause(format!("its worker could not build: {why}")),
        (Record::None, 0) => Ruling::Dropped {
            why: "its worker ended well and left no record".to_owned(),
        },
        (Record::None, exit) if WORKER_LACKS.contains(&exit) => {
            pause(format!("its worker could not build: exit status {exit}"))
        }
        (Record::None, exit) => pause(format!("its worker ended with {exit} and left no record")),
        (Record::Bad(why), _) => Ruling::Dropped { why: why.clone() },
        (Record::Built, 0) => Ruling::Built,
        (Record::Failed, _) if cached => Ruling::Again {
            first: First::Nothing,
            why: "a failure came from its cache, which is not believed".to_owned(),
        },
        (Record::Failed, 1) => Ruling::Failed,
        (Record::Built | Record::Failed, exit) => Ruling::Dropped {
            why: format!("the record of its worker does not go with the exit status {exit}"),
        },
    }
}

/// What follows from a status other than OK: of a call, or of an operation where there is none.
fn of_status(call: Option<Call>, status: &Status, looked: bool) -> Ruling {
    let again = |first: First| Ruling::Again {
        first,
        why: status.to_string(),
    };
    let closed = |remedy: &'static str| Ruling::Closed {
        why: status.to_string(),
        remedy,
    };
    if status.tls {
        return closed("the certificates do not fit: look at reapi/ca, reapi/cert and reapi/key");
    }
    match (status.code, call) {
        (Code::Cancelled | Code::Unknown | Code::Internal, Some(Call::Capabilities)) => {
            closed("is that port one with TLS? its address then begins with reapis://")
        }
        (Code::NotFound | Code::InvalidArgument, Some(Call::Capabilities)) => {
            closed("does the engine have this instance? it is the path of the address")
        }
        (Code::Unauthenticated | Code::PermissionDenied, _) => {
            closed("the file of reapi/token must hold a token that the engine takes")
        }
        // BuildGrid takes no action whose limit is above its own.
        (Code::InvalidArgument, _) if status.message.contains("timeout") => closed(
            "raise the engine's longest time for an action (BuildGrid: max-execution-timeout, in seconds) above that of the step: it is sent as 1, 4, 12 or 48 hours, whichever is above its policy/timeout, and as 48 hours without one",
        ),
        (Code::InvalidArgument, _) => closed(
            "an engine takes only properties that it was told of: look at reapi/property, and at what the engine accepts",
        ),
        (Code::Unimplemented, _) => {
            closed("the engine lacks a part of the Remote Execution API that is needed")
        }
        (Code::FailedPrecondition, Some(Call::Execute) | None)
            if status.missing.is_empty() && looked =>
        {
            closed(
                "an engine takes only properties that it was told of: look at reapi/property, and at what the engine accepts",
            )
        }
        (Code::FailedPrecondition | Code::Internal, _) => again(First::Upload),
        (Code::NotFound, Some(Call::Wait)) => again(First::Nothing),
        (Code::NotFound, _) => again(First::Upload),
        (Code::ResourceExhausted, _) => again(First::Fewer),
        _ => again(First::Pause),
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Function;
    use super::*;

    fn status(code: Code) -> Status {
        Status {
            code,
            message: "it says".to_owned(),
            ..Status::ok()
        }
    }

    fn ended(code: Code, exit: i32, record: Record) -> Seen {
        Seen::Ended {
            status: status(code),
            exit,
            cached: false,
            record,
            looked: false,
        }
    }

    fn called(call: Call, code: Code) -> Ruling {
        judge(&Seen::Call {
            call,
            status: status(code),
            looked: false,
        })
    }

    fn first(ruling: Ruling) -> First {
        match ruling {
            Ruling::Again { first, .. } => first,
            other => panic!("{other:?}"),
        }
    }

    fn is_closed(ruling: Ruling) -> bool {
        matches!(ruling, Ruling::Closed { .. })
    }

    #[test]
    fn a_failed_step_is_the_build_s() {
        assert_eq!(judge(&ended(Code::Ok, 1, Record::Failed)), Ruling::Failed);
        assert_eq!(judge(&ended(Code::Ok, 0, Record::Built)), Ruling::Built);
    }

    #[test]
    fn a_failure_out_of_a_cache_is_none() {
        let Seen::Ended { status, record, .. } = ended(Code::Ok, 1, Record::Failed) else {
            unreachable!()
        };
        let cached = Seen::Ended {
            status,
            record,
            exit: 1,
            cached: true,
            looked: false,
        };
        assert_eq!(first(judge(&cached)), First::Nothing);
    }

    #[test]
    fn a_bad_status_is_infrastructure_whatever_the_exit_and_the_record_say() {
        for (code, exit) in [
            (Code::Cancelled, 143),
            (Code::DeadlineExceeded, 137),
            (Code::DeadlineExceeded, 9),
            (Code::Unavailable, 0),
            (Code::Unknown, 0),
            (Code::Aborted, 1),
            (Code::DataLoss, 0),
        ] {
            for record in [Record::None, Record::Failed, Record::Built] {
                assert_eq!(
                    first(judge(&ended(code, exit, record))),
                    First::Pause,
                    "{code:?}"
                );
            }
        }
    }

    #[test]
    fn a_worker_without_a_record_is_run_again_and_one_without_a_sandbox_is_closed() {
        for exit in [1, 2, 100, 102, 119, 137] {
            let ruling = judge(&ended(Code::Ok, exit, Record::None));
            assert_eq!(first(ruling), First::Pause, "{exit}");
        }
        assert!(is_closed(judge(&ended(Code::Ok, 101, Record::None))));
        let lacks = || Record::Infrastructure("not a mount namespace".to_owned());
        assert!(is_closed(judge(&ended(Code::Ok, 101, lacks()))));
        assert_eq!(first(judge(&ended(Code::Ok, 100, lacks()))), First::Pause);
    }

    #[test]
    fn what_is_missing_is_uploaded() {
        let missing = Status {
            missing: vec![Function::Sha256.digest(b"gone")],
            ..status(Code::FailedPrecondition)
        };
        for looked in [false, true] {
            let seen = Seen::Call {
                call: Call::Execute,
                status: missing.clone(),
                looked,
            };
            assert_eq!(first(judge(&seen)), First::Upload);
        }
        assert_eq!(
            first(judge(&ended(Code::FailedPrecondition, 0, Record::None))),
            First::Upload
        );
        assert_eq!(
            first(judge(&ended(Code::Internal, 0, Record::None))),
            First::Upload
        );
        assert_eq!(first(called(Call::Execute, Code::Internal)), First::Upload);
        assert_eq!(first(called(Call::Blobs, Code::NotFound)), First::Upload);
    }

    #[test]
    fn an_engine_that_is_away_or_full_is_asked_again() {
        for code in [
            Code::Unavailable,
            Code::Unknown,
            Code::Aborted,
            Code::DeadlineExceeded,
            Code::Cancelled,
        ] {
            for call in [Call::Blobs, Call::Execute, Call::Wait] {
                assert_eq!(first(called(call, code)), First::Pause, "{call:?} {code:?}");
            }
        }
        assert_eq!(
            first(called(Call::Capabilities, Code::Unavailable)),
            First::Pause
        );
        assert_eq!(
            first(called(Call::Execute, Code::ResourceExhausted)),
            First::Fewer
        );
        assert_eq!(
            first(judge(&ended(Code::ResourceExhausted, 0, Record::None))),
            First::Fewer
        );
        assert_eq!(first(called(Call::Wait, Code::NotFound)), First::Nothing);
    }

    #[test]
    fn what_is_set_up_wrongly_closes_the_engine() {
        for code in [
            Code::Cancelled,
            Code::Unimplemented,
            Code::NotFound,
            Code::InvalidArgument,
        ] {
            assert!(is_closed(called(Call::Capabilities, code)), "{code:?}");
        }
        for code in [
            Code::InvalidArgument,
            Code::Unauthenticated,
            Code::PermissionDenied,
            Code::Unimplemented,
        ] {
            assert!(is_closed(called(Call::Execute, code)), "{code:?}");
        }
        // A time above the engine's own, as BuildGrid says it.
        let mut long = status(Code::InvalidArgument);
        long.message =
            "Action timeout is larger than the server's maximum execution timeout.".into();
        let Ruling::Closed { remedy, .. } = of_status(Some(Call::Execute), &long, false) else {
            panic!("it is not closed");
        };
        assert!(remedy.contains("max-execution-timeout"), "{remedy}");
        // A property that is not registered, as BuildGrid says it.
        assert!(is_closed(judge(&Seen::Call {
            call: Call::Execute,
            status: status(Code::FailedPrecondition),
            looked: true,
        })));
        let tls = Status {
            tls: true,
            ..status(Code::Unavailable)
        };
        assert!(is_closed(judge(&Seen::Call {
            call: Call::Capabilities,
            status: tls,
            looked: false,
        })));
    }

    #[test]
    fn what_does_not_agree_is_dropped() {
        for (exit, record) in [
            (0, Record::Bad("another key".to_owned())),
            (1, Record::Bad("another key".to_owned())),
            (0, Record::None),
            (1, Record::Built),
            (0, Record::Failed),
        ] {
            let ruling = judge(&ended(Code::Ok, exit, record));
            assert!(matches!(ruling, Ruling::Dropped { .. }), "{ruling:?}");
        }
    }
}
