//! `metro.lock` and what it keeps alive.

use crate::environment::Environment;

/// The names of roots are bounded, paths of lock files are not.
#[test]
fn a_lock_file_at_a_long_path_keeps_its_trees() {
    let env = Environment::new();
    let folder = ["a".repeat(90), "b".repeat(90), "c".repeat(90)].join("/");
    let entry = format!("{folder}/metro.conf");
    env.write(&entry, "[collect /usr/share/mstore/specs/metro.conf]\n");
    env.write("tree/file", "content\n");
    let import = ["-f", &entry, "snapshot", "import", "tree", "--name", "mine"];
    let tree = env.run(&import).ok();
    let _ = env.run(&["-f", &entry, "gc"]).ok();
    // Collected with other specifications in effect, it lives too.
    let _ = env.run(&["gc"]).ok();
    let pin = format!("mine={}", tree.trim());
    let _ = env.run(&["-f", &entry, "lock", "--snapshot", &pin]).ok();
    // Out of the lock file, it goes.
    let _ = env.run(&["-f", &entry, "lock", "--remove", "mine"]).ok();
    let _ = env.run(&["-f", &entry, "gc"]).ok();
    let refused = env.run(&["-f", &entry, "lock", "--snapshot", &pin]);
    assert!(
        refused
            .fails(2)
            .contains("has no tree whose hash begins with")
    );
}
