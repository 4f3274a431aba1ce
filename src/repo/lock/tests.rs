use super::*;
use crate::repo::layout::Mirror;
use crate::repo::name::{Name, Place};
use std::path::PathBuf;
use std::process::{Child, Command};

struct World {
    dir: tempfile::TempDir,
    mirror: Mirror,
    machine: Machine,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("b/a/s")).unwrap();
        let mirror = Mirror::open(dir.path()).unwrap();
        World {
            dir,
            mirror,
            machine: Machine::this(),
        }
    }

    fn control(&self) -> Control {
        let name = |text: &str| Name::new(text).unwrap();
        let place = Place {
            build: name("b"),
            arch: name("a"),
            subarch: name("s"),
        };
        Control::open_or_make(&self.mirror, &place, 0o775).unwrap()
    }

    fn subarch(&self) -> PathBuf {
        self.dir.path().join("b/a/s")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.subarch().join(CONTROL).join(name)
    }

    fn take(&self) -> Result<Lock, LockError> {
        Lock::take(self.control(), &self.machine, false, "2015-02-20")
    }

    /// Writes a lock of somebody else, `age` ago.
    fn write(&self, name: &str, text: &str, age: Duration) {
        drop(self.control());
        fs::write(self.file(name), text).unwrap();
        let file = fs::File::options()
            .write(true)
            .open(self.file(name))
            .unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    fn state(&self) -> LockState {
        look(&self.subarch(), &self.machine)
    }

    fn note(&self, pid: u32, host: &str, boot: &str, start: u64) -> String {
        let note = Note {
            pid: pid.into(),
            host: host.to_owned(),
            boot: boot.to_owned(),
            start,
            version: String::new(),
            nonce: "x".to_owned(),
        };
        serde_json::to_string(&note).unwrap()
    }
}

const LONG: Duration = Duration::from_secs(100_000);
const NONE: Duration = Duration::ZERO;

/// A process that lives until it is dropped.
struct Sleeper(Child);

impl Sleeper {
    fn new() -> Sleeper {
        Sleeper(Command::new("sleep").arg("1000").spawn().unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The number of a process that lived.
fn dead() -> u32 {
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    child.id()
}

#[test]
fn a_lock_is_taken_once_and_left() {
    let world = World::new();
    let lock = world.take().unwrap();
    assert!(lock.is_mine());
    let own = std::process::id();
    assert_eq!(
        fs::read_to_string(world.file(LOCK)).unwrap(),
        own.to_string()
    );
    assert_eq!(world.state(), LockState::Held(Holder::Process(own.into())));
    assert!(matches!(world.take(), Err(LockError::Held { .. })));
    assert!(!sweep(&world.control(), &world.machine).unwrap());
    drop(lock);
    assert_eq!(world.state(), LockState::Free);
    assert_eq!(
        fs::read_dir(world.control().path()).unwrap().count(),
        0,
        "nothing is left"
    );
}

#[test]
fn locks_of_the_old_tool_are_judged_by_their_number() {
    let world = World::new();
    let sleeper = Sleeper::new();
    let live = sleeper.0.id();
    for (text, age, held) in [
        (live.to_string(), LONG, true),
        (format!("{live}\n"), LONG, true),
        (dead().to_string(), NONE, false),
        ("0".into(), LONG, false),
        ("-1".into(), LONG, false),
        ("99999999999".into(), LONG, false),
        ("99999999999999999999999999".into(), LONG, false),
        (String::new(), LONG, false),
        ("builder2:123".into(), LONG, false),
        // It was made a moment ago and is going to be written.
        (String::new(), NONE, true),
        ("0".into(), NONE, true),
        (String::new(), Duration::from_secs(61), false),
        // Process 1 belongs to another user, and lives.
        ("1".into(), LONG, true),
    ] {
        world.write(LOCK, &text, age);
        let state = world.state();
        assert_eq!(
            matches!(state, LockState::Held(_)),
            held,
            "{text:?} {age:?} {state:?}"
        );
        assert_eq!(
            sweep(&world.control(), &world.machine).unwrap(),
            !held,
            "{text:?}"
        );
        let _ = fs::remove_file(world.file(LOCK));
    }
}

#[test]
fn the_note_tells_a_number_that_was_used_again() {
    let world = World::new();
    let sleeper = Sleeper::new();
    let live = sleeper.0.id();
    let began = started(live.into()).unwrap();
    let (host, boot) = (world.machine.host.clone(), world.machine.boot.clone());
    for (note, held) in [
        (world.note(live, &host, &boot, began), true),
        (world.note(live, &host, &boot, began + 1), false),
        (world.note(live, &host, "another boot", began), false),
        // Not about this lock, or not a note: the number decides.
        (world.note(live + 1, &host, &boot, 5), true),
        ("{".to_owned(), true),
    ] {
        world.write(LOCK, &live.to_string(), LONG);
        world.write(LOCK_NOTE, &note, NONE);
        assert_eq!(matches!(world.state(), LockState::Held(_)), held, "{note}");
        // The old tool took it after that note was written.
        world.write(LOCK_NOTE, &note, LONG * 2);
        assert!(matches!(world.state(), LockState::Held(_)), "{note}");
    }
}

#[test]
fn a_lock_of_another_machine_lives_while_it_is_renewed() {
    let world = World::new();
    let note = world.note(4, "elsewhere", "b", 1);
    for (number, age, held) in [
        ("4", 599, true),
        ("4", 601, false),
        // Shared with the old tool: process 1 lives everywhere, the note decides.
        ("1", 599, true),
        ("1", 601, false),
    ] {
        world.write(LOCK, number, LONG);
        world.write(LOCK_NOTE, &note, Duration::from_secs(age));
        let state = world.state();
        let elsewhere = LockState::Held(Holder::Elsewhere {
            host: "elsewhere".into(),
            pid: 4,
        });
        assert_eq!(state == elsewhere, held, "{number} {age} {state:?}");
    }
}

#[test]
fn a_shared_mirror_has_the_number_that_lives_everywhere() {
    let world = World::new();
    let lock = Lock::take(world.control(), &world.machine, true, "").unwrap();
    assert_eq!(fs::read_to_string(world.file(LOCK)).unwrap(), "1");
    assert!(lock.is_mine());
    assert!(matches!(world.take(), Err(LockError::Held { .. })));
    drop(lock);
    assert_eq!(world.state(), LockState::Free);
}

#[test]
fn a_lock_that_the_old_tool_wrote_over_is_not_ours_any_more() {
    let world = World::new();
    let lock = world.take().unwrap();
    let sleeper = Sleeper::new();
    // It looks, then writes into the same file.
    fs::write(world.file(LOCK), sleeper.0.id().to_string()).unwrap();
    assert!(!lock.is_mine());
    drop(lock);
    assert!(matches!(world.state(), LockState::Held(_)), "theirs stays");
    fs::remove_file(world.file(LOCK)).unwrap();
    // Or it removes ours, and another one takes its place.
    let lock = world.take().unwrap();
    fs::remove_file(world.file(LOCK)).unwrap();
    fs::write(world.file(LOCK), sleeper.0.id().to_string()).unwrap();
    assert!(!lock.is_mine());
}

#[test]
fn of_many_that_try_one_has_it() {
    let world = World::new();
    for stale in [false, true] {
        if stale {
            world.write(LOCK, &dead().to_string(), LONG);
        }
        let taken: Vec<Option<Lock>> = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| world.take().ok())).collect();
            tries.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(taken.iter().flatten().count(), 1, "stale: {stale}");
    }
}
