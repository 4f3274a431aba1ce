//! Between stores in folders.

use crate::environment::Environment;
use crate::support::{has, import, number};

#[test]
fn only_what_is_missing_travels_in_both_directions() {
    let env = Environment::new();
    let other = env.work().join("other");
    let tree = import(&env.store(), 1).to_string();
    let first = env.run(&["copy", "--to", "other", &tree, "--json"]).ok();
    assert!(number(&first, "bytes") > 6_000_000);
    let again = env.run(&["copy", "--to", "other", &tree, "--json"]).ok();
    assert_eq!((number(&again, "bytes"), number(&again, "objects")), (0, 0));
    let second = import(&other, 2);
    let text = second.to_string();
    let dry = env
        .run(&["copy", "--from", "other", &text, "-n", "--json"])
        .ok();
    assert!(!has(&env.store(), second));
    let back = env
        .run(&["copy", "--from", "other", &text, "--root", "kept", "--json"])
        .ok();
    assert_eq!(number(&dry, "content"), number(&back, "content"));
    assert!(has(&env.store(), second));
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    // It lives by its name.
    env.run(&["gc"]).ok();
    assert!(has(&env.store(), second));
}

#[test]
fn mistakes_are_told() {
    let env = Environment::new();
    let tree = import(&env.store(), 1).to_string();
    env.write("full/file", "x");
    let full = env.run(&["copy", "--to", "full", &tree]).fails(2);
    assert!(full.contains("neither a store nor a cache"), "{full}");
    let itself = env.store().display().to_string();
    let itself = env.run(&["copy", "--to", &itself, &tree]).fails(2);
    assert!(itself.contains("the store itself"), "{itself}");
    let unknown = env.run(&["copy", "--to", "ftp://x", &tree]).fails(2);
    assert!(unknown.contains("ssh://"), "{unknown}");
    let absent = env.run(&["copy", "--from", "absent", &tree]).fails(2);
    assert!(absent.contains("no store and no cache"), "{absent}");
    let missing = "a".repeat(52);
    let missing = env.run(&["copy", "--to", "other", &missing]).fails(2);
    assert!(missing.contains("the store has no tree"), "{missing}");
    let web = env
        .run(&["copy", "--to", "http://localhost/x", &tree])
        .fails(2);
    assert!(web.contains("cannot be copied to"), "{web}");
    let blind = [
        "copy",
        "--from",
        "http://localhost/x",
        "stage1-generic_64",
        "--trust-unsigned",
    ];
    assert!(env.run(&blind).fails(2).contains("not from a web server"));
}
