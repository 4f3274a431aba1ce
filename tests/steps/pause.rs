//! Ctrl-Z stops a build together with mstore, and the time does not count.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[("a_build_stops_and_goes_on", a_build_stops_and_goes_on)];

fn state(child: &Child) -> String {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let rest = stat.rsplit(") ").next().unwrap();
    rest.split(' ').next().unwrap().to_owned()
}

fn eventually(what: &str, mut test: impl FnMut() -> bool) {
    let began = Instant::now();
    while !test() {
        assert!(began.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn a_build_stops_and_goes_on(place: &Place) -> Option<&'static str> {
    // Another process of the step counts as well: all of them stop.
    let script = "(while :; do echo >> /other; sleep 0.05; done) &
        for n in $(seq 30); do echo $n >> /ticks; sleep 0.05; done; echo done > /end";
    place.targets_with(
        &[("t", "base", &[("one", script)])],
        "[section policy]\ntimeout: 4\n",
    );
    let began = Instant::now();
    let mut child = place
        .command(&["realise", "t-s"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let count = |name: &str| -> usize {
        let sessions = place.folders("tmp").into_iter();
        let scratches = sessions.flat_map(|s| fs::read_dir(s).into_iter().flatten().flatten());
        let text =
            scratches.filter_map(|s| fs::read_to_string(s.path().join("upper").join(name)).ok());
        text.map(|t| t.lines().count()).sum()
    };
    eventually("both count", || count("ticks") > 2 && count("other") > 2);
    let group = Pid::from_child(&child);
    let signal = |signal| rustix::process::kill_process_group(group, signal).unwrap();
    signal(Signal::TSTP);
    eventually("mstore stops", || state(&child) == "T");
    let mut last = (0, 0);
    eventually("the step stops", || {
        std::thread::sleep(Duration::from_millis(150));
        let now = (count("ticks"), count("other"));
        std::mem::replace(&mut last, now) == now
    });
    // Longer than it may run in all.
    std::thread::sleep(Duration::from_millis(4500));
    assert_eq!((count("ticks"), count("other")), last);
    assert!(child.try_wait().unwrap().is_none());
    signal(Signal::CONT);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(place.cat("t", "end"), "done\n");
    let attempt = place.attempt("t");
    let seconds = attempt["seconds"].as_f64().unwrap();
    let all = began.elapsed().as_secs_f64();
    assert!(seconds < all - 4.5, "{seconds} of {all} s");
    None
}
