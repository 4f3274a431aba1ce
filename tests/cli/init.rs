//! `mstore init`, and files that users add to the standard specifications.

use std::fs;

use insta::assert_snapshot;

use crate::environment::Environment;
use crate::samples::STANDARD;

#[test]
fn what_init_writes_can_be_built() {
    let env = Environment::new();
    let ran = env.run(&["init", "mine", "--subarch", "fast"]);
    assert_snapshot!(ran.all(), @"
    status: 0
    --- stdout
    $TEST/work/mine/specs/subarch/fast.conf
    $TEST/work/mine/metro.conf
    --- stderr
    hint: `mstore -C mine realise stage3-fast` builds a system with it
    ");
    assert_snapshot!(fs::read_to_string(env.work().join("mine/metro.conf")).unwrap(), @"
    # Everything that the standard specifications describe, and what is different here.
    [collect /usr/share/mstore/specs/metro.conf]

    [section user]

    # What can stand here is explained in hooks.conf (mstore specs cat hooks.conf), such as
    #
    #   hostname: example
    #   packages: NAME NAME
    #   motd: [
    #   Welcome.
    #   ]

    # Its flags stand in specs/subarch/fast.conf.
    subarches/x86-64bit: fast
    ");
    assert_snapshot!(fs::read_to_string(env.work().join("mine/specs/subarch/fast.conf")).unwrap(), @"
    # fast: CFLAGS are the flags of stage3; stage1 and stage2 have those of the architecture.
    [section subarch]
    machine: x86_64
    CHOST: x86_64-pc-linux-gnu
    CFLAGS: -mtune=generic -O2 -pipe
    CPU_FLAGS: mmx mmxext sse sse2
    ");
    let check = env.run(&["-C", "mine", "check", "--target", "*-fast"]);
    assert!(
        check.stderr.starts_with("nothing found in "),
        "{}",
        check.all()
    );
    let shown = env.run(&["-C", "mine", "show", "stage3-fast"]);
    assert!(shown.stdout.contains("stage3-fast:test"), "{}", shown.all());
    // Once is enough.
    assert_snapshot!(env.run(&["init", "mine"]).fails(2), @"
    error: $TEST/work/mine/metro.conf: is there already, and nothing was written
    hint: `mstore list` shows what can be built with it
    ");
    // Without a subarchitecture there is nothing but metro.conf.
    assert_eq!(env.run(&["init"]).ok(), "$TEST/work/metro.conf\n");
    assert!(!env.work().join("specs").exists());
    env.run(&["realise", "-n", "stage3-corei7"]).ok();
}

#[test]
fn init_refuses_names_that_are_none_or_taken() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["init", "--subarch", "a/b"]).fails(2), @"
    error: `a/b` cannot name a subarchitecture
    hint: use letters, digits and -_.+
    ");
    assert_snapshot!(env.run(&["init", "--subarch", "corei7"]).fails(2), @"
    error: the standard specifications have a subarchitecture `corei7`
    hint: give it another name
    hint: `mstore specs export subarch/corei7.conf` copies that one, to be changed
    ");
    assert!(!env.work().join("metro.conf").exists());
}

/// An architecture, subarchitecture or build that is listed and has no file is answered with the file to write.
#[test]
fn a_missing_file_is_answered_with_what_it_must_define() {
    let env = Environment::new();
    env.write(
        "metro.conf",
        format!("{STANDARD}[section user]\nsubarches/x86-64bit: mine\n"),
    );
    assert_snapshot!(env.run(&["realise", "-n", "stage3-mine"]).fails(2), @"
    error[bad-collect]: cannot collect /usr/share/mstore/specs/subarch/mine.conf: no such file
      --> /usr/share/mstore/specs/metro.conf:63:10
       |
    63 | [collect ./subarch/$[target/subarch:zap].conf]
       |          ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ no such file
       |
       = note: the path `./subarch/$[target/subarch:zap].conf` came to `./subarch/mine.conf`
       = help: write $TEST/work/specs/subarch/mine.conf, with `[section subarch]` and in it machine, CHOST, CFLAGS and CPU_FLAGS; the standard subarch/generic_64.conf is like it

    while loading seedling/x86-64bit/mine/stage3
    hint: `mstore specs cat subarch/generic_64.conf` prints one to begin with
    ");
    let check = env.run(&["check", "--target", "stage3-mine"]);
    assert!(
        check
            .stdout
            .contains("= help: write $TEST/work/specs/subarch/mine.conf, with `[section subarch]`"),
        "{}",
        check.all()
    );
    let standard = [
        "-f",
        "/usr/share/mstore/specs/metro.conf",
        "-D",
        "user/builds=own",
        "realise",
        "-n",
        "own/stage1-corei7",
    ];
    let error = env.run(&standard).fails(2);
    assert!(
        error.contains(
            "write specs/builds/own.conf beside a metro.conf of your own, with `[section build]`"
        ),
        "{error}"
    );
}

/// What the answer says is enough, and none of it is too much.
#[test]
fn files_with_what_the_answer_names_are_whole() {
    let cases = [
        (
            "subarch/mine.conf",
            "[section user]\nsubarches/x86-64bit: mine",
            "[section subarch]\n",
            &[
                "machine: x86_64",
                "CHOST: x86_64-pc-linux-gnu",
                "CFLAGS: -O2",
                "CPU_FLAGS: sse",
            ][..],
            &[
                "stage1-mine",
                "stage3-mine",
                "gentoo/stage1-mine",
                "gentoo/stage3-mine",
            ][..],
        ),
        (
            "arch/mine.conf",
            "[section user]\narches: mine\n[section list/subarches]\nmine: corei7-mine",
            "[section arch]\n",
            &[
                "CFLAGS: -O2",
                "profile: x86-64bit",
                "profile/gentoo: default/linux/amd64/23.0",
                "cpu_flags: CPU_FLAGS_X86",
            ],
            &[
                "stage1-corei7-mine",
                "gentoo/stage3-corei7-mine",
                "funtoo-current/stage3-corei7-mine",
            ],
        ),
        (
            "builds/mine.conf",
            "[section user]\nbuilds: mine",
            "[section build]\n",
            &[
                "style: seedling",
                "strategy: host",
                "snapshot: ports",
                "snapshot/path: /mstore/snapshot",
                "timeout: 1800",
                "motd: [\nhello\n]",
                "[section seedling]\nservices: syslog",
            ],
            &[
                "mine/stage1-corei7",
                "mine/stage2-corei7",
                "mine/stage3-corei7",
            ],
        ),
    ];
    for (path, lines, section, elements, targets) in cases {
        let env = Environment::new();
        env.write("metro.conf", format!("{STANDARD}{lines}\n"));
        env.write(
            "specs/subarch/corei7-mine.conf",
            "[collect ./corei7.conf]\n",
        );
        // The answer names each of them.
        let mut arguments = vec!["check"];
        for target in targets {
            arguments.extend(["--target", target]);
        }
        let answer = env.run(&arguments).all();
        for element in elements {
            let name = element.split(':').next().unwrap();
            let name = name.strip_prefix("[section seedling]\n").unwrap_or(name);
            assert!(answer.contains(name), "{name}: {answer}");
        }
        let whole = format!("{section}{}\n", elements.join("\n"));
        env.write(&format!("specs/{path}"), &whole);
        let ran = env.run(&arguments);
        assert!(
            ran.stderr.starts_with("nothing found"),
            "{path} {}",
            ran.all()
        );
        for element in elements {
            env.write(
                &format!("specs/{path}"),
                whole.replace(&format!("{element}\n"), ""),
            );
            let ran = env.run(&arguments);
            assert_ne!(ran.status, Some(0), "{path} without {element}");
        }
    }
}
