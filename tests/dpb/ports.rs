//! Ports: walked while they are built, with the tasks, packages and locks of the pages.

use std::fs;

use crate::Test;
use crate::place::Place;
use crate::run::{Going, command, dpb, engine, eventually, host, log};

pub const ALL: &[Test] = &[
    (
        "ports_have_their_tasks_packages_and_locks",
        ports_have_their_tasks_packages_and_locks,
    ),
    (
        "a_port_is_read_again_when_its_lock_is_removed",
        a_port_is_read_again_when_its_lock_is_removed,
    ),
    (
        "everything_is_the_ports_where_there_are_no_specifications",
        everything_is_the_ports_where_there_are_no_specifications,
    ),
];

/// Writes a port with these elements, whose step `fake` is this script.
fn port(place: &Place, path: &str, elements: &str, fake: &str) {
    let folder = place.path("tree").join(path);
    fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "version: 1.5\n{elements}[section steps/port]\nprepare:\nconfigure:\nbuild:\nfake: [\n{fake}\n]\n"
    );
    fs::write(folder.join("port.spec"), text).unwrap();
}

fn tree(place: &Place) {
    fs::create_dir_all(place.path("tree")).unwrap();
    fs::write(place.path("tree/ports.conf"), "ports/base: base\n").unwrap();
    let text = fs::read_to_string(place.path("metro.conf")).unwrap();
    fs::write(
        place.path("metro.conf"),
        format!("{text}[section ports]\ntree: tree\n"),
    )
    .unwrap();
    let install =
        |name: &str| format!("mkdir -p /port/fake/usr; echo {name} > /port/fake/usr/{name}");
    let low = "flavors: static\nsubpackages: doc\nplist/doc: [\n/usr/doc\n]\n";
    let fake = format!("{}; echo text > /port/fake/usr/doc", install("low"));
    port(place, "devel/low", low, &fake);
    port(
        place,
        "misc/top",
        "depends/lib: devel/low\n",
        &format!("cat /usr/low; {}", install("top")),
    );
    port(
        place,
        "misc/broken",
        "ignore: does not build here\n",
        "true",
    );
    port(
        place,
        "misc/above",
        "depends/run: misc/broken\n",
        &install("above"),
    );
}

fn everything_is_the_ports_where_there_are_no_specifications(place: &Place) {
    tree(place);
    fs::remove_dir_all(place.path("tree/misc/top")).unwrap();
    fs::remove_dir_all(place.path("tree/devel")).unwrap();
    fs::remove_file(place.path("metro.conf")).unwrap();
    // Without specifications the lock file is that of the store.
    fs::copy(place.path("metro.lock"), place.store().join("metro.lock")).unwrap();
    dpb(place, &["--ports-tree", "tree", "-a"]).ok();
    let told = [
        "!: misc/broken does not build here",
        "!: misc/above because of misc/broken",
    ];
    let mut lines = engine(place);
    lines.sort_unstable();
    assert_eq!(lines, [told[1], told[0]], "no stage of the standard specs");
}

