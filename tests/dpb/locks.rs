//! Locks that several schedulers share, and stop files.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Test;
use crate::place::{Place, Target};
use crate::run::{Going, command, dpb, engine, eventually, host, log};

pub const ALL: &[Test] = &[
    (
        "two_schedulers_never_build_one_path_at_once",
        two_schedulers_never_build_one_path_at_once,
    ),
    (
        "what_is_mended_goes_on_when_its_lock_is_removed",
        what_is_mended_goes_on,
    ),
    (
        "a_lock_of_an_error_stands_until_a_person_removes_it",
        a_lock_of_an_error_stands,
    ),
    (
        "a_killed_scheduler_leaves_a_stale_lock",
        a_killed_scheduler_leaves_a_stale_lock,
    ),
    (
        "locks_of_another_machine_are_respected",
        locks_of_another_machine_are_respected,
    ),
    ("hostile_locks_stop_the_start", hostile_locks_stop_the_start),
    ("stop_files_end_it_gracefully", stop_files_end_it_gracefully),
    (
        "a_stopped_host_starts_nothing",
        a_stopped_host_starts_nothing,
    ),
];

/// Writes targets, each with what it starts from, in two steps that differ from those of others.
pub fn naps(place: &Place, targets: &[(&str, &str)]) {
    let scripts = targets.iter().map(|(name, _)| {
        let (one, two) = (
            format!("sleep 0.2; echo {name} > /{name}1"),
            format!("echo > /{name}2"),
        );
        (one, two)
    });
    let scripts: Vec<(String, String)> = scripts.collect();
    let steps: Vec<[(&str, &str); 2]> = scripts
        .iter()
        .map(|(one, two)| [("one", one.as_str()), ("two", two.as_str())])
        .collect();
    let all = targets.iter().zip(&steps);
    let all: Vec<Target<'_>> = all
        .map(|((name, from), steps)| (*name, *from, &steps[..]))
        .collect();
    place.targets(&all);
}

fn two_schedulers_never_build_one_path_at_once(place: &Place) {
    let names = ["t0", "t1", "t2", "t3", "t4", "t5"];
    let mut targets: Vec<(&str, &str)> = names.iter().map(|name| (*name, "base")).collect();
    targets.push(("top", "t0"));
    naps(place, &targets);
    // Two stores, as on two machines: each has to build everything itself.
    let other = place.path("other-store");
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(place.store())
        .arg(&other)
        .status();
    assert!(copied.unwrap().success());
    let first = Going::new(&mut command(place, &["-a", "-j3", "-T", "0.2"]));
    let mut second = command(place, &["-a", "-j3", "-T", "0.2"]);
    let second = Going::new(second.env("MSTORE_STORE", &other));
    for ran in [first.ended(), second.ended()] {
        assert_eq!(
            ran.status,
            Some(0),
            "{}\n{}",
            ran.stderr,
            log(place, "engine.log")
        );
    }
    let (built, locked) = never_at_once(place);
    let text = log(place, "engine.log");
    assert_eq!(built, 14, "{text}");
    assert!(locked > 0, "they never met\n{text}");
    assert_eq!(fs::read_dir(place.path("L/locks")).unwrap().count(), 0);
}

/// Looks that no path was ever built by two schedulers at once; tells how many were built, and how often one found
/// the lock of another.
#[track_caller]
pub fn never_at_once(place: &Place) -> (usize, usize) {
    // The order of lines is the order of what happened: `J` after the lock was taken, `B` before it was given back.
    let mut at_work: HashMap<&str, &str> = HashMap::new();
    let text = log(place, "engine.log");
    let (mut built, mut locked) = (0, 0);
    for line in text.lines() {
        let (pid, _) = line.split_once('@').unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        match words[1] {
            "J:" => {
                let before = at_work.insert(words[2], pid);
                assert_eq!(before, None, "{line}\n{text}");
            }
            "B:" => {
                assert_eq!(at_work.remove(words[2]), Some(pid), "{line}\n{text}");
                built += 1;
            }
            "L:" => locked += 1,
            _ => {}
        }
    }
    (built, locked)
}

fn ended(place: &Place, path: &str) -> bool {
    log(place, &format!("locks/{path}")).contains("\nend=")
}

