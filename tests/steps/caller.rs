//! The caller does not reach a step: priorities, limits, personality, signals.

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    ("the_caller_does_not_show", the_caller_does_not_show),
    ("hard_limits_do_not_show", hard_limits_do_not_show),
    (
        "the_machine_stays_bounded_and_hidden",
        the_machine_stays_bounded_and_hidden,
    ),
];

const LOOK: &str = "cat /proc/self/limits /proc/self/personality /proc/self/oom_score_adj
    cat /proc/self/timerslack_ns /proc/self/coredump_filter 2>/dev/null || :
    grep -e ^Sig -e ^Cap -e THP /proc/self/status | grep -v -e SigQ -e SigCgt || :
    nice; chrt -p 0 | perl -pe 's/pid \\d+//'; uname -a; umask; ulimit -a; env";

/// What a step sees when mstore is started in some way.
#[track_caller]
fn seen(place: &Place, before: &[&str], label: &str) -> String {
    let script = format!("{{ {LOOK}; }} > /seen 2>&1\n# {label}");
    place.targets(&[("t", "base", &[("one", script.as_str())])]);
    let name = "t-s";
    let ran = place.run_under(before, &["realise", name]);
    assert_eq!(ran.status, Some(0), "{before:?}: {}", ran.stderr);
    place.cat("t", "seen")
}

fn the_caller_does_not_show(place: &Place) -> Option<&'static str> {
    let sh = |script: &'static str| vec!["sh", "-c", script, "sh"];
    let mut ways = vec![
        vec!["setarch", "-R"],
        vec!["setarch", "--uname-2.6"],
        vec!["chrt", "-b", "0"],
        vec!["choom", "-n", "300", "--"],
        sh("trap '' HUP INT QUIT PIPE TERM CHLD TSTP; exec \"$@\""),
        sh("echo 0x7f > /proc/self/coredump_filter; exec \"$@\""),
        sh("ulimit -S -n 200; ulimit -S -s 4096; umask 077; exec \"$@\""),
        sh("TZ=Asia/Tokyo LANG=de_DE.UTF-8 MAKEFLAGS=-j9 LD_LIBRARY_PATH=/x exec \"$@\""),
    ];
    if cfg!(target_arch = "x86_64") {
        ways.push(vec!["setarch", "i686"]);
    }
    if place.is_root() {
        // An ordinary user cannot take back a niceness.
        ways.push(vec!["nice", "-n", "7"]);
        ways.push(vec!["chrt", "-i", "0"]);
    }
    let plain = seen(place, &[], "plain");
    for (number, before) in ways.iter().enumerate() {
        assert_eq!(
            seen(place, before, &number.to_string()),
            plain,
            "{before:?}"
        );
    }
    None
}

fn hard_limits_do_not_show(place: &Place) -> Option<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .unwrap();
    let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
    const SYS_RESOURCE: u32 = 24;
    if !place.is_root() || effective >> SYS_RESOURCE & 1 == 0 {
        return Some("nobody here may raise a hard limit");
    }
    let plain = seen(place, &[], "plain");
    let lower =
        "ulimit -n 500; ulimit -c 0; ulimit -s 4096; ulimit -u 3000; ulimit -l 64; exec \"$@\"";
    assert_eq!(seen(place, &["sh", "-c", lower, "sh"], "lower"), plain);
    None
}

fn the_machine_stays_bounded_and_hidden(place: &Place) -> Option<&'static str> {
    let script = "cat /proc/self/mountinfo > /mounts
        for d in /tmp /dev/shm /dev; do stat -f -c '%S %b' $d; done > /sizes; head -n 1 /proc/meminfo >> /sizes";
    let input = place.path("input");
    std::fs::create_dir(&input).unwrap();
    std::fs::write(input.join("file"), "x").unwrap();
    place.targets_with(
        &[("t", "base", &[("one", script)])],
        "[section snapshot]\n: given\n",
    );
    place
        .run(&[
            "snapshot",
            "import",
            input.to_str().unwrap(),
            "--name",
            "given",
        ])
        .ok();
    place.tree("t");
    let mounts = place.cat("t", "mounts");
    assert!(mounts.contains(" /mstore/snapshot ro"), "{mounts}");
    let store = place.store();
    let shown = store.strip_prefix("/var/tmp").unwrap().to_str().unwrap();
    assert!(!mounts.contains(shown), "{mounts}");
    let sizes = place.cat("t", "sizes");
    let numbers = |line: &str| -> Vec<u64> {
        let words = line.split_ascii_whitespace();
        words.filter_map(|word| word.parse().ok()).collect()
    };
    let mut sum = 0;
    let mut memory = 0;
    for line in sizes.lines() {
        match numbers(line)[..] {
            [size, blocks] => sum += size * blocks,
            [kib] => memory = kib << 10,
            _ => panic!("{sizes}"),
        }
    }
    assert!(0 < sum && sum <= memory, "{sizes}");
    None
}
