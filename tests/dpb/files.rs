//! The files that a run writes and reads.

use std::fs;

use crate::Test;
use crate::place::{Place, Target};
use crate::run::{Going, command, dpb, engine, eventually, host, log};

pub const ALL: &[Test] = &[
    ("each_log_has_its_form", each_log_has_its_form),
    (
        "what_is_there_is_not_built_again",
        what_is_there_is_not_built_again,
    ),
    (
        "an_earlier_log_tells_what_takes_long",
        an_earlier_log_tells_what_takes_long,
    ),
    (
        "sizes_are_written_read_and_used",
        sizes_are_written_read_and_used,
    ),
    (
        "a_lock_tells_what_its_job_asked_for",
        a_lock_tells_what_its_job_asked_for,
    ),
    (
        "what_a_failed_build_left_goes_with_c",
        what_a_failed_build_left_goes_with_c,
    ),
    (
        "what_cannot_be_fetched_is_told_in_the_lock",
        what_cannot_be_fetched_is_told_in_the_lock,
    ),
    ("lists_and_bad_words", lists_and_bad_words),
    ("the_program_called_dpb", the_program_called_dpb),
    (
        "what_is_for_another_architecture_is_ignored",
        what_is_for_another_architecture_is_ignored,
    ),
];

/// One on top of another, and one that fails in its second step.
fn three(place: &Place) {
    place.targets(&[
        (
            "low",
            "base",
            &[("one", "echo first; echo a > /a"), ("two", "echo b > /b")],
        ),
        ("top", "low", &[("one", "cat /a /b > /c")]),
        (
            "bad",
            "base",
            &[
                ("one", "echo x > /x"),
                ("two", "echo oops; exit 7"),
                ("three", "true"),
            ],
        ),
    ]);
}

fn each_log_has_its_form(place: &Place) {
    three(place);
    let errors = dpb(place, &["-a", "-j2"]).fails(1);
    assert!(errors.contains("Error in bad-s\n"), "{errors}");
    assert!(
        errors.ends_with("I=2 B=0 Q=0 T=0 !=0\nE=bad-s\n"),
        "{errors}"
    );
    let engine = engine(place);
    let of = |path: &str| -> Vec<String> {
        let lines = engine
            .iter()
            .filter(|line| line.split(' ').nth(1) == Some(path));
        lines
            .map(|line| line.replace(&format!(" {path}"), ""))
            .collect()
    };
    let job = format!("J: {}", host());
    assert_eq!(of("low-s"), ["T:", "Q:", &job, "B:", "I:", "P:"]);
    assert_eq!(of("top-s"), ["T:", "Q:", &job, "B:", "I:", "P:"]);
    assert_eq!(of("bad-s"), ["T:", "Q:", &job, "E:"]);
    for line in log(place, "engine.log").lines() {
        let (pid, rest) = line.split_once('@').unwrap();
        let (seconds, _) = rest.split_once(':').unwrap();
        assert!(
            pid.parse::<u32>().is_ok() && seconds.parse::<u64>().is_ok(),
            "{line}"
        );
    }
    // PATH HOST TIME LOGSIZE TIMING[!]
    let builds = log(place, "build.log");
    let line = builds
        .lines()
        .find(|line| line.starts_with("low-s "))
        .unwrap();
    let words: Vec<&str> = line.split(' ').collect();
    assert_eq!((words.len(), words[1]), (5, &*host()), "{line}");
    let size = log(place, "paths/low-s.log").len();
    assert_eq!(words[3].parse::<usize>().unwrap(), size);
    let tasks: Vec<&str> = words[4].split('/').collect();
    assert!(
        tasks[0].starts_with("one=") && tasks[1].starts_with("two="),
        "{line}"
    );
    let seconds: Vec<f64> = tasks
        .iter()
        .map(|t| t.split_once('=').unwrap().1.parse().unwrap())
        .collect();
    let total: f64 = words[2].parse().unwrap();
    assert!((seconds.iter().sum::<f64>() - total).abs() < 0.02, "{line}");
    let line = builds
        .lines()
        .find(|line| line.starts_with("bad-s "))
        .unwrap();
    assert!(line.ends_with('!') && line.contains("/two="), "{line}");
    // The log of a path.
    let text = log(place, "paths/low-s.log");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], format!(">>> Building on {} under low-s", host()));
    assert!(
        lines[1].starts_with(">>> Running one in low-s at "),
        "{text}"
    );
    assert_eq!(lines[2], "first");
    let text = log(place, "paths/bad-s.log");
    assert!(
        text.contains("\noops\nexit status 7\nError: job failed with 1792 on "),
        "{text}"
    );
    // The lock of what failed, and no other.
    let locks: Vec<_> = fs::read_dir(place.path("L/locks")).unwrap().collect();
    assert_eq!(locks.len(), 1, "{locks:?}");
    let lock = log(place, "locks/bad-s");
    let keys: Vec<&str> = lock
        .lines()
        .map(|line| line.split('=').next().unwrap())
        .collect();
    assert_eq!(keys[..2], ["locked", "dpb"]);
    assert_eq!(keys[keys.len() - 3..], ["status", "todo", "end"]);
    for line in [
        "locked=bad-s",
        &format!("host={}", host()),
        "status=1792",
        "todo=three",
    ] {
        assert!(lock.lines().any(|l| l == line), "{line}: {lock}");
    }
    let pids: Vec<u32> = lock
        .lines()
        .filter_map(|l| l.strip_prefix("pid=")?.parse().ok())
        .collect();
    assert!(pids.len() > 2, "of the scheduler and of the script: {lock}");
    assert!(
        lock.lines()
            .any(|l| l.starts_with("start=1") && l.ends_with(')')),
        "{lock}"
    );
    // Counters.
    for line in log(place, "stats.log").lines() {
        let keys: Vec<&str> = line
            .split(' ')
            .skip(2)
            .map(|w| w.split('=').next().unwrap())
            .collect();
        assert_eq!(keys, ["I", "B", "Q", "T"], "{line}");
    }
    assert!(log(place, "stats.log").ends_with(" I=2 B=0 Q=0 T=0\n"));
    let concurrent = log(place, "concurrent.log");
    assert!(
        concurrent.ends_with(" 0\n") && concurrent.lines().count() > 1,
        "{concurrent}"
    );
    assert_eq!(log(place, "dependencies.log"), "low-s 1\n");
    let walked = log(place, "vars.log");
    let folder = fs::canonicalize(place.path("")).unwrap();
    let found = walked
        .lines()
        .any(|l| fs::canonicalize(place.path("").join(l)).ok().as_ref() == Some(&folder));
    assert!(found, "{walked}");
    let signature = log(place, &format!("{}.sig.log", host()));
    assert!(signature.contains("jobs=2\n"), "{signature}");
}

