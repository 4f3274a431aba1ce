//! `--json`: what commands print is what doc/json.md says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde_json::{Map, Value};

use crate::environment::Environment;

/// The page: shapes by the name of a command or of a shape.
struct Page(BTreeMap<String, Vec<Value>>);

impl Page {
    fn read() -> Page {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/doc/json.md");
        let text = fs::read_to_string(path).unwrap();
        let mut shapes: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let mut names: Vec<String> = Vec::new();
        let mut block: Option<String> = None;
        for line in text.lines() {
            match &mut block {
                Some(begun) if line == "```" => {
                    let shape: Value = serde_json::from_str(begun)
                        .unwrap_or_else(|e| panic!("{names:?}: {e}: {begun}"));
                    for name in &names {
                        shapes.entry(name.clone()).or_default().push(shape.clone());
                    }
                    block = None;
                }
                Some(begun) => begun.push_str(line),
                None if line == "```json" => block = Some(String::new()),
                None if line.starts_with('#') => {
                    let heading = line.trim_start_matches('#').trim();
                    names = heading.split(", ").map(str::to_owned).collect();
                    for name in &names {
                        shapes.entry(name.clone()).or_default();
                    }
                }
                None => {}
            }
        }
        Page(shapes)
    }

    /// Why a value has not a shape.
    fn differs(&self, shape: &Value, value: &Value, at: &str) -> Option<String> {
        let wrong = |what: String| Some(format!("{at}: {what}"));
        match shape {
            Value::String(kinds) => {
                let mut why = Vec::new();
                for kind in kinds.split('|') {
                    match self.is_not(kind, value, at) {
                        None => return None,
                        Some(reason) => why.push(reason),
                    }
                }
                Some(why.join("; "))
            }
            Value::Array(all) => {
                let [each] = all.as_slice() else {
                    return wrong("the page is wrong: a list has one shape".to_owned());
                };
                let Some(values) = value.as_array() else {
                    return wrong(format!("not a list: {value}"));
                };
                let values = values.iter().enumerate();
                values
                    .filter_map(|(n, value)| self.differs(each, value, &format!("{at}[{n}]")))
                    .next()
            }
            Value::Object(fields) => match value.as_object() {
                Some(object) => self.fields(fields, object, at),
                None => wrong(format!("not an object: {value}")),
            },
            other => wrong(format!("the page is wrong: {other}")),
        }
    }

    fn fields(
        &self,
        shape: &Map<String, Value>,
        object: &Map<String, Value>,
        at: &str,
    ) -> Option<String> {
        for name in shape.keys() {
            let needed = !name.ends_with('?') && name != "*" && name != "...";
            if needed && !object.contains_key(name) {
                return Some(format!("{at}: {name} is absent"));
            }
        }
        for (name, value) in object {
            let known = shape.get(name).or_else(|| shape.get(&format!("{name}?")));
            let any_name = shape.get("*").or_else(|| shape.get("..."));
            let Some(known) = known.or(any_name) else {
                return Some(format!("{at}: {name} is not told: {value}"));
            };
            let differs = self.differs(known, value, &format!("{at}.{name}"));
            if differs.is_some() {
                return differs;
            }
        }
        None
    }

    fn is_not(&self, kind: &str, value: &Value, at: &str) -> Option<String> {
        if let Some(name) = kind.strip_prefix('@') {
            let shapes = self
                .0
                .get(name)
                .unwrap_or_else(|| panic!("no shape {name}"));
            return self.differs(&shapes[0], value, at);
        }
        let hash = |text: &str| {
            let digit = |b: u8| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b);
            text.len() == 52 && text.bytes().all(digit)
        };
        let fits = match kind {
            "any" => true,
            "null" => value.is_null(),
            "text" => value.is_string(),
            "[text]" => value
                .as_array()
                .is_some_and(|all| all.iter().all(Value::is_string)),
            "[number]" => value
                .as_array()
                .is_some_and(|all| all.iter().all(Value::is_number)),
            "hash" => value.as_str().is_some_and(hash),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            other => panic!("the page is wrong: {other}"),
        };
        (!fits).then(|| format!("{at}: not {kind}: {value}"))
    }

    /// Checks what a command printed; gives which of its shapes the documents have.
    #[track_caller]
    fn check(&self, command: &str, printed: &str) -> BTreeSet<usize> {
        let name = format!("mstore {command}");
        let shapes = self
            .0
            .get(&name)
            .unwrap_or_else(|| panic!("doc/json.md has no {name}"));
        let mut seen = BTreeSet::new();
        for document in serde_json::Deserializer::from_str(printed).into_iter::<Value>() {
            let document = document.unwrap_or_else(|e| panic!("{name}: {e}: {printed}"));
            let why: Vec<Option<String>> = shapes
                .iter()
                .map(|shape| self.differs(shape, &document, "$"))
                .collect();
            match why.iter().position(Option::is_none) {
                Some(shape) => seen.insert(shape),
                None => panic!("{name}: {why:#?}"),
            };
        }
        assert!(!seen.is_empty(), "{name} printed nothing");
        seen
    }
}

