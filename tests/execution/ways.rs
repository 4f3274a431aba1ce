//! What an engine is asked, and how often.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use mstore::build::error::{Infrastructure, StepError};
use mstore::build::step::Note;
use mstore::schedule::reapi::reactor::Stop;

use crate::fake::{Fake, Fault};
use crate::place::{NAME, Place, pretend};

fn fake(
    place: &Place,
    batch: i64,
    fault: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static,
) -> Fake {
    let worker = place.worker();
    Fake::start(batch, move |folder| pretend(&worker, folder), fault)
}

#[test]
fn a_step_is_built_and_its_result_carries_the_engine_s_name() {
    let place = Place::new(100_000);
    let fake = fake(&place, 0, |_, _| None);
    let built = place.build(&fake).unwrap();
    assert_eq!((built.changed, built.found), (1, false));
    place.is_built();
    let made = place.recorded().unwrap();
    assert_eq!(made.host, format!("main@{}", fake.address));
    assert!(made.log.is_some());
    // One look for what is missing, one upload, one read of all that came out.
    for (call, times) in [
        ("capabilities", 1),
        ("cached", 1),
        ("missing", 1),
        ("update", 1),
        ("execute", 1),
    ] {
        assert_eq!(fake.state.count(call), times, "{call}");
    }
    assert_eq!(fake.state.count("batch"), 2);
    assert_eq!(fake.state.count("write") + fake.state.count("read"), 0);
}

/// An engine with little room in a message gets and gives large blobs as streams, and small ones together.
#[test]
fn the_limit_of_a_message_is_kept() {
    let place = Place::new(5 << 20);
    let fake = fake(&place, 65_536, |_, _| None);
    place.build(&fake).unwrap();
    place.is_built();
    assert!(fake.state.count("write") >= 1, "{:?}", fake.state.calls);
    let blobs = fake.state.blobs.lock().unwrap();
    assert!(blobs.values().all(|blob| blob.len() <= 16 << 20));
}

#[test]
fn what_was_uploaded_is_not_uploaded_again_and_a_result_in_the_cache_is_taken() {
    let place = Place::new(100_000);
    let fake = fake(&place, 0, |_, _| None);
    let live = place.live(&fake);
    place
        .build_by(&live, &Stop::default(), &Mutex::default())
        .unwrap();
    place.store.forget(&place.step.key().0).unwrap();
    place
        .build_by(&live, &Stop::default(), &Mutex::default())
        .unwrap();
    place.is_built();
    assert_eq!(
        (fake.state.count("update"), fake.state.count("execute")),
        (1, 1)
    );
    // Another client, which has the same tree and a history of its own, finds it too.
    let other = Place::new(100_000);
    other.store.note_work_size(NAME, 7).unwrap();
    other.build(&fake).unwrap();
    other.is_built();
    assert_eq!(
        (fake.state.count("update"), fake.state.count("execute")),
        (1, 1)
    );
}

/// A cache that has lost a blob of a result, or has another record, counts for nothing.
#[test]
fn a_hit_counts_only_when_all_of_it_is_there() {
    for wrong in ["blobs", "record", "exit"] {
        let place = Place::new(1000);
        let fake = fake(&place, 0, |_, _| None);
        place.build(&fake).unwrap();
        place.store.forget(&place.step.key().0).unwrap();
        let other = Place::new(1000);
        {
            let mut cache = fake.state.cache.lock().unwrap();
            let result = cache.values_mut().next().unwrap();
            let mut blobs = fake.state.blobs.lock().unwrap();
            let record = result
                .output_files
                .iter_mut()
                .find(|f| f.path == "result")
                .unwrap();
            match wrong {
                "blobs" => {
                    blobs.remove(&record.digest.as_ref().unwrap().hash).unwrap();
                }
                "record" => {
                    let nonsense = crate::fake::digest(b"nonsense");
                    blobs.insert(nonsense.hash.clone(), b"nonsense".to_vec());
                    record.digest = Some(nonsense);
                }
                _ => result.exit_code = 1,
            }
        }
        other.build(&fake).unwrap();
        other.is_built();
        assert_eq!(fake.state.count("execute"), 2, "{wrong}");
    }
}

