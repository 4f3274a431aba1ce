//! `mstore why value`.

use insta::assert_snapshot;
use serde_json::Value;

use crate::environment::Environment;

const SPEC: &str = "\
[section path]
: /srv
cache: $[]/cache
opt: $[nix:zap]
[section script]
arch: arm
[section script when script/arch is arm arm64]
kind: small
[section script when script/arch is x86]
kind: large
[section script]
run: [
echo $[path/cache] $[gone?]
  $[[script/more]]
$[[script/none:lax]]
tool $[path/opt]
$[script/kind]
]
more: [
one $[soft:lax].
]
broken: $[pth/cache]
";

fn env() -> Environment {
    let env = Environment::new();
    env.write("metro.conf", SPEC);
    env
}

#[test]
fn blocks_are_told_of_line_by_line() {
    assert_snapshot!(env().run(&["why", "value", "script/run"]).ok(), @r#"
    script/run = 3 lines
      defined at metro.conf:12
      metro.conf:13: | echo /srv/cache no
        $[path/cache]: path/cache = "/srv/cache"
          defined at metro.conf:3: $[]/cache
          $[]: path = "/srv"
            defined at metro.conf:2: /srv
        $[gone?] answers no
      metro.conf:14: includes 1 line
        $[[script/more]]: script/more = 1 line
          defined at metro.conf:19
          metro.conf:20: | one .
            $[soft:lax] is empty: the element is undefined
      metro.conf:15: left out
        $[[script/none:lax]] is empty: the element is undefined
      metro.conf:16: left out
        $[path/opt] removes it
          path/opt is removed
            defined at metro.conf:4: $[nix:zap]
            $[nix:zap] removes it: the element is undefined
      metro.conf:17: | small
        $[script/kind]: script/kind = "small"
          defined at metro.conf:8: small
          metro.conf:8: when script/arch is arm arm64: true
            script/arch = "arm"
              defined at metro.conf:6: arm
          metro.conf:10: when script/arch is x86: false
            script/arch = "arm" (see above)
    "#);
}

#[test]
fn the_same_is_there_as_data() {
    let json: Value =
        serde_json::from_str(&env().run(&["why", "value", "script/run", "--json"]).ok()).unwrap();
    assert_eq!(json["element"], "script/run");
    assert_eq!(json["truncated"], false);
    let elements = json["elements"].as_array().unwrap();
    let run = &elements[0];
    assert_eq!(run["state"], "value");
    assert_eq!(
        run["value"],
        serde_json::json!(["echo /srv/cache no", "one .", "small"])
    );
    assert_eq!(run["definition"]["line"], 12);
    let lines = run["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 5);
    assert_eq!(lines[0]["references"][1]["effect"], "no");
    assert_eq!(lines[1]["included"], 1);
    assert_eq!(lines[2]["references"][0]["effect"], "empty");
    assert_eq!(lines[3]["references"][0]["effect"], "removed");
    assert_eq!(lines[3]["value"], Value::Null);
    // An index leads to the element that a reference came to.
    let kind = &lines[4]["references"][0];
    assert_eq!(kind["element"], "script/kind");
    let kind = &elements[kind["index"].as_u64().unwrap() as usize];
    assert_eq!(kind["value"], "small");
    assert_eq!(kind["conditions"][0]["written"], "script/arch is arm arm64");
    assert_eq!(kind["conditions"][0]["holds"], true);
    assert_eq!(kind["conditions"][1]["holds"], false);
    let gone = elements.iter().find(|e| e["element"] == "path/opt");
    assert_eq!(gone.unwrap()["state"], "removed");
}

#[test]
fn failures_are_explained_and_unknown_names_are_not_found() {
    let env = env();
    assert_snapshot!(env.run(&["why", "value", "script/broken"]).ok(), @"
    script/broken fails: undefined: `pth/cache` is not defined
      defined at metro.conf:22: $[pth/cache]
      $[pth/cache] fails
    ");
    assert_snapshot!(env.run(&["why", "value", "script/rum"]).fails(2), @"
    error[undefined]: `script/rum` is not defined
    --> $TEST/work/metro.conf
     = help: did you mean `script/run`?
    ");
    let ran = env.run(&["why", "value", "script/rum", "--json"]);
    assert_eq!(ran.status, Some(2));
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["error"]["class"], "undefined");
    env.write("metro.conf", "oops\n");
    let ran = env.run(&["why", "value", "a", "--json"]);
    assert_eq!(ran.status, Some(2));
    let json: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["load_error"]["class"], "bad-line");
}
