//! What steps and shells are shown besides the root: snapshots, the environment.

use std::fs;

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    (
        "snapshots_side_by_side_and_in_shells",
        snapshots_side_by_side_and_in_shells,
    ),
    (
        "a_recipe_replaces_the_usual_environment",
        a_recipe_replaces_the_usual_environment,
    ),
];

/// Imports a snapshot of files.
fn snapshot(place: &Place, name: &str, files: &[(&str, &str)]) {
    let dir = place.path("tree").join(name);
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let dir = dir.to_str().unwrap();
    place.run(&["snapshot", "import", dir, "--name", name]).ok();
}

const SIDE_BY_SIDE: &str = "[section snapshot]
: main
path: /srv/main
beside: more/kit other
beside/path: /srv
[section reads]
parts: a
parts/beside: profiles
[section env]
GREETING: hello
";

/// All that there is in the snapshots, as a line.
const LIST: &str = "cd /srv; echo $(find . -type f | sort)";

fn snapshots_side_by_side_and_in_shells(place: &Place) -> Option<&'static str> {
    snapshot(place, "main", &[("a", "1"), ("b", "2")]);
    snapshot(place, "more/kit", &[("profiles/name", "kit"), ("x", "3")]);
    snapshot(place, "other", &[("y", "4")]);
    let write = |name: &str| format!("{{ {LIST}; }} > /seen-{name}");
    place.targets_with(
        &[(
            "t",
            "base",
            &[
                ("all", &write("all")),
                // Of the others it sees what it names, where they have it.
                ("parts", &write("parts")),
                ("last", "echo done"),
            ],
        )],
        SIDE_BY_SIDE,
    );
    place.tree("t");
    let all = "./kit/profiles/name ./kit/x ./main/a ./main/b ./other/y\n";
    assert_eq!(place.cat("t", "seen-all"), all);
    assert_eq!(
        place.cat("t", "seen-parts"),
        "./kit/profiles/name ./main/a\n"
    );

    // A shell in the finished target shows all of them and has the environment of steps.
    let shell = |what: &str, script: &str| {
        let ran = place.run(&["shell", what, "--", "/bin/sh", "-c", script]);
        ran.ok()
    };
    assert_eq!(shell("t-s", LIST), all);
    assert_eq!(shell("t-s:parts", LIST), "./kit/profiles/name ./main/a\n");
    assert_eq!(
        shell("t-s", "echo $GREETING $SOURCE_DATE_EPOCH"),
        "hello 315532800\n"
    );
    // The root of a tree alone has neither.
    let tree = place.tree("t");
    assert_eq!(shell(&tree, "ls /srv 2> /dev/null; echo $GREETING"), "\n");

    // Another edition of one of them makes stale what reads it, and says which it is.
    snapshot(place, "other", &[("y", "5")]);
    let plan = place.run(&["realise", "-n", "t-s"]);
    let said = format!("{}{}", plan.stdout, plan.stderr);
    assert!(
        said.contains("t-s:all") && said.contains("snapshot"),
        "{said}"
    );
    assert!(!said.contains("t-s:parts:"), "{said}");
    snapshot(place, "more/kit", &[("profiles/name", "other")]);
    place.tree("t");
    None
}

fn a_recipe_replaces_the_usual_environment(place: &Place) -> Option<&'static str> {
    let more = "[section env]\nPATH: /own:/usr/bin:/bin\nHOME: /home/of/nobody\nTZ: Asia/Kathmandu\nLC_ALL: C\n";
    let script = "echo $PATH $HOME $TZ $LC_ALL ${MAKEOPTS%%[0-9]*} > /seen";
    place.targets_with(&[("t", "base", &[("one", script)])], more);
    place.tree("t");
    let own = "/own:/usr/bin:/bin /home/of/nobody Asia/Kathmandu C -j\n";
    assert_eq!(place.cat("t", "seen"), own);
    // So that one sees what the step sees.
    let script = "echo $PATH $HOME $TZ $LC_ALL ${MAKEOPTS%%[0-9]*}";
    let shell = ["shell", "t-s", "--", "/bin/sh", "-c", script];
    assert_eq!(place.run(&shell).ok(), own);

    place.targets(&[(
        "t",
        "base",
        &[("one", "echo $PATH $HOME $TZ $LC_ALL > /seen")],
    )]);
    place.tree("t");
    assert_eq!(
        place.cat("t", "seen"),
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root UTC C.UTF-8\n"
    );
    None
}
