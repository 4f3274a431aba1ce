//! Steps that print nothing: told of in time, and ended when it takes too long, here and on other machines.

use std::fs;
use std::fs::File;
use std::io::Read as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::Test;
use crate::place::Place;
use crate::sshd::Sshd;

pub const ALL: &[Test] = &[
    (
        "a_step_that_prints_nothing_is_ended",
        a_step_that_prints_nothing_is_ended,
    ),
    (
        "what_prints_goes_on_and_the_limit_is_in_no_key",
        what_prints_goes_on_and_the_limit_is_in_no_key,
    ),
    (
        "silence_is_told_before_it_ends_a_step",
        silence_is_told_before_it_ends_a_step,
    ),
    (
        "a_silent_step_is_ended_elsewhere",
        a_silent_step_is_ended_elsewhere,
    ),
];

/// What a killed step says, with its seconds: on a busy machine it may be looked at late.
fn seconds_of(text: &str, before: &str) -> u64 {
    let (_, after) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("{before}: {text}"));
    let number = after.split(' ').next().unwrap();
    number.parse().unwrap_or_else(|_| panic!("{after}"))
}

fn a_step_that_prints_nothing_is_ended(place: &Place) -> Option<&'static str> {
    let silent = "printf 'half a line'; exec 3>&1 1>&- 2>&-; trap '' TERM; sleep 300 & sleep 300; echo never >&3";
    place.targets_with(
        &[("t", "base", &[("one", "echo 1 > /one"), ("two", silent)])],
        "[section policy]\nsilence: 1\n",
    );
    let began = Instant::now();
    // What the specification says counts more than the option.
    let ran = place.run(&["realise", "t-s", "--silence", "200", "--json"]);
    assert!(began.elapsed() < Duration::from_secs(60));
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    let says = "t-s:two failed: KILLED: two stuck at 11 bytes of output, silent for ";
    assert!(seconds_of(&ran.stderr, says) < 30, "{}", ran.stderr);
    let line: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let failure = &line["failures"][0];
    assert_eq!(failure["class"], "build");
    let reason = failure["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("KILLED: two stuck at 11 bytes"),
        "{reason}"
    );
    let log = place.run(&["log", "t-s:two"]).ok();
    assert!(
        log.contains("half a line\nKILLED: two stuck at 11 bytes of output, silent for "),
        "{log}"
    );
    let attempt = place.attempt("t");
    assert_eq!(attempt["outcome"], "failed", "{attempt}");
    assert_eq!(attempt["detail"].as_str(), Some(reason), "{attempt}");
    None
}

fn what_prints_goes_on_and_the_limit_is_in_no_key(place: &Place) -> Option<&'static str> {
    // Longer than the limit on the whole, and never a whole line.
    let dots = "for i in 1 2 3 4 5 6 7 8 9 10; do printf .; sleep 0.3; done; echo > /x";
    place.targets(&[("t", "base", &[("one", dots)])]);
    let ran = place.run(&["realise", "t-s", "--silence", "2"]);
    assert!(ran.stderr.contains("1 built"), "{}", ran.stderr);
    let tree = ran.ok();
    place.targets_with(
        &[("t", "base", &[("one", dots)])],
        "[section policy]\nsilence: 1\n",
    );
    let ran = place.run(&["realise", "t-s"]);
    assert!(ran.stderr.contains("nothing to do"), "{}", ran.stderr);
    assert_eq!(ran.ok(), tree);
    let shown = place.run(&["show", "t-s", "--json"]).ok();
    assert!(shown.contains("\"silence\": 1"), "{shown}");
    place.targets_with(
        &[("t", "base", &[("one", dots)])],
        "[section policy]\nsilence: never\n",
    );
    let error = place.run(&["realise", "t-s"]).fails(2);
    assert!(
        error.contains("policy/silence") && error.contains("`never` is not a number of seconds"),
        "{error}"
    );
    None
}

/// On a terminal that shows what runs.
fn silence_is_told_before_it_ends_a_step(place: &Place) -> Option<&'static str> {
    if !place.is_root() {
        return Some("once is enough: it takes a quarter of a minute");
    }
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::OpenptFlags;

    place.targets(&[("t", "base", &[("one", "echo begun; sleep 300")])]);
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&controller).unwrap();
    rustix::pty::unlockpt(&controller).unwrap();
    let name = rustix::pty::ptsname(&controller, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let other = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
    let size = rustix::termios::Winsize {
        ws_row: 24,
        ws_col: 90,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&controller, size).unwrap();
    let mut command = place.command(&["realise", "t-s", "--silence", "14"]);
    command.env("TERM", "xterm");
    command.stdout(Stdio::null()).stderr(Stdio::from(other));
    let mut child = command.spawn().unwrap();
    drop(command);
    let mut all = Vec::new();
    let mut file = File::from(controller);
    let mut buffer = [0; 4096];
    // It ends with an error when the last program has closed it.
    while let Ok(n) = file.read(&mut buffer) {
        all.extend_from_slice(&buffer[..n]);
    }
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let text = String::from_utf8_lossy(&all);
    let told = text.find("t-s:one silent for 1").expect("it is told");
    assert!(text[told..].contains("s, ended at 14 s begun"), "{text}");
    let killed = text
        .find("KILLED: one stuck at 6 bytes")
        .expect("it is ended");
    assert!(told < killed, "{text}");
    None
}

fn a_silent_step_is_ended_elsewhere(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return Some("there is no sshd");
    };
    place.targets(&[
        ("t", "base", &[("one", "echo said; sleep 300")]),
        (
            "u",
            "base",
            &[(
                "one",
                "for i in 1 2 3 4 5 6 7 8; do printf .; sleep 0.5; done",
            )],
        ),
    ]);
    let far = place.path("far");
    let hosts = format!("ssh://builder-1{} jobs=2 silence=3\n", far.display());
    fs::write(place.path("hosts"), hosts).unwrap();
    let words = [
        "realise",
        "-k",
        "--hosts",
        "hosts",
        "--silence",
        "200",
        "t-s",
        "u-s",
    ];
    let mut command = place.command(&words);
    command
        .env("MSTORE_SSH", format!("ssh -F {}", sshd.config.display()))
        .env("SHELL", "/bin/sh");
    let ran = command.output().unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(1), "{told}");
    assert!(
        told.contains("t-s:one failed: KILLED: one stuck at 5 bytes of output, silent for "),
        "{told}"
    );
    assert!(told.contains("built u-s:one"), "{told}");
    // The log is here, with what was said of the end.
    let log = place.run(&["log", "t-s:one"]).ok();
    assert!(
        log.contains("\nsaid\nKILLED: one stuck at 5 bytes"),
        "{log}"
    );
    let attempt = place.attempt("t");
    assert_eq!(attempt["outcome"], "failed", "{attempt}");
    assert!(
        attempt["host"].as_str().unwrap().contains("builder-1"),
        "{attempt}"
    );
    None
}
