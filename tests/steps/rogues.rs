//! Workers that are none, or of another version, or that lie: each is left out with one reason, and no run hangs.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    ("who_is_no_worker_is_left_out", who_is_no_worker_is_left_out),
    (
        "a_worker_that_lies_ends_the_run_with_its_reason",
        a_worker_that_lies_ends_the_run_with_its_reason,
    ),
    (
        "a_host_that_says_nothing_does_not_hold_up_ctrl_c",
        a_host_that_says_nothing_does_not_hold_up_ctrl_c,
    ),
    (
        "a_hosts_file_of_any_bytes_is_refused_with_its_line",
        a_hosts_file_of_any_bytes_is_refused_with_its_line,
    ),
];

const NO_PYTHON: Option<&str> = Some("there is no python3");

/// What is said of hosts that get no job. `tests/steps/rogue.py` tells what each of them does.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "banner",
        "something is printed there before mstore answers; make its shell print nothing for sessions without a \
         terminal; it printed: Welcome to  [1mthis [0m machine!",
    ),
    ("prompt", "it sent what does not belong here"),
    (
        "garbage",
        "it sent what does not belong here: a frame of 4244504319 bytes",
    ),
    (
        "huge",
        "it sent what does not belong here: a frame of 2147483647 bytes",
    ),
    ("older", "its mstore is version 0.0.1 [2J (protocol 2)"),
    ("newer", "(protocol 3), and this one"),
    ("gone", "the connection ended"),
    ("half", "the connection ended"),
    ("nameless", "it does not say what its machine is like"),
    ("obstacle", "no  ]0;evil roomxxx"),
    (
        "foreign",
        "it is a machine of vax, and the hosts file says x86_64",
    ),
    ("small", "only 0 MB are free where its store is"),
    ("timeless", "s apart from the one here; set one of them"),
    ("twice", "it sent what does not belong here"),
    ("unknown", "it sent what does not belong here"),
    ("extra", "it sent what does not belong here"),
];

/// What ends a run of which every attempt came to that.
const LIES: &[(&str, &str)] = &[
    ("liar", "lacks 1 of the objects asked for"),
    ("chatty", "it sent more output than a step may write"),
    ("quitter", "its worker was told to end"),
    ("breaking", "on  [31mfire [0m"),
];