#[test]
fn a_known_operation_is_waited_for_and_a_forgotten_one_begun_again() {
    for forgotten in [false, true] {
        let place = Place::new(1000);
        // The first client goes away in the middle.
        let fake = fake(&place, 0, |call, count| match (call, count) {
            ("execute", 0) => Some(Fault::Cut(1)),
            ("wait", 0) => Some(Fault::Status(tonic::Code::PermissionDenied)),
            _ => None,
        });
        let first = place.build(&fake);
        assert!(
            matches!(first, Err(StepError::Infrastructure(_))),
            "{first:?}"
        );
        assert!(place.recorded().is_none());
        let name = fake
            .state
            .operations
            .lock()
            .unwrap()
            .keys()
            .next()
            .cloned()
            .unwrap();
        if forgotten {
            fake.state.operations.lock().unwrap().clear();
        }
        // As it stands where the client was killed.
        let engine = place.settings(&fake).address.to_string();
        let action = fake
            .state
            .cache
            .lock()
            .unwrap()
            .keys()
            .next()
            .cloned()
            .unwrap();
        let size = fake.state.blobs.lock().unwrap()[&action].len();
        fake.state.cache.lock().unwrap().clear();
        let action = format!("{action}/{size}");
        place.store.note_operation(&engine, &action, &name).unwrap();
        place.build(&fake).unwrap();
        place.is_built();
        let executed = if forgotten { 2 } else { 1 };
        assert_eq!(fake.state.count("execute"), executed);
        assert_eq!(place.store.operation(&engine, &action).unwrap(), None);
    }
}