fn what_is_there_is_not_built_again(place: &Place) {
    three(place);
    dpb(place, &["-R", "top-s"]).ok();
    let decided = log(place, "rebuild.log");
    assert!(decided.starts_with("low-s: rebuilt, one: "), "{decided}");
    assert!(decided.contains("\ntop-s: rebuilt, one: "), "{decided}");
    let builds = log(place, "build.log");
    let errors = dpb(place, &["-R", "top-s"]);
    let errors = {
        assert_eq!(errors.status, Some(0), "{}", errors.stderr);
        errors.stderr
    };
    assert_eq!(errors, "I=2 B=0 Q=0 T=0 !=0\n");
    assert_eq!(log(place, "build.log"), builds);
    let again = log(place, "rebuild.log").split_off(decided.len());
    assert_eq!(
        again,
        "low-s: not rebuilt, its keys have results\ntop-s: not rebuilt, its keys have results\n"
    );
    assert_eq!(engine(place).last().unwrap(), "I: top-s");
    // -x says nothing of what goes well.
    assert_eq!(dpb(place, &["-x", "top-s"]).stderr, "");
}

fn an_earlier_log_tells_what_takes_long(place: &Place) {
    place.targets(&[
        ("a", "base", &[("one", "echo > /a")]),
        ("b", "base", &[("one", "echo > /b")]),
        ("c", "base", &[("one", "echo > /c")]),
    ]);
    let text = "a-s yak 5.00 100 one=5.00\nc-s yak 10.00 100 (one=10.00)\nb-s yak 90.00 100 (one=90.00)\n\
                c-s yak 99.00 1 one=99.00!\nnonsense\n\u{1}\u{2}\nb-s yak x y\n";
    fs::write(place.path("earlier"), text).unwrap();
    let ran = dpb(place, &["-j1", "-b", "earlier", "a-s", "b-s", "c-s"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("3 lines of earlier passed over"),
        "{}",
        ran.stderr
    );
    let jobs: Vec<String> = engine(place)
        .into_iter()
        .filter(|l| l.starts_with('J'))
        .collect();
    let order: Vec<&str> = jobs.iter().map(|l| l.split(' ').nth(1).unwrap()).collect();
    assert_eq!(order, ["b-s", "c-s", "a-s"]);
    // A huge one, a pipe, and one that is not there.
    let huge = fs::File::create(place.path("huge")).unwrap();
    huge.set_len(10 << 30).unwrap();
    dpb(place, &["-b", "huge", "a-s"]).ok();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = place.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for name in ["pipe", "absent", "/dev/zero"] {
        for option in ["-b", "-S", "-P"] {
            let errors = dpb(place, &[option, name, "a-s"]).fails(2);
            assert!(errors.contains(name), "{option} {errors}");
        }
    }
}

fn sizes_are_written_read_and_used(place: &Place) {
    place.targets(&[
        (
            "big",
            "base",
            &[
                (
                    "one",
                    "dd if=/dev/zero of=/x bs=1024 count=300 2> /dev/null",
                ),
                ("two", "true > /y"),
            ],
        ),
        ("new", "base", &[("one", "echo new > /n")]),
    ]);
    dpb(place, &["-s", "big-s"]).ok();
    let sizes = log(place, "size.log");
    let kib: u64 = sizes
        .trim_end()
        .strip_prefix("big-s ")
        .unwrap()
        .parse()
        .unwrap();
    assert!((300..2000).contains(&kib), "{sizes}");
    fs::write(place.path("sizes"), "new-s 40\nnonsense\nbig-s x\n").unwrap();
    let ran = dpb(place, &["-m", "16M", "-S", "sizes", "-s", "new-s"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(
        log(place, "size.log").contains("\nnew-s "),
        "{}",
        log(place, "size.log")
    );
    assert_eq!(place.cat("new", "n"), "new\n");
    for bad in ["x", "-1", ""] {
        assert_eq!(dpb(place, &["-m", bad, "new-s"]).status, Some(2), "{bad:?}");
    }
}

/// Built in memory, on two places, with a tag, and found through another target.
fn a_lock_tells_what_its_job_asked_for(place: &Place) {
    // How large the file system is that takes its changes: that of memory has 4 MiB more than it may use.
    let mounted = "set -- $(stat -f -c '%b %S' /); echo size $(($1 * $2)); exit 3";
    let targets: &[Target<'_>] = &[
        ("low", "base", &[("one", mounted)]),
        ("top", "low", &[("one", "true")]),
    ];
    place.targets_with(targets, "[section policy]\nparallel: 2\ntag: big\n");
    fs::write(place.path("sizes"), "low-s 40\n").unwrap();
    dpb(place, &["-j2", "-m", "16M", "-S", "sizes", "top-s"]).fails(1);
    let lock = log(place, "locks/low-s");
    let lines: Vec<&str> = lock.lines().collect();
    assert_eq!(lines[2..4], ["parent=top-s", "tag=big"], "{lock}");
    assert!(lines.contains(&"mem=16777216"), "{lock}");
    let text = log(place, "paths/low-s.log");
    let said = format!("\n>>> Building on {} in memory under low-s\n", host());
    assert!(text.contains(&said), "{text}");
    assert!(text.contains("\nsize 20971520\n"), "{text}");
    let builds = log(place, "build.log");
    assert!(
        builds.starts_with(&format!("low-s {}*2 ", host())),
        "{builds}"
    );
    let signature = log(place, &format!("{}.sig.log", host()));
    for key in [
        "jobs=2",
        "version=",
        "machine=",
        "kernel=",
        "processors=",
        "free=",
    ] {
        let told = signature.lines().any(|line| line.starts_with(key));
        assert!(told, "{key}: {signature}");
    }
    // By itself it is asked for, and without -m on disk.
    fs::remove_file(place.path("L/locks/low-s")).unwrap();
    dpb(place, &["-j2", "low-s"]).fails(1);
    let lock = log(place, "locks/low-s");
    assert!(
        !lock.contains("parent=") && !lock.contains("mem="),
        "{lock}"
    );
}

fn what_a_failed_build_left_goes_with_c(place: &Place) {
    three(place);
    let left = || fs::read_dir(place.store().join("failed")).unwrap().count();
    dpb(place, &["bad-s"]).fails(1);
    assert_eq!(left(), 1);
    // Its lock keeps it from being built.
    dpb(place, &["bad-s"]).fails(1);
    assert_eq!(left(), 1);
    dpb(place, &["-c", "bad-s"]).fails(1);
    assert_eq!(left(), 0);
    assert_eq!(log(place, "clean.log"), "");
}

fn what_cannot_be_fetched_is_told_in_the_lock(place: &Place) {
    let (file, text) = (place.path("source.txt"), "text\n");
    fs::write(&file, text).unwrap();
    let sum = std::process::Command::new("sha256sum")
        .arg(&file)
        .output()
        .unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap();
    let sum = sum.split(' ').next().unwrap();
    fs::remove_file(&file).unwrap();
    let fetch = format!(
        "[section fetch]\n: it\n[section fetch/it]\nurl: file://{}\nhash: sha256:{sum}\n",
        file.display()
    );
    let step: &[(&str, &str)] = &[("one", "cp /mstore/fetch/source.txt /s")];
    place.targets_with(&[("low", "base", step)], &fetch);
    let run = Going::new(&mut command(place, &["-q", "-T", "0.2", "low-s"]));
    eventually("its lock says why", || {
        log(place, "locks/low-s").contains("\nerror=")
    });
    let lock = log(place, "locks/low-s");
    assert!(
        lock.contains("source.txt") && !lock.contains("status="),
        "{lock}"
    );
    eventually("it is counted", || {
        log(place, "stats.log").ends_with(" T=0 F=1\n")
    });
    assert!(engine(place).iter().any(|l| l == "F: fetch:source.txt"));
    assert_eq!(engine(place).last().unwrap(), "E: low-s");
    fs::write(&file, text).unwrap();
    fs::remove_file(place.path("L/locks/low-s")).unwrap();
    let ran = run.ended();
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert_eq!(place.cat("low", "s"), text);
    assert!(log(place, "stats.log").ends_with(" T=0\n"));
    assert_eq!(fs::read_dir(place.path("L/locks")).unwrap().count(), 0);
}

fn lists_and_bad_words(place: &Place) {
    three(place);
    fs::write(place.path("list"), "# what is wanted\nlow-s # here\n\n").unwrap();
    dpb(place, &["-P", "list"]).ok();
    assert!(!engine(place).iter().any(|line| line.contains("top-s")));
    fs::write(place.path("list"), "low-s\n../../x\n").unwrap();
    let errors = dpb(place, &["-P", "list"]).fails(2);
    assert!(
        errors.contains("list:2:") && errors.contains("../../x"),
        "{errors}"
    );
    let errors = dpb(place, &["../../x"]).fails(2);
    assert!(errors.contains("../../x"), "{errors}");
    let errors = dpb(place, &["-A", "../..", "low-s"]);
    assert_eq!(errors.status, Some(2), "{}", errors.stderr);
    for words in [["-T", "0"], ["-T", "x"], ["-j", "0"], ["-t", "-1"]] {
        assert_eq!(dpb(place, &words).status, Some(2), "{words:?}");
    }
    let errors = dpb(place, &["absent-s"]).fails(2);
    assert!(errors.contains("absent-s"), "{errors}");
    assert!(
        log(place, "vars.log").contains("absent-s"),
        "what the walk said"
    );
    // Every letter of the pages.
    let all = [
        "-aceqrRsuUx",
        "-A",
        "x",
        "-b",
        "x",
        "-h",
        "x",
        "-j",
        "1",
        "-m",
        "1",
        "-P",
        "x",
        "-S",
        "x",
        "-t",
        "1",
        "-T",
        "1",
    ];
    let errors = dpb(place, &all).fails(2);
    assert!(
        errors.contains('x') && !errors.contains("unexpected argument"),
        "{errors}"
    );
}

fn the_program_called_dpb(place: &Place) {
    three(place);
    let called = place.path("dpb");
    std::os::unix::fs::symlink(place.program(), &called).unwrap();
    let mut command = command(place, &[]);
    let mut named = std::process::Command::new(&called);
    named
        .args(["-L", "L", "low-s"])
        .current_dir(place.path(""))
        .env_clear();
    for (name, value) in command.get_envs() {
        named.env(name, value.unwrap_or_default());
    }
    let output = named.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(engine(place).last().unwrap(), "P: low-s");
    // Without -L the logs lie beside the entry file.
    let machine = rustix::system::uname()
        .machine()
        .to_string_lossy()
        .into_owned();
    let ran = place.run(&["dpb", "low-s"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(
        place
            .path("logs")
            .join(machine)
            .join("engine.log")
            .is_file()
    );
    let _ = command.arg("low-s");
}

fn what_is_for_another_architecture_is_ignored(place: &Place) {
    three(place);
    let text = fs::read_to_string(place.path("metro.conf")).unwrap();
    let machine = rustix::system::uname()
        .machine()
        .to_string_lossy()
        .into_owned();
    let text = text.replace(&format!("platform: {machine}"), "platform: $[own/platform]");
    fs::write(place.path("metro.conf"), text).unwrap();
    for (name, platform) in [("low", &*machine), ("bad", &*machine), ("top", "vax")] {
        let file = place.path(&format!("{name}.conf"));
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, format!("{text}[section own]\nplatform: {platform}\n")).unwrap();
    }
    let errors = dpb(place, &["low-s", "top-s"]);
    assert_eq!(errors.status, Some(0), "{}", errors.stderr);
    let lines = engine(place);
    let ignored: Vec<&String> = lines.iter().filter(|l| l.starts_with("!:")).collect();
    assert_eq!(ignored.len(), 1);
    assert!(
        ignored[0].starts_with("!: top-s programs for vax do not run"),
        "{ignored:?}"
    );
    assert!(errors.stderr.ends_with("!=1\n"), "{}", errors.stderr);
    let errors = dpb(place, &["-A", "pdp11", "low-s"]).fails(2);
    assert!(errors.contains("nothing of what was asked for"), "{errors}");
    assert!(
        engine(place)
            .last()
            .unwrap()
            .contains("!: low-s it is for ")
    );
}
