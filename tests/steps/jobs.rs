//! Jobs side by side share what is written out, and few open files are enough for many of them.

use std::fs;
use std::process::Stdio;

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    ("a_checkout_is_made_once", a_checkout_is_made_once),
    ("few_open_files_are_enough", few_open_files_are_enough),
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
    for (limit, jobs, steps) in [("256", "-j8", 12), ("1024", "-j32", 32)] {
        many(place, steps, &format!("{script}\n# {limit}"));
        let few = format!("ulimit -n {limit}; exec \"$@\"");
        let ran = place.run_under(&["sh", "-c", &few, "sh"], &["realise", jobs, "*-s"]);
        assert_eq!(ran.stdout.lines().count(), steps, "{}", ran.stderr);
        let _ = ran.ok();
    }
    None
}