#[test]
fn a_step_that_is_cancelled_is_cancelled_at_the_engine_and_long_queues_are_told() {
    let place = Place::new(1000);
    let fake = fake(&place, 0, |call, _| {
        (call == "execute").then_some(Fault::Queued)
    });
    let (live, stop, notes) = (place.live(&fake), Stop::default(), Mutex::default());
    let began = Instant::now();
    std::thread::scope(|scope| {
        let built = scope.spawn(|| place.build_by(&live, &stop, &notes));
        while notes.lock().unwrap().is_empty() {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "it is never told"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        stop.stop();
        assert!(matches!(built.join().unwrap(), Err(StepError::Cancelled)));
    });
    assert_eq!(fake.state.count("cancel"), 1);
    assert!(fake.state.operations.lock().unwrap().is_empty());
    let notes = notes.into_inner().unwrap();
    assert!(
        matches!(&notes[..], [Note::Queued { properties, .. }] if properties == "ISA=x86-64 OSFamily=linux"),
        "{notes:?}"
    );
}

#[test]
fn two_that_need_the_same_upload_it_once() {
    let place = Place::new(3 << 20);
    let fake = fake(&place, 0, |_, _| None);
    let live = place.live(&fake);
    let others: Vec<Place> = (0..3).map(|_| Place::new(3 << 20)).collect();
    std::thread::scope(|scope| {
        for place in &others {
            scope.spawn(|| {
                place
                    .build_by(&live, &Stop::default(), &Mutex::default())
                    .unwrap()
            });
        }
    });
    for place in &others {
        place.is_built();
    }
    assert_eq!(
        fake.state.count("write") + fake.state.count("update"),
        1 + fake.state.count("write")
    );
}

#[test]
fn a_token_is_sent_and_renewed() {
    let place = Place::new(1000);
    let fake = fake(&place, 0, |_, _| None);
    *fake.state.token.lock().unwrap() = Some("second".to_owned());
    let path = place.worker().with_file_name("token");
    std::fs::write(&path, "first\n").unwrap();
    let mut settings = place.settings(&fake);
    settings.token = Some(path.clone());
    let live = mstore::schedule::reapi::errand::Live::new(settings, "1").unwrap();
    let build = || place.build_by(&live, &Stop::default(), &Mutex::default());
    match build() {
        Err(StepError::Infrastructure(Infrastructure::Engine { why, remedy, .. })) => {
            assert!(remedy.contains("reapi/token"), "{remedy}");
            assert!(!why.contains("first"), "{why}");
        }
        other => panic!("{other:?}"),
    }
    std::fs::write(&path, "second\n").unwrap();
    build().unwrap();
    place.is_built();
}

#[test]
fn the_most_urgent_has_the_priority_that_comes_first() {
    for (range, urgency, wanted) in [
        (None, 1.0, None),
        (Some((-10, 10)), 1.0, Some(-10)),
        (Some((-10, 10)), 0.25, Some(5)),
        (Some((3, 3)), 0.25, Some(3)),
    ] {
        let mut place = Place::new(1000);
        let fake = fake(&place, 0, |_, _| None);
        *fake.state.range.lock().unwrap() = range;
        place.urgency = urgency;
        place.build(&fake).unwrap();
        assert_eq!(*fake.state.priorities.lock().unwrap(), [wanted]);
    }
}

/// The worker knows the class of the limit alone; whoever waits keeps the limit itself.
#[test]
fn a_step_that_is_executed_for_longer_than_it_may_is_cancelled_and_has_failed() {
    let mut place = Place::new(1000);
    let fake = fake(&place, 0, |call, _| {
        (call == "execute").then_some(Fault::Endless)
    });
    let mut derivation = place.step.derivation().clone();
    derivation.policy.timeout = Some(1);
    place.step = derivation.resolve(place.step.trees().to_vec()).unwrap();
    let mut settings = place.settings(&fake);
    settings.staging = Duration::ZERO;
    let live = mstore::schedule::reapi::errand::Live::new(settings, "1").unwrap();
    let built = place.build_by(&live, &Stop::default(), &Mutex::default());
    let Err(StepError::Failed(failure)) = built else {
        panic!("{built:?}");
    };
    assert_eq!((&*failure.how, failure.status), ("timed out", 9));
    let told = failure.tail.join("\n");
    assert!(told.contains("longer than the 1 s"), "{told}");
    assert_eq!(fake.state.count("cancel"), 1);
    assert!(fake.state.operations.lock().unwrap().is_empty());
    assert!(place.recorded().is_none());
}

/// The log that a worker leaves, as it comes out here.
fn log_of(packed: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Vec<u8> {
    let place = Place::new(1000);
    let worker = place.worker();
    let work = move |folder: &std::path::Path| {
        let status = pretend(&worker, folder);
        std::fs::write(folder.join("log.zst"), packed()).unwrap();
        status
    };
    let fake = Fake::start(0, work, |_, _| None);
    place.build(&fake).unwrap();
    place.is_built();
    let log = place.recorded().unwrap().log.unwrap();
    std::fs::read(place.store.path().join("logs").join(log)).unwrap()
}

#[test]
fn a_log_is_bounded_and_what_is_left_out_is_told() {
    let long = log_of(|| crate::place::noise(1, (16 << 20) + 1));
    let long = String::from_utf8_lossy(&long).into_owned();
    assert!(long.contains("too long to travel"), "{long}");
    // A gigabyte in some kilobytes.
    let bomb = log_of(|| {
        let mut packed = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..1024 {
            std::io::Write::write_all(&mut packed, &vec![b'x'; 1 << 20]).unwrap();
        }
        packed.finish().unwrap()
    });
    assert!(bomb.len() < 40 << 20, "{}", bomb.len());
    let end = String::from_utf8_lossy(&bomb[bomb.len() - 100..]).into_owned();
    assert!(end.contains("more than any worker sends"), "{end}");
}
