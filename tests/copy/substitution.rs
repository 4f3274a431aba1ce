//! Targets that are fetched in place of being built, and whom that is believed.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::environment::Environment;
use crate::support::number;

pub const TARGET: &str = "stage1-generic_64";

/// A place with specifications of its own, a built target in the store `far`, and a cache of it that
/// `release` and `other` signed. `None` where nothing can be built.
pub fn built(env: &Environment) -> Option<(String, String)> {
    env.write(
        "metro.conf",
        "[collect /usr/share/mstore/specs/metro.conf]\n",
    );
    let ran = env.run(&["realise", "--store", "far", TARGET]);
    if ran.status != Some(0) && ran.stderr.contains("namespace") {
        println!("skipped: substitution: nothing can be built here");
        return None;
    }
    ran.ok();
    let mut keys = Vec::new();
    for name in ["release", "other"] {
        let out = format!("{name}.key");
        keys.push(env.run(&["key", "generate", name, "--out", &out]).ok());
        assert_eq!(env.run(&["key", "public", &out]).ok(), keys[keys.len() - 1]);
    }
    env.run(&[
        "key",
        "sign",
        "--store",
        "far",
        "--key",
        "other.key",
        TARGET,
    ])
    .ok();
    let to = [
        "copy",
        "--store",
        "far",
        "--to",
        "cache",
        "--cache",
        "--sign",
        "release.key",
        "--inputs",
        TARGET,
    ];
    env.run(&to).ok();
    Some((keys[0].trim().to_owned(), keys[1].trim().to_owned()))
}

/// Copies what the lock file pins.
pub fn seeds(env: &Environment, store: &str) {
    let lock = fs::read_to_string(env.work().join("metro.lock")).unwrap();
    let trees = lock.lines().filter_map(|line| line.strip_prefix("tree: "));
    let mut arguments = vec!["copy", "--store", "far", "--to", store];
    arguments.extend(trees);
    env.run(&arguments).ok();
}

pub fn config(env: &Environment, caches: &[(&str, &str)], keys: &[&str], need: usize) {
    let names: Vec<&str> = caches.iter().map(|(name, _)| *name).collect();
    let mut text = format!("caches: {}\n", names.join(" "));
    for (name, url) in caches {
        text.push_str(&format!("[section cache/{name}]\nurl: {url}\ntimeout: 1\n"));
    }
    text.push_str("[section trust]\n");
    if !keys.is_empty() {
        text.push_str(&format!("keys: [\n{}\n]\nneed: {need}\n", keys.join("\n")));
    }
    let path = env.work().join("mstore.conf");
    fs::write(path, text).unwrap();
}

#[test]
fn what_a_cache_has_is_not_built() {
    let env = Environment::new();
    let Some((release, other)) = built(&env) else {
        return;
    };
    let cache = env.work().join("cache").display().to_string();
    let realise = |store: &str, more: &[&str]| {
        let all = [
            &[
                "realise",
                "--config",
                "mstore.conf",
                "--store",
                store,
                "--json",
                TARGET,
            ][..],
            more,
        ]
        .concat();
        env.run(&all)
    };
    // A dry run tells, and does nothing.
    config(&env, &[("main", &cache)], &[&release, &other], 2);
    let dry = realise("one", &["-n"]).ok();
    let plan: serde_json::Value = serde_json::from_str(&dry).unwrap();
    assert_eq!(plan["build"].as_array().unwrap().len(), 0, "{dry}");
    assert!(
        plan["fetch"][0]["bytes"].as_u64().unwrap() > 1_000_000,
        "{dry}"
    );
    let steps = plan["substituted"].as_array().unwrap().len() as u64;
    assert!(steps > 3, "{dry}");
    let line = realise("one", &[]).ok();
    assert_eq!(
        (number(&line, "built"), number(&line, "substituted")),
        (0, steps)
    );
    assert_eq!(number(&line, "reused"), 0);
    let again = realise("one", &[]).ok();
    assert_eq!(
        (number(&again, "reused"), number(&again, "substituted")),
        (steps, 0)
    );
    assert!(
        env.run(&["store", "verify", "--store", "one"])
            .ok()
            .contains("no fault")
    );
    // It explains itself like one that was built here.
    let shown = env.run(&["show", "--store", "one", TARGET]).ok();
    assert!(!shown.contains("not built"), "{shown}");
    env.run(&["why", "rebuild", "--store", "one", TARGET]).ok();

    // A copy without building asks for the same trust.
    let copy = |more: &[&str]| {
        let all = [
            &["copy", "--store", "six", "--from", "cache", TARGET][..],
            more,
        ]
        .concat();
        env.run(&all)
    };
    seeds(&env, "six");
    let refused = copy(&[]).fails(3);
    assert!(
        refused.contains("no signing key is trusted here"),
        "{refused}"
    );
    let strange = format!("release:{}", other.split_once(':').unwrap().1);
    let wrong = copy(&["--trust", &strange]).fails(3);
    assert!(wrong.contains("wrong signature of release"), "{wrong}");
    let copied = copy(&["--trust", &release]).ok();
    assert!(copied.contains("copied 1 tree"), "{copied}");
    let known = env
        .run(&["realise", "--store", "six", "--json", TARGET])
        .ok();
    assert_eq!(
        (number(&known, "built"), number(&known, "reused")),
        (0, steps)
    );

    // One signature of two, a stranger's, none: everything is built.
    let key = |name: &str| {
        env.run(&["key", "generate", name, "--out", &format!("{name}.key")])
            .ok()
            .trim()
            .to_owned()
    };
    let (third, fourth) = (key("third"), key("fourth"));
    for (store, keys, need) in [
        ("two", vec![&*release, &*third], 2),
        ("three", vec![&*fourth], 1),
        ("four", vec![], 1),
    ] {
        config(&env, &[("main", &cache)], &keys, need);
        seeds(&env, store);
        let ran = realise(store, &["-n"]);
        assert!(ran.stderr.contains("trusted"), "{}", ran.all());
        let plan: serde_json::Value = serde_json::from_str(&ran.ok()).unwrap();
        assert_eq!(plan["substituted"].as_array().unwrap().len(), 0);
    }
    config(&env, &[("main", &cache)], &[&release], 1);
    seeds(&env, "five");
    let off = realise("five", &["-n", "--no-substitute"]).ok();
    assert!(off.contains("\"substituted\":[]"), "{off}");
}