fn what_is_mended_goes_on(place: &Place) {
    let bad: &[(&str, &str)] = &[("one", "echo one > /one"), ("two", "exit 3")];
    place.targets(&[
        ("low", "base", bad),
        ("top", "low", &[("one", "cat /two > /top")]),
    ]);
    let run = Going::new(&mut command(place, &["-q", "-T", "0.2", "top-s"]));
    eventually("it fails", || ended(place, "low-s"));
    // The same again, as nothing was mended.
    fs::remove_file(place.path("L/locks/low-s")).unwrap();
    eventually("it fails again", || {
        log(place, "build.log").lines().count() == 2 && ended(place, "low-s")
    });
    let good: &[(&str, &str)] = &[("one", "echo one > /one"), ("two", "echo mended > /two")];
    place.targets(&[
        ("low", "base", good),
        ("top", "low", &[("one", "cat /two > /top")]),
    ]);
    fs::remove_file(place.path("L/locks/low-s")).unwrap();
    let ran = run.ended();
    assert_eq!(
        ran.status,
        Some(0),
        "{}\n{}",
        ran.stderr,
        log(place, "engine.log")
    );
    assert_eq!(place.cat("top", "top"), "mended\n");
    let lines = log(place, "build.log");
    assert_eq!(
        lines.lines().filter(|l| l.ends_with('!')).count(),
        2,
        "{lines}"
    );
    assert_eq!(
        lines
            .lines()
            .filter(|l| l.starts_with("low-s ") && !l.ends_with('!'))
            .count(),
        1
    );
    assert!(!place.path("L/locks/low-s").exists());
}

fn a_lock_of_an_error_stands(place: &Place) {
    naps(place, &[("low", "base")]);
    dpb(place, &["-a"]).ok();
    naps(place, &[("low", "base"), ("new", "base"), ("above", "new")]);
    let lock = place.path("L/locks/new-s");
    let text = "locked=new-s\ndpb=1 on elsewhere\nstatus=256\n";
    fs::write(&lock, text).unwrap();
    // Its own one is of no use: it is built.
    fs::write(place.path("L/locks/low-s"), text).unwrap();
    let errors = dpb(place, &["-a"]).fails(1);
    assert!(
        errors.ends_with("I=1 B=0 Q=0 T=1 !=0\nL=new-s\n"),
        "{errors}"
    );
    assert_eq!(fs::read_to_string(&lock).unwrap(), text);
    let run = Going::new(&mut command(place, &["-a", "-q", "-T", "0.2"]));
    let found = |n| engine(place).iter().filter(|l| *l == "L: new-s").count() == n;
    eventually("it finds the lock", || found(2));
    fs::remove_file(&lock).unwrap();
    assert_eq!(run.ended().status, Some(0));
}

fn a_killed_scheduler_leaves_a_stale_lock(place: &Place) {
    place.targets(&[("low", "base", &[("one", "sleep 1; echo x > /x")])]);
    let run = Going::new(&mut command(place, &["low-s"]));
    eventually("it builds", || log(place, "locks/low-s").contains("start="));
    run.signal(Signal::KILL);
    drop(run);
    let lock = log(place, "locks/low-s");
    assert!(
        lock.starts_with("locked=low-s\ndpb=") && !lock.contains("end="),
        "{lock}"
    );
    dpb(place, &["low-s"]).ok();
    let note = |line: &String| {
        line.starts_with("L: low-s stale lock of ") && line.ends_with(" taken over")
    };
    assert!(engine(place).iter().any(note), "{:?}", engine(place));
    // Ctrl-C leaves none.
    place.targets(&[("low", "base", &[("one", "sleep 20")])]);
    let run = Going::new(&mut command(place, &["low-s"]));
    eventually("it builds", || log(place, "locks/low-s").contains("start="));
    run.signal(Signal::INT);
    assert_eq!(run.ended().status, Some(130));
    assert_eq!(fs::read_dir(place.path("L/locks")).unwrap().count(), 0);
    assert_eq!(engine(place).iter().filter(|l| *l == "N: low-s").count(), 1);
}

fn locks_of_another_machine_are_respected(place: &Place) {
    naps(place, &[("low", "base"), ("other", "base")]);
    fs::create_dir_all(place.path("L/locks")).unwrap();
    let lock = place.path("L/locks/low-s");
    fs::write(&lock, "locked=low-s\ndpb=1 on elsewhere\nhost=elsewhere\n").unwrap();
    let mut run = Going::new(&mut command(place, &["-a", "-T", "0.2"]));
    eventually("the other one is built", || {
        engine(place).iter().any(|l| l == "P: other-s")
    });
    std::thread::sleep(Duration::from_millis(400));
    assert!(!run.is_over() && lock.exists());
    assert!(!engine(place).iter().any(|l| l.starts_with("J: low-s")));
    fs::remove_file(&lock).unwrap();
    let ran = run.ended();
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(
        engine(place)
            .iter()
            .any(|l| *l == format!("J: low-s {}", host()))
    );
}

