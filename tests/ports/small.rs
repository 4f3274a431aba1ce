//! The small tree: what is built, what is built again after which change, and what each command says.

use crate::place::Place;

#[test]
fn a_small_tree_is_built_and_built_again_no_further_than_a_change_reaches() {
    let Some(place) = Place::new() else { return };
    let listed = place.run(&["list", "--ports"]).ok();
    assert_eq!(
        listed,
        "devel/greet  1.0  library that greets  -main -doc\n\
         misc/hello  2.0  greets the world  flavors: loud\n\
         misc/meet  0.1  script that greets by the loud program\n"
    );
    let built = place.run(&["realise", "misc/*", "misc/hello,loud"]).ok();
    let lines: Vec<&str> = built
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(lines, ["misc/hello", "misc/hello,loud", "misc/meet"]);
    // Flavors are builds of their own; what is in a base or in both is done once.
    let log = place.run(&["log", "misc/hello,loud:build"]).ok();
    assert!(log.contains("-DFLAVOR='\"loud\"'"), "{log}");
    let tested = place.run(&["realise", "misc/*:test"]).ok();
    assert!(tested.starts_with("misc/hello:test "), "{tested}");
    let idle = place.run(&["realise", "misc/*", "devel/greet,-doc"]);
    assert!(idle.stderr.contains("nothing to do"), "{}", idle.stderr);
    let _ = idle.ok();

    // What only the documents have reaches nobody else.
    place.write(
        "devel/greet/files/README",
        "greet: a library with one function, and this text.\n",
    );
    let stale = place.stale(&["misc/*"]);
    assert_eq!(stale, ["devel/greet:prepare"]);
    let built = place.run(&["realise", "misc/*"]);
    assert!(built.stderr.contains("need not run"), "{}", built.stderr);
    let _ = built.ok();
    let ran = place.run(&["log", "misc/hello", "--json"]).ok();
    assert_eq!(ran.matches("misc/hello:build\"").count(), 1, "{ran}");

    // What the library says does.
    place.replace("devel/greet/files/greet.c", "hello, ", "hello there, ");
    place.run(&["realise", "misc/hello"]).ok();
    // A layer that changed is named.
    place.replace(
        "devel/greet/files/greet.c",
        "hello there, ",
        "hello again, ",
    );
    let _ = place.run(&["realise", "devel/greet"]).ok();
    let why = place.run(&["why", "rebuild", "misc/hello"]).ok();
    assert!(
        why.contains("misc/hello:layers\n  the layer devel/greet,-main changed: "),
        "{why}"
    );
    assert!(why.contains("~ usr/local/lib/libgreet.so.1"), "{why}");
    let _ = place.run(&["realise", "misc/hello"]).ok();
    let failed = place.run(&["realise", "misc/hello:test"]).fails(1);
    assert!(failed.contains("misc/hello:test"), "{failed}");
    // The root of a failed test is entered as any other.
    let shown = place.run(&["show", "misc/hello,loud"]).ok();
    assert!(
        shown.contains("layer at /: devel/greet:package (/port/packages/main/image of it)"),
        "{shown}"
    );
}

