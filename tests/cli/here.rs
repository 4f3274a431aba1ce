//! What this machine can build, and what is said of the rest.

use crate::environment::Environment;
use crate::samples::{tar_archive, tar_file};

/// One subarch of this machine, one of another kind, and one whose seed is lacking.
fn three_kinds() -> Environment {
    let env = Environment::new();
    let machine = rustix::system::uname();
    let machine = machine.machine().to_string_lossy().into_owned();
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: home away\nlist/subarches/home: a bare\n\
         list/subarches/away: b\nlist/targets: stage1\ndefault/build: demo\ntarget/version: 1\n\
         source: seed\nsteps/chroot/run: [\ntrue\n]\n[collect ./$[target/subarch:zap].conf]\n",
    );
    for (subarch, platform, seed) in [
        ("a", machine.as_str(), "base"),
        ("bare", machine.as_str(), "nowhere"),
        ("b", "vax", "base"),
    ] {
        env.write(
            &format!("{subarch}.conf"),
            format!("target/platform: {platform}\nsource/seed: {seed}\n"),
        );
    }
    env.write("base.tar", tar_archive(&[tar_file("bin/a", b"hello")]));
    let _ = env.run(&["seed", "import", "base.tar"]).ok();
    env
}

#[test]
fn patterns_take_what_this_machine_can_build_and_say_what_they_leave_out() {
    let env = three_kinds();
    insta::assert_snapshot!(env.run(&["realise", "-n", "*"]).all(), @r"
    status: 0
    --- stdout
    would build stage1-a:run: never built
    would reuse 0 steps
    would take an unknown time: the step was never built here
    --- stderr
    note: 1 target left out, stage1-b: programs for vax do not run on this machine
    note: 1 target left out, stage1-bare: the seed nowhere is lacking
    ");
    insta::assert_snapshot!(env.run(&["realise", "-n", "*-b"]).all(), @r"
    status: 2
    --- stdout
    --- stderr
    note: 1 target left out, stage1-b: programs for vax do not run on this machine
    error: nothing of what was asked for can be built on this machine
    hint: `mstore list` marks what can
    ");
}

#[test]
fn a_dry_run_refuses_what_the_run_refuses() {
    let env = three_kinds();
    let dry = env.run(&["realise", "-n", "stage1-b"]).fails(3);
    assert!(dry.contains("machine cannot run programs for vax"), "{dry}");
}

#[test]
fn keep_going_goes_on_past_what_cannot_be_built() {
    let env = three_kinds();
    let words = ["realise", "-n", "-k", "stage1-b", "stage1-bare", "stage1-a"];
    insta::assert_snapshot!(env.run(&words).all(), @r"
    status: 0
    --- stdout
    would build stage1-a:run: never built
    would reuse 0 steps
    would take an unknown time: the step was never built here
    --- stderr
    note: 1 target left out, stage1-b: programs for vax do not run on this machine
    note: 1 target left out, stage1-bare: the seed nowhere is lacking
    ");
}

#[test]
fn what_can_be_built_here_is_marked() {
    let env = three_kinds();
    insta::assert_snapshot!(env.run(&["list"]).all(), @r"
    status: 0
    --- stdout
    targets: stage1
    builds: demo (default)
    home: a
    not here: away, 1 subarch: programs for vax do not run on this machine
    not here: home, 1 subarch: the seed nowhere is lacking
    --- stderr
    a target's name is TARGET-SUBARCH or BUILD/TARGET-SUBARCH, for example stage1-a
    --all lists also what this machine cannot build
    ");
    let all = env.run(&["list", "--all"]).ok();
    assert!(
        all.contains("\naway: b\n") && all.contains("\nhome: a bare\n"),
        "{all}"
    );
}
