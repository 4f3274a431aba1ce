//! Looking into the store, and what it is told to keep.

use std::fs;
use std::process::Command;

use mstore_store::{
    Attempt, Hash, ImportOptions, OpenOptions, Outcome, Realisation, RealisationKind, Store,
    TreeHash,
};

use crate::environment::Environment;

/// A store with two trees that share a directory, recorded as targets.
fn sample(env: &Environment) -> (TreeHash, TreeHash) {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let mut trees = Vec::new();
    for (n, text) in [(1u8, "one\n"), (2, "two\n")] {
        let folder = format!("tree{n}");
        env.write(
            &format!("{folder}/usr/share/same"),
            "the same\n".repeat(100),
        );
        env.write(&format!("{folder}/usr/bin/tool"), "#!/bin/sh\n");
        env.write(&format!("{folder}/etc/name"), text);
        std::os::unix::fs::symlink("usr/bin", env.work().join(&folder).join("bin")).unwrap();
        let options = ImportOptions::snapshot();
        let imported = store.import_dir(&env.work().join(&folder), &options);
        let tree = imported.unwrap().tree;
        let realisation = Realisation {
            kind: RealisationKind::Target,
            key: Hash::of(&[n]),
            drv: Hash::of(b"drv"),
            name: "seedling/x86-64bit/corei7/stage1".into(),
            tree,
            started: 1_700_000_000 + i64::from(n) * 86_400,
            seconds: 1.0,
            host: "host".into(),
            log: None,
        };
        store.record(&realisation).unwrap();
        trees.push(tree);
    }
    (trees[0], trees[1])
}