#[test]
fn one_bad_port_keeps_no_other_from_being_built() {
    let Some(place) = Place::new() else { return };
    place.write(
        "misc/bad/port.spec",
        "version: 1\n\ndepends/lib: devel/none\n",
    );
    place.write(
        "misc/needs-bad/port.spec",
        "version: 1\ndepends/run: misc/bad\n",
    );
    place.write(
        "misc/not-now/port.spec",
        "version: 1\nignore: it is for another machine\n",
    );
    let ran = place.run(&["realise", "misc/*"]);
    let lines: Vec<&str> = ran
        .stdout
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(lines, ["misc/hello", "misc/meet"], "{}", ran.stderr);
    let told = ran.fails(2);
    for said in [
        "error: misc/bad: HERE/tree/misc/bad/port.spec:3: `depends/lib` of misc/bad: nothing provides `devel/none`",
        "! misc/needs-bad: HERE/tree/misc/needs-bad/port.spec:2: it needs misc/bad, which is not built",
        "! misc/not-now: it is for another machine",
    ] {
        assert!(told.contains(said), "{told}\nlacks {said}");
    }
    // What others needed is remembered: it is walked first the next time.
    let counts = std::fs::read_to_string(place.path("store/ports-needed")).unwrap();
    assert_eq!(counts, "devel/greet 3\nmisc/hello 1\n");
    // A failed step counts against its port, and the rest goes on.
    place.replace("misc/hello/files/hello.c", "return 0;", "return zero;");
    place.write(
        "misc/not-now/port.spec",
        "version: 1\n[section steps/port]\nconfigure:\nbuild:\nfake:\n",
    );
    let ran = place.run(&["realise", "--keep-going", "misc/hello", "misc/not-now"]);
    assert!(ran.stdout.starts_with("misc/not-now "), "{}", ran.stdout);
    assert!(ran.fails(1).contains("failed misc/hello:build"));
    assert!(
        place
            .run(&["shell", "misc/hello", "--", "ls", "/port/source"])
            .ok()
            .contains("hello.c")
    );
    // A plan says the same without building.
    let ran = place.run(&["realise", "-n", "misc/*"]);
    assert!(
        ran.stdout.contains("would build misc/hello:build"),
        "{}",
        ran.stdout
    );
    assert!(ran.fails(2).contains("`depends/lib` of misc/bad"));
}

#[test]
fn results_of_ports_survive_gc_and_layers_that_are_in_each_others_way_are_named() {
    let Some(place) = Place::new() else { return };
    let _ = place.run(&["realise", "misc/hello"]).ok();
    let _ = place.run(&["gc", "--keep", "1"]).ok();
    // What others are built on is still here: nothing below it is built again.
    let stale = place.stale(&["misc/hello,loud"]);
    assert!(
        stale
            .iter()
            .all(|step| step.starts_with("misc/hello,loud:")),
        "{stale:?}"
    );
    let built = place.run(&["realise", "misc/hello,loud"]);
    assert!(
        !built.stderr.contains("building devel/greet"),
        "{}",
        built.stderr
    );
    let _ = built.ok();
    // Two ports with one file.
    for name in ["one", "two"] {
        let fake = format!(
            "version: 1\n[section steps/port]\nconfigure:\nbuild:\nfake: [\nmkdir -p /port/fake/usr/local/bin\n\
             echo {name} > /port/fake/usr/local/bin/same\n]\n"
        );
        place.write(&format!("misc/{name}/port.spec"), &fake);
    }
    place.write(
        "misc/both/port.spec",
        "version: 1\ndepends/lib: misc/one misc/two\n",
    );
    let told = place.run(&["realise", "misc/both"]).fails(1);
    let said = "misc/one,-main and misc/two,-main both have usr/local/bin/same: the files differ";
    assert!(told.contains(said), "{told}");
}

#[test]
fn dpb_builds_ports_and_tells_their_tasks() {
    let Some(place) = Place::new() else { return };
    let _ = place.run(&["dpb", "-x", "-L", "logs", "misc/meet"]).ok();
    let log = std::fs::read_to_string(place.path("logs/build.log")).unwrap();
    let of = |path: &str| -> Vec<String> {
        let line = log
            .lines()
            .find(|line| line.split(' ').next() == Some(path));
        let line = line.unwrap_or_else(|| panic!("{path} is not in\n{log}"));
        let tasks = line.split(' ').nth(4).unwrap_or_default().split('/');
        tasks
            .map(|task| task.split('=').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        of("devel/greet"),
        ["prepare", "configure", "build", "fake", "package"]
    );
    let loud = of("misc/hello,loud");
    assert_eq!(
        loud,
        [
            "depends",
            "depends",
            "prepare",
            "configure",
            "build",
            "fake",
            "package"
        ]
    );
    assert_eq!(of("misc/meet"), ["prepare", "fake", "package"]);
    assert!(
        std::fs::read_dir(place.path("logs/locks"))
            .unwrap()
            .next()
            .is_none()
    );
    // Nothing is left to do.
    let before = log.lines().count();
    let _ = place.run(&["dpb", "-x", "-L", "logs", "misc/meet"]).ok();
    let after = std::fs::read_to_string(place.path("logs/build.log"))
        .unwrap()
        .lines()
        .count();
    assert_eq!(before, after);
}
