//! What steps and shells are shown besides the root: snapshots, the environment.

use std::fs;

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    (
        "snapshots_side_by_side_and_in_shells",
        snapshots_side_by_side_and_in_shells,
    ),
    ("a_folder_that_is_no_input", a_folder_that_is_no_input),
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

const IMPURE: &str = "[section impure]
: package
[section impure/package]
option: cache/package
folder: package,tools
steps: one two
";

/// With `cache/package` among Metro's options two steps share a folder of the store; nobody else sees it, no check
/// believes it, and no other store is told what came of it.
fn a_folder_that_is_no_input(place: &Place) -> Option<&'static str> {
    let count = "cd /mstore/impure/package 2> /dev/null || { echo none > /seen; exit 0; }; \
                 echo x >> runs; cat runs > /seen";
    let steps = [
        ("one", count),
        ("two", "cp /seen /seen-two"),
        ("three", "ls /mstore > /own"),
    ];
    place.targets_with(&[("t", "base", &steps)], IMPURE);
    place.tree("t");
    assert_eq!(place.cat("t", "seen"), "none\n");
    place.run(&["realise", "--check", "t-s"]).ok();
    assert!(!place.run(&["show", "t-s"]).ok().contains("impure at"));
    assert!(!place.store().join("impure").exists());

    let with = ["-D", "metro/options/stage=stage cache/package"];
    let run = |words: &[&str]| place.run(&[words, &with[..]].concat());
    let cat = |file: &str| run(&["store", "cat", &format!("t-s:{file}")]).ok();
    place.tree_with("t", &with);
    assert_eq!(cat("seen"), "x\n");
    assert!(!cat("own").contains("impure"));
    let shown = run(&["show", "t-s:one"]).ok();
    let told = "impure at /mstore/impure/package: the folder package,tools, which is no input";
    assert!(shown.contains(told), "{shown}");
    assert!(!run(&["show", "t-s:three"]).ok().contains("impure at"));
    let shown: serde_json::Value =
        serde_json::from_str(&run(&["show", "t-s", "--json"]).ok()).unwrap();
    let first = serde_json::json!([{ "at": "/mstore/impure/package", "folder": "package,tools" }]);
    assert_eq!(shown["steps"][0]["impure"], first);
    for check in ["--check", "--check=all"] {
        let refused = run(&["realise", check, "t-s"]).fails(2);
        assert!(
            refused.contains("t-s:one cannot be checked") && refused.contains("metro/options"),
            "{refused}"
        );
    }

    // What was left there is seen by the next that runs, and is not collected.
    run(&["realise", "--rebuild", "t-s"]).ok();
    place.run(&["gc"]).ok();
    let folder = place.store().join("impure/package,tools");
    assert_eq!(fs::read_to_string(folder.join("runs")).unwrap(), "x\nx\n");
    assert_eq!(cat("seen"), "x\nx\n");

    // Another store takes over what the other steps came to, and not that.
    let other = place.path("other");
    let other = other.to_str().unwrap();
    run(&["copy", "--to", other, "--steps", "--inputs", "t-s"]).ok();
    let plan = run(&["--store", other, "realise", "-n", "t-s"]);
    let plan = format!("{}{}", plan.stdout, plan.stderr);
    assert!(plan.contains("t-s:one"), "{plan}");

    for (what, said) in [
        ("folder: ../up", "cannot name a folder"),
        ("folder: .hidden", "cannot name a folder"),
        ("path: relative", "not an absolute path"),
    ] {
        let key = what.split(':').next().unwrap();
        let bad = IMPURE.replace("folder: package,tools\n", "") + what + "\n";
        place.targets_with(&[("t", "base", &steps)], &bad);
        let error = run(&["realise", "-n", "t-s"]).fails(2);
        assert!(
            error.contains(said) && error.contains(&format!("impure/package/{key}")),
            "{error}"
        );
    }
    None
}
