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
    let why = place.run(&["why", "rebuild", "misc/hello"]).ok();
    assert!(why.contains("misc/hello"), "{why}");
    let failed = place.run(&["realise", "misc/hello:test"]).fails(1);
    assert!(failed.contains("misc/hello:test"), "{failed}");
    // The root of a failed test is entered as any other.
    let shown = place.run(&["show", "misc/hello,loud"]).ok();
    assert!(
        shown.contains("layer at /: devel/greet:package (/port/packages/main/image of it)"),
        "{shown}"
    );
}
