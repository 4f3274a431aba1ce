//! A step's own fault is a failed build, and nothing that it leaves stays for ever.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    ("too_deep", too_deep),
    ("files_beyond_the_bound", files_beyond_the_bound),
    ("output_beyond_the_bound", output_beyond_the_bound),
    ("time_ends_a_capture", time_ends_a_capture),
    (
        "an_interruption_ends_a_capture",
        an_interruption_ends_a_capture,
    ),
    ("deep_leftovers_go", deep_leftovers_go),
];

const DEEP: &str =
    "mkdir /deep; cd /deep; perl -e 'for (1..N) { mkdir \"d\" or die; chdir \"d\" or die }'";
/// Takes seconds to hash on any machine, and no room.
const HUGE: &str = "truncate -s 60G /huge";

/// Realises a target that must fail by its own fault, and gives what is said.
#[track_caller]
fn fails(place: &Place, target: &str) -> String {
    let name = format!("{target}-s");
    let said = place.run(&["realise", &name]).fails(1);
    assert_eq!(place.outcome(target), "failed", "{said}");
    said
}

fn too_deep(place: &Place) -> Option<&'static str> {
    let (a, b) = (DEEP.replace('N', "600"), DEEP.replace('N', "510"));
    place.targets(&[
        ("a", "base", &[("one", a.as_str())]),
        ("b", "base", &[("one", b.as_str())]),
    ]);
    let said = fails(place, "a");
    assert!(
        said.contains("left what cannot be kept") && said.contains("deeper than 512"),
        "{said}"
    );
    // Its root is there for a look.
    let look = ["shell", "a-s", "--", "/bin/sh", "-c", "ls /deep"];
    assert_eq!(place.run(&look).ok(), "d\n");
    // The deepest that there may be needs no more descriptors than anything else.
    let few = ["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"];
    let _ = place.run_under(&few, &["realise", "b-s"]);
    assert_eq!(place.outcome("b"), "ok");
    None
}

fn files_beyond_the_bound(place: &Place) -> Option<&'static str> {
    place.targets(&[
        (
            "far",
            "base",
            &[("one", "truncate -s 15T /far || truncate -s 2T /far")],
        ),
        ("near", "base", &[("one", "truncate -s 3M /near")]),
        (
            "holes",
            "base",
            &[("one", "echo x > /h; truncate -s 2G /h; echo y >> /h")],
        ),
    ]);
    let began = Instant::now();
    let said = fails(place, "far");
    assert!(
        said.contains("more than 68719476736 bytes: far has "),
        "{said}"
    );
    assert!(began.elapsed() < Duration::from_secs(30));
    // Holes within the bound are content like any other, and come back.
    place.tree("holes");
    let look = [
        "shell",
        "holes-s",
        "--",
        "/bin/sh",
        "-c",
        "stat -c %s /h; head -c 1 /h; tail -c 2 /h",
    ];
    assert_eq!(place.run(&look).ok(), "2147483650\nxy\n");
    fs::write(
        place.path("mstore.conf"),
        "[section build]\nfile-limit: 2M\n",
    )
    .unwrap();
    let said = fails(place, "near");
    assert!(
        said.contains("more than 2097152 bytes: near has 3145728"),
        "{said}"
    );
    fs::write(
        place.path("mstore.conf"),
        "[section build]\nfile-limit: 3M\n",
    )
    .unwrap();
    place.tree("near");
    None
}

fn output_beyond_the_bound(place: &Place) -> Option<&'static str> {
    fs::write(
        place.path("mstore.conf"),
        "[section build]\noutput-limit: 64K\n",
    )
    .unwrap();
    // One that would never end, and one that has ended by the time it is read.
    place.targets(&[
        (
            "a",
            "base",
            &[("one", "while :; do echo again and again; done")],
        ),
        (
            "b",
            "base",
            &[("one", "perl -e 'print \"x\\n\" x 32769' 2> /dev/null")],
        ),
        (
            "c",
            "base",
            &[("one", "perl -e 'print \"x\\n\" x 32768' 2> /dev/null")],
        ),
    ]);
    for target in ["a", "b"] {
        let said = fails(place, target);
        assert!(
            said.contains("wrote more than 65536 bytes of output"),
            "{said}"
        );
    }
    place.tree("c");
    None
}

fn time_ends_a_capture(place: &Place) -> Option<&'static str> {
    place.targets_with(
        &[("t", "base", &[("one", HUGE)])],
        "[section policy]\ntimeout: 1\n",
    );
    let began = Instant::now();
    let said = fails(place, "t");
    assert!(said.contains("timed out"), "{said}");
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    None
}

/// Waits for a file that a running build makes.
fn wait_for_file(place: &Place, name: &str) {
    let began = Instant::now();
    let exists = |session: &Path| {
        let list = fs::read_dir(session).into_iter().flatten().flatten();
        list.into_iter()
            .any(|scratch| scratch.path().join("upper").join(name).exists())
    };
    while !place.folders("tmp").iter().any(|session| exists(session)) {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {name}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn an_interruption_ends_a_capture(place: &Place) -> Option<&'static str> {
    place.targets(&[("t", "base", &[("one", HUGE)])]);
    let child = place
        .command(&["realise", "t-s"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_file(place, "huge");
    std::thread::sleep(Duration::from_millis(500));
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let began = Instant::now();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(place.folders("tmp"), Vec::<std::path::PathBuf>::new());
    None
}

fn deep_leftovers_go(place: &Place) -> Option<&'static str> {
    // Deeper than a path has bytes; removing takes a while, so once.
    let deep = DEEP.replace('N', "4500");
    let failing = format!("{}\nexit 1", DEEP.replace('N', "600"));
    place.targets(&[
        ("a", "base", &[("one", deep.as_str())]),
        ("b", "base", &[("one", failing.as_str())]),
    ]);
    let _ = place.run(&["realise", "a-s"]);
    // What a failed step left may be set-id: nobody else gets in.
    let kept = fs::metadata(place.store().join("failed")).unwrap();
    assert_eq!(kept.permissions().mode() & 0o7777, 0o700);
    let _ = fails(place, "b");
    assert_eq!(place.folders("failed").len(), 2);
    fs::write(place.path("mstore.conf"), "[section gc]\nfailed-days: 0\n").unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    place.run(&["gc"]).ok();
    for folder in ["failed", "tmp"] {
        assert_eq!(
            place.folders(folder),
            Vec::<std::path::PathBuf>::new(),
            "{folder}"
        );
    }
    None
}