#[test]
fn trees_can_be_looked_into() {
    let env = Environment::new();
    let (one, _) = sample(&env);
    let hash = one.to_string();
    let at = |path: &str| format!("{}:{path}", &hash[..6]);
    let ls = env.run(&["store", "ls", &at("")]).ok();
    insta::assert_snapshot!(ls, @r"
    lrwxrwxrwx 0 0 - 1980-01-01 00:00:00 bin -> usr/bin
    drwxr-xr-x 0 0 - 1980-01-01 00:00:00 etc
    drwxr-xr-x 0 0 - 1980-01-01 00:00:00 usr
    ");
    let ls = env.run(&["store", "ls", "-r", &at("/usr")]).ok();
    insta::assert_snapshot!(ls, @r"
    drwxr-xr-x 0 0   - 1980-01-01 00:00:00 bin
    -rw-r--r-- 0 0  10 1980-01-01 00:00:00 bin/tool
    drwxr-xr-x 0 0   - 1980-01-01 00:00:00 share
    -rw-r--r-- 0 0 900 1980-01-01 00:00:00 share/same
    ");
    let ls = env.run(&["store", "ls", "--json", &at("bin")]).ok();
    insta::assert_snapshot!(ls, @r#"
    [
      {
        "gid": 0,
        "hash": "xqpua6qrze3xzc43cp4vnmtzzbdco5iql24vr7e24pca32d4zfxa",
        "kind": "file",
        "mode": "0644",
        "mtime": 315532800,
        "mtime_nanos": 0,
        "name": "tool",
        "size": 10,
        "uid": 0
      }
    ]
    "#);
    assert_eq!(
        env.run(&["store", "cat", &at("bin/tool")]).ok(),
        "#!/bin/sh\n"
    );
    assert_eq!(env.run(&["store", "cat", &at("/etc/name")]).ok(), "one\n");
    let stat = env.run(&["store", "stat", &at("bin")]).ok();
    assert!(stat.contains("kind: symlink"), "{stat}");
    assert!(stat.contains("target: usr/bin"), "{stat}");
    let du = env.run(&["store", "du", "--json", &at("")]).ok();
    let du: serde_json::Value = serde_json::from_str(&du).unwrap();
    assert_eq!((&du["entries"], &du["bytes"]), (&8.into(), &914.into()));
    let number = |name: &str| du[name].as_u64().unwrap();
    assert_eq!(number("stored"), number("unique") + number("shared"));
    assert!(number("unique") > 0 && number("shared") > 0, "{du}");
    let path = env.run(&["store", "path", &at("etc/name")]).ok();
    let path = path
        .trim()
        .replace("$TEST", &env.store().parent().unwrap().to_string_lossy());
    assert_eq!(fs::read_to_string(path).unwrap(), "one\n");
    // What is wrong is said.
    let error = env.run(&["store", "cat", &at("etc/nothing")]).fails(2);
    assert!(error.contains("has no entry: etc/nothing"), "{error}");
    let error = env.run(&["store", "cat", &at("etc")]).fails(2);
    assert!(error.contains("not a file"), "{error}");
    let error = env.run(&["store", "ls", "zzzz"]).fails(2);
    assert!(
        error.contains("no tree whose hash begins with zzzz"),
        "{error}"
    );
    let error = env.run(&["store", "ls", "stage3-corei7"]).fails(2);
    assert!(error.contains("not built"), "{error}");
}

#[test]
fn names_are_whole_in_json_and_cannot_upset_a_terminal() {
    let env = Environment::new();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    env.write("odd/new\nline", "x");
    std::os::unix::fs::symlink("a\tb", env.work().join("odd/esc\u{1b}[31m")).unwrap();
    let imported = store.import_dir(&env.work().join("odd"), &ImportOptions::snapshot());
    let hash = imported.unwrap().tree.to_string();
    drop(store);
    for arguments in [&["store", "ls", &hash][..], &["store", "find", "*e*"]] {
        let told = env.run(arguments).ok();
        assert_eq!(told.lines().count(), 2, "{told}");
        assert!(!told.contains('\u{1b}'), "{told}");
        let json: serde_json::Value =
            serde_json::from_str(&env.run(&[arguments, &["--json"]].concat()).ok()).unwrap();
        let names: Vec<&str> = json
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|e| e["name"].as_str().or(e["path"].as_str()))
            .collect();
        assert_eq!(names, ["esc\u{1b}[31m", "new\nline"]);
    }
    let at = format!("{hash}:esc\u{1b}[31m");
    let stat = env.run(&["store", "stat", "--json", &at]).ok();
    let stat: serde_json::Value = serde_json::from_str(&stat).unwrap();
    assert_eq!(stat["target"], "a\tb");
}

#[test]
fn things_are_found_in_all_trees() {
    let env = Environment::new();
    let (one, two) = sample(&env);
    let blob = Hash::of("the same\n".repeat(100).as_bytes()).to_string();
    let found = env.run(&["store", "find", &blob[..10]]).ok();
    let mut expected = [one, two]
        .map(|tree| format!("{tree}:usr/share/same (seedling/x86-64bit/corei7/stage1)\n"));
    expected.sort();
    assert_eq!(found, expected.concat());
    let found = env
        .run(&["store", "find", "t*l", "--in", &one.to_string()])
        .ok();
    assert!(found.contains(":usr/bin/tool"), "{found}");
    let found = env
        .run(&["store", "find", "--json", "name", "--limit", "1"])
        .ok();
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found.as_array().unwrap().len(), 1);
    assert_eq!(found[0]["path"], "etc/name");
    assert!(
        env.run(&["store", "find", "nowhere"])
            .fails(1)
            .contains("nothing")
    );
    let info = env.run(&["store", "info", "--json"]).ok();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    for (name, number) in [
        ("trees", 2),
        ("blobs", 4),
        ("tree_bytes", 2 * 914),
        ("realisations", 2),
        ("attempts", 2),
        ("garbage_bytes", 0),
    ] {
        assert_eq!(info[name], number, "{name} of {info}");
    }
    assert!(info["ratio"].as_f64().unwrap() > 1.0);
    assert!(
        env.run(&["store", "info"])
            .ok()
            .contains("the next gc would free 0 B")
    );
}

#[test]
fn roots_keep_and_why_alive_tells() {
    let env = Environment::new();
    let (one, two) = sample(&env);
    let [first, second] = [one, two].map(|tree| tree.to_string());
    let _ = env.run(&["store", "root", "add", "mine", &first[..8]]).ok();
    assert_eq!(
        env.run(&["store", "root", "list"]).ok(),
        format!("mine {first}\n")
    );
    let why = env.run(&["why", "alive", "mine"]).ok();
    assert!(why.contains("kept as gc root mine"), "{why}");
    let name = Hash::of(b"one\n").to_string();
    let why = env.run(&["why", "alive", &name, "--keep", "1"]).ok();
    assert!(
        why.contains(&format!("is etc/name in tree {first}")),
        "{why}"
    );
    let why = env
        .run(&["why", "alive", "--json", &second, "--keep", "1"])
        .ok();
    let why: serde_json::Value = serde_json::from_str(&why).unwrap();
    assert_eq!(why["alive"], true);
    assert_eq!(
        why["keepers"][0]["why"][0],
        "seedling/x86-64bit/corei7/stage1, number 1 from the newest"
    );
    let _ = env.run(&["store", "root", "remove", "mine"]).ok();
    let _ = env.run(&["store", "root", "remove", "mine"]).fails(2);
    let why = env.run(&["why", "alive", &first, "--keep", "1"]).ok();
    assert!(
        why.contains("nothing keeps it: the next gc removes it"),
        "{why}"
    );
    let dry = env.run(&["gc", "--keep", "1", "--dry-run", "--json"]).ok();
    let real = env.run(&["gc", "--keep", "1", "--json"]).ok();
    assert_eq!(dry.replace("\"dry_run\": true", "\"dry_run\": false"), real);
    assert!(real.contains(&format!("\"tree\": \"{first}\"")), "{real}");
    let why = env.run(&["why", "alive", &first]).ok();
    assert!(why.contains("the store does not have it"), "{why}");
    let _ = env.run(&["store", "ls", &second]).ok();
}

#[test]
fn the_configuration_file_says_what_gc_keeps() {
    let env = Environment::new();
    let (one, two) = sample(&env);
    fs::write(env.store().join("mstore.conf"), "gc/keep: 0\n").unwrap();
    let dry = env.run(&["gc", "--dry-run"]).ok();
    assert!(dry.contains(&format!("would remove tree {one}")), "{dry}");
    assert!(dry.contains(&format!("would remove tree {two}")), "{dry}");
    env.write(
        "mine.conf",
        format!("gc/keep: 0\ngc/roots: */stage1 {:.8}\n", one.to_string()),
    );
    let dry = env.run(&["--config", "mine.conf", "gc", "--dry-run"]).ok();
    assert!(
        dry.contains(&format!("keeps {two}: gc/roots: */stage1")),
        "{dry}"
    );
    assert!(dry.contains(&format!("keeps {one}: gc/roots: ")), "{dry}");
    // Options win.
    assert!(
        !env.run(&["gc", "--dry-run", "--keep", "2"])
            .ok()
            .contains("would remove")
    );
    let mut command = env.command(&["gc", "--dry-run"]);
    command.env("MSTORE_CONFIG", env.write("bad.conf", "\n\ngc/kep: 3\n"));
    let error = env.finish(command.output().unwrap()).fails(2);
    insta::assert_snapshot!(error, @"error: $TEST/work/bad.conf:3: gc/kep: there is no such element; nearest: gc/keep");
    let error = env.run(&["gc", "--config", "none.conf"]).fails(2);
    assert!(
        error.contains("there is no configuration file none.conf"),
        "{error}"
    );
    let error = env.run(&["gc", "--max-size", "much"]).fails(2);
    assert!(error.contains("is not a size"), "{error}");
    let small = env.run(&["gc", "--keep", "2", "--max-size", "1k", "--dry-run"]);
    assert!(small.ok().contains(&format!(
        "would remove tree {two} (seedling/x86-64bit/corei7/stage1) for the size"
    )));
}

#[test]
fn attempts_are_listed_also_those_that_failed() {
    let env = Environment::new();
    sample(&env);
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    store
        .note_attempt(&Attempt {
            kind: RealisationKind::Step,
            key: Hash::of(b"key"),
            drv: Hash::of(b"drv"),
            name: "demo/x86-64bit/corei7/stage1:run".into(),
            tree: None,
            started: 1_700_000_000,
            seconds: 2.5,
            host: "builder".into(),
            outcome: Outcome::Failed,
            phase: Some("run".into()),
            detail: Some("exit status 7".into()),
            log: Some("a.log".into()),
        })
        .unwrap();
    drop(store);
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: x86-64bit\nlist/subarches/x86-64bit: corei7\n\
         list/targets: stage1\ndefault/build: demo\ntarget/platform: x86_64\n\
         target/version: 1\nsource: seed\nsource/seed: base\nsteps/chroot/run: [\ntrue\n]\n",
    );
    let log = env.run(&["log", "stage1-corei7", "--attempts"]);
    insta::assert_snapshot!(log.ok(), @"2023-11-14 22:13:20 stage1-corei7:run failed: exit status 7 (2.5 s on builder) $TEST/store/logs/a.log");
    let log = env
        .run(&["log", "stage1-corei7:run", "--attempts", "--json"])
        .ok();
    let log: serde_json::Value = serde_json::from_str(&log).unwrap();
    assert_eq!(log[0]["outcome"], "failed");
    assert_eq!(log[0]["phase"], "run");
    let why = env.run(&["why", "rebuild", "stage1-corei7"]).ok();
    assert!(
        why.contains("the last attempt, 2023-11-14 22:13:20, failed: exit status 7"),
        "{why}"
    );
}

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Nothing that has a place of its own is replaced: a device, a pipe, a link, a neighbour's file.
#[test]
fn an_export_replaces_files_only() {
    let env = Environment::new();
    let (one, _) = sample(&env);
    let tree = &one.to_string()[..12];
    let at = |name: &str| env.work().join(name);
    let _ = env.run(&["export", tree, "a.tar"]).ok();
    let archive = fs::read(at("a.tar")).unwrap();

    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe.tar"), 0o600.into()).unwrap();
    let reader = std::thread::spawn({
        let pipe = at("pipe.tar");
        move || fs::read(pipe).unwrap()
    });
    let _ = env.run(&["export", tree, "pipe.tar"]).ok();
    assert!(reader.join().unwrap() == archive);
    let kind = fs::symlink_metadata(at("pipe.tar")).unwrap().file_type();
    assert!(!kind.is_file());

    if let Some(full) = device(&env, "full", 7) {
        let told = env
            .run(&["export", tree, &full, "--format", "tar"])
            .fails(3);
        assert!(
            told.contains("/full") && told.contains("No space"),
            "{told}"
        );
        assert!(!fs::metadata(&full).unwrap().is_file());
    }
    if let Some(null) = device(&env, "null", 3) {
        let told = env
            .run(&["export", tree, &null, "--format", "erofs"])
            .fails(2);
        assert!(told.contains("cannot be written to a device"), "{told}");
        assert!(!fs::metadata(&null).unwrap().is_file());
    }

    fs::create_dir(at("far")).unwrap();
    fs::write(at("far/old.tar"), "old").unwrap();
    std::os::unix::fs::symlink("far/old.tar", at("latest.tar")).unwrap();
    fs::write(at("latest.tar.part"), "somebody's").unwrap();
    let _ = env.run(&["export", tree, "latest.tar"]).ok();
    assert!(fs::symlink_metadata(at("latest.tar")).unwrap().is_symlink());
    assert!(fs::read(at("far/old.tar")).unwrap() == archive);
    assert_eq!(fs::read(at("latest.tar.part")).unwrap(), b"somebody's");
    assert_eq!(fs::read_dir(at("far")).unwrap().count(), 1);
}