#[test]
fn caches_that_are_down_are_passed_over_at_once() {
    let env = Environment::new();
    let Some((release, _)) = built(&env) else {
        return;
    };
    let cache = env.work().join("cache").display().to_string();
    // One refuses connections, one takes them and says nothing, one is not there.
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (closed, silent_url) = (
        format!("http://{closed}"),
        format!("http://{}", silent.local_addr().unwrap()),
    );
    let caches = [
        ("closed", &*closed),
        ("silent", &*silent_url),
        ("absent", "/nowhere/at/all"),
        ("main", &*cache),
    ];
    config(&env, &caches, &[&release], 1);
    let began = Instant::now();
    let ran = env.run(&[
        "realise",
        "--config",
        "mstore.conf",
        "--store",
        "one",
        "--json",
        TARGET,
    ]);
    let took = began.elapsed();
    for name in ["closed", "silent", "absent"] {
        let told = ran
            .stderr
            .matches(&format!("cache {name} is not used"))
            .count();
        assert_eq!(told, 1, "{}", ran.all());
    }
    let line = ran.ok();
    assert_eq!(number(&line, "built"), 0);
    assert!(number(&line, "substituted") > 3);
    assert!(took < Duration::from_secs(15), "{took:?}");

    // A cache that has facts and no longer the tree: it is built.
    for entry in fs::read_dir(env.work().join("cache/trees")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    config(&env, &[("main", &cache)], &[&release], 1);
    seeds(&env, "two");
    seeds(&env, "three");
    let line = env
        .run(&[
            "realise",
            "--config",
            "mstore.conf",
            "--store",
            "two",
            "--json",
            TARGET,
        ])
        .ok();
    assert!(number(&line, "built") > 0, "{line}");
    // One whose packs are damaged: told, and built.
    env.run(&["copy", "--store", "far", "--to", "cache", TARGET])
        .ok();
    for entry in fs::read_dir(env.work().join("cache/packs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "pack") {
            let mut bytes = fs::read(&path).unwrap();
            let end = bytes.len() - 2000;
            for at in (1000..end).step_by(4000) {
                bytes[at..at + 100].fill(0);
            }
            fs::write(&path, bytes).unwrap();
        }
    }
    let ran = env.run(&[
        "realise",
        "--config",
        "mstore.conf",
        "--store",
        "three",
        "--json",
        TARGET,
    ]);
    assert!(
        ran.stderr.contains("cache main is not used"),
        "{}",
        ran.all()
    );
    assert!(number(&ran.ok(), "built") > 0);
    assert!(
        env.run(&["store", "verify", "--store", "three"])
            .ok()
            .contains("no fault")
    );
}
