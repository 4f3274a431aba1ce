//! A run that goes on, seen and steered by another process.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Test;
use crate::place::Place;
use crate::sshd::Sshd;

pub const ALL: &[Test] = &[
    (
        "others_see_what_goes_on_and_why_it_waits",
        others_see_what_goes_on_and_why_it_waits,
    ),
    (
        "what_waits_for_a_tag_or_for_several_slots_says_so",
        what_waits_for_a_tag_or_for_several_slots_says_so,
    ),
    (
        "what_a_killed_run_left_is_removed",
        what_a_killed_run_left_is_removed,
    ),
    (
        "a_terminal_shows_a_run_and_is_given_back",
        a_terminal_shows_a_run_and_is_given_back,
    ),
    (
        "a_step_is_stopped_and_let_go_on",
        a_step_is_stopped_and_let_go_on,
    ),
    (
        "what_failed_starts_again_when_it_is_told_to",
        what_failed_starts_again_when_it_is_told_to,
    ),
    (
        "a_host_is_added_to_a_run_and_drained",
        a_host_is_added_to_a_run_and_drained,
    ),
];

/// A run that goes on, and is killed with this.
struct Going(Child);

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Going {
    fn start(command: &mut Command) -> Going {
        Going(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }

    /// Its end: the exit status and what it said.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        let mut pipe = self.0.stderr.take().unwrap();
        pipe.read_to_string(&mut said).unwrap();
        (self.0.wait().unwrap().code(), said)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn views(place: &Place) -> Vec<Value> {
    let told = place.run(&["top", "--json"]).ok();
    serde_json::from_str(&told).unwrap()
}

/// The view of the only run, once a job of it printed something.
fn view(place: &Place) -> Value {
    until("a job runs", || {
        let view = views(place).pop()?;
        let printed = view["jobs"][0]["output"].as_u64()? > 0;
        printed.then_some(view)
    })
}

fn why(place: &Place, name: &str) -> Vec<Value> {
    let told = place.run(&["why", "waiting", name, "--json"]).ok();
    serde_json::from_str(&told).unwrap()
}

const LONG: &str = "echo begun; sleep 300";

fn others_see_what_goes_on_and_why_it_waits(place: &Place) -> Option<&'static str> {
    place.targets(&[
        ("t", "base", &[("one", LONG), ("two", "true")]),
        ("u", "base", &[("one", "true")]),
    ]);
    assert!(views(place).is_empty());
    let error = place.run(&["why", "waiting", "t-s"]).fails(1);
    assert!(
        error.contains("nothing is being built in the store"),
        "{error}"
    );
    assert!(error.contains("mstore realise t-s"), "{error}");
    let run = Going::start(&mut place.command(&["realise", "-k", "-j1", "t-s", "u-s"]));
    let seen = view(place);
    assert_eq!(seen["pid"].as_u64(), Some(run.0.id().into()), "{seen}");
    let job = &seen["jobs"][0];
    assert_eq!(job["name"], "t-s:one", "{seen}");
    assert_eq!(job["output"], 6, "{seen}");
    let counts = &seen["counts"];
    for (state, n) in [
        ("running", 1),
        ("queued", 1),
        ("to_build", 1),
        ("usable", 0),
    ] {
        assert_eq!(counts[state], n, "{state}: {seen}");
    }
    let host = seen["hosts"][0]["name"].as_str().unwrap();
    assert_eq!(seen["hosts"][0]["state"], "up", "{seen}");
    assert_eq!(seen["hosts"][0]["busy"], 1, "{seen}");
    assert_eq!(job["host"].as_str(), Some(host), "{seen}");

    let two = &why(place, "t-s:two")[0];
    assert_eq!(two["state"], "to build", "{two}");
    assert_eq!(two["reasons"][0]["reason"], "needs", "{two}");
    let needs = &two["reasons"][0]["jobs"][0];
    assert_eq!(
        (&needs["job"], &needs["state"]),
        (&"t-s:one".into(), &"running".into())
    );
    let other = &why(place, "u-s:one")[0];
    assert_eq!(other["reasons"][0]["reason"], "host-busy", "{other}");
    let all = why(place, "t-s");
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0]["reasons"][0]["reason"], "runs", "{all:?}");
    let text = place.run(&["why", "waiting", "u-s"]).ok();
    let busy = format!("{host} is busy: 1 of 1 slots, with t-s:one");
    assert!(
        text.contains("u-s:one is queued") && text.contains(&busy),
        "{text}"
    );
    let error = place.run(&["why", "waiting", "v-s"]).fails(1);
    assert!(
        error.contains("nothing in this run is called v-s"),
        "{error}"
    );

    let text = place.run(&["top"]).ok();
    assert!(text.contains("I=0 R=1 Q=1 T=1"), "{text}");
    assert!(text.contains("t-s:one"), "{text}");
    // Steered.
    let said = place.run(&["top", "--drain", host]).ok();
    assert!(said.contains("nothing more starts on"), "{said}");
    assert_eq!(views(place)[0]["hosts"][0]["state"], "drained");
    let other = &why(place, "u-s:one")[0];
    assert_eq!(other["reasons"][0]["reason"], "host-drained", "{other}");
    let said = place.run(&["top", "--json", "--resume", host]).ok();
    assert!(said.contains("{\"done\":\"jobs start on"), "{said}");
    place.run(&["top", "--resume", host]).fails(1);
    let error = place
        .run(&["top", "--drain", "no\x1b]0;x\x07such"])
        .fails(1);
    assert!(
        error.contains("has no host") && !error.contains('\x07'),
        "{error}"
    );
    let error = place.run(&["top", "--add", "me@far"]).fails(1);
    assert!(error.contains("--hosts FILE"), "{error}");

    run.signal(Signal::INT);
    let (status, said) = run.ended();
    assert_eq!(status, Some(130), "{said}");
    assert!(views(place).is_empty());
    assert!(place.folders("running").is_empty());
    None
}

