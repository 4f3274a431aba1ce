//! Names that are not UTF-8: told exactly in JSON, and taken on the command line.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use mstore_store::{ImportOptions, OpenOptions, Store, TreeHash};
use serde_json::Value;

use crate::environment::{Environment, Ran};

/// Two names that differ in one byte, and look the same where such bytes are replaced.
const NAMES: [&[u8]; 2] = [b"lat\xedn", b"lat\xeen"];

fn sample(env: &Environment) -> TreeHash {
    let folder = env.work().join("in").join(OsStr::from_bytes(b"d\xff"));
    fs::create_dir_all(&folder).unwrap();
    for name in NAMES {
        fs::write(folder.join(OsStr::from_bytes(name)), name).unwrap();
    }
    std::os::unix::fs::symlink(OsStr::from_bytes(NAMES[0]), folder.join("link")).unwrap();
    fs::hard_link(
        folder.join(OsStr::from_bytes(NAMES[1])),
        folder.join("linked"),
    )
    .unwrap();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let tree = store.import_dir(&env.work().join("in"), &ImportOptions::default());
    let tree = tree.unwrap().tree;
    store.add_root("t", tree).unwrap();
    tree
}

/// The bytes of a field, as a script reads them.
fn exact(value: &Value, field: &str) -> Vec<u8> {
    match value.get(format!("{field}_base64")) {
        Some(text) => decode(text.as_str().unwrap()),
        None => value[field].as_str().unwrap().as_bytes().to_vec(),
    }
}

fn decode(text: &str) -> Vec<u8> {
    let digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bits: String = text
        .trim_end_matches('=')
        .chars()
        .map(|c| format!("{:06b}", digits.find(c).unwrap()))
        .collect();
    let bytes = bits.as_bytes().chunks_exact(8);
    bytes
        .map(|byte| u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap())
        .collect()
}

/// Runs a command on a place in the tree that need not be UTF-8.
fn at(env: &Environment, command: &[&str], path: &[u8]) -> Ran {
    let mut command = env.command(command);
    command.arg(OsString::from_vec([b"t:", path].concat()));
    env.finish(command.output().unwrap())
}

#[test]
fn what_ls_tells_can_be_given_to_cat() {
    let env = Environment::new();
    sample(&env);
    let list = env.run(&["store", "ls", "-r", "--json", "t"]).ok();
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let files: Vec<Vec<u8>> = list
        .iter()
        .filter(|entry| entry["kind"] == "file" && entry["name"] != "d\u{fffd}/linked")
        .map(|entry| exact(entry, "name"))
        .collect();
    let expected = NAMES.map(|name| [b"d\xff/", name].concat());
    assert_eq!(files, expected);
    for (path, name) in files.iter().zip(NAMES) {
        let mut command = env.command(&["store", "cat"]);
        command.arg(OsString::from_vec([b"t:", &path[..]].concat()));
        let output = command.output().unwrap();
        assert!(output.status.success());
        assert_eq!(output.stdout, name);
    }
    let link = list
        .iter()
        .find(|entry| entry["kind"] == "symlink")
        .unwrap();
    assert_eq!(exact(link, "target"), NAMES[0]);
    // For people both can be told apart as well, and typed in: $'lat\xedn'.
    let list = at(&env, &["store", "ls"], b"d\xff").ok();
    assert!(
        list.contains(r" lat\xedn") && list.contains(r" lat\xeen"),
        "{list}"
    );
}

#[test]
fn other_commands_tell_exact_names_too() {
    let env = Environment::new();
    let tree = sample(&env);
    let found = env.run(&["store", "find", "lat*", "--json"]).ok();
    let found: Vec<Value> = serde_json::from_str(&found).unwrap();
    let paths: Vec<Vec<u8>> = found.iter().map(|f| exact(f, "path")).collect();
    assert_eq!(paths, NAMES.map(|name| [b"d\xff/", name].concat()));
    let stat = at(&env, &["store", "stat", "--json"], b"d\xff/linked").ok();
    let stat: Value = serde_json::from_str(&stat).unwrap();
    let names = stat["hard_links_base64"].as_array().unwrap();
    let names: Vec<Vec<u8>> = names.iter().map(|n| decode(n.as_str().unwrap())).collect();
    assert_eq!(
        names,
        [b"d\xff/lat\xeen".to_vec(), b"d\xff/linked".to_vec()]
    );
    let du = at(&env, &["store", "du", "--json"], b"d\xff").ok();
    assert_eq!(exact(&serde_json::from_str(&du).unwrap(), "path"), b"d\xff");
    // Why it lives.
    let hash = mstore_store::Hash::of(NAMES[0]).to_string();
    let why = env.run(&["why", "alive", &hash, "--json"]).ok();
    let why: Value = serde_json::from_str(&why).unwrap();
    assert_eq!(exact(&why["keepers"][0], "path"), b"d\xff/lat\xedn");
    // What differs.
    fs::write(
        env.work()
            .join("in")
            .join(OsStr::from_bytes(b"d\xff/lat\xedn")),
        "other",
    )
    .unwrap();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let other = store.import_dir(&env.work().join("in"), &ImportOptions::default());
    let other = other.unwrap().tree;
    store.add_root("other", other).unwrap();
    let diff = env.run(&["diff", "--json", &tree.to_string(), &other.to_string()]);
    assert_eq!(diff.status, Some(1), "{}", diff.all());
    let diff: Value = serde_json::from_str(&diff.stdout).unwrap();
    assert_eq!(exact(&diff["paths"][0], "path"), b"d\xff/lat\xedn");
}

#[test]
fn a_tree_has_a_name_that_is_text() {
    let env = Environment::new();
    sample(&env);
    let mut command = env.command(&["store", "ls"]);
    command.arg(OsStr::from_bytes(b"t\xff:x"));
    let error = env.finish(command.output().unwrap()).fails(2);
    insta::assert_snapshot!(error, @r"
    error: `t\xff` is not the name of a target or root, nor a hash
    hint: a path, which may be any bytes, stands behind a colon: TREE:PATH
    ");
}
