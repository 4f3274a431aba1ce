//! Jobs side by side share what is written out, and few open files are enough for many of them.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    ("a_checkout_is_made_once", a_checkout_is_made_once),
    ("few_open_files_are_enough", few_open_files_are_enough),
    (
        "another_process_is_waited_for",
        another_process_is_waited_for,
    ),
    (
        "folders_that_processes_work_in_stay",
        folders_that_processes_work_in_stay,
    ),
];

fn many(place: &Place, n: usize, script: &str) {
    let names: Vec<String> = (0..n).map(|n| format!("x{n}")).collect();
    let scripts: Vec<String> = names
        .iter()
        .map(|name| format!("{script}\necho {name} > /t"))
        .collect();
    let steps: Vec<[(&str, &str); 1]> = scripts.iter().map(|s| [("one", s.as_str())]).collect();
    let targets: Vec<_> = names
        .iter()
        .zip(&steps)
        .map(|(name, steps)| (name.as_str(), "base", &steps[..]))
        .collect();
    place.targets(&targets);
}

fn a_checkout_is_made_once(place: &Place) -> Option<&'static str> {
    many(place, 8, "");
    let mut child = place
        .command(&["realise", "-j8", "*-s"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut most = 0;
    let status = loop {
        let mut now = 0;
        for session in place.folders("tmp") {
            let list = fs::read_dir(session).into_iter().flatten().flatten();
            now += list
                .filter(|e| e.file_name().to_string_lossy().starts_with("checkout-"))
                .count();
        }
        most = most.max(now);
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success());
    assert!(most <= 1, "{most} at a time");
    None
}

fn few_open_files_are_enough(place: &Place) -> Option<&'static str> {
    // Each leaves folders enough to keep many open while it is captured.
    let script = "for n in $(seq 60); do mkdir -p /f/$n/a/b/c; echo $n > /f/$n/a/b/c/file; done";
    // Files with several names in more folders than may be open, as an input.
    let below = "mkdir /l; perl -e 'for (1..400) { mkdir \"/l/$_\"; if ($_ == 1) { open F, \">/l/1/f\" } \
        else { link \"/l/1/f\", \"/l/$_/f\" or die } }'";
    place.targets(&[
        ("low", "base", &[("one", below)]),
        (
            "high",
            "low",
            &[("two", "echo more >> /l/7/f; stat -c %h /l/400/f > /seen")],
        ),
    ]);
    place.tree("low");
    place.forget_checkouts();
    let few = ["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"];
    let _ = place.run_under(&few, &["realise", "high-s"]).ok();
    assert_eq!(place.cat("high", "seen"), "400\n");
    assert_eq!(place.cat("high", "l/300/f"), "more\n");
    for (limit, jobs, steps) in [("256", "-j8", 12), ("1024", "-j32", 32)] {
        many(place, steps, &format!("{script}\n# {limit}"));
        let few = format!("ulimit -n {limit}; exec \"$@\"");
        let ran = place.run_under(&["sh", "-c", &few, "sh"], &["realise", jobs, "*-s"]);
        assert_eq!(ran.stdout.lines().count(), steps, "{}", ran.stderr);
        let _ = ran.ok();
    }
    None
}

/// Starts a run whose step has begun when this returns.
fn begun(place: &Place) -> Child {
    let child = place
        .command(&["realise", "t-s"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let has_begun = || {
        let sessions = place.folders("tmp").into_iter();
        let mut scratches = sessions.flat_map(|s| fs::read_dir(s).into_iter().flatten().flatten());
        scratches.any(|scratch| scratch.path().join("upper/begun").exists())
    };
    while !has_begun() {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

fn another_process_is_waited_for(place: &Place) -> Option<&'static str> {
    let script = |n: u32| {
        format!("touch /begun; cat /proc/sys/kernel/random/uuid > /seen; sleep 1.5\n# {n}")
    };
    let target = |n: u32| place.targets(&[("t", "base", &[("one", script(n).as_str())])]);
    let attempts = || {
        let told = place.run(&["log", "--attempts", "--json", "t-s"]).ok();
        let all: serde_json::Value = serde_json::from_str(&told).unwrap();
        all.as_array().unwrap().len()
    };
    target(0);
    let first = begun(place);
    let pid = first.id();
    let second = place.run(&["realise", "t-s"]);
    let waits = format!("waiting for b/a/s/t:one: process {pid} builds it");
    assert!(second.stderr.contains(&waits), "{}", second.stderr);
    let first = first.wait_with_output().unwrap();
    assert!(first.status.success());
    assert_eq!(second.ok(), String::from_utf8_lossy(&first.stdout));
    let before = attempts();
    // Who is killed leaves the work to the one that waits.
    target(1);
    let mut first = begun(place);
    let second = place
        .command(&["realise", "t-s"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    first.kill().unwrap();
    first.wait().unwrap();
    let second = second.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(second.status.success(), "{said}");
    assert!(said.contains("waiting for b/a/s/t:one"), "{said}");
    assert!(said.contains("built"), "{said}");
    assert_eq!(attempts(), before + 1);
    // What is to be built anew is, though somebody has just done so.
    target(2);
    let first = begun(place);
    let second = place.run(&["realise", "t-s", "--rebuild"]);
    assert!(second.stderr.contains("waiting"), "{}", second.stderr);
    assert_eq!(attempts(), before + 3);
    let first = first.wait_with_output().unwrap();
    assert_ne!(second.ok(), String::from_utf8_lossy(&first.stdout));
    assert_eq!(place.folders("building"), Vec::<std::path::PathBuf>::new());
    None
}

fn folders_that_processes_work_in_stay(place: &Place) -> Option<&'static str> {
    place.targets(&[("t", "base", &[("one", "echo 1 > /one")])]);
    place.tree("t");
    fs::write(place.path("mstore.conf"), "[section gc]\ngrace: 0\n").unwrap();
    let folders = place.folders("checkouts");
    let folder = folders.iter().find(|f| f.join("data").is_dir()).unwrap();
    let mut stands = std::process::Command::new("sleep")
        .arg("60")
        .current_dir(folder.join("data"))
        .spawn()
        .unwrap();
    let ran = place.run(&["gc", "--max-size", "1"]);
    let told = format!("stays: in use by process {}", stands.id());
    stands.kill().unwrap();
    stands.wait().unwrap();
    assert!(ran.stderr.contains(&told), "{}{}", ran.stdout, ran.stderr);
    let _ = ran.ok();
    assert!(folder.join("data/file").exists());
    let _ = place.run(&["gc", "--max-size", "1"]).ok();
    assert!(!folder.exists());
    None
}
