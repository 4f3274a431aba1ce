//! What a run leaves in the folder, driven by hand.

use std::fs;
use std::path::PathBuf;

use super::*;

/// Keeps nothing.
struct Blank;

impl Screen for Blank {
    fn turn(&mut self, _: bool, _: &mut dyn FnMut() -> Board) {}
    fn host(&mut self, _: &str, _: &HostNews) {}
    fn close(&mut self, _: Board) {}
}

struct World {
    dir: tempfile::TempDir,
    history: BuildHistory,
    packages: BTreeMap<String, Vec<String>>,
}

impl World {
    fn new() -> World {
        let packages = BTreeMap::from([("devel/make".to_owned(), vec!["make-4.4".to_owned()])]);
        let text = "devel/make here 9.00 1000 build=9.00\n";
        World {
            dir: tempfile::tempdir().unwrap(),
            history: BuildHistory::parse(text, &Default::default()),
            packages,
        }
    }

    fn desk(&self) -> Desk {
        let setup = Setup {
            history: Arc::new(self.history.clone()),
            packages: self.packages.clone(),
            writes_dependencies: true,
            every: Duration::ZERO,
            screen: Box::new(Blank),
        };
        Desk::open(self.dir.path(), setup).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.at(name)).unwrap_or_default()
    }

    /// engine.log without process and seconds.
    fn engine(&self) -> Vec<String> {
        let text = self.text("engine.log");
        let lines = text
            .lines()
            .map(|line| line.split_once(": ").unwrap().1.to_owned());
        lines.collect()
    }
}

const PATH: &str = "devel/make";

fn state(desk: &mut Desk, state: PathState<'_>) {
    desk.event(PathEvent::State { path: PATH, state }).unwrap();
}

fn started(desk: &mut Desk, task: &str) {
    desk.event(PathEvent::Started {
        path: PATH,
        task,
        host: "yak",
        here: false,
        needs: &["lang/b".into(), "lang/a".into()],
        slots: if task == "build" { 3 } else { 1 },
        filler: task == "package",
        tag: Some("java"),
    })
    .unwrap();
}

fn ended(desk: &mut Desk, task: &str, end: TaskEnd<'_>) {
    desk.event(PathEvent::Ended {
        path: PATH,
        task,
        seconds: 1.5,
        end,
    })
    .unwrap();
}

#[test]
fn a_build_leaves_its_lines_and_no_lock() {
    let world = World::new();
    let mut desk = world.desk();
    desk.write_sizes(Box::new(|path, task| {
        (path == PATH && task == "build").then_some(5000)
    }));
    desk.found_through(PATH, "lang/top");
    state(&mut desk, PathState::ToBuild);
    state(&mut desk, PathState::Queued);
    assert_eq!(desk.take(PATH).unwrap(), Lock::Ours);
    for task in ["fetch", "build", "package"] {
        started(&mut desk, task);
        desk.event(PathEvent::Process {
            path: PATH,
            pid: 77,
        })
        .unwrap();
        desk.event(PathEvent::Output {
            path: PATH,
            line: "text",
        })
        .unwrap();
        let lock = world.text("locks/devel.make");
        assert!(lock.starts_with("locked=devel/make\ndpb="), "{lock}");
        assert!(
            lock.contains("\nhost=yak\n") && lock.contains("\npid=77\n"),
            "{lock}"
        );
        assert!(
            lock.contains("\nstart=") && !lock.contains("end="),
            "{lock}"
        );
        assert!(lock.contains("\nneeded=lang/a lang/b\n"), "{lock}");
        assert!(
            lock.contains("\nparent=lang/top\ntag=java\nhost="),
            "{lock}"
        );
        assert_eq!(lock.matches("tag=").count(), 1);
        let board = desk.board();
        let size = world.text("paths/devel/make.log").len() as u64;
        assert_eq!((board.jobs[0].size, board.jobs[0].last), (size, Some(1000)));
        let name = match task {
            "build" => "3*devel/make",
            "package" => "~devel/make",
            _ => "devel/make",
        };
        let line = format!("{name}({task}) [77] on yak {}%", size / 10);
        assert_eq!(board.jobs[0].line(), line);
        ended(&mut desk, task, TaskEnd::Built);
        assert!(desk.board().jobs.is_empty());
    }
    desk.event(PathEvent::Left { path: PATH }).unwrap();
    assert!(!world.at("locks/devel.make").exists());
    state(&mut desk, PathState::Built);
    state(&mut desk, PathState::Past);
    assert_eq!(
        world.engine(),
        [
            "T: devel/make",
            "Q: devel/make",
            "J: devel/make yak",
            "B: devel/make",
            "I: devel/make",
            "P: devel/make"
        ]
    );
    let log = world.text("paths/devel/make.log");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines[0], ">>> Building on yak under devel/make");
    assert!(
        lines[1].starts_with(">>> Running fetch in devel/make at 1"),
        "{log}"
    );
    assert_eq!(world.text("packages/make-4.4.log"), log);
    let size = log.len();
    let line = format!("devel/make yak*3 3.00 {size} fetch=1.50/build=1.50/package=1.50\n");
    assert_eq!(world.text("build.log"), line);
    assert_eq!(world.text("size.log"), "devel/make 5\n");
    assert_eq!(desk.board().counts.installable, 1);
}