fn ports_have_their_tasks_packages_and_locks(place: &Place) {
    tree(place);
    let wanted = ["misc/top", "devel/low,static", "misc/above"];
    let errors = dpb(place, &[&["-j2", "-R"][..], &wanted].concat()).fails(1);
    assert!(errors.contains("I=3 B=0 Q=0 T=0 !=2\n"), "{errors}");
    let lines = engine(place);
    let of = |path: &str| -> Vec<&String> {
        lines
            .iter()
            .filter(|line| line.split(' ').nth(1) == Some(path))
            .collect()
    };
    let job = format!("J: misc/top {}", host());
    assert_eq!(
        of("misc/top"),
        [
            "T: misc/top",
            "Q: misc/top",
            &job,
            "B: misc/top",
            "I: misc/top",
            "P: misc/top"
        ]
    );
    assert_eq!(of("misc/broken"), ["!: misc/broken does not build here"]);
    assert_eq!(of("misc/above"), ["!: misc/above because of misc/broken"]);
    // The flavors of a port are never built at the same time.
    let order = lines
        .iter()
        .filter(|l| l.contains(" devel/low") && (l.starts_with("J:") || l.starts_with("B:")));
    let order: String = order.map(|l| &l[..1]).collect();
    assert_eq!(order, "JBJB", "{lines:?}");
    let builds = log(place, "build.log");
    let line = builds.lines().find(|l| l.starts_with("misc/top ")).unwrap();
    let tasks: Vec<&str> = line.rsplit(' ').next().unwrap().split('/').collect();
    let tasks: Vec<&str> = tasks.iter().map(|t| t.split('=').next().unwrap()).collect();
    // What the root is made of does not count, and what both flavors have was made once.
    assert_eq!(
        (tasks[0], &tasks[tasks.len() - 2..]),
        ("depends", &["fake", "package"][..]),
        "{line}"
    );
    let counted: f64 = line.split(' ').nth(2).unwrap().parse().unwrap();
    let timed = |task: &str| -> f64 {
        let part = line
            .rsplit(' ')
            .next()
            .unwrap()
            .split('/')
            .find(|t| t.starts_with(task));
        part.unwrap().split_once('=').unwrap().1.parse().unwrap()
    };
    assert!(
        (counted - timed("fake=") - timed("package=")).abs() < 0.02,
        "{line}"
    );
    for (package, path) in [
        ("low-1.5", "devel/low"),
        ("low-doc-1.5", "devel/low"),
        ("low-1.5-static", "devel/low,static"),
        ("top-1.5", "misc/top"),
    ] {
        let linked =
            fs::read_link(place.path("L/packages").join(format!("{package}.log"))).unwrap();
        assert_eq!(
            linked,
            std::path::Path::new("../paths").join(format!("{path}.log"))
        );
    }
    assert!(
        log(place, "paths/misc/top.log").contains("\nlow\n"),
        "it saw what it needs"
    );
    let walked = log(place, "vars.log");
    assert!(
        walked.lines().any(|l| l.ends_with("tree/devel/low")),
        "{walked}"
    );
    assert!(
        walked.contains("misc/broken: does not build here"),
        "{walked}"
    );
    let decided = log(place, "rebuild.log");
    assert!(
        decided
            .lines()
            .any(|l| l.starts_with("misc/top: rebuilt, ")),
        "{decided}"
    );
    assert_eq!(fs::read_dir(place.path("L/locks")).unwrap().count(), 0);
    // A port that fails, found through one that was asked for.
    port(place, "misc/bad", "depends/lib: devel/low\n", "exit 5");
    port(place, "misc/over", "depends/lib: misc/bad\n", "true");
    dpb(place, &["misc/over"]).fails(1);
    let lock = log(place, "locks/misc.bad");
    let found = lock.lines().nth(2) == Some("parent=misc/over");
    assert!(found, "{lock}");
    for name in ["bad", "over"] {
        fs::remove_dir_all(place.path("tree/misc").join(name)).unwrap();
    }
    fs::remove_file(place.path("L/locks/misc.bad")).unwrap();
    // All of it again, with the targets beside: nothing is built twice.
    dpb(place, &["-a"]).ok();
    let again = log(place, "build.log");
    assert_eq!(
        again
            .lines()
            .filter(|l| l.starts_with("devel/low "))
            .count(),
        1
    );
    // What was there counts too: the next start knows its order.
    assert_eq!(log(place, "dependencies.log"), "devel/low 1\n");
    dpb(place, &["-a"]).ok();
    assert_eq!(log(place, "dependencies.log"), "devel/low 1\n");
}

fn a_port_is_read_again_when_its_lock_is_removed(place: &Place) {
    tree(place);
    port(
        place,
        "misc/bad",
        "depends/lib: devel/low\n",
        "echo oops; exit 5",
    );
    let run = Going::new(&mut command(
        place,
        &["-q", "-T", "0.2", "misc/bad", "devel/low,static"],
    ));
    eventually("it fails", || {
        log(place, "locks/misc.bad").contains("\nend=")
    });
    let lock = log(place, "locks/misc.bad");
    assert!(!lock.contains("parent="), "{lock}");
    for line in [
        "locked=misc/bad",
        "needed=low-1.5 low-doc-1.5",
        "status=1280",
        "todo=package",
    ] {
        assert!(lock.lines().any(|l| l == line), "{line}: {lock}");
    }
    // As it was: tried again at once.
    fs::remove_file(place.path("L/locks/misc.bad")).unwrap();
    eventually("it fails again", || {
        let failed = log(place, "build.log")
            .lines()
            .filter(|l| l.ends_with('!'))
            .count();
        failed == 2 && log(place, "locks/misc.bad").contains("\nend=")
    });
    port(
        place,
        "misc/bad",
        "depends/lib: devel/low\n",
        "mkdir -p /port/fake/usr; echo well > /port/fake/usr/bad",
    );
    fs::remove_file(place.path("L/locks/misc.bad")).unwrap();
    let ran = run.ended();
    assert_eq!(
        ran.status,
        Some(0),
        "{}\n{}",
        ran.stderr,
        log(place, "engine.log")
    );
    assert!(engine(place).iter().any(|l| l == "B: misc/bad"));
    assert_eq!(fs::read_dir(place.path("L/locks")).unwrap().count(), 0);
    let refused = dpb(place, &["misc/bad,nosuch"]);
    assert_ne!(refused.status, Some(0), "{}", refused.stderr);
    assert!(refused.stderr.contains("nosuch"), "{}", refused.stderr);
}
