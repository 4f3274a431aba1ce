//! Steps on other machines: workers behind a real sshd on the loopback interface, each with a store of its own.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Test;
use crate::place::{Place, Ran};
use crate::sshd::Sshd;

pub const ALL: &[Test] = &[
    ("hosts_build_the_same_trees", hosts_build_the_same_trees),
    (
        "a_failure_elsewhere_is_told_as_one_here",
        a_failure_elsewhere_is_told_as_one_here,
    ),
    (
        "a_killed_worker_costs_no_step",
        a_killed_worker_costs_no_step,
    ),
    (
        "an_interrupted_run_leaves_nothing_elsewhere",
        an_interrupted_run_leaves_nothing_elsewhere,
    ),
    ("a_host_that_is_mended_joins", a_host_that_is_mended_joins),
    (
        "steps_go_where_their_inputs_are",
        steps_go_where_their_inputs_are,
    ),
    ("hosts_build_in_memory", hosts_build_in_memory),
    (
        "this_machine_builds_beside_others",
        this_machine_builds_beside_others,
    ),
    (
        "a_wrong_hosts_file_is_told_with_its_line",
        a_wrong_hosts_file_is_told_with_its_line,
    ),
];

const NO_SSHD: Option<&str> = Some("there is no sshd");

/// Writes a hosts file with so many workers, each with a store of its own.
fn hosts(place: &Place, count: usize, before: &str) {
    let lines = (1..=count).map(|n| {
        format!(
            "ssh://builder-{n}{} jobs=2\n",
            place.path(&format!("far{n}")).display()
        )
    });
    let text = format!("{before}{}", lines.collect::<String>());
    fs::write(place.path("hosts"), text).unwrap();
}

fn command(place: &Place, sshd: &Sshd, arguments: &[&str]) -> Command {
    let mut command = place.command(&[&["realise", "--hosts", "hosts"], arguments].concat());
    command
        .env("MSTORE_SSH", format!("ssh -F {}", sshd.config.display()))
        .env("SHELL", "/bin/sh");
    command
}

/// A run that goes on; it is killed with this, and when it takes more than two minutes: one without hosts waits for
/// them.
struct Going {
    child: Child,
    over: Arc<AtomicBool>,
}