fn what_waits_for_a_tag_or_for_several_slots_says_so(place: &Place) -> Option<&'static str> {
    place.targets(&[
        ("t", "base", &[("one", LONG), ("two", "true")]),
        ("u", "base", &[("one", "echo u")]),
        ("v", "base", &[("one", "echo v"), ("two", "true")]),
        ("x", "base", &[("one", "echo x")]),
    ]);
    for (target, policy) in [("t", "tag: db"), ("u", "tag: db"), ("v", "parallel: 2")] {
        let path = place.path(&format!("{target}.conf"));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}[section policy]\n{policy}\n")).unwrap();
    }
    // What more waits for begins first.
    let run = Going::start(&mut place.command(&["realise", "-j2", "t-s", "u-s", "v-s", "x-s"]));
    let seen = view(place);
    assert_eq!(seen["jobs"].as_array().map(Vec::len), Some(1), "{seen}");
    let reason = |name: &str| why(place, name)[0]["reasons"][0].clone();
    let gate = reason("u-s:one");
    assert_eq!(gate["reason"], "gate", "{gate}");
    let text = place.run(&["why", "waiting", "u-s:one"]).ok();
    assert!(text.contains("t-s:one"), "{text}");
    let wide = reason("v-s:one");
    assert_eq!(wide["reason"], "wide", "{wide}");
    let kept = reason("x-s:one");
    assert_eq!(kept["reason"], "kept", "{kept}");
    run.signal(Signal::INT);
    assert_eq!(run.ended().0, Some(130));
    None
}

fn what_a_killed_run_left_is_removed(place: &Place) -> Option<&'static str> {
    place.targets(&[
        ("t", "base", &[("one", LONG)]),
        ("u", "base", &[("one", "echo; sleep 301")]),
    ]);
    let mut first = Going::start(&mut place.command(&["realise", "t-s"]));
    view(place);
    let second = Going::start(&mut place.command(&["realise", "u-s"]));
    until("two runs", || (views(place).len() == 2).then_some(()));
    let error = place.run(&["top", "--drain", "x"]).fails(2);
    assert!(
        error.contains("several runs") && error.contains("--pid PID"),
        "{error}"
    );
    let pid = second.0.id().to_string();
    let of_one = place.run(&["top", "--json", "--pid", &pid]).ok();
    assert!(
        of_one.contains("u-s:one") && !of_one.contains("t-s:one"),
        "{of_one}"
    );
    place.run(&["top", "--pid", "1"]).fails(1);
    assert_eq!(place.folders("running").len(), 2);
    first.0.kill().unwrap();
    first.0.wait().unwrap();
    assert_eq!(views(place).len(), 1);
    assert_eq!(place.folders("running").len(), 1);
    None
}

