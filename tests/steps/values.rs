//! Targets built up to a step, and where the lines of scripts are written.

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    (
        "a_target_is_built_up_to_a_step",
        a_target_is_built_up_to_a_step,
    ),
    (
        "what_a_shell_says_of_a_line_names_its_place",
        what_a_shell_says_of_a_line_names_its_place,
    ),
];

const STEPS: [(&str, &str); 3] = [
    ("one", "echo 1 > /one"),
    ("two", "echo 2 > /two"),
    ("three", "exit 7"),
];

fn a_target_is_built_up_to_a_step(place: &Place) -> Option<&'static str> {
    place.targets(&[("t", "base", &STEPS), ("u", "t", &[("run", "true")])]);
    let plan = place.run(&["realise", "-n", "t-s:two"]).ok();
    assert!(plan.contains("would build t-s:one"), "{plan}");
    assert!(plan.contains("t-s:two"), "{plan}");
    assert!(!plan.contains("t-s:three"), "{plan}");
    let ran = place.run(&["realise", "t-s:two"]);
    assert!(ran.stderr.contains("2 built in "), "{}", ran.stderr);
    let told = ran.ok();
    let (name, tree) = told.trim_end().split_once(' ').expect("a tree");
    assert_eq!(name, "t-s:two");
    let listed = place.run(&["store", "ls", tree]).ok();
    assert!(listed.contains("one") && listed.contains("two"), "{listed}");
    // It is there now, and the target is not.
    let again = place.run(&["realise", "t-s:two", "--json"]).ok();
    assert!(
        again.contains("\"built\":0") && again.contains(tree),
        "{again}"
    );
    assert!(again.contains("\"target\":\"t-s:two\""), "{again}");
    place.run(&["store", "path", "t-s"]).fails(2);
    // Of two steps the later one counts, and the whole target more than both.
    let both = place.run(&["realise", "t-s:two", "t-s:one"]).ok();
    assert_eq!(both, told);
    place.run(&["realise", "t-s:two", "t-s"]).fails(1);
    // What starts from it needs all of it.
    place.run(&["realise", "t-s:two", "u-s"]).fails(1);
    let error = place.run(&["realise", "t-s:four"]).fails(2);
    assert!(error.contains("its steps are: one two three"), "{error}");
    let error = place.run(&["realise", "--check", "t-s:two"]).fails(2);
    assert!(error.contains("whole targets"), "{error}");
    // A step is built again alone with those before it.
    let ran = place.run(&["realise", "--rebuild", "t-s:two"]);
    assert!(
        ran.stderr.contains("2 built with the same result"),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.ok(), told);
    None
}

fn what_a_shell_says_of_a_line_names_its_place(place: &Place) -> Option<&'static str> {
    place.targets(&[(
        "t",
        "base",
        &[(
            "one",
            ": first\n$[[more]]\n\nnosuchcommand-$[target/subarch]",
        )],
    )]);
    let text = std::fs::read_to_string(place.path("t.conf")).unwrap();
    // Two lines stand in another file.
    std::fs::write(
        place.path("t.conf"),
        format!("{text}[collect ./more.conf]\n"),
    )
    .unwrap();
    std::fs::write(
        place.path("more.conf"),
        "\nmore: [\n: second\nalsomissing || true\n]\n",
    )
    .unwrap();
    let line = |file: &str, what: &str| {
        let text = std::fs::read_to_string(place.path(file)).unwrap();
        let at = text.lines().position(|line| line.starts_with(what));
        format!("({file}:{})", at.expect("it is there") + 1)
    };
    let (own, other) = (
        line("t.conf", "nosuchcommand"),
        line("more.conf", "alsomissing"),
    );
    let ran = place.run(&["realise", "-L", "t-s"]);
    let told = ran.fails(1);
    let says = |what: &str, place: &str| {
        let lines = told.lines().filter(|line| line.contains(what));
        lines
            .filter(|line| line.contains("/mstore/step") && line.ends_with(place))
            .count()
    };
    // As it comes, and among the last lines.
    assert_eq!(says("nosuchcommand", &own), 2, "{told}");
    assert_eq!(says("alsomissing", &other), 2, "{told}");
    // The log is what the step printed.
    let log = place.run(&["log", "t-s"]).ok();
    assert!(!log.contains(&own), "{log}");
    None
}