impl Drop for Going {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Going {
    fn new(command: &mut Command) -> Going {
        let child = command.spawn().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let (pid, flag) = (Pid::from_child(&child), Arc::clone(&over));
        std::thread::spawn(move || {
            let end = Instant::now() + Duration::from_secs(120);
            while !flag.load(Ordering::Relaxed) {
                if Instant::now() > end {
                    let _ = kill_process(pid, Signal::KILL);
                    return;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Going { child, over }
    }

    /// Waits for its end.
    fn ended(mut self) -> Ran {
        fn text(pipe: Option<impl Read>) -> String {
            let mut bytes = Vec::new();
            pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
            String::from_utf8_lossy(&bytes).into_owned()
        }
        let errors = self.child.stderr.take();
        let errors = std::thread::spawn(move || text(errors));
        let stdout = text(self.child.stdout.take());
        let stderr = errors.join().unwrap();
        let status = self.child.wait().unwrap();
        Ran {
            stdout,
            stderr,
            status: status.code(),
        }
    }
}

fn run(command: &mut Command) -> Ran {
    started(command).ended()
}

fn started(command: &mut Command) -> Going {
    Going::new(command.stdout(Stdio::piped()).stderr(Stdio::piped()))
}

/// The processes whose words of the command line have this among them.
fn processes(word: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap() {
        let entry = entry.unwrap();
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if line.split(|b| *b == 0).any(|w| w == word.as_bytes()) {
            found.extend(Pid::from_raw(pid));
        }
    }
    found
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "not within a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn hosts_build_the_same_trees(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return NO_SSHD;
    };
    let steps: &[(&str, &str)] = &[
        ("one", "echo said by one; echo one > /one"),
        ("two", "mkdir /d; echo two > /d/two; chmod 4711 /d/two"),
    ];
    place.targets(&[
        ("a", "base", steps),
        ("b", "a", &[("three", "echo $0 > /three")]),
        ("c", "base", &[("four", "echo four > /four; exit 0")]),
    ]);
    hosts(place, 2, "");
    let ran = run(&mut command(place, &sshd, &["*", "--json"]));
    let told = ran.stderr.clone();
    let there = ran.ok();
    assert!(told.contains("received"), "{told}");
    let log = place.run(&["log", "a-s:one"]).ok();
    assert!(log.contains("said by one"), "{log}");
    let host = place.attempt("a")["host"].to_string();
    assert!(host.contains("builder-"), "{host}");
    // Nothing was built here.
    assert!(!place.store().join("layers").exists() || place.folders("layers").is_empty());
    let trees = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines
            .map(|line: serde_json::Value| line["tree"].to_string())
            .collect()
    };
    let mut here = place.command(&["realise", "*", "--json"]);
    here.env("MSTORE_STORE", place.path("other"));
    let base = place.program().with_file_name("base");
    let mut import = place.command(&["seed", "import", base.to_str().unwrap(), "--name", "base"]);
    let _ = run(import.env("MSTORE_STORE", place.path("other"))).ok();
    assert_eq!(trees(&there), trees(&run(&mut here).ok()));
    // What is known is not built again, and no host is asked.
    let again = run(&mut command(place, &sshd, &["*"])).ok();
    assert!(!again.contains("building"), "{again}");
    None
}

/// A chain of steps stays where its first one was built, though another host comes first when both are free.
fn steps_go_where_their_inputs_are(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return NO_SSHD;
    };
    // What cannot be compressed.
    let leave = |n: usize| {
        format!(
            "perl -e 'my $x = {n}; for (1..500000) {{ $x = ($x * 1103515245 + 12345) % 2147483648; \
             print pack(\"n\", ($x >> 8) & 65535) }}' > /left-{n}"
        )
    };
    let one = format!("sleep 4\n{}", leave(1));
    let (two, three) = (leave(2), leave(3));
    let short = ["one", "two", "three", "four", "five"].map(|name| (name, "true"));
    place.targets(&[
        // With more steps it starts first, and is over when the first step of the other one is.
        ("a", "base", &short),
        (
            "b",
            "base",
            &[("one", &one), ("two", &two), ("three", &three)],
        ),
    ]);
    hosts(place, 2, "");
    let _ = run(&mut command(place, &sshd, &["*"])).ok();
    let host = |step: &str| -> String {
        let told = place.run(&["log", "--attempts", "--json", &format!("b-s:{step}")]);
        let all: serde_json::Value = serde_json::from_str(&told.ok()).unwrap();
        all[0]["host"].to_string()
    };
    // On whichever host was ready first; as a rule not on the one that comes first when both are free.
    println!("the chain was begun on {}", host("one"));
    assert_eq!([host("two"), host("three")], [host("one"), host("one")]);
    // It is known in later runs.
    let database = rusqlite::Connection::open(place.store().join("db/mstore.sqlite")).unwrap();
    let held: i64 = database
        .query_row(
            "SELECT count(*) FROM held WHERE bytes > 500000 AND instr(?1, host)",
            [host("one")],
            |row| row.get(0),
        )
        .unwrap();
    assert!(held >= 3, "{held}");
    None
}

fn hosts_build_in_memory(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return NO_SSHD;
    };
    let size = "set -- $(stat -f -c '%b %S' /); echo size $(($1 * $2))";
    place.targets(&[("a", "base", &[("one", size)])]);
    let store = place.path("far1");
    let line = format!("ssh://builder-1{} memory=16M timeout=30\n", store.display());
    fs::write(place.path("hosts"), &line).unwrap();
    let log = || place.run(&["log", "a-s:one"]).ok();
    let _ = run(&mut command(place, &sshd, &["a-s"])).ok();
    assert!(!log().contains("size 20971520"), "{}", log());
    let _ = run(&mut command(place, &sshd, &["a-s", "--rebuild"])).ok();
    assert!(log().contains("size 20971520"), "{}", log());
    // What the file does not say, the option does; nothing is built here.
    fs::write(place.path("hosts"), line.replace(" memory=16M", "")).unwrap();
    let _ = run(&mut command(
        place,
        &sshd,
        &["a-s", "--rebuild", "-m", "8M"],
    ))
    .ok();
    assert!(log().contains("size 12582912"), "{}", log());
    None
}

/// Also for an ordinary user, whose mstore is root of a user namespace then; ssh must not be.
fn this_machine_builds_beside_others(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return NO_SSHD;
    };
    let names = ["a", "b", "c", "d"];
    // Four steps, and one result.
    let scripts: Vec<String> = (0..names.len())
        .map(|n| format!("sleep 5.{n}; mkdir /d; echo two > /d/two; chown 3:4 /d/two"))
        .collect();
    let steps: Vec<[(&str, &str); 2]> = scripts
        .iter()
        .map(|script| [("one", script.as_str()), ("two", "cat /d/two > /e")])
        .collect();
    let targets = names.iter().zip(&steps);
    let targets: Vec<_> = targets.map(|(n, steps)| (*n, "base", &steps[..])).collect();
    place.targets(&targets);
    hosts(place, 1, "localhost jobs=1\n");
    let ran = run(&mut command(place, &sshd, &["*", "--json", "-j", "2"]));
    let said = ran.stderr.clone();
    let there = ran.ok();
    let hosts: std::collections::BTreeSet<String> = names
        .iter()
        .map(|name| place.attempt(name)["host"].to_string())
        .collect();
    assert!(
        hosts.iter().any(|host| host.contains("builder-")),
        "{hosts:?}\n{said}"
    );
    assert!(
        hosts.iter().any(|host| !host.contains("builder-")),
        "{hosts:?}\n{said}"
    );
    // Each step was built once, and all came out the same.
    for line in there.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        // The second steps are the same one.
        assert!(line["built"] == 5 || line["built"] == 6, "{line}");
    }
    assert_eq!(place.tree("a"), place.tree("d"));
    assert_eq!(place.cat("a", "e"), "two\n");
    None
}

