//! `mstore check`: what it finds, and what it does not complain of.

use insta::assert_snapshot;
use serde_json::Value;

use crate::environment::Environment;

#[test]
fn nothing_is_wrong_with_the_standard_specifications() {
    let ran = Environment::new().run(&["check"]);
    assert!(ran.stderr.starts_with("nothing found in "), "{}", ran.all());
    assert_eq!(ran.ok(), "");
}

/// A repository as it was written for Metro: what is built comes from the command line, nothing lists it.
fn repository(env: &Environment) {
    let root = env.work();
    env.write(
        "metro.conf",
        format!(
            "\
# the main file
[collect $[path/metro]/etc/layout.conf]
[section path]
metro: {}
[section metro]
options: live
[collect $[path/metro]/builds/$[target/build]/build.conf]
[collect $[path/metro]/arch/$[target/arch_desc].spec]
[collect $[path/metro]/subarch/$[target/subarch].spec]
[collect $[path/metro]/targets/$[target].spec]
[section path/install]
stage: $[path/mirror]/$[target/build]/$[target/subarch]/$[target/version]
",
            root.display()
        ),
    );
    env.write(
        "etc/layout.conf",
        "\
[section path]
mirror: /home/mirror
work: /var/tmp/work/$[target/build]/$[target/name]
[section path/cache]
: /var/tmp/cache
build: $[]/build/$[target/build]
package: $[:build]/package
",
    );
    for build in [
        "alpha",
        "alpha-next",
        "beta",
        "beta-stable",
        "gamma",
        "delta",
        "omega",
        "zeta",
    ] {
        env.write(
            &format!("builds/{build}/build.conf"),
            format!(
                "\
[collect ../common.conf]
[section release]
author: Somebody <somebody@example.org>
[section portage]
SYNC: https://example.org/{build}.git
FEATURES:
"
            ),
        );
    }
    env.write(
        "builds/common.conf",
        "\
[section emerge]
options: --jobs=4 $[emerge/extra:zap]
packages: [
sys-apps/a
$[[emerge/packages/arch:lax]]
net-misc/b
]
[section files]
motd: [
 >>> $[target/build] for $[target/subarch], $[target/version]
]
trailer: << $[path/metro]/etc/trailer.txt
",
    );
    env.write("etc/trailer.txt", "one\ntwo\n");
    for (arch, subarches) in [
        ("x86-64bit", "corei7 core2_64"),
        ("x86-32bit", "i686 pentium4"),
        ("pure64", "corei7-pure64"),
        ("arm-32bit", "armv7a_hardfp"),
        ("arm-64bit", "cortex-a72"),
        ("riscv-64bit", "rv64gc"),
    ] {
        env.write(
            &format!("arch/{arch}.spec"),
            format!(
                "\
[section portage]
ARCH: {}
ACCEPT_KEYWORDS: $[:ARCH] ~$[:ARCH]
[section emerge]
packages/arch: [
sys-boot/loader
]
",
                arch.split('-').next().unwrap_or(arch)
            ),
        );
        for subarch in subarches.split(' ') {
            env.write(
                &format!("subarch/{subarch}.spec"),
                format!("[section portage]\nCFLAGS: -O2 -march={subarch}\nHOSTUSE: mmx\n"),
            );
        }
    }
    env.write(
        "targets/base.conf",
        "\
[section target]
name: $[target]-$[target/subarch]-$[target/version]
[section steps]
setup: [
#!/bin/bash
export MAKEOPTS=\"$[portage/MAKEOPTS:zap]\"
[ \"$[metro/class?]\" = yes ] && echo \"$[portage/FEATURES]\"
]
unpack: [
#!/bin/bash
# $[[steps/setup]]
tar xpf $[source/file] -C $[path/work]
]
",
    );
    for (kind, file) in [("stage", "tar.xz"), ("image", "img")] {
        env.write(
            &format!("targets/kind/{kind}.conf"),
            format!(
                "\
[section source]
file: $[path/mirror]/$[source].{file}
[section steps/extra]
{kind}: [
echo $[files/motd]
]
"
            ),
        );
    }
    for target in [
        "stage1",
        "stage2",
        "stage3",
        "stage3-freshen",
        "stage4",
        "livecd",
        "snapshot",
        "openvz",
        "lxd",
        "vagrant",
        "docker",
        "netboot",
        "cleanup",
    ] {
        let kind = if target.starts_with("stage") {
            "stage"
        } else {
            "image"
        };
        let text = format!(
            "\
[collect ./base.conf]
[collect ./kind/{kind}.conf]
[section source]
: stage3
[section target]
class: {kind}
[section steps/chroot]
run: [
$[[steps/setup]]
emerge $[emerge/options] $[emerge/packages]
$[[steps/extra/$[target/class]]]
]
[section portage when target is stage1 stage2]
ROOT: /tmp/stage1root
[section portage when target in stage3 stage4]
ROOT: /
"
        );
        env.write(&format!("targets/{target}.spec"), text);
    }
}

#[test]
fn targets_that_nothing_lists_are_found() {
    let env = Environment::new();
    repository(&env);
    let ran = env.run(&["check"]);
    assert_eq!(
        ran.all(),
        "status: 0\n--- stdout\n--- stderr\nnothing found in 4992 targets\n\
         no targets are listed, so these are all that files to collect are there for: target (13), \
         target/arch_desc (6), target/build (8), target/subarch (8)\n"
    );
    // What is given is not guessed.
    let ran = env.run(&["check", "target=stage3", "target/build=alpha"]);
    assert!(
        ran.stderr.starts_with("nothing found in 48 targets\n"),
        "{}",
        ran.all()
    );
    let _ = ran.ok();
}

#[test]
fn what_no_file_tells_is_not_guessed() {
    let env = Environment::new();
    env.write("metro.conf", "[collect $[file]]\n");
    env.write("other.conf", "a: 1\n");
    let ran = env.run(&["check"]);
    assert_eq!(ran.status, Some(2), "{}", ran.all());
    assert!(
        ran.stdout
            .starts_with("error[undefined]: `file` is not defined\n"),
        "{}",
        ran.all()
    );
    assert_eq!(ran.stderr, "1 error\n");
}

#[test]
fn mistakes_are_found_in_whichever_target_they_are() {
    let env = Environment::new();
    repository(&env);
    env.write(
        "builds/gamma/build.conf",
        "\
[collect ../common.conf]
[collect ./extra.conf when gamma/extra]
[section emerge]
world: $[emerge/pakages]
[section gamma]
lonely: $[gamma/soft:lax]
text: x $[[emerge/packages]]
[section portage when target/subarch is corei7 i686]
SYNC: https://example.org/one.git
[section portage when target is stage3]
SYNC: https://example.org/two.git
",
    );
    let ran = env.run(&["check", "target/arch_desc=x86-64bit"]);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    assert_snapshot!(ran.stdout, @r#"
    warning[untaken-collect]: this file is never collected
     --> $TEST/work/builds/gamma/build.conf:2:1
      |
    2 | [collect ./extra.conf when gamma/extra]
      | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = note: its condition `gamma/extra` is false: `gamma/extra` is undefined

    error[undefined]: `emerge/pakages` is not defined
     --> $TEST/work/builds/gamma/build.conf:4:8
      |
    4 | world: $[emerge/pakages]
      |        ^^^^^^^^^^^^^^^^^ undefined here
      |
     ::: $TEST/work/builds/common.conf:3:1
      |
    3 | packages: [
      | -------- a similar name is defined here
      |
      = note: fails `emerge/world`
      = note: in 104 of 832 targets: target/build=gamma target/subarch=armv7a_hardfp target=cleanup, target/build=gamma target/subarch=armv7a_hardfp target=docker, target/build=gamma target/subarch=armv7a_hardfp target=livecd, ...
      = help: did you mean `emerge/packages`?

    warning[unused-element]: `gamma/lonely` is used by no target
     --> $TEST/work/builds/gamma/build.conf:6:1
      |
    6 | lonely: $[gamma/soft:lax]
      | ^^^^^^

    warning[lax-blank]: this is always empty: `gamma/soft` is never defined
     --> $TEST/work/builds/gamma/build.conf:6:9
      |
    6 | lonely: $[gamma/soft:lax]
      |         ^^^^^^^^^^^^^^^^^
      |
      = help: did you mean `gamma/text`?

    warning[unused-element]: `gamma/text` is used by no target
     --> $TEST/work/builds/gamma/build.conf:7:1
      |
    7 | text: x $[[emerge/packages]]
      | ^^^^

    warning[inclusion-is-text]: this includes nothing: `$[[` is text here
     --> $TEST/work/builds/gamma/build.conf:7:9
      |
    7 | text: x $[[emerge/packages]]
      |         ^^^^^^^^^^^^^^^^^^^^
      |
      = help: only blocks include blocks; to insert a text, write `$[name]`

    error[conflict]: `portage/SYNC` has more than one true condition
      --> $TEST/work/builds/gamma/build.conf:11:1
       |
     9 | SYNC: https://example.org/one.git
       | ---- and so does this one
    10 | [section portage when target is stage3]
    11 | SYNC: https://example.org/two.git
       | ^^^^ this definition holds
       |
       = note: fails `portage/SYNC`
       = note: in 2 of 832 targets: target/build=gamma target/subarch=corei7 target=stage3, target/build=gamma target/subarch=i686 target=stage3
       = help: make the conditions exclude each other

    error[undefined]: `portage/FEATURES` is not defined
     --> $TEST/work/targets/base.conf:7:38
      |
    7 | [ "$[metro/class?]" = yes ] && echo "$[portage/FEATURES]"
      |                                      ^^^^^^^^^^^^^^^^^^^ undefined here
      |
     ::: $TEST/work/subarch/armv7a_hardfp.spec:3:1
      |
    3 | HOSTUSE: mmx
      | ------- a similar name is defined here
      |
      = note: fails `steps/chroot/run`, `steps/setup`
      = note: in 104 of 832 targets: target/build=gamma target/subarch=armv7a_hardfp target=cleanup, target/build=gamma target/subarch=armv7a_hardfp target=docker, target/build=gamma target/subarch=armv7a_hardfp target=livecd, ...
      = help: did you mean `portage/HOSTUSE`?
    "#);
    assert_snapshot!(ran.stderr, @"
    3 errors, 5 warnings in 832 targets
    no targets are listed, so these are all that files to collect are there for: target (13), target/build (8), target/subarch (8)
    ");
    let json = env.run(&["check", "--json", "target/arch_desc=x86-64bit"]);
    assert_eq!(json.status, Some(1));
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let findings = json["findings"].as_array().unwrap();
    let lints: Vec<&str> = findings
        .iter()
        .map(|f| f["lint"].as_str().unwrap())
        .collect();
    assert_snapshot!(lints.join(" "), @"untaken-collect undefined unused-element lax-blank unused-element inclusion-is-text conflict undefined");
    assert_eq!(json["failed"], 0);
    assert_eq!(json["assumed"]["target/build"].as_array().unwrap().len(), 8);
    assert!(findings.iter().all(|f| f["line"].as_u64().unwrap() > 0));
}

#[test]
fn a_target_that_does_not_load_is_exit_status_2() {
    let env = Environment::new();
    repository(&env);
    env.write("subarch/rv64gc.spec", "[section portage]\nCFLAGS -O2\n");
    let ran = env.run(&["check", "target=stage3", "target/build=alpha"]);
    assert_eq!(ran.status, Some(2), "{}", ran.all());
    assert_snapshot!(ran.stdout, @"
    error[bad-line]: neither element nor annotation
     --> $TEST/work/subarch/rv64gc.spec:2:1
      |
    2 | CFLAGS -O2
      | ^^^^^^^^^^
      |
     ::: $TEST/work/metro.conf:9:1
      |
    9 | [collect $[path/metro]/subarch/$[target/subarch].spec]
      | ------------------------------------------------------ the file is collected here
      |
      = note: in 6 of 48 targets: target/arch_desc=arm-32bit target/subarch=rv64gc, target/arch_desc=arm-64bit target/subarch=rv64gc, target/arch_desc=pure64 target/subarch=rv64gc, ...
      = help: a colon is missing: `CFLAGS: -O2`
    ");
}

#[test]
fn errors_in_a_file_that_replaces_a_standard_one_name_that_file() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "[collect /usr/share/mstore/specs/metro.conf]\n",
    );
    env.write(
        "specs/subarch/corei7.conf",
        "[section subarch]\nmachine x86_64\n",
    );
    let ran = env.run(&["check", "--target", "stage3-corei7"]);
    assert_eq!(ran.status, Some(2), "{}", ran.all());
    assert_snapshot!(ran.stdout, @"
    error[bad-line]: neither element nor annotation
      --> $TEST/work/specs/subarch/corei7.conf:2:1
       |
     2 | machine x86_64
       | ^^^^^^^^^^^^^^
       |
      ::: /usr/share/mstore/specs/metro.conf:63:1
       |
    63 | [collect ./subarch/$[target/subarch:zap].conf]
       | ---------------------------------------------- the file is collected here
       |
       = help: a colon is missing: `machine: x86_64`
    ");
    env.write(
        "specs/subarch/corei7.conf",
        "[section subarch]\nmachine: $[subarch/none]\nprofile: x\nCHOST: c\nCFLAGS: x\nCPU_FLAGS: x\n",
    );
    let ran = env.run(&["why", "value", "target/platform", "-t", "stage3-corei7"]);
    assert_snapshot!(ran.ok(), @"
    target/platform fails: undefined: `subarch/none` is not defined
      defined at /usr/share/mstore/specs/target.conf:6: $[subarch/machine]
      $[subarch/machine] fails
        subarch/machine fails: undefined: `subarch/none` is not defined
          defined at specs/subarch/corei7.conf:2: $[subarch/none]
          $[subarch/none] fails
    ");
}

#[test]
fn what_plan_cannot_use_is_found() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "\
list/builds: b
list/arches: x86
list/subarches/x86: one two
list/targets: stage3 stage4
list/targts: stage5
[section target]
platform: x86 64
[section steps/chroot]
run: [
true
]
",
    );
    let ran = env.run(&["check"]);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    assert_snapshot!(ran.stdout, @r"
    error[unusable-value]: `target/platform`: `x86 64` is not a machine name
     --> $TEST/work/metro.conf:7:1
      |
    7 | platform: x86 64
      | ^^^^^^^^
      |
      = note: in all 4 targets
      = help: use what `uname -m` prints, for example x86_64
    ");
    env.write(
        "metro.conf",
        "\
list/builds: b
list/arches: x86
list/subarches/x86: one two
list/targets: stage3 stage4
list/targts: stage5
[section target]
platform: x86_64
colour: red
[section steps/chroot]
run: [
true
]
",
    );
    let ran = env.run(&["check"]);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    assert_snapshot!(ran.stdout, @"
    warning[unused-element]: `list/targts` is used by no target
     --> $TEST/work/metro.conf:5:1
      |
    5 | list/targts: stage5
      | ^^^^^^^^^^^

    warning[unused-element]: `target/colour` is used by no target
     --> $TEST/work/metro.conf:8:1
      |
    8 | colour: red
      | ^^^^^^
    ");
}

/// Mistakes that leave a plan, and another one than is meant.
#[test]
fn mistakes_between_targets_are_found() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "\
[section list]
builds: b
arches: a
subarches/a: s
targets: one two three
[section target]
platform: x68_64
[collect ./$[target:zap].conf]
[section steps]
chroot: run
[section steps/chroot]
run: [
echo hello
postrun: [
echo done
]
[section reads]
run: app
runn: app
test/beside: app
",
    );
    env.write("one.conf", "[section source]\n: two\n");
    env.write("two.conf", "[section source]\n: one\n");
    env.write("three.conf", "[section source]\n: tow\n");
    assert_snapshot!(env.run(&["check", "--format", "short"]).all(), @"
    status: 1
    --- stdout
    $TEST/work/metro.conf:7:1: warning[unknown-platform]: no machine is known as `x68_64`
    $TEST/work/metro.conf:14:1: warning[block-in-block]: this is text of the block `run`
    $TEST/work/metro.conf:19:1: warning[reads-of-no-step]: `reads/runn`: no target has a step `runn`
    $TEST/work/one.conf:2:1: error[source-circle]: targets start from each other: b/a/s/one -> b/a/s/two -> b/a/s/one
    $TEST/work/three.conf:2:1: warning[unknown-source]: `source` names no target: tow
    --- stderr
    1 error, 4 warnings in 3 targets
    ");
    // Of some of the targets it is not known what the others have.
    let some = env.run(&["check", "--format", "short", "--target", "three-s"]);
    assert!(some.stdout.contains("[unknown-source]"), "{}", some.all());
    assert!(
        !some.stdout.contains("[reads-of-no-step]"),
        "{}",
        some.all()
    );
    assert!(!some.stdout.contains("[source-circle]"), "{}", some.all());
    env.write(
        "three.conf",
        "[section source]\n: one\nversion: 2020-01-01\n",
    );
    let ran = env.run(&["check", "--format", "short"]);
    assert!(!ran.stdout.contains("[unknown-source]"), "{}", ran.all());
}

/// What the pinned snapshot lacks is an error before anything is built; what is not pinned is not known.
#[test]
fn paths_that_the_pinned_snapshot_lacks() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: pc\nlist/subarches/pc: a b\nlist/targets: stage1\n\
         target/platform: x86_64\ntarget/version: 1\nsource/seed: base\nsnapshot: ports\n\
         reads/run: libc shel tools/make\nreads/test: libc\n\
         steps/chroot/run: [\ntrue\n]\nsteps/chroot/test: [\ntrue\n]\n",
    );
    assert_eq!(env.run(&["check", "--format", "short"]).ok(), "");
    env.write("ports/libc/file", "1");
    env.write("ports/tools/file", "1");
    let _ = env
        .run(&["snapshot", "import", "ports", "--name", "ports"])
        .ok();
    let ran = env.run(&["check", "--format", "short"]);
    assert_eq!(ran.status, Some(1));
    insta::assert_snapshot!(ran.stdout, @"$TEST/work/metro.conf:9:1: error[absent-read]: the snapshot `ports`, as it is pinned, has no shel tools/make");
    env.write("ports/shel/file", "1");
    env.write("ports/tools/make", "1");
    let _ = env
        .run(&["snapshot", "import", "ports", "--name", "ports"])
        .ok();
    assert_eq!(env.run(&["check", "--format", "short"]).ok(), "");
}

/// A build that nobody names is looked at as well, and what is one thing in one build and another in the next.
#[test]
fn two_definitions_across_builds() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: one two\nlist/arches: pc\nlist/subarches/pc: a\nlist/targets: stage1\n\
         target/platform: x86_64\ntarget/version: 1\nsource/seed: base\n\
         [collect ./$[target/build:zap].conf]\nsteps/chroot/run: [\ntrue\n]\n",
    );
    env.write("one.conf", "seed/kind: host\n");
    env.write("two.conf", "policy/timeout: 5\n");
    let ran = env.run(&["check", "--format", "short"]);
    assert_eq!(ran.status, Some(1));
    insta::assert_snapshot!(ran.stdout, @"
    $TEST/work/metro.conf: warning[two-meanings]: the seed `base` is captured from this machine for one/pc/a/stage1, and imported for two/pc/a/stage1
    ");
    env.write("two.conf", "seed/kind: host\nsource/seed: other\n");
    let ran = env.run(&["check", "--format", "short"]);
    assert_eq!(ran.status, Some(2));
    insta::assert_snapshot!(ran.stdout, @"$TEST/work/two.conf:2:1: error[duplicate]: `source/seed` is defined twice");
    env.write("two.conf", "seed/kind: host\n");
    assert_eq!(env.run(&["check", "--format", "short"]).ok(), "");
}