/// A terminal: its controlling end, and the end for programs.
fn terminal() -> (File, OwnedFd) {
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::OpenptFlags;

    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&controller).unwrap();
    rustix::pty::unlockpt(&controller).unwrap();
    let name = rustix::pty::ptsname(&controller, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let other = rustix::fs::open(&*name, flags, Mode::empty()).unwrap();
    resize(&other, 24, 80);
    (File::from(controller), other)
}

fn resize(terminal: &OwnedFd, rows: u16, columns: u16) {
    let size = rustix::termios::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(terminal, size).unwrap();
}

/// What a terminal shows, as it comes.
struct Shown {
    all: String,
    pieces: mpsc::Receiver<Vec<u8>>,
}

impl Shown {
    fn of(controller: &File) -> Shown {
        let mut reader = controller.try_clone().unwrap();
        let (sender, pieces) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        Shown {
            all: String::new(),
            pieces,
        }
    }

    /// Waits for a text, in what came since the last time.
    fn until(&mut self, text: &str) {
        self.all.clear();
        until(text, || {
            while let Ok(piece) = self.pieces.try_recv() {
                self.all.push_str(&String::from_utf8_lossy(&piece));
            }
            self.all.contains(text).then_some(())
        });
    }
}

const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";

fn a_terminal_shows_a_run_and_is_given_back(place: &Place) -> Option<&'static str> {
    place.targets(&[("t", "base", &[("one", LONG), ("two", "true")])]);
    let run = Going::start(&mut place.command(&["realise", "t-s"]));
    let host = view(place)["hosts"][0]["name"].as_str().unwrap().to_owned();
    let (controller, other) = terminal();
    let mut keys = controller.try_clone().unwrap();
    let mut shown = Shown::of(&controller);
    let modes = || format!("{:?}", rustix::termios::tcgetattr(&other).unwrap());
    let before = modes();
    let top = |kind: &str| {
        let mut command = place.command(&["top", "--every", "0.2"]);
        command.env("TERM", kind);
        let end = || Stdio::from(other.try_clone().unwrap());
        command.stdin(end()).stdout(end()).stderr(end());
        command.spawn().unwrap()
    };
    let mut child = top("xterm");
    shown.until("t-s:one");
    assert!(shown.all.contains(ENTERED) && !shown.all.contains(LEFT));
    assert_ne!(modes(), before);
    // The first thing is the job, the second one the host; it is drained, and is told so.
    keys.write_all(b"\x1b[B").unwrap();
    shown.until("\x1b[7m  t-s:one");
    keys.write_all(b"jd").unwrap();
    shown.until("nothing more starts on");
    shown.until("drained");
    assert_eq!(views(place)[0]["hosts"][0]["state"], "drained");
    keys.write_all(b"d").unwrap();
    shown.until(&format!("jobs start on {host} again"));
    // What is typed as a host is no key.
    keys.write_all(b"aq@q\x7f").unwrap();
    shown.until("host to add, such as me@big jobs=8: q@_");
    keys.write_all(b"\x1b").unwrap();
    shown.until("jobs start on");
    // Narrow and low: nothing wraps, and it is drawn anew at once.
    resize(&other, 5, 20);
    kill_process(Pid::from_child(&child), Signal::WINCH).unwrap();
    shown.until("jobs start on");
    keys.write_all(b"q").unwrap();
    shown.until(LEFT);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(modes(), before);
    // Ctrl-C, and a signal.
    for signal in [None, Some(Signal::TERM)] {
        let mut child = top("xterm");
        shown.until(ENTERED);
        match signal {
            None => keys.write_all(b"\x03").unwrap(),
            Some(signal) => kill_process(Pid::from_child(&child), signal).unwrap(),
        }
        shown.until(LEFT);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{signal:?}");
        assert_eq!(modes(), before);
    }
    // A terminal that only prints gets it once.
    resize(&other, 24, 80);
    assert_eq!(top("dumb").wait().unwrap().code(), Some(0));
    shown.until("t-s:one");
    assert!(!shown.all.contains('\x1b'), "{:?}", shown.all);
    // The run ends under it.
    let mut child = top("xterm");
    shown.until("t-s:one");
    run.signal(Signal::INT);
    shown.until("has ended");
    assert!(shown.all.contains(LEFT), "{:?}", shown.all);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(modes(), before);
    assert_eq!(run.ended().0, Some(130));
    None
}

