//! `mstore log`.

use mstore_store::{Attempt, Hash, OpenOptions, Outcome, RealisationKind, Store};

use crate::environment::Environment;
use crate::samples::two_trees;

#[test]
fn attempts_are_listed_also_those_that_failed() {
    let env = Environment::new();
    two_trees(&env);
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    store
        .note_attempt(&Attempt {
            kind: RealisationKind::Step,
            key: Hash::of(b"key"),
            drv: Hash::of(b"drv"),
            name: "demo/x86-64bit/corei7/stage1:run".into(),
            tree: None,
            started: 1_700_000_000,
            seconds: 2.5,
            host: "builder".into(),
            outcome: Outcome::Failed,
            phase: Some("run".into()),
            detail: Some("exit status 7".into()),
            log: Some("a.log".into()),
        })
        .unwrap();
    drop(store);
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: x86-64bit\nlist/subarches/x86-64bit: corei7\n\
         list/targets: stage1\ndefault/build: demo\ntarget/platform: x86_64\n\
         target/version: 1\nsource: seed\nsource/seed: base\nsteps/chroot/run: [\ntrue\n]\n",
    );
    let log = env.run(&["log", "stage1-corei7", "--attempts"]);
    insta::assert_snapshot!(log.ok(), @"2023-11-14 22:13:20 stage1-corei7:run failed: exit status 7 (2.5 s on builder) $TEST/store/logs/a.log");
    let log = env
        .run(&["log", "stage1-corei7:run", "--attempts", "--json"])
        .ok();
    let log: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(log[0]["outcome"], "failed");
    assert_eq!(log[0]["phase"], "run");
    let why = env.run(&["why", "rebuild", "stage1-corei7"]).ok();
    assert!(
        why.contains("the last attempt, 2023-11-14 22:13:20, failed: exit status 7"),
        "{why}"
    );
}