/// A device with a number of memory's. Root makes one of its own, so that a mistake costs the machine
/// nothing; `None` where that cannot be or is not served.
fn device(env: &Environment, name: &str, minor: u32) -> Option<String> {
    use rustix::fs::{CWD, FileType, makedev, mknodat};
    if !rustix::process::geteuid().is_root() {
        return Some(format!("/dev/{name}"));
    }
    let path = env.work().join(name);
    let kind = FileType::CharacterDevice;
    mknodat(CWD, &path, kind, 0o666.into(), makedev(1, minor)).ok()?;
    fs::File::options().write(true).open(&path).ok()?;
    Some(path.display().to_string())
}

/// However the process ends, no half of an archive stays.
#[test]
fn an_export_that_is_killed_leaves_no_file() {
    let env = Environment::new();
    let (one, _) = sample(&env);
    let tree = one.to_string();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    fs::create_dir(env.work().join("large")).unwrap();
    let large = fs::File::create(env.work().join("large/file")).unwrap();
    large.set_len(1 << 30).unwrap();
    let large = store.import_dir(&env.work().join("large"), &ImportOptions::snapshot());
    let large = large.unwrap().tree.to_string();
    fs::create_dir(env.work().join("out")).unwrap();
    let count = || fs::read_dir(env.work().join("out")).unwrap().count();
    let mut child = env
        .command(&["export", &large, "out/a.tar.xz"])
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    assert_eq!(count(), 0);
    let _ = env.run(&["export", &tree, "out/a.tar.xz"]).ok();
    assert_eq!(count(), 1);
}