#[test]
fn an_error_leaves_its_lock_until_a_person_removes_it() {
    let world = World::new();
    let mut desk = world.desk();
    assert_eq!(desk.take(PATH).unwrap(), Lock::Ours);
    started(&mut desk, "build");
    let end = TaskEnd::Failed {
        status: 512,
        how: "exit status 2",
        next: Some("fake"),
    };
    ended(&mut desk, "build", end);
    state(&mut desk, PathState::Error);
    let lock = world.text("locks/devel.make");
    assert!(lock.contains("\nstatus=512\ntodo=fake\nend="), "{lock}");
    let log = world.text("paths/devel/make.log");
    let last = log.lines().last().unwrap();
    assert!(
        last.starts_with("Error: job failed with 512 on yak at "),
        "{last}"
    );
    assert!(world.text("build.log").ends_with(" build=1.50!\n"));
    let errors = [(PATH.to_owned(), Some("yak".to_owned()))];
    assert_eq!(desk.board().errors, errors);
    assert_eq!(desk.look(true, &[]).unwrap().unwrap().gone, [""; 0]);
    // Another run finds it.
    let mut other = world.desk();
    assert_eq!(other.take(PATH).unwrap(), Lock::Theirs { ended: true });
    fs::remove_file(world.at("locks/devel.make")).unwrap();
    assert_eq!(desk.look(true, &[]).unwrap().unwrap().gone, [PATH]);
    assert_eq!(other.look(true, &[]).unwrap().unwrap().gone, [PATH]);
    assert_eq!(desk.take(PATH).unwrap(), Lock::Ours);
    started(&mut desk, "build");
    assert!(desk.board().errors.is_empty());
    assert!(
        !world.text("paths/devel/make.log").contains("Error"),
        "it is written anew"
    );
    assert_eq!(other.take(PATH).unwrap(), Lock::Theirs { ended: false });
    // A run that breaks off leaves nothing.
    drop(desk);
    assert_eq!(other.look(true, &[]).unwrap().unwrap().gone, [PATH]);
}

#[test]
fn the_lock_of_what_turns_out_to_be_built_is_removed() {
    let world = World::new();
    let mut desk = world.desk();
    let lock = world.at("locks/devel.make");
    fs::write(&lock, "locked=devel/make\ndpb=1 on elsewhere\nstatus=256\n").unwrap();
    state(&mut desk, PathState::Built);
    assert!(!lock.exists());
    assert_eq!(world.engine(), ["I: devel/make"]);
    // One that another works under stays.
    fs::write(&lock, "locked=devel/make\ndpb=1 on elsewhere\n").unwrap();
    state(&mut desk, PathState::Built);
    assert!(lock.exists());
}

