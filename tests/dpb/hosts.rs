//! Several machines, and `mstore realise` over the same locks.

use std::fs;
use std::process::Command;

use crate::Test;
use crate::locks::{naps, never_at_once};
use crate::place::Place;
use crate::run::{Going, command, dpb, engine, log};
use crate::sshd::Sshd;

pub const ALL: &[Test] = &[
    (
        "two_schedulers_over_machines_share_the_locks",
        two_schedulers_over_machines_share_the_locks,
    ),
    (
        "realise_keeps_the_same_locks_and_logs",
        realise_keeps_the_same_locks_and_logs,
    ),
];

/// One scheduler builds here and the other on hosts behind a real sshd; each has a store of its own.
fn two_schedulers_over_machines_share_the_locks(place: &Place) {
    let Some(sshd) = Sshd::start(&place.program()) else {
        println!("there is no sshd");
        return;
    };
    naps(
        place,
        &[
            ("t0", "base"),
            ("t1", "base"),
            ("t2", "base"),
            ("top", "t0"),
        ],
    );
    let other = place.path("other-store");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(place.store())
        .arg(&other)
        .status();
    assert!(copied.unwrap().success());
    let line = |n: u32| {
        format!(
            "ssh://builder-{n}{} jobs=1 sf=2\n",
            place.path(&format!("far{n}")).display()
        )
    };
    fs::write(place.path("hosts"), format!("{}{}", line(1), line(2))).unwrap();
    let mut far = command(place, &["-a", "-h", "hosts", "-t", "20", "-T", "0.2"]);
    far.env("MSTORE_STORE", &other)
        .env("MSTORE_SSH", format!("ssh -F {}", sshd.config.display()))
        .env("SHELL", "/bin/sh");
    let far = Going::new(&mut far);
    let here = Going::new(&mut command(place, &["-a", "-j2", "-T", "0.2"]));
    let (far, here) = (far.ended(), here.ended());
    assert_eq!(
        far.status,
        Some(0),
        "{}\n{}",
        far.stderr,
        log(place, "engine.log")
    );
    assert_eq!(
        here.status,
        Some(0),
        "{}\n{}",
        here.stderr,
        log(place, "engine.log")
    );
    let (built, _) = never_at_once(place);
    assert_eq!(built, 8);
    assert!(
        far.stderr.contains("host ssh://builder-1") && far.stderr.contains(" is up\n"),
        "{}",
        far.stderr
    );
    let jobs = engine(place);
    let elsewhere = jobs
        .iter()
        .filter(|l| l.starts_with("J: ") && l.contains(" ssh://builder-"));
    assert_eq!(elsewhere.count(), 4, "{jobs:?}");
    assert_eq!(fs::read_dir(place.path("L/locks")).unwrap().count(), 0);
    let signatures = fs::read_dir(place.path("L")).unwrap().flatten();
    let signatures = signatures.filter(|e| e.file_name().to_string_lossy().ends_with(".sig.log"));
    assert!(signatures.count() >= 3);
}

fn realise_keeps_the_same_locks_and_logs(place: &Place) {
    naps(place, &[("low", "base"), ("top", "low")]);
    let kept = |more: &[&str]| place.run(&[&["realise", "--log-dir", "L", "top-s"], more].concat());
    let lock = place.path("L/locks/low-s");
    fs::create_dir_all(place.path("L/locks")).unwrap();
    fs::write(&lock, "locked=low-s\ndpb=1 on elsewhere\nstatus=256\n").unwrap();
    let errors = kept(&[]).fails(1);
    assert!(
        errors.contains("low-s:one was not tried: a lock tells of its failure"),
        "{errors}"
    );
    fs::remove_file(&lock).unwrap();
    fs::write(place.path("earlier"), "low-s h 5.00 1 one=4.00/two=1.00\n").unwrap();
    let out = kept(&["--history", "earlier", "--random", "--no-quit"]).ok();
    assert!(out.starts_with("top-s "), "{out}");
    assert!(
        log(place, "build.log")
            .lines()
            .any(|l| l.starts_with("top-s "))
    );
    assert!(!lock.exists());
    let before = engine(place).len();
    kept(&[]).ok();
    assert_eq!(engine(place)[before..], ["I: low-s", "I: top-s"]);
    assert_eq!(kept(&["--history", "absent"]).status, Some(2));
    let errors = place
        .run(&["realise", "top-s", "--history", "earlier"])
        .fails(2);
    assert!(errors.contains("--log-dir"), "{errors}");
    // In random order all is built too, by dpb's own letter.
    naps(
        place,
        &[("low", "base"), ("a", "base"), ("b", "low"), ("c", "low")],
    );
    dpb(place, &["-r", "-a"]).ok();
    assert!(engine(place).iter().any(|l| l == "B: c-s"));
}
