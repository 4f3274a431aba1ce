//! Snapshots: an error of every class, as people see it.

mod common;

use common::{Memory, one};
use insta::assert_snapshot;
use mstore_lang::LabelRole;

fn load(text: &str) -> String {
    one(text).expect_err("an error").render(false)
}

fn ask(text: &str, key: &str) -> String {
    one(text)
        .expect("loads")
        .value(key)
        .expect_err("an error")
        .diagnostic
        .render(false)
}

fn files(files: &[(&str, &str)]) -> String {
    Memory::new(files)
        .load(&[])
        .expect_err("an error")
        .render(false)
}

#[test]
fn bad_line() {
    assert_snapshot!(load(
        "a: 1\nhello world\n  name = value # why\na:1\n[when x]\nb [\ntext\n]\n]\nc:d: 1\n"
    ));
    assert_snapshot!(load("a: << two words\nb: <<\n"));
    assert_snapshot!(load("\u{feff}# a comment\n"));
    assert_snapshot!(
        Memory::new(&[("main.conf", &b"a: 1\nb: caf\xe9\n"[..])])
            .load(&[])
            .expect_err("x")
            .render(false)
    );
    assert_snapshot!(
        Memory::new(&[("main.conf", "a: 1\n")])
            .load(&[("a b", "x")])
            .expect_err("x")
            .render(false)
    );
}

#[test]
fn bad_annotation() {
    assert_snapshot!(load(
        "[section s\n[section s] tail\n[]\n[section]\n[setcion x]\n[include x]\n[option parse/loose]\n[option a b]\n[when]\n[when x equals 1]\n[when x is]\n[collect]\n[collect a b]\n[collect a when *]\n[section s x]\n[section a:b]\n"
    ));
    assert_snapshot!(load("m: 1\n[when m is 1]\n[collect x when m]\n"));
}

#[test]
fn duplicate() {
    assert_snapshot!(load("[section a]\nb: 1\n[section a]\nc: 2\nb: 2\n"));
    assert_snapshot!(load(
        "m: 1\n[when m]\na: 1\n[when *]\na: 2\n[when m is 1 2]\nb: 1\n[when m in 2 1]\nb: 2\n"
    ));
    assert_snapshot!(files(&[
        ("main.conf", "a: 1\n[collect x.conf]\n"),
        ("x.conf", "a: 2\n")
    ]));
    assert_snapshot!(files(&[
        ("main.conf", "[collect x.conf]\n[collect ./y/../x.conf]\n"),
        ("x.conf", "")
    ]));
    assert_snapshot!(files(&[("main.conf", "[collect main.conf]\n")]));
    let given = Memory::new(&[("main.conf", "[collect x.conf]\n"), ("x.conf", "a: 2\n")]);
    assert_snapshot!(given.load(&[("a", "1")]).expect_err("twice").render(false));
}

#[test]
fn bad_collect() {
    assert_snapshot!(files(&[(
        "main.conf",
        "k: z\n[collect x.conf]\n[collect y/$[k].conf]\n"
    )]));
}

#[test]
fn unterminated() {
    assert_snapshot!(load("a: 1\nb: [\nx\n"));
    assert_snapshot!(ask("a: x $[b\n", "a"));
}

#[test]
fn no_section() {
    assert_snapshot!(load(": v\n"));
    assert_snapshot!(ask("a: $[:b]\n", "a"));
}

#[test]
fn undefined() {
    assert_snapshot!(ask("target/subarch: 1\na: x $[target/subacrh]\n", "a"));
    assert_snapshot!(ask(
        "a: x $[nothing/like/it]\nb: $[a]\nc: [\n$[b]\n]\n",
        "c"
    ));
    assert_snapshot!(ask("a: [\n$[[nothing]]\n]\n", "a"));
    assert_snapshot!(ask("n: 1\na: $[a/$[n]]\n", "a"));
    assert_snapshot!(ask("n: 1\na: $[ n ]\n", "a"));
    assert_snapshot!(ask("m: 1\n[when m is 2]\na: x\n[when m is 3]\na: y\n", "a"));
    assert_snapshot!(ask(
        "m: 1\n[when m is 2]\na: x\n[when m is 3]\na: y\n[when *]\nb: $[a]\n",
        "b"
    ));
    assert_snapshot!(ask("abc: 1\n", "abd"));
    assert_snapshot!(load("[collect ./$[none].conf]\n"));
}

#[test]
fn circular() {
    assert_snapshot!(ask(
        "a: $[b]\nb: x $[c]\nc: [\n$[[d]]\n]\nd: [\n$[a]\n]\n",
        "a"
    ));
    assert_snapshot!(ask("a: $[b]\nb: $[b]\n", "a"));
    assert_snapshot!(ask("t: $[u]\n[when t is x]\nu: x\n", "t"));
    assert_snapshot!(load("a: $[b]\nb: $[a]\n[collect ./$[a].conf]\n"));
    let long: String = (0..30)
        .map(|index| format!("e{index}: $[e{}]\n", (index + 1) % 30))
        .collect();
    assert_snapshot!(ask(&long, "e0"));
}

