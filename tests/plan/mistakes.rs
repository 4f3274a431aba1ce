//! Mistakes in specs and names: one clear message each, with the place and what to do.

use mstore::plan::{Distribution, Lock, PinKind, PinOrigin, Pins};

use crate::world::{METRO_CONF, STAGE1, STAGE3, World, tree, with_help};

/// The message for the chain with one edit made to it.
fn after(path: &str, from: &str, to: &str) -> String {
    let world = World::new();
    world.edit(path, from, to);
    world.error("stage3-corei7")
}

#[test]
fn missing_seeds_and_snapshots_name_the_commands() {
    let world = World::new();
    world.lock.borrow_mut().remove(PinKind::Seed, "debian");
    let mut said = vec![world.error("stage1-corei7")];
    world.edit(
        "targets/stage1.conf",
        "seed: debian",
        "seed: debian\n[section seed]\nkind: host",
    );
    said.push(world.error("stage1-corei7"));
    world.pin(PinKind::Seed, "debian", tree("debian"));
    world.lock.borrow_mut().remove(PinKind::Snapshot, "ports");
    said.push(world.error("stage1-corei7"));
    world.pin(PinKind::Snapshot, "ports", tree("not in the store"));
    said.push(world.error("stage1-corei7"));
    insta::assert_snapshot!(said.join("\n"), @r"
    the lock file has no seed `debian`, which demo/x86-64bit/corei7/stage1 needs
    the lock file has no seed `debian`, which demo/x86-64bit/corei7/stage1 needs
    the lock file has no snapshot `ports`, which demo/x86-64bit/corei7/stage1 needs
    the snapshot `ports` of demo/x86-64bit/corei7/stage1 is not in the store: hu77bdo6pijymvzypztlil7ww3r5qcuggcqjjbpu6in7a5ahpl3a
    ");
}

#[test]
fn what_is_needed_is_listed_beforehand() {
    let world = World::new();
    *world.lock.borrow_mut() = Lock::in_memory();
    let distribution = world.open().expect("opened");
    let ids = distribution.expand(&["stage3-*"]).expect("known");
    let recipes = distribution
        .recipes(&ids, &world.lock.borrow())
        .expect("loaded");
    let needs = recipes.needs(&world.lock.borrow());
    let list: Vec<_> = needs
        .iter()
        .map(|n| (n.kind, n.name.as_str(), n.wanted_by.len()))
        .collect();
    assert_eq!(
        list,
        [
            (PinKind::Seed, "debian", 2),
            (PinKind::Snapshot, "ports", 6)
        ]
    );
    assert!(needs.iter().all(|n| n.from == PinOrigin::Import));
    // To be looked at, a plan needs no pins.
    let graph = world
        .try_graph(&["stage3-corei7"], Pins::Optional)
        .expect("a graph");
    assert_eq!(graph.nodes().len(), 7);
}

#[test]
fn values_that_cannot_be_used_are_named_with_their_place() {
    let said = [
        after(
            "targets/stage3.conf",
            "chroot: build finish",
            "chroot: build finnish",
        ),
        after(
            "targets/stage3.conf",
            "chroot: build finish",
            "chroot: build build",
        ),
        after(
            "targets/stage3.conf",
            "chroot: build finish",
            "chroot: build test",
        ),
        after("targets/stage3.conf", "CFLAGS:", "MAKEOPTS:"),
        after("targets/stage3.conf", "CFLAGS:", "C-FLAGS:"),
        after("targets/stage3.conf", "finish:\n", "finish: ../world\n"),
        after(
            "targets/stage3.conf",
            "finish:\n",
            "finish: world/none libc\n",
        ),
        after(
            "targets/stage3.conf",
            "$[target/subarch]",
            "$[target/subark]",
        ),
        after(
            "targets/stage1.conf",
            "ROOT: /tmp/stage1root",
            "ROOT: tmp/../x",
        ),
        after("targets/stage1.conf", "seed: debian", "seed: debian?"),
        after(
            "targets/stage1.conf",
            "[section portage]",
            "[section policy]\ntimeout: soon\n[section portage]",
        ),
        after(
            "targets/stage1.conf",
            "[section portage]",
            "[section policy]\nnetwork: yes\n[section portage]",
        ),
        after("metro.conf", "platform: x86_64", "platform:"),
        after(
            "metro.conf",
            ": ports",
            ": ports\nkind: builtin\nbuiltin: nonesuch",
        ),
        after("metro.conf", ": ports", ": ports\npath: /"),
        after(
            "metro.conf",
            ": ports",
            ": ports\npath: /srv/kit\nbeside: more/kit\nbeside/path: /srv",
        ),
        after("metro.conf", ": ports", ": ports\nbeside: a b/a"),
        after(
            "metro.conf",
            ": ports",
            ": ports\nbeside: kit\nbeside/path: /",
        ),
        after("metro.conf", ": ports", ": ports\nbeside: kit"),
        after("metro.conf", "build: demo", "build: demmo"),
        after("metro.conf", "targets: ", "tragets: "),
    ];
    insta::assert_snapshot!(said.join("\n"), @r"
    DIR/targets/stage3.conf:12: `steps/chroot` of demo/x86-64bit/corei7/stage3: there is no steps/chroot/finnish
    help: there is: finish
    DIR/targets/stage3.conf:12: `steps/chroot` of demo/x86-64bit/corei7/stage3: `build` is listed twice
    DIR/targets/stage3.conf:12: `steps/chroot` of demo/x86-64bit/corei7/stage3: `test` cannot be one of the steps
    help: remove it: steps/chroot/test runs by itself when all steps have
    DIR/targets/stage3.conf:5: `env/MAKEOPTS` of demo/x86-64bit/corei7/stage3: mstore sets MAKEOPTS itself when it runs a step
    help: remove it; the number of jobs is an option of the run
    DIR/targets/stage3.conf:5: `env/C-FLAGS` of demo/x86-64bit/corei7/stage3: `C-FLAGS` cannot name an environment variable
    help: use letters, digits and _
    DIR/targets/stage3.conf:8: `reads/finish` of demo/x86-64bit/corei7/stage3: `../world` is not a path within the snapshot
    help: paths are relative to the snapshot's root and have no `..`
    DIR/targets/stage3.conf:8: `reads/finish`: the snapshot `ports` has no `world/none`
    error[undefined]: `target/subark` is not defined
      --> DIR/targets/stage3.conf:20:6
       |
    20 | echo $[target/subark] > /etc/name
       |      ^^^^^^^^^^^^^^^^ undefined here
       |
      ::: <command line>:4:1
       |
     4 | target/subarch: corei7
       | -------------- a similar name is defined here
       |
       = help: did you mean `target/subarch`?

    while loading demo/x86-64bit/corei7/stage3
    DIR/targets/stage1.conf:6: `portage/ROOT` of demo/x86-64bit/corei7/stage1: `tmp/../x` is not an absolute path
    help: name the directory of the build that is captured; the default is /
    DIR/targets/stage1.conf:3: `source/seed` of demo/x86-64bit/corei7/stage1: `debian?` cannot name a seed or snapshot
    help: names are letters, digits and -_.+@, with / between parts
    DIR/targets/stage1.conf:6: `policy/timeout` of demo/x86-64bit/corei7/stage1: `soon` is not a number of seconds above 0
    help: leave it out for no limit
    DIR/targets/stage1.conf:6: `policy/network` of demo/x86-64bit/corei7/stage1: `yes` is not possible
    help: steps have no network: put what they need into the snapshot or have it fetched (`fetch/NAME`), and say `none`
    demo/x86-64bit/corei7/stage3 has no `target/platform`
    help: say which machine (as `uname -m` prints it) runs the build, for example `target/platform: x86_64`
    DIR/metro.conf:16: `snapshot/builtin` of demo/x86-64bit/corei7/stage3: `nonesuch` is not a built-in snapshot
    help: there is: seedling
    DIR/metro.conf:15: `snapshot/path` of demo/x86-64bit/corei7/stage3: `/` is not an absolute path below /
    help: the default is /mstore/snapshot
    DIR/metro.conf:16: `snapshot/beside` of demo/x86-64bit/corei7/stage3: `more/kit` would appear at /srv/kit, where `ports` is (/srv/kit)
    help: give one of them another name in the lock file
    DIR/metro.conf:15: `snapshot/beside` of demo/x86-64bit/corei7/stage3: `b/a` would appear at /mstore/snapshots/a, where `a` is (/mstore/snapshots/a)
    help: give one of them another name in the lock file
    DIR/metro.conf:16: `snapshot/beside/path` of demo/x86-64bit/corei7/stage3: `/` is not an absolute path below /
    help: the default is /mstore/snapshots
    the lock file has no snapshot `kit`, which demo/x86-64bit/corei7/stage2 needs
    DIR/metro.conf:8: `default/build` of DIR/metro.conf: `demmo` is not among list/builds
    help: there is: demo other
    DIR/metro.conf: the specification has no `list/targets`
    help: add the line `[collect /usr/share/mstore/specs/metro.conf]` to use the standard specs, or define it
    ");
}

#[test]
fn circles_and_empty_targets_are_named() {
    let world = World::new();
    world.edit("targets/stage1.conf", ": seed\nseed: debian", ": stage3");
    let mut said = vec![world.error("stage2-corei7")];
    world.write(
        "targets/stage1.conf",
        "[section source]\n: seed\nseed: debian\n",
    );
    said.push(world.error("stage1-corei7"));
    insta::assert_snapshot!(said.join("\n"), @r"
    targets start from each other: stage2-corei7 -> stage1-corei7 -> stage3-corei7 -> stage2-corei7
    help: give one of them a seed: define `source/seed`, or `source/version` of an earlier build
    demo/x86-64bit/corei7/stage1 has no steps
    help: define `steps/chroot/run`, or name its steps in `steps/chroot`
    ");
}

#[test]
fn an_earlier_version_is_a_seed() {
    let world = World::new();
    // Metro's local build: the newest stage3 of one's own starts the next.
    world.edit(
        "targets/stage1.conf",
        ": seed\nseed: debian",
        ": stage3\nversion: 2026-01-01",
    );
    insta::assert_snapshot!(world.error("stage3-corei7"), @"the lock file has no seed `demo/x86-64bit/corei7/stage3`, which demo/x86-64bit/corei7/stage1 needs");
    world.pin(
        PinKind::Seed,
        "demo/x86-64bit/corei7/stage3",
        tree("earlier"),
    );
    assert_eq!(world.realise(&["stage3-corei7"]).len(), 7);
    // A remote build: the stage3 of another subarch, built here as well.
    world.edit("targets/stage1.conf", "version: 2026-01-01", "seed: debian");
    world.write(
        "subarch/corei7.conf",
        "subarch/CFLAGS:\nsource/subarch: generic_64\n",
    );
    world.edit("targets/stage2.conf", ": stage1", ": stage3");
    let graph = world.try_graph(&["stage2-corei7"], Pins::Optional);
    assert!(graph.is_err(), "generic_64 starts from itself");
}

#[test]
fn entry_files_are_found_or_missed_clearly() {
    let world = World::empty();
    let open = |entry: Option<&str>| {
        Distribution::open(entry.map(|e| e.as_ref()), world.path(), Vec::new())
    };
    let missing = open(Some("none.conf")).expect_err("not there");
    let mut said = vec![world.clean(&with_help(&missing))];
    world.write("metro.conf", "user/CFLAGS: -O3\n");
    said.push(world.clean(&with_help(&open(None).expect_err("no targets"))));
    world.write("metro.conf", METRO_CONF);
    assert!(open(None).is_ok());
    let named = open(Some("metro.conf")).expect("opened");
    assert_eq!(
        named.lock_path("/store".as_ref()),
        world.path().join("metro.lock")
    );
    assert!(!named.is_builtin());
    std::fs::create_dir(world.path().join("folder")).expect("made");
    said.push(world.clean(&with_help(
        &open(Some("folder")).expect_err("nothing in it"),
    )));
    insta::assert_snapshot!(said.join("\n"), @r"
    no such entry file: DIR/none.conf
    DIR/metro.conf: the specification has no `list/targets`
    help: add the line `[collect /usr/share/mstore/specs/metro.conf]` to use the standard specs, or define it
    no such entry file: DIR/folder/metro.conf
    ");
}

#[test]
fn two_definitions_of_one_element_are_shown_with_both_places() {
    let world = World::new();
    world.write(
        "targets/stage1.conf",
        &format!("{STAGE1}\n[section target]\nplatform: i686\n"),
    );
    insta::assert_snapshot!(world.error("stage1-corei7"), @r"
        error[duplicate]: `target/platform` is defined twice
          --> DIR/targets/stage1.conf:24:1
           |
        24 | platform: i686
           | ^^^^^^^^ defined again
           |
          ::: DIR/metro.conf:17:1
           |
        17 | platform: x86_64
           | -------- first defined here
        ...
        20 | [collect ./targets/$[target:zap].conf]
           | -------------------------------------- the file is collected here
           |
           = help: remove one of them, or make them exclude each other by conditions: `[when ELEMENT is WORD]`

        while loading demo/x86-64bit/corei7/stage1
        ");
}

#[test]
fn a_target_may_say_its_version_itself() {
    let world = World::new();
    world.write(
        "targets/stage3.conf",
        &format!("{STAGE3}\n[section target]\nversion: 7\n"),
    );
    let graph = world.graph(&["stage3-corei7"]);
    let versions: Vec<&str> = graph.targets().iter().map(|t| t.version.as_str()).collect();
    assert_eq!(versions, ["2026-11-20", "2026-11-20", "7"]);
}

#[test]
fn settings_that_packages_do_not_have_are_told() {
    let world = World::new();
    let mut said = Vec::new();
    for own in [
        "colour: red",
        "undeclared: no",
        "circles: thrice",
        "depends: app/one",
        "depends: app/one two",
        "hooks: app/one never",
        "toolchain: gcc",
    ] {
        let more = "[section options]\npackages: yes\n[section packages]\nset: app/one\n";
        let text = format!("{STAGE1}[section steps]\nchroot: prerun packages run\n{more}{own}\n");
        world.write("targets/stage1.conf", &text);
        said.push(world.error("stage1-corei7"));
    }
    insta::assert_snapshot!(said.join("\n"), @r"
    DIR/targets/stage1.conf:28: `packages/colour` of demo/x86-64bit/corei7/stage1: packages have no such setting
    help: known are set, tools, first, depends, undeclared, circles, toolchain and hooks, and timeout, memory and jobs of a package
    DIR/targets/stage1.conf:28: `packages/undeclared` of demo/x86-64bit/corei7/stage1: `no` is neither `refine` nor `error`
    help: a package that is linked with what it does not declare is built once more with it, or ends the run
    DIR/targets/stage1.conf:28: `packages/circles` of demo/x86-64bit/corei7/stage1: `thrice` is neither `once` nor `twice`
    help: packages that need each other to be built are built with what the base has of the others, or then once more with what came of that
    DIR/targets/stage1.conf:28: `packages/depends` of demo/x86-64bit/corei7/stage1: `app/one` does not say what a package needs
    help: a line is CATEGORY/NAME and what it needs, CATEGORY/NAME or CATEGORY/NAME:SLOT each
    DIR/targets/stage1.conf:28: `packages/depends` of demo/x86-64bit/corei7/stage1: `two` does not say what a package needs
    help: a line is CATEGORY/NAME and what it needs, CATEGORY/NAME or CATEGORY/NAME:SLOT each
    DIR/targets/stage1.conf:28: `packages/hooks` of demo/x86-64bit/corei7/stage1: `app/one never` does not say where hooks are run
    help: a line is CATEGORY/NAME and `root`, which is usual, or `stage`
    DIR/targets/stage1.conf:28: `packages/toolchain` of demo/x86-64bit/corei7/stage1: `gcc` does not name a package
    help: it is CATEGORY/NAME, for example sys-apps/baselayout
    ");
}
