//! `mstore export`: archives, images and folders.

use std::fs;
use std::process::Command;

use insta::assert_snapshot;
use mstore_store::{ImportOptions, OpenOptions, Store};

use crate::environment::Environment;
use crate::samples::{large_tree, on_full_disk, two_trees};

fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
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

#[test]
fn a_target_that_is_not_built() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["export", "stage3-corei7", "a.tar"]).fails(2), @"
    error: stage3-corei7 is not built, or not up to date
    hint: build it first: mstore realise stage3-corei7
    ");
    assert_snapshot!(env.run(&["log", "stage3-corei7"]).fails(2), @"
    error: stage3-corei7 has no log: it was never built here
    hint: build it first: mstore realise stage3-corei7
    ");
    assert_snapshot!(env.run(&["shell", "stage3-corei7"]).fails(2), @"
    error: stage3-corei7 is not built
    hint: build it first: mstore realise stage3-corei7
    ");
    assert_eq!(fs::read_dir(env.work()).unwrap().count(), 0);
}

#[test]
fn an_archive_of_no_known_form() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["export", "stage3-corei7", "a.zip"]).fails(2), @"
    error: a.zip: cannot tell the form of archive from this name
    hint: use .tar, .tar.gz, .tar.xz, .tar.zst, .oci, .squashfs, .erofs, .iso or .disk, or --format
    ");
}

#[test]
fn an_archive_that_does_not_fit() {
    let env = Environment::new();
    let tree = large_tree(&env).to_string();
    let Some(ran) = on_full_disk(&env, &["export", &tree, "small/x.tar"]) else {
        return;
    };
    insta::assert_snapshot!(ran.all(), @r"
    status: 3
    --- stdout
    --- stderr
    error: no space left: cannot write the archive: small/x.tar: No space left on device (os error 28); the file system at $TEST/work/small has 0 B of 2.1 MB free; the tree has 5.0 MB, before compression
    hint: nothing in the store is lost; free some space there, or write to another file system, then try again
    ");
    let ran = on_full_disk(&env, &["export", &tree, "small/x.tar.zst"]).unwrap();
    let text = ran.fails(3);
    assert!(
        text.contains("; the tree has 5.0 MB, before compression\n"),
        "{text}"
    );
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
}

#[test]
fn a_folder_that_does_not_fit() {
    let env = Environment::new();
    let tree = large_tree(&env).to_string();
    let Some(ran) = on_full_disk(&env, &["export", &tree, "--to", "small/out"]) else {
        return;
    };
    insta::assert_snapshot!(ran.all(), @r"
    status: 3
    --- stdout
    --- stderr
    error: no space left: cannot write: small/out/noise: No space left on device (os error 28); the file system at $TEST/work/small has 0 B of 2.1 MB free; the tree takes about 5.0 MB
    hint: nothing in the store is lost; free some space there, or write to another file system, then try again
    ");
}

/// Nothing that has a place of its own is replaced: a device, a pipe, a link, a neighbour's file.
#[test]
fn an_export_replaces_files_only() {
    let env = Environment::new();
    let (one, _) = two_trees(&env);
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
    // So is one to what is not there yet.
    std::os::unix::fs::symlink("far/next.tar", at("next.tar")).unwrap();
    let _ = env.run(&["export", tree, "next.tar"]).ok();
    assert!(fs::symlink_metadata(at("next.tar")).unwrap().is_symlink());
    assert!(fs::read(at("far/next.tar")).unwrap() == archive);
    std::os::unix::fs::symlink("circle.tar", at("circle.tar")).unwrap();
    let told = env.run(&["export", tree, "circle.tar"]).fails(3);
    assert!(told.contains("circle.tar"), "{told}");
}

/// However the process ends, no half of an archive stays.
#[test]
fn an_export_that_is_killed_leaves_no_file() {
    let env = Environment::new();
    let (one, _) = two_trees(&env);
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
    let (one, _) = two_trees(&env);
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
    let (one, _) = two_trees(&env);
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
    let (one, _) = two_trees(&env);
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
