//! `mstore store repack`.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use mstore_store::{ImportOptions, OpenOptions, Store};

use crate::environment::Environment;

/// Ctrl-C in the middle: the old packs stay, and whoever waits for it learns that it is not done.
#[test]
fn a_repack_that_is_interrupted_says_so_and_loses_nothing() {
    let env = Environment::new();
    let mut words = String::new();
    let mut state = 1u64;
    while words.len() < 24 << 20 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        words.push_str(&format!("{:x} of some words\n", state >> 40));
    }
    env.write("tree/words", words);
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let imported = store.import_dir(&env.work().join("tree"), &ImportOptions::snapshot());
    store.add_root("words", imported.unwrap().tree).unwrap();
    drop(store);
    let mut command = env.command(&["store", "repack"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Its new pack is begun.
    let begun = || {
        let sessions = fs::read_dir(env.store().join("tmp")).unwrap();
        let mut files = sessions.filter_map(|session| fs::read_dir(session.ok()?.path()).ok());
        files.any(|mut files| files.next().is_some())
    };
    let start = Instant::now();
    while !begun() && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = env.finish(child.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(130), "{}", ran.all());
    assert!(ran.stdout.contains("the next one goes on"), "{}", ran.all());
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    // The configuration may ask for it after each collection.
    fs::write(env.store().join("mstore.conf"), "gc/repack: yes\n").unwrap();
    let again = env.run(&["gc"]);
    assert_eq!(again.status, Some(0), "{}", again.all());
    let said = again.all();
    assert!(
        said.contains("repacked ") && !said.contains("repacked 0"),
        "{said}"
    );
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
}
