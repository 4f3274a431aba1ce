//! Results that are not to be believed: forgotten with what was built on them, or built again.

use std::fs;
use std::path::Path;

use crate::Test;
use crate::place::Place;

pub const ALL: &[Test] = &[
    (
        "what_was_built_on_it_is_forgotten",
        what_was_built_on_it_is_forgotten,
    ),
    (
        "caches_that_have_it_are_named",
        caches_that_have_it_are_named,
    ),
    ("a_target_is_built_again", a_target_is_built_again),
    (
        "what_was_built_on_a_damaged_folder",
        what_was_built_on_a_damaged_folder,
    ),
    (
        "what_will_be_signed_begins_in_what_was_read",
        what_will_be_signed_begins_in_what_was_read,
    ),
];

/// The steps and targets in lines that begin with `verb`, without their builds.
fn names(verb: &str, text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix(verb));
    let full = lines.filter_map(|line| line.split([' ', ',']).nth(1));
    full.map(|name| name.trim_start_matches("b/a/s/").to_owned())
        .collect()
}

/// Names of the steps that a run says it builds.
fn built(place: &Place, targets: &[&str]) -> Vec<String> {
    let ran = place.run(&[&["realise", "-j1"], targets].concat());
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    names("building", &ran.stderr)
}

fn chains(place: &Place) {
    place.targets(&[
        (
            "low",
            "base",
            &[
                ("one", "echo 1 > /one"),
                ("none", ":"),
                ("two", "echo 2 > /two"),
            ],
        ),
        ("high", "low", &[("three", "echo 3 > /three")]),
        ("beside", "base", &[("other", "echo 4 > /four")]),
    ]);
}

fn what_was_built_on_it_is_forgotten(place: &Place) -> Option<&'static str> {
    chains(place);
    let _ = place.run(&["realise", "*-s"]).ok();
    let all = ["low:two", "low", "high:three", "high"];
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let preview = place.run(&["forget", "-n", "low-s:two"]).ok();
    let mut wanted: Vec<String> = all.iter().map(|s| (*s).to_owned()).collect();
    wanted.sort();
    assert_eq!(sorted(names("would forget", &preview)), wanted, "{preview}");
    assert!(built(place, &["*-s"]).is_empty());
    // What it began in stays, and what has nothing to do with it.
    let gone = place.run(&["forget", "low-s:two"]).ok();
    assert_eq!(sorted(names("forgot", &gone)), wanted, "{gone}");
    assert_eq!(built(place, &["*-s"]), ["low-s:two", "high-s:three"]);
    assert!(built(place, &["*-s"]).is_empty());
    // A step that changes nothing has the tree of the one before it: that one stays, and what is on it goes.
    let gone = place.run(&["forget", "low-s:none"]).ok();
    wanted.push("low:none".to_owned());
    assert_eq!(sorted(names("forgot", &gone)), sorted(wanted), "{gone}");
    let _ = place.run(&["realise", "*-s"]).ok();
    // By hash; and a whole target.
    let tree = place.tree("high");
    let gone = place.run(&["forget", &tree, "beside-s", "--json"]).ok();
    let gone: serde_json::Value = serde_json::from_str(&gone).unwrap();
    let listed: Vec<&str> = gone["forgotten"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["name"].as_str().unwrap())
        .collect();
    assert_eq!(listed.len(), 4, "{listed:?}");
    assert_eq!(built(place, &["*-s"]).len(), 2);
    // A step that is not there, and one without a result.
    let said = place.run(&["forget", "low-s:four"]).fails(2);
    assert!(said.contains("four"), "{said}");
    chains(place);
    let again = "echo 9 > /nine";
    place.targets(&[("new", "base", &[("one", again)])]);
    let ran = place.run(&["forget", "new-s"]);
    assert!(ran.stderr.contains("nothing to forget"), "{}", ran.stderr);
    let _ = ran.ok();
    None
}

fn caches_that_have_it_are_named(place: &Place) -> Option<&'static str> {
    chains(place);
    let _ = place.run(&["realise", "low-s"]).ok();
    let cache = place.path("cache");
    let cache = cache.to_str().unwrap();
    let _ = place.run(&["copy", "--to", cache, "--cache", "low-s"]).ok();
    fs::write(
        place.path("mstore.conf"),
        format!("caches: near far\n[section cache/near]\nurl: {cache}\n[section cache/far]\nurl: {cache}-gone\n"),
    )
    .unwrap();
    let ran = place.run(&["forget", "low-s:two"]);
    let said = &ran.stderr;
    assert!(said.contains("cache near has 2 of these results"), "{said}");
    assert!(said.contains("cache far may have some of these"), "{said}");
    assert!(said.contains("--no-substitute"), "{said}");
    let _ = ran.ok();
    let ran = place.run(&["forget", "low-s:one", "--no-substitute"]);
    assert!(!ran.stderr.contains("cache"), "{}", ran.stderr);
    let _ = ran.ok();
    None
}