fn a_host_is_added_to_a_run_and_drained(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return Some("there is no sshd");
    };
    let far = |n: u32| place.path(&format!("far{n}")).display().to_string();
    fs::write(
        place.path("hosts"),
        format!("ssh://builder-1{} jobs=1\n", far(1)),
    )
    .unwrap();
    place.targets(&[
        ("t", "base", &[("one", "echo begun; sleep 301")]),
        ("u", "base", &[("one", "echo begun; sleep 302")]),
        ("v", "base", &[("one", "echo begun; sleep 303")]),
    ]);
    let words = ["realise", "-k", "--hosts", "hosts", "t-s", "u-s", "v-s"];
    let mut command = place.command(&words);
    command
        .env("MSTORE_SSH", format!("ssh -F {}", sshd.config.display()))
        .env("SHELL", "/bin/sh");
    let run = Going::start(&mut command);
    view(place);
    let name = format!("ssh://builder-2{}", far(2));
    for (line, why) in [
        ("", "it names no host"),
        ("localhost", "this machine cannot be added"),
        ("a\nb", "one line is expected"),
        ("a jobs=0", "jobs=0"),
        (&format!("ssh://builder-1{}", far(1)), "already"),
    ] {
        let error = place.run(&["top", "--add", line]).fails(1);
        assert!(error.contains(why), "{line}: {error}");
    }
    let said = place.run(&["top", "--add", &format!("{name} jobs=1")]).ok();
    assert!(said.contains("is added"), "{said}");
    let host = |n: usize| {
        until("a job there", || {
            let view = views(place).pop()?;
            let jobs = view["jobs"].as_array()?;
            let wanted = format!("builder-{n}");
            let there = jobs
                .iter()
                .any(|job| job["host"].as_str().is_some_and(|h| h.contains(&wanted)));
            there.then(|| view.clone())
        })
    };
    let view = host(2);
    assert_eq!(view["counts"]["running"], 2, "{view}");
    let waits = |view: &Value| {
        let running: Vec<&str> = view["jobs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|job| job["name"].as_str().unwrap())
            .collect();
        let all = ["t-s:one", "u-s:one", "v-s:one"];
        (*all.iter().find(|name| !running.contains(name)).unwrap()).to_owned()
    };
    place.run(&["top", "--drain", &name]).ok();
    let reasons = why(place, &waits(&view))[0]["reasons"].clone();
    let kinds: Vec<&str> = reasons
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["reason"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["host-busy", "host-drained"], "{reasons}");
    // The first lets what runs be finished, the second ends it.
    run.signal(Signal::INT);
    until("the run ends", || {
        views(place).pop()?["ending"].is_string().then_some(())
    });
    run.signal(Signal::INT);
    assert_eq!(run.ended().0, Some(130));
    None
}

