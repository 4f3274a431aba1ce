//! Definitions from outside, versions, and what has to be given before anything can be built.

use insta::assert_snapshot;

use crate::environment::Environment;
use crate::samples::with_seed;

/// A collected file chooses between a value of the user's and one of its own.
const LIBRARY: &str = "\
[section hook]
flags: hook-$[user/flags?]
[section chosen]
[when hook/flags is hook-yes]
flags: $[user/flags]
[when hook/flags is hook-no]
flags: $[machine/flags]
[section machine]
flags: -O2
[section env]
CFLAGS: $[chosen/flags]
[section policy]
timeout: 60
[section steps/chroot]
run: [
make
]
";

fn with_library() -> Environment {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: pc\nlist/subarches/pc: a\nlist/targets: stage1\n\
         target/platform: x86_64\ntarget/version: 1\nsource: seed\nsource/seed: base\n[collect ./lib.conf]\n",
    );
    env.write("lib.conf", LIBRARY);
    env
}

#[test]
fn a_definition_that_meets_one_of_a_collected_file_is_told_of_the_hook() {
    let env = with_library();
    let help = |words: &[&str]| {
        let error = env.run(words).fails(2);
        let help = error.lines().filter(|line| line.contains("= help"));
        help.map(str::trim).collect::<Vec<_>>().join("\n")
    };
    // Made of it, beside it, and without any.
    let show = |definition| help(&["-D", definition, "show", "stage1-a"]);
    assert_snapshot!(show("env/CFLAGS=-O3"), @"
    = help: the command line replaces definitions of the main file only
    = help: define `user/flags`: it is there to take the place of `env/CFLAGS`
    ");
    assert_snapshot!(show("machine/flags=-O3"), @"
    = help: the command line replaces definitions of the main file only
    = help: define `user/flags`: it is there to take the place of `machine/flags`
    ");
    assert_snapshot!(show("policy/timeout=5"), @"= help: the command line replaces definitions of the main file only");
    assert_snapshot!(help(&["eval", "chosen/flags=-O3"]), @"
    = help: the command line replaces definitions of the main file only
    = help: define `user/flags`: it is there to take the place of `chosen/flags`
    = help: the command line replaces definitions of the main file only
    = help: define `user/flags`: it is there to take the place of `chosen/flags`
    ");
    let shown = env.run(&["-D", "user/flags=-O3", "show", "stage1-a"]).ok();
    assert!(shown.contains("env CFLAGS=-O3"), "{shown}");
    // The standard specifications have such elements too.
    let standard = Environment::new();
    let error = standard
        .run(&["-D", "subarch/CFLAGS=-O1", "show", "stage3-corei7"])
        .fails(2);
    let help = error.lines().filter(|line| line.contains("user/CFLAGS"));
    assert_snapshot!(help.map(str::trim).collect::<Vec<_>>().join("\n"), @"= help: define `user/CFLAGS`: it is there to take the place of `subarch/CFLAGS`");
}

#[test]
fn a_definition_that_nothing_reads_is_a_warning() {
    let env = with_library();
    let mut warnings = Vec::new();
    for words in [
        &["show", "stage1-a"][..],
        &["graph", "stage1-a"],
        &["why", "rebuild", "stage1-a"],
    ] {
        let ran = env.run(&[&["-D", "user/flag=-O3"][..], words].concat());
        warnings.push(ran.stderr.clone());
        let _ = ran.ok();
        let ran = env.run(&[&["-D", "user/flags=-O3"][..], words].concat());
        assert_eq!(ran.stderr, "");
        // What mstore itself reads is read, whether any text mentions it or not.
        let ran = env.run(&[&["-D", "env/FOO=bar"][..], words].concat());
        assert_eq!(ran.stderr, "");
        let ran = env.run(&[&["-D", "target/class=one"][..], words].concat());
        assert_eq!(ran.stderr, "");
    }
    assert_snapshot!(warnings.concat(), @"
    warning: --define user/flag: nothing reads this element; nearest: user/flags
    warning: --define user/flag: nothing reads this element; nearest: user/flags
    warning: --define user/flag: nothing reads this element; nearest: user/flags
    ");
    let ran = env.run(&["-D", "xyz=1", "realise", "-n", "stage1-a"]);
    assert_snapshot!(ran.fails(2), @"
    warning: --define xyz: nothing reads this element
    error: $TEST/work/metro.lock has no seed `base`, which demo/pc/a/stage1 needs
    hint: import one with `mstore seed import FILE.tar.xz --name base`, or capture this machine with `mstore seed host --name base`
    ");
}

#[test]
fn everything_that_only_people_can_give_is_named_at_once() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: pc\nlist/subarches/pc: a b c d e f\nlist/targets: stage1 stage2\n\
         target/platform: x86_64\ntarget/version: 1\nsource: seed\nsource/seed: base\nsnapshot: ports\n\
         snapshot/beside: kit-one kit-two\nsteps/chroot/run: [\ntrue\n]\n",
    );
    assert_snapshot!(env.run(&["realise", "stage1-a", "stage2-*"]).fails(2), @"
    note: 6 targets left out, stage2-a and 5 more: the seed base is lacking
    error: $TEST/work/metro.lock has no seed `base`, which demo/pc/a/stage1 needs
      and no snapshot `kit-one`, which demo/pc/a/stage1 needs
      and no snapshot `kit-two`, which demo/pc/a/stage1 needs
      and no snapshot `ports`, which demo/pc/a/stage1 needs
    hint: import one with `mstore seed import FILE.tar.xz --name base`, or capture this machine with `mstore seed host --name base`
    hint: import it with `mstore snapshot import DIR --name kit-one` (a directory, git repository or tarball)
    hint: import it with `mstore snapshot import DIR --name kit-two` (a directory, git repository or tarball)
    hint: import it with `mstore snapshot import DIR --name ports` (a directory, git repository or tarball)
    ");
    // A dry run ends in the same way.
    assert_snapshot!(env.run(&["realise", "-n", "stage1-a"]).fails(2), @"
    error: $TEST/work/metro.lock has no seed `base`, which demo/pc/a/stage1 needs
      and no snapshot `kit-one`, which demo/pc/a/stage1 needs
      and no snapshot `kit-two`, which demo/pc/a/stage1 needs
      and no snapshot `ports`, which demo/pc/a/stage1 needs
    hint: import one with `mstore seed import FILE.tar.xz --name base`, or capture this machine with `mstore seed host --name base`
    hint: import it with `mstore snapshot import DIR --name kit-one` (a directory, git repository or tarball)
    hint: import it with `mstore snapshot import DIR --name kit-two` (a directory, git repository or tarball)
    hint: import it with `mstore snapshot import DIR --name ports` (a directory, git repository or tarball)
    ");
    let run = env.run(&["realise", "stage1-a"]).fails(2);
    assert_eq!(run, env.run(&["realise", "-n", "stage1-a"]).fails(2));
    assert!(!env.work().join("metro.lock").exists());
}

/// Pinned, and gone from the store.
#[test]
fn a_dry_run_refuses_a_seed_that_is_not_here_any_more() {
    let env = with_library();
    let other = with_seed();
    let store = other.store();
    let store = store.to_str().unwrap();
    env.write(
        "good.tar",
        std::fs::read(other.work().join("good.tar")).unwrap(),
    );
    let _ = env
        .run(&[
            "--store", store, "seed", "import", "good.tar", "--name", "base",
        ])
        .ok();
    let run = env.run(&["realise", "stage1-a"]);
    let dry = env.run(&["realise", "-n", "stage1-a"]);
    assert_eq!((run.status, &run.stderr), (dry.status, &dry.stderr));
    assert_snapshot!(dry.fails(3), @"
    error: the seed `base` of demo/pc/a/stage1 is not in the store: jhpqnvwn6xsej3p2nia52xn6wrjfzbppai25jc46gbufkqkzab6q
    hint: import it again: `mstore seed import FILE.tar.xz --name base`
    ");
}

#[test]
fn a_target_without_a_snapshot_has_the_version_of_what_it_starts_from() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: pc\nlist/subarches/pc: a\nlist/targets: stage1 stage2 stage3 round other\n\
         target/platform: x86_64\nsteps/chroot/run: [\necho $[target/version]\n]\n[collect ./$[target:zap].conf]\n",
    );
    env.write(
        "stage1.conf",
        "source: seed\nsource/seed: base\nsnapshot: ports\n",
    );
    env.write("stage2.conf", "source: stage1\n");
    env.write(
        "stage3.conf",
        "source: stage2\nsource/version: $[target/version]\n",
    );
    env.write("round.conf", "source: round\n");
    env.write("other.conf", "source: seed\nsource/seed: base\n");
    let tree = "a".repeat(52);
    env.write(
        "metro.lock",
        format!("[section snapshot/ports]\ntree: {tree}\ndate: 2026-11-20\n[section seed/base]\ntree: {tree}\ndate: 2026-10-01\n"),
    );
    for (target, version) in [
        ("stage1", "2026-11-20"),
        ("stage2", "2026-11-20"),
        ("stage3", "2026-11-20"),
        // A seed has no version.
        ("other", "1980-01-01"),
    ] {
        let shown = env.run(&["show", &format!("{target}-a")]).ok();
        assert!(shown.contains(&format!(", version {version}\n")), "{shown}");
        assert!(shown.ends_with(&format!("echo {version}\n")), "{shown}");
    }
    let error = env.run(&["show", "round-a"]).fails(2);
    assert!(error.contains("round-a"), "{error}");
}
