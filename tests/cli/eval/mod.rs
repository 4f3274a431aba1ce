//! `mstore eval`: what it prints.

mod hostile;

use insta::assert_snapshot;

use crate::environment::Environment;

const SPEC: &str = "\
[collect more.conf]
[section path]
root: /srv
work: $[path/root]/work
[section steps]
run: [
cd $[path/work]
make
]
[section odd]
wrong: $[nope]
gone: $[nope:zap]
";

fn env() -> Environment {
    let env = Environment::new();
    env.write("metro.conf", SPEC);
    env.write("more.conf", "other: $[path/work]/other\n");
    env
}

#[test]
fn json_has_values_removed_elements_errors_and_files() {
    let ran = env().run(&["eval", "--json"]);
    assert_eq!(ran.stderr, "");
    let json: serde_json::Value = serde_json::from_str(&ran.ok()).unwrap();
    assert_snapshot!(serde_json::to_string_pretty(&json).unwrap(), @r#"
    {
      "collected": [
        "metro.conf",
        "more.conf"
      ],
      "errors": {
        "odd/wrong": {
          "class": "undefined",
          "file": "$TEST/work/metro.conf",
          "line": 11,
          "message": "`nope` is not defined"
        }
      },
      "values": {
        "odd/gone": "",
        "other": "/srv/work/other",
        "path/root": "/srv",
        "path/work": "/srv/work",
        "steps/run": [
          "cd /srv/work",
          "make"
        ]
      },
      "zapped": [
        "odd/gone"
      ]
    }
    "#);
}

#[test]
fn text_is_metro_text_and_errors_go_to_stderr() {
    assert_snapshot!(env().run(&["eval"]).all(), @"
    status: 2
    --- stdout
    odd/gone:
    other: /srv/work/other
    path/root: /srv
    path/work: /srv/work
    steps/run: [
    cd /srv/work
    make
    ]
    --- stderr
    error[undefined]: `nope` is not defined
      --> $TEST/work/metro.conf:11:8
       |
    11 | wrong: $[nope]
       |        ^^^^^^^ undefined here
       |
       = help: if it may be undefined, write `$[nope:zap]` to remove the line, or `$[nope:lax]` for an empty text
    ");
}

#[test]
fn a_failed_load_is_one_error_in_json() {
    let env = env();
    env.write("more.conf", "\n\nno element\n");
    let ran = env.run(&["eval", "--json"]);
    assert_eq!(ran.status, Some(2));
    assert_eq!(ran.stderr, "");
    assert_snapshot!(ran.stdout, @r#"{"load_error":{"class":"bad-line","file":"$TEST/work/more.conf","line":3,"message":"neither element nor annotation"}}"#);
}

#[test]
fn one_element_alone() {
    let env = env();
    assert_snapshot!(env.run(&["eval", "-k", "path/work"]).ok(), @"/srv/work");
    assert_snapshot!(env.run(&["eval", "-k", "steps/run"]).ok(), @"
    cd /srv/work
    make
    ");
    assert_snapshot!(env.run(&["eval", "-k", "odd/wrong"]).fails(2), @"
    error[undefined]: `nope` is not defined
      --> $TEST/work/metro.conf:11:8
       |
    11 | wrong: $[nope]
       |        ^^^^^^^ undefined here
       |
       = help: if it may be undefined, write `$[nope:zap]` to remove the line, or `$[nope:lax]` for an empty text
    ");
    assert_snapshot!(env.run(&["eval", "-k", "odd/none"]).fails(2), @"
    error[undefined]: `odd/none` is not defined
    --> $TEST/work/metro.conf
     = help: did you mean `odd/gone`?
    ");
}

#[test]
fn elements_that_nothing_defines_can_be_asked_for() {
    let env = env();
    let text = env
        .run(&[
            "eval",
            "--json",
            "--query",
            "odd/none",
            "--query",
            "path/root",
        ])
        .ok();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_snapshot!(json["errors"]["odd/none"], @r#"{"class":"undefined","file":"$TEST/work/metro.conf","line":null,"message":"`odd/none` is not defined"}"#);
    assert_eq!(json["values"]["path/root"], "/srv");
}

#[test]
fn both_spellings_of_a_definition_replace_the_entry_files() {
    let env = env();
    for definition in [
        &["path/root=/a"][..],
        &["path/root: /a"],
        &["path/root:", "/a"],
        &["-D", "path/root=/a"],
        &["-D", "path/root: /a"],
    ] {
        let all = [&["eval", "-k", "other"], definition].concat();
        assert_eq!(env.run(&all).ok(), "/a/work/other\n", "{definition:?}");
    }
}

#[test]
fn errors_of_elements_end_it_with_2() {
    let env = crate::environment::Environment::new();
    env.write("metro.conf", "a: $[nope]\nb: 1\n");
    let ran = env.run(&["eval"]);
    assert_eq!(ran.stdout, "b: 1\n");
    let error = ran.fails(2);
    assert!(error.contains("`nope` is not defined"), "{error}");
}