#[test]
fn stale_locks_are_taken_over_with_a_note_and_unreadable_ones_stop_the_start() {
    let world = World::new();
    drop(world.desk());
    let lock = world.at("locks/devel.make");
    let mut child = std::process::Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    let (gone, host) = (child.id(), process::host());
    fs::write(&lock, format!("locked=devel/make\ndpb={gone} on {host}\n")).unwrap();
    let mut desk = world.desk();
    assert!(!lock.exists());
    let note = format!("L: devel/make stale lock of {gone} on {host} taken over");
    assert_eq!(world.engine(), [note]);
    // Also one that becomes stale later.
    fs::write(
        &lock,
        format!("locked=devel/make\ndpb={} on {host}\n", process::pid()),
    )
    .unwrap();
    assert_eq!(desk.take(PATH).unwrap(), Lock::Theirs { ended: false });
    fs::write(&lock, format!("locked=devel/make\ndpb={gone} on {host}\n")).unwrap();
    assert_eq!(desk.look(true, &[]).unwrap().unwrap().gone, [PATH]);
    fs::write(&lock, b"\xff\0").unwrap();
    let setup = Setup {
        history: Arc::new(world.history.clone()),
        packages: world.packages.clone(),
        writes_dependencies: false,
        every: Duration::ZERO,
        screen: Box::new(Blank),
    };
    let error = Desk::open(world.dir.path(), setup)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("locks/devel.make"), "{error}");
}

#[test]
fn counters_stop_files_hosts_and_dependencies() {
    let world = World::new();
    let mut desk = world.desk();
    state(&mut desk, PathState::Queued);
    desk.known("a/b").unwrap();
    desk.take(PATH).unwrap();
    started(&mut desk, "build");
    desk.look(true, &[]).unwrap();
    let (stats, concurrent) = (world.text("stats.log"), world.text("concurrent.log"));
    assert!(
        stats.ends_with(" I=1 B=0 Q=0 T=0\n") && stats.lines().count() == 1,
        "{stats}"
    );
    assert!(concurrent.ends_with(" 1\n"), "{concurrent}");
    desk.look(true, &[]).unwrap();
    assert_eq!(world.text("stats.log"), stats, "nothing changed");
    fs::write(world.at("yak-stop"), "").unwrap();
    let look = desk.look(true, &["me@yak", "ox"]).unwrap().unwrap();
    assert_eq!(
        (look.stop, &*look.stopped_hosts),
        (false, &["me@yak".to_owned()][..])
    );
    fs::write(world.at("stop"), "").unwrap();
    assert!(desk.look(true, &[]).unwrap().unwrap().stop);
    let offer = crate::schedule::Host {
        name: "ox".to_owned(),
        slots: 4,
        speed: 2.0,
        platforms: None,
        here: false,
        about: "kernel=6.1\nfree=12\n".to_owned(),
    };
    let mut tell = |news: HostNews| {
        let (name, news) = ("ox", &news);
        desk.event(PathEvent::Host { name, news }).unwrap();
    };
    tell(HostNews::Named(offer.clone()));
    assert!(world.at("locks/host:ox").exists());
    tell(HostNews::Down("its clock is off".to_owned()));
    assert!(!world.at("locks/host:ox").exists());
    tell(HostNews::Up(offer));
    tell(HostNews::Down("gone".to_owned()));
    assert_eq!(world.text("signature.log"), "ox: its clock is off\n");
    let signature = "jobs=4\nsf=2\nplatforms=\nkernel=6.1\nfree=12\n";
    assert_eq!(world.text("ox.sig.log"), signature);
    let counts = [("a/b".into(), 1), ("c/d".into(), 3)];
    desk.event(PathEvent::AllListed(&counts)).unwrap();
    assert_eq!(world.text("dependencies.log"), "c/d 3\na/b 1\n");
    assert_eq!(desk.folder().dependencies().unwrap(), ["c/d", "a/b"]);
    // What was counted over all there is, counts.
    desk.counted(vec![("a/b".to_owned(), 2)]);
    desk.event(PathEvent::AllListed(&[])).unwrap();
    assert_eq!(world.text("dependencies.log"), "a/b 2\n");
    assert!(
        desk.event(PathEvent::Listed {
            path: "../../x",
            packages: &[]
        })
        .is_err()
    );
}

#[test]
fn a_path_that_went_elsewhere_than_its_inputs_are_is_told_of() {
    let world = World::new();
    let mut desk = world.desk();
    desk.folder()
        .set_affinity(&PATH.parse().unwrap(), Some("ox"))
        .unwrap();
    desk.take(PATH).unwrap();
    started(&mut desk, "build");
    ended(
        &mut desk,
        "build",
        TaskEnd::NotFinished("its host went away"),
    );
    assert_eq!(world.text("affinity/devel.make"), "yak\n");
    started(&mut desk, "build");
    ended(&mut desk, "build", TaskEnd::Built);
    state(&mut desk, PathState::Built);
    let all = [
        "J: devel/make yak",
        "N: devel/make",
        "B: devel/make",
        "Y: devel/make",
        "I: devel/make",
    ];
    assert_eq!(world.engine(), all);
    assert!(!world.at("affinity/devel.make").exists());
}