/// Ctrl-C, and what a service manager sends, while an export of some seconds runs.
#[test]
fn an_export_that_is_interrupted_leaves_nothing() {
    use rustix::process::{Pid, Signal, kill_process};
    let env = Environment::new();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    fs::create_dir(env.work().join("large")).unwrap();
    // No two blocks alike, so that every form has work to do.
    let mut noise = vec![0; 4 << 20];
    rustix::rand::getrandom(&mut noise[..256], rustix::rand::GetRandomFlags::empty()).unwrap();
    for at in 256..noise.len() {
        noise[at] = noise[at - 256]
            .wrapping_mul(5)
            .wrapping_add((at / 256) as u8);
    }
    let file = fs::File::create(env.work().join("large/file")).unwrap();
    for n in 0..48u8 {
        noise.iter_mut().for_each(|byte| *byte ^= n);
        std::io::Write::write_all(&mut &file, &noise).unwrap();
    }
    let large = store.import_dir(&env.work().join("large"), &ImportOptions::snapshot());
    let large = large.unwrap().tree.to_string();
    let out = env.work().join("out");
    fs::create_dir_all(out.join("empty")).unwrap();
    let mut forms = vec![
        vec!["out/a.oci"],
        vec!["--to", "out/empty"],
        vec!["--to", "out/new"],
    ];
    if has("mksquashfs") {
        forms.push(vec!["out/a.squashfs"]);
    }
    if has("mkfs.erofs") {
        forms.push(vec!["out/a.erofs"]);
    }
    let busy = |pid: u32| {
        // It is at work when its handlers are in place of the usual end; that of SIGHUP is the last.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & 1 != 0)
    };
    for (n, form) in forms.iter().enumerate() {
        let mut child = env
            .command(&[&["export", &large], &form[..]].concat())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        while !busy(child.id()) && child.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let signal = [Signal::INT, Signal::TERM][n % 2];
        kill_process(Pid::from_child(&child), signal).unwrap();
        let ended = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(130), "{form:?}: {said}");
        assert!(said.starts_with("error: interrupted"), "{form:?}: {said}");
        let left: Vec<_> = fs::read_dir(&out)
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["empty"], "{form:?}");
        assert_eq!(
            fs::read_dir(out.join("empty")).unwrap().count(),
            0,
            "{form:?}"
        );
    }
    assert_eq!(
        fs::read_dir(env.store().join("tmp")).unwrap().count(),
        1,
        "our own session's"
    );
}