fn a_target_is_built_again(place: &Place) -> Option<&'static str> {
    // Nothing that a key covers: the number of the process's boot comes out other each time.
    let random = "cat /proc/sys/kernel/random/uuid > /seen; [ ! -e /data/stop ]";
    place.targets(&[
        (
            "low",
            "base",
            &[("one", random), ("two", "cat /seen > /two")],
        ),
        ("high", "low", &[("three", "cat /two > /three")]),
    ]);
    let _ = place.run(&["realise", "high-s"]).ok();
    let (low, seen) = (place.tree("low"), place.cat("low", "seen"));
    assert!(built(place, &["low-s"]).is_empty());
    assert_eq!(
        built(place, &["low-s", "--rebuild"]),
        ["low-s:one", "low-s:two"]
    );
    assert_ne!(place.tree("low"), low);
    assert_ne!(place.cat("low", "seen"), seen);
    // What stands on it follows.
    assert_eq!(built(place, &["high-s"]), ["high-s:three"]);
    assert_eq!(place.cat("high", "three"), place.cat("low", "seen"));
    // A build that fails leaves what was known.
    let seen = place.cat("low", "seen");
    let few = ["sh", "-c", "exec \"$@\"", "sh"];
    fs::write(
        place.path("mstore.conf"),
        "[section build]\nfile-limit: 1\n",
    )
    .unwrap();
    let ran = place.run_under(&few, &["realise", "low-s", "--rebuild"]);
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    fs::write(place.path("mstore.conf"), "").unwrap();
    assert!(built(place, &["low-s"]).is_empty());
    assert_eq!(place.cat("low", "seen"), seen);
    None
}

/// Changes a file of the seed in the folder that builds see.
fn harm(place: &Place) {
    for folder in place.folders("checkouts") {
        if folder.join("data/old/one").exists() {
            fs::write(folder.join("data/old/one"), "9\n").unwrap();
        }
    }
}

fn what_was_built_on_a_damaged_folder(place: &Place) -> Option<&'static str> {
    let look = "cat /data/old/one > /seen";
    place.targets(&[
        ("low", "base", &[("one", look)]),
        ("high", "low", &[("two", ":\n# high")]),
    ]);
    let _ = place.run(&["realise", "high-s"]).ok();
    harm(place);
    // A run that meets it says what may be wrong.
    let first = format!("{look}\n# again");
    let more = [("one", first.as_str())];
    place.targets(&[
        ("low", "base", &[("one", look)]),
        ("high", "low", &[("two", ":\n# high")]),
        ("more", "base", &more),
    ]);
    let said = place.run(&["realise", "more-s"]).stderr;
    assert!(said.contains("data/old/one"), "{said}");
    assert!(said.contains("perhaps wrong: b/a/s/low:one"), "{said}");
    assert!(said.contains("mstore forget b/a/s/low:one"), "{said}");
    assert_eq!(place.cat("more", "seen"), "1\n");
    let _ = place.run(&["forget", "b/a/s/low:one"]).ok();
    assert_eq!(built(place, &["high-s"]), ["low-s:one", "high-s:two"]);
    // A verification names it, and a repair forgets it.
    harm(place);
    let ran = place.run(&["store", "verify", "--checkouts"]);
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    for name in ["low:one", "high:two", "more:one"] {
        let line = format!("perhaps wrong: b/a/s/{name}");
        assert!(ran.stdout.contains(&line), "{}", ran.stdout);
    }
    assert!(built(place, &["high-s"]).is_empty());
    let ran = place.run(&["store", "verify", "--checkouts", "--repair"]);
    assert!(
        ran.stdout.contains("forgot b/a/s/low:one"),
        "{}",
        ran.stdout
    );
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert_eq!(built(place, &["high-s"]), ["low-s:one", "high-s:two"]);
    None
}

/// Makes the store believe that folders were finished later than any change to them.
fn pretend_unchanged(store: &Path) {
    let database = rusqlite::Connection::open(store.join("db/mstore.sqlite")).unwrap();
    let n = database.execute("UPDATE layer SET made = made + 3600000000000", []);
    assert!(n.unwrap() > 0);
}

fn what_will_be_signed_begins_in_what_was_read(place: &Place) -> Option<&'static str> {
    let look = |n: u32| format!("cat /data/old/one > /seen\n# {n}");
    let target = |n: u32| place.targets(&[("t", "base", &[("one", look(n).as_str())])]);
    target(0);
    let _ = place.run(&["realise", "t-s"]).ok();
    // As when the disk itself loses something: no time of change tells.
    let damage = || {
        for folder in place.folders("checkouts") {
            let file = folder.join("data/old/one");
            let Ok(meta) = file.metadata() else { continue };
            fs::write(&file, "9\n").unwrap();
            let opened = fs::File::options().write(true).open(&file).unwrap();
            opened.set_modified(meta.modified().unwrap()).unwrap();
        }
        pretend_unchanged(&place.store());
    };
    damage();
    target(1);
    let _ = place.run(&["realise", "t-s"]).ok();
    assert_eq!(place.cat("t", "seen"), "9\n");
    let key = place.path("k.key");
    let key = key.to_str().unwrap();
    let _ = place.run(&["key", "generate", "k", "--out", key]).ok();
    let sign = |more: &str| {
        fs::write(
            place.path("mstore.conf"),
            format!("[section sign]\nkey: {key}\n{more}"),
        )
        .unwrap();
    };
    sign("verify: no\n");
    target(2);
    let _ = place.run(&["realise", "t-s"]).ok();
    assert_eq!(place.cat("t", "seen"), "9\n");
    sign("");
    target(3);
    let ran = place.run(&["realise", "t-s"]);
    assert!(ran.stderr.contains("data/old/one"), "{}", ran.stderr);
    assert_eq!(place.cat("t", "seen"), "1\n");
    let _ = ran.ok();
    // So does a check, which also looks at what it does not write out itself.
    target(2);
    fs::write(place.path("mstore.conf"), "").unwrap();
    let ran = place.run(&["realise", "t-s", "--check"]);
    assert_eq!(ran.status, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.contains("differs"), "{}", ran.stderr);
    None
}