#[test]
fn silence_is_told_when_it_has_doubled() {
    let mut silences = Silences::default();
    let mut told = |seconds| {
        let job = Shown {
            path: PATH.to_owned(),
            task: "build".to_owned(),
            silent: Duration::from_secs(seconds),
            ..Shown::default()
        };
        silences.told(&[job])
    };
    assert!(told(59).is_empty());
    assert_eq!(told(60), ["devel/make(build) frozen for 60s"]);
    assert!(told(119).is_empty());
    assert_eq!(told(130), ["devel/make(build) frozen for 130s"]);
    assert!(told(5).is_empty(), "it spoke");
    assert_eq!(told(600), ["devel/make(build) frozen for 10mn"]);
}

#[test]
fn a_build_in_memory_is_told_of_until_it_does_not_fit() {
    let world = World::new();
    let mut desk = world.desk();
    desk.write_sizes(Box::new(|_, task| match task {
        "build" => Some(5000),
        "fake" => Some(2048),
        _ => None,
    }));
    desk.take(PATH).unwrap();
    started(&mut desk, "fake");
    let memory = |desk: &mut Desk, bytes| {
        let path = PATH;
        desk.event(PathEvent::Memory { path, bytes }).unwrap();
        desk.board().jobs[0].line()
    };
    let line = memory(&mut desk, Some(4096));
    assert!(line.starts_with("devel/make+(fake) on yak "), "{line}");
    let lock = world.text("locks/devel.make");
    assert!(lock.contains("\nmem=4096\n"), "{lock}");
    let log = world.text("paths/devel/make.log");
    let said = log.lines().last().unwrap();
    assert_eq!(said, ">>> Building on yak in memory under devel/make");
    let line = memory(&mut desk, None);
    assert!(line.starts_with("devel/make(fake) "), "{line}");
    ended(&mut desk, "fake", TaskEnd::Built);
    memory_of_the_next(&mut desk);
    ended(&mut desk, "build", TaskEnd::Built);
    state(&mut desk, PathState::Built);
    assert_eq!(world.text("size.log"), "devel/make 5 2\n");
}

/// It is asked anew of each task.
fn memory_of_the_next(desk: &mut Desk) {
    let (path, bytes) = (PATH, Some(1));
    started(desk, "build");
    desk.event(PathEvent::Memory { path, bytes }).unwrap();
    assert!(desk.board().jobs[0].memory);
    started(desk, "build");
    assert!(!desk.board().jobs[0].memory);
}

#[test]
fn what_cannot_be_started_leaves_a_lock_that_says_why() {
    let world = World::new();
    let mut desk = world.desk();
    let fetch = |desk: &mut Desk, there| {
        let name = "fetch:a.tar";
        desk.event(PathEvent::Fetch { name, there }).unwrap();
        desk.look(true, &[]).unwrap();
    };
    fetch(&mut desk, false);
    assert!(world.text("stats.log").ends_with(" T=0 F=1\n"));
    state(&mut desk, PathState::Error);
    let (path, why) = (PATH, "a.tar is at none\nof its places");
    desk.event(PathEvent::Blocked { path, why }).unwrap();
    let lock = world.text("locks/devel.make");
    assert!(
        lock.ends_with("\nerror=a.tar is at none of its places\n"),
        "{lock}"
    );
    assert_eq!(desk.board().errors, [(PATH.to_owned(), None)]);
    let mut other = world.desk();
    assert_eq!(other.take(PATH).unwrap(), Lock::Theirs { ended: true });
    fs::remove_file(world.at("locks/devel.make")).unwrap();
    assert_eq!(desk.look(true, &[]).unwrap().unwrap().gone, [PATH]);
    state(&mut desk, PathState::Queued);
    assert!(desk.board().errors.is_empty());
    fetch(&mut desk, true);
    assert!(world.text("stats.log").ends_with(" T=0\n"));
    assert_eq!(
        world.engine(),
        ["F: fetch:a.tar", "E: devel/make", "Q: devel/make"]
    );
}