fn a_failure_elsewhere_is_told_as_one_here(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return NO_SSHD;
    };
    place.targets(&[("a", "base", &[("one", "echo before it fails\nexit 7")])]);
    hosts(place, 1, "");
    let told = run(&mut command(place, &sshd, &["a-s"])).fails(1);
    assert!(told.contains("a-s:one failed: exit status 7"), "{told}");
    assert!(told.contains("before it fails"), "{told}");
    assert_eq!(place.outcome("a"), "failed");
    None
}

fn a_killed_worker_costs_no_step(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return NO_SSHD;
    };
    place.targets(&[("a", "base", &[("one", "sleep 3; echo one > /one")])]);
    hosts(place, 1, "");
    let child = started(&mut command(place, &sshd, &["a-s", "--json"]));
    let store = place.path("far1").display().to_string();
    let worker = |word: &str| {
        let of = |pid: &Pid| fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
        let mut found = processes(word);
        found.retain(|pid| of(pid).is_ok_and(|name| name.trim() == "mstore"));
        found
    };
    let logs = || place.folders("logs").len();
    until("the step runs", || logs() > 0 && !worker(&store).is_empty());
    std::thread::sleep(Duration::from_millis(500));
    for pid in worker(&store) {
        let _ = kill_process(pid, Signal::KILL);
    }
    let ran = child.ended();
    let told = ran.stderr.clone();
    let line = ran.ok();
    assert!(told.contains("will run again"), "{told}");
    assert!(told.contains("is lost"), "{told}");
    let line: serde_json::Value = serde_json::from_str(line.trim()).unwrap();
    assert_eq!(line["built"], 1, "{line}");
    assert_eq!(place.cat("a", "one"), "one\n");
    until("nothing is left", || worker(&store).is_empty());
    None
}

fn an_interrupted_run_leaves_nothing_elsewhere(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return NO_SSHD;
    };
    let mark = format!("9{}.5", std::process::id());
    let script = format!("sleep {mark}");
    place.targets(&[("a", "base", &[("one", &script)])]);
    hosts(place, 1, "");
    let child = started(&mut command(place, &sshd, &["a-s"]));
    until("the step runs", || !processes(&mark).is_empty());
    let pid = Pid::from_child(&child.child);
    kill_process(pid, Signal::INT).unwrap();
    // The first one lets end what runs; the second one ends it.
    std::thread::sleep(Duration::from_secs(2));
    assert!(!processes(&mark).is_empty());
    kill_process(pid, Signal::INT).unwrap();
    let ran = child.ended();
    assert_eq!(ran.status, Some(130), "{}", ran.stderr);
    until("nothing is left", || processes(&mark).is_empty());
    assert_eq!(place.outcome("a"), "interrupted");
    None
}

fn a_host_that_is_mended_joins(place: &Place) -> Option<&'static str> {
    let Some(sshd) = Sshd::start(&place.program()) else {
        return NO_SSHD;
    };
    place.targets(&[("a", "base", &[("one", "echo one > /one")])]);
    let script = place.path("prepare");
    fs::write(&script, "#!/bin/sh\necho not mounted >&2\nexit 3\n").unwrap();
    make_executable(&script);
    hosts(place, 1, &format!("STARTUP={}\n", script.display()));
    let told = place.path("told");
    let mut command = command(place, &sshd, &["a-s"]);
    command.stdout(Stdio::null());
    command.stderr(fs::File::create(&told).unwrap());
    let going = Going::new(&mut command);
    let said = || fs::read_to_string(&told).unwrap();
    until("it is told why", || said().contains("not mounted"));
    assert!(!place.path("far1").exists(), "{}", said());
    fs::write(place.path("mended"), "#!/bin/sh\nexit 0\n").unwrap();
    make_executable(&place.path("mended"));
    fs::rename(place.path("mended"), &script).unwrap();
    assert_eq!(going.ended().status, Some(0), "{}", said());
    assert!(said().contains("is ready"), "{}", said());
    assert_eq!(place.cat("a", "one"), "one\n");
    None
}

fn make_executable(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn a_wrong_hosts_file_is_told_with_its_line(place: &Place) -> Option<&'static str> {
    fs::write(place.path("hosts"), "# ours\nbig jobs=many\n").unwrap();
    let told = place
        .run(&["realise", "--hosts", "hosts", "none-s", "--rebuild"])
        .fails(2);
    assert!(told.contains("hosts:2: `jobs=many`"), "{told}");
    None
}