#[test]
fn an_archive_that_nobody_reads_on_ends_quietly() {
    let env = Environment::new();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    env.write("large/file", "no more\n".repeat(100_000));
    let tree = store.import_dir(&env.work().join("large"), &ImportOptions::snapshot());
    let tree = tree.unwrap().tree.to_string();
    let mut child = env
        .command(&["export", &tree, "-"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn every_form_of_export_is_the_same_twice() {
    let env = Environment::new();
    let (one, _) = sample(&env);
    let tree = &one.to_string()[..12];
    let mut forms = vec!["tar", "tar.gz", "tar.zst"];
    for (form, program) in [("squashfs", "mksquashfs"), ("erofs", "mkfs.erofs")] {
        if has(program) {
            forms.push(form);
        }
    }
    for form in forms {
        for name in ["a", "b"] {
            let file = format!("{name}.{form}");
            let _ = env.run(&["export", tree, "--output", &file]).ok();
        }
        let [a, b] = ["a", "b"].map(|n| fs::read(env.work().join(format!("{n}.{form}"))).unwrap());
        assert!(a == b, "{form}");
        let file = format!("c.{form}");
        let _ = env
            .run(&["export", tree, "-o", "plain", "--format", form])
            .ok();
        fs::rename(env.work().join("plain"), env.work().join(&file)).unwrap();
        assert!(a == fs::read(env.work().join(file)).unwrap(), "{form}");
    }
    let first = env.run(&["export", tree, "a.oci", "--machine", "aarch64"]);
    assert!(first.stderr.contains("for arm64"), "{}", first.stderr);
    let first = first.ok();
    assert!(first.starts_with("sha256:"), "{first}");
    let second = env.run(&[
        "export",
        tree,
        "-o",
        "b",
        "--format",
        "oci",
        "--machine",
        "aarch64",
    ]);
    assert_eq!(first, second.ok());
    let same = Command::new("diff")
        .args(["-r", "a.oci", "b"])
        .current_dir(env.work())
        .output();
    assert!(same.unwrap().status.success());
    let error = env.run(&["export", tree, "a.zip"]).fails(2);
    assert!(error.contains("cannot tell the form"), "{error}");
    let error = env
        .run(&["export", tree, "-", "--format", "erofs"])
        .fails(2);
    assert!(error.contains("standard output"), "{error}");
    let mut command = env.command(&["export", tree, "x.erofs"]);
    command.env("PATH", env.work());
    if !has("mkfs.erofs") {
        let error = env.finish(command.output().unwrap()).fails(3);
        assert!(error.contains("erofs-utils"), "{error}");
    }
}

/// Unpacks a squashfs image and compares what is in it with what is in the tree.
#[test]
fn a_squashfs_image_has_what_the_tree_has() {
    if !has("mksquashfs") || !has("unsquashfs") {
        return;
    }
    let env = Environment::new();
    let (one, _) = sample(&env);
    let tree = one.to_string();
    let _ = env.run(&["export", &tree, "x.squashfs"]).ok();
    let unpack = Command::new("unsquashfs")
        .args(["-q", "-n", "-d", "out", "x.squashfs"])
        .current_dir(env.work())
        .output();
    assert!(unpack.unwrap().status.success());
    let again = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let imported = again
        .import_dir(&env.work().join("out"), &ImportOptions::default())
        .unwrap();
    assert_eq!(imported.tree, one);
}

/// skopeo reads the image and copies it to a folder, whose layer is what the tree exports.
#[test]
fn skopeo_reads_an_image() {
    if !has("skopeo") {
        return;
    }
    let env = Environment::new();
    let (one, _) = sample(&env);
    let tree = one.to_string();
    for layer in ["gz", "zst", "none"] {
        let folder = format!("{layer}.oci");
        let digest = env
            .run(&[
                "export",
                &tree,
                &folder,
                "--layer",
                layer,
                "--machine",
                "x86_64",
            ])
            .ok();
        let inspect = Command::new("skopeo")
            .args(["inspect", &format!("oci:{folder}:latest")])
            .current_dir(env.work())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inspect.stderr);
        assert!(inspect.status.success(), "{said}");
        let json: serde_json::Value = serde_json::from_slice(&inspect.stdout).unwrap();
        assert_eq!(json["Digest"], digest.trim());
        assert_eq!(json["Architecture"], "amd64");
        assert_eq!(json["Layers"].as_array().unwrap().len(), 1);
    }
}