fn a_step_is_stopped_and_let_go_on(place: &Place) -> Option<&'static str> {
    place.targets(&[
        ("t", "base", &[("one", LONG), ("two", "true")]),
        ("u", "base", &[("one", "echo begun; sleep 302")]),
        ("v", "base", &[("one", "true")]),
    ]);
    let words = ["realise", "-j1", "t-s", "u-s", "v-s"];
    let run = Going::start(&mut place.command(&words));
    view(place);
    // One that runs, and one that does not yet.
    let said = place.run(&["top", "--stop", "t-s:one"]).ok();
    assert!(said.contains("t-s:one is being ended"), "{said}");
    let said = place.run(&["top", "--stop", "v-s:one"]).ok();
    assert!(said.contains("v-s:one does not start"), "{said}");
    let next = until("the next job runs", || {
        let view = views(place).pop()?;
        (view["jobs"][0]["name"] == "u-s:one").then_some(view)
    });
    assert_eq!(next["stopped"][0], "t-s:one", "{next}");
    assert_eq!(next["counts"]["stopped"], 1, "{next}");
    assert_eq!(why(place, "t-s:one")[0]["reasons"][0]["reason"], "stopped");
    assert_eq!(
        why(place, "t-s:two")[0]["reasons"][0]["jobs"][0]["state"],
        "locked"
    );
    let error = place.run(&["top", "--stop", "t-s"]).fails(1);
    assert!(error.contains("several steps"), "{error}");
    place.run(&["top", "--stop", "t-s:one"]).fails(1);
    place.run(&["top", "--requeue", "u-s:one"]).fails(1);
    // It is queued behind the other, and runs once that is stopped.
    place.run(&["top", "--requeue", "t-s:one"]).ok();
    assert_eq!(why(place, "t-s:one")[0]["state"], "queued");
    place.run(&["top", "--stop", "u-s:one"]).ok();
    until("it runs again", || {
        (views(place).pop()?["jobs"][0]["name"] == "t-s:one").then_some(())
    });
    assert_eq!(place.outcome("t"), "interrupted");
    place.run(&["top", "--stop", "t-s:one"]).ok();
    // Nothing is left to do: the run ends, and names them. None has failed.
    let (status, said) = run.ended();
    assert_eq!(status, Some(1), "{said}");
    for name in ["t-s:one", "u-s:one", "v-s:one"] {
        assert!(
            said.contains(&format!("{name} was stopped, and is not built")),
            "{said}"
        );
    }
    assert!(
        !said.contains("failed") && !said.contains("error"),
        "{said}"
    );
    assert!(place.folders("running").is_empty());
    None
}

fn what_failed_starts_again_when_it_is_told_to(place: &Place) -> Option<&'static str> {
    // It fails the first time and not the second.
    let once =
        "if test -e /mstore/impure/seen/x; then exit 0; fi; touch /mstore/impure/seen/x; exit 7";
    place.targets_with(
        &[
            ("t", "base", &[("one", once), ("two", "true")]),
            ("u", "base", &[("one", LONG)]),
        ],
        "[section impure]\n: seen\n[section impure/seen]\nsteps: one\n",
    );
    let run = Going::start(&mut place.command(&["realise", "-k", "-j2", "t-s", "u-s"]));
    let seen = until("it fails", || {
        let view = views(place).pop()?;
        (view["counts"]["failed"] == 1).then_some(view)
    });
    assert_eq!(seen["failures"][0]["name"], "t-s:one", "{seen}");
    assert_eq!(seen["failures"][0]["how"], "exit status 7", "{seen}");
    assert_eq!(seen["counts"]["ignored"], 1, "{seen}");
    let said = place.run(&["top", "--requeue", "t-s:one"]).ok();
    assert!(said.contains("t-s:one is queued again"), "{said}");
    let after = until("all of it is built", || {
        let view = views(place).pop()?;
        (view["counts"]["usable"] == 2).then_some(view)
    });
    assert_eq!(after["counts"]["failed"], 0, "{after}");
    assert_eq!(
        after["failures"].as_array().map(Vec::len),
        Some(0),
        "{after}"
    );
    place.run(&["top", "--stop", "u-s:one"]).ok();
    let (status, said) = run.ended();
    assert_eq!(status, Some(1), "{said}");
    assert!(!said.contains("t-s:one failed:"), "{said}");
    // Without --keep-going a failure ends the run, and nothing starts again.
    None
}
