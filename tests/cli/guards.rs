//! Guards: what is said before somebody is surprised.

use std::fs;
use std::process::Command;

use insta::assert_snapshot;

use crate::environment::Environment;
use crate::samples::{tar_archive, tar_file};

/// A target that this machine's own seed builds.
fn built() -> Environment {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: x\nlist/subarches/x: one\nlist/targets: stage1\n\
         default/build: demo\ntarget/version: 1\ntarget/platform: x86_64\nsource: seed\n\
         source/seed: host/x86_64\nseed/kind: host\nsteps/chroot: run\nsteps/chroot/run: [\n\
         echo one > /motd\n]\n",
    );
    let _ = env.run(&["realise", "stage1-one"]).ok();
    env
}

/// A cache that nobody signed is told of, and signing what is in it is enough for others to use it.
#[test]
fn an_unsigned_cache_is_told_of_and_signing_suffices() {
    let env = built();
    let public = env.run(&["key", "generate", "me"]).ok();
    let copied = env.run(&["copy", "stage1-one", "--to", "cache", "--cache"]);
    assert_snapshot!(copied.stderr, @r"
    note: 2 of 2 results in this cache are not signed: others do not believe them, and build again
    hint: `mstore key sign --cache cache stage1-one` signs what is there (make a key with `mstore key generate NAME`, or name it with --key)
    ");
    let take = || {
        let mut command = env.command(&["copy", "--from", "cache", "stage1-one"]);
        command.args(["--trust", public.trim()]);
        env.finish(
            command
                .env("MSTORE_STORE", env.work().join("other"))
                .output()
                .unwrap(),
        )
    };
    let refused = take();
    assert_ne!(refused.status, Some(0), "{}", refused.all());
    let signed = env.run(&[
        "key",
        "sign",
        "--cache",
        "cache",
        "stage1-one",
        "--key",
        "me",
    ]);
    assert_eq!(signed.ok(), "signed 2 facts\n");
    let _ = take().ok();
    // What is signed is not told of.
    let again = env.run(&["copy", "stage1-one", "--to", "cache", "--cache"]);
    assert_eq!(again.stderr, "");
    let no_cache = env.run(&["key", "sign", "--cache", ".", "stage1-one", "--key", "me"]);
    assert_ne!(no_cache.status, Some(0), "{}", no_cache.all());
}

#[test]
fn addresses_where_files_are_expected_are_answered() {
    let env = Environment::new();
    let url = "https://example.org/a.tar.xz";
    assert_snapshot!(env.run(&["export", "seed/x", url]).all(), @r"
    status: 2
    --- stdout
    --- stderr
    error: FILE takes a file or folder of this machine, and https://example.org/a.tar.xz is an address
    hint: get it first, for example with `curl -LO https://example.org/a.tar.xz`; `mstore seed import` and `mstore snapshot import` take addresses
    ");
    let specs = env
        .run(&["list", "-f", "git@example.org/specs.git"])
        .fails(2);
    assert!(!specs.contains("is an address"), "{specs}");
    let specs = env
        .run(&["list", "-f", "git://example.org/specs.git"])
        .fails(2);
    assert!(specs.contains("--file takes a file"), "{specs}");
    assert!(
        specs.contains("`git clone git://example.org/specs.git`"),
        "{specs}"
    );
    // Who has a file of that name may have it, and imports take addresses.
    env.write("https:/example.org/a.tar.xz", "");
    let import = env.run(&["seed", "import", url]).fails(2);
    assert!(import.contains("--hash"), "{import}");
}

#[test]
fn what_a_snapshot_of_a_folder_takes_in_and_leaves_out_is_told() {
    let env = Environment::new();
    for (path, text) in [
        ("ports/.gitignore", "*.log\nout/\n"),
        ("ports/cat/a", "a"),
        ("ports/cat/.keep", ""),
        ("ports/build.log", "x"),
        ("ports/out/x", "x"),
        ("ports/new", "x"),
    ] {
        env.write(path, text);
    }
    let git = |args: &[&str]| {
        let done = Command::new("git")
            .args([
                "-c",
                "user.name=a",
                "-c",
                "user.email=a@example.org",
                "-C",
                "ports",
            ])
            .args(args)
            .current_dir(env.work())
            .output();
        assert!(done.unwrap().status.success(), "{args:?}");
    };
    git(&["init", "-q"]);
    git(&["add", ".gitignore", "cat"]);
    git(&["commit", "-q", "-m", "a"]);
    let notes = |text: String| {
        let all = text
            .lines()
            .filter(|line| line.starts_with("note:") || line.starts_with("hint:"));
        all.map(|line| format!("{line}\n")).collect::<String>()
    };
    let folder = env.run(&["snapshot", "import", "ports"]);
    assert_eq!(folder.status, Some(0), "{}", folder.all());
    assert_snapshot!(notes(folder.stderr), @r"
    note: taken in too: 2 hidden: .gitignore, cat/.keep
    note: taken in too: 2 named by .gitignore: build.log, out
    note: taken in too: 1 not known to git: new
    note: left out: .git
    hint: --rev HEAD takes what git has, and nothing else
    ");
    let revision = env.run(&["snapshot", "import", "ports", "--rev", "HEAD"]);
    assert_eq!(notes(revision.stderr), "");
    fs::remove_dir_all(env.work().join("ports/.git")).unwrap();
    let plain = env.run(&["snapshot", "import", "ports/cat", "--name", "c"]);
    assert_eq!(notes(plain.stderr), "note: taken in too: 1 hidden: .keep\n");
}

#[test]
fn seeds_and_snapshots_are_named_by_show_and_gc_roots() {
    let env = Environment::new();
    env.write("metro.conf", "list/builds: demo\nlist/arches: x\nlist/subarches/x: one\nlist/targets: stage1\ndefault/build: demo\n");
    env.write("base.tar", tar_archive(&[tar_file("bin/a", b"hello")]));
    let tree = env.run(&["seed", "import", "base.tar"]).ok();
    let shown = env.run(&["show", "seed/base"]).ok();
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines[0], "seed base");
    assert_eq!(lines[1], format!("  tree {}", tree.trim()));
    assert!(shown.contains("\n  origin base.tar\n"), "{shown}");
    assert!(
        shown.ends_with("  pinned in $TEST/work/metro.lock\n"),
        "{shown}"
    );
    // A name alone, which looks like the beginning of a hash.
    assert_eq!(env.run(&["show", "base"]).ok(), shown);
    let unknown = env.run(&["show", "seed/none"]).fails(2);
    assert!(unknown.contains("none"), "{unknown}");

    for (roots, kept) in [
        ("seed/base", true),
        ("seed/b*", true),
        ("base", true),
        ("snapshot/base", false),
        ("seed/other", false),
    ] {
        fs::write(
            env.store().join("mstore.conf"),
            format!("gc/roots: {roots}\n"),
        )
        .unwrap();
        let why = env.run(&["why", "alive", "seed/base"]).ok();
        assert_eq!(
            why.contains(&format!("gc/roots: {roots}")),
            kept,
            "{roots}: {why}"
        );
    }
}