#[test]
fn bad_modifier() {
    assert_snapshot!(ask("x: 1\na: $[x:trim]\n", "a"));
    assert_snapshot!(ask("x: 1\na: $[x:]\n", "a"));
    assert_snapshot!(ask("x: 1\na: $[x:zap:lax]\n", "a"));
    assert_snapshot!(ask("a: [\n  $[[x:zap]]\n]\n", "a"));
}

#[test]
fn cannot_open() {
    assert_snapshot!(ask("a: << none.txt\n", "a"));
    assert_snapshot!(
        Memory::new::<&str>(&[])
            .load(&[])
            .expect_err("no file")
            .render(false)
    );
}

#[test]
fn conflict() {
    assert_snapshot!(ask(
        "x: 1\ny: 1\n[when x is 1]\na: from x\n[when y is 1]\na: from y\n",
        "a"
    ));
    assert_snapshot!(files(&[
        ("main.conf", "[collect ./f$[x:lax].conf]\n"),
        ("f.conf", "x: 1\n")
    ]));
    assert_snapshot!(files(&[
        (
            "main.conf",
            "m: 1\n[when m is 1]\nk: a\n[when *]\n[collect ./$[k].conf]\n[collect b.conf]\n"
        ),
        ("a.conf", ""),
        ("b.conf", "[when m]\nk: b\n"),
    ]));
}

#[test]
fn wrong_kind() {
    assert_snapshot!(ask("a: 1\nb: [\n$[[a]]\n]\n", "b"));
}

#[test]
fn embedded_code() {
    assert_snapshot!(ask(
        "a: [\nx\n  <?python\nprint(1)\n?>\n]\nb: [\n$[[a]]\n]\n",
        "b"
    ));
}

#[test]
fn limit() {
    let mut laughs = String::from("e0: ha\n");
    for index in 1..40 {
        laughs += &format!("e{index}: $[e{0}]$[e{0}]\n", index - 1);
    }
    assert_snapshot!(ask(&laughs, "e39"));
}

#[test]
fn a_line_of_megabytes_is_not_shown_whole() {
    let text = format!("a: {}$[none]{}\n", "x".repeat(1 << 20), "y".repeat(1 << 20));
    let shown = ask(&text, "a");
    assert!(shown.len() < 4000, "{} bytes", shown.len());
}

#[test]
fn colour_only_when_asked() {
    let error = one("x\n").expect_err("bad").render(true);
    assert!(error.contains('\u{1b}'));
    assert!(!load("x\n").contains('\u{1b}'));
}

/// What each error is about, and the roles of its labels, for whoever must not read messages.
#[test]
fn subjects_and_roles_are_data() {
    let about = |text: &str, key: &str| {
        let spec = one(text).expect("loads");
        let error = spec.evaluate(key).expect_err("fails");
        let subject = error.diagnostic.subject.clone().expect("it has a subject");
        let steps = error.diagnostic.labels.iter();
        let steps = steps.filter(|label| label.role == LabelRole::NeededBy);
        (subject.element, subject.defined, steps.count())
    };
    let own = |name: &str| name.to_owned();
    assert_eq!(about("a: $[b]\n", "a"), (own("b"), false, 0));
    assert_eq!(
        about("[section s]\na: $[:b]\n", "s/a"),
        (own("s/b"), false, 0)
    );
    assert_eq!(about("a: $[b]\nb: $[c]\n", "a"), (own("c"), false, 1));
    assert_eq!(about("a: 1\n", "c"), (own("c"), false, 0));
    let hidden = "a: $[b]\n[when a/b]\nb: 1\n";
    assert_eq!(about(hidden, "a"), (own("b"), true, 0));
    assert_eq!(about(hidden, "b"), (own("b"), true, 0));
    assert_eq!(about("a: 1\nb: [\n$[[a]]\n]\n", "b"), (own("a"), true, 0));
    assert_eq!(about("a: $[a]\n", "a"), (own("a"), true, 0));

    let errors = one("[collect ./$[a].conf]\n").expect_err("stuck");
    let error = errors.first().expect("an error");
    let subject = error.subject.clone().expect("it has a subject");
    assert_eq!((subject.element, subject.defined), (own("a"), false));
    assert!(
        error
            .labels
            .iter()
            .any(|label| label.role == LabelRole::NeededBy)
    );
    assert!(
        error
            .help
            .iter()
            .any(|help| help.contains("skip the collect"))
    );
}
