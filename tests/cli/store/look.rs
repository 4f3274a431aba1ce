//! `mstore store ls|cat|stat|du|find`.

use std::fs;

use mstore_store::{Hash, ImportOptions, OpenOptions, Store};

use crate::environment::Environment;
use crate::samples::two_trees;

#[test]
fn trees_can_be_looked_into() {
    let env = Environment::new();
    let (one, _) = two_trees(&env);
    let hash = one.to_string();
    let at = |path: &str| format!("{}:{path}", &hash[..6]);
    let ls = env.run(&["store", "ls", &at("")]).ok();
    insta::assert_snapshot!(ls, @r"
    lrwxrwxrwx 0 0 - 1980-01-01 00:00:00 bin -> usr/bin
    drwxr-xr-x 0 0 - 1980-01-01 00:00:00 etc
    drwxr-xr-x 0 0 - 1980-01-01 00:00:00 usr
    ");
    let ls = env.run(&["store", "ls", "-r", &at("/usr")]).ok();
    insta::assert_snapshot!(ls, @r"
    drwxr-xr-x 0 0   - 1980-01-01 00:00:00 bin
    -rw-r--r-- 0 0  10 1980-01-01 00:00:00 bin/tool
    drwxr-xr-x 0 0   - 1980-01-01 00:00:00 share
    -rw-r--r-- 0 0 900 1980-01-01 00:00:00 share/same
    ");
    let ls = env.run(&["store", "ls", "--json", &at("bin")]).ok();
    insta::assert_snapshot!(ls, @r#"
    [
      {
        "gid": 0,
        "hash": "xqpua6qrze3xzc43cp4vnmtzzbdco5iql24vr7e24pca32d4zfxa",
        "kind": "file",
        "mode": "0644",
        "mtime": 315532800,
        "mtime_nanos": 0,
        "name": "tool",
        "size": 10,
        "uid": 0
      }
    ]
    "#);
    assert_eq!(
        env.run(&["store", "cat", &at("bin/tool")]).ok(),
        "#!/bin/sh\n"
    );
    assert_eq!(env.run(&["store", "cat", &at("/etc/name")]).ok(), "one\n");
    let stat = env.run(&["store", "stat", &at("bin")]).ok();
    assert!(stat.contains("kind: symlink"), "{stat}");
    assert!(stat.contains("target: usr/bin"), "{stat}");
    let du = env.run(&["store", "du", "--json", &at("")]).ok();
    let du: serde_json::Value = serde_json::from_str(&du).unwrap();
    assert_eq!((&du["entries"], &du["bytes"]), (&8.into(), &914.into()));
    let number = |name: &str| du[name].as_u64().unwrap();
    assert_eq!(number("stored"), number("unique") + number("shared"));
    assert!(number("unique") > 0 && number("shared") > 0, "{du}");
    let path = env.run(&["store", "path", &at("etc/name")]).ok();
    let path = path
        .trim()
        .replace("$TEST", &env.store().parent().unwrap().to_string_lossy());
    assert_eq!(fs::read_to_string(path).unwrap(), "one\n");
    // What is wrong is said.
    let error = env.run(&["store", "cat", &at("etc/nothing")]).fails(2);
    assert!(error.contains("has no entry: etc/nothing"), "{error}");
    let error = env.run(&["store", "cat", &at("etc")]).fails(2);
    assert!(error.contains("not a file"), "{error}");
    let error = env.run(&["store", "ls", "zzzz"]).fails(2);
    assert!(
        error.contains("no tree whose hash begins with zzzz"),
        "{error}"
    );
    let error = env.run(&["store", "ls", "stage3-corei7"]).fails(2);
    assert!(error.contains("not built"), "{error}");
}

#[test]
fn names_are_whole_in_json_and_cannot_upset_a_terminal() {
    let env = Environment::new();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    env.write("odd/new\nline", "x");
    std::os::unix::fs::symlink("a\tb", env.work().join("odd/esc\u{1b}[31m")).unwrap();
    let imported = store.import_dir(&env.work().join("odd"), &ImportOptions::snapshot());
    let hash = imported.unwrap().tree.to_string();
    drop(store);
    for arguments in [&["store", "ls", &hash][..], &["store", "find", "*e*"]] {
        let told = env.run(arguments).ok();
        assert_eq!(told.lines().count(), 2, "{told}");
        assert!(!told.contains('\u{1b}'), "{told}");
        let json: serde_json::Value =
            serde_json::from_str(&env.run(&[arguments, &["--json"]].concat()).ok()).unwrap();
        let names: Vec<&str> = json
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|e| e["name"].as_str().or(e["path"].as_str()))
            .collect();
        assert_eq!(names, ["esc\u{1b}[31m", "new\nline"]);
    }
    let at = format!("{hash}:esc\u{1b}[31m");
    let stat = env.run(&["store", "stat", "--json", &at]).ok();
    let stat: serde_json::Value = serde_json::from_str(&stat).unwrap();
    assert_eq!(stat["target"], "a\tb");
}

#[test]
fn things_are_found_in_all_trees() {
    let env = Environment::new();
    let (one, two) = two_trees(&env);
    let blob = Hash::of("the same\n".repeat(100).as_bytes()).to_string();
    let found = env.run(&["store", "find", &blob[..10]]).ok();
    let mut expected = [one, two]
        .map(|tree| format!("{tree}:usr/share/same (seedling/x86-64bit/corei7/stage1)\n"));
    expected.sort();
    assert_eq!(found, expected.concat());
    let found = env
        .run(&["store", "find", "t*l", "--in", &one.to_string()])
        .ok();
    assert!(found.contains(":usr/bin/tool"), "{found}");
    let found = env
        .run(&["store", "find", "--json", "name", "--limit", "1"])
        .ok();
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["path"], "etc/name");
    assert!(
        env.run(&["store", "find", "nowhere"])
            .fails(1)
            .contains("nothing")
    );
    let info = env.run(&["store", "info", "--json"]).ok();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    for (name, number) in [
        ("trees", 2),
        ("blobs", 4),
        ("tree_bytes", 2 * 914),
        ("realisations", 2),
        ("attempts", 2),
        ("garbage_bytes", 0),
    ] {
        assert_eq!(info[name], number, "{name} of {info}");
    }
    assert!(info["ratio"].as_f64().unwrap() > 1.0);
    assert!(
        env.run(&["store", "info"])
            .ok()
            .contains("the next gc would free 0 B")
    );
}
