//! Finding the specifications: the entry file above, another folder, the standard ones.

use std::fs;

use crate::environment::Environment;

const SMALL: &str = "\
[section list]
builds: b
arches: a
subarches/a: s
targets: t
[section target]
platform: x86_64
[section source]
: seed
seed: x
[section steps]
chroot: run
[section steps/chroot]
run: [
true
]
";

#[test]
fn the_entry_file_of_a_folder_above_is_found() {
    let env = Environment::new();
    env.write("metro.conf", SMALL);
    env.write("sub/deep/keep", "");
    assert_eq!(env.run(&["-C", "sub/deep", "list", "*"]).ok(), "t-s\n");
    // A nearer one comes first, and then nothing above counts.
    env.write("sub/metro.conf", SMALL.replace("targets: t", "targets: u"));
    assert_eq!(env.run(&["-C", "sub/deep", "list", "*"]).ok(), "u-s\n");
    assert_eq!(env.run(&["list", "*"]).ok(), "t-s\n");
    // The lock file lies beside it.
    fs::create_dir(env.work().join("seed")).unwrap();
    env.write("seed/bin", "");
    let import = [
        "-C",
        "sub/deep",
        "seed",
        "import",
        "../../seed",
        "--name",
        "x",
    ];
    env.run(&import).ok();
    assert!(env.work().join("sub/metro.lock").is_file());
    assert!(!env.work().join("sub/deep/metro.lock").exists());
}

#[test]
fn a_folder_that_cannot_be_entered_is_named() {
    let env = Environment::new();
    let error = env.run(&["-C", "nowhere", "list"]).fails(2);
    assert_eq!(
        error,
        "error: cannot enter nowhere: No such file or directory (os error 2)\n"
    );
}

#[test]
fn the_standard_specifications_are_named_where_nobody_asked_for_them() {
    let env = Environment::new();
    let note = "note: there is no metro.conf here or above";
    assert!(env.run(&["list"]).stderr.contains(note));
    let named = ["-f", "/usr/share/mstore/specs/metro.conf", "list"];
    assert!(!env.run(&named).stderr.contains(note));
}

#[test]
fn standard_specifications_are_listed_printed_and_replaced() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "[collect /usr/share/mstore/specs/metro.conf]\n",
    );
    let path = "targets/seedling/stage1.conf";
    let all = env.run(&["specs", "list"]).ok();
    assert!(all.lines().any(|line| line == path), "{all}");
    assert!(all.lines().all(|line| !line.starts_with("ports/")), "{all}");
    let text = env.run(&["specs", "cat", path]).ok();
    assert!(text.contains("[section steps/chroot]"), "{text}");

    let whole = format!("/usr/share/mstore/specs/{path}");
    env.run(&["specs", "export", "-n", path]).ok();
    assert!(!env.work().join("specs").exists());
    env.run(&["specs", "export", &whole]).ok();
    let own = env.work().join("specs").join(path);
    assert_eq!(fs::read_to_string(&own).unwrap(), text);

    // What was changed there stays, and counts.
    let changed = text.replace("spm --root", "false; spm --root");
    fs::write(&own, &changed).unwrap();
    let error = env.run(&["specs", "export", "targets"]).fails(2);
    assert!(
        error.contains("is there already, and nothing was written"),
        "{error}"
    );
    assert!(
        !env.work()
            .join("specs/targets/seedling/stage2.conf")
            .exists()
    );
    assert_eq!(fs::read_to_string(&own).unwrap(), changed);
    let listed = env.run(&["specs", "list"]).ok();
    let replaced = listed.lines().filter(|line| line.contains("replaced by"));
    assert_eq!(replaced.count(), 1, "{listed}");
    env.run(&["specs", "export", "--force", "targets"]).ok();
    assert_eq!(fs::read_to_string(&own).unwrap(), text);

    let error = env.run(&["specs", "cat", "targets"]).fails(2);
    assert!(error.contains("`mstore specs list`"), "{error}");
}

#[test]
fn an_error_in_a_standard_file_says_how_to_replace_it() {
    let env = Environment::new();
    // A subarch whose file lacks what a standard file refers to.
    env.write(
        "specs/subarch/mine.conf",
        "[section subarch]\nmachine: x86_64\n",
    );
    env.write(
        "metro.conf",
        "[collect /usr/share/mstore/specs/metro.conf]\n[section user]\nsubarches/x86-64bit: mine\n",
    );
    let error = env.run(&["show", "stage3-mine"]).fails(2);
    assert!(error.contains("mstore specs export"), "{error}");
}
