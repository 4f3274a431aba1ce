//! A step that uses more of its machine than it may fails for that reason, and the others go on. Limits are in no key.

use std::time::{Duration, Instant};

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    ("too_much_memory", too_much_memory),
    ("too_many_processes", too_many_processes),
    ("too_much_on_the_disk", too_much_on_the_disk),
    ("too_much_output_of_a_step", too_much_output_of_a_step),
    ("limits_are_in_no_key", limits_are_in_no_key),
];

/// How long a step waits that is to be ended.
const LONG: Duration = Duration::from_secs(60);

/// Realises `bad`, which must fail for this reason, and `good`, which must be built all the same.
#[track_caller]
fn ended(place: &Place, limits: &str, bad: &str, good: &str, reason: &str) {
    place.targets_with(
        &[
            ("bad", "base", &[("one", bad)]),
            ("good", "base", &[("one", good)]),
        ],
        &format!("[section policy/limit]\n{limits}\n"),
    );
    let began = Instant::now();
    let said = place.run(&["realise", "-k", "bad-s", "good-s"]).fails(1);
    assert!(said.contains(reason), "{said}");
    assert!(began.elapsed() < LONG, "it was not ended: {said}");
    assert_eq!(place.outcome("bad"), "failed", "{said}");
    assert_eq!(place.attempt("bad")["detail"], reason, "{said}");
    assert_eq!(place.outcome("good"), "ok", "{said}");
}

fn too_much_memory(place: &Place) -> Option<&'static str> {
    // One and a half of what it may have, by one process, and by files in memory.
    let reason = "used more than 67108864 bytes of memory";
    let grow =
        |mib: u32| format!("perl -e '$x = \"x\" x ({mib} << 20); sleep shift' N; echo x > /done");
    let bad = grow(96).replace('N', "100");
    let good = grow(20).replace('N', "1");
    ended(place, "memory: 64M", &bad, &good, reason);
    let bad = "head -c 100663296 /dev/zero > /tmp/large; sleep 100";
    let good = "head -c 10000000 /dev/zero > /tmp/large; sleep 1; echo y > /done";
    ended(place, "memory: 64M", bad, good, reason);
    // Files that have no name, in no mounted file system.
    if cfg!(target_arch = "x86_64") {
        let unnamed = |mib: u32| {
            format!(
                "perl -e 'my $n = \"x\"; my $f = syscall(319, $n, 0); open F, \">&=$f\"; \
                 print F \"x\" x (1 << 20) for 1..{mib}; sleep shift' N; echo z > /done"
            )
        };
        let bad = unnamed(96).replace('N', "100");
        let good = unnamed(20).replace('N', "1");
        ended(place, "memory: 64M", &bad, &good, reason);
    }
    // Pages that several processes share count once.
    let shared =
        "perl -e '$x = \"x\" x (30 << 20); for (1..4) { fork or last } sleep 2'; echo z > /done";
    place.targets_with(
        &[("shared", "base", &[("one", shared)])],
        "[section policy/limit]\nmemory: 96M\n",
    );
    let _ = place.tree("shared");
    None
}

fn too_many_processes(place: &Place) -> Option<&'static str> {
    // As many as it gets, and they wait; a bomb that no machine has to survive without the limit.
    let bomb = "perl -e 'for (1..400) { my $p = fork; last unless defined $p; \
                if (!$p) { sleep 100; exit } } sleep 100'";
    let few =
        "perl -e 'for (1..10) { fork or do { sleep 1; exit } } 1 while wait > 0'; echo x > /done";
    ended(
        place,
        "processes: 60",
        bomb,
        few,
        "had more than 60 processes",
    );
    None
}

fn too_much_on_the_disk(place: &Place) -> Option<&'static str> {
    let bad = "dd if=/dev/zero of=/large bs=1M count=100 2> /dev/null; sleep 100";
    let good =
        "dd if=/dev/zero of=/large bs=1M count=5 2> /dev/null; truncate -s 1G /hole; sleep 1";
    let reason = "wrote more than 33554432 bytes to the disk";
    ended(place, "disk: 32M", bad, good, reason);
    // One that is done before anybody looked has written it all the same.
    let quick = "dd if=/dev/zero of=/large bs=1M count=40 2> /dev/null";
    ended(place, "disk: 32M", quick, "echo x > /done", reason);
    // What has no name takes its room as well.
    let removed = "exec 3> /f; rm /f; dd if=/dev/zero bs=1M count=100 2> /dev/null >&3; sleep 100";
    ended(place, "disk: 32M", removed, "echo y > /done", reason);
    // What has many has it once, a hole takes none, and in folders too deep for a path it counts.
    let good = "perl -e 'for (1..30) { mkdir \"x\" x 200; chdir \"x\" x 200 } \
                open F, \">f\"; print F \"x\" x (9 << 20); close F; link \"f\", \"f$_\" for 1..20'; \
                truncate -s 1G /hole; sleep 2; rm -r /xx*";
    let bad = good
        .replace("9 <<", "40 <<")
        .replace("sleep 2", "sleep 100");
    ended(place, "disk: 32M", &bad, good, reason);
    None
}

fn too_much_output_of_a_step(place: &Place) -> Option<&'static str> {
    let bad = "perl -e 'print \"yes\\n\" x 500000'; sleep 100";
    let reason = "wrote more than 1048576 bytes of output";
    ended(
        place,
        "output: 1M",
        bad,
        "perl -e 'print \"yes\\n\" x 1000'",
        reason,
    );
    None
}

fn limits_are_in_no_key(place: &Place) -> Option<&'static str> {
    let targets = &[("t", "base", &[("one", "echo x > /x")][..])];
    place.targets(targets);
    let tree = place.tree("t");
    place.targets_with(
        targets,
        "[section policy/limit]\nmemory: 1G\nprocesses: 500\ndisk: 1T\noutput: 10M\n",
    );
    let told = place.run(&["realise", "t-s", "--json"]).ok();
    assert!(told.contains("\"built\":0"), "{told}");
    assert!(told.contains(&tree), "{told}");
    let shown = place.run(&["show", "t-s", "--json"]).ok();
    assert!(shown.contains("\"memory\": 1073741824"), "{shown}");
    for (limit, words) in [
        ("memory: 0", "is not a size above 0"),
        ("memory: lots", "is not a size above 0"),
        ("disk: 99999999999G", "is not a size above 0"),
        ("memory: 64X", "is not a size above 0"),
        ("memory: -1", "is not a size above 0"),
        ("processes: 5M", "is not a number above 0"),
        // Else it would be none.
        ("memry: 64M", "`memry` is not a limit"),
    ] {
        place.targets_with(targets, &format!("[section policy/limit]\n{limit}\n"));
        let said = place.run(&["realise", "t-s"]).fails(2);
        assert!(said.contains(words), "{limit}: {said}");
    }
    None
}
