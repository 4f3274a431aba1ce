//! `mstore export` of several targets into a folder, what is published beside exports, and media.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use insta::assert_snapshot;
use mstore_store::compress::{DecodeLimits, Decoder};
use mstore_store::{ImportOptions, OpenOptions, Store};

use crate::environment::Environment;
use crate::samples::{large_tree, on_full_disk, small_tree, two_trees};

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = folders.any(|folder| folder.join(program).is_file());
    if !found {
        println!("skipped: {program} is not installed");
    }
    found
}

/// Three targets, of which two are built.
fn built() -> Environment {
    let env = Environment::new();
    env.write(
        "metro.conf",
        "list/builds: demo\nlist/arches: x\nlist/subarches/x: one two three\nlist/targets: stage1\n\
         default/build: demo\ntarget/version: 1\ntarget/platform: x86_64\nsource: seed\n\
         source/seed: host/x86_64\nseed/kind: host\nsteps/chroot: run\nsteps/chroot/run: [\n\
         echo $[target/subarch] > /motd\n]\n",
    );
    let _ = env.run(&["realise", "stage1-one", "stage1-two"]).ok();
    env
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn targets_of_a_pattern_into_a_folder() {
    if std::env::consts::ARCH != "x86_64" {
        return;
    }
    let env = built();
    let export = &["export", "stage1-*", "--to", "out", "--format", "tar.gz"];
    let out = env.work().join("out");
    let dry = env.run(&[&export[..], &["--dry-run"]].concat());
    assert_snapshot!(dry.all(), @r"
    status: 0
    --- stdout
    write out/stage1-one-1.tar.gz
    write out/stage1-two-1.tar.gz
    --- stderr
    demo/x/three/stage1: not built, or not up to date; left out
    ");
    assert!(!out.exists());
    let _ = env.run(export).ok();
    let one = out.join("stage1-one-1.tar.gz");
    let two = out.join("stage1-two-1.tar.gz");
    let first = [fs::read(&one).unwrap(), fs::read(&two).unwrap()];

    // What is right is kept, what is missing or was cut is written, as after a run that was killed.
    let written = fs::metadata(&one).unwrap().modified().unwrap();
    fs::remove_file(&two).unwrap();
    let again = env.run(&[&export[..], &["--json"]].concat()).ok();
    let actions: Vec<String> = again
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .map(|line| line["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["keep", "write"]);
    assert_eq!(fs::metadata(&one).unwrap().modified().unwrap(), written);
    assert!(fs::read(&two).unwrap() == first[1]);

    // Somebody's own file, or one that was changed, is not written over.
    fs::write(&one, "somebody's").unwrap();
    let told = env.run(export).fails(2);
    assert!(told.contains("is not known as an export"), "{told}");
    assert_eq!(fs::read(&one).unwrap(), b"somebody's");
    let _ = env.run(&[&export[..], &["--replace"]].concat()).ok();
    assert!(fs::read(&one).unwrap() == first[0]);

    // Another level is another file.
    let dry = env
        .run(&[&export[..], &["--level", "9", "-n"]].concat())
        .ok();
    assert_eq!(dry.matches("replace ").count(), 2, "{dry}");
    assert_eq!(
        names(&out),
        [
            ".stage1-one-1.tar.gz.mstore-export",
            ".stage1-two-1.tar.gz.mstore-export",
            "stage1-one-1.tar.gz",
            "stage1-two-1.tar.gz",
        ]
    );
    assert_snapshot!(env.run(&["export", "stage1-*"]).fails(2), @r"
    error: several targets need a folder to be written to
    hint: name it: --to DIR
    ");
    assert_snapshot!(env.run(&["export", "stage1-th*", "--to", "out"]).fails(2), @r"
    error: none of the targets is built, or up to date
    hint: build them first: mstore realise TARGET
    ");
}

#[test]
fn hashes_a_list_and_a_signature_beside_an_export() {
    let env = Environment::new();
    let (one, _) = two_trees(&env);
    let tree = one.to_string();
    let export = ["export", &tree, "x.tar.gz", "--digests", "--contents"];
    let json = env.run(&[&export[..], &["--json"]].concat()).ok();
    assert!(
        json.contains(r#""beside":["x.tar.gz.CONTENTS.gz","x.tar.gz.DIGESTS"]"#),
        "{json}"
    );
    for program in ["sha512sum", "sha256sum", "b2sum"] {
        let check = Command::new(program)
            .args(["--check", "--ignore-missing", "x.tar.gz.DIGESTS"])
            .current_dir(env.work())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(said.contains("x.tar.gz: OK"), "{program}: {said}");
        assert!(
            said.contains("x.tar.gz.CONTENTS.gz: OK"),
            "{program}: {said}"
        );
    }
    let packed = fs::File::open(env.work().join("x.tar.gz.CONTENTS.gz")).unwrap();
    let mut list = String::new();
    Decoder::new(packed, DecodeLimits::default())
        .unwrap()
        .read_to_string(&mut list)
        .unwrap();
    let tar = Command::new("tar")
        .args(["--numeric-owner", "-tf", "x.tar.gz"])
        .current_dir(env.work())
        .output()
        .unwrap();
    let mut in_tar: Vec<String> = String::from_utf8(tar.stdout)
        .unwrap()
        .lines()
        .map(|name| name.trim_start_matches("./").to_owned())
        .collect();
    let mut listed: Vec<String> = list
        .lines()
        .map(|line| {
            let name = &line[line.find(" ./").unwrap() + 3..];
            name.split(" -> ").next().unwrap().to_owned()
        })
        .collect();
    in_tar.sort();
    listed.sort();
    assert_eq!(listed, in_tar);
    assert!(list.contains("lrwxrwxrwx 0/0         0 "), "{list}");

    // The same tree: the same list and the same hashes.
    let before = fs::read(env.work().join("x.tar.gz.DIGESTS")).unwrap();
    let again = env.run(&export);
    assert!(
        again.stderr.contains("what was there before is replaced"),
        "{}",
        again.stderr
    );
    let _ = again.ok();
    assert!(before == fs::read(env.work().join("x.tar.gz.DIGESTS")).unwrap());

    if !has("gpg") {
        return;
    }
    let home = env.work().join("gpg");
    fs::create_dir(&home).unwrap();
    let mut private = fs::metadata(&home).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut private, 0o700);
    fs::set_permissions(&home, private).unwrap();
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new("gpg");
        command.env("GNUPGHOME", &home).current_dir(env.work());
        let output = command
            .args(["--batch", "--quiet"])
            .args(arguments)
            .output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
    };
    gpg(&[
        "--passphrase",
        "",
        "--quick-generate-key",
        "me <me@example.org>",
        "ed25519",
    ]);
    env.write(
        "mstore.conf",
        format!("repo/gpg-home: {}\n", home.display()),
    );
    let signed = [
        "--sign",
        "--gpg-key",
        "me@example.org",
        "--config",
        "mstore.conf",
    ];
    let _ = env.run(&[&export[..], &signed[..]].concat()).ok();
    gpg(&["--verify", "x.tar.gz.gpg", "x.tar.gz"]);
    gpg(&["--verify", "x.tar.gz.DIGESTS.gpg", "x.tar.gz.DIGESTS"]);
    let _ = Command::new("gpgconf")
        .env("GNUPGHOME", &home)
        .args(["--kill", "all"])
        .status();
    let told = env.run(&["export", &tree, "y.tar", "--sign"]).fails(2);
    assert!(told.contains("names no key"), "{told}");
    assert!(!env.work().join("y.tar").exists());
    let told = env.run(&["export", &tree, "y.oci", "--digests"]).fails(2);
    assert!(told.contains("are for files"), "{told}");
}

#[test]
fn a_medium_without_a_kernel_says_what_it_lacks() {
    let env = Environment::new();
    let tree = small_tree(&env).to_string();
    for file in ["x.iso", "x.disk"] {
        let told = env.run(&["export", &tree, file]).fails(3);
        assert!(
            told.contains("a kernel (boot/vmlinuz-RELEASE) is missing"),
            "{told}"
        );
        assert!(told.contains("linux-image-amd64"), "{told}");
        assert!(told.contains("--no-boot"), "{told}");
    }
    let told = env
        .run(&["export", &tree, "x.iso", "--machine", "riscv64"])
        .fails(2);
    assert!(
        told.contains("no boot loader here for machines of riscv64"),
        "{told}"
    );
    let told = env
        .run(&["export", &tree, "x.iso", "--append", "a;b"])
        .fails(2);
    assert!(told.contains("cannot be told `a;b`"), "{told}");
    let left: Vec<_> = names(&env.work());
    assert_eq!(left, ["tree"]);
}

#[test]
fn media_are_the_same_twice_and_have_what_the_tree_has() {
    let env = Environment::new();
    let (tree, _) = two_trees(&env);
    let tree = tree.to_string();
    if has("xorriso") && has("mksquashfs") && has("unsquashfs") {
        for file in ["a.iso", "b.iso"] {
            let _ = env.run(&["export", &tree, file, "--no-boot"]).ok();
        }
        let [a, b] = ["a.iso", "b.iso"].map(|name| fs::read(env.work().join(name)).unwrap());
        assert!(a == b, "two media of one tree differ");
        let script = "xorriso -osirrox on -indev a.iso -extract / iso 2>/dev/null && \
                      unsquashfs -q -n -d live iso/mstore/root.squashfs && cat live/etc/name";
        let read = Command::new("sh")
            .args(["-c", script])
            .current_dir(env.work())
            .output();
        assert_eq!(String::from_utf8_lossy(&read.unwrap().stdout), "one\n");
    }
    if has("mke2fs") && has("sfdisk") && has("debugfs") {
        for file in ["a.disk", "b.disk"] {
            let made = env.run(&["export", &tree, file, "--no-boot", "--free", "1M"]);
            assert!(made.stderr.contains("starts no machine"), "{}", made.stderr);
            let _ = made.ok();
        }
        let [a, b] = ["a.disk", "b.disk"].map(|name| fs::read(env.work().join(name)).unwrap());
        assert!(a == b, "two disks of one tree differ");
        let read = Command::new("debugfs")
            .args(["-R", "cat /etc/name", "a.disk?offset=2097152"])
            .current_dir(env.work())
            .output();
        assert_eq!(String::from_utf8_lossy(&read.unwrap().stdout), "one\n");
        let large = large_tree(&env).to_string();
        if let Some(ran) = on_full_disk(&env, &["export", &large, "small/x.disk", "--no-boot"]) {
            let told = ran.fails(3);
            assert!(told.contains("o space left"), "{told}");
        }
    }
}

/// What is published beside a file is of that file, whatever lay there before.
#[test]
fn hashes_beside_an_export_are_not_those_of_an_earlier_one() {
    let env = Environment::new();
    let (one, _) = two_trees(&env);
    let tree = one.to_string();
    let export = |more: &[&str]| {
        let all = ["export", &tree, "--to", "out", "--format", "tar.gz"];
        env.run(&[&all[..], more].concat())
    };
    let check = || {
        let check = Command::new("sha512sum")
            .args(["--check", "--ignore-missing"])
            .arg(format!("{tree}.tar.gz.DIGESTS"))
            .current_dir(env.work().join("out"))
            .output();
        String::from_utf8_lossy(&check.unwrap().stdout).into_owned()
    };
    let _ = export(&["--level", "1", "--digests"]).ok();
    assert!(check().contains("tar.gz: OK"), "{}", check());
    let said = export(&["--level", "9"]).all();
    let note = format!("note: out/{tree}.tar.gz.DIGESTS may be of an earlier export");
    assert!(said.contains(&note), "{said}");
    assert!(check().contains("tar.gz: FAILED"), "{}", check());
    let said = export(&["--level", "9", "--digests"]).all();
    assert!(said.contains(": kept") && !said.contains("note:"), "{said}");
    assert!(check().contains("tar.gz: OK"), "{}", check());
    // They are kept as well.
    let digests = env.work().join(format!("out/{tree}.tar.gz.DIGESTS"));
    let written = fs::metadata(&digests).unwrap().modified().unwrap();
    let _ = export(&["--level", "9", "--digests"]).ok();
    let said = export(&["--level", "9"]).all();
    assert!(!said.contains("note:"), "{said}");
    assert_eq!(fs::metadata(&digests).unwrap().modified().unwrap(), written);
}

/// Some MiB in which no two blocks are alike, as a tree.
fn noise(env: &Environment, name: &str, seed: u8) -> String {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let mut state = u64::from(seed);
    let bytes = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    let bytes: Vec<u8> = bytes.take(6 << 20).collect();
    env.write(&format!("{name}/file"), bytes);
    let tree = store.import_dir(&env.work().join(name), &ImportOptions::snapshot());
    tree.unwrap().tree.to_string()
}

/// `kill -9` at any moment: what is there under its name is whole, and the same command goes on.
#[test]
fn exports_that_are_killed_are_gone_on_with() {
    let env = Environment::new();
    let trees = [noise(&env, "one", 1), noise(&env, "two", 2)];
    let out = env.work().join("out");
    let mut forms = vec!["tar.zst", "oci"];
    if has("mksquashfs") {
        forms.push("squashfs");
    }
    if has("mke2fs") && has("sfdisk") {
        forms.push("disk");
    }
    for form in forms {
        let mut command = vec![
            "export", &*trees[0], &*trees[1], "--to", "out", "--format", form,
        ];
        if form == "disk" {
            command.push("--no-boot");
        }
        let _ = env.run(&command).ok();
        let wanted = names(&out);
        assert_eq!(wanted.len(), 4, "{wanted:?}");
        let bytes = |name: &str| fs::read(out.join(name)).ok();
        let right: Vec<_> = wanted.iter().map(|name| bytes(name)).collect();
        fs::remove_dir_all(&out).unwrap();
        let mut hidden = false;
        for delay in [0, 5, 10, 20, 30, 45, 60, 80, 110, 150, 200, 300] {
            let mut child = env.command(&command).stderr(Stdio::null()).spawn().unwrap();
            // From when it has begun to write.
            let begun = Instant::now();
            while !out.exists() && begun.elapsed().as_secs() < 60 {
                std::thread::sleep(Duration::from_millis(1));
            }
            let writes = || {
                names(&out)
                    .iter()
                    .any(|name| name.starts_with(".mstore-part."))
            };
            if delay == 0 {
                // Once for certain in the middle of it, however slow the machine.
                while !writes() && child.try_wait().unwrap().is_none() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                hidden |= writes();
            }
            std::thread::sleep(Duration::from_millis(delay));
            child.kill().unwrap();
            let _ = child.wait();
            for name in names(&out) {
                hidden |= name.starts_with(".mstore-part.");
                let at = wanted.iter().position(|wanted| *wanted == name);
                // Of a folder, that it is there; of a record, that it can be read, which the last run shows.
                if let (Some(at), false) = (at, name.starts_with('.')) {
                    assert!(bytes(&name) == right[at], "{form}: {name} after {delay} ms");
                }
            }
        }
        let _ = env.run(&command).ok();
        assert_eq!(names(&out), wanted, "{form}");
        for (name, right) in wanted.iter().zip(&right) {
            assert!(
                name.starts_with('.') || bytes(name) == *right,
                "{form}: {name}"
            );
        }
        assert!(
            hidden || form.starts_with("tar"),
            "{form}: none was killed while it wrote"
        );
        // All of it is known now. One that was killed when the last file had its name leaves an empty folder.
        fs::create_dir(out.join(".mstore-part.0123456789abcdef")).unwrap();
        let again = env.run(&command).all();
        assert_eq!(again.matches(": kept").count(), 2, "{again}");
        assert_eq!(names(&out), wanted, "{form}");
        fs::remove_dir_all(&out).unwrap();
    }
}

/// Killed between the moment when it was complete and that when it had its name, or when it had just begun: what was there
/// before is known.
#[test]
fn what_was_there_before_a_killed_export_is_known() {
    let env = Environment::new();
    let (one, _) = two_trees(&env);
    let tree = one.to_string();
    let name = format!("out/{tree}.tar.gz");
    let export = |level: &'static str| {
        env.run(&[
            "export", &tree, "--to", "out", "--format", "tar.gz", "--level", level,
        ])
    };
    let _ = export("1").ok();
    let record = format!("out/.{tree}.tar.gz.mstore-export");
    let record = env.work().join(record);
    let text = fs::read_to_string(&record).unwrap();
    let old: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut begun = old.clone();
    begun["form"] = "tar.gz level Some(9)".into();
    begun["before"] = serde_json::json!({ "bytes": old["bytes"], "blake3": old["blake3"] });
    for bytes in [0, 4711] {
        begun["bytes"] = bytes.into();
        begun["blake3"] = "another".into();
        fs::write(&record, begun.to_string()).unwrap();
        let said = export("9").all();
        assert!(said.contains("what was there before is replaced"), "{said}");
        fs::write(&record, text.clone()).unwrap();
        let _ = env.run(&["export", &tree, &name, "--level", "1"]).ok();
    }
    // Somebody's own is not.
    fs::write(&record, begun.to_string()).unwrap();
    env.write(&name, "mine");
    let said = export("9").fails(2);
    assert!(said.contains("is not known as an export"), "{said}");
}
