//! `mstore snapshot`.

use insta::assert_snapshot;

use crate::environment::Environment;

#[test]
fn a_snapshot_that_is_not_there() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["snapshot", "import", "none"]).fails(2), @"
    error: cannot find none: No such file or directory (os error 2)
    hint: give the path of a folder, a git repository or an archive
    ");
    assert!(!env.store().exists());
}