/// A run, which is killed with this.
struct Going(Child, std::path::PathBuf);

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Going {
    fn new(place: &Place, host: &str, target: &str) -> Going {
        let (hosts, said) = (format!("{host}.hosts"), place.path(&format!("{host}.said")));
        let arch = if host == "foreign" {
            " arch=x86_64"
        } else {
            ""
        };
        let store = place.path("far").join(host);
        let line = format!("ssh://{host}{}{arch}\n", store.display());
        fs::write(place.path(&hosts), line).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/steps/rogue.py");
        let copy = place.path("rogue.py");
        // The folder that this was built in need not be open to every user.
        fs::write(&copy, fs::read_to_string(script).unwrap()).unwrap();
        let bin = place.program().parent().unwrap().display().to_string();
        let mut command: Command = place.command(&["realise", target, "--hosts", &hosts]);
        command
            .env("MSTORE_SSH", format!("python3 {}", copy.display()))
            .env("VERSION", env!("CARGO_PKG_VERSION"))
            .env("PATH", format!("{bin}:/usr/sbin:/usr/bin:/sbin:/bin"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).unwrap());
        Going(command.spawn().unwrap(), said)
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.1).unwrap()).into_owned()
    }

    fn press(&self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::INT);
    }

    /// Waits until something is said.
    fn says(&self, what: &str) {
        let until = Instant::now() + Duration::from_secs(40);
        while !self.said().contains(what) {
            let said = self.said();
            assert!(Instant::now() < until, "no `{what}`:\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits for its end, so many seconds at most.
    fn ends(&mut self, seconds: u64) -> Option<i32> {
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            let said = self.said();
            assert!(Instant::now() < until, "it does not end:\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn can_run() -> bool {
    let python = Command::new("python3").arg("--version").output();
    python.is_ok_and(|output| output.status.success())
}

/// A target for each, so that none waits for another.
fn targets(place: &Place, names: &[(&str, &str)]) {
    let scripts: Vec<String> = names
        .iter()
        .map(|(n, _)| format!("echo {n} > /f"))
        .collect();
    let steps: Vec<[(&str, &str); 1]> = scripts.iter().map(|s| [("one", s.as_str())]).collect();
    let all = names.iter().zip(&steps);
    let all: Vec<_> = all
        .map(|((n, _), steps)| (*n, "base", &steps[..]))
        .collect();
    place.targets(&all);
}

fn who_is_no_worker_is_left_out(place: &Place) -> Option<&'static str> {
    if !can_run() {
        return NO_PYTHON;
    }
    targets(place, LEFT_OUT);
    // Four at a time: they wait for nothing but each other's processors.
    for some in LEFT_OUT.chunks(4) {
        let runs: Vec<_> = some
            .iter()
            .map(|(host, why)| (Going::new(place, host, &format!("{host}-s")), why))
            .collect();
        for (mut run, why) in runs {
            run.says(why);
            run.press();
            assert_eq!(run.ends(8), Some(130), "{}", run.said());
            let said = run.said();
            assert!(
                !said.contains('\u{1b}') && !said.contains('\u{202e}'),
                "{said:?}"
            );
            assert!(said.lines().all(|line| line.len() < 1000), "{said}");
            assert!(!said.contains("panicked"), "{said}");
        }
    }
    None
}

fn a_worker_that_lies_ends_the_run_with_its_reason(place: &Place) -> Option<&'static str> {
    if !can_run() {
        return NO_PYTHON;
    }
    targets(place, LIES);
    fs::write(place.path("mstore.conf"), "build/output-limit: 1M\n").unwrap();
    let runs: Vec<_> = LIES
        .iter()
        .map(|(host, why)| (Going::new(place, host, &format!("{host}-s")), host, why))
        .collect();
    for (mut run, host, why) in runs {
        assert_eq!(run.ends(60), Some(3), "{host}: {}", run.said());
        let said = run.said();
        assert!(said.contains(why), "{host}: {said}");
        assert!(!said.contains('\u{1b}'), "{said:?}");
        assert_eq!(place.outcome(host), "interrupted");
        // Nothing is counted built that is not.
        place
            .run(&["store", "cat", &format!("{host}-s:f")])
            .fails(2);
    }
    None
}

fn a_host_that_says_nothing_does_not_hold_up_ctrl_c(place: &Place) -> Option<&'static str> {
    if !can_run() {
        return NO_PYTHON;
    }
    targets(place, &[("silent", "")]);
    let mut run = Going::new(place, "silent", "silent-s");
    run.says("to build");
    std::thread::sleep(Duration::from_millis(500));
    run.press();
    assert_eq!(run.ends(5), Some(130), "{}", run.said());
    None
}

fn a_hosts_file_of_any_bytes_is_refused_with_its_line(place: &Place) -> Option<&'static str> {
    let long = format!("a {}\n", "x".repeat(100_000));
    let many = "a jobs=1 sf=2\n".repeat(70_000);
    let files: &[(&[u8], &str)] = &[
        (b"", "it names no host"),
        (b"# nobody\n\n", "it names no host"),
        (b"\x7fELF\x02\x01\xff\xfe", "it is not text (UTF-8)"),
        (b"ok\na\0b\n", "hosts:2: `a\\u{0}b`"),
        (b"ok\na\x1b[2Jb\n", "hosts:2: `a\\u{1b}[2Jb`"),
        (b"ok jobs=\x07\n", "hosts:1: `jobs=\\u{7}`"),
        (b"ok\n ok\n", "hosts:2: `ok`: it stands in line 1 already"),
        (b"ok memoy=3\n", "hosts:1: `memoy=3`"),
        (long.as_bytes(), "hosts:1: `xxxxxxxx"),
        (many.as_bytes(), "hosts:2: `a`: it stands in line 1 already"),
    ];
    for (bytes, why) in files {
        fs::write(place.path("hosts"), bytes).unwrap();
        let ran = place.run(&["realise", "--hosts", "hosts", "none-s", "--rebuild"]);
        let said = ran.fails(2);
        assert!(
            said.contains(why),
            "`{why}`: {}",
            &said[..said.len().min(500)]
        );
        assert!(
            said.len() < 1500 && !said.contains('\u{1b}'),
            "{}",
            said.len()
        );
    }
    let larger = vec![b'#'; (1 << 20) + 1];
    fs::write(place.path("hosts"), larger).unwrap();
    let said = place.run(&["realise", "--hosts", "hosts", "none-s", "--rebuild"]);
    assert!(said.fails(2).contains("it is larger than 1 MiB"));
    let said = place.run(&["realise", "--hosts", "absent", "none-s", "--rebuild"]);
    assert!(said.fails(2).contains("cannot read the hosts file absent"));
    None
}