fn hostile_locks_stop_the_start(place: &Place) {
    naps(place, &[("low", "base")]);
    let locks = place.path("L/locks");
    fs::create_dir_all(&locks).unwrap();
    let file = locks.join("devel.make");
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let fifo = rustix::fs::FileType::Fifo;
    let hostile: [(&str, &dyn Fn()); 5] = [
        ("pipe", &|| {
            rustix::fs::mknodat(rustix::fs::CWD, &file, fifo, mode, 0).unwrap()
        }),
        ("device", &|| {
            std::os::unix::fs::symlink("/dev/zero", &file).unwrap()
        }),
        ("link", &|| {
            std::os::unix::fs::symlink("/etc/passwd", &file).unwrap()
        }),
        ("huge", &|| {
            fs::File::create(&file).unwrap().set_len(10 << 30).unwrap()
        }),
        ("binary", &|| {
            fs::write(&file, b"locked=\xff\xfe\0\n").unwrap()
        }),
    ];
    for (what, make) in hostile {
        make();
        let began = Instant::now();
        let errors = dpb(place, &["low-s"]).fails(3);
        assert!(errors.contains("locks/devel.make"), "{what}: {errors}");
        assert!(began.elapsed() < Duration::from_secs(20), "{what}");
        fs::remove_file(&file).unwrap();
    }
    // One of another version is read as far as it is known.
    fs::write(
        &file,
        "version=99\nlocked=devel/make\ncolour=blue\nno line\n",
    )
    .unwrap();
    dpb(place, &["low-s"]).ok();
    assert!(file.exists());
}

fn stop_files_end_it_gracefully(place: &Place) {
    let slow: &[(&str, &str)] = &[("one", "sleep 1; echo x > /x")];
    let more: &[(&str, &str)] = &[("one", "echo y > /y")];
    place.targets(&[("low", "base", slow), ("top", "low", more)]);
    let run = Going::new(&mut command(place, &["-T", "0.1", "top-s"]));
    eventually("it builds", || log(place, "locks/low-s").contains("start="));
    let stop = place.path("L/stop");
    fs::write(&stop, "").unwrap();
    assert_eq!(run.ended().status, Some(1));
    let lines = engine(place);
    assert!(
        lines.iter().any(|l| l == "B: low-s"),
        "what ran was finished: {lines:?}"
    );
    assert!(
        !lines.iter().any(|l| l.starts_with("J: top-s")),
        "{lines:?}"
    );
    // With -q it stays, and goes on when the file is gone.
    let mut run = Going::new(&mut command(place, &["-q", "-T", "0.1", "top-s"]));
    eventually("it is there", || {
        engine(place).iter().filter(|l| *l == "Q: top-s").count() == 2
    });
    std::thread::sleep(Duration::from_millis(500));
    assert!(!run.is_over() && !engine(place).iter().any(|l| l.starts_with("J: top-s")));
    fs::remove_file(&stop).unwrap();
    assert_eq!(run.ended().status, Some(0));
}

fn a_stopped_host_starts_nothing(place: &Place) {
    naps(place, &[("low", "base")]);
    fs::create_dir_all(place.path("L")).unwrap();
    for name in [format!("{}-stop", host()), format!("stop-{}", host())] {
        let stop = place.path("L").join(name);
        fs::write(&stop, "").unwrap();
        let before = engine(place).len();
        let mut run = Going::new(&mut command(place, &["-T", "0.1", "low-s"]));
        eventually("it is there", || engine(place).len() >= before + 2);
        std::thread::sleep(Duration::from_millis(400));
        let jobs = |place: &Place| engine(place)[before..].iter().any(|l| l.starts_with('J'));
        assert!(!run.is_over() && !jobs(place), "{:?}", engine(place));
        fs::remove_file(&stop).unwrap();
        let ran = run.ended();
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        assert!(
            jobs(place) && ran.stderr.contains("is stopped"),
            "{}",
            ran.stderr
        );
        place.targets(&[("low", "base", &[("one", "echo other > /x")])]);
    }
}
