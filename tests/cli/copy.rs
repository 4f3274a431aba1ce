//! `mstore copy` where there is no room.

use crate::environment::Environment;
use crate::samples::{large_tree, on_full_disk};

#[test]
fn a_copy_that_does_not_fit() {
    let env = Environment::new();
    let tree = large_tree(&env).to_string();
    let arguments = ["copy", "--quiet", "--to", "small/cache", "--cache", &tree];
    let Some(ran) = on_full_disk(&env, &arguments) else {
        return;
    };
    let text = ran.fails(3);
    // Names of packs are random.
    assert!(
        text.starts_with("error: no space left: cannot write pack: small/cache/packs/"),
        "{text}"
    );
    assert!(
        text.contains("; the file system at $TEST/work/small has 0 B of 2.1 MB free; the copy has 5.0 MB, before compression"),
        "{text}"
    );
    assert!(text.contains("write to another file system"), "{text}");
}

#[test]
fn a_place_as_scp_names_it_is_no_folder() {
    let env = crate::environment::Environment::new();
    let error = env
        .run(&["copy", "stage3-corei7", "--to", "me@host:store"])
        .fails(2);
    assert!(
        error.contains("write ssh://[USER@]HOST/STORE, or ./ in front of a folder's name"),
        "{error}"
    );
    assert!(!env.work().join("me@host:store").exists());
}
