//! What only asks makes no store, and needs none that can be written.

use super::environment::Environment;

const ASKING: &[&[&str]] = &[
    &["list", "targets"],
    &["eval", "target"],
    &["show", "seedling/x86-64bit/generic_64/stage1"],
    &["graph", "seedling/x86-64bit/generic_64/stage1"],
    &["lock"],
    &[
        "realise",
        "--dry-run",
        "seedling/x86-64bit/generic_64/stage1",
    ],
    &["log", "seedling/x86-64bit/generic_64/stage1"],
    &["store", "verify"],
];

#[test]
fn asking_makes_no_store() {
    let env = Environment::new();
    for command in ASKING {
        let ran = env.run(command);
        assert!(
            !ran.stderr.contains("read-only") && !ran.stderr.contains("database"),
            "{command:?}: {}",
            ran.all()
        );
        assert!(!env.store().exists(), "{command:?}");
    }
    let text = env.run(&["store", "verify"]).fails(2);
    assert_eq!(
        text,
        "error: no store at $TEST/store\n\
         hint: `mstore realise` makes it; another one is given by --store DIR\n"
    );
}