/// Two targets of three steps, one of which cannot be built.
fn distribution() -> Environment {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: x\nlist/subarches/x: one two bad\nlist/targets: stage1\n\
         default/build: demo\ntarget/version: 1\ntarget/platform: x86_64\nsource: seed\n\
         source/seed: host/x86_64\nseed/kind: host\nsteps/chroot: run\nsteps/chroot/run: [\n\
         test $[target/subarch] != bad || exit 7\necho $[target/subarch] > /motd\n]\n",
    );
    env.write("bad.conf", "a:   b\nc: $[nothing]\n");
    env.write("broken.conf", "a: [\n");
    env.write("ports/cat/a", "x");
    env.write("tree/a/fine/port.spec", "version: 1\nflavors: x\n");
    env.write("tree/a/bad/port.spec", "comment: x\n");
    env
}

/// Commands, their lines, and the exit statuses that they have.
const SAMPLES: &[(&str, &[&str], i32)] = &[
    ("realise", &["-n", "stage1-one"], 0),
    ("seed host", &["-n"], 0),
    ("seed host", &[], 0),
    ("realise", &["-n", "stage1-one"], 0),
    ("realise", &["stage1-one"], 0),
    ("realise", &["-k", "stage1-one", "stage1-bad"], 1),
    ("fetch", &["stage1-one"], 0),
    ("init", &["elsewhere"], 0),
    ("eval", &["-f", "bad.conf"], 0),
    ("eval", &["-f", "broken.conf"], 2),
    ("fmt", &["--check", "bad.conf", "broken.conf"], 2),
    ("fmt", &["--diff", "bad.conf"], 0),
    ("check", &[], 1),
    ("list", &[], 0),
    ("list", &["stage1-*"], 0),
    ("list", &["--ports", "--ports-tree", "tree"], 0),
    ("show", &["stage1-one"], 0),
    ("show", &["seed/host/x86_64"], 0),
    ("graph", &["stage1-one"], 0),
    ("diff", &["stage1-one", "stage1-two"], 1),
    ("diff", &["seed/host/x86_64", "stage1-one"], 1),
    ("why rebuild", &["stage1-two"], 0),
    ("why alive", &["stage1-one"], 0),
    ("why value", &["target/subarch", "-t", "stage1-one"], 0),
    ("why value", &["nothing"], 2),
    ("log", &["stage1-one"], 0),
    ("log", &["--attempts", "stage1-bad"], 0),
    ("stats", &[], 0),
    ("seed list", &[], 0),
    ("seed import", &["ports", "--name", "s"], 0),
    ("snapshot import", &["ports"], 0),
    ("snapshot list", &[], 0),
    ("specs list", &[], 0),
    ("specs export", &["hooks.conf"], 0),
    ("lock", &[], 0),
    ("copy", &["stage1-one", "--to", "cache", "--cache"], 0),
    ("key generate", &["me"], 0),
    ("key public", &["me"], 0),
    (
        "key sign",
        &["stage1-one", "--key", "me", "--cache", "cache"],
        0,
    ),
    ("config show", &[], 0),
    ("doctor", &[], 0),
    ("export", &["seed/s", "s.tar"], 0),
    ("export", &["seed/s", "--to", "out"], 0),
    ("export", &["seed/s", "--to", "files", "--format", "tar"], 0),
    ("store ls", &["stage1-one"], 0),
    ("store stat", &["stage1-one:motd"], 0),
    ("store du", &["stage1-one"], 0),
    ("store path", &["seed/s"], 0),
    ("store find", &["motd"], 0),
    ("store root add", &["r", "stage1-one"], 0),
    ("store root list", &[], 0),
    ("store root remove", &["r"], 0),
    ("store info", &[], 0),
    ("store verify", &[], 0),
    ("store repack", &[], 0),
    ("gc", &["-n"], 0),
    ("gc", &["-n", "--cache", "cache"], 0),
    ("forget", &["-n", "stage1-one"], 0),
    ("repo fails", &["--mirror", "mirror"], 0),
    ("repo empties", &["--mirror", "mirror"], 0),
    ("repo zap", &["--mirror", "mirror"], 0),
    ("repo clean", &["--mirror", "mirror"], 0),
    ("repo digestgen", &["--mirror", "mirror"], 0),
    ("repo index.xml", &["--mirror", "mirror"], 0),
    ("repo import-buildbot", &[], 0),
];

