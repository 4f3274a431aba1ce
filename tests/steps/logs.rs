//! Logs are there while a step runs and whatever ends it, and what a run tells of its steps.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    (
        "logs_are_followed_and_a_killed_run_leaves_them",
        logs_are_followed_and_a_killed_run_leaves_them,
    ),
    (
        "an_interrupted_attempt_is_recorded_and_has_not_failed",
        an_interrupted_attempt_is_recorded_and_has_not_failed,
    ),
    (
        "the_log_is_that_of_the_result",
        the_log_is_that_of_the_result,
    ),
    ("output_is_shown_live", output_is_shown_live),
    ("a_run_is_summed_up", a_run_is_summed_up),
    (
        "a_shell_says_what_is_lost_and_has_what_a_step_has",
        a_shell_says_what_is_lost_and_has_what_a_step_has,
    ),
];

const WAITS: &str =
    "echo first words; i=0; while [ ! -e /go ] && [ $i -lt 600 ]; do sleep 0.1; i=$((i+1)); done";

fn start(place: &Place, arguments: &[&str]) -> Child {
    let mut command = place.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until the newest log has this text.
fn wait_for(place: &Place, text: &str) {
    let began = Instant::now();
    loop {
        let logs = place.folders("logs").into_iter();
        let mut logs = logs.map(|path| std::fs::read_to_string(path).unwrap_or_default());
        if logs.any(|log| log.contains(text)) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no {text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: Signal) {
    rustix::process::kill_process(Pid::from_child(child), signal).unwrap();
}

fn logs_are_followed_and_a_killed_run_leaves_them(place: &Place) -> Option<&'static str> {
    place.targets(&[("t", "base", &[("one", WAITS)])]);
    let mut run = start(place, &["realise", "t-s"]);
    wait_for(place, "first words");
    let mut follower = start(place, &["log", "-f", "t-s"]);
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let header = lines.next().unwrap().unwrap();
    assert!(header.starts_with("==== t-s:one ("), "{header}");
    assert_eq!(lines.next().unwrap().unwrap(), "first words");
    let running = place.run(&["log", "t-s"]);
    assert!(running.stderr.contains("is running"), "{}", running.stderr);
    signal(&run, Signal::KILL);
    run.wait().unwrap();
    // Nothing is built any more: there is nothing to wait for.
    assert!(lines.next().is_none());
    assert!(follower.wait().unwrap().success());
    let left = place.run(&["log", "t-s"]);
    assert!(
        left.stderr
            .contains("the last attempt was not finished: mstore itself was ended"),
        "{}",
        left.stderr
    );
    assert!(left.ok().contains("first words\n"));
    let late = place.run(&["log", "--follow", "t-s"]);
    assert!(
        late.stderr.contains("nothing of it is being built now"),
        "{}",
        late.stderr
    );
    assert!(late.ok().contains("first words\n"));
    None
}

fn an_interrupted_attempt_is_recorded_and_has_not_failed(place: &Place) -> Option<&'static str> {
    place.targets(&[("t", "base", &[("one", WAITS)])]);
    let run = start(place, &["realise", "t-s"]);
    wait_for(place, "first words");
    signal(&run, Signal::INT);
    let output = run.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(
        said.contains("stopped t-s:one after") && !said.contains("failed"),
        "{said}"
    );
    let attempt = place.attempt("t");
    assert_eq!(attempt["outcome"], "interrupted");
    let log = std::fs::read_to_string(attempt["log"].as_str().unwrap()).unwrap();
    assert_eq!(log, "first words\n");
    let why = place.run(&["why", "rebuild", "t-s"]).ok();
    assert!(
        why.contains("the last attempt, ") && why.contains(", was interrupted"),
        "{why}"
    );
    let shown = place.run(&["log", "t-s"]);
    assert!(
        shown.stderr.contains("the last attempt was interrupted ("),
        "{}",
        shown.stderr
    );
    None
}

fn the_log_is_that_of_the_result(place: &Place) -> Option<&'static str> {
    let script = "echo the result; head -c 200000 /dev/zero | tr '\\0' x";
    place.targets(&[("t", "base", &[("one", script)])]);
    let _ = place.run(&["realise", "t-s"]).ok();
    // No part of a key.
    std::fs::write(
        place.path("mstore.conf"),
        "[section build]\noutput-limit: 64K\n",
    )
    .unwrap();
    let _ = place.run(&["realise", "--rebuild", "t-s"]).fails(1);
    let attempt = place.attempt("t");
    assert_eq!(attempt["outcome"], "failed");
    let shown = place.run(&["log", "t-s"]);
    assert!(
        shown
            .stderr
            .contains("note: t-s:one: a newer attempt failed: "),
        "{}",
        shown.stderr
    );
    assert!(shown.stderr.contains(attempt["log"].as_str().unwrap()));
    let own = shown.ok();
    assert!(
        own.len() > 200_000 && own.starts_with("==== t-s:one ("),
        "{}",
        own.len()
    );
    None
}

fn output_is_shown_live(place: &Place) -> Option<&'static str> {
    // More lines than are kept for a watcher that is slower than the step.
    place.targets(&[("t", "base", &[("one", "seq 20000; echo the end")])]);
    let ran = place.run(&["realise", "-L", "t-s"]);
    let lines = |text: &str| text.lines().filter(|l| l.starts_with("t-s:one> ")).count();
    assert_eq!(lines(&ran.stderr), 20_001);
    assert!(ran.stderr.contains("\nt-s:one> the end\n"));
    assert!(ran.ok().starts_with("t-s "));
    let quiet = place.run(&["realise", "-q", "--rebuild", "t-s"]);
    assert_eq!(quiet.stderr, "");
    let _ = quiet.ok();
    None
}

fn a_run_is_summed_up(place: &Place) -> Option<&'static str> {
    let two = |script: &str| {
        place.targets(&[(
            "t",
            "base",
            &[("one", script), ("two", "cat /x > /y"), ("three", "true")],
        )]);
        place.run(&["realise", "t-s"]).stderr
    };
    let first = two("echo 1 > /x");
    assert!(
        first.contains("3 steps to build, 0 up to date\n") && first.contains("\n3 built in "),
        "{first}"
    );
    let same = two("echo 1 > /x # a remark");
    assert!(
        same.contains("1 step to build, 2 more if their inputs change, 0 up to date\n")
            && same.contains("\n1 built with the same result, 2 need not run ("),
        "{same}"
    );
    let other = two("echo 2 > /x");
    assert!(other.contains("\n3 built in "), "{other}");
    // A terminal that can only print gets every line, plain; see also the attacks on terminals.
    None
}

fn a_shell_says_what_is_lost_and_has_what_a_step_has(place: &Place) -> Option<&'static str> {
    place.targets(&[("t", "base", &[("one", "echo $MAKEOPTS > /seen")])]);
    let _ = place.run(&["realise", "-j1", "t-s"]).ok();
    let look = ["shell", "t-s", "--", "/bin/sh", "-c", "echo $MAKEOPTS"];
    assert_eq!(place.run(&look).ok(), place.cat("t", "seen"));
    let shell = place.run(&["shell", "t-s"]);
    assert!(
        shell
            .stderr
            .contains("changes made in this shell are not kept"),
        "{}",
        shell.stderr
    );
    let _ = shell.ok();
    None
}