/// Commands whose documents come only from a mirror with builds, or from a process that goes on: tests/repo,
/// tests/copy and tests/steps look at what they print.
const ELSEWHERE: &[&str] = &[
    "metro",
    "serve",
    "top",
    "why waiting",
    "repo nextbuild",
    "repo next",
    "repo build",
    "repo publish",
    "repo push",
    "repo compress",
];

/// Commands that print what they print for a program.
const WITHOUT: &[&str] = &[
    "completions",
    "dpb",
    "lsp",
    "man",
    "shell",
    "specs cat",
    "store cat",
    "worker",
];

#[test]
fn every_command_prints_what_the_page_says() {
    let env = distribution();
    fs::create_dir(env.work().join("mirror")).unwrap();
    env.write(
        "../home/.buildbot",
        "builds = (\"demo\",)\narches = (\"x\",)\nsubarches = (\"one\",)\n",
    );
    let page = Page::read();
    let mut seen: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
    for (command, more, status) in SAMPLES {
        let mut words: Vec<&str> = command.split(' ').collect();
        words.push("--json=1");
        words.extend(*more);
        let ran = env.run(&words);
        assert_eq!(ran.status, Some(*status), "{words:?}: {}", ran.all());
        let shapes = page.check(command, &ran.stdout);
        seen.entry(command).or_default().extend(shapes);
    }
    // A shape that nothing has is a promise that nobody keeps. Hashes of steps differ from machine to machine.
    let step = env.run(&["show", "--json", "stage1-one"]).ok();
    let step: Value = serde_json::from_str(&step).unwrap();
    let hash = step["drv"].as_str().unwrap();
    let shapes = page.check("show", &env.run(&["show", "--json", hash]).ok());
    seen.entry("show").or_default().extend(shapes);
    for (command, shapes) in &seen {
        let all = page.0[&format!("mstore {command}")].len();
        let shared = ["seed import", "seed host", "snapshot import"].contains(command);
        if !shared && !command.starts_with("repo") {
            assert_eq!(shapes.len(), all, "{command}: {shapes:?}");
        }
    }

    // Every command is looked at: the manual has a page for each.
    let _ = env.run(&["man", "pages"]).ok();
    let names = fs::read_dir(env.work().join("pages")).unwrap();
    let names = names.map(|e| e.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.map(|n| n.trim_end_matches(".1").to_owned()).collect();
    for name in &names {
        let group = names
            .iter()
            .any(|other| other.starts_with(&format!("{name}-")));
        let command = name.trim_start_matches("mstore").trim_start_matches('-');
        let is = |c: &str| c.replace(' ', "-") == command;
        let known = seen.keys().any(|c| is(c))
            || ELSEWHERE.iter().any(|c| is(c))
            || WITHOUT.iter().any(|c| is(c));
        assert!(group || known, "{name} is forgotten");
    }
    for command in ELSEWHERE {
        assert!(
            page.0.contains_key(&format!("mstore {command}")),
            "{command}"
        );
    }
}

/// A run that is killed at the end.
struct Going(std::process::Child);

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_run_that_goes_on_prints_what_the_page_says() {
    let env = distribution();
    let text = fs::read_to_string(env.work().join("metro.conf")).unwrap();
    let slow = text.replace("echo $[target/subarch]", "echo begun; sleep 100; echo");
    fs::write(env.work().join("metro.conf"), slow).unwrap();
    let page = Page::read();
    page.check("top", &env.run(&["top", "--json=1"]).ok());
    let mut command = env.command(&["realise", "-k", "-j1", "stage1-one", "stage1-two"]);
    let quiet = command.stdout(std::process::Stdio::null());
    let run = Going(quiet.stderr(std::process::Stdio::null()).spawn().unwrap());
    let end = std::time::Instant::now() + std::time::Duration::from_secs(100);
    let seen = loop {
        let seen = env.run(&["top", "--json=1"]).ok();
        if seen.contains("stage1-one:run") {
            break seen;
        }
        assert!(std::time::Instant::now() < end, "{seen}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    };
    page.check("top", &seen);
    let view: Value = serde_json::from_str(&seen).unwrap();
    let host = view[0]["hosts"][0]["name"].as_str().unwrap();
    page.check(
        "why waiting",
        &env.run(&["why", "waiting", "--json=1", "stage1-two"]).ok(),
    );
    page.check("top", &env.run(&["top", "--json=1", "--drain", host]).ok());
    page.check(
        "why waiting",
        &env.run(&["why", "waiting", "--json=1", "stage1-two"]).ok(),
    );
    drop(run);
}

#[test]
fn failures_are_told_in_json() {
    let env = distribution();
    let page = Page::read();
    let shape = &page.0["When a command fails"][0];
    let fails = |words: &[&str], status: i32| {
        let ran = env.run(words);
        assert_eq!(ran.status, Some(status), "{words:?}: {}", ran.all());
        let last = ran.stdout.lines().last().unwrap_or_default().to_owned();
        let value: Value =
            serde_json::from_str(&last).unwrap_or_else(|e| panic!("{e}: {}", ran.all()));
        assert_eq!(page.differs(shape, &value, "$"), None);
        // People are told as well.
        assert!(ran.stderr.contains("error"), "{}", ran.all());
        value["error"].clone()
    };
    let unknown = fails(&["show", "--json", "stage9-one"], 2);
    assert_eq!(unknown["class"], "usage");
    let broken = fails(&["list", "--json", "-f", "broken.conf"], 2);
    assert_eq!(broken["class"], "specification");
    let absent = fails(&["store", "info", "--json"], 2);
    assert_eq!(absent["class"], "usage");
    let unreadable = fails(&["key", "public", "/nonexistent/key", "--json"], 3);
    assert_eq!(unreadable["class"], "machine");
    let wrong = fails(&["list", "--json", "--nonsense"], 2);
    assert_eq!(wrong["class"], "usage");
    let _ = fails(&["list", "--json=2"], 2);
    // Without it nothing is printed.
    assert_eq!(env.run(&["show", "stage9-one"]).stdout, "");

    // A step that fails: which, how, and where its log is.
    let ran = env.run(&["realise", "--json", "stage1-bad"]);
    assert_eq!(ran.status, Some(1));
    let line: Value = serde_json::from_str(&ran.stdout).unwrap();
    let failure = &line["failures"][0];
    assert_eq!(failure["class"], "build");
    assert_eq!(failure["step"], "stage1-bad:run");
    assert_eq!(failure["reason"], "exit status 7");
    let log = failure["log"]
        .as_str()
        .unwrap()
        .replace("$TEST", &env.top());
    assert!(fs::metadata(log).unwrap().is_file());
}

/// The checker finds what it is there for.
#[test]
fn a_shape_that_does_not_fit_is_found() {
    let page = Page(BTreeMap::new());
    let differs = |shape: &str, value: &str| {
        let parse = |text: &str| serde_json::from_str(text).unwrap();
        page.differs(&parse(shape), &parse(value), "$")
    };
    assert_eq!(
        differs(r#"{"a": "text|null", "b?": ["number"]}"#, r#"{"a": null}"#),
        None
    );
    assert_eq!(differs(r#"{"*": "number"}"#, r#"{"x": 1, "y": 2}"#), None);
    for (shape, value) in [
        (r#"{"a": "text"}"#, "{}"),
        (r#"{"a": "text"}"#, r#"{"a": 1}"#),
        (r#"{"a": "text"}"#, r#"{"a": "x", "b": 1}"#),
        (r#"["number"]"#, r#"[1, "x"]"#),
        (r#""hash""#, r#""abc""#),
        (r#"{"*": "number"}"#, r#"{"x": "1"}"#),
    ] {
        assert!(differs(shape, value).is_some(), "{shape} {value}");
    }
}
